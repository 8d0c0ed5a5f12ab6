"""The demo's Kreis: what it says can be said."""

import pytest

from contracts.topics import SUBMITTED
from deploy.demo.kreis import Kreis


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_said_before_what_it_rests_on(seed: int) -> None:
    """Else it would be left out of the play as if it rested on a refusal."""
    kreis, said = Kreis(120, 16, seed), set[str]()
    for day in kreis.days:
        for family in SUBMITTED:
            for event in day[family]:
                assert said.issuperset(event.rests_on), event.submission
                said.add(event.id)
    assert len(said) > 1000
