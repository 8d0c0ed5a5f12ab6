"""Calls prepare.py, which lies in no package, and reads what it makes."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.places import EXAMPLES

PREPARE = EXAMPLES / "oulad" / "prepare.py"
PARTICIPATIONS = """
    run_ref run_start run_end course_days source_ref person_ref sex
    requested_on withdrawn_on started_on ended_on end_kind
""".split()
ATTENDANCE = """
    run_ref source_ref meeting_ref meeting_on units_planned units_attended presence reported_at
""".split()

Table = list[dict[str, str]]


def load_main() -> Callable[[list[str]], int]:
    """The command of prepare.py, which lies in no package."""
    spec = importlib.util.spec_from_file_location("oulad_prepare", PREPARE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


MAIN = load_main()


def table(path: Path) -> Table:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def prepared(folder: Path, out: Path, *options: str) -> tuple[Table, Table]:
    assert MAIN([str(folder), str(out), *options]) == 0
    return table(out / "participations.csv"), table(out / "attendance.csv")
