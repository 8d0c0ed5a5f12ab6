"""What `lotse-contracts` costs a stranger: time to write, read and validate messages, to import it, and its size.

    .venv/bin/python -m tests.performance.published

Prints a table to stdout: of each figure the median, the least and the most of its rounds by the clock, and the median by
the processor's time, which says on a machine that others use, too, what the work itself costs. Exit code 1 where
`lotse validate` reads less than 20,000 messages in a second of the clock, the least that was promised.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from contracts.attributes import Attributes
from contracts.families import TYPES, Received, from_message
from contracts.messages import KafkaMessage, to_message
from deploy.places import ROOT
from deploy.published.samples import instance
from deploy.published.schemas import schema_of

ROUNDS, EACH, LEAST = 7, 40, 20_000
LINES = 20_000


def messages() -> list[tuple[Attributes, Any]]:
    """Seeded messages of every type, as many of each."""
    chance = Random(2026)
    found = []
    for ce_type, cls in TYPES.items():
        schema = schema_of(ce_type)
        for _ in range(EACH):
            said: Any = cls.model_validate_json(json.dumps(instance(schema, chance)))
            about = Attributes(f"m-{chance.getrandbits(60)}", "https://kreis.example/lotse", ce_type,
                               str(UUID(int=chance.getrandbits(128))), datetime(2026, 3, 2, 15, tzinfo=UTC), "rkn")  # fmt: skip
            found.append((about, said))
    return found


class Took(NamedTuple):
    """How long a round took, in seconds by the clock and of the processor (its children's included)."""

    clock: float
    processor: float


def seconds(once: Callable[[], object]) -> list[Took]:
    """How long each round took; one before them warms up."""
    once()
    found = []
    for _ in range(ROUNDS):
        began, spent = time.perf_counter(), processor()
        once()
        found.append(Took(time.perf_counter() - began, processor() - spent))
    return found


def processor() -> float:
    """Seconds of the processor so far, of this process and of those it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def row(what: str, unit: str, took: list[Took], of: Callable[[float], float]) -> str:
    """A line of the table; `of` makes the figure of seconds."""
    clock = [of(one.clock) for one in took]
    by_processor = statistics.median(of(one.processor) for one in took)
    return f"| {what} | {unit} | {statistics.median(clock):,.1f} | {min(clock):,.1f} | {max(clock):,.1f} | {by_processor:,.1f} |"


IMPORTS = {
    "pydantic": "from pydantic import BaseModel",  # the package alone loads nothing
    "lotse_contracts.families": "import lotse_contracts.families",
}


def written(said: list[tuple[Attributes, Any]], mode: str) -> list[KafkaMessage]:
    """Models as Kafka carries them."""
    return [to_message(about, body.to_json(), mode) for about, body in said]


def read(wire: list[KafkaMessage]) -> list[Received]:
    """And back."""
    return [from_message(headers, value) for _, headers, value in wire]


def python(folder: Path, *words: str) -> None:
    """A program in a process of its own, to its end."""
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)  # noqa: S603


def main() -> int:
    """Measures and prints."""
    said = messages()
    print("| figure | unit | median | least | most | processor |\n|---|---|---|---|---|---|")

    def each(took: float) -> float:
        return took / len(said) * 1e6

    wires = {}
    for mode in ("binary", "structured"):
        wires[mode] = wire = written(said, mode)
        print(row(f"encode, {mode} mode, all types", "µs a message", seconds(partial(written, said, mode)), each))
        print(row(f"decode, {mode} mode, all types", "µs a message", seconds(partial(read, wire)), each))
    slowest = []
    with tempfile.TemporaryDirectory() as made:
        folder, there = Path(made), Path(made) / "there"
        pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
        python(folder, *pip, "wheel", "--no-deps", "-w", made, str(ROOT / "contracts"))
        (wheel,) = folder.glob("*.whl")
        python(folder, *pip, "install", "--no-deps", "--target", str(there), str(wheel))
        print(f"| wheel | kB | {wheel.stat().st_size / 1000:,.1f} | | | |")
        bare = seconds(partial(python, there, "-c", "pass"))
        least = Took(min(one.clock for one in bare), min(one.processor for one in bare))
        for what, program in IMPORTS.items():
            took = [Took(*map(float.__sub__, one, least)) for one in seconds(partial(python, there, "-c", program))]
            print(row(f"import {what}, less a bare start", "ms", took, lambda one: one * 1e3))
        for what, lines in (
            ("CloudEvents", structured(wires["structured"])),
            ("kcat's records", as_kcat(wires["binary"])),
        ):
            file = folder / "messages.jsonl"
            file.write_bytes(b"".join(lines[n % len(lines)] + b"\n" for n in range(LINES)))
            took = seconds(partial(python, there, "-m", "lotse_contracts.validate", "validate", str(file)))
            print(
                row(
                    f"`lotse validate` of {LINES:,} {what}, its start included",
                    "a second",
                    took,
                    lambda one: LINES / one,
                )
            )
            slowest.append(LINES / statistics.median(one.clock for one in took))
    return 0 if min(slowest) >= LEAST else 1


def structured(wire: list[KafkaMessage]) -> list[bytes]:
    """A line each: CloudEvents in structured mode."""
    return [value for _, _, value in wire]


def as_kcat(wire: list[KafkaMessage]) -> list[bytes]:
    """A line each: records as `kcat -J` prints them."""
    return [
        json.dumps({"topic": "t", "partition": 0, "offset": 7, "tstype": "create", "ts": 1, "broker": 1,
                    "headers": [part for name, raw in headers for part in (name, raw.decode())],
                    "key": key.decode(), "payload": value.decode()}).encode()
        for key, headers, value in wire
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
