"""Records that somebody said are none of ours: `lotse go-on --past`, and a fork's wrong half at a release (`taking_up.py`)."""

from datetime import datetime
from typing import Any

from services.runtime.messages import Part


async def leave_out(con: Any, part: Part, offset: int, arrived: datetime | None) -> None:
    """Somebody says so of this one. `arrived`: the broker's time of it, None where no record stands there."""
    sql = ('insert into left_out (topic, part, "offset", arrived) values ($1, $2, $3, $4)'
           " on conflict do nothing")  # fmt: skip
    await con.execute(sql, *part, offset, arrived)


async def is_left_out(con: Any, part: Part, offset: int, arrived: datetime | None = None) -> bool:
    """Whether somebody said so; with `arrived`, of what came at that time: a log that was set back gives its place to another. Of what
    was left out by a version that kept no time nobody knows, and its place tells."""
    sql = 'select exists (select from left_out where (topic, part, "offset") = ($1, $2, $3) and coalesce(arrived = $4, true))'
    return bool(await con.fetchval(sql, *part, offset, arrived))
