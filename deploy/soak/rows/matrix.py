"""What a row is, and the matrix they stand in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deploy.soak.faults import the_log
from deploy.soak.night import Night

PR, SOAK = "pr", "soak"
BESIDE = {"intake": 10, "reporting": 10}
"""What goes on at least beside a fault of referral's that lasts for some seconds."""


class Unseen(AssertionError):
    """A row did not see what must hold."""


class NotRun(Exception):
    """A row that can't run here, and why. Never counted as passed."""


@dataclass(frozen=True)
class Row:
    """One row: what is broken, how, and since when it runs in every change's tests or in the soak only."""

    number: int
    title: str
    how: str
    tier: str
    run: Callable[[Night], Awaitable[str]]
    rough: bool = False
    """It damages the log itself: on a house of its own, without a ledger."""
    quiet: bool = False
    """It counts what a service did, so nothing else may be sent meanwhile."""
    brokers: int = 1
    """How many it needs; with three it runs on a house of its own."""

    @property
    def name(self) -> str:
        """Number and title, as tests and the table call it."""
        return f"{self.number} {self.title}"


ROWS: list[Row] = []
Run = Callable[[Night], Awaitable[str]]


def row(
    number: int, title: str, how: str, tier: str = PR, *, quiet: bool = False, rough: bool = False, brokers: int = 1
) -> Callable[[Run], Run]:
    """Enters a row into the matrix."""

    def enter(run: Run) -> Run:
        ROWS.append(Row(number, title, how, tier, run, rough, quiet, brokers))
        return run

    return enter


def see(holds: object, what: str) -> None:
    """Raises Unseen where something does not hold."""
    if not holds:
        raise Unseen(what)


@asynccontextmanager
async def nobody_leaves(night: Night, service: str) -> AsyncIterator[None]:
    """Raises Unseen where afterwards a service's group has other members than before, or had none."""
    before = await the_log.members(night, service)
    yield
    after = await the_log.members(night, service)
    see(before == after and before, f"a member left: {len(before)} before, {len(before & after)} of them after")


def held_by(night: Night, name: str) -> set[str]:
    """What a service says it holds."""
    return {one["what"] for one in night.status(name).get("held", [])}


def progressed(night: Night, service: str, since: float, least: int) -> bool:
    """Whether a service gave so many answers since a moment (monotonic seconds)."""
    return sum(at > since and name == service for at, name in night.sender.times) >= least
