"""Rows of the fault matrix in which what is kept and what services rest on breaks: databases, settings, mail."""

from collections.abc import Iterator

import pytest

from deploy.soak.night import Night
from deploy.soak.rows import Row
from tests.night.houses import DATABASES, figures_hold, holds, house, rows


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """The house whose ledger goes on from row to row."""
    with house() as found:
        yield found


@rows(DATABASES)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)


async def test_at_the_end_the_reports_are_those_recomputed_from_the_journal(night: Night) -> None:
    await figures_hold(night)
