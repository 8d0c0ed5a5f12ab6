"""The four services and the clock as processes: which there are, what they need, how they are started and asked."""

import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import httpx
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from contracts.topics import BadPublishers, Publisher, catalogue, load_publishers
from deploy.errors import REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.local.processes import Process, child_environment, free_port
from deploy.local.stack import ROOT, SERVICES, LocalStack
from services.connections import KafkaSecurity
from services.runtime.service import Service

EXAMPLES = ROOT / "deploy" / "examples"
ORDER = (*SERVICES, "clock")
DBMATE = Path(sys.executable).with_name("dbmate")


def declared(name: str) -> Service:
    """A service as its app declares it."""
    found: Service = importlib.import_module(f"services.{name}.app").service()
    return found


def migrations(name: str) -> list[tuple[str, Path]]:
    """(table of versions, folder) of a service's migrations, in order."""
    return [
        ("runtime_migrations", ROOT / "services/runtime/migrations"),
        ("service_migrations", ROOT / f"services/{name}/migrations"),
    ]


async def schema_against_code(name: str, con: asyncpg.Connection) -> tuple[list[str], list[str]]:
    """Migrations that did not run on a service's database, and versions there that this code does not know. Raises
    InsufficientPrivilegeError where the role may not read them."""
    missing: list[str] = []
    newer: list[str] = []
    for table, folder in migrations(name):
        wanted = {file.name.partition("_")[0]: file.stem for file in sorted(folder.glob("*.sql"))}
        try:
            ran = {row[0] for row in await con.fetch(f'select version from lotse."{table}"')}  # noqa: S608
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            ran = set()
        missing += [stem for version, stem in wanted.items() if version not in ran]
        newer += [f"{table} {version}" for version in sorted(ran - wanted.keys())]
    return missing, newer


def migrate(name: str, owner_dsn: str) -> str:
    """Runs what is missing with dbmate, twice or at once by two without harm. Raises Trouble with what Postgres said, and only
    that: where dbmate can't read or reach an address it quotes it."""
    said = []
    for table, folder in migrations(name):
        done = subprocess.run(  # noqa: S603
            [str(DBMATE), "--migrations-dir", str(folder), "--migrations-table", table, "--no-dump-schema", "migrate"],
            env={**os.environ, "DATABASE_URL": for_dbmate(owner_dsn)},  # everybody on the machine may read a command line
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            _, postgres, words = done.stderr.partition("Error: pq: ")
            why, way_out = "the database does not answer, or its address can't be read", "check LOTSE_DATABASE_OWNER"
            if postgres:
                why, way_out = words.strip()[:300], "look at the first line that failed; nothing after it ran"
            raise Trouble(f"{name}: the migrations of {folder.parent.name} did not run: {why}", way_out, UNREACHABLE)
        said += [line for line in done.stdout.splitlines() if line.startswith("Applied")]
    return "; ".join(said) or "nothing to do"


def for_dbmate(dsn: str) -> str:
    """An address as dbmate takes it: our schema, and no TLS unless it says which."""
    parts = urlsplit(dsn)
    options = {"sslmode": "disable", **dict(parse_qsl(parts.query)), "search_path": "lotse"}
    return parts._replace(query=urlencode(options)).geturl()


def publishers_from(path: Path, setting: str | None = None) -> dict[str, Publisher]:
    """publishers.toml. Raises Trouble, which names the setting that led there, else the file."""
    try:
        return load_publishers(path)
    except BadPublishers as bad:
        raise Trouble(
            f"{setting or path}: {bad}", "mend the file; `lotse serve` reads it at its start", USAGE
        ) from None


@contextlib.asynccontextmanager
async def _admin(servers: str, security: KafkaSecurity) -> AsyncIterator[AIOKafkaAdminClient]:
    """Asks and changes Kafka. Raises Trouble where it does not answer."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, **security.aiokafka())
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError) as error:
        raise Trouble(
            f"Kafka does not answer ({type(error).__name__})", "check LOTSE_KAFKA and the network", UNREACHABLE
        ) from None
    finally:
        await admin.close()


async def make_topics(
    servers: str, publishers: dict[str, Publisher], *, local: bool, dry_run: bool = False,
    security: KafkaSecurity = KafkaSecurity(),  # noqa: B008  # it can't be changed
) -> list[str]:  # fmt: skip
    """Makes the topics that are missing; gives back their names. Existing ones are left as they are."""
    async with _admin(servers, security) as admin:
        there = set(await admin.list_topics())
        missing = [topic for topic in catalogue(publishers.values()) if topic.name not in there]
        if missing and not dry_run:
            copies = min(3, len((await admin.describe_cluster())["brokers"])) if local else 3
            made = await admin.create_topics(
                [NewTopic(t.name, min(t.partitions, 4) if local else t.partitions, copies, topic_configs=t.config)
                 for t in missing]
            )  # fmt: skip
            _done(made.topic_errors, "made")
        return [topic.name for topic in missing]


async def mend_topics(
    servers: str, security: KafkaSecurity, publishers: dict[str, Publisher], *, dry_run: bool = False
) -> list[str]:
    """Gives existing topics the settings of the catalogue; what else was set on them stays. Gives back what differed."""
    async with _admin(servers, security) as admin:
        there = set(await admin.list_topics())
        topics = [topic for topic in catalogue(publishers.values()) if topic.name in there]
        differed, changes = [], []
        for topic, has in zip(topics, await settings_of(admin, [t.name for t in topics]), strict=True):
            wrong = [key for key, wanted in topic.config.items() if has.get(key, ("", True))[0] != wanted]
            differed += [f"{topic.name} {key}: {has.get(key, ('?', True))[0]} -> {topic.config[key]}" for key in wrong]
            if wrong:  # this request replaces all that is set on the topic, so the rest is said again
                own = {key: value for key, (value, inherited) in has.items() if not inherited}
                changes.append(ConfigResource(ConfigResourceType.TOPIC, topic.name, {**own, **topic.config}))
        if changes and not dry_run:
            for answer in await admin.alter_configs(changes):
                _done([(one[3], one[0]) for one in answer.resources], "changed")
        return differed


async def settings_of(admin: AIOKafkaAdminClient, topics: list[str]) -> list[dict[str, tuple[str, bool]]]:
    """Of each topic, in order: setting to its value and whether it is inherited; empty where this user may not ask."""
    if not topics:
        return []
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])
    own = 1  # config_source of what is set on the topic itself
    found = {
        one[3]: {entry[0]: (entry[1], entry[3] != own) for entry in one[4]} for a in answers for one in a.resources
    }
    return [found.get(name, {}) for name in topics]


def _done(results: Iterable[tuple[Any, ...]], what: str) -> None:
    bad = [one for one in results if one[1] not in (0, 36)]
    if bad:
        raise Trouble(f"topic {bad[0][0]} could not be {what} (Kafka error {bad[0][1]})",
                      "check the rights of this user", REFUSED)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What differs from one local installation to another."""

    publishers: Path
    organisations: Path
    simulated: bool = False
    testing: bool = False


class Fleet:
    """The services and the clock on a local stack, each in its own process."""

    def __init__(self, stack: LocalStack, setup: Setup) -> None:
        self.stack, self.setup = stack, setup
        self.processes = {name: Process(stack.folder / "services", name) for name in ORDER}
        self.ports: dict[str, int] = {}
        self._http = httpx.Client(timeout=5)  # one for all questions: making one costs more than asking

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

    def wait_ready(self, name: str, patience: float = 60.0, *, or_older: bool = False) -> None:
        """Waits until a service says it is ready; with `or_older` also until it says that only a rebuild can make it so.
        Raises Trouble with its last words."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.processes[name].alive_or_raise()
            try:
                if self._http.get(f"{self.url(name)}/ready").status_code == 200 or (or_older and self.older(name)):
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise Trouble(
            f"{name} is not ready:\n{self.processes[name].last_words()}", f"see {self.processes[name].log}", UNREACHABLE
        )

    def url(self, name: str) -> str:
        """Where a service listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def status(self, name: str) -> dict[str, Any]:
        """A service's /status; `{"running": False}` where it does not answer."""
        try:
            said: dict[str, Any] = self._http.get(f"{self.url(name)}/status").json()
            return {"running": True, **said}
        except (httpx.HTTPError, KeyError, ValueError):  # a ValueError: what answers is no JSON
            return {"running": False, "service": name}

    def older(self, name: str) -> int:
        """By how many records the log is ahead of a service's database; 0 where it is not."""
        return int(self.status(name).get("older_than_log") or 0)

    def has_acted(self, name: str, tick: int) -> bool:
        """Whether a service has done all that the tick at this offset (and those before it) asks of it."""
        clock = self.status(name).get("clock", {"read": 0, "acting": 1})
        return bool(clock["read"] > tick and clock["acting"] == 0)

    def stop(self) -> None:
        """SIGTERM to all, then waiting for each: at once, so that nobody waits for another's stop."""
        for process in self.processes.values():
            if process.child is not None and process.child.poll() is None:
                process.child.terminate()
        for process in self.processes.values():
            process.stop()
