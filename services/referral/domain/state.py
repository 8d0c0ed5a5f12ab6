"""What a case and a run are: folded from facts, one part a family, none assuming another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import ClassVar, NamedTuple

from contracts.attendance import AttendanceRecorded
from contracts.codes import EndKind, StopReason
from contracts.dropout import (
    DropoutRiskContinued,
    DropoutRiskRaised,
    DropoutRiskWithdrawn,
    DroppedOut,
    DroppedOutWithdrawn,
)
from contracts.envelope import Fact
from contracts.intake import CaseClosed, CaseOpened, ConsentGranted, ConsentRevoked
from contracts.referral import (
    OfferRunPublished,
    ParticipationEnded,
    ParticipationStarted,
    ReferralAccepted,
    ReferralDeclined,
    ReferralSent,
    ReferralStopped,
)
from services.referral.domain import meetings
from services.referral.domain.meetings import Meeting, Sheet
from services.referral.domain.over import Over, Risk, key_of, raised, withdrawn

SENT, ACCEPTED, DECLINED, STOPPED = "SENT", "ACCEPTED", "DECLINED", "STOPPED"
MOST, MOST_MEETINGS = 200, 5_000
"""Referrals, participations, and course meetings of a case. Rules look at all of them with each message: 1,000 referrals and as
many participations took 47 ms a message, a batch of such never ended before Postgres ended its session, and nobody was answered."""
MOST_OF_ONE, MOST_MEETINGS_OF_ONE = 50, 2_000
"""Of these participations and meetings, those in one provider's courses: software that gives each a new id whenever it sends it
again would fill the case for all others, who could then never report that somebody takes part."""
MOST_YESES = 10
"""Of a referral, remembered, the newest: a provider may move a start as often as it likes."""


class Consent(NamedTuple):
    """For which purpose which data may go to whom, from a day until a day; the day from which it was withdrawn."""

    purpose: str
    categories: list[str]
    recipients: list[str]
    valid_from_on: date
    last_valid_on: date
    withdrawn_on: date | None = None

    def covers(self, purpose: str, recipient: str, categories: Sequence[str], on: date) -> bool:
        """Valid on that day, and not withdrawn as far as known now (§ 67b SGB X; later approval does not heal)."""
        return (
            self.purpose == purpose
            and recipient in self.recipients
            and set(categories) <= set(self.categories)
            and self.valid_from_on <= on <= self.last_valid_on
            and self.withdrawn_on is None
        )


class Referral(NamedTuple):
    """A referral with what its case must know of the run, so that a case never reads a run."""

    run_id: str
    consent_id: str
    owner_organisation_id: str
    provider_organisation_id: str
    block: str
    offer_type: str
    requested_on: date
    categories: list[str]
    run_starts_on: date
    run_ends_before_on: date
    state: str = SENT
    planned_start_on: date | None = None
    reason: str = ""
    left_on: date | None = None
    """The day on which it was declined or stopped."""
    accepted_on: date | None = None
    """The day of the acceptance that stands, or stood: of several the newest, the last heard of that day."""
    first_yes_on: date | None = None
    """The day of the first acceptance, where that is another than `accepted_on`."""
    yeses: tuple[tuple[date, date], ...] = ()
    """Where there were several acceptances, the day and the planned start of each: oldest first, those of one day as they were heard,
    and of all the newest MOST_YESES."""

    def moved_on(self, planned_start_on: date) -> date | None:
        """The day of the acceptance by which a planned start was left, whatever was agreed after it."""
        moved_on = self.accepted_on
        for on, planned in reversed(self.yeses):
            if planned == planned_start_on:
                return moved_on
            moved_on = on
        return self.accepted_on

    @property
    def was_stopped(self) -> bool:
        """By a withdrawn consent or the closed case; nobody took it back: what was before that may be heard later."""
        return self.state == STOPPED and self.reason in (StopReason.CONSENT_WITHDRAWN, StopReason.CASE_CLOSED)

    @property
    def was_accepted(self) -> bool:
        """Accepted, now or until it was stopped."""
        return self.state == ACCEPTED or (self.was_stopped and self.planned_start_on is not None)


class Start(NamedTuple):
    """The start that stands: the highest (reported_at, revision). A tie never stands: it is refused."""

    on: date
    reported_at: datetime
    revision: int


class End(NamedTuple):
    """The end that stands; kind ENTERED_IN_ERROR: there was none."""

    before_on: date
    kind: str
    reason: str
    reported_at: datetime
    revision: int


def rank_of(said: Start | End | Meeting) -> tuple[datetime, int]:
    """Of several statements about one thing the highest stands."""
    return said.reported_at, said.revision


@dataclass(slots=True)
class Participation:
    """One person in one run; one referral may have several (re-entry)."""

    referral_id: str
    start: Start | None = None
    end: End | None = None

    @property
    def ended_before_on(self) -> date | None:
        """The first day on which the person no longer takes part."""
        return None if self.end is None or self.end.kind == EndKind.ENTERED_IN_ERROR else self.end.before_on

    def running_on(self, day: date) -> bool:
        """Whether that day lies in the interval as known now."""
        ended = self.ended_before_on is not None and day >= self.ended_before_on
        return self.start is not None and self.start.on <= day and not ended


@dataclass(slots=True)
class IntakePart:
    owner_organisation_id: str | None = None
    consents: dict[str, Consent] = field(default_factory=dict)
    last_day_on: date | None = None
    """Of a closed case."""


@dataclass(slots=True)
class ReferralPart:
    referrals: dict[str, Referral] = field(default_factory=dict)
    participations: dict[str, Participation] = field(default_factory=dict)


@dataclass(slots=True)
class AttendancePart:
    sheets: dict[str, Sheet] = field(default_factory=dict)
    """Participation to what is known of its meetings."""


@dataclass(slots=True)
class DropoutPart:
    open: list[Risk] = field(default_factory=list)
    raised: dict[str, int] = field(default_factory=dict)
    """How often a risk was raised, by `rule:about`."""
    dropped_out: dict[str, tuple[date, str]] = field(default_factory=dict)
    """Participation to the first day on which the person no longer takes part, and the reason."""
    over: list[Over] = field(default_factory=list)
    """What was withdrawn in the eight weeks before the newest withdrawal, in the order in which it was said, whatever became of it
    since; the newest `over.MOST`."""


@dataclass(slots=True)
class Case:
    """A case as referral knows it."""

    id: str
    tenant: str
    intake: IntakePart = field(default_factory=IntakePart)
    referral: ReferralPart = field(default_factory=ReferralPart)
    attendance: AttendancePart = field(default_factory=AttendancePart)
    dropout: DropoutPart = field(default_factory=DropoutPart)
    shape: ClassVar[int] = 12

    def courses(self) -> Iterator[tuple[str, Participation, Referral]]:
        """Participations whose referral is known, joined with it."""
        for id, participation in self.referral.participations.items():
            referral = self.referral.referrals.get(participation.referral_id)
            if referral is not None:
                yield id, participation, referral

    def told_by(self, provider: str) -> list[str]:
        """The participations in a provider's courses."""
        return [id for id, _, referral in self.courses() if referral.provider_organisation_id == provider]

    def started(self) -> set[str]:
        """The referrals under which somebody started."""
        return {p.referral_id for p in self.referral.participations.values()}

    def open_on(self, referral_id: str, day: date) -> bool:
        """Whether a referral could be answered or taken back on that day, as far as known now."""
        referral = self.referral.referrals[referral_id]
        asked = referral.state in (SENT, ACCEPTED) or referral.was_stopped
        return asked and referral_id not in self.started() and not self.over_on(referral, day)

    def may_start(self, referral_id: str) -> bool:
        """Whether somebody may take part, on days before the end: it has begun, or was accepted before there was no consent or no
        case any more. A yes from then on counts for nothing, whichever of both is heard first."""
        referral = self.referral.referrals[referral_id]
        yes_on = referral.first_yes_on or referral.accepted_on
        in_time = yes_on is None or not self.over_on(referral, yes_on)
        return (referral.was_accepted and in_time) or referral_id in self.started()

    def withdrawn_from_on(self, referral: Referral) -> date | None:
        """The day from which nothing rests on the consent any more under which somebody was referred."""
        consent = self.intake.consents.get(referral.consent_id)
        return consent.withdrawn_on if consent else None

    def no_consent_on(self, referral: Referral, day: date) -> bool:
        """Whether the consent had been withdrawn on that day, as far as known now."""
        withdrawn_on = self.withdrawn_from_on(referral)
        return withdrawn_on is not None and day >= withdrawn_on

    def closed_on(self, day: date) -> bool:
        """Whether the case had been closed on that day, as far as known now."""
        return self.intake.last_day_on is not None and day > self.intake.last_day_on

    def over_on(self, referral: Referral, day: date) -> bool:
        """Whether there was no consent or no case any more on that day, as far as known now."""
        return self.no_consent_on(referral, day) or self.closed_on(day)

    def owner_of(self, referral: Referral) -> str:
        """Who owns the next step: the case's owner; until intake's facts are here, who sent the referral."""
        return self.intake.owner_organisation_id or referral.owner_organisation_id


@dataclass(slots=True)
class Run:
    """One run of an offer."""

    id: str
    tenant: str
    provider_organisation_id: str | None = None
    block: str = ""
    offer_type: str = ""
    starts_on: date | None = None
    ends_before_on: date | None = None
    course_days: int | None = None
    shape: ClassVar[int] = 1


def evolve(state: Case | Run, fact: Fact, cause: str) -> None:
    """Folds a fact into a case or a run. Total: a fact is a fact, whatever came before it."""
    if isinstance(state, Run):
        if isinstance(fact, OfferRunPublished):
            state.provider_organisation_id = fact.provider_organisation_id
            state.block, state.offer_type = fact.block, fact.offer_type
            state.starts_on, state.ends_before_on = fact.starts_on, fact.ends_before_on
            state.course_days = fact.course_days
        return
    match fact:
        case AttendanceRecorded():
            _record(state.attendance.sheets, fact)
        case CaseOpened() | ConsentGranted() | ConsentRevoked() | CaseClosed():
            _evolve_intake(state.intake, fact)
        case (
            DropoutRiskRaised() | DropoutRiskContinued() | DropoutRiskWithdrawn() | DroppedOut() | DroppedOutWithdrawn()
        ):
            _evolve_dropout(state.dropout, fact)
        case _:
            _evolve_referral(state.referral, fact)


def _record(sheets: dict[str, Sheet], fact: AttendanceRecorded) -> None:
    said = Meeting(
        fact.meeting_on, fact.presence, fact.units_planned, fact.units_attended, fact.excuse_reason, fact.reported_at,
        fact.revision,
    )  # fmt: skip
    sheets[fact.participation_id] = meetings.noted(sheets.get(fact.participation_id, b""), fact.meeting_id, said)


def _evolve_intake(part: IntakePart, fact: Fact) -> None:
    match fact:
        case CaseOpened():
            part.owner_organisation_id = fact.owner_organisation_id
        case ConsentGranted():
            part.consents[fact.consent_id] = Consent(
                fact.purpose, list(fact.categories), list(fact.recipients), fact.valid_from_on, fact.last_valid_on
            )
        case ConsentRevoked() if fact.consent_id in part.consents:
            part.consents[fact.consent_id] = part.consents[fact.consent_id]._replace(withdrawn_on=fact.withdrawn_on)
        case CaseClosed():
            part.last_day_on = fact.last_day_on


def _evolve_referral(part: ReferralPart, fact: Fact) -> None:
    match fact:
        case ReferralSent():
            part.referrals[fact.referral_id] = Referral(
                fact.run_id, fact.consent_id, fact.owner_organisation_id, fact.provider_organisation_id, fact.block, fact.offer_type,
                fact.requested_on, list(fact.categories), fact.run_starts_on, fact.run_ends_before_on,
            )  # fmt: skip
        case ReferralAccepted() if fact.referral_id in part.referrals:
            part.referrals[fact.referral_id] = _accepted(part.referrals[fact.referral_id], fact)
        case ReferralDeclined():
            _change(part, fact.referral_id, state=DECLINED, reason=fact.reason, left_on=fact.answered_on)
        case ReferralStopped():
            _change(part, fact.referral_id, state=STOPPED, reason=fact.reason, left_on=fact.stopped_on)
        case ParticipationStarted():
            participation = part.participations.setdefault(fact.participation_id, Participation(fact.referral_id))
            start = Start(fact.started_on, fact.reported_at, fact.revision)
            if participation.start is None or rank_of(start) > rank_of(participation.start):
                participation.start = start
            referral = part.referrals.get(fact.referral_id)
            if referral is not None and referral.state == STOPPED:  # it was before it was stopped, and heard after
                _change(part, fact.referral_id, state=ACCEPTED, reason="", left_on=None)
        case ParticipationEnded() if fact.participation_id in part.participations:
            participation = part.participations[fact.participation_id]
            end = End(fact.ended_before_on, fact.kind, fact.reason, fact.reported_at, fact.revision)
            if participation.end is None or rank_of(end) > rank_of(participation.end):
                participation.end = end


def _accepted(referral: Referral, fact: ReferralAccepted) -> Referral:
    """Judged by the day of the answer, not by when it is heard: a yes older than the one that stands changes nothing. But one heard
    after the referral was stopped opens it again, so that it is stopped again: who reads the log alone would take the yes for the
    last word."""
    stands = referral.accepted_on
    first = min(fact.answered_on, referral.first_yes_on or stands or fact.answered_on)
    yeses = _one_more(referral, (fact.answered_on, fact.planned_start_on))
    if stands is None or fact.answered_on >= stands:
        referral = referral._replace(
            state=ACCEPTED, planned_start_on=fact.planned_start_on, left_on=None, accepted_on=fact.answered_on
        )
    elif referral.was_stopped:
        referral = referral._replace(state=ACCEPTED, left_on=None)
    return referral._replace(first_yes_on=first if first != referral.accepted_on else None, yeses=yeses)


def _one_more(referral: Referral, yes: tuple[date, date]) -> tuple[tuple[date, date], ...]:
    """The acceptances with one more (`Referral.yeses`). While there is only one it is not kept: `accepted_on` and `planned_start_on`
    say it. The same one again, with no other of its day between, counts once."""
    known = referral.yeses
    if not known and referral.accepted_on is not None and referral.planned_start_on is not None:
        known = ((referral.accepted_on, referral.planned_start_on),)
    place = sum(on <= yes[0] for on, _ in known)
    if known[max(place - 1, 0) : place] != (yes,):
        known = (*known[:place], yes, *known[place:])
    return known[-MOST_YESES:] if len(known) > 1 else ()


def _change(part: ReferralPart, referral_id: str, **changes: object) -> None:
    if referral_id in part.referrals:
        part.referrals[referral_id] = part.referrals[referral_id]._replace(**changes)  # type: ignore[arg-type]


def _evolve_dropout(part: DropoutPart, fact: Fact) -> None:
    match fact:
        case DropoutRiskRaised():
            part.open.append(Risk(fact.about, fact.rule, fact.first_on, max(fact.days_on)))
            key = f"{fact.rule}:{fact.about}"
            part.raised[key] = part.raised.get(key, 0) + 1
            part.over = raised(part.over, fact)
        case DropoutRiskWithdrawn():
            part.over = withdrawn(part.over, fact)
            part.open = [risk for risk in part.open if key_of(risk) != key_of(fact)]
        case DropoutRiskContinued():
            part.open = [
                risk._replace(last_on=fact.last_missed_on) if key_of(risk) == key_of(fact) else risk
                for risk in part.open
            ]
        case DroppedOut():
            part.dropped_out[fact.participation_id] = (fact.ended_before_on, fact.reason)
        case DroppedOutWithdrawn():
            part.dropped_out.pop(fact.participation_id, None)
