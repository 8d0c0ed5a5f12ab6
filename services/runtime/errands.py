"""Side effects on the world. The attempt is a fact first; read back it is claimed; who claimed it makes it, once.

A claim without a result after its lease is uncertain, for a human: perhaps the world has it, perhaps not.
"""

import asyncio
from collections.abc import Callable, Mapping

import asyncpg
import msgspec
import structlog

from contracts.envelope import Attributes, Fact, Recorded
from contracts.topics import Publisher
from services.runtime.batch import FactIn
from services.runtime.database import Connection, encode
from services.runtime.failures import failpoint, name_of
from services.runtime.service import Errand, Service
from services.runtime.work import Work

log = structlog.get_logger()

LONGEST = 120.0  # seconds an attempt may take; far below the lease, so that nobody sends what is already uncertain


async def claim(con: Connection, errand: Errand, back: list[FactIn], lease_seconds: int) -> list[Recorded]:
    """Claims attempts read back, in the transaction that moves the position. Gives back those that are ours to make."""
    attempts = {m.attributes.id: m for m in back if isinstance(m.fact, errand.fact)}
    ids = sorted(attempts)
    if not ids:
        return []
    rows = await con.fetch(
        "insert into claim (id, attributes, body, lease_until, done)"
        " select i, a, b, now() + make_interval(secs => $4), false from unnest($1::text[], $2::text[], $3::bytea[]) x(i, a, b)"
        " on conflict do nothing returning id",
        ids, [encode(attempts[id].attributes).decode() for id in ids], [attempts[id].body for id in ids], lease_seconds,
    )  # fmt: skip
    return [_recorded(attempts[row["id"]].attributes, attempts[row["id"]].fact) for row in rows]


def _recorded(attributes: Attributes, fact: Fact | None) -> Recorded:
    assert fact is not None
    return Recorded(attributes, fact)


async def run(
    claimed: "asyncio.Queue[Recorded]",
    pool: asyncpg.Pool,
    service: Service,
    source: str,
    wake_relay: Callable[[], None],
) -> None:
    """Makes claimed attempts, one after the other, and records what came of each."""
    assert service.errand
    while True:
        attempt = await claimed.get()
        try:
            async with asyncio.timeout(LONGEST):
                result = await service.errand.perform(attempt)
        except Exception as error:  # we do not know what the world has: never made again by itself
            log.error("an attempt is uncertain", id=attempt.attributes.id, error=name_of(error))
            result = service.errand.uncertain(attempt)
        failpoint("after_errand")
        while True:  # the result must be recorded; while the database is away the lease runs, and ends in uncertain
            try:
                await record(pool, service, source, attempt, result)
                break
            except Exception as error:
                log.warning("held", held="result", error=name_of(error))
                await asyncio.sleep(1)
        wake_relay()


async def expire(pool: asyncpg.Pool, service: Service, source: str) -> int:
    """Records as uncertain what was claimed and never heard of again. Gives back how many."""
    if service.errand is None:
        return 0
    rows = await pool.fetch(
        "select id, attributes, body from claim where not done and lease_until < now() order by id limit 100"
    )
    for row in rows:
        attributes = msgspec.json.decode(row["attributes"], type=Attributes)
        attempt = Recorded(attributes, service.errand.fact.from_json(row["body"]))
        await record(pool, service, source, attempt, service.errand.uncertain(attempt))
    return len(rows)


async def record(
    pool: asyncpg.Pool,
    service: Service,
    source: str,
    attempt: Recorded,
    result: Fact,
    publishers: Mapping[str, Publisher] = {},
) -> bool:
    """Records an attempt's result, once: whoever marks the claim as done records, the other is told False."""
    attributes = attempt.attributes
    async with pool.acquire() as con, con.transaction():
        work = Work(service, publishers, source, con)
        await work.share([attributes.tenant])
        name = (result.subject_kind, attributes.subject)
        await work.lock([name])
        done = await con.execute("update claim set done = true where id = $1 and not done", attributes.id)
        if done == "UPDATE 0":
            return False
        slot = work.slots[name]
        id = f"{attributes.id}.result"
        work.record(slot, result, id, attributes.id, None, attributes.traceparent, attributes.tenant)
        work.react(slot)
        await work.save([])
    return True
