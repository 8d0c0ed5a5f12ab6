"""Resources and time: descriptors, processor, clocks."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

import psutil

from deploy.soak.faults import database, network, processes, the_log
from deploy.soak.faults.processes import restart
from deploy.soak.night import Night
from deploy.soak.rows.matrix import SOAK, row, see


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
        beside = {"intake": 10, "reporting": 10}
        async with night.broken("no descriptor left", limit=45, beside=beside) as window:
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
    return (
        f"limited to {most - 4}, {cut} connections to Kafka and {ended} to Postgres ended; it went on;"
        f" recovered in {night.recoveries[-1].seconds:.1f} s"
    )


@row(69, "a tenth of a processor", "referral stopped for 0.45 of every 0.5 s, 40 s long", SOAK)
async def starved(night: Night) -> str:
    before = await the_log.members(night, "referral")
    beside = {"intake": 10, "reporting": 10}
    async with night.broken("a tenth of a processor", limit=60, beside=beside) as window:
        night.wave(10, 16, pace=0.05)
        await window.bites()
        until = time.monotonic() + 40
        while time.monotonic() < until:
            async with processes.frozen(night.fleet.processes["referral"], 0.45):
                pass
            await asyncio.sleep(0.05)
    see(await the_log.members(night, "referral") == before, "a member left")
    return f"no member left; recovered in {night.recoveries[-1].seconds:.1f} s"


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
                await night.until(lambda: not night.fleet.status("referral")["outbox"]["rows"], "facts to leave", 30)
    finally:
        await restart(night, "referral")
    return "order by number, not by clock; nothing refused for it"
