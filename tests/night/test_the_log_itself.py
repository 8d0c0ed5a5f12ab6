"""Rows of the fault matrix that damage the log itself, on a house of their own."""

from deploy.soak.night import Night
from deploy.soak.rows import Row
from tests.night.houses import LOG, holds, rows


@rows(LOG)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)
