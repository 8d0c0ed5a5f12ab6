"""Rows of the fault matrix with three brokers, each with its ledger."""

from collections.abc import Iterator

import pytest

from deploy.soak.night import Night, house
from deploy.soak.rows import Row
from tests.night.houses import BROKERS, SEED, holds, rows


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """A house with three brokers."""
    with house(SEED, brokers=3) as found:
        yield found


@rows(BROKERS)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)
