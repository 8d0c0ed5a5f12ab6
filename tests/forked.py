"""Processes of `lotse` that begin in a tenth of the time: forked from one that has loaded what they load.

Some six hundred begin in a whole test, and loading took each a second of processor time. What begins so is a child of ours like any
other: with its own environment, files and group, killed, frozen, told to stop and waited for by its id, and gone when we are.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.processes import ran
from deploy.places import ROOT

MAIN = [sys.executable, "-m", "deploy.cli"]
PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


class Forked(subprocess.Popen[Any]):
    """A Popen that forks where argv is `lotse`, and begins anything else as ever."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any,
                       *more: Any) -> None:  # fmt: skip
        """The one place in which Popen makes a process, the same from Python 3.11 on, and its own affair: no types say what it takes.
        `more` begins with what only Windows knows, then come the pipes' ends."""
        environment = os.environ if env is None else env
        (in_, to_in, from_out, out, from_err, err), (session, group) = more[3:9], more[-2:]
        if pass_fds or session or not _can_be(args, environment):
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)  # type: ignore[misc]
            return
        request = {"argv": list(args[3:]), "env": dict(environment), "cwd": str(cwd or os.getcwd()), "group": group}
        self.pid = _forked(request, [in_ if in_ >= 0 else 0, out if out >= 0 else 1, err if err >= 0 else 2])
        self._child_created = True
        self._close_pipe_fds(in_, to_in, from_out, out, from_err, err)  # type: ignore[attr-defined]


def run(*words: str, env: Mapping[str, str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """`lotse WORDS`, to its end."""
    return ran([*MAIN, *words], env, timeout)


def _can_be(argv: Any, env: Mapping[str, str]) -> bool:
    """Whether an interpreter that has begun will do: one that finds the same code, and was told nothing else about itself."""
    return (
        isinstance(argv, Sequence)
        and [*argv[:3]] == MAIN
        and env.get("PYTHONPATH") == str(ROOT)
        and _told(env) == _told(os.environ)
    )


def _told(env: Mapping[str, str]) -> dict[str, str]:
    """What an interpreter reads while it begins."""
    return {
        key: value
        for key, value in env.items()
        if key.startswith(("PYTHON", "LD_", "LC_", "LANG")) and key != "PYTHONPATH"
    }


_door: socket.socket | None = None
_one_at_a_time = threading.Lock()


def _forked(request: dict[str, Any], fds: list[int]) -> int:
    """Asks for a process; its id once it is our child. Who forks it ends at once, and we are whose children become its orphans for
    so long: what the fork server would be told of it (that it ended, and how), only a parent is."""
    global _door  # noqa: PLW0603  # one a process
    with _one_at_a_time:
        if _door is None:
            _door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            words = ["-m", "tests.forking", str(theirs.fileno()), str(os.getpid())]
            subprocess.Popen([sys.executable, *words], pass_fds=[theirs.fileno()], cwd=ROOT,
                             env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, process_group=0)  # fmt: skip
            theirs.close()
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            socket.send_fds(_door, [json.dumps(request).encode()], fds)
            pid = int(_door.recv(100) or b"0")
            assert pid and _door.recv(100), "who forks processes for the tests could not, or has ended"
        except BaseException:  # the next answer would be taken for the next question's
            _door.close()
            _door = None
            raise
        finally:
            _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 0)
    return pid
