"""What is published at one moment, and the releases: `contracts/released/1.json`, 2, 3, each with what it added or changed.

A release says what stands from then on; nothing in it is ever taken back, so all of them, one over the other, are what
holds. Schemas, topics, code lists and sentences stand whole; of a sample (`contracts/examples`, where it stays for ever) its SHA-256.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from contracts import lists
from contracts.envelope import RUNTIME_REASONS, UNREADABLE_REASONS, Submission
from contracts.families import FAMILIES, PUBLISHED
from deploy.errors import FINDINGS, Trouble
from deploy.places import ROOT
from deploy.published.asyncapi import KEYS, MESSAGE_KEY, SAID, UNKNOWN, document, reasons_of, topics, types_on
from deploy.published.pages import CHANGES, CONVENTIONS, LISTS, ORDER, TRAVELS
from deploy.published.schemas import Schema, attributes_schema, carried, schema_of

RELEASED, EXAMPLES = Path("contracts/released"), Path("contracts/examples")
ATTRIBUTES = "attributes.v1"
"""The name under which the schema of the CloudEvents attributes stands among those of the types."""
UNSAID = {
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "compression.type": "producer",
}
"""What Kafka takes where a topic says nothing."""


@dataclass(frozen=True, slots=True)
class State:
    """All that is published."""

    types: dict[str, Schema]
    """Wire type to the schema of its body."""
    topics: dict[str, dict[str, Any]]
    """Topic to what others rely on: kind, writer, readers, types, key, partitions, audience, and settings; of answers each
    reason with whether sending again helps."""
    samples: dict[str, str]
    """Path of a sample below the root to the SHA-256 of the file."""
    lists: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Code list to the prefixes under which it is complete ("" for all), and its codes with the days from
    and until which they hold."""
    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Code list to what else stands in a code's row: successor, group, a key of others. Its words are sentences."""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Wire type to what its schema does not say: whose id the subject is, the attributes it always carries and may carry, and
    the ids (fields, or `subject`) it rests on and makes known."""
    sentences: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the pages say beside all this: what is spoken of, to its sentences by name; of a code list by code."""

    def topic_of(self, ce_type: str) -> dict[str, Any]:
        """The topic a type stands on; one that says "everybody" for the attributes, which stand on all."""
        everybody = {"kind": "attributes", "writer": "every writer", "readers": ["every reader"]}
        return next((topic for topic in self.topics.values() if ce_type in topic["types"]), everybody)


@dataclass(frozen=True, slots=True)
class Release:
    """One release, with all that stands as of it."""

    number: int
    on: date
    note: str
    state: State


NOTHING = State({}, {}, {})


def current(root: Path = ROOT) -> State:
    """What would be published now: schemas and topics from the contracts, samples as they lie below the root."""
    types = {ATTRIBUTES: attributes_schema(), **{ce_type: schema_of(ce_type) for ce_type in PUBLISHED}}
    messages = {ce_type: _message(ce_type) for ce_type in PUBLISHED}
    named = {topic.name: _of(topic) for topic in topics()}
    return State(types, named, samples_below(root), _lists(), _rows(), messages, _sentences())


def _lists() -> dict[str, dict[str, Any]]:
    def day(value: date | None) -> str | None:
        return None if value is None else value.isoformat()

    found: dict[str, dict[str, Any]] = {}
    for of in lists.every():
        complete: Any = of.complete
        codes = {one.code: [day(one.valid_from_on), day(one.last_valid_on)] for one in of.entries}
        found[of.name] = {"complete": [""] if complete is True else list(complete or ()), "codes": codes}
    return found


def _rows() -> dict[str, dict[str, dict[str, Any]]]:
    found = {of.name: {one.code: lists.columns(one) for one in of.entries} for of in lists.every()}
    return {name: {code: row for code, row in rows.items() if row} for name, rows in found.items()}


def _message(ce_type: str) -> dict[str, Any]:
    cls: Any = PUBLISHED[ce_type]
    always, sometimes = carried(ce_type)
    return {"subject": getattr(cls, "subject_kind", ""), "always": list(always), "may": list(sometimes),
            "rests_on": list(cls.rests_on()) if issubclass(cls, Submission) else [],
            "makes_known": list(getattr(cls, "gives", ()))}  # fmt: skip


def _sentences() -> dict[str, dict[str, str]]:
    names = {f"names {number}": said for number, said in enumerate(CONVENTIONS.split("\n- ")[1:], 1)}
    found = {"all messages": {"travel": TRAVELS, **names}, "code lists": {"": LISTS}}
    found |= {
        f"topics of the kind {kind}": {"": SAID[kind], "order": ORDER[kind], "may change": CHANGES[kind]}
        for kind in KEYS
    }
    found["reasons"] = {**RUNTIME_REASONS, **UNREADABLE_REASONS, "UNKNOWN_<THING>": UNKNOWN}
    found |= {f"reasons of {family}": module.REASONS for family, module in FAMILIES.items() if module.REASONS}
    found |= {
        f"code list {of.name}": {"": of.title, **{one.code: one.name for one in of.entries}} for of in lists.every()
    }
    whole = document()
    parts = {"servers": whole["servers"], "dead_letter": whole["components"]["messages"]["dead_letter"],
             **{name: whole["components"][name] for name in ("securitySchemes", "correlationIds")}}  # fmt: skip
    found["asyncapi.yaml"] = {
        "key": MESSAGE_KEY,
        **{name: json.dumps(part, sort_keys=True) for name, part in parts.items()},
    }
    return found


def samples_below(root: Path) -> dict[str, str]:
    """Every sample that lies below the root, with its digest."""
    files = sorted((root / EXAMPLES).rglob("*.json"))
    return {file.relative_to(root).as_posix(): digest(file.read_bytes()) for file in files}


def _of(topic: Any) -> dict[str, Any]:
    told = {"kind": topic.kind, "writer": topic.writer, "readers": list(topic.readers), "types": types_on(topic),
            "key": KEYS[topic.kind], "partitions": topic.partitions, "audience": topic.audience}  # fmt: skip
    if topic.kind == "answer":
        told["reasons"] = reasons_of(topic.name.split(".")[0])
    settings = UNSAID | topic.config
    return told | {name: settings[name] for name in (*UNSAID, "retention.ms")}


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def releases(root: Path = ROOT) -> list[Release]:
    """Every release, the first one first. Raises Trouble for a file that cannot be read, or a number that is missing."""
    found: list[Release] = []
    files = sorted((root / RELEASED).glob("*.json"), key=lambda file: (len(file.stem), file.stem))
    for number, file in enumerate(files, 1):
        before = found[-1].state if found else NOTHING
        try:
            said = json.loads(file.read_text("utf-8"))
            if (file.stem, said["release"]) != (str(number), number):
                raise ValueError
            state = State(*({**getattr(before, name), **said[name]} for name in State.__slots__))
            found.append(Release(number, date.fromisoformat(said["on"]), said["note"], state))
        except (OSError, ValueError, KeyError, TypeError):
            raise Trouble(f"{RELEASED}/{file.name} is not release {number}, or was edited", "a release stays as it was cut: "
                          f"take it from the history (git checkout -- {RELEASED})", FINDINGS) from None  # fmt: skip
    return found


def version_of(root: Path = ROOT) -> str:
    """What the wheel and the AsyncAPI document are called: 1.N.0 where all stands as release N says, else the .dev of the next, so
    that pip takes the newer one."""
    cut = releases(root)
    if not cut:
        return "1.1.0.dev0"
    last = cut[-1]
    beyond = added(
        last.state, replace(current(root), samples=last.state.samples)
    )  # samples are generated, too: theirs is no change
    return f"1.{last.number}.0" if beyond == NOTHING else f"1.{last.number + 1}.0.dev0"


def added(before: State, now: State) -> State:
    """What is new in a state or says something else than before."""
    return State(*({name: value for name, value in getattr(now, part).items() if getattr(before, part).get(name) != value}
                   for part in State.__slots__))  # fmt: skip


def write(root: Path, number: int, on: date, note: str, fresh: State) -> Path:
    """Writes a release; gives back its path below the root. A schema or topic a line, so that history shows what came."""
    parts = []
    for part in State.__slots__:
        lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
                 for name, value in getattr(fresh, part).items())  # fmt: skip
        body = ",\n".join(lines)
        parts.append(f' "{part}": {{\n{body}\n }}' if body else f' "{part}": {{}}')
    head = f' "release": {number},\n "on": "{on.isoformat()}",\n "note": {json.dumps(note, ensure_ascii=False)},\n'
    path = RELEASED / f"{number}.json"
    (root / RELEASED).mkdir(parents=True, exist_ok=True)
    (root / path).write_text("{\n" + head + ",\n".join(parts) + "\n}\n", "utf-8")
    return path
