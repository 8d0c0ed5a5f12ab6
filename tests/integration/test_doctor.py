"""Each mistake planted is found: its first line, the command that mends it, the exit code. What is well is said to be."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from contracts.envelope import Tick
from contracts.topics import CLOCK, load_publishers
from deploy.doctor import databases as database_checks
from deploy.doctor import kafka as kafka_checks
from deploy.doctor import machine
from deploy.doctor.place import Place
from deploy.doctor.said import exit_code
from deploy.errors import UNREACHABLE
from deploy.fleet import Fleet, Setup
from deploy.local.announced import announce
from deploy.local.postgres import BIN
from deploy.local.processes import free_port, known_by
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from deploy.services import make_topics, settings_of
from deploy.soak.faults.processes import clock_off
from services.clock import publish
from services.intake.domain import Case
from services.process.connections import KafkaSecurity
from tests.conftest import ORGANISATIONS, PUBLISHERS, new_stack
from tests.forked import run
from tests.house import FAILED
from tests.publishing import PATIENCE, Course, Publisher

FACTS = "intake.events"


@dataclass
class Asked:
    """What a command answered."""

    code: int
    lines: list[str]
    said: str = field(repr=False)

    @property
    def first(self) -> tuple[str, str]:
        """The first line and the command that mends it."""
        return self.lines[0], self.lines[2].removeprefix("  mend  ")


def ask(*arguments: str, **environment: str) -> Asked:
    """Runs `lotse` as a person would, with nothing set but what is given."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LOTSE_")}
    done = run(*arguments, env={**clean, "PYTHONPATH": str(ROOT), **environment}, timeout=PATIENCE)
    return Asked(done.returncode, done.stdout.splitlines(), done.stdout + done.stderr)


class Ward:
    """A stack of this test's own, so that what is planted hurts nobody else."""

    def __init__(self, stack: LocalStack, state: Path) -> None:
        self.stack, self.state = stack, state
        self.fleet = Fleet(stack, Setup(PUBLISHERS, ORGANISATIONS, simulated=True, testing=True))
        for name in ("intake", "referral", "notification", "reporting"):
            self.fleet.ports[name] = free_port()

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """A service's settings, and no place of another's."""
        said = {k: v for k, v in self.fleet.environment(name).items() if k.startswith("LOTSE_")}
        temporary = self.state / "tmp"
        temporary.mkdir(exist_ok=True)
        return {**said, "LOTSE_STATE": str(self.state), "TMPDIR": str(temporary), **more}

    def examined(self, name: str, **more: str) -> Asked:
        """`lotse doctor NAME` in a service's environment."""
        return ask("doctor", name, **self.environment(name, **more))

    def mended(self, *arguments: str, name: str = "intake", **more: str) -> Asked:
        """A command the doctor named, in the same environment."""
        return ask(*arguments, **self.environment(name, **more))

    def local(self, *arguments: str, **more: str) -> Asked:
        """A command that finds the stack as `lotse up` announces it."""
        announce(self.fleet, self.state)
        try:
            return ask(*arguments, LOTSE_STATE=str(self.state), **more)
        finally:
            (self.state / "running.json").unlink()


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Databases migrated, topics made, no service running."""
    with new_stack() as stack:
        found = Ward(stack, tmp_path_factory.mktemp("ward"))
        for name in stack.databases:
            assert found.mended("migrate", name, name=name).code == 0
        asyncio.run(make_topics(stack.kafka, load_publishers(PUBLISHERS), local=True))
        yield found


@pytest.fixture(autouse=True)
def topics(request: pytest.FixtureRequest) -> Iterator[None]:
    """Behind a test that broke off they are there again, and as the catalogue says."""
    ward: Ward | None = request.getfixturevalue("ward") if "ward" in request.fixturenames else None
    yield
    if ward and request.node.stash.get(FAILED, False):
        for mend in ([], ["--mend"]):
            ward.local("topics", *mend)


@asynccontextmanager
async def admin(servers: str, **security: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Kafka's admin."""
    client = AIOKafkaAdminClient(bootstrap_servers=servers, **security)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def sql(ward: Ward, database: str, *statements: str) -> None:
    """As the superuser."""
    con = await asyncpg.connect(ward.stack.admin_dsn.rpartition("/")[0] + f"/{database}")
    try:
        for statement in statements:
            await con.execute(statement)
    finally:
        await con.close()


@pytest.mark.parametrize("name", ["intake", "notification"])
def test_where_all_is_well_nothing_is_found(ward: Ward, name: str) -> None:
    asked = ward.examined(name)
    assert asked.code == 0, asked.said
    checks = {line.partition(":")[0] for line in asked.lines if "not checked" not in line}
    assert checks >= {
        "python",
        "disk",
        "memory",
        "publishers",
        "kafka",
        "topics",
        "rights",
        "schema",
        "clock",
        "keys",
    }, asked.said
    assert ("mail" in checks) == (name == "notification")


def test_what_can_not_be_checked_says_so_and_why(ward: Ward) -> None:
    asked = ask("doctor", LOTSE_KAFKA=ward.stack.kafka, LOTSE_PUBLISHERS=str(PUBLISHERS), TMPDIR=str(ward.state))
    assert asked.code == 0, asked.said
    assert "mail: not checked: LOTSE_SMTP_HOST is not set" in asked.lines
    assert "rights: not checked: `lotse doctor SERVICE` looks at the rights of a service" in asked.lines


def test_json_says_the_same_as_the_table(ward: Ward) -> None:
    closed = f"127.0.0.1:{free_port()}"
    asked = ask("doctor", "intake", "--format", "json", **ward.environment("intake", LOTSE_KAFKA=closed))
    said = json.loads("\n".join(asked.lines))
    assert asked.code == 3 and said["ok"] is False and said["command"] == "doctor"
    (error,) = said["errors"]
    assert error["message"] == f"Kafka does not answer at {closed}" and error["hint"].startswith("nc -vz 127.0.0.1 ")
    assert {one["state"] for one in said["data"]} == {"good", "found", "not checked"}


def test_a_database_without_its_service_is_a_question_of_usage(ward: Ward) -> None:
    assert ask("doctor", **ward.environment("intake")).code == 2
    assert ask("doctor", "intake", **ward.environment("intake", LOTSE_HTTP_PORT="many")).code == 2


def test_a_wrong_password_is_found_and_not_told(ward: Ward) -> None:
    dsn = ward.stack.databases["intake"].runtime
    role = dsn.split("://")[1].split(":")[0]
    wrong = dsn.replace(dsn.split(":")[2].split("@")[0], "canary-of-a-password")
    asked = ward.examined("intake", LOTSE_DATABASE=wrong)
    assert asked.code == 1
    server = f"-h 127.0.0.1 -p {ward.stack.postgres_port} -U postgres"
    assert asked.first == (
        f"databases: the database of intake refuses the password of {role}",
        f"psql {server} intake -c '\\password intake_runtime'   # as a superuser; or set LOTSE_DATABASE to the password it has",
    )
    assert "canary" not in asked.said
    right = dsn.split(":")[2].split("@")[0]
    done = typed(ward, asked.first[1], f"{right}\n{right}\n")
    assert done.returncode == 0, done.stderr
    assert ward.examined("intake").code == 0


def typed(ward: Ward, mend: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """A mend for Postgres, as whoever has the superuser's password types it, and what they are asked then."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PGPASSWORD": ward.stack.postgres.password("postgres"),
    }
    return subprocess.run(mend, shell=True, check=False, text=True, capture_output=True, env=environment, input=said,
                          start_new_session=True, timeout=PATIENCE)  # fmt: skip  # no terminal, so it asks on stdin


async def test_who_may_not_connect_is_found_and_let_in(ward: Ward) -> None:
    """Also where the database is not its owner's: somebody made it by hand, and forgot."""
    await sql(ward, "postgres", 'revoke connect on database "reporting" from reporting_runtime',
              'alter database "reporting" owner to postgres')  # fmt: skip
    try:
        asked = await asyncio.to_thread(ward.examined, "reporting")
        line = "databases: reporting_runtime may not connect to the database reporting of reporting"
        assert (asked.code, asked.first[0]) == (1, line)
        done = await asyncio.to_thread(typed, ward, asked.first[1])
        assert done.returncode == 0, done.stderr
        assert (await asyncio.to_thread(ward.examined, "reporting")).code == 0
    finally:
        await sql(ward, "postgres", 'alter database "reporting" owner to reporting_owner')


def test_postgres_away_is_found(ward: Ward) -> None:
    port = free_port()
    asked = ward.examined("intake", LOTSE_DATABASE=f"postgresql://a:canary@127.0.0.1:{port}/intake")
    assert asked.code == 3 and "canary" not in asked.said
    line, mend = asked.first
    assert line == f"databases: the database of intake does not answer at 127.0.0.1:{port}"
    assert mend.startswith(f"pg_isready -h 127.0.0.1 -p {port} ")


def test_a_database_that_is_not_there_and_no_address_at_all_are_found(ward: Ward) -> None:
    dsn = ward.stack.databases["intake"].runtime.rpartition("/")[0]
    asked = ward.examined("intake", LOTSE_DATABASE=f"{dsn}/nowhere")
    made = f"createdb -h 127.0.0.1 -p {ward.stack.postgres_port} -U postgres -O intake_owner nowhere"
    assert asked.code == 1 and asked.first[1] == (
        f"{made}   # as a superuser; its rights and schema as in docs/operating.md; then lotse migrate intake"
    )
    done = typed(ward, asked.first[1])
    assert done.returncode == 0, done.stderr
    asked = ward.examined("intake", LOTSE_DATABASE=f"{dsn}/nowhere")
    assert asked.first[0] == "schema: the database of intake has no schema yet"
    asked = ward.examined("intake", LOTSE_DATABASE="canary")
    assert asked.code == 1 and asked.first[0] == "databases: LOTSE_DATABASE of intake is no address of a database"
    assert "canary" not in asked.said


def test_kafka_away_is_found(ward: Ward) -> None:
    port = free_port()
    asked = ward.examined("intake", LOTSE_KAFKA=f"127.0.0.1:{port}")
    assert asked.code == 3
    line, mend = asked.first
    assert line == f"kafka: Kafka does not answer at 127.0.0.1:{port}" and mend.startswith(f"nc -vz 127.0.0.1 {port} ")


def test_what_is_no_kafka_is_found(ward: Ward) -> None:
    address = f"{ward.stack.mail_host}:{ward.stack.mail_port}"
    asked = ward.examined("intake", LOTSE_KAFKA=address)
    assert asked.code == 3
    line, mend = asked.first
    assert line == f"kafka: something listens at {address} and does not take us"
    assert mend.startswith("export LOTSE_KAFKA_SECURITY=")


def test_a_mail_server_that_is_away_or_takes_no_login_is_found(ward: Ward) -> None:
    port = free_port()
    asked = ward.examined("notification", LOTSE_SMTP_PORT=str(port))
    assert asked.code == 3
    line, mend = asked.first
    assert line == f"mail: the mail server at 127.0.0.1:{port} does not answer as one"
    assert mend.startswith(f"nc -vz 127.0.0.1 {port} ")
    asked = ward.examined("notification", LOTSE_SMTP_USER="lotse", LOTSE_SMTP_PASSWORD="canary")
    assert asked.code == 1 and "canary" not in asked.said
    assert asked.first[0] == f"mail: the mail server at 127.0.0.1:{ward.stack.mail_port} takes no login"
    assert asked.first[1].startswith("unset LOTSE_SMTP_USER LOTSE_SMTP_PASSWORD")


def test_a_port_somebody_else_has_is_found_and_who(ward: Ward) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        asked = ward.examined("intake", LOTSE_HTTP_PORT=str(port))
    assert asked.code == 1
    line, mend = asked.first
    me = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert line == f"ports: port {port}, which intake is to have, is taken by {me}"
    assert mend.startswith(f"ss -ltnp 'sport = :{port}' ")


SILENT = """import socket
with socket.socket() as door:
    door.bind(("127.0.0.1", 0))
    door.listen()
    print(door.getsockname()[1], flush=True)
    input()
"""


def test_a_service_that_hangs_is_not_taken_for_somebody_else_on_its_port(ward: Ward) -> None:
    """Who was told to look who has the port found the service itself."""
    hung = subprocess.Popen(
        [sys.executable, "-c", SILENT, "serve", "intake"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with hung:
        assert hung.stdout
        port = hung.stdout.readline().strip()
        asked = ward.examined("intake", LOTSE_HTTP_PORT=port)
        hung.kill()
    assert asked.code == 3
    line, mend = asked.first
    assert line == f"ports: intake (pid {hung.pid}) has port {port} and does not answer there"
    assert mend.startswith(f"kill {hung.pid} ")


async def test_a_topic_with_another_retention_is_found_and_mended(ward: Ward) -> None:
    async with admin(ward.stack.kafka) as kafka:
        changed = {"message.timestamp.type": "LogAppendTime", "retention.ms": "604800000", "segment.ms": "3600000"}
        await kafka.alter_configs([ConfigResource(ConfigResourceType.TOPIC, FACTS, changed)])
        asked = await asyncio.to_thread(ward.examined, "intake")
        assert asked.code == 1
        assert asked.first == (
            f"topics: {FACTS} has retention.ms=604800000; the catalogue says -1",
            "lotse topics --mend",
        )
        assert any("max.message.bytes" in line for line in asked.lines[3:])  # gone with the same request
        dry = await asyncio.to_thread(ward.local, "topics", "--mend", "--dry-run")
        assert f"{FACTS} retention.ms: 604800000 -> -1" in dry.lines
        assert (await asyncio.to_thread(ward.examined, "intake")).code == 1
        assert (await asyncio.to_thread(ward.local, "topics", "--mend")).code == 0
        asked = await asyncio.to_thread(ward.examined, "intake")
        assert asked.code == 0, asked.said
        (answer,) = await kafka.describe_configs([ConfigResource(ConfigResourceType.TOPIC, FACTS)])
        stands = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        assert stands["segment.ms"] == "3600000"  # what else was set stays


async def test_a_topic_that_keeps_longer_is_said_and_nothing_shortens_it(ward: Ward) -> None:
    """It was told to, for what a flooded publisher sent: set right, as the page of a gap asks for all topics, Kafka deletes that."""
    unread, letters = "intake.submissions.kreis", "intake.dead-letters"
    longer = {unread: "5184000000", letters: "-1"}
    async with admin(ward.stack.kafka) as kafka:

        async def set(values: dict[str, str]) -> None:
            said = [
                ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": ms}) for topic, ms in values.items()
            ]
            await kafka.alter_configs(said)
            # the controller has it before the broker says so
            async with asyncio.timeout(PATIENCE):
                while [has["retention.ms"][0] for has in await settings_of(kafka, [*values])] != [*values.values()]:
                    await asyncio.sleep(0.1)

        await set(longer)
        stays = [f"{letters} retention.ms: -1 stays, longer than 2592000000",
                 f"{unread} retention.ms: 5184000000 stays, longer than 2592000000"]  # fmt: skip
        try:
            for more in (["--dry-run"], []):
                done = await asyncio.to_thread(ward.local, "topics", "--mend", *more)
                assert done.code == 0 and [line for line in done.lines if "retention.ms" in line] == stays, done.said
            asked = await asyncio.to_thread(ward.examined, "intake")  # what else differed is mended
            assert asked.code == 0 and not any("stand as the catalogue says" in line for line in asked.lines), (
                asked.said
            )
            said = asked.lines.index(
                f"topics: noted: {unread} has retention.ms=5184000000; the catalogue says 2592000000"
            )
            assert "longer than people were told" in asked.lines[said + 1]
            assert f"--entity-name {unread} --add-config retention.ms=2592000000 " in asked.lines[said + 2]
            assert f"topics: noted: {letters} has retention.ms=-1; the catalogue says 2592000000" in asked.lines
        finally:
            await set(dict.fromkeys(longer, "2592000000"))
            await asyncio.to_thread(ward.local, "topics", "--mend")
    assert "topics: noted" not in (await asyncio.to_thread(ward.examined, "intake")).said


async def test_a_topic_of_facts_that_was_there_and_is_gone_is_no_topic_to_be_made(ward: Ward) -> None:
    """Made anew and empty it takes the next fact at 0, and every lamp is green without all that came before."""
    topic, other, short = "dropout.events", "intake.answers.kreis", "referral.answers.kreis"
    knows = {"referral": "acked", "notification": "position"}  # who wrote it, who read it
    async with admin(ward.stack.kafka) as kafka:
        await kafka.delete_topics([topic, other])
        try:
            asked = await asyncio.to_thread(ward.examined, "referral")
            assert (asked.code, *asked.first) == (1, f"topics: 2 topics are missing: {topic}, {other}", "lotse topics")
            asked = await asyncio.to_thread(ward.examined, "notification")  # nobody has asked the owner
            assert (asked.code, *asked.first) == (1, f"topics: 1 topic is missing: {topic}",
                "lotse topics   # in a new installation; was it ever there: docs/runbooks/LotseGap.md, step 6, first")  # fmt: skip
            await kafka.alter_configs([ConfigResource(ConfigResourceType.TOPIC, short, {"retention.ms": "1"})])
            for name, table in knows.items():
                await sql(ward, name, f"insert into lotse.{table} values ('{topic}', 0, 1)")  # noqa: S608
                asked = await asyncio.to_thread(ward.examined, name)
                assert (asked.code, *asked.first) == (1, f"topics: {topic} is gone, and {name} knows that something stood there",
                    "${PAGER:-less} docs/runbooks/LotseGap.md   # its step 6: backup or mirror, before anything writes to it")  # fmt: skip
                assert asked.lines[3] == f"topics: 1 topic is missing: {other}"
                assert f"topics: {short} has retention.ms=1; the catalogue says 3196800000" in asked.lines
                mends = [line for line in asked.lines[3:] if line.startswith("  mend  ")]  # each would make it, too
                assert len(mends) > 1 and {*mends} == {"  mend  ${PAGER:-less} docs/runbooks/LotseGap.md"
                    "   # its step 6 first: `lotse topics` would make what is gone, too, and empty"}  # fmt: skip
        finally:
            for name, table in knows.items():
                await sql(ward, name, f"delete from lotse.{table} where topic = '{topic}'")  # noqa: S608
            assert (await asyncio.to_thread(ward.local, "topics")).lines == [topic, other]
            assert (await asyncio.to_thread(ward.local, "topics", "--mend")).code == 0
    assert (await asyncio.to_thread(ward.examined, "referral")).code == 0


async def test_a_topic_that_is_missing_or_has_other_partitions_is_found_and_mended(ward: Ward) -> None:
    topic = "attendance.answers.oulad"
    async with admin(ward.stack.kafka) as kafka:
        await kafka.delete_topics([topic])
        asked = await asyncio.to_thread(ward.examined, "referral")
        assert (asked.code, *asked.first) == (1, f"topics: 1 topic is missing: {topic}", "lotse topics")
        await kafka.create_topics([NewTopic(topic, 3, 1)])
        asked = await asyncio.to_thread(ward.examined, "referral")
        assert asked.code == 1 and asked.lines[0] == f"topics: {topic} has 3 partitions; the catalogue says 12"
        assert f"--delete --topic {topic} && lotse topics" in asked.first[1]
        async with AIOKafkaProducer(bootstrap_servers=ward.stack.kafka) as producer:
            sent = await producer.send_and_wait(topic, b"x", partition=2)
        await kafka.delete_records({TopicPartition(topic, 2): RecordsToDelete(before_offset=sent.offset + 1)})
        asked = await asyncio.to_thread(
            ward.examined, "referral"
        )  # also where what it held is gone: who read it stands behind it
        assert asked.code == 1 and asked.lines[0] == f"topics: {topic} has 3 partitions; the catalogue says 12"
        assert "--delete" not in asked.first[1] and "records stood on it" in asked.first[1]
        await kafka.delete_topics([topic])
        assert (await asyncio.to_thread(ward.local, "topics")).lines == [topic]
    assert (await asyncio.to_thread(ward.examined, "referral")).code == 0


async def test_a_topic_of_nobody_is_found(ward: Ward) -> None:
    topic = "intake.submissions.gone"
    async with admin(ward.stack.kafka) as kafka:
        await kafka.create_topics([NewTopic(topic, 1, 1)])
        try:
            async with asyncio.timeout(PATIENCE):
                while topic not in await kafka.list_topics():  # the controller has it before the broker says so
                    await asyncio.sleep(0.1)
            asked = await asyncio.to_thread(ward.examined, "intake")
        finally:
            await kafka.delete_topics([topic])
    assert asked.code == 1
    line, mend = asked.first
    assert line == f"topics: {topic} belongs to no publisher of publishers.toml"
    assert mend == f"${{EDITOR:-vi}} {PUBLISHERS}   # add [publisher.gone], if it is to publish"


async def test_a_schema_that_lags_or_leads_is_found_and_migrated(ward: Ward) -> None:
    await sql(
        ward,
        "postgres",
        'create database "fresh" owner intake_owner',
        "grant connect on database fresh to intake_runtime",
    )
    owner, runtime = (
        getattr(ward.stack.databases["intake"], role).rpartition("/")[0] + "/fresh" for role in ("owner", "runtime")
    )
    where = {"LOTSE_DATABASE": runtime, "LOTSE_DATABASE_OWNER": owner}
    asked = await asyncio.to_thread(ward.examined, "intake", **where)
    assert (asked.code, *asked.first) == (
        1, "schema: the database of intake has no schema yet",
        "lotse migrate intake   # after its schema and rights, as in docs/operating.md",
    )  # fmt: skip
    await sql(ward, "fresh", "create schema lotse authorization intake_owner", "grant usage on schema lotse to intake_runtime",
              "alter default privileges for role intake_owner grant select on tables to intake_runtime")  # fmt: skip
    alone = {"LOTSE_DATABASE_OWNER": owner}  # as operating.md says; the stack that is up has a database of its own
    done = await asyncio.to_thread(lambda: ward.local("migrate", "intake", **alone))
    assert done.code == 0 and "0001_case_list" in done.said, done.said
    assert (await asyncio.to_thread(lambda: ward.local("migrate", "intake"))).lines == ["intake: nothing to do"]
    asked = await asyncio.to_thread(ward.examined, "intake", **where)
    assert asked.code == 0, asked.said

    await sql(ward, "fresh", "delete from lotse.service_migrations where version = '0001'")
    asked = await asyncio.to_thread(ward.examined, "intake", **where)
    assert (asked.code, *asked.first) == (
        1, "schema: the database of intake is older than this code: 0001_case_list did not run", "lotse migrate intake",
    )  # fmt: skip
    served = await asyncio.to_thread(lambda: ward.mended("serve", "intake", **where))  # new code on an old schema
    assert served.code == 4 and "0001_case_list did not run" in served.said and "lotse migrate intake" in served.said
    await sql(ward, "fresh", "insert into lotse.service_migrations values ('0001'), ('9999')")
    asked = await asyncio.to_thread(ward.examined, "intake", **where)
    assert asked.code == 1
    assert asked.lines[0] == "schema: the schema of intake is newer than this code: service_migrations 9999"
    assert asked.first[1].startswith("run the release that made it") and "an empty database" in asked.first[1]
    for change, why in (
        ("select 1", "newer than this code"),
        ("delete from lotse.service_migrations", "0001_case_list did not run"),
    ):
        await sql(ward, "fresh", change)
        rebuilt = await asyncio.to_thread(lambda: ward.mended("rebuild", "intake", **where))
        assert rebuilt.code == 4 and why in rebuilt.said, rebuilt.said


def test_a_role_that_may_make_tables_is_found(ward: Ward) -> None:
    asked = ward.examined("intake", LOTSE_DATABASE=ward.stack.databases["intake"].owner)
    assert asked.code == 1
    line, mend = asked.first
    assert line == "databases: intake_owner, with which intake works, may make and drop tables"
    assert mend == "export LOTSE_DATABASE=...   # with the role intake_runtime"


def test_a_clock_that_is_off_by_an_hour_is_found(ward: Ward) -> None:
    for hours, which in ((1, "ahead of"), (-1, "behind")):
        asked = ward.examined("intake", **clock_off(hours))
        assert asked.code == 1, asked.said
        line, mend = asked.first
        assert line == f"clock: this machine's clock is 60 minutes {which} that of the database of intake"
        assert mend.startswith("timedatectl set-ntp true ")


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("[publisher.kreis]\nsource = 'canary'\n", "publisher.kreis: wrong or missing tenants"),
        ("[publisher", "TOMLDecodeError; it must be a readable TOML file"),
        ("", "names no publisher"),
    ],
)
def test_a_wrong_publishers_file_is_found(ward: Ward, tmp_path: Path, wrong: str, line: str) -> None:
    file = tmp_path / "publishers.toml"
    file.write_text(wrong)
    asked = ward.examined("intake", LOTSE_PUBLISHERS=str(file))
    assert asked.code == 1 and "canary" not in asked.said
    assert asked.lines[0] == f"publishers: {file}: {line}" and asked.first[1].startswith(f"${{EDITOR:-vi}} {file}")


def test_a_wrong_organisations_file_and_a_wrong_key_are_found(ward: Ward, tmp_path: Path) -> None:
    file = tmp_path / "organisations.toml"
    file.write_text("[organisation.kreis]\nmailbox = 'canary'\n")
    asked = ward.examined("notification", LOTSE_ORGANISATIONS=str(file))
    assert (asked.code, *asked.first) == (
        1, f"organisations: {file}: organisation.kreis: wrong or missing mailbox", f"${{EDITOR:-vi}} {file}",
    )  # fmt: skip
    assert "canary" not in asked.said
    private = ward.stack.folder / "operations.json"
    asked = ward.examined("intake", LOTSE_OPERATIONS_KEY=str(private))
    assert asked.code == 1 and asked.lines[0] == f"keys: {private} holds the private half of the operations key"
    assert asked.first[1] == f"export LOTSE_OPERATIONS_KEY=...   # the public half, not {private}"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Four megabytes, in memory."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False, capture_output=True
    )  # noqa: S603, S607
    if mounted.returncode:
        pytest.skip("NOT RUN: a tmpfs can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def test_a_disk_that_is_nearly_full_is_found(ward: Ward, tmp_path: Path) -> None:
    with small_disk(tmp_path / "full") as folder:
        (folder / "data").write_bytes(b"x" * (3 << 20))
        asked = ward.examined("intake", TMPDIR=str(folder))
    assert asked.code == 1
    line, mend = asked.first
    assert line == f"disk: only 1 MiB are free where {folder} lies"
    assert mend.startswith(f"du -xh --max-depth=2 {folder} | sort -h | tail ")


def test_too_little_memory_is_found() -> None:
    (said,) = machine.memory(Place("here", local=True, folder=Path(tempfile.gettempdir()), up=False), free=900 << 20)
    assert (said.state, said.what) == ("found", "only 900 MiB of memory are free")
    (said,) = machine.memory(Place("here", local=True, folder=Path(tempfile.gettempdir()), up=False), free=1100 << 20)
    assert said.state == "good"


def test_packages_at_other_versions_are_found(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("asyncpg==0.1.0 \\\n    --hash=sha256:00\n")
    (said,) = machine.python(Place("here", local=True, folder=tmp_path), lock)
    assert said.what.startswith("1 packages differ from requirements.lock: asyncpg is 0.")
    assert said.mend == "rm -r .venv && ./lotse doctor"


def test_what_a_killed_run_left_is_found(tmp_path: Path) -> None:
    old = tmp_path / "tmp" / "lotse-old"
    (old / "kafka").mkdir(parents=True)
    long_ago = time.time() - 3600
    for path in (old / "kafka", old):
        os.utime(path, (long_ago, long_ago))
    young = tmp_path / "tmp" / "lotse-young" / "kafka"
    young.mkdir(parents=True)
    stack = tmp_path / "stack" / "kafka"
    stack.mkdir(parents=True)
    left = subprocess.Popen(["sleep", "300"])  # noqa: S607
    try:
        (stack / "kafka.pid").write_text(json.dumps(known_by(left.pid)))
        asked = ask("doctor", LOTSE_STATE=str(tmp_path), TMPDIR=str(tmp_path / "tmp"))
    finally:
        left.kill()
        left.wait()
    assert asked.code == 1
    at = next(n for n, line in enumerate(asked.lines) if line.startswith("leftovers:"))
    asked = replace(asked, lines=asked.lines[at:])  # before it may stand what else this machine lacks
    assert asked.first == (f"leftovers: kafka of a killed `lotse up` still runs (pid {left.pid})", f"kill {left.pid}")
    assert asked.lines[3].startswith(f"leftovers: {old} is the folder of a temporary stack that no longer runs")
    assert asked.lines[5] == f"  mend  rm -r {old}" and "lotse-young" not in asked.said


async def test_a_database_set_back_is_found_and_rebuilt(ward: Ward) -> None:
    """The service compares; the doctor asks it."""
    await sql(ward, "postgres", "create database backup template intake owner intake_owner")
    await asyncio.to_thread(ward.fleet.start_one, "intake")
    try:
        await asyncio.to_thread(ward.fleet.wait_ready, "intake")
        course = Course(date(2026, 3, 2))
        async with Publisher(ward.stack.kafka) as sender:
            registration = next(one for one in course.steps() if one[0].family == "intake")
            assert (await sender.ask(*registration))["outcome"] == "recorded"
        asked = await asyncio.to_thread(ward.examined, "intake")
        assert asked.code == 0 and "log: the database of intake knows all its own facts" in asked.lines, asked.said
        ward.fleet.processes["intake"].stop()
        await sql(
            ward, "postgres", "drop database intake", "alter database backup rename to intake",
            "revoke all on database intake from public", "grant connect on database intake to intake_runtime",
        )  # fmt: skip
        await asyncio.to_thread(ward.fleet.start_one, "intake")
        async with asyncio.timeout(PATIENCE):
            while not (await asyncio.to_thread(ward.fleet.status, "intake")).get("older_than_log"):
                await asyncio.sleep(0.1)
        asked = await asyncio.to_thread(ward.examined, "intake")
        assert asked.code == 1
        line, mend = asked.first
        facts = ward.fleet.status("intake")["older_than_log"]
        assert line == f"log: the database of intake lacks {facts} records that stand on its topics"
        assert mend == "lotse rebuild intake"
        rebuilt = await asyncio.to_thread(ward.mended, "rebuild", "intake")
        assert rebuilt.code == 0, rebuilt.said
        await asyncio.to_thread(ward.fleet.wait_ready, "intake")
        assert (await asyncio.to_thread(ward.examined, "intake")).code == 0
    finally:
        ward.fleet.processes["intake"].stop()


async def test_a_release_is_gone_back_from_for_good_as_the_documentation_says(ward: Ward) -> None:
    """Rebuilt in what a later release wrote, each of its states would be called a difference, and somebody told to remove it."""
    (carried,) = re.findall(r"`(pg_dump .+)`", (ROOT / "docs" / "operating.md").read_text())
    later, audit = "intake_later", "select string_agg(why, '/' order by seq) from lotse.audit"
    course = Course(date(2026, 3, 2))
    registration = next(one for one in course.steps() if one[0].family == "intake")
    try:
        await asyncio.to_thread(ward.fleet.start_one, "intake")
        await asyncio.to_thread(ward.fleet.wait_ready, "intake")
        async with Publisher(ward.stack.kafka) as sender:
            assert (await sender.ask(*registration))["outcome"] == "recorded"
        async with asyncio.timeout(PATIENCE):
            while ward.fleet.status("intake")["outbox"]["rows"]:
                await asyncio.sleep(0.1)
        ward.fleet.processes["intake"].stop()
        await sql(ward, "intake", "update lotse.state set shape = shape + 1",
                  "insert into lotse.audit (who, what, about, why) values ('me', 'release', 'it', 'mended')",
                  "insert into lotse.left_out values ('intake.events', 0, 999999)")  # fmt: skip
        refused = await asyncio.to_thread(ward.mended, "rebuild", "intake")
        assert refused.code == 4 and "a later release wrote states of case" in refused.said, refused.said
        assert "an empty database" in refused.said

        await sql(ward, "postgres", f'alter database "intake" rename to "{later}"')
        await asyncio.to_thread(ward.stack.provision)
        assert (await asyncio.to_thread(ward.mended, "migrate", "intake")).code == 0
        new = ward.stack.databases["intake"].owner
        old = f"{new.rpartition('/')[0]}/{later}"
        command = carried.replace("OLD", f"'{old}'").replace("NEW", f"-qv ON_ERROR_STOP=1 '{new}'")
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        done = await asyncio.to_thread(
            subprocess.run, command, shell=True, env={**os.environ, "PATH": path}, capture_output=True, check=False
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        rebuilt = await asyncio.to_thread(ward.mended, "rebuild", "intake")
        assert rebuilt.code == 0 and "nothing to compare with" in rebuilt.said, rebuilt.said
        await asyncio.to_thread(ward.fleet.start_one, "intake")
        await asyncio.to_thread(ward.fleet.wait_ready, "intake")
        con = await asyncpg.connect(new)
        assert str(await con.fetchval(audit)).endswith("mended")
        assert await con.fetchval('select count(*) from lotse.left_out where "offset" = 999999') == 1
        assert await con.fetchval("select shape from lotse.state where id = $1", registration[1]) == Case.shape
        # whoever operates next is written down behind the last one
        await con.execute("insert into lotse.audit (who, what, about, why) values ('me', 'release', 'it', 'next')")
        assert str(await con.fetchval(audit)).endswith("mended/next")
        await con.close()
        assert (await asyncio.to_thread(ward.examined, "intake")).code == 0
    finally:
        ward.fleet.processes["intake"].stop()


async def test_a_service_that_never_ran_is_rebuilt_from_what_others_said(ward: Ward) -> None:
    """reporting owns no fact: its empty database is not older than its log, and yet there is nothing to compare with."""
    for said in ("nothing to compare with", "equal"):
        rebuilt = await asyncio.to_thread(ward.mended, "rebuild", "reporting", name="reporting")
        assert rebuilt.code == 0 and said in rebuilt.said, rebuilt.said


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """It stands still, and its connections stay open."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def test_a_kafka_that_falls_silent_while_it_is_asked_does_not_answer(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "not checked", and the exit code was that of a house in which all is well."""
    place = Place("here", local=False, folder=ward.state, kafka=ward.stack.kafka, publishers=PUBLISHERS)
    asking = kafka_checks.kafka(place)
    said = [await anext(asking)]
    monkeypatch.setattr(kafka_checks, "PATIENCE", 2.0)
    pid = ward.stack.processes["kafka"].pid
    with stopped(psutil.Process(pid)):
        said += [one async for one in asking]
    assert [one.state for one in said] == ["good", "found"] and exit_code(said) == UNREACHABLE
    assert said[1].what == f"Kafka at {ward.stack.kafka} fell silent while it was asked"


@pytest.mark.parametrize("how", ["stands still", "is ended"])
async def test_a_database_that_falls_silent_while_it_is_asked_does_not_answer(ward: Ward, how: str) -> None:
    dsn = ward.stack.databases["intake"].runtime
    asking = database_checks.databases(Place("here", local=False, folder=ward.state, databases={"intake": dsn}))
    said = [await anext(asking)]
    con = await asyncpg.connect(ward.stack.admin_dsn)
    try:
        mine = "select pid from pg_stat_activity where datname = 'intake' and usename = 'intake_runtime'"
        (session,) = await con.fetch(mine)
        if how == "stands still":
            with stopped(psutil.Process(session["pid"])):
                said += [one async for one in asking]
        else:
            await con.execute("select pg_terminate_backend($1)", session["pid"])
            said += [one async for one in asking]
    finally:
        await con.close()
    assert [one.state for one in said] == ["good", "found"] and exit_code(said) == UNREACHABLE
    assert (
        said[1].what == f"the database of intake fell silent while it was asked at 127.0.0.1:{ward.stack.postgres_port}"
    )


async def test_a_clock_that_has_stopped_is_found(ward: Ward) -> None:
    """Its newest tick agreed with the broker's clock, nine hours ago."""
    own = ConfigResource(ConfigResourceType.TOPIC, CLOCK, {"message.timestamp.type": "CreateTime"})
    async with admin(ward.stack.kafka) as kafka, AIOKafkaProducer(bootstrap_servers=ward.stack.kafka) as producer:
        await kafka.alter_configs([own])
        for minutes in (15, 540):
            at = datetime.now(UTC) - timedelta(minutes=minutes)
            written = await producer.send_and_wait(
                CLOCK, Tick(at=at).to_json(), timestamp_ms=round(at.timestamp() * 1000)
            )
            assert written.timestamp_type == 0, "the broker gave it its own time"
            place = Place("here", local=False, folder=ward.state, kafka=ward.stack.kafka, publishers=PUBLISHERS)
            said = [one async for one in kafka_checks.kafka(place) if one.check == "clock"]
            if minutes == 15:
                assert [one.state for one in said] == ["good"]
                continue
            assert [(one.state, one.what) for one in said] == [("found", "the newest tick is 540 minutes old")]
            assert said[0].mend.startswith("lotse serve clock ")
            simulated = kafka_checks.kafka(replace(place, simulated=True))
            assert [one.state async for one in simulated if one.check == "clock"] == ["good"]
        assert (await asyncio.to_thread(ward.local, "topics", "--mend")).code == 0
        await publish(producer, Tick(at=datetime.now(UTC)))


async def test_a_clock_service_that_is_ahead_of_the_broker_is_found(ward: Ward) -> None:
    """Last of those that share the stack: a tick stays on its topic."""
    producer = AIOKafkaProducer(bootstrap_servers=ward.stack.kafka, enable_idempotence=True)
    await producer.start()
    try:
        for shift, which in ((timedelta(hours=1), "ahead of"), (timedelta(hours=-1), "behind")):
            await publish(producer, Tick(at=datetime.now(UTC) + shift))
            asked = await asyncio.to_thread(ward.examined, "intake", LOTSE_SIMULATED_TIME="0")
            assert asked.code == 1, asked.said
            line, mend = asked.first
            assert line == f"clock: the newest tick is 60 minutes {which} the broker's clock"
            assert mend.startswith("timedatectl set-ntp true && lotse serve clock ")
        assert (await asyncio.to_thread(ward.examined, "intake", LOTSE_SIMULATED_TIME="1")).code == 0
        await publish(producer, Tick(at=datetime.now(UTC)))
    finally:
        await producer.stop()
    asked = await asyncio.to_thread(ward.examined, "intake", LOTSE_SIMULATED_TIME="0")
    assert asked.code == 0 and "clock: the newest tick agrees with the broker's clock" in asked.lines


TOPIC, GROUP, LITERAL, PREFIXED, ALLOW, ANY = 2, 3, 3, 4, 3, 1  # as Kafka numbers resource types, patterns, permissions
RIGHTS = {"Read": 3, "Write": 4, "DescribeConfigs": 10}


async def test_a_right_that_is_missing_is_found_and_given(ward: Ward, guarded: str) -> None:
    def security(user: str, password: str) -> dict[str, str]:
        return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": user,
                "sasl_plain_password": password}  # fmt: skip

    publishers = load_publishers(PUBLISHERS)
    known = KafkaSecurity.model_validate(security("admin", "admin-secret"))
    await make_topics(guarded, publishers, local=True, security=known)

    async def examined(password: str = "intake-secret") -> Asked:
        own = {"LOTSE_KAFKA": guarded, "LOTSE_KAFKA_SECURITY": json.dumps(security("intake", password))}
        return await asyncio.to_thread(ward.examined, "intake", **own)

    async with admin(guarded, **security("admin", "admin-secret")) as kafka:

        async def give(right: str, name: str, kind: int = TOPIC) -> None:
            request = CreateAclsRequest(kind, name, LITERAL, "User:intake", "*", RIGHTS[right], ALLOW)
            answer = await kafka._send_request(request)
            assert answer.to_object()["creation_responses"][0]["error_code"] == 0

        reads = ["clock.ticks", "intake.events", "intake.dead-letters"]
        reads += [f"intake.{kind}.{name}" for kind in ("submissions", "answers") for name in publishers]
        writes = ["intake.events", "intake.dead-letters", *(f"intake.answers.{name}" for name in publishers)]
        for topic in reads:
            await give("Read", topic)
        for topic in writes[1:]:
            await give("Write", topic)
        every = DescribeAclsRequest(TOPIC, None, ANY, None, None, ANY, ANY)
        async with asyncio.timeout(PATIENCE):  # a busy broker goes by them a moment after it has taken them
            while sum(len(one["acls"]) for one in (await kafka._send_request(every)).to_object()["resources"]) < (
                len(reads) + len(writes) - 1
            ):
                await asyncio.sleep(0.1)
        asked = await examined()
        (of_the_group,) = (line for line in asked.lines if line.startswith("rights:") and "group" in line)
        assert of_the_group == "rights: intake lacks the right Read on group lotse-intake"
        assert asked.said.count("--operation Read --group lotse-intake") == 1
        await give("Read", "lotse-intake", GROUP)
        asked = await examined()
        assert asked.code == 1, asked.said
        assert asked.first == (
            "rights: intake lacks the right Write on intake.events",
            f"kafka-acls.sh --bootstrap-server {guarded} --command-config admin.properties --add"
            " --allow-principal User:intake --operation Write --topic intake.events",
        )
        assert sum(line.startswith("rights:") for line in asked.lines) == 1
        assert any("may not read the settings of" in line for line in asked.lines)  # said, not passed over
        await give("Write", "intake.events")
        for topic in reads:
            await give("DescribeConfigs", topic)
        asked = await examined()
        assert asked.code == 0 and "rights: what intake must read and write is allowed" in asked.lines, asked.said
    asked = await examined("canary")
    assert asked.code == 3 and "canary" not in asked.said
    assert asked.lines[0] == f"kafka: something listens at {guarded} and does not take us"


async def test_everybodys_rights_are_held_against_the_catalogue(ward: Ward, guarded: str, tmp_path: Path) -> None:
    """What a publisher, a service and a stranger may do, as a person reads it from the documentation of the topics."""
    security = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "admin",
                "sasl_plain_password": "admin-secret"}  # fmt: skip
    file = tmp_path / "publishers.toml"
    file.write_text(
        '[publisher.school]\nsource = "urn:school"\ntenants = ["rkn"]\norganisations = ["vhs"]\nfamilies = ["attendance"]\n'
    )
    known = KafkaSecurity.model_validate(security)
    await make_topics(guarded, load_publishers(file), local=True, security=known)
    may = {
        "clock.ticks": "clock writes; intake notification referral reporting read",
        "intake.events": "intake writes; intake referral reporting read",
        "referral.events": "referral writes; referral reporting read",
        "attendance.events": "referral writes; referral read",
        "dropout.events": "referral writes; notification referral read",
        "notification.events": "notification writes; notification read",
        "report.participation.internal": "reporting writes; reporting read",
        "attendance.submissions.school": "school writes; referral read",
        "attendance.answers.school": "referral writes; referral school read",
        **{f"{name}.dead-letters": f"{name} writes; {name} read" for name in ("intake", "referral", "notification", "reporting")},
    }  # fmt: skip

    async def checked(*more: str) -> list[str]:
        own = {"LOTSE_KAFKA": guarded, "LOTSE_KAFKA_SECURITY": json.dumps(security), "LOTSE_PUBLISHERS": str(file)}
        asked = await asyncio.to_thread(ask, "topics", "--check", *more, "--format", "json", **own)
        said = json.loads(asked.lines[0])
        assert asked.code == (1 if said["errors"] else 0)
        return [error["message"] for error in said["errors"]]

    async with admin(guarded, **security) as kafka:

        async def give(who: str, right: str, topic: str, pattern: int = LITERAL) -> None:
            request = CreateAclsRequest(TOPIC, topic, pattern, f"User:{who}", "*", RIGHTS[right], ALLOW)
            answer = await kafka._send_request(request)
            assert answer.to_object()["creation_responses"][0]["error_code"] == 0

        for topic, rule in may.items():
            writer, _, readers = rule.removesuffix(" read").partition(" writes; ")
            await give(writer, "Write", topic)
            for reader in readers.split():
                if (reader, topic) != ("school", "attendance.answers.school"):
                    await give(reader, "Read", topic)
        assert await checked() == ["User:school lacks Read on attendance.answers.school"]
        await give("school", "Read", "attendance.answers.school")
        assert await checked() == []
        await give("stranger", "Write", "attendance.sub", PREFIXED)
        await give("console", "Read", "intake.dead-letters")
        assert set(await checked()) == {"User:stranger has Write on attendance.submissions.school",
                                        "User:console has Read on intake.dead-letters"}  # fmt: skip
        board = ("--operator", "User:console", "--reader", "User:CN=board=dropout.events")
        assert "User:CN=board lacks Read on dropout.events" in await checked(*board)
        await give("CN=board", "Read", "dropout.events")
        assert "User:CN=board has Read on dropout.events" in await checked()
        assert not [line for line in await checked(*board) if "board" in line]
        assert await checked(*board) == ["User:stranger has Write on attendance.submissions.school"]
