"""Order within a stream: facts of one family and subject are numbered 1, 2, 3, so a reader never has to trust.

It applies the next, drops the old, keeps the early until the missing one comes, and holds a stream at a fork.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Heard(NamedTuple):
    """The last fact heard of one family and subject. Number 0: nothing yet."""

    number: int = 0
    id: str = ""


class Order(StrEnum):
    """What a numbered fact is to a reader who has heard up to some number."""

    NEXT = "next"
    OLD = "old"
    EARLY = "early"
    FORK = "fork"


def order_of(number: int, id: str, heard: Heard) -> Order:
    """A reader applies the next, drops the old, keeps the early and holds a fork (the last number with another id)."""
    if number == heard.number + 1:
        return Order.NEXT
    if number > heard.number:
        return Order.EARLY
    return Order.FORK if number == heard.number and id != heard.id else Order.OLD


class Gap(NamedTuple):
    """A number that has not come, though later ones have."""

    family: str
    subject: str
    missing: int
    since: datetime
    """When the first of the later ones came."""
    kept: int
    """How many later ones are kept."""


class Fork(NamedTuple):
    """Two facts under one number: the log is broken there, and nothing after it is applied. Tell who owns the family."""

    family: str
    subject: str
    number: int
    ids: tuple[str, str]


class Kept(NamedTuple, Generic[T]):
    """A fact a reader has and may not apply: it came early, or two stand under its number. As `Streams.take` takes it."""

    family: str
    subject: str
    number: int
    id: str
    fact: T
    came: datetime


@dataclass(slots=True)
class _Early(Generic[T]):
    id: str
    came: datetime
    fact: T


@dataclass(slots=True)
class Stream(Generic[T]):
    """One subject's facts of one family, as one reader has heard them. `heard` is what a reader must keep."""

    heard: Heard = Heard()  # noqa: RUF009
    early: dict[int, _Early[T]] = field(default_factory=dict)
    fork: tuple[int, str, str] | None = None
    other: _Early[T] | None = None
    """The second fact of the fork."""

    def keep(self, number: int, id: str, fact: T, came: datetime) -> None:
        """Hands in again an early fact kept before, with what was heard then."""
        self.early.setdefault(number, _Early(id, came, fact))

    def take(self, number: int, id: str, fact: T, came: datetime) -> list[T]:
        """What may be applied now, in order: nothing for an old or early fact or behind a fork, several where the
        missing one closes a gap. Types a reader does not read count too: pass them in and ignore what comes out."""
        order = order_of(number, id, self.heard)
        if order is Order.OLD:
            return []
        other = self.early.get(number)
        if order is Order.FORK or (other is not None and other.id != id):
            if self.fork is None:
                self.fork = (number, other.id if other else self.heard.id, id)
                self.other = _Early(id, came, fact)
            return []
        if order is Order.EARLY or self.fork is not None:
            self.keep(number, id, fact, came)
            return []
        self.heard = Heard(number, id)
        ready = [fact]
        while (following := self.early.get(self.heard.number + 1)) is not None and self.fork is None:
            self.heard = Heard(self.heard.number + 1, following.id)
            del self.early[self.heard.number]
            ready.append(following.fact)
        return ready


class Streams(Generic[T]):
    """Every stream one reader hears. Keep `heard()` and `kept()` with what you made of the facts and how far you have read, in
    the same transaction, and hand both in again at the next start: then a fact is applied once, whatever is delivered twice, and
    none is lost that came early. Who begins each time at the topic's start needs what was heard alone: the rest comes again."""

    def __init__(self, heard: dict[tuple[str, str], Heard] | None = None, kept: Iterable[Kept[T]] = ()) -> None:
        self._streams: dict[tuple[str, str], Stream[T]] = {
            name: Stream(Heard(*last)) for name, last in (heard or {}).items()
        }
        self._open: set[tuple[str, str]] = set()
        for one in kept:
            self.take(*one)

    def take(self, family: str, subject: str, number: int, id: str, fact: T, came: datetime) -> list[T]:
        """What may be applied now, in order (see `Stream.take`). `came`: when the broker or you got it."""
        name = (family, subject)
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream()
        ready = stream.take(number, id, fact, came)
        if stream.early or stream.fork is not None:
            self._open.add(name)
        else:
            self._open.discard(name)
        return ready

    def heard(self) -> dict[tuple[str, str], Heard]:
        """The last fact applied of each (family, subject)."""
        return {name: stream.heard for name, stream in self._streams.items() if stream.heard.number}

    def kept(self) -> list[Kept[T]]:
        """What is here and may not be applied yet, in the order in which to hand it in again: the two of a fork before all that
        it holds."""
        found: list[Kept[T]] = []
        for name in sorted(self._open):
            stream = self._streams[name]
            early = dict(sorted(stream.early.items()))
            if stream.fork is not None and stream.other is not None:
                number = stream.fork[0]
                pair = [early.pop(number), stream.other] if number in early else [stream.other]
                found += [Kept(*name, number, one.id, one.fact, one.came) for one in pair]
            found += [Kept(*name, number, one.id, one.fact, one.came) for number, one in early.items()]
        return found

    def gaps(self, before: datetime | None = None) -> Iterator[Gap]:
        """What is missing; with `before`, only where later ones have been kept since before then (ten minutes ago, say:
        less is the ordinary disorder of a rebalance)."""
        for family, subject in sorted(self._open):
            stream = self._streams[family, subject]
            if stream.early and stream.fork is None:
                since = min(one.came for one in stream.early.values())
                if before is None or since < before:
                    yield Gap(family, subject, stream.heard.number + 1, since, len(stream.early))

    def forks(self) -> Iterator[Fork]:
        """Streams that are held because two facts stand under one number."""
        for family, subject in sorted(self._open):
            stream = self._streams[family, subject]
            if stream.fork is not None:
                number, first, second = stream.fork
                yield Fork(family, subject, number, (first, second))
