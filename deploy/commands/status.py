"""`lotse status`: is every submission being answered, and if not, where does it stand still?"""

import time
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Group
from rich.live import Live
from rich.table import Table

from deploy.asking import client
from deploy.errors import FINDINGS, USAGE, Trouble
from deploy.local.announced import running
from deploy.local.processes import Process
from deploy.places import SERVICES
from deploy.printed import Wrong, formats, printed, screen
from deploy.saying import complain

BESIDE = {"clock": "services", "kafka": "kafka", "postgres": "postgres", "mail": "mail"}
"""What has no /status: part to the folder in which its process is written down."""
EVERY = 2.0  # seconds between two looks


@click.command()
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 1 if there is a finding: something held, set aside or silent, a dead letter of the last day ...",
)
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
@formats
def app(exit_code: bool, watch: bool, shape: str) -> int:
    """Show every part: whether it runs, the last tick it acted on, lag in seconds, outbox, what waits, what is held and why, dead
    letters, and how long it has made no progress."""
    where = running()
    if watch:
        if shape != "table":
            raise Trouble("--watch shows a table", "leave --format out, or --watch", USAGE)
        with Live(console=screen(), screen=False, auto_refresh=False) as live:
            while True:
                said = parts(where)
                lines = [f"  {text}" for name, one in said.items() for text in findings_of(name, one)]
                live.update(Group(as_table(said), *lines), refresh=True)
                time.sleep(EVERY)
    said = parts(where)
    findings = [finding for name, one in said.items() for finding in findings_of(name, one)]
    errors = [Wrong("FINDING", text, "`lotse doctor`; a runbook each in docs/runbooks") for text in findings]
    printed(shape, rows_of(said), data=said, errors=errors, people=[as_table(said)])
    for text in findings if shape != "json" else []:
        complain.print(f"  {text}")
    return FINDINGS if exit_code and findings else 0


def parts(where: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Each service by its /status, what it stands on by its process. Where time is simulated there is no clock."""
    said = {name: ask(where[name]) for name in SERVICES}
    for name, folder in BESIDE.items():
        if name != "clock" or not where.get("simulated"):
            runs = Process(Path(where["folder"]) / folder, name).runs()
            said[name] = {"running": True} if runs else {"running": False, "why": "its process has ended"}
    return said


def ask(url: str) -> dict[str, Any]:
    """A service's /status, or that it is silent."""
    try:
        said: dict[str, Any] = client().get(f"{url}/status", timeout=5).json()
        return {"running": True, **said}
    except (httpx.HTTPError, ValueError) as error:  # a ValueError: what it says is no JSON
        return {"running": False, "why": type(error).__name__}


def findings_of(name: str, said: dict[str, Any]) -> list[str]:
    """What a person should look at, one line each."""
    if not said["running"]:
        return [f"{name} is silent ({said['why']}); look at its log in the state folder"]
    if name in BESIDE:
        return []
    if "database" in said:
        return [f"{name} cannot reach its database ({said['database']}); it holds everything and goes on by itself"]
    found = [
        f"{name} holds {held['what']} since {held['since']}: {held['why']}" for held in said["held"] + said["gaps"]
    ]
    if said["older_than_log"]:
        found.append(
            f"{name} does not serve: the log is {said['older_than_log']} records ahead of its database; `lotse rebuild {name}` mends it"
        )
    found += [
        f"{name} keeps what concerns {q['subject']} in quarantine since {q['since']}: {q['why']}, {q['kept']} messages"
        for q in said["quarantined"]
    ]
    if said["set_aside"]["count"]:
        found.append(
            f"{name} has set aside {said['set_aside']['count']} submissions (a bug of ours); a restart judges them again"
        )
    found += [
        f"{name}: {of_a_day} dead letters from {n['topic']} within a day: {n['type']} {n['rule']}"
        for n in said["dead_letters"]
        # the others are figures: nothing takes a letter back, and a finding that never ends is none. (One before does not tell.)
        if (of_a_day := n.get("of_a_day", n["letters"]))
    ]
    found += [f"{name} holds the tick {tick['at']}: {tick['why']}" for tick in said["held_ticks"]]
    found += [f"{name} does not consume {topic}: its publisher is not in the file" for topic in said["not_consumed"]]
    found += [f"{name}: {text}" for text in said["findings"]]
    return found


def rows_of(said: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a part, its figures alone."""
    rows = []
    for name, one in said.items():
        row: dict[str, Any] = {
            **dict.fromkeys(COLUMNS),
            "service": name,
            "up": "no" if not one["running"] else "no database" if "database" in one else "yes",
        }
        if "acted" in one:
            acted = min(((moment or "")[:16] for moment in one["acted"].values()), default="-") or "never"
            row |= {"up": "yes" if one["ready"] else "starting", "acted_on": acted,
                    "lag_seconds": one["lag_seconds"], "outbox": one["outbox"]["rows"], "waits": one["waiting"],
                    "held": len(one["held"]), "aside": one["set_aside"]["count"],
                    "dead": sum(letters["letters"] for letters in one["dead_letters"]),
                    "idle_seconds": round(one["last_progress_seconds"])}  # fmt: skip
        rows.append(row)
    return rows


COLUMNS = {"service": "service", "up": "up", "acted_on": "acted on", "lag_seconds": "lag s", "outbox": "outbox", "waits": "waits",
           "held": "held", "aside": "aside", "dead": "dead", "idle_seconds": "idle s"}  # fmt: skip
"""Name in CSV to the shorter one people see: eighty columns hold it."""


def as_table(said: dict[str, dict[str, Any]]) -> Table:
    """The table people look at."""
    table = Table(*COLUMNS.values(), box=None, pad_edge=False)
    for row in rows_of(said):
        shown = {**row, "acted_on": (row["acted_on"] or "")[-11:]}
        table.add_row(*("" if shown[name] is None else str(shown[name]) for name in COLUMNS))
    return table
