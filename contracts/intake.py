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
    Sex,
    StatusGroup,
)
from .envelope import Code, Day, Fact, Id, Privacy, Submission

FAMILY = "intake"

REASONS: dict[str, str] = {
    "CASE_EXISTS": "This case was opened with other particulars; a case is opened once.",
    "CONSENT_EXISTS": "This consent id stands for another consent.",
    "NEED_EXISTS": "This need id stands for another need.",
    "CONSENT_ENDS_BEFORE_IT_BEGINS": "valid_until_on lies before valid_from_on.",
    "WITHDRAWN_OTHERWISE": "This consent was withdrawn on another day.",
    "CASE_CLOSED": "The case is closed; only what concerns days before its closure is taken.",
    "CLOSED_OTHERWISE": "The case was closed on another day or for another reason.",
    "FUTURE_DAY": "The day lies after the day on which this arrived.",
}


class IntakeFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class IntakeSubmission(Submission):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class RegistrationSubmitted(IntakeSubmission):
    """Somebody registers a person as a case; the subject is the case id the sender minted."""

    municipality: Municipality
    programme: Code
    sex: Annotated[Sex, Privacy.INTERNAL] = Sex.UNKNOWN
    birth_year_band: Annotated[BirthYearBand, Privacy.INTERNAL] = BirthYearBand.UNKNOWN
    language: Language = "UNKNOWN"
    """The language in which the person is best reached: ISO 639-3 in lower case, or UNKNOWN."""
    status_group: Annotated[StatusGroup, Privacy.INTERNAL] = StatusGroup.UNKNOWN
    owner_organisation_id: Code

    def rests_on(self) -> tuple[str, ...]:
        return ()


class NeedReported(IntakeSubmission):
    need_id: Id
    need_type: Annotated[NeedType, Privacy.INTERNAL]


class ConsentGiven(IntakeSubmission):
    """The person agrees that these data go to these bodies for this purpose, from a day until a day (inclusive)."""

    consent_id: Id
    purpose: Annotated[ConsentPurpose, Privacy.INTERNAL]
    categories: Annotated[tuple[DataCategory, ...], Field(min_length=1, max_length=20), Privacy.INTERNAL]
    recipients: Annotated[tuple[Code, ...], Field(min_length=1, max_length=50), Privacy.INTERNAL]
    valid_from_on: Day
    valid_until_on: Day


class ConsentWithdrawn(IntakeSubmission):
    """Free at any time, for the future: nothing from `withdrawn_on` on rests on this consent."""

    consent_id: Id
    withdrawn_on: Day

    def rests_on(self) -> tuple[str, ...]:
        return ("subject", "consent_id")


class CaseClosureRequested(IntakeSubmission):
    closed_on: Day
    reason: Annotated[ClosureReason, Privacy.INTERNAL]


class CaseOpened(IntakeFact):
    gives: ClassVar[tuple[str, ...]] = ("subject",)

    municipality: Municipality
    programme: Code
    sex: Code
    birth_year_band: Code
    language: Language
    status_group: Code
    owner_organisation_id: Code


class NeedRecorded(IntakeFact):
    gives: ClassVar[tuple[str, ...]] = ("need_id",)

    need_id: Id
    need_type: Code


class ConsentGranted(IntakeFact):
    gives: ClassVar[tuple[str, ...]] = ("consent_id",)

    consent_id: Id
    purpose: Code
    categories: Annotated[tuple[Code, ...], Privacy.INTERNAL]
    recipients: Annotated[tuple[Code, ...], Privacy.INTERNAL]
    valid_from_on: Day
    valid_until_on: Day


class ConsentRevoked(IntakeFact):
    consent_id: Id
    withdrawn_on: Day


class CaseClosed(IntakeFact):
    closed_on: Day
    reason: Code


FACTS: tuple[type[Fact], ...] = (CaseOpened, NeedRecorded, ConsentGranted, ConsentRevoked, CaseClosed)
SUBMISSIONS: tuple[type[Submission], ...] = (
    RegistrationSubmitted,
    NeedReported,
    ConsentGiven,
    ConsentWithdrawn,
    CaseClosureRequested,
)
