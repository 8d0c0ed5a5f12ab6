"""What is read while it is measured: ends of topics, positions, CPU of processes, sizes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psutil

from contracts.topics import SUBMITTED, answers_topic, facts_topic
from deploy.bench.house import PATIENCE, House
from deploy.errors import Trouble

FROM, TO = 0.1, 0.75
"""What is measured of a load. In the first tenth caches fill; in the last quarter four processes would have less in hand than at
the beginning (2,000 each), and seemed to do more than two cores can."""
OWN = ("referral", "attendance", "dropout")
"""Families referral owns."""


def cpu(house: House, services: tuple[str, ...] = ("referral",)) -> dict[str, float]:
    """CPU seconds so far, by process: each service's workers together, Kafka, Postgres with all its backends."""
    stack = house.stack.processes
    found = {name: sum(_seconds(worker.measured) for worker in house.workers[name]) for name in services}
    for name in ("kafka", "postgres"):
        child = stack[name].child
        assert child
        found[name] = _seconds(psutil.Process(child.pid), family=True)
    return found


def _seconds(process: psutil.Process, *, family: bool = False) -> float:
    times = process.cpu_times()
    total = times.user + times.system
    if family:
        total += times.children_user + times.children_system  # those that ended
        for child in process.children(recursive=True):
            try:
                total += _seconds(child)
            except psutil.NoSuchProcess:
                continue
    return float(total)


def memory(house: House) -> dict[str, float]:
    """Resident MB of the largest worker of each service, now."""
    return {name: max(worker.measured.memory_info().rss / 1e6 for worker in workers)
            for name, workers in house.workers.items() if workers}  # fmt: skip


def peak(house: House, name: str) -> float:
    """The most resident MB any worker of a service ever had: what it has after a load says little of it."""
    said = [Path(f"/proc/{worker.measured.pid}/status").read_text() for worker in house.workers[name]]
    return max(int(text.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6 for text in said)


async def answered(house: House, family: str = "attendance") -> int:
    """Answers to a family's submissions that stand on their topics."""
    return await _ends(house, [answers_topic(family, p.name) for p in house.people.entries() if family in p.families])


async def facts(house: House, *families: str) -> int:
    """Facts of these families that stand on their topics."""
    return await _ends(house, [facts_topic(family) for family in families])


async def sent(house: House) -> int:
    """Facts of referral and answers to attendance reports that stand on their topics."""
    return await facts(house, *OWN) + await answered(house)


async def _ends(house: House, topics: list[str]) -> int:
    return sum((await house.consumer.end_offsets([part for topic in topics for part in house.parts[topic]])).values())


async def read(house: House) -> int:
    """How many attendance reports referral has applied: its positions, as its transactions left them."""
    sql = "select coalesce(sum(next), 0)::bigint from lotse.position where topic like 'attendance.submissions.%'"
    return int(await house.database.fetchval(sql))


async def learnt(house: House, service: str) -> int:
    """How many facts of others a service has learnt, by its positions."""
    dsn = f"{house.stack.admin_dsn.rpartition('/')[0]}/{service}"
    if service not in house.asked:
        house.asked[service] = await asyncpg.connect(dsn)
    sql = "select coalesce(sum(next), 0)::bigint from lotse.position where topic like '%.events'"
    return int(await house.asked[service].fetchval(sql))


async def sizes(house: House) -> dict[str, int]:
    """Bytes: on the topics by what they carry, in referral's database, and written to its journal so far."""
    topics = [topic for topic in house.parts if topic.partition(".")[0] in {*SUBMITTED, "dropout"}]

    def on_disk(kind: str) -> int:
        return sum(log.stat().st_size for topic in topics if kind in topic
                   for log in house.data(topic).parent.glob(f"{topic}-*/*.log"))  # fmt: skip

    row = await house.database.fetchrow(
        "select pg_database_size(current_database()) as database, pg_current_wal_lsn() - '0/0' as journal,"
        " pg_total_relation_size('lotse.outbox') as outbox"
    )
    assert row
    return {"submissions": on_disk(".submissions."), "answers": on_disk(".answers."), "facts": on_disk(".events"),
            "database": int(row["database"]), "sent rows, kept seven days": int(row["outbox"]), "journal": int(row["journal"])}  # fmt: skip


def rate(steps: list[tuple[float, int]], start: int) -> float:
    """A second, between the first look after FROM was through and the first after TO was: at both as much is half done. Between
    the first look and the last where nobody looked in between."""
    whole = steps[-1][1] - start

    def after(share: float) -> tuple[float, int]:
        return next((at, n) for at, n in steps if n >= start + whole * share)

    begin, end = after(FROM), after(TO)
    if begin == end:
        begin, end = steps[0], steps[-1]
    return (end[1] - begin[1]) / max(end[0] - begin[0], 1e-3)


async def until(
    count: Callable[[House], Awaitable[int]], house: House, goal: int, steps: list[tuple[float, int]] | None = None
) -> float:
    """Waits until a count reaches its goal; the moment at which it was seen there. Raises Trouble where nothing moves."""
    last, moved = -1, time.monotonic()
    while True:
        asked = time.monotonic()
        found = await count(house)
        now = time.monotonic()
        if steps is not None:
            steps.append((now, found))
        if found >= goal:
            return now
        if found != last:
            last, moved = found, now
        if now - moved > PATIENCE / 2:
            raise Trouble(
                f"nothing moved for {PATIENCE / 2:.0f} s: {found} of {goal}", "see the services' logs; run it again"
            )
        await asyncio.sleep(
            max(0.02, 4 * (now - asked))
        )  # asking is cheap, and stays so where there are many partitions
