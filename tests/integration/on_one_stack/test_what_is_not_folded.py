"""A service reads of others' families what it folds. Of all else the number counts: a stream has no holes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import msgspec

from contracts.envelope import Attributes, By, Fact
from contracts.intake import CaseClosed, CaseOpened, ConsentGranted
from contracts.referral import ParticipationStarted, ReferralAccepted
from contracts.topics import facts_topic
from deploy.local.stack import LocalStack
from deploy.services import declared
from services.host.running import Running
from services.runtime import positions
from services.runtime.batch import apply
from services.runtime.messages import Message, Part, inputs_of
from services.runtime.work import Known
from tests.in_hand import AROUND, in_hand

NOW, THM, TENANT = datetime.now(UTC), By(organisation_id="rkn-thm"), "rkn"
DAY = NOW.date()


def learned(
    node: Running, place: tuple[str, int], number: int, fact: Fact, case: str, *, broken: bool = False
) -> Message:
    """A fact as the loop has it in hand; `broken`: with a body that its class would not read."""
    said = Attributes(str(uuid4()), "//lotse/local/x", fact.ce_type, case, NOW, TENANT, number, str(uuid4()), NOW)
    return in_hand(node, *place, NOW, said, b'{"by": 7}' if broken else fact.to_json())


async def test_reporting_counts_what_it_does_not_fold_and_keeps_nothing_of_it(
    node: Running, prepared: LocalStack
) -> None:
    service = declared("reporting")
    node = replace(node, service=service)
    node.inputs = inputs_of(service, node.publishers)
    cases, participation = [str(uuid4()), str(uuid4())], str(uuid4())
    intake, referral = facts_topic("intake"), facts_topic("referral")
    opened = CaseOpened(by=THM, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm", sex="UNKNOWN",
                        birth_year_band="UNKNOWN", language="UNKNOWN", status_group="UNKNOWN")  # fmt: skip
    consent = ConsentGranted(by=THM, consent_id=str(uuid4()), purpose="REFERRAL", categories=("ATTENDANCE",),
                             recipients=("rkn-vhs",), valid_from_on=DAY, last_valid_on=DAY)  # fmt: skip
    accepted = ReferralAccepted(by=THM, referral_id=str(uuid4()), planned_start_on=DAY, answered_on=DAY)
    started = ParticipationStarted(by=THM, participation_id=participation, referral_id=accepted.referral_id, run_id=str(uuid4()),
                                   block="F4", started_on=DAY - timedelta(days=1), revision=1, reported_at=NOW)  # fmt: skip
    closed = CaseClosed(by=THM, last_day_on=DAY, reason="COMPLETED")
    messages = [
        learned(node, (intake, 0), 1, opened, cases[0]),
        learned(node, (intake, 1), 2, consent, cases[0], broken=True),
        learned(node, (intake, 2), 3, closed, cases[0]),
        learned(node, (intake, 3), 2, consent, cases[1]),
        learned(node, (referral, 0), 1, accepted, cases[0], broken=True),
        learned(node, (referral, 1), 2, started, cases[0]),
        learned(node, (referral, 2), 1, started, cases[1]),
    ]
    async with asyncpg.create_pool(
        prepared.databases["reporting"].runtime, min_size=1, max_size=1, server_settings={"search_path": "lotse"}
    ) as node.pool:
        await node.pool.execute("delete from position; delete from quarantine")
        await node.pool.execute("insert into heard values ('intake', $1, 1, $2, false)", cases[1], str(uuid4()))
        await positions.make(node.pool, {Part(intake, 0): 0, Part(referral, 0): 0})
        await apply(node, messages, {}, {}, AROUND)
        heard = await node.pool.fetch("select family, subject, number from heard where subject = any($1)", cases)
        assert {tuple(row) for row in heard} == {("intake", cases[0], 3), ("intake", cases[1], 2), ("referral", cases[0], 2),
                                                 ("referral", cases[1], 1)}  # fmt: skip
        assert await node.pool.fetchval("select count(*) from quarantine") == 0
        rows = await node.pool.fetch("select known from state where id = any($1)", cases)
        assert [msgspec.json.decode(row["known"], type=Known).given for row in rows] == [set(), set()]
        periods = await node.pool.fetch(
            "select municipality, block from participation_period where case_id = $1", cases[0]
        )
        assert [tuple(row) for row in periods] == [("05162024", "F4")]
        await node.pool.execute("delete from state where id = any($1)", cases)
        await node.pool.execute("delete from heard where subject = any($1)", cases)
        await node.pool.execute("delete from participation_period where case_id = any($1)", cases)
