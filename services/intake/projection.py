"""What people read of intake."""

from typing import Any

from services.runtime.database import Connection, Table

CASE_LIST = Table(
    "case_list",
    ("case_id",),
    {
        "case_id": "text", "tenant": "text", "municipality": "text", "programme": "text", "owner_organisation_id": "text",
        "closed_on": "date", "closed_because": "text", "needs": "int", "consents": "int", "consents_withdrawn": "int",
    },
)  # fmt: skip

TABLES = (CASE_LIST,)

CASES = "$1::text is null or tenant = $1"
"""All of them, of one alliance or of all."""


async def one_case(con: Connection, case_id: str) -> dict[str, Any] | None:
    """A case's row; None where nobody opened it."""
    row = await con.fetchrow("select * from case_list where case_id = $1", case_id)
    return dict(row) if row else None
