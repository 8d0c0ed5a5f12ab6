"""The wheel is typed for strangers: under `mypy --strict` and pyright's strict mode, in an environment with nothing else."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.foreign.tools import HERE, node, packages, said_by

RIGHT = '''
"""A stranger's program: types of everything it touches are known, no Any comes in."""

from collections.abc import Iterable
from datetime import UTC, datetime

from lotse_contracts import lists
from lotse_contracts.attributes import Attributes, Verdict
from lotse_contracts.codes import NeedType
from lotse_contracts.envelope import Answer, By
from lotse_contracts.families import from_message
from lotse_contracts.intake import CaseOpened, NeedReported
from lotse_contracts.messages import KafkaMessage, to_message
from lotse_contracts.stream import Gap, Streams
from lotse_contracts.validate import validate

Headers = list[tuple[str, bytes]]


def report(case: str, need: str) -> KafkaMessage:
    said = NeedReported(by=By(organisation_id="vhs"), need_id=need, need_type=NeedType.WORK)
    about = Attributes(need, "urn:vhs", said.ce_type, case, datetime.now(UTC), "rkn")
    return to_message(about, said.to_json(), "structured")


def opened(headers: Headers, value: bytes, streams: Streams[CaseOpened | None]) -> list[str]:
    try:
        about, said = from_message(headers, value)
    except Verdict as verdict:
        return [f"{verdict.pointer}: {verdict.rule}"]
    if isinstance(said, Answer):
        return [said.outcome]
    fact = said if isinstance(said, CaseOpened) else None
    ready = streams.take("intake", about.subject, about.streamversion or 0, about.id, fact, about.time)
    return [one.municipality for one in ready if one is not None]


def missing(streams: Streams[CaseOpened | None]) -> list[Gap]:
    return list(streams.gaps(datetime.now(UTC)))


def name_of(municipality: str) -> str | None:
    entry = lists.load("ags").find(municipality)
    return entry.name if entry else None


def findings(lines: Iterable[bytes]) -> list[str]:
    return [one.hint for _, found in validate(lines) for one in found]
'''

WRONG = """
from lotse_contracts.envelope import By
from lotse_contracts.intake import NeedReported

NeedReported(by=By(organisation_id=5), need_id="a", need_type="WORK")
NeedReported(by=By(organisation_id="vhs"), need_id="a")
"""

FAULTS = 3
"""What is wrong in WRONG: a number for a text, a text for a code, a member that is missing."""


def pyright(stranger: Path, folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and stdout, with the stranger's environment."""
    program = packages(HERE) / "pyright" / "index.js"
    path = f"{stranger}{os.pathsep}{os.environ['PATH']}"  # some of its commands look for Python there and nowhere else
    done = said_by([node() / "bin" / "node", program, *words], folder, PATH=path)
    return done.returncode, done.stdout


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Both programs in one folder, with strict rules."""
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


def test_a_strangers_program_checks_under_pyright(stranger: Path, programs: Path) -> None:
    code, said = pyright(stranger, programs, "--outputjson")
    found = json.loads(said)
    assert (code, found["summary"]["filesAnalyzed"], found["summary"]["warningCount"]) == (1, 2, 0), said
    assert [Path(one["file"]).name for one in found["generalDiagnostics"]] == ["wrong.py"] * FAULTS, said


def test_a_strangers_program_and_the_wheel_itself_check_under_mypy(stranger: Path, programs: Path) -> None:
    mypy: list[str | Path] = [sys.executable, "-m", "mypy", "--strict", "--python-executable", stranger / "python"]
    done = said_by([*mypy, "right.py", "wrong.py"], programs, PYTHONPATH="")
    *lines, summary = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["wrong.py"] * FAULTS and "checked 2" in summary, done.stdout
    done = said_by([*mypy, "-p", "lotse_contracts"], programs, PYTHONPATH="")
    assert done.returncode == 0, done.stdout


def test_every_public_name_of_the_wheel_has_a_known_type(stranger: Path, tmp_path: Path) -> None:
    code, said = pyright(stranger, tmp_path, "--ignoreexternal", "--outputjson", "--verifytypes", "lotse_contracts")
    found = json.loads(said)["typeCompleteness"]
    assert [one["name"] for one in found["symbols"] if one["isExported"] and not one["isTypeKnown"]] == []
    assert (code, found["completenessScore"]) == (0, 1) and found["exportedSymbolCounts"]["withKnownType"] > 900
