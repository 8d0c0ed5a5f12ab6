"""When the certificates on the way to Kafka end: from then on nothing goes on."""

import asyncio
import contextlib
import math
from datetime import UTC, datetime

from cryptography.x509 import load_der_x509_certificate

from services.process.connections import KafkaSecurity

LIMIT = 3  # seconds a broker may take to show its own: whoever asks has other things to mind


class Certificates:
    """Our own, as it was read at the start, and those the brokers show."""

    def __init__(self, servers: str, security: KafkaSecurity) -> None:
        self._servers, self._context = servers, security.looking
        self._ends = {"our own": security.ends} if security.ends else {}

    async def look(self) -> None:
        """Asks each broker that answers. One that has ended is read as well: nobody speaks to who shows it, and that is to be seen."""
        for server in self._servers.split(",") if self._context else ():
            host, _, port = server.strip().rpartition(":")
            # who can't be spoken to is seen by what stands still; a figure stops no service
            with contextlib.suppress(Exception):
                async with asyncio.timeout(LIMIT):
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=self._context)
                    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                    writer.close()
                self._ends[server] = load_der_x509_certificate(shown).not_valid_after_utc

    @property
    def seconds(self) -> float:
        """Until the first of them ends; infinity without TLS."""
        now = datetime.now(UTC)
        return min([(end - now).total_seconds() for end in self._ends.values()], default=math.inf)
