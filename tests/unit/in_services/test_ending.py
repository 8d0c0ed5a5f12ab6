"""What runs until it is told to end."""

import asyncio
import contextlib
import os
import signal

import pytest

from services.process import ending
from services.process.ending import until_told


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_wherever_it_stands_and_in_order(sign: signal.Signals) -> None:
    done = []

    async def stands() -> None:
        os.kill(os.getpid(), sign)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("in order")

    await until_told(stands())
    assert done == ["in order"]


async def test_what_ended_it_by_itself_is_raised() -> None:
    async def breaks() -> None:
        await asyncio.sleep(0)
        raise OSError

    with pytest.raises(OSError):
        await until_told(breaks())


async def test_what_waits_for_something_else_once_it_was_told_is_told_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a database that has fallen silent asyncpg waits a minute while it gives a connection back."""
    monkeypatch.setattr(ending, "LONGEST", 0.1)
    told = []

    async def passes_over() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        for time in ("once", "twice"):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            told.append(time)

    async with asyncio.timeout(30):
        await until_told(passes_over())
    assert told == ["once", "twice"]


async def test_nobody_waits_longer_for_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes would kill it, and all that ends in order beside it."""
    monkeypatch.setattr(ending, "LONGEST", 0.1)
    monkeypatch.setattr(ending, "LAST", 0.1)
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def passes_over() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        has_ended.set()

    async with asyncio.timeout(30):
        await until_told(passes_over())
        assert not has_ended.is_set()
        may_end.set()
        await has_ended.wait()
