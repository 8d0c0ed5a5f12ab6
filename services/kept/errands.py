"""Side effects on the world. The attempt is a fact first; read back it is claimed; who claimed it begins and makes it, once.

A claim that was begun and has no result after its lease is uncertain, for a human: perhaps the world has it, perhaps not. One
that was not begun is somebody else's to make.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import structlog

from contracts.envelope import Attributes, Fact, Recorded
from services.process.failpoints import failpoint
from services.runtime.database import RETRY, Connection, columns, encode
from services.runtime.failures import into_quarantine, name_of
from services.runtime.messages import Message
from services.runtime.node import Node
from services.runtime.work import NOT_THE_DATA, Work

log = structlog.get_logger()

MOST = 100  # claims seen to at a time
TOO_OLD = timedelta(hours=3)
"""An attempt recorded longer ago, by the clock of who recorded it, is not made: behind a mail server that hangs, or after a night
without a database, what it says may long have been taken back. A day's lines went out together with the facts that withdrew them."""
LONGEST = 120.0  # seconds an attempt may take; far below the lease, so that nobody sends what is already uncertain
LAST, LAST_WORD = 10.0, 3.0
"""Seconds in which who is told to stop ends the attempt in hand, beside what FastStream takes to stop, and hands back the others:
Kubernetes kills after thirty."""
_read_attributes = msgspec.json.Decoder(Attributes).decode


async def claim(con: Connection, node: Node, back: list[Message]) -> list[Recorded]:
    """Claims attempts read back, in the transaction that moves the position. Gives back those that are ours to make."""
    errand = node.service.errand
    attempts = {m.attributes.id: m for m in back if errand and isinstance(m.body, errand.fact)}
    if not attempts:
        return []
    rows = await con.fetch(
        "insert into claim (id, attributes, body, lease_until, done)"
        " select i, a, b, now() + make_interval(secs => $4), false from unnest($1::text[], $2::text[], $3::bytea[]) x(i, a, b)"
        " on conflict do nothing returning id",
        *columns((id, encode(m.attributes).decode(), m.value) for id, m in sorted(attempts.items())), node.lease_seconds)  # fmt: skip
    return [Recorded(attempts[row["id"]].attributes, attempts[row["id"]].body) for row in rows]


async def run(node: Node, claimed: "asyncio.Queue[Recorded]") -> None:
    """Makes claimed attempts, one after the other, and records what came of each. Told to stop it ends the one in hand: with each
    update of the service a human had to see to a mail."""
    me = uuid4()
    while True:
        making = asyncio.create_task(_make(node, await claimed.get(), me))
        try:
            await asyncio.shield(making)
        finally:
            if not making.done():  # told to stop
                try:
                    await asyncio.wait([making], timeout=LAST)
                finally:
                    making.cancel()


async def hand_back(node: Node) -> None:
    """What this process claimed and has not begun is somebody else's at once: an office waited for a lease of five minutes."""
    if not node.making:
        return  # a stop need not ask a database that is away
    not_begun = "select id from claim where id = any($1::text[]) and begun_by is null for update skip locked"
    with contextlib.suppress(*RETRY):  # then their leases end by themselves
        async with asyncio.timeout(LAST_WORD):
            back = f"update claim set lease_until = now() where id in ({not_begun})"  # noqa: S608
            await node.pool.execute(back, sorted(node.making))


async def _make(node: Node, attempt: Recorded, me: UUID) -> None:
    """Makes it, unless somebody else has begun it. (Where Postgres' reply was lost we ask again, and find our own name.) Its lease begins
    anew with it: while Kafka is away no minder renews one, and what waited behind others would be called uncertain while its mail is
    on its way."""
    begin = ("update claim set begun_by = $2, lease_until = now() + make_interval(secs => $3)"
             " where id = $1 and not done and coalesce(begun_by, $2) = $2")  # fmt: skip
    id = attempt.attributes.id
    if await _insisted(partial(node.pool.execute, begin, id, me, node.lease_seconds)) != "UPDATE 0":
        failpoint("after_begin")
        result = await _made(node, attempt)
        failpoint("after_errand")
        await _insisted(partial(record, node, attempt, result))
    node.making.discard(id)


async def _insisted(act: Callable[[], Awaitable[Any]]) -> Any:
    """Again until it is done: while the database is away nobody's lease ends."""
    while True:
        try:
            return await act()
        except Exception as error:
            log.warning("held", held="result", error=name_of(error))
            await asyncio.sleep(1)


async def _made(node: Node, attempt: Recorded) -> Fact:
    errand, recorded = node.service.errand, attempt.attributes.recordedtime
    assert errand
    if recorded is not None and recorded < datetime.now(UTC) - TOO_OLD:
        return errand.too_old(attempt.fact)  # certainly not made; what is missing then is attempted anew
    try:
        async with asyncio.timeout(LONGEST):
            return await errand.perform(attempt)
    except Exception as error:  # we do not know what the world has: never made again by itself
        log.error("an attempt is uncertain", id=attempt.attributes.id, error=name_of(error))
        return errand.uncertain(attempt.fact)


async def expire(node: Node, claimed: "asyncio.Queue[Recorded]") -> None:
    """Of what was claimed and never heard of again: what was begun is uncertain, what was not is ours to make now. What waits
    here for its turn, behind a mail server that takes its time, is neither: its lease is renewed. So is one longer than any: since
    it was taken, the database's clock was set back, and an office would hear nothing for as long."""
    if errand := node.service.errand:
        renew = "update claim set lease_until = now() + make_interval(secs => $2) where not done and id ="
        ours = ("select unnest($1::text[]) union all"
                " select id from claim where not done and lease_until > now() + 2 * make_interval(secs => $2)")  # fmt: skip
        await node.pool.execute(f"{renew} any(array({ours}))", sorted(node.making), node.lease_seconds)
        over = "select id from claim where not done and lease_until < now() order by id limit $1 for update skip locked"
        for row in await node.pool.fetch(f"{renew} any(array({over})) returning *", MOST, node.lease_seconds):
            attempt = Recorded(_read_attributes(row["attributes"]), errand.fact.from_json(row["body"]))
            if row["begun_by"] is not None:
                await record(node, attempt, errand.uncertain(attempt.fact))
            else:
                node.making.add(row["id"])
                claimed.put_nowait(attempt)


async def record(node: Node, attempt: Recorded, result: Fact) -> None:
    """Records an attempt's result, once: only who marks the claim as done records. Where a rule of ours breaks on it, its subject
    goes into quarantine, as at a tick, and the result is recorded: else every later attempt would wait behind it."""
    try:
        await _record(node, attempt, result)
    except NOT_THE_DATA:
        raise
    except Exception as error:
        log.error("quarantine", kind=result.subject_kind, error=name_of(error))
        await into_quarantine(node.pool, attempt.attributes.subject, name_of(error))
        await _record(node, attempt, result)


async def _record(node: Node, attempt: Recorded, result: Fact) -> None:
    a = attempt.attributes
    async with node.pool.acquire() as con, con.transaction():
        work = Work(node, con)
        name = (result.subject_kind, a.subject)
        await work.open([], names=[name], tenants=[a.tenant])
        if await con.execute("update claim set done = true where id = $1 and not done", a.id) != "UPDATE 0":
            work.record(work.slots[name], result, f"{a.id}.result", a.id, None, a.traceparent, a.tenant)
            work.react(work.slots[name])
            await work.save()
    node.sending.set()
