"""The publishers and the subscriber in the README work as they are printed: each is taken out of it and run against a real house. So does the
one beside the subscriber in TypeScript."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer

from deploy.fleet import Fleet
from deploy.places import ROOT
from tests.foreign.log import fact, records_on
from tests.foreign.tools import kcat, node, said_by, skip_out_of_reach, was_out_of_reach
from tests.publishing import Course, Publisher

SOON = (
    300.0  # seconds; an answer comes in less than one, but Node and Python take their time to begin on a busy machine
)


def printed(language: str, name: str) -> str:
    """The block of the README in a language that begins with a program's name."""
    blocks = re.findall(rf"^```{language}\n(# .*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if name in block.partition("\n")[0]]
    return str(found)


async def recorded(house: Fleet, fact_id: str) -> bool:
    """Whether intake wrote the fact an answer names."""
    records = await records_on(house.stack.kafka, lambda topic: topic == "intake.events")
    return fact_id in {dict(record.headers)["ce_id"].decode() for record in records}


async def opened(house: Fleet) -> None:
    """A case with a consent: two facts of one subject."""
    async with Publisher(house.stack.kafka) as sender:
        for submission, subject in Course(date(2026, 3, 2)).steps()[1:3]:
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """aiokafka as a stranger installs it, beside the wheel."""
    folder = tmp_path_factory.mktemp("driver")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", str(folder)]
    done = said_by([*pip, f"aiokafka[lz4]=={version('aiokafka')}"], folder)
    if was_out_of_reach(done):
        skip_out_of_reach("aiokafka")
    assert done.returncode == 0, done.stderr
    return folder


async def test_the_publisher_in_python_is_answered(fleet: Fleet, stranger: Path, driver: Path, tmp_path: Path) -> None:
    program = tmp_path / "publish.py"
    program.write_text(printed("python", "publish.py"))
    assert len([line for line in printed("python", "publish.py").splitlines() if line]) <= 30
    done = said_by(
        ["timeout", str(SOON), stranger / "python", program], tmp_path, KAFKA=fleet.stack.kafka, PYTHONPATH=str(driver)
    )
    assert done.returncode == 0, done.stderr
    outcome, fact_id = done.stdout.split()
    assert outcome == "recorded" and await recorded(fleet, str(UUID(fact_id)))


def test_the_subscriber_in_python_reads_each_fact_once_in_order(
    fleet: Fleet, stranger: Path, driver: Path, tmp_path: Path
) -> None:
    """It reads on for good: it is ended once it has said what stands there now."""
    program = tmp_path / "subscribe.py"
    program.write_text(printed("python", "subscribe.py"))
    asyncio.run(opened(fleet))
    records = asyncio.run(records_on(fleet.stack.kafka, lambda topic: topic == "intake.events"))
    headers = [dict(record.headers) for record in records]
    there = {(h["ce_subject"].decode(), int(h["ce_streamversion"])) for h in headers}
    env = {**os.environ, "KAFKA": fleet.stack.kafka, "PYTHONPATH": str(driver)}
    with subprocess.Popen([stranger / "python", program], env=env, stdout=subprocess.PIPE, text=True) as reading:
        try:
            assert reading.stdout is not None
            lines = [reading.stdout.readline().split() for _ in there]
        finally:
            reading.kill()
    assert Counter(subject for _, subject in lines) == Counter(subject for subject, _ in there)
    assert next(kind for kind, subject in lines if subject == lines[0][1]) == "CaseOpened"


@pytest.mark.parametrize(
    ("family", "type", "read", "later"),
    [
        ("intake", "need_recorded.v1", "NeedRecorded", "need_recorded.v2"),
        ("referral", "not_known_yet.v1", "NoneType", "referral_sent.v2"),
    ],
)
async def test_the_subscriber_in_python_goes_on_as_an_operator_says_and_stops_at_a_later_version(
    family: str, type: str, read: str, later: str, log: str, stranger: Path, driver: Path, tmp_path: Path
) -> None:
    program, subject = tmp_path / "subscribe.py", str(uuid4())
    program.write_text(printed("python", "subscribe.py"))
    async with AIOKafkaProducer(bootstrap_servers=log) as producer:
        for number, id in ((1, ""), (2, ""), (2, "b"), (3, "")):
            await fact(producer, subject, number, id, f"lotse.{family}.{type}")
        bad = await producer.send_and_wait(f"{family}.events", b"[", key=subject.encode())
        await fact(producer, subject, 4, "", f"lotse.{family}.{later}")
    past, topics = f"{family}.events/{bad.partition}/{bad.offset}", f"{family}.events"
    left_out = {"TOPICS": topics, "WITHOUT": f"{family}/{subject}/b{subject}-2", "PAST": past}
    call: list[str | Path] = ["timeout", str(SOON), stranger / "python", program]
    done = await asyncio.to_thread(said_by, call, tmp_path, KAFKA=log, PYTHONPATH=str(driver), **left_out)
    assert done.stdout.splitlines() == [f"{read} {subject}"] * 3
    assert done.returncode == 1 and done.stderr.endswith("take the newer lotse-contracts\n"), done.stderr


async def test_the_publisher_with_kcat_is_answered(fleet: Fleet, tmp_path: Path) -> None:
    program = tmp_path / "publish.sh"
    program.write_text(printed("sh", "publish.sh"))
    path = f"{kcat()}{os.pathsep}{os.environ['PATH']}"
    done = said_by(["timeout", str(SOON), "sh", program], tmp_path, KAFKA=fleet.stack.kafka, PATH=path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["outcome"] == "recorded" and await recorded(fleet, answer["fact_id"])


async def test_the_publisher_in_typescript_is_answered(fleet: Fleet, built: Path) -> None:
    program = built / "build" / "publish.js"
    done = said_by(["timeout", str(SOON), node() / "bin" / "node", program], built, KAFKA=fleet.stack.kafka)
    assert done.returncode == 0, done.stderr
    outcome, fact_id = done.stdout.split()
    assert outcome == "recorded" and await recorded(fleet, str(UUID(fact_id)))
