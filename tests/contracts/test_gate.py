"""The gate names what would break whom, lets pass what breaks nobody, and a release is what stands from then on.

Each test releases in a folder of its own what is published now, changes what would be published next, and says by hand what
the gate must say.
"""

import ast
import copy
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, model_validator

from contracts.attendance import AttendanceReported
from contracts.envelope import AsWritten, Fact, Id, Privacy
from contracts.families import FACTS, PUBLISHED
from contracts.topics import SUBMITTED
from contracts.version import VERSION
from deploy.cli import main
from deploy.errors import Trouble
from deploy.places import ROOT
from deploy.published import schemas
from deploy.published.breaks import Break
from deploy.published.changelog import changelog
from deploy.published.expectations import EXPECTATIONS
from deploy.published.files import differing, generate, generated
from deploy.published.gate import Checked, check
from deploy.published.released import NOTHING, RELEASED, State, added, current, releases, version_of, write

RECORDED, REPORTED = "lotse.attendance.attendance_recorded.v1", "lotse.attendance.attendance_reported.v1"
ANSWER, REPORT, TICK = "lotse.attendance.answer.v1", "lotse.reporting.participation_report.v1", "lotse.clock.tick.v1"
RAISED, ENDED = "lotse.dropout.dropout_risk_raised.v1", "lotse.referral.participation_ended.v1"
OFFICE = ("reporting-office",)
NOW = current()
FACTS_BY_NAME = {cls.__name__: ce_type for ce_type, cls in FACTS.items()}
DAY = date(2026, 11, 26)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder in which release 1 is what is published now, with its samples and one subscriber."""
    shutil.copytree(ROOT / "contracts/examples", tmp_path / "contracts/examples")
    shutil.copytree(ROOT / EXPECTATIONS, tmp_path / EXPECTATIONS)
    write(tmp_path, 1, DAY, "The first.", NOW)
    return tmp_path


def changed(change: Callable[[State], Any]) -> State:
    """What would be published after a change."""
    state = copy.deepcopy(NOW)
    change(state)
    return state


def members(state: State, ce_type: str) -> dict[str, Any]:
    found: dict[str, Any] = state.types[ce_type]["properties"]
    return found


def subscribe(root: Path, **more: Any) -> None:
    said = {
        "subscriber": "archive",
        "contact": "the archive",
        "uses": "Keeps risks.",
        "relies_on": {RAISED: ["/rule"]},
        **more,
    }
    (root / EXPECTATIONS / "archive.json").write_text(json.dumps(said))


def only(found: Checked) -> Break:
    (one,) = found.breaks
    return one


def test_what_would_be_published_now_breaks_nobody() -> None:
    """The gate itself, in the tests: red here is red in `lotse contracts check`."""
    assert check().breaks == ()


def test_before_the_first_release_only_samples_and_expectations_can_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["contracts", "check", "--root", str(tmp_path), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (
        said["ok"] and said["command"] == "contracts check" and said["data"]["release"] is None and said["errors"] == []
    )
    assert main(["contracts", "check", "--root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "nothing is released yet" in err
    (tmp_path / EXPECTATIONS).mkdir(parents=True)
    subscribe(tmp_path, relies_on={RAISED: ["/colour"]})
    assert main(["contracts", "check", "--root", str(tmp_path), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["at"] == f"{RAISED} /colour"


def test_what_was_just_released_breaks_nobody_and_asks_nothing_of_anybody(root: Path) -> None:
    found = check(root)
    assert (found.release, found.breaks, found.order, found.told) == (1, (), (), ())
    assert found.looked_at["types"] == len(PUBLISHED) + 1 and found.looked_at["samples"] > 70


# --- what breaks, and what does not: rule, pointer, writer, reader, a word of the way out -----------------------------------

OLD = ", up to release 1"


@pytest.mark.parametrize(
    ("change", "ce_type", "expected"),
    [
        (lambda s: members(s, RECORDED).pop("excuse_reason"), RECORDED,
         {("REMOVED", "/excuse_reason", "referral", "referral, as of release 1", "leave it in"),
          ("REMOVED", "/excuse_reason", f"referral{OLD}", "referral", "leave it in")}),
        (lambda s: members(s, RECORDED)["units_planned"].update(maximum=2_000_000), RECORDED,
         {("BOUNDS", "/units_planned", "referral", "referral, as of release 1", "write nothing")}),
        (lambda s: members(s, RECORDED)["units_planned"].update(maximum=8), RECORDED,
         {("BOUNDS", "/units_planned", f"referral{OLD}", "referral", "go on taking")}),
        (lambda s: s.types[RECORDED]["required"].append("excuse_reason"), RECORDED,
         {("REQUIRED", "/excuse_reason", f"referral{OLD}", "referral", "optional")}),
        (lambda s: members(s, RECORDED)["units_planned"].update({"x-unit": "hour"}), RECORDED,
         {("UNIT", "/units_planned", "referral", "referral, as of release 1", "own name"),
          ("UNIT", "/units_planned", f"referral{OLD}", "referral", "own name")}),
        (lambda s: members(s, RECORDED)["presence"].update({"x-privacy": "special"}), RECORDED,
         {("PRIVACY", "/presence", "referral", "referral, as of release 1", "own name")}),
        (lambda s: s.types[RECORDED]["$defs"]["By"]["required"].append("staff_id"), RECORDED,
         {("REQUIRED", "/by/staff_id", f"referral{OLD}", "referral", "optional")}),
        (lambda s: s.types[REPORTED]["$defs"]["Presence"]["enum"].remove("LATE"), REPORTED,
         {("CODES", "/presence", f"every publisher{OLD}", "referral", "leave the code in")}),
        (lambda s: members(s, REPORTED)["units_planned"].update(maximum=8), REPORTED,
         {("BOUNDS", "/units_planned", f"every publisher{OLD}", "referral", "refused by a rule, with a reason")}),
        (lambda s: s.types[REPORTED]["required"].append("excuse_reason"), REPORTED,
         {("REQUIRED", "/excuse_reason", f"every publisher{OLD}", "referral", ".v2 beside it")}),
        (lambda s: s.types[ANSWER]["$defs"]["Outcome"]["enum"].append("postponed"), ANSWER,
         {("CODES", "/outcome", "referral", "referral, every publisher, as of release 1", "a member of its own name")}),
        (lambda s: members(s, ANSWER)["hint"].update(maxLength=400), ANSWER,
         {("LENGTH", "/hint", "referral", "referral, every publisher, as of release 1", "write nothing")}),
        (lambda s: members(s, TICK)["at"].update(format="date"), TICK,
         {("FORMAT", "/at", "clock", "intake, referral, notification, reporting, as of release 1", "write nothing"),
          ("FORMAT", "/at", f"clock{OLD}", "intake, referral, notification, reporting", "go on taking")}),
        (lambda s: members(s, "attributes.v1")["tenant"].update(pattern="^[a-z]{2}$"), "attributes.v1",
         {("PATTERN", "/tenant", f"every writer{OLD}", "every reader", "go on taking")}),
        (lambda s: s.types.pop(RAISED), RAISED,
         {("GONE", "", f"referral{OLD}", "notification, referral", "leave its class")}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_break_names_pointer_writer_reader_and_way_out(
    root: Path, change: Callable[[State], Any], ce_type: str, expected: set[tuple[str, ...]]
) -> None:
    checked = check(root, changed(change))
    found = [one for one in checked.breaks if one.rule != "EXPECTED"]
    assert checked.order == (), "what breaks is not mended by who goes first"
    assert {one.what for one in found} == {ce_type} and len(found) == len(expected)
    for rule, at, writer, reader, way in expected:
        (one,) = (one for one in found if (one.rule, one.at, one.writer, one.reader) == (rule, at, writer, reader))
        assert way in one.way_out and one.said
        assert ("(for example " in one.said) is (rule in ("BOUNDS", "CODES", "LENGTH", "PATTERN"))


@pytest.mark.parametrize(
    ("change", "first", "then"),
    [
        (lambda s: members(s, RECORDED).update(note_code={"type": "string"}), None, None),
        (lambda s: members(s, REPORTED).update(note_code={"type": "string"}), "referral", "every publisher"),
        (lambda s: s.types[REPORTED]["$defs"]["Presence"]["enum"].append("ONLINE"), "referral", "every publisher"),
        (lambda s: members(s, REPORTED)["units_planned"].update(maximum=2_000_000), "referral", "every publisher"),
        (lambda s: s.types[REPORTED]["required"].remove("units_planned"), "referral", "every publisher"),
        (lambda s: (s.topics["dropout.events"]["types"].append("lotse.dropout.risk_seen.v1"),
                    s.types.update({"lotse.dropout.risk_seen.v1": s.types[RAISED]})), "notification, referral", "referral"),
        (lambda s: (s.topics["attendance.submissions.{publisher}"]["types"].append("lotse.attendance.room_changed.v1"),
                    s.types.update({"lotse.attendance.room_changed.v1": s.types[REPORTED]})), "referral", "every publisher"),
        (lambda s: s.topics.update({"course.events": {**s.topics["intake.events"], "types": []}}),
         "the operator: `lotse topics`, and rights", "intake, then intake, referral, reporting"),
        (lambda s: s.topics["intake.submissions.{publisher}"].update({"max.message.bytes": "262144"}), None, None),
        (lambda s: s.topics["intake.events"]["readers"].append("notification"), None, None),
    ],
)  # fmt: skip
def test_what_breaks_nobody_passes_and_it_is_said_who_goes_first(
    root: Path, change: Callable[[State], Any], first: str | None, then: str | None
) -> None:
    found = check(root, changed(change))
    assert found.breaks == ()
    assert [(one.first, one.then) for one in found.order] == ([] if first is None else [(first, then)])
    assert all(one.why for one in found.order)


def test_a_sentence_told_anew_breaks_nobody_and_is_shown(root: Path) -> None:
    found = check(root, changed(lambda s: members(s, REPORTED)["meeting_on"].update(description="The day after.")))
    assert found.breaks == () and [(ce_type, change.at) for ce_type, change in found.told] == [
        (REPORTED, "/meeting_on")
    ]


class NoMore(AttendanceReported):
    """Its schema is the same."""

    @model_validator(mode="after")
    def _at_most_ten(self) -> "NoMore":
        if self.units_planned > 10:
            raise ValueError
        return self


class InUtc(AttendanceReported):
    """A moment is text of the format date-time in its schema, too."""

    reported_at: Annotated[AwareDatetime, AsWritten(r"Z$", "date-time")]


class Raises(AttendanceReported):
    @model_validator(mode="after")
    def _broken(self) -> "Raises":
        if self.units_planned > 10:
            raise KeyError("a name")
        return self


class Closed(AttendanceReported):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (NoMore, "value_error at the top"),
        (InUtc, "string_pattern_mismatch at /reported_at"),
        (Raises, "KeyError is raised"),
        (Closed, "extra_forbidden at the top"),
    ],
)
def test_what_a_class_refuses_and_its_schema_does_not_say_is_a_break(
    root: Path, cls: type[AttendanceReported], said: str
) -> None:
    one = only(check(root, NOW, {**PUBLISHED, REPORTED: cls}))
    assert (one.rule, one.what, one.writer, one.reader) == ("UNREAD", REPORTED, f"every publisher{OLD}", "referral")
    assert one.said.endswith(f": {said}") and "refused by a rule, with a reason" in one.way_out


def test_a_schema_says_all_that_stands_at_its_top(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission that refuses members nobody knows says so, and whatever else the gate knows nothing of cannot be judged."""
    cls = type(AttendanceReported.__name__, (Closed,), {"__doc__": AttendanceReported.__doc__, "__module__": __name__})
    monkeypatch.setitem(PUBLISHED, REPORTED, cls)
    said = schemas._schema_of.__wrapped__(REPORTED)
    assert said == {**NOW.types[REPORTED], "additionalProperties": False}
    one = only(check(root, changed(lambda state: state.types.update({REPORTED: said})), {**PUBLISHED, REPORTED: cls}))
    assert (one.rule, one.at) == ("CLOSED", "")
    either = {"anyOf": [{"required": ["excuse_reason"]}, {"required": ["presence"]}]}
    assert {one.rule for one in check(root, changed(lambda s: s.types[REPORTED].update(either))).breaks} == {"UNJUDGED"}


# --- topics ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "setting", "value"),
    [
        ("intake.events", "kind", "time"),
        ("intake.events", "key", "the office"),
        ("attendance.submissions.{publisher}", "partitions", 24),
        ("intake.answers.{publisher}", "retention.ms", "86400000"),
        ("clock.ticks", "retention.ms", "-1"),
        ("intake.events", "retention.bytes", "1000000"),
        ("intake.events", "cleanup.policy", "compact"),
        ("report.participation.internal", "audience", "public"),
        ("dropout.events", "writer", "notification"),
        ("intake.submissions.{publisher}", "message.timestamp.type", "CreateTime"),
        ("intake.submissions.{publisher}", "max.message.bytes", "1024"),
        ("intake.answers.{publisher}", "compression.type", "zstd"),
        ("clock.ticks", "compression.type", "lz4"),
        ("attendance.submissions.{publisher}", "compression.type", "producer"),
    ],
)
def test_a_topic_does_not_change_under_its_name(root: Path, topic: str, setting: str, value: Any) -> None:
    one = only(check(root, changed(lambda state: state.topics[topic].update({setting: value}))))
    was = NOW.topics[topic][setting]
    assert (one.rule, one.what, one.at) == ("TOPIC", topic, setting) and one.said.startswith(f"was {was}, is {value}: ")
    assert one.writer.endswith(OLD) and one.reader and one.way_out


def test_a_topic_or_a_type_on_it_does_not_leave(root: Path) -> None:
    gone = only(check(root, changed(lambda state: state.topics.pop("intake.dead-letters"))))
    assert (gone.rule, gone.what) == (
        "TOPIC_GONE",
        "intake.dead-letters",
    ) and "leave it in the catalogue" in gone.way_out

    def move(state: State) -> None:
        state.topics["dropout.events"]["types"].remove(RAISED)
        state.topics["intake.events"]["types"].append(RAISED)

    moved = only(check(root, changed(move)))
    assert (moved.rule, moved.what) == ("MOVED", "dropout.events") and RAISED in moved.said


@pytest.mark.parametrize(
    ("list_", "change", "said"),
    [
        ("ags", lambda of: of["codes"].pop("05162024"), "codes gone: 05162024"),
        ("ags", lambda of: of["codes"].update({"05162024": [None, "2026-11-25"]}), "hold no longer on them: 05162024"),
        ("ags", lambda of: of["codes"].update({"05162024": ["2020-01-01", None]}), "hold no longer on them: 05162024"),
        ("ags", lambda of: of["codes"].update({"05313000": [None, "2009-10-19"]}), "hold no longer on them: 05313000"),
        ("ags", lambda of: of.update(complete=[""]), "begin with: all"),
        ("ags", lambda of: of["codes"].update({"05162024": [None, "2026-11-26"]}), None),
        ("ags", lambda of: of["codes"].update({"05162024": [None, "2027-12-31"]}), None),
        ("ags", lambda of: of["codes"].update({"05162999": ["2027-01-01", None]}), None),
        ("ags", lambda of: of["codes"].update({"05313000": [None, None]}), None),
        ("rule", lambda of: of["codes"].pop("S6"), "codes gone: S6"),  # of facts alone: no schema holds it
        ("rule", lambda of: of["codes"].update({"S9": [None, None]}), None),
        ("isced", lambda of: of.update(complete=[]), None),
    ],
)  # fmt: skip
def test_a_code_that_held_on_a_day_holds_on_it_for_ever(
    root: Path, list_: str, change: Callable[[Any], Any], said: str | None
) -> None:
    """Neuss (05162024) holds since ever, Aachen (05313000) held until 2009-10-20; release 1 is of 2026-11-26."""
    assert NOW.lists["ags"]["codes"]["05162024"] == [None, None] and NOW.lists["ags"]["codes"]["05313000"] == [
        None,
        "2009-10-20",
    ]
    found = check(root, changed(lambda state: change(state.lists[list_])), today=DAY).breaks
    assert [(one.rule, one.what) for one in found] == ([] if said is None else [("CODE_LIST", f"code list {list_}")])
    assert said is None or (found[0].said.endswith(said) and found[0].way_out)


@pytest.mark.parametrize(
    ("days", "today", "broken"),
    [
        ([None, "2026-12-01"], date(2026, 12, 1), False),
        (
            [None, "2026-12-01"],
            date(2026, 12, 2),
            True,
        ),  # on that day publishers went by release 1, in which it has no end
        ([None, "2026-12-01"], date(2020, 1, 1), False),  # a clock that is behind forgives nothing before the release
        ([None, "2026-11-25"], date(2020, 1, 1), True),
        (["2026-11-27", None], DAY, True),
    ],
)
def test_of_the_days_since_the_release_nothing_is_taken_back_either(
    root: Path, days: list[str | None], today: date, broken: bool
) -> None:
    found = check(
        root, changed(lambda state: state.lists["ags"]["codes"].update({"05162024": days})), today=today
    ).breaks
    assert [one.said for one in found] == [
        "codes that held on days gone by and hold no longer on them: 05162024"
    ] * broken


def test_a_code_to_come_may_be_put_off_until_its_day_has_come(root: Path) -> None:
    first = changed(lambda state: state.lists["ags"]["codes"].update({"05162999": ["2027-01-01", None]}))
    write(root, 2, DAY, "", added(NOW, first))
    later = changed(lambda state: state.lists["ags"]["codes"].update({"05162999": ["2027-06-01", None]}))
    assert check(root, later, today=date(2026, 12, 31)).breaks == ()
    assert "05162999" in only(check(root, later, today=date(2027, 1, 1))).said


@pytest.mark.parametrize(
    ("code", "days", "broken"),
    [
        ("05999000", [None, None], False),
        ("05999000", [None, "2027-12-31"], False),
        ("05999000", [None, "2026-11-25"], True),
        ("05999000", ["2009-10-21", None], True),
        ("05162999", ["2009-10-21", "2020-12-31"], False),  # of 05162 the list is complete: it was refused on all days
    ],
)
def test_what_a_list_took_because_it_is_open_it_goes_on_taking_once_it_knows_the_code(
    root: Path, code: str, days: list[str | None], broken: bool
) -> None:
    found = check(root, changed(lambda state: state.lists["ags"]["codes"].update({code: days})), today=DAY).breaks
    assert [one.said for one in found] == [
        f"codes that were taken on any day, as all the list does not hold, and are not any more: {code}"
    ] * broken


@pytest.mark.parametrize(
    ("list_", "change", "first"),
    [
        ("ags", {"05162999": ["2027-01-01", None]}, "intake"),  # refused as unknown until intake knows it
        ("ags", {"05313000": [None, "2027-12-31"]}, "intake"),
        ("ags", {"05334": [None, None]}, "intake"),
        ("ags", {"05162024": [None, "2027-12-31"]}, None),  # fewer days: nobody is refused who was not
        ("ags", {"05999000": [None, None]}, None),  # taken already: there the list is open
        ("language", {"aaa": [None, None]}, None),
        ("isced", {"9": [None, None]}, None),  # no submission holds it
        ("rule", {"S9": [None, None]}, None),  # in facts lists are open
        ("presence", {"ONLINE": [None, None]}, None),  # its codes stand in the schema, which says who goes first
    ],
)
def test_who_holds_codes_to_a_list_learns_of_new_ones_first(
    root: Path, list_: str, change: dict[str, Any], first: str | None
) -> None:
    found = check(root, changed(lambda state: state.lists[list_]["codes"].update(change)), today=DAY)
    assert found.breaks == ()
    said = [(one.what, one.first, one.then) for one in found.order]
    assert said == ([] if first is None else [(f"code list {list_}", first, "every publisher")])
    assert all(code in one.why for one in found.order for code in change)


@pytest.mark.parametrize(("ce_type", "broken"), [(REPORTED, True), (RECORDED, False)])
def test_a_field_that_comes_to_be_held_to_a_list_refuses_what_it_took(root: Path, ce_type: str, broken: bool) -> None:
    """Of a fact it is a word more about what stands there: who reads holds nothing to a list."""
    found = check(
        root, changed(lambda state: members(state, ce_type)["meeting_id"].update({"x-code-list": "ags"}))
    ).breaks
    assert [(one.rule, one.at) for one in found] == [("LIST", "/meeting_id")] * broken


def say_of(list_: str, **words: str) -> Callable[[State], None]:
    return lambda state: state.sentences[f"code list {list_}"].update(words)


@pytest.mark.parametrize(
    ("list_", "words", "said"),
    [
        (
            "presence",
            {"LATE": "there", "PRESENT": "there, but late; counts as there"},
            "PRESENT (as LATE), LATE (as PRESENT)",
        ),
        ("presence", {"LATE": "There ", "PRESENT": "there, in time"}, "LATE (as PRESENT)"),  # handed on
        ("presence", {"LATE": "there"}, None),  # two may say the same, as a town before and after a reform
        ("presence", {"LATE": "there after the beginning"}, None),
        ("end_kind", {"CANCELLED": "left before the planned end", "DROPPED_OUT": "gone"}, "CANCELLED (as DROPPED_OUT)"),
        (
            "rule",
            {"S9": NOW.sentences["code list rule"]["S6"], "S6": "another rule"},
            "S9 (as S6)",
        ),  # a new one takes it over
    ],
)
def test_no_code_comes_to_mean_what_another_meant_and_whose_words_change_is_shown(
    root: Path, list_: str, words: dict[str, str], said: str | None
) -> None:
    def change(state: State) -> None:
        state.lists[list_]["codes"].update({code: [None, None] for code in words})
        state.sentences[f"code list {list_}"].update(words)

    found = check(root, changed(change))
    assert [(one.rule, one.what) for one in found.breaks] == (
        [] if said is None else [("CODE_LIST", f"code list {list_}")]
    )
    assert said is None or found.breaks[0].said == f"codes that mean from now on what another meant: {said}"
    assert {(what, of.at) for what, of in found.told} == {
        (f"code list {list_}", code) for code in words if code in NOW.sentences[f"code list {list_}"]
    }


def test_who_relies_on_a_field_with_codes_of_a_list_is_named(root: Path) -> None:
    subscribe(root, relies_on={ENDED: ["/kind"]})
    one = only(check(root, changed(say_of("end_kind", CANCELLED="left before the planned end", DROPPED_OUT="gone"))))
    assert "archive" in one.subscribers and "reporting-office" not in one.subscribers


@pytest.mark.parametrize(
    ("list_", "code", "row", "said"),
    [
        ("residence_status", "AUFENTHALTSGESTATTUNG", {"group": "OTHER"}, "AUFENTHALTSGESTATTUNG (group)"),
        ("isced", "3", {}, "3 (esf_group)"),
        ("isced", "3", {"esf_group": NOW.rows["isced"]["3"]["esf_group"], "level": "II"}, None),
        (
            "ags",
            "05313000",
            {"to_verify": True, "level": "Gemeinde", "successor": "05334"},
            None,
        ),  # published to be verified
    ],
)
def test_what_a_code_is_mapped_to_stays(
    root: Path, list_: str, code: str, row: dict[str, Any], said: str | None
) -> None:
    found = check(root, changed(lambda state: state.rows[list_].update({code: row})))
    assert [one.said.rpartition(": ")[2] for one in found.breaks] == ([] if said is None else [said])
    assert [change.at for _, change in found.told] == (["05313000 (successor)"] if list_ == "ags" else [])


def test_a_code_list_does_not_leave(root: Path) -> None:
    one = only(check(root, changed(lambda state: state.lists.pop("language"))))
    assert (one.rule, one.what) == ("CODE_LIST", "code list language") and "codes gone: " in one.said


# --- reasons, and what stands beside a schema ---------------------------------------------------------------------------------


def rename(state: State) -> None:
    reasons = state.topics["intake.answers.{publisher}"]["reasons"]
    reasons["ALREADY_CLOSED"] = reasons.pop("CASE_CLOSED")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rename, [("REASON", "intake.answers.{publisher}", "CASE_CLOSED")]),
        (lambda s: s.topics["referral.answers.{publisher}"]["reasons"].pop("BODY"), [("REASON", "referral.answers.{publisher}", "BODY")]),
        (lambda s: s.topics["referral.answers.{publisher}"]["reasons"].update(NO_CONSENT="later"),
         [("AGAIN", "referral.answers.{publisher}", "NO_CONSENT")]),
        (lambda s: s.topics["referral.answers.{publisher}"]["reasons"].update(NOT_ACCEPTED="no"),
         [("AGAIN", "referral.answers.{publisher}", "NOT_ACCEPTED")]),
        (lambda s: s.topics["referral.answers.{publisher}"]["reasons"].update(NO_SEAT="no"), []),
    ],
)  # fmt: skip
def test_no_reason_goes_nor_says_otherwise_whether_sending_again_helps(
    root: Path, change: Callable[[State], Any], expected: list[tuple[str, str, str]]
) -> None:
    found = check(root, changed(change))
    assert [(one.rule, one.what, one.at) for one in found.breaks] == expected and found.order == ()
    for one in found.breaks:
        assert (
            one.reader.endswith("every publisher, as of release 1")
            and one.writer == one.what.partition(".")[0]
            and one.way_out
        )


def test_who_relies_on_the_reason_or_on_again_is_named(root: Path) -> None:
    subscribe(root, relies_on={ANSWER: ["/again"]})
    again = only(
        check(root, changed(lambda s: s.topics["attendance.answers.{publisher}"]["reasons"].update(NO_CONSENT="later")))
    )
    gone = only(check(root, changed(lambda s: s.topics["attendance.answers.{publisher}"]["reasons"].pop("NO_CONSENT"))))
    assert "archive" in again.subscribers and "archive" not in gone.subscribers


def test_every_reason_a_publisher_is_told_of_is_held() -> None:
    """Read off the pages, which say them to people."""
    for family in SUBMITTED:
        pages = [
            (ROOT / f"docs/contracts/{family}.{kind}.PUBLISHER.md").read_text() for kind in ("submissions", "answers")
        ]
        said = dict(re.findall(r"^\| `([A-Z_]+)` \| (no|mended|later) \|", pages[0], re.M))
        said |= dict.fromkeys(re.findall(r"^\| `([A-Z]+)` \| ", pages[1], re.M), "mended")
        assert NOW.topics[f"{family}.answers.{{publisher}}"]["reasons"] == said and len(said) > 15


SENT, REQUESTED = "lotse.referral.referral_sent.v1", "lotse.referral.referral_requested.v1"


@pytest.mark.parametrize(
    ("ce_type", "change", "rule", "at"),
    [
        (SENT, {"subject": "run"}, "SUBJECT", "subject"),
        (REQUESTED, {"subject": "run"}, "SUBJECT", "subject"),
        (REQUESTED, {"rests_on": ["subject", "run_id"]}, "RESTS_ON", "/consent_id"),
        (REQUESTED, {"rests_on": ["subject", "run_id", "consent_id", "referral_id"]}, "RESTS_ON", "/referral_id"),
        (
            REQUESTED,
            {"rests_on": ["subject", "run_id", "consent_id", "voucher_id"]},
            None,
            None,
        ),  # a member that is new
        (REQUESTED, {"rests_on": ["consent_id", "run_id", "subject"]}, None, None),
        (SENT, {"makes_known": []}, "MAKES_KNOWN", "/referral_id"),
        (SENT, {"makes_known": ["referral_id", "run_id"]}, None, None),
    ],
)
def test_whose_subject_it_is_and_what_waits_for_what_stays(
    root: Path, ce_type: str, change: dict[str, Any], rule: str | None, at: str | None
) -> None:
    found = check(root, changed(lambda state: state.messages[ce_type].update(change))).breaks
    assert [(one.rule, one.what, one.at) for one in found] == ([] if rule is None else [(rule, ce_type, at)])
    assert all(one.writer and one.reader and one.way_out for one in found)


ALWAYS, MAY = NOW.messages[SENT]["always"], NOW.messages[SENT]["may"]


@pytest.mark.parametrize(
    ("ce_type", "change", "rule", "reader"),
    [
        (
            SENT,
            {"always": [name for name in ALWAYS if name != "streamversion"], "may": [*MAY, "streamversion"]},
            "OPTIONAL",
            "as of release 1",
        ),
        (SENT, {"always": [*ALWAYS, "traceparent"], "may": []}, "REQUIRED", "reporting"),
        (SENT, {"may": []}, "REMOVED", None),
        (SENT, {"may": [*MAY, "dataschema"]}, None, None),
        (REQUESTED, {"always": [*NOW.messages[REQUESTED]["always"], "traceparent"], "may": []}, "REQUIRED", "referral"),
    ],
)
def test_a_message_carries_the_attributes_it_carried(
    root: Path, ce_type: str, change: dict[str, Any], rule: str | None, reader: str | None
) -> None:
    found = check(root, changed(lambda state: state.messages[ce_type].update(change))).breaks
    assert {(one.rule, one.what) for one in found} == (set() if rule is None else {(rule, ce_type)})
    assert all(one.at in ("streamversion", "traceparent") and one.reader.endswith(reader or "") for one in found)


def test_who_relies_on_an_attribute_of_a_type_it_reads_is_named(root: Path) -> None:
    subscribe(root, relies_on={SENT: ["/run_id"], "attributes.v1": ["/streamversion"]})
    less = {"always": [name for name in ALWAYS if name != "streamversion"], "may": [*MAY, "streamversion"]}
    assert only(check(root, changed(lambda state: state.messages[SENT].update(less)))).subscribers == ("archive",)


def test_an_attribute_a_submission_need_not_carry_any_more_is_left_out_once_its_owner_knows(root: Path) -> None:
    less = {
        "always": [name for name in NOW.messages[REQUESTED]["always"] if name != "subject"],
        "may": ["traceparent", "subject"],
    }
    found = check(root, changed(lambda state: state.messages[REQUESTED].update(less)))
    assert found.breaks == () and [(one.what, one.first) for one in found.order] == [
        (f"{REQUESTED} subject", "referral")
    ]


def test_no_publisher_and_no_registered_subscriber_is_cut_off_and_of_others_it_is_shown(root: Path) -> None:
    mine = only(check(root, changed(lambda s: s.topics["intake.answers.{publisher}"]["readers"].remove("{publisher}"))))
    assert (mine.rule, mine.at, mine.reader) == ("TOPIC", "readers", "every publisher")
    reporting = only(check(root, changed(lambda s: s.topics["intake.events"]["readers"].remove("reporting"))))
    assert (reporting.at, reporting.subscribers) == ("readers", ("reporting",))
    other = check(root, changed(lambda s: s.topics["intake.events"]["readers"].remove("referral")))
    assert other.breaks == () and [(what, change.at) for what, change in other.told] == [("intake.events", "readers")]


def test_who_gets_the_right_to_read_is_shown_and_stands_in_the_changelog(root: Path) -> None:
    """It breaks nobody, and is about everybody whose facts stand there."""
    more = changed(lambda state: state.topics["intake.events"]["readers"].append("archive"))
    found = check(root, more)
    told = [(what, change.at, change.what) for what, change in found.told]
    assert found.breaks == () and told == [
        ("intake.events", "readers", "archive may read this topic from now on, and all that stands on it")
    ]
    write(root, 2, DAY, "", added(NOW, more))
    assert "- intake.events `readers`: archive may read this topic" in changelog(releases(root))


@pytest.mark.parametrize(
    ("what", "at"),
    [("topics of the kind fact", "order"), ("all messages", "names 4"), ("reasons of referral", "NO_CONSENT"), ("reasons", "ID_REUSED"),
     ("code list rule", ""), ("asyncapi.yaml", "securitySchemes")],
)  # fmt: skip
def test_what_pages_alone_say_is_shown_where_they_say_it_otherwise(root: Path, what: str, at: str) -> None:
    found = check(
        root, changed(lambda state: state.sentences.update({what: {**state.sentences[what], at: "Otherwise."}}))
    )
    assert found.breaks == () and [(name, change.at) for name, change in found.told] == [(what, at)]
    assert found.told[0][1].what.endswith("says “Otherwise.”")


# --- samples --------------------------------------------------------------------------------------------------------------


def test_a_sample_is_never_edited_never_taken_away_and_reads_for_ever(root: Path) -> None:
    full = root / "contracts/examples/attendance/attendance_recorded.v1.full.json"
    name = full.relative_to(root).as_posix()
    said = json.loads(full.read_text())
    full.write_text(json.dumps({**said, "time": "2026-03-03T16:00:00+01:00"}))
    one = only(check(root))
    assert (
        (one.rule, one.what) == ("SAMPLE", name) and "edited" in one.said and f"git checkout -- {name}" in one.way_out
    )
    full.unlink()
    assert "gone" in only(check(root)).said
    for place, spoilt, at in (
        ("a", {**said, "data": {**said["data"], "units_planned": "5"}}, "/data/units_planned"),
        ("b", {**said, "tenant": "R K N"}, "/tenant"),
        ("c", {**said, "type": "lotse.attendance.no_such.v1"}, "/type"),
    ):
        (full.parent / f"{place}.json").write_text(json.dumps(spoilt))
        found = [one for one in check(root).breaks if one.what.endswith(f"/{place}.json")]
        assert [(one.rule, one.at) for one in found] == [("SAMPLE", at)]


# --- subscribers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.types[REPORT]["$defs"]["Cell"]["properties"].pop("stock"), OFFICE),
        (lambda s: s.types[REPORT]["$defs"]["Cell"]["properties"]["stock"].update(maximum=10), OFFICE),
        (lambda s: members(s, REPORT).pop("cells"), OFFICE),
        (lambda s: s.types.pop(REPORT), OFFICE),
        (lambda s: s.types[REPORT].update(additionalProperties=False), OFFICE),
        (lambda s: members(s, "attributes.v1")["tenant"].update(pattern="^[a-z]{2}$"), ("reporting", *OFFICE, "subscriber-ts")),
        (lambda s: members(s, "attributes.v1")["subject"].update(pattern="^[a-z]{2}$"), ("reporting", "subscriber-ts")),
        (lambda s: members(s, ENDED).pop("ended_before_on"), ("reporting", "subscriber-ts")),
        (lambda s: members(s, ENDED).pop("reason"), ()),
        (lambda s: members(s, RAISED).pop("rule"), ()),
    ],
)  # fmt: skip
def test_who_relies_on_what_breaks_is_named(root: Path, change: Callable[[State], Any], named: tuple[str, ...]) -> None:
    found = [one for one in check(root, changed(change)).breaks if one.rule != "EXPECTED"]
    assert found and {frozenset(one.subscribers) for one in found} == {frozenset(named)}


def test_a_subscriber_relies_on_what_is_there(root: Path) -> None:
    subscribe(root, relies_on={RAISED: ["/rule", "/by/kind"], "attributes.v1": ["/subject"]})
    assert check(root).breaks == ()
    subscribe(root, relies_on={RAISED: ["/rule", "/by/name"]})
    one = only(check(root))
    assert (one.rule, one.what, one.at, one.reader) == (
        "EXPECTED",
        RAISED,
        "/by/name",
        "archive",
    ) and "the archive" in one.way_out
    subscribe(root, relies_on={REPORTED: ["/presence"]})
    assert "owner alone" in only(check(root)).said
    subscribe(root, relies_on={"lotse.dropout.no_such.v1": ["/presence"]})
    assert "no such type" in only(check(root)).said


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("{", ""),
        ('{"subscriber": "archive"}', "/contact"),
        ('{"subscriber": "other", "contact": "x", "uses": "x", "relies_on": {"t": ["/a"]}}', "/subscriber"),
        ('{"subscriber": "archive", "contact": "x", "uses": "x", "relies_on": {"t": ["a"]}}', "/relies_on/0"),
        ('{"subscriber": "archive", "contact": "x", "uses": "x", "relies_on": {}}', "/relies_on"),
        ('{"subscriber": "archive", "contact": "x", "uses": "x", "relies_on": {"t": ["/a"]}, "Aylin": 1}', ""),
    ],
)
def test_an_expectation_of_another_form_is_a_finding_that_quotes_nothing(root: Path, text: str, at: str) -> None:
    (root / EXPECTATIONS / "archive.json").write_text(text)
    one = only(check(root))
    assert (one.rule, one.what, one.at) == ("FORM", "contracts/expectations/archive.json", at) and "Aylin" not in str(
        one
    )


def follows(pointer: str, document: Any) -> bool:
    """RFC 6901, as any library would."""
    for step in pointer.split("/")[1:]:
        try:
            document = document[int(step)] if isinstance(document, list) else document[step]
        except (LookupError, ValueError):
            return False
    return True


def relied_on(subscriber: str) -> dict[str, set[str]]:
    said = json.loads((ROOT / EXPECTATIONS / f"{subscriber}.json").read_text())["relies_on"]
    return {ce_type: set(pointers) for ce_type, pointers in said.items()}


@pytest.mark.parametrize("subscriber", ["reporting", "reporting-office", "subscriber-ts"])
def test_each_field_the_registered_subscribers_rely_on_stands_in_a_sample(subscriber: str) -> None:
    samples = [json.loads(file.read_text()) for file in (ROOT / "contracts/examples").rglob("*.json")]
    for ce_type, pointers in relied_on(subscriber).items():
        found = samples if ce_type == "attributes.v1" else [one["data"] for one in samples if one["type"] == ce_type]
        assert found and all(any(follows(pointer, one) for one in found) for pointer in pointers), ce_type


def test_reporting_says_it_relies_on_what_its_rules_read() -> None:
    """Which members of which fact `evolve` takes, read off its source."""
    (evolve,) = (node for node in ast.parse((ROOT / "services/reporting/domain.py").read_text()).body
                 if isinstance(node, ast.FunctionDef) and node.name == "evolve")  # fmt: skip
    (match,) = (node for node in evolve.body if isinstance(node, ast.Match))
    read = {
        FACTS_BY_NAME[case.pattern.cls.id]: {
            f"/{node.attr}" for node in ast.walk(case) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "fact"
        }
        for case in match.cases
        if isinstance(case.pattern, ast.MatchClass) and isinstance(case.pattern.cls, ast.Name)
    }  # fmt: skip
    assert len(read) == 3 and {name: said for name, said in relied_on("reporting").items() if name in FACTS} == read


def test_the_subscriber_in_typescript_says_it_relies_on_what_its_source_reads() -> None:
    folder = ROOT / "deploy/examples/subscriber-ts/src"
    source = "".join(file.read_text() for file in sorted(folder.glob("*.ts")))
    relies = relied_on("subscriber-ts")
    for ce_type, pointers in relies.items():
        assert ce_type == "attributes.v1" or ce_type.removeprefix("lotse.").replace(".", "/", 1) in source, ce_type
        assert all(re.search(rf"\b{pointer[1:]}\b", source) for pointer in pointers), ce_type
    read = set(re.findall(r"\b(?:said|answer|start|end|other|CaseOpened\))\.([a-z_]{2,})", source))
    assert read == {at[1:] for ce_type, said in relies.items() if ce_type != "attributes.v1" for at in said}


# --- a version beside another -----------------------------------------------------------------------------------------------


Room = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,64}$"), Privacy.INTERNAL]
Hours = Annotated[int, Field(ge=0, le=1_000_000), Privacy.INTERNAL]


class SeatTaken(Fact):
    family: ClassVar[str] = "course"
    seat_id: Id
    room: Room
    hours: Hours


class SeatTakenNext(Fact):
    """Teaching units instead of hours: another unit is another type."""

    seat_id: Id
    room: Room
    units: Annotated[int, Privacy.INTERNAL]

    @staticmethod
    def lift(before: SeatTaken) -> "SeatTakenNext":
        """60 minutes an hour, 45 a unit; what is left over of a unit counts as one."""
        return SeatTakenNext(by=before.by, seat_id=before.seat_id, room=before.room, units=-(-before.hours * 60 // 45))


class WithoutLift(Fact):
    seat_id: Id


class Counting(SeatTakenNext):
    count: ClassVar[list[int]] = []

    @staticmethod
    def lift(before: SeatTaken) -> "Counting":
        Counting.count.append(1)
        return Counting(by=before.by, seat_id=before.seat_id, room=before.room, units=len(Counting.count))


class Raising(SeatTakenNext):
    @staticmethod
    def lift(before: SeatTaken) -> "Raising":
        raise KeyError(before.room)


class Elsewhere(SeatTakenNext):
    @staticmethod
    def lift(before: SeatTaken) -> SeatTakenNext:
        return SeatTakenNext.lift(before)


class TooLong(SeatTakenNext):
    units: Hours

    @staticmethod
    def lift(before: SeatTaken) -> "TooLong":
        return TooLong.model_construct(by=before.by, seat_id=before.seat_id, room=before.room, units=-1)


TAKEN, NEXT = "lotse.course.seat_taken.v1", "lotse.course.seat_taken.v2"


def with_seats(*ce_types: str) -> Callable[[State], None]:
    """Puts the course's types on a topic of their own."""

    def change(state: State) -> None:
        state.topics["course.events"] = {
            **state.topics["intake.events"],
            "readers": ["intake", "referral"],
            "types": list(ce_types),
        }
        for ce_type, cls in ((TAKEN, SeatTaken), (NEXT, SeatTakenNext)):
            if ce_type in ce_types:
                schema = cls.model_json_schema()
                state.types[ce_type] = json.loads(json.dumps(schema))

    return change


def seats(root: Path, after: type[Fact] | None) -> Checked:
    """Release 2 has version 1 of a type; version 2 stands beside it now."""
    before = changed(with_seats(TAKEN))
    write(root, 2, DAY, "", added(NOW, before))
    return check(
        root, changed(with_seats(TAKEN, NEXT)), {**PUBLISHED, TAKEN: SeatTaken, **({NEXT: after} if after else {})}
    )


def test_a_deliberate_break_stands_beside_with_a_pure_lift_and_readers_go_first(root: Path) -> None:
    found = seats(root, SeatTakenNext)
    assert found.breaks == ()
    assert [(one.what, one.first, one.then) for one in found.order] == [(NEXT, "intake, referral", "intake")]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (WithoutLift, "nothing lifts"),
        (Counting, "not pure"),
        (Raising, "raises KeyError"),
        (Elsewhere, "something else"),
        (TooLong, "greater_than_equal at /units"),
    ],
)
def test_a_version_without_a_pure_lift_is_a_break(root: Path, after: type[Fact], said: str) -> None:
    one = only(seats(root, after))
    assert (one.rule, one.what) == ("LIFT", NEXT) and said in one.said and "lift" in one.way_out


def test_who_relies_on_a_version_that_is_no_longer_written_is_named_until_it_reads_the_next(root: Path) -> None:
    subscribe(root, relies_on={TAKEN: ["/room"]})
    one = only(seats(root, SeatTakenNext))
    assert (one.rule, one.what, one.subscribers) == ("LEFT_BEHIND", TAKEN, ("archive",)) and NEXT in one.way_out
    subscribe(root, relies_on={TAKEN: ["/room"], NEXT: ["/room", "/units"]})
    found = seats(root, SeatTakenNext)
    assert found.breaks == () and found.order[0].first == "intake, referral, archive"


# --- releases ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with everything generated, and nothing released."""
    generate(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = main(["contracts", *arguments, "--format", "json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_a_release_is_written_once_and_tells_what_it_brings(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = house / "docs/contracts/CHANGELOG.md"
    assert "Nothing is released yet." in page.read_text()
    release = ("release", "--root", str(house), "--note", "From now on this stays.")
    code, said, err = run(capsys, *release, "--dry-run")
    assert (code, said["data"]["release"], said["data"]["written"]) == (0, 1, False) and "would be written" in err
    assert not (house / RELEASED).exists()
    code, said, err = run(capsys, *release)
    assert (code, said["ok"], said["command"], said["data"]["release"]) == (0, True, "contracts release", 1)
    (only_one,) = releases(house)
    assert only_one.state == current(house) and only_one.note == "From now on this stays."
    assert differing(house) == []
    told = page.read_text()
    assert "## Release 1, " in told and "From now on this stays." in told and "Nothing is released" not in told
    for ce_type in PUBLISHED:
        assert f"`{ce_type}`" in told
    code, said, err = run(capsys, *release)
    assert code == 4 and not said["ok"] and "nothing has changed since release 1" in err and "way out" in err


def test_a_release_is_refused_while_something_breaks_or_is_not_generated(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = house / "contracts/schemas/intake/case_opened.v1.json"
    kept = schema.read_text()
    schema.write_text("{}")
    code, said, err = run(capsys, "release", "--root", str(house))
    assert code == 4 and not said["ok"] and "lotse contracts generate" in said["errors"][0]["hint"]
    schema.write_text(kept)
    older = changed(lambda state: members(state, RECORDED).update(colour={"type": "string"}))
    older = replace(older, samples=current(house).samples)
    write(house, 1, DAY, "", older)
    generate(house)
    code, said, err = run(capsys, "release", "--root", str(house))
    assert code == 4 and not said["ok"] and "nothing was released" in err
    assert [(one["code"], one["at"]) for one in said["errors"]] == [("REMOVED", f"{RECORDED} /colour")] * 2
    assert main(["contracts", "release", "--root", str(house)]) == 4
    out, _ = capsys.readouterr()
    for word in (
        f"{RECORDED} /colour: REMOVED",
        "  writer   referral",
        "  reader   referral",
        "  way out  leave it in",
    ):
        assert word in out
    assert [file.name for file in (house / RELEASED).iterdir()] == ["1.json"]


def test_a_second_release_holds_what_is_new_and_says_it_to_each_side(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def older(state: State) -> None:
        del members(state, ANSWER)["hint"]
        members(state, REPORTED)["units_planned"]["maximum"] = 9
        state.topics.pop("report.participation.internal")
        state.types.pop(REPORT)
        state.messages.pop(REPORT)
        del state.lists["ags"]["codes"]["05162024"]
        state.lists["ags"]["codes"]["05313000"] = [None, "2009-10-19"]
        state.sentences["code list language"]["ful"] = "Pulaar"
        del state.topics["attendance.answers.{publisher}"]["reasons"]["DAY_IMPLAUSIBLE"]
        state.messages[REQUESTED]["may"] = []

    first = changed(older)
    first = replace(first, samples=current(house).samples)  # nothing has been released there that would stand beside
    write(house, 1, date(2009, 1, 1), "", first)
    generate(house)
    (house / EXPECTATIONS).mkdir(parents=True, exist_ok=True)
    assert run(capsys, "check", "--root", str(house))[0] == 0
    code, said, _ = run(capsys, "release", "--root", str(house), "--note", "Answers say the way out.")
    assert code == 0 and said["data"]["types"] == sorted([ANSWER, REPORTED, REPORT])
    assert said["data"]["topics"] == ["attendance.answers.{publisher}", "report.participation.internal"]
    second = json.loads((house / RELEASED / "2.json").read_text())
    assert set(second["types"]) == {ANSWER, REPORTED, REPORT} and (house / RELEASED / "2.json").stat().st_size < 15_000
    assert [release.state for release in releases(house)] == [first, current(house)]
    newest = (house / "docs/contracts/CHANGELOG.md").read_text().split("## Release ")[1]
    publish, subscribe_, topics, first_ = (newest.partition(f"**{title}**")[2].partition("\n\n**")[0] for title in (
        "If you publish", "If you subscribe", "New topics", "Who goes first"))  # fmt: skip
    assert newest.startswith("2, ") and "Answers say the way out." in newest
    assert f"`{REPORTED}` `/units_planned`: was integer " in publish and " maximum 9, is integer " in publish
    assert f"`{ANSWER}` `/hint`: added, optional" in publish and f"`{ANSWER}` `/hint`" in subscribe_
    assert f"`{REPORT}`: new" in subscribe_ and REPORTED not in subscribe_ and "report.participation.internal" in topics
    assert "- `attendance.answers.{publisher}`: added: DAY_IMPLAUSIBLE (mended)" in newest
    assert (
        f"- `{REQUESTED}` `traceparent`: added, optional" in newest
        and "- code list language `ful`: said “Pulaar”, says " in newest
    )
    assert "- `ags`: added: 05162024; ending: 05313000 until 2009-10-20" in newest
    assert f"`{REPORTED} /units_planned`: first referral; then every publisher" in first_


def test_each_release_has_a_version_of_its_own_and_what_goes_beyond_it_another(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip does nothing where the version is the same, and a subscriber would go on with the older wheel."""

    def named() -> set[str]:
        texts = [(house / path).read_text() for path in ("contracts/version.py", "contracts/asyncapi.yaml")]
        return {
            found for text in texts for found in re.findall(r'^ *(?:VERSION = |version: )"([^"]+)"', text, re.MULTILINE)
        }

    assert named() == {"1.1.0.dev0"}
    assert run(capsys, "release", "--root", str(house))[0] == 0 and named() == {"1.1.0"}
    older = changed(lambda state: state.sentences["reasons"].update(ID_REUSED="This id was used."))
    write(house, 1, DAY, "", replace(older, samples=current(house).samples))
    assert {Path("contracts/version.py"), Path("contracts/asyncapi.yaml")} <= set(differing(house))
    generate(house)
    assert named() == {"1.2.0.dev0"}
    assert run(capsys, "release", "--root", str(house))[0] == 0 and named() == {"1.2.0"} and differing(house) == []


def test_the_wheel_takes_its_version_from_what_is_generated() -> None:
    project = tomllib.loads((ROOT / "contracts/pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"] and project["tool"]["hatch"]["version"] == {
        "path": "version.py"
    }
    assert version_of() == VERSION


def test_a_sample_that_would_say_something_else_stands_beside_the_released_one(house: Path) -> None:
    name = "contracts/examples/clock/tick.v1.full.json"
    older = json.dumps({**json.loads((house / name).read_text()), "time": "2020-01-01T00:00:00Z"})
    (house / name).write_text(older)
    write(house, 1, DAY, "", current(house))
    assert Path(name) not in generated(house) and Path(name.replace("full", "full.2")) in generated(house)
    generate(house)
    assert (house / name).read_text() == older and (house / name.replace("full", "full.2")).exists()
    assert differing(house) == [] and check(house).breaks == ()


def test_releases_lie_one_over_the_other(tmp_path: Path) -> None:
    a, b = {"type": "string"}, {"type": "integer"}
    write(tmp_path, 1, DAY, "ä", State({"x": a}, {}, {"s": "1"}))
    write(tmp_path, 2, DAY, "", State({"y": b}, {}, {}))
    write(tmp_path, 3, DAY, "", State({"x": b}, {}, {"t": "2"}))
    assert [one.state for one in releases(tmp_path)] == [
        State({"x": a}, {}, {"s": "1"}),
        State({"x": a, "y": b}, {}, {"s": "1"}),
        State({"x": b, "y": b}, {}, {"s": "1", "t": "2"}),
    ]
    assert releases(tmp_path)[0].note == "ä" and added(NOTHING, NOW) == NOW and added(NOW, NOW) == NOTHING


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{}"), lambda path: path.write_text("<<<<<<< HEAD"),
                                   lambda path: path.rename(path.with_name("3.json"))])  # fmt: skip
def test_a_release_that_is_spoilt_is_said_to_be_with_the_way_out(
    root: Path, spoil: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(root / RELEASED / "1.json")
    with pytest.raises(Trouble) as trouble:
        check(root)
    assert "git checkout" in trouble.value.way_out
    code, said, err = run(capsys, "check", "--root", str(root))
    assert code == 1 and not said["ok"] and "git checkout" in said["errors"][0]["hint"] and "way out" in err


def test_the_changelog_before_any_release_says_so() -> None:
    assert changelog([]).endswith("Nothing is released yet.\n")
