"""What intake and referral must answer and say, worked out anew from all that was taken so far.

Shares no code with the services: expected values come from here, so keep it that way. Days are ordinals (`date.toordinal`), moments
aware, codes and ids plain text. What may be answered is a set: `recorded`, `unchanged`, or each reason there is for a no, since it
is nobody's business which of several a rule looks at first.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

Expected = frozenset[str]
RECORDED, UNCHANGED, NOT_YOURS = (frozenset({word}) for word in ("recorded", "unchanged", "NOT_YOURS"))
Said = dict[str, Any]
"""A fact that a rule says by itself: its `type`, and all its members but `by`."""

NO_SHOW, SAID_AGAIN, NEWS, MOST_DAYS = 7, 7, 14, 30
KNOWN_FOR, KNOWN_AT_MOST = timedelta(days=56), 30
"""Of what is over: how long, and of how many risks of a case, it is known why."""


def day_of(moment: datetime) -> int:
    """The day in Berlin: summer lasts from 01:00 UTC on the last Sunday of March until then in October."""
    summer, winter = (_last_sunday(moment.astimezone(UTC).year, month) for month in (3, 10))
    return (moment.astimezone(UTC) + timedelta(hours=2 if summer <= moment < winter else 1)).toordinal()


def _last_sunday(year: int, month: int) -> datetime:
    last = datetime(year, month, 31, 1, tzinfo=UTC)
    return last - timedelta(days=last.isoweekday() % 7)


def _no(**reasons: bool) -> Expected:
    return frozenset(reason for reason, holds in reasons.items() if holds)


class Given(NamedTuple):
    """A consent as it was given; categories and recipients sorted, both days included."""

    purpose: str
    categories: tuple[str, ...]
    recipients: tuple[str, ...]
    first_on: int
    last_on: int


@dataclass
class IntakeRecomputed:
    """One case as intake must know it."""

    opened: tuple[str, str, str] | None = None
    """Who opened it, who owns it, in which programme."""
    needs: dict[str, str] = field(default_factory=dict)
    consents: dict[str, Given] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)
    closed: tuple[int, str] | None = None

    def is_of(self, who: str) -> bool:
        return self.opened is not None and who in self.opened[:2]

    def register(self, who: str, owner: str, programme: str, on: int) -> Expected:
        if self.opened is None:
            self.opened = (who, owner, programme)
            return RECORDED
        if not self.is_of(who):
            return NOT_YOURS
        over = self.closed is not None and on > self.closed[0]
        return _no(CASE_EXISTS=self.opened[1:] != (owner, programme), CASE_CLOSED=over) or UNCHANGED

    def need(self, who: str, id: str, type: str, on: int) -> Expected:
        agreed = [id for id, consent in self.consents.items() if consent.purpose == "REFERRAL"
                  and who in consent.recipients and consent.first_on <= on <= consent.last_on]  # fmt: skip
        if not self.is_of(who) and all(on >= self.withdrawn.get(id, on + 1) for id in agreed):
            return NOT_YOURS
        if id in self.needs:
            return UNCHANGED if self.needs[id] == type else _no(NEED_EXISTS=True)
        if self.closed and on > self.closed[0]:
            return _no(CASE_CLOSED=True)
        self.needs[id] = type
        return RECORDED

    def give(self, who: str, id: str, given: Given) -> Expected:
        if not self.is_of(who):
            return NOT_YOURS
        if id in self.consents:
            stands = self.consents[id] == given and id not in self.withdrawn
            return UNCHANGED if stands else _no(CONSENT_EXISTS=True)
        no = _no(
            CONSENT_ENDS_BEFORE_IT_BEGINS=given.last_on < given.first_on,
            CASE_CLOSED=self.closed is not None and given.first_on > self.closed[0],
        )
        if not no:
            self.consents[id] = given
        return no or RECORDED

    def withdraw(self, id: str, on: int, said_on: int, today: int) -> Expected:
        if self.withdrawn.get(id) == on:
            return UNCHANGED
        begins_on = self.consents[id].first_on
        no = _no(
            FUTURE_DAY=on > today,
            WITHDRAWN_OTHERWISE=on > self.withdrawn.get(id, on),
            CONSENT_ENDS_BEFORE_IT_BEGINS=on < begins_on <= said_on,
        )
        if not no:
            self.withdrawn[id] = on
        return no or RECORDED

    def close(self, who: str, last_on: int, reason: str, today: int) -> Expected:
        if self.opened is None or who not in (self.opened[:2] if reason == "ENTERED_IN_ERROR" else self.opened[1:2]):
            return NOT_YOURS
        if self.closed == (last_on, reason):
            return UNCHANGED
        no = _no(CLOSED_OTHERWISE=self.closed is not None, FUTURE_DAY=last_on > today)
        if not no:
            self.closed = (last_on, reason)
        return no or RECORDED

    def view(self) -> list[tuple[Any, ...]]:
        """Its row in intake's list, from the programme on."""
        counts = (len(self.needs), len(self.consents), len(self.withdrawn))
        return (
            [] if self.opened is None else [(self.opened[2], self.opened[1], *(self.closed or (None, None)), *counts)]
        )


class Run(NamedTuple):
    """An offer run as it was published."""

    provider: str
    block: str
    offer_type: str
    starts_on: int
    ends_before_on: int


def publish(who: str, run: Run, known: Run | None) -> Expected:
    """A run is published once, by whose it is."""
    if who != run.provider or (known is not None and known.provider != run.provider):
        return NOT_YOURS
    if known is not None:
        return UNCHANGED if run == known else _no(RUN_EXISTS=True)
    return _no(ENDS_BEFORE_IT_STARTS=run.ends_before_on < run.starts_on) or RECORDED


@dataclass
class Referral:
    """A referral, and all that was said of it."""

    run_id: str
    run: Run
    consent_id: str
    requested_on: int
    categories: tuple[str, ...]
    yeses: list[tuple[int, int]] = field(default_factory=list)
    """(answered_on, planned_start_on), in the order in which they were heard."""
    left: tuple[str, str, int] | None = None
    """DECLINED, or STOPPED by its owner; why, and on which day."""
    stopped: tuple[str, int] | None = None
    """Why a rule stopped it, and from which day."""

    @property
    def yes(self) -> tuple[int, int] | None:
        """The one of the newest day; of several the one heard last."""
        return max(reversed(self.yeses), key=lambda yes: yes[0], default=None)


class Start(NamedTuple):
    reported_at: datetime
    revision: int
    on: int


class End(NamedTuple):
    reported_at: datetime
    revision: int
    before_on: int
    kind: str
    reason: str


class Meeting(NamedTuple):
    reported_at: datetime
    revision: int
    on: int
    planned: int
    attended: int
    presence: str
    excuse: str | None


One = TypeVar("One", Start, End, Meeting)


def stands(reports: Sequence[One]) -> One | None:
    """Of all that was reported of one thing: the highest order, whenever it was heard."""
    return max(reports, key=lambda report: report[:2], default=None)


def _again(said: One, reports: Sequence[One]) -> Expected | None:
    """What is answered to the order of the one that stands; None where the order is another."""
    known = stands(reports)
    if known is None or known[:2] != said[:2]:
        return None
    return UNCHANGED if known == said else _no(REVISION_REUSED=True)


def _wins(said: One, reports: Sequence[One]) -> bool:
    known = stands(reports)
    return known is None or said[:2] > known[:2]


@dataclass
class Participation:
    """A participation, and all that was reported of it."""

    referral_id: str
    starts: list[Start] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    meetings: dict[str, list[Meeting]] = field(default_factory=lambda: defaultdict(list))

    @property
    def started_on(self) -> int:
        return max(self.starts, key=lambda start: start[:2]).on

    @property
    def ended_before_on(self) -> int | None:
        end = stands(self.ends)
        return None if end is None or end.kind == "ENTERED_IN_ERROR" else end.before_on

    def runs_on(self, day: int) -> bool:
        return self.started_on <= day and (self.ended_before_on is None or day < self.ended_before_on)


class Thresholds(NamedTuple):
    """S2 from a judged day on: so many days in a row, by type of offer or otherwise."""

    version: int
    from_on: int
    by_offer_type: dict[str, int]
    otherwise: int


class Risk(NamedTuple):
    about: str
    rule: str
    first_on: int


class Gone(NamedTuple):
    """Why a risk is over, and when that was said."""

    why: str
    at: datetime


@dataclass
class ReferralRecomputed:
    """One case as referral must know it: what it was told by intake's facts, and what it took itself."""

    id: str
    tenant: str
    thresholds: Sequence[Thresholds]
    """Oldest first."""
    owner: str = ""
    consents: dict[str, Given] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)
    last_on: int | None = None
    """The last day of a closed case."""
    referrals: dict[str, Referral] = field(default_factory=dict)
    participations: dict[str, Participation] = field(default_factory=dict)
    open: dict[Risk, int] = field(default_factory=dict)
    """Raised and not withdrawn, with the newest day that was said."""
    raised: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    dropped_out: dict[str, tuple[int, str]] = field(default_factory=dict)
    gone: dict[Risk, Gone] = field(default_factory=dict)
    """Withdrawn once, those said last at the end."""
    words: dict[Risk, list[tuple[datetime, str | None]]] = field(default_factory=lambda: defaultdict(list))
    """Of each risk all that was said, and when: that it holds (None), or why it does not."""

    # --- what is known

    def over(self, referral: Referral, day: int) -> Expected:
        """Why nothing of that day counts any more: there was no consent, or no case."""
        withdrawn = self.withdrawn.get(referral.consent_id)
        return _no(
            NO_CONSENT=withdrawn is not None and day >= withdrawn,
            CASE_CLOSED=self.last_on is not None and day > self.last_on,
        )

    def begun(self, id: str) -> list[int]:
        """The first days of whoever takes part under a referral."""
        return [one.started_on for one in self.participations.values() if one.referral_id == id]

    def may_begin(self, id: str) -> bool:
        """Somebody has, or there was a yes on a day on which there were consent and case."""
        referral = self.referrals[id]
        counts = [yes for yes in referral.yeses if not self.over(referral, yes[0])]
        return bool(self.begun(id)) or (referral.left is None and bool(counts))

    def is_open(self, id: str, day: int) -> bool:
        referral = self.referrals[id]
        return not self.begun(id) and referral.left is None and not self.over(referral, day)

    def state(self, id: str) -> tuple[str, str | None]:
        """And why, where it is left or stopped."""
        referral = self.referrals[id]
        if not self.begun(id):
            if referral.left is not None:
                return referral.left[:2]
            if referral.stopped is not None:
                return "STOPPED", referral.stopped[0]
        return ("ACCEPTED" if self.begun(id) or referral.yeses else "SENT"), None

    # --- what is answered

    def refer(self, who: str, id: str, said: Referral, today: int) -> Expected:
        if who != self.owner:
            return NOT_YOURS
        if (known := self.referrals.get(id)) is not None:
            asked = [(one.run_id, one.consent_id, one.requested_on, one.categories) for one in (said, known)]
            return UNCHANGED if asked[0] == asked[1] else _no(REFERRAL_EXISTS=True)
        given = self.consents[said.consent_id]
        covered = (
            given.purpose == "REFERRAL"
            and said.run.provider in given.recipients
            and set(said.categories) <= set(given.categories)
            and given.first_on <= said.requested_on <= given.last_on
            and said.consent_id not in self.withdrawn
        )
        no = _no(
            FUTURE_DAY=said.requested_on > today,
            CASE_CLOSED=self.last_on is not None and said.requested_on > self.last_on,
            NO_CONSENT=not covered,
        )
        if not no:
            self.referrals[id] = said
        return no or RECORDED

    def withdraw(self, who: str, id: str, reason: str, on: int, today: int) -> Expected:
        return self._leaves(who, self.owner, id, ("STOPPED", reason, on), today)

    def accept(self, who: str, id: str, planned_on: int | None, reason: str | None, on: int, today: int) -> Expected:
        referral = self.referrals[id]
        if who != referral.run.provider:
            return NOT_YOURS
        run = referral.run
        yes = (on, max(run.starts_on, on) if planned_on is None else planned_on)
        no = _no(CONTRADICTION=reason is not None, FUTURE_DAY=on > today)
        if not no and referral.left is None and referral.yes == yes:
            return UNCHANGED
        of_the_run = planned_on is None or (run.starts_on <= planned_on < run.ends_before_on and planned_on >= on)
        no |= _no(NOT_OPEN=not self.is_open(id, on), PLANNED_OUTSIDE_RUN=not of_the_run)
        if not no:
            referral.yeses.append(yes)
            referral.stopped = None  # until a rule looks at it
        return no or RECORDED

    def decline(self, who: str, id: str, planned_on: int | None, reason: str | None, on: int, today: int) -> Expected:
        provider = self.referrals[id].run.provider
        if who == provider and (no := _no(CONTRADICTION=planned_on is not None, DECLINE_NEEDS_REASON=reason is None)):
            return no | _no(FUTURE_DAY=on > today, NOT_OPEN=not self.is_open(id, on))
        return self._leaves(who, provider, id, ("DECLINED", reason or "", on), today)

    def _leaves(self, who: str, whose: str, id: str, left: tuple[str, str, int], today: int) -> Expected:
        if who != whose:
            return NOT_YOURS
        if self.referrals[id].left == left:
            return UNCHANGED
        no = _no(NOT_OPEN=not self.is_open(id, left[2]), FUTURE_DAY=left[2] > today)
        if not no:
            self.referrals[id].left = left
        return no or RECORDED

    def start(self, who: str, id: str, referral_id: str, said: Start, today: int) -> Expected:
        referral = self.referrals[referral_id]
        one = self.participations.get(id, Participation(referral_id))
        if who != referral.run.provider:
            return NOT_YOURS
        if one.referral_id != referral_id:
            return _no(NOT_OF_THIS_REFERRAL=True)
        if (again := _again(said, one.starts)) is not None:
            return again
        ended = one.ended_before_on
        no = self.over(referral, said.on) | _no(
            NOT_ACCEPTED=not self.may_begin(referral_id),
            FUTURE_DAY=said.on > today,
            START_AFTER_END=_wins(said, one.starts) and ended is not None and said.on > ended,
        )
        if not no:
            one.starts.append(said)
            self.participations[id] = one
        return no or RECORDED

    def end(self, who: str, id: str, said: End, today: int) -> Expected:
        one = self.participations[id]
        if who != self.referrals[one.referral_id].run.provider:
            return NOT_YOURS
        if (again := _again(said, one.ends)) is not None:
            return again
        no = _no(
            FUTURE_DAY=said.before_on > today + 1,
            END_BEFORE_START=_wins(said, one.ends) and said.before_on < one.started_on,
        )
        if not no:
            one.ends.append(said)
        return no or RECORDED

    def attend(self, who: str, id: str, meeting_id: str, said: Meeting, today: int) -> Expected:
        one = self.participations[id]
        referral = self.referrals[one.referral_id]
        if who != referral.run.provider:
            return NOT_YOURS
        if (again := _again(said, one.meetings[meeting_id])) is not None:
            return again
        excused, absent = said.presence == "EXCUSED", said.presence in ("EXCUSED", "UNEXCUSED")
        no = self.over(referral, said.on) | _no(
            FUTURE_DAY=said.on > today,
            NOT_RUNNING=not one.runs_on(said.on),
            MORE_THAN_PLANNED=said.attended > said.planned,
            EXCUSE_NEEDS_REASON=excused and said.excuse is None,
            CONTRADICTION=(not excused and said.excuse is not None) or (absent and said.attended > 0),
        )
        if not no:
            one.meetings[meeting_id].append(said)
        return no or RECORDED

    # --- what is said by rules

    def ticks(self, ticked: datetime) -> list[Said]:
        """All that is missing by that tick, taken as said."""
        said = [*self._stops(), *self._risks(ticked), *self._drop_outs()]
        return [{"case_id": self.id, "as_of": ticked, **one} if "rule" in one else one for one in said]

    def _stops(self) -> Iterator[Said]:
        for id, referral in self.referrals.items():
            withdrawn = self.withdrawn.get(referral.consent_id)
            on = self.last_on if withdrawn is None else withdrawn
            if on is not None and not self.begun(id) and referral.left is None and referral.stopped is None:
                referral.stopped = ("CASE_CLOSED" if withdrawn is None else "CONSENT_WITHDRAWN", on)
                yield {"type": "ReferralStopped", "referral_id": id, "reason": referral.stopped[0], "stopped_on": on}

    def _risks(self, ticked: datetime) -> Iterator[Said]:
        today, owner = day_of(ticked), {"owner_organisation_id": self.owner}
        holds = {**dict(self._absent()), **dict(self._missed(today))}
        for risk in [risk for risk in self.open if risk not in holds]:
            del self.open[risk]
            yield self._is_gone(risk, Gone(self._why(risk, self._told(risk, ticked)), ticked))
        for risk, known in list(self.gone.items())[-KNOWN_AT_MOST:]:
            if risk not in holds and risk not in self.open and ticked - known.at <= KNOWN_FOR:
                why = self._why(risk, self._told(risk, ticked))
                if why != known.why:
                    yield self._is_gone(risk, Gone(why, ticked))
        for risk, (version, days, last_on) in holds.items():
            if risk not in self.open:
                self.open[risk] = max(days)
                self.raised[risk.about, risk.rule] += 1
                self.words[risk].append((ticked, None))
                yield {
                    "type": "DropoutRiskRaised", **risk._asdict(), "rule_version": version, "days_on": tuple(days), **owner,
                }  # fmt: skip
            said_on = self.open[risk]
            corrected = risk.rule == "S2" and last_on < said_on
            if corrected or (said_on < today - SAID_AGAIN and last_on > said_on and last_on >= today - NEWS):
                self.open[risk] = last_on
                yield {"type": "DropoutRiskContinued", **risk._asdict(), "last_missed_on": last_on, **owner}

    def _is_gone(self, risk: Risk, gone: Gone) -> Said:
        self.gone.pop(risk, None)
        self.gone[risk] = gone
        self.words[risk].append((gone.at, gone.why))
        told = {**risk._asdict(), "reason": gone.why, "owner_organisation_id": self.owner}
        return {"type": "DropoutRiskWithdrawn", **told}

    def _told(self, risk: Risk, ticked: datetime) -> str | None:
        """Why an office may believe that it is over: the last word of the ticks before this one."""
        words = [why for at, why in self.words[risk] if ticked - KNOWN_FOR <= at < ticked]
        return words[-1] if words else None

    def _absent(self) -> Iterator[tuple[Risk, tuple[int, list[int], int]]]:
        """S2 that holds: its version, the days to say, and the newest of all."""
        for id, one in self.participations.items():
            rows = self._rows(one)
            if rows and not rows[-1][1] and not self._is_over(one):
                days = rows[-1][0]
                if (held := self._held(days, one)) is not None:
                    said = days if len(days) <= MOST_DAYS else [days[0], *days[1 - MOST_DAYS :]]
                    yield Risk(id, "S2", days[0]), (held[1], said, days[-1])

    def _missed(self, today: int) -> Iterator[tuple[Risk, tuple[int, list[int], int]]]:
        """S6 that holds, as S2."""
        for id, referral in self.referrals.items():
            if self.state(id)[0] == "ACCEPTED" and not self.begun(id) and referral.yes is not None:
                planned = referral.yes[1]
                if planned + NO_SHOW <= today:
                    yield Risk(id, "S6", planned), (1, [planned], min(today, referral.run.ends_before_on - 1))

    def _rows(self, one: Participation) -> list[tuple[list[int], bool]]:
        """Unexcused course days in a row, and whether somebody came after them."""
        referral, by_day = self.referrals[one.referral_id], self._days(one)
        rows, row = list[tuple[list[int], bool]](), list[int]()
        for day in sorted(day for day in by_day if one.runs_on(day)):
            if by_day[day] & {"PRESENT", "LATE"}:
                rows, row = [*rows, (row, True)] if row else rows, []
            elif "UNEXCUSED" in by_day[day] and not self.over(referral, day):
                row.append(day)
        return [*rows, (row, False)] if row else rows

    def _days(self, one: Participation) -> dict[int, set[str]]:
        """What is known of each course day since the start, whatever ended when."""
        by_day = defaultdict[int, set[str]](set)
        for reports in one.meetings.values():
            if (meeting := stands(reports)) is not None and meeting.on >= one.started_on:
                by_day[meeting.on].add(meeting.presence)
        return by_day

    def _held(self, days: Iterable[int], one: Participation) -> tuple[int, int] | None:
        """The first day on which a row is long enough by the version of that day, and that version."""
        offer_type = self.referrals[one.referral_id].run.offer_type
        for count, day in enumerate(days, 1):
            version = max((version for version in self.thresholds if version.from_on <= day), key=lambda v: v.from_on)
            if count >= version.by_offer_type.get(offer_type, version.otherwise):
                return day, version.version
        return None

    def _is_over(self, one: Participation) -> bool:
        """Nobody who comes again could be heard of."""
        gone = self.referrals[one.referral_id].consent_id in self.withdrawn or self.last_on is not None
        return gone or one.ended_before_on is not None

    def _why(self, risk: Risk, told: str | None) -> str:
        """`told`: the reason that somebody may know of."""
        return self._why_absent(risk, told) if risk.rule == "S2" else self._why_missed(risk, told)

    def _why_absent(self, risk: Risk, told: str | None) -> str:
        """Of the first row of absences, long enough, that begins with the risk; or goes on from its day, nobody having come until then,
        unless it was told that it was wrong, as it is where its first day moves."""
        one = self.participations[risk.about]
        by_day = self._days(one)
        stood = [stands(reports) for reports in one.meetings.values()]
        came = sorted({one.on for one in stood if one is not None and one.presence in ("PRESENT", "LATE")})
        absent = [day for day in sorted(by_day) if "UNEXCUSED" in by_day[day] and day not in came]
        if not self._is_over(one):
            absent = [day for day in absent if one.runs_on(day)]
        rows = dict[int, list[int]]()  # how often somebody had come before tells rows apart
        for day in absent:
            rows.setdefault(sum(before < day for before in came), []).append(day)
        enough = {place: row for place, row in rows.items() if self._held(row, one)}
        exact = [row for row in enough.values() if row[0] == risk.first_on]
        place = sum(before <= risk.first_on for before in came)
        shared = (
            [enough[place]] if place in enough and enough[place][-1] >= risk.first_on and told != "CORRECTED" else []
        )
        if not exact + shared:
            return "CORRECTED"
        row, end = (exact + shared)[0], one.ended_before_on
        came_again = any(row[-1] < day and (end is None or day < end) for day in came)
        if self._is_over(one):
            return "ATTENDED" if came_again and told == "ATTENDED" else "ENDED"
        return "ATTENDED" if came_again else "CORRECTED"

    def _why_missed(self, risk: Risk, told: str | None) -> str:
        referral, (state, reason) = self.referrals[risk.about], self.state(risk.about)
        people = [one for one in self.participations.values() if one.referral_id == risk.about]
        # who ended on the day of the start was there on none
        there = [one for one in people if one.ended_before_on is None or one.ended_before_on > one.started_on]
        agreed = sorted(referral.yeses, key=lambda yes: yes[0])
        moved = agreed[-1][1] != risk.first_on
        newest = max(place for place, (_, planned) in enumerate(agreed) if planned == risk.first_on)
        if reason == "ENTERED_IN_ERROR" or any(one.started_on - risk.first_on < NO_SHOW for one in there):
            return "CORRECTED"
        if moved and agreed[newest + 1][0] - risk.first_on < NO_SHOW:
            return "CORRECTED"
        if told == "ATTENDED" and there:
            return told
        if told == "REPLANNED" and moved and (people or (referral.left is None and referral.stopped is None)):
            return told
        if state != "ACCEPTED" or (people and all(one.ended_before_on is not None for one in people)):
            return "ENDED"
        return "ATTENDED" if there else "REPLANNED"

    def _drop_outs(self) -> Iterator[Said]:
        for id, one in self.participations.items():
            end, was = stands(one.ends), self.dropped_out.get(id)
            is_ = (end.before_on, end.reason) if end is not None and end.kind == "DROPPED_OUT" else None
            told = {"participation_id": id, "owner_organisation_id": self.owner}
            if was is not None and was != is_:
                del self.dropped_out[id]
                yield {"type": "DroppedOutWithdrawn", **told}
            if is_ is not None and was != is_:
                self.dropped_out[id] = is_
                yield {"type": "DroppedOut", "ended_before_on": is_[0], "reason": is_[1], **told}

    # --- what people read

    def view(self) -> dict[str, set[tuple[Any, ...]]]:
        """Rows of referral's lists, by list."""
        mine = (self.id, self.tenant)
        board, people, risks = set[tuple[Any, ...]](), set[tuple[Any, ...]](), set[tuple[Any, ...]]()
        for id, referral in self.referrals.items():
            state, reason = self.state(id)
            planned = None if referral.yes is None else referral.yes[1]
            board.add((id, *mine, referral.run_id, referral.run.provider, self.owner, referral.run.block, state, reason,
                       referral.requested_on, planned))  # fmt: skip
            if raised := self.raised.get((id, "S6")):
                since = self._raised_since(id, "S6")
                risks.add((id, "S6", *mine, None, id, referral.run_id, self._missed_from(id), raised, since is not None,
                           self.owner, since))  # fmt: skip
        for id, one in self.participations.items():
            referral, end = self.referrals[one.referral_id], stands(one.ends)
            people.add((id, one.referral_id, *mine, referral.run_id, referral.run.block, one.started_on, one.ended_before_on,
                        None if end is None else end.kind, id in self.dropped_out))  # fmt: skip
            if any(one.meetings.values()):
                held = [held[0] for days, _ in self._rows(one) if (held := self._held(days, one))]
                since = self._raised_since(id, "S2")
                risks.add((id, "S2", *mine, id, one.referral_id, referral.run_id, min(held, default=None),
                           self.raised.get((id, "S2"), 0), since is not None, self.owner, since))  # fmt: skip
        return {"referral_board": board, "participation_list": people, "risk_list": risks}

    def periods(self, municipality: str) -> list[tuple[Any, ...]]:
        """What reporting counts of a case of this place: who took part in which block, from which day on and until before which."""
        return [
            (self.id, id, self.tenant, municipality, self.referrals[one.referral_id].run.block, one.started_on, one.ended_before_on)
            for id, one in self.participations.items()
        ]  # fmt: skip

    def _raised_since(self, about: str, rule: str) -> int | None:
        """The first day of the worry that is open."""
        return max((risk.first_on for risk in self.open if risk[:2] == (about, rule)), default=None)

    def _missed_from(self, id: str) -> int | None:
        """The day from which somebody was missing, as known now; none that is to come."""
        referral, begun = self.referrals[id], self.begun(id)
        if referral.yes is None:
            return None
        on = referral.yes[1] + NO_SHOW
        if self.state(id)[0] == "ACCEPTED" and not begun:
            return on if Risk(id, "S6", referral.yes[1]) in self.open else None
        left = not begun and referral.left is not None and referral.left[2] < on
        return None if left or self.over(referral, on) or min(begun, default=on) < on else on
