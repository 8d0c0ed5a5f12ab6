"""Child processes that die with their parent, are found again by their pid, and are ended by nothing else."""

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from deploy.errors import UNREACHABLE, Trouble
from deploy.places import closed, locked

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


_ours: dict[int, int] = {}
"""Ports this process was given, each with the lock it holds on it for as long as it lives."""


def free_port(wanted: int | None = None) -> int:
    """A free port on loopback; the wanted one if it is free. Below the range from which the kernel gives outgoing
    connections their ports: one of those may take a port between our look and the start of who shall listen on it. It stays
    ours while nobody listens there: a broker that was killed came back on another port, since a stack beside it had taken its
    own meanwhile, and services went on talking to a Kafka that was not theirs."""
    for port in [*([wanted] if wanted else []), *(random.randrange(15_000, 32_000) for _ in range(100))]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if (port == wanted and port in _ours) or _taken(port):
                return port
    raise Trouble("no free port on 127.0.0.1", "end something that listens there", UNREACHABLE)


def _taken(port: int) -> bool:
    """Makes it ours; False where it is somebody's already."""
    folder = Path(tempfile.gettempdir(), f"lotse-ports-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if (lock := locked(folder / str(port))) is None:
        return False
    _ours[port] = lock
    return True


def tied_to_us(sign: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: the child gets the signal when the thread that starts it ends. It ends by itself where that has happened
    before the kernel knew: a mail sink whose parent was killed between fork and exec stayed for good."""
    parent = os.getpid()

    def tied() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, sign)
        if os.getppid() != parent:
            os._exit(1)

    return tied


def known_by(pid: int) -> dict[str, Any]:
    """What is written down of a process to know it again by `known`. Raises OSError where none runs by this pid."""
    return {"pid": pid, "born": _born(pid)}


def known(note: Mapping[str, Any]) -> psutil.Process | None:
    """The process of which this was written down; None where it has ended, or its pid is another's by now."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
        found = psutil.Process(int(note["pid"]))
        return found if _born(found.pid) == note["born"] else None
    return None


def _born(pid: int) -> str:
    """Which boot of this machine, and how many ticks after it the process began. Not at what time, as psutil's `create_time` says: that
    moves with the clock, and where a clock was set, a stack that was up was up no more for every command."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    behind_its_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return f"{boot} {behind_its_name[19]}"  # the 22nd of proc(5), `starttime`; a name may hold blanks and parentheses


class Process:
    """One child: started, known by its pid file, stopped by SIGTERM and, past its limit, by SIGKILL."""

    begun_by: type[subprocess.Popen[bytes]] = subprocess.Popen

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.log, self._note = name, folder / f"{name}.log", folder / f"{name}.pid"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The pid while it runs."""
        return self.child.pid if self.child and self.child.poll() is None else None

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None, user: str | None = None) -> None:
        """Starts it; ended by the kernel when the thread that called this ends, so call it from the main thread. In a process
        group of its own: a terminal's Ctrl-C tells who started it, who ends Kafka and Postgres after those who use them."""
        self.end_leftover()
        closed(self.log.parent, passed=user is not None)
        with self.log.open("ab") as log:
            self.child = self.begun_by(
                list(argv), env=dict(env) if env is not None else None, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=tied_to_us(signal.SIGKILL), process_group=0, user=user, group=user,
                extra_groups=[] if user else None, cwd="/" if user else None,
            )  # fmt: skip
        self._note.write_text(json.dumps(known_by(self.child.pid)))

    def stop(self, patience: float = 20.0) -> int | None:
        """SIGTERM, and SIGKILL when patience (seconds) is over. Gives back the exit code."""
        if self.child is None:
            return None
        if self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.child.terminate()
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._note.unlink(missing_ok=True)
        return self.child.returncode

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    def end_leftover(self) -> None:
        """Ends the process an earlier, killed parent left behind: by its recorded pid, if it is still the same process."""
        with contextlib.suppress(psutil.Error):
            if left := self._noted():
                tree = [*left.children(recursive=True), left]
                for process in tree:
                    process.kill()
                psutil.wait_procs(tree, timeout=10)
        self._note.unlink(missing_ok=True)

    def runs(self) -> bool:
        """Whether it runs, whoever started it."""
        with contextlib.suppress(psutil.Error):
            return (noted := self._noted()) is not None and noted.status() != psutil.STATUS_ZOMBIE
        return False

    def _noted(self) -> psutil.Process | None:
        """The process with the recorded pid, if it is still the same process."""
        with contextlib.suppress(OSError, ValueError):
            return known(json.loads(self._note.read_text()))
        return None

    def last_words(self, lines: int = 8) -> str:
        """The end of its log, for an error that names the cause."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def alive_or_raise(self) -> None:
        """Raises Trouble with its last words where it has ended by itself."""
        if self.child is not None and self.child.poll() is not None:
            raise Trouble(f"{self.name} ended with code {self.child.returncode}:\n{self.last_words()}",
                          f"see {self.log}", UNREACHABLE)  # fmt: skip

    def wait_for_port(self, port: int, patience: float = 180.0) -> None:
        """Waits until it listens; raises Trouble when it ends or patience (seconds) is over."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.alive_or_raise()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise Trouble(
            f"{self.name} does not listen on port {port}:\n{self.last_words()}", f"see {self.log}", UNREACHABLE
        )


def ran(argv: Sequence[str], env: Mapping[str, str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """A child to its end, with what it said: as subprocess.run, begun as every Process is."""
    pipe = subprocess.PIPE
    with Process.begun_by(list(argv), env=dict(env), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(argv, child.returncode, out.decode(), err.decode())


def child_environment(**more: str) -> dict[str, str]:
    """What a child needs of ours, and what is given."""
    return {**os.environ, **more}
