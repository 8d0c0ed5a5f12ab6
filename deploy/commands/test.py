"""`lotse test`: the checks and the tests, all or one level."""

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from deploy.errors import FINDINGS, USAGE, Trouble
from deploy.lanes import Done, Step, side_by_side
from deploy.local.kafka import short_lived
from deploy.local.processes import child_environment
from deploy.places import CACHE, ROOT
from deploy.printed import Wrong, formats, printed
from deploy.saying import say

BIN = Path(sys.executable).parent
CHECKS = {
    "ruff": [str(BIN / "ruff"), "check", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "imports": [str(BIN / "lint-imports"), "--no-cache"],
    "mypy": [sys.executable, "-m", "mypy"],
}
LEVELS = ("unit", "contracts", "architecture", "night", "system", "foreign", "integration")
"""What says most in the shortest time comes first."""
DAY = tuple(level for level in LEVELS if level != "night")
"""What `lotse test day` runs beside the checks: the night takes a third of the time."""
ALONE = ("unit", "contracts", "architecture", "checks")
"""Levels in which no broker runs."""
ASKED_FOR = ("performance",)
"""Levels that measure, some minutes with both cores to themselves: only where they are named."""
BY_FILE = ("night", "system", "integration", "unit")
"""Levels of which each file runs by itself, on a stack of its own, since they mostly wait (for starts, sessions, faults), and each
folder as one, whose files share a stack or need none (a stack and four services take some 20 s of CPU to start, a pytest two). `unit`
has two folders and no file: a person who waits for it has two cores."""
LONGEST = (
    "integration/on_one_stack",
    "system/test_oulad",
    "night/test_processes",
    "night/test_messages",
    "system/test_what_an_operator_mends",
    "night/test_databases",
    "system/in_one_house",
    "foreign",
    "integration/test_beside_a_partition_without_leader",
    "night/test_three_brokers",
    "integration/without_a_stack",
    "system/test_demo",
    "integration/test_doctor",
    "integration/test_a_guarded_kafka",
    "system/test_sandbox",
    "system/test_a_killed_stack",
    "system/test_foreign_habits",
    "night/test_the_log_itself",
)
"""What begins behind the quick levels and before all else, in this order: no lane is left alone with one of them at the end, and who
waits most (half of each level) stands beside who works. Level by level three houses of the night shared two cores, and at the end
these had one to themselves."""
LANES = 3  # on two cores: most steps wait more than they work; with four, what measures time met a load of ten and more


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("level", required=False, type=click.Choice(["checks", "day", *LEVELS, *ASKED_FOR]))
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@formats
def app(level: str | None, pytest_arguments: tuple[str, ...], shape: str) -> int:
    """Run everything but what measures (no LEVEL), the static checks, or one LEVEL of tests; further arguments go to pytest.

    Three steps run side by side; their output is shown in order. With further arguments a single pytest runs at your terminal.
    `night` is the fault matrix and takes a third of the time, `day` is everything else, `foreign` runs other people's software
    against what we publish, `performance` a small benchmark and its compiled twin. Exit: 0 all passed, 1 something failed, 2 this
    level takes no further arguments, 130 interrupted (each step takes down what it started).
    """
    if pytest_arguments and level in ("checks", "day"):
        raise Trouble(f"{level} is no single pytest, which could take {' '.join(pytest_arguments)}",
                      "name a level of tests before it", USAGE)  # fmt: skip
    began = time.monotonic()
    tells = sys.stdout if shape == "table" else sys.stderr  # only data on stdout where a program reads it
    environment = child_environment(PYTHONPATH=str(ROOT), **({} if level in ALONE else short_lived(CACHE)))
    # some hundred processes begin: what the first compiles is kept, whatever else the shell asks for (unit: 9 s without, 7.5 with)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if pytest_arguments:
        argv = [sys.executable, "-m", "pytest", f"tests/{level}", *pytest_arguments]
        code = subprocess.run(argv, cwd=ROOT, env=environment, check=False, stdout=tells).returncode  # noqa: S603
        done = [Done(str(level), code, time.monotonic() - began)]
        results = {str(level): _result(done[0])}
    else:

        def says(words: bytes) -> None:
            tells.buffer.write(words)
            tells.flush()

        with tempfile.TemporaryDirectory(prefix="lotse-test-", ignore_cleanup_errors=True) as folder:
            place = Path(folder)
            done = side_by_side(
                [apart(step, place) for step in steps(level)],
                LANES,
                ROOT,
                environment,
                says=says,
                begins=lambda step: say.print(f"--- {step.name}"),
                ended=lambda one: say.print(f"--- {one.name}: {_result(one, place)}, {one.seconds:.1f} s"),
            )
            results = {one.name: _result(one, place) for one in done}
        say.print(f"{len(done)} steps in {time.monotonic() - began:.0f} s")
    rows = [{"step": one.name, "result": results[one.name], "seconds": f"{one.seconds:.1f}"} for one in done]
    errors = [Wrong("FAILED", f"{one.name} failed", _alone(one.name)) for one in done if one.code]
    printed(shape, rows, columns=("step", "result", "seconds"), errors=errors)
    return FINDINGS if errors else 0


def steps(level: str | None) -> list[Step]:
    """What is run, in the order in which it begins."""
    found = [Step(name, argv) for name, argv in CHECKS.items()] if level in (None, "checks", "day") else []
    several: dict[str | None, tuple[str, ...]] = {None: LEVELS, "day": DAY, "checks": ()}
    for name in several.get(level, (str(level),)):
        folder = ROOT / "tests" / name
        color = ["--color=yes"] if sys.stdout.isatty() else []
        for tested in _parts(folder) if name in BY_FILE else [folder]:
            path = str(tested.relative_to(ROOT / "tests"))
            found.append(Step(path.removesuffix(".py"), [sys.executable, "-m", "pytest", *color, f"tests/{path}"]))
    return sorted(found, key=_turn)


def _turn(step: Step) -> int:
    """When a step begins: those of a quick level first, then the longest; of the others, each in its level's place."""
    if step.name in CHECKS or step.name.partition("/")[0] in ALONE:
        return -1
    return LONGEST.index(step.name) if step.name in LONGEST else len(LONGEST)


def _parts(folder: Path) -> list[Path]:
    """A level's files, and its folders of files that share a stack."""
    return sorted({file if file.parent == folder else file.parent for file in folder.rglob("test_*.py")})


def apart(step: Step, folder: Path) -> Step:
    """The step with temporary files of its own. In the place all pytests share, each that begins takes away everybody else's
    right to pass; where root runs the tests, a Postgres beside it that runs as another user then finds no file of its own."""
    if "pytest" not in step.argv:
        return step
    own = folder / step.name.replace("/", "-")
    return replace(step, argv=[*step.argv, f"--basetemp={own}", f"--junitxml={own}.xml"])


def _result(one: Done, folder: Path | None = None) -> str:
    """How a step ended; and, where its tests were counted, how many of them did not run: what is missing here is not proven here."""
    if one.code:
        return f"failed ({one.code})"
    counts = folder / f"{one.name.replace('/', '-')}.xml" if folder else None
    found = re.search(r' skipped="(\d+)"', counts.read_text()[:1000]) if counts and counts.exists() else None
    return f"ok, {found[1]} not run" if found and found[1] != "0" else "ok"


def _alone(name: str) -> str:
    """The command that runs a step by itself."""
    level, _, file = name.partition("/")
    return (
        f"lotse test {level} -k {file}"
        if file
        else f"lotse test {level if level in (*LEVELS, *ASKED_FOR) else 'checks'}"
    )
