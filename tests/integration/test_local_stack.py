"""The local stack is a real one: it answers, keeps its data, and gives rights sparingly."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.errors import Trouble
from deploy.local.kafka import checked
from deploy.local.postgres import Postgres
from deploy.local.processes import child_environment, free_port
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from tests.forked import run
from tests.publishing import PATIENCE


async def test_a_runtime_role_has_no_ddl_and_reaches_no_other_service(prepared: LocalStack) -> None:
    con = await asyncpg.connect(prepared.databases["intake"].runtime)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await con.execute("create table lotse.mine (a int)")
    finally:
        await con.close()
    foreign = prepared.databases["intake"].runtime.rpartition("/")[0] + "/referral"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)


HOLDER = "from deploy.local.processes import free_port; print(free_port(), flush=True); input()"


def test_a_port_stays_its_owners_while_nobody_listens_there() -> None:
    """As a broker's between its end and its next start: a stack beside it must not be found there by its services."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True, env=child_environment(PYTHONPATH=str(ROOT))) as holder:  # fmt: skip
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert free_port(port) != port
        holder.communicate("\n")
    assert free_port(port) == port == free_port(port)  # gone with its owner; and ours as often as we ask


STARTER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from deploy.local.processes import tied_to_us
us, tied = os.getpid(), tied_to_us(signal.SIGKILL)

def late():
    Path(sys.argv[1]).write_text(str(os.getpid()))
    while os.getppid() == us:
        time.sleep(0.01)
    tied()

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], preexec_fn=late)
"""


def test_a_child_whose_parent_dies_before_it_has_begun_ends(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(note)], env=child_environment(PYTHONPATH=str(ROOT))
    ) as starter:
        while not (note.exists() and note.read_text()):
            assert starter.poll() is None
        child = psutil.Process(int(note.read_text()))
        starter.kill()
    try:
        assert not psutil.wait_procs([child], timeout=PATIENCE)[1]
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_a_jar_with_another_sum_is_refused_by_name(tmp_path: Path) -> None:
    jar = tmp_path / "kafka-clients-4.3.1.jar"
    jar.write_bytes(b"not Kafka")
    with pytest.raises(Trouble, match=r"kafka-clients-4\.3\.1\.jar"):
        checked([jar], {jar.name: "0" * 64})


def test_nobody_else_looks_into_what_a_stack_holds(stack: LocalStack) -> None:
    """Raw submissions, mails, passwords; only Postgres' user passes, where root runs it."""
    for folder in (stack.folder, *(process.log.parent for process in stack.processes.values())):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o066 == 0, folder


def test_who_does_not_wait_for_its_end_leaves_nothing_either() -> None:
    """Ctrl-C once more, while it stops: hundreds of megabytes stayed, and with them what was imported."""
    stack = LocalStack.ephemeral()
    stack.start()
    mail, broker = stack.processes["mail"].child, psutil.Process(stack.processes["kafka"].pid)
    broker.suspend()  # it would be waited for

    def impatient() -> None:
        while mail is None or mail.returncode is None:
            time.sleep(0.01)  # until the first of them has ended
        os.kill(os.getpid(), signal.SIGINT)

    (thread := threading.Thread(target=impatient, daemon=True)).start()
    with pytest.raises(KeyboardInterrupt):
        stack.stop()
    thread.join()
    assert not stack.folder.exists()
    for name in ("kafka", "postgres"):
        one = stack.processes[name].child
        assert one is not None and one.wait(PATIENCE) == -signal.SIGKILL


CLAIM = "from deploy.local.announced import claimed; print(claimed(), flush=True); input()"


def test_one_stack_is_announced_at_a_time_in_a_folder_that_is_made_and_nobody_else_looks_into(tmp_path: Path) -> None:
    state = tmp_path / "new" / "deep"
    pipe, env = subprocess.PIPE, child_environment(PYTHONPATH=str(ROOT), LOTSE_STATE=str(state))
    for both in (["True", "False"], ["True", "False"]):  # and again when these have ended
        with contextlib.ExitStack() as ends:
            holders = [ends.enter_context(subprocess.Popen([sys.executable, "-c", CLAIM], stdin=pipe, stdout=pipe, text=True, env=env))
                       for _ in both]  # fmt: skip
            first, second = holders
            assert first.stdout and second.stdout
            ends.callback(first.kill)
            ends.callback(second.kill)
            assert sorted((first.stdout.readline().strip(), second.stdout.readline().strip()), reverse=True) == both
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.parametrize(("where", "says"), [("here", "no whole path"), ("{}/file/below", "can't be used")])
def test_a_state_folder_that_can_not_be_one_is_named(tmp_path: Path, where: str, says: str) -> None:
    """A relative one is another folder from another place; the other ended as a fault of ours."""
    (tmp_path / "file").touch()
    for command in ("up", "sandbox"):
        done = run(
            command,
            "--format",
            "json",
            env=child_environment(PYTHONPATH=str(ROOT), LOTSE_STATE=where.format(tmp_path)),
            timeout=PATIENCE,
        )
        (error,) = json.loads(done.stdout)["errors"]
        assert (done.returncode, error["code"], says in error["message"]) == (2, "USAGE", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: Postgres has a user of its own only where root starts it")
def test_below_a_folder_that_is_roots_alone_postgres_passes_and_nobody_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in root's home. What is opened is said, and how that is taken back."""
    home = tmp_path / "home"
    (home / "checkout").mkdir(parents=True)
    home.chmod(0o700)
    postgres = Postgres(home / "checkout" / "stack" / "postgres")
    postgres.start()
    try:
        postgres.wait()
    finally:
        postgres.process.stop()
    assert stat.S_IMODE(home.stat().st_mode) == 0o701
    said = "".join(capsys.readouterr().err.split())  # a path is long, and its line broken
    assert f"`chmodo-x{home}`takesthatback" in said and str(postgres.folder) not in said
