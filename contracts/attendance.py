"""Attendance: one record per participation and course meeting, late and corrected ones included."""

from typing import Annotated, ClassVar

from pydantic import Field

from .codes import ExcuseReason, Presence
from .envelope import Code, Day, Fact, Id, JsonNumber, Listed, Moment, Privacy, Revision, Submission, Unit

FAMILY = "attendance"

PlannedUnits = Annotated[
    int, Field(ge=1, le=32), JsonNumber(), Privacy.INTERNAL, Unit("teaching unit (UE) of 45 minutes")
]
TeachingUnits = Annotated[
    int, Field(ge=0, le=32), JsonNumber(), Privacy.INTERNAL, Unit("teaching unit (UE) of 45 minutes")
]
"""A day has 32 of them."""

REASONS: dict[str, str] = {
    "NOT_RUNNING": "Nobody takes part on that day: it lies before the start or not before the end. Where that has moved, send it"
    " corrected first, then this again (so it says `later`).",
    "FUTURE_DAY": "The day lies after the day on which this arrived.",
    "NO_CONSENT": "The consent under which this person was referred was withdrawn from that day or an earlier one on.",
    "CASE_CLOSED": "The last day of the case lies before that day.",
    "TOO_MANY_OF_A_CASE": "A case has at most 5,000 course meetings, 2,000 in one provider's courses. A meeting that is"
    " told again keeps its id.",
    "MORE_THAN_PLANNED": "More teaching units attended than planned.",
    "EXCUSE_NEEDS_REASON": "An excused absence says why.",
    "CONTRADICTION": "Only an excused absence has a reason; and who was absent attended no unit: who was there for one was there.",
    "REVISION_REUSED": "The report that stands has this (reported_at, revision) and other content; send the next revision.",
}


class AttendanceReported(Submission):
    """What the provider knows of one person and one course meeting. Corrected by a later `reported_at`, or by the
    same and a higher `revision`."""

    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"

    participation_id: Id
    meeting_id: Id
    """The course meeting. Of one participation several on one day are one course day."""
    meeting_on: Day
    """The day of the meeting."""
    units_planned: PlannedUnits
    """How long the meeting was to be."""
    units_attended: TeachingUnits
    """How much of it the person was there; at most `units_planned`, and 0 of whom was absent. Whole units: one attended in part
    counts as the course's funding body counts it; 0 where nobody noted it."""
    presence: Annotated[Presence, Privacy.INTERNAL]
    excuse_reason: Annotated[ExcuseReason, Privacy.INTERNAL] | None = None
    """What excuses: with EXCUSED always, otherwise never."""
    revision: Revision
    reported_at: Moment
    """When the provider said so. What is older than the report that stands is recorded and changes nothing, whatever was said in the
    same order before."""

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        return ("subject", "participation_id")


class AttendanceRecorded(Fact):
    """Attendance as reported. Of several of one participation and meeting the highest (reported_at, revision) stands.

    The course is the `run_id` of the participation's start. What was recorded stays where its day turns out later to be one on
    which nobody takes part: before the start that stands, not before the end that stands, after the last day of the case, or from
    the day on from which the consent was withdrawn. No rule counts an absence of such a day, and no rate should. Lotse makes no rate.
    """

    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"

    participation_id: Id
    meeting_id: Id
    """The course meeting. Of one participation several on one day are one course day: attended (PRESENT, LATE) if one was, else
    unexcused if one was."""
    meeting_on: Day
    """The day of the meeting."""
    units_planned: PlannedUnits
    """How long the meeting was to be."""
    units_attended: TeachingUnits
    """How much of it the person was there; of NOT_RECORDED 0, which says nothing."""
    presence: Annotated[Code, Listed("presence")]
    excuse_reason: Annotated[Code, Listed("excuse_reason")] | None = None
    """What excuses; with EXCUSED only."""
    revision: Revision
    reported_at: Moment
    """When the provider said so."""


FACTS: tuple[type[Fact], ...] = (AttendanceRecorded,)
SUBMISSIONS: tuple[type[Submission], ...] = (AttendanceReported,)
