"""The same stack in containers (`apache/kafka`, `postgres`), where a Docker engine answers: LOTSE_TEST_STACK=containers."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from deploy.errors import UNREACHABLE, Trouble
from deploy.local.kafka import Kafka
from deploy.local.postgres import Postgres
from deploy.local.processes import Process, free_port
from deploy.local.stack import LocalStack
from deploy.places import CACHE

KAFKA, POSTGRES = "apache/kafka:4.3.1", "postgres:18"


def engine_answers() -> bool:
    """Whether there is a Docker engine."""
    try:
        return bool(DockerClient(timeout=5).client.ping())
    except Exception:  # whatever the client says, there is none
        return False


class Boxed(Process):
    """A container in the place of a process: its data lie in the folder, so that it can be killed and started again."""

    def run(self, image: str, inside: int, outside: int, data: tuple[Path, str], environment: dict[str, str]) -> None:
        """Starts it with one port on loopback."""
        data[0].mkdir(mode=0o777, parents=True, exist_ok=True)
        data[0].chmod(0o777)  # the image's user is not ours  # noqa: S103
        self._box = DockerContainer(image).with_volume_mapping(str(data[0]), data[1], "rw")
        self._box.ports = cast("dict[str, int | None]", {f"{inside}/tcp": ("127.0.0.1", outside)})  # loopback only
        for key, value in environment.items():
            self._box.with_env(key, value)
        self._box.start()

    def stop(self, patience: float = 20.0) -> int | None:
        """Stops and removes it."""
        if hasattr(self, "_box"):
            self._box.get_wrapped_container().stop(timeout=int(patience))
            self._box.stop()
            del self._box
        return None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._box.get_wrapped_container().kill()
        self._box.stop()

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        return "\n".join(b"\n".join(self._box.get_logs()).decode("utf-8", "replace").splitlines()[-lines:])

    def alive_or_raise(self) -> None:
        """Raises Trouble with its last words where it has ended by itself."""
        box = self._box.get_wrapped_container()
        box.reload()
        if box.status == "exited":
            raise Trouble(f"{self.name} ended:\n{self.last_words()}", "see the engine's log", UNREACHABLE)


class KafkaBox(Kafka):
    """`apache/kafka`, a single node."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CACHE)
        self.process = Boxed(folder, "kafka")

    def start(self, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        """Starts it; ready when `wait` returns. `env` is of no use here: an image brings its own."""
        self.port = free_port(port)
        single = ("OFFSETS_TOPIC_REPLICATION_FACTOR", "TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "TRANSACTION_STATE_LOG_MIN_ISR",
                  "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR")  # fmt: skip
        settings = {f"KAFKA_{name}": "1" for name in single} | {
            "KAFKA_PROCESS_ROLES": "broker,controller", "KAFKA_NODE_ID": "1", "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093", "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{self.port}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT", "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false", "KAFKA_NUM_PARTITIONS": "4",
        }  # fmt: skip
        assert isinstance(self.process, Boxed)
        self.process.run(KAFKA, 9092, self.port, (self.folder / "data", "/var/lib/kafka/data"), settings)

    def wait(self) -> None:
        """An engine's port opens before the broker listens: its log says when."""
        deadline = time.monotonic() + 120
        while "Kafka Server started" not in self.process.last_words(200):
            self.process.alive_or_raise()
            if time.monotonic() > deadline:
                raise Trouble(
                    f"kafka does not start:\n{self.process.last_words()}", "see the engine's log", UNREACHABLE
                )
            time.sleep(0.2)


class PostgresBox(Postgres):
    """`postgres`, the same roles and databases."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.process = Boxed(folder, "postgres")

    def start(self, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        """Starts it; ready when `wait` returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port(port)
        assert isinstance(self.process, Boxed)
        settings = {"POSTGRES_PASSWORD": self.password("postgres"), "POSTGRES_INITDB_ARGS": "--locale=C.UTF-8"}
        self.process.run(POSTGRES, 5432, self.port, (self.data, "/var/lib/postgresql"), settings)


class ContainerStack(LocalStack):
    """What tests stand on, with Kafka and Postgres in containers."""

    def __init__(self, folder: Path, *, remove: bool = False, doors: int = 0, brokers: int = 1) -> None:
        assert not doors and brokers == 1, (
            "doors for a proxy and three brokers are only there for a stack from packages"
        )
        super().__init__(folder, remove=remove)
        self._kafka, self.postgres = KafkaBox(self.folder / "kafka"), PostgresBox(self.folder / "postgres")
        self._brokers = [self._kafka]
