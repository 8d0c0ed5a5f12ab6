"""Attendance: one report, one fact; late and corrected ones count too, by the time they speak of (domain 8.3, E-03)."""

from datetime import datetime

from contracts.attendance import AttendanceRecorded, AttendanceReported
from contracts.codes import Presence
from contracts.envelope import Again, Decision, Unchanged, day_of, refused
from services.referral.domain import meetings
from services.referral.domain.state import MOST_MEETINGS, MOST_MEETINGS_OF_ONE, Case, rank_of


def attend(report: AttendanceReported, case: Case, arrived: datetime) -> Decision:
    """The provider of the course reports one meeting (domain E-01, E-03). An older report than the one that stands is recorded
    and changes nothing, whatever it says: what was superseded is not kept. The same (reported_at, revision) as the one that
    stands is unchanged, or refused where it says something else."""
    participation = case.referral.participations[report.participation_id]
    referral = case.referral.referrals[participation.referral_id]
    if report.by.organisation_id != referral.provider_organisation_id:
        return refused("NOT_YOURS")
    stands = meetings.meeting(case.attendance.sheets.get(report.participation_id, b""), report.meeting_id)
    said = meetings.Meeting(
        report.meeting_on, report.presence, report.units_planned, report.units_attended, report.excuse_reason, report.reported_at,
        report.revision,
    )  # fmt: skip
    if stands is not None and rank_of(said) == rank_of(stands):
        return Unchanged() if said == stands else refused("REVISION_REUSED", at="/revision")
    if report.meeting_on > day_of(arrived):
        return refused("FUTURE_DAY", at="/meeting_on")
    if not participation.running_on(report.meeting_on):
        return refused("NOT_RUNNING", at="/meeting_on", again=Again.LATER)  # it may be the start or end that is mended
    if case.no_consent_on(referral, report.meeting_on):
        return refused("NO_CONSENT", at="/meeting_on")
    if case.closed_on(report.meeting_on):
        return refused("CASE_CLOSED", at="/meeting_on")
    if report.units_attended > report.units_planned:
        return refused("MORE_THAN_PLANNED", at="/units_attended")
    if report.presence is Presence.EXCUSED and report.excuse_reason is None:
        return refused("EXCUSE_NEEDS_REASON", at="/excuse_reason")
    if report.presence is not Presence.EXCUSED and report.excuse_reason is not None:
        return refused("CONTRADICTION", at="/excuse_reason")
    if report.presence in (Presence.EXCUSED, Presence.UNEXCUSED) and report.units_attended:
        return refused("CONTRADICTION", at="/units_attended")
    if stands is None:
        known = {id: meetings.count(sheet) for id, sheet in case.attendance.sheets.items()}
        mine = sum(known.get(id, 0) for id in case.told_by(referral.provider_organisation_id))
        if mine >= MOST_MEETINGS_OF_ONE or sum(known.values()) >= MOST_MEETINGS:
            return refused("TOO_MANY_OF_A_CASE")
    return AttendanceRecorded(
        by=report.by, participation_id=report.participation_id, meeting_id=report.meeting_id, meeting_on=report.meeting_on,
        units_planned=report.units_planned, units_attended=report.units_attended, presence=report.presence,
        excuse_reason=report.excuse_reason, revision=report.revision, reported_at=report.reported_at,
    )  # fmt: skip
