"""The broker: killed, frozen, down; its offsets lost, its records and topics deleted."""

import asyncio
import time
from collections import Counter

import httpx

from deploy.places import SERVICES
from deploy.soak.faults import database, disks, processes, the_log
from deploy.soak.faults.processes import kill, start
from deploy.soak.night import Night
from deploy.soak.rows.matrix import SOAK, NotRun, held_by, nobody_leaves, progressed, row, see


@row(116, "SIGKILL of the only broker", "one broker, three rounds under load")
async def broker_killed(night: Night) -> str:
    async with night.broken("the broker killed three times"):
        night.wave(24, 24, pace=0.006)
        for _ in range(3):
            await asyncio.sleep(night.chance.uniform(1, 3))
            kill(night, "kafka")
            await start(night, "kafka")
    return f"three rounds; {night.recovered}"


async def alive_meanwhile(night: Night, seconds: float) -> tuple[int, int]:
    """Asks /live and a read of each service while something is broken; (asked, refused)."""
    asked = refused = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, path in (("intake", "/cases"), ("referral", "/counts"), *((name, "/live") for name in SERVICES)):
            asked += 1
            try:
                refused += (await asyncio.to_thread(night.fleet.ask, name, path, 5)).status_code != 200
            except httpx.HTTPError:
                refused += 1
        await asyncio.sleep(0.5)
    return asked, refused


@row(18, "broker paused", "SIGSTOP 10 s (soak: 60) under load")
async def broker_frozen(night: Night) -> str:
    async with night.broken("the broker frozen"):
        night.wave(12, 16, pace=0.005)
        await asyncio.sleep(0.5)
        async with processes.frozen(night.fleet.stack.processes["kafka"], night.lasts(10, 60)):
            asked, refused = await alive_meanwhile(night, 8.0)
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    return f"{asked} reads and /live answered meanwhile; {night.recovered}"


@row(19, "whole Kafka down", "SIGKILL, 12 s (soak: 60) without, under load")
async def broker_down(night: Night) -> str:
    before = {name: processes.rss(night.fleet.processes[name]) for name in SERVICES}
    async with night.broken("Kafka down"):
        night.wave(12, 16, pace=0.005)
        await asyncio.sleep(0.5)
        kill(night, "kafka")
        try:
            asked, refused = await alive_meanwhile(night, night.lasts(12, 60))
        finally:
            await start(night, "kafka")
    grown = max(processes.rss(night.fleet.processes[name]) - before[name] for name in SERVICES)
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    see(grown < 64 << 20, f"a service grew by {grown >> 20} MiB")
    return f"{asked} reads and /live answered, at most {grown >> 20} MiB more; {night.recovered}"


@row(22, "committed offsets lost", "every committed offset of intake and referral set back to 0", quiet=True)
async def offsets_lost(night: Night) -> str:
    names = ("intake", "referral")
    night.wave(4, 8)
    # answered is not enough: what one service recorded another has still to hear, and then says a fact of its own
    await night.rest()
    async with asyncio.timeout(150):  # there must be some to lose
        while not all([await the_log.committed(night, name) for name in names]):
            await asyncio.sleep(0.5)
    before = {name: night.status(name) for name in names}
    async with night.broken("committed offsets set back"):
        parts = 0
        for name in names:
            await asyncio.to_thread(night.fleet.processes[name].stop)
            parts += await the_log.offsets_set_back(night, name)
        see(parts > 8, f"only {parts} partitions had a committed offset")
        for name in names:
            await start(night, name)
    for name, said in before.items():
        now = night.status(name)
        for what in ("answered", "facts"):
            see(now[what] == said[what], f"{name}: {what} {said[what]}, and {now[what]} after it read all again")
    night.wave(6, 12)
    return f"{parts} partitions; nothing was applied again: positions are in the database"


@row(
    23,
    "records deleted below the stored position",
    "reporting stopped, one partition of referral.events emptied, reporting started; a tick while the gap stands",
    rough=True,
)
async def gap(night: Night) -> str:
    topic = "referral.events"
    already = {name: held_by(night, name) for name in SERVICES}
    await asyncio.to_thread(night.fleet.processes["reporting"].stop)
    await night.wave(16, 8)
    await settled(night)
    behind = await the_log.behind(night, "reporting", topic)
    see(len(behind) > 2, f"only the partitions {sorted(behind)} have something new, so nothing was tested")
    part = max(behind, key=lambda part: behind[part])
    await the_log.delete_records(night, topic, part)
    await start(night, "reporting")
    await night.until(lambda: stands_still(night, "reporting", topic), "a gap that is named")
    await night.wave(8, 8)
    await settled(night)
    async with asyncio.timeout(150):  # its siblings are read to their ends
        while set(await the_log.behind(night, "reporting", topic)) != {part}:
            await asyncio.sleep(0.2)
    await night.until(lambda: set(night.status("reporting")["lag"]) <= {topic}, "progress of the other topics")
    tick = await night.tick()
    others = [name for name in SERVICES if name != "reporting"]
    await night.until(lambda: all(night.fleet.has_acted(name, tick) for name in others), "a tick acted on beside it")
    await night.until(
        lambda: any("no report is taken" in one for one in night.status("reporting")["findings"]), "who says why"
    )
    see(not night.fleet.has_acted("reporting", tick), "a month would have been released without what is missing")
    see(stands_still(night, "reporting", topic) == {f"{topic}/{part}"}, "not that partition alone is held for a gap")
    see((await the_log.behind(night, "reporting", topic))[part] >= behind[part], "the gap was skipped")
    for name, known in already.items():
        more = held_by(night, name) - known - {f"{topic}/{part}"}
        see(not more, f"{name} holds {more}, too")
    return (
        f"partition {part} held and named, its siblings and the other topics went on;"
        " the others acted on a tick, and reporting took no report without what is missing"
    )


async def settled(night: Night) -> None:
    """What was sent is answered, and the facts are on their topics; of a publisher that another row stopped nothing is asked."""
    await night.sender.acknowledged()
    await night.until(lambda: not any(name != "loud" for name, _, _ in night.sender.awaited), "answers")
    await night.until(lambda: night.status("referral")["outbox"]["rows"] == 0, "an empty outbox")


def stands_still(night: Night, name: str, topic: str) -> set[str]:
    """Partitions of a topic that a service holds because of a gap."""
    said = night.status(name)
    return {one["what"] for one in [*said.get("held", []), *said.get("gaps", [])]
            if one["what"].startswith(f"{topic}/") and one["why"].startswith(("Gap", "PastEnd"))}  # fmt: skip


@row(24, "a topic deleted and made again", "intake.events while referral runs", SOAK, rough=True)
async def made_again(night: Night) -> str:
    topic = "intake.events"
    await night.wave(6, 8)
    await night.nothing_lags()
    read = {f"{topic}/{part}" for part, next in (await the_log.stands(night, "referral", topic)).items() if next}
    async with the_log.topic_missing(night, topic):
        pass
    await night.until(lambda: stands_still(night, "referral", topic) == read, "positions past the end")
    said = night.status("referral")
    see(said["ready"] and read, "referral calls itself not ready, or had read nothing")
    return f"{len(read)} partitions held and named"


@row(
    27,
    "the broker's disk is full",
    "its log on a tmpfs of its own, filled under load: it ends, and ends again as long as there is no space;"
    " started once there is, no file touched",
    SOAK,
)
async def broker_disk_full(night: Night) -> str:
    if why := disks.no_disk():
        raise NotRun(why)
    kafka = night.fleet.stack.processes["kafka"]
    with disks.disk(night, the_log.megabytes_of_log(night) + 200) as disk:
        async with disks.log_on(night, disk), night.broken("the broker's disk is full", limit=60):
            night.wave(30, 24, pace=0.03)
            try:
                async with database.relay_kept(night, "referral"):  # so that rows wait for certain
                    await night.until(lambda: outbox_rows(night), "rows that wait")
                    disk.fill()
                    await night.until(lambda: kafka.pid is None, "the end of a broker without space")
                night.fleet.stack.start_again("kafka")
                await night.until(lambda: kafka.pid is None, "its end when started without space")
                asked, refused = await alive_meanwhile(night, night.lasts(8, 30))
                waits = outbox_rows(night)
            finally:
                disk.clear()
                await start(night, "kafka")
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    see(waits, "no row waits in an outbox, so nothing was tested")
    return (
        f"the broker ended twice, {asked} reads and /live answered, {waits} rows waited; publishers were refused"
        f" {told(night.sender.refused)} and sent again; no file was touched; {night.recovered}"
    )


# --- three brokers, on a house of their own


@row(
    16,
    "SIGKILL of the leader",
    "three brokers, SIGKILL of the one that leads referral.events/0, five rounds under load, back only after another leads",
    brokers=3,
)
async def leader_killed(night: Night) -> str:
    led: list[int] = []
    async with night.broken("the leader killed five times", limit=60, beside={"intake": 40, "referral": 200}) as window:
        for _ in range(5):
            night.wave(12, 16, pace=0.03)
            await asyncio.sleep(night.chance.uniform(1, 3))
            led.append(await the_log.leader(night, "referral.events"))
            name = night.fleet.stack.brokers[led[-1] - 1]
            try:
                kill(night, name)
                await window.bites()
                await the_log.led_by_another(night, "referral.events", led[-1])
            finally:
                await start(night, name)
                await window.heals()
                await the_log.in_sync(night)
    return f"nodes {', '.join(map(str, led))} died as leaders, another led each time; {night.recovered}"


@row(
    17,
    "rolling restart of the brokers",
    "three brokers, SIGTERM of one after the other, each back and in sync before the next, under load",
    SOAK,
    brokers=3,
)
async def brokers_in_turn(night: Night) -> str:
    kafka, ran = night.fleet.stack, {name: night.fleet.processes[name].pid for name in SERVICES}
    fault = night.broken("brokers restarted in turn", beside={"intake": 40, "referral": 200})
    async with nobody_leaves(night, "referral"), fault as window:
        for name in kafka.brokers:
            night.wave(16, 24, pace=0.03)
            await window.bites()
            await asyncio.to_thread(kafka.processes[name].stop, 60.0)
            await start(night, name)
            await window.heals()
            await the_log.in_sync(night)
    see({name: night.fleet.processes[name].pid for name in SERVICES} == ran, "a service was started again")
    longest = the_log.longest_pause(night)
    return f"no service started again, no member left; longest pause between two answers {longest:.1f} s"


@row(
    20,
    "fewer copies than min.insync.replicas",
    "three brokers, topics with three copies of which all must have what is acknowledged; SIGKILL of one for 15 s, under load",
    SOAK,
    brokers=3,
)
async def too_few_copies(night: Night) -> str:
    last = night.fleet.stack.brokers[-1]
    async with night.broken("below min.insync.replicas", limit=60):
        await the_log.copies_needed(night, 3)
        night.wave(30, 24, pace=0.03)
        try:
            await asyncio.sleep(3)
            kill(night, last)
            await the_log.in_sync(night, 2)  # until Kafka knows, nobody answers; then it says NotEnoughReplicas
            began, rows = acknowledged(night), outbox_rows(night)
            asked, refused = await alive_meanwhile(night, 15)
            told, waits = acknowledged(night) - began, outbox_rows(night)
        finally:
            await start(night, last)
            await the_log.in_sync(night, 3)
            await the_log.copies_needed(night, 2)
    see(told == 0, f"{told} acknowledged with too few copies")
    see(refused == 0, f"{refused} of {asked} questions were refused meanwhile")
    see(waits, f"no row waits in an outbox ({rows} at first)")
    return f"nothing acknowledged meanwhile, {waits} rows waited; {night.recovered}"


def told(refused: Counter[str]) -> str:
    """How often, and with what."""
    return ", ".join(f"{n} times ({error})" for error, n in refused.most_common()) or "nothing"


def acknowledged(night: Night) -> int:
    """How many submissions Kafka has acknowledged."""
    return sum(entry.acknowledged for entry in night.journal.entries)


def outbox_rows(night: Night) -> int:
    """Rows that wait in the outboxes of all services."""
    return sum(night.status(name)["outbox"]["rows"] for name in SERVICES)


@row(
    21,
    "coordinator of the group killed",
    "three brokers, SIGKILL of the one that coordinates referral's group, back only after referral answers again",
    SOAK,
    brokers=3,
)
async def coordinator_killed(night: Night) -> str:
    node = await the_log.coordinator(night, "referral")
    name = night.fleet.stack.brokers[node - 1]
    async with night.broken("the coordinator is gone", beside={"intake": 10, "referral": 30}) as window:
        night.wave(30, 24, pace=0.05)
        await asyncio.sleep(3)
        try:
            kill(night, name)
            killed = time.monotonic()
            await window.bites()
            await night.until(
                lambda: progressed(night, "referral", killed + 1, 30), "answers of referral without that broker"
            )
            took = time.monotonic() - killed
            there = await the_log.coordinator(night, "referral")
            await window.heals()
        finally:
            await start(night, name)
            await the_log.in_sync(night)
    see(there != node, "the group has the same coordinator, so nothing was tested")
    return f"node {node} died, node {there} coordinates; 30 answers of referral within {took:.1f} s"
