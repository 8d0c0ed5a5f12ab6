"""What an import asks before it sends, of a real Kafka: no service is needed for it."""

import asyncio
import csv
import json
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import NotLeaderForPartitionError

from contracts.topics import answers_topic, submissions_topic
from deploy.errors import PARTLY, REFUSED
from deploy.feeds.log import opened
from deploy.local.processes import child_environment
from deploy.local.stack import LocalStack
from deploy.places import EXAMPLES, ROOT
from deploy.services import make_topics, publishers_from
from services.process.connections import KafkaSecurity
from tests.forked import run
from tests.publishing import PATIENCE
from tests.system.in_one_house.test_rows_that_come_back import ROW

FAMILIES = ("intake", "referral", "attendance")
OTHER_WAYS = (
    str(uuid4()),
    "019aa0c4-5c7e-7c3a-8f00-1f2e3d4c5b6a",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "order-12345678-1234-8123-8123-1",
)
"""Ids of programs: random, of time, and their own."""


class Provider:
    """A publisher of its own on a Kafka without services, and `lotse import` for it: nobody answers, so nothing is waited for."""

    def __init__(self, kafka: str, folder: Path) -> None:
        self.kafka, self.folder, self.name = kafka, folder, f"provider-{uuid4().hex[:8]}"
        self.publishers, self.mapping, self.file = (
            folder / name for name in ("publishers.toml", "mapping.toml", "file.csv")
        )
        self.publishers.write_text(
            f'[publisher.{self.name}]\nsource = "urn:{self.name}"\ntenants = ["rkn"]\norganisations = ["ou-provider", "rkn-thm"]\n'
            f"families = {json.dumps(FAMILIES)}\n"
        )
        oulad = (EXAMPLES / "oulad" / "participations.toml").read_text()
        self.mapping.write_text(oulad.replace('publisher = "oulad"', f'publisher = "{self.name}"'))
        with self.file.open("w", newline="") as file:
            csv.writer(file).writerows([[*ROW], [*ROW.values()]])

    async def with_topics(self) -> "Provider":
        """Made, and seen: a broker shows what it has made a moment later."""
        await make_topics(self.kafka, publishers_from(self.publishers), local=True)
        topics = [topic(family, self.name) for family in FAMILIES for topic in (submissions_topic, answers_topic)]
        async with opened(self.kafka, KafkaSecurity(), "test") as log:
            while await log.missing(topics):
                pass
        return self

    def imports(self, state: str, *more: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and the account or what refused it."""
        env = child_environment(PYTHONPATH=str(ROOT), LOTSE_KAFKA=self.kafka, LOTSE_PUBLISHERS=str(self.publishers),
                                LOTSE_STATE=str(self.folder / state))  # fmt: skip
        words = (
            "participations",
            str(self.file),
            "--mapping",
            str(self.mapping),
            "--patience",
            "0.2",
            "--format",
            "json",
        )
        done = run("import", *words, *more, env=env, timeout=PATIENCE)
        said = json.loads(done.stdout)
        return done.returncode, said["data"] or said["errors"][0]

    async def is_answered(self, *ids: str, subject: str | None = None) -> None:
        """As a service writes it; the subject is an id of the same make, unless given."""
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            for id in ids:
                said = {"submission_id": id, "outcome": "recorded", "content": str(uuid4())}
                topic, key = answers_topic("referral", self.name), (subject or id).encode()
                await producer.send_and_wait(topic, json.dumps(said).encode(), key=key)

    async def sent(self) -> int:
        """How many submissions stand on its topics."""
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka) as consumer:
            ends = await consumer.end_offsets(
                [*self._parts(submissions_topic(family, self.name) for family in FAMILIES)]
            )
            return sum(ends.values())

    def _parts(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, part) for topic in topics for part in range(4)]

    async def lose_answers(self) -> None:
        """As when they have left their topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            all_ = RecordsToDelete(before_offset=-1)
            async with asyncio.timeout(PATIENCE):
                while True:  # until who leads them knows it
                    with suppress(NotLeaderForPartitionError):
                        await admin.delete_records(
                            dict.fromkeys(self._parts([answers_topic("referral", self.name)]), all_)
                        )
                        break
        finally:
            await admin.close()

    def remembered(self, state: str) -> str:
        """The id that a memory has sent first."""
        with closing(sqlite3.connect(self.folder / state / "import" / f"{self.name}.sqlite")) as db:
            return str(db.execute("select id from sent order by rowid").fetchone()[0])


@pytest.fixture
async def provider(prepared: LocalStack, tmp_path: Path) -> Provider:
    return await Provider(prepared.kafka, tmp_path).with_topics()


def test_topics_that_are_missing_are_named_at_once(prepared: LocalStack, tmp_path: Path) -> None:
    """Forty seconds without a word, and then it was Kafka that did not answer."""
    provider = Provider(prepared.kafka, tmp_path)
    code, said = provider.imports("state")
    assert (code, "not there" in said["message"]) == (REFUSED, True), said
    assert f"attendance.answers.{provider.name}" in said["message"] and "lotse topics" in said["hint"]


async def test_a_memory_that_was_left_behind_is_asked_for_and_nobody_becomes_a_second_case(provider: Provider) -> None:
    """The release beside the old one, or another machine: a whole folder that is elsewhere."""
    code, said = provider.imports("old")
    assert code == PARTLY, said
    await provider.is_answered(*OTHER_WAYS, provider.remembered("old"))
    before = await provider.sent()
    assert before > 0
    for _ in range(2):  # what was made for the first to be refused is no memory
        code, said = provider.imports("new")
        assert (code, "no import of" in said["message"], await provider.sent()) == (REFUSED, True, before), said
        assert "LOTSE_STATE" in said["hint"] and f"{provider.name}.sqlite" in said["hint"] and "--first" in said["hint"]
    memory = Path("import") / f"{provider.name}.sqlite"
    shutil.copy(provider.folder / "old" / memory, provider.folder / "new" / memory)
    assert provider.imports("new")[0] == PARTLY and provider.remembered("new") == provider.remembered("old")
    assert provider.imports("old")[0] == PARTLY  # where it is remembered nothing is asked


async def test_who_has_sent_by_another_way_is_imported_for_the_first_time(provider: Provider) -> None:
    await provider.is_answered(*OTHER_WAYS)
    await provider.is_answered("1a2b3c4d-1234-8123-8123-123456789abc", subject=str(uuid4()))  # by chance
    code, account = provider.imports("state")
    assert (code, account["unanswered"], await provider.sent()) == (PARTLY, 1, 1), account


async def test_where_answers_are_gone_somebody_must_say_that_it_is_a_first_import(provider: Provider) -> None:
    await provider.is_answered(*OTHER_WAYS)
    await provider.lose_answers()
    code, said = provider.imports("state")
    assert (code, "nobody can tell" in said["message"], await provider.sent()) == (REFUSED, True, 0), said
    assert provider.imports("state", "--first")[0] == PARTLY and await provider.sent() == 1
    assert provider.imports("state")[0] == PARTLY  # remembered now


async def test_a_publisher_that_is_none_here_is_told_where_to_stand_and_what_follows(provider: Provider) -> None:
    provider.mapping.write_text(provider.mapping.read_text().replace(provider.name, "somebody"))
    code, said = provider.imports("state")
    assert code == REFUSED and str(provider.publishers) in said["hint"] and "lotse topics" in said["hint"]
