"""Disks that are full."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from deploy.errors import UNREACHABLE, Trouble
from deploy.soak.faults.database import end_others
from deploy.soak.faults.processes import MAIN, restart, start
from deploy.soak.night import Night
from deploy.soak.observed import session

READ_ONLY = """
mount -t tmpfs -o size=4k none "$1"
head -c 4096 /dev/zero > "$1/full"
awk '$4 ~ /^rw/ && $2 !~ "^/(proc|sys|dev)(/|$)" && $2 != full {print $2}' full="$1" /proc/self/mounts |
    while read -r at; do mount -o remount,bind,ro "$at"; done
if touch "$2/x" 2> /dev/null; then echo "$2 can still be written" >&2; exit 1; fi
shift 2
exec "$@"
"""
"""For `sh -ec`, in mounts of its own: a temporary directory ($1) that is full, and nothing else that can be written, which is
tried in a folder ($2); then what is to run. It stays the same process."""


class Disk:
    """A small disk of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Takes all that is free."""
        with (self.folder / f"ballast-{uuid4().hex}").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(1 << 16))

    def clear(self) -> None:
        """Gives it back."""
        for ballast in self.folder.glob("ballast-*"):
            ballast.unlink()


def no_disk() -> str:
    """Why no disk can be mounted here; empty where one can."""
    if os.geteuid():
        return "mounting a disk of its own needs root"
    if missing := [tool for tool in ("mount", "unshare") if shutil.which(tool) is None]:
        return f"{' and '.join(missing)} (Debian: util-linux) cannot be found"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True)  # noqa: S607
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)  # noqa: S607
    return "" if done.returncode == 0 else "mounting is refused here"


@contextlib.contextmanager
def disk(night: Night, mib: int) -> Iterator[Disk]:
    """A disk of so many MiB below the stack's folder; gone afterwards."""
    folder = night.fleet.stack.folder / f"disk-{uuid4().hex[:6]}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "lotse", str(folder)], check=True)  # noqa: S603, S607
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607
        folder.rmdir()


@asynccontextmanager
async def read_only(night: Night, name: str) -> AsyncIterator[None]:
    """A service that can write to no file, its temporary directory full; an ordinary one in its place afterwards."""
    one, full = night.fleet.processes[name], night.fleet.stack.folder / f"full-{uuid4().hex[:6]}"
    full.mkdir()
    await asyncio.to_thread(one.stop)
    sealed = ["unshare", "--mount", "sh", "-ec", READ_ONLY, "sealed", str(full), str(night.fleet.stack.folder)]
    one.start([*sealed, *MAIN, "serve", name], night.fleet.environment(name, TMPDIR=str(full)))
    try:
        await asyncio.to_thread(night.fleet.wait_ready, name)
        yield
    finally:
        await restart(night, name)
        full.rmdir()


@asynccontextmanager
async def database_on(night: Night, service: str, disk: Disk) -> AsyncIterator[None]:
    """A service's database on a disk of its own; back among the others afterwards."""
    place, space = disk.folder / service, f"small_{service}"
    place.mkdir(mode=0o700)
    data = (night.fleet.stack.folder / "postgres" / "data").stat()
    os.chown(place, data.st_uid, data.st_gid)

    async def there() -> None:
        await move(f"create tablespace {space} location '{place}'", space)

    async def back() -> None:
        await move("", "pg_default", f"drop tablespace if exists {space}")

    async def move(before: str, to: str, after: str = "") -> None:
        await asyncio.to_thread(night.fleet.processes[service].stop)
        async with session(night.fleet, "postgres") as con:
            await end_others(con, service)
            for sql in (before, f'alter database "{service}" set tablespace {to}', after):
                if sql:
                    await con.execute(sql)
        await start(night, service)

    async with elsewhere(night, f"the database of {service}", there, back):
        yield


@asynccontextmanager
async def log_on(night: Night, disk: Disk) -> AsyncIterator[None]:
    """The broker's data on a disk of its own; back in its folder afterwards."""
    data, small = night.fleet.stack.folder / "kafka" / "data", disk.folder / "data"
    one = night.fleet.stack.processes["kafka"]

    async def there() -> None:
        await asyncio.to_thread(one.stop, 60.0)
        await copied(data, small)
        shutil.rmtree(data)
        data.symlink_to(small)
        await start(night, "kafka")

    async def back() -> None:
        await asyncio.to_thread(one.stop, 60.0)
        if data.is_symlink():  # else it never came away
            whole = data.with_name("whole")
            await copied(small, whole)
            data.unlink()
            whole.rename(data)
        await start(night, "kafka")

    async with elsewhere(night, "the broker's log", there, back):
        yield


async def copied(old: Path, new: Path) -> None:
    """A folder with all that is in it, holes as holes. Raises Trouble where it does not fit."""
    done = await asyncio.to_thread(subprocess.run, ["cp", "-a", "--sparse=always", str(old), str(new)], check=False)
    if done.returncode:
        raise Trouble("the broker's data do not fit where they shall go", "a larger disk", UNREACHABLE)


@asynccontextmanager
async def elsewhere(
    night: Night, what: str, there: Callable[[], Awaitable[None]], back: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """While something of the house stands in another place; back afterwards, whatever happens. Where the way back fails the house
    is spoiled, and what was raised before it is what is raised."""
    try:
        await there()
        yield
    finally:
        first = sys.exception()
        try:
            await back()
        except Exception as error:
            night.spoiled = f"{what} did not come back: {type(error).__name__}: {error}"
            night.note(night.spoiled)
            if first is None:
                raise
