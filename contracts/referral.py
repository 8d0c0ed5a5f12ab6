"""Referral: offer runs are published, people are referred to them, take part and leave."""

from typing import Annotated, ClassVar

from pydantic import Field

from .codes import (
    Block,
    ConsentPurpose,
    DataCategory,
    DeclineReason,
    EndKind,
    EndReason,
    OfferType,
    ParticipationStep,
    ReferralAnswer,
    WithdrawalReason,
)
from .envelope import Code, Count, Day, Fact, Id, Moment, Privacy, Revision, Submission

FAMILY = "referral"

REASONS: dict[str, str] = {
    "RUN_EXISTS": "This run was published with other particulars; a run is published once.",
    "ENDS_BEFORE_IT_STARTS": "The end lies before the start.",
    "REFERRAL_EXISTS": "This referral id stands for another referral.",
    "NO_CONSENT": "No consent for this purpose, recipient and every category is valid on that day.",
    "CASE_CLOSED": "The case is closed; only what concerns days before its closure is taken.",
    "NOT_OPEN": "The referral is not open for this: it was answered otherwise, stopped, or has started.",
    "DECLINE_NEEDS_REASON": "A refusal says why.",
    "NOT_ACCEPTED": "Nobody takes part in a referral that is not accepted.",
    "PARTICIPATION_EXISTS": "This participation id stands for another participation.",
    "NOT_OF_THIS_REFERRAL": "The participation belongs to another referral.",
    "END_NEEDS_KIND": "An end says of which kind it is.",
    "END_BEFORE_START": "The end lies before the start that stands.",
    "START_AFTER_END": "The start lies after the end that stands.",
    "REVISION_REUSED": "The same (reported_at, revision) was used with other content; send the next revision.",
    "FUTURE_DAY": "The day lies after the day on which this arrived.",
}


class ReferralFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class ReferralSubmission(Submission):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class OfferRunSubmitted(ReferralSubmission):
    """A provider publishes one run of an offer; the subject is the run id the sender minted."""

    subject_kind: ClassVar[str] = "run"

    provider_organisation_id: Code
    block: Annotated[Block, Privacy.PUBLIC]
    offer_type: Annotated[OfferType, Privacy.PUBLIC]
    starts_on: Day
    ends_on: Day
    """Exclusive: the first day after the run."""
    course_days: Count
    """How many course days the run has."""

    def rests_on(self) -> tuple[str, ...]:
        return ()


class ReferralRequested(ReferralSubmission):
    """A case manager asks a provider to take a person into a run, under a consent."""

    referral_id: Id
    run_id: Id
    consent_id: Id
    purpose: Annotated[ConsentPurpose, Privacy.INTERNAL] = ConsentPurpose.REFERRAL
    categories: Annotated[tuple[DataCategory, ...], Field(min_length=1, max_length=20), Privacy.INTERNAL]
    requested_on: Day

    def rests_on(self) -> tuple[str, ...]:
        return ("subject", "run_id", "consent_id")


class ReferralWithdrawn(ReferralSubmission):
    referral_id: Id
    reason: Annotated[WithdrawalReason, Privacy.INTERNAL]
    withdrawn_on: Day

    def rests_on(self) -> tuple[str, ...]:
        return ("subject", "referral_id")


class ReferralAnswered(ReferralSubmission):
    """The provider's answer; `planned_start_on` where it is not the run's start."""

    referral_id: Id
    answer: Annotated[ReferralAnswer, Privacy.INTERNAL]
    reason: Annotated[DeclineReason, Privacy.INTERNAL] | None = None
    planned_start_on: Day | None = None
    answered_on: Day

    def rests_on(self) -> tuple[str, ...]:
        return ("subject", "referral_id")


class ParticipationReported(ReferralSubmission):
    """A start or an end of a participation. Each is a statement of its own, corrected by a higher revision.

    An end day is exclusive: somebody takes part on days before it. `end_kind` ENTERED_IN_ERROR takes an end back.
    """

    participation_id: Id
    referral_id: Id
    step: Annotated[ParticipationStep, Privacy.INTERNAL]
    effective_on: Day
    end_kind: Annotated[EndKind, Privacy.INTERNAL] | None = None
    end_reason: Annotated[EndReason, Privacy.INTERNAL] = EndReason.UNKNOWN
    revision: Revision
    reported_at: Moment

    def rests_on(self) -> tuple[str, ...]:
        known = ("subject", "referral_id")
        return known if self.step is ParticipationStep.START else (*known, "participation_id")


class OfferRunPublished(ReferralFact):
    subject_kind: ClassVar[str] = "run"
    gives: ClassVar[tuple[str, ...]] = ("subject",)

    provider_organisation_id: Code
    block: Code
    offer_type: Code
    starts_on: Day
    ends_on: Day
    course_days: Count


class ReferralSent(ReferralFact):
    """Carries what a case must know of the run later, so that a case never reads a run."""

    gives: ClassVar[tuple[str, ...]] = ("referral_id",)

    referral_id: Id
    run_id: Id
    consent_id: Id
    purpose: Code
    categories: Annotated[tuple[Code, ...], Privacy.INTERNAL]
    requested_on: Day
    owner_organisation_id: Code
    provider_organisation_id: Code
    block: Code
    offer_type: Code
    run_starts_on: Day
    run_ends_on: Day


class ReferralAccepted(ReferralFact):
    referral_id: Id
    planned_start_on: Day
    answered_on: Day


class ReferralDeclined(ReferralFact):
    referral_id: Id
    reason: Code
    answered_on: Day


class ReferralStopped(ReferralFact):
    """CONSENT_WITHDRAWN, PERSON_WITHDREW, CASE_CLOSED or ENTERED_IN_ERROR."""

    referral_id: Id
    reason: Code
    stopped_on: Day


class ParticipationStarted(ReferralFact):
    gives: ClassVar[tuple[str, ...]] = ("participation_id",)

    participation_id: Id
    referral_id: Id
    run_id: Id
    block: Code
    started_on: Day
    revision: Revision
    reported_at: Moment


class ParticipationEnded(ReferralFact):
    """The end as last reported; kind ENTERED_IN_ERROR: there was none."""

    participation_id: Id
    ended_on: Day
    kind: Code
    reason: Code
    revision: Revision
    reported_at: Moment


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
    ParticipationReported,
)
