"""A member of the group whose partitions are given out anew begins where Kafka's committed offsets say, not where its rows stand."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from contracts.envelope import Attributes, headers_of
from contracts.intake import RegistrationSubmitted
from contracts.topics import submissions_topic
from services.host.inputs import Inputs
from services.host.running import Running, say_held
from services.operating.operate import go_on
from services.runtime import batch, positions
from services.runtime.messages import Part
from tests.publishing import NAME, OWNER, SOURCE, TENANT

TOPIC = submissions_topic("intake", NAME)
PART, TP = Part(TOPIC, 0), TopicPartition(TOPIC, 0)


class Sought:
    """A consumer that has this one partition, and notes where it is sent."""

    def __init__(self) -> None:
        self.to: list[int] = []
        self.paused: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        assert tp == TP
        self.to.append(offset)

    def pause(self, tp: TopicPartition) -> None:
        self.paused.add(tp)

    def resume(self, tp: TopicPartition) -> None:
        self.paused.discard(tp)


async def sent(kafka: str) -> list[ConsumerRecord[Any, Any]]:
    """Three registrations on the topic, as a fetch brings them."""
    found = []
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for _ in range(3):
            case, now = str(uuid4()), datetime.now(UTC)
            said = RegistrationSubmitted(
                by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
            )
            headers = headers_of(Attributes(str(uuid4()), SOURCE, said.ce_type, case, now, TENANT))
            put = await producer.send_and_wait(TOPIC, said.to_json(), key=case.encode(), headers=headers, partition=0)
            found.append(
                ConsumerRecord(
                    TOPIC, 0, put.offset, put.timestamp, 1, case.encode(), said.to_json(), None, -1, -1, headers
                )
            )
    return found


async def test_what_was_read_before_is_no_reason_to_read_on_behind_the_row(node: Running) -> None:
    """Committed offsets are ahead of rows that went back (a rebuild, a standby that lagged): what lies between was passed over,
    never answered, and nothing said so."""
    records = await sent(node.settings.kafka)
    start = records[0].offset
    inputs, consumer, first, second = Inputs(node), Sought(), *(SimpleNamespace(tps={TP}) for _ in range(2))
    await inputs.refresh()
    await node.pool.execute("update position set next = $3 where (topic, part) = ($1, $2)", *PART, start)

    async def row() -> int:
        return (await positions.stand(node.pool))[PART]

    for step, assignment, record, stands, sought in (
        ("it begins", first, records[0], start + 1, []),
        ("given out anew, it begins beyond its row", second, records[2], start + 1, [start + 1]),
        ("sent back there, it goes on", second, records[1], start + 2, []),
        ("and on", second, records[2], start + 3, []),
    ):
        consumer.to = []
        inputs.fetched({TP}, assignment)
        await inputs.handle(consumer, [record])
        assert (await row(), consumer.to) == (stands, sought), step
    assert not inputs.held


async def test_what_comes_again_below_what_was_read_is_a_gap(node: Running) -> None:
    """Kafka lost the log's tail, and it has grown beyond our row since: its new records lay below the row, were taken for another
    worker's shadow, and dropped without a word. Only the consumer can know, which was sent back to where it had read before."""
    records = await sent(node.settings.kafka)
    start = records[0].offset
    inputs, consumer, assignment = Inputs(node), Sought(), SimpleNamespace(tps={TP})
    await inputs.refresh()
    await node.pool.execute("update position set next = $3 where (topic, part) = ($1, $2)", *PART, start)
    inputs.fetched({TP}, assignment)
    for record in records[:2]:
        await inputs.handle(consumer, [record])
    assert (await positions.stand(node.pool))[PART] == start + 2
    await inputs.handle(consumer, records[1:])
    held = "select held from position where (topic, part) = ($1, $2)"
    assert await node.pool.fetchval(held, *PART) == f"Gap:read up to {start + 2}, and {start + 1} came again"
    assert (await positions.stand(node.pool))[PART] == start + 2 and f"{TOPIC}/0" in inputs.held
    await go_on(node)
    assert await node.pool.fetchval(held, *PART) is None and (await positions.stand(node.pool))[PART] == 0


async def test_a_log_that_ends_before_its_row_is_a_gap_as_soon_as_somebody_looks(node: Running) -> None:
    """Each second, and not each half minute: until then it may have grown beyond the row."""
    inputs = Inputs(node)
    await inputs.refresh()
    ends = await node.reader.ends(inputs.parts)
    await node.pool.execute("update position set next = $3 where (topic, part) = ($1, $2)", *PART, ends[PART] + 5)
    await inputs.look_after(None, ends)
    assert PART in inputs.gaps
    await node.pool.execute("delete from position")


@pytest.mark.parametrize("tps", [{TP}, set()], ids=["another", "none"])
async def test_what_stood_still_under_another_assignment_is_no_longer_said(
    node: Running, tps: set[TopicPartition]
) -> None:
    """Who has it now says so within a batch. `everything` and a publisher's limit stayed for good where the partitions went to
    another worker, and while everything is held /live finds nothing stuck."""
    inputs = Inputs(node)
    for what in ("everything", f"publisher:{NAME}", f"{TOPIC}/0", "fetch", "minder"):
        say_held(inputs.held, what, "x")
    inputs.fetched(set(), SimpleNamespace(tps=tps))
    assert inputs.held.keys() == {"fetch", "minder"}, "these are this process's own"


async def test_what_still_stands_still_under_a_new_assignment_says_so_within_a_batch(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = await sent(node.settings.kafka)
    inputs, consumer = Inputs(node), Sought()
    await inputs.refresh()

    async def fails(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(batch, "apply", fails)
    for _ in range(2):
        inputs.fetched({TP}, SimpleNamespace(tps={TP}))
        assert not inputs.held
        await inputs.handle(consumer, records)
        assert inputs.held.keys() == {"everything"}
    await node.pool.execute("delete from position")
