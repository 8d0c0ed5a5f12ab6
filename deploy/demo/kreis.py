"""What happens in a Kreis of nobody's: seeded, pure, day by day. Same seed, same submissions.

Distributions from the domain reference, 13.6 (estimates): sex, age, status, absence 8 % excused and 6 % unexcused and strongly
clustered, early exit 38 % mostly in the first five weeks, 35 % of these return; a quarter agrees to no evaluation, 3 % a year
take a consent back. Half of the providers tell each day, 35 % of them late; the others hand in a month when it is over. 3 % are
corrected, 1 % come twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from contracts.attendance import AttendanceReported
from contracts.codes import (
    BirthYearBand,
    Block,
    ClosureReason,
    ConsentPurpose,
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

FIRST_DAY = date(2025, 1, 13)
"""A Monday, far enough back that a year of play lies in the past: nobody may report the future. Twelve weeks from it end with the
first days of a month, so that its last month is handed in, too."""
MOST_WEEKS = 52
NEVER = 10**6  # a day behind every play
T = TypeVar("T")

MUNICIPALITIES = {  # AGS to thousands of inhabitants: where people live
    "05162004": 64, "05162008": 64, "05162012": 23, "05162016": 43,
    "05162020": 33, "05162022": 56, "05162024": 153, "05162028": 13,
}  # fmt: skip
NAMES = {
    "05162004": "Dormagen", "05162008": "Grevenbroich", "05162012": "Jüchen", "05162016": "Kaarst",
    "05162020": "Korschenbroich", "05162022": "Meerbusch", "05162024": "Neuss", "05162028": "Rommerskirchen",
}  # fmt: skip
LANGUAGES = {  # to weights: of AF, SY, IQ, IR, GN, NG, ER, SO, TR, the Balkans, the Caucasus; their order is 13.6's, not a share
    "prs": 18, "ara": 22, "kur": 12, "fas": 10, "fra": 9, "eng": 8, "tir": 7, "som": 6, "tur": 4, "sqi": 2, "rus": 2,
}  # fmt: skip
AGES = {age: 6 if 20 <= age <= 24 else 5 for age in range(18, 28)}  # to weights
BANDS = {1995: BirthYearBand.BORN_1995_TO_1999, 2000: BirthYearBand.BORN_2000_TO_2004,
         2005: BirthYearBand.BORN_2005_TO_2009}  # fmt: skip
EXIT_WEEKS = {1: 20, 2: 20, 3: 18, 4: 14, 5: 10, 6: 7, 7: 6, 8: 5}  # to weights
OWNERS = ("rkn-thm", "rkn-thm", "jmd-neuss")
OFFERS = (
    ("vhs-neuss", Block.F4, OfferType.LANGUAGE_COURSE),
    ("bk-dormagen", Block.F3, OfferType.SCHOOL_CERTIFICATE),
    ("handwerk-rkn", Block.F2, OfferType.QUALIFICATION),
    ("caritas-rkn", Block.F1, OfferType.COACHING),
)
COURSE_DAYS = (0, 2, 4)  # Monday, Wednesday, Friday
RUN_WEEKS = 10
EVALUATES = "rkn-ki"
STARTS, ENDS, AFTERNOON, DAYS = 10, 11, (13, 14, 15), 18
"""Hours (UTC) at which providers tell who comes, who left, a month at once, and a day: what rests on another comes after it."""


@dataclass(frozen=True)
class Event:
    """One submission on a day, and its answer: recorded, unless `refused` says why not. It is left out where something it rests on
    was refused; `twice`: delivered again."""

    submission: Submission
    subject: str
    id: str
    time: datetime
    rests_on: tuple[str, ...] = ()
    twice: bool = False
    refused: str | None = None


class Moment(NamedTuple):
    """A day of the play and the hour of it; a minute where several things are said in one go."""

    day: int
    hour: int
    minute: int | None = None


class Run(NamedTuple):
    """A run of a provider, the event that published it, and its days."""

    id: str
    published: str
    provider: By
    start: int
    over: int


class Place(NamedTuple):
    """Somebody's place in a run. All that is said of it rests on the yes."""

    case: str
    owner: By
    referral: str
    accepted: str
    run: Run
    consent_until: int
    """The day from which the consent is withdrawn."""
    misses: float
    """How often she stays away, and how often for a reason: hers, whatever the course."""
    excused: float


class Course(NamedTuple):
    """Somebody in a run: from a day that was told on a day, until a day."""

    id: str
    place: Place
    start: int
    tells: int
    started: str
    end: int
    leaves: bool
    mixed_up: tuple[int, int] | None
    """From when to when the provider took her for somebody who had left; it tells no day from then on before it knows better."""


@dataclass
class Kreis:
    """An alliance in play. `days[n]` is what is sent on day n, family by family, in order."""

    persons: int
    weeks: int
    seed: int
    days: list[dict[str, list[Event]]] = field(init=False)
    by_month: frozenset[str] = field(init=False)
    """The providers that hand in a month's attendance when it is over: half of them. The others tell it day by day."""

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)
        self.days = [{"intake": [], "referral": [], "attendance": []} for _ in range(self.weeks * 7)]
        providers = [provider for provider, *_ in OFFERS]
        self.by_month = frozenset(self._chance.sample(providers, len(providers) // 2))
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

    def _at(self, day: int, hour: int) -> datetime:
        return datetime.combine(self._on(day), time(hour), UTC)

    def _weekday(self, day: int) -> int:
        """The day, or the Monday after where it falls on a weekend: offices are closed."""
        return day if day % 7 < 5 else day - day % 7 + 7

    def _add(
        self, day: int, submission: Submission, subject: str, *rests_on: str, hour: int = 9, minute: int | None = None,
        **more: Any,
    ) -> str:  # fmt: skip
        """Enters what is said on a day of the play; what falls behind its end is never said. Gives back the id."""
        id = self._id()
        if day < len(self.days):
            moment = self._at(day, hour) + timedelta(minutes=self._chance.randrange(60) if minute is None else minute)
            self.days[day][submission.family].append(Event(submission, subject, id, moment, rests_on, **more))
        return id

    # --- what happens

    def _publish_runs(self) -> list[Run]:
        """Each provider starts a run every second week; those that start soonest first."""
        found = []
        for provider, block, offer in OFFERS:
            by = By(organisation_id=provider)
            for start in range(7, max(8, self.weeks * 7), 14):
                id, over = self._id(), start + RUN_WEEKS * 7
                submission = OfferRunSubmitted(
                    by=by, provider_organisation_id=provider, block=block, offer_type=offer, starts_on=self._on(start),
                    ends_before_on=self._on(over), course_days=RUN_WEEKS * len(COURSE_DAYS),
                )  # fmt: skip
                found.append(Run(id, self._add(0, submission, id, hour=8), by, start, over))
        return sorted(found, key=lambda run: run.start)

    def _person(self) -> None:
        chance, case = self._chance, self._id()
        owner = By(organisation_id=chance.choice(OWNERS))
        day = self._weekday(chance.randrange(max(1, self.weeks * 7 * 2 // 3)))
        born = FIRST_DAY.year - _one_of(chance, AGES)
        registration = self._add(day, RegistrationSubmitted(
            by=owner, municipality=_one_of(chance, MUNICIPALITIES), programme="GK",
            sex=_one_of(chance, {Sex.MALE: 72, Sex.FEMALE: 28}), birth_year_band=BANDS[born - born % 5],
            language=_one_of(chance, LANGUAGES), owner_organisation_id=owner.organisation_id,
            status_group=_one_of(chance, {StatusGroup.DULDUNG: 57, StatusGroup.GESTATTUNG: 43})), case)  # fmt: skip
        need = NeedReported(by=owner, need_id=self._id(), need_type=chance.choice(list(NeedType)))
        self._add(day, need, case, registration, hour=10)
        agrees = chance.random()
        if agrees < 0.1:  # to nothing: counselled, and referred nowhere
            return
        if agrees >= 0.25:
            self._agrees(case, owner, day, registration, ConsentPurpose.EVALUATION, EVALUATES)
        later = self._weekday(day + chance.randint(1, 5))
        runs = [run for run in self._runs if run.start > later]
        if runs:
            run = chance.choice(runs[: 1 + len(runs) // 3] if chance.random() < 0.7 else runs)
            self._referred(case, owner, (day, registration), later, run)

    def _agrees(
        self, case: str, owner: By, day: int, registration: str, purpose: ConsentPurpose, recipient: str
    ) -> tuple[str, str, int]:
        """The consent, the event that gave it, and the day from which it is withdrawn: within the year for which it is given, by 3
        of 100."""
        chance, consent = self._chance, self._id()
        given = ConsentGiven(
            by=owner, consent_id=consent, purpose=purpose, categories=(DataCategory.LANGUAGE, DataCategory.EDUCATION),
            recipients=(recipient,), valid_from_on=self._on(day), last_valid_on=self._on(day + 365),
        )  # fmt: skip
        event, until = self._add(day, given, case, registration, hour=11), NEVER
        if chance.random() < 0.03:
            until = self._weekday(day + chance.randint(1, 365))
            withdrawn = ConsentWithdrawn(by=owner, consent_id=consent, withdrawn_on=self._on(until))
            self._add(until, withdrawn, case, event)
        return consent, event, until

    def _referred(self, case: str, owner: By, opened: tuple[int, str], day: int, run: Run) -> None:
        chance, provider = self._chance, run.provider
        covers = chance.random() > 0.04  # a few agree to somebody else: the request is refused
        recipient = provider.organisation_id if covers else "jmd-neuss"
        consent, given, until = self._agrees(case, owner, *opened, ConsentPurpose.REFERRAL, recipient)
        if until <= day:
            return
        referral = self._id()
        request = self._add(day, ReferralRequested(
            by=owner, referral_id=referral, run_id=run.id, consent_id=consent, categories=(DataCategory.LANGUAGE,),
            requested_on=self._on(day)), case, given, run.published, refused=None if covers else "NO_CONSENT")  # fmt: skip
        answered = min(self._weekday(day + chance.randint(1, 4)), max(day, run.start - 1))
        if answered <= day or until <= answered:
            return  # the run begins before anybody answered: it stays open, and the board shows it; or nobody is to answer any more
        if chance.random() < 0.12:
            no = _one_of(chance, {DeclineReason.FULL: 5, DeclineReason.LANGUAGE_LEVEL: 3, DeclineReason.NOT_REACHED: 2})
            self._add(answered, ReferralAnswered(by=provider, referral_id=referral, answer=ReferralAnswer.DECLINED, reason=no,
                                                 answered_on=self._on(answered)), case, request)  # fmt: skip
            return
        yes = self._add(answered, ReferralAnswered(by=provider, referral_id=referral, answer=ReferralAnswer.ACCEPTED,
                                                   answered_on=self._on(answered)), case, request)  # fmt: skip
        if chance.random() < 0.06:  # never comes: after a week nobody can say they did not know (S6)
            return
        # strongly clustered: most are always there, a few miss much
        misses, excused = chance.betavariate(0.15, 4.0), chance.betavariate(0.5, 5.75)
        self._takes_part(Place(case, owner, referral, yes, run, until, misses, excused), run.start)

    def _takes_part(self, place: Place, start: int, returned: bool = False) -> None:
        chance, id, over = self._chance, self._id(), place.run.over
        if place.consent_until <= start:
            return
        late = 0 if chance.random() < 0.9 else 9  # a start told late raises S6 and takes it back
        tells = min(self._weekday(start + late), over - 3)
        report = ParticipationStartReported(
            by=place.run.provider, participation_id=id, referral_id=place.referral, started_on=self._on(start), revision=1,
            reported_at=self._at(tells, STARTS),
        )  # fmt: skip
        started = self._add(tells, report, place.case, place.accepted, hour=STARTS)
        end, leaves = over, False
        if chance.random() < 0.38:  # after one, two or three course days of a week
            end = min(over, start + 7 * (_one_of(chance, EXIT_WEEKS) - 1) + chance.choice((2, 4, 7)))
            leaves = end < over
        why = chance.choice(
            [EndReason.WORK, EndReason.CHILDCARE, EndReason.MOVED, EndReason.PERSON_WITHDREW, EndReason.UNKNOWN]
        )
        if place.consent_until < end:
            end, leaves, why = place.consent_until, True, EndReason.PERSON_WITHDREW
        mixed_up = None
        if not leaves and over - start > 28 and chance.random() < 0.05:
            left = self._weekday(chance.randint(start + 14, over - 14))
            mixed_up = left, self._weekday(left + 3)
        course = Course(id, place, start, tells, started, end, leaves, mixed_up)
        self._attends(course)
        self._ends(course, why, returned)

    def _ends(self, course: Course, why: EndReason, returned: bool) -> None:
        chance, place, end = self._chance, course.place, course.end
        if course.mixed_up:
            left, back = course.mixed_up
            wrong = self._end(course, left, left, EndKind.DROPPED_OUT, EndReason.UNKNOWN, 1, course.started)
            self._end(course, back, left, EndKind.ENTERED_IN_ERROR, EndReason.UNKNOWN, 2, wrong)
        told = self._weekday(max(course.tells, end + (chance.randint(1, 6) if course.leaves else 0)))
        if not course.leaves:
            revision = 3 if course.mixed_up else 1
            self._end(course, told, end, EndKind.COMPLETED, EndReason.REGULAR, revision, course.started)
            return
        ended = self._end(course, told, end, EndKind.DROPPED_OUT, why, 1, course.started)
        last = place.run.over - 5
        if not returned and chance.random() < 0.35 and told < last:
            self._takes_part(place, self._weekday(chance.randint(told + 1, min(told + 21, last))), returned=True)
        elif why is EndReason.MOVED:
            closure = CaseClosureRequested(by=place.owner, last_day_on=self._on(told + 7), reason=ClosureReason.MOVED)
            self._add(told + 7, closure, place.case, ended)

    def _end(
        self, course: Course, day: int, before: int, kind: EndKind, why: EndReason, revision: int, rests_on: str
    ) -> str:
        by = course.place.run.provider
        report = ParticipationEndReported(
            by=by, participation_id=course.id, ended_before_on=self._on(before), kind=kind, reason=why, revision=revision,
            reported_at=self._at(day, ENDS),
        )  # fmt: skip
        return self._add(day, report, course.place.case, rests_on, hour=ENDS)

    def _attends(self, course: Course) -> None:
        """Who leaves had begun to stay away. No day is told before the start is, and none of somebody who is taken for gone."""
        chance, place = self._chance, course.place
        for day in range(course.start, min(course.end, len(self.days))):
            if day % 7 not in COURSE_DAYS:
                continue
            fading = 0.55 if course.leaves and course.end - day <= 7 else 0.0
            misses, drawn = max(place.misses, fading), chance.random()
            if drawn < misses:
                presence = Presence.UNEXCUSED
            elif drawn < misses + place.excused:
                presence = Presence.EXCUSED
            else:
                presence = _one_of(chance, {Presence.PRESENT: 93, Presence.LATE: 7})
            late = 0 if chance.random() < 0.66 else chance.randint(2, 6)  # with the starts that are told late: 35 %
            told = self._told(course, day, late, course.tells)
            if course.mixed_up and day >= course.mixed_up[0] <= told.day < course.mixed_up[1]:
                told = self._told(course, day, late, course.mixed_up[1])
            self._report(course, self._id(), day, told, presence, 1)

    def _told(self, course: Course, day: int, late: int, known: int) -> Moment:
        """When a day is told by a provider that takes her for somebody in its course from `known` on."""
        run = course.place.run
        if run.provider.organisation_id in self.by_month:
            return self._handed_in(run, day, known)
        return Moment(self._weekday(max(known, day + late)), DAYS)

    def _handed_in(self, run: Run, day: int, known: int) -> Moment:
        """The afternoon on which a run's month with this day is handed in, drawn by run and month: that of the last weekday, when no
        course day is left, or of the first of the next month. Who was not on the list yet is on the next month's."""
        while True:
            month = self._on(day).replace(day=1)
            after = ((month + timedelta(days=31)).replace(day=1) - FIRST_DAY).days
            of_month = Random(f"{self.seed} {run.id} {month:%Y-%m}")
            last = after - 1 - max(0, (after - 1) % 7 - 4)
            told = of_month.choice((last, self._weekday(after)))
            if told >= known:
                return Moment(told, of_month.choice(AFTERNOON), of_month.randrange(60))
            day = after

    def _report(
        self, course: Course, meeting: str, day: int, told: Moment, presence: Presence, revision: int
    ) -> None:  # fmt: skip
        chance, place = self._chance, course.place
        report = AttendanceReported(
            by=place.run.provider, participation_id=course.id, meeting_id=meeting, meeting_on=self._on(day), units_planned=5,
            units_attended=5 if presence is Presence.PRESENT else 4 if presence is Presence.LATE else 0, presence=presence,
            excuse_reason="PERSONAL" if presence is Presence.EXCUSED else None, revision=revision,
            reported_at=self._at(told.day, told.hour),
        )  # fmt: skip
        twice = chance.random() < 0.01
        self._add(told.day, report, place.case, course.started, hour=told.hour, minute=told.minute, twice=twice)
        if revision == 1 and chance.random() < (0.12 if presence is Presence.UNEXCUSED else 0.024):
            corrected = Presence.EXCUSED if presence is Presence.UNEXCUSED else Presence.UNEXCUSED
            self._report(course, meeting, day, Moment(self._weekday(told.day + 3), DAYS), corrected, 2)


def _one_of(chance: Random, weights: Mapping[T, int]) -> T:
    """One of the keys, by weight."""
    return chance.choices(list(weights), list(weights.values()))[0]


def moments(weeks: int) -> Sequence[datetime]:
    """The tick after each day: 23:00 UTC of it."""
    return [datetime.combine(FIRST_DAY + timedelta(days=n), time(23), UTC) for n in range(weeks * 7)]
