"""Intake: a case is opened, its needs and consents are recorded, it is closed. Nothing here names a person."""

from typing import Annotated, ClassVar

from pydantic import Field

from .codes import (
    BirthYearBand,
    ClosureReason,
    ConsentPurpose,
    DataCategory,
    Language,
    Municipality,
    NeedType,
    Programme,
    Sex,
    StatusGroup,
)
from .envelope import Code, Day, Fact, Id, Listed, NullIsLeftOut, OrganisationId, Privacy, Submission

FAMILY = "intake"

REASONS: dict[str, str] = {
    "CASE_EXISTS": "This case was opened with other particulars; a case is opened once.",
    "CONSENT_EXISTS": "This consent id stands for another consent, or for one that was withdrawn; a renewed consent has a new id.",
    "NEED_EXISTS": "This need id stands for another need.",
    "CONSENT_ENDS_BEFORE_IT_BEGINS": "last_valid_on lies before valid_from_on; or withdrawn_on does, of a consent that had begun by the"
    " day of `ce_time`: then say valid_from_on, or a day since.",
    "TOO_MANY_OF_A_CASE": "A case has at most 500 needs and 500 consents. Who does not own it tells at most 50 of its needs, and the"
    " last 50 are kept for its owner.",
    "WITHDRAWN_OTHERWISE": "This consent was withdrawn from an earlier day on; a withdrawal is only moved to an earlier day.",
    "CASE_CLOSED": "The case is closed; only what concerns days up to its last one is taken. Who comes back is a new case, under a"
    " new id.",
    "CLOSED_OTHERWISE": "The case was closed with another last day or for another reason.",
    "FUTURE_DAY": "The day lies after the day on which this arrived.",
}


class IntakeFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class IntakeSubmission(Submission):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class RegistrationSubmitted(IntakeSubmission):
    """Somebody registers a person as a case; the subject is the case id the sender minted. Said again after the last day of a closed
    case it is refused CASE_CLOSED: who comes back is a new case."""

    municipality: Municipality
    """Where the person lives: Amtlicher Gemeindeschlüssel, eight digits with the leading zero (05162024 is Neuss; a kreisfreie
    Stadt ends in 000, 05315000 is Köln), or UNKNOWN."""
    programme: Annotated[Programme, Privacy.INTERNAL]
    sex: Annotated[Sex, Privacy.INTERNAL, NullIsLeftOut()] = Sex.UNKNOWN
    birth_year_band: Annotated[BirthYearBand, Privacy.INTERNAL, NullIsLeftOut()] = BirthYearBand.UNKNOWN
    language: Annotated[Language, NullIsLeftOut()] = "UNKNOWN"
    """The language in which the person is best reached, not where she comes from: ISO 639-3 in lower case, or UNKNOWN."""
    status_group: Annotated[StatusGroup, Privacy.INTERNAL, NullIsLeftOut()] = StatusGroup.UNKNOWN
    owner_organisation_id: OrganisationId
    """Who owns the case: refers, closes, and is told of risks."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ()


class NeedReported(IntakeSubmission):
    """Whose case it is (the owner, or who opened it) reports what a person needs, or a body that a consent for the purpose REFERRAL
    names on the day of `ce_time`. It counts by that day: said by the last day of a case, it may be heard after it."""

    need_id: Id
    need_type: Annotated[NeedType, Privacy.INTERNAL]


class ConsentGiven(IntakeSubmission):
    """The person agrees that these data go to these bodies for this purpose, from a day until a day, both included. Who owns
    the case or opened it passes that on, and nobody else."""

    consent_id: Id
    purpose: Annotated[ConsentPurpose, Privacy.INTERNAL]
    categories: Annotated[
        tuple[DataCategory, ...], Field(min_length=1, max_length=20, fail_fast=True), Privacy.INTERNAL
    ]
    """Which kinds of data; their order means nothing."""
    recipients: Annotated[
        tuple[OrganisationId, ...], Field(min_length=1, max_length=50, fail_fast=True), Privacy.INTERNAL
    ]
    """Who may receive them, organisation by organisation: "all partners" is no consent. Their order means nothing."""
    valid_from_on: Day
    """The first day on which it is valid."""
    last_valid_on: Day
    """The last day on which it is valid."""


class ConsentWithdrawn(IntakeSubmission):
    """Free at any time, whoever passes it on, for the future."""

    consent_id: Id
    withdrawn_on: Day
    """From this day on, it included, nothing rests on the consent; none that is to come, and of a consent that had begun by the
    day of `ce_time` none before its `valid_from_on`."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "consent_id")


class CaseClosureRequested(IntakeSubmission):
    """The owner closes a case, and says why. ENTERED_IN_ERROR may be said by who opened it, too: of an owner who was mistyped nobody
    could close it."""

    last_day_on: Day
    """The last day of the case: what concerns it or days before is still taken."""
    reason: Annotated[ClosureReason, Privacy.INTERNAL]


class CaseOpened(IntakeFact):
    """A case was opened, once; the subject is its id. `ce_time` is when the person was registered, as her registration said; no other day
    is said from which on the case is open. One that is told later, or imported, may have a last day or a start before that."""

    gives: ClassVar[tuple[str, ...]] = ("subject",)

    municipality: Municipality
    programme: Annotated[Code, Listed("programme")]
    sex: Annotated[Code, Listed("sex")]
    birth_year_band: Annotated[Code, Listed("birth_year_band")]
    language: Language
    status_group: Annotated[Code, Listed("status_group")]
    owner_organisation_id: OrganisationId
    """Who owns the case: refers, closes, and is told of risks."""


class NeedRecorded(IntakeFact):
    """Somebody needs something."""

    gives: ClassVar[tuple[str, ...]] = ("need_id",)

    need_id: Id
    need_type: Annotated[Code, Listed("need_type")]


class ConsentGranted(IntakeFact):
    """These data may go to these bodies for this purpose, from a day until a day, both included. Lotse acts on REFERRAL alone: whoever
    evaluates asks for EVALUATION herself, and no figure of Lotse leaves out who did not give it."""

    gives: ClassVar[tuple[str, ...]] = ("consent_id",)

    consent_id: Id
    purpose: Annotated[Code, Listed("consent_purpose")]
    categories: Annotated[tuple[Annotated[Code, Listed("data_category")], ...], Privacy.INTERNAL]
    """Which kinds of data, sorted."""
    recipients: Annotated[tuple[OrganisationId, ...], Privacy.INTERNAL]
    """Who may receive them, sorted."""
    valid_from_on: Day
    """The first day on which it is valid."""
    last_valid_on: Day
    """The last day on which it is valid."""


class ConsentRevoked(IntakeFact):
    """A consent was withdrawn. A second one of the same consent has an earlier day, and that counts. It ends no participation that has
    begun: its end is told, or none is."""

    consent_id: Id
    withdrawn_on: Day
    """From this day on, it included, nothing rests on the consent."""


class CaseClosed(IntakeFact):
    """A case was closed, once. It ends no participation that has begun: its end is told, or none is. As ENTERED_IN_ERROR there was no
    such case on any day; its other facts stay, and reports go on counting its participations."""

    last_day_on: Day
    """The last day of the case, which still belongs to it."""
    reason: Annotated[Code, Listed("closure_reason")]


FACTS: tuple[type[Fact], ...] = (CaseOpened, NeedRecorded, ConsentGranted, ConsentRevoked, CaseClosed)
SUBMISSIONS: tuple[type[Submission], ...] = (
    RegistrationSubmitted,
    NeedReported,
    ConsentGiven,
    ConsentWithdrawn,
    CaseClosureRequested,
)
