"""Order within a stream: facts of one family and subject are numbered 1, 2, 3, so a reader never has to trust.

It applies the next, drops the old, keeps the early until the missing one comes, and holds a stream at a fork until it is told
which of the two to leave out.
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
    """Two facts under one number: the log is broken there, and nothing after it is applied. Tell who owns the family: an operator
    says which of the two is left out (`Streams.leave_out`)."""

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
    others: list[tuple[int, _Early[T]]] = field(default_factory=list)
    """What came under a number another fact has, in the order in which it came: the second fact of the fork first."""

    def keep(self, number: int, id: str, fact: T, came: datetime) -> None:
        """Holds a fact and applies nothing: an early one, or the second under its number. Hands in again what was kept before, too."""
        if number < self.heard.number:
            return
        early = number > self.heard.number
        first = self.early.setdefault(number, _Early(id, came, fact)).id if early else self.heard.id
        if id != first and all((number, id) != (taken, one.id) for taken, one in self.others):
            self.others.append((number, _Early(id, came, fact)))
            self._look()

    def take(self, number: int, id: str, fact: T, came: datetime) -> list[T]:
        """What may be applied now, in order: nothing for an old or early fact or behind a fork, several where the
        missing one closes a gap. Types a reader does not read count too: pass them in and ignore what comes out."""
        order = order_of(number, id, self.heard)
        if order is Order.OLD:
            return []
        if order is not Order.NEXT or self.fork is not None or number in self.early:
            self.keep(number, id, fact, came)
            return []
        self.heard = Heard(number, id)
        return [fact, *self.following()]

    def leave_out(self, id: str) -> list[T]:
        """Goes on without a fact: what it kept back may be applied now, in order. Raises ValueError where it was applied."""
        if id == self.heard.id:
            raise ValueError("this fact was applied: it can't be left out any more")
        self.others = [(number, one) for number, one in self.others if one.id != id]
        for number in [number for number, one in self.early.items() if one.id == id]:
            del self.early[number]
            if following := next((one for taken, one in self.others if taken == number), None):
                self.early[number] = following  # in the place of the first
                self.others.remove((number, following))
        self._look()
        return self.following()

    def _look(self) -> None:
        """The fork is where two stand that came first."""
        self.fork = None
        if self.others:
            number, one = self.others[0]
            self.fork = (number, self.early[number].id if number in self.early else self.heard.id, one.id)

    def following(self) -> list[T]:
        """What was kept and may be applied now, in order."""
        ready: list[T] = []
        while self.fork is None and (following := self.early.get(self.heard.number + 1)) is not None:
            self.heard = Heard(self.heard.number + 1, following.id)
            del self.early[self.heard.number]
            ready.append(following.fact)
        return ready


class Streams(Generic[T]):
    """Every stream one reader hears. Keep `heard()` and `kept()` with what you made of the facts and how far you have read, in
    the same transaction, and hand both in again at the next start: then a fact is applied once, whatever is delivered twice, and
    none is lost that came early. Who begins each time at the topic's start needs what was heard alone: the rest comes again.

    Raises ValueError for a `kept` that holds what is the next already: it is not of the time of `heard`, or a fact was taken out of
    it by hand (`leave_out` does that), and what follows from it would be given to nobody."""

    def __init__(self, heard: dict[tuple[str, str], Heard] | None = None, kept: Iterable[Kept[T]] = ()) -> None:
        self._streams: dict[tuple[str, str], Stream[T]] = {
            name: Stream(Heard(*last)) for name, last in (heard or {}).items()
        }
        self._open: set[tuple[str, str]] = set()
        self._left_out: set[tuple[str, str, str]] = set()
        for family, subject, number, id, fact, came in kept:
            self._streams.setdefault((family, subject), Stream()).keep(number, id, fact, came)
            self._open.add((family, subject))
        for name in tuple(self._open):
            if self._streams[name].following():
                raise ValueError(
                    "`kept` holds what is the next already: hand in both as they were kept, then `leave_out`"
                )
            self._note(name, self._streams[name])

    def take(self, family: str, subject: str, number: int, id: str, fact: T, came: datetime) -> list[T]:
        """What may be applied now, in order (see `Stream.take`). `came`: when the broker or you got it."""
        if (family, subject, id) in self._left_out:
            return []
        name = (family, subject)
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream()
        ready = stream.take(number, id, fact, came)
        self._note(name, stream)
        return ready

    def leave_out(self, family: str, subject: str, id: str) -> list[T]:
        """Passes over a fact from now on, whenever it comes, as who owns the family says of one of a fork's two; gives back what was
        kept because of it and may be applied now, in order. It is not in `kept()` or `heard()`: keep such ids with your settings,
        and say them at each start before anything is read. Raises ValueError for the last one applied."""
        name = (family, subject)
        ready: list[T] = []
        if (stream := self._streams.get(name)) is not None:
            ready = stream.leave_out(id)
            self._note(name, stream)
        self._left_out.add((*name, id))
        return ready

    def _note(self, name: tuple[str, str], stream: Stream[T]) -> None:
        if stream.early or stream.fork is not None:
            self._open.add(name)
        else:
            self._open.discard(name)

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
            if stream.fork is not None and (number := stream.fork[0]) in early:
                one = early.pop(number)
                found.append(Kept(*name, number, one.id, one.fact, one.came))
            held = [*stream.others[:1], *early.items(), *stream.others[1:]]
            found += [Kept(*name, number, one.id, one.fact, one.came) for number, one in held]
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
