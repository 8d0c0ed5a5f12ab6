"""Worries: what holds and is not raised is raised, what is raised and no longer holds is withdrawn. None acts by itself.

react compares what is with what should be, never what came: it can run again at any time and then says nothing.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from contracts.codes import EndKind, Presence, RiskEnd, Rule, StopReason
from contracts.dropout import (
    FRESH,
    DropoutRiskContinued,
    DropoutRiskRaised,
    DropoutRiskWithdrawn,
    DroppedOut,
    DroppedOutWithdrawn,
)
from contracts.envelope import ALLIANCE_ZONE, LOTSE_ID, By, Fact, day_of
from contracts.referral import ReferralStopped
from services.referral.domain import meetings
from services.referral.domain.state import ACCEPTED, SENT, Case, Participation, Referral, Risk, Run

LOTSE = By(organisation_id=LOTSE_ID, kind="rule")
NO_SHOW_DAYS = 7  # S6, domain 8.3
S6_VERSION = 1
SAID_AGAIN = timedelta(days=7)
"""What was said of a risk is said anew well before nobody would be told of it any more: the next tick, at which somebody is, may
be a day away."""
MOST_DAYS = 30
"""That a risk says of its days."""
UNEXCUSED, THERE, LATE = (
    meetings.PRESENCES[presence] for presence in (Presence.UNEXCUSED, Presence.PRESENT, Presence.LATE)
)
LATE_IS_THERE = bytes.maketrans(bytes([LATE]), bytes([THERE]))


class Thresholds(NamedTuple):
    """S2: so many consecutive unexcused course days, by offer type; a version holds from a judged day on."""

    version: int
    valid_from_on: date
    by_offer_type: dict[str, int]
    otherwise: int = 2


S2_THRESHOLDS = (Thresholds(1, date.min, {}),)
"""Oldest first (domain 8.3: at least 2, an estimate until evaluated; per offer type, versioned)."""


class Absences(NamedTuple):
    """A run of consecutive unexcused course days; excused and not recorded days neither count nor break it."""

    days: list[date]
    broken: bool
    """Somebody attended after it."""


def threshold_on(day: date, offer_type: str) -> tuple[int, int]:
    """(days, rule version) of the version that holds on the judged day."""
    version = next(v for v in reversed(S2_THRESHOLDS) if v.valid_from_on <= day)
    return version.by_offer_type.get(offer_type, version.otherwise), version.version


def absences(case: Case, id: str, participation: Participation, referral: Referral) -> list[Absences]:
    """Runs of absences within the interval as known now, oldest first. Several meetings on one day are one course day:
    attended if any was, else unexcused if any was. No absence counts from the day on from which there was no consent or no
    case any more: what was recorded before that was known can no longer be corrected."""
    sheet = case.attendance.sheets.get(id, b"")
    letters = meetings.presences(sheet).translate(LATE_IS_THERE)
    left = _left(case, referral)
    runs: list[list[date]] = []
    came = last = seen = -1  # places: when somebody came last, of the last absence that counts, and of the last at all
    at = letters.find(UNEXCUSED)
    while at >= 0:
        day, came = meetings.day_at(sheet, at), max(came, letters.rfind(THERE, seen + 1, at))
        attended = came > last and meetings.day_at(sheet, came) == day
        if not attended and not (left and case.over_on(referral, day)) and participation.running_on(day):
            if came > last or not runs:
                runs.append([day])
            elif day != runs[-1][-1]:
                runs[-1].append(day)
            last = at
        seen, at = at, letters.find(UNEXCUSED, at + 1)
    came, end = letters.find(THERE, last + 1), participation.ended_before_on
    broken = came >= 0 and (end is None or meetings.day_at(sheet, came) < end)
    return [Absences(days, broken=broken or days is not runs[-1]) for days in runs]


def s2_holds_on(run: Absences, offer_type: str) -> date | None:
    """The first course day on which S2 holds in a run, by the version of that day: a stricter one that holds later does not
    undo what was true."""
    return next((day for count, day in enumerate(run.days, 1) if count >= threshold_on(day, offer_type)[0]), None)


def s2_holds_from_on(runs: list[Absences], offer_type: str) -> date | None:
    """The first course day on which S2 holds in the days as known now, whether or not it was raised on the way."""
    return next((day for run in runs if (day := s2_holds_on(run, offer_type)) is not None), None)


def s6_holds_from_on(planned_start_on: date) -> date:
    """The first day on which S6 holds where nobody has started."""
    return planned_start_on + timedelta(days=NO_SHOW_DAYS)


def s6_held_from_on(case: Case, id: str, referral: Referral) -> date | None:
    """The first day on which S6 holds in the days as known now, whether or not it was raised on the way. None where somebody
    had started on a day before it, or nobody was expected any more: declined, taken back, without a consent or a case; and where
    that day has not come, as the open risk tells."""
    if referral.planned_start_on is None:
        return None
    on = s6_holds_from_on(referral.planned_start_on)
    started = [p.start.on for p in case.referral.participations.values() if p.referral_id == id and p.start is not None]
    if referral.state == ACCEPTED and not started:
        raised = (id, Rule.S6, referral.planned_start_on)
        return on if any(risk[:3] == raised for risk in case.dropout.open) else None
    left = referral.left_on is not None and referral.left_on < on
    if left or case.over_on(referral, on) or min(started, default=on) < on:
        return None
    return on


def react(case: Case | Run, ticked: datetime) -> list[Fact]:
    """What is missing: referrals to stop, risks to raise or withdraw, drop-outs to record or take back. Asked again until it
    is silent; so what stops is said alone: nobody worries about the start of what is stopped in the same breath (domain F-01,
    F-02, 8.3)."""
    if isinstance(case, Run):
        return []
    return [*_stops(case)] or [*_s2(case, ticked), *_s6(case, ticked), *_dropped_out(case)]


def due(case: Case | Run, ticked: datetime) -> datetime | None:
    """The next moment at which time alone changes what react says: the day on which a no-show becomes one, or on which what was
    said of it or of absences has grown old."""
    if isinstance(case, Run):
        return None
    raised = {risk.about for risk in case.dropout.open if risk.rule == Rule.S6}
    days = [s6_holds_from_on(day) for id, day in _unstarted(case) if id not in raised]
    days += [day for day in _said_again_on(case) if day > day_of(ticked)]
    if not days:
        return None
    return datetime.combine(min(days), time.min, ALLIANCE_ZONE)


def _stops(case: Case) -> Iterator[Fact]:
    """What was sent or accepted under a consent now withdrawn is stopped, and so is all that is open in a closed case (domain
    4.2, D-02, J-02). What has started is not ended by it."""
    started = case.started()
    for id, referral in case.referral.referrals.items():
        withdrawn_on = case.withdrawn_from_on(referral)
        on = withdrawn_on or case.intake.last_day_on
        if on is not None and referral.state in (SENT, ACCEPTED) and id not in started:
            why = StopReason.CONSENT_WITHDRAWN if withdrawn_on else StopReason.CASE_CLOSED
            yield ReferralStopped(by=LOTSE, referral_id=id, reason=why, stopped_on=on)


def _s2(case: Case, ticked: datetime) -> Iterator[Fact]:
    """S2: the present run of absences is long enough, and the participation has not ended (domain 8.3, F-01, F-02)."""
    raised: dict[str, list[Risk]] = {}
    for risk in case.dropout.open:
        if risk.rule == Rule.S2:
            raised.setdefault(risk.about, []).append(risk)
    for id, participation, referral in case.courses():
        open_ = raised.get(id, [])
        runs = absences(case, id, participation, referral)
        if not runs and not open_:
            continue
        present = _present(case, runs, participation, referral)
        holds_on = s2_holds_on(present, referral.offer_type) if present else None
        present = present if holds_on else None
        held = present.days[0] if present else None
        owner = case.owner_of(referral)
        for risk in open_:
            if risk.first_on != held:
                yield _withdrawn(case.id, risk, _why_s2(case, risk, participation, referral, runs), owner, ticked)
            elif present is not None and (
                _is_corrected(risk, present.days[-1]) or _goes_on(risk, present.days[-1], day_of(ticked))
            ):
                yield _continued(case.id, risk, present.days[-1], owner, ticked)
        if present is not None and holds_on is not None and held not in {risk.first_on for risk in open_}:
            yield DropoutRiskRaised(
                by=LOTSE, case_id=case.id, about=id, rule=Rule.S2, rule_version=threshold_on(holds_on, referral.offer_type)[1],
                first_on=present.days[0], days_on=_said(present.days), owner_organisation_id=owner, as_of=ticked,
            )  # fmt: skip


def _present(case: Case, runs: list[Absences], participation: Participation, referral: Referral) -> Absences | None:
    """The run of absences after which nobody came, while somebody could."""
    return runs[-1] if runs and not runs[-1].broken and not _over(case, participation, referral) else None


def _over(case: Case, participation: Participation, referral: Referral) -> bool:
    """Whether nothing that comes is heard of any more: the participation has ended, the case is closed, or the consent was
    withdrawn. A worry that nobody could ever dispel would be open for ever."""
    return _left(case, referral) or participation.ended_before_on is not None


def _left(case: Case, referral: Referral) -> bool:
    """Whether the case was closed or the consent withdrawn: from a day on nothing is heard any more."""
    return case.intake.last_day_on is not None or case.withdrawn_from_on(referral) is not None


def _said(days: list[date]) -> tuple[date, ...]:
    """The first day and the newest: all 2,000 of somebody's made facts of 26 KB, one at each correction of the first."""
    return (*days[:1], *days[1:][1 - MOST_DAYS :])


def _goes_on(risk: Risk, last_on: date, today: date) -> bool:
    """Whether what was said of a risk has grown old while it goes on. The rule of notice (nobody is told of evidence older than
    a fortnight at the tick) sees only what is said: of a month handed in at once, the oldest days."""
    said_on = risk.last_on or risk.first_on
    return said_on < today - SAID_AGAIN and said_on < last_on and last_on >= today - FRESH


def _is_corrected(risk: Risk, last_on: date) -> bool:
    """Whether the newest day that was said of a risk no longer causes it: it would be taken for news, and be none."""
    return (risk.last_on or risk.first_on) > last_on


def _said_again_on(case: Case) -> Iterator[date]:
    """Days on which what was said of open risks grows old, if `_goes_on` still says so then: no report need come for that."""
    said_on = {(risk.rule, risk.about): risk.last_on or risk.first_on for risk in case.dropout.open}
    lasts = [((Rule.S6, id), _last_day_on(case, id)) for id, _ in _unstarted(case)] if said_on else []
    for id, participation, referral in case.courses() if said_on else ():
        runs = absences(case, id, participation, referral) if (Rule.S2, id) in said_on else []
        present = _present(case, runs, participation, referral)
        if present is not None:
            lasts.append(((Rule.S2, id), present.days[-1]))
    for risk, last_on in lasts:
        if risk in said_on and said_on[risk] < last_on:
            day = said_on[risk] + SAID_AGAIN + timedelta(days=1)
            if day <= last_on + FRESH:
                yield day


def _why_s2(case: Case, risk: Risk, participation: Participation, referral: Referral, runs: list[Absences]) -> RiskEnd:
    """ENDED with its participation, its consent or its case, why ever that was closed; ATTENDED where the absences stand and somebody came after; else
    CORRECTED."""
    if _over(case, participation, referral):
        return RiskEnd.ENDED
    stands = any(run.days[0] == risk.first_on and run.broken and s2_holds_on(run, referral.offer_type) for run in runs)
    return RiskEnd.ATTENDED if stands else RiskEnd.CORRECTED


def _unstarted(case: Case) -> Iterator[tuple[str, date]]:
    """Referrals accepted and not started, with their planned start."""
    started = case.started()
    for id, referral in case.referral.referrals.items():
        if referral.state == ACCEPTED and referral.planned_start_on is not None and id not in started:
            yield id, referral.planned_start_on


def _s6(case: Case, ticked: datetime) -> Iterator[Fact]:
    """S6: accepted, the planned start seven days ago by the tick, and no start (domain 8.3, D-05). It goes on with each day of the
    run: who hears of it a month late would else be told of nothing but history."""
    holds = {id: day for id, day in _unstarted(case) if s6_holds_from_on(day) <= day_of(ticked)}
    open_ = {(risk.about, risk.first_on): risk for risk in case.dropout.open if risk.rule == Rule.S6}
    for risk in open_.values():
        referral = case.referral.referrals.get(risk.about)
        if referral is not None and holds.get(risk.about) != risk.first_on:
            yield _withdrawn(case.id, risk, _why_s6(case, risk, referral), case.owner_of(referral), ticked)
    for id, day in holds.items():
        owner, last_on = case.owner_of(case.referral.referrals[id]), min(day_of(ticked), _last_day_on(case, id))
        if (id, day) not in open_:
            yield DropoutRiskRaised(
                by=LOTSE, case_id=case.id, about=id, rule=Rule.S6, rule_version=S6_VERSION, first_on=day, days_on=(day,),
                owner_organisation_id=owner, as_of=ticked,
            )  # fmt: skip
        risk = open_.get((id, day), Risk(id, Rule.S6, day))
        if _goes_on(risk, last_on, day_of(ticked)):
            yield _continued(case.id, risk, last_on, owner, ticked)


def _why_s6(case: Case, risk: Risk, referral: Referral) -> RiskEnd:
    """ENDED with its referral, unless that was entered in error and there is no next step of it, and where whoever started took
    part on no day; ATTENDED where somebody started late; REPLANNED where another start was agreed on a day on which the person was
    missing already; else, as where somebody was there in time and that was heard late, CORRECTED."""
    if referral.state != ACCEPTED:
        return RiskEnd.CORRECTED if referral.reason == StopReason.ENTERED_IN_ERROR else RiskEnd.ENDED
    begun = [
        one for one in case.referral.participations.values() if one.referral_id == risk.about and one.start is not None
    ]
    came = [one.start.on for one in begun if one.start is not None and one.start.on != one.ended_before_on]
    if begun and not came:
        return RiskEnd.ENDED
    holds_on = s6_holds_from_on(risk.first_on)
    if came:
        return RiskEnd.ATTENDED if min(came) >= holds_on else RiskEnd.CORRECTED
    return RiskEnd.REPLANNED if referral.accepted_on and referral.accepted_on >= holds_on else RiskEnd.CORRECTED


def _last_day_on(case: Case, referral_id: str) -> date:
    """The last day of a run: on none after it is anybody expected."""
    return case.referral.referrals[referral_id].run_ends_before_on - timedelta(days=1)


def _continued(case_id: str, risk: Risk, last_on: date, owner: str, ticked: datetime) -> DropoutRiskContinued:
    return DropoutRiskContinued(
        by=LOTSE, case_id=case_id, about=risk.about, rule=risk.rule, first_on=risk.first_on, last_missed_on=last_on,
        owner_organisation_id=owner, as_of=ticked,
    )  # fmt: skip


def _withdrawn(case_id: str, risk: Risk, reason: RiskEnd, owner: str, ticked: datetime) -> DropoutRiskWithdrawn:
    return DropoutRiskWithdrawn(
        by=LOTSE, case_id=case_id, about=risk.about, rule=risk.rule, first_on=risk.first_on, reason=reason,
        owner_organisation_id=owner, as_of=ticked,
    )  # fmt: skip


def _dropped_out(case: Case) -> Iterator[Fact]:
    """DroppedOut follows a reported end and nothing else, and is withdrawn when that is corrected (Art. 22 GDPR; domain F-08)."""
    for id, participation, referral in case.courses():
        end = participation.end
        is_ = (end.before_on, end.reason) if end is not None and end.kind == EndKind.DROPPED_OUT else None
        was = case.dropout.dropped_out.get(id)
        if was is not None and is_ != was:
            yield DroppedOutWithdrawn(by=LOTSE, participation_id=id, owner_organisation_id=case.owner_of(referral))
        if is_ is not None and is_ != was:
            yield DroppedOut(
                by=LOTSE,
                participation_id=id,
                ended_before_on=is_[0],
                reason=is_[1],
                owner_organisation_id=case.owner_of(referral),
            )
