"""Plays a Kreis through four services: a day is sent, every answer awaited, the tick published and acted on by each."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.envelope import Attributes, Tick, headers_of
from contracts.topics import SUBMITTED, Publisher, answers_topic, submissions_topic
from deploy.demo.kreis import Event, Kreis, moments
from deploy.errors import UNREACHABLE, Trouble
from deploy.fleet import Fleet
from deploy.places import SERVICES
from services.clock import publish
from services.process.ending import closed, ended

TENANT = "rkn"
ACTS_WITHIN = 180.0  # seconds; far more than any day of the largest play takes


@dataclass
class Played:
    """What was sent and what came back; kept by the player, never asked of a service."""

    journal: dict[str, str] = field(default_factory=dict)
    """Every id that was to be sent, with the answer the Kreis expects: recorded, or why it is refused."""
    answers: dict[str, set[bytes]] = field(default_factory=dict)
    """Id to its answers: one answer may arrive twice, two answers must not."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """Id to what its first answer says: its outcome, or the reason where it was refused."""
    sent: list[Event] = field(default_factory=list)
    left_out: int = 0
    """Not sent, because what it rests on was refused."""
    records: int = 0
    twice: int = 0
    """Of the records, those sent a second time."""
    seconds: float = 0.0

    @property
    def answered_once(self) -> int:
        """Ids of the journal with exactly one answer."""
        return sum(len(self.answers.get(id, ())) == 1 for id in self.journal)

    @property
    def unexpected(self) -> Counter[tuple[str, str]]:
        """What was answered otherwise than the Kreis expects, as (expected, answered), and how often."""
        pairs = ((expected, self.outcomes.get(id, expected)) for id, expected in self.journal.items())
        return Counter(pair for pair in pairs if pair[0] != pair[1])


class Player:
    """Sends as any publisher and reads its answers."""

    def __init__(self, fleet: Fleet, publisher: Publisher, patience: float = 30.0, drop: int = 0) -> None:
        self.fleet, self.publisher, self.patience, self.drop = fleet, publisher, patience, drop
        self.played = Played()

    async def play(self, kreis: Kreis, progress: Callable[[int, int], None] = lambda _day, _records: None) -> Played:
        """The whole play. Raises Trouble where a service does not act on a tick."""
        kafka = self.fleet.stack.kafka
        self._producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, linger_ms=2)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed",
                                          enable_auto_commit=False, fetch_max_wait_ms=50)  # fmt: skip
        await self._producer.start()
        await self._consumer.start()
        try:
            parts = [TopicPartition(topic, part) for family in SUBMITTED
                     for topic in [answers_topic(family, self.publisher.name)]
                     for part in await self._producer.partitions_for(topic)]  # fmt: skip
            self._consumer.assign(parts)
            await self._consumer.seek_to_beginning(*parts)
            began = time.monotonic()
            for number, (day, moment) in enumerate(zip(kreis.days, moments(kreis.weeks), strict=True)):
                for (
                    family
                ) in SUBMITTED:  # topics have no order between them: what a family says rests on the one before
                    await self._send(day[family])
                tick = await publish(self._producer, Tick(at=moment))
                await self._acted(tick)
                progress(number + 1, self.played.records)
            self.played.seconds = time.monotonic() - began
            await self._mailed()
            await self._read_to_the_end()
        finally:
            await ended(self._producer.stop())
            await closed(self._consumer)
        return self.played

    async def _send(self, events: list[Event]) -> None:
        played, acks, waited = self.played, [], []
        for event in events:
            if any(played.outcomes.get(id) != "recorded" and id not in waited for id in event.rests_on):
                played.left_out += 1
                continue
            played.journal[event.id] = event.refused or "recorded"
            played.sent.append(event)
            waited.append(event.id)
            if len(played.journal) == self.drop:
                continue
            attributes = Attributes(id=event.id, source=self.publisher.source, type=event.submission.ce_type,
                                    subject=event.subject, time=event.time, tenant=TENANT)  # fmt: skip
            topic = submissions_topic(event.submission.family, self.publisher.name)
            for _ in range(2 if event.twice else 1):
                acks.append(await self._producer.send(topic, event.submission.to_json(), key=event.subject.encode(),
                                                      headers=headers_of(attributes)))  # fmt: skip
                played.records += 1
            played.twice += event.twice
        await asyncio.gather(*acks)
        await self._answered(waited)

    async def _answered(self, ids: list[str]) -> None:
        """Waits for every answer; after `patience` seconds without any, what is missing stays missing."""
        last = time.monotonic()
        while not all(id in self.played.answers for id in ids) and time.monotonic() - last < self.patience:
            if await self._read():
                last = time.monotonic()

    async def _read_to_the_end(self) -> None:
        """What stands on the answer topics to the last: a second answer to what was sent last would come now."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while any([await self._consumer.position(part) < end for part, end in ends.items()]):
            await self._read()

    async def _read(self) -> int:
        """Reads what answers there are now; how many."""
        found = [record for records in (await self._consumer.getmany(timeout_ms=50)).values() for record in records]
        for record in found:
            said = json.loads(record.value)
            known = self.played.answers.setdefault(said["submission_id"], set())
            if not known:
                self.played.outcomes[said["submission_id"]] = said.get("reason") or said["outcome"]
            known.add(record.value)  # told again it is the same to the byte; its id would be, whatever it says
        return len(found)

    async def _acted(self, tick: int) -> None:
        """Waits until each service has acted on the tick. Raises Trouble."""
        left, deadline = set(SERVICES), time.monotonic() + ACTS_WITHIN
        while left:
            left = {name for name in left if not await asyncio.to_thread(self.fleet.has_acted, name, tick)}
            if left and time.monotonic() > deadline:
                raise Trouble(f"{', '.join(sorted(left))} did not act on the tick in {ACTS_WITHIN:.0f} s",
                              "look at its log", UNREACHABLE)  # fmt: skip

    async def _mailed(self) -> None:
        """Waits until each attempt has its result; after `patience` seconds what is missing stays missing."""
        deadline = time.monotonic() + self.patience
        while not await asyncio.to_thread(self.fleet.mailed) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
