"""Kafka, Postgres and a mail sink in one folder, without Docker, Java or root. Two stacks run side by side."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.kafka import Kafka, cluster
from deploy.local.operations import PUBLIC, make_operations_key
from deploy.local.postgres import Database, Postgres
from deploy.local.processes import Process, child_environment, free_port
from deploy.places import CACHE, ROOT, SERVICES, STATE, closed
from deploy.saying import complain

Progress = Callable[[str], None]


class LocalStack:
    """What the services stand on. State lives in the folder and is found again, also after SIGKILL."""

    def __init__(self, folder: Path, *, remove: bool = False, doors: int = 0, brokers: int = 1) -> None:
        self.folder, self._remove = folder.resolve(), remove
        self._brokers = cluster(self.folder, CACHE, brokers, doors)
        self._kafka = self._brokers[0]
        self.postgres = Postgres(self.folder / "postgres")
        self._mail = Process(self.folder / "mail", "mail")
        self._ports = self.folder / "ports.json"
        self.databases: dict[str, Database] = {}
        self.mail_host, self.mail_port = "127.0.0.1", 0
        self.mail_folder = self.folder / "mail" / "accepted"
        self.mail_hold = self.folder / "mail" / "hold"
        """While this file exists the sink stores mails and does not acknowledge them."""

    @classmethod
    def ephemeral(cls, doors: int = 0, brokers: int = 1) -> Self:
        """A stack in a folder of its own, removed when it stops; `doors` as in Kafka, `brokers` 1 or 3."""
        return cls(Path(tempfile.mkdtemp(prefix="lotse-")), remove=True, doors=doors, brokers=brokers)

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return ",".join(one.address for one in self._brokers)

    @property
    def brokers(self) -> list[str]:
        """Names of Kafka's processes, in the order of their node ids, from 1."""
        return [one.process.name for one in self._brokers]

    @property
    def doors(self) -> list[tuple[int, int]]:
        """Kafka's doors: (port told to clients, port on which the broker listens)."""
        return self._kafka.doors

    @property
    def postgres_port(self) -> int:
        """Where Postgres listens on loopback."""
        return self.postgres.port

    def start_again(self, name: str) -> Callable[[], None]:
        """Starts a broker or Postgres after a crash, with its data and on its port; gives back what waits until it answers.
        Call this from the main thread, and the wait from where you like."""
        brokers: dict[str, Kafka] = {one.process.name: one for one in self._brokers}
        one: Kafka | Postgres = brokers.get(name, self.postgres)
        one.start(one.port)
        return one.wait

    def provision(self) -> None:
        """Databases and roles that are missing, made again. Not from within a running event loop."""
        self.databases = self.postgres.provision(SERVICES)

    @property
    def operations_key(self) -> Path:
        """The public half of the operations key; the private half stands beside it."""
        return self.folder / PUBLIC

    @property
    def admin_dsn(self) -> str:
        """The superuser's DSN, for tests and operations."""
        return self.postgres.dsn("postgres", "postgres")

    @property
    def processes(self) -> dict[str, Process]:
        """Its processes by name."""
        kafka = {one.process.name: one.process for one in self._brokers}
        return {**kafka, "postgres": self.postgres.process, "mail": self._mail}

    def start(self, progress: Progress | None = None) -> None:
        """Starts all three; ready when it returns. Raises Trouble. Call it from the main thread: children die with it."""
        say = progress or (lambda _: None)
        closed(self.folder, passed=True)
        ports: dict[str, int] = json.loads(self._ports.read_text()) if self._ports.exists() else {}
        if not self.operations_key.exists():  # the other half may have been moved away, and no service needs it
            make_operations_key(self.folder)
        try:
            say("Postgres")
            self.postgres.start(ports.get("postgres"))
            say("Kafka")
            for one in self._brokers:
                one.start(ports.get(one.process.name))
            say("mail sink")
            self.mail_port = free_port(ports.get("mail"))
            self._mail.start(
                [sys.executable, "-m", "deploy.local.mail", "--port", str(self.mail_port), "--folder", str(self.mail_folder),
                 "--hold-after-accept", str(self.mail_hold)], child_environment(PYTHONPATH=str(ROOT)),
            )  # fmt: skip
            self.postgres.wait()
            self.provision()
            for one in self._brokers:
                one.wait()
            self._mail.wait_for_port(self.mail_port)
        except BaseException as error:
            self.stop(error)
            raise
        self._ports.write_text(
            json.dumps(
                {"postgres": self.postgres.port, "mail": self.mail_port}
                | {one.process.name: one.port for one in self._brokers}
            )
        )

    def find(self) -> None:
        """Finds a stack another process runs in this folder: addresses and DSNs, no processes."""
        ports = json.loads(self._ports.read_text())
        self.postgres.port, self.mail_port = ports["postgres"], ports["mail"]
        for one in self._brokers:
            one.port = ports[one.process.name]
        self.databases = self.postgres.databases(SERVICES)

    def keep_logs(self) -> Path:
        """Copies what its processes wrote down to `.lotse/logs`, in place of what stood there: an ephemeral stack's folder goes,
        and whoever is told to look would find nothing."""
        kept = closed(STATE / "logs")
        for log in kept.glob("*.log"):
            log.unlink(missing_ok=True)  # another stack's error may come at the same moment
        for log in self.folder.glob("*/*.log"):
            shutil.copy(log, kept)
        return kept

    def stop(self, error: BaseException | None = None) -> None:
        """Stops all three in order; an ephemeral one leaves nothing behind, but for its logs where an error ended it."""
        try:
            for process in (self._mail, *(one.process for one in self._brokers), self.postgres.process):
                process.stop()
            if self._remove and isinstance(error, Exception):
                complain.print(f"what its parts wrote down stands in {self.keep_logs()}")
        finally:  # also of who does not wait for it: below lie a partner's references, and hundreds of megabytes
            self.drop()

    def drop(self) -> None:
        """Ends what still runs at once, and waits for nobody: a signal's handler may call it. An ephemeral one is gone then."""
        for process in self.processes.values():
            if (pid := process.pid) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(error)
