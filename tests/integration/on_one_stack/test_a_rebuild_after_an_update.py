"""What an earlier version made of the log, and what becomes of it in an update (house 8: a new shape is a rebuild beside and a swap)."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from deploy.services import declared, migrations
from services.host import host
from services.host.running import Running
from services.host.settings import Settings
from services.intake.domain import Case
from services.kept.taking_up import catch_up
from services.kept.waiting import WAKING
from services.operating.rebuild import rebuild
from services.runtime.work import OlderShape
from tests.conftest import PUBLISHERS
from tests.integration.on_one_stack.test_dry_runs import applied, fetched, missing, need, registered
from tests.publishing import TENANT, until


async def test_what_an_earlier_version_made_of_the_log_is_gone_on_from_only_once_a_rebuild_has_made_it_anew(
    prepared: LocalStack, node: Running
) -> None:
    """Gone on from at once it became what no rebuild makes, and each one kept the old. What newer rules say of what was known before is
    said then, of cases to which no message comes any more, too, and once."""
    cases, known = [str(uuid4()) for _ in range(2)], "select id, shape, body from state order by id"
    for offset, case in enumerate(cases):
        await applied(node, fetched(node, offset, registered(), case))
    await node.pool.execute("update alliance set ticked = now(), tick_id = 'one' where tenant = $1", TENANT)
    made = await node.pool.fetch(known)
    await node.pool.execute("update state set shape = shape - 1, body = replace(body, '\"GK\"', '\"C\"')")
    await node.pool.execute("update case_list set programme = 'C'")
    before = await node.pool.fetch(known)
    with pytest.raises(OlderShape):
        await applied(node, fetched(node, 2, need(), cases[0]))
    assert before == await node.pool.fetch(known) != made
    assert await node.pool.fetch("select from kept union all select from quarantine") == []

    settings = node.settings.model_copy(update={"database_owner": SecretStr(prepared.databases["intake"].owner)})
    files = [file for _, folder in migrations("intake") for file in sorted(folder.glob("*.sql"))]
    done = await rebuild(node.service, settings, files)
    assert (done.compared, done.differences, done.swept) == (True, [], 0)
    assert await node.pool.fetch(known) == made and {row["shape"] for row in made} == {Case.shape}
    assert {row[0] for row in await node.pool.fetch("select programme from case_list")} == {"GK"}
    await node.pool.execute("update state set shape = shape - 1")
    newer = replace(node.service, react=missing(need()))
    for swept in (2, 0):
        done = await rebuild(newer, settings, files)
        assert (done.compared, done.differences, done.swept) == (True, [], swept)
    await applied(node, fetched(node, 2, need(), cases[0]))
    assert await node.pool.fetchval("select count(*) from timeline") == 5


async def test_a_subject_that_goes_on_by_itself_is_left_to_nobody_for_another_versions_shape(node: Running) -> None:
    """It was called broken, and a rebuild carries that over: its case stood in quarantine for good."""
    case, stands = str(uuid4()), "select why from quarantine"
    at = await node.pool.fetchval("select coalesce(max(next), 0) from position")
    await applied(node, fetched(node, at, registered(), case))
    await node.pool.execute("insert into quarantine (subject, why) values ($1, $2)", case, WAKING)
    await applied(node, fetched(node, at + 1, need(), case))
    await node.pool.execute("update state set shape = shape - 1")
    with pytest.raises(OlderShape):
        await catch_up(node)
    assert [row["why"] for row in await node.pool.fetch(stands)] == [WAKING]
    await node.pool.execute("update state set shape = shape + 1")
    await catch_up(node)
    assert await node.pool.fetch(stands) == []
    assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 2


async def test_what_an_earlier_version_counted_is_released_by_nobody(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reporting releases figures by a tick alone, and looks at no state then: it begins nothing before a rebuild has made them anew."""
    monkeypatch.setattr(host, "settle_in", lambda _: None)  # this process goes on
    monkeypatch.setattr(host, "OLDER_REST", 0.1)
    service, database = declared("reporting"), prepared.databases["reporting"].runtime
    settings = Settings(kafka=prepared.kafka, database=SecretStr(database), publishers=PUBLISHERS, http_port=free_port(),
                        operations_key=prepared.operations_key)  # fmt: skip
    con = await asyncpg.connect(database, server_settings={"search_path": "lotse"})
    ((kind, ours),) = service.shapes.items()
    made = "insert into state (kind, id, tenant, shape, body, known, last) values ($1, 'one', $2, $3, '{}', '{}', '{}')"
    await con.execute(made, kind, TENANT, ours - 1)
    serves = host.Host(service, settings)
    serving = asyncio.create_task(serves._run())
    try:
        await until(lambda: serving.done() or (hasattr(serves, "inputs") and "everything" in serves.inputs.held))
        assert serves.inputs.held["everything"].why == "OlderShape" and not serves.status.ready
        await con.execute("delete from state")  # as a rebuild leaves none
        await until(lambda: serving.done() or serves.status.ready)
        assert serves.status.ready and serves.inputs.held == {}
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        await con.close()
