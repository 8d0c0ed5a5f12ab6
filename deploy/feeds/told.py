"""What became of one submission: its answers, or since when it has none."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.envelope import Again, Answer, Outcome, content_of, first_header
from contracts.messages import claim_of
from services.runtime.messages import moment_of

REUSED = "ID_REUSED"
"""What is said to other content under an id that is used: of what has the id it says nothing."""

AGAIN = {
    Again.NO: "no: sending it again changes nothing",
    Again.MENDED: "yes: mend it and send it under a new id; this id is used up",
    Again.LATER: "yes: send the same again under a new id, once what it lacks is there",
}
"""Whether sending again helps, for people."""


@dataclass(frozen=True)
class Told:
    """One answer, and where and when it was given."""

    id: str
    topic: str
    at: datetime
    answer: Answer

    def row(self) -> dict[str, Any]:
        """For programs; nothing in it is anybody's but the sender's own id."""
        said = self.answer
        return {
            "submission_id": said.submission_id, "outcome": said.outcome.value, "reason": said.reason, "pointer": said.pointer,
            "hint": said.hint, "again": said.again.value, "again_says": self.again, "fact_id": said.fact_id,
            "answered": self.at.isoformat(timespec="seconds"), "topic": self.topic,
        }  # fmt: skip

    @property
    def again(self) -> str:
        """Whether sending again helps, in a sentence."""
        if self.answer.outcome in (Outcome.RECORDED, Outcome.UNCHANGED):
            return "no: it stands"
        return AGAIN[self.answer.again]


@dataclass(frozen=True)
class Sent:
    """A submission as it stands on its topic."""

    type: str
    at: datetime
    place: str
    content: str
    """As an answer to it says it."""


@dataclass
class Conversation:
    """What was sent and told under one id. Records may come in any order, and twice."""

    id: str
    reference: str
    told: dict[str, Told] = field(default_factory=dict)
    """By the answer's id: the same answer given again is the same."""
    sent: list[Sent] = field(default_factory=list)

    def hear(self, records: Iterable[Any]) -> None:
        """Records of an answers topic. A record of it that is no answer raises pydantic.ValidationError."""
        cause = self.reference.encode()
        for record in records:
            if first_header(record.headers, "ce_cause") == cause:
                id = (first_header(record.headers, "ce_id") or b"").decode()
                answer = Answer.model_validate_json(record.value)
                self.told.setdefault(id, Told(id, record.topic, moment_of(record.timestamp), answer))

    def see(self, records: Iterable[Any]) -> None:
        """Records of a submissions topic."""
        for record in records:
            id, type, body = claim_of(record.headers, record.value)
            if id == self.id:
                place = f"{record.topic}/{record.partition}/{record.offset}"
                content = content_of(self.reference, type, body)
                self.sent.append(Sent(type.decode("ascii", "replace"), moment_of(record.timestamp), place, content))

    @property
    def answers(self) -> list[Told]:
        """What became of the submission first; then what was said to other content under its id."""
        return sorted(self.told.values(), key=lambda told: (told.answer.reason == REUSED, told.at))

    @property
    def answered(self) -> bool:
        """Whether what has the id has its answer."""
        return any(told.answer.reason != REUSED for told in self.told.values())

    @property
    def waiting(self) -> list[Sent]:
        """Deliveries of what has the id, where it has no answer: of the content that was not refused as another's."""
        refused = {told.answer.content for told in self.told.values()}
        return [] if self.answered else [sent for sent in self.sent if sent.content not in refused]
