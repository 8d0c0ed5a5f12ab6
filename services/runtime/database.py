"""Postgres: pools with limits, tables written set-based, the codec of states."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import asyncpg
import msgspec

Rows = dict[str, list[tuple[Any, ...]]]
"""Table name to rows, each in the column order of its Table."""

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

RETRY: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # the database is not there, as while a copy is brought back in its place
    asyncpg.PostgresSystemError,  # its disk: a file that can't be read or written
    asyncpg.InternalServerError,  # the same, as a quota or a damaged page shows itself
    asyncpg.SyntaxOrAccessError,  # a right is gone, or a rebuild swaps the schema between two statements
    asyncpg.InvalidCachedStatementError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when the server is killed between two of its messages
    asyncpg.UniqueViolationError,  # two workers made the same row: the loser comes again and finds it
    OSError,
    TimeoutError,
)
"""The infrastructure's fault, not the message's: held and tried again, never set aside."""

encode = msgspec.json.Encoder(order="deterministic").encode
pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.decode


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Rows turned into columns, as `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)]


@dataclass(frozen=True)
class Table:
    """A table upserted by key, all columns at once, so that writing twice changes nothing."""

    name: str
    key: tuple[str, ...]
    columns: dict[str, str]
    """Column to Postgres type."""
    owner: str | None = None
    """A column with the state's id: rows of a state that its view no longer names go."""

    @cached_property
    def upsert(self) -> str:
        """One statement for any number of rows, one array a column."""
        names = ", ".join(self.columns)
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(self.columns.values(), 1))
        sets = ", ".join(f"{name} = excluded.{name}" for name in self.columns if name not in self.key)
        action = f"do update set {sets}" if sets else "do nothing"
        return f"insert into {self.name} ({names}) select * from unnest({arrays}) on conflict ({', '.join(self.key)}) {action}"  # noqa: S608

    async def write(self, con: Connection, rows: Iterable[Sequence[Any]], owners: Sequence[str] = ()) -> None:
        """Upserts; of several rows with one key the last wins. Sorted by key, so that two writers never deadlock."""
        if self.owner and owners:
            await con.execute(f"delete from {self.name} where {self.owner} = any($1)", sorted(owners))  # noqa: S608
        at = [list(self.columns).index(name) for name in self.key]
        latest = {tuple([row[n] for n in at]): row for row in rows}
        if latest:
            await con.execute(self.upsert, *columns(latest[key] for key in sorted(latest)))


async def connect(dsn: str, *, schema: str = "lotse", size: int = 6) -> asyncpg.Pool:
    """A pool on a service's database. A frozen worker must not block the others for ever, hence the limits."""

    async def reset(_: Any) -> None:
        """Nothing is left behind by our transactions; saves a round trip a batch."""

    limits = {"idle_in_transaction_session_timeout": "10s", "lock_timeout": "8s", "statement_timeout": "60s"}
    more = {"search_path": schema, "application_name": "lotse", "timezone": "UTC", "jit": "off"}
    return await asyncpg.create_pool(
        dsn, min_size=1, max_size=size, timeout=10, command_timeout=60, reset=reset, server_settings=limits | more
    )
