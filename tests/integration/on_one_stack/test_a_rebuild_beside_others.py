"""A rebuild swaps the tables in a house that goes on: who was in the middle of something ends it, and what was noticed stays noticed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

import services.operating.rebuild
from deploy.local.stack import LocalStack
from deploy.services import migrations
from services.host.own_logs import hold_lost, mark
from services.host.running import Running
from services.kept.answered import claim
from services.kept.taking_up import replay
from services.kept.waiting import KEPT, Kept
from services.operating.beside import differences
from services.operating.rebuild import Rebuilt, rebuild
from services.runtime import clock
from services.runtime.messages import Part
from tests.integration.on_one_stack.test_dry_runs import applied, fetched, need, registered
from tests.publishing import TENANT


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


@pytest.mark.parametrize(("what", "facts", "left"), [("tick", 1, 2), ("replay", 2, 1), ("what has waited", 2, 1)])
async def test_who_is_held_while_a_rebuild_compares_does_not_end_it(
    node: Running, prepared: LocalStack, monkeypatch: pytest.MonkeyPatch, what: str, facts: int, left: int
) -> None:
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
        held.append(asyncio.ensure_future(acts[what]()))
        async with asyncio.timeout(5):
            while not await node.pool.fetchval("select exists (select from pg_locks where not granted)"):
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)  # who waits looks for a deadlock once, after a second

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
