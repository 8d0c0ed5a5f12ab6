"""What a check says: good, found (what, why, and the command that mends it), noted (as found, and costs nothing: somebody may want it
so), or not checked and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deploy.errors import DONE, FINDINGS, UNREACHABLE
from deploy.printed import Wrong


@dataclass(frozen=True)
class Said:
    """One line of the report. `why` of what is not checked says what stood in the way."""

    check: str
    state: Literal["good", "found", "noted", "not checked"]
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


def noted(check: str, what: str, why: str, mend: str) -> Said:
    """Not as it is promised, and perhaps on purpose: said each time, and no fault."""
    return Said(check, "noted", what, why, mend)


def not_checked(check: str, why: str) -> Said:
    """Could not be looked at."""
    return Said(check, "not checked", "not checked", why)


def rows_of(said: Sequence[Said]) -> list[dict[str, Any]]:
    """The report for programs."""
    return [
        {"check": one.check, "state": one.state, "what": one.what, "why": one.why, "mend": one.mend} for one in said
    ]


def errors_of(said: Sequence[Said]) -> list[Wrong]:
    """What was found, as errors of the envelope."""
    return [Wrong(one.check.upper(), one.what, one.mend, one.check) for one in said if one.state == "found"]


def told(said: Sequence[Said]) -> list[str]:
    """The report for people: what was found or noted, why it matters and what mends it; then the rest, a line each."""
    heads = {"found": "", "noted": "noted: "}
    first = [f"{one.check}: {head}{one.what}\n  why   {one.why}\n  mend  {one.mend}" for state, head in heads.items()
             for one in said if one.state == state]  # fmt: skip
    rest = [one for one in said if one.state not in heads]
    return first + [f"{one.check}: {one.what if one.state == 'good' else f'not checked: {one.why}'}" for one in rest]


def exit_code(said: Sequence[Said]) -> int:
    """0 nothing found, 1 findings, 3 something does not answer."""
    faults = [one for one in said if one.state == "found"]
    return UNREACHABLE if any(one.unreachable for one in faults) else FINDINGS if faults else DONE
