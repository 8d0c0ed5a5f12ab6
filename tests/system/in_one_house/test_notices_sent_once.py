"""Two workers of notification on all partitions, one killed around the mail server's acceptance: one mail an attempt."""

import asyncio
import email
import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from contracts.codes import Presence
from contracts.envelope import By, Submission
from deploy.fleet import Fleet
from tests.conftest import second_worker
from tests.publishing import OWNER, PATIENCE, Course, Publisher, told_again, until

FIRST_TICK = {
    "after_claim:kill:2": datetime(2026, 4, 4, 6, tzinfo=UTC),
    "after_begin:kill:2": datetime(2026, 4, 5, 6, tzinfo=UTC),
    "after_errand:kill:2": datetime(2026, 4, 6, 6, tzinfo=UTC),
}


@pytest.mark.parametrize("seam", list(FIRST_TICK))
async def test_one_mail_an_attempt_whoever_dies(fleet: Fleet, seam: str) -> None:
    course, at = Course(date(2026, 3, 25)), FIRST_TICK[seam]
    worker = second_worker(fleet, "notification", LOTSE_FAILPOINT=seam, LOTSE_LEASE_SECONDS="2")
    try:
        await until(lambda: b"serving" in worker.log.read_bytes())
        async with Publisher(fleet.stack.kafka) as sender:
            meeting = str(uuid4())
            reports = [course.attendance(str(uuid4()), date(2026, 3, 25), Presence.UNEXCUSED)]
            steps = [*course.steps(), *((report, course.case) for report in reports)]
            ids = [await sender.send(submission, subject) for submission, subject in steps]
            assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}
            news = itertools.count(1)

            async def something_to_tell() -> None:
                """The risk is raised, taken back, raised ...: at each tick the office hears of it."""
                revision = next(news)
                presence = Presence.UNEXCUSED if revision % 2 else Presence.PRESENT
                report = course.attendance(meeting, date(2026, 3, 27), presence, revision)
                assert (await sender.ask(report, course.case))["outcome"] == "recorded"
                tick = await sender.tick(at + timedelta(minutes=revision))
                await until(lambda: fleet.has_acted("notification", tick))

            while worker.pid is not None:
                await something_to_tell()
            assert worker.child is not None and worker.child.returncode == -9, (worker.child, worker.last_words())
            await until(lambda: settled(fleet))
            # a relay that died after Kafka's acknowledgement tells everything twice
            assert await told_again(fleet.stack.kafka, "notification.events", which=attempted) > 0
            await something_to_tell()
            await until(lambda: settled(fleet))
        results = await results_of(fleet)
        mails = Counter(email.message_from_bytes(file.read_bytes())["Message-ID"].strip("<>").removesuffix("@lotse")
                        for file in fleet.stack.mail_folder.glob("*.eml"))  # fmt: skip
        assert max(mails.values()) == 1 and set(mails) <= set(results)
        assert all(len(found) == 1 for found in results.values()), results
        assert all(mails[attempt] == 1 for attempt, found in results.items() if found == ["notification_sent"])
        uncertain = [attempt for attempt, found in results.items() if found == ["notification_uncertain"]]
        died = [a for a in uncertain if mails[a] == (1 if seam.startswith("after_errand") else 0)]
        begun = await begun_of(fleet)
        assert all(begun[attempt] for attempt in uncertain)  # what only waited for its turn was made by another
        assert died if "claim" not in seam else len(died) <= 1
    finally:
        worker.stop()


async def test_what_waits_behind_a_slow_mail_server_is_sent_and_not_called_uncertain(fleet: Fleet) -> None:
    """Two offices at one tick; the server keeps the first mail until both claims would be long over."""
    fleet.processes["notification"].stop()
    fleet.start_one("notification", LOTSE_LEASE_SECONDS="2")
    await asyncio.to_thread(fleet.wait_ready, "notification")
    before = set(await results_of(fleet))
    con = await asyncpg.connect(fleet.stack.databases["notification"].runtime, server_settings={"search_path": "lotse"})
    try:
        async with Publisher(fleet.stack.kafka) as sender:
            await two_offices_have_news(fleet, sender, date(2026, 4, 20))
            fleet.stack.mail_hold.touch()
            await sender.tick(datetime(2026, 4, 22, 6, tzinfo=UTC))
            claimed = "select count(*), min(lease_until) as until from claim where not done"
            first = None
            async with asyncio.timeout(PATIENCE):
                while True:  # renewed for longer than a lease lasts, or given up
                    now = await con.fetchrow(claimed)
                    assert now is not None
                    if now["count"] == 2:
                        first = first or now["until"]
                    if first is not None and (now["count"] < 2 or now["until"] > first + timedelta(seconds=4)):
                        break
                    await asyncio.sleep(0.1)
            assert now["count"] == 2
            fleet.stack.mail_hold.unlink()
            await until(lambda: settled(fleet))
        news = {attempt: found for attempt, found in (await results_of(fleet)).items() if attempt not in before}
        assert sorted(news.values()) == [["notification_sent"]] * 2
    finally:
        fleet.stack.mail_hold.unlink(missing_ok=True)
        await con.close()
        fleet.processes["notification"].stop()
        fleet.start_one("notification")
        await asyncio.to_thread(fleet.wait_ready, "notification")


async def test_who_is_stopped_sends_the_mail_in_hand_and_hands_back_the_other(fleet: Fleet) -> None:
    """An update while the server keeps a mail: it was sent and says so; the other goes out as soon as somebody is there again, not
    when the lease of 300 seconds is over."""
    before = set(await results_of(fleet))
    process = fleet.processes["notification"]
    try:
        async with Publisher(fleet.stack.kafka) as sender:
            await two_offices_have_news(fleet, sender, date(2026, 4, 27))
            fleet.stack.mail_hold.touch()
            await sender.tick(datetime(2026, 4, 29, 6, tzinfo=UTC))
            begun = "select count(*) filter (where begun_by is not null) as begun, count(*) from claim where not done"
            async with asyncio.timeout(PATIENCE):
                while [tuple(row) for row in await asked(fleet, begun)] != [(1, 2)]:
                    await asyncio.sleep(0.1)
        assert process.child is not None
        process.child.terminate()
        await until(lambda: not ready(fleet, "notification"))
        assert process.child.poll() is None  # it has a mail in hand
        fleet.stack.mail_hold.unlink()
        assert await asyncio.to_thread(process.stop) == 0
        news = {attempt: found for attempt, found in (await results_of(fleet)).items() if attempt not in before}
        assert sorted(news.values()) == [[], ["notification_sent"]]
        fleet.start_one("notification")
        await asyncio.to_thread(fleet.wait_ready, "notification")
        await until(lambda: settled(fleet))
        news = {attempt: found for attempt, found in (await results_of(fleet)).items() if attempt not in before}
        assert sorted(news.values()) == [["notification_sent"]] * 2
    finally:
        fleet.stack.mail_hold.unlink(missing_ok=True)
        if process.pid is None:
            fleet.start_one("notification")
        await asyncio.to_thread(fleet.wait_ready, "notification")


def ready(fleet: Fleet, name: str) -> bool:
    """Whether a service says that it serves."""
    try:
        return fleet.ask(name, "/ready").status_code == 200
    except httpx.HTTPError:
        return False


async def two_offices_have_news(fleet: Fleet, sender: Publisher, day: date) -> None:
    """Each hears of one risk at the next tick."""

    async def recorded(*sent: tuple[Submission, str]) -> None:
        ids = [await sender.send(submission, subject) for submission, subject in sent]
        assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}

    courses = {owner: Course(day) for owner in ("rkn-thm", "jmd-neuss")}
    for owner, course in courses.items():
        await recorded(*((owned(submission, owner), subject) for submission, subject in course.steps()))
    tick = await sender.tick(datetime(day.year, day.month, day.day, tzinfo=UTC))
    # before an alliance's first tick nobody knows what time it is, and nothing is raised
    await until(lambda: fleet.has_acted("referral", tick))
    for course in courses.values():
        days = [day + timedelta(days=n) for n in range(2)]
        await recorded(*((course.attendance(str(uuid4()), on, Presence.UNEXCUSED), course.case) for on in days))


def owned(submission: Submission, owner: str) -> Submission:
    """The same, of another owner's case."""
    changes: dict[str, object] = {}
    if submission.by == OWNER:
        changes["by"] = By(organisation_id=owner)
    if "owner_organisation_id" in type(submission).model_fields:
        changes["owner_organisation_id"] = owner
    return submission.model_copy(update=changes)


def attempted(record: Any) -> bool:
    return b"notification_attempted" in dict(record.headers)["ce_type"]


def settled(fleet: Fleet) -> bool:
    """Every attempt has its result; a dead worker's claim gets one when its lease is over."""
    rows = fleet.get("notification", "/attempts")
    of: Counter[str] = Counter()
    for row in rows:
        of[row["what"]] += row["n"]
    results = of["notification_sent"] + of["notification_failed"] + of["notification_uncertain"]
    return of["notification_attempted"] == results


async def begun_of(fleet: Fleet) -> dict[str, bool]:
    """Attempt to whether somebody began to make it."""
    rows = await asked(fleet, "select body::json ->> 'attempt_id' as attempt, begun_by is not null as begun"
                              " from (select convert_from(body, 'UTF8') as body, begun_by from claim) c")  # fmt: skip
    return {row["attempt"]: row["begun"] for row in rows}


async def results_of(fleet: Fleet) -> dict[str, list[str]]:
    """Attempt to the results recorded for it."""
    rows = await asked(fleet, "select split_part(type, '.', 3) as what, body::json ->> 'attempt_id' as attempt from timeline"
                              " where body::json ->> 'attempt_id' is not null")  # fmt: skip
    found: dict[str, list[str]] = {row["attempt"]: [] for row in rows if row["what"] == "notification_attempted"}
    for row in rows:
        if row["what"] != "notification_attempted":
            found[row["attempt"]].append(row["what"])
    return found


async def asked(fleet: Fleet, sql: str) -> list[asyncpg.Record]:
    """Rows of notification's database."""
    con = await asyncpg.connect(fleet.stack.databases["notification"].runtime, server_settings={"search_path": "lotse"})
    try:
        rows: list[asyncpg.Record] = await con.fetch(sql)
        return rows
    finally:
        await con.close()
