"""The envelope every message travels in (CloudEvents 1.0, Kafka binary mode), and the four kinds of message.

A *submission* is what somebody reports or asks for; a *fact* is what its owner recorded; an *answer* is exactly one for
each submission's id and content; a *tick* is a moment. Identity and content are defined here, order in `stream`, and nowhere else.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from uuid import NAMESPACE_URL
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUseDefault, core_schema, to_json

from .attributes import KEY_PATTERN as KEY_PATTERN
from .attributes import MESSAGE_ID_PATTERN as MESSAGE_ID_PATTERN
from .attributes import Attributes as Attributes
from .attributes import Headers as Headers
from .attributes import Verdict as Verdict
from .attributes import first_header as first_header
from .attributes import headers_of as headers_of
from .attributes import moment as moment
from .attributes import read_attributes as read_attributes
from .attributes import read_id as read_id
from .attributes import stamp as stamp
from .stream import Heard as Heard
from .stream import Order as Order
from .stream import order_of as order_of


class Privacy(StrEnum):
    """Privacy class of a field (house rule: personal and special never stand unsealed in a fact)."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    SPECIAL = "special"


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # 9999-12-31 in the west: an error of the sender's, not of the reader's
        raise PydanticCustomError("moment_out_of_range", "a moment lies between the years 1 and 9999 in UTC") from None


def _leap_second(text: str) -> str | datetime:
    """As it is, unless it is the one second pydantic does not read; what is no moment it refuses itself."""
    if text[17:19] != "60":
        return text
    try:
        return moment(text)
    except (ValueError, OverflowError):
        return text


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts; stands in the schema beside the field."""

    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A code of one of our lists (`contracts/lists`): in a submission it must be valid on the day of `ce_time`."""

    name: str


@dataclass(frozen=True, slots=True)
class AsWritten:
    """In JSON a day or moment is text of this form and nothing else; by itself pydantic also takes numbers, and text of
    digits, for seconds since 1970, and a moment without a T. A leap second is the second after it, as in `ce_time`. In Python it
    is a date or an aware datetime."""

    pattern: str
    format: Literal["date", "date-time"]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        read = handler(source)
        text: CoreSchema = core_schema.str_schema(pattern=self.pattern)
        if self.format == "date-time":
            text = core_schema.no_info_after_validator_function(_leap_second, text)
        return core_schema.json_or_python_schema(json_schema=core_schema.chain_schema([text, read]), python_schema=read)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": self.format}


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """In JSON a whole number is a number without a fraction, 36 or 36.0, as JSON Schema has it; by itself pydantic also takes
    text of digits and `true`. In Python (a CSV's text, say) it does."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        read = handler(source)
        written_so = core_schema.chain_schema([core_schema.float_schema(strict=True), core_schema.int_schema()])
        whole = core_schema.union_schema(
            [core_schema.int_schema(strict=True), written_so], mode="left_to_right", custom_error_type="int_type"
        )
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([whole, read]), python_schema=read
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema["python_schema"])  # a chain hides the bounds


def _left_out(_: None) -> None:
    raise PydanticUseDefault


@dataclass(frozen=True, slots=True)
class NullIsLeftOut:
    """Of an optional member with a default: null is the same as leaving it out, since many serialisers write it for what they
    do not know. Read, it is the default; so no null goes on into a fact."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        null = core_schema.no_info_after_validator_function(_left_out, core_schema.none_schema())
        return core_schema.union_schema([handler(source), null], mode="left_to_right")


ALLIANCE_ZONE = ZoneInfo("Europe/Berlin")
"""The zone in which days (`_on`) are days. All alliances of the initiative lie in North Rhine-Westphalia."""


@lru_cache(maxsize=256)  # a tick is asked about for every case
def day_of(moment: datetime) -> date:
    """The calendar day of an aware moment in the alliance's zone."""
    return moment.astimezone(ALLIANCE_ZONE).date()


UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
NIL = "00000000-0000-0000-0000-000000000000"
"""The nil UUID (RFC 9562, 5.9), which is what many a language gives for an id that nobody has set."""
CODE_PATTERN = r"^[A-Z][A-Z0-9_]{0,63}$"
ORGANISATION_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
LOTSE_ID = "lotse"
"""The organisation rules speak for. No publisher may."""

# Every field of a contract is one of these, of a code list (or a list of them, or optional): so every field has a class and
# a limit. Names of days and moments follow the convention of this package's docstring. In facts codes are open.
# Patterns exclude NUL: one inside a JSON string passes a plain `str` and fails the whole batch in Postgres.
Id = Annotated[
    str,
    StringConstraints(pattern=UUID_PATTERN),
    Privacy.INTERNAL,
    Field(description="A UUID in lower case, minted by whoever creates the thing; never a hash of somebody's number."),
]
Code = Annotated[
    str,
    StringConstraints(pattern=CODE_PATTERN),
    Privacy.INTERNAL,
    Field(description="A code in capitals. Read one you do not know as OTHER."),
]
OrganisationId = Annotated[
    str,
    StringConstraints(pattern=ORGANISATION_PATTERN),
    Privacy.INTERNAL,
    Field(description="An organisation as publishers.toml names it, in lower case; unique within the installation."),
]
Day = Annotated[
    date,
    AsWritten(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "date"),
    Privacy.INTERNAL,
    Field(description="A calendar day in the alliance's zone (Europe/Berlin), YYYY-MM-DD."),
]
Moment = Annotated[
    AwareDatetime,
    AsWritten(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
        "date-time",
    ),
    AfterValidator(_utc),
    Privacy.INTERNAL,
    Field(description="RFC 3339 with any offset; we write UTC with Z."),
]
Revision = Annotated[
    int,
    Field(ge=1, le=1_000_000_000),
    JsonNumber(),
    Privacy.INTERNAL,
    Field(
        description="1 for the first statement of its kind about this thing, then higher; the highest (reported_at, revision) stands."
    ),
]


class Model(BaseModel):
    """Frozen; ignores what it does not know and never forwards it; its errors do not quote the input."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class By(Model):
    """Who speaks. Rules compare this and never another field that merely claims."""

    organisation_id: OrganisationId
    """For whom: one of the organisations publishers.toml lists for the publisher; `lotse` in what a rule recorded."""
    staff_id: Id | None = None
    """Who, as a pseudonym of that organisation; absent where it does not say, and in what a rule recorded."""
    kind: Annotated[Literal["person", "rule"], Privacy.INTERNAL, NullIsLeftOut()] = "person"
    """`rule`: recorded by one of Lotse's own rules. A submission that claims it is refused NOT_YOURS."""


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
    """Who speaks; in a fact who spoke in its submission, or that a rule did."""

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
    """What somebody reports or asks for. Its id and content get exactly one answer; its id has at most one effect."""

    is_fact: ClassVar[bool] = False

    @classmethod
    def rests_on(cls) -> tuple[str, ...]:
        """Names of the fields (or `subject`) whose ids must be known before anybody can judge this."""
        return ("subject",)


class Outcome(StrEnum):
    """What became of a submission. There is no fifth."""

    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class Again(StrEnum):
    """Whether sending again helps. Under the old id it never does: the same is silent, other content is ID_REUSED."""

    NO = "no"
    MENDED = "mended"
    """A mended statement under a new id."""
    LATER = "later"
    """The same statement under a new id, once what it lacks is there: a known id, a yes, the day, fewer that wait."""


def again_of(said: dict[str, Any]) -> Again:
    """From an answer's outcome and reason."""
    outcome, reason = said.get("outcome"), said.get("reason") or ""
    if outcome == Outcome.UNREADABLE:
        return Again.MENDED
    if outcome != Outcome.REFUSED or reason in _FINAL or reason.endswith(("_EXISTS", "_OTHERWISE")):
        return Again.NO
    return Again.LATER if reason in _PASSING or reason.startswith("UNKNOWN_") else Again.MENDED


_FINAL = {"NOT_YOURS", "CASE_CLOSED", "NOT_OPEN", "NO_CONSENT", "TOO_MANY_OF_A_CASE"}
_PASSING = {"CLOCK_AHEAD", "TOO_MANY_WAITING", "NOT_ACCEPTED", "FUTURE_DAY"}
ANSWERED_LATER = frozenset({"NOT_RUNNING", "END_BEFORE_START", "START_AFTER_END"})
"""Reasons whose every answer says `later`. Of the reason by itself release 1 says `mended`, and what it says stays."""


class Answer(Model):
    """The one answer to one content of a submission's id, on its publisher's own topic `<family>.answers.<publisher>`. Who sent
    two contents under one id has two: the second says ID_REUSED and nothing of the first, and either may be read first.

    Its id is `uuid5(reference, content)`, so that the same answer given again (at least once) is the same message.
    """

    submission_id: Annotated[str, StringConstraints(pattern=MESSAGE_ID_PATTERN), Privacy.INTERNAL]
    """The `ce_id` of the submission. Match by `content`, too."""
    reference: Id
    """uuid5(uuid5(NAMESPACE_URL, source), submission_id); the source is the one publishers.toml gives to the publisher."""
    content: Annotated[str, StringConstraints(pattern=r"^r1:[0-9a-f]{32}$"), Privacy.INTERNAL]
    """Which content: `r1:` and in hex the first 16 bytes of SHA-256(reference as text + ce_type + body, or `data`, as sent)."""
    outcome: Annotated[Outcome, Privacy.INTERNAL]
    """What became of the submission. There is no fifth outcome."""
    fact_id: Id | None = None
    """The `ce_id` of the fact it led to; where it is `recorded`, and only there."""
    reason: Code | None = None
    """Why not; where it is `refused` (reasons stand on the page of the submissions' topic) or `unreadable` (HEADER,
    ATTRIBUTE, BODY or TYPE: what the pointer points into), and only there."""
    pointer: Annotated[str, StringConstraints(max_length=256), Privacy.INTERNAL] | None = None
    """JSON Pointer to what is at fault; empty: all of it. Of `refused` into the body; of `unreadable` into the Kafka headers
    (HEADER, and TYPE in binary mode), the structured document (ATTRIBUTE) or the body (BODY)."""
    hint: Annotated[str, StringConstraints(max_length=300), Privacy.INTERNAL] | None = None
    """One sentence that says the way out. For people: its words may change. Never quotes what was sent."""
    again: Annotated[Again, Privacy.INTERNAL] = Field(default_factory=lambda said: again_of(said))
    """Whether sending again helps; always under a new id, since the first content of an id has it."""

    def to_json(self) -> bytes:
        """The body as it travels."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)

    @staticmethod
    def written(said: dict[str, str]) -> bytes:
        """The body as it travels, of members that were made here: in their order, without what is None; `again` is told by the
        reason where it is not given. Not checked on the way out, which would cost a tenth of the loop; who reads one checks
        it."""
        return to_json({**said, "again": said.get("again") or again_of(said)})


class Tick(Model):
    """A moment, published by the clock. Between ticks no time passes for Lotse.

    Time belongs to all alliances and is about nothing else: a tick has neither `ce_tenant` nor `ce_subject`. Facts that time
    alone brought about have its `ce_id` as their `ce_cause`.
    """

    ce_type: ClassVar[str] = "lotse.clock.tick.v1"

    at: Moment
    """The moment, and the tick's `ce_time`. What is not later than the tick before is ignored."""

    def to_json(self) -> bytes:
        """The body as it travels."""
        return self.__pydantic_serializer__.to_json(self)


@lru_cache
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
    again: str = ""
    """Whether sending again helps, where that is not told by the reason."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The statement equals the one that stands, in content and in its order."""


Decision = Fact | Refused | Unchanged

# What the runtime itself may say. `UNKNOWN_<THING>` is made from the name of what a submission rests on.
RUNTIME_REASONS: dict[str, str] = {
    "NOT_YOURS": "This source may not speak for that tenant, organisation or thing, nor as a rule.",
    "CODE_NOT_VALID": "This code was not valid on the day of ce_time; the hint names its successor, where there is one.",
    "CODE_UNKNOWN": "The list has no such code.",
    "DAY_IMPLAUSIBLE": "The day lies before 2000 or after 2199.",
    "ID_NIL": "An id is all zeros: a program left it empty, and all its people would be one.",
    "ID_REUSED": "This id was used before with other content; send the mended message under a new id.",
    "CLOCK_AHEAD": "ce_time, or reported_at (then `mended`), lies more than ten minutes after arrival; set the clock it comes from.",
    "GIVEN_UP": "This could not be processed; the operator knows why. Ask, and send it again under a new id.",
    "TOO_MANY_WAITING": "10,000 submissions of this publisher, or 16 MiB of them, wait already; send first what they rest on.",
}


UNREADABLE_REASONS: dict[str, str] = {
    "HEADER": "A Kafka header is missing or against its rule; the pointer names it.",
    "ATTRIBUTE": "An attribute of the structured document is missing or against its rule; the pointer names it.",
    "BODY": "The body is no JSON, is too large or is against its schema; the pointer says where.",
    "TYPE": "`ce_type` is no submission of this topic's family.",
}
"""What the pointer of an unreadable message's answer points into; the hint names the rule."""


def refused(reason: str, hint: str = "", at: str = "", again: str = "") -> Refused:
    """A business no. `at` is a JSON Pointer into the submission's body; `again`: where it differs from the reason's own."""
    return Refused(reason, at, hint or RUNTIME_REASONS.get(reason, ""), again)


def unknown(name: str) -> Refused:
    """What a submission rested on stayed unknown for seven days of ticks."""
    thing = name.removesuffix("_id").upper()
    return Refused(
        f"UNKNOWN_{thing}", "" if name == "subject" else f"/{name}", "Nobody has made this id known; send it first."
    )


def of_another_kind(name: str) -> Refused:
    """What a submission rests on is known, and is another kind of thing: however often it is sent, it stays one."""
    return replace(
        unknown(name), hint="This id is known as another kind of thing; name the right one.", again=Again.MENDED
    )


# --- identity --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _source_namespace(source: str) -> str:
    return _named(str(NAMESPACE_URL), source)


def _named(namespace: str, name: str) -> str:
    """UUID version 5 (RFC 9562, 5.5) as text, from text. The standard library's makes three objects on the way; four ids a
    submission made that a tenth of the loop."""
    h = hashlib.sha1(bytes.fromhex(namespace.replace("-", "")) + name.encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


def reference_of(source: str, id: str) -> str:
    """`uuid5(uuid5(NAMESPACE_URL, source), id)`; the source is the one publishers.toml gives to the topic's publisher."""
    return _named(_source_namespace(source), id)


def content_of(reference: str, ce_type: bytes, body: bytes) -> str:
    """`r1:` + first 16 bytes (hex) of SHA-256(reference in its text form, ce_type, body as sent), one after the other."""
    return "r1:" + hashlib.sha256(reference.encode() + ce_type + body).hexdigest()[:32]


def fact_id_of(reference: str) -> str:
    """`uuid5(reference, "fact")`: the id of the one fact a submission can lead to; deciding again gives the same id."""
    return _named(reference, "fact")


def answer_id_of(reference: str, content: str) -> str:
    """`uuid5(reference, content)`: the id of the answer to this content under this reference."""
    return _named(reference, content)


# --- what is recorded ------------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    """A fact with the attributes it travels with."""

    attributes: Attributes
    fact: Fact
