"""What people see on a terminal, on stdout and stderr: what others wrote is shown and not obeyed.

A partner's reference, the body of a dead letter, a file's name may hold what moves the cursor, names the window or turns the
direction of writing. It is shown as `\\xNN` or `\\uNNNN`; how it was sent, JSON says.
"""

import re
from typing import Any

from rich.console import Console
from rich.protocol import is_renderable
from rich.text import Text

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 but tab and newline, DEL, C1, the controls of bidirectional text; and surrogates, which no stdout takes."""


def visible(text: str) -> str:
    """The same text, with each sign that a terminal would obey written down."""
    return OBEYED.sub(lambda sign: f"\\x{ord(sign[0]):02x}" if sign[0] <= "\xff" else f"\\u{ord(sign[0]):04x}", text)


class Screen(Console):
    """Shows every text as it is, also within tables: brackets are no markup, `:words:` no emoji."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **how)

    def print(self, *objects: Any, **how: Any) -> None:
        """What draws itself, and all else as its text: a path, an error."""
        super().print(*(one if is_renderable(one) else str(one) for one in objects), **how)

    def render_str(self, text: str, **how: Any) -> Text:
        """Every text comes through here before it is measured, unless it was made a rich Text."""
        return super().render_str(visible(text), **how)
