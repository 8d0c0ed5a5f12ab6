"""Whose message a dead letter was is seen by who hands over the operations' key and a reason, and by nobody else."""

import json
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from deploy.commands.letters import letters
from deploy.fleet import Fleet
from deploy.local.operations import PRIVATE, make_operations_key
from tests.publishing import SOURCE, Publisher, until
from tests.typing_commands import typed


async def unreadable(house: Fleet, type: str, before: bytes = b"") -> str:
    """A message with a name in it that nobody can read, and this before it; its place among the dead letters."""
    id = f"bad-{uuid4()}"
    headers = {"ce_specversion": "1.0", "ce_id": id, "ce_source": SOURCE, "ce_subject": str(uuid4()), "ce_tenant": "rkn",
               "ce_type": type, "ce_time": "2026-03-02T08:00:00Z"}  # fmt: skip
    body = json.dumps({"by": {"organisation_id": "rkn-thm"}, "name": "Zainab Canary", "said": id}).encode()
    others = await listed(house)
    async with Publisher(house.stack.kafka) as sender:
        await sender.raw("intake", before + body, [(name, text.encode()) for name, text in headers.items()])
        assert (await sender.answered(id))[0]["outcome"] == "unreadable"
    await until(lambda: house.status("intake")["outbox"]["rows"] == 0)
    (place,) = set(await listed(house)) - set(others)
    return place


async def listed(house: Fleet, *options: str) -> list[str]:
    """Places `lotse dead-letters list` names."""
    code, said = await typed(house, "intake", "dead-letters", "list", "intake", *options, "--format", "json")
    assert code == 0 and "anary" not in said
    return [row["id"] for row in json.loads(said)["data"]]


async def audited(house: Fleet, *what: str) -> list[tuple[str, str, str]]:
    """Who opened which letter (or did WHAT) and why, as the service wrote it down."""
    con = await asyncpg.connect(house.stack.databases["intake"].owner, server_settings={"search_path": "lotse"})
    try:
        rows = await con.fetch(
            "select who, about, why from audit where what = any($1) order by seq", what or ["reveal"]
        )
        return [tuple(row) for row in rows]
    finally:
        await con.close()


async def test_a_letter_is_revealed_to_who_holds_the_key_and_says_why_and_it_is_written_down(fleet: Fleet) -> None:
    place, key = await unreadable(fleet, "lotse.intake.registration_submitted.v1"), str(fleet.stack.folder / PRIVATE)
    before = await audited(fleet)
    options = ["--key", key, "--reveal", "--why", "the sender asks which", "--who", "k.sommer", "--format", "json"]
    code, said = await typed(fleet, "intake", "dead-letters", "show", "intake", place, *options)
    data = json.loads(said)["data"]
    assert code == 0 and json.loads(data["body"])["name"] == "Zainab Canary" and data["headers"]["ce_source"] == SOURCE
    assert (await audited(fleet))[len(before) :] == [("k.sommer", place, "the sender asks which")]


async def test_a_letter_that_is_revealed_does_nothing_to_the_terminal(fleet: Fleet) -> None:
    """It names the window, goes to the top and clears it, if it is let; as it came, JSON has it."""
    does = "\x1b]0;owned\x1b\\\x1b[1;1H\x1b[2J\x9b2J\u202e"
    place = await unreadable(fleet, "lotse.intake.registration_submitted.v1", does.encode())
    options = ["--key", str(fleet.stack.folder / PRIVATE), "--reveal", "--why", "the sender asks which"]
    words = ["dead-letters", "show", "intake", place, *options]
    for shape in ("table", "csv"):
        code, said = await typed(fleet, "intake", *words, "--format", shape)
        assert code == 0 and "Zainab Canary" in said and not {*"\x1b\x9b\u202e"} & set(said)
        assert "\\x1b]0;owned\\x1b\\\\x1b[1;1H\\x1b[2J\\x9b2J\\u202e" in said
    code, said = await typed(fleet, "intake", *words, "--format", "json")
    assert code == 0 and json.loads(said)["data"]["body"].startswith(does)


@pytest.mark.parametrize(
    ("missing", "code"), [("key", 2), ("why", 2), ("right key", 4), ("service", 3)], ids=lambda what: str(what)
)
async def test_nothing_is_revealed_without_the_key_a_reason_and_somebody_who_writes_it_down(
    fleet: Fleet, tmp_path: Path, missing: str, code: int
) -> None:
    place = await unreadable(fleet, "lotse.intake.registration_submitted.v1")
    make_operations_key(tmp_path)
    before = await audited(fleet)
    folder = tmp_path if missing == "right key" else fleet.stack.folder
    options = [] if missing == "key" else ["--key", str(folder / PRIVATE)]
    options += [] if missing == "why" else ["--why", "curious"]
    at = ("--at", "http://127.0.0.1:9") if missing == "service" else ("--at", fleet.url("intake"))
    ended, said = await typed(fleet, None, "dead-letters", "show", "intake", place, "--reveal", *options, *at)
    assert ended == code and "anary" not in said
    assert await audited(fleet) == before


async def test_dead_letters_are_picked_by_type_and_only_types_of_ours_are_named(fleet: Fleet) -> None:
    known = await unreadable(fleet, "lotse.intake.registration_submitted.v1")
    foreign = await unreadable(fleet, "lotse.intake.zainab.v1")
    key = ["--key", str(fleet.stack.folder / PRIVATE)]
    for name in ("registration_submitted", "lotse.intake.registration_submitted.v1"):
        found = await listed(fleet, *key, "--type", name)
        assert known in found and foreign not in found
    assert await listed(fleet, *key, "--type", "zainab") == []
    assert {known, foreign} <= set(await listed(fleet))
    assert known in await listed(fleet) and known in await listed(fleet, "--since", "10m")
    assert not {known, foreign} & set(await listed(fleet, "--until", "10m"))


@pytest.mark.parametrize("what", ["replay", "give-up"])
async def test_what_can_not_be_read_is_not_replayed_since_its_id_has_its_one_answer(fleet: Fleet, what: str) -> None:
    """Its bytes sent again under the old id are silent; whoever sends it under a new one, mended, is answered."""
    type = "lotse.intake.registration_submitted.v1"
    place = await unreadable(fleet, type)
    before = await audited(fleet, "replay", "give-up")
    words = ["dead-letters", what, "intake", place, "--why", "our mistake", "--format", "json"]
    code, said = await typed(fleet, "intake", *words)
    (wrong,) = json.loads(said)["errors"]
    assert (code, wrong["code"]) == (4, "REFUSED") and place in wrong["message"] and "new id" in wrong["hint"]
    assert await audited(fleet, "replay", "give-up") == before


async def test_who_waits_for_a_long_list_is_told_how_far_it_is(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await unreadable(fleet, "lotse.intake.registration_submitted.v1")
    monkeypatch.setenv("LOTSE_KAFKA", fleet.stack.kafka)
    monkeypatch.setattr("deploy.progress.TELLS_EACH", -1.0)  # as if it had taken its time
    found = await letters("intake")
    said = capsys.readouterr()
    assert found and not any("sealed" in letter for letter in found)  # a month of them does not fit into memory
    assert not said.out and f"dead letters of intake: {len(found):,} of {len(found):,} letters" in said.err
