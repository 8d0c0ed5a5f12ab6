"""What S2 must come to on the OULAD files, worked out from the raw files alone.

Shares no code with `prepare.py`, the importer or the services: expected values come from here, so keep it that way.
"""

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

Participation = tuple[str, str]
"""(run_ref, source_ref), as `lotse risks --format csv` prints them."""


@dataclass(frozen=True)
class Recomputed:
    """The expected state after the files as known on a day of the run were handed in."""

    risks: Mapping[Participation, tuple[date | None, bool]]
    """holds_from_on, open of every enrolment known by then; (None, False) where the rule never holds."""
    days: Mapping[Participation, Mapping[date, bool]]
    """Present or not, by course day in order, of every participation that started; may be empty."""
    enrolments: int
    never_start: int
    reports: int
    with_risk: int
    open: int


def recomputed(folder: Path, until: int | None = None, threshold: int = 2) -> Recomputed:
    """S2 (`threshold` or more consecutive unexcused course days) for the run files in `folder`.

    `until`: only what was known on that day of each run, inclusive; None: everything. `holds_from_on` is the course day
    that completes the earliest run of absences long enough. `open`: the participation has not ended by an end known
    by then (a day of unregistration <= until, or the run being over), and its last `threshold` course days known by
    then are all unexcused.
    """
    horizon = 10**6 if until is None else until
    lengths = {_run(row): int(row["module_presentation_length"]) for row in _table(folder, "courses")}
    seen: dict[Participation, set[int]] = {}
    for row in _table(folder, "activity"):
        seen.setdefault((_run(row), row["id_student"]), set()).add(int(row["date"]))

    risks: dict[Participation, tuple[date | None, bool]] = {}
    days: dict[Participation, Mapping[date, bool]] = {}
    never_start = 0
    for row in _table(folder, "enrolments"):
        run, student = _run(row), row["id_student"]
        who = (run, f"{run}-{student}")
        joined = int(row["date_registration"] or 0)
        if joined > horizon:
            continue
        left = int(row["date_unregistration"]) if row["date_unregistration"] else lengths[run] + 1
        if left < max(0, joined) or joined > lengths[run] + 1:
            never_start += 1
            risks[who] = (None, False)
            continue

        enrolled = set(range(min(joined, 0), left))
        known = set(range(min(lengths[run], horizon) + 1))
        marks: list[tuple[date, bool]] = []
        for monday in range(0, lengths[run] + 1, 7):
            week = set(range(monday, monday + 7))
            if monday + 6 in enrolled & known and (joined <= monday or not row["date_registration"]):
                marks.append((_first_day(run) + timedelta(monday + 6), bool(week & seen.get((run, student), set()))))

        absences = [
            [day for day, _ in stretch] for present, stretch in groupby(marks, key=lambda mark: mark[1]) if not present
        ]
        long = [stretch for stretch in absences if len(stretch) >= threshold]
        lasting = bool(long) and long[-1][-1] == marks[-1][0]
        risks[who] = (long[0][threshold - 1] if long else None, lasting and left > horizon)
        days[who] = MappingProxyType(dict(marks))

    return Recomputed(
        risks=MappingProxyType(risks),
        days=MappingProxyType(days),
        enrolments=len(risks),
        never_start=never_start,
        reports=sum(len(of_one) for of_one in days.values()),
        with_risk=sum(holds_from_on is not None for holds_from_on, _ in risks.values()),
        open=sum(is_open for _, is_open in risks.values()),
    )


def _run(row: Mapping[str, str]) -> str:
    return row["code_module"] + "-" + row["code_presentation"]


def _first_day(run: str) -> date:
    year, letter = run[-5:-1], run[-1]
    return date.fromisoformat(year + {"B": "-02-01", "J": "-10-01"}[letter])


def _table(folder: Path, name: str) -> list[dict[str, str]]:
    packed = folder / f"{name}.csv.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / f"{name}.csv").read_bytes()
    return list(csv.DictReader(io.StringIO(data.decode())))
