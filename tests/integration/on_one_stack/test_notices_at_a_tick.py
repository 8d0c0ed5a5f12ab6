"""An office is told at a tick and at no other moment, of what it had heard by then; and no message makes it miss one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from contracts.codes import RiskEnd, Rule
from contracts.dropout import DropoutFact, DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import Attributes, Fact, Recorded
from contracts.notification import NoticeLine, NotificationAttempted, NotificationWithdrawn
from contracts.topics import facts_topic
from deploy.local.stack import LocalStack
from deploy.services import migrate, migrations
from services.host.running import Running
from services.kept import errands
from services.kept.taking_up import release
from services.notification.domain import LOTSE, Office, due, evolve, failed, sent, uncertain
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


async def test_what_was_over_before_the_list_said_so_stands_on_it_from_the_next_tick(
    world: World, prepared: LocalStack
) -> None:
    """Of an office whose mailbox was taken out, which no message concerns: nobody would ask it."""
    case, node, office = str(UUID(int=7)), world.node, Office(OFFICE, TENANT)
    line = NoticeLine(kind="WITHDRAWN", case_id=case, about=case, rule=Rule.S2, first_on=date(2026, 3, 6))
    evolve(office, NotificationWithdrawn(by=LOTSE, line=line), "")
    add = "insert into state (kind, id, tenant, shape, body, known, last) values ('office', $1, $2, 5, $3, '{}', '{}')"
    await node.pool.execute(add, OFFICE, TENANT, encode(office).decode())
    table, folder = next(
        (table, folder) for table, folder in migrations("notification") if folder.parent.name == "notification"
    )
    (file,) = folder.glob("0005_*.sql")
    con = await asyncpg.connect(prepared.databases["notification"].owner, server_settings={"search_path": "lotse"})
    try:
        await con.execute(file.read_text().partition("-- migrate:down")[2])
        assert await con.execute(f"delete from {table} where version = '0005'") == "DELETE 1"  # noqa: S608
        assert "0005" in migrate("notification", prepared.databases["notification"].owner)
    finally:
        await con.close()
    errand = node.service.errand
    assert errand
    errand = replace(errand, attempts=lambda *_: [])
    node.service = replace(node.service, errand=errand, due=partial(due, mailboxes={}))
    await world.ticks(ACTED + timedelta(minutes=15))
    rows = await node.pool.fetch("select case_id, told, taken_back, as_of, evidence_on from notice_list")
    assert [tuple(row) for row in rows] == [(case, True, True, None, None)]


async def test_what_was_said_to_be_over_before_states_said_so_is_what_a_rebuild_makes_of_it(
    prepared: LocalStack,
) -> None:
    """Of each: told and over, told and over and told again, over by a mail that failed, and over long ago."""
    office, facts = Office(OFFICE, TENANT), list[Fact]()

    def mailed(at: datetime, result: Callable[[NotificationAttempted], Fact], **cases: str) -> None:
        lines = tuple(NoticeLine(kind=kind, case_id=str(UUID(int=ord(case))), about=str(UUID(int=1)), rule=Rule.S2, first_on=at.date())
                      for case, kind in cases.items())  # fmt: skip
        attempt = NotificationAttempted(by=LOTSE, attempt_id=str(uuid4()), lines=lines, as_of=at)
        for fact in (attempt, result(attempt)):
            evolve(office, fact, "")
            facts.append(fact)

    told, over = "RAISED", "WITHDRAWN"
    mailed(ACTED - timedelta(weeks=9), sent, d=over)
    mailed(ACTED - timedelta(days=2), sent, a=told, b=told, c=told)
    mailed(ACTED - timedelta(days=1), uncertain, a=over, b=over)
    mailed(ACTED - timedelta(hours=1), lambda attempt: failed(attempt, "UNREACHABLE"), c=over)
    mailed(ACTED, sent, b=told)
    known = json.loads(encode(office))
    assert [what[:36] for what in known["notification"].pop("said_over")] == [str(UUID(int=ord("a")))]
    body = (await migrated(prepared, "0003", 4, json.dumps(known), facts))[1]
    assert encode(msgspec.json.decode(body, type=Office)) == encode(office)


async def test_why_an_office_was_told_that_something_is_over_is_what_a_rebuild_makes_of_it(
    prepared: LocalStack,
) -> None:
    """Of each: over, over and told again, over by a mail that failed or for a reason nobody knew, another reason, and long ago."""
    office, facts = Office(OFFICE, TENANT), list[Fact]()

    def mailed(at: datetime, result: Callable[[NotificationAttempted], Fact], **cases: str) -> None:
        lines = tuple(NoticeLine(kind="RAISED" if why == "holds" else "WITHDRAWN", case_id=str(UUID(int=ord(case))), about=str(UUID(int=1)),
                                 rule=Rule.S2, first_on=ACTED.date(), reason=RiskEnd(why) if why.isupper() else None)
                      for case, why in cases.items())  # fmt: skip
        attempt = NotificationAttempted(by=LOTSE, attempt_id=str(uuid4()), lines=lines, as_of=at)
        for fact in (attempt, result(attempt)):
            evolve(office, fact, "")
            facts.append(fact)

    mailed(ACTED - timedelta(weeks=9), sent, a="ENDED")
    mailed(ACTED - timedelta(days=3), sent, b="ENDED", c="ENDED", f="holds")
    mailed(ACTED - timedelta(days=2), uncertain, d="unknown", e="ATTENDED", c="holds")
    mailed(ACTED - timedelta(days=1), lambda attempt: failed(attempt, "UNREACHABLE"), f="ENDED", b="ATTENDED")
    mailed(ACTED, sent, e="CORRECTED")
    mailed(ACTED + timedelta(days=1), lambda attempt: failed(attempt, "SMTP_550"), e="ENDED")
    known = encode(office).decode()
    assert [key[35] for key in office.notification.said_why] == list("245")
    before = json.loads(known)
    del before["notification"]["said_why"]
    earlier = json.dumps(before, separators=(",", ":"))
    assert await migrated(prepared, "0006", 6, earlier, facts) == (7, known, True)


async def test_another_reason_of_a_mail_that_failed_waits_as_a_rebuild_makes_of_it(prepared: LocalStack) -> None:
    """Shape 7 did not keep it: until referral said yet another reason, a rebuild differed. Of each: known and another by a mail that
    failed; the same, sent since; the same, told again since; over by a mail that failed alone; told and withdrawn."""
    office, facts = Office(OFFICE, TENANT), list[Fact]()

    def line(case: str, why: str) -> NoticeLine:
        kind, reason = ("RAISED", None) if why == "holds" else ("WITHDRAWN", RiskEnd(why))
        return NoticeLine(kind=kind, case_id=str(UUID(int=ord(case))), about=str(UUID(int=1)), rule=Rule.S2, first_on=ACTED.date(),
                          reason=reason)  # fmt: skip

    def says(fact: Fact) -> None:
        evolve(office, fact, "")
        facts.append(fact)

    def mailed(result: Callable[[NotificationAttempted], Fact], **cases: str) -> None:
        lines = tuple(line(case, why) for case, why in cases.items())
        says(NotificationAttempted(by=LOTSE, attempt_id=str(uuid4()), lines=lines, as_of=ACTED))
        says(result(facts[-1]))  # type: ignore[arg-type]

    mailed(sent, a="ENDED", b="ENDED", c="ENDED", e="holds")
    mailed(lambda attempt: failed(attempt, "SMTP_550"), a="ATTENDED", b="ATTENDED", c="ATTENDED", d="CORRECTED")
    mailed(uncertain, b="ATTENDED", c="holds")
    says(NotificationWithdrawn(by=LOTSE, line=line("e", "CORRECTED")))
    known = encode(office).decode()
    waits = json.loads(known)["notification"]["taken_back"]
    assert [key[35] for key in waits] == list("145")  # a, d and e
    earlier = json.loads(known)
    earlier["notification"]["taken_back"] = {key: line for key, line in waits.items() if key[35] != "1"}
    text = json.dumps(earlier, separators=(",", ":"))
    assert await migrated(prepared, "0007", 7, text, facts) == (Office.shape, known, True)


async def test_what_an_earlier_version_takes_back_while_offices_are_migrated_waits_too(prepared: LocalStack) -> None:
    office = Office(OFFICE, TENANT)
    line = {"kind": "WITHDRAWN", "about": str(UUID(int=1)), "rule": "S2", "first_on": ACTED.date(), "reason": "ENDED"}
    one, other = (NoticeLine.model_validate({**line, "case_id": str(UUID(int=n))}) for n in (1, 2))
    attempt = NotificationAttempted(by=LOTSE, attempt_id=str(uuid4()), lines=(one,), as_of=ACTED)
    facts = [attempt, failed(attempt, "SMTP_550")]
    con = await asyncpg.connect(prepared.databases["notification"].owner, server_settings={"search_path": "lotse"})
    earlier = con.transaction()

    async def takes_back() -> None:
        """The earlier version's transaction, which ends once the migration waits for it."""
        await earlier.start()
        evolve(office, NotificationWithdrawn(by=LOTSE, line=other), "")
        await con.execute("update state set body = $1", encode(office).decode())

    async def ends() -> None:
        waits = "select from pg_locks where not granted and pid <> pg_backend_pid()"
        while not await con.fetch(waits):
            await asyncio.sleep(0.02)
        await earlier.commit()

    try:
        async with asyncio.timeout(PATIENCE):
            _, body, _ = await migrated(
                prepared, "0007", 7, encode(office).decode(), facts, before=takes_back, beside=ends
            )
    finally:
        await con.close()
    keys = [*json.loads(body)["notification"]["taken_back"]]
    assert [key[35] for key in keys] == ["1", "2"]


async def test_whose_reasons_may_have_been_forgotten_is_asked_at_the_next_tick_and_by_no_earlier_version(
    prepared: LocalStack,
) -> None:
    known = encode(Office(OFFICE, TENANT)).decode()
    assert await migrated(prepared, "0007", 7, known, []) == (Office.shape, known, True)


async def migrated(
    prepared: LocalStack, version: str, shape: int, state: str, facts: list[Fact], *,
    before: Callable[[], Awaitable[None]] | None = None, beside: Callable[[], Awaitable[None]] | None = None,
) -> tuple[int, str, bool | None]:  # fmt: skip
    """An office's state as an earlier version wrote it, after a migration that has these facts in the timeline: its shape, itself, and
    whether it is asked at the next tick. What goes on meanwhile: `before` it begins, and `beside` it."""
    con = await asyncpg.connect(prepared.databases["notification"].owner, server_settings={"search_path": "lotse"})
    try:
        await con.execute("delete from timeline; delete from state")
        add = "insert into state (kind, id, tenant, shape, body, known, last) values ('office', $1, $2, $3, $4, '{}', '{}')"
        await con.execute(add, OFFICE, TENANT, shape, state)
        note = "insert into timeline values ('notification', $1, $2, $3, $4, $5, $5, null, $6)"
        for number, fact in enumerate(facts):
            await con.execute(note, OFFICE, number, str(number), fact.ce_type, ACTED, fact.to_json().decode())
        table = next(table for table, folder in migrations("notification") if folder.parent.name == "notification")
        assert await con.execute(f"delete from {table} where version = $1", version) == "DELETE 1"  # noqa: S608  # ours
        if before:
            await before()
        done = asyncio.create_task(asyncio.to_thread(migrate, "notification", prepared.databases["notification"].owner))
        if beside:
            await beside()
        assert version in await done
        (row,) = await con.fetch("select shape, body, due_at <= now() from state where id = $1", OFFICE)
        return tuple(row)
    finally:
        await con.execute("delete from timeline; delete from state")
        await con.close()
