"""Who sends: a publisher as any other, with its own journal, its own partitioner's habits, and its own answers."""

import asyncio
import json
import logging
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import Random
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.errors import UNREACHABLE, Trouble
from deploy.soak.expected import identity
from deploy.soak.journal import Journal, Meant, Place
from deploy.soak.load import PUBLISHERS, Wave

FAMILIES = {
    "north": ("intake", "referral", "attendance"),
    "south": ("intake", "referral", "attendance"),
    "loud": ("attendance",),
}
PARTITIONS = 4
IN_FLIGHT = 400  # records without acknowledgement, at most: a publisher has a memory, too
RETRIES = 45.0  # seconds after which a publisher sends again what no broker has acknowledged
LONGEST_AWAY = 180.0
"""Seconds for which a publisher goes on handing over: a soak takes Kafka away for sixty, and on a machine at half its speed it came back
after 76. With a minute the sender gave up, and the soak with it."""

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # 75 lines a second while a broker is away


class Sender:
    """Sends through aiokafka's partitioner (murmur2) and librdkafka's (CRC32) by turns, and listens for answers."""

    def __init__(self, kafka: str, journal: Journal, seed: int) -> None:
        self.kafka, self.journal = kafka, journal
        self.answered: set[tuple[str, str, str]] = set()
        """(publisher, submission id, content)."""
        self.awaited: dict[tuple[str, str, str], float] = {}
        """What Kafka has and nobody answered yet, and since when (monotonic seconds); without what waits for ever."""
        self.took: dict[tuple[str, str, str], float] = {}
        """Seconds from Kafka's acknowledgement to the first answer."""
        self.outcomes: dict[tuple[str, str], str] = {}
        self.times: list[tuple[float, str]] = []
        """When which service gave an answer that nobody had heard before: (monotonic seconds, service). Who only repeats itself
        has done nothing."""
        self._chance = Random(seed)
        self._flight: set[asyncio.Future[Any]] = set()
        self.refused: Counter[str] = Counter()
        """What Kafka, or its client, refused submissions with."""
        self._holed = False
        self._renewing = asyncio.Lock()

    def _made(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self.kafka, enable_idempotence=True, linger_ms=3, request_timeout_ms=15_000
        )

    async def __aenter__(self) -> Self:
        self._producer = self._made()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, isolation_level="read_committed", enable_auto_commit=False,
                                          auto_offset_reset="earliest", fetch_max_wait_ms=50)  # fmt: skip
        for number, entry in enumerate(self.journal.entries):
            if entry.acknowledged:
                self._await(number)
        await self._producer.start()
        await self._consumer.start()
        parts = [TopicPartition(f"{family}.answers.{name}", part)
                 for name in PUBLISHERS for family in FAMILIES[name] for part in range(PARTITIONS)]  # fmt: skip
        self._consumer.assign(parts)
        await self._consumer.seek_to_beginning(*parts)
        ends = await self._consumer.end_offsets(parts)
        self._listening = asyncio.create_task(self._listen())
        async with asyncio.timeout(240):  # what was answered before this shift is not progress of it
            while any([await self._consumer.position(part) < ends[part] for part in parts]):
                await asyncio.sleep(0.05)
        self.times.clear()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        for client in (self._producer, self._consumer):
            await asyncio.wait([asyncio.create_task(client.stop())], timeout=10)

    async def _listen(self) -> None:
        while True:
            try:
                got = await self._consumer.getmany(timeout_ms=100)
            except KafkaError:
                await asyncio.sleep(0.2)
                continue
            now = time.monotonic()
            for tp, records in got.items():
                family, _, publisher = tp.topic.split(".")
                for record in records:
                    self.heard(publisher, "intake" if family == "intake" else "referral", json.loads(record.value), now)

    def heard(self, publisher: str, service: str, said: Mapping[str, Any], now: float) -> None:
        """Enters an answer, a copy, too, heard at a moment (monotonic seconds)."""
        key = (publisher, said["submission_id"], said["content"])
        if key not in self.answered:
            self.times.append((now, service))
        self.answered.add(key)
        if (since := self.awaited.pop(key, None)) is not None:
            self.took[key] = now - since
        self.outcomes[publisher, said["submission_id"]] = said["outcome"]

    async def send(self, submissions: Sequence[Meant], pace: float = 0.0) -> None:
        """Sends, copies too; `pace`: seconds of rest after each. Returns when all is handed over, not acknowledged."""
        for meant in submissions:
            await self._send(self.journal.means(meant), meant)
            if pace:
                await asyncio.sleep(pace)

    async def send_again(self) -> None:
        """What the journal does not know to have arrived goes out again, ids and all: so does any publisher's retry."""
        for number in list(self.journal.unacknowledged()):
            await self._send(number, self.journal.entries[number].meant)

    async def _send(self, number: int, meant: Meant) -> None:
        key = meant.subject.encode()
        for copy in range(meant.copies):
            while len(self._flight) >= IN_FLIGHT:
                await asyncio.wait(self._flight, return_when=asyncio.FIRST_COMPLETED)
            crc32 = zlib.crc32(key) % PARTITIONS
            partition = None if (copy or self._chance.random() < 0.5) else crc32
            self.journal.sends(number, time.time())
            await self._hand_over(number, meant, key, partition)

    async def _hand_over(self, number: int, meant: Meant, key: bytes, partition: int | None) -> None:
        """A broker that is away comes back, and knows no topic for a moment then. Raises KafkaError after LONGEST_AWAY of that."""
        until = time.monotonic() + LONGEST_AWAY
        while True:
            try:
                await self._renew()
                producer = self._producer
                handed: asyncio.Future[Any] = await producer.send(
                    meant.topic, meant.body, key=key, partition=partition, headers=headers_of(meant)
                )
                self._flight.add(handed)
                handed.add_done_callback(partial(self._acknowledge, number, producer))
                return
            except KafkaError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def _renew(self) -> None:
        """A new producer after a refusal: it left a hole in the numbers of a partition, and aiokafka never closes one, so
        that all that follows is refused, too. Raises KafkaError while no broker is there."""
        async with self._renewing:
            if not self._holed:
                return
            new, old = self._made(), self._producer
            try:
                await new.start()
            except BaseException:
                await new.stop()
                raise
            self._producer, self._holed = new, False
            await asyncio.wait([asyncio.create_task(old.stop())], timeout=10)

    def _acknowledge(self, number: int, by: AIOKafkaProducer, done: "asyncio.Future[Any]") -> None:
        self._flight.discard(done)
        if done.cancelled():
            return
        if error := done.exception():
            self.refused[type(error).__name__] += 1
            self._holed = self._holed or by is self._producer
        else:
            place = done.result()
            self.journal.acknowledged(number, Place(place.topic, place.partition, place.offset))
            self._await(number)

    def _await(self, number: int) -> None:
        meant = self.journal.entries[number].meant
        if meant.id and not meant.waits:
            key = (meant.publisher, meant.id, identity(meant, PUBLISHERS[meant.publisher].source)[1])
            if key not in self.answered:
                self.awaited.setdefault(key, time.monotonic())

    async def ends(self, parts: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where partitions end now, open transactions left out. Raises KafkaError."""
        async with asyncio.timeout(30):
            found: dict[TopicPartition, int] = await self._consumer.end_offsets(list(parts))
        return found

    async def acknowledged(self, patience: float = 240.0) -> None:
        """Waits until Kafka has all; sends again what it refused. Raises Trouble with what it was refused with."""
        try:
            async with asyncio.timeout(patience):
                while self._flight or any(True for _ in self.journal.unacknowledged()):
                    if self._flight:
                        await asyncio.wait(self._flight)
                    else:
                        await asyncio.sleep(0.2)
                        await self.send_again()
        except TimeoutError:
            left = sum(1 for _ in self.journal.unacknowledged())
            raise Trouble(f"after {patience:.0f} s {left} submissions are not acknowledged; refused with {dict(self.refused)}",
                          "see the broker's log", UNREACHABLE) from None  # fmt: skip

    async def play(self, wave: Wave, pace: float = 0.0, patience: float = 300.0) -> None:
        """A whole wave: what may come in any order, then, once the acceptances are answered, the rest. What a broker that died
        has refused of it goes out again meanwhile: nobody answers what never arrived."""
        await self.send(wave.first, pace)
        async with asyncio.timeout(patience):
            again = time.monotonic() + RETRIES
            while not all(gate in self.outcomes for gate in wave.gates):
                await asyncio.sleep(0.05)
                if time.monotonic() > again:
                    await self.send_again()
                    again = time.monotonic() + RETRIES
        await self.send(wave.then, pace)


def headers_of(meant: Meant) -> list[tuple[str, bytes | None]]:
    """CloudEvents in binary mode, by hand: a publisher does not import our contracts."""
    if meant.headers:
        return list(meant.headers)
    return [
        ("ce_specversion", b"1.0"), ("ce_id", meant.id.encode()), ("ce_source", PUBLISHERS[meant.publisher].source.encode()),
        ("ce_type", f"lotse.{meant.family}.{meant.type}.v1".encode()), ("ce_subject", meant.subject.encode()),
        ("ce_time", meant.time.encode()), ("ce_tenant", meant.tenant.encode()), ("content-type", b"application/json"),
    ]  # fmt: skip
