"""Two workers permanently on all partitions of referral, killed at the seams: effects = answers = journal."""

import asyncio
import itertools
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import asyncpg
import httpx
import pytest

from contracts.codes import Presence
from deploy.fleet import Fleet
from deploy.places import SERVICES
from deploy.services import declared, migrations
from services.host.settings import load_settings
from services.operating.rebuild import rebuild
from tests.conftest import second_worker
from tests.publishing import PATIENCE, Course, Publisher, until

TICKED, MINUTES = datetime(2026, 5, 1, 6, tzinfo=UTC), itertools.count()
"""Later than anybody's ticks in this house before, since time only goes forward."""
SEAMS = ["before_commit:kill:3", "after_commit:kill:3", "after_ack:kill:2"]


@pytest.mark.parametrize("seam", SEAMS)
async def test_two_workers_on_all_partitions_and_one_killed_at_a_seam(fleet: Fleet, seam: str) -> None:
    chance = random.Random(seam)
    leads = seam.startswith("after_ack")
    if leads:  # only the leading relay has anything acknowledged: this worker must lead
        fleet.processes["referral"].stop()
    worker = second_worker(fleet, "referral", LOTSE_FAILPOINT=seam)
    if leads:
        await until(lambda: b"serving" in worker.log.read_bytes())
        fleet.start_one("referral")
        await asyncio.to_thread(fleet.wait_ready, "referral")
    try:
        async with Publisher(fleet.stack.kafka) as sender:
            courses = [Course(date(2026, 3, 2)) for _ in range(5)]
            for course in courses:
                for submission, subject in course.steps():
                    id = await sender.send(submission, subject)
                assert (await sender.answered(id))[0]["outcome"] == "recorded"
            sent: list[str] = []

            async def reports() -> None:
                course, day = chance.choice(courses), chance.randrange(60)
                report = course.attendance(str(uuid4()), date(2026, 3, 2) + timedelta(days=day), Presence.PRESENT)
                id = str(uuid4())
                sent.append(id)
                for part in chance.sample(range(4), 2):  # twice, on two partitions: another partitioner's habit
                    await sender.send(report, course.case, id=id, part=part)

            async def killed() -> bool:
                return worker.child is not None and worker.child.poll() is not None

            async with asyncio.timeout(PATIENCE):
                while not (await killed() and len(sent) >= 150):
                    await reports()
            await sender.answered(*sent)
            await sender.tick(datetime(2026, 3, 10, 6, tzinfo=UTC))
            await until(lambda: fleet.status("referral")["outbox"]["rows"] == 0)
            for _ in range(5):
                await sender.read()
            distinct = {id: {(a["content"], a["outcome"], a["fact_id"]) for a in sender.answers[id]} for id in sent}
            assert all(
                len(found) == 1 and sender.answers[id][0]["outcome"] == "recorded" for id, found in distinct.items()
            )
        con = await asyncpg.connect(fleet.stack.databases["referral"].runtime, server_settings={"search_path": "lotse"})
        try:
            recorded = await con.fetchval(
                "select count(*) from timeline where family = 'attendance' and subject = any($1)",
                [c.case for c in courses],
            )
            gaps = await con.fetchval(
                "select count(*) from (select max(number) - count(*) as gap from timeline group by family, subject) g where gap <> 0"
            )
        finally:
            await con.close()
        assert (recorded, gaps) == (len(sent), 0)
    finally:
        worker.stop()


READ = {"intake": "/cases", "referral": "/risks", "notification": "/notices", "reporting": "/reports/participation"}
EDITED = {"intake": [("case_list", "case_id", "programme")], "referral": [("referral_board", "referral_id", "block")],
          "notification": [("notice_list", "about", "tenant")],
          "reporting": [("participation_period", "participation_id", "block"), ("release", "month", "body")]}  # fmt: skip
"""Tables that people read, what names their rows, and a column of each."""


@pytest.mark.parametrize("name", SERVICES)
async def test_a_rebuild_is_equal_and_a_row_edited_by_hand_is_named(
    fleet: Fleet, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting, value in fleet.environment(name).items():
        if setting.startswith("LOTSE_"):
            monkeypatch.setenv(setting, value)
    settings = load_settings()
    files = [file for _, folder in migrations(name) for file in sorted(folder.glob("*.sql"))]
    con = await asyncpg.connect(fleet.stack.databases[name].runtime, server_settings={"search_path": "lotse"})
    older = ("update state set shape = 0, due_at = '0001-01-01 00:00:00+00' where (kind, id) in"
             " (select kind, id from state where body is not null limit 1)")  # fmt: skip
    await _traffic(fleet, courses=1)
    async with asyncio.timeout(60):
        while (
            await con.execute(older) == "UPDATE 0"
        ):  # a version before ours wrote it: a rebuild is its way to the present shape
            await asyncio.sleep(0.1)
    await con.close()
    async with Publisher(fleet.stack.kafka) as sender:
        await sender.tick(TICKED + timedelta(minutes=next(MINUTES)))
    await until(lambda: "OlderShape" in str(fleet.status(name)["held"]))  # and it is not gone on from
    traffic, over = asyncio.create_task(_traffic(fleet)), asyncio.Event()
    reading = asyncio.create_task(_read(f"{fleet.url(name)}{READ[name]}", over))
    try:
        done = await rebuild(declared(name), settings, files)
        assert (done.compared, done.differences, done.swept) == (True, [], 0) and done.records > 0
    finally:
        await traffic
        over.set()
        read = await reading
    assert read.keys() == {200} and read[200] > 20  # whoever reads notices nothing
    async with Publisher(fleet.stack.kafka) as sender:  # it serves on, with what it learnt
        course = Course(date(2026, 3, 2))
        ids = [await sender.send(submission, subject) for submission, subject in course.steps()]
        assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}
    con = await asyncpg.connect(fleet.stack.databases[name].runtime, server_settings={"search_path": "lotse"})
    try:
        for table, key, column in EDITED[name]:
            one = await con.fetchval(f"select {key} from {table} order by 1 limit 1")  # noqa: S608
            await con.execute(f"update {table} set {column} = 'by-hand' || {column} where {key} = $1", one)  # noqa: S608
            named = (await rebuild(declared(name), settings, files)).differences
            assert {said.partition(":")[0] for said in named} == {table} and all(one in said for said in named)
            await con.execute(f"update {table} set {column} = substr({column}, 8) where {key} = $1", one)  # noqa: S608
        # an id it never made known; it stays there when the service, still learning, writes the row again
        edited = await con.fetchrow('select kind, id from state where known like \'%"given":["%\' limit 1')
        if edited is None:
            assert name in {"notification", "reporting"}  # nobody asks them for what could rest on an id
            return
        edit = """update state set known = replace(known, '"given":[', '"given":["by-hand",') where kind = $1 and id = $2"""
        await con.execute(edit, edited["kind"], edited["id"])
        named = (await rebuild(declared(name), settings, files)).differences
        assert any(edited["id"] in difference for difference in named)
        undo = """update state set known = replace(replace(known, '"by-hand",', ''), ',"by-hand"', '') where kind = $1 and id = $2"""
        await con.execute(undo, edited["kind"], edited["id"])
    finally:
        await con.close()


async def _traffic(fleet: Fleet, courses: int = 10) -> None:
    """Something for each service: cases, courses, somebody who stays away, and time."""
    async with Publisher(fleet.stack.kafka) as sender:
        for _ in range(courses):
            course = Course(date(2026, 3, 2))
            ids = [await sender.send(submission, subject) for submission, subject in course.steps()]
            assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}
            missed = [course.attendance(str(uuid4()), date(2026, 3, day), Presence.UNEXCUSED) for day in (2, 4)]
            ids = [await sender.send(report, course.case) for report in missed]
            assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}
            await sender.tick(TICKED + timedelta(minutes=next(MINUTES)))


async def _read(url: str, over: asyncio.Event) -> Counter[int]:
    """Reads until it is over; how often each status code came."""
    found: Counter[int] = Counter()
    async with httpx.AsyncClient(timeout=30) as reader:
        while not over.is_set():
            found[(await reader.get(url)).status_code] += 1
            await asyncio.sleep(0.005)
    return found
