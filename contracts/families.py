"""Every type of every family by its wire name, and reading a message whose type is not known beforehand."""

from typing import Any, NamedTuple

from . import attendance, dropout, intake, notification, referral
from .attributes import Attributes, Headers
from .envelope import Answer, Fact, Model, Submission, Tick, answer_type
from .messages import read_body, read_message
from .reporting import ParticipationReport
from .topics import SUBMITTED

FAMILIES: dict[str, Any] = {module.FAMILY: module for module in (intake, referral, attendance, dropout, notification)}
FACTS: dict[str, type[Fact]] = {kind.ce_type: kind for family in FAMILIES.values() for kind in family.FACTS}
SUBMISSIONS: dict[str, type[Submission]] = {
    kind.ce_type: kind for family in FAMILIES.values() for kind in family.SUBMISSIONS
}
ANSWERS: dict[str, type[Answer]] = {answer_type(family): Answer for family in SUBMITTED}
TYPES: dict[str, type[Model]] = {**FACTS, **SUBMISSIONS, **ANSWERS, ParticipationReport.ce_type: ParticipationReport}
"""Wire type to model, of all that carries tenant and subject. (Time belongs to all alliances: a tick has neither.)"""

PUBLISHED: dict[str, type[Model]] = {**TYPES, Tick.ce_type: Tick}
"""All that has a schema."""


class Received(NamedTuple):
    """A message as it was read; `said` is None for a type this version does not know: pass it on to the stream, it counts."""

    attributes: Attributes
    said: Model | None


def from_message(headers: Headers, value: bytes | None) -> Received:
    """Reads any message of Lotse, binary or structured. Raises Verdict with pointer and rule, never a value."""
    attributes, body = read_message(headers, value)
    cls = TYPES.get(attributes.type)
    return Received(attributes, None if cls is None else read_body(cls, body))
