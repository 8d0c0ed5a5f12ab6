"""What a case holds of its course meetings, packed: the same as a dictionary of them would, in any order, and as small as said."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import ExcuseReason, Presence
from services.referral.domain import Case, meetings
from services.referral.domain.meetings import Meeting
from services.referral.domain.risks import absences
from services.referral.domain.state import End, Participation, Start
from services.runtime.database import encode
from tests.publishing import Course
from tests.unit.in_services.test_referral_rules import START, running

# ids whose bytes are found again across the borders of rows, and one like any other
IDS = ["00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001", "01000000-0000-0000-0000-000000000000",
       "55555555-5555-4555-5555-555555555555", "0b4ad7e2-0d0a-4f57-9d0c-9f4a2c6a4d11"]  # fmt: skip
KNOWN = st.builds(
    Meeting,
    on=st.dates(date(1, 1, 1), date(9999, 12, 31)) | st.dates(START, START + timedelta(days=5)),
    presence=st.sampled_from([presence.value for presence in Presence]),
    units_planned=st.integers(0, 32),
    units_attended=st.integers(0, 32),
    excuse_reason=st.sampled_from([None, *(reason.value for reason in ExcuseReason)]),
    reported_at=st.datetimes(timezones=st.just(UTC)),
    revision=st.integers(1, 1_000_000_000),
)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(IDS) | st.uuids().map(str), KNOWN),
        max_size=12,
        unique_by=lambda one: (one[0], one[1].reported_at, one[1].revision),
    )
)
def test_a_sheet_holds_what_a_dictionary_would(said: list[tuple[str, Meeting]]) -> None:
    sheet, known = b"", dict[str, Meeting]()
    for id, meeting in said:
        sheet = meetings.noted(sheet, id, meeting)
        if id not in known or (meeting.reported_at, meeting.revision) > (known[id].reported_at, known[id].revision):
            known[id] = meeting
    assert {id: meetings.meeting(sheet, id) for id in {*IDS, *known}} == {**dict.fromkeys(IDS), **known}
    assert meetings.count(sheet) == len(known)
    letters = dict(zip(Presence, "PLEUN", strict=True))
    in_order = sorted(
        (meeting.on, letters[Presence(meeting.presence)], UUID(id).bytes) for id, meeting in known.items()
    )
    assert meetings.presences(sheet).decode() == "".join(letter for _, letter, _ in in_order)
    assert [meetings.day_at(sheet, place) for place in range(len(known))] == [day for day, _, _ in in_order]
    backwards = b""
    for id, meeting in reversed(said):
        backwards = meetings.noted(backwards, id, meeting)
    assert backwards == sheet, "whatever came first"


DAYS = 9


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.integers(0, DAYS), st.sampled_from(list(Presence))), max_size=16),
    st.integers(0, 3),
    st.none() | st.integers(4, DAYS),
    st.none() | st.integers(0, DAYS),
    st.none() | st.integers(0, DAYS),
)
def test_absences_are_those_of_a_calendar(
    rows: list[tuple[int, Presence]], start: int, end: int | None, withdrawn: int | None, closed: int | None
) -> None:
    """Day by day, as somebody with a calendar would tell them."""
    course = Course(START)
    case = running(course)
    referral = case.referral.referrals[course.referral]
    at = datetime(2026, 5, 1, tzinfo=UTC)
    sheet = b""
    for n, (day, presence) in enumerate(rows):
        meeting = Meeting(START + timedelta(days=day), presence.value, 4, 0, None, at, 1)
        sheet = meetings.noted(sheet, str(UUID(int=n)), meeting)
    case.attendance.sheets[course.participation] = sheet
    if withdrawn is not None:
        consent = case.intake.consents[course.consent]
        case.intake.consents[course.consent] = consent._replace(withdrawn_on=START + timedelta(days=withdrawn))
    case.intake.last_day_on = None if closed is None else START + timedelta(days=closed)
    participation = Participation(course.referral, Start(START + timedelta(days=start), at, 1))
    if end is not None:
        participation.end = End(START + timedelta(days=end), "COMPLETED", "", at, 1)
    came = [on for on, presence in rows if presence in (Presence.PRESENT, Presence.LATE)]
    expected: list[tuple[list[date], bool, date]] = []
    standing: list[date] = []
    after = date.min
    for day in range(start, DAYS + 1 if end is None else end):
        said = {presence for on, presence in rows if on == day}
        if said & {Presence.PRESENT, Presence.LATE}:
            expected += [(standing, True, after)] if standing else []
            standing = []
        elif (
            Presence.UNEXCUSED in said and (withdrawn is None or day < withdrawn) and (closed is None or day <= closed)
        ):
            after = (
                after if standing else max((START + timedelta(days=on) for on in came if on < day), default=date.min)
            )
            standing = [*standing, START + timedelta(days=day)]
    expected += [(standing, False, after)] if standing else []
    assert [tuple(run) for run in absences(case, course.participation, participation, referral)] == expected


def test_every_code_has_its_letter_and_a_year_its_size() -> None:
    assert set(meetings.PRESENCES) == set(Presence) and set(meetings.REASONS) == {None, *ExcuseReason}
    for letters in (meetings.PRESENCES, meetings.REASONS):
        assert len(set(letters.values())) == len(letters)
    assert max(meetings.PRESENCES.values()) == meetings.PRESENCES[Presence.UNEXCUSED], (
        "who came stands before who did not"
    )
    with pytest.raises(KeyError):
        meetings.noted(b"", IDS[0], Meeting(START, "DREAMT", 4, 0, None, datetime.now(UTC), 1))
    case, sheet = Case(IDS[0], "rkn"), b""
    for n in range(52):
        meeting = Meeting(START + timedelta(days=7 * n), "PRESENT", 4, 4, None, datetime.now(UTC), 1)
        sheet = meetings.noted(sheet, str(UUID(int=n)), meeting)
    case.attendance.sheets[IDS[1]] = sheet
    assert len(sheet) == 52 * 35 and len(encode(case)) < 2_800
