"""What runs while it is measured: a stack of its own, services as processes, workers of one group that can be frozen."""

import asyncio
import contextlib
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from contracts.envelope import Tick
from contracts.topics import catalogue
from deploy.bench.people import People, Record, Reports
from deploy.errors import FINDINGS, Trouble
from deploy.fleet import Fleet, Setup
from deploy.local.processes import Process, free_port
from deploy.local.stack import LocalStack
from deploy.places import SERVICES
from deploy.services import migrate
from services.clock import publish

PATIENCE = 120.0  # seconds without any step until a measurement is given up: its figures would be about something else
TOPICS_AT_ONCE = 50  # hundreds in one request take longer than its limit
SEGMENTS = 64
"""Of 16 MB, of Postgres' log. One that has run for a while writes into those that are there; one that is new makes each while a
COMMIT waits: at 500/s 20 of 4,000 took 60 to 290 ms, and p99 of an answer was 193 ms instead of 89."""
SLOW = 30
"""Milliseconds from which Postgres writes a statement down, without its values: as long as 99 of 100 answers may take."""
IN_HAND = 50_000  # records of a load that librdkafka may hold
RELAY_LOCK = "select pg_advisory_lock(hashtext('lotse relay'))"
RELAY_CONNECTION = "lotse-relay-referral"
"""The lock a service's one relay holds, and its connection's name: who takes them away measures the loop alone."""


class Worker:
    """One process of a service."""

    def __init__(self, house: "House", name: str, number: int) -> None:
        self.name, self.port = name, free_port()
        self.process = Process(house.stack.folder / "bench", f"{name}-{number}")
        self.seconds_to_ready = 0.0
        self._house, self._http = house, httpx.AsyncClient(timeout=30, limits=httpx.Limits(keepalive_expiry=2))

    async def start(self) -> None:
        """Ready when it returns; `seconds_to_ready` says how long that took."""
        env = self._house.fleet.environment(self.name, LOTSE_HTTP_PORT=str(self.port))
        started = time.monotonic()
        self.process.start([sys.executable, "-m", "deploy.cli", "serve", self.name], env)
        while time.monotonic() < started + 60:
            self.process.alive_or_raise()
            with contextlib.suppress(httpx.HTTPError):
                if (await self._http.get(f"http://127.0.0.1:{self.port}/ready")).status_code == 200:
                    self.seconds_to_ready = time.monotonic() - started
                    return
            await asyncio.sleep(0.02)
        raise Trouble(f"{self.name} is not ready:\n{self.process.last_words()}", f"see {self.process.log}")

    async def get(self, path: str, **query: str) -> Any:
        """Asks its HTTP. Raises Trouble with its last words where it has ended."""
        self.process.alive_or_raise()
        return (await self._http.get(f"http://127.0.0.1:{self.port}{path}", params=query)).raise_for_status().json()

    async def stop(self) -> None:
        """SIGTERM, and its end."""
        await self._http.aclose()
        self.process.stop()

    @property
    def measured(self) -> psutil.Process:
        """As the operating system sees it."""
        assert self.process.child
        return psutil.Process(self.process.child.pid)

    def signal(self, sign: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process.child
        os.kill(self.process.child.pid, sign)


class House:
    """A stack with people on its topics. `start` is called outside an event loop, everything else inside one."""

    def __init__(self, people: People, *, partitions: int = 4) -> None:
        self.people, self.partitions = people, partitions
        self.stack = LocalStack.ephemeral()
        self.reports = Reports(people)
        self.workers: dict[str, list[Worker]] = {name: [] for name in SERVICES}
        self.asked: dict[str, Any] = {}
        """Connections to services' databases that meters read."""

    def start(self) -> None:
        """Kafka, Postgres, databases. Raises Trouble."""
        self.stack.start()
        publishers, organisations = self.stack.folder / "publishers.toml", self.stack.folder / "organisations.toml"
        publishers.write_text(self.people.publishers_toml())
        organisations.write_text("")
        self.fleet = Fleet(self.stack, Setup(publishers, organisations))
        self._run_in()
        for name in self.workers:
            migrate(name, self.stack.databases[name].owner)

    def _run_in(self) -> None:
        """Postgres counts statements and their time (`pg_stat_statements`), which it must be told before it starts, and has the
        segments of its log that it will have after some days."""

        async def ask(dsn: str, *statements: str) -> None:
            con = await asyncpg.connect(dsn)
            for sql in statements:
                await con.execute(sql)
            await con.close()

        asyncio.run(ask(
            self.stack.admin_dsn, "alter system set shared_preload_libraries = 'pg_stat_statements'",
            f"alter system set min_wal_size = '{SEGMENTS * 16}MB'", f"alter system set max_wal_size = '{SEGMENTS * 32}MB'",
            f"alter system set log_min_duration_statement = {SLOW}",
            "alter system set log_parameter_max_length = 0",
        ))  # fmt: skip
        self.stack.processes["postgres"].stop()
        self.stack.start_again("postgres")()
        one_more = ("select pg_current_xact_id()", "select pg_switch_wal()")
        asyncio.run(ask(self.stack.admin_dsn, *one_more * SEGMENTS, "checkpoint"))
        asyncio.run(ask(self.database_dsn, "create extension pg_stat_statements"))

    async def open(self) -> None:
        """Clients and topics."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # fresh topics have no leader for a moment
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.stack.kafka, enable_idempotence=True, linger_ms=2, max_batch_size=64 * 1024
        )
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.stack.kafka)
        self.consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka, isolation_level="read_committed")
        self.writer = Producer({
            "bootstrap.servers": self.stack.kafka, "enable.idempotence": True, "linger.ms": 2, "batch.size": 64 * 1024,
            "partitioner": "murmur2_random", "log_level": 2,
        })  # fmt: skip
        for client in (self.producer, self.admin, self.consumer):
            await client.start()
        self.database = await asyncpg.connect(self.database_dsn)
        topics = {t.name: t for t in catalogue(self.people.entries())}
        counts = {name: 1 if t.partitions == 1 else self.partitions for name, t in topics.items()}
        self.parts = {name: [TopicPartition(name, n) for n in range(count)] for name, count in counts.items()}
        new = [NewTopic(name, count, 1, topic_configs=topics[name].config) for name, count in counts.items()]
        for at in range(0, len(new), TOPICS_AT_ONCE):
            made = await self.admin.create_topics(new[at : at + TOPICS_AT_ONCE])
            if bad := [error for error in made.topic_errors if error[1]]:
                raise Trouble(f"topic {bad[0][0]} could not be made (Kafka error {bad[0][1]})", "run it again")
        for at in range(0, len(new), TOPICS_AT_ONCE):
            some = [topic.name for topic in new[at : at + TOPICS_AT_ONCE]]
            async with asyncio.timeout(PATIENCE):  # the broker opens hundreds of partitions after it has said yes
                while not all(map(_led, await self.admin.describe_topics(some))):
                    await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Everything that was started ends, and the folder goes."""
        for worker in [worker for found in self.workers.values() for worker in found]:
            worker.signal(signal.SIGCONT)
            await worker.stop()
        for connection in self.asked.values():
            await connection.close()
        for client in ("producer", "admin", "consumer", "database"):
            if found := getattr(self, client, None):
                with contextlib.suppress(Exception):
                    await (found.close() if client in ("admin", "database") else found.stop())
        self.stack.stop()

    # --- who is there

    async def settle(self) -> None:
        """Writes the facts of everybody, and a tick."""
        await publish(self.producer, Tick(at=datetime.now(UTC)))
        await self.write(self.people.facts())

    async def forget(self) -> None:
        """reporting, which does not run, has learnt nothing yet, and Kafka knows nothing of its group; what it has released stays:
        without it its database would be older than the log."""
        con = await asyncpg.connect(self.stack.databases["reporting"].owner)
        await con.execute("set search_path = lotse; truncate state, heard, participation_period;"
                          " update position set next = 0 where topic like '%.events'")  # fmt: skip
        await con.close()
        admin = AdminClient({"bootstrap.servers": self.stack.kafka})  # without a name its answer never comes
        gone = admin.delete_consumer_groups(["lotse-reporting"])["lotse-reporting"]
        with contextlib.suppress(KafkaException):  # there is none where it never ran
            await asyncio.to_thread(gone.result, 30)

    def rebuild(self, name: str, under: tuple[str, ...] = ()) -> tuple[int, float, float]:
        """Lets a service learn what the topics hold, as its operator would: (records, seconds, seconds of its CPU). `under`: the
        command that runs it, to look at it. Raises Trouble."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(  # noqa: S603
            [*under, sys.executable, "-m", "deploy.cli", "rebuild", name],
            env=self.fleet.environment(name, LOTSE_HTTP_PORT="0"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        told = re.search(rf"{name}: (\d+) records in ([\d.]+) s", done.stdout)
        if done.returncode or told is None:
            raise Trouble(
                f"{name} could not learn what is there:\n{done.stderr[-600:]}", "see the lines above", FINDINGS
            )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return int(told[1]), float(told[2]), used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime

    async def tick(self) -> None:
        """A tick, acted on by every service that runs: time is known, rules react."""
        offset = await publish(self.producer, Tick(at=datetime.now(UTC)))
        for found in self.workers.values():
            for worker in found[:1]:
                async with asyncio.timeout(PATIENCE + self.people.cases / 500):  # every case is due at its first tick
                    while not _acted((await worker.get("/status"))["clock"], offset):
                        await asyncio.sleep(0.1)

    async def ends(self, parts: dict[str, list[int]]) -> int:
        """How many records stand on topics of our own making, by their ends."""
        return sum(
            (
                await self.consumer.end_offsets([TopicPartition(t, n) for t, found in parts.items() for n in found])
            ).values()
        )

    async def write(self, records: Iterable[Record]) -> int:
        """Writes records, by librdkafka, which takes less of a core: there are millions. Acknowledged when it returns. Gives back
        how many. Raises Trouble."""
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(self._written, records, given_up)
        finally:
            given_up.set()  # a Ctrl-C ends who waits, and not the thread: it would write on to a broker that is gone

    def _written(self, records: Iterable[Record], given_up: threading.Event) -> int:
        count, lost = 0, list[KafkaError]()

        def told(error: KafkaError | None, _: object) -> None:
            if error is not None:
                lost.append(error)

        for record in records:
            while len(self.writer) >= IN_HAND and not given_up.is_set():
                self.writer.poll(0.05)
            if given_up.is_set():
                return count
            self.writer.produce(record.topic, record.value, record.key, headers=record.headers, on_delivery=told)  # type: ignore[arg-type]  # the stub forgets tuples
            self.writer.poll(0)
            count += 1
        last_moment = time.monotonic() + PATIENCE
        while (waiting := self.writer.flush(1.0)) and time.monotonic() < last_moment and not given_up.is_set():
            pass
        if waiting or lost:
            raise Trouble(f"a load could not be written: {lost[0].name() if lost else 'no answer'}", "run it again")
        return count

    # --- workers

    async def employ(self, name: str, count: int) -> None:
        """So many processes of a service, all partitions assigned among them when it returns."""
        found = self.workers[name]
        while len(found) > count:
            await found.pop().stop()
        while len(found) < count:
            found.append(worker := Worker(self, name, len(found)))
            await worker.start()
        async with asyncio.timeout(PATIENCE):
            while count and await self._members(name) != count:
                await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def held_back(self, name: str) -> AsyncIterator[None]:
        """A service's processes read, and learn nothing: what they learn can't be written. Short: after 8 s they rest."""
        con = await asyncpg.connect(self.stack.databases[name].owner)
        try:
            async with con.transaction():
                await con.execute("lock table lotse.heard in share mode")
                yield
        finally:
            await con.close()

    async def _members(self, name: str) -> int:
        """Members of a service's group that have partitions; 0 while it is not stable."""
        (answer,) = await self.admin.describe_consumer_groups([f"lotse-{name}"])
        _error, _group, state, _type, _protocol, members, *_ = answer.groups[0]
        return len([m for m in members if len(m[4]) > 8]) if state == "Stable" else 0

    @contextlib.asynccontextmanager
    async def frozen(self, name: str) -> AsyncIterator[None]:
        """Stops a service's processes as they stand (SIGSTOP) while a load is written: what is measured begins with all of it
        there, all partitions assigned and nothing cold. Short: beyond 20 s the group would go on without them."""
        for worker in self.workers[name]:
            worker.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in self.workers[name]:
                worker.signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def without_relay(self) -> AsyncIterator[None]:
        """Takes referral's relay its lock, so that the loop runs alone and the outbox fills."""
        own = await asyncpg.connect(self.database_dsn)
        try:
            waiting = asyncio.create_task(own.fetchval(RELAY_LOCK))
            async with asyncio.timeout(30):
                while not waiting.done():
                    await self.database.fetch(
                        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
                        " and pid in (select pid from pg_locks where locktype = 'advisory' and granted)", RELAY_CONNECTION,
                    )  # fmt: skip
                    await asyncio.sleep(0.05)
            yield
        finally:
            await own.close()

    @property
    def database_dsn(self) -> str:
        """referral's database, as the superuser."""
        return f"{self.stack.admin_dsn.rpartition('/')[0]}/referral"

    def data(self, topic: str) -> Path:
        """Where Kafka keeps a topic's partitions: `data(topic)-N`."""
        return self.stack.folder / "kafka" / "data" / topic


def _led(topic: dict[str, Any]) -> bool:
    return not topic["error_code"] and all(part["leader"] >= 0 for part in topic["partitions"])


def _acted(clock: dict[str, int], offset: int) -> bool:
    return clock["read"] > offset and clock["acting"] == 0
