"""Every id that was claimed, with its first content: key is a submission's reference, or the id of the answer ID_REUSED."""

from collections.abc import Mapping, Set

from services.runtime.database import Connection, columns


async def claim(con: Connection, keys: Mapping[str, str], mine: Set[str]) -> set[str]:
    """Claims keys, sorted, for their contents; gives back those that were claimed before. `mine`: earlier in this very transaction, as
    where a release takes up both copies of what came twice meanwhile."""
    if not keys:
        return set()
    ordered = sorted(keys)
    done = await con.execute(
        "insert into answered (key, content) select * from unnest($1::uuid[], $2::uuid[]) on conflict do nothing",
        ordered, [keys[key][3:] for key in ordered],
    )  # fmt: skip
    if int(done.rpartition(" ")[2]) == len(ordered):
        return set()
    new = "select key from answered where key = any($1::uuid[]) and xmin = pg_current_xact_id()::xid"
    return set(ordered) - ({str(row["key"]) for row in await con.fetch(new, ordered)} - mine)


async def learn(con: Connection, found: Mapping[str, str | None]) -> None:
    """Keys as the topics tell them; without a content the id is known by its fact alone."""
    await con.execute(
        "insert into answered (key, content) select * from unnest($1::uuid[], $2::uuid[])"
        " on conflict (key) do update set content = excluded.content where answered.content is null",
        *columns(sorted(found.items())) or ([], []))  # fmt: skip
