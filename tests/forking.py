"""The other end of tests/forked.py: an interpreter that has loaded what `lotse` loads, and forks whom it is asked for. Nothing of
`deploy` is loaded before the fork: it reads its settings while it is."""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

LOADED = (
    "services.host.host", "services.intake.app", "services.referral.app", "services.notification.app", "services.reporting.app",
    "confluent_kafka.admin", "httpx", "psutil", "click", "rich.console", "rich.progress", "rich.table",
)  # fmt: skip
"""What costs most."""
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def serve(door: socket.socket, asks: int) -> None:
    """Forks whom it is asked for by the process `asks`, until that has ended."""
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would write into every page that is shared
    while True:
        asked, fds, _, _ = socket.recv_fds(door, 1 << 20, 3)
        if not asked:
            return
        if (between := os.fork()) == 0:
            us = os.getpid()
            try:
                if child := os.fork():
                    group = json.loads(asked)["group"]
                    if group >= 0:
                        os.setpgid(child, group)
                    door.send(str(child).encode())
            finally:
                if os.getpid() == us:
                    os._exit(0)
            door.close()
            while os.getppid() == us:
                time.sleep(0.0002)
            _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != asks:  # it ended before, or asks no more
                os._exit(1)
            become(json.loads(asked), fds)
        os.waitpid(between, 0)
        for fd in fds:
            os.close(fd)
        door.send(b"0")


def become(request: dict[str, Any], fds: list[int]) -> NoReturn:
    """What was asked for."""
    for to, fd in enumerate(fds):
        os.dup2(fd, to)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    sys.argv = [str(Path(__file__).parents[1] / "deploy/cli.py"), *request["argv"]]
    from deploy.cli import main  # noqa: PLC0415

    sys.exit(main())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
