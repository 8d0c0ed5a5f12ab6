"""Tests that share a house find it whole behind one that broke it, and are told which that was."""

import os
import re
import subprocess
import sys
from pathlib import Path

from deploy.places import ROOT

SHARED = '''
import os, signal, sys
from pathlib import Path
import pytest
from deploy.local.stack import LocalStack
from deploy.places import SERVICES
from tests.house import HOUSES, House

SERVES = """
import http.server, pathlib, sys
begun = pathlib.Path("begun-" + sys.argv[1])
if not begun.exists():  # its Kafka did not answer in time
    begun.touch()
    sys.exit(3)
class Service(http.server.BaseHTTPRequestHandler):
    busy = True
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{}' if Service.busy else b'{"outbox": {}}')
        Service.busy = Service.busy and self.path != "/status"
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
"""

NOTE = Path("pids")
@pytest.fixture(scope="module")
def house(tmp_path_factory):
    found = House(LocalStack(tmp_path_factory.mktemp("stack")))
    start = type(found.processes["intake"]).start
    for name, one in found.processes.items():
        one.start = lambda argv, env, one=one, name=name: start(one, [sys.executable, "-c", SERVES, str(found.ports[name])], env)
    for name in SERVICES:
        found.start_one(name)
        found.wait_ready(name)
    HOUSES.append(found)
    yield found
    HOUSES.clear()
    found.stop()

def pids(house):
    return {name: one.pid for name, one in house.processes.items()}

def test_a_breaks(house):
    house.processes["referral"].stop()
    house.start_one("intake", LOTSE_FAILPOINT="evolve:raise:1")
    os.kill(house.processes["reporting"].pid, signal.SIGSTOP)
    house.stack.mail_hold.touch()
    assert not "whole"

def test_b_finds_it_whole(house):
    assert all("outbox" in house.status(name) for name in SERVICES) and not house.changed
    assert not house.stack.mail_hold.exists()
    NOTE.write_text(repr(pids(house)))

def test_c_finds_what_was_not_broken_as_it_was(house):
    assert NOTE.read_text() == repr(pids(house))

def test_d_loses_a_service_and_says_nothing(house):
    house.processes["notification"].kill()

def test_e_fails_for_what_was_left_there(house):
    assert all(house.status(name)["running"] for name in SERVICES)
    assert not "what the first one wrote"

def test_f_fails_in_none(tmp_path):
    assert not "in it"
'''


def test_each_finds_it_whole_and_is_told_who_broke_it(tmp_path: Path) -> None:
    (tmp_path / "test_shared.py").write_text(SHARED)
    (tmp_path / "mail").mkdir()
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-rA",
        "-p",
        "tests.house",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'own'}",
        "test_shared.py",
    ]
    done = subprocess.run(argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)  # fmt: skip
    ended = re.findall(r"^(PASSED|FAILED|ERROR) test_shared.py::test_(\w)_", done.stdout, re.M)
    assert sorted(ended, key=lambda one: (one[1], one[0])) == [
        ("FAILED", "a"), ("PASSED", "b"), ("PASSED", "c"), ("ERROR", "d"), ("PASSED", "d"), ("FAILED", "e"),
        ("FAILED", "f"),
    ], done.stdout  # fmt: skip
    assert "notification does not run any more" in done.stdout
    assert done.stdout.count("test_shared.py::test_a_breaks failed in it before: begin there") == 2  # beside d, and e
