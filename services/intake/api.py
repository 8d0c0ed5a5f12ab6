"""HTTP of intake, thin: a route runs one query. Loopback only until tokens come."""

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
    async def case(case_id: str) -> Response:
        async with pool.acquire() as con:
            found = await projection.one_case(con, case_id)
        if found is None:
            raise HTTPException(404, "no such case")
        return await timeline_of(pool, case_id, case=found)

    return router
