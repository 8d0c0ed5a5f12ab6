"""prepare.py makes of a provider's files what the rules say: on small ones, made here."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.oulad_prepared import ATTENDANCE, MAIN, PREPARE, prepared, table
from tests.oulad_recomputed import recomputed

OTHERS = "east,A Level,20%,35-55,0,60,N"


def folder_with(
    path: Path, *enrolments: str, active: str = "", length: str = "27", presentation: str = "2014B", packed: bool = True
) -> Path:
    """The run CCC: an enrolment as `student,sex,result,registered,unregistered`, activity as `student:day`."""
    path.mkdir(parents=True, exist_ok=True)
    header = (
        "code_module,code_presentation,id_student,gender,region,highest_education,imd_band,age_band,"
        "num_of_prev_attempts,studied_credits,disability,final_result,date_registration,date_unregistration"
    )
    lines = [header]
    for enrolment in enrolments:
        student, sex, result, registered, unregistered = enrolment.split(",")
        lines.append(f"CCC,{presentation},{student},{sex},{OTHERS},{result},{registered},{unregistered}")
    clicks = ["code_module,code_presentation,id_student,date,clicks,rows,sites"]
    clicks += [f"CCC,{presentation},{who.replace(':', ',')},1,1,1" for who in active.split()]
    courses = f"code_module,code_presentation,module_presentation_length\nCCC,{presentation},{length}\n"
    (path / "courses.csv").write_text(courses)
    for name, text in (("enrolments", lines), ("activity", clicks)):
        data = ("\n".join(text) + "\n").encode()
        if packed:
            (path / f"{name}.csv.gz").write_bytes(gzip.compress(data))
        else:
            (path / f"{name}.csv").write_bytes(data)
    return path


def one(tmp_path: Path, enrolment: str, *options: str, active: str = "", length: str = "27") -> tuple[list[str], str]:
    """requested, withdrawn, started, ended, end_kind of a single enrolment; its course days as week and P or U."""
    folder = folder_with(tmp_path / "in", enrolment, active=active, length=length)
    (row,), days = prepared(folder, tmp_path / "out", *options)
    fields = [row[name] for name in ("requested_on", "withdrawn_on", "started_on", "ended_on", "end_kind")]
    return fields, " ".join(day["meeting_ref"][-1] + day["presence"][0] for day in days)


D0, LAST_PLUS_1 = "2014-02-01", "2014-03-01"  # a run of 28 days: day 0 to day 27, course days 6, 13, 20, 27


@pytest.mark.parametrize(
    ("enrolment", "fields", "days"),
    [
        ("1,F,Pass,-5,", ["2014-01-27", "", D0, LAST_PLUS_1, "COMPLETED"], "0U 1U 2U 3U"),
        ("1,F,Distinction,-5,", ["2014-01-27", "", D0, LAST_PLUS_1, "COMPLETED"], "0U 1U 2U 3U"),
        ("1,F,Fail,0,", [D0, "", D0, LAST_PLUS_1, "WITHOUT_SUCCESS"], "0U 1U 2U 3U"),
        # no day of registration: requested on the run's start, every week counts
        ("1,F,Fail,,", [D0, "", D0, LAST_PLUS_1, "WITHOUT_SUCCESS"], "0U 1U 2U 3U"),
        # withdrawn on no known day
        ("1,F,Withdrawn,-5,", ["2014-01-27", "", D0, LAST_PLUS_1, "DROPPED_OUT"], "0U 1U 2U 3U"),
        # the day of unregistration counts, not the result
        ("1,F,Pass,-5,13", ["2014-01-27", "", D0, "2014-02-14", "DROPPED_OUT"], "0U"),
        ("1,F,Withdrawn,-5,14", ["2014-01-27", "", D0, "2014-02-15", "DROPPED_OUT"], "0U 1U"),
        # registered within the first week: its course day does not count; on the first day of the second: it does
        ("1,F,Pass,1,", ["2014-02-02", "", "2014-02-02", LAST_PLUS_1, "COMPLETED"], "1U 2U 3U"),
        ("1,F,Pass,7,", ["2014-02-08", "", "2014-02-08", LAST_PLUS_1, "COMPLETED"], "1U 2U 3U"),
        ("1,F,Pass,8,", ["2014-02-09", "", "2014-02-09", LAST_PLUS_1, "COMPLETED"], "2U 3U"),
        # unregistered before day 0, on day 0, on the day of registration
        ("1,F,Withdrawn,-5,-1", ["2014-01-27", "2014-01-31", "", "", ""], ""),
        ("1,F,Withdrawn,,-1", [D0, D0, "", "", ""], ""),
        ("1,F,Withdrawn,-5,0", ["2014-01-27", "", D0, D0, "DROPPED_OUT"], ""),
        ("1,F,Withdrawn,3,3", ["2014-02-04", "", "2014-02-04", "2014-02-04", "DROPPED_OUT"], ""),
        # unregistered before being registered: nobody took part
        ("1,F,Withdrawn,-2,-5", ["2014-01-30", "2014-01-30", "", "", ""], ""),
        ("1,F,Withdrawn,3,-5", ["2014-02-04", "2014-02-04", "", "", ""], ""),
        ("1,F,Withdrawn,10,5", ["2014-02-11", "2014-02-11", "", "", ""], ""),
        # unregistered, registered after the run
        ("1,F,Withdrawn,0,40", [D0, "", D0, "2014-03-13", "DROPPED_OUT"], "0U 1U 2U 3U"),
        ("1,F,Pass,28,", [LAST_PLUS_1, "", LAST_PLUS_1, LAST_PLUS_1, "COMPLETED"], ""),
        ("1,F,Pass,29,", ["2014-03-02", "", "", "", ""], ""),
    ],
)
def test_an_enrolment_becomes_one_participation(tmp_path: Path, enrolment: str, fields: list[str], days: str) -> None:
    assert one(tmp_path, enrolment) == (fields, days)
    expected = recomputed(tmp_path / "in")
    assert expected.never_start == (fields[2] == "")
    assert expected.reports == len(days.split())
    assert expected.open == 0


def test_any_activity_on_the_seven_days_makes_present(tmp_path: Path) -> None:
    # day -1 is no week's, 7 is the first of week 1, 20 the last of week 2; 2 is somebody else's; 28 is after the run
    assert one(tmp_path, "1,F,Pass,-5,", active="1:-1 1:7 1:20 2:2 1:28")[1] == "0U 1P 2P 3U"


@pytest.mark.parametrize(("length", "days"), [("5", ""), ("6", "0U"), ("12", "0U"), ("13", "0U 1U")])
def test_a_course_day_is_a_day_of_the_run(tmp_path: Path, length: str, days: str) -> None:
    assert one(tmp_path, "1,F,Pass,-5,", length=length)[1] == days
    row = table(tmp_path / "out" / "participations.csv")[0]
    assert row["course_days"] == str(len(days.split()))
    assert recomputed(tmp_path / "in").reports == len(days.split())


@pytest.mark.parametrize(
    ("until", "fields", "days"),
    [
        ("-5", ["2014-01-27", "", "", "", ""], ""),
        ("-1", ["2014-01-27", "", "", "", ""], ""),
        ("0", ["2014-01-27", "", D0, "", ""], ""),
        ("5", ["2014-01-27", "", D0, "", ""], ""),
        ("6", ["2014-01-27", "", D0, "", ""], "0U"),
        ("14", ["2014-01-27", "", D0, "", ""], "0U 1U"),
        ("15", ["2014-01-27", "", D0, "2014-02-16", "DROPPED_OUT"], "0U 1U"),
    ],
)
def test_until_a_day_knows_that_day_and_nothing_later(tmp_path: Path, until: str, fields: list[str], days: str) -> None:
    assert one(tmp_path, "1,F,Withdrawn,-5,15", "--until", until) == (fields, days)
    risk = recomputed(tmp_path / "in", int(until)).risks["CCC-2014B", "CCC-2014B-1"]
    assert risk == (date(2014, 2, 14) if days == "0U 1U" else None, until == "14")


def test_who_is_not_registered_by_the_day_is_not_handed_in(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", "1,F,Pass,,", "2,M,Pass,3,", "3,F,Withdrawn,-9,-2")
    references = {
        day: [row["source_ref"][-1] for row in prepared(folder, tmp_path / "out", "--until", day)[0]]
        for day in ("-10", "-9", "0", "3")
    }
    assert references == {"-10": [], "-9": ["3"], "0": ["1", "3"], "3": ["1", "2", "3"]}
    assert [row["withdrawn_on"] for row in prepared(folder, tmp_path / "out", "--until", "-3")[0]] == [""]
    assert (tmp_path / "out" / "attendance.csv").read_text() == ",".join(ATTENDANCE) + "\n"


@pytest.mark.parametrize(
    ("enrolment", "options", "run_start"),
    [
        ("1,F,Pass,-5,", [], "2026-05-04"),  # day 28 is 1 June
        ("1,F,Withdrawn,-5,30", [], "2026-05-02"),  # unregistered after the run: day 30 is
        ("1,F,Pass,-5,", ["--until", "14"], "2026-05-18"),
        ("1,F,Pass,-5,", ["--until", "99"], "2026-05-04"),
    ],
)
def test_the_last_day_handed_in_falls_on_the_date(
    tmp_path: Path, enrolment: str, options: list[str], run_start: str
) -> None:
    folder = folder_with(tmp_path / "in", enrolment)
    (row,), days = prepared(folder, tmp_path / "moved", "--end-on", "2026-06-01", *options)
    (still,), as_before = prepared(folder, tmp_path / "still", *options)
    assert row["run_start"] == run_start
    moved = date.fromisoformat(run_start) - date.fromisoformat(D0)
    for column in ("run_start", "run_end", "requested_on", "started_on", "ended_on"):
        assert row[column] == (still[column] and (date.fromisoformat(still[column]) + moved).isoformat())
    assert [(day["meeting_ref"], day["presence"]) for day in days] == [
        (day["meeting_ref"], day["presence"]) for day in as_before
    ]
    assert max([row["ended_on"], row["started_on"], *(day["meeting_on"] for day in days)]) <= "2026-06-01"


def test_the_rule_holds_from_the_day_that_completes_the_earliest_absences(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "1,F,Pass,0,", "2,F,Pass,0,", "3,F,Pass,0,", active="1:14 1:21 2:0 2:14 3:0 3:7")
    after_two, after_three = date(2014, 2, 14), date(2014, 2, 28)
    assert list(recomputed(folder).risks.values()) == [(after_two, False), (None, False), (after_three, False)]
    assert list(recomputed(folder, 27).risks.values()) == [(after_two, False), (None, False), (after_three, True)]
    assert list(recomputed(folder, 13).risks.values()) == [(after_two, True), (None, False), (None, False)]
    assert recomputed(folder, 27, threshold=3).with_risk == 0


def test_files_may_be_unpacked_with_a_mark_other_columns_and_empty_lines(tmp_path: Path) -> None:
    plain = folder_with(tmp_path / "plain", "10,F,Pass,0,", "9,M,Fail,,", active="9:3", packed=False)
    text = (plain / "enrolments.csv").read_text().replace("region", "town").replace("disability", "")
    (plain / "enrolments.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    packed = folder_with(tmp_path / "packed", "9,M,Fail,,", "10,F,Pass,0,", active="9:3")
    assert prepared(plain, tmp_path / "one") == prepared(packed, tmp_path / "two")
    for name in ("participations.csv", "attendance.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert b"\r" not in (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("courses.csv", "module_presentation_length", "length", "courses.csv: column module_presentation_length is"),
        ("courses.csv", "2014B", "2014X", "courses.csv, line 2: column code_presentation"),
        ("courses.csv", ",27", ",-1", "courses.csv, line 2: column module_presentation_length"),
        ("courses.csv", "CCC", "DDD", "enrolments.csv, line 2: its run is not in courses.csv"),
        ("enrolments.csv", "gender", "sex", "enrolments.csv: column gender is missing"),
        ("enrolments.csv", "region", "gender", "enrolments.csv: column gender stands twice"),
        ("enrolments.csv", ",F,", ",X,", "enrolments.csv, line 2: column gender"),
        ("enrolments.csv", "Pass", "Passed", "enrolments.csv, line 2: column final_result"),
        ("enrolments.csv", ",-5,", ",soon,", "enrolments.csv, line 2: column date_registration"),
        ("enrolments.csv", "east,", "east,east,", "enrolments.csv, line 2: 15 fields"),
        ("enrolments.csv", "CCC", "\udcff", "enrolments.csv, near line 1: not readable"),
        ("activity.csv", "date", "day", "activity.csv: column date is missing"),
        ("activity.csv", ",3,", ",3.5,", "activity.csv, line 2: column date"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, told: str
) -> None:
    folder = folder_with(tmp_path / "in", "1,F,Pass,-5,", active="1:3", packed=False)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new), encoding="utf-8", errors="surrogateescape")
    assert MAIN([str(folder), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.rstrip().endswith(".")
    assert printed.out == ""
    assert not (tmp_path / "out").exists()


def test_a_missing_or_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with(tmp_path / "in", "1,F,Pass,-5,", active="1:3")
    packed = (folder / "activity.csv.gz").read_bytes()
    for broken in (packed[:-12], packed[:12] + b"\xff" * 40, b"no gzip"):
        (folder / "activity.csv.gz").write_bytes(broken)
        assert MAIN([str(folder), str(tmp_path / "out")]) == 1
        assert "activity.csv.gz, near line" in capsys.readouterr().err
    (folder / "activity.csv.gz").unlink()
    assert MAIN([str(folder), str(tmp_path / "out")]) == 1
    assert "neither activity.csv nor activity.csv.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("line", ["1,F,Pass,-5,", "1,M,Fail,3,"])
def test_an_enrolment_that_stands_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    folder = folder_with(tmp_path / "in", "1,F,Pass,-5,", line)
    assert MAIN([str(folder), str(tmp_path / "out")]) == 1
    assert "line 3: this enrolment stands twice" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--until", "soon"], ["--end-on", "20260101"], ["--end-on", "2026-02-30"]])
def test_a_wrong_call_ends_with_two(tmp_path: Path, option: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        MAIN([str(tmp_path), str(tmp_path), *option])
    assert ended.value.code == 2


def test_a_date_no_calendar_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with(tmp_path / "in", "1,F,Pass,-99999,")
    assert MAIN([str(folder), str(tmp_path / "out"), "--end-on", "0001-01-01"]) == 1
    assert "--end-on" in capsys.readouterr().err


def test_the_command_stands_alone(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", "1,F,Pass,-5,")
    command = [sys.executable, "-I", "-S", str(PREPARE), str(folder), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 participations, 4 attendance reports" in done.stderr
