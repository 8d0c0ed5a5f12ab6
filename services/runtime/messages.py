"""The records of one fetch, decoded one by one, bad ones already apart. Nothing here raises for what others wrote."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from contracts.attributes import Attributes, Verdict, place_of, read_id
from contracts.envelope import UUID_PATTERN, Refused, Tick, content_of, reference_of, refused
from contracts.messages import MAX_BODY, claim_of, read_body, read_message
from contracts.topics import CLOCK, Publisher, facts_topic, submissions_topic
from contracts.validity import judge
from services.runtime.service import Given, Name, Service

UUID = re.compile(UUID_PATTERN)


class Part(NamedTuple):
    """A topic partition."""

    topic: str
    part: int


@dataclass(frozen=True, slots=True)
class Input:
    """A topic a service reads, and as what: `own` are our facts, read back."""

    topic: str
    kind: Literal["fact", "own", "submission", "time"]
    family: str = ""
    publisher: Publisher | None = None

    @property
    def of_facts(self) -> bool:
        """Whether facts stand on it, others' or our own."""
        return self.kind in ("fact", "own")


@dataclass(slots=True)
class Message:
    """One record, decoded as far as it can be: a fact, submission or tick in `body`, or the verdict why there is none.

    A fact of a type nobody here reads has neither body nor verdict: it still counts.
    """

    input: Input
    part: Part
    offset: int
    arrived: datetime
    """The broker's time."""
    headers: Any
    value: bytes | None
    attributes: Attributes = None  # type: ignore[assignment]  # there wherever there is no verdict
    body: Any = None
    names: list[Name] = field(default_factory=list)
    """The states it needs, its subject's first."""
    gives: list[Given] = field(default_factory=list)
    """What it makes known, or may."""
    verdict: Verdict | None = None
    id: str | None = None
    """A submission's id, where it is readable."""
    reference: str = ""
    content: str = ""
    denied: Refused | None = None
    """What its publisher's entry, its own times or a code list forbid, whatever the states say."""
    seq: int | None = None
    """Its row among what is kept, where it was kept before."""
    claimed: bool = False
    """It has claimed its id before it was kept."""
    since: datetime | None = None
    """The tick from which it has been kept."""

    @property
    def family(self) -> str:
        """A fact's family is told by its type, a submission's by its topic."""
        return self.input.family


def inputs_of(service: Service, publishers: Mapping[str, Publisher], *, learning: bool = False) -> dict[str, Input]:
    """Every topic this service listens to, by name: others' facts, its publishers' submissions, the clock, and its own facts
    where it runs errands. When `learning` (a rebuild): facts only, its own among them."""
    found = [Input(facts_topic(family), "fact", family) for family in service.learned]
    if service.errand or learning:
        found += [Input(facts_topic(family), "own", family) for family in service.owned]
    if not learning:
        found.append(Input(CLOCK, "time"))
        found += [Input(submissions_topic(family, publisher.name), "submission", family, publisher)
                  for publisher in publishers.values() for family in publisher.families if family in service.owned]  # fmt: skip
    return {input.topic: input for input in found}


def moment_of(timestamp_ms: int) -> datetime:
    """The broker's time of a record."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def decode(service: Service, input: Input, record: Any) -> Message:
    """One Kafka record."""
    part, arrived = Part(record.topic, record.partition), moment_of(record.timestamp)
    message = Message(input, part, record.offset, arrived, record.headers, record.value)
    return read(service, message)


def read(service: Service, message: Message) -> Message:
    """Fills in what the bytes say: attributes and body, or a verdict."""
    try:
        if message.input.publisher is not None:
            _read_submission(service, message, message.input.publisher)
        elif message.input.kind == "time":
            message.body = read_body(Tick, message.value or b"")
            message.id = read_id(message.headers) or message.body.at.isoformat()
        else:
            message.attributes, body = read_message(message.headers, message.value)
            if message.attributes.streamversion is None:
                raise Verdict("header", "/ce_streamversion", "required")
            if cls := service.types.get(message.attributes.type):
                message.body = read_body(cls, body)
        if message.attributes is not None and message.body is not None:
            message.names = service.names_of(message.body, message.attributes.subject, message.attributes.tenant)
            message.gives = service.made_known(message.body, message.attributes.subject)
    except Verdict as verdict:
        message.verdict = verdict
    return message


def _read_submission(service: Service, message: Message, publisher: Publisher) -> None:
    """The id is read first, by itself, so that even broken headers can be answered."""
    message.id, type, sent = claim_of(message.headers, message.value)
    if message.id is not None:
        message.reference = reference_of(publisher.source, message.id)
        message.content = content_of(message.reference, type, sent)
    message.attributes, body = attributes, _ = read_message(message.headers, message.value)
    if attributes.source != publisher.source:
        raise Verdict(*place_of(message.headers, "source"), "publisher")
    if (cls := service.types.get(attributes.type)) is None or cls.is_fact or cls.family != message.family:
        raise Verdict("type", place_of(message.headers, "type")[1], "unknown")
    if not UUID.fullmatch(attributes.subject):
        raise Verdict(*place_of(message.headers, "subject"), "uuid")
    if len(body) > MAX_BODY:
        raise Verdict("body", "", "too_large")
    message.body = read_body(cls, body)
    if attributes.tenant not in publisher.tenants:
        message.denied = refused("NOT_YOURS", "The tenant is not listed for the publisher in publishers.toml.")
    elif message.body.by.organisation_id not in publisher.organisations:
        message.denied = refused("NOT_YOURS", "Not listed for the publisher in publishers.toml.", "/by/organisation_id")
    elif message.body.by.kind != "person":
        message.denied = refused("NOT_YOURS", "Only rules of Lotse speak as `rule`; leave `kind` out.", "/by/kind")
    else:
        message.denied = judge(message.body, attributes.subject, attributes.time, message.arrived)
