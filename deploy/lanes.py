"""Child processes side by side: what each says is kept apart and shown in order, as if one ran after the other."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import tied_to_us

TO_END = 120.0  # seconds an interrupted child has to take down what it started


@dataclass(frozen=True)
class Step:
    """What is run, and its name."""

    name: str
    argv: Sequence[str]


@dataclass(frozen=True)
class Done:
    """A step that ended: its exit code (negative: the signal it died of) and the seconds it took."""

    name: str
    code: int
    seconds: float


def side_by_side(
    steps: Sequence[Step],
    lanes: int,
    folder: Path,
    env: Mapping[str, str],
    *,
    says: Callable[[bytes], object],
    begins: Callable[[Step], object] = lambda _: None,
    ended: Callable[[Done], object] = lambda _: None,
) -> list[Done]:
    """Runs the steps, so many at once, begun in their order. Of those that run the first in order is shown while it runs
    (`says`); the others' words are kept until it is their turn. Whatever ends this ends the steps, too: each is interrupted
    once (SIGINT), so that it takes down what it started. Raises KeyboardInterrupt for SIGINT, SystemExit(143) for SIGTERM.
    Call it from the main thread."""
    waiting, running, done = deque(steps), deque[_Running](), list[Done]()
    told: list[
        int
    ] = []  # looked at where nothing is half done: raised within Popen, it leaves a lock or a child behind
    before = {
        sign: signal.signal(sign, lambda number, _: told.append(number)) for sign in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        while waiting or running:
            if told:
                raise KeyboardInterrupt if told[0] == signal.SIGINT else SystemExit(143)
            alive = [one for one in running if one.alive()]
            if waiting and len(alive) < lanes:
                running.append(_Running(waiting.popleft(), folder, env))
                if len(running) == 1:
                    begins(running[0].step)
                continue
            for words in running[0].news():
                says(words)
            if running[0] not in alive:  # it had ended before its words were read: it says no more
                done.append(running.popleft().done())
                ended(done[-1])
                if running:
                    begins(running[0].step)
            else:
                time.sleep(0.05)
    finally:
        for one in running:
            one.interrupt()
        for one in running:
            one.end()
            for words in one.news():  # what failed until then
                says(words)
        for sign, usual in before.items():
            signal.signal(sign, usual)
    return done


class _Running:
    """A step that has begun. It stands in a process group of its own: a terminal's Ctrl-C would reach it beside our own
    interrupt, and the second breaks off the taking down."""

    def __init__(self, step: Step, folder: Path, env: Mapping[str, str]) -> None:
        self.step, self._began, self._took, self._shown = step, time.monotonic(), 0.0, 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed when all of it is shown

        tied = tied_to_us(signal.SIGINT)

        def hearing() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell makes those it runs in the background deaf to it
            tied()

        self._child = subprocess.Popen(  # noqa: S603
            list(step.argv), cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=self._said,
            stderr=subprocess.STDOUT, process_group=0, preexec_fn=hearing,
        )  # fmt: skip

    def alive(self) -> bool:
        if self._child.poll() is not None and not self._took:
            self._took = time.monotonic() - self._began
        return self._child.returncode is None

    def news(self) -> Iterator[bytes]:
        """What it said since it was asked last. The child writes where the file's offset stands, so that is not moved."""
        while words := os.pread(self._said.fileno(), 1 << 16, self._shown):
            self._shown += len(words)
            yield words

    def done(self) -> Done:
        self._said.close()
        return Done(self.step.name, self._child.returncode, self._took)

    def interrupt(self) -> None:
        if self.alive():
            self._child.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Waits for it; kills it where it does not end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(TO_END)
        if self.alive():
            self._child.kill()
            self._child.wait()
