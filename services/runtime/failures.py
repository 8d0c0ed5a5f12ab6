"""What stands still, and what may be said of an error."""

from datetime import datetime
from typing import NamedTuple


class Held(NamedTuple):
    """What stands still, and why: `everything`, a partition, a publisher."""

    what: str
    why: str
    since: datetime


class TooMuch(Exception):
    """More than a transaction may have in memory: it is done in halves."""


def name_of(error: BaseException) -> str:
    """What may be said of an error: its class, an offset of ours, Postgres' SQLSTATE and constraint, never its text: texts
    quote people."""
    parts = (type(error).__name__, *(getattr(error, name, None) for name in ("where", "sqlstate", "constraint_name")))
    return ":".join(str(part) for part in parts if part not in (None, ""))
