"""What an operator sets up by hand, and what a service makes of what is there: databases, rights, ticks, ports."""

import re
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

import deploy.services
from deploy.errors import USAGE, Trouble
from deploy.local.processes import child_environment
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from deploy.services import migrate, migrations
from services.host.running import Running
from services.operating.rebuild import Unfinished, rebuild
from services.runtime.clock import act
from tests.conftest import PUBLISHERS

PASSWORDS = ("one password", "another")


async def test_the_statements_of_the_documentation_make_a_database_a_service_can_use(prepared: LocalStack) -> None:
    """It reads and writes what the migrations made, makes nothing itself, and reaches no other service's."""
    name = f"by_hand_{uuid4().hex[:6]}"
    said = (ROOT / "docs" / "operating.md").read_text().replace("referral", name)
    (first, then) = re.findall(r"```sql\n(.*?)```", said, re.S)
    await told(prepared.admin_dsn, *filter(None, first.split(";\n")))
    owner, runtime = (
        f"postgresql://{name}_{role}:{password.replace(' ', '%20')}@127.0.0.1:{prepared.postgres_port}"
        for role, password in zip(("owner", "runtime"), PASSWORDS, strict=True)
    )
    await told(f"{owner}/{name}", then)
    migrate("referral", f"{owner}/{name}")
    await told(f"{runtime}/{name}", "insert into lotse.audit (who, what, about, why) values ('me', 'this', 'it', 'that')",
               "update lotse.audit set why = 'other'; select from lotse.audit; delete from lotse.audit",
               # what /kept/ID asks: without the right it says that no message ever had this number
               "select pg_sequence_last_value(pg_get_serial_sequence('lotse.kept', 'seq'))",
               "do $$ begin assert has_sequence_privilege(pg_get_serial_sequence('lotse.kept', 'seq'), 'select'); end $$")  # fmt: skip
    for dsn, statement in (
        (f"{runtime}/{name}", "create table lotse.mine (one int)"),
        (f"{runtime}/intake", "select 1"),
        (prepared.databases["intake"].runtime.rpartition("/")[0] + f"/{name}", "select 1"),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await told(dsn, statement)


async def test_rights_that_were_granted_on_the_tables_there_were_outlive_a_rebuild(
    prepared: LocalStack, node: Running
) -> None:
    """By default a new table has none, and the rebuild's own sweep could not write what it found."""
    owner = prepared.databases["intake"].owner
    await told(owner, "alter default privileges revoke all on tables from intake_runtime",
               "alter default privileges revoke all on schemas from intake_runtime")  # fmt: skip
    settings = node.settings.model_copy(update={"database_owner": SecretStr(owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    done = await rebuild(node.service, settings, files)
    assert done.differences == []
    rights = await node.pool.fetch(
        "select c.relname from pg_class c where c.relnamespace = 'lotse'::regnamespace and c.relkind = 'r'"
        " and not has_table_privilege(c.oid, 'select, insert, update, delete')"
    )
    assert [*map(tuple, rights)] == []
    assert await node.pool.fetchval("select has_sequence_privilege(pg_get_serial_sequence('kept', 'seq'), 'select')")


async def test_a_rebuild_says_that_it_has_swapped_where_only_what_comes_after_did_not_end(
    prepared: LocalStack, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads an old table, which so can't go: called "not rebuilt" it would send people to look in the wrong place. The
    next one clears it away."""
    monkeypatch.setattr("services.operating.rebuild.LOCK_LIMIT", "500ms")
    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    before = await node.pool.fetchval("select 'lotse.state'::regclass::oid")
    async with node.pool.acquire() as con, con.transaction():
        await con.execute("select from state limit 1")
        with pytest.raises(Unfinished, match="LockNotAvailable"):
            await rebuild(node.service, settings, files)
        assert await node.pool.fetchval("select 'lotse.state'::regclass::oid") != before
    assert (await rebuild(node.service, settings, files)).differences == []
    assert await node.pool.fetchval("select to_regnamespace('lotse_old')") is None


async def test_a_tick_that_is_held_is_held_until_the_time_it_names_has_come(node: Running) -> None:
    """One that came late moves nothing once a later one was acted on; told of for a week it hid what else was to be seen."""
    now = datetime.now(UTC)
    await node.pool.execute("delete from tick; delete from alliance; delete from position")
    await node.pool.execute("insert into alliance (tenant) values ('rkn')")
    held = {"late": (-60, "BEHIND"), "early": (60, "AHEAD"), "far": (60 * 24 * 365, "AHEAD")}

    async def kept(id: str, minutes: int, why: str | None = None) -> None:
        await node.pool.execute(
            "insert into tick (id, at, ends, held) values ($1, $2, '[]', $3)", id, now + timedelta(minutes=minutes), why
        )

    for id, (minutes, why) in held.items():
        await kept(id, minutes, why)
    for tick, left in (("one", {"early", "far"}), ("two", {"far"})):
        await kept(tick, {"one": 0, "two": 61}[tick])
        assert await act(node, lambda _: None) is False
        assert {row["id"] for row in await node.pool.fetch("select id from tick")} == left
    await node.pool.execute("update tick set kept_at = now() - interval '8 days'")
    await kept("three", 62)
    await act(node, lambda _: None)
    assert await node.pool.fetch("select from tick") == []


def test_a_port_that_is_taken_is_named_as_the_setting_it_is(prepared: LocalStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = child_environment(
            PYTHONPATH=str(ROOT), LOTSE_KAFKA=prepared.kafka, LOTSE_DATABASE=prepared.databases["intake"].runtime,
            LOTSE_PUBLISHERS=str(PUBLISHERS), LOTSE_OPERATIONS_KEY=str(prepared.operations_key), LOTSE_HTTP_PORT=str(port),
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "serve", "intake"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == USAGE and "LOTSE_HTTP_PORT: nobody can listen there (EADDRINUSE)" in done.stderr
    assert str(port) not in done.stderr + done.stdout


async def told(dsn: str, *statements: str) -> None:
    """One connection, each by itself. Raises what Postgres raises."""
    con = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await con.execute(statement)
    finally:
        await con.close()


def test_a_migration_that_postgres_does_not_understand_is_named_as_that(
    prepared: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as an address nobody can read."""
    (tmp_path / "9999_wrong.sql").write_text("-- migrate:up\nselect 1;\nselec 2;\n\n-- migrate:down\nselect;\n")
    monkeypatch.setattr(deploy.services, "migrations", lambda _: [("runtime_migrations", tmp_path)])
    with pytest.raises(Trouble, match='did not run: syntax error at or near "selec"'):
        migrate("intake", prepared.databases["intake"].owner)
