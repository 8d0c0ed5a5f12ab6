"""The messages of one fetch, decoded one by one, bad ones already apart. Nothing here can raise for what others wrote."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from contracts.envelope import (
    RUNTIME_REASONS,
    UUID_PATTERN,
    Attributes,
    Fact,
    Refused,
    Submission,
    Tick,
    Verdict,
    content_of,
    first_header,
    read_attributes,
    read_id,
    reference_of,
    refused,
)
from contracts.topics import CLOCK, KIB, Publisher, facts_topic, submissions_topic
from services.runtime.service import Service

MAX_BODY = 128 * KIB
_UUID = re.compile(UUID_PATTERN)


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    part: int
    offset: int


@dataclass(slots=True)
class FactIn:
    """A fact of another service; `fact` is None for a type nobody here reads (it still counts)."""

    place: Place
    attributes: Attributes
    fact: Fact | None
    body: bytes
    back: bool = False
    """Our own fact, read back from its topic for an errand."""


@dataclass(slots=True)
class SubmissionIn:
    """A readable submission. `denied` is what its publisher's entry forbids, whatever the states say."""

    place: Place
    publisher: str
    family: str
    reference: str
    content: str
    attributes: Attributes
    submission: Submission
    arrived: datetime
    denied: Refused | None
    headers: list[tuple[str, bytes]]
    body: bytes


@dataclass(slots=True)
class BadIn:
    """What can never be read: a dead letter, and an answer where the id is readable."""

    place: Place
    publisher: str
    family: str
    verdict: Verdict
    id: str | None
    reference: str
    content: str
    key: bytes | None
    value: bytes | None
    arrived: datetime


@dataclass(slots=True)
class TickIn:
    """A moment, with the broker's time at which it was published."""

    place: Place
    at: datetime
    id: str
    appended: datetime


Incoming = FactIn | SubmissionIn | BadIn | TickIn


class BadFact(Exception):
    """A fact that can't be read: ours to mend. Its partition is held, never skipped."""


@dataclass(frozen=True)
class Input:
    """A topic a service reads."""

    topic: str
    kind: str
    family: str = ""
    publisher: Publisher | None = None


def inputs_of(service: Service, publishers: Mapping[str, Publisher]) -> dict[str, Input]:
    """Every topic this service listens to, by name: others' facts, its publishers' submissions, the clock, and for
    errands its own facts read back."""
    found = [Input(CLOCK, "time")]
    found += [Input(facts_topic(family), "fact", family) for family in service.learned]
    if service.errand:
        found += [Input(facts_topic(family), "own", family) for family in service.owned]
    for publisher in publishers.values():
        found += [
            Input(submissions_topic(family, publisher.name), "submission", family, publisher)
            for family in publisher.families
            if family in service.owned
        ]
    return {input.topic: input for input in found}


def decode(service: Service, input: Input, record: "ConsumerRecord[Any, Any]") -> Incoming:
    """One record. Raises BadFact for an unreadable fact or tick, nothing for a submission."""
    place = Place(record.topic, record.partition, record.offset)
    if input.publisher is not None:
        return read_submission(service, input.family, input.publisher, place, record.headers, record.key, record.value,
                               moment_of(record.timestamp))  # fmt: skip
    try:
        if input.kind == "time":
            tick = Tick.__pydantic_validator__.validate_json(record.value or b"")
            return TickIn(place, tick.at, read_id(record.headers) or tick.at.isoformat(), moment_of(record.timestamp))
        attributes = read_attributes(record.headers)
        if attributes.streamversion is None:
            raise BadFact("no ce_streamversion")
        cls = service.fact_types.get(attributes.type)
        return FactIn(place, attributes, cls.from_json(record.value or b"") if cls else None, record.value or b"",
                      input.kind == "own")  # fmt: skip
    except (Verdict, ValidationError) as error:
        raise BadFact(type(error).__name__) from None


def moment_of(timestamp_ms: int) -> datetime:
    """The broker's time of a record."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def read_submission(
    service: Service,
    family: str,
    publisher: Publisher,
    place: Place,
    headers: Any,
    key: bytes | None,
    value: bytes | None,
    arrived: datetime,
) -> SubmissionIn | BadIn:
    """A submission, or why it can never be read. The id is read first, by itself, so that even this can be answered."""
    id = read_id(headers)
    try:
        attributes = read_attributes(headers)
        if attributes.source != publisher.source:
            raise Verdict("header", "/ce_source", "publisher")
        cls = service.submission_types.get(attributes.type)
        if cls is None or cls.family != family:
            raise Verdict("type", "/ce_type", "unknown")
        if not _UUID.fullmatch(attributes.subject):
            raise Verdict("header", "/ce_subject", "uuid")
        if value is None:
            raise Verdict("body", "", "missing")
        if len(value) > MAX_BODY:
            raise Verdict("body", "", "too_large")
        submission = read_body(cls, value)
    except Verdict as verdict:
        reference = content = ""
        if id is not None:
            ref = reference_of(publisher.source, id)
            reference, content = str(ref), content_of(ref, first_header(headers, "ce_type") or b"", value or b"")
        return BadIn(place, publisher.name, family, verdict, id, reference, content, key, value, arrived)
    denied = None
    if attributes.tenant not in publisher.tenants:
        denied = refused("NOT_YOURS")
    elif submission.by.organisation_id not in publisher.organisations:
        denied = refused("NOT_YOURS", at="/by/organisation_id")
    elif (attributes.time - arrived).total_seconds() > 600:  # ten minutes: what a badly set clock is forgiven
        denied = Refused("CLOCK_AHEAD", "", RUNTIME_REASONS["CLOCK_AHEAD"])
    ref = reference_of(publisher.source, attributes.id)
    return SubmissionIn(
        place=place,
        publisher=publisher.name,
        family=family,
        reference=str(ref),
        content=content_of(ref, attributes.type.encode(), value),
        attributes=attributes,
        submission=submission,
        arrived=arrived,
        denied=denied,
        headers=[(name, bytes(text)) for name, text in headers if name.startswith("ce_") or name == "traceparent"],
        body=value,
    )


def read_body(cls: type[Submission], body: bytes) -> Submission:
    """A body by its class. Raises Verdict: the first error's pointer and rule, never its text or its input."""
    try:
        return cls.from_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        known = set(cls.model_fields) | {"organisation_id", "staff_id", "kind"}
        path = [
            str(step) for step in first["loc"] if isinstance(step, int) or step in known
        ]  # never a sender's own key
        raise Verdict("body", "".join(f"/{step}" for step in path), first["type"]) from None
