"""For every reason there is: whether sending again helps. Each is judged by hand here, so a new reason has to be, too."""

import ast

from contracts.envelope import ANSWERED_LATER, RUNTIME_REASONS, Answer, again_of, of_another_kind, unknown
from contracts.families import FAMILIES
from deploy.places import ROOT

NO = {"NOT_YOURS", "CASE_CLOSED", "NOT_OPEN", "NO_CONSENT", "TOO_MANY_OF_A_CASE", "CASE_EXISTS", "CONSENT_EXISTS", "NEED_EXISTS", "RUN_EXISTS", "REFERRAL_EXISTS",
      "PARTICIPATION_EXISTS", "WITHDRAWN_OTHERWISE", "CLOSED_OTHERWISE"}  # fmt: skip
LATER = {"CLOCK_AHEAD", "TOO_MANY_WAITING", "NOT_ACCEPTED", "FUTURE_DAY", "UNKNOWN_SUBJECT", "UNKNOWN_RUN"}
MENDED = {"ID_REUSED", "GIVEN_UP", "CONSENT_ENDS_BEFORE_IT_BEGINS", "ENDS_BEFORE_IT_STARTS", "DECLINE_NEEDS_REASON",
          "NOT_OF_THIS_REFERRAL", "CONTRADICTION", "PLANNED_OUTSIDE_RUN", "END_BEFORE_START", "START_AFTER_END", "REVISION_REUSED", "NOT_RUNNING",
          "MORE_THAN_PLANNED", "EXCUSE_NEEDS_REASON", "CODE_NOT_VALID", "CODE_UNKNOWN", "DAY_IMPLAUSIBLE", "ID_NIL"}  # fmt: skip


def test_every_reason_says_whether_sending_again_helps() -> None:
    families = {reason for module in FAMILIES.values() for reason in getattr(module, "REASONS", {})}
    assert families | RUNTIME_REASONS.keys() <= NO | LATER | MENDED
    for judged, again in ((NO, "no"), (LATER, "later"), (MENDED, "mended")):
        for reason in judged:
            assert again_of({"outcome": "refused", "reason": reason}) == again, reason


def test_an_id_of_another_kind_of_thing_is_mended_and_not_waited_for() -> None:
    no = of_another_kind("run_id")
    said = {"reference": "8f6f4b6a-64f5-4c3f-9d43-0d0b3a1c9a01", "submission_id": "1", "content": "r1:" + "0" * 32}
    for refusal, again in ((no, "mended"), (unknown("run_id"), "later")):
        body = Answer.written({**said, "outcome": "refused", "reason": refusal.reason, "again": refusal.again})
        assert Answer.model_validate_json(body).again == again
    assert (no.reason, no.at) == ("UNKNOWN_RUN", "/run_id") and no.hint != unknown("run_id").hint


def test_what_stands_needs_nothing_and_what_can_not_be_read_must_be_mended() -> None:
    assert [again_of({"outcome": outcome}) for outcome in ("recorded", "unchanged", "unreadable")] == [
        "no",
        "no",
        "mended",
    ]


def test_where_answers_say_otherwise_than_the_reason_by_itself_its_page_says_so() -> None:
    """Who goes by the column of a page alone mends what is right, and what waits for a correction is never sent again."""
    pages = [page.read_text() for page in sorted((ROOT / "docs/contracts").glob("*.submissions.*.md"))]
    assert all("What the answer says counts" in page for page in pages)
    assert {reason for reason, again in otherwise() if again == "later"} == ANSWERED_LATER
    for reason, again in otherwise():
        rows = [row for page in pages for row in page.splitlines() if row.startswith(f"| `{reason}` |")]
        assert any(f"(then `{again}`)" in row or f"(so it says `{again}`)" in row for row in rows), reason


def otherwise() -> list[tuple[str, str]]:
    """Reasons that services' rules refuse for with another `again` than is the reason's own, and which."""
    calls = [call for file in sorted((ROOT / "services").rglob("*.py")) for call in ast.walk(ast.parse(file.read_text()))
             if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "refused"]  # fmt: skip
    return [(ast.literal_eval(call.args[0]), word.value.attr.lower())
            for call in calls for word in call.keywords if word.arg == "again" and isinstance(word.value, ast.Attribute)]  # fmt: skip
