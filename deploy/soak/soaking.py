"""A soak: steady traffic, one row of the matrix after another, kills between them, and one ledger at the end."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka.errors import KafkaError

from deploy.errors import Trouble
from deploy.local.stack import SERVICES
from deploy.soak.faults.processes import kill, mended, start
from deploy.soak.night import Night
from deploy.soak.results import BROKE, HELD, NOT_RUN, ROW_LIMIT, Result, logs_kept
from deploy.soak.rows import NOT_WRITTEN, ROWS, NotRun, Row

ROLES = (*SERVICES, "kafka", "postgres")
WAVE, WAVES = 300, 8  # about so many submissions a wave; so many at once, where answers are slow to come
IN_FLIGHT = 2  # attempts a killed notification may have had in hand: one an office


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


async def soak(night: Night, minutes: float, rate: float) -> Soak:
    """Runs it. Rows are drawn by the night's seed; each runs once before any runs twice."""
    done = Soak(night.seed, minutes, f"{datetime.now(UTC):%Y-%m-%d}")
    night.soaking = True
    until = time.monotonic() + minutes * 60
    rows: list[Row] = []
    async with night.shift():
        traffic = Traffic(night, rate)
        try:
            while time.monotonic() < until:
                if not rows:
                    rows = [row for row in ROWS if not _elsewhere(row)]
                    night.chance.shuffle(rows)
                done.rows.append(await _one(night, traffic, rows.pop()))
                await _killed(night, done)
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
    told_not_run(done)
    return done


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
    if row.pending:
        return f"pending: {row.pending}"
    if row.brokers > 1:
        return f"it needs {row.brokers} brokers: {alone}"
    return f"it damages the log itself: {alone}" if row.rough else ""


async def _one(night: Night, traffic: Traffic, row: Row) -> Result:
    result = Result(row.number, row.title, row.how, HELD, "", night.seed, f"{datetime.now(UTC):%Y-%m-%d}", 0.0)
    began = time.monotonic()
    night.note(f"row {row.name}")
    try:
        async with asyncio.timeout(2 * ROW_LIMIT):
            if row.quiet:
                await traffic.rest()
            result.seen = await row.run(night)
    except NotRun as why:
        result.outcome, result.seen = NOT_RUN, str(why)
    except Exception as error:
        result.outcome, result.seen = BROKE, f"{type(error).__name__}: {error}"[:300]
        result.findings.append(result.seen)
        logs_kept(night, f"soak-row-{row.number}")
        await mended(night)
    finally:
        traffic.go_on()
    result.seconds = round(time.monotonic() - began, 1)
    night.note(f"row {row.name}: {result.outcome}: {result.seen}")
    return result


async def _killed(night: Night, done: Soak) -> None:
    """Two roles at random, one after the other, under traffic."""
    for _ in range(2):
        role = night.chance.choice(ROLES)
        await asyncio.sleep(night.chance.uniform(0, 3))
        kill(night, role)
        done.killed[role] = done.killed.get(role, 0) + 1
        night.doubtful += IN_FLIGHT if role == "notification" else 0
        await start(night, role)
