"""A service on its database: whose fault an error is (what a dying Postgres makes a driver say is never the data's), rules that
take long, and what a new version asks again."""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from contracts.codes import Presence
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import Attributes, By, Fact, Heard, Submission
from contracts.intake import NeedRecorded, NeedReported, RegistrationSubmitted
from contracts.referral import ReferralAccepted
from contracts.topics import submissions_topic
from deploy.local.stack import LocalStack
from deploy.services import declared, migrate, migrations
from services.host.running import Running
from services.intake import domain as intake
from services.referral.domain import evolve, meetings, view
from services.referral.domain.over import Risk
from services.referral.domain.risks import LOTSE
from services.referral.domain.state import Case, IntakePart
from services.referral.projection import REFERRAL_BOARD
from services.runtime import clock, positions
from services.runtime.batch import apply
from services.runtime.database import RETRY, connect, encode, unpack
from services.runtime.messages import Message, Part
from services.runtime.node import Node
from services.runtime.work import BeginAgain, Known, Work, transact
from tests.in_hand import AROUND, in_hand
from tests.publishing import NAME, PATIENCE, PROVIDER, SOURCE, TENANT, Course
from tests.unit.in_services.test_referral_rules import running as in_a_course


async def failing(stack: LocalStack, error: Exception, *, killed: bool) -> None:
    """Raises in the middle of a transaction, whose backend is ended before by somebody else."""
    pool = await connect(stack.databases["referral"].runtime)

    async def act(con: Any, _: BeginAgain) -> None:
        if killed:
            other = await asyncpg.connect(stack.databases["referral"].runtime)
            await other.execute("select pg_terminate_backend($1)", con.get_server_pid())
            await other.close()
            with pytest.raises(RETRY):
                await con.execute("select 1")
        raise error

    try:
        await transact(cast("Node", SimpleNamespace(pool=pool)), act)
    finally:
        pool.terminate()


async def test_an_error_on_a_dead_connection_is_held_and_never_blamed_on_a_submission(prepared: LocalStack) -> None:
    with pytest.raises(RETRY):  # the driver's own state machine, met by it between two messages of a server that dies
        await failing(prepared, AttributeError("'NoneType' object has no attribute 'write'"), killed=True)


async def test_a_driver_out_of_step_is_held(prepared: LocalStack) -> None:
    said = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    with pytest.raises(RETRY):
        await failing(prepared, said, killed=False)


async def test_a_rule_that_raises_on_a_sound_connection_stays_what_it_is(prepared: LocalStack) -> None:
    with pytest.raises(AttributeError):
        await failing(prepared, AttributeError("a rule of ours"), killed=False)


ORGANISATION = By(organisation_id="rkn-thm")
CAME = datetime.now(UTC)


def fetched(node: Running, offset: int, submission: Submission, case: str) -> Message:
    """A record as the loop has it in hand."""
    said = Attributes(str(uuid4()), SOURCE, submission.ce_type, case, CAME, TENANT)
    return in_hand(node, submissions_topic(submission.family, NAME), offset, CAME, said, submission.to_json())


@pytest.mark.parametrize("woken", [False, True])
async def test_rules_that_take_longer_than_postgres_bears_silence_end(
    node: Running, prepared: LocalStack, woken: bool
) -> None:
    """Of one fetch, or of what wakes at once. Else the session ends with the rules unfinished, and the same is begun again."""

    def slow(_: object, __: object) -> list[Fact]:
        time.sleep(0.5)
        return []

    case, part = str(uuid4()), Part(submissions_topic("intake", NAME), 0)
    registered = RegistrationSubmitted(
        by=ORGANISATION, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
    )
    needs = [NeedReported(by=ORGANISATION, need_id=str(uuid4()), need_type="WORK") for _ in range(16)]
    said = [*needs, registered] if woken else [registered, *needs]
    messages = [fetched(node, n, one, case) for n, one in enumerate(said)]
    limits = {"search_path": "lotse", "idle_in_transaction_session_timeout": "6s"}
    node.service = replace(node.service, react=slow)
    async with asyncpg.create_pool(
        prepared.databases["intake"].runtime, min_size=1, max_size=1, server_settings=limits
    ) as node.pool:
        await node.pool.execute("delete from position; delete from kept; delete from outbox")
        await node.pool.execute("insert into alliance (tenant, ticked) values ($1, now()) on conflict (tenant) do"
                                " update set ticked = now()", TENANT)  # fmt: skip
        await positions.make(node.pool, {part: 0})
        began = time.monotonic()
        for some in (messages[:16], messages[16:]):
            await apply(node, some, {}, {}, AROUND)
        assert time.monotonic() - began > 8
        assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 17
        assert await node.pool.fetchval("select next from position") == 17


async def test_a_case_that_another_worker_makes_meanwhile_is_met_and_not_made_twice(
    node: Running, prepared: LocalStack
) -> None:
    """Both name a case that nobody knows: one waits for the other's row, and judges by what that one has recorded."""
    registered = RegistrationSubmitted(
        by=ORGANISATION, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
    )
    case, part = str(uuid4()), Part(submissions_topic("intake", NAME), 0)
    second, first = (fetched(node, n, registered, case) for n in range(2))
    async with asyncpg.create_pool(
        prepared.databases["intake"].runtime, min_size=2, max_size=2, server_settings={"search_path": "lotse"}
    ) as node.pool:
        await node.pool.execute("delete from position; delete from outbox")
        await node.pool.execute("insert into alliance (tenant) values ($1) on conflict do nothing", TENANT)
        await positions.make(node.pool, {part: 0})
        async with node.pool.acquire() as con:
            ours = con.transaction()
            await ours.start()
            work = Work(node, con)
            await work.open([first])
            for message in await work.claim([first]):
                await work.judge(message)
            await work.save()
            theirs = asyncio.create_task(apply(node, [second], {}, {}, AROUND))
            async with asyncio.timeout(PATIENCE):
                while not await con.fetchval("select exists (select from pg_locks where not granted)"):
                    assert not theirs.done()
                    await asyncio.sleep(0.02)
            await ours.commit()
        await theirs
        rows = await node.pool.fetch("select records from outbox where after order by id")
        said = [json.loads(value) for row in rows for _, value, _ in unpack(row["records"])]
        assert [answer["outcome"] for answer in said] == ["recorded", "unchanged"]
        assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 1
        await node.pool.execute("delete from state where id = $1", case)


async def test_a_tick_gets_its_turn_beside_workers_that_never_rest(node: Running, prepared: LocalStack) -> None:
    """Postgres lets who shares a row pass by who waits to change it: with five such, time stood still."""
    busy = await connect(prepared.databases["intake"].runtime, size=6)
    others, stop = replace(node, pool=busy), asyncio.Event()

    async def works() -> None:
        while not stop.is_set():
            async with busy.acquire() as con, con.transaction():
                await Work(others, con).open([], tenants={TENANT, "other"})
                await asyncio.sleep(random.uniform(0.05, 0.15))  # noqa: S311

    await node.pool.execute("delete from tick; delete from position; update alliance set ticked = null, acted = null")
    working = [asyncio.create_task(works()) for _ in range(6)]
    try:
        await asyncio.sleep(0.5)
        at = datetime(2026, 3, 4, 7, tzinfo=UTC)
        async with asyncio.timeout(PATIENCE):
            for n in range(5):
                await node.pool.execute(
                    "insert into tick (id, at, ends) values ($1, $2, '[]')", f"tick {n}", at + timedelta(hours=n)
                )
                await clock.act(node, lambda _: None)
        acted = await node.pool.fetchval("select acted from alliance where tenant = $1", TENANT)
        assert acted == at + timedelta(hours=4)
    finally:
        stop.set()
        await asyncio.gather(*working)
        await busy.close()


async def test_who_learns_beside_waits_for_no_tick(node: Running) -> None:
    """That tick waits for the rebuild's own lock of the alliances: both would wait until one is cancelled."""
    async with node.pool.acquire() as tick, tick.transaction():
        await tick.execute(clock.TURN)
        for learning, expected in (
            (True, contextlib.nullcontext()),
            (False, pytest.raises(asyncpg.LockNotAvailableError)),
        ):
            async with node.pool.acquire() as con:
                await con.execute("set lock_timeout = '300ms'")
                with expected:
                    async with con.transaction():
                        await Work(node, con, learning=learning).open([], tenants={TENANT})


async def test_a_tick_with_nothing_to_do_reads_no_state(prepared: LocalStack) -> None:
    """Postgres took a third of all states for due, and went through all of them at each tick."""
    con = await asyncpg.connect(prepared.databases["intake"].owner, server_settings={"search_path": "lotse"})
    with contextlib.ExitStack() as held:
        held.callback(con.terminate)
        ours = con.transaction()
        await ours.start()
        await con.execute("insert into state (kind, id, tenant, shape, body, known, last, due_at) select 'case', 'due-' || n, 'rkn', 1,"
                          " '{}', '{}', '{}', now() + make_interval(days => n) from generate_series(1, 20000) n")  # fmt: skip
        await con.execute("insert into alliance (tenant, ticked) values ('rkn', now()) on conflict do nothing")
        await con.execute("analyze state")
        plan = "".join(
            row[0] for row in await con.fetch(f"explain analyze {clock.DUE} limit 500".replace("$1", "now()"))
        )
        assert "Index Scan using state_due" in plan and "Rows Removed" not in plan, plan
        await ours.rollback()


async def test_what_came_before_the_first_tick_bears_a_message_between_its_begin_and_its_turn(node: Running) -> None:
    """asyncpg reads the first moment of all, when such a state is due, as one without a zone: compared with a tick it broke each
    message of a new alliance that came in that second."""
    case, part = str(uuid4()), Part(submissions_topic("intake", NAME), 0)
    registered = RegistrationSubmitted(
        by=ORGANISATION, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm"
    )
    need = NeedReported(by=ORGANISATION, need_id=str(uuid4()), need_type="WORK")
    await node.pool.execute(
        "delete from position; delete from kept; delete from quarantine; delete from alliance; delete from tick"
    )
    await positions.make(node.pool, {part: 0})
    await apply(node, [fetched(node, 0, registered, case)], {}, {}, AROUND)
    assert await node.pool.fetchval("select due_at < '0001-01-02' from state where id = $1", case)
    await node.pool.execute("update alliance set ticked = now(), tick_id = 'one'")
    await apply(node, [fetched(node, 1, need, case)], {}, {}, AROUND)
    assert await node.pool.fetchval("select count(*) from timeline where subject = $1", case) == 2
    assert await node.pool.fetchval("select count(*) from kept") == 0


@pytest.mark.parametrize(("rule", "version", "shape"), [("S2", "0005", 6), ("S6", "0006", 8), ("S2", "0007", 9)])
async def test_a_worry_that_was_open_before_its_rule_changed_is_asked_again(
    prepared: LocalStack, rule: str, version: str, shape: int
) -> None:
    """In a closed case, to which no message comes any more; a case without one is left alone."""
    con = await asyncpg.connect(prepared.databases["referral"].owner, server_settings={"search_path": "lotse"})
    try:
        closed = Case(str(uuid4()), "rkn", IntakePart(last_day_on=CAME.date()))
        other = Case(str(uuid4()), "rkn", IntakePart(last_day_on=CAME.date()))
        closed.dropout.open.append(Risk(str(uuid4()), rule, CAME.date()))
        closed.dropout.raised[f"{rule}:{uuid4()}"] = other.dropout.raised[f"{rule}:{uuid4()}"] = 1
        add = "insert into state (kind, id, tenant, shape, body, known, last) values ('case', $1, 'rkn', $2, $3, '{}', '{}')"
        await con.executemany(add, [(case.id, 5, encode(case).decode()) for case in (closed, other)])
        table = next(table for table, folder in migrations("referral") if folder.parent.name == "referral")
        assert await con.execute(f"delete from {table} where version = $1", version) == "DELETE 1"  # noqa: S608
        assert version in migrate("referral", prepared.databases["referral"].owner)
        rows = await con.fetch(
            "select id, shape, due_at <= now() as due from state where id = any($1)", [closed.id, other.id]
        )
        # an old version beside it must not be asked: it would find nothing to say, and the mark would be gone
        assert {tuple(row) for row in rows} == {(closed.id, shape, True), (other.id, 5, None)} and Case.shape >= shape
        await con.execute("delete from state where id = any($1)", [closed.id, other.id])
    finally:
        await con.close()


def without_yeses(case: Case) -> str:
    """As versions before shape 11 wrote it."""
    body = json.loads(encode(case))
    for said in body["referral"]["referrals"].values():
        said.pop()
    return json.dumps(body, separators=(",", ":"))


def of_shape_8(case: Case, *heard_last: ReferralAccepted) -> str:
    """As the version before wrote it: no member for a first yes, and the yes that was heard last."""
    body = json.loads(without_yeses(case))
    referrals: dict[str, list[Any]] = body["referral"]["referrals"]
    for said in referrals.values():
        said.pop()
    for yes in heard_last:
        referrals[yes.referral_id][11], referrals[yes.referral_id][14] = str(yes.planned_start_on), str(yes.answered_on)
    return json.dumps(body, separators=(",", ":"))


async def test_a_state_of_before_expects_somebody_on_the_day_that_a_rebuild_says(prepared: LocalStack) -> None:
    """Letter by letter, with its list: what has the new shape is compared. Who said yes on one day alone is left alone."""
    day, courses = timedelta(days=1), [Course(CAME.date()) for _ in range(3)]
    moved, absent, one = (in_a_course(course, started=course is courses[1]) for course in courses)
    known, other = moved.referral.referrals[courses[0].referral], str(uuid4())
    moved.referral.referrals[other] = known._replace(state="SENT", planned_start_on=None, accepted_on=None, block="F1")
    yes = [ReferralAccepted(by=PROVIDER, referral_id=courses[0].referral, planned_start_on=known.requested_on + planned * day,
                            answered_on=known.requested_on + answered * day) for planned, answered in ((0, 0), (60, 8), (3, 1))]  # fmt: skip
    for fact in yes[1:]:
        evolve(moved, fact, "")
    absent.dropout.open.append(Risk(courses[1].participation, "S2", CAME.date()))
    old = {moved.id: of_shape_8(moved, yes[-1]), absent.id: of_shape_8(absent), one.id: of_shape_8(one)}
    con = await asyncpg.connect(prepared.databases["referral"].owner, server_settings={"search_path": "lotse"})
    try:
        await con.executemany("insert into state (kind, id, tenant, shape, body, known, last) values ('case', $1, 'rkn', 8, $2, '{}', '{}')",
                              list(old.items()))  # fmt: skip
        await con.executemany("insert into timeline values ('referral', $1, $2, $3, $4, now(), now(), '', $5)",
            [(moved.id, n, str(uuid4()), fact.ce_type, fact.to_json().decode()) for n, fact in enumerate(yes, 2)])  # fmt: skip
        board = "insert into referral_board select r.* from jsonb_populate_record(null::referral_board, $1) r"
        shown = dict(zip(REFERRAL_BOARD.columns, view(moved)["referral_board"][0], strict=True))
        await con.execute(board, json.dumps(shown | {"planned_start_on": yes[-1].planned_start_on}, default=str))
        for still, expected in ((True, CAME.date()), (False, None)):
            risk = "insert into risk_list values ($1, 'S6', $2, 'rkn', null, $1, $3, $4, 1, $5, 'rkn-thm')"
            await con.execute("delete from risk_list where case_id = $1", moved.id)
            await con.execute(risk, courses[0].referral, moved.id, courses[0].run, CAME.date(), still)
            table = next(table for table, folder in migrations("referral") if folder.parent.name == "referral")
            assert await con.execute(f"delete from {table} where version = '0007'") == "DELETE 1"  # noqa: S608
            assert "0007" in migrate("referral", prepared.databases["referral"].owner)
            assert await con.fetchval("select holds_from_on from risk_list where case_id = $1", moved.id) == expected
            rows = await con.fetch("select id, shape, due_at <= now(), body from state where id = any($1)", list(old))
            assert {tuple(row) for row in rows} == {
                (moved.id, 9, True, without_yeses(moved)), (absent.id, 9, True, without_yeses(absent)),
                (one.id, 9, None, without_yeses(one)),
            }  # fmt: skip
        planned = await con.fetchval("select planned_start_on from referral_board where case_id = $1", moved.id)
        assert planned == yes[1].planned_start_on and Case.shape >= 9
    finally:
        for what, key in (
            ("state", "id"),
            ("timeline", "subject"),
            ("referral_board", "case_id"),
            ("risk_list", "case_id"),
        ):
            await con.execute(f"delete from {what} where {key} = any($1)", list(old))  # noqa: S608
        await con.close()


async def test_why_a_risk_of_before_is_over_is_what_a_rebuild_makes_of_it(prepared: LocalStack) -> None:
    """Of a case with nothing of it, and of two whose risks went on, were raised again, and were withdrawn long ago, or too many."""
    none, few, many = (Case(str(uuid4()), "rkn") for _ in range(3))
    facts = list[tuple[str, Fact]]()

    def said(case: Case, kind: type[Fact], n: int, days: float, **more: Any) -> None:
        fact = kind(by=LOTSE, case_id=case.id, about=str(UUID(int=n)), rule="S2", first_on=CAME.date(), owner_organisation_id="rkn-thm",
                    as_of=CAME + timedelta(days=days), **more)  # fmt: skip
        evolve(case, fact, "")
        facts.append((case.id, fact))

    for case, last in ((few, 20), (many, 40)):
        for n, days in [(1, 0), (2, 3), *((n, 60 + n / 10) for n in range(3, last))]:
            said(
                case, DropoutRiskRaised, n, days, rule_version=1, days_on=(CAME.date(), CAME.date() + timedelta(days=1))
            )
            if n % 3 == 0:
                said(case, DropoutRiskContinued, n, days, last_missed_on=CAME.date() + timedelta(days=n))
            said(case, DropoutRiskWithdrawn, n, days, reason="ATTENDED")
        for n in (12, 13, 15):
            said(case, DropoutRiskRaised, n, 70.5, rule_version=1, days_on=(CAME.date(),))
        for n in (13, 14, 15, 17):
            said(case, DropoutRiskWithdrawn, n, 70.5 if n == 15 else 71, reason="CORRECTED")
        said(case, DropoutRiskWithdrawn, 14, 71, reason="ENDED")
        said(case, DropoutRiskRaised, 17, 71, rule_version=1, days_on=(CAME.date(),))
    assert [(len(case.dropout.over), len(case.dropout.open)) for case in (few, many)] == [(17, 2), (30, 2)]
    assert [one.before for one in few.dropout.over if one.before] == ["ATTENDED"] * 4
    for case, answers in (
        (few, "02 12 10 15 15 28"),
        (many, " ".join(f"{n}{n}" for n in (0, 5, *range(10), 8, 4)) + " 45"),
    ):
        course = Course(CAME.date())
        case.referral.referrals |= in_a_course(course, started=False).referral.referrals
        case.referral.referrals[str(uuid4())] = case.referral.referrals[course.referral]
        known = case.referral.referrals[course.referral]
        case.referral.referrals[course.referral] = known._replace(state="SENT", planned_start_on=None, accepted_on=None)
        for answered, planned in (map(int, answer) for answer in answers.split()):
            yes = ReferralAccepted(by=PROVIDER, referral_id=course.referral, planned_start_on=CAME.date() + timedelta(days=planned),
                                   answered_on=CAME.date() + timedelta(days=answered))  # fmt: skip
            evolve(case, yes, "")
            facts.append((case.id, yes))
    assert [len(one.yeses) for case in (few, many) for one in case.referral.referrals.values()] == [5, 0, 10, 0]
    con = await asyncpg.connect(prepared.databases["referral"].owner, server_settings={"search_path": "lotse"})
    try:
        add = "insert into state (kind, id, tenant, shape, body, known, last) values ('case', $1, 'rkn', 10, $2, '{}', '{}')"
        for case in (none, few, many):
            before = json.loads(without_yeses(case))
            del before["dropout"]["over"]
            await con.execute(add, case.id, json.dumps(before, separators=(",", ":")))
        note = "insert into timeline values ($7, $1, $2, $3, $4, $5, $5, null, $6)"
        for number, (id, fact) in enumerate(facts):
            await con.execute(note, id, number, str(number), fact.ce_type, CAME, fact.to_json().decode(), fact.family)
        table = next(table for table, folder in migrations("referral") if folder.parent.name == "referral")
        assert await con.execute(f"delete from {table} where version = '0009'") == "DELETE 1"  # noqa: S608
        assert "0009" in migrate("referral", prepared.databases["referral"].owner)
        cases = [none.id, few.id, many.id]
        rows = await con.fetch("select id, shape, due_at <= now(), body from state where id = any($1)", cases)
        assert {tuple(row) for row in rows} == {
            (case.id, Case.shape, True if case.dropout.over else None, encode(case).decode()) for case in (none, few, many)
        }  # fmt: skip
    finally:
        await con.execute("delete from timeline where subject = any($1)", [few.id, many.id])
        await con.execute("delete from state where id = any($1)", [none.id, few.id, many.id])
        await con.close()


async def test_a_risk_of_before_is_listed_with_the_day_since_which_it_is_open(prepared: LocalStack) -> None:
    """Of two about one participation's case, and of one that was withdrawn, each its own or none; a version before stands at it."""
    day, (first, other) = CAME.date(), (str(uuid4()), str(uuid4()))
    case = Case(str(uuid4()), "rkn", IntakePart())
    case.dropout.open += [Risk(first, "S2", day, day), Risk(other, "S6", day - timedelta(days=9))]
    con = await asyncpg.connect(prepared.databases["referral"].owner, server_settings={"search_path": "lotse"})
    try:
        await con.execute("insert into state (kind, id, tenant, shape, body, known, last) values ('case', $1, 'rkn', 9, $2, '{}', '{}')",
                          case.id, encode(case).decode())  # fmt: skip
        await con.execute("alter table risk_list drop column open_first_on")
        risk = "insert into risk_list values ($1, $2, $3, 'rkn', null, $1, $1, $4, 1, $5, 'rkn-thm')"
        for about, rule, still in ((first, "S2", True), (first, "S6", False), (other, "S6", True)):
            await con.execute(risk, about, rule, case.id, day - timedelta(days=90), still)
        table = next(table for table, folder in migrations("referral") if folder.parent.name == "referral")
        assert await con.execute(f"delete from {table} where version = '0008'") == "DELETE 1"  # noqa: S608
        assert "0008" in migrate("referral", prepared.databases["referral"].owner)
        rows = await con.fetch("select about, rule, open_first_on from risk_list where case_id = $1", case.id)
        assert {tuple(row) for row in rows} == {
            (first, "S2", day),
            (first, "S6", None),
            (other, "S6", day - timedelta(days=9)),
        }
        assert await con.fetchval("select shape from state where id = $1", case.id) == 10
    finally:
        await con.execute("delete from risk_list where case_id = $1", case.id)
        await con.execute("delete from state where id = $1", case.id)
        await con.close()


async def test_a_case_of_before_knows_who_told_its_needs_letter_by_letter_as_a_rebuild(prepared: LocalStack) -> None:
    opener, owner, day = By(organisation_id="jmd-neuss"), By(organisation_id="rkn-thm"), CAME.date()
    cases = [intake.Case(str(uuid4()), "rkn") for _ in range(2)]
    told = [NeedRecorded(by=by, need_id=str(uuid4()), need_type="WORK") for by in (owner, opener, owner)]
    for fact in told:
        intake.evolve(cases[0], fact, "")
    cases[1].last_day_on = day
    con = await asyncpg.connect(prepared.databases["intake"].owner, server_settings={"search_path": "lotse"})
    add = "insert into state (kind, id, tenant, shape, body, known, last) values ('case', $1, 'rkn', 1, $2, '{}', '{}')"
    try:
        for case in cases:
            body = json.loads(encode(case))
            del body["needs_told_by"]
            await con.execute(add, case.id, json.dumps(body, separators=(",", ":")))
        await con.executemany("insert into timeline values ('intake', $1, $2, $3, $4, now(), now(), '', $5)",
            [(cases[0].id, n, str(uuid4()), fact.ce_type, fact.to_json().decode()) for n, fact in enumerate(told, 1)])  # fmt: skip
        table = next(table for table, folder in migrations("intake") if folder.parent.name == "intake")
        assert await con.execute(f"delete from {table} where version = '0002'") == "DELETE 1"  # noqa: S608
        assert "0002" in migrate("intake", prepared.databases["intake"].owner)
        rows = await con.fetch("select id, shape, body from state where id = any($1)", [case.id for case in cases])
        assert {tuple(row) for row in rows} == {(case.id, intake.Case.shape, encode(case).decode()) for case in cases}
        assert cases[0].needs_told_by == {"jmd-neuss": 1, "rkn-thm": 2}
    finally:
        for what, key in (("state", "id"), ("timeline", "subject")):
            await con.execute(f"delete from {what} where {key} = any($1)", [case.id for case in cases])  # noqa: S608
        await con.close()


async def test_a_state_of_the_shape_before_is_judged_and_written_in_this_one(
    node: Running, prepared: LocalStack
) -> None:
    """As `lotse migrate` finds it: no rebuild stands between two versions, and a report may come at once."""
    day, meeting = CAME.date() - timedelta(days=1), str(uuid4())  # reported at six in the evening of that day
    course = Course(day)
    said = {presence: course.attendance(meeting, day, presence, revision) for presence, revision in
            ((Presence.UNEXCUSED, 1), (Presence.PRESENT, 1), (Presence.LATE, 2))}  # fmt: skip
    first = said[Presence.UNEXCUSED]
    body = json.loads(encode(in_a_course(course)))
    body["attendance"] = {"meetings": {course.participation: {meeting: json.loads(encode(
        [day, "UNEXCUSED", 4, 0, None, first.reported_at, 1]))}}}  # fmt: skip
    known = encode(Known({course.case, course.participation}, {"attendance": Heard(1, str(uuid4()))})).decode()
    node.service = declared("referral")
    async with asyncpg.create_pool(
        prepared.databases["referral"].runtime, min_size=1, max_size=1, server_settings={"search_path": "lotse"}
    ) as node.pool:
        await node.pool.execute("delete from position; delete from outbox")
        add = "insert into state (kind, id, tenant, shape, body, known) values ('case', $1, $2, 6, $3, $4)"
        await node.pool.execute(add, course.case, TENANT, json.dumps(body), known)
        part = Part(submissions_topic("attendance", NAME), 0)
        await positions.make(node.pool, {part: 0})
        messages = [fetched(node, n, one, course.case) for n, one in enumerate(said.values())]
        await apply(node, messages, {}, {}, AROUND)
        sent = [json.loads(value) for row in await node.pool.fetch("select records from outbox where after")
                for _, value, _ in unpack(row["records"])]  # fmt: skip
        assert [answer.get("reason", answer["outcome"]) for answer in sent] == [
            "unchanged",
            "REVISION_REUSED",
            "recorded",
        ]
        row = await node.pool.fetchrow("select shape, body from state where id = $1", course.case)
        assert row and row["shape"] == Case.shape > 6
        sheet = msgspec.json.decode(row["body"], type=Case).attendance.sheets[course.participation]
        assert meetings.presences(sheet) == b"L"
        await node.pool.execute("delete from state where id = $1", course.case)
