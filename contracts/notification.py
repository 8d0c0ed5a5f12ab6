"""Notification: offices get mail, not cases. Each attempt is a fact before it is made, and so is its result."""

from typing import Annotated, ClassVar

from pydantic import Field

from .envelope import Code, Day, Fact, Id, JsonNumber, Listed, Model, Moment, Privacy, Submission, Unit

FAMILY = "notification"

REASONS: dict[str, str] = {}


class NoticeLine(Model):
    """One line of a notice: a risk newly raised, or one told before that no longer holds."""

    kind: Annotated[Code, Listed("notice_kind")]
    case_id: Id
    about: Id
    """As in the risk: of S2 the participation, of S6 the referral."""
    rule: Annotated[Code, Listed("rule")]
    first_on: Day
    """The first of the days that caused the risk."""
    reason: Annotated[Code, Listed("risk_end")] | None = None
    """Why it no longer holds: with WITHDRAWN, where it is known. What has ended is neither settled nor wrong. A second line that says so
    of a risk corrects the reason of the first."""
    others: Annotated[int, Field(ge=1, le=10_000), JsonNumber(), Privacy.INTERNAL, Unit("risk")] | None = None
    """In an attempt: how many other risks of this case the office was told of before it that go on, with WITHDRAWN also those that it
    tells newly; left out where none does. A mail names no course, so of two worries of one case that have the same day nobody could
    tell which is over."""


class NotificationFact(Fact):
    family: ClassVar[str] = FAMILY
    subject_kind: ClassVar[str] = "office"


class NotificationAttempted(NotificationFact):
    """An office is about to be told; at most one per office and tick. Its result is sent, failed or uncertain."""

    attempt_id: Id
    """The attempt, as its result names it."""
    lines: Annotated[tuple[NoticeLine, ...], Field(min_length=1, max_length=10_000), Privacy.INTERNAL]
    """What the office is told: first, of what it knows to be over, another reason; then what holds; then what it believed to hold."""
    as_of: Moment
    """The tick at which the office was told."""


class NotificationSent(NotificationFact):
    """The mail server has it."""

    attempt_id: Id


class NotificationFailed(NotificationFact):
    """The mail server certainly does not have it; what it said is told again at a later tick."""

    attempt_id: Id
    reason: Code
    """SMTP_ and the server's reply code (SMTP_550): it does not take mail for this mailbox; SERVER_ and its code (SERVER_535): it takes
    none from us; UNREACHABLE; NO_MAILBOX: the office has none in organisations.toml; BAD_ADDRESS: an address that mail can't
    carry; or TOO_OLD: it waited for hours, and what it said may no longer be so. Never the server's text."""


class NotificationUncertain(NotificationFact):
    """Claimed and never heard of again: perhaps sent, perhaps not. For a human; never sent again by itself."""

    attempt_id: Id


class NotificationWithdrawn(NotificationFact):
    """A risk the office was told of no longer holds; its next mail says so in a line.

    Said again where it is over for another reason than the office knows, or is to hear: the line said last is the one it hears.
    """

    line: NoticeLine
    """What is taken back, of the kind WITHDRAWN."""


FACTS: tuple[type[Fact], ...] = (
    NotificationAttempted,
    NotificationSent,
    NotificationFailed,
    NotificationUncertain,
    NotificationWithdrawn,
)
SUBMISSIONS: tuple[type[Submission], ...] = ()
