"""Every type of every family by its wire name, and reading a message whose type is not known beforehand."""

from typing import Any, NamedTuple

from . import attendance, dropout, intake, notification, referral
from .attributes import Attributes, Headers, first_header
from .envelope import Answer, Fact, Model, Submission, Tick, answer_type
from .messages import claim_of, read_body, read_message
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

    @property
    def is_later_version(self) -> bool:
        """Whether it is of a later version of a type known here (`.v2` of a `.v1`): it says in place of that one what you make of the
        facts, which is not whole without it. Stop, and take the newer wheel."""
        base, _, version = self.attributes.type.rpartition(".v")
        return (
            self.said is None
            and version.isdecimal()
            and any(f"{base}.v{known}" in PUBLISHED for known in range(1, min(int(version), 100)))
        )


_TICK = Tick.ce_type.encode()


def from_message(headers: Headers, value: bytes | None) -> Received:
    """Reads any message of Lotse, binary or structured; of a tick subject and tenant are empty, it has none. Raises Verdict with
    pointer and rule, never a value."""
    headers = list(headers)
    about_time = first_header(headers, "ce_type") == _TICK or (
        value is not None and _TICK in value and claim_of(headers, value)[1] == _TICK
    )
    attributes, body = read_message(headers, value, about_time=about_time)
    cls = PUBLISHED.get(attributes.type)
    return Received(attributes, None if cls is None else read_body(cls, body))
