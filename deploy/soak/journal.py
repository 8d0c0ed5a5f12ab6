"""The sender's own journal: every submission before it is sent and after it is acknowledged, on disk as it goes.

A line is written by one system call, so the death of the sender loses none; a torn last line is left out when it is read.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """Where Kafka says a record of ours stands."""

    topic: str
    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class Meant:
    """One submission as its publisher means it. `poison`: nobody can read it; `id` is "" where not even that."""

    publisher: str
    family: str
    type: str
    """Snake case of the class, `attendance_reported`."""
    id: str
    subject: str
    tenant: str
    time: str
    body: bytes
    poison: str = ""
    headers: tuple[tuple[str, bytes | None], ...] = ()
    """Instead of those made from the fields above, where a message is broken on purpose."""
    copies: int = 1
    waits: bool = False
    """Meant to wait for ever; by this the sender paces itself, the ledger does not look at it."""

    @property
    def topic(self) -> str:
        """Where it goes."""
        return f"{self.family}.submissions.{self.publisher}"

    @property
    def payload(self) -> str:
        """SHA-256 (hex) of the body."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(slots=True)
class Entry:
    """What the journal knows of one submission: meant, sent so many times, acknowledged there."""

    meant: Meant
    sent: int = 0
    sent_at: float = 0.0
    """Seconds since the epoch, of the first send."""
    places: list[Place] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Kafka has it at least once."""
        return bool(self.places)


class Journal:
    """Append-only JSON lines; the same file opened again goes on where it stopped."""

    def __init__(self, file: Path) -> None:
        self.file, self.entries = file, list[Entry]()
        whole = self._read() if file.exists() else 0
        self._out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.ftruncate(self._out, whole)  # a torn line would run into the next one

    def _read(self) -> int:
        """Reads what is there; gives back how many bytes of it are whole lines."""
        raw = self.file.read_bytes()
        whole = raw.rfind(b"\n") + 1
        for line in raw[:whole].splitlines():
            number, what, value = json.loads(line)
            if what == "meant":
                headers = tuple(
                    (name, None if text is None else text.encode("latin-1")) for name, text in value["headers"]
                )
                self.entries.append(
                    Entry(Meant(**{**value, "body": value["body"].encode("latin-1"), "headers": headers}))
                )
            elif what == "sent":
                self._sent(number, value)
            else:
                self.entries[number].places.append(Place(*value))
        return whole

    def _write(self, number: int, what: str, value: object) -> None:
        os.write(self._out, json.dumps([number, what, value]).encode() + b"\n")

    def _sent(self, number: int, at: float) -> None:
        entry = self.entries[number]
        entry.sent += 1
        entry.sent_at = entry.sent_at or at

    def means(self, meant: Meant) -> int:
        """Enters a submission before anything of it is sent; gives back its number."""
        self.entries.append(Entry(meant))
        headers = [[name, None if raw is None else raw.decode("latin-1")] for name, raw in meant.headers]
        self._write(
            len(self.entries) - 1, "meant", {**asdict(meant), "body": meant.body.decode("latin-1"), "headers": headers}
        )
        return len(self.entries) - 1

    def sends(self, number: int, at: float) -> None:
        """Enters that one copy is about to be sent."""
        self._sent(number, at)
        self._write(number, "sent", at)

    def acknowledged(self, number: int, place: Place) -> None:
        """Enters where Kafka says it stands."""
        self.entries[number].places.append(place)
        self._write(number, "acknowledged", place)

    def unacknowledged(self) -> Iterator[int]:
        """Numbers of what was meant and is not known to have arrived: a publisher sends those again, ids and all."""
        return (number for number, entry in enumerate(self.entries) if not entry.acknowledged)
