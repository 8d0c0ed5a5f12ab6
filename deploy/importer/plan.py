"""What a row becomes: one participation or one course day, as submissions in the order in which each rests on the last.

Pure: a row and what its keys have said before in, steps out. No join, no aggregate.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from contracts.codes import EndKind
from contracts.envelope import Submission, stamp
from contracts.hints import hint_of
from contracts.messages import verdict_of
from contracts.topics import ANSWER_DAYS
from deploy.importer.files import Row, unguarded
from deploy.importer.mapping import Mapping, NotMapped
from deploy.importer.store import Sent, Store

REPORTED = ("start", "end", "attendance")
"""Steps that may be corrected: they carry reported_at and revision."""


class RowRefused(Exception):
    """A row that is not sent: reason, JSON Pointer, the way out."""

    def __init__(self, reason: str, pointer: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.pointer, self.hint = reason, pointer, hint


@dataclass(frozen=True)
class Step:
    """One submission of a row. `known`: it was sent before, just so."""

    sent: Sent
    known: bool
    subject: str
    time: datetime
    submission: Submission


@dataclass(frozen=True)
class Planner:
    """Plans rows of one mapping. `again`: what was refused is sent anew, as the next revision, and so is what was sent so long
    ago that its answer, which nobody read, has left its topic: under its id nobody is answered twice."""

    mapping: Mapping
    store: Store
    now: datetime
    again: bool = False
    planned: dict[str, str] = field(default_factory=dict)
    """Key to what this run's files said of it."""
    persons: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Attendance: participation to person, and whether its start is recorded."""

    def steps(self, row: Row) -> Iterator[Step]:
        """The row's steps, each made when it is asked for, after the one before was recorded. Raises RowRefused."""
        if not row.whole:
            raise RowRefused("RAGGED_ROW", "", "Its cells do not fit the header: mend them, then empty lotse_ragged.")
        named = {name: row.cells[column].strip() for name, column in self.mapping.about.items()}
        if empty := [self.mapping.about[name] for name in self.mapping.kind.about if not named[name]]:
            raise RowRefused("NO_REFERENCE", "", f"The column {empty[0]} is empty.")
        if guarded := [self.mapping.about[name] for name, said in named.items() if unguarded(said) != said]:
            # Of a file of refused rows that lost our columns: "'-12" is nobody's number, and would become another person.
            raise RowRefused("GUARDED", "", f"{guarded[0]} begins with ' as in a file of refused rows: take the ' off.")
        taken = None
        if "person" not in named:
            named["person"] = self._person(named["participation"])
        else:
            taken = self.store.participation(named["participation"])
            if taken not in (None, (named["run"], named["person"])):
                raise RowRefused(
                    "REFERENCE_REUSED", "", "This reference was recorded for another person or run; give a new one."
                )
        for name in self.mapping.steps:
            said = self.store.of_key(key := self._key(name, named))
            left_out = name in self.mapping.when and not row.cells[self.mapping.when[name]].strip()
            if not left_out:
                yield self._step(name, key, named, self._values(name, row), said, self._moment(name, row))
            elif (stands := _stands(said)) and (stands.content != TAKEN_BACK or stands.outcome is None):
                yield self._taken_back(name, key, named, said, stands)
            if name == "request" and taken is None:  # asked for the next step: the referral is recorded
                self.store.takes_part(named["participation"], named["run"], named["person"])

    def _person(self, participation: str) -> str:
        person, started = self.persons.get(participation, ("", False))
        if not person:
            raise RowRefused(
                "UNKNOWN_PARTICIPATION", "", "Import the participations first: this one is not among them."
            )
        if not started:
            raise RowRefused("NOT_STARTED", "", "The start of this participation is not recorded; mend that row first.")
        return person

    def _key(self, name: str, named: dict[str, str]) -> str:
        of = {"run": ("run",), "registration": ("person",), "attendance": ("participation", "meeting")}
        return "\x1f".join((name, *(named[part] for part in of.get(name, ("participation",)))))

    def _values(self, name: str, row: Row) -> dict[str, Any]:
        values = {}
        for name_, source in self.mapping.steps[name].items():
            try:
                value = source.of(row.cells)
            except NotMapped:
                hint = f"The mapping lists no value for what stands in {source.column}."
                raise RowRefused("NOT_MAPPED", f"/{name_}", hint) from None
            if value is not None:
                values[name_] = value
        return values

    def _moment(self, name: str, row: Row) -> datetime | None:
        """Noon of the day on which it was said; a file knows no hour."""
        day = row.cells[self.mapping.at[name]].strip() if name in self.mapping.at else ""
        try:
            return datetime.fromisoformat(f"{day}T12:00:00+00:00") if day else None
        except ValueError:
            raise RowRefused("INVALID", "", f"{self.mapping.at[name]} holds no day (2026-01-31).") from None

    def _step(
        self,
        name: str,
        key: str,
        named: dict[str, str],
        values: dict[str, Any],
        said: Sequence[Sent],
        moment: datetime | None,
        content: str = "",
    ) -> Step:
        if "by" not in values:
            raise RowRefused("INVALID", "/by", "Nothing says who speaks.")
        cls = self.mapping.kind.steps[name]
        kind = "run" if name == "run" else "case"
        subject = self.store.id_of(kind, named["run" if name == "run" else "person"])
        ids = self._ids(cls, named)
        content = (
            content
            or hashlib.sha256(json.dumps([subject, ids, values], sort_keys=True, default=str).encode()).hexdigest()
        )
        last = said[-1] if said else None
        # A file that says when a thing was reported may bring an older statement after a newer one: every statement made
        # is known. A file that does not is a picture of today: what differs from the last is new, even if it once stood.
        before = said if "reported_at" in values else said[-1:]
        known = next((sent for sent in before if sent.content == content), None)
        if known is not None and self.again and known is last and self._is_over(known):
            known = None
        if known not in (None, last) and (stands := _stands(said)) and stands.content == TAKEN_BACK:
            raise RowRefused(
                "TAKEN_BACK", "/reported_at", f"This {name} was taken back since; it needs a newer time of report."
            )
        if "reported_at" not in values and self.planned.setdefault(key, content) != content:
            raise RowRefused("CONTRADICTS_ANOTHER_ROW", "", f"Another row says something else of this {name}.")
        if known is None:
            revision = last.revision + 1 if last else 1
            day = str(values.get("ended_before_on") or "")
            sent, new = Sent(self.store.id_of(key, str(revision)), key, revision, content, day, stamp(self.now)), True
        else:
            sent, new = known, False
        made = {**values, "by": {"organisation_id": values["by"]}, **ids}
        if name in REPORTED:
            made = {"reported_at": sent.seen_at, **made, "revision": sent.revision}
        try:
            submission = cls.model_validate(made)
        except ValidationError as error:
            verdict = verdict_of(cls, error)
            raise RowRefused("INVALID", verdict.pointer, hint_of(verdict, cls)) from None
        if new:
            self.store.add(sent)
        said_at = moment or getattr(submission, "reported_at", None) or datetime.fromisoformat(sent.seen_at)
        return Step(sent, not new, subject, min(said_at, self.now), submission)

    def _is_over(self, sent: Sent) -> bool:
        if sent.outcome is None:
            return datetime.fromisoformat(sent.seen_at) < self.now - timedelta(days=ANSWER_DAYS)
        return sent.outcome in ("refused", "unreadable")

    def _ids(self, cls: type[Submission], named: dict[str, str]) -> dict[str, str]:
        """The ids a submission names, made of the row's references. Consent and referral are those of a participation."""
        of = {"run": ("run",), "consent": ("participation",), "referral": ("participation",),
              "participation": ("participation",), "meeting": ("participation", "meeting")}  # fmt: skip
        return {f"{kind}_id": self.store.id_of(kind, *(named[part] for part in parts))
                for kind, parts in of.items() if f"{kind}_id" in cls.model_fields}  # fmt: skip

    def _taken_back(self, name: str, key: str, named: dict[str, str], said: Sequence[Sent], stands: Sent) -> Step:
        """What the file said once and says no longer; or that it was taken back, which nobody has answered yet."""
        if name != "end":
            raise RowRefused("TAKEN_BACK", "", f"The {name} was said before and is missing now; ask the office.")
        values = {"by": self.mapping.steps[name]["by"].constant, "ended_before_on": stands.day,
                  "kind": EndKind.ENTERED_IN_ERROR}  # fmt: skip
        if values["by"] is None:
            raise RowRefused(
                "TAKEN_BACK", "/by", "Only an end whose speaker is a constant can be taken back by a file."
            )
        return self._step(name, key, named, values, said, None, TAKEN_BACK)


def _stands(said: Sequence[Sent]) -> Sent | None:
    """What was said last and not refused: what was refused says nothing."""
    return next((sent for sent in reversed(said) if sent.outcome not in ("refused", "unreadable")), None)


TAKEN_BACK = "taken back"
