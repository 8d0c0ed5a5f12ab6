"""Dead letters: what nobody can read, sealed to the operations key, and how many of them a publisher may send."""

from collections import Counter

from joserfc import jwe

from contracts.topics import dead_letters_topic
from services.runtime.database import Connection, columns, encode
from services.runtime.messages import Message
from services.runtime.node import Node
from services.runtime.outbox import Outgoing

UNREADABLE_LIMIT = 1000
"""Unreadable messages of one publisher in an hour; beyond it, its partitions are held: a bad deployment of one partner must
neither flood the dead letters nor stop anybody else. The next hour tries again."""


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
    key = node.operations_key
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for message in bad:
        assert message.input.publisher is not None and message.verdict is not None
        type, pointer, rule = message.verdict.type, message.verdict.pointer, message.verdict.rule
        counts[message.part.topic, message.input.publisher.name, type, f"{pointer} {rule}"] += 1
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
        "insert into dead_letter (topic, publisher, type, rule, letters, hour) select *, date_trunc('hour', now())"
        " from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])"
        " on conflict (topic, type, rule, hour) do update set letters = dead_letter.letters + excluded.letters",
        *columns(sorted((*key, n) for key, n in counts.items())))  # fmt: skip
