"""What is measured in which order. Repetitions are interleaved: what disturbs the machine disturbs all of them alike."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.bench import connect, meters, yardsticks
from deploy.bench.figures import Figures
from deploy.bench.house import House
from deploy.errors import FINDINGS, UNREACHABLE, Trouble

BACKLOG = 500_000
"""Reports whose fact and answer are a million records for the relay."""
REGISTRATIONS = 0.25
"""Of the reports of a repetition: so many are sent to intake."""
WORKERS = 2
"""Processes of referral, where it is not processes that grow."""
AT_ONCE = 50_000
"""Reports made at a time, where there are many: they take memory."""


@dataclass
class Run:
    """One run of the benchmark, as its parts see it."""

    figures: Figures
    quick: bool
    count: int
    """Reports of a repetition."""
    repetitions: int
    say: Callable[[str], None]
    beside: tuple[House, ...] = ()
    """Other houses, measured in turns with the present one."""


def processes(count: int) -> str:
    """`1 process`, `2 processes`."""
    return f"{count} process" if count == 1 else f"{count} processes"


async def full_way(house: House, count: int, figures: Figures, name: str) -> None:
    """From attendance reports on their topics to their facts and answers on theirs. Raises Trouble where a fact or an answer
    is missing or too many: figures of a wrong run are no figures."""
    load = house.reports.take(count)
    await house.database.execute("checkpoint")
    answers, facts = await meters.answered(house), await meters.facts(house, "attendance")
    sizes = await meters.sizes(house)
    async with house.frozen("referral"):
        await house.write(load)
        before = meters.cpu(house)
    steps: list[tuple[float, int]] = []
    await meters.until(meters.answered, house, answers + count, steps)
    used, after = meters.cpu(house), await meters.sizes(house)
    figures.add(name, meters.rate(steps, answers), "submissions/s")
    cpu_each(figures, name, before, used, count)
    figures.add(f"{name}: CPU all", sum(used[p] - before[p] for p in used) / count * 1e6, "µs a submission")
    for what, size in after.items():
        if what != "submissions":
            figures.add(f"{name}: bytes {what}", (size - sizes[what]) / count, "bytes a submission")
    recorded = await meters.facts(house, "attendance") - facts
    if recorded != count or await meters.answered(house) - answers != count:
        raise Trouble(
            f"{count} reports, {recorded} facts", "look into the answers; these figures are worth nothing", FINDINGS
        )


def cpu_each(figures: Figures, name: str, before: dict[str, float], used: dict[str, float], count: int) -> None:
    """Adds what each of `count` cost, by process."""
    for process, seconds in used.items():
        whose = process if process in ("kafka", "postgres") else "itself"
        figures.add(f"{name}: CPU {whose}", (seconds - before[process]) / count * 1e6, "µs each")


async def loop_then_relay(house: House, count: int, figures: Figures, workers: int) -> None:
    """The loop alone, until all reports are applied; then the relay alone, until all they led to stands on its topic."""
    load = house.reports.take(count)
    await house.database.execute("checkpoint")
    answers, read = await meters.answered(house), await meters.read(house)
    async with house.without_relay():
        async with house.frozen("referral"):
            await house.write(load)
            before = meters.cpu(house)
        steps: list[tuple[float, int]] = []
        await meters.until(meters.read, house, read + count, steps)
        figures.add(f"loop, {processes(workers)}", meters.rate(steps, read), "submissions/s")
        cpu_each(figures, f"loop, {processes(workers)}", before, meters.cpu(house), count)
        sent, before = await meters.sent(house), meters.cpu(house)
    await _drained(house, figures if workers == 1 else Figures(), "relay alone", sent, answers + count, before)


async def _drained(
    house: House, figures: Figures, name: str, sent: int, answers: int, before: dict[str, float]
) -> None:
    """The relay has its lock back: from the first record on its topic to the last."""
    await meters.until(meters.sent, house, sent + 1, steps := [])
    await meters.until(meters.answered, house, answers)
    used, last = meters.cpu(house), await meters.sent(house)
    steps.append((time.monotonic(), last))
    figures.add(name, meters.rate(steps[-2:], sent), "records/s")
    cpu_each(figures, name, before, used, last - sent)


async def backlog(house: House, run: Run) -> None:
    """The relay alone, with hundreds of thousands of records to send."""
    await house.employ("referral", WORKERS)
    answers, read = await meters.answered(house), await meters.read(house)
    count = BACKLOG if run.count * 10 > BACKLOG else run.count * 10
    async with house.without_relay():
        for at in range(0, count, AT_ONCE):
            await house.write(house.reports.take(min(AT_ONCE, count - at)))
        await meters.until(meters.read, house, read + count)
        sent, before = await meters.sent(house), meters.cpu(house)
    name = f"relay alone, {round(count * 2, -3):,} records waiting"
    await _drained(house, run.figures, name, sent, answers + count, before)


async def learning(house: House, run: Run) -> None:
    """reporting learns what the topics hold of cases and participations, from nothing, with one process and with two."""
    figures = run.figures
    total = await meters.facts(house, "intake", "referral")
    for _ in range(min(run.repetitions, 3)):
        for workers in (1, 2):
            name = f"learning facts, {processes(workers)} of reporting"
            await house.forget()
            async with house.held_back("reporting"):
                await house.employ("reporting", workers)
                before = meters.cpu(house, ("reporting",))
            steps: list[tuple[float, int]] = []
            await meters.until(lambda house: meters.learnt(house, "reporting"), house, total, steps)
            figures.add(name, meters.rate(steps, 0), "facts/s")
            cpu_each(figures, name, before, meters.cpu(house, ("reporting",)), total)
            figures.add("memory under load, reporting", meters.peak(house, "reporting"), "MB")
            await house.employ("reporting", 0)


async def sink(house: House, run: Run) -> None:
    """A table is filled by Kafka Connect."""
    try:
        found = await connect.measure(house)
    except Trouble as trouble:
        if trouble.exit_code != UNREACHABLE:
            raise
        run.figures.note("Kafka Connect, JDBC sink", [f"NOT RUN: {trouble}"])
        run.say(f"  Kafka Connect's JDBC sink: NOT RUN: {trouble}")
    else:
        yardsticks.add(run.figures, "Kafka Connect, JDBC sink", found)


async def rebuilds(house: House, run: Run) -> None:
    """Services learn everything anew, from topics alone, beside an empty database. (What notification rests on does not stand
    there: `services` rebuilds it.)"""
    for name in ("intake", "referral", "reporting"):
        await _rebuilt(house, run, name)


async def _learnt(house: House, name: str, *families: str) -> None:
    total = await meters.facts(house, *families)
    await house.employ(name, 1)
    await meters.until(lambda house: meters.learnt(house, name), house, total)


async def _rebuilt(house: House, run: Run, name: str) -> None:
    before = meters.cpu(house, ())
    records, seconds, spent = await asyncio.to_thread(house.rebuild, name)
    if records:  # by itself a part may find none: no rate, and not one of 0
        run.figures.add(f"rebuild of {name}", records / max(seconds, 1e-3), "records/s")
        used = meters.cpu(house, ())
        cpu_each(run.figures, f"rebuild of {name}", {name: 0.0} | before, {name: spent} | used, records)
    run.figures.note(f"rebuild of {name}", [f"{records:,} records"])


async def services(house: House, run: Run) -> None:
    """Each service by itself: how long it takes to start, its memory at rest; notification learns anew the risks that the loads
    before raised and withdrew; registrations through intake."""
    figures, count = run.figures, round(run.count * REGISTRATIONS)
    await asyncio.to_thread(house.rebuild, "intake")  # its own facts are on the topics before it ever ran
    for name in ("notification", "reporting", "intake"):
        if name == "reporting":  # it has learnt what there is when it is at rest
            await _learnt(house, name, "intake", "referral")
            await house.employ(name, 0)
        await house.employ(name, 1)
        figures.add(f"start to ready, {name}", house.workers[name][0].seconds_to_ready, "s")
        await house.tick()
        figures.add(f"memory at rest, {name}", meters.memory(house)[name], "MB")
        if name == "notification":
            await _learnt(house, name, "dropout")
        if name != "intake":
            await house.employ(name, 0)
    await _rebuilt(house, run, "notification")
    async with house.frozen("intake"):
        before = await meters.answered(house, "intake")
        await house.write(house.reports.registrations(count))
        used = meters.cpu(house, ("intake",))
    steps: list[tuple[float, int]] = []
    await meters.until(lambda house: meters.answered(house, "intake"), house, before + count, steps)
    name = "registrations, full way, 1 process of intake"
    figures.add(name, meters.rate(steps, before), "submissions/s")
    cpu_each(figures, name, used, meters.cpu(house, ("intake",)), count)
    figures.add("memory under load, intake", meters.peak(house, "intake"), "MB")
    await house.employ("intake", 0)


async def base(house: House, run: Run) -> None:
    """The full way, the loop alone and the relay alone, with one and with two processes, beside what they are held against."""
    for repetition in range(run.repetitions):
        started = time.monotonic()
        for workers in (1, 2):
            await house.employ("referral", workers)
            await full_way(house, run.count, run.figures, f"full way, {processes(workers)}")
            await loop_then_relay(house, run.count, run.figures, workers)
        await yardsticks.measure(house, run.figures, most=run.count, quick=run.quick, say=run.say)
        run.say(f"  repetition {repetition + 1} of {run.repetitions}: {time.monotonic() - started:.0f} s")
    run.figures.add("memory under load, referral", meters.peak(house, "referral"), "MB")


async def settled(house: House, run: Run) -> None:
    """Referral has learnt who is there, one process of it is at work and warm; from now on there are reports."""
    figures = run.figures
    records, seconds, _ = await asyncio.to_thread(house.rebuild, "referral")
    await house.employ("referral", 1)
    await house.tick()
    if "start to ready, referral" not in figures.values:
        figures.add("start to ready, referral", house.workers["referral"][0].seconds_to_ready, "s")
        figures.add("memory at rest, referral", meters.memory(house)["referral"], "MB")
    warm = await meters.answered(house) + run.count // 4
    await house.write(house.reports.take(run.count // 4))
    await meters.until(meters.answered, house, warm)
    run.say(f"  referral learnt {records:,} records in {seconds:.0f} s")


async def growth(run: Run, turns: list[tuple[str, House, int]]) -> None:
    """The full way of houses that differ in one thing, in turns (figure, house, processes of referral): within an hour a machine
    gets a fifth slower or faster (one house did 10,251/s, and 8,323 at the end of the same run). First loads are not measured:
    the first record of each partition costs Kafka ten times what the second does, and houses differ in partitions. A load grows
    with processes: what four have in hand at once was a fifth of it, and one repetition did more than two cores can."""

    def count(workers: int) -> int:
        return run.count * max(workers, WORKERS) // WORKERS

    for name, house, workers in turns:
        await house.employ("referral", workers)
        await full_way(house, count(workers), Figures(), name)
    for _ in range(run.repetitions):
        for name, house, workers in turns:
            await full_way(house, count(workers), run.figures, name)
    for name, house, _workers in turns:
        run.figures.add(f"{name}: memory MB", meters.peak(house, "referral"), "MB")
