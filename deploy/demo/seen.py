"""When absences were seen: what the facts of a play say, of providers that tell each day and of those that hand in a month."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

from contracts.attendance import AttendanceReported
from contracts.codes import Rule
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised
from contracts.envelope import Fact, day_of
from contracts.families import from_message
from contracts.notification import NotificationAttempted
from contracts.referral import ParticipationStartReported
from contracts.topics import facts_topic
from deploy.demo.kreis import Event
from deploy.feeds.log import opened
from services.process.connections import KafkaSecurity

Key = tuple[str, str, str, date]
"""Case, what the rule looks at, rule, first day: a risk is these."""
WEEK, FORTNIGHT = timedelta(days=7), timedelta(days=14)


@dataclass
class Seen:
    """What providers of one habit told, and what became of absences in a row (S2): how many days lay between the newest of those
    for which a risk was raised and the day on which it was."""

    days_told: str
    providers: set[str] = field(default_factory=set)
    reports: int = 0
    corrections: int = 0
    risks: int = 0
    within_a_week: int = 0
    within_a_fortnight: int = 0
    """But not within a week."""
    later: int = 0
    never: int = 0
    """None of `risks`: by the time the days were told she had come again, or left."""
    mailed: int = 0
    """Of `risks`, those an office was told of."""

    def row(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "providers": sorted(self.providers)}

    @property
    def share(self) -> float | None:
        """Which share of all that held was seen within a week."""
        return self.within_a_week / (self.risks + self.never) if self.risks + self.never else None


async def facts_of(kafka: str) -> list[Fact]:
    """What was said of risks, then what was said to offices: each once. Raises Trouble where Kafka does not answer."""
    found: dict[str, Fact] = {}
    async with opened(kafka, KafkaSecurity(), "demo") as log:
        for topic in (facts_topic("dropout"), facts_topic("notification")):
            async for records in log.read(await log.span([topic])):
                for about, said in (from_message(record.headers, record.value) for record in records):
                    if isinstance(said, Fact):
                        found.setdefault(about.id, said)
    return list(found.values())


def seen(
    by_month: frozenset[str], sent: Iterable[Event], facts: Sequence[Fact], risks: Iterable[Mapping[str, Any]]
) -> list[Seen]:
    """By habit, those that tell each day first: from what was sent, the facts, and the list of risks as referral shows it."""
    provider_of, found = dict[str, str](), {False: Seen("each day"), True: Seen("a month at once")}
    for event in sent:
        match event.submission:
            case ParticipationStartReported() as start:
                provider_of[start.participation_id] = start.by.organisation_id
            case AttendanceReported() as report:
                habit = found[report.by.organisation_id in by_month]
                habit.reports += report.revision == 1
                habit.corrections += report.revision > 1
                habit.providers.add(report.by.organisation_id)
    mailed = {_key(line) for fact in facts if isinstance(fact, NotificationAttempted) for line in fact.lines
              if line.kind == "RAISED"}  # fmt: skip
    for fact in facts:
        if isinstance(fact, DropoutRiskRaised) and fact.rule == Rule.S2:
            habit, age = found[provider_of[fact.about] in by_month], day_of(fact.as_of) - max(fact.days_on)
            habit.risks += 1
            habit.within_a_week += age <= WEEK
            habit.within_a_fortnight += WEEK < age <= FORTNIGHT
            habit.later += age > FORTNIGHT
            habit.mailed += _key(fact) in mailed
    for risk in risks:
        if risk["rule"] == Rule.S2 and not risk["raised"]:
            found[provider_of[risk["about"]] in by_month].never += 1
    return list(found.values())


def oldest_mailed(facts: Sequence[Fact]) -> int | None:
    """How many days old the newest day of a risk was at most when an office was told of it; None where none was told. Where a mail
    takes back another first day of the same it says this one however old it is: that is left out."""
    told = [
        fact for fact in facts if isinstance(fact, (DropoutRiskRaised, DropoutRiskContinued, NotificationAttempted))
    ]
    newest, ages = dict[Key, date](), list[int]()
    # an office is told by a tick of what was said by the ticks before it
    for fact in sorted(told, key=lambda fact: (fact.as_of, not isinstance(fact, NotificationAttempted))):
        match fact:
            case DropoutRiskRaised():
                newest[_key(fact)] = max(fact.days_on)
            case DropoutRiskContinued():
                newest[_key(fact)] = fact.last_missed_on
            case NotificationAttempted():
                instead = {_key(line)[:3] for line in fact.lines if line.kind == "WITHDRAWN"}
                ages += [(day_of(fact.as_of) - newest[_key(line)]).days for line in fact.lines
                         if line.kind == "RAISED" and _key(line)[:3] not in instead]  # fmt: skip
    return max(ages, default=None)


def _key(said: Any) -> Key:
    return said.case_id, said.about, said.rule, said.first_on
