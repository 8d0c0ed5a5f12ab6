"""The way out of a verdict, in one sentence: in what `lotse validate` says, and in the answer to what can't be read."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from .attributes import Attributes, Verdict
from .envelope import CODE_PATTERN, ORGANISATION_PATTERN, UUID_PATTERN, Refused

HINTS = {
    "json_invalid": "This is no JSON in UTF-8 without a byte order mark; look for a missing bracket, quote or comma.",
    "pattern": "The text has characters, capitals or a length this place does not take.",
    "rfc3339": "Write it as 2026-03-02T16:00:00+01:00: date, T, time with seconds, offset or Z.",
    "media_type": "The content type is JSON, or application/cloudevents+json.",
    "version": "Lotse speaks CloudEvents 1.0.",
    "missing:ce_specversion": "Add `ce_specversion`: names of headers begin with ce_, in lower case; where the body holds the attributes, too, "
    "add the header content-type: application/cloudevents+json instead.",
    "null": "This may not be null.",
    "twice": "This member stands twice in the document.",
    "unknown": "No type of this name is sent on this topic; look for its topic, version and spelling in docs/contracts.",
    "integer": "A whole number from 1 to 2147483647.",
    "utf16": "The file is UTF-16, as PowerShell's > writes it; save it as UTF-8.",
    "kcat": "A record as `kcat -J` prints it has headers (a flat list) and payload (a text).",
    "int_type": "A whole number without quotes and without a fraction.",
    "string_type": "A text in quotes.",
    "model_type": "An object in braces.",
    "tuple_type": "A list in brackets.",
    "too_short": "The list holds at least one.",
    "too_long": "The list or text is too long.",
    "greater_than_equal": "The number is too small.",
    "less_than_equal": "The number is too large.",
    "string_pattern_mismatch": "The text is not of the form the schema says.",
    "moment_out_of_range": "A moment lies between the years 1 and 9999.",
    "publisher": "The source is not the one publishers.toml gives to the publisher of this topic.",
    "uuid": "What this is about is a UUID in lower case.",
    "too_large": "The body is larger than a submission may be.",
}

UNSAID = " Health, pregnancy, faith and whatever else is only the person's own are said as PERSONAL, and no more."
"""The same whatever was sent: a hint for the old word alone would say in clear, for as long as answers are kept, what it was."""


FORMS = {
    "date": "A day of the calendar, written 2026-03-02.",
    "date-time": "A moment with its offset or Z, written 2026-03-02T16:00:00+01:00.",
    UUID_PATTERN: "A UUID in lower case, 36 characters with hyphens and no braces.",
    CODE_PATTERN: "A code in capitals: a letter, then at most 63 of A-Z 0-9 _.",
    ORGANISATION_PATTERN: "An organisation as publishers.toml names it: at most 64 of a-z 0-9 -, in lower case.",
}
"""How a text of a format or pattern is written; of any other its field's own description says so."""

ATTRIBUTES = {
    "id": "At most 64 of A-Z a-z 0-9 . _ : -, and at least one.",
    "source": "As publishers.toml gives it to the publisher: ASCII without blanks, at most 256.",
    "type": "Written lotse.<family>.<type>.v<n>, in lower case.",
    "subject": "In lower case; of a submission a UUID, 36 characters with hyphens and no braces.",
    "tenant": "The alliance's code: at most 32 of a-z 0-9 -, in lower case.",
}
"""How an attribute is written."""


def hint_of(verdict: Verdict, cls: type[BaseModel] | None = None) -> str:
    """One sentence that says the way out; names codes of our lists, never a value that was sent."""
    rule, schema = verdict.rule, _schema_at(cls, verdict.pointer) if cls is not None else {}
    if rule == "pattern":
        return ATTRIBUTES.get(verdict.pointer.removeprefix("/").removeprefix("ce_"), HINTS[rule])
    if rule in ("enum", "literal_error") and (allowed := schema.get("enum")):
        return f"One of {', '.join(allowed)}.{UNSAID if 'PERSONAL' in allowed else ''}"
    if (rule == "string_pattern_mismatch" or rule.startswith("date")) and (
        form := FORMS.get(schema.get("format", schema.get("pattern", "")), schema.get("description"))
    ):
        return form
    if rule.startswith("missing:"):
        return HINTS.get(rule, f"Add `{rule.removeprefix('missing:')}`.")
    if rule.startswith("date"):
        return f"{FORMS['date']} {FORMS['date-time']}"
    return HINTS.get(rule, f"It is against the rule {rule} of its schema.")


def unread(verdict: Verdict, attributes: Attributes | None, types: Mapping[str, type[BaseModel]]) -> Refused:
    """What the answer to an unreadable message says; `types` are those its reader knows."""
    cls = types.get(attributes.type) if attributes else None
    return Refused(verdict.type.upper(), verdict.pointer, hint_of(verdict, cls))


@lru_cache(maxsize=2048)
def _schema_at(cls: type[BaseModel], pointer: str) -> Mapping[str, Any]:
    """What the schema of a class says of the place; nothing where there is none."""
    root = cls.model_json_schema()
    node: Any = root
    for step in pointer.split("/")[1:]:
        node = _target(node, root)
        node = node.get("items", {}) if step.isdigit() else node.get("properties", {}).get(step, {})
    return {**node, **_target(node, root)}  # what is optional is described beside its alternatives


def _target(node: Any, root: Any) -> Any:
    while "$ref" in node or "anyOf" in node:
        node = node["anyOf"][0] if "anyOf" in node else root["$defs"][node["$ref"].rpartition("/")[2]]
    return node
