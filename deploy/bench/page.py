"""docs/performance.md and its plots, from the JSON of a run: `python -m deploy.bench.page FILE.json docs/performance.md`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from deploy.bench import plots
from deploy.bench.figures import costs, place, said, shares

INTRODUCTION = """# Performance

*Written by `lotse bench` from the figures of its runs; nothing here is typed by hand. What counts are the ratios: what is
compared stands side by side in one run on one machine, whose cores also carry Kafka, Postgres and the load.*

    ./lotse bench --quick                                                          # some minutes
    ./lotse bench --json docs/performance.json --page docs/performance.md          # everything: an hour or more
    ./lotse bench --only publishers --json docs/performance.json --page docs/performance.md # again; the others stay
    ./lotse bench --list                                                           # the parts

**The full way**: attendance reports stand on their publishers' topics (54 alliances, 6 publishers, real bodies and headers,
uncompressed, each with its own trace); referral judges them, records facts, reacts, answers, projects; facts and answers stand
on their topics. Measured from the moment a tenth of the answers stand on their topics to the moment three quarters do (as much is in
hand then; to the last one, four processes seemed to do more than two cores can); the run fails where a fact or an answer of all
is missing or too many. **The loop**: the same with the relay's lock taken away, by positions. **The relay**:
what the loop left, until it stands on its topics.
Every measured report corrects a meeting that is known, so that a state keeps its size; 6 % are unexcused absences, which
raise and withdraw risks. Processes are frozen while a load is written, so that they begin with all of it there and every
partition assigned; of two the second is new in each repetition. A checkpoint stands before each load, Lotse's and others'.
Repetitions are interleaved, those of houses that differ in one thing, too, whose stacks run side by side; Lotse's processes stay, idle, while what it is held against reads the same topics
(`tests/performance/`):

- **limits**: the parts of the full way, bare, each alone.
- **the usual service**: FastStream as its documentation shows it, one process, each message acknowledged by itself; it
  answers nothing, checks nobody, and relays nothing. For latency it publishes what it stored, without an outbox.
- **the compiled twin**: Java, kafka-clients and JDBC; the same tables, statements, checks, facts, answers and relay as
  referral's for attendance reports, two threads in one process, or one, warm. It leaves out what `Twin.java` says at its head:
  above all what waits, halves, ticks, HTTP and metrics.
- **relay, row by row**: the oldest row locked, sent, acknowledged, deleted.
- **Kafka Connect**: Debezium's JDBC sink fills one table by upsert; no rules, no numbers, at least once.

Latencies count from the moment at which a submission was to be sent, so that a sender that is held up hides nothing; those of
answers while nobody asks by HTTP, which is asked 250 times a second where risks are looked for. On its way an answer has two
more moments: its states are locked, and it stands in Kafka's log. At 500/s Kafka and Postgres work for notification, too.
Postgres has the segments of its log that one has which has run for some days: a new one makes each while a COMMIT waits.
Postgres counts statements (`pg_stat_statements`) in every run; what is profiled by py-spy, of threads that hold Python's lock,
is not measured otherwise.
"""


def write_page(run: dict[str, Any], page: Path) -> None:
    """The page, and the plots in a folder beside it."""
    drawn = list(plots.drawn(run, page.with_suffix("")))
    page.write_text(written(run, [(title, f"{page.stem}/{file.name}") for title, file in drawn]))


def written(run: dict[str, Any], drawn: Iterable[tuple[str, str]] = ()) -> str:
    """The page's text; `drawn` are titles and places of plots."""
    figures: dict[str, dict[str, Any]] = run["figures"]
    rates = {name: one for name, one in figures.items() if ": " not in name}
    head = ("figure", "median", "least", "most", "n", "unit")
    parts = [
        INTRODUCTION,
        "## Goals\n",
        *_table(("goal", "value", "asked", "holds"), (
            (goal["name"], "not measured" if goal["value"] is None else said(goal["value"]),
             ("≥ " if goal["at_least"] else "≤ ") + said(goal["goal"]), {True: "yes", False: "no", None: ""}[goal["holds"]])
            for goal in run["goals"])),
        *(f"\nNot measured: {one['part']}: {one['why']}" for one in run.get("failed", ())),
        *beside(run["goals"], figures),
        "\n## Figures\n",
        *_table(head, (_row(name, one) for name, one in rates.items() if not name.startswith("growth, "))),
        *(f"\n{name}: {'; '.join(one['said'])}" for name, one in run["notes"].items() if "statements" not in name),
        *_costs("µs of CPU each, by process (itself: the service's processes together, or what is compared)", figures, "CPU "),
        *_costs("Bytes each", figures, "bytes "),
        "\n## How cost grows\n",
        *(f"![{title}]({place})\n" for title, place in drawn),
        *grown(run["points"], figures),
    ]  # fmt: skip
    for title, view in run["views"].items():
        rows = ([said(v) if isinstance(v, float) else f"`{v}`" if isinstance(v, str) else f"{v:,}" for v in row.values()]
                for row in view["said"])  # fmt: skip
        parts += [f"\n## {title}\n", *_table(tuple(view["said"][0]), (tuple(row) for row in rows))]
    parts += [
        "\n## The statements of the longest transaction\n",
        *(f"{name}: `{'`, `'.join(one['said'])}`\n" for name, one in run["notes"].items() if "statements" in name),
        "## Machine\n",
        *(f"- {name}: {value}" for name, value in run["machine"].items()),
        "\n## What ran when\n",
        *_table(("part", "at", "seconds", "load before", "cores idle", "waiting for the disk", "taken by other machines", "commit", "cases", "reports", ""), (
            (name, one["at"], f"{one['seconds']:,}", f"{one['load_before']:.1f}", *(f"{one[kind]:.1%}" for kind in ("idle", "iowait", "steal")), one["commit"], f"{one['cases']:,}",
             f"{one['reports']:,}", "quick" if one["quick"] else "") for name, one in run["parts"].items())),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


BESIDE = (
    ("full way, two processes, floor, submissions/s", "compiled twin, two threads"),
    ("full way, two processes, submissions/s", "compiled twin, two threads"),
    ("loop without relay, one process, floor, submissions/s", "compiled twin, one thread"),
    ("learning facts, one process, facts/s", "limit, consume, decode and upsert"),
    ("rebuild of referral, records/s", "limit, consume, decode and upsert"),
)
"""Goal, and the figure that says most about why it does not hold: of a program that does as much, or of one that does less."""


def beside(goals: list[dict[str, Any]], figures: dict[str, dict[str, Any]]) -> list[str]:
    """What this machine does where less is asked of it."""
    missed = {goal["name"]: goal for goal in goals if goal["holds"] is False}
    rows = [(name, said(missed[name]["goal"]), figure, said(one["median"]), said(missed[name]["goal"] / one["median"]))
            for name, figure in BESIDE if name in missed and (one := figures.get(figure))]  # fmt: skip
    head = ("what does not hold", "asked", "beside it", "which reached", "asked : reached")
    return ["\n## What stands beside goals that do not hold\n", *_table(head, iter(rows))] if rows else []


def grown(points: list[dict[str, Any]], figures: dict[str, dict[str, Any]]) -> list[str]:
    """Each place of an axis, and the share of its base's rate that is left there."""
    head = ("axis", "at", "submissions/s", "its base at", "submissions/s, in turns", "share", "least", "most", "n")
    rows = ((point["axis"], *(said_ for at in ("at", "base_at")
                              for said_ in (f"{point[at]:,}", said(figures[place(point["axis"], point[at])]["median"]))),
             *(f"{of(found):.2f}" for of in (median, min, max)), str(len(found)))
            for point in points for found in [shares(figures, point)])  # fmt: skip
    return _table(head, rows) if points else ["Not measured."]


def _costs(title: str, figures: dict[str, Any], kind: str) -> list[str]:
    rows, columns = costs(figures, kind)
    return [
        f"\n## {title}\n",
        *_table(
            ("of", *columns), ((about, *(row.get(column, "") for column in columns)) for about, row in rows.items())
        ),
    ]


def _row(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    return name, said(one["median"]), said(one["least"]), said(one["most"]), str(len(one["values"])), one["unit"]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)]


if __name__ == "__main__":
    write_page(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
