"""One service in the foreground: FastStream as a thin host, the relay, the minder and HTTP, in one process."""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import AsyncIterator
from contextvars import Context
from itertools import chain
from typing import Any, cast

import asyncpg
import structlog
import uvicorn
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from prometheus_client import generate_latest

from services.host.inputs import Inputs
from services.host.kafka import Reader
from services.host.own_logs import letters_beyond, look_for_lost
from services.host.relay import Relay
from services.host.running import running, say_held, settle_in
from services.host.settings import Settings
from services.host.status import Status
from services.kept import errands
from services.kept.dead_letters import sum_up
from services.kept.taking_up import catch_up, replay
from services.operating import operate
from services.process.ending import ended, until_told
from services.process.failpoints import arm
from services.process.otherwise import GIVEN_UP, read_otherwise
from services.process.telemetry import set_up_logs, set_up_traces
from services.process.watchdog import Watchdog
from services.runtime import positions
from services.runtime.database import RETRY, columns, connect
from services.runtime.failures import name_of
from services.runtime.outbox import forget_sent
from services.runtime.service import Service
from services.runtime.work import NOT_THE_DATA, OlderShape

log = structlog.get_logger()

BATCH, BATCH_MS = 2000, 200  # records; a wait for the first of them (20 ms made an idle service cost twice as much)
READERS = 2  # connections of those who read what the service shows: were they the loop's own, six who ask at once would stop it
STUCK_AFTER = 60.0  # seconds without a settled batch while there is lag: the loop no longer turns
MINDER_REST, COMMIT_REST, REFRESH_REST, OLDER_REST = 1.0, 5.0, 30.0, 5.0
_OLDER = ("select exists (select from state s join unnest($1::text[], $2::int[]) ours (kind, shape) using (kind)"
          " where s.body is not null and s.shape < ours.shape)")  # fmt: skip
GRACE, LEAVE = 17, 18
"""Seconds the batch in hand has to end, and with it Kafka to let us go: of one that is silent a member takes leave for forty, and
Kubernetes kills after thirty, before anything is handed back."""


def _revive(consumer: Any) -> None:
    """aiokafka's heartbeat ends at an error it does not know and at a group it may not read, and nobody begins another: Kafka
    would put the member out for good. It joins anew. (There is no public way.) Where the task that joins has ended, this process
    would never hear anything again: it ends, and another begins."""
    coordinator = consumer._coordinator
    if coordinator._coordination_task.done():
        log.critical("the consumer's group can't be joined any more; the process ends")
        signal.raise_signal(signal.SIGTERM)
    elif (beat := coordinator._heartbeat_task) is not None and beat.done():
        coordinator.request_rejoin()


class Host:
    """Runs one service until it is told to stop."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self.service, self.settings = service, settings

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT. While its database is older than the log, or an earlier version made what stands there, it
        is up, not ready, and does not serve. Raises BadPublishers, OlderThanLog where it is set back meanwhile, and what Kafka and
        Postgres raise before it serves."""
        await until_told(self._run())
        log.info("stopped")

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            dsn = self.settings.database.get_secret_value()
            pool, self.readers = await connect(dsn), await connect(dsn, size=READERS)
            stack.callback(pool.terminate)
            stack.callback(self.readers.terminate)
            reader = Reader(self.settings.kafka, self.settings.kafka_security, self.service.name)
            stack.push_async_callback(reader.stop)
            await reader.start()
            self.node = running(self.service, self.settings, pool, reader)
            self.inputs = Inputs(self.node)
            self.status = Status(self.node, self.inputs)
            await stack.enter_async_context(self._http())
            await self._serve()

    async def _serve(self) -> None:
        while older := await letters_beyond(self.node):
            if older != self.status.older:
                log.error("the database is older than the log", facts=older, why="lotse rebuild mends it")
            self.status.older = older
            await asyncio.sleep(OLDER_REST)
        self.status.older = 0
        # Reporting releases figures without looking at any state: of an earlier version's lists they would be for good.
        while await self.node.pool.fetchval(_OLDER, *columns(self.service.shapes.items())):
            say_held(self.inputs.held, "everything", OlderShape.__name__)
            await asyncio.sleep(OLDER_REST)
        self.inputs.held.pop("everything", None)
        await self.inputs.refresh(led=True)
        await replay(self.node)
        jobs = [Relay(self.node).run(), self._mind(), Watchdog().run()]
        tasks: list[asyncio.Future[None]] = [*map(asyncio.create_task, jobs), self.inputs.set_back]
        making = [asyncio.create_task(errands.run(self.node, self.inputs.claimed))] if self.service.errand else []
        settle_in(500_000)
        broker, self.subscriber = self._faststream()
        try:
            await broker.start()
            self.status.ready = True
            log.info("serving", port=self.settings.http_port)
            done, _ = await asyncio.wait([*tasks, *making], return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            self.status.ready = False
            for task in making:
                task.cancel()  # begins no other, and ends the one in hand while FastStream stops
            try:
                await ended(broker.stop(), LEAVE)
            finally:
                for one in tasks:
                    one.cancel()
                await asyncio.gather(*tasks, *making, return_exceptions=True)
                await errands.hand_back(self.node)

    def _faststream(self) -> tuple[KafkaBroker, Any]:
        """FastStream with our corrections: a total parser, a decoder that decodes nothing, acknowledgement by position rows."""
        kafka, security = self.settings.kafka, self.settings.kafka_security
        # Split: FastStream takes a text with commas for one address. Topics are looked for as often as the minder looks: with aiokafka's
        # five minutes a partner whose topics had just been made waited so long for its first answer.
        broker = KafkaBroker(kafka.split(","), security=security.faststream(), metadata_max_age_ms=int(REFRESH_REST * 1000),
                             apply_types=False, graceful_timeout=GRACE, logger=None)  # fmt: skip
        subscriber: Any = None

        async def parse(records: tuple["ConsumerRecord[Any, Any]", ...]) -> KafkaAckableMessage:
            return KafkaAckableMessage(
                body=list(records), headers={}, raw_message=records, consumer=subscriber.consumer,
                message_id=str(records[0].offset),
            )  # fmt: skip

        async def undecoded(message: Any) -> Any:
            return message.body

        names = "|".join(sorted(name.replace(".", r"\.") for name in self.node.inputs))
        subscriber = broker.subscriber(
            pattern=f"^({names})$", group_id=self.settings.group or f"lotse-{self.service.name}", batch=True,
            ack_policy=AckPolicy.MANUAL, auto_offset_reset="earliest",
            isolation_level="read_committed", session_timeout_ms=20_000, rebalance_timeout_ms=60_000,
            max_poll_interval_ms=self.settings.poll_seconds * 1000,
            max_partition_fetch_bytes=1024 * 1024, fetch_max_bytes=8 * 1024 * 1024, parser=parse, decoder=undecoded,
        )  # fmt: skip

        async def otherwise(consumer: Any, error: Exception) -> dict[Any, list[Any]]:
            read, corrupt = await asyncio.to_thread(read_otherwise, kafka, security, await self.inputs.back(consumer))
            self.inputs.rest(consumer, corrupt, error)
            if not (read or corrupt):  # whatever it is, somebody hears of it
                raise error
            # some may have left meanwhile
            found = {tp: records for tp, records in read.items() if tp in consumer.assignment()}
            for tp, records in found.items():
                consumer.seek(tp, records[-1].offset + 1)
            return found

        async def fetch(consumer: Any) -> tuple[Any, ...]:
            """As FastStream's own, but nothing is passed over after an error, and what aiokafka can't read is read otherwise."""
            try:
                try:
                    found = await consumer.getmany(timeout_ms=BATCH_MS, max_records=BATCH)
                except GIVEN_UP as error:
                    found = await otherwise(consumer, error)
                self.inputs.held.pop("fetch", None)
            except ConsumerStoppedError:
                raise
            except Exception as error:  # FastStream would say nothing of it, and come again
                say_held(self.inputs.held, "fetch", name_of(error))
                _revive(consumer)
                await self.inputs.back(consumer)
                raise
            # In the same breath: the minder must not send the consumer back below it. (No subscription: no topic is there yet.)
            self.inputs.fetched(found, getattr(consumer._subscription.subscription, "assignment", None))
            return tuple(chain(*found.values()))

        subscriber.get_msg = fetch

        @subscriber  # type: ignore[untyped-decorator]
        async def take(records: list[Any]) -> None:
            # Not in FastStream's context, which holds the batch: asyncpg's timers keep the context they were set in, up to
            # five minutes, and kept some hundred batches (640 MB instead of 250).
            await asyncio.create_task(self.inputs.handle(subscriber.consumer, records), context=Context())

        return broker, subscriber

    # --- the minder

    async def _mind(self) -> None:
        """Each second: ticks, leases, ends. Never touches the serving consumer but to commit, for lag tools only."""
        refreshed, compared, committed = 0.0, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(MINDER_REST)
            try:
                if time.monotonic() - refreshed > REFRESH_REST:
                    await self.status.certificates.look()  # first: what has ended is why all that follows fails
                    await self.inputs.refresh(led=True)
                    await forget_sent(self.node.pool)
                    await sum_up(self.node.pool)
                    refreshed = time.monotonic()
                await self.inputs.act()
                await catch_up(self.node)
                await errands.expire(self.node, self.inputs.claimed)
                if time.monotonic() - committed > COMMIT_REST:
                    gc.collect()  # a fetch read by half is a cycle in aiokafka: few objects, some 100 kB each
                    await self._commit()
                    committed = time.monotonic()
                # last: one partition without a leader, and nobody hears of any end
                await self.status.look(await self.node.reader.ends(self.inputs.parts))
                await self.inputs.look_after(self.subscriber.consumer, self.status.ends)
                if time.monotonic() - compared > REFRESH_REST:
                    compared = time.monotonic()
                    await look_for_lost(self.node)
                self.inputs.held.pop("minder", None)
            except (*NOT_THE_DATA, KafkaError) as error:
                say_held(self.inputs.held, "minder", name_of(error))
                refreshed = 0.0  # perhaps one has lost its leader, and is not asked again

    async def _commit(self) -> None:
        """Kafka's committed offsets follow the rows; nobody here reads them."""
        consumer, stands = self.subscriber.consumer, await positions.stand(self.node.pool)
        mine = consumer.assignment() if consumer else ()  # FastStream has none yet while it waits for its producer
        if to := {tp: next for part, next in stands.items() if (tp := TopicPartition(*part)) in mine}:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(COMMIT_REST):  # aiokafka would ask a coordinator that is away for ever
                    await consumer.commit(to)

    # --- HTTP

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[None]:
        # FastAPI's own spans name the path and the query, whatever somebody typed there, and its records quote errors
        quiet = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False)
        app = FastAPI(title=f"Lotse {self.service.name}", docs_url=None, redoc_url=None, telemetry=quiet)

        @app.get("/live")
        async def live(response: Response) -> dict[str, Any]:
            # As the minder saw it last: who asks kills what does not answer, and a database that is silent is no reason to. Nor is it
            # one that everything is held; a single partition that is held is tried again, and counts as progress.
            idle = self.status.idle() if self.status.ready else 0.0
            stuck = idle > STUCK_AFTER and not {"everything", "fetch"} & self.inputs.held.keys()
            response.status_code = 503 if stuck else 200
            return {"live": not stuck}

        @app.get("/ready")
        async def ready(response: Response) -> dict[str, Any]:
            response.status_code = 200 if self.status.ready else 503
            return {"ready": self.status.ready}

        @app.get("/status")
        async def status() -> dict[str, Any]:
            return await self.status.said()

        @app.get("/metrics")
        async def metrics() -> Response:
            await self.status.said()
            return Response(generate_latest(self.node.metrics.registry), media_type="text/plain; version=0.0.4")

        async def away(_: Request, error: Exception) -> JSONResponse:
            what = "Kafka does not answer" if isinstance(error, KafkaError) else "the database is away"
            said = {"why": f"{what} ({name_of(error)})", "way_out": "ask again"}
            return JSONResponse(said, 503, {"Retry-After": "5"})

        async def wrong(_: Request, error: Exception) -> JSONResponse:
            # FastAPI's own answer quotes the values
            found = cast("RequestValidationError", error).errors()
            return JSONResponse({"wrong": ["/".join([*map(str, one["loc"]), one["type"]]) for one in found]}, 422)

        app.add_exception_handler(RequestValidationError, wrong)
        for kind in (*RETRY, KafkaError):
            app.add_exception_handler(kind, away)
        app.include_router(operate.routes(self.node))
        if self.service.routes:
            app.include_router(self.service.routes(self.readers))
        host, port = self.settings.http_host, self.settings.http_port
        server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False))
        server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]  # signals are ours
        listening = asyncio.create_task(server.serve())
        try:
            yield
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([listening], timeout=5)
            listening.cancel()


def serve(service: Service, settings: Settings) -> int:
    """Runs a service; the exit code says how it ended: 0 stopped, 3 a dependency is unreachable."""
    set_up_logs(service.name, settings.log_level)
    set_up_traces(service.name)
    if settings.failpoint:
        arm(settings.failpoint)
    try:
        asyncio.run(Host(service, settings).run())
    except (KafkaError, *RETRY, asyncpg.PostgresError) as error:
        name = "LOTSE_KAFKA" if isinstance(error, KafkaError) else "LOTSE_DATABASE"
        log.error("a dependency is unreachable", name=name, error=name_of(error))
        return 3
    return 0
