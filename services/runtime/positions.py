"""Progress: one row a partition, locked first, moved in the transaction of its effect. This is the whole fence."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.runtime.database import Connection, columns
from services.runtime.messages import Part

NO_GAP = "coalesce(held, '') not like 'Gap%'"
NOWHERE = -1


def is_gap(held: str | None) -> bool:
    """Whether a row is held at a gap, and not for anything that may pass: only an operator ends that."""
    return (held or "").startswith("Gap")


class Astray(Exception):
    """A batch does not begin where its row stands: go there and come again. NOWHERE: it has no row that may be moved, because it was
    not met yet or is held at a gap."""

    def __init__(self, positions: dict[Part, int]) -> None:
        super().__init__(f"{len(positions)} partitions begin elsewhere")
        self.positions = positions


async def stand(con: Any, *, held: bool = True) -> dict[Part, int]:
    """Where each partition stands; with `held` those that are held, too."""
    rows = await con.fetch("select topic, part, next from position where $1 or held is null", held)
    return {Part(row["topic"], row["part"]): row["next"] for row in rows}


async def passed(con: Any, *, held: bool) -> dict[Part, int]:
    """How far each partition was applied for certain; with `held` those that are held, too. NOWHERE for one that is held at a gap:
    what is gone may lie before it."""
    sql = f"select topic, part, case when {NO_GAP} then next else {NOWHERE} end as next from position where $1 or held is null"
    return {Part(row["topic"], row["part"]): row["next"] for row in await con.fetch(sql, held)}


async def lock(con: Connection, parts: Iterable[Part]) -> dict[Part, int]:
    """Locks the rows, sorted, and says where each stands that may be moved: a partition without a row is missing from the answer, and
    so is one held at a gap, which only `lotse go-on` moves. (Whoever moved it wiped the mark, and nobody told of the gap again.)"""
    rows = await con.fetch(
        "select topic, part, next, held from position where (topic, part) in (select * from unnest($1::text[], $2::int[]))"
        " order by topic, part for update", *columns(sorted(parts)))  # fmt: skip
    return {Part(*row[:2]): row["next"] for row in rows if not is_gap(row["held"])}


async def move(con: Connection, to: Mapping[Part, int]) -> None:
    """Moves locked rows; what moves is no longer held."""
    if to:
        await con.execute(
            "update position p set next = n.next, held = null, held_since = null"
            " from unnest($1::text[], $2::int[], $3::bigint[]) n(topic, part, next)"
            " where (p.topic, p.part) = (n.topic, n.part)", *columns((*part, next) for part, next in to.items()))  # fmt: skip


async def step(con: Any, part: Part, stands: int, to: int) -> None:
    """Moves a row over what is nothing to apply, if it still stands there, and not at a gap."""
    sql = f"update position set next = $4, held = null, held_since = null where (topic, part, next) = ($1, $2, $3) and {NO_GAP}"
    await con.execute(sql, *part, stands, to)


async def make(con: Any, starts: Mapping[Part, int]) -> None:
    """Rows for partitions met for the first time."""
    if starts:
        await con.execute(
            "insert into position (topic, part, next) select * from unnest($1::text[], $2::int[], $3::bigint[])"
            " on conflict do nothing", *columns((*part, next) for part, next in starts.items()))  # fmt: skip


async def hold(con: Any, part: Part, why: str, at: int | None = None) -> None:
    """Marks a partition as held; it is said in status, and no tick waits for it, until it moves. A gap stays what it was. `at`: what
    holds it; a row beyond is not held by it, and would not move for it either: what a consumer begins with was often applied before."""
    sql = ("update position set held = $3, held_since = coalesce(held_since, now()) where (topic, part) = ($1, $2)"
           f" and held is distinct from $3 and {NO_GAP} and next <= coalesce($4, next)")  # fmt: skip
    await con.execute(sql, *part, why, at)
