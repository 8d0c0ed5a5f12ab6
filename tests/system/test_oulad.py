"""Real adults, real course runs: imported as a partner would, held against a recomputation from the raw files."""

import asyncio
import csv
import io
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from deploy.fleet import Fleet
from deploy.local.announced import announce
from deploy.places import EXAMPLES, ROOT, SERVICES
from tests import forked
from tests.conftest import four_services, new_stack
from tests.oulad_recomputed import Participation, recomputed
from tests.publishing import Publisher, told_again, until

OULAD = EXAMPLES / "oulad"
FIRST = "--first"
ACTED = datetime(2026, 3, 15, 6, tzinfo=UTC)
Risks = dict[Participation, tuple[date | None, bool]]


@pytest.fixture(scope="module")
def data() -> Path:
    folder = Path(os.environ.get("LOTSE_DATA") or str(ROOT.parent / "shared" / "data")) / "oulad"
    if not folder.is_dir():
        pytest.skip(f"NOT TESTED: no OULAD files in {folder}. Set LOTSE_DATA to the folder that holds oulad/.")
    return folder


@pytest.fixture(scope="module")
def house() -> Iterator[Fleet]:
    """A stack of its own, beside the other tests' one; commands find it. Its office has a mailbox."""
    with new_stack() as stack, four_services(stack) as fleet:
        announce(fleet, stack.folder)
        yield fleet


@pytest.fixture
def lotse(house: Fleet) -> Iterator[Callable[..., str]]:
    """Runs a command against the house. A test's imports have a memory of their own: other secrets, other ids, and FIRST."""
    memory = house.stack.folder / "import"
    env = {**os.environ, "LOTSE_STATE": str(house.stack.folder), "PYTHONPATH": str(ROOT)}

    def run(*arguments: str | Path, exit_code: int = 0) -> str:
        done = forked.run(*map(str, arguments), env=env)
        assert done.returncode == exit_code, (done.returncode, done.stdout, done.stderr, house.status("referral"),
                                              house.processes["referral"].last_words(3))  # fmt: skip
        return done.stdout

    yield run
    if memory.exists():
        memory.rename(house.stack.folder / f"import-{os.urandom(4).hex()}")


def prepared(data: Path, out: Path, *more: str) -> Path:
    subprocess.run([sys.executable, OULAD / "prepare.py", data, out, *more], check=True, capture_output=True)
    return out


def of_one_run(folder: Path) -> Path:
    """Only the smaller run's rows: where it does not matter of how many."""
    for name in ("participations", "attendance"):
        file = folder / f"{name}.csv"
        write(file, [row for row in read(file) if row["run_ref"].startswith("AAA")], plain=True)
    return folder


def imported(lotse: Callable[..., str], folder: Path, exit_code: int = 0) -> tuple[dict[str, int], dict[str, int]]:
    """The accounts of both imports."""
    said = [
        json.loads(lotse("import", kind, folder / f"{kind}.csv", "--mapping", OULAD / f"{kind}.toml", "--format", "json", "--patience", "150", FIRST,
                         exit_code=exit_code))["data"]
        for kind in ("participations", "attendance")
    ]  # fmt: skip
    return said[0], said[1]


def printed(lotse: Callable[..., str]) -> Risks:
    """What `lotse risks --source` says of S2; a participation on which the rule never holds says nothing."""
    rows = csv.DictReader(io.StringIO(lotse("risks", "--format", "csv", "--source", "oulad")))
    found: Risks = {(row["run_ref"], row["source_ref"]): (date.fromisoformat(row["first_on"]), row["open"] == "True")
             for row in rows if row["first_on"] and row["rule"] == "S2"}  # fmt: skip
    return found


def expected(risks: Mapping[Participation, tuple[date | None, bool]]) -> Risks:
    return {who: said for who, said in risks.items() if said[0] is not None}


async def ticked(house: Fleet, at: datetime) -> None:
    async with Publisher(house.stack.kafka) as sender:
        tick = await sender.tick(at)
    await until(lambda: all(house.has_acted(name, tick) for name in SERVICES))


async def test_both_runs_at_the_end(house: Fleet, lotse: Callable[..., str], data: Path, tmp_path: Path) -> None:
    folder = prepared(data, tmp_path)
    first, second = imported(lotse, folder)
    assert (first["recorded"], second["recorded"], second["unanswered"]) == (2150, 60510, 0)
    await ticked(house, ACTED)
    truth = recomputed(data)
    assert printed(lotse) == expected(truth.risks) and truth.open == 0
    assert printed(lotse) != expected(recomputed(data, threshold=3).risks)  # this comparison can tell another rule
    before = await facts(house)
    again, attendance = imported(lotse, folder)
    assert (again["already_answered"], attendance["already_answered"]) == (2150, 60510)
    assert await facts(house) == before
    assert not list(house.stack.mail_folder.glob("*.eml")) and not attempts(house)


async def test_as_known_on_day_100_and_mail_only_for_fresh_evidence(
    house: Fleet, lotse: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    await ticked(house, ACTED)
    old = imported(lotse, prepared(data, tmp_path / "old", "--until", "100"))
    truth = recomputed(data, until=100)
    assert old[1]["recorded"] == truth.reports == 25986
    await ticked(house, ACTED + timedelta(days=1))
    said = printed(lotse)
    assert said == expected(truth.risks) and sum(is_open for _, is_open in said.values()) == truth.open == 360
    assert said != expected(recomputed(data, until=100, threshold=3).risks)
    await ticked(house, ACTED + timedelta(days=2))
    assert not list(house.stack.mail_folder.glob("*.eml")) and not attempts(house)  # history mails nobody


async def test_the_same_import_moved_to_yesterday_does_mail(
    house: Fleet, lotse: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    today = ACTED + timedelta(days=3)
    await ticked(house, today)
    yesterday = (today - timedelta(days=1)).date().isoformat()
    imported(lotse, of_one_run(prepared(data, tmp_path, "--until", "100", "--end-on", yesterday)))
    await ticked(house, today + timedelta(days=1))
    await ticked(house, today + timedelta(days=2))  # in a house that has just learnt what time it is, the tick after
    mails = await until(lambda: list(house.stack.mail_folder.glob("*.eml")))
    assert len(mails) == 1 and (attempts(house)) == 1  # one office, one tick, one mail


async def test_an_import_killed_on_its_way_is_finished_by_the_next(
    house: Fleet, lotse: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    """What was sent and whose answer nobody read is neither sent under another id nor waited for in vain."""
    folder = of_one_run(prepared(data, tmp_path, "--until", "100"))
    lotse("import", "participations", folder / "participations.csv", "--mapping", OULAD / "participations.toml", FIRST)
    before = facts_now = await facts(house, "attendance")
    file = folder / "attendance.csv"
    again = ["import", "attendance", str(file), "--mapping", str(OULAD / "attendance.toml"), "--format", "json"]
    env = {**os.environ, "LOTSE_STATE": str(house.stack.folder), "PYTHONPATH": str(ROOT)}
    killed = await asyncio.create_subprocess_exec(sys.executable, "-m", "deploy.cli", *again, env=env)
    while killed.returncode is None and facts_now < before + 500:
        facts_now = await facts(house, "attendance")
    killed.kill()
    assert await killed.wait() == -9
    write(file, read(file)[::-1])  # what was sent is asked for last, long after its answers were read
    said = json.loads(lotse(*again, "--patience", "150"))["data"]
    assert said["unanswered"] == said["refused"] == 0 and said["already_answered"] + said["recorded"] == said["rows"]
    assert said["already_answered"] > 0 and await facts(house, "attendance") == before + said["rows"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_run_in_another_order_with_duplicates_and_corrections(
    house: Fleet, lotse: Callable[..., str], data: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    folder = of_one_run(prepared(data, tmp_path))
    for name in ("participations", "attendance"):
        rows = read(folder / f"{name}.csv")
        if name == "attendance":
            corrected = chance.sample(rows, len(rows) * 3 // 100)
            rows += [corrects(row) for row in corrected] + chance.sample(rows, len(rows) // 100)
        chance.shuffle(rows)
        write(folder / f"{name}.csv", rows)
    account = imported(lotse, folder)[1]
    assert account["recorded"] + account["unchanged"] + account["already_answered"] == account["rows"]
    assert account["refused"] == account["unanswered"] == 0
    changed = {(row["run_ref"], row["source_ref"], row["meeting_on"]) for row in corrected}
    truth: Risks = {}
    for (run, ref), days in recomputed(data).days.items():
        present = [(day, was != ((run, ref, day.isoformat()) in changed)) for day, was in days.items()]
        pairs = [later for (_, a), (later, b) in itertools.pairwise(present) if not a and not b]
        if run.startswith("AAA") and pairs:
            truth[run, ref] = (pairs[0], False)
    assert printed(lotse) == truth and len(truth) > 100
    count = await facts(house, "attendance")
    picked = random.Random(seed)
    again = await told_again(house.stack.kafka, "attendance.submissions.oulad", which=lambda _: picked.random() < 0.01)
    await ticked(house, ACTED + timedelta(days=10 + seed))  # acted on behind all of them
    assert again > 50 and await facts(house, "attendance") == count and printed(lotse) == truth


def corrects(row: dict[str, str]) -> dict[str, str]:
    """What the provider says two days later: the opposite."""
    was = row["presence"] == "PRESENT"
    moment = datetime.fromisoformat(row["reported_at"].replace("Z", "+00:00")) + timedelta(days=2)
    return {**row, "presence": "UNEXCUSED" if was else "PRESENT", "units_attended": "0" if was else row["units_planned"],
            "reported_at": moment.isoformat()}  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]], *, plain: bool = False) -> None:
    """As the office's spreadsheet would: semicolons and a byte order mark; `plain`: as they came."""
    with path.open("w", newline="", encoding="utf-8" if plain else "utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if plain else ";")
        writer.writeheader()
        writer.writerows(rows)


async def facts(house: Fleet, family: str = "%") -> int:
    """How many referral has recorded."""
    con = await asyncpg.connect(house.stack.databases["referral"].runtime, server_settings={"search_path": "lotse"})
    try:
        found: int = await con.fetchval("select count(*) from timeline where family like $1", family)
        return found
    finally:
        await con.close()


def attempts(house: Fleet) -> int:
    rows = house.get("notification", "/attempts")
    return sum(row["n"] for row in rows if row["what"] == "notification_attempted")
