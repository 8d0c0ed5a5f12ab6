"""Refused, waiting, set aside, held: what is not recorded, and where. And the failpoints at which tests break us."""

import os
import signal
from datetime import datetime
from typing import NamedTuple

from contracts.topics import dead_letters_topic
from services.runtime import positions
from services.runtime.batch import BadIn, SubmissionIn
from services.runtime.database import Connection, pack
from services.runtime.outbox import Letter, Outgoing
from services.runtime.positions import Part

FAILPOINTS = (
    "decide",  # a rule of ours raises
    "before_commit",  # everything written, nothing committed
    "after_commit",  # committed, the reply or the process lost
    "after_ack",  # Kafka has it, the outbox row is still there
    "after_claim",  # the claim is committed, the attempt not made
    "after_errand",  # the world has it (mail accepted), its result not recorded
)
_armed: list[tuple[str, str, int]] = []
_hits: dict[str, int] = {}


class Broken(Exception):
    """Raised by a failpoint."""


def arm(spec: str) -> None:
    """Arms `name:kill|raise|lose[:nth time]`. Settings refuse this without LOTSE_TESTING."""
    name, action, *nth = spec.split(":")
    if name not in FAILPOINTS or action not in ("kill", "raise", "lose"):
        raise ValueError(f"failpoints are {', '.join(FAILPOINTS)}, each with :kill, :raise or :lose")
    _armed.append((name, action, int(nth[0]) if nth else 1))


def failpoint(name: str) -> None:
    """Nothing, unless a test armed it. `kill` and `lose` (the connection) strike once; `raise` every time from the nth on."""
    for armed, action, nth in _armed:
        if armed == name:
            _hits[name] = _hits.get(name, 0) + 1
            if action == "kill" and _hits[name] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            if action == "lose" and _hits[name] == nth:
                raise ConnectionResetError(name)
            if action == "raise" and _hits[name] >= nth:
                raise Broken(name)


class Held(NamedTuple):
    """What stands still, and why: `everything` or a partition."""

    what: str
    why: str
    since: datetime


def name_of(error: BaseException) -> str:
    """What may be said of an error: its class and Postgres' SQLSTATE and constraint, never its text: texts quote people."""
    sqlstate = getattr(error, "sqlstate", None)
    constraint = getattr(error, "constraint_name", None)
    return ":".join(str(part) for part in (type(error).__name__, sqlstate, constraint) if part)


async def set_aside(con: Connection, message: SubmissionIn, error: BaseException) -> bool:
    """Sets one submission aside: it claims no id, is counted and named, and is judged again when we start anew."""
    part = Part(message.place.topic, message.place.part)
    position = await positions.lock(con, [part])
    if position.get(part, 0) > message.place.offset:
        return False
    await con.execute(
        'insert into set_aside (reference, content, publisher, topic, part, "offset", error, arrived, headers, body)'
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        message.reference, message.content, message.publisher, *message.place, name_of(error), message.arrived,
        pack(message.headers), message.body,
    )  # fmt: skip
    await positions.move(con, {part: message.place.offset + 1})
    return True


def dead_letter(service: str, bad: BadIn, out: Outgoing) -> None:
    """The untouched bytes with origin and verdict. Headers and key of the sender stay at the origin: they may name people."""
    verdict, place = bad.verdict, bad.place
    headers = [
        ("lotse_topic", place.topic), ("lotse_partition", str(place.part)), ("lotse_offset", str(place.offset)),
        ("lotse_arrived", bad.arrived.isoformat()), ("lotse_verdict", verdict.type), ("lotse_pointer", verdict.pointer),
        ("lotse_rule", verdict.rule), ("lotse_reference", bad.reference),
    ]  # fmt: skip
    key = f"{place.topic}/{place.part}/{place.offset}".encode()
    out.after[dead_letters_topic(service)].append(
        Letter(key, bad.value, [(name, text.encode()) for name, text in headers])
    )


async def count_dead_letters(con: Connection, bad: list[BadIn]) -> None:
    """Counts per topic and verdict, for status."""
    counts: dict[tuple[str, str, str], int] = {}
    for letter in bad:
        key = (letter.place.topic, letter.verdict.type, f"{letter.verdict.pointer} {letter.verdict.rule}")
        counts[key] = counts.get(key, 0) + 1
    await con.execute(
        "insert into dead_letter_count (topic, type, rule, letters, last_at)"
        " select t, y, r, n, now() from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) x(t, y, r, n)"
        " on conflict (topic, type, rule) do update"
        " set letters = dead_letter_count.letters + excluded.letters, last_at = excluded.last_at",
        *(list(column) for column in zip(*sorted((*key, n) for key, n in counts.items()), strict=True)),
    )  # fmt: skip
