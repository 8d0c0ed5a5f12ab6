"""Files that need a Kafka and a Postgres and no services in processes of their own. A broker takes longer to become quick than most of
them last: they share one, and each file finds it as new."""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient

from deploy.local.stack import LocalStack
from deploy.services import make_topics, migrate, publishers_from
from tests.conftest import PUBLISHERS
from tests.publishing import PATIENCE


@pytest.fixture(scope="module")
def prepared(stack: LocalStack) -> Iterator[LocalStack]:
    """Databases migrated, topics made, nothing in them."""
    asyncio.run(emptied_databases(stack))
    stack.provision()  # a schema in each, and what a test may have taken from a role
    without_topics(stack)
    for name, database in stack.databases.items():
        migrate(name, database.owner)
    asyncio.run(make_topics(stack.kafka, publishers_from(PUBLISHERS), local=True))
    yield stack


async def emptied_databases(stack: LocalStack) -> None:
    """Whoever is connected is sent away, what tests made goes, and of a service's the schema: each database that goes or is made costs
    a checkpoint, which is half a second and more."""
    con = await asyncpg.connect(stack.admin_dsn)
    try:
        await con.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        for row in await con.fetch("select datname from pg_database where not datistemplate and datname <> 'postgres'"):
            if row["datname"] not in stack.databases:
                await con.execute(f'drop database "{row["datname"]}" with (force)')
    finally:
        await con.close()
    for name in stack.databases:
        con = await asyncpg.connect(stack.admin_dsn.rpartition("/")[0] + f"/{name}")
        try:
            await con.execute("drop schema if exists lotse cascade")
        finally:
            await con.close()


def without_topics(stack: LocalStack) -> None:
    """Every topic but Kafka's own goes; returns when none is told of any more."""
    admin, until = AdminClient({"bootstrap.servers": stack.kafka}), time.monotonic() + PATIENCE
    while names := [name for name in admin.list_topics(timeout=60).topics if not name.startswith("__")]:
        for gone in admin.delete_topics(names).values():
            gone.exception(60)  # it may be gone already, and still be told of
        assert time.monotonic() < until, f"still there: {names}"
