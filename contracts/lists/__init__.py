"""All code lists: those with a data file and validity, and the enumerations of the contracts; out and in as Genericode 1.0."""

import json
import re
from functools import cache
from typing import Any
from xml.etree import ElementTree as Xml

from .. import codes, validity
from ..validity import CodeList as CodeList
from ..validity import Entry as Entry
from ..validity import judge as judge
from ..validity import read_json as read_json

GENERICODE = "http://docs.oasis-open.org/codelist/ns/genericode/1.0/"


@cache
def names() -> tuple[str, ...]:
    """Lists that have a data file, and those that are enumerations of the contracts."""
    return (*validity.names(), *sorted(_enumerations()))


@cache
def load(name: str) -> CodeList:
    """A list by its name. Raises KeyError."""
    found = _enumerations()
    return _of_enumeration(name, found[name]) if name in found else validity.load(name)


def every() -> list[CodeList]:
    """All lists."""
    return [load(name) for name in names()]


def _enumerations() -> dict[str, type[codes.Coded]]:
    found = {}
    for cls in vars(codes).values():
        if isinstance(cls, type) and issubclass(cls, codes.Coded) and cls is not codes.Coded:
            found[list_of(cls)] = cls
    return found


def list_of(cls: type[codes.Coded]) -> str:
    """The name of an enumeration as a list."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def _of_enumeration(name: str, cls: type[codes.Coded]) -> CodeList:
    title = " ".join((cls.__doc__ or cls.__name__).split())
    entries = tuple(Entry(one.value, one.words) for one in cls)
    return CodeList(name, title, "1", "contracts/codes.py", complete=True, entries=entries)


# --- the data file


def as_json(of: CodeList) -> str:
    """The data file of a list, an entry a line."""
    head = {"name": of.name, "title": of.title, "version": of.version, "source": of.source, "complete": of.complete}
    lines = ",\n".join(f"    {json.dumps(_row(entry), ensure_ascii=False)}" for entry in of.entries)
    return f'{json.dumps(head, indent=2, ensure_ascii=False)[:-2]},\n  "entries": [\n{lines}\n  ]\n}}\n'


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"code": entry.code, "name": entry.name}
    if entry.valid_from_on:
        row["valid_from_on"] = entry.valid_from_on.isoformat()
    if entry.last_valid_on:
        row["last_valid_on"] = entry.last_valid_on.isoformat()
    return {**row, **columns(entry)}


def columns(entry: Entry) -> dict[str, Any]:
    """What stands in a code's row beside its name and its days: successor, mark, and the list's own columns."""
    row: dict[str, Any] = {}
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


def from_genericode(
    text: str, *, code: str | None = None, name: str | None = None, complete: bool | tuple[str, ...] = True
) -> CodeList:
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
