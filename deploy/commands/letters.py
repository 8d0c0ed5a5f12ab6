"""`lotse dead-letters`, `lotse release`, `lotse republish`: what an operator does about what was not settled.

Set aside (a rule of ours could not bear it) can be replayed or given up. Unreadable was answered and stays as evidence: its id
has its one answer, and its sender may have sent it again under another since; a replay would say it twice. `list` and `show`
tell what and where, never a value. Only `show --reveal` opens a letter, for who hands over the operations' private key and a
reason, and it is written down first.
"""

import asyncio
import base64
import getpass
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from contracts import attendance, intake, referral
from contracts.families import FACTS, SUBMISSIONS
from contracts.messages import claim_of
from contracts.topics import dead_letters_topic
from deploy.asking import client
from deploy.errors import DONE, FINDINGS, REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.feeds.log import length, opened
from deploy.installation import kafka_settings
from deploy.local.announced import running
from deploy.local.operations import PRIVATE
from deploy.places import SERVICES
from deploy.printed import dry_run, formats, plain, printed
from deploy.progress import counted
from deploy.saying import say
from services.kept.dead_letters import Origin, told
from services.operating.audit import LONGEST_WHO, LONGEST_WHY
from services.operating.shapes import names_in, shape_of

NAMES = names_in(kind for module in (intake, referral, attendance) for kind in module.SUBMISSIONS)

service = click.argument("name", metavar="SERVICE", type=click.Choice(SERVICES))
at = click.option("--at", metavar="URL", help="Where the service listens; the stack that is up, unless given. Exit 4 if another service answers there.")  # fmt: skip
key_file = click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The operations' private key; the local stack's, unless given.",
)


class Short(click.ParamType[str]):
    """A text of one to so many characters, as services take it."""

    name = "text"

    def __init__(self, most: int) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is."""
        if not 1 <= len(value) <= self.most:
            self.fail(f"it has {len(value)} characters; 1 to {self.most} are taken", param, ctx)
        return str(value)


class Moment(click.ParamType[datetime]):
    """A day (its first moment, where we are), a moment with its zone, or how long ago: 10m, 2h, 3d."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Always with a zone."""
        try:
            if ago := re.fullmatch(r"(\d+)([mhd])", value, re.ASCII):
                minutes = int(ago[1]) * {"m": 1, "h": 60, "d": 1440}[ago[2]]
                return datetime.now(UTC) - timedelta(minutes=minutes)
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None and len(value) > len("2026-10-01"):
                self.fail(f"{value} has no zone; write Z or +01:00 behind it", param, ctx)
            return moment if moment.tzinfo else moment.astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value} is no day (2026-10-01), moment (2026-10-01T08:00:00+02:00) or time ago (10m, 2h, 3d)",
                param,
                ctx,
            )


MOMENT, REASON = Moment(), Short(LONGEST_WHY)
REASON_SAID = f"The reason, for the audit; at most {LONGEST_WHY} characters"
CHUNK = (
    100  # submissions a question: each is judged in a transaction of its own, and nobody waits for all of ten thousand
)


def picking(command: Any) -> Any:
    """Options that pick messages: by publisher, by type, by verdict or error, by arrival."""
    for option in (
        click.option("--type", "type_", help="Only of this type: attendance_reported, or its whole name."),
        click.option("--until", type=MOMENT, help="Only what arrived before it; as --since."),
        click.option(
            "--since", type=MOMENT, help="Only what arrived since: a day, a moment with its zone, or 10m, 2h, 3d ago."
        ),
        click.option("--reason", help="Only with this verdict or error."),
        click.option("--source", help="Only of this publisher."),
    ):
        command = option(command)
    return command


def picked(rows: list[dict[str, Any]], by: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the rows (with publisher, type, why, error, arrived) that the options name."""
    since, until = by["since"], by["until"]
    return [row for row in rows
            if by["source"] in (None, row["publisher"]) and by["type_"] in (None, row["type"], *row["type"].split(".")[2:3]) and (by["reason"] or "") in f"{row['why']} {row['error']}"
            and (since is None or datetime.fromisoformat(row["arrived"]) >= since)
            and (until is None or datetime.fromisoformat(row["arrived"]) < until)]  # fmt: skip


why = click.option("--why", required=True, type=REASON, help=f"{REASON_SAID}.")
who = click.option(
    "--who",
    default=getpass.getuser,
    type=Short(LONGEST_WHO),
    show_default="your user name",
    help=f"Who does it, for the audit; at most {LONGEST_WHO} characters.",
)


def audited(command: Any) -> Any:
    """What a command takes that has a service do something: where that is, why, who does it, and whether it is only asked."""
    for option in (dry_run, who, why, at):
        command = option(command)
    return command


class Asked:
    """A service as commands ask it: numbers of what is kept, and subjects, are another's as well, so who answers says first who
    it is. Raises Trouble where it is silent, can't answer now or is somebody else."""

    def __init__(self, name: str, at: str | None) -> None:
        self.name = name
        self._url = (at or _here(name, f"where {name} runs by itself, say where: --at http://HOST:PORT")).rstrip("/")
        said = self._said("/status")
        if said.is_server_error:
            raise _unable(name, said)
        try:
            self.status: dict[str, Any] = dict(said.json())
        except (ValueError, TypeError):
            self.status = {}
        if (who := self.status.get("service")) != name:
            what = f"is {who}, not {name}" if who in SERVICES else f"does not say that it is {name}"
            raise Trouble(f"who answers there {what}; nothing was asked of it", f"say where {name} listens: --at http://HOST:PORT",
                          REFUSED)  # fmt: skip

    def _said(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            way = "GET" if body is None else "POST"
            return client().request(way, f"{self._url}{path}", json=body, timeout=120)
        except httpx.HTTPError as error:
            raise Trouble(
                f"{self.name} is silent ({type(error).__name__})", "`lotse status`, `lotse doctor`", UNREACHABLE
            ) from None

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One question; None where it had what was asked for and has settled it. Raises Trouble also where it says no."""
        name, said = self.name, self._said(path, body)
        if said.status_code == 409:
            detail = said.json()["detail"]
            raise Trouble(f"{name}: {detail}", _way_out(name, path, detail), REFUSED)
        if said.status_code == 404 and path.startswith("/dry-run/"):
            raise Trouble(
                f"{name} runs a version that knows no --dry-run; nothing was changed",
                "update it, then ask again",
                REFUSED,
            )
        if said.status_code == 404 and path.startswith("/kept/"):
            raise Trouble(
                f"{name} never kept a message {path.rpartition('/')[2]}",
                f"`lotse dead-letters list {name}` shows what is",
                USAGE,
            )
        if said.status_code == 410:
            return None
        if said.is_server_error:
            raise _unable(name, said)
        if said.is_error:
            raise Trouble(
                f"{name} does not take the question ({said.status_code})",
                "ask with the `lotse` of its version",
                REFUSED,
            )
        return said.json()

    def act(self, what: str, who: str, why: str, *, dry_run: bool, **more: Any) -> Any:
        """Has it do something, or only say what it would do. Raises Trouble as `ask`."""
        return self.ask(f"/{'dry-run' if dry_run else 'operate'}/{what}", {"who": who, "why": why, **more})

    def kept(self) -> list[dict[str, Any]]:
        """What it has set aside or keeps in quarantine, page by page. Raises Trouble."""
        found: list[dict[str, Any]] = []
        while page := self.ask(f"/kept?after={found[-1]['seq'] if found else 0}"):
            found += page
        return found


def _unable(name: str, said: httpx.Response) -> Trouble:
    """What stands in a service's way: in its own words where it has some, as while its database is away."""
    try:
        return Trouble(f"{name}: {said.json()['why']}", said.json()["way_out"], UNREACHABLE)
    except (ValueError, KeyError, TypeError):
        return Trouble(f"{name} answers {said.status_code}", "its log says more", UNREACHABLE)


def _way_out(name: str, path: str, no: str) -> str:
    """What helps where a service refuses to do something."""
    if path.endswith("/go-on"):
        return (
            f"name what {name} holds as NoFact: its /status says which record; where Kafka does not show it, try again"
        )
    if path.endswith("/republish"):
        return "take an earlier moment; `--since 7d` is all that is kept"
    if "Fork" in no or "NoFactOfIts" in no:
        return f"only a fork's second fact is left out: `lotse dead-letters list {name} --reason Fork` shows its ID beside its subject"
    return "mend the cause, then release it again"


@click.group()
def dead_letters() -> None:
    """Messages that could not be settled: list them, show their shape, replay or give up what was set aside.

    An unreadable message is not replayed: if it had an id it was answered as unreadable, and its sender may have sent it again
    under a new id.
    """


@dead_letters.command("list")
@service
@at
@picking
@key_file
@formats
def list_(name: str, at: str | None, key: Path | None, shape: str, **by: Any) -> int:
    """List messages that are set aside or in quarantine (by ID), then unreadable ones (by their place). The type of an unreadable one
    is sealed with it: it is shown only with --type or --key, and only if our contracts know it."""
    private = private_key(key, at) if key or by["type_"] else None

    def unreadable(letter: dict[str, Any]) -> dict[str, Any]:
        return {"id": letter["place"], "why": "unreadable", "subject": "", "type": type_of(letter, private) if private else "",
                "publisher": letter["topic"].rpartition(".")[2], "arrived": letter["arrived"], "place": letter["place"],
                "error": f"{letter['verdict']} {letter['pointer']} {letter['rule']}"}  # fmt: skip

    rows = [{**row, "id": str(row["seq"]), "place": place_of(row)} for row in Asked(name, at).kept()]
    rows = picked(rows + asyncio.run(letters(name, at, unreadable)), by)
    columns = ("id", "why", "subject", "publisher", "type", "place", "error", "arrived")
    rows = [{key: row[key] for key in columns} for row in rows]
    shown = [{**row, "arrived": row["arrived"][:19]} for row in rows]
    printed(
        shape, rows, columns=columns, people=[plain(shown, ("id", "why", "subject", "publisher", "error", "arrived"))]
    )
    say.print(f"{len(rows)} in {name}")
    return DONE


@dead_letters.command()
@service
@click.argument("message", metavar="PLACE|ID")
@at
@key_file
@click.option(
    "--reveal",
    is_flag=True,
    help="Show the message itself: with --key and --why; written to the service's audit first.",
)
@click.option("--why", type=REASON, help=f"{REASON_SAID}; with --reveal.")
@who
@formats
def show(
    name: str, message: str, at: str | None, key: Path | None, reveal: bool, why: str | None, who: str, shape: str
) -> int:
    """Show verdict and shape of one message (names our contracts know, types, lengths), but no value. Name an unreadable one by its
    PLACE, one that is set aside or in quarantine by its ID. --reveal shows an unreadable one itself. Exit: 2 no such message, or no
    key or reason; 3 Kafka or the service does not answer (what is revealed must be written down first); 4 the key does not open it."""
    if message.isdecimal():
        if reveal:
            raise Trouble(
                "--reveal opens what is sealed", "what is kept under an ID stands on its topic as it came", USAGE
            )
        if (kept := Asked(name, at).ask(f"/kept/{message}")) is None:
            raise Trouble(f"{message} is settled, nothing of it is kept", "its sender has its answer", USAGE)
        printed(shape, [{"name": name, "said": value} for name, value in kept.items()], data=kept)
        return DONE
    if reveal and not (key and why):
        raise Trouble(
            "--reveal shows what a person may stand in",
            "hand over the operations' key (--key) and a reason (--why)",
            USAGE,
        )
    audit = Asked(name, at) if reveal else None
    private = private_key(key, at)
    found = asyncio.run(letters(name, at, lambda letter: letter if letter["place"] == message else None))
    if not found:
        raise Trouble(
            f"{name} has no dead letter from {message}", f"`lotse dead-letters list {name}` shows what there is", USAGE
        )
    headers, body = unsealed(found[0], private)
    said = {key: text for key, text in found[0].items() if key not in ("sealed", "place")}
    if audit:
        # nothing is shown that is not written down
        audit.ask("/operate/reveal", {"place": message, "who": who, "why": why})
        data = {**said, "headers": {name: text(value) for name, value in headers}, "body": text(body)}
    else:
        data = {**said, **shape_of(headers, body, NAMES)}
    printed(shape, [{"name": name, "said": value} for name, value in data.items()], data=data)
    return DONE


def _here(part: str, way_out: str, at: str | None = None) -> str:
    """What is known of the stack that is up. Raises Trouble with this way out where none is, or where a service AT is another's."""
    if at:
        raise Trouble("beside --at nothing is taken of a stack that is up", way_out, USAGE)
    try:
        return running()[part]
    except Trouble as trouble:
        raise Trouble(trouble.what, way_out, trouble.exit_code) from None


def private_key(file: Path | None, at: str | None = None) -> ECKey:
    """The operations' private key: of a file, or the local stack's. Raises Trouble."""
    file = file or Path(_here("folder", "name the private key: --key FILE", at)) / PRIVATE
    try:
        return ECKey.import_key(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, KeyError, JoseError) as error:
        raise Trouble(
            f"this is no private key ({type(error).__name__})", "name the private half of LOTSE_OPERATIONS_KEY", USAGE
        ) from None


def unsealed(letter: dict[str, Any], private: ECKey) -> tuple[list[tuple[str, bytes | None]], bytes | None]:
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
    type = claim_of(*unsealed(letter, private))[1].decode("utf-8", "replace")
    return type if type in FACTS or type in SUBMISSIONS else ""


def headers_alone(letter: dict[str, Any]) -> dict[str, Any]:
    """A letter without what is sealed in it."""
    return {name: said for name, said in letter.items() if name != "sealed"}


async def letters(
    name: str, at: str | None = None, keep: Callable[[dict[str, Any]], dict[str, Any] | None] = headers_alone
) -> list[dict[str, Any]]:
    """Of every dead letter on a service's topic (its headers, and the sealed bytes) what is to be kept: thirty days of an attack
    do not fit into memory. A copy by the relay or by `lotse republish` is the same letter. Raises Trouble."""
    known = kafka_settings()
    kafka = known.kafka or _here("kafka", "its dead letters stand on a topic: set LOTSE_KAFKA", at)
    found: dict[Origin, dict[str, Any]] = {}
    async with opened(kafka, known.kafka_security, "dead-letters") as log:
        span = await log.span([dead_letters_topic(name)])
        with counted(f"dead letters of {name}", length(span), "letters") as more:
            async for records in log.read(span):
                for record in records:
                    if (letter := told(record.headers)) is None:
                        say.print(f"{record.topic}/{record.partition}/{record.offset} is no dead letter; left out")
                        continue
                    said, origin = letter
                    place = f"{origin.topic}/{origin.part}/{origin.offset}"
                    if kept := keep({**said, "place": place, "sealed": record.value}):
                        found[origin] = kept
                more(len(records))
    return list(found.values())


def _settle(
    path: str, name: str, ids: tuple[str, ...], at: str | None, why: str, who: str, dry_run: bool, rate: float | None, shape: str,
    **by: Any,
) -> int:  # fmt: skip
    """Settles what is set aside and picked. What was settled before counts as done: the same command twice says the same."""
    gives_up = path.endswith("give-up")
    if gives_up and not ids and not any(by.values()):
        raise Trouble("give up which?", "name IDs, or pick by --source, --type, --reason, --since, --until", USAGE)
    asked = Asked(name, at)
    kept = asked.kept()
    aside = [row for row in kept if row["why"] == "aside"]
    stands, wanted = {row["seq"] for row in aside}, {row["seq"] for row in picked(aside, by)}
    chosen = sorted({_id_of(name, word, kept) for word in ids} or wanted)
    for id in sorted({*chosen} - wanted):
        if id in stands:
            raise Trouble(f"{id} is set aside, and not picked by the options", "leave out one or the other", USAGE)
        say.print(f"{id} {_left(asked, id)}: nothing to do")
    if dry_run:
        chosen = [id for id in chosen if id in stands]
        would = f"{len(chosen)} would be {'given up' if gives_up else 'judged again'}: {chosen}"
        printed(shape, [{"submissions": len(chosen), "answered": 0, "ids": chosen}], people=[would])
        return DONE
    answered, size = 0, CHUNK if rate is None else max(1, min(CHUNK, round(rate)))
    parts = [chosen[n : n + size] for n in range(0, len(chosen), size)] or [[]]  # asked for is written down, too
    with counted("judged again", len(chosen), "submissions") as more:
        for seqs in parts:
            began = time.monotonic()
            answered += asked.ask(path, {"seqs": seqs, "who": who, "why": why})["answered"]
            more(len(seqs))
            if rate is not None:
                time.sleep(max(0.0, len(seqs) / rate - (time.monotonic() - began)))
    none = f"nothing is set aside in {name}{' that the options pick' if any(by.values()) else ''}"
    printed(shape, [{"submissions": len(chosen), "answered": answered, "ids": chosen}], ok=answered == len(chosen),
            people=[f"{answered} of {len(chosen)} are settled now" if chosen else none])  # fmt: skip
    return DONE if answered == len(chosen) else FINDINGS


def _id_of(name: str, word: str, kept: list[dict[str, Any]]) -> int:
    """The number of a message named by its ID, or by the place it came from. Raises Trouble."""
    if word.isdecimal():
        return int(word)
    for row in kept:
        if word == place_of(row):
            return int(row["seq"])
    if re.fullmatch(r".+/\d+/\d+", word):
        raise Trouble(
            f"{word} is not set aside in {name}; what can't be read has its answer and is neither replayed nor given up",
            f"its sender sends it mended, under a new id; `lotse dead-letters show {name} {word}` says what is wrong with it",
            REFUSED,
        )
    raise Trouble(f"{word} is no ID", f"`lotse dead-letters list {name}` shows them", USAGE)


def _left(asked: Asked, id: int) -> str:
    """Why a message that was kept is not set aside any more. Raises Trouble where it never was, or is kept otherwise."""
    row = asked.ask(f"/kept/{id}")
    if row is not None and row["why"] != "waiting":
        way_out = (
            f"`lotse release {asked.name} {row['subject']} --why REASON`"
            if row["why"] == "quarantined"
            else "it is taken up by itself"
        )
        raise Trouble(f"{id} is not set aside, but {row['why']}", way_out, USAGE)
    return "is settled" if row is None else "waits for what it rests on"


def place_of(row: dict[str, Any]) -> str:
    """Where a kept message came from, as dead letters name it."""
    return f"{row['topic']}/{row['part']}/{row['offset']}"


def settling(command: Any) -> Any:
    """What a command takes that settles what is set aside."""
    for option in (
        formats,
        picking,
        click.option("--rate", type=click.FloatRange(0.1), help="At most so many a second; without it as fast as they are judged."),
        audited,
        click.argument("ids", metavar="[ID]...", nargs=-1),
        service,
    ):  # fmt: skip
        command = option(command)
    return command


@dead_letters.command()
@settling
def replay(**said: Any) -> int:
    """Judge again what was set aside: the IDs, what the options pick, or all. Replaying twice is harmless. Exit: 1 some still have no
    answer; 2 there never was such an ID; 4 the ID is an unreadable message: its sender must send it again, mended, under a new id."""
    return _settle("/operate/replay", **said)


@dead_letters.command("give-up")
@settling
def give_up(**said: Any) -> int:
    """Answer what was set aside as refused (GIVEN_UP): the IDs, or what the options pick; its sender may send it mended under a
    new id. A submission whose publisher is no longer in publishers.toml (NoSuchPublisher) is forgotten without an answer.
    Giving up twice is harmless. Exit as replay."""
    return _settle("/operate/give-up", **said)


@click.command()
@service
@click.argument("subject")
@click.option(
    "--without",
    type=int,
    multiple=True,
    help="A message (ID of `dead-letters list SERVICE --reason Fork`) to leave out for good: the second fact of a fork, no other.",
)
@audited
@formats
def release(
    name: str, subject: str, without: tuple[int, ...], at: str | None, why: str, who: str, dry_run: bool, shape: str
) -> int:
    """Release a subject from quarantine: what was kept of it is taken up in order, then the rules say what is missing, as at a tick. It
    stops where something still breaks (exit 4): that, all behind it and what comes meanwhile stay in quarantine. Releasing twice is
    harmless: it says that the subject is not in quarantine. A dry run takes up what it can in some seconds and undoes it, and refuses
    what would still break."""
    asked, taken, more = Asked(name, at), 0, True
    stopped = asked.status.get("quarantined")  # not said where its database is away
    was = stopped is None or subject in {one["subject"] for one in stopped}
    left = False
    while more and (was or without):  # what may be left out of it, and what not, it says itself
        said = asked.act("release", who, why, dry_run=dry_run, subject=subject, without=list(without))
        taken, left = taken + said["taken_up"], said["more"]
        more = left and not dry_run
    at_least = " at the least: it keeps more than can be tried" if left else ""
    done = f"{taken} messages {'would be ' if dry_run else ''}taken up{at_least}"
    told = done if was or taken else f"{subject} is not in quarantine in {name}: nothing to do"
    printed(shape, [{"taken_up": taken, "more": left, "quarantined": was}], people=[told])
    return DONE


@click.command("go-on")
@service
@click.option(
    "--past",
    default="",
    metavar="TOPIC/PART/OFFSET",
    help="Leave out this one record that holds its partition, because it is no fact.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="TOPIC/PART",
    help="Only this partition, as a dry run named it; may be repeated. A partition that came to a gap since then stays held.",
)
@audited
@formats
def go_on(
    name: str, past: str, only: tuple[str, ...], at: str | None, why: str, who: str, dry_run: bool, shape: str
) -> int:
    """Read partitions that are held at a gap again from the start of their log, once all that can be brought back is back
    (`republish`): what was applied is passed over, what is gone stays gone. Says of each partition where it stood, where it goes on,
    and how many offsets at least are gone. Exit 4 if the record named by --past can be read: then nothing is left out."""
    if past and (only or not re.fullmatch(r"[a-z0-9.-]+/\d{1,6}/\d{1,18}", past)):
        raise Trouble(
            "--past names no record, or stands beside --only",
            "TOPIC/PART/OFFSET alone, as the service's log says it",
            USAGE,
        )
    if wrong := [one for one in only if not re.fullmatch(r"[a-z0-9.-]+/\d{1,6}", one)]:
        raise Trouble(f"--only {wrong[0]} names no partition", "TOPIC/PART, as a dry run says it", USAGE)
    asked, more = Asked(name, at), {"past": past, **({"only": only} if only else {})}
    rows = asked.act("go-on", who, why, dry_run=dry_run or bool(only), **more)
    if only and not dry_run:
        if {row["partition"] for row in rows} - {*only}:  # it does not read what it does not know: it would take all
            raise Trouble(
                f"{name} runs a version that knows no --only; nothing was changed", "update it, then ask again", REFUSED
            )
        rows = asked.act("go-on", who, why, dry_run=False, **more)
    columns = ("partition", "stood_at", "goes_on_at", "gone")
    told = f"{len(rows)} partitions {'would ' if dry_run else ''}go on"
    printed(shape, rows, columns=columns, people=[told, *([plain(rows, columns)] if rows else ())])
    return DONE


@click.command()
@service
@click.option("--since", required=True, type=MOMENT, help="A day, a moment with its zone, or 10m, 2h, 3d ago.")
@audited
@formats
def republish(name: str, since: datetime, at: str | None, why: str, who: str, dry_run: bool, shape: str) -> int:
    """Send again, with the same ids, what was sent since a moment (at most 7 days ago), where Kafka has lost the end of its log. Says
    how many records of which topic. Exit 4 if a partition lost more than was sent to it since then, and more of it is kept: then
    nothing is sent; take an earlier moment."""
    said = Asked(name, at).act("republish", who, why, dry_run=dry_run, since=since.isoformat())
    rows = [{"topic": topic, "records": records} for topic, records in said.items()]
    told = f"{sum(said.values())} records {'would be' if dry_run else 'are'} sent again"
    printed(shape, rows, columns=("topic", "records"), people=[told, *([plain(rows, ("topic", "records"))] if rows else ())])  # fmt: skip
    return DONE
