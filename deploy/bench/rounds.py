"""What is measured in which order. Repetitions are interleaved: what disturbs the machine disturbs all of them alike."""

import asyncio
import time
from collections.abc import Callable

from deploy.bench import latency, meters, yardsticks
from deploy.bench.figures import Figures
from deploy.bench.house import House
from deploy.bench.people import People, Reports
from deploy.errors import FINDINGS, Trouble


def processes(count: int) -> str:
    """`1 process`, `2 processes`."""
    return f"{count} process" if count == 1 else f"{count} processes"


async def full_way(house: House, reports: Reports, count: int, figures: Figures, name: str) -> None:
    """From attendance reports on their topics to their facts and answers on theirs. Raises Trouble where a fact or an answer
    is missing or too many: figures of a wrong run are no figures."""
    load = reports.take(count)
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
    for process, seconds in used.items():
        figures.add(f"{name}: CPU {process}", (seconds - before[process]) / count * 1e6, "µs a submission")
    figures.add(f"{name}: CPU all", sum(used[p] - before[p] for p in used) / count * 1e6, "µs a submission")
    for what, size in after.items():
        if what != "submissions":
            figures.add(f"{name}: bytes {what}", (size - sizes[what]) / count, "bytes a submission")
    recorded = await meters.facts(house, "attendance") - facts
    if recorded != count or await meters.answered(house) - answers != count:
        raise Trouble(
            f"{count} reports, {recorded} facts", "look into the answers; these figures are worth nothing", FINDINGS
        )


async def loop_then_relay(house: House, reports: Reports, count: int, figures: Figures, workers: int) -> None:
    """The loop alone, until all reports are applied; then the relay alone, until all they led to stands on its topic."""
    load = reports.take(count)
    await house.database.execute("checkpoint")
    answers, read = await meters.answered(house), await meters.read(house)
    async with house.without_relay():
        async with house.frozen("referral"):
            await house.write(load)
            before = meters.cpu(house)
        steps: list[tuple[float, int]] = []
        await meters.until(meters.read, house, read + count, steps)
        used = meters.cpu(house)
        figures.add(f"loop, {processes(workers)}", meters.rate(steps, read), "submissions/s")
        for process, seconds in used.items():
            figures.add(
                f"loop, {processes(workers)}: CPU {process}",
                (seconds - before[process]) / count * 1e6,
                "µs a submission",
            )
        sent, before = await meters.sent(house), meters.cpu(house)
    await meters.until(meters.sent, house, sent + 1, steps := [])
    await meters.until(meters.answered, house, answers + count)
    used, last = meters.cpu(house), await meters.sent(house)
    steps.append((time.monotonic(), last))
    if workers == 1:
        figures.add("relay alone", meters.rate(steps[-2:], sent), "records/s")
        for process, seconds in used.items():
            figures.add(f"relay alone: CPU {process}", (seconds - before[process]) / (last - sent) * 1e6, "µs a record")


async def learning(house: House, figures: Figures) -> None:
    """reporting learns what the topics hold of cases and participations, from nothing."""
    total = await meters.facts(house, "intake", "referral")
    steps: list[tuple[float, int]] = []
    worker = asyncio.create_task(house.employ("reporting", 1))
    await meters.until(lambda house: meters.learnt(house, "reporting"), house, total, steps)
    await worker
    figures.add("learning facts, reporting", meters.rate(steps, 0), "facts/s")
    figures.add("memory under load, reporting", meters.memory(house)["reporting"], "MB")
    await house.employ("reporting", 0)


async def statements(house: House, reports: Reports, figures: Figures) -> None:
    """Statements of the longest transaction, where 20 reports were there and where thousands were."""
    for count in (20, 5_000):

        async def load(count: int = count) -> None:
            found, before = reports.take(count), await meters.answered(house)
            async with house.frozen("referral"):
                await house.write(found)
            await meters.until(meters.answered, house, before + count)

        async def warm() -> None:
            await house.employ("referral", 0)
            await house.employ("referral", 1)
            for _ in range(3):
                await load(5_000)  # a pool's connections, each with reports that raise and withdraw risks

        longest = max(await meters.statements(house, warm, load), key=len)
        name = f"statements of a transaction, {count:,} reports"
        figures.add(name, len(longest), "statements")
        figures.notes[name] = [statement[:100] for statement in longest]


async def base(
    house: House, figures: Figures, *, repetitions: int, count: int, seconds: int, say: Callable[[str], None]
) -> None:
    """The full way, the loop alone and the relay alone, with one and with two processes, beside what they are held against;
    then what needs no repetition."""
    reports = await settled(house, figures, count, say)
    for repetition in range(repetitions):
        started = time.monotonic()
        for workers in (1, 2):
            await house.employ("referral", workers)
            await full_way(house, reports, count, figures, f"full way, {processes(workers)}")
            await loop_then_relay(house, reports, count, figures, workers)
        await yardsticks.measure(house, figures, most=count)
        say(f"repetition {repetition + 1} of {repetitions}: {time.monotonic() - started:.0f} s")
    figures.add("memory under load, referral", meters.memory(house)["referral"], "MB")
    await house.employ("referral", 1)
    await house.employ("notification", 1)
    await house.tick()
    figures.add("memory at rest, notification", meters.memory(house)["notification"], "MB")
    say(f"latency at {latency.A_SECOND}/s ...")
    await latency.measure(house, reports, figures, seconds=seconds)
    figures.add("memory under load, notification", meters.memory(house)["notification"], "MB")
    await house.employ("notification", 0)
    await learning(house, figures)
    await statements(house, reports, figures)


async def settled(house: House, figures: Figures, count: int, say: Callable[[str], None]) -> Reports:
    """Everybody is there, one process is at work and warm; gives back what will be reported."""
    await house.open()
    people = house.people
    say(f"writing facts of {people.cases:,} cases in {people.alliances} alliances, {people.meetings} meetings each ...")
    records, seconds = await house.settle()
    figures.add("rebuild of referral", records / seconds, "records/s")
    reports = Reports(people)
    await house.employ("referral", 1)
    figures.add("start to ready, referral", house.workers["referral"][0].seconds_to_ready, "s")
    await house.tick()
    figures.add("memory at rest, referral", meters.memory(house)["referral"], "MB")
    warm = await meters.answered(house) + count // 4
    await house.write(reports.take(count // 4))
    await meters.until(meters.answered, house, warm)
    return reports


async def variant(
    house: House, figures: Figures, name: str, *, workers: int, repetitions: int, count: int, say: Callable[[str], None]
) -> None:
    """The full way of another house."""
    own = Figures()
    reports = await settled(house, own, count, say)
    await house.employ("referral", workers)
    for _ in range(repetitions):
        await full_way(house, reports, count, figures, name)
    figures.add(f"{name}: rebuild records/s", own.median("rebuild of referral") or 0.0, "records/s")
    figures.add(f"{name}: memory MB", meters.memory(house)["referral"], "MB")


BASE = "growth, base"
GROWTH: dict[str, tuple[People, int, int]] = {
    BASE: (People(), 4, 2),
    "growth, 1 alliance": (People(alliances=1), 4, 2),
    "growth, 400 alliances": (People(alliances=400), 4, 2),
    "growth, a year of attendance": (People(meetings=52), 4, 2),
    "growth, 60 publishers": (People(publishers=60), 4, 2),
    "growth, 300 publishers": (People(publishers=300), 4, 2),
    "growth, 12 partitions": (People(), 12, 2),
    "growth, 96 partitions": (People(publishers=2), 96, 2),
    "growth, 4 processes": (People(), 4, 4),
    "growth, 100,000 cases": (People(cases=100_000, meetings=2), 4, 2),
    "growth, 1,000,000 cases": (People(cases=1_000_000, meetings=2), 4, 2),
    "growth, base again": (People(), 4, 2),
}
"""Name to people, partitions of a topic, processes. Each has a stack of its own; the base is measured first and last."""
