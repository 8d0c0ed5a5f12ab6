"""The rules of notice: offices get mail, not cases; at most one attempt an office and tick; what was told and no longer
holds becomes a line in the next mail."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from contracts.dropout import FRESH, REMEMBERED, DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import ALLIANCE_ZONE, LOTSE_ID, By, Fact, day_of
from contracts.notification import (
    NoticeLine,
    NotificationAttempted,
    NotificationFailed,
    NotificationSent,
    NotificationUncertain,
    NotificationWithdrawn,
)

LOTSE = By(organisation_id=LOTSE_ID, kind="rule")
MOST_LINES = 2_000
"""Of a mail, 150 bytes each: a fact of more than 1 MiB is taken by no topic, and the office would hear nothing any more."""
MOST_REFUSALS = 4
"""In a row; from then on a mailbox is tried once a day: one that refuses is a person's job, not a flood of attempts."""


class Item(NamedTuple):
    """A risk that is open at this office."""

    case_id: str
    about: str
    rule: str
    first_on: date
    evidence_on: date
    as_of: datetime
    """The tick by which it was raised, or said anew."""


class Over(NamedTuple):
    """Why a risk no longer holds, and by which tick."""

    reason: str | None
    as_of: datetime


class Line(NamedTuple):
    """What a mail says of one risk."""

    case_id: str
    about: str
    rule: str
    first_on: date
    reason: str | None = None


@dataclass(slots=True)
class DropoutPart:
    open: dict[str, Item] = field(default_factory=dict)
    over: dict[str, Over] = field(default_factory=dict)
    """What was withdrawn in the fortnight before the newest withdrawal, whatever became of it since: the same in any order."""
    newest: datetime | None = None
    """The tick of the newest withdrawal. What is older than a fortnight before it goes when it moves, not with each of the tens of
    thousands that a year's import withdraws: 50,000 looked through each time were 11 ms a message."""


@dataclass(slots=True)
class NotificationPart:
    told: dict[str, Line] = field(default_factory=dict)
    taken_back: dict[str, Line] = field(default_factory=dict)
    """Withdrawn, and not yet said: the office still believes that it holds, or knows of another reason (`said_why`). Kept here until it
    is said: what the other family says of it (`DropoutPart.over`) is forgotten after a fortnight, and who has no mailbox waits longer."""
    in_flight: dict[str, list[str]] = field(default_factory=dict)
    """Attempts without a result: the keys they told newly."""
    in_flight_back: dict[str, list[Line]] = field(default_factory=dict)
    """Attempts without a result: what they said no longer holds."""
    said_over: dict[str, datetime] = field(default_factory=dict)
    """Case, about and rule of which the office last heard that they are over, and by which tick: what holds of them now is news,
    however old its days are."""
    said_why: dict[str, Over] = field(default_factory=dict)
    """Why the office believes that a risk is over, and by which tick it heard so: another reason is news."""
    last_as_of: datetime | None = None
    failures: int = 0
    """Refusals in a row. A network that is down is none: it must not silence anybody."""

    def believed(self, key: str) -> bool:
        """Whether the office believes that this risk holds."""
        return key in self.told or (key in self.taken_back and key not in self.said_why)

    @property
    def flying(self) -> set[str]:
        """What an attempt says whose end nobody knows."""
        back = {_key(line) for lines in self.in_flight_back.values() for line in lines}
        return back.union(*self.in_flight.values())


@dataclass(slots=True)
class Office:
    """An organisation in an alliance, and what it should know."""

    id: str
    tenant: str
    dropout: DropoutPart = field(default_factory=DropoutPart)
    notification: NotificationPart = field(default_factory=NotificationPart)
    shape: ClassVar[int] = 8

    @staticmethod
    def of(fact: Fact, tenant: str) -> list[str]:
        """A risk of a case reaches the office that owns the case."""
        if isinstance(fact, (DropoutRiskRaised, DropoutRiskContinued, DropoutRiskWithdrawn)):
            return [f"{tenant}:{fact.owner_organisation_id}"]
        return []

    @property
    def organisation_id(self) -> str:
        """Whose office it is."""
        return self.id.partition(":")[2]


def evolve(office: Office, fact: Fact, cause: str) -> None:
    """Folds a fact; the parts meet in react only."""
    part = office.notification
    match fact:
        case DropoutRiskRaised():
            item = Item(
                fact.case_id, fact.about, fact.rule, fact.first_on, max(fact.days_on, default=fact.first_on), fact.as_of
            )
            office.dropout.open[_key(item)] = item
        case DropoutRiskContinued():
            if (known := office.dropout.open.get(_key(fact))) is not None:
                office.dropout.open[_key(fact)] = known._replace(evidence_on=fact.last_missed_on, as_of=fact.as_of)
        case DropoutRiskWithdrawn():
            office.dropout.open.pop(_key(fact), None)
            _withdraw(office.dropout, _key(fact), Over(fact.reason, fact.as_of))
        case NotificationAttempted():
            part.last_as_of = fact.as_of
            raised = {_key(line): _line(line) for line in fact.lines if line.kind == "RAISED"}
            back = {_key(line): _line(line) for line in fact.lines if line.kind == "WITHDRAWN"}
            part.told.update(raised)
            for key in (*raised, *back):
                part.taken_back.pop(key, None)
            part.in_flight[fact.attempt_id], part.in_flight_back[fact.attempt_id] = sorted(raised), [*back.values()]
        case NotificationWithdrawn():
            key, line = _key(fact.line), _line(fact.line)
            part.taken_back[key] = line
            why = part.said_why.get(key)
            if part.told.pop(key, None) is None and why is not None and why.reason == line.reason:
                del part.taken_back[key]  # another reason waited, and this is the one that the office knows
        case NotificationSent() | NotificationUncertain():
            _heard(part, part.in_flight.pop(fact.attempt_id, []), part.in_flight_back.pop(fact.attempt_id, []))
            part.failures = 0
        case NotificationFailed():  # as if it had never been: the office believes what it believed before
            for key in part.in_flight.pop(fact.attempt_id, []):
                part.told.pop(key, None)
                part.taken_back.pop(key, None)
            part.taken_back |= {_key(line): line for line in part.in_flight_back.pop(fact.attempt_id, [])}
            part.failures += fact.reason.startswith(("SMTP_5", "NO_MAILBOX", "BAD_ADDRESS"))


def _heard(part: NotificationPart, raised: list[str], back: list[Line]) -> None:
    """The last word of each risk in a mail that the office has, or may have."""
    if part.last_as_of is not None:
        over = dict.fromkeys((_what(_key(line)) for line in back), part.last_as_of)
        why = {_key(line): Over(line.reason, part.last_as_of) for line in back}
        oldest = part.last_as_of - REMEMBERED
        part.said_over = {what: at for what, at in (part.said_over | over).items() if at >= oldest}
        # while another reason waits it must be known that one was told: else the office would be taken to believe that it holds
        known = (part.said_why | why).items()
        part.said_why = {key: one for key, one in known if one.as_of >= oldest or key in part.taken_back}
    for key in raised:
        part.said_over.pop(_what(key), None)
        part.said_why.pop(key, None)


def _withdraw(part: DropoutPart, key: str, over: Over) -> None:
    part.over.pop(key, None)
    if part.newest is None or over.as_of > part.newest:
        part.newest = over.as_of
        part.over = {known: one for known, one in part.over.items() if one.as_of >= part.newest - FRESH}
    if over.as_of >= part.newest - FRESH:
        part.over[key] = over


def react(office: Office, ticked: datetime) -> list[Fact]:
    """What was told and no longer holds is taken back (domain F-02), and once more where why it is over is another reason than the office
    knows or is to hear; its next mail says so."""
    over = office.dropout.over
    told = {key: line for key, line in office.notification.told.items() if key not in office.dropout.open}
    gone = {key: line._replace(reason=over[key].reason if key in over else None) for key, line in told.items()}
    return [
        NotificationWithdrawn(by=LOTSE, line=_notice("WITHDRAWN", line))
        for _, line in sorted((gone | _otherwise(office)).items())
    ]


def attempts(
    office: Office, ticked: datetime, mailboxes: Mapping[str, Any], incomplete: Collection[str] = ()
) -> list[Fact]:
    """One mail with all that is news, no single mails (domain F-03); said once (H-04), and once more where why it is over was another
    reason than the office was told (domain 8.3; Art. 19 GDPR). A mailbox that refuses gets one a day.
    What is more than a mail can hold is said at the next tick; what is known of a case that is `incomplete`, once it is not any more."""
    part = office.notification
    if part.in_flight:
        return []  # what it ends with decides what the office believes; that of two at once nobody could tell
    if office.organisation_id not in mailboxes or _refuses(office, ticked):
        return []  # what waits stays on the list, and status says so
    if part.last_as_of is not None and part.last_as_of >= ticked:
        return []
    # raised or withdrawn by an earlier tick: the barrier of this one says that all of that has been heard
    over = office.dropout.over
    untrue = [(key, line) for key, line in _untrue(office) if key not in over or over[key].as_of < ticked]
    untrue = [(key, line) for key, line in untrue if line.case_id not in incomplete]
    untold = _untold(office, day_of(ticked), untrue)
    new = sorted((key, item) for key, item in untold if item.as_of < ticked and item.case_id not in incomplete)
    goes_on = Counter(item.case_id for key, item in office.dropout.open.items() if part.believed(key))
    raised = [_notice("RAISED", Line(*item[:4]), goes_on[item.case_id]) for _, item in new]
    goes_on += Counter(item.case_id for _, item in new)  # a mail that says both of one case names no course
    back = [_notice("WITHDRAWN", line, goes_on[line.case_id]) for _, line in untrue]
    lines = [*raised, *back][:MOST_LINES]
    if not lines:
        return []
    # what the office knew to be over, and not why, stands before what holds: it is no half of a correction (`mail.sections_of`)
    lines.sort(key=lambda line: line.kind == "RAISED" or part.believed(_key(line)))
    attempt_id = str(uuid5(NAMESPACE_URL, f"{office.id} {ticked.isoformat()}"))
    return [NotificationAttempted(by=LOTSE, attempt_id=attempt_id, lines=tuple(lines), as_of=ticked)]


def _refuses(office: Office, ticked: datetime) -> bool:
    """Whether the mailbox refuses and was tried today."""
    failures, last = office.notification.failures, office.notification.last_as_of
    return failures >= MOST_REFUSALS and last is not None and day_of(last) >= day_of(ticked)


def _untold(office: Office, today: date, untrue: list[tuple[str, Line]]) -> list[tuple[str, Item]]:
    """What holds without the office believing it, and is to be told: its days are no history, or the office has heard that it is over
    (of this case, about and rule, whatever the first day) and would go on believing that all is well."""
    part, oldest = office.notification, today - FRESH
    again = part.said_over.keys() | {_what(key) for key, _ in untrue}
    return [
        (key, item)
        for key, item in office.dropout.open.items()
        if (item.evidence_on >= oldest or (again and _what(key) in again)) and not part.believed(key)
    ]


def _untrue(office: Office) -> list[tuple[str, Line]]:
    """What the office believes to hold, or to be over for a reason, and is wrong about. Not what was raised again: it holds. Nor what an
    attempt in flight says: nothing is taken back before it is known that it was said."""
    part, flying = office.notification, office.notification.flying
    return [
        (key, line)
        for key, line in sorted(part.taken_back.items())
        if key not in office.dropout.open and key not in flying
    ]


def _otherwise(office: Office) -> dict[str, Line]:
    """What the office rightly believes to be over, or is to hear so, and not for the reason that stands."""
    over, part = office.dropout.over, office.notification
    known = part.said_why | part.taken_back
    wrong = {key for key, one in known.items() if key in over and over[key].reason != one.reason}
    named = [(key, *key.split("|")) for key in wrong - office.dropout.open.keys() - part.flying]
    return {
        key: Line(case, about, rule, date.fromisoformat(first_on), over[key].reason)
        for key, case, about, rule, first_on in named
    }


def due(office: Office, ticked: datetime, mailboxes: Mapping[str, Any]) -> datetime | None:
    """The moment after the oldest thing that is not told yet, so that the next tick says it; also where no mailbox is named: on
    the last day of what is news a day later is too late. Where a mailbox refuses, the next day: it may have stopped."""
    untrue, over = _untrue(office), office.dropout.over
    since = [item.as_of for _, item in _untold(office, day_of(ticked), untrue)]
    since += [over[key].as_of if key in over else ticked for key, _ in untrue]
    if not since:
        return None
    if office.organisation_id in mailboxes and _refuses(office, ticked):
        return datetime.combine(day_of(ticked) + timedelta(days=1), time.min, ALLIANCE_ZONE)
    return max(ticked, min(since)) + timedelta(microseconds=1)


def view(office: Office) -> dict[str, list[tuple[Any, ...]]]:
    """The notice list of an office: what is open, and whether it believes so; and what it believes although it is over, or over for
    another reason."""
    part, holds = office.notification, office.dropout.open
    rows: list[tuple[Any, ...]] = [
        (office.id, *item[:4], office.tenant, part.believed(key), item.as_of, item.evidence_on, False)
        for key, item in sorted(holds.items())
    ]
    rows += [
        (office.id, *line[:4], office.tenant, part.believed(key), None, None, True)
        for key, line in sorted(part.taken_back.items())
        if key not in holds
    ]
    return {"notice_list": rows}


def sent(attempt: NotificationAttempted) -> Fact:
    """The mail server has it."""
    return NotificationSent(by=LOTSE, attempt_id=attempt.attempt_id)


def failed(attempt: NotificationAttempted, reason: str) -> Fact:
    """The mail server certainly does not have it; it is told again at a later tick."""
    return NotificationFailed(by=LOTSE, attempt_id=attempt.attempt_id, reason=reason)


def too_old(attempt: NotificationAttempted) -> Fact:
    """It waited until nobody knows whether what it says is still true, and was not made."""
    return failed(attempt, "TOO_OLD")


def uncertain(attempt: NotificationAttempted) -> Fact:
    """Perhaps the mail server has it: for a human, never sent again by itself."""
    return NotificationUncertain(by=LOTSE, attempt_id=attempt.attempt_id)


def _key(line: Any) -> str:
    return f"{line.case_id}|{line.about}|{line.rule}|{line.first_on.isoformat()}"


def _what(key: str) -> str:
    """Case, about and rule."""
    return key.rpartition("|")[0]


def _line(line: NoticeLine) -> Line:
    return Line(line.case_id, line.about, line.rule, line.first_on, line.reason)


def _notice(kind: str, line: Line, others: int = 0) -> NoticeLine:
    return NoticeLine(kind=kind, others=others or None, **line._asdict())
