"""`lotse go-on --past`: what somebody said is none of ours is passed over, also where a fetch brings nothing else; and nothing but that."""

from datetime import timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from pydantic import SecretStr

from contracts.envelope import Attributes, headers_of
from contracts.topics import facts_topic
from deploy.local.stack import LocalStack
from deploy.services import migrations
from services.host.inputs import Inputs
from services.kept.left_out import leave_out
from services.kept.waiting import KEPT, Kept
from services.operating.rebuild import rebuild
from services.runtime import positions
from services.runtime.batch import apply
from services.runtime.messages import Part, moment_of
from tests.in_hand import AROUND, in_hand
from tests.integration.conftest import node_of
from tests.integration.on_one_stack.test_a_rebuild_beside_others import need_recorded
from tests.publishing import TENANT

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


@pytest.mark.parametrize(
    "came", ["then", "nobody knows when", "since it was set back", "since, with another in quarantine"]
)
async def test_a_rebuild_leaves_out_what_was_left_out_and_no_fact_that_has_its_place_since(
    prepared: LocalStack, came: str
) -> None:
    """A broker whose data were set back gives the place to something else. Known by its place alone, a fact that live had applied was
    missing from what a rebuild learnt, and it was refused for as long as the log had that fact."""
    case, fact, part = str(uuid4()), need_recorded(), Part(PART.topic, 0)
    async with node_of(prepared, "referral") as node, AIOKafkaProducer(bootstrap_servers=prepared.kafka) as producer:
        now = moment_of(0)
        about = Attributes(str(uuid4()), "//lotse/x", fact.ce_type, case, now, TENANT, 1, str(uuid4()), now)
        put = await producer.send_and_wait(
            part.topic, fact.to_json(), case.encode(), part.part, headers=headers_of(about)
        )
        arrived = moment_of(put.timestamp)
        here, before = (in_hand(node, part.topic, put.offset, at, about, fact.to_json())
                        for at in (arrived, arrived - timedelta(days=1)))  # fmt: skip
        await positions.make(node.pool, {part: put.offset})
        if "since" in came:
            if "quarantine" in came:
                async with node.pool.acquire() as con:
                    await KEPT.write(con, [Kept(before, "quarantined", [f"!{case}"], error="Fork").row()])
            else:
                await leave_out(node.pool, part, put.offset, before.arrived)
            await apply(node, [here], {}, {}, AROUND)
        else:
            await leave_out(node.pool, part, put.offset, arrived if came == "then" else None)
            await positions.step(node.pool, part, put.offset, put.offset + 1)
        settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["referral"].owner)})
        files = [file for _, folder in migrations("referral") for file in sorted(folder.glob("*.sql"))]
        done = await rebuild(node.service, settings, files)
        assert (done.compared, done.differences) == (True, [])
        heard = await node.pool.fetchval("select count(*) from heard where subject = $1", case)
        assert heard == ("since" in came)
