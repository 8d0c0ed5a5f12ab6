"""What is committed equals what is generated; every sample reads; lists go out and in; the day of a fact decides."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from contracts import lists
from contracts.attributes import Verdict
from contracts.envelope import reference_of
from contracts.families import PUBLISHED, SUBMISSIONS, TYPES, from_message
from contracts.messages import STRUCTURED, read_body
from contracts.topics import READS, SUBMITTED
from deploy.places import ROOT
from deploy.published.asyncapi import document, headers_schema
from deploy.published.comparing import places as fields_of
from deploy.published.files import SCHEMAS, differing, generate, generated
from deploy.published.released import EXAMPLES
from deploy.published.samples import samples_of
from deploy.published.schemas import schema_of
from deploy.services import declared
from services.kept.dead_letters import UNREADABLE_LIMIT
from tests.conftest import ORGANISATIONS

SAMPLES = sorted((ROOT / EXAMPLES).rglob("*.json"))
SOMEBODY = "8f6f4b6a-64f5-4c3f-9d43-0d0b3a1c9a01"


def test_what_is_committed_equals_what_is_generated() -> None:
    assert differing() == [], (
        "run `lotse contracts generate` and look at what changed (a sample no release has: delete it first)"
    )


def test_generating_writes_what_is_missing_removes_strays_and_never_edits_a_sample(tmp_path: Path) -> None:
    assert set(generate(tmp_path)) == set(generated(tmp_path)) and differing(tmp_path) == []
    stray, page = tmp_path / "contracts/schemas/intake/old.v1.json", tmp_path / "docs/contracts/README.md"
    sample = next((tmp_path / EXAMPLES).rglob("*.json"))
    stray.write_text("{}")
    page.write_text("edited by hand")
    sample.write_text("an older sample")
    assert len(differing(tmp_path)) == 3
    generate(tmp_path)
    assert differing(tmp_path) == [sample.relative_to(tmp_path)] and sample.read_text() == "an older sample"


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_sample_ever_published_reads(file: Path) -> None:
    message = json.loads(file.read_text())
    about, said = from_message([("content-type", STRUCTURED.encode())], file.read_bytes())
    assert said is not None and (about.type, about.subject) == (message["type"], message.get("subject", ""))
    assert json.loads(said.model_dump_json(exclude_none=True)).keys() >= message["data"].keys()


def test_every_schema_shows_examples_that_it_takes() -> None:
    """Who has a schema alone sees what a message looks like: the bodies of the samples."""
    files = sorted((ROOT / SCHEMAS).rglob("*.json"))
    assert len(files) == len(PUBLISHED) + 1
    for file in files:
        schema = json.loads(file.read_text())
        assert schema["examples"] and all(map(Draft202012Validator(schema).is_valid, schema["examples"])), file.name


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


ODD: list[Any] = [None, True, False, 0, 1, 1.0, 2.0, 1e1, 36.5, -0.0, -1, -1.0, 1e300, 10**30, 2**31, float(2**31), "36", "1.0", "true",
                  "null", "UNKNOWN", "unknown", "", [], {}]  # fmt: skip
"""What a serialiser may write in place of a value."""
DAYS = FormatChecker(())
for name in ("date", "date-time"):
    DAYS.checks(name)(lambda value: not isinstance(value, str) or value not in ODD)


@pytest.mark.parametrize("ce_type", PUBLISHED)
def test_what_the_published_schema_takes_is_read_and_of_a_submission_nothing_else(ce_type: str) -> None:
    schema, cls, seen = Draft202012Validator(schema_of(ce_type), format_checker=DAYS), PUBLISHED[ce_type], set()
    for sample in samples_of(ce_type).values():
        for container, key in places(body := sample["data"]):
            stood = container[key]
            for container[key] in (*ODD, stood):
                takes, reads = schema.is_valid(body), True
                try:
                    read_body(cls, json.dumps(body).encode())
                except Verdict:
                    reads = False
                assert reads == takes or (reads and ce_type not in SUBMISSIONS), (key, container[key])
                seen.add(takes)
    assert seen == {True, False}


@pytest.mark.parametrize("ce_type", SUBMISSIONS)
def test_null_says_the_same_as_leaving_it_out(ce_type: str) -> None:
    """Which is why two messages that differ in nothing else are one statement: no REVISION_REUSED, no CASE_EXISTS."""
    schema = schema_of(ce_type)
    body = samples_of(ce_type)["minimal"]["data"]
    said = read_body(SUBMISSIONS[ce_type], json.dumps(body).encode())
    nulls = {name: None for name in schema["properties"] if name not in schema["required"]}
    by = dict.fromkeys(schema["$defs"]["By"]["properties"]) | body["by"]
    text = json.dumps({**body, **nulls, "by": by}).encode()
    assert read_body(SUBMISSIONS[ce_type], text) == said and text.count(b"null") >= 2
    assert b"null" not in said.to_json()


def said_by_the_page(name: str) -> str:
    """What the page of codes says of a list: the sentence between its head and its table."""
    page = (ROOT / "docs/contracts/codes.md").read_text()
    return page.partition(f"## `{name}`\n")[2].partition("\n## ")[0].partition("Source: ")[2].split("\n\n")[1]


@pytest.mark.parametrize("name", lists.names())
def test_what_the_page_says_of_a_list_is_what_a_submission_may_say(name: str) -> None:
    """Each code of the list, and two it does not hold, in each field of a submission that has it."""
    said, of = said_by_the_page(name), lists.load(name)
    fields = [
        (ce_type, at)
        for ce_type in SUBMISSIONS
        for at, node in fields_of(schema_of(ce_type))
        if node.get("x-code-list") == name
    ]
    assert bool(fields) is ("No submission" not in said)
    for ce_type, at in fields:
        body, field = samples_of(ce_type)["full"]["data"], at.split("/")[1]
        assert f"`{field}`" in said
        outcomes = {}
        for code in (*(entry.code for entry in of.entries), "05162999", "05999999", "qaa", "NO_SUCH_CODE"):
            value = [code] if isinstance(body.get(field), list) else code
            try:
                statement = read_body(SUBMISSIONS[ce_type], json.dumps({**body, field: value}).encode())
                no = lists.judge(statement, SOMEBODY, datetime.fromisoformat("2026-03-02T12:00:00+00:00"))
                outcomes[code] = "taken" if no is None or no.reason == "CODE_NOT_VALID" else no.reason
            except Verdict:
                outcomes[code] = "unreadable"
        held = Counter(outcomes[entry.code] for entry in of.entries)
        if "no others" in said:
            assert set(held) == {"taken"} and outcomes["qaa"] == outcomes["NO_SUCH_CODE"] == "unreadable"
        else:
            assert (outcomes["qaa"] == "taken") is ("and any other" in said) and outcomes[
                "NO_SUCH_CODE"
            ] == "unreadable"
            assert held["unreadable"] == int(
                (re.search(r"(\d+) of these codes are not of that form", said) or [0, 0])[1]
            )
        if name == "ags":
            assert (outcomes["05162999"], outcomes["05999999"], outcomes["05162"]) == (
                "CODE_UNKNOWN",
                "taken",
                "unreadable",
            )


def test_the_headers_of_a_submission_say_that_it_is_about_a_uuid() -> None:
    """Whatever else stands there is answered unreadable, by the rule `uuid`."""
    for ce_type in PUBLISHED:
        subject = headers_schema(ce_type)["properties"].get("ce_subject", {})
        takes = Draft202012Validator(subject).is_valid
        assert takes("6b2c3e58-0c5e-5b1c-9f55-0a3a52c2f7d4") and takes("rkn:rkn-thm") is (ce_type not in SUBMISSIONS)


def test_a_publisher_is_told_that_an_id_made_of_somebodys_number_can_be_guessed_back() -> None:
    """Facts are for good, and their cause is a plain digest: whoever reads one tries out ten thousand numbers in a blink."""
    source = "https://kreis.example/lotse"
    tried = {str(uuid5(uuid5(NAMESPACE_URL, source), f"person-{n}")): n for n in range(10_000)}
    assert tried[reference_of(source, "person-4711")] == 4711
    pages = [ROOT / "README.md", ROOT / "docs" / "contracts" / "README.md", ROOT / "contracts" / "asyncapi.yaml"]
    assert [
        page.name for page in pages if "made of somebody's name or number" not in " ".join(page.read_text().split())
    ] == []


def test_what_holds_a_publisher_is_said_to_publishers() -> None:
    said = f"After {UNREADABLE_LIMIT:,} unreadable "
    readme = " ".join((ROOT / "README.md").read_text().split())
    pages = [file for file in (ROOT / "docs/contracts").glob("*.submissions.PUBLISHER.md") if said in file.read_text()]
    assert len(pages) == len(SUBMITTED) and said in readme


def test_there_are_samples_of_every_type() -> None:
    assert {json.loads(file.read_text())["type"] for file in SAMPLES} == set(PUBLISHED)
    assert len(SAMPLES) >= sum(len(samples_of(ce_type)) for ce_type in PUBLISHED)


@pytest.mark.parametrize("service", READS)
def test_the_document_says_what_a_service_reads_and_writes_in_both_directions(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("ORGANISATIONS", str(ORGANISATIONS)),
        ("SMTP_HOST", "x"),
        ("SMTP_PORT", "1"),
        ("MAIL_FROM", "a@x"),
    ):
        monkeypatch.setenv(f"LOTSE_{name}", value)
    said = declared(service)
    operations = [one for one in document()["operations"].values() if one["tags"][0]["name"] == service]

    def of(action: str) -> set[str]:
        return {one["channel"]["$ref"].rpartition("/")[2] for one in operations if one["action"] == action}

    takes = {cls.family for cls in SUBMISSIONS.values()} & set(said.owned)
    answers = {f"{family}_answers_publisher" for family in takes}
    own = {f"{family}_events" for family in said.owned}
    letters = {f"{service}_dead_letters"}
    report = {"report_participation_internal"} if service == "reporting" else set()
    assert of("send") == own | answers | letters | report
    # what it wrote itself it reads again when it is rebuilt
    learned = {f"{family}_events" for family in said.learned}
    submitted = {f"{family}_submissions_publisher" for family in takes}
    assert of("receive") == own | answers | letters | report | learned | submitted | {"clock_ticks"}


@pytest.mark.parametrize("name", lists.names())
def test_a_list_is_the_same_after_genericode(name: str) -> None:
    of = lists.load(name)
    assert lists.from_genericode(lists.as_genericode(of), complete=of.complete) == of
    assert lists.read_json(lists.as_json(of)) == of
    codes = [entry.code for entry in of.entries]
    assert len(codes) == len(set(codes))
    for entry in of.entries:
        assert entry.successor is None or entry.successor in codes


def test_a_foreign_genericode_file_is_read_by_its_key_and_positions() -> None:
    said = lists.from_genericode(
        '<c:CodeList xmlns:c="http://docs.oasis-open.org/codelist/ns/genericode/1.0/"><Identification><ShortName>x</ShortName>'
        "<Version>1</Version></Identification><ColumnSet><Column Id='label'/><Column Id='key'/><Key Id='k'><ColumnRef Ref='key'/>"
        "</Key></ColumnSet><SimpleCodeList><Row><Value><SimpleValue>Neuss</SimpleValue></Value><Value><SimpleValue>05162024"
        "</SimpleValue></Value></Row></SimpleCodeList></c:CodeList>"
    )
    assert said.entries == (lists.Entry("05162024", "Neuss"),)


@pytest.mark.parametrize("text", ["", "<a/>", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_what_is_no_code_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        lists.from_genericode(text)


@pytest.mark.parametrize(
    ("municipality", "time", "reason", "hint"),
    [
        ("05313000", "2009-10-20T21:59:59+00:00", None, None),  # the day is the alliance's: 23:59:59 in Berlin
        ("05313000", "2009-10-20T22:00:00+00:00", "CODE_NOT_VALID", "valid until 2009-10-20; use 05334002."),
        ("05313000", "2026-03-02T12:00:00+00:00", "CODE_NOT_VALID", "valid until 2009-10-20; use 05334002."),
        ("05334002", "2009-10-20T21:59:59+00:00", "CODE_NOT_VALID", "valid from 2009-10-21 on; see the list."),
        ("05334002", "2009-10-20T22:00:00+00:00", None, None),
        ("05162025", "2026-03-02T12:00:00+00:00", "CODE_UNKNOWN", "The list ags has no such code; see docs/contracts/codes.md."),  # of the sample Kreis: all are there
        ("05999999", "2026-03-02T12:00:00+00:00", None, None),  # elsewhere: what it does not know is not wrong
        ("UNKNOWN", "2026-03-02T12:00:00+00:00", None, None),
    ],
)  # fmt: skip
def test_a_code_means_what_its_list_says_on_the_day_of_the_message(
    municipality: str, time: str, reason: str | None, hint: str | None
) -> None:
    kind = TYPES["lotse.intake.registration_submitted.v1"]
    by = {"organisation_id": "rkn-thm"}
    said = kind.model_validate(
        {"by": by, "municipality": municipality, "programme": "GK", "owner_organisation_id": "rkn-thm"}
    )
    no = lists.judge(said, SOMEBODY, datetime.fromisoformat(time))
    if reason is None:
        assert no is None
    else:
        assert no is not None and (no.reason, no.at) == (reason, "/municipality") and no.hint.endswith(str(hint))
