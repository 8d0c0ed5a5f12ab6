"""How data leave a command: a table for people, CSV, JSON and JSON lines for programs. No command prints data in another way.

JSON is always `{ok, command, data, errors[{code, message, hint, at}]}`, on success and on failure.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
from rich.table import Table

from deploy.errors import FAULT, FINDINGS, INTERRUPTED, PARTLY, REFUSED, UNREACHABLE, USAGE
from deploy.screen import Screen, visible

SHAPES = ("table", "json", "jsonl", "csv")
CODES = {FINDINGS: "FINDINGS", USAGE: "USAGE", UNREACHABLE: "UNREACHABLE", REFUSED: "REFUSED", PARTLY: "PARTLY",
         FAULT: "FAULT", INTERRUPTED: "INTERRUPTED"}  # fmt: skip
"""Exit code to the code of its error."""
WIDE = 200  # columns where nobody looks at a terminal

formats = click.option(
    "--format", "shape", type=click.Choice(SHAPES), default="table", show_default=True, help="For people, or programs."
)
"""The one option by which a command is asked for JSON or CSV."""
dry_run = click.option("--dry-run", is_flag=True, help="Change nothing; only say what would be done.")
"""The one option by which a command that changes something is asked what it would do: in the same words and columns, with the same
refusals and exit codes."""


class Wrong(NamedTuple):
    """One of the envelope's errors: a code for programs, what is wrong, the way out, and where."""

    code: str
    message: str
    hint: str = ""
    at: str = ""


def printed(
    shape: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    data: Any = None,
    errors: Sequence[Wrong] = (),
    ok: bool | None = None,
    columns: Sequence[str] | None = None,
    people: Sequence[Any] | None = None,
) -> None:
    """Prints what the running command found. `rows` are what CSV, JSON lines and the table show; `data`, where given, is what JSON says
    instead; `people`, where given, is what people see instead of the plain table (texts and rich tables, in order).
    `columns` are needed where there may be no row. `ok` is whether there are no errors, unless given."""
    columns = list(columns if columns is not None else rows[0] if rows else ())
    if shape == "json":
        _envelope(_running(), not errors if ok is None else ok, rows if data is None else data, errors)
    elif shape == "jsonl":
        for row in rows:
            click.echo(json.dumps({name: row.get(name) for name in columns}, default=str))
    elif shape == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    else:
        out = screen()
        for one in (plain(rows, columns) if rows else "nothing",) if people is None else people:
            click.echo(visible(one)) if isinstance(one, str) else out.print(one)


def screen() -> Screen:
    """Where people see data."""
    return Screen(width=None if sys.stdout.isatty() else WIDE)


def failed(given: Sequence[str], wrong: Wrong) -> None:
    """What a program that asked for JSON gets where a command ended before it could print."""
    if asked_for_json(given):
        _envelope(" ".join(_words(given)), False, None, [wrong])


def asked_for_json(given: Sequence[str]) -> bool:
    """Whether these arguments ask for JSON; they may be wrong otherwise."""
    pairs = zip(given, [*given[1:], ""], strict=True)
    return any(word == "--format=json" or (word == "--format" and after == "json") for word, after in pairs)


def plain(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Rows as a table."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    return table


def _envelope(command: str, ok: bool, data: Any, errors: Sequence[Wrong]) -> None:
    said = {"ok": ok, "command": command, "data": data, "errors": [one._asdict() for one in errors]}
    click.echo(json.dumps(said, default=str))


def _running() -> str:
    return click.get_current_context().command_path.partition(" ")[2]


def _words(given: Sequence[str]) -> list[str]:
    """The names of the command, without its arguments."""
    from deploy.cli import cli  # noqa: PLC0415  # it imports us

    words: list[str] = []
    here: click.Command = cli
    for word in given:
        if not isinstance(here, click.Group):
            break
        if (found := here.get_command(click.Context(here), word)) is not None:
            words.append(word)
            here = found
    return words


def _text(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return "" if value is None else str(value)


def _cell(value: Any) -> str:
    """A spreadsheet takes a text that begins like a formula for one."""
    text = _text(value)
    formula = isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r"))
    return visible(f"'{text}" if formula else text)
