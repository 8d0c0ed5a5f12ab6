"""A month's figures are of all that was told, or say that they are not."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.referral import OfferRunPublished, ParticipationStarted
from contracts.topics import CLOCK
from deploy.local.stack import LocalStack
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status
from services.runtime import clock, positions
from services.runtime.database import encode, pack
from services.runtime.messages import Part
from tests.integration.conftest import node_of

TENANT, TICKED = "leaves-out", datetime(2026, 6, 10, 6, tzinfo=UTC)
FACTS = Part("referral.events", 0)
STARTED = ("insert into participation_period (case_id, participation_id, tenant, municipality, block, started_on)"
           " values ($1, $1, $2, '05162024', 'F4', '2026-05-04')")  # fmt: skip
KEEP = ("insert into kept (topic, part, \"offset\", arrived, why, publisher, tenant, subject, rests_on, claimed, error, headers,"
        " value) values ('referral.events', 0, $1, now(), $2, '', $3, $4, '', false, '', $5, '')")  # fmt: skip
OF_A_CASE = pack([("ce_id", b"1"), ("ce_type", ParticipationStarted.ce_type.encode())])
OF_A_RUN = pack([("ce_id", b"1"), ("ce_type", OfferRunPublished.ce_type.encode())])


@pytest.fixture
async def reporting(prepared: LocalStack) -> AsyncIterator[Running]:
    """Reporting's node, of an alliance with one participation. Nothing of it stays."""
    async with node_of(prepared, "reporting") as node:
        await node.pool.execute("insert into alliance (tenant) values ($1)", TENANT)
        await node.pool.execute(STARTED, "case-1", TENANT)
        yield node
        tables = ("release", "participation_period", "alliance", "kept")
        await node.pool.execute("; ".join(f"delete from {name} where tenant = '{TENANT}'" for name in tables))
        await node.pool.execute("delete from tick; delete from position; delete from outbox")


async def ticked(node: Running, inputs: Inputs, at: datetime) -> list[tuple[str, int, int | None]]:
    """A tick comes, with the ends of all inputs as they stand, and time goes on if it may; then month, vintage and what is left
    out of each release there is."""
    ends = await node.reader.ends([part for part in inputs.parts if part.topic != CLOCK])
    add = "insert into tick (id, at, ends) values ($1, $2, $3)"
    await node.pool.execute(add, at.isoformat(), at, encode([[*part, end] for part, end in ends.items()]).decode())
    await clock.act(node, lambda _: None)
    return await released(node)


async def released(node: Running) -> list[tuple[str, int, int | None]]:
    rows = await node.pool.fetch(
        "select month, vintage, (body::jsonb ->> 'left_out')::int as left_out from release where tenant = $1"
        " order by month, vintage", TENANT)  # fmt: skip
    return [tuple(row) for row in rows]


async def findings(node: Running) -> list[str]:
    said: dict[str, Any] = await Status(node, Inputs(node)).said()
    assert node.metrics.registry.get_sample_value("lotse_findings") == len(said["findings"])
    return list(said["findings"])


@pytest.mark.parametrize(("why", "lacks"), [("Gap:read up to 9, the log goes from 0 to 7", 0), ("NoFact:9", 1)])
async def test_no_month_is_released_while_part_of_the_facts_is_held(reporting: Running, why: str, lacks: int) -> None:
    """Vintage 1 went out without what that partition told, the right figures a day later, and nobody was told."""
    inputs = Inputs(reporting)
    await inputs.refresh()
    assert FACTS in inputs.parts
    at = "update position set next = $3 where (topic, part) = ($1, $2)"
    for part, end in (await reporting.reader.ends(inputs.parts)).items():
        await reporting.pool.execute(at, *part, end - lacks * (part == FACTS))
    await positions.hold(reporting.pool, FACTS, why)
    assert await ticked(reporting, inputs, TICKED) == []
    (finding,) = await findings(reporting)
    assert finding.startswith("no report is taken: referral.events/0 is held")
    async with reporting.pool.acquire() as con:  # it goes on, and has not read what the tick found there
        await positions.move(con, {FACTS: -1})
    await clock.act(reporting, lambda _: None)
    assert await released(reporting) == [] == await findings(reporting)
    await reporting.pool.execute(at, *FACTS, (await reporting.reader.ends([FACTS]))[FACTS])
    await clock.act(reporting, lambda _: None)
    assert await released(reporting) == [("2026-05", 1, None)]


async def test_a_partition_held_behind_all_that_a_tick_asks_for_holds_no_month_back(reporting: Running) -> None:
    """What came after the tick is no fact; all that came before it is in the figures."""
    inputs = Inputs(reporting)
    await inputs.refresh()
    for part, end in (await reporting.reader.ends(inputs.parts)).items():
        await reporting.pool.execute("update position set next = $3 where (topic, part) = ($1, $2)", *part, end)
    await positions.hold(reporting.pool, FACTS, "NoFact:9")
    assert await ticked(reporting, inputs, TICKED) == [("2026-05", 1, None)]


@pytest.mark.parametrize("why", ["early", "quarantined"])
async def test_a_release_says_how_many_cases_it_leaves_out_and_is_replaced_once_it_leaves_out_none(
    reporting: Running, why: str
) -> None:
    inputs = Inputs(reporting)
    await inputs.refresh()
    for part, end in (await reporting.reader.ends(inputs.parts)).items():
        await reporting.pool.execute("update position set next = $3 where (topic, part) = ($1, $2)", *part, end)
    for n, (tenant, subject) in enumerate(
        [(TENANT, "case-2"), (TENANT, "case-2"), (TENANT, "case-3"), ("other", "case-4")]
    ):
        await reporting.pool.execute(KEEP, n, why, tenant, subject, OF_A_CASE)
    await reporting.pool.execute(KEEP, 8, why, TENANT, "run-1", OF_A_RUN)  # in no figure
    try:
        assert await ticked(reporting, inputs, TICKED) == [("2026-05", 1, 2)]
        hour = timedelta(hours=1)
        await reporting.pool.execute("delete from kept where subject = 'case-3'")
        assert len(await ticked(reporting, inputs, TICKED + hour)) == 1, "something is left out still"
        await reporting.pool.execute("delete from kept where tenant = $1 and subject <> 'run-1'", TENANT)
        both = [("2026-05", 1, 2), ("2026-05", 2, None)]
        assert await ticked(reporting, inputs, TICKED + 2 * hour) == both, "the same day, and with the same figures"
        await reporting.pool.execute(STARTED, "case-2", TENANT)
        assert await ticked(reporting, inputs, TICKED + 3 * hour) == both, "once a day again"
        await reporting.pool.execute(KEEP, 9, why, TENANT, "case-3", OF_A_CASE)
        assert (await ticked(reporting, inputs, TICKED + 24 * hour))[2:] == [("2026-05", 3, 1)]
        assert len(await ticked(reporting, inputs, TICKED + 48 * hour)) == 3, (
            "the same figures, as incomplete as before"
        )
    finally:
        await reporting.pool.execute("delete from kept where tenant in ($1, 'other')", TENANT)
