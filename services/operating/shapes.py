"""What may be told of a message that nobody should read: names our contracts know, types, lengths. Never a value."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from contracts.attributes import BINARY, Headers
from contracts.messages import names_of


def names_in(kinds: Iterable[type[BaseModel]]) -> frozenset[str]:
    """Names these types know; any other is the sender's own and may name a person."""
    return frozenset().union(*map(names_of, kinds))


def shape_of(headers: Headers, value: bytes | None, names: frozenset[str]) -> dict[str, Any]:
    """Of a whole message: a line a header, and its body with these names."""
    return {"headers": [shape_of_header(*header) for header in headers], "body": shape_of_body(value, names)}


def shape_of_header(name: str, value: bytes | None) -> str:
    """A header's name where it is one of ours, and its length."""
    return f"{name if name in BINARY else '(foreign)'}: {'null' if value is None else f'{len(value)} bytes'}"


def shape_of_body(body: bytes | None, names: frozenset[str]) -> Any:
    """Names (of these), types and lengths of a body; for what is no JSON its length alone."""
    if body is None:
        return "null"
    try:
        return _shape(json.loads(body), names)
    except (ValueError, RecursionError):  # the latter for what is nested without end
        return f"no JSON, {len(body)} bytes"


def _shape(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name if name in names else f"(unknown name of {len(name)})": _shape(inner, names)
                for name, inner in value.items()}  # fmt: skip
    if isinstance(value, list):
        return [_shape(inner, names) for inner in value[:20]]
    return f"{type(value).__name__}{f' of {len(value)}' if isinstance(value, str) else ''}"
