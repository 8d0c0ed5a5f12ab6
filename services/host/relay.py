"""The relay sends what stands in the outbox, in order, at least once, with the same ids. One leader a service."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import structlog
from aiokafka.errors import KafkaError as ReaderError
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from contracts.topics import MOST_OF_A_REPORT
from services.failpoints import failpoint
from services.host.running import Running, say_held
from services.leader import alive, session
from services.runtime.database import RETRY, columns, unpack
from services.runtime.failures import name_of
from services.runtime.messages import Part
from services.runtime.service import Service

log = structlog.get_logger()

ROWS, BYTES = 50, 4 << 20  # a look at the outbox; each row is a transaction's records, up to some thousand: some MB
SEND_LIMIT = 30.0  # seconds; beyond, the topic rests and its late copies are duplicates by design
MOST = 100_000  # ids: all of a long log's, where a database is gone, would be more memory than the service is given
LONGEST_REST, POLL = 30.0, 0.2  # where another process writes to the outbox, nobody wakes us

_letters = msgspec.msgpack.Decoder(list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]).decode


class OlderThanLog(Exception):
    """The database was set back under a running service, as a standby that lagged does when it takes over."""


async def letters_beyond(node: Running) -> int:
    """How many records of ours the log holds, beyond the acknowledged ends, that this database does not know of: more than 0
    says that it is older than the log. Not counted beyond MOST. What a relay sent late and twice is known: by timeline, claims,
    positions, releases. A partition of answers without a leader is left out: one publisher's would keep a service from all others. (In
    a database that was set back, too, what was answered there and nowhere else is answered again.)"""
    led = {*await node.reader.parts(node.own_topics, led=True)}
    parts = [p for p in await node.reader.parts(node.own_topics) if p in led or p.topic not in node.answers]
    starts, ends = await node.reader.starts(parts), await node.reader.ends(parts)
    marks = await _marks(node.pool)
    beyond = {p: (max(marks.get(p, 0), starts[p]), ends[p]) for p in parts if ends[p] > marks.get(p, 0)}
    missing = set[str]()
    async with contextlib.aclosing(node.reader.records(beyond)) as found:
        async for records in found:
            ids = {_id(r.key, r.headers) for r in records} - {""}  # without headers it is none of ours
            missing |= ids - await _known(node.service, node.pool, ids)
            if len(missing) >= MOST:
                break
    return len(missing)


async def look_back(node: Running) -> None:
    """Raises OlderThanLog where the log holds letters of ours that the database does not know."""
    if older := await letters_beyond(node):
        raise OlderThanLog(f"{older} records")


async def look_for_lost(node: Running) -> None:
    """Holds the acknowledged ends against our own logs: nobody else would tell that a quiet one has lost its tail. Without a leader
    it is held against them once it has one again."""
    parts = {*await node.reader.parts(node.own_topics, led=True)}
    # before the ends: what is sent meanwhile moves those first
    rows = await node.pool.fetch("select topic, part, next, xmin from acked")
    marks = {part: (row["next"], row["xmin"]) for row in rows if (part := Part(row["topic"], row["part"])) in parts}
    ends = await node.reader.ends(marks)
    if below := [part for part, end in ends.items() if end < marks[part][0]]:
        for part, end in (await node.reader.ends_for_writers(below)).items():
            stood, written = marks[part]
            if end < stood:
                await hold_lost(node.pool, part, stood, end, written)


async def hold_lost(con: Any, part: Part, stood: int, end: int, written: int | None = None) -> None:
    """Keeps of an own partition that its log was seen to end below where its mark stood: it grows past that by itself, and what was
    lost is still gone. Only `lotse republish` ends it; a mark it has drawn back meanwhile says nothing any more. `written`: the
    mark's xmin, where it may have been drawn back and moved on again since."""
    sql = ("update acked set held = $3, held_since = now() where (topic, part) = ($1, $2) and next >= $4 and held is null"
           " and xmin = coalesce($5, xmin) returning true")  # fmt: skip
    why = f"Gap:acknowledged up to {stood}, the log ends at {end}"
    if await con.fetchval(sql, *part, why, stood, written):
        log.error("Kafka has lost what it had acknowledged", topic=part.topic, partition=part.part, why=why)


async def _marks(con: Any) -> dict[Part, int]:
    rows = await con.fetch("select topic, part, next from acked")
    return {Part(row["topic"], row["part"]): row["next"] for row in rows}


async def unsent(service: Service, live: asyncpg.Pool, beside: asyncpg.Pool) -> dict[str, int]:
    """Topic to records a database has not sent and another, which learnt from the log, does not know."""
    rows = await live.fetch("select topic, records from outbox where sent_at is null order by topic")
    said = {
        _id(key, headers, recorded=False): row["topic"] for row in rows for key, _, headers in unpack(row["records"])
    }
    known = await _known(service, beside, said)
    return dict(Counter(topic for id, topic in said.items() if id not in known))


async def _known(service: Service, pool: asyncpg.Pool, ids: Collection[str]) -> set[str]:
    """Those of these letters (`_id`) a database knows."""
    known = {row["id"] for row in await pool.fetch(_KNOWN, [*ids])}
    if service.reports:
        kept = await service.reports.known(pool, [id.partition(" ")[0] for id in ids])
        known |= {id for id in ids if id.partition(" ")[0] in kept}
    return known


def _id(key: bytes | None, headers: Any, *, recorded: bool = True) -> str:
    """What identifies a letter: a fact's id, number, subject and type (by these its row has a key: by the id alone all of a log was
    looked through once a partition, after each death of a relay; a release's id is its key), and when it was recorded (decided again
    by a database that was set back it has all else from before); an answer's reference, a dead letter's origin, which is its key. Empty where it is none of ours: bytes with a key and no headers made a service take its database for
    older than its log."""
    said = {name: text.decode() for name, text in headers if name.startswith("ce_") and text is not None}
    answer = said.get("ce_type", "").endswith(".answer.v1")
    names = (
        ("ce_cause",)
        if answer
        else ("ce_id", "ce_streamversion", "ce_subject", "ce_type", *["ce_recordedtime"] * recorded)
    )
    if names[0] in said:
        return " ".join(said.get(name, "") for name in names)
    return (key or b"").decode() if any(name == "lotse_topic" for name, _ in headers) else ""


_KNOWN = """select i as id from unnest($1::text[]) i, lateral (select string_to_array(i, ' ') as said) s join timeline
  on number = case when said[2] ~ '^[0-9]{1,18}$' then said[2]::bigint end and subject = said[3]
  and family = split_part(said[4], '.', 2) and fact_id = said[1] and (coalesce(said[5], '') = '' or said[5] =
  replace(to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || 'Z')
 union all select i from unnest($1::text[]) i join answered on key = case when i ~ '^[0-9a-f-]{36}$' then i::uuid end
 union all select i from (select i, regexp_match(i, '^(.+)/([0-9]+)/([0-9]+)$') at from unnest($1::text[]) i) a
 join position on topic = at[1] and part = at[2]::int and next > at[3]::bigint"""


class Relay:
    """Sends the outbox, oldest first. A failing topic rests by itself; an answer goes only after its fact."""

    def __init__(self, node: Running, name: str | None = None) -> None:
        self.node, self.name = node, name or node.service.name
        self._rests: dict[str, tuple[float, float]] = {}  # topic, "" for all of them -> (until, length)
        self._producer: Producer | None = None
        self._ends: dict[Part, int] = {}
        """Where our own logs ended last: one that takes a record below that was set back."""

    async def run(self) -> None:
        """Leads for as long as this process holds the lock; another process takes over when its connection ends."""
        while True:
            lock: asyncpg.Connection | None = None
            try:
                lock = await session(self.node.settings.database.get_secret_value(), f"lotse-relay-{self.name}")
                while not await lock.fetchval("select pg_try_advisory_lock(hashtext('lotse relay'))"):
                    self.node.unsent.clear()  # another process's to say
                    await asyncio.sleep(0.5)
                # a mark that is lost with a server makes copies, as a death before it: no turn waits for the disk a second time
                await lock.execute("set synchronous_commit = off")
                await alive(lock, look_back(self.node))
                await self._lead(lock)
            except (*RETRY, ReaderError, KafkaException, asyncpg.PostgresError) as error:
                say_held(self.node.unsent, "relay", _why(error))
                rest = self._rest("") if isinstance(error, KafkaException) else 0.5
            finally:
                if lock is not None:
                    lock.terminate()
                if self._producer is not None:  # what it still holds may arrive: late copies are duplicates by design
                    self._producer.purge(blocking=False)  # the thread that waits for acknowledgements ends, too
                    self._producer = None
            await asyncio.sleep(rest)  # another process may lead meanwhile

    async def _lead(self, lock: asyncpg.Connection) -> None:
        self._producer = _producer(self.node, self.name)
        self._ends = await _marks(lock)
        while True:
            self.node.sending.clear()
            turn = asyncio.create_task(self._turn(lock, self._producer))
            try:
                sent = await asyncio.shield(turn)
            except asyncio.CancelledError:  # what Kafka has is marked before we go: no copies at the next start
                await asyncio.wait([turn], timeout=3)
                raise
            self.node.unsent.pop("relay", None)  # it goes round
            if not sent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL):  # wait_for forgets to end where it is woken, too, before 3.12
                        await self.node.sending.wait()

    async def _turn(self, con: asyncpg.Connection, producer: Producer) -> bool:
        """One look at the outbox: send what may go, mark what was acknowledged. False when nothing could be sent. All of it over
        the lock's own connection: once that is gone another database may answer, which knows these rows' ids by other rows. A log that
        took a record below its last end was set back, which is kept before anything is marked; whoever dies, or loses the
        connection, between Kafka's word and that, tells nobody: the log has grown past its mark."""
        resting = [topic for topic, (until, _) in self._rests.items() if until > time.monotonic()]
        rows = await con.fetch(
            "select id, tx, after, topic, records from (select *, sum(octet_length(records)) over (order by id) as upto"
            " from (select * from outbox o where sent_at is null and topic <> all($1::text[]) and not (after and exists"
            " (select from outbox f where f.sent_at is null and f.tx = o.tx and not f.after and f.topic = any($1::text[])))"
            " order by id limit $2) o) o where upto - octet_length(records) < $3 order by id", resting, ROWS, BYTES,
        )  # fmt: skip
        if not rows:
            return False
        failpoint("before_send")
        delivery, ended = Delivery(producer), self._ends
        try:
            await alive(con, asyncio.to_thread(delivery.of, [row for row in rows if not row["after"]]))
            late = {row["tx"] for row in rows if row["topic"] in delivery.failed}
            answers = [row for row in rows if row["after"] and row["tx"] not in late]
            await alive(con, asyncio.to_thread(delivery.of, answers))
        finally:  # whatever failed: what the next turn sends stands behind this, and shows nothing any more
            for part, at in list(delivery.begins.items()):  # the thread may still be told of some
                if at < ended.get(part, 0):
                    await hold_lost(con, part, ended[part], at)
        for topic, why in delivery.failed.items():
            self._rest(topic)
            say_held(self.node.unsent, f"outbox/{topic}", why)
        return await self._mark(con, delivery)

    def _rest(self, topic: str) -> float:
        """Twice as long as the last time, until something is acknowledged again."""
        length = min(self._rests.get(topic, (0.0, 0.25))[1] * 2, LONGEST_REST)
        self._rests[topic] = (time.monotonic() + length, length)
        return length

    async def _mark(self, con: asyncpg.Connection, delivery: "Delivery") -> bool:
        """Marks the rows acknowledged whole, and where the logs end now. False where there is none."""
        ids = sorted(row["id"] for row in delivery.rows if row["topic"] not in delivery.failed)
        marks = {part: end for part, end in delivery.ends.items() if part.topic not in delivery.failed}
        marks |= await self.node.reader.ends([part for part, end in marks.items() if end < 0])
        for part in marks:
            self._rests.pop(part.topic, None)
            self.node.unsent.pop(f"outbox/{part.topic}", None)
        if ids:
            self._rests.pop("", None)
            failpoint("after_ack")
            await mark(con, marks, ids)
            self._ends |= marks
        self.node.metrics.relayed.inc(delivery.acknowledged)
        return bool(ids)


def _why(error: Exception) -> str:
    return str(error.args[0].name()) if isinstance(error, KafkaException) else name_of(error)


async def mark(con: Any, ends: Mapping[Part, int], ids: Sequence[int] = ()) -> None:
    """Keeps where our own logs end, as far as we were told: a database older than they are is seen by it. With it, in one
    statement, the outbox rows that were sent: exact ids, never `id <= max`: ids are drawn before commit, a slower
    transaction's smaller id would go unsent."""
    await con.execute(
        "with sent as (update outbox set sent_at = now() where id = any($4::bigint[]))"
        " insert into acked (topic, part, next) select * from unnest($1::text[], $2::int[], $3::bigint[])"
        " on conflict (topic, part) do update set next = greatest(acked.next, excluded.next)",
        *(columns((*part, end) for part, end in sorted(ends.items())) or ([], [], [])), ids)  # fmt: skip


class Delivery:
    """Records on their way: what came of them, topic by topic. Runs in a thread: librdkafka waits there, not in the loop."""

    def __init__(self, producer: Producer) -> None:
        self._producer, self._open = producer, 0
        self.rows: list[Any] = []
        """Outbox rows handed over."""
        self.ends: dict[Part, int] = {}
        """Of each partition the offset after its last acknowledged record; -1 where the broker did not say it."""
        self.begins: dict[Part, int] = {}
        """And the offset of its first, where the broker said it."""
        self.failed: dict[str, str] = {}
        """Topics of which a record was not acknowledged, and why."""
        self.acknowledged = 0
        self._broken: KafkaError | None = None

    def of(self, rows: list[Any]) -> None:
        """Hands over every record in order, and waits until each is acknowledged or given up (SEND_LIMIT). Raises
        KafkaException where the producer can no longer go on, as when it lost its right to be one: then nothing is known of
        these rows."""
        self.rows += rows
        for row in rows:
            topic = row["topic"]
            try:
                for key, value, headers in _letters(row["records"]) if topic not in self.failed else ():
                    self._producer.produce(topic, value, key, headers=headers, on_delivery=self._told)  # type: ignore[arg-type]  # the stub forgets tuples
                    self._open += 1
            except KafkaException as error:
                self._given_up(topic, error.args[0])
        try:
            while self._open:
                self._producer.flush(1.0)  # sends at once what lingers, in whole batches
            if self._broken is not None:
                self._producer.poll(0)  # raises why, where it is not said yet
                raise KafkaException(self._broken)
        except SystemError as error:
            # about to raise why, it told of records in the same breath: Python calls that this, and what it told is lost
            why: BaseException | None = error
            while why is not None and not isinstance(why, KafkaException):
                why = why.__cause__
            raise why or KafkaException(KafkaError(KafkaError._FATAL)) from None

    def _told(self, error: KafkaError | None, message: Message) -> None:
        self._open -= 1
        part, offset = Part(message.topic() or "", message.partition() or 0), message.offset()
        if error is not None:
            return self._given_up(part.topic, error)
        self.acknowledged += 1
        self.ends[part] = -1 if offset is None or offset < 0 else offset + 1
        if self.ends[part] > 0:
            self.begins.setdefault(part, self.ends[part] - 1)

    def _given_up(self, topic: str, error: KafkaError) -> None:
        if error.code() == KafkaError._FATAL:
            self._broken = error
        self.failed.setdefault(topic, error.name())


def _producer(node: Running, name: str) -> Producer:
    """librdkafka's, idempotent: in order and once a partition. aiokafka's costs four times as much a record."""
    options = node.settings.kafka_security.librdkafka(node.settings.kafka) | {
        "client.id": f"{name}-relay", "enable.idempotence": True, "linger.ms": 50, "socket.nagle.disable": True,
        "compression.type": "lz4", "batch.size": 256 * 1024, "message.max.bytes": MOST_OF_A_REPORT,
        "message.timeout.ms": int(SEND_LIMIT * 1000), "queue.buffering.max.messages": 0, "log_level": 3,
        "topic.metadata.propagation.max.ms": 1000,  # a topic that is gone must not keep the others waiting for 30 seconds
        "partitioner": "murmur2_random",  # as Java's and aiokafka's: a subject stays on its partition
    }  # fmt: skip
    return Producer(options, logger=logging.getLogger("librdkafka"))
