"""What is measured in which order. Repetitions are interleaved: what disturbs the machine disturbs all of them alike."""

import time
from collections.abc import Callable

from deploy.bench import meters
from deploy.bench.figures import Figures
from deploy.bench.house import House
from deploy.bench.people import Reports
from deploy.errors import FINDINGS, Trouble

WARM = 0.1
"""The first tenth is not measured: caches fill, and two processes find their step."""


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
    end = await meters.until(meters.answered, house, answers + count, steps)
    used, after = meters.cpu(house), await meters.sizes(house)
    begin, out = next((at, n - answers) for at, n in steps if n - answers >= count * WARM)
    figures.add(name, (count - out) / (end - begin), "submissions/s")
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
        end = await meters.until(meters.read, house, read + count, steps)
        used = meters.cpu(house)
        begin, done = next((at, n - read) for at, n in steps if n - read >= count * WARM)
        figures.add(f"loop, {processes(workers)}", (count - done) / (end - begin), "submissions/s")
        for process, seconds in used.items():
            figures.add(
                f"loop, {processes(workers)}: CPU {process}",
                (seconds - before[process]) / count * 1e6,
                "µs a submission",
            )
        sent, before = await meters.sent(house), meters.cpu(house)
    begin = await meters.until(meters.sent, house, sent + 1)
    early = await meters.sent(house)
    end = await meters.until(meters.answered, house, answers + count)
    used, last = meters.cpu(house), await meters.sent(house)
    if workers == 1:
        figures.add("relay alone", (last - early) / (end - begin), "records/s")
        for process, seconds in used.items():
            figures.add(f"relay alone: CPU {process}", (seconds - before[process]) / (last - sent) * 1e6, "µs a record")


async def measure(house: House, figures: Figures, *, repetitions: int, count: int, say: Callable[[str], None]) -> None:
    """The full way, the loop alone and the relay alone, with one and with two processes."""
    await house.open()
    say(f"writing facts of {house.people.cases:,} cases in {house.people.alliances} alliances ...")
    records, seconds = await house.settle()
    figures.add("rebuild of referral", records / seconds, "records/s")
    reports = Reports(house.people)
    await house.employ("referral", 1)
    figures.add("start to ready", house.workers["referral"][0].seconds_to_ready, "s")
    await house.tick()
    figures.add("memory at rest, referral", meters.memory(house)["referral"], "MB")
    warm = await meters.answered(house) + count // 4
    await house.write(reports.take(count // 4))
    await meters.until(meters.answered, house, warm)
    for repetition in range(repetitions):
        for workers in (1, 2):
            await house.employ("referral", workers)
            started = time.monotonic()
            await full_way(house, reports, count, figures, f"full way, {processes(workers)}")
            await loop_then_relay(house, reports, count, figures, workers)
            say(
                f"repetition {repetition + 1} of {repetitions}, {processes(workers)}: {time.monotonic() - started:.0f} s"
            )
    figures.add("memory under load, referral", meters.memory(house)["referral"], "MB")
