"""Partners' CSV files: UTF-8 with or without BOM or Windows-1252, `;` or `,`, packed or not. And the rows to send back."""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import USAGE, Trouble

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet (CSV injection)."""


@dataclass(frozen=True)
class Row:
    """One row. `number` as a spreadsheet counts: the header is row 1."""

    file: str
    number: int
    cells: dict[str, str]
    whole: bool
    """It has as many cells as the header."""


@dataclass(frozen=True)
class CsvFile:
    """A file that was looked through once: readable to its end, with these columns and so many rows."""

    path: Path
    text: str
    delimiter: str
    columns: list[str]
    rows: int

    def read(self) -> Iterator[Row]:
        """The rows, in order. Empty lines are no rows."""
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.delimiter)
        next(reader)
        for number, cells in enumerate(reader, 2):
            if cells:
                whole = len(cells) == len(self.columns)
                yield Row(self.path.name, number, dict(zip(self.columns, cells, strict=False)), whole)


def look_through(path: Path, needed: Iterable[str]) -> CsvFile:
    """Reads a file whole. Raises Trouble where it is unreadable or its header lacks a mapped column."""
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise Trouble(
            f"{path.name} can't be read ({type(error).__name__})", "check the path and the file", USAGE
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise Trouble(f"{path.name} is neither UTF-8 nor Windows-1252", "save it as CSV UTF-8", USAGE) from None
    header = text.partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        columns = [name.strip() for name in next(reader, [])]
        rows = sum(1 for cells in reader if cells)
    except csv.Error as error:
        raise Trouble(f"{path.name} is no CSV ({error})", "save it as CSV UTF-8", USAGE) from None
    if missing := sorted(set(needed) - set(columns)):
        raise Trouble(
            f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; nothing was sent",
            f"mend the header or the mapping; the file has {', '.join(columns) or 'no header'}", USAGE,
        )  # fmt: skip
    if twice := sorted({name for name in columns if columns.count(name) > 1 and name in set(needed)}):
        raise Trouble(f"{path.name} has the column {twice[0]} twice; nothing was sent", "mend the header", USAGE)
    return CsvFile(path, text, delimiter, columns, rows)


def guarded(cell: str) -> str:
    """A cell no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def write_back(path: Path, rows: list[tuple[Row, str, str, str]]) -> None:
    """Refused rows with reason, pointer and hint, for the partner to mend; readable by its owner alone."""
    columns: list[str] = list(dict.fromkeys(name for row, *_ in rows for name in row.cells))
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out, delimiter=";")
        writer.writerow(["file", "row", "reason", "pointer", "hint", *columns])
        for row, reason, pointer, hint in rows:
            cells = [row.cells.get(name, "") for name in columns]
            writer.writerow([guarded(str(c)) for c in (row.file, row.number, reason, pointer, hint, *cells)])
