"""What stands still on purpose, and the operator's way out of each: quarantine, a publisher's limit, a log that was set back."""

import asyncio
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import itemgetter
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from contracts.codes import Presence
from contracts.envelope import Attributes, headers_of
from contracts.intake import NeedRecorded, NeedReported
from contracts.topics import REPORT, submissions_topic
from deploy.fleet import Fleet
from deploy.local.operations import PRIVATE
from deploy.local.stack import LocalStack
from deploy.places import SERVICES
from deploy.services import make_topics, publishers_from
from deploy.soak.night import in_one_hour
from tests.conftest import four_services, new_stack
from tests.forked import run
from tests.publishing import NAME, OWNER, PATIENCE, SOURCE, Course, Publisher, until
from tests.typing_commands import typed

DAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def house() -> Iterator[Fleet]:
    """A stack of its own: what is done to it here is nobody else's."""
    with new_stack() as stack, four_services(stack) as fleet:
        yield fleet


async def again(house: Fleet, name: str, **more: str) -> None:
    """Stops a service and starts it anew, with these settings."""
    house.processes[name].stop()
    house.start_one(name, **more)
    await asyncio.to_thread(house.wait_ready, name)


async def test_a_fact_that_breaks_a_service_puts_its_subject_aside_until_the_service_is_mended(house: Fleet) -> None:
    """Also from what waits: a submission that has claimed its id keeps it, and is answered after the release, once."""
    course = Course(DAY)
    run, register, consent, refer, *_ = course.steps()
    need = NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    async with Publisher(house.stack.kafka) as sender:
        for submission in (register, consent):
            assert (await sender.ask(*submission))["outcome"] == "recorded"
        waits = await sender.send(*refer)  # on the run
        await until(lambda: house.status("referral")["waiting"] == 1 and house.status("referral")["lag"] == {})
        await again(house, "referral", LOTSE_FAILPOINT="evolve:raise:1")
        assert (await sender.ask(need, course.case))["outcome"] == "recorded"  # intake is another's house
        (quarantined,) = await until(lambda: house.status("referral")["quarantined"])
        assert (quarantined["subject"], quarantined["why"]) == (course.case, "Broken")
        kept = await asyncio.to_thread(house.get, "referral", "/kept")
        replay = ["dead-letters", "replay", "referral", str(kept[0]["seq"]), "--why", "mended", "--format", "json"]
        code, said = await typed(house, "referral", *replay)
        (wrong,) = json.loads(said)["errors"]
        assert code == 2 and f"`lotse release referral {course.case} --why REASON`" in wrong["hint"]
        release = ["release", "referral", course.case, "--why", "not mended", "--format", "json"]
        hers = ["--without", str(kept[0]["seq"])]  # her need is true
        for more, why, hint in (([], "Broken", "mend the cause"), (hers, "NoFork", "only a fork's second fact")):
            for dry in (["--dry-run"], []):
                code, said = await typed(house, "referral", *release, *more, *dry)
                (wrong,) = json.loads(said)["errors"]
                assert code == 4 and f"still in quarantine: {why};" in wrong["message"] and hint in wrong["hint"]
        await again(house, "referral")
        assert (await sender.ask(*run))["outcome"] == "recorded"  # it wakes the request, whose case is not whole yet
        tick = await sender.tick(datetime(2026, 3, 20, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        assert waits not in sender.answers and house.status("referral")["waiting"] == 1
        code, said = await typed(house, "referral", "release", "referral", course.case, "--why", "mended")
        assert code == 0 and said.endswith("messages taken up\n")
        assert (await sender.answered(waits))[0]["outcome"] == "recorded"
        said_now = house.status("referral")
        assert said_now["quarantined"] == [] and said_now["waiting"] == 0
        await sender.read()
        assert len(sender.answers[waits]) == 1


async def test_a_rule_that_breaks_at_a_tick_stops_its_subjects_and_neither_time_nor_the_service(house: Fleet) -> None:
    courses = [Course(date(2026, 4, 6)), Course(date(2026, 4, 6))]  # time has not come there in any test before
    async with Publisher(house.stack.kafka) as sender:
        for course in courses:
            for submission, subject in course.steps()[:5]:  # accepted, and nobody starts
                assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        await until(lambda: house.status("referral")["lag"] == {})
        await again(house, "referral", LOTSE_FAILPOINT="evolve:raise:1")
        tick = await sender.tick(datetime(2026, 4, 22, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        cases = {course.case for course in courses}
        assert {(one["subject"], one["kept"]) for one in house.status("referral")["quarantined"]} == {
            (c, 0) for c in cases
        }
        for dry in (["--dry-run"], []):  # it is not mended yet
            assert (await typed(house, "referral", "release", "referral", courses[0].case, "--why", "tried", *dry))[
                0
            ] == 4
        assert {one["subject"] for one in house.status("referral")["quarantined"]} == cases
        await again(house, "referral")
        for case in cases:
            assert (await typed(house, "referral", "release", "referral", case, "--why", "mended"))[0] == 0
        tick = await sender.tick(datetime(2026, 4, 23, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        for case in cases:
            (risk,) = (await asyncio.to_thread(house.get, "referral", f"/cases/{case}"))["risk_list"]
            assert (risk["rule"], risk["raised"], risk["open"]) == ("S6", 1, True)


async def test_what_waited_and_breaks_is_set_aside_and_hurts_nothing_that_woke_it(house: Fleet) -> None:
    course = Course(DAY)
    run, register, consent, refer, *_ = course.steps()
    async with Publisher(house.stack.kafka) as sender:
        for submission in (register, consent):
            assert (await sender.ask(*submission))["outcome"] == "recorded"
        waits = await sender.send(*refer)
        await until(lambda: house.status("referral")["waiting"] == 1)
        await again(house, "referral", LOTSE_FAILPOINT="decide:raise:2")  # the run is decided, then the request breaks
        assert (await sender.ask(*run))["outcome"] == "recorded"
        await until(lambda: house.status("referral")["set_aside"]["count"] == 1)
        await again(house, "referral")
        assert (await sender.answered(waits))[0]["outcome"] == "recorded"
        assert house.status("referral")["set_aside"]["count"] == 0 and house.status("referral")["waiting"] == 0


async def test_what_waited_and_breaks_where_its_fact_is_folded_hurts_neither_who_woke_it_nor_who_waited_beside_it(
    house: Fleet,
) -> None:
    """By then states have changed: the transaction begins again without it."""
    first, second = Course(DAY), Course(DAY)
    second.run = first.run
    run = first.steps()[0]
    async with Publisher(house.stack.kafka) as sender:
        waiting = []
        for course in (first, second):
            _, register, consent, refer, *_ = course.steps()
            for submission in (register, consent):
                assert (await sender.ask(*submission))["outcome"] == "recorded"
            waiting.append(await sender.send(*refer))
        await until(lambda: house.status("referral")["waiting"] == 2 and house.status("referral")["lag"] == {})
        await again(
            house, "referral", LOTSE_FAILPOINT="evolve:once:2"
        )  # the run is folded, then the first referral breaks
        assert (await sender.ask(*run))["outcome"] == "recorded"
        assert (await sender.answered(waiting[1]))[0]["outcome"] == "recorded"
        said = house.status("referral")
        assert (said["set_aside"]["count"], said["waiting"], said["quarantined"]) == (1, 0, [])
        await again(house, "referral")
        assert (await sender.answered(waiting[0]))[0]["outcome"] == "recorded"
        assert house.status("referral")["set_aside"]["count"] == 0
        assert len(sender.answers[waiting[1]]) == 1


async def test_one_publishers_flood_of_unreadable_messages_stops_it_alone_until_the_next_hour(house: Fleet) -> None:
    await in_one_hour()
    topic = submissions_topic("attendance", "oulad")
    async with (
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer,
        Publisher(house.stack.kafka) as sender,
    ):
        await asyncio.gather(*[await producer.send(topic, b"\xff", partition=0) for _ in range(1300)])
        await until(lambda: [h["what"] for h in house.status("referral")["held"]] == ["publisher:oulad"])
        letters = sum(row["letters"] for row in house.status("referral")["dead_letters"])
        assert letters == 1000
        for submission, subject in Course(DAY).steps():
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"  # nobody else is stopped
        tick = await sender.tick(datetime(2026, 4, 24, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))  # nor time
        con = await asyncpg.connect(house.stack.databases["referral"].runtime, server_settings={"search_path": "lotse"})
        await con.execute("update dead_letter set hour = hour - interval '1 hour'")  # the next hour
        await con.close()
        await until(lambda: house.status("referral")["held"] == [])
        assert sum(row["letters"] for row in house.status("referral")["dead_letters"]) == 1300


async def test_the_shape_of_a_dead_letter_is_shown_and_never_a_value(house: Fleet) -> None:
    async with Publisher(house.stack.kafka) as sender:
        body = {"by": {"organisation_id": "rkn-thm"}, "Zainab": "Canary", "municipality": 5}
        id, subject = f"bad-{uuid4()}", str(uuid4())
        headers = {"ce_specversion": "1.0", "ce_id": id, "ce_source": SOURCE, "ce_subject": subject, "ce_tenant": "rkn",
                   "ce_type": "lotse.intake.registration_submitted.v1", "ce_time": "2026-03-02T08:00:00Z", "x-zainab": "Canary"}  # fmt: skip
        await sender.raw("intake", json.dumps(body).encode(), [(name, text.encode()) for name, text in headers.items()])
        assert (await sender.answered(id))[0]["outcome"] == "unreadable"
    await until(lambda: house.status("intake")["outbox"]["rows"] == 0)
    _, listed = await typed(house, "intake", "dead-letters", "list", "intake", "--format", "json")
    (letter,) = [row["id"] for row in json.loads(listed)["data"] if "/municipality" in row["error"]]
    key = str(house.stack.folder / PRIVATE)
    code, said = await typed(house, None, "dead-letters", "show", "intake", letter, "--key", key, "--format", "json")
    shown = json.loads(said)["data"]
    assert code == 0 and "anary" not in said and "ainab" not in said and "rkn-thm" not in said
    assert shown["body"] == {
        "by": {"organisation_id": "str of 7"},
        "(unknown name of 6)": "str of 6",
        "municipality": "int",
    }
    assert "(foreign): 6 bytes" in shown["headers"] and shown["pointer"] == "/municipality"


async def test_spans_link_what_was_sent_to_what_was_done_and_a_collector_that_is_gone_blocks_nothing(
    house: Fleet,
) -> None:
    got: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        for name in ("referral", "notification"):
            await again(house, name, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="200")
        async with Publisher(house.stack.kafka) as sender:
            run, subject = Course(DAY).steps()[0]
            assert (await sender.ask(run, subject))["outcome"] == "recorded"
            trace = bytes.fromhex(sender.trace.split("-")[1])

            def spans() -> list[Any]:
                return [span for body in got for resource in ExportTraceServiceRequest.FromString(body).resource_spans
                        for scope in resource.scope_spans for span in scope.spans]  # fmt: skip

            await until(lambda: any(link.trace_id == trace for span in spans() for link in span.links))
            tick = await sender.tick(datetime(2026, 4, 24, 7, tzinfo=UTC))
            await until(lambda: house.has_acted("referral", tick))
            course = Course(date(2026, 4, 20))  # by the time of this house somebody is told of her
            for submission, about in course.steps():
                assert (await sender.ask(submission, about))["outcome"] == "recorded"
            for day in (20, 22):
                report = course.attendance(str(uuid4()), date(2026, 4, day), Presence.UNEXCUSED)
                assert (await sender.ask(report, course.case))["outcome"] == "recorded"
            await until(lambda: course.case in str(house.get("notification", "/notices")))
            await sender.tick(datetime(2026, 4, 24, 8, tzinfo=UTC))
            await until(lambda: any(span.name == "send mail" and span.trace_id == trace for span in spans()))
            for id in (subject, course.case):
                assert id.encode() not in b"".join(got)  # places and counts, no value of a message
            server.shutdown()
            server.server_close()
            run, subject = Course(DAY).steps()[0]
            assert (await sender.ask(run, subject))["outcome"] == "recorded"
    finally:
        server.shutdown()
        for name in ("referral", "notification"):
            await again(house, name)


async def rebuilt(house: Fleet, name: str, *words: str, **more: str) -> tuple[int, dict[str, Any]]:
    """`lotse rebuild NAME WORDS`: its exit code, and what it says."""
    words = ("rebuild", name, *words, "--format", "json")
    done = await asyncio.to_thread(run, *words, env=house.environment(name, **more))
    return done.returncode, json.loads(done.stdout)["data"] if done.stdout else {}


EQUAL = {"compared": True, "differences": [], "swept": 0}


async def test_a_rebuild_does_not_call_what_a_service_has_not_read_yet_a_difference(house: Fleet) -> None:
    """It is stopped and a fact of another's comes; killed between the swap and its end, a rebuild is in nobody's way."""
    course = Course(DAY)
    run, register, *more = course.steps()
    house.processes["referral"].stop()
    try:
        async with Publisher(house.stack.kafka) as sender:
            assert (await sender.ask(*register))["outcome"] == "recorded"
            await until(lambda: house.status("intake")["outbox"]["rows"] == 0)
        code, said = await rebuilt(house, "referral")
        assert code == 0 and EQUAL.items() <= said.items(), said
        assert (await rebuilt(house, "referral", LOTSE_FAILPOINT="after_swap:kill"))[0] == -signal.SIGKILL
        code, said = await rebuilt(house, "referral")
        assert code == 0 and EQUAL.items() <= said.items(), said
    finally:
        await again(house, "referral")
    async with Publisher(house.stack.kafka) as sender:
        for step in (run, *more):
            assert (await sender.ask(*step))["outcome"] == "recorded"


async def test_a_rebuild_leaves_a_subject_in_quarantine_to_its_release(house: Fleet) -> None:
    """The code that rebuilds is mended and could apply what the service keeps: that is no difference, and not lost."""
    course = Course(DAY)
    needs = [NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK") for _ in range(2)]
    async with Publisher(house.stack.kafka) as sender:
        assert (await sender.ask(*course.steps()[1]))["outcome"] == "recorded"
        await until(lambda: house.status("referral")["lag"] == {})
        await again(house, "referral", LOTSE_FAILPOINT="evolve:raise:1")
        for need in needs:
            assert (await sender.ask(need, course.case))["outcome"] == "recorded"
        await until(lambda: [one["kept"] for one in house.status("referral")["quarantined"]] == [2])
        await again(house, "referral")
        for more in (["--dry-run"], []):
            code, said = await rebuilt(house, "referral", *more)
            assert code == 0 and EQUAL.items() <= said.items(), said
            assert [one["kept"] for one in house.status("referral")["quarantined"]] == [2]
        release = ["release", "referral", course.case, "--why", "mended"]
        assert await typed(house, "referral", *release, "--dry-run") == (0, "2 messages would be taken up\n")
        assert [one["kept"] for one in house.status("referral")["quarantined"]] == [2]
        assert await typed(house, "referral", *release) == (0, "2 messages taken up\n")
        code, said = await rebuilt(house, "referral")
        assert code == 0 and EQUAL.items() <= said.items(), said
        for step in course.steps()[2:3]:
            assert (await sender.ask(*step))["outcome"] == "recorded"


async def test_what_is_no_fact_stops_its_partition_until_somebody_says_so_and_no_tick_stops_time(house: Fleet) -> None:
    """Bytes without headers on a topic of facts and on the clock's, by whoever had the right."""
    course = Course(DAY)
    async with (
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer,
        Publisher(house.stack.kafka) as sender,
    ):
        await producer.send_and_wait("clock.ticks", b"x")
        tick = await sender.tick(datetime(2026, 4, 25, 6, tzinfo=UTC))
        for name in SERVICES:
            await until(lambda: house.has_acted(name, tick))  # noqa: B023
        before = Course(DAY)  # its fact stands on the partition: what comes now is not the first record there
        assert (await sender.ask(*before.steps()[1]))["outcome"] == "recorded"
        sent = await producer.send_and_wait("intake.events", b"x", key=before.case.encode())
        assert sent.offset > 0
        place = f"intake.events/{sent.partition}/{sent.offset}"
        stands = {"what": place.rpartition("/")[0], "why": f"NoFact:{sent.offset}"}
        readers = ("referral", "reporting")
        for name in readers:
            await until(lambda: stands.items() <= (house.status(name)["held"] or [{}])[0].items())  # noqa: B023
        wrongs = {f"{place}0": "it does not go on", f"{stands['what']}/0": "it was read already",
                  f"{stands['what']}/999999": "its log does not reach there"}  # fmt: skip
        for wrong, why in wrongs.items():
            words = ["go-on", "referral", "--past", wrong, "--why", "garbage", "--format", "json"]
            code, out = await typed(house, "referral", *words)
            assert code == 4 and why in out and "NoFact: its /status says which record" in out
            assert await typed(house, "referral", *words, "--dry-run") == (code, out)
        for name in readers:
            words = ["go-on", name, "--past", place, "--why", "garbage", "--format", "json"]
            would = await typed(house, name, *words, "--dry-run")
            assert stands.items() <= house.status(name)["held"][0].items()
            assert would[0] == 0 and await typed(house, name, *words) == would
            await until(lambda: house.status(name)["held"] == [])  # noqa: B023
        for step in course.steps():
            assert (await sender.ask(*step))["outcome"] == "recorded"
        await until(lambda: all(house.status(name)["lag"] == {} for name in readers))
    for name in (*readers, "intake"):
        code, said = await rebuilt(house, name)
        assert code == 0 and EQUAL.items() <= said.items(), said
    await again(house, "intake")  # it does not take what is none of its own for a log that is ahead


async def test_a_forks_wrong_half_that_was_left_out_stays_left_out(house: Fleet) -> None:
    """The last test of this house: by now a stranger has written to intake's log."""
    course = Course(DAY)
    register, consent = course.steps()[1:3]
    need = NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    now = datetime.now(UTC)
    async with (
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer,
        Publisher(house.stack.kafka) as sender,
    ):
        assert (await sender.ask(*register))["outcome"] == "recorded"
        await until(lambda: house.status("referral")["lag"] == {} and house.status("intake")["outbox"]["rows"] == 0)
        attributes = Attributes(id=str(uuid4()), source="//lotse/local/intake", type=need.ce_type, subject=course.case, time=now,
                                tenant="rkn", streamversion=1, cause=str(uuid4()), recordedtime=now)  # fmt: skip
        await producer.send_and_wait(
            "intake.events", need.to_json(), key=course.case.encode(), headers=headers_of(attributes)
        )
        (held,) = await until(lambda: house.status("referral")["quarantined"])
        assert (held["subject"], held["why"]) == (course.case, "Fork")
        assert (await sender.ask(*consent))["outcome"] == "recorded"
        await until(lambda: [one["kept"] for one in house.status("referral")["quarantined"]] == [2])
        assert (await sender.ask(*course.steps()[0]))["outcome"] == "recorded"
        asked = await sender.send(*course.steps()[3])  # what she asks for meanwhile is kept with it
        await until(lambda: [one["kept"] for one in house.status("referral")["quarantined"]] == [3])
        kept = await asyncio.to_thread(house.get, "referral", "/kept")
        wrong, hers = kept[0]["seq"], kept[-1]["seq"]
        release = ["release", "referral", course.case, "--why", "a stranger's", "--without", str(wrong), "--without"]
        for more in (["--dry-run"], []):  # left out it would never be answered
            assert (await typed(house, "referral", *release, str(hers), *more))[0] == 4
        assert [one["kept"] for one in house.status("referral")["quarantined"]] == [3]
        code, _ = await typed(
            house, "referral", "release", "referral", course.case, "--without", str(wrong), "--why", "a stranger's"
        )
        assert code == 0 and house.status("referral")["quarantined"] == []
        assert (await sender.answered(asked))[0]["outcome"] == "recorded"
    code, said = await rebuilt(house, "referral")
    assert code == 0 and EQUAL.items() <= said.items(), said


@pytest.fixture(scope="module")
def lossy() -> Iterator[Fleet]:
    """Another house: what it knows is more than what stands in its log, time and again."""
    with new_stack() as stack, four_services(stack) as fleet:
        yield fleet


def test_what_kafka_lost_comes_back_with_the_same_ids_and_nothing_is_done_twice(lossy: Fleet, tmp_path: Path) -> None:
    """Row 28: Kafka's data is set back; owners send again, publishers too, and held partitions go on when told so."""
    house, stack = lossy, lossy.stack
    data, copy = stack.folder / "kafka" / "data", tmp_path / "data"
    asyncio.run(sent_and_answered(house, Course(DAY)))
    asyncio.run(released(house, datetime(2026, 4, 1, 6, tzinfo=UTC)))
    letters = asyncio.run(nobody_can_read(house))
    before = datetime.now(UTC)
    with stopped(stack, house):
        shutil.copytree(data, copy)
    lost = Course(DAY)
    ids = asyncio.run(sent_and_answered(house, lost))
    asyncio.run(released(house, datetime(2026, 4, 2, 6, tzinfo=UTC)))
    facts = {name: house.status(name)["facts"] for name in SERVICES}
    with stopped(stack, house):
        shutil.rmtree(data)
        shutil.copytree(copy, data)
    asyncio.run(brought_back(house, lost, ids, before))
    assert {name: house.status(name)["facts"] for name in SERVICES} == {**facts, "referral": facts["referral"] + 1}
    for name in SERVICES:  # started anew it does not take its own log for another's
        asyncio.run(again(house, name))
    case = house.get("referral", f"/cases/{lost.case}")
    assert len(case["participation_list"]) == 1
    assert [house.status(name)["dead_letters"] for name in SERVICES] == letters  # read again, they are no new ones
    _, listed = asyncio.run(typed(house, "referral", "dead-letters", "list", "referral", "--format", "json"))
    assert len(json.loads(listed)["data"]) == 8 == len(asyncio.run(sealed(house)))
    shown = house.get("reporting", "/reports/participation")
    told = sorted(
        (json.loads(record.value) for record in asyncio.run(records_of(house, REPORT))), key=itemgetter("vintage")
    )
    assert {one["month"]: one["body"] for one in shown} == {body["month"]: body for body in told}
    assert ("2026-03", 2) in [(one["month"], one["vintage"]) for one in shown]


@contextmanager
def stopped(stack: LocalStack, house: Fleet) -> Iterator[None]:
    """Services and Kafka are down; up again afterwards, on their old ports."""
    house.stop()
    stack.processes["kafka"].stop()
    yield
    stack._kafka.start(stack._kafka.port)
    stack._kafka.wait()
    for name in SERVICES:
        house.start_one(name)
    for name in SERVICES:
        house.wait_ready(name)


async def sent_and_answered(house: Fleet, course: Course) -> list[str]:
    """A course's steps, each recorded, and everything relayed. Gives back the ids."""
    async with Publisher(house.stack.kafka) as sender:
        ids = [await sender.send(submission, subject) for submission, subject in course.steps()]
        assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}
    await until(lambda: all(house.status(name)["outbox"]["rows"] == 0 for name in SERVICES))
    return ids


async def released(house: Fleet, moment: datetime) -> None:
    """A tick on which everybody has acted; what it brought is on the topics."""
    async with Publisher(house.stack.kafka) as sender:
        tick = await sender.tick(moment)
    await until(
        lambda: all(house.has_acted(name, tick) and house.status(name)["outbox"]["rows"] == 0 for name in SERVICES)
    )


async def nobody_can_read(house: Fleet) -> list[Any]:
    """On each partition of what goes to referral, and a stranger's bytes among its dead letters; gives back how every service
    counts them once they have their letters."""
    async with AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer:
        await producer.send_and_wait("referral.dead-letters", b"x", headers=[("lotse_topic", None)])
        for family in ("referral", "attendance"):
            for part in range(4):
                await producer.send_and_wait(submissions_topic(family, NAME), b"\xff", partition=part)
    await until(lambda: sum(row["letters"] for row in house.status("referral")["dead_letters"]) == 8)
    await until(lambda: house.status("referral")["outbox"]["rows"] == 0)
    return [house.status(name)["dead_letters"] for name in SERVICES]


async def records_of(house: Fleet, topic: str) -> list[Any]:
    """All that stands on a topic, each partition in its order."""
    parts = [TopicPartition(topic, part) for part in range(4)]
    found: list[Any] = []
    async with AIOKafkaConsumer(bootstrap_servers=house.stack.kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    return found


async def sealed(house: Fleet) -> set[bytes]:
    """Referral's dead letters: a second one of the same message is sealed with another key, a copy is not."""
    return {record.value for record in await records_of(house, "referral.dead-letters") if record.key}


async def brought_back(house: Fleet, lost: Course, ids: list[str], before: datetime) -> None:
    """What an operator does by the runbook LotseGap, and the publisher who sends again."""
    owners = ("referral", "intake", "reporting")
    await until(lambda: all("acknowledged" in str(house.status(name)["gaps"]) for name in owners))
    since = ["--since", before.strftime("%Y-%m-%dT%H:%M:%S%z"), "--why", "set back", "--format", "json"]
    would = await typed(house, "referral", "republish", "referral", *since, "--dry-run")
    assert house.status("referral")["outbox"]["rows"] == 0
    does = [await typed(house, name, "republish", name, *since) for name in owners]
    assert does[0] == would and [code for code, _ in does] == [0, 0, 0] and "referral.events" in would[1]
    assert not any("acknowledged" in str(house.status(name)["gaps"]) for name in SERVICES)
    async with Publisher(house.stack.kafka) as sender:
        for (submission, subject), id in zip(lost.steps(), ids, strict=True):
            await sender.send(submission, subject, id=id)
        why, gaps = ["--why", "brought back", "--format", "json"], house.status("referral")["gaps"]
        would = await typed(house, "referral", "go-on", "referral", *why, "--dry-run")
        assert house.status("referral")["gaps"] == gaps
        does = [
            await typed(house, name, "go-on", name, *why)
            for name in ("referral", "intake", "notification", "reporting")
        ]
        assert went(does[0]) == went(would) and {part for part, *_ in went(would)} == {gap["what"] for gap in gaps}
        await until(lambda: not any(house.status(name)["gaps"] or house.status(name)["lag"] for name in SERVICES))
        assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}  # republished, not decided
        run, subject = Course(DAY).steps()[0]
        assert (await sender.ask(run, subject))["outcome"] == "recorded"
        await until(lambda: house.status("reporting")["lag"] == {} and house.status("reporting")["early"] == 0)


async def test_a_topic_of_facts_that_was_made_anew_is_brought_back_from_its_mirror_and_nothing_is_missed(
    lossy: Fleet,
) -> None:
    """Runbook LotseGap, step 6. What its owner sends again is a week at most; the new topic begins with a later fact of a case than
    the mirror holds, and the mirror ends before the topic did."""
    house, old, young = lossy, Course(DAY), Course(DAY)
    topic, readers = "intake.events", ("referral", "reporting")
    need = NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    await sent_and_answered(house, old)
    con = await asyncpg.connect(house.stack.databases["intake"].owner)
    assert await con.execute("delete from lotse.outbox") != "DELETE 0"  # a week goes by
    mirror = await records_of(house, topic)
    before = datetime.now(UTC)
    await sent_and_answered(house, young)
    await until(lambda: not any(house.status(name)["lag"] for name in readers))
    facts = {name: house.status(name)["facts"] for name in SERVICES}

    admin = AIOKafkaAdminClient(bootstrap_servers=house.stack.kafka)
    await admin.start()
    await admin.delete_topics([topic])
    async with asyncio.timeout(PATIENCE):
        while topic in await admin.list_topics():
            await asyncio.sleep(0.1)
    await admin.close()
    assert await make_topics(house.stack.kafka, publishers_from(house.setup.publishers), local=True) == [topic]
    await until(lambda: all(house.status(name)["gaps"] for name in readers))
    async with Publisher(house.stack.kafka) as sender:
        assert (await sender.ask(need, old.case))["outcome"] == "recorded"
    await until(lambda: house.status("intake")["outbox"]["rows"] == 0)

    house.processes["intake"].stop()
    async with AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer:
        for record in mirror:
            await producer.send_and_wait(
                topic, record.value, key=record.key, headers=list(record.headers), partition=record.partition
            )
    house.start_one("intake")
    await asyncio.to_thread(house.wait_ready, "intake")
    why = ["--why", "the topic was made anew"]
    since = ["--since", before.strftime("%Y-%m-%dT%H:%M:%S%z")]
    assert (await typed(house, "intake", "republish", "intake", *since, *why))[0] == 0
    await until(lambda: house.status("intake")["outbox"]["rows"] == 0)
    for name in readers:
        assert (await typed(house, name, "go-on", name, *why))[0] == 0
    still = ("gaps", "lag", "early", "findings", "quarantined")
    await until(lambda: not any(house.status(name)[what] for name in SERVICES for what in still))
    assert {name: house.status(name)["facts"] for name in SERVICES} == {**facts, "intake": facts["intake"] + 1}
    for name in ("intake", *readers):  # who learns it from the log finds what the service knows
        code, said = await rebuilt(house, name)
        assert code == 0 and EQUAL.items() <= said.items(), said


def went(said: tuple[int, str]) -> list[tuple[str, int, int]]:
    """What `lotse go-on` tells: partition, from, to. How much is gone is less with what is brought back meanwhile."""
    assert said[0] == 0
    return [(row["partition"], row["stood_at"], row["goes_on_at"]) for row in json.loads(said[1])["data"]]
