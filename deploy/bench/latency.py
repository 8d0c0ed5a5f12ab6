"""How long one report takes at a steady rate far below the limit: until it is answered, and until people see what follows."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer

from contracts.codes import Presence
from contracts.topics import answers_topic
from deploy.bench.figures import Figures
from deploy.bench.house import PATIENCE, House
from deploy.bench.people import QUIET, Record, Reports

A_SECOND, BEAT = 500, 0.02
RISKS_A_SECOND = 4
ASK_AGAIN = 0.004  # seconds between two questions by HTTP: what is found is at most so much older than said
MOST_ASKING = 2
"""Questions by HTTP cost the service time, too: where it is slow, more and more of them would make it slower."""
PERCENTILES = (50, 95, 99)


async def measure(house: House, reports: Reports, figures: Figures, *, seconds: int) -> None:
    """500 submissions a second; four times a second two absences that raise a risk, looked for by HTTP at referral, and at
    notification on the office's list."""
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}
    topics = [answers_topic("attendance", p.name) for p in house.people.entries()]
    reader = AIOKafkaConsumer(
        bootstrap_servers=house.stack.kafka, isolation_level="read_committed", fetch_max_wait_ms=100
    )
    await reader.start()
    parts = [part for topic in topics for part in house.parts[topic]]
    reader.assign(parts)
    await reader.seek_to_end(*parts)
    reading = asyncio.create_task(_read(reader, answered))
    readable: list[float] = []
    listed: list[float] = []
    looking: list[asyncio.Task[None]] = []
    quiet = iter(range(house.people.cases - QUIET, house.people.cases))
    try:
        begun = time.monotonic()
        for beat in range(round(seconds / BEAT)):
            await asyncio.sleep(max(0.0, begun + beat * BEAT - time.monotonic()))
            load = reports.take(round(A_SECOND * BEAT))
            asking = sum(not task.done() for task in looking)
            due = beat % round(1 / BEAT / RISKS_A_SECOND) == 0 and asking < MOST_ASKING
            if due and (case := next(quiet, None)) is not None:
                first = house.people.meetings - 2
                load[-2:] = [reports.of(case, first + n, 2, Presence.UNEXCUSED) for n in range(2)]
                looking.append(asyncio.create_task(_look(house, case, readable, listed)))
            for record in load:
                sent[_id(record)] = time.monotonic()
                await house.producer.send(record.topic, record.value, key=record.key, headers=record.headers)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*looking)
            while sent.keys() - answered.keys():
                await asyncio.sleep(0.05)
    finally:
        for task in (reading, *looking):
            task.cancel()
        await reader.stop()
    for name, found in {
        "answer": [answered[id] - at for id, at in sent.items()], "risk readable": readable, "on the office's list": listed
    }.items():  # fmt: skip
        for percent in PERCENTILES:
            figures.add(f"at {A_SECOND}/s, submission → {name}, p{percent}", percentile(found, percent) * 1e3, "ms")


async def _read(reader: AIOKafkaConsumer, answered: dict[str, float]) -> None:
    while True:
        for records in (await reader.getmany(timeout_ms=100)).values():
            now = time.monotonic()
            for record in records:
                answered.setdefault(json.loads(record.value)["submission_id"], now)


async def _look(house: House, case: int, readable: list[float], listed: list[float]) -> None:
    begun, id, tenant = time.monotonic(), house.people.id("case", case), house.people.tenant(case)
    referral, notification = house.workers["referral"][0], house.workers["notification"][0]

    async def risk() -> bool:
        return any(row["open"] for row in (await referral.get(f"/cases/{id}"))["risk_list"])

    async def item() -> bool:
        return any(row["case_id"] == id for row in await notification.get("/notices", office=f"{tenant}:thm"))

    await _until(risk)
    readable.append(time.monotonic() - begun)
    await _until(item)
    listed.append(time.monotonic() - begun)


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
