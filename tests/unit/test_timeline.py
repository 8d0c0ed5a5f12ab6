"""The order in which a case manager reads a case."""

from typing import Any

from deploy.commands.read import happened


def step(time: str, **body: Any) -> dict[str, Any]:
    return {"time": time, "body": body}


def test_a_risk_is_told_after_the_day_that_caused_it_though_the_tick_was_before_it() -> None:
    absence = step("2025-02-26T17:00:00Z", meeting_on="2025-02-26")
    risk = step("2026-11-25T10:00:00Z", as_of="2025-02-25T20:00:00Z", days_on=["2025-02-24", "2025-02-26"])
    late = step("2026-11-25T10:00:00Z", as_of="2025-03-20T06:00:00Z", days_on=["2025-02-24", "2025-02-26"])
    assert happened(absence) < happened(risk) == "2025-02-26T23:59:59Z" and happened(late) == "2025-03-20T06:00:00Z"
