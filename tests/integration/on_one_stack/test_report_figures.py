"""Entries, exits and stock by one SQL, held against counting day by day in Python."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from deploy.local.stack import LocalStack
from services.reporting import projection
from services.reporting.projection import take
from services.runtime.work import NOT_THE_DATA

Period = tuple[str, str, date, date | None]
TICKED = datetime(2026, 6, 10, 6, tzinfo=UTC)
LAST_CLOSED = date(2026, 5, 1)


def counted(periods: list[Period]) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """(month, municipality, block) to entries, exits and stock at the month's end: who has started and not ended."""
    found: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    ends = [end for *_, end in periods]
    first = min(start for *_, start, _ in periods).replace(day=1)
    last = (
        LAST_CLOSED
        if None in ends
        else min(LAST_CLOSED, max(max(end or s, s) for *_, s, end in periods).replace(day=1))
    )
    month = first
    while month <= last:
        found |= counted_in(month, periods)
        month = (month + timedelta(days=32)).replace(day=1)
    return found


def counted_in(month: date, periods: list[Period]) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """One month of it; `month` is its first day."""
    after = (month + timedelta(days=32)).replace(day=1)
    found = {}
    for place, block in {(place, block) for place, block, *_ in periods}:
        mine = [(start, end) for p, b, start, end in periods if (p, b) == (place, block)]
        found[month.strftime("%Y-%m"), place, block] = (
            sum(month <= start < after for start, _ in mine),
            sum(end is not None and month <= end < after for _, end in mine),
            sum(start < after and (end is None or end >= after) for start, end in mine),
        )
    return found


@asynccontextmanager
async def told(stack: LocalStack, tenant: str, periods: list[Period]) -> AsyncIterator[asyncpg.Connection]:
    """A transaction, undone, in which an alliance has these participations."""
    con = await asyncpg.connect(stack.databases["reporting"].runtime, server_settings={"search_path": "lotse"})
    transaction = con.transaction()
    await transaction.start()
    try:
        columns = ["case_id", "participation_id", "tenant", "municipality", "block", "started_on", "ended_before_on"]
        rows = [(f"{tenant}-{n}", f"{tenant}-{n}", tenant, *period) for n, period in enumerate(periods)]
        await con.copy_records_to_table("participation_period", records=rows, columns=columns)
        yield con
    finally:
        await transaction.rollback()
        await con.close()


@pytest.mark.parametrize("seed", range(8))
async def test_the_grid_is_what_counting_says(prepared: LocalStack, seed: int) -> None:
    chance, tenant = random.Random(seed), f"brute-{seed}"
    periods: list[Period] = []
    for _ in range(chance.randrange(1, 60)):
        start = date(2025, 11, 1) + timedelta(days=chance.randrange(200))
        end = start + timedelta(days=chance.choice([0, 1, 30, 31, 90])) if chance.random() < 0.8 or seed == 3 else None
        periods.append((chance.choice(["05162024", "05162004"]), chance.choice(["F1", "F4"]), start, end))
    async with told(prepared, tenant, periods) as con:
        said = {(release.month, cell.municipality, cell.block): (cell.entries, cell.exits, cell.stock)
                for release in await take(con, tenant, TICKED) for cell in release.cells}  # fmt: skip
        assert said == counted(periods)
        assert list(await take(con, tenant, TICKED + timedelta(days=1))) == []  # nothing changed: no new vintage


async def test_months_that_a_correction_leaves_outside_are_released_anew(prepared: LocalStack) -> None:
    """A year mistyped at the start, an end reported months late: what was released of the months between is not true."""
    tenant, place, block = "corrected", "05162024", "F4"
    typed: list[Period] = [(place, block, date(2025, 1, 10), date(2026, 2, 20)), (place, block, date(2026, 1, 7), None)]
    right: list[Period] = [
        (place, block, date(2026, 1, 10), date(2026, 2, 20)),
        (place, block, date(2026, 1, 7), date(2026, 3, 15)),
    ]
    keep = ("insert into participation_period (case_id, participation_id, tenant, municipality, block, started_on, ended_before_on)"
            " values ($1, $1, $2, $3, $4, $5, $6) on conflict (case_id, participation_id) do update"
            " set started_on = excluded.started_on, ended_before_on = excluded.ended_before_on")  # fmt: skip
    newest: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    vintages: dict[str, list[int]] = {}
    async with told(prepared, tenant, []) as con:
        for day, periods in enumerate((typed, right, right)):
            await con.executemany(keep, [(f"{tenant}-{n}", tenant, *period) for n, period in enumerate(periods)])
            for release in await take(con, tenant, TICKED + timedelta(days=day)):
                vintages.setdefault(release.month, []).append(release.vintage)
                newest |= {(release.month, cell.municipality, cell.block): (cell.entries, cell.exits, cell.stock)
                           for cell in release.cells}  # fmt: skip
        months = [date(2025 + n // 12, n % 12 + 1, 1) for n in range(17)]  # January 2025 to May 2026
        assert newest == {key: cell for month in months for key, cell in counted_in(month, right).items()}
        assert vintages["2025-12"] == vintages["2026-05"] == [1, 2] and vintages["2026-02"] == [1]


async def test_a_month_is_released_once_a_day_whatever_is_corrected_on_it(prepared: LocalStack) -> None:
    """What changes again on the day of a release is in the next day's."""
    tenant, said = "twice-a-day", "05162024"
    add = ("insert into participation_period (case_id, participation_id, tenant, municipality, block, started_on)"
           " values ($1, $1, $2, $3, 'F4', $4)")  # fmt: skip
    vintages: list[list[tuple[str, int]]] = []
    async with told(prepared, tenant, []) as con:
        for n, at in enumerate(
            (TICKED, TICKED + timedelta(hours=1), TICKED + timedelta(hours=2), TICKED + timedelta(days=1))
        ):
            await con.execute(add, f"{tenant}-{n}", tenant, said, date(2026, 4, 10 + n))
            vintages.append([(release.month, release.vintage) for release in await take(con, tenant, at)])
    first, *same_day, next_day = vintages
    assert ("2026-04", 1) in first and same_day == [[], []] and ("2026-04", 2) in next_day


async def test_a_month_released_by_a_clock_years_ahead_is_released_anew_once_time_is_set_back(
    prepared: LocalStack,
) -> None:
    """Until that year no correction would have been counted. What has not changed since has no other vintage."""
    tenant, typed = "year-2036", date(2026, 4, 10)
    periods: list[Period] = [("05162024", "F4", typed, date(2026, 4, 20))]
    async with told(prepared, tenant, periods) as con:
        await take(con, tenant, TICKED.replace(year=2036))
        assert list(await take(con, tenant, TICKED)) == []
        await con.execute("update participation_period set ended_before_on = '2026-05-20' where tenant = $1", tenant)
        may, april = await take(con, tenant, TICKED)  # never released comes first
    assert [(one.month, one.vintage, one.as_of) for one in (april, may)] == [
        ("2026-04", 2, TICKED),
        ("2026-05", 1, TICKED),
    ]
    assert [(cell.exits, cell.stock) for one in (april, may) for cell in one.cells] == [(0, 1), (1, 0)]


async def test_what_is_more_than_one_tick_may_release_is_released_by_the_next(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Months never released come first, in their order, each once; what is sent is in memory until then."""
    monkeypatch.setattr(projection, "RELEASED_AT_ONCE", 5)
    periods: list[Period] = [(place, "F4", date(2025, 9, 3), None) for place in ("05162024", "05162004")]
    said: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    async with told(prepared, "by-and-by", periods) as con:
        ticks = [await take(con, "by-and-by", TICKED + timedelta(minutes=15 * n)) for n in range(4)]
    for release in (release for releases in ticks for release in releases):
        assert release.vintage == 1
        said |= {
            (release.month, cell.municipality, cell.block): (cell.entries, cell.exits, cell.stock)
            for cell in release.cells
        }
    assert [[release.month for release in releases] for releases in ticks] == [
        ["2025-09", "2025-10", "2025-11"], ["2025-12", "2026-01", "2026-02"], ["2026-03", "2026-04", "2026-05"], []
    ]  # fmt: skip
    assert said == counted(periods)


async def test_a_thousand_places_since_2000_are_released_a_hundred_thousand_cells_a_tick(prepared: LocalStack) -> None:
    """One partner's made-up places, one start mistyped: all at once were 330 MB, and every alliance's reporting was killed for it."""
    periods: list[Period] = [(f"{n:08d}", "F4", date(2000, 1, 3), None) for n in range(1000)]
    async with told(prepared, "made-up", periods) as con:
        releases = await take(con, "made-up", TICKED)
        assert [release.month for release in releases][:2] == ["2000-01", "2000-02"] and len(releases) == 100
        assert all(len(release.cells) == 1000 for release in releases)


async def test_more_places_and_months_than_there_are_stop_this_alliance_alone(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary error: the clock says it and goes on to the next alliance. One month alone must fit a message."""
    periods: list[Period] = [(f"{n:08d}", "F4", date(2000, 1, 3), None) for n in range(6400)]
    async with told(prepared, "endless", periods) as con:
        with pytest.raises(projection.TooManyCells):
            await take(con, "endless", TICKED)
    monkeypatch.setattr(projection, "MOST_OF_A_BODY", 400)
    async with told(prepared, "wide", [(place, "F4", date(2026, 5, 3), None) for place, *_ in periods[:9]]) as con:
        with pytest.raises(projection.TooManyCells):
            await take(con, "wide", TICKED)
    assert not issubclass(projection.TooManyCells, NOT_THE_DATA)


async def test_months_that_were_released_once_count_where_the_grid_is_sized(prepared: LocalStack) -> None:
    """A year mistyped and corrected: its months stay in the grid, and with them each place somebody makes up later."""
    async with told(prepared, "stays", [(f"{n:08d}", "F4", date(2026, 5, 3), None) for n in range(6400)]) as con:
        assert [len(release.cells) for release in await take(con, "stays", TICKED)] == [6400]
        await con.execute("insert into release values ('stays', '2000-01', 1, $1, '', '')", TICKED - timedelta(days=9))
        with pytest.raises(projection.TooManyCells):
            await take(con, "stays", TICKED + timedelta(days=1))


async def test_of_what_changes_each_day_no_month_is_left_behind(
    prepared: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was released longest ago comes first: the earliest months alone would be all that is ever released."""
    monkeypatch.setattr(projection, "RELEASED_AT_ONCE", 3)
    months = []
    async with told(prepared, "each-day", [("05162024", "F4", date(2025, 12, 3), None)]) as con:
        for day in range(4):
            releases = await take(con, "each-day", TICKED + timedelta(days=day))
            months.append([(release.month, release.vintage) for release in releases])
            await con.execute(
                "insert into participation_period (case_id, participation_id, tenant, municipality, block, started_on)"
                " values ($1, $1, 'each-day', '05162024', 'F4', '2025-12-04')",
                f"n{day}",
            )
    assert months == [
        [("2025-12", 1), ("2026-01", 1), ("2026-02", 1)], [("2026-03", 1), ("2026-04", 1), ("2026-05", 1)],
        [("2025-12", 2), ("2026-01", 2), ("2026-02", 2)], [("2026-03", 2), ("2026-04", 2), ("2026-05", 2)],
    ]  # fmt: skip
