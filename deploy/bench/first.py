"""How long somebody waits who starts everything from nothing, as `lotse up` does, until a first submission is answered."""

import asyncio
import contextlib
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.topics import answers_topic
from deploy.bench.figures import Figures
from deploy.bench.house import PATIENCE
from deploy.bench.people import People, Reports
from deploy.fleet import Fleet, Setup
from deploy.local.stack import LocalStack


def measure(figures: Figures) -> None:
    """Kafka, Postgres, four services and the clock in an empty folder; then one registration. Raises Trouble. To be called
    outside an event loop."""
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
    office, (registration,) = people.entries()[0], Reports(people).registrations(1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    consumer = AIOKafkaConsumer(
        answers_topic("intake", office.name), bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    async with contextlib.AsyncExitStack() as stack:
        for client in (producer, consumer):
            await client.start()
            stack.push_async_callback(client.stop)
        topic, key, value, headers = registration
        await producer.send_and_wait(topic, value, key=key, headers=headers)
        async with asyncio.timeout(PATIENCE):
            await consumer.getone()
