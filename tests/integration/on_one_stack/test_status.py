"""What alerts rest on: how far behind a service is, by the oldest thing and not by its own start; and what is missing."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from contracts.envelope import stamp
from contracts.topics import submissions_topic
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status
from tests.publishing import NAME

LATE = 7200


async def test_who_starts_anew_is_as_late_as_before(node: Running) -> None:
    """One that starts again each four minutes would never be late by a quarter of an hour."""
    async with AIOKafkaProducer(bootstrap_servers=node.settings.kafka) as producer:
        await producer.send_and_wait(submissions_topic("intake", NAME), b"x")
        await asyncio.sleep(3)
        await producer.send_and_wait(submissions_topic("intake", NAME), b"x")
    inputs = Inputs(node)
    await inputs.refresh()
    status = Status(node, inputs)
    assert status.lag_seconds == 0  # nobody has looked
    await status.look(await node.reader.ends(inputs.parts))
    assert status.lag_seconds > 2.9  # by Kafka's clock, whose milliseconds are rounded


async def test_time_is_as_old_as_for_the_alliance_for_which_it_stands_still(node: Running) -> None:
    now = datetime.now(UTC)
    rows = [("quick", now), ("slow", now - timedelta(seconds=LATE))]
    await node.pool.executemany("insert into alliance (tenant, ticked, tick_id, acted) values ($1, $2, $1, $2)", rows)
    await Status(node, Inputs(node)).said()
    age = node.metrics.registry.get_sample_value("lotse_tick_age_seconds")
    assert age is not None and LATE <= age < LATE + 60


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=3650)])
async def test_time_that_stands_still_since_it_was_ahead_is_a_finding(node: Running, ahead: timedelta) -> None:
    """Every clock of one machine was set forward and back: no tick is later than the last, whose age is below nothing, and no alert
    would fire until it is over."""
    now = (datetime.now(UTC) + timedelta(minutes=5)).replace(microsecond=0)  # which a sound tick may be ahead
    await node.pool.execute("delete from alliance")
    rows = [("ahead", now + ahead), ("sound", now), ("begun", None)]
    await node.pool.executemany("insert into alliance (tenant, ticked, tick_id, acted) values ($1, $2, $1, $2)", rows)
    said = await Status(node, Inputs(node)).said()
    await node.pool.execute("delete from alliance")
    assert [text.partition(": ")[0] for text in said["findings"]] == [
        f"time stands still for ahead until {stamp(now + ahead)}"
    ]
    assert node.metrics.registry.get_sample_value("lotse_findings") == 1


KEEP = ("insert into kept (topic, part, \"offset\", arrived, why, publisher, tenant, subject, rests_on, claimed, error, headers,"
        " value, at) values ($2, 0, $3, now(), 'early', '', 'rkn', $4, '', false, '', '', '', now() - $1::interval)"
        " returning at")  # fmt: skip


async def test_a_fact_that_does_not_come_is_a_finding_after_ten_minutes(node: Running) -> None:
    """Its position has gone on and nothing is held: without a figure of its own nobody would ever hear of it."""
    for minutes, found in ((9, []), (11, ["facts wait for one that does not come"])):
        await node.pool.execute("delete from kept")
        await node.pool.execute(KEEP, timedelta(minutes=minutes), "t", 1, "case")
        said = await Status(node, Inputs(node)).said()
        assert [text.partition(":")[0] for text in said["findings"]] == found
        assert node.metrics.registry.get_sample_value("lotse_findings") == len(found)
    await node.pool.execute("delete from kept")


async def test_a_fact_that_does_not_come_is_told_by_its_topic_since_when_and_of_whom(node: Running) -> None:
    """Else nobody knows whom to ask to send what again (the runbook's command wants both), nor of which cases no office hears."""
    await node.pool.execute("delete from kept")
    waits = [(40, "intake.events", "d"), (30, "intake.events", "d"), (35, "intake.events", "b"), (20, "referral.events", "a"),
             (12, "intake.events", "a"), (4, "intake.events", "c"), (5, "dropout.events", "a")]  # fmt: skip
    since = [
        await node.pool.fetchval(KEEP, timedelta(minutes=m), topic, n, of) for n, (m, topic, of) in enumerate(waits)
    ]
    said = await Status(node, Inputs(node)).said()
    assert [text.partition(": ")[2].partition(";")[0] for text in said["findings"]] == [
        f"on intake.events, since {stamp(since[0])}, of 4: a, b, c",
        f"on referral.events, since {stamp(since[3])}, of 1: a",
    ]
    await node.pool.execute("delete from kept")


async def test_what_another_process_has_to_read_is_no_standstill_of_this_one(node: Running) -> None:
    """One partition held for hours, at a partner's limit, had every other replica killed once a minute."""
    inputs = Inputs(node)
    await inputs.refresh()
    mine, other = inputs.parts[:2]
    await node.pool.execute("update position set next = 0")
    status, now = Status(node, inputs), time.monotonic()
    inputs.progress = now - 3600
    for part, parts, idle in ((mine, {mine}, True), (other, {mine}, False), (other, set(), False)):
        inputs.mine, status._watched, status._applied_until = parts, [], now - 600
        await status.look({part: 1})
        assert (status.idle() > 60) is idle and status.lag_seconds > 60  # that somebody lags is said by everybody
