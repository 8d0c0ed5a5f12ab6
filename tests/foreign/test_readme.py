"""The publishers in the README work as they are printed: each is taken out of it and run against a real house. So does the
one beside the subscriber in TypeScript."""

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import pytest

from deploy.local.stack import ROOT
from deploy.services import Fleet
from tests.foreign.log import records_on
from tests.foreign.tools import kcat, node, said_by, skip_out_of_reach, was_out_of_reach

SOON = 60.0  # seconds; an answer comes in less than one


def printed(language: str) -> str:
    """The one block of the README in a language."""
    (found,) = re.findall(rf"^```{language}\n(# .*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


async def recorded(house: Fleet, fact_id: str) -> bool:
    """Whether intake wrote the fact an answer names."""
    records = await records_on(house.stack.kafka, lambda topic: topic == "intake.events")
    return fact_id in {dict(record.headers)["ce_id"].decode() for record in records}


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
    program.write_text(printed("python"))
    assert len([line for line in printed("python").splitlines() if line]) <= 30
    done = said_by(
        ["timeout", str(SOON), stranger / "python", program], tmp_path, KAFKA=fleet.stack.kafka, PYTHONPATH=str(driver)
    )
    assert done.returncode == 0, done.stderr
    outcome, fact_id = done.stdout.split()
    assert outcome == "recorded" and await recorded(fleet, str(UUID(fact_id)))


async def test_the_publisher_with_kcat_is_answered(fleet: Fleet, tmp_path: Path) -> None:
    program = tmp_path / "publish.sh"
    program.write_text(printed("sh"))
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
