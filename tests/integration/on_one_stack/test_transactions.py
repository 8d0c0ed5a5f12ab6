"""A service on its database: whose fault an error is (what a dying Postgres makes a driver say is never the data's), and rules that
take long."""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest

from contracts.envelope import Attributes, By, Fact, Submission
from contracts.intake import NeedReported, RegistrationSubmitted
from contracts.topics import submissions_topic
from deploy.local.stack import LocalStack
from services.host.running import Running
from services.runtime import clock, positions
from services.runtime.batch import apply
from services.runtime.database import RETRY, connect, unpack
from services.runtime.messages import Message, Part
from services.runtime.node import Node
from services.runtime.work import BeginAgain, Work, transact
from tests.in_hand import AROUND, in_hand
from tests.publishing import NAME, PATIENCE, SOURCE, TENANT


async def failing(stack: LocalStack, error: Exception, *, killed: bool) -> None:
    """Raises in the middle of a transaction, whose backend is ended before by somebody else."""
    pool = await connect(stack.databases["referral"].runtime)

    async def act(con: Any, _: BeginAgain) -> None:
        if killed:
            other = await asyncpg.connect(stack.databases["referral"].runtime)
            await other.execute("select pg_terminate_backend($1)", con.get_server_pid())
            await other.close()
            with pytest.raises(RETRY):
                await con.execute("select 1")
        raise error

    try:
        await transact(cast("Node", SimpleNamespace(pool=pool)), act)
    finally:
        pool.terminate()


async def test_an_error_on_a_dead_connection_is_held_and_never_blamed_on_a_submission(prepared: LocalStack) -> None:
    with pytest.raises(RETRY):  # the driver's own state machine, met by it between two messages of a server that dies
        await failing(prepared, AttributeError("'NoneType' object has no attribute 'write'"), killed=True)


async def test_a_database_that_is_not_there_is_held(prepared: LocalStack) -> None:
    """Dropped and brought back under a service that runs: what was in hand would be set aside as soon as it is there again."""
    with pytest.raises(RETRY):
        await asyncpg.connect(f"{prepared.databases['referral'].runtime}_gone")


async def test_a_driver_out_of_step_is_held(prepared: LocalStack) -> None:
    said = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    with pytest.raises(RETRY):
        await failing(prepared, said, killed=False)


async def test_a_rule_that_raises_on_a_sound_connection_stays_what_it_is(prepared: LocalStack) -> None:
    with pytest.raises(AttributeError):
        await failing(prepared, AttributeError("a rule of ours"), killed=False)


ORGANISATION = By(organisation_id="rkn-thm")
CAME = datetime.now(UTC)


def fetched(node: Running, offset: int, submission: Submission, case: str) -> Message:
    """A record as the loop has it in hand."""
    said = Attributes(str(uuid4()), SOURCE, submission.ce_type, case, CAME, TENANT)
    return in_hand(node, submissions_topic(submission.family, NAME), offset, CAME, said, submission.to_json())


@pytest.mark.parametrize("woken", [False, True])
async def test_rules_that_take_longer_than_postgres_bears_silence_end(
    node: Running, prepared: LocalStack, woken: bool
) -> None:
    """Of one fetch, or of what wakes at once. Else the session ends with the rules unfinished, and the same is begun again."""

    def slow(_: object, __: object) -> list[Fact]:
        time.sleep(0.5)
        return []

    case, part = str(uuid4()), Part(submissions_topic("intake", NAME), 0)
    registered = RegistrationSubmitted(
        by=ORGANISATION, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
    )
    needs = [NeedReported(by=ORGANISATION, need_id=str(uuid4()), need_type="WORK") for _ in range(16)]
    said = [*needs, registered] if woken else [registered, *needs]
    messages = [fetched(node, n, one, case) for n, one in enumerate(said)]
    limits = {"search_path": "lotse", "idle_in_transaction_session_timeout": "6s"}
    node.service = replace(node.service, react=slow)
    async with asyncpg.create_pool(
        prepared.databases["intake"].runtime, min_size=1, max_size=1, server_settings=limits
    ) as node.pool:
        await node.pool.execute("delete from position; delete from kept; delete from outbox")
        await node.pool.execute("insert into alliance (tenant, ticked) values ($1, now()) on conflict (tenant) do"
                                " update set ticked = now()", TENANT)  # fmt: skip
        await positions.make(node.pool, {part: 0})
        began = time.monotonic()
        for some in (messages[:16], messages[16:]):
            await apply(node, some, {}, {}, AROUND)
        assert time.monotonic() - began > 8
        assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 17
        assert await node.pool.fetchval("select next from position") == 17


async def test_a_case_that_another_worker_makes_meanwhile_is_met_and_not_made_twice(
    node: Running, prepared: LocalStack
) -> None:
    """Both name a case that nobody knows: one waits for the other's row, and judges by what that one has recorded."""
    registered = RegistrationSubmitted(
        by=ORGANISATION, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
    )
    case, part = str(uuid4()), Part(submissions_topic("intake", NAME), 0)
    second, first = (fetched(node, n, registered, case) for n in range(2))
    async with asyncpg.create_pool(
        prepared.databases["intake"].runtime, min_size=2, max_size=2, server_settings={"search_path": "lotse"}
    ) as node.pool:
        await node.pool.execute("delete from position; delete from outbox")
        await node.pool.execute("insert into alliance (tenant) values ($1) on conflict do nothing", TENANT)
        await positions.make(node.pool, {part: 0})
        async with node.pool.acquire() as con:
            ours = con.transaction()
            await ours.start()
            work = Work(node, con)
            await work.open([first])
            for message in await work.claim([first]):
                await work.judge(message)
            await work.save()
            theirs = asyncio.create_task(apply(node, [second], {}, {}, AROUND))
            async with asyncio.timeout(PATIENCE):
                while not await con.fetchval("select exists (select from pg_locks where not granted)"):
                    assert not theirs.done()
                    await asyncio.sleep(0.02)
            await ours.commit()
        await theirs
        rows = await node.pool.fetch("select records from outbox where after order by id")
        said = [json.loads(value) for row in rows for _, value, _ in unpack(row["records"])]
        assert [answer["outcome"] for answer in said] == ["recorded", "unchanged"]
        assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 1
        await node.pool.execute("delete from state where id = $1", case)


async def test_a_tick_gets_its_turn_beside_workers_that_never_rest(node: Running, prepared: LocalStack) -> None:
    """Postgres lets who shares a row pass by who waits to change it: with five such, time stood still."""
    busy = await connect(prepared.databases["intake"].runtime, size=6)
    others, stop = replace(node, pool=busy), asyncio.Event()

    async def works() -> None:
        while not stop.is_set():
            async with busy.acquire() as con, con.transaction():
                await Work(others, con).open([], tenants={TENANT, "other"})
                await asyncio.sleep(random.uniform(0.05, 0.15))  # noqa: S311

    await node.pool.execute("delete from tick; delete from position; update alliance set ticked = null, acted = null")
    working = [asyncio.create_task(works()) for _ in range(6)]
    try:
        await asyncio.sleep(0.5)
        at = datetime(2026, 3, 4, 7, tzinfo=UTC)
        async with asyncio.timeout(PATIENCE):
            for n in range(5):
                await node.pool.execute(
                    "insert into tick (id, at, ends) values ($1, $2, '[]')", f"tick {n}", at + timedelta(hours=n)
                )
                await clock.act(node, lambda _: None)
        acted = await node.pool.fetchval("select acted from alliance where tenant = $1", TENANT)
        assert acted == at + timedelta(hours=4)
    finally:
        stop.set()
        await asyncio.gather(*working)
        await busy.close()


async def test_who_learns_beside_waits_for_no_tick(node: Running) -> None:
    """That tick waits for the rebuild's own lock of the alliances: both would wait until one is cancelled."""
    async with node.pool.acquire() as tick, tick.transaction():
        await tick.execute(clock.TURN)
        for learning, expected in (
            (True, contextlib.nullcontext()),
            (False, pytest.raises(asyncpg.LockNotAvailableError)),
        ):
            async with node.pool.acquire() as con:
                await con.execute("set lock_timeout = '300ms'")
                with expected:
                    async with con.transaction():
                        await Work(node, con, learning=learning).open([], tenants={TENANT})


async def test_a_tick_with_nothing_to_do_reads_no_state(prepared: LocalStack) -> None:
    """Postgres took a third of all states for due, and went through all of them at each tick."""
    con = await asyncpg.connect(prepared.databases["intake"].owner, server_settings={"search_path": "lotse"})
    with contextlib.ExitStack() as held:
        held.callback(con.terminate)
        ours = con.transaction()
        await ours.start()
        await con.execute("insert into state (kind, id, tenant, shape, body, known, last, due_at) select 'case', 'due-' || n, 'rkn', 1,"
                          " '{}', '{}', '{}', now() + make_interval(days => n) from generate_series(1, 20000) n")  # fmt: skip
        await con.execute("insert into alliance (tenant, ticked) values ('rkn', now()) on conflict do nothing")
        await con.execute("analyze state")
        plan = "".join(
            row[0] for row in await con.fetch(f"explain analyze {clock.DUE} limit 500".replace("$1", "now()"))
        )
        assert "Index Scan using state_due" in plan and "Rows Removed" not in plan, plan
        await ours.rollback()


async def test_what_came_before_the_first_tick_bears_a_message_between_its_begin_and_its_turn(node: Running) -> None:
    """asyncpg reads the first moment of all, when such a state is due, as one without a zone: compared with a tick it broke each
    message of a new alliance that came in that second."""
    case, part = str(uuid4()), Part(submissions_topic("intake", NAME), 0)
    registered = RegistrationSubmitted(
        by=ORGANISATION, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
    )
    need = NeedReported(by=ORGANISATION, need_id=str(uuid4()), need_type="WORK")
    await node.pool.execute(
        "delete from position; delete from kept; delete from quarantine; delete from alliance; delete from tick"
    )
    await positions.make(node.pool, {part: 0})
    await apply(node, [fetched(node, 0, registered, case)], {}, {}, AROUND)
    assert await node.pool.fetchval("select due_at < '0001-01-02' from state where id = $1", case)
    await node.pool.execute("update alliance set ticked = now(), tick_id = 'one'")
    await apply(node, [fetched(node, 1, need, case)], {}, {}, AROUND)
    assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 2
    assert await node.pool.fetchval("select count(*) from kept") == 0
