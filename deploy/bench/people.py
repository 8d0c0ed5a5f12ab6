"""Who is there before anything is measured, as facts on the topics; and the attendance reports that are measured.

A measured report corrects a meeting that is known: it is judged, recorded, answered like any other, and the state stays the
size it is. Growth would hide everything else.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID, uuid4

from contracts.attendance import AttendanceRecorded, AttendanceReported
from contracts.codes import ExcuseReason, Presence
from contracts.envelope import Attributes, By, Fact, Submission, fact_id_of, headers_of
from contracts.intake import CaseOpened, ConsentGranted
from contracts.referral import OfferRunPublished, ParticipationStarted, ReferralAccepted, ReferralSent
from contracts.topics import Publisher, facts_topic, submissions_topic

PRESENCE = (Presence.PRESENT, Presence.LATE, Presence.EXCUSED, Presence.UNEXCUSED)
SHARES = (85, 4, 5, 6)
"""Percent. Two unexcused course days in a row are a risk: some per cent of the cases raise or withdraw one in each round."""
DAYS_BETWEEN_MEETINGS = 7
QUIET = 500
"""The last cases (where there are more) are never reported on by the load: whoever needs a case of known state takes one."""


class Record(NamedTuple):
    """A record ready for the producer."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class People:
    """`cases` in `alliances`, each in a course with `meetings` known; course software of `publishers` reports on them."""

    cases: int = 10_000
    alliances: int = 54
    publishers: int = 6
    meetings: int = 8
    installation: str = "local"

    @cached_property
    def started_on(self) -> date:
        """Long enough ago for every meeting to lie in the past."""
        return datetime.now(UTC).date() - timedelta(days=DAYS_BETWEEN_MEETINGS * (self.meetings + 1))

    def tenant(self, case: int) -> str:
        """The alliance of a case."""
        return f"a{case % self.alliances:03d}"

    def publisher(self, case: int) -> str:
        """Whose software reports on a case."""
        return f"software-{case % self.publishers:03d}"

    def source(self, publisher: str) -> str:
        """`ce_source` of a publisher."""
        return f"https://{publisher}.example/courses"

    def entries(self) -> list[Publisher]:
        """Everybody in publishers.toml: one that speaks for all alliances in all families, and the course software."""
        found: dict[str, set[str]] = {}
        for case in range(min(self.cases, self.alliances * self.publishers)):
            found.setdefault(self.publisher(case), set()).add(self.tenant(case))
        office = Publisher(name="office", source="https://office.example/lotse", tenants=tuple(sorted(set().union(*found.values()))),
                           organisations=("thm", "vhs"), families=("intake", "referral", "attendance"))  # fmt: skip
        return [office] + [
            Publisher(name=name, source=self.source(name), tenants=tuple(sorted(tenants)), organisations=("vhs",),
                      families=("attendance",))
            for name, tenants in sorted(found.items())
        ]  # fmt: skip

    def publishers_toml(self) -> str:
        """The file the services read."""
        return "\n".join(
            f"[publisher.{p.name}]\nsource = \"{p.source}\"\ntenants = {list(p.tenants)}\n"
            f"organisations = {list(p.organisations)}\nfamilies = {list(p.families)}\n"
            for p in self.entries()
        )  # fmt: skip

    def id(self, kind: str, number: int, *more: int) -> str:
        """The same id each time, scattered as random ones are: neighbours in an index would flatter us."""
        return str(UUID(bytes=blake2b(f"{kind} {number} {more}".encode(), digest_size=16).digest(), version=4))

    def facts(self) -> Iterator[Record]:
        """What the topics hold before anything is measured: runs, then case by case, numbered as their owners would."""
        thm, vhs, start = By(organisation_id="thm"), By(organisation_id="vhs"), self.started_on
        ends, asked = start + timedelta(days=900), start - timedelta(days=20)
        said = datetime.combine(start, datetime.min.time(), UTC)
        for number in range(self.alliances):
            published = OfferRunPublished(by=vhs, provider_organisation_id="vhs", block="F4", offer_type="LANGUAGE_COURSE",
                                          starts_on=start, ends_before_on=ends, course_days=200)  # fmt: skip
            yield self._recorded(published, self.id("run", number), self.tenant(number), 1)
        for case in range(self.cases):
            id, tenant, run = self.id("case", case), self.tenant(case), self.id("run", case % self.alliances)
            consent, referral, participation = (
                self.id(kind, case) for kind in ("consent", "referral", "participation")
            )
            steps: list[Fact] = [
                CaseOpened(by=thm, municipality="05162024", programme="GK", sex="UNKNOWN", birth_year_band="UNKNOWN",
                           status_group="UNKNOWN", owner_organisation_id="thm"),
                ConsentGranted(by=thm, consent_id=consent, purpose="REFERRAL", categories=("LANGUAGE", "ATTENDANCE"),
                               recipients=("vhs",), valid_from_on=asked, last_valid_on=ends),
                ReferralSent(by=thm, referral_id=referral, run_id=run, consent_id=consent,
                             categories=("ATTENDANCE", "LANGUAGE"), requested_on=asked, owner_organisation_id="thm",
                             provider_organisation_id="vhs", block="F4", offer_type="LANGUAGE_COURSE", run_starts_on=start,
                             run_ends_before_on=ends),
                ReferralAccepted(by=vhs, referral_id=referral, planned_start_on=start, answered_on=start),
                ParticipationStarted(by=vhs, participation_id=participation, referral_id=referral, run_id=run, block="F4",
                                     started_on=start, revision=1, reported_at=said),
            ]  # fmt: skip
            steps += [
                AttendanceRecorded(by=vhs, participation_id=participation, meeting_id=self.id("meeting", case % self.alliances, n),
                                   meeting_on=self.meeting_on(n), units_planned=4, units_attended=4, presence="PRESENT", revision=1,
                                   reported_at=said)
                for n in range(self.meetings)
            ]  # fmt: skip
            numbers = {"intake": 0, "referral": 0, "attendance": 0}
            for fact in steps:
                numbers[fact.family] += 1
                yield self._recorded(fact, id, tenant, numbers[fact.family])

    def meeting_on(self, n: int) -> date:
        """The day of the nth meeting, from 0."""
        return self.started_on + timedelta(days=DAYS_BETWEEN_MEETINGS * n)

    def _recorded(self, fact: Fact, subject: str, tenant: str, number: int) -> Record:
        cause, now = str(uuid4()), datetime.now(UTC)
        owner = "intake" if fact.family == "intake" else "referral"
        attributes = Attributes(
            id=fact_id_of(cause), source=f"//lotse/{self.installation}/{owner}", type=fact.ce_type, subject=subject, time=now,
            tenant=tenant, streamversion=number, cause=cause, recordedtime=now,
        )  # fmt: skip
        return Record(facts_topic(fact.family), subject.encode(), fact.to_json(), headers_of(attributes))


class Reports:
    """Attendance reports without end: course by course, meeting by meeting, each round of them the next revision."""

    def __init__(self, people: People, seed: int = 2019) -> None:
        self.people, self._chance, self._made = people, random.Random(seed), 0
        self._order = list(range(people.cases - QUIET if people.cases > QUIET else people.cases))
        self._chance.shuffle(self._order)

    def take(self, count: int) -> list[Record]:
        """The next `count` reports, as their publishers would send them."""
        return [self._next() for _ in range(count)]

    def _next(self) -> Record:
        people, (rounds, place) = self.people, divmod(self._made, len(self._order))
        self._made += 1
        presence = self._chance.choices(PRESENCE, SHARES)[0]
        return self.of(self._order[place], rounds % people.meetings, rounds // people.meetings + 2, presence)

    def of(self, case: int, meeting: int, revision: int, presence: Presence) -> Record:
        """One report of one meeting."""
        people, now = self.people, datetime.now(UTC)
        report = AttendanceReported(
            by=By(organisation_id="vhs"), participation_id=people.id("participation", case),
            meeting_id=people.id("meeting", case % people.alliances, meeting), meeting_on=people.meeting_on(meeting), units_planned=4,
            units_attended=4 if presence in (Presence.PRESENT, Presence.LATE) else 0, presence=presence,
            excuse_reason=ExcuseReason.PERSONAL if presence is Presence.EXCUSED else None, revision=revision, reported_at=now,
        )  # fmt: skip
        return self.sent(report, case, now)

    def sent(self, submission: Submission, case: int, now: datetime) -> Record:
        """A submission as a record of the publisher that reports on this case."""
        publisher, subject = self.people.publisher(case), self.people.id("case", case)
        attributes = Attributes(
            id=str(uuid4()), source=self.people.source(publisher), type=submission.ce_type, subject=subject, time=now,
            tenant=self.people.tenant(case), traceparent=f"00-{self._chance.getrandbits(128) | 1:032x}-{1:016x}-00",
        )  # fmt: skip
        topic = submissions_topic(submission.family, publisher)
        return Record(topic, subject.encode(), submission.to_json(), headers_of(attributes))
