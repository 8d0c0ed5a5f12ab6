"""The fault matrix (rows as numbered in the reliability reference): each row breaks something, heals it, and says what it saw.

The ledger is drawn up after each, by who runs it; a row itself checks only what no ledger can see.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.local.stack import SERVICES
from deploy.soak import faults
from deploy.soak.faults import another, armed, dead, kill, restart, start
from deploy.soak.load import CANARY, POISONS, PROVIDER, Wave
from deploy.soak.night import PATIENCE, Night
from deploy.soak.observed import ANSWERS, FACTS, LETTERS, records_of
from deploy.soak.sending import headers_of

PR, SOAK = "pr", "soak"


class Unseen(AssertionError):
    """A row did not see what must hold."""


class NotRun(Exception):
    """A row that can't run here, and why. Never counted as passed."""


@dataclass(frozen=True)
class Row:
    """One row: what is broken, how, and since when it runs in every change's tests or in the soak only."""

    number: int
    title: str
    how: str
    tier: str
    run: Callable[[Night], Awaitable[str]]
    pending: str = ""
    """Why it can't hold yet; it then counts as expected to fail."""
    rough: bool = False
    """It damages the log itself: on a house of its own, without a ledger."""
    quiet: bool = False
    """It counts what a service did, so nothing else may be sent meanwhile."""

    @property
    def name(self) -> str:
        """Number and title, as tests and the table call it."""
        return f"{self.number} {self.title}"


ROWS: list[Row] = []
Run = Callable[[Night], Awaitable[str]]


def row(
    number: int, title: str, how: str, tier: str = PR, *, pending: str = "", quiet: bool = False, rough: bool = False
) -> Callable[[Run], Run]:
    """Enters a row into the matrix."""

    def enter(run: Run) -> Run:
        ROWS.append(Row(number, title, how, tier, run, pending, rough, quiet))
        return run

    return enter


def see(holds: object, what: str) -> None:
    """Raises Unseen where something does not hold."""
    if not holds:
        raise Unseen(what)


# --- consumer and relay process


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
        async with faults.frozen(night.fleet.processes["referral"], night.lasts(22, 40)):
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
        async with faults.frozen(night.fleet.processes["referral"], 14.0):
            pass
    return f"recovered in {night.recoveries[-1].seconds:.1f} s"


@row(8, "a batch takes longer than the session timeout", "every table of referral locked for 22 s by an idle session")
async def slow_handler(night: Night) -> str:
    before = await faults.members(night, "referral")
    async with night.broken("referral's tables locked", beside={"intake": 10}):
        night.wave(16, 16, pace=0.01)
        async with faults.locked(night, "referral"):
            await asyncio.sleep(22)
            see(night.fleet.status("referral").get("held"), "nothing is called held")
    after = await faults.members(night, "referral")
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


@row(12, "more members than partitions", "ten members of reporting on nine partitions", SOAK)
async def idle_members(night: Night) -> str:
    workers: list[Any] = []
    async with asyncio.timeout(150), night.broken("ten members of reporting"):
        try:
            for _ in range(9):
                workers.append(another(night, "reporting", own_group=False))
                await workers[-1].__aenter__()
            see(len(await faults.members(night, "reporting")) == 10, "not ten members")
            night.wave(6, 12)
        finally:
            for worker in reversed(workers):
                await worker.__aexit__(None, None, None)
    return "each was ready; nothing lost"


@row(13, "many members at once on a backlog", "referral stopped while 3,000 are sent; then three members at once", SOAK)
async def backlog(night: Night) -> str:
    await asyncio.to_thread(night.fleet.processes["referral"].stop)
    wave = night.load.wave(60, 50)
    await night.sender.send(wave.first)
    async with night.broken("a backlog", limit=60):
        await start(night, "referral")
        night.play(replace_first(wave, []))
        async with another(night, "referral", own_group=False), another(night, "referral", own_group=False):
            await asyncio.sleep(5)
    return f"{len(wave.first) + len(wave.then)} sent; drained in {night.recoveries[-1].seconds:.1f} s"


@row(15, "the loop hangs", "SIGSTOP of referral: /live must fail within its probe's time; SIGKILL and a new one")
async def hangs(night: Night) -> str:
    async with night.broken("referral hangs", beside={"intake": 5}):
        night.wave(8, 16, pace=0.005)
        async with faults.frozen(night.fleet.processes["referral"], 1.0):
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


# --- broker


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


# --- messages


@row(31, "poison: random bytes, wrong headers, truncated", "every kind of poison among sound submissions")
async def poison(night: Night) -> str:
    wave = night.load.wave(6, 12)
    sound = [meant for meant in wave.then if meant.type == "attendance_reported" and not meant.poison]
    kinds: set[str] = set()
    while len(kinds) < len(POISONS):
        wave.then.insert(night.chance.randrange(len(wave.then)), bad := night.load.poisoned(night.chance.choice(sound)))
        kinds.add(bad.poison)
    await night.play(wave)
    await night.sender.acknowledged()
    await night.nothing_lags()
    return f"{len(kinds)} kinds, each with its dead letter, the sound ones beside them recorded"


@row(
    32,
    "valid envelope, invalid body; unknown type or major version",
    "produced beside sound ones, counted by class",
    quiet=True,
)
async def unreadable(night: Night) -> str:
    def classes() -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for one in night.fleet.status("referral")["dead_letters"]:
            found[one["type"], one["rule"]] = found.get((one["type"], one["rule"]), 0) + one["letters"]
        return found

    before, wave = classes(), night.load.wave(4, 12, noise=False)
    sound = [meant for meant in wave.then if meant.type == "attendance_reported"]
    wanted = {"missing fields", "unknown type", "next major version"}
    while wanted:
        bad = night.load.poisoned(night.chance.choice(sound))
        if bad.poison in wanted:
            wanted.discard(bad.poison)
            wave.then.append(bad)
    await night.play(wave)
    await night.sender.acknowledged()
    await night.nothing_lags()
    more = {name: n - before.get(name, 0) for name, n in classes().items() if n > before.get(name, 0)}
    see(sum(more.values()) == 3 and {type for type, _ in more} == {"body", "type"}, f"counted as {more}")
    return f"set aside by class: {', '.join(sorted(' '.join(name) for name in more))}"


@row(33, "newer minor version with unknown fields", "a field nobody knows in every third report")
async def unknown_fields(night: Night) -> str:
    wave = night.load.wave(6, 12, noise=False)
    unknown = "seit_version_7"
    for n, meant in enumerate(wave.then):
        if n % 3 == 0:
            wave.then[n] = replace(meant, body=json.dumps({**json.loads(meant.body), unknown: "neu"}).encode())
    await night.play(wave)
    await night.sender.acknowledged()
    await night.nothing_lags()
    forwarded = sum(unknown.encode() in record.value for record in await records_of(night.fleet.stack.kafka, FACTS))
    see(forwarded == 0, f"{forwarded} facts forward the unknown field")
    return "accepted, and forwarded by no fact"


@row(35, "oversized message", "8 MiB that gzip makes small, 2 MiB, and one just below the limit, beside sound ones")
async def oversized(night: Night) -> str:
    wave = night.load.wave(4, 8, noise=False)
    n = next(n for n, meant in enumerate(wave.then) if meant.type == "attendance_reported")
    large = replace(
        wave.then[n], body=json.dumps({**json.loads(wave.then[n].body), "padding": "x" * (120 << 10)}).encode()
    )
    wave.then[n] = large
    refused = []
    for size, codec in ((8 << 20, "gzip"), (2 << 20, None)):
        producer = AIOKafkaProducer(
            bootstrap_servers=night.fleet.stack.kafka, compression_type=codec, max_request_size=16 << 20
        )
        await producer.start()
        try:
            await producer.send_and_wait("attendance.submissions.north", b"0" * size)
            raise Unseen(f"{size >> 20} MiB were taken")
        except KafkaError as error:
            refused.append(type(error).__name__)
        finally:
            await producer.stop()
    await night.play(wave)
    await night.sender.acknowledged()
    await night.nothing_lags()
    return f"refused by the broker ({', '.join(refused)}); 120 KiB taken and answered"


@row(
    38,
    "dead-letter replay run twice, and while the consumer runs",
    "a rule breaks; lotse dead-letters replay, three at once, twice",
)
async def replayed_twice(night: Night) -> str:
    why = f"row 38 {uuid4().hex[:6]}"
    typed = ("dead-letters", "replay", "referral", "--why", why, "--at")
    async with armed(night, "referral", "decide:raise:8"):
        night.wave(6, 6, noise=False)
        await night.until(lambda: night.fleet.status("referral")["set_aside"]["count"] > 3, "submissions set aside")
        broken = await asyncio.gather(
            *(faults.lotse(night, "referral", *typed, night.fleet.url("referral")) for _ in range(3))
        )
        see(all(done.returncode == 1 for done in broken), f"a rule that is still broken: {broken[0].stdout}")
    await faults.restart(night, "referral")  # the rule is mended; a service that starts anew judges them itself
    done = await asyncio.gather(
        *(faults.lotse(night, "referral", *typed, night.fleet.url("referral")) for _ in range(3))
    )
    see(all(one.returncode == 0 for one in done), f"{done[0].stdout} {done[0].stderr}")
    await night.nothing_lags()
    see(not night.fleet.status("referral")["set_aside"]["count"], "something is still set aside")
    async with faults.session(night, "referral") as con:
        written = await con.fetchval("select count(*) from lotse.audit where why = $1", why)
    see(written == 6, f"{written} audit entries")
    return "replayed six times, three while the rule was broken: one answer each, six audit entries"


@row(39, "duplicate flood", "everything three times, shuffled, on two partitions, over two rebalances")
async def flood(night: Night) -> str:
    wave = night.load.wave(16, 20)
    wave.first = [replace(meant, copies=3) for meant in wave.first]
    wave.then = [meant if meant.poison else replace(meant, copies=3) for meant in wave.then]
    async with night.broken("everything three times", beside={"referral": 50}):
        night.play(wave, pace=0.004)
        async with another(night, "referral", own_group=False), another(night, "intake", own_group=False):
            await asyncio.sleep(2)
    return f"{sum(meant.copies for meant in wave.first + wave.then)} records, one effect each"


@row(
    40,
    "out of order across topics",
    "referrals, answers and runs 3 s before the cases and consents they rest on",
    quiet=True,
)
async def out_of_order(night: Night) -> str:
    wave = night.load.wave(10, 10)
    before = night.fleet.status("referral")["waiting"]
    await night.sender.send([meant for meant in wave.first if meant.family != "intake"])
    late = [meant for meant in wave.first if meant.family == "intake"]
    await night.until(lambda: night.fleet.status("referral")["waiting"] >= before + 10, "what waits")
    waited = night.fleet.status("referral")["waiting"] - before
    await night.play(replace_first(wave, late))
    await night.sender.acknowledged()
    await night.nothing_lags()
    return f"{waited} waited, all were answered, no dead letter"


def replace_first(wave: Wave, first: list[Any]) -> Wave:
    """A wave whose beginning is another."""
    return Wave(first, wave.gates, wave.then)


@row(
    42,
    "foreign transactions",
    "aborted transactions on every partition of intake's and referral's inputs, the last on idle ones",
)
async def transactions(night: Night) -> str:
    meant = night.load.say("north", "attendance", "attendance_reported", str(uuid4()), PROVIDER, name=CANARY)
    headers = [(name, raw or b"") for name, raw in headers_of(meant)]
    topics = ["intake.submissions.north", "attendance.submissions.south", "attendance.submissions.loud"]
    await faults.aborted(night, topics, meant.body, headers)
    night.wave(6, 12)
    await faults.aborted(night, topics, meant.body, headers)
    return "never acted on; no gap called, no clock stopped"


@row(43, "a hot case", "every second report about one case, 600 of them", SOAK)
async def hot(night: Night) -> str:
    wave = night.load.wave(1, 600, noise=False)
    while not wave.gates:  # one that attends
        wave = night.load.wave(1, 600, noise=False)
    night.play(wave, pace=0.002)
    began = time.monotonic()
    await night.wave(20, 24, pace=0.002)
    await night.nothing_lags()
    return (
        f"{len(wave.then)} reports of one case, {20 * 24} of others, all answered in {time.monotonic() - began:.1f} s"
    )


@row(44, "times in the future, in 1970, in the hour that is not there", "ce_time of sound reports", quiet=True)
async def strange_times(night: Night) -> str:
    wave = night.load.wave(4, 12, noise=False)
    reports = [n for n, meant in enumerate(wave.then) if meant.type == "attendance_reported"]
    ahead = f"{datetime.now(UTC) + timedelta(days=365):%Y-%m-%dT%H:%M:%SZ}"
    times = (
        "1970-01-01T00:00:00Z",
        "2026-03-29T02:30:00+01:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        ahead,
    )
    for n, at in zip(reports, times, strict=False):
        wave.then[n] = replace(wave.then[n], time=at)
    await night.play(wave)
    await night.sender.acknowledged()
    await night.nothing_lags()
    return "the future is refused CLOCK_AHEAD, the others are recorded; no time stands still"


# --- database


@row(46, "Postgres killed under load", "SIGKILL of the postmaster and its children, twice")
async def database_killed(night: Night) -> str:
    async with night.broken("Postgres killed twice"):
        night.wave(20, 20, pace=0.006)
        for _ in range(2):
            await asyncio.sleep(night.chance.uniform(0.5, 2))
            kill(night, "postgres")
            await start(night, "postgres")
    return f"recovered in {night.recoveries[-1].seconds:.1f} s"


@row(49, "connections exhausted", "referral's role limited to one connection for 10 s, those it has ended")
async def exhausted(night: Night) -> str:
    async with night.broken("one connection only", beside={"intake": 10}):
        night.wave(12, 16, pace=0.01)
        async with faults.few_connections(night, "referral", 1):
            await asyncio.sleep(12)
            began = time.monotonic()
            said = await asyncio.to_thread(night.fleet.status, "referral")
            see(said["running"] and time.monotonic() - began < 15, "/status does not come back")
            one = night.fleet.processes["referral"]
            see(one.pid is not None, f"referral ended: {one.last_words()}")
    return f"held and said so; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(50, "deadlocks", "every table of referral locked again and again in the wrong order by another session")
async def deadlocks(night: Night) -> str:
    async with night.broken("locks in the wrong order", limit=45, beside={"intake": 10}):
        night.wave(20, 20, pace=0.006)
        await asyncio.sleep(0.5)
        victim = await faults.cross(night, "referral", 8)
    return (
        f"8 rounds, in {victim} of them the other session gave way; recovered in {night.recoveries[-1].seconds:.1f} s"
    )


@row(
    52, "a migration run twice, and two at once", "lotse migrate of each service, two processes at once, then once more"
)
async def migrations(night: Night) -> str:
    for name in SERVICES:
        done = await asyncio.gather(*(faults.lotse(night, name, "migrate", name) for _ in range(2)))
        done += [await faults.lotse(night, name, "migrate", name)]
        see(all(one.returncode == 0 for one in done), f"{name}: {[one.stderr[-200:] for one in done]}")
        see("nothing to do" in done[-1].stderr + done[-1].stdout, done[-1].stderr)
    night.wave(2, 6)
    return "the second is a no-op"


@row(55, "slow database", "a proxy delays referral's database by 500 ms each way, 8 s (soak: 30), then 1 MB/s, 4 s")
async def slow_database(night: Night) -> str:
    async with faults.through(night, "referral", database=True) as proxy:
        before = faults.rss(night.fleet.processes["referral"])
        members = await faults.members(night, "referral")
        async with night.broken("a slow database", beside={"intake": 10}):
            night.wave(12, 16, pace=0.01)
            proxy.delay = 0.5
            await asyncio.sleep(night.lasts(8, 30))
            proxy.delay, proxy.rate = 0.0, 1e6
            await asyncio.sleep(4)
            proxy.heal()
        grown = faults.rss(night.fleet.processes["referral"]) - before
        see(await faults.members(night, "referral") == members, "a member left")
        see(grown < 64 << 20, f"referral grew by {grown >> 20} MiB")
    return f"no member left, {max(0, grown >> 20)} MiB more; recovered in {night.recoveries[-1].seconds:.1f} s"


# --- network


@row(59, "a service cut from Kafka", "referral behind a proxy, connections reset and refused for 12 s (soak: 60)")
async def cut_from_kafka(night: Night) -> str:
    async with (
        faults.through(night, "referral", kafka=True) as proxy,
        night.broken("referral cut from Kafka", beside={"intake": 20}),
    ):
        night.wave(16, 16, pace=0.015)
        proxy.cut()
        await asyncio.sleep(night.lasts(12, 60))
        proxy.heal()
    return f"recovered in {night.recoveries[-1].seconds:.1f} s"


@row(
    60, "a service cut from its database", "referral behind a proxy, connections reset and refused for 12 s (soak: 60)"
)
async def cut_from_database(night: Night) -> str:
    before = await faults.members(night, "referral")
    async with faults.through(night, "referral", database=True) as proxy:
        before = await faults.members(night, "referral")
        async with night.broken("referral cut from its database", beside={"intake": 20}):
            night.wave(16, 16, pace=0.015)
            proxy.cut()
            began = time.monotonic()
            code = await asked(night, "referral", "/counts")
            took = time.monotonic() - began
            see(code != 200 and took < 15, f"/counts gave {code} after {took:.1f} s")
            await asyncio.sleep(max(0.0, night.lasts(12, 60) - took))
            proxy.heal()
        see(await faults.members(night, "referral") == before, "a member left")
    return f"/counts gave {code} after {took:.1f} s; no member left; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(160, "a read while the database is away", "referral behind a proxy, its database refused; GET /counts", quiet=True)
async def unavailable(night: Night) -> str:
    async with faults.through(night, "referral", database=True) as proxy:
        proxy.cut()
        answer = await asyncio.to_thread(httpx.get, f"{night.fleet.url('referral')}/counts", timeout=20)
        proxy.heal()
    see(answer.status_code == 503 and "retry-after" in answer.headers, f"/counts gave {answer.status_code}")
    return "503 with Retry-After"


async def asked(night: Night, name: str, path: str) -> object:
    """The status code of a question, or the error's name."""
    try:
        return (await asyncio.to_thread(httpx.get, f"{night.fleet.url(name)}{path}", timeout=20)).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


@row(
    61,
    "one-way loss: requests pass, answers do not",
    "referral's database, then Kafka, answers swallowed for 12 s each",
    SOAK,
)
async def one_way(night: Night) -> str:
    for what in ("database", "kafka"):
        async with (
            faults.through(night, "referral", kafka=what == "kafka", database=what == "database") as proxy,
            night.broken(f"answers of the {what} are lost", limit=75, beside={"intake": 10}),
        ):
            night.wave(10, 16, pace=0.01)
            await asyncio.sleep(0.3)
            proxy.mode = "one way"
            await asyncio.sleep(12)
            proxy.heal()
    return f"recovered in {night.recoveries[-2].seconds:.1f} and {night.recoveries[-1].seconds:.1f} s"


@row(62, "a thin line", "referral and Kafka: 50 ms each way and 3 Mbit/s for 60 s", SOAK)
async def thin_line(night: Night) -> str:
    async with faults.through(night, "referral", kafka=True) as proxy:
        before = await faults.members(night, "referral")
        async with night.broken("a thin line", beside={"referral": 50}):
            night.wave(20, 24, pace=0.05)
            proxy.delay, proxy.rate = 0.05, 375_000.0
            await asyncio.sleep(60)
            proxy.heal()
        see(await faults.members(night, "referral") == before, "a member left")
    return f"{night.progress[-1].answers} answers meanwhile; no member left"


@row(64, "connections reset every second", "referral's connections to Kafka and Postgres, 10 times (soak: 60)")
async def resets(night: Night) -> str:
    async with faults.through(night, "referral", kafka=True) as proxy:
        one = night.fleet.processes["referral"]
        before = faults.descriptors(one)
        async with night.broken("connections reset each second", beside={"referral": 20}):
            night.wave(20, 20, pace=0.015)
            for _ in range(round(night.lasts(10, 60))):
                await asyncio.sleep(1)
                proxy.reset()
                if night.chance.random() < 0.5:
                    await faults.terminate_backends(night, "referral")
        after = faults.descriptors(one)
        see(after <= before + 20, f"{before} descriptors before, {after} after")
    return f"{night.progress[-1].answers} answers meanwhile, {proxy.accepted} connections, descriptors {before} and {after}"


@row(65, "half-open connection", "referral's connections to Kafka fall silent for 45 s, then are gone", SOAK)
async def black_hole(night: Night) -> str:
    async with (
        faults.through(night, "referral", kafka=True) as proxy,
        night.broken("a black hole to Kafka", limit=75, beside={"intake": 20}),
    ):
        night.wave(12, 16, pace=0.02)
        proxy.mode = "deaf"
        await asyncio.sleep(45)
        proxy.heal()
    return f"recovered in {night.recoveries[-1].seconds:.1f} s"


@row(
    68,
    "descriptors run out",
    "referral limited to as many as it has, its connections to Kafka and Postgres ended, 10 s",
)
async def few_descriptors(night: Night) -> str:
    one = night.fleet.processes["referral"]
    assert one.pid is not None
    process = psutil.Process(one.pid)
    usual = process.rlimit(psutil.RLIMIT_NOFILE)
    most = faults.descriptors(one)
    async with night.broken("no descriptor left", limit=45, beside={"intake": 10}):
        night.wave(10, 16, pace=0.01)
        process.rlimit(psutil.RLIMIT_NOFILE, (most - 4, usual[1]))
        try:
            await faults.terminate_backends(night, "referral")
            await asyncio.sleep(10)
        finally:
            if one.pid is not None:
                process.rlimit(psutil.RLIMIT_NOFILE, usual)
        see(one.pid is not None, f"referral ended: {one.last_words()}")
    return f"limited to {most - 4}; it went on; recovered in {night.recoveries[-1].seconds:.1f} s"


@row(69, "a tenth of a processor", "referral stopped for 0.45 of every 0.5 s, 40 s long", SOAK)
async def starved(night: Night) -> str:
    before = await faults.members(night, "referral")
    async with night.broken("a tenth of a processor", limit=60, beside={"intake": 10}):
        night.wave(10, 16, pace=0.05)
        until = time.monotonic() + 40
        while time.monotonic() < until:
            async with faults.frozen(night.fleet.processes["referral"], 0.45):
                pass
            await asyncio.sleep(0.05)
    see(await faults.members(night, "referral") == before, "a member left")
    return f"no member left; recovered in {night.recoveries[-1].seconds:.1f} s"


# --- time, settings, mail, canaries


@row(70, "one service's clock two hours ahead, then behind", "libfaketime under referral")
async def wrong_clock(night: Night) -> str:
    library = faults.faketime()
    if library is None:
        raise NotRun("libfaketime is not installed (Debian: faketime)")
    try:
        for offset in ("+2h", "-2h"):
            async with night.broken(f"referral's clock {offset}"):
                await restart(
                    night, "referral", LD_PRELOAD=str(library), FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1"
                )
                night.wave(8, 16, pace=0.002)
                await asyncio.sleep(2)
                await night.until(lambda: not night.fleet.status("referral")["outbox"]["rows"], "facts to leave", 15)
    finally:
        await restart(night, "referral")
    return "order by number, not by clock; nothing refused for it"


@row(
    74, "a missing or invalid setting or secret", "lotse serve with one setting missing, one wrong, one wrong password"
)
async def settings(night: Night) -> str:
    secret = "geheim-4711"
    database = night.fleet.stack.databases["referral"].runtime
    wrong = database.replace(database.split(":")[2].split("@")[0], secret)
    seen = []
    for names, key in (({"LOTSE_KAFKA": ""}, "LOTSE_KAFKA"), ({"LOTSE_HTTP_PORT": secret}, "LOTSE_HTTP_PORT"),
                       ({"LOTSE_DATABASE": wrong}, "")):  # fmt: skip
        began = time.monotonic()
        settings = {"LOTSE_HTTP_PORT": "0", "LOTSE_GROUP": f"wrong-{uuid4().hex[:6]}", **names}
        done = await faults.lotse(night, "referral", "serve", "referral", **settings)
        said = done.stdout + done.stderr
        see(
            done.returncode not in (0, None) and time.monotonic() - began < 60,
            f"{names.keys()} ended with {done.returncode}",
        )
        see(secret not in said and database not in said, f"{'/'.join(names)}: the value is printed")
        see(key in said, f"{'/'.join(names)} is not named: {said[-200:]}")
        seen.append(f"{'/'.join(names)} exit {done.returncode}")
    see(night.fleet.status("referral")["ready"], "the one that runs is disturbed")
    return "; ".join(seen) + "; no value printed, the running one undisturbed"


@row(75, "the mail server accepts and is silent", "the sink holds its answer; SIGKILL of notification; a new one")
async def silent_mail(night: Night) -> str:
    hold, folder = night.fleet.stack.mail_hold, night.fleet.stack.mail_folder
    await restart(night, "notification", LOTSE_LEASE_SECONDS="4")
    try:
        before = len(list(folder.glob("*.eml")))
        hold.touch()
        await night.wave(10, 26, noise=False)
        await night.sender.acknowledged()
        await night.nothing_lags()
        async with night.broken("the mail server is silent"):
            for _ in range(2):
                await night.tick()
            await night.until(lambda: len(list(folder.glob("*.eml"))) > before, "a mail accepted")
            night.doubtful += 2  # one in hand, one claimed behind it: an attempt an office
            kill(night, "notification")
            hold.unlink()
            await start(night, "notification", LOTSE_LEASE_SECONDS="4")
    finally:
        hold.unlink(missing_ok=True)
    await night.rest()
    await restart(night, "notification")
    return "uncertain, for a human; nobody got it twice"


@row(
    78,
    "errors leak what identifies a person",
    "canaries in every poison, in headers, ids and bodies, through all of the above",
)
async def canaries(night: Night) -> str:
    wave = night.load.wave(4, 10)
    sound = [meant for meant in wave.then if meant.type == "attendance_reported" and not meant.poison]
    wave.then += [night.load.poisoned(night.chance.choice(sound)) for _ in range(60)]
    await night.play(wave)
    planted = sum(bool(entry.meant.poison) for entry in night.journal.entries)
    return f"{planted} canaries planted; searched in logs, metrics, status, answers, facts, mails, keys and headers of dead letters"


# --- what is done to the log itself: on a house of its own, where no ledger could be drawn up afterwards


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


@row(36, "everything one publisher sends is poison", "1,500 unreadable ones of one publisher, sound ones of two others beside",
     rough=True)  # fmt: skip
async def all_poison(night: Night) -> str:
    bad = [night.load.unknown_type("loud") for _ in range(1500)]
    before = len(await records_of(night.fleet.stack.kafka, LETTERS))
    night.play(Wave(then=bad))
    night.wave(10, 16, pace=0.005)
    await night.until(lambda: "publisher:loud" in held_by(night, "referral"), "loud's own limit", 30)
    await night.until(lambda: not any(name != "loud" for name, _, _ in night.sender.awaited), "answers to the others")
    letters = len(await records_of(night.fleet.stack.kafka, LETTERS)) - before
    see(letters < 1500, f"{letters} dead letters: flooded")
    others = {what for what in held_by(night, "referral") if "loud" not in what}
    see(not others, f"others are held, too: {others}")
    return f"stopped after {letters} dead letters; the others went on"


def held_by(night: Night, name: str) -> set[str]:
    """What a service says it holds."""
    return {one["what"] for one in night.fleet.status(name).get("held", [])}


@row(41, "older number after newer; early ones; the same number with another id", "facts written as intake would, by hand", rough=True)  # fmt: skip
async def forked(night: Night) -> str:
    case, other = str(uuid4()), str(uuid4())
    body = {"by": {"organisation_id": "rkn-thm", "kind": "person"}, "need_id": str(uuid4()), "need_type": "WORK"}
    async with AIOKafkaProducer(bootstrap_servers=night.fleet.stack.kafka) as producer:
        for number in (2, 3):
            await faults.write_fact(producer, "need_recorded", case, number, body)
        await night.until(lambda: night.fleet.status("referral")["early"] == 2, "two early facts")
        await faults.write_fact(producer, "need_recorded", case, 1, body)
        await night.until(lambda: night.fleet.status("referral")["early"] == 0, "no early fact")
        await faults.write_fact(producer, "need_recorded", case, 2, body)
        await faults.write_fact(producer, "need_recorded", case, 3, body, id=str(uuid4()))
        await night.until(
            lambda: case in str(night.fleet.status("referral").get("quarantined")), "the case in quarantine", 15
        )
        await faults.write_fact(producer, "need_recorded", other, 1, body)
    said = night.fleet.status("referral")
    see(len(said["quarantined"]) == 1 and not said["held"], f"held: {said['held']}")
    night.wave(4, 8)
    await night.nothing_lags()
    return "early ones were kept, the old one dropped, the forked case alone stands still"


@row(24, "a topic deleted and made again", "intake.events while referral runs", SOAK, rough=True)
async def made_again(night: Night) -> str:
    await night.wave(6, 8)
    await night.nothing_lags()
    await asyncio.to_thread(night.fleet.processes["referral"].stop)
    await faults.delete_topic(night, "intake.events")
    await start(night, "referral")
    await night.until(lambda: stands_still(night, "referral", "intake.events"), "positions past the end", 90)
    return f"{len(stands_still(night, 'referral', 'intake.events'))} partitions held and named"


# --- split brain


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
            async with faults.frozen(one, chance.uniform(0.5, 3)):
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


# --- on the house of its own, first, with its own ledger: a service that does not come back would spoil what follows


@row(
    51,
    "a database older than the log; a database gone",
    "referral's database set back to a copy, intake's dropped; rebuild",
    rough=True,
)
async def set_back(night: Night) -> str:
    await night.rest()
    await asyncio.to_thread(night.fleet.processes["referral"].stop)
    await faults.copied(night, "referral")
    await start(night, "referral")
    await night.wave(10, 16)
    await night.rest()
    for name in ("referral", "intake"):
        await asyncio.to_thread(night.fleet.processes[name].stop)
    await faults.restored(night, "referral")
    await faults.gone(night, "intake")
    seen = []
    for name in ("referral", "intake"):
        seen.append(await refuses(night, name))
        done = await faults.lotse(night, name, "rebuild", name)
        see(done.returncode == 0, f"rebuild {name} ended with {done.returncode}: {done.stderr[-300:]}")
        see("a sweep recorded 0 facts" in done.stdout, done.stdout)
        if night.fleet.processes[name].pid is None:
            night.fleet.start_one(name)
        await asyncio.to_thread(night.fleet.wait_ready, name)
    night.wave(8, 12)
    ledger = await night.balance()
    see(ledger.balanced, f"the ledger says:\n{ledger}")
    return "; ".join(seen) + "; rebuilt, swept 0 facts, the ledger says nothing"


async def refuses(night: Night, name: str) -> str:
    """A service whose database is older than the log: it does not serve, and says by how many facts."""
    one = night.fleet.start_one(name)
    written = one.log.stat().st_size

    def said() -> Any:
        ended = one.pid is None and one.child is not None and one.child.returncode == 4
        return ended or night.fleet.status(name).get("older_than_log")

    await night.until(said, f"{name} to refuse")
    status = night.fleet.status(name)
    if status["running"]:
        see(not status["ready"], f"{name} calls itself ready")
        return f"{name} is not ready, {status['older_than_log']} facts behind"
    facts = [
        json.loads(line).get("facts")
        for line in one.log.read_bytes()[max(0, written - 4000) :].splitlines()
        if b"older" in line
    ]
    see(facts and facts[-1], f"{name} does not say by how many facts")
    return f"{name} refused to serve, {facts[-1]} records behind"


NOT_WRITTEN: dict[int, tuple[str, str]] = {
    11: ("two pods with the same group_instance_id", "no static membership"),
    14: ("out of memory", "needs a memory cgroup of its own"),
    17: ("rolling broker restart", "needs three brokers"),
    20: ("below min.insync.replicas", "needs three brokers"),
    21: ("coordinator of the group killed", "needs three brokers; with one it is row 16"),
    25: ("partitions increased", "partitions are for good (contracts/topics.py)"),
    26: ("compaction removed intermediates", "no topic is compacted"),
    27: ("broker disk full", "not written yet"),
    28: ("acknowledged events vanish", "tests/system/test_what_an_operator_mends.py sets a broker's data back"),
    29: ("right revoked, certificate expired, wrong password", "the local broker has neither rights nor TLS"),
    30: ("autoscaler flapping", "as row 9"),
    34: ("breaking schema change", "a gate over samples, in tests/contracts"),
    37: ("dead letters cannot be written", "not written yet"),
    45: ("ciphertext whose key was destroyed", "no sealed fields yet"),
    47: ("failover to a synchronous standby", "needs a second Postgres"),
    48: ("failover to an asynchronous standby", "needs a second Postgres"),
    53: ("new code on old schema", "tests/integration/test_doctor.py starts one; it names the migration and ends"),
    54: ("database disk full", "not written yet"),
    56: ("I/O error on fsync", "needs libfiu (Debian: fiu-utils)"),
    57: ("PgBouncer in transaction mode", "needs pgbouncer"),
    58: ("operator idle in transaction", "as row 8; no alert names the blocker yet"),
    63: ("a tenth of all packets lost", "needs a network namespace"),
    66: ("DNS failure", "needs a network namespace"),
    67: ("temporary directory full, root file system read-only", "needs a container"),
    71: ("certificate expires", "the local broker has no TLS"),
    72: ("N and N+1 together", "there is one version"),
    73: ("rollback after an expand migration", "there is one version"),
    76: ("collector or Prometheus down", "tests/system/test_what_an_operator_mends.py ends the collector"),
    77: ("erasure during replay and backup", "no sealed fields yet"),
    79: ("node drain", "needs a real cluster"),
    80: (
        "spoofed headers, another user's topic",
        "the local broker has no rights; foreign sources and tenants are in every wave",
    ),
}
"""Rows that nothing here runs, and why: shown as not run, never as passed."""
