"""What a busy machine takes from a house: a promise in seconds is not broken by the work of others."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil


class Busy:
    """Looks from now on at a process and all that it has started."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._waited = dict(self._waits())
        self._ours, self._all = self._used()

    def took(self) -> float:
        """Seconds for which, at most, one thread of theirs could have gone on and had no processor, by as much of what was done
        meanwhile as was others': what they do to each other is theirs."""
        ours, all_ = self._used()
        others = 1 - (ours - self._ours) / max(all_ - self._all, 0.01)
        waited = max((seconds - self._waited.get(thread, 0.0) for thread, seconds in self._waits()), default=0.0)
        return waited * min(1.0, max(0.0, others))

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def _waits(self) -> Iterator[tuple[str, float]]:
        """Of each thread the seconds since it began, by the kernel's count; nothing where nobody counts."""
        for each in self._tree():
            for file in Path(f"/proc/{each.pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError, IndexError):  # it has ended meanwhile
                    yield file.parent.name, int(file.read_text().split()[1]) / 1e9

    def _used(self) -> tuple[float, float]:
        """Processor seconds of theirs, and of everybody here."""
        ours = 0.0
        for each in self._tree():
            with contextlib.suppress(psutil.Error):
                ours += sum(each.cpu_times()[:4])  # its own, and of those that have ended
        said = psutil.cpu_times()
        return ours, said.user + said.nice + said.system + said.irq + said.softirq + said.steal
