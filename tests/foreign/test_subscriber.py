"""A subscriber in TypeScript that has only our published files: it ends at the counts reporting released, and says what it
could not count."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from deploy.fleet import Fleet
from tests.foreign.conftest import PLAYED_UNTIL
from tests.foreign.log import fact, records_on
from tests.foreign.tools import SUBSCRIBER, node, npm
from tests.publishing import PATIENCE

Subscriber = tuple[int, dict[str, Any]]
"""Exit code and the document on stdout."""


async def count(built: Path, kafka: str, *words: str) -> Subscriber:
    """Lets it read to the end of the log."""
    process = await asyncio.create_subprocess_exec(
        node() / "bin" / "node", built / "build" / "subscriber.js", "--brokers", kafka, "--once", *words,
        stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    return process.returncode or 0, json.loads(out or "{}")


def test_on_a_node_that_is_too_old_it_is_not_built(tmp_path: Path) -> None:
    """Built, it named the network for what that Node lacks."""
    for name in (".npmrc", "package-lock.json"):
        shutil.copy(SUBSCRIBER / name, tmp_path)
    (tmp_path / "package.json").write_text((SUBSCRIBER / "package.json").read_text().replace(">=24.6", ">=999"))
    done = npm("ci", "--ignore-scripts", "--no-audit", cwd=tmp_path)
    assert done.returncode == 1 and "EBADENGINE" in done.stderr and ">=999" in done.stderr


async def test_it_ends_at_the_counts_that_reporting_released(built: Path, played: Fleet) -> None:
    code, said = await count(built, played.stack.kafka, "--as-of", PLAYED_UNTIL.isoformat())
    assert (code, said["gaps"], said["forks"], said["unreadable"]) == (0, [], [], [])

    released: dict[str, tuple[int, Any]] = {}
    for record in await records_on(played.stack.kafka, lambda topic: topic == "report.participation.internal"):
        report = json.loads(record.value)
        vintage, _ = released.get(report["month"], (0, None))
        if report["vintage"] > vintage:  # the highest of a month stands
            released[report["month"]] = (report["vintage"], report["cells"])
    counted = {grid["month"]: grid["cells"] for grid in said["grids"] if grid["tenant"] == "rkn"}
    assert counted == {month: cells for month, (_, cells) in released.items()}

    # the play was worth counting: months, places and blocks, all three figures, corrections that made later vintages
    cells = [cell for grid in counted.values() for cell in grid]
    assert list(counted) == ["2025-01", "2025-02", "2025-03", "2025-04"]
    assert len({cell["municipality"] for cell in cells}) > 3 and len({cell["block"] for cell in cells}) > 1
    assert all(sum(cell[figure] for cell in cells) > 5 for figure in ("entries", "exits", "stock"))
    assert any(vintage > 1 for vintage, _ in released.values())


async def test_it_drops_what_was_delivered_before_and_nothing_else(built: Path, played: Fleet) -> None:
    _, said = await count(built, played.stack.kafka)
    records = await records_on(played.stack.kafka, lambda topic: topic in ("intake.events", "referral.events"))
    stands = [(one.topic, dict(one.headers)["ce_subject"], dict(one.headers)["ce_streamversion"]) for one in records]
    assert said["applied"] == len(set(stands))
    assert (
        said["old"] == len(stands) - len(set(stands)) > 0
    )  # two services lost Postgres before they noted what was sent


async def test_it_tells_of_a_gap_a_fork_and_what_it_can_not_read(built: Path, log: str) -> None:
    whole, torn, forked, disordered = (str(uuid4()) for _ in range(4))
    async with AIOKafkaProducer(bootstrap_servers=log) as producer:
        for subject, number, id in [
            (whole, 1, ""), (whole, 2, ""), (whole, 1, ""), (whole, 2, ""),
            (torn, 1, ""), (torn, 3, ""), (torn, 4, ""),
            (forked, 1, ""), (forked, 2, ""), (forked, 2, "another"), (forked, 3, ""),
            (disordered, 2, ""), (disordered, 3, ""), (disordered, 1, ""),
        ]:  # fmt: skip
            await fact(producer, subject, number, id)
        await producer.send_and_wait("intake.events", b"[", key=b"x", headers=[("ce_specversion", b"1.0")])
    code, said = await count(built, log)
    assert code == 1 and said["grids"] == []
    assert said["gaps"] == [{"family": "intake", "subject": torn, "missing": 2, "kept": 2}]
    (fork,) = said["forks"]
    assert fork == {
        "family": "intake", "subject": forked, "number": 2, "ids": [f"{forked}-2", f"another{forked}-2"],
    }  # fmt: skip
    assert (said["applied"], said["old"]) == (2 + 1 + 2 + 3, 2)
    assert [one["why"] for one in said["unreadable"]] == ["the body is no JSON object"]


async def test_what_an_operator_left_out_it_leaves_out_and_counts_what_followed(built: Path, log: str) -> None:
    """A fork, and a third fact under its number, do not hold what comes behind; nor does a record that is none."""
    forked, early = str(uuid4()), str(uuid4())
    async with AIOKafkaProducer(bootstrap_servers=log) as producer:
        for subject, number, id in [
            (forked, 1, ""), (forked, 2, ""), (forked, 2, "b"), (forked, 2, "c"), (forked, 3, ""), (forked, 4, ""),
            (early, 2, "b"), (early, 2, ""), (early, 1, ""),
        ]:  # fmt: skip
            await fact(producer, subject, number, id)
        bad = await producer.send_and_wait("intake.events", b"[", key=b"x", headers=[("ce_specversion", b"1.0")])
    without = [word for subject, id in ((forked, "b"), (forked, "c"), (early, "b"))
               for word in ("--without", f"intake/{subject}/{id}{subject}-2")]  # fmt: skip
    code, said = await count(built, log, *without, "--past", f"intake.events/{bad.partition}/{bad.offset}")
    assert (code, said["applied"], said["gaps"], said["forks"], said["unreadable"]) == (0, 6, [], [], [])
    code, said = await count(built, log, *without[:2])
    assert code == 1 and {fork["subject"] for fork in said["forks"]} == {forked, early}
    assert await count(built, log, "--without", "intake") == (2, {})


async def test_a_later_version_of_what_it_counts_makes_its_figures_not_whole(built: Path, log: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=log) as producer:
        await fact(producer, str(uuid4()), 1, "", "lotse.intake.need_recorded.v2")  # no figure is made of it
        assert (await count(built, log))[0] == 0
        await fact(producer, str(uuid4()), 1, "", "lotse.intake.case_opened.v2")
    code, said = await count(built, log)
    assert (code, said["later"], said["applied"]) == (1, {"lotse.intake.case_opened.v2": 1}, 2)


async def test_it_goes_on_and_tells_again_when_something_came(built: Path, log: str) -> None:
    process = await asyncio.create_subprocess_exec(
        node() / "bin" / "node", built / "build" / "subscriber.js", "--brokers", log,
        stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE), AIOKafkaProducer(bootstrap_servers=log) as producer:
            first = json.loads(await process.stdout.readline())
            subject = str(uuid4())
            await fact(producer, subject, 2, "")
            told = json.loads(await process.stdout.readline())
            assert told["applied"] == first["applied"]
            assert told["gaps"] == [*first["gaps"], {"family": "intake", "subject": subject, "missing": 1, "kept": 1}]
            await fact(producer, subject, 1, "")
            told = json.loads(await process.stdout.readline())
            assert (told["applied"], told["gaps"]) == (first["applied"] + 2, first["gaps"])
    finally:
        process.kill()
        await process.wait()


async def test_it_says_how_it_is_called(built: Path) -> None:
    assert await count(built, "127.0.0.1:1", "--as-of", "yesterday") == (2, {})
