"""Our own logs, held against what the database knows: it may be older than they are, and one may have lost its tail."""

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import asyncpg
import structlog

from services.host.running import Running
from services.runtime.database import columns, unpack
from services.runtime.messages import Part
from services.runtime.service import Service

log = structlog.get_logger()

MOST = 100_000  # ids: all of a long log's, where a database is gone, would be more memory than the service is given

_KNOWN = """select i as id from unnest($1::text[]) i, lateral (select string_to_array(i, ' ') as said) s join timeline
  on number = case when said[2] ~ '^[0-9]{1,18}$' then said[2]::bigint end and subject = said[3]
  and family = split_part(said[4], '.', 2) and fact_id = said[1] and (coalesce(said[5], '') = '' or said[5] =
  replace(to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || 'Z')
 union all select i from unnest($1::text[]) i join answered on key = case when i ~ '^[0-9a-f-]{36}$' then i::uuid end
 union all select i from (select i, regexp_match(i, '^(.+)/([0-9]+)/([0-9]+)$') at from unnest($1::text[]) i) a
 join position on topic = at[1] and part = at[2]::int and next > at[3]::bigint"""
"""Which of these letters (`_id`) a database knows: facts and answers it has recorded, dead letters of what it has read."""


class OlderThanLog(Exception):
    """The database was set back under a running service, as a standby that lagged does when it takes over."""


async def letters_beyond(node: Running) -> int:
    """How many records of ours the log holds, beyond the acknowledged ends, that this database does not know: more than 0
    says that it is older than the log. Not counted beyond MOST. What a relay sent late and twice is known: by the timeline, what was
    answered, positions and releases. A partition of answers without a leader is left out: one publisher's would keep a service from
    all others. (What was answered there and nowhere else is answered again, also by a database that was set back.)"""
    led = {*await node.reader.parts(node.own_topics, led=True)}
    parts = [p for p in await node.reader.parts(node.own_topics) if p in led or p.topic not in node.answers]
    starts, ends = await node.reader.starts(parts), await node.reader.ends(parts)
    marks = await marks_of(node.pool)
    beyond = {p: (max(marks.get(p, 0), starts[p]), ends[p]) for p in parts if ends[p] > marks.get(p, 0)}
    missing = set[str]()
    async with contextlib.aclosing(node.reader.records(beyond)) as found:
        async for records in found:
            ids = {_id(r.key, r.headers) for r in records} - {""}  # without headers it is none of ours
            missing |= ids - await _known(node.service, node.pool, ids)
            if len(missing) >= MOST:
                break
    return len(missing)


async def look_back(node: Running) -> None:
    """Raises OlderThanLog where the log holds letters of ours that the database does not know."""
    if older := await letters_beyond(node):
        raise OlderThanLog(f"{older} records")


async def look_for_lost(node: Running) -> None:
    """Holds the acknowledged ends against our own logs: nobody else would tell that a quiet one has lost its tail. Without a leader
    it is held against them once it has one again."""
    parts = {*await node.reader.parts(node.own_topics, led=True)}
    # before the ends: what is sent meanwhile moves those first
    rows = await node.pool.fetch("select topic, part, next, xmin from acked")
    marks = {part: (row["next"], row["xmin"]) for row in rows if (part := Part(row["topic"], row["part"])) in parts}
    ends = await node.reader.ends(marks)
    if below := [part for part, end in ends.items() if end < marks[part][0]]:
        for part, end in (await node.reader.ends_for_writers(below)).items():
            stood, written = marks[part]
            if end < stood:
                await hold_lost(node.pool, part, stood, end, written)


async def hold_lost(con: Any, part: Part, stood: int, end: int, written: int | None = None) -> None:
    """Keeps that a log of ours was seen to end below its mark: it grows past the mark by itself, and what was lost is still gone. Only
    `lotse republish` ends that; where it has drawn the mark back meanwhile, nothing is kept. `written`: the mark's xmin, where it
    may have been drawn back and moved on again since."""
    sql = ("update acked set held = $3, held_since = now() where (topic, part) = ($1, $2) and next >= $4 and held is null"
           " and xmin = coalesce($5, xmin) returning true")  # fmt: skip
    why = f"Gap:acknowledged up to {stood}, the log ends at {end}"
    if await con.fetchval(sql, *part, why, stood, written):
        log.error("Kafka has lost what it had acknowledged", topic=part.topic, partition=part.part, why=why)


async def marks_of(con: Any) -> dict[Part, int]:
    """Where each of our own logs ended, as far as Kafka has acknowledged it."""
    rows = await con.fetch("select topic, part, next from acked")
    return {Part(row["topic"], row["part"]): row["next"] for row in rows}


async def mark(con: Any, ends: Mapping[Part, int], ids: Sequence[int] = ()) -> None:
    """Keeps where our own logs end, as far as we were told: a database older than they are is seen by it. With it, in one
    statement, the outbox rows that were sent: exact ids, never `id <= max`: ids are drawn before commit, a slower
    transaction's smaller id would go unsent."""
    await con.execute(
        "with sent as (update outbox set sent_at = now() where id = any($4::bigint[]))"
        " insert into acked (topic, part, next) select * from unnest($1::text[], $2::int[], $3::bigint[])"
        " on conflict (topic, part) do update set next = greatest(acked.next, excluded.next)",
        *(columns((*part, end) for part, end in sorted(ends.items())) or ([], [], [])), ids)  # fmt: skip


async def unsent(service: Service, live: asyncpg.Pool, beside: asyncpg.Pool) -> dict[str, int]:
    """Topic to records a database has not sent and another, which learnt from the log, does not know."""
    rows = await live.fetch("select topic, records from outbox where sent_at is null order by topic")
    said = {
        _id(key, headers, recorded=False): row["topic"] for row in rows for key, _, headers in unpack(row["records"])
    }
    known = await _known(service, beside, said)
    return dict(Counter(topic for id, topic in said.items() if id not in known))


async def _known(service: Service, pool: asyncpg.Pool, ids: Collection[str]) -> set[str]:
    """Those of these letters (`_id`) a database knows."""
    known = {row["id"] for row in await pool.fetch(_KNOWN, [*ids])}
    if service.reports:
        kept = await service.reports.known(pool, [id.partition(" ")[0] for id in ids])
        known |= {id for id in ids if id.partition(" ")[0] in kept}
    return known


def _id(key: bytes | None, headers: Any, *, recorded: bool = True) -> str:
    """What a letter is known by:

    - a fact: its id, number, subject and type, by which its row has a key (by the id alone all of a log was looked through once a
      partition, after each death of a relay), and when it was `recorded`: decided again by a database that was set back, it has all
      else from before;
    - a release: its id, which is its key;
    - an answer: its submission's reference;
    - a dead letter: its origin, which is its key.

    Empty for what is none of ours: bytes with a key and no headers made a service take its database for older than its log."""
    said = {name: text.decode() for name, text in headers if name.startswith("ce_") and text is not None}
    if said.get("ce_type", "").endswith(".answer.v1"):
        names = ["ce_cause"]
    else:
        names = ["ce_id", "ce_streamversion", "ce_subject", "ce_type", *["ce_recordedtime"] * recorded]
    if names[0] in said:
        return " ".join(said.get(name, "") for name in names)
    return (key or b"").decode() if any(name == "lotse_topic" for name, _ in headers) else ""
