"""Resources and time: memory, disks a service writes to, descriptors, processor, clocks."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

import psutil

from deploy.places import SERVICES
from deploy.soak.faults import database, disks, network, processes
from deploy.soak.faults.processes import restart, start
from deploy.soak.night import Night
from deploy.soak.rows.matrix import BESIDE, SOAK, NotRun, nobody_leaves, row, see

LITTLE, CONTAINER = 4 << 20, 256 << 20
"""Bytes of memory: less than reading anything takes, and what a container would have (250 MB are promised under load)."""


@row(
    14,
    "out of memory",
    "a watchdog ends referral by SIGKILL when it has 4 MiB more than as it began, three times, on a backlog of some 500 reports of"
    " 120 KiB whose participations are known; then at 256 MiB",
)
async def out_of_memory(night: Night) -> str:
    wave = night.load.wave(24, 25, noise=False)
    padding = "x" * (120 << 10)
    fat = [replace(one, body=json.dumps({**json.loads(one.body), "padding": padding}).encode())
           for one in wave.then if one.type == "attendance_reported"]  # fmt: skip
    # all they rest on is known: what waits is held in memory when it wakes, however large
    await night.play(replace(wave, then=[one for one in wave.then if one.type != "attendance_reported"]))
    await night.caught_up()
    grown = []
    async with night.broken("out of memory", beside={"intake": 5}) as window:
        await asyncio.to_thread(night.fleet.processes["referral"].stop)
        await night.play(replace(wave, first=[], then=fat))
        await window.bites()
        try:
            for n in range(3):  # in groups of their own: a dead member's session is looked at in row 15
                await start(night, "referral", LOTSE_GROUP=f"fat-{n}")
                rest = processes.rss(night.fleet.processes["referral"])
                async with processes.memory_limited(night, "referral", rest + LITTLE) as dog:
                    await night.until(dog.has_bitten, f"death {n + 1} of referral by its memory")
                grown.append(f"{rest >> 20} to {dog.peak >> 20} MiB")
            async with processes.memory_limited(night, "referral", CONTAINER) as dog:
                await start(night, "referral", LOTSE_GROUP="fat")
                await night.read_up()
            see(
                not dog.has_bitten(),
                f"{len(fat)} fat reports are more than {CONTAINER >> 20} MiB can bear: a crash loop",
            )
        finally:
            await restart(night, "referral")
    return (
        f"died as it grew from {', '.join(grown)}; what was left it read with {dog.peak >> 20} MiB; {night.recovered}"
    )


@row(
    67,
    "temporary directory full, root file system read-only",
    "every service in mounts of its own, nothing in them writable but /dev, its temporary directory of 4 KiB full",
)
async def nothing_writable(night: Night) -> str:
    if why := disks.no_disk():
        raise NotRun(why)
    mails = len(list(night.fleet.stack.mail_folder.glob("*.eml")))
    async with AsyncExitStack() as sealed:
        for name in SERVICES:
            await sealed.enter_async_context(disks.read_only(night, name))
        logs = {name: night.fleet.processes[name].log.stat().st_size for name in SERVICES}
        await night.wave(10, 26)
        await night.rest()
        for name, written in logs.items():
            log = night.fleet.processes[name].log.read_bytes()[written:]
            see(b'"level": "error"' not in log, f"{name} logged an error: {log[-300:]!r}")
    told = len(list(night.fleet.stack.mail_folder.glob("*.eml"))) - mails
    see(told, "no mail left, so not all was tried")
    return f"each started, served, answered, and {told} mails left; nobody logged an error"


@row(
    68,
    "descriptors run out",
    "referral limited to as many as it has, its connections to Kafka (behind a proxy) and Postgres ended, 10 s",
)
async def few_descriptors(night: Night) -> str:
    async with network.through(night, "referral", kafka=True) as proxy:
        one = night.fleet.processes["referral"]
        assert one.pid is not None
        process = psutil.Process(one.pid)
        usual = process.rlimit(psutil.RLIMIT_NOFILE)
        most = processes.descriptors(one)
        async with night.broken("no descriptor left", limit=45, beside=BESIDE) as window:
            night.wave(10, 16, pace=0.01)
            process.rlimit(psutil.RLIMIT_NOFILE, (most - 4, usual[1]))
            try:
                cut = proxy.open
                proxy.reset()
                ended = await database.terminate_backends(night, "referral")
                await window.bites()
                await asyncio.sleep(10)
            finally:
                if one.pid is not None:
                    process.rlimit(psutil.RLIMIT_NOFILE, usual)
            see(one.pid is not None, f"referral ended: {one.last_words()}")
    see(cut and ended, f"{cut} connections to Kafka and {ended} to Postgres ended, so nothing was tested")
    return f"limited to {most - 4}, {cut} connections to Kafka and {ended} to Postgres ended; it went on; {night.recovered}"


@row(69, "a tenth of a processor", "referral stopped for 0.45 of every 0.5 s, 40 s long", SOAK)
async def starved(night: Night) -> str:
    fault = night.broken("a tenth of a processor", limit=60, beside=BESIDE)
    async with nobody_leaves(night, "referral"), fault as window:
        night.wave(10, 16, pace=0.05)
        await window.bites()
        until = time.monotonic() + 40
        while time.monotonic() < until:
            async with processes.frozen(night.fleet.processes["referral"], 0.45):
                pass
            await asyncio.sleep(0.05)
    return f"no member left; {night.recovered}"


@row(70, "one service's clock two hours ahead, then behind", "referral's Python tells a wrong time")
async def wrong_clock(night: Night) -> str:
    try:
        for hours in (2, -2):
            async with night.broken(f"referral's clock {hours:+} h"):
                await restart(night, "referral", **processes.clock_off(hours))
                wave, now = night.load.wave(8, 16), datetime.now(UTC).isoformat()
                wave.then = [meant if meant.poison else replace(meant, time=now) for meant in wave.then]
                night.play(wave, pace=0.002)  # what is said now lies ahead of a clock two hours behind
                await asyncio.sleep(2)
                await night.until(lambda: not night.status("referral")["outbox"]["rows"], "facts to leave")
    finally:
        await restart(night, "referral")
    return "order by number, not by clock; nothing refused for it"
