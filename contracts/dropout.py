"""Drop-out: risks that rules see, with the days that caused them, and drop-outs that were reported. None acts by itself."""

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from .envelope import Code, Day, Fact, Id, JsonNumber, Listed, Moment, OrganisationId, Privacy, Submission

FAMILY = "dropout"

FRESH = timedelta(days=14)
"""How old the newest day of a risk may be at a tick for somebody to be told of it: history imported today mails nobody."""

REMEMBERED = timedelta(weeks=8)
"""How long it is remembered that a risk is over, and why: a correction, and one that is itself corrected, comes within weeks."""

REASONS: dict[str, str] = {}

RuleVersion = Annotated[int, Field(ge=1, le=10_000), JsonNumber(), Privacy.INTERNAL]


class DropoutFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"


class DropoutRiskRaised(DropoutFact):
    """A rule holds. A risk is (about, rule, first_on): more days are the same risk, another first day is another risk."""

    case_id: Id
    """The subject again, for who folds it into an office."""
    about: Id
    """What the rule looks at: of S2 the participation, of S6 the referral, since nobody takes part yet."""
    rule: Annotated[Code, Listed("rule")]
    rule_version: RuleVersion
    """Which version of the rule's thresholds held on the day from which the rule holds; counts from 1."""
    first_on: Day
    """The first of `days_on`."""
    days_on: Annotated[tuple[Day, ...], Field(min_length=1), Privacy.INTERNAL]
    """The days that caused it, as known when it was raised, oldest first: of S2 the unexcused course days (of more than
    30 the first and the newest 29), of S6 the planned start."""
    owner_organisation_id: OrganisationId
    """Whose next step it is: the case's owner."""
    as_of: Moment
    """The tick by which the rule looked."""


class DropoutRiskContinued(DropoutFact):
    """A risk that was raised goes on: other days cause it than were said. It stays the same risk, and is raised no further time.

    Said where what was said is more than a week old at the tick and the newest day is within a fortnight of it, so that nobody
    takes for history what goes on: who hands in a month at once says the oldest days first. A no-show (S6) goes on with each day
    of the run. And said where the newest day that was said is corrected, so that nobody takes history for news.
    """

    case_id: Id
    """The subject again, for who folds it into an office."""
    about: Id
    """As in the risk that was raised."""
    rule: Annotated[Code, Listed("rule")]
    first_on: Day
    """As in the risk that was raised."""
    last_missed_on: Day
    """The newest of the days that cause it, as known now, perhaps an older one than was said before: of S2 the last unexcused course
    day, of S6 the day of the tick or, where that came before, the last of the run."""
    owner_organisation_id: OrganisationId
    """Whose next step it is: the case's owner."""
    as_of: Moment
    """The tick by which the rule looked."""


class DropoutRiskWithdrawn(DropoutFact):
    """A risk that was raised no longer holds. Said again, within eight weeks, where what is known now gives another reason: the one
    said last stands, until the risk is raised again."""

    case_id: Id
    """The subject again, for who folds it into an office."""
    about: Id
    """As in the risk that was raised."""
    rule: Annotated[Code, Listed("rule")]
    first_on: Day
    """As in the risk that was raised."""
    reason: Annotated[Code, Listed("risk_end")]
    owner_organisation_id: OrganisationId
    """Whose next step it was: the case's owner."""
    as_of: Moment
    """The tick by which the rule looked."""


class DroppedOut(DropoutFact):
    """Somebody left before the planned end. Follows a reported end of the kind DROPPED_OUT, and nothing else."""

    participation_id: Id
    ended_before_on: Day
    """The first day on which the person no longer takes part, as in the end."""
    reason: Annotated[Code, Listed("end_reason")]
    owner_organisation_id: OrganisationId
    """Whose next step it is: the case's owner."""


class DroppedOutWithdrawn(DropoutFact):
    """The end was corrected: nobody dropped out, or on another day or for another reason, which is then recorded anew."""

    participation_id: Id
    owner_organisation_id: OrganisationId
    """Whose next step it was: the case's owner."""


FACTS: tuple[type[Fact], ...] = (
    DropoutRiskRaised,
    DropoutRiskContinued,
    DropoutRiskWithdrawn,
    DroppedOut,
    DroppedOutWithdrawn,
)
SUBMISSIONS: tuple[type[Submission], ...] = ()
