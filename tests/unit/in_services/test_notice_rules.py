"""Rules of notice as functions of values: who is told what, once, at a tick; and nobody is silenced."""

from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import RiskEnd, Rule
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import Attributes, Fact, Recorded
from contracts.notification import NotificationAttempted, NotificationWithdrawn
from services.notification.domain import LOTSE, Office, attempts, due, evolve, failed, react, sent, uncertain, view
from services.notification.mail import written
from services.notification.organisations import Mailbox
from services.notification.projection import NOTICE_LIST

OFFICE, MAILBOXES = "rkn-thm", {"rkn-thm": object()}
FIRST = date(2026, 1, 5)
TICK = datetime(2026, 3, 10, 6, tzinfo=UTC)
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
RISK: dict[str, Any] = {
    "by": LOTSE, "about": "8f6f4b6a-64f5-4c3f-9d43-0d0b3a1c9a01", "rule": Rule.S2, "owner_organisation_id": OFFICE,
}  # fmt: skip


def of(letter: str) -> str:
    """A case's id, of which one sees whose it is."""
    return "-".join(letter * length for length in (8, 4, 4, 4, 12))


def raised(case: str, *, evidence: date = date(2026, 3, 9), as_of: datetime = TICK) -> DropoutRiskRaised:
    return DropoutRiskRaised(**RISK, case_id=of(case), rule_version=1, first_on=FIRST,
                             days_on=(FIRST, evidence), as_of=as_of)  # fmt: skip


def withdrawn(case: str, as_of: datetime = TICK, reason: RiskEnd = RiskEnd.CORRECTED) -> DropoutRiskWithdrawn:
    return DropoutRiskWithdrawn(**RISK, case_id=of(case), first_on=FIRST, reason=reason, as_of=as_of)


def heard(office: Office, *facts: Fact) -> Office:
    for fact in facts:
        evolve(office, fact, "")
    return office


def asked(office: Office, at: datetime) -> list[Fact]:
    """What it says at a tick, until it is silent; and, as the runtime does, only where it asked for this tick."""
    said: list[Fact] = []
    while facts := react(office, at) or attempts(office, at, MAILBOXES):
        heard(office, *facts)
        said += facts
    moment = due(office, at, MAILBOXES)
    assert moment is None or moment > at
    return said


def between(office: Office, ticked: datetime, *facts: Fact) -> Office:
    """It hears these after that tick and before the next: asked what is missing after each, and for no mail."""
    for fact in facts:
        heard(office, fact)
        heard(office, *react(office, ticked))
    return office


def lines(office: Office, at: datetime) -> list[tuple[str, str]]:
    """(kind, case) of each line of the attempt at a tick; the attempt stays without a result."""
    attempts = [fact for fact in asked(office, at) if isinstance(fact, NotificationAttempted)]
    assert len(attempts) <= 1
    return [(line.kind, line.case_id[0]) for attempt in attempts for line in attempt.lines]


def last(office: Office) -> NotificationAttempted:
    """The attempt without a result."""
    (id,) = office.notification.in_flight
    return NotificationAttempted(by=LOTSE, attempt_id=id, as_of=TICK, lines=(
        {"kind": "RAISED", "case_id": of("a"), "about": RISK["about"], "rule": "S2", "first_on": FIRST},))  # fmt: skip


def test_a_risk_is_told_at_the_tick_after_it_was_raised_and_once() -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    assert lines(office, TICK) == []
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]
    heard(office, sent(last(office)))
    assert lines(office, TICK + 2 * QUARTER) == []
    assert due(office, TICK + 2 * QUARTER, MAILBOXES) is None


@pytest.mark.parametrize("reason", ["UNREACHABLE", "SMTP_421", "SERVER_535"])
def test_a_mail_server_that_is_away_silences_nobody(reason: str) -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    for n in range(1, 97):
        assert lines(office, TICK + n * QUARTER) == [("RAISED", "a")]
        heard(office, failed(last(office), reason))
    assert lines(office, TICK + 97 * QUARTER) == [("RAISED", "a")]


@pytest.mark.parametrize("reason", ["SMTP_550", "SMTP_535", "NO_MAILBOX"])
def test_a_mailbox_that_refuses_is_tried_once_a_day_after_four_times_and_again_as_ever_once_it_takes(
    reason: str,
) -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    tried = []
    for n in range(1, 4 * 96):
        at = TICK + n * QUARTER
        if due(office, at - timedelta(microseconds=1), MAILBOXES) is not None and lines(office, at):
            tried.append(at)
            heard(office, failed(last(office), reason))
    assert len(tried) == 4 + 4 and tried[3] == TICK + 4 * QUARTER  # 11, 12, 13 and 14 March, from midnight in Berlin
    assert [at.astimezone(UTC).time().hour for at in tried[4:]] == [23] * 4
    next_day = tried[-1] + DAY
    assert lines(office, next_day) == [("RAISED", "a")]
    heard(office, sent(last(office)), raised("b", evidence=next_day.date(), as_of=next_day))
    assert lines(office, next_day + QUARTER) == [("RAISED", "b")]


@pytest.mark.parametrize("evidence", [date(2026, 3, 9), date(2026, 2, 24)])
def test_where_no_mailbox_was_named_it_is_told_at_the_tick_after_one_is(evidence: date) -> None:
    """Also on the last day on which it is news: named on that day and asked on the next, it was told to nobody ever."""
    office, at = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a", evidence=evidence)), TICK
    for _ in range(8):
        at += QUARTER
        assert attempts(office, at, {}) == []
        assert due(office, at, {}) == at + timedelta(microseconds=1)
    assert lines(office, at + QUARTER) == [("RAISED", "a")]


def test_what_is_over_stands_on_the_list_until_a_mail_has_said_so() -> None:
    """The office's mailbox was taken out of the file: it went on believing what was on no list."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"), raised("b"))
    lines(office, TICK + QUARTER)
    between(office, TICK + QUARTER, sent(last(office)), withdrawn("a", as_of=TICK + QUARTER))
    assert attempts(office, TICK + 2 * QUARTER, {}) == []

    def listed() -> list[tuple[str, bool, bool]]:
        rows = view(office)["notice_list"]
        assert all(len(row) == len(NOTICE_LIST.columns) for row in rows)
        return [(row[1][0], row[6], row[9]) for row in rows]

    assert listed() == [("b", True, False), ("a", True, True)]
    heard(office, raised("a", as_of=TICK + 2 * QUARTER))
    assert listed() == [("a", True, False), ("b", True, False)]  # what it believes holds again
    heard(office, withdrawn("a", as_of=TICK + 3 * QUARTER))
    assert listed() == [("b", True, False), ("a", True, True)]
    assert lines(office, TICK + 4 * QUARTER) == [("WITHDRAWN", "a")]
    heard(office, failed(last(office), "UNREACHABLE"))
    assert listed() == [("b", True, False), ("a", True, True)]
    assert lines(office, TICK + 5 * QUARTER) == [("WITHDRAWN", "a")]
    heard(office, sent(last(office)))
    assert listed() == [("b", True, False)]


def test_what_a_failed_mail_said_no_longer_holds_is_said_again() -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    lines(office, TICK + QUARTER)
    heard(office, sent(last(office)), withdrawn("a"))
    assert isinstance(asked(office, TICK + QUARTER)[0], NotificationWithdrawn)
    assert lines(office, TICK + 2 * QUARTER) == [("WITHDRAWN", "a")]
    heard(office, failed(last(office), "UNREACHABLE"))
    assert lines(office, TICK + 3 * QUARTER) == [("WITHDRAWN", "a")]
    heard(office, sent(last(office)))
    assert lines(office, TICK + 4 * QUARTER) == []


def test_what_was_never_told_is_not_taken_back() -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    lines(office, TICK + QUARTER)
    heard(office, withdrawn("a"))
    assert lines(office, TICK + 2 * QUARTER) == []  # nobody knows yet whether it was told
    heard(office, failed(last(office), "UNREACHABLE"))
    assert lines(office, TICK + 3 * QUARTER) == []
    assert due(office, TICK + 3 * QUARTER, MAILBOXES) is None


@pytest.mark.parametrize("result", [sent, uncertain])
def test_what_was_told_while_it_was_withdrawn_is_taken_back_once_the_end_is_known(result: Any) -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    lines(office, TICK + QUARTER)
    heard(office, withdrawn("a"))
    assert lines(office, TICK + 2 * QUARTER) == []
    heard(office, result(last(office)))
    assert lines(office, TICK + 3 * QUARTER) == [("WITHDRAWN", "a")]


@pytest.mark.parametrize("evidence", [date(2026, 3, 9), date(2026, 2, 1)])
def test_what_holds_again_before_anybody_was_told_otherwise_is_not_told_at_all(evidence: date) -> None:
    """Corrected there and back between two ticks: one mail said both, or, the evidence grown old, the false half alone."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    lines(office, TICK + QUARTER)
    heard(office, sent(last(office)), withdrawn("a"))
    asked(office, TICK + QUARTER)
    heard(office, raised("a", evidence=evidence, as_of=TICK + QUARTER), raised("b", as_of=TICK + QUARTER))
    assert lines(office, TICK + 2 * QUARTER) == [("RAISED", "b")]
    assert [(row[1][0], row[6]) for row in view(office)["notice_list"]] == [("a", True), ("b", True)]
    heard(office, sent(last(office)), withdrawn("a"))
    assert lines(office, TICK + 3 * QUARTER) == [("WITHDRAWN", "a")]


@pytest.mark.parametrize("evidence", [date(2026, 3, 9), date(2026, 2, 1)])
def test_a_worry_whose_first_day_moves_is_one_mail_with_both_halves(evidence: date) -> None:
    """An older absence is handed in late: the office heard that it was settled, and, its days grown old, never that it holds."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    lines(office, TICK + QUARTER)
    heard(office, sent(last(office)))
    then = TICK + 2 * QUARTER
    assert lines(office, then) == []
    earlier = raised("a", evidence=evidence, as_of=then).model_copy(update={"first_on": FIRST - DAY})
    for fact in (withdrawn("a", as_of=then), earlier):
        heard(office, fact)
        assert lines(office, then) == []  # nobody hears the one half of it
    assert due(office, then, MAILBOXES) is not None
    assert lines(office, then + QUARTER) == [("RAISED", "a"), ("WITHDRAWN", "a")]
    heard(office, sent(last(office)))
    assert lines(office, then + 2 * QUARTER) == [] and due(office, then + 2 * QUARTER, MAILBOXES) is None


def test_where_the_risks_lag_behind_a_tick_nobody_is_told_before_the_next() -> None:
    """What is known at a tick is all that stood before it; between ticks the one half of a correction may be here alone, and says
    of itself an older tick all the same."""
    late, then = TICK - 4 * QUARTER, TICK + QUARTER
    office = between(Office(f"rkn:{OFFICE}", "rkn"), TICK, raised("a", as_of=late), withdrawn("a", as_of=late))
    assert lines(office, then) == [] and due(office, TICK, MAILBOXES) is None
    between(office, TICK, raised("b", as_of=late))
    assert office.notification.in_flight == {}
    assert due(office, TICK, MAILBOXES) == TICK + timedelta(microseconds=1)  # and not on the next day
    assert lines(office, then) == [("RAISED", "b")]


def test_a_risk_of_a_later_tick_keeps_none_of_an_earlier_one_waiting() -> None:
    office = between(Office(f"rkn:{OFFICE}", "rkn"), TICK, raised("a"), raised("b", as_of=TICK + 2 * QUARTER))
    assert due(office, TICK, MAILBOXES) == TICK + timedelta(microseconds=1)
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]
    heard(office, sent(last(office)))
    assert due(office, TICK + QUARTER, MAILBOXES) == TICK + 2 * QUARTER + timedelta(microseconds=1)


def told_and_over(result: Any = sent) -> Office:
    """The office was told of a risk, and a tick later that it is over; so it ends with the second mail."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]
    between(office, TICK + QUARTER, sent(last(office)), withdrawn("a", as_of=TICK + QUARTER))
    assert lines(office, TICK + 2 * QUARTER) == [("WITHDRAWN", "a")]
    return heard(office, result(last(office)))


@pytest.mark.parametrize("first_on", [FIRST, FIRST - DAY])
@pytest.mark.parametrize("result", [sent, uncertain])
def test_a_correction_that_is_corrected_is_told_however_old_its_days_are(result: Any, first_on: date) -> None:
    """The office's last word was that all is well, and that was not so."""
    office, then = told_and_over(result), TICK + 16 * DAY
    back = raised("a", evidence=date(2026, 2, 1), as_of=then).model_copy(update={"first_on": first_on})
    history = raised("b", evidence=date(2026, 2, 1), as_of=then)
    between(office, then, back, history)
    assert lines(office, then + QUARTER) == [("RAISED", "a")]
    heard(office, sent(last(office)))
    assert office.notification.said_over == {} and due(office, then + QUARTER, MAILBOXES) is None


def test_where_the_mail_that_all_is_well_failed_nobody_is_told_otherwise() -> None:
    office = told_and_over(lambda attempt: failed(attempt, "UNREACHABLE"))
    between(office, TICK + 2 * QUARTER, raised("a", evidence=date(2026, 2, 1), as_of=TICK + 2 * QUARTER))
    assert office.notification.said_over == {} and lines(office, TICK + 3 * QUARTER) == []


def test_what_was_said_to_be_over_is_not_remembered_for_ever() -> None:
    office = told_and_over()
    for weeks, known in ((7, True), (9, False)):
        then = TICK + weeks * 7 * DAY
        between(office, then, raised(str(weeks), evidence=then.date(), as_of=then))
        assert lines(office, then + QUARTER) == [("RAISED", str(weeks))]
        heard(office, sent(last(office)))
        assert bool(office.notification.said_over) is bool(office.notification.said_why) is known


@pytest.mark.parametrize("reason", list(RiskEnd))
def test_what_ended_is_not_called_settled(reason: RiskEnd) -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    lines(office, TICK + QUARTER)
    heard(office, sent(last(office)), withdrawn("a", as_of=TICK + QUARTER, reason=reason))
    (attempt,) = (fact for fact in asked(office, TICK + 2 * QUARTER) if isinstance(fact, NotificationAttempted))
    assert [(line.kind, line.reason) for line in attempt.lines] == [("WITHDRAWN", reason)]
    heard(office, failed(attempt, "UNREACHABLE"))
    (anew,) = (fact for fact in asked(office, TICK + 3 * QUARTER) if isinstance(fact, NotificationAttempted))
    assert anew.lines == attempt.lines
    attributes = Attributes(str(UUID(int=1)), "lotse", NotificationAttempted.ce_type, office.id, TICK, "rkn")
    for language, ended, settled in (("de", "nächste Schritt", "sich erledigt"), ("en", "next step", "is settled")):
        to = Mailbox.model_validate({"mailbox": "a@example.org", "language": language})
        mail = written(anew, Recorded(attributes, anew), to, "b@example.org").get_content()
        assert (ended in mail, settled in mail) == (reason is RiskEnd.ENDED, reason is RiskEnd.ATTENDED)
        assert of("a") in mail


@pytest.mark.parametrize("result", [sent, uncertain])
def test_who_was_told_why_it_is_over_hears_another_reason_once_and_no_other_office(result: Any) -> None:
    """She had come again; and then a sick note came: what the office keeps on file was never so."""
    office, other = told_and_over(result), Office("rkn:other", "rkn")
    for n, (reason, said) in enumerate(
        [(RiskEnd.ENDED, 1), (RiskEnd.ENDED, 0), (RiskEnd.ATTENDED, 1), (RiskEnd.CORRECTED, 1)], 2
    ):
        then = TICK + n * DAY
        fact = withdrawn("a", then, reason)
        between(office, then, fact)
        between(other, then, fact)
        assert [row[9] for row in view(office)["notice_list"]] == [True] * said
        attempts_ = [fact for fact in asked(office, then + QUARTER) if isinstance(fact, NotificationAttempted)]
        assert [(line.kind, line.reason) for one in attempts_ for line in one.lines] == [("WITHDRAWN", reason)] * said
        assert asked(office, then + 2 * QUARTER) == [] and asked(other, then + QUARTER) == []
        for one in attempts_:
            heard(office, result(one))
        assert view(office)["notice_list"] == [] and due(office, then + QUARTER, MAILBOXES) is None


def test_a_reason_that_was_another_for_a_while_is_told_to_nobody() -> None:
    office = told_and_over()
    between(office, TICK + DAY, withdrawn("a", TICK + DAY, RiskEnd.ENDED), withdrawn("a", TICK + DAY))
    assert asked(office, TICK + DAY + QUARTER) == [] and view(office)["notice_list"] == []


def test_where_the_mail_with_another_reason_failed_it_is_said_again_and_nobody_believes_that_it_holds() -> None:
    """It was taken for what the office believes to hold: what then held again was told to nobody."""
    office = told_and_over()
    between(office, TICK + DAY, withdrawn("a", TICK + DAY, RiskEnd.ATTENDED))
    for n in (1, 2):
        assert lines(office, TICK + DAY + n * QUARTER) == [("WITHDRAWN", "a")]
        assert due(office, TICK + DAY + n * QUARTER, MAILBOXES) is None  # nobody knows yet whether it was said
        heard(office, failed(last(office), "UNREACHABLE"))
    between(office, TICK + 2 * DAY, raised("a", as_of=TICK + 2 * DAY))
    assert lines(office, TICK + 2 * DAY + QUARTER) == [("RAISED", "a")]
    heard(office, failed(last(office), "UNREACHABLE"), withdrawn("a", TICK + 3 * DAY))
    assert lines(office, TICK + 3 * DAY + QUARTER) == []  # the office knows so, and why


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("told_why", [False, True])
def test_whoever_had_no_mailbox_for_weeks_hears_the_newest_reason_once(told_why: bool, refuses: bool) -> None:
    """What else was over meanwhile made it forgotten: of the older reason the office heard too late, or of the newer never."""
    office = told_and_over() if told_why else Office(f"rkn:{OFFICE}", "rkn")
    if not told_why:
        assert lines(heard(office, raised("a")), TICK + QUARTER) == [("RAISED", "a")]
        between(office, TICK + QUARTER, sent(last(office)), withdrawn("a", TICK + QUARTER))
    between(office, TICK + DAY, withdrawn("a", TICK + DAY, RiskEnd.ENDED))
    between(office, TICK + DAY, withdrawn("a", TICK + DAY, RiskEnd.ATTENDED))
    for week in range(1, 8):
        at = TICK + week * 7 * DAY
        between(office, at, raised(str(week), as_of=at), withdrawn(str(week), at))
        assert [(row[1][0], row[6]) for row in view(office)["notice_list"]] == [("a", not told_why)]
        if refuses:
            assert lines(office, at + QUARTER) == [("WITHDRAWN", "a")]
            heard(office, failed(last(office), "SMTP_550"))
    then = TICK + 50 * DAY
    (attempt,) = [fact for fact in asked(office, then) if isinstance(fact, NotificationAttempted)]
    assert [(line.kind, line.case_id[0], line.reason) for line in attempt.lines] == [("WITHDRAWN", "a", "ATTENDED")]
    heard(office, sent(attempt))
    assert asked(office, then + QUARTER) == [] and view(office)["notice_list"] == []


def test_while_another_reason_waits_the_office_is_not_thought_to_believe_that_it_holds() -> None:
    """A case stood in quarantine for nine weeks, while other mails went out: that she stays away again was told to nobody."""
    office = told_and_over()
    between(office, TICK + DAY, withdrawn("a", TICK + DAY, RiskEnd.ATTENDED))
    then = TICK + 63 * DAY
    between(office, then, raised("b", evidence=then.date(), as_of=then))
    (attempt,) = attempts(office, then + QUARTER, MAILBOXES, {of("a")})
    assert isinstance(attempt, NotificationAttempted) and [line.case_id for line in attempt.lines] == [of("b")]
    heard(office, attempt, sent(attempt))
    assert [row[6] for row in view(office)["notice_list"] if row[1] == of("a")] == [False]
    between(office, then + DAY, raised("a", evidence=then.date(), as_of=then + DAY))
    assert lines(office, then + DAY + QUARTER) == [("RAISED", "a")]


def test_a_reason_that_waited_and_is_the_told_one_again_is_told_to_nobody_and_what_holds_again_is() -> None:
    office = told_and_over()
    between(office, TICK + DAY, withdrawn("a", TICK + DAY, RiskEnd.ATTENDED))
    for n, case in ((20, "b"), (21, "a")):
        between(office, TICK + n * DAY, withdrawn(case, TICK + n * DAY))
    assert asked(office, TICK + 22 * DAY) == [] and view(office)["notice_list"] == []
    between(office, TICK + 22 * DAY, withdrawn("a", TICK + 22 * DAY, RiskEnd.ENDED), raised("a", as_of=TICK + 22 * DAY))
    assert lines(office, TICK + 23 * DAY) == [("RAISED", "a")]
    heard(office, sent(last(office)), withdrawn("a", TICK + 23 * DAY, RiskEnd.ENDED))
    assert lines(office, TICK + 24 * DAY) == [("WITHDRAWN", "a")]


def test_what_is_on_its_way_and_is_over_for_another_reason_meanwhile_is_taken_back_for_the_last() -> None:
    """Told again, over, and over for the reason that the office knew before: it would have gone on believing that it holds."""
    office = told_and_over()
    between(office, TICK + DAY, raised("a", as_of=TICK + DAY))
    assert lines(office, TICK + DAY + QUARTER) == [("RAISED", "a")]
    for reason in (RiskEnd.ENDED, RiskEnd.CORRECTED):
        between(office, TICK + DAY + QUARTER, withdrawn("a", TICK + DAY + QUARTER, reason))
    heard(office, sent(last(office)))
    (attempt,) = [fact for fact in asked(office, TICK + 2 * DAY) if isinstance(fact, NotificationAttempted)]
    assert [(line.kind, line.reason) for line in attempt.lines] == [("WITHDRAWN", "CORRECTED")]


def test_of_what_was_told_again_it_is_not_known_any_more_that_it_was_over() -> None:
    """The mail that takes it back for the second time fails: the office believes that it holds."""
    office = told_and_over()
    between(office, TICK + DAY, raised("a", as_of=TICK + DAY))
    assert lines(office, TICK + DAY + QUARTER) == [("RAISED", "a")]
    between(office, TICK + DAY + QUARTER, sent(last(office)), withdrawn("a", TICK + 2 * DAY))
    for n in (1, 2):
        assert lines(office, TICK + 2 * DAY + n * QUARTER) == [("WITHDRAWN", "a")]
        heard(office, failed(last(office), "UNREACHABLE"))


def test_why_what_was_withdrawn_is_over_is_the_same_whatever_came_first_and_is_not_kept_for_ever() -> None:
    facts = [withdrawn(case, TICK + n * DAY) for n, case in zip((0, 3, 9, 14, 20), "abcde", strict=True)]
    orders = [heard(Office(f"rkn:{OFFICE}", "rkn"), *order).dropout.over for order in permutations(facts)]
    assert {key[0] for key in orders[0]} == set("cde") and all(order == orders[0] for order in orders)


@given(said=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.sampled_from(list(RiskEnd))), min_size=1))
def test_what_is_known_of_what_is_over_is_that_of_a_fortnight_and_the_last_said_of_each(
    said: list[tuple[int, int, RiskEnd]],
) -> None:
    """In the order in which it was heard; of a risk told of twice the later stands, also where it is too old to be kept."""
    office, known = Office(f"rkn:{OFFICE}", "rkn"), dict[str, tuple[str, int]]()
    for n, (case, day, reason) in enumerate(said, 1):
        heard(office, withdrawn(str(case), TICK + day * DAY, reason))
        known[of(str(case))] = (reason.value, day)
        newest = max(day for _, day, _ in said[:n])
        known = {case: one for case, one in known.items() if one[1] >= newest - 14}
        assert {key[:36]: (one.reason, (one.as_of - TICK).days)
                for key, one in office.dropout.over.items()} == known  # fmt: skip


def test_what_was_taken_back_says_how_it_ended_last() -> None:
    """The end was entered in error, so the worry was back before anybody had been told otherwise; then the person came."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]
    heard(office, withdrawn("a", TICK + QUARTER, RiskEnd.ENDED), sent(last(office)))
    assert [type(fact) for fact in react(office, TICK + QUARTER)] == [NotificationWithdrawn]
    heard(office, *react(office, TICK + QUARTER), raised("a", as_of=TICK + 2 * QUARTER))
    heard(office, withdrawn("a", TICK + 3 * QUARTER, RiskEnd.ATTENDED))
    (attempt,) = [fact for fact in asked(office, TICK + 4 * QUARTER) if isinstance(fact, NotificationAttempted)]
    assert [(line.kind, line.reason) for line in attempt.lines] == [("WITHDRAWN", "ATTENDED")]


def test_nothing_is_said_of_a_case_in_quarantine_until_it_is_released() -> None:
    """What is known of it is not all there is: of who came again it was mailed that she stays away."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"), raised("b"))
    for quarantined, said in (({of("a")}, ["b"]), ({of("a")}, []), (set[str](), ["a"])):
        at = (office.notification.last_as_of or TICK) + QUARTER
        mails = attempts(office, at, MAILBOXES, quarantined)
        assert [
            line.case_id[0] for mail in mails if isinstance(mail, NotificationAttempted) for line in mail.lines
        ] == said
        assert due(office, at, MAILBOXES) is not None  # it asks at each tick
        heard(office, *mails, *(sent(mail) for mail in mails if isinstance(mail, NotificationAttempted)))
    between(office, TICK + DAY, withdrawn("a", TICK + DAY))
    assert attempts(office, TICK + 2 * DAY, MAILBOXES, {of("a")}) == []
    assert lines(office, TICK + 2 * DAY) == [("WITHDRAWN", "a")]


def test_a_risk_that_goes_on_is_told_although_it_began_long_ago_and_once() -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a", evidence=date(2026, 2, 10)))
    goes_on = DropoutRiskContinued(
        **RISK, case_id=of("a"), first_on=FIRST, last_missed_on=date(2026, 3, 9), as_of=TICK + QUARTER
    )
    assert lines(office, TICK + QUARTER) == []
    heard(office, goes_on)
    assert lines(office, TICK + 2 * QUARTER) == [("RAISED", "a")]
    heard(office, sent(last(office)), goes_on.model_copy(update={"last_missed_on": date(2026, 3, 10)}))
    assert lines(office, TICK + 3 * QUARTER) == []
    heard(office, withdrawn("a"), goes_on)  # of a risk that is not open nothing goes on
    assert office.dropout.open == {}


def test_a_day_that_was_said_and_is_corrected_is_no_evidence() -> None:
    """Nobody is told of what was left of a worry; who was told of it is told no more, since it holds."""
    corrected = DropoutRiskContinued(
        **RISK, case_id=of("a"), first_on=FIRST, last_missed_on=date(2026, 2, 10), as_of=TICK + QUARTER
    )
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"), corrected)
    assert lines(office, TICK + 2 * QUARTER) == []
    assert [row[8] for row in view(office)["notice_list"]] == [date(2026, 2, 10)]
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]
    heard(office, sent(last(office)), corrected)
    assert lines(office, TICK + 2 * QUARTER) == []


def test_history_mails_nobody() -> None:
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a", evidence=date(2026, 2, 23)))
    assert lines(office, TICK + QUARTER) == []
    assert lines(office, TICK + DAY) == []
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a", evidence=date(2026, 2, 24)))
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]


def test_what_no_mail_can_hold_is_said_at_the_next_tick_and_each_risk_once() -> None:
    """A fact of more than a megabyte leaves nobody's outbox, and no office would hear anything any more."""
    cases = [str(UUID(int=n)) for n in range(4500)]
    office = heard(
        Office(f"rkn:{OFFICE}", "rkn"), *(raised("a").model_copy(update={"case_id": case}) for case in cases)
    )
    told: list[str] = []
    for n in range(1, 5):
        for fact in asked(office, TICK + n * QUARTER):
            assert isinstance(fact, NotificationAttempted) and len(fact.to_json()) < 500_000
            told += [line.case_id for line in fact.lines]
            heard(office, sent(fact))
    assert sorted(told) == cases


def test_of_two_mails_the_second_waits_for_the_end_of_the_first_and_no_withdrawal_is_lost_where_both_fail() -> None:
    """A mail server that is slow for longer than a tick: what the first ends with decides what the office believes."""
    office = heard(Office(f"rkn:{OFFICE}", "rkn"), raised("a"))
    assert lines(office, TICK + QUARTER) == [("RAISED", "a")]
    heard(office, sent(last(office)), withdrawn("a"))
    assert lines(office, TICK + 2 * QUARTER) == [("WITHDRAWN", "a")]
    slow = last(office)
    heard(office, raised("a", as_of=TICK + 2 * QUARTER), raised("b", as_of=TICK + 2 * QUARTER))
    assert lines(office, TICK + 3 * QUARTER) == []
    heard(office, failed(slow, "UNREACHABLE"))
    assert lines(office, TICK + 3 * QUARTER) == [("RAISED", "b")]  # of "a" the office still believes what holds again
    heard(office, failed(last(office), "UNREACHABLE"), withdrawn("a"))
    assert lines(office, TICK + 4 * QUARTER) == [("RAISED", "b"), ("WITHDRAWN", "a")]
