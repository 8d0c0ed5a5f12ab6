"""The demo as a person starts it: same seed, same figures; and its last line tells when one was lost."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from contracts.attendance import AttendanceReported
from deploy.demo.kreis import Event, Kreis
from deploy.places import ROOT, SERVICES
from tests.publishing import PATIENCE


def demo(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "deploy.cli", "demo", *arguments], capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT), **more})  # fmt: skip


def figures(*arguments: str) -> dict[str, Any]:
    done = demo(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["data"]
    return found


def test_same_seed_same_figures_and_each_answered_once() -> None:
    play = ("--persons", "60", "--weeks", "8", "--seed", "7", "--patience", str(PATIENCE))
    first, second = figures(*play), figures(*play)
    for release in (*first["report"], *second["report"]):
        release.pop("as_of", None)
    assert first == second
    kreis = Kreis(60, 8, 7)
    sent = [event for day in kreis.days for events in day.values() for event in events]
    assert first["submissions"] + first["left out, resting on a refusal"] == len(sent)
    assert first["cases opened"] == sum(type(e.submission).__name__ == "RegistrationSubmitted" for e in sent)
    assert first["answered_once"] == first["submissions"] and first["risks raised"] > 0 and first["mails sent"] > 0
    _is_right_about_what_follows_from_a_month_at_once(kreis, sent, first)


def _is_right_about_what_follows_from_a_month_at_once(kreis: Kreis, sent: list[Event], shown: dict[str, Any]) -> None:
    assert shown["answered_as_expected"] == shown["submissions"]
    expected = Counter(event.refused for event in sent if event.refused)
    assert expected and shown["refused"] == expected
    barred = {event.id for event in sent if event.refused}  # and all that rests on it, in order
    for event in sent:
        if barred.intersection(event.rests_on):
            barred.add(event.id)
    reports = [(event.submission.by.organisation_id in kreis.by_month, event.submission.revision > 1) for event in sent
               if isinstance(event.submission, AttendanceReported) and event.id not in barred]  # fmt: skip
    for habit, row in enumerate(shown["absences_seen"]):
        n = Counter(corrected for by_month, corrected in reports if by_month == habit)
        assert (row["reports"], row["corrections"]) == (n[False], n[True]) and n[False] > 100
        assert len(row["providers"]) == 2 and (set(row["providers"]) == kreis.by_month) == bool(habit)
        assert row["risks"] == row["within_a_week"] + row["within_a_fortnight"] + row["later"]
    daily, monthly = shown["absences_seen"]
    assert (daily["days_told"], monthly["days_told"]) == ("each day", "a month at once")
    # told day by day nothing is a fortnight old, told by month much is; and nobody is mailed about what is older than that
    assert (
        daily["risks"]
        and daily["later"] == 0
        and monthly["later"] + monthly["within_a_fortnight"] + monthly["never"] > 0
    )
    assert 0 < monthly["mailed"] <= monthly["within_a_week"] + monthly["within_a_fortnight"]
    assert 0 <= shown["oldest_day_mailed"] <= 14


def test_one_lost_on_the_way_is_told_and_nothing_is_left_but_what_was_written_down(tmp_path: Path) -> None:
    state, temporary = tmp_path / "state", tmp_path / "temporary"
    temporary.mkdir()
    places = {"LOTSE_STATE": str(state), "TMPDIR": str(temporary)}
    # the 41st is a need, on which nothing rests
    done = demo("--persons", "15", "--weeks", "2", "--drop", "41", "--patience", "20", **places)
    assert done.returncode == 1 and done.stdout, (done.returncode, done.stderr)
    last = done.stdout.strip().splitlines()[-1]
    once, _, total = last.removeprefix("answered once: ").partition(" of ")
    assert int(once) == int(total) - 1
    assert f"what the services wrote down stands in {state / 'logs'}" in done.stderr
    kept = {file.name for file in (state / "logs").iterdir()}
    assert {f"{name}.log" for name in (*SERVICES, "kafka", "postgres")} <= kept
    assert not list(temporary.glob("lotse-[!p]*"))  # but for who has which port
    running = {p.pid: [*(p.info["cmdline"] or ()), *(p.info["environ"] or {}).values()]
               for p in psutil.process_iter(["cmdline", "environ"])}  # fmt: skip
    assert not [pid for pid, words in running.items() if any(str(tmp_path) in word for word in words)]
