"""Processes that end, freeze, start, break at a seam. They are known by their recorded pid, never by a name."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psutil
from prometheus_client.parser import text_string_to_metric_families

from deploy.errors import UNREACHABLE, Trouble
from deploy.local.processes import Process, free_port, ran
from deploy.places import ROOT, SERVICES
from deploy.soak.night import Night

WRONG_CLOCK = Path(__file__).parents[1] / "wrong_clock"
MAIN = [sys.executable, "-m", "deploy.cli"]


def process(night: Night, name: str) -> Process:
    """A service's or a part of the stack's process."""
    return night.fleet.processes.get(name) or night.fleet.stack.processes[name]


def clock_off(hours: float) -> dict[str, str]:
    """Settings of a process whose clock is wrong by so much, everywhere Python tells the time."""
    return {"PYTHONPATH": f"{WRONG_CLOCK}{os.pathsep}{ROOT}", "LOTSE_SOAK_CLOCK": str(hours * 3600)}


def kill(night: Night, name: str) -> None:
    """SIGKILL; Postgres with its children, as a crash of the machine would."""
    one = process(night, name)
    assert one.child is not None
    children = psutil.Process(one.child.pid).children(recursive=True) if one.pid else []
    one.kill()
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=10)
    night.kills += 1
    night.note(f"SIGKILL {name}")


async def start(night: Night, name: str, **settings: str) -> None:
    """Starts a service again, or Kafka or Postgres, and waits until it answers."""
    if name in night.fleet.processes:
        night.fleet.start_one(name, **settings)
        await asyncio.to_thread(night.fleet.wait_ready, name)
    else:
        await asyncio.to_thread(night.fleet.stack.start_again(name))


async def restart(night: Night, name: str, **settings: str) -> None:
    """SIGTERM, and a new process with other settings."""
    await asyncio.to_thread(night.fleet.processes[name].stop)
    await start(night, name, **settings)


async def mended(night: Night) -> None:
    """Whatever a row that broke off left behind: everything runs again, and every service is ready. Raises Trouble where that
    can't be: nothing can be said of what follows."""
    if night.spoiled:
        raise Trouble(night.spoiled, "a new house", UNREACHABLE)
    fleet = night.fleet
    for name in ("postgres", *fleet.stack.brokers):
        if fleet.stack.processes[name].pid is None:
            await start(night, name)
    for name in SERVICES:
        if fleet.processes[name].pid is None:
            fleet.start_one(name)
    for name in SERVICES:
        await asyncio.to_thread(fleet.wait_ready, name)


@asynccontextmanager
async def frozen(one: Process, seconds: float) -> AsyncIterator[None]:
    """SIGSTOP for so long; SIGCONT whatever happens. The body runs as soon as it stands still, and the rest of the time is waited."""
    assert one.child is not None
    until, pid = time.monotonic() + seconds, one.child.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        while not struck(one) and time.monotonic() < until:  # on its way into the disk it still runs
            await asyncio.sleep(0.01)
        yield
        await asyncio.sleep(max(0.0, until - time.monotonic()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def struck(one: Process) -> bool:
    """Whether it has ended, or is frozen: a seam may lie before it serves."""
    assert one.child is not None
    return one.pid is None or psutil.Process(one.child.pid).status() == psutil.STATUS_STOPPED


def thawed(one: Process) -> None:
    """SIGCONT; harmless where it is not frozen, or gone."""
    if one.child is not None and one.pid is not None:
        os.kill(one.child.pid, signal.SIGCONT)


@asynccontextmanager
async def another(night: Night, name: str, *, own_group: bool = True, **settings: str) -> AsyncIterator[Process]:
    """A further worker of a service, ready. In a group of its own it has every partition, too: split brain, permanently."""
    fleet, port = night.fleet, free_port()
    one = Process(fleet.stack.folder / "second", f"{name}-{uuid4().hex[:6]}")
    group = {"LOTSE_GROUP": f"second-{uuid4().hex[:6]}"} if own_group else {}
    one.start([*MAIN, "serve", name], fleet.environment(name, **group, LOTSE_HTTP_PORT=str(port), **settings))
    try:
        armed = "LOTSE_FAILPOINT" in settings
        await night.until(
            lambda: b"serving" in one.log.read_bytes() or (armed and struck(one)), f"another worker of {name}"
        )
        yield one
    finally:
        thawed(one)
        await asyncio.to_thread(one.stop)


@asynccontextmanager
async def armed(night: Night, name: str, failpoint: str, **settings: str) -> AsyncIterator[Process]:
    """A service with a failpoint in it, ready or already struck: under load it has something to do before anybody asks. A sound one
    in its place afterwards. It is in a group of its own: what a dead member's group waits for (its session timeout) is looked at
    in row 15, not everywhere."""
    one, fleet = night.fleet.processes[name], night.fleet
    try:
        await asyncio.to_thread(one.stop)
        fleet.start_one(name, LOTSE_FAILPOINT=failpoint, LOTSE_GROUP=f"armed-{uuid4().hex[:6]}", **settings)
        await night.until(
            lambda: struck(one) or fleet.status(name).get("ready"), f"{name} with the failpoint {failpoint}"
        )
        yield one
    finally:
        await restart(night, name)


async def dead(night: Night, one: Process, patience: float = 150.0) -> int:
    """Waits until a process has ended; its exit code."""
    await night.until(lambda: one.pid is None, f"the end of {one.name}", patience)
    assert one.child is not None
    return int(one.child.returncode)


def rss(one: Process) -> int:
    """Resident bytes of a process."""
    assert one.pid is not None
    return int(psutil.Process(one.pid).memory_info().rss)


class Watchdog:
    """Ends a service by SIGKILL as soon as it has more memory than it may, as a container's limit does."""

    def __init__(self, most: int) -> None:
        self.most, self.peak = most, 0
        """Bytes of resident memory: allowed, and seen."""

    def has_bitten(self) -> bool:
        """Whether the service had more than it may."""
        return self.peak > self.most

    async def watch(self, night: Night, name: str) -> None:
        """Until it has bitten, or is cancelled."""
        while not self.has_bitten():
            with contextlib.suppress(psutil.NoSuchProcess, AssertionError):  # not yet, or not any more
                self.peak = max(self.peak, rss(night.fleet.processes[name]))
            await asyncio.sleep(0.005)
        kill(night, name)


@asynccontextmanager
async def memory_limited(night: Night, name: str, most: int) -> AsyncIterator[Watchdog]:
    """While a service may have so many bytes of resident memory."""
    dog = Watchdog(most)
    watching = asyncio.create_task(dog.watch(night, name))
    try:
        yield dog
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def descriptors(one: Process) -> int:
    """Open descriptors of a process."""
    assert one.pid is not None
    return int(psutil.Process(one.pid).num_fds())


def connections(one: Process, port: int) -> set[int]:
    """Local ports of the connections that a process has to a port."""
    assert one.pid is not None
    sockets = psutil.Process(one.pid).net_connections("tcp4")
    established = [socket for socket in sockets if socket.status == psutil.CONN_ESTABLISHED]
    return {socket.laddr.port for socket in established if socket.raddr.port == port}


def metric(night: Night, service: str, name: str, **labels: str) -> float:
    """What a service counts under a name since it was started, over all that have these labels."""
    said = night.fleet.ask(service, "/metrics", 20).text
    samples = [one for family in text_string_to_metric_families(said) for one in family.samples if one.name == name]
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


async def lotse(night: Night, service: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the `lotse` command in a service's environment; a setting given as "" is missing from it."""
    environment = {name: value for name, value in night.fleet.environment(service, **settings).items() if value}
    return await asyncio.to_thread(ran, [*MAIN, *arguments], environment, 180)
