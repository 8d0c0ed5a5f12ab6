"""What leaves: one outbox row a transaction and topic, packed ready to send."""

from collections import defaultdict
from typing import NamedTuple

import asyncpg

from services.runtime.database import Connection, columns, pack

KEPT_DAYS = 7  # sent rows stay so long: Kafka may lose its tail, and `lotse republish` brings it back


class Letter(NamedTuple):
    """A record ready for the producer."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Outgoing:
    """What one transaction sends: facts, and after them answers, dead letters, releases."""

    def __init__(self) -> None:
        self.facts: dict[str, list[Letter]] = defaultdict(list)
        self.after: dict[str, list[Letter]] = defaultdict(list)

    async def write(self, con: Connection) -> None:
        """Stores the rows; their ids are drawn under the locks of the states they speak of."""
        rows = [(after, topic, pack(letters)) for after, found in ((False, self.facts), (True, self.after))
                for topic, letters in sorted(found.items())]  # fmt: skip
        if rows:
            await con.execute(
                "insert into outbox (tx, after, topic, records) select pg_current_xact_id()::text::bigint, a, t, r"
                " from unnest($1::boolean[], $2::text[], $3::bytea[]) with ordinality x(a, t, r, n) order by n", *columns(rows))  # fmt: skip


async def forget_sent(pool: asyncpg.Pool) -> None:
    """What was sent longer ago than we keep it goes."""
    await pool.execute("delete from outbox where sent_at < now() - make_interval(days => $1)", KEPT_DAYS)
