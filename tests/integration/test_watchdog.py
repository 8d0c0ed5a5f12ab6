"""Where the event loop stands is said where it does not turn; a process that was frozen is not blamed for it, and lives."""

import json
import os
import signal
import subprocess
import sys
import time

from deploy.places import ROOT

PROGRAM = """
import asyncio, sys, time
from services import watchdog
from services.telemetry import set_up_logs

watchdog.BLOCKED_AFTER = 3
set_up_logs("alone", "INFO")

def a_rule_that_never_ends():
    time.sleep(float(sys.argv[1]))

async def main():
    watched = asyncio.create_task(watchdog.Watchdog().run())
    await asyncio.sleep(0.1)
    print("began", flush=True)
    a_rule_that_never_ends()
    for _ in range(20):
        await asyncio.sleep(0.1)
    watched.cancel()

asyncio.run(main())
"""


def begun(blocks: float) -> subprocess.Popen[str]:
    found = subprocess.Popen([sys.executable, "-c", PROGRAM, str(blocks)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,  # noqa: S603
                             text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert found.stdout is not None and found.stdout.readline() == "began\n"
    return found


def test_what_blocks_the_loop_is_named_once_by_its_functions() -> None:
    said, _ = begun(9).communicate(timeout=60)
    assert said.count("the loop does not turn") == 1 and "in a_rule_that_never_ends" in said
    assert json.loads(said)["service"] == "alone"


def test_who_was_frozen_for_longer_than_that_says_nothing_and_lives() -> None:
    process = begun(0)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
