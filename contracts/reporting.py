"""Reporting: whole releases, as vintages under a new key each. Figures are never updated, only released anew."""

import hashlib
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .envelope import Code, Count, Model, Moment, Privacy, type_name

FAMILY = "reporting"

Month = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$"), Privacy.PUBLIC]
"""A calendar month in the alliance's zone, `2026-03`."""


class Cell(Model):
    """Entries, exits, stock of one municipality and block in one month (definitions: `ParticipationReport`)."""

    municipality: Annotated[str, StringConstraints(pattern=r"^([0-9]{8}|UNKNOWN)$"), Privacy.INTERNAL]
    block: Code
    entries: Count
    exits: Count
    stock: Count


class ParticipationReport(Model):
    """One month's grid. Participation-based counts; audience internal (no disclosure control).

    A cell for every municipality and block in which anybody of the alliance has started, in whatever month: zeros included.
    A grid for every month that is over, from the first start on; once everybody has ended, up to the last end.
    Entry: a participation's start in the month. Exit: its end in the month. Stock: running on the month's last day
    (started on or before it, ended after it); stock = stock before + entries - exits.
    """

    ce_type: ClassVar[str] = type_name(FAMILY, "ParticipationReport")

    report: ClassVar[str] = "participation"
    month: Month
    vintage: Annotated[int, Field(ge=1), Privacy.PUBLIC]
    as_of: Moment
    """The tick at which the figures were taken."""
    cells: Annotated[tuple[Cell, ...], Privacy.INTERNAL]
    """Sorted by municipality, block."""

    def key(self, tenant: str) -> str:
        """The Kafka key: `<tenant>:participation:<month>:<vintage>`."""
        return f"{tenant}:{self.report}:{self.month}:{self.vintage}"

    def digest(self) -> str:
        """SHA-256 (hex) of the grid alone: two releases of one month with the same digest say the same."""
        cells = "\n".join(f"{c.municipality},{c.block},{c.entries},{c.exits},{c.stock}" for c in self.cells)
        return hashlib.sha256(cells.encode()).hexdigest()

    def to_json(self) -> bytes:
        """The body as it travels."""
        return self.__pydantic_serializer__.to_json(self)
