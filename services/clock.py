"""The clock's one act: a moment is published. What services make of it: services/runtime/clock.py."""

from typing import Any
from uuid import uuid4

from contracts.envelope import Tick, stamp
from contracts.topics import CLOCK


async def publish(producer: Any, tick: Tick) -> int:
    """Publishes a moment; acknowledged when it returns, with the tick's offset. Time belongs to all alliances and is about
    nothing else: no tenant, no subject."""
    headers = [("ce_specversion", "1.0"), ("ce_id", str(uuid4())), ("ce_source", "//lotse/clock"), ("ce_type", Tick.ce_type),
               ("ce_time", stamp(tick.at)), ("content-type", "application/json")]  # fmt: skip
    packed = [(name, text.encode()) for name, text in headers]
    sent = await producer.send_and_wait(CLOCK, tick.to_json(), key=b"tick", headers=packed)
    return int(sent.offset)
