"""HTTP of intake, thin: a route runs one query. Loopback only until tokens come."""

from typing import Any

import asyncpg
from fastapi import APIRouter, HTTPException, Response

from services.intake import projection
from services.reading.listed import listed
from services.reading.timeline import timeline_of


def routes(pool: asyncpg.Pool) -> APIRouter:
    """GET /cases, GET /cases/{id}."""
    router = APIRouter()

    @router.get("/cases")
    async def cases(tenant: str | None = None) -> Response:
        return await listed(pool, projection.CASE_LIST, projection.CASES, tenant)

    @router.get("/cases/{case_id}")
    async def case(case_id: str) -> dict[str, Any]:
        async with pool.acquire() as con:
            found = await projection.one_case(con, case_id)
            if found is None:
                raise HTTPException(404, "no such case")
            return {"case": found, "timeline": await timeline_of(con, case_id)}

    return router
