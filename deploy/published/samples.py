"""Samples of every type: the least that may be said, and all of it. And seeded instances of a schema, for tests."""

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.attributes import KEY_PATTERN
from contracts.envelope import CODE_PATTERN, UUID_PATTERN
from contracts.families import FACTS, PUBLISHED, SUBMISSIONS
from deploy.published.schemas import Schema, family_of, schema_of

LIKELY = {
    "municipality": "05162024", "programme": "GK", "language": "prs", "organisation_id": "vhs-neuss",
    "owner_organisation_id": "rkn-thm", "provider_organisation_id": "vhs-neuss", "content": f"r1:{'0c' * 16}", "month": "2026-03",
    "submission_id": "2026-03-02-0001", "pointer": "/meeting_on", "recipients": "vhs-neuss", "block": "F4", "offer_type":
    "LANGUAGE_COURSE", "rule": "S2", "status_group": "DULDUNG", "sex": "FEMALE", "birth_year_band": "Y2000_2004",
    "need_type": "LANGUAGE", "purpose": "REFERRAL", "categories": "LANGUAGE", "presence": "EXCUSED", "excuse_reason": "SICKNESS",
    "hint": "The day lies after the day on which this arrived.", "units_planned": 5, "units_attended": 0, "course_days": 36,
    "rule_version": 1, "revision": 1, "kind": "person", "case_id": "6b2c3e58-0c5e-5b1c-9f55-0a3a52c2f7d4",
}  # fmt: skip
"""What a reader of a sample would expect to find; where a type says otherwise (an enum), its own first code stands."""

REASONS = {"answer": "FUTURE_DAY", "case_closed": "MOVED", "dropout_risk_withdrawn": "CORRECTED", "dropped_out": "CHILDCARE",
           "notification_failed": "SMTP_4XX", "participation_ended": "WORK", "referral_declined": "FULL",
           "referral_stopped": "CONSENT_WITHDRAWN"}  # fmt: skip


def samples_of(ce_type: str) -> dict[str, dict[str, Any]]:
    """`minimal` and `full` (of an answer `recorded` and `refused`), each a message in structured mode. The same at every
    run: a sample is never edited."""
    schema = schema_of(ce_type)
    said = {name: _likely(schema, schema, ce_type, "", full) for name, full in (("minimal", False), ("full", True))}
    if ce_type.split(".")[2] == "answer":
        refused = {name: value for name, value in said["full"].items() if name != "fact_id"}
        recorded = {**said["minimal"], "outcome": "recorded", "fact_id": said["full"]["fact_id"], "again": "NO"}
        said = {"refused": refused, "recorded": recorded}
    return {name: _message(ce_type, data) for name, data in said.items()}


def path_of(folder: Path, ce_type: str, name: str) -> Path:
    """Where a sample lies."""
    return folder / family_of(ce_type) / f"{ce_type.removeprefix('lotse.').partition('.')[2]}.{name}.json"


def text_of(document: Any) -> str:
    """JSON as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"sample:{name}"))


def _message(ce_type: str, data: Any) -> dict[str, Any]:
    cls: Any = PUBLISHED[ce_type]
    kind = getattr(cls, "subject_kind", "case")
    head: dict[str, Any] = {
        "specversion": "1.0", "id": "2026-03-02-0001", "source": "https://kreis.example/lotse", "type": ce_type,
        "subject": "rkn:rkn-thm" if kind == "office" else _uuid(kind), "time": "2026-03-02T16:00:00+01:00",
        "datacontenttype": "application/json", "tenant": "rkn",
    }  # fmt: skip
    if ce_type not in SUBMISSIONS:
        owner = {"attendance": "referral", "dropout": "referral"}.get(family_of(ce_type), family_of(ce_type))
        head |= {"id": _uuid("fact"), "source": f"//lotse/rkn/{owner}", "cause": _uuid("reference")}
    if ce_type in FACTS:
        head |= {"streamversion": 3, "recordedtime": "2026-03-02T15:00:02.250000Z"}
    if family_of(ce_type) == "clock":
        head = {name: value for name, value in head.items() if name not in ("subject", "tenant", "cause")}
    return {**head, "data": data}


def _resolved(node: Schema, root: Schema) -> Schema:
    while "$ref" in node:
        node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **{k: v for k, v in node.items() if k != "$ref"}}
    if "anyOf" in node:
        return _resolved(next(one for one in node["anyOf"] if one != {"type": "null"}), root)
    return node


def _likely(node: Schema, root: Schema, ce_type: str, name: str, full: bool) -> Any:
    node = _resolved(node, root)
    kind = node.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        wanted = node["properties"] if full else node.get("required", ())
        return {field: _likely(node["properties"][field], root, ce_type, field, full) for field in wanted}
    if kind == "array":
        return [_likely(node["items"], root, ce_type, name, full)]
    likely = REASONS.get(ce_type.split(".")[2]) if name == "reason" else LIKELY.get(name)
    if name == "kind" and "enum" not in node:
        likely = "DROPPED_OUT"  # how a participation ended, not who speaks
    if "enum" in node:
        if ce_type.endswith("answer.v1"):
            likely = {"outcome": "refused" if full else "unchanged", "again": "LATER"}.get(name, likely)
        return likely if likely in node["enum"] else node["enum"][0]
    if likely is not None:
        return likely
    if kind == "integer":
        return max(node.get("minimum", 0), 1)
    if node.get("format") == "date":
        return "2026-03-31" if name.startswith(("ends", "valid_until", "run_ends")) else "2026-03-02"
    if node.get("format") == "date-time":
        return "2026-03-02T17:00:00Z"
    if node.get("pattern") == UUID_PATTERN or node.get("pattern") == KEY_PATTERN:
        return _uuid(name)
    if node.get("pattern") == CODE_PATTERN:
        return "OTHER"
    raise LookupError(f"no sample value for {ce_type} {name}")


# --- seeded instances -------------------------------------------------------------------------------------------------

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def instance(schema: Schema, chance: Random) -> Any:
    """A random instance of one of our schemas, its optional members by chance."""
    return _random(schema, schema, chance)


def _random(node: Schema, root: Schema, chance: Random) -> Any:
    node = _resolved(node, root)
    kind = node.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if "enum" in node:
        return chance.choice(node["enum"])
    if kind == "object":
        return {field: _random(inner, root, chance) for field, inner in node["properties"].items()
                if field in node.get("required", ()) or chance.random() < 0.6}  # fmt: skip
    if kind == "array":
        return [_random(node["items"], root, chance) for _ in range(max(node.get("minItems", 0), chance.randint(0, 3)))]
    if kind == "integer":
        return chance.choice(
            [node.get("minimum", 0), node.get("maximum", 5), chance.randint(node.get("minimum", 0), 1000)]
        )
    if node.get("format") == "date":
        return (date(2020, 1, 1) + timedelta(days=chance.randrange(3650))).isoformat()
    if node.get("format") == "date-time":
        zone = timezone(timedelta(minutes=chance.choice([0, 60, 120, -330, 840])))
        moment = datetime(2020, 1, 1, tzinfo=zone) + timedelta(milliseconds=chance.randrange(10**11))
        return moment.isoformat()
    match node.get("pattern"):
        case None:
            return "".join(
                chance.choice(ALPHABET + ' äßé/~"\\') for _ in range(chance.randrange(node.get("maxLength", 9)))
            )
        case p if p in (UUID_PATTERN, KEY_PATTERN):
            return str(UUID(int=chance.getrandbits(128)))
        case p if "[0-9]{8}" in p and "UNKNOWN" in p:
            return chance.choice(["UNKNOWN", f"05{chance.randrange(10**6):06}"])
        case p if "r1:" in p:
            return f"r1:{chance.getrandbits(128):032x}"
        case p if "(0[1-9]|1[0-2])" in p:
            return f"{chance.randint(2000, 2030)}-{chance.randint(1, 12):02}"
        case _:
            return "".join(chance.choice(ALPHABET) for _ in range(chance.randint(1, 64)))
