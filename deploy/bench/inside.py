"""Where the time goes: statements of a transaction and their mean time in Postgres, functions of the service's process."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from deploy.bench import meters
from deploy.bench.figures import Figures
from deploy.bench.house import House, Worker
from deploy.bench.rounds import Run, full_way
from deploy.errors import UNREACHABLE, Trouble

RATE = 100  # samples a second: more would slow down what is looked at
FUNCTIONS = 40
COUNTED = """
select regexp_replace(query, '\\s+', ' ', 'g') as query, calls, total_exec_time as ms, rows from pg_stat_statements s
join pg_roles r on r.oid = s.userid where r.rolname = 'referral_runtime'
and s.dbid = (select oid from pg_database where datname = current_database()) order by total_exec_time desc limit 25
"""


async def statements(house: House, run: Run) -> None:
    """Statements of the longest transaction, where 20 reports were there and where thousands were; then what each statement
    of the full way costs Postgres, two processes at work."""
    figures = run.figures
    for count in (20, 5_000):

        async def load(count: int = count) -> None:
            found, before = house.reports.take(count), await meters.answered(house)
            async with house.frozen("referral"):
                await house.write(found)
            await meters.until(meters.answered, house, before + count)

        async def warm() -> None:
            await house.employ("referral", 0)
            await house.employ("referral", 1)
            for _ in range(3):
                await load(5_000)  # a pool's connections, each with reports that raise and withdraw risks

        longest = max(await logged(house, warm, load), key=len)
        name = f"statements of a transaction, {count:,} reports"
        figures.add(name, len(longest), "statements")
        figures.note(name, [statement[:100] for statement in longest])
    await house.employ("referral", 2)
    await full_way(house, run.count, Figures(), "warm")
    await house.database.execute("select pg_stat_statements_reset()")
    await full_way(house, run.count, Figures(), "counted")
    figures.show("Postgres: time of each statement, two processes", [
        {"statement": row["query"][:70], "calls": row["calls"], "mean ms": row["ms"] / row["calls"],
         "µs a report": row["ms"] / run.count * 1e3, "rows a call": row["rows"] / row["calls"]}
        for row in await house.database.fetch(COUNTED)
    ])  # fmt: skip


async def logged(
    house: House, warm: Callable[[], Awaitable[None]], run: Callable[[], Awaitable[None]]
) -> list[list[str]]:
    """The statements of each transaction that moved a position while `run` ran, BEGIN and COMMIT left out, in Postgres' own
    log. `warm` starts a worker, since only connections made from now on are logged, and lets it use each of its statements
    once: a connection's first ones ask Postgres for the types, and no later one does."""
    log, role = house.stack.processes["postgres"].log, "referral_runtime"
    await house.database.execute(
        f"alter role {role} set log_statement = 'all'; alter role {role} set log_parameter_max_length = 0"
    )
    try:
        await warm()
        mark = log.stat().st_size
        await run()
    finally:
        await house.database.execute(f"alter role {role} reset log_statement")
    with log.open("rb") as file:
        file.seek(mark)
        return statements_of(file.read().decode("utf-8", "replace").splitlines())


_SAID = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]+): *(.*)")


def statements_of(lines: Iterable[str]) -> list[list[str]]:
    """From Postgres' log to the statements of each committed transaction that moved a position."""
    open_: dict[str, list[str]] = {}
    found = []
    for line in lines:
        if (said := _SAID.search(line)) is None:
            continue
        pid, text = said[1], said[2].strip().lower()
        if text.startswith("begin"):
            open_[pid] = []
        elif text.startswith(("commit", "rollback")):
            took = open_.pop(pid, [])
            if text.startswith("commit") and any("update position" in statement for statement in took):
                found.append(took)
        elif pid in open_:
            open_[pid].append(text)
    return found


async def profile(house: House, run: Run) -> None:
    """Functions of one of two processes at work, by samples of py-spy. Raises Trouble where it is not there."""
    await house.employ("referral", 2)
    await full_way(house, run.count, Figures(), "warm")
    async with _looking(house, house.workers["referral"][0]) as seen:
        for _ in range(2):
            await full_way(house, run.count, Figures(), "looked at")
    run.figures.show("Profile of one of two processes, % of its samples", seen)


async def profile_learning(house: House, run: Run) -> None:
    """Functions of reporting while it learns what there is, and of a rebuild of referral, by samples of py-spy."""
    await house.forget()
    await house.employ("reporting", 1)
    async with _looking(house, house.workers["reporting"][0]) as seen:
        total = await meters.facts(house, "intake", "referral")
        await meters.until(lambda house: meters.learnt(house, "reporting"), house, total)
    await house.employ("reporting", 0)
    run.figures.show("Profile of reporting while it learns, % of its samples", seen)
    file = _raw(house, "rebuild")
    await asyncio.to_thread(house.rebuild, "referral", (*_py_spy(file), "--"))
    run.figures.show("Profile of a rebuild of referral, % of its samples", _seen(file, "it ran"))


@contextlib.asynccontextmanager
async def _looking(house: House, worker: Worker) -> AsyncIterator[list[dict[str, Any]]]:
    """Looks at a process meanwhile; what was seen stands in the list afterwards."""
    file, seen = _raw(house, worker.name), list[dict[str, Any]]()
    looking = await asyncio.create_subprocess_exec(
        *_py_spy(file), "--pid", str(worker.measured.pid), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield seen
    finally:
        if looking.returncode is None:
            looking.send_signal(signal.SIGINT)
        told, _ = await looking.communicate()
    seen += _seen(file, told.decode())


def _raw(house: House, name: str) -> Path:
    return house.stack.folder / "bench" / f"{name}.raw"


def _py_spy(file: Path) -> tuple[str, ...]:
    """Its command, all but at what it looks. Raises Trouble where it is not there."""
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if spy is None:
        raise Trouble("py-spy is not installed", "./lotse sets it up from requirements.lock", UNREACHABLE)
    # --gil: threads that wait are samples, too, otherwise
    return spy, *f"record -f raw --function --gil --rate {RATE} --duration 600 --output".split(), str(file)


def _seen(file: Path, told: str) -> list[dict[str, Any]]:
    """What py-spy wrote. Raises Trouble with what it told where it wrote nothing."""
    if not file.exists():
        raise Trouble(f"py-spy wrote nothing: {told[-300:]}", "run it as root, or allow ptrace", UNREACHABLE)
    return functions(file.read_text().splitlines())


def functions(stacks: Iterable[str]) -> list[dict[str, Any]]:
    """From py-spy's raw stacks (`frame;frame count`) to functions: % of samples in itself, and in what it calls, too."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        names = [_short(frame) for frame in frames.split(";")]
        own[names[-1]] += int(count)
        for name in set(names):
            whole[name] += int(count)
    total = max(1, own.total())
    return [{"function": name, "itself %": count / total * 100, "with what it calls %": whole[name] / total * 100}
            for name, count in own.most_common(FUNCTIONS)]  # fmt: skip


def _short(frame: str) -> str:
    """`name (folder/file.py)`: the last two places are enough to find it."""
    name, _, where = frame.partition(" (")
    return f"{name} ({'/'.join(where.rstrip(')').split('/')[-2:])})" if where else name
