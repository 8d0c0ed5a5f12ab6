"""Facts, answers, dead letters and releases on their way out: one row a transaction and topic, packed ready to send."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from services.runtime.database import Connection, pack, unpack


class Letter(NamedTuple):
    """A record ready for the producer."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass
class Outgoing:
    """What one transaction sends. An answer goes only after its fact, so answers name the facts' rows they follow."""

    facts: dict[str, list[Letter]] = field(default_factory=lambda: defaultdict(list))
    after: dict[str, list[Letter]] = field(default_factory=lambda: defaultdict(list))

    async def write(self, con: Connection) -> None:
        """Stores the rows; their ids are drawn under the locks of the states they speak of."""
        rows = await _insert(con, self.facts, []) if self.facts else []
        if self.after:
            await _insert(con, self.after, rows)


async def _insert(con: Connection, letters: dict[str, list[Letter]], follows: list[int]) -> list[int]:
    topics = sorted(letters)
    rows = await con.fetch(
        "insert into outbox (topic, records, letters, follows)"
        " select t, r, n, $4::bigint[] from unnest($1::text[], $2::bytea[], $3::int[]) x(t, r, n) returning id",
        topics, [pack(letters[topic]) for topic in topics], [len(letters[topic]) for topic in topics], follows,
    )  # fmt: skip
    return [row["id"] for row in rows]


def unpacked(records: bytes) -> list[Letter]:
    """The letters of a row."""
    return [Letter(key, value, [(name, text) for name, text in headers]) for key, value, headers in unpack(records)]
