"""A process is known again by what was written down of it, whatever happens to the clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.local import announced
from deploy.local.processes import Process, known, known_by


@pytest.fixture
def clock_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of /proc as it is, but for what it makes of a clock that was set forward by two seconds: the machine began later."""
    kernel = Path("/proc")
    for one in kernel.iterdir():
        if one.name.isdecimal() or one.name in ("self", "meminfo"):
            (tmp_path / one.name).symlink_to(one)
    said = (kernel / "stat").read_text().splitlines(keepends=True)
    later = [f"btime {int(line.split()[1]) + 2}\n" if line.startswith("btime ") else line for line in said]
    (tmp_path / "stat").write_text("".join(later))
    before = psutil.Process().create_time()
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert psutil.Process().create_time() - before == pytest.approx(2, abs=0.5)


@pytest.mark.usefixtures("clock_was_set")
def test_a_stack_that_is_up_stays_up_where_the_clock_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    note = _before_the_clock_was_set(os.getpid())
    monkeypatch.setattr(announced, "RUNNING", tmp_path / "running.json")
    announced.RUNNING.write_text(json.dumps({**note, "kafka": "127.0.0.1:9092"}))
    found = announced.is_up()
    assert found is not None and found["kafka"] == "127.0.0.1:9092"


def test_what_a_killed_parent_left_is_ended_where_the_clock_was_set(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "left").mkdir()
    one = Process(tmp_path / "left", "sleeper")
    one.start(["sleep", "300"])
    assert one.child
    try:
        request.getfixturevalue("clock_was_set")
        next_parents = Process(tmp_path / "left", "sleeper")
        assert next_parents.runs()
        next_parents.end_leftover()
        assert not Path(f"/proc/{one.child.pid}").exists() and not next_parents.runs()
    finally:
        one.kill()


def test_another_process_is_not_taken_for_it() -> None:
    """The pid is there again, as after a new start of the machine, and everything else is another's."""
    ours, child = known_by(os.getpid()), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        of_child = known_by(child.pid)
        assert (
            known(of_child)
            and known({**of_child, "pid": os.getpid()}) is None
            and known({**ours, "pid": child.pid}) is None
        )
        boot, _, ticks = str(ours["born"]).partition(" ")
        assert known({**ours, "born": f"00000000-0000-4000-8000-000000000000 {ticks}"}) is None
        assert known({**ours, "born": f"{boot} {int(ticks) + 1}"}) is None
    finally:
        child.communicate()
    assert known(of_child) is None
    with pytest.raises(OSError):
        known_by(child.pid)


@pytest.mark.parametrize(
    "note", [{}, {"pid": 1}, {"pid": "x", "born": 1.0}, {"pid": 0, "born": ""}, {"pid": None, "born": None}, []]
)
def test_what_nobody_wrote_is_nobody(note: dict[str, object]) -> None:
    assert known(note) is None


def _before_the_clock_was_set(pid: int) -> dict[str, object]:
    """Written by another process, of which this one's view of the clock is none."""
    words = f"import json; from deploy.local.processes import known_by; print(json.dumps(known_by({pid})))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))
