"""What a check says: good, found (what, why, and the command that mends it), or not checked and why."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Said:
    """One line of the report. `why` of what is not checked says what stood in the way."""

    check: str
    state: Literal["good", "found", "not checked"]
    what: str
    why: str = ""
    mend: str = ""
    unreachable: bool = False
    """A dependency does not answer: exit code 3 instead of 1."""


def good(check: str, what: str) -> Said:
    """Looked at, and right."""
    return Said(check, "good", what)


def found(check: str, what: str, why: str, mend: str, *, unreachable: bool = False) -> Said:
    """A mistake, what it does, and the command that mends it."""
    return Said(check, "found", what, why, mend, unreachable)


def not_checked(check: str, why: str) -> Said:
    """Could not be looked at."""
    return Said(check, "not checked", "not checked", why)
