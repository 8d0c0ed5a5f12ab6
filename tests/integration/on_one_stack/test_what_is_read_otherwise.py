"""What librdkafka reads where aiokafka gives up."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import CorruptRecordException

from contracts.topics import submissions_topic
from deploy.local.stack import LocalStack
from services.process.connections import KafkaSecurity
from services.process.otherwise import read_otherwise
from services.runtime.messages import Part

TOPIC = submissions_topic("intake", "oulad")


async def test_what_is_corrupt_is_not_read_otherwise_and_nothing_is_read_in_its_place(prepared: LocalStack) -> None:
    """Of a disk that lost a bit aiokafka says the same as of a record it can't read, and librdkafka by itself checks no sum."""
    sent = [(0, b"before"), (0, b"corrupt"), (0, b"behind"), (1, b"beside")]
    async with AIOKafkaProducer(bootstrap_servers=prepared.kafka) as producer:
        for part, value in sent:
            await producer.send_and_wait(TOPIC, value, partition=part)
    (log,) = (prepared.folder / "kafka" / "data" / f"{TOPIC}-0").glob("*.log")
    with log.open("r+b") as file:
        file.seek(log.read_bytes().index(b"corrupt"))
        file.write(b"C")
    starts, found = {Part(TOPIC, 0): 0, Part(TOPIC, 1): 0}, set[tuple[int, bytes | None]]()
    async with asyncio.timeout(60):
        while len(found) < 2:
            for part, records in (
                await asyncio.to_thread(read_otherwise, prepared.kafka, KafkaSecurity(), starts)
            ).items():
                found |= {(part.partition, record.value) for record in records}
        assert found == {(0, b"before"), (1, b"beside")}
        with pytest.raises(CorruptRecordException):  # whoever reads a log to its end would wait for ever
            while True:
                await asyncio.to_thread(read_otherwise, prepared.kafka, KafkaSecurity(), {Part(TOPIC, 0): 1})
