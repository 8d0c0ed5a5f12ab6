"""docs/performance.md, from the JSON of a run: `python -m deploy.bench.page FILE.json > docs/performance.md`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.bench.figures import said

INTRODUCTION = """# Performance

*Written by `lotse bench` from one run; nothing here is typed by hand. What counts are the ratios: everything stands side by
side in one run on one machine, whose cores also carry Kafka, Postgres and the load.*

    ./lotse bench --quick                                             # some minutes
    ./lotse bench --json bench.json --page docs/performance.md        # with growth: an hour or two

**The full way**: attendance reports stand on their publishers' topics (54 alliances, 6 publishers, real bodies and headers,
uncompressed, each with its own trace); referral judges them, records facts, reacts, answers, projects; facts and answers stand
on their topics. Measured from the moment a tenth is through to the moment the last answer stands on its topic, over a fixed
number; the run fails where a fact or an answer is missing or too many. **The loop**: the same with the relay's lock taken
away, until the last position has moved. **The relay**: what the loop left, until it stands on its topics.
Every measured report corrects a meeting that is known, so that a state keeps its size; 6 % are unexcused absences, which
raise and withdraw risks. Processes are frozen while a load is written, so that they begin with all of it there, every
partition assigned, nothing cold. Repetitions are interleaved; the usual services and the bare limits read the same topics
(`tests/performance/`).
"""


def written(run: dict[str, Any]) -> str:
    """The page."""
    figures: dict[str, dict[str, Any]] = run["figures"]
    rates = {name: one for name, one in figures.items() if ": " not in name}
    costs: dict[str, dict[str, str]] = {}
    for name, one in figures.items():
        about, _, cost = name.partition(": ")
        if cost:
            costs.setdefault(about, {})[cost] = said(one["median"])
    columns = list(dict.fromkeys(cost for row in costs.values() for cost in row))
    growth = [row for name, one in rates.items() if name.startswith("growth, ") for row in [_row(name, one)]]
    parts = [
        INTRODUCTION,
        "## Goals\n",
        *_table(("goal", "value", "asked", "holds"), (
            (goal["name"], "not measured" if goal["value"] is None else said(goal["value"]),
             ("≥ " if goal["at_least"] else "≤ ") + said(goal["goal"]), {True: "yes", False: "no", None: ""}[goal["holds"]])
            for goal in run["goals"])),
        "\n## Figures\n",
        *_table(("figure", "median", "least", "most", "n", "unit"),
                (_row(name, one) for name, one in rates.items() if not name.startswith("growth, "))),
        "\n## What one cost: µs of CPU by process, bytes\n",
        *_table(("of", *columns), ((about, *(row.get(column, "") for column in columns)) for about, row in costs.items())),
        "\n## How cost grows\n",
        *(_table(("figure", "median", "least", "most", "n", "unit"), growth) if growth else ["Not in a quick run."]),
        "\n## The statements of the longest transaction\n",
        *(f"{name}: `{'`, `'.join(found)}`\n" for name, found in run["notes"].items()),
        "## Machine\n",
        *(f"- {name}: {value}" for name, value in run["machine"].items()),
        f"- load average: {run['load'][0]:.1f} before, {run['load'][1]:.1f} after",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _row(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    return name, said(one["median"]), said(one["least"]), said(one["most"]), str(len(one["values"])), one["unit"]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)]


if __name__ == "__main__":
    print(written(json.loads(Path(sys.argv[1]).read_text())), end="")
