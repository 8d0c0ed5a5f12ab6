"""An office is told at a tick and at no other moment, of what it had heard by then; and no message makes it miss one."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.codes import RiskEnd, Rule
from contracts.dropout import DropoutFact, DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import Attributes, Fact, Recorded
from contracts.notification import NotificationAttempted
from contracts.topics import facts_topic
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from services.host.running import Running
from services.kept import errands
from services.kept.taking_up import release
from services.notification.domain import LOTSE, sent
from services.runtime import clock, positions
from services.runtime.batch import apply
from services.runtime.database import encode
from services.runtime.messages import Message, Part
from tests.conftest import ORGANISATIONS
from tests.in_hand import AROUND, in_hand
from tests.integration.conftest import node_of
from tests.publishing import OWNER, PATIENCE, TENANT

ACTED = datetime(2026, 3, 10, 6, tzinfo=UTC)
LATE = ACTED - timedelta(hours=1)
"""The tick referral still works at."""
OFFICE = f"{TENANT}:{OWNER.organisation_id}"
TOPIC = facts_topic("dropout")
RAISED: dict[str, Any] = {"rule_version": 1, "days_on": (date(2026, 3, 6), date(2026, 3, 9))}


class World:
    """Notification has acted on a tick; what referral says of an earlier one comes now."""

    def __init__(self, node: Running) -> None:
        self.node, self.offset = node, 0

    def says(self, case: str, number: int, kind: type[DropoutFact], **more: Any) -> Message:
        fact = kind(by=LOTSE, case_id=case, about=case, rule=Rule.S2, first_on=date(2026, 3, 6),
                    owner_organisation_id=OWNER.organisation_id, as_of=LATE, **more)  # fmt: skip
        said = Attributes(str(uuid4()), "//lotse/test/referral", fact.ce_type, case, LATE, TENANT, streamversion=number,
                          cause=str(uuid4()), recordedtime=LATE)  # fmt: skip
        self.offset += 1
        return in_hand(self.node, TOPIC, self.offset - 1, LATE, said, fact.to_json())

    async def hears(self, *messages: Message) -> None:
        """In one transaction."""
        await apply(self.node, messages, {}, {}, AROUND)

    async def ticks(self, at: datetime) -> None:
        """All that stood before it was heard."""
        await self.node.pool.execute("insert into tick (id, at, ends) values ($1, $2, '[]')", str(at), at)
        await clock.act(self.node, lambda _: None)

    async def said(self) -> list[str]:
        rows = await self.node.pool.fetch("select split_part(type, '.', 3) as what from timeline order by number")
        return [row["what"] for row in rows]


@pytest.fixture
async def world(prepared: LocalStack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    mail = {"ORGANISATIONS": str(ORGANISATIONS), "SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1", "MAIL_FROM": "a@b.example"}
    for name, value in mail.items():
        monkeypatch.setenv(f"LOTSE_{name}", value)
    async with node_of(prepared, "notification") as node:
        for table in (
            "position",
            "outbox",
            "tick",
            "state",
            "timeline",
            "heard",
            "notice_list",
            "claim",
            "alliance",
            "quarantine",
            "kept",
        ):
            await node.pool.execute(f"delete from {table}")  # noqa: S608
        await node.pool.execute("insert into alliance (tenant, ticked, acted) values ($1, $2, $2)", TENANT, ACTED)
        await positions.make(node.pool, {Part(TOPIC, 0): 0})
        yield World(node)


async def test_what_is_withdrawn_in_the_same_breath_is_told_to_nobody(world: World) -> None:
    case, other = str(uuid4()), str(uuid4())
    await world.hears(world.says(case, 1, DropoutRiskRaised, **RAISED),
                      world.says(case, 2, DropoutRiskWithdrawn, reason=RiskEnd.CORRECTED))  # fmt: skip
    assert await world.said() == []
    await world.hears(world.says(other, 1, DropoutRiskRaised, **RAISED))
    assert await world.said() == []  # the rest of what is said of it may be on its way
    await world.ticks(ACTED + timedelta(minutes=15))
    assert await world.said() == ["notification_attempted"]


async def test_a_message_between_a_tick_and_its_office_does_not_make_it_miss_the_tick(world: World) -> None:
    """With news every second, it could miss each."""
    one, other = str(uuid4()), str(uuid4())
    await world.hears(world.says(one, 1, DropoutRiskRaised, **RAISED))
    tick = ACTED + timedelta(minutes=15)
    await world.node.pool.execute(
        "update alliance set ticked = $1, tick_id = 'a tick'", tick
    )  # begun by another worker
    await world.hears(world.says(other, 1, DropoutRiskRaised, **RAISED))
    assert await world.said() == []
    await world.ticks(tick)
    assert await world.said() == ["notification_attempted"]
    assert await world.node.pool.fetchval("select due_at from state where id = $1", OFFICE) is None  # of both


async def test_an_office_hears_again_once_the_runbooks_way_out_has_set_back_a_time_years_ahead(world: World) -> None:
    """No later tick comes for ten years, and what was news then is none in ten."""
    pool, back = world.node.pool, ACTED + timedelta(minutes=15)
    (way_out,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/runbooks/LotseTickOld.md").read_text(), re.S)
    await world.hears(world.says(str(uuid4()), 1, DropoutRiskRaised, **RAISED))
    await world.ticks(ACTED.replace(year=2036))
    await world.ticks(back)
    assert await world.said() == []
    await pool.execute(way_out.replace("now()", f"'{back}'"))
    assert await pool.fetchval("select ticked from alliance") == back
    await world.ticks(ACTED + timedelta(minutes=30))
    assert await world.said() == ["notification_attempted"]


async def claimed_of_a_tick(world: World, recorded: datetime) -> Recorded:
    """What the office is to hear at the next tick, recorded then; its claim's lease is over."""
    await world.ticks(ACTED + timedelta(minutes=15))
    (row,) = await world.node.pool.fetch("select fact_id, type, cause, body from timeline")
    said = Attributes(row["fact_id"], world.node.source, row["type"], OFFICE, recorded, TENANT, streamversion=1,
                      cause=row["cause"], recordedtime=recorded)  # fmt: skip
    add = "insert into claim (id, attributes, body, lease_until, done) values ($1, $2, $3, now(), false)"
    await world.node.pool.execute(add, said.id, encode(said).decode(), row["body"].encode())
    return Recorded(said, NotificationAttempted.from_json(row["body"]))


async def test_an_office_on_which_a_rule_broke_at_a_tick_hears_at_the_tick_after_its_release(world: World) -> None:
    """What only a tick asks is asked at the release, too, or it would say that a rule is mended which is not; and nobody is told."""
    node, case = world.node, str(uuid4())
    sound, errand = node.service, node.service.errand
    assert errand

    def breaks(*_: object) -> list[Fact]:
        raise ArithmeticError

    await world.hears(world.says(case, 1, DropoutRiskRaised, **RAISED))
    node.service = replace(sound, errand=replace(errand, attempts=breaks))
    await world.ticks(ACTED + timedelta(minutes=15))
    assert await node.pool.fetchval("select subject from quarantine") == OFFICE
    for service, broken in ((node.service, "ArithmeticError"), (sound, "")):
        node.service = service
        for dry in (True, False):
            assert await release(node, OFFICE, dry=dry) == (0, broken, False)
            assert await world.said() == []
    await world.ticks(ACTED + timedelta(minutes=30))
    assert await world.said() == ["notification_attempted"]


@pytest.mark.parametrize("is_over", [True, False])
async def test_of_a_case_in_quarantine_an_office_hears_at_the_tick_after_its_release(
    world: World, is_over: bool
) -> None:
    """What took the worry back was kept there: it was mailed that somebody stays away who had come."""
    node, case = world.node, str(uuid4())
    await world.hears(world.says(case, 1, DropoutRiskRaised, **RAISED))
    await node.pool.execute("insert into quarantine (subject, why) values ($1, 'Broken')", case)
    if is_over:
        await world.hears(world.says(case, 2, DropoutRiskWithdrawn, reason=RiskEnd.ATTENDED))
    await world.ticks(ACTED + timedelta(minutes=15))
    assert await world.said() == []
    assert await release(node, case) == (int(is_over), "", False)
    assert await world.said() == []
    await world.ticks(ACTED + timedelta(minutes=30))
    assert await world.said() == ["notification_attempted"] * (not is_over)


@pytest.mark.parametrize("is_over", [True, False])
async def test_of_a_case_of_which_a_fact_is_missing_an_office_hears_at_the_tick_after_it_came(
    world: World, is_over: bool
) -> None:
    """What took the worry back was here, and kept behind it: it was mailed that somebody stays away who had come."""
    case, more = str(uuid4()), {"last_missed_on": date(2026, 3, 9)}
    first = world.says(case, 1, DropoutRiskRaised, **RAISED)
    third = world.says(case, 3, DropoutRiskWithdrawn, reason=RiskEnd.ATTENDED) if is_over else world.says(
        case, 3, DropoutRiskContinued, **more)  # fmt: skip
    await world.hears(first, third)
    for minutes in (15, 30):
        await world.ticks(ACTED + timedelta(minutes=minutes))
        assert await world.said() == []
    await world.hears(world.says(case, 2, DropoutRiskContinued, **more))
    await world.ticks(ACTED + timedelta(minutes=45))
    assert await world.said() == ["notification_attempted"] * (not is_over)


@pytest.mark.parametrize(("hours", "reason"), [(2, "UNREACHABLE"), (4, "TOO_OLD")])
async def test_a_mail_that_waited_for_hours_is_not_sent_and_its_office_hears_at_the_next_tick_what_holds_then(
    world: World, hours: int, reason: str
) -> None:
    """Its process died, or a server hung; nobody listens where the mail server should be, so who asks it is told UNREACHABLE."""
    pool, told, still = world.node.pool, str(uuid4()), str(uuid4())
    await world.hears(
        world.says(told, 1, DropoutRiskRaised, **RAISED), world.says(still, 1, DropoutRiskRaised, **RAISED)
    )
    await claimed_of_a_tick(world, datetime.now(UTC) - timedelta(hours=hours))
    await world.hears(world.says(told, 2, DropoutRiskWithdrawn, reason=RiskEnd.CORRECTED))
    claimed: asyncio.Queue[Recorded] = asyncio.Queue()
    await errands.expire(world.node, claimed)  # it was claimed, and never begun
    making = asyncio.create_task(errands.run(world.node, claimed))
    try:
        async with asyncio.timeout(PATIENCE):
            while not await pool.fetchval("select done from claim"):
                await asyncio.sleep(0.05)
    finally:
        making.cancel()
    *_, result = await pool.fetch("select body::json ->> 'reason' as reason from timeline order by number")
    assert result["reason"] == reason
    await world.ticks(ACTED + timedelta(minutes=30))
    *_, body = await pool.fetch("select body::json -> 'lines' as lines from timeline order by number")
    assert [(line["kind"], line["case_id"]) for line in json.loads(body["lines"])] == [("RAISED", still)]


async def test_a_lease_taken_before_the_databases_clock_was_set_back_ends_as_any(world: World) -> None:
    """Who had claimed it died; its office heard nothing for as long as the clock had been ahead, a year where the year was wrong."""
    await world.hears(world.says(str(uuid4()), 1, DropoutRiskRaised, **RAISED))
    attempt, pool = await claimed_of_a_tick(world, datetime.now(UTC)), world.node.pool
    now = await pool.fetchval("update claim set lease_until = now() + interval '1 day' returning now()")
    claimed: asyncio.Queue[Recorded] = asyncio.Queue()
    await errands.expire(world.node, claimed)
    left = await pool.fetchval("select lease_until from claim") - now
    assert claimed.empty() and timedelta() < left < timedelta(seconds=world.node.lease_seconds + PATIENCE)
    await pool.execute("update claim set lease_until = lease_until - $1::interval", left + timedelta(seconds=1))
    await errands.expire(world.node, claimed)
    assert claimed.get_nowait().attributes.id == attempt.attributes.id


async def test_a_mail_on_its_way_is_not_called_uncertain_by_another_process(world: World) -> None:
    """Kafka was away and no minder renewed a lease, while this attempt waited behind others; it is back, the other's minder is
    the first to look, and what came of the mail was dropped."""
    await world.hears(world.says(str(uuid4()), 1, DropoutRiskRaised, **RAISED))
    attempt = await claimed_of_a_tick(world, datetime.now(UTC))
    begun, taken = asyncio.Event(), asyncio.Event()

    async def slow(of: Recorded) -> Fact:
        begun.set()
        await taken.wait()
        assert isinstance(of.fact, NotificationAttempted)
        return sent(of.fact)

    assert world.node.service.errand
    errand = replace(world.node.service.errand, perform=slow)
    one = replace(world.node, service=replace(world.node.service, errand=errand))
    mine, others = asyncio.Queue[Recorded](), asyncio.Queue[Recorded]()
    mine.put_nowait(attempt)
    making = asyncio.create_task(errands.run(one, mine))
    try:
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            await errands.expire(world.node, others)
            taken.set()
            while not await world.node.pool.fetchval("select done from claim"):
                await asyncio.sleep(0.05)
    finally:
        making.cancel()
    assert others.empty() and await world.said() == ["notification_attempted", "notification_sent"]
