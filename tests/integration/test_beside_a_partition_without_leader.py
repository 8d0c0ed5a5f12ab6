"""faults.md A6: where all copies of one partition are gone its end can't be asked. Time waits for it where it is read; what is not on
it does not."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.request import urlopen

import asyncpg
import pytest
from aiokafka.errors import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from contracts.topics import answers_topic, submissions_topic
from deploy.doctor import kafka as kafka_checks
from deploy.doctor.place import Place
from deploy.local.processes import Process, free_port
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from deploy.services import make_topics, migrate, publishers_from
from services.host import own_logs
from services.runtime.messages import Part
from tests.conftest import PUBLISHERS
from tests.integration.conftest import node_of
from tests.publishing import NAME, PATIENCE, Course, Publisher, until

ALONE = submissions_topic("intake", "oulad")
"""Another partner's topic: its only copies lie with the third broker."""
ANSWERS_ALONE = answers_topic("intake", "oulad")
"""One of our own: its only copies, too."""
TICKS = "clock.ticks/0"


def led(admin: AdminClient, topic: str = ALONE) -> bool:
    """Whether somebody leads it."""
    return all(part.leader > 0 for part in admin.list_topics(topic, timeout=60).topics[topic].partitions.values())


@dataclass
class Service:
    """What it says of itself."""

    process: Process
    port: int
    argv: list[str]
    environment: dict[str, str]

    def status(self) -> dict[str, Any]:
        """Nothing while it does not serve. Raises Trouble with its last words where it has ended."""
        self.process.alive_or_raise()
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/status", timeout=60) as answer:  # noqa: S310
                said: dict[str, Any] = json.load(answer)
                return said
        except OSError:
            return {}

    def held(self) -> set[str]:
        """What stands still."""
        return {one["what"] for one in self.status()["held"]}

    def has_acted(self, tick: int) -> bool:
        """Whether it has done all that this tick asks of it."""
        clock = self.status()["clock"]
        return bool(clock["read"] > tick and clock["acting"] == 0)


@pytest.fixture(scope="module")
def three() -> Iterator[LocalStack]:
    """Three brokers, intake's database and topics, of which two lie with the third alone."""
    with LocalStack.ephemeral(brokers=3) as stack:
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        alone = [NewTopic(topic, 4, replica_assignment=[[3]] * 4) for topic in (ALONE, ANSWERS_ALONE)]
        for made in admin.create_topics(alone).values():
            made.result(60)
        asyncio.run(make_topics(stack.kafka, publishers_from(PUBLISHERS), local=True))
        migrate("intake", stack.databases["intake"].owner)
        yield stack


@pytest.fixture(autouse=True)
def all_three(three: LocalStack) -> Iterator[None]:
    """Each test finds them: one that breaks off leaves the broker away that it has killed."""
    yield
    for name in three.brokers:
        if three.processes[name].pid is None:
            three.start_again(name)()


@pytest.fixture
def intake(three: LocalStack) -> Iterator[Service]:
    """The service in a process of its own."""
    port, process = free_port(), Process(three.folder, "intake")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LOTSE_")}
    settings = {"LOTSE_KAFKA": three.kafka, "LOTSE_DATABASE": three.databases["intake"].runtime, "LOTSE_SIMULATED_TIME": "true",
                "LOTSE_PUBLISHERS": str(PUBLISHERS), "LOTSE_OPERATIONS_KEY": str(three.operations_key),
                "PYTHONPATH": str(ROOT), "LOTSE_HTTP_PORT": str(port)}  # fmt: skip
    found = Service(process, port, [sys.executable, "-m", "deploy.cli", "serve", "intake"], clean | settings)
    process.start(found.argv, found.environment)
    yield found
    process.stop()


async def test_an_own_one_holds_up_nobody_and_what_it_lost_is_told_once_it_has_a_leader(three: LocalStack) -> None:
    """Its end was asked for 15 s of each 45, and nobody asked Kafka anything meanwhile: no tick, no lag, no lease."""
    admin = AdminClient({"bootstrap.servers": three.kafka})
    async with node_of(three, "intake") as node:
        lost = [Part(answers_topic("intake", NAME), 0), Part(ANSWERS_ALONE, 0)]
        await own_logs.mark(node.pool, dict.fromkeys(lost, 2))

        async def told() -> list[Part]:
            """What has lost its tail."""
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await own_logs.look_for_lost(node)
                        break
                    except KafkaError:  # it asked the broker that had just gone; the minder, too, comes again
                        await asyncio.sleep(0.1)
            rows = await node.pool.fetch("select topic, part from acked where held like 'Gap%' order by 1, 2")
            return [Part(*row) for row in rows]

        three.processes[three.brokers[2]].kill()
        await until(lambda: not any(led(admin, ANSWERS_ALONE) for _ in range(10)))  # whichever broker is asked
        assert await told() == lost[:1]
        three.start_again(three.brokers[2])()
        await until(lambda: all(led(admin, ANSWERS_ALONE) for _ in range(10)))
        assert await told() == sorted(lost)


async def test_time_waits_and_nothing_else(three: LocalStack, intake: Service) -> None:
    """A tick that asked for its end held up whatever had come with it, time and again, for as long as the broker was away."""
    admin, steps = AdminClient({"bootstrap.servers": three.kafka}), Course(date(2026, 3, 2)).steps()
    await until(lambda: intake.status().get("ready"))
    async with Publisher(three.kafka) as sender:
        before = await sender.tick(datetime(2026, 3, 1, 6, tzinfo=UTC))
        await until(lambda: intake.has_acted(before))
        three.processes[three.brokers[2]].kill()
        await until(lambda: not led(admin))

        stood: list[set[str]] = []

        async def watch() -> None:
            while True:
                stood.append(await asyncio.to_thread(intake.held))
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        tick = await sender.tick(datetime(2026, 3, 2, 6, tzinfo=UTC))
        await until(lambda: any(TICKS in held or "everything" in held for held in stood))
        for submission, subject in steps[1:3]:
            (told,) = await sender.answered(await sender.send(submission, subject))
            assert told["outcome"] == "recorded"
        watching.cancel()
        assert not any("everything" in held for held in stood) and TICKS in stood[-1]
        assert intake.status()["clock"]["read"] == tick

        three.start_again(three.brokers[2])()
        await until(lambda: intake.has_acted(tick))
        await until(lambda: not intake.held())


async def test_the_minder_goes_on_beside_it(three: LocalStack, intake: Service) -> None:
    """It asked for the ends of all each second, for 15 s: no lag was seen, so no alarm could ring, no tick was acted on, no lease was
    looked after. A service that is started beside it serves, too, and says what it can't read; one that was started beside an own
    one for a publisher's answers ended after 15 s, and again, for as long as that had none."""
    admin, (registered, subject), lacks = (
        AdminClient({"bootstrap.servers": three.kafka}),
        Course(date(2026, 3, 2)).steps()[1],
        f"{ALONE}/",
    )
    await until(lambda: intake.status().get("ready"))
    three.processes[three.brokers[2]].kill()
    await until(lambda: not any(led(admin) for _ in range(10)))
    place = Place("three", local=False, folder=three.folder, kafka=three.kafka, publishers=PUBLISHERS)
    said = [one.what async for one in kafka_checks.kafka(place)]
    assert f"{ALONE} has a partition without a leader" in said and not any("silent" in what for what in said)
    con = await asyncpg.connect(three.databases["intake"].owner, server_settings={"search_path": "lotse"})
    try:
        for again in (False, True):
            if again:
                intake.process.stop()
                intake.process.start(intake.argv, intake.environment)
                await until(lambda: intake.status().get("ready"))
            async with Publisher(three.kafka) as sender:
                async with con.transaction():
                    await con.execute(
                        "lock table answered in exclusive mode"
                    )  # nothing is applied, and all can be read
                    id = await sender.send(registered, subject)
                    await until(lambda: sum(intake.status().get("lag", {}).values()))
                    await until(lambda: intake.status().get("lag_seconds", 0) >= 1)
                assert await sender.answered(id)
                await until(
                    lambda: {w for w in intake.held() if w.startswith(lacks)} == {f"{lacks}{n}" for n in range(4)}
                )
                await until(lambda: "minder" not in intake.held())
        three.start_again(three.brokers[2])()
        await until(lambda: all(led(admin) for _ in range(10)))
        await until(lambda: not intake.held())
    finally:
        await con.close()
