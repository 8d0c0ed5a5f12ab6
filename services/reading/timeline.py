"""What people read of a subject's own facts: they stand in every service's database as they were recorded."""

from datetime import UTC
from typing import Any

import msgspec

from services.runtime.database import Connection

_OF = """
with recursive each(one) as (
    select min(family) from timeline
    union all select (select min(family) from timeline where family > one) from each where one is not null)
select t.* from each cross join lateral (
    select family, number, fact_id, type, time, recorded_at, cause, body from timeline where family = one and subject = $1
    order by number) t order by recorded_at, family, number
"""
"""Family by family, as the key goes: by the subject alone a Postgres before 18 reads all there is, and an index of its own would
be written with each fact."""


async def timeline_of(con: Connection, subject: str) -> list[dict[str, Any]]:
    """A subject's own facts as recorded, oldest first, superseded ones included."""
    rows = await con.fetch(_OF, subject)
    # asyncpg reads year 1's first moment, the zero of many a sender's clock, without a zone
    return [{**row, "time": row["time"].replace(tzinfo=UTC), "body": msgspec.json.decode(row["body"])} for row in rows]
