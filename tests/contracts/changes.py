"""Changes to a schema, each with what a person says of it: whom it breaks, where, and a message that shows it.

`breaks` is written by hand: w where what is written under the new schema is not read under the old one, r where what was
written under the old one is not read under the new one. `shows` holds for each of these letters a message that proves it.
"""

from typing import Any, NamedTuple

Schema = dict[str, Any]
UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
CODE = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
LONG = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
MONTH = "^[0-9]{4}-(0[1-9]|1[0-2])$"
STRING, INTEGER, NUMBER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "null"}
DAY, MOMENT = {"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}


class Row(NamedTuple):
    """One change. `where` is the rule and the pointer the gate should name."""

    name: str
    old: Schema
    new: Schema
    breaks: str
    where: str
    shows: dict[str, Any]


def thing(must: str = "", **members: Any) -> Schema:
    """An object; `must` names what is required, `defs` what is defined beside."""
    defs = members.pop("defs", None)
    found: Schema = {"type": "object", "properties": members}
    if must:
        found["required"] = must.split()
    return {**found, "$defs": defs} if defs else found


def of(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def codes(*values: Any, **more: Any) -> Schema:
    return {"enum": list(values), "type": "string", **more}


def row(name: str, old: Any, new: Any, breaks: str, where: str, w: Any = None, r: Any = None) -> Row:
    """A change of the required member `a`, or of a whole object; a witness is a value of `a`, or a whole message."""
    whole = "properties" in old or "properties" in new
    if not whole:
        old, new = thing("a", a=old), thing("a", a=new)
    shows = {letter: value if whole else {"a": value} for letter, value in (("w", w), ("r", r)) if letter in breaks}
    return Row(name, old, new, breaks, where, shows)


A = {"a": "x"}
KINDS: Schema = {
    "Day": thing("kind on", kind={"const": "day"}, on=DAY),
    "Span": thing("kind n", kind={"const": "span"}, n=INTEGER),
    "Never": thing("kind", kind={"const": "never"}),
}


def one_of(*names: str) -> Schema:
    return {"oneOf": [of(name) for name in names], "discriminator": {"propertyName": "kind"}}


TABLE = [
    # types
    row("text becomes number", STRING, INTEGER, "wr", "TYPE /a", 1, "x"),
    row("integer becomes number", INTEGER, NUMBER, "w", "TYPE /a", 0.5),
    row("number becomes integer", NUMBER, INTEGER, "r", "TYPE /a", r=0.5),
    row("number in steps of one becomes integer", {**NUMBER, "multipleOf": 1}, INTEGER, "", "TYPE /a"),
    row("truth becomes text", {"type": "boolean"}, STRING, "wr", "TYPE /a", "x", True),
    row("text becomes list of text", STRING, {"type": "array", "items": STRING}, "wr", "TYPE /a", [], "x"),
    row("object becomes text", thing(a=thing(b=STRING)), thing(a=STRING), "wr", "TYPE /a", A, {"a": {}}),
    row("text becomes anything", STRING, {}, "w", "TYPE /a", 1),
    row("anything becomes text", {}, STRING, "r", "TYPE /a", r=1),
    row("a second type is taken", STRING, {"type": ["string", "integer"]}, "w", "TYPE /a", 1),
    row("a second type is no longer taken", {"type": ["string", "integer"]}, STRING, "r", "TYPE /a", r=1),
    # null
    row("null is taken", STRING, {"type": ["string", "null"]}, "w", "NULL /a", None),
    row("null is no longer taken", {"type": ["string", "null"]}, STRING, "r", "NULL /a", r=None),
    row("null as a union instead of a list of types", {"anyOf": [STRING, NULL]}, {"type": ["string", "null"]}, "", ""),
    row("null is taken beside codes", codes("A"), {"anyOf": [codes("A"), NULL]}, "w", "NULL /a", None),
    row("null alone becomes null or text", NULL, {"anyOf": [NULL, STRING]}, "w", "TYPE /a", "x"),
    # codes
    row("a code is added", codes("A", "B"), codes("A", "B", "C"), "w", "CODES /a", "C"),
    row("a code goes", codes("A", "B", "C"), codes("A", "B"), "r", "CODES /a", r="C"),
    row("a code is renamed", codes("A", "B"), codes("A", "BB"), "wr", "CODES /a", "BB", "B"),
    row("codes in another order", codes("A", "B"), codes("B", "A"), "", ""),
    row("UNKNOWN among the codes is a code like another", codes("A", "UNKNOWN"), codes("A", "B", "UNKNOWN"), "w", "CODES /a", "B"),
    row("codes become open", codes("A", "B"), {**STRING, "pattern": CODE}, "w", "CODES /a", "C"),
    row("codes become an open form that refuses one", codes("A", "B b"), {**STRING, "pattern": CODE}, "wr", "CODES /a", "C", "B b"),
    row("an open code becomes a list", {**STRING, "pattern": CODE}, codes("A", "B"), "r", "CODES /a", r="C"),
    row("a list of numbers grows", {"enum": [1, 2]}, {"enum": [1, 2, 3]}, "w", "CODES /a", 3),
    row("a list of numbers becomes a span of the same", {"type": "integer", "enum": [1, 2, 3]},
        {"type": "integer", "minimum": 1, "maximum": 3}, "", "BOUNDS /a"),
    row("a constant becomes another", {"const": "1.0"}, {"const": "1.1"}, "wr", "CODES /a", "1.1", "1.0"),
    row("a constant becomes a list of one", {"const": "1.0"}, {"enum": ["1.0"]}, "", ""),
    row("a constant becomes one of two", {"const": "1.0"}, {"enum": ["1.0", "1.1"]}, "w", "CODES /a", "1.1"),
    row("true alone becomes any truth", {"const": True}, {"type": "boolean"}, "w", "CODES /a", False),
    row("the number 1 becomes true", {"const": 1}, {"const": True}, "wr", "TYPE /a", True, 1),
    # bounds
    row("the maximum rises", {**INTEGER, "maximum": 5}, {**INTEGER, "maximum": 6}, "w", "BOUNDS /a", 6),
    row("the maximum falls", {**INTEGER, "maximum": 6}, {**INTEGER, "maximum": 5}, "r", "BOUNDS /a", r=6),
    row("the minimum rises", {**INTEGER, "minimum": 0}, {**INTEGER, "minimum": 1}, "r", "BOUNDS /a", r=0),
    row("the minimum falls", {**INTEGER, "minimum": 1}, {**INTEGER, "minimum": 0}, "w", "BOUNDS /a", 0),
    row("both bounds move up", {**INTEGER, "minimum": 0, "maximum": 5}, {**INTEGER, "minimum": 1, "maximum": 6}, "wr", "BOUNDS /a", 6, 0),
    row("a maximum is set", INTEGER, {**INTEGER, "maximum": 5}, "r", "BOUNDS /a", r=6),
    row("a maximum goes", {**INTEGER, "maximum": 5}, INTEGER, "w", "BOUNDS /a", 6),
    row("more than 0 instead of at least 1, whole numbers", {**INTEGER, "minimum": 1}, {**INTEGER, "exclusiveMinimum": 0}, "", "BOUNDS /a"),
    row("more than 0 instead of at least 1, any numbers", {**NUMBER, "minimum": 1}, {**NUMBER, "exclusiveMinimum": 0}, "w", "BOUNDS /a", 0.5),
    row("less than 5 instead of at most 5", {**NUMBER, "maximum": 5}, {**NUMBER, "exclusiveMaximum": 5}, "r", "BOUNDS /a", r=5),
    row("steps of two become steps of four", {**INTEGER, "multipleOf": 2}, {**INTEGER, "multipleOf": 4}, "r", "BOUNDS /a", r=2),
    row("steps of four become steps of two", {**INTEGER, "multipleOf": 4}, {**INTEGER, "multipleOf": 2}, "w", "BOUNDS /a", 2),
    # texts
    row("a longer text is taken", {**STRING, "maxLength": 5}, {**STRING, "maxLength": 6}, "w", "LENGTH /a", "aaaaaa"),
    row("only a shorter text is taken", {**STRING, "maxLength": 6}, {**STRING, "maxLength": 5}, "r", "LENGTH /a", r="aaaaaa"),
    row("the empty text is no longer taken", STRING, {**STRING, "minLength": 1}, "r", "LENGTH /a", r=""),
    row("a length its pattern has already", {**STRING, "pattern": CODE}, {**STRING, "pattern": CODE, "maxLength": 64}, "", "LENGTH /a"),
    row("a length shorter than its pattern's", {**STRING, "pattern": CODE}, {**STRING, "pattern": CODE, "maxLength": 32}, "r", "LENGTH /a", r="A" * 33),
    row("a pattern is set", STRING, {**STRING, "pattern": CODE}, "r", "PATTERN /a", r=""),
    row("a pattern goes", {**STRING, "pattern": CODE}, STRING, "w", "PATTERN /a", ""),
    row("a pattern takes longer codes", {**STRING, "pattern": CODE}, {**STRING, "pattern": LONG}, "w", "PATTERN /a", "A" * 65),
    row("a pattern takes only shorter codes", {**STRING, "pattern": LONG}, {**STRING, "pattern": CODE}, "r", "PATTERN /a", r="A" * 65),
    row("a UUID becomes a code", {**STRING, "pattern": UUID}, {**STRING, "pattern": CODE}, "w", "PATTERN /a", "A"),
    row("a code becomes a UUID", {**STRING, "pattern": CODE}, {**STRING, "pattern": UUID}, "r", "PATTERN /a", r="A"),
    row("a pattern written otherwise", {**STRING, "pattern": "^[0-9]{2}$"}, {**STRING, "pattern": r"^\d\d$"}, "", "PATTERN /a"),
    row("a month may be 13", {**STRING, "pattern": MONTH}, {**STRING, "pattern": "^[0-9]{4}-[01][0-9]$"}, "w", "PATTERN /a", "2026-13"),
    row("a pattern loses its end", {**STRING, "pattern": "^A$"}, {**STRING, "pattern": "^A"}, "w", "PATTERN /a", "A0"),
    row("a pattern that looks ahead", {**STRING, "pattern": "^(?!x)[a-z]*$"}, {**STRING, "pattern": "^[a-z]*$"}, "wr", "PATTERN /a", "x", ...),
    row("a day becomes a moment", DAY, MOMENT, "wr", "FORMAT /a", "2026-03-02T16:00:00Z", "2026-03-02"),
    row("a day becomes any text", DAY, STRING, "w", "FORMAT /a", "x"),
    row("any text becomes a day", STRING, DAY, "r", "FORMAT /a", r="x"),
    # members
    row("an optional member is added", thing(b=STRING), thing(b=STRING, a=STRING), "", "ADDED /a"),
    row("a required member is added", thing(b=STRING), thing("a", b=STRING, a=STRING), "r", "REQUIRED /a", r={}),
    row("a member with a default is added", thing(b=STRING), thing(b=STRING, a={**STRING, "default": "x"}), "", "ADDED /a"),
    row("an optional member goes", thing(a=STRING, b=STRING), thing(b=STRING), "wr", "REMOVED /a", A, A),
    row("a required member goes", thing("a", a=STRING, b=STRING), thing(b=STRING), "wr", "REMOVED /a", {}, A),
    row("a member is renamed", thing(a=STRING), thing(b=STRING), "wr", "REMOVED /a", A, A),
    row("an optional member becomes required", thing(a=STRING), thing("a", a=STRING), "r", "REQUIRED /a", r={}),
    row("a required member becomes optional", thing("a", a=STRING), thing(a=STRING), "w", "OPTIONAL /a", {}),
    row("a required member becomes optional with a default", thing("a", a=STRING), thing(a={**STRING, "default": "x"}), "w", "OPTIONAL /a", {}),
    row("members in another order", thing("a b", a=STRING, b=STRING), thing("b a", b=STRING, a=STRING), "", ""),
    row("a member whose name has a slash goes", {"type": "object", "properties": {"a/b": STRING, "b": STRING}}, thing(b=STRING), "wr", "REMOVED /a~1b", {"a/b": ""}, {"a/b": ""}),
    # what a value means
    row("a default changes", thing(a={**STRING, "default": "x"}), thing(a={**STRING, "default": "y"}), "wr", "DEFAULT /a", {}, {}),
    row("a default is given to what was merely absent", thing(a=STRING), thing(a={**STRING, "default": "x"}), "wr", "DEFAULT /a", {}, {}),
    row("a default is taken away", thing(a={**STRING, "default": "x"}), thing(a=STRING), "wr", "DEFAULT /a", {}, {}),
    row("the default 1 becomes true", thing(a={"default": 1}), thing(a={"default": True}), "wr", "DEFAULT /a", {}, {}),
    row("a default of what is always there", thing("a", a={**STRING, "default": "x"}), thing("a", a={**STRING, "default": "y"}), "", ""),
    row("hours become teaching units", {**INTEGER, "x-unit": "hour"}, {**INTEGER, "x-unit": "teaching unit"}, "wr", "UNIT /a", 1, 1),
    row("the unit of one alternative changes", {"anyOf": [{**INTEGER, "x-unit": "hour"}, NULL]},
        {"anyOf": [{**INTEGER, "x-unit": "teaching unit"}, NULL]}, "wr", "UNIT /a", 1, 1),
    row("a unit is said", INTEGER, {**INTEGER, "x-unit": "hour"}, "", "UNIT /a"),
    row("a unit is no longer said", {**INTEGER, "x-unit": "hour"}, INTEGER, "wr", "UNIT /a", 1, 1),
    row("codes of another list", {**STRING, "x-code-list": "ags"}, {**STRING, "x-code-list": "language"}, "wr", "LIST /a", "", ""),
    row("what was internal is personal now", {**STRING, "x-privacy": "internal"}, {**STRING, "x-privacy": "personal"}, "w", "PRIVACY /a", ""),
    row("what was personal is internal now", {**STRING, "x-privacy": "personal"}, {**STRING, "x-privacy": "internal"}, "r", "PRIVACY /a", r=""),
    row("a sentence is told anew", {**STRING, "description": "x"}, {**STRING, "description": "y"}, "", "TOLD /a"),
    row("a sentence about a number is told anew", {**INTEGER, "description": "x"}, {**INTEGER, "description": "y"}, "", "TOLD /a"),
    # members nobody names
    row("unknown members are refused from now on", thing(a=STRING), {**thing(a=STRING), "additionalProperties": False}, "r", "CLOSED ", r={"zz_x": 1}),
    row("unknown members are ignored from now on", {**thing(a=STRING), "additionalProperties": False}, thing(a=STRING), "w", "CLOSED ", {"zz_x": 1}),
    row("a member is added where unknown ones are refused", {**thing(b=STRING), "additionalProperties": False},
        {**thing(b=STRING, a=STRING), "additionalProperties": False}, "w", "ADDED /a", A),
    row("a map of numbers takes text", thing(a={"type": "object", "additionalProperties": INTEGER}),
        thing(a={"type": "object", "additionalProperties": {"type": ["integer", "string"]}}), "w", "TYPE /a/*", {"a": {"k": "x"}}),
    row("a map is no longer read", thing(a={"type": "object", "additionalProperties": INTEGER}),
        thing(a={"type": "object"}), "wr", "REMOVED /a", {"a": {"k": 1}}, {"a": {"k": 1}}),
    row("what was ignored is held to a type", thing(a={"type": "object"}),
        thing(a={"type": "object", "additionalProperties": INTEGER}), "r", "ADDED /a/*", r={"a": {"zz_x": "x"}}),
    row("an entry of a map gets a name and another type", thing(a={"type": "object", "additionalProperties": INTEGER}),
        thing(a={"type": "object", "additionalProperties": INTEGER, "properties": {"k": STRING}}), "wr", "ADDED /a/k", {"a": {"k": "x"}}, {"a": {"k": 1}}),
    # lists
    row("a list may be empty", {"type": "array", "minItems": 1}, {"type": "array"}, "w", "ITEMS /a", []),
    row("a list may no longer be empty", {"type": "array"}, {"type": "array", "minItems": 1}, "r", "ITEMS /a", r=[]),
    row("a list may be longer", {"type": "array", "maxItems": 1}, {"type": "array", "maxItems": 2}, "w", "ITEMS /a", [1, 2]),
    row("a list may only be shorter", {"type": "array", "maxItems": 2}, {"type": "array", "maxItems": 1}, "r", "ITEMS /a", r=[1, 2]),
    row("each item once only", {"type": "array"}, {"type": "array", "uniqueItems": True}, "r", "ITEMS /a", r=[1, 1]),
    row("items of another type", {"type": "array", "items": STRING}, {"type": "array", "items": INTEGER}, "wr", "TYPE /a/0", [1], ["x"]),
    row("items were anything", {"type": "array"}, {"type": "array", "items": STRING}, "r", "TYPE /a/0", r=[1]),
    row("a code of an item is added", {"type": "array", "items": codes("A")}, {"type": "array", "items": codes("A", "B")}, "w", "CODES /a/0", ["B"]),
    row("a member of an item goes", {"type": "array", "items": thing(b=STRING, c=STRING)}, {"type": "array", "items": thing(c=STRING)},
        "wr", "REMOVED /a/0/b", [{"b": "x"}], [{"b": "x"}]),
    # nested, and defined elsewhere
    row("a member within becomes required", thing(a=thing(b=STRING)), thing(a=thing("b", b=STRING)), "r", "REQUIRED /a/b", r={"a": {}}),
    row("a member three deep changes its type", thing(a=thing(b=thing(c=STRING))), thing(a=thing(b=thing(c=INTEGER))),
        "wr", "TYPE /a/b/c", {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": "x"}}}),
    row("a definition moves to where it is used", thing("a", a=of("P"), defs={"P": codes("A", "B")}), thing("a", a=codes("A", "B")), "", ""),
    row("a definition gets another name", thing("a", a=of("P"), defs={"P": codes("A")}), thing("a", a=of("Q"), defs={"Q": codes("A")}), "", ""),
    row("a definition used twice changes once", thing(a=of("P"), b=of("P"), defs={"P": INTEGER}),
        thing(a=of("P"), b=of("P"), defs={"P": {**INTEGER, "maximum": 5}}), "r", "BOUNDS /b", r={"b": 6}),
    row("a definition nobody uses changes", thing(b=STRING, defs={"P": STRING}), thing(b=STRING, defs={"P": INTEGER}), "", ""),
    row("a definition that holds itself changes within", thing(a=of("T"), defs={"T": thing(next=of("T"), n=INTEGER)}),
        thing(a=of("T"), defs={"T": thing(next=of("T"), n={**INTEGER, "maximum": 5})}), "r", "BOUNDS /a/n", r={"a": {"next": {"n": 6}}}),
    row("what stands beside a reference changes", thing(a={**of("P"), "default": "A"}, defs={"P": codes("A", "B")}),
        thing(a={**of("P"), "default": "B"}, defs={"P": codes("A", "B")}), "wr", "DEFAULT /a", {}, {}),
    row("both of two instead of one after the other", {"allOf": [STRING, {"maxLength": 5}]}, {**STRING, "maxLength": 5}, "", ""),
    # unions
    row("a union grows", {"anyOf": [STRING, INTEGER]}, {"anyOf": [STRING, INTEGER, {"type": "boolean"}]}, "w", "TYPE /a", True),
    row("a union shrinks", {"anyOf": [STRING, INTEGER]}, {"anyOf": [STRING]}, "r", "TYPE /a", r=1),
    row("a union in another order", {"anyOf": [STRING, INTEGER]}, {"anyOf": [INTEGER, STRING]}, "", ""),
    row("one of a union is bounded", {"anyOf": [STRING, INTEGER]}, {"anyOf": [STRING, {**INTEGER, "maximum": 5}]}, "r", "BOUNDS /a", r=6),
    row("two lists of codes become one", {"anyOf": [codes("A"), codes("B")]}, codes("A", "B"), "w", "UNION /a", ...),
    row("a kind is added to a union of kinds", thing("a", a=one_of("Day", "Span"), defs=KINDS), thing("a", a=one_of("Day", "Span", "Never"), defs=KINDS),
        "w", "UNION /a", {"a": {"kind": "never"}}),
    row("a kind goes from a union of kinds", thing("a", a=one_of("Day", "Span", "Never"), defs=KINDS), thing("a", a=one_of("Day", "Span"), defs=KINDS),
        "r", "UNION /a", r={"a": {"kind": "never"}}),
    row("a kind of a union changes within", thing("a", a=one_of("Day", "Span"), defs=KINDS),
        thing("a", a=one_of("Day", "Span"), defs={**KINDS, "Span": thing("kind n", kind={"const": "span"}, n={**INTEGER, "maximum": 5})}),
        "r", "UNION /a", r={"a": {"kind": "span", "n": 6}}),
    row("a member changes in one of two kinds nothing tells apart", thing("a", a={"anyOf": [thing(b=STRING), thing(c=STRING)]}),
        thing("a", a={"anyOf": [thing(b=INTEGER), thing(c=STRING)]}), "wr", "UNJUDGED /a", {"a": {"b": "x"}}, {"a": {"b": "x"}}),
    row("codes with a unit beside codes without are added to", {"anyOf": [codes("A", **{"x-unit": "hour"}), codes("B")]},
        {"anyOf": [codes("A", "B", **{"x-unit": "hour"}), codes("B")]}, "wr", "UNJUDGED /a", ..., ...),
    row("one of a union changes beside kinds nothing tells apart", thing("a", a={"anyOf": [thing(b=STRING), thing(c=STRING), INTEGER]}),
        thing("a", a={"anyOf": [thing(b=STRING), thing(c=STRING), {**INTEGER, "maximum": 5}]}), "r", "BOUNDS /a", r={"a": 6}),
    row("a keyword said twice and differently", thing(a=STRING), thing(a={**of("P"), "type": "string"}, defs={"P": INTEGER}), "wr", "UNJUDGED /a", ..., A),
    row("exactly one of overlapping ones", INTEGER, {"oneOf": [{**INTEGER, "maximum": 5}, {**INTEGER, "minimum": 5}]}, "wr", "UNJUDGED /a", ..., 5),
    # what the gate does not judge it does not let pass
    row("a keyword our generator does not write", thing(a={"type": "object", "propertyNames": {"maxLength": 5}}),
        thing(a={"type": "object", "propertyNames": {"maxLength": 4}}), "wr", "UNJUDGED /a", ..., {"a": {"zz_xx": 1}}),
    row("a definition changes within a tuple", thing(a={"type": "array", "prefixItems": [of("P")]}, defs={"P": INTEGER}),
        thing(a={"type": "array", "prefixItems": [of("P")]}, defs={"P": {**INTEGER, "maximum": 5}}), "wr", "UNJUDGED /a", ..., {"a": [6]}),
    row("a member is added where unevaluated ones are refused", {**thing(b=STRING), "unevaluatedProperties": False},
        {**thing(b=STRING, a=STRING), "unevaluatedProperties": False}, "wr", "UNJUDGED ", A, ...),
    row("a bound beside codes", {"enum": [1, 2]}, {"enum": [1, 2], "maximum": 1}, "r", "BOUNDS /a", r=2),
    row("a length beside codes", codes("A", "BB"), codes("A", "BB", maxLength=1), "r", "LENGTH /a", r="BB"),
    row("a condition is added", thing(a=STRING), {**thing(a=STRING), "if": {"required": ["a"]}, "then": {"required": ["b"]}},
        "wr", "UNJUDGED ", ..., A),
]  # fmt: skip
"""`...` as a witness: there is none; the gate errs on the safe side, because what it would take to know is not worth it."""
