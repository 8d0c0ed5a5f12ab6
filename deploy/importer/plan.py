"""What a row becomes: one participation or one course day, as submissions in the order in which each rests on the last.

Asks nobody: a row, what its keys have said before and what the other rows of this call say of them in, steps out. No join,
no aggregate.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from contracts.codes import EndKind
from contracts.envelope import Again, Moment, Submission, stamp
from contracts.hints import hint_of
from contracts.messages import verdict_of
from contracts.topics import ANSWER_DAYS
from deploy.importer.files import Row, unguarded
from deploy.importer.mapping import Mapping, NotMapped, day_of
from deploy.importer.store import Said, Sent, Store, consent_of

MADE_OF = {"run": ("run",), "consent": ("consent",), "referral": ("participation",),
           "participation": ("participation",), "meeting": ("participation", "meeting")}  # fmt: skip
"""A kind of id to the references it is made of. A referral is a participation's."""

REPORTED = ("start", "end", "attendance")
"""Steps that may be corrected: they carry reported_at and revision."""


class RowRefused(Exception):
    """A row that is not sent, or not in: reason, JSON Pointer, the way out, and whether sending it again helps."""

    goes_on = False
    """What it says of one step is the row's answer, and keeps back none of the others."""

    def __init__(self, reason: str, pointer: str, hint: str, way: Again = Again.MENDED) -> None:
        super().__init__(reason)
        self.reason, self.pointer, self.hint, self.way = reason, pointer, hint, way


@dataclass(frozen=True)
class Step:
    """One submission of a row, and the row's participation. `known`: it was sent before, just so."""

    sent: Sent
    known: bool
    participation: str
    subject: str
    time: datetime
    submission: Submission


class _Statement(NamedTuple):
    """What a row says of a key. `content` tells it from others; `time`: when it was reported, where the file says so."""

    values: dict[str, Any]
    content: str
    time: datetime | None


@dataclass(frozen=True)
class Planner:
    """Plans rows of one mapping. `again`: what was refused is sent anew, as the next revision, and so is what was sent so long
    ago that its answer, which nobody read, has left its topic: under its id nobody is answered twice. What was refused for
    now goes again without it, once a run.

    A file that says when a thing was reported is a log of changes: an older statement may come after a newer one, and each
    is known by its time; of those of one time the last counts. A row of it without its time is the newest report of its call
    said once more, or contradicts it: nobody knows which came later. A file that does not say when is a picture of today: what
    differs from what stands is new, even if it once stood."""

    mapping: Mapping
    store: Store
    now: datetime
    again: bool = False
    persons: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Attendance: participation to person, and whether its start is recorded."""
    _named_first: dict[str, tuple[str, str]] = field(default_factory=dict, init=False)
    """Participation to run and person of the first row of this call that names it."""
    _first: dict[tuple[str, datetime | None], str] = field(default_factory=dict, init=False)
    """Key and time of report to what the first row of this call says of it."""
    _newest: dict[str, tuple[datetime, Any]] = field(default_factory=dict, init=False)
    """Key to the newest time of report in the rows of this call, and how it is written there."""
    _spoken_of: set[str] = field(default_factory=set, init=False)
    """Keys of which a row of this call says something."""
    _times: dict[str, datetime] = field(default_factory=dict, init=False)
    """Content to its time of report, which the memory of release 1 does not hold."""
    _made: set[str] = field(default_factory=set, init=False)
    """Ids of what this run sent anew: refused once more, it goes again in another run."""

    def survey(self, rows: Iterable[Row]) -> None:
        """Notes what all rows of this call say, before the first is sent: which of two that contradict each other is refused
        hangs on no answer then, and what one row leaves out is not gone where another says it."""
        for row in rows:
            try:
                named = self._named(row)
            except RowRefused:
                continue
            for name in self.mapping.steps:
                if self._says(name, row):
                    self._spoken_of.add(key := self._key(name, named))
                    with suppress(RowRefused):
                        said = self._statement(name, named, row)
                        self._contradicts(key, said)
                        if said.time and (key not in self._newest or said.time > self._newest[key][0]):
                            self._newest[key] = said.time, said.values["reported_at"]

    def steps(self, row: Row) -> Iterator[Step]:
        """The row's steps, each made when it is asked for, after the one before was recorded. Raises RowRefused."""
        named = self._named(row)
        taken = self.store.participation(named["participation"]) if "request" in self.mapping.steps else None
        for name in self._in_order(named, row):
            key, lacks_start = self._key(name, named), name == "end" and not self._says("start", row)
            if self._says(name, row):
                if lacks_start:  # it would wait for one, and every import for its answer
                    hint = "An end without a start: fill the start, or empty the end."
                    raise RowRefused("NOT_STARTED", "", hint)
                statement = self._statement(name, named, row, self._newest.get(key))
                if self._contradicts(key, statement):
                    way_out = f"{_IT_LACKS_ITS_TIME if self._is_log(name) else ''}{_ONE_IS_WRONG}"
                    hint = f"Another row says something else of this {name}. {way_out if name in REPORTED else _SAY_THE_SAME}"
                    raise RowRefused("CONTRADICTS_ANOTHER_ROW", "", hint)
                if name == "request" and (consent := self._requested_under(key, named, row)) != named["consent"]:
                    named = {**named, "consent": consent}
                    statement = self._statement(name, named, row)
                yield self._step(name, key, named, statement, self._before(name, key), self._moment(name, row))
            elif key in self._spoken_of:
                if not self._is_log(name):
                    raise RowRefused(
                        "CONTRADICTS_ANOTHER_ROW", "", f"Another row says its {name}, this one none. {_ONE_IS_WRONG}"
                    )
            elif not lacks_start and (stands := _stands(before := self._before(name, key))) and not _is_gone(stands):
                yield self._step(name, key, named, self._taken_back(name, stands), before, None)
            if name == "request" and taken is None:  # asked for the next step: the referral is recorded
                self.store.takes_part(*(named[part] for part in ("participation", "run", "person", "consent")))

    def _in_order(self, named: dict[str, str], row: Row) -> list[str]:
        """The end before a start that has moved behind the end that stands: the other way round neither is ever heard."""
        names = list(self.mapping.steps)
        if "end" in names and self._says("start", row):
            end, start = _stands(self._before("end", self._key("end", named))), self._statement("start", named, row)
            if end and not _is_gone(end) and str(start.values.get("started_on", "")) > end.day:
                names.remove("start")
                names.append("start")
        return names

    def _named(self, row: Row) -> dict[str, str]:
        """Whom and what the row is about. A consent is a person's, or without a reference of its own a participation's. Raises
        RowRefused."""
        if not row.whole:
            raise RowRefused("RAGGED_ROW", "", _BROKEN)
        named = {name: row.cells[column].strip() for name, column in self.mapping.about.items()}
        if empty := [self.mapping.about[name] for name in self.mapping.kind.about if not named[name]]:
            raise RowRefused("NO_REFERENCE", "", f"The column {empty[0]} is empty.")
        if guarded := [self.mapping.about[name] for name, said in named.items() if unguarded(said) != said]:
            # Of a file of refused rows that lost our columns: "'-12" is nobody's number, and would become another person.
            raise RowRefused("GUARDED", "", f"{guarded[0]} begins with ' as in a file of refused rows: take the ' off.")
        if "person" not in named:
            named["person"] = self._person(named["participation"])
            return named
        consent = named.get("consent")
        named["consent"] = consent_of(named["person"], consent) if consent else named["participation"]
        taken = self.store.participation(named["participation"])
        mine = (named["run"], named["person"])
        if (taken[:2] if taken else self._named_first.setdefault(named["participation"], mine)) != mine:
            raise RowRefused("REFERENCE_REUSED", "", "This reference is another person's or run's; give a new one.")
        return named

    def _requested_under(self, key: str, named: dict[str, str], row: Row) -> str:
        """The consent a referral rests on: where it was requested already, the one of then, also where nobody read the answer."""
        if taken := self.store.participation(named["participation"]):
            return taken[2]
        if stands := _stands(self.store.of_key(key)):
            for consent in (named["participation"], *self.store.consents(named["person"])):
                if self._statement("request", {**named, "consent": consent}, row).content == stands.content:
                    return consent
        return named["consent"]

    def _person(self, participation: str) -> str:
        person, started = self.persons.get(participation, ("", False))
        if not person:
            raise RowRefused(
                "UNKNOWN_PARTICIPATION", "", "Import the participations first: this one is not among them.", Again.LATER
            )
        if not started:
            hint = "The start of this participation is not recorded; mend that row first."
            raise RowRefused("NOT_STARTED", "", hint, Again.LATER)
        return person

    def refused(self, step: Step, said: Said) -> RowRefused:
        """What a no to a step means for its row. Where it says only that a run, case or consent stands as an earlier row had it,
        start and end of a participation known since then hang on that one, and go on. A referral that is another now, or a
        participation that is new, might be of another year or person under a reference that is used."""
        name = step.sent.key.partition("\x1f")[0]
        hint = self._named_by(name, said.pointer, said.hint)
        no = RowRefused(said.reason or said.outcome.upper(), said.pointer, hint, said.way)
        if no.reason.endswith("_EXISTS") and any(map(_is_in, self.store.of_key(step.sent.key))):
            known = self.store.participation(step.participation) is not None
            no.goes_on = known and no.reason != "REFERRAL_EXISTS"
            no.way = Again.NO if no.goes_on else Again.MENDED
            no.hint = f"{no.hint} {_THE_REST_IS_IN if no.goes_on else _SAY_THE_SAME}".strip()
        return no

    def _key(self, name: str, named: dict[str, str]) -> str:
        of = {"run": ("run",), "registration": ("person",), "consent": ("consent",),
              "attendance": ("participation", "meeting")}  # fmt: skip
        return "\x1f".join((name, *(named[part] for part in of.get(name, ("participation",)))))

    def _is_log(self, name: str) -> bool:
        """Whether the file says when such a thing was reported."""
        return "reported_at" in self.mapping.steps[name]

    def _says(self, name: str, row: Row) -> bool:
        return name not in self.mapping.when or bool(row.cells[self.mapping.when[name]].strip())

    def _contradicts(self, key: str, said: _Statement) -> bool:
        """Whether a row before says something else of the same thing at the same time."""
        return self._first.setdefault((key, said.time), said.content) != said.content

    def _statement(
        self, name: str, named: dict[str, str], row: Row, newest: tuple[datetime, Any] | None = None
    ) -> _Statement:
        """Reported when the newest was, where the row does not say when. Raises RowRefused where a cell can't be read."""
        values: dict[str, Any] = {}
        for name_, source in self.mapping.steps[name].items():
            try:
                value = source.of(row.cells)
            except NotMapped:
                hint = f"The mapping lists no value for what stands in {source.column}."
                raise RowRefused("NOT_MAPPED", f"/{name_}", hint) from None
            if value is not None:
                values[name_] = value
        if newest and "reported_at" not in values:
            values["reported_at"] = newest[1]
        content, time = self._content(name, named, values), None
        if "reported_at" in values:
            try:
                time = self._times[content] = _MOMENT.validate_python(values["reported_at"])
            except ValidationError as error:
                raise self._invalid(name, error, "/reported_at") from None
        return _Statement(values, content, time)

    def _content(self, name: str, named: dict[str, str], values: dict[str, Any]) -> str:
        about = [self._subject(name, named), self._ids(name, named), values]
        return hashlib.sha256(_as_text(about).encode()).hexdigest()

    def _moment(self, name: str, row: Row) -> datetime | None:
        """Noon of the day on which it was said; a file knows no hour."""
        day = day_of(row.cells[self.mapping.at[name]].strip()) if name in self.mapping.at else ""
        try:
            return datetime.fromisoformat(f"{day}T12:00:00+00:00") if day else None
        except ValueError:
            raise RowRefused("INVALID", "", f"{self.mapping.at[name]}: {_NO_DAY}") from None

    def _invalid(self, name: str, error: ValidationError, pointer: str = "") -> RowRefused:
        cls = self.mapping.kind.steps[name]
        verdict = verdict_of(cls, error)
        pointer, hint = pointer or verdict.pointer, hint_of(verdict, cls)
        if verdict.rule.startswith("missing:"):
            pointer, hint = f"/{verdict.rule.removeprefix('missing:')}", "This cell is empty."
        elif verdict.rule.startswith("date"):
            hint = _NO_DAY
        return RowRefused("INVALID", pointer, self._named_by(name, pointer, hint))

    def _named_by(self, name: str, pointer: str, hint: str) -> str:
        """A hint that begins with the column it speaks of: whoever mends the cell knows no field of ours."""
        field = self.mapping.steps[name].get(pointer.partition("/")[2].partition("/")[0])
        return f"{field.column}: {hint}".rstrip(" :") if field and field.column else hint

    def _before(self, name: str, key: str) -> list[Sent]:
        """What the key has said, in the order in which it stands; with times of report, where the memory or a row of this call
        tells them."""
        before = self.store.of_key(key)
        if name not in REPORTED:
            return before
        return sorted((self._timed(sent) for sent in before), key=lambda sent: (_time(sent), sent.revision))

    def _timed(self, sent: Sent) -> Sent:
        learnt = sent.reported_at is None and sent.content in self._times
        return sent._replace(reported_at=stamp(self._times[sent.content])) if learnt else sent

    def _step(
        self, name: str, key: str, named: dict[str, str], said: _Statement, before: list[Sent], moment: datetime | None
    ) -> Step:
        if "by" not in said.values:
            raise RowRefused("INVALID", "/by", "Nothing says who speaks.")
        cls = self.mapping.kind.steps[name]
        known = self._known(name, named, said, before)
        sent = known or self._new(name, key, said, before)
        made = {**said.values, "by": {"organisation_id": said.values["by"]}, **self._ids(name, named)}
        if name in REPORTED:
            made |= {"reported_at": sent.reported_at or sent.seen_at, "revision": sent.revision}
        try:
            submission = cls.model_validate(made)
        except ValidationError as error:
            raise self._invalid(name, error) from None
        if known is None:
            self.store.add(sent)
            self._made.add(sent.id)
        said_at = moment or said.time or datetime.fromisoformat(sent.seen_at)
        subject, participation = self._subject(name, named), named["participation"]
        return Step(sent, known is not None, participation, subject, min(said_at, self.now), submission)

    def _known(self, name: str, named: dict[str, str], said: _Statement, before: list[Sent]) -> Sent | None:
        """The submission in which just this was said, if nothing else was since (of the same time, where the file says times)
        and it is not to go again. Raises RowRefused where what was said without a time since would stand above it."""
        of_then = before
        if said.time is not None:
            # One of an unknown time may be of this one: said anew it stands, or changes nothing.
            of_then = [sent for sent in before if sent.reported_at in (None, stamp(said.time)) and not _is_ours(sent)]
            of_then.sort(key=lambda sent: sent.revision)
        known = None
        for sent in reversed(of_then):
            if sent.content == said.content and (known is None or sent.revision > known.revision):
                known = sent  # of one that was refused, the last: on a clock set back it went again below the first
            if not _is_refused(sent):
                break
        since = _stands([sent for sent in before if _is_ours(sent)]) if said.time is not None else None
        if since and said.time and said.time <= _time(since) and (known is None or _stands(before) == since):
            plain = {field: value for field, value in said.values.items() if field != "reported_at"}
            if since.content == self._content(name, named, plain):
                return since
            reason, what = "SAID_SINCE", "said since without one"
            if since.content == TAKEN_BACK:
                reason, what = "TAKEN_BACK", "taken back since"
            raise RowRefused(reason, "/reported_at", f"This {name} was {what}; it needs a newer time of report.")
        return None if known and self._goes_again(known, said) else known

    def _goes_again(self, sent: Sent, said: _Statement) -> bool:
        if sent.id in self._made:
            return False
        if not _is_refused(sent):
            long_ago = datetime.fromisoformat(sent.seen_at) < self.now - timedelta(days=ANSWER_DAYS)
            return self.again and sent.outcome is None and long_ago
        passes = sent.said is not None and sent.said.way is Again.LATER
        return self.again or (passes and (said.time is None or said.time <= self.now))

    def _new(self, name: str, key: str, said: _Statement, before: list[Sent]) -> Sent:
        """The next revision. What the file says without a time is of now, and stands above what does; what it leaves out is
        taken back as of the time of that: what is reported later stands above it, whenever it is handed in."""
        revision = max((sent.revision for sent in before), default=0) + 1
        seen_at, time, stands = self.now, said.time, _stands(before)
        if name in REPORTED and time is None:
            if stands and stands.reported_at and said.content == TAKEN_BACK:
                time = _time(stands)
            else:
                time = seen_at = max(self.now, _time(stands)) if stands else self.now
        return Sent(
            self.store.id_of(key, str(revision)), key, revision, said.content, str(said.values.get("ended_before_on") or ""),
            stamp(seen_at), reported_at=None if time is None else stamp(time),
        )  # fmt: skip

    def _subject(self, name: str, named: dict[str, str]) -> str:
        return self.store.id_of(*(("run", named["run"]) if name == "run" else ("case", named["person"])))

    def _ids(self, name: str, named: dict[str, str]) -> dict[str, str]:
        """The ids a submission names, made of the row's references."""
        kinds = _kinds_of(self.mapping.kind.steps[name])
        return {f"{kind}_id": self.store.id_of(kind, *(named[part] for part in MADE_OF[kind])) for kind in kinds}

    def _taken_back(self, name: str, stands: Sent) -> _Statement:
        """What the file said once and says no longer; or that it was taken back, which nobody has answered yet."""
        if name != "end":
            raise RowRefused("TAKEN_BACK", "", f"The {name} was said before and is missing now; ask the office.")
        values = {"by": self.mapping.steps[name]["by"].constant, "ended_before_on": stands.day,
                  "kind": EndKind.ENTERED_IN_ERROR}  # fmt: skip
        if values["by"] is None:
            raise RowRefused(
                "TAKEN_BACK", "/by", "Only an end whose speaker is a constant can be taken back by a file."
            )
        return _Statement(values, TAKEN_BACK, None)


@cache
def _kinds_of(cls: type[Submission]) -> tuple[str, ...]:
    """Of which kinds are the ids it names."""
    return tuple(kind for kind in MADE_OF if f"{kind}_id" in cls.model_fields)


def _time(sent: Sent) -> datetime:
    """When it was reported; where nobody knows, it was before it was seen."""
    return datetime.fromisoformat(sent.reported_at or sent.seen_at)


def _is_refused(sent: Sent) -> bool:
    return sent.outcome in ("refused", "unreadable")


def _is_in(sent: Sent) -> bool:
    return sent.outcome in ("recorded", "unchanged")


def _is_ours(sent: Sent) -> bool:
    """Whether we gave it its time, not the file."""
    return sent.content == TAKEN_BACK or sent.reported_at == sent.seen_at


def _is_gone(sent: Sent) -> bool:
    return sent.content == TAKEN_BACK and sent.outcome is not None


def _stands(before: Sequence[Sent]) -> Sent | None:
    """What stands of these, in their order: what was refused says nothing."""
    return next((sent for sent in reversed(before) if not _is_refused(sent)), None)


TAKEN_BACK = "taken back"
_as_text = json.JSONEncoder(sort_keys=True, default=str).encode  # json.dumps makes one a call
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
_THE_REST_IS_IN = "What was recorded first stands; the rest of this row is in."
_SAY_THE_SAME = "Say of it what the rows before said; or, where it is another one, give it a reference of its own."
_NO_DAY = "This is no day of the calendar (2026-01-31 or 31.01.2026)."
_BROKEN = "Its cells do not fit the header: mend them, then empty lotse_ragged; what is only the rest of the row above, delete."
_IT_LACKS_ITS_TIME = "Fill in when it was reported, if that is missing. "
_ONE_IS_WRONG = "Delete the row that is wrong: sent back by itself as it is, this one counts."
