"""A dry run changes nothing, and says what the real run beside it then says: databases, topics, files, and what operators ask."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fastapi import FastAPI
from pydantic import SecretStr

import services.operating.rebuild
from contracts.envelope import Attributes, Submission
from contracts.intake import NeedRecorded, NeedReported, RegistrationSubmitted
from contracts.referral import OfferRunPublished
from contracts.topics import load_publishers, submissions_topic
from deploy.cli import main
from deploy.errors import DONE, FINDINGS, REFUSED, USAGE, Trouble
from deploy.local.operations import PRIVATE, PUBLIC, make_operations_key
from deploy.local.postgres import Postgres
from deploy.local.processes import child_environment, ran
from deploy.local.stack import LocalStack
from deploy.places import ROOT, SERVICES
from deploy.services import make_topics, mend_topics, migrate, migrations
from services.host.running import Running
from services.kept.left_out import is_left_out
from services.operating import operate
from services.operating.beside import TwoDatabases, in_one_database
from services.operating.rebuild import BROKEN_AT_MOST, Broken, rebuild
from services.process.connections import KafkaSecurity
from services.runtime import clock, positions
from services.runtime.batch import apply
from services.runtime.database import pack
from services.runtime.messages import Message, Part
from tests.conftest import ORGANISATIONS, PUBLISHERS
from tests.forked import run
from tests.in_hand import AROUND, in_hand
from tests.integration.on_one_stack.test_a_rebuild_from_nothing import fact
from tests.publishing import NAME, OWNER, PATIENCE, SOURCE, TENANT

CAME = datetime.now(UTC)
PART = Part(submissions_topic("intake", NAME), 0)
Picture = dict[Any, Any]


@pytest.fixture
def node(node: Running, prepared: LocalStack) -> Running:
    """Intake's, with its owner's address, too."""
    owner = SecretStr(prepared.databases["intake"].owner)
    node.settings = node.settings.model_copy(update={"database_owner": owner})
    return node


@pytest.fixture
async def emptied(node: Running) -> Running:
    """Intake's, as if it had never run."""
    names = [row["relname"] for row in await node.pool.fetch(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'lotse'::regnamespace and relname !~ 'migrations'")]  # fmt: skip
    owner = await asyncpg.connect(owner_of(node))
    await owner.execute(f"truncate {', '.join(f'lotse.{name}' for name in names)}")
    await owner.close()
    return node


def owner_of(node: Running) -> str:
    assert node.settings.database_owner
    return node.settings.database_owner.get_secret_value()


async def picture(dsn: str) -> Picture:
    """Every table there is, with a digest of its rows, and who holds an advisory lock."""
    con = await asyncpg.connect(dsn)
    try:
        found: Picture = {}
        tables = await con.fetch("select schemaname || '.' || tablename as name from pg_tables where schemaname !~ '^(pg_|information_)'")  # fmt: skip
        for (name,) in tables:
            found[name] = await con.fetchval(f"select md5(coalesce(string_agg(t::text, '/' order by t::text), '')) from {name} t")  # fmt: skip
        found["schemas"] = [row[0] for row in await con.fetch("select nspname::text from pg_namespace where nspname !~ '^pg_' order by 1")]  # fmt: skip
        found["locks"] = await con.fetchval(
            "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database"
            " where datname = current_database())"
        )
        return found
    finally:
        await con.close()


async def everything(node: Running) -> Picture:
    """Intake's tables, and every topic with its partitions and their ends."""
    topics = {row["topic"] for row in await node.reader._admin.describe_topics()}
    return {**await picture(owner_of(node)), **await node.reader.ends(await node.reader.parts(topics))}


def fetched(node: Running, offset: int, submission: Submission, case: str) -> Message:
    """A record as the loop has it in hand."""
    said = Attributes(str(uuid4()), SOURCE, submission.ce_type, case, CAME, TENANT)
    return in_hand(node, PART.topic, offset, CAME, said, submission.to_json())


async def applied(node: Running, *messages: Message) -> None:
    await positions.make(node.pool, {PART: 0})
    await apply(node, list(messages), {}, {}, AROUND)


def registered() -> RegistrationSubmitted:
    return RegistrationSubmitted(by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm")


def need() -> NeedReported:
    return NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK")


def breaks(*_: object) -> list[Any]:
    """A rule of ours that breaks on what it should say of a state."""
    raise ArithmeticError


def missing(found: NeedReported) -> Any:
    """A rule that misses this need in each case."""

    def finds(state: Any, _: datetime) -> list[Any]:
        said = NeedRecorded(by=OWNER, need_id=found.need_id, need_type="WORK")
        return [] if found.need_id in str(state) else [said]

    return finds


async def ticked(node: Running, at: datetime) -> None:
    """A tick whose ends are passed; every state is due at it."""
    await node.pool.execute("update state set due_at = $1", at)
    await node.pool.execute("insert into tick (id, at, ends) values ($1, $2, '[]')", str(at), at)
    await clock.act(node, lambda _: None)


async def asked(node: Running, path: str, **said: Any) -> httpx.Response:
    """A question to a service's door for operators, as `lotse` asks it."""
    app = FastAPI()
    app.include_router(operate.routes(node))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://intake") as client:
        return await client.post(path, json={"who": "me", "why": "mended", **said})


# --- what a running service is asked


async def test_a_subject_that_would_be_released_stays_in_quarantine(emptied: Running) -> None:
    """All that was kept of it is judged, and nothing of that stays, neither who asked nor why."""
    node, case = emptied, str(uuid4())
    await applied(node, fetched(node, 0, registered(), case))
    await node.pool.execute("insert into quarantine values ($1, 'Broken')", case)
    await applied(node, fetched(node, 1, need(), case), fetched(node, 2, need(), case))
    before = await everything(node)
    would = await asked(node, "/dry-run/release", subject=case)
    assert await everything(node) == before
    assert would.json() == {"taken_up": 2, "more": False}
    assert (await asked(node, "/operate/release", subject=case)).json() == would.json()
    assert await node.pool.fetchval("select count(*) from kept") == 0
    assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 3
    assert await node.pool.fetchval("select count(*) from audit") == 1


async def test_a_release_that_would_be_refused_is_refused_for_the_same_reason(emptied: Running) -> None:
    """Its cause is not mended, or what is to be left out is a submission."""
    node, case = emptied, str(uuid4())
    await node.pool.execute("insert into quarantine values ($1, 'Broken')", case)
    await applied(node, fetched(node, 0, registered(), case))
    seq = await node.pool.fetchval("select seq from kept")

    sound, broken = node.service, replace(node.service, react=breaks)
    await node.pool.execute("insert into alliance (tenant, ticked) values ($1, now()) on conflict (tenant) do update set ticked = now()", TENANT)  # fmt: skip
    for service, without, why in ((broken, [], "ArithmeticError"), (sound, [seq], "NoFactOfIts")):
        node.service = service
        before = await everything(node)
        would = await asked(node, "/dry-run/release", subject=case, without=without)
        assert await everything(node) == before
        does = await asked(node, "/operate/release", subject=case, without=without)
        assert (would.status_code, would.json()) == (
            409,
            {"detail": f"still in quarantine: {why}; nothing was changed"},
        )
        assert (does.status_code, does.json()) == (would.status_code, would.json())


async def test_a_subject_on_which_a_rule_broke_at_a_tick_is_released_once_it_is_mended_and_not_before(
    emptied: Running,
) -> None:
    """Nothing is kept of it: only asking its state, as a tick does, says whether the cause is mended. Released unasked, the next
    tick put it into quarantine again, after somebody was told that it is mended."""
    node, case = emptied, str(uuid4())
    await applied(node, fetched(node, 0, registered(), case))
    sound, broken = (replace(node.service, react=rule) for rule in (missing(need()), breaks))
    node.service = broken
    await ticked(node, CAME)
    assert [tuple(row) for row in await node.pool.fetch("select subject, why from quarantine")] == [(case, "ArithmeticError")]  # fmt: skip
    assert await node.pool.fetchval("select count(*) from kept") == 0
    refused = {"detail": "still in quarantine: ArithmeticError; nothing was changed"}
    for service, status, says in ((broken, 409, refused), (sound, 200, {"taken_up": 0, "more": False})):
        node.service = service
        before = await everything(node)
        would = await asked(node, "/dry-run/release", subject=case)
        assert await everything(node) == before
        does = await asked(node, "/operate/release", subject=case)
        assert (would.status_code, would.json()) == (does.status_code, does.json()) == (status, says)
        assert await node.pool.fetchval("select count(*) from quarantine") == (status == 409)
    said = "select count(*) from timeline where subject = $1"
    assert await node.pool.fetchval(said, case) == 2  # what was missing is said at once
    assert (await asked(node, "/operate/release", subject=case)).json() == says
    await ticked(node, CAME + timedelta(minutes=15))
    assert await node.pool.fetchval(said, case) == 2 and await node.pool.fetch("select from quarantine") == []


async def test_all_states_of_a_subject_are_asked_at_its_release_while_a_tick_begins_and_others_release_it(
    emptied: Running,
) -> None:
    """A run that was begun under a case's id, say, is another state under its name; a tick and who releases it, too, wait."""
    node, case = emptied, str(uuid4())
    await applied(node, fetched(node, 0, registered(), case))
    await ticked(node, CAME)
    await node.pool.execute("insert into quarantine values ($1, 'Broken')", case)
    seen: list[str] = []

    def looks(state: Any, _: datetime) -> list[Any]:
        seen.append(type(state).__name__)
        return []

    class Other(node.service.states["case"]):  # type: ignore[misc, name-defined]
        """Another kind of thing."""

    node.service = replace(node.service, states={**node.service.states, "other": Other}, react=looks)
    await node.pool.execute(
        "insert into state select 'other', id, tenant, shape, body, '{}', last, due_at from state where id = $1", case
    )
    await applied(node, fetched(node, 1, need(), case), fetched(node, 2, need(), case))
    tick = asyncio.create_task(ticked(node, CAME + timedelta(minutes=15)))
    done = await asyncio.gather(*[asked(node, "/operate/release", subject=case) for _ in range(3)])
    await tick
    assert {one.status_code for one in done} == {200} and sum(one.json()["taken_up"] for one in done) == 2
    assert {"Case", "Other"} == set(seen)
    assert await node.pool.fetch("select from quarantine union all select from kept") == []


async def test_what_would_be_sent_again_is_counted_and_stays_sent(emptied: Running) -> None:
    """A row packs few records, some hundred, or a report's hundred thousand."""
    node, sizes = emptied, {"intake.events": (1, 15, 16, 300), "intake.answers.kreis": (70_000,)}
    add = "insert into outbox (tx, after, topic, records, sent_at) values (1, false, $1, $2, $3)"
    for topic, counts in sizes.items():
        for n in counts:
            await node.pool.execute(add, topic, pack([(b"k", b"v", [])] * n), CAME)
    await node.pool.execute(add, "intake.events", pack([(b"k", b"v", [])]), CAME - timedelta(hours=2))
    await node.pool.execute(
        "insert into acked select topic, part, 10 from (values ('intake.events', 0)) v(topic, part)"
    )
    before, since = await everything(node), (CAME - timedelta(hours=1)).isoformat()
    would = await asked(node, "/dry-run/republish", since=since)
    assert await everything(node) == before
    assert would.json() == {"intake.answers.kreis": 70_000, "intake.events": 332}
    assert (await asked(node, "/operate/republish", since=since)).json() == would.json()
    assert await node.pool.fetchval("select count(*) from outbox where sent_at is null") == 5
    assert await node.pool.fetchval("select next from acked") == 0


async def test_what_would_go_on_stays_held(emptied: Running) -> None:
    """It says of each partition where it stands, where it would begin, and how much is gone from the log."""
    node, away, set_back = emptied, Part(PART.topic, 1), Part(PART.topic, 2)
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        sent = [await producer.send_and_wait(away.topic, b"x", partition=away.part) for _ in range(3)]
    end = sent[-1].offset + 1
    await gone_before(node, away, end - 1)
    await positions.make(node.pool, {PART: 0, away: 0, set_back: 9})
    await node.pool.execute("update position set held = 'Gap:of this test', held_since = now() where part > 0")
    letter = [("lotse_topic", set_back.topic.encode()), ("lotse_partition", b"2"), ("lotse_offset", b"3"), ("lotse_arrived", b"2026-03-02T08:00:00Z")]  # fmt: skip
    add = "insert into outbox (tx, after, topic, records) values (1, true, 'intake.dead-letters', $1)"
    await node.pool.execute(add, pack([(b"-", b"sealed", letter)]))
    before = await everything(node)
    would = await asked(node, "/dry-run/go-on")
    assert await everything(node) == before
    assert would.json() == [operate.leap(away, 0, end - 1, gone=end - 1), operate.leap(set_back, 9, 0, gone=9)]
    assert (await asked(node, "/operate/go-on")).json() == would.json()
    assert await positions.stand(node.pool, held=False) == {PART: 0, away: end - 1, set_back: 0}
    assert await node.pool.fetchval("select count(*) from buried") == 1


async def test_a_record_that_would_be_passed_is_not_left_out_and_a_fact_is_refused(node: Running) -> None:
    topic, whole = "referral.events", fact(str(uuid4()))
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        good = await producer.send_and_wait(topic, whole.value, headers=whole.headers, partition=3)
        bad, later = [await producer.send_and_wait(topic, b"x", partition=3) for _ in range(2)]
    node = replace(node, service=replace(node.service, learns=(OfferRunPublished,)))
    part = Part(topic, 3)
    await positions.make(node.pool, {part: bad.offset})
    await node.pool.execute(
        "update position set next = $1, held = 'NoFact' where topic = $2 and part = 3", bad.offset, topic
    )
    first = f"the record at {bad.offset} stands before it"
    for offset, status, why in ((good.offset, 409, "already"), (later.offset, 409, first), (later.offset + 1, 409, "log"),
                                (bad.offset, 200, "")):  # fmt: skip
        before = await everything(node)
        would = await asked(node, "/dry-run/go-on", past=f"{topic}/3/{offset}")
        assert await everything(node) == before
        does = await asked(node, "/operate/go-on", past=f"{topic}/3/{offset}")
        assert (does.status_code, does.json()) == (would.status_code, would.json()) and would.status_code == status
        assert why in would.text
    assert would.json() == [operate.leap(part, bad.offset, bad.offset + 1)]
    assert await is_left_out(node.pool, part, bad.offset)


async def gone_before(node: Running, part: Part, offset: int) -> None:
    """Kafka forgets what stands before an offset."""
    admin = AIOKafkaAdminClient(bootstrap_servers=node.settings.kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(*part): RecordsToDelete(before_offset=offset)})
    await admin.close()


async def test_what_has_no_dry_run_at_the_service_is_not_done_instead(node: Running) -> None:
    """Of replay and give-up the command says which it would be, by what is kept."""
    for what in ("replay", "give-up", "reveal"):
        assert (await asked(node, f"/dry-run/{what}", seqs=[1], place="here")).status_code in (404, 405)


# --- a rebuild


async def said(node: Running, *more: str, by: tuple[str, ...] = ("-m", "deploy.cli")) -> tuple[int, dict[str, Any]]:
    """`lotse rebuild intake`: its exit code, and what it says, but for how long it took."""
    env = child_environment(
        PYTHONPATH=str(ROOT), LOTSE_KAFKA=node.settings.kafka, LOTSE_DATABASE=node.settings.database.get_secret_value(),
        LOTSE_DATABASE_OWNER=owner_of(node), LOTSE_PUBLISHERS=str(PUBLISHERS), LOTSE_OPERATIONS_KEY=str(node.settings.operations_key),
        LOTSE_HTTP_PORT="0",
    )  # fmt: skip
    done = await asyncio.to_thread(ran, [sys.executable, *by, "rebuild", "intake", "--format", "json", *more], env)
    envelope = json.loads(done.stdout)
    data = {name: value for name, value in (envelope["data"] or {}).items() if name != "seconds"}
    return done.returncode, data | {"errors": envelope["errors"]}


async def test_a_rebuild_that_would_be_made_compares_and_swaps_nothing(emptied: Running) -> None:
    """What has not left yet is learnt from where it waits: nobody sends it for that, and it is sent after the swap."""
    node, case = emptied, str(uuid4())
    await applied(node, fetched(node, 0, registered(), case), fetched(node, 1, need(), case))
    before = await everything(node)
    would = await said(node, "--dry-run")
    assert await everything(node) == before
    equal = {
        "service": "intake",
        "records": 4,
        "differences": [],
        "compared": True,
        "unsent": {},
        "swept": 0,
        "errors": [],
    }
    assert would == (DONE, equal)
    spoil = "update state set known = replace(known, '{', '{ ') where id = $1"
    await node.pool.execute(spoil, case)
    before = await everything(node)
    would = await said(node, "--dry-run")
    assert await everything(node) == before
    assert would[0] == FINDINGS and would[1]["differences"] == [f"state: case/{case}"]
    assert await said(node) == would
    await node.pool.execute("update state set known = replace(known, '{ ', '{') where id = $1", case)
    before = await everything(node)
    assert await said(node) == (DONE, equal)
    after = await everything(node)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if "beside" not in str(name)} <= {"lotse.rebuilt", "lotse.acked", "schemas"}
    assert await node.pool.fetchval("select count(*) from outbox where sent_at is null") == 2


async def test_what_a_sweep_would_record_is_recorded_nowhere(emptied: Running) -> None:
    """As after a rule was mended: what a sweep finds is mailed to offices, so whoever is careful wants to know how much."""
    node, case = emptied, str(uuid4())
    await applied(node, fetched(node, 0, registered(), case))
    await node.pool.execute("update alliance set ticked = now()")
    node = replace(node, service=replace(node.service, react=missing(need())))
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    before = await everything(node)
    would = await rebuild(node.service, node.settings, files, dry=True)
    assert await everything(node) == before
    does = await rebuild(node.service, node.settings, files)
    assert (would.swept, would.records, would.compared, would.differences) == (1, 2, True, [])
    assert (does.swept, does.records, does.compared, does.differences) == (1, 2, True, [])


async def test_a_rule_that_breaks_in_a_sweep_stops_its_subject_alone_and_what_it_missed_is_said_at_its_release(
    emptied: Running,
) -> None:
    """The sweep goes on behind it; before, no rebuild and no dry run of one ever came to its end, and nobody was told where it broke."""
    node, cases = emptied, sorted(str(uuid4()) for _ in range(5))
    await applied(node, *(fetched(node, offset, registered(), case) for offset, case in enumerate(cases)))
    await node.pool.execute("update alliance set ticked = now()")
    rule = missing(need())
    wrong = replace(node.service, react=lambda state, at: breaks() if state.id == cases[2] else rule(state, at))
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    before = await everything(node)
    would = await rebuild(wrong, node.settings, files, dry=True)
    assert await everything(node) == before
    does = await rebuild(wrong, node.settings, files)
    for done in (would, does):
        assert (done.swept, done.broken, done.differences) == (4, [f"{cases[2]}: ArithmeticError"], [])
    assert [tuple(row) for row in await node.pool.fetch("select subject, why from quarantine")] == [(cases[2], "ArithmeticError")]  # fmt: skip
    node.service = replace(node.service, react=rule)
    assert (await asked(node, "/operate/release", subject=cases[2])).json() == {"taken_up": 0, "more": False}
    rows = await node.pool.fetch("select subject, count(*) as n from timeline group by subject order by subject")
    assert [tuple(row) for row in rows] == [(case, 2) for case in cases]


async def test_a_rule_that_breaks_on_everything_ends_the_sweep(
    emptied: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It put all there are into quarantine, one by one, and each needed its own release."""
    monkeypatch.setattr(services.operating.rebuild, "BROKEN_AT_MOST", 2)
    node, cases = emptied, sorted(str(uuid4()) for _ in range(4))
    await applied(node, *(fetched(node, offset, registered(), case) for offset, case in enumerate(cases)))
    await node.pool.execute("update alliance set ticked = now()")
    wrong = replace(node.service, react=lambda *_: breaks())
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    before = await everything(node)
    for dry in (True, False):
        with pytest.raises(Broken) as ended:
            await rebuild(wrong, node.settings, files, dry=dry)
        assert ended.value.done.broken == [f"{case}: ArithmeticError" for case in cases[:2]]
        assert dry is (await everything(node) == before)
    subjects = await node.pool.fetch("select subject from quarantine order by subject")
    assert [row["subject"] for row in subjects] == cases[:2]


async def test_a_rebuild_says_that_its_sweep_ended(emptied: Running) -> None:
    node, cases = emptied, sorted(str(uuid4()) for _ in range(BROKEN_AT_MOST + 1))
    await applied(node, *(fetched(node, offset, registered(), case) for offset, case in enumerate(cases)))
    await node.pool.execute("update alliance set ticked = now()")
    would = await said(node, "--dry-run", by=("-c", BREAKS))
    does = await said(node, by=("-c", BREAKS))
    assert does == would and would[0] == FINDINGS
    *broken, ended = would[1]["errors"]
    assert [error["message"] for error in broken] == [f"{case}: ArithmeticError" for case in cases[:BROKEN_AT_MOST]]
    assert ended["code"] == "UNSWEPT" and "rebuild once more" in ended["hint"]


BREAKS = """
import sys
from dataclasses import replace
import deploy.commands.admin as admin
from deploy.cli import main

def breaks(*_):
    raise ArithmeticError

sound = admin.declared
admin.declared = lambda name: replace(sound(name), react=breaks)
sys.exit(main(sys.argv[1:]))
"""


async def test_a_rebuild_names_the_subjects_on_which_a_rule_breaks_and_what_to_do(emptied: Running) -> None:
    node, case = emptied, str(uuid4())
    await applied(node, fetched(node, 0, registered(), case))
    await node.pool.execute("update alliance set ticked = now()")
    before = await everything(node)
    would = await said(node, "--dry-run", by=("-c", BREAKS))
    assert await everything(node) == before
    does = await said(node, by=("-c", BREAKS))
    assert does == would and would[0] == FINDINGS and would[1]["compared"]
    (error,) = would[1]["errors"]
    assert (error["code"], error["message"]) == ("QUARANTINED", f"{case}: ArithmeticError")
    assert "`lotse release intake SUBJECT`" in error["hint"]
    assert await node.pool.fetchval("select subject from quarantine") == case
    assert await said(node) == (DONE, would[1] | {"errors": []})  # which is another's to release


async def test_a_rebuild_waits_for_another_and_takes_nothing_of_it_away(
    emptied: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run is begun lightly: dropped under a real one, the schema beside would end it. What an unfinished one left is not
    its to clear away."""
    monkeypatch.setattr(services.operating.rebuild, "LOCK_LIMIT", "500ms")
    node = emptied
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    first = await asyncpg.connect(owner_of(node))
    try:
        await first.execute(
            "create schema lotse_old; create schema lotse_beside; select pg_advisory_lock(hashtext('lotse rebuild'))"
        )
        before = await everything(node)
        for dry in (True, False):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await rebuild(node.service, node.settings, files, dry=dry)
            assert await everything(node) == before
        await first.execute("drop schema lotse_beside; select pg_advisory_unlock_all()")
        before = await everything(node)
        await rebuild(node.service, node.settings, files, dry=True)
        assert await everything(node) == before
    finally:
        await first.execute("drop schema lotse_old")
        await first.close()


async def test_a_rebuild_with_nothing_to_compare_with_says_so_before(emptied: Running) -> None:
    """The last of these: the log knows more than the database from here on."""
    node, lost = emptied, fact(str(uuid4()))
    sent = fact(str(uuid4()))
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        await producer.send_and_wait("intake.events", sent.value, key=sent.key, headers=sent.headers)
    add = "insert into outbox (tx, after, topic, records) values (1, false, 'intake.events', $1)"
    await node.pool.execute(add, pack([lost]))
    before = await everything(node)
    would = await said(node, "--dry-run")
    assert await everything(node) == before
    assert would[0] == DONE and not would[1]["compared"] and would[1]["unsent"] == {"intake.events": 1}
    assert await said(node) == would
    assert await node.pool.fetchval("select count(*) from outbox") == 0


async def test_a_rebuild_in_two_databases_is_refused(emptied: Running, prepared: LocalStack) -> None:
    """Learnt beside in one, it was swapped in there, compared with nothing, and the service went on in the other."""
    node, name = emptied, f"other_{uuid4().hex[:6]}"
    con = await asyncpg.connect(prepared.admin_dsn)
    await con.execute(f"create database {name} owner intake_owner")
    await con.close()
    other = owner_of(node).rpartition("/")[0] + f"/{name}"
    await asyncio.to_thread(migrate, "intake", other)
    node.settings = node.settings.model_copy(update={"database_owner": SecretStr(other)})
    before = await picture(other)
    for more in (["--dry-run"], []):
        code, told = await said(node, *more)
        (error,) = told["errors"]
        assert code == REFUSED and await picture(other) == before
        assert (
            error["message"]
            == f"not rebuilt: LOTSE_DATABASE and LOTSE_DATABASE_OWNER are in two databases, intake and {name}"
        )


@pytest.fixture
def another(tmp_path: Path) -> Iterator[str]:
    """The address of a database of intake's on another server."""
    postgres = Postgres(tmp_path / "postgres")
    postgres.start()
    try:
        postgres.wait()
        yield postgres.provision(("intake",))["intake"].owner
    finally:
        postgres.process.stop()


async def test_two_databases_of_one_name_on_two_servers_are_two(prepared: LocalStack, another: str) -> None:
    ours = prepared.databases["intake"].owner
    found = [await asyncpg.connect(dsn) for dsn in (ours, another, ours)]
    try:
        with pytest.raises(TwoDatabases, match="intake and intake of two servers"):
            await in_one_database(found[0], found[1])
        await in_one_database(found[0], found[2])
    finally:
        for con in found:
            await con.close()


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "intake"])
async def test_a_database_of_another_service_is_neither_migrated_nor_rebuilt(node: Running, service: str) -> None:
    """Told to migrate it, who had another service's environment got a database that was neither's, and none could rebuild it."""
    owner, mail = (
        owner_of(node),
        {"ORGANISATIONS": str(ORGANISATIONS), "SMTP_HOST": "h", "SMTP_PORT": "25", "MAIL_FROM": "a@b"},
    )
    env = child_environment(
        PYTHONPATH=str(ROOT), LOTSE_KAFKA=node.settings.kafka, LOTSE_DATABASE=node.settings.database.get_secret_value(),
        LOTSE_DATABASE_OWNER=owner, LOTSE_PUBLISHERS=str(PUBLISHERS), LOTSE_OPERATIONS_KEY=str(node.settings.operations_key),
        LOTSE_HTTP_PORT="0", **{f"LOTSE_{name}": value for name, value in mail.items()},
    )  # fmt: skip
    before = await picture(owner)
    for words in (
        ["migrate", service],
        ["migrate", service, "--dry-run"],
        ["rebuild", service],
        ["rebuild", service, "--dry-run"],
    ):
        done = await asyncio.to_thread(run, *words, "--format", "json", env=env)
        (error,) = json.loads(done.stdout)["errors"]
        assert done.returncode == REFUSED and await picture(owner) == before, words
        assert error["message"] == f"this is the database of intake, not of {service}; nothing was changed"
        assert "lotse migrate" not in error["hint"]


# --- what is set up


async def test_migrations_that_would_run_are_named_and_none_runs(prepared: LocalStack) -> None:
    name = f"by_hand_{uuid4().hex[:6]}"
    con = await asyncpg.connect(prepared.admin_dsn)
    await con.execute(f"create database {name} owner referral_owner")
    await con.close()
    dsn = prepared.databases["referral"].owner.rpartition("/")[0] + f"/{name}"
    before = await picture(dsn)
    would = await asyncio.to_thread(migrate, "referral", dsn, dry_run=True)
    assert await picture(dsn) == before
    done = await asyncio.to_thread(migrate, "referral", dsn)
    names = [[one.split(": ")[1].split(" in ")[0] for one in said.split("; ")] for said in (would, done)]
    files = [file.name for _, folder in migrations("referral") for file in sorted(folder.glob("*.sql"))]
    assert names == [files, files] and would.startswith("Would be applied: ") and done.startswith("Applied: ")
    before = await picture(dsn)
    assert [await asyncio.to_thread(migrate, "referral", dsn, dry_run=dry) for dry in (True, False)] == [
        "nothing to do"
    ] * 2
    assert await picture(dsn) == before
    for wrong in (dsn.replace("referral_owner:", "referral_owner:canary"), "postgresql://o:p@127.0.0.1:9/d"):
        refused = [await asyncio.to_thread(troubled, wrong, dry_run=dry) for dry in (True, False)]
        assert refused[0] == refused[1]


def troubled(dsn: str, *, dry_run: bool) -> tuple[str, str, int]:
    with pytest.raises(Trouble) as wrong:
        migrate("referral", dsn, dry_run=dry_run)
    return wrong.value.what, wrong.value.way_out, wrong.value.exit_code


async def test_topics_that_would_be_made_are_not_and_what_kafka_would_refuse_it_refuses(node: Running) -> None:
    """One broker can't keep three copies: a dry run that only looked for names would promise them."""
    kafka, all_, gone = node.settings.kafka, load_publishers(PUBLISHERS), "report.participation.internal"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([gone])
    async with asyncio.timeout(PATIENCE):
        while gone in await admin.list_topics():  # the controller has forgotten it before the broker says so
            await asyncio.sleep(0.1)
    await admin.close()
    before = await everything(node)
    would = await make_topics(kafka, all_, local=True, dry_run=True)
    assert await everything(node) == before and would == [gone]
    refused = []
    for dry in (True, False):
        with pytest.raises(Trouble, match="InvalidReplicationFactor") as wrong:
            await make_topics(kafka, all_, local=False, dry_run=dry)
        refused.append((wrong.value.what, wrong.value.way_out, wrong.value.exit_code))
        assert await everything(node) == before
    assert refused[0] == refused[1]
    assert await make_topics(kafka, all_, local=True) == would
    async with asyncio.timeout(PATIENCE):  # the broker says so later than the controller
        while not await node.reader.parts([gone]):
            await asyncio.sleep(0.1)


async def test_settings_that_would_be_mended_are_not(node: Running) -> None:
    kafka, all_ = node.settings.kafka, load_publishers(PUBLISHERS)
    await mend_topics(kafka, KafkaSecurity(), all_)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, "intake.events", {"retention.ms": "604800000"})]
    )
    await admin.close()
    would = await mend_topics(kafka, KafkaSecurity(), all_, dry_run=True)
    assert ("intake.events", "retention.ms", "604800000", "-1") in would[0]
    assert await mend_topics(kafka, KafkaSecurity(), all_, dry_run=True) == would
    assert await mend_topics(kafka, KafkaSecurity(), all_) == would
    assert await mend_topics(kafka, KafkaSecurity(), all_, dry_run=True) == ([], [])


def test_a_key_that_would_be_made_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*more: str, folder: Path = tmp_path) -> tuple[int, list[dict[str, str]], list[dict[str, str]]]:
        code = main(["operations-key", str(folder), "--format", "json", *more])
        found = json.loads(capsys.readouterr().out)
        return code, found["data"], found["errors"]

    files = [str(tmp_path / name) for name in (PUBLIC, PRIVATE)]
    assert told("--dry-run") == (DONE, [{"what": "missing", "file": file} for file in files], [])
    assert list(tmp_path.iterdir()) == []
    assert told() == (DONE, [{"what": "made", "file": file} for file in files], [])
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    there: Any = (DONE, [{"what": "there", "file": file} for file in files], [])
    assert told("--dry-run") == there == told()
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / PUBLIC).unlink()  # the private half stays, or no letter sealed until then could be opened
    half = [{"what": "missing", "file": files[0]}, {"what": "there", "file": files[1]}]
    assert told("--dry-run") == (DONE, half, []) and told() == (DONE, [half[0] | {"what": "made"}, half[1]], [])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / PUBLIC).unlink()
    (tmp_path / PRIVATE).write_text("{}")
    spoilt = told("--dry-run")
    assert spoilt[0] == USAGE and told() == spoilt and (tmp_path / PRIVATE).read_text() == "{}"
    nowhere = told("--dry-run", folder=Path("/proc"))
    assert (
        nowhere[0] == USAGE
        and "no key can be written" in nowhere[2][0]["message"]
        and told(folder=Path("/proc")) == nowhere
    )


def test_a_public_half_alone_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who did as told moved the private half away: another pair would seal letters nobody can open, from the next start on."""
    assert main(["operations-key", str(tmp_path)]) == DONE
    public, away = (tmp_path / PUBLIC).read_bytes(), (tmp_path / PRIVATE).rename(tmp_path / "away")
    capsys.readouterr()
    refused = []
    for more in (["--dry-run"], []):
        code = main(["operations-key", str(tmp_path), "--format", "json", *more])
        refused.append((code, json.loads(capsys.readouterr().out)))
        assert (tmp_path / PUBLIC).read_bytes() == public and {*tmp_path.iterdir()} == {tmp_path / PUBLIC, away}
    ((code, said), _) = refused
    assert refused[0] == refused[1] and code == REFUSED and said["data"] is None
    (wrong,) = said["errors"]
    assert wrong["message"].startswith(f"{tmp_path / PUBLIC} is there, its private half {PRIVATE} is not")
    assert "bring the private half back" in wrong["hint"]


def test_a_pair_that_half_was_made_is_finished(tmp_path: Path) -> None:
    """A full disk or a kill between the two leaves the private half, of which the next time makes the public one."""
    (tmp_path / "operations.pub.new").mkdir()  # where the public half is written
    with pytest.raises(Trouble, match="no key can be written"):
        make_operations_key(tmp_path)
    private = (tmp_path / PRIVATE).read_bytes()
    (tmp_path / "operations.pub.new").rmdir()
    assert make_operations_key(tmp_path) == [tmp_path / PUBLIC]
    assert (tmp_path / PRIVATE).read_bytes() == private and (tmp_path / PRIVATE).stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / PUBLIC).read_text()) == {name: value for name, value in json.loads(private).items() if name != "d"}  # fmt: skip


def test_files_that_would_be_generated_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = tmp_path / "contracts/schemas/intake/old.v1.json"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}")

    def told(*more: str) -> list[str]:
        assert main(["contracts", "generate", "--root", str(tmp_path), "--format", "json", *more]) == DONE
        return [row["file"] for row in json.loads(capsys.readouterr().out)["data"]]

    would = told("--dry-run")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [stray]
    assert told() == would and len(would) > 100 and not stray.exists()
    assert told("--dry-run") == told() == []
