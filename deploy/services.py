"""What services need before they start: their declaration, tables and topics, and who may publish."""

import contextlib
import importlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import AlterConfigsRequest

from contracts.topics import BadPublishers, Publisher, Topic, catalogue, load_publishers
from deploy.errors import REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.places import ROOT
from services.process.connections import KafkaSecurity
from services.runtime.service import Service

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


def made_later(name: str) -> str:
    """The way out where a later release has changed a database; a rebuild in it finds nothing but differences."""
    return (f"run the release that made it   # or, back for good, once its outbox is empty: an empty database, lotse migrate {name},"
            f" lotse rebuild {name} (docs/operating.md, Going back a release)")  # fmt: skip


def migrate(name: str, owner_dsn: str, *, dry_run: bool = False) -> str:
    """Runs what is missing with dbmate, twice or at once by two without harm; or only names it. Raises Trouble with what Postgres
    said, and only that: where dbmate can't read or reach an address it quotes it."""
    said: list[str] = []
    what, waits = "status" if dry_run else "migrate", "[ ] "
    for table, folder in migrations(name):
        done = subprocess.run(  # noqa: S603
            [str(DBMATE), "--migrations-dir", str(folder), "--migrations-table", table, "--no-dump-schema", what],
            env={**os.environ, "DATABASE_URL": for_dbmate(owner_dsn)},  # everybody on the machine may read a command line
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            postgres = re.search(r"^Error: (?:line: .*?: )?pq: (.*)", done.stderr, re.DOTALL | re.MULTILINE)
            why, way_out = "the database does not answer, or its address can't be read", "check LOTSE_DATABASE_OWNER"
            if postgres:
                why, way_out = postgres[1].strip()[:300], "look at the first line that failed; nothing after it ran"
            raise Trouble(f"{name}: the migrations of {folder.parent.name} did not run: {why}", way_out, UNREACHABLE)
        lines = done.stdout.splitlines()
        if dry_run:
            said += [f"Would be applied: {line.removeprefix(waits)}" for line in lines if line.startswith(waits)]
        else:
            said += [line for line in lines if line.startswith("Applied")]
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


class Difference(NamedTuple):
    """A setting of a topic that is not what the catalogue says."""

    topic: str
    key: str
    has: str
    wanted: str

    @property
    def longer(self) -> bool:
        """Whether it keeps more than the catalogue says. Somebody told it to, for what is still to be read: set right, Kafka deletes
        that, so nothing of ours takes it back."""
        has, wanted = ((int(ms) if ms.lstrip("-").isdigit() else 0) for ms in (self.has, self.wanted))
        return self.key == "retention.ms" and wanted >= 0 and (has < 0 or has > wanted)


def differences(topic: Topic, has: dict[str, tuple[str, bool]]) -> list[Difference]:
    """What of a topic's settings, as `settings_of` gives them, is not the catalogue's; `?` where nobody says what it is."""
    found = (Difference(topic.name, key, has.get(key, ("?", True))[0], wanted) for key, wanted in topic.config.items())
    return [one for one in found if one.has != one.wanted]


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


async def cluster_id(servers: str, security: KafkaSecurity) -> str:
    """What a Kafka calls itself, wherever it listens. Raises Trouble where it does not answer."""
    async with _admin(servers, security) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def make_topics(
    servers: str, publishers: dict[str, Publisher], *, local: bool, dry_run: bool = False,
    security: KafkaSecurity = KafkaSecurity(),  # noqa: B008  # it can't be changed
) -> list[str]:  # fmt: skip
    """Makes the topics that are missing; gives back their names. Existing ones are left as they are. A dry run asks Kafka, too,
    which then refuses what it would refuse."""
    async with _admin(servers, security) as admin:
        there = set(await admin.list_topics())
        missing = [topic for topic in catalogue(publishers.values()) if topic.name not in there]
        if missing:
            copies = min(3, len((await admin.describe_cluster())["brokers"])) if local else 3
            made = await admin.create_topics(
                [NewTopic(t.name, min(t.partitions, 4) if local else t.partitions, copies, topic_configs=t.config)
                 for t in missing], validate_only=dry_run,
            )  # fmt: skip
            _done(made.topic_errors, "made")
        return [topic.name for topic in missing]


async def mend_topics(
    servers: str, security: KafkaSecurity, publishers: dict[str, Publisher], *, dry_run: bool = False
) -> tuple[list[Difference], list[Difference]]:
    """Gives existing topics the settings of the catalogue; what else was set on them stays, and so does what keeps longer. Gives
    back what differed, and what stays."""
    async with _admin(servers, security) as admin:
        there = set(await admin.list_topics())
        topics = [topic for topic in catalogue(publishers.values()) if topic.name in there]
        differed, stays, changes = list[Difference](), list[Difference](), []
        for topic, has in zip(topics, await settings_of(admin, [t.name for t in topics]), strict=True):
            found = differences(topic, has)
            longer, wrong = [one for one in found if one.longer], [one for one in found if not one.longer]
            differed, stays = differed + wrong, stays + longer
            if wrong:  # this request replaces all that is set on the topic, so the rest is said again
                own = {key: value for key, (value, inherited) in has.items() if not inherited}
                ours = {key: value for key, value in topic.config.items() if key not in {one.key for one in longer}}
                changes.append(ConfigResource(ConfigResourceType.TOPIC, topic.name, {**own, **ours}))
        if changes:
            # by hand: its alter_configs can't be asked to change nothing
            _, wanted = admin._convert_config_resources(changes, "alter")
            answer = await admin._send_request(AlterConfigsRequest(resources=wanted, validate_only=dry_run))
            _done([(one[3], one[0]) for one in answer.resources], "changed")
        return differed, stays


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
        topic, code = bad[0][:2]
        ways_out = {
            29: "check the rights of this user",
            31: "check the rights of this user",
            38: "there must be three brokers",
        }
        raise Trouble(f"topic {topic} could not be {what} ({for_code(code).__name__}, Kafka's error {code})",
                      ways_out.get(code, "once more; what is there stays"), REFUSED)  # fmt: skip
