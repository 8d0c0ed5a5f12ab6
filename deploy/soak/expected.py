"""What must come of a journal: a small model of the rules that matter, on plain dictionaries. It imports nothing of
`contracts` or `services`: what is checked must not be its own witness.

Exact whatever the order in which things arrive, because the load keeps to shapes whose end does not depend on it: a start
is sent when its referral is accepted, meetings lie before the end of their participation, and of several statements with
one order (rivals) the first wins, whichever that is.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from deploy.soak.journal import Entry, Meant

ZONE = ZoneInfo("Europe/Berlin")
ABSENT_DAYS = 2
NO_SHOW_DAYS = 7
SAID_AGAIN_DAYS = 7
CLOCK_AHEAD_SECONDS = 600

Body = dict[str, Any]


class Publisher(NamedTuple):
    """For whom a publisher may speak; the same as in publishers.toml, said once more."""

    source: str
    tenants: tuple[str, ...]
    organisations: tuple[str, ...]


class Verdict(NamedTuple):
    """An outcome and, where it is a no, its reason. `waits`: no answer yet, and none is missing."""

    outcome: str
    reason: str = ""


RECORDED, WAITS = Verdict("recorded"), Verdict("waits")
EXISTS = {"registration_submitted": "CASE_EXISTS", "consent_given": "CONSENT_EXISTS", "offer_run_submitted": "RUN_EXISTS",
          "referral_requested": "REFERRAL_EXISTS", "need_reported": "NEED_EXISTS", "referral_answered": "NOT_OPEN",
          "participation_start_reported": "REVISION_REUSED", "participation_end_reported": "REVISION_REUSED",
          "attendance_reported": "REVISION_REUSED",
          "consent_withdrawn": "WITHDRAWN_OTHERWISE"}  # fmt: skip
"""What a second, different statement about the same thing is told."""


@dataclass(slots=True)
class Said:
    """One content under one id: what must be answered to it."""

    publisher: str
    source: str
    id: str
    family: str
    type: str
    subject: str
    tenant: str
    body: Body | None
    """None where nobody can read it."""
    reference: str
    content: str
    verdict: Verdict
    acknowledged: bool
    sent: int
    thing: tuple[str, ...]
    """What it is a statement about: of several sound statements about one thing exactly one is recorded."""

    @property
    def fact_id(self) -> str:
        """The id of the one fact it can lead to."""
        return _derived(self.source, self.id, "fact")

    @property
    def answer_id(self) -> str:
        """The id of the answer to this content."""
        return _derived(self.source, self.id, self.content)

    @property
    def statement(self) -> str:
        """What it says, without who says it."""
        return json.dumps({k: v for k, v in (self.body or {}).items() if k != "by"}, sort_keys=True)


@dataclass
class Expected:
    """What must come of a journal, once everything is at rest."""

    said: dict[tuple[str, str], list[Said]] = field(default_factory=dict)
    """(source, id) to its contents; more than one: the first that arrives has the id, the others get ID_REUSED."""
    nameless: list[Entry] = field(default_factory=list)
    """Poison without a readable id: dead letters, and no answer."""
    poison: list[Entry] = field(default_factory=list)
    cases: dict[str, str] = field(default_factory=dict)
    """Case to the organisation that owns it."""
    municipalities: dict[str, str] = field(default_factory=dict)
    open_risks: dict[tuple[str, str], date] = field(default_factory=dict)
    """(about, rule) to first_on of each risk that holds."""
    lasts: dict[str, date] = field(default_factory=dict)
    """Referral to the last day of its run: until then a no-show goes on."""
    s2_first: dict[str, date] = field(default_factory=dict)
    """Participation to the first day on which S2 held in the days as known at the end."""
    absent: dict[str, set[date]] = field(default_factory=dict)
    """Participation to every day that any report, superseded ones too, called an unexcused absence."""
    periods: dict[str, tuple[str, date, date | None, bool]] = field(default_factory=dict)
    """Participation to (case, start, end, dropped out)."""
    blocks: dict[str, str] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    """Referrals that a reaction must have stopped."""
    ended: set[str] = field(default_factory=set)
    """Participations that any report called ended as dropped out."""
    referrals: dict[str, str] = field(default_factory=dict)
    """Referral to its case, for what is about one."""
    board: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Referral to (state, planned start)."""

    def case_of(self, about: str) -> str:
        """The case of a participation or a referral; empty where there is none."""
        return self.periods[about][0] if about in self.periods else self.referrals.get(about, "")

    @property
    def all(self) -> Iterable[Said]:
        """Every content of every id."""
        return (one for contents in self.said.values() for one in contents)


def expect(entries: Sequence[Entry], publishers: Mapping[str, Publisher], ticked: datetime | None) -> Expected:
    """The expected result; `ticked` is the last tick acted on."""
    expected = Expected()
    for entry in entries:
        _enter(expected, entry, publishers)
    known = _judged(expected)
    _outcome(expected, known, ticked)
    return expected


def _enter(expected: Expected, entry: Entry, publishers: Mapping[str, Publisher]) -> None:
    meant, publisher = entry.meant, publishers[entry.meant.publisher]
    if meant.poison:
        expected.poison.append(entry)
    if not meant.id:
        expected.nameless.append(entry)
        return
    reference, content = identity(meant, publisher.source)
    body: Body | None = None if meant.poison else json.loads(meant.body)
    verdict = Verdict("unreadable") if body is None else _permitted(entry, publisher, body)
    contents = expected.said.setdefault((publisher.source, meant.id), [])
    for known in contents:
        if known.content == content:
            known.acknowledged, known.sent = known.acknowledged or entry.acknowledged, known.sent + entry.sent
            return
    contents.append(Said(meant.publisher, publisher.source, meant.id, meant.family, meant.type, meant.subject, meant.tenant, body,
                         reference, content, verdict, entry.acknowledged, entry.sent, _thing(meant.type, meant.subject, body)))  # fmt: skip


@lru_cache(1 << 16)  # the ledger asks for each some ten times
def _derived(source: str, id: str, name: str) -> str:
    return str(uuid5(uuid5(uuid5(NAMESPACE_URL, source), id), name))


def identity(meant: Meant, source: str) -> tuple[str, str]:
    """(reference, content) of a message with a readable id, as answers name them."""
    reference = str(uuid5(uuid5(NAMESPACE_URL, source), meant.id))
    type_ = f"lotse.{meant.family}.{meant.type}.v1".encode()
    if meant.headers:
        type_ = next((raw or b"" for name, raw in meant.headers if name == "ce_type"), b"")
    return reference, "r1:" + hashlib.sha256(reference.encode() + type_ + meant.body).hexdigest()[:32]


def _permitted(entry: Entry, publisher: Publisher, body: Body) -> Verdict:
    """What its publisher may say at all, whatever is known."""
    meant = entry.meant
    if meant.tenant not in publisher.tenants or body["by"]["organisation_id"] not in publisher.organisations:
        return Verdict("refused", "NOT_YOURS")
    said = [meant.time, body.get("reported_at", meant.time)]
    if any(datetime.fromisoformat(moment).timestamp() - entry.sent_at > CLOCK_AHEAD_SECONDS for moment in said):
        return Verdict("refused", "CLOCK_AHEAD")
    return RECORDED


THING = {"consent_given": ("consent_id",), "need_reported": ("need_id",), "consent_withdrawn": ("consent_id",),
         "referral_requested": ("referral_id",), "referral_answered": ("referral_id",),
         **dict.fromkeys(("participation_start_reported", "participation_end_reported"), ("participation_id", "reported_at", "revision")),
         "attendance_reported": ("participation_id", "meeting_id", "reported_at", "revision")}  # fmt: skip
"""Type to the members that say what it is a statement about; of any other its subject does."""


def _thing(type_: str, subject: str, body: Body | None) -> tuple[str, ...]:
    if body is None:
        return ()
    names = THING.get(type_, ())
    return (type_, *(str(body[name]) for name in names)) if names else (type_, subject)


@dataclass
class _Known:
    """Who and what is known once everything has arrived: each thing by its id, as its statement says it."""

    cases: dict[str, Body] = field(default_factory=dict)
    runs: dict[str, Body] = field(default_factory=dict)
    consents: dict[str, Body] = field(default_factory=dict)
    referrals: dict[str, Body] = field(default_factory=dict)
    answers: dict[str, Body] = field(default_factory=dict)
    withdrawn: dict[str, Body] = field(default_factory=dict)
    starts: dict[str, list[Body]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[str, list[Body]] = field(default_factory=lambda: defaultdict(list))
    meetings: dict[str, list[Body]] = field(default_factory=lambda: defaultdict(list))


ORDER = ("registration_submitted", "offer_run_submitted", "need_reported", "consent_given", "consent_withdrawn",
         "referral_requested", "referral_answered", "participation_start_reported", "participation_end_reported",
         "attendance_reported")  # fmt: skip
"""What rests on what: judged in this order, everything meets what it rests on."""


def _judged(expected: Expected) -> _Known:
    known = _Known()
    sound = sorted((one for one in expected.all if one.verdict == RECORDED and one.acknowledged),
                   key=lambda one: ORDER.index(one.type))  # fmt: skip
    for one in sound:
        assert one.body is not None
        one.verdict = _judge(known, one, {**one.body, "case": one.subject})
    return known


def _judge(known: _Known, one: Said, said: Body) -> Verdict:
    by = said["by"]["organisation_id"]
    match one.type:
        case "registration_submitted":
            known.cases.setdefault(one.subject, said)
        case "offer_run_submitted":
            known.runs.setdefault(one.subject, said)
        case "need_reported" | "consent_given" | "consent_withdrawn" if one.subject not in known.cases:
            return WAITS
        case "need_reported" | "consent_given" if by not in _whose(known.cases[one.subject]):
            return Verdict("refused", "NOT_YOURS")
        case "consent_given":
            known.consents.setdefault(said["consent_id"], said)
        case "consent_withdrawn":
            if said["consent_id"] not in known.consents:
                return WAITS
            known.withdrawn[said["consent_id"]] = said
        case "referral_requested":
            if (
                one.subject not in known.cases
                or said["run_id"] not in known.runs
                or said["consent_id"] not in known.consents
            ):
                return WAITS
            if by != known.cases[one.subject]["owner_organisation_id"]:
                return Verdict("refused", "NOT_YOURS")
            consent, provider = (
                known.consents[said["consent_id"]],
                known.runs[said["run_id"]]["provider_organisation_id"],
            )
            if provider not in consent["recipients"] or not set(said["categories"]) <= set(consent["categories"]):
                return Verdict("refused", "NO_CONSENT")
            known.referrals.setdefault(said["referral_id"], {**said, "provider": provider})
        case "referral_answered" | "participation_start_reported" if said["referral_id"] not in known.referrals:
            return WAITS
        case "referral_answered":
            known.answers.setdefault(said["referral_id"], said)
        case "participation_start_reported":
            answer = known.answers.get(said["referral_id"])
            if answer is None or answer["answer"] != "ACCEPTED":
                return Verdict("refused", "NOT_ACCEPTED")
            known.starts[said["participation_id"]].append(said)
        case "participation_end_reported":
            if said["participation_id"] not in known.starts:
                return WAITS
            known.ends[said["participation_id"]].append(said)
        case "attendance_reported":
            return _attendance(known, said, by)
    return RECORDED


def _whose(registration: Body) -> tuple[str, str]:
    """Who may say what a person needs and agrees to: who owns her case, who opened it. Whom a consent names may report a need,
    too; the load has none of these."""
    return registration["owner_organisation_id"], registration["by"]["organisation_id"]


def _attendance(known: _Known, said: Body, by: str) -> Verdict:
    if said["participation_id"] not in known.starts:
        return WAITS
    start = known.starts[said["participation_id"]][0]
    if by != known.referrals[start["referral_id"]]["provider"]:
        return Verdict("refused", "NOT_YOURS")
    if date.fromisoformat(said["meeting_on"]) > datetime.now(ZONE).date():
        return Verdict("refused", "FUTURE_DAY")
    if said["meeting_on"] < start["started_on"]:
        return Verdict("refused", "NOT_RUNNING")
    if said["units_attended"] > said["units_planned"]:
        return Verdict("refused", "MORE_THAN_PLANNED")
    if said["presence"] == "EXCUSED" and not said.get("excuse_reason"):
        return Verdict("refused", "EXCUSE_NEEDS_REASON")
    if said["presence"] in ("EXCUSED", "UNEXCUSED") and said["units_attended"]:
        return Verdict("refused", "CONTRADICTION")
    known.meetings[said["participation_id"]].append(said)
    return RECORDED


def _outcome(expected: Expected, known: _Known, ticked: datetime | None) -> None:
    expected.cases = {id: said["owner_organisation_id"] for id, said in known.cases.items()}
    expected.municipalities = {id: said["municipality"] for id, said in known.cases.items()}
    expected.referrals = {id: said["case"] for id, said in known.referrals.items()}
    started = {said["referral_id"] for statements in known.starts.values() for said in statements}
    for id, statements in known.starts.items():
        start, end = _stands(statements), _stands(known.ends.get(id, []))
        ended = None if end is None or end["kind"] == "ENTERED_IN_ERROR" else date.fromisoformat(end["ended_before_on"])
        assert start is not None
        dropped = end is not None and end["kind"] == "DROPPED_OUT"
        expected.periods[id] = (start["case"], date.fromisoformat(start["started_on"]), ended, dropped)
        expected.blocks[id] = known.runs[known.referrals[start["referral_id"]]["run_id"]]["block"]
        if any(said["kind"] == "DROPPED_OUT" for said in known.ends.get(id, [])):
            expected.ended.add(id)
        _absences(expected, id, known.meetings.get(id, []), ended)
    for referral, answer in known.answers.items():
        if answer["answer"] != "ACCEPTED" or referral in started:
            continue
        planned = date.fromisoformat(answer["planned_start_on"])
        ends = date.fromisoformat(known.runs[known.referrals[referral]["run_id"]]["ends_before_on"])
        expected.lasts[referral] = ends - timedelta(days=1)
        if known.referrals[referral]["consent_id"] in known.withdrawn:
            expected.stopped.add(referral)
        elif ticked is not None and planned + timedelta(days=NO_SHOW_DAYS) <= ticked.astimezone(ZONE).date():
            expected.open_risks[referral, "S6"] = planned
    for referral, said in known.referrals.items():
        if said["consent_id"] in known.withdrawn and referral not in started and referral not in known.answers:
            expected.stopped.add(referral)
        answer = known.answers.get(referral, {})
        state = "STOPPED" if referral in expected.stopped else answer.get("answer", "SENT")
        expected.board[referral] = state, answer.get("planned_start_on")
    if ticked is None:
        expected.open_risks.clear()


def _stands(statements: Sequence[Body]) -> Body | None:
    return max(
        statements, key=lambda said: (datetime.fromisoformat(said["reported_at"]), said["revision"]), default=None
    )


def _absences(expected: Expected, id: str, reports: Sequence[Body], ended: date | None) -> None:
    """S2 by the meetings as they stand: a day is attended if any meeting was, else absent if any was unexcused."""
    by_meeting: dict[str, list[Body]] = defaultdict(list)
    for said in reports:
        by_meeting[said["meeting_id"]].append(said)
        if said["presence"] == "UNEXCUSED":
            expected.absent.setdefault(id, set()).add(date.fromisoformat(said["meeting_on"]))
    attended: dict[date, bool] = {}
    for rivals in by_meeting.values():
        stands = _stands(rivals)
        assert stands is not None
        on = date.fromisoformat(stands["meeting_on"])
        if ended is not None and on >= ended:
            continue
        if stands["presence"] in ("PRESENT", "LATE"):
            attended[on] = True
        elif stands["presence"] == "UNEXCUSED":
            attended.setdefault(on, False)
    row: list[date] = []
    for day in sorted(attended):
        row = [] if attended[day] else [*row, day]
        if len(row) == ABSENT_DAYS:
            expected.s2_first.setdefault(id, day)
    if len(row) >= ABSENT_DAYS and ended is None:
        expected.open_risks[id, "S2"] = row[0]


def goes_on(said: date, lasts: date, on: date) -> date | None:
    """The day to which a no-show goes on, where that must be said on a day: what was said of it is more than a week old."""
    until = min(on, lasts)
    return until if said < on - timedelta(days=SAID_AGAIN_DAYS) and on - timedelta(days=14) <= until > said else None


def grid(expected: Expected, ticked: datetime) -> dict[str, dict[tuple[str, str], tuple[int, int, int]]]:
    """Closed months to (municipality, block) to entries, exits, stock on the month's last day; an end day is exclusive."""
    today = ticked.astimezone(ZONE).date()
    rows = [(expected.municipalities[case], expected.blocks[id], start, end)
            for id, (case, start, end, _) in expected.periods.items()]  # fmt: skip
    axis = sorted({(municipality, block) for municipality, block, _, _ in rows})
    months: dict[str, dict[tuple[str, str], tuple[int, int, int]]] = {}
    if not rows:
        return months
    month = min(start for _, _, start, _ in rows).replace(day=1)
    last = max((max(end, start) if end else today for _, _, start, end in rows), default=today)
    while (following := (month + timedelta(days=32)).replace(day=1)) <= today and month <= last:
        months[month.strftime("%Y-%m")] = {
            cell: (
                sum(row[:2] == cell and month <= row[2] < following for row in rows),
                sum(row[:2] == cell and row[3] is not None and month <= row[3] < following for row in rows),
                sum(row[:2] == cell and row[2] < following and (row[3] is None or row[3] >= following) for row in rows),
            )
            for cell in axis
        }
        month = following
    return months
