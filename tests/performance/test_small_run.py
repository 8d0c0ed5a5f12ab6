"""One small run of the benchmark, whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.bench.figures import WIDTH
from deploy.bench.page import write_page
from deploy.places import ROOT


@pytest.mark.timeout(900)
def test_a_small_run_counts_every_fact_and_answer_and_says_what_holds(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "bench", "--quick", "--cases", "600", "--reports", "4000", "--repetitions", "1",
         "--json", str(file)], cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(file.read_text())
    assert said["ok"] is (done.returncode == 0)
    assert max(map(len, done.stdout.splitlines())) <= WIDTH, "the tables are read in 100 columns"
    assert "NOT RUN" not in done.stderr, "Java's yardsticks ran"
    assert said["figures"]["full way, 2 processes"]["median"] > 0
    assert said["figures"]["from nothing to the first answer"]["median"] > 1
    statements = [figure["median"] for name, figure in said["figures"].items() if name.startswith("statements of")]
    few, many = sorted(statements)
    assert few > 5 and many <= 15 and many - few <= 3, "12 and 3 for projections, the same for 20 and for thousands"
    assert {goal["name"] for goal in said["goals"] if goal["holds"] is None} == {
        "one alliance : 54", "1,000,000 cases : 10,000", "a year of attendance in each state : 8 meetings",
        "300 publishers' topics : 6",
    }  # fmt: skip
    page = tmp_path / "performance.md"
    write_page(said, page)
    assert "| full way, 2 processes |" in page.read_text()
    assert "](performance/rates.svg)" in page.read_text()
    assert "compiled twin" in (tmp_path / "performance" / "rates.svg").read_text()


@pytest.mark.timeout(600)
def test_a_house_that_has_grown_is_measured_in_turns_with_its_base(tmp_path: Path) -> None:
    file, page = tmp_path / "bench.json", tmp_path / "performance.md"
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "bench", "--only", "meetings", "--cases", "600", "--reports", "4000", "--repetitions", "2",
         "--json", str(file), "--page", str(page)], cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(file.read_text())
    assert not said["failed"]
    (point,) = said["points"]
    assert point == {"axis": "meetings", "at": 52, "base_at": 8}
    one, base = (said["figures"][name]["values"] for name in ("growth, meetings 52", "growth, meetings 8"))
    assert len(one) == len(base) == 2
    (left,) = (goal["value"] for goal in said["goals"] if goal["name"].startswith("a year of attendance"))
    assert left == pytest.approx((one[0] / base[0] + one[1] / base[1]) / 2)
    assert "| meetings | 52 | " in page.read_text()
    assert (tmp_path / "performance" / "meetings.svg").exists()
