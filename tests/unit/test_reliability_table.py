"""The table of the fault matrix: every row is in it, and what did not run is never called held."""

import json
from pathlib import Path

import pytest

from deploy.commands.soak import told
from deploy.local.stack import ROOT
from deploy.soak.mutants import FAILED, HOLDS, MUTANTS, NO_MUTANT, Edit, Mutant, Seen, edited
from deploy.soak.results import HELD, NOT_RUN, Result, keep, write_table
from deploy.soak.rows import NOT_WRITTEN, PR, ROWS
from deploy.soak.soaking import Soak, told_not_run


def test_every_row_is_in_the_table_and_what_did_not_run_is_called_so(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    keep(kept, Result(ROWS[0].number, ROWS[0].title, ROWS[0].how, HELD, "it held | truly", 7, "2026-01-01", 1.0))
    write_table(kept, table)
    lines = [line for line in table.read_text().splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [int(line.split()[1]) for line in lines] == sorted({row.number for row in ROWS} | set(NOT_WRITTEN))
    assert all(len(line.split("|")) == 10 for line in lines)
    outcomes = {int(line.split()[1]): line.split("|")[4].strip() for line in lines}
    assert outcomes.pop(ROWS[0].number) == HELD and set(outcomes.values()) == {NOT_RUN}


def test_every_row_of_the_matrix_is_either_written_or_named_as_not_run() -> None:
    written = {row.number for row in ROWS}
    assert not written & set(NOT_WRITTEN) and len(written) == len(ROWS)
    assert set(range(1, 81)) <= written | set(NOT_WRITTEN)


def test_a_later_result_replaces_the_earlier_one_of_its_row_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    one, other = ROWS[:2]
    for row, seen in ((one, "first"), (other, "first"), (one, "second")):
        keep(kept, Result(row.number, row.title, row.how, HELD, seen, 7, "2026-01-01", 1.0))
    rows = json.loads(kept.read_text())["rows"]
    assert (rows[str(one.number)]["seen"], rows[str(other.number)]["seen"]) == ("second", "first")


def test_each_row_that_belongs_to_every_change_says_what_guards_it() -> None:
    """One that is not seen to fail tests perhaps nothing."""
    told = {number for mutant in MUTANTS for number in mutant.rows}
    assert {row.number for row in ROWS if row.tier == PR} <= told | NO_MUTANT.keys() <= {row.number for row in ROWS}
    assert not told & NO_MUTANT.keys()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.gone)
def test_what_guards_a_row_still_stands_where_it_is_taken_out(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert edited((ROOT / edit.file).read_text(), edit)


def test_a_piece_that_is_gone_or_stands_twice_is_named() -> None:
    for text in ("", "a = 1\na = 1"):
        with pytest.raises(ValueError, match=r"x.py has 'a = 1' [02] times, not once"):
            edited(text, Edit("x.py", "a = 1", "a = 2"))
    assert edited("a = 1", Edit("x.py", "a = 1", "a = 2")) == "a = 2"


def test_the_table_says_what_was_taken_out_and_whether_the_row_failed(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    one, other = ROWS[0].number, ROWS[1].number
    keep(kept, mutants=[Seen(one, "the fence", FAILED, "2 doubled", "2026-01-01", 1.0),
                        Seen(other, "the lock", HOLDS, "all was well", "2026-01-01", 1.0)])  # fmt: skip
    write_table(kept, table)
    lines = table.read_text().splitlines()
    assert any(line.startswith(f"| {one} ") and "| without: the fence. 2 doubled |" in line for line in lines)
    assert any(
        line.startswith(f"| {other} ") and "| without: the lock. It holds: all was well |" in line for line in lines
    )


def test_a_soak_tells_every_row_it_did_not_run_and_why() -> None:
    done = Soak(7, 0.0, "2026-01-01")
    told_not_run(done)
    lines = [line for line in told(done) if line.startswith("  not run: ")]
    assert {int(line.split()[2]) for line in lines} == {row.number for row in ROWS} | set(NOT_WRITTEN)
    assert all(line.partition(": ")[2].partition(": ")[2] for line in lines)
    ran = next(row for row in ROWS if not (row.rough or row.pending or row.brokers > 1))
    done.rows.append(Result(ran.number, ran.title, ran.how, HELD, "", 7, "2026-01-01", 1.0))
    other = Result(ROWS[1].number, ROWS[1].title, ROWS[1].how, NOT_RUN, "no such tool here", 7, "2026-01-01", 1.0)
    done.rows.append(other)
    told_not_run(done)
    assert ran.name not in done.not_run and done.not_run[ROWS[1].name] == "no such tool here"
