"""The end of aiokafka's clients, without what their own tasks leave behind."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer


async def ended(ending: Coroutine[Any, Any, None]) -> None:
    """Waits until a client has ended. Where aiokafka cancels a task of its own that has not begun, or that rests after a connection
    was lost, the client's end raises CancelledError, as if whoever waits had been told to end: a service ended by it. And whoever is
    told to end meanwhile goes at once, while the client goes on ending: its end swallows that (a rebuild hung on it)."""
    task = asyncio.ensure_future(ending)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def closed(consumer: AIOKafkaConsumer) -> None:
    """Ends a consumer, and also what its end leaves where it breaks off: its fetching, its connections."""
    await ended(consumer.stop())
    if consumer._fetcher is not None:  # it has started
        await ended(consumer._fetcher.close())
    await ended(consumer._client.close())
