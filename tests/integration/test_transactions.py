"""Whose fault an error is: what a dying Postgres makes a driver say is never the data's."""

from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from deploy.local.stack import LocalStack
from services.runtime.database import RETRY, connect
from services.runtime.node import Node
from services.runtime.work import Again, transact


async def failing(stack: LocalStack, error: Exception, *, killed: bool) -> None:
    """Raises in the middle of a transaction, whose backend is ended before by somebody else."""
    pool = await connect(stack.databases["referral"].runtime)

    async def act(con: Any, _: Again) -> None:
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


async def test_a_driver_out_of_step_is_held(prepared: LocalStack) -> None:
    said = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    with pytest.raises(RETRY):
        await failing(prepared, said, killed=False)


async def test_a_rule_that_raises_on_a_sound_connection_stays_what_it_is(prepared: LocalStack) -> None:
    with pytest.raises(AttributeError):
        await failing(prepared, AttributeError("a rule of ours"), killed=False)
