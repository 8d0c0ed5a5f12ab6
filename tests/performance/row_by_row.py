"""A relay as it is often written, to compare with: a row a message, one after the other. Not part of Lotse.

    python -m tests.performance.row_by_row KAFKA DSN COUNT TO_TOPIC FROM_TOPIC

It fills an outbox with COUNT records of FROM_TOPIC, then sends them to TO_TOPIC: the oldest row locked, sent, acknowledged,
deleted, committed. It prints one line of JSON: rows a second, CPU µs a row.
"""

import asyncio
import json
import logging
import sys
import time

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

TABLE = """
drop table if exists plain_outbox;
create table plain_outbox (
    id bigint generated always as identity primary key, topic text not null, key bytea, value bytea, headers jsonb not null
)
"""
NEXT = "select id, topic, key, value, headers from plain_outbox order by id limit 1 for update skip locked"


async def fill(con: asyncpg.Connection, servers: str, count: int, to: str, of: str) -> None:
    """Real records, with their headers."""
    consumer = AIOKafkaConsumer(of, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    rows: list[tuple[object, ...]] = []
    async with asyncio.timeout(60):
        while len(rows) < count:
            for records in (await consumer.getmany(timeout_ms=500, max_records=count)).values():
                rows += [(to, r.key, r.value, json.dumps([(n, v.decode()) for n, v in r.headers])) for r in records]
    await consumer.stop()
    await con.copy_records_to_table("plain_outbox", columns=["topic", "key", "value", "headers"], records=rows[:count])


async def run(servers: str, dsn: str, count: int, to: str, of: str) -> None:
    """Fills, sends, prints."""
    con = await asyncpg.connect(dsn)
    await con.execute(TABLE)
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, compression_type="lz4")
    await producer.start()
    try:
        await fill(con, servers, count, to, of)
        begun, used, sent = time.monotonic(), time.process_time(), 0
        while sent < count:
            async with con.transaction():
                row = await con.fetchrow(NEXT)
                assert row is not None
                headers = [(name, value.encode()) for name, value in json.loads(row["headers"])]
                await producer.send_and_wait(row["topic"], row["value"], key=row["key"], headers=headers)
                await con.execute("delete from plain_outbox where id = $1", row["id"])
            sent += 1
        seconds, cpu = time.monotonic() - begun, time.process_time() - used
        print(json.dumps({"rate": count / seconds, "cpu": cpu / count * 1e6}))
    finally:
        await producer.stop()
        await con.execute("drop table plain_outbox")
        await con.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    servers, dsn, count, to, of = sys.argv[1:]
    asyncio.run(run(servers, dsn, int(count), to, of))
