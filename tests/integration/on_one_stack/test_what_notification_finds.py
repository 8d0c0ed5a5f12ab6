"""What a person should look at is said by `/status` of notification, and ends when it has been looked at or is over."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import count

import asyncpg
import pytest

from deploy.local.stack import LocalStack
from services.notification import projection
from services.notification.projection import findings

FACTS = (
    ("rkn:failing", "sent", 90), ("rkn:failing", "failed", 60), ("rkn:failing", "failed", 50),
    ("rkn:mended", "failed", 40), ("rkn:mended", "sent", 30),
    ("rkn:unsure", "uncertain", 60 * 24 * 6), ("rkn:unsure", "uncertain", 60 * 24 * 8), ("rkn:long ago", "uncertain", 60 * 24 * 8),
    ("rkn:made", "attempted", 20), ("rkn:waits", "attempted", 18), ("rkn:waits", "attempted", 17), ("rkn:begins", "attempted", 14),
)  # fmt: skip
"""Office, what became of an attempt, minutes ago."""
EMPTY = "delete from timeline; delete from claim; delete from notice_list; delete from state"


@pytest.fixture
async def con(prepared: LocalStack) -> AsyncIterator[asyncpg.Connection]:
    """At its last tick it is the first of April in Berlin: 18 March is a fortnight ago."""
    con = await asyncpg.connect(prepared.databases["notification"].runtime, server_settings={"search_path": "lotse"})
    try:
        await con.execute(EMPTY)
        await con.execute("insert into alliance (tenant, ticked) values ('rkn', '2026-03-31 22:30:00Z') on conflict (tenant)"
                          " do update set ticked = excluded.ticked")  # fmt: skip
        yield con
    finally:
        await con.execute(EMPTY)
        await con.close()


async def lists(
    con: asyncpg.Connection, office: str, case: str, evidence_on: date | None, said_on: date, *, told: bool = False
) -> None:
    """A row of an office's list, with the newest day of a risk and the day on which that was said; of what is over there is none."""
    said = None if evidence_on is None else datetime.combine(said_on, time(12), UTC)
    await con.execute("insert into notice_list values ($1, $2, 'x', 'S2', '2026-03-01', 'rkn', $3, $4, $5, $6)",
                      office, case, told or evidence_on is None, said, evidence_on, evidence_on is None)  # fmt: skip


async def mails(con: asyncpg.Connection, office: str, *became: str, **lines: str) -> None:
    """An office's last facts; each attempt says these cases (case to kind of line)."""
    await con.execute("insert into state (kind, id) values ('office', $1) on conflict do nothing", office)
    said = [
        {"kind": kind, "case_id": case, "about": "x", "rule": "S2", "first_on": "2026-03-01"}
        for case, kind in lines.items()
    ]
    first = 1 + await con.fetchval("select coalesce(max(number), 0) from timeline where subject = $1", office)
    for number, what in zip(count(first), became, strict=False):
        body = json.dumps({"lines": said} if what == "attempted" else {})
        await con.execute("insert into timeline values ('notification', $1, $2, $3, $4, now(), now(), null, $5)", office, number,
                          f"{office} {number}", f"lotse.notification.notification_{what}.v1", body)  # fmt: skip


MISSED = "are older than a fortnight, and no mail will say them: tell it by hand (/notices)"
FAILED, TOLD, RAISED, WITHDRAWN = ("attempted", "failed"), ("attempted", "sent"), "RAISED", "WITHDRAWN"
APRIL, FRESH_ON, OLD_ON = date(2026, 4, 1), date(2026, 3, 18), date(2026, 3, 17)


async def test_an_office_is_said_to_miss_its_mails_as_long_as_something_waits_for_one(con: asyncpg.Connection) -> None:
    """By what they said, not by a mail that was sent since: the finding stood until the office's next risk, for ever where none came."""
    await mails(con, "rkn:waits", *FAILED, *FAILED, a=RAISED)
    await lists(con, "rkn:waits", "a", FRESH_ON, FRESH_ON)
    await mails(con, "rkn:tries", *FAILED, "attempted", a=RAISED)  # and what is on its way counts as told
    await lists(con, "rkn:tries", "a", FRESH_ON, FRESH_ON, told=True)
    await mails(con, "rkn:over", *FAILED, a=WITHDRAWN)
    await lists(con, "rkn:over", "a", None, APRIL)
    await mails(con, "rkn:again", *FAILED, a=RAISED)  # it had heard otherwise, so history is news
    await lists(con, "rkn:again", "a", date(2026, 2, 1), APRIL)
    await mails(
        con, "rkn:settled", *FAILED, *FAILED, a=RAISED, b=WITHDRAWN
    )  # all it said is withdrawn, or holds after all
    await lists(con, "rkn:settled", "b", FRESH_ON, FRESH_ON, told=True)
    await lists(con, "rkn:settled", "c", date(2026, 2, 1), APRIL)
    await mails(con, "rkn:told", *FAILED, a=RAISED)
    await mails(con, "rkn:told", *TOLD, a=RAISED)
    await mails(con, "rkn:perhaps", *FAILED, "attempted", "uncertain", a=RAISED)
    for office in ("rkn:told", "rkn:perhaps"):
        await lists(con, office, "a", FRESH_ON, FRESH_ON, told=True)
    said = await findings(con, {"waits", "tries", "over", "again", "settled", "told", "perhaps"})
    assert said == [
        *(
            f"rkn:{office}: the last {n} attempts failed"
            for office, n in (("again", 1), ("over", 1), ("tries", 1), ("waits", 2))
        ),
        "rkn:perhaps: 1 attempts uncertain within a week",
    ]


async def test_what_grew_old_before_a_mail_said_it_is_told_by_hand_with_a_mailbox_too(con: asyncpg.Connection) -> None:
    """The mail server was away for more than a fortnight: then a new risk was sent, and nobody heard of the older ones ever."""
    await mails(con, "rkn:passed", *FAILED, a=RAISED)
    await mails(con, "rkn:passed", *TOLD, b=RAISED)
    await mails(con, "rkn:silent", *FAILED, a=RAISED)  # and none came since
    for office in ("rkn:passed", "rkn:silent", "rkn:named late"):
        await lists(con, office, "a", OLD_ON, OLD_ON)
        await lists(con, office, "b", FRESH_ON, FRESH_ON, told=True)
    await lists(con, "rkn:told", "a", OLD_ON, OLD_ON, told=True)
    await lists(con, "rkn:history", "a", OLD_ON, APRIL)  # it was old when it was said: by intent nobody is mailed
    await lists(con, "rkn:long ago", "a", date(2026, 3, 3), date(2026, 3, 4))  # somebody has looked, or never will
    await lists(con, "rkn:long ago", "b", date(2026, 3, 4), date(2026, 3, 4))
    said = await findings(con, {"passed", "silent", "named late", "told", "history", "long ago"})
    assert said == [f"1 notices of rkn:{office} {MISSED}" for office in ("long ago", "named late", "passed", "silent")]


async def test_what_is_over_and_was_not_said_to_be_waits_for_a_mailbox_too(con: asyncpg.Connection) -> None:
    """The office goes on believing it, and it was on no list."""
    await lists(con, "rkn:none", "a", None, APRIL)
    await lists(con, "rkn:none", "b", FRESH_ON, FRESH_ON, told=True)
    await lists(con, "rkn:has", "a", None, APRIL)
    said = "1 notices wait at rkn:none: no mailbox in organisations.toml; 1 of them are over, and it was told that they hold"
    assert await findings(con, {"has"}) == [said]
    shown = await con.fetch(f"select * from notice_list where {projection.NOTICES} order by case_id", "rkn:none")
    assert [(row["case_id"], row["told"], row["taken_back"]) for row in shown] == [
        ("a", True, True),
        ("b", True, False),
    ]


async def test_an_office_with_very_much_that_is_open_is_named(
    con: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "MOST_OPEN", 2)
    for case in "ab":
        await lists(con, "rkn:full", case, FRESH_ON, FRESH_ON, told=True)
    await lists(con, "rkn:full", "over", None, APRIL)
    assert await findings(con, {"full"}) == []
    await lists(con, "rkn:full", "c", FRESH_ON, FRESH_ON, told=True)
    assert await findings(con, {"full"}) == ["3 worries are open at rkn:full: more than 2 slow everybody down"]


async def test_what_should_be_looked_at_and_nothing_else(con: asyncpg.Connection) -> None:
    for office in {office for office, *_ in FACTS}:
        await con.execute("insert into state (kind, id) values ('office', $1)", office)
    for number, (office, became, minutes) in enumerate(FACTS):
        type = f"lotse.notification.notification_{became}.v1"
        await con.execute(
            "insert into timeline values ('notification', $1, $2, $3, $4, now(), now() - $5::interval, null, '{}')",
            office, number, str(number), type, timedelta(minutes=minutes),
        )  # fmt: skip
        if became == "attempted":
            await con.execute(
                "insert into claim (id, attributes, body, lease_until, done) select $1,"
                " json_build_array(1, 2, 3, 4, 5, 6, 7, 8, recorded_at)::text, '', now(), $2 from timeline where fact_id = $1",
                str(number), office == "rkn:made",
            )  # fmt: skip
    await mails(con, "rkn:failing", "attempted", "failed", f=RAISED)
    await lists(con, "rkn:failing", "f", FRESH_ON, FRESH_ON)
    rows = (("rkn:none", False, 18), ("rkn:none", True, 1), ("rkn:has", False, 1), ("rkn:late", False, 18), ("rkn:late", False, 17),
            ("rkn:late", False, None))  # fmt: skip
    for office, told, day in rows:
        await con.execute(
            "insert into notice_list (office_id, case_id, about, rule, first_on, tenant, told, as_of, evidence_on)"
            " values ($1, $2, 'x', 'S2', '2026-03-01', 'rkn', $3, now(), $4)", office, f"{told} {day}", told,
            None if day is None else date(2026, 3, day),
        )  # fmt: skip
    said = await findings(con, {"has", "failing"})
    since = await con.fetchval(
        "select to_char(min(recorded_at) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI') from timeline where subject = 'rkn:waits'"
    )
    assert said[:4] == [
        "3 notices wait at rkn:late: no mailbox in organisations.toml; 1 of them are older than a fortnight, and no mail will say"
        " them: tell it by hand (/notices)",
        "1 notices wait at rkn:none: no mailbox in organisations.toml",
        "rkn:failing: the last 3 attempts failed",
        "rkn:unsure: 1 attempts uncertain within a week",
    ]
    assert len(said) == 5 and said[4].startswith(f"2 attempts have no result since {since}")
