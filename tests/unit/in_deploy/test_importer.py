"""The importer: what files it takes, what a row becomes, and what becomes of a row that changes."""

import asyncio
import contextlib
import csv
import gzip
import io
import json
import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Again
from contracts.topics import Publisher
from deploy.cli import main
from deploy.errors import DONE, FAULT, PARTLY, REFUSED, USAGE, Trouble
from deploy.importer.files import CsvFile, Row, look_through, write_back
from deploy.importer.mapping import Field, load_mapping
from deploy.importer.plan import Planner, RowRefused, Step
from deploy.importer.sending import Sender, Unanswered, send_rows
from deploy.importer.store import KEPT, Said, Store
from deploy.places import EXAMPLES
from services.process.connections import KafkaSecurity

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
            store.answered([(step.sent.id, Said(outcome))])
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


def test_who_reads_hinders_no_import_and_is_not_hindered(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "import"
    with Store(folder, "oulad", "oulad", reading=True) as reader:
        assert reader.id_of("case", "1") == store.id_of("case", "1")
        with pytest.raises(Trouble, match="another import for oulad is running"):
            Store(folder, "oulad", "oulad")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.answered([("x", Said("recorded"))])


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


GONE = {"ended_on": "", "end_kind": ""}


def end_of(store: Store, days: int, cells: dict[str, str] = GONE, **more: Any) -> Step | None:
    """The row's step about its end, flushed and not answered."""
    steps = [*planner(store, days=days, **more).steps(row(ROW, **cells))]
    store.flush()
    return next((step for step in steps if step.sent.key.startswith("end")), None)


def test_an_end_that_is_gone_is_taken_back_whatever_came_between(store: Store) -> None:
    """It would stand for good, and nobody be told: the import ended well."""
    sent(store, planner(store), row(ROW))
    first = end_of(store, 1)
    assert first is not None and not first.known and first.sent.content == "taken back"
    same = end_of(store, 2)  # killed before it was sent, or before its answer was read
    assert same is not None and same.sent.id == first.sent.id
    store.answered([(first.sent.id, Said("refused", "CONTRADICTION", "/kind"))])
    told = end_of(store, 3)
    assert told is not None and told.known and told.sent.outcome == "refused"  # so is the row, each time
    anew = end_of(store, 4, again=True)
    assert anew is not None and not anew.known and anew.sent.revision == first.sent.revision + 1
    store.answered([(anew.sent.id, Said("recorded"))])
    assert end_of(store, 5) is None


def test_an_end_that_nobody_has_answered_yet_is_taken_back_too(store: Store) -> None:
    sent(store, planner(store), row(ROW, **GONE))
    assert end_of(store, 1, {}) is not None  # sent; and then this run ends
    taken = end_of(store, 2)
    assert taken is not None and (taken.sent.content, taken.sent.revision) == ("taken back", 2)


def test_a_correction_that_was_refused_does_not_keep_an_end(store: Store) -> None:
    sent(store, planner(store), row(ROW))
    wrong = end_of(store, 1, {"ended_on": "2014-03-03"})
    assert wrong is not None
    store.answered([(wrong.sent.id, Said("refused", "FUTURE_DAY", "/ended_before_on"))])
    taken = end_of(store, 2)
    assert taken is not None and (taken.sent.content, taken.sent.revision) == ("taken back", 3)
    assert taken.submission.model_dump(mode="json")["ended_before_on"] != "2014-03-03"  # what stands is taken back


def test_an_end_that_comes_back_needs_a_newer_time_of_report_where_the_file_says_one(store: Store) -> None:
    """One export that lacked the ends deleted them for good: back again they were known, and "already answered"."""

    def dated(days: int) -> Planner:
        plain = planner(store, days=days)
        end = {**plain.mapping.steps["end"], "reported_at": Field(column="reported_at")}
        return replace(plain, mapping=replace(plain.mapping, steps={**plain.mapping.steps, "end": end}))

    first, later = ({"reported_at": f"2014-0{month}-09T18:00:00Z"} for month in (2, 4))
    assert names(sent(store, dated(0), row(ROW, **first)))[-1] == "end"
    (gone,) = sent(store, dated(1), row(ROW, **first, **GONE))
    assert gone.sent.content == "taken back"
    with pytest.raises(RowRefused, match="TAKEN_BACK") as no:
        sent(store, dated(2), row(ROW, **first))
    assert no.value.pointer == "/reported_at"
    (back,) = sent(store, dated(3), row(ROW, **later))
    assert back.sent.revision == 3 and sent(store, dated(4), row(ROW, **first)) == []


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
        store.answered([(step.sent.id, Said(told, "NO_CONSENT" if told == "refused" else ""))])
        if told == "refused":
            break
    mended = sent(store, planner(store, days=1), row(ROW, person_ref="2"))
    assert names(mended) == ["registration", "consent", "request", "answer", "start", "end"]


def test_rows_that_contradict_each_other_are_not_both_sent(store: Store) -> None:
    once = planner(store)
    sent(store, once, row(ROW))
    with pytest.raises(RowRefused, match="CONTRADICTS") as no:
        sent(store, once, row(ROW, source_ref="AAA-2", person_ref="2", run_end="2014-07-01"))
    assert "Say of it what the rows before said" in no.value.hint  # deleted, its person would be missing
    with pytest.raises(RowRefused, match="CONTRADICTS") as no:
        sent(store, once, row(ROW, started_on="2014-01-02"))
    assert "Delete the row that is wrong" in no.value.hint


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
    with pytest.raises(RowRefused, match="NOT_STARTED") as no:
        sent(store, planner(store, "attendance"), row(MEETING))
    assert no.value.way is Again.LATER  # once the start is in, this row is right as it is


def test_what_was_refused_goes_again_only_when_asked_to(store: Store) -> None:
    sent(store, planner(store), row(ROW), outcome="refused")
    (again,) = sent(store, planner(store, again=True), row(ROW), outcome="refused")
    assert (names([again]), again.sent.revision) == (["run"], 2)


def test_what_was_never_answered_goes_again_when_its_answer_can_be_read_no_more(store: Store) -> None:
    """Under its id it is answered once, and that answer left its topic while nobody read: it was unanswered for good."""
    steps = planner(store).steps(row(ROW))
    first = next(steps).sent
    for days, again, revision in ((36, True, 1), (38, False, 1), (38, True, 2)):
        step = next(planner(store, days=days, again=again).steps(row(ROW)))
        assert (step.sent.revision, step.known) == (revision, revision == 1)
        assert (step.sent.id == first.id) is step.known


@pytest.mark.parametrize(
    "cells", [{"meeting_on": "30.2.2014"}, {"units_planned": "four"}, {"presence": "Anwesend"}, {"meeting_ref": " "}]
)
def test_a_cell_that_can_not_be_read_is_refused_before_it_is_sent(store: Store, cells: dict[str, str]) -> None:
    sent(store, planner(store), row(ROW))
    with pytest.raises(RowRefused) as no:
        sent(store, planner(store, "attendance"), row(MEETING, **cells))
    assert next(iter(cells.values())).strip() not in no.value.hint or cells == {
        "meeting_ref": " "
    }  # no value in a hint


GERMAN = {"run_start": "1.1.2014", "run_end": "01.06.2014", "requested_on": "01.12.2013", "started_on": "01.01.2014",
          "ended_on": "01.02.2014"}  # fmt: skip


def test_a_day_as_german_offices_write_it_is_that_day(store: Store) -> None:
    (start,) = [step for step in sent(store, planner(store), row(ROW, **GERMAN)) if step.sent.key.startswith("start")]
    assert start.submission.model_dump(mode="json")["started_on"] == "2014-01-01"
    assert start.time == datetime(2014, 1, 1, 12, tzinfo=UTC)
    assert sent(store, planner(store, days=1), row(ROW)) == []  # and says nothing new where it is written otherwise


@pytest.mark.parametrize("ended_on", ["2014-02-28", "28.02.2014"])
def test_where_a_column_has_the_last_day_the_day_after_it_is_said(store: Store, tmp_path: Path, ended_on: str) -> None:
    path, text = tmp_path / "m.toml", (OULAD / "participations.toml").read_text()
    path.write_text(text.replace('{ column = "ended_on" }', '{ column = "ended_on", last_day = true }'))
    steps = sent(store, Planner(load_mapping(path, "participations"), store, NOW), row(ROW, ended_on=ended_on))
    assert steps[-1].submission.model_dump(mode="json")["ended_before_on"] == "2014-03-01"


def test_a_last_day_behind_which_there_is_none_is_refused_and_no_fault_of_ours(store: Store, tmp_path: Path) -> None:
    path, text = tmp_path / "m.toml", (OULAD / "participations.toml").read_text()
    path.write_text(text.replace('{ column = "ended_on" }', '{ column = "ended_on", last_day = true }'))
    steps = sent(store, Planner(load_mapping(path, "participations"), store, NOW), row(ROW, ended_on="9999-12-31"))
    assert (
        steps[-1].submission.model_dump(mode="json")["ended_before_on"] == "9999-12-31"
    )  # a service calls it implausible


def test_an_empty_cell_is_no_code_that_the_mapping_lacks(store: Store, tmp_path: Path) -> None:
    """What need not be said is left out; an empty cell that must be filled is called so."""
    path, text = tmp_path / "m.toml", (OULAD / "participations.toml").read_text()
    path.write_text(
        text.replace(', "*" = "UNKNOWN"', "").replace('"end_kind" }', '"end_kind", map = { x = "COMPLETED" } }')
    )
    mapping = load_mapping(path, "participations")
    with pytest.raises(RowRefused, match="INVALID") as no:
        sent(store, Planner(mapping, store, NOW), row(ROW, sex="", end_kind=""))
    assert (no.value.pointer, no.value.hint) == ("/kind", "end_kind: This cell is empty.")
    (opened,) = store.of_key("registration\x1f1")
    assert opened.outcome == "recorded"
    with pytest.raises(RowRefused, match="NOT_MAPPED"):
        sent(store, Planner(mapping, store, NOW), row(ROW, sex="x", person_ref="2", source_ref="AAA-2"))


@pytest.mark.parametrize(
    ("cells", "pointer", "begins"),
    [
        ({"run_end": "31.11.2014"}, "/ends_before_on", "run_end: This is no day of the calendar (2026-01-31 or "),
        ({"started_on": "31.11.2014"}, "", "started_on: This is no day of the calendar"),  # `at`
        ({"run_start": ""}, "/starts_on", "run_start: This cell is empty."),
        ({"course_days": "many"}, "/course_days", "course_days: "),
    ],
)
def test_a_refusal_names_the_column_whose_cell_is_to_be_mended(
    store: Store, cells: dict[str, str], pointer: str, begins: str
) -> None:
    with pytest.raises(RowRefused) as no:
        sent(store, planner(store), row(ROW, **cells))
    assert no.value.pointer == pointer and no.value.hint.startswith(begins)


def test_what_a_service_refuses_is_said_of_the_column_too(store: Store) -> None:
    made = planner(store)
    *_, end = sent(store, made, row(ROW))
    assert made.refused(end, Said("refused", "END_BEFORE_START", "/ended_before_on", "It lies before.")).hint == (
        "ended_on: It lies before."
    )
    assert made.refused(end, Said("refused", "NOT_YOURS", "", "Not yours.")).hint == "Not yours."


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


@pytest.mark.parametrize(
    ("rows", "says"),
    [('1;x\n2;"bis Freitag\n3;y\n', "is no CSV"), ('1;"a" b\n', "is no CSV"), ('1;x\n2;"never closed', "is no CSV")],
)
def test_a_quotation_mark_that_stands_alone_takes_no_rows_with_it(tmp_path: Path, rows: str, says: str) -> None:
    """Lines that follow stood in its cell; the rows that were left looked whole."""
    path = tmp_path / "file.csv"
    path.write_text(f"ref;note\n{rows}")
    with pytest.raises(Trouble, match=says) as trouble:
        look_through(path, ["ref"])
    assert trouble.value.exit_code == USAGE and "Freitag" not in f"{trouble.value} {trouble.value.way_out}"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('1,"Anna "die" M"\n', 40_002),
        ('1,"two\nlines"\n1,"never closed\n', 40_004),
        ('1,"closed\n1,x\n1,"late"\n', 40_002),
    ],
)
def test_a_quotation_mark_that_stands_alone_is_found_by_its_line(tmp_path: Path, rows: str, line: int) -> None:
    """In 60,000 rows nobody finds it otherwise; the line where the row begins, for it may go on to the end."""
    path = tmp_path / "file.csv"
    path.write_text("ref,note\n" + "1,x\n" * 40_000 + rows + "1,x\n" * 20_000)
    with pytest.raises(Trouble, match=f"the row that begins in line {line}: ") as trouble:
        look_through(path, ["ref"])
    assert "Anna" not in trouble.value.what


@pytest.mark.parametrize(
    "header",
    ['"Name, Vorname";"PLZ, Ort";x', '"Name; Vorname","PLZ; Ort; Kreis",x', '"Name","x"', "x", 'a;b, c, d;"x"', '"x"'],
)
def test_the_delimiter_is_the_one_under_which_the_mapped_columns_are_found(tmp_path: Path, header: str) -> None:
    """A correct file was no CSV: its names hold more of the other."""
    path = tmp_path / "file.csv"
    path.write_text(f"{header}\n")
    assert "x" in look_through(path, ["x"]).columns


def test_a_half_mended_ragged_row_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    """It was a fault of ours, in the middle of the import."""
    write_back(tmp_path / "back.csv", [(replace(row(MEETING), whole=False, surplus=("x",)), "RAGGED_ROW", "", "")] * 2)
    text = (tmp_path / "back.csv").read_text("utf-8-sig")
    (tmp_path / "mended.csv").write_text(text.replace("more;x", 'more;""Muster', 1))
    with pytest.raises(Trouble, match=r"mended\.csv row 2: what stands in lotse_ragged ends within a cell") as trouble:
        look_through(tmp_path / "mended.csv", ["source_ref"])
    assert trouble.value.exit_code == USAGE and "Muster" not in trouble.value.what


def test_a_file_of_two_encodings_is_not_guessed_at(tmp_path: Path) -> None:
    """One remark as an old program writes it, and everybody with an umlaut was somebody else."""
    path = tmp_path / "file.csv"
    path.write_bytes("ref;note\nMüller-07;x\nb;".encode() + "gehört\n".encode("cp1252"))
    with pytest.raises(Trouble, match=r"some of both \(line 3\)"):
        look_through(path, ["ref"])


def test_a_memory_of_one_kafka_is_not_taken_for_anothers(tmp_path: Path) -> None:
    """After a rehearsal everything was known: nothing was sent to the real one, and the import said that all is in."""
    for cluster, known in (("trial", True), ("trial", True), ("real", False)):
        with (
            Store(tmp_path, "oulad", "oulad") as memory,
            contextlib.nullcontext() if known else pytest.raises(Trouble, match="another Kafka"),
        ):
            memory.feeds(cluster)


def damage(memory: Path, share: slice) -> None:
    """These pages of what was sent, as a disk gives them back that has lost them."""
    with contextlib.closing(sqlite3.connect(memory)) as db:
        pages = db.execute("select pageno from dbstat where name = 'sent' and pagetype = 'leaf'").fetchall()
        size = db.execute("pragma page_size").fetchone()[0]
    assert pages[share]
    with memory.open("r+b") as file:
        for (page,) in pages[share]:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


def remembered(folder: Path, rows: int = 300) -> CsvFile:
    """A file of so many rows, all of them in and answered."""
    for name, content in _imported(rows).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return look_through(folder / "rows.csv", list(ROW))


@cache
def _imported(rows: int) -> dict[str, bytes]:
    """What an import leaves, by its file's name; made once, for it takes a second."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with (folder / "rows.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROW))
            writer.writeheader()
            writer.writerows({**ROW, "source_ref": f"P{n}", "person_ref": f"p{n}"} for n in range(rows))
        with Store(folder / "import", "oulad", "oulad") as store:
            for read in look_through(folder / "rows.csv", list(ROW)).read():
                for _ in planner(store).steps(read):
                    pass
            store.flush()
            store.answered([(id, Said("recorded")) for id in store.unanswered()])
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def whom(store: Store) -> Sender:
    """Who would be asked; as long as all is known nobody is."""
    oulad = Publisher(name="oulad", source="oulad", tenants=("rkn",), organisations=("o",), families=("intake",))
    return Sender("127.0.0.1:9", KafkaSecurity(), oulad, "rkn", store, 60)


async def test_no_row_is_in_no_figure_where_pages_of_the_memory_break_while_it_is_read(tmp_path: Path) -> None:
    """45 of 3,000 rows were in none, and the import said that all went well."""
    found = remembered(tmp_path)
    with Store(tmp_path / "import", "oulad", "oulad") as store:
        damage(tmp_path / "import" / "oulad.sqlite", slice(20, 22))
        store._db.execute("pragma shrink_memory")  # what it keeps of pages it has seen
        account = await send_rows([found], planner(store), whom(store))
    assert account.rows == 300 and account.astray == 0
    assert account.already_answered > 0 and account.left == 300 - account.already_answered > 0
    assert account.broke and (account.broke.exit_code, account.broke.way_out) == (REFUSED, KEPT)
    assert (
        account.broke.what
        == "oulad.sqlite, which remembers what was imported, can't be read or written (SQLITE_CORRUPT)"
    )


async def test_a_row_that_none_of_our_rules_can_bear_stops_the_import_and_is_counted(tmp_path: Path) -> None:
    found = remembered(tmp_path, 3)
    with Store(tmp_path / "import", "oulad", "oulad") as store:
        mapping = replace(planner(store).mapping, at={"start": "nowhere"})
        account = await send_rows([found], replace(planner(store), mapping=mapping), whom(store))
    assert (account.rows, account.astray, account.stopped, account.not_sent) == (3, 0, 1, 2)
    assert account.broke and account.broke.exit_code == FAULT
    assert account.broke.what.startswith("a fault of ours: KeyError at plan.py:")


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """As on a disk that is full: nothing is written beyond so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_is_full_is_called_so_and_nobody_waits_for_what_was_not_sent(tmp_path: Path) -> None:
    """It was a conversation with Kafka that broke off, and `lotse status` would know."""
    found = remembered(tmp_path)
    changed = replace(found, text=found.text.replace("2014-02-01", "2014-02-02"))
    with Store(tmp_path / "import", "oulad", "oulad") as store, files_end_at(4096):
        sender = whom(store)
        sending = asyncio.create_task(sender._go_on(sender._send()))
        account = await send_rows([changed], planner(store, days=1), sender)
        await sending
    assert (account.rows, account.astray, account.left) == (300, 0, 300)
    assert account.broke and "SQLITE_IOERR" in account.broke.what and "make room" in account.broke.way_out
    with Store(tmp_path / "import", "oulad", "oulad") as store:
        assert store.unanswered() == set()


@pytest.mark.parametrize(
    "error", [RuntimeError("Anna"), AttributeError("Anna"), KafkaError("Anna"), ValueError("Anna")]
)
async def test_whatever_ends_the_conversation_ends_the_wait(store: Store, error: Exception) -> None:
    async def half() -> None:
        raise error

    sender = whom(store)
    step = next(planner(store).steps(row(ROW)))
    asked = asyncio.create_task(sender.ask(step))
    await asyncio.sleep(0)
    await sender._go_on(half())
    with pytest.raises(Unanswered):
        await asked
    assert sender.broke and "Anna" not in sender.broke.what


def test_figures_that_do_not_add_up_to_the_rows_are_not_believed(
    with_footer: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CsvFile.read
    monkeypatch.setattr(CsvFile, "read", lambda file: (read for read in real(file) if read.whole or not file.rows))
    code, said = dry(capsys, with_footer)
    assert (code, said["ok"], said["data"]["rows"], said["data"]["would_be_sent"]) == (FAULT, False, 2, 1)
    assert said["errors"][-1]["code"] == "FAULT" and "do not add up" in said["errors"][-1]["message"]


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda memory: memory.write_bytes(b"garbage" * 1000), "SQLITE_NOTADB"),
    "pages": (lambda memory: damage(memory, slice(20, 22)), "SQLITE_CORRUPT"),
    "empty": (lambda memory: memory.write_bytes(b""), "gone or empty"),
    "gone": (lambda memory: memory.unlink(), "gone or empty"),
    "secret": (lambda memory: changed(memory, "update secret set value = zeroblob(32)"), "another source or secret"),
    "no secret": (lambda memory: changed(memory, "delete from secret"), "another source or secret"),
}


def changed(memory: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(memory)) as db, db:
        db.execute(sql)


@pytest.mark.parametrize("how", DAMAGED)
@pytest.mark.parametrize("trying", [False, True])
def test_a_memory_that_is_lost_makes_no_second_case_of_anybody(tmp_path: Path, how: str, trying: bool) -> None:
    """Everything went out again under new ids, and nothing was said."""
    remembered(tmp_path)
    folder = tmp_path / "import"
    lose, says = DAMAGED[how]
    lose(folder / "oulad.sqlite")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    for _ in range(2):
        with pytest.raises(Trouble, match=says) as trouble:
            Store(folder, "oulad", "oulad", trying=trying)
        assert trouble.value.exit_code == REFUSED and "second case" in trouble.value.way_out
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_what_breaks_the_memory_while_it_is_open_is_named(tmp_path: Path) -> None:
    remembered(tmp_path)
    with pytest.raises(Trouble, match="SQLITE_CORRUPT"), Store(tmp_path / "import", "oulad", "oulad") as store:  # noqa: PT012
        damage(tmp_path / "import" / "oulad.sqlite", slice(20, 22))
        store._db.execute("pragma shrink_memory")
        store._db.execute("select count(content) from sent").fetchone()


def test_trying_leaves_what_an_import_that_was_killed_left(tmp_path: Path) -> None:
    remembered(tmp_path, 1)
    folder = tmp_path / "import"
    with Store(folder, "oulad", "oulad") as store:
        sent(store, planner(store), row(ROW))
        left = {file.name: file.read_bytes() for file in folder.iterdir()}
    (tmp_path / "killed").mkdir()
    for name, content in left.items():
        (tmp_path / "killed" / name).write_bytes(content)
    with Store(tmp_path / "killed", "oulad", "oulad", trying=True) as tried:
        assert sent(tried, planner(tried), row(ROW)) == []
    kept = {name: (tmp_path / "killed" / name).read_bytes() for name in left if not name.endswith("-shm")}
    assert kept == {name: content for name, content in left.items() if not name.endswith("-shm")}


def test_another_source_makes_no_second_case_of_anybody(tmp_path: Path) -> None:
    remembered(tmp_path, 1)
    for more in ({}, {"trying": True}, {"reading": True}):
        with pytest.raises(Trouble, match="another source or secret"):
            Store(tmp_path / "import", "https://other.example", "oulad", **more)
        with Store(tmp_path / "import", "oulad", "oulad", **more) as store:
            assert store.unanswered() == set()


def test_a_memory_that_an_older_release_fed_under_two_sources_is_of_the_one_it_was_fed_under_last(
    tmp_path: Path,
) -> None:
    """It took another source without a word; whoever is back at one must not be stopped by the other."""
    remembered(tmp_path, 1)
    folder = tmp_path / "import"
    with Store(folder, "oulad", "oulad") as store:
        store.source = "later"
        sent(store, planner(store), row(ROW))
    with Store(folder, "later", "oulad") as store:
        assert store.of_key("start\x1fP0")
    with pytest.raises(Trouble, match="another source or secret"):
        Store(folder, "oulad", "oulad")


def test_refused_rows_alone_tell_that_there_was_a_memory_and_of_whom(tmp_path: Path) -> None:
    (tmp_path / "a-refused-other-20261124T120000000000.csv").touch()
    (tmp_path / "a-refused-oulad-two-20261124T120000000000.csv").touch()
    with Store(tmp_path, "oulad", "oulad"):
        pass
    with pytest.raises(Trouble, match="gone or empty"):
        Store(tmp_path, "other", "other")


def test_a_first_import_that_found_no_room_is_a_first_import_again(tmp_path: Path) -> None:
    with files_end_at(0), pytest.raises(Trouble, match="SQLITE_IOERR"):
        Store(tmp_path, "oulad", "oulad")
    with Store(tmp_path, "oulad", "oulad") as store:
        assert store.fresh


def test_a_file_without_a_header_does_not_tell_whose_it_is(tmp_path: Path) -> None:
    """Its first row is a person's, and what is said of it stands in the log of whoever imports at night."""
    path = tmp_path / "file.csv"
    path.write_text("Zainab Kanarienvogel;1999-03-04;a\n")
    with pytest.raises(Trouble, match="lacks the column c") as trouble:
        look_through(path, ["a", "c"])
    assert trouble.value.way_out == "mend the header or the mapping; of its 3 columns it has a"


PACKED = gzip.compress(b"a;c\n" + bytes(range(48, 122)) * 40, mtime=0)


@pytest.mark.parametrize("content", [PACKED[:10] + b"\xff" + PACKED[11:], PACKED[:-20], b"a;c\n1;2\n", PACKED[:-8] + b"\0" * 8],
                         ids=["damaged", "cut off", "not packed", "another sum"])  # fmt: skip
def test_a_packed_file_that_is_damaged_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.csv.gz"
    path.write_bytes(content)
    with pytest.raises(Trouble, match=r"file\.csv\.gz can't be read") as trouble:
        look_through(path, ["a", "c"])
    assert trouble.value.exit_code == USAGE


def sent_back(path: Path, rows: list[Row], needed: list[str]) -> list[Row]:
    """Rows that were refused, as they come back unmended."""
    write_back(path, [(refused, "INVALID", "/a", "=hint") for refused in rows])
    return list(look_through(path, needed).read())


CELLS = st.text(st.one_of(st.sampled_from("'=+-@\t\r\n;,\"\0 a1"), st.characters(codec="utf-8")), max_size=6)
NAMES = st.lists(
    st.sampled_from(["reason", "row", "file", "hint", "=sum", "-", "'-", "''@x", "a,b,c,d,e,f,g,h,i", "two\nlines"]),
    min_size=1, unique=True,
)  # fmt: skip


@given(names=NAMES, rows=st.lists(st.lists(CELLS, min_size=1, max_size=8), min_size=1, max_size=4))
def test_a_row_that_comes_back_unmended_is_the_row_that_was_read_first(names: list[str], rows: list[list[str]]) -> None:
    """Cell by cell, and as whole or ragged as it was; only what was cut off is filled up, and still counts as ragged."""
    names = ["ref", *names]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([names, *rows])
    first = list(CsvFile(Path("first.csv"), text.getvalue(), ";", names, len(rows)).read())
    assert [[*row.cells.values(), *row.surplus] for row in first] == rows
    with tempfile.TemporaryDirectory() as folder:
        back = sent_back(Path(folder) / "back.csv", first, ["ref"])
        again = sent_back(Path(folder) / "again.csv", back, ["ref"])
    cut_off = dict.fromkeys((name for row in first for name in row.cells), "")
    expected = [({**cut_off, **row.cells}, row.whole, row.surplus) for row in first]
    assert [(row.cells, row.whole, row.surplus) for row in back] == expected
    assert [(row.cells, row.whole, row.surplus) for row in again] == expected


def test_a_person_whose_number_looks_like_a_formula_is_the_same_person_when_the_row_comes_back(
    store: Store, tmp_path: Path
) -> None:
    refused = row(ROW, person_ref="-12", sex="-")
    first = sent(store, planner(store), refused)
    (back,) = sent_back(tmp_path / "back.csv", [refused], list(ROW))
    assert back.cells == refused.cells and sent(store, planner(store, days=1), back) == []
    (mended,) = sent(store, planner(store, days=1), replace(back, cells={**back.cells, "ended_on": "2014-02-03"}))
    assert mended.subject == first[-1].subject


def test_a_guarded_reference_of_a_file_that_lost_our_columns_is_nobody(store: Store) -> None:
    """Another number is another person: a second case of somebody who has one."""
    for name in ("person_ref", "source_ref", "run_ref"):
        with pytest.raises(RowRefused, match="GUARDED"):
            sent(store, planner(store), row(ROW, **{name: "'-12"}))
    assert len(sent(store, planner(store), row(ROW, person_ref="'12", source_ref="-'-12"))) == 7


def test_a_row_with_a_comma_too_many_is_mended_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("ref,ort,n\n1,Neuss, Nord,4\n2,Kaarst\n3,Jüchen,4\n")
    first = list(look_through(tmp_path / "file.csv", ["n"]).read())
    assert [(row.whole, row.surplus) for row in first] == [(False, ("4",)), (False, ()), (True, ())]
    sent_back(tmp_path / "back.csv", first[:2], ["n"])
    text = (tmp_path / "back.csv").read_text("utf-8-sig")
    assert "more;4" in text and text.count("fewer") == 1
    mended = (
        text.replace("1;Neuss; Nord", "1;Neuss, Nord;4")
        .replace('"more;4"', "")
        .replace("fewer;2;Kaarst;", ";2;Kaarst;6")
    )
    (tmp_path / "mended.csv").write_text(mended)
    found = list(look_through(tmp_path / "mended.csv", ["n"]).read())
    assert [(row.cells, row.whole) for row in found] == [
        ({"ref": "1", "ort": "Neuss, Nord", "n": "4"}, True), ({"ref": "2", "ort": "Kaarst", "n": "6"}, True),
    ]  # fmt: skip


def test_a_partners_own_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Only a file of ours has a guard to take off."""
    (tmp_path / "file.csv").write_text("ref;reason;'-x\n'-12;'=;'\n")
    (read,) = look_through(tmp_path / "file.csv", ["ref", "reason"]).read()
    assert read.cells == {"ref": "'-12", "reason": "'=", "'-x": "'"}


def dry(
    capsys: pytest.CaptureFixture[str], file: Path, *more: str, kind: str = "attendance", dry_run: bool = True
) -> tuple[int, dict[str, Any]]:
    """`lotse import attendance FILE --dry-run --format json`: exit code and the envelope."""
    capsys.readouterr()
    words = ["import", kind, str(file), "--mapping", str(OULAD / f"{kind}.toml"), "--format", "json", *more]
    code = main([*words, "--dry-run"] if dry_run else words)
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def with_footer(tmp_path: Path) -> Path:
    """A row and a footer of one cell, as spreadsheets have it."""
    path = tmp_path / "days.csv"
    lines = [[*MEETING][::-1], [*MEETING.values()][::-1], ["Summe"]]
    path.write_text("".join(";".join(line) + "\n" for line in lines))
    return path


def test_a_dry_run_says_of_a_footer_what_the_real_run_says(
    with_footer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = dry(capsys, with_footer)
    assert (code, said["data"]["reasons"], said["data"]["would_be_sent"]) == (PARTLY, {"RAGGED_ROW": 1}, 1)
    assert said["ok"] is False and said["data"]["refused_rows"] is None


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """What was imported before into a Kafka nobody can reach; gives back its memory, open."""
    monkeypatch.setenv("LOTSE_KAFKA", "127.0.0.1:9")
    publishers = (EXAMPLES / "publishers.toml").read_text()
    (tmp_path / "publishers.toml").write_text(publishers.replace('source = "oulad"', 'source = "https://ou.example"'))
    monkeypatch.setenv("LOTSE_PUBLISHERS", str(tmp_path / "publishers.toml"))
    monkeypatch.setattr("deploy.installation.STATE", tmp_path)
    return Store(tmp_path / "import", "https://ou.example", "oulad")


def figures(said: dict[str, Any]) -> dict[str, Any]:
    return {name: n for name, n in said["data"].items() if n}


def test_a_dry_run_knows_what_was_imported_before_and_leaves_it_as_it_is(
    house: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It promised to send all of it again, and not that ends are taken back."""
    with house:
        sent(house, planner(house), row(ROW))
        told = [*planner(house).steps(row(ROW, source_ref="AAA-2", person_ref="2", ended_on="", end_kind=""))]
        house.flush()
        house.answered([(step.sent.id, Said("recorded")) for step in told[:-1]])
        house.answered([(told[-1].sent.id, Said("refused", "NO_CONSENT", "/started_on"))])
    before = {file: file.read_bytes() for file in (tmp_path / "import").iterdir()}

    def tried(*rows: dict[str, str], more: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
        file = tmp_path / "rows.csv"
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(ROW))
            writer.writeheader()
            writer.writerows({**ROW, **changed} for changed in rows)
        code, said = dry(capsys, file, *more, kind="participations")
        assert {file: file.read_bytes() for file in (tmp_path / "import").iterdir()} == before
        return code, figures(said)

    refused = {"source_ref": "AAA-2", "person_ref": "2", "ended_on": "", "end_kind": ""}
    new = {"source_ref": "AAA-3", "person_ref": "3"}
    assert tried({}, new) == (DONE, {"rows": 2, "would_be_sent": 1, "already_answered": 1})
    assert tried(GONE, new) == (DONE, {"rows": 2, "would_be_sent": 2, "taken_back": 1})
    assert tried({"run_ref": "BBB"}, refused) == (
        PARTLY,
        {"rows": 2, "refused": 2, "reasons": {"REFERENCE_REUSED": 1, "NO_CONSENT": 1}},
    )
    with Store(tmp_path / "import", house.source, "oulad") as store:  # a run ended before it saw the answers
        for _ in planner(store).steps(row(ROW, **new)):
            pass
        store.flush()
    before = {file: file.read_bytes() for file in (tmp_path / "import").iterdir()}
    assert tried({}, new) == (DONE, {"rows": 2, "would_be_sent": 1, "already_answered": 1})
    assert tried(refused, more=("--again",)) == (DONE, {"rows": 1, "would_be_sent": 1})
    file = tmp_path / "days.csv"
    file.write_text("".join(",".join(line) + "\n" for line in ([*MEETING], [*MEETING.values()])))
    assert dry(capsys, file)[0] == DONE
    file.write_text(file.read_text().replace("AAA-1", "AAA-2"))
    assert dry(capsys, file)[1]["data"]["reasons"] == {"NOT_STARTED": 1}  # its start was refused
    with Store(tmp_path / "import", house.source, "oulad"):  # while an import runs, too
        assert figures(dry(capsys, file)[1])["refused"] == 1


def test_a_dry_run_is_refused_what_the_real_run_is(
    house: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], with_footer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with house:
        sent(house, planner(house), row(ROW))
    (tmp_path / "import" / "oulad.sqlite").unlink()
    for dry_run in (False, True):
        code, said = dry(capsys, with_footer, dry_run=dry_run)
        assert (code, said["data"]) == (REFUSED, None) and "gone or empty" in said["errors"][0]["message"]
    (tmp_path / "publishers.toml").write_text("")
    assert dry(capsys, with_footer) == dry(capsys, with_footer, dry_run=False)
    monkeypatch.delenv("LOTSE_PUBLISHERS")
    assert dry(capsys, with_footer) == dry(capsys, with_footer, dry_run=False) and dry(capsys, with_footer)[0] == USAGE


def test_refused_rows_never_take_the_place_of_a_file_that_is_there(
    with_footer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the file that is imported, under whatever name, or rows nobody has mended yet."""
    text = with_footer.read_text()
    (tmp_path / "link.csv").hardlink_to(with_footer)
    for there in (with_footer, tmp_path / "link.csv", tmp_path / "nowhere" / "back.csv", tmp_path):
        code, said = dry(capsys, with_footer, "--refused", str(there))
        assert (code, said["data"]) == (USAGE, None) and "nothing was sent" in said["errors"][0]["message"]
        assert with_footer.read_text() == text and str(tmp_path) not in said["errors"][0]["hint"]
    code, said = dry(capsys, with_footer, "--refused", str(tmp_path / "back.csv"))
    assert (code, said["data"]["refused_rows"]) == (PARTLY, str(tmp_path / "back.csv"))
    assert "Summe" in (tmp_path / "back.csv").read_text()


def test_where_refused_rows_can_not_be_written_after_all_the_account_is_shown(
    with_footer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    too_long = tmp_path / ("name" * 64)  # like a full disk, it shows at the end
    code, said = dry(capsys, with_footer, "--refused", str(too_long))
    assert (code, said["data"]["refused"], said["data"]["refused_rows"]) == (PARTLY, 1, None)
    assert [error["code"] for error in said["errors"]] == ["REFUSED", "NOT_WRITTEN"]


def test_refused_rows_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Broken off by Ctrl-C or a full disk, half of them stood there as if they were all."""

    class Stopped(list[tuple[Row, str, str, str]]):
        def __iter__(self) -> Iterator[tuple[Row, str, str, str]]:
            yield from super().__iter__()
            if list(tmp_path.glob("back.csv")):  # not while it looks for the columns
                raise KeyboardInterrupt

    no = (row({"a": "x" * 10_000}), "INVALID", "", "")
    with pytest.raises(KeyboardInterrupt):
        write_back(tmp_path / "back.csv", Stopped([no] * 5))
    with files_end_at(4096), pytest.raises(OSError, match="File too large"):
        write_back(tmp_path / "back.csv", [no] * 5)
    assert list(tmp_path.iterdir()) == []
    write_back(tmp_path / "back.csv", [no] * 5)
    with pytest.raises(FileExistsError):
        write_back(tmp_path / "back.csv", [no])
    assert (tmp_path / "back.csv").read_text().count("INVALID") == 5 and len(list(tmp_path.iterdir())) == 1


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
        ('run = "run_ref"', 'run = "run_ref"\nconsent = 1', r"\[columns\] does not say which column holds: consent"),
        ('run = "run_ref"', 'run = "run_ref"\nconsent = "c"', ""),
        ("[withdrawal]", "[[withdrawal]]", "withdrawal is no table"),
        ('when = "started_on"', "when = true", r"\[start\] when is no text"),
        ('at = "started_on"', "at = 1", r"\[start\] at is no text"),
        ('{ column = "sex"', "{ column = 1", r"\[registration\] sex: column is no text"),
        ('map = { F = "FEMALE", M = "MALE", "*" = "UNKNOWN" }', 'map = "F"', r"\[registration\] sex: map is no table"),
        (
            '{ column = "started_on" }',
            '{ column = "started_on", last_day = true }',
            r"\[start\] started_on: last_day goes with a column of a field that ends in _before_on",
        ),
        ('{ column = "run_end" }', '{ column = "run_end", last_day = 1 }', "last_day is no true or false"),
        (
            '{ column = "run_end" }',
            '{ column = "run_end", last_day = true, map = { Q1 = "2026-03-31" } }',
            "last_day does not go with map",
        ),
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
