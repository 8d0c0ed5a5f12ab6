"""The table of the fault matrix: every row is in it, and what did not run is never called held."""

import json
from pathlib import Path

from deploy.commands.soak import told
from deploy.soak.results import HELD, NOT_RUN, Result, keep, write_table
from deploy.soak.rows import NOT_WRITTEN, ROWS
from deploy.soak.soaking import Soak, told_not_run


def test_every_row_is_in_the_table_and_what_did_not_run_is_called_so(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    keep(kept, Result(ROWS[0].number, ROWS[0].title, ROWS[0].how, HELD, "it held | truly", 7, "2026-01-01", 1.0))
    write_table(kept, table)
    lines = [line for line in table.read_text().splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [int(line.split()[1]) for line in lines] == sorted({row.number for row in ROWS} | set(NOT_WRITTEN))
    assert all(len(line.split("|")) == 9 for line in lines)
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
