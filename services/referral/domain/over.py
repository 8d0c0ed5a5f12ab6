"""Risks as they were said: the open ones, and what is over and why, remembered so that it is said again where it turns out
otherwise."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from contracts.dropout import REMEMBERED, DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn

MOST = 30
"""Risks of a case of which it is remembered why they are over: a month handed in backwards withdraws one each day."""


class Risk(NamedTuple):
    """A risk that was raised and not withdrawn."""

    about: str
    rule: str
    first_on: date
    last_on: date
    """The newest of the days that were said of it."""


class Over(NamedTuple):
    """A risk that was withdrawn, and the reason that was said last: none where it was raised again since, and is open."""

    about: str
    rule: str
    first_on: date
    reason: str
    as_of: datetime
    """The tick by which it was said."""
    before: str | None = None
    """The reason that stood when that tick began: an office may have been told."""

    def told(self, ticked: datetime) -> str | None:
        """The reason an office may have been told before a tick: the one said by an earlier tick. What is handed in within one tick is
        known at once."""
        return self.before if self.as_of >= ticked else self.reason or None


def key_of(one: Risk | Over | DropoutRiskRaised | DropoutRiskContinued | DropoutRiskWithdrawn) -> tuple[str, str, date]:
    """What a risk is known by, however it stands."""
    return one.about, one.rule, one.first_on


def raised(over: Sequence[Over], said: DropoutRiskRaised) -> list[Over]:
    """What is over once this risk was raised: if it is among them it keeps its place, without a reason."""
    known = _known(over, said)
    again = known and known._replace(reason="", as_of=said.as_of, before=known.told(said.as_of))
    return [again if again and one is known else one for one in over]


def withdrawn(over: Sequence[Over], said: DropoutRiskWithdrawn) -> list[Over]:
    """What is over once this risk was withdrawn: it stands last."""
    key, known = key_of(said), _known(over, said)
    others = [one for one in over if key_of(one) != key and one.as_of >= said.as_of - REMEMBERED]
    return [*others[1 - MOST :], Over(*key, said.reason, said.as_of, known.told(said.as_of) if known else None)]


def _known(over: Sequence[Over], said: DropoutRiskRaised | DropoutRiskWithdrawn) -> Over | None:
    key, oldest = key_of(said), said.as_of - REMEMBERED
    return next((one for one in over if key_of(one) == key and one.as_of >= oldest), None)
