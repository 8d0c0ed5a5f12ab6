"""Learn a service beside, from the topics alone, while traffic goes on; compare; swap. The topics are the log.

A difference at equal positions keeps the old and names the first differing keys. Where the old database is gone or older
than the log there is nothing to compare with, and the new one takes its place.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog

from contracts.envelope import Answer, Attributes, Tick, fact_id_of, first_header, read_attributes
from contracts.topics import CLOCK, Publisher, answers_topic, facts_topic, load_publishers
from services.runtime import clock
from services.runtime.batch import FactIn, Input, decode, inputs_of, moment_of
from services.runtime.database import TIMELINE, Connection, connect
from services.runtime.kafka import Reader
from services.runtime.positions import Part
from services.runtime.relay import OlderThanLog, Relay, refuse_if_older
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry import Metrics
from services.runtime.work import LOST_ANSWER, Work

log = structlog.get_logger()

LIVE, BESIDE, OLD = "lotse", "lotse_beside", "lotse_old"
DRAIN_LIMIT = 120.0  # seconds the outbox may take to drain while everybody is held

COMPARED: dict[str, tuple[str, str]] = {
    "state": ("kind, id", "tenant, shape, body, given, stream"),
    "heard": ("family, subject", "number, id"),
}
"""Table to key and compared columns; projections and the timeline are compared in all their columns."""

KEPT = ("waiting", "set_aside", "dead_letter_count", "claim", "tick", "rebuilt")
"""What no topic tells, or what live knows better: taken over from a database that is up to date."""


@dataclass
class Rebuilt:
    """What a rebuild did."""

    records: int = 0
    seconds: float = 0.0
    compared: bool = False
    differences: list[str] = field(default_factory=list)
    """`table: key` of the first rows that differ; empty: equal, and swapped."""
    swept: int = 0
    """Facts a sweep recorded afterwards; the law says 0."""


Progress = Callable[[str, int], None]


async def rebuild(
    service: Service, settings: Settings, migrations: list[Path], progress: Progress = lambda _what, _count: None
) -> Rebuilt:
    """Rebuilds one service; safe while it serves. Needs LOTSE_DATABASE_OWNER. Raises what Kafka and Postgres raise."""
    if settings.database_owner is None:
        raise PermissionError(
            "LOTSE_DATABASE_OWNER is not set; a rebuild makes a schema, which the runtime role may not"
        )
    started = time.monotonic()
    done = Rebuilt()
    async with AsyncExitStack() as stack:
        dsn = settings.database.get_secret_value()
        live = await connect(dsn)
        stack.callback(live.terminate)
        owner = await asyncpg.connect(settings.database_owner.get_secret_value(), timeout=10)
        stack.push_async_callback(owner.close)
        reader = Reader(settings.kafka, settings.kafka_security, f"{service.name}-rebuild")
        stack.push_async_callback(reader.stop)
        await reader.start()
        beside = await _make_beside(owner, settings.database_owner.get_secret_value(), live, migrations)
        stack.callback(beside.terminate)
        learner = Learner(service, settings, beside, reader, done, progress)
        try:
            await refuse_if_older(live, reader, learner.own)
            done.compared = True
        except OlderThanLog as older:
            log.warning("nothing to compare with", facts=older.facts)
        await learner.learn(None)
        relay = Relay(live, dsn, settings.kafka, settings.kafka_security, f"{service.name}-rebuild", Metrics())
        await _drained_and_swapped(owner, relay, learner, done)
        done.seconds = time.monotonic() - started
        if not done.differences:
            counts = await clock.sweep(live, service, learner.publishers, learner.source)
            done.swept = counts.facts
            note = "equal" if done.compared else "nothing to compare with"
            await live.execute("insert into rebuilt values (now(), $1, $2, $3)", done.records, done.seconds, note)
    return done


async def _make_beside(owner: Any, owner_dsn: str, live: asyncpg.Pool, migrations: list[Path]) -> asyncpg.Pool:
    """An empty schema beside, made by the same migrations."""
    await owner.execute(f"drop schema if exists {BESIDE} cascade; create schema {BESIDE}; set search_path = {BESIDE}")
    for file in migrations:
        await owner.execute(file.read_text("utf-8").partition("-- migrate:down")[0])
    role = await live.fetchval("select current_user")
    await owner.execute(f'grant usage on schema {BESIDE} to "{role}"')
    for name in ("runtime_migrations", "service_migrations"):
        await owner.execute(f"create table if not exists {BESIDE}.{name} (like {LIVE}.{name} including all);"
                            f" insert into {BESIDE}.{name} select * from {LIVE}.{name}")  # fmt: skip
    await owner.execute(f"set search_path = {LIVE}; set lock_timeout = '60s'")
    return await connect(owner_dsn, schema=BESIDE)


async def _drained_and_swapped(owner: Any, relay: Relay, learner: "Learner", done: Rebuilt) -> None:
    """Everybody held, the outbox drained, the tail learnt, the digests compared, the schemas swapped; all or nothing."""
    draining = asyncio.create_task(relay.run())
    try:
        async with owner.transaction():
            # exclusive: whoever locks a row waits here and, when it goes on, finds the new tables; readers go on reading
            await owner.execute(f"lock table {LIVE}.position, {LIVE}.alliance in exclusive mode")
            async with asyncio.timeout(DRAIN_LIMIT):
                while await owner.fetchval(f"select exists (select from {LIVE}.outbox)"):
                    relay.wake()
                    await asyncio.sleep(0.05)
            rows = await owner.fetch(f"select topic, part, next from {LIVE}.position")
            stands = {Part(row["topic"], row["part"]): row["next"] for row in rows}
            await learner.learn(stands if done.compared else None)
            await learner.finish(owner, stands if done.compared else None)
            if done.compared:
                done.differences = await differences(owner, learner.service)
            if done.differences:
                return
            await owner.execute(f"alter schema {LIVE} rename to {OLD}; alter schema {BESIDE} rename to {LIVE}")
        await owner.execute(f"drop schema {OLD} cascade")
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


class Learner:
    """Learns a service's tables from its own facts, others' facts, its answers and its releases: evolve only."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        pool: asyncpg.Pool,
        reader: Reader,
        done: Rebuilt,
        progress: Progress,
    ) -> None:
        self.service, self.pool, self.reader, self.done, self.progress = service, pool, reader, done, progress
        self.publishers: Mapping[str, Publisher] = load_publishers(settings.publishers)
        self.source = f"//lotse/{settings.installation}/{service.name}"
        self.inputs = inputs_of(service, self.publishers)
        self.topics = {facts_topic(f): Input(facts_topic(f), "fact", f) for f in service.learned}
        self.topics |= {facts_topic(f): Input(facts_topic(f), "own", f) for f in service.owned}
        self.answers = [
            answers_topic(f, p.name) for p in self.publishers.values() for f in p.families if f in service.owned
        ]
        self.reports = [service.reports.topic] if service.reports else []
        self.own = [facts_topic(f) for f in service.owned] + self.answers + self.reports
        self.read_to: dict[Part, int] = {}
        self.newest: datetime | None = None

    async def learn(self, stands: Mapping[Part, int] | None) -> None:
        """Learns on from where it stands: others' facts up to the given positions, everything else up to the log's end."""
        parts = await self.reader.parts([*self.topics, *self.answers, *self.reports])
        starts, ends = await self.reader.starts(parts), await self.reader.ends(parts)
        ranges: dict[Part, tuple[int, int]] = {}
        for part in parts:
            input = self.topics.get(part.topic)
            end = ends[part]
            if stands is not None and input is not None and input.kind == "fact":
                end = min(end, stands.get(part, 0))
            ranges[part] = (max(self.read_to.get(part, 0), starts[part]), end)
        async for records in self.reader.records(ranges):
            await self._take(records)
            self.done.records += len(records)
            self.progress("records", self.done.records)
        for part, (start, end) in ranges.items():
            self.read_to[part] = max(start, end)

    async def _take(self, records: list[Any]) -> None:
        topic = records[0].topic
        async with self.pool.acquire() as con, con.transaction():
            if topic in self.topics:
                await self._facts(con, [decode(self.service, self.topics[topic], record) for record in records])
            elif topic in self.answers:
                await self._answers(con, records)
            elif self.service.reports:
                for record in records:
                    tenant = read_attributes(record.headers).tenant
                    await self.service.reports.learn(con, tenant, record.value)

    async def _facts(self, con: Connection, messages: list[Any]) -> None:
        facts: list[FactIn] = messages
        work = Work(self.service, self.publishers, self.source, con, learning=True)
        await work.share([fact.attributes.tenant for fact in facts])
        names = [
            name for m in facts if m.fact is not None
            for name in self.service.reached_states(m.fact, m.attributes.subject, m.attributes.tenant)
        ]  # fmt: skip
        await work.lock(names)
        await work.load_heard([fact for fact in facts if not fact.back])
        references: list[str] = []
        for message in facts:
            if message.back:
                work.learn_own(message)
                if _is_decision(message.attributes):
                    references.append(str(message.attributes.cause))
                recorded = message.attributes.recordedtime
                if recorded and (self.newest is None or recorded > self.newest):
                    self.newest = recorded
            else:
                work.learn(message)
        await work.save([])
        await self._claim(con, dict.fromkeys(references, LOST_ANSWER))
        if self.service.errand:
            await self._errands(con, facts)

    async def _errands(self, con: Connection, facts: list[FactIn]) -> None:
        """Attempts without a result have no lease left: they become uncertain, nothing is made again."""
        errand = self.service.errand
        assert errand
        for message in facts:
            if isinstance(message.fact, errand.fact):
                await con.execute(
                    "insert into claim values ($1, $2, $3, now(), false) on conflict do nothing",
                    message.attributes.id, msgspec.json.encode(message.attributes).decode(), message.body,
                )  # fmt: skip
            elif message.fact is not None and message.attributes.id.endswith(".result"):
                await con.execute(
                    "update claim set done = true where id = $1", message.attributes.id.removesuffix(".result")
                )

    async def _answers(self, con: Connection, records: list[Any]) -> None:
        """The first content of an id has it; the answer ID_REUSED is claimed under its own id."""
        found: dict[str, str] = {}
        for record in records:
            answer = Answer.__pydantic_validator__.validate_json(record.value)
            reused = answer.reason == "ID_REUSED"
            key = (first_header(record.headers, "ce_id") or b"").decode() if reused else answer.reference
            found.setdefault(key, answer.content)
        await self._claim(con, found)

    async def _claim(self, con: Connection, found: dict[str, str]) -> None:
        keys = sorted(found)
        await con.execute(
            "insert into answered (key, content) select * from unnest($1::uuid[], $2::text[])"
            " on conflict (key) do update set content = excluded.content where answered.content = $3 and excluded.content <> $3",
            keys, [found[key] for key in keys], LOST_ANSWER,
        )  # fmt: skip

    async def finish(self, owner: Any, stands: Mapping[Part, int] | None) -> None:
        """Positions, marks and time. Without a database to take them from, submissions are read from the log's start."""
        if stands is not None:
            await owner.execute(f"insert into {BESIDE}.position select * from {LIVE}.position;"
                                f" insert into {BESIDE}.alliance select * from {LIVE}.alliance"
                                " on conflict (tenant) do update set ticked = excluded.ticked, tick_id = excluded.tick_id,"
                                " acted = excluded.acted")  # fmt: skip
            await owner.execute(f"delete from {BESIDE}.claim")
            for table in KEPT:
                await owner.execute(
                    f"insert into {BESIDE}.{table} overriding system value select * from {LIVE}.{table}"
                )
            await owner.execute(f"select setval(pg_get_serial_sequence('{BESIDE}.waiting', 'seq'),"
                                f" (select coalesce(max(seq), 0) + 1 from {BESIDE}.waiting))")  # fmt: skip
        else:
            learned = {p: n for p, n in self.read_to.items() if p.topic in self.inputs}
            await _put(owner, "position", learned)
            tick = await self._tick()
            if tick is not None:
                await owner.execute(f"update {BESIDE}.alliance set ticked = $1, tick_id = $2, acted = $1", *tick)
        await _put(owner, "acked", {p: n for p, n in self.read_to.items() if p.topic in self.own})

    async def _tick(self) -> tuple[datetime, str] | None:
        """The newest tick not later than the newest recorded time of own facts; without own facts the newest of all."""
        parts = await self.reader.parts([CLOCK])
        starts, ends = await self.reader.starts(parts), await self.reader.ends(parts)
        best: tuple[datetime, str] | None = None
        async for records in self.reader.records({part: (starts[part], ends[part]) for part in parts}):
            for record in records:
                at = Tick.__pydantic_validator__.validate_json(record.value).at
                if (self.newest is None or moment_of(record.timestamp) <= self.newest) and (
                    best is None or at > best[0]
                ):
                    best = (at, (first_header(record.headers, "ce_id") or b"").decode())
        return best


async def _put(owner: Any, table: str, to: Mapping[Part, int]) -> None:
    await owner.execute(
        f"insert into {BESIDE}.{table} (topic, part, next) select * from unnest($1::text[], $2::int[], $3::bigint[])"
        " on conflict (topic, part) do update set next = excluded.next",
        [p.topic for p in to], [p.part for p in to], list(to.values()),
    )  # fmt: skip


async def differences(owner: Any, service: Service, most: int = 10) -> list[str]:
    """`table: key` of the first rows that differ between live and beside, compared as whole sets by named columns."""
    found: list[str] = []
    tables = dict(COMPARED)
    for table in (TIMELINE, *service.tables):
        rest = [name for name in table.columns if name not in table.key]
        tables[table.name] = (", ".join(table.key), ", ".join(rest) or table.key[0])
    for name, (key, columns) in sorted(tables.items()):
        where = "where body is not null" if name == "state" else ""
        one, other = (f"select {key}, {columns} from {schema}.{name} {where}" for schema in (LIVE, BESIDE))
        rows = await owner.fetch(f"(select {key} from ({one} except {other}) a) union (select {key} from ({other} except {one}) b)"
                                 f" order by {key} limit {most}")  # fmt: skip
        found += [f"{name}: {'/'.join(str(value) for value in row)}" for row in rows]
    rows = await owner.fetch(
        f"select coalesce(l.key, b.key) as key from {LIVE}.answered l full join {BESIDE}.answered b using (key)"
        f" where (l.content is distinct from b.content and b.content is distinct from '{LOST_ANSWER}' and b.key is not null)"
        f" or (l.key is null) order by 1 limit {most}"
    )
    found += [f"answered: {row['key']}" for row in rows]
    await owner.execute(f"insert into {BESIDE}.answered select * from {LIVE}.answered"
                        f" on conflict (key) do update set content = excluded.content where answered.content = '{LOST_ANSWER}'")  # fmt: skip
    return found


def _is_decision(attributes: Attributes) -> bool:
    """Whether a fact's cause is a submission's reference: then its id derives from it."""
    try:
        return str(fact_id_of(UUID(attributes.cause or ""))) == attributes.id
    except ValueError:
        return False
