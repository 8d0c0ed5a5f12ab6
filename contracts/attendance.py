"""Attendance: one record per participation and course meeting, late and corrected ones included."""

from typing import Annotated, ClassVar

from .codes import ExcuseReason, Presence
from .envelope import Code, Count, Day, Fact, Id, Moment, Privacy, Revision, Submission, Unit

FAMILY = "attendance"

TeachingUnits = Annotated[Count, Unit("teaching unit (UE) of 45 minutes")]

REASONS: dict[str, str] = {
    "NOT_RUNNING": "Nobody takes part on that day: it lies before the start or not before the end.",
    "FUTURE_DAY": "The day lies after the day on which this arrived.",
    "NO_CONSENT": "The consent under which this person was referred was withdrawn before that day.",
    "CASE_CLOSED": "The case was closed before that day.",
    "MORE_THAN_PLANNED": "More teaching units attended than planned.",
    "EXCUSE_NEEDS_REASON": "An excused absence says why.",
    "REVISION_REUSED": "The same (reported_at, revision) was used with other content; send the next revision.",
}


class AttendanceReported(Submission):
    """What the provider knows of one person and one course meeting. Units are teaching units (UE) of 45 minutes."""

    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"

    participation_id: Id
    meeting_id: Id
    meeting_on: Day
    units_planned: TeachingUnits
    units_attended: TeachingUnits
    presence: Annotated[Presence, Privacy.INTERNAL]
    excuse_reason: Annotated[ExcuseReason, Privacy.INTERNAL] | None = None
    revision: Revision
    reported_at: Moment

    def rests_on(self) -> tuple[str, ...]:
        return ("subject", "participation_id")


class AttendanceRecorded(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "case"

    participation_id: Id
    meeting_id: Id
    meeting_on: Day
    units_planned: TeachingUnits
    units_attended: TeachingUnits
    presence: Code
    excuse_reason: Code | None = None
    revision: Revision
    reported_at: Moment


FACTS: tuple[type[Fact], ...] = (AttendanceRecorded,)
SUBMISSIONS: tuple[type[Submission], ...] = (AttendanceReported,)
