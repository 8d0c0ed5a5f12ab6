"""What is wrong with messages, before they are sent: `lotse validate`, here and in the wheel.

Takes, in UTF-8 with or without a byte order mark, a line each, as documents over several lines or as one list: CloudEvents in
structured mode, Kafka records as `kcat -J` prints them, and with a type given bodies alone. Says line, JSON Pointer, rule and a
sentence; never a value. It knows form and codes, and of a record whether its topic takes it; whom a publisher may speak for, and
what a service knows already (starts, ends, consents, reports), only the answer tells.
"""

import json
import re
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import from_json

from . import validity
from .attributes import Attributes, Headers, Verdict, attributes_from, place_of
from .envelope import UUID_PATTERN, Model, Submission, Tick
from .families import PUBLISHED
from .hints import hint_of
from .messages import MAX_BODY, STRUCTURED, claim_of, read_body, read_message

_HEADERS = [("content-type", STRUCTURED.encode())]
_UUID = re.compile(UUID_PATTERN)
_TICK = Tick.ce_type.encode()


class Finding(NamedTuple):
    """One thing wrong with one message; a warning does not keep it from being read."""

    line: int
    level: str
    """error or warning."""
    where: str
    """header, attribute, body, type: what the pointer points into."""
    pointer: str
    rule: str
    hint: str


def validate(lines: Iterable[bytes], ce_type: str | None = None) -> Iterator[tuple[int, list[Finding]]]:
    """Line number and findings of each message; an empty list is a message without fault.

    Each line that is a JSON value is judged by itself, and so is each document over several lines; of a file that begins with
    a bracket each item. The number is that of the line on which a message begins, as an editor shows it; of what is no JSON
    that of the line on which it breaks off, and the next message is looked for behind it.
    """
    source, first = iter(enumerate(lines, 1)), True
    for number, line in source:
        if number == 1:
            if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                yield 1, [_finding(1, Verdict("file", "", "utf16"), None)]
                return
            line = line.removeprefix(BOM_UTF8)
        text = line.strip()
        if not text:
            continue
        found = None if first and text.startswith(b"[") else _of_line(number, text, ce_type)
        if found is None:
            yield from _spread(number, line + b"".join(rest for _, rest in source), ce_type, first)
            return
        yield number, found
        first = False


def _of_line(number: int, text: bytes, ce_type: str | None) -> list[Finding] | None:
    """Findings of a line that is a JSON value; None of one that is none."""
    found = judge(number, text, ce_type)
    if found and found[0].rule == "json_invalid":
        try:
            from_json(text)
        except ValueError:
            return None
    return found


def _spread(number: int, text: bytes, ce_type: str | None, first: bool) -> Iterator[tuple[int, list[Finding]]]:
    """The rest of a file, from a line on that is no message by itself. A list is opened where nothing stood before it."""
    said = text.decode("utf-8", "surrogateescape") + "\n"  # a line's wrong bytes are not its neighbours'
    at, listed = 0, False
    while (begins := _after_space(said, at)) < len(said):
        number += said.count("\n", at, begins)
        at = begins
        if (said[at] == "[" and first and not listed) or (said[at] in ",]" and listed):
            listed = said[at] != "]"
            at += 1
            continue
        found = None
        if not listed:
            ends = said.index("\n", at)
            found = _of_line(number, _sent(said[at:ends]).strip(), ce_type)
        if found is None:
            ends, whole = _value(said, at)
            if whole and (listed or "\n" in said[at:ends]):
                found = judge(number, _sent(said[at:ends]), ce_type)
        if found is not None:
            yield number, found
        else:  # no JSON, or more than that in one line
            broken, ends = said[at:ends], _next(said, at)
            line = number + broken[: ends - at].rstrip().count("\n")
            yield line, [_finding(line, Verdict("body", "", "json_invalid"), None)]
        number += said.count("\n", at, ends)
        at, first = ends, first and listed


_DECODER = json.JSONDecoder(parse_int=float)  # int() gives up on 4,300 digits


def _value(text: str, at: int) -> tuple[int, bool]:
    """Where the JSON value that begins here ends; or where it breaks off, and False."""
    try:
        return _DECODER.raw_decode(text, at)[1], True
    except json.JSONDecodeError as error:
        return error.pos, False
    except RecursionError:
        return at, False


def _next(text: str, at: int) -> int:
    """Where a message may begin behind one that breaks off: on a line that is indented no further and does not go on within a
    value."""
    column = at - text.rfind("\n", 0, at) - 1
    found = re.compile(rf'^(?=[ \t]{{0,{column}}}[^\s"}}\],:])', re.MULTILINE).search(text, at + 1)
    return found.start() if found else len(text)


def _sent(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def judge(line: int, text: bytes, ce_type: str | None = None) -> list[Finding]:
    """One message: its first fault, else its warnings. Raises nothing."""
    cls: type[Model] | None = None
    try:
        headers: Headers = _HEADERS
        sent_on = ""
        attributes: Attributes | None = None
        data: Any = None
        if ce_type is not None:
            body, name = text, ce_type
        else:
            value = text
            if (usual := _at_once(text)) is not None:
                attributes, body, data = usual
            else:
                if b'"payload"' in text and (record := _record(text)) is not None:
                    headers, value, sent_on = record  # type: ignore[assignment]
                is_tick = _TICK in text and claim_of(headers, value)[1] == _TICK
                attributes, body = read_message(headers, value, about_time=is_tick)
            name = attributes.type
        known = PUBLISHED.get(name)
        if known is None or not _goes_on(sent_on, known):
            raise Verdict("type", place_of(headers, "type")[1], "unknown")
        cls = known
        if issubclass(cls, Submission):
            if attributes is not None and not _UUID.fullmatch(attributes.subject):
                raise Verdict(*place_of(headers, "subject"), "uuid")
            if len(body) > MAX_BODY:
                raise Verdict("body", "", "too_large")
        said = read_body(cls, body)
    except Verdict as verdict:
        return [_finding(line, verdict, cls)]
    if (attributes is not None and isinstance(said, Submission)
            and (no := validity.judge(said, attributes.subject, attributes.time)) is not None):  # fmt: skip
        return [Finding(line, "error", "body", no.at, no.reason, no.hint)]
    return [
        Finding(line, "warning", "body", pointer, "unknown_field", "Nobody reads a field of this name; is it misspelt?")
        for pointer in _unknown(from_json(body) if data is None else data, cls)
    ]


def _goes_on(topic: str, cls: type[Model]) -> bool:
    """Whether a topic takes messages of a class: one of submissions takes its family's alone. Of any other we say nothing."""
    family, submissions, _ = topic.partition(".submissions.")
    return not submissions or (issubclass(cls, Submission) and cls.family == family)


_SPACE, _JSON = b" \t\n\r", b"application/json"


def _at_once(text: bytes) -> tuple[Attributes, bytes, Any] | None:
    """Attributes, body as sent, and what it says, of a structured message written as nearly all are: every member but the
    data a text and there once, the data last. None for any other, faults above all: `messages` judges those, at half the
    speed."""
    at = text.find(b'"data"')
    if at < 0 or text[-1:] != b"}":
        return None
    colon, body = text[at + 6 : -1].lstrip(_SPACE)[:1], text[text.find(b":", at) + 1 : -1].strip(_SPACE)
    try:
        document: dict[str, Any] = from_json(text[:at] + b'"data":0}')
        said = from_json(body, allow_inf_nan=False)
        found = {name: value.encode() for name, value in document.items() if name != "data"}
        if (
            colon != b":"
            or found.pop("datacontenttype", _JSON) != _JSON
            or "data_base64" in document
            or text.count(b'"', 0, at) != 4 * (len(document) - 1)  # more: a member stands twice
        ):
            return None
        return attributes_from(found, "", "attribute"), body, said
    except (ValueError, AttributeError, Verdict):
        return None


def _record(text: bytes) -> tuple[list[tuple[str, bytes]], bytes | None, str] | None:
    """A Kafka record as `kcat -J` prints it: headers as a flat list, the payload as a text, the topic; None of what is none.
    Raises Verdict."""
    try:
        record = from_json(text)
    except ValueError:
        return None
    if not isinstance(record, dict) or "payload" not in record or "specversion" in record:
        return None
    try:
        flat = record.get("headers") or []
        if isinstance(flat, dict):
            flat = [part for pair in flat.items() for part in pair]
        headers = [
            (flat[n], None if flat[n + 1] is None else str(flat[n + 1]).encode()) for n in range(0, len(flat), 2)
        ]
        payload = record["payload"]
        if payload is not None and not isinstance(payload, str):
            payload = json.dumps(payload)
        return headers, None if payload is None else payload.encode(), str(record.get("topic", ""))  # type: ignore[return-value]
    except (ValueError, LookupError, TypeError):
        raise Verdict("record", "", "kcat") from None


@lru_cache(maxsize=512)
def _shape(cls: type[BaseModel]) -> tuple[frozenset[str], tuple[tuple[str, type[BaseModel]], ...]]:
    """Names of a model's fields, and those of them that hold models, with these."""
    inner = []
    for name, field in cls.model_fields.items():
        parts = (field.annotation, *getattr(field.annotation, "__args__", ()))
        models = [part for part in parts if isinstance(part, type) and hasattr(part, "model_fields")]
        inner += [(name, models[0])] if models else []
    return frozenset(cls.model_fields), tuple(inner)


def _unknown(said: dict[str, Any], cls: type[BaseModel], at: str = "") -> Iterator[str]:
    """Pointers of fields no model knows. The name of an unknown field is the sender's own: only its parent is named."""
    names, inner = _shape(cls)
    for _ in said.keys() - names:
        yield at
    for name, model in inner:
        value = said.get(name)
        for n, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, dict):
                yield from _unknown(one, model, f"{at}/{name}" + ("" if n is None else f"/{n}"))


def _finding(line: int, verdict: Verdict, cls: type[Model] | None) -> Finding:
    return Finding(line, "error", verdict.type, verdict.pointer, verdict.rule, hint_of(verdict, cls))


def main(arguments: list[str] | None = None) -> int:
    """The command as the wheel brings it: `lotse validate [--type T] [--format table|json|csv] [FILE|-]`."""
    import argparse  # noqa: PLC0415
    import csv  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="lotse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Exit codes: 0 no message is at fault, 1 some are, 2 usage.")  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("validate", help="Say what is wrong with messages.", description=__doc__, epilog=parser.epilog,
                                  formatter_class=parser.formatter_class)  # fmt: skip
    command.add_argument("file", nargs="?", default="-", help="a file, or - for standard input")
    command.add_argument("--type", help="bodies alone, all of this type")
    command.add_argument("--format", choices=["table", "json", "csv"], default="table")
    said = parser.parse_args(arguments)
    if said.type is not None and said.type not in PUBLISHED:
        print(f"lotse: no type {said.type}\n  way out: the types stand in docs/contracts", file=sys.stderr)
        return 2
    try:
        source = sys.stdin.buffer if said.file == "-" else open(said.file, "rb")  # noqa: SIM115
    except OSError as error:
        print(
            f"lotse: {said.file} can't be read ({type(error).__name__})\n  way out: name a file, or -", file=sys.stderr
        )
        return 2
    count, bad, findings = 0, 0, list[Finding]()
    with source:
        for _, found in validate(source, said.type):
            count += 1
            bad += any(one.level == "error" for one in found)
            findings += found
    if said.format == "json":
        errors = [{"code": one.rule, "message": f"{one.level} in the {one.where}", "hint": one.hint,
                   "at": f"line {one.line} {one.pointer}".strip()} for one in findings]  # fmt: skip
        data = {"messages": count, "at_fault": bad, "findings": [one._asdict() for one in findings]}
        print(json.dumps({"ok": bad == 0, "command": "validate", "data": data, "errors": errors}))
    elif said.format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(Finding._fields)
        writer.writerows(findings)
    else:
        for one in findings:
            print(
                f"line {one.line}: {one.level} in the {one.where}, {one.pointer or 'at its top'}: {one.rule}. {one.hint}"
            )
    print(
        f"{count} messages, {bad} at fault, {sum(one.level == 'warning' for one in findings)} warnings", file=sys.stderr
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
