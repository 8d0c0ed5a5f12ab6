"""The usual service, to compare with: FastStream as its documentation shows it, fairly. Not part of Lotse.

`single`: one message, a pydantic argument, one transaction with upsert and outbox insert, acknowledged each.
`batch`: `list[Model]` with executemany. Neither checks who speaks, answers, numbers, fences or reacts; nothing is relayed.
`answering`: as `single`, without the outbox: it publishes to TOPIC.answers what it has stored, the way the documentation shows.

    python -m tests.performance.usual_service single|batch|answering KAFKA DSN COUNT TOPIC...

The first two read COUNT messages from the start of the topics and print one line of JSON: messages a second, CPU µs a message.
The third serves until SIGTERM.
"""

import asyncio
import json
import logging
import sys
import time
from uuid import uuid4

import asyncpg
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from contracts.attendance import AttendanceReported

TABLES = """
create table if not exists usual_attendance (
    participation_id text not null, meeting_id text not null, meeting_on date not null, presence text not null,
    units_attended int not null, revision bigint not null, reported_at timestamptz not null,
    primary key (participation_id, meeting_id)
);
create table if not exists usual_outbox (
    id bigint generated always as identity primary key, topic text not null, key text not null, payload jsonb not null
);
truncate usual_attendance, usual_outbox
"""
UPSERT = """
insert into usual_attendance values ($1, $2, $3, $4, $5, $6, $7)
on conflict (participation_id, meeting_id) do update set presence = excluded.presence,
    units_attended = excluded.units_attended, revision = excluded.revision, reported_at = excluded.reported_at
where usual_attendance.revision < excluded.revision
"""
OUTBOX = "insert into usual_outbox (topic, key, payload) values ('attendance.events', $1, $2)"


def row(report: AttendanceReported) -> tuple[object, ...]:
    """The report as a row of its table."""
    return (report.participation_id, report.meeting_id, report.meeting_on, report.presence, report.units_attended, report.revision,
            report.reported_at)  # fmt: skip


async def run(kind: str, servers: str, dsn: str, count: int, topics: list[str]) -> None:
    """Serves until so many messages are stored; the first tenth only warms up."""
    pool = await asyncpg.create_pool(dsn, min_size=2, max_size=4)
    await pool.execute(TABLES)
    broker = KafkaBroker(servers, logger=None)
    app = FastStream(broker, logger=None)
    seen, first, began, used, told = 0, 0, 0.0, 0.0, False

    def stored(more: int) -> None:
        nonlocal seen, first, began, used, told
        seen += more
        if not began and seen >= count / 10:
            began, used, first = time.monotonic(), time.process_time(), seen
        if seen >= count and not told:
            told, seconds, cpu = True, time.monotonic() - began, time.process_time() - used
            print(json.dumps({"rate": (seen - first) / seconds, "cpu": cpu / (seen - first) * 1e6}), flush=True)
            app.exit()

    group = f"usual-{uuid4().hex[:8]}"
    if kind == "answering":

        @broker.subscriber(*topics, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.ACK)
        @broker.publisher(f"{topics[0]}.answers")
        async def answer(report: AttendanceReported) -> dict[str, object]:
            async with pool.acquire() as con, con.transaction():
                await con.execute(UPSERT, *row(report))
            return {
                "participation_id": report.participation_id,
                "meeting_id": report.meeting_id,
                "revision": report.revision,
            }

    elif kind == "single":

        @broker.subscriber(*topics, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.ACK)
        async def handle(report: AttendanceReported) -> None:
            async with pool.acquire() as con, con.transaction():
                await con.execute(UPSERT, *row(report))
                await con.execute(OUTBOX, report.participation_id, report.model_dump_json())
            stored(1)

    else:

        @broker.subscriber(
            *topics,
            group_id=group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.ACK,
            batch=True,
            max_records=2000,
        )
        async def handle_batch(reports: list[AttendanceReported]) -> None:
            async with pool.acquire() as con, con.transaction():
                await con.executemany(UPSERT, [row(report) for report in reports])
                await con.executemany(
                    OUTBOX, [(report.participation_id, report.model_dump_json()) for report in reports]
                )
            stored(len(reports))

    await app.run()
    await pool.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    kind, servers, dsn, count, *topics = sys.argv[1:]
    asyncio.run(run(kind, servers, dsn, int(count), topics))
