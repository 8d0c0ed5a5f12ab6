"""Messages as Kafka carries them, out and in: CloudEvents 1.0, binary mode (headers and body) and structured mode (one
JSON document). Nothing here raises anything but Verdict for what others wrote."""

import json
import re
from base64 import b64decode
from binascii import Error as BadBase64
from functools import lru_cache
from json.decoder import scanstring  # type: ignore[attr-defined]  # there since Python 2.6, missing in the stubs
from typing import Any, NamedTuple, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from .attributes import Attributes, Headers, Verdict, attributes_from, headers_of, known_headers, stamp

STRUCTURED = "application/cloudevents+json"
MAX_BODY = 128 * 1024
"""Bytes of a submission's body: what its topic takes of a batch."""

M = TypeVar("M", bound=BaseModel)


class KafkaMessage(NamedTuple):
    """What a producer is given: key, headers, value. The key of submissions means nothing to us; the subject is a good one."""

    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes


def to_message(attributes: Attributes, body: bytes, mode: str = "binary") -> KafkaMessage:
    """A message in binary or structured mode; `body` is what a model's `to_json()` gives."""
    if mode == "binary":
        return KafkaMessage(attributes.subject.encode(), headers_of(attributes), body)
    if mode != "structured":
        raise ValueError("mode is binary or structured")
    a = attributes
    document: dict[str, Any] = {
        "specversion": "1.0", "id": a.id, "source": a.source, "type": a.type, "subject": a.subject, "time": stamp(a.time),
        "datacontenttype": "application/json", "tenant": a.tenant, "streamversion": a.streamversion, "cause": a.cause,
        "recordedtime": None if a.recordedtime is None else stamp(a.recordedtime), "traceparent": a.traceparent,
    }  # fmt: skip
    head = json.dumps({name: value for name, value in document.items() if value is not None})
    value = head[:-1].encode() + b', "data": ' + body + b"}"  # the body byte for byte: its content hash stays the same
    return KafkaMessage(a.subject.encode(), [("content-type", f"{STRUCTURED}; charset=UTF-8".encode())], value)


def read_message(headers: Headers, value: bytes | None, *, about_time: bool = False) -> tuple[Attributes, bytes]:
    """Attributes and body of a message in either mode. The body of a structured one is its `data`, byte for byte as sent. Of a
    tick (`about_time`) subject and tenant are empty: it has none.

    Raises Verdict: `header` or `attribute` for what carries the message, `body` where there is none.
    """
    found = known_headers(headers)
    media = found.get("content-type")
    if media is None or media == b"application/json" or not _is_structured(media):
        attributes = attributes_from(found, about_time=about_time)
        if value is None:
            raise Verdict("body", "", "null")
        return attributes, value
    if value is None:
        raise Verdict("body", "", "null")
    document = _Document(value)
    return document.attributes(about_time), document.body()


def claim_of(headers: Headers, value: bytes | None) -> tuple[str | None, bytes, bytes]:
    """Id, type and body as sent, of a message that may be broken in every way: what its one answer needs.

    The id is None where it cannot be read. Type and body are as raw as they came (the body of a structured message that
    is no document is the whole value), so that the same bytes have the same content. Raises nothing.
    """
    found = known_headers(headers)
    raw: bytes | None = found.get("ce_id")
    type: bytes | None = found.get("ce_type")
    body = value or b""
    try:
        if _is_structured(found.get("content-type") or b""):
            document = _Document(body)
            raw, type = (_text(document.members.get(name, _NOTHING).value) for name in ("id", "type"))
            body = document.body()
    except Verdict:
        pass
    return (raw.decode() if raw and _ID.fullmatch(raw) else None), type or b"", body


def read_body(cls: type[M], body: bytes) -> M:
    """A body by its class. Raises Verdict: pointer and rule of the first error, never its text or any value of it.

    Where a member is missing the pointer is its parent's (it exists) and the rule is `missing:<name>`.
    """
    try:
        return cls.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return]  # the stubs say Any, the class says M
    except ValidationError as error:
        raise verdict_of(cls, error) from None


def verdict_of(cls: type[BaseModel], error: ValidationError) -> Verdict:
    """The first of pydantic's errors as a verdict."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    rule, path = first["type"], list(first["loc"])
    if rule == "missing":
        rule = f"missing:{path.pop()}"
    known = names_of(cls)
    steps = [str(step) for step in path if isinstance(step, int) or step in known]  # never a sender's own name
    return Verdict("body", "".join(f"/{step}" for step in steps), rule)


@lru_cache(maxsize=512)
def names_of(cls: type[BaseModel]) -> frozenset[str]:
    """Names of a model's members, those of models within it included."""
    return frozenset(_names(cls.model_json_schema()))


def _names(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_names, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*map(_names, schema.values()))


# --- structured mode -------------------------------------------------------------------------------------------------

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_MEDIA = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(;.*)?")
_JSON_MEDIA = re.compile(r"[^/ ]+/([^/ ;]+\+)?json( *;.*)?", re.IGNORECASE)
_SPACE, _COLON = re.compile(r"[ \t\n\r]*"), re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
_ATTRIBUTES = frozenset(
    "specversion id source type subject time datacontenttype dataschema tenant streamversion cause recordedtime traceparent "
    "data data_base64".split()
)


@lru_cache(maxsize=64)
def _is_structured(media: bytes) -> bool:
    """True for structured mode, false for a body of JSON. Raises Verdict for what is neither."""
    match = _MEDIA.fullmatch(media)
    name = match[1].lower().decode() if match else ""
    if not name or (name.startswith("application/cloudevents") and name != STRUCTURED):
        raise Verdict("header", "/content-type", "media_type")  # batches, Avro and others
    if name == STRUCTURED:
        return True
    if not _JSON_MEDIA.fullmatch(name):
        raise Verdict("header", "/content-type", "media_type")
    return False


def _no_constant(_: str) -> NoReturn:
    raise ValueError


_scan = json.JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]  # likewise


def _after(rule: re.Pattern[str], text: str, at: int) -> int:
    """Where a match that begins here ends. Raises ValueError where there is none."""
    found = rule.match(text, at)
    if found is None:
        raise ValueError
    return found.end()


class _Member(NamedTuple):
    value: Any
    start: int
    end: int


_NOTHING = _Member(None, 0, 0)


class _Document:
    """A structured message: its members, and where in the text each stands, so that the data is kept as it was sent."""

    def __init__(self, value: bytes) -> None:
        try:
            self.text = value.decode()
            self.members = self._read()
        except (ValueError, IndexError, StopIteration, RecursionError, AttributeError):
            raise Verdict("body", "", "json_invalid") from None

    def _read(self) -> dict[str, _Member]:
        text, members = self.text, dict[str, _Member]()
        at = _after(_SPACE, text, 0)
        if text[at] != "{":
            raise ValueError
        at = _after(_SPACE, text, at + 1)
        if text[at] == "}":
            at += 1
        else:
            while True:
                if text[at] != '"':
                    raise ValueError
                name, at = scanstring(text, at + 1, True)
                start = _after(_COLON, text, at)
                value, end = _scan(text, start)
                if name in members and name in _ATTRIBUTES:
                    raise Verdict("attribute", f"/{name}", "twice")
                members[name] = _Member(value, start, end)
                at = _after(_NEXT, text, end)
                if text[end:at].strip() == "}":
                    break
        if _after(_SPACE, text, at) != len(text):
            raise ValueError
        return members

    def attributes(self, about_time: bool = False) -> Attributes:
        found: dict[str, bytes] = {}
        for name, member in self.members.items():
            if name not in _ATTRIBUTES or name.startswith("data") or member.value is None:
                continue  # null is the same as absent
            value = member.value
            if name == "streamversion" and (type(value) is int or (type(value) is float and value.is_integer())):
                found[name] = str(int(value)).encode()
            elif isinstance(value, str):
                found[name] = value.encode("utf-8", "replace")  # a lone surrogate becomes "?", against every pattern
            else:
                raise Verdict("attribute", f"/{name}", "string_type")
        return attributes_from(found, "", "attribute", about_time=about_time)

    def body(self) -> bytes:
        data, encoded = self.members.get("data", _NOTHING), self.members.get("data_base64", _NOTHING)
        media = self.members.get("datacontenttype", _NOTHING).value
        if media is not None and not (isinstance(media, str) and _JSON_MEDIA.fullmatch(media.strip())):
            raise Verdict("attribute", "/datacontenttype", "media_type")
        if encoded.value is not None:
            if data.value is not None:
                raise Verdict("attribute", "/data_base64", "data_twice")
            try:
                return b64decode(encoded.value, validate=True)
            except (BadBase64, ValueError, TypeError):
                raise Verdict("attribute", "/data_base64", "base64") from None
        if data.end == 0:
            raise Verdict("attribute", "", "missing:data")
        return self.text[data.start : data.end].encode("utf-8", "replace")


def _text(value: Any) -> bytes | None:
    return value.encode("utf-8", "replace") if isinstance(value, str) else None
