"""One house a file: its ledger goes on from row to row."""

from collections.abc import Iterator

import pytest

from deploy.soak.night import Night
from tests.night.houses import house


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """A house with one broker, for as long as the rows of a file last."""
    with house() as found:
        yield found
