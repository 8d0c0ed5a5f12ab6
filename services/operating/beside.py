"""The tables beside: made by the same migrations as live, compared with live as whole sets by named columns."""

from pathlib import Path
from typing import Any

from services.runtime.service import Service

LIVE, BESIDE, OLD = "lotse", "lotse_beside", "lotse_old"

COMPARED = {"state": ("kind, id", "tenant, shape, body, known"), "heard": ("family, subject", "number, id"),
            "timeline": ("family, subject, number", "fact_id, type, time, recorded_at, cause, body")}  # fmt: skip
"""Table to key and compared columns; projections are compared in all their columns."""

OLDER = (f"select l.kind, l.id from {LIVE}.state l join (select kind, max(shape) as ours from {BESIDE}.state group by kind) b using (kind)"
         " where l.body is not null and l.shape < b.ours")  # fmt: skip
"""States of a shape before ours: a rebuild is how they get it."""
OURS = f"s where body is not null and not exists (select from ({OLDER}) o where (o.kind, o.id) = (s.kind, s.id))"
"""The others, as `state` is compared."""


class TwoDatabases(Exception):
    """What is learnt beside in one would be swapped in for what another knows."""


async def in_one_database(live: Any, owner: Any) -> None:
    """Raises TwoDatabases where the service and its owner are not connected to the same one."""
    which = "select current_database() as name, pg_postmaster_start_time() as began"
    one, other = await live.fetchrow(which), await owner.fetchrow(which)
    if one != other:
        raise TwoDatabases(
            f"{one['name']} and {other['name']}" + (" of two servers" if one["began"] != other["began"] else "")
        )


async def make_beside(owner: Any, role: str, migrations: list[Path], *, dry: bool) -> None:
    """An empty schema beside, made by the same migrations. An old one is there where a rebuild was killed before it went."""
    await owner.execute(f"drop schema if exists {BESIDE}{'' if dry else f', {OLD}'} cascade; create schema {BESIDE}")
    await owner.execute(f"set search_path = {BESIDE}")
    for file in migrations:
        await owner.execute(file.read_text("utf-8").partition("-- migrate:down")[0])
    for name in ("runtime_migrations", "service_migrations"):
        await owner.execute(f"create table if not exists {BESIDE}.{name} (like {LIVE}.{name} including all);"
                            f" insert into {BESIDE}.{name} select * from {LIVE}.{name}")  # fmt: skip
    # not by default privileges alone: where rights were granted on the tables there were, the new ones would have none
    tables, sequences = "select, insert, update, delete on all tables in schema", "select on all sequences in schema"
    for right in ("usage on schema", tables, sequences):
        await owner.execute(f'grant {right} {BESIDE} to "{role}"')
    await owner.execute(f"set search_path = {LIVE}")


async def differences(owner: Any, service: Service, most: int = 10) -> list[str]:
    """`table: key` of the first rows that differ between live and beside, compared as whole sets by named columns. Where an earlier
    version wrote states, these are not compared, nor what people read of them."""
    found: list[str] = []
    older = await owner.fetchval(f"select exists ({OLDER})")
    tables = [*(() if older else service.tables), *([service.reports.table] if service.reports else [])]
    own = {t.name: (", ".join(t.key), ", ".join(c for c in t.columns if c not in t.key) or "true") for t in tables}
    for name, (key, compared) in sorted((COMPARED | own).items()):
        where = OURS if name == "state" else ""
        one, other = (f"select {key}, {compared} from {schema}.{name} {where}" for schema in (LIVE, BESIDE))
        rows = await owner.fetch(f"(select {key} from ({one} except {other}) a) union (select {key} from ({other} except {one}) b)"
                                 f" order by {key} limit {most}")  # fmt: skip
        found += [f"{name}: {'/'.join(str(value) for value in row)}" for row in rows]
    rows = await owner.fetch(  # what live knows and no topic tells waits; an answer's content may be lost, never differ
        f"select coalesce(l.key, b.key) as key from {LIVE}.answered l full join {BESIDE}.answered b using (key)"
        f" where l.key is null or l.content <> b.content order by 1 limit {most}")  # fmt: skip
    await owner.execute(f"insert into {BESIDE}.answered select * from {LIVE}.answered"
                        " on conflict (key) do update set content = excluded.content where answered.content is null")  # fmt: skip
    return found + [f"answered: {row['key']}" for row in rows]
