"""How long one report takes at a steady rate far below the limit: until it is answered, and until people see what follows."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic

from contracts.attributes import moment
from contracts.codes import Presence
from contracts.topics import answers_topic
from deploy.bench import meters, yardsticks
from deploy.bench.figures import Figures
from deploy.bench.house import PATIENCE, SLOW, House
from deploy.bench.people import QUIET, Record
from deploy.bench.rounds import Run, cpu_each
from deploy.errors import FINDINGS, Trouble

A_SECOND, BEAT = 500, 0.02
LEAST_A_SECOND = 20
WARM = 45
"""Seconds before anything counts: Kafka's compiler takes half a minute of both cores, and who measures then measures it."""
HELD = 0.25
"""Seconds of queue at the end: beyond, the rate was not held."""
REPETITIONS = 3
"""Of a long run. What holds up COMMITs is the disk, which others use: of eight runs alike p99 was 27 ms in one, 898 in another."""
RISKS_A_SECOND = 4
ASK_AGAIN = 0.004
"""Seconds between two questions by HTTP: what is found is at most so much older than said. 250 questions a second are no usual
load: answers beside them took 30 to 45 ms where they take 16, so answers are measured without."""
MOST_ASKING = 2
"""Questions by HTTP cost the service time, too: where it is slow, more and more of them would make it slower."""
PERCENTILES = (50, 95, 99)


class Way(NamedTuple):
    """When a submission's states were locked, when the broker had its answer in its log, and when somebody had read it."""

    locked: float
    in_the_log: float
    read: float


async def all_of_it(house: House, run: Run) -> None:
    """Lotse at 500 a second: its answers, then what people see; then the usual service at half of what it can do, or 200 a
    second, or half of that until it holds it, and Lotse at the same rate."""
    figures, seconds = run.figures, 15 if run.quick else 40
    await house.employ("referral", 1)
    await house.employ("notification", 1)
    await house.tick()
    probes = iter(range(house.people.cases - QUIET, house.people.cases))
    await measure(house, Figures(), seconds=WARM)
    for _ in range(1 if run.quick else REPETITIONS):
        await measure(house, figures, seconds=seconds)
        await measure(house, figures, seconds=seconds, probes=probes)
    figures.add("memory under load, notification", meters.peak(house, "notification"), "MB")
    await house.employ("notification", 0)
    rate = round((figures.median("usual service, a message") or 400) / 2, -1) or 10
    while not await usual(house, figures, seconds=seconds // 2, a_second=round(rate)):
        if (rate := rate / 2) < LEAST_A_SECOND:
            raise Trouble("the usual service holds no rate", "look at the machine", FINDINGS)
    await measure(house, figures, seconds=seconds // 2, a_second=round(rate))


async def usual(house: House, figures: Figures, *, seconds: int, a_second: int) -> bool:
    """The usual service that answers itself, without an outbox: submission → answer. False, and no figure, where it does not
    hold the rate: it would be the length of a queue that is measured."""
    asked, answers = "bench.usual", "bench.usual.answers"
    await house.admin.create_topics([NewTopic(asked, 4, 1), NewTopic(answers, 4, 1)])
    serving = await yardsticks.begin("usual_service", "answering", house.stack.kafka, house.database_dsn, 0, asked)
    reader = AIOKafkaConsumer(
        answers, bootstrap_servers=house.stack.kafka, auto_offset_reset="earliest", fetch_max_wait_ms=100
    )
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}

    async def ask(at: float) -> None:
        (record,) = house.reports.take(1)
        said = json.loads(record.value)
        sent[f"{said['participation_id']} {said['meeting_id']} {said['revision']}"] = at
        await house.producer.send(asked, record.value, key=record.key)

    async def read() -> None:
        async for record in reader:
            said = json.loads(record.value)
            answered.setdefault(f"{said['participation_id']} {said['meeting_id']} {said['revision']}", time.monotonic())

    await reader.start()
    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(PATIENCE):
            while not answered:  # it is there
                await ask(time.monotonic())
                await asyncio.sleep(0.1)
        for lasts in (min(WARM, seconds), seconds):  # Kafka is warm by now
            sent.clear()
            begun = time.monotonic()
            for beat in range(round(lasts * a_second)):
                await asyncio.sleep(max(0.0, begun + beat / a_second - time.monotonic()))
                await ask(begun + beat / a_second)
        late = len(sent.keys() - answered.keys())
        async with asyncio.timeout(PATIENCE):
            while sent.keys() - answered.keys():
                await asyncio.sleep(0.05)
    finally:
        reading.cancel()
        await reader.stop()
        serving.terminate()
        await serving.wait()
        await house.admin.delete_topics([asked, answers])
    if late > a_second * HELD:
        return False
    for percent in PERCENTILES:
        found = percentile([answered[id] - at for id, at in sent.items()], percent) * 1e3
        figures.add(f"at {a_second}/s, usual service → answer, p{percent}", found, "ms")
    return True


async def measure(
    house: House, figures: Figures, *, seconds: int, a_second: int = A_SECOND, probes: Iterator[int] | None = None
) -> None:
    """So many submissions a second; of `probes`, cases nobody else reports of, four times a second one gets two absences that
    raise a risk, looked for by HTTP at referral, and at notification on the office's list. Each counts from the moment at
    which it was to be sent: who sends late hides nothing. Answers count where nobody asks meanwhile. Raises Trouble where a risk
    is there before its absences."""
    sent: dict[str, float] = {}
    answered: dict[str, Way] = {}
    topics = [answers_topic("attendance", p.name) for p in house.people.entries()]
    reader = AIOKafkaConsumer(
        bootstrap_servers=house.stack.kafka, isolation_level="read_committed", fetch_max_wait_ms=100
    )
    await reader.start()
    parts = [part for topic in topics for part in house.parts[topic]]
    reader.assign(parts)
    await reader.seek_to_end(*parts)
    log = house.stack.processes["postgres"].log
    mark, cpu = log.stat().st_size, meters.cpu(house)
    reading = asyncio.create_task(_read(reader, answered))
    readable: list[float] = []
    listed: list[float] = []
    looking: list[asyncio.Task[None]] = []
    skipped, quiet = 0, [*islice(probes or (), seconds * RISKS_A_SECOND)]
    try:
        for case in quiet:
            if await _raised(house, case):
                raise Trouble(f"case {case} has an open risk already", "its latency would be nobody's", FINDINGS)
        begun = time.monotonic()
        for beat in range(round(seconds / BEAT)):
            at = begun + beat * BEAT
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            load = house.reports.take(round(a_second * (beat + 1) * BEAT) - round(a_second * beat * BEAT))
            if quiet and beat % round(1 / BEAT / RISKS_A_SECOND) == 0:
                case = quiet.pop()
                if sum(not task.done() for task in looking) < MOST_ASKING:
                    first = house.people.meetings - 2
                    load[-2:] = [house.reports.of(case, first + n, 2, Presence.UNEXCUSED) for n in range(2)]
                    looking.append(asyncio.create_task(_look(house, case, at, readable, listed)))
                else:
                    skipped += 1
            for record in load:
                sent[_id(record)] = at
                await house.producer.send(record.topic, record.value, key=record.key, headers=record.headers)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*looking)
            while sent.keys() - answered.keys():
                await asyncio.sleep(0.05)
    finally:
        for task in (reading, *looking):
            task.cancel()
        await reader.stop()
    stages = {} if probes else {
        stage: [answered[id][n] - at for id, at in sent.items()]
        for n, stage in enumerate(("states locked", "answer in the log", "answer"))
    }  # fmt: skip
    for name, found in {**stages, "risk readable": readable, "on the office's list": listed}.items():
        for percent in PERCENTILES if found else ():
            figures.add(f"at {a_second}/s, submission → {name}, p{percent}", percentile(found, percent) * 1e3, "ms")
    if not probes:
        cpu_each(figures, f"at {a_second}/s", cpu, meters.cpu(house), len(sent))
        slow = slow_commits(log, mark)
        figures.note(f"at {a_second}/s, the disk", [
            f"{len(slow)} COMMITs of all connections took {SLOW} ms or more, the longest {max(slow, default=0):.0f} ms, {sum(slow):.0f} ms"
            " in all"
        ])  # fmt: skip
    if readable:
        figures.note(
            f"at {a_second}/s", [f"{len(readable)} risks were looked for, {skipped} not: {MOST_ASKING} still were"]
        )


def slow_commits(log: Path, mark: int) -> list[float]:
    """Milliseconds that COMMITs of SLOW and more took, by what Postgres wrote down behind the mark (bytes)."""
    with log.open("rb") as file:
        file.seek(mark)
        return [float(ms) for ms in re.findall(rb"duration: ([0-9.]+) ms  statement: COMMIT;", file.read())]


async def _read(reader: AIOKafkaConsumer, answered: dict[str, Way]) -> None:
    while True:
        for records in (await reader.getmany(timeout_ms=100)).values():
            now, ahead = time.monotonic(), time.time() - time.monotonic()
            for record in records:
                locked = moment(dict(record.headers)["ce_recordedtime"].decode()).timestamp()
                way = Way(locked - ahead, record.timestamp / 1000 - ahead, now)
                answered.setdefault(json.loads(record.value)["submission_id"], way)


async def _raised(house: House, case: int) -> bool:
    """Whether referral shows an open risk of a case."""
    shown = await house.workers["referral"][0].get(f"/cases/{house.people.id('case', case)}")
    return any(row["open"] for row in shown["risk_list"])


async def _look(house: House, case: int, at: float, readable: list[float], listed: list[float]) -> None:
    id, tenant = house.people.id("case", case), house.people.tenant(case)

    async def item() -> bool:
        found = await house.workers["notification"][0].get("/notices", office=f"{tenant}:thm")
        return any(row["case_id"] == id for row in found)

    await _until(lambda: _raised(house, case))
    readable.append(time.monotonic() - at)
    await _until(item)
    listed.append(time.monotonic() - at)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(ASK_AGAIN)


def _id(record: Record) -> str:
    return next(value.decode() for name, value in record.headers if name == "ce_id")


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many per cent do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
