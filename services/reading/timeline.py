"""What people read of a subject's own facts: they stand in every service's database as they were recorded."""

from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import asyncpg
import msgspec

from services.reading import listed
from services.runtime.database import Connection, encode

_NEXT = """
with recursive each(one) as (
    select min(family) from timeline
    union all select (select min(family) from timeline where family > one) from each where one is not null)
select t.* from each left join unnest($2::text[], $3::bigint[]) heard(of, until) on of = one cross join lateral (
    select family, number, fact_id, type, time, recorded_at, cause, body from timeline
    where family = one and subject = $1 and number > coalesce(until, -1) order by number limit $4) t
order by max(recorded_at) over (partition by family order by number), family, number limit $4
"""
"""Family by family, as the key goes: by the subject alone a Postgres before 18 reads all there is, and an index of its own would
be written with each fact. No fact stands before one of its family with a lower number: whoever goes on behind it misses none."""


async def timeline_of(pool: asyncpg.Pool, subject: str, **beside: Any) -> listed.Listed:
    """A subject's own facts as recorded, oldest first, superseded ones included: however many, a page at a time. As a list, or as
    `timeline` with what else is said of the subject `beside` it."""
    frame = (encode(beside)[:-1] + b',"timeline":[', b"]}") if beside else (b"[", b"]")
    return await listed.as_json(pages_of(pool, subject), *frame)


async def pages_of(con: Connection | asyncpg.Pool, subject: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Its pages, none of them empty; a body as it was recorded."""
    heard: dict[str, int] = {}
    while rows := await con.fetch(_NEXT, subject, [*heard], [*heard.values()], listed.PAGE):
        heard |= {row["family"]: row["number"] for row in rows}
        # asyncpg reads year 1's first moment, the zero of many a sender's clock, without a zone
        yield [
            {**row, "time": row["time"].replace(tzinfo=UTC), "body": msgspec.Raw(row["body"].encode())} for row in rows
        ]
        if len(rows) < listed.PAGE:
            return
