"""One house a file: its ledger goes on from row to row."""

from collections.abc import Iterator

import pytest

from deploy.soak.night import Night, house
from tests.night.houses import SEED


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """A house with one broker, for as long as the rows of a file last."""
    with house(SEED) as found:
        yield found
