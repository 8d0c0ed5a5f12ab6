"""What Lotse is held against, in the same run on the same topics: the bare limits, and services as they are usually written.

They live in tests/performance, as programs of their own: nothing of Lotse's runtime is in them.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from aiokafka.admin import NewTopic

from contracts.topics import facts_topic, submissions_topic
from deploy.bench import meters, twin
from deploy.bench.figures import Figures
from deploy.bench.house import PATIENCE, House
from deploy.errors import UNREACHABLE, Trouble
from deploy.local.processes import child_environment
from deploy.places import ROOT

SCRATCH = "bench.scratch"
ROWS_AT_ONCE = 40_000
ONE_BY_ONE = 1_500
"""Rows the relay that sends one at a time is given."""
TWINS = {2: "compiled twin, two threads", 1: "compiled twin, one thread"}
"""By their threads, beside the relay's."""
USUAL = {"single": ("usual service, a message", 2_000), "batch": ("usual service, list[Model]", 20_000)}
"""How they are called, and how many messages they are given: a whole load would take the slow one minutes."""


async def measure(house: House, figures: Figures, *, most: int, quick: bool, say: Callable[[str], None]) -> None:
    """One repetition of all of them, over at most so many of the reports that stand on the topics; the twin with one thread only in
    a long run. What needs Java and cannot have it is said to be not run, and is a note of the run."""
    topics = [submissions_topic("attendance", p.name) for p in house.people.entries()[1:]]
    await house.admin.create_topics([NewTopic(SCRATCH, 4, 1, topic_configs={"compression.type": "lz4"})])
    await house.database.execute("checkpoint")  # as before each of Lotse's loads
    said = await _run("limits", house.stack.kafka, house.database_dsn, min(most, ROWS_AT_ONCE), SCRATCH, *topics)
    for name, one in said.items():
        add(figures, f"limit, {name}", one)
    await house.database.execute("checkpoint")
    found = await _run(
        "row_by_row", house.stack.kafka, house.database_dsn, min(most, ONE_BY_ONE), SCRATCH, facts_topic("attendance")
    )
    add(figures, "relay, row by row", found)
    await house.admin.delete_topics([SCRATCH])
    for kind, (name, count) in USUAL.items():
        await house.database.execute("checkpoint")
        before, count = meters.cpu(house, ()), min(most, count)
        found = await _run("usual_service", kind, house.stack.kafka, house.database_dsn, count, *topics)
        add(figures, name, found)
        _around(house, figures, name, before, count)
    await house.database.execute("drop table if exists usual_attendance, usual_outbox")
    try:
        for threads, name in [*TWINS.items()][: 1 if quick else None]:
            await house.database.execute("checkpoint")
            before = meters.cpu(house, ())
            found = await twin.measure(house, threads, warm=most, count=most)
            add(figures, name, found)
            _around(house, figures, name, before, round(found["answers"]))
    except Trouble as trouble:
        if trouble.exit_code != UNREACHABLE:
            raise
        figures.note("the compiled twin", [f"NOT RUN: {trouble}"])
        say(f"  the compiled twin: NOT RUN: {trouble}")


def add(figures: Figures, name: str, one: dict[str, float]) -> None:
    """Rate and CPU of a yardstick."""
    figures.add(name, one["rate"], "a second")
    figures.add(f"{name}: CPU itself", one["cpu"], "µs each")


def _around(house: House, figures: Figures, name: str, before: dict[str, float], count: int) -> None:
    """What Kafka and Postgres spent meanwhile, the start and what was made ready for it included."""
    for process, seconds in meters.cpu(house, ()).items():
        figures.add(f"{name}: CPU {process}", (seconds - before[process]) / count * 1e6, "µs each")


async def begin(name: str, *arguments: object) -> asyncio.subprocess.Process:
    """Starts a yardstick of tests/performance."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.performance.{name}", *map(str, arguments), cwd=ROOT,
        env=child_environment(PYTHONPATH=str(ROOT)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _run(name: str, *arguments: object) -> dict[str, Any]:
    running = await begin(name, *arguments)
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await running.communicate()
    except BaseException:
        running.kill()
        raise
    if running.returncode:
        raise Trouble(
            f"tests/performance/{name}.py ended with {running.returncode}:\n{err.decode()[-600:]}", "run it by itself"
        )
    found: dict[str, Any] = json.loads(out)
    return found
