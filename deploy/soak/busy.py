"""What a busy machine takes from a house: a promise in seconds is not broken by the work of others."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


class Busy:
    """Looks from now on at some processes, of those that `root` has started."""

    def __init__(self, root: int, pids: Callable[[], Iterable[int]]) -> None:
        self._root, self._pids = root, pids
        self._waited = {pid: _waited(pid) for pid in pids()}
        self._ours, self._all = _used(root)

    def took(self) -> float:
        """Seconds for which, at most, one of these processes could have gone on and had no processor, as far as all that was done
        meanwhile was others': what `root` and its own do to each other is theirs."""
        ours, all_ = _used(self._root)
        others = 1 - (ours - self._ours) / max(all_ - self._all, 0.01)
        waited = max((_waited(pid) - self._waited.get(pid, 0.0) for pid in self._pids()), default=0.0)
        return max(0.0, waited) * min(1.0, max(0.0, others))


def _waited(pid: int) -> float:
    """Seconds since it began, by the kernel's count of its first thread; 0 where it is gone, or nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _used(root: int) -> tuple[float, float]:
    """Processor seconds of a process and all it has started, and of everybody here."""
    ours, one = 0.0, psutil.Process(root)
    for each in (one, *one.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            ours += sum(each.cpu_times()[:4])  # its own, and of those that have ended
    said = psutil.cpu_times()
    return ours, said.user + said.nice + said.system + said.irq + said.softirq + said.steal
