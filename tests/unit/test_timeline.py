"""The order in which a case manager reads a case."""

from typing import Any

from deploy.commands.read import happened, in_order


def step(time: str, **body: Any) -> dict[str, Any]:
    return {"time": time, "body": body}


def fact(id: str, cause: str, **body: Any) -> dict[str, Any]:
    """What a rule said of a risk."""
    now = "2026-11-25T10:00:00Z"
    return {
        "fact_id": id,
        "cause": cause,
        "time": now,
        "recorded_at": now,
        "number": 1,
        "family": "dropout",
        "body": body,
    }


def test_a_risk_is_taken_back_after_it_was_raised_though_both_are_of_the_tick_of_yesterday() -> None:
    raised = fact("raised", "a report", as_of="2025-03-23T23:00:00Z", days_on=["2025-03-21", "2025-03-24"])
    withdrawn = fact("withdrawn", "another", as_of="2025-03-23T23:00:00Z") | {"number": 2}
    found = in_order([withdrawn, raised])
    assert [(when[:10], step["fact_id"]) for when, step in found] == [
        ("2025-03-24", "raised"),
        ("2025-03-24", "withdrawn"),
    ]


def test_a_risk_is_told_after_the_day_that_caused_it_though_the_tick_was_before_it() -> None:
    absence = step("2025-02-26T17:00:00Z", meeting_on="2025-02-26")
    risk = step("2026-11-25T10:00:00Z", as_of="2025-02-25T20:00:00Z", days_on=["2025-02-24", "2025-02-26"])
    late = step("2026-11-25T10:00:00Z", as_of="2025-03-20T06:00:00Z", days_on=["2025-02-24", "2025-02-26"])
    assert happened(absence) < happened(risk) == "2025-02-26T23:59:59Z" and happened(late) == "2025-03-20T06:00:00Z"


def test_in_a_play_a_drop_out_stands_on_the_day_of_its_report_not_of_the_clock() -> None:
    end = fact("end", "a submission") | {"time": "2025-03-05T11:20:00Z"}
    withdrawn = fact("withdrawn", "end", as_of="2025-03-04T23:00:00Z")
    dropped_out = fact("dropped out", "withdrawn")  # one reaction said both: what follows hangs on what was said before
    raised = fact("raised", "a tick", as_of="2025-02-26T23:00:00Z")
    for number, one in enumerate((raised, withdrawn, dropped_out)):
        one["number"] = number
    found = in_order([dropped_out, end | {"family": "referral"}, withdrawn, raised])
    # a worry that ends with the participation is not told a day before it
    assert [step["fact_id"] for _, step in found] == ["raised", "end", "withdrawn", "dropped out"]
    assert {when for when, _ in found[1:]} == {"2025-03-05T11:20:00Z"}
