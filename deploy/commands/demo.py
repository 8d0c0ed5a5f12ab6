"""`lotse demo`: weeks of a Kreis through the four services, then what a person wants to see of it."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deploy.commands.read import in_order, told
from deploy.demo.kreis import MOST_WEEKS, NAMES, Kreis
from deploy.demo.play import TENANT, Played, Player
from deploy.demo.seen import facts_of, oldest_mailed
from deploy.demo.seen import seen as absences
from deploy.errors import DONE, FINDINGS
from deploy.fleet import Fleet, Setup, ephemeral
from deploy.places import EXAMPLES
from deploy.printed import Wrong, formats, printed
from deploy.saying import complain, say
from deploy.services import publishers_from


@click.command()
@click.option("--persons", type=click.IntRange(1, 20_000), default=250, show_default=True)
@click.option("--weeks", type=click.IntRange(1, MOST_WEEKS), default=12, show_default=True)
@click.option("--seed", default=2019, show_default=True, help="Same seed, same figures.")
@formats
@click.option("--patience", default=30.0, hidden=True, help="Seconds without any answer until one counts as missing.")
@click.option("--drop", default=0, hidden=True, help="Lose this submission on the way: the last line must tell.")
def app(persons: int, weeks: int, seed: int, shape: str, patience: float, drop: int) -> int:
    """Play some weeks of a synthetic Kreis through the four services, on a stack of its own with simulated time.

    Nothing is left running and nothing kept. Exit: 0 every submission answered once, and as the Kreis expects, 1 one was not.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    kreis = Kreis(persons, weeks, seed)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                   console=say, disable=not say.is_terminal or bool(os.environ.get("ACCESSIBLE")))  # fmt: skip
    setup = Setup(EXAMPLES / "publishers.toml", EXAMPLES / "organisations.toml", simulated=True)
    with ephemeral(setup) as fleet:
        player = Player(fleet, publishers_from(setup.publishers)["kreis"], patience, drop)
        with bar:
            task = bar.add_task(f"{weeks} weeks", total=weeks * 7, rate="")

            began = time.monotonic()

            def progress(day: int, records: int) -> None:
                rate = records / (time.monotonic() - began)
                said = f"day {day} of {weeks * 7}, {records:,} submissions, {rate:,.0f}/s"
                bar.update(task, completed=day, rate=said)
                if bar.disable and day % 28 == 0:
                    left = timedelta(seconds=round((time.monotonic() - began) / max(day, 1) * (weeks * 7 - day)))
                    say.print(f"{said}, {left} left")

            played = asyncio.run(player.play(kreis, progress))
        seen = _look(fleet, kreis, played)
        right = played.answered_once == len(played.journal) and not played.unexpected
        logs = None if right else fleet.stack.keep_logs()
    _show(played, seen, shape, logs)
    return DONE if right else FINDINGS


def _look(fleet: Fleet, kreis: Kreis, played: Played) -> dict[str, Any]:
    """What the services know now, asked as any reader would; and what their facts say, read as any subscriber does."""

    def get(service: str, path: str) -> Any:
        return fleet.ask(service, f"{path}?tenant={TENANT}", 30).raise_for_status().json()

    risks = get("referral", "/risks")
    facts = asyncio.run(facts_of(fleet.stack.kafka))
    told = next((r["case_id"] for r in risks if r["rule"] == "S2" and r["raised"] and not r["open"]), None)
    told = told or next((r["case_id"] for r in risks), None)
    steps = [step for name in ("intake", "referral") if told for step in get(name, f"/cases/{told}")["timeline"]]
    return {"cases": len(get("intake", "/cases")), "counts": get("referral", "/counts"), "mails": fleet.attempts(), "case": told,
            "steps": steps, "report": get("reporting", "/reports/participation"),
            "absences": absences(kreis.by_month, played.sent, facts, risks), "oldest_mailed": oldest_mailed(facts)}  # fmt: skip


def _show(played: Played, seen: dict[str, Any], shape: str, logs: Path | None) -> None:
    counts, mails = seen["counts"], seen["mails"]
    refused = {answer: n for answer, n in Counter(played.outcomes.values()).most_common() if answer != "recorded"}
    figures = {
        "cases opened": seen["cases"],
        "referrals": counts["referrals"],
        "participations": counts["participations"],
        "drop-outs": counts["dropped_out"],
        "risks raised": counts["risks_raised"],
        "risks withdrawn": counts["risks_raised"] - counts["risks_open"],
        "mails sent": mails["sent"],
        "submissions refused": sum(refused.values()),
        "left out, resting on a refusal": played.left_out,
    }
    total, once = len(played.journal), played.answered_once
    rows = [{"what": name, "n": figure} for name, figure in figures.items()]
    at = [row["what"] for row in rows].index("submissions refused") + 1
    rows[at:at] = [{"what": f"  {reason}", "n": n} for reason, n in refused.items()]
    data = {**figures, "refused": refused, "submissions": total, "answered_once": once,
            "answered_as_expected": total - played.unexpected.total(), "absences_seen": [one.row() for one in seen["absences"]],
            "oldest_day_mailed": seen["oldest_mailed"], "report": [release["body"] for release in seen["report"]]}  # fmt: skip
    table = Table("", "", title="What happened", title_justify="left", show_header=False)
    for row in rows:
        table.add_row(row["what"], f"{row['n']:,}")
    rate = played.records / max(played.seconds, 0.001)
    people = [table, _absences(seen), *([_timeline(seen)] if seen["steps"] else []), *([_report(seen["report"])] if seen["report"] else []),
              f"{played.records:,} sent, {played.twice} of them a second time, in {played.seconds:.1f} s of simulated days: {rate:,.0f}/s",
              f"answered as the Kreis expects: {data['answered_as_expected']} of {total}", f"answered once: {once} of {total}"]  # fmt: skip
    hint = f"what the services wrote down stands in {logs}"
    wrongs = (
        [Wrong("UNANSWERED", f"{total - once} of {total} submissions were not answered once", hint)]
        if once < total
        else []
    )
    wrongs += [Wrong("UNEXPECTED", f"{n} submissions were to be answered {expected} and were {answer}", hint)
               for (expected, answer), n in sorted(played.unexpected.items())]  # fmt: skip
    printed(shape, rows, data=data, errors=wrongs, people=people)
    for wrong in wrongs if shape == "table" else ():
        complain.print(f"{wrong.message}; {wrong.hint}")


def _absences(seen: dict[str, Any]) -> Table:
    """What it costs that half of the providers hand in a month when it is over."""
    table = Table("days are told", "providers", "reports", "corrected", "raised", "within a week", "a fortnight", "later",
                  "over before", "mailed", title="Attendance, and when absences in a row (S2) were seen", title_justify="left")  # fmt: skip
    for one in seen["absences"]:
        share = "" if one.share is None else f" ({one.share:.0%})"
        table.add_row(one.days_told, str(len(one.providers)), f"{one.reports:,}", str(one.corrections), str(one.risks),
                      f"{one.within_a_week}{share}", str(one.within_a_fortnight), str(one.later), str(one.never), str(one.mailed))  # fmt: skip
    table.caption = "days from the newest absence to the risk, and share of all; over before: never raised, she had come again or left"
    table.caption_justify = "left"
    return table


def _timeline(seen: dict[str, Any]) -> Table:
    """One case as its case manager would read it: attendance only where it was missed or corrected."""
    table = Table("happened", "what", "", title=f"One case: {seen['case']}", title_justify="left")
    attended = 0
    for when, step in in_order(seen["steps"]):
        body, what = step["body"], step["type"].split(".")[2].replace("_", " ")
        if what == "attendance recorded" and body["presence"] in ("PRESENT", "LATE") and body["revision"] == 1:
            attended += 1
            continue
        table.add_row(when[:10], what, told(step))
    if attended:
        table.caption, table.caption_justify = f"not shown: days attended, {attended}", "left"
    return table


def _report(releases: list[dict[str, Any]]) -> Table:
    """The last closed month, and its total."""
    last = max(releases, key=lambda release: release["month"])
    table = Table("municipality", "block", "entries", "exits", "stock", title_justify="left",
                  title=f"Participation in {last['month']} (vintage {last['vintage']})")  # fmt: skip
    cells = last["body"]["cells"]
    for cell in cells:
        if cell["entries"] or cell["exits"] or cell["stock"]:
            table.add_row(NAMES.get(cell["municipality"], cell["municipality"]), cell["block"], str(cell["entries"]),
                          str(cell["exits"]), str(cell["stock"]))  # fmt: skip
    table.add_section()
    table.add_row("all", "", *(str(sum(cell[name] for cell in cells)) for name in ("entries", "exits", "stock")))
    return table
