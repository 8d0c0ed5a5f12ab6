"""What became of a submission, and a publisher's books, from records as they stand on topics."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from contracts.envelope import content_of
from deploy.feeds.account import Account, ranked, span_of
from deploy.feeds.told import Conversation

SOURCE = "https://kreis.example/lotse"
ARRIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONTENT = "r1:" + "0" * 32


@dataclass
class Record:
    """As a consumer gives it."""

    headers: list[tuple[str, bytes]]
    value: bytes | None
    timestamp: int = int(ARRIVED.timestamp() * 1000)
    topic: str = "intake.answers.kreis"
    partition: int = 0
    offset: int = 0


def reference(id: str) -> str:
    return str(uuid5(uuid5(NAMESPACE_URL, SOURCE), id))


def answered(id: str, outcome: str, number: int = 1, minutes: int = 0, **said: Any) -> Record:
    body = {"submission_id": id, "reference": reference(id), "content": CONTENT, "outcome": outcome} | said
    headers = [("ce_id", f"answer-{id}-{number}".encode()), ("ce_cause", reference(id).encode())]
    at = int((ARRIVED + timedelta(minutes=minutes)).timestamp() * 1000)
    return Record(headers, json.dumps(body).encode(), at)


def sent(id: str, late: timedelta = timedelta(), **more: Any) -> Record:
    said = (ARRIVED - late).isoformat().encode()
    headers = {"ce_specversion": b"1.0", "ce_id": id.encode(), "ce_source": SOURCE.encode(), "ce_subject": b"case-1",
               "ce_type": b"lotse.intake.need_reported.v1", "ce_time": said, "ce_tenant": b"rkn"}  # fmt: skip
    value, headers = more.pop("value", b"{}"), headers | more.pop("headers", {})
    return Record(list(headers.items()), value, topic="intake.submissions.kreis", **more)


def test_only_the_answers_to_this_id_are_heard_and_the_same_answer_once() -> None:
    found = Conversation("a", reference("a"))
    found.hear(
        [answered("b", "recorded"), answered("a", "recorded", fact_id=reference("x")), answered("a", "recorded")]
    )
    (told,) = found.answers
    assert (told.answer.outcome, told.answer.fact_id, told.again) == ("recorded", reference("x"), "no: it stands")


def test_what_became_of_the_submission_comes_before_what_was_said_to_another_content_of_its_id() -> None:
    found = Conversation("a", reference("a"))
    found.hear([answered("a", "refused", 2, reason="ID_REUSED"), answered("a", "recorded", 1, minutes=5)])
    assert [told.answer.reason for told in found.answers] == [None, "ID_REUSED"]


def test_other_content_that_was_refused_is_no_answer_to_what_still_waits_under_the_id() -> None:
    """Called refused, it was mended and sent under a new id, and the first was judged as well: two referrals."""
    kind = b"lotse.intake.need_reported.v1"
    refused = [answered("a", "refused", n, reason="ID_REUSED", content=content_of(reference("a"), kind, body))
               for n, body in enumerate((b'{"b": 1}', b'{"c": 1}'))]  # fmt: skip
    others = [sent("a", offset=1, value=b'{"b": 1}'), sent("a", offset=2, value=b'{"c": 1}')]
    found = Conversation("a", reference("a"))
    found.hear(refused)
    found.see([sent("a", offset=0), *others, sent("a", offset=3)])
    assert not found.answered and [one.place[-1] for one in found.waiting] == ["0", "3"] and len(found.answers) == 2
    found.hear([answered("a", "recorded", 9)])
    assert found.answered and found.waiting == []
    gone = Conversation("a", reference("a"))  # what was sent first is no longer on its topic
    gone.hear(refused)
    gone.see(others)
    assert not gone.answered and gone.waiting == []


@pytest.mark.parametrize(
    ("outcome", "reason", "again"),
    [
        ("refused", "NO_CONSENT", "no"),
        ("refused", "TOO_MANY_WAITING", "later"),
        ("refused", "DECLINE_NEEDS_REASON", "mended"),
        ("refused", "ID_REUSED", "mended"),
        ("refused", "NOT_YOURS", "no"),
        ("unreadable", "BODY", "mended"),
    ],
)
def test_it_says_whether_sending_again_helps_and_that_a_new_id_is_needed(outcome: str, reason: str, again: str) -> None:
    found = Conversation("a", reference("a"))
    found.hear([answered("a", outcome, reason=reason)])
    row = found.answers[0].row()
    assert row["again"] == again and ("under a new id" in row["again_says"]) == (again != "no")


def test_a_submission_is_found_by_its_id_with_each_delivery_and_in_structured_mode_too() -> None:
    structured = {"specversion": "1.0", "id": "a", "type": "lotse.intake.need_reported.v1", "data": {}}
    found = Conversation("a", reference("a"))
    found.see([sent("b"), sent("a", offset=3), sent("a", offset=9),
               Record([("content-type", b"application/cloudevents+json")], json.dumps(structured).encode(), offset=11)])  # fmt: skip
    assert [one.place for one in found.sent] == [f"intake.{t}/0/{n}" for t, n in
                                                 (("submissions.kreis", 3), ("submissions.kreis", 9), ("answers.kreis", 11))]  # fmt: skip
    assert {one.type for one in found.sent} == {"lotse.intake.need_reported.v1"}


def test_the_books_balance_answered_and_waiting_are_what_was_sent() -> None:
    account = Account("kreis")
    account.see([sent("a"), sent("a"), sent("b"), sent("c"), sent("d"), sent("e")])
    account.see([sent("-", headers={"ce_id": b"an id with spaces"}), Record([], None)])
    account.hear([answered("a", "recorded"), answered("a", "recorded"), answered("b", "refused", reason="NO_CONSENT"),
                  answered("c", "unreadable", reason="BODY"), answered("d", "unchanged")])  # fmt: skip
    account.close()
    row = account.row()
    assert {name: row[name] for name in ("sent", "repeated", "recorded", "unchanged", "refused", "unreadable", "waiting", "without_id")} == {
        "sent": 5, "repeated": 1, "recorded": 1, "unchanged": 1, "refused": 1, "unreadable": 1, "waiting": 1, "without_id": 2}  # fmt: skip
    assert row["reasons"] == {"NO_CONSENT": 1}


def test_other_content_under_a_used_id_is_a_refusal_and_no_submission_more() -> None:
    account = Account("kreis")
    account.see([sent("a"), sent("a")])
    account.hear([answered("a", "recorded"), answered("a", "refused", 2, reason="ID_REUSED")])
    account.close()
    assert (account.sent, account.waiting, account.reasons) == (1, 0, {"ID_REUSED": 1})
    assert account.outcomes.total() + account.waiting == account.sent + account.reasons["ID_REUSED"]


def balanced(account: Account) -> bool:
    """As the help of `lotse sources` says."""
    return account.outcomes.total() + account.waiting == account.sent + account.reasons["ID_REUSED"]


def test_what_waits_while_other_content_under_its_id_is_refused_still_waits() -> None:
    account = Account("kreis")
    account.see([sent("a"), sent("a", value=b'{"b": 1}'), sent("b")])
    account.hear([answered("a", "refused", 2, reason="ID_REUSED"), answered("b", "recorded")])
    account.close()
    assert (account.sent, account.waiting, account.reasons) == (2, 1, {"ID_REUSED": 1}) and balanced(account)


@pytest.mark.parametrize("times", [1, 2])
def test_an_id_used_again_when_what_has_it_is_gone_from_the_topic_does_not_wait(times: int) -> None:
    """Delivered twice, word for word, it is refused once; one of them waited until it was gone from the topic."""
    account = Account("kreis")
    account.see([*[sent("a")] * times, sent("b")])
    account.hear([answered("a", "refused", 2, reason="ID_REUSED")])
    account.close()
    row = account.row()
    assert (row["sent"], row["repeated"], row["waiting"], row["refused"]) == (1, times, 1, 1) and balanced(account)


def test_answers_to_what_is_no_longer_on_the_topic_are_counted_apart() -> None:
    """They stand for a week longer, and answered and waiting were more than what was sent."""
    account = Account("kreis", asked=ARRIVED + timedelta(minutes=10))
    account.see([sent("a"), sent("b")])
    account.hear([answered("a", "refused", reason="NO_CONSENT"), answered("old", "recorded"),
                  answered("older", "refused", reason="NOT_YOURS"), answered("just sent", "recorded", minutes=11)])  # fmt: skip
    account.close()
    row = account.row()
    assert {name: row[name] for name in ("sent", "recorded", "refused", "waiting", "older", "reasons")} == {
        "sent": 2, "recorded": 0, "refused": 1, "waiting": 1, "older": 2, "reasons": {"NO_CONSENT": 1}}  # fmt: skip
    assert balanced(account)


def test_lateness_is_from_the_said_time_to_the_first_arrival() -> None:
    account = Account("kreis")
    hours = [1, 2, 3, 4, 5, 6, 7, 8, 9, 100]
    account.see(sent(str(n), timedelta(hours=n)) for n in reversed(hours))
    account.see([sent("1", timedelta(days=30))])  # delivered again: its first arrival counts
    account.see([sent("x", headers={"ce_time": b"yesterday"})])  # says no time
    account.close()
    row = account.row()
    assert (row["late_median_seconds"], row["late_p90_seconds"]) == (5 * 3600, 9 * 3600)
    assert row["last_seen"] == "2026-03-02T12:00:00+00:00"


def test_a_publisher_never_seen_has_no_lateness() -> None:
    row = Account("kreis").row()
    assert (row["late_median_seconds"], row["last_seen"], row["sent"]) == (None, None, 0)


def test_ranks_are_values_that_were_seen() -> None:
    assert [ranked([7.0], share) for share in (0.5, 0.9)] == [7, 7]
    assert [ranked([1.0, 2.0, 3.0, 4.0], share) for share in (0.5, 0.9)] == [2, 4]
    assert [span_of(s) for s in (None, 0, 59, 90, 5400, 172_800, -7200)] == [
        "",
        "0 s",
        "59 s",
        "1.5 min",
        "1.5 h",
        "2.0 d",
        "-2.0 h",
    ]
