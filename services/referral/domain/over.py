"""What is over, and why as it was said: remembered, so that it is said again where it turns out otherwise."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from contracts.dropout import REMEMBERED, DropoutRiskWithdrawn

MOST = 30
"""Risks of a case of which it is remembered why they are over: a month handed in backwards withdraws one each day."""


class Over(NamedTuple):
    """A risk that was withdrawn, and why, as it was said last."""

    about: str
    rule: str
    first_on: date
    last_on: date
    """The newest of the days that were said of it."""
    reason: str
    as_of: datetime
    """The tick by which it was said."""


def withdrawn(over: Sequence[Over], said: DropoutRiskWithdrawn, last_on: date | None) -> list[Over]:
    """With one that is said to be over, at the end. `last_on`: the newest of its days, where it was open."""
    key = (said.about, said.rule, said.first_on)
    before = next((one for one in over if one[:3] == key), None)
    last_on = last_on or (before.last_on if before else said.first_on)
    others = [one for one in over if one[:3] != key and one.as_of >= said.as_of - REMEMBERED]
    return [*others[1 - MOST :], Over(*key, last_on, said.reason, said.as_of)]
