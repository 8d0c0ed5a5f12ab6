"""What reporting keeps of a case: where it belongs, and from when to when it took part in what. It decides nothing."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple

from contracts.codes import EndKind
from contracts.envelope import Fact
from contracts.intake import CaseOpened
from contracts.referral import ParticipationEnded, ParticipationStarted


class Start(NamedTuple):
    """The start that stands: the highest (reported_at, revision)."""

    on: date
    reported_at: datetime
    revision: int


class End(NamedTuple):
    """The end that stands; None: it was taken back as an error."""

    before_on: date | None
    reported_at: datetime
    revision: int


@dataclass(slots=True)
class Participation:
    block: str = "UNKNOWN"
    start: Start | None = None
    end: End | None = None


@dataclass(slots=True)
class Case:
    """A case as reporting counts it. No field is folded from two families, so the order between families does not matter."""

    id: str
    tenant: str
    municipality: str = "UNKNOWN"
    participations: dict[str, Participation] = field(default_factory=dict)
    shape: ClassVar[int] = 2


def evolve(case: Case, fact: Fact, cause: str) -> None:
    """Folds a fact; an older statement than the one that stands changes nothing."""
    match fact:
        case CaseOpened():
            case.municipality = fact.municipality
        case ParticipationStarted():
            participation = case.participations.setdefault(fact.participation_id, Participation())
            start = Start(fact.started_on, fact.reported_at, fact.revision)
            if participation.start is None or _rank_of(start) > _rank_of(participation.start):
                participation.block, participation.start = fact.block, start
        case ParticipationEnded():
            participation = case.participations.setdefault(fact.participation_id, Participation())
            before_on = None if fact.kind == EndKind.ENTERED_IN_ERROR else fact.ended_before_on
            end = End(before_on, fact.reported_at, fact.revision)
            if participation.end is None or _rank_of(end) > _rank_of(participation.end):
                participation.end = end


def _rank_of(said: Start | End) -> tuple[datetime, int]:
    """Of several statements about one thing the highest stands."""
    return said.reported_at, said.revision


def view(case: Case) -> dict[str, list[tuple[Any, ...]]]:
    """A row a participation that has started."""
    return {
        "participation_period": [
            (case.id, id, case.tenant, case.municipality, p.block, p.start.on, p.end.before_on if p.end else None)
            for id, p in case.participations.items()
            if p.start is not None
        ]
    }
