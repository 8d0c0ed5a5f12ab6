"""What runs of files come to: what stands at the service is what the file says, and the same import again sends nothing.

The service here is a model that shares nothing with the importer: one answer for each id, of each thing the highest
(reported_at, revision) stands, who ends must have started.
"""

import itertools
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from contracts.envelope import Again
from deploy.cli import main
from deploy.commands.import_ import _show
from deploy.errors import DONE, PARTLY, UNREACHABLE
from deploy.importer.files import CsvFile, Row, look_through
from deploy.importer.mapping import Field, Mapping, load_mapping
from deploy.importer.plan import Planner, RowRefused, Step
from deploy.importer.sending import Account, Back, Nobody, send_rows
from deploy.importer.store import Said, Store
from tests.unit.in_deploy.test_importer import GONE, MEETING, NOW, OULAD, ROW, row

RELEASE_1 = (Path(__file__).parent / "import_memory.sql").read_text()
"""The memory of two months of imports, as release 1 wrote it."""


@dataclass
class Service:
    """Judges what it is sent. `no`: the reason for which it refuses a body today. What it says of sending again, where nothing
    else is given, it says as services do."""

    no: Callable[[dict[str, Any]], str] = lambda _: ""
    again: str = ""
    answers: dict[str, Said] = field(default_factory=dict)
    said: dict[tuple[str, ...], dict[tuple[datetime, int], dict[str, Any]]] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    def take(self, step: Step) -> Said | None:
        """Its answer; None: it waits for what it rests on."""
        id, body = step.sent.id, step.submission.to_json()
        assert self.bodies.setdefault(id, body) == body, "ID_REUSED"
        if id not in self.answers and id not in self.waiting:
            self._judge(id)
        return self.answers.get(id)

    def _judge(self, id: str) -> None:
        said = json.loads(self.bodies[id])
        thing = thing_of(said)
        if thing is None:
            self.answers[id] = Said("recorded", again="no")
            return
        if thing[0] == "end" and not self.said.get(("start", thing[1])):
            self.waiting.append(id)
            return
        if reason := self.no(said) or self._lies_beyond(thing, said):
            by_itself = "later" if reason in LATER and reason != "CLOCK_AHEAD" else "no" if reason in NO else "mended"
            self.answers[id] = Said("refused", reason, again=self.again or by_itself)
            return
        order = (datetime.fromisoformat(said["reported_at"]), said["revision"])
        assert order not in self.said.setdefault(thing, {}), "REVISION_REUSED"
        self.said[thing][order] = said
        self.answers[id] = Said("recorded", again="no")
        if thing[0] == "start":
            again, self.waiting = self.waiting, []
            for waited in again:
                self._judge(waited)

    def _lies_beyond(self, thing: tuple[str, ...], said: dict[str, Any]) -> str:
        """Whoever ends has started before, as known now."""
        other = {"start": "end", "end": "start"}.get(thing[0], "")
        known = self.stands(other, thing[1])
        if known is None or said.get("kind") == "ENTERED_IN_ERROR":
            return ""
        if thing[0] == "start":
            return "START_AFTER_END" if said["started_on"] > known["ended_before_on"] else ""
        return "END_BEFORE_START" if known["started_on"] > said["ended_before_on"] else ""

    def stands(self, *thing: str) -> dict[str, Any] | None:
        """The report with the highest (reported_at, revision); None where none stands, or it takes back what stood."""
        found = self.said.get(thing)
        stands = found[max(found)] if found else None
        return None if stands is None or stands.get("kind") == "ENTERED_IN_ERROR" else stands

    def at(self, moment: datetime, *thing: str) -> dict[str, Any] | None:
        """What was reported of that moment, the highest revision."""
        found = [order for order in self.said.get(thing, {}) if order[0] == moment]
        return self.said[thing][max(found)] if found else None


def thing_of(said: dict[str, Any]) -> tuple[str, ...] | None:
    """Of a report what it is about; None for what is no report."""
    if "meeting_id" in said:
        return ("attendance", said["participation_id"], said["meeting_id"])
    if "participation_id" in said:
        return ("end" if "ended_before_on" in said else "start", said["participation_id"])
    return None


@dataclass
class Run:
    """What came of one call."""

    sent: list[Step] = field(default_factory=list)
    """New, in the order in which they left."""
    asked: list[Step] = field(default_factory=list)
    """Sent, new or once more."""
    rows: list[str] = field(default_factory=list)
    """Of each row `in`, `unanswered` or why it was refused."""

    @property
    def names(self) -> list[tuple[str, int]]:
        return [(step.sent.key.partition("\x1f")[0], step.sent.revision) for step in self.sent]


def call(
    store: Store, service: Service, mapping: Mapping, rows: Sequence[Row], at: datetime, *, again: bool = False,
    chance: random.Random | None = None, moves: int = 1_000_000,
) -> Run:  # fmt: skip
    """One import, row after row, or side by side as chance has it; killed after so many moves."""
    if chance is None or chance.random() < 0.5:  # answers that an earlier run did not read, at once or in the end
        read_answers(store, service)
    persons = store.persons() if mapping.kind.name == "attendance" else {}
    planner = Planner(mapping, store, at, again=again, persons=persons)
    planner.survey(rows)
    run = Run(rows=["unanswered"] * len(rows))
    going: dict[int, Iterator[Step]] = {number: planner.steps(row) for number, row in enumerate(rows)}
    asked: dict[int, Step] = {}
    while going and moves:
        moves -= 1
        number = chance.choice(list(going)) if chance else next(iter(going))
        try:
            if number not in asked:
                asked[number] = next(going[number])
                continue
            step = asked.pop(number)
            told = step.sent.said
            if told is None:
                store.flush()
                if not step.known and step.sent.id not in service.bodies:
                    run.sent.append(step)
                run.asked.append(step)
                told = service.take(step)
                if told is not None:
                    store.answered([(step.sent.id, told)])
            if told is None:
                del going[number]
            elif told.outcome == "refused":
                raise planner.refused(step, told)
        except StopIteration:
            run.rows[number] = "in"
            del going[number]
        except RowRefused as no:
            run.rows[number] = no.reason
            del going[number]
    if moves:
        read_answers(store, service)
    return run


def refuses(value: str, reason: str) -> Callable[[dict[str, Any]], str]:
    return lambda body: reason if value in body.values() else ""


def read_answers(store: Store, service: Service) -> None:
    store.answered([(id, service.answers[id]) for id in store.unanswered() if id in service.answers])


def later(days: float) -> datetime:
    return NOW + timedelta(days=days)


def mapped(kind: str = "participations", *dated: str) -> Mapping:
    """The mapping of the examples. `dated`: steps of whose reports the file says when they were made, in <step>_at."""
    plain = load_mapping(OULAD / f"{kind}.toml", kind)
    more = {name: {**plain.steps[name], "reported_at": Field(column=f"{name}_at")} for name in dated}
    return replace(plain, steps={**plain.steps, **more})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "import", "oulad", "oulad") as made:
        yield made


SPOKEN = {"end_at": "2026-11-19T18:00:00Z"}


def test_a_row_without_an_end_takes_back_no_end_that_another_row_says(store: Store) -> None:
    """June's file without the end and July's with it: each run took it back or said it anew, in turns."""
    service, files = Service(), [row(ROW, **GONE), row(ROW)]
    for day, expected in enumerate([7, 0, 0]):
        run = call(store, service, mapped(), files, later(day))
        assert (run.rows, len(run.sent)) == (["CONTRADICTS_ANOTHER_ROW", "in"], expected)
    (end,) = (found for thing, found in service.said.items() if thing[0] == "end")
    assert len(end) == 1


@pytest.mark.parametrize("left_out", [{"started_on": "", **GONE}, {"withdrawn_on": ""}])
def test_a_row_that_is_silent_of_what_another_says_contradicts_it_from_the_first_run_on(
    store: Store, left_out: dict[str, str]
) -> None:
    said = {"withdrawn_on": "2013-12-05", "started_on": "", **GONE} if "withdrawn_on" in left_out else {}
    for day in range(2):
        run = call(store, Service(), mapped(), [row(ROW, **{**said, **left_out}), row(ROW, **said)], later(day))
        assert run.rows == ["CONTRADICTS_ANOTHER_ROW", "in"]


def test_in_a_log_of_changes_a_row_without_an_end_says_nothing_of_it(store: Store) -> None:
    service, files = Service(), [row(ROW, **GONE, end_at=""), row(ROW, **SPOKEN)]
    for day, expected in enumerate([7, 0, 0]):
        run = call(store, service, mapped("participations", "end"), files, later(day))
        assert (run.rows, len(run.sent)) == (["in", "in"], expected)


def test_which_of_two_rows_that_contradict_each_other_is_sent_no_answer_decides(store: Store) -> None:
    """Answered in another order, the second run sent the other row's."""
    files = [row(ROW), row(ROW, ended_on="2014-02-09")]
    for seed in range(20):
        run = call(store, Service(), mapped(), files, later(0), chance=random.Random(seed))
        assert run.rows == ["in", "CONTRADICTS_ANOTHER_ROW"]
        assert bool(run.sent) is (seed == 0)


def test_a_reference_of_two_persons_is_the_first_ones_from_the_first_run_on(store: Store) -> None:
    """Until the first referral was recorded both spoke of one participation, and afterwards the first alone."""
    service = Service()
    files = [row(ROW), row(ROW, person_ref="2", withdrawn_on="2013-12-05")]
    for sent in (7, 0):
        run = call(store, service, mapped(), files, later(0))
        assert (run.rows, len(run.sent)) == (["in", "REFERENCE_REUSED"], sent)


def test_an_end_reported_after_the_one_that_was_taken_back_stands(store: Store) -> None:
    """It was recorded, and the person took part for good: the import that took the end back came after it was reported."""
    service, mapping = Service(), mapped("participations", "end")
    call(store, service, mapping, [row(ROW, **SPOKEN)], later(0))
    participation = store.id_of("participation", "AAA-1")
    assert service.stands("end", participation)
    call(store, service, mapping, [row(ROW, **GONE, end_at="")], later(5))
    assert service.stands("end", participation) is None
    whole = [row(ROW, end_at="2026-11-23T15:00:00Z")]
    assert call(store, service, mapping, whole, later(6)).rows == ["in"]
    assert service.stands("end", participation)
    assert call(store, service, mapping, whole, later(7)).sent == []


@pytest.mark.parametrize("ended_on", ["2014-02-01", "2014-02-09"])
def test_an_end_reported_before_the_one_that_was_taken_back_is_refused(store: Store, ended_on: str) -> None:
    service, mapping = Service(), mapped("participations", "end")
    for day, cells in enumerate([SPOKEN, {**GONE, "end_at": ""}]):
        call(store, service, mapping, [row(ROW, **cells)], later(day))
    for end_at in ("2026-11-19T18:00:00Z", "2026-11-18T12:00:00Z"):
        run = call(store, service, mapping, [row(ROW, ended_on=ended_on, end_at=end_at)], later(3))
        assert (run.rows, run.sent) == (["TAKEN_BACK"], [])


def test_a_clock_set_back_says_nothing_that_does_not_stand(store: Store) -> None:
    service = Service()
    call(store, service, mapped(), [row(ROW)], later(0))
    changed = [row(ROW, ended_on="2014-02-09")]
    assert call(store, service, mapped(), changed, later(0) - timedelta(minutes=5)).names == [("end", 2)]
    stands = service.stands("end", store.id_of("participation", "AAA-1"))
    assert stands and stands["ended_before_on"] == "2014-02-09"
    assert call(store, service, mapped(), changed, later(1)).sent == []


PRESENT = {"presence": "PRESENT", "units_attended": "4"}


def test_what_is_changed_and_changed_back_with_the_same_time_of_report_stands(store: Store) -> None:
    """Every row of a meeting says 18:00; the wrong value stayed, and the import said that all is in."""
    service = Service()
    call(store, service, mapped(), [row(ROW)], later(0))
    thing = ("attendance", store.id_of("participation", "AAA-1"), store.id_of("meeting", "AAA-1", "m1"))
    for day, (cells, presence) in enumerate([({}, "UNEXCUSED"), (PRESENT, "PRESENT"), ({}, "UNEXCUSED")]):
        for sent in (1, 0):
            run = call(store, service, mapped("attendance"), [row(MEETING, **cells)], later(day))
            assert (run.rows, len(run.sent)) == (["in"], sent)
            stands = service.stands(*thing)
            assert stands and stands["presence"] == presence


class Desk(Service):
    """Knows of consents and referrals, too: each id is said once, and a request rests on a consent that is valid on its day."""

    def _judge(self, id: str) -> None:
        said, reason = json.loads(self.bodies[id]), ""
        for name, kind in (("last_valid_on", "consent"), ("requested_on", "referral")):
            if name in said and any(one[f"{kind}_id"] == said[f"{kind}_id"] for one in self.of(name) if one != said):
                reason = f"{kind.upper()}_EXISTS"
        if "requested_on" in said and not reason:
            consents = [one for one in self.of("last_valid_on") if one["consent_id"] == said["consent_id"]]
            assert consents, "asked for before its consent was said"
            reason = "NO_CONSENT" if consents[0]["last_valid_on"] < said["requested_on"] else ""
        if reason:
            self.answers[id] = Said("refused", reason)
        else:
            super()._judge(id)

    def of(self, name: str) -> list[dict[str, Any]]:
        """What was recorded that has such a field, in the order in which it came."""
        recorded = (self.bodies[id] for id, said in self.answers.items() if said.outcome == "recorded")
        return [said for said in map(json.loads, recorded) if name in said]


def with_consents() -> Mapping:
    """The mapping of the examples, where the file names consents and says how long they are valid."""
    plain = mapped()
    consent = {**plain.steps["consent"], "last_valid_on": Field(column="consent_until")}
    return replace(plain, about={**plain.about, "consent": "consent"}, steps={**plain.steps, "consent": consent})


FIRST, RENEWED = ({"consent": f"c{year}", "consent_until": f"{year}-12-31"} for year in (2013, 2014))


def test_a_renewed_consent_is_another_one_and_a_later_referral_rests_on_it(store: Store) -> None:
    """It was refused CONSENT_EXISTS, whatever the office said of it."""
    service, mapping, later_on = Desk(), with_consents(), {"requested_on": "2014-03-01"}
    again = [row(ROW, source_ref=ref, **later_on, **RENEWED) for ref in ("AAA-2", "AAA-3")]
    files = [[row(ROW, **FIRST)], [row(ROW, **RENEWED), *again], [row(ROW, **RENEWED), *again], [row(ROW, **FIRST)]]
    for day, (file, sent) in enumerate(zip(files, (7, 9, 0, 0), strict=True)):
        run = call(store, service, mapping, file, later(day))
        assert (run.rows, len(run.sent)) == (["in"] * len(file), sent)
    first, renewed = (said["consent_id"] for said in service.of("last_valid_on"))
    assert [said["consent_id"] for said in service.of("requested_on")] == [first, renewed, renewed]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("moves", range(15))
def test_a_request_that_was_sent_stays_with_its_consent_wherever_the_import_was_killed(
    tmp_path: Path, moves: int, named: bool
) -> None:
    """Before its answer was read the renewed one took its place: REFERRAL_EXISTS, for good, and nobody's start got in."""
    service, mapping, first = Desk(), with_consents(), FIRST if named else {**FIRST, "consent": ""}
    with Store(tmp_path, "urn:source", "vhs-neuss") as store:
        call(store, service, mapping, [row(ROW, **first)], later(0), moves=moves)
    with Store(tmp_path, "urn:source", "vhs-neuss") as store:
        for day in (1, 2):
            assert call(store, service, mapping, [row(ROW, **RENEWED)], later(day)).rows == ["in"]
    assert len(service.of("requested_on")) == len(service.of("started_on")) == 1


def test_a_request_that_no_consent_covered_is_in_with_one_that_was_renewed(store: Store) -> None:
    service, asked = Desk(), {"requested_on": "2014-03-01"}
    for cells, rows in (
        (FIRST, ["NO_CONSENT"]),
        ({**FIRST, "consent_until": "2014-12-31"}, ["CONSENT_EXISTS"]),
        (RENEWED, ["in"]),
    ):
        assert call(store, service, with_consents(), [row(ROW, **asked, **cells)], later(0)).rows == rows
    other = call(
        store, service, with_consents(), [row(ROW, **asked, **RENEWED, person_ref="2", source_ref="AAA-2")], later(1)
    )
    assert other.rows == ["in"] and len({said["consent_id"] for said in service.of("last_valid_on")}) == 3  # hers alone


def test_two_consents_of_one_participation_contradict_each_other_and_so_do_two_of_one_reference(store: Store) -> None:
    """Side by side the second row asked for a referral before its consent was said."""
    service, mapping = Desk(), with_consents()
    for seed in range(20):
        rows = [row(ROW, **FIRST), row(ROW, **RENEWED)]
        run = call(store, service, mapping, rows, later(0), chance=random.Random(seed))
        assert (run.rows, len(run.sent)) == (["in", "CONTRADICTS_ANOTHER_ROW"], 0 if seed else 8)
    other = row(ROW, source_ref="AAA-2", **{**RENEWED, "consent_until": "2015-12-31"})
    run = call(store, service, mapping, [row(ROW, **RENEWED), other], later(1))
    assert (run.rows, run.sent) == (["in", "CONTRADICTS_ANOTHER_ROW"], [])


def test_where_a_row_names_no_consent_its_participation_has_its_own_as_before(store: Store) -> None:
    service, mapping = Desk(), with_consents()
    plain = replace(mapping, about=mapped().about)
    assert len(call(store, service, plain, [row(ROW, **{**FIRST, "consent": ""})], later(0)).sent) == 7
    assert call(store, service, mapping, [row(ROW, **{**FIRST, "consent": ""})], later(1)).sent == []
    run = call(store, service, mapping, [row(ROW, **FIRST)], later(2))  # from now on it has a name
    assert (run.rows, run.names) == (["in"], [("consent", 1)])
    (said,) = service.of("requested_on")
    assert said["consent_id"] == store.id_of("consent", "AAA-1")


def test_two_rows_that_say_otherwise_with_the_same_time_of_report_contradict_each_other(store: Store) -> None:
    service = Service()
    call(store, service, mapped(), [row(ROW)], later(0))
    same = [row(MEETING), row(MEETING, **PRESENT, reported_at="2014-01-07T19:00:00+01:00"), row(MEETING)]
    for sent in (1, 0):
        run = call(store, service, mapped("attendance"), same, later(1))
        assert (run.rows, len(run.sent)) == (["in", "CONTRADICTS_ANOTHER_ROW", "in"], sent)


def reported(name: str, says: int, at: str) -> Row:
    """A row that reports a start, an end or a course day; `at`: its time of report, empty where it is missing."""
    if name == "attendance":
        return row(MEETING, reported_at=at, **(PRESENT if says else {}))
    if name == "start":
        return row(ROW, **GONE, started_on=("2014-01-01", "2014-01-08")[says], start_at=at)
    return row(ROW, ended_on=("2014-02-01", "2014-02-09")[says], end_at=at)


REPORTS = {"start": "participations", "end": "participations", "attendance": "attendance"}
SOON = "2026-11-24T12:05:00Z"  # before the second import, and within what a service takes for now in the first


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("newest", ["2026-11-20T18:00:00Z", SOON])
@pytest.mark.parametrize("name", REPORTS)
def test_a_row_of_a_log_without_its_time_is_the_newest_report_said_once_more(
    store: Store, name: str, newest: str, order: tuple[int, ...]
) -> None:
    """It was of the time of the import: an import later it was said anew, and it refused the reports it had come after."""
    service, mapping = Service(), mapped(REPORTS[name], *({name} - {"attendance"}))
    if name == "attendance":
        call(store, service, mapped(), [row(ROW, **GONE)], later(-9))
    log = [reported(name, 0, "2026-11-19T18:00:00Z"), reported(name, 1, newest), reported(name, 1, "")]
    for day in range(3):
        run = call(store, service, mapping, [log[number] for number in order], later(day))
        assert run.rows == ["in"] * 3 and sum(said == name for said, _ in run.names) == (0 if day else 2)
        assert day == 0 or run.sent == []
    (said,) = (said for thing, said in service.said.items() if thing[0] == name)
    assert max(said)[0] == datetime.fromisoformat(newest) and len(said) == 2


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("at", ["2026-11-20T18:00:00Z", SOON])
@pytest.mark.parametrize("name", REPORTS)
def test_a_row_of_a_log_without_its_time_that_says_otherwise_takes_no_reports_place(
    store: Store, name: str, at: str, first: int
) -> None:
    """An old row that never had its time took the place of the correction below it."""
    service, mapping = Service(), mapped(REPORTS[name], *({name} - {"attendance"}))
    if name == "attendance":
        call(store, service, mapped(), [row(ROW, **GONE)], later(-9))
    log = {0: reported(name, 0, ""), 1: reported(name, 1, at)}
    for day in range(3):
        run = call(store, service, mapping, [log[first], log[1 - first]], later(day))
        assert run.rows[first] == "CONTRADICTS_ANOTHER_ROW" and run.rows[1 - first] == "in"
        assert day == 0 or run.sent == []
    (said,) = (said for thing, said in service.said.items() if thing[0] == name)
    assert [moment for moment, _ in said] == [datetime.fromisoformat(at)]


def test_a_time_of_report_that_can_not_be_read_contradicts_nobody(store: Store) -> None:
    call(store, Service(), mapped(), [row(ROW)], later(0))
    files = [row(MEETING, reported_at=text) for text in ("yesterday", "18:00", "")]
    assert call(store, Service(), mapped("attendance"), files, later(1)).rows == ["INVALID", "INVALID", "in"]
    with pytest.raises(RowRefused) as no:
        list(Planner(mapped("attendance"), store, NOW, persons=store.persons()).steps(files[0]))
    assert no.value.pointer == "/reported_at" and "yesterday" not in no.value.hint


def test_reports_handed_in_newest_first_are_revisions_of_their_own(store: Store) -> None:
    service, log = Service(), [row(MEETING, reported_at=f"2014-01-{day}T18:00:00Z") for day in (12, 11, 10)]
    call(store, service, mapped(), [row(ROW)], later(0))
    assert call(store, service, mapped("attendance"), log, later(1)).names == [("attendance", n) for n in (1, 2, 3)]
    assert call(store, service, mapped("attendance"), log, later(2)).sent == []


def test_what_was_refused_makes_nothing_new_of_what_stands(store: Store) -> None:
    service = Service(refuses("2014-02-09", "END_BEFORE_START"))
    for day, (ended_on, said) in enumerate(
        [("2014-02-01", "in"), ("2014-02-09", "END_BEFORE_START"), ("2014-02-01", "in")]
    ):
        run = call(store, service, mapped(), [row(ROW, ended_on=ended_on)], later(day))
        assert (run.rows, len(run.sent)) == ([said], (7, 1, 0)[day])


LATER = ["FUTURE_DAY", "CLOCK_AHEAD", "NOT_ACCEPTED", "TOO_MANY_WAITING", "UNKNOWN_REFERRAL", "END_BEFORE_START",
         "START_AFTER_END", "NOT_RUNNING"]  # fmt: skip
"""CLOCK_AHEAD of a report's own time says `mended`: which goes again with the time at which it does."""
NO = ["NO_CONSENT", "NOT_YOURS", "CASE_CLOSED"]
FOR_GOOD = [*NO, "DAY_IMPLAUSIBLE"]


@pytest.mark.parametrize("reason", LATER + FOR_GOOD)
def test_what_was_refused_for_now_goes_again_in_the_next_run_and_once(store: Store, reason: str) -> None:
    """The day came, and the file was refused as it had been, with the advice to mend what was right."""
    service, files = Service(lambda said: reason if thing_of(said) else ""), [row(ROW, **GONE)] * 3
    assert call(store, service, mapped(), files, later(0)).names[-1] == ("start", 1)
    run = call(store, service, mapped(), files, later(1))
    assert run.rows == [reason] * 3 and run.names == ([("start", 2)] if reason in LATER else [])
    service.no = lambda _: ""
    run = call(store, service, mapped(), files, later(7))
    assert run.rows == (["in"] * 3 if reason in LATER else [reason] * 3)
    assert call(store, service, mapped(), files, later(8)).sent == []


@pytest.mark.parametrize(("reason", "again", "goes"), [("UNKNOWN_RUN", "mended", False), ("NO_CONSENT", "mended", False),
                                                       ("CONTRADICTION", "later", True)])  # fmt: skip
def test_whether_it_goes_again_the_answer_says_and_not_its_reason(
    store: Store, reason: str, again: str, goes: bool
) -> None:
    """A run that is no run was sent anew with every import; what waited for a correction never."""
    service = Service(lambda _: reason, again)
    call(store, service, mapped(), [row(ROW)], later(0))
    assert bool(call(store, service, mapped(), [row(ROW)], later(1)).sent) is goes


def test_what_was_wrong_beside_a_mistyped_start_is_in_once_that_is_mended(store: Store) -> None:
    """She mended the start, and was told run after run that the end lies before it: the exit was never recorded."""
    service, days = Service(lambda said: "NOT_RUNNING" if "meeting_id" in said else ""), mapped("attendance")
    assert call(store, service, mapped(), [row(ROW, started_on="2015-01-01")], later(0)).rows == ["END_BEFORE_START"]
    assert call(store, service, days, [row(MEETING)], later(0)).rows == ["NOT_RUNNING"]
    assert call(store, service, mapped(), [row(ROW)], later(1)).names == [("start", 2), ("end", 2)]
    service.no = lambda _: ""
    assert call(store, service, days, [row(MEETING)], later(1)).rows == ["in"]
    assert service.stands("end", store.id_of("participation", "AAA-1"))
    assert call(store, service, mapped(), [row(ROW)], later(2)).sent == []


def test_what_went_again_on_a_clock_set_back_is_known(store: Store) -> None:
    service = Service(lambda said: "FUTURE_DAY" if thing_of(said) else "")
    call(store, service, mapped(), [row(ROW, **GONE)], later(0))
    service.no = lambda _: ""
    for day, sent in ((-1, [("start", 2)]), (-2, [])):
        run = call(store, service, mapped(), [row(ROW, **GONE)], later(day))
        assert (run.rows, run.names) == (["in"], sent)


def test_a_start_behind_an_end_that_is_mended_an_import_later_is_in(store: Store) -> None:
    service, moved = Service(), {"started_on": "2014-03-01"}
    call(store, service, mapped(), [row(ROW)], later(0))
    assert call(store, service, mapped(), [row(ROW, **moved)], later(1)).rows == ["START_AFTER_END"]
    run = call(store, service, mapped(), [row(ROW, **moved, ended_on="2014-04-01")], later(2))
    assert (run.rows, run.names) == (["in"], [("end", 2), ("start", 3)])


def test_nobody_is_told_to_mend_what_passes_by_itself_or_what_no_cell_can_mend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Told to mend a day after a consent was withdrawn she could only falsify it."""
    found = [Back(row(ROW), reason, "", "", way) for reason, way in
             (("FUTURE_DAY", Again.LATER), ("NO_CONSENT", Again.NO), ("INVALID", Again.MENDED), ("NO_CONSENT", Again.MENDED))]  # fmt: skip
    account = Account(rows=4, back=found)

    def hints(back: Path | None) -> list[tuple[str, str]]:
        with click.Context(click.Command("import")):
            _show("participations", account, back, None, "json", back is None, PARTLY)
        return [
            (wrong["at"], wrong["hint"].partition(",")[0]) for wrong in json.loads(capsys.readouterr().out)["errors"]
        ]

    mend, ways = "mend them in the file of refused rows", ["the same import again", "nothing to mend"]
    assert hints(Path("back.csv")) == [("FUTURE_DAY", ways[0]), ("NO_CONSENT", ways[1]), ("INVALID", mend), ("NO_CONSENT", mend)]  # fmt: skip
    assert hints(None)[2:] == [
        (reason, "mend them; --refused FILE shows them all") for reason in ("INVALID", "NO_CONSENT")
    ]
    with click.Context(click.Command("import")):
        _show("participations", account, None, None, "table", False, PARTLY)
    assert "NO_CONSENT: nothing to mend" in capsys.readouterr().err


RUN_MOVED, NEXT_YEAR = {"run_end": "2014-09-01"}, {"run_start": "2015-01-01", "run_end": "2015-06-01"}


@pytest.mark.parametrize("step", ["run", "registration", "consent"])
async def test_what_was_recorded_first_keeps_back_no_start_and_no_end(store: Store, tmp_path: Path, step: str) -> None:
    """A course was prolonged: each of its rows was refused for it, and no exit was ever recorded."""
    reason = {"run": "RUN_EXISTS", "registration": "CASE_EXISTS"}.get(step, f"{step.upper()}_EXISTS")
    asked = Asked(store)
    first = await send_rows(filed(tmp_path, row(ROW, **GONE)), Planner(mapped(), store, later(0)), asked)
    assert first.recorded == 1
    asked.no, other = {step: reason}, mapped()
    other = replace(other, steps={**other.steps, step: {**other.steps[step], "by": Field(constant="x-other")}})
    for day, new in ((1, [step, "end"]), (2, [])):  # known from memory, it keeps back nothing either
        asked.asked.clear()
        account = await send_rows(filed(tmp_path, row(ROW)), Planner(other, store, later(day)), asked)
        (back,) = account.back
        assert (asked.asked, back.reason, back.way, account.astray) == (new, reason, Again.NO, 0)
        assert back.hint == "What was recorded first stands; the rest of this row is in."
    asked.no |= {"end": "FUTURE_DAY"}
    account = await send_rows(filed(tmp_path, row(ROW, ended_on="2014-02-09")), Planner(other, store, later(3)), asked)
    assert account.reasons == {"FUTURE_DAY": 1}  # what is not in is said first


async def test_of_an_end_that_is_taken_back_beside_it_is_told(store: Store, tmp_path: Path) -> None:
    asked = Asked(store)
    await send_rows(filed(tmp_path, row(ROW)), Planner(mapped(), store, later(0)), asked)
    asked.no = {"run": "RUN_EXISTS"}
    account = await send_rows(filed(tmp_path, row(ROW, **RUN_MOVED, **GONE)), Planner(mapped(), store, later(1)), asked)
    assert (account.refused, account.taken_back, account.recorded) == (1, 1, 0)


async def test_who_is_new_is_not_sent_into_a_run_that_another_year_had_under_the_same_name(
    store: Store, tmp_path: Path
) -> None:
    asked = Asked(store)
    await send_rows(filed(tmp_path, row(ROW)), Planner(mapped(), store, later(0)), asked)
    asked.no = {"run": "RUN_EXISTS"}
    asked.asked.clear()
    rows = filed(tmp_path, row(ROW, **NEXT_YEAR, source_ref="AAA-2", person_ref="2"))
    (back,) = (await send_rows(rows, Planner(mapped(), store, later(1)), asked)).back
    assert (asked.asked, back.reason, back.way) == (["run"], "RUN_EXISTS", Again.MENDED)
    assert back.hint.startswith("Say of it what the rows before said")


async def test_a_course_that_is_visited_again_under_the_same_references_moves_no_start_of_last_year(
    store: Store, tmp_path: Path
) -> None:
    asked = Asked(store)
    await send_rows(filed(tmp_path, row(ROW)), Planner(mapped(), store, later(0)), asked)
    asked.no = {"run": "RUN_EXISTS", "request": "REFERRAL_EXISTS"}
    asked.asked.clear()
    rows = filed(tmp_path, row(ROW, **NEXT_YEAR, **GONE, requested_on="2014-12-01", started_on="2015-01-01"))
    (back,) = (await send_rows(rows, Planner(mapped(), store, later(1)), asked)).back
    assert (asked.asked, back.reason, back.way) == (["run", "request"], "REFERRAL_EXISTS", Again.MENDED)
    assert "a reference of its own" in back.hint


async def test_what_somebody_else_recorded_keeps_back_what_rests_on_it(store: Store, tmp_path: Path) -> None:
    asked = Asked(store, {"registration": "CASE_EXISTS"})
    (back,) = (await send_rows(filed(tmp_path, row(ROW)), Planner(mapped(), store, later(0)), asked)).back
    assert (asked.asked, back.way, back.hint) == (["run", "registration"], Again.NO, "")


class Asked(Nobody):
    """Refuses the steps in `no`, and records the others."""

    def __init__(self, store: Store, no: dict[str, str] | None = None) -> None:
        super().__init__(store)
        self.no, self.asked = no or {}, list[str]()

    async def ask(self, step: Step) -> Said:
        if step.sent.said:
            return step.sent.said
        name = step.sent.key.partition("\x1f")[0]
        said = Said("refused", self.no[name]) if name in self.no else Said("recorded")
        self.asked.append(name)
        self.store.flush()
        self.store.answered([(step.sent.id, said)])
        return said


def filed(folder: Path, *rows: Row) -> list[CsvFile]:
    path = folder / "rows.csv"
    path.write_text("".join(";".join(line) + "\n" for line in [rows[0].cells, *(row.cells.values() for row in rows)]))
    return [look_through(path, ROW)]


def test_what_was_reported_in_the_time_to_come_goes_again_once_it_has_come(store: Store) -> None:
    service = Service()
    call(store, service, mapped(), [row(ROW)], later(0))
    service.no = lambda said: "CLOCK_AHEAD"
    ahead = [row(MEETING, reported_at="2026-11-26T18:00:00Z")]
    assert [len(call(store, service, mapped("attendance"), ahead, later(day)).sent) for day in (1, 2, 3)] == [1, 0, 1]


def test_asked_for_again_what_rows_share_goes_once(store: Store) -> None:
    service = Service(lambda said: "NO_CONSENT" if thing_of(said) else "")
    files = [row(ROW, **GONE)] * 9
    call(store, service, mapped(), files, later(0))
    assert call(store, service, mapped(), files, later(1), again=True).names == [("start", 2)]


def test_a_start_and_an_end_that_both_moved_are_sent_in_the_order_in_which_they_can_be_heard(store: Store) -> None:
    """The start first, it lay behind the end that stood, was refused, and the end was never sent."""
    service, mapping = Service(), mapped()
    moves = (
        ("2014-01-01", "2014-02-09"),
        ("2014-03-01", "2014-04-01"),
        ("2013-12-20", "2014-01-05"),
        ("2014-05-01", ""),
    )
    for day, (started, ended) in enumerate(moves):
        rows = [row(ROW, started_on=started, ended_on=ended, end_kind="DROPPED_OUT" if ended else "")]
        assert call(store, service, mapping, rows, later(day)).rows == ["in"]
        start, end = (service.stands(name, store.id_of("participation", "AAA-1")) for name in ("start", "end"))
        assert start and start["started_on"] == started
        assert (end["ended_before_on"] if end else "") == ended


@pytest.mark.parametrize("withdrawn_on", ["", "2013-12-05"])
def test_an_end_without_a_start_is_refused_here(store: Store, withdrawn_on: str) -> None:
    """It waited for the start, and stalled every import."""
    service, files = Service(), [row(ROW, started_on="", withdrawn_on=withdrawn_on)]
    for day in range(2):
        run = call(store, service, mapped(), files, later(day))
        assert run.rows == ["NOT_STARTED"] and "end" not in dict(run.names)
    with pytest.raises(RowRefused) as no:
        list(Planner(mapped(), store, NOW).steps(files[0]))
    assert no.value.hint == "An end without a start: fill the start, or empty the end."


def test_an_end_without_a_start_that_waits_since_release_1_is_not_taken_back_into_the_wait(store: Store) -> None:
    service, key = Service(), "end\x1fAAA-1"
    whole = next(step for step in Planner(mapped(), store, NOW).steps(row(ROW)) if step.sent.key == key)
    store.flush()
    for name in ("start",):
        store._db.execute("delete from sent where key = ?", (f"{name}\x1fAAA-1",))
    assert service.take(whole) is None
    call(store, service, mapped(), [row(ROW, started_on="", **GONE)], later(1))
    assert len(store.of_key(key)) == 1
    call(store, service, mapped(), [row(ROW, **GONE)], later(2))
    assert service.stands("end", store.id_of("participation", "AAA-1")) is None


def test_a_dry_run_reads_all_files_before_it_says_what_would_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "june.csv", tmp_path / "july.csv"]
    for path, cells in zip(files, [{**ROW, **GONE}, ROW], strict=True):
        path.write_text(";".join(cells) + "\n" + ";".join(cells.values()) + "\n")
    (tmp_path / "no-start.csv").write_text(files[1].read_text().replace("2014-01-01;2014-02-01", ";2014-02-01"))
    for named, reason in ((files, "CONTRADICTS_ANOTHER_ROW"), ([tmp_path / "no-start.csv"], "NOT_STARTED")):
        mapping = ["--mapping", str(OULAD / "participations.toml"), "--dry-run", "--format", "json"]
        assert main(["import", "participations", *map(str, named), *mapping]) == PARTLY
        assert json.loads(capsys.readouterr().out)["data"]["reasons"] == {reason: 1}


def test_a_row_whose_start_has_no_day_is_refused_alone(store: Store) -> None:
    """Where another column says whether there is a start; it was a fault of ours, and the import broke off at it, run after run."""
    service, plain = Service(), mapped()
    mapping = replace(plain, when={**plain.when, "start": "sex"})
    assert call(store, service, mapping, [row(ROW)], later(0)).rows == ["in"]
    rows = [row(ROW, started_on=""), row(ROW, source_ref="AAA-2", person_ref="2")]
    assert call(store, service, mapping, rows, later(1)).rows == ["INVALID", "in"]


def test_a_dry_run_without_a_stack_does_not_pass_over_what_is_remembered(
    tmp_path: Path, nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what was imported it said that it would be sent."""
    file, words = tmp_path / "june.csv", ["--mapping", str(OULAD / "participations.toml"), "--dry-run"]
    file.write_text(";".join(ROW) + "\n" + ";".join(ROW.values()) + "\n")
    assert main(["import", "participations", str(file), *words]) == DONE
    assert "checked as a first one" in capsys.readouterr().err
    for place in (nowhere, nowhere / "stack"):
        with Store(place / "import", "oulad", "oulad"):
            assert main(["import", "participations", str(file), *words]) == UNREACHABLE
        assert "no stack is up" in capsys.readouterr().err
        shutil.rmtree(place / "import")


def test_the_memory_of_release_1_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "import"
    folder.mkdir()
    with sqlite3.connect(folder / "oulad.sqlite") as old:
        old.executescript(RELEASE_1)
    with Store(folder, "oulad", "oulad", reading=True) as reader:
        assert [reference for reference, *_ in reader.participations()] == ["AAA-1", "AAA-2", "AAA-3", "AAA-4"]
        assert len(reader.of_key("attendance\x1fAAA-1\x1fm1")) == 2
    service, dated, days = Service(), mapped("participations", "end"), mapped("attendance")

    def run(mapping: Mapping, *rows: Row) -> Run:
        with Store(folder, "oulad", "oulad") as memory:
            return call(memory, service, mapping, rows, later(30))

    # what is known stays known: a picture of today, and a log of changes as a whole
    log = [row(MEETING), row(MEETING, **PRESENT, reported_at="2014-01-09T18:00:00Z")]
    assert run(mapped(), row(ROW)).sent == run(days, *log).sent == []
    # changed, and changed back with the same time of report: the other one stood
    assert run(days, row(MEETING, meeting_ref="m2")).names == [("attendance", 3)]
    assert run(days, row(MEETING, meeting_ref="m2")).sent == []
    # an end that was recorded after one was taken back, and never stood
    other = {"source_ref": "AAA-2", "person_ref": "2"}
    assert run(dated, row(ROW, **other, end_at="2026-11-26T18:00:00Z")).rows == ["TAKEN_BACK"]
    assert run(dated, row(ROW, **other, end_at="2026-11-28T18:00:00Z")).names == [("end", 4)]
    # a start whose day has come, and an end that nobody answered
    assert run(mapped(), row(ROW, **GONE, source_ref="AAA-3", person_ref="3")).names == [("start", 2)]
    service.said["start", id_in(folder, "AAA-4")] = {(NOW, 1): {"started_on": "2014-01-01"}}
    (end,) = run(mapped(), row(ROW, source_ref="AAA-4", person_ref="4")).asked
    assert (end.known, end.sent.revision, json.loads(end.submission.to_json())["reported_at"]) == (
        True, 1, "2026-11-24T12:00:00Z",
    )  # fmt: skip
    # an end that is gone is taken back above it
    (gone,) = run(mapped(), row(ROW, **GONE)).sent
    assert gone.sent.revision == 2 and json.loads(gone.submission.to_json())["reported_at"] > "2026-11-24T12:00:00Z"


@pytest.mark.parametrize("shape", ["release 1", "with times of report"])
def test_what_an_earlier_release_took_for_refused_for_good_goes_again(tmp_path: Path, shape: str) -> None:
    """It wrote down no `again`; and the run before this one has seen the memory already."""
    folder, service = tmp_path / "import", Service()
    folder.mkdir()
    with sqlite3.connect(folder / "oulad.sqlite") as old:
        old.executescript(RELEASE_1)
        if shape != "release 1":
            old.execute("alter table sent add column reported_at text")
        refused = "update sent set outcome = 'refused', reason = ? where key like ?"
        for said in (
            ("END_BEFORE_START", "end%AAA-4"),
            ("NOT_RUNNING", "attendance%m1"),
            ("NO_CONSENT", "start%AAA-3"),
        ):
            old.execute(refused, said)
    service.said["start", id_in(folder, "AAA-4")] = {(NOW, 1): {"started_on": "2014-01-01"}}
    log = [row(MEETING), row(MEETING, **PRESENT, reported_at="2014-01-09T18:00:00Z")]
    for day in (30, 31):
        with Store(folder, "oulad", "oulad") as memory:
            end = call(memory, service, mapped(), [row(ROW, source_ref="AAA-4", person_ref="4")], later(day))
            days = call(memory, service, mapped("attendance"), log, later(day))
            start = call(memory, service, mapped(), [row(ROW, **GONE, source_ref="AAA-3", person_ref="3")], later(day))
        sent = ([("end", 2)], [("attendance", 3), ("attendance", 4)]) if day == 30 else ([], [])
        assert ((end.names, days.names), start.names) == (sent, [])
        assert (end.rows, days.rows, start.rows) == (["in"], ["in", "in"], ["NO_CONSENT"])


def id_in(folder: Path, reference: str) -> str:
    with Store(folder, "oulad", "oulad", reading=True) as memory:
        return memory.id_of("participation", reference)


def test_a_mapping_that_says_when_from_now_on_says_nothing_anew_and_nothing_that_can_not_stand(store: Store) -> None:
    service = Service()
    call(store, service, mapped(), [row(ROW)], later(0))
    when = mapped("participations", "end")
    assert call(store, service, when, [row(ROW, **SPOKEN)], later(1)).sent == []
    run = call(store, service, when, [row(ROW, **SPOKEN, ended_on="2014-02-09")], later(1))
    assert (run.rows, run.sent) == (["SAID_SINCE"], [])
    run = call(store, service, when, [row(ROW, ended_on="2014-02-09", end_at="2026-11-24T18:00:00Z")], later(1))
    assert run.names == [("end", 2)]


def test_a_report_that_was_said_without_a_time_meanwhile_is_asked_for_as_it_was_sent(store: Store) -> None:
    """Side by side with a row that says when: other content under its id would be refused."""
    service, days = Service(), mapped("attendance")
    call(store, service, mapped(), [row(ROW)], later(0))
    call(store, service, days, [row(MEETING)], later(1))
    steps = [Planner(days, store, later(day), persons=store.persons()).steps(row(MEETING, **cells))
             for day, cells in ((2, {"reported_at": ""}), (3, {}))]  # fmt: skip
    first, second = (next(found) for found in steps)
    assert second.known and (first.sent.id, first.submission) == (second.sent.id, second.submission)
