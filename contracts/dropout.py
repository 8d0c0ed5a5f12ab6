"""Drop-out: risks that rules see, with the days that caused them, and drop-outs that were reported. None acts by itself."""

from typing import Annotated, ClassVar

from .envelope import Code, Count, Day, Fact, Id, Key, Moment, Privacy, Submission

FAMILY = "dropout"

REASONS: dict[str, str] = {}


class DropoutFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class DropoutRiskRaised(DropoutFact):
    """A rule holds. A risk is (about, rule, first_on): more days are the same risk, another first day is another risk."""

    case_id: Key
    """The subject again, for who folds it into an office."""
    about: Id
    """The participation; for S6 the referral."""
    rule: Code
    rule_version: Count
    first_on: Day
    """The first day of the present run of absences; for S6 the planned start."""
    days_on: Annotated[tuple[Day, ...], Privacy.INTERNAL]
    """The days that caused it, oldest first."""
    owner_organisation_id: Code
    as_of: Moment
    """The tick by which the rule looked."""


class DropoutRiskWithdrawn(DropoutFact):
    """ATTENDED, CORRECTED or ENDED."""

    case_id: Key
    about: Id
    rule: Code
    first_on: Day
    reason: Code
    owner_organisation_id: Code
    as_of: Moment


class DroppedOut(DropoutFact):
    """Follows a reported end of kind DROPPED_OUT, and nothing else."""

    participation_id: Id
    dropped_out_on: Day
    reason: Code
    owner_organisation_id: Code


class DroppedOutWithdrawn(DropoutFact):
    """The end was corrected: nobody dropped out."""

    participation_id: Id
    owner_organisation_id: Code


FACTS: tuple[type[Fact], ...] = (DropoutRiskRaised, DropoutRiskWithdrawn, DroppedOut, DroppedOutWithdrawn)
SUBMISSIONS: tuple[type[Submission], ...] = ()
