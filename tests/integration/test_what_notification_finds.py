"""What a person should look at is said by `/status` of notification, and ends when it has been looked at or is over."""

from datetime import timedelta

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
        for office, told in (("rkn:none", False), ("rkn:none", True), ("rkn:has", False)):
            await con.execute(
                "insert into notice_list (office_id, case_id, about, rule, first_on, tenant, told, as_of)"
                " values ($1, $2, 'x', 'S2', '2026-03-02', 'rkn', $3, now())", office, f"{office} {told}", told,
            )  # fmt: skip
        said = await findings(con, {"has", "failing"})
        since = await con.fetchval(
            "select to_char(min(recorded_at) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI') from timeline where subject = 'rkn:waits'"
        )
        assert said[:3] == [
            "1 notices wait at rkn:none: no mailbox in organisations.toml",
            "rkn:failing: the last 2 attempts failed",
            "rkn:unsure: 1 attempts uncertain within a week",
        ]
        assert len(said) == 4 and said[3].startswith(f"2 attempts have no result since {since}")
    finally:
        await con.execute(EMPTY)
        await con.close()
