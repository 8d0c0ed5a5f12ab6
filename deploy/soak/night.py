"""One night: a house, a sender with its journal, faults that heal, and at the end the ledger."""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Set
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.errors import UNREACHABLE, Trouble
from deploy.fleet import Fleet, Setup, ephemeral, pause
from deploy.places import SERVICES
from deploy.soak.busy import Busy
from deploy.soak.expected import WAITS, ZONE, Expected, expect
from deploy.soak.journal import Journal
from deploy.soak.ledger import Ledger, Progress, Recovery, held_against
from deploy.soak.load import (
    FIRST_TICK,
    LAST_DAY_TICK,
    MAILBOXES,
    ORGANISATIONS_FILE,
    PUBLISHERS,
    PUBLISHERS_FILE,
    TICK,
    Load,
    Wave,
)
from deploy.soak.observed import observe, session
from deploy.soak.sending import Sender

LEASE_OVER = 330.0  # seconds: what a notification that was stopped or killed had in hand waits for its lease (300 s), and is made then
PATIENCE = 240.0  # seconds until what should come to rest counts as stuck
ANSWERING = ("intake", "referral")
"""Services whose answers we hear; of the others we see how far their positions have moved."""
RECOVERS_WITHIN = 30.0
"""Seconds from the end of a fault until nothing lags (issue 4), less what others' work took from the house meanwhile, at most as much
again: beside a load of twenty 33 were seen, and nothing was wrong."""


class Night:
    """What is sent, broken and held against each other on one fleet. All waits have their limit."""

    def __init__(self, fleet: Fleet, folder: Path, seed: int, say: Callable[[str], None] = lambda _: None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.fleet, self.seed, self.say = fleet, seed, say
        self.chance, self.load = Random(seed), Load(seed)
        self.journal = Journal(folder / "journal.jsonl")
        self.ticked: datetime | None = None
        self._moment = FIRST_TICK
        """The newest that was given out, published by now or not: two who tick at once give no moment twice."""
        self.doubtful = 0
        """Attempts that may be uncertain: one for each that was in flight when somebody was killed."""
        self.recoveries: list[Recovery] = []
        self.progress: list[Progress] = []
        self.schedule: list[str] = []
        self.kills = 0
        self.ledgers = self.figures = 0
        """How many were drawn up, and in how many of them reports were held against the journal."""
        self.soaking = False
        self.spoiled = ""
        """The row after which this house could not be mended, or what in it; nothing can be said of what follows."""
        self._waves: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def shift(self) -> AsyncIterator["Night"]:
        """While a sender is at work."""
        async with Sender(self.fleet.stack.kafka, self.journal, self.seed) as self.sender:
            if self.ticked is None:
                await self.tick()  # before the first tick no rule of ours speaks
            try:
                yield self
                if sending := [wave for wave in self._waves if not wave.done()]:
                    await asyncio.wait(
                        sending, timeout=PATIENCE
                    )  # what is cut off half sent leaves others waiting for ever
            finally:
                for wave in self._waves:
                    wave.cancel()
                await asyncio.gather(*self._waves, return_exceptions=True)
                self._waves.clear()

    # --- what is sent

    def wave(
        self, cases: int = 8, meetings: int = 24, *, pace: float = 0.0, noise: bool = True
    ) -> "asyncio.Task[None]":
        """Begins to send a wave; it goes on beside whatever else happens."""
        return self.play(self.load.wave(cases, meetings, noise=noise), pace)

    def play(self, wave: Wave, pace: float = 0.0) -> "asyncio.Task[None]":
        """Begins to send a wave made elsewhere."""
        task = asyncio.create_task(self.sender.play(wave, pace))
        self._waves = [one for one in self._waves if not one.done() or one.cancelled() or one.exception()] + [task]
        return task

    async def tick(self, at: datetime | None = None) -> int:
        """Publishes the next moment of the simulated day, or this one; gives back its offset. Raises Trouble where the day is over."""
        at = self._moment = at or self.next_tick()
        headers = [("ce_specversion", b"1.0"), ("ce_id", str(uuid4()).encode()), ("ce_source", b"//lotse/clock"),
                   ("ce_type", b"lotse.clock.tick.v1"), ("ce_time", at.isoformat().encode()), ("content-type", b"application/json")]  # fmt: skip
        body = json.dumps({"at": at.isoformat()}).encode()
        producer = AIOKafkaProducer(bootstrap_servers=self.fleet.stack.kafka)
        try:  # not `async with`: where the broker is away it leaves what it opened, and says so on our screen
            await producer.start()
            for again in range(50):
                try:
                    place = await producer.send_and_wait("clock.ticks", body, key=b"tick", headers=headers)
                    break
                except KafkaError:  # a broker that just came back knows no topic for a moment
                    if again == 49:
                        raise
                    await asyncio.sleep(0.2)
        finally:
            await producer.stop()
        self.ticked = max(at, self.ticked or at)
        return int(place.offset)

    def next_tick(self) -> datetime:
        """The moment after the newest: time only goes forward. Raises Trouble where another day begins with it: months would be
        released by it, and again by no tick of that day, so that the last ledger held against them what came since."""
        at = self._moment + TICK
        if at.astimezone(ZONE).date() > self._moment.astimezone(ZONE).date():
            raise Trouble("the simulated day is over before the last tick", "a shorter soak", UNREACHABLE)
        return at

    async def tick_through(self, at: datetime | None = None) -> None:
        """A tick, and every service has acted on it: of several that wait only the latest would be acted on."""
        tick = await self.tick(at)
        await self._until(partial(self._acted, tick), "a tick acted on by every service")

    def lasts(self, pr: float, soak: float) -> float:
        """Seconds a fault lasts: shorter where each change waits for it."""
        return soak if self.soaking else pr

    # --- what is broken

    @asynccontextmanager
    async def broken(
        self, fault: str, *, limit: float = RECOVERS_WITHIN, beside: Mapping[str, int] | None = None
    ) -> AsyncIterator["Window"]:
        """While a fault lasts; whoever breaks, heals inside, and says when it bites. Afterwards: how long until nothing lagged,
        and what the parts named in `beside` did while it bit (at least so much). Recovered is who has applied all that its inputs
        held when it was healed, and has answered it."""
        self.note(f"begins: {fault}")
        window = Window(self, fault, beside or {})
        yield window
        healed, busy = time.monotonic(), Busy(os.getpid())
        self.note(f"healed: {fault} after {healed - window.began:.1f} s")
        self.progress += await window.progress(healed)
        await self.read_up()
        await self.nothing_lags()
        if self._under_load():  # and what is sent now is answered, too
            await self.until(
                lambda: not self._under_load() or self.sender.times[-1:] > [(healed, "")], "an answer after the fault"
            )
        took, others = time.monotonic() - healed, min(busy.took(), limit)
        self.recoveries.append(Recovery(fault, took - others, limit, others))
        self.note(f"recovered: {fault} in {took:.1f} s, {others:.1f} of them taken by others' work")

    @property
    def recovered(self) -> str:
        """How long it took after the last fault, in words; and what was not counted of it, where that is anything to speak of."""
        last = self.recoveries[-1]
        more = f", {last.others:.1f} s more taken by others' work" if last.others >= 0.5 else ""
        return f"recovered in {last.seconds:.1f} s{more}"

    async def applied(self, name: str) -> int:
        """How far a service's positions have moved, ticks left out: what can be seen of one that answers nobody."""
        return sum((await self._stands(name)).values())

    async def behind(self, name: str) -> int:
        """How many records wait for a service, ticks left out: what can be seen of one that hears nothing."""
        stands = await self._stands(name)
        ends = await self.sender.ends(stands)
        return sum(max(0, ends[part] - at) for part, at in stands.items())

    async def _stands(self, name: str) -> dict[TopicPartition, int]:
        async with session(self.fleet, name) as con:
            rows = await con.fetch("select topic, part, next from position where topic <> 'clock.ticks'")
        return {TopicPartition(row["topic"], row["part"]): row["next"] for row in rows}

    async def read_up(self, patience: float = PATIENCE) -> None:
        """Every service has applied what its inputs held at this moment, whatever comes meanwhile. Raises Trouble with who has
        not, and by how many records."""
        ends: dict[TopicPartition, int] = {}
        behind: dict[str, int] = dict.fromkeys(SERVICES, -1)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self._all_run()
            with contextlib.suppress(KafkaError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # just back
                stands = {name: await self._stands(name) for name in SERVICES}
                ends = ends or await self.sender.ends({part for parts in stands.values() for part in parts})
                left = {
                    name: sum(max(0, ends[part] - at) for part, at in parts.items()) for name, parts in stands.items()
                }
                if not (behind := {name: n for name, n in left.items() if n}):
                    return
            await asyncio.sleep(pause(deadline - patience))
        raise Trouble(f"after {patience:.0f} s not all is applied that the inputs held: {behind} records left",
                      f"the logs stand in {self.fleet.stack.folder}/services", UNREACHABLE)  # fmt: skip

    def note(self, what: str) -> None:
        """Into the schedule, and to whoever watches."""
        self.schedule.append(f"{datetime.now(UTC):%H:%M:%S} {what}")
        self.say(what)

    # --- how it comes to rest

    def expected(self) -> Expected:
        """What must come of the journal as it is now."""
        return expect(self.journal.entries, PUBLISHERS, self.ticked)

    def status(self, name: str) -> dict[str, Any]:
        """All that a service says, its database included, which on a busy machine takes a while."""
        return self.fleet.status(name, 60)

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """Every service's /status."""
        return {name: await asyncio.to_thread(self.fleet.status, name) for name in SERVICES}

    async def nothing_lags(self, patience: float = PATIENCE) -> None:
        """Everything acknowledged until now is answered, and no service lags or holds. Raises Trouble with what is left, and
        where that is."""
        missing, deadline = set(self.sender.awaited), time.monotonic() + patience
        look = time.monotonic() + 5
        busy: dict[str, Any] = {}
        while time.monotonic() < deadline:
            self._all_run()
            missing &= self.sender.awaited.keys()
            if (
                missing and time.monotonic() > look
            ):  # a wave that was broken off leaves what rests on what was never sent
                missing -= {(one.publisher, one.id, one.content) for one in self.expected().all if one.verdict == WAITS}
                look = time.monotonic() + 20
            if not missing:
                busy = {name: stands for name, said in (await self.statuses()).items() if (stands := standing(said))}
                if self._under_load():  # then something always lags a little
                    busy = {
                        name: stands for name, stands in busy.items() if not set(stands) <= {"lag", "outbox", "acting"}
                    }
                if not busy:
                    return
            await asyncio.sleep(pause(deadline - patience))
        busy = {name: stands for name, said in (await self.statuses()).items() if (stands := standing(said))}
        raise Trouble(f"after {patience:.0f} s {len(missing)} are not answered ({await self._where(missing)}), and {busy} stands",
                      f"the logs stand in {self.fleet.stack.folder}/services", UNREACHABLE)  # fmt: skip

    async def _where(self, missing: Set[tuple[str, str, str]]) -> str:
        """What became of submissions without an answer: what waits behind something that stands still is another failure than
        what is lost."""
        meant = list(self.expected().all)
        found = [one for one in meant if (one.publisher, one.id, one.content) in missing]
        types, taken = str(dict(Counter(one.type for one in found))), 0
        try:
            for name in ANSWERING:
                async with session(self.fleet, name) as con:
                    sql = "select count(*) from answered where key = any($1)"
                    taken += await con.fetchval(sql, [one.reference for one in found])
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # nobody can say
            return types
        said = [one for one in (await self.statuses()).values() if "outbox" in one]
        aside = sum(one["set_aside"]["count"] + sum(subject["kept"] for subject in one["quarantined"]) for one in said)
        waits = sum(one["waiting"] for one in said) - sum(one.acknowledged and one.verdict == WAITS for one in meant)
        fates = {"taken in and no answer left": taken - max(0, waits), "waiting for what is not there": waits, "set aside": aside,
                 "never taken in": len(found) - taken - aside}  # fmt: skip
        return "; ".join([types, *(f"{n} {fate}" for fate, n in fates.items() if n > 0)])

    def _all_run(self) -> None:
        """Raises Trouble where a service has ended that should serve."""
        for name in SERVICES:
            one = self.fleet.processes[name]
            if one.child is not None and one.pid is None:
                raise Trouble(
                    f"{name} ended by itself with {one.child.returncode}: {one.last_words()}",
                    f"see {one.log}",
                    UNREACHABLE,
                )

    def _under_load(self) -> bool:
        return any(not wave.done() for wave in self._waves)

    async def caught_up(self) -> None:
        """What was sent until now is acknowledged and answered, and nothing lags."""
        await self.sender.acknowledged()
        await self.nothing_lags()

    async def rest(self, at: datetime | None = None) -> None:
        """All sent, acknowledged, answered; two ticks acted on by everybody; every attempt with its result."""
        await asyncio.gather(*self._waves)
        self._waves.clear()
        await self.caught_up()
        for second in (0, 1):
            await self.tick_through(at + second * TICK if at else None)
            await self.nothing_lags()  # what the first raised is told at the second, and beside no other mail
            await self._until(self.fleet.mailed, "a result for each attempt", LEASE_OVER)
        await self.nothing_lags()

    def _acted(self, tick: int) -> bool:
        return all(self.fleet.has_acted(name, tick) for name in SERVICES)

    async def _until(self, what: Callable[[], bool], name: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not await asyncio.to_thread(what):
            if time.monotonic() > deadline:
                busy = {one: stands for one, said in (await self.statuses()).items() if (stands := standing(said))}
                raise Trouble(
                    f"waited {patience:.0f} s for {name}; what stands: {busy}", "see the services' logs", UNREACHABLE
                )
            await asyncio.sleep(pause(deadline - patience))

    async def until(self, what: Callable[[], Any], name: str, patience: float = 150.0) -> None:
        """Waits for a fact, with a deadline. Raises Trouble naming it."""
        await self._until(lambda: bool(what()), name, patience)

    async def balance(self, *, last: bool = False) -> Ledger:
        """At rest: the ledger of everything since the night began. `last`: the next day is ticked, so that reports are due."""
        await self.rest(LAST_DAY_TICK if last else None)
        expected = self.expected()
        observed = await observe(self.fleet)
        ledger = held_against(expected, observed, ticked=self.ticked, figures=last, mailboxes=MAILBOXES, doubtful=self.doubtful,
                              recoveries=self.recoveries, progress=self.progress)  # fmt: skip
        self.recoveries, self.progress = [], []  # named once
        self.ledgers += 1
        self.figures += bool(ledger.counts.get("months released"))
        return ledger


async def in_one_hour(seconds: float = 150.0) -> None:
    """Returns once the hour lasts for so long yet: what is counted by the hour is then counted in one."""
    if (left := 3600 - time.time() % 3600) < seconds:
        await asyncio.sleep(left + 1)


@contextmanager
def house(seed: int, say: Callable[[str], None] = lambda _: None, brokers: int = 1) -> Iterator[Night]:
    """A night in a house of its own, with a door for a proxy: what is broken there is nobody else's."""
    setup = Setup(PUBLISHERS_FILE, ORGANISATIONS_FILE, simulated=True, testing=True)
    with ephemeral(setup, doors=1, brokers=brokers) as fleet:
        yield Night(fleet, fleet.stack.folder / "night", seed, say)


class Window:
    """The time in which a fault bites, in one piece or in several. What was done outside of it is no progress beside it."""

    def __init__(self, night: Night, fault: str, beside: Mapping[str, int]) -> None:
        self.night, self.fault, self.beside = night, fault, beside
        self.began = time.monotonic()
        self._since: float | None = None
        """When the piece began that is not over."""
        self._stood: dict[str, int] = {}
        self._done: Counter[str] | None = None
        """What each part did in the pieces that are over; None before it bit for the first time."""

    async def bites(self) -> None:
        """The fault is there: what is done from now on counts, and a wave is sent, so that there is something to go on with."""
        self._done = self._done or Counter()
        self._stood = {name: await self.night.applied(name) for name in self.beside if name not in ANSWERING}
        self._since = time.monotonic()
        self.night.wave(8, 8, pace=0.03)

    async def heals(self) -> None:
        """The fault is gone, for good or until it bites again: what is done from now on does not count."""
        self._done, self._since = await self._until(time.monotonic()), None

    async def all_went_on(self) -> bool:
        """Whether each part did its least by now. A fault that lets through little lasts until then: a busy machine gets less
        done between two of them, and is no standstill."""
        return all(part.done >= part.least for part in await self.progress(time.monotonic()))

    async def lasts(self, patience: float = PATIENCE) -> None:
        """Returns once all went on, or patience (seconds) is over: who begins again within a second leaves the others no time to be
        seen. Where they stood still, the ledger says so."""
        until = time.monotonic() + patience
        while not await self.all_went_on() and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def progress(self, healed: float) -> list[Progress]:
        """What each part did while it bit, at most until it was healed (monotonic seconds)."""
        done = await self._until(healed)
        return [Progress(self.fault, part, done[part], least) for part, least in self.beside.items()]

    async def _until(self, end: float) -> Counter[str]:
        """Raises AssertionError where nobody said when it bites: all the time in which all was well would count."""
        if self._done is None:
            assert not self.beside, f"nobody said when it bites: {self.fault}"
            return Counter()
        done = self._done.copy()
        if (since := self._since) is None:
            return done
        for part in self.beside:
            if part in ANSWERING:
                done[part] += sum(since <= at <= end and name == part for at, name in self.night.sender.times)
            else:
                done[part] += await self.night.applied(part) - self._stood[part]
        return done


def standing(said: Mapping[str, Any]) -> dict[str, Any]:
    """What of a status is not at rest; empty: all is."""
    if "outbox" not in said:
        return {"silent": True}
    seen = {"not ready": not said["ready"], "lag": said["lag"], "held": said["held"], "outbox": said["outbox"]["rows"],
            "acting": said["clock"]["acting"]}  # fmt: skip
    return {name: value for name, value in seen.items() if value}
