"""What a consumer does where only aborted transactions lie between its rows and the records it is given."""

from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.topics import submissions_topic
from services.host.inputs import Inputs
from services.host.running import Running
from services.runtime import positions
from services.runtime.messages import Part
from tests.publishing import NAME

NEW, READ = (TopicPartition(submissions_topic("intake", NAME), number) for number in (0, 1))
TURNS = 10
"""Two are enough: the new one is sent to its row, then both are applied."""


async def test_two_partitions_do_not_send_each_other_back_for_ever(node: Running) -> None:
    """This consumer has read one partition and comes to the other anew; then an aborted transaction stands on each. The new one
    is astray and is sent to its row; the other goes back to where it was contiguous."""
    inputs = Inputs(node)
    await inputs.refresh()
    kafka: dict[str, Any] = {"bootstrap_servers": node.settings.kafka}
    async with (
        AIOKafkaProducer(**kafka) as producer,
        AIOKafkaProducer(transactional_id=f"foreign-{uuid4().hex}", **kafka) as foreign,
        AIOKafkaConsumer(isolation_level="read_committed", enable_auto_commit=False, **kafka) as consumer,
    ):
        consumer.assign([NEW, READ])
        rows = await positions.stand(node.pool)
        for tp in (NEW, READ):
            consumer.seek(tp, rows[Part(*tp)])

        async def fetched(*tps: TopicPartition) -> list[Any]:
            return [r for tp in tps for r in (await consumer.getmany(tp, timeout_ms=2_000)).get(tp, [])]

        await producer.send_and_wait(READ.topic, b"{}", partition=READ.partition)
        await inputs.handle(consumer, await fetched(READ))
        await foreign.begin_transaction()
        for tp in (NEW, READ):
            await foreign.send_and_wait(tp.topic, b"never", partition=tp.partition)
        await foreign.abort_transaction()
        ends = {}
        for tp in (NEW, READ):
            sent = await producer.send_and_wait(tp.topic, b"{}", partition=tp.partition)
            ends[Part(*tp)] = sent.offset + 1
        for _ in range(TURNS):
            if records := await fetched(NEW, READ):
                await inputs.handle(consumer, records)
            stand = await positions.stand(node.pool)
            if all(stand[part] == end for part, end in ends.items()):
                break
    assert {part: stand[part] for part in ends} == ends
    assert node.metrics.retries.labels("Astray")._value.get() >= 1, "it was astray, and somebody can see it"
