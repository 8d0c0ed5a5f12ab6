"""Consumer and relay processes: crashes at seams, zombies, slow and hanging ones, members that come and go."""

import asyncio
import time
from dataclasses import replace

import httpx

from deploy.places import SERVICES
from deploy.soak.faults import database, network, processes, the_log
from deploy.soak.faults.processes import another, armed, dead, kill, restart, start
from deploy.soak.night import PATIENCE, Night
from deploy.soak.observed import ANSWERS, FACTS, records_of
from deploy.soak.rows.matrix import BESIDE, SOAK, nobody_leaves, progressed, row, see


async def at_seam(night: Night, service: str, seam: str) -> str:
    """A process dies at a seam under load; a sound one takes its place."""
    beside = {} if service == "intake" else {"intake": 5, "reporting": 5}
    fault = night.broken(f"{service} dies at {seam}", beside=beside)
    async with fault as window, armed(night, service, f"{seam}:kill:4") as one:
        async with asyncio.timeout(PATIENCE):
            while one.pid is not None:  # a slow one takes a whole wave in fewer transactions than the seam counts
                wave = night.wave(14, 20, pace=0.002)
                while one.pid is not None and not wave.done():
                    await asyncio.sleep(0.05)
        code = await dead(night, one)
        see(code == -9, f"{service} ended with {code}, not by the failpoint")
        night.kills += 1
        await window.bites()
        await window.lasts()
    return f"{service} died by SIGKILL at {seam}, {night.recovered}"


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


@row(
    4,
    "crash of the relay before publishing",
    "failpoint before_send, SIGKILL, in referral; then SIGKILL of intake and referral every 0-2 s, four times (soak: twelve)",
)
async def killed_again_and_again(night: Night) -> str:
    seen = await at_seam(night, "referral", "before_send")
    async with night.broken("kills at random"):
        night.wave(24, 24, pace=0.004)
        kills = round(night.lasts(4, 12))
        for n in range(kills):
            await asyncio.sleep(night.chance.uniform(0, 2))
            name = ("referral", "intake")[n % 2]
            kill(night, name)
            await start(night, name, LOTSE_GROUP=f"{name}-{n}")  # a dead member's session is looked at in row 15
        for name in ("referral", "intake"):
            await restart(night, name)
    return f"{seen}; {kills} SIGKILLs, {night.recovered}"


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
    "SIGSTOP of one of two members, the one that leads the relay, 30 s (soak: 40)",
)
async def zombie(night: Night) -> str:
    beside = {"intake": 10, "referral": 20, "reporting": 20}
    one, before = night.fleet.processes["referral"], await the_log.members(night, "referral")
    async with another(night, "referral", own_group=False):
        async with night.broken("a member frozen", beside=beside) as window:
            night.wave(16, 24, pace=0.02)
            await asyncio.sleep(2)
            leads = await database.came_to_lead(night, "referral", one, 60)
            see(leads, "the member to be frozen does not lead the relay")
            async with processes.frozen(one, night.lasts(30, 40)):
                await window.bites()
                see(processes.struck(one), "the member is not frozen")
                moved = await the_log.became(night, "referral", lambda now: bool(now) and not now & before)
                see(moved, "the frozen member is still one of its group: no partition moved")
        back = await the_log.became(night, "referral", lambda now: len(now) == 2)
        see(back, "the zombie did not come back into its group")
    return f"put out of its group, the other went on, the zombie came back; {night.recovered}"


@row(
    7,
    "zombie relay: the leader frozen, another takes over, the first awakes",
    "SIGSTOP 30 s of the leading one of two workers",
)
async def zombie_relay(night: Night) -> str:
    one = night.fleet.processes["referral"]
    async with another(night, "referral") as other:
        async with night.broken("the leading relay frozen", limit=45, beside={"referral": 20}) as window:
            leads = await database.came_to_lead(night, "referral", one, 60)
            see(leads, "the worker to be frozen does not lead the relay")
            night.wave(12, 24, pace=0.01)
            async with processes.frozen(one, 30.0):
                await window.bites()
                see(processes.struck(one), "the leader is not frozen")
                taken = await database.came_to_lead(night, "referral", other, 28)
                see(taken, "nobody leads the relay in the place of who is frozen")
        see(await database.leads(night, "referral", other), "who awoke leads the relay again")
    return f"{night.progress[-1].done} answers left meanwhile; {night.recovered}"


SESSION = 20.0  # seconds without a heartbeat after which Kafka takes a member for dead (services/host/host.py)


@row(
    8,
    "a batch takes longer than the session timeout",
    "a proxy delays referral's database by 1 s each way, until one batch has taken longer than 20 s",
)
async def slow_handler(night: Night) -> str:
    async with network.through(night, "referral", database=True) as proxy:
        await night.wave(4, 8)  # its connections are made: a new one would take too long, and nothing would be tested
        await night.caught_up()
        retried = held_batches(night, "referral")
        async with nobody_leaves(night, "referral"), night.broken("a slow handler", beside=BESIDE) as window:
            night.wave(16, 16, pace=0.01)
            proxy.delay = 1.0
            await window.bites()
            took = await longest_batch(night, "referral", SESSION, patience=150)
            proxy.heal()
        see(took > SESSION, f"no batch took longer than {took:.1f} s")
        tries = held_batches(night, "referral") - retried
        see(tries == 0, f"{tries} batches were given up, so it was not one that took so long")
    return f"a batch took {took:.1f} s, no member left, {night.recovered}"


async def longest_batch(night: Night, service: str, enough: float, patience: float) -> float:
    """Seconds between two moves of a service's positions, at most, while it has something to do; ends once they are enough."""
    stands, moved = await night.applied(service), time.monotonic()
    until, longest = moved + patience, 0.0
    while longest <= enough and time.monotonic() < until:
        await asyncio.sleep(0.1)
        if (now := await night.applied(service)) != stands:
            longest = max(longest, time.monotonic() - moved)
            stands, moved = now, time.monotonic()
    return longest


def held_batches(night: Night, service: str) -> float:
    """How many batches of a service were sought back since it was started."""
    return processes.metric(night, service, "lotse_batches_held_total")


@row(
    108, "a lock is held longer than the session timeout", "every table of referral locked for 22 s by an idle session"
)
async def lock_held(night: Night) -> str:
    async with nobody_leaves(night, "referral"), night.broken("referral's tables locked", beside=BESIDE) as window:
        night.wave(16, 16, pace=0.01)
        async with database.locked(night, "referral"):
            await window.bites()
            await asyncio.sleep(22)
            see(night.status("referral").get("held"), "nothing is called held")
    return f"held, no member left, {night.recovered}"


@row(
    10,
    "rolling restart of all replicas",
    "every service one after the other, SIGTERM, two workers of referral, under load",
)
async def rolling(night: Night) -> str:
    async with (
        another(night, "referral", own_group=False),
        night.broken("every service restarted", beside={"intake": 20, "referral": 20}) as window,
    ):
        night.wave(16, 16, pace=0.01)
        for name in SERVICES:
            await window.bites()
            began = time.monotonic()
            await asyncio.to_thread(night.fleet.processes[name].stop)
            child = night.fleet.processes[name].child
            see(child is not None and child.returncode == 0, f"{name} did not end with 0")
            see(time.monotonic() - began < 25, f"{name} took {time.monotonic() - began:.0f} s to stop")
            await start(night, name)
            await window.heals()
    return f"each ended with 0; {night.recovered}"


@row(9, "rebalance storm", "a further member of referral's group joins and leaves, four times")
async def rebalances(night: Night) -> str:
    beside = {"referral": 100, "intake": 40, "reporting": 40, "notification": 1}
    async with night.broken("members come and go", beside=beside) as window:
        night.wave(30, 24, pace=0.012)
        for n in range(1, 5):
            async with another(night, "referral", own_group=False):
                await window.bites()
                came = time.monotonic()
                night.wave(6, 12, pace=0.01)
                await night.tick()  # risks are raised by it: notification has something to go on with
                await asyncio.sleep(1.5)
                while not progressed(night, "referral", came, 25) and time.monotonic() < came + 15:
                    await asyncio.sleep(0.1)  # a busy machine takes longer to move partitions, and is no standstill
            await window.heals()
            see(
                progressed(night, "referral", came, 5), f"referral gave hardly an answer while member {n} came and went"
            )
    done = night.progress[-4].done
    return f"{done} answers of referral meanwhile; {night.recovered}"


@row(12, "more members than partitions", "ten members of reporting on nine partitions")
async def idle_members(night: Night) -> str:
    workers = [another(night, "reporting", own_group=False) for _ in range(9)]
    async with asyncio.timeout(PATIENCE), night.broken("ten members of reporting"):
        ready = await asyncio.gather(*(worker.__aenter__() for worker in workers), return_exceptions=True)
        try:
            see(not (late := [one for one in ready if isinstance(one, BaseException)]), f"not ready: {late}")
            see(len(await the_log.members(night, "reporting")) == 10, "not ten members")
            night.wave(6, 12)
        finally:
            there = [worker for worker, one in zip(workers, ready, strict=True) if not isinstance(one, BaseException)]
            await asyncio.gather(*(worker.__aexit__(None, None, None) for worker in there))
    return "each was ready; nothing lost"


@row(
    13,
    "many members at once on a backlog",
    "referral stopped while 3,000 reports (soak: 50,000) are sent; then three members at once",
    SOAK,
)
async def backlog(night: Night) -> str:
    wave = night.load.wave(80, round(night.lasts(50, 800)))
    await night.play(replace(wave, then=[]))
    await night.caught_up()
    await asyncio.to_thread(night.fleet.processes["referral"].stop)
    async with night.broken("a backlog", limit=30):
        await night.play(replace(wave, first=[]))
        await night.sender.acknowledged(300)
        left = len(night.sender.awaited)
        see(left > night.lasts(3_000, 50_000) * 0.9, f"only {left} wait, so nothing was tested")
        began = time.monotonic()
        members = [another(night, "referral", own_group=False) for _ in range(2)]
        ready = await asyncio.gather(
            start(night, "referral"), *(one.__aenter__() for one in members), return_exceptions=True
        )
        try:
            see(not (late := [one for one in ready if isinstance(one, BaseException)]), f"not ready: {late}")
            there = len(await the_log.members(night, "referral"))
            see(there == 3, f"{there} members")
            await night.nothing_lags(300)
            took = time.monotonic() - began
        finally:
            came = [one for one, said in zip(members, ready[1:], strict=True) if not isinstance(said, BaseException)]
            await asyncio.gather(*(one.__aexit__(None, None, None) for one in came))
    return f"{left} waited; drained {took:.1f} s after three members were started, {left / took:.0f}/s"


@row(
    15,
    "the loop hangs",
    "referral blocks before a commit: /live gives no answer, its stacks stand in the log; SIGKILL, a new one",
    quiet=True,
)
async def hangs(night: Night) -> str:
    log = night.fleet.processes["referral"].log
    await night.nothing_lags()  # else it hangs over what lay there before anybody heard that it is ready
    await restart(night, "referral", LOTSE_FAILPOINT="before_commit:block:3")
    said = log.stat().st_size
    async with night.broken("referral hangs", beside={"intake": 5}) as window:
        night.wave(8, 16, pace=0.005)
        try:
            began, code = time.monotonic(), 200
            while code == 200 and time.monotonic() - began < 30:
                code = await live(night, "referral")
                await asyncio.sleep(0.2)
            see(code != 200, "/live said 200 of a hanging process")
            took = time.monotonic() - began
            await window.bites()
            while (stacks := log.read_bytes()[said:].count(b"in transact")) == 0 and time.monotonic() - began < 60:
                await asyncio.sleep(0.5)
            see(stacks, "nothing in the log says where it hangs")
            shown = time.monotonic() - began
        finally:  # whatever was seen, it hangs
            kill(night, "referral")
            began = time.monotonic()
            await start(night, "referral")
        back = time.monotonic() - began
    return (f"/live gave no answer after {took:.1f} s, where it hangs stood in the log after {shown:.1f} s; a new process served"
            f" {back:.1f} s after the SIGKILL of the old")  # fmt: skip


async def live(night: Night, name: str) -> int:
    """What a probe hears of a service; 0 where it hears nothing within three seconds."""
    try:
        return (await asyncio.to_thread(night.fleet.ask, name, "/live", 3)).status_code
    except httpx.HTTPError:
        return 0


@row(
    106,
    "full stop",
    "every service, then Kafka and Postgres, SIGTERM under load; 5 s of silence; all started again",
    SOAK,
)
async def full_stop(night: Night) -> str:
    codes: dict[str, int | None] = {}
    async with night.broken("everything stopped", limit=60):
        night.wave(12, 16, pace=0.01)
        await asyncio.sleep(1)
        began = time.monotonic()
        for name in (*SERVICES, "kafka", "postgres"):
            codes[name] = await asyncio.to_thread(processes.process(night, name).stop, 60.0)
        stopped = time.monotonic() - began
        await asyncio.sleep(5)
        for name in ("postgres", "kafka", *SERVICES):
            await start(night, name)
    wrong = {name: code for name, code in codes.items() if code not in (0, 143)}  # Java ends with 128 + SIGTERM
    see(not wrong, f"ended otherwise than orderly: {wrong}")
    return f"all stopped in {stopped:.1f} s, each orderly; {night.recovered}"
