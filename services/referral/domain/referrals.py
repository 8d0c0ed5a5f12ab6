"""Decisions about runs, referrals and participations. Who may speak is asked before anything that tells about a person."""

from datetime import datetime, timedelta

from contracts.codes import ConsentPurpose, ReferralAnswer
from contracts.envelope import Again, Decision, Unchanged, day_of, of_another_kind, refused
from contracts.referral import (
    OfferRunPublished,
    OfferRunSubmitted,
    ParticipationEnded,
    ParticipationEndReported,
    ParticipationStarted,
    ParticipationStartReported,
    ReferralAccepted,
    ReferralAnswered,
    ReferralDeclined,
    ReferralRequested,
    ReferralSent,
    ReferralStopped,
    ReferralWithdrawn,
)
from services.referral.domain.state import (
    DECLINED,
    MOST,
    MOST_OF_ONE,
    STOPPED,
    Case,
    End,
    Participation,
    Run,
    Start,
    rank_of,
)


def publish_run(request: OfferRunSubmitted, run: Run, arrived: datetime) -> Decision:
    """A provider publishes its own run, once (domain C-03)."""
    if request.by.organisation_id != request.provider_organisation_id:
        return refused("NOT_YOURS", at="/provider_organisation_id")
    fact = OfferRunPublished(
        by=request.by, provider_organisation_id=request.provider_organisation_id, block=request.block,
        offer_type=request.offer_type, starts_on=request.starts_on, ends_before_on=request.ends_before_on, course_days=request.course_days,
    )  # fmt: skip
    if run.provider_organisation_id is not None:
        if run.provider_organisation_id != request.provider_organisation_id:
            return refused("NOT_YOURS")
        asked = (fact.block, fact.offer_type, fact.starts_on, fact.ends_before_on, fact.course_days)
        same = asked == (run.block, run.offer_type, run.starts_on, run.ends_before_on, run.course_days)
        return Unchanged() if same else refused("RUN_EXISTS")
    if request.ends_before_on < request.starts_on:
        return refused("ENDS_BEFORE_IT_STARTS", at="/ends_before_on")
    return fact


def refer(request: ReferralRequested, case: Case, run: Run, arrived: datetime) -> Decision:
    """Consent is a gate: purpose, recipient and every category, on the day of the request (domain 4.2, D-02)."""
    if request.by.organisation_id != case.intake.owner_organisation_id:
        return refused("NOT_YOURS")
    if run.provider_organisation_id is None or run.starts_on is None or run.ends_before_on is None:
        return of_another_kind("run_id")
    categories = sorted(request.categories)
    known = case.referral.referrals.get(request.referral_id)
    if known is not None:
        asked = (request.run_id, request.consent_id, request.requested_on, categories)
        same = asked == (known.run_id, known.consent_id, known.requested_on, known.categories)
        return Unchanged() if same else refused("REFERRAL_EXISTS", at="/referral_id")
    if request.requested_on > day_of(arrived):  # a consent that begins tomorrow allows nothing today
        return refused("FUTURE_DAY", at="/requested_on")
    if case.closed_on(request.requested_on):
        return refused("CASE_CLOSED", at="/requested_on")
    consent = case.intake.consents[request.consent_id]
    if not consent.covers(ConsentPurpose.REFERRAL, run.provider_organisation_id, categories, request.requested_on):
        return refused("NO_CONSENT", at="/consent_id", again=Again.MENDED)  # by another consent
    if len(case.referral.referrals) >= MOST:
        return refused("TOO_MANY_OF_A_CASE")
    return ReferralSent(
        by=request.by, referral_id=request.referral_id, run_id=request.run_id, consent_id=request.consent_id,
        categories=tuple(categories), requested_on=request.requested_on, owner_organisation_id=request.by.organisation_id,
        provider_organisation_id=run.provider_organisation_id, block=run.block, offer_type=run.offer_type,
        run_starts_on=run.starts_on, run_ends_before_on=run.ends_before_on,
    )  # fmt: skip


def withdraw(request: ReferralWithdrawn, case: Case, arrived: datetime) -> Decision:
    """The case's owner takes back what has not started, on a day that has come (domain D-01, D-04). What stopped a referral since
    does not undo what was done on a day before it, and is heard later; so it is with answers, and with starts."""
    referral = case.referral.referrals[request.referral_id]
    if request.by.organisation_id != case.owner_of(referral):
        return refused("NOT_YOURS")
    if (referral.state, referral.reason, referral.left_on) == (STOPPED, request.reason, request.withdrawn_on):
        return Unchanged()
    if not case.open_on(request.referral_id, request.withdrawn_on):
        return refused("NOT_OPEN", at="/referral_id")
    if request.withdrawn_on > day_of(arrived):
        return refused("FUTURE_DAY", at="/withdrawn_on")
    return ReferralStopped(
        by=request.by, referral_id=request.referral_id, reason=request.reason, stopped_on=request.withdrawn_on
    )


def answer(request: ReferralAnswered, case: Case, arrived: datetime) -> Decision:
    """The provider accepts or declines, a no with its reason; until somebody has started it may change its answer to no, or
    the planned start (domain D-01, D-04). The yes of the newest day stands; an older one is recorded and changes nothing. A yes
    that is heard after its referral was stopped is stopped in its turn, and lets a start on a day before that be told. In a
    course that goes on already nobody is expected before the day of the yes, and on no day without a course: a mistyped year would
    worry an office at once, or never."""
    referral = case.referral.referrals[request.referral_id]
    if request.by.organisation_id != referral.provider_organisation_id:
        return refused("NOT_YOURS")
    accepts = request.answer is ReferralAnswer.ACCEPTED
    if accepts and request.reason is not None:
        return refused("CONTRADICTION", at="/reason")
    if not accepts and request.planned_start_on is not None:
        return refused("CONTRADICTION", at="/planned_start_on")
    if request.answered_on > day_of(arrived):
        return refused("FUTURE_DAY", at="/answered_on")
    if accepts:
        first = max(referral.run_starts_on, request.answered_on)
        planned = request.planned_start_on or first
        stands = (referral.planned_start_on, referral.accepted_on)
        if referral.was_accepted and stands == (planned, request.answered_on):
            return Unchanged()
        if not case.open_on(request.referral_id, request.answered_on):
            return refused("NOT_OPEN", at="/referral_id")
        if request.planned_start_on is not None and not first <= planned < referral.run_ends_before_on:
            return refused("PLANNED_OUTSIDE_RUN", at="/planned_start_on")
        return ReferralAccepted(
            by=request.by, referral_id=request.referral_id, planned_start_on=planned, answered_on=request.answered_on
        )
    if request.reason is None:
        return refused("DECLINE_NEEDS_REASON", at="/reason")
    if (referral.state, referral.reason, referral.left_on) == (DECLINED, request.reason, request.answered_on):
        return Unchanged()
    if not case.open_on(request.referral_id, request.answered_on):
        return refused("NOT_OPEN", at="/referral_id")
    return ReferralDeclined(
        by=request.by, referral_id=request.referral_id, reason=request.reason, answered_on=request.answered_on
    )


def start(report: ParticipationStartReported, case: Case, arrived: datetime) -> Decision:
    """The provider reports a start, late and corrected ones too: the highest (reported_at, revision) stands (domain D-01, 8.3;
    house 8.6). What stopped a referral since it was accepted (a consent withdrawn, the case closed) does not undo a start on a
    day before it, heard later."""
    referral = case.referral.referrals[report.referral_id]
    if report.by.organisation_id != referral.provider_organisation_id:
        return refused("NOT_YOURS")
    participation = case.referral.participations.get(report.participation_id) or Participation(report.referral_id)
    if participation.referral_id != report.referral_id:
        return refused("NOT_OF_THIS_REFERRAL", at="/referral_id")
    said, stands = Start(report.started_on, report.reported_at, report.revision), participation.start
    if stands is not None and rank_of(said) == rank_of(stands):
        return Unchanged() if said == stands else refused("REVISION_REUSED", at="/revision")
    if not case.may_start(report.referral_id):
        return refused("NOT_ACCEPTED", at="/referral_id")
    if said.on > day_of(arrived):
        return refused("FUTURE_DAY", at="/started_on")
    if case.no_consent_on(referral, said.on):
        return refused("NO_CONSENT", at="/started_on")
    if case.closed_on(said.on):
        return refused("CASE_CLOSED", at="/started_on")
    wins = stands is None or rank_of(said) > rank_of(stands)
    if wins and participation.ended_before_on is not None and said.on > participation.ended_before_on:
        return refused("START_AFTER_END", at="/started_on", again=Again.LATER)  # it may be the end that is mended
    mine = case.told_by(referral.provider_organisation_id) if stands is None else []
    if stands is None and (len(mine) >= MOST_OF_ONE or len(case.referral.participations) >= MOST):
        return refused("TOO_MANY_OF_A_CASE")
    return ParticipationStarted(
        by=report.by, participation_id=report.participation_id, referral_id=report.referral_id, run_id=referral.run_id,
        block=referral.block, started_on=said.on, revision=report.revision, reported_at=report.reported_at,
    )  # fmt: skip


def end(report: ParticipationEndReported, case: Case, arrived: datetime) -> Decision:
    """The provider reports an end, how and why, late and corrected ones too: the highest (reported_at, revision) stands
    (domain G-01, D-04, 8.3; house 8.6). The day is the first after it (domain 7.2)."""
    participation = case.referral.participations[report.participation_id]
    if report.by.organisation_id != case.referral.referrals[participation.referral_id].provider_organisation_id:
        return refused("NOT_YOURS")
    said = End(report.ended_before_on, report.kind, report.reason, report.reported_at, report.revision)
    stands = participation.end
    if stands is not None and rank_of(said) == rank_of(stands):
        return Unchanged() if said == stands else refused("REVISION_REUSED", at="/revision")
    if said.before_on > day_of(arrived) + timedelta(days=1):  # today may have been the last day
        return refused("FUTURE_DAY", at="/ended_before_on")
    wins = stands is None or rank_of(said) > rank_of(stands)
    if wins and participation.start is not None and said.before_on < participation.start.on:
        return refused("END_BEFORE_START", at="/ended_before_on", again=Again.LATER)  # or the start
    return ParticipationEnded(
        by=report.by, participation_id=report.participation_id, ended_before_on=said.before_on, kind=said.kind,
        reason=said.reason, revision=report.revision, reported_at=report.reported_at,
    )  # fmt: skip
