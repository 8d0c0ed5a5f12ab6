"""Kafka: records, topics, offsets, members, copies. Everything heals in `finally`."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4, uuid5

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from deploy.services import make_topics, publishers_from, settings_of
from deploy.soak.night import Night
from deploy.soak.observed import session


@asynccontextmanager
async def _asked(night: Night) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def committed(night: Night, service: str) -> list[TopicPartition]:
    """Partitions of which Kafka keeps a committed offset of a service."""
    async with _asked(night) as admin:
        return list(await admin.list_consumer_group_offsets(f"lotse-{service}"))


async def offsets_set_back(night: Night, service: str) -> int:
    """A stopped service's committed offsets, all set to 0: worse than lost. Gives back how many partitions."""
    parts = await committed(night, service)
    async with AIOKafkaConsumer(
        bootstrap_servers=night.fleet.stack.kafka, group_id=f"lotse-{service}", enable_auto_commit=False
    ) as consumer:
        consumer.assign(parts)
        await consumer.commit(dict.fromkeys(parts, 0))
    return len(parts)


async def delete_records(night: Night, topic: str, part: int) -> None:
    """Everything that stands on a partition is gone, as if its retention were over."""
    async with _asked(night) as admin:
        await admin.delete_records({TopicPartition(topic, part): RecordsToDelete(before_offset=-1)})


async def stands(night: Night, service: str, topic: str) -> dict[int, int]:
    """Partition to the next offset a service reads of it, as its database says."""
    async with session(night.fleet, service) as con:
        rows = await con.fetch("select part, next from position where topic = $1", topic)
    return {row["part"]: row["next"] for row in rows}


async def behind(night: Night, service: str, topic: str) -> dict[int, int]:
    """Partition to how many records a service has not applied; those of which it has applied all are left out."""
    next = await stands(night, service, topic)
    async with AIOKafkaConsumer(bootstrap_servers=night.fleet.stack.kafka, enable_auto_commit=False) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, part) for part in next])
    return {part: left for part, at in next.items() if (left := ends[TopicPartition(topic, part)] - at)}


@asynccontextmanager
async def topic_set(night: Night, topic: str, settings: dict[str, str]) -> AsyncIterator[None]:
    """Some settings of a topic are others; what stood there comes back."""
    async with _asked(night) as admin:
        own = await _own(admin, topic)
        try:
            await _topic_is(admin, topic, {**own, **settings})
            yield
        finally:
            await _topic_is(admin, topic, own)


async def _topic_is(admin: AIOKafkaAdminClient, topic: str, settings: dict[str, str]) -> None:
    """These settings and no others are the topic's own; the controller takes them, and the broker follows a moment later."""
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])
    async with asyncio.timeout(150):
        while await _own(admin, topic) != settings:
            await asyncio.sleep(0.1)


async def _own(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """What is set on the topic itself, as the broker says it."""
    (has,) = await settings_of(admin, [topic])
    return {name: said for name, (said, inherited) in has.items() if not inherited}


@asynccontextmanager
async def topic_missing(night: Night, topic: str) -> AsyncIterator[None]:
    """A topic is deleted; what `lotse topics` does makes it again, empty."""
    async with _asked(night) as admin:
        await admin.delete_topics([topic])
        async with asyncio.timeout(150):
            while topic in await admin.list_topics():
                await asyncio.sleep(0.2)
        await asyncio.sleep(1)  # Kafka forgets the name a moment later
        try:
            yield
        finally:
            fleet = night.fleet
            await make_topics(fleet.stack.kafka, publishers_from(fleet.setup.publishers), local=True)


async def write_fact(
    producer: AIOKafkaProducer, type: str, case: str, number: int, body: dict[str, Any], id: str = ""
) -> None:
    """A fact of intake, written by somebody else; its id is that of its number unless another is given."""
    now = datetime.now(UTC).isoformat()
    headers = {"ce_specversion": "1.0", "ce_id": id or str(uuid5(UUID(case), str(number))), "ce_source": "//lotse/local/intake",
               "ce_type": f"lotse.intake.{type}.v1", "ce_subject": case, "ce_time": now, "ce_tenant": "rkn",
               "ce_streamversion": str(number), "ce_cause": case, "ce_recordedtime": now}  # fmt: skip
    await producer.send_and_wait("intake.events", json.dumps(body).encode(), key=case.encode(),
                                 headers=[(name, text.encode()) for name, text in headers.items()])  # fmt: skip


async def members(night: Night, service: str) -> set[str]:
    """Members of a service's group as the broker knows them; one that was just killed knows none until they are back."""
    async with _asked(night) as admin:
        for _ in range(60):
            found = await admin.describe_consumer_groups([f"lotse-{service}"])
            if there := {member[0] for answer in found for group in answer.groups for member in group[5]}:
                return there
            await asyncio.sleep(0.5)
        return set()


async def became(night: Night, service: str, right: Callable[[set[str]], bool], patience: float = 45.0) -> bool:
    """Waits until the members of a service's group are as they should be; whether they came to be."""
    until = time.monotonic() + patience
    while not (there := right(await members(night, service))) and time.monotonic() < until:
        await asyncio.sleep(0.5)
    return there


async def aborted(night: Night, topics: list[str], body: bytes, headers: list[tuple[str, bytes]]) -> None:
    """A foreign transaction on every partition, aborted: nobody may ever act on it."""
    producer = AIOKafkaProducer(bootstrap_servers=night.fleet.stack.kafka, transactional_id=f"foreign-{uuid4().hex}")
    await producer.start()
    try:
        await producer.begin_transaction()
        for topic in topics:
            for part in range(4):
                await producer.send_and_wait(topic, body, partition=part, headers=headers)
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def in_sync(night: Night, copies: int = 3) -> None:
    """Waits until so many copies of every partition are in sync, and no more. Raises TimeoutError where that does not come."""
    async with _asked(night) as admin, asyncio.timeout(150):
        while True:
            with contextlib.suppress(KafkaError):
                parts = [part for topic in await admin.describe_topics() for part in topic["partitions"]]
                if parts and all(len(part["isr"]) == copies and part["leader"] >= 0 for part in parts):
                    return
            await asyncio.sleep(0.3)


async def copies_needed(night: Night, copies: int) -> None:
    """What is acknowledged stands on so many brokers, from now on."""
    async with _asked(night) as admin:
        names = [name for name in await admin.list_topics() if not name.startswith("__")]
        wanted = {name: {**await _own(admin, name), "min.insync.replicas": str(copies)} for name in names}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, *one) for one in wanted.items()])


async def leader(night: Night, topic: str, part: int = 0) -> int:
    """The node that leads a partition; -1 while none does."""
    async with _asked(night) as admin:
        (found,) = await admin.describe_topics([topic])
        return next((int(one["leader"]) for one in found["partitions"] if one["partition"] == part), -1)


async def led_by_another(night: Night, topic: str, node: int) -> None:
    """Waits until a partition that a node led has another leader. Raises TimeoutError where that does not come."""
    async with asyncio.timeout(150):
        while True:
            with contextlib.suppress(KafkaError):  # whom we ask may be the one that is gone
                if await leader(night, topic) not in (node, -1):
                    return
            await asyncio.sleep(0.2)


async def coordinator(night: Night, service: str) -> int:
    """The node that coordinates a service's group."""
    async with _asked(night) as admin:
        return int(await admin.find_coordinator(f"lotse-{service}"))


def longest_pause(night: Night) -> float:
    """Seconds between two answers of referral, at most, since the shift began."""
    at = [moment for moment, service in night.sender.times if service == "referral"]
    return max((after - before for before, after in pairwise(at)), default=0.0)


def megabytes_of_log(night: Night) -> int:
    """Size of the broker's data on its disk; files with holes take what they hold."""
    files = (night.fleet.stack.folder / "kafka" / "data").rglob("*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) // 2**20 + 1
