"""What the relay may write about rows it read, once its lock is gone."""

import asyncio
from threading import Thread
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from deploy.local.stack import LocalStack
from deploy.services import declared
from services.host import relay
from services.host.kafka import Reader
from services.host.running import running
from services.host.settings import Settings
from services.runtime.database import connect, pack
from tests.conftest import PUBLISHERS

TOPIC = "a-topic-of-this-test"
LOCK = "select pg_advisory_lock(hashtext('lotse relay'))"
LED = ("select exists (select from pg_locks where locktype = 'advisory' and granted"
       " and database = (select oid from pg_database where datname = current_database()))")  # fmt: skip


async def test_a_relay_that_lost_its_lock_marks_nothing(prepared: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka has acknowledged, and the lock's connection dies: what answers now may be another database (a standby that took
    over), in which these ids are other rows. The row stays unsent until a leader has sent it over one connection."""
    admin = AIOKafkaAdminClient(bootstrap_servers=prepared.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    dsn = prepared.databases["intake"].runtime
    settings = Settings(kafka=prepared.kafka, database=SecretStr(dsn), publishers=PUBLISHERS,
                        operations_key=prepared.operations_key, http_port=0)  # fmt: skip
    other = await asyncpg.connect(dsn, server_settings={"search_path": "lotse"})
    reader, pool = Reader(prepared.kafka, {}, "fence"), await connect(dsn)
    await reader.start()
    seen: list[str] = []
    acknowledged = asyncio.Event()

    async def failed_over() -> None:
        """Ends the leader's connection; its lock goes to who waits for it."""
        con = await asyncpg.connect(dsn)
        end = ("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lotse-relay-fence'"
               " and datname = current_database()")  # fmt: skip
        assert await con.fetchval(end)
        await con.close()

    def at_the_seam(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            thread = Thread(target=asyncio.run, args=(failed_over(),))
            thread.start()
            thread.join()
            acknowledged.set()

    monkeypatch.setattr(relay, "failpoint", at_the_seam)
    node = running(declared("intake"), settings, pool, reader)
    records = pack([(b"key", b"{}", [("ce_id", b"one")])])
    add = "insert into outbox (tx, after, topic, records) values (1, false, $1, $2) returning id"
    leading = asyncio.create_task(relay.Relay(node, "fence").run())
    try:
        while not await pool.fetchval(LED):
            await asyncio.sleep(0.1)
        taking = asyncio.create_task(other.fetchval(LOCK))  # in the queue for it before the row is there
        row = await pool.fetchval(add, TOPIC, records)
        await acknowledged.wait()
        await taking
        assert seen == ["after_ack"]
        assert await state(other, row) == (False, None)
        await other.execute("select pg_advisory_unlock_all()")
        while not (await state(other, row))[0]:
            await asyncio.sleep(0.1)
        assert await state(other, row) == (True, 2)  # sent again, the same letter, and marked by who led to the end
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        other.terminate()
        await pool.execute("delete from outbox where topic = $1", TOPIC)
        await pool.execute("delete from acked where topic = $1", TOPIC)
        await reader.stop()
        pool.terminate()


async def state(con: Any, row: int) -> tuple[bool, int | None]:
    """Whether a row is marked as sent, and where its log was said to end."""
    sent = await con.fetchval("select sent_at is not null from outbox where id = $1", row)
    return sent, await con.fetchval("select next from acked where topic = $1", TOPIC)
