"""The envelope every message travels in (CloudEvents 1.0, Kafka binary mode), and the four kinds of message.

A *submission* is what somebody reports or asks for; a *fact* is what its owner recorded; an *answer* is exactly one for
each submission; a *tick* is a moment. Identity, order and content are defined here and nowhere else.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Privacy(StrEnum):
    """Privacy class of a field (house rule: personal and special never stand unsealed in a fact)."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    SPECIAL = "special"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
KEY_PATTERN = r"^[a-z0-9][a-z0-9._:-]{0,127}$"
MESSAGE_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"
CODE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"

# Every field of a contract is one of these (or a list of them, or optional): so every field has a class and a limit.
# Patterns exclude NUL: one inside a JSON string passes a plain `str` and fails the whole batch in Postgres.
Id = Annotated[str, StringConstraints(pattern=UUID_PATTERN), Privacy.INTERNAL]
"""A thing's UUID, lower case, minted by whoever creates it; never a plain hash of somebody's number."""
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN), Privacy.INTERNAL]
"""A subject: case, run (UUIDs) or office (`tenant:organisation`). Lower case; our Kafka key."""
Code = Annotated[str, StringConstraints(pattern=CODE_PATTERN), Privacy.INTERNAL]
"""A code of a list or an organisation's id. In facts codes are open: readers take what they do not know for OTHER."""
Day = Annotated[date, Privacy.INTERNAL]
"""A calendar day in the alliance's zone; field names end in `_on`."""
Moment = Annotated[AwareDatetime, AfterValidator(_utc), Privacy.INTERNAL]
"""An aware moment, kept in UTC; field names end in `_at` or say since/until."""
Count = Annotated[int, Field(ge=0, le=1_000_000), Privacy.INTERNAL]
"""A number of things, 0 to 1,000,000."""
Revision = Annotated[int, Field(ge=1, le=1_000_000_000), Privacy.INTERNAL]
"""1 for the first statement; the highest (reported_at, revision, reference) wins."""


class Model(BaseModel):
    """Frozen; ignores what it does not know and never forwards it; its errors do not quote the input."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class By(Model):
    """Who speaks. Rules compare this and never another field that merely claims."""

    organisation_id: Code
    staff_id: Id | None = None
    kind: Annotated[Literal["person", "rule"], Privacy.INTERNAL] = "person"


def type_name(family: str, name: str, version: int = 1) -> str:
    """`lotse.<family>.<snake_case_of_the_class>.v<n>`."""
    return f"lotse.{family}.{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}.v{version}"


class Message(Model):
    """What facts and submissions share: a family, a subject of a kind, a wire type, who speaks."""

    family: ClassVar[str] = ""
    subject_kind: ClassVar[str] = ""
    version: ClassVar[int] = 1
    ce_type: ClassVar[str] = ""

    by: By

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.ce_type = type_name(cls.family, cls.__name__, cls.version) if cls.family else ""

    def to_json(self) -> bytes:
        """The body as it travels: the data alone, absent optionals left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Reads a body. Raises pydantic.ValidationError."""
        read: Self = cls.__pydantic_validator__.validate_json(body)
        return read


class Fact(Message):
    """What happened, recorded by its owner, numbered within (family, subject). Never refused by a reader."""

    is_fact: ClassVar[bool] = True  # a class flag: isinstance on models costs 2-3 % of the loop
    gives: ClassVar[tuple[str, ...]] = ()
    """Names of the fields whose ids this fact makes known; `subject` for the subject itself."""


class Submission(Message):
    """What somebody reports or asks for. It gets exactly one answer and has at most one effect."""

    is_fact: ClassVar[bool] = False

    def rests_on(self) -> tuple[str, ...]:
        """Names of the fields (or `subject`) whose ids must be known before anybody can judge this."""
        return ("subject",)


class Outcome(StrEnum):
    """What became of a submission. There is no fifth."""

    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class Answer(Model):
    """The one answer to a submission, on its publisher's own topic `<family>.answers.<publisher>`.

    Its id is `uuid5(reference, content)`, so that the same answer given again (at least once) is the same message.
    """

    submission_id: Annotated[str, StringConstraints(pattern=MESSAGE_ID_PATTERN), Privacy.INTERNAL]
    reference: Id
    content: Annotated[str, StringConstraints(pattern=r"^r1:[0-9a-f]{32}$"), Privacy.INTERNAL]
    outcome: Annotated[Outcome, Privacy.INTERNAL]
    fact_id: Id | None = None
    reason: Code | None = None
    pointer: Annotated[str, StringConstraints(max_length=256), Privacy.INTERNAL] | None = None
    hint: Annotated[str, StringConstraints(max_length=300), Privacy.INTERNAL] | None = None

    def to_json(self) -> bytes:
        """The body as it travels."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Tick(Model):
    """A moment, published by the clock. Between ticks no time passes for Lotse."""

    ce_type: ClassVar[str] = "lotse.clock.tick.v1"

    at: Moment

    def to_json(self) -> bytes:
        """The body as it travels."""
        return self.__pydantic_serializer__.to_json(self)


def answer_type(family: str) -> str:
    """The wire type of a family's answers."""
    return type_name(family, "Answer")


# --- what a rule says ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """The domain says no: a code for machines, where it points, and one sentence that says the way out."""

    reason: str
    at: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The statement equals the one that stands, in content and in its order."""


Decision = Fact | Refused | Unchanged

# What the runtime itself may say. `UNKNOWN_<THING>` is made from the name of what a submission rests on.
RUNTIME_REASONS: dict[str, str] = {
    "NOT_YOURS": "This source may not speak for that tenant, organisation or thing.",
    "ID_REUSED": "This id was used before with other content; send the mended message under a new id.",
    "CLOCK_AHEAD": "ce_time lies more than ten minutes after arrival; set the sending clock.",
    "GIVEN_UP": "This could not be processed; the operator knows why. Ask, and send it again under a new id.",
    "TOO_MANY_WAITING": "10,000 submissions of this publisher wait already; send first what they rest on.",
}


def refused(reason: str, hint: str = "", at: str = "") -> Refused:
    """A business no. `at` is a JSON Pointer into the submission's body."""
    return Refused(reason, at, hint or RUNTIME_REASONS.get(reason, ""))


def unknown(name: str) -> Refused:
    """What a submission rested on stayed unknown for seven days of ticks."""
    thing = name.removesuffix("_id").upper()
    return Refused(
        f"UNKNOWN_{thing}", "" if name == "subject" else f"/{name}", "Nobody has made this id known; send it first."
    )


# --- identity --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _source_namespace(source: str) -> UUID:
    return uuid5(NAMESPACE_URL, source)


def reference_of(source: str, id: str) -> UUID:
    """`uuid5(uuid5(NAMESPACE_URL, source), id)`; the source is the one publishers.toml gives to the topic's publisher."""
    return uuid5(_source_namespace(source), id)


def content_of(reference: UUID, ce_type: bytes, body: bytes) -> str:
    """`r1:` + first 16 bytes (hex) of SHA-256(reference in its text form, ce_type, body as sent), one after the other."""
    return "r1:" + hashlib.sha256(str(reference).encode() + ce_type + body).hexdigest()[:32]


def fact_id_of(reference: UUID) -> UUID:
    """The id of the one fact a submission can lead to: deciding again gives the same id."""
    return uuid5(reference, "fact")


def answer_id_of(reference: UUID, content: str) -> UUID:
    """The id of the answer to this content under this reference."""
    return uuid5(reference, content)


# --- attributes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attributes:
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


def moment(text: str) -> datetime:
    """RFC 3339 text to an aware moment in UTC. Raises ValueError, also where the zone is missing."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("a moment needs its zone")
    return value.astimezone(UTC)


def stamp(value: datetime) -> str:
    """An aware moment as RFC 3339 text in UTC with `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def headers_of(attributes: Attributes) -> list[tuple[str, bytes]]:
    """Kafka headers in CloudEvents binary mode."""
    a = attributes
    pairs: list[tuple[str, str | None]] = [
        ("ce_specversion", "1.0"),
        ("ce_id", a.id),
        ("ce_source", a.source),
        ("ce_type", a.type),
        ("ce_subject", a.subject),
        ("ce_time", stamp(a.time)),
        ("ce_tenant", a.tenant),
        ("ce_streamversion", None if a.streamversion is None else str(a.streamversion)),
        ("ce_cause", a.cause),
        ("ce_recordedtime", None if a.recordedtime is None else stamp(a.recordedtime)),
        ("traceparent", a.traceparent),
        ("content-type", "application/json"),
    ]
    return [(name, value.encode()) for name, value in pairs if value is not None]


@dataclass(frozen=True, slots=True)
class Verdict(Exception):
    """Why a message can never be read: kind of error, where, and which rule; never a text, because texts quote people."""

    type: str
    pointer: str
    rule: str


_ID = re.compile(MESSAGE_ID_PATTERN)
_KEY = re.compile(KEY_PATTERN)
_TENANT = re.compile(r"^[a-z0-9][a-z0-9-]{0,31}$")
_TRACE = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")

Headers = Iterable[tuple[Any, Any]]


def first_header(headers: Headers, name: str) -> bytes | None:
    """The raw value of the first header of that name; None where it is missing or null."""
    for key, value in headers:
        if key == name:
            return bytes(value) if value is not None else None
    return None


def read_id(headers: Headers) -> str | None:
    """The id by itself, so that a message whose other headers are broken can still be answered; None if it has none."""
    raw = first_header(headers, "ce_id")
    if raw is None:
        return None
    text = raw.decode("ascii", "replace")
    return text if _ID.fullmatch(text) else None


def read_attributes(headers: Headers) -> Attributes:
    """Decodes the headers. Raises Verdict for what is missing, null, not UTF-8 or against its rule."""
    found: dict[str, str] = {}
    for name, value in headers:
        if not isinstance(name, str) or name in found or not (name.startswith("ce_") or name == "traceparent"):
            continue  # foreign headers are accepted and not forwarded
        try:
            found[name] = bytes(value).decode()
        except (UnicodeDecodeError, TypeError):
            if name in _READ:
                raise Verdict("header", f"/{name}", "utf8") from None
    try:
        if found["ce_specversion"] != "1.0":
            raise Verdict("header", "/ce_specversion", "1.0")
        for name, rule in _RULES:
            if not rule.fullmatch(found[name]):
                raise Verdict("header", f"/{name}", "pattern")
        version = found.get("ce_streamversion")
        recorded = found.get("ce_recordedtime")
        trace = found.get("traceparent")
        return Attributes(
            id=found["ce_id"],
            source=found["ce_source"],
            type=found["ce_type"],
            subject=found["ce_subject"],
            time=_moment(found["ce_time"], "ce_time"),
            tenant=found["ce_tenant"],
            streamversion=None if version is None else _number(version),
            cause=found.get("ce_cause"),
            recordedtime=None if recorded is None else _moment(recorded, "ce_recordedtime"),
            traceparent=trace if trace is not None and _TRACE.fullmatch(trace) else None,
        )
    except KeyError as missing:
        raise Verdict("header", f"/{missing.args[0]}", "required") from None


_RULES = (
    ("ce_id", _ID),
    ("ce_source", re.compile(r"^[\x21-\x7e]{1,256}$")),
    ("ce_type", re.compile(r"^[a-z0-9._]{1,128}$")),
    ("ce_subject", _KEY),
    ("ce_tenant", _TENANT),
)
_READ = {"ce_specversion", "ce_time", "ce_streamversion", "ce_cause", "ce_recordedtime"} | {name for name, _ in _RULES}


def _moment(text: str, name: str) -> datetime:
    try:
        return moment(text)
    except (ValueError, OverflowError):
        raise Verdict("header", f"/{name}", "rfc3339") from None


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:18]) <= 10**15:
        raise Verdict("header", "/ce_streamversion", "integer")
    return int(text)


# --- order within a stream -------------------------------------------------------------------------------------------


class Heard(NamedTuple):
    """The last fact heard of one family and subject. Number 0: nothing yet."""

    number: int = 0
    id: str = ""


class Order(StrEnum):
    """What a numbered fact is to a reader who has heard up to some number."""

    NEXT = "next"
    OLD = "old"
    EARLY = "early"
    FORK = "fork"


def order_of(number: int, id: str, heard: Heard) -> Order:
    """A reader applies the next, drops the old, keeps the early and holds a fork (the last number with another id)."""
    if number == heard.number + 1:
        return Order.NEXT
    if number > heard.number:
        return Order.EARLY
    return Order.FORK if number == heard.number and id != heard.id else Order.OLD


class Recorded(NamedTuple):
    """A fact with the attributes it travels with."""

    attributes: Attributes
    fact: Fact
