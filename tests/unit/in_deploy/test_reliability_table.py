"""The table of the fault matrix: every row is in it, and what did not run is never called held."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.commands.soak import told
from deploy.places import ROOT
from deploy.soak import results
from deploy.soak.ledger import Ledger
from deploy.soak.mutants import FAILED, HOLDS, MUTANTS, NO_MUTANT, NOT_SEEN, Edit, Mutant, Seen, edited, verdict
from deploy.soak.results import FIGURES, HELD, KEPT, NONE, NOT_RUN, OWN, TABLE, THE_SOAKS, Result, keep, write_table
from deploy.soak.rows import NOT_WRITTEN, ROWS
from deploy.soak.soaking import Soak, told_not_run


def test_every_row_is_in_the_table_and_what_did_not_run_is_called_so(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    keep(kept, Result(ROWS[0].number, ROWS[0].title, ROWS[0].how, HELD, "it held | truly", 7, "2026-01-01", 1.0))
    write_table(kept, table)
    lines = [line for line in table.read_text().splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [int(line.split()[1]) for line in lines] == sorted({row.number for row in ROWS} | set(NOT_WRITTEN))
    assert all(len(line.split("|")) == 11 for line in lines)
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


def test_each_row_says_what_guards_it() -> None:
    """One that is not seen to fail tests perhaps nothing."""
    told = {number for mutant in MUTANTS for number in mutant.rows}
    assert told | NO_MUTANT.keys() == {row.number for row in ROWS}
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


def cells(file: Path, number: int) -> list[str]:
    """A row of the table."""
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"| {number} "))
    return [cell.strip() for cell in line.split("|")][1:-1]


def test_the_table_says_what_was_taken_out_and_whether_the_row_failed(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    one, other, third = MUTANTS[0].rows[0], MUTANTS[1].rows[0], MUTANTS[2].rows[0]
    keep(kept, mutants=[Seen(one, MUTANTS[0].gone, FAILED, f"{MUTANTS[0].finds[0]}: x", "2026-01-01", 1.0, control=True),
                        Seen(other, MUTANTS[1].gone, HOLDS, "all was well", "2026-01-01", 1.0, control=True),
                        Seen(third, MUTANTS[2].gone, FAILED, "Trouble: referral is not ready:", "2026-01-01", 1.0)])  # fmt: skip
    write_table(kept, table)
    assert cells(table, one)[-1] == f"without: {MUTANTS[0].gone}. {MUTANTS[0].finds[0]}: x"
    assert cells(table, other)[-1] == f"without: {MUTANTS[1].gone}. It holds: all was well"
    said = "Not seen to fail: fails otherwise: Trouble: referral is not ready: (no control on record)"
    assert cells(table, third)[-1] == f"without: {MUTANTS[2].gone}. {said}"


def test_a_mutant_is_seen_only_by_a_finding_that_speaks_of_it() -> None:
    mutant = Mutant((1,), "the fence", ("2 doubled",), ())
    assert verdict(mutant, FAILED, ["1 lost: x", "2 doubled: y"]) == (FAILED, ["2 doubled: y", "1 lost: x"])
    for findings in (["Trouble: referral is not ready:"], ["it came to no end in 600 s"]):
        assert verdict(mutant, FAILED, findings) == (NOT_SEEN, [f"fails otherwise: {findings[0]}"])
    assert verdict(mutant, HOLDS, ["all was well"]) == (HOLDS, ["all was well"])
    assert all(mutant.finds for mutant in MUTANTS)


def test_what_was_taken_out_for_another_row_or_another_guard_is_not_shown(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    number = MUTANTS[0].rows[0]
    keep(kept, mutants=[Seen(number, "something else", FAILED, MUTANTS[0].finds[0], "2026-01-01", 1.0, control=True)])
    write_table(kept, table)
    assert cells(table, number)[-1] == "not yet"


def test_a_row_that_breaks_something_else_now_has_not_run(tmp_path: Path) -> None:
    kept, table, row = tmp_path / "kept.json", tmp_path / "table.md", ROWS[0]
    keep(kept, Result(row.number, row.title, "less of it", HELD, "it held", 7, "2026-01-01", 1.0))
    write_table(kept, table)
    seen = "never run as it stands now; on 2026-01-01 it was another row"
    assert cells(table, row.number)[3:8] == [NOT_RUN, seen, "", "", ""]


def test_the_table_says_whose_ledger_looked_at_a_row(tmp_path: Path) -> None:
    kept, table = tmp_path / "kept.json", tmp_path / "table.md"
    rough = next(row for row in ROWS if row.rough)
    sound = [row for row in ROWS if not row.rough][:4]
    cases = [(sound[0], "", {"submissions": 3}, OWN), (sound[1], "", {}, THE_SOAKS), (rough, "", {}, NONE), (sound[2], OWN, {}, OWN),
             (sound[3], FIGURES, {}, FIGURES)]  # fmt: skip
    for row, said, counts, _ in cases:
        keep(kept, Result(row.number, row.title, row.how, HELD, "", 7, "2026-01-01", 1.0, counts, ledger=said))
    write_table(kept, table)
    assert [cells(table, row.number)[5] for row, _, _, _ in cases] == [ledger for _, _, _, ledger in cases]


@pytest.mark.parametrize(("last", "months", "ledger"), [(False, 0, OWN), (True, 4, FIGURES), (True, 0, OWN)])
def test_a_ledger_has_figures_only_where_reports_were_held_against_the_journal(
    last: bool, months: int, ledger: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(results, "LAST", tmp_path / "results.json")
    night: Any = SimpleNamespace(seed=7, spoiled="", ledgers=0, figures=0, note=lambda _: None)

    async def balance(*, last: bool) -> Ledger:
        asked.append(last)
        night.ledgers, night.figures = night.ledgers + 1, night.figures + bool(months)
        return Ledger()

    async def sound(_: Any) -> str:
        return "it held"

    asked: list[bool] = []
    night.balance = balance
    done = asyncio.run(results.run(night, replace(ROWS[0], run=sound), last=last))
    assert (done.ledger, done.outcome, asked) == (ledger, HELD, [last])


def test_a_soak_tells_every_row_it_did_not_run_and_why() -> None:
    done = Soak(7, 0.0, "2026-01-01")
    told_not_run(done)
    lines = [line for line in told(done) if line.startswith("  not run: ")]
    assert {int(line.split()[2]) for line in lines} == {row.number for row in ROWS} | set(NOT_WRITTEN)
    assert all(line.partition(": ")[2].partition(": ")[2] for line in lines)
    ran = next(row for row in ROWS if not (row.rough or row.brokers > 1))
    done.rows.append(Result(ran.number, ran.title, ran.how, HELD, "", 7, "2026-01-01", 1.0))
    other = Result(ROWS[1].number, ROWS[1].title, ROWS[1].how, NOT_RUN, "no such tool here", 7, "2026-01-01", 1.0)
    done.rows.append(other)
    told_not_run(done)
    assert ran.name not in done.not_run and done.not_run[ROWS[1].name] == "no such tool here"


def test_the_table_that_is_committed_is_the_one_its_runs_give(tmp_path: Path) -> None:
    """Edited by hand, or older than its rows, it would say what nobody saw."""
    table = tmp_path / "reliability.md"
    write_table(KEPT, table)
    assert table.read_text() == TABLE.read_text()
