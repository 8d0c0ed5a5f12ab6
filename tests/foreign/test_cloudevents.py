"""Our messages are CloudEvents 1.0 to others: by the official JSON Schema, the Kafka binding's rules and the official SDK."""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from contracts.attributes import Attributes, moment
from contracts.messages import to_message
from deploy.fleet import Fleet
from deploy.places import ROOT
from tests.foreign.log import records_on
from tests.foreign.tools import script

Headers = Sequence[tuple[str, bytes | None]]
Wire = tuple[Headers, bytes | None]

SAMPLES = sorted((ROOT / "contracts" / "examples").rglob("*.json"))


def wrong_with(records: Sequence[Wire]) -> list[list[str]]:
    """What the script finds wrong with each record."""
    lines = [
        json.dumps({
            "headers": [[name, None if raw is None else b64encode(raw).decode()] for name, raw in headers],
            "value": None if value is None else b64encode(value).decode(),
        })
        for headers, value in records
    ]  # fmt: skip
    done = script("cloudevents.mjs", text="\n".join(lines))
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(records)
    return found


def as_sent(sample: Path, mode: str) -> Wire:
    """A sample as our software sends it."""
    message = json.loads(sample.read_text())
    said = {name: message.get(name) for name in Attributes._fields}
    said |= {name: moment(said[name]) for name in ("time", "recordedtime") if said[name] is not None}
    _, headers, value = to_message(Attributes(**said), json.dumps(message["data"]).encode(), mode)
    return headers, value


def test_every_sample_is_a_cloudevent_in_both_modes() -> None:
    with_subject = [
        file for file in SAMPLES if "subject" in json.loads(file.read_text())
    ]  # a tick is sent by the clock alone
    records: list[Wire] = [as_sent(file, mode) for file in with_subject for mode in ("binary", "structured")]
    records += [([("content-type", b"application/cloudevents+json")], file.read_bytes()) for file in SAMPLES]
    assert len(records) > 100
    assert [found for found in wrong_with(records) if found] == []


DAMAGES: dict[str, Wire] = {}
GOOD, BODY = as_sent(next(file for file in SAMPLES if file.stem == "case_opened.v1.full"), "binary")
for what, header in {
    "an attribute's name in capitals": ("ce_Purpose", b"x"),
    "an attribute's name with a dash": ("ce_recorded-time", b"x"),
    "the media type as an attribute": ("ce_datacontenttype", b"application/json"),
    "a value that is no UTF-8": ("ce_extra", b"\xff"),
    "a null": ("ce_extra", None),
    "an empty attribute": ("ce_extra", b""),
    "a header twice": ("ce_tenant", b"rkn"),
}.items():
    DAMAGES[what] = ([*GOOD, header], BODY)
for name, damage in {
    "ce_time": b"2026-03-02 16:00",
    "ce_source": b"a b",
    "ce_streamversion": b"2147483648",
    "ce_recordedtime": b"yesterday",
    "ce_specversion": b"0.3",
    "content-type": b"text/plain",
}.items():
    DAMAGES[f"another {name}"] = ([(known, damage if known == name else raw) for known, raw in GOOD], BODY)
for name in ("ce_id", "ce_source", "ce_type", "ce_specversion", "content-type"):
    DAMAGES[f"no {name}"] = ([one for one in GOOD if one[0] != name], BODY)
DAMAGES |= {"no body": (GOOD, None), "a body that is no JSON": (GOOD, b"{")}


def test_what_is_no_cloudevent_is_found_out() -> None:
    assert wrong_with([(GOOD, BODY)]) == [[]]
    assert [what for what, found in zip(DAMAGES, wrong_with(list(DAMAGES.values())), strict=True) if not found] == []


async def test_every_record_of_a_house_is_a_cloudevent(played: Fleet) -> None:
    """Facts, answers, reports and ticks as the services wrote them, submissions as a publisher did. Dead letters carry what
    could not be read, untouched, and are none."""
    records = await records_on(played.stack.kafka, lambda topic: not topic.endswith(".dead-letters"))
    kinds = Counter(record.topic.split(".")[1] for record in records)
    assert {"events", "answers", "submissions", "participation", "ticks"} <= set(kinds), kinds
    assert [found for found in wrong_with([(one.headers, one.value) for one in records]) if found] == []
