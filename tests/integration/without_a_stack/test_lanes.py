"""The test command's lanes, with children of its own kind: what each says stays together, and none outlives us."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.commands.test import LANES
from deploy.lanes import Done, Step, side_by_side
from deploy.local.processes import child_environment
from deploy.places import ROOT
from tests.publishing import PATIENCE


def python(name: str, code: str) -> Step:
    return Step(name, [sys.executable, "-c", code])


def played(steps: list[Step], folder: Path) -> tuple[list[Done], str]:
    """What came of the steps, two at once, and all that was shown."""
    shown: list[str] = []
    done = side_by_side(
        steps, 2, folder, os.environ, says=lambda words: shown.append(words.decode()),
        begins=lambda step: shown.append(f"<{step.name}>"), ended=lambda one: shown.append(f"</{one.name} {one.code}>"),
    )  # fmt: skip
    return done, "".join(shown)


WAITS = "import pathlib, time\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.01)\n"


def test_two_run_at_once_and_are_shown_one_after_the_other(tmp_path: Path) -> None:
    first = python(
        "first", f"print('a', flush=True)\n{WAITS.format('met')}print('b')"
    )  # it ends only if both run at once
    second = python("second", "print('c'); open('met', 'w'); raise SystemExit(3)")
    third = python("third", "import sys; print('d', file=sys.stderr)")
    done, shown = played([first, second, third], tmp_path)
    assert shown == "<first>a\nb\n</first 0><second>c\n</second 3><third>d\n</third 0>"
    assert [(one.name, one.code) for one in done] == [("first", 0), ("second", 3), ("third", 0)]


def test_no_more_than_two_run_at_once(tmp_path: Path) -> None:
    """The first two meet: each waits until it sees another. A third would be seen by one of them, or see them, while they rest."""
    code = (
        "import os, pathlib, time\n"
        "mine, met = pathlib.Path(str(os.getpid())), pathlib.Path('met')\n"
        "count = lambda: len([one for one in pathlib.Path().iterdir() if one.name.isdigit()])\n"
        "mine.touch(); seen = count()\n"
        "while seen < 2 and not met.exists(): time.sleep(0.01); seen = max(seen, count())\n"
        "met.touch(); time.sleep(0.3); print(max(seen, count())); mine.unlink()"
    )
    _, shown = played([python(f"n{n}", code) for n in range(5)], tmp_path)
    seen = [int(count) for count in re.findall(r">(\d+)\n<", shown)]
    assert len(seen) == 5 and max(seen) == 2


def test_what_is_said_is_shown_while_it_runs(tmp_path: Path) -> None:
    """The step ends only when what it said has been shown."""
    told = tmp_path / "shown"
    step = python("one", f"print('now', flush=True)\n{WAITS.format(str(told))}")
    assert side_by_side([step], 2, tmp_path, os.environ, says=lambda _: told.touch())[0].code == 0


def test_what_steps_said_until_they_were_interrupted_is_shown(tmp_path: Path) -> None:
    said = "print('a failure', flush=True); open({!r}, 'w'); time.sleep(3600)"
    steps = [python(name, f"import time; {said.format(name)}") for name in ("first", "second")]
    shown: list[bytes] = []

    def says(words: bytes) -> None:
        shown.append(words)
        while not (tmp_path / "second").exists():
            time.sleep(0.01)
        if len(shown) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(steps, 2, tmp_path, os.environ, says=says)
    assert b"".join(shown).count(b"a failure") == 2


PARENT = """
import os, sys
from pathlib import Path
from deploy.cli import main
import deploy.commands.test as command
from deploy.lanes import Step
child = "import pathlib, subprocess, sys, time\\ntry:\\n    pathlib.Path(sys.argv[1]).touch(); time.sleep(3600)\\nfinally:\\n    time.sleep(0.5); pathlib.Path(sys.argv[1]).unlink()"
command.steps = lambda level: [Step(name, [sys.executable, "-c", child, str(Path(sys.argv[1], name))]) for name in "abcd"]
sys.exit(main(["test"]))
"""


def interrupted(folder: Path, how: int, *, deaf: bool = False) -> int:
    """The exit code of `lotse test` ended by a signal while its lanes are full; each of which takes down what it made."""
    tied = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if deaf else None
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], cwd=ROOT, preexec_fn=tied, start_new_session=True,
                              env=child_environment(PYTHONPATH=str(ROOT), TMPDIR=str(folder.parent)),  # a killed one leaves a folder
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while len(list(folder.iterdir())) < LANES:
            assert parent.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        children = psutil.Process(parent.pid).children(recursive=True)
        os.killpg(parent.pid, how)  # as a terminal does: to all of the group
        code = parent.wait(PATIENCE)
        assert len(children) == LANES and not psutil.wait_procs(children, timeout=PATIENCE)[1]
        assert list(folder.iterdir()) == []  # they had the time to take down what they made, and the next never began
        return code
    finally:
        parent.kill()


def test_ctrl_c_ends_every_step_once_and_is_said(tmp_path: Path) -> None:
    assert interrupted(tmp_path, signal.SIGINT) == 130


def test_sigterm_ends_every_step_also_where_a_shell_made_us_deaf_to_ctrl_c(tmp_path: Path) -> None:
    assert interrupted(tmp_path, signal.SIGTERM, deaf=True) == 143


def test_steps_do_not_outlive_a_test_command_that_was_killed(tmp_path: Path) -> None:
    assert interrupted(tmp_path, signal.SIGKILL) == -signal.SIGKILL
