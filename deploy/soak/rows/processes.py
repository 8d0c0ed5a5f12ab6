"""Consumer and relay processes: crashes at seams, zombies, slow and hanging ones, members that come and go."""

import asyncio
import time
from dataclasses import replace

import httpx

from deploy.local.stack import SERVICES
from deploy.soak.faults import database, processes, the_log
from deploy.soak.faults.processes import another, armed, dead, kill, restart, start
from deploy.soak.night import PATIENCE, Night
from deploy.soak.observed import ANSWERS, FACTS, records_of
from deploy.soak.rows.matrix import SOAK, row, see


async def at_seam(night: Night, service: str, seam: str) -> str:
    """A process dies at a seam under load; a sound one takes its place."""
    beside = {} if service == "intake" else {"intake": 5}
    async with night.broken(f"{service} dies at {seam}", beside=beside), armed(night, service, f"{seam}:kill:4") as one:
        async with asyncio.timeout(PATIENCE):
            while one.pid is not None:  # a slow one takes a whole wave in fewer transactions than the seam counts
                wave = night.wave(14, 20, pace=0.002)
                while one.pid is not None and not wave.done():
                    await asyncio.sleep(0.05)
        code = await dead(night, one)
        see(code == -9, f"{service} ended with {code}, not by the failpoint")
        night.kills += 1
    return f"{service} died by SIGKILL at {seam}, recovered in {night.recoveries[-1].seconds:.1f} s"


@row(
    1, "crash after the database's commit, before Kafka's", "failpoint after_commit, SIGKILL, in intake and in referral"
)
async def after_commit(night: Night) -> str:
    return "; ".join([await at_seam(night, name, "after_commit") for name in ("intake", "referral")])


@row(2, "crash before the database's commit", "failpoint before_commit, SIGKILL, in intake and in referral")
async def before_commit(night: Night) -> str:
    return "; ".join([await at_seam(night, name, "before_commit") for name in ("intake", "referral")])


@row(3, "crash of the relay between acknowledgement and deletion", "failpoint after_ack, SIGKILL, in referral")
async def after_ack(night: Night) -> str:
    before = await copies(night)
    seen = await at_seam(night, "referral", "after_ack")
    after = await copies(night)
    see(after > before, "nothing was published twice, so nothing was tested")
    return f"{seen}; {after - before} facts and answers stand twice with the same id"


async def copies(night: Night) -> int:
    """How many records on the topics of facts and answers repeat another's id."""
    ids = [dict(record.headers)["ce_id"] for record in await records_of(night.fleet.stack.kafka, [*FACTS, *ANSWERS])]
    return len(ids) - len(set(ids))


@row(4, "crash of the relay before publishing", "SIGKILL of intake and referral every 0-2 s, six times")
async def killed_again_and_again(night: Night) -> str:
    async with night.broken("kills at random"):
        night.wave(24, 24, pace=0.004)
        for n in range(6):
            await asyncio.sleep(night.chance.uniform(0, 2))
            name = ("referral", "intake")[n % 2]
            kill(night, name)
            await start(night, name, LOTSE_GROUP=f"{name}-{n}")  # a dead member's session is looked at in row 15
        for name in ("referral", "intake"):
            await restart(night, name)
    return f"6 SIGKILLs, recovered in {night.recoveries[-1].seconds:.1f} s"


@row(5, "SIGTERM in mid-batch", "SIGTERM of each service under load")
async def stopped_under_load(night: Night) -> str:
    seen = []
    async with night.broken("orderly stops"):
        night.wave(20, 24, pace=0.003)
        for name in SERVICES:
            one = night.fleet.processes[name]
            written = one.log.stat().st_size
            await asyncio.sleep(0.5)
            began = time.monotonic()
            code = await asyncio.to_thread(one.stop)
            seen.append(f"{name} {time.monotonic() - began:.1f} s")
            log = one.log.read_bytes()[written:]
            see(code == 0, f"{name} ended with {code}")
            see(b'"level": "error"' not in log, f"{name} logged an error: {log[-300:]!r}")
            await start(night, name)
    return f"exit 0, no error in the log: {', '.join(seen)}"


@row(
    6,
    "zombie: paused beyond the session timeout, its partitions moved, awake again",
    "SIGSTOP 22 s (soak: 40) of one of two members",
)
async def zombie(night: Night) -> str:
    async with another(night, "referral", own_group=False), night.broken("a member frozen", beside={"intake": 10}):
        night.wave(16, 24, pace=0.02)
        await asyncio.sleep(2)
        async with processes.frozen(night.fleet.processes["referral"], night.lasts(22, 40)):
            night.wave(6, 12)
    return f"the other went on, the zombie came back; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(
    7,
    "zombie relay: the leader frozen, another takes over, the first awakes",
    "SIGSTOP 14 s of the leading one of two workers",
)
async def zombie_relay(night: Night) -> str:
    async with another(night, "referral"), night.broken("the leading relay frozen", limit=45):
        night.wave(12, 24, pace=0.01)
        async with processes.frozen(night.fleet.processes["referral"], 14.0):
            pass
    return f"recovered in {night.recoveries[-1].seconds:.1f} s"


@row(8, "a batch takes longer than the session timeout", "every table of referral locked for 22 s by an idle session")
async def slow_handler(night: Night) -> str:
    before = await the_log.members(night, "referral")
    async with night.broken("referral's tables locked", beside={"intake": 10}):
        night.wave(16, 16, pace=0.01)
        async with database.locked(night, "referral"):
            await asyncio.sleep(22)
            see(night.fleet.status("referral").get("held"), "nothing is called held")
    after = await the_log.members(night, "referral")
    see(before == after and before, f"members changed: {len(before)} before, {len(before & after)} of them after")
    return f"held, no member left, recovered in {night.recoveries[-1].seconds:.1f} s"


@row(
    10,
    "rolling restart of all replicas",
    "every service one after the other, SIGTERM, two workers of referral, under load",
)
async def rolling(night: Night) -> str:
    async with (
        another(night, "referral", own_group=False),
        night.broken("every service restarted", beside={"intake": 20, "referral": 20}),
    ):
        night.wave(16, 16, pace=0.01)
        for name in SERVICES:
            began = time.monotonic()
            await asyncio.to_thread(night.fleet.processes[name].stop)
            child = night.fleet.processes[name].child
            see(child is not None and child.returncode == 0, f"{name} did not end with 0")
            see(time.monotonic() - began < 25, f"{name} took {time.monotonic() - began:.0f} s to stop")
            await start(night, name)
    return f"each ended with 0; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(9, "rebalance storm", "a further member of referral's group joins and leaves, four times")
async def rebalances(night: Night) -> str:
    async with night.broken("members come and go", beside={"referral": 100, "intake": 20}):
        night.wave(30, 24, pace=0.012)
        for _ in range(4):
            async with another(night, "referral", own_group=False):
                await asyncio.sleep(1.5)
    done = night.progress[-2].answers
    return f"{done} answers of referral meanwhile; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(12, "more members than partitions", "ten members of reporting on nine partitions")
async def idle_members(night: Night) -> str:
    workers = [another(night, "reporting", own_group=False) for _ in range(9)]
    async with asyncio.timeout(150), night.broken("ten members of reporting"):
        ready = await asyncio.gather(*(worker.__aenter__() for worker in workers), return_exceptions=True)
        try:
            see(not (late := [one for one in ready if isinstance(one, BaseException)]), f"not ready: {late}")
            see(len(await the_log.members(night, "reporting")) == 10, "not ten members")
            night.wave(6, 12)
        finally:
            there = [worker for worker, one in zip(workers, ready, strict=True) if not isinstance(one, BaseException)]
            await asyncio.gather(*(worker.__aexit__(None, None, None) for worker in there))
    return "each was ready; nothing lost"


@row(13, "many members at once on a backlog", "referral stopped while 3,000 are sent; then three members at once", SOAK)
async def backlog(night: Night) -> str:
    await asyncio.to_thread(night.fleet.processes["referral"].stop)
    wave = night.load.wave(60, 50)
    await night.sender.send(wave.first)
    async with night.broken("a backlog", limit=60):
        await start(night, "referral")
        night.play(replace(wave, first=[]))
        async with another(night, "referral", own_group=False), another(night, "referral", own_group=False):
            await asyncio.sleep(5)
    return f"{len(wave.first) + len(wave.then)} sent; drained in {night.recoveries[-1].seconds:.1f} s"


@row(15, "the loop hangs", "SIGSTOP of referral: /live must fail within its probe's time; SIGKILL and a new one")
async def hangs(night: Night) -> str:
    async with night.broken("referral hangs", beside={"intake": 5}):
        night.wave(8, 16, pace=0.005)
        async with processes.frozen(night.fleet.processes["referral"], 1.0):
            began = time.monotonic()
            try:
                code: object = (
                    await asyncio.to_thread(httpx.get, f"{night.fleet.url('referral')}/live", timeout=3)
                ).status_code
            except httpx.HTTPError as error:
                code = type(error).__name__
            see(code != 200, "/live said 200 of a hanging process")
            took = time.monotonic() - began
            kill(night, "referral")
        began = time.monotonic()
        await start(night, "referral")
        back = time.monotonic() - began
    return f"/live gave {code} after {took:.1f} s; a new process served {back:.1f} s after the SIGKILL of the old"
