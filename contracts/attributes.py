"""CloudEvents 1.0 attributes: what every message carries beside its body, and the rules they are held to.

Kafka binary mode is read here (a header an attribute); the structured mode, one JSON document, in `messages`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

MESSAGE_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"
KEY_PATTERN = r"^[a-z0-9][a-z0-9._:-]{0,127}$"
SOURCE_PATTERN = r"^[\x21-\x7e]{1,256}$"
TYPE_PATTERN = r"^[a-z0-9._]{1,128}$"
TENANT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,31}$"
CAUSE_PATTERN = r"^[\x21-\x7e]{1,128}$"
TRACE_PATTERN = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
MOST_VERSIONS = 2**31 - 1
"""CloudEvents integers have 32 bits."""


class Attributes(NamedTuple):
    """CloudEvents attributes of a message, decoded. Moments are aware and in UTC."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    tenant: str
    streamversion: int | None = None
    cause: str | None = None
    recordedtime: datetime | None = None
    traceparent: str | None = None


@dataclass(slots=True, unsafe_hash=True)  # not frozen: contextlib sets the traceback of what passes through it
class Verdict(Exception):
    """Why a message can never be read: kind of error, where, and which rule; never a text, because texts quote people.

    `type` is header (pointer into the Kafka headers), attribute (into the structured document), body (into the body) or
    type. The pointer always exists: where a member is missing it is the parent's, and the rule is `missing:<name>`.
    """

    type: str
    pointer: str
    rule: str


Headers = Iterable[tuple[Any, Any]]


def _bytes(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


_ID, _SUBJECT = _bytes(MESSAGE_ID_PATTERN), _bytes(KEY_PATTERN)
_TRACE, _CAUSE = _bytes(TRACE_PATTERN), _bytes(CAUSE_PATTERN)
_RARE = {"source": _bytes(SOURCE_PATTERN), "type": _bytes(TYPE_PATTERN), "tenant": _bytes(TENANT_PATTERN)}
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""`fromisoformat` alone takes week dates, and days without a time."""
BINARY = frozenset(
    "ce_specversion ce_id ce_source ce_type ce_subject ce_time ce_tenant ce_streamversion ce_cause ce_recordedtime "
    "traceparent content-type".split()
)
"""Names of the headers we read. Any other is the sender's own, with or without `ce_`, and may name a person."""


def moment(text: str) -> datetime:
    """RFC 3339 text, with any offset, to an aware moment in UTC. A leap second is the second after it.

    Raises ValueError, also where the zone is missing, and OverflowError for what lies outside years 1 to 9999.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("not an RFC 3339 moment")
    if found[1] == "60":
        return moment(text[: found.start(1)] + "59" + text[found.end(1) :]) + timedelta(seconds=1)
    value = datetime.fromisoformat(text.upper())
    return value if value.tzinfo is UTC else value.astimezone(UTC)


@lru_cache(maxsize=64)  # what one transaction records has one moment
def stamp(value: datetime) -> str:
    """An aware moment as RFC 3339 text in UTC with `Z`."""
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def headers_of(attributes: Attributes) -> list[tuple[str, bytes]]:
    """Kafka headers in CloudEvents binary mode; what is None has none."""
    a = attributes
    found = [
        ("ce_specversion", b"1.0"),
        ("ce_id", a.id.encode()),
        ("ce_source", a.source.encode()),
        ("ce_type", a.type.encode()),
        ("ce_subject", a.subject.encode()),
        ("ce_time", stamp(a.time).encode()),
        ("ce_tenant", a.tenant.encode()),
    ]
    if a.streamversion is not None:
        found.append(("ce_streamversion", b"%d" % a.streamversion))
    if a.cause is not None:
        found.append(("ce_cause", a.cause.encode()))
    if a.recordedtime is not None:
        found.append(("ce_recordedtime", stamp(a.recordedtime).encode()))
    if a.traceparent is not None:
        found.append(("traceparent", a.traceparent.encode()))
    found.append(("content-type", b"application/json"))
    return found


def first_header(headers: Headers, name: str) -> bytes | None:
    """The raw value of the first header of that name; None where it is missing or null."""
    for key, value in headers:
        if key == name:
            return bytes(value) if value is not None else None
    return None


def place_of(headers: Headers, attribute: str) -> tuple[str, str]:
    """How a verdict names an attribute: a Kafka header, or in structured mode a member of the document."""
    binary = first_header(headers, f"ce_{attribute}") is not None
    return ("header", f"/ce_{attribute}") if binary else ("attribute", f"/{attribute}")


def read_id(headers: Headers) -> str | None:
    """The id by itself, so that a message whose other headers are broken can still be answered; None if it has none.

    Of a message in structured mode see `messages.claim_of`.
    """
    raw = first_header(headers, "ce_id")
    return raw.decode() if raw is not None and _ID.fullmatch(raw) else None


def known_headers(headers: Headers) -> dict[str, bytes]:
    """The headers we read, the first of each name; foreign ones are accepted and not forwarded."""
    found: dict[str, bytes] = {}
    for name, value in headers:
        if name in BINARY and name not in found:
            found[name] = value
    return found


def read_attributes(headers: Headers) -> Attributes:
    """Attributes in binary mode. Raises Verdict for what is missing, null, not UTF-8 or against its rule."""
    return attributes_from(known_headers(headers))


def attributes_from(
    found: Mapping[str, bytes], prefix: str = "ce_", kind: str = "header", *, about_time: bool = False
) -> Attributes:
    """Attributes from raw values by name; `prefix` and `kind` say how a verdict names them. Of a tick (`about_time`) subject and
    tenant are empty. Raises Verdict."""
    at = prefix
    try:
        at = f"{prefix}specversion"
        if found[at] != b"1.0":
            raise Verdict(kind, f"/{at}", "null" if found[at] is None else "version")
        at = f"{prefix}id"
        id = _held(found[at], _ID, at, kind)
        at = f"{prefix}source"
        source = _rare("source", found[at], at, kind)
        at = f"{prefix}type"
        type = _rare("type", found[at], at, kind)
        at = f"{prefix}subject"
        subject = "" if about_time else _held(found[at], _SUBJECT, at, kind)
        at = f"{prefix}tenant"
        tenant = "" if about_time else _rare("tenant", found[at], at, kind)
        at = f"{prefix}time"
        time = _moment(found[at], at, kind)
    except KeyError:
        raise Verdict(kind, "", f"missing:{at}") from None
    version, recorded = found.get(f"{prefix}streamversion"), found.get(f"{prefix}recordedtime")
    cause, trace = found.get(f"{prefix}cause"), found.get("traceparent")
    return Attributes(
        id,
        source,
        type,
        subject,
        time,
        tenant,
        None if version is None else _number(version, f"{prefix}streamversion", kind),
        None if cause is None else _held(cause, _CAUSE, f"{prefix}cause", kind),
        None if recorded is None else _moment(recorded, f"{prefix}recordedtime", kind),
        trace.decode() if trace is not None and _TRACE.fullmatch(trace) else None,
    )


def _held(value: bytes | None, rule: re.Pattern[bytes], name: str, kind: str) -> str:
    if value is None:
        raise Verdict(kind, f"/{name}", "null")
    if not rule.fullmatch(value):
        raise Verdict(kind, f"/{name}", "pattern")
    return value.decode()


@lru_cache(maxsize=4096)
def _rare(attribute: str, value: bytes | None, name: str, kind: str) -> str:
    """Few values, met again and again: held to their pattern once."""
    return _held(value, _RARE[attribute], name, kind)


def _moment(value: bytes | None, name: str, kind: str) -> datetime:
    if value is None:
        raise Verdict(kind, f"/{name}", "null")
    try:
        return moment(value.decode())
    except (ValueError, OverflowError):
        raise Verdict(kind, f"/{name}", "rfc3339") from None


def _number(value: bytes, name: str, kind: str) -> int:
    if not value.isdigit() or len(value) > 10 or not 1 <= int(value) <= MOST_VERSIONS:
        raise Verdict(kind, f"/{name}", "integer")
    return int(value)
