"""What a consumer does where only aborted transactions lie between its rows and the records it is given."""

from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.topics import submissions_topic
from services.host.inputs import Inputs
from services.host.running import Running
from services.runtime import positions
from services.runtime.messages import Part
from tests.publishing import NAME

ONE, OTHER = (Part(submissions_topic("intake", NAME), number) for number in (0, 1))


async def test_two_partitions_do_not_send_each_other_back_for_ever(node: Running) -> None:
    """A consumer comes to one partition anew (Kafka's committed offset is its row), and knows that it has read to the other's: the
    first is astray. It is sent to its row, and the other stays where it was contiguous."""
    inputs = Inputs(node)
    await inputs.refresh()
    kafka = {"bootstrap_servers": node.settings.kafka}
    async with AIOKafkaProducer(transactional_id=f"foreign-{uuid4().hex}", **kafka) as foreign:
        await foreign.begin_transaction()
        for part in (ONE, OTHER):
            await foreign.send_and_wait(part.topic, b"never", partition=part.part)
        await foreign.abort_transaction()
    async with AIOKafkaProducer(**kafka) as producer:
        ends = {
            part: (await producer.send_and_wait(part.topic, b"{}", partition=part.part)).offset + 1
            for part in (ONE, OTHER)
        }
    rows = await positions.stand(node.pool)
    async with AIOKafkaConsumer(isolation_level="read_committed", enable_auto_commit=False, **kafka) as consumer:
        consumer.assign([TopicPartition(*part) for part in (ONE, OTHER)])
        for part in (ONE, OTHER):
            consumer.seek(TopicPartition(*part), rows[part])
        inputs._contiguous = {OTHER: rows[OTHER]}
        for _ in range(3):
            found = [
                record
                for part in (ONE, OTHER)
                for record in (await consumer.getmany(TopicPartition(*part), timeout_ms=2_000)).get(
                    TopicPartition(*part), []
                )
            ]
            if found:
                await inputs.handle(consumer, found)
    stand = await positions.stand(node.pool)
    assert {part: stand[part] for part in ends} == ends
