"""Kafka does not answer: what an operator asks meanwhile says so, and never that the database is away."""

from collections.abc import AsyncIterator

import httpx
import psutil
import pytest

from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from services.host import kafka
from services.host.host import Host
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status

HELD = "insert into position (topic, part, next, held) values ('intake.submissions.kreis', 0, 9, 'Gap:read up to 9')"


@pytest.fixture
async def silent(prepared: LocalStack, node: Running) -> AsyncIterator[Running]:
    """Intake's, of which a partition is held at a gap; the broker takes what is sent and says nothing."""
    await node.pool.execute(HELD)
    broker = psutil.Process(prepared.processes[prepared.brokers[0]].pid)
    broker.suspend()
    yield node
    broker.resume()


async def test_what_asks_kafka_says_that_kafka_does_not_answer(
    silent: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told of the database, somebody looked there."""
    monkeypatch.setattr(kafka, "LIMIT", 1)
    settings = silent.settings.model_copy(update={"http_port": free_port()})
    host, inputs = Host(silent.service, settings), Inputs(silent)
    host.node, host.inputs, host.readers, host.status = silent, inputs, silent.pool, Status(silent, inputs)
    url, retries = f"http://127.0.0.1:{settings.http_port}", httpx.AsyncHTTPTransport(retries=10)  # until it listens
    async with host._http(), httpx.AsyncClient(base_url=url, timeout=30, transport=retries) as client:
        for how in ("dry-run", "operate"):
            for what, more in (("go-on", {}), ("republish", {"since": "2026-01-01T00:00:00Z"})):
                said = await client.post(f"/{how}/{what}", json={"who": "me", "why": "test", **more})
                why = "Kafka does not answer (KafkaTimeoutError)"
                assert (said.status_code, said.json()) == (503, {"why": why, "way_out": "ask again"}), (how, what)
