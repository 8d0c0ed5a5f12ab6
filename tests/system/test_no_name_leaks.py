"""Canaries: a name that somebody puts wherever bytes can stand comes out nowhere, whatever becomes of the message."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import accumulate
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.attendance import AttendanceReported
from contracts.codes import Presence
from contracts.envelope import Attributes, headers_of
from contracts.topics import submissions_topic
from deploy.fleet import Fleet
from deploy.local.operations import PRIVATE
from deploy.places import SERVICES
from deploy.soak.collector import collecting
from tests.conftest import four_services, new_stack
from tests.publishing import PATIENCE, SOURCE, TENANT, Course, Publisher, until

DAY = date(2026, 3, 2)
NAME = "Zainab-Kanarienvogel"
OURS = ("intake.events", "referral.events", "attendance.events", "dropout.events", "notification.events", "intake.dead-letters",
        "referral.dead-letters", "notification.dead-letters", "reporting.dead-letters", "report.participation.internal",
        "intake.answers.kreis", "referral.answers.kreis", "attendance.answers.kreis")  # fmt: skip


@pytest.fixture(scope="module")
def house() -> Iterator[Fleet]:
    """A house whose rules break at one submission, and which a flood may fill."""
    with new_stack() as stack, four_services(stack) as fleet:
        yield fleet


async def anew(house: Fleet, name: str, **more: str) -> None:
    """Stops a service and starts it anew, with these settings."""
    await asyncio.to_thread(house.processes[name].stop)  # beside the loop: who is told of spans answers in it
    house.start_one(name, **more)
    await asyncio.to_thread(house.wait_ready, name)


def named(body: bytes) -> bytes:
    """A body with a member nobody asked for."""
    return json.dumps(json.loads(body) | {"given_name": NAME, NAME: {"née": NAME}}).encode()


async def everything_said(house: Fleet) -> dict[str, bytes]:
    """All that leaves a service: logs, figures, status, what is kept, its pages of errors, and every topic we write."""
    said = {f"log {log.name}": log.read_bytes() for log in (house.stack.folder / "services").glob("*.log")}
    async with httpx.AsyncClient(timeout=30) as client:
        for service in SERVICES:
            for page in ("metrics", "status", "kept", f"cases/{NAME}", f"cases/{uuid4()}?{NAME}={NAME}", f"{NAME}"):
                said[f"{service} /{page}"] = (await client.get(f"{house.url(service)}/{page}")).content
            for one in json.loads(said[f"{service} /kept"]):
                said[f"{service} /kept/{one['seq']}"] = (
                    await client.get(f"{house.url(service)}/kept/{one['seq']}")
                ).content
            wrong = {"seqs": [NAME], "who": NAME * 9, "why": "x"}
            said[f"{service} operate"] = (await client.post(f"{house.url(service)}/operate/replay", json=wrong)).content
    consumer = AIOKafkaConsumer(bootstrap_servers=house.stack.kafka, isolation_level="read_committed")
    await consumer.start()
    try:
        parts = [TopicPartition(topic, part) for topic in OURS for part in range(4)]
        parts = [tp for tp in parts if tp.topic != "clock.ticks"]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends = await consumer.end_offsets(parts)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=300)).items():
                for record in records:
                    texts = [record.key or b"", record.value or b"", *(text or b"" for _, text in record.headers)]
                    said[tp.topic] = said.get(tp.topic, b"") + b"\n".join(texts)
    finally:
        await consumer.stop()
    return said


async def test_a_name_comes_out_nowhere_whatever_becomes_of_the_message(house: Fleet) -> None:
    """Accepted, waiting, refused, reused, foreign, unreadable in six ways, set aside, and a fact that breaks a service."""
    course = Course(DAY)
    run, register, consent, refer, answer, start = course.steps()
    trace = f"00-{NAME}"
    async with (
        collecting() as collector,
        Publisher(house.stack.kafka) as sender,
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer,
    ):
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "500"}  # ms
        for name in SERVICES:
            await anew(house, name, **traced)
        sender.trace = trace
        for submission, subject in (run, register, consent, refer, answer, start):
            assert (await sender.ask(submission, subject, body=named(submission.to_json())))["outcome"] == "recorded"
        late = course.attendance("7b5c8d3e-6b0a-4c55-9a43-0d6f6a1f0c11", DAY, Presence.PRESENT)
        again = await sender.send(late, course.case, body=named(late.to_json()))
        await sender.answered(again)
        await sender.send(late, course.case, id=again, body=named(late.to_json()) + b" ")  # reused
        before = course.attendance(str(uuid4()), date(2025, 3, 2), Presence.PRESENT)
        assert (await sender.ask(before, course.case, body=named(before.to_json())))["outcome"] == "refused"
        foreign = await sender.ask(late, course.case, tenant="elsewhere", body=named(late.to_json()))
        assert foreign["reason"] == "NOT_YOURS"
        unknown = Course(DAY)
        waits, case = unknown.steps()[3]
        await sender.send(waits, case, id=f"{NAME}-waits", body=named(waits.to_json()))
        unreadable = [
            (NAME.encode(), {}), (b'{"name": "' + NAME.encode() + b'"}', {}), (b"\xff" + NAME.encode(), {}),
            (late.to_json(), {"ce_type": NAME}), (late.to_json(), {"ce_subject": NAME}),
            (late.to_json().replace(b'"PRESENT"', json.dumps(NAME).encode()), {}),
            (late.to_json(), {"ce_time": NAME}), (late.to_json(), {"ce_source": NAME}), (late.to_json(), {NAME: NAME}),
        ]  # fmt: skip
        for n, (value, wrong) in enumerate(unreadable):
            id = f"{NAME}-{n}"  # which comes back in its own answer, and nowhere else
            right = Attributes(id, SOURCE, late.ce_type, course.case, datetime.now(UTC), TENANT)
            headers = dict(headers_of(right)) | {key: text.encode() for key, text in wrong.items()}
            await sender.raw("attendance", value, [*headers.items(), ("x-who", NAME.encode())])
            assert (await sender.answered(id))[0]["outcome"] == ("unreadable" if NAME not in wrong else "unchanged")
        await anew(house, "referral", LOTSE_FAILPOINT="decide:raise:1", **traced)
        await sender.send(*Course(DAY).steps()[0], id=f"{NAME}-aside", body=named(Course(DAY).steps()[0][0].to_json()))
        await until(lambda: house.status("referral")["set_aside"]["count"])
        forged = Attributes(id=str(uuid4()), source="//lotse/local/intake", type="lotse.intake.case_opened.v1", subject=str(uuid4()),
                            time=datetime.now(UTC), tenant="rkn", streamversion=1, recordedtime=datetime.now(UTC))  # fmt: skip
        await producer.send_and_wait(
            "intake.events", named(b"{}"), key=NAME.encode(), headers=[*headers_of(forged), ("x-who", NAME.encode())]
        )
        await until(lambda: house.status("referral")["quarantined"])
        tick = await sender.tick(datetime(2026, 3, 20, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("intake", tick))
        said = await everything_said(house)
        await anew(house, "referral")  # its end says what it has not said yet
        await until(lambda: b"intake" in collector.said)
        said["spans"] = bytes(collector.said)
    # what we forged ourselves stands on the facts' topic, and on no other
    said["intake.events"] = (
        said["intake.events"].replace(NAME.encode() + b"\n" + named(b"{}"), b"").replace(NAME.encode(), b"", 1)
    )
    answers, own = "attendance.answers.kreis", b'"submission_id":"' + NAME.encode()
    assert said[answers].count(own) == len(unreadable)
    said[answers] = said[answers].replace(own, b"")
    assert [where for where, text in said.items() if NAME.encode() in text] == []
    assert any("/kept/" in page for page in said)
    assert b"referral" in said["spans"]
    assert all(said[topic] for topic in ("intake.events", "referral.events", "referral.dead-letters"))  # we did look
    assert (house.stack.folder / PRIVATE).stat().st_mode & 0o077 == 0


async def test_what_wakes_at_once_is_bounded_by_its_bytes(house: Fleet) -> None:
    """16 MiB of a publisher's wait, headers and bodies, in the order in which they came; when what they rest on comes, all are
    judged at once."""
    await anew(house, "referral")
    course, meeting, before = Course(DAY), str(uuid4()), house.status("referral")["waiting"]
    reports = [course.attendance(meeting, DAY, Presence.PRESENT, revision) for revision in range(1, 151)]
    said = [Attributes(str(uuid4()), SOURCE, AttendanceReported.ce_type, course.case, datetime.now(UTC), TENANT)
            for _ in reports]  # fmt: skip
    ids, stuffing = [one.id for one in said], "x" * 120 * 1024
    # every other one carries it in a header that is read, and says nothing there: it is kept as it came
    headers = [
        [*headers_of(one), *([("traceparent", stuffing.encode())] if n % 2 else [])] for n, one in enumerate(said)
    ]
    bodies = [json.dumps(json.loads(report.to_json()) | ({} if n % 2 else {"more": stuffing})).encode()
              for n, report in enumerate(reports)]  # fmt: skip
    sizes = [len(msgspec.msgpack.encode(found)) + len(body) for found, body in zip(headers, bodies, strict=True)]
    fitting = sum(so_far <= 16 * 1024 * 1024 for so_far in accumulate(sizes))
    async with (
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer, Publisher(house.stack.kafka) as sender
    ):  # fmt: skip
        for found, body in zip(headers, bodies, strict=True):
            more = [*found, ("ce_more", NAME.encode() * 100)]  # what nobody reads is not kept
            await producer.send(submissions_topic("attendance", "kreis"), body, headers=more, partition=0)
        await producer.flush()

        async def answers(of: list[str]) -> set[tuple[str, str | None]]:
            while not all(id in sender.answers for id in of):
                await sender.read()
            return {(answer["outcome"], answer.get("reason")) for id in of for answer in sender.answers[id]}

        async with asyncio.timeout(PATIENCE):
            assert await answers(ids[fitting:]) == {("refused", "TOO_MANY_WAITING")}
            assert house.status("referral")["waiting"] == before + fitting
            assert not sender.answers.keys() & set(ids[:fitting])
            con = await asyncpg.connect(house.stack.databases["referral"].runtime)
            kept = await con.fetch("select headers from lotse.kept where why = 'waiting' and subject = $1", course.case)
            await con.close()
            assert len(kept) == fitting and not any(NAME.encode() in row["headers"] for row in kept)
            for step in course.steps():
                assert (await sender.ask(*step))["outcome"] == "recorded"
            assert await answers(ids[:fitting]) == {("recorded", None)}
        assert house.status("referral")["waiting"] == before


async def test_a_publisher_with_ten_thousand_that_wait_is_refused_more_and_nobody_else(house: Fleet) -> None:
    """A flood of things that rest on nothing must not fill the disk, and says so to who sends it."""
    await anew(house, "referral")
    body = Course(DAY).attendance(str(uuid4()), DAY, Presence.PRESENT).to_json()
    topic, before = submissions_topic("attendance", "kreis"), house.status("referral")["waiting"]
    report = AttendanceReported.from_json(body)
    async with (
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka, linger_ms=20) as producer,
        Publisher(house.stack.kafka) as sender,
    ):

        async def send(source: str, to: str, value: bytes) -> str:
            attributes = Attributes(str(uuid4()), source, report.ce_type, str(uuid4()), datetime.now(UTC), TENANT)
            await producer.send(to, value, headers=headers_of(attributes), partition=0)
            return attributes.id

        ids = [await send(SOURCE, topic, body) for _ in range(10_007 - before)]
        await producer.flush()
        await until(lambda: house.status("referral")["waiting"] == 10_000)
        other = json.dumps(json.loads(body) | {"by": {"organisation_id": "ou-provider"}}).encode()
        await send("oulad", submissions_topic("attendance", "oulad"), other)
        await producer.flush()
        await until(lambda: house.status("referral")["waiting"] == 10_001)  # nobody else is refused
        async with asyncio.timeout(PATIENCE):
            while len(refused := [a for id in ids for a in sender.answers.get(id, ())]) < 7:
                await sender.read()
        assert [(a["outcome"], a["reason"], a["again"]) for a in refused] == [
            ("refused", "TOO_MANY_WAITING", "later")
        ] * 7
        assert {a["submission_id"] for a in refused} == set(ids[-7:])  # first come, first kept
        assert (await sender.ask(*Course(DAY).steps()[0]))["outcome"] == "recorded"  # what rests on nothing goes on
