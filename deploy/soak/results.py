"""What rows and soaks saw, kept as JSON, and the table made of it. `docs/reliability.md` is written here and never by hand."""

import asyncio
import fcntl
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.errors import Trouble
from deploy.places import ROOT
from deploy.soak.faults.processes import mended
from deploy.soak.mutants import FAILED, HOLDS, MUTANTS, NO_MUTANT, Seen, verdict
from deploy.soak.night import Night
from deploy.soak.rows import NOT_WRITTEN, PR, ROWS, NotRun, Row

KEPT = ROOT / "docs" / "reliability.json"
"""The last result of each row and the last soak, committed."""
TABLE = ROOT / "docs" / "reliability.md"
LAST = ROOT / ".lotse" / "night" / "results.json"
"""What ran on this machine, not committed."""
ROW_LIMIT = (
    600.0  # seconds a row may take, its ledger included: on a busy machine one that takes a minute has taken four
)

HELD, BROKE, NOT_RUN = "held", "broke", "not run"
OWN, FIGURES, THE_SOAKS, NONE = "own", "own, with figures", "the soak's", "none"
"""Whose ledger looks at what came of a row: drawn up after it, without reports or with them, at the end of the soak it was part
of, nobody's."""


@dataclass
class Result:
    """One row, run once."""

    row: int
    title: str
    how: str
    outcome: str
    seen: str
    seed: int
    on: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    ledger: str = ""
    """OWN, FIGURES, THE_SOAKS or NONE."""


async def run(night: Night, row: Row, *, last: bool = False) -> Result:
    """Runs a row and draws up the ledger of everything since the night began; after its `last` row the next day comes, and
    reports with it. Never raises for what it finds."""
    ledgers, figures = night.ledgers, night.figures

    async def alone(result: Result) -> None:
        if night.spoiled:
            raise NotRun(f"the house was spoiled by row {night.spoiled}")
        result.seen = await row.run(night)
        if not row.rough:
            ledger = await night.balance(last=last)
            result.counts = ledger.counts
            result.findings = [f"{f.check} {f.kind}: {f.what}" for f in ledger.findings]

    result = await tried(night, row, alone, ROW_LIMIT, f"row-{row.number}")
    drawn = OWN if night.ledgers > ledgers else NONE  # some that damage the log draw one up themselves
    result.ledger = FIGURES if night.figures > figures else drawn
    keep(LAST, result)
    return result


async def tried(night: Night, row: Row, act: Callable[[Result], Awaitable[None]], limit: float, logs: str) -> Result:
    """What came of a row within so many seconds, whatever it raised; what every process said is kept under a name where it broke,
    and the house is mended, or spoiled from then on."""
    result = Result(row.number, row.title, row.how, HELD, "", night.seed, f"{datetime.now(UTC):%Y-%m-%d}", 0.0)
    began = time.monotonic()
    night.note(f"row {row.name}")
    try:
        async with asyncio.timeout(limit):
            await act(result)
    except NotRun as why:
        result.outcome, result.seen = NOT_RUN, str(why)
    except Exception as error:
        result.findings.append(f"{type(error).__name__}: {error}")
        logs_kept(night, logs)
        if not row.rough:
            try:
                await mended(night)
            except (Trouble, TimeoutError):
                night.spoiled = row.name
    result.seconds = round(time.monotonic() - began, 1)
    if result.findings:
        result.outcome, result.seen = BROKE, result.findings[0][:200]
    return result


def logs_kept(night: Night, of: str) -> None:
    """Copies what every process said beside the results: the house is gone when somebody asks why."""
    to = LAST.with_name(f"{of}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    to.mkdir(parents=True, exist_ok=True)
    for name, one in (night.fleet.stack.processes | night.fleet.processes).items():
        if one.log.exists():
            shutil.copy(one.log, to / f"{name}.log")
    night.note(f"what every process said: {to}")


def keep(file: Path, *results: Result, soak: Mapping[str, Any] | None = None, mutants: Sequence[Seen] = ()) -> None:
    """Enters results into a file of last results; those of other rows stay, also where two nights write at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        kept: dict[str, Any] = {"mutants": {}, **json.loads(last.read() or '{"rows": {}, "soak": null}')}
        kept["rows"] |= {str(result.row): asdict(result) for result in results}
        kept["mutants"] |= {str(seen.row): asdict(seen) for seen in mutants}
        kept["soak"] = soak or kept["soak"]
        last.truncate(0)
        last.write(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def write_table(kept: Path = KEPT, table: Path = TABLE) -> None:
    """The table of every row there is: how it is injected and what was seen the last time, or that it never ran."""
    known: dict[str, Any] = json.loads(kept.read_text())
    lines = [
        "# Reliability: what was broken, and what was seen", "",
        "Generated by `./lotse soak --table` from `docs/reliability.json`, the last runs; never edited by hand. Rows are numbered"
        " as in the reliability reference; those above 100 are ours.", "",
        "*Ledger*: `own` was drawn up after the row, over everything sent since its night began: nothing accepted is missing, once"
        " each, nothing without a cause, in order, referrals, participations and risks as recomputed from the journal, each mail in"
        " the mailbox of its own office and no office that believes what no longer holds, dead letters explained, nothing stuck,"
        " recovered in time (less what others' work on the machine took, at most as much again), the rest went on while the fault bit, no canary leaked. `own, with figures`: it was the"
        " last row of its night, so that the next day came, and the months released then are those recomputed from the journal, too."
        " `the soak's` has figures, and was drawn up once, at the end of the soak in which the row ran last:"
        " a difference would stand there and name no row. `none`: the row damages the log itself, and only what it says it saw"
        " was looked at.", "",
        "*Seen to fail*: `./lotse soak --mutants` runs a row in a copy of the tree in which what guards it is taken out"
        " (`deploy/soak/mutants.py`); it must then find what that lack leads to. Before that it must hold with its guard (the control"
        " run); *no control on record* is said of what ran before that was written down.", "",
    ]  # fmt: skip
    if known["soak"]:
        soak = known["soak"]
        figures = ", ".join(f"{name} {n:,}" for name, n in soak["counts"].items())
        lines += ["## The last soak", "",
                  f"{soak['on']}, seed {soak['seed']}, {soak['minutes']} minutes, {soak['kills']} SIGKILLs: {figures}.", "",
                  *_quotas(soak),
                  f"Findings: {len(soak['findings'])}.", *(f"- {finding}" for finding in soak["findings"]), ""]  # fmt: skip
    lines += [
        "## Rows",
        "",
        "| row | how | tier | outcome | what was seen | ledger | seed | on | seen to fail |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows: dict[int, list[str]] = {
        n: [f"{n} {title}", "", "", NOT_RUN, why, "", "", "", ""] for n, (title, why) in NOT_WRITTEN.items()
    }
    for row in ROWS:
        seen = _last_of(row, known["rows"].get(str(row.number)))
        rows[row.number] = [
            row.name,
            row.how,
            row.tier,
            *(str(seen[name]) for name in ("outcome", "seen", "ledger", "seed", "on")),
            _seen_to_fail(row, known.get("mutants", {}).get(str(row.number))),
        ]
    lines += [
        "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in rows[n]) + " |" for n in sorted(rows)
    ]
    table.write_text("\n".join(lines) + "\n")


def _quotas(soak: Mapping[str, Any]) -> list[str]:
    """What the soak had to have in it, whom it killed, and the rows it ran, in their order."""
    killed = ", ".join(f"{role} {n}" for role, n in sorted(soak["killed"].items()))
    rows = ", ".join(" ".join([f"{row} at {minute}", *([outcome] if outcome != HELD else [])])
                     for minute, row, outcome in (one.split(" ", 2) for one in soak["order"]))  # fmt: skip
    return [
        "At least: " + ", ".join(f"{what} {there:,} of {least:,}" for what, (there, least) in soak["quotas"].items()) + ".", "",
        f"Killed: {killed}.", "",
        f"Rows, with the minute of their beginning: {rows}.", "",
    ]  # fmt: skip


def _last_of(row: Row, seen: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What is kept of a row; of one that breaks something else now than it did then, nothing is."""
    if seen is None or (seen["title"], seen["how"]) != (row.title, row.how):
        why = "never run" if seen is None else f"never run as it stands now; on {seen['on']} it was another row"
        return {"outcome": NOT_RUN, "seen": why, "ledger": "", "seed": "", "on": ""}
    if seen["outcome"] == NOT_RUN or seen.get("ledger"):
        return {"ledger": "", **seen}
    return {**seen, "ledger": OWN if seen["counts"] else NONE if row.rough else THE_SOAKS}  # before it was written down


def _seen_to_fail(row: Row, seen: Mapping[str, Any] | None) -> str:
    """What was taken out for a row and what came of it."""
    mutant = next((one for one in MUTANTS if row.number in one.rows), None)
    if seen is None or mutant is None or seen["gone"] != mutant.gone:
        return NO_MUTANT.get(row.number, "not yet" if row.tier == PR else "")
    outcome, (what, *_) = verdict(mutant, seen["outcome"], [seen["what"]])
    control = "" if seen.get("control") else " (no control on record)"
    said = {FAILED: "", HOLDS: "It holds: "}.get(outcome, "Not seen to fail: ")
    return f"without: {seen['gone']}. {said}{what}{control}"
