"""Rules of intake as functions of values: who may say something of a person, and what about days and ends."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.codes import DataCategory
from contracts.envelope import By, Decision, Fact, Refused, Unchanged
from contracts.intake import (
    REASONS,
    CaseClosed,
    CaseClosureRequested,
    CaseOpened,
    ConsentGiven,
    ConsentGranted,
    ConsentRevoked,
    ConsentWithdrawn,
    NeedRecorded,
    NeedReported,
    RegistrationSubmitted,
)
from services.intake.domain import Case, close_case, evolve, give_consent, register, report_need, withdraw_consent

OWNER, OPENER, PROVIDER, STRANGER = (
    By(organisation_id=name) for name in ("rkn-thm", "jmd-neuss", "vhs-neuss", "caritas-rkn")
)
OPENED = date(2026, 3, 2)
ARRIVED = datetime(2026, 6, 1, 9, tzinfo=UTC)
LAST_DAY = date(2026, 5, 20)


def at(day: date) -> datetime:
    """Noon of a day."""
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12)


def opened(*, closed: bool = False) -> Case:
    """A case of OWNER's that OPENER registered."""
    case = Case(str(uuid4()), "rkn")
    request = RegistrationSubmitted(by=OPENER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm")
    heard(case, register(request, case, ARRIVED))
    if closed:
        assert isinstance(heard(case, close_case(closure(), case, ARRIVED)), CaseClosed)
    return case


def heard(case: Case, decision: Decision) -> Decision:
    if isinstance(decision, Fact):
        evolve(case, decision, "")
    return decision


def need(by: By, **more: Any) -> NeedReported:
    return NeedReported(**{"by": by, "need_id": str(uuid4()), "need_type": "WORK", **more})


def consent(by: By = OWNER, **more: Any) -> ConsentGiven:
    said = {"by": by, "consent_id": str(uuid4()), "purpose": "REFERRAL", "categories": (DataCategory.LANGUAGE,),
            "recipients": ("vhs-neuss",), "valid_from_on": OPENED, "last_valid_on": OPENED + timedelta(days=400)}  # fmt: skip
    return ConsentGiven(**{**said, **more})


def closure(**more: Any) -> CaseClosureRequested:
    return CaseClosureRequested(**{"by": OWNER, "last_day_on": LAST_DAY, "reason": "COMPLETED", **more})


def reason(decision: Decision) -> str:
    return decision.reason if isinstance(decision, Refused) else type(decision).__name__


def test_who_writes_null_for_what_she_does_not_know_says_what_leaves_it_out() -> None:
    said: dict[str, Any] = {"by": {"organisation_id": "rkn-thm"}, "municipality": "05162024", "programme": "GK",
                            "owner_organisation_id": "rkn-thm"}  # fmt: skip
    nulls = {**dict.fromkeys(["sex", "birth_year_band", "language", "status_group"]),
             **said, "by": {**said["by"], "kind": None, "staff_id": None}}  # fmt: skip
    one, other = (RegistrationSubmitted.from_json(json.dumps(body).encode()) for body in (said, nulls))
    case = Case(str(uuid4()), "rkn")
    fact = register(other, case, ARRIVED)
    assert isinstance(fact, CaseOpened) and fact == register(one, case, ARRIVED) and b"null" not in fact.to_json()
    heard(case, fact)
    assert isinstance(register(one, case, ARRIVED), Unchanged) and isinstance(register(other, case, ARRIVED), Unchanged)


@pytest.mark.parametrize("by", [OWNER, OPENER])
def test_whose_case_it_is_says_what_she_needs_and_agrees_to(by: By) -> None:
    case, said, agreed = opened(), need(by), consent(by)
    assert isinstance(heard(case, report_need(said, case, at(OPENED))), NeedRecorded)
    assert isinstance(report_need(said, case, at(OPENED)), Unchanged)
    other = said.model_copy(update={"need_type": "HOUSING"})
    assert reason(report_need(other, case, at(OPENED))) == "NEED_EXISTS"
    assert isinstance(heard(case, give_consent(agreed, case, ARRIVED)), ConsentGranted)
    assert isinstance(give_consent(agreed, case, ARRIVED), Unchanged)


@pytest.mark.parametrize("closed", [False, True])
def test_a_stranger_who_knows_the_case_learns_nothing_of_her_whatever_it_says(closed: bool) -> None:
    """Not that a case is closed, nor that a need or a consent stands; and it is in no consent that it gives itself."""
    case = opened(closed=closed)
    known, agreed = need(OWNER), consent()
    heard(case, report_need(known, case, at(OPENED)))
    heard(case, give_consent(agreed, case, ARRIVED))
    for same in (known, known.model_copy(update={"need_type": "HOUSING"}), need(STRANGER)):
        said = same.model_copy(update={"by": STRANGER})
        assert {reason(report_need(said, case, at(day))) for day in (OPENED, LAST_DAY, date(2026, 6, 1))} == {
            "NOT_YOURS"
        }
    late = {"valid_from_on": LAST_DAY + timedelta(days=1)}
    for more in ({}, late, {"recipients": ("caritas-rkn",)}, {"consent_id": agreed.consent_id}):
        assert reason(give_consent(consent(STRANGER, **more), case, ARRIVED)) == "NOT_YOURS"


def test_whom_a_consent_names_may_report_a_need_while_it_holds() -> None:
    case, agreed = opened(), consent()
    assert reason(report_need(need(PROVIDER), case, at(OPENED))) == "NOT_YOURS"
    heard(case, give_consent(agreed, case, ARRIVED))
    for day, expected in ((OPENED - timedelta(days=1), "NOT_YOURS"), (OPENED, "NeedRecorded"),
                          (agreed.last_valid_on, "NeedRecorded"), (agreed.last_valid_on + timedelta(days=1), "NOT_YOURS")):  # fmt: skip
        assert reason(report_need(need(PROVIDER), case, at(day))) == expected
    assert reason(give_consent(consent(PROVIDER), case, ARRIVED)) == "NOT_YOURS"
    withdrawn = ConsentWithdrawn(by=OWNER, consent_id=agreed.consent_id, withdrawn_on=LAST_DAY)
    assert isinstance(heard(case, withdraw_consent(withdrawn, case, ARRIVED, ARRIVED)), ConsentRevoked)
    assert reason(report_need(need(PROVIDER), case, at(LAST_DAY - timedelta(days=1)))) == "NeedRecorded"
    assert reason(report_need(need(PROVIDER), case, at(LAST_DAY))) == "NOT_YOURS"


def test_a_consent_that_was_withdrawn_is_not_said_to_stand_when_it_is_given_anew() -> None:
    """Whoever passes on that she agrees again is told that this needs another id; nobody else is told anything."""
    case, agreed = opened(), consent()
    heard(case, give_consent(agreed, case, ARRIVED))
    heard(
        case,
        withdraw_consent(
            ConsentWithdrawn(by=OWNER, consent_id=agreed.consent_id, withdrawn_on=LAST_DAY), case, ARRIVED, ARRIVED
        ),
    )
    for again in (agreed, consent(consent_id=agreed.consent_id, valid_from_on=LAST_DAY)):
        no = give_consent(again, case, ARRIVED)
        assert isinstance(no, Refused) and (no.reason, no.at) == ("CONSENT_EXISTS", "/consent_id")
    assert "was withdrawn; a renewed consent has a new id" in REASONS["CONSENT_EXISTS"]
    assert reason(give_consent(agreed.model_copy(update={"by": STRANGER}), case, ARRIVED)) == "NOT_YOURS"
    assert isinstance(give_consent(consent(), case, ARRIVED), ConsentGranted)


def test_a_case_has_an_end_whoever_fills_it() -> None:
    """A state is read and written whole: by one partner's flood the batches of all others would never end in time."""
    case = opened()
    for _ in range(500):
        assert isinstance(heard(case, report_need(need(OWNER), case, at(OPENED))), NeedRecorded)
        assert isinstance(heard(case, give_consent(consent(), case, ARRIVED)), ConsentGranted)
    for no in (report_need(need(OWNER), case, at(OPENED)), give_consent(consent(), case, ARRIVED)):
        assert isinstance(no, Refused) and no.reason == "TOO_MANY_OF_A_CASE"
    id, given = next(iter(case.consents.items()))
    again = consent(consent_id=id, valid_from_on=given.valid_from_on, last_valid_on=given.last_valid_on)
    assert isinstance(give_consent(again, case, ARRIVED), Unchanged)  # what is known is still known


def test_the_needs_that_others_may_tell_leave_room_for_whose_case_it_is() -> None:
    """A body that a consent names told 500, and the owner could never say what she needs."""
    case = opened()
    bodies = [By(organisation_id=f"body-{n}") for n in range(12)]
    heard(case, give_consent(consent(recipients=tuple(body.organisation_id for body in bodies)), case, ARRIVED))
    for by, most in ((bodies[0], 50), (OPENER, 50), *((body, 50) for body in bodies[1:8]), (bodies[8], 0)):
        said = [heard(case, report_need(need(by), case, at(OPENED))) for _ in range(51)]
        assert [reason(one) for one in said] == ["NeedRecorded"] * most + ["TOO_MANY_OF_A_CASE"] * (51 - most)
    assert case.needs_told_by == {one.organisation_id: 50 for one in (OPENER, *bodies[:8])}
    known = next(iter(case.needs))
    assert isinstance(report_need(need(bodies[0], need_id=known), case, at(OPENED)), Unchanged)
    said = [heard(case, report_need(need(OWNER), case, at(OPENED))) for _ in range(51)]
    assert [reason(one) for one in said] == ["NeedRecorded"] * 50 + ["TOO_MANY_OF_A_CASE"]


def test_who_evaluates_a_programme_learns_of_no_case() -> None:
    """Each purpose is a consent of its own: one for figures lets nobody say what a person needs, nor learn that there is she."""
    case = opened()
    heard(case, give_consent(consent(purpose="EVALUATION"), case, ARRIVED))
    assert reason(report_need(need(PROVIDER), case, at(OPENED))) == "NOT_YOURS"
    heard(case, give_consent(consent(), case, ARRIVED))
    assert reason(report_need(need(PROVIDER), case, at(OPENED))) == "NeedRecorded"


def test_a_need_said_by_the_last_day_of_a_case_is_taken_although_it_is_heard_after_it() -> None:
    case = opened(closed=True)
    late = datetime(2026, 5, 20, 21, 59, tzinfo=UTC)  # a minute before midnight in the alliance's zone
    assert reason(report_need(need(OWNER), case, late)) == "NeedRecorded"
    assert reason(report_need(need(OWNER), case, late + timedelta(minutes=1))) == "CASE_CLOSED"


def test_nobody_withdraws_a_consent_today_from_a_day_that_is_to_come() -> None:
    """It stopped what is open today, and could not be moved to a later day."""
    case, agreed = opened(), consent()
    heard(case, give_consent(agreed, case, ARRIVED))
    today = date(2026, 6, 1)
    said = ConsentWithdrawn(by=STRANGER, consent_id=agreed.consent_id, withdrawn_on=today + timedelta(days=1))
    no = withdraw_consent(said, case, ARRIVED, ARRIVED)
    assert isinstance(no, Refused) and (no.reason, no.at) == ("FUTURE_DAY", "/withdrawn_on")
    said = said.model_copy(update={"withdrawn_on": today})
    assert isinstance(heard(case, withdraw_consent(said, case, ARRIVED, ARRIVED)), ConsentRevoked)
    assert isinstance(withdraw_consent(said, case, ARRIVED, ARRIVED - timedelta(days=1)), Unchanged)


def test_a_consent_that_has_begun_is_not_withdrawn_from_a_day_before_it() -> None:
    """A year that was mistyped stood for good: a withdrawal is only moved to an earlier day."""
    case, agreed = opened(), consent()
    heard(case, give_consent(agreed, case, ARRIVED))
    said = ConsentWithdrawn(by=STRANGER, consent_id=agreed.consent_id, withdrawn_on=OPENED - timedelta(days=1))
    for day in (OPENED - timedelta(days=1), OPENED.replace(year=2016)):
        no = withdraw_consent(said.model_copy(update={"withdrawn_on": day}), case, ARRIVED, ARRIVED)
        assert isinstance(no, Refused) and (no.reason, no.at) == ("CONSENT_ENDS_BEFORE_IT_BEGINS", "/withdrawn_on")
    assert isinstance(
        withdraw_consent(said, case, at(OPENED - timedelta(days=1)), ARRIVED), ConsentRevoked
    )  # heard late
    said = said.model_copy(update={"withdrawn_on": OPENED})
    assert isinstance(withdraw_consent(said, case, ARRIVED, ARRIVED), ConsentRevoked)


def test_who_comes_back_after_her_case_was_closed_is_not_told_that_it_stands() -> None:
    """Called `unchanged` she was registered, and all that was said of her from then on was refused."""
    case = opened(closed=True)
    said = RegistrationSubmitted(by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm")
    late = datetime(2026, 5, 20, 21, 59, tzinfo=UTC)  # a minute before midnight in the alliance's zone
    assert isinstance(register(said, case, late), Unchanged)
    for same in (said, said.model_copy(update={"municipality": "05162004"})):
        no = register(same, case, late + timedelta(minutes=1))
        assert isinstance(no, Refused) and no.reason == "CASE_CLOSED" and "new case under a new id" in no.hint
    assert reason(register(said.model_copy(update={"by": STRANGER}), case, ARRIVED)) == "NOT_YOURS"


def test_who_opened_a_case_may_say_that_there_was_none() -> None:
    """Of an owner who was mistyped nobody closes it; what it was registered with is never said otherwise."""
    case = opened()
    in_error = closure(by=OPENER, reason="ENTERED_IN_ERROR")
    for by in (PROVIDER, STRANGER):
        assert reason(close_case(closure(by=by, reason="ENTERED_IN_ERROR"), case, ARRIVED)) == "NOT_YOURS"
    fact = heard(case, close_case(in_error, case, ARRIVED))
    assert isinstance(fact, CaseClosed) and (fact.by, fact.reason) == (OPENER, "ENTERED_IN_ERROR")
    assert isinstance(close_case(in_error, case, ARRIVED), Unchanged)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("by", [OPENER, PROVIDER, STRANGER])
def test_nobody_but_its_owner_closes_a_case_or_learns_that_it_is_closed(by: By, closed: bool) -> None:
    """Not who opened it either, unless there was none, nor whom a consent names; whatever the day and the reason."""
    case = opened(closed=closed)
    heard(case, give_consent(consent(), case, ARRIVED))
    for said in (closure(), closure(reason="MOVED"), closure(last_day_on=date(2026, 6, 2))):
        assert reason(close_case(said.model_copy(update={"by": by}), case, ARRIVED)) == "NOT_YOURS"
    assert reason(close_case(closure(by=by), Case(case.id, "rkn"), ARRIVED)) == "NOT_YOURS"


def test_a_case_is_closed_on_a_day_that_has_come() -> None:
    case, said = opened(), closure(last_day_on=date(2026, 6, 2))
    before = datetime(2026, 6, 1, 21, 59, tzinfo=UTC)  # a minute before midnight in the alliance's zone
    no = close_case(said, case, before)
    assert isinstance(no, Refused) and (no.reason, no.at) == ("FUTURE_DAY", "/last_day_on")
    fact = close_case(said, case, before + timedelta(minutes=1))
    assert isinstance(fact, CaseClosed)
    assert (fact.by, fact.last_day_on, fact.reason) == (OWNER, date(2026, 6, 2), "COMPLETED")


def test_a_case_is_closed_once_and_not_otherwise() -> None:
    case = opened(closed=True)
    for arrived in (ARRIVED, ARRIVED - timedelta(days=400)):  # a broker's clock that was put back
        assert isinstance(close_case(closure(), case, arrived), Unchanged)
    for other, at in (({"last_day_on": LAST_DAY - timedelta(days=1)}, "/last_day_on"),
                      ({"last_day_on": LAST_DAY + timedelta(days=1)}, "/last_day_on"), ({"reason": "MOVED"}, "/reason")):  # fmt: skip
        no = close_case(closure(**other), case, ARRIVED)
        assert isinstance(no, Refused) and (no.reason, no.at) == ("CLOSED_OTHERWISE", at)
