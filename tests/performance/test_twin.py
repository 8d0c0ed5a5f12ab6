"""The compiled twin does the same: of the same reports it comes to the same risks and rows as referral."""

import asyncio

import pytest

from deploy.bench import meters, twin
from deploy.bench.house import House
from deploy.bench.people import QUIET, People, Reports

CASES, ALLIANCES, REPORTS = 1_200, 3, 7_000
SAME = "select about, rule, case_id, tenant, holds_from_on, raised, open, owner_organisation_id from {}.risk_list order by about"


@pytest.mark.timeout(600)
def test_of_the_same_reports_the_twin_comes_to_the_same_risks() -> None:
    house = House(People(cases=CASES, alliances=ALLIANCES, publishers=2, meetings=4))

    async def run() -> tuple[list[object], list[object], dict[str, float]]:
        try:
            await house.open()
            await house.settle()
            house.rebuild("referral")
            await house.employ("referral", 1)
            await house.tick()
            await house.write(Reports(house.people).take(REPORTS))
            await meters.until(meters.answered, house, REPORTS)
            said = await twin.measure(house, 2, warm=0, count=REPORTS)
            ours, its = [await house.database.fetch(SAME.format(schema)) for schema in ("lotse", "twin")]
            assert await meters.facts(house, "dropout") == said["others"], "as many raised and withdrawn"
            reported = {house.people.id("participation", case) for case in range(CASES - QUIET)}
            return [tuple(row) for row in ours if row["about"] in reported], [tuple(row) for row in its], said
        finally:
            await house.close()

    try:
        house.start()
        ours, its, said = asyncio.run(run())
    finally:
        house.stack.stop()
    assert ours == its
    assert said["facts"] == said["answers"] == REPORTS
    assert any(row[6] for row in ours) and any(row[5] and not row[6] for row in ours)  # type: ignore[index]
