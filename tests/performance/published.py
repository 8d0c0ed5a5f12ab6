"""What `lotse-contracts` costs a stranger: time to write, read and validate messages, to import it, and its size.

    .venv/bin/python -m tests.performance.published

Prints a table to stdout: of each figure the median, the best and the worst of its rounds. Exit code 1 where `lotse validate`
reads less than 20,000 messages a second, the least that was promised.
"""

import json
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
from typing import Any
from uuid import UUID

from contracts.attributes import Attributes
from contracts.families import TYPES, Received, from_message
from contracts.messages import KafkaMessage, to_message
from deploy.local.stack import ROOT
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


def seconds(once: Callable[[], object]) -> list[float]:
    """How long each round took; one before them warms up."""
    once()
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        once()
        found.append(time.perf_counter() - began)
    return found


def row(what: str, unit: str, values: list[float]) -> str:
    """A line of the table."""
    low, high = min(values), max(values)
    return f"| {what} | {unit} | {statistics.median(values):,.1f} | {low:,.1f} | {high:,.1f} |"


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
    print("| figure | unit | median | least | most |\n|---|---|---|---|---|")
    for mode in ("binary", "structured"):
        wire = written(said, mode)
        writing, reading = seconds(partial(written, said, mode)), seconds(partial(read, wire))
        print(row(f"encode, {mode} mode, all types", "µs a message", [one / len(said) * 1e6 for one in writing]))
        print(row(f"decode, {mode} mode, all types", "µs a message", [one / len(said) * 1e6 for one in reading]))
    with tempfile.TemporaryDirectory() as made:
        folder, there = Path(made), Path(made) / "there"
        pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
        python(folder, *pip, "wheel", "--no-deps", "-w", made, str(ROOT / "contracts"))
        (wheel,) = folder.glob("*.whl")
        python(folder, *pip, "install", "--no-deps", "--target", str(there), str(wheel))
        print(row("wheel", "kB", [wheel.stat().st_size / 1000]))
        bare = min(seconds(partial(python, there, "-c", "pass")))
        for what, program in IMPORTS.items():
            took = seconds(partial(python, there, "-c", program))
            print(row(f"import {what}, less a bare start", "ms", [(one - bare) * 1e3 for one in took]))
        file = folder / "messages.jsonl"
        file.write_bytes(b"".join(wire[n % len(wire)].value + b"\n" for n in range(LINES)))
        took = seconds(partial(python, there, "-m", "lotse_contracts.validate", "validate", str(file)))
        rates = [LINES / one for one in took]
        print(row(f"`lotse validate` of {LINES:,} messages, its start included", "a second", rates))
    return 0 if statistics.median(rates) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
