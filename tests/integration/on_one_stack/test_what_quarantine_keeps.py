"""What concerns a subject in quarantine: kept once, within bounds, released in chunks, in order, whoever dies between two."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from contracts.envelope import Attributes, Submission, fact_id_of
from contracts.intake import NeedRecorded, NeedReported, RegistrationSubmitted
from contracts.messages import to_message
from contracts.topics import facts_topic, submissions_topic
from deploy.local.stack import LocalStack
from deploy.places import ROOT
from services.host.inputs import Inputs
from services.host.running import Running
from services.host.status import Status
from services.kept import taking_up, waiting
from services.operating import operate
from services.runtime import positions
from services.runtime.batch import apply
from services.runtime.database import unpack
from services.runtime.messages import Message, Part
from tests.conftest import PUBLISHERS
from tests.in_hand import AROUND, in_hand
from tests.integration.conftest import node_of
from tests.publishing import NAME, OWNER, SOURCE, TENANT

NOW = datetime.now(UTC)
TOPIC, FACTS = submissions_topic("intake", NAME), facts_topic("intake")
REGISTERED = RegistrationSubmitted(by=OWNER, municipality="05162024", programme="GK", owner_organisation_id="rkn-thm")


def said(offset: int, node: Running, case: str, what: Submission, id: str | None = None) -> Message:
    """A submission as the loop has it in hand."""
    return in_hand(
        node,
        TOPIC,
        offset,
        NOW,
        Attributes(id or str(uuid4()), SOURCE, what.ce_type, case, NOW, TENANT),
        what.to_json(),
    )


def need() -> NeedReported:
    return NeedReported(by=OWNER, need_id=str(uuid4()), need_type="WORK")


def learned(offset: int, node: Running, case: str, number: int) -> Message:
    """A fact of intake's, likewise."""
    fact = NeedRecorded(by=OWNER, need_id=str(uuid4()), need_type="WORK")
    about = Attributes(str(uuid4()), "//lotse/x", fact.ce_type, case, NOW, TENANT, number, str(uuid4()), NOW)
    return in_hand(node, FACTS, offset, NOW, about, fact.to_json())


@pytest.fixture
async def case(node: Running) -> str:
    """In quarantine, in an intake that has read nothing."""
    return await quarantined(node)


async def quarantined(node: Running) -> str:
    case = str(uuid4())
    await node.pool.execute("delete from position; delete from kept; delete from outbox; delete from quarantine")
    await positions.make(node.pool, {Part(TOPIC, 0): 0, Part(FACTS, 0): 0})
    await node.pool.execute("insert into quarantine (subject, why) values ($1, 'Broken')", case)
    return case


async def answers(node: Running) -> list[tuple[str, str, str | None]]:
    """All that is on its way out: to which id, what, why."""
    rows = await node.pool.fetch("select records from outbox where topic like 'intake.answers%' order by id")
    found = [json.loads(value) for row in rows for _, value, _ in unpack(row["records"])]
    return [(one["submission_id"], one["outcome"], one.get("reason")) for one in found]


async def kept(node: Running) -> list[tuple[str, bool]]:
    return [tuple(row) for row in await node.pool.fetch("select why, claimed from kept order by seq")]


async def test_what_is_sent_again_meanwhile_is_kept_once_and_another_content_is_told_at_once(
    node: Running, case: str
) -> None:
    """Software that sends again each minute what nobody answers would make 10,080 rows of it in a week."""
    one, other = REGISTERED, REGISTERED.model_copy(update={"municipality": "05162008"})
    messages = [said(n, node, case, what, "same") for n, what in enumerate((one, one, other, one, other))]
    await apply(node, messages[:3], {}, {}, AROUND)
    await apply(node, messages[3:], {}, {}, AROUND)
    assert await kept(node) == [("quarantined", True)]
    assert await answers(node) == [("same", "refused", "ID_REUSED")]
    assert await taking_up.release(node, case, waking=True) == (
        0,
        "",
        False,
    )  # a bug put it there, and nobody has mended it
    assert await taking_up.release(node, case) == (1, "", False)
    assert (await answers(node))[1:] == [("same", "recorded", None)]
    assert await node.pool.fetchval("select count(*) from quarantine") == 0


async def test_what_a_publisher_has_kept_in_quarantine_counts_as_waiting(
    node: Running, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it each is refused, once: it has claimed its id before."""
    monkeypatch.setattr(waiting, "MAX_WAITING", 3)
    for first in (0, 5):
        messages = [
            said(first + n, node, case, NeedReported(by=OWNER, need_id=case, need_type="WORK"), str(n))
            for n in range(5)
        ]
        await apply(node, messages, {}, {}, AROUND)
        assert await kept(node) == 3 * [("quarantined", True)]
        assert await answers(node) == [(str(n), "refused", "TOO_MANY_WAITING") for n in (3, 4)]


KILLED = """
import asyncio, sys
from pathlib import Path
from pydantic import SecretStr
from deploy.services import declared
from services.kept import taking_up
from services.process import failpoints
from services.host.running import running
from services.host.settings import Settings
from services.runtime.database import connect

kafka, dsn, publishers, key, case, where = sys.argv[1:]
taking_up.CHUNK = 3
failpoints.arm(where)

async def main():
    settings = Settings(kafka=kafka, database=SecretStr(dsn), publishers=Path(publishers), operations_key=Path(key), http_port=0)
    await taking_up.release(running(declared("intake"), settings, await connect(dsn), None), case)

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["before_commit:kill:2", "after_commit:kill:2"])
async def test_who_dies_between_two_chunks_of_a_release_is_followed_by_another(
    node: Running, prepared: LocalStack, case: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message comes twice, and one while the release stands: one answer each, in the order in which they came."""
    messages = [said(n, node, case, what) for n, what in enumerate((REGISTERED, *(need() for _ in range(10))))]
    twice = [in_hand(node, TOPIC, 20 + m.offset, NOW, m.attributes, m.value or b"") for m in messages]
    await apply(node, [*messages, *twice], {}, {}, AROUND)
    words = [prepared.kafka, prepared.databases["intake"].runtime, PUBLISHERS, prepared.operations_key, case, where]
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], cwd=ROOT, capture_output=True, text=True)  # noqa: S603, ASYNC221
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(await kept(node)) == 11 - (3 if where.startswith("before") else 6)
    assert await node.pool.fetchval("select count(*) from quarantine where subject = $1", case) == 1
    last = said(31, node, case, need())
    again = [in_hand(node, TOPIC, 40 + m.offset, NOW, m.attributes, m.value or b"") for m in messages]
    await apply(node, [last, *again], {}, {}, AROUND)  # behind what is kept
    monkeypatch.setattr(taking_up, "CHUNK", 3)
    done_ = await taking_up.release(node, case)
    assert (done_.broken, done_.more, await kept(node)) == ("", False, [])
    assert await answers(node) == [(m.id, "recorded", None) for m in (*messages, last)]
    rows = await node.pool.fetch("select fact_id from timeline where subject = $1 order by number", case)
    assert [row["fact_id"] for row in rows] == [fact_id_of(m.reference) for m in (*messages, last)]


async def test_facts_are_released_in_chunks_too_and_a_fork_among_them_stops_there(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood before it is taken up, it and what stands behind it stays; it is left out in as many goes as it takes, by the
    same words each time."""
    monkeypatch.setattr(taking_up, "CHUNK", 3)
    async with node_of(prepared, "referral") as node:
        case = await quarantined(node)
        numbers = [1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
        await apply(node, [learned(at, node, case, n) for at, n in enumerate(numbers)], {}, {}, AROUND)
        assert await taking_up.release(node, case) == (3, "Fork", False)
        seqs = [row["seq"] for row in await node.pool.fetch("select seq from kept order by seq")]
        assert len(seqs) == 7 and await node.pool.fetchval("select count(*) from quarantine") == 1
        assert await taking_up.release(node, case, [seqs[-1] + 1]) == (0, "NoFactOfIts", False)
        fork = [seqs[2]]
        goes = [await taking_up.release(node, case, fork, longest=0.0) for _ in range(2)]
        assert goes == [(3, "", True), (3, "", False)]
        assert await taking_up.release(node, case, fork) == (0, "", False)
        assert await node.pool.fetchval("select number from heard where subject = $1", case) == 9
        assert await node.pool.fetch("select from quarantine union all select from kept") == []
        await node.pool.execute("delete from left_out; delete from position")


@pytest.mark.parametrize("dry", [True, False])
async def test_a_true_fact_that_broke_on_a_bug_is_never_left_out_nor_what_is_kept_behind_it(
    prepared: LocalStack, dry: bool
) -> None:
    """Left out it would be lost to this service for good, by every rebuild, too, and all that comes after it would wait for its
    number."""

    def breaks(*_: object) -> None:
        raise KeyError

    async with node_of(prepared, "referral") as node:
        case, mended = await quarantined(node), node.service
        await node.pool.execute("delete from quarantine; delete from left_out")
        node.service = replace(mended, evolve=breaks)
        await apply(node, [learned(at, node, case, at + 1) for at in range(3)], {}, {}, AROUND)
        rows = await node.pool.fetch("select seq, error from kept order by seq")
        assert [row["error"] for row in rows] == ["KeyError", "", ""]
        for without in ([rows[0]["seq"]], [rows[1]["seq"]], [row["seq"] for row in rows]):
            assert await taking_up.release(node, case, without, dry=dry) == (0, "NoFork", False)
            assert await node.pool.fetch("select seq, error from kept order by seq") == rows
            assert await node.pool.fetchval("select count(*) from left_out") == 0
        node.service = mended
        assert await taking_up.release(node, case, dry=dry) == (3, "", False)
        assert await node.pool.fetchval("select max(number) from heard where subject = $1", case) == (
            None if dry else 3
        )


async def test_a_fork_that_is_met_only_at_a_release_can_be_found_by_its_reason_from_then_on(
    prepared: LocalStack,
) -> None:
    """Who is to leave it out must know which it is, and no other fact can be left out in its place. A dry run notes nothing."""
    async with node_of(prepared, "referral") as node:
        case = await quarantined(node)
        await apply(node, [learned(at, node, case, n) for at, n in enumerate((1, 2, 2, 3))], {}, {}, AROUND)
        seqs = [row["seq"] for row in await node.pool.fetch("select seq from kept order by seq")]
        forks = "select seq from kept where error = 'Fork'"
        for dry, found in ((True, []), (False, [seqs[2]])):
            assert await taking_up.release(node, case, dry=dry) == (0, "Fork", False)
            assert [row["seq"] for row in await node.pool.fetch(forks)] == found
        assert await taking_up.release(node, case, seqs[1:2]) == (
            0,
            "NoFork",
            False,
        )  # the first one on the topic stands
        for dry in (True, False):
            assert await taking_up.release(node, case, seqs[2:3], dry=dry) == (3, "", False)
        await node.pool.execute("delete from left_out; delete from position")


async def test_a_chunk_is_bounded_by_its_bytes_and_takes_at_least_one(
    node: Running, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [said(n, node, case, what) for n, what in enumerate((REGISTERED, *(need() for _ in range(4))))]
    await apply(node, messages, {}, {}, AROUND)
    for most in (
        0,
        1.5 * await node.pool.fetchval("select max(octet_length(headers) + octet_length(value)) from kept"),
    ):
        monkeypatch.setattr(taking_up, "CHUNK_BYTES", int(most))
        assert await taking_up.release(node, case, longest=0.0) == (1, "", True)


async def test_a_chunk_asks_no_more_statements_than_one_message(prepared: LocalStack, node: Running, case: str) -> None:
    asked: list[str] = []

    async def listened(con: asyncpg.Connection) -> None:
        con.add_query_logger(lambda query: asked.append(query.query))

    async def statements(count: int) -> int:
        await node.pool.execute(
            "insert into quarantine (subject, why) values ($1, 'Broken') on conflict do nothing", case
        )
        start = await node.pool.fetchval("select next from position where topic = $1", TOPIC)
        await apply(node, [said(start + n, node, case, need()) for n in range(count)], {}, {}, AROUND)
        asked.clear()
        assert await taking_up.release(node, case) == (count, "", False)
        return len(asked)

    async with asyncpg.create_pool(
        prepared.databases["intake"].runtime,
        min_size=1,
        max_size=1,
        server_settings={"search_path": "lotse"},
        init=listened,
    ) as node.pool:
        await apply(node, [said(0, node, case, REGISTERED)], {}, {}, AROUND)
        await taking_up.release(node, case)
        assert await statements(40) == await statements(1)


async def test_what_is_kept_is_told_page_by_page_with_its_type_in_either_mode(
    node: Running, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "PAGE", 2)
    whole, about = need(), Attributes(str(uuid4()), SOURCE, NeedReported.ce_type, case, NOW, TENANT)
    structured = in_hand(node, TOPIC, 2, NOW, about, whole.to_json())
    _, structured.headers, structured.value = to_message(about, whole.to_json(), "structured")
    structured.headers = [(name, text.replace(b"cloudevents", b"CloudEvents")) for name, text in structured.headers]
    await apply(node, [said(0, node, case, REGISTERED), said(1, node, case, need()), structured], {}, {}, AROUND)
    app = FastAPI()
    app.include_router(operate.routes(node))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://intake") as client:
        first = (await client.get("/kept")).json()
        rest = (await client.get("/kept", params={"after": first[-1]["seq"]})).json()
        assert [row["offset"] for row in (*first, *rest)] == [0, 1, 2] and len(first) == 2
        assert [row["type"] for row in (*first, *rest)] == [REGISTERED.ce_type, *2 * [NeedReported.ce_type]]
        assert (await client.get("/kept", params={"after": rest[-1]["seq"]})).json() == []
        assert not {"headers", "value"} & first[0].keys()


async def test_status_says_of_each_subject_in_quarantine_how_much_is_kept(node: Running, case: str) -> None:
    await apply(node, [said(n, node, case, need()) for n in range(2)], {}, {}, AROUND)
    await node.pool.execute("insert into quarantine (subject, why) values ('another', 'Broken')")
    found = (await Status(node, Inputs(node)).said())["quarantined"]
    assert [(one["subject"], one["why"], one["kept"]) for one in found] == [
        (case, "Broken", 2),
        ("another", "Broken", 0),
    ]
