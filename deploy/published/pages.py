"""Pages a person reads before writing software against a topic: one a topic, and one that says where to start."""

import json
from typing import Any

from contracts import lists
from contracts.attributes import KEY_PATTERN
from contracts.envelope import CODE_PATTERN, RUNTIME_REASONS, UUID_PATTERN
from contracts.families import FAMILIES, SUBMISSIONS
from contracts.topics import Topic
from deploy.published.asyncapi import ANYONE, KEYS, SAID, topics, types_on
from deploy.published.samples import samples_of
from deploy.published.schemas import Schema, schema_of

ORDER = {
    "fact": "Within (family, subject) by `ce_streamversion`: apply the next, drop the old, keep the early, alarm on the missing.",
    "submission": "None between topics. What rests on something unknown waits for it, at most seven days.",
    "answer": "None. Match by `submission_id`; the same answer may come twice under the same `ce_id`.",
    "dead-letter": "None.",
    "report": "The highest vintage of a month stands.",
    "time": "One partition; what is not later is ignored.",
}
CHANGES = {
    "fact": "Optional fields may be added, codes may be added to lists (read an unknown one as `OTHER`), types may be added. "
    "Nothing is renamed, removed or narrowed: that would be a new type `.v2` beside this one.",
    "submission": "Optional fields and codes may be added; what was accepted stays accepted.",
    "answer": "Optional fields and reasons may be added. There is no fifth outcome.",
    "dead-letter": "Headers may be added.",
    "report": "Optional fields may be added.",
    "time": "Nothing.",
}

PLAIN = {UUID_PATTERN: "UUID", CODE_PATTERN: "code", KEY_PATTERN: "key"}


def pages() -> dict[str, str]:
    """File name to text."""
    found = {f"{file_of(topic)}": _page(topic) for topic in topics()}
    return {"README.md": _start(), **found}


def file_of(topic: Topic) -> str:
    """A topic's page."""
    return f"{topic.name.replace(ANYONE, 'PUBLISHER')}.md"


def _start() -> str:
    rows = "\n".join(
        f"| [`{topic.name.replace(ANYONE, 'PUBLISHER')}`]({file_of(topic)}) | {topic.kind} | {topic.writer.strip('{}')} | "
        f"{', '.join(topic.readers).replace('{publisher}', 'publisher')} | {_kept(topic)} |"
        for topic in topics()
    )
    shown = "\n".join(f"| `{one.name}` | {one.title} | {len(one.entries)} | {one.version} |" for one in lists.every())
    return f"""# Contracts

What crosses a border, for software that never reads ours. Everything here is generated from `contracts/` by
`lotse contracts generate`. A *code* is at most 64 of `[A-Za-z0-9._:-]`, a *key* at most 128 in lower case. The machine-readable forms are `contracts/schemas/` (JSON Schema 2020-12),
`contracts/examples/` (samples that stay readable for ever) and `contracts/asyncapi.yaml` (AsyncAPI 3.0).

A message is a CloudEvent 1.0, in Kafka binary mode (`ce_` headers, the body is the data) or in structured mode
(`content-type: application/cloudevents+json`, one JSON document). `lotse validate FILE` says what is wrong with one.

| topic | kind | writes | reads | kept |
|---|---|---|---|---|
{rows}

## Code lists

| list | what | codes | version |
|---|---|---|---|
{shown}
"""


def _kept(topic: Topic) -> str:
    kept = int(topic.config.get("retention.ms", "-1"))
    return "for good" if kept < 0 else f"{kept // 86_400_000} days"


def _page(topic: Topic) -> str:
    config = "\n".join(f"| `{name}` | `{value}` |" for name, value in topic.config.items())
    parts = [
        f"""# `{topic.name.replace(ANYONE, "PUBLISHER")}`

{SAID[topic.kind]}

| | |
|---|---|
| writes | {topic.writer.strip("{}")} alone (right: Write) |
| reads | {", ".join(topic.readers).replace("{publisher}", "publisher")} (right: Read, with `isolation.level=read_committed`) |
| audience | {topic.audience} |
| key | {KEYS[topic.kind]} |
| order | {ORDER[topic.kind]} |
| partitions | {topic.partitions}, for good (4 in a locally started stack) |
{config}
| may change | {CHANGES[topic.kind]} |
"""
    ]
    for ce_type in types_on(topic):
        parts.append(_type(ce_type))
    if topic.kind == "submission":
        parts.append(_reasons(topic.name.split(".")[0]))
    return "\n".join(parts)


def _type(ce_type: str) -> str:
    schema = schema_of(ce_type)
    rows = "\n".join(_rows(schema, schema, ""))
    name, sample = list(samples_of(ce_type).items())[-1]
    return f"""## `{ce_type}`

{schema.get("description", "")}

| field | kind | must | unit, list | privacy | |
|---|---|---|---|---|---|
{rows}

```json
{json.dumps(sample, indent=2, ensure_ascii=False)}
```

(Sample `{name}`, in structured mode.)
""".replace("\n\n\n", "\n\n")


def _rows(node: Schema, root: Schema, prefix: str) -> list[str]:
    rows = []
    for name, field in node["properties"].items():
        inner = _target(field, root)
        must = "yes" if name in node.get("required", ()) else ""
        told = field.get("description") or inner.get("description") or ""
        extra = field.get("x-unit") or (f"list `{field['x-code-list']}`" if "x-code-list" in field else "")
        if "default" in inner:
            told = f"{told} Default `{inner['default']}`.".strip()
        rows.append(f"| `{prefix}{name}` | {_kind(inner, root)} | {must} | {extra} | {field.get('x-privacy', '')} | "
                    f"{' '.join(told.split())} |")  # fmt: skip
        below = _target(inner["items"], root) if inner.get("type") == "array" else inner
        if "properties" in below:
            rows += _rows(below, root, f"{prefix}{name}{'[]' if below is not inner else ''}.")
    return rows


def _target(field: Schema, root: Schema) -> Schema:
    for option in field.get("anyOf", ()):
        if option != {"type": "null"}:
            return _target({**option, **{k: v for k, v in field.items() if k != "anyOf"}}, root)
    if "$ref" in field:
        return {**root["$defs"][field["$ref"].rpartition("/")[2]], **field}
    return field


def _kind(node: Schema, root: Schema) -> str:
    if "enum" in node:
        return ", ".join(f"`{code}`" for code in node["enum"])
    kind: Any = node.get("type", "")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "array":
        return f"list of {_kind(_target(node['items'], root), root)}"
    bounds = [f"{node[name]}" for name in ("minimum", "maximum") if name in node]
    if bounds:
        return f"{kind} {' to '.join(bounds)}"
    if "format" in node:
        return str(node["format"])
    if node.get("pattern") in PLAIN:
        return PLAIN[node["pattern"]]
    if "pattern" in node:
        return f"`{node['pattern'].replace('|', chr(92) + '|')}`"
    return f"{kind} of at most {node['maxLength']}" if "maxLength" in node else str(kind)


def _reasons(family: str) -> str:
    own = FAMILIES[family].REASONS
    things = sorted({name.removesuffix("_id").upper() for cls in SUBMISSIONS.values() if cls.family == family
                     for name in cls.model_fields if name in ("run_id", "consent_id", "referral_id", "participation_id")})  # fmt: skip
    unknown = {
        f"UNKNOWN_{thing}": "Nobody has made this id known for seven days; send it first."
        for thing in ["SUBJECT", *things]
    }
    rows = "\n".join(f"| `{code}` | {hint} |" for code, hint in {**own, **RUNTIME_REASONS, **unknown}.items())
    return f"""## Why a submission is refused

| reason | way out |
|---|---|
{rows}
"""
