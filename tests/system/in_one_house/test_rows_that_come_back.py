"""A partner's rows through the command: one goes in, one comes back, is mended and goes in; and Ctrl-C on the way."""

import asyncio
import contextlib
import csv
import io
import json
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.fleet import Fleet
from deploy.places import EXAMPLES
from tests.conftest import PUBLISHERS
from tests.publishing import PATIENCE, until
from tests.typing_commands import typed, typing

MAPPING = EXAMPLES / "oulad" / "participations.toml"
ROW = {
    "run_ref": "R", "run_start": "2026-05-04", "run_end": "2026-09-01", "course_days": "30", "source_ref": "1",
    "person_ref": "1", "sex": "F", "requested_on": "2026-04-20", "withdrawn_on": "", "started_on": "2026-05-04",
    "ended_on": "2026-08-31", "end_kind": "COMPLETED",
}  # fmt: skip


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory of its own: other secrets, other ids. Gives back where refused rows go."""
    monkeypatch.setenv("LOTSE_STATE", str(tmp_path))
    monkeypatch.setenv("LOTSE_PUBLISHERS", str(PUBLISHERS))
    return tmp_path / "import"


def handed_in(path: Path, *rows: dict[str, str]) -> str:
    """A file of these rows, each told by what differs from ROW."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys([*ROW, *(name for row in rows for name in row)])))
        writer.writeheader()
        writer.writerows({**ROW, **changed} for changed in rows)
    return str(path)


def words(file: str, *more: str) -> list[str]:
    """Each test's is a first import, whatever the others have imported into this house."""
    patience = ["--patience", str(PATIENCE)]
    return [
        "import",
        "participations",
        file,
        "--mapping",
        str(MAPPING),
        "--format",
        "json",
        "--first",
        *patience,
        *more,
    ]


async def imported(fleet: Fleet, file: str, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and account."""
    code, out = await typed(fleet, None, *words(file, *more))
    said = json.loads(out)
    assert said["ok"] is (code == 0), said
    return code, said["data"] or said["errors"][0]


async def test_a_refused_row_is_mended_where_it_came_back_and_no_other_rows_are_lost(
    fleet: Fleet, tmp_path: Path, state: Path
) -> None:
    bad = {"source_ref": "2", "person_ref": "-12", "ended_on": "31.06.2026"}
    a = handed_in(tmp_path / "a.csv", {}, bad)
    code, account = await imported(fleet, a)
    assert (code, account) == (5, {"rows": 2, "recorded": 1, "unchanged": 0, "already_answered": 0, "refused": 1,
                                   "unanswered": 0, "reasons": {"INVALID": 1}, "refused_rows": account["refused_rows"]})  # fmt: skip
    first = Path(account["refused_rows"])
    assert first.parent == state and first.name.startswith("a-refused-oulad-")
    assert (first.stat().st_mode & 0o777, state.stat().st_mode & 0o777) == (0o600, 0o700)
    (came_back,) = csv.DictReader(io.StringIO(first.read_text("utf-8-sig")), delimiter=";")
    assert "2026-01-31" in came_back.pop("lotse_hint")
    assert came_back == {"lotse_file": "a.csv", "lotse_row": "3", "lotse_reason": "INVALID", "lotse_pointer": "",
                         "lotse_ragged": "", **ROW, **bad, "person_ref": "'-12"}  # fmt: skip

    b = handed_in(tmp_path / "b.csv", {"source_ref": "3", "person_ref": "3", "sex": "M"}, {"source_ref": ""})
    code, account = await imported(fleet, b)
    second = Path(account["refused_rows"])
    assert (code, account["recorded"], account["reasons"]) == (5, 1, {"NO_REFERENCE": 1})
    assert {*state.glob("*.csv")} == {first, second}

    first.write_text(first.read_text("utf-8-sig").replace("31.06.2026", "2026-08-31"), "utf-8")
    mended = first.read_bytes()
    code, account = await imported(fleet, str(first), "--refused", str(first))
    assert (code, account["code"]) == (2, "USAGE")
    code, account = await imported(fleet, str(first))  # the same person: another one is refused REFERENCE_REUSED
    assert (code, account["recorded"], account["refused"], account["refused_rows"]) == (0, 1, 0, None)
    code, account = await imported(fleet, str(first))
    assert (code, account["already_answered"]) == (0, 1)
    assert first.read_bytes() == mended and {*state.glob("*.csv")} == {first, second}


async def test_what_a_dry_run_says_the_import_beside_it_then_says(fleet: Fleet, tmp_path: Path, state: Path) -> None:
    """Three ends were taken back, and neither said so. One row comes twice, as rows do, and one is refused here."""
    rows = [{"source_ref": str(n), "person_ref": str(n)} for n in range(4)]
    bad = {"source_ref": "9", "person_ref": "9", "ended_on": "31.06.2026"}
    gone = [{**row, "ended_on": "", "end_kind": ""} for row in rows[1:]]
    first = handed_in(tmp_path / "first.csv", *rows, bad)
    later = handed_in(tmp_path / "later.csv", rows[0], rows[0], *gone, {"source_ref": "5", "person_ref": "5"}, bad)
    code, would = await imported(fleet, first, "--dry-run")
    assert (code, would["would_be_sent"], would["refused"], state.exists()) == (5, 4, 1, False)
    assert (await imported(fleet, first))[1]["recorded"] == 4
    before = {file: file.read_bytes() for file in state.iterdir()}
    code, would = await imported(fleet, later, "--dry-run")
    assert {file: file.read_bytes() for file in state.iterdir()} == before
    told, does = await imported(fleet, later)
    assert (told, does.pop("recorded"), does["taken_back"], does.pop("unanswered")) == (code, 4, 3, 0)
    assert would == {**does, "would_be_sent": 4, "refused_rows": None}


async def test_from_a_folder_beside_nobody_is_imported_as_somebody_else(
    fleet: Fleet, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release unpacked beside the one before began a new memory, and each person became a second case."""
    file = handed_in(tmp_path / "e.csv", {})
    code, account = await imported(fleet, file)
    assert (code, account["recorded"]) == (0, 1)
    monkeypatch.setenv("LOTSE_STATE", str(tmp_path / "beside"))
    code, out = await typed(fleet, None, *(word for word in words(file) if word != "--first"))
    (error,) = json.loads(out)["errors"]
    assert (code, error["code"]) == (4, "REFUSED") and "answers one on" in error["message"]


async def test_a_disk_that_is_full_is_named_every_row_counted_and_all_of_them_go_in_when_there_is_room(
    fleet: Fleet, tmp_path: Path, state: Path
) -> None:
    """It was called a conversation with Kafka that broke off."""
    file = handed_in(tmp_path / "d.csv", *({"source_ref": str(n), "person_ref": str(n)} for n in range(300)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400 * 1024, limits[1]))
    try:
        process = await typing(fleet, *words(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    out, _ = await process.communicate()
    said = json.loads(out)
    counted = {name: said["data"].get(name, 0) for name in ("recorded", "unanswered", "stopped", "not_sent")}
    assert (process.returncode, said["data"]["rows"], sum(counted.values())) == (5, 300, 300), said
    assert counted["unanswered"] + counted["stopped"] > 0 and sent(state)
    assert "SQLITE_IOERR" in said["errors"][-1]["message"] and said["errors"][-1]["code"] == "REFUSED"
    assert all("make room" in error["hint"] for error in said["errors"])
    code, account = await imported(fleet, file)
    assert (code, account["recorded"] + account["already_answered"]) == (0, 300), account


@pytest.mark.parametrize(("times", "word"), [(1, "stopped"), (2, "unanswered")])
async def test_ctrl_c_once_waits_for_what_is_on_its_way_and_twice_for_nothing(
    fleet: Fleet, tmp_path: Path, state: Path, times: int, word: str
) -> None:
    """All rows are queued, and wait for their first step; each row is accounted for by its own word."""
    file = handed_in(tmp_path / "c.csv", {}, {"source_ref": "2", "person_ref": "2"})
    with paused(fleet, "referral") as go_on:
        process = await typing(fleet, *words(file), stderr=asyncio.subprocess.PIPE)
        await until(lambda: sent(state))
        assert process.stderr is not None
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            assert b"stopping" in await process.stderr.readline()
        if times == 1:
            go_on()
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    said = json.loads(out)
    assert (process.returncode, said["ok"], said["data"].get(word)) == (130, False, 2), said
    assert said["data"]["rows"] == 2 and said["data"]["refused"] == said["data"]["recorded"] == 0
    code, account = await imported(fleet, file)
    assert (code, account["recorded"]) == (0, 2)


async def test_ctrl_c_while_refused_rows_are_written_leaves_them_whole_and_the_account_is_shown(
    fleet: Fleet, tmp_path: Path, state: Path
) -> None:
    """All was answered; what was left was half a file that read as whole, and no account. Of large rows few are written as long as of
    small ones many, and looked through in a tenth of the time; nothing is sent of them: they are about nobody."""
    bad = {"source_ref": "", "note": "x" * 6_000}
    file = handed_in(tmp_path / "r.csv", {}, *({**bad, "person_ref": str(n)} for n in range(2, 2_002)))
    process = await typing(fleet, *words(file))
    while not (found := [*state.glob("*-refused-*.csv")]):  # noqa: ASYNC110  # its first moment, not one half a second later
        await asyncio.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    said = json.loads(out)
    assert (process.returncode, said["data"]["recorded"], said["data"]["refused"]) == (5, 1, 2_000)
    with found[0].open(encoding="utf-8-sig", newline="") as came_back:
        assert sum(1 for _ in csv.DictReader(came_back, delimiter=";")) == 2_000
    assert [*state.glob(".refused-*")] == []


async def test_what_is_mended_beside_it_and_what_stands_otherwise_keep_no_end_back(
    fleet: Fleet, tmp_path: Path, state: Path
) -> None:
    """As the services answer: an end before a mistyped start, and one of a course that was prolonged."""
    one = {"run_ref": "P", "source_ref": "p1", "person_ref": "p1"}
    file = handed_in(tmp_path / "p.csv", {**one, "started_on": "2026-09-04"})
    assert (await imported(fleet, file))[1]["reasons"] == {"END_BEFORE_START": 1}
    for recorded in (1, 0):
        code, account = await imported(fleet, handed_in(tmp_path / "p.csv", one))
        assert (code, account["recorded"], account["already_answered"]) == (0, recorded, 1 - recorded)
    prolonged = {**one, "run_end": "2026-12-01", "ended_on": "2026-09-30"}
    assert stands(state) == "2026-08-31"
    for _ in range(2):
        code, account = await imported(fleet, handed_in(tmp_path / "p.csv", prolonged))
        assert (code, account["reasons"], stands(state)) == (5, {"RUN_EXISTS": 1}, "2026-09-30")


async def test_a_request_that_no_consent_covered_is_in_with_one_that_was_renewed(
    fleet: Fleet, tmp_path: Path, state: Path
) -> None:
    """As the services answer: what the office did about it was refused CONSENT_EXISTS, import after import."""
    mapping = tmp_path / "consents.toml"
    text = MAPPING.read_text("utf-8").replace('# consent = "..."', 'consent = "consent"')
    mapping.write_text(
        text.replace('last_valid_on = { constant = "2099-12-31" }', 'last_valid_on = { column = "until" }')
    )

    async def handed_in_with(consent: str, until: str, *sources: str) -> tuple[int, dict[str, Any]]:
        path = tmp_path / "consents.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*ROW, "consent", "until"])
            writer.writeheader()
            writer.writerows({**ROW, "run_ref": "C", "person_ref": "c", "source_ref": source, "consent": consent,
                              "until": until} for source in sources)  # fmt: skip
        return await imported(fleet, str(path), "--mapping", str(mapping))

    assert (await handed_in_with("1", "2026-03-31", "c1"))[1]["reasons"] == {"NO_CONSENT": 1}
    assert (await handed_in_with("1", "2027-03-31", "c1"))[1]["reasons"] == {"CONSENT_EXISTS": 1}
    for recorded in (1, 0):
        code, account = await handed_in_with("2", "2027-03-31", "c1")
        assert (code, account["recorded"], account["already_answered"]) == (0, recorded, 1 - recorded)
    for recorded in (2, 0):  # one that is renewed once more moves no referral, and a new one rests on it
        code, account = await handed_in_with("3", "2028-03-31", "c1", "c2")
        assert (code, account["recorded"]) == (0, recorded)


def stands(state: Path) -> str:
    """The first day after the end that was recorded last."""
    with contextlib.closing(sqlite3.connect(f"file:{state / 'oulad.sqlite'}?mode=ro", uri=True)) as con:
        asked = "select day from sent where key like 'end%' and outcome = 'recorded' order by revision desc limit 1"
        return str(con.execute(asked).fetchone()[0])


@contextlib.contextmanager
def paused(fleet: Fleet, name: str) -> Iterator[Any]:
    """A service that stands still (SIGSTOP) until what this gives is called, or the end."""
    pid = fleet.processes[name].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield lambda: os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)


def sent(state: Path) -> bool:
    """Whether a step of the import has been written down; it is sent at once."""
    try:
        con = sqlite3.connect(f"file:{state / 'oulad.sqlite'}?mode=ro", uri=True)
        with contextlib.closing(con):
            return bool(con.execute("select count(*) from sent").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return False
