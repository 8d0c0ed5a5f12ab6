"""Deployment and people: settings, a mail server that is silent, what errors leak."""

import asyncio
import time
from functools import partial
from uuid import uuid4

from deploy.soak.collector import GONE, SILENT, TAKES, collecting
from deploy.soak.faults import processes
from deploy.soak.faults.processes import kill, restart, start
from deploy.soak.night import LEASE_OVER, Night
from deploy.soak.rows.matrix import SOAK, progressed, row, see


@row(
    74, "a missing or invalid setting or secret", "lotse serve with one setting missing, one wrong, one wrong password"
)
async def settings(night: Night) -> str:
    secret = "geheim-4711"
    database = night.fleet.stack.databases["referral"].runtime
    wrong = database.replace(database.split(":")[2].split("@")[0], secret)
    seen = []
    for names, key in (({"LOTSE_KAFKA": ""}, "LOTSE_KAFKA"), ({"LOTSE_HTTP_PORT": secret}, "LOTSE_HTTP_PORT"),
                       ({"LOTSE_DATABASE": wrong}, "LOTSE_DATABASE")):  # fmt: skip
        began = time.monotonic()
        settings = {"LOTSE_HTTP_PORT": "0", "LOTSE_GROUP": f"wrong-{uuid4().hex[:6]}", **names}
        done = await processes.lotse(night, "referral", "serve", "referral", **settings)
        said = done.stdout + done.stderr
        see(
            done.returncode not in (0, None) and time.monotonic() - began < 60,
            f"{names.keys()} ended with {done.returncode}",
        )
        see(secret not in said and database not in said, f"{'/'.join(names)}: the value is printed")
        see(key in said, f"{'/'.join(names)} is not named: {said[-200:]}")
        seen.append(f"{'/'.join(names)} exit {done.returncode}")
    see(night.status("referral")["ready"], "the one that runs is disturbed")
    return "; ".join(seen) + "; no value printed, the running one undisturbed"


@row(75, "the mail server accepts and is silent", "the sink holds its answer; SIGKILL of notification; a new one")
async def silent_mail(night: Night) -> str:
    hold, folder = night.fleet.stack.mail_hold, night.fleet.stack.mail_folder
    await restart(night, "notification", LOTSE_LEASE_SECONDS="4")
    # an attempt that died with its process, in a soak, holds its office until its lease is over: nobody is told meanwhile
    await night.until(night.fleet.mailed, "a result for each attempt", LEASE_OVER)
    try:
        before, uncertain = len(list(folder.glob("*.eml"))), night.fleet.attempts()["uncertain"]
        hold.touch()
        async with night.broken("the mail server is silent"):
            for _ in range(6):  # of some waves nothing holds any more by the tick, and nobody is told of what is over
                await night.wave(10, 26, noise=False)
                await night.caught_up()
                await night.tick_through()
                await night.nothing_lags()
                if len(list(folder.glob("*.eml"))) > before:
                    break
            await night.until(lambda: len(list(folder.glob("*.eml"))) > before, "a mail accepted")
            of = night.fleet.attempts()
            see(of["attempted"] > of["sent"] + of["failed"], f"the mail server gave its answer: {dict(of)}")
            night.doubtful += 1  # the one it had begun
            kill(night, "notification")
            hold.unlink()
            await start(night, "notification", LOTSE_LEASE_SECONDS="4")
    finally:
        hold.unlink(missing_ok=True)
    await night.rest()
    uncertain = night.fleet.attempts()["uncertain"] - uncertain
    see(uncertain == 1, f"{uncertain} attempts are called uncertain, and one was cut off")
    await restart(night, "notification")
    return "uncertain, for a human; nobody got it twice"


@row(
    76,
    "the collector of traces is gone",
    "referral traces to a collector that takes spans, is silent, is gone, 40 answers each; SIGTERM while it is silent",
    SOAK,
)
async def collector_gone(night: Night) -> str:
    async with collecting() as collector:
        often = {"OTEL_BSP_SCHEDULE_DELAY": "500"}  # ms between two exports
        await restart(night, "referral", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **often)
        one = night.fleet.processes["referral"]
        before = processes.rss(one)
        for mode in (TAKES, SILENT, GONE):
            await collector.become(mode)
            async with night.broken(f"the collector {mode}"):
                began = time.monotonic()
                night.wave(8, 12, pace=0.01)
                await night.until(
                    partial(progressed, night, "referral", began, 40), f"answers while the collector {mode}"
                )
            see(len(collector.said), "no span was sent, so nothing was tested")
        grown = processes.rss(one) - before
        await collector.become(SILENT)
        night.wave(2, 6)
        await asyncio.sleep(1)
        began = time.monotonic()
        code = await asyncio.to_thread(one.stop)
        took = time.monotonic() - began
        await start(night, "referral")
    see(code == 0 and took < 10, f"SIGTERM ended with {code} after {took:.0f} s")
    see(grown < 64 << 20, f"referral grew by {grown >> 20} MiB")
    return f"{len(collector.said) >> 10} KiB of spans; nothing waited, {max(0, grown >> 20)} MiB more; exit 0 after {took:.1f} s"


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
    return f"{planted} canaries planted; searched in logs, metrics, status, answers, facts, mails, keys, headers and values of dead letters, in base64, too"
