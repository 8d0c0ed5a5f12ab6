"""One real stack for all tests that need one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack
from deploy.services import EXAMPLES, Fleet, Setup, make_topics, migrate, publishers_from

PUBLISHERS = EXAMPLES / "publishers.toml"
ORGANISATIONS = EXAMPLES / "organisations.toml"


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """A real Kafka, Postgres and mail sink, gone afterwards."""
    with LocalStack.ephemeral() as started:
        yield started


@pytest.fixture(scope="session")
def fleet(stack: LocalStack) -> Iterator[Fleet]:
    """The four services in processes of their own, on simulated time."""
    found = Fleet(stack, Setup(PUBLISHERS, ORGANISATIONS, simulated=True, testing=True))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def prepared(stack: LocalStack) -> LocalStack:
    """A stack with databases and topics, without services."""
    for name, database in stack.databases.items():
        migrate(name, database.owner)
    asyncio.run(make_topics(stack.kafka, publishers_from(Path(PUBLISHERS)), local=True))
    return stack
