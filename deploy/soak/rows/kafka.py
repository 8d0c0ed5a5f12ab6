"""The broker: killed, frozen, down; its offsets lost, its records and topics deleted."""

import asyncio
import time

import httpx

from deploy.local.stack import SERVICES
from deploy.soak import faults
from deploy.soak.faults import kill, start
from deploy.soak.night import Night
from deploy.soak.rows.matrix import SOAK, held_by, row, see


@row(16, "SIGKILL of the broker", "one broker, three rounds under load")
async def broker_killed(night: Night) -> str:
    async with night.broken("the broker killed three times"):
        night.wave(24, 24, pace=0.006)
        for _ in range(3):
            await asyncio.sleep(night.chance.uniform(1, 3))
            kill(night, "kafka")
            await start(night, "kafka")
    return f"three rounds; recovered in {night.recoveries[-1].seconds:.1f} s"


async def alive_meanwhile(night: Night, seconds: float) -> tuple[int, int]:
    """Asks /live and a read of each service while something is broken; (asked, refused)."""
    asked = refused = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, path in (("intake", "/cases"), ("referral", "/counts"), *((name, "/live") for name in SERVICES)):
            asked += 1
            try:
                refused += (
                    await asyncio.to_thread(httpx.get, f"{night.fleet.url(name)}{path}", timeout=5)
                ).status_code != 200
            except httpx.HTTPError:
                refused += 1
        await asyncio.sleep(0.5)
    return asked, refused


@row(18, "broker paused", "SIGSTOP 10 s (soak: 60) under load")
async def broker_frozen(night: Night) -> str:
    async with night.broken("the broker frozen"):
        night.wave(12, 16, pace=0.005)
        await asyncio.sleep(0.5)
        async with faults.frozen(night.fleet.stack.processes["kafka"], night.lasts(10, 60)):
            asked, refused = await alive_meanwhile(night, 8.0)
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    return f"{asked} reads and /live answered meanwhile; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(19, "whole Kafka down", "SIGKILL, 12 s (soak: 60) without, under load")
async def broker_down(night: Night) -> str:
    before = {name: faults.rss(night.fleet.processes[name]) for name in SERVICES}
    async with night.broken("Kafka down"):
        night.wave(12, 16, pace=0.005)
        await asyncio.sleep(0.5)
        kill(night, "kafka")
        try:
            asked, refused = await alive_meanwhile(night, night.lasts(12, 60))
        finally:
            await start(night, "kafka")
    grown = max(faults.rss(night.fleet.processes[name]) - before[name] for name in SERVICES)
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    see(grown < 64 << 20, f"a service grew by {grown >> 20} MiB")
    return f"{asked} reads and /live answered, at most {grown >> 20} MiB more; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(22, "committed offsets lost", "every committed offset of intake and referral set back to 0", quiet=True)
async def offsets_lost(night: Night) -> str:
    names = ("intake", "referral")
    await night.wave(4, 8)
    await night.nothing_lags()  # what was under way when the traffic rested is done
    async with asyncio.timeout(30):  # there must be some to lose
        while not all([await faults.committed(night, name) for name in names]):
            await asyncio.sleep(0.5)
    before = {name: night.fleet.status(name) for name in names}
    async with night.broken("committed offsets set back"):
        parts = 0
        for name in names:
            await asyncio.to_thread(night.fleet.processes[name].stop)
            parts += await faults.offsets_set_back(night, name)
        see(parts > 8, f"only {parts} partitions had a committed offset")
        for name in names:
            await start(night, name)
    for name, said in before.items():
        now = night.fleet.status(name)
        see((now["answered"], now["facts"]) == (said["answered"], said["facts"]), f"{name} answered or recorded again")
    night.wave(6, 12)
    return f"{parts} partitions; nothing was applied again: positions are in the database"


@row(
    23,
    "records deleted below the stored position",
    "reporting stopped, referral.events emptied, reporting started",
    rough=True,
)
async def gap(night: Night) -> str:
    already = {name: held_by(night, name) for name in ("intake", "referral", "notification")}
    await asyncio.to_thread(night.fleet.processes["reporting"].stop)
    await night.wave(6, 8)
    await night.until(lambda: night.fleet.status("referral")["outbox"]["rows"] == 0, "an empty outbox")
    await faults.delete_records(night, "referral.events")
    await start(night, "reporting")
    await night.until(lambda: stands_still(night, "reporting", "referral.events"), "a gap that is named")
    held = stands_still(night, "reporting", "referral.events")
    await night.wave(4, 8)
    await night.until(lambda: not {t: n for t, n in night.fleet.status("reporting")["lag"].items() if t != "referral.events"},
                      "progress of the other topics")  # fmt: skip
    see(stands_still(night, "reporting", "referral.events") >= held, "a gap was skipped")
    for name, known in already.items():
        see(held_by(night, name) == known, f"{name} holds something, too")
    return f"{len(held)} partitions held and named, the other topics went on"


def stands_still(night: Night, name: str, topic: str) -> set[str]:
    """Partitions of a topic that a service holds because of a gap."""
    said = night.fleet.status(name)
    return {one["what"] for one in [*said.get("held", []), *said.get("gaps", [])]
            if one["what"].startswith(f"{topic}/") and one["why"].startswith(("Gap", "PastEnd"))}  # fmt: skip


@row(24, "a topic deleted and made again", "intake.events while referral runs", SOAK, rough=True)
async def made_again(night: Night) -> str:
    await night.wave(6, 8)
    await night.nothing_lags()
    await asyncio.to_thread(night.fleet.processes["referral"].stop)
    async with faults.topic_missing(night, "intake.events"):
        pass
    await start(night, "referral")
    await night.until(lambda: stands_still(night, "referral", "intake.events"), "positions past the end", 90)
    return f"{len(stands_still(night, 'referral', 'intake.events'))} partitions held and named"
