"""Houses for the rows of the fault matrix, so that some can be broken side by side: three whose ledgers go on from row to row, one
whose log itself is damaged, one with three brokers."""

import os

import pytest

from deploy.soak.night import Night
from deploy.soak.results import BROKE, NOT_RUN, run
from deploy.soak.rows import PR, ROWS, Row

SEED = int(os.environ.get("LOTSE_SEED", "2606"))
PROCESSES, MESSAGES, DATABASES, LOG, BROKERS = "processes", "messages", "databases", "log", "brokers"
HOUSES = {"processes": PROCESSES, "resources": PROCESSES, "split_brain": PROCESSES, "kafka": MESSAGES, "messages": MESSAGES,
          "network": MESSAGES, "postgres": DATABASES, "operators": DATABASES}  # fmt: skip
"""Where rows of a module are broken: our own processes die, freeze and lack what they need; what comes over the wire; what is
kept, and whom they rest on beside. Each takes about as long."""


def house_of(row: Row) -> str:
    """Where a row is broken."""
    if row.rough:
        return LOG
    return BROKERS if row.brokers > 1 else HOUSES[row.run.__module__.rpartition(".")[2]]


def rows(house: str) -> pytest.MarkDecorator:
    """A house's rows that belong to each change, one test a row."""
    found = [row for row in ROWS if row.tier == PR and house_of(row) == house]
    if house == LOG:  # the one with a ledger of its own comes before the log is damaged
        found.sort(key=lambda row: -row.number)
    return pytest.mark.parametrize("row", found, ids=lambda row: row.name.replace(" ", "-"))


async def holds(night: Night, row: Row) -> None:
    """Runs a row; skipped where it can't run here."""
    async with night.shift():
        result = await run(night, row)
    if result.outcome == NOT_RUN:
        pytest.skip(f"not run: {result.seen}")
    assert result.outcome != BROKE, "\n".join([*result.findings[:20], f"seed {SEED}", *night.schedule[-30:]])


async def figures_hold(night: Night) -> None:
    """At the end of a night: the reports, too, are those recomputed from the journal."""
    if night.spoiled:
        pytest.skip(f"not run: the house was spoiled by row {night.spoiled}")
    async with night.shift():
        await night.wave(10, 12)
        ledger = await night.balance(last=True)
    assert ledger.balanced, str(ledger)
    assert ledger.counts["months released"] == 4
