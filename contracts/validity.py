"""Which codes are valid on a day: lists with a data file; whether a message keeps to them, and to days and moments that can be.

A code means what its list says on the day of the message (its `ce_time`, in the alliance's zone). What a list does not hold is
refused only where the list is complete. `to_verify` marks what was taken from general knowledge: fit for software, not for
legal text.
"""

import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from pydantic import AwareDatetime, StringConstraints

from .envelope import NIL, UUID_PATTERN, Again, Listed, Model, Refused, day_of, refused

FIRST_YEAR, LAST_YEAR = 2000, 2199
"""Of a day that somebody can have meant: what is reckoned with one stays within what a date can hold, and a start of 1926 was
1,200 months of every town and block in reporting's memory."""
AHEAD_SECONDS = 600
"""Ten minutes: what a badly set clock is forgiven."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One code, and the first and last day on which it may be used; None is open."""

    code: str
    name: str
    valid_from_on: date | None = None
    last_valid_on: date | None = None
    successor: str | None = None
    to_verify: bool = False
    more: dict[str, str] = field(default_factory=dict)
    """Further columns: other keys, groups."""

    def valid_on(self, day: date) -> bool:
        """Whether a fact of that day may use it."""
        return (self.valid_from_on or day) <= day <= (self.last_valid_on or day)


@dataclass(frozen=True, slots=True)
class CodeList:
    """A list as it is published under one version."""

    name: str
    title: str
    version: str
    source: str
    complete: bool | tuple[str, ...]
    """Whether a code the list does not hold is wrong, or only not known to us. Beginnings of codes: it is wrong where it
    begins so (05162: the list holds all municipalities of that Kreis)."""
    entries: tuple[Entry, ...]
    _by_code: dict[str, Entry] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def urn(self) -> str:
        """Its name for machines, without the version."""
        return f"urn:lotse:codelist:{self.name}"

    def misses(self, code: str) -> bool:
        """Whether there is no such code: the list does not hold it, and would if there were one."""
        return self.find(code) is None and (
            self.complete if isinstance(self.complete, bool) else code.startswith(self.complete)
        )

    def find(self, code: str) -> Entry | None:
        """The entry of a code."""
        if not self._by_code:
            self._by_code.update((entry.code, entry) for entry in self.entries)
        return self._by_code.get(code)


FOLDER = resources.files(__package__).joinpath("lists")


@cache
def names() -> tuple[str, ...]:
    """Lists that have a data file."""
    return tuple(sorted(file.name.removesuffix(".json") for file in FOLDER.iterdir() if file.name.endswith(".json")))


@cache
def load(name: str) -> CodeList:
    """A list that has a data file. Raises KeyError."""
    if name not in names():
        raise KeyError(name)
    return read_json(FOLDER.joinpath(f"{name}.json").read_text("utf-8"))


def read_json(text: str) -> CodeList:
    """A list from its data file. Raises ValueError, KeyError or TypeError for what is none."""
    said = json.loads(text)
    entries = []
    for row in said.pop("entries"):
        days: dict[str, Any] = {
            end: date.fromisoformat(row.pop(end)) for end in ("valid_from_on", "last_valid_on") if end in row
        }
        plain = {name: row.pop(name) for name in ("code", "name", "successor", "to_verify") if name in row}
        entries.append(Entry(**plain, **days, more=row))
    complete = said.pop("complete")
    if not isinstance(complete, bool):
        complete = tuple(complete)
    return CodeList(**said, complete=complete, entries=tuple(entries))


@cache
def _listed(cls: type[Model]) -> tuple[tuple[str, str], ...]:
    """(field, list) of a model's own fields; only lists with a data file: what an enumeration takes, its schema says."""
    found = []
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for mark in _marks(hint):
            if isinstance(mark, Listed) and mark.name in names():
                found.append((name, mark.name))
    return tuple(found)


def _marks(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for part in typing.get_args(annotation):
        yield from _marks(part)


@cache
def _fields(cls: type[Model], kind: type) -> tuple[str, ...]:
    """A model's own fields that are a day (date) or a moment (AwareDatetime)."""
    hints = typing.get_type_hints(cls)
    return tuple(name for name, hint in hints.items() if hint is kind or kind in typing.get_args(hint))


@cache
def _ids(cls: type[Model]) -> tuple[str, ...]:
    """A model's own fields that are an id."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(name for name, hint in hints.items() for mark in _marks(hint)
                 if isinstance(mark, StringConstraints) and mark.pattern == UUID_PATTERN)  # fmt: skip


def judge(said: Model, subject: str, time: datetime, arrived: datetime | None = None) -> Refused | None:
    """Whether no id was left empty (ID_NIL: whoever sends zeros for each would have one case of all its people); nothing was said
    more than ten minutes after it arrived, by `ce_time` or by a moment in the body (CLOCK_AHEAD: a report of the year 2126 would
    stand against every correction to come), where it has arrived, and nothing beyond the last day there is; each day is one that
    somebody can have meant (DAY_IMPLAUSIBLE: the year 0026 would be the first of a report's months); and each code was valid on the
    day of its `ce_time`. Else why, where, and which code stands in its place: CODE_NOT_VALID or CODE_UNKNOWN, never a value that
    was sent."""
    for name in _ids(type(said)):
        if getattr(said, name) == NIL:
            return refused("ID_NIL", at=f"/{name}")
    if subject == NIL:
        return refused(
            "ID_NIL", "The subject is all zeros, as of a program that leaves it empty; each case or run has its own."
        )
    if time.year > LAST_YEAR:  # nothing arrives so late, and in Berlin the last hour of 9999 lies on no day
        return refused("CLOCK_AHEAD")
    if arrived is not None:
        latest = arrived + timedelta(seconds=AHEAD_SECONDS)
        if time > latest:
            return refused("CLOCK_AHEAD")
        for name in _fields(type(said), AwareDatetime):
            if (moment := getattr(said, name)) is not None and moment > latest:
                return replace(refused("CLOCK_AHEAD", at=f"/{name}"), again=Again.MENDED)  # 2126 is long to wait
    for name in _fields(type(said), date):
        if (day := getattr(said, name)) is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
            return refused("DAY_IMPLAUSIBLE", at=f"/{name}")
    fields = _listed(type(said))
    on = day_of(time) if fields else date.min
    for name, listed in fields:
        value = getattr(said, name)
        for number, code in enumerate(value if isinstance(value, tuple) else () if value is None else (value,)):
            at = f"/{name}/{number}" if isinstance(value, tuple) else f"/{name}"
            if (no := _refused(code, load(listed), on, at)) is not None:
                return no
    return None


def _refused(code: str, listed: CodeList, on: date, at: str) -> Refused | None:
    entry = listed.find(code)
    if entry is not None and not entry.valid_on(on):
        over = entry.last_valid_on is not None and on > entry.last_valid_on
        when = f"until {entry.last_valid_on}" if over else f"from {entry.valid_from_on} on"
        instead = f"use {entry.successor}" if entry.successor else "see the list"
        hint = f"In the list {listed.name} this code is valid {when}; {instead}."
        return Refused("CODE_NOT_VALID", at, hint)
    if listed.misses(code):
        return Refused("CODE_UNKNOWN", at, f"The list {listed.name} has no such code; see docs/contracts/codes.md.")
    return None
