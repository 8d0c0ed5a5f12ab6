"""Seams at which tests break us: nothing, unless a test armed one."""

import os
import signal
import time

FAILPOINTS = (
    "decide",  # a rule of ours raises
    "evolve",  # a fact can't be folded
    "before_commit",  # everything written, nothing committed
    "after_commit",  # committed, the reply or the process lost
    "before_send",  # the relay has read what to send, Kafka has none of it
    "after_ack",  # Kafka has it, the outbox row is still there
    "after_claim",  # the claim is committed, the attempt not made
    "after_begin",  # somebody has begun to make the attempt, the world does not have it
    "after_errand",  # the world has it (mail accepted), its result not recorded
    "after_swap",  # a rebuild has put the new in place, the old is still there
)
ACTIONS = ("kill", "stop", "raise", "once", "lose", "block")
_armed: list[tuple[str, str, int]] = []
_hits: dict[str, int] = {}


class Broken(Exception):
    """Raised by a failpoint."""


def arm(spec: str) -> None:
    """Arms `name:action[:nth time]`. Settings refuse this without LOTSE_TESTING."""
    name, action, *nth = spec.split(":")
    if name not in FAILPOINTS or action not in ACTIONS:
        raise ValueError(f"failpoints are {', '.join(FAILPOINTS)}, each with :{', :'.join(ACTIONS)}")
    _armed.append((name, action, int(nth[0]) if nth else 1))


def failpoint(name: str) -> None:
    """Nothing, unless a test armed it. `kill`, `stop` (frozen until SIGCONT), `once` (raises), `lose` (the connection) and `block`
    (all that runs in the loop, for good) strike once; `raise` every time from the nth on."""
    for armed, action, nth in _armed:
        if armed == name:
            hits = _hits[name] = _hits.get(name, 0) + 1
            if action in ("kill", "stop") and hits == nth:
                os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
            if action == "lose" and hits == nth:
                raise ConnectionResetError(name)
            if action == "block" and hits == nth:
                time.sleep(86_400)
            if (action == "raise" and hits >= nth) or (action == "once" and hits == nth):
                raise Broken(name)
