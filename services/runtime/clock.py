"""Ticks and what is due. A tick is a barrier: it is acted on when all that stood before it has been applied."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from contracts.envelope import Attributes, headers_of
from services.runtime import positions
from services.runtime.database import Connection
from services.runtime.failures import TooMuch, into_quarantine, name_of
from services.runtime.messages import Message, Part
from services.runtime.node import Node
from services.runtime.outbox import Letter
from services.runtime.service import Name
from services.runtime.work import NOT_THE_DATA, TIME, BeginAgain, Work, transact

log = structlog.get_logger()

AHEAD = timedelta(minutes=10)  # a clock that is wrong by more must not move time
CHUNK = 500  # states a transaction: some tens of milliseconds, far below every lock's limit
WAIT_DAYS = 7
TURN = f"select pg_advisory_xact_lock({TIME})"
"""A tick's lock, which whoever shares an alliance's row holds shared (`Work._share`): who comes after us waits for us, and does not
pass by."""
BEFORE = f"select pg_advisory_xact_lock_shared({TIME}); lock table alliance in row share mode"
"""First of all for whoever looks at other tables before it shares an alliance's row (`Work._share`): a rebuild that compares has that one,
takes these at its end, and each would wait for the other."""
FREE = "not exists (select from quarantine q where q.subject = s.id)"
DUE = ("select s.kind, s.id, s.tenant from state s join alliance a using (tenant) where s.due_at <= $1"
       f" and s.due_at <= a.ticked and {FREE} order by s.due_at")  # fmt: skip
"""The moment is told to Postgres, too: where it had to look it up it guessed that a third of all states are due, and read all of them
at each tick."""

BEHIND = "select tenant, ticked from alliance where acted is distinct from ticked order by tenant"

Count = Callable[[Work], None]


async def store(con: Connection, message: Message, ends: str, *, simulated: bool) -> None:
    """Keeps a tick with the ends of all inputs. One too far ahead of its own append time is held, and so is one far behind
    it unless time is simulated. One that can't be read says nothing: held, it would stop time for good."""
    if message.verdict is not None:
        log.error("a tick can't be read", offset=message.offset, verdict=message.verdict.rule)
        return
    at, appended = message.body.at, message.arrived
    held = "AHEAD" if at > appended + AHEAD else "BEHIND" if at < appended - AHEAD and not simulated else None
    if held:
        log.error("a tick is held", tick=at.isoformat(), why=held)
    keep = "insert into tick (id, at, ends, held) values ($1, $2, $3, $4) on conflict do nothing"
    await con.execute(keep, message.id, at, ends, held)


async def act(node: Node, count: Count) -> bool:
    """Acts on the latest tick whose ends are all passed, and finishes one that was begun; says whether one still waits. Safe
    to call at any time, twice, from several processes."""
    async with node.pool.acquire() as con:
        ticks = await con.fetch("select id, at, ends from tick where held is null order by at desc")
        waits = await _begin(node, con, ticks) if ticks else False
        rows = await con.fetch(BEHIND)
    if unfinished := [row for row in rows if (row["tenant"], row["ticked"]) not in node.broken]:
        latest = max(row["ticked"] for row in unfinished)
        while await ask(node, DUE, count, latest, by_time=True) or await _expired(node, count):
            pass
        for row in unfinished:
            try:
                await _finish(node, row["tenant"], row["ticked"], count)
            except NOT_THE_DATA:
                raise
            except Exception as error:  # its own report stands still, said at each tick; nobody else's
                node.broken = {(row["tenant"], row["ticked"])} | {one for one in node.broken if one[0] != row["tenant"]}
                log.error("a report breaks", tenant=row["tenant"], error=name_of(error))
    return waits


async def _begin(node: Node, con: Connection, ticks: list[Any]) -> bool:
    """The latest tick that was passed becomes each alliance's time. Held partitions are left out: one partner can never stop
    time. So are those of publishers not there any more. Where figures are released time waits for all there is: no partner
    writes what reporting reads, and a month of half the facts is wrong and does not say so."""
    stands = await positions.passed(con, held=node.service.reports is not None)

    def passed(ends: str) -> bool:
        return all(stands.get(Part(topic, part), end) >= end for topic, part, end in msgspec.json.decode(ends))

    if (ready := next((tick for tick in ticks if passed(tick["ends"])), None)) is not None:
        async with con.transaction():
            await con.execute(f"{TURN}; select from alliance order by tenant for update")
            move = "update alliance set ticked = $1, tick_id = $2 where ticked is null or ticked < $1"
            await con.execute(move, ready["at"], ready["id"])
            gone = "at <= $1 or held is not null and kept_at < now() - make_interval(days => $2)"
            await con.execute(f"delete from tick where {gone}", ready["at"], WAIT_DAYS)
    return ready is not ticks[0]


async def ask(node: Node, sql: str, count: Count, *args: Any, by_time: bool = False, most: int = CHUNK) -> Name | None:
    """The first states that `sql` finds, `most` of them, are locked and asked what is missing, in one transaction. Gives back the last
    of them, None where there is none. `sql` finds only those that are FREE: what is known of a subject in quarantine is not all there
    is, and nothing is said of it. One whose rule breaks goes into quarantine, found by halves."""
    names: list[Name] = []

    async def chunk(con: Connection, _: BeginAgain) -> None:
        await con.execute(BEFORE)
        rows = await con.fetch(f"{sql} limit {most}", *args)
        names[:] = [(row["kind"], row["id"]) for row in rows]
        if rows:
            await react(Work(node, con, by_time=by_time), rows, count)

    try:
        await transact(node, chunk)
    except NOT_THE_DATA:
        raise
    except Exception as error:
        if most > 1:
            return await ask(node, sql, count, *args, by_time=by_time, most=most // 2)
        log.error("quarantine", kind=names[0][0], error=name_of(error))
        await into_quarantine(node.pool, names[0][1], name_of(error))
    return names[-1] if names else None


async def react(work: Work, rows: list[Any], count: Count) -> None:
    """These states are locked and asked what is missing."""
    await work.open([], names=[(row["kind"], row["id"]) for row in rows], tenants={row["tenant"] for row in rows})
    for slot in work.slots.values():
        work.react(slot)
        await work.breathe()
    await work.save()
    count(work)


async def _expired(node: Node, count: Count, most: int = CHUNK) -> bool:
    """Refuses a chunk of what has waited seven days of ticks, counted from the first that was acted on after it came: after a
    clock that stood still for a week the next tick would refuse what came a second before it."""

    async def chunk(con: Connection, known: BeginAgain) -> bool:
        await con.execute(
            f"{BEFORE}; update kept k set since = a.ticked from alliance a where a.tenant = k.tenant and k.seq in"
            " (select seq from kept where why = 'waiting' and since is null order by seq for update skip locked)"
        )
        rows = await con.fetch(
            "select k.* from kept k join alliance a on a.tenant = k.tenant where k.why = 'waiting'"
            " and k.since <= a.ticked - make_interval(days => $1) and k.topic = any($3::text[])"  # others' publisher is gone
            " and not exists (select from quarantine q where '!' || q.subject = any(string_to_array(k.rests_on, ' ')))"
            " order by k.seq limit $2 for update of k", WAIT_DAYS, most, sorted(node.inputs),
        )  # fmt: skip
        work = Work(node, con)
        messages = [message for row in rows if (message := work.taken_up(row)) is not None]
        await work.open(messages, known)
        for message in messages:
            if not work.has_settled(message):
                await work.judge(message, claimed=True, expired=True)
        await work.save()
        count(work)
        return work.counts["answers"] > 0

    try:
        return await transact(node, chunk)
    except TooMuch:
        return await _expired(node, count, most // 2)


async def _finish(node: Node, tenant: str, ticked: datetime, count: Count) -> None:
    """Releases what is to be released at this tick, and notes that it was acted on."""
    async with node.pool.acquire() as con, con.transaction():
        work = Work(node, con)
        await con.execute(TURN)
        await con.execute("select from alliance where tenant = $1 for update", tenant)
        if reports := node.service.reports:
            for release in await reports.take(con, tenant, ticked):
                key, kind = release.key(tenant), release.ce_type
                attributes = Attributes(key, node.source, kind, key, ticked, tenant, recordedtime=work.now)
                work.out.after[reports.topic].append(Letter(key.encode(), release.to_json(), headers_of(attributes)))
        await work.save()
        await con.execute("update alliance set acted = greatest(acted, $2) where tenant = $1", tenant, ticked)
    count(work)
