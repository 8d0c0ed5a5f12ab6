"""The demo as a person starts it: same seed, same figures; and its last line tells when one was lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from deploy.demo.kreis import Kreis
from deploy.places import ROOT, SERVICES


def demo(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "deploy.cli", "demo", *arguments], capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT), **more})  # fmt: skip


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


def test_one_lost_on_the_way_is_told_and_nothing_is_left_but_what_was_written_down(tmp_path: Path) -> None:
    state, temporary = tmp_path / "state", tmp_path / "temporary"
    temporary.mkdir()
    places = {"LOTSE_STATE": str(state), "TMPDIR": str(temporary)}
    done = demo("--persons", "10", "--weeks", "2", "--drop", "40", "--patience", "3", **places)
    assert done.returncode == 1 and done.stdout, (done.returncode, done.stderr)
    last = done.stdout.strip().splitlines()[-1]
    once, _, total = last.removeprefix("answered once: ").partition(" of ")
    assert int(once) == int(total) - 1
    assert f"what the services wrote down stands in {state / 'logs'}" in done.stderr
    kept = {file.name for file in (state / "logs").iterdir()}
    assert {f"{name}.log" for name in (*SERVICES, "kafka", "postgres")} <= kept
    assert not list(temporary.glob("lotse-[!p]*"))  # but for who has which port
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]
