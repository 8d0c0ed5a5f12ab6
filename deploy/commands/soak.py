"""`lotse soak`: break what may break, for some minutes or one row, and hold what came of it against the journal."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from rich.table import Table

from deploy.errors import DONE, FINDINGS, USAGE, Trouble
from deploy.places import ROOT
from deploy.printed import Wrong, formats, printed
from deploy.saying import say
from deploy.soak.mutants import FAILED, MUTANTS, Seen, seen_to_fail
from deploy.soak.night import Night, house
from deploy.soak.results import BROKE, KEPT, LAST, TABLE, Result, keep, run, write_table
from deploy.soak.rows import ROWS, Row
from deploy.soak.soaking import Soak, soak

TELLS_EACH = 10.0  # seconds between two lines of figures


@click.command()
@click.option("--minutes", type=click.FloatRange(0.5, 24 * 60), default=30.0, show_default=True)
@click.option("--seed", default=2606, show_default=True, help="Same seed, same submissions, same order of rows.")
@click.option(
    "--rate",
    type=click.FloatRange(1, 2000),
    default=100.0,
    show_default=True,
    help="Submissions a second beside the rows.",
)
@click.option(
    "--row", "numbers", type=int, multiple=True, help="Only these rows, each with its own ledger (repeatable)."
)
@click.option("--list", "listing", is_flag=True, help="Only show the matrix.")
@click.option(
    "--keep", "keeping", is_flag=True, help="Enter the result into docs/reliability.json and rewrite its table."
)
@click.option("--table", "tabling", is_flag=True, help="Only enter this machine's last runs and rewrite the table.")
@click.option(
    "--mutants",
    "mutating",
    is_flag=True,
    help="Run rows (all, or --row) without the code that guards them: each must fail.",
)
@formats
def app(
    minutes: float,
    seed: int,
    rate: float,
    numbers: tuple[int, ...],
    listing: bool,
    keeping: bool,
    tabling: bool,
    mutating: bool,
    shape: str,
) -> int:
    """Break what may break on a stack of its own, under traffic, and draw up the ledger.

    Says on stderr what it does, prints the ledger at the end, and keeps the result as JSON in .lotse/night/. Nothing is left
    running. Exit: 0 nothing lost, doubled, invented, out of order or stuck; 1 findings.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if listing:
        return _list(shape)
    if tabling:
        return _tabled()
    unknown = set(numbers) - {row.number for row in ROWS}
    if unknown:
        raise Trouble(f"no such row: {', '.join(map(str, sorted(unknown)))}", "`lotse soak --list` shows them", USAGE)
    if mutating:
        told = {number for mutant in MUTANTS for number in mutant.rows}
        return _mutated([number for number in numbers or sorted(told) if number in told], seed, shape)
    if numbers:
        return _rows(_each([row for n in numbers for row in ROWS if row.number == n], seed), shape)
    with house(seed, _said) as night:
        done = asyncio.run(_watched(night, minutes, rate))
    return _done(done, shape, keeping)


def _said(what: str) -> None:
    say.print(f"{datetime.now(UTC):%H:%M:%S} {what}")


def _each(rows: list[Row], seed: int) -> list[Result]:
    """Runs rows, each with its ledger, the last of a house with figures; those that damage the log, and those with three brokers,
    on houses of their own."""
    results: list[Result] = []
    for kind in sorted({(row.brokers, row.rough) for row in rows}):
        with house(seed, _said, kind[0]) as night:

            async def run_all(mine: list[Row], night: Night) -> None:
                for row in mine:
                    async with night.shift():
                        results.append(await run(night, row, last=row is mine[-1]))

            asyncio.run(run_all([row for row in rows if (row.brokers, row.rough) == kind], night))
    return results


async def _watched(night: Night, minutes: float, rate: float) -> Soak:
    """Runs the soak and tells figures all the while."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELLS_EACH)
            if hasattr(night, "sender"):
                acknowledged = sum(entry.acknowledged for entry in night.journal.entries)
                _said(f"{len(night.journal.entries):,} meant, {acknowledged:,} acknowledged, "
                      f"{len(night.sender.answered):,} answered, {len(night.sender.awaited):,} awaited, {night.kills} SIGKILLs")  # fmt: skip

    telling = asyncio.create_task(tell())
    try:
        return await soak(night, minutes, rate)
    finally:
        telling.cancel()


def _list(shape: str) -> int:
    printed(shape, [{"row": row.name, "how": row.how, "tier": row.tier} for row in ROWS])
    return DONE


def _mutated(numbers: Sequence[int], seed: int, shape: str) -> int:
    seen = []
    for one in seen_to_fail(numbers, seed, _said):
        keep(LAST, mutants=[one])
        seen.append(one)
    errors = [Wrong("MUTANT", f"row {one.row} {one.outcome} without: {one.gone}", one.what) for one in seen
              if one.outcome != FAILED]  # fmt: skip
    printed(shape, [asdict(one) for one in seen], columns=("row", "gone", "outcome", "what", "seconds"), errors=errors)
    return FINDINGS if errors else DONE


def _tabled() -> int:
    if not LAST.exists():
        raise Trouble("nothing has run on this machine", "`lotse test system` or `lotse soak` runs the rows", USAGE)
    last: dict[str, Any] = json.loads(LAST.read_text())
    mutants = [Seen(**one) for one in last.get("mutants", {}).values()]
    keep(KEPT, *(Result(**one) for one in last["rows"].values()), soak=last["soak"], mutants=mutants)
    write_table()
    say.print(f"{TABLE.name} is written anew from {len(last['rows'])} rows")
    return DONE


def _rows(results: list[Result], shape: str) -> int:
    broke = [one for one in results if one.outcome == BROKE]
    table = Table("row", "outcome", "seconds", "what was seen")
    for one in results:
        table.add_row(
            f"{one.row} {one.title}", one.outcome, f"{one.seconds:.0f}", "\n".join([one.seen, *one.findings[:12]])
        )
    errors = [Wrong("BROKE", finding, at=f"row {one.row}") for one in broke for finding in one.findings or [one.seen]]
    printed(shape, [asdict(one) for one in results], errors=errors, people=[table])
    return FINDINGS if broke else DONE


def _done(done: Soak, shape: str, keeping: bool) -> int:
    whole = asdict(done)
    file = LAST.with_name(f"soak-{done.seed}-{datetime.now(UTC):%Y%m%dT%H%M}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=1) + "\n")
    short = {name: value for name, value in whole.items() if name not in ("schedule", "rows")}
    keep(LAST, *done.rows, soak=short)
    if keeping:
        keep(KEPT, *done.rows, soak=short)
        write_table()
    whole_of_it = f"the whole of it: {file.relative_to(ROOT)}"
    errors = [Wrong("LEDGER", finding, whole_of_it) for finding in done.findings]
    printed(
        shape,
        [{"count": name, "n": n} for name, n in done.counts.items()],
        data=whole,
        errors=errors,
        people=told(done),
    )
    say.print(whole_of_it)
    return FINDINGS if done.findings else DONE


def told(done: Soak) -> list[str]:
    """The ledger for people."""
    kinds = ("lost", "doubled", "swapped", "invented", "resurrected", "disordered", "forked", "hole", "leaked")
    found = [finding.split(":")[0].partition(" ")[2] for finding in done.findings]
    return [
        f"Ledger of {done.minutes:g} minutes, seed {done.seed}, {len(done.rows)} rows, {done.kills} SIGKILLs",
        *(f"  {name}: {n:,}" for name, n in done.counts.items()),
        "  " + ", ".join(f"{found.count(kind)} {kind}" for kind in kinds),
        *(f"  {what}: {there:,}, at least {least:,}" for what, (there, least) in done.quotas.items()),
        *(f"  {finding}" for finding in done.findings),
        *(f"  not run: {row}: {why}" for row, why in done.not_run.items()),
    ]
