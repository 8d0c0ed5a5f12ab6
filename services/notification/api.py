"""HTTP of notification, thin: a route runs one query. Loopback only until tokens come."""

from typing import Any

import asyncpg
from fastapi import APIRouter, Response

from services.notification import projection
from services.reading.listed import listed
from services.reading.timeline import timeline_of


def routes(pool: asyncpg.Pool) -> APIRouter:
    """GET /notices, GET /attempts, GET /offices/{id}."""
    router = APIRouter()

    @router.get("/notices")
    async def notices(office: str | None = None) -> Response:
        return await listed(pool, projection.NOTICE_LIST, projection.NOTICES, office)

    @router.get("/attempts")
    async def attempts() -> list[dict[str, Any]]:
        async with pool.acquire() as con:
            return await projection.attempts(con)

    @router.get("/offices/{office_id}")
    async def office(office_id: str) -> Response:
        return await timeline_of(pool, office_id)

    return router
