"""Lists that people read are read a page at a time: whoever asks for all there is neither fills a service's memory nor holds it up."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from services.intake.api import routes
from services.reading import listed
from services.runtime.database import connect
from tests.publishing import PATIENCE

MORE_THAN_A_SOCKET_HOLDS = 120_000
"""Rows of 230 bytes: 27 MB, where the kernel keeps ten at most between two who do not read."""
MADE = "insert into case_list select 'case ' || n, case n % 2 when 0 then 'rkn' else 'moe' end, '05162024', 'GK', 'thm', null, null, 0, 0, 0 from generate_series(1, $1::int) n"


@pytest.fixture
async def pool(prepared: LocalStack) -> AsyncIterator[asyncpg.Pool]:
    """One connection alone: who holds it has it."""
    pool = await connect(prepared.databases["intake"].runtime, size=1)
    await pool.execute("delete from case_list")
    yield pool
    await pool.execute("delete from case_list; delete from timeline where subject = 'case 1'")
    pool.terminate()


@asynccontextmanager
async def served(pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    """What intake shows, by HTTP."""
    app, port = FastAPI(), free_port()
    app.include_router(routes(pool))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:
            await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    server.should_exit = True
    await serving


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 6, 7])
async def test_a_list_is_one_however_many_pages_it_has(
    rows: int, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "PAGE", 3)
    await pool.execute(MADE, rows)
    async with served(pool) as client:
        for query, which in ({}, range(1, rows + 1)), ({"tenant": "rkn"}, range(2, rows + 1, 2)):
            answer = await client.get("/cases", params=query)
            assert answer.headers["content-type"] == "application/json"
            assert [row["case_id"] for row in answer.json()] == sorted(f"case {n}" for n in which)
        assert {len(row) for row in answer.json()} <= {10}


async def test_who_reads_slowly_keeps_nobody_else_from_reading(pool: asyncpg.Pool) -> None:
    await pool.execute(MADE, MORE_THAN_A_SOCKET_HOLDS)
    async with served(pool) as client, client.stream("GET", "/cases") as slow:
        chunks = slow.aiter_bytes()
        assert await anext(chunks)
        assert (await client.get("/cases/case 7")).json()["case"]["tenant"] == "moe"
        assert sum([chunk.count(b"}") async for chunk in chunks]) > MORE_THAN_A_SOCKET_HOLDS / 2


async def test_of_all_there_is_a_page_at_a_time_is_in_memory(pool: asyncpg.Pool) -> None:
    """All of them at once are 170 MiB, made while nothing else goes on."""
    await pool.execute(MADE, MORE_THAN_A_SOCKET_HOLDS)
    async with served(pool) as client:
        tracemalloc.start()
        async with client.stream("GET", "/cases") as answer:
            found = sum([chunk.count(b"}") async for chunk in answer.aiter_bytes()])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found == MORE_THAN_A_SOCKET_HOLDS and most < 8 * 2**20


async def told_often(pool: asyncpg.Pool, facts: int) -> None:
    """Facts of one case in two families, recorded in turn: of every three moments two are the first family's."""
    await pool.execute(
        "insert into timeline select case n % 3 when 0 then 'b' else 'a' end, 'case 1', case n % 3 when 0 then n / 3 else n - n / 3 end,"
        " 'fact ' || n, 't', now(), '2026-03-02'::timestamptz + make_interval(secs => n), null, '{\"n\": ' || n || '}'"
        " from generate_series(1, $1::int) n", facts)  # fmt: skip


@pytest.mark.parametrize("facts", [0, 1, 3, 4, 6, 9, 10])
async def test_a_timeline_is_one_however_many_pages_it_has(
    facts: int, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "PAGE", 3)
    await pool.execute(MADE, 1)
    await told_often(pool, facts)
    async with served(pool) as client:
        answer = await client.get("/cases/case 1")
    assert answer.headers["content-type"] == "application/json" and answer.json()["case"]["case_id"] == "case 1"
    assert [fact["body"]["n"] for fact in answer.json()["timeline"]] == [*range(1, facts + 1)]


async def test_of_a_case_that_was_told_of_without_end_a_page_at_a_time_is_in_memory(pool: asyncpg.Pool) -> None:
    """A meeting may be corrected as often as its provider likes: software that does it each minute would fill the service's memory,
    and hold up its heartbeats, whenever somebody looks at the case."""
    await pool.execute(MADE, 1)
    await told_often(pool, 60_000)
    async with served(pool) as client:
        tracemalloc.start()
        async with client.stream("GET", "/cases/case 1") as answer:
            found = sum([chunk.count(b"fact_id") async for chunk in answer.aiter_bytes()])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found >= 59_000 and most < 8 * 2**20


async def test_a_list_that_breaks_off_is_no_list(pool: asyncpg.Pool, prepared: LocalStack) -> None:
    """Half of all cases taken for all of them would be a wrong figure."""
    await pool.execute(MADE, MORE_THAN_A_SOCKET_HOLDS)
    owner = await asyncpg.connect(
        prepared.databases["intake"].owner, server_settings={"search_path": "lotse", "lock_timeout": "30s"}
    )
    try:
        async with served(pool) as client, client.stream("GET", "/cases") as slow:
            chunks = slow.aiter_bytes()
            assert await anext(chunks)
            await owner.execute("alter table case_list rename to gone")
            with pytest.raises(httpx.RemoteProtocolError):
                [chunk async for chunk in chunks]
    finally:
        await owner.execute("alter table if exists gone rename to case_list")
        await owner.close()


async def test_who_goes_away_leaves_nothing_open(pool: asyncpg.Pool) -> None:
    await pool.execute(MADE, MORE_THAN_A_SOCKET_HOLDS)
    async with served(pool) as client:
        for _ in range(3):
            async with client.stream("GET", "/cases") as left:
                assert await anext(left.aiter_bytes())
        assert (await client.get("/cases/case 7")).status_code == 200
    assert pool.get_idle_size() == pool.get_size() == 1
