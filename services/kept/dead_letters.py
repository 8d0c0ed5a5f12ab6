"""Dead letters: what nobody can read, sealed to the operations key, and how many of them a publisher may send."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import structlog
from joserfc import jwe

from contracts.topics import DEAD_LETTER_DAYS, dead_letters_topic
from services.runtime import positions
from services.runtime.database import Connection, columns, encode, unpack
from services.runtime.failures import TooMuch
from services.runtime.messages import Message, Part, moment_of
from services.runtime.node import Node
from services.runtime.outbox import Letter, Outgoing

log = structlog.get_logger()

UNREADABLE_LIMIT = 1000
"""Unreadable messages of one publisher in an hour; beyond it, its partitions are held: a bad deployment of one partner must
neither flood the dead letters nor stop anybody else. The next hour tries again."""
MOST_BYTES = 1 << 20
"""As they came, of one transaction: sealed they are up to eight times as much, and 64 of 128 KiB, one fetch, took 290 MiB."""

NOW = datetime.max.replace(tzinfo=UTC)
"""Later than any hour: counted in the present one, as the database tells it."""


class Counted(NamedTuple):
    """Under what letters are counted; `at`: a moment of the hour."""

    topic: str
    publisher: str
    type: str
    rule: str
    at: datetime


class Origin(NamedTuple):
    """Where a message stood, and since when."""

    topic: str
    part: int
    offset: int
    arrived: datetime

    @staticmethod
    def of(message: Message) -> "Origin":
        """Of a message; known by the broker's time, too: a broker whose data were set back gives the same offset to something
        else."""
        return Origin(*message.part, message.offset, message.arrived)


_UNNEST = 'unnest($1::text[], $2::int[], $3::bigint[], $4::timestamptz[]) as m(topic, part, "offset", arrived)'


async def unreadable_this_hour(pool: asyncpg.Pool) -> Counter[str]:
    """Publisher to the number of its unreadable messages in the present hour."""
    rows = await pool.fetch("select publisher, sum(letters)::bigint as n from dead_letter where hour = date_trunc('hour', now())"
                           " group by publisher")  # fmt: skip
    return Counter({row["publisher"]: row["n"] for row in rows})


async def sum_up(pool: asyncpg.Pool) -> None:
    """Hours older than the letters themselves become one figure, for good: each look at the service adds up all there are."""
    old = f"hour < now() - interval '{DEAD_LETTER_DAYS} days' and hour > 'epoch'"
    await pool.execute(
        f"with old as (delete from dead_letter where {old} returning *)"  # noqa: S608
        " insert into dead_letter (topic, publisher, type, rule, letters, hour)"
        " select topic, publisher, type, rule, sum(letters), 'epoch' from old group by topic, publisher, type, rule"
        " on conflict (topic, type, rule, hour) do update set letters = dead_letter.letters + excluded.letters")  # fmt: skip


async def bury(con: Connection, node: Node, bad: list[Message], out: Outgoing) -> None:
    """Dead letters: the untouched bytes, sealed to the operations key, with origin and verdict; counted for status. The
    sender's headers are sealed with them: they may name people. What has its letter gets no second and counts no more."""
    if not bad:
        return
    if len(bad) > 1 and sum(map(_size, bad)) > MOST_BYTES:
        raise TooMuch
    key, before = node.operations_key, await _buried_before(con, bad)
    counts: Counter[Counted] = Counter()
    for message in bad:
        if Origin.of(message) in before:
            continue
        assert message.input.publisher is not None and message.verdict is not None
        type, pointer, rule = message.verdict.type, message.verdict.pointer, message.verdict.rule
        counts[Counted(message.part.topic, message.input.publisher.name, type, f"{pointer} {rule}", NOW)] += 1
        said = {
            "topic": message.part.topic, "partition": message.part.part, "offset": message.offset, "verdict": type,
            "pointer": pointer, "rule": rule, "arrived": message.arrived.isoformat(), "reference": message.reference,
        }  # fmt: skip
        sealed = encode([[(str(name), text) for name, text in message.headers], message.value])  # bytes as base64
        protected = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": key.thumbprint()}
        place = f"{message.part.topic}/{message.part.part}/{message.offset}".encode()
        headers = [(f"lotse_{name}", str(text).encode()) for name, text in said.items()]
        letter = Letter(place, jwe.encrypt_compact(protected, sealed, key).encode(), headers)
        out.after[dead_letters_topic(node.service.name)].append(letter)
    await _count(con, counts)


def _size(message: Message) -> int:
    return len(message.value or b"") + sum(len(str(name)) + len(text or b"") for name, text in message.headers)


async def _count(con: Connection, counts: Counter[Counted]) -> None:
    if not counts:
        return
    await con.execute(
        "insert into dead_letter (topic, publisher, type, rule, letters, hour) select topic, publisher, type, rule, sum(n), hour"
        " from (select *, date_trunc('hour', least(at, now())) as hour"
        " from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])"
        " as c(topic, publisher, type, rule, at, n)) c group by topic, publisher, type, rule, hour order by topic, type, rule, hour"
        " on conflict (topic, type, rule, hour) do update set letters = dead_letter.letters + excluded.letters",
        *columns((*key, n) for key, n in counts.items()))  # fmt: skip


async def learn_buried(con: Connection, node: Node, letters: Iterable[Any]) -> None:
    """A rebuild with nothing to compare with reads submissions again from their start: what has its letter gets no second one, and
    counts in the hour in which it came, so that nothing old is a flood now."""
    found: dict[Origin, Counted] = {}
    for record in letters:
        if (letter := told(record.headers)) is None:
            log.error("a record is no dead letter", partition=record.partition, offset=record.offset)
            continue
        said, origin = letter
        if (input := node.inputs.get(origin.topic)) and input.publisher:  # else it comes no more
            rule = f"{said['pointer']} {said['rule']}"
            found[origin] = Counted(origin.topic, input.publisher.name, said["verdict"], rule, origin.arrived)
    await _count(con, Counter(found[origin] for origin in await _expect(con, found)))


async def expect_again(node: Node, reader: Any, starts: Mapping[Part, int]) -> None:
    """Partitions, held until then, are read again from these places: what has its letter, and was counted with it, gets no
    second. Letters stand in the outbox, first, and in the log, which the host's `reader` reads."""
    topic = dead_letters_topic(node.service.name)
    rows = await node.pool.fetch("select records from outbox where topic = $1 and sent_at is null", topic)
    await _expect(node.pool, _within(starts, (headers for row in rows for _, _, headers in unpack(row["records"]))))
    parts = await reader.parts([topic])
    begins, ends = await reader.starts(parts), await reader.ends(parts)
    async for records in reader.records({part: (begins[part], ends[part]) for part in parts}):
        await _expect(node.pool, _within(starts, (record.headers for record in records)))


async def expected_again(pool: asyncpg.Pool, fetched: Mapping[Part, Sequence[Any]]) -> set[Origin]:
    """Those of the records fetched that have their letter, or lie before where their partition stands, as after each start: they
    count against nobody's limit a second time."""
    bounds = [(*part, records[0].offset, records[-1].offset) for part, records in fetched.items()]
    rows = await pool.fetch(
        "select b.* from buried b join unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) f(topic, part, first, last)"
        ' on (b.topic, b.part) = (f.topic, f.part) and b."offset" between f.first and f.last', *columns(bounds))  # fmt: skip
    stands = await positions.stand(pool)
    before = {Origin(*part, record.offset, moment_of(record.timestamp)) for part, records in fetched.items()
              for record in records if record.offset < stands.get(part, 0)}  # fmt: skip
    return before | {Origin(*row) for row in rows}


def _within(starts: Mapping[Part, int], letters: Iterable[Any]) -> set[Origin]:
    """Where the messages stood of which these are the letters' headers: those in these partitions, from these places on."""
    origins = {letter[1] for headers in letters if (letter := told(headers)) is not None}
    return {o for o in origins if starts.get(Part(o.topic, o.part), o.offset + 1) <= o.offset}


def told(headers: Iterable[tuple[str, bytes]]) -> tuple[dict[str, str], Origin] | None:
    """What a letter's headers say, and where what it holds stood. None for what is no letter: whoever has the right may write
    to the topic."""
    try:
        said = {name.removeprefix("lotse_"): text.decode() for name, text in headers}
        place = said["topic"], int(said["partition"]), int(said["offset"])
        return said, Origin(*place, datetime.fromisoformat(said["arrived"]).astimezone(UTC))
    except (KeyError, ValueError, AttributeError):
        return None


async def _expect(con: Connection | asyncpg.Pool, origins: Iterable[Origin]) -> list[Origin]:
    """Keeps them until they come; gives back those that were not known yet."""
    if not (wanted := sorted(origins)):
        return []
    add = f"insert into buried select * from {_UNNEST} on conflict do nothing returning *"
    return [Origin(*row) for row in await con.fetch(add, *columns(wanted))]


async def _buried_before(con: Connection, bad: list[Message]) -> set[Origin]:
    """Those that had their letter before they were read again; each is asked for once."""
    origins = sorted(Origin.of(message) for message in bad)
    same = 'b.topic = m.topic and b.part = m.part and b."offset" = m."offset" and b.arrived = m.arrived'
    rows = await con.fetch(f"delete from buried b using {_UNNEST} where {same} returning b.*", *columns(origins))
    return {Origin(*row) for row in rows}
