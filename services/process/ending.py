"""How what runs until it is told to end does so, whatever it waits for: processes of ours, and Kafka's clients in them."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer

LONGEST = 22.0
"""Seconds until whoever was told to end is told once more, and has LAST to go: Kubernetes kills after thirty. Told once, who waits
for a database that has fallen silent is kept by asyncpg for a minute more."""
LAST = 5.0
"""Seconds a client has to end. Of a broker that has fallen silent a member of a group takes leave for forty, and an idempotent
producer waits for ever until it has taken what was sent."""


async def until_told(doing: Coroutine[Any, Any, None]) -> None:
    """Does it until SIGTERM or SIGINT, which ends it wherever it stands. Raises what ended it by itself. What passes over being told
    twice is left behind."""
    told, task = asyncio.Event(), asyncio.ensure_future(doing)
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, told.set)
    telling = asyncio.create_task(told.wait())
    await asyncio.wait([telling, task], return_when=asyncio.FIRST_COMPLETED)
    if told.is_set():
        for patience in (LONGEST, LAST):
            task.cancel()
            await asyncio.wait([task], timeout=patience)
    else:
        telling.cancel()
        task.result()


async def ended(ending: Coroutine[Any, Any, None], within: float | None = None) -> None:
    """Waits until a client has ended, no longer than so many seconds (LAST): it goes on ending for as long as this process is there.
    Where aiokafka cancels a task of its own that has not begun, or that rests after a connection was lost, the client's end raises
    CancelledError, as if whoever waits had been told to end: a service ended by it. And whoever is told to end meanwhile goes at
    once: the client's end swallows that (a rebuild hung on it)."""
    task = asyncio.ensure_future(ending)
    await asyncio.wait([task], timeout=LAST if within is None else within)
    if task.done() and not task.cancelled():
        task.result()


async def closed(consumer: AIOKafkaConsumer) -> None:
    """Ends a consumer, and also what its end leaves where it breaks off: its fetching, its connections."""

    async def whole() -> None:
        await ended(consumer.stop())
        if consumer._fetcher is not None:  # it has started
            await ended(consumer._fetcher.close())
        await ended(consumer._client.close())

    await ended(whole())
