"""What is refused or unreadable before any rule is asked: for whom a publisher speaks, what it claims to be, its codes."""

import json
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import ConsumerRecord

from contracts.attendance import AttendanceReported
from contracts.codes import Presence
from contracts.envelope import Attributes, Refused, Verdict, moment
from contracts.families import SUBMISSIONS
from contracts.messages import to_message
from contracts.referral import ParticipationEndReported, ParticipationStartReported
from contracts.topics import BadPublishers, Publisher, load_publishers
from contracts.validity import judge
from deploy.services import declared
from services.runtime.messages import Input, Message, decode
from tests.publishing import Course

KREIS = Publisher(name="kreis", source="urn:kreis", tenants=("rkn",), organisations=("rkn-thm",), families=("intake",))
TOPIC = Input("intake.submissions.kreis", "submission", "intake", KREIS)
CASE, NIL = str(uuid4()), str(UUID(int=0))
ARRIVED = 1_772_463_600_000
"""2026-03-02, 15:00 UTC, in milliseconds."""
BODY: dict[str, Any] = {"by": {"organisation_id": "rkn-thm"}, "municipality": "05162024", "programme": "GK",
                        "owner_organisation_id": "rkn-thm"}  # fmt: skip


def read(body: dict[str, Any], time: str = "2026-03-02T15:00:00Z", mode: str = "binary", **attributes: str) -> Message:
    """A registration as intake reads it off its publisher's topic."""
    said: dict[str, Any] = {"id": "1", "source": KREIS.source, "type": "lotse.intake.registration_submitted.v1", "subject": str(uuid4()),
            "tenant": "rkn", **attributes}  # fmt: skip
    _, headers, value = to_message(Attributes(time=moment(time), **said), json.dumps(body).encode(), mode)
    record = ConsumerRecord(TOPIC.topic, 0, 0, ARRIVED, 1, None, value, None, -1, len(value), headers)
    return decode(declared("intake"), TOPIC, record)


REPORTS = Input("attendance.submissions.vhs", "submission", "attendance",
                Publisher(name="vhs", source="urn:vhs", tenants=("rkn",), organisations=("vhs-neuss",), families=("attendance",)))  # fmt: skip


def reported(at: str, time: str = "2026-03-02T15:00:00Z") -> Message:
    """A report of attendance as referral reads it off its publisher's topic."""
    course = Course(date(2026, 3, 2))
    report = course.attendance(course.run, course.start, Presence.PRESENT).model_copy(
        update={"reported_at": moment(at)}
    )
    attributes = Attributes("1", "urn:vhs", report.ce_type, course.case, moment(time), "rkn")
    _, headers, value = to_message(attributes, report.to_json())
    record = ConsumerRecord(REPORTS.topic, 0, 0, ARRIVED, 1, None, value, None, -1, len(value), headers)
    return decode(declared("referral"), REPORTS, record)


def said(no: Refused | None) -> tuple[str, str] | None:
    return None if no is None else (no.reason, no.at)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"by": {"organisation_id": "rkn-thm", "kind": "person"}}, None),
        ({"by": {"organisation_id": "rkn-thm", "kind": "rule"}}, ("NOT_YOURS", "/by/kind")),
        ({"by": {"organisation_id": "lotse", "kind": "rule"}}, ("NOT_YOURS", "/by/organisation_id")),
        ({"by": {"organisation_id": "vhs-neuss"}}, ("NOT_YOURS", "/by/organisation_id")),
        ({"municipality": "05313000"}, ("CODE_NOT_VALID", "/municipality")),
        ({"municipality": "05162025"}, ("CODE_UNKNOWN", "/municipality")),
        ({"by": {"organisation_id": "vhs-neuss"}, "municipality": "05313000"}, ("NOT_YOURS", "/by/organisation_id")),
    ],
)
def test_who_speaks_is_asked_first_then_whether_its_codes_are_valid(
    changed: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    message = read({**BODY, **changed})
    assert message.verdict is None and said(message.denied) == expected


def test_a_hint_says_which_of_tenant_and_organisation_is_not_the_publishers_and_that_the_subject_was_left_empty() -> (
    None
):
    elsewhere, other = read(BODY, tenant="duisburg"), read({**BODY, "by": {"organisation_id": "vhs-neuss"}})
    nobody = read(BODY, subject=NIL)
    hints = [message.denied.hint for message in (elsewhere, other, nobody) if message.denied is not None]
    assert [said(message.denied) for message in (elsewhere, other, nobody)] == [
        ("NOT_YOURS", ""), ("NOT_YOURS", "/by/organisation_id"), ("ID_NIL", "")]  # fmt: skip
    assert ["tenant" in hint for hint in hints] == [True, False, False]
    assert ["listed for the publisher" in hint for hint in hints] == [True, True, False]
    assert ["subject" in hint for hint in hints] == [False, False, True]


def test_an_id_that_nobody_has_set_is_refused_wherever_it_stands() -> None:
    """Of a program that leaves it empty everybody was one case, whose days were mixed; of a meeting each was the other's correction."""
    at, asked = moment("2026-03-02T15:00:00Z"), 0
    for cls in SUBMISSIONS.values():
        nothing: dict[str, Any] = dict.fromkeys(cls.model_fields)
        assert judge(cls.model_construct(None, **nothing), CASE, at, at) is None
        assert said(judge(cls.model_construct(None, **nothing), NIL, at, at)) == ("ID_NIL", "")
        for name in cls.model_fields:
            if name.endswith("_id") and not name.endswith("organisation_id"):
                assert said(judge(cls.model_construct(None, **{**nothing, name: NIL}), CASE, at, at)) == (
                    "ID_NIL",
                    f"/{name}",
                )
                asked += 1
    assert asked > 10
    assert said(read(BODY, subject=NIL).denied) == ("ID_NIL", "") and read(BODY, subject=CASE).denied is None


def test_a_day_that_nobody_can_have_meant_is_refused() -> None:
    """The year 0026 would be the first month of a report; seven days after the last day there is, no rule can look."""
    *_, (answered, _), (started, _) = Course(date(2026, 3, 2)).steps()
    for submission, name in ((started, "started_on"), (answered, "planned_start_on")):
        assert judge(submission, CASE, moment("2026-03-02T15:00:00Z")) is None
        for day in (date(26, 3, 2), date(1999, 12, 31), date(2200, 1, 1), date.max):
            no = judge(submission.model_copy(update={name: day}), CASE, moment("2026-03-02T15:00:00Z"))
            assert said(no) == ("DAY_IMPLAUSIBLE", f"/{name}") and no is not None and no.hint
        for day in (date(2000, 1, 1), date(2199, 12, 31)):
            assert judge(submission.model_copy(update={name: day}), CASE, moment("2026-03-02T15:00:00Z")) is None


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-02T15:10:00Z", None),
        ("2026-03-02T15:10:01Z", ("CLOCK_AHEAD", "/reported_at")),
        ("2126-03-02T15:00:00Z", ("CLOCK_AHEAD", "/reported_at")),
        ("2026-03-02T16:10:00+01:00", None),
    ],
)
def test_what_is_said_to_be_reported_after_it_arrived_is_refused(at: str, expected: tuple[str, str] | None) -> None:
    """The highest (reported_at, revision) stands: of a slip of the pen, 2126, for a hundred years, against every correction."""
    message = reported(at)
    assert message.verdict is None and said(message.denied) == expected
    assert said(reported(at, "2026-03-02T15:10:01Z").denied) == ("CLOCK_AHEAD", "")  # its own time is asked first


@pytest.mark.parametrize("time", ["9999-12-31T23:30:00Z", "9999-12-31T23:59:59Z", "2200-01-01T00:00:00Z"])
def test_what_is_said_at_the_end_of_all_years_is_ahead_of_any_clock_whenever_it_arrives(time: str) -> None:
    """In Berlin it is the year 10000 by then, which is no day; `lotse validate` knows no arrival, and called it a fault of ours."""
    for submission, _ in (Course(date(2026, 3, 2)).steps()[1], Course(date(2026, 3, 2)).steps()[4]):
        for arrived in (None, moment("2026-03-02T15:00:00Z")):
            assert said(judge(submission, CASE, moment(time), arrived)) == ("CLOCK_AHEAD", "")


def test_every_type_that_says_when_it_was_reported_is_held_to_its_arrival() -> None:
    arrived, ahead = moment("2026-03-02T15:00:00Z"), moment("2026-03-02T15:10:01Z")
    ordered = {cls for cls in SUBMISSIONS.values() if "revision" in cls.model_fields}
    assert ordered == {AttendanceReported, ParticipationStartReported, ParticipationEndReported}
    for cls in ordered:
        said_ahead: dict[str, Any] = {**dict.fromkeys(cls.model_fields), "reported_at": ahead}
        no = judge(cls.model_construct(None, **said_ahead), CASE, arrived, arrived)
        assert (
            said(no) == ("CLOCK_AHEAD", "/reported_at")
            and no is not None
            and (no.again, "reported_at" in no.hint) == ("mended", True)
        )


def test_a_code_is_judged_by_the_day_of_the_message_and_not_by_the_day_of_its_arrival() -> None:
    old = {**BODY, "municipality": "05313000"}
    assert read(old, "2009-10-20T21:59:59Z").denied is None
    no = read(old, "2009-10-20T22:00:00Z").denied
    assert no is not None and no.reason == "CODE_NOT_VALID" and no.hint.endswith("use 05334002.")


@pytest.mark.parametrize(
    ("attributes", "binary", "structured"),
    [
        ({"source": "urn:other"}, ("header", "/ce_source", "publisher"), ("attribute", "/source", "publisher")),
        ({"type": "lotse.intake.case_opened.v1"}, ("type", "/ce_type", "unknown"), ("type", "/type", "unknown")),
        ({"subject": "rkn:rkn-thm"}, ("header", "/ce_subject", "uuid"), ("attribute", "/subject", "uuid")),
    ],
)
def test_what_is_at_fault_is_named_as_it_was_sent_in_either_mode(
    attributes: dict[str, str], binary: tuple[str, str, str], structured: tuple[str, str, str]
) -> None:
    assert read(BODY, **attributes).verdict == Verdict(*binary)
    assert read(BODY, mode="structured", **attributes).verdict == Verdict(*structured)


@pytest.mark.parametrize("organisation", ["lotse", "VHS", "vhs neuss", ""])
def test_no_publisher_speaks_for_lotse_nor_for_what_is_no_organisation(tmp_path: Any, organisation: str) -> None:
    file = tmp_path / "publishers.toml"
    text = '[publisher.kreis]\nsource = "urn:kreis"\ntenants = ["rkn"]\norganisations = ["{}"]\nfamilies = ["intake"]\n'
    file.write_text(text.format("vhs-neuss"))
    assert load_publishers(file)["kreis"].organisations == ("vhs-neuss",)
    file.write_text(text.format(organisation))
    with pytest.raises(BadPublishers, match=r"publisher\.kreis: wrong or missing organisations"):
        load_publishers(file)
