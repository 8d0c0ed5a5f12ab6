"""Rows of the fault matrix in which what is kept and what services rest on breaks: databases, settings, mail."""

from deploy.soak.night import Night
from deploy.soak.rows import Row
from tests.night.houses import DATABASES, figures_hold, holds, rows


@rows(DATABASES)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)


async def test_at_the_end_the_reports_are_those_recomputed_from_the_journal(night: Night) -> None:
    await figures_hold(night)
