"""Where the event loop stands is said where it does not turn; a process that was frozen is not blamed for it, and lives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.places import ROOT
from tests.publishing import PATIENCE

PROGRAM = """
import asyncio, pathlib, sys
from services.process import watchdog
from services.process.telemetry import set_up_logs

watchdog.BLOCKED_AFTER = 3
set_up_logs("alone", "INFO")

def a_rule_that_never_ends():
    sys.stdin.read()

async def main():
    watched = asyncio.create_task(watchdog.Watchdog().run())
    await asyncio.sleep(0.1)
    print("began", flush=True)
    if sys.argv[1] == "hangs":
        a_rule_that_never_ends()
    while not pathlib.Path(sys.argv[2]).exists():
        pathlib.Path(sys.argv[3]).touch()
        await asyncio.sleep(0.05)
    watched.cancel()

asyncio.run(main())
"""


FREEZES = 6  # whoever goes by the clock is seen in every other: it depends on who wakes first


def begun(what: str, until: Path) -> subprocess.Popen[str]:
    """A process whose loop turns, and says so by a file `turned`, until there is another; or hangs."""
    found = subprocess.Popen([sys.executable, "-c", PROGRAM, what, str(until), str(until.with_name("turned"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,  # noqa: S603
                             stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert found.stdout is not None and found.stdout.readline() == "began\n"
    return found


def test_what_blocks_the_loop_is_named_once_by_its_functions(tmp_path: Path) -> None:
    """It hangs until it is told to end, which is when somebody has read where it hangs."""
    process = begun("hangs", ended := tmp_path / "ended")
    assert process.stdout is not None
    said = process.stdout.readline()
    assert json.loads(said)["event"] == "the loop does not turn" and json.loads(said)["service"] == "alone"
    assert "in a_rule_that_never_ends" in said
    ended.touch()
    rest, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest) == (0, "")


def test_who_was_frozen_for_longer_than_that_says_nothing_and_lives(tmp_path: Path) -> None:
    process, turned = begun("turns", ended := tmp_path / "ended"), tmp_path / "turned"
    for _ in range(FREEZES):
        process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)  # at least: longer than it may be silent
        turned.unlink(missing_ok=True)
        process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while not turned.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    ended.touch()
    said, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "")
