"""The parts of the benchmark: what each measures, in which house, and about how long it takes."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from deploy.bench import inside, latency, rounds
from deploy.bench.figures import place
from deploy.bench.house import House
from deploy.bench.people import People
from deploy.bench.rounds import Run

FEW_MEETINGS = 2
"""Of each case where there are a hundred times as many; and of as few cases as usual, to compare with."""


@dataclass(frozen=True)
class Shape:
    """A house to be: who is there, partitions of a topic, processes of referral."""

    people: People
    partitions: int = 4
    workers: int = rounds.WORKERS


@dataclass(frozen=True)
class Part:
    """What can be run by itself. `minutes`: about how long it takes in a long run, and in a quick one (None: not in it).
    `settled`: one process of referral knows everybody when it begins."""

    name: str
    about: str
    measure: Callable[[House, Run], Awaitable[None]] | None
    """In its house; None: `first`, which brings its own stack."""
    minutes: tuple[float, float | None]
    shape: Shape | None = None
    beside: tuple[Shape, ...] = ()
    """Of other houses, measured in turns with the first."""
    settled: bool = True
    asked_for: bool = False
    """Only where it is named."""


@dataclass
class Plan:
    """Parts in order, and how much of the way is gone."""

    parts: list[Part]
    quick: bool
    _began: float = field(default_factory=time.monotonic)
    _done: float = 0.0

    def said(self, part: Part) -> str:
        """What runs now, and about how long everything will still take at the pace so far."""
        at = self.parts.index(part) + 1
        pace = (time.monotonic() - self._began) / 60 / self._done if self._done else 1.0
        left = sum(self._minutes(one) for one in self.parts[at - 1 :]) * pace
        return f"[{at} of {len(self.parts)}] {part.name}: {part.about}; about {max(left, 1):.0f} min left"

    def finish(self, part: Part) -> None:
        """It is done."""
        self._done += self._minutes(part)

    def _minutes(self, part: Part) -> float:
        long, quick = part.minutes
        return quick if self.quick and quick is not None else long


def everything(cases: int, *, quick: bool) -> list[Part]:
    """All parts, in order; those of one house stand together."""
    people = People(cases=cases)
    base = Shape(people)
    rebuilt = base if quick else Shape(People(cases=cases * 77 // 10))  # 13 facts each: a million
    found = [
        Part("first", "everything from nothing, until a first answer", None, (0.2, 0.4)),
        Part("full-way", "full way, loop and relay, beside limits, usual services and the compiled twin", rounds.base, (5.5, 4.5), base),
        Part("latency", "latency at a steady rate; of the usual service, too", latency.all_of_it, (6, 1.7), base),
        Part("sink", "Kafka Connect's JDBC sink", rounds.sink, (0.3, 0.5), base),
        Part("services", "each service at rest; registrations through intake", rounds.services, (0.3, 0.4), base),
        Part("statements", "statements of a transaction, and where Postgres' time goes", inside.statements, (0.4, 0.7), base),
        Part("profile", "py-spy on a process of referral", inside.profile, (0.4, 0.4), base, asked_for=True),
        Part("relay", "the relay alone, draining a backlog", rounds.backlog, (0.9, None), base),
        Part("learning", "reporting learns, with one process and with two", rounds.learning, (1.3, 0.4), rebuilt, settled=False),
        Part("rebuild", "each service learns everything anew", rounds.rebuilds, (1.8, 0.8), rebuilt, settled=False),
        Part("profile-learning", "py-spy on reporting that learns, and on a rebuild", inside.profile_learning, (1.5, None), rebuilt,
             settled=False, asked_for=True),
    ]  # fmt: skip
    few = replace(people, meetings=FEW_MEETINGS)
    axes = [
        ("alliances", base, [Shape(replace(people, alliances=count)) for count in (1, 400)], 2.3),
        ("meetings", base, [Shape(replace(people, meetings=52))], 2.1),
        ("publishers", base, [Shape(replace(people, publishers=count)) for count in (60, 300)], 4.3),
        ("partitions", base, [Shape(people, partitions=count) for count in (12, 96)], 3.8),
        ("workers", base, [Shape(people, workers=count) for count in (1, 4)], 2.5),
        ("cases", Shape(few), [Shape(replace(few, cases=cases * factor)) for factor in (10, 100)], 21),
    ]  # fmt: skip
    return found + [_growth(*one) for one in axes]


def _growth(axis: str, base: Shape, grown: list[Shape], minutes: float) -> Part:
    shapes = [base, *grown]
    places = [_place(shape, axis) for shape in shapes]

    async def measure(house: House, run: Run) -> None:
        turns = zip(
            (place(axis, at) for at in places), (house, *run.beside), (one.workers for one in shapes), strict=True
        )
        await rounds.growth(run, list(turns))
        for at in places[1:]:
            run.figures.point(axis, at, places[0])

    told = f"the full way: {axis} {', '.join(f'{at:,}' for at in places)}, in turns"
    return Part(axis, told, measure, (minutes, None), base, tuple(grown))


def _place(shape: Shape, axis: str) -> int:
    """Where on an axis a house stands."""
    return int(getattr(shape if axis in ("partitions", "workers") else shape.people, axis))


def chosen(cases: int, *, quick: bool, only: tuple[str, ...], profile: bool) -> list[Part]:
    """The parts of a run. Raises KeyError with a name there is not."""
    parts = everything(cases, quick=quick)
    if only:
        if wrong := set(only) - {part.name for part in parts}:
            raise KeyError(sorted(wrong)[0])
        return [part for part in parts if part.name in only]
    return [part for part in parts if (not quick or part.minutes[1]) and (profile or not part.asked_for)]


async def furnish(house: House, run: Run, part: Part) -> None:
    """What a part finds when it begins: topics, facts, and where it says so one warm process that knows everybody."""
    if not hasattr(house, "producer"):
        await house.open()
        run.say(f"  writing facts of {house.people.cases:,} cases ...")
        await house.settle()
    if part.settled and not house.workers["referral"]:
        await rounds.settled(house, run)
