"""One service in the foreground: FastStream as a thin host, the relay, the minder and HTTP, in one process."""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog
import uvicorn
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from fastapi import FastAPI, Response
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from prometheus_client import generate_latest

from contracts.envelope import stamp
from contracts.topics import CLOCK, answers_topic, dead_letters_topic, facts_topic, load_publishers
from services.runtime import clock, errands
from services.runtime.batch import inputs_of
from services.runtime.database import RETRY, connect
from services.runtime.failures import Held, arm, name_of
from services.runtime.inputs import Inputs, as_status, lag_of
from services.runtime.kafka import Reader
from services.runtime.positions import Part
from services.runtime.relay import OlderThanLog, Relay, refuse_if_older
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry import Metrics, set_up_logs

log = structlog.get_logger()

STATUS_VERSION = 1
STUCK_AFTER = 60.0  # seconds without a settled batch while there is lag: the loop no longer turns
MINDER_REST = 1.0
COMMIT_REST = 5.0
REFRESH_REST = 30.0


class Host:
    """Runs one service until it is told to stop."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self.service, self.settings = service, settings
        self.publishers = load_publishers(settings.publishers)
        self.source = f"//lotse/{settings.installation}/{service.name}"
        self.metrics = Metrics()
        self.topics = inputs_of(service, self.publishers)
        self.ready = False
        self.ends: dict[Part, int] = {}
        self.caught_up_at = datetime.now(UTC)

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Serves until SIGTERM or SIGINT. Raises OlderThanLog, BadSettings, BadPublishers before serving."""
        settings = self.settings
        stop = asyncio.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, stop.set)
        async with contextlib.AsyncExitStack() as stack:
            self.pool = await connect(settings.database.get_secret_value())
            stack.callback(self.pool.terminate)
            self.reader = Reader(settings.kafka, settings.kafka_security, self.service.name)
            stack.push_async_callback(self.reader.stop)
            await self.reader.start()
            self.relay = Relay(
                self.pool, settings.database.get_secret_value(), settings.kafka, settings.kafka_security,
                self.service.name, self.metrics,
            )  # fmt: skip
            self.inputs = Inputs(
                self.service, self.publishers, self.topics, self.source, self.pool, self.reader, self.metrics,
                settings.simulated_time, self.relay.wake, settings.lease_seconds,
            )  # fmt: skip
            await stack.enter_async_context(self._http())
            await refuse_if_older(self.pool, self.reader, self.own_topics())
            await self.inputs.refresh()
            await clock.replay_set_aside(self.pool, self.service, self.publishers, self.source)
            tasks = [asyncio.create_task(self.relay.run()), asyncio.create_task(self._mind())]
            if self.service.errand:
                tasks.append(asyncio.create_task(
                    errands.run(self.inputs.claimed, self.pool, self.service, self.source, self.relay.wake)))  # fmt: skip
            gc.collect()
            gc.freeze()  # what lives as long as the process is no garbage: +25-45 % of the loop
            gc.set_threshold(50_000, 20, 20)
            broker, subscriber = self._faststream()
            self.subscriber = subscriber
            await broker.start()
            self.ready = True
            if started is not None:
                started.set()
            log.info("serving", port=settings.http_port)
            stopping = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            self.ready = False
            await broker.stop()
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            for task in done - {stopping}:
                task.result()  # a task that ended by itself ends the process, with its reason
        log.info("stopped")

    def own_topics(self) -> list[str]:
        """Every topic this service alone writes."""
        publishers = self.publishers.values()
        own = [facts_topic(family) for family in self.service.owned]
        own += [answers_topic(f, p.name) for p in publishers for f in p.families if f in self.service.owned]
        own += [self.service.reports.topic] if self.service.reports else []
        return [*own, dead_letters_topic(self.service.name)]

    def _faststream(self) -> tuple[KafkaBroker, Any]:
        """FastStream with our corrections: a total parser, a decoder that decodes nothing, acknowledgement by position rows."""
        broker = KafkaBroker(
            self.settings.kafka, apply_types=False, graceful_timeout=20, logger=None, **self.settings.kafka_security
        )
        subscriber: Any = None

        async def parse(records: tuple["ConsumerRecord[Any, Any]", ...]) -> KafkaAckableMessage:
            return KafkaAckableMessage(
                body=list(records), headers={}, raw_message=records, consumer=subscriber.consumer,
                message_id=str(records[0].offset),
            )  # fmt: skip

        async def undecoded(message: Any) -> Any:
            return message.body

        names = "|".join(sorted(name.replace(".", r"\.") for name in self.topics))
        subscriber = broker.subscriber(
            pattern=f"^({names})$",
            group_id=self.settings.group or f"lotse-{self.service.name}",
            batch=True,
            max_records=2000,
            batch_timeout_ms=20,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=20_000,
            rebalance_timeout_ms=60_000,
            max_partition_fetch_bytes=1024 * 1024,
            parser=parse,
            decoder=undecoded,
        )

        @subscriber  # type: ignore[untyped-decorator]
        async def take(records: list[Any]) -> None:
            await self.inputs.handle(subscriber.consumer, records)

        return broker, subscriber

    # --- the minder

    async def _mind(self) -> None:
        """Each second: ticks, leases, ends. Never touches the serving consumer but to commit, for lag tools only."""
        refreshed = committed = time.monotonic()
        while True:
            await asyncio.sleep(MINDER_REST)
            try:
                if time.monotonic() - refreshed > REFRESH_REST:
                    await self.inputs.refresh()
                    refreshed = time.monotonic()
                await self.inputs.pass_markers()
                await self.inputs.act()
                if await errands.expire(self.pool, self.service, self.source):
                    self.relay.wake()
                self.ends = await self.reader.ends(self.inputs.parts)
                if time.monotonic() - committed > COMMIT_REST:
                    await self._commit()
                    committed = time.monotonic()
                self.inputs.held.pop("minder", None)
            except (*RETRY, KafkaError) as error:
                self.inputs.held["minder"] = Held("minder", name_of(error), datetime.now(UTC))

    async def _commit(self) -> None:
        """Kafka's committed offsets follow the rows; nobody here reads them."""
        consumer = self.subscriber.consumer
        rows = await self.pool.fetch("select topic, part, next from position")
        to = {tp: r["next"] for r in rows if (tp := TopicPartition(r["topic"], r["part"])) in consumer.assignment()}
        with contextlib.suppress(KafkaError):
            if to:
                await consumer.commit(to)

    # --- HTTP

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[None]:
        app = FastAPI(title=f"Lotse {self.service.name}", docs_url=None, redoc_url=None)

        @app.get("/live")
        async def live(response: Response) -> dict[str, Any]:
            lag = sum((await self._lag()).values()) if self.ready else 0
            stuck = lag > 0 and not self.inputs.held and time.monotonic() - self.inputs.progress > STUCK_AFTER
            response.status_code = 503 if stuck else 200
            return {"live": not stuck}

        @app.get("/ready")
        async def ready(response: Response) -> dict[str, Any]:
            response.status_code = 200 if self.ready else 503
            return {"ready": self.ready}

        @app.get("/status")
        async def status() -> dict[str, Any]:
            return await self.status()

        @app.get("/metrics")
        async def metrics() -> Response:
            with contextlib.suppress(*RETRY):
                await self.status()
            return Response(generate_latest(self.metrics.registry), media_type="text/plain; version=0.0.4")

        if self.service.routes:
            app.include_router(self.service.routes(self.pool))
        server = uvicorn.Server(
            uvicorn.Config(
                app, host=self.settings.http_host, port=self.settings.http_port, log_config=None, access_log=False
            )
        )
        server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]  # signals are ours
        serving = asyncio.create_task(server.serve())
        try:
            yield
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([serving], timeout=5)
            serving.cancel()

    async def _lag(self) -> dict[str, int]:
        with contextlib.suppress(*RETRY):
            return lag_of(await self.pool.fetch("select topic, part, next from position"), self.ends)
        return {}

    async def status(self) -> dict[str, Any]:
        """What an operator asks: is every submission being answered, and if not, where does it stand still?"""
        said: dict[str, Any] = {"version": STATUS_VERSION, "service": self.service.name, "ready": self.ready}
        held = as_status(self.inputs.held)
        try:
            async with self.pool.acquire(timeout=5) as con:
                rows = await con.fetch("select topic, part, next, held, held_since from position")
                one = (await con.fetch(_STATUS_SQL))[0]
                ticks = await con.fetch("select tenant, ticked, acted from alliance order by tenant")
                letters = await con.fetch(
                    "select topic, type, rule, letters from dead_letter_count order by topic, type, rule"
                )
                aside = await con.fetch('select topic, part, "offset", error from set_aside order by at limit 100')
                findings = await self.service.note(con) if self.service.note else []
                held_ticks = await con.fetch("select at, held from tick where held is not null order by at")
        except RETRY as error:
            return {**said, "database": name_of(error), "held": held}
        held += [
            {"what": f"{r['topic']}/{r['part']}", "why": r["held"], "since": stamp(r["held_since"])}
            for r in rows
            if r["held"]
        ]
        lag = lag_of(rows, self.ends)
        if not any(lag.values()):
            self.caught_up_at = datetime.now(UTC)
        lag_seconds = (datetime.now(UTC) - self.caught_up_at).total_seconds()
        m = self.metrics
        for gauge, value in ((m.lag_seconds, lag_seconds), (m.outbox_rows, one["outbox"]), (m.outbox_seconds, one["outbox_age"]),
                             (m.waiting, one["waiting"]), (m.set_aside, one["set_aside"]), (m.held, len(held)),
                             (m.dead_letters, sum(r["letters"] for r in letters))):  # fmt: skip
            gauge.set(value)
        known = set(self.topics) | {CLOCK}
        return {
            **said,
            "ticked": {r["tenant"]: stamp(r["ticked"]) if r["ticked"] else None for r in ticks},
            "acted": {r["tenant"]: stamp(r["acted"]) if r["acted"] else None for r in ticks},
            "clock": {"read": next((r["next"] for r in rows if r["topic"] == CLOCK), 0), "acting": one["acting"]},
            "lag_seconds": round(lag_seconds, 1),
            "lag": {topic: n for topic, n in lag.items() if n},
            "outbox": {"rows": one["outbox"], "seconds": round(one["outbox_age"], 1)},
            "waiting": one["waiting"],
            "early": one["early"],
            "set_aside": {"count": one["set_aside"], "which": [dict(r) for r in aside]},
            "dead_letters": [dict(r) for r in letters],
            "held": held,
            "held_ticks": [{"at": stamp(r["at"]), "why": r["held"]} for r in held_ticks],
            "not_consumed": sorted({r["topic"] for r in rows} - known),
            "answered": one["answered"],
            "facts": one["facts"],
            "last_progress_seconds": round(time.monotonic() - self.inputs.progress, 1),
            "last_rebuild": stamp(one["rebuilt"]) if one["rebuilt"] else None,
            "findings": findings,
        }


_STATUS_SQL = """
select (select count(*) from outbox) as outbox,
       (select coalesce(extract(epoch from now() - min(at)), 0)::float from outbox) as outbox_age,
       (select count(*) from waiting) as waiting, (select count(*) from early) as early,
       (select count(*) from set_aside) as set_aside, (select count(*) from answered) as answered,
       (select count(*) from timeline) as facts, (select max(at) from rebuilt) as rebuilt,
       (select count(*) from tick where held is null)
           + (select count(*) from alliance where acted is distinct from ticked) as acting
"""


def serve(service: Service, settings: Settings) -> int:
    """Runs a service; the exit code says how it ended: 0 stopped, 3 a dependency is unreachable, 4 refused to serve."""
    set_up_logs(service.name, settings.log_level)
    if settings.failpoint:
        arm(settings.failpoint)
    try:
        asyncio.run(Host(service, settings).run())
    except OlderThanLog as older:
        log.error(
            "refuses to serve: the database is older than the log", facts=older.facts, why="lotse rebuild mends it"
        )
        return 4
    except (KafkaError, asyncpg.PostgresError, OSError, TimeoutError) as error:
        log.error("a dependency is unreachable", error=name_of(error))
        return 3
    return 0
