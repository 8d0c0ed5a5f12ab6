"""The stack that is up on this machine: announced by who runs it, found by the other commands."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import UNREACHABLE, USAGE, Trouble
from deploy.local.processes import known, known_by
from deploy.places import SERVICES, STATE, locked

if TYPE_CHECKING:
    from deploy.fleet import Fleet  # it stands on Kafka and HTTP: a command that only asks begins without

RUNNING = STATE / "running.json"
"""Where the other commands find a stack that is up: addresses by service."""
NAMES = ("LOTSE_DATABASE_OWNER", "LOTSE_DATABASE", "LOTSE_KAFKA")
"""Any of these in the environment names an installation."""
ASK = "where services run by themselves, ask each: `curl -s http://HOST:PORT/status`"


def claimed() -> bool:
    """Whether the stack this process starts is the one the others find: from now until the process ends no other's is. Who was told
    False announces nothing. Raises Trouble where the state folder can't be used."""
    try:
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        return locked(STATE / "up.lock") is not None
    except OSError as error:
        raise Trouble(f"the state folder {STATE} can't be used ({type(error).__name__})", "name another one: LOTSE_STATE=FOLDER",
                      USAGE) from None  # fmt: skip


def announce(fleet: "Fleet", state: Path) -> dict[str, str]:
    """Writes down where this process' stack is found by the other commands; gives back its addresses."""
    stack, setup = fleet.stack, fleet.setup
    addresses = {"kafka": stack.kafka, "postgres": f"127.0.0.1:{stack.postgres_port}"}
    addresses["mail"] = f"{stack.mail_host}:{stack.mail_port}"
    addresses |= {name: fleet.url(name) for name in SERVICES}
    more = {"folder": str(stack.folder), "publishers": str(setup.publishers), "organisations": str(setup.organisations),
            "simulated": "yes" if setup.simulated else ""}  # fmt: skip
    (state / RUNNING.name).write_text(json.dumps({**known_by(os.getpid()), **more, **addresses}))
    return addresses


def withdraw() -> None:
    """Nothing is up any more. For who has `claimed` alone."""
    RUNNING.unlink(missing_ok=True)


def named() -> list[str]:
    """Settings in the environment that name an installation. It is taken as a whole or not at all: one's database beside another's
    Kafka, or a service of one beside the topics of the other, says what is true of neither."""
    return [name for name in NAMES if os.environ.get(name)]


def running(instead: str = "") -> dict[str, str]:
    """The stack that is up. Raises Trouble where none is, or where the environment names an installation; `instead` says what else
    an operator could have named. Beside an installation nobody is told to start a stack: it would be an empty one, and all green."""
    found, other = is_up(), named()
    if found and not other:
        return found
    ways = [instead] if instead else []
    if not other:
        ways.append("start one with `lotse up` in another window")
    if not found:
        raise Trouble("no stack is up", ", or ".join(ways or [ASK]), UNREACHABLE)
    raise Trouble(f"the environment names an installation ({', '.join(other)}), so the stack that is up is not asked",
                  f"{instead or ASK}; or, for that stack, unset {' '.join(other)}", USAGE)  # fmt: skip


def is_up() -> dict[str, str] | None:
    """What was written down of a stack, where who wrote it still runs."""
    try:
        found: dict[str, str] = json.loads(RUNNING.read_text())
    except (OSError, ValueError):
        return None
    return found if known(found) else None
