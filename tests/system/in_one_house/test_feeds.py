"""What a publisher and an operator ask of the feeds of a house that runs: answers, books, topics; in every form."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import deploy.local.announced
from contracts.codes import ReferralAnswer
from contracts.envelope import By
from contracts.referral import ReferralAnswered
from deploy.cli import main
from deploy.fleet import Fleet
from deploy.local.announced import announce
from deploy.local.processes import child_environment, free_port
from deploy.places import ROOT
from tests.architecture.test_formats import ENVELOPE, PRINTING
from tests.conftest import ORGANISATIONS, PUBLISHERS
from tests.forked import run
from tests.publishing import NAME, OWNER, PATIENCE, PROVIDER, SOURCE, Course, Publisher

DAY = date(2026, 3, 2)


async def asked(fleet: Fleet, *words: str, **more: str) -> tuple[int, dict[str, Any]]:
    """`lotse WORDS --format json` in a process of its own: exit code and the envelope."""
    env = child_environment(
        PYTHONPATH=str(ROOT), LOTSE_KAFKA=fleet.stack.kafka, LOTSE_PUBLISHERS=str(PUBLISHERS), **more
    )
    done = await asyncio.to_thread(run, *words, "--format", "json", env=env)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_a_publisher_learns_what_became_of_a_submission_and_whether_sending_again_helps(fleet: Fleet) -> None:
    run, register, *_ = Course(DAY).steps()
    async with Publisher(fleet.stack.kafka) as sender:
        good = await sender.send(*register)
        fact = (await sender.answered(good))[0]["fact_id"]
        for name in (NAME, SOURCE):
            code, said = await asked(fleet, "answer", name, good)
            (row,) = said["data"]
            assert (code, said["ok"], row["outcome"], row["fact_id"], row["again"]) == (0, True, "recorded", fact, "no")

        other = run[0].model_copy(update={"by": By(organisation_id="caritas-rkn")})
        no = await sender.send(other, str(uuid4()))
        await sender.answered(no)
        code, said = await asked(fleet, "answer", NAME, no)
        (row,), (error,) = said["data"], said["errors"]
        assert (code, said["ok"], row["outcome"], row["again"]) == (4, False, "refused", "no")
        assert error["code"] == row["reason"] == "NOT_YOURS" and row["hint"] in error["hint"]

        bad = await sender.send(
            register[0], str(uuid4()), body=b'{"by": {"organisation_id": "rkn-thm"}, "canary": "Zainab"}'
        )
        await sender.answered(bad)
        code, said = await asked(fleet, "answer", NAME, bad)
        assert (code, said["data"][0]["outcome"], said["data"][0]["again"]) == (4, "unreadable", "mended")
        assert "Zainab" not in json.dumps(said)

        other_content = register[0].model_copy(update={"municipality": "05162008"})
        await sender.send(other_content, str(uuid4()), id=good)
        async with asyncio.timeout(PATIENCE):
            while len(sender.answers[good]) < 2:
                await sender.read()
        code, said = await asked(fleet, "answer", NAME, good)
        assert (code, [row["reason"] for row in said["data"]]) == (
            0,
            [None, "ID_REUSED"],
        )  # the first content has the id


async def test_what_has_no_answer_waits_and_what_nobody_sent_is_said_to_be_so(fleet: Fleet) -> None:
    waits = ReferralAnswered(by=PROVIDER, referral_id=str(uuid4()), answer=ReferralAnswer.ACCEPTED, answered_on=DAY)
    async with Publisher(fleet.stack.kafka) as sender:
        before = datetime.now(UTC) - timedelta(seconds=5)
        id = await sender.send(waits, str(uuid4()))
        code, said = await asked(fleet, "answer", NAME, id)
    row, (error,) = said["data"][0], said["errors"]
    assert (code, said["ok"], row["outcome"], error["code"]) == (1, False, "waiting", "WAITING")
    assert row["type"] == "lotse.referral.referral_answered.v1" and before < datetime.fromisoformat(row["since"])
    assert row["place"].startswith(f"referral.submissions.{NAME}/") and row["deliveries"] == 1
    async with Publisher(fleet.stack.kafka) as sender:  # other content under its id: the only answer there is
        await sender.send(waits.model_copy(update={"answered_on": DAY - timedelta(days=1)}), str(uuid4()), id=id)
        assert (await sender.answered(id))[0]["reason"] == "ID_REUSED"
        code, said = await asked(fleet, "answer", NAME, id)
    assert (code, said["data"], said["errors"]) == (1, [{**row, "refused_beside": 1}], [error])
    code, said = await asked(fleet, "answer", NAME, str(uuid4()))
    assert (code, said["errors"][0]["code"]) == (1, "NOT_SENT")
    code, said = await asked(fleet, "answer", "nobody", id)
    assert (code, said["data"], said["errors"][0]["code"]) == (2, None, "USAGE") and NAME in said["errors"][0]["hint"]
    code, said = await asked(fleet, "answer", NAME, "an id with spaces")
    assert (code, said["errors"][0]["code"]) == (2, "USAGE")


async def test_where_kafka_is_away_the_commands_say_so_and_end(fleet: Fleet) -> None:
    away = f"127.0.0.1:{free_port()}"
    for words in (
        ["answer", NAME, "x"],
        ["sources"],
        ["topics", "--check"],
        ["sandbox", "--kafka", away, "--weeks", "1"],
    ):
        env = child_environment(PYTHONPATH=str(ROOT), LOTSE_KAFKA=away, LOTSE_PUBLISHERS=str(PUBLISHERS))
        done = await asyncio.to_thread(run, *words, "--format", "json", env=env, timeout=PATIENCE)
        assert done.returncode == 3, (words, done.stdout, done.stderr)
        said = json.loads(done.stdout)
        assert said["ok"] is False and said["errors"][0]["hint"] and "Traceback" not in done.stderr


async def books(fleet: Fleet) -> dict[str, Any]:
    code, said = await asked(fleet, "sources", NAME)
    assert code == 0 and [row["publisher"] for row in said["data"]] == [NAME]
    row: dict[str, Any] = said["data"][0]
    return row


async def test_the_sources_count_what_a_publisher_did_and_its_books_balance(fleet: Fleet) -> None:
    course = Course(DAY)
    _, register, consent, *_ = course.steps()
    async with Publisher(fleet.stack.kafka) as sender:
        before = await books(fleet)
        first = await sender.send(*register)
        await sender.answered(first)
        await sender.send(*register, id=first)  # once more
        same = await sender.send(*register)  # the same statement under another id
        refused = await sender.send(consent[0].model_copy(update={"last_valid_on": date(2020, 1, 1)}), course.case)
        bad = await sender.send(register[0], str(uuid4()), body=b"{")
        await sender.raw("intake", b"{}", [("ce_id", b"no id at all")])
        waits = await sender.send(ReferralAnswered(by=PROVIDER, referral_id=str(uuid4()), answer=ReferralAnswer.ACCEPTED,
                                                   answered_on=DAY), str(uuid4()))  # fmt: skip
        (s, r, b) = await sender.answered(same, refused, bad)
        assert (s["outcome"], r["outcome"], b["outcome"]) == ("unchanged", "refused", "unreadable")
        after = await books(fleet)
        assert waits not in sender.answers
    counts = ("sent", "repeated", "recorded", "unchanged", "refused", "unreadable", "without_id", "waiting")
    assert {name: after[name] - before[name] for name in counts} == {
        "sent": 5, "repeated": 1, "recorded": 1, "unchanged": 1, "refused": 1, "unreadable": 1, "without_id": 1, "waiting": 1,
    }  # fmt: skip
    assert after["reasons"].get(r["reason"], 0) - before["reasons"].get(r["reason"], 0) == 1
    assert datetime.fromisoformat(after["last_seen"]) > datetime.now(UTC) - timedelta(minutes=5)
    assert after["late_p90_seconds"] >= after["late_median_seconds"]


async def test_topics_are_held_against_the_catalogue_and_the_command_it_names_mends_them(fleet: Fleet) -> None:
    code, said = await asked(fleet, "topics", "--check")
    assert code == 0, said["errors"]
    (rights,) = [row for row in said["data"] if row["check"] == "rights"]
    assert (rights["state"], rights["why"]) == (
        "not checked",
        "the broker has no authorizer: everybody may do everything",
    )
    topic = "reporting.dead-letters"
    wrong = {"cleanup.policy": "compact", "retention.ms": "1000000000", "max.message.bytes": "2000000",
             "message.timestamp.type": "LogAppendTime"}  # fmt: skip
    kafka = AIOKafkaAdminClient(bootstrap_servers=fleet.stack.kafka)
    await kafka.start()
    try:
        await kafka.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wrong)])
        code, said = await asked(fleet, "topics", "--check")
        assert code == 1
        assert {error["message"] for error in said["errors"]} == {
            f"{topic} has cleanup.policy=compact; the catalogue says delete",
            f"{topic} has retention.ms=1000000000; the catalogue says 2592000000",
            f"{topic} has max.message.bytes=2000000; the catalogue says 2097152",
        }
        assert {error["hint"] for error in said["errors"]} == {"lotse topics --mend"}
        assert (await asked(fleet, "topics", "--mend"))[0] == 0
        assert (await asked(fleet, "topics", "--check"))[0] == 0
    finally:
        await kafka.close()


MENDS = "tests/system/test_what_an_operator_mends.py"
ELSEWHERE = {
    "demo": "tests/system/test_demo.py", "bench": "tests/performance/test_small_run.py", "import": "tests/system/test_oulad.py",
    "rebuild": "tests/integration/test_doctor.py", "validate": "tests/contracts/test_validate.py",
    "case": "tests/system/in_one_house/test_feeds.py", "dead-letters show": MENDS, "dead-letters replay": "tests/system/test_foreign_habits.py",
    "dead-letters give-up": "tests/system/test_foreign_habits.py", "release": MENDS, "republish": MENDS, "go-on": MENDS,
}  # fmt: skip
"""Where a command's data are looked at that is not walked here."""
NOT_WALKED = {"test": "it runs what runs here", "soak": "it takes minutes", "up": "it stays until it is stopped"}


def walked(fleet: Fleet, folder: Path) -> dict[str, list[str]]:
    """Command to the arguments with which it prints something here."""
    return {
        "status": [], "doctor": [], "risks": [], "report": ["participation"], "dead-letters list": ["intake"],
        "topics": [], "operations-key": [str(folder)], "migrate": ["intake"], "answer": [NAME, "nothing-of-this-id"],
        "sources": [], "sandbox": ["--out", str(folder / "feed.jsonl"), "--persons", "5", "--weeks", "2"],
    }  # fmt: skip


def test_every_command_is_walked_here_or_its_data_are_looked_at_elsewhere(fleet: Fleet, tmp_path: Path) -> None:
    more = set(PRINTING) - walked(fleet, tmp_path).keys() - ELSEWHERE.keys() - NOT_WALKED.keys()
    assert not {name for name in more if not name.startswith("contracts ")}  # those work on files of the tree alone
    for name, file in ELSEWHERE.items():
        assert f'"{name.split()[-1]}"' in (ROOT / file).read_text(), (name, file)


def test_every_command_prints_json_and_csv_of_the_same_data_and_nothing_else_on_stdout(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(fleet, tmp_path)
    monkeypatch.setattr(deploy.local.announced, "RUNNING", tmp_path / "running.json")
    assert PUBLISHERS.exists() and ORGANISATIONS.exists()
    for name, arguments in walked(fleet, tmp_path).items():
        monkeypatch.delenv("LOTSE_DATABASE_OWNER", raising=False)
        if name == "migrate":  # the others ask the stack that is up, and it alone
            monkeypatch.setenv("LOTSE_DATABASE_OWNER", fleet.stack.databases["intake"].owner)
        code = main([*name.split(), *arguments, "--format", "json"])
        said = json.loads(capsys.readouterr().out)
        assert set(said) == ENVELOPE and said["command"] == name, (name, said)
        assert said["ok"] is (code == 0) or name == "status", (name, code, said["errors"])
        assert main([*name.split(), *arguments, "--format", "csv"]) == code
        rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
        assert rows and all(len(row) == len(rows[0]) for row in rows), (name, rows)
        if name not in ("status", "sandbox"):
            assert len(rows) - 1 == len(said["data"]), (name, rows)


async def test_a_case_is_told_in_every_form(fleet: Fleet, tmp_path: Path) -> None:
    course = Course(DAY)
    async with Publisher(fleet.stack.kafka) as sender:
        await sender.ask(*course.steps()[1])
    announce(fleet, tmp_path)
    env = {name: value for name, value in child_environment(PYTHONPATH=str(ROOT), LOTSE_STATE=str(tmp_path)).items()
           if name == "LOTSE_STATE" or not name.startswith("LOTSE_")}  # fmt: skip
    for shape in ("json", "jsonl", "csv", "table"):
        done = await asyncio.to_thread(run, "case", course.case, "--format", shape, env=env)
        assert re.search(r"case_opened\W+(says\W+)?05162024", done.stdout), done.stdout
        assert OWNER.organisation_id not in done.stdout


async def test_status_is_shown_anew_until_ctrl_c(fleet: Fleet, tmp_path: Path) -> None:
    """On a terminal, as an operator watches it."""
    announce(fleet, tmp_path)
    ours, theirs = pty.openpty()
    env = child_environment(PYTHONPATH=str(ROOT), LOTSE_STATE=str(tmp_path), TERM="xterm", COLUMNS="120")
    argv = [sys.executable, "-m", "deploy.cli", "status", "--watch"]
    watching = subprocess.Popen(argv, env=env, stdout=theirs, stderr=subprocess.PIPE)  # noqa: ASYNC220
    os.close(theirs)
    shown = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while shown.count(b"reporting") < 2:  # shown, and shown anew
                shown += await asyncio.to_thread(os.read, ours, 4096)
        watching.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(watching.wait, PATIENCE) == 130
    finally:
        watching.kill()
        os.close(ours)
    assert b"acted on" in shown and b"intake" in shown
