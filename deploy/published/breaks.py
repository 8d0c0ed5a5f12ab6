"""What the gate says: a break, with who writes, who reads, and the way out."""

from dataclasses import dataclass

from deploy.published.asyncapi import ANYONE


@dataclass(frozen=True, slots=True)
class Break:
    """Something that would break somebody."""

    rule: str
    what: str
    """A wire type, a topic, a code list, or a file."""
    at: str
    """A JSON Pointer into the body; without a slash the name of an attribute, of a topic of a setting or reason."""
    said: str
    writer: str
    reader: str
    subscribers: tuple[str, ...]
    """Those registered who rely on it."""
    way_out: str


def spoken(*names: str) -> str:
    """Writers or readers, as one says them."""
    return ", ".join("every publisher" if name == ANYONE else name for name in names)
