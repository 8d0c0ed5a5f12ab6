"""The relay sends what stands in the outbox, in order, at least once, with the same ids. One leader a service."""

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber

from services.host.running import Running
from services.runtime.database import RETRY, columns, unpack
from services.runtime.failures import failpoint, name_of
from services.runtime.messages import Part

log = structlog.get_logger()

ROWS = 50  # a look at the outbox; each row is a transaction's records, up to some thousand
SEND_LIMIT = 30.0  # seconds; beyond, the topic rests and its late copies are duplicates by design
LONGEST_REST = 30.0
POLL = 0.2  # where another process writes to the outbox, nobody wakes us


async def letters_beyond(node: Running) -> int:
    """How many records of ours the log holds, beyond the acknowledged ends, that neither were nor are in the outbox: more
    than 0 says that this database is older than the log."""
    parts = await node.reader.parts(node.own_topics)
    starts, ends = await node.reader.starts(parts), await node.reader.ends(parts)
    marks = {Part(r["topic"], r["part"]): r["next"] for r in await node.pool.fetch("select * from acked")}
    beyond = {p: (max(marks.get(p, 0), starts[p]), ends[p]) for p in parts if ends[p] > marks.get(p, 0)}
    seen = [(Part(r.topic, r.partition), r.offset, _id(r.key, r.headers))
            async for records in node.reader.records(beyond) for r in records]  # fmt: skip
    if not seen:
        return 0
    async with node.pool.acquire() as con, con.transaction(isolation="repeatable_read"):  # rows and marks of one moment
        now = {Part(r["topic"], r["part"]): r["next"] for r in await con.fetch("select * from acked")}
        rows = await con.fetch("select records from outbox where sent_at is null")
        ours = {_id(key, headers) for row in rows for key, _, headers in unpack(row["records"])}
    return sum(offset >= now.get(part, 0) and id not in ours for part, offset, id in seen)


def _id(key: bytes | None, headers: Any) -> bytes:
    """What identifies a letter: ce_id; a dead letter's key is its origin."""
    return dict(headers).get("ce_id") or key or b""


class Relay:
    """Sends the outbox, oldest first. A failing topic rests by itself; an answer goes only after its fact."""

    def __init__(self, node: Running, name: str | None = None) -> None:
        self.node, self.name = node, name or node.service.name
        self._rests: dict[str, tuple[float, float]] = {}  # topic -> (until, length)
        self._producer: AIOKafkaProducer | None = None
        self._out_of_order = False

    async def run(self) -> None:
        """Leads for as long as this process holds the lock; another process takes over when its connection ends."""
        while True:
            lock: asyncpg.Connection | None = None
            try:
                dsn, application = self.node.settings.database.get_secret_value(), f"lotse-relay-{self.name}"
                lock = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": application})
                while not await lock.fetchval("select pg_try_advisory_lock(hashtext('lotse relay'))"):
                    await asyncio.sleep(0.5)
                await self._lead(lock)
            except (*RETRY, KafkaError, asyncpg.PostgresError) as error:
                log.warning("held", held="relay", error=name_of(error))
                await asyncio.sleep(0.5)
            finally:
                if lock is not None:
                    lock.terminate()
                await self._abandon()

    async def _abandon(self) -> None:
        """Ends the producer without waiting for what it may still hold: late copies are duplicates by design."""
        if self._producer is not None:
            stopping = asyncio.create_task(self._producer.stop())
            self._producer = None
            await asyncio.wait([stopping], timeout=5)
            stopping.cancel()

    async def _lead(self, lock: asyncpg.Connection) -> None:
        settings = self.node.settings
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka, client_id=f"{self.name}-relay", enable_idempotence=True, linger_ms=2,
            compression_type="lz4", max_batch_size=256 * 1024, max_request_size=1024 * 1024, request_timeout_ms=20_000,
            **settings.kafka_security,
        )  # fmt: skip
        await self._producer.start()
        self._out_of_order = False
        while not self._out_of_order:  # else another producer: this one's numbers will never fit again
            self.node.sending.clear()
            if lock.is_closed():
                raise asyncpg.InterfaceError("the leader's lock is gone")
            if not await self._turn():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self.node.sending.wait()

    async def _turn(self) -> bool:
        """One look at the outbox: send what may go, mark what was acknowledged. False when nothing could be sent."""
        now = time.monotonic()
        resting = [topic for topic, (until, _) in self._rests.items() if until > now]
        rows = await self.node.pool.fetch(
            "select id, tx, after, topic, records from outbox o where sent_at is null and topic <> all($1::text[])"
            " and not (after and exists (select from outbox f where f.sent_at is null and f.tx = o.tx and not f.after"
            " and f.topic = any($1::text[]))) order by id limit $2",
            resting, ROWS,
        )  # fmt: skip
        facts = [row for row in rows if not row["after"]]
        sent = await self._send(facts)
        unsent = {row["tx"] for row in facts if row["id"] not in sent}
        return bool(sent | await self._send([row for row in rows if row["after"] and row["tx"] not in unsent]))

    async def _send(self, rows: list[Any]) -> set[int]:
        """Sends rows, topic by topic in order; marks those acknowledged whole, and gives back their ids."""
        by_topic: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            by_topic[row["topic"]].append(row)
        done = await asyncio.gather(*(self._send_topic(topic, found) for topic, found in by_topic.items()))
        ids = {id for sent, _ in done for id in sent}
        marks = {part: end for _, ends in done for part, end in ends.items()}
        if ids:
            failpoint("after_ack")
            async with self.node.pool.acquire() as con, con.transaction():
                # exact ids, never `id <= max`: ids are drawn before commit, a slower transaction's smaller id would go unsent
                await con.execute("update outbox set sent_at = now() where id = any($1::bigint[])", sorted(ids))
                await con.execute(
                    "insert into acked (topic, part, next) select * from unnest($1::text[], $2::int[], $3::bigint[])"
                    " on conflict (topic, part) do update set next = greatest(acked.next, excluded.next)",
                    *columns((*part, end) for part, end in sorted(marks.items())),
                )
        return ids

    async def _send_topic(self, topic: str, rows: list[Any]) -> tuple[list[int], dict[Part, int]]:
        assert self._producer
        ends: dict[Part, int] = {}
        try:
            async with asyncio.timeout(SEND_LIMIT):
                letters = [letter for row in rows for letter in unpack(row["records"])]
                acks = [await self._producer.send(topic, value, key=key, headers=[(n, t) for n, t in headers])
                        for key, value, headers in letters]  # fmt: skip
                for ack in await asyncio.gather(*acks):
                    part = Part(topic, ack.partition)
                    ends[part] = max(ends.get(part, 0), ack.offset + 1)
        except (KafkaError, TimeoutError, OSError) as error:
            length = min(self._rests.get(topic, (0.0, 0.25))[1] * 2, LONGEST_REST)
            self._rests[topic] = (time.monotonic() + length, length)
            # after a batch that the broker refused (too large, a time it does not take) it misses that batch's numbers for ever
            self._out_of_order |= isinstance(error, OutOfOrderSequenceNumber)
            log.warning("a topic rests", topic=topic, error=name_of(error), seconds=length)
            return [], {}
        self._rests.pop(topic, None)
        self.node.metrics.relayed.inc(len(letters))
        return [row["id"] for row in rows], ends


async def republish(node: Running, since: Any) -> int:
    """Marks what was sent since a moment as unsent: the relay brings it back with the same ids, after Kafka has lost its
    tail. Acknowledged ends beyond the log are drawn back to it. Gives back the number of rows."""
    ends = await node.reader.ends(await node.reader.parts(node.own_topics))
    async with node.pool.acquire() as con, con.transaction():
        await con.execute(
            "update acked a set next = least(a.next, e.next) from unnest($1::text[], $2::int[], $3::bigint[]) e(topic, part, next)"
            " where (a.topic, a.part) = (e.topic, e.part)",
            *columns((*part, end) for part, end in sorted(ends.items())),
        )
        done = await con.execute("update outbox set sent_at = null where sent_at >= $1", since)
    node.sending.set()
    return int(done.rpartition(" ")[2])
