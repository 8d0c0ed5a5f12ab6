"""What people read of referral: referrals, participations, risks."""

from typing import Any

from services.runtime.database import Connection, Table

REFERRAL_BOARD = Table(
    "referral_board",
    ("case_id", "referral_id"),
    {
        "referral_id": "text", "case_id": "text", "tenant": "text", "run_id": "text", "provider_organisation_id": "text",
        "owner_organisation_id": "text", "block": "text", "state": "text", "reason": "text", "requested_on": "date",
        "planned_start_on": "date",
    },
)  # fmt: skip

PARTICIPATION_LIST = Table(
    "participation_list",
    ("case_id", "participation_id"),
    {
        "participation_id": "text", "referral_id": "text", "case_id": "text", "tenant": "text", "run_id": "text", "block": "text",
        "started_on": "date", "ended_before_on": "date", "end_kind": "text", "dropped_out": "boolean",
    },
)  # fmt: skip

RISK_LIST = Table(
    "risk_list",
    ("case_id", "about", "rule"),
    {
        "about": "text", "rule": "text", "case_id": "text", "tenant": "text", "participation_id": "text", "referral_id": "text",
        "run_id": "text", "holds_from_on": "date", "raised": "int", "open": "boolean", "owner_organisation_id": "text",
        "open_first_on": "date",
    },
)  # fmt: skip
"""`holds_from_on`: the first day on which the rule ever held in the days as known now: of S2 the course day that makes it long
enough, of S6 seven days after the planned start, where nobody had started before it and that day has come; `open`: raised and not
withdrawn; `open_first_on`: of that risk its own `first_on`, since which she has not come, while `holds_from_on` may be of an earlier one."""

TABLES = (REFERRAL_BOARD, PARTICIPATION_LIST, RISK_LIST)

HELD = "(holds_from_on is not null or raised > 0) and ($1::text is null or tenant = $1)"
"""Risks that hold or held, of one alliance or of all."""


async def of_case(con: Connection, case_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything about one case."""
    return {
        table.name: [
            dict(row)
            for row in await con.fetch(f"select * from {table.name} where case_id = $1 order by 1", case_id)  # noqa: S608
        ]
        for table in TABLES
    }


async def counts(con: Connection) -> dict[str, int]:
    """Figures for a glance."""
    row = await con.fetchrow(
        "select (select count(*) from referral_board) as referrals, (select count(*) from participation_list) as participations,"
        " (select count(*) from participation_list where dropped_out) as dropped_out,"
        " (select coalesce(sum(raised), 0) from risk_list)::bigint as risks_raised,"
        " (select count(*) from risk_list where open) as risks_open"
    )
    return dict(row) if row else {}
