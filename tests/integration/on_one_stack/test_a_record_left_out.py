"""`lotse go-on --past`: what somebody said is none of ours is passed over, also where a fetch brings nothing else."""

from aiokafka import AIOKafkaProducer, ConsumerRecord

from contracts.topics import facts_topic
from deploy.local.stack import LocalStack
from services.host.inputs import Inputs
from services.runtime import positions
from services.runtime.messages import Part
from tests.integration.conftest import node_of

PART = Part(facts_topic("intake"), 3)


async def test_a_fetch_of_nothing_else_moves_the_row(prepared: LocalStack) -> None:
    """The row stood below its log's end, and no tick was ever acted on, until another record came there."""
    async with node_of(prepared, "referral") as node, AIOKafkaProducer(bootstrap_servers=prepared.kafka) as producer:
        put = await producer.send_and_wait(PART.topic, b"not a fact", partition=PART.part)
        record = ConsumerRecord(*PART, put.offset, put.timestamp, 1, None, b"not a fact", None, -1, -1, ())
        inputs = Inputs(node)
        await inputs.refresh()

        async def row() -> int:
            return (await positions.stand(node.pool))[PART]

        stopped = await inputs.apply({PART: [record]}, {PART: put.offset})
        assert list(stopped) == [PART] and await row() == put.offset
        await node.pool.execute("insert into left_out values ($1, $2, $3)", *PART, put.offset)
        assert not await inputs.apply({PART: [record]}, {PART: put.offset}) and await row() == put.offset + 1
        assert not await inputs.apply({PART: [record]}, {PART: put.offset}) and await row() == put.offset + 1  # twice
        await node.pool.execute("update position set next = $3 where (topic, part) = ($1, $2)", *PART, put.offset - 1)
        # what lies before it was not read
        assert not await inputs.apply({PART: [record]}, {}) and await row() == put.offset - 1
