"""A stack killed by SIGKILL comes up again with its data, beside another one that runs."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from deploy.asking import client
from deploy.local.operations import PRIVATE
from deploy.local.processes import tied_to_us
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from tests.publishing import PATIENCE, Course, Publisher

AT_ONCE = 15.0  # seconds: an orderly end waits twenty for each of those that stand still here


def started(state: Path, *more: str, **settings: str) -> "subprocess.Popen[bytes]":
    """`lotse up` in a state folder, in a group of its own, as a terminal starts it; it stops where we are killed."""
    env = {**os.environ, "LOTSE_STATE": str(state), "PYTHONPATH": str(ROOT), **settings}
    with (state / "said").open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "deploy.cli", "up", *more], stdout=said, stderr=said, env=env,
                                start_new_session=True, preexec_fn=tied_to_us(signal.SIGTERM))  # fmt: skip


def ended(process: "subprocess.Popen[bytes]") -> int:
    """Stopped as it is told to, or else killed, and its children with it."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def up(state: Path) -> tuple["subprocess.Popen[bytes]", dict[str, str]]:
    """`lotse up` in a state folder; its addresses once it serves."""
    (state / "running.json").unlink(missing_ok=True)
    process, deadline = started(state), time.monotonic() + PATIENCE
    try:
        while not (state / "running.json").exists():
            assert process.poll() is None and time.monotonic() < deadline, (state / "said").read_text()
            time.sleep(0.1)
        found: dict[str, str] = json.loads((state / "running.json").read_text())
    except BaseException:
        ended(process)
        raise
    return process, found


async def test_killed_it_comes_up_again_with_its_data_beside_another(stack: LocalStack, tmp_path: Path) -> None:
    process, addresses = up(tmp_path)
    try:
        assert addresses["kafka"] != stack.kafka
        course = Course(date(2026, 3, 2))
        async with Publisher(addresses["kafka"]) as sender:
            ids = [await sender.send(submission, subject) for submission, subject in course.steps()]
            await sender.answered(*ids)
        busy = await asyncpg.connect(database(tmp_path))
        pid = busy.get_server_pid()
        work = asyncio.create_task(busy.execute("select count(*) from generate_series(1, 10000000000)"))
        look = await asyncpg.connect(
            database(tmp_path)
        )  # a backend at work does not notice that its postmaster was killed
        while not await look.fetchval("select true from pg_stat_activity where state = 'active' and pid = $1", pid):
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (tmp_path / "stack" / PRIVATE).rename(
            tmp_path / "kept elsewhere"
        )  # as whoever made it is told; no service needs it
        process, addresses = up(tmp_path)
        assert known(addresses["intake"], course.case)["case"]["case_id"] == course.case
        async with Publisher(addresses["kafka"]) as sender:  # and it goes on
            run, subject = Course(date(2026, 3, 2)).steps()[0]
            assert (await sender.ask(run, subject))["outcome"] == "recorded"
            assert set(ids) <= set(sender.answers)
    finally:
        assert ended(process) == 0
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.mark.parametrize(("times", "patience", "words"), [(1, PATIENCE, ()), (2, AT_ONCE, ()), (2, AT_ONCE, ("--ephemeral",))],
                         ids=["once", "twice", "twice, of one that keeps nothing"])  # fmt: skip
def test_ctrl_c_while_it_starts_takes_down_what_has_started(
    tmp_path: Path, times: int, patience: float, words: tuple[str, ...]
) -> None:
    """As a terminal does; a second one ends it at once. What an earlier start wrote down is another process's by now."""
    (tmp_path / "running.json").write_text(json.dumps({"pid": os.getpid(), "born": 1.0}))
    (temporary := tmp_path / "temporary").mkdir()
    process, deadline = started(tmp_path, *words, TMPDIR=str(temporary)), time.monotonic() + PATIENCE
    children: list[psutil.Process] = []

    def wait_for(what: Callable[[], bool]) -> None:
        while not what():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "said").read_text()
            time.sleep(0.02)

    def has_started(name: str) -> bool:
        return any(tmp_path.glob(f"{'temporary/lotse-*' if words else 'stack'}/{name}/{name}.pid"))

    try:
        wait_for(lambda: has_started("postgres") and has_started("kafka"))
        children = psutil.Process(process.pid).children(recursive=True)
        for child in children if times == 2 else ():  # an orderly end would wait for them
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()
        os.killpg(process.pid, signal.SIGINT)
        if times == 2:  # who presses it a second time has read that it helps
            wait_for(lambda: "Ctrl-C again" in (tmp_path / "said").read_text())
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(patience) == 130, (tmp_path / "said").read_text()
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()
        ended(process)
    assert not psutil.wait_procs(children, timeout=PATIENCE)[1] and "Traceback" not in (tmp_path / "said").read_text()
    assert not list(temporary.glob("lotse-[!p]*"))  # but for who has which port


def database(state: Path) -> str:
    """The DSN of intake's database in a stack another process runs."""
    found = LocalStack(state / "stack")
    found.find()
    return found.databases["intake"].runtime


def known(intake: str, case: str) -> dict[str, Any]:
    """What intake knows of a case."""
    found: dict[str, Any] = client().get(f"{intake}/cases/{case}").raise_for_status().json()
    return found
