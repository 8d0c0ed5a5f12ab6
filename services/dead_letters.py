"""Dead letters: what nobody can read, sealed to the operations key, and how many of them a publisher may send."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from joserfc import jwe

from contracts.topics import dead_letters_topic
from services.runtime.database import Connection, columns, encode
from services.runtime.messages import Message
from services.runtime.node import Node
from services.runtime.outbox import Outgoing

UNREADABLE_LIMIT = 1000
"""Unreadable messages of one publisher in an hour; beyond it, its partitions are held: a bad deployment of one partner must
neither flood the dead letters nor stop anybody else. The next hour tries again."""


NOW = datetime.max.replace(tzinfo=UTC)
"""Later than any hour: counted in the present one, as the database tells it."""


class Origin(NamedTuple):
    """Where a message stood, and since when."""

    topic: str
    part: int
    offset: int
    arrived: datetime


_UNNEST = 'unnest($1::text[], $2::int[], $3::bigint[], $4::timestamptz[]) as m(topic, part, "offset", arrived)'


async def unreadable_this_hour(con: Connection) -> Counter[str]:
    """Publisher to the number of its unreadable messages in the present hour."""
    rows = await con.fetch("select publisher, sum(letters)::bigint as n from dead_letter where hour = date_trunc('hour', now())"
                           " group by publisher")  # fmt: skip
    return Counter({row["publisher"]: row["n"] for row in rows})


async def bury(con: Connection, node: Node, bad: list[Message], out: Outgoing) -> None:
    """Dead letters: the untouched bytes, sealed to the operations key, with origin and verdict; counted for status. The
    sender's headers are sealed with them: they may name people."""
    if not bad:
        return
    key, before = node.operations_key, await _buried_before(con, bad)
    counts: Counter[tuple[str, str, str, str, datetime]] = Counter()
    for message in bad:
        assert message.input.publisher is not None and message.verdict is not None
        type, pointer, rule = message.verdict.type, message.verdict.pointer, message.verdict.rule
        known = Origin(*message.part, message.offset, message.arrived) in before
        counted_at = message.arrived if known else NOW  # what was read in another hour floods nobody in this one
        counts[message.part.topic, message.input.publisher.name, type, f"{pointer} {rule}", counted_at] += 1
        if known:
            continue
        said = {
            "topic": message.part.topic, "partition": message.part.part, "offset": message.offset, "verdict": type,
            "pointer": pointer, "rule": rule, "arrived": message.arrived.isoformat(), "reference": message.reference,
        }  # fmt: skip
        sealed = encode([[(str(name), text) for name, text in message.headers], message.value])  # bytes as base64
        protected = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": key.thumbprint()}
        place = f"{message.part.topic}/{message.part.part}/{message.offset}".encode()
        headers = [(f"lotse_{name}", str(text).encode()) for name, text in said.items()]
        letter = (place, jwe.encrypt_compact(protected, sealed, key).encode(), headers)
        out.after[dead_letters_topic(node.service.name)].append(letter)
    await con.execute(
        "insert into dead_letter (topic, publisher, type, rule, letters, hour) select topic, publisher, type, rule, sum(n), hour"
        " from (select *, date_trunc('hour', least(at, now())) as hour"
        " from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])"
        " as c(topic, publisher, type, rule, at, n)) c group by topic, publisher, type, rule, hour order by topic, type, rule, hour"
        " on conflict (topic, type, rule, hour) do update set letters = dead_letter.letters + excluded.letters",
        *columns((*key, n) for key, n in counts.items()))  # fmt: skip


async def learn_buried(con: Connection, letters: Iterable[Any]) -> None:
    """A rebuild with nothing to compare with reads submissions again from their start: what has its letter gets no second."""
    origins = []
    for record in letters:
        said = {name: text.decode() for name, text in record.headers}
        arrived = datetime.fromisoformat(said["lotse_arrived"])
        origins.append(Origin(said["lotse_topic"], int(said["lotse_partition"]), int(said["lotse_offset"]), arrived))
    add = f"insert into buried select * from {_UNNEST} on conflict do nothing"
    await con.execute(add, *columns(sorted(set(origins))))


async def _buried_before(con: Connection, bad: list[Message]) -> set[Origin]:
    """Those that had their letter before a rebuild; each is asked for once. Known by the broker's time, too: a broker whose data
    were set back gives the same offset to something else."""
    origins = sorted(Origin(*message.part, message.offset, message.arrived) for message in bad)
    same = 'b.topic = m.topic and b.part = m.part and b."offset" = m."offset" and b.arrived = m.arrived'
    rows = await con.fetch(f"delete from buried b using {_UNNEST} where {same} returning b.*", *columns(origins))
    return {Origin(*row) for row in rows}
