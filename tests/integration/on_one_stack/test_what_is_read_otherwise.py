"""What librdkafka reads where aiokafka gives up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from contracts.topics import submissions_topic
from deploy.local.stack import LocalStack
from services.host.running import Running
from services.operating.operate import go_on
from services.process.connections import KafkaSecurity
from services.process.otherwise import Corrupt, read_otherwise
from services.runtime import positions
from services.runtime.messages import Part
from tests.integration.conftest import served
from tests.integration.on_one_stack.test_dry_runs import gone_before
from tests.publishing import PATIENCE, until

TOPIC = submissions_topic("intake", "oulad")
REFERRALS = submissions_topic("referral", "oulad")
ATTENDANCE = submissions_topic("attendance", "oulad")


async def test_what_is_corrupt_is_not_read_otherwise_and_nothing_is_read_in_its_place(
    prepared: LocalStack, node: Running
) -> None:
    """Of a disk that lost a bit aiokafka says the same as of a record it can't read, and librdkafka by itself checks no sum."""
    await sent(prepared, TOPIC, (0, b"before"), (0, b"corrupt"), (0, b"behind"), (1, b"beside"))
    starts, found = {Part(TOPIC, 0): 0, Part(TOPIC, 1): 0}, set[tuple[int, bytes | None]]()
    with a_bit_lost(prepared, TOPIC):
        async with asyncio.timeout(60):
            while len(found) < 2:
                read = await asyncio.to_thread(read_otherwise, prepared.kafka, KafkaSecurity(), starts)
                assert not read.corrupt  # something stands before it
                for part, records in read.records.items():
                    found |= {(part.partition, record.value) for record in records}
            assert found == {(0, b"before"), (1, b"beside")}
            at = {Part(TOPIC, 0): 1}
            while not read.corrupt:
                read = await asyncio.to_thread(read_otherwise, prepared.kafka, KafkaSecurity(), at)
            assert read == ({}, {Part(TOPIC, 0)})
            with pytest.raises(Corrupt) as raised:  # whoever reads a log to its end would wait for ever
                [_ async for _ in node.reader.records({Part(TOPIC, 0): (0, 3), Part(TOPIC, 1): (0, 1)})]
            assert raised.value.where == f"{TOPIC}/0"


async def test_what_stands_at_a_corrupt_batch_is_held_by_its_name_and_goes_on_where_a_whole_copy_is_there(
    prepared: LocalStack,
) -> None:
    """It was `fetch`, which came and went, so that nobody was woken, and no service that began there knew any more where logs end."""
    await sent(prepared, REFERRALS, (0, b"before"), (0, b"corrupt"), (0, b"behind"), (1, b"beside"))
    stands, named = [Part(REFERRALS, 0), Part(REFERRALS, 1)], f"{REFERRALS}/0"
    with a_bit_lost(prepared, REFERRALS):
        for beside in (2, 3):  # the second begins at what is corrupt
            async with asyncio.timeout(PATIENCE), served(prepared, "referral") as serves:
                await until(lambda: named in serves.inputs.held)
                assert serves.inputs.held[named].why == "CorruptRecordException"
                await sent(prepared, REFERRALS, (1, b"beside"))
                rows = serves.node.pool
                while (at := [(await positions.stand(rows))[part] for part in stands]) != [1, beside]:
                    assert named in serves.inputs.held and at[0] == 1
                    await asyncio.sleep(0.05)
                serves.inputs.progress = 0.0
                await until(lambda: serves.inputs.progress and serves.status.ends)
                assert serves.inputs.held.keys() == {named}  # neither the minder nor a fetch that others share
    async with asyncio.timeout(PATIENCE), served(prepared, "referral") as serves:
        while (await positions.stand(serves.node.pool)).get(stands[0]) != 3:
            await asyncio.sleep(0.05)
        await until(lambda: not serves.inputs.held)


async def test_what_was_held_at_a_corrupt_end_is_held_no_more_once_that_is_deleted_and_somebody_goes_on(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch comes behind it, and by nothing else a partition was seen to go on: it was said to be held for as long."""
    monkeypatch.setattr("services.host.host.REFRESH_REST", 1.0)
    part, named = Part(ATTENDANCE, 0), f"{ATTENDANCE}/0"
    await sent(prepared, ATTENDANCE, (0, b"before"), (0, b"corrupt"))
    with a_bit_lost(prepared, ATTENDANCE):
        async with asyncio.timeout(PATIENCE), served(prepared, "referral") as serves:
            await until(lambda: named in serves.inputs.held)
            await gone_before(serves.node, part, 2)
            await until(lambda: part in serves.inputs.gaps)
            assert [one["goes_on_at"] for one in await go_on(serves.node, [named])] == [2]
            await until(lambda: not serves.inputs.gaps)
            assert not serves.inputs.held


async def sent(stack: LocalStack, topic: str, *values: tuple[int, bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        for part, value in values:
            await producer.send_and_wait(topic, value, partition=part)


@contextmanager
def a_bit_lost(stack: LocalStack, topic: str) -> Iterator[None]:
    """Of its first partition, on the disk, until somebody has put it back."""
    (log,) = (stack.folder / "kafka" / "data" / f"{topic}-0").glob("*.log")
    at = log.read_bytes().index(b"corrupt")
    written(log, at, b"C")
    yield
    written(log, at, b"c")


def written(log: Path, at: int, byte: bytes) -> None:
    with log.open("r+b") as file:
        file.seek(at)
        file.write(byte)
