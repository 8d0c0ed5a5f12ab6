"""Worries: what holds and is not raised is raised, what is raised and no longer holds is withdrawn. None acts by itself.

react compares what is with what should be, never what came: it can run again at any time and then says nothing.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from contracts.codes import EndKind, Presence, RiskEnd, Rule, StopReason
from contracts.dropout import (
    FRESH,
    REMEMBERED,
    DropoutRiskContinued,
    DropoutRiskRaised,
    DropoutRiskWithdrawn,
    DroppedOut,
    DroppedOutWithdrawn,
)
from contracts.envelope import ALLIANCE_ZONE, LOTSE_ID, By, Fact, day_of
from contracts.referral import ReferralStopped
from services.referral.domain import meetings
from services.referral.domain.over import Over, Risk, key_of
from services.referral.domain.state import ACCEPTED, SENT, Case, Participation, Referral, Run

LOTSE = By(organisation_id=LOTSE_ID, kind="rule")
NO_SHOW_DAYS = 7  # S6, domain 8.3
S6_VERSION = 1
SAID_AGAIN = timedelta(days=7)
"""What was said of a risk is said anew once it is older than this: well before it is too old for anybody to be told (FRESH), since
the next tick, at which somebody is, may be a day away."""
MOST_DAYS = 30
"""Days that a risk names at most."""
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
    """Somebody attended after it, and before the end."""
    after_on: date
    """The newest day before it on which somebody attended; of none the first there is."""

    def goes_on_from(self, day: date) -> bool:
        """Whether it is what absences since that day became: nobody attended between both."""
        return self.after_on <= day <= self.days[-1]


def threshold_on(day: date, offer_type: str) -> tuple[int, int]:
    """(days, rule version) of the version that holds on the judged day."""
    version = next(v for v in reversed(S2_THRESHOLDS) if v.valid_from_on <= day)
    return version.by_offer_type.get(offer_type, version.otherwise), version.version


def absences(
    case: Case, id: str, participation: Participation, referral: Referral, *, also_after_the_end: bool = False
) -> list[Absences]:
    """Runs of absences within the interval as known now, oldest first. Several meetings on one day are one course day:
    attended if any was, else unexcused if any was. No absence counts from the day on from which there was no consent or no
    case any more: what was recorded before that was known can no longer be corrected. `also_after_the_end`: as if neither that nor
    the end were known."""
    sheet = case.attendance.sheets.get(id, b"")
    letters = meetings.presences(sheet).translate(LATE_IS_THERE)
    started_on = participation.start.on if participation.start else date.max
    ended = _case_or_consent_ended(case, referral)
    runs: list[list[date]] = []
    afters: list[date] = []
    lasts: list[int] = []  # the place of the last of each
    came = last = seen = -1  # places: when somebody came last, of the last absence that counts, and of the last at all
    at = letters.find(UNEXCUSED)
    while at >= 0:
        day, came = meetings.day_at(sheet, at), max(came, letters.rfind(THERE, seen + 1, at))
        if also_after_the_end:
            counts = started_on <= day
        else:
            counts = not (ended and case.over_on(referral, day)) and participation.running_on(day)
        if counts and not (came > last and meetings.day_at(sheet, came) == day):  # else somebody came on that day
            if came > last or not runs:
                runs.append([day])
                afters.append(meetings.day_at(sheet, came) if came >= 0 else date.min)
                lasts.append(at)
            elif day != runs[-1][-1]:
                runs[-1].append(day)
            lasts[-1] = last = at
        seen, at = at, letters.find(UNEXCUSED, at + 1)
    end = participation.ended_before_on
    next_ = [letters.find(THERE, last + 1) for last in lasts]
    broken = [came >= 0 and (end is None or meetings.day_at(sheet, came) < end) for came in next_]
    return [Absences(*run) for run in zip(runs, broken, afters, strict=True)]


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
        return on if any(key_of(risk) == raised for risk in case.dropout.open) else None
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
    """S2 holds while the present run of absences is long enough and the participation has not ended (domain 8.3, F-01, F-02). What is
    open and no longer holds is withdrawn, what goes on is said anew where that is due, and so is why something is over where there is
    another reason by now."""
    raised: dict[str, list[Risk]] = {}
    for risk in case.dropout.open:
        if risk.rule == Rule.S2:
            raised.setdefault(risk.about, []).append(risk)
    remembered = _remembered(case, Rule.S2, ticked)
    for id, participation, referral in case.courses():
        open_, over = raised.get(id, []), [one for one in remembered if one.about == id]
        runs = absences(case, id, participation, referral)
        if not runs and not open_ and not over:
            continue
        present = _present(case, runs, participation, referral)
        holds_on = s2_holds_on(present, referral.offer_type) if present else None
        present = present if holds_on else None
        held, last_on = (present.days[0], present.days[-1]) if present else (None, None)
        owner = case.owner_of(referral)
        withdrawn = [_withdrawing(case, risk, ticked) for risk in open_ if risk.first_on != held]
        for risk in open_:
            if last_on is None or risk.first_on != held:
                continue
            if _is_corrected(risk, last_on) or _goes_on(risk, last_on, day_of(ticked)):
                yield _continued(case.id, risk, last_on, owner, ticked)
        if withdrawn or over:
            is_over = _is_over(case, participation, referral)
            known = absences(case, id, participation, referral, also_after_the_end=True) if is_over else runs
            stand = {run.days[0]: run for run in known if s2_holds_on(run, referral.offer_type)}
            open_on = {risk.first_on for risk in open_} | {held}
            for one in [*withdrawn, *(one for one in over if one.first_on not in open_on)]:
                why = _why_s2(one, one.told(ticked), stand, is_over)
                if why != one.reason:
                    yield _withdrawn(case.id, one, why, owner, ticked)
        if present is not None and holds_on is not None and held not in {risk.first_on for risk in open_}:
            yield DropoutRiskRaised(
                by=LOTSE, case_id=case.id, about=id, rule=Rule.S2, rule_version=threshold_on(holds_on, referral.offer_type)[1],
                first_on=present.days[0], days_on=_said(present.days), owner_organisation_id=owner, as_of=ticked,
            )  # fmt: skip


def _present(case: Case, runs: list[Absences], participation: Participation, referral: Referral) -> Absences | None:
    """The run of absences after which nobody came, while somebody could."""
    return runs[-1] if runs and not runs[-1].broken and not _is_over(case, participation, referral) else None


def _is_over(case: Case, participation: Participation, referral: Referral) -> bool:
    """Whether nobody can be heard to come again: the participation has ended, the case is closed, or the consent was withdrawn. A
    worry that nobody could dispel would stay open for ever."""
    return _case_or_consent_ended(case, referral) or participation.ended_before_on is not None


def _case_or_consent_ended(case: Case, referral: Referral) -> bool:
    """Whether the case was closed or the consent withdrawn: from a day on nothing is heard any more."""
    return case.intake.last_day_on is not None or case.withdrawn_from_on(referral) is not None


def _said(days: list[date]) -> tuple[date, ...]:
    """The first day and the newest: all 2,000 of somebody's made facts of 26 KB, one at each correction of the first."""
    return (*days[:1], *days[1:][1 - MOST_DAYS :])


def _goes_on(risk: Risk, last_on: date, today: date) -> bool:
    """Whether what was said of a risk has grown old while it goes on. The rule of notice (nobody is told of evidence older than
    a fortnight at the tick) sees only what is said: of a month handed in at once, the oldest days."""
    return risk.last_on < today - SAID_AGAIN and risk.last_on < last_on and last_on >= today - FRESH


def _is_corrected(risk: Risk, last_on: date) -> bool:
    """Whether the newest day that was said of a risk no longer causes it: it would be taken for news, and be none."""
    return risk.last_on > last_on


def _said_again_on(case: Case) -> Iterator[date]:
    """Days on which what was said of an open risk grows old though no report comes, if `_goes_on` still says so then."""
    said_on = {(risk.rule, risk.about): risk.last_on for risk in case.dropout.open}
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


def _remembered(case: Case, rule: str, ticked: datetime) -> list[Over]:
    """What is over by a rule, so lately that another reason would still be said."""
    oldest = ticked - REMEMBERED
    return [one for one in case.dropout.over if one.rule == rule and one.as_of >= oldest]


def _why_s2(one: Over, before: str | None, stand: dict[date, Absences], is_over: bool) -> RiskEnd:
    """Why a risk by S2 is over:

    - CORRECTED where no absences go on from the day that was said, or they go on since another day;
    - ENDED with the participation, the consent or the case, for whatever reason that was closed;
    - else ATTENDED; and so it stays where that was said before the end, and stands.

    What was said to be CORRECTED was told with its other first day, or not at all: only by its own first day does it become anything
    else. Which of its days were said counts for nothing: that depends on the order in which they came. `before`: what may have been
    told. `stand`: runs in which S2 holds, by first day, oldest first, as if no end were known."""
    mine = stand.get(one.first_on)
    if mine is None and before != RiskEnd.CORRECTED:
        mine = next((run for run in stand.values() if run.goes_on_from(one.first_on)), None)
    if mine is None:
        return RiskEnd.CORRECTED
    if is_over and not (before == RiskEnd.ATTENDED and mine.broken):
        return RiskEnd.ENDED
    return RiskEnd.ATTENDED if mine.broken else RiskEnd.CORRECTED


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
    withdrawn = [_withdrawing(case, risk, ticked) for risk in open_.values() if holds.get(risk.about) != risk.first_on]
    over = [one for one in _remembered(case, Rule.S6, ticked) if holds.get(one.about) != one.first_on]
    for one in [*withdrawn, *(one for one in over if (one.about, one.first_on) not in open_)]:
        referral = case.referral.referrals.get(one.about)
        if referral is not None and (why := _why_s6(case, one, one.told(ticked), referral)) != one.reason:
            yield _withdrawn(case.id, one, why, case.owner_of(referral), ticked)
    for id, day in holds.items():
        owner, last_on = case.owner_of(case.referral.referrals[id]), min(day_of(ticked), _last_day_on(case, id))
        if (id, day) not in open_:
            yield DropoutRiskRaised(
                by=LOTSE, case_id=case.id, about=id, rule=Rule.S6, rule_version=S6_VERSION, first_on=day, days_on=(day,),
                owner_organisation_id=owner, as_of=ticked,
            )  # fmt: skip
        risk = open_.get((id, day), Risk(id, Rule.S6, day, day))
        if _goes_on(risk, last_on, day_of(ticked)):
            yield _continued(case.id, risk, last_on, owner, ticked)


def _why_s6(case: Case, one: Over, before: str | None, referral: Referral) -> RiskEnd:
    """Why a risk by S6 is over:

    - CORRECTED where nobody had to be missed: somebody was there in time, another day had been agreed, or the referral was entered
      in error;
    - ENDED with the referral, or with the participations of all, who may have been there on no day;
    - ATTENDED where somebody started late;
    - REPLANNED where another start was agreed once nobody had come.

    What was said of the last two (`before`) stays so when a participation ends. Where the referral ends REPLANNED does not stay:
    its mail promises to write again of the other start, and nobody will."""
    holds_on = s6_holds_from_on(one.first_on)
    people = [person for person in case.referral.participations.values() if person.referral_id == one.about]
    came = [person.start.on for person in people if person.start and person.start.on != person.ended_before_on]
    replanned = referral.planned_start_on != one.first_on
    in_time = bool(came) and min(came) < holds_on
    moved_on = referral.moved_on(one.first_on)
    planned_before = replanned and (moved_on is None or moved_on < holds_on)
    if in_time or planned_before or (referral.state != ACCEPTED and referral.reason == StopReason.ENTERED_IN_ERROR):
        return RiskEnd.CORRECTED
    if before == RiskEnd.ATTENDED and came:
        return RiskEnd.ATTENDED
    if before == RiskEnd.REPLANNED and replanned and referral.state == ACCEPTED:
        return RiskEnd.REPLANNED
    if referral.state != ACCEPTED or (people and all(person.ended_before_on for person in people)):
        return RiskEnd.ENDED
    return RiskEnd.ATTENDED if came else RiskEnd.REPLANNED


def _last_day_on(case: Case, referral_id: str) -> date:
    """The last day of the referral's run: after it nobody is expected."""
    return case.referral.referrals[referral_id].run_ends_before_on - timedelta(days=1)


def _continued(case_id: str, risk: Risk, last_on: date, owner: str, ticked: datetime) -> DropoutRiskContinued:
    return DropoutRiskContinued(
        by=LOTSE, case_id=case_id, about=risk.about, rule=risk.rule, first_on=risk.first_on, last_missed_on=last_on,
        owner_organisation_id=owner, as_of=ticked,
    )  # fmt: skip


def _withdrawing(case: Case, risk: Risk, ticked: datetime) -> Over:
    """The risk as it will be remembered, its reason still to be found."""
    known = next((one for one in _remembered(case, risk.rule, ticked) if key_of(one) == key_of(risk)), None)
    return Over(*key_of(risk), "", ticked, known.told(ticked) if known else None)


def _withdrawn(case_id: str, one: Over, reason: RiskEnd, owner: str, ticked: datetime) -> DropoutRiskWithdrawn:
    return DropoutRiskWithdrawn(
        by=LOTSE, case_id=case_id, about=one.about, rule=one.rule, first_on=one.first_on, reason=reason,
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
