"""Code lists with validity: data files with their source, read on first use, out and in as Genericode 1.0.

A code means what its list says on the day the message speaks of. What a list does not hold is refused only where the list
is complete. `to_verify` marks what was taken from general knowledge: fit for software, not for legal text.
"""

import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any
from xml.etree import ElementTree as Xml

from .. import codes
from ..envelope import Listed, Model, Refused

GENERICODE = "http://docs.oasis-open.org/codelist/ns/genericode/1.0/"


@dataclass(frozen=True, slots=True)
class Entry:
    """One code, and the days on which it may be used; both ends inclusive, None is open."""

    code: str
    name: str
    valid_from_on: date | None = None
    valid_until_on: date | None = None
    successor: str | None = None
    to_verify: bool = False
    more: dict[str, str] = field(default_factory=dict)
    """Further columns: other keys, groups."""

    def valid_on(self, day: date) -> bool:
        """Whether a fact of that day may use it."""
        return (self.valid_from_on or day) <= day <= (self.valid_until_on or day)


@dataclass(frozen=True, slots=True)
class CodeList:
    """A list as it is published under one version."""

    name: str
    title: str
    version: str
    source: str
    complete: bool
    """Whether a code the list does not hold is wrong, or only not known to us."""
    entries: tuple[Entry, ...]
    _by_code: dict[str, Entry] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def urn(self) -> str:
        """Its name for machines, without the version."""
        return f"urn:lotse:codelist:{self.name}"

    def find(self, code: str) -> Entry | None:
        """The entry of a code."""
        if not self._by_code:
            self._by_code.update((entry.code, entry) for entry in self.entries)
        return self._by_code.get(code)


@cache
def names() -> tuple[str, ...]:
    """Lists that have a data file, and those that are enumerations of the contracts."""
    files = (file.name for file in resources.files(__package__).iterdir())
    return (*sorted(name.removesuffix(".json") for name in files if name.endswith(".json")), *sorted(_enumerations()))


@cache
def load(name: str) -> CodeList:
    """A list by its name. Raises KeyError."""
    if name in (found := _enumerations()):
        return _of_enumeration(name, found[name])
    if name not in names():
        raise KeyError(name)
    return read_json(resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8"))


def every() -> list[CodeList]:
    """All lists."""
    return [load(name) for name in names()]


def _enumerations() -> dict[str, type[StrEnum]]:
    found = {}
    for name, cls in vars(codes).items():
        if isinstance(cls, type) and issubclass(cls, StrEnum) and cls.__module__ == codes.__name__:
            found["".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")] = cls
    return found


def _of_enumeration(name: str, cls: type[StrEnum]) -> CodeList:
    title = (cls.__doc__ or cls.__name__).strip().partition("\n")[0]
    entries = tuple(Entry(one.value, one.value.replace("_", " ").capitalize()) for one in cls)
    return CodeList(name, title, "1", "contracts/codes.py", complete=True, entries=entries)


# --- the data file


def read_json(text: str) -> CodeList:
    """A list from its data file. Raises ValueError, KeyError or TypeError for what is none."""
    said = json.loads(text)
    entries = []
    for row in said.pop("entries"):
        days: dict[str, Any] = {
            end: date.fromisoformat(row.pop(end)) for end in ("valid_from_on", "valid_until_on") if end in row
        }
        plain = {name: row.pop(name) for name in ("code", "name", "successor", "to_verify") if name in row}
        entries.append(Entry(**plain, **days, more=row))
    return CodeList(**said, entries=tuple(entries))


def as_json(of: CodeList) -> str:
    """The data file of a list, an entry a line."""
    head = {"name": of.name, "title": of.title, "version": of.version, "source": of.source, "complete": of.complete}
    lines = ",\n".join(f"    {json.dumps(_row(entry), ensure_ascii=False)}" for entry in of.entries)
    return f'{json.dumps(head, indent=2, ensure_ascii=False)[:-2]},\n  "entries": [\n{lines}\n  ]\n}}\n'


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"code": entry.code, "name": entry.name}
    if entry.valid_from_on:
        row["valid_from_on"] = entry.valid_from_on.isoformat()
    if entry.valid_until_on:
        row["valid_until_on"] = entry.valid_until_on.isoformat()
    if entry.successor:
        row["successor"] = entry.successor
    if entry.to_verify:
        row["to_verify"] = True
    return {**row, **entry.more}


# --- Genericode


def as_genericode(of: CodeList) -> str:
    """The list as Genericode 1.0, the form of the XRepository; days, successor and marks are columns."""
    Xml.register_namespace("gc", GENERICODE)
    root = Xml.Element(f"{{{GENERICODE}}}CodeList")
    identity = Xml.SubElement(root, "Identification")
    for tag, text in (("ShortName", of.name), ("LongName", of.title), ("Version", of.version), ("CanonicalUri", of.urn),
                      ("CanonicalVersionUri", f"{of.urn}_{of.version}")):  # fmt: skip
        Xml.SubElement(identity, tag).text = text
    Xml.SubElement(Xml.SubElement(identity, "Agency"), "LongName").text = of.source
    rows = [{name: _text(value) for name, value in _row(entry).items()} for entry in of.entries]
    columns = list(dict.fromkeys(["code", "name", *(name for row in rows for name in row)]))
    column_set = Xml.SubElement(root, "ColumnSet")
    for name in columns:
        use = "required" if name in ("code", "name") else "optional"
        column = Xml.SubElement(column_set, "Column", Id=name, Use=use)
        Xml.SubElement(column, "ShortName").text = name
        Xml.SubElement(column, "Data", Type="string")
    key = Xml.SubElement(column_set, "Key", Id="codeKey")
    Xml.SubElement(key, "ShortName").text = "codeKey"
    Xml.SubElement(key, "ColumnRef", Ref="code")
    simple = Xml.SubElement(root, "SimpleCodeList")
    for row in rows:
        element = Xml.SubElement(simple, "Row")
        for name in columns:
            if name in row:
                Xml.SubElement(Xml.SubElement(element, "Value", ColumnRef=name), "SimpleValue").text = row[name]
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def from_genericode(text: str, *, code: str | None = None, name: str | None = None, complete: bool = True) -> CodeList:
    """A list from Genericode 1.0. `code` and `name` are columns where they are not ours: by itself the key's, and the
    first other one. Raises ValueError."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("a code list needs no document type")  # entities that expand without end
    try:
        root = Xml.fromstring(text)
    except Xml.ParseError:
        raise ValueError("not well-formed XML") from None
    if root.tag != f"{{{GENERICODE}}}CodeList":
        raise ValueError("not a Genericode 1.0 CodeList")

    def said(path: str) -> str:
        return root.findtext(f"Identification/{path}") or ""

    columns = [column.get("Id", "") for column in root.iterfind("ColumnSet/Column")]
    reference = root.find("ColumnSet/Key/ColumnRef")
    code = code or (reference.get("Ref", "") if reference is not None else columns[0] if columns else "")
    name = name or ("name" if "name" in columns else next((one for one in columns if one != code), code))
    if code not in columns or name not in columns:
        raise ValueError("no such column")
    rows = []
    for row in root.iterfind("SimpleCodeList/Row"):
        at, values = 0, {}
        for value in row.iterfind("Value"):
            column = value.get("ColumnRef") or columns[at]  # without a reference it stands under the next column
            at = columns.index(column) + 1
            values[column] = (value.findtext("SimpleValue") or "").strip()
        entry: dict[str, Any] = {"code": values.pop(code), "name": values.pop(name, "")}
        if values.pop("to_verify", "") == "true":
            entry["to_verify"] = True
        rows.append({**entry, **values})
    head = {"name": said("ShortName"), "title": said("LongName"), "version": said("Version"),
            "source": said("Agency/LongName") or said("CanonicalVersionUri"), "complete": complete}  # fmt: skip
    return read_json(json.dumps({**head, "entries": rows}))


# --- the day of a message


@cache
def _listed(cls: type[Model]) -> tuple[tuple[str, str], ...]:
    """(field, list) of a model's own fields."""
    found = []
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for mark in _marks(hint):
            if isinstance(mark, Listed):
                found.append((name, mark.name))
    return tuple(found)


def _marks(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for part in typing.get_args(annotation):
        yield from _marks(part)


def judge(said: Model, on: date) -> Refused | None:
    """Whether each code of a message was valid on its day; else why, where, and which code stands in its place."""
    for name, listed in _listed(type(said)):
        code, found = getattr(said, name), load(listed)
        entry = found.find(code) if code is not None else None
        if entry is not None and not entry.valid_on(on):
            until = f"until {entry.valid_until_on}" if entry.valid_until_on and on > entry.valid_until_on else (
                f"from {entry.valid_from_on}")  # fmt: skip
            instead = f"use {entry.successor}" if entry.successor else "see the list"
            return Refused("CODE_NOT_VALID", f"/{name}", f"In the list {listed} this code is valid {until}; {instead}.")
        if entry is None and code is not None and found.complete:
            return Refused("CODE_UNKNOWN", f"/{name}", f"The list {listed} has no such code.")
    return None
