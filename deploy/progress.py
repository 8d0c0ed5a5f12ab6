"""What a person sees while they wait: count, rate and time left on a terminal; without one a line now and then."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

from deploy.saying import say

TELLS_EACH = 10.0  # seconds between two lines where there is no terminal, or one that is read aloud


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> str:
        return f"{task.speed:,.0f} {self._unit}/s" if task.speed else ""


@contextmanager
def counted(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Gives what is called with how many more are done. Everything goes to stderr; ACCESSIBLE asks for lines."""
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn(),
                   console=say, disable=not say.is_terminal or bool(os.environ.get("ACCESSIBLE")), transient=True)  # fmt: skip
    done, began = 0, time.monotonic()
    said = began
    with bar:
        task = bar.add_task(what, total=total)

        def more(count: int) -> None:
            nonlocal done, said
            done += count
            bar.advance(task, count)
            now = time.monotonic()
            if bar.disable and now - said > TELLS_EACH:
                said = now
                say.print(f"{what}: {done:,} of {total:,} {unit}, {done / (now - began):,.0f}/s")

        yield more
