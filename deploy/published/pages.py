"""Pages a person reads before writing software against a topic: one a topic, and one that says where to start."""

import json
import re
from typing import Any

import contracts
from contracts import lists
from contracts.attributes import KEY_PATTERN
from contracts.envelope import CODE_PATTERN, ORGANISATION_PATTERN, UNREADABLE_REASONS, UUID_PATTERN, Tick, answer_type
from contracts.families import FACTS, PUBLISHED, SUBMISSIONS
from contracts.reporting import ParticipationReport
from contracts.topics import Topic
from deploy.published.asyncapi import ANYONE, KEYS, SAID, reasons_of, refusals_of, topics, types_on
from deploy.published.comparing import places
from deploy.published.samples import samples_of
from deploy.published.schemas import Schema, attributes_schema, carried, resolved, schema_of

ORDER = {
    "fact": "Within (family, subject) by `ce_streamversion`: apply the next, drop the old, keep the early, alarm on the missing. Two "
    "facts under one number are a fork: apply neither the second nor what follows, until who writes this topic says which of the two "
    "is left out; then go on with all that was kept. Between subjects and between families there is none: a course day may be read before "
    "the start it belongs to.",
    "submission": "What is sent to one topic under one key is judged in the order in which it stands there; nothing else has an order, "
    "neither keys nor topics. What rests on something unknown waits for it, for seven days, and what came after it does not wait. So what "
    "depends on a correction is sent once that is answered.",
    "answer": "None. Match by `submission_id` and `content`: of two contents under one id either answer may be read first. The same "
    "answer may come twice under the same `ce_id`.",
    "dead-letter": "None.",
    "report": "None: vintages may come in any order. Of an alliance's month (`ce_tenant`, `month`) the highest vintage stands, and its grid "
    "replaces the whole of the one before.",
    "time": "One partition; what is not later is ignored.",
}
CHANGES = {
    "fact": "Optional fields may be added, codes may be added to lists (read an unknown one as `OTHER`), types may be added. "
    "Nothing is renamed, removed or narrowed: that would be a new type `.v2` beside this one, which is then written in its place: who "
    "meets a later version of a type it reads has no whole figures any more, says so, and takes the newer schemas or wheel (`1.N.0` "
    "is what release N says).",
    "submission": "Optional fields and codes may be added; what was read stays read. A rule may refuse more than before, with a reason that "
    "stands here, and the changelog says so.",
    "answer": "Optional fields and reasons may be added; no reason goes, nor changes its `again`. There is no fifth outcome.",
    "dead-letter": "Headers may be added.",
    "report": "Optional fields may be added.",
    "time": "Nothing.",
}

CONVENTIONS = (contracts.__doc__ or "").partition("\n\n")[2].strip()
TRAVELS = """A message is a CloudEvent 1.0, in Kafka binary mode (`ce_` headers, the body is the data) or in structured mode
(`content-type: application/cloudevents+json`, one JSON document)."""
LISTS = """Each list with its codes, and with what a submission may say in their place. In facts the fields are open: lists grow, and what
you do not know you read as `OTHER`. Where a list has days, a code of a submission must be valid on the day of its `ce_time`, else
it is refused `CODE_NOT_VALID`; what a list does not hold is refused `CODE_UNKNOWN` as far as the list is complete, and is unreadable
where its field names the codes one by one."""

PLAIN = {UUID_PATTERN: "UUID", CODE_PATTERN: "code", KEY_PATTERN: "key", ORGANISATION_PATTERN: "organisation"}


def pages() -> dict[str, str]:
    """File name to text."""
    found = {f"{file_of(topic)}": _page(topic) for topic in topics()}
    return {"README.md": _start(), "codes.md": _codes(), **found}


def file_of(topic: Topic) -> str:
    """A topic's page."""
    return f"{topic.name.replace(ANYONE, 'PUBLISHER')}.md"


def _start() -> str:
    rows = "\n".join(
        f"| [`{topic.name.replace(ANYONE, 'PUBLISHER')}`]({file_of(topic)}) | {topic.kind} | {topic.writer.strip('{}')} | "
        f"{', '.join(topic.readers).replace('{publisher}', 'publisher')} | {kept(topic.config.get('retention.ms', '-1'))} |"
        for topic in topics()
    )
    return f"""# Contracts

What crosses a border, for software that never reads ours. Everything here is generated from `contracts/` by
`lotse contracts generate`. The machine-readable forms are `contracts/schemas/` (JSON Schema 2020-12),
`contracts/examples/` (samples that stay readable for ever) and `contracts/asyncapi.yaml` (AsyncAPI 3.0).

{TRAVELS} `lotse validate FILE` says what is wrong with one.

| topic | kind | writes | reads | kept |
|---|---|---|---|---|
{rows}

## Attributes

In binary mode each is a Kafka header `ce_<name>` (`traceparent` without `ce_`), in structured mode a member of the document.
"yes": always there; "may": perhaps.

| attribute | submission | answer | fact | report | tick | |
|---|---|---|---|---|---|---|
{_attributes()}

## Words

{CONVENTIONS}

A *code* is at most 64 of `[A-Z0-9_]` and begins with a letter, an *organisation* at most 64 of `[a-z0-9-]`. All codes stand,
with what they mean, on the page [codes](codes.md).

## If you build on this

What changed, and what that asks of you: [CHANGELOG.md](CHANGELOG.md). Say what you rely on in `contracts/expectations` (its
README says how), and whoever would break it is told your name.
"""


def _attributes() -> str:
    kinds = (
        next(iter(SUBMISSIONS)),
        answer_type("intake"),
        next(iter(FACTS)),
        ParticipationReport.ce_type,
        Tick.ce_type,
    )
    rows = []
    for name, schema in attributes_schema()["properties"].items():
        said = [
            "yes" if name in always else "may" if name in sometimes else "" for always, sometimes in map(carried, kinds)
        ]
        rows.append(f"| `{name}` | {' | '.join(said)} | {schema['description']} |")
    return "\n".join(rows)


def _codes() -> str:
    parts = [
        f"""# Codes

{LISTS} Each list comes as Genericode 1.0:
`lotse contracts genericode NAME`.
"""
    ]
    for one in lists.every():
        complete = "complete" if one.complete is True else "not complete: what it does not hold is not refused"
        if isinstance(one.complete, tuple):
            complete = f"complete for what begins with {', '.join(one.complete)}"
        rows = "\n".join(_code(entry) for entry in one.entries)
        parts.append(f"""## `{one.name}`

{one.title}

Version {one.version}, {complete}. Source: {one.source}.

{_submitted(one)}

| code | meaning | valid from | last valid on | successor | |
|---|---|---|---|---|---|
{rows}
""")
    return "\n".join(parts)


def _submitted(of: lists.CodeList) -> str:
    """What a submission may say where the list is asked for."""
    found = [(at.removesuffix("/0").rpartition("/")[2], said) for ce_type in SUBMISSIONS
             for at, said in places(schema_of(ce_type)) if said.get("x-code-list") == of.name]  # fmt: skip
    if not found:
        return "No submission has a field of this list."
    names = ", ".join(dict.fromkeys(f"`{name}`" for name, _ in found))
    forms = {said["pattern"] for _, said in found if "pattern" in said}
    if not forms:
        return f"In submissions {names} takes these codes and no others."
    (form,) = forms
    if isinstance(of.complete, tuple):
        which = f"of what begins with {', '.join(of.complete)} these codes alone, of all else any"
    else:
        which = "these codes alone" if of.complete else "these codes and any other"
    told = f"In submissions {names} takes what is of the form `{form}`: {which}."
    strange = [entry.code for entry in of.entries if re.search(form, entry.code) is None]
    if strange:
        told += f" {len(strange)} of these codes are not of that form (`{strange[0]}`, say): there they are unreadable."
    return told


def _code(entry: lists.Entry) -> str:
    more = [*(f"{name}: {value}" for name, value in entry.more.items()), *(["to verify"] if entry.to_verify else [])]
    cells = (f"`{entry.code}`", entry.name, str(entry.valid_from_on or ""), str(entry.last_valid_on or ""),
             f"`{entry.successor}`" if entry.successor else "", ", ".join(more))  # fmt: skip
    return f"| {' | '.join(cells)} |"


def kept(milliseconds: str) -> str:
    """How long a topic keeps what stands on it, as one says it."""
    return "for good" if int(milliseconds) < 0 else f"{int(milliseconds) // 86_400_000} days"


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
| partitions | {topic.partitions}, for good{" (4 in a locally started stack)" if topic.partitions > 4 else ""} |
{config}
| may change | {CHANGES[topic.kind]} |
"""
    ]
    for ce_type in types_on(topic):
        parts.append(_type(ce_type))
    if topic.kind == "submission":
        parts.append(_reasons(topic.name.split(".")[0]))
    if topic.kind == "answer":
        rows = "\n".join(f"| `{reason}` | {said} |" for reason, said in UNREADABLE_REASONS.items())
        parts.append(f"## Reasons of `unreadable`\n\n| reason | what it says |\n|---|---|\n{rows}\n\nReasons of `refused` stand "
                     f"on the page of [the submissions]({topic.name.split('.')[0]}.submissions.PUBLISHER.md).\n")  # fmt: skip
    return "\n".join(parts)


def _type(ce_type: str) -> str:
    schema = schema_of(ce_type)
    rows = "\n".join(_rows(schema, schema, ""))
    about = f"Subject: the {kind}." if (kind := getattr(PUBLISHED[ce_type], "subject_kind", "")) else ""
    if ce_type in SUBMISSIONS:
        rests = ", ".join(f"`{name}`" if name != "subject" else name for name in SUBMISSIONS[ce_type].rests_on())
        about += f" Waits until these are known: {rests}." if rests else " Rests on nothing."
    if ce_type in FACTS and FACTS[ce_type].gives:
        about += (
            f" Makes known: {', '.join(f'`{name}`' if name != 'subject' else name for name in FACTS[ce_type].gives)}."
        )
    name, sample = list(samples_of(ce_type).items())[-1]
    return f"""## `{ce_type}`

{schema.get("description", "")}

{about}

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
        inner = resolved(field, root)
        must = "yes" if name in node.get("required", ()) else ""
        told = field.get("description") or inner.get("description") or ""
        extra = field.get("x-unit") or (_link(field["x-code-list"]) if "x-code-list" in field else "")
        if "default" in inner:
            told = f"{told} Default `{inner['default']}`.".strip()
        rows.append(f"| `{prefix}{name}` | {_kind(inner, root)} | {must} | {extra} | {field.get('x-privacy', '')} | "
                    f"{' '.join(told.split())} |")  # fmt: skip
        below = resolved(inner["items"], root) if inner.get("type") == "array" else inner
        if "properties" in below:
            rows += _rows(below, root, f"{prefix}{name}{'[]' if below is not inner else ''}.")
    return rows


def _link(name: str) -> str:
    return f"[{name}](codes.md#{name})"


def _kind(node: Schema, root: Schema) -> str:
    if "enum" in node:
        return ", ".join(f"`{code}`" for code in node["enum"])
    kind: Any = node.get("type", "")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "array":
        return f"list of {_kind(resolved(node['items'], root), root)}"
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
    again = reasons_of(family)
    rows = "\n".join(f"| `{code}` | {again[code]} | {hint} |" for code, hint in refusals_of(family).items())
    return f"""## Why a submission is refused

`again` is what the reason says by itself, as it was released. What the answer says counts; where that is something else, the way out
names it.

| reason | again | way out |
|---|---|---|
{rows}
"""
