"""Every topic: kind, who writes, who reads, partitions, retention, size. And the publishers, from publishers.toml.

Rights, AsyncAPI and `lotse topics` come from here.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from .attributes import SOURCE_PATTERN, TENANT_PATTERN
from .envelope import LOTSE_ID, Model, OrganisationId

DAY_MS = 86_400_000
ANSWER_DAYS, DEAD_LETTER_DAYS = 37, 30
"""So long an answer and a dead letter stay on their topics."""
KIB, MIB = 1024, 1024 * 1024
MOST_OF_A_REPORT = 16 * MIB
"""Bytes of one month's release with its envelope, some 200,000 cells; what no topic takes rests for ever, and all alliances' reports
behind it: at Kafka's own MiB one partner with 14,000 made-up municipalities would have stopped them."""

OWNERS: dict[str, str] = {
    "intake": "intake",
    "referral": "referral",
    "attendance": "referral",
    "dropout": "referral",
    "notification": "notification",
}
"""Which service owns a family. referral owns three, because subscribers and rights differ."""

EVERYWHERE: dict[str, str] = {
    "cleanup.policy": "delete",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
}
"""Set on every topic: compaction, or a limit of bytes, would take away what still has to be read or learnt again; and where
the writer's clock counts, Kafka refuses what one that runs an hour ahead sends, and its facts would not leave."""

SUBMITTED: tuple[str, ...] = ("intake", "referral", "attendance")
"""Families that take submissions."""

CLOCK = "clock.ticks"
REPORT = "report.participation.internal"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Tenant = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]


class Publisher(Model):
    """A system that publishes, known by the topics it alone may write. `organisations`: for whom it may speak. Their names
    stand in clear in consents and referrals: give none that tells what people go there for."""

    name: Name
    source: Annotated[str, StringConstraints(pattern=SOURCE_PATTERN)]
    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1)]
    organisations: Annotated[tuple[OrganisationId, ...], Field(min_length=1)]
    families: Annotated[tuple[Name, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _families_take_submissions(self) -> "Publisher":
        for family in self.families:
            if family not in SUBMITTED:
                raise ValueError(f"family {family} takes no submissions")
        return self

    @field_validator("organisations")
    @classmethod
    def _nobody_speaks_for_lotse(cls, organisations: tuple[str, ...]) -> tuple[str, ...]:
        if LOTSE_ID in organisations:
            raise ValueError(f"{LOTSE_ID} is who rules speak for")
        return organisations


class BadPublishers(Exception):
    """publishers.toml can't be used; the text names entry and field, never a value or where the file lies."""


def load_publishers(path: Path) -> dict[str, Publisher]:
    """Publishers by name. Raises BadPublishers; two publishers with one source are refused, since ids belong to sources."""
    try:
        entries = tomllib.loads(path.read_text("utf-8")).get("publisher", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadPublishers(f"{type(error).__name__}; it must be a readable TOML file") from None
    found: dict[str, Publisher] = {}
    for name, entry in entries.items():
        try:
            found[name] = Publisher(name=name, **entry)
        except (ValidationError, TypeError) as error:
            where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
            raise BadPublishers(f"publisher.{name}: wrong or missing {'.'.join(map(str, where)) or 'entry'}") from None
    sources = [p.source for p in found.values()]
    if len(sources) != len(set(sources)):
        raise BadPublishers("two publishers share one source")
    return found


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it stands in the cluster."""

    name: str
    kind: str
    """fact, submission, answer, dead-letter, report or time."""
    writer: str
    readers: tuple[str, ...]
    audience: str = "internal"
    partitions: int = 12
    """For good: more means a new generation of the topic. 4 in the local stack."""
    config: dict[str, str] = field(default_factory=dict)


def facts_topic(family: str) -> str:
    """Where the owner writes a family's facts."""
    return f"{family}.events"


def submissions_topic(family: str, publisher: str) -> str:
    """Where one publisher, and nobody else, writes submissions of a family."""
    return f"{family}.submissions.{publisher}"


def answers_topic(family: str, publisher: str) -> str:
    """Where the owner answers one publisher."""
    return f"{family}.answers.{publisher}"


def dead_letters_topic(service: str) -> str:
    """Where a service puts what can never be read."""
    return f"{service}.dead-letters"


READS: dict[str, tuple[str, ...]] = {
    "intake": (),
    "referral": ("intake",),
    "notification": ("dropout",),
    "reporting": ("intake", "referral"),
}
"""Families of facts each service learns from others."""


def catalogue(publishers: Iterable[Publisher]) -> list[Topic]:
    """Every topic of an installation, sorted by name."""
    topics = [
        Topic(CLOCK, "time", "clock", tuple(READS), partitions=1, config={
            "retention.ms": str(30 * DAY_MS)}),
        Topic(REPORT, "report", "reporting", ("reporting",), config={
            "retention.ms": "-1", "max.message.bytes": str(MOST_OF_A_REPORT)}),
    ]  # fmt: skip
    for family, owner in OWNERS.items():
        readers = tuple(sorted({owner, *(service for service, families in READS.items() if family in families)}))
        topics.append(Topic(facts_topic(family), "fact", owner, readers, config={
            "retention.ms": "-1", "compression.type": "lz4",
            "max.message.bytes": str(1024 * KIB)}))  # fmt: skip
    for service in READS:
        topics.append(Topic(dead_letters_topic(service), "dead-letter", service, (service,), config={
            # a sealed letter is up to eight times what it holds (control characters as JSON, then base64), and 131,072 bytes of
            # them were a letter Kafka refused: no other left any more
            "retention.ms": str(DEAD_LETTER_DAYS * DAY_MS), "max.message.bytes": str(2 * MIB)}))  # fmt: skip
    for publisher in publishers:
        for family in publisher.families:
            owner = OWNERS[family]
            # uncompressed, because max.message.bytes bounds the compressed batch: 8 MiB passed a 128 KiB limit as gzip
            topics.append(Topic(submissions_topic(family, publisher.name), "submission", publisher.name, (owner,),
                "publisher", config={"retention.ms": str(30 * DAY_MS), "compression.type": "uncompressed",
                "max.message.bytes": str(128 * KIB)}))  # fmt: skip
            # a week longer than submissions, because a rebuild learns from answers what has been answered
            topics.append(Topic(answers_topic(family, publisher.name), "answer", owner, (owner, publisher.name),
                "publisher", config={"retention.ms": str(ANSWER_DAYS * DAY_MS), "compression.type": "lz4"}))  # fmt: skip
    return sorted(
        (replace(topic, config={**EVERYWHERE, **topic.config}) for topic in topics), key=lambda topic: topic.name
    )
