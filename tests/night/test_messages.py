"""Rows of the fault matrix in which what comes over the wire breaks: the broker, messages, the network."""

from deploy.soak.night import Night
from deploy.soak.rows import Row
from tests.night.houses import MESSAGES, figures_hold, holds, rows


@rows(MESSAGES)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)


async def test_at_the_end_the_reports_are_those_recomputed_from_the_journal(night: Night) -> None:
    await figures_hold(night)
