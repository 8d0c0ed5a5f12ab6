"""What people read of notification: what is open at an office and whether it was told."""

from collections.abc import Collection
from typing import Any

from contracts.dropout import FRESH
from contracts.envelope import ALLIANCE_ZONE, stamp
from services.runtime.database import Connection, Table

NOTICE_LIST = Table(
    "notice_list",
    ("office_id", "case_id", "about", "rule", "first_on"),
    {
        "office_id": "text", "case_id": "text", "about": "text", "rule": "text", "first_on": "date", "tenant": "text",
        "told": "boolean", "as_of": "timestamptz", "evidence_on": "date",
    },
    owner="office_id",
)  # fmt: skip

TABLES = (NOTICE_LIST,)

UNTOLD = """
select office_id, count(*) as n, count(*) filter (where evidence_on < (ticked at time zone $1)::date - $2::int) as old
from notice_list left join alliance using (tenant) where not told group by 1 order by 1
"""
"""Offices with what they were not told of, and how much of it is too old to be news when a mailbox is named."""

FAILING = """
select office_id, count(*) as n from (
    select s.id as office_id, t.number, split_part(t.type, '.', 3) as what,
        max(t.number) filter (where split_part(t.type, '.', 3) = 'notification_sent') over (partition by s.id) as sent
    from state s cross join lateral (select number, type from timeline where family = 'notification' and subject = s.id
        order by number desc limit 40) t where s.kind = 'office') of
where what = 'notification_failed' and number > coalesce(sent, 0) group by 1 order by 1
"""
"""Offices whose last attempts failed, and how many in a row: nothing was sent after them. Of an office's last facts: this is asked
at each look, and all of them are more every day."""

LATE = """
select count(*) as n, min((attributes::json ->> 8)::timestamptz) as since from claim
where not done and (attributes::json ->> 8)::timestamptz < now() - interval '15 minutes'
"""
"""Attempts (by their recorded time) that have waited for longer than a mail takes: they are made one after the other, so what
stands before them stands."""


async def notices(con: Connection, office_id: str | None) -> list[dict[str, Any]]:
    """Open items, of one office or of all."""
    rows = await con.fetch(
        "select * from notice_list where $1::text is null or office_id = $1 order by office_id, first_on, case_id, about",
        office_id,
    )
    return [dict(row) for row in rows]


async def attempts(con: Connection) -> list[dict[str, Any]]:
    """How many attempts, sent, failed, uncertain and withdrawn, by office."""
    rows = await con.fetch(
        "select subject as office_id, split_part(type, '.', 3) as what, count(*) as n from timeline group by 1, 2 order by 1, 2"
    )
    return [dict(row) for row in rows]


async def findings(con: Connection, mailboxes: Collection[str]) -> list[str]:
    """What a person should look at: offices without a mailbox, those whose last attempts failed, attempts of the last week that
    are uncertain, attempts without a result."""
    rows = await con.fetch(UNTOLD, ALLIANCE_ZONE.key, FRESH.days)
    found = [
        f"{row['n']} notices wait at {row['office_id']}: no mailbox in organisations.toml"
        + (
            f"; {row['old']} of them are older than a fortnight, and no mail will say them: tell it by hand (/notices)"
            if row["old"]
            else ""
        )
        for row in rows
        if row["office_id"].partition(":")[2] not in mailboxes
    ]
    found += [f"{row['office_id']}: the last {row['n']} attempts failed" for row in await con.fetch(FAILING)]
    uncertain = await con.fetch(
        "select subject as office_id, count(*) as n from timeline where split_part(type, '.', 3) = 'notification_uncertain'"
        " and recorded_at > now() - interval '7 days' group by 1 order by 1"  # somebody has looked by then, or never will
    )
    found += [f"{row['office_id']}: {row['n']} attempts uncertain within a week" for row in uncertain]
    (late,) = await con.fetch(LATE)
    if late["n"]:
        found.append(f"{late['n']} attempts have no result since {stamp(late['since'])}: the mail server keeps them waiting, or their"
                     " result can't be written down (see the log)")  # fmt: skip
    return found
