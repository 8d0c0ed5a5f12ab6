"""What people read of a subject is found by the key."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from services.host.running import Running
from services.reading import timeline
from services.runtime.database import Connection


async def read(con: Connection, subject: str) -> list[dict[str, Any]]:
    return [row async for page in timeline.pages_of(con, subject) for row in page]


async def test_a_subject_is_found_by_its_families_key_on_every_postgres(node: Running) -> None:
    """By the subject alone Postgres 18 skips through the key; one before it reads all there is."""
    one, now = str(uuid4()), datetime.now(UTC)
    async with node.pool.acquire() as con:
        ours = con.transaction()
        await ours.start()
        add = ("insert into timeline select $1, $2 || n, 1, gen_random_uuid()::text, 't', now(), now(), null, '{}'"
               " from generate_series(1, $3) n")  # fmt: skip
        for family in ("a", "b", "c"):
            await con.execute(add, family, f"other-{family}-", 5000)
        for number, family in enumerate(("c", "a")):
            await con.execute(
                "insert into timeline values ($1, $2, $3, 'f', 't', $4, $4, null, '{}')", family, one, number, now
            )
        found = await read(con, one)
        assert [(row["family"], row["number"]) for row in found] == [("a", 1), ("c", 0)]
        assert await read(con, str(uuid4())) == []
        plan = await con.fetch(f"explain {timeline._NEXT}", one, ["a", "b", "c"], [-1, -1, -1], 1000)
        assert "Index Cond: ((family = each.one) AND (subject = " in "".join(row[0] for row in plan)
        await ours.rollback()
        assert await read(con, one) == []
