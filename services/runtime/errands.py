"""Side effects on the world. The attempt is a fact first; read back it is claimed; who claimed it makes it, once.

A claim without a result after its lease is uncertain, for a human: perhaps the world has it, perhaps not.
"""

import asyncio
from typing import Any

import msgspec
import structlog

from contracts.envelope import Attributes, Fact, Recorded
from services.runtime.database import Connection, columns, encode
from services.runtime.failures import failpoint, name_of
from services.runtime.messages import Message
from services.runtime.node import Node
from services.runtime.work import Work

log = structlog.get_logger()

LONGEST = 120.0  # seconds an attempt may take; far below the lease, so that nobody sends what is already uncertain


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
    """Makes claimed attempts, one after the other, and records what came of each."""
    errand = node.service.errand
    assert errand
    while True:
        attempt = await claimed.get()
        try:
            async with asyncio.timeout(LONGEST):
                result = await errand.perform(attempt)
        except Exception as error:  # we do not know what the world has: never made again by itself
            log.error("an attempt is uncertain", id=attempt.attributes.id, error=name_of(error))
            result = errand.uncertain(attempt)
        failpoint("after_errand")
        while True:  # the result must be recorded; while the database is away nobody's lease ends
            try:
                await record(node, attempt, result)
                node.making.discard(attempt.attributes.id)
                break
            except Exception as error:
                log.warning("held", held="result", error=name_of(error))
                await asyncio.sleep(1)


async def expire(node: Node) -> None:
    """Records as uncertain what was claimed and never heard of again. What waits here for its turn, behind a mail server that
    takes its time, is neither: its lease is renewed."""
    if errand := node.service.errand:
        renew = (
            "update claim set lease_until = now() + make_interval(secs => $2) where id = any($1::text[]) and not done"
        )
        await node.pool.execute(renew, sorted(node.making), node.lease_seconds)
        sql = "select id, attributes, body from claim where not done and lease_until < now() order by id limit 100"
        for row in await node.pool.fetch(sql):
            attempt = Recorded(_read(row["attributes"]), errand.fact.from_json(row["body"]))
            await record(node, attempt, errand.uncertain(attempt))


_read: Any = msgspec.json.Decoder(Attributes).decode


async def record(node: Node, attempt: Recorded, result: Fact) -> None:
    """Records an attempt's result, once: only who marks the claim as done records."""
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
