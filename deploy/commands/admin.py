"""`lotse topics`, `lotse migrate`, `lotse rebuild`: what an operator does, here or in a cluster."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from deploy.commands.up import running
from deploy.errors import FINDINGS, UNREACHABLE, USAGE, Trouble
from deploy.local.operations import PRIVATE, PUBLIC, make_operations_key
from deploy.local.stack import SERVICES, LocalStack
from deploy.services import Fleet, Setup, declared, make_topics, mend_topics, migrations, publishers_from
from deploy.services import migrate as migrate_service

say = Console(stderr=True, highlight=False, soft_wrap=True)


def use_running(name: str) -> None:
    """Where the environment names no database, takes the stack that is up."""
    if "LOTSE_DATABASE" in os.environ:
        return
    where: dict[str, Any] = running()
    stack = LocalStack(Path(where["folder"]))
    stack.find()
    fleet = Fleet(stack, Setup(Path(where["publishers"]), Path(where["organisations"])))
    os.environ.update({key: value for key, value in fleet.environment(name).items() if key.startswith("LOTSE_")})


@click.command()
@click.option("--mend", is_flag=True, help="Also give existing topics the settings of the catalogue.")
@click.option("--dry-run", is_flag=True, help="Only say what is missing or differs.")
def topics(mend: bool, dry_run: bool) -> int:
    """Create the topics of the catalogue (contracts/topics.py and publishers.toml) that are missing."""
    local = "LOTSE_KAFKA" not in os.environ
    where = (
        running()
        if local
        else {"kafka": os.environ["LOTSE_KAFKA"], "publishers": os.environ.get("LOTSE_PUBLISHERS", "")}
    )
    if not where["publishers"]:
        raise Trouble("missing: LOTSE_PUBLISHERS", "set it to publishers.toml", USAGE)
    publishers = publishers_from(Path(where["publishers"]))
    made = asyncio.run(make_topics(where["kafka"], publishers, local=local, dry_run=dry_run))
    for name in made:
        click.echo(name)
    say.print(f"{len(made)} topics {'missing' if dry_run else 'made'}")
    if mend:
        differed = asyncio.run(mend_topics(where["kafka"], publishers, dry_run=dry_run))
        for what in differed:
            click.echo(what)
        say.print(f"{len(differed)} settings {'differ' if dry_run else 'mended'}")
    return 0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def operations_key(folder: Path) -> int:
    """Make the key pair of operations in FOLDER, once: services get the public half (LOTSE_OPERATIONS_KEY), dead letters are
    sealed to it; the private half (mode 600) is for whoever operates."""
    make_operations_key(folder)
    click.echo(folder / PUBLIC)
    say.print(
        f"the private half is {folder / PRIVATE}: keep it where no service reads; without it no dead letter can be read"
    )
    return 0


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
def migrate(service: str) -> int:
    """Bring a service's database to this version; running it twice changes nothing."""
    use_running(service)
    owner = os.environ.get("LOTSE_DATABASE_OWNER")
    if not owner:
        raise Trouble("missing: LOTSE_DATABASE_OWNER", "migrations run as the owner; set its DSN", USAGE)
    say.print(f"{service}: {migrate_service(service, owner)}")
    return 0


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
def rebuild(service: str) -> int:
    """Learn a service anew from the topics beside the old, compare, swap; exit 1 where they differ."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415
    from asyncpg import PostgresError  # noqa: PLC0415

    from services.host.rebuild import rebuild as run  # noqa: PLC0415
    from services.host.settings import BadSettings, load_settings  # noqa: PLC0415

    use_running(service)
    started = time.monotonic()
    files = [file for _, folder in migrations(service) for file in sorted(folder.glob("*.sql"))]
    try:
        settings = load_settings()
        with say.status("learning ...") as shown:

            def progress(count: int) -> None:
                shown.update(f"learnt {count:,} records, {count / (time.monotonic() - started):,.0f}/s ...")

            done = asyncio.run(run(declared(service), settings, files, progress))
    except BadSettings as bad:
        raise Trouble(str(bad), "set it and try again", USAGE) from None
    except (KafkaError, PostgresError, OSError, TimeoutError) as error:
        raise Trouble(
            f"not rebuilt, the old stays in place: {type(error).__name__}",
            "check Kafka and the database, try again",
            UNREACHABLE,
        ) from error
    click.echo(f"{service}: {done.records} records in {done.seconds:.1f} s ({done.records / done.seconds:,.0f}/s)")
    for difference in done.differences:
        click.echo(f"differs: {difference}")
    if done.differences:
        say.print("the old stays in place. Way out: find who wrote those rows; mend or remove them, then rebuild again")
        return FINDINGS
    click.echo(
        f"{'equal' if done.compared else 'nothing to compare with'}, swapped; a sweep recorded {done.swept} facts"
    )
    return 0
