"""Entries, exits and stock by one SQL, held against counting day by day in Python."""

import random
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from deploy.local.stack import LocalStack
from services.reporting.projection import take

Period = tuple[str, str, date, date | None]
TICKED = datetime(2026, 6, 10, 6, tzinfo=UTC)
LAST_CLOSED = date(2026, 5, 1)


def counted(periods: list[Period]) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """(month, municipality, block) to entries, exits and stock at the month's end: who has started and not ended."""
    found = {}
    ends = [end for *_, end in periods]
    first = min(start for *_, start, _ in periods).replace(day=1)
    last = (
        LAST_CLOSED
        if None in ends
        else min(LAST_CLOSED, max(max(end or s, s) for *_, s, end in periods).replace(day=1))
    )
    month = first
    while month <= last:
        after = (month + timedelta(days=32)).replace(day=1)
        for place, block in {(place, block) for place, block, *_ in periods}:
            mine = [(start, end) for p, b, start, end in periods if (p, b) == (place, block)]
            found[month.strftime("%Y-%m"), place, block] = (
                sum(month <= start < after for start, _ in mine),
                sum(end is not None and month <= end < after for _, end in mine),
                sum(start < after and (end is None or end >= after) for start, end in mine),
            )
        month = after
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_the_grid_is_what_counting_says(prepared: LocalStack, seed: int) -> None:
    chance, tenant = random.Random(seed), f"brute-{seed}"
    periods: list[Period] = []
    for _ in range(chance.randrange(1, 60)):
        start = date(2025, 11, 1) + timedelta(days=chance.randrange(200))
        end = start + timedelta(days=chance.choice([0, 1, 30, 31, 90])) if chance.random() < 0.8 or seed == 3 else None
        periods.append((chance.choice(["05162024", "05162004"]), chance.choice(["F1", "F4"]), start, end))
    con = await asyncpg.connect(prepared.databases["reporting"].runtime, server_settings={"search_path": "lotse"})
    transaction = con.transaction()
    await transaction.start()
    try:
        await con.executemany(
            "insert into participation_period (participation_id, tenant, municipality, block, started_on, ended_before_on)"
            " values ($1, $2, $3, $4, $5, $6)",
            [(f"{tenant}-{n}", tenant, *period) for n, period in enumerate(periods)],
        )
        said = {(release.month, cell.municipality, cell.block): (cell.entries, cell.exits, cell.stock)
                for release in await take(con, tenant, TICKED) for cell in release.cells}  # fmt: skip
        assert said == counted(periods)
        assert list(await take(con, tenant, TICKED + timedelta(days=1))) == []  # nothing changed: no new vintage
    finally:
        await transaction.rollback()
        await con.close()
