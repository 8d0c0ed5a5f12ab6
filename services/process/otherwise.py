"""What aiokafka gives up on is read by librdkafka: a fetch in which the name of one header is no UTF-8, or one record's attributes, of
which there are none yet, begin with a bit that aiokafka takes for a longer number's."""

from collections import defaultdict
from collections.abc import Mapping
from operator import methodcaller
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException
from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Place

from services.process.connections import KafkaSecurity
from services.runtime.messages import Part

GIVEN_UP = (UnicodeDecodeError, CorruptRecordException)
"""What aiokafka says of it. What is corrupt indeed librdkafka does not give either; nor do we what follows it in its partition."""
MOST, WAITS, MORE = 500, 2.0, 0.1
"""Records of a fetch at most; seconds for the first of them, and for others: waiting for so many, everybody else waited."""

_headers_of: Any = methodcaller("headers")
"""Where a name is no UTF-8 confluent-kafka 2.16 gives back a list and leaves the error set. Called so, Python notices at once;
called by its name, whatever is done next fails."""


class Corrupt(CorruptRecordException):  # type: ignore[misc]  # aiokafka has no types
    """What follows in a partition is corrupt indeed: one of Kafka's disks lost a bit. `where` names the partition."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.where = f"{part.topic}/{part.part}"


class Read(NamedTuple):
    """What librdkafka made of it."""

    records: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]
    corrupt: set[Part]
    """Partitions of which nothing can be read from where they stand."""


def read_otherwise(servers: str, security: KafkaSecurity, stands: Mapping[Part, int]) -> Read:
    """Records from these places on, read by librdkafka: aiokafka gives up on a whole fetch for one record (`GIVEN_UP`), and any client
    but Java's may send such. Where a header's name is no UTF-8 it comes without headers, which makes it a dead letter. Blocks for some
    seconds; raises KafkaException."""
    options = {
        "group.id": "lotse",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "log_level": 3,
        "check.crcs": True,
    }
    consumer = Consumer(security.librdkafka(servers) | options)
    found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
    corrupt = set[Part]()
    try:
        consumer.assign([Place(*part, offset) for part, offset in stands.items()])
        for got in [*consumer.consume(1, WAITS), *consumer.consume(MOST, MORE)]:
            topic, part, offset, error = got.topic(), got.partition(), got.offset(), got.error()
            if topic is None or part is None:
                continue
            if error is not None and error.code() == KafkaError._BAD_MSG:
                corrupt.add(Part(topic, part))  # librdkafka says so, and may go on behind it
            if error is not None or offset is None or (topic, part) in corrupt:
                continue
            try:
                headers = _headers_of(got) or []
            except (UnicodeDecodeError, SystemError):
                headers = []
            kind, at = got.timestamp()
            record = ConsumerRecord(topic, part, offset, at, kind, got.key(), got.value(), None, -1, -1, headers)
            found[TopicPartition(topic, part)].append(record)
    finally:
        consumer.close()
    return Read(found, {part for part in corrupt if TopicPartition(*part) not in found})
