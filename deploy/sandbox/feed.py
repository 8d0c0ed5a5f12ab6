"""The messages of a Kreis in the order in which they are sent, with dials for what goes wrong in real feeds.

Pure and seeded: the same seed, size and dials give the same bytes in the same order. Each dial has chances of its own, so
turning one leaves what the others do as it is.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from contracts.envelope import Attributes, headers_of
from contracts.topics import Publisher, submissions_topic
from deploy.demo.kreis import Event, Kreis

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Dials:
    """Shares from 0 to 1 of all submissions."""

    duplicates: float = 0.0
    """Delivered once more, byte for byte, within two days."""
    disorder: float = 0.0
    """Up to eight hours later than it should be, behind what rests on it."""
    late: float = 0.0
    """Told 1 to 10 days late."""
    malformed: float = 0.0
    """Followed by a message nobody can read, under an id of its own (some have none)."""
    unknown_fields: float = 0.0
    """With a field no schema knows; readers ignore it."""
    next_minor: bool = False
    """All as a sender writes that is one minor version ahead: an optional field and two attributes more."""


class Sending(NamedTuple):
    """One message as Kafka takes it, the moment of the play at which it is sent, and what a dial did to it."""

    at: datetime
    topic: str
    key: bytes
    headers: Headers
    value: bytes | None
    what: str = "sound"

    def line(self) -> str:
        """As `kcat -J` prints a record, which `lotse validate` reads."""
        flat = [part for name, value in self.headers for part in (name, value.decode())]
        payload = None if self.value is None else self.value.decode()
        return json.dumps({"topic": self.topic, "key": self.key.decode(), "headers": flat, "payload": payload})


def feed(kreis: Kreis, publisher: Publisher, tenant: str, dials: Dials) -> list[Sending]:
    """Everything that is sent, in order."""
    numbered = enumerate(_sendings(kreis, publisher, tenant, dials))
    return [one for _, one in sorted(numbered, key=lambda pair: (pair[1].at, pair[0]))]


def _sendings(kreis: Kreis, publisher: Publisher, tenant: str, dials: Dials) -> Iterator[Sending]:
    duplicates, disorder, late, malformed, unknown = (
        Random(f"{kreis.seed} {name}") for name in ("duplicates", "disorder", "late", "malformed", "unknown fields")
    )
    for event in (event for day in kreis.days for events in day.values() for event in events):
        at, what = event.time, "sound"
        headers, body = _message(event, publisher, tenant, dials.next_minor)
        if unknown.random() < dials.unknown_fields:
            body, what = _with_unknown_field(body, unknown), "unknown field"
        if disorder.random() < dials.disorder:
            at, what = at + timedelta(minutes=disorder.randint(1, 480)), "out of order"
        if late.random() < dials.late:
            at, what = at + timedelta(days=late.randint(1, 10)), "late"
        sending = Sending(
            at, submissions_topic(event.submission.family, publisher.name), event.subject.encode(), headers, body, what
        )
        yield sending
        if duplicates.random() < dials.duplicates:
            yield sending._replace(at=at + timedelta(minutes=duplicates.randint(0, 2880)), what="duplicate")
        if malformed.random() < dials.malformed:
            yield _malformed(sending, malformed)


def _message(event: Event, publisher: Publisher, tenant: str, next_minor: bool) -> tuple[Headers, bytes]:
    attributes = Attributes(id=event.id, source=publisher.source, type=event.submission.ce_type, subject=event.subject,
                            time=event.time, tenant=tenant)  # fmt: skip
    headers, body = headers_of(attributes), event.submission.to_json()
    if not next_minor:
        return headers, body
    headers += [("ce_dataschema", f"urn:lotse:{attributes.type}:1.1".encode()), ("ce_sandboxchannel", b"app")]
    return headers, _json({**json.loads(body), "channel": {"kind": "APP", "release": 2}})


def _json(said: Any) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode()


def _with_unknown_field(body: bytes, chance: Random) -> bytes:
    """At the top, or within `by`."""
    said = json.loads(body)
    name, value = chance.choice([("room", "A 12"), ("remark_code", 7), ("tags", ["x", "y"]), ("origin", {"screen": 3})])
    (said if chance.random() < 0.7 else said["by"])[name] = value
    return _json(said)


# --- what nobody can read --------------------------------------------------------------------------------------------


def _changed(name: str, value: bytes | None) -> Callable[[Headers, Any], tuple[Headers, bytes | None]]:
    """Another value of a header, or none at all."""

    def broken(headers: Headers, said: Any) -> tuple[Headers, bytes | None]:
        kept = [(header, value if header == name and value is not None else was) for header, was in headers]
        return [pair for pair in kept if value is not None or pair[0] != name], _json(said)

    return broken


def _body(change: Callable[[Any], bytes | None]) -> Callable[[Headers, Any], tuple[Headers, bytes | None]]:
    return lambda headers, said: (headers, change(said))


BREAKS: dict[str, Callable[[Headers, Any], tuple[Headers, bytes | None]]] = {
    "cut off": _body(lambda said: _json(said)[: len(_json(said)) // 2]),
    "no body": _body(lambda _: None),
    "a list": _body(lambda said: _json([said])),
    "a member missing": _body(lambda said: _json({name: value for name, value in said.items() if name != "by"})),
    "a number for an object": _body(lambda said: _json({**said, "by": 7})),
    "NUL in a code": _body(lambda said: _json({**said, "by": {**said["by"], "organisation_id": "a\0b"}})),
    "a type of the future": _changed("ce_type", b"lotse.intake.registration_submitted.v99"),
    "no time": _changed("ce_time", None),
    "a time in words": _changed("ce_time", b"yesterday at four"),
    "a subject in capitals": _changed("ce_subject", b"CASE 17"),
    "another media type": _changed("content-type", b"application/avro"),
    "no tenant": _changed("ce_tenant", None),
    "no id": _changed("ce_id", None),
    "an id with spaces": _changed("ce_id", b"number 4 of today"),
}
"""Ways to be unreadable; the last two leave nothing to answer to."""


def _malformed(sound: Sending, chance: Random) -> Sending:
    """The same once more, under another id, and broken."""
    id = str(UUID(int=chance.getrandbits(128))).encode()
    headers = [(name, id if name == "ce_id" else value) for name, value in sound.headers]
    headers, value = BREAKS[chance.choice(list(BREAKS))](headers, json.loads(sound.value or b"{}"))
    return sound._replace(headers=headers, value=value, what="malformed")
