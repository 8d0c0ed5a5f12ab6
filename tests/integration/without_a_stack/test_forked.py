"""What the tests fork instead of exec'ing is a child like any other."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.processes import Process, child_environment
from deploy.places import ROOT
from tests.forked import MAIN, Forked, run
from tests.publishing import PATIENCE

ENV = child_environment(PYTHONPATH=str(ROOT))
PARENT = """
import os, sys
from tests.forked import MAIN, Forked
child = Forked([*MAIN, "serve", "clock"], env=dict(os.environ), stdout=sys.stderr)
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def waits() -> Iterator[dict[str, str]]:
    """Settings of a clock that waits, and says nothing: for forty seconds, since who takes what it sends says nothing either. (Where
    nobody listens it ends within two.)"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield ENV | {"LOTSE_KAFKA": f"127.0.0.1:{silent.getsockname()[1]}"}


def test_its_words_its_exit_code_and_its_environment_are_its_own(tmp_path: Path) -> None:
    done = run("status", "--format", "json", env=ENV | {"LOTSE_STATE": str(tmp_path)})
    asked = subprocess.run([*MAIN, "status", "--format", "json"], env=ENV | {"LOTSE_STATE": str(tmp_path)}, capture_output=True,
                           text=True, check=False)  # fmt: skip
    assert done.returncode == asked.returncode == 3
    assert (done.stdout, done.stderr) == (asked.stdout, asked.stderr) and "no stack is up" in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_our_child_and_told_to_end_by_its_id(tmp_path: Path, sign: signal.Signals, waits: dict[str, str]) -> None:
    process = Process(tmp_path, "clock")
    process.start([*MAIN, "serve", "clock"], waits)
    assert process.child is not None and psutil.Process(process.child.pid).ppid() == os.getpid()
    assert os.getpgid(process.child.pid) == process.child.pid
    process.child.send_signal(sign)
    assert process.child.wait(PATIENCE) in (-sign, 0)


def test_what_asks_for_an_interpreter_of_its_own_gets_one() -> None:
    with Forked([*MAIN, "--help"], env=ENV | {"PYTHONHASHSEED": "7"}, stdout=subprocess.PIPE) as process:
        assert "-m tests.forking" not in " ".join(psutil.Process(process.pid).cmdline())
        assert b"Lotse joins the bodies" in process.communicate()[0]


def test_with_a_parent_that_is_killed_it_ends(waits: dict[str, str]) -> None:
    """Also who had only been asked for: nobody is left who knows it."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=waits, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    until = time.monotonic() + 25  # the kernel ends it at once; by itself it would in forty
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it runs on"
        time.sleep(0.05)
    parent.stdout.close()
