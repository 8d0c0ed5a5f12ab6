"""Entries, exits and stock by month, municipality and block (definitions: domain reference 7.2), and their releases."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import date, datetime
from typing import Any

import asyncpg
import msgspec

from contracts.envelope import day_of
from contracts.referral import OfferRunPublished
from contracts.reporting import Cell, ParticipationReport
from contracts.topics import KIB, MOST_OF_A_REPORT
from services.runtime.database import Connection, Table

PARTICIPATION_PERIOD = Table(
    "participation_period",
    ("case_id", "participation_id"),
    {
        "case_id": "text", "participation_id": "text", "tenant": "text", "municipality": "text", "block": "text", "started_on": "date",
        "ended_before_on": "date",
    },
)  # fmt: skip

TABLES = (PARTICIPATION_PERIOD,)

RELEASE = Table(
    "release",
    ("tenant", "month", "vintage"),
    {
        "tenant": "text", "month": "text", "vintage": "int", "as_of": "timestamptz", "digest": "text", "body": "text",
        "left_out": "int",
    },
)  # fmt: skip

LEFT_OUT = ("select count(distinct subject) from kept where tenant = $1 and why in ('early', 'quarantined')"
            " and position($2::bytea in headers) = 0")  # fmt: skip
"""Cases of which facts are kept back: the one before them does not come, or one could not be applied. A run's are in no figure."""
OF_RUNS = OfferRunPublished.ce_type.rpartition("v")[0].encode()
"""In whatever version."""

MOST_CELLS = 2_000_000
"""Of all months of an alliance: a partner may tell of places that do not exist, and of days in 2000. 4.4 million took longer than a
transaction may, at each tick, and no alliance behind that one in the alphabet had its figures. The whole of the country's largest state
(396 municipalities, six blocks) has 770,000 until 2026."""
RELEASED_AT_ONCE = 100_000
"""Cells of the releases of one tick, at about 1 KB each until they are sent: 315,000 took the service beyond its 250 MB."""
MOST_OF_A_BODY = MOST_OF_A_REPORT - 4 * KIB
"""Key, headers and what Kafka puts around a message count, too."""

SIZE = """
select coalesce(axes * (1 + (extract(year from $2::date) - extract(year from first)) * 12
                        + extract(month from $2::date) - extract(month from first)), 0)::bigint
from (
    select count(distinct (municipality, block)) as axes,
           least(min(started_on), (select min(to_date(month, 'YYYY-MM')) from release where tenant = $1)) as first
    from participation_period where tenant = $1
) span
"""
"""Of the grid below, before it is made."""

GRID = """
with period as (
    select municipality, block, date_trunc('month', started_on)::date as starts, date_trunc('month', ended_before_on)::date as ends
    from participation_period where tenant = $1
), released as (
    select min(to_date(month, 'YYYY-MM')) as first, max(to_date(month, 'YYYY-MM')) as last from release where tenant = $1
), span as (
    select least(min(starts), (select first from released)) as first,
           least(greatest(case when bool_or(ends is null) then $2::date else max(greatest(ends, starts)) end,
                          (select last from released)), $2::date) as last
    from period
), month as (
    select generate_series(first, last, interval '1 month')::date as month from span
), axis as (
    select distinct municipality, block from period
), change as (
    select municipality, block, starts as month, 1 as entries, 0 as exits from period
    union all
    select municipality, block, ends, 0, 1 from period where ends is not null
), told as (
    select to_date(month, 'YYYY-MM') as month, max(as_of) as as_of from release where tenant = $1 group by month
), cell as (
    select month, municipality, block, coalesce(sum(entries), 0) as entries, coalesce(sum(exits), 0) as exits
    from month cross join axis left join change using (month, municipality, block)
    group by month, municipality, block
)
select month, municipality, block, entries, exits,
       sum(entries - exits) over (partition by municipality, block order by month) as stock
from cell left join told using (month) order by as_of nulls first, month, municipality, block
"""
"""Every closed month's whole grid, zeros included, those months first that were released longest ago or never; $2 is the last closed
month. Months once released stay in it: a corrected start or end may have left them outside, and what they said is not true any more.
An end day is exclusive, so whoever ends on the first of a month was there on the last day of the month before: stock = stock before +
entries - exits, exactly."""


def last_closed_month(ticked: datetime) -> date:
    """The first day of the last month that is over on the tick's day."""
    today = day_of(ticked)
    return date(today.year - 1, 12, 1) if today.month == 1 else date(today.year, today.month - 1, 1)


class TooManyCells(Exception):
    """An alliance's figures are of more places and months than there can be, or one month's of more than a message may have.
    Way out: its participations name the publisher and the places (`participation_period`)."""


async def take(con: Connection, tenant: str, ticked: datetime) -> Sequence[ParticipationReport]:
    """Releases closed months whose grid differs from their last release, those first that were released longest ago or never, at
    most one a month and day of the tick; what is more than one tick may release is released by the next. What left out cases is
    released anew once none is left out, whatever the day and the grid. Raises TooManyCells."""
    latest = {
        row["month"]: row
        for row in await con.fetch(
            "select distinct on (month) month, vintage, digest, as_of, left_out from release where tenant = $1 order by month, vintage desc",
            tenant,
        )
    }
    today, left_out = day_of(ticked), await con.fetchval(LEFT_OUT, tenant, OF_RUNS) or None
    releases: list[ParticipationReport] = []
    async with aclosing(_months(con, tenant, last_closed_month(ticked))) as months:
        async for cells in months:
            month = cells[0]["month"].strftime("%Y-%m")
            known = latest.get(month)
            completed = known and known["left_out"] and not left_out
            if known and not completed and day_of(known["as_of"]) == today:
                continue
            report = ParticipationReport(
                month=month, vintage=known["vintage"] + 1 if known else 1, as_of=ticked,
                cells=tuple(Cell(**{name: c[name] for name in Cell.model_fields}) for c in cells), left_out=left_out,
            )  # fmt: skip
            if known and not completed and known["digest"] == report.digest():
                continue
            body = report.to_json()
            if len(body) > MOST_OF_A_BODY:
                raise TooManyCells
            await learn(con, tenant, body)
            releases.append(report)
            if sum(len(one.cells) for one in releases) >= RELEASED_AT_ONCE:
                break
    return releases


async def _months(con: Connection, tenant: str, last: date) -> AsyncGenerator[list[Any], None]:
    """Each month's cells, no more than one month's of them in memory."""
    if await con.fetchval(SIZE, tenant, last) > MOST_CELLS:
        raise TooManyCells
    cells: list[Any] = []
    async for row in con.cursor(GRID, tenant, last, prefetch=5_000):
        if cells and row["month"] != cells[0]["month"]:
            yield cells
            cells = []
        cells.append(row)
    if cells:
        yield cells


async def learn(con: Connection, tenant: str, body: bytes) -> None:
    """Keeps a release: one just taken, or one read back from the topic by a rebuild."""
    report: ParticipationReport = ParticipationReport.__pydantic_validator__.validate_json(body)
    await con.execute(
        "insert into release (tenant, month, vintage, as_of, digest, body, left_out) values ($1, $2, $3, $4, $5, $6, $7)"
        " on conflict do nothing",
        tenant, report.month, report.vintage, report.as_of, report.digest(), body.decode(), report.left_out,
    )  # fmt: skip


async def known(con: Connection, keys: Sequence[str]) -> set[str]:
    """Those of these keys of releases (`ParticipationReport.key`) under which one is kept, for good: the outbox forgets."""
    key = "tenant || ':' || $2 || ':' || month || ':' || vintage"
    kept = f"select {key} as key from release where {key} = any($1::text[])"  # noqa: S608
    return {row["key"] for row in await con.fetch(kept, keys, ParticipationReport.report)}


async def latest(pool: asyncpg.Pool, tenant: str | None) -> AsyncIterator[list[dict[str, Any]]]:
    """The last vintage of each month as it was released, body and digest: a list of one each, for a month may be as large as a
    message (`MOST_OF_A_REPORT`)."""
    newest = await pool.fetch(
        "select tenant, month, max(vintage) as vintage from release where $1::text is null or tenant = $1 group by 1, 2 order by 1, 2",
        tenant,
    )
    one = (
        "select tenant, month, vintage, as_of, digest, body from release where (tenant, month, vintage) = ($1, $2, $3)"
    )
    for key in newest:
        # where a rebuild swapped meanwhile none may be there any more: no list is better than a part of one
        (row,) = await pool.fetch(one, *key)
        yield [{**row, "body": msgspec.Raw(row["body"].encode())}]
