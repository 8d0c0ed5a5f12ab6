"""Records as the consume loop has them in hand, and what stands around a batch, for tests without a loop."""

from datetime import datetime
from typing import Any

from aiokafka import ConsumerRecord

from contracts.envelope import Attributes, headers_of
from services.host.running import Running
from services.runtime.batch import Around
from services.runtime.messages import Message, decode


async def _nothing(*_: Any) -> None: ...


AROUND = Around(_nothing, lambda *_: None, "[]", {})
"""Nobody is told of anything, no tick is among it, and no row was seen before."""


def in_hand(node: Running, topic: str, offset: int, came: datetime, said: Attributes, body: bytes) -> Message:
    """A record of partition 0 that came then, decoded."""
    arrived = int(came.timestamp() * 1000)
    record = ConsumerRecord(topic, 0, offset, arrived, 0, None, body, None, -1, 1, headers_of(said))
    return decode(node.service, node.inputs[topic], record)
