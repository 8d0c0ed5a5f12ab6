"""The benchmark counts right: its arithmetic against figures worked out by hand."""

import json
import time
from collections import namedtuple
from datetime import datetime
from pathlib import Path

import pytest

from deploy.bench import plots
from deploy.bench.figures import Figures, Goal, goals, shares
from deploy.bench.inside import functions, statements_of
from deploy.bench.latency import percentile, slow_commits
from deploy.bench.meters import rate
from deploy.bench.page import BESIDE, beside, grown, write_page
from deploy.bench.parts import Part, Plan, chosen, everything
from deploy.bench.people import QUIET, People, Record, Reports
from deploy.bench.rounds import Run
from deploy.bench.yardsticks import TWINS
from deploy.commands.bench import SHAPE, houses, shares_of_time, taken_over
from deploy.errors import Trouble
from deploy.places import ROOT

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


def test_the_page_is_what_its_figures_give(tmp_path: Path) -> None:
    """Nothing in it is typed by hand, and parts can be measured again in another session."""
    kept = ROOT / "docs" / "performance.json"
    write_page(json.loads(kept.read_text()), page := tmp_path / "performance.md")
    assert page.read_text() == kept.with_suffix(".md").read_text()


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


def test_a_rate_leaves_out_the_first_tenth_and_the_last_quarter() -> None:
    assert rate([(0.0, 1000), (4.0, 1050), (5.0, 1200), (6.0, 1600), (7.0, 2000)], 1000) == 800 / 2
    assert rate([(0.0, 0), (1.0, 200), (2.0, 800), (2.1, 980), (9.0, 1000)], 0) == 600 / 1
    assert rate([(0.0, 1000), (5.0, 2000)], 1000) == 1000 / 5, "nobody looked in between"


def test_growth_is_held_against_the_base_measured_in_turns_with_it() -> None:
    """The machine got slower meanwhile: as far as its base did, nothing was lost."""
    figures = Figures()
    for rate_, its in ((90, 100), (40, 50), (24, 40)):
        figures.add("growth, alliances 400", rate_, "submissions/s")
        figures.add("growth, alliances 54", its, "submissions/s")
    figures.point("alliances", 400, 54)
    assert figures.grown("alliances", 400) == 40 / 50
    assert shares(figures.as_json(), figures.points[0]) == [0.9, 0.8, 0.6]
    assert figures.grown("alliances", 1) is None, "never measured"
    assert figures.grown("publishers", 300) is None


def test_parts_of_an_earlier_run_stay_and_what_runs_again_is_replaced() -> None:
    before = Figures(part="latency")
    before.add("p99", 30, "ms")
    before.part = "full-way"
    before.add("rate", 7_000, "submissions/s")
    before.part = "cases"
    before.add("growth, cases 10", 5_000, "submissions/s")
    before.point("cases", 10, 1)
    said = {"figures": before.as_json(), "notes": {}, "views": {}, "points": before.points}
    now = Figures(part="full-way")
    now.take_over(said, {"latency"})
    now.add("rate", 9_000, "submissions/s")
    assert now.values == {"p99": [30], "rate": [9_000]}
    assert now.part_of == {"p99": "latency", "rate": "full-way"}
    assert now.points == [], "the place belongs to the part that runs again"


def test_figures_of_another_machine_are_not_taken_over(tmp_path: Path) -> None:
    file, plan = tmp_path / "bench.json", Plan(chosen(10_000, quick=True, only=("latency",), profile=False), quick=True)
    before = Figures(part="full-way")
    before.add("rate", 7_000, "submissions/s")
    said = {"shape": SHAPE, "machine": {"cpu": "slow", "at": "then"}, "parts": {"full-way": {}, "latency": {}}, "notes": {}, "views": {},
            "figures": before.as_json(), "points": []}  # fmt: skip
    file.write_text(json.dumps(said))
    now = Figures()
    assert taken_over(file, now, {"cpu": "slow", "at": "now"}, plan).keys() == {"full-way"}
    assert now.values == {"rate": [7_000]}
    for made, shape in (({"cpu": "fast", "at": "now"}, SHAPE), ({"cpu": "slow", "at": "now"}, SHAPE - 1)):
        file.write_text(json.dumps({**said, "shape": shape}))
        with pytest.raises(Trouble):
            taken_over(file, Figures(), made, plan)


def test_what_the_cores_did_beside_work_is_a_share_of_all_their_time() -> None:
    """/proc/stat counts what guests take into user time, too."""
    times = namedtuple("times", "user idle iowait steal guest")
    before, after = times(10.0, 5.0, 1.0, 0.5, 3.0), times(16.0, 7.0, 2.0, 1.5, 9.0)
    assert shares_of_time(before, after) == {"idle": 0.2, "iowait": 0.1, "steal": 0.1}


def test_an_axis_is_drawn_where_it_was_measured_and_an_old_plot_goes(tmp_path: Path) -> None:
    figures = Figures()
    for one, its in ((77, 110), (60, 120), (90, 120)):
        figures.add("growth, alliances 1", one, "submissions/s")
        figures.add("growth, alliances 54", its, "submissions/s")
    figures.point("alliances", 1, 54)
    (tmp_path / "cases.svg").write_text("of an earlier run")
    drawn = dict(plots.drawn({"figures": figures.as_json(), "points": figures.points}, tmp_path))
    assert [file.name for file in drawn.values()] == ["alliances.svg"] == [file.name for file in tmp_path.iterdir()]
    text = (tmp_path / "alliances.svg").read_text()
    assert ">0.70<" in text and ">1.00<" in text, "what is left there, and the base"
    assert grown(figures.points, figures.as_json())[2:] == [
        "| alliances | 1 | 77.0 | 54 | 120 | 0.70 | 0.50 | 0.75 | 3 |"
    ]


def test_an_axis_is_a_part_whose_houses_differ_in_one_thing() -> None:
    found = {part.name: part for part in everything(10_000, quick=False) if part.beside}
    assert {name: len(part.beside) for name, part in found.items()} == {
        "alliances": 2, "meetings": 1, "publishers": 2, "partitions": 2, "workers": 2, "cases": 2}  # fmt: skip
    assert all(len({part.shape, *part.beside}) == 1 + len(part.beside) for part in found.values())
    assert {shape.people.meetings for shape in found["cases"].beside} == {2}


def test_a_profile_counts_a_function_once_a_stack_and_says_what_it_costs_itself() -> None:
    stacks = ["main (a/b/c.py);walk (x/work.py);walk (x/work.py) 6", "main (a/b/c.py);walk (x/work.py);save (x/work.py) 2",
              "main (a/b/c.py) 2"]  # fmt: skip
    found = {row["function"]: (row["itself %"], row["with what it calls %"]) for row in functions(stacks)}
    assert found == {"walk (x/work.py)": (60, 80), "save (x/work.py)": (20, 20), "main (b/c.py)": (20, 100)}


def test_every_part_can_be_asked_for_alone_and_a_quick_run_measures_no_growth() -> None:
    names = [part.name for part in everything(10_000, quick=False)]
    assert len(names) == len(set(names))
    for name in names:
        assert [part.name for part in chosen(10_000, quick=False, only=(name,), profile=False)] == [name]
    quick = {part.name for part in chosen(10_000, quick=True, only=(), profile=False)}
    assert quick == {"first", "full-way", "latency", "sink", "services", "statements", "learning", "rebuild"}
    assert sum(part.minutes[1] or 0 for part in chosen(10_000, quick=True, only=(), profile=True)) < 10
    assert sum(part.minutes[0] for part in everything(10_000, quick=False)) < 60
    with pytest.raises(KeyError):
        chosen(10_000, quick=True, only=("nothing",), profile=False)


def test_a_part_that_fails_leaves_no_figure_and_the_next_house_begins() -> None:
    plan = Plan(chosen(10_000, quick=True, only=(), profile=False), quick=True)
    run, begun = Run(Figures(), True, 1_000, 1, lambda _: None), []

    def measure(parts: list[Part]) -> None:
        for part in parts:
            begun.append(part.name)
            run.figures.part = part.name
            run.figures.add(f"{part.name} half done", 1, "s")
            if part.name == "services":
                raise Trouble("no answer", "ask again")

    failed = houses(plan, run, measure)
    assert begun == ["first", "full-way", "latency", "sink", "services", "learning", "rebuild"]
    assert [one["part"] for one in failed] == ["services", "statements"]
    assert failed[0]["why"] == "no answer"
    assert "services half done" not in run.figures.as_json() and "latency half done" in run.figures.as_json()


def test_the_time_left_follows_the_pace_so_far() -> None:
    plan = Plan(chosen(10_000, quick=True, only=(), profile=False), quick=True)
    whole = sum(part.minutes[1] or 0 for part in plan.parts)
    assert f"about {whole:.0f} min left" in plan.said(plan.parts[0])
    first = plan.parts[0]
    slow = Plan(
        plan.parts, quick=True, _began=time.monotonic() - 600 * (first.minutes[1] or 0)
    )  # ten times what was said
    slow.finish(first)
    assert f"about {(whole - (first.minutes[1] or 0)) * 10:.0f} min left" in slow.said(plan.parts[1])


def test_what_was_not_measured_neither_holds_nor_fails() -> None:
    assert Goal("x", None, 1).holds is None
    assert Goal("x", 1, 1).holds is True
    assert Goal("x", 0.9, 1).holds is False
    assert Goal("x", 0.9, 1, at_least=False).holds is True


def test_beside_what_does_not_hold_stands_what_the_machine_does_where_less_is_asked() -> None:
    asked = Goal("learning facts, one process, facts/s", 15_000, 50_000).as_json()
    held = Goal("rebuild of referral, records/s", 90_000, 80_000).as_json()
    bare = {"limit, consume, decode and upsert": {"median": 40_000.0}}
    *_, row = beside([asked, held], bare)
    assert (
        row == "| learning facts, one process, facts/s | 50,000 | limit, consume, decode and upsert | 40,000 | 1.25 |"
    )
    assert beside([held], bare) == []
    assert {figure for _, figure in BESIDE} <= {*TWINS.values(), "limit, consume, decode and upsert"}
    assert {goal for goal, _ in BESIDE} <= {goal.name for goal in goals(Figures())}


def test_commits_that_waited_for_the_disk_are_read_off_postgres_log(tmp_path: Path) -> None:
    log, line = tmp_path / "log", "2026-01-01 10:00:00.000 UTC [11] LOG:  duration: {} ms  statement: {};\n"
    log.write_text(line.format("99.5", "COMMIT"))
    mark = log.stat().st_size
    with log.open("a") as file:
        file.write(line.format("31.25", "COMMIT") + line.format("45.0", "BEGIN") + line.format("300.0", "COMMIT"))
    assert slow_commits(log, mark) == [31.25, 300.0]


def test_measured_reports_correct_known_meetings_so_that_a_state_keeps_its_size() -> None:
    people = People(cases=QUIET + 3, meetings=2)
    bodies = [json.loads(record.value) for record in Reports(people).take(12)]
    visits = [(body["participation_id"], body["meeting_id"], body["revision"]) for body in bodies]
    assert len(set(visits)) == 12, "no visit twice: the second would be refused or unchanged"
    assert {revision for *_, revision in visits} == {2, 3}, "the facts are revision 1"
    known = [json.loads(record.value) for record in people.facts() if record.topic == "attendance.events"]
    assert {visit[:2] for visit in visits} <= {(body["participation_id"], body["meeting_id"]) for body in known}


def test_copied_facts_are_byte_for_byte_what_the_contracts_would_write() -> None:
    people = People(cases=9, alliances=2, meetings=3)
    found: dict[bytes, list[Record]] = {}
    for record in people.facts():
        found.setdefault(record.key, []).append(record)
    for case in range(people.cases):
        written = found[people.id("case", case).encode()]
        said = datetime.fromisoformat(dict(written[0].headers)["ce_time"].decode())
        assert written == people.facts_of(case, said)
    assert len({dict(record.headers)["ce_id"] for records in found.values() for record in records}) == 2 + 9 * 8
