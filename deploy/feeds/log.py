"""Topics as they stand now, from their start to the end they had when asked: so reading them always ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError

from deploy.errors import UNREACHABLE, Trouble
from services.host.kafka import Reader
from services.process.connections import KafkaSecurity
from services.runtime.messages import Part

PATIENCE = 30.0  # seconds without a single record until Kafka counts as silent

Span = dict[Part, tuple[int, int]]
"""From where to where (exclusive) each partition is read."""


def length(span: Span) -> int:
    """How many offsets lie in it; a few of them may hold no record."""
    return sum(end - start for start, end in span.values())


class Log:
    """Reads topics; it belongs to no group and writes nothing."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def missing(self, topics: Iterable[str]) -> list[str]:
        """Those of the topics that are not there, or that this user may not see. Raises KafkaError and TimeoutError."""
        wanted = set(topics)
        return sorted(wanted - {part.topic for part in await self._reader.parts(wanted)})

    async def span(self, topics: Sequence[str]) -> Span:
        """What stands on those of the topics that exist and may be seen. Raises KafkaError and TimeoutError."""
        parts = await self._reader.parts(topics) if topics else []
        starts, ends = await self._reader.starts(parts), await self._reader.ends(parts)
        return {part: (starts[part], ends[part]) for part in parts}

    async def read(self, span: Span) -> AsyncIterator[list[Any]]:
        """Lists of records, in order within a partition. Raises KafkaError, and TimeoutError where nothing comes."""
        source = self._reader.records(span)
        try:
            while True:
                async with asyncio.timeout(PATIENCE):
                    records = await anext(source, None)
                if records is None:
                    return
                yield records
        finally:
            await source.aclose()


@asynccontextmanager
async def opened(kafka: str, security: KafkaSecurity, name: str) -> AsyncIterator[Log]:
    """A log to read from, of a Kafka that knows the reader under a name. Raises Trouble where Kafka does not answer, or falls silent while it is read."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says we say ourselves, once
    reader = Reader(kafka, security, name)
    try:
        try:
            await reader.start()
            yield Log(reader)
        finally:
            await reader.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        raise Trouble(f"Kafka does not answer at {kafka} ({type(error).__name__})",
                      "`lotse doctor`; check LOTSE_KAFKA and LOTSE_KAFKA_SECURITY", UNREACHABLE) from None  # fmt: skip
