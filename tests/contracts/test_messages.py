"""Every type goes out and comes back the same, in both modes; whatever is done to a message, the reader says what is wrong
with a pointer that exists, or reads what is written. It never breaks and never quotes."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, get_origin
from uuid import UUID

import pytest
from pydantic import ValidationError

from contracts.attributes import Attributes, Verdict, moment, read_attributes
from contracts.envelope import Tick, content_of, reference_of
from contracts.families import SUBMISSIONS, TYPES, from_message
from contracts.messages import STRUCTURED, claim_of, read_message, to_message
from deploy.published.samples import instance, samples_of
from deploy.published.schemas import schema_of

MUTATIONS = int(os.environ.get("LOTSE_MUTATIONS", "5000"))
"""100,000 in the longer tier."""

WHEN = datetime(2026, 3, 2, 15, tzinfo=UTC)
Wire = tuple[list[tuple[Any, Any]], bytes | None]


def attributes_for(ce_type: str, chance: Random) -> Attributes:
    """Attributes a publisher or a service might send."""
    return Attributes(
        id=f"m-{chance.getrandbits(60)}", source="https://kreis.example/lotse", type=ce_type,
        subject=str(UUID(int=chance.getrandbits(128))), time=WHEN + timedelta(seconds=chance.randrange(10**6)), tenant="rkn",
        streamversion=chance.choice([None, 1, 2**31 - 1]), cause=chance.choice([None, "2026-03-02T06:00:00+00:00"]),
        recordedtime=chance.choice([None, WHEN]), traceparent=None,
    )  # fmt: skip


def written(value: Any) -> Any:
    """A JSON value in one form: moments in UTC, whole numbers without a fraction, without what is null."""
    if isinstance(value, dict):
        return {name: written(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [written(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ].*", value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            return value  # a code may look like a moment
    return value


def within(small: Any, large: Any) -> bool:
    """Whether all that the reader says stands in the document; what it fills in where nothing stands is a default."""
    if isinstance(small, dict):
        return isinstance(large, dict) and all(
            within(inner, large[name]) for name, inner in small.items() if name in large
        )
    if isinstance(small, list):
        return isinstance(large, list) and len(small) == len(large) and all(map(within, small, large))
    return type(small) is type(large) and bool(small == large)


def points_at(pointer: str, document: Any) -> Any:
    """What a JSON Pointer points at. Raises LookupError where nothing stands."""
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def parsed(value: bytes | None) -> Any:
    try:
        return json.loads(value or b"")
    except (ValueError, RecursionError):
        return None


def judge(wire: Wire) -> Verdict | None:
    """Reads a message and holds the reader to its promise; gives back its verdict."""
    headers, value = wire
    media = next((bytes(text or b"") for name, text in headers if name == "content-type"), b"")
    structured = media.lower().startswith(STRUCTURED.encode())
    document = parsed(value)
    try:
        attributes, said = from_message(headers, value)
    except Verdict as verdict:
        assert re.fullmatch(r"[a-z0-9_]+(:[a-z_0-9]+)?", verdict.rule), verdict
        name = verdict.rule.removeprefix("missing:")
        if verdict.type == "header":
            there: Any = dict(reversed(headers))
        elif verdict.type in ("attribute", "type"):
            there = document
        else:
            there = document.get("data") if structured and isinstance(document, dict) else document
        try:
            parent = points_at(verdict.pointer, there)
        except (LookupError, TypeError):
            raise AssertionError(f"{verdict} points at nothing") from None
        assert name == verdict.rule or name not in parent, verdict
        return verdict
    body = document["data"] if structured else document
    if said is not None:
        assert within(written(json.loads(said.to_json())), written(body))  # type: ignore[attr-defined]
    assert attributes.time.tzinfo is UTC
    return None


@pytest.mark.parametrize("ce_type", TYPES)
def test_a_model_becomes_a_message_and_a_model_again_in_both_modes(ce_type: str) -> None:
    chance = Random(ce_type)
    schema = schema_of(ce_type)
    for _ in range(20):
        said: Any = TYPES[ce_type].model_validate_json(json.dumps(instance(schema, chance)))
        attributes = attributes_for(ce_type, chance)
        for mode in ("binary", "structured"):
            key, headers, value = to_message(attributes, said.to_json(), mode)
            assert key == attributes.subject.encode()
            assert from_message(headers, value) == (attributes, said)


@pytest.mark.parametrize("ce_type", SUBMISSIONS)
def test_both_modes_are_the_same_content(ce_type: str) -> None:
    """Sent in binary mode and again in structured mode, a submission is the same again: silent, not ID_REUSED."""
    chance = Random(1)
    body = json.dumps(instance(schema_of(ce_type), chance), indent=1).encode()  # not as our models would write it
    attributes = attributes_for(ce_type, chance)
    contents = set()
    for mode in ("binary", "structured"):
        _, headers, value = to_message(attributes, body, mode)
        id, type, sent = claim_of(headers, value)
        assert (id, type, sent) == (attributes.id, ce_type.encode(), body)
        contents.add(content_of(reference_of("urn:a", attributes.id), type, sent))
        assert read_message(headers, value)[1] == body
    assert len(contents) == 1


# --- what others do to messages


def _somewhere(document: Any, chance: Random, names: bool = False) -> tuple[Any, Any]:
    """A container and a key or index in it."""
    at: Any = document
    while True:
        keys: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at)))
        inner = [key for key in keys if isinstance(at[key], (dict, list)) and at[key]]
        if inner and chance.random() < 0.4:
            at = at[chance.choice(inner)]
            continue
        if names and isinstance(at, list):
            at = document
            continue
        return at, chance.choice(keys)


def optional(of: Any) -> list[str]:
    """Members a schema lets be left out."""
    return [name for name in of["properties"] if name not in of.get("required", ())]


def neutral(document: Any, schema: Any, chance: Random) -> Any:
    """Another way to write the same."""
    match chance.randrange(5):
        case 0:
            at, _ = _somewhere(document, chance, names=True)
            at[f"x_{chance.randrange(99)}"] = chance.choice([None, {"a": [1]}, "Aïcha", 1e300])
        case 1:
            document = dict(sorted(document.items(), key=lambda _: chance.random()))
        case 2 if schema["$id"].rpartition(":")[2] in SUBMISSIONS:  # what we write never carries null
            for at, of in ((document, schema), (document["by"], schema["$defs"]["By"])):
                for name in optional(of):
                    at.setdefault(name, None)
        case 3:
            for at in (document, *document.get("cells", ())):
                at |= {name: float(value) for name, value in at.items() if type(value) is int}
        case _:
            for name, value in document.items():
                if isinstance(value, str) and schema["properties"].get(name, {}).get("format") == "date-time":
                    other = timezone(timedelta(hours=chance.randint(-12, 12)))
                    document[name] = datetime.fromisoformat(value).astimezone(other).isoformat()
    return document


BAD_VALUES: list[Any] = [
    [], {"a": 1}, 1.5, True, "\0", "x" * 500, "Müller, Aïcha", -1, 10**40, "2026-02-30", "2026-13-01T00:00:00Z",
    "9999-12-31T23:59:59-12:00", "1700000000", "", "a/b~c",
]  # fmt: skip


def wrong(document: Any, schema: Any, chance: Random) -> Any:
    """What can't be read: a missing member, another kind of value, a text against its rule."""
    if chance.random() < 0.3:
        del document[chance.choice(schema["required"])]
        return document
    at, key = _somewhere(document, chance)
    at[key] = copy(chance.choice(BAD_VALUES))
    return document


def on_the_wire(document: Any, attributes: Attributes, chance: Random) -> Wire:
    body = json.dumps(document, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, None, 1, 3])).encode()
    _, headers, value = to_message(attributes, body, chance.choice(["binary", "structured"]))
    if chance.random() < 0.3:
        headers = [*headers, ("x-foreign", b"\xff"), ("ce_Odd-Name", b"1"), ("ce_purpose", "Grüße".encode())]
    return headers, value


def torn(wire: Wire, chance: Random) -> Wire:
    """Damage on the way: bits, cuts, headers gone, null, twice or of other bytes."""
    headers, value = list(wire[0]), wire[1]
    assert value is not None
    match chance.randrange(7):
        case 0:
            at = chance.randrange(len(value))
            value = value[:at] + bytes([value[at] ^ (1 << chance.randrange(8))]) + value[at + 1 :]
        case 1:
            value = value[: chance.randrange(len(value))]
        case 2:
            value = chance.choice(
                [None, b"", b"null", b"[]", b"{}", b"\xef\xbb\xbf" + value, b"[" * 100_000, b'{"a":' * 9999, b"NaN"]
            )
        case 3:
            del headers[chance.randrange(len(headers))]
        case 4:
            at = chance.randrange(len(headers))
            headers[at] = (
                headers[at][0],
                chance.choice([None, b"", b"\xff\xfe", b"a b", b"x" * 9999, "Zoë".encode(), b"1.0\n"]),
            )
        case 5:
            headers.insert(0, headers[chance.randrange(len(headers))])
        case _:
            at = chance.randrange(len(value))
            value = (
                value[:at] + chance.choice([b"\0", b'"', b"}", b"\\ud800", b"\\u0000", b",", b"Infinity"]) + value[at:]
            )
    return headers, value


def test_any_mutated_message_is_read_as_it_is_written_or_answered_with_a_pointer_that_exists() -> None:
    chance = Random(2026)
    seen: Counter[str] = Counter()
    kinds: list[tuple[str, Callable[[Any, Any, Random], Any] | None]] = [
        ("neutral", neutral),
        ("wrong", wrong),
        ("torn", None),
    ]
    # facts, answers and reports are read by strangers, too
    schemas = {ce_type: schema_of(ce_type) for ce_type in TYPES}
    for number in range(MUTATIONS):
        ce_type = chance.choice(list(schemas))
        document, attributes = instance(schemas[ce_type], chance), attributes_for(ce_type, chance)
        name, change = kinds[number % 3]
        expected = TYPES[ce_type].model_validate_json(json.dumps(document))
        if change is not None:
            wire = on_the_wire(change(document, schemas[ce_type], chance), attributes, chance)
        else:
            wire = torn(on_the_wire(document, attributes, chance), chance)
        verdict = judge(wire)
        if name == "neutral":
            assert verdict is None and from_message(*wire) == (attributes, expected)
        id, _, _ = claim_of(*wire)  # raises nothing, whatever was done
        assert id is None or re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", id)
        seen[f"{name} {verdict.rule.partition(':')[0] if verdict else 'read'}"] += 1
    assert seen["wrong missing"] and seen["torn json_invalid"] and len(seen) > 15  # the mutations reach the rules


# --- single rules


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-02T16:00:00+01:00", "2026-03-02T15:00:00"),
        ("2026-03-02t15:00:00z", "2026-03-02T15:00:00"),
        ("2026-03-02T15:00:00-00:00", "2026-03-02T15:00:00"),
        ("2026-03-02T15:00:00.123456789+05:45", "2026-03-02T09:15:00.123456"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
        ("2016-12-31T15:59:60-08:00", "2017-01-01T00:00:00"),
    ],
)
def test_times_have_any_offset(text: str, utc: str) -> None:
    assert moment(text) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-03-02", "2026-W10-1T00:00:00Z", "20260302T150000Z", "2026-03-02T15:00Z", "2026-03-02T15:00:00",
                                  "2026-03-02T15:00:00+0100", "2026-03-02T25:00:00Z", "١٢٣٤-03-02T15:00:00Z", "0001-01-01T00:00:00+02:00",
                                  "2026-02-30T00:00:00Z", "1772463600"])  # fmt: skip
def test_what_is_no_rfc_3339_moment_is_no_time(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        moment(text)


@pytest.mark.parametrize(
    ("media", "rule"),
    [
        (b"application/json", None),
        (b"application/json; charset=utf-8", None),
        (b"application/vnd.kreis+json", None),
        (None, None),
        (b"application/avro", "media_type"),
        (b"application/cloudevents-batch+json", "media_type"),
        (b"application/cloudevents+avro", "media_type"),
        (b"", "media_type"),
    ],
)
def test_a_body_that_is_not_json_is_said_so(media: bytes | None, rule: str | None) -> None:
    chance = Random(1)
    ce_type = "lotse.attendance.attendance_reported.v1"
    _, headers, value = to_message(
        attributes_for(ce_type, chance), json.dumps(instance(schema_of(ce_type), chance)).encode()
    )
    changed = [(name, media if name == "content-type" else text) for name, text in headers]
    if rule is None:
        assert from_message(changed, value).said is not None
    else:
        with pytest.raises(Verdict) as said:
            from_message(changed, value)
        assert (said.value.pointer, said.value.rule) == ("/content-type", rule)


def test_a_type_of_a_later_version_is_read_as_far_as_its_attributes() -> None:
    attributes = attributes_for("lotse.referral.referral_sent.v2", Random(1))
    _, headers, value = to_message(attributes, b'{"new": 1}', "structured")
    assert from_message(headers, value) == (attributes, None)


@pytest.mark.parametrize(("ce_type", "later"), [
    ("lotse.referral.referral_sent.v2", True), ("lotse.referral.referral_sent.v12", True), ("lotse.clock.tick.v2", True),
    ("lotse.referral.referral_sent.v1", False), ("lotse.referral.room_changed.v1", False), ("lotse.referral.room_changed.v2", False),
    ("lotse.referral.referral_sent", False),
])  # fmt: skip
def test_a_later_version_of_a_known_type_is_said_to_be_one(ce_type: str, later: bool) -> None:
    """Who counts such facts counts too little from then on, and must be able to say so."""
    body = json.dumps(samples_of("lotse.referral.referral_sent.v1")["full"]["data"]).encode()
    _, headers, value = to_message(attributes_for(ce_type, Random(1)), body)
    assert from_message(headers, value).is_later_version is later


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_tick_is_read_as_any_other_message(mode: str) -> None:
    tick = Tick(at=datetime(2026, 3, 2, 6, tzinfo=UTC))
    about = attributes_for(Tick.ce_type, Random(1))._replace(
        subject="", tenant="", streamversion=None, traceparent=None
    )
    _, headers, value = to_message(about, tick.to_json(), mode)
    headers = [(name, text) for name, text in headers if text]
    value = value.replace(b'"subject": "", ', b"").replace(b'"tenant": "", ', b"")
    assert from_message(headers, value) == (about, tick)


def test_a_missing_attribute_is_named_beside_its_parent() -> None:
    with pytest.raises(Verdict) as said:
        read_attributes([("ce_specversion", b"1.0"), ("ce_id", b"a")])
    assert said.value == Verdict("header", "", "missing:ce_source")


@pytest.mark.parametrize(("number", "read"), [("3", 3), ("3.0", 3), ("3.5", None), ("true", None), ("1e999", None)])
def test_a_number_of_a_stream_is_a_whole_number_as_json_schema_has_it(number: str, read: int | None) -> None:
    attributes = attributes_for("lotse.intake.case_closed.v1", Random(1))._replace(streamversion=None)
    _, headers, value = to_message(attributes, b"{}", "structured")
    value = value.replace(b"{", f'{{"streamversion": {number}, '.encode(), 1)
    if read is not None:
        assert read_message(headers, value)[0] == attributes._replace(streamversion=read)
    else:
        with pytest.raises(Verdict) as said:
            read_message(headers, value)
        assert said.value == Verdict("attribute", "/streamversion", "string_type")


def test_a_verdict_passes_through_a_context_manager_as_it_is() -> None:
    @contextmanager
    def around() -> Iterator[None]:
        yield

    with pytest.raises(Verdict) as raised, around():
        read_message([], b"{}")
    assert raised.value == Verdict("header", "", "missing:ce_specversion") and hash(raised.value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-01-01T00:59:60.5+01:00", datetime(2017, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2016-12-31T23:59:61Z", None),
        ("2016-13-31T23:59:60Z", None),
        ("9999-12-31T23:59:60Z", None),
    ],
)
def test_a_leap_second_is_read_in_a_body_as_in_an_attribute(text: str, read: datetime | None) -> None:
    """It is RFC 3339, which is what the schema says of both."""
    for mode in ("binary", "structured"):
        about = attributes_for("lotse.attendance.attendance_reported.v1", Random(1))
        body = samples_of(about.type)["full"]["data"] | {"reported_at": text}
        _, headers, value = to_message(about, json.dumps(body).encode(), mode)
        if read is None:
            with pytest.raises(Verdict) as said:
                from_message(headers, value)
            assert said.value.pointer == "/reported_at"
        else:
            said_at = getattr(from_message(headers, value).said, "reported_at")  # noqa: B009
            assert said_at == read and said_at.tzinfo is UTC
            assert moment(text) == read


@pytest.mark.parametrize(
    ("ce_type", "name"),
    [(ce_type, name) for ce_type, cls in SUBMISSIONS.items() for name, field in cls.model_fields.items()
     if get_origin(field.annotation) is tuple],
)  # fmt: skip
def test_a_list_is_read_as_far_as_its_first_fault(ce_type: str, name: str) -> None:
    """Sixty thousand faults fit a body. All of them named, to tell the first, a fetch of such bodies kept a service for a minute and a half
    from all others, and from saying that it lives."""

    def faults(most: int) -> int:
        with pytest.raises(ValidationError) as found:
            SUBMISSIONS[ce_type].from_json(json.dumps({name: [0] * most}).encode())
        return found.value.error_count()

    assert faults(60_000) == faults(1)
