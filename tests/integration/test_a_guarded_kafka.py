"""A Kafka that asks who one is, in clear and under TLS: services, the clock and commands get through with the one setting."""

import asyncio
import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it forgets to say that it exports them
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from contracts.topics import load_publishers
from deploy.local.operations import PUBLIC, make_operations_key
from deploy.local.postgres import Postgres
from deploy.local.processes import Process, free_port
from deploy.places import ROOT
from deploy.services import make_topics, migrate
from services.host.kafka import Reader
from services.process.connections import KafkaSecurity
from tests.certificates import BROKERS, USERS, made
from tests.conftest import PUBLISHERS
from tests.forked import run
from tests.integration.conftest import Guarded
from tests.publishing import NAME, Course, Publisher, until

READ, WRITE = AclOperation.READ, AclOperation.WRITE
Right = tuple[str, ResourceType, str, ResourcePatternType, AclOperation]
RIGHTS: tuple[Right, ...] = (
    ("intake", ResourceType.TOPIC, "intake.", ResourcePatternType.PREFIXED, READ),
    ("intake", ResourceType.TOPIC, "intake.", ResourcePatternType.PREFIXED, WRITE),
    ("intake", ResourceType.TOPIC, "clock.ticks", ResourcePatternType.LITERAL, READ),
    ("intake", ResourceType.GROUP, "lotse-intake", ResourcePatternType.LITERAL, READ),
    ("clock", ResourceType.TOPIC, "clock.ticks", ResourcePatternType.LITERAL, WRITE),
)
"""What the documentation of the topics says of intake and the clock, and intake's own group."""


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


@pytest.fixture(scope="module")
def house(guarded_kafka: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Topics, the rights of the catalogue for intake, and its database."""
    folder = tmp_path_factory.mktemp("house")
    make_operations_key(folder)
    admin = KafkaSecurity.model_validate(guarded_kafka.options("SASL_PLAINTEXT", "admin"))
    address = guarded_kafka.addresses["SASL_PLAINTEXT"]
    asyncio.run(make_topics(address, load_publishers(PUBLISHERS), local=True, security=admin))
    give(AdminClient(admin.librdkafka(address), logger=logging.getLogger("test")), *RIGHTS)
    postgres = Postgres(folder / "postgres")
    postgres.start()
    try:
        postgres.wait()
        database = postgres.provision(("intake",))["intake"]
        migrate("intake", database.owner)
        yield House(guarded_kafka, folder, database.runtime)
    finally:
        postgres.process.stop()


def give(admin: AdminClient, *rights: Right) -> None:
    """Gives rights. Raises KafkaException."""
    wanted = [_bound(AclBinding, right) for right in rights]
    for done in admin.create_acls(wanted).values():
        done.result(60)


def take(admin: AdminClient, right: Right) -> None:
    """Takes one away: from now on the broker says no."""
    (done,) = admin.delete_acls([_bound(AclBindingFilter, right)]).values()
    assert len(done.result(60)) == 1


def _bound(kind: Any, right: Right) -> Any:
    user, resource, name, pattern, operation = right
    return kind(resource, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)


ENDS = {"SASL_PLAINTEXT": math.inf, "SASL_SSL": BROKERS.total_seconds(), "SSL": USERS.total_seconds()}
"""By door: seconds until the first of the certificates that are shown there ends."""


async def test_intake_the_clock_and_commands_get_through(house: House) -> None:
    """One broker, three doors: a password in clear, a password under TLS, a certificate. An answer went through the consumer (aiokafka, by FastStream), the
    reader beside it (aiokafka) and the relay (librdkafka); the tick through the clock's producer."""
    for listener in house.kafka.addresses:
        env = house.environment(listener, "intake")
        processes = {name: Process(house.folder / listener, name) for name in ("intake", "clock")}
        try:
            processes["intake"].start([sys.executable, "-m", "deploy.cli", "serve", "intake"], env)
            await until(lambda: ready(processes["intake"], env["LOTSE_HTTP_PORT"]))  # noqa: B023
            admin = KafkaSecurity.model_validate(house.kafka.options(listener, "admin"))
            async with Publisher(house.kafka.addresses[listener], admin) as sender:
                registration = Course(date(2026, 3, 2)).steps()[1]
                id = await sender.send(*registration)
                (told,) = await sender.answered(id)
            assert told["outcome"] == "recorded"
            before = status(env)["clock"]["read"]
            processes["clock"].start(
                [sys.executable, "-m", "deploy.cli", "serve", "clock"], house.environment(listener, "clock")
            )
            await until(lambda: status(env)["clock"]["read"] > before)  # noqa: B023
            words = ("answer", NAME, id, "--format", "json")
            done = await asyncio.to_thread(run, *words, env=house.environment(listener, "admin"))
            assert ends_in(env) == pytest.approx(ENDS[listener], abs=600)
            assert done.returncode == 0 and json.loads(done.stdout)["data"][0]["outcome"] == "recorded", done.stderr
        finally:
            for process in processes.values():
                process.stop()
        assert "secret" not in processes["intake"].last_words(1000) + processes["clock"].last_words(1000) + done.stderr


def ready(process: Process, port: str) -> bool:
    """Whether it serves. Raises Trouble with its last words where it has ended."""
    process.alive_or_raise()
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=60) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def ends_in(env: dict[str, str]) -> float:
    """Seconds until the first certificate ends, as Prometheus is told."""
    with urlopen(f"http://127.0.0.1:{env['LOTSE_HTTP_PORT']}/metrics", timeout=60) as answer:  # noqa: S310
        (line,) = re.findall(r"^lotse_certificate_seconds (\S+)$", answer.read().decode(), re.M)
    return float(line)


def status(env: dict[str, str]) -> dict[str, Any]:
    """A service's own words."""
    with urlopen(f"http://127.0.0.1:{env['LOTSE_HTTP_PORT']}/status", timeout=60) as answer:  # noqa: S310
        said: dict[str, Any] = json.load(answer)
        return said


@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "fresh"])
@pytest.mark.parametrize(
    ("right", "held"),
    [(RIGHTS[0], {"fetch"}), (RIGHTS[1], {"relay", "outbox/intake.events"}), (RIGHTS[3], {"fetch"})],
    ids=["to read", "to write", "to its group"],
)
async def test_a_right_that_is_taken_away_and_given_back(
    house: House, right: Right, held: set[str], at_work: bool
) -> None:
    """faults.md A6, row 29, in Kafka: nobody crashes, status says what stands still and why, and it heals by itself. Where the
    relay has sent nothing yet, librdkafka is not let begin, which it calls fatal."""
    address, env = house.kafka.addresses["SASL_PLAINTEXT"], house.environment("SASL_PLAINTEXT", "intake")
    security = KafkaSecurity.model_validate(house.kafka.options("SASL_PLAINTEXT", "admin"))
    admin = AdminClient(security.librdkafka(address), logger=logging.getLogger("test"))
    intake = Process(house.folder, "intake")
    intake.start([sys.executable, "-m", "deploy.cli", "serve", "intake"], env)
    steps = Course(date(2026, 3, 2)).steps()
    try:
        await until(lambda: ready(intake, env["LOTSE_HTTP_PORT"]))
        async with Publisher(address, security) as sender:
            if at_work:
                (first,) = await sender.answered(await sender.send(*steps[1]))
                assert first["outcome"] == "recorded"
            take(admin, right)
            id = await sender.send(*steps[2] if at_work else steps[1])
            await until(lambda: denied(intake, env) & held)
            if not at_work:
                group = "group " * (right[1] is ResourceType.GROUP)
                of = f"the right {right[4].name.capitalize()} on {group}{right[2]}"
                assert f"\nrights: intake lacks {of}" in await asyncio.to_thread(seen_by_the_doctor, env)
            give(admin, right)
            (told,) = await sender.answered(id)
        assert told["outcome"] == "recorded"
        await until(lambda: not denied(intake, env))
    finally:
        intake.stop()
        give(admin, right)  # where this broke off the next would be without it


async def test_a_certificate_that_has_expired_and_is_renewed(house: House) -> None:
    """faults.md A6, row 29, of the broker: nobody speaks to it, nobody crashes, status and log say what stands still and why,
    and it heals by itself."""
    env, admin = house.environment("SASL_SSL", "intake"), house.kafka.options("SASL_PLAINTEXT", "admin")
    address, steps = house.kafka.addresses["SASL_PLAINTEXT"], Course(date(2026, 3, 2)).steps()
    intake = Process(house.folder, "intake-expired")
    intake.start([sys.executable, "-m", "deploy.cli", "serve", "intake"], env)
    try:
        await until(lambda: ready(intake, env["LOTSE_HTTP_PORT"]))
        try:
            house.kafka.shows(False)
            async with Publisher(address, KafkaSecurity.model_validate(admin)) as sender:  # by the other door
                id = await sender.send(*steps[1])
                await until(lambda: stands(intake, env))
                await until(lambda: "certificate has expired" in intake.last_words(1000))
                await until(lambda: ends_in(env) < 0)  # who can't be spoken to is not one who has none
                doctor = await asyncio.to_thread(run, "doctor", "intake", env=env)
                assert doctor.returncode == 3
                assert doctor.stdout.startswith(
                    f"kafka: the certificate of {env['LOTSE_KAFKA']} is not taken: certificate has expired"
                )
        finally:
            house.kafka.shows(True)
        async with Publisher(address, KafkaSecurity.model_validate(admin)) as sender:
            (told,) = await sender.answered(id)
        assert told["outcome"] == "recorded"
        await until(lambda: not stands(intake, env))
    finally:
        intake.stop()


def seen_by_the_doctor(env: dict[str, str]) -> str:
    """What `lotse doctor intake` finds, a line each."""
    done = run("doctor", "intake", env=env)
    assert done.returncode == 1, done.stderr
    return "\n" + done.stdout


def stands(process: Process, env: dict[str, str]) -> list[Any]:
    """What stands still, and why. Raises Trouble where the service has ended."""
    process.alive_or_raise()
    found: list[Any] = status(env)["held"]
    return found


def denied(process: Process, env: dict[str, str]) -> set[str]:
    """What stands still for want of a right. Raises Trouble where the service has ended."""
    process.alive_or_raise()
    return {found["what"] for found in status(env)["held"] if "authorization" in found["why"].lower()}


async def test_without_a_certificate_nobody_gets_through_a_door_that_asks_for_one(guarded_kafka: Guarded) -> None:
    """Neither aiokafka nor librdkafka; the doctor says that it is our certificate that is wanted."""
    address, options = guarded_kafka.addresses["SSL"], guarded_kafka.options("SSL", "")
    security = KafkaSecurity.model_validate(options)
    reader, relay = Reader(address, security, "test"), AdminClient(security.librdkafka(address) | {"log_level": 0})
    with pytest.raises(KafkaConnectionError):
        await reader.start()
    await reader.stop()
    with pytest.raises(KafkaException):
        await asyncio.to_thread(relay.list_topics, timeout=5)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LOTSE_")}
    env = clean | {"LOTSE_KAFKA": address, "LOTSE_KAFKA_SECURITY": json.dumps(options), "PYTHONPATH": str(ROOT)}
    doctor = await asyncio.to_thread(run, "doctor", env=env)
    assert f"kafka: {address} does not take our certificate: certificate required" in doctor.stdout


async def test_a_broker_for_whom_nobody_we_trust_signed_is_not_spoken_to(
    guarded_kafka: Guarded, tmp_path: Path
) -> None:
    """Neither by aiokafka nor, for the relay, by librdkafka: both look whose certificate it is."""
    (tmp_path / "stranger").mkdir()
    stranger = made(tmp_path / "stranger").cafile
    address, options = guarded_kafka.addresses["SASL_SSL"], guarded_kafka.options("SASL_SSL", "admin")
    for cafile, trusted in ((guarded_kafka.cafile, True), (stranger, False)):
        security = KafkaSecurity.model_validate({**options, "ssl_cafile": cafile})
        reader, relay = Reader(address, security, "test"), AdminClient(security.librdkafka(address) | {"log_level": 0})
        if trusted:
            await reader.start()
            await reader.stop()
            assert await asyncio.to_thread(relay.list_topics, timeout=60)
        else:
            with pytest.raises(KafkaConnectionError):
                await reader.start()
            await reader.stop()
            with pytest.raises(KafkaException):
                await asyncio.to_thread(relay.list_topics, timeout=5)
