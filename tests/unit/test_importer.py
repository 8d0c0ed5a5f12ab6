"""The importer: what files it takes, what a row becomes, and what becomes of a row that changes."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import USAGE, Trouble
from deploy.importer.files import Row, look_through, write_back
from deploy.importer.mapping import load_mapping
from deploy.importer.plan import Planner, RowRefused, Step
from deploy.importer.store import Store
from deploy.services import EXAMPLES

OULAD = EXAMPLES / "oulad"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROW = {
    "run_ref": "AAA", "run_start": "2014-01-01", "run_end": "2014-06-01", "course_days": "30", "source_ref": "AAA-1",
    "person_ref": "1", "sex": "F", "requested_on": "2013-12-01", "withdrawn_on": "", "started_on": "2014-01-01",
    "ended_on": "2014-02-01", "end_kind": "DROPPED_OUT",
}  # fmt: skip
MEETING = {
    "source_ref": "AAA-1", "meeting_ref": "m1", "meeting_on": "2014-01-07", "units_planned": "4", "units_attended": "0",
    "presence": "UNEXCUSED", "reported_at": "2014-01-07T18:00:00Z",
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "import", "oulad", "oulad") as made:
        yield made


def row(cells: dict[str, str], **changed: str) -> Row:
    return Row("file.csv", 2, {**cells, **changed}, True)


def planner(store: Store, kind: str = "participations", days: int = 0, **more: Any) -> Planner:
    persons = store.persons() if kind == "attendance" else {}
    return Planner(
        load_mapping(OULAD / f"{kind}.toml", kind), store, NOW + timedelta(days=days), persons=persons, **more
    )


def sent(store: Store, planner: Planner, row: Row, outcome: str = "recorded") -> list[Step]:
    """The steps of a row that are not known yet, each answered as told before the next is asked for."""
    new = []
    for step in planner.steps(row):
        store.flush()
        if not step.known:
            new.append(step)
            store.answered([(outcome, None, None, "", step.sent.id)])
        if outcome != "recorded":
            break
    return new


def names(steps: list[Step]) -> list[str]:
    return [step.sent.key.partition("\x1f")[0] for step in steps]


def test_a_row_becomes_its_steps_and_the_same_row_nothing(store: Store) -> None:
    first = sent(store, planner(store), row(ROW))
    assert names(first) == ["run", "registration", "consent", "request", "answer", "start", "end"]
    assert len({step.sent.id for step in first}) == 7 and len({step.subject for step in first}) == 2
    assert sent(store, planner(store, days=1), row(ROW)) == []


def test_ids_stay_with_the_secret_and_say_nothing_without_it(store: Store, tmp_path: Path) -> None:
    mine = store.id_of("case", "1")
    with Store(tmp_path / "other", "oulad", "oulad") as other:
        assert other.id_of("case", "1") != mine
    assert mine[14] == "8" and (tmp_path / "import" / "oulad.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "import").stat().st_mode & 0o777 == 0o700


def test_a_changed_row_is_the_next_revision_of_what_changed_alone(store: Store) -> None:
    (end,) = [step for step in sent(store, planner(store), row(ROW)) if step.sent.key.startswith("end")]
    (changed,) = sent(store, planner(store, days=1), row(ROW, ended_on="2014-02-03"))
    assert (names([changed]), changed.sent.revision) == (["end"], 2) and changed.sent.id != end.sent.id
    assert changed.submission.reported_at > end.submission.reported_at  # type: ignore[attr-defined]  # the later one wins


def test_an_end_that_is_gone_is_taken_back_and_one_that_returns_is_said_anew(store: Store) -> None:
    sent(store, planner(store), row(ROW))
    (gone,) = sent(store, planner(store, days=1), row(ROW, ended_on="", end_kind=""))
    assert gone.submission.model_dump(mode="json")["kind"] == "ENTERED_IN_ERROR"
    assert sent(store, planner(store, days=2), row(ROW, ended_on="", end_kind="")) == []
    (back,) = sent(store, planner(store, days=3), row(ROW))  # a picture of today: what once stood is new again
    assert back.sent.revision == 3


def test_a_start_that_is_gone_is_refused_here(store: Store) -> None:
    sent(store, planner(store), row(ROW))
    with pytest.raises(RowRefused, match="TAKEN_BACK"):
        sent(store, planner(store), row(ROW, started_on=""))


@pytest.mark.parametrize("changed", [{"person_ref": "2"}, {"run_ref": "BBB"}])
def test_a_reference_is_not_moved_to_somebody_else(store: Store, changed: dict[str, str]) -> None:
    sent(store, planner(store), row(ROW))
    with pytest.raises(RowRefused, match="REFERENCE_REUSED"):
        sent(store, planner(store), row(ROW, **changed))


def test_until_the_referral_is_recorded_a_mistaken_person_is_mended_whole(store: Store) -> None:
    for step in planner(store).steps(row(ROW)):
        store.flush()
        told = "refused" if step.sent.key.startswith("request") else "recorded"
        store.answered([(told, "NO_CONSENT" if told == "refused" else None, None, "", step.sent.id)])
        if told == "refused":
            break
    mended = sent(store, planner(store, days=1), row(ROW, person_ref="2"))
    assert names(mended) == ["registration", "consent", "request", "answer", "start", "end"]


def test_rows_that_contradict_each_other_are_not_both_sent(store: Store) -> None:
    once = planner(store)
    sent(store, once, row(ROW))
    with pytest.raises(RowRefused, match="CONTRADICTS"):
        sent(store, once, row(ROW, source_ref="AAA-2", person_ref="2", run_end="2014-07-01"))


def test_where_the_file_says_when_an_older_statement_is_known_again(store: Store) -> None:
    sent(store, planner(store), row(ROW))
    corrected = {"presence": "PRESENT", "units_attended": "4", "reported_at": "2014-01-09T18:00:00Z"}
    attendance = planner(store, "attendance")
    new = [*sent(store, attendance, row(MEETING, **corrected)), *sent(store, attendance, row(MEETING))]
    assert [step.sent.revision for step in new] == [1, 2]
    later = planner(store, "attendance", days=1)
    assert sent(store, later, row(MEETING)) == sent(store, later, row(MEETING, **corrected)) == []


def test_attendance_needs_a_recorded_start(store: Store) -> None:
    with pytest.raises(RowRefused, match="UNKNOWN_PARTICIPATION"):
        sent(store, planner(store, "attendance"), row(MEETING))
    sent(store, planner(store), row(ROW, started_on="", ended_on="", end_kind="", withdrawn_on="2013-12-05"))
    with pytest.raises(RowRefused, match="NOT_STARTED"):
        sent(store, planner(store, "attendance"), row(MEETING))


def test_what_was_refused_goes_again_only_when_asked_to(store: Store) -> None:
    sent(store, planner(store), row(ROW), outcome="refused")
    (again,) = sent(store, planner(store, again=True), row(ROW), outcome="refused")
    assert (names([again]), again.sent.revision) == (["run"], 2)


@pytest.mark.parametrize(
    "cells", [{"meeting_on": "7.1.2014"}, {"units_planned": "four"}, {"presence": "Anwesend"}, {"meeting_ref": " "}]
)
def test_a_cell_that_can_not_be_read_is_refused_before_it_is_sent(store: Store, cells: dict[str, str]) -> None:
    sent(store, planner(store), row(ROW))
    with pytest.raises(RowRefused) as no:
        sent(store, planner(store, "attendance"), row(MEETING, **cells))
    assert next(iter(cells.values())).strip() not in no.value.hint or cells == {
        "meeting_ref": " "
    }  # no value in a hint


def test_a_row_with_too_few_cells_is_refused(store: Store) -> None:
    with pytest.raises(RowRefused, match="RAGGED_ROW"):
        sent(store, planner(store), replace(row(ROW), whole=False))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", ","])
@pytest.mark.parametrize("packed", [True, False])
def test_files_as_offices_save_them(tmp_path: Path, encoding: str, delimiter: str, packed: bool) -> None:
    text = f'ref{delimiter}ort\r\n1{delimiter}"Jüchen{delimiter} West"\r\n\r\n2{delimiter}Köln\r\n'
    path = tmp_path / ("file.csv.gz" if packed else "file.csv")
    path.write_bytes(gzip.compress(text.encode(encoding)) if packed else text.encode(encoding))
    found = look_through(path, ["ref", "ort"])
    assert found.rows == 2 and [r.cells["ort"] for r in found.read()] == [f"Jüchen{delimiter} West", "Köln"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"a;b\n1;2\n", "lacks the column c"), (b"a;c;c\n", "twice"), (b"a\x81\n", "neither UTF-8"), (b"", "lacks")],
)
def test_a_file_that_can_not_be_taken_is_named_before_anything_is_sent(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(Trouble, match=says) as trouble:
        look_through(path, ["a", "c"])
    assert trouble.value.exit_code == USAGE


def test_rows_sent_back_are_no_formulas(tmp_path: Path) -> None:
    cells = {"a": "=1+1", "b": "@sum", "c": "-3", "d": "Neuss"}
    write_back(tmp_path / "back.csv", [(row(cells), "INVALID", "/a", "")])
    with (tmp_path / "back.csv").open(encoding="utf-8-sig", newline="") as file:
        (read,) = csv.DictReader(file, delimiter=";")
    assert [read[name] for name in "abcd"] == ["'=1+1", "'@sum", "'-3", "Neuss"]
    assert (tmp_path / "back.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('tenant = "rkn"', "", "tenant is missing"),
        ("[end]", "[ending]", "no step of participations"),
        ('person = "person_ref"', "", "person"),
        ("purpose = { constant", "aim = { constant", "no such field"),
        ("{ constant = 'x' }", "", ""),
        ('sex = { column = "sex"', 'sex = { column = "sex", constant = 1', "give either"),
        ('requested_on = { column = "requested_on" }', "", "does not say where requested_on"),
        ("tenant =", "tenant = =", "not a readable TOML"),
        ('tenant = "rkn"', "tenant = 3", "tenant is no text"),
        ("[columns]", 'columns = "x"\n[strange]', "columns is no table"),
        ('run = "run_ref"', 'run = "run_ref"\nmeeting = "m"', r"\[columns\] meeting is not known; run, person"),
        ("[withdrawal]", "[[withdrawal]]", "withdrawal is no table"),
        ('when = "started_on"', "when = true", r"\[start\] when is no text"),
        ('at = "started_on"', "at = 1", r"\[start\] at is no text"),
        ('{ column = "sex"', "{ column = 1", r"\[registration\] sex: column is no text"),
        ('map = { F = "FEMALE", M = "MALE", "*" = "UNKNOWN" }', 'map = "F"', r"\[registration\] sex: map is no table"),
        (
            '{ column = "started_on" }',
            '{ column = "started_on", time = 18:00:00 }',
            r"\[start\] started_on: time is no text",
        ),
        (
            '{ column = "started_on" }',
            '{ column = "started_on", times = "x" }',
            r"\[start\] started_on: times is not known",
        ),
    ],
)
def test_a_mapping_that_can_not_be_used_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (OULAD / "participations.toml").read_text()
    path = tmp_path / "m.toml"
    path.write_text(text.replace(old, new))
    if not says:
        load_mapping(path, "participations")
        return
    with pytest.raises(Trouble, match=says) as trouble:
        load_mapping(path, "participations")
    assert trouble.value.exit_code == USAGE and "m.toml" in trouble.value.what


def test_a_day_may_stand_in_a_mapping_as_toml_writes_days(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text((OULAD / "participations.toml").read_text().replace('"2000-01-01"', "2000-01-01"))
    made = Planner(load_mapping(path, "participations"), store, NOW)
    assert len(sent(store, made, row(ROW))) == 7
