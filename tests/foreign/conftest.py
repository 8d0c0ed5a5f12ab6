"""A house in which seven weeks have been played, for those who only see its topics; and the TypeScript example, built."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contracts.codes import EndKind
from contracts.envelope import Submission
from contracts.referral import ParticipationEndReported, ParticipationStartReported
from deploy.demo.kreis import Kreis
from deploy.demo.play import Player
from deploy.fleet import Fleet
from deploy.local.stack import LocalStack
from deploy.places import ROOT, SERVICES
from deploy.services import make_topics, publishers_from
from tests.conftest import PUBLISHERS, new_stack, without_topics
from tests.foreign.tools import SUBSCRIBER, npm, packages
from tests.publishing import NAME, PATIENCE, PROVIDER, Course, Publisher, until


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as somebody would build it: types from the schemas, then `tsc --strict`."""
    folder = tmp_path_factory.mktemp("subscriber")
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(SUBSCRIBER / name, folder)
    shutil.copytree(SUBSCRIBER / "src", folder / "src")
    (folder / "node_modules").symlink_to(packages(SUBSCRIBER))
    done = npm("run", "build", cwd=folder, CONTRACTS=str(ROOT / "contracts"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def beside() -> Iterator[LocalStack]:
    """A stack in which nobody lives."""
    with new_stack() as started:
        yield started


@pytest.fixture
def log(beside: LocalStack) -> str:
    """Topics without a house, and nothing on them: what is done to them is nobody's fault."""
    without_topics(beside)
    asyncio.run(make_topics(beside.kafka, publishers_from(PUBLISHERS), local=True))
    return beside.kafka


PLAYED_UNTIL = datetime(2025, 5, 2, 6, tzinfo=UTC)
"""The last tick: January to April 2025 are over."""


@pytest.fixture(scope="session")
def played(fleet: Fleet) -> Fleet:
    """Seven weeks of a Kreis, then persons whose starts and ends are corrected, then facts sent twice by services that lost
    Postgres between Kafka's acknowledgement and their note of it, then the tick after which four months are over."""
    asyncio.run(_play(fleet))
    asyncio.run(_correct(fleet))
    _send_twice(fleet)
    asyncio.run(_close(fleet))
    return fleet


async def _play(fleet: Fleet) -> None:
    done = await Player(fleet, publishers_from(PUBLISHERS)[NAME], PATIENCE).play(Kreis(persons=60, weeks=7, seed=6))
    assert done.answered_once == len(done.journal) > 300


async def _correct(fleet: Fleet) -> None:
    async with Publisher(fleet.stack.kafka) as sender:
        for submission, subject in [step for n in range(len(CORRECTIONS)) for step in corrected(n)]:
            answer = await sender.ask(submission, subject)
            assert answer["outcome"] == "recorded", answer


async def _close(fleet: Fleet) -> None:
    async with Publisher(fleet.stack.kafka) as sender:
        tick = await sender.tick(PLAYED_UNTIL)
    for name in SERVICES:
        await until(partial(fleet.has_acted, name, tick))


def _send_twice(fleet: Fleet) -> None:
    """intake and referral lose Postgres when Kafka has their facts and they have not noted it yet: they send them again."""
    for name in ("intake", "referral"):
        fleet.processes[name].stop()
        fleet.start_one(name, LOTSE_FAILPOINT="after_ack:lose:1")
    for name in ("intake", "referral"):
        fleet.wait_ready(name)

    async def send() -> None:
        async with Publisher(fleet.stack.kafka) as sender:
            ids = [await sender.send(submission, subject) for submission, subject in Course(date(2025, 4, 7)).steps()]
            assert {answer["outcome"] for answer in await sender.answered(*ids)} == {"recorded"}

    asyncio.run(send())


Said = tuple[str, int, EndKind | None]
"""The day of a start, or of an end and of which kind, and the revision. Each is reported an hour after the one before, unless its revision is
negative: then a day before all others, so that it never stands."""

CORRECTIONS: list[list[Said]] = [
    [("2025-01-30", 2, None)],  # it began a month earlier
    [("2025-03-05", 1, EndKind.DROPPED_OUT), ("2025-02-27", 2, EndKind.DROPPED_OUT)],
    [("2025-03-01", 1, EndKind.COMPLETED)],  # exclusive: there on the last of February, gone in March
    [("2025-02-20", 1, EndKind.DROPPED_OUT), ("2025-02-20", 2, EndKind.ENTERED_IN_ERROR)],
    [("2025-04-02", 2, EndKind.TRANSFERRED), ("2025-02-14", -1, EndKind.DROPPED_OUT)],
    [("2025-02-10", 1, EndKind.CANCELLED)],  # never came: begins and ends on the same day
]


def corrected(number: int) -> list[tuple[Submission, str]]:
    """One person's way from registration through all that was said of it."""
    course = Course(date(2025, 2, 10))
    found = course.steps()
    at = datetime(2025, 4, 10, 8, tzinfo=UTC)
    for hours, (on, revision, kind) in enumerate(CORRECTIONS[number]):
        late = at - timedelta(days=1) if revision < 0 else at + timedelta(hours=hours)
        day = date.fromisoformat(on)
        same: dict[str, Any] = {
            "by": PROVIDER,
            "participation_id": course.participation,
            "revision": abs(revision),
            "reported_at": late,
        }
        report: Submission = (
            ParticipationStartReported(referral_id=course.referral, started_on=day, **same)
            if kind is None
            else ParticipationEndReported(ended_before_on=day, kind=kind, **same)
        )
        found.append((report, course.case))
    return found
