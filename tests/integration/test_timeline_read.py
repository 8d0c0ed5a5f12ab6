"""What people read of a subject, beside the loop: by the key, and from connections of their own."""

import asyncio
import json
from datetime import UTC, date, datetime
from uuid import uuid4

import asyncpg
import httpx

from deploy.commands.read import in_the_zone
from deploy.fleet import Fleet
from services.host.running import Running
from services.reading import timeline
from services.runtime.database import encode
from tests.publishing import Course, Publisher


async def test_a_subject_is_found_by_its_families_key_on_every_postgres(node: Running) -> None:
    """By the subject alone Postgres 18 skips through the key; one before it reads all there is."""
    one, now = str(uuid4()), datetime.now(UTC)
    async with node.pool.acquire() as con:
        ours = con.transaction()
        await ours.start()
        add = ("insert into timeline select $1, $2 || n, 1, gen_random_uuid()::text, 't', now(), now(), null, '{}'"
               " from generate_series(1, $3) n")  # fmt: skip
        for family in ("a", "b", "c"):
            await con.execute(add, family, f"other-{family}-", 5000)
        for number, family in enumerate(("c", "a")):
            await con.execute(
                "insert into timeline values ($1, $2, $3, 'f', 't', $4, $4, null, '{}')", family, one, number, now
            )
        found = await timeline.timeline_of(con, one)
        assert [(row["family"], row["number"]) for row in found] == [("a", 1), ("c", 0)]
        assert await timeline.timeline_of(con, str(uuid4())) == []
        plan = await con.fetch(f"explain {timeline._OF}".replace("$1", f"'{one}'"))
        assert "Index Cond: ((family = each.one) AND (subject = " in "".join(row[0] for row in plan)
        await ours.rollback()
        assert await timeline.timeline_of(con, one) == []


async def test_a_clocks_zero_is_told_as_any_moment(node: Running) -> None:
    """Software that knows no time says 0001-01-01T00:00:00Z. asyncpg keeps that moment as -infinity and reads it without a zone, and
    `lotse case` ended with a fault of ours, for good, for whoever asked for that case."""
    async with node.pool.acquire() as con:
        ours = con.transaction()
        await ours.start()
        add = "insert into timeline values ('intake', 'zero', 1, 'f', 't', $1, now(), null, '{}')"
        await con.execute(add, datetime(1, 1, 1, tzinfo=UTC))
        (found,) = await timeline.timeline_of(con, "zero")
        await ours.rollback()
    assert in_the_zone(json.loads(encode(found))["time"]) == "0001-01-01T00:53+00:53:28"  # Berlin's own time, then


async def test_who_reads_never_stops_the_loop(fleet: Fleet) -> None:
    """More than there are connections ask for what can't be had now; a submission is answered all the same."""
    case = Course(date(2026, 3, 2))
    owner = await asyncpg.connect(fleet.stack.databases["intake"].owner)
    async with (
        Publisher(fleet.stack.kafka) as sender,
        httpx.AsyncClient(base_url=fleet.url("intake"), timeout=300) as client,
    ):
        _, register, *_ = case.steps()
        assert (await sender.ask(*register))["outcome"] == "recorded"
        async with owner.transaction():
            await owner.execute(
                "lock table lotse.timeline in access exclusive mode"
            )  # of what is refused nothing stands there
            readers = [asyncio.create_task(client.get(f"/cases/{case.case}")) for _ in range(90)]
            while (
                await owner.fetchval(
                    "select count(*) from pg_locks where not granted and relation = 'lotse.timeline'::regclass"
                )
                < 2
            ):
                await asyncio.sleep(0.05)
            said = await sender.ask(register[0], register[1], tenant="nobody")
            assert (said["outcome"], said["reason"]) == ("refused", "NOT_YOURS")
            assert (
                sum(not reader.done() for reader in readers) > 45
            )  # it did not wait until they had been told to come again
        assert {answer.status_code for answer in await asyncio.gather(*readers)} <= {200, 503}
    await owner.close()
