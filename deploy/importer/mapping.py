"""Which column says what: a TOML file beside a partner's files, checked against the contracts before anything is sent."""

import tomllib
from collections.abc import Mapping as Map
from dataclasses import dataclass
from dataclasses import field as default
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.attendance import AttendanceReported
from contracts.envelope import Submission
from contracts.intake import ConsentGiven, RegistrationSubmitted
from contracts.referral import (
    OfferRunSubmitted,
    ParticipationEndReported,
    ParticipationStartReported,
    ReferralAnswered,
    ReferralRequested,
    ReferralWithdrawn,
)
from deploy.errors import USAGE, Trouble


@dataclass(frozen=True)
class Kind:
    """A kind of file: what a row is about, and the steps it becomes, in order. `may`: what else it may name, and need not."""

    name: str
    about: tuple[str, ...]
    steps: Map[str, type[Submission]]
    may: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "participations": Kind(
        "participations",
        ("run", "person", "participation"),
        {
            "run": OfferRunSubmitted,
            "registration": RegistrationSubmitted,
            "consent": ConsentGiven,
            "request": ReferralRequested,
            "answer": ReferralAnswered,
            "withdrawal": ReferralWithdrawn,
            "start": ParticipationStartReported,
            "end": ParticipationEndReported,
        },
        ("consent",),
    ),
    "attendance": Kind("attendance", ("participation", "meeting"), {"attendance": AttendanceReported}),
}

OURS = frozenset("run_id consent_id referral_id participation_id meeting_id revision".split())
"""Fields the importer fills: ids are made, never taken from a file; `revision` counts what a row has said so far."""


class NotMapped(ValueError):
    """A cell whose value the mapping does not list."""


@dataclass(frozen=True)
class Field:
    """Where a field's value comes from."""

    column: str | None = None
    constant: Any = None
    values: Map[str, Any] = default(default_factory=dict)
    time: str = ""
    is_day: bool = False
    last_day: bool = False
    """The column has the last day that belongs to it, where the field is the first that does not."""

    def of(self, row: Map[str, str]) -> Any:
        """The value for a row; None where the cell is empty, unless `values` say what that is. Raises NotMapped."""
        if self.column is None:
            return self.constant
        cell = row[self.column].strip()
        if self.values:
            found = self.values.get(cell, self.values.get("*"))
            if found is None and cell:
                raise NotMapped
            return found
        if self.is_day:
            cell = day_of(cell, self.last_day)
        return f"{cell}T{self.time}" if cell and self.time else cell or None


def day_of(cell: str, last: bool = False) -> str:
    """A day as contracts write it, of one written so or as German offices do (31.01.2026); where it is the `last`, the day
    after. What is no day stays as it is, to be refused."""
    try:
        day = datetime.strptime(cell, "%d.%m.%Y").date() if "." in cell else date.fromisoformat(cell)
        return (day + timedelta(days=last)).isoformat() if last or "." in cell else cell
    except (ValueError, OverflowError):
        return cell


@dataclass(frozen=True)
class Mapping:
    """A mapping as read. `about`: the columns that say which run, person, participation, consent, meeting a row speaks of."""

    kind: Kind
    publisher: str
    tenant: str
    about: Map[str, str]
    steps: Map[str, Map[str, Field]]
    when: Map[str, str]
    """Step to the column without whose cell it is left out."""
    at: Map[str, str]
    """Step to the column with the day on which it was said; it becomes `ce_time`."""

    @property
    def columns(self) -> set[str]:
        """Every column a file must have."""
        named = {found.column for fields in self.steps.values() for found in fields.values() if found.column}
        return named | set(self.about.values()) | set(self.when.values()) | set(self.at.values())


def load_mapping(path: Path, kind: str) -> Mapping:
    """Raises Trouble, which names file, table and field and what is wrong with it."""

    def no(
        what: str, way_out: str = "compare it with deploy/examples/oulad, where every table is explained"
    ) -> Trouble:
        return Trouble(f"{path.name}: {what}", way_out, USAGE)

    try:
        said = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise no(f"not a readable TOML file ({type(error).__name__})") from None
    spec = KINDS[kind]
    for name in ("publisher", "tenant"):
        if not isinstance(said.get(name), str):
            raise no(f"{name} is {'no text' if name in said else 'missing'}")
    if strange := [
        name for name, entry in said.items() if name in ("columns", *spec.steps) and not isinstance(entry, dict)
    ]:
        raise no(f"{strange[0]} is no table")
    about = said.get("columns", {})
    if strange := sorted(set(about) - {*spec.about, *spec.may}):
        raise no(f"[columns] {strange[0]} is not known; {', '.join((*spec.about, *spec.may))} are")
    if missing := [name for name in dict.fromkeys((*spec.about, *about)) if not isinstance(about.get(name), str)]:
        raise no(f"[columns] does not say which column holds: {', '.join(missing)}")
    if strange := sorted(set(said) - {"publisher", "tenant", "columns", *spec.steps}):
        raise no(f"[{strange[0]}] is no step of {kind}; there are {', '.join(spec.steps)}")
    steps: dict[str, dict[str, Field]] = {}
    when: dict[str, str] = {}
    at: dict[str, str] = {}
    for name, cls in spec.steps.items():
        table = dict(said.get(name, {}))
        if not table and name != "withdrawal":
            raise no(f"[{name}] is missing")
        if not table:
            continue
        for word, found in (("when", when), ("at", at)):
            if word in table:
                if not isinstance(column := table.pop(word), str):
                    raise no(f"[{name}] {word} is no text")
                found[name] = column
        steps[name] = {field: _field(no, name, field, entry, cls) for field, entry in table.items()}
        needed = {n for n, f in cls.model_fields.items() if f.is_required()} - OURS - {"reported_at"}
        if missing := sorted(needed - set(steps[name])):
            raise no(f"[{name}] does not say where {', '.join(missing)} comes from")
    return Mapping(spec, said["publisher"], said["tenant"], dict(about), steps, when, at)


def _field(no: Any, step: str, name: str, entry: Any, cls: type[Submission]) -> Field:
    where = f"[{step}] {name}"
    if name in OURS or name not in cls.model_fields:
        raise no(f"{where}: {'made by the importer' if name in OURS else f'{cls.__name__} has no such field'}")
    if not isinstance(entry, dict) or ("column" in entry) == ("constant" in entry):
        raise no(f'{where}: give either {{ column = "..." }} or {{ constant = ... }}')
    if strange := sorted(set(entry) - {"column", "constant", "map", "time", "last_day"}):
        raise no(f"{where}: {strange[0]} is not known; column, constant, map, time and last_day are")
    for word, shape, called in (("column", str, "text"), ("map", dict, "table"), ("time", str, "text"),
                                ("last_day", bool, "true or false")):  # fmt: skip
        if not isinstance(entry.get(word, shape()), shape):
            raise no(f"{where}: {word} is no {called}")
    if (last_day := entry.get("last_day", False)) and not ("column" in entry and name.endswith("_before_on")):
        raise no(f"{where}: last_day goes with a column of a field that ends in _before_on")
    if last_day and "map" in entry:
        raise no(f"{where}: last_day does not go with map, whose values are taken as they are")
    is_day = name.endswith("_on") or "time" in entry
    return Field(
        entry.get("column"), entry.get("constant"), entry.get("map", {}), entry.get("time", ""), is_day, last_day
    )
