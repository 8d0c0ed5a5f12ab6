"""The consume loop: one fetch, one transaction. Whatever goes wrong, every partition is sought back and comes again."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import groupby
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import Recorded
from services.host.own_logs import OlderThanLog, look_back
from services.host.running import Running, say_held
from services.kept.dead_letters import UNREADABLE_LIMIT, Origin, expected_again, unreadable_this_hour
from services.kept.left_out import is_left_out
from services.process.failpoints import failpoint
from services.process.telemetry import spanning
from services.runtime import batch, clock, positions
from services.runtime.database import encode
from services.runtime.failures import Held, name_of
from services.runtime.messages import Message, Part, decode
from services.runtime.positions import NOWHERE, Astray
from services.runtime.work import BadFact, Fork, Work

log = structlog.get_logger()

FIRST_REST, LONGEST_REST = 0.2, 10.0  # seconds a held partition rests before it is tried again
OUR_OWN = ("fetch", "minder")  # what may be held of this process, whatever it is to read
ENDS_LIMIT = 5  # seconds: for so long a tick beside a partition without a leader holds up what came with it

NO_LEADER = "NoLeader"

Fetched = dict[Part, list[Any]]


class Stopped(NamedTuple):
    """Where and why a partition stands still; what stands before it has been applied."""

    why: Exception
    at: int


class Gap(Exception):
    """A position lies below the log's start or past its end: records are gone. Held, never skipped."""


class NoFact(BadFact):
    """A record on a topic of facts without a fact's headers; `where` is its offset."""

    def __init__(self, where: int) -> None:
        super().__init__(where)
        self.where = where


class Flood(Exception):
    """A publisher's limit of unreadable messages is reached; its partitions are held until the next hour."""


class Inputs:
    """What a service reads, and how far this process knows it has read."""

    def __init__(self, node: Running) -> None:
        self.node = node
        self.parts: list[Part] = []
        self.held: dict[str, Held] = {}
        self.progress = time.monotonic()
        self.claimed: asyncio.Queue[Recorded] = asyncio.Queue()
        self.tick_waits = True
        """A tick may be waiting for positions to pass its ends; looked at after each transaction that moves one."""
        self.gaps: dict[Part, str] = {}
        self._unmet: set[Part] = set()
        """Partitions to be held against their log's start and end before the next batch."""
        self.set_back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with OlderThanLog, as soon as a batch finds a row below where it stood; nothing is applied from then on."""
        self._stood: dict[Part, int] = {}
        """Where the rows that are not held stood when somebody looked last."""
        self._contiguous: dict[Part, int] = {}
        """Where this consumer was sent, or has read to, with nothing unclear since."""
        self.in_hand: set[Part] = set()
        """What the last fetch brought: it may not be settled yet, and nobody sends the consumer elsewhere meanwhile."""
        self._rests: dict[Part, float] = {}
        self._assignment: Any = None
        self.mine: set[Part] = set()
        """Partitions this process is to read."""

    # --- the handler FastStream calls

    async def handle(self, consumer: Any, records: Sequence[Any]) -> None:
        """Never raises: FastStream would log it, and the next batch would pass over this one."""
        if self.set_back.done():
            return
        fetched = {Part(*key): list(group) for key, group in groupby(records, key=lambda r: (r.topic, r.partition))}
        contiguous = {part: at for part in fetched if (at := self._contiguous.pop(part, None)) is not None}
        # Back to where each was contiguous, not to its first record: where aborted transactions lie between, that is astray in
        # its turn, and two such partitions sent each other back for ever.
        back = {part: contiguous.get(part, rs[0].offset) for part, rs in fetched.items()}
        started = time.monotonic()  # what is contiguous is unknown until this batch is settled
        try:
            with spanning(self.node.service.name, records):
                stopped = await self.apply(fetched, contiguous)
        except OlderThanLog as older:
            self.set_back.set_exception(older)
        except Astray as astray:
            self._seek(consumer, back | {part: at for part, at in astray.positions.items() if at != NOWHERE})
            self._unmet |= set(astray.positions)
            self.node.metrics.retries.labels(name_of(astray)).inc()  # nothing else would show one that never ends
        except Exception as error:
            self._hold(consumer, back, error, "everything")
        else:
            self.held.pop("everything", None)
            self.progress = time.monotonic()
            self.node.metrics.batch_seconds.observe(self.progress - started)
            for part, rs in fetched.items():
                if (stop := stopped.get(part)) is not None:
                    self._hold(consumer, {part: stop.at}, stop.why, self._held_name(part, stop.why))
                    # where it goes on is its row's to say, once somebody has said that it does
                    if isinstance(stop.why, Gap):
                        self._contiguous.pop(part, None)
                else:
                    self._contiguous[part] = rs[-1].offset + 1
                    self._rests.pop(part, None)
                    for why in (Gap(), Flood()):
                        self.held.pop(self._held_name(part, why), None)

    def fetched(self, parts: Iterable[Any], assignment: Any) -> None:
        """What a fetch brought, and under which assignment. Under a new one nothing counts that was known before: reading begins
        where Kafka's committed offsets say, and a batch from there on would be taken for one that follows our row. Nor does what was
        held, for another process may read it now: what is ours and still stands still says so again within a batch."""
        self.in_hand = {Part(*part) for part in parts}
        if assignment is not self._assignment:
            self._assignment, self.mine = assignment, {Part(*tp) for tp in assignment.tps} if assignment else set()
            self._contiguous.clear()
            self.held = {what: held for what, held in self.held.items() if what in OUR_OWN}

    async def back(self, consumer: Any) -> dict[Part, int]:
        """Sends the consumer back to the rows: when it raises it forgets what it had fetched of other partitions, too, and would
        pass over that. Gives back where each partition stands that is not at rest."""
        self._contiguous.clear()
        rows = await positions.stand(self.node.pool)
        stands = {part: rows[part] for tp in consumer.assignment() if (part := Part(*tp)) in rows}
        self._seek(consumer, stands)
        return {part: next for part, next in stands.items() if TopicPartition(*part) not in consumer.paused()}

    def rest(self, consumer: Any, parts: Set[Part], error: Exception) -> None:
        """Partitions of which nothing can be read from where they were sent: each is held by its name, and others go on beside it."""
        for part in parts & self._contiguous.keys():
            self._hold(consumer, {part: self._contiguous[part]}, error, self._held_name(part, error))
            self.progress = time.monotonic()  # it is tried again, as any partition that is held

    def _held_name(self, part: Part, why: Exception) -> str:
        publisher = self.node.inputs[part.topic].publisher
        return f"publisher:{publisher.name}" if publisher and isinstance(why, Flood) else f"{part.topic}/{part.part}"

    def _seek(self, consumer: Any, to: dict[Part, int]) -> None:
        for part, offset in to.items():
            if (tp := TopicPartition(*part)) in consumer.assignment():
                consumer.seek(tp, offset)
                self._contiguous[part] = offset

    def _hold(self, consumer: Any, back: dict[Part, int], error: BaseException, what: str) -> None:
        """Back, a rest, again. Polls and heartbeats go on, so no member leaves."""
        why = name_of(error)
        say_held(self.held, what, why)
        self.node.metrics.retries.labels(why.partition(":")[0]).inc()
        self._seek(consumer, back)
        for part in back:
            if (tp := TopicPartition(*part)) in consumer.assignment():
                rest = self._rests[part] = min(self._rests.get(part, FIRST_REST / 2) * 2, LONGEST_REST)
                consumer.pause(tp)
                asyncio.get_running_loop().call_later(rest, _resume, consumer, tp)

    # --- one batch

    async def apply(self, fetched: Fetched, contiguous: dict[Part, int]) -> dict[Part, Stopped]:
        """Applies what was fetched; gives back the partitions that stopped, where and why."""
        # where it was read on with records between, they may be a transaction's markers, or deleted under a reader that lagged
        self._unmet |= {part for part, at in contiguous.items() if fetched[part][0].offset != at}
        # what comes below where we had read to: the log was set back, and has perhaps grown beyond our row since
        for part, at in contiguous.items():
            if (first := fetched[part][0].offset) < at:
                await positions.hold(self.node.pool, part, f"Gap:read up to {at}, and {first} came again")
        await self._meet([part for part in fetched if part not in self.parts or part in self._unmet])
        self._unmet -= set(fetched)
        stopped = {part: Stopped(Gap(), rs[0].offset) for part, rs in fetched.items() if part in self.gaps}
        messages = await self._decoded(fetched, stopped)
        ends = "[]"
        try:
            async with asyncio.timeout(ENDS_LIMIT):
                ends = await self._tick_ends(messages)
        except (TimeoutError, KafkaError) as error:  # time stands still, and nothing beside it
            stopped |= {m.part: Stopped(error, m.offset) for m in reversed(messages) if m.input.kind == "time"}
            messages = [m for m in messages if m.input.kind != "time"]
        lasts = {part: records[-1].offset + 1 for part, records in fetched.items() if part not in stopped}
        if messages:
            await self._applied(messages, contiguous, lasts, ends)
        async with self.node.pool.acquire() as con:
            for part in lasts.keys() - {message.part for message in messages}:  # nothing but what was left out
                await positions.step(con, part, contiguous.get(part, fetched[part][0].offset), lasts[part])
            for part, (why, at) in stopped.items():
                # a gap stands in its row, or does not any more: somebody said that it goes on
                if not isinstance(why, Gap):
                    name = self._held_name(part, why) if isinstance(why, Flood) else name_of(why)
                    await positions.hold(con, part, name, at)
        return stopped

    async def _applied(
        self, messages: list[Message], contiguous: dict[Part, int], lasts: dict[Part, int], ends: str
    ) -> None:
        """Applies them. Where a row stands lower than it was seen to, another database may answer than before: to one that is older
        than the log nothing is applied, since what was done after it (a mail) would be done again. (Otherwise `lotse go-on` was it.)"""
        try:
            await batch.apply(
                self.node, messages, contiguous, lasts, batch.Around(self.settled, self.broken, ends, self._stood)
            )
        except Astray as astray:
            seen = {part: max(self._stood.get(part, 0), contiguous.get(part, 0)) for part in astray.positions}
            if any(NOWHERE < at < seen[part] for part, at in astray.positions.items()):
                await look_back(self.node)
                self._stood = {part: at for part, at in self._stood.items() if part not in astray.positions}
            raise

    async def _decoded(self, fetched: Fetched, stopped: dict[Part, Stopped]) -> list[Message]:
        """Each record by itself. A partition stops where a fact's headers can't be read, unless somebody said that it is none
        (`lotse go-on --past`), and at a publisher's limit."""
        messages: list[Message] = []
        used, again = None, set[Origin]()
        silent_until = time.monotonic() + 1
        for part, records in fetched.items():
            input = self.node.inputs[part.topic]
            for record in records if part not in stopped else ():
                if time.monotonic() >= silent_until:  # heartbeats are due, and somebody may ask whether we live
                    await asyncio.sleep(0.02)  # not 0: an answer takes several rounds of the loop
                    silent_until = time.monotonic() + 1
                message = decode(self.node.service, input, record)
                if input.of_facts and message.verdict is not None and message.attributes is None:
                    if await is_left_out(self.node.pool, part, record.offset, message.arrived):
                        continue
                    stopped[part] = Stopped(NoFact(record.offset), record.offset)
                    break
                if message.verdict is not None and input.publisher is not None:
                    if used is None:
                        used = await unreadable_this_hour(self.node.pool)
                        again = await expected_again(self.node.pool, fetched)
                    if Origin.of(message) not in again:
                        used[input.publisher.name] += 1
                        if used[input.publisher.name] > UNREADABLE_LIMIT:
                            stopped[part] = Stopped(Flood(), record.offset)
                            break
                messages.append(message)
        return messages

    async def _tick_ends(self, messages: list[Message]) -> str:
        """The ends of all inputs as they stand now, asked before any transaction is open; empty where no tick came."""
        if not any(message.input.kind == "time" for message in messages):
            return "[]"
        await self.refresh()
        ends = await self.node.reader.ends([p for p in self.parts if self.node.inputs[p.topic].kind != "time"])
        return encode([[*part, end] for part, end in ends.items()]).decode()

    async def settled(self, messages: Sequence[Message], work: Work) -> None:
        """What follows a transaction: figures, errands that are ours to make, the tick that may have waited for it."""
        for kind, count in Counter(message.input.kind for message in messages).items():
            self.node.metrics.messages.labels(kind).inc(count)
            self.tick_waits |= kind == "time"
        self.count(work)
        for claim in work.claims:
            failpoint("after_claim")
            self.node.making.add(claim.attributes.id)
            self.claimed.put_nowait(claim)
        if self.tick_waits:
            await self.act()

    def broken(self, message: Message, error: Exception) -> None:
        """What is said of a message our rules could not bear."""
        what, part = "set aside" if message.input.publisher else "quarantine", message.part
        log.error(what, topic=part.topic, partition=part.part, offset=message.offset, error=name_of(error))
        self.node.metrics.forks.inc(isinstance(error, Fork))

    def count(self, work: Work) -> None:
        """Adds up what a transaction did, and wakes the relay."""
        self.node.metrics.facts.inc(work.counts["facts"])
        self.node.metrics.answers.inc(work.counts["answers"])
        self.node.sending.set()

    async def act(self) -> None:
        """Acts on the latest tick whose ends are all passed."""
        self.tick_waits = await clock.act(self.node, self.count)

    # --- partitions

    async def refresh(self, *, led: bool = False) -> None:
        """Meets new partitions, and holds each row against its log's start and end. `led`: leaves out, and names, those without a
        leader, of which nothing can be asked."""
        parts = every = await self.node.reader.parts(self.node.inputs)
        if led:
            parts = await self.node.reader.parts(self.node.inputs, led=True)
            for part in every:
                if part not in parts:
                    say_held(self.held, f"{part.topic}/{part.part}", NO_LEADER)
                elif (held := self.held.get(f"{part.topic}/{part.part}")) and held.why == NO_LEADER:
                    del self.held[held.what]
        await self._meet(parts)
        self.parts = parts  # no sooner: what is called met has its row

    async def _meet(self, parts: list[Part]) -> None:
        """Makes rows for partitions met for the first time: they start at 0 for facts, at the log's start for submissions and ticks.
        Then holds each row against its log's start and end; outside of them it is held as a gap."""
        if not parts:
            return
        starts, ends = await self.node.reader.starts(parts), await self.node.reader.ends(parts)
        async with self.node.pool.acquire() as con:
            await positions.make(con, {p: 0 if self.node.inputs[p.topic].of_facts else starts[p] for p in parts})
            rows = {Part(r["topic"], r["part"]): r for r in await con.fetch("select * from position")}
            for part in parts:
                stands, why = rows[part]["next"], rows[part]["held"]
                if stands > ends[part]:  # it may have grown since we asked
                    ends |= await self.node.reader.ends([part])
                # A log that was set back grows again: what stands between is not what was read there. Only `lotse go-on` ends it.
                if starts[part] <= stands <= ends[part] and not positions.is_gap(why):
                    self.gaps.pop(part, None)
                    if stands == ends[part]:  # what held it is gone with nothing behind it, and no batch will say so
                        self.held.pop(f"{part.topic}/{part.part}", None)
                    continue
                if not positions.is_gap(why):
                    why = f"Gap:read up to {stands}, the log goes from {starts[part]} to {ends[part]}"
                    log.error("a gap in the log; the partition is held", topic=part.topic, partition=part.part, why=why)
                    await positions.hold(con, part, why)
                self.gaps[part] = why

    async def look_after(self, consumer: Any, ends: dict[Part, int]) -> None:
        """Sees to rows that stand still below their log's end:

        - where only transaction markers lie between, the row is moved: no record ever would move it;
        - where this consumer has passed the row (Kafka's committed offset is ahead of a database that was set back or rebuilt), it is
          sent back: on a quiet partition no batch would ever find out.

        Raises OlderThanLog where the database was set back meanwhile."""
        stands = await positions.stand(self.node.pool, held=False)
        if any(next < self._stood.get(part, 0) for part, next in stands.items()):
            await look_back(self.node)
        stood, self._stood = self._stood, stands
        # whose log was set back
        await self._meet([part for part, next in stands.items() if next > ends.get(part, next)])
        for part, next in stands.items():
            if stood.get(part) != next or next >= (end := ends.get(part, 0)):
                continue
            if await self.node.reader.passed_without_records(part, next, end):
                await positions.step(self.node.pool, part, next, end)
                self.tick_waits = True
            elif consumer and part not in self.in_hand and self._contiguous.get(part) != next:
                self._seek(consumer, {part: next})


def _resume(consumer: Any, tp: TopicPartition) -> None:
    if tp in consumer.assignment():
        consumer.resume(tp)
