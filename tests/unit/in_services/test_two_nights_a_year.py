"""A day is the alliance's, also in the night that lasts 23 hours and in the one that lasts 25."""

from datetime import UTC, date, datetime, timedelta

import pytest

from contracts.dropout import DropoutRiskRaised
from contracts.envelope import By, Fact, day_of
from contracts.intake import CaseOpened, ConsentGranted
from contracts.referral import ReferralAccepted, ReferralSent
from services.referral.domain import Case, due, evolve, react
from tests.publishing import OWNER, PROVIDER, Course

MIDNIGHTS = [  # computed by hand: Berlin is an hour ahead of UTC in winter and two in summer
    (date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC), timedelta(hours=23)),
    (date(2026, 3, 30), datetime(2026, 3, 29, 22, tzinfo=UTC), timedelta(hours=24)),
    (date(2026, 10, 25), datetime(2026, 10, 24, 22, tzinfo=UTC), timedelta(hours=25)),
    (date(2026, 10, 26), datetime(2026, 10, 25, 23, tzinfo=UTC), timedelta(hours=24)),
]
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("day", "begins", "lasts"), MIDNIGHTS, ids=lambda value: str(value))
def test_a_day_begins_and_ends_at_the_alliances_midnight(day: date, begins: datetime, lasts: timedelta) -> None:
    assert day_of(begins - SECOND) == day - timedelta(days=1)
    assert day_of(begins) == day_of(begins + lasts - SECOND) == day
    assert day_of(begins + lasts) == day + timedelta(days=1)


@pytest.mark.parametrize(("day", "begins", "lasts"), MIDNIGHTS, ids=lambda value: str(value))
def test_nobody_is_missed_an_hour_early_or_late(day: date, begins: datetime, lasts: timedelta) -> None:
    """Who does not start is missed from the seventh day on, at its first moment: the service asks to be woken then."""
    case = accepted(Course(day - timedelta(days=7)))
    assert due(case, begins - SECOND) == begins and react(case, begins - SECOND) == []
    (risk,) = react(case, begins)
    assert isinstance(risk, DropoutRiskRaised) and risk.first_on == day - timedelta(days=7)


def accepted(course: Course) -> Case:
    """Who was accepted for a course and has not started."""
    case, start = Case(course.case, "rkn"), course.start
    said: dict[str, By] = {"by": OWNER}
    facts: list[Fact] = [
        CaseOpened(**said, municipality="05162024", programme="GK", sex="UNKNOWN", birth_year_band="UNKNOWN", language="UNKNOWN",
                   status_group="UNKNOWN", owner_organisation_id="rkn-thm"),
        ConsentGranted(**said, consent_id=course.consent, purpose="REFERRAL", categories=("LANGUAGE",),
                       recipients=("vhs-neuss",), valid_from_on=start, last_valid_on=start + timedelta(days=400)),
        ReferralSent(**said, referral_id=course.referral, run_id=course.run, consent_id=course.consent,
                     categories=("LANGUAGE",), requested_on=start, owner_organisation_id="rkn-thm",
                     provider_organisation_id="vhs-neuss", block="F4", offer_type="LANGUAGE_COURSE", run_starts_on=start,
                     run_ends_before_on=start + timedelta(days=90)),
        ReferralAccepted(by=PROVIDER, referral_id=course.referral, planned_start_on=start, answered_on=start),
    ]  # fmt: skip
    for fact in facts:
        evolve(case, fact, "")
    return case
