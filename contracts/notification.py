"""Notification: offices get mail, not cases. Each attempt is a fact before it is made, and so is its result."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .envelope import Code, Day, Fact, Id, Key, Model, Moment, Privacy, Submission

FAMILY = "notification"

REASONS: dict[str, str] = {}


class NoticeLine(Model):
    """One line of a notice: a risk newly raised, or one told before that no longer holds."""

    kind: Annotated[Literal["RAISED", "WITHDRAWN"], Privacy.INTERNAL]
    case_id: Key
    about: Id
    rule: Code
    first_on: Day


class NotificationFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "office"


class NotificationAttempted(NotificationFact):
    """At most one per office and tick. Read back from the topic it is claimed, sent, and its result recorded."""

    attempt_id: Id
    lines: Annotated[tuple[NoticeLine, ...], Field(min_length=1, max_length=10_000), Privacy.INTERNAL]
    as_of: Moment
    """The tick at which the office was told."""


class NotificationSent(NotificationFact):
    attempt_id: Id


class NotificationFailed(NotificationFact):
    """The mail server refused; `reason` is its code class, never its text."""

    attempt_id: Id
    reason: Code


class NotificationUncertain(NotificationFact):
    """Claimed and never heard of again: perhaps sent, perhaps not. For a human; never sent again by itself."""

    attempt_id: Id


class NotificationWithdrawn(NotificationFact):
    """A risk the office was told of no longer holds; its next mail says so in a line."""

    line: NoticeLine


FACTS: tuple[type[Fact], ...] = (
    NotificationAttempted,
    NotificationSent,
    NotificationFailed,
    NotificationUncertain,
    NotificationWithdrawn,
)
SUBMISSIONS: tuple[type[Submission], ...] = ()
