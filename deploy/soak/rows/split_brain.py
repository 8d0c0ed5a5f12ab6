"""Split brain (ours, numbered above 100): several workers, each with every partition."""

import asyncio
import time
from random import Random

from deploy.soak.faults import processes
from deploy.soak.faults.processes import another, armed
from deploy.soak.night import Night
from deploy.soak.rows.matrix import SOAK, row, see


async def split(night: Night, name: str, workers: int, seconds: float) -> str:
    """Workers of one service, each with every partition, some dying at seams, some frozen, some killed: for ever two minds."""
    chance, deaths = Random(night.chance.random()), 0
    seams = [
        "before_commit:kill:{n}",
        "after_commit:kill:{n}",
        "after_ack:kill:{n}",
        "before_commit:lose:{n}",
        "after_commit:lose:{n}",
    ]
    async with night.broken(f"{workers} workers of {name} on all partitions", limit=45):
        traffic = night.wave(36, 30, pace=seconds / 1100)
        others = [asyncio.create_task(_mind(night, name, chance, seams)) for _ in range(workers - 1)]
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until or not traffic.done() or deaths < workers:
                await asyncio.sleep(0.2)
                if traffic.done() and time.monotonic() > until + 4 * seconds:
                    break  # nobody dies: said below
                if (
                    traffic.done() and deaths < workers
                ):  # a slow machine takes long to start who shall die under traffic
                    traffic = night.wave(12, 20, pace=seconds / 1100)
                for n, one in enumerate(others):
                    if one.done():
                        deaths += one.result()
                        others[n] = asyncio.create_task(_mind(night, name, chance, seams))
        finally:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)
    see(deaths >= workers, f"only {deaths} deaths")
    night.kills += deaths
    return f"{deaths} deaths and losses at seams, frozen and killed at random; recovered in {night.recoveries[-1].seconds:.1f} s"


async def _mind(night: Night, name: str, chance: Random, seams: list[str]) -> int:
    """One further worker and its end; 1 where it died."""
    seam = chance.choice(seams).format(n=chance.randint(2, 12))
    async with another(night, name, LOTSE_FAILPOINT=seam) as one:
        until = time.monotonic() + chance.uniform(3, 7)
        while time.monotonic() < until and one.pid is not None:
            await asyncio.sleep(0.1)
        if one.pid is not None and chance.random() < 0.4:
            async with processes.frozen(one, chance.uniform(0.5, 3)):
                pass
        if one.pid is not None:
            one.kill()
        return 1


@row(
    101,
    "split brain: two workers of referral on all partitions",
    "SIGKILL, SIGSTOP and lost replies, at seams and at random, 25 s",
)
async def two_minds(night: Night) -> str:
    return await split(night, "referral", 2, 25)


@row(102, "split brain: four workers of referral on all partitions", "as 101, 60 s", SOAK)
async def four_minds(night: Night) -> str:
    return await split(night, "referral", 4, 60)


@row(103, "split brain: two workers of intake on all partitions", "as 101, 20 s", SOAK)
async def two_minds_of_intake(night: Night) -> str:
    return await split(night, "intake", 2, 20)


@row(
    104,
    "a reply to COMMIT lost on a quiet partition",
    "one message, the connection lost before and after the commit, nobody else there",
    quiet=True,
)
async def lost_reply(night: Night) -> str:
    for seam in ("before_commit:lose:1", "after_commit:lose:1"):
        async with armed(night, "referral", seam) as one:
            written = one.log.stat().st_size
            wave = night.load.wave(1, 0, noise=False)
            run = next(meant for meant in wave.first if meant.type == "offer_run_submitted")
            await night.sender.send([run])
            await night.sender.acknowledged()
            await night.nothing_lags()
            see(b"ConnectionResetError" in one.log.read_bytes()[max(0, written - 2000) :], "no reply was lost")
    return "found out by a seek back, answered once"
