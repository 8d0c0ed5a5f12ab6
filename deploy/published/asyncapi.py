"""One AsyncAPI 3.0 document: every topic as a channel, every service's operations, in both directions."""

import json
import re
from typing import Any

from contracts.envelope import RUNTIME_REASONS, UNREADABLE_REASONS, UUID_PATTERN, Outcome, Tick, again_of
from contracts.families import ANSWERS, FACTS, FAMILIES, PUBLISHED, SUBMISSIONS
from contracts.reporting import ParticipationReport
from contracts.topics import READS, SUBMITTED, Publisher, Topic, catalogue
from contracts.version import VERSION
from deploy.published.samples import samples_of
from deploy.published.schemas import Schema, attributes_schema, carried, family_of, schema_of

ANYONE = "{publisher}"


def topics() -> list[Topic]:
    """The catalogue with one publisher that stands for all of them."""
    anyone = Publisher(name="anyone", source="urn:any", tenants=("any",), organisations=("any",), families=SUBMITTED)
    return [
        Topic(**{field: _named(getattr(topic, field)) for field in Topic.__slots__}) for topic in catalogue([anyone])
    ]


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"\banyone\b", ANYONE, value)
    return tuple(map(_named, value)) if isinstance(value, tuple) else value


def types_on(topic: Topic) -> list[str]:
    """Wire types that stand on a topic."""
    family = topic.name.split(".")[0]
    match topic.kind:
        case "fact":
            return [ce_type for ce_type in FACTS if family_of(ce_type) == family]
        case "submission":
            return [ce_type for ce_type in SUBMISSIONS if family_of(ce_type) == family]
        case "answer":
            return [ce_type for ce_type in ANSWERS if family_of(ce_type) == family]
        case "report":
            return [ParticipationReport.ce_type]
        case "time":
            return [Tick.ce_type]
        case _:
            return []


UNKNOWN = (
    "Nobody has made this id known for seven days; send it first. Where it is known as another kind of thing, at once and "
    "`mended`: name the right one."
)


def refusals_of(family: str) -> dict[str, str]:
    """Why a submission of a family may be refused: reason to the sentence that says the way out."""
    known = {name for cls in SUBMISSIONS.values() if cls.family == family for name in cls.model_fields
             if name in ("run_id", "consent_id", "referral_id", "participation_id")}  # fmt: skip
    unknown = [f"UNKNOWN_{name.removesuffix('_id').upper()}" for name in ("subject", *sorted(known))]
    return {**FAMILIES[family].REASONS, **RUNTIME_REASONS, **dict.fromkeys(unknown, UNKNOWN)}


def reasons_of(family: str) -> dict[str, str]:
    """Every reason an answer of a family may give, to whether sending again helps."""
    whys = {Outcome.REFUSED: refusals_of(family), Outcome.UNREADABLE: UNREADABLE_REASONS}
    return {reason: again_of({"outcome": outcome, "reason": reason}).value
            for outcome, reasons in whys.items() for reason in reasons}  # fmt: skip


def document(version: str = VERSION) -> dict[str, Any]:
    """The whole document, under the version of the wheel."""
    found = topics()
    channels = {channel_of(topic): _channel(topic) for topic in found}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:lotse:contracts",
        "info": {
            "title": "Lotse",
            "version": version,
            "description": "Intake, referral, attendance and drop-out of young refugees as facts. Publishers write submissions "
            "to topics of their own and get exactly one answer to each id and content; services own the facts. People stand as pseudonyms.",
            "license": {"name": "EUPL-1.2", "url": "https://eupl.eu/1.2/en/"},
            "tags": [{"name": service, "description": f"The service {service}."} for service in [*READS, "clock", "publisher"]],
        },
        "defaultContentType": "application/json",
        "servers": {
            "cluster": {
                "host": "{bootstrap}",
                "protocol": "kafka-secure",
                "description": "The installation's own cluster; a locally started one listens without TLS on loopback.",
                "variables": {"bootstrap": {"default": "kafka.example:9093", "description": "host:port of a broker"}},
                "security": [{"$ref": "#/components/securitySchemes/scram"}, {"$ref": "#/components/securitySchemes/certificate"}],
            }
        },
        "channels": channels,
        "operations": {name: operation for topic in found for name, operation in _operations(topic)},
        "components": {
            "messages": {message_of(ce_type): _message(ce_type) for ce_type in PUBLISHED} | {"dead_letter": _dead_letter()},
            "securitySchemes": {
                "scram": {"type": "scramSha512", "description": "A user for each publisher and service; rights are by topic."},
                "certificate": {"type": "X509", "description": "A client certificate instead, where the cluster wants it."},
            },
            "correlationIds": {
                "submission": {"location": "$message.header#/ce_id", "description": "The id its answer carries."},
                "answer": {"location": "$message.payload#/submission_id", "description": "The id of the submission."},
            },
        },
    }  # fmt: skip


def channel_of(topic: Topic) -> str:
    """A channel's name in the document: the topic's, with `_` for dots."""
    return topic.name.replace(".", "_").replace(ANYONE, "publisher").replace("-", "_")


def message_of(ce_type: str) -> str:
    """A message's name in the document: the type without `lotse.` and version 1's suffix kept."""
    return ce_type.removeprefix("lotse.").replace(".", "_")


def _channel(topic: Topic) -> dict[str, Any]:
    messages = [message_of(ce_type) for ce_type in types_on(topic)] or ["dead_letter"]
    found: dict[str, Any] = {
        "address": topic.name,
        "title": topic.name,
        "summary": SAID[topic.kind],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "x-audience": topic.audience,
        "x-writer": topic.writer,
        "x-readers": list(topic.readers),
        "x-key": KEYS[topic.kind],
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic.config),
                "bindingVersion": "0.5.0",
            }
        },
    }
    if ANYONE in topic.name:
        found["parameters"] = {
            "publisher": {"description": "The publisher's name in publishers.toml.", "examples": ["kreis"]}
        }
    else:
        found["bindings"]["kafka"]["topic"] = topic.name
    return found


SAID = {
    "fact": "What happened, in the past tense, numbered 1, 2, 3 within a subject. Kept for good.",
    "submission": "What one publisher reports or asks for. Each id with its content gets exactly one answer. After 1,000 unreadable ones of a"
    " publisher in an hour the next one holds its partition until the next full hour, with all that lies behind it. `max.message.bytes` bounds a whole batch"
    " before it is compressed: give a client that makes larger ones a limit of 65,536.",
    "answer": "Exactly one answer to each submission id and content: recorded, unchanged, refused or unreadable. What has no id that can be"
    " read (headers without `ce_`, a structured document without its content type, an id against its rule) has none; `lotse sources` counts it as `no id`. Other content under an id that"
    " was used is refused `ID_REUSED`, in an answer of its own that says nothing of the first content. Of every answer to what can't be read,"
    " of a bad body under good headers too, subject and tenant are the word `unreadable` and the key is the submission's reference: of every"
    " `unreadable`, and of an `ID_REUSED` where the second content can't be read.",
    "dead-letter": "What could never be read: headers and value untouched, sealed to the operations key, with origin and verdict in headers of ours.",
    "report": "Whole releases as vintages under a new key each.",
    "time": "Moments. Between ticks no time passes for Lotse.",
}
KEYS = {
    "fact": "the subject",
    "submission": "means nothing; the subject is a good one",
    "answer": "the submission's subject; where that could not be read its reference",
    "dead-letter": "<topic>/<partition>/<offset> of what could not be read",
    "report": "<tenant>:<report>:<month>:<vintage>",
    "time": "`tick`, always",
}


def _configuration(config: dict[str, str]) -> dict[str, Any]:
    """What the binding knows; the rest stands as an extension of ours."""
    known: dict[str, Any] = {}
    for name, value in config.items():
        if name in ("retention.ms", "retention.bytes", "max.message.bytes"):
            known[name] = int(value)
        elif name == "cleanup.policy":
            known[name] = value.split(",")
        else:
            known[f"x-{name.replace('.', '-')}"] = value
    return known


def _operations(topic: Topic) -> list[tuple[str, dict[str, Any]]]:
    channel = channel_of(topic)
    found = []
    for who, action in [(topic.writer, "send"), *((reader, "receive") for reader in topic.readers)]:
        name = who.replace(ANYONE, "publisher")
        operation: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": f"{who} {'writes' if action == 'send' else 'reads'} {topic.name}.",
            "tags": [{"name": name}],
        }
        if topic.kind == "submission" and action == "receive":
            answers = channel.replace("_submissions_", "_answers_")
            operation["reply"] = {"channel": {"$ref": f"#/channels/{answers}"}}
        found.append((f"{name}_{action}s_{channel}", operation))
    return found


def headers_schema(ce_type: str) -> Schema:
    """Kafka headers in binary mode: all text."""
    always, sometimes = carried(ce_type)
    found: Schema = {}
    for name, schema in attributes_schema()["properties"].items():
        if name in (*always, *sometimes):
            found["traceparent" if name == "traceparent" else f"ce_{name}"] = dict(schema)
    found["ce_type"] = {"type": "string", "const": ce_type}
    if ce_type in SUBMISSIONS:
        found["ce_subject"]["pattern"] = UUID_PATTERN  # what is about anything else is unreadable
    if "streamversion" in always:
        found["ce_streamversion"] = {
            "type": "string",
            "pattern": "^[1-9][0-9]{0,9}$",
            "description": "1, 2, 3 within family and subject.",
        }
    found["content-type"] = {
        "type": "string",
        "description": "JSON, or application/cloudevents+json in structured mode.",
    }
    return {"type": "object", "properties": found, "required": [f"ce_{name}" for name in always]}


def _message(ce_type: str) -> dict[str, Any]:
    schema = schema_of(ce_type)
    example = next(iter(samples_of(ce_type).values()))
    headers = {("traceparent" if name == "traceparent" else f"ce_{name}"): str(value) for name, value in example.items()
               if name not in ("data", "datacontenttype")}  # fmt: skip
    found: dict[str, Any] = {
        "name": ce_type,
        "title": schema["title"],
        "summary": schema.get("description", "").partition("\n")[0] or schema["title"],
        "contentType": "application/json",
        "headers": headers_schema(ce_type),
        "payload": _inlined({name: value for name, value in schema.items() if not name.startswith("$")}, schema),
        "bindings": {"kafka": {"key": {"type": "string", "pattern": MESSAGE_KEY}, "bindingVersion": "0.5.0"}},
        "examples": [{"headers": headers, "payload": example["data"]}],
    }
    if ce_type in SUBMISSIONS:
        found["correlationId"] = {"$ref": "#/components/correlationIds/submission"}
    elif ce_type in ANSWERS:
        found["correlationId"] = {"$ref": "#/components/correlationIds/answer"}
    return found


MESSAGE_KEY = r"^[\x21-\x7e]{1,256}$"


def _dead_letter() -> dict[str, Any]:
    text = {"type": "string"}
    names = (
        "lotse_topic lotse_partition lotse_offset lotse_arrived lotse_verdict lotse_pointer lotse_rule lotse_reference"
    )
    return {
        "name": "dead_letter",
        "title": "DeadLetter",
        "summary": SAID["dead-letter"],
        "contentType": "application/jose",
        "headers": {"type": "object", "properties": dict.fromkeys(names.split(), text)},
        "payload": {"description": "A compact JWE (ECDH-ES+A256KW, A256GCM) of headers and value as they came."},
    }


def _inlined(node: Any, root: Schema) -> Any:
    """Without references: inside another document they would point nowhere."""
    if isinstance(node, list):
        return [_inlined(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = root["$defs"][node["$ref"].rpartition("/")[2]]
        return _inlined({**target, **{name: value for name, value in node.items() if name != "$ref"}}, root)
    return {name: _inlined(value, root) for name, value in node.items()}


# --- YAML, as little as needed: texts in double quotes, as JSON writes them, so that no reader takes one for a number


def as_yaml(node: Any, indent: int = 0) -> str:
    """A document of mappings, lists, texts, numbers and truths as YAML 1.2, two spaces a level."""
    space = "  " * indent
    if isinstance(node, dict):
        return "".join(f"{space}{_key(name)}:{_value(value, indent)}" for name, value in node.items())
    return "".join(f"{space}-{_value(item, indent)}" for item in node)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name) else json.dumps(name)


def _value(value: Any, indent: int) -> str:
    if isinstance(value, (dict, list)) and value:
        return "\n" + as_yaml(value, indent + 1)
    return f" {json.dumps(value, ensure_ascii=False)}\n"
