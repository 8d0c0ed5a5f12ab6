"""What people read of a subject's own facts: they stand in every service's database as they were recorded."""

from typing import Any

import msgspec

from services.runtime.database import Connection


async def timeline_of(con: Connection, subject: str) -> list[dict[str, Any]]:
    """A subject's own facts as recorded, oldest first, superseded ones included."""
    rows = await con.fetch(
        "select family, number, fact_id, type, time, recorded_at, cause, body from timeline where subject = $1"
        " order by recorded_at, family, number", subject)  # fmt: skip
    return [{**dict(row), "body": msgspec.json.decode(row["body"])} for row in rows]
