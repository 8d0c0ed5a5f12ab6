"""The rules of intake: a case is opened once, its needs and consents are recorded, its owner closes it."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple

from contracts.codes import ClosureReason, ConsentPurpose
from contracts.envelope import Decision, Fact, Unchanged, day_of, refused
from contracts.intake import (
    REASONS,
    CaseClosed,
    CaseClosureRequested,
    CaseOpened,
    ConsentGiven,
    ConsentGranted,
    ConsentRevoked,
    ConsentWithdrawn,
    NeedRecorded,
    NeedReported,
    RegistrationSubmitted,
)

MOST = 500
"""Needs, and consents, of a case. A state is read and written whole with each message about it: had it no end, one partner's flood
would keep the batches of all others from ever ending in time."""
MOST_OF_ONE = 50
"""Needs that one body may tell of a case it does not own. As many are kept free for the owner, who could otherwise never say what
the person needs."""


class Opened(NamedTuple):
    """What a case was opened with."""

    municipality: str
    programme: str
    sex: str
    birth_year_band: str
    language: str
    status_group: str
    owner_organisation_id: str
    by_organisation_id: str

    @staticmethod
    def of(said: RegistrationSubmitted | CaseOpened) -> "Opened":
        """As it is asked for, or was recorded."""
        return Opened(
            said.municipality, said.programme, said.sex, said.birth_year_band, said.language, said.status_group,
            said.owner_organisation_id, said.by.organisation_id,
        )  # fmt: skip


class Consent(NamedTuple):
    """A consent as it was given, and the day from which it was withdrawn."""

    purpose: str
    categories: list[str]
    recipients: list[str]
    valid_from_on: date
    last_valid_on: date
    withdrawn_on: date | None = None

    def lets_know(self, organisation_id: str, on: date) -> bool:
        """Whether the person wanted that body to help her on that day, as far as known now. A consent for another purpose does not say
        so: who evaluates the programme was to know figures, and not of her (domain 4.2, 4.4)."""
        named = self.purpose == ConsentPurpose.REFERRAL and organisation_id in self.recipients
        withdrawn = self.withdrawn_on is not None and on >= self.withdrawn_on
        return named and self.valid_from_on <= on <= self.last_valid_on and not withdrawn


@dataclass(slots=True)
class Case:
    """A case as intake knows it, folded from its own facts."""

    id: str
    tenant: str
    opened: Opened | None = None
    needs: dict[str, str] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)
    last_day_on: date | None = None
    closed_because: str = ""
    needs_told_by: dict[str, int] = field(default_factory=dict)
    """How many of the needs each body has told."""
    shape: ClassVar[int] = 2

    def is_of(self, organisation_id: str) -> bool:
        """Whether that body owns the case, or opened it: who talks with the person in intake (domain 3)."""
        opened = self.opened
        return opened is not None and organisation_id in (opened.owner_organisation_id, opened.by_organisation_id)


def register(request: RegistrationSubmitted, case: Case, said_at: datetime) -> Decision:
    """A case is opened once (domain A-05). Somebody else's case is nobody's business. Who comes back after its last day is another
    case: called `unchanged`, all that was said of her from then on would be refused."""
    opened = Opened.of(request)
    if case.opened is None:
        particulars = opened._asdict()
        del particulars["by_organisation_id"]
        return CaseOpened(by=request.by, **particulars)
    if not case.is_of(request.by.organisation_id):
        return refused("NOT_YOURS")
    if case.last_day_on is not None and day_of(said_at) > case.last_day_on:
        return refused("CASE_CLOSED", "The case is closed; for who comes back open a new case under a new id.")
    same = opened == case.opened._replace(by_organisation_id=opened.by_organisation_id)  # whoever of both says it
    return Unchanged() if same else refused("CASE_EXISTS", REASONS["CASE_EXISTS"])


def report_need(request: NeedReported, case: Case, said_at: datetime) -> Decision:
    """Whose case it is, or who was to help her by a consent of that day, may see a need (domain B-02, 4.2). Anybody else is
    told nothing of her: not that there is such a case, a need, or an end. After the case's last day nothing is needed any
    more; what was said by then and is heard later is no less true."""
    on, who = day_of(said_at), request.by.organisation_id
    if not case.is_of(who) and not any(consent.lets_know(who, on) for consent in case.consents.values()):
        return refused("NOT_YOURS")
    known = case.needs.get(request.need_id)
    if known is not None:
        return Unchanged() if known == request.need_type else refused("NEED_EXISTS", at="/need_id")
    if case.last_day_on is not None and on > case.last_day_on:
        return refused("CASE_CLOSED")
    owns = case.opened is not None and who == case.opened.owner_organisation_id
    full = not owns and case.needs_told_by.get(who, 0) >= MOST_OF_ONE
    if full or len(case.needs) >= (MOST if owns else MOST - MOST_OF_ONE):
        return refused("TOO_MANY_OF_A_CASE")
    return NeedRecorded(by=request.by, need_id=request.need_id, need_type=request.need_type)


def give_consent(request: ConsentGiven, case: Case, arrived: datetime) -> Decision:
    """Whose case it is passes on what the person agreed to: purpose, data and receiving bodies by name; "all partners" is no
    recipient (§ 67b SGB X; domain 4.2). Nobody else does, and names itself. One that was withdrawn stands no more, whoever says
    so again."""
    if not case.is_of(request.by.organisation_id):
        return refused("NOT_YOURS")
    categories: list[str] = sorted(request.categories)
    recipients = sorted(request.recipients)
    given = Consent(request.purpose, categories, recipients, request.valid_from_on, request.last_valid_on)
    known = case.consents.get(request.consent_id)
    if known is not None:
        return Unchanged() if given == known else refused("CONSENT_EXISTS", at="/consent_id")
    if request.last_valid_on < request.valid_from_on:
        return refused("CONSENT_ENDS_BEFORE_IT_BEGINS", at="/last_valid_on")
    if case.last_day_on is not None and request.valid_from_on > case.last_day_on:
        return refused("CASE_CLOSED", at="/valid_from_on")
    if len(case.consents) >= MOST:
        return refused("TOO_MANY_OF_A_CASE")
    return ConsentGranted(
        by=request.by, consent_id=request.consent_id, purpose=given.purpose, categories=tuple(given.categories),
        recipients=tuple(given.recipients), valid_from_on=given.valid_from_on, last_valid_on=given.last_valid_on,
    )  # fmt: skip


def withdraw_consent(request: ConsentWithdrawn, case: Case, said_at: datetime, arrived: datetime) -> Decision:
    """Free at any time, whoever passes it on (Art. 7(3) GDPR; domain 4.2). A consent is withdrawn once; only an earlier day moves that.

    Not from a day to come: that would stop today what she still agrees to, and no later day could mend it. Nor, once the consent has
    begun, from a day before it: that is mistyped, and could not be mended either. Who said so before it began is heard, however late."""
    consent = case.consents[request.consent_id]
    withdrawn_on = consent.withdrawn_on
    if request.withdrawn_on == withdrawn_on:
        return Unchanged()
    if request.withdrawn_on > day_of(arrived):
        return refused("FUTURE_DAY", at="/withdrawn_on")
    if request.withdrawn_on < consent.valid_from_on <= day_of(said_at):
        return refused("CONSENT_ENDS_BEFORE_IT_BEGINS", at="/withdrawn_on")
    if withdrawn_on is not None and request.withdrawn_on > withdrawn_on:
        return refused("WITHDRAWN_OTHERWISE", at="/withdrawn_on")
    return ConsentRevoked(by=request.by, consent_id=request.consent_id, withdrawn_on=request.withdrawn_on)


def close_case(request: CaseClosureRequested, case: Case, arrived: datetime) -> Decision:
    """Only the owner closes a case, with a last day that has come, and says why (domain 3, closure; house 8.6). That it was entered in
    error may be said by who opened it, too: an owner who was mistyped may be nobody."""
    who, in_error = request.by.organisation_id, request.reason == ClosureReason.ENTERED_IN_ERROR
    if case.opened is None or not (who == case.opened.owner_organisation_id or (in_error and case.is_of(who))):
        return refused("NOT_YOURS")
    if request.last_day_on == case.last_day_on:
        return Unchanged() if request.reason == case.closed_because else refused("CLOSED_OTHERWISE", at="/reason")
    if request.last_day_on > day_of(arrived):
        return refused("FUTURE_DAY", at="/last_day_on")
    if case.last_day_on is not None:
        return refused("CLOSED_OTHERWISE", at="/last_day_on")
    return CaseClosed(by=request.by, last_day_on=request.last_day_on, reason=request.reason)


def evolve(case: Case, fact: Fact, cause: str) -> None:
    """Folds a fact; a fact is a fact."""
    match fact:
        case CaseOpened():
            case.opened = Opened.of(fact)
        case NeedRecorded():
            case.needs[fact.need_id] = fact.need_type
            who = fact.by.organisation_id
            case.needs_told_by[who] = case.needs_told_by.get(who, 0) + 1
        case ConsentGranted():
            case.consents[fact.consent_id] = Consent(
                fact.purpose, list(fact.categories), list(fact.recipients), fact.valid_from_on, fact.last_valid_on
            )
        case ConsentRevoked():
            known = case.consents.get(fact.consent_id)
            if known is not None:
                case.consents[fact.consent_id] = known._replace(withdrawn_on=fact.withdrawn_on)
        case CaseClosed():
            case.last_day_on, case.closed_because = fact.last_day_on, fact.reason


def view(case: Case) -> dict[str, list[tuple[Any, ...]]]:
    """What people read of a case."""
    if case.opened is None:
        return {}
    row = (
        case.id, case.tenant, case.opened.municipality, case.opened.programme, case.opened.owner_organisation_id, case.last_day_on,
        case.closed_because or None, len(case.needs), len(case.consents),
        sum(consent.withdrawn_on is not None for consent in case.consents.values()),
    )  # fmt: skip
    return {"case_list": [row]}
