"""What this machine could do at most: the parts of the full way, bare, each alone. Not part of Lotse.

    python -m tests.performance.limits KAFKA DSN COUNT SCRATCH_TOPIC TOPIC...

It prints one line of JSON: name to `{"rate": a second, "cpu": µs of this process}`.
"""

import asyncio
import gc
import json
import logging
import os
import sys
import time
from typing import Any
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.attendance import AttendanceReported
from contracts.envelope import read_attributes

ROWS = 2_000  # a transaction
CASES = 10_000
STATE = "x" * 1_500  # a state with some meetings
LETTER = 500  # bytes of a fact or an answer, packed

TABLES = """
drop schema if exists limits cascade;
create schema limits;
set search_path = limits;
create table position (topic text, part int, next bigint, primary key (topic, part)) with (fillfactor = 50);
create table state (kind text, id text, tenant text, shape int, body text, due_at timestamptz, primary key (kind, id))
    with (fillfactor = 80);
create table answered (key uuid primary key, content uuid);
create table outbox (id bigint generated always as identity primary key, topic text, records bytea);
alter table outbox alter column records set storage external;
create table timeline (family text, subject text, number bigint, fact_id text, type text, time timestamptz, body text,
    primary key (family, subject, number));
create table projection (id text primary key, tenant text, presence text, revision bigint) with (fillfactor = 80);
insert into position values ('t', 0, 0);
"""
LOCK = """select s.* from state s join unnest($1::text[], $2::text[]) n(kind, id) using (kind, id) order by s.kind, s.id
          for update of s"""
SAVE = """insert into state (kind, id, tenant, shape, body) select 'case', i, 'a', 1, b from unnest($1::text[], $2::text[]) x(i, b)
          on conflict (kind, id) do update set body = excluded.body"""
UPSERT = """insert into projection select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
            on conflict (id) do update set presence = excluded.presence, revision = excluded.revision"""


class Watch:
    """Seconds and CPU of what runs inside."""

    def __enter__(self) -> "Watch":
        self._wall, self._cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.monotonic() - self._wall, time.process_time() - self._cpu

    def of(self, count: int) -> dict[str, float]:
        """What one of so many took."""
        return {"rate": count / self.seconds, "cpu": self.cpu / count * 1e6}


async def consume(
    servers: str, topics: list[str], count: int, *, decode: bool = False, into: Any = None
) -> dict[str, float]:
    """getmany, with or without reading body and headers, with or without one upsert of each batch into a table."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=servers, isolation_level="read_committed",
                                auto_offset_reset="earliest")  # fmt: skip
    await consumer.start()
    try:
        seen, validate = 0, AttendanceReported.__pydantic_validator__.validate_json
        with Watch() as watch:  # from the first record on: the client fetches ahead
            while seen < count:
                for records in (await consumer.getmany(timeout_ms=1_000, max_records=2_000)).values():
                    seen += len(records)
                    read = [(read_attributes(r.headers), validate(r.value)) for r in records] if decode else []
                    if into is not None:
                        rows = {a.subject: (a.subject, a.tenant, said.presence, said.revision) for a, said in read}
                        await into.execute(UPSERT, *zip(*sorted(rows.values()), strict=True))
        return watch.of(seen)
    finally:
        await consumer.stop()


async def produce(servers: str, topic: str, count: int) -> dict[str, float]:
    """Idempotent, lz4, send and gather, of letters as the relay sends them."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, linger_ms=2, compression_type="lz4",
                                max_batch_size=256 * 1024)  # fmt: skip
    await producer.start()
    try:
        letters = [(uuid4().bytes, json.dumps({"id": str(uuid4()), "about": str(uuid4()), "on": "2026-01-01"}).encode() * 3)
                   for _ in range(count)]  # fmt: skip
        headers = [(f"ce_name{n}", uuid4().hex.encode()) for n in range(9)]
        await producer.send_and_wait(topic, b"first")
        with Watch() as watch:
            for at in range(0, count, ROWS):
                chunk = letters[at : at + ROWS]
                await asyncio.gather(
                    *[await producer.send(topic, value, key=key, headers=headers) for key, value in chunk]
                )
        return watch.of(count)
    finally:
        await producer.stop()


async def upsert(con: Any, count: int) -> dict[str, float]:
    """A projection alone."""
    rows = [sorted({f"{(at * 7919 + n) % CASES:036d}" for n in range(ROWS)}) for at in range(count // ROWS)]
    with Watch() as watch:
        for revision, ids in enumerate(rows):
            await con.execute(UPSERT, ids, ["a"] * len(ids), ["PRESENT"] * len(ids), [revision] * len(ids))
    return watch.of(sum(map(len, rows)))


async def all_writes(con: Any, count: int) -> dict[str, float]:
    """What the full loop reads and writes, on one connection: positions, states, claims, outbox, timeline."""
    ids = [f"{n:036d}" for n in range(CASES)]
    await con.execute(SAVE, ids, [STATE] * CASES)
    claims = [[(uuid4(), uuid4()) for _ in range(ROWS)] for _ in range(count // ROWS)]
    packed = os.urandom(LETTER * ROWS)
    now = (await con.fetchrow("select now() as now"))["now"]
    with Watch() as watch:
        for at, keys in enumerate(claims):
            some = sorted(ids[(at * ROWS + n) % CASES] for n in range(ROWS))
            keys.sort()
            async with con.transaction():
                await con.fetch("select next from position where topic = 't' for update")
                await con.fetch(LOCK, ["case"] * ROWS, some)
                await con.execute(
                    "insert into answered select * from unnest($1::uuid[], $2::uuid[])", *zip(*keys, strict=True)
                )
                await con.execute(SAVE, some, [STATE] * ROWS)
                insert = "insert into outbox (topic, records) select * from unnest($1::text[], $2::bytea[])"
                await con.execute(insert, ["facts", "answers"], [packed, packed])
                await con.copy_records_to_table("timeline", schema_name="limits", records=[
                    ("attendance", id, at, str(key), "lotse.attendance.attendance_recorded.v1", now, STATE[:350])
                    for id, (key, _) in zip(some, keys, strict=True)])  # fmt: skip
                await con.execute("update position set next = next + $1", ROWS)
    return watch.of(len(claims) * ROWS)


async def run(servers: str, dsn: str, count: int, scratch: str, topics: list[str]) -> dict[str, dict[str, float]]:
    """All of them, one after the other."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    con = await asyncpg.connect(dsn)
    await con.execute(TABLES)
    try:
        return {
            "consume": await consume(servers, topics, count),
            "consume and decode": await consume(servers, topics, count, decode=True),
            "consume, decode and upsert": await consume(servers, topics, count, decode=True, into=con),
            "unnest upsert": await upsert(con, count),
            "all writes of the loop, one connection": await all_writes(con, count),
            "idempotent produce": await produce(servers, scratch, count),
        }
    finally:
        await con.execute("drop schema limits cascade")
        await con.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    servers, dsn, count, scratch, *topics = sys.argv[1:]
    print(json.dumps(asyncio.run(run(servers, dsn, int(count), scratch, topics))))
