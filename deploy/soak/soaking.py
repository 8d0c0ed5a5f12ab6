"""A soak: steady traffic, one row of the matrix after another, kills between them, and one ledger at the end.

What a soak must have in it at least stands in `QUOTAS` (the reliability reference, A3); those rows are drawn first and spread over
the time, the others fill it, and what is not reached is a finding.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

from aiokafka.errors import KafkaError

from deploy.errors import UNREACHABLE, Trouble
from deploy.places import SERVICES
from deploy.soak.faults.processes import kill, start
from deploy.soak.night import Night
from deploy.soak.results import BROKE, HELD, NOT_RUN, ROW_LIMIT, THE_SOAKS, Result, logs_kept, tried
from deploy.soak.rows import NOT_WRITTEN, ROWS, Row

ROLES = (*SERVICES, "kafka", "postgres")
WAVE, WAVES = 300, 8  # about so many submissions a wave; so many at once, where answers are slow to come


class Quota(NamedTuple):
    """What a soak of `WHOLE` minutes or longer has at least; shorter ones their share, rounded."""

    what: str
    least: int
    rows: tuple[int, ...]
    """Rows that do it once each, drawn by turns."""

    def of(self, minutes: float) -> int:
        """How many a soak of so many minutes must have."""
        return _share(self.least, minutes)


def _share(least: int, minutes: float) -> int:
    return math.floor(least * min(1.0, minutes / WHOLE) + 0.5)


WHOLE = 30.0
QUOTAS = (
    Quota("partitions of 60 s", 5, (59, 60)),
    Quota("pauses longer than the session timeout", 3, (6,)),
    Quota("database failovers", 1, (47,)),
    Quota("full stops", 1, (106,)),
)
SUBMISSIONS, SIGKILLS = 100_000, 60
SPREAD = 0.8  # of the time: the last of them is begun by then, since a row takes up to two minutes
IN_FLIGHT = 1  # attempts a killed notification may have begun: they are made one by one


@dataclass
class Soak:
    """What a soak did and what its ledger says."""

    seed: int
    minutes: float
    on: str
    kills: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    rows: list[Result] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    schedule: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """Minute, row and outcome, in the order in which they ran."""
    quotas: dict[str, list[int]] = field(default_factory=dict)
    """What there had to be, how many there were, and how many at least."""
    not_run: dict[str, str] = field(default_factory=dict)
    """Every row that this soak did not run, and why."""


class Traffic:
    """Waves at a steady pace, and a tick after each, until it is told to rest."""

    def __init__(self, night: Night, rate: float) -> None:
        self.night, self.rate = night, rate
        self._may = asyncio.Event()
        self._idle = asyncio.Event()
        self._may.set()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        waves: list[asyncio.Task[None]] = []
        while True:
            if not self._may.is_set():
                await asyncio.gather(*waves)
                self._idle.set()
                await self._may.wait()
                self._idle.clear()
            waves = [wave for wave in waves if not wave.done()]
            if len(waves) < WAVES:
                waves.append(self.night.wave(10, 24, pace=1 / self.rate))
            await asyncio.sleep(WAVE / self.rate)
            with contextlib.suppress(KafkaError, TimeoutError, OSError):
                await self.night.tick()

    async def rest(self) -> None:
        """Returns when the wave under way is sent. Raises what it died of."""
        self._may.clear()
        idle = asyncio.create_task(self._idle.wait())
        await asyncio.wait([self._task, idle], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()

    def go_on(self) -> None:
        """Sends again."""
        self._may.set()

    async def end(self) -> None:
        """Sends no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Schedule:
    """Which row comes next, by seed: those that a quota asks for, spread over the time, between them the others, each of which
    runs once before any runs twice."""

    def __init__(self, seed: int, minutes: float) -> None:
        self._chance = Random(f"{seed} schedule")  # not the night's, of which rows draw as long as they last
        self._must = [quota.rows[n % len(quota.rows)] for quota in QUOTAS for n in range(quota.of(minutes))]
        self._chance.shuffle(self._must)
        self._all, self._rest, self._roles = len(self._must), list[Row](), list[str]()

    def next(self, passed: float) -> Row:
        """The next row, when such a part of the time is over (0 to 1)."""
        if self._must and (self._all - len(self._must)) / self._all * SPREAD <= passed:
            number = self._must.pop()
            return next(row for row in ROWS if row.number == number)
        if not self._rest:
            self._rest = [row for row in ROWS if not _elsewhere(row)]
            self._chance.shuffle(self._rest)
        return self._rest.pop()

    def roles(self, most: int) -> Iterator[str]:
        """Whom to kill next; everybody once before anybody twice."""
        for _ in range(most):
            if not self._roles:
                self._roles = list(ROLES)
                self._chance.shuffle(self._roles)
            yield self._roles.pop()


async def soak(night: Night, minutes: float, rate: float) -> Soak:
    """Runs it."""
    done = Soak(night.seed, minutes, f"{datetime.now(UTC):%Y-%m-%d}")
    night.soaking = True
    began, schedule = time.monotonic(), Schedule(night.seed, minutes)

    def passed() -> float:
        return (time.monotonic() - began) / 60 / minutes

    async with night.shift():
        traffic = Traffic(night, rate)
        try:
            while (part := passed()) < 1:
                result = await _one(night, traffic, schedule.next(part))
                done.rows.append(result)
                done.order.append(f"{part * minutes:.1f} {result.row} {result.outcome}")
                if night.spoiled:
                    raise Trouble(f"the house was spoiled by row {night.spoiled}", "see what it found", UNREACHABLE)
                due = math.ceil(_share(SIGKILLS, minutes) * min(1.0, passed() / SPREAD)) - night.kills
                # what is due is made up for step by step, and after the last row whole
                await _killed(night, done, schedule.roles(max(2, min(due, 6) if passed() < 1 else due)))
            await traffic.rest()
            await traffic.end()
            night.note("at rest: the ledger is drawn up")
            ledger = await night.balance(last=True)
            done.counts = ledger.counts
            done.findings += [f"{f.check} {f.kind}: {f.what}" for f in ledger.findings]
        except (Trouble, TimeoutError, KafkaError) as error:  # what was seen until then is kept
            done.findings.append(f"{type(error).__name__}: {error}")
            logs_kept(night, "soak")
        finally:
            await traffic.end()
    done.findings += [f"row {one.row} {one.title}: {one.findings[0]}" for one in done.rows if one.outcome == BROKE]
    done.kills, done.schedule = night.kills, night.schedule
    done.findings += unmet(done)
    told_not_run(done)
    return done


def unmet(done: Soak) -> list[str]:
    """Counts what a soak must have in it at least; gives back what it has too little of."""
    held = [one.row for one in done.rows if one.outcome == HELD]
    done.quotas = {quota.what: [sum(row in quota.rows for row in held), quota.of(done.minutes)] for quota in QUOTAS}
    done.quotas["submissions"] = [done.counts.get("submissions", 0), _share(SUBMISSIONS, done.minutes)]
    done.quotas["SIGKILLs"] = [done.kills, _share(SIGKILLS, done.minutes)]
    if done.quotas["SIGKILLs"][1] >= len(ROLES):
        done.quotas["roles killed"] = [len(done.killed), len(ROLES)]
    return [
        f"too few {what}: {there}, at least {least}" for what, (there, least) in done.quotas.items() if there < least
    ]


def told_not_run(done: Soak) -> None:
    """Names every row that did not run, and why: a row is never passed because nobody ran it."""
    ran = {one.row for one in done.rows if one.outcome != NOT_RUN}
    whys = {one.row: one.seen for one in done.rows if one.outcome == NOT_RUN}
    done.not_run = {
        row.name: _elsewhere(row) or whys.get(row.number, "the time was over") for row in ROWS if row.number not in ran
    }
    done.not_run |= {f"{number} {title}": why for number, (title, why) in NOT_WRITTEN.items()}


def _elsewhere(row: Row) -> str:
    """Why a row has no place in a soak; empty where it has."""
    alone = f"`lotse soak --row {row.number}` runs it on a house of its own"
    if row.brokers > 1:
        return f"it needs {row.brokers} brokers: {alone}"
    return f"it damages the log itself: {alone}" if row.rough else ""


async def _one(night: Night, traffic: Traffic, row: Row) -> Result:
    async def amid(result: Result) -> None:
        if row.quiet:
            await traffic.rest()
        result.seen = await row.run(night)

    try:
        result = await tried(night, row, amid, ROW_LIMIT, f"soak-row-{row.number}")
    finally:
        traffic.go_on()
    result.ledger = THE_SOAKS
    night.note(f"row {row.name}: {result.outcome}: {result.seen}")
    return result


async def _killed(night: Night, done: Soak, roles: Iterable[str]) -> None:
    """Some roles, one after the other, under traffic."""
    for role in roles:
        await asyncio.sleep(night.chance.uniform(0, 3))
        kill(night, role)
        done.killed[role] = done.killed.get(role, 0) + 1
        night.doubtful += IN_FLIGHT if role == "notification" else 0
        await start(night, role)
