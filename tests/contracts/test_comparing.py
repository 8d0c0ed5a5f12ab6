"""The comparator says of every change what a person says, and every verdict is proved by a validator that is not ours.

The proof shares nothing with the comparator: it takes messages, asks the library `jsonschema` whether who reads accepts
them, and looks whether each member still says the same.
"""

import copy
import json
import os
from collections.abc import Iterator
from datetime import date
from itertools import islice
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from contracts.families import PUBLISHED
from deploy.published import patterns
from deploy.published.comparing import Role, compare, member
from deploy.published.patterns import Unjudged, stranger
from deploy.published.schemas import schema_of
from tests.contracts.changes import CODE, LONG, MONTH, TABLE, UUID, Row, Schema
from tests.contracts.random_schemas import pair


def is_day(value: Any) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


def is_moment(value: Any) -> bool:
    return not isinstance(value, str) or "T" in value


FORMATS = FormatChecker(formats=())
FORMATS.checkers = {"date": (is_day, ValueError), "date-time": (is_moment, ())}


# --- the proof --------------------------------------------------------------------------------------------------------


def closed(node: Any) -> Any:
    """A schema as who writes holds to it: only members it names, and perhaps one nobody names (zz_...)."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {name: {key: closed(one) for key, one in value.items()} if name in ("properties", "$defs") else closed(value)
             for name, value in node.items() if name not in ("enum", "const", "default")}  # fmt: skip
    found |= {name: node[name] for name in ("enum", "const", "default") if name in node}
    if node.get("type") == "object" and not node.keys() & {"additionalProperties", "unevaluatedProperties"}:
        found |= {"additionalProperties": False, "patternProperties": {"^zz_": True}}
    return found


class Proof:
    """Whether one message shows that a change breaks somebody."""

    def __init__(self, row: Row) -> None:
        self.old, self.new = row.old, row.new
        self.written = {
            id(one): Draft202012Validator(closed(one), format_checker=FORMATS) for one in (row.old, row.new)
        }
        self.read = {
            "w": Draft202012Validator(row.old, format_checker=FORMATS),
            "r": Draft202012Validator(row.new, format_checker=FORMATS),
        }

    def shows(self, letter: str, message: Any) -> bool:
        """True where the message was rightly written and is refused, or read as something else."""
        written, read = (self.new, self.old) if letter == "w" else (self.old, self.new)
        if self.written[id(written)].is_valid(message):
            if not self.read[letter].is_valid(message):
                return True
            if self._differs(letter, written, read, message):
                return True
        # what could be said once, and no longer can: who reads as before waits for it in vain
        return (
            letter == "w" and self.written[id(self.old)].is_valid(message) and self._loses(self.old, self.new, message)
        )

    def _node(self, node: Any, root: Schema, message: Any) -> Schema:
        """The schema of this very value: references followed, of a union the alternative that takes it."""
        if node is True:
            return {}
        if "$ref" in node:
            beside = {name: value for name, value in node.items() if name != "$ref"}
            return self._node({**root["$defs"][node["$ref"].split("/")[-1]], **beside}, root, message)
        for name in ("anyOf", "oneOf"):
            for option in node.get(name, ()):
                if Draft202012Validator({**option, "$defs": root.get("$defs", {})}).is_valid(message):
                    return self._node({**option, **{k: v for k, v in node.items() if k != name}}, root, message)
        return dict(node)

    def _differs(self, letter: str, written: Any, read: Any, message: Any) -> bool:
        wroot, rroot = (self.new, self.old) if letter == "w" else (self.old, self.new)
        w, r = self._node(written, wroot, message), self._node(read, rroot, message)
        old, new = (r, w) if letter == "w" else (w, r)
        if any(old.get(name) and old.get(name) != new.get(name) for name in ("x-unit", "x-code-list")):
            return True
        order = ["public", "internal", "personal", "special"]
        if order.index(r.get("x-privacy", "public")) < order.index(w.get("x-privacy", "public")):
            return True
        if isinstance(message, list):
            return any(self._differs(letter, w.get("items", True), r.get("items", True), one) for one in message)
        if not isinstance(message, dict):
            return False
        ws, rs = w.get("properties", {}), r.get("properties", {})
        for name, value in message.items():
            if name in ws and name in rs:
                if self._differs(letter, ws[name], rs[name], value):
                    return True
            elif letter == "r" and self._lost(name, w, r):
                return True
        for name in (ws.keys() & rs.keys()) - message.keys():
            said = [json.dumps(self._absent(one[name], root)) for one, root in ((ws, wroot), (rs, rroot))]
            if said[0] != said[1]:
                return True
        return False

    def _absent(self, node: Any, root: Schema) -> Any:
        """What who reads takes for a member that is not there."""
        for _ in range(9):
            if node is True or "$ref" not in node or "default" in node:
                break
            node = root["$defs"][node["$ref"].split("/")[-1]]
        return ["nothing"] if node is True or "default" not in node else node["default"]

    @staticmethod
    def _lost(name: str, w: Schema, r: Schema) -> bool:
        """Read under one schema, neither named nor part of a map under the other."""
        was = name in w.get("properties", {}) or w.get("additionalProperties") not in (None, False)
        return was and name not in r.get("properties", {}) and r.get("additionalProperties") in (None, False)

    def _loses(self, old: Any, new: Any, message: Any) -> bool:
        before, after = self._node(old, self.old, message), self._node(new, self.new, message)
        if isinstance(message, list):
            return any(self._loses(before.get("items", True), after.get("items", True), one) for one in message)
        if (
            not isinstance(message, dict)
            or after.get("type", "object") != "object"
            or after.keys() & {"anyOf", "oneOf"}
        ):
            return False  # it is refused as a whole: another matter
        olds, news = before.get("properties", {}), after.get("properties", {})
        return any(self._lost(name, before, after) or (name in olds and name in news and self._loses(olds[name], news[name], value))
                   for name, value in message.items())  # fmt: skip


TEXTS = ["", "x", "A", "B b", "C", "1.0", "1.1", "A0", "aaaaa", "aaaaaa", "a" * 32, "A" * 33, "A" * 64, "A" * 65, "2026-03", "2026-13",
         "2026-03-02", "2026-03-02T16:00:00Z", "6b2c3e58-0c5e-5b1c-9f55-0a3a52c2f7d4", "42", "é", "a\n"]  # fmt: skip


class Search:
    """Messages of a schema: each border of both schemas, each code, each text of a pool, members there and absent."""

    def __init__(self, row: Row) -> None:
        self.chance = Random(row.name)
        text = json.dumps([row.old, row.new])
        numbers = {float(word) for word in text.replace(",", " ").replace("}", " ").replace("]", " ").replace("[", " ").split()
                   if word.isdecimal()}  # fmt: skip
        self.numbers = sorted({n + d for n in numbers | {0.0} for d in (-1, 0, 0.5, 1)})
        self.codes = [code for schema in (row.old, row.new) for code in _codes_in(schema)]

    def messages(self, schema: Schema) -> Iterator[Any]:
        while True:
            yield self._value(schema, schema, 4)

    def _value(self, node: Any, root: Schema, deep: int) -> Any:
        choose = self.chance.choice
        if node is True:
            node = {}
        if "$ref" in node:
            return self._value(root["$defs"][node["$ref"].split("/")[-1]], root, deep)
        if "const" in node:
            return node["const"]
        for union in ("anyOf", "oneOf"):
            if union in node:
                return self._value(choose(node[union]), root, deep)
        if "enum" in node:
            return choose(node["enum"])
        kinds = node.get("type", ["string", "integer", "null", "boolean", "array"] if "allOf" not in node else "string")
        kind = kinds if isinstance(kinds, str) else choose(kinds)
        if kind == "object":
            names = [
                name
                for name in node.get("properties", {})
                if name in node.get("required", ()) or (deep and self.chance.random() < 0.5)
            ]
            found = {name: self._value(node["properties"][name], root, deep - 1) for name in names}
            others = node.get("additionalProperties")
            if others is None and self.chance.random() < 0.3:
                found[choose(["zz_x", "zz_xx"])] = choose([1, "x", None])
            elif others not in (None, False):
                found |= {
                    name: self._value(others, root, deep - 1) for name in ("k", "m") if self.chance.random() < 0.5
                }
            return found
        if kind == "array":
            few = (
                [self._value(node.get("items", True), root, deep - 1) for _ in range(choose([0, 1, 2]))] if deep else []
            )
            return few * choose([1, 1, 2])
        number = choose(self.numbers)
        return {
            "string": choose([*TEXTS, *self.codes]),
            "integer": int(number),
            "null": None,
            "boolean": number > 0,
        }.get(kind, number)


def _codes_in(node: Any) -> Iterator[str]:
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _codes_in(one)
    if isinstance(node, dict):
        yield from (code for code in [*node.get("enum", ()), node.get("const")] if isinstance(code, str))


def found_by_search(row: Row, letter: str, tries: int) -> Any:
    """A message that shows a break, or None."""
    proof, search = Proof(row), Search(row)
    for schema in (row.new, row.old):
        for message in islice(search.messages(schema), tries):
            if proof.shows(letter, message):
                return message
    return None


# --- the verdicts -----------------------------------------------------------------------------------------------------

LETTERS = {Role.WRITER: "w", Role.READER: "r"}
EACH = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name.replace(" ", "-"))


@EACH
def test_a_change_breaks_whom_it_breaks_and_is_named_where_it_lies(row: Row) -> None:
    found = compare(row.old, row.new)
    assert {LETTERS[role] for change in found for role in change.breaks} == set(row.breaks)
    if row.where:
        rule, _, at = row.where.partition(" ")
        assert (rule, at) in [(change.rule, change.at) for change in found]
        assert rule != "TOLD" or len(found) == 1
    else:
        assert found == []


@EACH
def test_a_break_is_shown_by_a_message_and_where_there_is_none_no_search_finds_one(row: Row) -> None:
    proof = Proof(row)
    for letter in "wr":
        if letter not in row.breaks:
            assert found_by_search(row, letter, 150) is None
        elif row.shows[letter] not in (..., {"a": ...}):
            assert proof.shows(letter, row.shows[letter]), letter
            assert found_by_search(row, letter, 2000) is not None, (
                "a search that cannot find what is there proves nothing"
            )
        else:
            assert found_by_search(row, letter, 150) is None, "then it has a witness: write it down"


@pytest.mark.parametrize(
    "row",
    [row for row in TABLE if row.breaks and row.where.endswith(" /a") and "looks ahead" not in row.name],
    ids=lambda row: row.name.replace(" ", "-"),
)
def test_the_example_of_a_break_is_taken_by_one_side_alone(row: Row) -> None:
    for change in compare(row.old, row.new):
        if change.rule in ("TYPE", "NULL", "CODES", "BOUNDS", "LENGTH", "PATTERN") and change.breaks:
            message = {"a": json.loads(change.example)}
            old, new = (
                Draft202012Validator(one, format_checker=FORMATS).is_valid(message) for one in (row.old, row.new)
            )
            assert old is not new and {True: "r", False: "w"}[old] in row.breaks


def test_of_schemas_by_chance_none_that_is_let_through_breaks_anybody() -> None:
    """The verdicts nobody wrote by hand. LOTSE_SCHEMAS=20000 looks at more."""
    said: dict[tuple[bool, bool], int] = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for seed in range(int(os.environ.get("LOTSE_SCHEMAS", "150"))):
        old, new = pair(seed)
        row = Row(f"seed {seed}", old, new, "", "", {})
        breaks = {LETTERS[role] for change in compare(old, new) for role in change.breaks}
        for letter in "wr":
            shown = found_by_search(row, letter, 40)
            assert shown is None or letter in breaks, (seed, letter, shown)
            said[letter in breaks, shown is not None] += 1
    assert said[True, True] > said[True, False] and said[False, False] > said[True, True] > 0, said


def test_there_are_enough_changes_of_every_kind() -> None:
    assert len(TABLE) >= 60 and len({row.name for row in TABLE}) == len(TABLE)
    for breaks in ("", "w", "r", "wr"):
        assert sum(row.breaks == breaks for row in TABLE) >= 10
    assert sum(... in row.shows.values() or {"a": ...} in row.shows.values() for row in TABLE) <= 9


@pytest.mark.parametrize(
    "row", [row for row in TABLE if "w" in row.breaks or "r" in row.breaks], ids=lambda row: row.name.replace(" ", "-")
)
def test_a_change_and_its_reverse_break_the_other_side(row: Row) -> None:
    """Who writes one way reads the other way, but for what only time decides."""
    timely = ("x-unit", "x-code-list")
    if any(name in json.dumps([row.old, row.new]) for name in timely) or "REMOVED" in row.where:
        return
    back = {LETTERS[role] for change in compare(row.new, row.old) for role in change.breaks}
    forth = {{"w": "r", "r": "w"}[letter] for letter in row.breaks}
    assert back >= forth


@pytest.mark.parametrize("ce_type", PUBLISHED)
def test_no_schema_of_ours_holds_anything_the_gate_cannot_judge(ce_type: str) -> None:
    schema = schema_of(ce_type)
    assert compare(schema, copy.deepcopy(schema)) == []
    for name in schema["properties"]:
        changed = copy.deepcopy(schema)
        changed["properties"][name] = {"type": "boolean"}
        found = compare(schema, changed)
        assert {change.rule for change in found} <= {"TYPE", "TOLD", "UNIT", "LIST", "DEFAULT", "PRIVACY"} and any(
            change.at == f"/{name}" and set(change.breaks) == {Role.WRITER, Role.READER} for change in found
        )


@pytest.mark.parametrize(
    "node",
    [
        {"$ref": "#/$defs/P"},
        {"$ref": "urn:elsewhere"},
        {"allOf": [False]},
        {"oneOf": [{}]},
        {"const": "A", "enum": ["B"]},
    ],
)
def test_what_no_validator_would_take_the_gate_does_not_let_pass(node: Schema) -> None:
    """A definition that is nothing but itself, one that lies elsewhere, what can never be, alternatives nothing tells apart."""
    new = {"type": "object", "properties": {"a": node}, "$defs": {"P": {"$ref": "#/$defs/P"}}}
    (found,) = compare({"type": "object", "properties": {"a": {"type": "string"}}}, new)
    assert (found.at, found.rule, set(found.breaks)) == ("/a", "UNJUDGED", {Role.WRITER, Role.READER})


def test_a_pointer_finds_what_a_schema_says_of_a_place() -> None:
    report = schema_of("lotse.reporting.participation_report.v1")
    entries = member(report, "/cells/0/entries")
    assert entries is not None and entries["type"] == "integer"
    assert member(report, "/cells/0/of_which") is None and member(report, "/month/0") is None
    assert member(schema_of("lotse.attendance.attendance_reported.v1"), "/by/staff_id") is not None


@pytest.mark.parametrize(
    ("written", "read", "expected"),
    [
        (CODE, LONG, None),
        (LONG, CODE, 65),
        (UUID, CODE, None),
        (CODE, UUID, 1),
        (MONTH, "^[0-9]{4}-[0-9]{2}$", None),
        ("^[0-9]{4}-[0-9]{2}$", MONTH, 7),
        ("^(ab|cd)+$", "^[a-d]*$", None),
        ("^[a-d]+$", "^(ab|cd)+$", 1),
        ("b", "^a*b", 1 + 1),
        ("^a{2,3}?$", "^a?a?a?$", None),
        (r"^\w$", "^[^-]$", None),
        ("^.$", r"^\W$", 1),
        ("^[ae]$", "^[^b-d]$", None),
        ("^[^c]$", "^[^b-d]$", 1),
    ],
)
def test_of_two_patterns_it_is_known_whether_one_takes_all_the_other_takes(
    written: str, read: str, expected: int | None
) -> None:
    """The shortest text that proves it, by its length, counted by hand."""
    found = stranger((written,), read)
    assert (None if found is None else len(found)) == expected
    if found is not None:
        assert Draft202012Validator({"pattern": written}).is_valid(found)
        assert not Draft202012Validator({"pattern": read}).is_valid(found)


def test_a_proof_that_would_take_too_long_is_not_begun_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (("^[ab]*a[ab]{8}$",), "^[ab]*$")  # nine letters to remember: 512 states
    monkeypatch.setattr(patterns, "MOST_STATES", 300)
    with pytest.raises(Unjudged):
        stranger(*asked)
    monkeypatch.setattr(patterns, "MOST_STATES", 2000)
    assert stranger(*asked) is None


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", r"\ba", r"^\s$", r"^[^\s]$", "(?i:a)", "(", "^(a)\\1$", "^a{30000}$", "a$b"]
)
def test_a_pattern_the_gate_cannot_judge_is_said_to_be_one(pattern: str) -> None:
    with pytest.raises(Unjudged):
        stranger((pattern,), "^a$")
