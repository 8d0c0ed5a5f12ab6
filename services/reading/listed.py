"""Lists that people read, however long: a page at a time is in memory, and the loop goes on between two. A country's report asked
for at once, or a risk for each of a million cases, was more than a service may have, made while its heartbeats waited."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import asyncpg
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.runtime.database import Table, encode

PAGE = 1_000
"""Rows: 300 KB of JSON, made in 2 ms."""


class Listed(StreamingResponse):
    """A JSON list. Whoever goes away while it is read leaves nothing open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var]  # our own generator, which can be closed
            await super().__call__(scope, receive, send)


async def listed(pool: asyncpg.Pool, table: Table, where: str, *args: Any) -> Listed:
    """Rows of a table in the order of its key; `where` counts its arguments from $1. What changes while it is read is read as it was
    or as it is, and each row once. Raises what asyncpg does as long as nothing was said."""
    return await as_json(_pages(pool, table, where, args))


async def as_json(pages: AsyncIterator[Sequence[Any]], begin: bytes = b"[", end: bytes = b"]") -> Listed:
    """Pages as one list, or as what stands between `begin` and `end`; none of them is empty. The first is asked for before anything is
    said, so that a database that is away is an answer of its own; where a later one breaks off, so does the answer: nobody takes a part
    for the whole."""
    first = await anext(pages, None) or []

    async def said() -> AsyncIterator[bytes]:
        yield begin + encode(first)[1:-1]
        async for page in pages:
            yield b"," + encode(page)[1:-1]
        yield end

    return Listed(said(), media_type="application/json")


async def _pages(pool: asyncpg.Pool, table: Table, where: str, args: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
    """A statement a page, which lasts as long as that: a cursor would hold a connection for whoever reads slowly."""
    key, after = ", ".join(table.key), list[Any]()
    while True:
        marks = ", ".join(f"${n}::{table.columns[name]}" for n, name in enumerate(table.key, len(args) + 1))
        beyond = f"and ({key}) > ({marks})" if after else ""
        page = f"select * from {table.name} where ({where}) {beyond} order by {key} limit {PAGE}"  # noqa: S608  # our own names
        rows = await pool.fetch(page, *args, *after)
        if rows:
            yield [dict(row) for row in rows]
        if len(rows) < PAGE:
            return
        after = [rows[-1][name] for name in table.key]
