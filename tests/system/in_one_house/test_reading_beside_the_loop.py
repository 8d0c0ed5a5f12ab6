"""What people read comes from connections of their own."""

import asyncio
from datetime import date

import asyncpg
import httpx

from deploy.fleet import Fleet
from tests.publishing import Course, Publisher


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
