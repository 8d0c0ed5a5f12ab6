"""What has its letter: known after a rebuild and before partitions are read again, counted once, in its hour."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from contracts.topics import dead_letters_topic, submissions_topic
from deploy.soak.night import in_one_hour
from services.host import inputs
from services.host.running import Running
from services.kept.dead_letters import Origin, expect_again, expected_again, learn_buried, sum_up, unreadable_this_hour
from services.operating import operate
from services.runtime import positions
from services.runtime.database import pack
from services.runtime.messages import Part
from tests.publishing import NAME

YESTERDAY = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - timedelta(days=1)
TOPIC = submissions_topic("intake", NAME)


class Record(NamedTuple):
    """A record of the topic of dead letters, as far as it is looked at."""

    headers: Any
    partition: int = 0
    offset: int = 0


def letter(offset: int, topic: str = TOPIC) -> list[tuple[str, bytes]]:
    """The headers of one."""
    said = {"topic": topic, "partition": "3", "offset": str(offset), "verdict": "header", "pointer": "",
            "rule": "missing:ce_type", "arrived": YESTERDAY.isoformat(), "reference": "-"}  # fmt: skip
    return [(f"lotse_{name}", text.encode()) for name, text in said.items()]


@pytest.fixture(autouse=True)
async def empty(node: Running) -> None:
    """Nothing is buried."""
    await node.pool.execute("delete from buried; delete from dead_letter; delete from outbox; delete from position")


async def test_a_letter_learnt_counts_once_and_in_the_hour_in_which_its_message_came(node: Running) -> None:
    """The relay copies what it is not sure of; bytes of a stranger are none; a publisher that is gone sends no more."""
    foreign: tuple[Any, ...] = (
        [],
        [("lotse_topic", None)],
        [("lotse_topic", b"x"), ("lotse_partition", b"no number")],
        letter(9, "gone"),
    )
    records = [Record(letter(7)), Record(letter(7)), Record(letter(8)), *map(Record, foreign)]
    async with node.pool.acquire() as con:
        for _ in range(2):
            await learn_buried(con, node, records)
    rows = await node.pool.fetch("select topic, publisher, type, rule, hour, letters from dead_letter")
    hour = YESTERDAY.replace(minute=0)
    assert [tuple(row) for row in rows] == [(TOPIC, NAME, "header", " missing:ce_type", hour, 2)]
    assert await unreadable_this_hour(node.pool) == {}
    fetched = {Part(TOPIC, 3): [Record(None, offset=8), Record(None, offset=20)], Part(TOPIC, 2): [Record(None)]}
    assert await expected_again(node.pool, fetched) == {Origin(TOPIC, 3, 8, YESTERDAY)}


async def test_what_has_its_letter_counts_against_no_limit_where_it_is_read_again(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partner's thousand of this hour would hold all it sends, from the log's start, for the rest of it."""
    monkeypatch.setattr(inputs, "UNREADABLE_LIMIT", 2)
    async with node.pool.acquire() as con:
        await learn_buried(con, node, [Record(letter(0)), Record(letter(1))])
    assert await decoded_until_it_stops(node) == ([0, 1, 2, 3], 4)


async def test_what_lies_before_where_its_partition_stands_counts_against_no_limit(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who starts anew reads the last seconds again: a partner that stood at its thousandth was held for the rest of the hour."""
    monkeypatch.setattr(inputs, "UNREADABLE_LIMIT", 2)
    await positions.make(node.pool, {Part(TOPIC, 3): 2})
    assert await decoded_until_it_stops(node) == ([0, 1, 2, 3], 4)


async def decoded_until_it_stops(node: Running) -> tuple[list[int], int]:
    """Offsets of what a fetch of five unreadable records gives, and where its partition stops."""
    came = int(YESTERDAY.timestamp() * 1000)
    records = [ConsumerRecord(TOPIC, 3, n, came, 1, None, b"\xff", None, -1, 1, ()) for n in range(5)]
    stopped: dict[Part, inputs.Stopped] = {}
    read = await inputs.Inputs(node)._decoded({Part(TOPIC, 3): records}, stopped)
    return [message.offset for message in read], stopped[Part(TOPIC, 3)].at


async def test_what_is_read_again_has_its_letter_also_where_that_has_not_left_yet(node: Running) -> None:
    """The log has lost it, `lotse republish` has marked it as unsent, and the operator is quicker than the relay."""
    topic = dead_letters_topic("intake")
    add = "insert into outbox (tx, after, topic, records, sent_at) values (1, true, $1, $2, $3)"
    await node.pool.execute(add, topic, pack([(b"-", b"sealed", letter(n)) for n in (4, 5)]), None)
    sent = pack([(b"-", b"sealed", letter(6))])  # the log has it, or lost it
    await node.pool.execute(add, topic, sent, datetime.now(UTC))
    await expect_again(node, node.reader, {Part(TOPIC, 3): 5})
    assert [row["offset"] for row in await node.pool.fetch('select "offset" from buried')] == [5]
    assert await node.pool.fetch("select from dead_letter") == []  # counted with it


async def test_go_on_asked_twice_sends_nobody_back_twice(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of dead letters is long, the command gives up waiting, and the operator types it again: what had been read again
    by then had used up what was known of its letters."""
    part, expect = Part(TOPIC, 3), expect_again
    await positions.make(node.pool, {part: 9})
    await node.pool.execute(
        "update position set held = 'Gap:read up to 9, the log goes from 0 to 5', held_since = now()"
    )

    async def meanwhile(*given: Any) -> None:
        await expect(*given)
        monkeypatch.setattr(operate, "expect_again", expect)
        assert await operate.go_on(node) == [operate.leap(part, 9, 0, gone=9)]
        await node.pool.execute("update position set next = 5")  # it is read on

    monkeypatch.setattr(operate, "expect_again", meanwhile)
    assert await operate.go_on(node) == []
    assert await positions.stand(node.pool) == {part: 5}


@pytest.mark.parametrize("why", ["read up to 9, the log goes from 0 to 5", "read up to 9, and 5 came again"])
async def test_go_on_says_what_is_gone_also_where_the_log_has_grown_since(node: Running, why: str) -> None:
    """ "gone 0": a log that was set back and is longer by now than it ever was had lost nothing by its end alone."""
    part = Part(TOPIC, 1)
    await node.pool.execute("delete from position")
    await positions.make(node.pool, {part: 9})
    await positions.hold(node.pool, part, f"Gap:{why}")
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        while (await producer.send_and_wait(TOPIC, b"x", partition=1)).offset < 9:
            pass
    assert await operate.go_on(node, dry=True) == [operate.leap(part, 9, 0, gone=4)]
    await node.pool.execute("delete from position")


async def test_go_on_takes_the_partitions_that_were_named_and_no_other(node: Running) -> None:
    """Another came to a gap between the dry run and the run: nobody had looked what is to be brought back of it."""
    named, since = Part(TOPIC, 2), Part(TOPIC, 3)
    await positions.make(node.pool, {named: 9, since: 9})
    for part in (named, since):
        await positions.hold(node.pool, part, "Gap:read up to 9, the log goes from 0 to 5")
    assert [one["partition"] for one in await operate.go_on(node, dry=True)] == [f"{TOPIC}/2", f"{TOPIC}/3"]
    app = FastAPI()
    app.include_router(operate.routes(node))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://it") as client:
        said = {"who": "me", "why": "test", "only": [f"{TOPIC}/2"]}
        done = [await client.post(f"/{how}/go-on", json=said) for how in ("dry-run", "operate")]
        assert [[one["partition"] for one in each.json()] for each in done] == [[f"{TOPIC}/2"]] * 2
        assert (await client.post("/operate/go-on", json={**said, "only": ["a person"]})).status_code == 422
    assert await positions.stand(node.pool, held=False) == {named: 0}
    await node.pool.execute("delete from position")


async def test_go_on_begins_where_the_log_begins_once_its_letters_are_known(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old records went while all dead letters were read: from where the log began before, it would be a gap again at once."""
    part, expect = Part(TOPIC, 3), expect_again
    await positions.make(node.pool, {part: 9})
    await node.pool.execute(
        "update position set held = 'Gap:read up to 9, the log goes from 0 to 5', held_since = now()"
    )

    async def later(parts: Any) -> dict[Part, int]:
        return dict.fromkeys(parts, 4)

    async def meanwhile(*given: Any) -> None:
        await expect(*given)
        monkeypatch.setattr(node.reader, "starts", later)

    monkeypatch.setattr(operate, "expect_again", meanwhile)
    assert await operate.go_on(node) == [operate.leap(part, 9, 4, gone=9)]


async def test_hours_older_than_their_letters_become_one_figure(node: Running) -> None:
    """Nothing is lost of it, also not where two processes do so: status adds up the hours there are."""
    await in_one_hour(60)
    add = "insert into dead_letter values ($1, $2, 'header', $3, $4, date_trunc('hour', now()) - make_interval(days => $5))"
    for rule, letters, days in (("a", 1, 0), ("a", 2, 29), ("a", 4, 31), ("a", 8, 400), ("b", 16, 40)):
        await node.pool.execute(add, TOPIC, NAME, rule, letters, days)
    for _ in range(2):
        await asyncio.gather(sum_up(node.pool), sum_up(node.pool))
    rows = await node.pool.fetch("select rule, letters from dead_letter order by rule, hour")
    assert [tuple(row) for row in rows] == [("a", 12), ("a", 2), ("a", 1), ("b", 16)]
    assert await unreadable_this_hour(node.pool) == {NAME: 1}
    await node.pool.execute(add, TOPIC, NAME, "b", 32, 31)
    await sum_up(node.pool)
    assert await node.pool.fetchval("select letters from dead_letter where rule = 'b'") == 48


async def test_the_letters_of_an_hour_are_found_by_it(node: Running) -> None:
    """Asked for with each batch that holds something unreadable, of a year of rules and hours."""
    await in_one_hour(60)
    await node.pool.execute(
        "insert into dead_letter select $1, $2, 'body', r::text, 1, date_trunc('hour', now()) - make_interval(hours => h)"
        " from generate_series(1, 10) r, generate_series(0, 700) h", TOPIC, NAME)  # fmt: skip
    hour = "select from dead_letter where hour = date_trunc('hour', now())"
    assert await unreadable_this_hour(node.pool) == {NAME: 10}
    assert "dead_letter_hour" in str(await node.pool.fetch(f"explain {hour}"))
