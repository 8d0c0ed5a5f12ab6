"""What stands still, and what may be said of an error."""

from datetime import datetime
from typing import Any, NamedTuple


class Held(NamedTuple):
    """What stands still, and why: `everything`, a partition, a publisher."""

    what: str
    why: str
    since: datetime


class TooMuch(Exception):
    """More than a transaction may have in memory: it is done in halves."""


async def into_quarantine(con: Any, subject: str, why: str) -> None:
    """From now on all that concerns a subject is kept, in order, until somebody releases it. Where it is there already, the first
    `why` stands."""
    await con.execute("insert into quarantine (subject, why) values ($1, $2) on conflict do nothing", subject, why)


def name_of(error: BaseException) -> str:
    """What may be said of an error: its class, an offset of ours, Postgres' SQLSTATE and constraint, never its text: texts
    quote people."""
    parts = (type(error).__name__, *(getattr(error, name, None) for name in ("where", "sqlstate", "constraint_name")))
    return ":".join(str(part) for part in parts if part not in (None, ""))
