"""Referral: offer runs are published, people are referred to them, take part and leave."""

from typing import Annotated, ClassVar

from pydantic import Field

from .codes import Block, DataCategory, DeclineReason, EndKind, EndReason, OfferType, ReferralAnswer, WithdrawalReason
from .envelope import (
    Code,
    Day,
    Fact,
    Id,
    JsonNumber,
    Listed,
    Moment,
    NullIsLeftOut,
    OrganisationId,
    Privacy,
    Revision,
    Submission,
    Unit,
)

FAMILY = "referral"

REASONS: dict[str, str] = {
    "RUN_EXISTS": "This run was published with other particulars; a run is published once.",
    "ENDS_BEFORE_IT_STARTS": "ends_before_on lies before starts_on.",
    "REFERRAL_EXISTS": "This referral id stands for another referral.",
    "NO_CONSENT": "No consent for this purpose, recipient and every category is valid on that day, or it was withdrawn since. A"
    " request may name another consent (then `mended`).",
    "CASE_CLOSED": "The case is closed; only what concerns days up to its last one is taken, and of what began that it has ended.",
    "NOT_OPEN": "The referral is not open for this: it was answered otherwise, stopped, or has started.",
    "DECLINE_NEEDS_REASON": "A refusal says why.",
    "CONTRADICTION": "This field does not go with `answer`; leave it out.",
    "NOT_ACCEPTED": "Nobody takes part in a referral that is not accepted.",
    "TOO_MANY_OF_A_CASE": "A case has at most 200 referrals and 200 participations, 50 in one provider's courses. A"
    " participation that is told again keeps its id.",
    "NOT_OF_THIS_REFERRAL": "The participation belongs to another referral.",
    "PLANNED_OUTSIDE_RUN": "Somebody is expected on a day of the run, and on none before answered_on. A planned start that is corrected"
    " keeps the day of its answer; of a run with wrong days another is published.",
    "END_BEFORE_START": "The end lies before the start that stands. Where both have moved, send the corrected start first, then this"
    " again (so it says `later`).",
    "START_AFTER_END": "The start lies after the end that stands. Where both have moved, send the corrected end first, then this again"
    " (so it says `later`).",
    "REVISION_REUSED": "The report that stands has this (reported_at, revision) and other content; send the next revision.",
    "FUTURE_DAY": "The day lies after the day on which this arrived.",
}

CourseDays = Annotated[int, Field(ge=1, le=1000), JsonNumber(), Privacy.INTERNAL, Unit("course day")]
"""Three years of courses have some 700."""


class ReferralFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class ReferralSubmission(Submission):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class OfferRunSubmitted(ReferralSubmission):
    """A provider publishes one run of an offer; the subject is the run id the sender minted."""

    subject_kind: ClassVar[str] = "run"

    provider_organisation_id: OrganisationId
    """Whose run it is: who speaks (`by.organisation_id`), and nobody else."""
    block: Annotated[Block, Privacy.PUBLIC]
    offer_type: Annotated[OfferType, Privacy.PUBLIC]
    starts_on: Day
    """The first day of the run."""
    ends_before_on: Day
    """The first day after the run: one that ends on Friday, 27 March ends before 2026-03-28."""
    course_days: CourseDays | None = None
    """How many course days the run has; absent where that is not fixed beforehand."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ()


class ReferralRequested(ReferralSubmission):
    """The case's owner asks a provider to take a person into a run, under a consent for the purpose REFERRAL."""

    referral_id: Id
    run_id: Id
    consent_id: Id
    categories: Annotated[
        tuple[DataCategory, ...], Field(min_length=1, max_length=20, fail_fast=True), Privacy.INTERNAL
    ]
    """Which kinds of data go to the provider; the consent must cover each. Their order means nothing."""
    requested_on: Day
    """The day of the request, on which the consent must be valid."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "run_id", "consent_id")


class ReferralWithdrawn(ReferralSubmission):
    """The case's owner takes back a referral that has not started."""

    referral_id: Id
    reason: Annotated[WithdrawalReason, Privacy.INTERNAL]
    withdrawn_on: Day
    """The day on which it was taken back; none that is to come."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "referral_id")


class ReferralAnswered(ReferralSubmission):
    """The provider's answer. Until somebody has started it may be changed to a no, or to another planned start: the yes of the newest
    day stands, and an older one that comes later is recorded and changes nothing."""

    referral_id: Id
    answer: Annotated[ReferralAnswer, Privacy.INTERNAL]
    reason: Annotated[DeclineReason, Privacy.INTERNAL] | None = None
    """Why not: with DECLINED always, with ACCEPTED never."""
    planned_start_on: Day | None = None
    """The first day on which the person is expected: with ACCEPTED, where it is neither the run's `starts_on` nor, in a run that
    goes on already, `answered_on`. A day of the run, and none before `answered_on`."""
    answered_on: Day
    """The day of the answer; none that is to come."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "referral_id")


class ParticipationStartReported(ReferralSubmission):
    """The provider reports that somebody takes part, and since when. Corrected by a report with a later `reported_at`, or
    with the same and a higher revision.

    One referral may have several participations: who comes back after an end starts another one.
    """

    participation_id: Id
    referral_id: Id
    started_on: Day
    """The first day on which the person takes part."""
    revision: Revision
    reported_at: Moment
    """When the provider said so; orders corrections together with `revision`. What is older than the report that stands is
    recorded and changes nothing, whatever was said in the same order before."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "referral_id")


class ParticipationEndReported(ReferralSubmission):
    """The provider reports that a participation has ended, how and why. Corrected by a report with a later `reported_at`,
    or with the same and a higher revision; the kind ENTERED_IN_ERROR takes the end back, and the person takes part as before."""

    participation_id: Id
    ended_before_on: Day
    """The first day on which the person no longer takes part: whose last day is 27 March ended before 2026-03-28. With
    ENTERED_IN_ERROR the day that was reported."""
    kind: Annotated[EndKind, Privacy.INTERNAL]
    reason: Annotated[EndReason, Privacy.INTERNAL, NullIsLeftOut()] = EndReason.UNKNOWN
    revision: Revision
    reported_at: Moment
    """When the provider said so; orders corrections together with `revision`. What is older than the report that stands is
    recorded and changes nothing, whatever was said in the same order before."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "participation_id")


class OfferRunPublished(ReferralFact):
    """A provider published a run, once; the subject is its id."""

    subject_kind: ClassVar[str] = "run"
    gives: ClassVar[tuple[str, ...]] = ("subject",)

    provider_organisation_id: OrganisationId
    block: Annotated[Code, Listed("block"), Privacy.PUBLIC]
    offer_type: Annotated[Code, Listed("offer_type"), Privacy.PUBLIC]
    starts_on: Day
    """The first day of the run."""
    ends_before_on: Day
    """The first day after the run."""
    course_days: CourseDays | None = None
    """How many course days the run has; absent where that is not fixed beforehand."""


class ReferralSent(ReferralFact):
    """A person was referred to a run. Carries what a case must know of the run later, so that a case never reads a run."""

    gives: ClassVar[tuple[str, ...]] = ("referral_id",)

    referral_id: Id
    run_id: Id
    consent_id: Id
    categories: Annotated[tuple[Annotated[Code, Listed("data_category")], ...], Privacy.INTERNAL]
    """Which kinds of data go to the provider, sorted."""
    requested_on: Day
    """The day of the request, on which the consent was valid."""
    owner_organisation_id: OrganisationId
    """Who asked: the case's owner."""
    provider_organisation_id: OrganisationId
    """Who was asked."""
    block: Annotated[Code, Listed("block")]
    offer_type: Annotated[Code, Listed("offer_type")]
    run_starts_on: Day
    """The first day of the run."""
    run_ends_before_on: Day
    """The first day after the run."""


class ReferralAccepted(ReferralFact):
    """The provider has a place. A second one of the same referral moves the planned start, unless its answer is of an earlier day."""

    referral_id: Id
    planned_start_on: Day
    """The first day on which the person is expected."""
    answered_on: Day
    """The day of the answer."""


class ReferralDeclined(ReferralFact):
    """The provider has no place, or takes back that it had one."""

    referral_id: Id
    reason: Annotated[Code, Listed("decline_reason")]
    answered_on: Day
    """The day of the answer."""


class ReferralStopped(ReferralFact):
    """A referral that had not started was taken back by the office, or by a rule: its consent was withdrawn, its case closed. A rule's
    is not the last word: a start on a day before that (or on the last of the case), told later, is recorded after it, and the
    referral has started."""

    referral_id: Id
    reason: Annotated[Code, Listed("stop_reason")]
    stopped_on: Day
    """The day on which it was taken back; of a consent its `withdrawn_on`, of a case its `last_day_on`."""


class ParticipationStarted(ReferralFact):
    """Somebody takes part: the start as reported. Of several of one participation the highest (reported_at, revision)
    stands. One that is recorded after a rule stopped its referral is of a day before that, and the stop holds no more."""

    gives: ClassVar[tuple[str, ...]] = ("participation_id",)

    participation_id: Id
    referral_id: Id
    run_id: Id
    block: Annotated[Code, Listed("block")]
    started_on: Day
    """The first day on which the person takes part."""
    revision: Revision
    reported_at: Moment
    """When the provider said so."""


class ParticipationEnded(ReferralFact):
    """A participation has ended: the end as reported. Of several of one participation the highest (reported_at, revision)
    stands; where that is of the kind ENTERED_IN_ERROR, there was no end."""

    participation_id: Id
    ended_before_on: Day
    """The first day on which the person no longer takes part."""
    kind: Annotated[Code, Listed("end_kind")]
    reason: Annotated[Code, Listed("end_reason")]
    revision: Revision
    reported_at: Moment
    """When the provider said so."""


FACTS: tuple[type[Fact], ...] = (
    OfferRunPublished,
    ReferralSent,
    ReferralAccepted,
    ReferralDeclined,
    ReferralStopped,
    ParticipationStarted,
    ParticipationEnded,
)
SUBMISSIONS: tuple[type[Submission], ...] = (
    OfferRunSubmitted,
    ReferralRequested,
    ReferralWithdrawn,
    ReferralAnswered,
    ParticipationStartReported,
    ParticipationEndReported,
)
