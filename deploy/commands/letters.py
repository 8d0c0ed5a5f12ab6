"""`lotse dead-letters`, `lotse release`, `lotse republish`: what an operator does about what was not settled.

Set aside (a rule of ours could not bear it) can be replayed or given up. Unreadable (the sender's mistake) was answered and
stays as evidence: `list` and `show` tell what and where, never a value. Only `show --reveal` opens a letter, for who hands
over the operations' private key and a reason, and it is written down first.
"""

import asyncio
import base64
import getpass
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import httpx
from aiokafka.errors import KafkaError
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from contracts import attendance, intake, referral
from contracts.families import FACTS, SUBMISSIONS
from contracts.messages import claim_of, names_of
from contracts.topics import dead_letters_topic
from deploy.commands.up import running
from deploy.errors import DONE, FINDINGS, REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.installation import kafka_security
from deploy.local.operations import PRIVATE
from deploy.local.stack import SERVICES
from deploy.printed import formats, plain, printed

NAMES = frozenset().union(*(names_of(kind) for module in (intake, referral, attendance) for kind in module.SUBMISSIONS))
"""Names our contracts know; any other is the sender's own and may name a person."""

say = Console(stderr=True, highlight=False, soft_wrap=True)
service = click.argument("name", metavar="SERVICE", type=click.Choice(SERVICES))
at = click.option("--at", metavar="URL", help="Where the service listens; the stack that is up, unless given.")
why = click.option("--why", required=True, help="The reason, for the audit.")
key_file = click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The operations' private key; the local stack's, unless given.",
)
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])
CHUNK = (
    100  # submissions a question: each is judged in a transaction of its own, and nobody waits for all of ten thousand
)


def picking(command: Any) -> Any:
    """Options that pick messages: by publisher, by type, by verdict or error, by arrival."""
    for option in (
        click.option("--type", "type_", help="Only of this type: attendance_reported, or its whole name."),
        click.option("--until", type=MOMENT, help="Only what arrived before this day or moment."),
        click.option("--since", type=MOMENT, help="Only what arrived since this day or moment (with its zone)."),
        click.option("--reason", help="Only with this verdict or error."),
        click.option("--source", help="Only of this publisher."),
    ):
        command = option(command)
    return command


def picked(rows: list[dict[str, Any]], by: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the rows (with publisher, type, why, error, arrived) that the options name."""
    since, until = (
        (by[name] if by[name].tzinfo else by[name].astimezone()) if by[name] else None for name in ("since", "until")
    )
    return [row for row in rows
            if by["source"] in (None, row["publisher"]) and by["type_"] in (None, row["type"], *row["type"].split(".")[2:3]) and (by["reason"] or "") in f"{row['why']} {row['error']}"
            and (since is None or datetime.fromisoformat(row["arrived"]) >= since)
            and (until is None or datetime.fromisoformat(row["arrived"]) < until)]  # fmt: skip


who = click.option("--who", default=getpass.getuser, show_default="your user name", help="Who does it, for the audit.")


def ask(name: str, at: str | None, path: str, body: dict[str, Any] | None = None) -> Any:
    """One question to a service. Raises Trouble where it is silent or says no."""
    url = f"{at or running()[name]}{path}"
    try:
        with httpx.Client(timeout=120) as client:
            said = client.get(url) if body is None else client.post(url, json=body)
    except httpx.HTTPError as error:
        raise Trouble(
            f"{name} is silent ({type(error).__name__})", "`lotse status`, `lotse doctor`", UNREACHABLE
        ) from None
    if said.status_code == 409:
        raise Trouble(
            f"{name}: {said.json()['detail']}; nothing was changed", "mend the cause, or leave a row out", REFUSED
        )
    if said.is_error:
        raise Trouble(f"{name} answers {said.status_code}", "its log says more", FINDINGS)
    return said.json()


@click.group()
def dead_letters() -> None:
    """What could not be settled: list it, show its shape, replay or give up what was set aside."""


@dead_letters.command("list")
@service
@at
@picking
@key_file
@formats
def list_(name: str, at: str | None, key: Path | None, shape: str, **by: Any) -> int:
    """Set aside and quarantined messages (by ID), then unreadable ones (by their place). The type of an unreadable one is sealed
    with it: it is said where --type or --key asks for it, if it is one our contracts know."""
    rows = [{**row, "id": str(row["seq"]), "place": f"{row['topic']}/{row['part']}/{row['offset']}"}
            for row in ask(name, at, "/kept")]  # fmt: skip
    private = private_key(key) if key or by["type_"] else None
    rows += [{"id": letter["place"], "why": "unreadable", "type": type_of(letter, private) if private else "", "publisher": letter["topic"].rpartition(".")[2], "arrived": letter["arrived"],
              "error": f"{letter['verdict']} {letter['pointer']} {letter['rule']}", "place": letter["place"]}
             for letter in asyncio.run(letters(name))]  # fmt: skip
    rows = picked(rows, by)
    columns = ("id", "why", "publisher", "type", "place", "error", "arrived")
    rows = [{key: row[key] for key in columns} for row in rows]
    shown = [{**row, "arrived": row["arrived"][:19]} for row in rows]
    printed(shape, rows, columns=columns, people=[plain(shown, ("id", "why", "publisher", "error", "arrived"))])
    say.print(f"{len(rows)} in {name}")
    return DONE


@dead_letters.command()
@service
@click.argument("place")
@at
@key_file
@click.option(
    "--reveal",
    is_flag=True,
    help="Show the message itself: with --key and --why; written to the service's audit first.",
)
@click.option("--why", help="The reason, for the audit; with --reveal.")
@who
@formats
def show(
    name: str, place: str, at: str | None, key: Path | None, reveal: bool, why: str | None, who: str, shape: str
) -> int:
    """Verdict and shape of one unreadable message (names our contracts know, types, lengths), never a value; with --reveal the
    message itself. Exit: 2 no such message, or no key or reason; 4 the key does not open it, or nobody could write it down."""
    if reveal and not (key and why):
        raise Trouble(
            "--reveal shows what a person may stand in",
            "hand over the operations' key (--key) and a reason (--why)",
            USAGE,
        )
    found = [letter for letter in asyncio.run(letters(name)) if letter["place"] == place]
    if not found:
        raise Trouble(
            f"{name} has no dead letter from {place}", f"`lotse dead-letters list {name}` shows what there is", USAGE
        )
    headers, body = opened(found[0], private_key(key))
    said = {key: text for key, text in found[0].items() if key not in ("sealed", "place")}
    if reveal:
        ask(
            name, at, "/operate/reveal", {"place": place, "who": who, "why": why}
        )  # nothing is shown that is not written down
        data = {**said, "headers": {name: text(value) for name, value in headers}, "body": text(body)}
    else:
        data = {**said, "headers": [shape_of_header(*header) for header in headers], "body": shape_of(body)}
    printed(shape, [{"name": name, "said": value} for name, value in data.items()], data=data)
    return DONE


def private_key(file: Path | None) -> ECKey:
    """The operations' private key: of a file, or the local stack's. Raises Trouble."""
    try:
        return ECKey.import_key(json.loads((file or Path(running()["folder"]) / PRIVATE).read_text("utf-8")))
    except (OSError, ValueError, KeyError, JoseError) as error:
        raise Trouble(
            f"this is no private key ({type(error).__name__})", "`lotse operations-key FOLDER` makes a pair", USAGE
        ) from None


def opened(letter: dict[str, Any], private: ECKey) -> tuple[list[tuple[str, bytes | None]], bytes | None]:
    """Headers and body of a dead letter as they came. Raises Trouble where the key is another."""
    try:
        headers, value = json.loads(jwe.decrypt_compact(letter["sealed"], private).plaintext or b"[]")
    except (JoseError, ValueError):  # whose text may quote what it read
        raise Trouble(
            "the key does not open this letter", "hand over the private half of the key the service seals to", REFUSED
        ) from None
    return [(name, _bytes(text)) for name, text in headers], _bytes(value)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def text(value: bytes | None) -> str | None:
    """Bytes as text; what is none, as base64."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return f"base64 {base64.b64encode(value or b'').decode()}"


def type_of(letter: dict[str, Any], private: ECKey) -> str:
    """The type of a dead letter where it is one our contracts know; any other is the sender's own word."""
    type = claim_of(*opened(letter, private))[1].decode("utf-8", "replace")
    return type if type in FACTS or type in SUBMISSIONS else ""


def shape_of_header(name: str, value: bytes | None) -> str:
    """A header's name where it is one of ours, and its length."""
    known = name if name.startswith("ce_") or name in ("traceparent", "content-type") else "(foreign)"
    return f"{known}: {'null' if value is None else f'{len(value)} bytes'}"


def shape_of(body: bytes | None) -> Any:
    """Names, types and lengths of a body; for what is no JSON its length alone."""
    if body is None:
        return "null"
    try:
        return _shape(json.loads(body))
    except ValueError:
        return f"no JSON, {len(body)} bytes"


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name if name in NAMES else f"(unknown name of {len(name)})": _shape(inner) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_shape(inner) for inner in value[:20]]
    return f"{type(value).__name__}{f' of {len(value)}' if isinstance(value, str) else ''}"


async def letters(name: str) -> list[dict[str, Any]]:
    """Every dead letter on a service's topic: its headers, and the sealed bytes. Raises Trouble."""
    from services.host.kafka import Reader  # noqa: PLC0415

    security = kafka_security()
    try:
        reader = Reader(os.environ.get("LOTSE_KAFKA") or running()["kafka"], security, "dead-letters")
        await reader.start()
        try:
            parts = await reader.parts([dead_letters_topic(name)])
            starts, ends = await reader.starts(parts), await reader.ends(parts)
            found = []
            async for records in reader.records({part: (starts[part], ends[part]) for part in parts}):
                for record in records:
                    said = {key.removeprefix("lotse_"): text.decode() for key, text in record.headers}
                    found.append({**said, "place": (record.key or b"").decode(), "sealed": record.value})
            return found
        finally:
            await reader.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        raise Trouble(f"Kafka does not answer ({type(error).__name__})", "check LOTSE_KAFKA", UNREACHABLE) from None


def _settle(
    name: str, at: str | None, ids: tuple[int, ...], path: str, why: str, who: str, dry_run: bool, shape: str, rate: float | None,
    by: dict[str, Any],
) -> int:  # fmt: skip
    aside = {row["seq"] for row in picked([row for row in ask(name, at, "/kept") if row["why"] == "aside"], by)}
    if strange := set(ids) - aside:
        raise Trouble(
            f"not set aside in {name}, or not picked by the options: {sorted(strange)}",
            f"`lotse dead-letters list {name}` shows what is",
            USAGE,
        )
    chosen = sorted(ids or aside)
    if dry_run:
        say.print(f"would concern {len(chosen)} submissions: {chosen}")
        printed(shape, [{"submissions": len(chosen), "answered": 0, "ids": chosen}], people=[])
        return DONE
    answered, size = 0, CHUNK if rate is None else max(1, min(CHUNK, round(rate)))
    parts = [chosen[n : n + size] for n in range(0, len(chosen), size)] or [[]]  # asked for is written down, too
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=say, transient=True) as progress:
        for seqs in progress.track(parts, description="judged again"):
            began = time.monotonic()
            answered += ask(name, at, path, {"seqs": seqs, "who": who, "why": why})["answered"]
            if rate is not None:
                time.sleep(max(0.0, len(seqs) / rate - (time.monotonic() - began)))
    printed(shape, [{"submissions": len(chosen), "answered": answered, "ids": chosen}], ok=answered == len(chosen),
            people=[f"{answered} of {len(chosen)} have their answer now"])  # fmt: skip
    return DONE if answered == len(chosen) else FINDINGS


ids = click.argument("ids", type=int, nargs=-1)
dry_run = click.option("--dry-run", is_flag=True, help="Only say which.")
rate = click.option(
    "--rate", type=click.FloatRange(0.1), help="At most so many a second; as fast as they are judged, unless given."
)


@dead_letters.command()
@service
@ids
@at
@why
@who
@dry_run
@rate
@picking
@formats
def replay(
    name: str, ids: tuple[int, ...], at: str | None, why: str, who: str, dry_run: bool, shape: str, rate: float | None, **by: Any
) -> int:  # fmt: skip
    """Judge again what was set aside: the IDs, what the options pick, or all. Twice is harmless. Exit 1 where some still can't be judged."""
    return _settle(name, at, ids, "/operate/replay", why, who, dry_run, shape, rate, by)


@dead_letters.command("give-up")
@service
@click.argument("ids", type=int, nargs=-1, required=True)
@at
@why
@who
@dry_run
@formats
def give_up(name: str, ids: tuple[int, ...], at: str | None, why: str, who: str, dry_run: bool, shape: str) -> int:
    """Answer what was set aside as refused (GIVEN_UP); its sender may send it mended under a new id."""
    everything = dict.fromkeys(("source", "type_", "reason", "since", "until"))
    return _settle(name, at, ids, "/operate/give-up", why, who, dry_run, shape, None, everything)


@click.command()
@service
@click.argument("subject")
@click.option(
    "--without",
    type=int,
    multiple=True,
    help="A message (ID of `dead-letters list`) to leave out: the wrong half of a fork.",
)
@at
@why
@who
@formats
def release(name: str, subject: str, without: tuple[int, ...], at: str | None, why: str, who: str, shape: str) -> int:
    """Release a subject from quarantine: what was kept of it is taken up in order, all of it or nothing (exit 4)."""
    said = ask(name, at, "/operate/release", {"subject": subject, "who": who, "why": why, "without": list(without)})
    printed(shape, [said], people=[f"{said['taken_up']} messages taken up"])
    return DONE


@click.command("go-on")
@service
@at
@why
@who
@formats
def go_on(name: str, at: str | None, why: str, who: str, shape: str) -> int:
    """Read partitions held at a gap again from their log's start, once what can be brought back is back (`republish`): what
    was applied falls out, what is gone is gone."""
    said = ask(name, at, "/operate/go-on", {"who": who, "why": why})
    printed(shape, [said], people=[f"{said['partitions']} partitions go on"])
    return DONE


@click.command()
@service
@click.option("--since", required=True, type=MOMENT, help="A day, or a moment with its zone.")
@at
@why
@who
@formats
def republish(name: str, since: datetime, at: str | None, why: str, who: str, shape: str) -> int:
    """Send again, with the same ids, what was sent since a moment (at most 7 days): Kafka has lost its tail."""
    moment = since if since.tzinfo else since.astimezone()
    said = ask(name, at, "/operate/republish", {"since": moment.isoformat(), "who": who, "why": why})
    printed(shape, [said], people=[f"{said['rows']} rows are sent again"])
    return DONE
