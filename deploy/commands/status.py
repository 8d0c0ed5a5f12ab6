"""`lotse status`: is every submission being answered, and if not, where does it stand still?"""

import json
from typing import Any

import click
import httpx
from rich.console import Console
from rich.table import Table

from deploy.commands.up import running
from deploy.errors import FINDINGS
from deploy.local.stack import SERVICES


@click.command()
@click.option("--exit-code", is_flag=True, help="Exit with 1 where something is held, set aside or silent.")
@click.option("--format", "shape", type=click.Choice(["table", "json"]), default="table")
def app(exit_code: bool, shape: str) -> int:
    """Every part: running, ticked, lag in seconds, outbox, waiting, held and why, dead letters, last progress."""
    where = running()
    said = {name: ask(where[name]) for name in SERVICES}
    findings = [finding for name in SERVICES for finding in findings_of(name, said[name])]
    if shape == "json":
        click.echo(json.dumps({"ok": not findings, "command": "status", "data": said,
                               "errors": [{"code": "FINDING", "message": text} for text in findings]}))  # fmt: skip
    else:
        Console().print(as_table(said))
        for text in findings:
            Console(stderr=True, highlight=False).print(f"  {text}", markup=False)
    return FINDINGS if exit_code and findings else 0


def ask(url: str) -> dict[str, Any]:
    """A service's /status, or that it is silent."""
    try:
        said: dict[str, Any] = httpx.get(f"{url}/status", timeout=5).json()
        return {"running": True, **said}
    except httpx.HTTPError as error:
        return {"running": False, "why": type(error).__name__}


def findings_of(name: str, said: dict[str, Any]) -> list[str]:
    """What a person should look at, one line each."""
    if not said["running"]:
        return [f"{name} is silent ({said['why']}); look at its log in the state folder"]
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
        f"{name}: {n['letters']} dead letters from {n['topic']}: {n['type']} {n['rule']}" for n in said["dead_letters"]
    ]
    found += [f"{name} holds the tick {tick['at']}: {tick['why']}" for tick in said["held_ticks"]]
    found += [f"{name} does not consume {topic}: its publisher is not in the file" for topic in said["not_consumed"]]
    found += [f"{name}: {text}" for text in said["findings"]]
    return found


def as_table(said: dict[str, dict[str, Any]]) -> Table:
    """The table people look at."""
    table = Table(  # eighty columns hold it
        "service",
        "up",
        "acted on",
        "lag s",
        "outbox",
        "waits",
        "held",
        "aside",
        "dead",
        "idle s",
        box=None,
        pad_edge=False,
    )
    for name, one in said.items():
        if not one["running"] or "database" in one:
            table.add_row(name, "no" if not one["running"] else "no database", *[""] * 8)
            continue
        acted = [moment[5:16] if moment else "never" for moment in one["acted"].values()]
        table.add_row(
            name, "yes" if one["ready"] else "starting", min(acted, default="-"), str(one["lag_seconds"]), str(one["outbox"]["rows"]),
            str(one["waiting"]), str(len(one["held"])), str(one["set_aside"]["count"]),
            str(sum(letters["letters"] for letters in one["dead_letters"])), f"{one['last_progress_seconds']:.0f}",
        )  # fmt: skip
    return table
