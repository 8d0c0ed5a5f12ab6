"""Rows of the fault matrix that damage the log itself, on a house of their own."""

from collections.abc import Iterator

import pytest

from deploy.soak.night import Night
from deploy.soak.rows import Row
from tests.night.houses import LOG, holds, house, rows


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """A house nothing else is asked of afterwards."""
    with house() as found:
        yield found


@rows(LOG)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)
