"""Where the event loop does not turn any more, the log says where it stands: functions and lines, no values."""

import asyncio
import sys
import threading
import traceback
from contextvars import copy_context
from functools import partial

import structlog

log = structlog.get_logger()

BLOCKED_AFTER = 20  # seconds in which the loop does not turn once: Kafka has given its partitions away by then


class Watchdog:
    """Counts its own seconds, not the clock's: a process that was frozen counts none meanwhile. (CPython's faulthandler goes by the
    clock and reads the stacks of threads that run: of one that woke after 40 s it read, and the process was gone.)"""

    def __init__(self) -> None:
        self._silent = 0

    async def run(self) -> None:
        """Until it is cancelled. Runs in the loop that is watched."""
        ended = threading.Event()
        watch = partial(copy_context().run, self._watch, threading.get_ident(), ended)  # the context says which service
        threading.Thread(target=watch, name="watchdog", daemon=True).start()
        try:
            while True:
                self._silent = 0
                await asyncio.sleep(1)
        finally:
            ended.set()

    def _watch(self, loop: int, ended: threading.Event) -> None:
        while not ended.wait(1):
            self._silent += 1
            if self._silent == BLOCKED_AFTER and (frame := sys._current_frames().get(loop)) is not None:
                stack = traceback.extract_stack(frame, 40)
                stands = [f"{one.filename}:{one.lineno} in {one.name}" for one in stack]
                log.error("the loop does not turn", seconds=BLOCKED_AFTER, stands=stands)
