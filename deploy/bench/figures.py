"""What is said of what was measured: medians with their range, and whether the goals hold."""

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass
class Figures:
    """Values by name, one for each repetition; `units` says of what."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    units: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """What a figure stands for, in words, where somebody will ask."""

    def add(self, name: str, value: float, unit: str) -> None:
        """One repetition's value."""
        self.values[name].append(value)
        self.units[name] = unit

    def median(self, name: str) -> float | None:
        """The median, or None where it was not measured."""
        return statistics.median(self.values[name]) if self.values.get(name) else None

    def ratio(self, one: str, other: str) -> float | None:
        """The median of the ratios within a repetition: what disturbs a repetition disturbs both of its sides."""
        pairs = [(a, b) for a, b in zip(self.values.get(one, []), self.values.get(other, []), strict=False) if b]
        return statistics.median(a / b for a, b in pairs) if pairs else None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            name: {"unit": self.units[name], "median": statistics.median(found), "least": min(found), "most": max(found), "values": found}
            for name, found in self.values.items()
        }  # fmt: skip

    def tables(self) -> list[Table]:
        """For people: each figure, and below them what each cost by process and kind."""
        rates = Table(
            "figure", "median", "least", "most", "n", "unit", title="What was measured", title_justify="left", box=None
        )
        costs: dict[str, dict[str, str]] = defaultdict(dict)
        for name, found in self.values.items():
            about, _, cost = name.partition(": ")
            if cost:
                costs[cost][about] = said(statistics.median(found))
                continue
            shown = (said(value) for value in (statistics.median(found), min(found), max(found)))
            rates.add_row(name, *shown, str(len(found)), self.units[name])
        cost_table = Table("of", *costs, title="What one cost: µs of CPU, bytes", title_justify="left", box=None)
        for about in dict.fromkeys(about for row in costs.values() for about in row):
            cost_table.add_row(about, *(row.get(about, "") for row in costs.values()))
        return [rates, cost_table]


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
        return {
            "name": self.name,
            "value": self.value,
            "goal": self.goal,
            "at_least": self.at_least,
            "holds": self.holds,
        }


def goals(f: Figures) -> list[Goal]:
    """The goals, on two cores that also carry Kafka and Postgres."""
    two, one = "full way, 2 processes", "loop, 1 process"
    base = [*f.values.get("growth, base", []), *f.values.get("growth, base again", [])]

    def against(name: str) -> float | None:
        found = f.median(f"growth, {name}")
        return found / statistics.median(base) if found and base else None

    many, few = (f.median(f"statements of a transaction, {n} reports") for n in ("5,000", "20"))
    return [
        Goal("full way, two processes, submissions/s", f.median(two), 20_000),
        Goal("full way, two processes, floor, submissions/s", f.median(two), 14_000),
        Goal("full way, two processes : the usual service", f.ratio(two, "usual service, a message"), 35),
        Goal("loop without relay, one process, submissions/s", f.median(one), 10_000),
        Goal("loop without relay, one process, floor, submissions/s", f.median(one), 8_000),
        Goal("loop without relay, two processes : one", f.ratio("loop, 2 processes", one), 1.7),
        Goal("one alliance : 54", against("1 alliance"), 0.9),
        Goal("learning facts, facts/s", f.median("learning facts, reporting"), 50_000),
        Goal("rebuild, records/s", f.median("rebuild of referral"), 80_000),
        Goal("at 500/s, submission → answer, p99 ms", f.median("at 500/s, submission → answer, p99"), 30, at_least=False),
        Goal("at 500/s, → risk readable, p99 ms", f.median("at 500/s, submission → risk readable, p99"), 50, at_least=False),
        Goal("1,000,000 cases : 10,000", against("1,000,000 cases"), 0.6),
        Goal("a year of attendance in each state : 8 meetings", against("a year of attendance"), 0.75),
        Goal("300 publishers' topics : 6", against("300 publishers"), 0.9),
        Goal("statements of a transaction, many reports", many, 15, at_least=False),
        Goal("statements, 5,000 reports - 20 (3: projections)", many - few if many and few else None, 3, at_least=False),
        Goal("memory under load, referral, MB", f.median("memory under load, referral"), 250, at_least=False),
        Goal("memory at rest, referral, MB", f.median("memory at rest, referral"), 120, at_least=False),
    ]  # fmt: skip


def goals_table(found: list[Goal]) -> Table:
    """For people."""
    table = Table("goal", "value", "asked", "holds", title="Goals", title_justify="left", box=None)
    for goal in found:
        if goal.value is not None:
            sign = "≥" if goal.at_least else "≤"
            table.add_row(goal.name, said(goal.value), f"{sign} {said(goal.goal)}", "yes" if goal.holds else "no")
    return table
