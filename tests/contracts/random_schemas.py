"""Schemas by chance, and what a hurried hand makes of them: for verdicts nobody thought of beforehand."""

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.contracts.changes import Schema

PATTERNS = ["^[A-Z]$", "^[a-z]*$", "^A", "^.{1,5}$", "^(A|B b)$"]
CODES = ["A", "C", "x", "1.0", "B b"]


def pair(seed: int) -> tuple[Schema, Schema]:
    """Two schemas that differ in one or two places; either may be the older."""
    chance = Random(seed)
    old = {**_object(chance, 2), "$defs": {"P": _any(chance, 0), "Q": _any(chance, 0)}}
    if chance.random() < 0.2:
        old["$defs"]["P"] = {"type": "object", "properties": {"p": {"$ref": "#/$defs/P"}, "q": _any(chance, 0)}}
    new = copy.deepcopy(old)
    for _ in range(chance.choice([1, 1, 1, 2])):
        _touch(chance, new)
    return (old, new) if chance.random() < 0.5 else (new, old)


def _any(chance: Random, deep: int) -> Schema:
    flat = [_text, _text, _codes, _number, _number, _few]
    found: Schema = chance.choice([*flat, _object, _object, _list, _union, _reference, _anything] if deep else flat)(
        chance, deep - 1
    )
    for name, values in (
        ("x-unit", ["hour", "unit"]),
        ("x-privacy", ["internal", "personal"]),
        ("default", ["A", 1, None]),
    ):
        if chance.random() < 0.1:
            found[name] = chance.choice(values)
    return found


def _some(chance: Random, odds: float, **keywords: list[Any]) -> Schema:
    return {name: chance.choice(values) for name, values in keywords.items() if chance.random() < odds}


def _text(chance: Random, _: int) -> Schema:
    return {
        "type": "string",
        **_some(
            chance, 0.25, pattern=PATTERNS, maxLength=[1, 5, 6, 64], minLength=[0, 1, 5], format=["date", "date-time"]
        ),
    }


def _codes(chance: Random, _: int) -> Schema:
    return {
        "enum": chance.sample(CODES, chance.randint(1, 3)),
        "type": "string",
        **_some(chance, 0.1, maxLength=[1, 2], pattern=PATTERNS),
    }


def _number(chance: Random, _: int) -> Schema:
    few = [0, 1, 2, 5]
    return {"type": chance.choice(["integer", "number"]), **_some(
        chance, 0.2, minimum=few, maximum=few, exclusiveMinimum=few, exclusiveMaximum=few, multipleOf=[1, 2, 4])}  # fmt: skip


def _few(chance: Random, _: int) -> Schema:
    types = {"type": chance.sample(["string", "integer", "null", "boolean"], 2)}
    return chance.choice(
        [
            types,
            {"type": "boolean"},
            {"enum": [0, 2], **_some(chance, 0.2, maximum=[0, 1])},
            {"const": chance.choice(["A", 1, True, None])},
        ]
    )


def _list(chance: Random, deep: int) -> Schema:
    return {
        "type": "array",
        "items": _any(chance, max(deep, 0)),
        **_some(chance, 0.25, minItems=[0, 1, 2], maxItems=[1, 2], uniqueItems=[True]),
    }


def _object(chance: Random, deep: int) -> Schema:
    names = chance.sample("abc", chance.randint(0, 3))
    found: Schema = {"type": "object", "properties": {name: _any(chance, max(deep, 0)) for name in names}}
    if names and chance.random() < 0.6:
        found["required"] = chance.sample(names, chance.randint(1, len(names)))
    return {**found, **_some(chance, 0.12, additionalProperties=[False, _any(chance, 0)])}


def _union(chance: Random, deep: int) -> Schema:
    return {"anyOf": [_any(chance, max(deep, 0)) for _ in range(chance.randint(1, 3))]}


def _reference(chance: Random, _: int) -> Schema:
    return {"$ref": f"#/$defs/{chance.choice('PQ')}"}


def _anything(_: Random, __: int) -> Schema:
    return {}


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Where a schema stands within another: what holds it, and under which name or number."""
    for name, value in node.items():
        inside = (
            list(value.items())
            if name in ("properties", "$defs")
            else list(enumerate(value))
            if name == "anyOf"
            else []
        )
        if name == "items":
            yield node, name
            yield from _places(value)
        for key, one in inside:
            yield value, key
            yield from _places(one)


def _touch(chance: Random, schema: Schema) -> None:
    places = list(_places(schema))
    holder, key = chance.choice(places)
    one = holder[key]
    match chance.randrange(4):
        case 0:
            holder[key] = _any(chance, 0 if key in ("P", "Q") else 1)  # a definition is never another's name
        case 1:
            holder[key] = {"anyOf": [one, _any(chance, 0)]}
        case 2 if one.get("properties"):
            name = chance.choice(sorted(one["properties"]))
            del one["properties"][name]
            one["required"] = [other for other in one.get("required", ()) if other != name]
            one["properties"] |= {chance.choice("abcd"): _any(chance, 1)} if chance.random() < 0.4 else {}
        case _:
            for name, value in list(one.items()):
                if name in (
                    "minimum",
                    "maximum",
                    "exclusiveMinimum",
                    "exclusiveMaximum",
                    "minLength",
                    "maxLength",
                    "minItems",
                    "maxItems",
                ):
                    one[name] = max(0, value + chance.choice([-1, 1]))
                elif name == "enum":
                    one[name] = chance.sample(CODES, chance.randint(1, 3)) if "type" in one else [0, 1]
                elif name == "required" and one.get("properties"):
                    one[name] = chance.sample(sorted(one["properties"]), chance.randint(0, len(one["properties"])))
                elif name in ("pattern", "format", "default", "multipleOf") or name.startswith("x-"):
                    del one[name]
