"""What happens in a Kreis of nobody's: seeded, pure, day by day. Same seed, same submissions.

Distributions from the domain reference, 13.6 (estimates): sex, status, absence 8 % excused and 6 % unexcused and strongly
clustered, reports late 35 %, corrected 3 %, twice 1 %, early exit 38 % mostly in the first five weeks, 35 % of these return.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from uuid import UUID

from contracts.attendance import AttendanceReported
from contracts.codes import (
    BirthYearBand,
    Block,
    ClosureReason,
    DataCategory,
    DeclineReason,
    EndKind,
    EndReason,
    NeedType,
    OfferType,
    Presence,
    ReferralAnswer,
    Sex,
    StatusGroup,
)
from contracts.envelope import By, Submission
from contracts.intake import CaseClosureRequested, ConsentGiven, ConsentWithdrawn, NeedReported, RegistrationSubmitted
from contracts.referral import (
    OfferRunSubmitted,
    ParticipationEndReported,
    ParticipationStartReported,
    ReferralAnswered,
    ReferralRequested,
)

FIRST_DAY = date(2025, 1, 6)
"""A Monday, far enough back that a year of play lies in the past: nobody may report the future."""
MOST_WEEKS = 52

MUNICIPALITIES = {  # AGS to thousands of inhabitants: where people live
    "05162004": 64, "05162008": 64, "05162012": 23, "05162016": 43,
    "05162020": 33, "05162022": 56, "05162024": 153, "05162028": 13,
}  # fmt: skip
NAMES = {
    "05162004": "Dormagen", "05162008": "Grevenbroich", "05162012": "Jüchen", "05162016": "Kaarst",
    "05162020": "Korschenbroich", "05162022": "Meerbusch", "05162024": "Neuss", "05162028": "Rommerskirchen",
}  # fmt: skip
OWNERS = ("rkn-thm", "rkn-thm", "jmd-neuss")
OFFERS = (
    ("vhs-neuss", Block.F4, OfferType.LANGUAGE_COURSE),
    ("bk-dormagen", Block.F3, OfferType.SCHOOL_CERTIFICATE),
    ("handwerk-rkn", Block.F2, OfferType.QUALIFICATION),
    ("caritas-rkn", Block.F1, OfferType.COACHING),
)
COURSE_DAYS = (0, 2, 4)  # Monday, Wednesday, Friday
RUN_WEEKS = 10


@dataclass(frozen=True)
class Event:
    """One submission on a day. It is left out where something it rests on was refused; `twice`: delivered again."""

    submission: Submission
    subject: str
    id: str
    time: datetime
    rests_on: tuple[str, ...] = ()
    twice: bool = False


@dataclass
class Kreis:
    """An alliance in play. `days[n]` is what is sent on day n, family by family, in order."""

    persons: int
    weeks: int
    seed: int
    days: list[dict[str, list[Event]]] = field(init=False)

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)
        self.days = [{"intake": [], "referral": [], "attendance": []} for _ in range(self.weeks * 7)]
        self._runs = self._publish_runs()
        for _ in range(self.persons):
            self._person()
        for day in self.days:
            for events in day.values():
                events.sort(key=lambda event: event.time)

    # --- a day and a moment

    def _id(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128)))

    def _on(self, day: int) -> date:
        return FIRST_DAY + timedelta(days=day)

    def _weekday(self, day: int) -> int:
        """The day, or the Monday after where it falls on a weekend: offices are closed."""
        return day if day % 7 < 5 else day - day % 7 + 7

    def _add(self, day: int, submission: Submission, subject: str, *rests_on: str, hour: int = 9, **more: Any) -> str:
        """Enters what is said on a day of the play; what falls behind its end is never said. Gives back the id."""
        id = self._id()
        if day < len(self.days):
            moment = datetime.combine(self._on(day), time(hour, self._chance.randrange(60)), UTC)
            self.days[day][submission.family].append(Event(submission, subject, id, moment, rests_on, **more))
        return id

    # --- what happens

    def _publish_runs(self) -> list[tuple[str, str, str, int]]:
        """(run, event, provider, first day): each provider starts a run every second week."""
        found = []
        for provider, block, offer in OFFERS:
            for start in range(7, max(8, self.weeks * 7), 14):
                run = self._id()
                submission = OfferRunSubmitted(
                    by=By(organisation_id=provider), provider_organisation_id=provider, block=block, offer_type=offer,
                    starts_on=self._on(start), ends_before_on=self._on(start + RUN_WEEKS * 7),
                    course_days=RUN_WEEKS * len(COURSE_DAYS),
                )  # fmt: skip
                found.append((run, self._add(0, submission, run, hour=8), provider, start))
        return found

    def _person(self) -> None:
        chance, case = self._chance, self._id()
        owner = By(organisation_id=chance.choice(OWNERS))
        day = self._weekday(chance.randrange(max(1, self.weeks * 7 * 2 // 3)))
        registration = self._add(day, RegistrationSubmitted(
            by=owner, municipality=chance.choices(list(MUNICIPALITIES), list(MUNICIPALITIES.values()))[0], programme="GK",
            sex=chance.choices([Sex.MALE, Sex.FEMALE], [72, 28])[0],
            birth_year_band=chance.choices([BirthYearBand.BORN_1995_TO_1999, BirthYearBand.BORN_2000_TO_2004,
                                            BirthYearBand.BORN_2005_TO_2009],
                                           [25, 55, 20])[0],
            language=chance.choice(["prs", "ara", "kur", "fas", "fra", "tir", "som"]),
            status_group=chance.choices([StatusGroup.DULDUNG, StatusGroup.GESTATTUNG], [57, 43])[0],
            owner_organisation_id=owner.organisation_id), case)  # fmt: skip
        need = NeedReported(by=owner, need_id=self._id(), need_type=chance.choice(list(NeedType)))
        self._add(day, need, case, registration, hour=10)
        if chance.random() < 0.1:  # agrees to nothing: counselled, and referred nowhere
            return
        later = self._weekday(day + chance.randint(1, 5))
        runs = [run for run in self._runs if run[3] > later]
        if not runs:
            return
        run, published, provider, start = chance.choice(runs[: 1 + len(runs) // 3] if chance.random() < 0.7 else runs)
        self._referred(case, owner, (day, registration), later, run, published, By(organisation_id=provider), start)

    def _referred(
        self,
        case: str,
        owner: By,
        opened: tuple[int, str],
        day: int,
        run: str,
        published: str,
        provider: By,
        start: int,
    ) -> None:
        chance, (registered, registration) = self._chance, opened
        covers = chance.random() > 0.04  # a few agree to somebody else: the request is refused, nothing rests on it
        given = ConsentGiven(
            by=owner, consent_id=self._id(), purpose="REFERRAL", categories=(DataCategory.LANGUAGE, DataCategory.EDUCATION),
            recipients=(provider.organisation_id,) if covers else ("jmd-neuss",), valid_from_on=self._on(registered),
            last_valid_on=self._on(registered + 365),
        )  # fmt: skip
        consent = self._add(registered, given, case, registration, hour=11)
        referral = self._id()
        request = self._add(day, ReferralRequested(
            by=owner, referral_id=referral, run_id=run, consent_id=given.consent_id, categories=(DataCategory.LANGUAGE,),
            requested_on=self._on(day)), case, consent, published)  # fmt: skip
        answered = min(self._weekday(day + chance.randint(1, 4)), max(day, start - 1))
        if answered <= day:
            return  # the run begins before anybody answered: it stays open, and the board shows it
        if chance.random() < 0.12:
            no = chance.choices(
                [DeclineReason.FULL, DeclineReason.LANGUAGE_LEVEL, DeclineReason.NOT_REACHED], [5, 3, 2]
            )[0]
            self._add(answered, ReferralAnswered(by=provider, referral_id=referral, answer=ReferralAnswer.DECLINED, reason=no,
                                                 answered_on=self._on(answered)), case, request)  # fmt: skip
            return
        yes = self._add(answered, ReferralAnswered(by=provider, referral_id=referral, answer=ReferralAnswer.ACCEPTED,
                                                   answered_on=self._on(answered)), case, request)  # fmt: skip
        if chance.random() < 0.03 and answered + 1 < start:  # takes the consent back before it begins
            self._add(answered + 1, ConsentWithdrawn(by=owner, consent_id=given.consent_id,
                                                     withdrawn_on=self._on(answered + 1)), case, consent)  # fmt: skip
            return
        if chance.random() < 0.06:  # never comes: after a week nobody can say they did not know (S6)
            return
        self._takes_part(case, owner, referral, yes, provider, start, start + RUN_WEEKS * 7, returns=True)

    def _takes_part(
        self, case: str, owner: By, referral: str, accepted: str, provider: By, start: int, over: int, returns: bool
    ) -> None:
        chance, participation = self._chance, self._id()
        tells = min(
            start + (0 if chance.random() < 0.9 else 9), over - 1
        )  # a start told late raises S6 and takes it back
        first = ParticipationStartReported(
            by=provider, participation_id=participation, referral_id=referral, started_on=self._on(start), revision=1,
            reported_at=self._said(tells),
        )  # fmt: skip
        started = self._add(tells, first, case, accepted, hour=16)
        leaves = chance.random() < 0.38
        weeks = chance.choices([1, 2, 3, 4, 5, 7, 9], [20, 20, 16, 12, 10, 12, 10])[0]
        end = min(over, start + weeks * 7 + chance.choice(COURSE_DAYS)) if leaves else over
        self._attends(case, participation, (tells, started), provider, start, end, leaves)
        told = self._weekday(max(tells, end + (chance.randint(1, 6) if leaves else 0)))
        why = chance.choice(
            [EndReason.WORK, EndReason.CHILDCARE, EndReason.MOVED, EndReason.PERSON_WITHDREW, EndReason.UNKNOWN]
        )
        kind = EndKind.DROPPED_OUT if leaves else EndKind.COMPLETED
        ended = self._ends(
            told, case, participation, provider, started, end, kind, why if leaves else EndReason.REGULAR
        )
        if leaves and chance.random() < 0.08:  # mixed up with somebody: the end is taken back
            self._ends(told + 3, case, participation, provider, ended, end, EndKind.ENTERED_IN_ERROR, revision=2)
        elif leaves and returns and chance.random() < 0.35:
            back = self._weekday(told + chance.randint(7, 21))
            if back < over - 7:
                self._takes_part(case, owner, referral, accepted, provider, back, over, returns=False)
        elif leaves and why is EndReason.MOVED:
            reason = ClosureReason.MOVED
            self._add(
                told + 7, CaseClosureRequested(by=owner, last_day_on=self._on(told + 7), reason=reason), case, ended
            )

    def _ends(
        self, day: int, case: str, participation: str, provider: By, rests_on: str, before: int, kind: EndKind,
        why: EndReason = EndReason.UNKNOWN, revision: int = 1,
    ) -> str:  # fmt: skip
        report = ParticipationEndReported(
            by=provider, participation_id=participation, ended_before_on=self._on(before), kind=kind, reason=why,
            revision=revision, reported_at=self._said(day),
        )  # fmt: skip
        return self._add(day, report, case, rests_on, hour=17)  # who comes and leaves on a day has come first

    def _said(self, day: int) -> datetime:
        """When a provider reports who comes and goes: from four on."""
        return datetime.combine(self._on(day), time(16), UTC)

    def _attends(
        self, case: str, participation: str, begun: tuple[int, str], provider: By, start: int, end: int, leaves: bool
    ) -> None:
        """Absence is strongly clustered: a few miss much. Who leaves had begun to stay away. No day is told before the start is."""
        chance, (tells, started) = self._chance, begun
        misses = chance.betavariate(0.35, 5.0)
        for day in range(start, min(end, len(self.days))):
            if day % 7 not in COURSE_DAYS:
                continue
            fading = 0.55 if leaves and end - day <= 7 else 0.0
            if chance.random() < max(misses, fading):
                presence = Presence.UNEXCUSED
            else:
                presence = chance.choices([Presence.PRESENT, Presence.LATE, Presence.EXCUSED], [86, 6, 8])[0]
            late = 0 if chance.random() < 0.65 else chance.randint(2, 6)
            told = self._weekday(max(tells, day + late))
            self._report(case, participation, started, provider, self._id(), day, told, presence, 1)

    def _report(
        self, case: str, participation: str, started: str, provider: By, meeting: str, day: int, told: int,
        presence: Presence, revision: int,
    ) -> None:  # fmt: skip
        chance = self._chance
        report = AttendanceReported(
            by=provider, participation_id=participation, meeting_id=meeting, meeting_on=self._on(day), units_planned=5,
            units_attended=5 if presence is Presence.PRESENT else 4 if presence is Presence.LATE else 0, presence=presence,
            excuse_reason="PERSONAL" if presence is Presence.EXCUSED else None, revision=revision,
            reported_at=datetime.combine(self._on(told), time(18), UTC),
        )  # fmt: skip
        self._add(told, report, case, started, hour=18, twice=chance.random() < 0.01)
        if revision == 1 and chance.random() < (0.12 if presence is Presence.UNEXCUSED else 0.02):
            corrected = Presence.EXCUSED if presence is Presence.UNEXCUSED else Presence.UNEXCUSED
            self._report(case, participation, started, provider, meeting, day, self._weekday(told + 3), corrected, 2)


def moments(weeks: int) -> Sequence[datetime]:
    """The tick after each day: 23:00 UTC of it."""
    return [datetime.combine(FIRST_DAY + timedelta(days=n), time(23), UTC) for n in range(weeks * 7)]
