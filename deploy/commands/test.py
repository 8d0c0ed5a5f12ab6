"""`lotse test`: the checks and the tests, all or one level."""

import subprocess
import sys
import time
from pathlib import Path

import click

from deploy.errors import FINDINGS
from deploy.local.processes import child_environment
from deploy.local.stack import ROOT
from deploy.printed import Wrong, formats, printed

BIN = Path(sys.executable).parent
CHECKS = {
    "ruff": [str(BIN / "ruff"), "check", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy"],
    "imports": [str(BIN / "lint-imports"), "--no-cache"],
}
LEVELS = ("unit", "contracts", "architecture", "integration", "system", "foreign")
ON_DEMAND = ("night",)  # the fault matrix: a level of its own until all its rows have been seen on this runtime


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("level", required=False, type=click.Choice([*LEVELS, *ON_DEMAND, "checks"]))
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@formats
def app(level: str | None, pytest_arguments: tuple[str, ...], shape: str) -> int:
    """Run everything (no LEVEL), the static checks, or one LEVEL of tests (`night`, the fault matrix, only when asked for); further arguments go to pytest."""
    steps = dict(CHECKS) if level in (None, "checks") else {}
    for name in LEVELS if level is None else [level] if level != "checks" else []:
        if (ROOT / "tests" / name).is_dir():
            steps[name] = [sys.executable, "-m", "pytest", f"tests/{name}", *pytest_arguments]
        else:
            click.echo(f"tests/{name}: nothing there", err=True)
    rows, failed = [], list[str]()
    tells = None if shape == "table" else sys.stderr  # only data on stdout where a program reads it
    for name, argv in steps.items():
        click.echo(f"--- {name}", err=True)
        started = time.monotonic()
        done = subprocess.run(argv, cwd=ROOT, env=child_environment(PYTHONPATH=str(ROOT)), check=False, stdout=tells)  # noqa: S603
        code = done.returncode
        failed += [name] if code else []
        rows.append({"step": name, "result": "ok" if code == 0 else f"failed ({code})",
                     "seconds": f"{time.monotonic() - started:.1f}"})  # fmt: skip
    errors = [
        Wrong("FAILED", f"{name} failed", f"lotse test {name if name in LEVELS else 'checks'}") for name in failed
    ]
    printed(shape, rows, columns=("step", "result", "seconds"), errors=errors)
    return FINDINGS if failed else 0
