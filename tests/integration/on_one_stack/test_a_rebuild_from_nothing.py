"""What a service knows that is rebuilt with nothing to compare with: its time, and what is gone with its database."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from contracts.envelope import Attributes, Tick, headers_of
from contracts.intake import NeedRecorded
from deploy.local.stack import LocalStack
from deploy.published.samples import samples_of
from deploy.services import migrations
from services.clock import publish
from services.host import own_logs
from services.host.running import Running
from services.operating.rebuild import Learner, rebuild
from services.runtime.outbox import Letter, Outgoing
from tests.integration.conftest import node_of
from tests.publishing import OWNER


async def test_a_tick_that_is_held_for_being_ahead_is_not_the_time_of_a_rebuild(node: Running) -> None:
    """Live it moves nothing. Taken here, every no-show of the year would be raised, and no later tick be acted on."""
    now = datetime.now(UTC).replace(microsecond=0)
    sent = (now - timedelta(days=1), now + timedelta(minutes=9), now + timedelta(days=365), now + timedelta(minutes=11))
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        for at in sent:
            await publish(producer, Tick(at=at))
    tick = await Learner(node, lambda _done, _total: None)._tick()
    assert tick is not None and tick[0] == now + timedelta(minutes=9)


async def test_what_an_older_database_had_not_sent_is_named_and_what_the_log_holds_is_not(
    prepared: LocalStack, node: Running
) -> None:
    """Set back to an hour ago its outbox holds what was sent since, and what died with the relay. Only that is gone."""
    sent, lost = (fact(str(uuid4())) for _ in range(2))
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        await producer.send_and_wait("intake.events", sent.value, key=sent.key, headers=sent.headers)
        await producer.send_and_wait(
            "intake.answers.kreis", b"no answer", key=b"x"
        )  # by whoever had the right: passed over
    out = Outgoing()
    out.facts["intake.events"] += [sent, lost]
    out.after["intake.dead-letters"] += [
        Letter(b"intake.submissions.kreis/0/99999", b"sealed", [("lotse_topic", b"intake.submissions.kreis")])
    ]
    async with node.pool.acquire() as con, con.transaction():
        await out.write(con)
    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    done = await rebuild(node.service, settings, files)
    assert (done.compared, done.differences, done.swept) == (False, [], 0)
    assert done.unsent == {"intake.events": 1, "intake.dead-letters": 1}
    assert await node.pool.fetchval("select count(*) from outbox") == 0


async def test_a_rebuild_that_is_frozen_while_everybody_is_held_lets_go(
    prepared: LocalStack, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit is its own clock's: of one whose machine sleeps, or is lost, only Postgres can end the hold."""
    went_on = []

    async def frozen(*_: object) -> None:
        async with node.pool.acquire() as con, con.transaction():
            await con.execute("set local lock_timeout = '50s'; lock table position in row exclusive mode")
            went_on.append("a service")

    monkeypatch.setattr("services.operating.rebuild.HELD_LIMIT", 2.0)
    for what in ("learn", "learn_unsent"):
        monkeypatch.setattr(Learner, what, lambda *_: asyncio.sleep(0))
    monkeypatch.setattr(Learner, "finish", frozen)
    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await rebuild(node.service, settings, files)
    assert went_on == ["a service"]


async def test_an_own_log_in_which_facts_came_late_and_twice_is_learnt_and_a_gap_is_held(
    prepared: LocalStack, node: Running
) -> None:
    """Kafka loses its tail, the service goes on, `lotse republish` brings it back: 3 stands before 2, and comes again. Every
    subscriber bears that. Where 2 is gone for good, its number must not be given a second time; of a fork the first one stands."""
    whole, gap, fork = (str(uuid4()) for _ in range(3))
    stands = f"{whole} 1,{whole} 3,{gap} 1,{gap} 3,{fork} 1,{whole} 2,{fork} 1 other,{whole} 3,{whole} 4,{fork} 2"
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        for case, number, *other in (record.split() for record in stands.split(",")):
            one = fact(case, int(number), *other)
            await producer.send_and_wait("intake.events", one.value, key=one.key, headers=one.headers, partition=1)
    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    await node.pool.execute("delete from position; delete from quarantine; delete from outbox")
    done = await rebuild(node.service, settings, files)
    assert (done.compared, done.swept) == (False, 0)
    told = "select array_agg(fact_id order by number) from timeline where subject = $1"
    for case, numbers in ((whole, (1, 2, 3, 4)), (gap, (1,)), (fork, (1, 2))):
        assert await node.pool.fetchval(told, case) == [f"{case}-{number}" for number in numbers]
    held = await node.pool.fetch("select subject, why from quarantine")
    assert {row["subject"]: row["why"] for row in held} == {gap: "Missing", fork: "Fork"}
    assert await node.pool.fetchval("select count(*) from kept") == 0  # nothing that nobody could take up
    await node.pool.execute("delete from quarantine")


async def test_what_a_database_lacks_is_counted_until_it_is_plainly_older(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is gone that would be every id of the log, in a memory that is measured for a batch."""
    letters = [fact(str(uuid4())) for _ in range(40)]
    before = await own_logs.letters_beyond(node)
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        for one in letters * 2:  # what a relay sends twice is one
            await producer.send_and_wait("intake.events", one.value, key=one.key, headers=one.headers)
    assert await own_logs.letters_beyond(node) == before + 40
    monkeypatch.setattr(own_logs, "MOST", 1)
    assert 1 <= await own_logs.letters_beyond(node) < before + 40


def fact(case: str, number: int = 1, other: str = "") -> Letter:
    """A case's fact as intake would write it."""
    now = datetime.now(UTC)
    said = NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    attributes = Attributes(id=f"{case}-{number}{other}", source="//lotse/local/intake", type=said.ce_type, subject=case, time=now,
                            tenant="rkn", streamversion=number, cause=case, recordedtime=now)  # fmt: skip
    return Letter(case.encode(), said.to_json(), headers_of(attributes))


async def test_whichever_family_of_a_case_under_a_runs_id_comes_first_is_learnt(prepared: LocalStack) -> None:
    """Topics come in any order: behind a worry of that case its referrals were numbered from 1 again, called early, and lost."""
    subject = str(uuid4())

    def record(name: str, number: int) -> SimpleNamespace:
        said = samples_of(f"lotse.{name}.v1")["minimal"]
        more = {"id": str(uuid4()), "subject": subject, "streamversion": number}
        headers = [
            (f"ce_{key}", str(value).encode()) for key, value in (said | more).items() if not key.startswith("data")
        ]
        body = said["data"] | ({"case_id": subject} if "case_id" in said["data"] else {})
        return SimpleNamespace(topic=f"{name.partition('.')[0]}.events", partition=0, offset=number, timestamp=0,
                               headers=headers, value=json.dumps(body).encode())  # fmt: skip

    async with node_of(prepared, "referral") as node:
        learner = Learner(node, lambda _done, _total: None)
        for name, number in (
            ("dropout.dropout_risk_raised", 1),
            ("referral.offer_run_published", 1),
            ("referral.referral_sent", 2),
        ):
            await learner._take((one := record(name, number)).topic, [one])
        assert learner.early == {}
        rows = await node.pool.fetch("select family, number from timeline where subject = $1 order by 1, 2", subject)
        assert [tuple(row) for row in rows] == [("dropout", 1), ("referral", 1), ("referral", 2)]
