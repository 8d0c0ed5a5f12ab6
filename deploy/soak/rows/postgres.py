"""The database: killed, without connections, locked, slow, older than the log, gone."""

import asyncio
import json
import time
from functools import partial
from typing import Any

from deploy.places import ROOT, SERVICES
from deploy.soak.faults import database, disks, network, processes
from deploy.soak.faults.processes import kill, start
from deploy.soak.night import Night
from deploy.soak.observed import session
from deploy.soak.rows.matrix import BESIDE, SOAK, NotRun, nobody_leaves, progressed, row, see

RUNTIME_MIGRATIONS = ROOT / "services" / "runtime" / "migrations"
LATER = ("state", "timeline", "outbox", "answered", "kept", "position", "alliance", "risk_list", "participation_list")
"""Tables to which a later release has added a column, with a default as each migration must."""


@row(46, "Postgres killed under load", "SIGKILL of the postmaster and its children, twice")
async def database_killed(night: Night) -> str:
    async with night.broken("Postgres killed twice"):
        night.wave(20, 20, pace=0.006)
        for _ in range(2):
            await asyncio.sleep(night.chance.uniform(0.5, 2))
            kill(night, "postgres")
            await start(night, "postgres")
    return night.recovered


@row(
    47,
    "failover to a synchronous standby",
    "a standby by pg_basebackup, in sync; SIGKILL of the first under load, its data gone; the standby promoted in its place",
)
async def failover(night: Night) -> str:
    async with database.standby(night) as second, night.broken("failover to the standby", limit=60):
        night.wave(20, 20, pace=0.006)
        await asyncio.sleep(night.chance.uniform(1, 2))
        kill(night, "postgres")
        await database.failed_over(night, second)
    older = {name: night.status(name).get("older_than_log") for name in SERVICES}
    see(not any(older.values()), f"older than the log: {older}")
    return f"no database older than its log; {night.recovered}"


@row(
    48,
    "failover to a standby that lagged",
    "a standby that hears nothing of a wave; SIGKILL of the first, its data gone; the standby in its place, under running services",
    SOAK,
    rough=True,
)
async def set_back_while_it_runs(night: Night) -> str:
    await night.rest()
    async with database.standby(night, deaf=True) as second:
        await night.wave(10, 16)
        await night.rest()
        kill(night, "postgres")
        await database.failed_over(night, second)
    night.wave(6, 12)
    seen, ours = [], night.fleet.processes
    for name in ("intake", "referral"):
        await processes.dead(night, ours[name])
    await asyncio.sleep(2)  # reporting and notification, where they had said anything
    for name in [name for name in SERVICES if ours[name].pid is None]:
        one = ours[name]
        code = await processes.dead(night, one)
        see(
            code == 1 and "was set back while it was served" in one.last_words(),
            f"{name} ended with {code}: {one.last_words()}",
        )
        seen.append(await refuses(night, name))
        done = await processes.lotse(night, name, "rebuild", name)
        see(done.returncode == 0, f"rebuild {name} ended with {done.returncode}: {done.stderr[-300:]}")
        await asyncio.to_thread(night.fleet.wait_ready, name)
    ledger = await night.balance()
    see(ledger.balanced, f"the ledger says:\n{ledger}")
    return f"they ended by themselves and said why; {'; '.join(seen)}; rebuilt, the ledger says nothing"


@row(
    49,
    "connections exhausted",
    "referral's role limited to one connection for 10 s, those it has ended; twelve read at once meanwhile",
)
async def exhausted(night: Night) -> str:
    async with night.broken("one connection only", beside=BESIDE) as window:
        night.wave(12, 16, pace=0.01)
        async with database.few_connections(night, "referral", 1):
            await window.bites()
            await asyncio.sleep(12)
            began = time.monotonic()
            said = await asyncio.to_thread(night.fleet.status, "referral")
            see(said["running"] and time.monotonic() - began < 15, "/status does not come back")
            await night.until(partial(_says, night, TOO_MANY), f"/status with {TOO_MANY}: no connection was refused")
            reads = await asyncio.gather(*(asyncio.to_thread(_read, night) for _ in range(12)))
            see(not (odd := [read for read in reads if read not in ("200", "503 5")]), f"reads gave {odd}")
            one = night.fleet.processes["referral"]
            see(one.pid is not None, f"referral ended: {one.last_words()}")
    refused = reads.count("503 5")
    return f"{TOO_MANY} named; {refused} of 12 reads were told to come back; {night.recovered}"


TOO_MANY = "TooManyConnectionsError:53300"


def _read(night: Night) -> str:
    """What somebody who reads hears within ten seconds: the code, and when to ask again."""
    said = night.fleet.ask("referral", "/counts", 10)
    return f"{said.status_code} {said.headers.get('retry-after', '')}".strip()


@row(
    29,
    "right revoked, wrong password, in Postgres",
    "referral's role has another password and its connections are ended, 8 s (soak: 60); then it may not write what people read, 8 s",
)
async def refused(night: Night) -> str:
    one, seen = night.fleet.processes["referral"], []
    ran = one.pid
    for what, fault in (
        ("InvalidPasswordError:28P01", database.wrong_password(night, "referral")),
        ("InsufficientPrivilegeError:42501", database.right_revoked(night, "referral", "lotse.participation_list")),
    ):
        async with night.broken(f"referral has {what}", beside=BESIDE) as window:
            night.wave(12, 16, pace=0.01)
            async with fault:
                await window.bites()
                await night.until(partial(_says, night, what), f"/status with {what}")
                await asyncio.sleep(night.lasts(8, 60))
                see(one.pid == ran, f"referral ended: {one.last_words()}")
        aside = night.status("referral")["set_aside"]["count"]
        see(aside == 0, f"{aside} submissions set aside for {what}")
        seen.append(f"{what} named, {night.recovered}")
    return f"{'; '.join(seen)}; nothing set aside, the process went on"


def _says(night: Night, what: str) -> bool:
    return what in json.dumps(night.fleet.status("referral"))


@row(50, "deadlocks", "every table of referral locked again and again in the wrong order by another session")
async def deadlocks(night: Night) -> str:
    async with night.broken("locks in the wrong order", limit=45, beside=BESIDE) as window:
        night.wave(20, 20, pace=0.006)
        await asyncio.sleep(0.5)
        await window.bites()
        victim = await database.cross(night, "referral", 8)
    counted = processes.metric(night, "referral", "lotse_batches_held_total", error="DeadlockDetectedError")
    see(counted, "no deadlock is counted")
    return f"8 rounds, in {victim} of them the other session gave way, {counted:.0f} batches of referral did and came again; {night.recovered}"


@row(
    52,
    "a migration run twice, two at once, and one that can't have its lock",
    "lotse migrate of each service, two processes at once, then once more; referral's with a table that a reader holds, under load",
)
async def migrations(night: Night) -> str:
    for name in SERVICES:
        done = await asyncio.gather(*(processes.lotse(night, name, "migrate", name) for _ in range(2)))
        done += [await processes.lotse(night, name, "migrate", name)]
        see(all(one.returncode == 0 for one in done), f"{name}: {[one.stderr[-200:] for one in done]}")
        see("nothing to do" in done[-1].stderr + done[-1].stdout, done[-1].stderr)
    async with night.broken("a migration waits for a lock", beside={"intake": 5}) as window:
        night.wave(8, 16, pace=0.01)
        try:
            async with database.reader_before_a_migration(night, "referral"):
                waiting = asyncio.create_task(processes.lotse(night, "referral", "migrate", "referral"))
                while not (waiting.done() or await database.waits_for_a_table(night, "referral")):
                    await asyncio.sleep(0.1)
                began = time.monotonic()
                await window.bites()
                waited = await waiting
                took = time.monotonic() - began
                await window.heals()
        finally:  # else whoever starts next finds a schema that lags
            ran = await processes.lotse(night, "referral", "migrate", "referral")
        see(waited.returncode == 3 and "lock timeout" in waited.stderr, f"{waited.returncode}: {waited.stderr[-300:]}")
        see(took < 20, f"it gave up after {took:.0f} s")
        see("Applied" in ran.stderr + ran.stdout, ran.stderr)
    return f"the second is a no-op; without its lock it gave up after {took:.1f} s and said why, and ran once it had it"


@row(
    53,
    "new code on an old schema, old code on a new one",
    "referral's newest migration undone: serve, migrate; then a later release's version and columns beside ours, under load; then its"
    " states, which ours can't read",
)
async def other_schema(night: Night) -> str:
    newest = max(RUNTIME_MIGRATIONS.glob("*.sql"))
    undo, version = newest.read_text("utf-8").partition("-- migrate:down")[2], newest.name.partition("_")[0]
    one = night.fleet.processes["referral"]
    await asyncio.to_thread(one.stop)
    try:
        async with session(night.fleet, "referral") as con:
            await con.execute(f"set search_path = lotse; {undo}")
            await con.execute("delete from lotse.runtime_migrations where version = $1", version)
        refused = await processes.lotse(night, "referral", "serve", "referral")
        see(refused.returncode == 4 and newest.stem in refused.stderr and "lotse migrate referral" in refused.stderr,
            f"serve ended with {refused.returncode}: {refused.stderr[-300:]}")  # fmt: skip
    finally:
        ran = await processes.lotse(night, "referral", "migrate", "referral")
    see(newest.stem in ran.stderr + ran.stdout, ran.stderr)
    try:
        async with session(night.fleet, "referral") as con:
            for table in LATER:
                await con.execute(
                    f"alter table lotse.{table} add column later text not null default 'of a release to come'"
                )
            await con.execute("insert into lotse.runtime_migrations values ('9999')")
        await start(night, "referral")
        wave, began = night.wave(8, 16, pace=0.02), time.monotonic()
        await night.until(lambda: progressed(night, "referral", began, 10), "answers of referral")
        async with session(night.fleet, "referral") as con:
            rewritten = await con.fetch("update lotse.state set shape = shape + 1 where kind = 'case' returning id")
            try:  # a later release wrote them, and was taken back
                await night.until(
                    lambda: "NewerShape" in str(night.status("referral").get("held")),
                    "referral to hold what it can't read",
                )
            finally:
                back = "update lotse.state set shape = shape - 1 where kind = 'case' and id = any($1)"
                await con.execute(back, [row["id"] for row in rewritten])
        await wave
        await night.caught_up()
    finally:
        async with session(night.fleet, "referral") as con:
            for table in LATER:
                await con.execute(f"alter table lotse.{table} drop column if exists later")
            await con.execute("delete from lotse.runtime_migrations where version = '9999'")
    return f"without {newest.stem} it refused to start and said so; a schema with {len(LATER)} columns of a later release it served; its states it held"


@row(55, "slow database", "a proxy delays referral's database by 500 ms each way, 8 s (soak: 30), then 1 MB/s, 4 s")
async def slow_database(night: Night) -> str:
    async with network.through(night, "referral", database=True) as proxy:
        before = processes.rss(night.fleet.processes["referral"])
        async with nobody_leaves(night, "referral"), night.broken("a slow database", beside=BESIDE) as window:
            night.wave(12, 16, pace=0.01)
            proxy.delay = 0.5
            await window.bites()
            await asyncio.sleep(night.lasts(8, 30))
            proxy.delay, proxy.rate = 0.0, 1e6
            await asyncio.sleep(4)
            proxy.heal()
        grown = processes.rss(night.fleet.processes["referral"]) - before
        see(grown < 64 << 20, f"referral grew by {grown >> 20} MiB")
    return f"no member left, {max(0, grown >> 20)} MiB more; {night.recovered}"


@row(
    51,
    "a database older than the log; a database gone",
    "referral's and notification's databases set back to copies, intake's dropped; rebuild",
    rough=True,
)
async def set_back(night: Night) -> str:
    await night.rest()
    older, lost = ("referral", "notification"), "intake"
    for name in older:
        await asyncio.to_thread(night.fleet.processes[name].stop)
        await database.copied(night, name)
        await start(night, name)
    mails = len(list(night.fleet.stack.mail_folder.glob("*.eml")))
    await night.wave(10, 26)
    await night.rest()
    see(
        len(list(night.fleet.stack.mail_folder.glob("*.eml"))) > mails,
        "no mail left since the copy: nothing was tested",
    )
    for name in (*older, lost):
        await asyncio.to_thread(night.fleet.processes[name].stop)
    for name in older:
        await database.restored(night, name)
    await database.gone(night, lost)
    seen = []
    for name in (*older, lost):
        seen.append(await refuses(night, name))
        done = await processes.lotse(night, name, "rebuild", name)
        see(done.returncode == 0, f"rebuild {name} ended with {done.returncode}: {done.stderr[-300:]}")
        see("a sweep recorded 0 facts" in done.stdout, done.stdout)
        if night.fleet.processes[name].pid is None:
            night.fleet.start_one(name)
        await asyncio.to_thread(night.fleet.wait_ready, name)
    night.wave(8, 12)
    ledger = await night.balance(last=True)
    see(ledger.balanced, f"the ledger says:\n{ledger}")
    months = ledger.counts["months released"]
    see(months, "no month is released: no figure was held against the journal")
    return "; ".join(seen) + f"; rebuilt, swept 0 facts; the ledger says nothing, nor of the figures of {months} months"


async def refuses(night: Night, name: str) -> str:
    """A service whose database is older than the log: it does not serve, and says by how many facts."""
    one = night.fleet.start_one(name)
    written = one.log.stat().st_size

    def said() -> Any:
        ended = one.pid is None and one.child is not None and one.child.returncode == 4
        return ended or night.fleet.status(name).get("older_than_log")

    await night.until(said, f"{name} to refuse")
    status = night.status(name)
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


@row(
    54,
    "the database's disk is full",
    "referral's database on a tmpfs of its own, filled under load for 10 s (soak: 30), then cleared;"
    " it holds also where a lack of space counts as the message's fault: what is set aside is written, too",
    SOAK,
)
async def database_disk_full(night: Night) -> str:
    if why := disks.no_disk():
        raise NotRun(why)
    before = night.status("referral")
    with disks.disk(night, await database.megabytes(night, "referral") * 2 + 64) as disk:
        async with disks.database_on(night, "referral", disk):
            full_up = night.broken("referral's disk is full", beside=BESIDE)
            async with nobody_leaves(night, "referral"), full_up as window:
                night.wave(30, 24, pace=0.015)
                await asyncio.sleep(0.5)
                disk.fill()
                await window.bites()
                try:
                    await night.until(lambda: full(night), "a disk that is called full", 40)
                    asked = await asyncio.to_thread(night.fleet.ask, "referral", "/counts", 20)
                    await asyncio.sleep(night.lasts(10, 30))
                    said = night.status("referral")
                finally:
                    disk.clear()
            see(asked.status_code == 200, f"a read gave {asked.status_code}")
            see(not said["set_aside"]["count"] and not said["quarantined"], f"set aside: {said['set_aside']}")
    see(said["ready"] and before["ready"], "referral called itself not ready")
    return f"held (DiskFullError), reads went on, no member left; {night.recovered}"


def full(night: Night) -> bool:
    """Whether referral holds everything because its disk is full."""
    return any(
        one["what"] == "everything" and one["why"].startswith("DiskFull") for one in night.status("referral")["held"]
    )


@row(
    58,
    "an operator idle in transaction",
    "a session of the role `operator` locks a row of every table of referral and does nothing for 25 s;"
    " red where a lock that can't be had counts as the message's fault",
)
async def idle_operator(night: Night) -> str:
    fault = night.broken("an operator idle in transaction", beside=BESIDE)
    async with nobody_leaves(night, "referral"), fault as window:
        night.wave(16, 16, pace=0.01)
        async with database.idle_operator(night, "referral") as pid:
            await window.bites()
            await night.until(lambda: blocked_by(night, pid), "a blocker that is named", 30)
            await asyncio.sleep(12)
            said = night.status("referral")
    see(not said["set_aside"]["count"] and not said["quarantined"], f"set aside: {said['set_aside']}")
    return f"held, the blocker named (session {pid}); {night.recovered}"


def blocked_by(night: Night, pid: int) -> bool:
    """Whether referral holds, and names the session in its way and its role."""
    said = night.status("referral")
    return bool(said.get("held")) and any(f"session {pid} (operator)" in text for text in said.get("findings", []))
