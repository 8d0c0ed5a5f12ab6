"""What a person should look at is said by `/status` of notification, and ends when it has been looked at or is over."""

from datetime import date, timedelta

import asyncpg

from deploy.local.stack import LocalStack
from services.notification.projection import findings

FACTS = (
    ("rkn:failing", "sent", 90), ("rkn:failing", "failed", 60), ("rkn:failing", "failed", 50),
    ("rkn:mended", "failed", 40), ("rkn:mended", "sent", 30),
    ("rkn:unsure", "uncertain", 60 * 24 * 6), ("rkn:unsure", "uncertain", 60 * 24 * 8), ("rkn:long ago", "uncertain", 60 * 24 * 8),
    ("rkn:made", "attempted", 20), ("rkn:waits", "attempted", 18), ("rkn:waits", "attempted", 17), ("rkn:begins", "attempted", 14),
)  # fmt: skip
"""Office, what became of an attempt, minutes ago."""
EMPTY = "delete from timeline; delete from claim; delete from notice_list; delete from state"


async def test_what_should_be_looked_at_and_nothing_else(prepared: LocalStack) -> None:
    con = await asyncpg.connect(prepared.databases["notification"].runtime, server_settings={"search_path": "lotse"})
    try:
        await con.execute(EMPTY)
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
        await con.execute("insert into alliance (tenant, ticked) values ('rkn', '2026-03-31 22:30:00Z') on conflict (tenant)"
                          " do update set ticked = excluded.ticked")  # fmt: skip
        # at that tick it is the first of April in Berlin: 18 March is a fortnight ago
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
            "rkn:failing: the last 2 attempts failed",
            "rkn:unsure: 1 attempts uncertain within a week",
        ]
        assert len(said) == 5 and said[4].startswith(f"2 attempts have no result since {since}")
    finally:
        await con.execute(EMPTY)
        await con.close()
