"""What is lost while a service starts: it waits for it, or ends and says which setting leads there. It is no fault of ours."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

import deploy.services
from deploy.commands import serve
from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from deploy.services import declared
from deploy.soak.proxy import Proxy
from services.host import host
from services.host.settings import Settings
from services.runtime.database import RETRY
from tests.conftest import PUBLISHERS
from tests.publishing import until


async def test_a_database_that_goes_while_its_migrations_are_asked_for_is_waited_for(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended as by a fault of ours, and nobody was told to look at the database."""
    asked = deploy.services.schema_against_code
    with Proxy(free_port(), prepared.postgres_port) as proxy:

        async def cut(name: str, con: Any) -> Any:
            proxy.cut()
            await until(con.is_closed, 30)
            return await asked(name, con)

        monkeypatch.setattr(deploy.services, "schema_against_code", cut)
        dsn = prepared.databases["intake"].runtime.replace(f":{prepared.postgres_port}/", f":{proxy.port}/")
        assert await serve._missing("intake", dsn) == []


@pytest.mark.parametrize("kind", RETRY, ids=lambda kind: str(kind.__name__))
def test_whatever_tells_that_the_database_is_gone_the_exit_code_is_the_same(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """asyncpg has errors that are none of Postgres' own: `connection is closed` was called a fault of ours."""

    async def gone(_: host.Host) -> None:
        await asyncio.sleep(0)
        raise kind("gone")

    monkeypatch.setattr(host, "set_up_logs", lambda *_: None)
    monkeypatch.setattr(host.Host, "run", gone)
    settings = Settings(kafka=prepared.kafka, database=SecretStr("postgresql://u@h/d"), publishers=PUBLISHERS,
                        operations_key=prepared.operations_key, http_port=0)  # fmt: skip
    assert host.serve(declared("intake"), settings) == 3
