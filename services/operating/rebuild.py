"""Learn a service beside, from the topics alone, while traffic goes on; compare; swap. The topics are the log.

A difference at equal positions keeps the old and names the first differing keys. Where the old database is gone, new or older
than the log there is nothing to compare with, and the new one takes its place.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import structlog

from contracts.envelope import Answer, fact_id_of, read_attributes, read_id
from contracts.topics import CLOCK, dead_letters_topic
from services.host.kafka import Reader
from services.host.own_logs import letters_beyond, mark, unsent
from services.host.running import Running, running, settle_in
from services.host.settings import Settings
from services.kept import answered
from services.kept.dead_letters import learn_buried
from services.kept.taking_up import REBUILDING, quarantined
from services.kept.waiting import WAKING
from services.operating.beside import BESIDE, LIVE, OLD, differences, in_one_database, make_beside
from services.process.failpoints import failpoint
from services.runtime import clock, positions
from services.runtime.database import Connection, connect, encode, unpack
from services.runtime.failures import name_of
from services.runtime.messages import UUID, Message, Part, decode, inputs_of
from services.runtime.service import Service
from services.runtime.work import NOT_THE_DATA, Work

log = structlog.get_logger()

# everybody is held at most so many seconds, until all is learnt; a lock waited for so long
HELD_LIMIT, LOCK_LIMIT = 120.0, "60s"
BROKEN_AT_MOST = 20
"""Subjects a sweep puts into quarantine: each needs its own release, and a rule that is wrong breaks on all there are."""

KEPT = ("kept", "quarantine", "dead_letter", "buried", "claim", "tick", "outbox")
"""What no topic tells, or what live knows better: taken over from a database that is up to date."""

PASSED_OVER = """select topic, part, "offset", arrived from kept where $1 and why = 'quarantined'
 union select topic, part, "offset", arrived from left_out"""
"""Records that live has read and not applied: they wait for their subject's release, or somebody said that they are none. Known by the
broker's time, too, where it was kept: a log that was set back gives the same offset to something else."""


class Missing(Exception):
    """An own fact stands in the log, and the one before it does not."""


class Unfinished(Exception):
    """The new tables are in place; clearing away the old ones, or the sweep, did not end. Another rebuild does both."""


class Broken(Unfinished):
    """The sweep ended, a dry one, too: a rule breaks on BROKEN_AT_MOST subjects. `done`: what was done, and which these are."""

    def __init__(self, done: "Rebuilt") -> None:
        super().__init__("; ".join(done.broken))
        self.done = done


@dataclass
class Rebuilt:
    """What a rebuild did."""

    records: int = 0
    seconds: float = 0.0
    compared: bool = False
    differences: list[str] = field(default_factory=list)
    """`table: key` of the first rows that differ; empty: equal, or nothing to compare with, and swapped."""
    unsent: dict[str, int] = field(default_factory=dict)
    """Topic to records that a database with nothing to compare had not sent, and that are not in the log: gone with it, and said
    again, under the same ids where a submission is their cause, as far back as its inputs can still be read."""
    swept: int = 0
    """Facts a sweep recorded afterwards; the law says 0."""
    broken: list[str] = field(default_factory=list)
    """`subject: why` of what went into quarantine meanwhile: a rule breaks on it."""


async def rebuild(service: Service, settings: Settings, sql: list[Path], told: Callable[[int, int], None] = lambda *_: None,
                  *, dry: bool = False) -> Rebuilt:  # fmt: skip
    """Rebuilds one service from the topics, into tables made by its migrations (`sql`); safe while it serves, and one at a time.
    `dry`: all of it but the swap, the sweep in what was learnt beside, which then goes. Needs LOTSE_DATABASE_OWNER
    (PermissionError without: it makes a schema, which the runtime role may not), for the same database (TwoDatabases). Raises what
    Kafka and Postgres raise, and Unfinished once the new tables are in place; Broken where a rule is wrong."""
    if settings.database_owner is None:
        raise PermissionError("LOTSE_DATABASE_OWNER is not set")
    started, owner_dsn = time.monotonic(), settings.database_owner.get_secret_value()
    async with AsyncExitStack() as stack:
        live = await connect(settings.database.get_secret_value())
        stack.callback(live.terminate)
        owner = await asyncpg.connect(owner_dsn, timeout=10)
        stack.push_async_callback(owner.close)
        await in_one_database(live, owner)
        # another rebuild, a dry one, too, would take away what is learnt beside
        # and whoever is frozen, or lost, while everybody is held would hold them for good
        limits = f"set lock_timeout = '{LOCK_LIMIT}'; set idle_in_transaction_session_timeout = '{HELD_LIMIT}s'"
        await owner.execute(f"{limits}; select pg_advisory_lock({REBUILDING})")
        if dry:
            stack.push_async_callback(owner.execute, f"drop schema if exists {BESIDE} cascade")
        reader = Reader(settings.kafka, settings.kafka_security, f"{service.name}-rebuild")
        stack.push_async_callback(reader.stop)
        await reader.start()
        await make_beside(owner, await live.fetchval("select current_user"), sql, dry=dry)
        beside = await connect(owner_dsn, schema=BESIDE)
        stack.callback(beside.terminate)
        node = running(service, settings, live, reader)
        learner = Learner(replace(node, pool=beside), told)
        done = learner.done
        settle_in(50_000)  # some of what a fetch brings is garbage in cycles, and nobody else looks for it here
        if ahead := await letters_beyond(node):
            log.warning("nothing to compare with", facts=ahead)
        done.compared = not ahead and await live.fetchval("select exists (select from position)")  # none: it never ran
        await learner.learn(live)
        await _compared_and_swapped(owner, node, learner, dry=dry)
        done.seconds = time.monotonic() - started
        if dry and not done.differences:
            await sweep(learner.node, done)
        elif not done.differences:
            try:
                failpoint("after_swap")
                await owner.execute(f"drop schema {OLD} cascade")
                await sweep(node, done)
                await live.execute("insert into rebuilt values (now(), $1, $2, $3)", done.records, done.seconds,
                                   "equal" if done.compared else "nothing to compare with")  # fmt: skip
            except Broken:
                raise
            except Exception as error:  # whatever it is, the new is in place
                raise Unfinished(name_of(error)) from error
    return done


async def _compared_and_swapped(owner: Any, node: Running, learner: "Learner", *, dry: bool) -> None:
    """Everybody held, the tail learnt, the digests compared, the schemas swapped; all or nothing."""
    done = learner.done
    async with owner.transaction():
        # exclusive: whoever locks a row waits here and, when it goes on, finds the new tables; readers go on reading
        await owner.execute(f"lock table {LIVE}.position, {LIVE}.alliance in exclusive mode")
        # what an older database would still send contradicts the log; it is said again once its inputs are read again
        waits = await owner.cursor(f"select topic, records from {LIVE}.outbox where sent_at is null and $1 order by id", done.compared)  # fmt: skip
        async with asyncio.timeout(HELD_LIMIT):
            await learner.learn(node.pool)
            await learner.learn_unsent(waits)
        await learner.finish(owner)
        done.differences = await differences(owner, node.service) if done.compared else []
        done.unsent = {} if done.compared else await unsent(node.service, node.pool, learner.node.pool)
        if dry or done.differences:
            return
        if done.compared:  # answers that Kafka lost are no difference: the marks, as they stand by now, go on to say it
            await owner.execute(f"lock table {LIVE}.acked in exclusive mode; insert into {BESIDE}.acked select * from {LIVE}.acked on conflict"
                                " (topic, part) do update set next = greatest(acked.next, excluded.next), held = excluded.held, held_since = excluded.held_since")  # fmt: skip
        # what operators did is never forgotten
        for table in ("audit", "rebuilt", "left_out", *(KEPT if done.compared else ())):
            await owner.execute(f"drop table {BESIDE}.{table}; alter table {LIVE}.{table} set schema {BESIDE}")
        await owner.execute(f"alter schema {LIVE} rename to {OLD}; alter schema {BESIDE} rename to {LIVE}")


class Learner:
    """Learns a service's tables from its own facts, others' facts, its answers and its releases: evolve only."""

    def __init__(self, node: Running, progress: Callable[[int, int], None]) -> None:
        self.node, self.done, self.progress = node, Rebuilt(), progress
        self.facts = inputs_of(node.service, node.publishers, learning=True)
        self.read_to: dict[Part, int] = {}
        self.total = 0
        """How many records there are to learn, as far as is known."""
        self.passed_over: set[tuple[str, int, int, datetime | None]] = set()
        self.early: dict[tuple[str, str, int], Message] = {}
        """Own facts met before the one before them: a tail that was lost and sent again, or records that timed out one by one."""
        self.newest: datetime | None = None
        """The newest recorded time of an own fact."""

    async def learn(self, live: asyncpg.Pool) -> None:
        """Learns on from where it stands, but for what operators left out: others' facts as far as the live database has read
        and applied them, where there is something to compare with, everything else up to the log's end. What was released since goes
        in, and what follows it once more: its numbers are known. (Live had it, this had not, and the rebuild called it a difference.)"""
        stands = await positions.stand(live) if self.done.compared else None
        released = self.passed_over - (now := {tuple(row) for row in await live.fetch(PASSED_OVER, self.done.compared)})
        self.read_to |= {Part(*at[:2]): at[2] for at in sorted(released, key=lambda at: at[:3], reverse=True)}
        self.passed_over = now
        parts = await self.node.reader.parts({*self.facts, *self.node.own_topics})
        starts, ranges = await self.node.reader.starts(parts), {}
        for part, end in (await self.node.reader.ends(parts)).items():
            if stands is not None and part.topic in self.facts and self.facts[part.topic].kind == "fact":
                end = min(end, stands.get(part, 0))
            ranges[part] = (max(self.read_to.get(part, 0), starts[part]), end)
        self.total += sum(max(0, end - start) for start, end in ranges.values())
        async for records in self.node.reader.records(ranges):
            await self._take(records[0].topic, records)
            self.done.records += len(records)
            self.progress(self.done.records, self.total)
        self.read_to |= {part: max(start, end) for part, (start, end) in ranges.items()}

    async def learn_unsent(self, rows: Any) -> None:
        """What the outbox still held when the end of the log was asked, as it will stand there: nobody waits until it has left.
        What has left meanwhile is learnt once: its numbers and ids are known."""
        while row := await rows.fetchrow():
            records = [SimpleNamespace(topic=row["topic"], partition=-1, offset=-1, timestamp=0, headers=headers, value=value)
                       for _, value, headers in unpack(row["records"])]  # fmt: skip
            await self._take(row["topic"], records)
            self.done.records += len(records)

    async def _take(self, topic: str, records: list[Any]) -> None:
        """One transaction; if the data are at fault, in halves, down to one fact: its subject is in quarantine, as it is live."""
        try:
            async with self.node.pool.acquire() as con, con.transaction():
                if topic in self.facts:
                    await self._facts(con, self._read(topic, records))
                elif topic in self.node.answers:
                    await self._answers(con, records)
                elif (reports := self.node.service.reports) and topic == reports.topic:
                    for record in records:
                        await reports.learn(con, read_attributes(record.headers).tenant, record.value)
                elif topic == dead_letters_topic(self.node.service.name) and not self.done.compared:
                    await learn_buried(con, self.node, records)
        except NOT_THE_DATA:
            raise
        except Exception as error:
            first, middle = records[0], len(records) // 2
            for half in (records[:middle], records[middle:]) if middle else ():
                await self._take(topic, half)
            if not middle and topic in self.facts:
                message = decode(self.node.service, self.facts[topic], first)
                await quarantined(self.node, message, error, learning=True)
            elif not middle:
                log.error("a record can't be learnt", topic=topic, partition=first.partition, offset=first.offset, error=name_of(error))  # fmt: skip

    def _read(self, topic: str, records: list[Any]) -> list[Message]:
        """The facts among them that live has applied."""
        read = [decode(self.node.service, self.facts[topic], record) for record in records]
        found = [m for m in read if self.passed_over.isdisjoint((*m.part, m.offset, at) for at in (m.arrived, None))]
        for bad in [message for message in found if message.attributes is None]:
            log.error("a record is no fact", topic=topic, partition=bad.part.part, offset=bad.offset)
        return [message for message in found if message.attributes is not None]

    async def _facts(self, con: Connection, messages: list[Message]) -> None:
        work = Work(self.node, con, learning=True)
        await work.open(messages)
        claimed: dict[str, str | None] = {}
        for message in messages:
            if message.input.kind == "fact":
                await work.learn(message)
                continue
            self._own(work, message)
            attributes = message.attributes
            if UUID.fullmatch(cause := attributes.cause or "") and fact_id_of(cause) == attributes.id:
                claimed[cause] = None  # a submission's reference: its answer may be lost, it is known by its fact alone
            self.newest = max(self.newest or attributes.time, attributes.recordedtime or attributes.time)
        await work.save()
        await answered.learn(con, claimed)
        if errand := self.node.service.errand:  # an attempt without a result becomes uncertain; nothing is made again
            await con.executemany("insert into claim values ($1, $2, $3, now(), false, gen_random_uuid()) on conflict do nothing",
                                  [(m.attributes.id, encode(m.attributes).decode(), m.value) for m in messages if isinstance(m.body, errand.fact)])  # fmt: skip
            results = [id.removesuffix(".result") for m in messages if (id := m.attributes.id).endswith(".result")]
            await con.execute("update claim set done = true where id = any($1)", results)

    def _own(self, work: Work, message: Message) -> None:
        """Folds an own fact, and those after it that came early: they stay, since this transaction may be done again in halves."""
        family, subject = message.family, message.attributes.subject
        following: Message | None = message
        while following is not None:
            number = following.attributes.streamversion or 0
            if not work.learn_own(following):
                self.early[family, subject, number] = following
                return
            following = self.early.get((family, subject, number + 1))

    async def _answers(self, con: Connection, records: list[Any]) -> None:
        """The first content of an id has it; the answer ID_REUSED is claimed under its own id."""
        found: dict[str, str | None] = {}
        for record in records:
            answer = Answer.__pydantic_validator__.validate_json(record.value)
            key = read_id(record.headers) if answer.reason == "ID_REUSED" else answer.reference
            found.setdefault(key or answer.reference, answer.content[3:])
        await answered.learn(con, found)

    async def finish(self, owner: Any) -> None:
        """Positions, marks and time. Without a database to take them from, submissions are read from the log's start."""
        if self.done.compared:
            await owner.execute(f"insert into {BESIDE}.position select * from {LIVE}.position;"
                                f" insert into {BESIDE}.quarantine select * from {LIVE}.quarantine on conflict do nothing;"
                                f" insert into {BESIDE}.alliance select * from {LIVE}.alliance"
                                " on conflict (tenant) do update set ticked = excluded.ticked, tick_id = excluded.tick_id,"
                                " acted = excluded.acted")  # fmt: skip
        else:
            for message in self.early.values():
                async with self.node.pool.acquire() as con, con.transaction():
                    await (work := Work(self.node, con, learning=True)).open([message])
                    still = not work.learn_own(message)
                if still:  # a number is missing, and must not be given a second time
                    await quarantined(self.node, message, Missing(), learning=True)
            await positions.make(self.node.pool, {p: n for p, n in self.read_to.items() if p.topic in self.node.inputs})
            if tick := await self._tick():
                await owner.execute(f"update {BESIDE}.alliance set ticked = $1, tick_id = $2, acted = $1", *tick)
        await mark(self.node.pool, {p: n for p, n in self.read_to.items() if p.topic in self.node.own_topics})

    async def _tick(self) -> tuple[datetime, str] | None:
        """The newest tick not later than the newest recorded time of own facts; without own facts the newest of all."""
        parts = await self.node.reader.parts([CLOCK])
        starts, ends = await self.node.reader.starts(parts), await self.node.reader.ends(parts)
        found: list[tuple[datetime, str]] = []
        async for records in self.node.reader.records({part: (starts[part], ends[part]) for part in parts}):
            ticks = (decode(self.node.service, self.node.inputs[CLOCK], record) for record in records)
            found += [(tick.body.at, tick.id or "") for tick in ticks
                      if tick.body is not None and (self.newest is None or tick.arrived <= self.newest)
                      and tick.body.at <= tick.arrived + clock.AHEAD]  # fmt: skip
        return max(found, default=None)


async def sweep(node: Running, done: Rebuilt) -> None:
    """React over every state there is. The law: on a quiet, caught-up system nothing is recorded. Where a rule breaks the state's
    subject goes into quarantine, as at a tick, and the sweep goes on. Raises Broken where these are BROKEN_AT_MOST."""

    def count(work: Work) -> None:
        done.swept += work.counts["facts"]

    sql = "select subject, why from quarantine where subject <> all($1::text[]) and why <> $2 order by subject"
    last, known = ("", ""), [row["subject"] for row in await node.pool.fetch(sql, [], WAKING)]
    every = ("select s.kind, s.id, s.tenant from state s where (s.kind, s.id) > ($1, $2) and s.tenant is not null"
             f" and {clock.FREE} order by s.kind, s.id")  # fmt: skip
    while found := await clock.ask(node, every, count, *last):
        last, done.broken = found, [": ".join(row) for row in await node.pool.fetch(sql, known, WAKING)]
        if len(done.broken) >= BROKEN_AT_MOST:
            raise Broken(done)
