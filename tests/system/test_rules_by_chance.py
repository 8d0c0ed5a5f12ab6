"""Intake, referral and what reporting counts beside a recomputation: whatever is said, in whatever order, late, twice and corrected, and
whenever it ticks, they answer, say and show the same. LOTSE_SEED begins elsewhere; a sequence that differs is printed with its own."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest

import contracts.attendance
import contracts.dropout
import contracts.intake
import contracts.referral
from contracts.attendance import AttendanceReported
from contracts.envelope import By, Decision, Fact, Refused, Submission
from contracts.intake import (
    CaseClosed,
    CaseClosureRequested,
    CaseOpened,
    ConsentGiven,
    ConsentGranted,
    ConsentRevoked,
    ConsentWithdrawn,
    NeedReported,
    RegistrationSubmitted,
)
from contracts.referral import (
    OfferRunSubmitted,
    ParticipationEndReported,
    ParticipationStartReported,
    ReferralAnswered,
    ReferralRequested,
    ReferralWithdrawn,
)
from services.intake import domain as intake
from services.referral import domain as referral
from services.referral.domain import risks
from services.reporting import domain as reporting
from services.runtime.database import encode
from tests import rules_recomputed as recomputed
from tests.rules_recomputed import Expected, Given, IntakeRecomputed, ReferralRecomputed, day_of

SEED, SEQUENCES, STEPS = int(os.environ.get("LOTSE_SEED", "2606")), 200, 150
"""Some twenty seconds of one core."""
OWNER, OPENER, STRANGER, PROVIDERS = "rkn-thm", "jmd-neuss", "caritas-rkn", ("awo-neuss", "vhs-neuss")
CATEGORIES = ("EDUCATION", "LANGUAGE")
FIRSTS = (*[date(2026, 3, 2)] * 4, date(2026, 10, 12), date(2027, 12, 13), date(2028, 2, 14), date(2100, 2, 15))
"""Around one of them all happens: the night in which summer begins is among the days, that in which it ends, a year's end, a 29th of
February, and one that is not there though four divides its year."""
VERSIONS: tuple[tuple[tuple[int, int | None, dict[str, int], int], ...], ...] = (
    ((1, None, {}, 2),),
    ((1, None, {"LANGUAGE_COURSE": 3}, 2), (2, 12, {"LANGUAGE_COURSE": 2}, 4)),
    ((1, None, {}, 2), (3, 8, {}, 4), (4, 20, {"COACHING": 3}, 2)),
)
"""Of S2: version, first day, counted from where it all happens, days in a row by type of offer, and otherwise."""
OFTEN = {"time": 3, "ticks": 4, "learns": 7, "again": 4, "register": 1, "need": 1, "give": 2, "publish": 1, "refer": 3, "accept": 5,
         "start": 6, "end": 3, "attend": 24}  # fmt: skip
SELDOM = ("revoke", "close", "withdraw", "decline")
"""What ends things is given its weight in each sequence: in some there is none of it."""


class Statement(NamedTuple):
    """What somebody says, what decides it, what is expected, and where it goes if it is recorded."""

    submission: Submission
    decided: Callable[[], Decision]
    expected: Callable[[], Expected]
    folded: Callable[[Fact], None]


@dataclass
class Case:
    """A case as services know it, and as witnesses do."""

    intake: intake.Case
    referral: referral.Case
    registered: IntakeRecomputed
    referred: ReferralRecomputed
    consents: Sequence[str]
    referrals: Sequence[str]
    participations: Sequence[str]
    meetings: Sequence[str]
    way: list[Fact] = field(default_factory=list)
    """Said by intake, and not heard by referral yet."""
    said: list[Statement] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    """Folded by referral."""


def plain(value: Any) -> Any:
    """Days as ordinals."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value.toordinal() if isinstance(value, date) and not isinstance(value, datetime) else value


def members(said: Fact | Submission, *, exclude_none: bool = False) -> dict[str, Any]:
    return {name: plain(value) for name, value in said.model_dump(exclude_none=exclude_none).items() if name != "by"}


def same(what: str, found: Iterable[Any], expected: Iterable[Any]) -> None:
    """Whether both hold the same, each as often, in whatever order."""
    one, other = Counter(found), Counter(expected)
    assert one == other, f"{what}: {[*(one - other)]}, not {[*(other - one)]}"


class World:
    """Two cases, three runs, and what becomes of them by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = Random(seed)
        self.log = [f"LOTSE_SEED={seed}"]
        self.seen = set[str]()
        """What was answered, and which facts were recorded."""
        self.first = chance.choice(FIRSTS).toordinal()
        self.versions = [recomputed.Thresholds(version, 1 if after is None else self.first + after, by_offer_type, otherwise)
                         for version, after, by_offer_type, otherwise in chance.choice(VERSIONS)]  # fmt: skip
        self.away = chance.random() < 0.05
        """Somebody stays away for months, and each day of it is told."""
        days, at = chance.choice((0, 7, 14, 21, 26)) + 90 * self.away, time(chance.choice((3, 12, 21, 22, 23)), 30)
        self.now = datetime.combine(date.fromordinal(self.first + days), at, UTC)
        self.ticked = chance.choice((None, self.now, self.now - timedelta(hours=20)))
        self.runs = {id: referral.Run(id, "rkn") for id in self.ids(3)}
        self.published = dict[str, recomputed.Run]()
        self.cases = [self.case(id) for id in self.ids(2)]
        self.weights = OFTEN | {what: chance.choice((0, 0.3, 1.5)) for what in SELDOM}
        self.weights |= {"attend": 300} if self.away else {}

    def ids(self, n: int) -> list[str]:
        return [str(UUID(int=self.chance.getrandbits(128), version=4)) for _ in range(n)]

    def case(self, id: str) -> Case:
        witness = ReferralRecomputed(id, "rkn", self.versions)
        return Case(intake.Case(id, "rkn"), referral.Case(id, "rkn"), IntakeRecomputed(), witness, consents=self.ids(3),
                    referrals=self.ids(3), participations=self.ids(4), meetings=self.ids(90 if self.away else 9))  # fmt: skip

    @property
    def today(self) -> int:
        return day_of(self.now)

    # --- steps

    def goes(self) -> None:
        for case in self.cases:
            if self.chance.random() < 0.9:  # else most is refused
                self.begins(case)
        for _ in range(STEPS * (4 if self.away else 1)):
            case = self.chance.choice(self.cases)
            (what,) = self.chance.choices([*self.weights], [*self.weights.values()])
            if what == "time":
                self.now += timedelta(hours=self.chance.choice((1, 5, 24, 50, 24 * 9)))
            elif what == "ticks":
                self.ticks(self.now - timedelta(hours=self.chance.choice((0, 0, 1, 30))))
            elif what == "learns":
                self.learns(case)
            elif what != "again":
                self.says(case, what)
            elif case.said:
                self.hears(case, self.chance.choice(case.said))
        for case in self.cases:
            self.is_kept(case)

    def begins(self, case: Case) -> None:
        for what in ("register", "give", "give", "publish", "publish", "publish"):
            self.says(case, what)
        while case.way:
            self.learns(case)
        for what in ("refer", "refer", "refer", "accept", "accept", "accept", "start", "start"):
            self.says(case, what)

    def says(self, case: Case, what: str) -> None:
        """Something new, where what it rests on is known; else it would wait."""
        statement: Statement | None = getattr(self, what)(case)
        if statement is not None:
            case.said.append(statement)
            self.hears(case, statement)

    def hears(self, case: Case, statement: Statement) -> None:
        submission = statement.submission
        self.log.append(
            f"{self.now:%d %b %H:%M} {case.intake.id[:4]} {type(submission).__name__} {submission.to_json().decode()}"
        )
        decision, expected = statement.decided(), statement.expected()
        recorded = "recorded" if isinstance(decision, Fact) else "unchanged"
        answer = decision.reason if isinstance(decision, Refused) else recorded
        assert answer in expected, f"{answer}, not {' or '.join(sorted(expected))}"
        self.seen.add(type(decision).__name__ if answer == "recorded" else answer)
        if isinstance(decision, Fact):
            said, heard = members(submission, exclude_none=True), members(decision)
            for name in said.keys() & heard.keys():
                assert heard[name] == (tuple(sorted(said[name])) if isinstance(said[name], tuple) else said[name]), name
            statement.folded(decision)
        self.rests(case)

    def learns(self, case: Case) -> None:
        """Referral hears the next that intake said."""
        if not case.way:
            return
        fact, witness = case.way.pop(0), case.referred
        self.log.append(f"heard {case.intake.id[:4]} {type(fact).__name__} {fact.to_json().decode()}")
        self.folds(case, fact)
        match fact:
            case CaseOpened():
                witness.owner = fact.owner_organisation_id
            case ConsentGranted():
                witness.consents[fact.consent_id] = given(fact)
            case ConsentRevoked():
                witness.withdrawn[fact.consent_id] = fact.withdrawn_on.toordinal()
            case CaseClosed():
                witness.last_on = fact.last_day_on.toordinal()
        self.rests(case)

    def folds(self, case: Case, fact: Fact) -> None:
        referral.evolve(case.referral, fact, "")
        case.facts.append(fact)

    def ticks(self, at: datetime) -> None:
        before = self.ticked
        if before is not None and at <= before:
            return
        self.log.append(f"ticks {at:%d %b %H:%M}")
        self.ticked = at
        for case in self.cases:
            asked = None if before is None else referral.due(case.referral, before)
            if before is not None and (asked is None or not before < asked <= at):
                assert referral.react(case.referral, at) == [], "nobody would have asked at this tick"
            self.rests(case)

    def rests(self, case: Case) -> None:
        """What rules say by themselves, until they are silent; what is shown then; when they are asked again."""
        if self.ticked is not None:
            said = list[dict[str, Any]]()
            while facts := referral.react(case.referral, self.ticked):
                said += [{"type": type(fact).__name__, **members(fact)} for fact in facts]
                for fact in facts:
                    self.folds(case, fact)
                    self.seen.add(type(fact).__name__)
                assert len(said) < 100, "it is never silent"
            same(
                "said",
                *([tuple(sorted(one.items())) for one in facts] for facts in (said, case.referred.ticks(self.ticked))),
            )
            asked = referral.due(case.referral, self.ticked)
            assert asked is None or asked <= self.ticked or referral.react(case.referral, asked), "asked for nothing"
        same(
            "case_list",
            [plain(row[3:]) for row in intake.view(case.intake).get("case_list", [])],
            case.registered.view(),
        )
        shown = {table: [plain(row) for row in rows] for table, rows in referral.view(case.referral).items()}
        for table, rows in case.referred.view().items():
            same(table, shown[table], rows)

    def is_kept(self, case: Case) -> None:
        """As it is written down, and learnt anew from its facts, whose families keep their own order alone: by referral itself, and by
        reporting, which counts what it learns."""
        assert msgspec.json.decode(encode(case.referral), type=referral.Case) == case.referral
        families = defaultdict[str, list[Fact]](list)
        for fact in case.facts:
            families[fact.family].append(fact)
        anew, counted = referral.Case(case.referral.id, "rkn"), reporting.Case(case.referral.id, "rkn")
        left = [*families.values()]
        while left := [facts for facts in left if facts]:
            fact = self.chance.choice(left).pop(0)
            referral.evolve(anew, fact, "")
            reporting.evolve(counted, fact, "")
        assert anew == case.referral
        shown = [plain(row) for row in reporting.view(counted)["participation_period"]]
        same("participation_period", shown, case.referred.periods("05162024"))

    # --- what is said

    def by(self, who: str) -> By:
        others = (OWNER, OPENER, STRANGER, *PROVIDERS)
        return By(organisation_id=who if self.chance.random() < 0.95 else self.chance.choice(others))

    def day(self, first: int = -3, last: int = 45) -> int:
        """Mostly one that has come; sometimes the next, or any."""
        on, chance = self.first + self.chance.randint(first, last), self.chance.random()
        return on if chance < 0.04 else min(on, self.today + (chance < 0.08))

    def ordered(self) -> tuple[datetime, int]:
        """Few moments and revisions, so that they meet; and what software says that has none: its zero."""
        later = timedelta(days=self.chance.randint(0, 3), microseconds=self.chance.randint(0, 1))
        first = date.min if self.chance.random() < 0.03 else date.fromordinal(self.first - 1)
        revision = 1_000_000_000 if self.chance.random() < 0.02 else self.chance.randint(1, 3)
        return datetime.combine(first, time(), UTC) + later, revision

    def of_intake(self, case: Case, said: Submission, rule: Any, expected: Callable[[], Expected]) -> Statement | None:
        def folded(fact: Fact) -> None:
            intake.evolve(case.intake, fact, "")
            case.way.append(fact)

        if case.intake.opened is None and not isinstance(said, RegistrationSubmitted):
            return None
        return Statement(said, lambda: rule(said, case.intake, self.now), expected, folded)

    def of_referral(self, case: Case, said: Submission, rule: Any, expected: Callable[[], Expected]) -> Statement:
        return Statement(
            said, lambda: rule(said, case.referral, self.now), expected, lambda fact: self.folds(case, fact)
        )

    def register(self, case: Case) -> Statement | None:
        said = RegistrationSubmitted(by=self.by(OPENER), municipality="05162024", owner_organisation_id=OWNER,
                                     programme=self.chance.choices(("GK", "KIM"), (9, 1))[0])  # fmt: skip
        who, on = said.by.organisation_id, self.day()
        return self.of_intake(case, said, lambda said, state, _: intake.register(said, state, noon_of(on)),
                              lambda: case.registered.register(who, OWNER, said.programme, on))  # fmt: skip

    def need(self, case: Case) -> Statement | None:
        said, on = NeedReported(by=self.by(PROVIDERS[0]), need_id=self.chance.choice(case.meetings[:2]),
                                need_type=self.chance.choice(("WORK", "HOUSING"))), self.day()  # fmt: skip
        return self.of_intake(case, said, lambda said, state, _: intake.report_need(said, state, noon_of(on)),
                              lambda: case.registered.need(said.by.organisation_id, said.need_id, said.need_type, on))  # fmt: skip

    def give(self, case: Case) -> Statement | None:
        said = ConsentGiven(
            by=self.by(OWNER), consent_id=self.chance.choice(case.consents),
            purpose=self.chance.choices(("REFERRAL", "EVALUATION"), (9, 1))[0],
            categories=tuple(self.chance.sample(CATEGORIES, self.chance.choice((1, 2, 2)))),
            recipients=tuple(self.chance.sample(PROVIDERS, self.chance.choice((1, 2, 2)))),
            valid_from_on=date.fromordinal(self.first + self.chance.choice((-30, -30, 0, 5))),
            last_valid_on=date.fromordinal(self.first + self.chance.choice((-40, 10, 300, 300, 300))),
        )  # fmt: skip
        return self.of_intake(case, said, intake.give_consent,
                              lambda: case.registered.give(said.by.organisation_id, said.consent_id, given(said)))  # fmt: skip

    def revoke(self, case: Case) -> Statement | None:
        if not case.intake.consents:
            return None
        id, on = self.chance.choice([*case.intake.consents]), self.day()
        said_on = max(on, self.day())  # some say it on the day, and are heard later
        said = ConsentWithdrawn(by=self.by(STRANGER), consent_id=id, withdrawn_on=date.fromordinal(on))
        return self.of_intake(case, said, lambda said, state, now: intake.withdraw_consent(said, state, noon_of(said_on), now),
                              lambda: case.registered.withdraw(id, on, said_on, self.today))  # fmt: skip

    def close(self, case: Case) -> Statement | None:
        on, reason = self.day(), self.chance.choice(("COMPLETED", "MOVED", "ENTERED_IN_ERROR"))
        said = CaseClosureRequested(by=self.by(self.chance.choice((OWNER, OWNER, OWNER, OPENER))), reason=reason,
                                    last_day_on=date.fromordinal(on))  # fmt: skip
        return self.of_intake(case, said, intake.close_case,
                              lambda: case.registered.close(said.by.organisation_id, on, reason, self.today))  # fmt: skip

    def publish(self, case: Case) -> Statement:
        id, provider = self.chance.choice([*self.runs]), self.chance.choice(PROVIDERS)
        first = self.first + self.chance.randint(-5, 20)
        run = recomputed.Run(provider, self.chance.choice(("F1", "F4")), self.chance.choice(("LANGUAGE_COURSE", "COACHING")), first,
                             first + self.chance.choice((-1, 5, 20, 60)))  # fmt: skip
        said = OfferRunSubmitted(by=self.by(provider), provider_organisation_id=provider, block=run.block, offer_type=run.offer_type,
                                 starts_on=date.fromordinal(first), ends_before_on=date.fromordinal(run.ends_before_on))  # fmt: skip

        def folded(fact: Fact) -> None:
            referral.evolve(self.runs[id], fact, "")
            self.published[id] = run

        return Statement(said, lambda: referral.publish_run(said, self.runs[id], self.now),
                         lambda: recomputed.publish(said.by.organisation_id, run, self.published.get(id)), folded)  # fmt: skip

    def refer(self, case: Case) -> Statement | None:
        if not case.referred.owner or not case.referred.consents or not self.published:
            return None
        run, on = self.chance.choice([*self.published]), self.day(-3, 10)
        said = ReferralRequested(
            by=self.by(OWNER), referral_id=self.chance.choice(case.referrals), run_id=run, requested_on=date.fromordinal(on),
            consent_id=self.chance.choice([*case.referred.consents]),
            categories=tuple(self.chance.sample(CATEGORIES, self.chance.choice((1, 1, 2)))),
        )  # fmt: skip

        def expected() -> Expected:
            asked = recomputed.Referral(run, self.published[run], said.consent_id, on, tuple(sorted(said.categories)))
            return case.referred.refer(said.by.organisation_id, said.referral_id, asked, self.today)

        return self.of_referral(
            case, said, lambda said, state, now: referral.refer(said, state, self.runs[run], now), expected
        )

    def withdraw(self, case: Case) -> Statement | None:
        if not case.referred.referrals:
            return None
        id, on, reason = (
            self.chance.choice([*case.referred.referrals]),
            self.day(),
            self.chance.choice(("PERSON_WITHDREW", "ENTERED_IN_ERROR")),
        )
        said = ReferralWithdrawn(by=self.by(OWNER), referral_id=id, reason=reason, withdrawn_on=date.fromordinal(on))
        return self.of_referral(case, said, referral.withdraw,
                                lambda: case.referred.withdraw(said.by.organisation_id, id, reason, on, self.today))  # fmt: skip

    def accept(self, case: Case) -> Statement | None:
        return self.answer(case, accepts=True)

    def decline(self, case: Case) -> Statement | None:
        return self.answer(case, accepts=False)

    def answer(self, case: Case, *, accepts: bool) -> Statement | None:
        if not case.referred.referrals:
            return None
        id, on = self.chance.choice([*case.referred.referrals]), self.day()
        reason = "FULL" if (self.chance.random() < 0.9) != accepts else None
        plans = self.chance.random() < (0.5 if accepts else 0.03)
        first = max(case.referred.referrals[id].run.starts_on, on)
        planned = first + self.chance.randint(-3, 20) if plans else None
        said = ReferralAnswered(
            by=self.by(case.referred.referrals[id].run.provider), referral_id=id, answer="ACCEPTED" if accepts else "DECLINED",
            reason=reason, planned_start_on=None if planned is None else date.fromordinal(planned), answered_on=date.fromordinal(on),
        )  # fmt: skip
        witness = case.referred.accept if accepts else case.referred.decline
        return self.of_referral(case, said, referral.answer,
                                lambda: witness(said.by.organisation_id, id, planned, reason, on, self.today))  # fmt: skip

    def start(self, case: Case) -> Statement | None:
        if not case.referred.referrals:
            return None
        id, on, order = self.chance.choice([*case.referred.referrals]), self.day(), self.ordered()
        said = ParticipationStartReported(by=self.by(case.referred.referrals[id].run.provider), referral_id=id,
            participation_id=self.chance.choice(case.participations), started_on=date.fromordinal(on), reported_at=order[0], revision=order[1])  # fmt: skip
        start = recomputed.Start(*order, on)
        return self.of_referral(case, said, referral.start, lambda: case.referred.start(
            said.by.organisation_id, said.participation_id, id, start, self.today))  # fmt: skip

    def end(self, case: Case) -> Statement | None:
        if not case.referred.participations:
            return None
        id, on, order = self.chance.choice([*case.referred.participations]), self.day(3), self.ordered()
        (kind,) = self.chance.choices(("DROPPED_OUT", "COMPLETED", "ENTERED_IN_ERROR"), (3, 2, 4))
        end = recomputed.End(*order, on, kind, self.chance.choice(("WORK", "UNKNOWN")))
        said = ParticipationEndReported(by=self.by(self.provider(case, id)), participation_id=id, kind=kind, reason=end.reason,
                                        ended_before_on=date.fromordinal(on), reported_at=order[0], revision=order[1])  # fmt: skip
        return self.of_referral(case, said, referral.end,
                                lambda: case.referred.end(said.by.organisation_id, id, end, self.today))  # fmt: skip

    def attend(self, case: Case) -> Statement | None:
        if not case.referred.participations:
            return None
        id, meeting, order = (
            self.chance.choice([*case.referred.participations]),
            self.chance.choice(case.meetings),
            self.ordered(),
        )
        first = case.referred.participations[id].started_on - self.first
        on = self.day(first - 1, first + (90 if self.away else 14)) if self.chance.random() < 0.8 else self.day()
        (presence,) = self.chance.choices(
            ("PRESENT", "LATE", "EXCUSED", "UNEXCUSED", "NOT_RECORDED"), (3, 1, 2, 900 if self.away else 9, 1)
        )
        there, excused = presence in ("PRESENT", "LATE"), (self.chance.random() < 0.97) == (presence == "EXCUSED")
        said = AttendanceReported(by=self.by(self.provider(case, id)), participation_id=id, meeting_id=meeting, presence=presence,
            meeting_on=date.fromordinal(on), units_planned=self.chance.choice((4, 4, 4, 2, 32)),
            units_attended=self.chance.choice((4, 2, 4, 5) if there else (0,) * 15 + (1,)),
            excuse_reason="CARE" if excused else None, reported_at=order[0], revision=order[1])  # fmt: skip
        report = recomputed.Meeting(
            *order, on, said.units_planned, said.units_attended, presence, "CARE" if excused else None
        )
        return self.of_referral(case, said, referral.attend,
                                lambda: case.referred.attend(said.by.organisation_id, id, meeting, report, self.today))  # fmt: skip

    def provider(self, case: Case, participation: str) -> str:
        return case.referred.referrals[case.referred.participations[participation].referral_id].run.provider


def noon_of(day: int) -> datetime:
    return datetime.combine(date.fromordinal(day), time(12), UTC)


def given(said: ConsentGiven | ConsentGranted) -> Given:
    return Given(said.purpose, tuple(sorted(said.categories)), tuple(sorted(said.recipients)), said.valid_from_on.toordinal(),
                 said.last_valid_on.toordinal())  # fmt: skip


def test_rules_answer_say_and_show_what_a_recomputation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set[str]()
    for seed in range(SEED, SEED + SEQUENCES):
        world = World(seed)
        versions = [
            risks.Thresholds(one.version, date.fromordinal(one.from_on), one.by_offer_type, one.otherwise)
            for one in world.versions
        ]
        monkeypatch.setattr(risks, "S2_THRESHOLDS", tuple(versions))
        try:
            world.goes()
        except Exception as error:
            pytest.fail("\n".join([*world.log, f"{type(error).__name__}: {error}"]))
        seen |= world.seen
    families = (contracts.intake, contracts.referral, contracts.attendance, contracts.dropout)
    every = {fact.__name__ for family in families for fact in family.FACTS}.union(
        *(family.REASONS for family in families)
    )
    assert seen >= every - {"TOO_MANY_OF_A_CASE"}, "chance must come by all of it"
