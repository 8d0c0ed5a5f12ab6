"""A TCP proxy on loopback that can be cut, slowed, made one-way or deaf while connections run through it. It lives in a
thread of its own, so that a test that blocks does not slow what it tests."""

import asyncio
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

CHUNK = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # linger on, 0 seconds: closing sends RST instead of FIN

Mode = Literal["open", "cut", "deaf", "one way"]
"""open: everything passes. cut: connections are reset, new ones too. deaf: connections stay, nothing passes either way (a
black hole). one way: requests pass, answers do not."""


class Proxy:
    """Between one service and one address. Everything set on it acts on connections that are open, too."""

    def __init__(self, listen: int, target: int) -> None:
        self.port, self.target = listen, target
        self.mode: Mode = "open"
        self.delay = 0.0
        """Seconds each chunk waits, in each direction."""
        self.rate: float | None = None
        """Bytes a second, in each direction; None: as fast as it goes."""
        self.accepted = 0
        """Connections that came."""
        self.refused = 0
        """Connections that were reset as they came."""
        self.asked = self.swallowed = 0
        """Bytes that passed towards the target, and bytes that did not pass, either way."""
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{listen}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(60):
            raise TimeoutError("the proxy does not listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Resets what is open and what comes, until `heal`."""
        self.mode = "cut"
        self.reset()

    def heal(self) -> None:
        """Everything passes again, at once. Connections that lost bytes on the way are reset: TCP would not hide that."""
        lossy = self.mode in ("deaf", "one way")
        self.mode, self.delay, self.rate = "open", 0.0, None
        if lossy:
            self.reset()

    def reset(self) -> None:
        """Resets what is open now."""
        self._loop.call_soon_threadsafe(self._reset)

    @property
    def open(self) -> int:
        """How many connections run through it."""
        return len(self._pairs)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", self.port, limit=CHUNK)
        self._up.set()
        await self._stop.wait()
        server.close()
        self._reset()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _reset(self) -> None:
        for pair in list(self._pairs):
            for writer in pair:
                _abort(writer)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.mode == "cut":
            self.refused += 1
            return _abort(writer)
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=CHUNK)
        except OSError:
            return _abort(writer)
        pair = (writer, there_writer)
        self._pairs.add(pair)
        ways = [asyncio.create_task(self._pass(reader, there_writer, answers=False)),
                asyncio.create_task(self._pass(there_reader, writer, answers=True))]  # fmt: skip
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._pairs.discard(pair)
            for one in pair:
                one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while chunk := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.rate:
                await asyncio.sleep(len(chunk) / self.rate)
            if self.mode == "deaf" or (self.mode == "one way" and answers):
                self.swallowed += len(chunk)  # what is gone on the way is gone
                continue
            self.asked += 0 if answers else len(chunk)
            writer.write(chunk)
            await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
