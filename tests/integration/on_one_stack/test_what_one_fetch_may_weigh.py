"""What a partner sends with its own rights kills no service: a transaction has a bounded weight, whatever it finds."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import asyncpg
import httpx
import pytest
from aiokafka import ConsumerRecord
from fastapi import FastAPI

from contracts.codes import DataCategory, NeedType, Presence
from contracts.envelope import Attributes, Fact, Submission, headers_of
from contracts.intake import (
    CaseOpened,
    ConsentGiven,
    ConsentGranted,
    ConsentRevoked,
    NeedReported,
    RegistrationSubmitted,
)
from contracts.messages import to_message
from contracts.topics import dead_letters_topic, facts_topic, submissions_topic
from deploy.local.stack import LocalStack
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status
from services.intake import domain
from services.kept import taking_up
from services.operating import operate
from services.referral import domain as rules
from services.referral.domain.state import Case
from services.runtime import batch, positions, work
from services.runtime.database import encode, unpack
from services.runtime.messages import Message, Part, decode
from services.runtime.work import MOST_BYTES, Known, Work
from tests.in_hand import AROUND, in_hand
from tests.integration.conftest import node_of
from tests.publishing import NAME, OWNER, SOURCE, TENANT, Course

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

        loaded = loads(monkeypatch)
        needs = (NeedReported(by=OWNER, need_id=str(uuid4()), need_type=NeedType.LANGUAGE) for _ in cases)
        await applied(
            node, [said(CASES + n, need, case) for n, (need, case) in enumerate(zip(needs, cases, strict=True))]
        )
        assert max(loaded) <= MOST_BYTES and sum(loaded) > 1.5 * CASES * MIB and len(loaded) > 1
        recorded = "select count(*) from timeline where subject = any($1) and type like '%need_recorded%'"
        assert await node.pool.fetchval(recorded, cases) == CASES


async def test_others_have_their_turn_each_second_while_a_fetch_is_read(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document of 25,000 members takes a tenth of a second, and a fetch brings 64: heartbeats, and whoever asked whether the service
    lives, waited for all of them. An answer takes several rounds of the loop. (Here each look at the clock takes half a second, however
    fast a machine is.)"""
    now, answered = 0.0, set[float]()

    def monotonic() -> float:
        nonlocal now
        now += 0.5
        return now

    async def answers() -> None:
        while True:
            for _ in range(5):
                await asyncio.sleep(0)
            answered.add(now)

    monkeypatch.setattr("services.host.inputs.time", SimpleNamespace(monotonic=monotonic))
    async with node_of(prepared, "intake") as node:
        about = Attributes(
            str(uuid4()), SOURCE, RegistrationSubmitted.ce_type, str(uuid4()), datetime(2026, 9, 20, tzinfo=UTC), TENANT
        )
        _, headers, value = to_message(about, registration().to_json(), "structured")
        inputs, answering = Inputs(node), asyncio.create_task(answers())
        read = await inputs._decoded({PART: [record(n, value, headers) for n in range(40)]}, {})
        answering.cancel()
    assert [one.verdict for one in read] == [None] * 40
    assert len(answered) == 20  # at each second record


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


# --- what wakes


DAY = date(2026, 3, 2)
NOW = datetime.now(UTC)


class Said:
    """What referral is told, in order, and what it has answered."""

    def __init__(self, node: Running) -> None:
        self.node = node
        self.ends: Counter[str] = Counter()
        self.journal: list[str] = []

    async def fetch(self, *said: tuple[Submission | Fact, str] | tuple[Submission | Fact, str, int]) -> None:
        """One fetch: submissions, and facts of others with their number."""
        await batch.apply(self.node, [self._read(*one) for one in said], {}, {}, AROUND)

    def _read(self, what: Submission | Fact, subject: str, number: int | None = None) -> Message:
        topic, id = submissions_topic(what.family, NAME) if number is None else facts_topic(what.family), str(uuid4())
        about = Attributes(id, SOURCE, what.ce_type, subject, NOW, TENANT, number, str(uuid4()), NOW)
        self.ends[topic] += 1
        self.journal += [id] if number is None else []
        return in_hand(self.node, topic, self.ends[topic] - 1, NOW, about, what.to_json())

    async def answers(self) -> list[tuple[str, str]]:
        """To which id, and what, in order."""
        sql = "select records from outbox where after and topic like '%.answers.%' order by id"
        found = [json.loads(value) for row in await self.node.pool.fetch(sql) for _, value, _ in unpack(row["records"])]
        return [(one["submission_id"], one.get("reason", one["outcome"])) for one in found]

    async def waiting(self) -> int:
        """What /status says."""
        told = await Status(self.node, Inputs(self.node)).said()
        assert not told["quarantined"] and not told["set_aside"]["count"]
        return int(told["waiting"])

    async def is_settled(self) -> bool:
        """Nothing is left, and each has one answer: all was recorded."""
        left = await self.node.pool.fetch("select from kept union all select from quarantine")
        assert sorted(await self.answers()) == sorted((id, "recorded") for id in self.journal)
        return not left


async def begun(node: Running) -> Said:
    """A referral service that has read nothing."""
    await node.pool.execute("delete from outbox; delete from kept; delete from quarantine; delete from position; delete from state;"
                            " delete from timeline; delete from heard")  # fmt: skip
    await positions.make(node.pool, {Part(topic, 0): 0 for topic in node.inputs})
    return Said(node)


async def opened(node: Running, courses: list[Course], *, consents: int = 1, recipients: int = 1) -> None:
    """Cases as referral knows them, with these many consents."""
    rows = []
    for course in courses:
        state, ids = Case(course.case, TENANT), [course.consent, *(str(uuid4()) for _ in range(consents - 1))]
        rules.evolve(state, opening(), "")
        for id in ids:
            rules.evolve(state, granted(id, recipients), "")
        rows.append(
            (course.case, TENANT, Case.shape, encode(state).decode(), encode(Known({course.case, *ids})).decode())
        )
    add = "insert into state (kind, id, tenant, shape, body, known) values ('case', $1, $2, $3, $4, $5)"
    await node.pool.executemany(add, rows)


def opening() -> CaseOpened:
    return CaseOpened(by=OWNER, municipality="05162024", programme="GK", sex="UNKNOWN", birth_year_band="UNKNOWN",
                      language="UNKNOWN", status_group="UNKNOWN", owner_organisation_id="rkn-thm")  # fmt: skip


def granted(consent: str, recipients: int = 1) -> ConsentGranted:
    names = ["vhs-neuss", *(f"{n}-".ljust(64, "a") for n in range(recipients - 1))]
    return ConsentGranted(by=OWNER, consent_id=consent, purpose="REFERRAL", categories=[DataCategory.LANGUAGE],
                          recipients=names, valid_from_on=date(2026, 1, 1), last_valid_on=date(2028, 1, 1))  # fmt: skip


def into_one_run(number: int) -> list[Course]:
    courses = [Course(DAY) for _ in range(number)]
    for course in courses:
        course.run = courses[0].run
    return courses


def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of states each transaction loads from now on."""
    loaded: list[int] = []
    lock = Work._lock

    async def weighed(self: Work, *arguments: Any) -> None:
        await lock(self, *arguments)
        loaded.append(sum(len(encode(slot.state)) for slot in self.slots.values() if slot.state))

    monkeypatch.setattr(Work, "_lock", weighed)
    return loaded


async def test_fat_cases_that_wait_for_one_run_are_loaded_some_at_a_time(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred of them were 330 MB: the process was gone, and the next one loaded the same."""
    async with node_of(prepared, "referral") as node:
        said, courses = await begun(node), into_one_run(CASES)
        await opened(node, courses, consents=500, recipients=50)
        await said.fetch(*(course.steps()[3] for course in courses))
        assert await said.waiting() == CASES
        loaded = loads(monkeypatch)
        await said.fetch(courses[0].steps()[0])
        assert await said.answers() == [(said.journal[-1], "recorded")] and await said.waiting() == CASES
        await taking_up.catch_up(node, 60)
        assert await said.is_settled()
        assert max(loaded) <= MOST_BYTES and sum(loaded) > 1.5 * CASES * MIB


async def test_three_hundred_cases_that_wait_for_one_run_go_on_with_it(prepared: LocalStack) -> None:
    """A provider publishes it late: they need no turn of their own."""
    async with node_of(prepared, "referral") as node:
        said, courses = await begun(node), into_one_run(300)
        await opened(node, courses)
        await said.fetch(*(course.steps()[3] for course in courses))
        await said.fetch(courses[0].steps()[0])
        assert await said.is_settled()


async def test_a_fetch_that_wakes_too_much_in_all_is_done_in_halves(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intake was away for half an hour: hundreds of cases wait for their facts, some messages each, and these come in one fetch. None
    of them is too much alone, and none needs a turn of its own."""
    monkeypatch.setattr(work, "MOST_WOKEN", 5)
    async with node_of(prepared, "referral") as node:
        said, courses = await begun(node), into_one_run(6)
        await said.fetch(courses[0].steps()[0], *(step for course in courses for step in course.steps()[3:]))
        await said.fetch(*((opening(), course.case, 1) for course in courses))
        assert await said.waiting() == 18
        await said.fetch(*((granted(course.consent), course.case, 2) for course in courses))
        assert await said.is_settled()


async def test_a_fetch_that_wakes_fat_cases_of_several_runs_is_done_in_halves(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one run fit beside each other."""
    async with node_of(prepared, "referral") as node:
        said, one, other = await begun(node), into_one_run(CASES // 2), into_one_run(CASES // 2)
        await opened(node, [*one, *other], consents=500, recipients=50)
        await said.fetch(*(course.steps()[3] for course in (*one, *other)))
        loaded = loads(monkeypatch)
        await said.fetch(one[0].steps()[0], other[0].steps()[0])
        assert await said.is_settled()
        assert max(loaded) <= MOST_BYTES and sum(loaded) > 1.5 * CASES * MIB


async def in_a_course(said: Said) -> Course:
    """One who is accepted, and whose start nobody has told."""
    course = Course(DAY)
    await opened(said.node, [course])
    await said.fetch(course.steps()[0], *course.steps()[3:5])
    return course


async def test_what_wakes_is_judged_in_chunks_and_what_comes_meanwhile_behind_it(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand reports of a participation whose start comes late took more than a minute in one transaction, and who ended the
    process for it began the same again. Each is the next revision of one meeting: in another order it is not recorded. A tick between
    two chunks asks nothing of that case; who dies there is followed by another."""
    monkeypatch.setattr(work, "MOST_WOKEN", 5)
    monkeypatch.setattr(taking_up, "CHUNK", 4)
    async with node_of(prepared, "referral") as node:
        said = await begun(node)
        course, meeting = await in_a_course(said), str(uuid4())
        reports = [(course.attendance(meeting, DAY, presence, n), course.case) for n in range(1, 16)
                   for presence in [Presence.PRESENT if n % 2 else Presence.UNEXCUSED]]  # fmt: skip
        await said.fetch(*reports[:12])
        assert await said.waiting() == 12
        await said.fetch(course.steps()[5], *reports[12:14], (granted(str(uuid4())), course.case, 1))
        assert len(await said.answers()) == 4 and await said.waiting() == 14
        await taking_up.catch_up(node, 0)
        assert len(await said.answers()) == 8 and await said.waiting() == 10
        await said.fetch(reports[14])
        assert await said.waiting() == 11
        async with node_of(prepared, "referral") as another:
            await taking_up.catch_up(another, 60)
            await taking_up.catch_up(node, 60)
        assert await said.is_settled()
        assert [id for id, _ in await said.answers()][4:] == said.journal[3:15] + said.journal[16:]
        assert await node.pool.fetchval("select number from heard where subject = $1", course.case) == 1


async def test_a_fact_that_breaks_behind_what_woke_is_told_to_people(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken up again each second it would break each second. Until then nobody is shown what is kept; from then on all that came
    meanwhile."""
    monkeypatch.setattr(work, "MOST_WOKEN", 2)
    monkeypatch.setattr(taking_up, "CHUNK", 3)

    def breaks(state: Any, fact: Fact, cause: str) -> None:
        if isinstance(fact, ConsentRevoked):
            raise KeyError
        rules.evolve(state, fact, cause)

    async with node_of(prepared, "referral") as node:
        node.service = replace(node.service, evolve=breaks)
        said = await begun(node)
        course = await in_a_course(said)
        days = [DAY + timedelta(days=n) for n in range(3)]
        await said.fetch(*((course.attendance(str(uuid4()), day, Presence.PRESENT), course.case) for day in days))
        await said.fetch(course.steps()[5])
        revoked = ConsentRevoked(by=OWNER, consent_id=course.consent, withdrawn_on=DAY)
        await said.fetch((revoked, course.case, 1), course.steps()[3])
        assert (await shown(node), await said.waiting()) == ([], 4)
        await taking_up.catch_up(node, 60)
        rows = await node.pool.fetch("select q.why, k.why from quarantine q join kept k using (subject)")
        assert [tuple(row) for row in rows] == 2 * [("KeyError", "quarantined")]
        assert await shown(node) == 2 * ["quarantined"]


async def shown(node: Running) -> list[str]:
    """Why each is kept that `lotse dead-letters list` names."""
    app = FastAPI()
    app.include_router(operate.routes(node))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://referral") as client:
        last = await node.pool.fetchval("select max(seq) from kept")
        one = (await client.get(f"/kept/{last}")).json()["why"]
        rows = [row["why"] for row in (await client.get("/kept")).json()]
        assert one == ("quarantined" if rows else "waiting")
        return rows


async def test_nothing_that_woke_is_taken_up_while_a_rebuild_goes_on(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fact passed over at first, applied meanwhile and not passed over by the second look stood in no log behind it: live and
    beside differed, and nobody knew why. A rebuild waits for no more than one turn."""
    monkeypatch.setattr(work, "MOST_WOKEN", 2)
    async with node_of(prepared, "referral") as node:
        said = await begun(node)
        course = await in_a_course(said)
        days = [DAY + timedelta(days=n) for n in range(3)]
        await said.fetch(*((course.attendance(str(uuid4()), day, Presence.PRESENT), course.case) for day in days))
        await said.fetch(course.steps()[5])
        owner = await asyncpg.connect(prepared.databases["referral"].owner)
        begins = f"select pg_try_advisory_lock({taking_up.REBUILDING})"
        assert await owner.fetchval(begins)
        await taking_up.catch_up(node, 60)
        assert await said.waiting() == 3
        await owner.execute("select pg_advisory_unlock_all()")
        release, turns = taking_up.release, []

        async def meanwhile(*arguments: Any, **more: Any) -> taking_up.Released:
            turns.append(await owner.fetchval(begins))
            return await release(*arguments, **more)

        monkeypatch.setattr(taking_up, "release", meanwhile)
        await taking_up.catch_up(node, 60)
        assert turns == [False] and await said.is_settled() and await owner.fetchval(begins)
        await owner.close()


async def test_an_id_of_another_case_wakes_nothing_here(prepared: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of consents count within a case: ten thousand requests that wait for one in a case of somebody's own were read and judged
    with each consent of that id in any other."""
    read: set[int] = set()
    taken_up = Work.taken_up

    def counted(self: Work, row: Any) -> Message | None:
        read.add(row["seq"])
        return taken_up(self, row)

    async with node_of(prepared, "referral") as node:
        said, courses = await begun(node), into_one_run(3)
        here, there, other = courses
        await said.fetch(here.steps()[0], *((opening(), course.case, 1) for course in courses))
        requests = []
        for _ in range(7):
            request, case = here.steps()[3]
            requests.append((request.model_copy(update={"referral_id": str(uuid4())}), case))
        await said.fetch(*requests)
        monkeypatch.setattr(Work, "taken_up", counted)
        await said.fetch((granted(here.consent), there.case, 2))
        assert (len(read), await said.waiting()) == (0, 7)
        # in one fetch with what begins to wait, too
        await said.fetch(here.steps()[3], (granted(here.consent), other.case, 2))
        assert (len(read), await said.waiting()) == (0, 8)
        await said.fetch((granted(here.consent), here.case, 2))
        assert len(read) == 8 and await said.is_settled()


@pytest.mark.parametrize("first", ["case", "run"])
async def test_a_run_under_the_id_of_a_case_takes_nothing_from_it(prepared: LocalStack, first: str) -> None:
    """In one fetch both were recorded, and whatever was asked for that case afterwards was refused for good. The case is another
    service's: where a run was there before it, it is numbered behind that."""
    async with node_of(prepared, "referral") as node:
        said, course = await begun(node), Course(DAY)
        run = (course.steps()[0][0], course.case)
        case = (opening(), course.case, 1)
        if first == "run":
            await said.fetch(run)
        await said.fetch(run, case)
        await said.fetch((granted(course.consent), course.case, 2), course.steps()[0], *course.steps()[3:])
        told = [reason for _, reason in await said.answers()]
        assert told == [*(["recorded", "unchanged"] if first == "run" else ["UNKNOWN_SUBJECT"]), *4 * ["recorded"]]
        numbers = "select number from timeline where subject = $1 and family = 'referral' order by number"
        rows = await node.pool.fetch(numbers, course.case)
        assert [row["number"] for row in rows] == [*range(1, 5 if first == "run" else 4)]
