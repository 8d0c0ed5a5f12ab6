"""A publisher is taken out of publishers.toml: what stood still or waited for it comes to an end, and it may come back."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from contracts.envelope import Attributes
from contracts.intake import NeedReported
from contracts.topics import answers_topic, submissions_topic
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status
from services.kept.taking_up import replay
from services.operating.operate import go_on
from services.runtime import positions
from services.runtime.batch import apply
from services.runtime.messages import Message, Part
from tests.in_hand import AROUND, in_hand
from tests.publishing import NAME, OWNER, SOURCE, TENANT

NOW = datetime.now(UTC)
TOPIC = submissions_topic("intake", NAME)


def without(node: Running) -> Running:
    """The same service, started anew without this publisher."""
    return replace(node, publishers={name: one for name, one in node.publishers.items() if name != NAME})


def need(node: Running, offset: int, case: str, id: str) -> Message:
    """It rests on a case that nobody has registered."""
    said = NeedReported(by=OWNER, need_id=case, need_type="WORK")
    return in_hand(node, TOPIC, offset, NOW, Attributes(id, SOURCE, said.ce_type, case, NOW, TENANT), said.to_json())


async def kept(node: Running) -> list[tuple[str, str]]:
    return [tuple(row) for row in await node.pool.fetch("select why, error from kept order by seq")]


@pytest.mark.parametrize("why", [f"publisher:{NAME}", "Gap:read up to 7, the log goes from 0 to 5"])
async def test_what_is_held_of_a_topic_that_is_not_read_any_more_is_not_said(node: Running, why: str) -> None:
    """LotsePublisherHeld, LotseHeld and LotseGap are critical, and nobody could end them."""
    await positions.make(node.pool, {Part(TOPIC, 0): 7})
    await positions.hold(node.pool, Part(TOPIC, 0), why)
    add = "insert into acked (topic, part, next, held, held_since) values ($1, 0, 9, 'Gap:acknowledged up to 9, the log ends at 4', now())"
    await node.pool.execute(add, answers_topic("intake", NAME))
    try:
        for one, said in ((node, True), (without(node), False)):
            status = await Status(one, Inputs(one)).said()
            assert bool(status["held"] or status["gaps"]) is said
            figures = [
                one.metrics.registry.get_sample_value(f"lotse_{name}") for name in ("gaps", "publishers_held", "held")
            ]
            assert any(figures) is said
        assert TOPIC in status["not_consumed"]
        assert await go_on(without(node), dry=True) == []
    finally:
        await node.pool.execute("delete from position; delete from acked")


async def test_what_waits_is_set_aside_at_the_next_start_and_can_be_given_up(node: Running) -> None:
    """Nobody would hear an answer. Its id is free again: who comes back and sends it once more is no longer passed over."""
    case, id = str(uuid4()), str(uuid4())
    await node.pool.execute("delete from position; delete from kept; delete from outbox")
    await positions.make(node.pool, {Part(TOPIC, 0): 0})
    await apply(node, [need(node, 0, case, id)], {}, {}, AROUND)
    assert await kept(node) == [("waiting", "")]
    gone = without(node)
    await replay(gone)  # as each start does
    assert await kept(node) == [("aside", "NoSuchPublisher")]
    (seq,) = (await node.pool.fetch("select seq from kept"))[0]
    await replay(node)  # it comes back
    assert await kept(node) == [("waiting", "")]
    await replay(gone)
    await replay(gone, [seq])
    assert await kept(node) == [("aside", "NoSuchPublisher")]
    await replay(gone, [seq], give_up=True)
    assert await kept(node) == [] and not await node.pool.fetch("select from outbox")
    await apply(node, [need(node, 1, case, id)], {}, {}, AROUND)
    assert await kept(node) == [("waiting", "")]
    await node.pool.execute("delete from position; delete from kept")
