#!/usr/bin/env python3
"""Makes of the OULAD learning log what a course provider would hand in: two CSV files, participations and attendance.

Standard library only; shares no code with Lotse or its tests, so that it can be given away and checked alone.

The rules, every day counted from the run's start (day 0):

* A run is a module-presentation (AAA-2013J). B starts on 1 February, J on 1 October of its year. Its last day is
  day `module_presentation_length`; `run_end` is the day after it (an end day is exclusive: nobody takes part on it).
* An enrolment is one row of participations.csv. Requested on the registration day; unknown: on the run's start.
* Unregistered before day 0: withdrawn, never starts. Otherwise it starts on day 0 or, if that is later, on the
  registration day.
* Unregistered on or after day 0: ends on that day, dropped out. Otherwise it ends on day length + 1: Pass and
  Distinction completed, Fail without success, Withdrawn (no day known) dropped out.
* Unregistered before being registered: nobody took part, so it is withdrawn and never starts; no withdrawal is dated
  before its request. Registered after the run: never starts.
* Week w has one course day, dated day 7w+6, if that is a day of the run. It counts for an enrolment registered by
  day 7w (or on a day unknown) and not unregistered by day 7w+6. Present: any activity on days 7w to 7w+6; else
  unexcused. Reported at 18:00 UTC of the course day.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple, TextIO

UNITS_A_DAY = 4  # invented: OULAD knows no teaching units
START_MONTH = {"B": 2, "J": 10}
END_KIND = {"Pass": "COMPLETED", "Distinction": "COMPLETED", "Fail": "WITHOUT_SUCCESS", "Withdrawn": "DROPPED_OUT"}
SEXES = frozenset({"M", "F"})
LINES_A_PROGRESS = 50_000

PARTICIPATION_COLUMNS = (
    "run_ref",
    "run_start",
    "run_end",
    "course_days",
    "source_ref",
    "person_ref",
    "sex",
    "requested_on",
    "withdrawn_on",
    "started_on",
    "ended_on",
    "end_kind",
)
ATTENDANCE_COLUMNS = (
    "run_ref",
    "source_ref",
    "meeting_ref",
    "meeting_on",
    "units_planned",
    "units_attended",
    "presence",
    "reported_at",
)


class Refused(Exception):
    """The input cannot be used; the text names file, line and column, says what is wrong and the way out."""


class Run(NamedTuple):
    """A module-presentation; `length` is its last day, counted from `start`."""

    ref: str
    start: date
    length: int

    @property
    def end(self) -> int:
        """The first day after the run."""
        return self.length + 1

    @property
    def course_days(self) -> int:
        """How many weeks of the run have their course day (day 7w+6) inside it."""
        return max(0, (self.length + 1) // 7)


class Enrolment(NamedTuple):
    """One person's enrolment in one run; days are relative to the run, None is unknown or never."""

    run: Run
    ref: str
    student: str
    sex: str
    result: str
    registered: int | None
    unregistered: int | None

    @property
    def requested(self) -> int:
        """The day of the request: the registration, or the run's start where that is unknown."""
        return 0 if self.registered is None else self.registered

    @property
    def start(self) -> int | None:
        """The first day of taking part; None if it never comes to that."""
        start = max(0, self.requested)
        left_before = self.unregistered is not None and (self.unregistered < 0 or self.unregistered < start)
        return None if left_before or start > self.run.end else start

    @property
    def end(self) -> int | None:
        """The first day of no longer taking part; None for what never starts."""
        if self.start is None:
            return None
        return self.run.end if self.unregistered is None else self.unregistered

    @property
    def withdrawn(self) -> int | None:
        """The day on which a request that never led to a start was taken back."""
        if self.start is not None or self.unregistered is None:
            return None
        return max(self.unregistered, self.requested)

    @property
    def last_fact(self) -> int:
        """The last day on which anything becomes known of this enrolment."""
        return max(day for day in (self.requested, self.withdrawn, self.start, self.end) if day is not None)

    @property
    def end_kind(self) -> str:
        """Why it ends, once it does."""
        return END_KIND[self.result] if self.unregistered is None else "DROPPED_OUT"

    def weeks(self) -> Iterator[int]:
        """The weeks whose course day counts for this enrolment, in order."""
        for week in range(self.run.course_days):
            enrolled = self.registered is None or self.registered <= 7 * week
            if enrolled and (self.unregistered is None or 7 * week + 6 < self.unregistered):
                yield week


# ---------------------------------------------------------------- reading


def find(folder: Path, name: str) -> Path:
    """The file `name` or `name`.gz in the folder."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise Refused(f"{folder}: neither {name} nor {name}.gz is there. Give the folder that holds the OULAD files.")


def opened(path: Path) -> TextIO:
    """The file as text, unpacked if its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the named columns, in that order, of each row; other columns are not looked at."""
    with opened(path) as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            places = []
            for column in columns:
                if header.count(column) != 1:
                    what = "is missing from" if column not in header else "stands twice in"
                    raise Refused(
                        f"{path.name}: column {column} {what} the header. Needed once each: {', '.join(columns)}."
                    )
                places.append(header.index(column))
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise Refused(
                        f"{path.name}, line {reader.line_num}: {len(row)} fields, the header has {len(header)}."
                        " Mend or remove the line (a comma inside a field needs quotes around the field)."
                    )
                if reader.line_num % LINES_A_PROGRESS == 0:
                    say(f"{path.name}: {reader.line_num:,} lines")
                yield reader.line_num, [row[place] for place in places]
        except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Refused(
                f"{path.name}, near line {reader.line_num + 1}: not readable as UTF-8 CSV ({type(error).__name__})."
                " Copy the file anew or save it as UTF-8."
            ) from error


def whole(text: str, path: Path, line: int, column: str) -> int:
    """The field as a whole number."""
    if re.fullmatch(r"-?[0-9]{1,5}", text) is None:
        raise Refused(
            f"{path.name}, line {line}: column {column} is not a whole number of at most 5 digits. Mend the field."
        )
    return int(text)


def read_runs(folder: Path) -> dict[tuple[str, str], Run]:
    """Every run of courses.csv by module and presentation."""
    path = find(folder, "courses.csv")
    runs: dict[tuple[str, str], Run] = {}
    for line, (module, presentation, length) in rows(
        path, ("code_module", "code_presentation", "module_presentation_length")
    ):
        if re.fullmatch(r"[0-9]{4}[BJ]", presentation) is None or presentation < "0001":
            raise Refused(
                f"{path.name}, line {line}: column code_presentation is not a year and B or J (2013J)."
                " Mend the field, or leave the run out of all files."
            )
        if (module, presentation) in runs:
            raise Refused(f"{path.name}, line {line}: this run stands twice. Remove one of its lines.")
        start = date(int(presentation[:4]), START_MONTH[presentation[4]], 1)
        days = whole(length, path, line, "module_presentation_length")
        if days < 0:
            raise Refused(f"{path.name}, line {line}: column module_presentation_length is below 0. Mend the field.")
        runs[module, presentation] = Run(f"{module}-{presentation}", start, days)
    return runs


def read_enrolments(folder: Path, runs: dict[tuple[str, str], Run]) -> list[Enrolment]:
    """Every enrolment, by run and reference."""
    path = find(folder, "enrolments.csv")
    enrolments: dict[str, Enrolment] = {}
    for line, (module, presentation, student, sex, result, registered, unregistered) in rows(
        path,
        (
            "code_module",
            "code_presentation",
            "id_student",
            "gender",
            "final_result",
            "date_registration",
            "date_unregistration",
        ),
    ):
        run = runs.get((module, presentation))
        if run is None:
            raise Refused(f"{path.name}, line {line}: its run is not in courses.csv. Add the run there.")
        if not student:
            raise Refused(f"{path.name}, line {line}: column id_student is empty. Mend the field.")
        if sex not in SEXES:
            raise Refused(f"{path.name}, line {line}: column gender is neither M nor F. Mend the field.")
        if result not in END_KIND:
            raise Refused(
                f"{path.name}, line {line}: column final_result is none of {', '.join(END_KIND)}. Mend the field."
            )
        ref = f"{run.ref}-{student}"
        if ref in enrolments:
            raise Refused(f"{path.name}, line {line}: this enrolment stands twice. Remove one of its lines.")
        enrolments[ref] = Enrolment(
            run,
            ref,
            student,
            sex,
            result,
            whole(registered, path, line, "date_registration") if registered else None,
            whole(unregistered, path, line, "date_unregistration") if unregistered else None,
        )
    return sorted(enrolments.values(), key=lambda enrolment: (enrolment.run.ref, enrolment.ref))


def read_active_weeks(folder: Path) -> set[tuple[str, str, int]]:
    """(run, student, week) of every week in which the student was active."""
    path = find(folder, "activity.csv")
    weeks: set[tuple[str, str, int]] = set()
    for line, (module, presentation, student, day) in rows(
        path, ("code_module", "code_presentation", "id_student", "date")
    ):
        weeks.add((f"{module}-{presentation}", student, whole(day, path, line, "date") // 7))
    return weeks


# ---------------------------------------------------------------- what is handed in


def shift(enrolments: Iterable[Enrolment], until: int | None, end_on: date | None) -> timedelta:
    """How far every date moves so that the last day of what is handed in falls on `end_on`.

    A run's last day is the day after it, or the last registration or unregistration if that is later; with `until` it
    is at most that day. The latest of these over all runs falls on `end_on`, so that no fact lies after it.
    """
    if end_on is None:
        return timedelta()
    last_days = [
        enrolment.run.start + timedelta(last if until is None else min(last, until))
        for enrolment in enrolments
        for last in [max(enrolment.run.end, enrolment.last_fact)]
    ]
    return end_on - max(last_days) if last_days else timedelta()


def participation_row(enrolment: Enrolment, until: int | None, moved: timedelta) -> list[str]:
    """One row of participations.csv; what is known only after day `until` is empty."""
    run = enrolment.run

    def on(day: int | None) -> str:
        if day is None or (until is not None and day > until):
            return ""
        return (run.start + moved + timedelta(day)).isoformat()

    return [
        run.ref,
        (run.start + moved).isoformat(),
        (run.start + moved + timedelta(run.end)).isoformat(),
        str(run.course_days),
        enrolment.ref,
        enrolment.ref,
        enrolment.sex,
        on(enrolment.requested),
        on(enrolment.withdrawn),
        on(enrolment.start),
        on(enrolment.end),
        enrolment.end_kind if on(enrolment.end) else "",
    ]


def attendance_rows(
    enrolment: Enrolment, active: set[tuple[str, str, int]], until: int | None, moved: timedelta
) -> Iterator[list[str]]:
    """One row of attendance.csv for each course day that counts, up to day `until`."""
    run = enrolment.run
    for week in enrolment.weeks():
        if until is not None and 7 * week + 6 > until:
            return
        present = (run.ref, enrolment.student, week) in active
        meeting_on = (run.start + moved + timedelta(7 * week + 6)).isoformat()
        yield [
            run.ref,
            enrolment.ref,
            f"{run.ref}-w{week:02d}",
            meeting_on,
            str(UNITS_A_DAY),
            str(UNITS_A_DAY if present else 0),
            "PRESENT" if present else "UNEXCUSED",
            f"{meeting_on}T18:00:00Z",
        ]


def prepare(folder: Path, out: Path, until: int | None, end_on: date | None) -> tuple[int, int]:
    """Writes both files into `out`; gives the numbers of their rows. Refused: nothing is written."""
    every = read_enrolments(folder, read_runs(folder))
    active = read_active_weeks(folder)
    known = [enrolment for enrolment in every if until is None or enrolment.requested <= until]
    try:
        moved = shift(every, until, end_on)
        participations = [participation_row(enrolment, until, moved) for enrolment in known]
        attendance = [row for enrolment in known for row in attendance_rows(enrolment, active, until, moved)]
    except OverflowError as error:
        raise Refused(
            "a date falls out of the years 1 to 9999. Give another --end-on, or mend code_presentation in courses.csv."
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "participations.csv") as first, replacing(out / "attendance.csv") as second:
        write(first, PARTICIPATION_COLUMNS, participations)
        write(second, ATTENDANCE_COLUMNS, attendance)
    return len(participations), len(attendance)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write that takes the place of `path` once it is whole, and leaves nothing behind if it never is."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(file: TextIO, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """A header and its rows, with line feeds as line ends on every system."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"prepare.py: {text}", file=sys.stderr, flush=True)


def calendar_day(text: str) -> date:
    """A day as given on the command line."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day of the calendar") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0: written; 1: the input is refused or a file cannot be read or written; 2: usage; 130: stopped."""
    parser = argparse.ArgumentParser(
        prog="prepare.py",
        description="Makes of the OULAD files in FOLDER (courses, enrolments, activity; .csv or .csv.gz) what a course"
        " provider would hand in, and writes OUT/participations.csv (a row an enrolment; by run and reference)"
        " and OUT/attendance.csv (a row a participation and course day; by run, reference and day).",
        epilog="Exit: 0 written, 1 refused (nothing is written), 2 usage, 130 stopped. The rules stand at the top of"
        " this file.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the OULAD files are")
    parser.add_argument("out", metavar="OUT", type=Path, help="where to write; made if it is not there")
    parser.add_argument(
        "--until",
        metavar="DAY",
        type=int,
        help="the files as handed in on day DAY of each run, that day included: enrolments requested by then, and"
        " no start, end, withdrawal or course day of a later day",
    )
    parser.add_argument(
        "--end-on",
        metavar="DATE",
        type=calendar_day,
        help="move all dates so that the last day of what is handed in falls on DATE (2026-01-31): of the run that"
        " is over last the day after it, with --until at most its day DAY",
    )
    given = parser.parse_args(arguments)
    try:
        participations, attendance = prepare(given.folder, given.out, given.until, given.end_on)
    except Refused as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.filename or given.out}: {error.strerror}. Check the path, its rights and the space left.")
        return 1
    except KeyboardInterrupt:
        say("stopped; nothing is written")
        return 130
    say(f"{participations:,} participations, {attendance:,} attendance reports written to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
