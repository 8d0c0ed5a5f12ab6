"""One person's way through four real services: from registration to mail and report, everything delivered twice."""

import asyncio
import base64
import email
import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from joserfc import jwe
from joserfc.jwk import ECKey

from contracts.codes import ExcuseReason, Presence
from contracts.envelope import By, Submission
from contracts.intake import RegistrationSubmitted
from contracts.topics import CLOCK, OWNERS, REPORT, answers_topic, facts_topic
from deploy.fleet import Fleet
from deploy.local.operations import PRIVATE
from deploy.places import SERVICES
from deploy.published.asyncapi import headers_schema
from tests.publishing import FAMILIES, NAME, PATIENCE, Course, Publisher, told_again, until


async def test_one_persons_way_from_registration_to_mail_and_report(fleet: Fleet) -> None:
    course, start = Course(date(2026, 3, 2)), date(2026, 3, 2)
    async with Publisher(fleet.stack.kafka) as sender:
        for submission, subject in course.steps():
            answer = await twice(sender, submission, subject)
            assert answer["outcome"] == "recorded", answer
        await ticks(sender, datetime(2026, 3, 10, 6, tzinfo=UTC))
        await acted(fleet, "2026-03-10")

        meetings = [str(uuid4()) for _ in range(3)]
        for n, (meeting, presence) in enumerate(
            zip(meetings, [Presence.PRESENT, Presence.UNEXCUSED, Presence.UNEXCUSED], strict=True)
        ):
            answer = await twice(
                sender, course.attendance(meeting, start + timedelta(days=2 * n), presence), course.case
            )
            assert answer["outcome"] == "recorded", answer
        (risk,) = await until(lambda: risks(fleet, course))
        assert (risk["rule"], risk["holds_from_on"], risk["open"]) == ("S2", "2026-03-06", True)

        await until(lambda: fleet.get("notification", "/notices"))
        await ticks(sender, datetime(2026, 3, 11, 6, tzinfo=UTC))
        mails = await until(lambda: list(fleet.stack.mail_folder.glob("*.eml")))
        mail = email.message_from_bytes(mails[0].read_bytes())
        payload = mail.get_payload(decode=True)
        text = payload.decode() if isinstance(payload, bytes) else ""
        assert len(mails) == 1 and mail["traceparent"] == sender.trace and course.case in text
        for never in ("F4", "LANGUAGE_COURSE", "vhs-neuss", "DULDUNG"):
            assert never not in text

        corrected = course.attendance(meetings[2], start + timedelta(days=4), Presence.PRESENT, revision=2)
        assert (await twice(sender, corrected, course.case))["outcome"] == "recorded"
        await until(lambda: not risks(fleet, course)[0]["open"])
        assert risks(fleet, course)[0]["holds_from_on"] is None

        stranger = corrected.model_copy(update={"by": By(organisation_id="caritas-rkn"), "revision": 3})
        assert (await twice(sender, stranger, course.case))["reason"] == "NOT_YOURS"
        early = course.attendance(meetings[0], start - timedelta(days=1), Presence.PRESENT, 2)
        assert (await twice(sender, early, course.case))["reason"] == "NOT_RUNNING"

        await ticks(sender, datetime(2026, 4, 2, 6, tzinfo=UTC))
        reports = await until(lambda: fleet.get("reporting", "/reports/participation"))
        cells = [cell for cell in reports[0]["body"]["cells"] if cell["municipality"] == "05162024"]
        assert reports[0]["month"] == "2026-03" and (cells[0]["entries"], cells[0]["stock"]) == (1, 1)
        assert (reports[0]["month"], reports[0]["vintage"]) == ("2026-03", 1)
        # the second mail tells that nobody came since: it is out before anything is told again
        await until(lambda: {"notification_attempted": 2, "notification_sent": 2}.items() <= told(fleet).items())
        before = await read_by_people(fleet, course)
        assert await told_again(fleet.stack.kafka, *map(facts_topic, OWNERS)) > 10
        last = await sender.tick(datetime(2026, 4, 2, 6, 1, tzinfo=UTC))  # acted on behind all of them
        await until(lambda: all(fleet.has_acted(name, last) for name in SERVICES))
        assert await read_by_people(fleet, course) == before
        await sender.ask(early, course.case)  # behind all that came twice, on its partition
        assert {id: len(sender.answers[id]) for id in sender.journal} == dict.fromkeys(sender.journal, 1)
        seen = await headers_are_as_documented(fleet)
        assert {"tick", "answer", "dropout_risk_raised", "notification_sent", "participation_report"} <= seen.keys()


async def twice(sender: Publisher, submission: Submission, subject: str) -> dict[str, Any]:
    """Delivered twice; its answer."""
    id = await sender.send(submission, subject)
    await sender.send(submission, subject, id=id)
    return (await sender.answered(id))[0]


async def read_by_people(fleet: Fleet, course: Course) -> dict[str, Any]:
    """What each service says of a case, its office, and the months."""
    pages = {"intake": f"cases/{course.case}", "referral": f"cases/{course.case}", "notification": "attempts",
             "reporting": "reports/participation"}  # fmt: skip
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        read = {name: (await client.get(f"{fleet.url(name)}/{page}")).json() for name, page in pages.items()}
        return read | {"notices": (await client.get(f"{fleet.url('notification')}/notices")).json()}


def told(fleet: Fleet) -> dict[str, int]:
    """Of the only office's mails: how many of each."""
    return {row["what"]: row["n"] for row in fleet.get("notification", "/attempts")}


async def ticks(sender: Publisher, at: datetime) -> None:
    """The same moment, told twice."""
    await sender.tick(at)
    await sender.tick(at)


async def test_a_health_reason_in_clear_is_not_taken_and_the_answer_says_what_is(fleet: Fleet) -> None:
    async with Publisher(fleet.stack.kafka) as sender:
        course = Course(date(2026, 3, 2))
        report = course.attendance(str(uuid4()), date(2026, 3, 4), Presence.EXCUSED)
        body = report.model_copy(update={"excuse_reason": ExcuseReason.PERSONAL}).to_json()
        answer = await sender.ask(report, course.case, body=body.replace(b'"PERSONAL"', b'"SICKNESS"'))
        assert (answer["outcome"], answer["pointer"], answer["again"]) == ("unreadable", "/excuse_reason", "mended")
        assert "One of PERSONAL, CARE," in answer["hint"] and "SICKNESS" not in json.dumps(answer)


async def test_bad_input_is_answered_and_what_follows_goes_on(fleet: Fleet) -> None:
    async with Publisher(fleet.stack.kafka) as sender:
        bad = f"bad-{uuid4()}"
        canary = b"Zainab-Canary"
        await sender.raw("intake", b"\xff" + canary, [("ce_id", bad.encode()), ("x-name", canary)])
        await sender.raw("intake", b"[", [("ce_id", b"\xff"), ("ce_type", b"\xfe")])
        await sender.raw("intake", b"{}", [])
        course = Course(date(2026, 3, 2))
        submission, subject = course.steps()[1]
        id = await sender.send(submission, subject)
        assert (await sender.answered(id))[0]["outcome"] == "recorded"
        assert (await sender.answered(bad))[0]["outcome"] == "unreadable"
        letter, origin = await dead_letter(fleet, bad.encode())  # untouched, and sealed: nobody but operations reads it
        assert letter == [[["ce_id", b64(bad.encode())], ["x-name", b64(canary)]], b64(b"\xff" + canary)]
        assert origin["lotse_topic"] == b"intake.submissions.kreis" and origin["lotse_verdict"] == b"header"
        assert canary not in b"".join(origin.values())
        reused = await sender.send(submission, subject, id=id, body=submission.to_json() + b" ")
        await sender.answered(await sender.send(*course.steps()[2]))
        async with Publisher(fleet.stack.kafka) as reader:
            await reader.answered(reused)
            await until_read(reader, reused, 2)
            assert [a.get("reason") for a in reader.answers[reused]] == [None, "ID_REUSED"]
        foreign = await sender.ask(submission, str(uuid4()), tenant="elsewhere")
        assert foreign["reason"] == "NOT_YOURS"
        assert isinstance(submission, RegistrationSubmitted)
        rule = submission.model_copy(update={"by": submission.by.model_copy(update={"kind": "rule"})})
        moved = submission.model_copy(update={"municipality": "05313000"})
        answers = [await sender.ask(one, str(uuid4())) for one in (rule, moved)]
        assert [(no["reason"], no["pointer"]) for no in answers] == [
            ("NOT_YOURS", "/by/kind"), ("CODE_NOT_VALID", "/municipality")]  # fmt: skip
        assert answers[1]["hint"].endswith("use 05334002.") and answers[1]["again"] == "mended"
        logs = b"".join(process.log.read_bytes() for process in fleet.processes.values() if process.log.exists())
        said = b"".join([await page(f"{fleet.url('intake')}/{name}") for name in ("metrics", "status")])
        assert canary not in logs + said and b"lotse_answers" in said


async def dead_letter(fleet: Fleet, id: bytes) -> tuple[Any, dict[str, bytes]]:
    """The dead letter that holds these bytes, opened with the operations' private key, and its headers."""
    key = ECKey.import_key(json.loads((fleet.stack.folder / PRIVATE).read_text()))
    parts = [TopicPartition("intake.dead-letters", part) for part in range(4)]
    async with AIOKafkaConsumer(bootstrap_servers=fleet.stack.kafka, isolation_level="read_committed") as consumer:
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        async with asyncio.timeout(PATIENCE):
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        opened = json.loads(jwe.decrypt_compact(record.value, key).plaintext or b"")
                        if any(value == b64(id) for _, value in opened[0]):
                            return opened, dict(record.headers)


def b64(text: bytes) -> str:
    """Bytes as a dead letter's JSON holds them."""
    return base64.b64encode(text).decode()


async def page(url: str) -> bytes:
    """A page as bytes."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return (await client.get(url)).content


async def until_read(reader: Publisher, id: str, count: int) -> None:
    """Reads until an id has so many answers."""
    async with asyncio.timeout(PATIENCE):
        while len(reader.answers.get(id, [])) < count:
            await reader.read()


async def test_what_comes_before_what_it_rests_on_waits_and_is_answered(fleet: Fleet) -> None:
    async with Publisher(fleet.stack.kafka) as sender:
        course = Course(date(2026, 3, 2))
        ids = [
            await sender.send(submission, subject)
            for submission, subject in [*reversed(course.steps()[:4]), *course.steps()[4:]]
        ]
        answers = await sender.answered(*ids)
        assert [answer["outcome"] for answer in answers] == ["recorded"] * 6
        statuses = [fleet.status(name) for name in SERVICES]
        assert [status["waiting"] for status in statuses] == [0, 0, 0, 0]


async def test_a_case_whose_id_a_run_has_goes_on_and_is_numbered_behind_it(fleet: Fleet) -> None:
    """Every subscriber hears 1, 2, 3 of the one subject; what is rebuilt behind this (test_split_brain.py) is equal."""
    async with Publisher(fleet.stack.kafka) as sender:
        course = Course(date(2026, 3, 2))
        run, _ = course.steps()[0]
        for submission, subject in ((run, course.case), *course.steps()):
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        await until(lambda: fleet.status("reporting")["lag"] == fleet.status("notification")["lag"] == {})
        assert [fleet.status(name)["early"] for name in SERVICES] == [0, 0, 0, 0]
    facts = (await asyncio.to_thread(fleet.get, "referral", f"/cases/{course.case}"))["timeline"]
    numbers = [fact["number"] for fact in facts if fact["family"] == "referral"]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) == 4


async def headers_are_as_documented(fleet: Fleet) -> Counter[str]:
    """Holds the headers of all that stands on the topics by now, whoever wrote it, against the AsyncAPI document; counts
    types."""
    seen: Counter[str] = Counter()
    async with AIOKafkaConsumer(bootstrap_servers=fleet.stack.kafka, isolation_level="read_committed") as consumer:
        topics = [REPORT, *map(facts_topic, OWNERS), *(answers_topic(family, NAME) for family in FAMILIES)]
        parts = [TopicPartition(CLOCK, 0), *(TopicPartition(topic, part) for topic in topics for part in range(4))]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        left = {part: end for part, end in (await consumer.end_offsets(parts)).items() if end}
        async with asyncio.timeout(PATIENCE):
            while left:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        headers = {name: value.decode() for name, value in record.headers}
                        said = headers_schema(headers["ce_type"])
                        assert set(said["required"]) <= headers.keys() <= said["properties"].keys(), headers["ce_type"]
                        for name, value in headers.items():
                            assert re.fullmatch(said["properties"][name].get("pattern", ".*"), value), name
                        seen[headers["ce_type"].split(".")[2]] += 1
                left = {part: end for part, end in left.items() if await consumer.position(part) < end}
    return seen


async def acted(fleet: Fleet, day: str) -> None:
    """Waits until each service that knows the alliance has acted on the tick of a day."""

    def done() -> bool:
        return all(
            str(fleet.status(name).get("acted", {}).get("rkn")).startswith(day) for name in ("intake", "referral")
        )

    await until(done)


def risks(fleet: Fleet, course: Course) -> list[dict[str, object]]:
    """Rows of risk_list about a course's participation."""
    rows: list[dict[str, object]] = fleet.get("referral", f"/cases/{course.case}")["risk_list"]
    return [row for row in rows if row["about"] == course.participation]
