"""The ledger: what came of a journal held against what must have come of it. Every difference is named by its kind.

Nine checks (1 accepted and missing, 2 doubled, 3 without a cause, 4 out of order, 5 figures that drifted, 6 dead letters,
7 stuck, 8 slow to recover, 9 standstill of what should not be affected) and a tenth, canaries that leaked. Copies are no
fault: delivery is at least once, and a copy has the id of its original. It reads nothing but its arguments.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from deploy.soak.expected import EXISTS, RECORDED, ZONE, Expected, Said, goes_on, grid
from deploy.soak.journal import Place

CHECKS = {1: "accepted is there", 2: "once each", 3: "nothing without a cause", 4: "in order, without a hole",
          5: "figures as recomputed", 6: "dead letters explained", 7: "nothing stuck", 8: "recovered in time",
          9: "the rest went on", 10: "no canary leaked"}  # fmt: skip

FACT_OF = {
    "registration_submitted": "case_opened", "need_reported": "need_recorded", "consent_given": "consent_granted",
    "consent_withdrawn": "consent_revoked", "offer_run_submitted": "offer_run_published", "referral_requested": "referral_sent",
    "attendance_reported": "attendance_recorded", "participation_start_reported": "participation_started",
    "participation_end_reported": "participation_ended",
}  # fmt: skip
REACTIONS = {"referral_stopped", "dropout_risk_raised", "dropout_risk_continued", "dropout_risk_withdrawn", "dropped_out",
             "dropped_out_withdrawn",
             "notification_attempted", "notification_sent", "notification_failed", "notification_uncertain",
             "notification_withdrawn"}  # fmt: skip
MOST_SHOWN = 40


class SeenFact(NamedTuple):
    """A fact as it stands on its topic."""

    place: Place
    id: str
    type: str
    """Snake case, without family and version."""
    family: str
    subject: str
    tenant: str
    number: int
    cause: str
    body: Mapping[str, Any]


class SeenAnswer(NamedTuple):
    """An answer as its publisher reads it."""

    publisher: str
    family: str
    """Of the topic on which it stands."""
    id: str
    submission_id: str
    reference: str
    content: str
    outcome: str
    reason: str
    fact_id: str


class SeenLetter(NamedTuple):
    """A dead letter: where the untouched message came from. A copy has the seal of its original."""

    service: str
    origin: Place
    reference: str
    seal: str
    """Stands for its bytes: nobody seals twice alike."""


class SeenMail(NamedTuple):
    """A mail the sink accepted."""

    attempt: str
    to: str
    """To whom it went and to whom it says it goes: one mailbox, where all is well."""


class SeenParticipation(NamedTuple):
    """A participation as the case it is listed under shows it."""

    case_id: str
    id: str
    started_on: str
    ended_before_on: str | None
    dropped_out: bool


class SeenReferral(NamedTuple):
    """A referral as it stands on the board."""

    case_id: str
    id: str
    state: str
    planned_start_on: str | None


class SeenCell(NamedTuple):
    """A cell of a month's release as reporting shows it."""

    month: str
    municipality: str
    block: str
    entries: int
    exits: int
    stock: int


@dataclass
class Observed:
    """What came of it, as anybody outside can see it."""

    facts: list[SeenFact] = field(default_factory=list)
    answers: list[SeenAnswer] = field(default_factory=list)
    letters: list[SeenLetter] = field(default_factory=list)
    status: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases: list[str] = field(default_factory=list)
    """Cases intake lists; a row each, as in everything below, so that a doubled row is seen."""
    risks: list[Mapping[str, Any]] = field(default_factory=list)
    referrals: list[SeenReferral] = field(default_factory=list)
    participations: list[SeenParticipation] = field(default_factory=list)
    notices: list[Mapping[str, Any]] = field(default_factory=list)
    reports: list[SeenCell] = field(default_factory=list)
    """Cells of the latest vintage of each month."""
    mails: list[SeenMail] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    """Places (never values) in which a canary was found."""


class Finding(NamedTuple):
    """One difference: the check it fails, its kind, and what about."""

    check: int
    kind: str
    what: str


class Recovery(NamedTuple):
    """From the end of a fault until nothing lagged, less what others' work took meanwhile."""

    fault: str
    seconds: float
    limit: float
    others: float = 0.0


class Progress(NamedTuple):
    """What a part did in the window of a fault that should not stop it (answers given, or records applied where it gives
    none), and how much that must at least be."""

    beside: str
    part: str
    done: int
    least: int


@dataclass
class Ledger:
    """The result of one run."""

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Nothing lost, doubled, swapped, invented, out of order, drifted, stuck."""
        return not self.findings

    def kinds(self) -> set[str]:
        """The kinds of difference found."""
        return {finding.kind for finding in self.findings}

    def add(self, check: int, kind: str, what: str) -> None:
        """One difference."""
        self.findings.append(Finding(check, kind, what))

    def __str__(self) -> str:
        lines = [f"  {name}: {count:,}" for name, count in self.counts.items()]
        lines += [f"  {f.check} {CHECKS[f.check]}: {f.kind}: {f.what}" for f in self.findings[:MOST_SHOWN]]
        more = len(self.findings) - MOST_SHOWN
        return "\n".join([*lines, *([f"  ... and {more} more"] if more > 0 else [])])


def held_against(
    expected: Expected, observed: Observed, *, ticked: datetime | None, figures: bool, mailboxes: Mapping[str, str],
    doubtful: int = 0, recoveries: Iterable[Recovery] = (), progress: Iterable[Progress] = (),
) -> Ledger:  # fmt: skip
    """The ledger of a run at rest. `figures`: a tick of a later day than the last release has been acted on, so reports
    must be those of the journal; `mailboxes`: office to where it reads its mail; `doubtful`: how many mails may be uncertain,
    one an attempt in flight at a kill."""
    ledger = Ledger()
    _answers(ledger, expected, observed)
    facts = _facts(ledger, expected, observed)
    _order(ledger, observed)
    _rest(ledger, expected, observed, facts, ticked)
    _mails(ledger, observed, facts, mailboxes, doubtful)
    _notices(ledger, expected, observed, _told(ledger, facts))
    if figures and ticked is not None:
        _figures(ledger, expected, observed, ticked)
    _letters(ledger, expected, observed)
    _stuck(ledger, expected, observed)
    for fault, seconds, limit, _ in recoveries:
        if seconds > limit:
            ledger.add(8, "slow", f"{fault}: {seconds:.1f} s until nothing lagged, at most {limit:.0f}")
    for beside, part, done, least in progress:
        if done < least:
            ledger.add(9, "standstill", f"{part} did {done} while {beside}, at least {least}")
    for leak in observed.leaks:
        ledger.add(10, "leaked", leak)
    return ledger


# --- answers: one each (checks 1, 2, 3)

Seen = dict[tuple[str, str], dict[str, set[SeenAnswer]]]
"""(source, id) to content to the distinct answers to it."""


def _answers(ledger: Ledger, expected: Expected, observed: Observed) -> None:
    source_of = {one.publisher: one.source for one in expected.all}
    seen: Seen = defaultdict(lambda: defaultdict(set))
    for a in observed.answers:
        seen[source_of.get(a.publisher, a.publisher), a.submission_id][a.content].add(a)
    counts: Counter[str] = Counter()
    recorded = _recorded(ledger, expected, seen)
    for key, contents in expected.said.items():
        kept = sum(any(a.reason != "ID_REUSED" for a in seen[key][one.content]) for one in contents)
        if len(contents) > 1 and kept != 1 and any(one.acknowledged for one in contents):
            ledger.add(
                2 if kept else 1,
                "doubled" if kept else "lost",
                f"{kept} of {len(contents)} contents have the id {key[1]}",
            )
        for one in contents:
            said = seen[key].pop(one.content, set())
            counts["submissions"] += one.acknowledged
            if len(said) > 1:
                ledger.add(2, "doubled", f"{len(said)} different answers to {one.type} {one.id}")
            if said:
                counts["answered" if one.acknowledged else "not acknowledged, answered all the same"] += 1
            elif not one.acknowledged:
                counts["not acknowledged, never seen"] += 1
            elif one.verdict.outcome == "waits":
                counts["waiting"] += 1
            else:
                ledger.add(1, "lost", f"no answer to {one.type} {one.id}")
            for answer in said:
                _fits(ledger, one, answer, len(contents) > 1, recorded)
        for content in seen[key]:
            ledger.add(3, "invented", f"an answer to {key[1]} with content {content}, which nobody sent")
        del seen[key]
    for _, id in seen:
        ledger.add(3, "invented", f"an answer to {id}, which nobody sent")
    copies = len(observed.answers) - len({(a.id, a.outcome, a.reason) for a in observed.answers})
    ledger.counts |= {**counts, "copies of answers": copies}


def _recorded(ledger: Ledger, expected: Expected, seen: Seen) -> dict[tuple[str, ...], Said]:
    """Thing to the statement about it that was recorded; of several sound ones exactly one must be."""
    sound: dict[tuple[str, ...], list[Said]] = defaultdict(list)
    for one in expected.all:
        if one.verdict == RECORDED:
            sound[one.thing].append(one)
    winners: dict[tuple[str, ...], Said] = {}
    for thing, rivals in sound.items():
        found = [one for one in rivals if any(a.outcome == "recorded" for a in seen[one.source, one.id][one.content])]
        if found:
            winners[thing] = found[0]
        if len(found) > 1:
            ledger.add(2, "doubled", f"{len(found)} statements about one thing are recorded: {' '.join(thing)}")
        elif not found and len(rivals) > 1 and all(one.acknowledged for one in rivals):
            ledger.add(1, "lost", f"none of {len(rivals)} statements about one thing is recorded: {' '.join(thing)}")
    return winners


def _fits(
    ledger: Ledger, one: Said, answer: SeenAnswer, shared_id: bool, recorded: Mapping[tuple[str, ...], Said]
) -> None:
    """Whether an answer is what the rules say, where its publisher looks for it and under the id by which its copies are known."""
    outcome, reason = answer.outcome, answer.reason
    if answer.id != one.answer_id:
        ledger.add(
            2, "doubled", f"{one.type} {one.id} is answered under the id {answer.id}, by which no copy of it is known"
        )
    if (answer.family, answer.reference) != (one.family, one.reference):
        ledger.add(3, "swapped", f"{one.type} {one.id} is answered on {answer.family}.answers as {answer.reference}")
    if shared_id and (outcome, reason) == ("refused", "ID_REUSED"):
        return
    must = (one.verdict.outcome, one.verdict.reason)
    if one.verdict == RECORDED:
        winner = recorded.get(one.thing)
        if winner is not None and winner is not one:
            must = ("unchanged", "") if winner.statement == one.statement else ("refused", EXISTS[one.type])
        elif outcome == "recorded" and answer.fact_id != one.fact_id:
            ledger.add(
                3, "swapped", f"{one.type} {one.id} is answered with the fact {answer.fact_id} of something else"
            )
    if outcome != must[0] or (must[0] == "refused" and reason != must[1]):
        ledger.add(3, "wrong", f"{one.type} {one.id} is answered {outcome} {reason}, not {' '.join(must)}")


# --- facts: one for each recorded answer, none for anything else (checks 1, 2, 3)


def _facts(ledger: Ledger, expected: Expected, observed: Observed) -> list[SeenFact]:
    """Holds facts against answers and journal; gives back each distinct fact, in the order of its log."""
    distinct: dict[tuple[str, str, str, int], SeenFact] = {}
    for fact in sorted(observed.facts, key=lambda fact: fact.place):
        first = distinct.setdefault((fact.id, fact.family, fact.subject, fact.number), fact)
        if first._replace(place=fact.place) != fact:
            ledger.add(3, "swapped", f"the fact {fact.id} comes again and says something else")
    for id, n in Counter(fact.id for fact in distinct.values()).items():
        if n > 1:
            ledger.add(2, "doubled", f"the fact {id} has {n} numbers")
    facts = list(distinct.values())
    by_id = {fact.id: fact for fact in facts}
    answered = {(a.reference, a.content): a for a in observed.answers}
    caused: dict[str, Said] = {}
    for one in expected.all:
        answer = answered.get((one.reference, one.content))
        if answer is not None and answer.outcome == "recorded":
            caused[one.fact_id] = one
            if one.fact_id not in by_id:
                ledger.add(1, "lost", f"{one.type} {one.id} is answered as recorded, and there is no fact")
            else:
                _says_the_same(ledger, one, by_id[one.fact_id])
    possible = {one.fact_id: one for one in expected.all}
    for fact in facts:
        if fact.type in REACTIONS or fact.id in caused:
            continue
        cause = possible.get(fact.id)
        if cause is None:
            ledger.add(3, "invented", f"{fact.type} {fact.id}, which no submission asked for")
        elif any(a.reference == cause.reference for a in observed.answers):
            ledger.add(3, "resurrected", f"{fact.type} {fact.id}, whose submission was not recorded")
        elif cause.acknowledged:
            ledger.add(1, "lost", f"no answer to {cause.type} {cause.id}, whose fact is there")
    ledger.counts |= {"recorded": len(caused), "facts of submissions": sum(f.type not in REACTIONS for f in facts),
                      "facts of rules": sum(f.type in REACTIONS for f in facts), "copies of facts": len(observed.facts) - len(facts)}  # fmt: skip
    return facts


def _says_the_same(ledger: Ledger, one: Said, fact: SeenFact) -> None:
    """A fact carries what its submission said: subject, tenant, cause and every field the two share."""
    if one.body is None:
        return ledger.add(3, "invented", f"{fact.type} {fact.id} of {one.id}, which nobody can read")
    type_ = FACT_OF.get(one.type) or {
        ("referral_answered", "ACCEPTED"): "referral_accepted", ("referral_answered", "DECLINED"): "referral_declined",
    }[one.type, one.body["answer"]]  # fmt: skip
    differ = [name for name, said, seen in (("type", type_, fact.type), ("subject", one.subject, fact.subject),
              ("tenant", one.tenant, fact.tenant), ("cause", one.reference, fact.cause)) if said != seen]  # fmt: skip
    differ += [
        name for name, value in one.body.items() if name in fact.body and _plain(fact.body[name]) != _plain(value)
    ]
    if differ:
        ledger.add(3, "swapped", f"{fact.type} {fact.id} differs from its submission {one.id} in {', '.join(differ)}")


def _plain(value: Any) -> Any:
    """Lists in no order; absent optionals left out."""
    if isinstance(value, list):
        return sorted(value)
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


# --- order (check 4)


def _order(ledger: Ledger, observed: Observed) -> None:
    streams: dict[tuple[str, str], list[SeenFact]] = defaultdict(list)
    for fact in sorted(observed.facts, key=lambda fact: fact.place):
        streams[fact.family, fact.subject].append(fact)
    for (family, subject), facts in streams.items():
        ids: dict[int, str] = {}
        for fact in facts:
            if ids.setdefault(fact.number, fact.id) != fact.id:
                ledger.add(4, "forked", f"{family} {subject} has two facts with the number {fact.number}")
        if list(ids) != sorted(ids):
            ledger.add(4, "disordered", f"{family} {subject} appears in the order {list(ids)[:12]}")
        holes = sorted(set(range(1, max(ids) + 1)) - set(ids))
        if holes:
            ledger.add(4, "hole", f"{family} {subject} lacks the numbers {holes[:8]}")
        if len({(fact.place.topic, fact.place.part) for fact in facts}) > 1:
            ledger.add(4, "disordered", f"{family} {subject} stands on several partitions")


# --- what the services say at rest (checks 2, 3, 5)


def _rest(
    ledger: Ledger, expected: Expected, observed: Observed, facts: Sequence[SeenFact], ticked: datetime | None
) -> None:
    cases = Counter(observed.cases)
    for case in sorted(set(expected.cases) - set(cases)):
        ledger.add(1, "lost", f"the case {case} is not in the list")
    for case in sorted(set(cases) - set(expected.cases)):
        ledger.add(3, "invented", f"the case {case} is in the list")
    _twice(ledger, "the case", cases)
    _board(ledger, expected, observed)
    rows = {row.id: row for row in observed.participations}
    _twice(ledger, "the participation", Counter(row.id for row in observed.participations))
    for id, (case, start, end, dropped) in expected.periods.items():
        row = rows.pop(id, None)
        if row is None:
            ledger.add(1, "lost", f"the participation {id} is not in the list")
        elif row.case_id != case:
            ledger.add(3, "swapped", f"the participation {id} is shown under the case {row.case_id}, not {case}")
        elif row[2:] != (str(start), str(end) if end else None, dropped):
            ledger.add(5, "drifted", f"the participation {id} is shown with {', '.join(map(str, row[2:]))}")
    for id in rows:
        ledger.add(3, "invented", f"the participation {id} is in the list")
    _risks(ledger, expected, observed)
    _reactions(ledger, expected, facts, ticked)


def _board(ledger: Ledger, expected: Expected, observed: Observed) -> None:
    rows = {(row.case_id, row.id): row[2:] for row in observed.referrals}
    _twice(ledger, "the referral", Counter((row.case_id, row.id) for row in observed.referrals))
    must = {(case, referral): expected.board[referral] for referral, case in expected.referrals.items()}
    for case, referral in sorted(must.keys() | rows.keys()):
        shown, stands = rows.get((case, referral)), must.get((case, referral))
        if shown is None:
            ledger.add(1, "lost", f"the referral {referral} of the case {case} is not on the board")
        elif stands is None:
            ledger.add(3, "invented", f"the referral {referral} of the case {case} is on the board")
        elif shown != stands:
            ledger.add(5, "drifted", f"the referral {referral} is shown as {shown}, not as {stands}")


def _twice(ledger: Ledger, what: str, rows: Counter[Any]) -> None:
    """Rows that stand more than once where each stands once."""
    for key, n in sorted(rows.items()):
        if n > 1:
            name = key if isinstance(key, str) else " ".join(map(str, key))
            ledger.add(2, "doubled", f"{what} {name} is in the list {n} times")


def _risks(ledger: Ledger, expected: Expected, observed: Observed) -> None:
    opened = set()
    _twice(ledger, "the risk", Counter((row["about"], row["rule"]) for row in observed.risks))
    for row in observed.risks:
        about = (row["about"], row["rule"])
        if row["open"]:
            opened.add(about)
        if row["rule"] == "S2" and row["holds_from_on"] != (
            str(expected.s2_first[row["about"]]) if row["about"] in expected.s2_first else None
        ):
            ledger.add(5, "drifted", f"S2 about {row['about']} is shown to hold from {row['holds_from_on']}")
    for about in sorted(opened - set(expected.open_risks)):
        ledger.add(3, "resurrected", f"{about[1]} about {about[0]} is open and does not hold")
    for about in sorted(set(expected.open_risks) - opened):
        ledger.add(1, "lost", f"{about[1]} about {about[0]} holds and is not open")


def _reactions(ledger: Ledger, expected: Expected, facts: Sequence[SeenFact], ticked: datetime | None) -> None:
    """What rules recorded by themselves: in pairs, about what was reported, and at the end what holds. That a risk is over may be said
    again, for another reason."""
    risks: dict[tuple[str, str, str], bool] = {}
    why: dict[tuple[str, str, str], str | None] = {}
    said: dict[tuple[str, str, str], date] = {}
    stopped: Counter[str] = Counter()
    dropped: dict[str, bool] = {}
    for fact in sorted(facts, key=lambda fact: (fact.subject, fact.family, fact.number)):
        body, what = fact.body, fact.type
        if what == "referral_stopped":
            stopped[body["referral_id"]] += 1
        elif what in ("dropout_risk_raised", "dropout_risk_withdrawn"):
            key, raised = (body["about"], body["rule"], body["first_on"]), what.endswith("raised")
            said_otherwise = not raised and why.get(key) not in (None, body.get("reason"))
            if risks.get(key, False) == raised and not said_otherwise:
                ledger.add(
                    2 if raised else 3,
                    "doubled" if raised else "invented",
                    f"{what} {key[1]} about {key[0]} since {key[2]}",
                )
            risks[key] = raised
            why[key] = body.get("reason")
            if raised:
                _raised(ledger, expected, fact)
                said[key] = max(date.fromisoformat(day) for day in body["days_on"])
        elif what == "dropout_risk_continued":
            key, on = (body["about"], body["rule"], body["first_on"]), date.fromisoformat(body["last_missed_on"])
            if not risks.get(key, False) or not _can_go_on(expected, body, said.get(key), on):
                ledger.add(3, "invented", f"{what} about {body['about']}: not open, or on a day that does not cause it")
            said[key] = on
        elif what in ("dropped_out", "dropped_out_withdrawn"):
            id, is_ = body["participation_id"], what == "dropped_out"
            if dropped.get(id, False) == is_ or id not in expected.ended:
                ledger.add(
                    2 if id in expected.ended else 3, "doubled" if id in expected.ended else "invented", f"{what} {id}"
                )
            dropped[id] = is_
    for referral in sorted(set(stopped) | expected.stopped):
        if stopped[referral] != (referral in expected.stopped):
            kind = "lost" if not stopped[referral] else "doubled" if referral in expected.stopped else "invented"
            ledger.add({"lost": 1, "doubled": 2, "invented": 3}[kind], kind, f"referral_stopped {referral}")
    if ticked is None:
        return
    at_end: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (id, rule, first_on), open_ in sorted(risks.items()):
        if open_:
            at_end[id, rule].append(first_on)
    for about, first in expected.open_risks.items():
        found = at_end.get(about, [])
        if str(first) not in found:
            ledger.add(1, "lost", f"{about[1]} about {about[0]} holds since {first}; by the facts since {found}")
        if len(found) > 1:
            ledger.add(2, "doubled", f"{about[1]} about {about[0]} is raised since {' and '.join(found)} at the end")
        last = said.get((*about, str(first)))
        if about[1] == "S6" and last and goes_on(last, expected.lasts[about[0]], ticked.astimezone(ZONE).date()):
            ledger.add(1, "lost", f"S6 about {about[0]} goes on, and was said last of {last}")
    for about in sorted(set(at_end) - set(expected.open_risks)):
        ledger.add(3, "resurrected", f"{about[1]} about {about[0]} is raised at the end and does not hold")
    for id, (_, _, _, is_) in expected.periods.items():
        if dropped.get(id, False) != is_:
            ledger.add(1 if is_ else 3, "lost" if is_ else "resurrected", f"dropped_out {id}")


def _can_go_on(expected: Expected, body: Mapping[str, Any], said: date | None, on: date) -> bool:
    """Whether a day may be said of an open risk: of S2 one that was reported, of S6 the day of its tick while the run lasts."""
    if body["rule"] != "S6":
        return on in expected.absent.get(body["about"], set())
    today = datetime.fromisoformat(body["as_of"]).astimezone(ZONE).date()
    return said is not None and on == goes_on(said, expected.lasts.get(body["about"], on), today)


def _raised(ledger: Ledger, expected: Expected, fact: SeenFact) -> None:
    body = fact.body
    days = {date.fromisoformat(day) for day in body["days_on"]}
    reported = expected.absent.get(body["about"], set()) if body["rule"] == "S2" else days
    if not days <= reported or (body["rule"] == "S6" and body["about"] not in expected.referrals):
        ledger.add(3, "invented", f"a risk {body['rule']} about {body['about']} on days nobody reported")
    if expected.cases.get(fact.subject) != body["owner_organisation_id"]:
        ledger.add(3, "swapped", f"a risk about {body['about']} names {body['owner_organisation_id']} as the owner")


# --- mails and notices (checks 1, 2, 3)


def _mails(
    ledger: Ledger, observed: Observed, facts: Sequence[SeenFact], mailboxes: Mapping[str, str], doubtful: int
) -> None:
    """One mail an attempt that is called sent, and each to its own office."""
    attempts = {f.body["attempt_id"]: f for f in facts if f.type == "notification_attempted"}
    results: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.type in ("notification_sent", "notification_failed", "notification_uncertain"):
            results[fact.body["attempt_id"]].append(fact.type.removeprefix("notification_"))
    went: dict[str, list[str]] = defaultdict(list)
    for mail in observed.mails:
        went[mail.attempt].append(mail.to)
    uncertain = 0
    for attempt in sorted(set(attempts) | set(results) | set(went)):
        result, mails = results.get(attempt, []), len(went[attempt])
        if attempt not in attempts:
            ledger.add(3, "invented", f"a mail or result of the attempt {attempt}, which there is not")
        elif not result:
            ledger.add(1, "lost", f"the attempt {attempt} has no result")
        elif len(result) > 1:
            ledger.add(2, "doubled", f"the attempt {attempt} has the results {result}")
        elif result == ["sent"] and mails == 0:
            ledger.add(1, "lost", f"the mail of the attempt {attempt}, which is called sent")
        elif result == ["failed"] and mails:
            ledger.add(3, "invented", f"a mail of the attempt {attempt}, which is called failed")
        if mails > 1:
            ledger.add(2, "doubled", f"{mails} mails of the attempt {attempt}")
        for to in went[attempt] if attempt in attempts else ():
            if to != mailboxes.get(office := attempts[attempt].subject):
                ledger.add(3, "swapped", f"the mail to {office} of the attempt {attempt} went to another mailbox: {to}")
        uncertain += result == ["uncertain"]
    if uncertain > doubtful:
        ledger.add(2, "doubtful", f"{uncertain} attempts are uncertain, at most {doubtful} were in flight at a kill")
    ledger.counts |= {"attempts": len(attempts), "mails": len(observed.mails), "uncertain": uncertain}


Told = tuple[str, str, str, str, str]
"""What an office is told of: office, case, about, rule, first_on."""


def _told(ledger: Ledger, facts: Sequence[SeenFact]) -> set[Told]:
    """What offices were told and still believe: each worry once until it is taken back or its attempt failed, whichever attempt
    says it; only what was raised, only to the office that owns the case; that it is over once for a reason. An attempt that failed is
    as if it had never been."""
    raised = {(f"{f.tenant}:{f.body['owner_organisation_id']}", f.subject, f.body["about"], f.body["rule"], f.body["first_on"])
              for f in facts if f.type == "dropout_risk_raised"}  # fmt: skip
    told: set[Told] = set()
    why: dict[Told, str | None] = {}
    before: dict[str, list[tuple[Told, bool, str | None]]] = {}
    for fact in sorted(facts, key=lambda fact: (fact.subject, fact.family, fact.number)):
        attempt = str(fact.body.get("attempt_id"))
        if fact.type == "notification_attempted":
            before[attempt] = []
            for line in fact.body["lines"]:
                key = (fact.subject, line["case_id"], line["about"], line["rule"], line["first_on"])
                news, name = line["kind"] == "RAISED", f"{key[3]} about {key[2]} since {key[4]}"
                if news and key not in raised:
                    ledger.add(3, "invented", f"{key[0]} is told of {name}, which nobody raised there")
                said_otherwise = not news and why.get(key) not in (None, line.get("reason"))
                if news == (key in told) and not said_otherwise:
                    kind = "doubled" if news else "invented"
                    ledger.add(2 if news else 3, kind, f"{key[0]} is told {'again ' if news else ''}of {name}"
                               f"{'' if news else ' that it no longer holds, and never heard of it'}")  # fmt: skip
                else:
                    before[attempt].append((key, key in told, why.get(key)))
                    told, why[key] = (told | {key}, None) if news else (told - {key}, line.get("reason"))
        elif fact.type == "notification_failed":
            for key, was, reason in before.pop(attempt, []):
                told, why[key] = told | {key} if was else told - {key}, reason
    return told


def _notices(ledger: Ledger, expected: Expected, observed: Observed, told: set[Told]) -> None:
    """Each risk that holds is on its office's list once, and the office was told of it; of nothing else it believes that. Two ticks
    at rest are enough for both: the load has no office without a mailbox, and no mail server that refuses."""
    for office, _, id, rule, first_on in sorted(told):
        if str(expected.open_risks.get((id, rule))) != first_on:
            ledger.add(1, "lost", f"{office} still believes that {rule} about {id} holds since {first_on}")
    for row in observed.notices:
        case, name = expected.case_of(row["about"]), f"{row['rule']} about {row['about']}"
        if (row["office_id"], row["case_id"]) != (f"{row['tenant']}:{expected.cases.get(case)}", case):
            ledger.add(3, "swapped", f"{name} is on the list of {row['office_id']}, of the case {row['case_id']}")
        if row["taken_back"]:
            ledger.add(1, "lost", f"by its list {row['office_id']} still believes {name}")
    holding = [row for row in observed.notices if not row["taken_back"]]
    _twice(ledger, "the notice of", Counter((row["about"], row["rule"]) for row in holding))
    listed = {(row["about"], row["rule"]): row for row in holding}
    lines = {line[2:] for line in told}
    for about, first in sorted(expected.open_risks.items()):
        if about not in listed:
            ledger.add(1, "lost", f"{about[1]} about {about[0]} is on no office's list")
            continue
        if listed[about]["first_on"] != str(first):
            ledger.add(
                5, "drifted", f"{about[1]} about {about[0]} is listed since {listed[about]['first_on']}, not {first}"
            )
        if not listed[about]["told"] or (*about, str(first)) not in lines:
            ledger.add(1, "lost", f"no office was told of {about[1]} about {about[0]}")
    for about in sorted(set(listed) - set(expected.open_risks)):
        ledger.add(3, "resurrected", f"{about[1]} about {about[0]} is on an office's list and does not hold")


# --- figures, dead letters, rest (checks 5, 6, 7)


def _figures(ledger: Ledger, expected: Expected, observed: Observed, ticked: datetime) -> None:
    must = {(month, *cell): said for month, cells in grid(expected, ticked).items() for cell, said in cells.items()}
    seen = {cell[:3]: cell[3:] for cell in observed.reports}
    _twice(ledger, "the cell", Counter(cell[:3] for cell in observed.reports))
    for cell in sorted(set(must) | set(seen)):
        if must.get(cell, (0, 0, 0)) != seen.get(cell, (0, 0, 0)):
            ledger.add(5, "drifted", f"{' '.join(cell)}: {seen.get(cell)} reported, {must.get(cell)} recomputed")
    ledger.counts["months released"] = len({cell.month for cell in observed.reports})


def _letters(ledger: Ledger, expected: Expected, observed: Observed) -> None:
    places = {place: entry for entry in expected.poison for place in entry.places}
    references = {one.reference: one for one in expected.all if one.verdict.outcome == "unreadable"}
    doubt = sum(entry.sent - len(entry.places) for entry in expected.nameless)  # sent, and Kafka never said where
    seen = {letter.origin: letter for letter in observed.letters}
    for origin, n in sorted(Counter(letter.origin for letter in set(observed.letters)).items()):
        if n > 1:
            ledger.add(2, "doubled", f"{n} dead letters from {origin.topic}/{origin.part}/{origin.offset}")
    for origin, letter in sorted(seen.items()):
        if origin in places or letter.reference in references:
            continue
        doubt -= not letter.reference
        if letter.reference or doubt < 0:
            ledger.add(
                6,
                "unexplained",
                f"a dead letter from {origin.topic}/{origin.part}/{origin.offset}, where no poison was",
            )
    for place, entry in places.items():
        if place not in seen:
            ledger.add(
                6,
                "swallowed",
                f"the poison {entry.meant.poison} at {place.topic}/{place.part}/{place.offset} left no dead letter",
            )
    ledger.counts |= {
        "poison": len(places),
        "dead letters": len(seen),
        "copies of dead letters": len(observed.letters) - len(seen),
    }


def _stuck(ledger: Ledger, expected: Expected, observed: Observed) -> None:
    waiting = aside = 0
    for name, said in observed.status.items():
        if not said.get("running", True) or "outbox" not in said:
            ledger.add(7, "stuck", f"{name} does not answer")
            continue
        for what, value in (
            ("outbox", said["outbox"]["rows"]),
            ("lag", said["lag"]),
            ("held", said["held"]),
            ("early", said["early"]),
            ("gaps", said.get("gaps")),
        ):
            if value:
                ledger.add(7, "stuck", f"{name} has {what} {value}")
        waiting += said["waiting"]
        kept = said.get("quarantined", [])
        aside += said["set_aside"]["count"] + sum(one["kept"] for one in kept)
        if kept or said["set_aside"]["count"]:
            ledger.add(7, "stuck", f"{name} has set aside {said['set_aside']['count']} and quarantined {len(kept)}")
    if observed.status:
        counts = ledger.counts
        counts["set aside or quarantined"] = aside
        if counts.get("answered", 0) + waiting + aside != counts.get("submissions", 0):
            ledger.add(1, "unbalanced", f"{counts.get('answered', 0)} answered + {waiting} waiting + {aside} aside"
                       f" != {counts.get('submissions', 0)} sent")  # fmt: skip
    if ledger.counts.get("recorded") != ledger.counts.get("facts of submissions"):
        ledger.add(
            1,
            "unbalanced",
            f"{ledger.counts.get('recorded')} recorded, {ledger.counts.get('facts of submissions')} facts",
        )
