"""A collector of traces as a service sees it: it takes spans, says nothing, or is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from deploy.local.processes import free_port

TAKES, SILENT, GONE = "takes spans", "is silent", "is gone"


class Collector:
    """OTLP over HTTP on loopback; `said` is what it was sent of spans, answered or not."""

    def __init__(self) -> None:
        self.port, self.said, self.mode = free_port(), bytearray(), TAKES
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.port}"

    async def become(self, mode: str) -> None:
        """Takes spans, is silent (connections open, no answer), or is gone (connections refused)."""
        self.mode = mode
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.close()
        if mode != GONE:
            self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                    self.said += await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)
                    if self.mode == TAKES:
                        writer.write(
                            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
                        )
                        await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that takes spans; gone afterwards."""
    one = Collector()
    await one.become(TAKES)
    try:
        yield one
    finally:
        await one.become(GONE)
