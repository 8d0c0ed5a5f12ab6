"""What a partner sends with its own rights kills no service: a transaction has a bounded weight, whatever it finds."""

from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord

from contracts.codes import DataCategory, NeedType
from contracts.envelope import Attributes, Fact, Submission, headers_of
from contracts.intake import ConsentGiven, NeedReported, RegistrationSubmitted
from contracts.topics import dead_letters_topic, submissions_topic
from deploy.local.stack import LocalStack
from services.host.inputs import Inputs
from services.host.running import Running
from services.intake import domain
from services.runtime import batch, positions
from services.runtime.database import encode
from services.runtime.messages import Part, decode
from services.runtime.work import MOST_BYTES, Work
from tests.integration.conftest import node_of
from tests.publishing import NAME, OWNER, SOURCE, TENANT

PART = Part(submissions_topic("intake", NAME), 2)
CASES, LETTERS = 12, 64
MIB = 1 << 20


def record(offset: int, value: bytes, headers: list[tuple[str, bytes]]) -> ConsumerRecord[Any, Any]:
    """As a fetch brings it."""
    return ConsumerRecord(*PART, offset, 1_790_000_000_000, 1, None, value, None, -1, -1, headers)


def said(offset: int, submission: Submission, case: str) -> ConsumerRecord[Any, Any]:
    """A submission of the partner's."""
    moment = datetime(2026, 9, 20, tzinfo=UTC)
    headers = headers_of(Attributes(str(uuid4()), SOURCE, submission.ce_type, case, moment, TENANT))
    return record(offset, submission.to_json(), headers)


def fat(case: str) -> bytes:
    """A case with all the consents it may have, each with all the recipients it may have: nearly two million bytes."""
    state = domain.Case(id=case, tenant=TENANT)
    now = datetime(2026, 9, 20, tzinfo=UTC)
    domain.evolve(state, cast("Fact", domain.register(registration(), state, now)), "cause")
    for number in range(500):
        given = ConsentGiven(by=OWNER, consent_id=str(uuid4()), purpose="REFERRAL", categories=[DataCategory.LANGUAGE],
                             recipients=[f"{number}-{n}-".ljust(64, "a") for n in range(50)],
                             valid_from_on=date(2026, 1, 1), last_valid_on=date(2027, 1, 1))  # fmt: skip
        domain.evolve(state, cast("Fact", domain.give_consent(given, state, now)), "cause")
    return encode(state)


def registration() -> RegistrationSubmitted:
    """Of anybody."""
    return RegistrationSubmitted(by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm")


async def applied(node: Running, records: list[ConsumerRecord[Any, Any]]) -> None:
    """As one fetch."""
    inputs, start = Inputs(node), records[0].offset
    await positions.make(node.pool, {PART: start})
    messages = [decode(node.service, node.inputs[PART.topic], one) for one in records]
    around = batch.Around(inputs.settled, inputs.broken, "[]", {})
    await batch.apply(node, messages, {PART: start}, {PART: start + len(records)}, around)
    assert (await positions.stand(node.pool))[PART] == start + len(records)


async def test_fat_states_are_loaded_some_at_a_time(prepared: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is bounded by its messages: forty of a few bytes each on forty such cases were beyond what a service is given, and it
    would have begun again with the same forty."""
    async with node_of(prepared, "intake") as node:
        cases = [str(uuid4()) for _ in range(CASES)]
        await applied(node, [said(n, registration(), case) for n, case in enumerate(cases)])
        for case in cases:
            await node.pool.execute("update state set body = $2 where id = $1", case, fat(case).decode())

        loaded: list[int] = []
        lock = Work._lock

        async def weighed(self: Work, *arguments: Any) -> None:
            await lock(self, *arguments)
            loaded.append(sum(len(encode(slot.state)) for slot in self.slots.values() if slot.state))

        monkeypatch.setattr(Work, "_lock", weighed)
        needs = (NeedReported(by=OWNER, need_id=str(uuid4()), need_type=NeedType.LANGUAGE) for _ in cases)
        await applied(
            node, [said(CASES + n, need, case) for n, (need, case) in enumerate(zip(needs, cases, strict=True))]
        )
        assert max(loaded) <= MOST_BYTES and sum(loaded) > 1.5 * CASES * MIB and len(loaded) > 1
        recorded = "select count(*) from timeline where subject = any($1) and type like '%need_recorded%'"
        assert await node.pool.fetchval(recorded, cases) == CASES


async def test_letters_of_control_characters_leave_some_at_a_time(prepared: LocalStack) -> None:
    """Sealed they are eight times as much: one fetch of 8 MiB stood in memory with 290 MiB and in one row of the outbox."""
    async with node_of(prepared, "intake") as node:
        await node.pool.execute("delete from outbox; delete from dead_letter; delete from position")
        bad = [record(n, b"{}", [("\x01" * 125_000, b"x"), ("ce_id", b"%d" % n)]) for n in range(LETTERS)]
        await applied(node, bad)
        (row,) = await node.pool.fetch("select count(*) as n, max(octet_length(records)) as most from outbox where topic = $1",
                                       dead_letters_topic("intake"))  # fmt: skip
        assert row["n"] > 1 and row["most"] < 9 * MIB
        assert await node.pool.fetchval("select sum(letters) from dead_letter") == LETTERS
        await node.pool.execute("delete from outbox; delete from dead_letter")
