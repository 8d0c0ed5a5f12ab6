"""A rebuild swaps the tables in a house that goes on: who was in the middle of something ends it, and what was noticed stays noticed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

import services.operating.rebuild
from contracts.envelope import Attributes, headers_of
from contracts.intake import NeedRecorded
from contracts.topics import facts_topic
from deploy.local.stack import LocalStack
from deploy.services import migrations
from services.host.own_logs import hold_lost, mark
from services.host.running import Running
from services.kept.answered import claim
from services.kept.taking_up import release, replay
from services.kept.waiting import KEPT, Kept
from services.operating import operate
from services.operating.beside import differences
from services.operating.rebuild import Rebuilt, rebuild
from services.runtime import clock, positions
from services.runtime.batch import apply
from services.runtime.messages import Part, moment_of
from services.runtime.outbox import KEPT_DAYS
from tests.in_hand import AROUND, in_hand
from tests.integration.conftest import node_of
from tests.integration.on_one_stack.test_dry_runs import applied, fetched, need, registered
from tests.publishing import OWNER, PATIENCE, TENANT


async def rebuilt_beside(
    node: Running, prepared: LocalStack, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[Any]]
) -> Rebuilt:
    """A rebuild, and what somebody else does while it compares, everybody held."""

    async def compared(*given: Any) -> list[str]:
        await act()
        return await differences(*given)

    monkeypatch.setattr(services.operating.rebuild, "differences", compared)
    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    return await rebuild(node.service, settings, [f for _, s in migrations("intake") for f in sorted(s.glob("*.sql"))])


@pytest.fixture
async def long_waits(prepared: LocalStack) -> AsyncIterator[Callable[[], int]]:
    """How often somebody who waited for a lock looked for a deadlock, found none, and goes on to wait: each looks once, so that who joins a
    circle after that is the one whom Postgres ends. Of whoever connects from now on."""
    con = await asyncpg.connect(prepared.admin_dsn)
    await con.execute("alter role all set log_lock_waits = on")
    yield lambda: prepared.processes["postgres"].log.read_text("utf-8", "replace").count("still waiting for")
    await con.execute("alter role all reset log_lock_waits")
    await con.close()


@pytest.mark.parametrize(("what", "facts", "left"), [("tick", 1, 2), ("replay", 2, 1), ("what has waited", 2, 1)])
async def test_who_is_held_while_a_rebuild_compares_does_not_end_it(
    long_waits: Callable[[], int], node: Running, prepared: LocalStack, monkeypatch: pytest.MonkeyPatch,
    what: str, facts: int, left: int,
) -> None:  # fmt: skip
    """It held what the swap was to take and waited for what the rebuild had, which Postgres ended as a deadlock: hours, for nothing."""
    case, ticked = str(uuid4()), datetime.now(UTC)
    at = await node.pool.fetchval("select coalesce(max(next), 0) from position")
    await applied(node, fetched(node, at, registered(), case))
    await node.pool.execute("delete from kept")
    aside, waits = (fetched(node, at + n, need(), case) for n in (1, 2))
    waits.since = ticked - timedelta(days=8)
    async with node.pool.acquire() as con:
        await claim(con, {waits.reference: waits.content}, set())
        await KEPT.write(con, [Kept(aside, "aside", [], error="KeyError").row(),
                               Kept(waits, "waiting", [str(uuid4())], claimed=True).row()])  # fmt: skip
    await node.pool.execute("update alliance set ticked = $2, acted = $2 where tenant = $1", TENANT, ticked)
    await node.pool.execute("update state set due_at = $1", ticked)
    acts: dict[str, Callable[[], Awaitable[Any]]] = {
        "tick": lambda: clock.ask(node, clock.DUE, lambda _: None, ticked, by_time=True),
        "replay": lambda: replay(node),
        "what has waited": lambda: clock._expired(node, lambda _: None),
    }
    held: list[asyncio.Future[Any]] = []

    async def begun() -> None:
        before = long_waits()
        held.append(asyncio.ensure_future(acts[what]()))
        async with asyncio.timeout(PATIENCE):
            while long_waits() == before:
                await asyncio.sleep(0.05)

    done = await rebuilt_beside(node, prepared, monkeypatch, begun)
    await held[0]
    assert (done.compared, done.differences, done.swept) == (True, [], 0)
    assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == facts
    assert await node.pool.fetchval("select count(*) from kept") == left


async def test_a_loss_that_is_noticed_while_a_rebuild_compares_is_told_afterwards(
    node: Running, prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marks were copied before it compared. By the time it ended the log had grown past them, and nobody else would tell."""
    topic = node.own_topics[0]
    part, told = Part(topic, 0), "select next, held like 'Gap%' from acked where (topic, part) = ($1, $2)"
    await applied(node, fetched(node, await node.pool.fetchval("select coalesce(max(next), 0) from position"), registered(), str(uuid4())))  # fmt: skip
    await mark(node.pool, {part: 7})

    async def noticed() -> None:
        await hold_lost(node.pool, part, 7, 3)
        await mark(node.pool, {part: 9})

    done = await rebuilt_beside(node, prepared, monkeypatch, noticed)
    assert (done.compared, done.differences) == (True, [])
    assert [tuple(row) for row in await node.pool.fetch(told, *part)] == [(9, True)]


async def test_who_brings_back_what_kafka_lost_does_not_end_a_rebuild(
    node: Running, prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had looked at the outbox and went on to the marks, which the rebuild had by then and waited for the outbox."""
    part, measure, measured = Part(node.own_topics[0], 0), operate._falls_short, asyncio.Event()
    await applied(node, fetched(node, await node.pool.fetchval("select coalesce(max(next), 0) from position"), registered(), str(uuid4())))  # fmt: skip
    await mark(node.pool, await node.reader.ends([part]))  # its log has grown past what it had lost
    await node.pool.execute("update acked set held = 'Gap:acknowledged up to 7, the log ends at 3', held_since = now()")

    async def slowly(*given: Any) -> str:
        found = await measure(*given)
        measured.set()
        while not await node.pool.fetchval("select exists (select from pg_locks where not granted)"):
            await asyncio.sleep(0.05)
        return found

    monkeypatch.setattr(operate, "_falls_short", slowly)
    brought: list[asyncio.Future[Any]] = []

    async def begun() -> None:
        brought.append(asyncio.ensure_future(operate.republish(node, datetime.now(UTC) - timedelta(days=KEPT_DAYS))))
        async with asyncio.timeout(PATIENCE):
            await measured.wait()

    done = await rebuilt_beside(node, prepared, monkeypatch, begun)
    await brought[0]
    assert (done.compared, done.differences) == (True, [])
    assert await node.pool.fetchval("select held from acked where (topic, part) = ($1, $2)", *part) is None


async def test_what_is_released_from_quarantine_while_a_rebuild_learns_is_no_difference(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been passed over, as live had, and then live took it up: the operator heard of a hand, or of another release."""
    case, topic, now = str(uuid4()), facts_topic("intake"), datetime.now(UTC)
    numbered = [(need_recorded(), case, n) for n in (1, 2)] + [(need_recorded(), str(uuid4()), 1)]
    async with node_of(prepared, "referral") as node, AIOKafkaProducer(bootstrap_servers=prepared.kafka) as producer:
        messages = []
        for fact, subject, number in numbered:
            about = Attributes(str(uuid4()), "//lotse/x", fact.ce_type, subject, now, TENANT, number, str(uuid4()), now)
            sent = await producer.send_and_wait(topic, fact.to_json(), subject.encode(), 0, headers=headers_of(about))
            messages.append(in_hand(node, topic, sent.offset, moment_of(sent.timestamp), about, fact.to_json()))
        await positions.make(node.pool, {Part(topic, 0): messages[0].offset})
        await node.pool.execute("insert into quarantine (subject, why) values ($1, 'Broken')", case)
        await apply(node, messages, {}, {}, AROUND)
        compared, released = services.operating.rebuild._compared_and_swapped, list[tuple[Any, ...]]()

        async def after_a_release(*given: Any, **more: Any) -> None:
            released.append(await release(node, case))
            await compared(*given, **more)

        monkeypatch.setattr(services.operating.rebuild, "_compared_and_swapped", after_a_release)
        settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["referral"].owner)})
        files = [file for _, folder in migrations("referral") for file in sorted(folder.glob("*.sql"))]
        done = await rebuild(node.service, settings, files)
        assert released == [(2, "", False)] and (done.compared, done.differences) == (True, [])
        heard = await node.pool.fetch("select number from heard where subject = $1", case)
        assert [row["number"] for row in heard] == [2]


def need_recorded() -> NeedRecorded:
    return NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
