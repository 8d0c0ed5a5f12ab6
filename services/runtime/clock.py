"""Ticks and what is due. A tick is a barrier: it is acted on when all that stood before it has been applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import structlog

from contracts.envelope import Attributes, Model, Tick, headers_of, stamp
from contracts.topics import CLOCK, Publisher
from services.runtime.batch import TickIn
from services.runtime.database import Connection
from services.runtime.outbox import Letter
from services.runtime.service import Service
from services.runtime.work import WAIT_DAYS, Alliance, Counts, Widen, Work

log = structlog.get_logger()

AHEAD = timedelta(minutes=10)  # a clock that is wrong by more must not move time
CHUNK = 500  # states a transaction: some tens of milliseconds, far below every lock's limit


@dataclass
class Acted:
    """What acting did; `waits`: a tick still waits for positions to pass its ends."""

    waits: bool = False
    released: int = 0
    counts: Counts = field(default_factory=Counts)

    def add(self, counts: Counts) -> None:
        """Adds one transaction's counts."""
        self.counts.facts += counts.facts
        self.counts.answers += counts.answers


async def publish(producer: Any, tick: Tick) -> int:
    """Publishes a moment; acknowledged when it returns, with the tick's offset."""
    headers = [("ce_specversion", b"1.0"), ("ce_id", str(uuid4()).encode()), ("ce_source", b"//lotse/clock"),
               ("ce_type", Tick.ce_type.encode()), ("ce_time", stamp(tick.at).encode()), ("content-type", b"application/json")]  # fmt: skip
    offset: int = (await producer.send_and_wait(CLOCK, tick.to_json(), key=b"tick", headers=headers)).offset
    return offset


async def store(con: Connection, tick: TickIn, ends: str, *, simulated: bool) -> None:
    """Keeps a tick with the ends of all inputs. One too far ahead of its own append time is held, and so is one far
    behind it unless time is simulated."""
    held = None
    if tick.at > tick.appended + AHEAD:
        held = "AHEAD"
    elif tick.at < tick.appended - AHEAD and not simulated:
        held = "BEHIND"
    if held:
        log.error("a tick is held", tick=tick.at.isoformat(), why=held)
    await con.execute(
        "insert into tick (id, at, ends, held) values ($1, $2, $3, $4) on conflict do nothing",
        tick.id,
        tick.at,
        ends,
        held,
    )


async def act(pool: asyncpg.Pool, service: Service, publishers: Mapping[str, Publisher], source: str) -> Acted:
    """Acts on the latest tick whose ends are all passed, and finishes one that was begun. Safe to call at any time, twice,
    from several processes."""
    acted = Acted()
    async with pool.acquire() as con:
        ticks = await con.fetch("select id, at, ends from tick where held is null order by at desc")
        if ticks:
            stands = {
                (r["topic"], r["part"]): r["next"] for r in await con.fetch("select * from position where held is null")
            }
            ready = next((tick for tick in ticks if _passed(tick["ends"], stands)), None)
            acted.waits = ready is not ticks[0]
            if ready is not None:
                async with con.transaction():
                    await con.execute("select from alliance order by tenant for update")
                    await con.execute(
                        "update alliance set ticked = $1, tick_id = $2 where ticked is null or ticked < $1",
                        ready["at"],
                        ready["id"],
                    )
                    await con.execute("delete from tick where held is null and at <= $1", ready["at"])
        unfinished = await con.fetch(
            "select tenant, ticked from alliance where acted is distinct from ticked order by tenant"
        )
        if not unfinished:
            return acted
        while await _due(con, service, publishers, source, acted) or await _waited(
            con, service, publishers, source, acted
        ):
            pass
        for row in unfinished:
            async with con.transaction():
                await con.execute("select from alliance where tenant = $1 for update", row["tenant"])
                if service.reports:
                    acted.released += await _release(con, service, source, row["tenant"], row["ticked"])
                await con.execute(
                    "update alliance set acted = $2 where tenant = $1 and (acted is null or acted < $2)",
                    row["tenant"],
                    row["ticked"],
                )
    return acted


def _passed(ends: str, stands: dict[tuple[str, int], int]) -> bool:
    """Held partitions are left out: one partner can never stop time. So are those of publishers not there any more."""
    return all(stands.get((topic, part), end) >= end for topic, part, end in msgspec.json.decode(ends))


async def _due(
    con: Connection, service: Service, publishers: Mapping[str, Publisher], source: str, acted: Acted
) -> bool:
    """A chunk of states whose moment has come: react, save. False when none is left."""
    async with con.transaction():
        work = Work(service, publishers, source, con, by_time=True)
        rows = await con.fetch(
            "select s.kind, s.id, s.tenant from state s join alliance a on a.tenant = s.tenant"
            " where s.due_at <= a.ticked order by s.kind, s.id limit $1", CHUNK,
        )  # fmt: skip
        if not rows:
            return False
        await react_all(work, [(row["kind"], row["id"]) for row in rows], {row["tenant"] for row in rows})
    acted.add(work.counts)
    return True


async def react_all(work: Work, names: list[tuple[str, str]], tenants: set[str]) -> None:
    """React over states: what time alone brings, or what a sweep finds (on a quiet, caught-up system: nothing)."""
    await work.share(tenants)
    await work.lock(names)
    for slot in work.slots.values():
        work.react(slot)
    await work.save([])


async def _waited(
    con: Connection, service: Service, publishers: Mapping[str, Publisher], source: str, acted: Acted
) -> bool:
    """Refuses a chunk of what has waited seven days of ticks. A wait that began before the first tick begins with it."""
    async with con.transaction():
        await con.execute("update waiting w set since = a.ticked from alliance a where a.tenant = w.tenant and w.since is null"
                          " and a.ticked is not null")  # fmt: skip
        rows = await con.fetch(
            "select w.* from waiting w join alliance a on a.tenant = w.tenant"
            " where w.since <= a.ticked - make_interval(days => $1) order by w.seq limit $2 for update of w", WAIT_DAYS, CHUNK,
        )  # fmt: skip
        if not rows:
            return False
        work = Work(service, publishers, source, con)
        for row in rows:
            work.refuse_waiting(row)
        await work.save([])
    acted.add(work.counts)
    return work.counts.answers > 0


async def _release(con: Connection, service: Service, source: str, tenant: str, ticked: datetime) -> int:
    assert service.reports
    reports = service.reports
    work = Work(service, {}, source, con, alliances={tenant: Alliance(ticked, None)})
    releases: list[Model] = list(await reports.take(con, tenant, ticked))
    for release in releases:
        key = release.key(tenant)  # type: ignore[attr-defined]
        attributes = Attributes(id=key, source=source, type=release.ce_type, subject=key, time=ticked, tenant=tenant,  # type: ignore[attr-defined]
                                recordedtime=work.now)  # fmt: skip
        body = release.to_json()  # type: ignore[attr-defined]
        work.out.facts[reports.topic].append(Letter(key.encode(), body, headers_of(attributes)))
    await work.save([])
    return len(releases)


async def sweep(pool: asyncpg.Pool, service: Service, publishers: Mapping[str, Publisher], source: str) -> Counts:
    """React over every state there is. The law: on a quiet, caught-up system this yields nothing."""
    total = Acted()
    last = ("", "")
    while True:
        rows: list[Any] = await pool.fetch(
            "select kind, id, tenant from state where (kind, id) > ($1, $2) and tenant is not null order by kind, id limit $3",
            *last, CHUNK,
        )  # fmt: skip
        if not rows:
            return total.counts
        last = (rows[-1]["kind"], rows[-1]["id"])
        async with pool.acquire() as con, con.transaction():
            work = Work(service, publishers, source, con)
            await react_all(work, [(row["kind"], row["id"]) for row in rows], {row["tenant"] for row in rows})
        total.add(work.counts)


async def replay_set_aside(
    pool: asyncpg.Pool, service: Service, publishers: Mapping[str, Publisher], source: str
) -> int:
    """Judges again, one by one, what a rule of ours could not bear; called when a service starts anew. Gives back how many
    have their answer now."""
    done = 0
    for row in await pool.fetch("select * from set_aside order by at"):
        names: set[tuple[str, str]] = set()
        for _ in range(20):
            try:
                async with pool.acquire() as con, con.transaction():
                    work = Work(service, publishers, source, con)
                    if not await work.again(row, names):
                        break
                    await con.execute(
                        "delete from set_aside where reference = $1 and content = $2", row["reference"], row["content"]
                    )
                done += 1
                break
            except Widen as widen:
                names |= widen.names
            except Exception as error:
                log.warning("still set aside", error=type(error).__name__)
                break
    return done
