"""Rows of the fault matrix in which our own processes die, freeze and double; seeded, one ledger over all of them."""

from deploy.soak.night import Night
from deploy.soak.rows import Row
from tests.night.houses import PROCESSES, figures_hold, holds, rows


@rows(PROCESSES)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)


async def test_at_the_end_the_reports_are_those_recomputed_from_the_journal(night: Night) -> None:
    await figures_hold(night)
