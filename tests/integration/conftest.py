"""What several tests of one part stand on: a service's node without the service around it."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from deploy.local.stack import LocalStack
from deploy.services import declared
from services.host.kafka import Reader
from services.host.running import Running, running
from services.host.settings import Settings
from services.runtime.database import connect
from tests.conftest import PUBLISHERS


@pytest.fixture
async def node(prepared: LocalStack) -> AsyncIterator[Running]:
    """Intake's, without the service around it."""
    dsn = prepared.databases["intake"].runtime
    settings = Settings(kafka=prepared.kafka, database=SecretStr(dsn), publishers=PUBLISHERS,
                        operations_key=prepared.operations_key, http_port=0)  # fmt: skip
    reader, pool = Reader(prepared.kafka, {}, "alone"), await connect(dsn)
    await reader.start()
    yield running(declared("intake"), settings, pool, reader)
    await reader.stop()
    pool.terminate()
