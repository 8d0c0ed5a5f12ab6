"""What is over, and why as it was said: remembered, so that it is said again where it turns out otherwise."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from contracts.dropout import REMEMBERED, DropoutRiskRaised, DropoutRiskWithdrawn

MOST = 30
"""Risks of a case of which it is remembered why they are over: a month handed in backwards withdraws one each day."""


class Over(NamedTuple):
    """A risk that was withdrawn, and why, as it was said last; raised again since, and open, for no reason."""

    about: str
    rule: str
    first_on: date
    last_on: date
    """The newest of the days that were said of it."""
    reason: str
    as_of: datetime
    """The tick by which it was said."""
    before: str | None = None
    """The reason that stood when that tick began: it may have been told."""

    def told(self, ticked: datetime) -> str | None:
        """The reason that may have been told at a tick: of an earlier one. Within one, all that is handed in is known at once."""
        return self.before if self.as_of >= ticked else self.reason or None


def raised(over: Sequence[Over], said: DropoutRiskRaised) -> list[Over]:
    """With one that holds again, where it stands."""
    known = _known(over, said)
    again = known and known._replace(reason="", as_of=said.as_of, before=known.told(said.as_of))
    return [again if again and one is known else one for one in over]


def withdrawn(over: Sequence[Over], said: DropoutRiskWithdrawn, last_on: date | None) -> list[Over]:
    """With one that is said to be over, at the end. `last_on`: the newest of its days, where it was open."""
    key, known = (said.about, said.rule, said.first_on), _known(over, said)
    last_on = last_on or (known.last_on if known else said.first_on)
    others = [one for one in over if one[:3] != key and one.as_of >= said.as_of - REMEMBERED]
    return [
        *others[1 - MOST :],
        Over(*key, last_on, said.reason, said.as_of, known.told(said.as_of) if known else None),
    ]


def _known(over: Sequence[Over], said: DropoutRiskRaised | DropoutRiskWithdrawn) -> Over | None:
    key, oldest = (said.about, said.rule, said.first_on), said.as_of - REMEMBERED
    return next((one for one in over if one[:3] == key and one.as_of >= oldest), None)
