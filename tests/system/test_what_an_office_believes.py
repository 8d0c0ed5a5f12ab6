"""What an office believes once the dust has settled is what holds: whatever was corrected and corrected back, however risks lag
behind ticks, whatever became of the mails. What it believes is read off its mails as a person would; no rule of ours is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import By, Fact
from contracts.notification import NotificationAttempted, NotificationWithdrawn
from services.notification.domain import Office, attempts, due, evolve, failed, react, sent, uncertain
from services.referral.domain import evolve as evolve_case
from services.referral.domain import react as missed
from tests.publishing import Course
from tests.unit.in_services.test_referral_rules import running

TENANT, OWNER = "rkn", "rkn-thm"
START = datetime(2026, 3, 2, 7, tzinfo=UTC)
FORTNIGHT, STEP = timedelta(days=14), timedelta(hours=7)


class Worry(NamedTuple):
    """A risk of a case since a day."""

    case: int
    since: int
    """Days before the start."""

    @property
    def first_on(self) -> date:
        return START.date() - timedelta(days=self.since)


@dataclass
class World:
    """Referral, which says what holds; an office, which hears of it later; and the mails it got."""

    office: Office = field(default_factory=lambda: Office(f"{TENANT}:{OWNER}", TENANT))
    holds: dict[Worry, date] = field(default_factory=dict)
    """With the newest of the days that were said of it."""
    over: dict[Worry, tuple[str, datetime]] = field(default_factory=dict)
    """Why what held once is over, and by which tick that was said last."""
    way: list[Fact] = field(default_factory=list)
    """Said by referral, and not heard by notification yet."""
    ticked: datetime = START
    """The last tick that notification acted on."""
    referral_at: datetime = START
    """The one that referral works at: not later than the clock's, but perhaps behind."""
    has_mailbox: bool = True
    flying: list[NotificationAttempted] = field(default_factory=list)
    arrived: list[tuple[str, Worry, str | None]] = field(default_factory=list)
    """Lines of mails that the office has, or may have, in their order."""
    said_at: dict[Worry, datetime] = field(default_factory=dict)
    """The mail that spoke of it last."""
    told_at: list[datetime] = field(default_factory=list)
    due_at: datetime | None = None
    facts: list[Fact] = field(default_factory=list)
    """All that the office is made of."""

    def says(self, kind: type[Fact], worry: Worry, **more: Any) -> None:
        case = str(UUID(int=worry.case))
        self.way.append(kind(by=By(organisation_id="lotse", kind="rule"), case_id=case, about=case, rule="S2", first_on=worry.first_on,
                             owner_organisation_id=OWNER, as_of=self.referral_at, **more))  # fmt: skip

    def corrected(self, case: int, since: int | None, age: int) -> None:
        """Another first day holds in a case from now on, or none; the newest day of it is so many days ago."""
        evidence = self.referral_at.date() - timedelta(days=age)
        for worry in [worry for worry in self.holds if worry.case == case and worry.since != since]:
            del self.holds[worry]
            self.ended(worry, "CORRECTED")
        worry = Worry(case, since or 0)
        if since is None:
            return
        newest = max(evidence, worry.first_on)
        if worry not in self.holds:
            self.holds[worry] = newest
            self.says(DropoutRiskRaised, worry, rule_version=1, days_on=tuple(sorted({worry.first_on, newest})))
        elif newest != self.holds[worry]:
            self.holds[worry] = newest
            self.says(DropoutRiskContinued, worry, last_missed_on=newest)

    def ended(self, worry: Worry, reason: str) -> None:
        self.over[worry] = reason, self.referral_at
        self.says(DropoutRiskWithdrawn, worry, reason=reason)

    def otherwise(self, case: int, reason: str) -> None:
        """What is over in a case turns out to be so for this reason."""
        for worry, (said, _) in list(self.over.items()):
            if worry.case == case and worry not in self.holds and said != reason:
                self.ended(worry, reason)

    def hears(self, most: int) -> None:
        """What is on its way, in its order; asked after each what is missing."""
        for _ in range(min(most, len(self.way))):
            self.learns(self.way.pop(0))
            self.rests()

    def learns(self, fact: Fact) -> None:
        evolve(self.office, fact, "")
        self.facts.append(fact)

    def rests(self) -> None:
        while missing := react(self.office, self.ticked):
            for fact in missing:
                assert isinstance(fact, NotificationWithdrawn)
                self.learns(fact)
        due_at = due(self.office, self.ticked, self.mailboxes)
        if self.due_at is None or self.due_at > self.ticked:  # else that tick has not come to it yet
            self.due_at = due_at

    @property
    def mailboxes(self) -> dict[str, object]:
        return {OWNER: object()} if self.has_mailbox else {}

    def ticks(self, at: datetime) -> None:
        """The office is asked for a mail where it asked for this tick."""
        self.ticked = at
        if self.due_at is None or self.due_at > at:
            return
        self.due_at = None
        self.rests()
        for fact in attempts(self.office, at, self.mailboxes):
            assert isinstance(fact, NotificationAttempted) and at not in self.told_at and not self.flying
            self.told_at.append(at)
            self.is_true(fact)
            self.learns(fact)
            self.flying.append(fact)
        assert attempts(self.office, at, self.mailboxes) == []  # asked a second time
        self.rests()

    def is_true(self, mail: NotificationAttempted) -> None:
        """Of what notification has heard: nothing that does not hold is said to, nothing that holds is said to be over; and nobody
        is told twice the same, or that is over what they never heard of."""
        heard = {(item.case_id, item.first_on) for item in self.office.dropout.open.values()}
        for kind, worry, reason in said(mail):
            assert ((str(UUID(int=worry.case)), worry.first_on) in heard) == (kind == "RAISED")
            anew = kind == "WITHDRAWN" and worry in self.known_why and self.known_why[worry] != reason
            assert anew or (worry in self.believed) == (kind == "WITHDRAWN")

    def ends(self, how: str) -> None:
        """The mail on its way arrives, perhaps, or does not."""
        result = {"sent": sent, "uncertain": uncertain}.get(how)
        for mail in self.flying:
            if result is not None:
                self.arrived += said(mail)
                self.said_at |= {worry: mail.as_of for _, worry, _ in said(mail)}
            self.learns(result(mail) if result else failed(mail, how))
        self.flying = []
        self.rests()

    def round(self, later: timedelta, how: str) -> None:
        """All is heard; so much later there is a tick, and its mail ends so."""
        self.hears(len(self.way))
        self.ticks(self.ticked + later)
        self.ends(how)
        self.referral_at = self.ticked

    @property
    def believed(self) -> set[Worry]:
        """What a person holds to be so who has read the mails."""
        found: set[Worry] = set()
        for kind, worry, _ in self.arrived:
            found = found | {worry} if kind == "RAISED" else found - {worry}
        return found

    @property
    def known_why(self) -> dict[Worry, str | None]:
        """What that person holds to be over, and why."""
        return {
            worry: reason
            for worry, reason in {worry: reason for _, worry, reason in self.arrived}.items()
            if worry not in self.believed
        }

    @property
    def last_words(self) -> dict[int, bool]:
        """Case to whether the last mail that spoke of it said that something holds."""
        return {worry.case: any(one.case == worry.case for one in self.believed) for _, worry, _ in self.arrived}


def said(mail: NotificationAttempted) -> Iterator[tuple[str, Worry, str | None]]:
    for line in mail.lines:
        yield line.kind, Worry(UUID(line.case_id).int, (START.date() - line.first_on).days), line.reason


CASES = st.integers(1, 2)
RESULTS = ["sent", "uncertain", "UNREACHABLE", "SMTP_550", "TOO_OLD"]
CORRECTED = st.tuples(st.just("corrected"), CASES, st.none() | st.sampled_from([0, 3, 20]), st.sampled_from([0, 5, 30]))
WHY = st.sampled_from(["CORRECTED", "ATTENDED", "ENDED"])
OTHERWISE = st.tuples(st.just("otherwise"), CASES, WHY)
WEEKS = st.tuples(st.just("weeks"), CASES, WHY)
"""What is over is so for another reason while the office has no mailbox, for longer than a fortnight."""
ROUND = st.tuples(st.just("round"), st.sampled_from(["sent", *RESULTS]))
"""All is heard, a tick later it is told, and the mail ends so."""
ALONE = st.one_of(st.tuples(st.just("hears"), st.integers(1, 3)), st.tuples(st.just("tick"), st.sampled_from([STEP, timedelta(days=1)])),
                  st.tuples(st.just("ends"), st.sampled_from(RESULTS)), st.just(("referral catches up",)),
                  st.tuples(st.just("mailbox"), st.booleans()))  # fmt: skip


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(CORRECTED, CORRECTED, CORRECTED, OTHERWISE, WEEKS, ROUND, ROUND, ALONE), min_size=30, max_size=60
    )
)
def test_once_the_dust_has_settled_an_office_believes_what_holds(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for what, *more in steps:
        match what:
            case "weeks":
                world.has_mailbox = False
                world.otherwise(*more)
                world.round(FORTNIGHT + STEP, "sent")
            case "corrected":
                world.corrected(*more)
            case "otherwise":
                world.otherwise(*more)
            case "hears":
                world.hears(*more)
            case "referral catches up":
                world.referral_at = world.ticked
            case "tick":
                world.ticks(world.ticked + more[0])
            case "mailbox":
                world.has_mailbox = more[0]
            case "ends":
                world.ends(*more)
            case "round":
                world.round(STEP, *more)
    world.has_mailbox = True
    world.ends("sent")
    for _ in range(2):  # where a mailbox was named late or refused, on the day after
        world.round(timedelta(days=1), "sent")
    for later in ("dropout", "notification"):  # a rebuild hears each family in its own order alone
        anew = Office(world.office.id, TENANT)
        for fact in sorted(world.facts, key=lambda fact: fact.family == later):
            evolve(anew, fact, "")
        assert anew == world.office
    today, holding = world.ticked.date(), {worry.case for worry in world.holds}
    assert world.believed <= set(world.holds)
    assert {worry for worry, newest in world.holds.items() if newest >= today - FORTNIGHT} <= world.believed
    assert all(holds == (case in holding) for case, holds in world.last_words.items())
    for worry, why in world.known_why.items():  # for eight weeks after a mail it is known what it said, mailbox or not
        late = worry in world.over and world.over[worry][1] > world.said_at[worry] + timedelta(weeks=8)
        assert worry in world.holds or late or world.over[worry][0] == why


@given(late=st.integers(0, 120), lasts=st.integers(1, 150), named=st.integers(0, 60))
def test_who_did_not_come_is_told_of_however_late_that_is_heard_while_the_run_lasts(
    late: int, lasts: int, named: int
) -> None:
    """A provider with monthly lists, and a mailbox that is named days later: a mail says so within two days of both, where the run
    goes on or was over for less than a fortnight; what is history mails nobody. Counted by hand, in days since the planned start."""
    course = Course(START.date())
    case, office = running(course, started=False), Office(f"{TENANT}:{OWNER}", TENANT)
    known = case.referral.referrals[course.referral]
    run_ends = START.date() + timedelta(days=lasts)
    case.referral.referrals[course.referral] = known._replace(run_ends_before_on=run_ends)
    mails = []
    for day in range(late, late + named + 20):
        at, mailboxes = START + timedelta(days=day), {OWNER: object()} if day >= late + named else {}
        for mail in attempts(office, at, mailboxes):
            assert isinstance(mail, NotificationAttempted)
            mails.append(day)
            for fact in (mail, sent(mail)):
                evolve(office, fact, "")
        for fact in missed(case, at):
            evolve_case(case, fact, "")
            evolve(office, fact, "")
    could = max(late, 7) + 1, late + named  # it is told at the tick after; the last day on which anybody is missed
    first = max(could)
    news = first - (lasts - 1) <= 14 or first <= 14
    assert mails == ([first] if news else [])
