"""Messages: poison, replays, floods, order, foreign transactions and times, forks."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.soak.faults import processes, the_log
from deploy.soak.faults.processes import another, armed
from deploy.soak.journal import Meant
from deploy.soak.load import CANARY, POISONS, PROVIDER, Wave
from deploy.soak.night import Night, in_one_hour
from deploy.soak.observed import FACTS, LETTERS, records_of, session
from deploy.soak.rows.matrix import SOAK, Unseen, held_by, progressed, row, see
from deploy.soak.sending import headers_of


@row(31, "poison: random bytes, wrong headers, truncated", "every kind of poison among sound submissions")
async def poison(night: Night) -> str:
    wave = night.load.wave(6, 12)
    sound = [meant for meant in wave.then if meant.type == "attendance_reported" and not meant.poison]
    kinds: set[str] = set()
    while len(kinds) < len(POISONS):
        wave.then.insert(night.chance.randrange(len(wave.then)), bad := night.load.poisoned(night.chance.choice(sound)))
        kinds.add(bad.poison)
    await night.play(wave)
    await night.caught_up()
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
        for one in night.status("referral")["dead_letters"]:
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
    await night.caught_up()
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
    told = {(meant.publisher, meant.id) for meant in wave.then if unknown.encode() in meant.body}
    await night.sender.acknowledged()
    await night.until(lambda: told <= night.sender.outcomes.keys(), "answers to those with the unknown field")
    outcomes = Counter(night.sender.outcomes[key] for key in told)
    see("unreadable" not in outcomes, f"those with the unknown field are answered {dict(outcomes)}")
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
    await night.caught_up()
    return f"refused by the broker ({', '.join(refused)}); 120 KiB taken and answered"


@row(
    37,
    "dead letters cannot be written",
    "referral's dead-letter topic too small for any letter, then refusing every record for its time, until 60 others are answered;"
    " red where the relay keeps a producer whose numbers no longer fit",
)
async def letters_refused(night: Night) -> str:
    early = {"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "0"}
    seen = []
    for what, settings in (("too large", {"max.message.bytes": "64"}), ("too old", early)):
        fault = the_log.topic_set(night, LETTERS_OF_REFERRAL, settings)
        async with night.broken(f"letters are {what}", limit=45), fault:
            kept = await letters_kept(night)
            seen.append(f"{kept} rows kept while {what}")
    return f"{', '.join(seen)}; answers left meanwhile; {night.recovered}"


@row(
    137,
    "a dead-letter topic is missing",
    "referral.dead-letters deleted while referral runs, until 60 others are answered; made again as `lotse topics` does; `lotse republish`",
    SOAK,
)
async def letters_homeless(night: Night) -> str:
    began = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%S%z}"
    fault = the_log.topic_missing(night, LETTERS_OF_REFERRAL)
    try:
        async with night.broken("letters have no topic", limit=45), fault:
            kept = await letters_kept(night)
    finally:  # what the topic had held is gone with it, whatever was seen
        done = await processes.lotse(night, "referral", "republish", "referral", "--since", began, "--why", "row 137",
                                  "--at", night.fleet.url("referral"))  # fmt: skip
    see(done.returncode == 0, done.stderr)
    await night.nothing_lags()
    return f"{kept} rows kept meanwhile; what the topic had held came back with the same ids"


LETTERS_OF_REFERRAL = "referral.dead-letters"


async def letters_kept(night: Night) -> int:
    """While letters can't leave: they wait in referral's outbox, and what others ask is answered beside them. Gives back how
    many rows the outbox holds then."""
    wave = night.load.wave(12, 12, noise=False)  # of six cases three may attend: too few to answer so often
    sound = [meant for meant in wave.then if meant.type == "attendance_reported"]
    refused = f"outbox/{LETTERS_OF_REFERRAL}"
    until = time.monotonic() + 150  # a broker follows its controller a moment later: until then letters are written
    while refused not in [one["what"] for one in night.status("referral")["held"]]:
        see(time.monotonic() < until, "there are no letters kept in the outbox: nothing is held")
        night.play(Wave(then=[night.load.poisoned(night.chance.choice(sound)) for _ in range(4)]))
        await asyncio.sleep(2)
    began = time.monotonic()
    night.play(wave, pace=0.01)
    await night.until(lambda: progressed(night, "referral", began, 60), "60 answers beside letters that can't leave")
    said = night.status("referral")
    held = [one["what"] for one in said["held"]]
    see(held == [refused], f"held {said['held']}: that the letters can't leave, and nothing else")
    see(said["outbox"]["rows"], "there are no letters kept in the outbox")
    see(not said["set_aside"]["count"], f"aside {said['set_aside']}")
    return int(said["outbox"]["rows"])


@row(
    38,
    "dead-letter replay run twice, and while the consumer runs",
    "a rule breaks; lotse dead-letters replay, three at once, twice, the second time by the IDs of what is settled by then",
)
async def replayed_twice(night: Night) -> str:
    why = f"row 38 {uuid4().hex[:6]}"
    typed = ("dead-letters", "replay", "referral", "--why", why, "--at")
    async with armed(night, "referral", "decide:raise:8"):
        night.wave(6, 6, noise=False)
        # how many depends on the order in which they come: what rests on one that is set aside waits
        await night.until(lambda: night.status("referral")["set_aside"]["count"], "submissions set aside")
        broken = await asyncio.gather(
            *(processes.lotse(night, "referral", *typed, night.fleet.url("referral")) for _ in range(3))
        )
        see(all(done.returncode == 1 for done in broken), f"a rule that is still broken: {broken[0].stdout}")
        ids = await aside(night)
    await processes.restart(night, "referral")  # the rule is mended; a service that starts anew judges them itself
    done = await asyncio.gather(
        *(processes.lotse(night, "referral", *typed, night.fleet.url("referral"), *ids) for _ in range(3))
    )
    see(all(one.returncode == 0 for one in done), f"{done[0].stdout} {done[0].stderr}")
    see(all(f"{len(ids)} of {len(ids)} are settled" in one.stdout for one in done), f"{len(ids)} IDs: {done[0].stdout}")
    await night.nothing_lags()
    see(not night.status("referral")["set_aside"]["count"], "something is still set aside")
    async with session(night.fleet, "referral") as con:
        written = await con.fetchval("select count(*) from lotse.audit where why = $1", why)
    see(written == 6, f"{written} audit entries")
    return "replayed six times, three while the rule was broken: one answer each, six audit entries"


async def aside(night: Night) -> list[str]:
    """IDs of what referral has set aside."""
    kept = await asyncio.to_thread(night.fleet.ask, "referral", "/kept", 20)
    return [str(row["seq"]) for row in kept.json() if row["why"] == "aside"]


@row(39, "duplicate flood", "everything three times, shuffled, on two partitions, over two rebalances")
async def flood(night: Night) -> str:
    wave = night.load.wave(16, 20)
    wave.first, wave.then = tripled(night, wave.first), tripled(night, wave.then)
    async with night.broken("everything three times", beside={"referral": 50}) as window:
        night.play(wave, pace=0.004)
        await window.bites()
        async with another(night, "referral", own_group=False), another(night, "intake", own_group=False):
            await asyncio.sleep(2)
            await window.lasts()
    return f"{len(wave.first + wave.then)} records, one effect each"


def tripled(night: Night, submissions: list[Meant]) -> list[Meant]:
    """Each three times, poison once, in any order: a copy comes long after its original, and after what rests on it."""
    found = [replace(meant, copies=1) for meant in submissions for _ in range(1 if meant.poison else 3)]
    night.chance.shuffle(found)
    return found


@row(
    40,
    "out of order across topics",
    "referrals, answers and runs 3 s before the cases and consents they rest on",
    quiet=True,
)
async def out_of_order(night: Night) -> str:
    wave = night.load.wave(10, 10)
    before = night.status("referral")["waiting"]
    await night.sender.send([meant for meant in wave.first if meant.family != "intake"])
    late = [meant for meant in wave.first if meant.family == "intake"]
    await night.until(lambda: night.status("referral")["waiting"] >= before + 10, "what waits")
    waited = night.status("referral")["waiting"] - before
    await night.play(replace(wave, first=late))
    await night.caught_up()
    return f"{waited} waited, all were answered, no dead letter"


@row(105, "one run for which many cases waited", "referrals of 60 cases to one run, and the run when all of them wait",
     quiet=True)  # fmt: skip
async def many_waited(night: Night) -> str:
    wave = night.load.wave(60, 4, a_run=60)
    run = [meant for meant in wave.first if meant.type == "offer_run_submitted"]
    before = night.status("referral")["waiting"]
    await night.sender.send([meant for meant in wave.first if meant.type != "offer_run_submitted"])
    await night.until(lambda: night.status("referral")["waiting"] >= before + 60, "what waits")
    orphans = sum(meant.waits for meant in wave.then)  # on a slow machine they are there before anybody looks
    playing = night.play(replace(wave, first=run))
    await night.until(lambda: night.status("referral")["waiting"] <= before + orphans,
                      "60 cases that go on at once with their run")  # fmt: skip
    await playing
    await night.caught_up()
    return "60 cases went on at once, all were answered"


@row(
    42,
    "foreign transactions",
    "aborted transactions on every partition of intake's and referral's inputs, the last on idle ones",
)
async def transactions(night: Night) -> str:
    meant = night.load.say("north", "attendance", "attendance_reported", str(uuid4()), PROVIDER, name=CANARY)
    headers = [(name, raw or b"") for name, raw in headers_of(meant)]
    topics = ["intake.submissions.north", "attendance.submissions.south", "attendance.submissions.loud"]
    await the_log.aborted(night, topics, meant.body, headers)
    night.wave(6, 12)
    await the_log.aborted(night, topics, meant.body, headers)
    return "never acted on; no gap called, no clock stopped"


@row(
    43,
    "a hot case",
    "four of five reports about one case, 1,200 of them, 100 a second; the others' answers are timed",
    SOAK,
)
async def hot(night: Night) -> str:
    wave = night.load.wave(1, 1200, noise=False)
    while len(wave.then) < 1200:  # one that attends
        wave = night.load.wave(1, 1200, noise=False)
    took = {}
    for what, hotter in (("alone", False), ("beside it", True)):
        others = night.load.wave(20, 15, noise=False)
        others.then.sort(key=lambda meant: meant.type == "attendance_reported")  # none waits for its start
        await night.play(replace(others, then=[]))
        if hotter:
            await night.play(replace(wave, then=[]))
            night.play(replace(wave, first=[]), pace=0.01)
        await night.play(replace(others, first=[]), pace=0.04)
        await night.caught_up()
        ids = {meant.id for meant in others.then}
        took[what] = sorted(seconds for (_, id, _), seconds in night.sender.took.items() if id in ids)
    slow = {what: seconds[len(seconds) * 95 // 100] for what, seconds in took.items()}
    see(len(took["beside it"]) > 150, f"only {len(took['beside it'])} answers were timed")
    see(
        slow["beside it"] < HOT_LIMIT,
        f"95 of 100 answers to others within {slow['beside it']:.1f} s, alone {slow['alone']:.1f} s",
    )
    return (
        f"{len(wave.then)} reports of one case; 95 of 100 answers to others within {slow['beside it']:.1f} s"
        f" ({slow['alone']:.1f} s without it), the last after {took['beside it'][-1]:.1f} s"
    )


HOT_LIMIT = 5.0  # seconds


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
    await night.caught_up()
    return "the future is refused CLOCK_AHEAD, the others are recorded; no time stands still"


@row(36, "everything one publisher sends is poison", "1,500 unreadable ones of one publisher, sound ones of two others beside",
     rough=True)  # fmt: skip
async def all_poison(night: Night) -> str:
    await in_one_hour()
    bad = [night.load.unknown_type("loud") for _ in range(1500)]
    before = len(await records_of(night.fleet.stack.kafka, LETTERS))
    night.play(Wave(then=bad))
    night.wave(10, 16, pace=0.005)
    await night.until(lambda: "publisher:loud" in held_by(night, "referral"), "loud's own limit")
    await night.until(lambda: not any(name != "loud" for name, _, _ in night.sender.awaited), "answers to the others")
    letters = len(await records_of(night.fleet.stack.kafka, LETTERS)) - before
    see(letters < 1500, f"{letters} dead letters: flooded")
    others = {what for what in held_by(night, "referral") if "loud" not in what}
    see(not others, f"others are held, too: {others}")
    return f"stopped after {letters} dead letters; the others went on"


@row(41, "older number after newer; early ones; the same number with another id", "facts written as intake would, by hand", rough=True)  # fmt: skip
async def forked(night: Night) -> str:
    case, other = str(uuid4()), str(uuid4())
    body = {"by": {"organisation_id": "rkn-thm", "kind": "person"}, "need_id": str(uuid4()), "need_type": "WORK"}
    async with AIOKafkaProducer(bootstrap_servers=night.fleet.stack.kafka) as producer:
        for number in (2, 3):
            await the_log.write_fact(producer, "need_recorded", case, number, body)
        await night.until(lambda: night.status("referral")["early"] == 2, "two early facts")
        await the_log.write_fact(producer, "need_recorded", case, 1, body)
        await night.until(lambda: night.status("referral")["early"] == 0, "no early fact")
        await the_log.write_fact(producer, "need_recorded", case, 2, body)
        await the_log.write_fact(producer, "need_recorded", case, 3, body, id=str(uuid4()))
        await night.until(lambda: case in str(night.status("referral").get("quarantined")), "the case in quarantine")
        await the_log.write_fact(producer, "need_recorded", other, 1, body)
    said = night.status("referral")
    see(len(said["quarantined"]) == 1 and not said["held"], f"held: {said['held']}")
    await night.wave(4, 8)
    await night.caught_up()
    return "early ones were kept, the old one dropped, the forked case alone stands still"
