"""The demo as a person starts it: same seed, same figures; and its last line tells when one was lost."""

import json
import os
import subprocess
import sys
from typing import Any

from deploy.demo.kreis import Kreis
from deploy.places import ROOT, SERVICES, STATE


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "deploy.cli", "demo", *arguments], capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


def figures(*arguments: str) -> dict[str, Any]:
    done = demo(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["data"]
    return found


def test_same_seed_same_figures_and_each_answered_once() -> None:
    play = ("--persons", "60", "--weeks", "6", "--seed", "7")
    first, second = figures(*play), figures(*play)
    for release in (*first["report"], *second["report"]):
        release.pop("as_of", None)
    assert first == second
    sent = [event for day in Kreis(60, 6, 7).days for events in day.values() for event in events]
    assert first["submissions"] + first["left out, resting on a refusal"] == len(sent)
    assert first["cases opened"] == sum(type(e.submission).__name__ == "RegistrationSubmitted" for e in sent)
    assert first["answered_once"] == first["submissions"] and first["risks raised"] > 0 and first["mails sent"] > 0


def test_one_lost_on_the_way_is_told() -> None:
    done = demo("--persons", "10", "--weeks", "2", "--drop", "40", "--patience", "3")
    assert done.returncode == 1 and done.stdout, (done.returncode, done.stderr)
    last = done.stdout.strip().splitlines()[-1]
    once, _, total = last.removeprefix("answered once: ").partition(" of ")
    assert int(once) == int(total) - 1
    assert f"what the services wrote down stands in {STATE / 'logs'}" in done.stderr
    assert {f"{name}.log" for name in (*SERVICES, "kafka", "postgres")} <= {
        file.name for file in (STATE / "logs").iterdir()
    }
