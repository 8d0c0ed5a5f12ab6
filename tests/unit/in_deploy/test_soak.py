"""What a soak draws, what it must have in it, and from when on a window counts; without any service."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from deploy.errors import Trouble
from deploy.soak import results, soaking
from deploy.soak.busy import Busy
from deploy.soak.faults.disks import elsewhere
from deploy.soak.faults.processes import mended
from deploy.soak.journal import Journal, Meant
from deploy.soak.ledger import Progress
from deploy.soak.load import FIRST_TICK, LAST_DAY_TICK, TICK, Load
from deploy.soak.night import Night, Window
from deploy.soak.results import BROKE, HELD, Result
from deploy.soak.rows import ROWS
from deploy.soak.rows.messages import tripled
from deploy.soak.sending import Sender
from deploy.soak.soaking import QUOTAS, ROLES, Schedule, Soak, _elsewhere, unmet

MANDATORY = {number for quota in QUOTAS for number in quota.rows}


def drawn(seed: int, minutes: float, each: float = 1.0) -> list[tuple[float, int]]:
    """(minute, row) of a soak whose rows take so many minutes each."""
    schedule, at, found = Schedule(seed, minutes), 0.0, []
    while at < minutes:
        found.append((at, schedule.next(at / minutes).number))
        at += each
    return found


def test_a_soak_of_half_an_hour_draws_what_it_must_have_and_spreads_it_over_the_time() -> None:
    rows = drawn(1, 30.0)
    counts = Counter(number for _, number in rows)
    assert all(sum(counts[number] for number in quota.rows) >= quota.least for quota in QUOTAS)
    must = [at for at, number in rows if number in MANDATORY]
    for tenth in range(0, 24, 6):
        assert any(tenth <= at < tenth + 6 for at in must), f"none between the minutes {tenth} and {tenth + 6}"
    assert rows == drawn(1, 30.0) != drawn(2, 30.0)
    assert not [row.name for row in ROWS if row.number in MANDATORY and _elsewhere(row)]


def test_a_shorter_soak_has_its_share_and_a_longer_one_no_less_than_the_whole() -> None:
    assert [quota.of(6) for quota in QUOTAS] == [1, 1, 0, 0]
    assert [quota.of(30) for quota in QUOTAS] == [quota.of(300) for quota in QUOTAS] == [5, 3, 1, 1]
    assert len(drawn(1, 3.0)) == 3


def test_everybody_is_killed_once_before_anybody_twice() -> None:
    schedule = Schedule(1, 30.0)
    assert sorted(role for _ in range(3) for role in schedule.roles(2)) == sorted(ROLES)


def result(row: int, outcome: str = HELD) -> Result:
    """A row that ran."""
    return Result(row, "", "", outcome, "", 1, "2026-01-01", 1.0)


def test_what_a_soak_has_too_little_of_is_a_finding() -> None:
    whole = [result(number) for number in (59, 60, 59, 60, 59, 6, 6, 6, 47, 106)]
    done = Soak(
        1, 30.0, "2026-01-01", kills=60, killed=dict.fromkeys(ROLES, 10), rows=whole, counts={"submissions": 100_000}
    )
    assert unmet(done) == []
    assert done.quotas["partitions of 60 s"] == [5, 5]
    done.rows = [*whole[:-1], result(106, BROKE)]
    done.kills, done.counts = 59, {"submissions": 99_999}
    del done.killed["postgres"]
    assert unmet(done) == ["too few full stops: 0, at least 1", "too few submissions: 99999, at least 100000",
                           "too few SIGKILLs: 59, at least 60", "too few roles killed: 5, at least 6"]  # fmt: skip


def test_what_was_done_while_a_fault_does_not_bite_is_no_progress_beside_it() -> None:
    applied, waves = {"reporting": 70}, []
    moments: list[tuple[float, str]] = []

    async def stands(name: str) -> int:
        return applied[name]

    night = SimpleNamespace(sender=SimpleNamespace(times=moments), applied=stands, wave=lambda *a, **b: waves.append(a))

    async def window() -> list[Progress]:
        opened = Window(cast("Night", night), "a fault", {"intake": 10, "reporting": 10})
        moments.extend((time.monotonic(), "intake") for _ in range(50))
        applied["reporting"] = 500
        await asyncio.sleep(0.01)
        await opened.bites()
        moments.extend((time.monotonic(), name) for name in ("intake", "referral", "intake"))
        applied["reporting"] = 503
        await opened.heals()
        moments.extend((time.monotonic(), "intake") for _ in range(50))
        applied["reporting"] = 700
        await asyncio.sleep(0.01)
        await opened.bites()
        moments.append((time.monotonic(), "intake"))
        applied["reporting"] = 704
        healed = time.monotonic()
        moments.append((healed + 1, "intake"))
        return await opened.progress(healed)

    assert asyncio.run(window()) == [Progress("a fault", "intake", 3, 10), Progress("a fault", "reporting", 7, 10)]
    assert len(waves) == 2


@pytest.mark.parametrize(
    ("body", "back", "raised"), [("", "", ""), ("seen", "", "seen"), ("", "full", "full"), ("seen", "full", "seen")]
)
def test_the_way_back_is_gone_whatever_happens_and_hides_nothing(body: str, back: str, raised: str) -> None:
    """Where it fails the house is spoiled: what runs after it would be accused of it."""
    night: Any = SimpleNamespace(spoiled="", note=lambda _: None, fleet=None)
    steps: list[str] = []

    async def step(what: str, fails: str) -> None:
        steps.append(what)
        if fails:
            raise OSError(fails)

    async def run() -> None:
        async with elsewhere(night, "the log", partial(step, "there", ""), partial(step, "back", back)):
            await step("body", body)

    with pytest.raises(OSError, match=raised) if raised else nullcontext():
        asyncio.run(run())
    assert steps == ["there", "body", "back"]
    assert night.spoiled == (f"the log did not come back: OSError: {back}" if back else "")
    if back:
        with pytest.raises(Trouble, match="did not come back"):
            asyncio.run(mended(night))


def test_a_soak_ends_with_the_row_after_which_its_house_is_spoiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = SimpleNamespace(processes={}, stack=SimpleNamespace(processes={}))
    night: Any = SimpleNamespace(
        seed=1, spoiled="", kills=0, schedule=[], fleet=house, note=lambda _: None, shift=nullcontext
    )
    night.wave = lambda *_, **__: asyncio.create_task(asyncio.sleep(0))

    async def breaks(night: Any) -> str:
        night.spoiled = "the log did not come back"
        raise OSError("what the row saw")

    row = replace(ROWS[0], run=breaks)
    monkeypatch.setattr(soaking, "ROWS", [row])
    monkeypatch.setattr(results, "LAST", tmp_path / "results.json")
    done = asyncio.run(soaking.soak(night, 0.05, 100.0))
    assert [(one.row, one.outcome, one.seen) for one in done.rows] == [(row.number, BROKE, "OSError: what the row saw")]
    assert any(f"the house was spoiled by row {row.name}" in finding for finding in done.findings)


def test_a_night_has_one_day_and_says_so_when_it_is_over(tmp_path: Path) -> None:
    """Of a month released in mid-soak the last tick, of the same day, says nothing new: all that came since would be a drift."""
    night = Night(cast("Any", None), tmp_path, 1)
    for moment in (FIRST_TICK, FIRST_TICK + 20_000 * TICK, LAST_DAY_TICK):  # one each 3 s: 16 hours
        night._moment = moment
        assert night.next_tick() == moment + TICK
    night._moment = datetime(2026, 6, 1, 21, 59, 59, tzinfo=UTC)
    with pytest.raises(Trouble, match="is over before the last tick"):
        night.next_tick()


def test_who_repeats_itself_does_nothing_beside_a_fault(tmp_path: Path) -> None:
    sender = Sender("", Journal(tmp_path / "journal.jsonl"), 1)
    for n, id in enumerate(("a", "b", "a", "a", "b")):
        sender.heard("north", "referral", {"submission_id": id, "content": "r1:0", "outcome": "recorded"}, float(n))
    assert sender.times == [(0.0, "referral"), (1.0, "referral")]


def test_a_fault_of_which_nobody_says_when_it_bites_is_no_fault() -> None:
    night = cast("Night", SimpleNamespace())
    with pytest.raises(AssertionError, match="nobody said when it bites: a fault"):
        asyncio.run(Window(night, "a fault", {"intake": 10}).progress(time.monotonic()))
    assert asyncio.run(Window(night, "a fault", {}).progress(time.monotonic())) == []


def test_a_flood_has_each_three_times_and_no_copy_beside_its_original() -> None:
    night: Any = SimpleNamespace(chance=Load(1).chance)
    wave = Load(5).wave(16, 20)
    flood: list[Meant] = tripled(night, wave.then)
    times = Counter((meant.id, meant.body, meant.headers) for meant in flood)
    assert all(meant.copies == 1 for meant in flood)
    assert len(flood) > 2.5 * len(wave.then)
    assert {n for key, n in times.items() if key[2]} == {1}  # poison
    beside = sum(one.id == other.id for one, other in pairwise(flood))
    assert beside < len(flood) / 50


def test_what_others_work_takes_from_a_house_is_told_and_what_its_own_take_from_each_other_is_not() -> None:
    """Beside a load of twenty a sound recovery took 33 of the 30 seconds it may."""
    with ExitStack() as all_:

        def begun(*argv: str) -> int:
            one = all_.enter_context(subprocess.Popen(argv))  # noqa: S603
            all_.callback(one.kill)
            return one.pid

        house, rests = begun(sys.executable, "-c", "while True: pass"), begun("sleep", "60")
        for _ in range(2 * (os.cpu_count() or 1)):
            begun(sys.executable, "-c", "while True: pass")
        while psutil.Process(rests).status() != psutil.STATUS_SLEEPING:  # on a busy machine it has not begun to
            time.sleep(0.01)
        began = time.monotonic()
        beside, among, resting = Busy(house), Busy(os.getpid()), Busy(rests)
        time.sleep(0.7)
        told, ours, nothing = (busy.took() for busy in (beside, among, resting))
        assert nothing < 0.1 < told < time.monotonic() - began and ours < told
