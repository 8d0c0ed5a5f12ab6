"""The ledger tested without any service: a world in which all is well, then each kind of damage, each named by it."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.places import ROOT
from deploy.soak.expected import EXISTS, RECORDED, ZONE, Expected, Said, expect, grid
from deploy.soak.journal import Journal, Place
from deploy.soak.ledger import (
    FACT_OF,
    Ledger,
    Observed,
    Progress,
    Recovery,
    SeenAnswer,
    SeenCell,
    SeenFact,
    SeenLetter,
    SeenMail,
    SeenParticipation,
    SeenReferral,
    held_against,
)
from deploy.soak.load import LAST_DAY_TICK, MAILBOXES, PUBLISHERS, TENANT, Load

SENT_AT = 1_790_000_000.0


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A wave with noise, all of it acknowledged."""
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    load = Load(7)
    wave = load.wave(60, 10)
    report = next(meant for meant in wave.then if meant.type == "attendance_reported" and not meant.poison)
    wave.then += [broken(report) for _ in range(12) for broken in (load.flawed, load.poisoned)]
    for at, meant in enumerate([*wave.first, *wave.then]):
        number = journal.means(meant)
        journal.sends(number, SENT_AT)
        journal.acknowledged(number, Place(meant.topic, 0, at))
    return journal


def expected_of(journal: Journal) -> Expected:
    """What must come of it."""
    return expect(journal.entries, PUBLISHERS, LAST_DAY_TICK)


class World:
    """A Lotse in which everything went well, made from what is expected: the ledger has nothing to say about it."""

    def __init__(self, expected: Expected) -> None:
        self.expected, self.seen = expected, Observed()
        self.numbers: dict[tuple[str, str], int] = defaultdict(int)
        self.lines: dict[str, list[dict[str, str]]] = defaultdict(list)
        """Office to what it is told."""
        won: dict[tuple[str, ...], Said] = {}
        for contents in expected.said.values():
            for said in contents:
                self._answer(said, said is contents[0], won)
        for entry in expected.poison:
            self.seen.letters += [SeenLetter("referral", place, "", f"seal of {place}") for place in entry.places]
        self._rules()
        self._tables()

    def fact(self, type: str, family: str, subject: str, id: str, cause: str, **body: object) -> SeenFact:
        """The next fact of a stream."""
        self.numbers[family, subject] += 1
        fact = SeenFact(Place(f"{family}.events", 0, len(self.seen.facts)), id, type, family, subject, TENANT,
                        self.numbers[family, subject], cause, body)  # fmt: skip
        self.seen.facts.append(fact)
        return fact

    def _answer(self, said: Said, first: bool, won: dict[tuple[str, ...], Said]) -> None:
        outcome, reason = said.verdict
        if outcome == "waits":
            return
        if not first:
            outcome, reason = "refused", "ID_REUSED"
        elif said.verdict == RECORDED and won.setdefault(said.thing, said) is not said:
            same = won[said.thing].statement == said.statement
            outcome, reason = ("unchanged", "") if same else ("refused", EXISTS[said.type])
        self.answered(said, outcome, reason)
        if outcome == "recorded" and said.body is not None:
            answers = {"ACCEPTED": "referral_accepted", "DECLINED": "referral_declined"}
            type_ = FACT_OF.get(said.type) or answers[said.body["answer"]]
            self.fact(type_, said.family, said.subject, said.fact_id, said.reference, **said.body)

    def answered(self, said: Said, outcome: str, reason: str = "") -> None:
        """An answer is on its topic."""
        fact_id = said.fact_id if outcome == "recorded" else ""
        about = (said.publisher, said.family, said.answer_id, said.id, said.reference, said.content)
        self.seen.answers.append(SeenAnswer(*about, outcome, reason, fact_id))

    def _rules(self) -> None:
        expected = self.expected
        for referral in sorted(expected.stopped):
            self.fact(
                "referral_stopped", "referral", expected.referrals[referral], str(uuid4()), "x", referral_id=referral
            )
        for (about, rule), first in sorted(expected.open_risks.items()):
            case = expected.periods[about][0] if rule == "S2" else expected.referrals[about]
            days = [str(first)] if rule == "S6" else sorted(str(day) for day in expected.absent[about] if day >= first)
            risk = {"about": about, "rule": rule, "first_on": str(first), "owner_organisation_id": expected.cases[case]}
            self.fact("dropout_risk_raised", "dropout", case, str(uuid4()), "x", days_on=days, **risk)
            if rule == "S6":  # of 20 May, on 2 June
                more = {"last_missed_on": str(LAST_DAY_TICK.date()), "as_of": LAST_DAY_TICK.isoformat()}
                self.fact("dropout_risk_continued", "dropout", case, str(uuid4()), "x", **risk, **more)
            office = f"{TENANT}:{expected.cases[case]}"
            self.seen.notices.append(
                {**risk, "case_id": case, "office_id": office, "tenant": TENANT, "told": True, "taken_back": False}
            )
            line = {"kind": "RAISED", "case_id": case, "about": about, "rule": rule, "first_on": str(first)}
            self.lines[office].append(line)
        for id, (case, _, _, dropped) in sorted(expected.periods.items()):
            if dropped:
                self.fact("dropped_out", "dropout", case, str(uuid4()), "x", participation_id=id)
        for office, lines in self.lines.items():
            self.tell(office, lines)

    def tell(self, office: str, lines: list[dict[str, str]], result: str = "sent") -> None:
        """An attempt with its result, and its mail."""
        attempt = str(uuid4())
        for type, more in (("notification_attempted", {"lines": lines}), (f"notification_{result}", {})):
            self.fact(type, "notification", office, str(uuid4()), "x", attempt_id=attempt, **more)
        if result == "sent":
            self.seen.mails.append(SeenMail(attempt, MAILBOXES[office]))

    def _tables(self) -> None:
        expected, seen = self.expected, self.seen
        seen.cases = list(expected.cases)
        seen.referrals = [SeenReferral(case, id, *expected.board[id]) for id, case in expected.referrals.items()]
        seen.participations = [
            SeenParticipation(case, id, str(start), str(end) if end else None, dropped)
            for id, (case, start, end, dropped) in expected.periods.items()
        ]
        first = {**{(id, "S2"): str(day) for id, day in expected.s2_first.items()},
                 **{about: str(day) for about, day in expected.open_risks.items() if about[1] == "S6"}}  # fmt: skip
        seen.risks = [{"about": about, "rule": rule, "holds_from_on": day, "open": (about, rule) in expected.open_risks}
                      for (about, rule), day in first.items()]  # fmt: skip
        months = grid(expected, LAST_DAY_TICK)
        seen.reports = [
            SeenCell(month, *cell, *figures) for month, cells in months.items() for cell, figures in cells.items()
        ]
        waiting = sum(said.verdict.outcome == "waits" for said in expected.all)
        quiet = {"outbox": {"rows": 0}, "lag": {}, "held": [], "early": 0, "waiting": 0, "set_aside": {"count": 0}}
        seen.status = {"referral": {**quiet, "waiting": waiting}, "intake": quiet}


@pytest.fixture(scope="module")
def must(journal: Journal) -> Expected:
    """Made once; nobody changes it."""
    return expected_of(journal)


@pytest.fixture
def world(must: Expected) -> World:
    """A fresh world without fault."""
    return World(must)


def ledger_of(world: World, **more: Any) -> Ledger:
    """What the ledger says."""
    return held_against(world.expected, world.seen, ticked=LAST_DAY_TICK, figures=True, mailboxes=MAILBOXES, **more)


def kinds(world: World, **more: Any) -> set[str]:
    """What it names."""
    return ledger_of(world, **more).kinds()


def test_of_a_world_without_fault_the_ledger_says_nothing(world: World) -> None:
    ledger = ledger_of(world)
    assert ledger.balanced, str(ledger)
    counts = ledger.counts
    assert counts["submissions"] > 500 and counts["poison"] > 5 and counts["waiting"] >= 1
    assert counts["answered"] + counts["waiting"] == counts["submissions"]
    outcomes = {(answer.outcome, answer.reason) for answer in world.seen.answers}
    assert {("recorded", ""), ("unchanged", ""), ("refused", "ID_REUSED"), ("refused", "REVISION_REUSED"), ("refused", "NOT_YOURS"),
            ("refused", "NOT_RUNNING"), ("refused", "NO_CONSENT"), ("unreadable", "")} <= outcomes  # fmt: skip
    assert world.expected.stopped and {rule for _, rule in world.expected.open_risks} == {"S2", "S6"}


def test_a_copy_is_no_fault(world: World) -> None:
    world.seen.facts += [
        fact._replace(place=fact.place._replace(offset=10_000 + n)) for n, fact in enumerate(world.seen.facts[:50])
    ]
    world.seen.answers += world.seen.answers[:50]
    world.seen.letters += world.seen.letters[:2]
    assert kinds(world) == set()


def pick(world: World, type: str) -> int:
    """Where the first fact of a type stands in the list."""
    return next(n for n, fact in enumerate(world.seen.facts) if fact.type == type)


def lose_an_answer(world: World) -> None:
    del world.seen.answers[5]


def lose_a_fact(world: World) -> None:
    """The last of its stream, so that no hole gives it away."""
    last = {(fact.family, fact.subject): n for n, fact in enumerate(world.seen.facts)}
    del world.seen.facts[next(n for n in last.values() if world.seen.facts[n].type == "attendance_recorded")]


def lose_a_reaction(world: World) -> None:
    del world.seen.facts[pick(world, "dropout_risk_raised")]


def lose_a_mail(world: World) -> None:
    world.seen.mails.clear()


def lose_a_row(world: World) -> None:
    del world.seen.participations[3]


def lose_a_referrals_row(world: World) -> None:
    del world.seen.referrals[2]


def invent_a_referrals_row(world: World) -> None:
    world.seen.referrals.append(world.seen.referrals[0]._replace(id=str(uuid4())))


def double_a_referrals_row(world: World) -> None:
    world.seen.referrals.append(world.seen.referrals[0])


def show_a_referral_as_it_was(world: World) -> None:
    """Its case is right, and it stands there as if nobody had stopped it."""
    n = next(n for n, row in enumerate(world.seen.referrals) if row.id in world.expected.stopped)
    world.seen.referrals[n] = world.seen.referrals[n]._replace(state="ACCEPTED")


def drift_a_planned_start(world: World) -> None:
    n = next(n for n, row in enumerate(world.seen.referrals) if row.planned_start_on)
    world.seen.referrals[n] = world.seen.referrals[n]._replace(planned_start_on="2026-01-01")


def list_a_worry_at_another_office(world: World) -> None:
    """Told to its own office, and whoever opens the list of another reads it there."""
    row = world.seen.notices[0]
    world.seen.notices[0] = {**row, "office_id": next(office for office in MAILBOXES if office != row["office_id"])}


def list_a_worry_under_another_case(world: World) -> None:
    world.seen.notices[0] = {**world.seen.notices[0], "case_id": str(uuid4())}


def drift_the_day_of_a_notice(world: World) -> None:
    world.seen.notices[0] = {**world.seen.notices[0], "first_on": "2026-01-01"}


def lose_the_telling(world: World) -> None:
    world.seen.notices[0] = {**world.seen.notices[0], "told": False}


def lose_a_fact_in_the_middle(world: World) -> None:
    of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, fact in enumerate(world.seen.facts):
        of[fact.family, fact.subject].append(n)
    del world.seen.facts[next(places for places in of.values() if len(places) > 3)[1]]


def answer_twice(world: World) -> None:
    world.seen.answers.append(world.seen.answers[0]._replace(id="another", outcome="refused", reason="NOT_YOURS"))


def answer_twice_under_another_id(world: World) -> None:
    """The same answer; but who knows copies by their id takes it for a second one."""
    world.seen.answers.append(world.seen.answers[0]._replace(id=str(uuid4())))


def answer_on_another_topic(world: World) -> None:
    """Its publisher has it, and does not look for it there."""
    n = next(n for n, answer in enumerate(world.seen.answers) if answer.family == "attendance")
    world.seen.answers[n] = world.seen.answers[n]._replace(family="intake")


def answer_as_another_reference(world: World) -> None:
    n = next(n for n, answer in enumerate(world.seen.answers) if answer.outcome == "refused")
    world.seen.answers[n] = world.seen.answers[n]._replace(reference=str(uuid4()))


def answer_under_another_id(world: World) -> None:
    """Once only; but the copy that comes after a crash will not be known as one."""
    world.seen.answers[0] = world.seen.answers[0]._replace(id=str(uuid4()))


def repeat_a_fact_with_another_body(world: World) -> None:
    """With id and number of its original, as a copy has them: whoever reads the copy alone reads something else."""
    fact = world.seen.facts[pick(world, "attendance_recorded")]
    place = fact.place._replace(offset=10_000)
    world.seen.facts.append(fact._replace(place=place, body={**fact.body, "units_attended": 3}))


def repeat_a_fact_with_another_cause(world: World) -> None:
    fact = world.seen.facts[pick(world, "dropout_risk_raised")]
    world.seen.facts.append(fact._replace(place=fact.place._replace(offset=10_000), cause="y"))


def record_twice(world: World) -> None:
    fact = world.seen.facts[pick(world, "attendance_recorded")]
    world.fact(fact.type, fact.family, fact.subject, fact.id, fact.cause, **fact.body)


def record_both_rivals(world: World) -> None:
    said = next(
        s
        for s in world.expected.all
        for a in world.seen.answers
        if a.reference == s.reference and a.reason == "REVISION_REUSED"
    )
    n = next(n for n, a in enumerate(world.seen.answers) if a.reference == said.reference)
    world.seen.answers[n] = world.seen.answers[n]._replace(outcome="recorded", reason="", fact_id=said.fact_id)
    assert said.body is not None
    world.fact("attendance_recorded", said.family, said.subject, said.fact_id, said.reference, **said.body)


def stop_twice(world: World) -> None:
    fact = world.seen.facts[pick(world, "referral_stopped")]
    world.fact(fact.type, fact.family, fact.subject, str(uuid4()), "x", **fact.body)


def raise_twice(world: World) -> None:
    fact = world.seen.facts[pick(world, "dropout_risk_raised")]
    world.fact(fact.type, fact.family, fact.subject, str(uuid4()), "x", **fact.body)


def raise_since_another_day_too(world: World) -> None:
    fact = world.seen.facts[pick(world, "dropout_risk_raised")]
    world.fact(fact.type, fact.family, fact.subject, str(uuid4()), "x", **{**fact.body, "first_on": "2026-05-19"})


def lose_what_goes_on(world: World) -> None:
    """The last of its stream: an office that hears of it late takes for history who is missed to this day."""
    del world.seen.facts[max(n for n, fact in enumerate(world.seen.facts) if fact.type == "dropout_risk_continued")]


def go_on_too_soon(world: World) -> None:
    fact = world.seen.facts[pick(world, "dropout_risk_continued")]
    world.fact(fact.type, fact.family, fact.subject, str(uuid4()), "x", **{**fact.body, "last_missed_on": "2026-06-03"})


def go_on_after_the_run(world: World) -> None:
    n = pick(world, "dropout_risk_continued")
    later = {"last_missed_on": "2026-12-18", "as_of": "2026-12-18T06:00:00+00:00"}
    world.seen.facts[n] = world.seen.facts[n]._replace(body={**world.seen.facts[n].body, **later})


def tell_twice(world: World) -> None:
    """Two sound attempts, each with its own id and its own mail, about the same worry: as after a rebuild that tells again."""
    office, lines = next(iter(world.lines.items()))
    world.tell(office, lines[:1])


def tell_nobodys_worry(world: World) -> None:
    office, lines = next(iter(world.lines.items()))
    world.tell(office, [{**lines[0], "about": str(uuid4())}])


def tell_another_office(world: World) -> None:
    """What concerns one office's case stands in the mail to another."""
    (_, lines), (other, _) = list(world.lines.items())[:2]
    world.tell(other, lines[:1])


def take_back(world: World, *reasons: str) -> None:
    """A worry that was raised, and told, is over for one reason after the other."""
    office, lines = next(iter(world.lines.items()))
    about = {key: lines[0][key] for key in ("about", "rule", "first_on")}
    for reason in reasons:
        world.fact("dropout_risk_withdrawn", "dropout", lines[0]["case_id"], str(uuid4()), "x", **about, reason=reason)
        world.tell(office, [{**lines[0], "kind": "WITHDRAWN", "reason": reason}])


def say_twice_why_it_is_over(world: World) -> None:
    take_back(world, "ENDED", "CORRECTED", "CORRECTED")


def take_back_what_nobody_was_told(world: World) -> None:
    office, lines = next(iter(world.lines.items()))
    world.tell(office, [{**lines[0], "kind": "WITHDRAWN", "first_on": "2026-01-01"}])


def leave_an_office_in_its_belief(world: World) -> None:
    """Told, withdrawn since, and no line says so: the list has forgotten it, too."""
    fact = world.seen.facts[pick(world, "dropout_risk_raised")]
    body = {**fact.body, "first_on": "2026-05-19"}
    world.fact("dropout_risk_raised", "dropout", fact.subject, str(uuid4()), "x", **body)
    office = f"{TENANT}:{body['owner_organisation_id']}"
    line = {"kind": "RAISED", "case_id": fact.subject, **{name: body[name] for name in ("about", "rule", "first_on")}}
    world.tell(office, [line])
    world.fact("dropout_risk_withdrawn", "dropout", fact.subject, str(uuid4()), "x", **body)


def leave_unsaid_what_is_over(world: World) -> None:
    """The list knows that the office still believes it."""
    world.seen.notices.append({**world.seen.notices[0], "first_on": "2026-05-19", "taken_back": True})


def fail_the_telling(world: World) -> None:
    """The only attempt about some worries failed, and the list says that the office was told."""
    n = pick(world, "notification_sent")
    fact = world.seen.facts[n]
    world.seen.facts[n] = fact._replace(type="notification_failed")
    world.seen.mails = [mail for mail in world.seen.mails if mail.attempt != fact.body["attempt_id"]]


def double_a_case(world: World) -> None:
    world.seen.cases.append(world.seen.cases[0])


def double_a_participation(world: World) -> None:
    world.seen.participations.append(world.seen.participations[0])


def double_a_risk(world: World) -> None:
    world.seen.risks.append(world.seen.risks[0])


def double_a_notice(world: World) -> None:
    world.seen.notices.append(world.seen.notices[0])


def double_a_cell(world: World) -> None:
    world.seen.reports.append(world.seen.reports[0])


def double_a_letter(world: World) -> None:
    world.seen.letters.append(world.seen.letters[0]._replace(seal="sealed again"))


def show_a_participation_under_another_case(world: World) -> None:
    rows = world.seen.participations
    other = next(row.case_id for row in rows if row.case_id != rows[0].case_id)
    rows[0] = rows[0]._replace(case_id=other)


def mail_twice(world: World) -> None:
    world.seen.mails.append(world.seen.mails[0])


def mail_another_office(world: World) -> None:
    """All that is told is right, and stands in somebody else's mailbox."""
    mail = world.seen.mails[0]
    world.seen.mails[0] = mail._replace(to=next(box for box in MAILBOXES.values() if box != mail.to))


def mail_another_office_too(world: World) -> None:
    world.seen.mails[0] = world.seen.mails[0]._replace(to=", ".join(sorted(MAILBOXES.values())))


def result_twice(world: World) -> None:
    fact = world.seen.facts[pick(world, "notification_sent")]
    world.fact("notification_uncertain", fact.family, fact.subject, str(uuid4()), "x", **fact.body)


def swap_two_bodies(world: World) -> None:
    a, b = [n for n, fact in enumerate(world.seen.facts) if fact.type == "attendance_recorded"][:2]
    facts = world.seen.facts
    facts[a], facts[b] = facts[a]._replace(body=facts[b].body), facts[b]._replace(body=facts[a].body)


def swap_two_subjects(world: World) -> None:
    """Each with the other's number, so that no hole and no fork gives it away."""
    facts = world.seen.facts
    a = pick(world, "case_opened")
    b = next(
        n
        for n, f in enumerate(facts)
        if f.type == "case_opened" and f.subject != facts[a].subject and f.number == facts[a].number
    )
    facts[a], facts[b] = facts[a]._replace(subject=facts[b].subject), facts[b]._replace(subject=facts[a].subject)


def swap_two_fact_ids(world: World) -> None:
    a, b = [n for n, answer in enumerate(world.seen.answers) if answer.outcome == "recorded"][:2]
    answers = world.seen.answers
    answers[a], answers[b] = (
        answers[a]._replace(fact_id=answers[b].fact_id),
        answers[b]._replace(fact_id=answers[a].fact_id),
    )


def swap_an_owner(world: World) -> None:
    n = pick(world, "dropout_risk_raised")
    fact = world.seen.facts[n]
    world.seen.facts[n] = fact._replace(body={**fact.body, "owner_organisation_id": "somebody-else"})


def invent_a_fact(world: World) -> None:
    world.fact("case_opened", "intake", str(uuid4()), str(uuid4()), str(uuid4()))


def invent_an_answer(world: World) -> None:
    world.seen.answers.append(
        SeenAnswer("north", "attendance", "a", "nobody-sent-this", "r", "r1:0", "recorded", "", "f")
    )


def invent_a_row(world: World) -> None:
    world.seen.cases.append(str(uuid4()))


def invent_a_risk(world: World) -> None:
    n = pick(world, "dropout_risk_raised")
    fact = world.seen.facts[n]
    world.seen.facts[n] = fact._replace(body={**fact.body, "days_on": ["2026-01-01", "2026-01-02"]})


def invent_that_a_risk_goes_on(world: World) -> None:
    fact = world.seen.facts[pick(world, "dropout_risk_raised")]
    body = {**{key: value for key, value in fact.body.items() if key != "days_on"}, "last_missed_on": "2026-01-01"}
    world.fact("dropout_risk_continued", fact.family, fact.subject, str(uuid4()), "x", **body)


def invent_a_mail(world: World) -> None:
    world.seen.mails.append(SeenMail(str(uuid4()), next(iter(MAILBOXES.values()))))


def answer_wrongly(world: World) -> None:
    n = next(n for n, answer in enumerate(world.seen.answers) if answer.reason == "NOT_RUNNING")
    world.seen.answers[n] = world.seen.answers[n]._replace(reason="FUTURE_DAY")


def record_what_nobody_can_read(world: World) -> None:
    n = next(n for n, answer in enumerate(world.seen.answers) if answer.outcome == "unreadable")
    said = next(s for s in world.expected.all if s.reference == world.seen.answers[n].reference)
    world.seen.answers[n] = world.seen.answers[n]._replace(outcome="recorded", fact_id=said.fact_id)
    world.fact("attendance_recorded", said.family, said.subject, said.fact_id, said.reference)


def resurrect_what_was_refused(world: World) -> None:
    refused = next(a.reference for a in world.seen.answers if a.reason == "NO_CONSENT")
    said = next(s for s in world.expected.all if s.reference == refused)
    world.fact("referral_sent", "referral", said.subject, said.fact_id, said.reference)


def resurrect_a_risk(world: World) -> None:
    """A risk that no longer holds is open again."""
    shown = next(n for n, row in enumerate(world.seen.risks) if not row["open"])
    world.seen.risks[shown] = {**world.seen.risks[shown], "open": True}


def resurrect_a_drop_out(world: World) -> None:
    id = next(id for id in sorted(world.expected.ended) if not world.expected.periods[id][3])
    world.fact("dropped_out", "dropout", world.expected.periods[id][0], str(uuid4()), "x", participation_id=id)


def disorder_a_stream(world: World) -> None:
    facts = world.seen.facts
    by = defaultdict(list)
    for n, fact in enumerate(facts):
        by[fact.family, fact.subject].append(n)
    a, b = next(places for places in by.values() if len(places) > 2)[:2]
    facts[a], facts[b] = facts[a]._replace(place=facts[b].place), facts[b]._replace(place=facts[a].place)


def fork_a_stream(world: World) -> None:
    fact = world.seen.facts[pick(world, "referral_stopped")]
    world.seen.facts.append(fact._replace(id=str(uuid4()), place=fact.place._replace(offset=99_999)))


def drift_a_figure(world: World) -> None:
    world.seen.reports[0] = world.seen.reports[0]._replace(entries=world.seen.reports[0].entries + 1)


def drift_a_start(world: World) -> None:
    world.seen.participations[0] = world.seen.participations[0]._replace(started_on="2026-01-01")


def swallow_a_poison(world: World) -> None:
    del world.seen.letters[0]


def put_a_sound_one_among_the_dead_letters(world: World) -> None:
    world.seen.letters.append(SeenLetter("referral", Place("attendance.submissions.north", 3, 77), "a reference", "a"))


def leave_the_outbox_full(world: World) -> None:
    world.seen.status["intake"] = {**world.seen.status["intake"], "outbox": {"rows": 3}}


def hold_something(world: World) -> None:
    world.seen.status["intake"] = {**world.seen.status["intake"], "held": [{"what": "everything"}]}


def forget_what_waits(world: World) -> None:
    world.seen.status["referral"] = {**world.seen.status["referral"], "waiting": 0}


def leak_a_canary(world: World) -> None:
    world.seen.leaks.append("the log of referral")


DAMAGES: dict[Callable[[World], None], str] = {
    lose_an_answer: "lost", lose_a_fact: "lost", lose_a_reaction: "lost", lose_a_mail: "lost", lose_a_row: "lost",
    lose_the_telling: "lost", lose_a_fact_in_the_middle: "hole", answer_twice: "doubled", answer_on_another_topic: "swapped", answer_as_another_reference: "swapped",
    repeat_a_fact_with_another_body: "swapped", repeat_a_fact_with_another_cause: "swapped", record_twice: "doubled",
    record_both_rivals: "doubled", stop_twice: "doubled", raise_twice: "doubled", mail_twice: "doubled", mail_another_office: "swapped",
    mail_another_office_too: "swapped", result_twice: "doubled",
    answer_twice_under_another_id: "doubled", answer_under_another_id: "doubled", raise_since_another_day_too: "doubled", lose_what_goes_on: "lost",
    go_on_too_soon: "invented", go_on_after_the_run: "invented",
    tell_twice: "doubled", tell_nobodys_worry: "invented", tell_another_office: "invented",
    take_back_what_nobody_was_told: "invented", say_twice_why_it_is_over: "invented", leave_an_office_in_its_belief: "lost",
    leave_unsaid_what_is_over: "lost", fail_the_telling: "lost",
    lose_a_referrals_row: "lost", invent_a_referrals_row: "invented", double_a_referrals_row: "doubled", show_a_referral_as_it_was: "drifted",
    drift_a_planned_start: "drifted", list_a_worry_at_another_office: "swapped", list_a_worry_under_another_case: "swapped",
    drift_the_day_of_a_notice: "drifted",
    double_a_case: "doubled", double_a_participation: "doubled", double_a_risk: "doubled", double_a_notice: "doubled",
    double_a_cell: "doubled", double_a_letter: "doubled", show_a_participation_under_another_case: "swapped",
    swap_two_bodies: "swapped", swap_two_subjects: "swapped", swap_two_fact_ids: "swapped", swap_an_owner: "swapped",
    invent_a_fact: "invented", invent_an_answer: "invented", invent_a_row: "invented", invent_a_risk: "invented",
    invent_that_a_risk_goes_on: "invented",
    invent_a_mail: "invented", record_what_nobody_can_read: "invented", answer_wrongly: "wrong",
    resurrect_what_was_refused: "resurrected", resurrect_a_risk: "resurrected",
    resurrect_a_drop_out: "resurrected", disorder_a_stream: "disordered", fork_a_stream: "forked", drift_a_figure: "drifted",
    drift_a_start: "drifted", swallow_a_poison: "swallowed", put_a_sound_one_among_the_dead_letters: "unexplained",
    leave_the_outbox_full: "stuck", hold_something: "stuck", forget_what_waits: "unbalanced", leak_a_canary: "leaked",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damage_is_named_by_its_kind(world: World, damage: Callable[[World], None]) -> None:
    damage(world)
    assert DAMAGES[damage] in kinds(world)


def test_what_failed_or_was_taken_back_may_be_told_again(world: World) -> None:
    office, lines = next(iter(world.lines.items()))
    back = [{**lines[0], "kind": "WITHDRAWN"}]
    world.tell(office, back)
    world.tell(office, lines[:1], result="failed")  # as if it had never been
    world.tell(office, lines[:1])
    world.tell(office, back, result="failed")
    assert kinds(world) == set()


def test_why_it_is_over_may_be_said_again_for_another_reason(world: World) -> None:
    office, lines = next(iter(world.lines.items()))
    case, about = lines[0]["case_id"], {key: lines[0][key] for key in ("about", "rule", "first_on")}
    take_back(world, "ATTENDED", "CORRECTED")
    world.tell(office, [{**lines[0], "kind": "WITHDRAWN", "reason": "ENDED"}], result="failed")
    world.tell(office, [{**lines[0], "kind": "WITHDRAWN", "reason": "ENDED"}])
    assert kinds(world) == {"lost"}  # at the end it holds again
    raised = world.seen.facts[pick(world, "dropout_risk_raised")].body
    world.fact("dropout_risk_raised", "dropout", case, str(uuid4()), "x", **{**raised, **about})
    world.tell(office, lines[:1])
    assert kinds(world) == set()


def test_too_slow_a_recovery_and_a_standstill_of_the_rest_are_named(world: World) -> None:
    assert kinds(world, recoveries=[Recovery("Kafka gone", 31.0, 30.0), Recovery("a kill", 2.0, 30.0)]) == {"slow"}
    assert kinds(world, progress=[Progress("referral was stopped", "intake", 3, 20)]) == {"standstill"}
    assert kinds(world, progress=[Progress("referral was stopped", "intake", 20, 20)]) == set()


def test_what_was_sent_and_never_acknowledged_may_be_there_once_or_not_at_all(world: World, journal: Journal) -> None:
    entries = deepcopy(journal.entries)
    report = next(e for e in entries if e.meant.type == "attendance_reported" and not e.meant.poison and e.places)
    unsure = deepcopy(report)
    unsure.places.clear()
    unsure.meant = type(unsure.meant)(**{**{f: getattr(unsure.meant, f) for f in unsure.meant.__slots__}, "id": "unsure",
        "body": json.dumps({**json.loads(unsure.meant.body), "meeting_id": str(uuid4())}).encode()})  # fmt: skip
    world.expected = expect([*entries, unsure], PUBLISHERS, LAST_DAY_TICK)
    ledger = ledger_of(world)
    assert ledger.balanced and ledger.counts["not acknowledged, never seen"] == 1
    said = next(said for said in world.expected.all if said.id == "unsure")
    assert said.body is not None
    world.answered(said, "recorded")
    world.fact("attendance_recorded", "attendance", said.subject, said.fact_id, said.reference, **said.body)
    ledger = ledger_of(world)
    assert ledger.balanced and ledger.counts["not acknowledged, answered all the same"] == 1, str(ledger)


def test_the_journal_goes_on_after_a_torn_line_and_loses_nothing_before_it(tmp_path: Path) -> None:
    file, wave = tmp_path / "journal.jsonl", Load(3).wave(3, 4)
    first = Journal(file)
    for meant in wave.first:
        first.sends(first.means(meant), SENT_AT)
    first.acknowledged(0, Place("a", 1, 2))
    with file.open("ab") as torn:
        torn.write(b'[1, "acknowledged", ["a", 1')
    again = Journal(file)
    assert [entry.meant for entry in again.entries] == wave.first
    assert again.entries[0].places == [Place("a", 1, 2)]
    assert list(again.unacknowledged()) == list(range(1, len(wave.first)))
    again.acknowledged(1, Place("a", 1, 3))
    assert Journal(file).entries[1].acknowledged


def test_the_death_of_the_sender_loses_no_line(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom deploy.soak.journal import Journal, Place\nfrom deploy.soak.load import Load\n"
        "journal = Journal(Path(sys.argv[1]))\nfor n, meant in enumerate(Load(3).wave(3, 4).first):\n"
        "    journal.sends(journal.means(meant), 1.0)\n    journal.acknowledged(n, Place('a', 0, n))\n    print(n, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    file = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    told = [int(line) for line in done.stdout.split()]
    assert done.returncode == -9 and len(told) > 10
    assert [n for n, entry in enumerate(Journal(file).entries) if entry.acknowledged] == told


def test_the_same_seed_sends_the_same() -> None:
    assert Load(5).wave(4, 9) == Load(5).wave(4, 9) != Load(6).wave(4, 9)


def test_the_recomputed_figures_agree_with_a_count_by_hand(journal: Journal) -> None:
    expected, months = expected_of(journal), grid(expected_of(journal), LAST_DAY_TICK)
    assert list(months) == ["2026-02", "2026-03", "2026-04", "2026-05"]
    assert sum(entries for cells in months.values() for entries, _, _ in cells.values()) == len(expected.periods)
    ended = sum(end is not None for _, _, end, _ in expected.periods.values())
    assert sum(exits for cells in months.values() for _, exits, _ in cells.values()) == ended
    assert sum(stock for _, _, stock in months["2026-05"].values()) == len(expected.periods) - ended
    assert LAST_DAY_TICK.astimezone(ZONE).day == 2
