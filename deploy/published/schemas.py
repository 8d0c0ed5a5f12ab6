"""JSON Schema 2020-12 of every published type, with descriptions, units, privacy classes and code lists."""

import ast
import inspect
import sys
import types
import typing
from copy import deepcopy
from functools import cache
from typing import Any

from pydantic import BaseModel

from contracts import lists
from contracts.attributes import (
    CAUSE_PATTERN,
    KEY_PATTERN,
    MESSAGE_ID_PATTERN,
    MOST_VERSIONS,
    SOURCE_PATTERN,
    TENANT_PATTERN,
    TRACE_PATTERN,
    TYPE_PATTERN,
)
from contracts.codes import Coded
from contracts.envelope import Listed, Model, Privacy, Submission, Tick, Unit
from contracts.families import ANSWERS, FACTS, PUBLISHED, SUBMISSIONS

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def family_of(ce_type: str) -> str:
    """The family a wire type belongs to: its second part."""
    return ce_type.split(".")[1]


def schema_of(ce_type: str) -> Schema:
    """The schema of a type's body: what a publisher may write, or what a subscriber will find."""
    return deepcopy(_schema_of(ce_type))


@cache
def _schema_of(ce_type: str) -> Schema:
    cls = PUBLISHED[ce_type]
    found = _walk(cls.model_json_schema(mode="validation"), written_by_us=not issubclass(cls, Submission))
    definitions = found.pop("$defs", {})
    _tell(cls, found)
    for inner in _models_in(cls):
        _tell(inner, definitions[inner.__name__])
    head: Schema = {"$schema": DIALECT, "$id": f"urn:lotse:schema:{ce_type}", "title": cls.__name__}
    body = {name: found.pop(name) for name in ("description", "type", "properties", "required") if name in found}
    return {**head, **body, **found, **({"$defs": definitions} if definitions else {})}


def resolved(node: Schema, root: Schema) -> Schema:
    """What a schema says of a value that is not null, without references; what stands beside one says it anew."""
    for option in node.get("anyOf", ()):
        if option != {"type": "null"}:
            return resolved({**option, **{name: said for name, said in node.items() if name != "anyOf"}}, root)
    if "$ref" in node:
        target = root["$defs"][node["$ref"].rpartition("/")[2]]
        return resolved({**target, **{name: said for name, said in node.items() if name != "$ref"}}, root)
    return node


def carried(ce_type: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which attributes a message of a type always carries, and which it may carry beside them."""
    always: tuple[str, ...] = ("specversion", "id", "source", "type", "time")
    if ce_type == Tick.ce_type:
        return always, ()  # time belongs to all alliances
    always = (*always, "subject", "tenant")
    if ce_type in SUBMISSIONS:
        return always, ("traceparent",)
    if ce_type in ANSWERS:
        return (*always, "cause", "recordedtime"), ("traceparent",)
    if ce_type in FACTS:
        return (*always, "streamversion", "cause", "recordedtime"), ("traceparent",)
    return (*always, "recordedtime"), ()


def attributes_schema() -> Schema:
    """The CloudEvents attributes as members of a structured message; in binary mode each is a header `ce_<name>`."""

    def text(description: str, pattern: str, **more: Any) -> Schema:
        return {"description": description, "type": "string", "pattern": pattern, **more}

    at = {"type": "string", "format": "date-time"}
    found: Schema = {
        "$schema": DIALECT,
        "$id": "urn:lotse:schema:attributes.v1",
        "title": "Attributes",
        "description": "CloudEvents 1.0 attributes of every message but a tick, which has neither subject nor tenant: time "
        "belongs to all alliances. Names are lower case; what is unknown is ignored.",
        "type": "object",
        "properties": {
            "specversion": {"description": "Always 1.0.", "type": "string", "const": "1.0"},
            "id": text("At most 64 of `A-Za-z0-9._:-`. Of a submission its publisher's own, given once; the same again with the same content is silent, with other content refused. "
                       "Never made of somebody's name or number: the fact's `cause`, which stays, is its digest, and numbers can be tried out. "
                       "Of all else given once by its source; what comes again under it is a copy.", MESSAGE_ID_PATTERN),
            "source": text("A URI reference: of a submission the one publishers.toml gives to its publisher, of a fact, answer or report "
                           "//lotse/<installation>/<service>, of a tick //lotse/clock.", SOURCE_PATTERN, format="uri-reference"),
            "type": text("lotse.<family>.<type>.v<n>", TYPE_PATTERN),
            "subject": text("What it is about: a case or run (a UUID in lower case), an office (tenant:organisation), a report's key. Of a "
                            "submission a UUID always. Of an answer the submission's, of one to what can't be read the word `unreadable`.", KEY_PATTERN),
            "time": {"description": "When it happened or was said, RFC 3339 with any offset: of a fact its submission's; of a fact a rule "
                                    "recorded, and of an answer, when it was recorded; of a report and a tick the moment it speaks of.", **at},
            "tenant": text("The alliance's code; of an answer the submission's, of one to what can't be read the word `unreadable`.", TENANT_PATTERN),
            "streamversion": {
                "description": "Facts only: 1, 2, 3 within family and subject.",
                "type": "integer", "minimum": 1, "maximum": MOST_VERSIONS,
            },
            "cause": text("What led to it. Of a fact or answer to a submission its reference. Of a fact a rule recorded the id of the fact "
                          "that was folded last into its subject, or the id of the tick where time alone brought it; of the result "
                          "of a notification the id of the attempt. Reports and ticks have none.", CAUSE_PATTERN),
            "recordedtime": {"description": "Facts, answers and reports only: when their owner recorded them. Of a fact never earlier than of the one before about its subject.", **at},
            "traceparent": text("W3C trace context, handed on from a submission to its fact and answer.", TRACE_PATTERN),
        },
        "required": ["specversion", "id", "source", "type", "subject", "time", "tenant"],
    }  # fmt: skip
    # ids, pseudonyms and moments are for who works with the case; who reads a topic at all is told by its audience
    for name, field in found["properties"].items():
        field["x-privacy"] = (Privacy.PUBLIC if name in ("specversion", "type") else Privacy.INTERNAL).value
    return found


def _walk(node: Any, *, written_by_us: bool) -> Any:
    """Without pydantic's titles; what we write never carries null, since absent optionals are left out."""
    if isinstance(node, list):
        return [_walk(item, written_by_us=written_by_us) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name: _walk(value, written_by_us=written_by_us) for name, value in node.items()
             if not (name == "title" and isinstance(value, str))}  # fmt: skip
    if {"type": "null"} in found.get("anyOf", ()):
        if found.get("default") is None:
            found.pop("default", None)
        if written_by_us:
            (one,) = (option for option in found.pop("anyOf") if option != {"type": "null"})
            found = {**found, **one, **found}  # in its order
        elif all("type" in option and "enum" not in option for option in found["anyOf"]):
            # a list of types says it shorter; beside codes it would not let null in
            one = found.pop("anyOf")[0]
            found = {**one, **found, "type": [one["type"], "null"]}
    return found


def _tell(cls: type[BaseModel], schema: Schema) -> None:
    """Adds what only the source knows: a field's sentence, unit, privacy class and code list."""
    hints = typing.get_type_hints(cls, include_extras=True)
    told = _docstrings(cls)
    for name, field in schema["properties"].items():
        if name in told:
            field["description"] = told[name]
        marks = list(_marks(hints[name]))
        classes = [mark for mark in marks if isinstance(mark, Privacy)]
        field["x-privacy"] = (classes[0] if classes else Privacy.INTERNAL).value
        for mark in marks:
            if isinstance(mark, Unit):
                field["x-unit"] = mark.name
            if isinstance(mark, Listed):
                field["x-code-list"] = mark.name
        for enumeration in _enumerations_in(hints[name]):
            field["x-code-list"] = lists.list_of(enumeration)


def _marks(annotation: Any) -> typing.Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for part in getattr(annotation, "__args__", ()) if not isinstance(annotation, type) else ():
        yield from _marks(part)


def _enumerations_in(annotation: Any) -> typing.Iterator[type[Coded]]:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, Coded)
    ):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _enumerations_in(part)


def _models_in(cls: type[BaseModel]) -> list[type[Model]]:
    """Models a model is made of, each once."""
    found: dict[str, type[Model]] = {}

    def look(annotation: Any) -> None:
        if (
            isinstance(annotation, type)
            and not isinstance(annotation, types.GenericAlias)
            and issubclass(annotation, Model)
        ):
            if annotation.__name__ not in found:
                found[annotation.__name__] = annotation
                for hint in typing.get_type_hints(annotation).values():
                    look(hint)
            return
        for part in typing.get_args(annotation):
            look(part)

    for field in cls.model_fields.values():
        look(field.annotation)
    return list(found.values())


def _docstrings(cls: type) -> dict[str, str]:
    """The sentence under each field, those of the classes it comes from included."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one.__module__.startswith("contracts."):
            found |= _module_docstrings(one.__module__).get(one.__name__, {})
    return found


@cache
def _module_docstrings(module: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                    and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                ):  # fmt: skip
                    found.setdefault(node.name, {})[field.target.id] = " ".join(str(after.value.value).split())
    return found
