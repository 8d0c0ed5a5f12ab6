"""The four services and the clock as processes on a local stack: how they are started and asked."""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.asking import client
from deploy.errors import UNREACHABLE, Trouble
from deploy.local.processes import Process, child_environment, free_port
from deploy.local.stack import LocalStack
from deploy.places import ROOT, SERVICES
from deploy.saying import say
from deploy.services import make_topics, migrate, publishers_from

ORDER = (*SERVICES, "clock")


@dataclass(frozen=True)
class Setup:
    """What differs from one local installation to another."""

    publishers: Path
    organisations: Path
    simulated: bool = False
    testing: bool = False


def pause(began: float) -> float:
    """Seconds until who waits since then looks again: a tenth of what it has taken, half of one at most. Looked at ten times a
    second, four services did little else than say how they are."""
    return min(0.5, 0.05 + (time.monotonic() - began) / 10)


class Fleet:
    """The services and the clock on a local stack, each in its own process."""

    def __init__(self, stack: LocalStack, setup: Setup, *, patience: float = 5.0) -> None:
        """`patience`: seconds that an answer may take."""
        self.stack, self.setup = stack, setup
        self.processes = {name: Process(stack.folder / "services", name) for name in ORDER}
        self.ports: dict[str, int] = {}
        self._more: dict[str, dict[str, str]] = {}
        self._patience = patience

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """A service's settings."""
        stack, setup = self.stack, self.setup
        env = {
            "PYTHONPATH": str(ROOT), "LOTSE_KAFKA": stack.kafka, "LOTSE_KAFKA_SECURITY": "", "LOTSE_PUBLISHERS": str(setup.publishers),
            "LOTSE_ORGANISATIONS": str(setup.organisations), "LOTSE_SMTP_HOST": stack.mail_host,
            "LOTSE_SMTP_PORT": str(stack.mail_port), "LOTSE_MAIL_FROM": "lotse@localhost",
            "LOTSE_OPERATIONS_KEY": str(stack.operations_key), "LOTSE_HTTP_PORT": str(self.ports.get(name, 0)), "LOTSE_SIMULATED_TIME": "1" if setup.simulated else "0",
            "LOTSE_TESTING": "1" if setup.testing else "0",
        }  # fmt: skip
        if name in stack.databases:
            env |= {
                "LOTSE_DATABASE": stack.databases[name].runtime,
                "LOTSE_DATABASE_OWNER": stack.databases[name].owner,
            }
        return child_environment(**{**env, **more})

    def start_one(self, name: str, **more: str) -> Process:
        """Starts one (again)."""
        self.ports.setdefault(name, free_port())
        self._more[name] = more
        self.processes[name].start([sys.executable, "-m", "deploy.cli", "serve", name], self.environment(name, **more))
        return self.processes[name]

    def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Migrations, topics, services; ready when it returns, or waiting for a rebuild (`older`)."""
        for name in SERVICES:
            progress(f"database of {name}")
            migrate(name, self.stack.databases[name].owner)
        progress("topics")
        asyncio.run(make_topics(self.stack.kafka, publishers_from(self.setup.publishers), local=True))
        for name in ORDER:
            if name == "clock" and self.setup.simulated:
                continue  # whoever simulates time publishes the ticks
            progress(name)
            self.start_one(name)
        for name in SERVICES:
            self.wait_ready(name, or_older=True)

    def wait_ready(self, name: str, patience: float = 180.0, *, or_older: bool = False) -> None:
        """Waits until a service says it is ready; with `or_older` also until it says that only a rebuild can make it so. One that
        ended since Kafka or its database did not answer in time is started again, as whoever runs it in earnest does (a broker that has
        just begun takes longer than that on a busy machine): from the main thread, as it would end with any other. Raises Trouble with
        its last words."""
        began = time.monotonic()
        while time.monotonic() < began + patience:
            child, at_home = self.processes[name].child, threading.current_thread() is threading.main_thread()
            if at_home and child is not None and child.poll() == UNREACHABLE:
                self.start_one(name, **self._more[name])
            self.processes[name].alive_or_raise()
            try:
                if self.ask(name, "/ready").status_code == 200 or (or_older and self.to_rebuild(name)):
                    return
            except httpx.HTTPError:
                pass
            time.sleep(pause(began))
        raise Trouble(
            f"{name} is not ready:\n{self.processes[name].last_words()}", f"see {self.processes[name].log}", UNREACHABLE
        )

    def url(self, name: str) -> str:
        """Where a service listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def ask(self, name: str, path: str, patience: float | None = None) -> httpx.Response:
        """What a service answers at a path, within so many seconds. Raises HTTPError where it is silent."""
        return client().get(f"{self.url(name)}{path}", timeout=patience or self._patience)

    def get(self, name: str, path: str) -> Any:
        """What a service says at a path. Raises HTTPError, also where it is told to come again, and ValueError where no JSON answers."""
        return self.ask(name, path).raise_for_status().json()

    def status(self, name: str, patience: float = 0.0) -> dict[str, Any]:
        """A service's /status; `{"running": False}` where it does not answer. With patience (seconds) one that runs is asked until it
        says all there is: on a busy machine its database has no time for that at once, and what it knows is missing."""
        began = time.monotonic()
        while True:
            try:
                said = {"running": True, **self.get(name, "/status")}
            except (httpx.HTTPError, KeyError, ValueError):  # a ValueError: what answers is no JSON
                said = {"running": False, "service": name}
            if "outbox" in said or self.processes[name].pid is None or time.monotonic() >= began + patience:
                return said
            time.sleep(pause(began))

    def older(self, name: str) -> int:
        """By how many records the log is ahead of a service's database; 0 where it is not."""
        return int(self.status(name).get("older_than_log") or 0)

    def to_rebuild(self, name: str) -> str:
        """Why only a rebuild lets a service serve; empty where none has to."""
        if facts := self.older(name):
            return f"the log is {facts} records ahead of its database"
        older = any(one["why"].startswith("OlderShape") for one in self.status(name).get("held", []))
        return "an earlier version made what stands in its database" if older else ""

    def has_acted(self, name: str, tick: int) -> bool:
        """Whether a service has done all that the tick at this offset (and those before it) asks of it."""
        clock = self.status(name).get("clock", {"read": 0, "acting": 1})
        return bool(clock["read"] > tick and clock["acting"] == 0)

    def attempts(self) -> Counter[str]:
        """How many mails are attempted, sent, failed, uncertain. Raises HTTPError, and ValueError where no JSON answers."""
        of = Counter[str]()
        for row in self.get("notification", "/attempts"):
            of[row["what"].removeprefix("notification_")] += row["n"]
        return of

    def mailed(self) -> bool:
        """Whether each attempt has its result."""
        try:
            of = self.attempts()
        except (httpx.HTTPError, ValueError):
            return False
        return of["attempted"] == of["sent"] + of["failed"] + of["uncertain"]

    def stop(self) -> None:
        """SIGTERM to all, then waiting for each: at once, so that nobody waits for another's stop."""
        for process in self.processes.values():
            if process.child is not None and process.child.poll() is None:
                process.child.terminate()
        for process in self.processes.values():
            process.stop()


@contextmanager
def ephemeral(setup: Setup, *, doors: int = 0, brokers: int = 1) -> Iterator[Fleet]:
    """Everything on a stack of its own (`doors`, `brokers` as in LocalStack), of which nothing is left afterwards; says what it does."""
    with LocalStack.ephemeral(doors, brokers) as stack:
        fleet = Fleet(stack, setup)
        try:
            kafka = "Kafka" if brokers == 1 else f"Kafka ({brokers} brokers)"
            say.print(f"starting {kafka}, Postgres, a mail sink and four services ...")
            fleet.start()
            yield fleet
        finally:
            say.print("stopping ...")
            fleet.stop()
