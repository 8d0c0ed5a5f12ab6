"""A reader beside the consumer: ends, starts, and what lies between a position and an end. It belongs to no group."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from services.process.connections import KafkaSecurity
from services.process.ending import closed, ended
from services.process.otherwise import GIVEN_UP, Corrupt, read_otherwise
from services.runtime.messages import Part

PROOF_MS, PROOF_BYTES = 300, 16 << 10  # some 200 markers at once; a whole fetch of each partition stood in memory
ALONE: dict[str, Any] = {"group_id": None, "enable_auto_commit": False, "isolation_level": "read_committed"}
LIMIT = 15  # seconds a question may take


@asynccontextmanager
async def limited() -> AsyncIterator[None]:
    """Raises KafkaTimeoutError at the limit: a bare TimeoutError is the database's."""
    try:
        async with asyncio.timeout(LIMIT):
            yield
    except TimeoutError:
        raise KafkaTimeoutError from None


class Reader:
    """Asks Kafka; every call has its limit and raises KafkaError."""

    def __init__(self, servers: str, security: KafkaSecurity, name: str) -> None:
        self._servers, self._security = servers, security
        self._options: dict[str, Any] = {
            "bootstrap_servers": servers,
            "client_id": f"{name}-reader",
        } | security.aiokafka()
        self._alone = asyncio.Lock()
        self._admin = AIOKafkaAdminClient(**self._options)
        self._consumer = self._made(auto_offset_reset="none", max_partition_fetch_bytes=PROOF_BYTES)

    async def start(self) -> None:
        """Connects. Raises KafkaError where no broker answers; then, too, `stop` closes what it has opened."""
        await asyncio.gather(self._admin.start(), self._consumer.start())

    def _made(self, **more: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(**self._options, **ALONE, **more)

    async def stop(self) -> None:
        """Closes both clients."""
        await asyncio.gather(closed(self._consumer), ended(self._admin.close()))

    async def parts(self, topics: Iterable[str], *, led: bool = False) -> list[Part]:
        """Partitions of those of the topics that exist. `led`: only those with a leader: of the end of one without aiokafka asks on
        until LIMIT, and nobody else can ask anything. (A consumer without subscription finds none; the admin does.)"""
        async with self._alone, limited():
            # of all: a topic that is asked for by name, and is not there, a broker at its defaults makes
            found = await self._admin.describe_topics()
        wanted = {t["topic"]: t["partitions"] for t in found if not t["error_code"]}
        return sorted(Part(topic, p["partition"]) for topic in set(topics) & wanted.keys() for p in wanted[topic]
                      if not led or p["leader"] >= 0)  # fmt: skip

    async def ends(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Last stable offsets: under read_committed nothing beyond them can be read yet."""
        return await self._ask("end_offsets", parts)

    async def starts(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Where the logs begin."""
        return await self._ask("beginning_offsets", parts)

    async def ends_for_writers(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Where the logs end, with what nobody may read yet: a transaction left open keeps all that follows it from readers."""
        consumer = AIOKafkaConsumer(**self._options, **ALONE | {"isolation_level": "read_uncommitted"})
        try:
            async with limited():
                await consumer.start()
                found = await consumer.end_offsets([TopicPartition(*part) for part in parts])
        finally:
            await closed(consumer)
        return {Part(*tp): offset for tp, offset in found.items()}

    async def _ask(self, what: str, parts: Iterable[Part]) -> dict[Part, int]:
        if not (wanted := [TopicPartition(*part) for part in parts]):
            return {}
        async with self._alone, limited():
            self._meet(wanted)
            found = await getattr(self._consumer, what)(wanted)
        return {Part(*tp): offset for tp, offset in found.items()}

    def _meet(self, wanted: list[TopicPartition]) -> None:
        """Assigns them, paused: of a partition it is not assigned the consumer asks topic by topic, a tenth of a second each."""
        if not self._consumer.assignment().issuperset(wanted):
            self._consumer.assign(met := [*self._consumer.assignment().union(wanted)])
            for tp in met:
                self._consumer.seek(tp, 0)
            self._consumer.pause(*met)

    async def passed_without_records(self, part: Part, position: int, end: int) -> bool:
        """Whether only transaction markers lie between a position and an end. A consumer's position passes markers
        without delivering anything; it is asked here, never of the serving consumer, whose position runs ahead."""
        tp = TopicPartition(*part)
        async with self._alone, limited():
            self._meet([tp])
            self._consumer.seek(tp, position)
            self._consumer.resume(tp)
            try:
                got = await self._consumer.getmany(tp, timeout_ms=PROOF_MS, max_records=1)
                return not got.get(tp) and await self._consumer.position(tp) >= end
            except GIVEN_UP:  # a record, of the kind that is read otherwise
                return False
            finally:
                self._consumer.pause(tp)

    async def records(
        self, ranges: Mapping[Part, tuple[int, int]], *, chunk: int = 5000
    ) -> AsyncGenerator[list[Any], None]:
        """Yields lists of records of [start, end) of each partition, in order within a partition."""
        open_ = {TopicPartition(*part): end for part, (start, end) in ranges.items() if start < end}
        if not open_:
            return
        consumer = self._made(auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20)
        try:
            await consumer.start()
            consumer.assign(list(open_))
            at = {tp: ranges[Part(*tp)][0] for tp in open_}
            for tp in open_:
                consumer.seek(tp, at[tp])
            while open_:
                try:
                    found = await consumer.getmany(*open_, timeout_ms=PROOF_MS, max_records=chunk)
                except GIVEN_UP:
                    stands = {Part(*tp): at[tp] for tp in open_}
                    found, corrupt = await asyncio.to_thread(read_otherwise, self._servers, self._security, stands)
                    if corrupt and not found:  # whoever reads a log to its end would wait for ever
                        raise Corrupt(min(corrupt)) from None
                    for tp in open_:
                        consumer.seek(tp, found[tp][-1].offset + 1 if tp in found else at[tp])
                for tp, records in found.items():
                    at[tp] = records[-1].offset + 1
                    if wanted := [record for record in records if record.offset < open_[tp]]:
                        yield wanted
                open_ = {tp: end for tp, end in open_.items() if await consumer.position(tp) < end}
        finally:
            await closed(consumer)
