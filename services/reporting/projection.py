"""Entries, exits and stock by month, municipality and block (definitions: domain reference 7.2), and their releases."""

from collections.abc import Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from contracts.envelope import day_of
from contracts.reporting import Cell, ParticipationReport
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
    {"tenant": "text", "month": "text", "vintage": "int", "as_of": "timestamptz", "digest": "text", "body": "text"},
)

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
), cell as (
    select month, municipality, block, coalesce(sum(entries), 0) as entries, coalesce(sum(exits), 0) as exits
    from month cross join axis left join change using (month, municipality, block)
    group by month, municipality, block
)
select month, municipality, block, entries, exits,
       sum(entries - exits) over (partition by municipality, block order by month) as stock
from cell order by month, municipality, block
"""
"""Every closed month's whole grid, zeros included; $2 is the last closed month. Months once released stay in it: a start or an
end that was corrected may have left them outside, and what they said of it is not true any more. An end day is exclusive, so
whoever ends on the first of a month was there on the last day of the month before: stock = stock before + entries - exits,
exactly."""


def last_closed_month(ticked: datetime) -> date:
    """The first day of the last month that is over on the tick's day."""
    today = day_of(ticked)
    return date(today.year - 1, 12, 1) if today.month == 1 else date(today.year, today.month - 1, 1)


async def take(con: Connection, tenant: str, ticked: datetime) -> Sequence[ParticipationReport]:
    """Releases each closed month whose grid differs from its last release, at most one a month and day of the tick."""
    rows = await con.fetch(GRID, tenant, last_closed_month(ticked))
    latest = {
        row["month"]: row
        for row in await con.fetch(
            "select distinct on (month) month, vintage, digest, as_of from release where tenant = $1 order by month, vintage desc",
            tenant,
        )
    }
    today = day_of(ticked)
    releases: list[ParticipationReport] = []
    for month, cells in groupby(rows, key=lambda row: row["month"].strftime("%Y-%m")):
        known = latest.get(month)
        report = ParticipationReport(
            month=month,
            vintage=known["vintage"] + 1 if known else 1,
            as_of=ticked,
            cells=tuple(
                Cell(
                    municipality=c["municipality"],
                    block=c["block"],
                    entries=c["entries"],
                    exits=c["exits"],
                    stock=c["stock"],
                )
                for c in cells
            ),
        )
        if known and (known["digest"] == report.digest() or day_of(known["as_of"]) >= today):
            continue
        releases.append(report)
    for report in releases:
        await learn(con, tenant, report.to_json())
    return releases


async def learn(con: Connection, tenant: str, body: bytes) -> None:
    """Keeps a release: one just taken, or one read back from the topic by a rebuild."""
    report: ParticipationReport = ParticipationReport.__pydantic_validator__.validate_json(body)
    await con.execute(
        "insert into release (tenant, month, vintage, as_of, digest, body) values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        tenant, report.month, report.vintage, report.as_of, report.digest(), body.decode(),
    )  # fmt: skip


async def latest(con: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """The last vintage of each month as it was released: body and digest."""
    rows = await con.fetch(
        "select distinct on (tenant, month) tenant, month, vintage, as_of, digest, body from release"
        " where $1::text is null or tenant = $1 order by tenant, month, vintage desc", tenant,
    )  # fmt: skip
    return [{**dict(row), "body": ParticipationReport.__pydantic_validator__.validate_json(row["body"]).model_dump(mode="json")}
            for row in rows]  # fmt: skip
