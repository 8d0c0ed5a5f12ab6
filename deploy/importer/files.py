"""Partners' CSV files: UTF-8 with or without BOM or Windows-1252, `;` or `,`, packed or not. And the rows to send back."""

import csv
import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.errors import USAGE, Trouble

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet (CSV injection)."""

RAGGED = "lotse_ragged"
OURS = ("lotse_file", "lotse_row", "lotse_reason", "lotse_pointer", "lotse_hint", RAGGED)
"""Our columns in a file of refused rows. A partner's own may be called reason or row: with the same name the mended file
would have the column twice. A file with one of ours is read without the guard of its cells."""


@dataclass(frozen=True)
class Row:
    """One row. `number` as a spreadsheet counts: the header is row 1."""

    file: str
    number: int
    cells: dict[str, str]
    whole: bool
    """It has as many cells as the header."""
    surplus: tuple[str, ...] = ()
    """Its cells beyond the header."""


@dataclass(frozen=True)
class CsvFile:
    """A file that was looked through once: readable to its end, with these columns and so many rows."""

    path: Path
    text: str
    delimiter: str
    columns: list[str]
    rows: int

    def read(self) -> Iterator[Row]:
        """The rows, in order. Empty lines are no rows. Of a file of refused rows: the cells as the partner wrote them."""
        reader = _reader(self.text, self.delimiter)
        next(reader, None)
        ours = _is_ours(self.columns)
        for number, read in enumerate(reader, 2):
            if read:
                cells = [unguarded(cell) for cell in read] if ours else read
                named = dict(zip(self.columns, cells, strict=False))
                surplus, whole = cells[len(self.columns) :], len(cells) == len(self.columns)
                if ours and (ragged := named.get(RAGGED, "")).strip():
                    surplus, whole = [*self._more(number, ragged), *surplus], False
                theirs = {name: cell for name, cell in named.items() if name not in OURS}
                yield Row(self.path.name, number, theirs, whole, tuple(surplus))

    def _more(self, number: int, ragged: str) -> list[str]:
        """What did not fit under the header. Raises Trouble where it was mended by half."""
        try:
            return next(_reader(ragged, ";"))[1:]
        except csv.Error:
            raise Trouble(f"{self.path.name} row {number}: what stands in {RAGGED} ends within a cell; nothing was sent",
                          f"empty {RAGGED} once the row's own cells are mended", USAGE) from None  # fmt: skip


def _is_ours(columns: Iterable[str]) -> bool:
    return not set(OURS).isdisjoint(columns)


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    """Strict: a quotation mark that is never closed would take all lines that follow into its cell, and nobody would miss them.
    Raises csv.Error, with the line where the row begins: where it ends unread says nothing."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1
    try:
        for cells in reader:
            yield cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"the row that begins in line {line}: {error}") from None


def look_through(path: Path, needed: Iterable[str]) -> CsvFile:
    """Reads a file whole. Raises Trouble where it is unreadable or its header lacks a mapped column."""
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise Trouble(
            f"{path.name} can't be read ({type(error).__name__})", "check the path and the file", USAGE
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not data.decode("utf-8-sig", "ignore").isascii():  # read as Windows-1252 "Müller-07" would be another person
            line = data.count(b"\n", 0, error.start) + 1
            raise Trouble(f"{path.name} is neither UTF-8 nor Windows-1252, but some of both (line {line})",
                          "save it as CSV UTF-8", USAGE) from None  # fmt: skip
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise Trouble(f"{path.name} is neither UTF-8 nor Windows-1252", "save it as CSV UTF-8", USAGE) from None
    delimiter = _delimiter(text, set(needed))
    try:
        columns = [name.strip() for name in next(_reader(text, delimiter), [])]
        if _is_ours(columns):
            columns = [unguarded(name) for name in columns]
        found = CsvFile(path, text, delimiter, columns, 0)
        rows = sum(1 for _ in found.read())
    except csv.Error as error:
        raise Trouble(f"{path.name} is no CSV ({error})", "a quotation mark within a cell stands twice, and the cell between two;"
                      " saved as CSV UTF-8 it is so", USAGE) from None  # fmt: skip
    if missing := sorted(set(needed) - (set(columns) - set(OURS))):
        # only names the mapping knows: where a file has no header, its first person stands there
        known = ", ".join(sorted(set(needed) - set(missing))) or "none that is mapped"
        raise Trouble(
            f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; nothing was sent",
            f"mend the header or the mapping; of its {len(columns)} columns it has {known}", USAGE,
        )  # fmt: skip
    if twice := sorted({name for name in columns if columns.count(name) > 1 and name in set(needed)}):
        raise Trouble(f"{path.name} has the column {twice[0]} twice; nothing was sent", "mend the header", USAGE)
    return replace(found, rows=rows)


def _delimiter(text: str, needed: set[str]) -> str:
    """The one under which most of the mapped columns are found: a partner's column names may hold more commas than it has
    columns. A file of refused rows tells by ours."""

    def header(delimiter: str) -> set[str]:
        try:
            return {name.strip() for name in next(_reader(text, delimiter), [])}
        except csv.Error:  # read by the wrong one, a name between quotation marks goes on behind them
            return set()

    by_count = sorted(";,", key=text.partition("\n")[0].count)
    return max(",;", key=lambda one: (_is_ours(header(one)), len(needed & header(one)), by_count.index(one)))


def guarded(cell: str) -> str:
    """A cell no spreadsheet takes for a formula. One that looks guarded already is guarded once more, so that `unguarded`
    gives back every cell as it was."""
    return f"'{cell}" if cell.lstrip("'").startswith(FORMULA) else cell


def unguarded(cell: str) -> str:
    """What `guarded` was given: a mark "-" that came back as "'-" would be another mark, and a person another person."""
    return cell[1:] if cell.startswith("'") and guarded(cell) != cell else cell


def may_be_written(path: Path) -> None:
    """Raises Trouble where refused rows could not be written there, before anything is sent: afterwards it is too late.
    What stands there is never overwritten: it may be a file that is imported, or rows that nobody has mended yet."""
    if os.path.lexists(path):
        raise Trouble(f"{path.name} is there already; nothing was sent", "give --refused a name that is free", USAGE)
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise Trouble(f"nothing can be written to {path.parent} ({type(error).__name__}); nothing was sent",
                      "make the folder, or give --refused another", USAGE) from None  # fmt: skip


def write_back(path: Path, rows: list[tuple[Row, str, str, str]]) -> None:
    """Refused rows with reason, pointer and hint, for the partner to mend; readable by its owner alone. All of them or no file:
    one that broke off would be read as whole. Raises OSError, also where something stands there."""
    columns: list[str] = list(dict.fromkeys(name for row, *_ in rows for name in row.cells))
    with ExitStack() as undone:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # from here on the name is ours
        undone.callback(path.unlink)
        handle, beside = tempfile.mkstemp(prefix=".refused-", dir=path.parent)
        undone.callback(os.unlink, beside)
        with open(handle, "w", encoding="utf-8-sig", newline="") as out:
            writer = csv.writer(out, delimiter=";")
            writer.writerow([*OURS, *map(guarded, columns)])
            for row, reason, pointer, hint in rows:
                ours = (row.file, str(row.number), reason, pointer, hint, _ragged(row))
                writer.writerow([guarded(cell) for cell in (*ours, *(row.cells.get(name, "") for name in columns))])
        os.replace(beside, path)
        undone.pop_all()


def _ragged(row: Row) -> str:
    """What does not fit under the header, as a line of CSV; empty for a whole row. As long as it stands, the row is not
    whole: filled up with empty cells, a row that was cut off would be taken for one that says so much."""
    if row.whole:
        return ""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=";").writerow(["more", *row.surplus] if row.surplus else ["fewer"])
    return out.getvalue().removesuffix("\r\n")
