"""Whoever is told to end does so in time, whatever Kafka does meanwhile: it is asked for a last word, and is silent."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from contracts.topics import CLOCK, load_publishers, submissions_topic
from deploy.errors import Trouble
from deploy.fleet import Fleet, Setup
from deploy.importer import sending
from deploy.importer.files import look_through
from deploy.importer.mapping import load_mapping
from deploy.importer.plan import Planner
from deploy.importer.sending import Sender, send_rows
from deploy.importer.store import Store
from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from deploy.services import declared
from services.host import host
from services.host.settings import Settings
from services.process import ending
from services.process.connections import KafkaSecurity
from services.process.ending import ended
from tests.conftest import ORGANISATIONS, PUBLISHERS
from tests.publishing import until
from tests.unit.in_deploy.test_importer import NOW, OULAD, ROW

LONGEST = 30.0  # seconds; then Kubernetes kills, and whoever is killed hands back nothing


@contextmanager
def silence(stack: LocalStack) -> Iterator[None]:
    """The broker takes what is sent and says nothing."""
    broker = psutil.Process(stack.processes[stack.brokers[0]].pid)
    broker.suspend()
    try:
        yield
    finally:
        broker.resume()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a last word."""
    monkeypatch.setattr(ending, "LAST", 0.5)
    monkeypatch.setattr(host, "LEAVE", 0.5)


@pytest.mark.parametrize("name", ["intake", "clock"])
def test_while_it_starts(prepared: LocalStack, name: str) -> None:
    """It waited for Kafka's first word for forty seconds, and then ended as one that could not start."""
    fleet = Fleet(prepared, Setup(PUBLISHERS, ORGANISATIONS))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LONGEST * 4)  # a machine that is busy loads for long
        process = fleet.start_one(name, LOTSE_KAFKA=f"127.0.0.1:{silent.getsockname()[1]}")
        try:
            silent.accept()
            assert process.stop(LONGEST) == 0, process.last_words()
        finally:
            process.kill()


@pytest.mark.usefixtures("quick")
async def test_while_it_serves(prepared: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took leave of the group for forty seconds."""
    monkeypatch.setattr(host, "settle_in", lambda _: None)  # this process goes on
    settings = Settings(kafka=prepared.kafka, database=SecretStr(prepared.databases["intake"].runtime),
                        publishers=PUBLISHERS, operations_key=prepared.operations_key, http_port=free_port())  # fmt: skip
    serves = host.Host(declared("intake"), settings)
    serving = asyncio.create_task(serves._run())
    await until(lambda: serving.done() or (hasattr(serves, "status") and serves.status.ready), 120)
    with silence(prepared):
        serving.cancel()
        await asyncio.wait([serving], timeout=LONGEST)
        assert serving.cancelled()


@pytest.mark.usefixtures("quick")
async def test_with_a_tick_that_nobody_takes(prepared: LocalStack) -> None:
    """An idempotent producer waits for ever. What it has begun to send still arrives while it is there."""
    producer = AIOKafkaProducer(bootstrap_servers=prepared.kafka, enable_idempotence=True)
    await producer.start()
    await producer.partitions_for(CLOCK)
    with silence(prepared):
        sent = await producer.send(CLOCK, b"x", partition=0)
        async with asyncio.timeout(LONGEST):
            await ended(producer.stop())
        assert not sent.done()
    async with asyncio.timeout(LONGEST * 4):
        await sent


@pytest.mark.usefixtures("quick")
async def test_an_import_that_finds_kafka_silent_does_not_begin(
    prepared: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Kafka fell silent between its first word and the next, it waited without end."""
    monkeypatch.setattr(sending, "BEGINS", 1)
    publisher = load_publishers(PUBLISHERS)["oulad"]
    with Store(tmp_path / "import", publisher.source, publisher.name) as store:
        sender = Sender(prepared.kafka, KafkaSecurity(), publisher, "rkn", store, patience=60)
        with silence(prepared), pytest.raises(Trouble, match="Kafka does not answer"):
            async with asyncio.timeout(LONGEST):
                await sender.__aenter__()


@pytest.mark.usefixtures("quick")
async def test_an_import_that_has_lost_kafka_gives_its_account(prepared: LocalStack, tmp_path: Path) -> None:
    """It hung until somebody killed it, and nobody had its account."""
    file, mapping = tmp_path / "rows.csv", load_mapping(OULAD / "participations.toml", "participations")
    file.write_text("\n".join([",".join(ROW), ",".join(ROW.values())]))
    found, publisher = look_through(file, mapping.columns), load_publishers(PUBLISHERS)[mapping.publisher]
    with Store(tmp_path / "import", publisher.source, publisher.name) as store:
        planner = Planner(mapping, store, NOW, persons={})
        planner.survey(list(found.read()))
        importing = Sender(prepared.kafka, KafkaSecurity(), publisher, mapping.tenant, store, patience=1)
        async with asyncio.timeout(LONGEST * 4), importing as sender:
            for family in publisher.families:
                await sender._producer.partitions_for(submissions_topic(family, publisher.name))
            with silence(prepared):
                account = await send_rows([found], planner, sender)
                async with asyncio.timeout(LONGEST):
                    await sender._close()
    assert (account.unanswered, account.astray) == (1, 0)
