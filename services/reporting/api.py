"""HTTP of reporting, thin: it shows releases, never live counters. Loopback only until tokens come."""

import asyncpg
from fastapi import APIRouter, Response

from services.reading.listed import as_json
from services.reporting import projection


def routes(pool: asyncpg.Pool) -> APIRouter:
    """GET /reports/participation."""
    router = APIRouter()

    @router.get("/reports/participation")
    async def participation(tenant: str | None = None) -> Response:
        return await as_json(projection.latest(pool, tenant))

    return router
