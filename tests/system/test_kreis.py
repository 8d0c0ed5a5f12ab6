"""The demo's Kreis: what it says can be said, and at a large number it is the Kreis of the domain reference, 13.6.

The figures are typed from that table. What of it no submission can say is in no Kreis: nationality, births on 01.01., literacy,
certificates, German at entry, appointments, messages to persons, changes of address, renewals, volunteers.
"""

from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from statistics import fmean, pvariance
from typing import TypeVar

import pytest

from contracts.attendance import AttendanceReported
from contracts.codes import ConsentPurpose, EndKind, Presence
from contracts.envelope import Submission
from contracts.intake import ConsentGiven, ConsentWithdrawn, RegistrationSubmitted
from contracts.referral import (
    OfferRunSubmitted,
    ParticipationEndReported,
    ParticipationStartReported,
    ReferralRequested,
)
from contracts.topics import SUBMITTED
from deploy.demo.kreis import Event, Kreis

S = TypeVar("S", bound=Submission)


def events(kreis: Kreis) -> Iterator[Event]:
    return (event for day in kreis.days for family in SUBMITTED for event in day[family])


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_said_before_what_it_rests_on(seed: int) -> None:
    """Else it would be left out of the play as if it rested on a refusal. The sandbox sends in the order of time."""
    in_play = list(events(Kreis(120, 16, seed)))
    for order in (in_play, sorted(in_play, key=lambda event: event.time)):
        said = set[str]()
        for event in order:
            assert said.issuperset(event.rests_on), event.submission
            said.add(event.id)
    assert len(in_play) > 1000


# --- the figures of 13.6 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> Kreis:
    return Kreis(persons=5000, weeks=52, seed=5)


def of(kreis: Kreis, kind: type[S]) -> list[S]:
    return [event.submission for event in events(kreis) if isinstance(event.submission, kind)]


def share(of_these: int, all_: int) -> float:
    assert all_ > 1000
    return of_these / all_


def test_persons_are_of_the_sex_age_and_status_of_the_target_group(large: Kreis) -> None:
    persons = of(large, RegistrationSubmitted)
    n = {
        name: Counter(getattr(person, name) for person in persons)
        for name in ("sex", "status_group", "birth_year_band")
    }
    assert len(persons) == 5000
    assert 0.70 <= n["sex"]["MALE"] / 5000 <= 0.75 and 0.25 <= n["sex"]["FEMALE"] / 5000 <= 0.30
    assert 0.55 <= n["status_group"]["DULDUNG"] / 5000 <= 0.60
    assert 0.40 <= n["status_group"]["GESTATTUNG"] / 5000 <= 0.45
    # of 18 to 27 years in 2025: near uniform are 2, 5 and 3 years of ten; the peak, 20 to 24, is born from 2001 to 2005
    band = {name: count / 5000 for name, count in n["birth_year_band"].items()}
    assert 0.16 <= band["BORN_1995_TO_1999"] <= 0.20 and 0.50 <= band["BORN_2000_TO_2004"] <= 0.56
    assert 0.27 <= band["BORN_2005_TO_2009"] <= 0.31


def test_languages_are_those_of_the_countries_most_come_from(large: Kreis) -> None:
    n = Counter(person.language for person in of(large, RegistrationSubmitted))
    assert n.keys() == {"prs", "ara", "kur", "fas", "fra", "eng", "tir", "som", "tur", "sqi", "rus"}
    assert {language for language, _ in n.most_common(3)} == {"prs", "ara", "kur"}  # AF, SY, IQ


def whole_courses(
    kreis: Kreis,
) -> tuple[list[ParticipationStartReported], dict[str, list[ParticipationEndReported]], Counter[str]]:
    """First starts in runs that are over, with time to say so; all ends by participation; starts by referral."""
    last = max(event.time for event in events(kreis)).date()
    over = {event.subject: event.submission.ends_before_on for event in events(kreis)
            if isinstance(event.submission, OfferRunSubmitted)}  # fmt: skip
    run = {request.referral_id: request.run_id for request in of(kreis, ReferralRequested)}
    starts = sorted(of(kreis, ParticipationStartReported), key=lambda start: start.started_on)
    first = {start.referral_id: start for start in reversed(starts)}
    ends = defaultdict(list)
    for end in of(kreis, ParticipationEndReported):
        ends[end.participation_id].append(end)
    whole = [start for referral, start in first.items() if over[run[referral]] + timedelta(days=14) <= last]
    return whole, ends, Counter(start.referral_id for start in starts)


def test_38_of_100_leave_early_most_in_the_first_weeks_and_35_of_these_come_back(large: Kreis) -> None:
    whole, ends, starts = whole_courses(large)
    out = [start for start in whole if ends[start.participation_id][-1].kind is EndKind.DROPPED_OUT]
    assert 0.36 <= share(len(out), len(whole)) <= 0.40
    assert 0.32 <= share(sum(starts[start.referral_id] > 1 for start in out), len(out)) <= 0.38
    weeks = Counter(
        ((ends[start.participation_id][-1].ended_before_on - start.started_on).days - 1) // 7 + 1 for start in out
    )
    left, hazard = len(whole), {}
    for week in range(1, 11):
        hazard[week] = weeks[week] / left
        left -= weeks[week]
    assert share(sum(weeks[week] for week in range(1, 6)), len(out)) >= 0.75
    assert fmean(hazard[week] for week in (1, 2, 3)) > 2 * fmean(hazard[week] for week in range(6, 11))


def test_absences_are_8_of_100_excused_and_6_not_strongly_clustered_by_person(large: Kreis) -> None:
    by_person = defaultdict[str, list[Presence]](list)
    for event in events(large):
        if isinstance(event.submission, AttendanceReported) and event.submission.revision == 1:
            by_person[event.subject].append(event.submission.presence)
    meetings = [presence for known in by_person.values() for presence in known]
    for presence, figure in ((Presence.EXCUSED, 0.08), (Presence.UNEXCUSED, 0.06)):
        assert figure - 0.008 <= share(meetings.count(presence), len(meetings)) <= figure + 0.008
        rates = [known.count(presence) / len(known) for known in by_person.values() if len(known) >= 20]
        by_chance = fmean(rates) * (1 - fmean(rates)) / 25  # were all alike: of some 25 meetings each
        assert len(rates) > 1000 and pvariance(rates) > 2.5 * by_chance, presence


def test_attendance_comes_late_corrected_twice_and_half_of_the_providers_hand_in_a_month(large: Kreis) -> None:
    reports = [(event, event.submission) for event in events(large) if isinstance(event.submission, AttendanceReported)]
    first = [report for _, report in reports if report.revision == 1]
    daily = [report for report in first if report.by.organisation_id not in large.by_month]
    late = sum(report.reported_at.date() - report.meeting_on > timedelta(days=1) for report in daily)
    assert 0.335 <= share(late, len(daily)) <= 0.365  # of those told day by day: a month at once is nearly all late
    assert 0.027 <= share(len(reports) - len(first), len(first)) <= 0.033
    assert 0.008 <= share(sum(event.twice for event, _ in reports), len(reports)) <= 0.012


def test_a_habit_is_the_providers_and_drawn_by_seed() -> None:
    drawn = Counter[str]()
    for seed in range(400):
        kreis = Kreis(1, 1, seed)
        providers = {run.provider_organisation_id for run in of(kreis, OfferRunSubmitted)}
        assert len(kreis.by_month) * 2 == len(providers) and kreis.by_month < providers
        drawn.update(kreis.by_month)
    assert len(drawn) == 4 and all(0.4 <= n / 400 <= 0.6 for n in drawn.values())


def test_a_quarter_agrees_to_no_evaluation_and_3_of_100_take_a_consent_back_within_a_year(large: Kreis) -> None:
    given = of(large, ConsentGiven)
    agreed = sum(consent.purpose is ConsentPurpose.EVALUATION for consent in given)
    assert 0.73 <= agreed / 5000 <= 0.77
    last = max(event.time for event in events(large)).date()
    years = sum((last - consent.valid_from_on).days for consent in given) / 365
    withdrawn = len(of(large, ConsentWithdrawn))
    assert years > 4000 and 0.025 <= withdrawn / years <= 0.035


# --- a month at once -------------------------------------------------------------------------------------------------


def afternoons(day: date) -> tuple[date, date]:
    """The last weekday of a day's month, and the first after it."""
    last = day.replace(day=monthrange(day.year, day.month)[1])
    first = last + timedelta(days=1)
    while last.weekday() > 4:
        last -= timedelta(days=1)
    while first.weekday() > 4:
        first += timedelta(days=1)
    return last, first


def test_a_month_is_handed_in_on_one_of_two_afternoons_all_days_of_a_run_in_one_go(large: Kreis) -> None:
    run = {request.referral_id: request.run_id for request in of(large, ReferralRequested)}
    start = {start.participation_id: start for start in of(large, ParticipationStartReported)}
    back = {end.participation_id: end.reported_at for end in of(large, ParticipationEndReported)
            if end.kind is EndKind.ENTERED_IN_ERROR}  # fmt: skip
    batches, own, all_, on = defaultdict(set), 0, 0, Counter[int]()
    for event in events(large):
        report = event.submission
        if not isinstance(report, AttendanceReported) or report.by.organisation_id not in large.by_month:
            continue
        if report.revision > 1:  # what was wrong in a list is said after it
            assert report.reported_at.date() not in afternoons(report.meeting_on) or report.reported_at.hour == 18
            continue
        told, all_ = report.reported_at, all_ + 1
        assert 13 <= told.hour <= 15 and told <= event.time < told + timedelta(hours=1)
        begun = start[report.participation_id]
        if told.date() in afternoons(report.meeting_on):
            own += 1
            on[afternoons(report.meeting_on).index(told.date())] += 1
            batches[run[begun.referral_id], f"{report.meeting_on:%Y-%m}"].add(event.time)
        else:  # she was on no list yet, or was taken for gone: she is on a later month's
            known = max(begun.reported_at, back.get(report.participation_id, begun.reported_at))
            assert known.date() > afternoons(report.meeting_on)[0]
            assert any(told.date() in afternoons(report.meeting_on + timedelta(days=30 * n)) for n in (1, 2))
    assert share(own, all_) > 0.97 and 0.3 < on[0] / own < 0.7
    assert len(batches) > 100 and all(len(times) == 1 for times in batches.values())
