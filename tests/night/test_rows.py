"""Every row of the fault matrix that belongs to each change, seeded, named after its row; one ledger over all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.local.stack import LocalStack
from deploy.services import Fleet, Setup
from deploy.soak.load import ORGANISATIONS_FILE, PUBLISHERS_FILE
from deploy.soak.night import Night
from deploy.soak.results import BROKE, HELD, NOT_RUN, run
from deploy.soak.rows import PR, ROWS, Row

SEED = int(os.environ.get("LOTSE_SEED", "2606"))


@contextmanager
def house() -> Iterator[Night]:
    """A house with a door for a proxy: what is broken here is nobody else's."""
    with LocalStack.ephemeral(doors=1) as stack:
        fleet = Fleet(stack, Setup(PUBLISHERS_FILE, ORGANISATIONS_FILE, simulated=True, testing=True))
        try:
            fleet.start()
            yield Night(fleet, stack.folder / "night", SEED)
        finally:
            fleet.stop()


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    """The house whose ledger goes on from row to row."""
    with house() as found:
        yield found


@pytest.fixture(scope="module")
def rough() -> Iterator[Night]:
    """The house whose log itself is damaged."""
    with house() as found:
        yield found


def rows(*, rough: bool) -> pytest.MarkDecorator:
    """Rows that belong to each change, one test a row."""
    found = [row for row in ROWS if row.tier == PR and row.rough == rough]
    if rough:  # the one with a ledger of its own comes before the log is damaged
        found.sort(key=lambda row: -row.number)
    return pytest.mark.parametrize("row", found, ids=lambda row: row.name.replace(" ", "-"))


@rows(rough=False)
async def test_row(night: Night, row: Row) -> None:
    await holds(night, row)


async def test_at_the_end_the_reports_are_those_recomputed_from_the_journal(night: Night) -> None:
    if night.spoiled:
        pytest.skip(f"not run: the house was spoiled by row {night.spoiled}")
    async with night.shift():
        await night.wave(10, 12)
        ledger = await night.balance(last=True)
    assert ledger.balanced, str(ledger)
    assert ledger.counts["months released"] == 4


@rows(rough=True)
async def test_row_that_damages_the_log(rough: Night, row: Row) -> None:
    await holds(rough, row)


async def holds(night: Night, row: Row) -> None:
    """Runs a row; skipped where it can't run here, expected to fail where what it needs is being built."""
    async with night.shift():
        result = await run(night, row)
    if result.outcome == NOT_RUN:
        pytest.skip(f"not run: {result.seen}")
    if result.outcome != HELD and row.pending:
        pytest.xfail(f"{row.pending}: {result.findings[0]}")
    assert result.outcome != BROKE, "\n".join([*result.findings[:20], f"seed {SEED}", *night.schedule[-30:]])
