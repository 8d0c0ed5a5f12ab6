"""`lotse topics`, `lotse migrate`, `lotse rebuild`: what an operator does, here or in a cluster."""

import asyncio
import contextlib
import os
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click

from contracts.topics import OWNERS, REPORT, facts_topic
from deploy.doctor.place import Place
from deploy.doctor.said import errors_of, exit_code, rows_of, told
from deploy.errors import DONE, FINDINGS, REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.fleet import Fleet, Setup
from deploy.installation import Installation, installation
from deploy.local.announced import named, running
from deploy.local.operations import PRIVATE, PUBLIC, make_operations_key
from deploy.local.stack import LocalStack
from deploy.places import SERVICES
from deploy.printed import Wrong, dry_run, formats, printed
from deploy.progress import TELLS_EACH
from deploy.saying import say
from deploy.services import (
    declared,
    made_later,
    make_topics,
    mend_topics,
    migrations,
    publishers_from,
    schema_against_code,
)
from deploy.services import migrate as migrate_service
from services.process.connections import is_dsn


def use_running(name: str) -> None:
    """Where the environment names no installation, takes the stack that is up. Raises Trouble where none is up."""
    if named():
        return
    where: dict[str, Any] = running(f"name the database of {name}: LOTSE_DATABASE_OWNER")
    stack = LocalStack(Path(where["folder"]))
    stack.find()
    fleet = Fleet(stack, Setup(Path(where["publishers"]), Path(where["organisations"])))
    os.environ.update({key: value for key, value in fleet.environment(name).items() if key.startswith("LOTSE_")})


def _readers(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, str]]:
    """PRINCIPAL=TOPIC, apart: a principal may hold `=` itself (User:CN=board), a topic may not. Facts and reports alone: what a
    publisher writes or is told is for it and the owner, whoever asks."""
    readers = []
    for one in given:
        who, _, topic = one.rpartition("=")
        if not who.startswith("User:") or topic not in {REPORT, *map(facts_topic, OWNERS)}:
            raise click.BadParameter(
                f"{one} is no principal (User:...) and topic of facts or reports (User:board=intake.events)"
            )
        readers.append((who, topic))
    return readers


@click.command()
@click.option(
    "--mend", is_flag=True, help="Also give existing topics the settings of the catalogue; a longer retention stays."
)
@dry_run
@click.option(
    "--check", is_flag=True, help="Change nothing; compare settings and everybody's rights with the catalogue."
)
@click.option("--principal", default="User:{}", show_default=True,
              help="With --check: how a service's or publisher's name becomes a principal, for example 'User:CN={}'.")  # fmt: skip
@click.option(
    "--operator", "operators", multiple=True, metavar="PRINCIPAL", help="With --check: who may read everything."
)
@click.option("--reader", "readers", multiple=True, metavar="PRINCIPAL=TOPIC", callback=_readers,
              help="With --check: a subscriber of this installation and a topic it may read; may be repeated.")  # fmt: skip
@formats
def topics(
    mend: bool, dry_run: bool, check: bool, principal: str, operators: tuple[str, ...], readers: list[tuple[str, str]], shape: str
) -> int:  # fmt: skip
    """Create the topics of the catalogue (contracts/topics.py and publishers.toml) that are missing.

    Exit codes: 0 done, 1 --check found something, 2 usage, 3 Kafka does not answer, 4 Kafka refuses.
    """
    if check and (mend or dry_run):
        raise Trouble("--check changes nothing", "leave out --mend and --dry-run", USAGE)
    house = installation()
    if check:
        return _checked(house, principal, operators, readers, shape)
    publishers = house.publishers
    made = asyncio.run(
        make_topics(house.kafka, publishers, local=house.local, dry_run=dry_run, security=house.security)
    )
    wrong, longer = (
        asyncio.run(mend_topics(house.kafka, house.security, publishers, dry_run=dry_run)) if mend else ([], [])
    )
    differed = [f"{one.topic} {one.key}: {one.has} -> {one.wanted}" for one in wrong]
    stays = [f"{one.topic} {one.key}: {one.has} stays, longer than {one.wanted}" for one in longer]
    rows = [{"what": "missing" if dry_run else "made", "topic": name} for name in made]
    rows += [{"what": "differs" if dry_run else "mended", "topic": what} for what in differed]
    rows += [{"what": "longer", "topic": what} for what in stays]
    printed(shape, rows, columns=("what", "topic"), people=[*made, *differed, *stays])
    say.print(f"{len(made)} topics {'missing' if dry_run else 'made'}")
    if mend:
        say.print(f"{len(differed)} settings {'differ' if dry_run else 'mended'}")
    return DONE


def _checked(
    house: Installation, principal: str, operators: tuple[str, ...], readers: list[tuple[str, str]], shape: str
) -> int:
    from deploy.doctor.kafka import topics_and_rights  # noqa: PLC0415  # the doctor is not needed to make topics

    place = Place(
        "topics",
        house.local,
        house.folder,
        kafka=house.kafka,
        security=house.security,
        publishers=house.publishers_file,
    )
    said = asyncio.run(topics_and_rights(place, principal, operators, readers))
    printed(shape, rows_of(said), errors=errors_of(said), people=told(said))
    return exit_code(said)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@dry_run
@formats
def operations_key(folder: Path, dry_run: bool, shape: str) -> int:
    """Make the operations' key pair in FOLDER, once: services get the public half (LOTSE_OPERATIONS_KEY), to which dead letters are
    sealed; the private half (mode 600) is for whoever operates. Exit: 4 the private half is no longer there."""
    made, what = make_operations_key(folder, dry_run=dry_run), "missing" if dry_run else "made"
    public, private = (folder / name for name in (PUBLIC, PRIVATE))
    rows = [{"what": what if file in made else "there", "file": str(file)} for file in (public, private)]
    printed(shape, rows, people=[str(public)])
    say.print(f"the private half {'would be' if dry_run and private in made else 'is'} {private}: keep it where no service reads; "
              "without it no dead letter can be read")  # fmt: skip
    return 0


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
@dry_run
@formats
def migrate(service: str, dry_run: bool, shape: str) -> int:
    """Bring a service's database up to this version; running it twice changes nothing. It needs LOTSE_DATABASE_OWNER alone; without it
    the stack that is up is migrated. A dry run names the migrations that would run, but not whether one of them would fail. Exit: 3
    the database does not answer, or a migration fails; 4 the database is another service's."""
    use_running(service)
    owner = os.environ.get("LOTSE_DATABASE_OWNER")
    if not owner:
        raise Trouble("missing: LOTSE_DATABASE_OWNER", "migrations run as the owner; set its DSN", USAGE)
    if not is_dsn(owner):
        raise Trouble("wrong: LOTSE_DATABASE_OWNER is no address of a database",
                      "postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, its password percent-encoded", USAGE)  # fmt: skip
    asyncio.run(_may_be(service, owner))
    done = migrate_service(service, owner, dry_run=dry_run)
    printed(shape, [{"service": service, "done": done}], people=[f"{service}: {done}"])
    return 0


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
@dry_run
@formats
def rebuild(service: str, dry_run: bool, shape: str) -> int:
    """Rebuild a service's database from the topics beside the old one, compare the two, swap them; exit 1 if they differ.

    A dry run does all of it but the swap: it takes as long and needs as much room, holds the service as long while it compares, and
    drops what it learnt.

    Exit codes: 0 swapped; 1 they differ and the old one stays, or they are swapped and a rule breaks on some subjects, which are in
    quarantine now (at 20 of them the sweep ends); 2 usage; 3 Kafka or the database does not answer; 4 the database is another
    release's or another service's, or the two settings name two databases.
    """
    from aiokafka.errors import KafkaError  # noqa: PLC0415
    from asyncpg import PostgresError  # noqa: PLC0415

    from services.host.settings import BadSettings, load_settings  # noqa: PLC0415
    from services.operating.beside import TwoDatabases  # noqa: PLC0415
    from services.operating.rebuild import BROKEN_AT_MOST, Broken, Unfinished  # noqa: PLC0415
    from services.operating.rebuild import rebuild as run  # noqa: PLC0415
    from services.process.failpoints import arm  # noqa: PLC0415
    from services.process.telemetry import set_up_logs  # noqa: PLC0415
    from services.runtime.database import RETRY  # noqa: PLC0415

    use_running(service)
    started = said = time.monotonic()
    files = [file for _, folder in migrations(service) for file in sorted(folder.glob("*.sql"))]
    try:
        settings = load_settings()
        if settings.failpoint:
            arm(settings.failpoint)
        set_up_logs(service, settings.log_level)  # to stderr: unset they would stand among the data
        if settings.database_owner is None:
            raise Trouble("missing: LOTSE_DATABASE_OWNER", "a rebuild makes a schema as the owner; set its DSN", USAGE)
        publishers_from(settings.publishers, "LOTSE_PUBLISHERS")
        with say.status("learning ...") as shown:

            def progress(count: int, total: int) -> None:
                rate = count / (time.monotonic() - started)
                left = timedelta(seconds=round(max(0, total - count) / rate))
                told = f"learnt {count:,} of {total:,} records, {rate:,.0f}/s, {left} left ..."
                shown.update(told)
                nonlocal said
                if time.monotonic() - said > TELLS_EACH and not say.is_terminal:  # a status is for terminals alone
                    said = time.monotonic()
                    say.print(told)

            asyncio.run(_fits(service, settings.database_owner.get_secret_value()))
            done = asyncio.run(run(declared(service), settings, files, progress, dry=dry_run))
    except BadSettings as bad:
        raise Trouble(str(bad), "`lotse serve --help` says what each one means", USAGE) from None
    except TwoDatabases as two:
        raise Trouble(f"not rebuilt: LOTSE_DATABASE and LOTSE_DATABASE_OWNER are in two databases, {two}",
                      f"set both to the one of {service}", REFUSED) from None  # fmt: skip
    except Broken as error:
        done = error.done
    except Unfinished as error:
        raise Trouble(f"rebuilt, the new is in place; what comes after did not end: {error}",
                      "rebuild once more: it clears the old away, and sweeps", UNREACHABLE) from error  # fmt: skip
    except (KafkaError, *RETRY, PostgresError) as error:
        raise Trouble(
            f"not rebuilt, the old stays in place: {type(error).__name__}",
            "check Kafka and the database, try again",
            UNREACHABLE,
        ) from error
    rate = done.records / done.seconds
    told = [f"{service}: {done.records} records in {done.seconds:.1f} s ({rate:,.0f}/s)"]
    data: dict[str, Any] = {"service": service, "records": done.records, "seconds": round(done.seconds, 1),
                            "differences": done.differences, "compared": done.compared, "unsent": done.unsent,
                            "swept": done.swept}  # fmt: skip
    if done.differences:
        hint = ("find who wrote those rows: another release? Run that one. A hand? Undo what it did, then rebuild again; or learn all"
                " anew in an empty database: docs/operating.md, Going back a release, with the release that runs")  # fmt: skip
        errors = [Wrong("DIFFERS", difference, hint) for difference in done.differences]
        printed(
            shape, [data], data=data, errors=errors, people=[*told, *(f"differs: {one}" for one in done.differences)]
        )
        say.print(f"the old stays in place. Way out: {hint}")
        return FINDINGS
    compared = "equal" if done.compared else "nothing to compare with"
    told += [f"{count} records for {topic} were never sent by the old: said again as its inputs are read anew"
             for topic, count in sorted(done.unsent.items())]  # fmt: skip
    swapped, recorded = ("would be swapped", "would record") if dry_run else ("swapped", "recorded")
    told += [f"{compared}, {swapped}; a sweep {recorded} {done.swept} facts",
             *(f"a rule breaks on it, so it {'would be' if dry_run else 'is'} in quarantine: {one}" for one in done.broken)]  # fmt: skip
    hint = f"mend the rule, then `lotse release {service} SUBJECT`: docs/runbooks/LotseQuarantine.md"
    errors = [Wrong("QUARANTINED", one, hint) for one in done.broken]
    if len(done.broken) >= BROKEN_AT_MOST:
        hint = f"{hint}; then rebuild once more, for what was not swept"
        errors += [Wrong("UNSWEPT", f"a rule breaks on {len(done.broken)} subjects, so the sweep ended there", hint)]
        told += [errors[-1].message]
    printed(shape, [data], data=data, people=told, errors=errors)
    if done.broken:
        say.print(f"Way out: {hint}")
    return FINDINGS if done.broken else DONE


async def _may_be(service: str, owner_dsn: str) -> None:
    """Raises Trouble where the database is another service's. One that does not answer says so to who migrates."""
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError):
        con = await asyncpg.connect(owner_dsn, timeout=10)
        try:
            await _is_its(service, con)
        finally:
            await con.close()


async def _is_its(service: str, con: asyncpg.Connection) -> None:
    """Raises Trouble where the database is another service's: migrated by one release of each it would be neither's. The numbers of
    migrations are those of all services, so its tables tell."""
    ran = await con.fetchval("select to_regclass('lotse.service_migrations') is not null")
    if not ran or not await con.fetchval("select exists (select from lotse.service_migrations)"):
        return
    there = {row[0] for row in await con.fetch("select tablename from pg_tables where schemaname = 'lotse'")}
    of = {name: set(re.findall(r"^create table (\w+)", "".join(file.read_text("utf-8") for file in files.glob("*.sql")), re.M))
          for name in SERVICES for _, files in migrations(name)[1:]}  # fmt: skip
    if not of[service] & there:
        whose = next((name for name in SERVICES if of[name] & there), "another service")
        raise Trouble(f"this is the database of {whose}, not of {service}; nothing was changed",
                      f"set LOTSE_DATABASE and LOTSE_DATABASE_OWNER to that of {service}", REFUSED)  # fmt: skip


async def _fits(service: str, owner_dsn: str) -> None:
    """Raises Trouble where the database is another service's, or another release's: a rebuild takes over tables of it, and what
    migrations ran on it; and each state of a higher shape would be a difference."""
    con = await asyncpg.connect(owner_dsn, timeout=10)
    try:
        await _is_its(service, con)
        missing, newer = await schema_against_code(service, con)
        shapes = declared(service).shapes
        higher = ("select s.kind from lotse.state s join unnest($1::text[], $2::int[]) ours (kind, shape) using (kind)"
                  " where s.shape > ours.shape limit 1")  # fmt: skip
        kind = None if missing else await con.fetchval(higher, [*shapes], [*shapes.values()])
    finally:
        await con.close()
    stays = "not rebuilt, the old stays in place:"
    if newer:
        raise Trouble(
            f"{stays} the schema of {service} is newer than this code: {', '.join(newer)}", made_later(service), REFUSED
        )
    if missing:
        raise Trouble(f"{stays} the schema of {service} is older than this code: {', '.join(missing)} did not run",
                      f"`lotse migrate {service}`, then rebuild", REFUSED)  # fmt: skip
    if kind:
        raise Trouble(f"{stays} a later release wrote states of {kind}", made_later(service), REFUSED)
