"""Who leads holds a lock for as long as its session lives. A leader that is frozen keeps its connection, and would keep everybody
else waiting for as long as it is frozen: of one that says nothing Postgres ends the session, and another leads."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import asyncpg

LEASE = 20.0  # seconds; as long as Kafka waits for a member that says nothing
T = TypeVar("T")


async def session(dsn: str, name: str) -> asyncpg.Connection:
    """A session for such a lock; Postgres ends it where nothing is asked over it for LEASE. Raises what asyncpg raises."""
    said = {"search_path": "lotse", "application_name": name, "idle_session_timeout": f"{LEASE:.0f}s"}
    return await asyncpg.connect(dsn, timeout=10, command_timeout=60, server_settings=said)


async def alive(lock: asyncpg.Connection, doing: Awaitable[T]) -> T:
    """Waits for what does not use the session, and asks something over it meanwhile. Raises what either raises; whatever ends
    the waiting ends what was waited for, too."""
    task = asyncio.ensure_future(doing)
    try:
        while not (await asyncio.wait([task], timeout=LEASE / 4))[0]:
            await lock.execute("select")
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
