"""One real stack for all tests that need one."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from deploy.cli import YOUNG
from deploy.fleet import Fleet
from deploy.local.processes import Process, free_port
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from deploy.services import make_topics, migrate, publishers_from
from tests.foreign.tools import said_by, skip_out_of_reach, was_out_of_reach
from tests.forked import MAIN, Forked
from tests.house import HOUSES, ORGANISATIONS, PUBLISHERS, House, pytest_runtest_makereport, whole

__all__ = ["ORGANISATIONS", "PUBLISHERS", "pytest_runtest_makereport", "whole"]

Process.begun_by = Forked
gc.set_threshold(YOUNG, 20, 20)  # as in a command: 5-14 % of the time of those without a broker


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """How fast a machine draws or runs an example decides no test. (Imported where it is used: that takes half a second.)"""
    if "hypothesis" in module_path.read_text():
        from hypothesis import HealthCheck, settings  # noqa: PLC0415

        settings.register_profile("lotse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("lotse")


def new_stack() -> LocalStack:
    """A stack from packages, or with LOTSE_TEST_STACK=containers from images where a Docker engine answers."""
    wanted = os.environ.get("LOTSE_TEST_STACK", "packages")
    assert wanted in ("packages", "containers"), "LOTSE_TEST_STACK is packages or containers"
    if wanted == "packages":
        return LocalStack.ephemeral()
    from tests.containers import ContainerStack, engine_answers  # noqa: PLC0415

    if not engine_answers():
        pytest.skip("NOT RUN: LOTSE_TEST_STACK=containers, and no Docker engine answers here")
    return ContainerStack.ephemeral()


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """A real Kafka, Postgres and mail sink, gone afterwards."""
    with new_stack() as started:
        yield started


@contextmanager
def four_services(stack: LocalStack) -> Iterator[Fleet]:
    """The four services in processes of their own, on simulated time."""
    found = House(stack)
    try:
        found.start()
        HOUSES.append(found)
        yield found
    finally:
        HOUSES[:] = [house for house in HOUSES if house is not found]
        found.stop()


@pytest.fixture(scope="session")
def fleet(stack: LocalStack) -> Iterator[Fleet]:
    """The house most tests share."""
    with four_services(stack) as found:
        yield found


@pytest.fixture(scope="session")
def prepared(stack: LocalStack) -> LocalStack:
    """A stack with databases and topics, without services."""
    for name, database in stack.databases.items():
        migrate(name, database.owner)
    asyncio.run(make_topics(stack.kafka, publishers_from(Path(PUBLISHERS)), local=True))
    return stack


def without_topics(stack: LocalStack) -> None:
    """Every topic but Kafka's own goes; returns when none is told of any more."""
    admin, until = AdminClient({"bootstrap.servers": stack.kafka}), time.monotonic() + 240
    while names := [name for name in admin.list_topics(timeout=60).topics if not name.startswith("__")]:
        for gone in admin.delete_topics(names).values():
            gone.exception(60)  # it may be gone already, and still be told of
        assert time.monotonic() < until, f"still there: {names}"


def second_worker(fleet: Fleet, name: str, **more: str) -> Process:
    """Another worker in a group of its own: it thinks it owns every partition, too."""
    process = Process(fleet.stack.folder / "second", f"{name}-{uuid4().hex[:6]}")
    environment = fleet.environment(
        name, LOTSE_GROUP=f"second-{uuid4().hex[:6]}", LOTSE_HTTP_PORT=str(free_port()), **more
    )
    process.start([*MAIN, "serve", name], environment)
    return process


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and installed into an empty environment. Skips, loudly, where pip's index is out of reach and for no other
    reason: a dependency no index has is a fault of ours."""
    folder = tmp_path_factory.mktemp("stranger")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    venv = folder / "venv" / "bin"

    def run(*words: str | Path) -> None:
        done = said_by([*pip, *words], folder)
        if was_out_of_reach(done):
            skip_out_of_reach("what the wheel stands on")
        assert done.returncode == 0, done.stderr

    run("wheel", "--no-deps", "-w", folder, ROOT / "contracts")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv.parent)], check=True)  # noqa: S603
    wheel = next(folder.glob("*.whl"))
    assert wheel.stat().st_size < 300_000
    run("--python", venv / "python", "install", wheel)
    return venv
