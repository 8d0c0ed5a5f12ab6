"""An account of each publisher: what it sent, what it was told, how late it speaks. From its topics alone."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any

from pydantic_core import from_json

from contracts.attributes import Verdict
from contracts.envelope import first_header
from contracts.messages import claim_of, read_message
from deploy.feeds.told import REUSED
from services.runtime.messages import moment_of


@dataclass
class Account:
    """One publisher's books of what its submissions topics still keep: answered + waiting = ids sent + ID_REUSED."""

    publisher: str
    asked: datetime | None = None
    """When its submissions were read: an answer given later may be to one that came later."""
    sent: int = 0
    """Different ids, first sent within what the topics keep."""
    waiting: int = 0
    """Ids without an answer: on their way, waiting for what they rest on, or set aside. Other content refused under an id is no
    answer to what has it."""
    older: int = 0
    """Answers to what the submissions topics keep no more: answers stand a week longer."""
    deliveries: int = 0
    nameless: int = 0
    """Deliveries without an id that could be read: nobody can answer them; they stand in the dead letters."""
    last: datetime | None = None
    """When the newest delivery arrived."""
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, of what was refused."""
    late: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds from what a submission says of its time to its first arrival."""
    _sent: Counter[str] = field(default_factory=Counter)
    """Contents of an id: sent twice word for word it is refused once, where another has it."""
    _contents: set[int] = field(default_factory=set)
    _reused: Counter[str] = field(default_factory=Counter)
    _answered: set[str] = field(default_factory=set)
    _told: set[bytes] = field(default_factory=set)

    def see(self, records: Iterable[Any]) -> None:
        """Records of a submissions topic."""
        for record in records:
            self.deliveries += 1
            arrived = moment_of(record.timestamp)
            self.last = arrived if self.last is None else max(arrived, self.last)
            id, *content = claim_of(record.headers, record.value)
            if id is None:
                self.nameless += 1
                continue
            if (one := hash((id, *content))) in self._contents:
                continue
            self._contents.add(one)
            self._sent[id] += 1
            if self._sent[id] == 1:
                try:
                    said = read_message(record.headers, record.value)[0].time
                except Verdict:
                    continue
                self.late.append((arrived - said).total_seconds())

    def hear(self, records: Iterable[Any]) -> None:
        """Records of an answers topic, once all submissions are seen; an answer given again counts once."""
        for record in records:
            if (id := first_header(record.headers, "ce_id") or b"") in self._told:
                continue
            self._told.add(id)
            said = from_json(record.value)
            if (to := said["submission_id"]) not in self._sent:
                self.older += self.asked is None or moment_of(record.timestamp) < self.asked
                continue
            self.outcomes[said["outcome"]] += 1
            if said["outcome"] == "refused":
                self.reasons[said["reason"]] += 1
            if said.get("reason") == REUSED:
                self._reused[to] += 1
            else:
                self._answered.add(to)

    def close(self) -> None:
        """Counts what needs all ids, and forgets them."""
        unanswered = self._sent.keys() - self._answered
        # all that is there of such an id was refused: what has it was sent before
        before = sum(self._sent[id] <= self._reused[id] for id in unanswered & self._reused.keys())
        self.sent, self.waiting = len(self._sent) - before, len(unanswered) - before
        self._sent, self._reused, self._contents, self._answered, self._told = Counter(), Counter(), set(), set(), set()

    def row(self) -> dict[str, Any]:
        """For programs: counts, seconds, a moment."""
        median, p90 = (ranked(self.late, share) for share in (0.5, 0.9))
        return {
            "publisher": self.publisher, "sent": self.sent, "repeated": self.deliveries - self.nameless - self.sent,
            "recorded": self.outcomes["recorded"], "unchanged": self.outcomes["unchanged"], "refused": self.outcomes["refused"],
            "unreadable": self.outcomes["unreadable"], "without_id": self.nameless, "waiting": self.waiting, "older": self.older,
            "late_median_seconds": median, "late_p90_seconds": p90,
            "last_seen": self.last and self.last.isoformat(timespec="seconds"), "reasons": dict(self.reasons.most_common()),
        }  # fmt: skip


def ranked(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share does not exceed (nearest rank), in whole seconds; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[ceil(len(ordered) * share) - 1])


def span_of(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
