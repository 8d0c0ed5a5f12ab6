"""Split brain (ours, numbered above 100): several workers, each with every partition."""

import asyncio
import itertools
import time
from collections import Counter
from functools import partial
from random import Random

from deploy.local.processes import Process
from deploy.soak.faults import processes
from deploy.soak.faults.processes import another, armed, restart
from deploy.soak.night import ANSWERING, Night
from deploy.soak.rows.matrix import SOAK, held_by, row, see

SEAMS = ("before_commit", "after_commit", "before_send", "after_ack")
OF_MAIL = ("after_claim", "after_begin", "after_errand")
LEASE = "4"  # seconds: what a dead worker has begun is uncertain before the row is over


async def split(night: Night, name: str, workers: int, seconds: float) -> str:
    """Workers of one service, each with every partition, some dying at seams, some frozen there, some killed: for ever two
    minds."""
    chance, struck = Random(night.chance.random()), Counter[str]()
    at = SEAMS + (OF_MAIL if name == "notification" else ())
    seams = [f"{seam}:{what}" for seam in at for what in ("kill", "stop")] + ["before_commit:lose", "after_commit:lose"]
    chance.shuffle(seams)
    turn = itertools.cycle(seams)  # each before any comes again
    ended = 0
    async with night.broken(f"{workers} workers of {name} on all partitions", limit=45):
        traffic = night.wave(36, 30, pace=seconds / 1100)
        others = [asyncio.create_task(_mind(night, name, chance, next(turn))) for _ in range(workers - 1)]
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until or not traffic.done() or struck.total() < workers:
                await asyncio.sleep(0.2)
                if name not in ANSWERING:  # it has most to do where time passes
                    await night.tick()
                if traffic.done() and time.monotonic() > until + 4 * seconds:
                    break  # too few were struck: said below
                if traffic.done() and struck.total() < workers:  # a slow machine takes long to start who shall die
                    traffic = night.wave(12, 20, pace=seconds / 1100)
                for n, one in enumerate(others):
                    if one.done():
                        struck[one.result()] += 1
                        struck.pop("", None)
                        ended += 1
                        others[n] = asyncio.create_task(_mind(night, name, chance, next(turn)))
        finally:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)
    see(struck.total() >= workers, f"only {dict(struck)} struck")
    night.kills += ended
    night.doubtful += ended if name == "notification" else 0  # what each had begun
    return (
        f"{ended} workers came and were killed, before that {', '.join(sorted(struck))} had struck; {night.recovered}"
    )


async def _mind(night: Night, name: str, chance: Random, seam: str) -> str:
    """One further worker and its end; the seam that struck it before, if it did."""
    nth = chance.randint(1, 2) if seam.partition(":")[0] in OF_MAIL else chance.randint(2, 12)
    async with another(night, name, LOTSE_FAILPOINT=f"{seam}:{nth}", LOTSE_LEASE_SECONDS=LEASE) as one:
        until = time.monotonic() + chance.uniform(3, 7)
        while time.monotonic() < until and one.pid is not None:
            await asyncio.sleep(0.1)
        struck = processes.struck(one) or (seam.endswith(":lose") and b"ConnectionResetError" in one.log.read_bytes())
        if one.pid is not None and chance.random() < 0.4:
            async with processes.frozen(one, chance.uniform(0.5, 3)):
                pass
        processes.thawed(one)  # where it froze at a seam: it goes on with what others have done meanwhile
        await asyncio.sleep(chance.uniform(0, 1))
        if one.pid is not None:
            one.kill()
        return seam if struck else ""


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
    107, "split brain: two workers of notification on all partitions", "as 101, at the seams of a mail, too, 30 s", SOAK
)
async def two_minds_of_notification(night: Night) -> str:
    await restart(night, "notification", LOTSE_LEASE_SECONDS=LEASE)
    try:
        return await split(night, "notification", 2, 30)
    finally:
        await night.rest()
        await restart(night, "notification")


@row(109, "split brain: four workers of reporting on all partitions", "as 101, 20 s", SOAK)
async def four_minds_of_reporting(night: Night) -> str:
    return await split(night, "reporting", 4, 20)


@row(
    104,
    "a reply to COMMIT lost on a quiet partition",
    "one message, the connection lost before and after the commit, nobody else there",
    quiet=True,
)
async def lost_reply(night: Night) -> str:
    for seam in ("before_commit:lose:1", "after_commit:lose:1"):
        before = night.fleet.processes["referral"].log.stat().st_size
        async with armed(night, "referral", seam) as one:
            wave = night.load.wave(1, 0, noise=False)
            run = next(meant for meant in wave.first if meant.type == "offer_run_submitted")
            await night.sender.send([run])
            await night.sender.acknowledged()
            await night.until(partial(_lost, one, before), f"a reply lost at {seam}")
            await night.until(
                partial(night.sender.outcomes.__contains__, (run.publisher, run.id)),
                f"an answer to what was under way when the reply was lost at {seam}",
            )
            await night.until(
                lambda: "everything" not in held_by(night, "referral"),
                f"a seek back: everything is held since the reply was lost at {seam}",
            )
            await night.nothing_lags()
    return "found out by a seek back, answered once"


def _lost(one: Process, before: int) -> bool:
    """Whether a process has said, beyond so many bytes of its log, that it lost a connection."""
    return b"ConnectionResetError" in one.log.read_bytes()[before:]
