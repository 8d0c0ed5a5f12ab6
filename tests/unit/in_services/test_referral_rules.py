"""Rules of referral as functions of values: it does, it refuses, it stays quiet; any order ends the same."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import permutations, product
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import attendance
from contracts.attendance import AttendanceRecorded
from contracts.codes import DataCategory, DeclineReason, EndKind, EndReason, ExcuseReason, Presence, ReferralAnswer
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import By, Fact, Refused, Unchanged, day_of
from contracts.intake import CaseClosed, CaseOpened, ConsentGranted, ConsentRevoked
from contracts.referral import (
    REASONS,
    ParticipationEnded,
    ParticipationEndReported,
    ParticipationStarted,
    ParticipationStartReported,
    ReferralAccepted,
    ReferralAnswered,
    ReferralDeclined,
    ReferralRequested,
    ReferralSent,
    ReferralStopped,
    ReferralWithdrawn,
)
from services.referral.domain import Case, Run, answer, attend, due, end, evolve, react, refer, start, view, withdraw
from services.referral.domain import meetings as packed
from services.referral.domain.risks import Thresholds
from tests.publishing import OWNER, PROVIDER, Course

START = date(2026, 3, 2)
ARRIVED = datetime(2026, 6, 1, tzinfo=UTC)
TICK = datetime(2026, 5, 1, tzinfo=UTC)


def running(course: Course, *, started: bool = True, offer_type: str = "LANGUAGE_COURSE") -> Case:
    case = Case(course.case, "rkn")
    facts: list[Fact] = [
        CaseOpened(by=OWNER, municipality="05162024", programme="GK", sex="UNKNOWN", birth_year_band="UNKNOWN", language="UNKNOWN",
                   status_group="UNKNOWN", owner_organisation_id="rkn-thm"),
        ConsentGranted(by=OWNER, consent_id=course.consent, purpose="REFERRAL", categories=("LANGUAGE",),
                       recipients=("vhs-neuss",), valid_from_on=START, last_valid_on=START + timedelta(days=400)),
        ReferralSent(by=OWNER, referral_id=course.referral, run_id=course.run, consent_id=course.consent,
                     categories=("LANGUAGE",), requested_on=START, owner_organisation_id="rkn-thm",
                     provider_organisation_id="vhs-neuss", block="F4", offer_type=offer_type, run_starts_on=START,
                     run_ends_before_on=START + timedelta(days=90)),
        ReferralAccepted(by=PROVIDER, referral_id=course.referral, planned_start_on=START, answered_on=START),
    ]  # fmt: skip
    if started:
        facts.append(
            ParticipationStarted(by=PROVIDER, participation_id=course.participation, referral_id=course.referral,
                                 run_id=course.run, block="F4", started_on=START, revision=1, reported_at=TICK)
        )  # fmt: skip
    for fact in facts:
        evolve(case, fact, "")
    return case


def reported(
    case: Case, course: Course, n: int, presence: Presence, revision: int = 1, meeting: str | None = None
) -> Fact:
    said = course.attendance(meeting or str(uuid4()), START + timedelta(days=n), presence, revision)
    excuse = ExcuseReason.PERSONAL if presence is Presence.EXCUSED else None
    decision = attend(said.model_copy(update={"excuse_reason": excuse}), case, ARRIVED)
    assert isinstance(decision, Fact), decision
    evolve(case, decision, str(uuid4()))
    return decision


def settle(case: Case, at: datetime = TICK) -> list[Fact]:
    facts = react(case, at)
    for fact in facts:
        evolve(case, fact, "")
    assert react(case, at) == []  # the second time it says nothing
    return facts


def test_two_unexcused_days_in_a_row_raise_the_risk_once() -> None:
    course = Course(START)
    case = running(course)
    reported(case, course, 0, Presence.UNEXCUSED)
    assert settle(case) == []
    reported(case, course, 1, Presence.NOT_RECORDED)
    reported(case, course, 2, Presence.UNEXCUSED)
    (risk,) = settle(case)
    assert isinstance(risk, DropoutRiskRaised) and risk.first_on == START and len(risk.days_on) == 2
    reported(case, course, 3, Presence.UNEXCUSED)
    assert settle(case) == []  # more days, the same risk


@pytest.mark.parametrize("oldest_first", [True, False])
def test_who_is_absent_all_month_is_no_history_although_the_month_comes_at_once(oldest_first: bool) -> None:
    """What an office hears of is the newest day that was said: it must be news where the newest absence is."""
    course, today = Course(START), START + timedelta(days=30)
    case, tick = running(course), datetime(2026, 4, 1, 6, tzinfo=UTC)
    said: list[date] = []
    for n in range(30) if oldest_first else reversed(range(30)):
        reported(case, course, n, Presence.UNEXCUSED)
        for fact in settle(case, tick):
            said += [max(fact.days_on)] if isinstance(fact, DropoutRiskRaised) else []
            said += [fact.last_missed_on] if isinstance(fact, DropoutRiskContinued) else []
    assert [risk.first_on for risk in case.dropout.open] == [START]
    assert today - said[-1] <= timedelta(days=7)
    assert len(said) <= 10 if oldest_first else len(said) == 29  # another first day is another risk
    assert settle(case, tick + timedelta(days=20)) == []  # by then it is history


def test_what_ended_long_ago_is_not_said_to_go_on() -> None:
    course = Course(START)
    case = running(course)
    for n in range(9):
        reported(case, course, n, Presence.UNEXCUSED)
        facts = settle(case, datetime(2026, 5, 1, 6, tzinfo=UTC))
        assert [type(fact) for fact in facts] == ([DropoutRiskRaised] if n == 1 else [])


def test_attendance_withdraws_the_risk_as_attended_and_a_correction_as_corrected() -> None:
    course = Course(START)
    case = running(course)
    meetings = [str(uuid4()) for _ in range(2)]
    for n, meeting in enumerate(meetings):
        reported(case, course, n, Presence.UNEXCUSED, meeting=meeting)
    settle(case)
    reported(case, course, 1, Presence.PRESENT, 2, meetings[1])
    (withdrawn,) = settle(case)
    assert isinstance(withdrawn, DropoutRiskWithdrawn) and withdrawn.reason == "CORRECTED"
    reported(case, course, 1, Presence.UNEXCUSED, 3, meetings[1])
    settle(case)
    reported(case, course, 5, Presence.PRESENT)
    (withdrawn,) = settle(case)
    assert isinstance(withdrawn, DropoutRiskWithdrawn) and withdrawn.reason == "ATTENDED"


@pytest.mark.parametrize(
    ("offer_type", "missed", "raised"),
    [
        ("LANGUAGE_COURSE", (8, 9), None),
        ("LANGUAGE_COURSE", (7, 8, 9), (9, 1, 7)),
        ("LANGUAGE_COURSE", (9, 10), (10, 2, 9)),
        ("LANGUAGE_COURSE", (8, 9, 10), (10, 2, 8)),
        ("COACHING", (8, 9), (9, 1, 8)),
        ("COACHING", (9, 10, 11), None),
        ("COACHING", (9, 10, 11, 12), (12, 2, 9)),
    ],
)
def test_how_many_days_raise_the_risk_is_said_by_the_version_of_the_judged_day_for_the_offers_type(
    offer_type: str, missed: tuple[int, ...], raised: tuple[int, int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 holds from day 10 on, whenever the days are reported. `raised`: judged day, rule version, first day."""
    versions = (
        Thresholds(1, date.min, {"LANGUAGE_COURSE": 3}, otherwise=2),
        Thresholds(2, START + timedelta(days=10), {"LANGUAGE_COURSE": 2}, otherwise=4),
    )
    monkeypatch.setattr("services.referral.domain.risks.S2_THRESHOLDS", versions)
    course = Course(START)
    case = running(course, offer_type=offer_type)
    seen = []
    for n in missed:
        reported(case, course, n, Presence.UNEXCUSED)
        for fact in settle(case):
            assert isinstance(fact, DropoutRiskRaised)
            assert fact.days_on == tuple(START + timedelta(days=day) for day in missed if day <= n)
            seen.append((n, fact.rule_version, (fact.first_on - START).days))
    assert seen == ([raised] if raised else [])
    (row,) = view(case)["risk_list"]
    assert row[7] == (START + timedelta(days=raised[0]) if raised else None)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stricter_version_undoes_no_risk_that_held_before_it(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent on 8, 9, 10, 11: from day 9 on it holds by version 1; the fourth absence is no correction of the second."""
    versions = (Thresholds(1, date.min, {}, otherwise=2), Thresholds(2, START + timedelta(days=10), {}, otherwise=4))
    monkeypatch.setattr("services.referral.domain.risks.S2_THRESHOLDS", versions)
    course = Course(START)
    case = running(course)
    seen: list[Fact] = []
    for n in range(8, 12):
        reported(case, course, n, Presence.UNEXCUSED)
        seen += [] if at_once and n < 11 else settle(case)
    (fact,) = seen
    assert isinstance(fact, DropoutRiskRaised)
    assert (fact.rule_version, fact.first_on) == (1, START + timedelta(days=8))


def test_a_day_that_differs_is_not_called_unchanged() -> None:
    """What was left on another day than is said now stands as it was said first."""
    course = Course(START)
    case, later = running(course, started=False), START + timedelta(days=12)
    said = ReferralAnswered(
        by=PROVIDER,
        referral_id=course.referral,
        answer=ReferralAnswer.DECLINED,
        reason=DeclineReason.FULL,
        answered_on=later,
    )
    fact = answer(said, case, ARRIVED)
    assert isinstance(fact, ReferralDeclined)
    evolve(case, fact, "")
    assert answer(said, case, ARRIVED) == Unchanged()
    other = answer(said.model_copy(update={"answered_on": START + timedelta(days=3)}), case, ARRIVED)
    assert isinstance(other, Refused) and other.reason == "NOT_OPEN"


def test_the_risk_closes_with_its_participation_and_a_drop_out_follows_only_a_reported_end() -> None:
    course = Course(START)
    case = running(course)
    for n in range(2):
        reported(case, course, n, Presence.UNEXCUSED)
    settle(case)
    end = ParticipationEnded(by=PROVIDER, participation_id=course.participation, ended_before_on=START + timedelta(days=9),
                             kind="DROPPED_OUT", reason="WORK", revision=1, reported_at=TICK)  # fmt: skip
    evolve(case, end, "")
    assert [type(fact).__name__ for fact in settle(case)] == ["DropoutRiskWithdrawn", "DroppedOut"]
    evolve(case, end.model_copy(update={"kind": "COMPLETED", "revision": 2}), "")
    assert [type(fact).__name__ for fact in settle(case)] == ["DroppedOutWithdrawn"]


def test_somebody_who_does_not_start_is_seen_after_seven_days_and_not_before() -> None:
    course = Course(START)
    case = running(course, started=False)
    moment = due(case, TICK)
    assert moment is not None and moment.date() == START + timedelta(days=7)
    assert settle(case, moment - timedelta(seconds=1)) == []
    assert [type(fact).__name__ for fact in settle(case, moment)] == ["DropoutRiskRaised"] and due(case, TICK) is None


def s6_by_hand(planned: date, starts: list[date], over_on: date | None) -> date | None:
    """Day by day: the first on which a week has passed, nobody is there, and somebody is still expected."""
    day = planned
    while (day - planned).days < 7:
        if day in starts or day == over_on:
            return None
        day += timedelta(days=1)
    return None if any(start < day for start in starts) or (over_on is not None and over_on < day) else day


WEEK = [START + timedelta(days=n) for n in (0, 3, 6, 7, 8, 12)]
OVER: dict[str, Callable[[Course, date], Fact]] = {
    "declined": lambda course, on: ReferralDeclined(by=PROVIDER, referral_id=course.referral, reason="FULL", answered_on=on),
    "taken back": lambda course, on: ReferralStopped(by=OWNER, referral_id=course.referral, reason="PERSON_WITHDREW", stopped_on=on),
    "closed": lambda _course, on: CaseClosed(by=OWNER, last_day_on=on, reason="OTHER"),
    # nothing rests on it on the day itself: the day before was the last
    "revoked": lambda course, on: ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=on + timedelta(days=1)),
}  # fmt: skip


def came(course: Course, on: date) -> ParticipationStarted:
    return ParticipationStarted(by=PROVIDER, participation_id=course.participation, referral_id=course.referral, run_id=course.run,
                                block="F4", started_on=on, revision=1, reported_at=TICK)  # fmt: skip


def planned(course: Course, answered_on: date) -> ReferralAccepted:
    return ReferralAccepted(
        by=PROVIDER, referral_id=course.referral, planned_start_on=day_of(TICK), answered_on=answered_on
    )


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("starts", "ATTENDED"),
        ("started in time", "CORRECTED"),
        ("planned later", "CORRECTED"),
        ("agreed anew", "REPLANNED"),
        ("in error", "CORRECTED"),
        *((how, "ENDED") for how in OVER),
    ],
)
def test_a_no_show_is_withdrawn_once_and_says_why(how: str, why: str) -> None:
    """Whose consent or case has ended: the referral is stopped first, and only then the risk withdrawn."""
    course, on = Course(START), START + timedelta(days=9)
    case = running(course, started=False)
    risk, goes_on = settle(case, datetime(2026, 3, 10, 6, tzinfo=UTC))
    assert isinstance(risk, DropoutRiskRaised) and isinstance(goes_on, DropoutRiskContinued)
    assert (risk.about, risk.rule, risk.first_on) == (course.referral, "S6", START)  # the planned start
    happens = OVER | {
        "starts": came,
        # and it is heard a week late: she did not stay away
        "started in time": lambda course, on: came(course, on - timedelta(days=3)),
        # a planned start that is corrected keeps the day of its answer; a new one is agreed once nobody has come
        "planned later": lambda course, _on: planned(course, START),
        "agreed anew": planned,
        # of what never was nobody is asked for the next step
        "in error": lambda course, on: ReferralStopped(
            by=OWNER, referral_id=course.referral, reason="ENTERED_IN_ERROR", stopped_on=on),
    }  # fmt: skip
    evolve(case, happens[how](course, on), "")
    if how in ("closed", "revoked"):
        (stopped,) = react(case, TICK)
        assert isinstance(stopped, ReferralStopped)
        evolve(case, stopped, "")
    (withdrawn,) = settle(case)
    assert isinstance(withdrawn, DropoutRiskWithdrawn) and withdrawn.reason == why
    assert (withdrawn.case_id, withdrawn.about, withdrawn.rule, withdrawn.first_on) == (
        course.case, course.referral, "S6", START,
    )  # fmt: skip
    assert (withdrawn.owner_organisation_id, withdrawn.as_of) == ("rkn-thm", TICK)
    assert case.dropout.open == []


Handed = Callable[[Case, Course], object]
MEETINGS = [str(UUID(int=n)) for n in range(1, 20)]


def meets(n: int, presence: str, revision: int = 1) -> Handed:
    return lambda case, course: reported(case, course, n, Presence(presence), revision, MEETINGS[n])


def ends(n: int, kind: str = "DROPPED_OUT", revision: int = 1) -> Handed:
    def handed(case: Case, course: Course) -> None:
        evolve(case, ParticipationEnded(by=PROVIDER, participation_id=course.participation, ended_before_on=START + timedelta(days=n),
                                        kind=kind, reason="UNKNOWN", revision=revision, reported_at=TICK), "")  # fmt: skip

    return handed


def begins(n: int, revision: int = 1) -> Handed:
    return lambda case, course: evolve(
        case, came(course, START + timedelta(days=n)).model_copy(update={"revision": revision}), ""
    )


def agrees(answered: int, n: int) -> Handed:
    """A yes of a day, for a start on another, as days after START."""
    return lambda case, course: evolve(case, ReferralAccepted(by=PROVIDER, referral_id=course.referral,
        planned_start_on=START + timedelta(days=n), answered_on=START + timedelta(days=answered)), "")  # fmt: skip


def leaves(how: str) -> Handed:
    def handed(case: Case, course: Course) -> None:
        evolve(case, OVER[how](course, START + timedelta(days=10)), "")
        for stopped in [fact for fact in react(case, TICK) if isinstance(fact, ReferralStopped)]:
            evolve(case, stopped, "")

    return handed


def words(uploads: Sequence[Sequence[Handed]], *, begun: bool = True) -> list[dict[int, str]]:
    """Of each upload, a tick each, the last that is said of each risk that is over, by its first day: what a mail says."""
    course, heard = Course(START), list[dict[int, str]]()
    case = running(course, started=begun)
    for n, upload in enumerate(uploads):
        last: dict[int, str] = {}
        for handed in upload or [lambda *_: None]:
            handed(case, course)
            for fact in settle(case, datetime(2026, 3, 10, 6, tzinfo=UTC) + n * timedelta(days=1)):
                if isinstance(fact, DropoutRiskWithdrawn):
                    last[(fact.first_on - START).days] = fact.reason
        heard.append(last)
    return heard


AWAY: list[Handed] = [meets(0, "UNEXCUSED"), meets(1, "UNEXCUSED")]
BACK, NOTE = meets(2, "PRESENT"), [meets(0, "EXCUSED", 2), meets(1, "EXCUSED", 2)]
WHY: list[tuple[list[list[Handed]], list[dict[int, str]]]] = [
    # the provider sends the day of her return, then the sick note; or the note a week later
    ([[BACK, *NOTE]], [{0: "CORRECTED"}]),
    ([[BACK], NOTE], [{0: "ATTENDED"}, {0: "CORRECTED"}]),
    # half of the note: she was away without excuse on one day alone
    ([[BACK], NOTE[:1]], [{0: "ATTENDED"}, {0: "CORRECTED"}]),
    # it was never so, heard after the end
    ([[ends(3)], [meets(0, "PRESENT", 2), meets(1, "PRESENT", 2)]], [{0: "ENDED"}, {0: "CORRECTED"}]),
    # what lies behind the end as it is known now was still so
    ([[ends(1)]], [{0: "ENDED"}]),
    # she came once more and was gone: nobody closes that worry; where she leaves later, it had been settled
    ([[BACK, ends(3)]], [{0: "ENDED"}]),
    ([[BACK], [ends(3)]], [{0: "ATTENDED"}, {}]),
    # it is taken back that she came, after the end
    ([[BACK], [ends(3)], [meets(2, "UNEXCUSED", 2)]], [{0: "ATTENDED"}, {}, {0: "ENDED"}]),
    ([[ends(3)], [ends(3, "ENTERED_IN_ERROR", 2), BACK]], [{0: "ENDED"}, {0: "ATTENDED"}]),
    # corrected, and that corrected
    ([[*NOTE], [BACK], [meets(0, "UNEXCUSED", 3), meets(1, "UNEXCUSED", 3)]], [{0: "CORRECTED"}, {}, {0: "ATTENDED"}]),
]  # fmt: skip


@pytest.mark.parametrize(("uploads", "expected"), WHY)
def test_why_a_worry_is_over_is_what_is_known_by_the_tick_in_whatever_order_it_is_handed_in(
    uploads: list[list[Handed]], expected: list[dict[int, str]]
) -> None:
    """What ended it first stuck: of a correction that was heard after it, nobody was told."""
    for orders in product(*(permutations(upload) for upload in uploads)):
        assert words([AWAY, *orders, [], []]) == [{}, *expected, {}, {}]


def test_what_was_told_by_an_earlier_tick_counts_however_much_is_handed_in_within_one() -> None:
    """What comes of it is the same in any order of one tick, also where it is raised in between."""
    told: list[list[Handed]] = [AWAY, [meets(4, "PRESENT")]]
    for order in permutations([meets(2, "UNEXCUSED"), ends(6), meets(0, "EXCUSED", 2)]):
        assert {0: "ATTENDED"} | words([*told, order])[2] == {0: "ATTENDED"}
    # somebody mistook the day, and mended it within minutes: what was told stands, also where it was raised between
    mended = [meets(2, "UNEXCUSED", 2), meets(2, "PRESENT", 3)]
    assert words([AWAY, [BACK], [ends(3)], mended, []])[3:] == [{0: "ATTENDED"}, {}]
    for order in permutations([*mended, ends(3)]):
        assert {0: "ATTENDED"} | words([AWAY, [BACK], order])[2] == {0: "ATTENDED"}
    # what was told to hold by the tick before is open again, and ends
    assert words([AWAY, [BACK], mended[:1], [ends(3)], []])[3:] == [{0: "ENDED"}, {}]


def test_why_it_is_over_does_not_depend_on_which_of_its_days_were_said() -> None:
    """A worry that went on within the tick, or was raised by another of its days, was an end with a next step, or our error, as the
    reports came. She was excused at first, stayed away later, and was gone."""
    later = [meets(4, "UNEXCUSED"), meets(5, "UNEXCUSED")]
    for order in permutations([*NOTE, *later, ends(8)]):
        assert words([AWAY, order])[1][0] == "ENDED"
    for order in permutations([*AWAY, later[0]]):
        assert words([order, [*NOTE, later[1], ends(8)]])[1][0] == "ENDED"
    # she was there meanwhile: what came after it is another worry
    for order in permutations([*NOTE, meets(3, "PRESENT"), *later, ends(8)]):
        assert words([AWAY, order])[1][0] == "CORRECTED"


DAYS = st.tuples(st.sampled_from([0, 1, 3, 4]), st.sampled_from(["UNEXCUSED", "EXCUSED", "PRESENT"]))
UPLOAD = st.lists(
    DAYS | st.tuples(st.just(8), st.sampled_from(["DROPPED_OUT", "ENTERED_IN_ERROR"])), min_size=3, max_size=6
)


@settings(max_examples=150)
@given(uploads=st.lists(UPLOAD, min_size=1, max_size=3), chance=st.randoms(use_true_random=False))
def test_what_becomes_of_a_worry_that_was_told_is_the_same_in_whatever_order_each_tick_came(
    uploads: list[list[tuple[int, str]]], chance: Random
) -> None:
    """Of each tick: what holds, and why the others are over that held at the end of an earlier one."""
    handed = [AWAY] + [
        [(ends if day == 8 else meets)(day, what, 10 * n + m) for m, (day, what) in enumerate(upload, 1)]
        for n, upload in enumerate(uploads, 1)
    ]
    expected = stands(handed)
    for _ in range(3):
        assert stands([chance.sample(upload, len(upload)) for upload in handed]) == expected


def stands(uploads: Sequence[Sequence[Handed]]) -> list[tuple[set[int], dict[int, str]]]:
    course, told, why, found = Course(START), set[int](), dict[int, str](), list[tuple[set[int], dict[int, str]]]()
    case = running(course)
    for n, upload in enumerate(uploads):
        for handed in [*upload, lambda *_: None]:
            handed(case, course)
            for fact in settle(case, datetime(2026, 3, 10, 6, tzinfo=UTC) + n * timedelta(days=2)):
                if isinstance(fact, DropoutRiskWithdrawn):
                    why[(fact.first_on - START).days] = fact.reason
        holds = {(risk.first_on - START).days for risk in case.dropout.open}
        found.append((holds, {day: reason for day, reason in why.items() if day in told - holds}))
        told |= holds
    return found


def test_a_worry_whose_first_day_moved_is_not_said_again_under_the_old_one() -> None:
    """An older absence is handed in: before she came again the office hears of both days as one, and after it of nothing."""
    away = [meets(4, "UNEXCUSED"), meets(5, "UNEXCUSED")]
    older, back = meets(1, "UNEXCUSED"), meets(6, "PRESENT")
    assert words([away, [older], [back], []]) == [{}, {4: "CORRECTED"}, {1: "ATTENDED"}, {}]
    assert words([away, [back], [older], []]) == [{}, {4: "ATTENDED"}, {}, {}]
    assert words([away, [older, back], []])[1][4] == words([away, [back, older], []])[1][4] == "ATTENDED"


@pytest.mark.parametrize(
    ("uploads", "expected"),
    [
        # who never came is reported to end on the day of the start
        ([[begins(0), ends(0)]], [{0: "ENDED"}]),
        ([[begins(0)], [ends(0)]], [{0: "CORRECTED"}, {0: "ENDED"}]),
        ([[begins(8)], [ends(8)], [ends(8, "ENTERED_IN_ERROR", 2)]], [{0: "ATTENDED"}, {0: "ENDED"}, {0: "ATTENDED"}]),
        # whoever came late and went: settled, if that was said before
        ([[begins(8), ends(9)]], [{0: "ENDED"}]),
        ([[begins(8)], [ends(9)]], [{0: "ATTENDED"}, {}]),
        # the start is corrected
        ([[begins(8)], [begins(0, 2)], [begins(7, 3)]], [{0: "ATTENDED"}, {0: "CORRECTED"}, {0: "ATTENDED"}]),
        # the provider corrects the planned start: it was wrong, whatever comes of the other
        ([[lambda case, course: evolve(case, planned(course, START), "")], [begins(9)]], [{0: "CORRECTED"}, {}]),
        ([[lambda case, course: evolve(case, planned(course, START + timedelta(days=8)), "")], [begins(9)]], [{0: "REPLANNED"}, {}]),
        ([[lambda case, course: evolve(case, planned(course, START + timedelta(days=8)), "")], [begins(6)]],
         [{0: "REPLANNED"}, {0: "CORRECTED"}]),
        # whoever was expected on another day in time was so, whatever is agreed after it, and whichever is heard first
        ([[agrees(0, 8)], [agrees(11, 20)]], [{0: "CORRECTED"}, {}]),
        ([[agrees(5, 12)], [agrees(9, 20)]], [{0: "CORRECTED"}, {}]),
        ([[agrees(9, 20)], [agrees(5, 12)]], [{0: "REPLANNED"}, {0: "CORRECTED"}]),
        ([[agrees(9, 20)], [agrees(11, 30)]], [{0: "REPLANNED"}, {}]),
        # nobody is expected on the other day any more; but who has come by then has
        *(([[agrees(9, 20)], [leaves(how)]], [{0: "REPLANNED"}, {0: "ENDED"}]) for how in OVER),
        ([[agrees(9, 20)], [begins(9)], [ends(10)]], [{0: "REPLANNED"}, {}, {}]),
        # in time, and that is corrected
        ([[agrees(9, 20)], [begins(6)], [begins(9, 2)]], [{0: "REPLANNED"}, {0: "CORRECTED"}, {0: "ATTENDED"}]),
    ],
)  # fmt: skip
def test_why_a_no_show_is_over_is_said_again_where_it_turns_out_otherwise(
    uploads: list[list[Handed]], expected: list[dict[int, str]]
) -> None:
    assert words([[], *uploads, [], []], begun=False) == [{}, *expected, {}, {}]


def test_why_it_is_over_is_said_again_for_eight_weeks() -> None:
    for weeks, said in ((7, {0: "CORRECTED"}), (9, {})):
        quiet: list[list[Handed]] = [[]] * (7 * weeks)
        assert words([AWAY, [BACK], *quiet, NOTE])[-1] == said


@pytest.mark.parametrize("told_late", [True, False])
@pytest.mark.parametrize("how", ["starts", "starts twice", *OVER])
@pytest.mark.parametrize("on", WEEK)
def test_the_first_day_of_a_no_show_is_one_on_which_somebody_was_missing_as_known_now(
    on: date, how: str, told_late: bool
) -> None:
    """Whoever came in time was no no-show, although it was told late and S6 had been raised and withdrawn."""
    course = Course(START)
    case = running(course, started=False)
    steps: list[Fact | None] = [None]  # where None stands, the tick after the eighth day is acted on
    if how in OVER:
        steps.append(OVER[how](course, on))
    else:
        days = [on, START + timedelta(days=20)] if how == "starts twice" else [on]
        steps += [
            ParticipationStarted(by=PROVIDER, participation_id=str(uuid4()), referral_id=course.referral, run_id=course.run,
                                 block="F4", started_on=day, revision=1, reported_at=TICK) for day in reversed(days)
        ]  # fmt: skip
    for step in steps if told_late else reversed(steps):
        if step is None:
            settle(case, datetime(2026, 3, 10, 6, tzinfo=UTC))
        else:
            evolve(case, step, "")
    while facts := react(case, ARRIVED):
        for fact in facts:
            evolve(case, fact, "")
    expected = s6_by_hand(START, [on] if how not in OVER else [], on if how in OVER else None)
    rows = [row for row in view(case)["risk_list"] if row[1] == "S6"]
    assert [row[7] for row in rows] == ([expected] if told_late else [])


def test_a_no_show_that_is_expected_later_holds_on_no_day_before_it_does() -> None:
    """The list said in March that it holds from May, and `lotse risks` told so."""
    course, later = Course(START), START + timedelta(days=60)
    case = running(course, started=False)
    settle(case, datetime(2026, 3, 10, 6, tzinfo=UTC))
    moved = ReferralAccepted(
        by=PROVIDER, referral_id=course.referral, planned_start_on=later, answered_on=START + timedelta(days=8)
    )
    evolve(case, moved, "")
    for day, expected in ((10, None), (66, None), (67, START + timedelta(days=67))):
        settle(case, datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(days=day))
        (row,) = view(case)["risk_list"]
        assert (row[1], row[7], row[9]) == ("S6", expected, expected is not None)


def test_of_a_risk_that_is_open_the_list_says_since_when_though_another_held_long_before() -> None:
    """She came again in between: "open", and from a day in March, read as three months away."""
    course = Course(START)
    case = running(course)
    for n, presence in ((1, "UNEXCUSED"), (2, "UNEXCUSED"), (3, "PRESENT"), (60, "UNEXCUSED"), (61, "UNEXCUSED")):
        reported(case, course, n, Presence(presence))
        settle(case)
        (row,) = view(case)["risk_list"]
        since = START + timedelta(days=1 if n < 60 else 60) if n in (2, 61) else None
        assert (row[9], row[11]) == (since is not None, since)
    assert row[7] == START + timedelta(days=2)
    case = running(course, started=False)
    settle(case)
    assert view(case)["risk_list"][0][7::4] == (START + timedelta(days=7), START)


@pytest.mark.parametrize("how", ["closed", "revoked"])
def test_nobody_was_missed_where_the_case_or_the_consent_turns_out_to_have_ended_before(how: str) -> None:
    """Whoever started after that day was told of before it was known: the referral stands, and is not stopped."""
    course = Course(START)
    case = running(course, started=False)
    settle(case, datetime(2026, 3, 10, 6, tzinfo=UTC))
    late = ParticipationStarted(by=PROVIDER, participation_id=course.participation, referral_id=course.referral, run_id=course.run,
                                block="F4", started_on=START + timedelta(days=8), revision=1, reported_at=TICK)  # fmt: skip
    for fact, expected in ((late, START + timedelta(days=7)), (OVER[how](course, START + timedelta(days=5)), None)):
        evolve(case, fact, "")
        settle(case, ARRIVED)
        (row,) = [row for row in view(case)["risk_list"] if row[1] == "S6"]
        assert row[7] == expected


def test_nobody_worries_about_the_start_of_what_is_stopped_in_the_same_breath() -> None:
    course = Course(START)
    case = running(course, started=False)
    evolve(case, ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=START), "")
    assert [type(fact).__name__ for fact in settle(case)] == [
        "ReferralStopped"
    ]  # the planned start is weeks ago by TICK
    assert react(case, TICK) == []


def test_a_withdrawn_consent_stops_what_is_open_and_refuses_days_from_then_on() -> None:
    course = Course(START)
    open_ = running(course, started=False)
    evolve(open_, ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=START + timedelta(days=3)), "")
    assert [getattr(fact, "reason", "") for fact in settle(open_, datetime(2026, 3, 3, tzinfo=UTC))] == [
        "CONSENT_WITHDRAWN"
    ]
    case = running(course)
    evolve(case, ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=START + timedelta(days=3)), "")
    assert settle(case) == []  # what has started is not ended by it
    reported(case, course, 2, Presence.PRESENT)
    no = attend(course.attendance(str(uuid4()), START + timedelta(days=3), Presence.PRESENT), case, ARRIVED)
    assert isinstance(no, Refused) and no.reason == "NO_CONSENT"


CLOSED = CaseClosed(by=OWNER, last_day_on=START + timedelta(days=18), reason="OTHER")
REVOKED_ON = START + timedelta(days=19)  # the day after the last of CLOSED


def ending(course: Course, how: str) -> Fact:
    """What ends a case, or a consent, after the eighteenth day."""
    return CLOSED if how == "closed" else ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=REVOKED_ON)


def started(course: Course, on: date, **more: Any) -> ParticipationStartReported:
    report, _ = course.steps()[5]
    assert isinstance(report, ParticipationStartReported)
    return report.model_copy(update={"started_on": on, **more})


@pytest.mark.parametrize(("how", "why"), [("closed", "CASE_CLOSED"), ("revoked", "NO_CONSENT")])
def test_a_start_before_the_end_is_taken_although_it_is_heard_after_it_and_both_orders_end_the_same(
    how: str, why: str
) -> None:
    course = Course(START)
    states = []
    for first in (True, False):
        case = running(course, started=False)
        if not first:
            evolve(case, ending(course, how), "")
            assert [type(fact) for fact in settle(case, ARRIVED)] == [ReferralStopped]
        fact = start(started(course, START + timedelta(days=18)), case, ARRIVED)
        assert isinstance(fact, ParticipationStarted)
        evolve(case, fact, "")
        settle(case, ARRIVED)
        if first:
            evolve(case, ending(course, how), "")
            assert settle(case, ARRIVED) == []
        reported(case, course, 18, Presence.PRESENT, meeting=course.run)
        again = started(course, REVOKED_ON, participation_id=str(uuid4()))  # who comes back needs a consent, and a case
        no = start(again, case, ARRIVED)
        assert isinstance(no, Refused) and no.reason == why
        states.append(view(case))
    assert states[0] == states[1]
    case = running(course, started=False)
    evolve(case, ending(course, how), "")
    settle(case, ARRIVED)
    no = start(started(course, REVOKED_ON), case, ARRIVED)
    assert isinstance(no, Refused) and no.reason == why


@pytest.mark.parametrize("said", ["yes", "no", "taken back"])
@pytest.mark.parametrize("how", ["closed", "revoked"])
def test_what_was_said_of_a_referral_before_the_end_is_taken_although_it_is_heard_after_it(how: str, said: str) -> None:
    """Both orders end the same, and what lies after the end is refused in both."""
    course, on = Course(START), START + timedelta(days=18)
    yes = ReferralAnswered(by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED,
                           planned_start_on=on + timedelta(days=1), answered_on=on)  # fmt: skip
    changed = {"answer": ReferralAnswer.DECLINED, "reason": DeclineReason.FULL, "planned_start_on": None}
    no = yes.model_copy(update=changed)
    back = ReferralWithdrawn(by=OWNER, referral_id=course.referral, reason="PERSON_WITHDREW", withdrawn_on=on)

    def decide(case: Case, late: int = 0) -> Any:
        if said == "taken back":
            return withdraw(back.model_copy(update={"withdrawn_on": on + timedelta(days=late)}), case, ARRIVED)
        told = (yes if said == "yes" else no).model_copy(update={"answered_on": on + timedelta(days=late)})
        return answer(told, case, ARRIVED)

    states = []
    for first in (True, False):
        case = running(course, started=False)
        case.referral.referrals = {
            id: referral._replace(state="SENT", planned_start_on=None)
            for id, referral in case.referral.referrals.items()
        }
        for heard in ("end", "said") if first else ("said", "end"):
            if heard == "end":
                evolve(case, ending(course, how), "")
            else:
                late = decide(case, late=1)
                assert not first or (isinstance(late, Refused) and late.reason == "NOT_OPEN")
                fact = decide(case)
                assert isinstance(fact, Fact)
                evolve(case, fact, "")
            settle(case, datetime(2026, 3, 3, tzinfo=UTC))  # before anybody worries that nobody came
        assert decide(case) == Unchanged()
        states.append(view(case))
        begun = start(started(course, on), case, ARRIVED)
        if said == "yes":
            assert isinstance(begun, ParticipationStarted)
        else:
            assert isinstance(begun, Refused) and begun.reason == "NOT_ACCEPTED"
    assert states[0] == states[1]


@pytest.mark.parametrize("ticks", [True, False])
@pytest.mark.parametrize("end_first", [True, False])
@pytest.mark.parametrize("how", ["closed", "revoked"])
@pytest.mark.parametrize(
    ("yeses", "reason"), [((20,), "NOT_ACCEPTED"), ((18,), None), ((17, 20), None), ((20, 17), None)]
)
def test_a_yes_after_the_end_lets_nobody_start_whichever_is_heard_first(
    yeses: tuple[int, ...], reason: str | None, how: str, end_first: bool, ticks: bool
) -> None:
    """Who may start is told by the yeses of before it, though the newest one, which said when, came after it."""
    course = Course(START)
    case = running(course, started=False)
    case.referral.referrals[course.referral] = case.referral.referrals[course.referral]._replace(
        state="SENT", planned_start_on=None, accepted_on=None
    )
    steps: list[Any] = [lambda: ending(course, how)]
    for n in yeses:
        said = ReferralAnswered(by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED,
                                planned_start_on=START + timedelta(days=89), answered_on=START + timedelta(days=n))  # fmt: skip
        steps.append(lambda said=said: answer(said, case, ARRIVED))
    for step in steps if end_first else [*steps[1:], steps[0]]:
        if isinstance(fact := step(), Fact):
            evolve(case, fact, "")
        if ticks:
            settle(case)
    first = start(started(course, START), case, ARRIVED)
    if reason is not None:
        assert isinstance(first, Refused) and (first.reason, first.at) == (reason, "/referral_id")
        return
    assert isinstance(first, ParticipationStarted)
    evolve(case, first, "")
    corrected = started(course, START + timedelta(days=1), revision=2)  # of what has begun a start is still corrected
    assert isinstance(start(corrected, case, ARRIVED), ParticipationStarted)


def test_a_start_told_before_the_end_is_known_stands_and_is_corrected_although_the_yes_came_after_it() -> None:
    course, day = Course(START), timedelta(days=1)
    case = running(course, started=False)
    case.referral.referrals[course.referral] = case.referral.referrals[course.referral]._replace(
        accepted_on=START + 8 * day
    )
    for fact in (start(started(course, START + 7 * day), case, ARRIVED),
                 ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=START + 6 * day)):  # fmt: skip
        assert isinstance(fact, Fact)
        evolve(case, fact, "")
    assert settle(case) == [] and view(case)["participation_list"][0][6] == START + 7 * day
    assert isinstance(start(started(course, START + 5 * day, revision=2), case, ARRIVED), ParticipationStarted)


@pytest.mark.parametrize("said", ["yes", "no", "taken back"])
@pytest.mark.parametrize("how", ["closed", "revoked"])
def test_before_an_alliances_first_tick_the_end_bounds_what_is_said_of_a_referral_too(how: str, said: str) -> None:
    """Nothing has stopped it yet. A no of a day after the end barred the start of a day before it, for good."""
    course, on = Course(START), REVOKED_ON
    case = running(course, started=False)
    evolve(case, ending(course, how), "")
    if said == "taken back":
        back = ReferralWithdrawn(by=OWNER, referral_id=course.referral, reason="PERSON_WITHDREW", withdrawn_on=on)
        no = withdraw(back, case, ARRIVED)
    else:
        reason = {"answer": ReferralAnswer.DECLINED, "reason": DeclineReason.FULL} if said == "no" else {}
        yes = {"answer": ReferralAnswer.ACCEPTED, "planned_start_on": on} if said == "yes" else {}
        no = answer(
            ReferralAnswered(**{"by": PROVIDER, "referral_id": course.referral, "answered_on": on} | reason | yes),
            case,
            ARRIVED,
        )
    assert isinstance(no, Refused) and (no.reason, no.at) == ("NOT_OPEN", "/referral_id")
    assert isinstance(start(started(course, on - timedelta(days=1)), case, ARRIVED), ParticipationStarted)


def test_what_was_never_accepted_or_taken_back_by_its_owner_is_not_started() -> None:
    course = Course(START)
    stopped = ReferralStopped(by=OWNER, referral_id=course.referral, reason="PERSON_WITHDREW", stopped_on=START)
    sent = running(course, started=False)
    sent.referral.referrals = {
        id: referral._replace(state="SENT", planned_start_on=None) for id, referral in sent.referral.referrals.items()
    }
    evolve(sent, CLOSED, "")
    settle(sent, ARRIVED)
    withdrawn = running(course, started=False)
    evolve(withdrawn, stopped, "")
    for case in (sent, withdrawn):
        no = start(started(course, START), case, ARRIVED)
        assert isinstance(no, Refused) and no.reason == "NOT_ACCEPTED"


@pytest.mark.parametrize("how", ["closed", "revoked"])
def test_absences_after_the_end_raise_no_risk_in_either_order(how: str) -> None:
    course = Course(START)
    known, late = running(course), running(course)
    evolve(known, ending(course, how), "")
    for n in (18, 19, 20):
        refusal = attend(course.attendance(str(uuid4()), START + timedelta(days=n), Presence.UNEXCUSED), known, ARRIVED)
        assert isinstance(refusal, Refused) == (n > 18)
        reported(late, course, n, Presence.UNEXCUSED)
    assert [type(fact) for fact in settle(late, ARRIVED)] == [DropoutRiskRaised]
    evolve(late, ending(course, how), "")
    (taken_back,) = settle(late, ARRIVED)  # nobody could correct those days any more
    assert isinstance(taken_back, DropoutRiskWithdrawn) and taken_back.reason == "ENDED"
    assert late.dropout.open == known.dropout.open == []


@pytest.mark.parametrize("how", ["closed", "revoked"])
@pytest.mark.parametrize("known", [True, False])
def test_a_worry_that_nobody_could_dispel_any_more_ends_with_the_case_or_the_consent(how: str, known: bool) -> None:
    """Whoever came again after that would be refused, so the worry would be open for ever, about somebody who said no."""
    course = Course(START)
    case = running(course)
    if known:
        evolve(case, ending(course, how), "")
    for n in (16, 17):
        reported(case, course, n, Presence.UNEXCUSED)
    raised = settle(case)
    if not known:
        assert [type(fact) for fact in raised] == [DropoutRiskRaised]
        evolve(case, ending(course, how), "")
        (ended,) = settle(case)
        assert isinstance(ended, DropoutRiskWithdrawn) and ended.reason == "ENDED"
    else:
        assert raised == []
    (row,) = view(case)["risk_list"]
    assert row[7] == START + timedelta(days=17) and case.dropout.open == []  # what was is still seen


def test_what_grows_old_is_said_again_although_nothing_is_reported() -> None:
    """A course pauses: no report comes, and the tick that finds a mailbox again finds evidence that is news."""
    course, day = Course(START), timedelta(days=1)
    case = running(course)
    for n in range(6):
        reported(case, course, n, Presence.UNEXCUSED)
        settle(case, datetime(2026, 3, 2 + n, 12, tzinfo=UTC))
    said_on, last_on = START + day, START + 5 * day
    tick = datetime(2026, 3, 7, 12, tzinfo=UTC)
    at = due(case, tick)
    assert at is not None and day_of(at) == said_on + 8 * day and react(case, at - timedelta(seconds=1)) == []
    (again,) = settle(case, at)
    assert isinstance(again, DropoutRiskContinued) and again.last_missed_on == last_on
    assert due(case, at) is None  # there is nothing newer to be said


@pytest.mark.parametrize("raised_with", [2, 3])
def test_of_a_worry_no_day_stands_as_said_that_is_corrected_since(raised_with: int) -> None:
    """Absent on 1, 2 and 20; 20 was excused. It was the newest day that was said, in the risk or later, and made news of history:
    an office was mailed of absences three weeks old."""
    course = Course(START)
    case, last = running(course), str(uuid4())
    tick = datetime(2026, 3, 22, 12, tzinfo=UTC)
    for n, (day, meeting) in enumerate(((1, None), (2, None), (20, last)), 1):
        reported(case, course, day, Presence.UNEXCUSED, meeting=meeting)
        said = settle(case, tick) if n >= raised_with else []
    assert isinstance(said[-1], DropoutRiskRaised if raised_with == 3 else DropoutRiskContinued)
    reported(case, course, 20, Presence.NOT_RECORDED, 2, last)
    (again,) = settle(case, tick)
    assert isinstance(again, DropoutRiskContinued)
    assert (again.first_on, again.last_missed_on) == (START + timedelta(days=1), START + timedelta(days=2))
    assert due(case, tick) is None


@given(late=st.integers(0, 90), lasts=st.integers(1, 80), steps=st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_a_no_show_goes_on_with_each_day_of_the_run_once_a_week_and_no_longer(
    late: int, lasts: int, steps: list[int]
) -> None:
    """However late it is heard of, and whenever ticks come: what was said is at most a week old while the run lasts, and for a
    fortnight after it says its last day; what was over long before it was heard of stays history. The day counts by hand: S6 holds
    from the seventh, each day of the run is one on which somebody is missed."""
    course, day = Course(START), timedelta(days=1)
    case = running(course, started=False)
    known = case.referral.referrals[course.referral]
    case.referral.referrals[course.referral] = known._replace(run_ends_before_on=START + lasts * day)
    said, n, first, noon = list[int](), late, True, datetime(2026, 3, 2, 12, tzinfo=UTC)
    for step in [0, *steps]:
        n += step
        before = list(said)
        asked = due(case, noon + (n - step) * day)
        for fact in settle(case, noon + n * day):
            assert isinstance(fact, DropoutRiskContinued if said else DropoutRiskRaised)
            assert (fact.about, fact.rule, fact.first_on) == (course.referral, "S6", START)
            said.append((fact.last_missed_on - START).days if isinstance(fact, DropoutRiskContinued) else 0)
        assert bool(said) == (n >= 7)
        missed = min(n, lasts - 1)
        if said and n - missed <= 14 and missed > 0:
            assert n - said[-1] <= 7 or said[-1] == missed
        assert said == sorted(set(said)) and all(one <= missed for one in said)
        assert not said[len(before) :] or n - said[-1] <= 14 or said[-1] == 0
        # it was asked for in time: not before the day after which it must be said, and not later
        assert first or len(said) == len(before) or (asked is not None and asked <= noon + n * day)
        first = False


def test_nobody_is_expected_before_the_day_of_the_yes_nor_outside_of_the_run() -> None:
    """Of 2000 an office was mailed at once that nobody had come since, and of 2199 never."""
    course = Course(START)
    case = running(course, started=False)
    referral = case.referral.referrals[course.referral]
    case.referral.referrals[course.referral] = referral._replace(state="SENT", planned_start_on=None, accepted_on=None)
    for days, expected in ((-3, 0), (0, 0), (9, 9)):
        said = ReferralAnswered(
            by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED, answered_on=START + timedelta(days=days)
        )  # fmt: skip
        fact = answer(said, case, ARRIVED)
        assert isinstance(fact, ReferralAccepted) and fact.planned_start_on == START + timedelta(days=expected)
    for days, of_the_run in (
        (-1000, False),
        (-1, False),
        (8, False),
        (9, True),
        (89, True),
        (90, False),
        (9000, False),
    ):
        planned = START + timedelta(days=days)
        told = answer(said.model_copy(update={"planned_start_on": planned}), case, ARRIVED)
        if of_the_run:
            assert isinstance(told, ReferralAccepted) and told.planned_start_on == planned
        else:
            assert isinstance(told, Refused) and (told.reason, told.at) == ("PLANNED_OUTSIDE_RUN", "/planned_start_on")


def test_a_case_has_an_end_whoever_fills_it() -> None:
    """Rules look at all of a case with each message: with 1,000 referrals no batch ended any more, and nobody was answered."""
    course = Course(START)
    case = running(course)
    run = Run(course.run, "rkn", "vhs-neuss", "F4", "LANGUAGE_COURSE", START, START + timedelta(days=90), 24)

    def referring() -> Any:
        request = ReferralRequested(by=OWNER, referral_id=str(uuid4()), run_id=course.run, consent_id=course.consent,
                                    categories=(DataCategory.LANGUAGE,), requested_on=START)  # fmt: skip
        return refer(request, case, run, ARRIVED)

    def starting() -> Any:
        return start(started(course, START).model_copy(update={"participation_id": str(uuid4())}), case, ARRIVED)

    def attending() -> Any:
        told.append(str(uuid4()))
        return attend(course.attendance(told[-1], START, Presence.PRESENT), case, ARRIVED)

    told: list[str] = []
    for say, most in ((referring, 200), (starting, 50), (attending, 2000)):
        for _ in range(most):
            if not isinstance(fact := say(), Fact):
                break
            evolve(case, fact, "")
        no = say()
        assert isinstance(no, Refused) and no.reason == "TOO_MANY_OF_A_CASE"
    assert (len(case.referral.referrals), len(case.referral.participations)) == (200, 50)
    assert sum(map(packed.count, case.attendance.sheets.values())) == 2000
    assert isinstance(attend(course.attendance(told[0], START, Presence.LATE, 2), case, ARRIVED), AttendanceRecorded)
    assert [tells_all_it_may(case, f"provider-{n}") for n in range(4)] == [(50, 2000), (50, 1000), (50, 0), (0, 0)]


def tells_all_it_may(case: Case, provider: str) -> tuple[int, int]:
    """Participations, each with a hundred meetings, that another provider tells of before it is refused."""
    by, sent = By(organisation_id=provider), next(iter(case.referral.referrals.values()))
    referral = str(uuid4())
    case.referral.referrals[referral] = sent._replace(
        provider_organisation_id=provider, state="ACCEPTED", accepted_on=START
    )
    said: list[Fact] = []
    while True:
        id = str(uuid4())
        first = ParticipationStartReported(by=by, participation_id=id, referral_id=referral, started_on=START, revision=1,
                                           reported_at=TICK)  # fmt: skip
        for report in (first, *(Course(START).attendance(str(uuid4()), START, Presence.PRESENT) for _ in range(100))):
            decide: Any = start if report is first else attend
            report = report.model_copy(update={"by": by, "participation_id": id})
            no = decide(report, case, ARRIVED)
            if isinstance(no, Fact):
                evolve(case, no, "")
                said.append(no)
                continue
            assert isinstance(no, Refused) and no.reason == "TOO_MANY_OF_A_CASE"
            if decide is start:
                starts = sum(isinstance(fact, ParticipationStarted) for fact in said)
                return starts, len(said) - starts


def test_of_a_thousand_days_a_risk_says_the_first_and_the_newest() -> None:
    """Each correction of the first wrote all of them anew, and what stands on a topic of facts stays for good."""
    course = Course(START)
    case = running(course)
    for n in range(80):
        reported(case, course, n, Presence.UNEXCUSED)
    (risk,) = settle(case, ARRIVED)
    assert isinstance(risk, DropoutRiskRaised) and risk.first_on == START
    assert risk.days_on == (START, *(START + timedelta(days=n) for n in range(51, 80)))


@pytest.mark.parametrize("presence", list(Presence))
def test_who_was_there_for_a_unit_was_not_absent(presence: Presence) -> None:
    course = Course(START)
    reason = {"excuse_reason": ExcuseReason.CARE} if presence is Presence.EXCUSED else {}
    said = course.attendance(str(uuid4()), START, presence).model_copy(update={"units_attended": 3, **reason})
    no = attend(said, running(course), ARRIVED)
    if presence in (Presence.EXCUSED, Presence.UNEXCUSED):
        assert isinstance(no, Refused) and (no.reason, no.at) == ("CONTRADICTION", "/units_attended")
    else:
        assert isinstance(no, AttendanceRecorded)


def test_nobody_refers_today_under_a_consent_that_begins_tomorrow() -> None:
    course, tomorrow = Course(START), day_of(ARRIVED) + timedelta(days=1)
    case = running(course, started=False)
    run = Run(course.run, "rkn", "vhs-neuss", "F4", "LANGUAGE_COURSE", START, START + timedelta(days=90), 24)
    request, _ = course.steps()[3]
    assert isinstance(request, ReferralRequested)
    request = request.model_copy(update={"referral_id": str(uuid4()), "requested_on": tomorrow})
    no = refer(request, case, run, ARRIVED)
    assert isinstance(no, Refused) and (no.reason, no.at) == ("FUTURE_DAY", "/requested_on")
    assert isinstance(refer(request, case, run, ARRIVED + timedelta(days=1)), ReferralSent)


AGREED_UNTIL = START + timedelta(days=20)


@pytest.mark.parametrize(
    ("given", "asked", "withdrawn_on", "outcome"),
    [
        pytest.param({}, {}, None, "ReferralSent", id="all of it"),
        pytest.param({"categories": ("EDUCATION", "LANGUAGE")}, {}, None, "ReferralSent", id="more than is asked"),
        pytest.param({}, {"requested_on": START}, None, "ReferralSent", id="on the first day"),
        pytest.param({}, {"requested_on": AGREED_UNTIL}, None, "ReferralSent", id="on the last day"),
        pytest.param({"purpose": "EVALUATION"}, {}, None, "NO_CONSENT", id="for another purpose"),
        pytest.param({"recipients": ("jmd-neuss", "rkn-thm")}, {}, None, "NO_CONSENT", id="to others, the owner too"),
        pytest.param({}, {"categories": (DataCategory.EDUCATION, DataCategory.LANGUAGE)}, None, "NO_CONSENT",
                     id="less than is asked"),
        pytest.param({}, {"requested_on": START - timedelta(days=1)}, None, "NO_CONSENT", id="before the first day"),
        pytest.param({}, {"requested_on": AGREED_UNTIL + timedelta(days=1)}, None, "NO_CONSENT", id="after the last day"),
        pytest.param({}, {}, START + timedelta(days=9), "NO_CONSENT", id="withdrawn before"),
        pytest.param({}, {}, START + timedelta(days=10), "NO_CONSENT", id="withdrawn that day"),
        pytest.param({}, {}, START + timedelta(days=11), "NO_CONSENT", id="withdrawn since"),
    ],
)  # fmt: skip
def test_nobody_is_referred_beyond_the_consent_that_is_named(
    given: dict[str, Any], asked: dict[str, Any], withdrawn_on: date | None, outcome: str
) -> None:
    """It counts on the day of the request, not of its arrival; a withdrawal counts as soon as it is known, for days before it,
    too. Another consent of the same person, which covers all of it, helps nobody."""
    course, consent = Course(START), str(uuid4())
    case = running(course, started=False)
    run = Run(course.run, "rkn", "vhs-neuss", "F4", "LANGUAGE_COURSE", START, START + timedelta(days=90), 24)
    agreed: dict[str, Any] = {"purpose": "REFERRAL", "categories": ("LANGUAGE",), "recipients": ("vhs-neuss",)}
    evolve(case, ConsentGranted(by=OWNER, consent_id=consent, valid_from_on=START, last_valid_on=AGREED_UNTIL,
                                **agreed | given), "")  # fmt: skip
    if withdrawn_on is not None:
        evolve(case, ConsentRevoked(by=OWNER, consent_id=consent, withdrawn_on=withdrawn_on), "")
    request = ReferralRequested(
        **{"by": OWNER, "referral_id": str(uuid4()), "run_id": course.run, "consent_id": consent,
           "categories": (DataCategory.LANGUAGE,), "requested_on": START + timedelta(days=10)} | asked
    )  # fmt: skip
    said = refer(request, case, run, ARRIVED)
    if isinstance(said, Refused):
        assert (said.reason, said.at, said.again) == (outcome, "/consent_id", "mended")
    else:
        assert type(said).__name__ == outcome


def test_an_answer_of_another_day_is_another_answer() -> None:
    course = Course(START)
    case = running(course, started=False)
    yes = ReferralAnswered(by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED, planned_start_on=START,
                           answered_on=START)  # fmt: skip
    assert answer(yes, case, ARRIVED) == Unchanged()
    earlier = answer(yes.model_copy(update={"answered_on": START - timedelta(days=30)}), case, ARRIVED)
    assert isinstance(earlier, ReferralAccepted) and earlier.answered_on == START - timedelta(days=30)
    evolve(case, earlier, "")
    assert answer(yes, case, ARRIVED) == Unchanged()  # it still stands: the other one is older
    later = {name: START + timedelta(days=1) for name in ("answered_on", "planned_start_on")}
    moved = answer(yes.model_copy(update=later), case, ARRIVED)
    assert isinstance(moved, ReferralAccepted)
    evolve(case, moved, "")
    assert isinstance(answer(yes, case, ARRIVED), ReferralAccepted)  # superseded, it is no longer what stands


@pytest.mark.parametrize("closes", [False, True])
def test_whatever_is_said_yes_to_after_a_stop_the_last_word_is_the_stop(closes: bool) -> None:
    """Who reads the log alone took an older yes for it, and goes on with somebody who has withdrawn her consent."""
    course, day = Course(START), timedelta(days=1)
    case = running(course, started=False)
    known = case.referral.referrals[course.referral]
    case.referral.referrals[course.referral] = known._replace(accepted_on=START + 8 * day)
    if closes:
        case.intake.last_day_on = START + 19 * day
    else:
        consent = case.intake.consents[known.consent_id]
        case.intake.consents[known.consent_id] = consent._replace(withdrawn_on=START + 20 * day)
    noon = datetime(2026, 4, 2, 12, tzinfo=UTC)
    assert [type(fact) for fact in settle(case, noon)] == [ReferralStopped]
    said = ReferralAnswered(
        by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED, answered_on=START + day
    )
    accepted = answer(said, case, ARRIVED)
    assert isinstance(accepted, ReferralAccepted)
    evolve(case, accepted, "")
    assert [type(fact) for fact in settle(case, noon)] == [ReferralStopped]
    stands = case.referral.referrals[course.referral]
    assert (stands.accepted_on, stands.planned_start_on) == (START + 8 * day, known.planned_start_on)


def test_who_was_accepted_on_a_day_that_nobody_wrote_down_may_start() -> None:
    """States of before know of the yes and not of its day."""
    course = Course(START)
    case = running(course, started=False)
    case.referral.referrals[course.referral] = case.referral.referrals[course.referral]._replace(accepted_on=None)
    assert case.may_start(course.referral)


@pytest.mark.parametrize("heard", [(1, 8), (8, 1), (1, 8, 1, 8), (8, 1, 8, 1)])
def test_the_newest_yes_stands_in_whatever_order_and_however_often_yeses_are_heard(heard: tuple[int, ...]) -> None:
    """An older one, heard later, expected somebody days before she was to come, and an office was mailed that nobody came."""
    course, day, planned = Course(START), timedelta(days=1), {1: 3, 8: 12}
    case = running(course, started=False)
    case.referral.referrals[course.referral] = case.referral.referrals[course.referral]._replace(
        state="SENT", planned_start_on=None, accepted_on=None
    )
    newest = 0
    for on in heard:
        said = ReferralAnswered(by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED,
                                planned_start_on=START + planned[on] * day, answered_on=START + on * day)  # fmt: skip
        decided = answer(said, case, ARRIVED)
        assert decided == Unchanged() if on == newest else isinstance(decided, ReferralAccepted)
        newest = max(on, newest)
        if isinstance(decided, Fact):
            evolve(case, decided, "")
        noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
        assert settle(case, noon + (11 if newest == 8 else 2) * day) == []  # nobody is late yet
    known = case.referral.referrals[course.referral]
    assert (known.planned_start_on, known.accepted_on) == (START + 12 * day, START + 8 * day)
    assert known.first_yes_on == START + day


def test_nobody_answers_or_takes_back_on_a_day_that_is_to_come() -> None:
    course, today = Course(START), day_of(ARRIVED)
    tomorrow = today + timedelta(days=1)
    case = running(course, started=False)
    yes = ReferralAnswered(
        by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED, answered_on=tomorrow
    )
    changed = {"answer": ReferralAnswer.DECLINED, "reason": DeclineReason.FULL}
    for said in (yes, yes.model_copy(update=changed)):
        no = answer(said, case, ARRIVED)
        assert isinstance(no, Refused) and (no.reason, no.at) == ("FUTURE_DAY", "/answered_on")
        assert isinstance(answer(said.model_copy(update={"answered_on": today}), case, ARRIVED), Fact)
    back = ReferralWithdrawn(by=OWNER, referral_id=course.referral, reason="PERSON_WITHDREW", withdrawn_on=tomorrow)
    no = withdraw(back, case, ARRIVED)
    assert isinstance(no, Refused) and (no.reason, no.at) == ("FUTURE_DAY", "/withdrawn_on")
    assert isinstance(withdraw(back, case, ARRIVED + timedelta(days=1)), ReferralStopped)


def test_what_a_correction_lets_be_said_is_said_again_later_and_not_mended() -> None:
    """Each was refused as if it were wrong, and recorded word for word once the start or the end had moved."""
    course, revision = Course(START), 1
    case = running(course)

    def told(n: int, what: str) -> Any:
        on = START + timedelta(days=n)
        if what == "meeting":
            return attend(course.attendance(str(uuid4()), on, Presence.PRESENT), case, ARRIVED)
        if what == "start":
            return start(started(course, on, reported_at=ARRIVED, revision=revision), case, ARRIVED)
        said = ParticipationEndReported(by=PROVIDER, participation_id=course.participation, ended_before_on=on,
                                        kind=EndKind.COMPLETED, revision=revision, reported_at=ARRIVED)  # fmt: skip
        return end(said, case, ARRIVED)

    evolve(case, told(20, "end"), "")
    for said, corrected, reason in (((-2, "meeting"), (-2, "start"), "NOT_RUNNING"),
                                    ((20, "meeting"), (21, "end"), "NOT_RUNNING"),
                                    ((22, "start"), (22, "end"), "START_AFTER_END"),
                                    ((-3, "end"), (-3, "start"), "END_BEFORE_START")):  # fmt: skip
        revision += 1
        no = told(*said)
        assert isinstance(no, Refused) and (no.reason, no.again) == (reason, "later")
        assert "then this again (so it says `later`)" in (REASONS | attendance.REASONS)[reason]
        revision += 1
        evolve(case, told(*corrected), "")
        assert isinstance(told(*said), Fact)


def test_who_may_report_is_asked_first_and_the_same_report_again_is_unchanged() -> None:
    course = Course(START)
    case = running(course)
    meeting = str(uuid4())
    report = course.attendance(meeting, START - timedelta(days=5), Presence.PRESENT)
    stranger = attend(report.model_copy(update={"by": By(organisation_id="caritas-rkn")}), case, ARRIVED)
    assert isinstance(stranger, Refused) and stranger.reason == "NOT_YOURS"
    assert isinstance(attend(report, case, ARRIVED), Refused)
    reported(case, course, 1, Presence.PRESENT, meeting=meeting)
    again = course.attendance(meeting, START + timedelta(days=1), Presence.PRESENT)
    assert isinstance(attend(again, case, ARRIVED), Unchanged)
    other = attend(again.model_copy(update={"units_attended": 1}), case, ARRIVED)
    assert isinstance(other, Refused) and other.reason == "REVISION_REUSED"


def test_what_does_not_go_together_is_refused_with_a_pointer() -> None:
    course = Course(START)
    case = running(course)
    report = course.attendance(str(uuid4()), START, Presence.PRESENT)
    no = attend(report.model_copy(update={"excuse_reason": ExcuseReason.PERSONAL}), case, ARRIVED)
    assert isinstance(no, Refused) and (no.reason, no.at) == ("CONTRADICTION", "/excuse_reason")
    said = ReferralAnswered(by=PROVIDER, referral_id=course.referral, answer=ReferralAnswer.ACCEPTED, answered_on=START)
    declined: dict[str, Any] = {"answer": ReferralAnswer.DECLINED, "reason": DeclineReason.FULL}
    contradictions: list[tuple[dict[str, Any], str]] = [
        ({"reason": DeclineReason.FULL}, "/reason"),
        ({"planned_start_on": START, **declined}, "/planned_start_on"),
    ]
    for changes, at in contradictions:
        refusal = answer(said.model_copy(update=changes), running(course, started=False), ARRIVED)
        assert isinstance(refusal, Refused) and (refusal.reason, refusal.at) == ("CONTRADICTION", at)
    assert isinstance(answer(said, running(course, started=False), ARRIVED), Unchanged)
    done = answer(said.model_copy(update=declined), running(course, started=False), ARRIVED)
    assert isinstance(done, ReferralDeclined)


def test_an_end_is_its_participations_alone_and_may_be_tomorrow_since_today_was_the_last_day() -> None:
    course = Course(START)
    case, today = running(course), day_of(ARRIVED)
    said = ParticipationEndReported(by=PROVIDER, participation_id=course.participation, kind=EndKind.COMPLETED,
                                    ended_before_on=today + timedelta(days=1), revision=1, reported_at=ARRIVED)  # fmt: skip
    fact = end(said, case, ARRIVED)
    assert isinstance(fact, ParticipationEnded) and (fact.reason, fact.ended_before_on) == (
        "UNKNOWN",
        said.ended_before_on,
    )
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"by": By(organisation_id="caritas-rkn")}, "NOT_YOURS"),
        ({"ended_before_on": today + timedelta(days=2)}, "FUTURE_DAY"),
        ({"ended_before_on": START - timedelta(days=1)}, "END_BEFORE_START"),
    ]
    for changes, reason in refusals:
        no = end(said.model_copy(update=changes), case, ARRIVED)
        assert isinstance(no, Refused) and no.reason == reason
    evolve(case, fact, "")
    assert isinstance(end(said, case, ARRIVED), Unchanged)
    otherwise = {**json.loads(said.to_json()), "reason": None, "revision": float(said.revision)}
    same = ParticipationEndReported.from_json(json.dumps(otherwise).encode())
    assert said.reason == EndReason.UNKNOWN and isinstance(end(same, case, ARRIVED), Unchanged)
    other = end(said.model_copy(update={"kind": EndKind.DROPPED_OUT}), case, ARRIVED)
    assert isinstance(other, Refused) and other.reason == "REVISION_REUSED"


@pytest.mark.parametrize("moved", [20, -20])
def test_a_participation_whose_start_and_end_have_both_moved_is_corrected_in_the_order_its_refusal_names(
    moved: int,
) -> None:
    """Later days begin with the end, earlier ones with the start: whoever follows the hint gets both recorded."""
    course, later = Course(START), timedelta(hours=1)
    case = running(course)
    ended = ParticipationEndReported(by=PROVIDER, participation_id=course.participation, kind=EndKind.COMPLETED, revision=1,
                                     ended_before_on=START + timedelta(days=9), reported_at=TICK)  # fmt: skip
    heard = end(ended, case, ARRIVED)
    assert isinstance(heard, ParticipationEnded)
    evolve(case, heard, "")
    new: dict[str, Any] = {
        "start": (start, started(course, START + timedelta(days=moved), revision=2, reported_at=TICK + later)),
        "end": (end, ended.model_copy(update={"ended_before_on": START + timedelta(days=9 + moved), "revision": 2,
                                              "reported_at": TICK + later})),
    }  # fmt: skip
    decide, report = new["start" if moved > 0 else "end"]
    no = decide(report, case, ARRIVED)
    assert isinstance(no, Refused) and no.reason == ("START_AFTER_END" if moved > 0 else "END_BEFORE_START")
    hint = re.search("send the corrected (start|end) first, then this again", REASONS[no.reason])
    assert hint is not None
    for decide, report in (new[hint[1]], new["start" if moved > 0 else "end"]):
        fact = decide(report, case, ARRIVED)
        assert isinstance(fact, Fact)
        evolve(case, fact, "")
    participation = case.referral.participations[course.participation]
    assert participation.start is not None and participation.start.on == START + timedelta(days=moved)
    assert participation.ended_before_on == START + timedelta(days=9 + moved)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 4),
                          st.sampled_from(["PRESENT", "UNEXCUSED", "LATE"])),
                unique_by=lambda r: r[:3], max_size=14), st.randoms())  # fmt: skip
def test_any_order_and_any_repeat_of_reports_ends_in_the_same_state(
    rows: list[tuple[int, int, int, str]], chance: object
) -> None:
    """As facts that are folded and as reports that are decided; of each meeting the highest (reported_at, revision) stands."""
    course = Course(START)
    meetings = [str(uuid4()) for _ in range(6)]
    reports = {}
    for n, later, revision, presence in rows:
        report = course.attendance(meetings[n], START + timedelta(days=n), Presence(presence), revision)
        moved = {"reported_at": report.reported_at + timedelta(days=later)}
        reports[n, later, revision, presence] = report.model_copy(update=moved)
    facts = [AttendanceRecorded.from_json(report.to_json()) for report in reports.values()]
    shuffled, heard = [*facts, *facts[:5]], [*rows, *rows[:5]]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    chance.shuffle(heard)  # type: ignore[attr-defined]
    one, other, decided = running(course), running(course), running(course)
    for fact in facts:
        evolve(one, fact, "")
    for fact in shuffled:
        evolve(other, fact, "")
    stands: dict[int, tuple[int, int, int, str]] = {}
    for row in heard:
        decision = attend(reports[row], decided, ARRIVED)
        if row == stands.get(row[0]):
            assert isinstance(decision, Unchanged)
        else:
            assert isinstance(decision, AttendanceRecorded)
            evolve(decided, decision, "")
        stands[row[0]] = max(row, stands.get(row[0], row))
    assert one == other == decided
    sheet = decided.attendance.sheets.get(course.participation, b"")
    known = {id: found.presence for id in meetings if (found := packed.meeting(sheet, id)) is not None}
    assert known == {meetings[n]: row[3] for n, row in stands.items()} and packed.count(sheet) == len(known)
