"""What is said of what was measured: medians with their range, by which part of the benchmark, and whether the goals hold."""

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

WIDTH = 100
"""Columns of the widest table people are shown."""


@dataclass
class Figures:
    """Values by name, one for each repetition; `units` says of what. A cost of a figure is named `figure: cost`."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    units: dict[str, str] = field(default_factory=dict)
    part_of: dict[str, str] = field(default_factory=dict)
    """Figure, note or view to the part of the benchmark that measured it."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """What a figure stands for, in words, where somebody will ask."""
    views: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Tables of their own: where the time goes, by statement and by function."""
    points: list[dict[str, Any]] = field(default_factory=list)
    """How cost grows: `axis`, where on it was measured (`at`), and where (`base_at`) what it is held against; see `place`."""
    part: str = ""
    """The part that measures now."""

    def add(self, name: str, value: float, unit: str) -> None:
        """One repetition's value."""
        self.values[name].append(value)
        self.units[name] = unit
        self.part_of[name] = self.part

    def note(self, name: str, words: list[str]) -> None:
        """Words about a figure, or about one that is missing; of each repetition, where there are several."""
        self.notes[name] = [*self.notes.get(name, ()), *words]
        self.part_of[name] = self.part

    def show(self, name: str, rows: list[dict[str, Any]]) -> None:
        """A table of its own."""
        self.views[name] = rows
        self.part_of[name] = self.part

    def point(self, axis: str, at: int, base_at: int) -> None:
        """At this place of an axis was measured, in turns with that one."""
        if (one := {"axis": axis, "at": at, "base_at": base_at}) not in self.points:
            self.points.append(one)

    def forget(self, part: str) -> None:
        """Nothing of a part that failed is kept."""
        for name in [name for name, whose in self.part_of.items() if whose == part]:
            for kept in (self.values, self.notes, self.views, self.units, self.part_of):
                kept.pop(name, None)

    def median(self, name: str) -> float | None:
        """The median, or None where it was not measured."""
        return statistics.median(self.values[name]) if self.values.get(name) else None

    def ratio(self, one: str, other: str) -> float | None:
        """The median of the ratios within a repetition: what disturbs a repetition disturbs both of its sides."""
        pairs = [(a, b) for a, b in zip(self.values.get(one, []), self.values.get(other, []), strict=False) if b]
        return statistics.median(a / b for a, b in pairs) if pairs else None

    def most(self, start: str) -> float | None:
        """The largest median of the figures whose names begin so."""
        return max(
            (statistics.median(found) for name, found in self.values.items() if name.startswith(start)), default=None
        )

    def grown(self, axis: str, at: int) -> float | None:
        """What is left at a place of an axis of the rate at its base, measured in turns with it."""
        base = [one["base_at"] for one in self.points if one["axis"] == axis and one["at"] == at]
        return self.ratio(place(axis, at), place(axis, base[0])) if base else None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            name: {"part": self.part_of[name], "unit": self.units[name], "median": statistics.median(found), "least": min(found),
                   "most": max(found), "values": found}
            for name, found in self.values.items()
        }  # fmt: skip

    def take_over(self, said: dict[str, Any], parts: set[str]) -> None:
        """Figures, notes and views of an earlier run's JSON that these parts measured."""
        for name, one in said["figures"].items():
            if one["part"] in parts:
                self.values[name], self.units[name], self.part_of[name] = one["values"], one["unit"], one["part"]
        for kind, mine in (("notes", self.notes), ("views", self.views)):
            for name, found in said[kind].items():
                if found["part"] in parts:
                    mine[name], self.part_of[name] = found["said"], found["part"]
        self.points += [
            one for one in said["points"] if place(one["axis"], one["at"]) in self.values and one not in self.points
        ]

    def tables(self) -> list[Table]:
        """For people: each figure, what each cost by process, and in bytes."""
        rates = _table("What was measured", "figure", "median", "least", "most", "n", "unit")
        for name, found in self.values.items():
            if ": " not in name:
                shown = (said(value) for value in (statistics.median(found), min(found), max(found)))
                rates.add_row(name, *shown, str(len(found)), self.units[name])
        tables = [rates]
        for title, kind in (("µs of CPU, each, by process", "CPU "), ("Bytes each", "bytes ")):
            rows, columns = costs(self.as_json(), kind)
            table = _table(title, "of", *columns)
            for about, row in rows.items():
                if not about.startswith("growth, "):
                    table.add_row(about, *(row.get(column, "") for column in columns))
            tables += [table] if table.row_count else []
        for title, view in self.views.items():
            table = _table(title, *view[0] if view else ())
            for line in view[:12]:
                table.add_row(
                    *(said(value) if isinstance(value, float) else f"{value}"[:52] for value in line.values())
                )
            tables.append(table)
        return tables


def place(axis: str, at: int) -> str:
    """The name of the figure that was measured at a place of an axis."""
    return f"growth, {axis} {at:,}"


def shares(figures: dict[str, Any], point: dict[str, Any]) -> list[float]:
    """Of a run's JSON: what is left of the base's rate at a point, in each repetition."""
    names = (place(point["axis"], point[at]) for at in ("at", "base_at"))
    both = zip(*(figures[name]["values"] for name in names), strict=True)
    return [rate / its for rate, its in both]


def costs(figures: dict[str, Any], kind: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Costs of one kind (`CPU ` or `bytes `): figure to cost to value, and the costs there are."""
    rows: dict[str, dict[str, str]] = {}
    for name, one in figures.items():
        about, _, cost = name.partition(": ")
        if cost.startswith(kind):
            rows.setdefault(about, {})[cost.removeprefix(kind)] = said(one["median"])
    return rows, list(dict.fromkeys(cost for row in rows.values() for cost in row))


def _table(title: str, first: str = "", *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, width=None, pad_edge=False)
    table.add_column(first, overflow="fold", max_width=54)
    for column in columns:
        table.add_column(column, justify="left" if column == "unit" else "right", no_wrap=True)
    return table


def said(value: float) -> str:
    """A figure with as many digits as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Goal:
    """What issue and house ask of a figure. `value` is None where this run did not measure it."""

    name: str
    value: float | None
    goal: float
    at_least: bool = True

    @property
    def holds(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "holds": self.holds}


def goals(f: Figures) -> list[Goal]:
    """The goals, on two cores that also carry Kafka and Postgres."""
    two, one = "full way, 2 processes", "loop, 1 process"
    many, few = (f.median(f"statements of a transaction, {n} reports") for n in ("5,000", "20"))
    return [
        Goal("full way, two processes, submissions/s", f.median(two), 20_000),
        Goal("full way, two processes, floor, submissions/s", f.median(two), 14_000),
        Goal("full way, two processes : the usual service, one process", f.ratio(two, "usual service, a message"), 35),
        Goal("full way, two processes : a compiled twin", f.ratio(two, "compiled twin, two threads"), 0.6),
        Goal("loop without relay, one process, submissions/s", f.median(one), 10_000),
        Goal("loop without relay, one process, floor, submissions/s", f.median(one), 8_000),
        Goal("loop without relay, two processes : one", f.ratio("loop, 2 processes", one), 1.7),
        Goal("one alliance : 54", f.grown("alliances", 1), 0.9),
        Goal("learning facts, one process, facts/s", f.median("learning facts, 1 process of reporting"), 50_000),
        Goal("learning facts, two processes, facts/s", f.median("learning facts, 2 processes of reporting"), 50_000),
        Goal("rebuild of referral, records/s", f.median("rebuild of referral"), 80_000),
        Goal("at 500/s, submission → answer, p99 ms", f.median("at 500/s, submission → answer, p99"), 30, at_least=False),
        Goal("at 500/s, → risk readable, p99 ms", f.median("at 500/s, submission → risk readable, p99"), 50, at_least=False),
        Goal("1,000,000 cases : 10,000", f.grown("cases", 1_000_000), 0.6),
        Goal("a year of attendance in each state : 8 meetings", f.grown("meetings", 52), 0.75),
        Goal("300 publishers' topics : 6", f.grown("publishers", 300), 0.9),
        Goal("statements of a transaction, many reports", many, 15, at_least=False),
        Goal("statements, 5,000 reports - 20 (3: projections)", many - few if many and few else None, 3, at_least=False),
        Goal("memory under load, the largest service, MB", f.most("memory under load, "), 250, at_least=False),
        Goal("memory at rest, the largest service, MB", f.most("memory at rest, "), 120, at_least=False),
    ]  # fmt: skip


def goals_table(found: list[Goal]) -> Table:
    """For people."""
    table = _table("Goals", "goal", "value", "asked", "holds")
    for goal in found:
        if goal.value is not None:
            sign = "≥" if goal.at_least else "≤"
            table.add_row(goal.name, said(goal.value), f"{sign} {said(goal.goal)}", "yes" if goal.holds else "no")
    return table
