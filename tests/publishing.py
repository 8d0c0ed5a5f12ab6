"""A publisher as any other: it keeps its own journal and sees only topics."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.attendance import AttendanceReported
from contracts.codes import DataCategory, Presence, ReferralAnswer
from contracts.envelope import Attributes, By, Submission, Tick, headers_of
from contracts.intake import ConsentGiven, RegistrationSubmitted
from contracts.referral import OfferRunSubmitted, ParticipationStartReported, ReferralAnswered, ReferralRequested
from contracts.topics import answers_topic, submissions_topic
from deploy.fleet import pause
from services.clock import publish
from services.process.connections import KafkaSecurity

SOURCE, NAME, TENANT = "https://kreis.example/lotse", "kreis", "rkn"
OWNER, PROVIDER = By(organisation_id="rkn-thm"), By(organisation_id="vhs-neuss")
FAMILIES = ("intake", "referral", "attendance")
PATIENCE = 300.0
"""Seconds until what should come counts as missing: one that is well comes within a second or ten, and nobody waits for it then."""
AT_ONCE = 200
"""Sends that wait at a time: aiokafka wakes each that waits for room at each batch, and five thousand took longer than a send may."""


class Publisher:
    """Sends, keeps a journal, and counts the answers to each id."""

    def __init__(self, kafka: str, security: KafkaSecurity = KafkaSecurity()) -> None:  # noqa: B008  # it can't be changed
        self.kafka: dict[str, Any] = {"bootstrap_servers": kafka} | security.aiokafka()
        self.journal: dict[str, str] = {}
        self.answers: dict[str, list[dict[str, Any]]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self.trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def __aenter__(self) -> "Publisher":
        limit = int(PATIENCE * 1000)
        self.producer = AIOKafkaProducer(enable_idempotence=True, request_timeout_ms=limit, **self.kafka)
        await self.producer.start()
        self.consumer = AIOKafkaConsumer(isolation_level="read_committed", **self.kafka)
        await self.consumer.start()
        parts = [TopicPartition(answers_topic(family, NAME), part) for family in FAMILIES for part in range(4)]
        self.consumer.assign(parts)
        await self.consumer.seek_to_beginning(*parts)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()
        await self.consumer.stop()

    async def send(self, submission: Submission, subject: str, **more: Any) -> str:
        """Sends one; `id`, `time`, `part`, `body`, `key`, `tenant`, `timestamp_ms` and more `headers` may be given."""
        id = more.get("id") or str(uuid4())
        attributes = Attributes(
            id=id,
            source=SOURCE,
            type=submission.ce_type,
            subject=subject,
            time=more.get("time") or datetime.now(UTC),
            tenant=more.get("tenant", TENANT),
            traceparent=self.trace,
        )
        self.journal.setdefault(id, submission.ce_type)
        async with self._room:
            await self.producer.send_and_wait(
                submissions_topic(submission.family, NAME),
                more.get("body", submission.to_json()),
                key=more.get("key", subject.encode()),
                partition=more.get("part"),
                timestamp_ms=more.get("timestamp_ms"),
                headers=[
                    *(h for h in headers_of(attributes) if h[0] not in dict(more.get("headers", ()))),
                    *more.get("headers", ()),
                ],
            )
        return id

    async def raw(self, family: str, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Sends bytes as they are."""
        await self.producer.send_and_wait(submissions_topic(family, NAME), value, headers=headers)

    async def read(self) -> None:
        """Reads what answers there are now."""
        got = await self.consumer.getmany(timeout_ms=100)
        for records in got.values():
            for record in records:
                answer = json.loads(record.value)
                self.answers.setdefault(answer["submission_id"], []).append(answer)

    async def answered(self, *ids: str, patience: float = PATIENCE) -> list[dict[str, Any]]:
        """Waits until each id has an answer; the first answer of each."""
        async with asyncio.timeout(patience):
            while not all(id in self.answers for id in ids):
                await self.read()
        return [self.answers[id][0] for id in ids]

    async def ask(self, submission: Submission, subject: str, **more: Any) -> dict[str, Any]:
        """Sends and waits for the answer."""
        return (await self.answered(await self.send(submission, subject, **more)))[0]

    async def tick(self, at: datetime) -> int:
        """Publishes a moment; its offset."""
        return await publish(self.producer, Tick(at=at))


async def until(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Waits for a fact, with a deadline. Who does not answer meanwhile, or says that one shall come again, is asked again; any other
    refusal is a fault, and is raised."""
    began, found = time.monotonic(), None
    async with asyncio.timeout(patience):
        while not found:
            try:
                found = await asyncio.to_thread(what)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise
            except (OSError, httpx.TransportError):
                pass
            await asyncio.sleep(0 if found else pause(began))
    return found


async def told_again(kafka: str, *topics: str, which: Callable[[Any], bool] = lambda _: True) -> int:
    """Every record of these topics (that is picked) once more, as it is, behind the others of its partition; how many."""
    parts = [TopicPartition(topic, part) for topic in topics for part in range(4)]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)  # which keeps their order
    sent = list[asyncio.Future[Any]]()
    async with consumer, producer:
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for part, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    if record.offset < ends[part] and which(record):
                        sent.append(await producer.send(part.topic, record.value, key=record.key, headers=list(record.headers),
                                                        partition=part.partition))  # fmt: skip
        await asyncio.gather(*sent)
    return len(sent)


class Course:
    """One person on the way into a course: the submissions, in order."""

    def __init__(self, start: date) -> None:
        self.case, self.run, self.consent, self.referral, self.participation = (str(uuid4()) for _ in range(5))
        self.start = start

    def steps(self) -> list[tuple[Submission, str]]:
        """Run, registration, consent, request, answer, start."""
        start, said = self.start, datetime.combine(self.start, datetime.min.time(), UTC)
        return [
            (
                OfferRunSubmitted(
                    by=PROVIDER, provider_organisation_id="vhs-neuss", block="F4", offer_type="LANGUAGE_COURSE",
                    starts_on=start, ends_before_on=start + timedelta(days=90), course_days=24,
                ),
                self.run,
            ),
            (
                RegistrationSubmitted(
                    by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
                ),
                self.case,
            ),
            (
                ConsentGiven(
                    by=OWNER, consent_id=self.consent, purpose="REFERRAL", categories=(DataCategory.LANGUAGE,),
                    recipients=("vhs-neuss",), valid_from_on=start - timedelta(days=60),
                    last_valid_on=start + timedelta(days=900),
                ),
                self.case,
            ),
            (
                ReferralRequested(
                    by=OWNER, referral_id=self.referral, run_id=self.run, consent_id=self.consent,
                    categories=(DataCategory.LANGUAGE,), requested_on=start - timedelta(days=10),
                ),
                self.case,
            ),
            (
                ReferralAnswered(
                    by=PROVIDER, referral_id=self.referral, answer=ReferralAnswer.ACCEPTED, answered_on=start
                ),
                self.case,
            ),
            (
                ParticipationStartReported(
                    by=PROVIDER, participation_id=self.participation, referral_id=self.referral,
                    started_on=start, revision=1, reported_at=said,
                ),
                self.case,
            ),
        ]  # fmt: skip

    def attendance(self, meeting: str, on: date, presence: Presence, revision: int = 1) -> AttendanceReported:
        """A report of one meeting."""
        said = datetime.combine(on, datetime.min.time(), UTC) + timedelta(hours=18)
        return AttendanceReported(
            by=PROVIDER, participation_id=self.participation, meeting_id=meeting, meeting_on=on, units_planned=4,
            units_attended=4 if presence is Presence.PRESENT else 0, presence=presence, revision=revision, reported_at=said,
        )  # fmt: skip


def outcomes(answers: list[dict[str, Any]]) -> Counter[str]:
    """How many of each outcome."""
    return Counter(answer["outcome"] for answer in answers)
