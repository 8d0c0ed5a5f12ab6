"""Reporting: whole releases, as vintages under a new key each. Figures are never updated, only released anew."""

import hashlib
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .codes import Municipality
from .envelope import Code, JsonNumber, Listed, Model, Moment, Privacy, Unit, type_name

FAMILY = "reporting"

Month = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$"), Privacy.PUBLIC]


Participations = Annotated[int, Field(ge=0, le=1_000_000), JsonNumber(), Privacy.INTERNAL, Unit("participation")]


class Cell(Model):
    """Entries, exits, stock of one municipality and block in one month (definitions: `ParticipationReport`)."""

    municipality: Municipality
    """Where the person lived when she was registered; UNKNOWN also while the case is not known yet."""
    block: Annotated[Code, Listed("block")]
    entries: Participations
    """Participations that started in the month."""
    exits: Participations
    """Participations that ended in the month: whose `ended_before_on` lies in it."""
    stock: Participations
    """Participations running on the month's last day."""


class ParticipationReport(Model):
    """One month's grid. Participation-based counts; audience internal (no disclosure control).

    A cell for every municipality and block in which anybody of the alliance has ever started, zeros included.
    A grid for every month that is over, from the first start on; once everybody has ended, up to the last end.
    A month once released keeps its grid, zeros if need be.
    Entry: a participation's `started_on` lies in the month; exit: its `ended_before_on` does. Stock: running on the month's last day
    (`started_on` not after it, `ended_before_on` after it or none); stock = stock before + entries - exits, across months once all
    that a change touches are released, which may take several ticks: a month is released once a day at most, so after a second
    correction on one day it holds again with the next day's. What was released with cases left out is released anew once none is, on
    that day, too.
    A participation without a reported end is stock for ever. No closure or withdrawn consent ends one. A case closed as
    ENTERED_IN_ERROR stays counted. Who never came, reported to end on the day of the start, is one entry and one exit.
    """

    ce_type: ClassVar[str] = type_name(FAMILY, "ParticipationReport")

    report: ClassVar[str] = "participation"
    month: Month
    """A calendar month in the alliance's zone, `2026-03`."""
    vintage: Annotated[int, Field(ge=1, le=1_000_000), JsonNumber(), Privacy.PUBLIC]
    """Of an alliance's month (`ce_tenant`, `month`) 1 at first, then higher, where figures changed or the grid only got a row of zeros
    more. The highest stands, in whatever order they come, and its grid replaces all of the one before."""
    as_of: Moment
    """The tick at which the figures were taken."""
    cells: Annotated[tuple[Cell, ...], Privacy.INTERNAL]
    """Sorted by municipality, block."""
    left_out: Annotated[int, Field(ge=1, le=1_000_000), JsonNumber(), Privacy.INTERNAL, Unit("case")] | None = None
    """Cases of which something was told that could not be counted yet, in whatever month: too much or too little may be counted of
    each. Absent where the figures are of all that was told."""

    def key(self, tenant: str) -> str:
        """The Kafka key: `<tenant>:participation:<month>:<vintage>`."""
        return f"{tenant}:{self.report}:{self.month}:{self.vintage}"

    def digest(self) -> str:
        """SHA-256 (hex) of the grid alone: two releases of one month with the same digest say the same."""
        cells = "\n".join(f"{c.municipality},{c.block},{c.entries},{c.exits},{c.stock}" for c in self.cells)
        return hashlib.sha256(cells.encode()).hexdigest()

    def to_json(self) -> bytes:
        """The body as it travels."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)
