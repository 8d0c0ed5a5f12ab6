"""Files that need a Kafka and a Postgres and no services in processes of their own. A broker takes longer to become quick than most of
them last: they share one, and each file finds it as new."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from deploy.local.stack import LocalStack
from deploy.services import make_topics, migrate, publishers_from
from tests.conftest import PUBLISHERS, without_topics


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
