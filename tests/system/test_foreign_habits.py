"""One worker and what others do to its topics: lost commits, early and old facts, aborted transactions, forks, gaps."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from contracts.codes import Presence
from contracts.envelope import Attributes, headers_of
from contracts.intake import CaseClosureRequested, CaseOpened, ConsentWithdrawn, NeedRecorded, NeedReported
from contracts.topics import submissions_topic
from deploy.fleet import Fleet
from deploy.places import SERVICES
from services.host.kafka import Reader
from services.kept.waiting import MOST_WOKEN
from services.process.connections import KafkaSecurity
from tests.conftest import four_services, new_stack
from tests.publishing import OWNER, PATIENCE, PROVIDER, SOURCE, TENANT, Course, Publisher, until
from tests.typing_commands import typed

DAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def house() -> Iterator[Fleet]:
    """A stack of its own: what is done to its topics here is not mended again."""
    with new_stack() as stack, four_services(stack) as fleet:
        yield fleet


@pytest.mark.parametrize("seam", ["before_commit:lose:1", "after_commit:lose:1"])
async def test_a_lost_commit_on_a_quiet_partition_is_found_out_by_nobody_else(house: Fleet, seam: str) -> None:
    """One worker, one message: without the seek back no next batch would ever tell."""
    house.processes["referral"].stop()
    log = house.processes["referral"].log
    before = log.stat().st_size  # the seam before this one wrote there, too
    house.start_one("referral", LOTSE_FAILPOINT=seam)
    await asyncio.to_thread(house.wait_ready, "referral")
    try:
        async with Publisher(house.stack.kafka) as sender:
            run, subject = Course(DAY).steps()[0]
            assert (await sender.ask(run, subject))["outcome"] == "recorded"
            await until(lambda: not house.status("referral")["held"])
            assert b"ConnectionResetError" in log.read_bytes()[before:]  # it was lost indeed
            assert len(sender.answers[next(iter(sender.journal))]) == 1
    finally:
        house.processes["referral"].stop()
        house.start_one("referral")
        await asyncio.to_thread(house.wait_ready, "referral")


async def test_an_id_is_one_kind_of_thing_and_who_uses_it_for_another_stops_nobody(house: Fleet) -> None:
    """A provider knows the ids of cases it reports on. Facts are numbered by subject: two things under one id have the same
    numbers."""
    known, taken, other = Course(DAY), Course(DAY), Course(DAY)
    async with Publisher(house.stack.kafka) as sender:
        for submission, subject in known.steps()[:5]:
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        no = await sender.ask(known.steps()[0][0], known.case)  # a run under the id of a case
        assert (no["outcome"], no["reason"], no["again"]) == ("refused", "UNKNOWN_SUBJECT", "mended")
        con = await asyncpg.connect(house.stack.databases["referral"].owner, server_settings={"search_path": "lotse"})
        move = "update state set tenant = $2 where id = $1"
        await con.execute(move, known.case, "elsewhere")  # of another alliance nobody learns what its ids are
        assert (await sender.ask(known.steps()[0][0], known.case))["reason"] == "NOT_YOURS"
        await con.execute(move, known.case, "rkn")
        await con.close()
        assert (await sender.ask(*known.steps()[5]))["outcome"] == "recorded"
        assert (await sender.ask(taken.steps()[0][0], taken.case))[
            "outcome"
        ] == "recorded"  # before there is such a case
        refer = taken.steps()[3]
        no = await sender.ask(*refer)
        assert (no["outcome"], no["reason"], no["again"]) == ("refused", "UNKNOWN_SUBJECT", "mended")
        for course in (taken, other):  # once there is, it goes its way: no publisher of runs can take that from it
            for submission, subject in course.steps():
                assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        assert not house.status("referral")["held"] and not house.status("referral")["set_aside"]["count"]


async def test_what_cannot_be_written_is_set_aside_alone_and_holds_nobody(house: Fleet) -> None:
    """As where two things under one id begin at the same moment: the numbers of one are there already."""
    course, other = Course(DAY), Course(DAY)
    con = await asyncpg.connect(house.stack.databases["referral"].runtime, server_settings={"search_path": "lotse"})
    try:
        async with Publisher(house.stack.kafka) as sender:
            run, register, consent, refer, *_ = course.steps()
            for submission, subject in (run, register, consent):
                assert (await sender.ask(submission, subject))["outcome"] == "recorded"
            there = "insert into timeline values ('referral', $1, 1, 'x', 'x', now(), now(), null, '{}')"
            await con.execute(there, course.case)
            asked = await sender.send(*refer)
            (aside,) = await until(lambda: house.status("referral")["set_aside"]["which"])
            assert aside["error"] == "TwoThings"
            for submission, subject in other.steps():
                assert (await sender.ask(submission, subject))["outcome"] == "recorded"
            assert not house.status("referral")["held"]
            await con.execute("delete from timeline where subject = $1", course.case)
            replay = ["dead-letters", "replay", "referral", "--reason", "TwoThings", "--why", "it is there no more"]
            assert (await typed(house, "referral", *replay))[0] == 0
            assert (await sender.answered(asked))[0]["outcome"] == "recorded"
    finally:
        await con.close()


async def test_an_id_that_two_cases_use_is_two_things(house: Fleet) -> None:
    """A provider's number of a person, used in both of her cases: neither takes away the other's row, nor its entry."""
    first, second = Course(DAY), Course(DAY)
    second.participation, second.referral = first.participation, first.referral
    async with Publisher(house.stack.kafka) as sender:
        for course in (first, second):
            for submission, subject in course.steps():
                assert (await sender.ask(submission, subject))["outcome"] == "recorded"
    for course in (first, second):
        case = await asyncio.to_thread(house.get, "referral", f"/cases/{course.case}")
        assert [row["participation_id"] for row in case["participation_list"]] == [first.participation]
        assert [row["run_id"] for row in case["referral_board"]] == [course.run]
    con = await asyncpg.connect(house.stack.databases["reporting"].runtime, server_settings={"search_path": "lotse"})
    try:
        count = "select count(*) from participation_period where participation_id = $1"
        async with asyncio.timeout(PATIENCE):
            while await con.fetchval(count, first.participation) < 2:
                await asyncio.sleep(0.1)
    finally:
        await con.close()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_comes_compressed_is_read(house: Fleet, codec: str) -> None:
    run, subject = Course(DAY).steps()[0]
    about = Attributes(str(uuid4()), SOURCE, run.ce_type, subject, datetime.now(UTC), TENANT)
    async with (
        Publisher(house.stack.kafka) as sender,
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka, compression_type=codec) as producer,
    ):
        await producer.send_and_wait(
            "referral.submissions.kreis", run.to_json(), key=subject.encode(), headers=headers_of(about)
        )
        assert (await sender.answered(about.id))[0]["outcome"] == "recorded"


async def test_what_a_rule_can_not_bear_is_set_aside_alone_and_answered_by_a_replay(house: Fleet) -> None:
    """By halves: the one submission a rule breaks on claims no id and gets no answer; what is refused before it, does."""
    house.processes["referral"].stop()
    house.start_one("referral", LOTSE_FAILPOINT="decide:raise:3")
    await asyncio.to_thread(house.wait_ready, "referral")
    try:
        async with Publisher(house.stack.kafka) as sender:
            runs = [Course(DAY).steps()[0] for _ in range(6)]
            ids = [await sender.send(run, subject) for run, subject in runs]
            no = await sender.send(*runs[0], tenant="somewhere-else")  # refused before any rule is asked
            assert (await sender.answered(no))[0]["reason"] == "NOT_YOURS"
            await balanced(house, sender, ids)
            aside = house.status("referral")["set_aside"]["count"]  # how many depends on how they came in batches
            assert aside and {one["error"] for one in house.status("referral")["set_aside"]["which"]} == {"Broken"}
            code, said = await typed(
                house, "referral", "dead-letters", "list", "referral", "--reason", "Broken", "--format", "json"
            )
            rows = json.loads(said)["data"]
            assert code == 0 and len(rows) == aside and {row["publisher"] for row in rows} == {"kreis"}
            code, said = await typed(house, "referral", "dead-letters", "replay", "referral", "--why", "not mended yet")
            assert (code, said) == (1, f"0 of {aside} are settled now\n")  # the rule is still broken: nothing changes
            replay = ["dead-letters", "replay", "referral", "--why", "some"]
            assert await typed(house, "referral", *replay, "--rate", "20") == (1, f"0 of {aside} are settled now\n")
            nothing = (0, "nothing is set aside in referral that the options pick\n")
            assert await typed(house, "referral", *replay, "--source", "oulad") == nothing
            assert await typed(house, "referral", *replay, "--until", "2020-01-01") == nothing
            assert await typed(house, "referral", *replay, "--until", "10m") == nothing
            assert (await typed(house, "referral", *replay, rows[0]["id"], "--until", "10m"))[0] == 2
            still = (1, "0 of 1 are settled now\n")
            assert await typed(house, "referral", *replay, rows[0]["place"], rows[0]["id"]) == still
            code, said = await typed(
                house, "referral", "dead-letters", "show", "referral", rows[0]["id"], "--format", "json"
            )
            shown = json.loads(said)["data"]
            assert code == 0 and (shown["why"], shown["error"], shown["publisher"]) == ("aside", "Broken", "kreis")
            assert shown["type"] == rows[0]["type"] == runs[0][0].ce_type
            whose = runs[0][0].by.organisation_id
            by = {"organisation_id": f"str of {len(whose)}", "kind": "str of 6"}
            assert shown["body"]["by"] == by and whose not in said
            assert "ce_subject: 36 bytes" in shown["headers"]
            give_up = ["dead-letters", "give-up", "referral", "--why", "asked the sender"]
            assert (await typed(house, "referral", *give_up))[0] == 2  # all of it is given up by nobody's leaving out
            assert await typed(house, "referral", *give_up, "--reason", "Strange") == nothing
            code, said = await typed(
                house, "referral", *give_up, "--reason", "Broken", "--since", "1h", "--dry-run", "--format", "json"
            )
            ids_aside = [int(row["id"]) for row in rows]
            assert (code, json.loads(said)["data"]) == (0, [{"submissions": aside, "answered": 0, "ids": ids_aside}])
            giving_up = [*give_up, rows[0]["id"]]
            code, said = await typed(house, "referral", *giving_up, "--dry-run")
            assert code == 0 and house.status("referral")["set_aside"]["count"] == aside
            done = (0, "1 of 1 are settled now\n")
            assert await typed(house, "referral", *giving_up, "--rate", "5") == done
            assert await typed(house, "referral", *giving_up) == done  # what is settled is settled
            assert await typed(house, "referral", *replay, rows[0]["id"]) == done
            assert (await typed(house, "referral", "dead-letters", "show", "referral", rows[0]["id"]))[0] == 2
            for never in ("0", "987654321", "9" * 30, "first"):
                assert (await typed(house, "referral", *replay, never))[0] == 2
            house.processes["referral"].stop()
            house.start_one("referral")  # the rule is mended: what was set aside is judged again
            await asyncio.to_thread(house.wait_ready, "referral")
            reasons = sorted(answer.get("reason") or answer["outcome"] for answer in await sender.answered(*ids))
            assert reasons == ["GIVEN_UP", *["recorded"] * 5]
            assert house.status("referral")["set_aside"]["count"] == 0
            assert all(len(sender.answers[id]) == 1 for id in ids)
    finally:
        house.processes["referral"].stop()
        house.start_one("referral")
        await asyncio.to_thread(house.wait_ready, "referral")


async def test_two_contents_of_one_id_that_come_again_the_other_way_round_are_answered_no_second_time(
    house: Fleet,
) -> None:
    """The first content has the id; a rebuild reads both again, perhaps in one batch, and the second before the first."""
    (run, subject), (other, _) = Course(DAY).steps()[0], Course(date(2026, 3, 3)).steps()[0]
    async with Publisher(house.stack.kafka) as sender:
        id = await sender.send(run, subject, part=0)
        await sender.send(other, subject, id=id, part=0)
        await until_answered(sender, id, 2)
        house.processes["referral"].stop()
        await sender.send(other, subject, id=id, part=0)
        await sender.send(run, subject, id=id, part=0)
        last = await sender.send(*Course(DAY).steps()[0], part=0)
        house.start_one("referral")
        await asyncio.to_thread(house.wait_ready, "referral")
        await sender.answered(last)
        await sender.read()
        told = {(answer["content"], answer.get("reason") or answer["outcome"]) for answer in sender.answers[id]}
        assert sorted(reason for _, reason in told) == ["ID_REUSED", "recorded"]  # a copy of an answer is no second one


async def until_answered(sender: Publisher, id: str, times: int) -> None:
    """Waits for so many answers."""
    async with asyncio.timeout(PATIENCE):
        while len(sender.answers.get(id, ())) < times:
            await sender.read()


async def balanced(house: Fleet, sender: Publisher, ids: list[str]) -> None:
    """Answered + waiting + set aside = journal."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await sender.read()
            said = await asyncio.to_thread(house.status, "referral")
            if len(set(sender.answers) & set(ids)) + said["waiting"] + said["set_aside"]["count"] == len(ids):
                return


async def test_early_facts_wait_and_old_ones_fall_out(house: Fleet) -> None:
    case = str(uuid4())
    opened = CaseOpened(by=OWNER, municipality="05162024", programme="GK", sex="UNKNOWN", birth_year_band="UNKNOWN", language="UNKNOWN",
                        status_group="UNKNOWN", owner_organisation_id="rkn-thm")  # fmt: skip
    need = NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    async with AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer:
        await fact(producer, need, case, 2)
        await until(lambda: house.status("referral")["early"] == 1)
        await fact(producer, opened, case, 1)
        await until(lambda: house.status("referral")["early"] == 0)
        await fact(producer, opened, case, 1)  # old: dropped, nothing held
        async with Publisher(house.stack.kafka) as sender:
            tick = await sender.tick(datetime(2026, 3, 3, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        assert house.status("referral")["held"] == []


async def test_many_cases_that_waited_for_one_thing_go_on_when_it_comes(house: Fleet) -> None:
    """What is woken names states that are not locked, each its own. Met one by one, more than twenty stopped everything."""
    courses = [Course(DAY) for _ in range(30)]
    for course in courses:
        course.run = courses[0].run
    run, *_ = courses[0].steps()
    waits = "select count(*) from kept where rests_on = $1"
    con = await asyncpg.connect(house.stack.databases["referral"].runtime, server_settings={"search_path": "lotse"})
    try:
        async with Publisher(house.stack.kafka) as sender:
            for course in courses:
                ids = [await sender.send(submission, subject) for submission, subject in course.steps()[1:4]]
                assert len(ids) == 3
            async with asyncio.timeout(PATIENCE):
                while await con.fetchval(waits, courses[0].run) < len(courses):
                    await asyncio.sleep(0.05)
            await sender.send(*run)
            answers = await sender.answered(*sender.journal)
            assert {answer["outcome"] for answer in answers} == {"recorded"}
            assert len(answers) == 3 * len(courses) + 1
    finally:
        await con.close()


async def test_more_than_one_transaction_bears_goes_on_by_itself(house: Fleet) -> None:
    """More than 500 wait for one registration: nobody has to release them."""
    course, need = Course(DAY), NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    async with Publisher(house.stack.kafka) as sender:
        for _ in range(MOST_WOKEN + 20):
            await sender.send(need, course.case)
        await until(lambda: house.status("intake")["waiting"] == MOST_WOKEN + 20)
        await sender.send(*course.steps()[1])
        answers = await sender.answered(*sender.journal)
        assert Counter(answer["outcome"] for answer in answers) == {"recorded": 2, "unchanged": MOST_WOKEN + 19}
        await until(lambda: house.status("intake")["waiting"] == 0)


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_record_is_taken_whatever_its_writers_clock_says(house: Fleet, hours: int) -> None:
    """Kafka refuses a record of more than an hour ahead where the topic keeps its writer's time: ours keep the broker's."""
    async with Publisher(house.stack.kafka) as sender:
        run, subject = Course(DAY).steps()[0]
        stamp = int(datetime.now(UTC).timestamp() + hours * 3600) * 1000
        id = await sender.send(run, subject, timestamp_ms=stamp)
        assert (await sender.answered(id))[0]["outcome"] == "recorded"


async def test_an_aborted_transaction_last_on_an_idle_partition_stops_no_clock(house: Fleet) -> None:
    async with Publisher(house.stack.kafka) as sender:
        producer = AIOKafkaProducer(bootstrap_servers=house.stack.kafka, transactional_id=f"foreign-{uuid4().hex}")
        await producer.start()
        await producer.begin_transaction()
        for part in range(4):
            await producer.send_and_wait("attendance.submissions.oulad", b"{}", partition=part)
        await producer.abort_transaction()
        await producer.stop()
        tick = await sender.tick(datetime(2026, 3, 4, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        await until(
            lambda: house.status("referral")["lag"] == {}
        )  # the marker is passed, though no record ever moves the row
        said = house.status("referral")
        assert said["held"] == said["gaps"] == said["dead_letters"] == []  # never acted on, no false gap


@pytest.mark.parametrize("how", ["name", "attributes"])
async def test_a_record_that_aiokafka_cannot_read_is_a_dead_letter_and_nothing_around_it_is_passed_over(
    house: Fleet, how: str
) -> None:
    """Kafka takes any bytes as a header's name, and as a record's attributes; aiokafka gives up on all it has fetched, of other
    partitions, too. Sent by several publishers, among sound ones of others, while the service is away, so that one fetch holds
    them all."""
    before = letters(house)
    house.processes["referral"].stop()
    async with Publisher(house.stack.kafka) as sender:
        runs = [Course(DAY).steps()[0] for _ in range(120)]
        ids = []
        for n, (run, subject) in enumerate(runs):
            ids.append(await sender.send(run, subject, part=n % 4))
            if n in (30, 31, 77):
                topics = [submissions_topic("referral", name) for name in ("oulad", "kreis")]
                await asyncio.to_thread(send_unread, house.stack.kafka, n % 4, how, *topics)
        house.start_one("referral")
        await asyncio.to_thread(house.wait_ready, "referral")
        told = await sender.answered(*ids)
        assert {answer["outcome"] for answer in told} == {"recorded"} and len(told) == 120
        assert all(len(sender.answers[id]) == 1 for id in ids)
        await until(lambda: letters(house) == before + 12)  # each twice: alone, and first of a batch with a sound one
        last = [await sender.send(*Course(DAY).steps()[0], part=part) for part in range(4)]
        assert {answer["outcome"] for answer in await sender.answered(*last)} == {"recorded"}
        tick = await sender.tick(datetime(2026, 3, 4, 6, 30, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        await until(lambda: house.status("referral")["lag"] == {} and not house.status("referral")["held"])
        assert house.status("referral")["gaps"] == []
        reader = Reader(house.stack.kafka, KafkaSecurity(), "test")  # as `lotse sources` reads
        await reader.start()
        parts = await reader.parts(["referral.submissions.kreis"])
        starts, ends = await reader.starts(parts), await reader.ends(parts)
        read = [r async for rs in reader.records({part: (starts[part], ends[part]) for part in parts}) for r in rs]
        await reader.stop()
        assert len(read) == len({(r.partition, r.offset) for r in read}) == sum(ends.values()) - sum(starts.values())


def letters(house: Fleet) -> int:
    """Dead letters of referral."""
    return sum(one["letters"] for one in house.status("referral")["dead_letters"])


UNREAD = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder

class Latin1(str):
    def encode(self, *_):
        return super().encode("latin-1")

async def main(kafka, part, how, *topics):
    name, append = Latin1("größe") if how == "name" else "size", DefaultRecordBatchBuilder.append
    if how == "attributes":
        with_attributes = lambda _: bytearray(b"\\x80")
        append.__defaults__ = tuple(with_attributes if one is bytearray else one for one in append.__defaults__)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=50)
    await producer.start()
    sent = [await producer.send(topic, b"{}", partition=int(part), headers=[(name, b"1")]) for topic in topics for _ in range(2)]
    await asyncio.gather(*sent)
    await producer.stop()

asyncio.run(main(*sys.argv[1:]))
"""


def send_unread(kafka: str, part: int, how: str, *topics: str) -> None:
    """To each two records with a header whose name is Latin-1, or with attributes, in one batch, as a program in another language may
    write them."""
    subprocess.run([sys.executable, "-c", UNREAD, kafka, str(part), how, *topics],  # noqa: S603
                   check=True, env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"})  # fmt: skip


async def test_a_header_without_a_value_hinders_nobody_from_waiting(house: Fleet) -> None:
    async with Publisher(house.stack.kafka) as sender:
        course = Course(DAY)
        run, *steps = course.steps()[:4]
        for submission, subject in steps[:2]:
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        before, (request, subject) = house.status("referral")["waiting"], steps[2]
        id = await sender.send(request, subject, headers=[("traceparent", None), ("ce_more", None), ("other", None)])
        await until(lambda: house.status("referral")["waiting"] == before + 1)
        await sender.send(*run)
        assert (await sender.answered(id))[0]["outcome"] == "recorded"


async def test_an_id_of_another_kind_of_thing_is_refused_and_never_breaks_a_rule(house: Fleet) -> None:
    """It is known, so nobody waits for it; a rule that looks it up would find nothing, for ever."""
    course = Course(DAY)
    run, register, consent, request, answer, start = course.steps()
    lost = [
        (request, {"consent_id": course.case}, "UNKNOWN_CONSENT"),
        (request, {"run_id": course.case}, "UNKNOWN_RUN"),
        (answer, {"referral_id": course.case}, "UNKNOWN_REFERRAL"),
        (start, {"referral_id": course.case}, "UNKNOWN_REFERRAL"),
    ]
    async with Publisher(house.stack.kafka) as sender:
        for submission, subject in (run, register, consent):
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        await sender.ask(*request)
        for (submission, subject), changes, reason in lost:
            if "consent_id" in changes or "run_id" in changes:
                changes["referral_id"] = str(uuid4())
            told = await sender.ask(submission.model_copy(update=changes), subject)
            assert (told["outcome"], told["reason"], told["again"]) == ("refused", reason, "mended")
        report = course.attendance(str(uuid4()), DAY, Presence.PRESENT)
        told = await sender.ask(report.model_copy(update={"participation_id": course.referral}), course.case)
        assert told["reason"] == "UNKNOWN_PARTICIPATION"
        withdrawn = ConsentWithdrawn(by=OWNER, consent_id=course.case, withdrawn_on=DAY)
        assert (await sender.ask(withdrawn, course.case))["reason"] == "UNKNOWN_CONSENT"
        assert house.status("referral")["set_aside"]["count"] == house.status("intake")["set_aside"]["count"] == 0


async def test_a_need_counts_by_the_day_it_was_said_and_a_stranger_learns_nothing_of_the_case(house: Fleet) -> None:
    """ce_time reaches the rule: said by the last day of a case it is true, whenever it is heard."""
    course, said = Course(DAY), datetime(2026, 3, 2, 12, tzinfo=UTC)
    _, (register, _), *_ = course.steps()
    async with Publisher(house.stack.kafka) as sender:
        assert (await sender.ask(register, course.case))["outcome"] == "recorded"
        closure = CaseClosureRequested(by=OWNER, last_day_on=DAY, reason="COMPLETED")
        assert (await sender.ask(closure, course.case))["outcome"] == "recorded"
        for by, time, reason in ((OWNER, said, None), (OWNER, said + timedelta(days=1), "CASE_CLOSED"),
                                 (PROVIDER, said, "NOT_YOURS"), (PROVIDER, said + timedelta(days=1), "NOT_YOURS")):  # fmt: skip
            need = NeedReported(by=by, need_id=str(uuid4()), need_type="WORK")
            assert (await sender.ask(need, course.case, time=time)).get("reason") == reason


async def test_what_waits_is_refused_after_seven_days_of_ticks_and_not_before(house: Fleet) -> None:
    """Days are ticks', not clocks', and begin with the first tick after it came: a clock that stood still for eight days
    refuses nobody. What a publisher left waiting who is gone from the file takes nobody else's turn."""
    first, behind = Course(DAY), Course(DAY)
    before = datetime(2026, 3, 4, 7, tzinfo=UTC)
    ticked = before + timedelta(days=8)
    con = await asyncpg.connect(house.stack.databases["referral"].runtime, server_settings={"search_path": "lotse"})
    try:
        async with Publisher(house.stack.kafka) as sender:
            assert (await sender.ask(*Course(DAY).steps()[0]))["outcome"] == "recorded"
            await acted(house, sender, before)  # the alliance is known: its time begins
            waits = [await waiting(house, sender, first)]
            await con.execute(
                "insert into kept (why, publisher, tenant, subject, rests_on, topic, part, \"offset\", since, arrived, headers,"
                " value, claimed) select why, 'gone', tenant, subject, rests_on, 'referral.submissions.gone', 0, n, since,"
                " arrived, headers, value, claimed from kept, generate_series(1, 600) n where rests_on = $1", first.run,
            )  # fmt: skip
            waits.append(await waiting(house, sender, behind))
            await acted(house, sender, ticked)
            await acted(house, sender, ticked + timedelta(days=7, seconds=-1))
            await sender.read()
            assert not sender.answers.keys() & set(waits)
            await acted(house, sender, ticked + timedelta(days=7))
            told = await sender.answered(*waits)
            assert [(answer["outcome"], answer["reason"]) for answer in told] == [("refused", "UNKNOWN_RUN")] * 2
            for submission, subject in behind.steps():  # nothing of it stays: said anew, it goes its way
                assert (await sender.ask(submission, subject))["outcome"] in ("recorded", "unchanged")
            assert [len(sender.answers[id]) for id in waits] == [1, 1]
    finally:
        await con.execute("delete from kept where publisher = 'gone'")
        await con.close()


async def waiting(house: Fleet, sender: Publisher, course: Course) -> str:
    """A request to a run that nobody has submitted; its id, once it waits."""
    before = house.status("referral")["waiting"]
    _, *steps, request = course.steps()[:4]
    for submission, subject in steps:
        assert (await sender.ask(submission, subject))["outcome"] == "recorded"
    id = await sender.send(*request)
    await until(lambda: house.status("referral")["waiting"] == before + 1)
    return id


async def acted(house: Fleet, sender: Publisher, at: datetime) -> None:
    """A tick, and what it asks of referral is done."""
    tick = await sender.tick(at)
    await until(lambda: house.has_acted("referral", tick))


async def test_a_tick_a_year_ahead_is_held_and_the_next_one_is_acted_on(house: Fleet) -> None:
    """A clock that is wrong moves no time: it is named, in every service, and nobody is missed because of it."""
    late = Course(date(2026, 3, 30))
    async with Publisher(house.stack.kafka) as sender:
        for submission, subject in late.steps()[:5]:  # accepted; who has not started by 6 April is missed then
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        before, ahead = house.status("referral")["ticked"], datetime.now(UTC) + timedelta(days=365)
        wrong = await sender.tick(ahead)
        for name in SERVICES:
            await until(partial(house.has_acted, name, wrong))  # it has been read, and nothing is left to do
            held = [one for one in house.status(name)["held_ticks"] if one["why"] == "AHEAD"]
            assert [one["at"][:10] for one in held] == [ahead.date().isoformat()]
        assert house.status("referral")["ticked"] == before and await missed(house, late) == []
        await acted(house, sender, datetime(2026, 4, 1, 6, tzinfo=UTC))
        assert house.status("referral")["ticked"] == {"rkn": "2026-04-01T06:00:00Z"} and await missed(house, late) == []


async def test_after_two_days_without_a_service_nobody_is_missed_who_said_in_time_that_it_began(house: Fleet) -> None:
    """The ticks of two days lie beside what was said meanwhile, on other topics, and may be read first: a tick is acted on when
    all has been read that lay there before it."""
    courses = [Course(date(2026, 3, 30)) for _ in range(40)]
    async with Publisher(house.stack.kafka) as sender:
        ids = [
            await sender.send(submission, subject) for course in courses for submission, subject in course.steps()[:5]
        ]
        assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}
        house.processes["referral"].stop()
        run = courses[0].steps()[
            0
        ]  # behind the same words, five thousand times: several batches, and ticks come with the first
        await asyncio.gather(*[sender.send(*run, part=0) for _ in range(5000)])
        starts = [await sender.send(*course.steps()[5], part=0) for course in courses[1:]]
        for day in (6, 7):  # who has not started by the 6th is missed from then on
            for hour in range(0, 24, 6):
                tick = await sender.tick(datetime(2026, 4, day, hour, 30, tzinfo=UTC))
        house.start_one("referral")
        await asyncio.to_thread(house.wait_ready, "referral")
        await until(lambda: house.has_acted("referral", tick))
        assert {answer["outcome"] for answer in await sender.answered(*starts)} == {"recorded"}
    assert [rule for course in courses[1:] for rule in await missed(house, course)] == []
    assert await missed(house, courses[0]) == ["S6"]  # and who did not say it is


async def missed(house: Fleet, course: Course) -> list[str]:
    """The rules under which referral ever missed somebody, as its facts say."""
    case = await asyncio.to_thread(house.get, "referral", f"/cases/{course.case}")
    return [one["rule"] for one in case["risk_list"]]


async def test_a_fork_puts_its_subject_into_quarantine_and_nothing_else(house: Fleet) -> None:
    course, other = Course(DAY), Course(DAY)
    need = NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    async with (
        AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer,
        Publisher(house.stack.kafka) as sender,
    ):
        for submission, subject in course.steps()[:3]:
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        await until(lambda: house.status("referral")["early"] == 0)
        await fact(producer, need, course.case, 2, id="another")  # number 2 was the consent
        (subject,) = await until(lambda: house.status("referral")["quarantined"])
        assert (subject["subject"], subject["why"], subject["kept"]) == (course.case, "Fork", 1)
        kept = await sender.send(*course.steps()[3])  # what concerns the subject is kept, in order
        await sender.send(*course.steps()[3], id=kept)  # unanswered, it is sent again, and is not kept twice
        (request, subject_), day = course.steps()[3], DAY - timedelta(days=9)
        await sender.send(request.model_copy(update={"requested_on": day}), subject_, id=kept)
        assert [answer["reason"] for answer in await sender.answered(kept)] == ["ID_REUSED"]
        assert [one["kept"] for one in house.status("referral")["quarantined"]] == [2]
        for submission, subject in other.steps():  # another case goes its way, time too
            assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        tick = await sender.tick(datetime(2026, 4, 8, 6, tzinfo=UTC))
        await until(lambda: house.has_acted("referral", tick))
        assert house.status("referral")["held"] == [] and len(sender.answers[kept]) == 1
        code, _ = await typed(
            house, "referral", "release", "referral", course.case, "--why", "somebody wrote beside intake"
        )
        assert code == 4  # as long as the fork is among them, nothing is taken up
        _, listed = await typed(
            house, "referral", "dead-letters", "list", "referral", "--reason", "Fork", "--format", "json"
        )
        (fork,) = [row["id"] for row in json.loads(listed)["data"] if row["subject"] == course.case]
        code, said = await typed(
            house, "referral", "release", "referral", course.case, "--without", fork, "--why", "intake's stands"
        )
        assert (code, said) == (0, "1 messages taken up\n")
        await until_answered(sender, kept, 2)
        told = [(answer["outcome"], answer.get("reason")) for answer in sender.answers[kept]]
        assert told == [("refused", "ID_REUSED"), ("recorded", None)]
        assert house.status("referral")["quarantined"] == []


async def test_an_unreadable_fact_is_never_passed_over(house: Fleet) -> None:
    case = str(uuid4())
    now = datetime.now(UTC)
    attributes = Attributes(id=f"{case}-1", source="//lotse/local/intake", type=CaseOpened.ce_type, subject=case, time=now,
                            tenant="rkn", streamversion=1, cause=case, recordedtime=now)  # fmt: skip
    async with AIOKafkaProducer(bootstrap_servers=house.stack.kafka) as producer:
        await producer.send_and_wait("intake.events", b"{}", key=case.encode(), headers=headers_of(attributes))
    for name in ("referral", "reporting"):
        (subject,) = await until(partial(quarantined, house, name, case))
        assert (subject["why"], subject["kept"]) == ("BadFact", 1)
        assert house.status(name)["held"] == []


def quarantined(house: Fleet, name: str, subject: str) -> list[dict[str, Any]]:
    """What a service says of a subject in quarantine; nothing where it is not."""
    return [one for one in house.status(name)["quarantined"] if one["subject"] == subject]


async def test_records_deleted_before_they_were_read_are_a_gap_that_is_held_and_named(house: Fleet) -> None:
    house.processes["reporting"].stop()
    async with Publisher(house.stack.kafka) as sender:
        run, subject = Course(DAY).steps()[0]
        assert (await sender.ask(run, subject))["outcome"] == "recorded"
        await until(lambda: house.status("referral")["outbox"]["rows"] == 0)
    parts = [TopicPartition("referral.events", part) for part in range(4)]
    admin = AIOKafkaAdminClient(bootstrap_servers=house.stack.kafka)
    await admin.start()
    await admin.delete_records({part: RecordsToDelete(before_offset=-1) for part in parts})
    await admin.close()
    house.start_one("reporting")
    await asyncio.to_thread(house.wait_ready, "reporting")
    gaps = await until(lambda: house.status("reporting")["gaps"])
    assert all(one["what"].startswith("referral.events/") and one["why"].startswith("Gap") for one in gaps)


async def test_submissions_deleted_under_a_service_that_lagged_are_a_gap_too(house: Fleet) -> None:
    """Kafka sends a reader whose place is gone to what is left, and says nothing: those before it would never be answered."""
    part = TopicPartition(submissions_topic("intake", "kreis"), 0)
    registration, _ = Course(DAY).steps()[1]
    async with Publisher(house.stack.kafka) as sender:

        async def send(count: int) -> None:
            for _ in range(count):
                said = Attributes(str(uuid4()), SOURCE, registration.ce_type, str(uuid4()), datetime.now(UTC), TENANT)
                await sender.producer.send_and_wait(
                    part.topic, registration.to_json(), headers=headers_of(said), partition=part.partition
                )

        await send(3)
        consumer = AIOKafkaConsumer(bootstrap_servers=house.stack.kafka)
        await consumer.start()
        end = (await consumer.end_offsets([part]))[part]
        await consumer.stop()
        await until(lambda: not house.status("intake")["lag"])
        frozen = house.processes["intake"].pid
        assert frozen is not None
        os.kill(frozen, signal.SIGSTOP)
        try:
            await asyncio.sleep(1)  # what it has asked of the broker comes back empty
            await send(20)
            admin = AIOKafkaAdminClient(bootstrap_servers=house.stack.kafka)
            await admin.start()
            await admin.delete_records({part: RecordsToDelete(before_offset=end + 15)})
            await admin.close()
        finally:
            os.kill(frozen, signal.SIGCONT)
        (gap,) = await until(lambda: house.status("intake")["gaps"])
    told = re.fullmatch(r"Gap:read up to (\d+), the log goes from (\d+) to \d+", gap["why"])
    assert gap["what"] == f"{part.topic}/0" and told is not None, gap
    assert end <= int(told[1]) < int(told[2]) == end + 15  # what was on its way when it froze may have come


async def fact(producer: AIOKafkaProducer, body: Any, case: str, number: int, id: str = "") -> None:
    """A fact as intake would write it; the id of a number is its own unless another is given."""
    now = datetime.now(UTC)
    attributes = Attributes(id=f"{id}{case}-{number}", source="//lotse/local/intake", type=body.ce_type, subject=case, time=now,
                            tenant="rkn", streamversion=number, cause=case, recordedtime=now)  # fmt: skip
    await producer.send_and_wait("intake.events", body.to_json(), key=case.encode(), headers=headers_of(attributes))
