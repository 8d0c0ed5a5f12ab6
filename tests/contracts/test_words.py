"""The names of fields keep the convention of the contracts' docstring, so that a name tells what a stranger would ask."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from contracts import attendance, dropout, intake, lists, notification, referral
from contracts.codes import LANGUAGE_PATTERN, MUNICIPALITY_PATTERN
from contracts.envelope import CODE_PATTERN, ORGANISATION_PATTERN, UUID_PATTERN
from contracts.families import FACTS, PUBLISHED, SUBMISSIONS
from deploy.places import ROOT
from deploy.published.samples import samples_of
from deploy.published.schemas import schema_of

BEGINS = {"starts_on", "started_on", "valid_from_on", "run_starts_on", "planned_start_on"}
DONE = {"requested_on", "answered_on", "withdrawn_on", "stopped_on", "meeting_on"}
OF_A_KIND = ("A calendar day in", "RFC 3339 with")
"""What every day and moment says of itself; which day or moment it is, its field says."""
WITHOUT_A_LIST = {"answer.reason", "notification_failed.reason"}
"""Codes no list can hold: what more than one list says, a mail server's."""


def fields(ce_type: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a type and of the models within it, each with its schema."""
    schema = schema_of(ce_type)
    for model in (schema, *schema.get("$defs", {}).values()):
        yield from model.get("properties", {}).items()


def plain(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema; of a list that of its items, of an optional one without null."""
    field = next((one for one in field.get("anyOf", ()) if one != {"type": "null"}), field)
    return plain(field["items"]) if "items" in field else field


@pytest.mark.parametrize("ce_type", PUBLISHED)
def test_a_name_tells_what_kind_of_thing_stands_there(ce_type: str) -> None:
    for name, field in fields(ce_type):
        inner = plain(field)
        if inner.get("format") == "date":
            assert name in BEGINS | DONE | {"first_on", "days_on"} or re.fullmatch(
                r"last_\w+_on|\w+_before_on", name
            ), name
        elif inner.get("format") == "date-time":
            assert name.endswith("_at") or name in ("as_of", "at"), name
        else:
            assert not name.endswith(("_on", "_at")), name
        if inner.get("pattern") == ORGANISATION_PATTERN:
            assert name.endswith("organisation_id") or name == "recipients", name
        elif name.endswith("_id") and name != "submission_id":  # that one is its sender's
            assert inner.get("pattern") == UUID_PATTERN, name


@pytest.mark.parametrize("ce_type", PUBLISHED)
def test_every_field_says_what_it_is_and_every_number_its_bounds_and_unit(ce_type: str) -> None:
    for name, field in fields(ce_type):
        listed = field.get("x-code-list")
        assert listed or field.get("description") or plain(field).get("enum") or "$ref" in field, f"{ce_type} {name}"
        assert not field.get("description", "").startswith(OF_A_KIND), f"{ce_type} {name} says no more than its kind"
        if plain(field).get("type") == "integer":
            assert {"minimum", "maximum"} <= plain(field).keys(), f"{ce_type} {name}"
            assert field.get("x-unit") or name in ("revision", "rule_version", "vintage"), f"{ce_type} {name}"


@pytest.mark.parametrize("ce_type", PUBLISHED)
def test_every_code_names_its_list_in_submissions_and_facts_alike(ce_type: str) -> None:
    type_ = ce_type.split(".")[2]
    for name, field in fields(ce_type):
        listed = field.get("x-code-list")
        if plain(field).get("pattern") == CODE_PATTERN and not {name, f"{type_}.{name}"} & WITHOUT_A_LIST:
            assert listed, f"{ce_type} {name}"
        assert listed is None or listed in lists.names()


def held(document: dict[str, Any], name: str) -> list[Any]:
    """What stands in a member: several, one or nothing."""
    value = document.get(name, [])
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("ce_type", PUBLISHED)
def test_every_code_of_a_sample_stands_in_its_list(ce_type: str) -> None:
    models = [(name, plain(field).get("$ref"), field.get("x-code-list")) for name, field in fields(ce_type)]
    listed = {name: of for name, _, of in models if of}
    seen = set()
    for message in samples_of(ce_type).values():
        for holder in (
            message["data"],
            *(one for name, ref, of in models if ref and not of for one in held(message["data"], name)),
        ):
            for name, of in listed.items():
                for code in held(holder, name):
                    if holder is not message["data"].get("by"):  # its `kind` is no code of a list
                        assert lists.load(of).find(code), f"{name} {code}"
                        seen.add(name)
    assert seen == set(listed)


@pytest.mark.parametrize("ce_type", SUBMISSIONS)
def test_nothing_in_a_submission_takes_free_text(ce_type: str) -> None:
    """Ids, days, moments, organisations, municipalities and codes of a list: there is no place for a name."""
    for name, field in fields(ce_type):
        inner = plain(field)
        if "string" in str(inner.get("type", "")) and not inner.get("enum") and "format" not in inner:
            pattern, listed = inner.get("pattern"), field.get("x-code-list")
            ids = (UUID_PATTERN, ORGANISATION_PATTERN)
            keys = {"ags": MUNICIPALITY_PATTERN, "language": LANGUAGE_PATTERN}  # what a service refuses off the list
            assert pattern in ids or (listed and pattern == keys.get(listed)), f"{ce_type} {name}"


def test_every_code_has_words_of_its_own() -> None:
    for one in lists.every():
        for entry in one.entries:
            assert entry.name and (entry.name != entry.code), f"{one.name} {entry.code}"


TELLING = r"health|sick|\bill\b|krank|disab|pregnan|\bbirth\b|relig|church|faith|psych|therap|trauma|ethnic"


def test_no_code_tells_health_faith_or_origin_in_its_name_or_words() -> None:
    """Special categories (Art. 9 GDPR) travel sealed only, and a code stands in clear."""
    for one in lists.every():
        if one.source == "contracts/codes.py":
            for entry in one.entries:
                assert not re.search(TELLING, f"{entry.code} {entry.name}", re.IGNORECASE), f"{one.name} {entry.code}"


def test_every_exact_residence_status_belongs_to_a_group_that_facts_may_say() -> None:
    groups = {entry.more["group"] for entry in lists.load("residence_status").entries}
    assert groups == {entry.code for entry in lists.load("status_group").entries}


REFUSING = {"refused", "Refused"}


def given(folder: str) -> set[str]:
    """Reasons that rules of a service give: the first argument of what refuses."""
    calls = (node for file in (ROOT / folder).rglob("*.py") for node in ast.walk(ast.parse(file.read_text())))
    return {
        str(node.args[0].value)
        for node in calls
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSING
        and node.args and isinstance(node.args[0], ast.Constant)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "families"),
    [("services/intake", (intake,)), ("services/referral", (referral, attendance, dropout)), ("services/notification", (notification,))],
)  # fmt: skip
def test_every_reason_a_rule_gives_is_published_and_every_published_one_is_given(folder: str, families: Any) -> None:
    published = {reason: said for family in families for reason, said in family.REASONS.items()}
    ended = {reason for reason, said in published.items() if said.startswith("No longer given")}
    assert given(folder) - {"NOT_YOURS"} == published.keys() - ended


def test_nothing_is_both_fact_and_submission_and_both_say_the_same_by_the_same_name() -> None:
    """What a submission says and its fact repeats has one name."""
    pairs = {"participation_start_reported": "participation_started", "participation_end_reported": "participation_ended",
             "attendance_reported": "attendance_recorded", "consent_given": "consent_granted",
             "registration_submitted": "case_opened", "offer_run_submitted": "offer_run_published",
             "case_closure_requested": "case_closed", "consent_withdrawn": "consent_revoked"}  # fmt: skip
    by_name = {ce_type.split(".")[2]: dict(fields(ce_type)).keys() for ce_type in (*FACTS, *SUBMISSIONS)}
    for submission, fact in pairs.items():
        assert by_name[submission] <= by_name[fact], submission


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("intake.answers.PUBLISHER", "Exactly one answer to each submission id and content"),
        ("intake.answers.PUBLISHER", "Match by `submission_id` and `content`: of two contents under one id either answer may be read first."),
        ("intake.answers.PUBLISHER", "and of an `ID_REUSED` where the second content can't be read"),
        ("intake.submissions.PUBLISHER", "under one key is judged in the order in which it stands there; nothing else has an order"),
        ("intake.submissions.PUBLISHER", "what depends on a correction is sent once that is answered"),
        ("intake.submissions.PUBLISHER", "what was read stays read. A rule may refuse more than before"),
        ("intake.events", "until who writes this topic says which of the two is left out"),
        ("intake.events", "who meets a later version of a type it reads has no whole figures any more"),
        ("report.participation.internal", "vintages may come in any order. Of an alliance's month (`ce_tenant`, `month`) the highest"),
        ("report.participation.internal", "or the grid only got a row of zeros more"),
        ("report.participation.internal", "A participation without a reported end is stock for ever."),
        ("report.participation.internal", "A case closed as ENTERED_IN_ERROR stays counted"),
        ("report.participation.internal", "Who never came, reported to end on the day of the start, is one entry and one exit."),
        ("referral.events", "A rule's is not the last word: a start on a day before that"),
        ("referral.events", "recorded after a rule stopped its referral is of a day before that, and the stop holds no more"),
    ],
)  # fmt: skip
def test_a_page_says_what_a_program_of_others_must_go_by(page: str, said: str) -> None:
    """Each of these was once left to be found out: a figure or an answer was wrong, and nothing said so."""
    assert said in " ".join((ROOT / f"docs/contracts/{page}.md").read_text().split())
