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
        "told": "boolean", "as_of": "timestamptz", "evidence_on": "date", "taken_back": "boolean",
    },
    owner="office_id",
)  # fmt: skip
"""`told`: the office believes that it holds. `taken_back`: it does not, and the office was not told so yet, or not why."""

TABLES = (NOTICE_LIST,)

NOTICES = "$1::text is null or office_id = $1"
"""What is open, and what is over and was not said to be; of one office or of all."""

MOST_OPEN = 5_000
"""Risks open at an office beyond which a person should look. All of them stand in one state, and its rows are written anew with each
fact: beyond some 75,000 it is more than a transaction's share of states (`work.MOST_BYTES`), and each fact is one of its own."""

LISTED = """
select office_id, count(*) filter (where not taken_back) as open, count(*) filter (where not told or taken_back) as waits,
    count(*) filter (where taken_back and told) as over, count(*) filter (where not told and old) as old,
    count(*) filter (where not told and old and evidence_on >= said - $2::int and evidence_on >= today - 2 * $2::int) as missed
from (select l.*, (as_of at time zone $1)::date as said, (ticked at time zone $1)::date as today,
        evidence_on < (ticked at time zone $1)::date - $2::int as old from notice_list l left join alliance using (tenant)) l
group by 1 order by 1
"""
"""Offices with what is open, what they were not told of (that it holds, that it is over, or why), how much of it is too old to be news in
a mail, and how much of that was news when it was said, and grew old within the last fortnight: somebody has looked by then, or
never will."""

FAILING = """
with said as (
    select s.id as office_id, t.number, split_part(t.type, '.', 3) as what from state s
    cross join lateral (select number, type from timeline where family = 'notification' and subject = s.id
        order by number desc limit 40) t where s.kind = 'office'
), office as (
    select office_id, max(number) filter (where what = 'notification_failed') as failed,
        coalesce(max(number) filter (where what in ('notification_sent', 'notification_uncertain')), 0) as left_us
    from said group by 1
)
select o.office_id, (select count(*) from said where office_id = o.office_id and what = 'notification_failed' and number > left_us) as n
from office o cross join lateral (select number, body from timeline where family = 'notification' and subject = o.office_id
    and split_part(type, '.', 3) = 'notification_attempted' order by number desc limit 1) attempt
where failed > left_us and (attempt.number > failed or exists (
    select from jsonb_to_recordset(attempt.body::jsonb -> 'lines')
        line(kind text, case_id text, about text, rule text, first_on date)
    join notice_list l using (case_id, about, rule, first_on) left join alliance using (tenant)
    where l.office_id = o.office_id and case line.kind when 'RAISED' then not l.told and (
        l.evidence_on >= (ticked at time zone $1)::date - $2::int or l.evidence_on < (as_of at time zone $1)::date - $2::int
    ) is not false else l.taken_back end))
order by 1
"""
"""Offices whose last attempts failed, and how many in a row, where something of the newest is still to be said: it holds, and is news
(or its days were history already when it was said, since the office had heard otherwise); or it is over. Another attempt that is on its
way ends nothing. Of an office's last facts: this is asked at each look, and all of them are more every day."""

LATE = """
select count(*) as n, min((attributes::json ->> 8)::timestamptz) as since from claim
where not done and (attributes::json ->> 8)::timestamptz < now() - interval '15 minutes'
"""
"""Attempts (by their recorded time) that have waited for longer than a mail takes: they are made one after the other, so what
stands before them stands."""


async def attempts(con: Connection) -> list[dict[str, Any]]:
    """How many attempts, sent, failed, uncertain and withdrawn, by office."""
    rows = await con.fetch(
        "select subject as office_id, split_part(type, '.', 3) as what, count(*) as n from timeline group by 1, 2 order by 1, 2"
    )
    return [dict(row) for row in rows]


async def findings(con: Connection, mailboxes: Collection[str]) -> list[str]:
    """What a person should look at: offices without a mailbox, what no mail says any more, offices whose last attempts failed or
    with very much that is open, attempts of the last week that are uncertain, attempts without a result."""
    found: list[str] = []
    for row in await con.fetch(LISTED, ALLIANCE_ZONE.key, FRESH.days):
        office, by_hand = row["office_id"], "no mail will say them: tell it by hand (/notices)"
        if row["waits"] and office.partition(":")[2] not in mailboxes:
            found.append(
                f"{row['waits']} notices wait at {office}: no mailbox in organisations.toml"
                + (f"; {row['old']} of them are older than a fortnight, and {by_hand}" if row["old"] else "")
                + (f"; {row['over']} of them are over, and it was told that they hold" if row["over"] else "")
            )
        elif row["missed"]:
            found.append(f"{row['missed']} notices of {office} are older than a fortnight, and {by_hand}")
        if row["open"] > MOST_OPEN:
            found.append(f"{row['open']} worries are open at {office}: more than {MOST_OPEN} slow everybody down")
    failing = await con.fetch(FAILING, ALLIANCE_ZONE.key, FRESH.days)
    found += [f"{row['office_id']}: the last {row['n']} attempts failed" for row in failing]
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
