"""The sandbox as a subscriber's developer starts it: same seed same bytes, and what it sends is answered as its dials say."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from contracts.topics import SUBMITTED, submissions_topic
from deploy.feeds.log import opened
from deploy.local.kafka import Kafka
from deploy.local.processes import tied_to_us
from deploy.places import CACHE, ROOT
from deploy.services import make_topics, publishers_from
from services.process.connections import KafkaSecurity
from tests.conftest import PUBLISHERS
from tests.forked import run
from tests.publishing import PATIENCE

DIALS = ["--persons", "20", "--weeks", "8", "--duplicates", "0.1", "--disorder", "0.1", "--late", "0.1", "--malformed", "0.15",
         "--unknown-fields", "0.2", "--next-minor"]  # fmt: skip

ONE_WEEK = ["--persons", "100", "--weeks", "1", "--duplicates", "0.1", "--disorder", "0.1", "--malformed", "0.15",
            "--unknown-fields", "0.2", "--next-minor"]  # fmt: skip
"""At its end, with seed 8, some still wait for a referral that was refused."""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", *words]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOTSE_")}
    return {**clean, "PYTHONPATH": str(ROOT), **more}


def dry(seed: int, dials: list[str] = DIALS, **more: str) -> bytes:
    """What a dry run writes, in a process of its own."""
    words = command("sandbox", *dials, "--seed", str(seed), "--dry-run")
    return subprocess.run(words, env=environment(**more), capture_output=True, check=True).stdout  # noqa: S603


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, again, other = (
        hashlib.sha256(dry(seed, PYTHONHASHSEED=hashing)).hexdigest()
        for seed, hashing in ((5, "1"), (5, "2"), (6, "1"))
    )
    assert first == again != other


def test_the_lines_of_a_dry_run_are_what_the_validator_reads_and_only_malformed_ones_are_at_fault(
    tmp_path: Path,
) -> None:
    file = tmp_path / "feed.jsonl"
    told = run("sandbox", *DIALS, "--out", str(file), "--format", "json", env=environment())
    kinds = {row["what"]: row["messages"] for row in json.loads(told.stdout)["data"]}
    assert kinds.keys() == {"sound", "duplicate", "out of order", "late", "malformed", "unknown field"}
    validated = run("validate", "--format", "json", str(file), env=environment())
    said = json.loads(validated.stdout)["data"]
    assert validated.returncode == 1 and said["messages"] == sum(kinds.values())
    assert said["at_fault"] == kinds["malformed"] > 10


class Sandbox:
    """`lotse sandbox` in a process of its own, and what it says."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.state, self._said = folder / "state", folder / "said"
        self._printed, self.temporary = folder / "printed", folder / "temporary"
        self.temporary.mkdir()
        self.env = environment(LOTSE_STATE=str(self.state), TMPDIR=str(self.temporary))
        with self._said.open("wb") as err, self._printed.open("wb") as out:
            self.process = subprocess.Popen(command("sandbox", *words), env=self.env, stdout=out, stderr=err,  # noqa: S603
                                            start_new_session=True, preexec_fn=tied_to_us(signal.SIGTERM))  # fmt: skip

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until(self, words: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while words not in self.said:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def ask(self, *words: str) -> Any:
        """The data of a command that finds this stack."""
        done = run(*words, "--format", "json", env=self.env)
        return json.loads(done.stdout)["data"]

    def end(self) -> tuple[int, dict[str, Any]]:
        """Ctrl-C, which a terminal sends to the whole group: exit code, and the envelope."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE), json.loads(self._printed.read_text())


@contextlib.contextmanager
def sandbox(folder: Path, *words: str) -> Iterator[Sandbox]:
    """Ended whatever happens, and nothing of it runs on."""
    found = Sandbox(folder, *words)
    try:
        yield found
        children = psutil.Process(found.process.pid).children(recursive=True) if found.process.poll() is None else []
        if found.process.poll() is None:
            found.end()
        assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
        assert not list(found.temporary.glob("lotse-[!p]*"))  # but for who has which port
    finally:
        found.process.terminate()
        try:
            found.process.wait(PATIENCE)
        finally:
            found.process.kill()
            found.process.wait()


ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
ANSWERED = ("recorded", "unchanged", "refused", "unreadable")


def ids_of(lines: bytes) -> tuple[Counter[str], int]:
    """How often each id is sent, and how many messages have none that can be answered."""
    headers = [json.loads(line)["headers"] for line in lines.splitlines()]
    said = [dict(zip(pairs[::2], pairs[1::2], strict=True)).get("ce_id", "") for pairs in headers]
    ids = Counter(id for id in said if ID.fullmatch(id))
    return ids, len(said) - ids.total()


@contextlib.contextmanager
def frozen(running: Sandbox, service: str) -> Iterator[None]:
    """One of the stack's services stands still."""
    children = psutil.Process(running.process.pid).children(recursive=True)
    process = next(child for child in children if child.cmdline()[-2:] == ["serve", service])
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def until_answered(running: Sandbox, patience: float = PATIENCE) -> dict[str, Any]:
    """The publisher's account when nothing it sent waits."""
    deadline = time.monotonic() + patience
    while (row := running.ask("sources", "kreis")[0])["waiting"]:
        assert time.monotonic() < deadline, f"{row['waiting']} wait: {row}"
        time.sleep(0.5)
    found: dict[str, Any] = row
    return found


def test_a_stack_of_its_own_answers_each_message_as_its_dials_say_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    ids, nameless = ids_of(dry(8, ONE_WEEK))
    validated = subprocess.run(command("validate", "--format", "json", "-"), input=dry(8, ONE_WEEK), env=environment(),  # noqa: S603
                               capture_output=True, check=False)  # fmt: skip
    at_fault = json.loads(validated.stdout)["data"]["at_fault"]
    with sandbox(tmp_path, *ONE_WEEK, "--seed", "8", "--rate", "100", "--format", "json") as running:
        running.until(" at 100/s")
        # of ticks that wait together the latest alone is acted on: what waited longest is refused by the one after it
        with frozen(running, "referral"):
            deadline = time.monotonic() + PATIENCE
            while running.ask("sources", "kreis")[0]["sent"] < len(ids):
                assert time.monotonic() < deadline, running.said
                time.sleep(0.5)  # each question is a process
            assert "all is sent" not in running.said
        running.until("all is sent; the stack stays until Ctrl-C")
        row = until_answered(running)
        assert (row["sent"], row["repeated"], row["without_id"]) == (len(ids), ids.total() - len(ids), nameless)
        assert row["unreadable"] == at_fault - nameless > 0  # and nothing else was
        assert sum(row[name] for name in ANSWERED) == row["sent"] and row["recorded"] > 100
        assert running.ask("status")["referral"]["running"] is True
        children = psutil.Process(running.process.pid).children(recursive=True)
        code, said = running.end()
        assert (code, said["ok"], said["command"]) == (0, True, "sandbox")
        assert sum(one["messages"] for one in said["data"]) == ids.total() + nameless
        assert len(children) > 5 and not psutil.wait_procs(children, timeout=PATIENCE)[1]
    assert not (running.state / "running.json").exists()


def test_ctrl_c_while_a_stack_of_its_own_is_fed_ends_all_of_it_in_order(tmp_path: Path) -> None:
    with sandbox(tmp_path, "--rate", "100", "--format", "json") as running:
        running.until(" at 100/s")
        deadline = time.monotonic() + PATIENCE
        while running.ask("sources", "kreis")[0]["sent"] < 100:
            assert time.monotonic() < deadline, running.said
            time.sleep(0.5)
        children = psutil.Process(running.process.pid).children(recursive=True)
        code, said = running.end()
        assert (code, said["errors"][0]["code"]) == (130, "INTERRUPTED"), running.said
        assert len(children) > 5 and not psutil.wait_procs(children, timeout=PATIENCE)[1]
    assert not (running.state / "running.json").exists() and "Traceback" not in running.said


def test_while_it_starts_no_other_stack_takes_its_place_and_a_polite_end_leaves_nothing(tmp_path: Path) -> None:
    """Two started within the same seconds took each other's announcement away, and neither was found for as long as it ran."""
    with sandbox(tmp_path) as running:
        running.until("starting Kafka")
        other = run("up", "--format", "json", env=running.env, timeout=PATIENCE)
        assert (other.returncode, "starting already" in json.loads(other.stdout)["errors"][0]["message"]) == (4, True)
        running.process.terminate()
        assert running.process.wait(PATIENCE) == 143


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Kafka alone, so that no service reads what is sent."""
    kafka = Kafka(tmp_path / "kafka", CACHE)
    kafka.start()
    try:
        kafka.wait()
        yield kafka.address
    finally:
        kafka.process.stop()


async def stamps(kafka: str) -> list[int]:
    """The broker's times of all that stands on the submission topics, in milliseconds."""
    async with opened(kafka, KafkaSecurity(), "test") as log:
        span = await log.span([submissions_topic(family, "kreis") for family in SUBMITTED])
        return sorted([record.timestamp async for records in log.read(span) for record in records])


def test_into_a_kafka_it_sends_no_faster_than_it_was_told_and_ctrl_c_ends_it_with_all_acknowledged(
    tmp_path: Path, broker: str
) -> None:
    missing = run("sandbox", "--kafka", broker, "--format", "json", env=environment())
    (error,) = json.loads(missing.stdout)["errors"]
    assert (
        missing.returncode == 1
        and "attendance.submissions.kreis" in error["message"]
        and "lotse topics" in error["hint"]
    )
    asyncio.run(make_topics(broker, publishers_from(PUBLISHERS), local=True))
    with sandbox(tmp_path, "--kafka", broker, "--rate", "50", "--format", "json") as running:
        deadline = time.monotonic() + PATIENCE
        while len(asyncio.run(stamps(broker))) < 150:
            assert time.monotonic() < deadline, running.said
            time.sleep(0.1)
        code, said = running.end()
    there, sent = asyncio.run(stamps(broker)), sum(one["messages"] for one in said["data"])
    assert (code, said["ok"], said["errors"][0]["code"]) == (130, False, "INTERRUPTED")
    assert len(there) == sent  # none lost on the way out, none said that is not there
    assert there[-1] - there[0] > (sent - 10) / 50 * 1000 * 0.9  # a slow machine makes it longer, never shorter


def test_an_installation_on_another_machine_needs_a_word_more_and_a_publisher_that_may(tmp_path: Path) -> None:
    for words, exit_code, hint in (
        (["--kafka", "kafka.example:9092"], 4, "--for-tests-only"),
        (["--publisher", "nobody"], 2, "needs the families"),
    ):
        done = run("sandbox", *words, "--format", "json", env=environment(LOTSE_STATE=str(tmp_path)))
        (error,) = json.loads(done.stdout)["errors"]
        assert done.returncode == exit_code and hint in error["hint"]
