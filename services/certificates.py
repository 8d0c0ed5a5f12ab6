"""When the certificates on the way to Kafka end: from then on nothing goes on."""

import asyncio
import contextlib
import math
import ssl
from datetime import UTC, datetime

from services.connections import KafkaSecurity

LIMIT = 3  # seconds a broker may take to show its own: whoever asks has other things to mind


class Certificates:
    """Our own, as it was read at the start, and those the brokers show."""

    def __init__(self, servers: str, security: KafkaSecurity) -> None:
        self._servers, self._context = servers, security.context
        self._ends = {"our own": security.ends} if security.ends else {}
        """One that has ended stays: nobody speaks to who shows it, so that it would be missing."""

    async def look(self) -> None:
        """Asks each broker that answers."""
        for server in self._servers.split(",") if self._context else ():
            host, _, port = server.strip().rpartition(":")
            with contextlib.suppress(OSError, TimeoutError):  # who can't be spoken to is seen by what stands still
                async with asyncio.timeout(LIMIT):
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=self._context)
                    shown = writer.get_extra_info("peercert")
                    writer.close()
                self._ends[server] = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)

    @property
    def seconds(self) -> float:
        """Until the first of them ends; infinity without TLS."""
        now = datetime.now(UTC)
        return min([(end - now).total_seconds() for end in self._ends.values()], default=math.inf)
