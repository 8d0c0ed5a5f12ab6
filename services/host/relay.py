"""The relay sends what stands in the outbox, in order, at least once, with the same ids. One leader a service."""

import asyncio
import contextlib
import logging
import time
from typing import Any

import asyncpg
import msgspec
from aiokafka.errors import KafkaError as ReaderError
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from contracts.topics import MOST_OF_A_REPORT
from services.host.own_logs import hold_lost, look_back, mark, marks_of
from services.host.running import Running, say_held
from services.process.failpoints import failpoint
from services.process.leader import alive, session
from services.runtime.database import RETRY
from services.runtime.failures import name_of
from services.runtime.messages import Part

ROWS, BYTES = 50, 4 << 20  # a look at the outbox; each row is a transaction's records, up to some thousand: some MB
SEND_LIMIT = 30.0  # seconds; beyond, the topic rests and its late copies are duplicates by design
LONGEST_REST, POLL = 30.0, 0.2  # where another process writes to the outbox, nobody wakes us

_letters = msgspec.msgpack.Decoder(list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]).decode


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
        self._ends = await marks_of(lock)
        while True:
            self.node.sending.clear()
            turn = asyncio.create_task(self._turn(lock, self._producer))
            try:
                sent = await asyncio.shield(turn)
            except asyncio.CancelledError:  # what Kafka has is marked before we go: no copies at the next start
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.gather(turn, return_exceptions=True), 3)
                raise
            self.node.unsent.pop("relay", None)  # it goes round
            if not sent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL):  # wait_for forgets to end where it is woken, too, before 3.12
                        await self.node.sending.wait()

    async def _turn(self, con: asyncpg.Connection, producer: Producer) -> bool:
        """One look at the outbox: sends what may go, and marks what was acknowledged. False where nothing was. All of it over the
        lock's own connection: once that is gone another database may answer, in which other rows have these ids.

        A log that took a record below its last end was set back; that is kept before anything is marked. Who dies, or loses the
        connection, between Kafka's word and that tells nobody: the log has grown past its mark."""
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
