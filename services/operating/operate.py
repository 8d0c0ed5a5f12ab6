"""What an operator may do to a running service: judge again what was set aside, give it up, release a subject from
quarantine (`services/kept/taking_up.py`), send again what Kafka lost. Each is written down: who, what, why. A dry run finds out what it
would do and does nothing."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from aiokafka.partitioner import murmur2
from fastapi import APIRouter, Body, HTTPException, Query
from pydantic import StringConstraints

from contracts.envelope import stamp
from contracts.messages import claim_of
from services.host.own_logs import look_for_lost
from services.host.running import Running
from services.kept.dead_letters import expect_again
from services.kept.left_out import is_left_out, leave_out
from services.kept.taking_up import release, replay
from services.kept.waiting import TOLD
from services.operating.audit import LONGEST_WHO, LONGEST_WHY, write_down
from services.operating.shapes import names_in, shape_of
from services.runtime import positions
from services.runtime.database import Connection, columns, unpack
from services.runtime.messages import Part, decode

PAGE = 100
"""Kept messages a question: of those in structured mode each is read whole for its type."""

Who = Annotated[str, Body(min_length=1, max_length=LONGEST_WHO)]
Why = Annotated[str, Body(min_length=1, max_length=LONGEST_WHY)]
Subject = Annotated[str, Body()]
Seqs = Annotated[tuple[int, ...], Body()]
Past = Annotated[str, Body(pattern=r"^([a-z0-9.-]+/\d{1,6}/\d{1,18})?$")]
Only = Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/\d{1,6}$")], ...], Body()]
How = Literal["operate", "dry-run"]
"""A dry run has a path of its own: a version that knows none must not do it instead."""


_LOOKED_AT = "select topic, records from outbox where sent_at >= $1"
_MARKED = "update outbox set sent_at = null, at = now() where sent_at >= $1 returning topic, records"
"""From now on they wait; by their own age the outbox would be a week late at once, and an alert say that nothing is sent."""
_COUNTED = """with found as ({}) select topic, sum(case get_byte(head, 0) when 220 then get_byte(head, 1) << 8 | get_byte(head, 2)
  when 221 then get_byte(head, 1) << 8 | get_byte(head, 2) << 8 | get_byte(head, 3) << 8 | get_byte(head, 4)
  else get_byte(head, 0) - 144 end) as records from (select topic, substring(records from 1 for 5) as head from found) f
 group by topic order by topic"""
"""How many records a row packs stands in its first bytes (MessagePack's array; Postgres works from left to right): nobody reads a
week of them to know."""


_LOST = r"""
select topic, part, said[1]::bigint - said[2]::bigint as records, held_since as seen
from acked, regexp_match(held, 'up to (\d+), the log ends at (\d+)') said where said is not null and topic = any($1::text[])
 order by topic, part
"""
_WOULD_BE = "select sent_at, records from outbox where topic = $2 and sent_at between $1 and $3 order by sent_at desc"
_OLDER = "select exists (select from outbox where topic = $2 and sent_at < $1)"

_keys = msgspec.msgpack.Decoder(list[tuple[bytes | None, msgspec.Raw, msgspec.Raw]]).decode


async def _falls_short(con: Connection, topics: list[str], parts: Collection[Part], since: datetime) -> str:
    """Why the gaps would be said to be over while what was lost is not sent again, or is it empty. A topic of which nothing older is
    kept can't be helped any further."""
    lost = {Part(*row[:2]): (row["records"], row["seen"]) for row in await con.fetch(_LOST, topics)}
    for topic in sorted({part.topic for part in lost}):
        if not (partitions := sum(part.topic == topic for part in parts)):
            return f"{topic} is not there"
        if not await con.fetchval(_OLDER, since, topic):
            continue
        of_it = {part: said for part, said in lost.items() if part.topic == topic}
        would_be = await _would_be(con, of_it, partitions, since)
        for part, (records, seen) in of_it.items():
            if would_be[part] < records:
                return (f"{part.topic}/{part.part} has lost {records} records by {stamp(seen)}, and of what was sent there by then"
                        f" {would_be[part]} would be sent again")  # fmt: skip
    return ""


async def _would_be(
    con: Connection, lost: Mapping[Part, tuple[int, datetime]], partitions: int, since: datetime
) -> Counter[Part]:
    """Of partitions of one topic: how many of the records since a moment went there before the loss was seen. Counted from the latest
    on, a row at a time (one may be a hundred megabytes), until each has what it lost."""
    found = Counter[Part]()
    topic, latest = next(iter(lost)).topic, max(seen for _, seen in lost.values())
    async for row in con.cursor(_WOULD_BE, since, topic, latest, prefetch=1):
        # in a thread: a hundred thousand keys take seconds
        there = await asyncio.to_thread(_lands_on, topic, row["records"], partitions)
        found.update({part: there[part] for part, (_, seen) in lost.items() if row["sent_at"] <= seen})
        if all(found[part] >= records for part, (records, _) in lost.items()):
            break
    return found


def _lands_on(topic: str, records: bytes, partitions: int) -> Counter[Part]:
    """Where the relay's partitioner (`murmur2_random`) puts the records of a row; of one without a key nobody knows."""
    keys = (key for key, _, _ in _keys(records) if key is not None)
    return Counter(Part(topic, (murmur2(key) & 0x7FFFFFFF) % partitions) for key in keys)


class TooLate(Exception):
    """A moment behind which too little was sent: what was lost would stay lost, and nobody would be told any more."""


async def republish(node: Running, since: Any, *, dry: bool = False) -> dict[str, int]:
    """Marks what was sent since a moment as unsent: the relay brings it back with the same ids, after Kafka has lost its
    tail. Acknowledged ends beyond the log are drawn back to it, and no gap is said of them any more. Gives back topic to number
    of records. Raises TooLate, and has done nothing, where more of a partition was lost and is kept, or its topic is not there."""
    ends = await node.reader.ends(await node.reader.parts(node.own_topics))
    async with node.pool.acquire() as con, con.transaction():
        # the marks before the outbox, as a rebuild takes them at its end: each would wait for the other
        await con.execute("lock table acked, outbox in row exclusive mode; savepoint untouched")
        # what nobody has noticed yet would be drawn back unmeasured, and told of by nobody
        await look_for_lost(replace(node, pool=con))  # type: ignore[arg-type]  # asks and writes as a pool does
        if why_not := await _falls_short(con, node.own_topics, ends, since):
            raise TooLate(why_not)
        await con.execute(
            "update acked a set next = least(a.next, (select e.next from unnest($1::text[], $2::int[], $3::bigint[]) e(topic, part, next)"
            " where (a.topic, a.part) = (e.topic, e.part))), held = null, held_since = null"
            " where held_since > now() is not true",  # what others noticed since we began is not measured
            *columns((*part, end) for part, end in sorted(ends.items())) or ([], [], []))  # fmt: skip
        records = await sent_since(con, since, again=not dry)
        if dry:
            await con.execute("rollback to untouched")
    node.sending.set()
    return records


async def sent_since(con: Connection, since: datetime, *, again: bool) -> dict[str, int]:
    """Topic to number of records that were sent since a moment; `again`: they are unsent by now."""
    found = await con.fetch(_COUNTED.format(_MARKED if again else _LOOKED_AT), since)
    return {row["topic"]: row["records"] for row in found}


def leap(part: Part, stood_at: int, goes_on_at: int, gone: int = 0) -> dict[str, Any]:
    """What is told of a partition that goes on elsewhere; so many offsets, at least, are gone from its log."""
    return {"partition": f"{part.topic}/{part.part}", "stood_at": stood_at, "goes_on_at": goes_on_at, "gone": gone}


_AT_A_GAP = r"""
select topic, part, next, (regexp_match(held, '(?:to|and) (\d+)(?: came again)?$'))[1]::bigint as was
from position where held like 'Gap%' and topic = any($1::text[]) and ($2 or topic || '/' || part = any($3::text[]))
"""
"""With where the log was seen to end, or to begin anew: it has grown since, and what was there before is gone still."""


async def go_on(node: Running, only: Collection[str] = (), *, dry: bool = False) -> list[dict[str, Any]]:
    """Partitions held at a gap, all or `only` these (TOPIC/PARTITION), are read again from their log's start: what was applied falls
    out by its number or id, what has its dead letter gets no second, what is gone is gone. Gives back the leap of each."""
    which = [*node.inputs], not only, [*only]
    if not (starts := await node.reader.starts([Part(*row[:2]) for row in await node.pool.fetch(_AT_A_GAP, *which)])):
        return []
    if not dry:
        await expect_again(node, node.reader, starts)
    # reading all dead letters takes its time, and old records go meanwhile
    starts, ends = await node.reader.starts(starts), await node.reader.ends(starts)
    async with node.pool.acquire() as con, con.transaction():
        await positions.lock(con, starts)
        # who was asked twice sends nobody back a second time
        stood = {part: row[2:] for row in await con.fetch(_AT_A_GAP, *which) if (part := Part(*row[:2])) in starts}
        await positions.move(con, {} if dry else {part: starts[part] for part in stood})
    return [leap(part, at, starts[part], max(0, starts[part] - at, at - min(ends[part], at if was is None else was)))
            for part, (at, was) in stood.items()]  # fmt: skip


async def go_past(node: Running, part: Part, offset: int, *, dry: bool = False) -> str:
    """A partition held at a record that is no fact (its headers can't be read) goes on behind it, and every rebuild leaves it
    out. Gives back why not: empty where it goes on. Twice is harmless."""
    async with node.pool.acquire() as con, con.transaction():
        next = (await positions.lock(con, [part])).get(part)
        if next is None or part.topic not in node.inputs or not node.inputs[part.topic].of_facts:
            return "no topic of facts that is read here, or held at a gap"
        if next > offset:
            return "" if await is_left_out(con, part, offset) else "it was read already"
        if offset >= (await node.reader.ends([part]))[part]:
            return "its log does not reach there"
        arrived = None  # where no record stands
        try:  # five seconds: the row is locked meanwhile
            async with asyncio.timeout(5), aclosing(node.reader.records({part: (next, offset + 1)})) as found:
                async for records in found:
                    for message in (decode(node.service, node.inputs[part.topic], record) for record in records):
                        if message.attributes is not None:
                            return f"the record at {message.offset} is a fact"
                        if message.offset < offset:
                            return f"the record at {message.offset} stands before it"
                        arrived = message.arrived
        except TimeoutError:
            return "Kafka does not show it now"
        if not dry:
            await leave_out(con, part, offset, arrived)
            await positions.move(con, {part: offset + 1})
    return ""


_TELLS = f'seq, {TOLD} as why, publisher, topic, part, "offset", error, arrived, at, subject, headers'
_STRUCTURED = "case when encode(headers, 'escape') ilike '%cloudevents%' then value end as value"
"""The body where the type stands in it; else a header says it."""


def routes(node: Running) -> APIRouter:
    """GET /kept, /kept/SEQ; POST /operate/replay, give-up, reveal, release, republish, go-on, the last three as /dry-run, too.
    Loopback only until tokens come."""
    router = APIRouter()

    async def audit(who: str, what: str, about: str, why: str, how: How = "operate") -> bool:
        """What is done is written down first. Gives back whether it is a dry run, in which nothing is."""
        if how == "operate":
            await write_down(node.pool, who, what, about, why)
        return how == "dry-run"

    @router.get("/kept")
    async def kept(after: Annotated[int, Query(ge=0, lt=2**63)] = 0) -> list[dict[str, Any]]:
        """What was set aside and what facts and submissions a quarantine keeps for people, behind this `seq`, in order: a page of them."""
        sql = (f"select {_TELLS}, {_STRUCTURED} from kept where {TOLD} in ('aside', 'quarantined') and seq > $1"  # noqa: S608
               " order by seq limit $2")  # fmt: skip
        return [told(row) for row in await node.pool.fetch(sql, after, PAGE)]

    @router.get("/kept/{seq}")
    async def one(seq: int) -> dict[str, Any]:
        """One kept message and its shape, made here. 404: no message ever had this number; 410: it is settled."""
        last = await node.pool.fetchval("select pg_sequence_last_value(pg_get_serial_sequence('kept', 'seq'))")
        if not 0 < seq <= (last or 0):
            raise HTTPException(404)
        for row in await node.pool.fetch(f"select {_TELLS}, value from kept where seq = $1", seq):  # noqa: S608
            return told(row) | shape_of(unpack(row["headers"]), row["value"], names_in(node.service.types.values()))
        raise HTTPException(410)

    def told(row: Any) -> dict[str, Any]:
        type = claim_of(unpack(row["headers"]), row["value"])[1].decode("utf-8", "replace")
        known = {"type": type if type in node.service.types else ""}  # a sender's own word may name a person
        return {name: value for name, value in row.items() if name not in ("headers", "value")} | known

    @router.post("/operate/reveal")
    async def reveal(place: Annotated[str, Body(max_length=300)], who: Who, why: Why) -> dict[str, str]:
        """Only writes it down: the private key is not ours, so who holds it opens the letter."""
        await audit(who, "reveal", place, why)
        return {"place": place}

    @router.post("/{how}/release")
    async def release_(how: How, subject: Subject, who: Who, why: Why, without: Seqs = ()) -> dict[str, Any]:
        """`more`: some of it is still kept, and is asked for by the same question again."""
        dry = await audit(who, "release", f"{subject} without {without}", why, how)
        done = await release(node, subject, without, dry=dry)
        if done.broken:
            so_far = f"{done.taken_up} messages were taken up before it" if done.taken_up else "nothing was changed"
            raise HTTPException(409, f"still in quarantine: {done.broken}; {so_far}")
        return {"taken_up": done.taken_up, "more": done.more}

    @router.post("/{how}/republish")
    async def republish_(how: How, since: Annotated[datetime, Body()], who: Who, why: Why) -> dict[str, int]:
        try:
            return await republish(node, since, dry=await audit(who, "republish", since.isoformat(), why, how))
        except TooLate as error:
            raise HTTPException(409, f"nothing was changed: {error}") from None

    @router.post("/{how}/go-on")
    async def go_on_(how: How, who: Who, why: Why, past: Past = "", only: Only = ()) -> list[dict[str, Any]]:
        starts = " ".join(["from the logs' starts", *only])
        dry = await audit(who, "go on", f"past {past}" if past else starts, why, how)
        if not past:
            return await go_on(node, only, dry=dry)
        topic, number, at = past.split("/")
        part, offset = Part(topic, int(number)), int(at)
        if why_not := await go_past(node, part, offset, dry=dry):
            raise HTTPException(409, f"it does not go on: {why_not}; nothing was changed")
        return [leap(part, offset, offset + 1)]

    @router.post("/operate/{what}")  # the last of these routes: it takes no other's name
    async def settle(what: Literal["replay", "give-up"], seqs: Seqs, who: Who, why: Why) -> dict[str, int]:
        """`answered`: how many of them are settled now, or were before, so that asked twice it says the same."""
        await audit(who, what, " ".join(map(str, seqs)), why)
        await replay(node, seqs, give_up=what == "give-up")
        left = await node.pool.fetchval("select count(*) from kept where seq = any($1::bigint[])", seqs)
        return {"answered": len({*seqs}) - left}

    return router
