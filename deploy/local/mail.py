"""A mail sink: each accepted message is a file before it is acknowledged. `python -m deploy.local.mail --port P --folder F`."""

import argparse
import asyncio
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiosmtpd.smtp import SMTP


class Sink:
    """Stores, syncs, and only then answers 250; while the hold file exists it stores and does not answer."""

    def __init__(self, folder: Path, hold: Path | None) -> None:
        self.folder, self.hold = folder, hold
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # the library's name
        """One accepted message, one file, above it whom it was given for: its own `To` is only what its writer says."""
        part = self.folder / f".{uuid4().hex}"
        with part.open("wb") as file:
            file.writelines(f"Delivered-To: {one}\r\n".encode() for one in envelope.rcpt_tos)
            file.write(envelope.content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.folder / f"{part.name[1:]}.eml")
        while self.hold is not None and self.hold.exists():
            await asyncio.sleep(0.02)
        return "250 OK"


async def serve(port: int, folder: Path, hold: Path | None) -> None:
    """Listens on loopback until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    sink = Sink(folder, hold)
    server = await loop.create_server(lambda: SMTP(sink, hostname="localhost", loop=loop), "127.0.0.1", port)
    await stop.wait()
    server.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--hold-after-accept", type=Path, help="while this file exists, mails are stored and not acknowledged"
    )
    given = parser.parse_args()
    asyncio.run(serve(given.port, given.folder, given.hold_after_accept))


if __name__ == "__main__":
    main()
