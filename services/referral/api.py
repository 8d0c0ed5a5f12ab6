"""HTTP of referral, thin: a route runs one query. Loopback only until tokens come."""

import asyncpg
from fastapi import APIRouter, Response

from services.reading.listed import listed
from services.reading.timeline import timeline_of
from services.referral import projection


def routes(pool: asyncpg.Pool) -> APIRouter:
    """GET /cases/{id}, GET /risks, GET /counts."""
    router = APIRouter()

    @router.get("/cases/{case_id}")
    async def case(case_id: str) -> Response:
        async with pool.acquire() as con:
            found = await projection.of_case(con, case_id)
        return await timeline_of(pool, case_id, **found)

    @router.get("/risks")
    async def risks(tenant: str | None = None) -> Response:
        return await listed(pool, projection.RISK_LIST, projection.HELD, tenant)

    @router.get("/counts")
    async def counts() -> dict[str, int]:
        async with pool.acquire() as con:
            return await projection.counts(con)

    return router
