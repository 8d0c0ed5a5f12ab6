"""A consumer that ends while a task of its own has not begun, or rests after a lost connection: nobody else is told to end by that, and
nothing of it stays. (Connections reset each second: a service that looked its own logs through ended by itself.)"""

import asyncio
import logging
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.topics import CLOCK
from deploy.local.stack import LocalStack
from services.process.ending import closed, ended
from tests.publishing import PATIENCE

RESTS_MS = 60_000  # a consumer that lost its connection is found at rest however slow the machine is


async def not_begun(consumer: AIOKafkaConsumer, _: pytest.LogCaptureFixture) -> None:
    """It ends in the breath in which it has started."""
    await consumer.start()


async def lost(consumer: AIOKafkaConsumer, said: pytest.LogCaptureFixture) -> None:
    """Its connection is reset while it fetches, and it rests before it connects anew."""
    await consumer.start()
    part = TopicPartition(CLOCK, 0)
    consumer.assign([part])
    consumer.seek(part, 0)
    await consumer.getmany(part, timeout_ms=300)
    async with asyncio.timeout(PATIENCE):
        while not any("Failed fetch messages" in record.getMessage() for record in said.records):
            for connection in list(consumer._client._conns.values()):  # a busy machine may be found between two fetches
                if connection._writer is not None:
                    connection._writer.transport.abort()
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("state", [not_begun, lost])
async def test_it_ends_and_nothing_of_it_stays(
    prepared: LocalStack, state: Callable[..., asyncio.Future[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "aiokafka")
    before = asyncio.all_tasks()
    consumer = AIOKafkaConsumer(bootstrap_servers=prepared.kafka, retry_backoff_ms=RESTS_MS)
    await state(consumer, caplog)
    with pytest.raises(asyncio.CancelledError):  # where aiokafka mends this, `closed` can go
        await consumer.stop()
    await closed(consumer)
    async with asyncio.timeout(PATIENCE):
        while asyncio.all_tasks() != before:  # of a connection that is closed the reader ends a breath later
            await asyncio.sleep(0.01)


async def test_whoever_is_told_to_end_meanwhile_ends_and_the_client_too() -> None:
    begun, may_end, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await may_end.wait()
        has_ended.set()

    waits = asyncio.create_task(ended(slow()))
    await begun.wait()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    may_end.set()
    async with asyncio.timeout(PATIENCE):
        await has_ended.wait()


async def test_an_end_that_fails_says_so() -> None:
    async def fails() -> None:
        raise OSError

    with pytest.raises(OSError):
        await ended(fails())
