"""One schema against another: every change, and for each whether it breaks those who write or those who read.

Two roles. **Writer**: what may be written under the new schema is read under the old one. **Reader**: what was written
under the old one is read under the new one. A writer writes only what its schema names (and perhaps what nobody names); a
reader ignores what it does not know. To be read is to be accepted *and* to mean the same: a default, unit, code list or
privacy class that changes breaks as much as a type does, and so does a member nobody reads any more.

What cannot be decided is said to break (`UNJUDGED`): no verdict is ever "perhaps".
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

from deploy.published.patterns import Unjudged, length, stranger
from deploy.published.schemas import Schema


class Role(StrEnum):
    """Who is hit: see above."""

    WRITER = "writer"
    READER = "reader"


BOTH = (Role.WRITER, Role.READER)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `breaks` is empty where both roles hold."""

    at: str
    """A JSON Pointer into the body; 0 stands for every item of a list, * for every member of a map."""
    rule: str
    what: str
    """The difference in half a sentence: what was, what is."""
    breaks: tuple[Role, ...] = ()
    example: str = ""
    """A value, as JSON, that one side takes and the other does not; where the gate knows one."""


TOLD = ("title", "description", "examples", "$comment", "deprecated", "default", "discriminator")
"""Keywords that refuse nothing. `default` and what begins with x- are looked at for what they mean."""
PRIVACY = ("public", "internal", "personal", "special")
TYPES = ("null", "boolean", "number", "string", "array", "object")
JUDGED = {
    "null": (),
    "boolean": (),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties"),
}
ENTANGLED = ("patternProperties", "prefixItems", "unevaluatedProperties", "unevaluatedItems")
"""Keywords that change what others beside them mean: nothing is judged where they stand."""
_OF_A_TYPE = {name for names in JUDGED.values() for name in names}


def compare(old: Schema, new: Schema) -> list[Change]:
    """Every change between two schemas of JSON Schema 2020-12 as our generator writes it, from the top down."""
    if _as_json(old) == _as_json(new):  # most are as they were
        return []
    return list(_Comparison(old, new).changes(old, new, ""))


def member(schema: Schema, pointer: str) -> Schema | None:
    """What a schema says of the place a pointer names, without references; None where it names no such place."""
    node: Schema = _plain(schema, schema)
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        for one in _options(node, schema):
            inside = one.get("items") if step.isdigit() and "items" in one else one.get("properties", {}).get(name)
            if inside is not None:
                node = _plain(inside, schema)
                break
        else:
            return None
    return node


def places(schema: Schema, at: str = "", node: Any = None) -> Iterator[tuple[str, Schema]]:
    """Every member of a body with what is said of it, alternatives one by one; 0 stands for every item of a list. For schemas
    that do not hold themselves."""
    for one in _options(_plain(schema if node is None else node, schema), schema):
        if at:
            yield at, one
        for name, inside in one.get("properties", {}).items():
            yield from places(schema, f"{at}/{name.replace('~', '~0').replace('/', '~1')}", inside)
        if "items" in one:
            yield from places(schema, f"{at}/0", one["items"])


# --- a schema made plain ----------------------------------------------------------------------------------------------


def _plain(node: Any, root: Schema) -> Schema:
    """A node without `$ref` and `allOf`: what stands beside them is merged. Raises Unjudged where they disagree."""
    if node is True or node is False:
        return {} if node else {"enum": []}
    found, followed = dict(node), set[str]()
    while "$ref" in found or "allOf" in found:
        parts = found.pop("allOf", [])
        if "$ref" in found:
            ref = found.pop("$ref")
            if ref in followed:
                raise Unjudged(f"the definition {ref}, which is nothing but itself,")
            followed.add(ref)
            parts = [_target(ref, root), *parts]
        for part in parts:
            if part is False:
                raise Unjudged("false in a conjunction")
            found = _merged({} if part is True else part, found)
    return found


def _target(ref: str, root: Schema) -> Schema:
    if not ref.startswith("#/$defs/"):
        raise Unjudged(f"the reference {ref}")
    target: Schema = root["$defs"][ref.removeprefix("#/$defs/")]
    return target


def _merged(inner: Schema, outer: Schema) -> Schema:
    """Both hold. What only tells may be told anew by the outer one."""
    for name in inner.keys() & outer.keys():
        if inner[name] != outer[name] and name not in TOLD and not name.startswith("x-"):
            raise Unjudged(f"{name} said twice")
    return {**inner, **outer}


def _options(node: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a union, without unions among them; one where there is none."""
    name = "anyOf" if "anyOf" in node else "oneOf" if "oneOf" in node else None
    if name is None:
        return [node]
    if name == "oneOf" and "discriminator" not in node:
        raise Unjudged("oneOf without a discriminator")
    around = {key: value for key, value in node.items() if key not in (name, "discriminator")}
    found = []
    for option in node[name]:
        found += _options(_merged(_plain(option, root), around), root)
    return found


def _by_type(node: Schema, root: Schema) -> dict[str, list[Schema]]:
    """The alternatives of a node, by the one JSON type each is of. Integers are numbers."""
    found: dict[str, list[Schema]] = {}
    for option in _options(node, root):
        if "const" in option:
            if "enum" in option:
                raise Unjudged("const beside enum")
            option = {**{k: v for k, v in option.items() if k != "const"}, "enum": [option["const"]]}
        said = option.get("type", TYPES)
        said = [said] if isinstance(said, str) else list(said)
        for kind in TYPES:
            if kind not in said and not (kind == "number" and "integer" in said):
                continue
            one = {name: value for name, value in option.items()
                   if name != "type" and (name not in _OF_A_TYPE or name in JUDGED[kind])}  # fmt: skip
            if kind == "number" and "number" not in said:
                one["integer"] = True
            if "enum" in one:
                one["enum"] = [value for value in one["enum"] if _type_of(value) == kind]
                if not one["enum"]:
                    continue
            found.setdefault(kind, []).append(one)
    return found


def _type_of(value: Any) -> str:
    kinds = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _whole(node: Any, root: Schema) -> str:
    """A node with all it refers to, as text: equal text, equal schema."""
    seen: dict[str, Any] = {}
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += one
        elif isinstance(one, dict):
            ref = one.get("$ref")
            if isinstance(ref, str) and ref not in seen:
                seen[ref] = root.get("$defs", {}).get(ref.removeprefix("#/$defs/"))
                todo.append(seen[ref])
            todo += one.values()
    return _as_json([node, seen])


def _as_json(node: Any) -> str:
    """Equal text, equal values: to Python 1 is true."""
    return json.dumps(node, sort_keys=True)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


# --- the comparison ---------------------------------------------------------------------------------------------------


class _Comparison:
    """Two documents, each with definitions of its own."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self.old, self.new = old, new
        self.open: set[tuple[str, str]] = set()
        """Pairs being compared further up: a schema that holds itself is compared once."""

    def changes(self, old: Any, new: Any, at: str) -> Iterator[Change]:
        whole = _whole(old, self.old), _whole(new, self.new)
        if whole[0] == whole[1] or whole in self.open:
            return
        self.open.add(whole)
        try:
            yield from dict.fromkeys(self._changes(_plain(old, self.old), _plain(new, self.new), at))
        except Unjudged as what:
            yield Change(at, "UNJUDGED", f"{what} is more than this gate can judge", BOTH)
        finally:
            self.open.discard(whole)

    def _changes(self, old: Schema, new: Schema, at: str) -> Iterator[Change]:
        olds, news = _by_type(old, self.old), _by_type(new, self.new)
        gone, come = [kind for kind in olds if kind not in news], [kind for kind in news if kind not in olds]
        if gone or come:
            what = f"was {_types(olds)}, is {_types(news)}"
            breaks = tuple(role for role, hit in ((Role.WRITER, come), (Role.READER, gone)) if hit)
            rule = "NULL" if [*gone, *come] == ["null"] else "TYPE"
            yield Change(at, rule, what, breaks, _example(olds, gone) or _example(news, come))
        for kind in olds:
            if kind not in news:
                continue
            if len(olds[kind]) == len(news[kind]) == 1:
                yield from self._of_a_type(kind, olds[kind][0], news[kind][0], at)
            else:
                yield from self._unions(kind, olds[kind], news[kind], at)

    def _unions(self, kind: str, olds: list[Schema], news: list[Schema], at: str) -> Iterator[Change]:
        """Several alternatives of one type: each of one side must be read by some of the other."""
        if [_whole(one, self.old) for one in olds] == [_whole(one, self.new) for one in news]:
            return
        meant = {(one.get("x-unit"), one.get("x-code-list"), one.get("x-privacy")) for one in (*olds, *news)}
        told_apart = kind not in ("object", "array") or (_told_apart(olds, self.old) and _told_apart(news, self.new))
        if len(meant) > 1 or not told_apart:
            # which alternative a value is of says what it means, and it may be of several
            yield Change(at, "UNJUDGED", f"alternatives of type {kind} that nothing tells apart", BOTH)
            return
        left = [one for one in olds if not any(self._holds(kind, one, new, Role.READER) for new in news)]
        come = [one for one in news if not any(self._holds(kind, old, one, Role.WRITER) for old in olds)]
        breaks = tuple(role for role, hit in ((Role.WRITER, come), (Role.READER, left)) if hit)
        yield Change(at, "UNION", f"alternatives of type {kind}: {len(olds)} before, {len(news)} now", breaks)

    def _holds(self, kind: str, old: Schema, new: Schema, role: Role) -> bool:
        return not any(role in change.breaks for change in self._of_a_type(kind, old, new, ""))

    def _of_a_type(self, kind: str, old: Schema, new: Schema, at: str) -> Iterator[Change]:
        if _whole(old, self.old) == _whole(new, self.new):
            return
        yield from _meaning(old, new, at)
        for name in sorted(old.keys() | new.keys()):
            known = name in JUDGED[kind] or name in TOLD or name.startswith(("x-", "$")) or name in ("enum", "integer")
            same = name not in ENTANGLED and _whole(old.get(name), self.old) == _whole(new.get(name), self.new)
            if not known and not same:
                yield Change(at, "UNJUDGED", f"the keyword {name} is more than this gate can judge", BOTH)
        match kind:
            case "number":
                yield from _numbers(old, new, at)
            case "string":
                yield from _texts(old, new, at)
            case "array":
                yield from self._lists(old, new, at)
            case "object":
                yield from self._objects(old, new, at)
            case "boolean":
                yield from _values(old, new, at, [True, False])

    def _lists(self, old: Schema, new: Schema, at: str) -> Iterator[Change]:
        yield from _range("ITEMS", "items", old, new, at, "minItems", "maxItems")
        was, now = bool(old.get("uniqueItems")), bool(new.get("uniqueItems"))
        if was != now:
            yield Change(at, "ITEMS", "each item once only: " + ("not before, now" if now else "before, no longer"),
                         (Role.READER if now else Role.WRITER,))  # fmt: skip
        yield from self.changes(old.get("items", True), new.get("items", True), f"{at}/0")

    def _objects(self, old: Schema, new: Schema, at: str) -> Iterator[Change]:
        olds, news = _members(old), _members(new)
        must_old, must_new = set(old.get("required", ())), set(new.get("required", ()))
        for name, inside in olds.items():
            here = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in news:
                yield Change(here, "REMOVED", "gone: nobody reads what was written, nobody writes what was read", BOTH)
                continue
            if name in must_new and name not in must_old:
                yield Change(here, "REQUIRED", "was optional, is required", (Role.READER,))
            elif name in must_old and name not in must_new:
                yield Change(here, "OPTIONAL", "was required, is optional", (Role.WRITER,))
            elif name not in must_old:
                yield from self._default(inside, news[name], here)
            yield from self.changes(inside, news[name], here)
        for name, inside in news.items():
            if name not in olds:
                yield from self._added(
                    old, inside, f"{at}/{name.replace('~', '~0').replace('/', '~1')}", name in must_new
                )
        yield from self._others(old.get("additionalProperties"), new.get("additionalProperties"), at)

    def _default(self, old: Any, new: Any, at: str) -> Iterator[Change]:
        """An absent member means its default: to those who wrote it, and to those who read it."""
        try:
            was, now = _absent(old, self.old), _absent(new, self.new)
        except Unjudged:
            return  # which is said of the member itself
        if was != now:
            yield Change(at, "DEFAULT", f"absent meant {was}, means {now}", BOTH, "absent")

    def _added(self, old: Schema, inside: Any, at: str, must: bool) -> Iterator[Change]:
        others = old.get("additionalProperties")
        breaks = {Role.READER} if must else set()
        what = "added, required" if must else "added, optional"
        if others is False:
            breaks.add(Role.WRITER)
            what += "; who read before refuses members it does not know"
        elif others is not None:  # a map: the name may stand in old messages, with any value the map took
            for change in self.changes(others, inside, at):
                breaks.update(change.breaks)
            what += "; it was an entry of a map before"
        yield Change(at, "REQUIRED" if must else "ADDED", what, tuple(role for role in BOTH if role in breaks))

    def _others(self, old: Any, new: Any, at: str) -> Iterator[Change]:
        """Members no schema names: absent is to ignore them, false to refuse them, else a map that is read."""
        if old is new:
            return
        was, now = (
            {None: "ignored", False: "refused"}.get(one if one in (None, False) else True, "read") for one in (old, new)
        )
        what = f"members without a name of their own: {was} before, {now} now"
        if new is False:
            yield Change(at, "CLOSED", what, (Role.READER,))
        elif old is False:
            yield Change(at, "CLOSED", what, (Role.WRITER,))
        elif new is None:
            yield Change(at, "REMOVED", what, BOTH)
        elif old is None:
            takes_all = not list(self.changes(True, new, at))
            yield Change(f"{at}/*", "ADDED", what, () if takes_all else (Role.READER,))
        else:
            yield from self.changes(old, new, f"{at}/*")


def _told_apart(options: list[Schema], root: Schema) -> bool:
    """Whether any two alternatives have a required member with codes of its own, the kind of a thing, say."""
    kinds = []
    for one in options:
        said = {name: _plain(one.get("properties", {}).get(name, True), root) for name in one.get("required", ())}
        kinds.append({name: set(map(_shown, node.get("enum", [node["const"]] if "const" in node else ())))
                      for name, node in said.items() if "enum" in node or "const" in node})  # fmt: skip
    return all(any(a[name].isdisjoint(b[name]) for name in a.keys() & b.keys()) for a, b in combinations(kinds, 2))


def _members(node: Schema) -> dict[str, Any]:
    return {
        **node.get("properties", {}),
        **{name: True for name in node.get("required", ()) if name not in node.get("properties", {})},
    }


def _absent(node: Any, root: Schema) -> str:
    """What a member means where it is absent, as text. A default within an alternative is none: nobody reads it."""
    plain = _plain(node, root)
    return _shown(plain["default"]) if "default" in plain else "nothing"


def _types(found: dict[str, list[Schema]]) -> str:
    if not found:
        return "nothing"
    return " or ".join("integer" if kind == "number" and all("integer" in one for one in options) else kind
                       for kind, options in found.items())  # fmt: skip


def _example(found: dict[str, list[Schema]], kinds: list[str]) -> str:
    plain = {"null": "null", "boolean": "true", "array": "[]", "object": "{}"}
    for kind in kinds:
        one = found[kind][0]
        if "enum" in one:
            return _shown(one["enum"][0])
        if kind == "number":
            return _shown(next((value for value in _candidates(one, one) if _takes_number(one, value)), 0))
        if kind == "string":
            text = stranger(_languages(one), "^[^\\x00-\\U0010ffff]$")
            return _shown(text or "")
        return plain[kind]
    return ""


def _meaning(old: Schema, new: Schema, at: str) -> Iterator[Change]:
    """What refuses nothing and yet changes what a value says."""
    for name, rule in (("x-unit", "UNIT"), ("x-code-list", "LIST")):
        was, now = old.get(name), new.get(name)
        if was != now:
            yield Change(at, rule, f"{name} was {was or 'not said'}, is {now or 'not said'}", BOTH if was else ())
    was, now = old.get("x-privacy", PRIVACY[0]), new.get("x-privacy", PRIVACY[0])
    if was != now and {was, now} <= set(PRIVACY):
        # who treats it by the old class protects the new too little; or what was trusted to the old is treated by the new
        role = Role.WRITER if PRIVACY.index(now) > PRIVACY.index(was) else Role.READER
        yield Change(at, "PRIVACY", f"was {was}, is {now}", (role,))
    if old.get("description") != new.get("description"):
        yield Change(at, "TOLD", f"said “{_one_line(old)}”, says “{_one_line(new)}”")


def _one_line(node: Schema) -> str:
    return " ".join(str(node.get("description", "")).split())


# --- numbers, texts, values -------------------------------------------------------------------------------------------


def _values(old: Schema, new: Schema, at: str, all_values: list[Any]) -> Iterator[Change]:
    was, now = old.get("enum", all_values), new.get("enum", all_values)
    if (change := _codes(was, now, at)) is not None:
        yield change


def _codes_alone(old: Schema, new: Schema, others: tuple[str, ...]) -> bool:
    """Whether both are lists of codes, and nothing beside the lists differs."""
    return "enum" in old and "enum" in new and all(old.get(name) == new.get(name) for name in others)


def _codes(was: list[Any], now: list[Any], at: str) -> Change | None:
    come = [value for value in now if _shown(value) not in map(_shown, was)]
    gone = [value for value in was if _shown(value) not in map(_shown, now)]
    if not come and not gone:
        return None
    what = "; ".join(
        f"{name} {', '.join(map(_plainly, values))}"
        for name, values in (("codes added:", come), ("codes gone:", gone))
        if values
    )
    breaks = tuple(role for role, hit in ((Role.WRITER, come), (Role.READER, gone)) if hit)
    return Change(at, "CODES", what, breaks, _shown((gone or come)[0]))


def _plainly(value: Any) -> str:
    return value if isinstance(value, str) else _shown(value)


def _numbers(old: Schema, new: Schema, at: str) -> Iterator[Change]:
    if all(old.get(name) == new.get(name) for name in ("integer", "enum", *JUDGED["number"])):
        return
    if _codes_alone(old, new, JUDGED["number"]):
        yield from _values(old, new, at, [])
        return
    breaks, example = [], ""
    for role, written, read in ((Role.WRITER, new, old), (Role.READER, old, new)):
        if not _numbers_within(written, read):
            breaks.append(role)
            example = next((_shown(value) for value in _candidates(written, read)
                            if _takes_number(written, value) and not _takes_number(read, value)), example)  # fmt: skip
    yield Change(at, "BOUNDS" if old.get("integer") == new.get("integer") else "TYPE",
                 f"was {_number(old)}, is {_number(new)}", tuple(breaks), example)  # fmt: skip


def _numbers_within(written: Schema, read: Schema) -> bool:
    if "enum" in written:
        return all(_takes_number(read, value) for value in written["enum"])
    (low, high), (least, most) = _bounds(written), _bounds(read)
    if "enum" in read:
        few = "integer" in written and low[0] > -math.inf and high[0] < math.inf and high[0] - low[0] < 1000
        return few and all(_takes_number(read, value) for value in range(int(low[0]), int(high[0]) + 1)
                           if _takes_number(written, value))  # fmt: skip
    step, wanted = written.get("multipleOf", 1 if "integer" in written else None), read.get("multipleOf")
    if "integer" in read and "integer" not in written and not (step and step % 1 == 0):
        return False
    if wanted and not (step and step % wanted == 0):
        return False
    return low >= least and high <= most


def _bounds(node: Schema) -> tuple[tuple[float, int], tuple[float, int]]:
    """Lower and upper bound, each with whether it is exclusive; of whole numbers always inclusive."""
    low = max((node.get("minimum", -math.inf), 0), (node.get("exclusiveMinimum", -math.inf), 1))
    high = min((node.get("maximum", math.inf), 0), (node.get("exclusiveMaximum", math.inf), -1))
    if "integer" in node:
        if abs(low[0]) < math.inf:
            low = (math.floor(low[0]) + 1, 0) if low[1] else (math.ceil(low[0]), 0)
        if abs(high[0]) < math.inf:
            high = (math.ceil(high[0]) - 1, 0) if high[1] else (math.floor(high[0]), 0)
    return low, high


def _candidates(*nodes: Schema) -> Iterator[float]:
    """Numbers at and beside every border."""
    for node in nodes:
        yield from node.get("enum", ())
        for name in JUDGED["number"]:
            if name in node:
                yield from (node[name], node[name] - 1, node[name] + 1, node[name] + 0.5, node[name] * 2)
    yield from (0, 1, -1, 0.5)


def _takes_number(node: Schema, value: float) -> bool:
    low, high = _bounds({name: value for name, value in node.items() if name != "integer"})
    step = node.get("multipleOf")
    return (
        ("enum" not in node or value in node["enum"])
        and ("integer" not in node or value == int(value))
        and (value, 0) >= low
        and (value, 0) <= high
        and not (step and value % step)
    )


def _number(node: Schema) -> str:
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    said = [f"{name} {node[name]}" for name in JUDGED["number"] if name in node]
    return " ".join(["integer" if "integer" in node else "number", *said])


def _languages(node: Schema) -> tuple[str, ...]:
    """The patterns a text must match, its lengths and codes among them."""
    found = [node["pattern"]] if "pattern" in node else []
    if "minLength" in node or "maxLength" in node:
        found.append(length(node.get("minLength", 0), node.get("maxLength")))
    if "enum" in node:
        found.append(f"^({'|'.join(map(re.escape, node['enum']))})$")
    return tuple(found)


def _texts(old: Schema, new: Schema, at: str) -> Iterator[Change]:
    was, now = old.get("format"), new.get("format")
    if was != now:
        # a format is held to by who reads: a text without one may be anything
        breaks = tuple(role for role, hit in ((Role.WRITER, was), (Role.READER, now)) if hit)
        yield Change(at, "FORMAT", f"was {was or 'any text'}, is {now or 'any text'}", breaks)
    if _codes_alone(old, new, ("pattern", "minLength", "maxLength")):
        yield from _values(old, new, at, [])
        return
    if _languages(old) == _languages(new):
        return
    breaks_, example = [], ""
    for role, written, read in ((Role.WRITER, new, old), (Role.READER, old, new)):
        try:
            found = _text_outside(written, read)
        except Unjudged:
            breaks_.append(role)
            continue
        if found is not None:
            breaks_.append(role)
            example = _shown(found)
    rule = next(rule for rule, names in (("CODES", ("enum",)), ("PATTERN", ("pattern",)), ("LENGTH", ("minLength", "maxLength")))
                if any(old.get(name) != new.get(name) for name in names))  # fmt: skip
    yield Change(at, rule, f"was {_text(old)}, is {_text(new)}", tuple(breaks_), example)


def _text_outside(written: Schema, read: Schema) -> str | None:
    for one in _languages(read):
        if one not in _languages(written) and (found := stranger(_languages(written), one)) is not None:
            return found
    return None


def _text(node: Schema) -> str:
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    said = [f"{name} {node[name]}" for name in ("pattern", "minLength", "maxLength") if name in node]
    return " ".join(["text", *said])


def _range(rule: str, of: str, old: Schema, new: Schema, at: str, least: str, most: str) -> Iterator[Change]:
    was, now = ((node.get(least, 0), node.get(most, math.inf)) for node in (old, new))
    if was == now:
        return
    breaks = tuple(role for role, (low, high), (lowest, highest) in ((Role.WRITER, now, was), (Role.READER, was, now))
                   if low < lowest or high > highest)  # fmt: skip
    said = [f"{low} to {'any number of' if high == math.inf else high} {of}" for low, high in (was, now)]
    yield Change(at, rule, f"was {said[0]}, is {said[1]}", breaks)
