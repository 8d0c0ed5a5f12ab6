"""A reader beside the consumer: ends, starts, and what lies between a position and an end. It belongs to no group."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import Topic
from services.runtime.positions import Part

PROOF_MS = 300


class Reader:
    """Asks Kafka; every call has its limit and raises KafkaError or TimeoutError."""

    def __init__(self, servers: str, security: Mapping[str, Any], name: str) -> None:
        self._options = {"bootstrap_servers": servers, "client_id": f"{name}-reader", **security}
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connects. Raises KafkaError where no broker answers."""
        self._admin = AIOKafkaAdminClient(**self._options)
        await self._admin.start()
        self._consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        )
        await self._consumer.start()

    async def stop(self) -> None:
        """Closes both clients."""
        for client in (self._consumer, self._admin):
            if client is not None:
                await (client.stop() if isinstance(client, AIOKafkaConsumer) else client.close())

    async def parts(self, topics: Iterable[str]) -> list[Part]:
        """Partitions of those of the topics that exist. (A consumer without subscription finds none; the admin does.)"""
        assert self._admin
        async with self._one_at_a_time, asyncio.timeout(15):
            found = await self._admin.describe_topics(sorted(topics))
        return sorted(
            Part(topic["topic"], part["partition"])
            for topic in found
            if not topic["error_code"]
            for part in topic["partitions"]
        )

    async def ends(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Last stable offsets: under read_committed nothing beyond them can be read yet."""
        return await self._ask("end_offsets", parts)

    async def starts(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Where the logs begin."""
        return await self._ask("beginning_offsets", parts)

    async def _ask(self, what: str, parts: Iterable[Part]) -> dict[Part, int]:
        assert self._consumer
        wanted = [TopicPartition(*part) for part in parts]
        if not wanted:
            return {}
        async with self._one_at_a_time, asyncio.timeout(15):
            found = await getattr(self._consumer, what)(wanted)
        return {Part(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def passed_without_records(self, part: Part, position: int, end: int) -> bool:
        """Whether only transaction markers lie between a position and an end. A consumer's position passes markers
        without delivering anything; it is asked here, never of the serving consumer, whose position runs ahead."""
        assert self._consumer
        tp = TopicPartition(*part)
        async with self._one_at_a_time, asyncio.timeout(15):
            self._consumer.assign([tp])
            try:
                self._consumer.seek(tp, position)
                got = await self._consumer.getmany(tp, timeout_ms=PROOF_MS, max_records=1)
                return not got.get(tp) and await self._consumer.position(tp) >= end
            finally:
                self._consumer.assign([])

    async def records(self, ranges: Mapping[Part, tuple[int, int]], *, chunk: int = 5000) -> Any:
        """Yields lists of records of [start, end) of each partition, in order within a partition."""
        open_ = {TopicPartition(*part): end for part, (start, end) in ranges.items() if start < end}
        if not open_:
            return
        consumer = AIOKafkaConsumer(
            **self._options, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed", max_partition_fetch_bytes=4 << 20,
        )  # fmt: skip
        await consumer.start()
        try:
            consumer.assign(list(open_))
            for tp in open_:
                consumer.seek(tp, ranges[Part(tp.topic, tp.partition)][0])
            while open_:
                got = await consumer.getmany(*open_, timeout_ms=PROOF_MS, max_records=chunk)
                for tp, records in got.items():
                    wanted = [record for record in records if record.offset < open_[tp]]
                    if wanted:
                        yield wanted
                for tp in list(open_):
                    if await consumer.position(tp) >= open_[tp]:
                        del open_[tp]
        finally:
            await consumer.stop()

    async def settings_missing(self, topics: Iterable[Topic]) -> list[str]:
        """Names of topics that do not exist."""
        wanted = {topic.name for topic in topics}
        return sorted(wanted - {part.topic for part in await self.parts(wanted)})
