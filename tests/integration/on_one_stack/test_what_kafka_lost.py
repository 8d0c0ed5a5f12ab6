"""Kafka loses its tail, and what a service had sent is gone from its own topic: somebody is told, until it is sent again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from contracts.topics import MOST_OF_A_REPORT, answers_topic
from deploy.local.stack import LocalStack
from deploy.services import migrations
from services.host import own_logs, relay
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status
from services.operating import operate
from services.operating.operate import TooLate, republish
from services.operating.rebuild import rebuild
from services.runtime.database import pack
from services.runtime.messages import Part
from services.runtime.outbox import KEPT_DAYS
from tests.publishing import NAME, PATIENCE

PART = Part(answers_topic("intake", NAME), 0)
TO_ALL: list[tuple[bytes, bytes, list[tuple[str, bytes]]]] = [(str(n).encode(), b"{}", []) for n in range(40)]
"""Letters to all partitions."""


class Breaks(relay.Delivery):
    """Kafka takes the records, and the producer can no longer go on."""

    def of(self, rows: list[Any]) -> None:
        super().of(rows)
        raise KafkaException(KafkaError(KafkaError._FATAL))


@pytest.fixture
async def end(node: Running) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Where an own log ends. It has something; its marks are gone afterwards."""
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        for _ in range(5):
            await producer.send_and_wait(PART.topic, b"{}", partition=PART.part)
    # what other tests left there is none of its database's, which a relay would take for older than the log
    await own_logs.mark(node.pool, await node.reader.ends(await node.reader.parts(node.own_topics)))

    async def ends() -> int:
        return (await node.reader.ends_for_writers([PART]))[PART]

    yield ends
    await node.pool.execute("delete from acked; delete from outbox")


async def said(node: Running) -> list[tuple[str, str]]:
    """The gaps that a service which has just started tells of."""
    found = (await Status(node, Inputs(node)).said())["gaps"]
    assert node.metrics.registry.get_sample_value("lotse_gaps") == len(found)
    return [(gap["what"], gap["why"]) for gap in found]


async def led(node: Running, until: Callable[[], Awaitable[bool]]) -> None:
    """A relay leads until this is so."""
    leading = asyncio.create_task(relay.Relay(node, "lost").run())
    try:
        async with asyncio.timeout(PATIENCE):
            while not await until():
                await asyncio.sleep(0.05)
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)


async def test_what_kafka_had_acknowledged_and_lost_is_told_until_it_is_sent_again(
    prepared: LocalStack, node: Running, end: Callable[[], Awaitable[int]]
) -> None:
    """The log grows past the mark by itself, and a rebuild finds no difference; what was lost is gone still."""
    ends = await end()
    await own_logs.mark(node.pool, {PART: ends + 2})
    assert await said(node) == []  # nobody has looked
    await own_logs.look_for_lost(node)
    gap = [(f"{PART.topic}/{PART.part}", f"Gap:acknowledged up to {ends + 2}, the log ends at {ends}")]
    assert await said(node) == gap
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        for _ in range(4):
            await producer.send_and_wait(PART.topic, b"{}", partition=PART.part)
    await own_logs.mark(node.pool, {PART: ends + 4})
    await own_logs.look_for_lost(node)
    assert await said(node) == gap
    await node.pool.execute(
        "insert into position (topic, part, next) values ('clock.ticks', 0, 0) on conflict do nothing"
    )
    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    done = await rebuild(node.service, settings, files)
    assert (done.compared, done.differences) == (True, []) and await said(node) == gap
    since = datetime.now(UTC) - timedelta(days=KEPT_DAYS)
    await republish(node, since, dry=True)
    assert await said(node) == gap
    await republish(node, since)
    await own_logs.look_for_lost(node)
    assert await said(node) == []


async def test_a_log_that_takes_a_record_below_its_mark_was_set_back(
    node: Running, end: Callable[[], Awaitable[int]]
) -> None:
    """The relay is there before anybody looks, and from then on the log is longer than it ever was."""
    ends = await end()
    await own_logs.mark(node.pool, {PART: ends + 2})
    add = "insert into outbox (tx, after, topic, records) values (1, false, $1, $2) returning id"
    row = await node.pool.fetchval(add, PART.topic, pack(TO_ALL))

    async def sent() -> bool:
        return bool(await node.pool.fetchval("select sent_at is not null from outbox where id = $1", row))

    await led(node, sent)
    assert await end() > ends + 2
    why = f"Gap:acknowledged up to {ends + 2}, the log ends at {ends}"
    assert await said(node) == [(f"{PART.topic}/{PART.part}", why)]


async def test_what_is_sent_again_waits_since_it_was_asked_for(
    node: Running, end: Callable[[], Awaitable[int]]
) -> None:
    """By its own age the outbox was six days late at once: LotseOutboxOld, critical, said that nothing reaches Kafka."""
    await sent_once(node, 6)
    assert await republish(node, datetime.now(UTC) - timedelta(days=KEPT_DAYS)) == {PART.topic: 1}
    await Status(node, Inputs(node)).said()
    age = node.metrics.registry.get_sample_value("lotse_outbox_age_seconds")
    assert age is not None and age < timedelta(days=1).total_seconds()


@pytest.mark.parametrize("dry", [True, False])
async def test_a_gap_ends_only_where_as_much_is_sent_again_as_was_lost(
    node: Running, end: Callable[[], Awaitable[int]], dry: bool
) -> None:
    """ "0 records are sent again", LotseGap ended, and what was lost was lost for good. A dry run did not say so either."""
    ends = await end()
    await own_logs.mark(node.pool, {PART: ends + 3})
    await own_logs.look_for_lost(node)
    assert len(await said(node)) == 1
    await sent_once(node, 2, 2)
    await sent_once(node, 1, 2)
    await sent_once(node, 1, 9, there=False)  # what went elsewhere brings nothing back here
    now = datetime.now(UTC)
    for since in (now + timedelta(days=1), now, now - timedelta(days=1.5)):
        with pytest.raises(TooLate, match=f"{PART.topic}/{PART.part} has lost 3 records"):
            await republish(node, since, dry=dry)
        assert len(await said(node)) == 1 and not await node.pool.fetch("select from outbox where sent_at is null")
    await sent_once(node, 3, 1)
    assert await republish(node, now - timedelta(days=2.5), dry=dry) == {PART.topic: 13}
    assert len(await said(node)) == dry


async def test_a_gap_ends_where_all_that_is_kept_is_sent_again(
    node: Running, end: Callable[[], Awaitable[int]]
) -> None:
    """What is older than a week nobody brings back so; what was sent after the loss was seen does not count for it."""
    ends = await end()
    await own_logs.mark(node.pool, {PART: ends + 3})
    await own_logs.look_for_lost(node)
    await sent_once(node, 2, 2)
    await sent_once(node, -1, 2)
    with pytest.raises(TooLate, match="0 would be"):
        await republish(node, datetime.now(UTC) - timedelta(days=1))
    assert await republish(node, datetime.now(UTC) - timedelta(days=KEPT_DAYS)) == {PART.topic: 4}
    assert await said(node) == []


async def test_what_was_lost_is_counted_on_its_partition(
    node: Running, end: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each as much is found as the relay put there, of twelve, as installations have them; keys of all lengths."""
    topic = f"intake.answers.t{uuid4().hex}"
    add = "insert into outbox (tx, after, topic, records, sent_at) values (1, false, $1, $2, $3)"
    keys = [bytes((7 * n + 31 * at) % 256 for at in range(n % 60 + 1)) for n in range(480)]

    async def sent() -> Any:
        return await node.pool.fetchval("select max(sent_at) from outbox")

    admin = AIOKafkaAdminClient(bootstrap_servers=node.settings.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 12, 1)])
        monkeypatch.setattr(node, "own_topics", [topic])
        await node.pool.execute(add, topic, pack([(key, b"{}", []) for key in keys]), None)
        await led(node, sent)
        there = await node.reader.ends_for_writers(await node.reader.parts([topic]))
        assert len(there) == 12 and all(there.values()) and sum(there.values()) == len(keys)
        since = await sent()
        await node.pool.execute(add, topic, pack(TO_ALL), since - timedelta(days=1))
        for part, records in there.items():
            await own_logs.hold_lost(node.pool, part, records, 0)
        assert await republish(node, since, dry=True) == {topic: len(keys)}
        for part, records in there.items():
            await node.pool.execute("update acked set held = null")
            await own_logs.mark(node.pool, {part: records + 1})
            await own_logs.hold_lost(node.pool, part, records + 1, 0)
            with pytest.raises(TooLate, match=rf"{topic}/{part.part} has lost {records + 1} .* {records} would be"):
                await republish(node, since)
    finally:
        await admin.delete_topics([topic])
        await admin.close()


async def test_no_gap_ends_while_its_topic_is_gone(
    node: Running, end: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its records lay nobody can say, and the first one sent again would show the same gap anew."""
    gone = Part("intake.answers.nobody", 0)
    monkeypatch.setattr(node, "own_topics", [*node.own_topics, gone.topic])
    await own_logs.mark(node.pool, {gone: 3})
    await own_logs.hold_lost(node.pool, gone, 3, 0)
    with pytest.raises(TooLate, match=f"{gone.topic} is not there"):
        await republish(node, datetime.now(UTC) - timedelta(days=KEPT_DAYS))


@pytest.mark.parametrize(("noticed", "dry"), [("never", True), ("never", False), ("meanwhile", False)])
async def test_a_loss_that_nobody_had_noticed_is_not_forgiven_with_another(
    node: Running, end: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch, dry: bool, noticed: str
) -> None:
    """Its mark was drawn back with all others, from too late a moment, and no look found it any more."""
    ends, other = await end(), Part(PART.topic, PART.part + 1)
    theirs = (await node.reader.ends_for_writers([other]))[other]
    await own_logs.mark(node.pool, {PART: ends + 1})
    await own_logs.look_for_lost(node)
    await sent_once(node, 1)
    await sent_once(node, 3, 9)
    since, told = datetime.now(UTC) - timedelta(days=2), await said(node)
    lost = (f"{PART.topic}/{other.part}", f"Gap:acknowledged up to {theirs + 5}, the log ends at {theirs}")
    if noticed == "never":
        await own_logs.mark(node.pool, {other: theirs + 5})
        with pytest.raises(TooLate, match=f"{other.topic}/{other.part} has lost 5 records"):
            await republish(node, since, dry=dry)
    else:
        measure = operate._falls_short

        async def measured(*given: Any) -> str:
            found = await measure(*given)
            await own_logs.mark(node.pool, {other: theirs + 5})
            await own_logs.hold_lost(node.pool, other, theirs + 5, theirs)
            return found

        monkeypatch.setattr(operate, "_falls_short", measured)
        await republish(node, since)
        told = []
    await own_logs.look_for_lost(node)
    assert await said(node) == [*told, lost]


async def sent_once(node: Running, days: float, records: int = 1, *, there: bool = True) -> None:
    """A transaction's records, sent so many days ago to the partition, or to others."""
    partitions = len(await node.reader.parts([PART.topic]))
    letters = [one for one in TO_ALL if ((murmur2(one[0]) & 0x7FFFFFFF) % partitions == PART.part) is there][:records]
    assert len(letters) == records
    add = "insert into outbox (tx, after, topic, records, at, sent_at) values (1, false, $1, $2, $3, $3)"
    await node.pool.execute(add, PART.topic, pack(letters), datetime.now(UTC) - timedelta(days=days))


@pytest.mark.parametrize("fails", ["a record", "the producer"])
async def test_a_log_that_was_set_back_is_told_of_where_the_turn_that_finds_out_fails(
    node: Running, end: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Nothing is marked then, the records are sent again, and these stand behind the mark."""
    ends, letters = await end(), TO_ALL
    await own_logs.mark(node.pool, {PART: ends + 2})
    if fails == "a record":
        letters = [*TO_ALL, (b"large", bytes(MOST_OF_A_REPORT + 1), [])]
    else:
        monkeypatch.setattr(relay, "Delivery", Breaks)
    add = "insert into outbox (tx, after, topic, records) values (1, false, $1, $2)"
    await node.pool.execute(add, PART.topic, pack(letters))

    async def told() -> bool:
        return bool({f"outbox/{PART.topic}", "relay"} & node.unsent.keys())

    await led(node, told)
    assert await end() > ends + 2 and await node.pool.fetchval("select sent_at is null from outbox")
    why = f"Gap:acknowledged up to {ends + 2}, the log ends at {ends}"
    assert await said(node) == [(f"{PART.topic}/{PART.part}", why)]


async def test_a_transaction_that_a_stranger_left_open_or_aborted_is_no_loss(
    node: Running, end: Callable[[], Awaitable[int]]
) -> None:
    """What we send behind it is there, and hidden from readers until it ends."""
    kafka: dict[str, Any] = {"bootstrap_servers": node.settings.kafka}
    async with (
        AIOKafkaProducer(**kafka) as producer,
        AIOKafkaProducer(transactional_id=f"foreign-{uuid4().hex}", **kafka) as foreign,
    ):
        await foreign.begin_transaction()
        await foreign.send_and_wait(PART.topic, b"never", partition=PART.part)
        sent = await producer.send_and_wait(PART.topic, b"{}", partition=PART.part)
        await own_logs.mark(node.pool, {PART: sent.offset + 1})
        assert (await node.reader.ends([PART]))[PART] < sent.offset + 1 == await end()
        await own_logs.look_for_lost(node)
        await foreign.abort_transaction()
        await own_logs.look_for_lost(node)
    assert await said(node) == []


async def test_a_mark_that_was_drawn_back_meanwhile_says_nothing(
    node: Running, end: Callable[[], Awaitable[int]]
) -> None:
    """Seen before `lotse republish`, written down after it."""
    ends = await end()
    await own_logs.mark(node.pool, {PART: ends})
    await own_logs.hold_lost(node.pool, PART, ends + 2, ends)
    assert await said(node) == []


@pytest.mark.parametrize("sent", [2, 40])
async def test_a_look_that_began_before_republish_says_nothing_of_what_was_sent_again_since(
    node: Running, end: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    """The mark stands where the look saw it, or beyond, and nothing is missing below it any more."""
    ends = await end()
    await own_logs.mark(node.pool, {PART: ends + 2})
    ask = node.reader.ends_for_writers

    async def asked(parts: Iterable[Part]) -> dict[Part, int]:
        found = await ask(parts)
        monkeypatch.setattr(node.reader, "ends_for_writers", ask)  # it looks, too
        await republish(node, datetime.now(UTC))
        await own_logs.mark(node.pool, {PART: ends + sent})
        return found

    monkeypatch.setattr(node.reader, "ends_for_writers", asked)
    await own_logs.look_for_lost(node)
    assert await said(node) == []
