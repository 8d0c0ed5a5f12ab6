"""Samples of every type: the least that may be said, and all of it. And seeded instances of a schema, for tests."""

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.attributes import KEY_PATTERN
from contracts.codes import LANGUAGE_PATTERN, MUNICIPALITY_PATTERN
from contracts.envelope import CODE_PATTERN, ORGANISATION_PATTERN, UUID_PATTERN
from contracts.families import FACTS, PUBLISHED, SUBMISSIONS
from contracts.topics import OWNERS
from deploy.published.schemas import Schema, carried, family_of, resolved, schema_of

LIKELY: dict[str, Any] = {
    "municipality": "05162024", "programme": "GK", "language": "prs", "organisation_id": "vhs-neuss",
    "owner_organisation_id": "rkn-thm", "provider_organisation_id": "vhs-neuss", "content": f"r1:{'0c' * 16}", "month": "2026-03",
    "submission_id": "2026-04-02-0001", "recipients": "vhs-neuss", "block": "F4", "offer_type": "LANGUAGE_COURSE", "rule": "S2",
    "status_group": "DULDUNG", "sex": "FEMALE", "birth_year_band": "BORN_2000_TO_2004", "need_type": "LANGUAGE",
    "purpose": "REFERRAL", "categories": "LANGUAGE", "units_planned": 5, "units_attended": 5, "presence": "PRESENT", "excuse_reason": "PERSONAL",
    "course_days": 36, "entries": 4, "exits": 1, "stock": 12, "ends_before_on": "2026-05-23", "run_ends_before_on": "2026-05-23",
    "ended_before_on": "2026-03-28", "last_valid_on": "2026-12-31", "planned_start_on": "2026-03-09",
}  # fmt: skip
"""What a reader of a sample would expect to find; where a type says otherwise (an enum), its own first code stands."""

SAID: dict[str, dict[str, Any]] = {
    "answer": {
        "outcome": "refused",
        "reason": "FUTURE_DAY",
        "pointer": "/meeting_on",
        "again": "later",
        "hint": "The day lies after the day on which this arrived.",
    },
    "case_closure_requested": {"reason": "MOVED"},
    "case_closed": {"reason": "MOVED"},
    "dropout_risk_raised": {"days_on": ["2026-03-02", "2026-03-04"]},
    "dropout_risk_continued": {"last_missed_on": "2026-03-25"},
    "dropout_risk_withdrawn": {"reason": "CORRECTED"},
    "dropped_out": {"reason": "CHILDCARE"},
    "notification_attempted": {"kind": "WITHDRAWN", "reason": "ENDED"},
    "notification_failed": {"reason": "SMTP_550"},
    "notification_withdrawn": {"kind": "WITHDRAWN", "reason": "ENDED"},
    "participation_end_reported": {"kind": "DROPPED_OUT", "reason": "CHILDCARE"},
    "participation_ended": {"kind": "DROPPED_OUT", "reason": "CHILDCARE"},
    "participation_report": {"vintage": 1},
    "referral_declined": {"reason": "FULL"},
    "referral_stopped": {"reason": "CONSENT_WITHDRAWN"},
}
"""What samples of a type say beside that."""

EXCUSED = {"presence": "EXCUSED", "units_attended": 0, "excuse_reason": "PERSONAL"}
INSTEAD: dict[str, tuple[str, dict[str, Any]]] = {
    "attendance_recorded": ("excused", EXCUSED),
    "attendance_reported": ("excused", EXCUSED),
    "referral_answered": ("declined", {"answer": "DECLINED", "planned_start_on": None, "reason": "FULL"}),
}
"""Types whose members do not all go together: one more sample, which says these instead of what the full one says."""

BY_RULE = {"by": {"organisation_id": "lotse", "kind": "rule"}}


def samples_of(ce_type: str) -> dict[str, dict[str, Any]]:
    """`minimal` and `full` (of an answer `recorded` and `refused`; of some types one more), each a message in structured mode
    and true in itself. The same at every run: a sample is never edited."""
    schema, name = schema_of(ce_type), ce_type.split(".")[2]
    minimal, full = (_likely(schema, schema, ce_type, "", full) for full in (False, True))
    if family_of(ce_type) in ("dropout", "notification") or name == "referral_stopped":
        minimal, full = minimal | BY_RULE, full | BY_RULE
    found = {"minimal": minimal, "full": full}
    if name in INSTEAD:
        more, instead = INSTEAD[name]
        found[more] = {field: value for field, value in {**full, **instead}.items() if value is not None}
        found["full"] = {
            field: value for field, value in full.items() if field in minimal or instead.get(field) is None
        }
    if name == "answer":
        refused = {field: value for field, value in full.items() if field != "fact_id"}
        found = {
            "refused": refused,
            "recorded": {**minimal, "outcome": "recorded", "fact_id": full["fact_id"], "again": "no"},
        }
    return {name: _message(ce_type, data) for name, data in found.items()}


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
        "specversion": "1.0", "id": "2026-04-02-0001", "source": "https://kreis.example/lotse", "type": ce_type,
        "subject": "rkn:rkn-thm" if kind == "office" else _uuid(kind), "time": "2026-04-02T16:00:00+02:00",
        "datacontenttype": "application/json", "tenant": "rkn",
    }  # fmt: skip
    if ce_type not in SUBMISSIONS:
        owner = OWNERS.get(family_of(ce_type), family_of(ce_type))
        head |= {"id": _uuid(ce_type), "source": f"//lotse/rkn/{owner}", "cause": _uuid("reference"),
                 "time": "2026-04-02T14:00:00Z", "recordedtime": "2026-04-02T14:00:02.250000Z"}  # fmt: skip
    if ce_type in FACTS:
        head |= {"streamversion": 3}
    if family_of(ce_type) == "clock":
        head |= {"source": "//lotse/clock", "time": data["at"]}
    if family_of(ce_type) == "reporting":
        key = PUBLISHED[ce_type].model_validate(data).key("rkn")  # type: ignore[attr-defined]
        head |= {"id": key, "subject": key, "time": data["as_of"]}
    always, sometimes = carried(ce_type)
    return {
        **{name: value for name, value in head.items() if name in (*always, *sometimes, "datacontenttype")},
        "data": data,
    }


def _likely(node: Schema, root: Schema, ce_type: str, name: str, full: bool) -> Any:
    node = resolved(node, root)
    kind = node.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        wanted = node["properties"] if full else node.get("required", ())
        return {field: _likely(node["properties"][field], root, ce_type, field, full) for field in wanted}
    likely = SAID.get(ce_type.split(".")[2], {}).get(name, LIKELY.get(name))
    if kind == "array":
        return likely if isinstance(likely, list) else [_likely(node["items"], root, ce_type, name, full)]
    if "enum" in node:
        return likely if likely in node["enum"] else node["enum"][0]
    if likely is not None:
        return likely
    if kind == "integer":
        return max(node.get("minimum", 0), 1)
    if node.get("format") == "date":
        return "2026-03-02"
    if node.get("format") == "date-time":
        return "2026-04-02T14:00:00Z"
    if node.get("pattern") == UUID_PATTERN or node.get("pattern") == KEY_PATTERN:
        return _uuid({"case_id": "case", "about": "participation_id"}.get(name, name))
    raise LookupError(f"no sample value for {ce_type} {name}")


# --- seeded instances -------------------------------------------------------------------------------------------------

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def instance(schema: Schema, chance: Random) -> Any:
    """A random instance of one of our schemas, its optional members by chance."""
    return _random(schema, schema, chance)


def _random(node: Schema, root: Schema, chance: Random) -> Any:
    node = resolved(node, root)
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
        least, most = node.get("minimum", 0), node.get("maximum", 5)
        return chance.choice([least, most, chance.randint(least, max(least, min(most, 1000)))])
    if node.get("format") == "date":
        return (date(2020, 1, 1) + timedelta(days=chance.randrange(3650))).isoformat()
    if node.get("format") == "date-time":
        zone = timezone(timedelta(minutes=chance.choice([0, 60, 120, -330, 840])))
        moment = datetime(2020, 1, 1, tzinfo=zone) + timedelta(milliseconds=chance.randrange(10**11))
        return moment.isoformat().replace("+00:00", chance.choice(["+00:00", "Z"]))
    match node.get("pattern"):
        case None:
            return "".join(chance.choices(ALPHABET + ' äßé/~"\\', k=chance.randrange(node.get("maxLength", 9))))
        case p if p in (UUID_PATTERN, KEY_PATTERN):
            return str(UUID(int=chance.getrandbits(128)))
        case p if p == LANGUAGE_PATTERN:
            return chance.choice(["UNKNOWN", "prs", "tir", "deu"])
        case p if p == MUNICIPALITY_PATTERN:
            return chance.choice(["UNKNOWN", f"05{chance.randrange(10**6):06}"])
        case p if p in (CODE_PATTERN, ORGANISATION_PATTERN):
            said = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=chance.randint(1, 64)))
            return said if p == CODE_PATTERN else said.lower()
        case p if "r1:" in p:
            return f"r1:{chance.getrandbits(128):032x}"
        case p if "(0[1-9]|1[0-2])" in p:
            return f"{chance.randint(2000, 2030)}-{chance.randint(1, 12):02}"
        case _:
            return "".join(chance.choices(ALPHABET, k=chance.randint(1, 64)))
