"""`lotse serve`: one service, or the clock, in the foreground; what a container runs."""

import asyncio
import signal
import socket
import sys
from datetime import UTC, datetime
from errno import errorcode
from typing import Any

import click

from deploy.errors import DONE, FINDINGS, REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.places import SERVICES

QUARTER = 900  # seconds between ticks


class Serving(click.Command):
    """Its help says which settings there are: what is missing or wrong is named, and here is what it means."""

    def invoke(self, ctx: click.Context) -> Any:
        """Told to end before it serves it ends at once: the first process of a container would pass over it until it is killed."""
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))
        try:
            return super().invoke(ctx)
        finally:
            signal.signal(signal.SIGTERM, before)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from services.host.settings import Settings  # noqa: PLC0415
        from services.notification.organisations import MailSettings  # noqa: PLC0415

        super().format_options(ctx, formatter)
        kinds: dict[str, Any] = {
            "Settings (the clock: the first two)": Settings,
            "Settings of notification, too": MailSettings,
        }
        for title, kind in kinds.items():
            with formatter.section(title):
                formatter.write_dl([(f"LOTSE_{name.upper()}", f"{field.description}{_default(field)}")
                                    for name, field in kind.model_fields.items()])  # fmt: skip


def _default(field: Any) -> str:
    """As click says it of an option."""
    shown = f"  [default: {field.default}]" if isinstance(field.default, str | int) else ""
    return "  [required]" if field.is_required() else shown


@click.command(cls=Serving)
@click.argument("name", type=click.Choice([*SERVICES, "clock"]))
def app(name: str) -> int:
    """One service in the foreground; settings come from the environment (LOTSE_*)."""
    from services.host.host import serve  # noqa: PLC0415
    from services.host.own_logs import OlderThanLog  # noqa: PLC0415
    from services.host.settings import BadSettings, load_settings  # noqa: PLC0415

    if name == "clock":
        return asyncio.run(clock())
    from deploy.services import declared, publishers_from  # noqa: PLC0415

    try:
        settings = load_settings()
        _free(settings.http_host, settings.http_port)
        publishers_from(settings.publishers, "LOTSE_PUBLISHERS")  # at once, and not when Kafka and Postgres answer
        if missing := asyncio.run(_missing(name, settings.database.get_secret_value())):
            raise Trouble(f"the database of {name} is older than this code: {', '.join(missing)} did not run",
                          f"`lotse migrate {name}`, as its owner; then start again", REFUSED)  # fmt: skip
        return serve(declared(name), settings)
    except OlderThanLog as older:
        raise Trouble(f"the database of {name} was set back while it was served: its log holds {older} it does not know",
                      f"start again; it waits and does not serve until `lotse rebuild {name}` has run", FINDINGS) from None  # fmt: skip
    except BadSettings as bad:
        raise Trouble(str(bad), "`lotse serve --help` says what each one means", USAGE) from None


def _free(host: str, port: int) -> None:
    """Raises BadSettings where nobody can listen there: uvicorn would end the process, and name no setting."""
    from services.host.settings import BadSettings  # noqa: PLC0415

    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        why = errorcode.get(error.errno or 0, "")
        raise BadSettings(
            f"LOTSE_HTTP_PORT: nobody can listen there ({why}). Way out: free it, or name another"
        ) from None


async def _missing(name: str, dsn: str) -> list[str]:
    """Migrations that did not run; none where that can't be asked now: the service waits for its database and says so. A
    schema that is newer is served: migrations run before the release that needs them. Raises BadSettings where asyncpg can't
    use the address: it would quote parts of it."""
    import asyncpg  # noqa: PLC0415

    from deploy.services import schema_against_code  # noqa: PLC0415
    from services.host.settings import BadSettings  # noqa: PLC0415
    from services.runtime.database import RETRY  # noqa: PLC0415

    away: tuple[type[Exception], ...] = (*RETRY, asyncpg.PostgresError)
    try:
        con = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    except ValueError as error:  # a ClientConfigurationError is one
        raise BadSettings(f"wrong: LOTSE_DATABASE ({type(error).__name__})") from None
    except away:
        return []
    try:
        return (await schema_against_code(name, con))[0]
    except away:
        return []
    finally:
        con.terminate()


async def clock() -> int:
    """A tick at the start and each quarter of an hour. Two clocks are harmless: what is not later is ignored."""
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    from contracts.envelope import Tick  # noqa: PLC0415
    from deploy.installation import kafka_settings  # noqa: PLC0415
    from services.clock import publish  # noqa: PLC0415
    from services.process.ending import ended, until_told  # noqa: PLC0415

    said = kafka_settings()
    if said.kafka is None:
        raise Trouble("missing: LOTSE_KAFKA", "set it to host:port of a broker", USAGE)
    producer = AIOKafkaProducer(
        bootstrap_servers=said.kafka, enable_idempotence=True, client_id="clock", **said.kafka_security.aiokafka()
    )

    async def tick() -> None:
        await producer.start()
        while True:
            now = datetime.now(UTC)
            await publish(producer, Tick(at=now))
            await asyncio.sleep(QUARTER - now.timestamp() % QUARTER)

    try:
        await until_told(tick())
    except (KafkaError, OSError) as error:
        raise Trouble(f"Kafka does not answer ({type(error).__name__})", "check LOTSE_KAFKA", UNREACHABLE) from None
    finally:
        await ended(producer.stop())
    return 0
