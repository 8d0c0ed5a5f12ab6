"""What came of it, seen from outside: topics, the services' HTTP, what stands in a table nobody lists, the mail sink's folder, logs
and metrics."""

import asyncio
import base64
import email
import email.policy
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.fleet import Fleet
from deploy.places import SERVICES
from deploy.soak.journal import Place
from deploy.soak.ledger import (
    Observed,
    SeenAnswer,
    SeenCell,
    SeenFact,
    SeenLetter,
    SeenMail,
    SeenParticipation,
    SeenReferral,
)
from deploy.soak.load import CANARY, PUBLISHERS
from deploy.soak.sending import FAMILIES, PARTITIONS

FACTS = [f"{family}.events" for family in ("intake", "referral", "attendance", "dropout", "notification")]
ANSWERS = [f"{family}.answers.{name}" for name in PUBLISHERS for family in FAMILIES[name]]
LETTERS = [f"{name}.dead-letters" for name in SERVICES]


def _forms(text: bytes) -> tuple[bytes, ...]:
    """How a text may stand in bytes: as it is, and in base64 wherever it begins in a group of three."""
    coded = [base64.b64encode(bytes(skip) + text) for skip in range(3)]
    ends = [(skip + len(text)) * 8 // 6 for skip in range(3)]  # beyond: bits of what follows
    return (text, *(code[-(-skip * 8 // 6) : end] for skip, code, end in zip(range(3), coded, ends, strict=True)))


CANARIES = _forms(CANARY.encode())


async def records_of(kafka: str, topics: Iterable[str]) -> list[Any]:
    """Every committed record of topics, from where they begin to where they end now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False,
                                auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20)  # fmt: skip
    await consumer.start()
    try:
        parts = [TopicPartition(topic, part) for topic in topics for part in range(PARTITIONS)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        await consumer.seek_to_beginning(*parts)
        found: list[Any] = []
        async with asyncio.timeout(240):
            while any([await consumer.position(part) < ends[part] for part in parts]):
                for got in (await consumer.getmany(timeout_ms=200, max_records=5000)).values():
                    found += got
        return found
    finally:
        await consumer.stop()


async def observe(fleet: Fleet) -> Observed:
    """Everything, at rest. Raises what Kafka, HTTP and Postgres raise."""
    seen = Observed()
    for record in await records_of(fleet.stack.kafka, FACTS):
        head, number = _headers(record), 0
        number = int(head.get("ce_streamversion", 0))
        _, family, type_, _ = head["ce_type"].split(".")
        seen.facts.append(SeenFact(Place(record.topic, record.partition, record.offset), head["ce_id"], type_, family,
                                   head["ce_subject"], head["ce_tenant"], number, head.get("ce_cause", ""), json.loads(record.value)))  # fmt: skip
        _leak(seen, f"a fact on {record.topic}", record)
    for record in await records_of(fleet.stack.kafka, ANSWERS):
        said, head = json.loads(record.value), _headers(record)
        family, _, publisher = record.topic.split(".")
        seen.answers.append(SeenAnswer(publisher, family, head["ce_id"], said["submission_id"], said["reference"], said["content"],
                                       said["outcome"], said.get("reason") or "", said.get("fact_id") or ""))  # fmt: skip
        _leak(seen, f"an answer on {record.topic}", record)
    for record in await records_of(fleet.stack.kafka, LETTERS):
        head = _headers(record)
        origin = Place(head["lotse_topic"], int(head["lotse_partition"]), int(head["lotse_offset"]))
        seal = hashlib.sha256(record.value or b"").hexdigest()
        seen.letters.append(SeenLetter(record.topic.split(".")[0], origin, head.get("lotse_reference", ""), seal))
        _leak(seen, f"a dead letter on {record.topic}", record)
    await _ask(fleet, seen)
    await _read(fleet, seen)
    for file in fleet.stack.mail_folder.glob("*.eml"):
        raw = file.read_bytes()
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        to = {str(one) for name in ("Delivered-To", "To") for one in mail.get_all(name, [])}
        seen.mails.append(SeenMail(str(mail["Message-ID"]).strip("<>").removesuffix("@lotse"), ", ".join(sorted(to))))
        if _named(raw):
            seen.leaks.append("a mail")
    seen.leaks += [f"the log {log.name}" for log in _logs(fleet.stack.folder) if _named(log.read_bytes())]
    seen.leaks = [f"{what} ({n} times)" for what, n in sorted(Counter(seen.leaks).items())]
    return seen


def _headers(record: Any) -> dict[str, str]:
    return {name: (raw or b"").decode("utf-8", "replace") for name, raw in record.headers}


def _leak(seen: Observed, what: str, record: Any) -> None:
    texts = [record.key or b"", *(raw or b"" for _, raw in record.headers), record.value or b""]
    if any(_named(text) for text in texts):
        seen.leaks.append(what)


def _named(raw: bytes) -> bool:
    return any(form in raw for form in CANARIES)


def _logs(folder: Path) -> list[Path]:
    """Those of the services, and of Kafka, Postgres and the mail server beside them."""
    places = (".", "services", "second", "kafka*", "postgres", "mail")
    return [log for place in places for log in folder.glob(f"{place}/*.log")]


async def _ask(fleet: Fleet, seen: Observed) -> None:
    async with httpx.AsyncClient(timeout=120) as client:

        async def get(service: str, path: str) -> Any:
            return (await client.get(f"{fleet.url(service)}{path}")).raise_for_status().json()

        for name in SERVICES:
            seen.status[name] = await asyncio.to_thread(fleet.status, name, 120)
            if CANARY in (await client.get(f"{fleet.url(name)}/metrics")).text + json.dumps(seen.status[name]):
                seen.leaks.append(f"metrics or status of {name}")
        seen.cases = [row["case_id"] for row in await get("intake", "/cases")]
        seen.risks = await get("referral", "/risks")
        seen.notices = await get("notification", "/notices")
        for release in await get("reporting", "/reports/participation"):
            seen.reports += [SeenCell(release["month"], *(cell[name] for name in SeenCell._fields[1:]))
                             for cell in release["body"]["cells"]]  # fmt: skip


@asynccontextmanager
async def session(fleet: Fleet, service: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's session on a service's database."""
    dsn = fleet.stack.admin_dsn.rpartition("/")[0]
    con = await asyncpg.connect(f"{dsn}/{service}", timeout=60, server_settings={"search_path": "lotse"})
    try:
        yield con
    finally:
        con.terminate()  # whatever was done to its server


async def _read(fleet: Fleet, seen: Observed) -> None:
    """What HTTP tells of one case at a time: asked so for each case of a night, after each row, it was a quarter of its work."""
    async with session(fleet, "referral") as con:
        board = await con.fetch("select case_id, referral_id, state, planned_start_on::text from referral_board")
        seen.referrals = [SeenReferral(*row) for row in board]
        found = await con.fetch("select case_id, participation_id, started_on::text, ended_before_on::text, dropped_out"
                                " from participation_list")  # fmt: skip
        seen.participations = [SeenParticipation(*row) for row in found]
