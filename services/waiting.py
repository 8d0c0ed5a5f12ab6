"""What was read and can't be settled yet: how it is kept, and how much of it a publisher may have wait."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from contracts.attributes import known_headers
from contracts.topics import MIB
from services.runtime.database import Connection, Table, pack
from services.runtime.messages import Message

MAX_WAITING, MAX_WAITING_BYTES = 10_000, 16 * MIB
"""For one publisher, headers and body: a flood of things that rest on nothing must not fill the disk; and what rests on one id
is woken in one transaction: 64 MiB of it took a process beyond 192 MiB."""

KEPT = Table("kept", ("topic", "part", '"offset"', "arrived"), {
    "topic": "text", "part": "int", '"offset"': "bigint", "arrived": "timestamptz", "why": "text", "publisher": "text",
    "tenant": "text", "subject": "text", "rests_on": "text", "claimed": "boolean", "error": "text", "since": "timestamptz",
    "headers": "bytea", "value": "bytea"})  # fmt: skip


class Kept(NamedTuple):
    """A message that can't be settled now: why, what takes it up again, and whether it has claimed its id."""

    message: Message
    why: str
    rests_on: list[str]
    claimed: bool = False
    error: str = ""

    def row(self) -> tuple[Any, ...]:
        """As the table has it."""
        m, a = self.message, self.message.attributes
        return (*m.part, m.offset, m.arrived, self.why, _publisher(m), a.tenant, a.subject, " ".join(self.rests_on), self.claimed,
                self.error, m.since, _headers(m), m.value)  # fmt: skip


async def too_much(con: Connection, kept: Sequence[Kept]) -> list[Message]:
    """Those that begin to wait, also for a subject's release, and whose publisher has more wait than it may; each has claimed its
    id. Two workers at once may each let it have so much."""
    new = [one.message for one in kept if one.message.seq is None and one.claimed and one.why != "aside"]
    if not new:
        return []
    rows = await con.fetch("select publisher, count(*), sum(octet_length(headers) + octet_length(value)) from kept"
                           " where claimed and why <> 'aside' group by publisher")  # fmt: skip
    waiting, size = (Counter({row["publisher"]: row[of] for row in rows}) for of in ("count", "sum"))
    refused = []
    for message in new:
        waiting[publisher := _publisher(message)] += 1
        size[publisher] += len(_headers(message)) + len(message.value or b"")
        if waiting[publisher] > MAX_WAITING or size[publisher] > MAX_WAITING_BYTES:
            refused.append(message)
    return refused


def _publisher(message: Message) -> str:
    return message.input.publisher.name if message.input.publisher else ""


def _headers(message: Message) -> bytes:
    """Those we know: a sender's others may name people, and have no end."""
    return pack(list(known_headers(message.headers).items()))
