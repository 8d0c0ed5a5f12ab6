"""How long somebody waits who starts everything from nothing, as `lotse up` does, until a first submission is answered."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.envelope import Attributes, By, headers_of
from contracts.intake import RegistrationSubmitted
from contracts.topics import answers_topic, submissions_topic
from deploy.bench.figures import Figures
from deploy.bench.house import PATIENCE
from deploy.bench.people import People
from deploy.local.stack import LocalStack
from deploy.services import Fleet, Setup


def measure(figures: Figures) -> None:
    """Kafka, Postgres, four services and the clock in an empty folder; then one registration. Raises Trouble."""
    people, started = People(cases=1, alliances=1, publishers=1), time.monotonic()
    with LocalStack.ephemeral() as stack:
        publishers, organisations = stack.folder / "publishers.toml", stack.folder / "organisations.toml"
        publishers.write_text(people.publishers_toml())
        organisations.write_text("")
        fleet = Fleet(stack, Setup(publishers, organisations))
        try:
            fleet.start()
            figures.add("from nothing to all ready", time.monotonic() - started, "s")
            asyncio.run(_answer(stack.kafka, people))
            figures.add("from nothing to the first answer", time.monotonic() - started, "s")
        finally:
            fleet.stop()


async def _answer(kafka: str, people: People) -> None:
    office, subject = people.entries()[0], str(uuid4())
    submission = RegistrationSubmitted(
        by=By(organisation_id="thm"), municipality="05162024", programme="GK", owner_organisation_id="thm"
    )
    attributes = Attributes(id=str(uuid4()), source=office.source, type=submission.ce_type, subject=subject,
                            time=datetime.now(UTC), tenant=office.tenants[0])  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(
        answers_topic("intake", office.name), bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    async with contextlib.AsyncExitStack() as stack:
        for client in (producer, consumer):
            await client.start()
            stack.push_async_callback(client.stop)
        topic = submissions_topic("intake", office.name)
        await producer.send_and_wait(topic, submission.to_json(), key=subject.encode(), headers=headers_of(attributes))
        async with asyncio.timeout(PATIENCE):
            await consumer.getone()
