"""What each release of ours has left in an installation, brought to this version as docs/operating.md says (Going forward a release)."""

import asyncio
import base64
import gzip
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pydantic import SecretStr

from contracts.intake import NeedReported, RegistrationSubmitted
from deploy.fleet import Fleet, Setup
from deploy.local.postgres import BIN
from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from deploy.places import ROOT, SERVICES
from deploy.services import declared, make_topics, migrate, migrations, publishers_from
from services.host.settings import Settings
from services.operating.rebuild import rebuild
from tests.conftest import ORGANISATIONS, PUBLISHERS, without_topics
from tests.integration.conftest import served
from tests.integration.on_one_stack.conftest import emptied_databases
from tests.publishing import OWNER, Publisher

RELEASES = sorted((ROOT / "tests" / "samples").glob("release_*"))
NOBODYS = "00000000-0000-4000-8000-00000000000e"
"""A case that nobody had opened, and a need of it that waits (make.py)."""


def of_release_1(withdrawn: tuple[str, Any], told: tuple[str, Any]) -> None:
    """One start was in time, and was heard of late: release 1 called its worry settled by the start, and told its office no reason."""
    (what, risk), (what_told, notice) = withdrawn, told
    assert (what, risk["rule"], risk["reason"]) == ("dropout_risk_withdrawn", "S6", "CORRECTED")
    assert (what_told, notice["line"]["about"]) == ("notification_withdrawn", risk["about"])
    assert notice["line"]["reason"] == "ATTENDED"  # all that notification has heard until referral serves


SAID_ANEW = {"release_1": of_release_1}
"""What rules since then say of what was known before. (An update says it once, at its rebuild.)"""


class Record(NamedTuple):
    """A line of log.jsonl.gz."""

    topic: str
    part: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def type(self) -> str:
        return dict(self.headers).get("ce_type", b"").decode()


@pytest.fixture(params=RELEASES, ids=lambda folder: str(folder.name))
def release(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def left(release: Path) -> list[Record]:
    """The log it left."""

    def read(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    lines = map(json.loads, gzip.decompress((release / "log.jsonl.gz").read_bytes()).splitlines())
    return [Record(topic, part, offset, at, read(key), read(value), [(name, base64.b64decode(said)) for name, said in headers])
            for topic, part, offset, at, key, value, headers in lines]  # fmt: skip


@pytest.fixture
def installation(
    stack: LocalStack, release: Path, left: list[Record], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalStack]:
    """As it was when the last process of that release had stopped."""
    for name, value in Fleet(stack, Setup(PUBLISHERS, ORGANISATIONS)).environment("notification").items():
        monkeypatch.setenv(name, value)  # its settings of mail, which a rebuild needs, too
    asyncio.run(emptied_databases(stack))
    stack.provision()
    without_topics(stack)
    for name, database in stack.databases.items():
        dump = gzip.decompress((release / f"{name}.sql.gz").read_bytes())
        subprocess.run(
            [BIN / "psql", "-qX", "-v", "ON_ERROR_STOP=1", database.owner], input=dump, check=True, capture_output=True
        )  # noqa: S603
    asyncio.run(told(stack.kafka, left))
    asyncio.run(make_topics(stack.kafka, publishers_from(PUBLISHERS), local=True))  # on which nothing stood
    yield stack
    without_topics(stack)


async def told(kafka: str, left: list[Record]) -> None:
    """Each record at its place, with the time its broker gave it, however long ago that was."""
    config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    admin = AdminClient({"bootstrap.servers": kafka})
    made = admin.create_topics([NewTopic(topic, 4, 1, config=config) for topic in {record.topic for record in left}])
    for one in made.values():
        one.result(60)
    async with AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True) as producer:
        sent = [await producer.send(r.topic, r.value, r.key, r.part, r.timestamp, r.headers) for r in left]
        assert [(await one).offset for one in sent] == [record.offset for record in left]


async def test_it_goes_on_where_that_release_stood(release: Path, installation: LocalStack, left: list[Record]) -> None:
    """Nothing it knew is lost or told otherwise, nothing is said twice, and what waited under it still waits and is answered."""
    ids, anew = [dict(record.headers)["ce_id"].decode() for record in left if record.type], list[tuple[str, Any]]()
    for name in SERVICES:
        service, database = declared(name), installation.databases[name]
        await asyncio.to_thread(migrate, name, database.owner)
        settings = settings_of(installation, name)
        files = [file for _, folder in migrations(name) for file in sorted(folder.glob("*.sql"))]
        stood = await shapes(database.owner)
        assert stood.items() != service.shapes.items(), "no rebuild was needed: begin with what is written here"
        for sweep in ("first", "second"):
            done = await rebuild(service, settings, files)
            assert (done.compared, done.differences, done.broken) == (True, [], []), name
            assert sweep == "first" or done.swept == 0
        assert await shapes(database.owner) == {kind: service.shapes[kind] for kind in stood}
        told_now = await asked(database.owner, "select type, body from timeline where not fact_id::text = any($1)", ids)
        anew += [(row["type"].split(".")[-2], json.loads(row["body"])) for row in told_now]
    SAID_ANEW[release.name](*anew)

    facts = Counter(record.type.split(".")[-2] for record in left if record.topic.endswith(".events"))
    answers = {json.loads(r.value or b"")["submission_id"] for r in left if ".answers." in r.topic}
    shown = {
        "intake": "select (select count(*) from case_list), counted('answered')",
        "referral": "select (select count(*) from referral_board), (select count(*) from participation_list),"
        " (select sum(raised) from risk_list), counted('answered')",
    }
    (cases, heard), (*lists, heard_there) = [await row(installation, name, sql) for name, sql in shown.items()]
    types = ("case_opened", "referral_sent", "participation_started", "dropout_risk_raised")
    assert [cases, *lists] == [facts[type] for type in types] and min(cases, *lists) > 1
    assert heard + heard_there == len(answers) + 1 > 200  # and the one that waits

    case = next(str(r.key, "ascii") for r in left if r.key and r.type == "lotse.intake.case_opened.v1")
    need = NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    opened = RegistrationSubmitted(by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm")
    async with served(installation, "intake") as intake, Publisher(installation.kafka) as kreis:
        assert (await kreis.ask(need, case))["outcome"] == "recorded"
        said = await intake.status.said()
        assert (said["waiting"], [letter["letters"] for letter in said["dead_letters"]]) == (1, [1])
        assert (await kreis.ask(opened, NOBODYS))["outcome"] == "recorded"
        (waited,) = await kreis.answered(NOBODYS)
        assert waited["outcome"] == "recorded" and len(kreis.answers) == len(answers) + 3
        assert all(len(told) == 1 for told in kreis.answers.values())


def settings_of(stack: LocalStack, name: str) -> Settings:
    database = stack.databases[name]
    return Settings(kafka=stack.kafka, database=SecretStr(database.runtime), database_owner=SecretStr(database.owner),
                    publishers=PUBLISHERS, http_port=free_port(), operations_key=stack.operations_key)  # fmt: skip


async def shapes(dsn: str) -> dict[str, int]:
    """Of each kind of state that is there the one shape all have."""
    found: list[Any] = await asked(dsn, "select kind, shape from state where body is not null group by kind, shape")
    assert len(found) == len({row["kind"] for row in found})
    return {row["kind"]: row["shape"] for row in found}


async def row(stack: LocalStack, name: str, sql: str) -> list[int]:
    """The one row a service's database answers."""
    return [*(await asked(stack.databases[name].owner, sql))[0]]


async def asked(dsn: str, sql: str, *given: Any) -> list[Any]:
    con = await asyncpg.connect(dsn, server_settings={"search_path": "lotse"})
    try:
        return list(await con.fetch(sql, *given))
    finally:
        await con.close()
