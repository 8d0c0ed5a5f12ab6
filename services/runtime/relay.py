"""Facts and answers leave in order, at least once, with the same id. One leader a service."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.runtime.database import Connection
from services.runtime.failures import failpoint, name_of
from services.runtime.kafka import Reader
from services.runtime.outbox import Letter, unpacked
from services.runtime.positions import Part
from services.runtime.telemetry import Metrics

log = structlog.get_logger()

ROWS = 50  # a look at the outbox; each row is a transaction's records, up to some thousand
SEND_LIMIT = 30.0  # seconds; beyond, the topic rests and its late copies are duplicates by design
LONGEST_REST = 30.0
POLL = 0.2  # where another process writes to the outbox, nobody wakes us


class OlderThanLog(Exception):
    """The log holds facts of ours that this database does not know. Way out: `lotse rebuild SERVICE`."""

    def __init__(self, facts: int, topics: list[str]) -> None:
        super().__init__(f"the log is ahead of this database by {facts} records on {', '.join(topics)}")
        self.facts = facts


async def refuse_if_older(pool: asyncpg.Pool, reader: Reader, topics: list[str]) -> None:
    """Raises OlderThanLog where the log, beyond the acknowledged ends, holds what neither was nor is in the outbox."""
    parts = await reader.parts(topics)
    acked = {Part(r["topic"], r["part"]): r["next"] for r in await pool.fetch("select * from acked")}
    starts, ends = await reader.starts(parts), await reader.ends(parts)
    beyond = {p: (max(acked.get(p, 0), starts[p]), ends[p]) for p in parts if ends[p] > acked.get(p, 0)}
    seen: dict[Part, list[tuple[int, bytes]]] = {}
    async for records in reader.records(beyond):
        for record in records:
            part = Part(record.topic, record.partition)
            seen.setdefault(part, []).append((record.offset, _id(record.headers)))
    if not seen:
        return
    async with pool.acquire() as con, con.transaction(isolation="repeatable_read"):  # rows and marks of one moment
        now = {Part(r["topic"], r["part"]): r["next"] for r in await con.fetch("select * from acked")}
        ours = {_id(x.headers) for r in await con.fetch("select records from outbox") for x in unpacked(r["records"])}
    unknown = {
        part: missing
        for part, records in seen.items()
        if (missing := [id for offset, id in records if offset >= now.get(part, 0) and id not in ours])
    }
    if unknown:
        raise OlderThanLog(sum(map(len, unknown.values())), sorted({part.topic for part in unknown}))


def _id(headers: Any) -> bytes:
    """What identifies a letter: ce_id; a dead letter's is its origin."""
    found = dict(headers)
    return found.get("ce_id") or b"/".join(
        found.get(n) or b"" for n in ("lotse_topic", "lotse_partition", "lotse_offset")
    )


class Relay:
    """Sends the outbox, oldest first. A failing topic rests by itself; an answer goes only after its fact."""

    def __init__(
        self, pool: asyncpg.Pool, dsn: str, servers: str, security: Mapping[str, Any], name: str, metrics: Metrics
    ) -> None:
        self.pool, self.dsn, self.name, self.metrics = pool, dsn, name, metrics
        self._options = {"bootstrap_servers": servers, "client_id": f"{name}-relay", **security}
        self._wake = asyncio.Event()
        self._rests: dict[str, tuple[float, float]] = {}  # topic -> (until, length)
        self._producer: AIOKafkaProducer | None = None

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Leads for as long as this process holds the lock; another process takes over when its connection ends."""
        while True:
            lock: asyncpg.Connection | None = None
            try:
                lock = await asyncpg.connect(
                    self.dsn, timeout=10, server_settings={"application_name": f"lotse-relay-{self.name}"}
                )
                while not await lock.fetchval("select pg_try_advisory_lock(hashtext('lotse relay'))"):
                    await asyncio.sleep(0.5)
                await self._lead(lock)
            except (OSError, TimeoutError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("held", held="relay", error=name_of(error))
                await asyncio.sleep(0.5)
            finally:
                if lock is not None:
                    lock.terminate()
                await self._abandon()

    async def _abandon(self) -> None:
        """Ends the producer without waiting for what it may still hold: late copies are duplicates by design."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.create_task(producer.stop())
            await asyncio.wait([stopping], timeout=5)
            stopping.cancel()

    async def _lead(self, lock: asyncpg.Connection) -> None:
        self._producer = AIOKafkaProducer(
            **self._options, enable_idempotence=True, compression_type="lz4", max_batch_size=256 * 1024, linger_ms=2,
            max_request_size=1024 * 1024, request_timeout_ms=20_000,
        )  # fmt: skip
        await self._producer.start()
        while True:
            self._wake.clear()
            if lock.is_closed():
                raise asyncpg.InterfaceError("the leader's lock is gone")
            if not await self._turn():
                try:
                    async with asyncio.timeout(POLL):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _turn(self) -> bool:
        """One look at the outbox: send what may go, forget what was acknowledged. False when nothing could be sent."""
        now = time.monotonic()
        resting = [topic for topic, (until, _) in self._rests.items() if until > now]
        rows = await self.pool.fetch(
            "select id, topic, records, follows from outbox o where topic <> all($1::text[])"
            " and not exists (select from outbox f where f.id = any(o.follows) and f.topic = any($1::text[]))"
            " order by id limit $2", resting, ROWS,
        )  # fmt: skip
        if not rows:
            return False
        waiting = {row["id"] for row in rows}
        first = [row for row in rows if not waiting & set(row["follows"])]
        sent = await self._send(first)
        after = [row for row in rows if waiting & set(row["follows"]) and not (waiting - sent) & set(row["follows"])]
        sent |= await self._send(after)
        return bool(sent)

    async def _send(self, rows: list[Any]) -> set[int]:
        """Sends rows, topic by topic in order; gives back the ids of rows acknowledged whole, and forgets them."""
        assert self._producer
        if not rows:
            return set()
        by_topic: dict[str, list[Any]] = {}
        for row in rows:
            by_topic.setdefault(row["topic"], []).append(row)
        done = await asyncio.gather(*(self._send_topic(topic, found) for topic, found in by_topic.items()))
        marks: dict[Part, int] = {}
        acked: set[int] = set()
        for ids, ends in done:
            acked |= ids
            for part, end in ends.items():
                marks[part] = max(end, marks.get(part, 0))
        if acked:
            failpoint("after_ack")
            async with self.pool.acquire() as con, con.transaction():
                await _forget(con, acked, marks)
        return acked

    async def _send_topic(self, topic: str, rows: list[Any]) -> tuple[set[int], dict[Part, int]]:
        assert self._producer
        ends: dict[Part, int] = {}
        try:
            async with asyncio.timeout(SEND_LIMIT):
                letters: list[Letter] = [letter for row in rows for letter in unpacked(row["records"])]
                acks = [
                    await self._producer.send(topic, value, key=key, headers=headers) for key, value, headers in letters
                ]
                for ack in await asyncio.gather(*acks):
                    part = Part(topic, ack.partition)
                    ends[part] = max(ends.get(part, 0), ack.offset + 1)
        except (KafkaError, TimeoutError, OSError) as error:
            length = min(self._rests.get(topic, (0.0, 0.25))[1] * 2, LONGEST_REST)
            self._rests[topic] = (time.monotonic() + length, length)
            log.warning("a topic rests", topic=topic, error=name_of(error), seconds=length)
            return set(), {}
        self._rests.pop(topic, None)
        self.metrics.relayed.inc(len(letters))
        return {row["id"] for row in rows}, ends


async def _forget(con: Connection, ids: set[int], marks: dict[Part, int]) -> None:
    """Exact ids, never `id <= max`: ids are drawn before commit, a slower transaction's smaller id would go unsent."""
    await con.execute("delete from outbox where id = any($1::bigint[])", sorted(ids))
    ordered = sorted(marks)
    await con.execute(
        "insert into acked (topic, part, next) select * from unnest($1::text[], $2::int[], $3::bigint[])"
        " on conflict (topic, part) do update set next = greatest(acked.next, excluded.next)",
        [part.topic for part in ordered], [part.part for part in ordered], [marks[part] for part in ordered],
    )  # fmt: skip
