"""The benchmark counts right: one small run of it whole, and its arithmetic against figures worked out by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.bench.figures import Figures, Goal
from deploy.bench.inside import statements_of
from deploy.bench.latency import percentile
from deploy.bench.meters import rate
from deploy.bench.page import written
from deploy.bench.people import QUIET, People, Reports
from deploy.local.stack import ROOT

LOG = """\
2026-01-01 10:00:00.000 UTC [11] LOG:  statement: BEGIN;
2026-01-01 10:00:00.001 UTC [12] LOG:  statement: BEGIN;
2026-01-01 10:00:00.002 UTC [11] LOG:  execute __asyncpg_stmt_1__: select topic, part, next
\tfrom position for update
2026-01-01 10:00:00.003 UTC [12] LOG:  execute __asyncpg_stmt_2__: update outbox set sent_at = now()
2026-01-01 10:00:00.004 UTC [11] LOG:  statement: COPY "timeline"("family") FROM STDIN WITH (FORMAT binary)
2026-01-01 10:00:00.005 UTC [13] LOG:  execute __asyncpg_stmt_3__: select 1
2026-01-01 10:00:00.006 UTC [11] LOG:  execute __asyncpg_stmt_4__: update position p set next = n.next
2026-01-01 10:00:00.007 UTC [12] LOG:  statement: COMMIT;
2026-01-01 10:00:00.008 UTC [11] LOG:  statement: COMMIT;
2026-01-01 10:00:00.009 UTC [11] LOG:  statement: BEGIN;
2026-01-01 10:00:00.010 UTC [11] LOG:  execute __asyncpg_stmt_4__: update position p set next = n.next
2026-01-01 10:00:00.011 UTC [11] LOG:  statement: ROLLBACK;
"""


def test_statements_are_counted_by_committed_transaction_that_moved_a_position() -> None:
    assert [len(found) for found in statements_of(LOG.splitlines())] == [3]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 201)]
    assert (percentile(values, 50), percentile(values, 95), percentile(values, 99)) == (100, 190, 198)
    assert percentile([7.0], 99) == 7


def test_a_ratio_is_taken_within_a_repetition() -> None:
    figures = Figures()
    for one, two in ((100, 200), (10, 20), (50, 100)):  # the machine was ten times slower in the second
        figures.add("one", one, "x/s")
        figures.add("two", two, "x/s")
    assert figures.ratio("two", "one") == 2
    assert figures.ratio("two", "never measured") is None


def test_a_rate_leaves_out_the_first_tenth() -> None:
    assert rate([(0.0, 1000), (4.0, 1050), (5.0, 1200), (6.0, 1600), (7.0, 2000)], 1000) == 800 / 2
    assert rate([(0.0, 1000), (5.0, 2000)], 1000) == 1000 / 5, "nobody looked in between"


def test_what_was_not_measured_neither_holds_nor_fails() -> None:
    assert Goal("x", None, 1).holds is None
    assert Goal("x", 1, 1).holds is True
    assert Goal("x", 0.9, 1).holds is False
    assert Goal("x", 0.9, 1, at_least=False).holds is True


def test_measured_reports_correct_known_meetings_so_that_a_state_keeps_its_size() -> None:
    people = People(cases=QUIET + 3, meetings=2)
    bodies = [json.loads(record.value) for record in Reports(people).take(12)]
    visits = [(body["participation_id"], body["meeting_id"], body["revision"]) for body in bodies]
    assert len(set(visits)) == 12, "no visit twice: the second would be refused or unchanged"
    assert {revision for *_, revision in visits} == {2, 3}, "the facts are revision 1"
    known = [json.loads(record.value) for record in people.facts() if record.topic == "attendance.events"]
    assert {visit[:2] for visit in visits} <= {(body["participation_id"], body["meeting_id"]) for body in known}


@pytest.mark.timeout(600)
def test_a_small_run_counts_every_fact_and_answer_and_says_what_holds(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "bench", "--quick", "--cases", "600", "--reports", "4000", "--repetitions", "1",
         "--json", str(file)], cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(file.read_text())
    assert said["ok"] is (done.returncode == 0)
    assert said["figures"]["full way, 2 processes"]["median"] > 0
    assert said["figures"]["from nothing to the first answer"]["median"] > 1
    statements = [figure["median"] for name, figure in said["figures"].items() if name.startswith("statements of")]
    few, many = sorted(statements)
    assert few > 5 and many <= 15 and many - few <= 3, "12 and 3 for projections, the same for 20 and for thousands"
    assert {goal["name"] for goal in said["goals"] if goal["holds"] is None} == {
        "one alliance : 54", "1,000,000 cases : 10,000", "a year of attendance in each state : 8 meetings",
        "300 publishers' topics : 6",
    }  # fmt: skip
    assert "| full way, 2 processes |" in written(said)
