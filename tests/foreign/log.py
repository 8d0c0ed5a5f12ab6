"""What stands on topics from their start to their end, read as anybody would; and facts written beside any service."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from contracts.envelope import Attributes, headers_of
from contracts.intake import NeedRecorded
from tests.publishing import OWNER


async def records_on(kafka: str, wanted: Callable[[str], bool]) -> list[Any]:
    """Every committed record of the topics wanted."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if not name.startswith("_") and wanted(name)]
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        found: list[Any] = []
        ends = await consumer.end_offsets(consumer.assignment())
        while [part for part, end in ends.items() if await consumer.position(part) < end]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    finally:
        await consumer.stop()
    return found


async def fact(
    producer: AIOKafkaProducer, subject: str, number: int, id: str, type: str = NeedRecorded.ce_type
) -> None:
    """A fact as the type's owner would write it; a number has its own id unless another is given."""
    now, family = datetime.now(UTC), type.split(".")[1]
    attributes = Attributes(
        id=f"{id}{subject}-{number}", source=f"//lotse/local/{family}", type=type, subject=subject, time=now,
        tenant="rkn", streamversion=number, cause=subject, recordedtime=now,
    )  # fmt: skip
    need = NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    await producer.send_and_wait(
        f"{family}.events", need.to_json(), key=subject.encode(), headers=headers_of(attributes)
    )
