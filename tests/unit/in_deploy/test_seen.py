"""What the demo tells of a play: when absences were seen, what an office was told of, and which answer nobody expected."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from contracts.attendance import AttendanceReported
from contracts.codes import Presence
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised
from contracts.envelope import By, Submission
from contracts.notification import NoticeLine, NotificationAttempted
from contracts.referral import ParticipationStartReported
from deploy.demo.kreis import Event
from deploy.demo.play import Played
from deploy.demo.seen import Seen, oldest_mailed, seen

LOTSE = By(organisation_id="lotse", kind="rule")
DAILY, MONTHLY = By(organisation_id="daily"), By(organisation_id="monthly")


def id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def tick(day: int) -> datetime:
    """After the evening of the day before: what is told on a March day is told by it."""
    return datetime(2025, 3, day - 1, 23, tzinfo=UTC)


def risk(name: str, *days: int, on: int, rule: str = "S2") -> DropoutRiskRaised:
    return DropoutRiskRaised(
        by=LOTSE, case_id=id("case"), about=id(name), rule=rule, rule_version=1, first_on=date(2025, 3, days[0]),
        days_on=tuple(date(2025, 3, day) for day in days), owner_organisation_id="rkn-thm", as_of=tick(on),
    )  # fmt: skip


def goes_on(name: str, first: int, last: int, on: int) -> DropoutRiskContinued:
    return DropoutRiskContinued(
        by=LOTSE, case_id=id("case"), about=id(name), rule="S2", first_on=date(2025, 3, first),
        last_missed_on=date(2025, 3, last), owner_organisation_id="rkn-thm", as_of=tick(on),
    )  # fmt: skip


def mail(on: int, *lines: tuple[str, str, int]) -> NotificationAttempted:
    return NotificationAttempted(
        by=LOTSE, attempt_id=id(f"mail {on}"), as_of=tick(on),
        lines=tuple(NoticeLine(kind=kind, case_id=id("case"), about=id(name), rule="S2", first_on=date(2025, 3, first))
                    for kind, name, first in lines),
    )  # fmt: skip


def started(name: str, by: By) -> Submission:
    return ParticipationStartReported(
        by=by, participation_id=id(name), referral_id=id(f"to {name}"), started_on=date(2025, 3, 3), revision=1,
        reported_at=tick(4),
    )  # fmt: skip


def attended(name: str, by: By, revision: int = 1) -> Submission:
    return AttendanceReported(
        by=by, participation_id=id(name), meeting_id=id("meeting"), meeting_on=date(2025, 3, 3), units_planned=5,
        units_attended=5, presence=Presence.PRESENT, revision=revision, reported_at=tick(4),
    )  # fmt: skip


def row(about: str, raised: int, rule: str = "S2") -> dict[str, Any]:
    return {"about": id(about), "rule": rule, "raised": raised}


def test_a_risk_counts_for_the_habit_of_its_provider_by_the_age_of_its_newest_day() -> None:
    said = [started("a", DAILY), started("b", MONTHLY), started("c", MONTHLY), attended("a", DAILY),
            attended("a", DAILY, 2), attended("b", MONTHLY), attended("c", MONTHLY)]  # fmt: skip
    sent = [Event(one, id("case"), id(str(n)), tick(4)) for n, one in enumerate(said)]
    facts = [
        risk("a", 3, 5, on=12), risk("a", 14, 17, on=17),
        risk("b", 3, 5, on=13), risk("b", 10, 12, on=26), risk("b", 19, 21, on=31), risk("c", 3, 5, on=20),
        risk("to c", 3, on=10, rule="S6"),
        mail(18, ("RAISED", "a", 3), ("WITHDRAWN", "b", 3)), mail(27, ("RAISED", "b", 10)),
    ]  # fmt: skip
    rows = [row("a", 2), row("b", 3), row("c", 0), row("c", 1), row("to c", 0, "S6")]
    daily, monthly = seen(frozenset({"monthly"}), sent, facts, rows)
    assert daily == Seen("each day", {"daily"}, reports=1, corrections=1, risks=2, within_a_week=2, mailed=1)
    assert monthly == Seen("a month at once", {"monthly"}, reports=2, risks=4, within_a_week=0, within_a_fortnight=3,
                           later=1, never=1, mailed=1)  # fmt: skip
    assert (daily.share, monthly.share, Seen("").share) == (1.0, 0.0, None)


def test_the_oldest_day_an_office_was_told_of_is_the_newest_one_that_had_been_said_by_then() -> None:
    assert oldest_mailed([risk("a", 3, 5, on=20)]) is None
    told = [risk("a", 3, 5, on=20), goes_on("a", 3, 17, on=20), mail(21, ("RAISED", "a", 3))]
    assert oldest_mailed(told) == 4
    assert (
        oldest_mailed([*told, goes_on("a", 3, 20, on=21)]) == 4
    )  # said by the same tick: the office was told by the one before
    assert oldest_mailed([*told, risk("b", 5, 7, on=21), mail(22, ("RAISED", "b", 5))]) == 15
    instead = mail(
        23, ("RAISED", "a", 10), ("WITHDRAWN", "a", 3)
    )  # said however old it is: the office believes the other
    assert oldest_mailed([risk("a", 10, 7, on=22), instead]) is None


def test_an_answer_the_kreis_does_not_expect_is_named_and_a_missing_one_is_the_other_figures() -> None:
    played = Played(journal={"1": "recorded", "2": "NO_CONSENT", "3": "recorded", "4": "NO_CONSENT", "5": "recorded"},
                    outcomes={"1": "recorded", "2": "NO_CONSENT", "3": "NOT_RUNNING", "4": "recorded"})  # fmt: skip
    assert played.unexpected == {("recorded", "NOT_RUNNING"): 1, ("NO_CONSENT", "recorded"): 1}
