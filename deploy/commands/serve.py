"""`lotse serve`: one service, or the clock, in the foreground; what a container runs."""

import asyncio
import contextlib
import json
import signal
from datetime import UTC, datetime

import click

from deploy.errors import FINDINGS, REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.local.stack import SERVICES

QUARTER = 900  # seconds between ticks


@click.command()
@click.argument("name", type=click.Choice([*SERVICES, "clock"]))
def app(name: str) -> int:
    """One service in the foreground; settings come from the environment (LOTSE_*)."""
    from contracts.topics import BadPublishers  # noqa: PLC0415
    from services.host.host import serve  # noqa: PLC0415
    from services.host.relay import OlderThanLog  # noqa: PLC0415
    from services.host.settings import BadSettings, load_settings  # noqa: PLC0415

    if name == "clock":
        return asyncio.run(clock())
    from deploy.services import declared  # noqa: PLC0415

    try:
        settings = load_settings()
        if missing := asyncio.run(_missing(name, settings.database.get_secret_value())):
            raise Trouble(f"the database of {name} is older than this code: {', '.join(missing)} did not run",
                          f"`lotse migrate {name}`, as its owner; then start again", REFUSED)  # fmt: skip
        return serve(declared(name), settings)
    except OlderThanLog as older:
        raise Trouble(f"the database of {name} was set back while it was served: its log holds {older} it does not know",
                      f"start again; it waits and does not serve until `lotse rebuild {name}` has run", FINDINGS) from None  # fmt: skip
    except BadSettings as bad:
        raise Trouble(
            str(bad), "`lotse serve --help`, and services/host/settings.py for what each one means", USAGE
        ) from None
    except BadPublishers as bad:
        raise Trouble(str(bad), "mend the file", USAGE) from None


async def _missing(name: str, dsn: str) -> list[str]:
    """Migrations that did not run; none where that can't be asked now: the service waits for its database and says so. A
    schema that is newer is served: migrations run before the release that needs them."""
    import asyncpg  # noqa: PLC0415

    from deploy.services import schema_against_code  # noqa: PLC0415

    try:
        con = await asyncpg.connect(dsn, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return []
    try:
        return (await schema_against_code(name, con))[0]
    except asyncpg.PostgresError:
        return []
    finally:
        await con.close()


async def clock() -> int:
    """A tick at the start and each quarter of an hour. Two clocks are harmless: what is not later is ignored."""
    import os  # noqa: PLC0415

    from aiokafka import AIOKafkaProducer  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    from contracts.envelope import Tick  # noqa: PLC0415
    from services.runtime.clock import publish  # noqa: PLC0415

    servers = os.environ.get("LOTSE_KAFKA")
    if not servers:
        raise Trouble("missing: LOTSE_KAFKA", "set it to host:port of a broker", USAGE)
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    security = json.loads(os.environ.get("LOTSE_KAFKA_SECURITY", "{}"))
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, client_id="clock", **security)
    try:
        await producer.start()
        while not stop.is_set():
            now = datetime.now(UTC)
            await publish(producer, Tick(at=now))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUARTER - now.timestamp() % QUARTER):
                    await stop.wait()
    except (KafkaError, OSError) as error:
        raise Trouble(f"Kafka does not answer ({type(error).__name__})", "check LOTSE_KAFKA", UNREACHABLE) from None
    finally:
        await producer.stop()
    return 0
