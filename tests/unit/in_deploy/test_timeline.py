"""The order in which a case manager reads a case."""

from pathlib import Path
from typing import Any

import pytest

from deploy.cli import main
from deploy.commands import read
from deploy.commands.read import RISKS, happened, in_order, in_the_zone, told
from deploy.errors import DONE, FINDINGS
from deploy.importer.store import Store
from deploy.places import EXAMPLES
from services.referral.projection import RISK_LIST


def step(time: str, **body: Any) -> dict[str, Any]:
    return {"time": time, "recorded_at": "2026-11-25T10:00:00Z", "body": body}


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
    assert happened(absence) < happened(risk) == "2025-02-26T22:59:59Z" and happened(late) == "2025-03-20T06:00:00Z"


def test_no_risk_is_told_of_an_hour_that_had_not_come_when_it_was_recorded() -> None:
    """Two reports of one day: the worry stood behind the excuse that took it back, at a minute to midnight."""
    report = {"family": "attendance", "cause": "a submission", "body": {}}
    absence, excuse = (report | {"fact_id": id, "number": number, "time": f"2026-03-12T{hour}:00Z", "recorded_at": f"2026-03-12T{hour}:01Z"}
                       for number, id, hour in ((1, "absence", "08:55"), (2, "excuse", "13:00")))  # fmt: skip
    by_tick = {"as_of": "2026-03-12T08:45:00Z", "days_on": ["2026-03-11", "2026-03-12"]}
    raised = fact("raised", "absence", **by_tick) | {"recorded_at": "2026-03-12T08:55:01Z"}
    withdrawn = fact("withdrawn", "excuse", as_of="2026-03-12T12:45:00Z") | {
        "number": 2,
        "recorded_at": "2026-03-12T13:00:01Z",
    }
    steps = in_order([raised, withdrawn, absence, excuse])
    assert [(step["fact_id"], when[11:16]) for when, step in steps] == [
        ("absence", "08:55"), ("raised", "08:55"), ("excuse", "13:00"), ("withdrawn", "13:00"),
    ]  # fmt: skip
    assert happened(raised | {"cause": "a tick"}) == "2026-03-12T08:55:01Z"  # no report of it is in the timeline
    played = by_tick | {"as_of": "2027-03-12T08:45:00Z", "days_on": ["2027-03-12"]}
    assert happened(raised | {"body": played}) == "2027-03-12T22:59:59Z"  # time is a play's


def test_a_line_says_of_which_course_or_consent_it_speaks_and_hours_are_those_of_its_days() -> None:
    one, two = "1a2b3c4d-0000-4000-8000-000000000000", "9f8e7d6c-0000-4000-8000-000000000000"
    for type, body, expected in (
        ("intake.consent_granted", {"consent_id": one, "purpose": "EVALUATION", "valid_from_on": "2026-01-01"},
         "EVALUATION 2026-01-01 consent 1a2b3c4d"),
        ("referral.referral_sent", {"referral_id": two, "consent_id": one, "requested_on": "2026-01-05", "block": "F4"},
         "2026-01-05 F4 referral 9f8e7d6c consent 1a2b3c4d"),
        ("attendance.attendance_recorded", {"participation_id": one, "meeting_on": "2026-03-12", "presence": "EXCUSED", "revision": 2},
         "2026-03-12 EXCUSED revision 2 participation 1a2b3c4d"),
        ("attendance.attendance_recorded", {"meeting_on": "2026-03-12", "presence": "PRESENT", "revision": 1}, "2026-03-12 PRESENT"),
        ("dropout.dropout_risk_raised", {"about": one, "rule": "S2", "first_on": "2026-03-11"}, "S2 2026-03-11 participation 1a2b3c4d"),
        ("dropout.dropout_risk_raised", {"about": two, "rule": "S6", "first_on": "2026-03-11"}, "S6 2026-03-11 referral 9f8e7d6c"),
        ("dropout.dropped_out_withdrawn", {"participation_id": two}, "participation 9f8e7d6c"),
        ("intake.from_a_later_version", {"consent_id": one}, ""),
    ):  # fmt: skip
        assert told({"type": f"lotse.{type}.v1", "body": body}) == expected
    moments = "2026-03-11T23:30:00Z", "2026-07-11T22:30:00.123456Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"
    assert [in_the_zone(when) for when in moments] == [
        "2026-03-12T00:30+01:00", "2026-07-12T00:30+02:00", "2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00",
    ]  # fmt: skip


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


def test_all_that_the_list_of_risks_holds_is_printed() -> None:
    """The day since which one is open, too."""
    assert {*RISKS} == {*RISK_LIST.columns} > {"open_first_on"}


def test_a_case_is_found_by_what_its_publisher_calls_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever imports has no ids of ours: references never leave the machine, and are ids in no file."""
    asked: list[str] = []

    def got(service: str, path: str) -> dict[str, list[Any]] | None:
        asked.append(f"{service}{path}")
        return {"timeline": []} if path.endswith(case) else None

    monkeypatch.setattr(read, "running", lambda: {"publishers": EXAMPLES / "publishers.toml", "folder": tmp_path})
    monkeypatch.setattr(read, "get", got)
    assert main(["case", "007", "--source", "oulad"]) == FINDINGS
    assert "nothing was imported here for oulad" in capsys.readouterr().err
    with Store(tmp_path / "import", "oulad", "oulad") as store:
        case = store.id_of("case", "007")
    assert main(["case", "007", "--source", "oulad"]) == DONE
    assert asked == [f"intake/cases/{case}", f"referral/cases/{case}"]
    assert main(["case", "7", "--source", "oulad"]) == FINDINGS
    assert "no such case" in capsys.readouterr().err
