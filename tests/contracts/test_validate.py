"""`lotse validate` says line, pointer, rule and hint of what is wrong, warns of what nobody reads, and quotes nothing."""

import json
import re
import subprocess
from collections import Counter
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Tick
from contracts.families import TYPES
from contracts.messages import MAX_BODY, STRUCTURED
from contracts.validate import judge, main, validate
from deploy.places import ROOT
from deploy.published.released import EXAMPLES
from deploy.published.samples import samples_of

TYPE = "lotse.attendance.attendance_reported.v1"
GOOD: dict[str, Any] = samples_of(TYPE)["full"]


def changed(**data: Any) -> bytes:
    """The good message with other members in its body; None takes one out."""
    body = {name: value for name, value in {**GOOD["data"], **data}.items() if value is not None}
    return json.dumps({**GOOD, "data": body}).encode() + b"\n"


def as_kcat(message: dict[str, Any], topic: str = "attendance.submissions.kreis") -> bytes:
    """As `kcat -J` prints a record in binary mode."""
    flat = [
        part
        for name, value in message.items()
        if name not in ("data", "datacontenttype")
        for part in (f"ce_{name}", value)
    ]
    return json.dumps({"topic": topic, "partition": 0, "offset": 7, "tstype": "create", "ts": 1, "broker": 1,
                       "headers": flat, "key": "k", "payload": json.dumps(message["data"])}).encode() + b"\n"  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (changed(), []),
        (as_kcat(GOOD), []),
        (as_kcat({**GOOD, "time": "yesterday"}), [("error", "header", "/ce_time", "rfc3339")]),
        (changed(presence="ABWESEND"), [("error", "body", "/presence", "enum")]),
        (changed(meeting_on=None), [("error", "body", "", "missing:meeting_on")]),
        (changed(by={"kind": "person"}), [("error", "body", "/by", "missing:organisation_id")]),
        (changed(units_planned="5"), [("error", "body", "/units_planned", "int_type")]),
        (changed(note="Aïcha called"), [("warning", "body", "", "unknown_field")]),
        (changed(by={"organisation_id": "x", "name": "Aïcha"}), [("warning", "body", "/by", "unknown_field")]),
        (
            changed().replace(b'"data": {', b'"data": {"note": ' + b"9" * 5_000 + b", "),
            [("error", "body", "", "json_invalid")],
        ),
        (
            json.dumps(
                {"data": {**GOOD["data"], "payload": 1}, **{k: v for k, v in GOOD.items() if k != "data"}}
            ).encode(),
            [("warning", "body", "", "unknown_field")],
        ),
        (json.dumps({**GOOD, "type": "lotse.x.y.v1"}).encode(), [("error", "type", "/type", "unknown")]),
        (json.dumps({**GOOD, "subject": "case-17"}).encode(), [("error", "attribute", "/subject", "uuid")]),
        (as_kcat({**GOOD, "subject": "urn:uuid:" + GOOD["subject"]}), [("error", "header", "/ce_subject", "uuid")]),
        (changed(note="x" * MAX_BODY), [("error", "body", "", "too_large")]),
        (
            json.dumps({k: v for k, v in GOOD.items() if k != "tenant"}).encode(),
            [("error", "attribute", "", "missing:tenant")],
        ),
    ],
)
def test_each_fault_is_named_with_its_line_pointer_and_rule(line: bytes, expected: list[tuple[str, ...]]) -> None:
    found = list(validate([changed(), b"\n", line]))
    assert [number for number, _ in found] == [1, 3] and found[0][1] == []
    assert [tuple(one)[1:5] for one in found[1][1]] == expected and all(one.line == 3 for one in found[1][1])


@pytest.mark.parametrize(
    ("sample", "field", "instead"),
    [("attendance_reported", "excuse_reason", "PERSONAL, CARE,"), ("participation_end_reported", "reason", "PERSONAL")],
)
@pytest.mark.parametrize("word", ["SICKNESS", "HEALTH", "CHILD_SICK", "PREGNANCY", "ABWESEND"])
def test_who_says_why_in_clear_is_told_of_personal_and_the_hint_does_not_tell_what_was_said(
    sample: str, field: str, instead: str, word: str
) -> None:
    family = "attendance" if sample == "attendance_reported" else "referral"
    message = list(samples_of(f"lotse.{family}.{sample}.v1").values())[-1]
    ((_, (one,)),) = validate([json.dumps({**message, "data": {**message["data"], field: word}}).encode()])
    ((_, (other,)),) = validate([json.dumps({**message, "data": {**message["data"], field: "X"}}).encode()])
    assert (one.rule, one.pointer) == ("enum", f"/{field}") and instead in one.hint and one == other
    assert len(one.hint) <= 300, "an answer takes no longer one"


def registered(**data: Any) -> bytes:
    """A registration with other members in its body."""
    message = samples_of("lotse.intake.registration_submitted.v1")["full"]
    return json.dumps({**message, "data": {**message["data"], **data}}).encode()


MOMENT, DAY = (
    "A moment with its offset or Z, written 2026-03-02T16:00:00+01:00.",
    "A day of the calendar, written 2026-03-02.",
)
LOWER = "A UUID in lower case, 36 characters with hyphens and no braces."


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (changed(reported_at="2026-03-02T16:00:00"), MOMENT),
        (changed(reported_at="2026-02-30T16:00:00Z"), MOMENT),
        (changed(meeting_on="02.03.2026"), DAY),
        (changed(meeting_on="2026-02-30"), DAY),
        (changed(participation_id=GOOD["data"]["participation_id"].upper()), LOWER),
        (registered(municipality="5162024"), "eight digits with the leading zero"),
        (registered(language="Dari"), "ISO 639-3 in lower case"),
        (changed(participation_id=""), LOWER),
        (changed(by={"organisation_id": "x", "staff_id": "17"}), LOWER),
        (as_kcat({**GOOD, "subject": GOOD["subject"].upper()}), "In lower case; of a submission a UUID, 36 characters"),
        (as_kcat({**GOOD, "id": "{17}"}), "At most 64 of A-Z a-z 0-9 . _ : -"),
        (
            json.dumps({**GOOD, "tenant": "RKN"}).encode(),
            "The alliance's code: at most 32 of a-z 0-9 -, in lower case.",
        ),
        (as_kcat(GOOD).replace(b"ce_", b"ce-"), "names of headers begin with ce_, in lower case"),
        (as_kcat(GOOD).replace(b"ce_", b""), "content-type: application/cloudevents+json"),
        (changed().replace(b"full", b"f\xfcll").replace(b'"by"', b'"M\xfcller": 1, "by"'), "no JSON in UTF-8"),
    ],
)
def test_a_hint_says_how_the_text_at_that_place_is_written(line: bytes, hint: str) -> None:
    ((_, (one,)),) = validate([line])
    assert hint in one.hint and len(one.hint) <= 300, "an answer takes no longer one"


@pytest.mark.parametrize("written", ["binary", "structured"])
def test_a_record_on_a_topic_of_submissions_is_of_that_topics_family_and_no_fact(written: str) -> None:
    fact = next(iter(samples_of("lotse.intake.case_opened.v1").values()))
    for message, topic, right in [
        (GOOD, "attendance.submissions.kreis", True),
        (GOOD, "intake.submissions.kreis", False),
        (fact, "intake.submissions.kreis", False),
        (fact, "intake.events", True),
    ]:
        whole = {"topic": topic, "headers": ["content-type", STRUCTURED], "payload": json.dumps(message)}
        line = as_kcat(message, topic) if written == "binary" else json.dumps(whole).encode()
        ((_, found),) = validate([line])
        at = "/ce_type" if written == "binary" else "/type"
        assert [one[2:5] for one in found] == ([] if right else [("type", at, "unknown")])


def twisted(chance: Random) -> bytes:
    """A good message of some type with one or two things done to its text that a reader in a hurry might pass over."""
    message = dict(chance.choice(MESSAGES))
    for _ in range(chance.randint(1, 2)):
        name = chance.choice([*message, "extension"])
        match chance.randrange(8):
            case 0:
                message.pop(name, None)
            case 1:
                message[name] = chance.choice([None, 7, True, "", "data", '"', "ä", "\\", [], {}, 1e999, int("9" * 20)])
            case 2:
                message = dict(chance.sample(list(message.items()), len(message)))
            case 3:
                message["data"] = chance.choice([None, 0, "x", [], {}, [message.get("data")]])
            case 4 if isinstance(message.get("data"), dict):
                inner = {
                    **message["data"],
                    chance.choice(["by", "note", "presence"]): chance.choice([None, 7, "X", {"a": 1}]),
                }
                message["data"] = inner
            case _:
                pass
    text = json.dumps(
        message,
        ensure_ascii=chance.random() < 0.5,
        separators=chance.choice([(", ", ": "), (",", ":"), (" ,", " :\t")]),
    )
    again = json.dumps(message.get(name))
    match chance.randrange(9):
        case 0:
            text = f'{text[:-1]}, "{name}": {again}}}'  # a member twice, the second one behind the data
        case 1:
            text = f'{{"{chance.choice([name, "data_base64"])}": {again}, {text[1:]}'
        case 2:
            text = text.replace('"data"', '"d\\u0061ta"', 1)
        case 3:
            at = chance.randrange(len(text))
            text = (
                text[:at] + chance.choice(["", '"', "}", "{", ",", ":", "\v", "\x00", " ", "\u00a0"]) + text[at + 1 :]
            )
        case 4:
            text = text[:-1] + chance.choice([" , }", "]", "\v}", "} ", ', "data_base64": "e30="}'])
        case 5:
            text = text.replace(
                '"data": ',
                chance.choice(
                    ['"data"  ', '"data":\v', '"data"\f: ', '"data":: ', '"data": [', '"data": "x", "data": ']
                ),
            )
        case _:
            pass
    return text.encode("utf-8", "surrogatepass")


MESSAGES = [message for ce_type in TYPES for message in samples_of(ce_type).values()]


def test_what_is_read_at_once_is_judged_like_what_is_read_step_by_step() -> None:
    """A member nobody reads that is no text makes a reader take every step; it must not change what is found."""
    chance, seen = Random(2026), Counter[str]()
    for _ in range(3_000):
        line = twisted(chance)
        found = judge(1, line)
        if line[:1] == b"{" and line[1:2] not in (b"}", b""):
            assert found == judge(1, b'{"nobodys": 7, ' + line[1:]), line
            seen[found[0].rule.partition(":")[0] if found else "without fault"] += 1
    assert (
        min(
            seen[rule]
            for rule in ("without fault", "unknown_field", "twice", "json_invalid", "missing", "rfc3339", "pattern")
        )
        > 10
    ), seen


SHORT = {name: value for name, value in GOOD["data"].items() if name not in ("excuse_reason", "units_attended")}
SAID: dict[str, tuple[dict[str, Any], list[str]]] = {
    "good": (GOOD, []),
    "misspelt": ({**GOOD, "tenant": "R K N"}, ["/tenant"]),
    "short": ({**GOOD, "data": SHORT}, [""]),
    "record": (json.loads(as_kcat(GOOD)), []),
    "tick": (samples_of(Tick.ce_type)["full"], []),
    "broken": (GOOD, ["json_invalid"]),
}
"""Messages, and the pointers of what is wrong with each."""


@settings(deadline=None)
@given(st.data())
def test_every_message_is_judged_by_itself_under_the_line_an_editor_shows(data: st.DataObject) -> None:
    """Of a file of lines, of documents or of one list, whatever is broken in it and wherever."""
    form, ends = data.draw(st.sampled_from(["lines", "documents", "list"])), data.draw(st.sampled_from(["\n", "\r\n"]))
    indent: Any = (
        None if form == "lines" else data.draw(st.sampled_from([1, 2, "\t", None] if form == "list" else [1, 2, "\t"]))
    )
    text, expected = data.draw(st.sampled_from(["", "\n", " \n\n"])), list[tuple[range, list[str]]]()
    names = data.draw(st.lists(st.sampled_from(list(SAID)), max_size=6))
    text += "" if form != "list" else "[" + (data.draw(st.sampled_from(["", "\n"])) if indent is None else "\n")
    for number, name in enumerate(names):
        message, wrong = SAID[name]
        one = json.dumps(message, indent=indent)
        if name == "broken":
            colon = data.draw(st.sampled_from([found.end() for found in re.finditer('"(?=:)', one)]))
            cut = form == "lines" and data.draw(
                st.booleans()
            )  # as by a full disk, before or behind it; else it is missing
            one = one[: colon + data.draw(st.integers(0, 1))] if cut else one[:colon] + one[colon + 1 :]
        if form == "list" and number < len(names) - 1:
            one += ","
        begins = text.count("\n") + 1
        text += one + "\n" + data.draw(st.sampled_from(["", "", "\n"]))
        expected.append((range(begins, begins + one.count("\n") + 1), wrong))
    text += "]" if form == "list" else data.draw(st.sampled_from(["", "\n"]))
    mark = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    found = list(validate(BytesIO(mark + text.replace("\n", ends).encode())))
    assert len(found) == len(expected), text
    for (line, findings), (lines, wrong) in zip(found, expected, strict=True):
        assert [one.pointer if one.rule != "json_invalid" else one.rule for one in findings] == wrong, (text, findings)
        assert (line in lines if wrong == ["json_invalid"] else line == lines[0]) and {
            one.line for one in findings
        } <= {line}, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"specversion" "1.0",\n  "id": "a"\n}\n', [(1, "json_invalid")]),
        ('{\n  "specversion": "1.0"\n  "id": "a"\n}\n{}\n', [(2, "json_invalid"), (5, "missing:specversion")]),
        ('{}{}\n{}\n', [(1, "json_invalid"), (2, "missing:specversion")]),  # sent so, nobody reads it
        ('{"id":\n{}\n{}\n', [(1, "json_invalid"), (2, "missing:specversion"), (3, "missing:specversion")]),
        ('{"id": 1,}\nKowalski;1998\n{}', [(1, "json_invalid"), (2, "json_invalid"), (3, "missing:specversion")]),
        ('{}\n[{}]\n', [(1, "missing:specversion"), (2, "json_invalid")]),  # a message is no list
        ("[{}, {\n}, \n{\n]\n", [(1, "missing:specversion")] * 2 + [(3, "json_invalid")]),
        ("[" * 100_000, [(1, "json_invalid")]),
        ('{"id": "\udcff"}\n{}\n', [(1, "json_invalid"), (2, "missing:specversion")]),
        ("", []),
    ],
)  # fmt: skip
def test_what_is_no_json_is_said_where_it_breaks_off_and_the_next_is_judged(
    text: str, expected: list[tuple[int, str]]
) -> None:
    found = list(validate(BytesIO(text.encode("utf-8", "surrogateescape"))))
    assert [(line, findings[0].rule) for line, findings in found] == expected and "Kowalski" not in str(found)


def test_a_file_in_utf_16_is_said_to_be_one() -> None:
    ((line, (one,)),) = validate(BytesIO(changed().decode().encode("utf-16")))
    assert (line, one.rule, one.hint) == (
        1,
        "utf16",
        "The file is UTF-16, as PowerShell's > writes it; save it as UTF-8.",
    )


@pytest.mark.parametrize(
    "file", sorted((ROOT / EXAMPLES).rglob("*.json")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_sample_is_without_fault(file: Path) -> None:
    assert list(validate(BytesIO(file.read_bytes()))) == [(1, [])]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"time": "noon"}, ("time", "rfc3339")),
        ({"data": {"at": "noon"}}, ("at", "string_pattern_mismatch")),
        ({"data": {}}, ("", "missing:at")),
        ({"type": "lotse.clock.tick.v2"}, ("", "missing:subject")),
    ],
)
@pytest.mark.parametrize("written", ["structured", "record"])
def test_a_tick_is_about_nothing_and_belongs_to_nobody(
    written: str, change: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    message = {**samples_of(Tick.ce_type)["full"], **change}
    found = judge(1, json.dumps(message).encode() if written == "structured" else as_kcat(message, "clock.ticks"))
    rules = [(one.pointer.removeprefix("/").removeprefix("ce_"), one.rule.replace("ce_", "")) for one in found]
    assert rules == ([] if expected is None else [expected])


def test_bodies_alone_need_their_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bodies.jsonl"
    file.write_text(json.dumps(GOOD["data"]) + "\n" + json.dumps({**GOOD["data"], "presence": "Kowalski"}) + "\n")
    assert main(["validate", "--type", TYPE, "--format", "json", str(file)]) == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"ok", "command", "data", "errors"} and not said["ok"]
    assert [one["line"] for one in said["data"]["findings"]] == [2] and "Kowalski" not in json.dumps(said)
    assert said["errors"][0]["hint"] == "One of PRESENT, LATE, EXCUSED, UNEXCUSED, NOT_RECORDED."
    assert main(["validate", "--type", "none", str(file)]) == 2 and main(["validate", str(tmp_path / "no")]) == 2
    file.write_bytes(changed())
    assert main(["validate", str(file)]) == 0


def test_its_help_says_what_a_file_may_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Who was handed the wheel has no other page."""
    with pytest.raises(SystemExit):
        main(["validate", "--help"])
    said = capsys.readouterr().out
    assert "structured mode" in said and "`kcat -J`" in said and "bodies alone" in said


STRANGER = """
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from lotse_contracts.attributes import Attributes
from lotse_contracts.families import from_message
from lotse_contracts.intake import NeedReported
from lotse_contracts.messages import to_message
from lotse_contracts.stream import Streams
from lotse_contracts.version import VERSION
from lotse_contracts import lists

assert version("lotse-contracts") == VERSION
said = NeedReported(by={"organisation_id": "vhs"}, need_id="6b2c3e58-0c5e-5b1c-9f55-0a3a52c2f7d4", need_type="WORK")
about = Attributes("1", "urn:vhs", said.ce_type, "6b2c3e58-0c5e-5b1c-9f55-0a3a52c2f7d4", datetime.now(timezone.utc), "rkn")
for mode in ("binary", "structured"):
    key, headers, value = to_message(about, said.to_json(), mode)
    assert from_message(headers, value) == (about, said)
assert Streams().take("intake", "a", 1, "x", "fact", datetime.now(timezone.utc)) == ["fact"]
assert lists.load("ags").find("05162024").name == "Neuss"
assert not {"aiokafka", "services", "deploy", "faststream"} & set(sys.modules)
"""


def test_a_stranger_installs_the_wheel_and_uses_it(stranger: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(stranger / "python"), "-I", "-c", STRANGER], capture_output=True, text=True, cwd=tmp_path, check=False
    )  # noqa: S603
    assert done.returncode == 0, done.stderr
    file = tmp_path / "messages.jsonl"
    file.write_bytes(changed() + changed(presence="x"))
    done = subprocess.run(
        [str(stranger / "lotse"), "validate", str(file)], capture_output=True, text=True, cwd=tmp_path, check=False
    )  # noqa: S603
    assert done.returncode == 1 and done.stdout.startswith(
        "line 2: error in the body, /presence: enum. One of PRESENT"
    ), done.stderr
