"""HTTP of reporting, thin: it shows releases, never live counters. Loopback only until tokens come."""

from typing import Any

import asyncpg
from fastapi import APIRouter

from services.reporting import projection


def routes(pool: asyncpg.Pool) -> APIRouter:
    """GET /reports/participation."""
    router = APIRouter()

    @router.get("/reports/participation")
    async def participation(tenant: str | None = None) -> list[dict[str, Any]]:
        async with pool.acquire() as con:
            return await projection.latest(con, tenant)

    return router
