"""A batch locks the rows of its partitions first. One may not be there yet, be held at a gap, or be another database's."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaTimeoutError

from contracts.envelope import answer_type, stamp
from contracts.topics import CLOCK, answers_topic
from services.host import own_logs
from services.host.inputs import Inputs
from services.host.own_logs import OlderThanLog
from services.host.running import Running
from services.operating.operate import go_on
from services.runtime import positions
from services.runtime.database import unpack
from tests.integration.on_one_stack.test_a_new_assignment import PART, TP, Sought, sent
from tests.publishing import NAME

GAP = "Gap:of this test"


class Loop:
    """One process's inputs on a node, its consumer, and what it is given."""

    def __init__(self, node: Running, records: list[Any]) -> None:
        self.node, self.records, self.start = node, records, int(records[0].offset)
        self.consumer = Sought()
        self.anew()

    def anew(self) -> None:
        """Another process."""
        self.inputs = Inputs(self.node)
        self.given_out()

    def given_out(self) -> None:
        """The group's partitions are given out."""
        self.inputs.fetched({TP}, SimpleNamespace(tps={TP}))

    async def given(self, *numbers: int) -> None:
        """A fetch of these."""
        await self.inputs.handle(self.consumer, [self.records[n] for n in numbers])

    async def row(self, sets: str = "next = next") -> tuple[int, str | None]:
        """Where its row stands, and why it is held."""
        sql = f"update position set {sets} where (topic, part) = ($1, $2) returning next, held"  # noqa: S608
        return tuple(await self.node.pool.fetchrow(sql, *PART))  # type: ignore[arg-type]

    async def applied(self) -> int:
        """How many of them are cases."""
        ids = [record.key.decode() for record in self.records]
        found: int = await self.node.pool.fetchval("select count(*) from timeline where subject = any($1)", ids)
        return found

    async def kept(self) -> int:
        """How many messages somebody was blamed for."""
        found: int = await self.node.pool.fetchval(
            "select count(*) from kept where topic = $1 and why = 'aside'", PART.topic
        )
        return found


@pytest.fixture
async def loop(node: Running) -> AsyncIterator[Loop]:
    """With three registrations that are not applied yet. What it leaves on our own topics no relay takes for a database's age."""

    async def known() -> None:
        await own_logs.mark(node.pool, await node.reader.ends(await node.reader.parts(node.own_topics)))

    await known()
    await node.pool.execute("delete from position")
    await sent(node.settings.kafka)  # the log begins before them
    found = Loop(node, await sent(node.settings.kafka))
    await found.inputs.refresh()
    await found.row(f"next = {found.start}")
    yield found
    await node.pool.execute("delete from position; delete from outbox")
    await known()


async def test_a_partition_is_met_before_it_is_known(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka said where its log begins too late. From then on each of its messages was taken for one that our rules can't bear: it was
    set aside, or its subject put into quarantine."""
    await loop.node.pool.execute("delete from position")
    loop.anew()

    async def too_late(_: Any) -> Any:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(loop.node.reader, "starts", too_late)
        with pytest.raises(TimeoutError):
            await loop.inputs.refresh()
        await loop.given(0)
    assert (await loop.kept(), await loop.applied()) == (0, 0)
    await loop.given(0)
    assert loop.consumer.to[-1] == (await loop.row())[0] == 0 and await loop.kept() == 0


async def test_a_row_that_is_gone_is_made_again_and_no_message_is_blamed(loop: Loop) -> None:
    await loop.node.pool.execute("delete from position")
    await loop.given(0, 1)
    assert (await loop.kept(), await loop.applied(), loop.consumer.to) == (0, 0, [loop.start])
    await loop.given(0, 1)
    assert loop.consumer.to[-1] == (await loop.row())[0] == 0 and await loop.kept() == 0


async def test_a_gap_that_somebody_marks_stands_until_an_operator_says_so(loop: Loop) -> None:
    """Another replica's minder saw it, and this one had fetched already: it applied, moved the row, and wiped the mark. What lay
    before it was never read, and nothing said so."""
    await loop.given(0)
    await loop.row(f"held = '{GAP}'")
    for _ in range(2):
        await loop.given(1, 2)
        assert (await loop.row(), await loop.applied()) == ((loop.start + 1, GAP), 1)
    assert loop.inputs.held[f"{PART.topic}/0"].why == "Gap"
    await positions.step(loop.node.pool, PART, loop.start + 1, loop.start + 3)
    await positions.hold(loop.node.pool, PART, "NoFact")
    assert await loop.row() == (loop.start + 1, GAP)
    await go_on(loop.node)
    assert await loop.row() == (0, None)


async def test_what_was_dropped_takes_no_mark_off_its_row(loop: Loop) -> None:
    """A slower worker's batch lies below the row: it says nothing of the record that its owner can't read there."""
    await loop.row(f"next = {loop.start + 1}, held = 'NoFact'")
    await loop.given(0)
    assert (await loop.row(), await loop.applied()) == ((loop.start + 1, "NoFact"), 0)
    loop.given_out()
    await loop.given(0, 1)
    assert (await loop.row(), await loop.applied()) == ((loop.start + 2, None), 1)


async def test_what_was_applied_before_marks_no_row(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer begins with what was committed some seconds before it. A tick among that, beside a partition without a leader, marked a
    row that had passed it: time stood on file as held until the next tick came."""

    async def none(_: Any) -> Any:
        raise KafkaTimeoutError

    monkeypatch.setattr(loop.node.reader, "ends", none)
    tick = ConsumerRecord(CLOCK, 0, 0, 1, 1, None, b"{}", None, -1, -1, ())
    for next, held in ((1, None), (0, KafkaTimeoutError.__name__)):
        await loop.node.pool.execute("update position set next = $1 where topic = $2", next, CLOCK)
        await loop.inputs.handle(loop.consumer, [tick])
        assert await loop.node.pool.fetchval("select held from position where topic = $1", CLOCK) == held
        assert f"{CLOCK}/0" in loop.inputs.held


async def test_a_partition_that_goes_on_is_not_held_again_by_the_batch_that_was_under_way(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had found the gap before somebody said that it goes on, and wrote it down after that."""
    await loop.row(f"held = '{GAP}'")
    await loop.inputs.refresh()
    decoded = loop.inputs._decoded

    async def meanwhile(*args: Any) -> Any:
        await go_on(loop.node)
        await loop.inputs.refresh()
        return await decoded(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.inputs, "_decoded", meanwhile)
        await loop.given(1, 2)
    assert await loop.row() == (0, None)
    # what it was sent back to is gone from the log: Kafka's client begins at the log's start, and that is no second gap
    first = loop.records[0]
    loop.records.append(replace(first, offset=0))
    await loop.given(3)
    assert (await loop.row(), await loop.applied()) == ((1, None), 1)


async def unknown(node: Running) -> None:
    """What a database that was set back has forgotten it said: an answer of ours on the log."""
    headers = [("ce_type", answer_type("intake").encode()), ("ce_cause", str(uuid4()).encode())]
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        await producer.send_and_wait(answers_topic("intake", NAME), b"{}", headers=headers)


@pytest.mark.parametrize("met", ["by what comes next", "by what comes again", "by a quiet partition"])
async def test_to_a_database_that_was_set_back_nothing_is_applied(loop: Loop, met: str) -> None:
    """A standby that lagged took over: its row is that of some time ago, and whatever was done since would be done again (an attempt
    read again is a second mail), in the half second before the relay looks."""
    await loop.given(0, 1)
    await loop.inputs.look_after(None, {})
    await unknown(loop.node)
    await loop.row(f"next = {loop.start + 1}")
    if met == "by a quiet partition":
        with pytest.raises(OlderThanLog, match=r"^1 records$"):
            await loop.inputs.look_after(None, {})
        return
    if met == "by what comes again":
        loop.given_out()
    await loop.given(*([2] if met == "by what comes next" else [1, 2]))
    assert isinstance(loop.inputs.set_back.exception(), OlderThanLog)
    await loop.given(1, 2)  # FastStream goes on until it is told to end
    assert (await loop.row(), await loop.applied()) == ((loop.start + 1, None), 2)


async def test_a_fact_that_was_decided_again_is_not_the_one_on_the_log(loop: Loop) -> None:
    """Its id, number, subject and type follow from the submission: whoever applied it to a database that was set back, before anybody
    looked, made the log's own copy one that this database knows."""
    await loop.given(0)
    packed = await loop.node.pool.fetchval(
        "select records from outbox where topic = 'intake.events' order by id desc limit 1"
    )
    key, value, headers = unpack(packed)[0]
    said, before = dict(headers), (datetime.now(UTC) - timedelta(seconds=3)).replace(microsecond=0)
    async with AIOKafkaProducer(bootstrap_servers=loop.node.settings.kafka) as producer:
        for recorded, beyond in ((said["ce_recordedtime"], 0), (stamp(before).encode(), 1)):
            said["ce_recordedtime"] = recorded
            await producer.send_and_wait("intake.events", value, key=key, headers=[*said.items()])
            assert await own_logs.letters_beyond(loop.node) == beyond
    await loop.node.pool.execute("update timeline set recorded_at = $1 where subject = $2", before, key.decode())
    assert await own_logs.letters_beyond(loop.node) == 1  # the other one, now
    assert await own_logs.unsent(loop.node.service, loop.node.pool, loop.node.pool) == {}


@pytest.mark.parametrize("met", ["by what comes next", "by what comes again"])
async def test_a_row_that_somebody_sent_back_is_read_from_there(loop: Loop, met: str) -> None:
    """`lotse go-on` does, and a rebuild: the log holds nothing that the database does not know."""
    await loop.given(0, 1)
    await loop.inputs.look_after(None, {})
    await loop.row(f"next = {loop.start + 1}")
    if met == "by what comes again":
        loop.given_out()
    await loop.given(2)
    assert loop.consumer.to[-1] == loop.start + 1 and not loop.inputs.set_back.done()
    await loop.given(1, 2)
    assert (await loop.row(), await loop.applied()) == ((loop.start + 3, None), 3)
