"""Which moment a service knows that is rebuilt from nothing."""

from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer

from contracts.envelope import Tick
from services.host.rebuild import Learner
from services.host.running import Running
from services.runtime.clock import publish


async def test_a_tick_that_is_held_for_being_ahead_is_not_the_time_of_a_rebuild(node: Running) -> None:
    """Live it moves nothing. Taken here, every no-show of the year would be raised, and no later tick be acted on."""
    now = datetime.now(UTC).replace(microsecond=0)
    sent = (now - timedelta(days=1), now + timedelta(minutes=9), now + timedelta(days=365), now + timedelta(minutes=11))
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        for at in sent:
            await publish(producer, Tick(at=at))
    tick = await Learner(node, lambda _: None)._tick()
    assert tick is not None and tick[0] == now + timedelta(minutes=9)
