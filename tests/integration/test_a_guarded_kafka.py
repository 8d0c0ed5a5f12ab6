"""A Kafka that asks who one is, in clear and under TLS: services, the clock and commands get through with the one setting."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.request import urlopen

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import CreateAclsRequest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from contracts.topics import load_publishers
from deploy.local.operations import PUBLIC, make_operations_key
from deploy.local.postgres import Postgres
from deploy.local.processes import Process, free_port
from deploy.local.stack import ROOT
from deploy.services import make_topics, migrate
from services.connections import KafkaSecurity
from services.host.kafka import Reader
from tests.certificates import made
from tests.conftest import PUBLISHERS
from tests.integration.conftest import Guarded
from tests.publishing import NAME, Course, Publisher, until

TOPIC, GROUP, LITERAL, PREFIXED, ALLOW, READ, WRITE = 2, 3, 3, 4, 3, 3, 4  # as Kafka numbers them


@dataclass
class House:
    """What intake stands on, its Kafka guarded."""

    kafka: Guarded
    folder: Path
    dsn: str

    def environment(self, listener: str, user: str) -> dict[str, str]:
        """Settings of a service or command that says it is this user, and nothing else that is set."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LOTSE_")}
        return clean | {
            "PYTHONPATH": str(ROOT), "LOTSE_KAFKA": self.kafka.addresses[listener],
            "LOTSE_KAFKA_SECURITY": json.dumps(self.kafka.options(listener, user)), "LOTSE_DATABASE": self.dsn,
            "LOTSE_PUBLISHERS": str(PUBLISHERS), "LOTSE_OPERATIONS_KEY": str(self.folder / PUBLIC),
            "LOTSE_HTTP_PORT": str(free_port()),
        }  # fmt: skip


@pytest.fixture
def house(guarded_kafka: Guarded, tmp_path: Path) -> Iterator[House]:
    """Topics, the rights of the catalogue for intake, and its database."""
    make_operations_key(tmp_path)
    admin = KafkaSecurity.model_validate(guarded_kafka.options("SASL_PLAINTEXT", "admin"))
    address = guarded_kafka.addresses["SASL_PLAINTEXT"]
    asyncio.run(make_topics(address, load_publishers(PUBLISHERS), local=True, security=admin))
    asyncio.run(give_rights(address, admin))
    postgres = Postgres(tmp_path / "postgres")
    postgres.start()
    try:
        postgres.wait()
        database = postgres.provision(("intake",))["intake"]
        migrate("intake", database.owner)
        yield House(guarded_kafka, tmp_path, database.runtime)
    finally:
        postgres.process.stop()


async def give_rights(address: str, security: KafkaSecurity) -> None:
    """What the documentation of the topics says of intake and the clock, and intake's own group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address, **security.aiokafka())
    await admin.start()
    try:
        rights = [("intake", TOPIC, "intake.", PREFIXED, right) for right in (READ, WRITE)]
        rights += [("intake", TOPIC, "clock.ticks", LITERAL, READ), ("clock", TOPIC, "clock.ticks", LITERAL, WRITE)]
        rights += [("intake", GROUP, "lotse-intake", LITERAL, READ)]
        for user, kind, name, pattern, right in rights:
            answer = await admin._send_request(
                CreateAclsRequest(kind, name, pattern, f"User:{user}", "*", right, ALLOW)
            )
            assert answer.to_object()["creation_responses"][0]["error_code"] == 0
    finally:
        await admin.close()


async def test_intake_the_clock_and_commands_get_through(house: House) -> None:
    """One broker, two doors: first without TLS, then with. An answer went through the consumer (aiokafka, by FastStream), the
    reader beside it (aiokafka) and the relay (librdkafka); the tick through the clock's producer."""
    for listener in ("SASL_PLAINTEXT", "SASL_SSL"):
        env = house.environment(listener, "intake")
        processes = {name: Process(house.folder / listener, name) for name in ("intake", "clock")}
        try:
            processes["intake"].start([sys.executable, "-m", "deploy.cli", "serve", "intake"], env)
            await until(lambda: ready(processes["intake"], env["LOTSE_HTTP_PORT"]), 60)  # noqa: B023
            admin = KafkaSecurity.model_validate(house.kafka.options(listener, "admin"))
            async with Publisher(house.kafka.addresses[listener], admin) as sender:
                registration = Course(date(2026, 3, 2)).steps()[1]
                id = await sender.send(*registration)
                (told,) = await sender.answered(id, patience=60)
            assert told["outcome"] == "recorded"
            before = status(env)["clock"]["read"]
            processes["clock"].start(
                [sys.executable, "-m", "deploy.cli", "serve", "clock"], house.environment(listener, "clock")
            )
            await until(lambda: status(env)["clock"]["read"] > before, 60)  # noqa: B023
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "deploy.cli", "answer", NAME, id, "--format", "json"],
                env=house.environment(listener, "admin"), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0 and json.loads(done.stdout)["data"][0]["outcome"] == "recorded", done.stderr
        finally:
            for process in processes.values():
                process.stop()
        assert "secret" not in processes["intake"].last_words(1000) + processes["clock"].last_words(1000) + done.stderr


def ready(process: Process, port: str) -> bool:
    """Whether it serves. Raises Trouble with its last words where it has ended."""
    process.alive_or_raise()
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def status(env: dict[str, str]) -> dict[str, dict[str, int]]:
    """A service's own words."""
    with urlopen(f"http://127.0.0.1:{env['LOTSE_HTTP_PORT']}/status", timeout=5) as answer:  # noqa: S310
        said: dict[str, dict[str, int]] = json.load(answer)
        return said


async def test_a_broker_for_whom_nobody_we_trust_signed_is_not_spoken_to(
    guarded_kafka: Guarded, tmp_path: Path
) -> None:
    """Neither by aiokafka nor, for the relay, by librdkafka: both look whose certificate it is."""
    (tmp_path / "stranger").mkdir()
    stranger, _ = made(tmp_path / "stranger")
    address, options = guarded_kafka.addresses["SASL_SSL"], guarded_kafka.options("SASL_SSL", "admin")
    for cafile, trusted in ((guarded_kafka.cafile, True), (stranger, False)):
        security = KafkaSecurity.model_validate({**options, "ssl_cafile": cafile})
        reader, relay = Reader(address, security, "test"), AdminClient(security.librdkafka(address) | {"log_level": 0})
        if trusted:
            await reader.start()
            await reader.stop()
            assert await asyncio.to_thread(relay.list_topics, timeout=20)
        else:
            with pytest.raises(KafkaConnectionError):
                await reader.start()
            await reader.stop()
            with pytest.raises(KafkaException):
                await asyncio.to_thread(relay.list_topics, timeout=5)
