"""The relay, one process of it: what it may write once its lock is gone, and that it ends when it is told to."""

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from threading import Thread
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from contracts.envelope import Attributes, headers_of
from contracts.reporting import Cell, ParticipationReport
from contracts.topics import REPORT
from deploy.local.stack import LocalStack
from services.host import own_logs, relay
from services.host.running import Running
from services.process import leader
from services.reporting import projection
from services.runtime import clock
from services.runtime.database import RETRY, pack
from services.runtime.messages import Part
from services.runtime.outbox import Letter
from tests.integration.conftest import node_of
from tests.publishing import PATIENCE, TENANT

LOOKED = (
    "select exists (select from pg_stat_activity where application_name = 'lotse-relay-woken' and state = 'idle'"
    " and datname = current_database() and query like '%from outbox o%')"
)
TOPIC = "a-topic-of-this-test"
LOCK = "select pg_advisory_lock(hashtext('lotse relay'))"
LED = ("select exists (select from pg_locks where locktype = 'advisory' and granted"
       " and database = (select oid from pg_database where datname = current_database()))")  # fmt: skip


async def test_a_leader_that_says_nothing_is_followed_by_another_and_one_that_waits_for_kafka_is_not(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process keeps its connection, and its lock with it: nothing else would ever end that."""
    monkeypatch.setattr(leader, "LEASE", 4.0)  # who is not heard for so long is frozen, and not only on a busy machine
    dsn, ask = prepared.databases["reporting"].runtime, "select pg_try_advisory_lock(4711)"
    first = await leader.session(dsn, "lotse-leader-1")
    try:
        assert await first.fetchval(ask)
        await leader.alive(first, asyncio.sleep(6))
        second = await leader.session(dsn, "lotse-leader-2")
        try:
            assert not await second.fetchval(ask)
            async with asyncio.timeout(PATIENCE):  # from here on the first says nothing
                while not await second.fetchval(ask):
                    await asyncio.sleep(0.1)
        finally:
            second.terminate()
        with pytest.raises(RETRY):
            await first.execute("select")
    finally:
        first.terminate()


async def test_what_a_leader_waits_for_ends_with_its_waiting(node: Running) -> None:
    """Told to end, or without its session, it must not leave a reader behind: who takes Kafka down then waited for it."""
    lock = await leader.session(node.settings.database.get_secret_value(), "lotse-leader-ends")
    began, ended = asyncio.Event(), asyncio.Event()

    async def reads() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    try:
        waiting = asyncio.create_task(leader.alive(lock, reads()))
        await began.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled() and ended.is_set()
    finally:
        await lock.close()


async def test_a_relay_that_lost_its_lock_marks_nothing(
    prepared: LocalStack, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka has acknowledged, and the lock's connection dies: what answers now may be another database (a standby that took
    over), in which these ids are other rows. The row stays unsent until a leader has sent it over one connection."""
    await made(prepared)
    dsn = prepared.databases["intake"].runtime
    other = await asyncpg.connect(dsn, server_settings={"search_path": "lotse"})
    seen: list[str] = []
    acknowledged = asyncio.Event()

    async def failed_over() -> None:
        """Ends the leader's connection; its lock goes to who waits for it."""
        con = await asyncpg.connect(dsn)
        end = ("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lotse-relay-fence'"
               " and datname = current_database()")  # fmt: skip
        assert await con.fetchval(end)
        await con.close()

    def at_the_seam(name: str) -> None:
        seen.append(name)
        if seen.count("after_ack") == 1 and name == "after_ack":
            thread = Thread(target=asyncio.run, args=(failed_over(),))
            thread.start()
            thread.join()
            acknowledged.set()

    monkeypatch.setattr(relay, "failpoint", at_the_seam)
    records = pack([(b"key", b"{}", [("ce_id", b"one")])])
    add = "insert into outbox (tx, after, topic, records) values (1, false, $1, $2) returning id"
    leading = asyncio.create_task(relay.Relay(node, "fence").run())
    try:
        while not await node.pool.fetchval(LED):
            await asyncio.sleep(0.1)
        taking = asyncio.create_task(other.fetchval(LOCK))  # in the queue for it before the row is there
        row = await node.pool.fetchval(add, TOPIC, records)
        await acknowledged.wait()
        await taking
        assert seen == ["before_send", "after_ack"]
        assert await state(other, row) == (False, None)
        await other.execute("select pg_advisory_unlock_all()")
        while not (await state(other, row))[0]:
            await asyncio.sleep(0.1)
        assert await state(other, row) == (True, 2)  # sent again, the same letter, and marked by who led to the end
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        other.terminate()
        await node.pool.execute("delete from outbox where topic = $1", TOPIC)
        await node.pool.execute("delete from acked where topic = $1", TOPIC)


@pytest.mark.parametrize("steps", range(6))
async def test_a_relay_ends_where_it_is_told_so_while_it_is_woken(node: Running, steps: int) -> None:
    """Before Python 3.12 asyncio.wait_for gives back a result that is there and forgets that its task is to end."""
    leading = asyncio.create_task(relay.Relay(node, "woken").run())
    while not await node.pool.fetchval(LOOKED):  # it leads, has looked into the outbox, found nothing, and waits
        await asyncio.sleep(0.1)
    node.sending.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    leading.cancel()
    ended, _ = await asyncio.wait([leading], timeout=30)
    assert ended and leading.cancelled()


async def test_the_largest_report_leaves_and_whoever_subscribes_reads_it(prepared: LocalStack, node: Running) -> None:
    """A release is one record a month. Random bytes: it is as large on the wire."""
    release, key = random.Random(64).randbytes(15 << 20), str(uuid4()).encode()
    add = "insert into outbox (tx, after, topic, records) values (1, false, $1, $2) returning id"
    row = await node.pool.fetchval(add, REPORT, pack([(key, release, [("ce_id", b"one")])]))
    leading = asyncio.create_task(relay.Relay(node, "large").run())
    consumer = AIOKafkaConsumer(REPORT, bootstrap_servers=prepared.kafka, auto_offset_reset="earliest")
    try:
        async with asyncio.timeout(PATIENCE), consumer:
            while not await node.pool.fetchval("select sent_at is not null from outbox where id = $1", row):
                await asyncio.sleep(0.1)
            async for record in consumer:
                if record.key == key:
                    assert record.value == release
                    break
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        await node.pool.execute("delete from outbox where topic = $1", REPORT)
        await node.pool.execute("delete from acked where topic = $1", REPORT)


async def test_the_largest_release_that_is_taken_leaves_and_a_larger_one_is_not_taken(prepared: LocalStack) -> None:
    """Kafka counts key and headers, too: three cells below 16 MiB it was taken, never left, and all alliances' behind it."""
    ticked = datetime(2026, 6, 10, 6, tzinfo=UTC)
    cell = Cell(municipality="00000000", block="F4", entries=1, exits=0, stock=1)
    one, two = (
        len(ParticipationReport(month="2026-05", vintage=1, as_of=ticked, cells=(cell,) * n).to_json()) for n in (1, 2)
    )
    most = 1 + (projection.MOST_OF_A_BODY - one) // (two - one)
    assert most > 229_000
    add = ("insert into participation_period (case_id, participation_id, tenant, municipality, block, started_on)"
           " select n, n, 'rkn', lpad(n::text, 8, '0'), 'F4', date '2026-05-04' from generate_series(1, $1) n")  # fmt: skip
    async with node_of(prepared, "reporting") as node:
        await caught_up(node)
        leading = asyncio.create_task(relay.Relay(node, "border").run())
        try:
            await node.pool.execute("insert into alliance (tenant, ticked) values ('rkn', $1)", ticked)
            await node.pool.execute(add, most + 1)
            await clock.act(node, lambda _work: None)
            assert await node.pool.fetchval("select count(*) from release") == 0 and node.broken == {("rkn", ticked)}
            await node.pool.execute("delete from participation_period where case_id = '1'")
            await node.pool.execute("update alliance set ticked = ticked + interval '1 hour'")
            await clock.act(node, lambda _work: None)
            assert await node.pool.fetchval("select month from release") == "2026-05"
            async with asyncio.timeout(PATIENCE):
                while not await node.pool.fetchval("select sent_at is not null from outbox where topic = $1", REPORT):
                    assert f"outbox/{REPORT}" not in node.unsent
                    await asyncio.sleep(0.1)
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
            await node.pool.execute("delete from participation_period; delete from release; delete from alliance;"
                                    " delete from outbox; delete from acked")  # fmt: skip


async def test_a_reader_ends_whenever_it_is_told_so(prepared: LocalStack, node: Running) -> None:
    """aiokafka's consumer, as it stops, passes over its caller's being told to end: `lotse rebuild` waited for ever for its
    relay, which read on."""
    await made(prepared)
    producer = AIOKafkaProducer(bootstrap_servers=prepared.kafka)
    await producer.start()
    told = [await producer.send_and_wait(TOPIC, b"{}", partition=0) for _ in range(3)]
    await producer.stop()
    ranges = {Part(TOPIC, 0): (0, told[-1].offset + 1)}

    async def all_of_it() -> list[int]:
        return [len(records) async for records in node.reader.records(ranges)]

    assert sum(await all_of_it()) >= 3
    began = time.monotonic()
    await all_of_it()
    takes = time.monotonic() - began
    stopped = 0
    for n in range(40):
        reading = asyncio.create_task(all_of_it())
        await asyncio.sleep(takes * n / 40)
        if reading.cancel():
            stopped += 1
            await asyncio.wait([reading])
            assert reading.cancelled(), f"told to end after {takes * n / 40:.3f} of {takes:.3f} s"
    assert stopped > 3


async def test_a_release_is_known_by_what_is_kept_for_good_however_late_its_copy_came(prepared: LocalStack) -> None:
    """A leader that was frozen sent it once more, behind the mark. An hour later, with no other release on that partition, a
    start took its database for older than the log, and no alliance had figures until somebody rebuilt it."""
    async with node_of(prepared, "reporting") as node, AIOKafkaProducer(bootstrap_servers=prepared.kafka) as producer:
        late, strange = letter_of(1), letter_of(2)
        pool = node.pool
        try:
            await caught_up(node)
            async with pool.acquire() as con:
                await projection.learn(con, TENANT, late.value or b"")
            add = "insert into outbox (tx, after, topic, records, sent_at) values (1, true, $1, $2, now() - interval '2 hours')"
            await pool.execute(add, REPORT, pack([late]))
            sent = await producer.send_and_wait(REPORT, late.value, key=late.key, headers=late.headers)
            await own_logs.mark(pool, {Part(REPORT, sent.partition): sent.offset + 1})
            await producer.send_and_wait(REPORT, late.value, key=late.key, headers=late.headers)
            assert await own_logs.letters_beyond(node) == 0
            await producer.send_and_wait(REPORT, strange.value, key=strange.key, headers=strange.headers)
            assert await own_logs.letters_beyond(node) == 1  # a database that was set back lacks it
            await pool.execute("update outbox set sent_at = null")
            assert (
                await own_logs.unsent(node.service, pool, pool) == {}
            )  # what the log holds is not gone with a database
        finally:
            await pool.execute("delete from outbox; delete from acked; delete from release")


async def caught_up(node: Running) -> None:
    """What other tests left on the topic of reports is none of its database's."""
    await own_logs.mark(node.pool, await node.reader.ends(await node.reader.parts([REPORT])))


def letter_of(vintage: int) -> Letter:
    """A release as reporting would send it."""
    report = ParticipationReport(month="2026-05", vintage=vintage, as_of=datetime(2026, 6, 10, 6, tzinfo=UTC), cells=())
    key = report.key(TENANT)
    said = Attributes(
        key, "//lotse/local/reporting", report.ce_type, key, report.as_of, TENANT, recordedtime=report.as_of
    )
    return Letter(key.encode(), report.to_json(), headers_of(said))


async def made(stack: LocalStack) -> None:
    """The topic, once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    with contextlib.suppress(TopicAlreadyExistsError):
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()


async def state(con: Any, row: int) -> tuple[bool, int | None]:
    """Whether a row is marked as sent, and where its log was said to end."""
    sent = await con.fetchval("select sent_at is not null from outbox where id = $1", row)
    return sent, await con.fetchval("select next from acked where topic = $1", TOPIC)
