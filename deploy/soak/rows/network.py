"""The network between a service and Kafka or its database."""

import asyncio
import time

from deploy.soak.faults import database, network, processes
from deploy.soak.night import Night
from deploy.soak.rows.kafka import alive_meanwhile
from deploy.soak.rows.matrix import BESIDE, SOAK, nobody_leaves, row, see
from deploy.soak.rows.processes import live


@row(59, "a service cut from Kafka", "referral behind a proxy, connections reset and refused for 20 s (soak: 60)")
async def cut_from_kafka(night: Night) -> str:
    async with (
        network.through(night, "referral", kafka=True) as proxy,
        night.broken("referral cut from Kafka", beside=BESIDE) as window,
    ):
        night.wave(16, 16, pace=0.015)
        await asyncio.sleep(0.5)
        cut = proxy.open
        proxy.cut()
        await window.bites()
        stood = await stands(night, "referral")
        asked, refused = await alive_meanwhile(night, night.lasts(20, 60))  # beyond the limit of a question to Kafka
        see(
            cut and proxy.refused,
            f"{cut} connections to Kafka were cut and {proxy.refused} refused: nothing was cut off",
        )
        await hears_nothing(night, "referral", stood)
        proxy.heal()
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    return f"{asked} reads and /live answered meanwhile; {night.recovered}"


THROUGH = 5.0  # seconds in which what a service had fetched before it was cut off is applied


async def stands(night: Night, name: str) -> int:
    """How far a service has come once what it had in hand is through."""
    await asyncio.sleep(THROUGH)
    return await night.applied(name)


async def hears_nothing(night: Night, name: str, stood: int) -> None:
    """Raises Unseen where a service went on from there, or nothing waits for it with which it could."""
    waits, moved = await night.behind(name), await night.applied(name)
    see(
        moved == stood and waits,
        f"{name} stood at {stood}, then at {moved}, and {waits} wait for it: nothing was cut off",
    )


@row(
    60,
    "a service cut from its database",
    "referral behind a proxy, connections reset and refused for 25 s (soak: 60): longer than its session in Kafka, and three times"
    " as long as it may go without a poll (here 8 s, soak: 20)",
)
async def cut_from_database(night: Night) -> str:
    lasts = night.lasts(25, 60)
    interval = {"LOTSE_POLL_SECONDS": str(int(lasts) // 3)}
    async with network.through(night, "referral", database=True, more=interval) as proxy:
        size = processes.rss(night.fleet.processes["referral"])
        fault = night.broken("referral cut from its database", beside=BESIDE)
        async with nobody_leaves(night, "referral"), fault as window:
            night.wave(16, 16, pace=0.015)
            proxy.cut()
            began = time.monotonic()
            await window.bites()
            answer = await asyncio.to_thread(night.fleet.ask, "referral", "/counts", 20)
            took = time.monotonic() - began
            see(answer.status_code == 503 and took < 15, f"/counts gave {answer.status_code} after {took:.1f} s")
            await asyncio.sleep(max(0.0, lasts - took))
            proxy.heal()
        grown = processes.rss(night.fleet.processes["referral"]) - size
    see(grown < 64 << 20, f"referral grew by {grown >> 20} MiB")
    return f"/counts gave 503 after {took:.1f} s; no member left, {max(0, grown >> 20)} MiB more; {night.recovered}"


OTHERS = ("intake", "notification", "reporting")


@row(
    110,
    "every other service and what it talks to",
    "intake, notification and reporting behind proxies, Kafka's and each database's at once: slow (0.3 s each way), reset, deaf, one"
    " way, cut, each for 4 s (soak: 25)",
)
async def everybody_else(night: Night) -> str:
    lasts = night.lasts(4, 25)
    async with network.all_through(night, OTHERS) as proxies:
        seen = [proxy.accepted for proxy in proxies]
        see(all(seen), f"connections through each proxy: {seen}")
        async with night.broken("everybody else is cut off", limit=75, beside={"referral": 20}) as window:
            night.wave(12, 16, pace=0.01)
            await night.tick()
            for mode in ("slow", "reset", "deaf", "one way", "cut"):
                for proxy in proxies:
                    proxy.delay = 0.3 if mode == "slow" else 0.0
                    match mode:
                        case "deaf" | "one way":
                            proxy.mode = mode
                        case "cut":
                            proxy.cut()
                        case "reset":
                            proxy.reset()
                if mode == "slow":
                    await window.bites()
                await asyncio.sleep(1)  # what was under way is through
                stood = [await night.applied(name) for name in OTHERS]
                await asyncio.sleep(lasts - 1)
                if mode in ("deaf", "one way", "cut"):
                    moved = [await night.applied(name) for name in OTHERS]
                    see(moved == stood, f"{mode}: {OTHERS} stood at {stood} and moved to {moved}: nothing was cut")
            for name in OTHERS:
                see(night.fleet.processes[name].pid is not None, f"{name} ended")
            for proxy in proxies:
                proxy.heal()
    return f"{night.progress[-1].done} answers of referral meanwhile; {night.recovered}"


@row(160, "a read while the database is away", "referral behind a proxy, its database refused; GET /counts", quiet=True)
async def unavailable(night: Night) -> str:
    async with network.through(night, "referral", database=True) as proxy:
        proxy.cut()
        answer = await asyncio.to_thread(night.fleet.ask, "referral", "/counts", 20)
        proxy.heal()
    see(answer.status_code == 503 and "retry-after" in answer.headers, f"/counts gave {answer.status_code}")
    return "503 with Retry-After"


@row(
    61,
    "one-way loss: requests pass, answers do not",
    "referral's database, then Kafka, answers swallowed for 12 s each",
    SOAK,
)
async def one_way(night: Night) -> str:
    for what in ("database", "kafka"):
        async with (
            network.through(night, "referral", kafka=what == "kafka", database=what == "database") as proxy,
            night.broken(f"answers of the {what} are lost", limit=75, beside=BESIDE) as window,
        ):
            night.wave(10, 16, pace=0.01)
            await asyncio.sleep(0.3)
            asked, swallowed = proxy.asked, proxy.swallowed
            proxy.mode = "one way"
            await window.bites()
            stood = await stands(night, "referral")
            await asyncio.sleep(12 - THROUGH)
            asked, swallowed = proxy.asked - asked, proxy.swallowed - swallowed
            see(
                asked and swallowed,
                f"{asked} bytes passed to the {what}, {swallowed} of its answers did not: not one way",
            )
            await hears_nothing(night, "referral", stood)
            see(await live(night, "referral") == 200, f"/live waits for the {what}: a kubelet would kill who holds on")
            proxy.heal()
    return f"/live answered; recovered in {night.recoveries[-2].seconds:.1f} and {night.recoveries[-1].seconds:.1f} s"


@row(62, "a thin line", "referral and Kafka: 50 ms each way and 3 Mbit/s for 60 s", SOAK)
async def thin_line(night: Night) -> str:
    async with network.through(night, "referral", kafka=True) as proxy:
        fault = night.broken("a thin line", beside={"referral": 50, "reporting": 20})
        async with nobody_leaves(night, "referral"), fault as window:
            night.wave(20, 24, pace=0.05)
            proxy.delay, proxy.rate = 0.05, 375_000.0
            await window.bites()
            await asyncio.sleep(60)
            proxy.heal()
    return f"{night.progress[-2].done} answers meanwhile; no member left"


MOST_RESETS = 90
"""Referral gets something done between two of them, or never will: 69 answers in 10 s mostly, 18 once, beside two busy cores."""


@row(
    64,
    "connections reset every second",
    "referral's connections to Kafka and Postgres, 10 times (soak: 60) and until it has answered 20 and reporting has read 20",
)
async def resets(night: Night) -> str:
    async with network.through(night, "referral", kafka=True) as proxy:
        one = night.fleet.processes["referral"]
        before, cut, ended, outlived, ran = processes.descriptors(one), 0, 0, 0, set[int]()
        async with night.broken("connections reset each second", beside={"referral": 20, "reporting": 20}) as window:
            night.wave(20, 20, pace=0.015)
            await window.bites()
            for times in range(1, MOST_RESETS + 1):
                await asyncio.sleep(1)
                see(one.pid is not None, f"referral ended by itself: {one.last_words()}")
                now = processes.connections(one, proxy.port)
                outlived, cut, ran = outlived + len(now & ran), cut + len(now), now
                proxy.reset()
                if times % 2:
                    ended += await database.terminate_backends(night, "referral")
                if times >= night.lasts(10, 60) and await window.all_went_on():
                    break
        after = processes.descriptors(one)
        see(cut and not outlived, f"{outlived} of {cut} connections to Kafka outlived their reset")
        see(ended, "no connection to Postgres was ended")
        see(after <= before + 20, f"{before} descriptors before, {after} after")
    return f"{night.progress[-2].done} answers in {times} s of it, {cut} connections to Kafka reset, {ended} to Postgres ended, descriptors {before} and {after}"


@row(65, "half-open connection", "referral's connections to Kafka fall silent for 45 s, then are gone", SOAK)
async def black_hole(night: Night) -> str:
    async with (
        network.through(night, "referral", kafka=True) as proxy,
        night.broken("a black hole to Kafka", limit=75, beside=BESIDE) as window,
    ):
        night.wave(12, 16, pace=0.02)
        silent = proxy.open
        proxy.mode = "deaf"
        await window.bites()
        stood = await stands(night, "referral")
        await asyncio.sleep(45 - THROUGH)
        see(
            silent and proxy.swallowed,
            f"{silent} connections to Kafka, {proxy.swallowed} bytes swallowed: none fell silent",
        )
        await hears_nothing(night, "referral", stood)
        proxy.heal()
    return night.recovered
