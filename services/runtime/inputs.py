"""The consume loop: one fetch, one transaction. Whatever goes wrong, every partition is sought back and comes again."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, TypeAlias

import asyncpg
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import stamp
from contracts.topics import Publisher
from services.runtime import clock, errands, positions
from services.runtime.batch import BadFact, BadIn, FactIn, Incoming, Input, SubmissionIn, TickIn, decode
from services.runtime.database import RETRY, Connection, encode
from services.runtime.failures import Held, failpoint, name_of, set_aside
from services.runtime.kafka import Reader
from services.runtime.positions import Astray, Part
from services.runtime.service import Service
from services.runtime.telemetry import Metrics
from services.runtime.work import Counts, NewerShape, Widen, Work, given

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds a held partition rests before it is tried again
MAX_WIDENINGS = 20

Record: TypeAlias = "ConsumerRecord[Any, Any]"


class Gap(Exception):
    """A position lies below the log's start or past its end: records are gone. Held, never skipped."""


NOT_THE_DATA = (*RETRY, KafkaError, Astray, Gap, Widen, NewerShape)
"""Errors that no splitting of a batch would mend."""


class Inputs:
    """What a service reads, and how far this process knows it has read."""

    def __init__(
        self,
        service: Service,
        publishers: dict[str, Publisher],
        inputs: dict[str, Input],
        source: str,
        pool: asyncpg.Pool,
        reader: Reader,
        metrics: Metrics,
        simulated: bool,
        wake_relay: Callable[[], None],
        lease_seconds: int,
    ) -> None:
        self.service, self.publishers, self.topics, self.source = service, publishers, inputs, source
        self.pool, self.reader, self.metrics = pool, reader, metrics
        self.simulated, self.wake_relay, self.lease_seconds = simulated, wake_relay, lease_seconds
        self.parts: list[Part] = []
        self.held: dict[str, Held] = {}
        self.progress = time.monotonic()
        self.claimed: asyncio.Queue[Any] = asyncio.Queue()
        self.tick_waits = True
        """A tick may be waiting for positions to pass its ends; looked at after each transaction that moves one."""
        self.gaps: dict[Part, str] = {}
        self.unmet: set[Part] = set()
        """Partitions to be held against their log's start and end before the next batch."""
        self._stood: dict[Part, int] = {}
        self._contiguous: dict[Part, int] = {}
        """Where this consumer was sent, or has read to, with nothing unclear since."""
        self._pauses: dict[Part, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the handler FastStream calls

    async def handle(self, consumer: Any, records: Sequence[Record]) -> None:
        """Never raises: FastStream would log it, and the next batch would pass over this one."""
        batch = {Part(*key): list(group) for key, group in groupby(records, key=lambda r: (r.topic, r.partition))}
        contiguous = {part: self._contiguous.pop(part, None) for part in batch}  # unknown until this batch is settled
        started = time.monotonic()
        try:
            stopped = await self.apply(batch, contiguous)
        except Astray as astray:
            self._seek(consumer, {part: rs[0].offset for part, rs in batch.items()} | astray.positions)
            self.unmet |= set(astray.positions)
        except Exception as error:
            if not isinstance(error, NOT_THE_DATA):
                log.error("batch failed", error=name_of(error), count=len(records))
            self._hold(consumer, batch, error, "everything")
        else:
            self.held.pop("everything", None)
            self.progress = time.monotonic()
            self.metrics.batch_seconds.observe(self.progress - started)
            for part, why in stopped.items():
                self._hold(consumer, {part: batch[part]}, why, f"{part.topic}/{part.part}")
            for part, rs in batch.items():
                if part not in stopped:
                    self._contiguous[part] = rs[-1].offset + 1
                    self._pauses.pop(part, None)
                    self.held.pop(f"{part.topic}/{part.part}", None)
            self.wake_relay()

    def _seek(self, consumer: Any, to: dict[Part, int]) -> None:
        for part, offset in to.items():
            tp = TopicPartition(*part)
            if tp in consumer.assignment():
                consumer.seek(tp, offset)
                self._contiguous[part] = offset

    def _hold(self, consumer: Any, batch: dict[Part, list[Record]], error: BaseException, what: str) -> None:
        """Back to the first record, a rest, again. Polls and heartbeats go on, so no member leaves."""
        why = name_of(error)
        if what not in self.held or self.held[what].why != why:
            self.held[what] = Held(what, why, datetime.now(UTC))
            log.warning("held", held=what, error=why)
        self.metrics.retries.labels(why.partition(":")[0]).inc()
        self._seek(consumer, {part: rs[0].offset for part, rs in batch.items()})
        rests: dict[float, list[TopicPartition]] = {}
        for part in batch:
            tp = TopicPartition(*part)
            if tp in consumer.assignment():
                rest = self._pauses[part] = min(self._pauses.get(part, FIRST_PAUSE / 2) * 2, LONGEST_PAUSE)
                consumer.pause(tp)
                rests.setdefault(rest, []).append(tp)
        for rest, tps in rests.items():
            task = asyncio.create_task(self._resume(consumer, tps, rest))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _resume(self, consumer: Any, tps: list[TopicPartition], rest: float) -> None:
        await asyncio.sleep(rest)
        consumer.resume(*[tp for tp in tps if tp in consumer.assignment()])

    # --- one batch

    async def apply(self, batch: dict[Part, list[Record]], contiguous: dict[Part, int | None]) -> dict[Part, Exception]:
        """Applies a batch; gives back the partitions that stopped at a fact which can't be applied, and why."""
        unmet = [part for part in batch if part not in self.parts or part in self.unmet]
        await self._meet(unmet)
        self.unmet.difference_update(unmet)
        messages: list[Incoming] = []
        stopped: dict[Part, Exception] = {part: Gap(self.gaps[part]) for part in batch if part in self.gaps}
        for part, records in batch.items():
            if part in stopped:
                continue
            for record in records:
                try:
                    messages.append(decode(self.service, self.topics[record.topic], record))
                except BadFact as error:
                    stopped[part] = error
                    break
        ends = await self._tick_ends(messages)
        lasts = {part: records[-1].offset + 1 for part, records in batch.items() if part not in stopped}
        await self._halves(
            messages, {part: at for part, at in contiguous.items() if at is not None}, lasts, ends, stopped
        )
        for part, why in stopped.items():
            if part not in self.gaps:
                async with self.pool.acquire() as con:
                    await positions.hold(con, part, name_of(why))
        return stopped

    async def _tick_ends(self, messages: list[Incoming]) -> str | None:
        """The ends of all inputs as they stand now, asked before any transaction is open; None where no tick came."""
        if not any(isinstance(message, TickIn) for message in messages):
            return None
        await self.refresh()
        ends = await self.reader.ends([part for part in self.parts if self.topics[part.topic].kind != "time"])
        return encode([[*part, end] for part, end in ends.items()]).decode()

    async def _halves(
        self,
        messages: list[Incoming],
        contiguous: dict[Part, int],
        lasts: dict[Part, int],
        ends: str | None,
        stopped: dict[Part, Exception],
    ) -> None:
        """One transaction; if the data are at fault, again in halves, each a whole transaction, down to one message."""
        messages = [m for m in messages if Part(m.place.topic, m.place.part) not in stopped]
        if not messages:
            return
        try:
            await self._transact(messages, contiguous, lasts, ends)
            return
        except NOT_THE_DATA:
            raise
        except Exception as error:
            if len(messages) == 1:
                await self._alone(messages[0], error, stopped)
                return
        middle = len(messages) // 2
        await self._halves(messages[:middle], contiguous, {}, ends, stopped)
        read_to = {Part(m.place.topic, m.place.part): m.place.offset + 1 for m in messages[:middle]}
        await self._halves(messages[middle:], {**contiguous, **read_to}, lasts, ends, stopped)

    async def _alone(self, message: Incoming, error: Exception, stopped: dict[Part, Exception]) -> None:
        part = Part(message.place.topic, message.place.part)
        if not isinstance(message, SubmissionIn):
            stopped[part] = error
            log.error("a fact can't be applied; its partition is held", topic=part.topic, partition=part.part,
                      offset=message.place.offset, error=name_of(error))  # fmt: skip
            return
        async with self.pool.acquire() as con, con.transaction():
            if await set_aside(con, message, error):
                log.error(
                    "set aside",
                    topic=part.topic,
                    partition=part.part,
                    offset=message.place.offset,
                    error=name_of(error),
                )

    async def _transact(
        self, messages: list[Incoming], contiguous: dict[Part, int], lasts: dict[Part, int], ends: str | None
    ) -> None:
        widened: set[tuple[str, str]] = set()
        for _ in range(MAX_WIDENINGS):
            try:
                async with self.pool.acquire() as con:
                    async with con.transaction():
                        work = await self._in_transaction(con, messages, contiguous, lasts, ends, widened)
                        failpoint("before_commit")
                    failpoint("after_commit")
                break
            except Widen as widen:
                widened |= widen.names
        else:
            raise TimeoutError("what waits grew faster than it could be locked")
        for settled in messages:
            self.metrics.messages.labels(self.topics[settled.place.topic].kind).inc()
        self._count(work.counts)
        for claim in work.claims:
            failpoint("after_claim")
            self.claimed.put_nowait(claim)
        if self.tick_waits:
            await self.act()

    def _count(self, counts: Counts) -> None:
        self.metrics.facts.inc(counts.facts)
        self.metrics.answers.inc(counts.answers)

    async def _in_transaction(
        self,
        con: Connection,
        messages: list[Incoming],
        contiguous: dict[Part, int],
        lasts: dict[Part, int],
        ends: str | None,
        widened: set[tuple[str, str]],
    ) -> Work:
        """The way of one batch (house.md 5): positions, alliances, states, heard, claims, rules, save; all of it or none."""
        first: dict[Part, int] = {}
        last: dict[Part, int] = {}
        for message in messages:
            part = Part(message.place.topic, message.place.part)
            first.setdefault(part, message.place.offset)
            last[part] = message.place.offset + 1
        position = await positions.lock(con, first)
        # Only a batch that begins above its row is astray. One that begins below it is another worker's shadow: what the
        # other applied is dropped. (Sought away each time, the slower of two workers would never apply anything.)
        astray = {
            part: position[part]
            for part, at in first.items()
            if at > position[part] and contiguous.get(part) != position[part]
        }
        if astray:
            raise Astray(astray)
        fresh = [m for m in messages if m.place.offset >= position[Part(m.place.topic, m.place.part)]]
        facts = [m for m in fresh if isinstance(m, FactIn) and not m.back]
        submissions = [m for m in fresh if isinstance(m, SubmissionIn)]
        bad = [m for m in fresh if isinstance(m, BadIn)]

        work = Work(self.service, self.publishers, self.source, con)
        allowed = [m for m in submissions if m.denied is None]
        await work.share([*(m.attributes.tenant for m in facts), *(m.attributes.tenant for m in allowed)])
        names = set(widened)
        for fact in facts:
            if fact.fact is not None:
                names.update(self.service.reached_states(fact.fact, fact.attributes.subject, fact.attributes.tenant))
        for submission in allowed:
            names.update(self.service.named_states(submission.submission, submission.attributes.subject))
        await work.lock(names)
        await work.load_heard(facts)
        await work.load_waiting(
            [id for m in allowed for id in self.service.could_give(m.submission, m.attributes.subject)]
            + [id for m in facts if m.fact is not None for id in given(m.fact, m.attributes.subject)]
        )
        answerable: list[SubmissionIn | BadIn] = [*submissions, *(m for m in bad if m.reference)]
        to_answer = await work.claim(answerable) if answerable else []
        for fact in facts:
            work.learn(fact)
        for first_ in to_answer:
            if isinstance(first_, BadIn):
                work.unreadable(first_)
            else:
                work.judge(first_)
        for tick in (m for m in fresh if isinstance(m, TickIn)):
            await clock.store(con, tick, ends or "[]", simulated=self.simulated)
            self.tick_waits = True
        back = [m for m in fresh if isinstance(m, FactIn) and m.back and m.fact is not None]
        if back and self.service.errand:
            work.claims = await errands.claim(con, self.service.errand, back, self.lease_seconds)
        await work.save(bad)
        await positions.move(con, {part: max(position[part], lasts.get(part, at)) for part, at in last.items()})
        return work

    async def act(self) -> None:
        """Acts on the latest tick whose ends are all passed."""
        done = await clock.act(self.pool, self.service, self.publishers, self.source)
        self.tick_waits = done.waits
        self._count(done.counts)
        if done.counts.facts or done.counts.answers or done.released:
            self.wake_relay()

    # --- partitions

    async def refresh(self) -> None:
        """Meets new partitions, and holds each row against its log's start and end."""
        self.parts = await self.reader.parts(self.topics)
        await self._meet(self.parts)

    async def _meet(self, parts: list[Part]) -> None:
        """A new position starts at 0 for facts, at the log's start for submissions and ticks."""
        if not parts:
            return
        starts, ends = await self.reader.starts(parts), await self.reader.ends(parts)
        facts = {"fact", "own"}
        async with self.pool.acquire() as con:
            await positions.make(con, {p: 0 if self.topics[p.topic].kind in facts else starts[p] for p in parts})
            rows = await con.fetch("select topic, part, next, held from position")
            for row in rows:
                part = Part(row["topic"], row["part"])
                if part not in starts:
                    continue
                why = None
                if row["next"] < starts[part]:
                    why = f"Gap:log starts at {starts[part]}, read up to {row['next']}"
                elif row["next"] > ends[part] and row["next"] > (await self.reader.ends([part]))[part]:
                    why = f"PastEnd:log ends at {ends[part]}, read up to {row['next']}"
                if why is None:
                    self.gaps.pop(part, None)
                elif self.gaps.get(part) != why:
                    self.gaps[part] = why
                    log.error("a gap in the log; the partition is held", topic=part.topic, partition=part.part, why=why)
                    await positions.hold(con, part, why)

    async def pass_markers(self) -> None:
        """Moves rows over transaction markers: nothing to apply lies there, and no record would ever move them."""
        ends = await self.reader.ends(self.parts)
        rows = await self.pool.fetch("select topic, part, next from position where held is null")
        for row in rows:
            part = Part(row["topic"], row["part"])
            end = ends.get(part, 0)
            stood = self._stood.get(part)
            self._stood[part] = row["next"]
            if row["next"] >= end or stood != row["next"]:
                continue
            if await self.reader.passed_without_records(part, row["next"], end):
                await self.pool.execute(
                    "update position set next = $4 where topic = $1 and part = $2 and next = $3",
                    *part,
                    row["next"],
                    end,
                )
                self.tick_waits = True


def lag_of(rows: Sequence[Any], ends: dict[Part, int]) -> dict[str, int]:
    """Records not applied, by topic."""
    lag: dict[str, int] = {}
    for row in rows:
        part = Part(row["topic"], row["part"])
        behind = max(0, ends.get(part, row["next"]) - row["next"])
        lag[part.topic] = lag.get(part.topic, 0) + behind
    return lag


def as_status(held: dict[str, Held]) -> list[dict[str, str]]:
    """Held things for /status."""
    return [{"what": h.what, "why": h.why, "since": stamp(h.since)} for h in held.values()]
