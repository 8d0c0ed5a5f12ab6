"""prepare.py makes of the real OULAD files what the rules say, and what a recomputation from the same files says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from deploy.places import ROOT
from tests.oulad_prepared import ATTENDANCE, PARTICIPATIONS, Table, prepared
from tests.oulad_recomputed import Recomputed, recomputed


@pytest.fixture(scope="module")
def oulad() -> Path:
    data = os.environ.get("LOTSE_DATA") or str(ROOT.parent / "shared" / "data")
    folder = Path(data) / "oulad"
    if not (folder / "courses.csv").is_file():
        pytest.skip(f"NOT TESTED: no OULAD files in {folder}. Set LOTSE_DATA to the folder that holds oulad/.")
    return folder


Real = Callable[[int | None], tuple[Table, Table, Recomputed]]


@pytest.fixture(scope="module")
def real(oulad: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    """Both prepared files and the recomputation, for a day or for everything; made once each."""
    made: dict[int | None, tuple[Table, Table, Recomputed]] = {}

    def of(until: int | None) -> tuple[Table, Table, Recomputed]:
        if until not in made:
            options = [] if until is None else ["--until", str(until)]
            made[until] = (*prepared(oulad, tmp_path_factory.mktemp("out"), *options), recomputed(oulad, until))
        return made[until]

    return of


def test_the_whole_log_has_the_known_numbers(real: Real) -> None:
    participations, attendance, expected = real(None)
    assert len(participations) == expected.enrolments == 2_150
    assert sum(not row["started_on"] for row in participations) == expected.never_start == 129
    assert all(bool(row["withdrawn_on"]) != bool(row["started_on"]) for row in participations)
    assert len(attendance) == expected.reports == 60_510
    assert expected.with_risk == 1_453
    assert expected.open == 0
    assert Counter(row["end_kind"] for row in participations) == {
        "": 129,
        "COMPLETED": 906 + 175,
        "WITHOUT_SUCCESS": 504,
        "DROPPED_OUT": 565 - 129,
    }


def test_by_day_100_the_known_numbers_are_open(real: Real) -> None:
    participations, attendance, expected = real(100)
    assert len(participations) == expected.enrolments == 2_150
    assert len(attendance) == expected.reports == 25_986
    assert expected.with_risk == 908
    assert expected.open == 360


@pytest.mark.parametrize("until", [None, 100])
def test_the_course_days_are_those_recomputed(real: Real, until: int | None) -> None:
    _, attendance, expected = real(until)
    days: dict[tuple[str, str], dict[date, bool]] = {who: {} for who in expected.days}
    for row in attendance:
        of_one = days[row["run_ref"], row["source_ref"]]
        of_one[date.fromisoformat(row["meeting_on"])] = row["presence"] == "PRESENT"
    assert sum(map(len, days.values())) == len(attendance)
    assert days == expected.days


def test_a_threshold_of_three_gives_other_risks(oulad: Path, real: Real) -> None:
    _, _, two = real(100)
    three = recomputed(oulad, 100, threshold=3)
    assert (three.with_risk, three.open) == (611, 307)
    assert three.risks != two.risks


@pytest.mark.parametrize("until", [None, 100])
def test_columns_values_and_order_are_as_promised(real: Real, until: int | None) -> None:
    participations, attendance, _ = real(until)
    assert list(participations[0]) == PARTICIPATIONS
    assert list(attendance[0]) == ATTENDANCE
    assert {(row["run_ref"], row["run_start"], row["run_end"], row["course_days"]) for row in participations} == {
        ("AAA-2013J", "2013-10-01", "2014-06-27", "38"),
        ("BBB-2013B", "2013-02-01", "2013-09-30", "34"),
    }
    references = [(row["run_ref"], row["source_ref"]) for row in participations]
    assert references == sorted(set(references))
    assert all(row["person_ref"] == row["source_ref"] for row in participations)
    assert {row["sex"] for row in participations} == {"M", "F"}
    assert all(row["requested_on"] for row in participations)
    assert all(bool(row["ended_on"]) == bool(row["end_kind"]) for row in participations)
    assert all(row["requested_on"] <= row["started_on"] for row in participations if row["started_on"])
    assert all(row["started_on"] <= row["ended_on"] for row in participations if row["ended_on"])

    meetings = [(row["run_ref"], row["source_ref"], row["meeting_on"]) for row in attendance]
    assert meetings == sorted(set(meetings))
    assert {(row["units_planned"], row["units_attended"], row["presence"]) for row in attendance} == {
        ("4", "4", "PRESENT"),
        ("4", "0", "UNEXCUSED"),
    }
    assert all(row["reported_at"] == row["meeting_on"] + "T18:00:00Z" for row in attendance)
    assert len({(row["run_ref"], row["meeting_ref"], row["meeting_on"]) for row in attendance}) == len(
        {(row["run_ref"], row["meeting_on"]) for row in attendance}
    )


@pytest.mark.parametrize("until", [None, 100])
def test_every_course_day_lies_within_its_participation(real: Real, until: int | None) -> None:
    participations, attendance, _ = real(until)
    interval = {row["source_ref"]: (row["started_on"], row["ended_on"] or "9999") for row in participations}
    for row in attendance:
        start, end = interval[row["source_ref"]]
        assert start != ""
        assert start <= row["meeting_on"] < end


def known_by(row: dict[str, str], last: str) -> dict[str, str]:
    """The row as it would have been handed in at the end of that day."""
    later = {column: "" for column in ("withdrawn_on", "started_on", "ended_on") if row[column] > last}
    return row | later | ({"end_kind": ""} if "ended_on" in later else {})


def test_what_was_known_on_a_day_is_the_whole_less_what_came_later(real: Real) -> None:
    (whole, all_reports, _), (then, reports, _) = real(None), real(100)
    last = {"AAA-2013J": "2014-01-09", "BBB-2013B": "2013-05-12"}
    assert then == [known_by(row, last[row["run_ref"]]) for row in whole]
    assert reports == [row for row in all_reports if row["meeting_on"] <= last[row["run_ref"]]]
