"""A command that can't do its work says why and the way out, to people and programs, and never a value it was given."""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

import deploy.local.announced
from deploy.cli import main
from deploy.commands.letters import letters
from deploy.commands.status import BESIDE, COLUMNS, findings_of, rows_of
from deploy.errors import DONE, FAULT, REFUSED, UNREACHABLE, USAGE, Trouble
from deploy.local.processes import Process, known_by
from deploy.places import EXAMPLES, SERVICES
from services.host.settings import Settings
from services.notification.organisations import MailSettings
from services.operating.audit import LONGEST_WHO, LONGEST_WHY
from services.runtime.database import RETRY
from tests.unit.in_services.test_settings import GOOD

Out = pytest.CaptureFixture[str]
NOWHERE = "127.0.0.1:9"  # nobody listens there


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing set, and no stack up."""
    for name in [name for name in os.environ if name.startswith("LOTSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(deploy.local.announced, "RUNNING", tmp_path / "running.json")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a service, well set."""
    good = GOOD | {"LOTSE_KAFKA": NOWHERE, "LOTSE_PUBLISHERS": str(EXAMPLES / "publishers.toml"),
                   "LOTSE_DATABASE": f"postgresql://u:hush@{NOWHERE}/d"}  # fmt: skip
    for name, value in good.items():
        monkeypatch.setenv(name, value)


def said(capsys: Out, *words: str) -> tuple[int, str, str]:
    """Exit code, message and hint of the one error, as a program gets them; people are told the same."""
    code = main([*words, "--format", "json"])
    out, err = capsys.readouterr()
    (error,) = json.loads(out)["errors"]
    assert error["message"] in err and error["hint"] in err and "Traceback" not in err and "canary" not in out + err
    return code, error["message"], error["hint"]


# --- settings


SECURITY = ("canary", "[]", '{"canary": 1}', '{"security_protocol": "SASL_SSL", "sasl_plain_password": "canary"}')


@pytest.mark.parametrize("wrong", SECURITY)
def test_every_command_that_speaks_with_kafka_names_a_wrong_security(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, settings: None, wrong: str
) -> None:
    monkeypatch.setenv("LOTSE_KAFKA_SECURITY", wrong)
    for words in (
        ["topics"],
        ["sources"],
        ["answer", "kreis", "id"],
        ["doctor", "intake"],
        ["sandbox", "--kafka", NOWHERE],
    ):
        code, message, _ = said(capsys, *words)
        assert code == USAGE and "LOTSE_KAFKA_SECURITY (" in message, words
    for name in ("clock", "intake"):
        assert main(["serve", name]) == USAGE
        err = capsys.readouterr().err
        assert "LOTSE_KAFKA_SECURITY (" in err and "canary" not in err
    with pytest.raises(Trouble, match="LOTSE_KAFKA_SECURITY"):
        asyncio.run(letters("intake"))


@pytest.mark.parametrize("words", [["topics"], ["sources"], ["doctor", "intake"], ["rebuild", "intake"]])
def test_an_address_of_kafka_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, settings: None, words: list[str]
) -> None:
    monkeypatch.setenv("LOTSE_KAFKA", "canary:90x2")
    code, message, _ = said(capsys, *words)
    assert code == USAGE and "LOTSE_KAFKA (no_host_and_port)" in message
    assert main(["serve", "clock"]) == USAGE


@pytest.mark.parametrize(
    ("address", "why"),
    [("postgresql://u:12/canary@h/d", "no_postgresql_address"), (f"postgresql://u:hush@{NOWHERE}/d?sslmode=canary", "ClientConfigurationError")],
    ids=["a password with a slash", "what only Postgres' client knows to be wrong"],
)  # fmt: skip
def test_a_wrong_address_of_the_database_ends_a_service_at_once_and_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, settings: None, address: str, why: str
) -> None:
    monkeypatch.setenv("LOTSE_DATABASE", address)
    assert main(["serve", "intake"]) == USAGE
    err = capsys.readouterr().err
    assert f"LOTSE_DATABASE ({why})" in err and "canary" not in err and "hush" not in err


def test_a_rebuild_and_a_migration_without_the_owner_name_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, settings: None
) -> None:
    for words in (["rebuild", "intake"], ["migrate", "intake"]):
        code, message, _ = said(capsys, *words)
        assert (code, message) == (USAGE, "missing: LOTSE_DATABASE_OWNER")
        monkeypatch.setenv("LOTSE_DATABASE_OWNER", "postgresql://owner:12/canary@h/d")
        code, message, _ = said(capsys, *words)
        assert code == USAGE and "LOTSE_DATABASE_OWNER" in message
        monkeypatch.delenv("LOTSE_DATABASE_OWNER")


@pytest.mark.parametrize("named", ["LOTSE_DATABASE_OWNER", "LOTSE_DATABASE", "LOTSE_KAFKA"])
def test_where_an_installation_is_named_the_stack_that_is_up_is_not_touched(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path, named: str
) -> None:
    """Whoever names one setting too few is told which, and another database stays as it is."""
    for words in (["migrate", "intake"], ["rebuild", "intake"]):
        assert "LOTSE_DATABASE_OWNER" in said(capsys, *words)[2]  # nothing named, nothing up
    announced(tmp_path, "http://127.0.0.1:9")
    monkeypatch.setenv(named, NOWHERE if named == "LOTSE_KAFKA" else f"postgresql://u:canary@{NOWHERE}/d")
    code, message, _ = said(capsys, "rebuild", "intake")
    assert code == USAGE and "LOTSE_PUBLISHERS (missing)" in message
    code, message, _ = said(capsys, "migrate", "intake")
    owner = named == "LOTSE_DATABASE_OWNER"
    assert code == (UNREACHABLE if owner else USAGE)
    assert message.startswith(
        "intake: the migrations of runtime did not run" if owner else "missing: LOTSE_DATABASE_OWNER"
    )


def test_a_file_that_can_not_be_used_is_named_by_its_setting_and_not_by_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, settings: None, tmp_path: Path
) -> None:
    (tmp_path / "canary.toml").write_text("[publisher.school]\nsource = 'canary'\n")
    monkeypatch.setenv("LOTSE_PUBLISHERS", str(tmp_path / "canary.toml"))
    monkeypatch.setenv("LOTSE_DATABASE_OWNER", GOOD["LOTSE_DATABASE"])
    wrong = "LOTSE_PUBLISHERS: publisher.school: wrong or missing tenants"
    for words in (["rebuild", "intake"], ["topics"], ["sources"]):
        assert said(capsys, *words)[:2] == (USAGE, wrong)
    assert main(["serve", "intake"]) == USAGE
    assert wrong in (err := capsys.readouterr().err) and "canary" not in err

    monkeypatch.setenv("LOTSE_PUBLISHERS", str(EXAMPLES / "publishers.toml"))
    (tmp_path / "canary.toml").write_text("[organisation.kreis]\nmailbox = 'canary'\n")
    monkeypatch.setattr("deploy.commands.serve._missing", nothing)
    mail = {"ORGANISATIONS": str(tmp_path / "canary.toml"), "SMTP_HOST": "h", "SMTP_PORT": "25", "MAIL_FROM": "a@b"}
    for name, value in mail.items():
        monkeypatch.setenv(f"LOTSE_{name}", value)
    assert main(["serve", "notification"]) == USAGE
    err = capsys.readouterr().err
    assert "LOTSE_ORGANISATIONS: organisation.kreis: wrong or missing mailbox" in err and "canary" not in err


async def nothing(*_: object) -> list[str]:
    """No migration is missing."""
    return []


@pytest.mark.parametrize("reader", ["board=intake.events", "User:board", "User:board=intake.submissions.kreis"])
def test_a_reader_is_a_principal_and_a_topic_of_facts(capsys: Out, reader: str) -> None:
    assert main(["topics", "--check", "--reader", reader]) == USAGE
    assert "User:board=intake.events" in capsys.readouterr().err


def test_help_says_what_each_setting_means(capsys: Out) -> None:
    assert main(["serve", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for kind in (Settings, MailSettings):
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert f"LOTSE_{name.upper()} {field.description}" in text
    assert "[default: 127.0.0.1]" in text and f"{Settings.model_fields['database'].description} [required]" in text


# --- faults and silences


def test_a_fault_of_ours_is_said_with_its_place_and_without_its_text(
    capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced(tmp_path, "http://h:canary")  # whose port httpx quotes
    code, message, hint = said(capsys, "risks")
    assert code == FAULT and message.startswith("a fault of ours: InvalidURL at ") and "--debug" in hint
    assert "deploy/commands/read.py:" in message and "canary" not in message
    with pytest.raises(httpx.InvalidURL, match="canary"):
        main(["--debug", "risks"])


@contextmanager
def answering(
    status: int, body: bytes, service: str = "", stopped: str = "", heard: list[str] | None = None
) -> Iterator[str]:
    """Something that answers every question so, but who it is where it is a service, and who is in quarantine there. It is
    written down what it HEARD beside."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = service and self.path == "/status"
            self.send_response(200 if asked else status)
            self.end_headers()
            who = {"service": service, **({"quarantined": [{"subject": stopped}]} if stopped else {})}
            self.wfile.write(json.dumps(who).encode() if asked else body)
            if heard is not None and not asked:
                heard.append(self.path)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def announced(folder: Path, url: str, simulated: str = "yes") -> None:
    """Where commands find a stack, all of whose services listen there."""
    (folder / "running.json").write_text(json.dumps(
        dict.fromkeys(("intake", "referral", "notification", "reporting"), url) | known_by(os.getpid())
        | {"folder": str(folder), "simulated": simulated, "publishers": str(EXAMPLES / "publishers.toml")}
    ))  # fmt: skip


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("kind", RETRY, ids=lambda kind: str(kind.__name__))
def test_a_rebuild_that_has_lost_its_database_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, kind: type[Exception]
) -> None:
    """asyncpg has errors that are none of Postgres' own, as where a server is killed between two of its messages."""

    async def lost(*_: object) -> None:
        await asyncio.sleep(0)
        raise kind("canary")

    monkeypatch.setenv("LOTSE_DATABASE_OWNER", f"postgresql://u:hush@{NOWHERE}/d")
    monkeypatch.setattr("deploy.commands.admin._fits", lost)
    code, message, _ = said(capsys, "rebuild", "intake")
    assert (code, message) == (UNREACHABLE, f"not rebuilt, the old stays in place: {kind.__name__}")


def test_where_kafka_does_not_answer_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, caplog: pytest.LogCaptureFixture
) -> None:
    """Below the way out stood the address in memory of what a library had not closed."""
    monkeypatch.setenv("LOTSE_KAFKA", NOWHERE)
    monkeypatch.setenv("LOTSE_PUBLISHERS", str(EXAMPLES / "publishers.toml"))
    assert said(capsys, "sources")[0] == UNREACHABLE
    gc.collect()
    assert caplog.records == []


@pytest.mark.usefixtures("settings")
def test_who_is_told_to_end_before_it_serves_ends_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes a busy machine some seconds; the first process of a container did not hear it, and was killed after thirty."""

    def told() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody heard it"))
    try:
        monkeypatch.setattr("services.host.settings.load_settings", told)
        with pytest.raises(SystemExit) as ended:
            main(["serve", "intake"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == DONE


ASKING = (["risks"], ["case", "one"], ["report", "participation"])


@pytest.mark.parametrize("words", [*ASKING, ["status"]], ids=lambda words: words[0])
def test_beside_an_installation_nobody_is_told_to_start_a_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, words: list[str]
) -> None:
    """It would be an empty one, with every part of it well."""
    code, message, hint = said(capsys, *words)
    assert code == UNREACHABLE and message == "no stack is up" and "lotse up" in hint
    for named in ("LOTSE_KAFKA", "LOTSE_DATABASE"):
        with monkeypatch.context() as here:
            here.setenv(named, NOWHERE)
            code, message, hint = said(capsys, *words)
        assert code == UNREACHABLE and "lotse up" not in hint and "/status" in hint


@pytest.mark.parametrize("words", ASKING, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("status", "body", "why"),
    [(503, b'{"why": "the database is away (canary)"}', "answers 503"), (500, b"canary", "answers 500"),
     (200, b"canary", "is silent (JSONDecodeError)")],
)  # fmt: skip
def test_a_service_that_does_not_answer_the_question_is_said_to_be_out_of_reach(
    capsys: Out, tmp_path: Path, words: list[str], status: int, body: bytes, why: str
) -> None:
    with answering(status, body) as url:
        announced(tmp_path, url)
        code, message, hint = said(capsys, *words)
    assert code == UNREACHABLE and message.endswith(why) and "lotse status" in hint


OPERATING = (["release", "referral", "case"], ["go-on", "referral"], ["republish", "referral", "--since", "1h"])


@pytest.mark.parametrize("words", OPERATING)
def test_a_service_of_a_version_that_knows_no_dry_run_is_named_and_has_done_nothing(
    capsys: Out, words: list[str]
) -> None:
    with answering(404, b"canary", "referral") as url:
        code, message, hint = said(capsys, *words, "--why", "mended", "--at", url, "--dry-run")
    assert code == REFUSED and "knows no --dry-run; nothing was changed" in message and "update" in hint


SETTLING = (*OPERATING, ["dead-letters", "replay", "referral"])


@pytest.mark.parametrize("words", SETTLING, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("status", "body", "why", "way_out"),
    [(503, b'{"why": "the database is away (TooManyConnections)", "way_out": "ask again"}', "referral: the database is away (TooManyConnections)", "ask again"),
     (503, b"<html>canary", "referral answers 503", "its log says more"), (500, b'["canary"]', "referral answers 500", "its log says more"),
     (422, b'{"wrong": ["canary"]}', "referral does not take the question (422)", "version")],
)  # fmt: skip
def test_what_a_service_says_where_it_can_not_do_what_an_operator_asks_is_passed_on(
    capsys: Out, words: list[str], status: int, body: bytes, why: str, way_out: str
) -> None:
    """Exit 1 of a replay means that some have no answer: here nobody knows."""
    with answering(status, body, "referral") as url:
        code, message, hint = said(capsys, *words, "--why", "mended", "--at", url)
    assert (code, message) == (REFUSED if status == 422 else UNREACHABLE, why) and way_out in hint


GIVE_UP, SHOW = ["dead-letters", "give-up", "referral", "12"], ["dead-letters", "show", "referral", "12"]
REVEAL = ["dead-letters", "show", "referral", "intake.submissions.kreis/0/3", "--reveal"]
ADDRESSED = (*SETTLING, GIVE_UP, SHOW, REVEAL, ["dead-letters", "list", "referral"])


@pytest.mark.parametrize("words", ADDRESSED, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize(
    ("service", "who"), [("intake", "is intake, not referral"), ("canary", "does not say that it is referral"),
                         ("", "does not say that it is referral")],
)  # fmt: skip
def test_who_answers_is_asked_who_it_is_before_anything_else(
    capsys: Out, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], service: str, who: str
) -> None:
    """Each service numbers what it keeps from 1: told to another, referral's 12 given up was intake's, for good."""
    (tmp_path / "key").write_text("{}")
    monkeypatch.setenv("LOTSE_KAFKA", NOWHERE)
    why = [] if words[1] == "list" else ["--why", "mended"]
    key = ["--key", str(tmp_path / "key")] if words == REVEAL else []
    heard: list[str] = []
    with answering(200, b"[]", service, heard=heard) as url:
        code, message, hint = said(capsys, *words, *why, *key, "--at", url)
    assert (code, message) == (REFUSED, f"who answers there {who}; nothing was asked of it") and "--at" in hint
    assert heard in ([], ["/status"])


STACK = (["status"], *ASKING, *(words for words in ADDRESSED if words != REVEAL))


@pytest.mark.parametrize("named", ["LOTSE_KAFKA", "LOTSE_DATABASE", "LOTSE_DATABASE_OWNER"])
@pytest.mark.parametrize("words", [*STACK, ["topics"], ["sources"]], ids=lambda words: " ".join(words[:2]))
def test_beside_an_installation_that_is_named_nothing_is_asked_of_the_stack_that_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path, words: list[str], named: str
) -> None:
    """Its figures would be taken for the installation's, and what is settled there would be another's."""
    monkeypatch.setenv(named, NOWHERE if named == "LOTSE_KAFKA" else f"postgresql://u:canary@{NOWHERE}/d")
    why = ["--why", "mended"] if words in (*SETTLING, GIVE_UP) else []
    heard: list[str] = []
    with answering(200, b"[]", "referral", heard=heard) as url:
        announced(tmp_path, url)
        code, message, hint = said(capsys, *words, *why)
    assert code == USAGE and heard == []
    if words in (["topics"], ["sources"]) and named == "LOTSE_KAFKA":
        assert message == "missing: LOTSE_PUBLISHERS"
    else:
        assert message == f"the environment names an installation ({named}), so the stack that is up is not asked"
        way_out = "--at" if words in ADDRESSED else "LOTSE_KAFKA" if words in (["topics"], ["sources"]) else "/status"
        assert way_out in hint


def test_beside_a_service_that_is_named_no_topic_and_no_key_of_the_stack_that_is_up_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path
) -> None:
    """What a service of one house keeps stood beside the letters of another."""
    with answering(200, b"[]", "referral") as url:
        announced(tmp_path, url)
        code, message, hint = said(capsys, "dead-letters", "list", "referral", "--at", url)
        assert (code, message) == (
            USAGE,
            "beside --at nothing is taken of a stack that is up",
        ) and "LOTSE_KAFKA" in hint
        monkeypatch.setenv("LOTSE_KAFKA", NOWHERE)
        for words in (["show", "referral", "intake.submissions.kreis/0/3"], ["list", "referral", "--type", "x"]):
            code, message, hint = said(capsys, "dead-letters", *words, "--at", url)
            assert (code, message) == (USAGE, "beside --at nothing is taken of a stack that is up") and "--key" in hint


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_release_says_whether_there_was_something_to_release(capsys: Out, dry: list[str]) -> None:
    """A subject that is mistyped, or of another service, was told as a true release is."""
    row = {"taken_up": 0, "more": False}
    for subject, was in (("case", True), ("CASE", False)):
        heard: list[str] = []
        words = ["release", "referral", subject, "--why", "mended", *dry]
        with answering(200, json.dumps(row).encode(), "referral", stopped="case", heard=heard) as url:
            assert main([*words, "--at", url, "--format", "json"]) == 0
            assert json.loads(capsys.readouterr().out)["data"] == [{**row, "quarantined": was}]
            assert main([*words, "--at", url]) == 0
            told = capsys.readouterr().out
        assert ("CASE is not in quarantine in referral: nothing to do" in told) is not was
        assert ("0 messages" in told) is was and bool(heard) is was


def test_a_service_that_does_not_know_only_is_not_told_to_go_on(capsys: Out) -> None:
    """One of the release before drops the word and takes all: each partition at a gap began anew, those nobody had looked at, too."""
    both = [{"partition": f"intake.submissions.jmd2/{n}", "stood_at": 9, "goes_on_at": 0, "gone": 4} for n in (0, 1)]
    words = ["go-on", "intake", "--only", "intake.submissions.jmd2/0", "--why", "test"]
    for rows, code in ((both, REFUSED), (both[:1], DONE)):
        heard: list[str] = []
        with answering(200, json.dumps(rows).encode(), "intake", heard=heard) as url:
            assert main([*words, "--at", url]) == code
        told = capsys.readouterr()
        assert heard == (["/dry-run/go-on"] if code else ["/dry-run/go-on", "/operate/go-on"])
        assert ("knows no --only; nothing was changed" in told.err) is (code == REFUSED)
    assert main([*words, "--past", "intake.events/0/3", "--at", "http://127.0.0.1:9"]) == USAGE


@pytest.mark.parametrize("words", SETTLING, ids=lambda words: words[0])
@pytest.mark.parametrize(("option", "most"), [("--why", LONGEST_WHY), ("--who", LONGEST_WHO)])
def test_a_reason_no_service_takes_is_a_question_of_usage(
    capsys: Out, words: list[str], option: str, most: int
) -> None:
    """Whoever writes too much is told how much, and no service is asked."""
    other = ["--who", "me"] if option == "--why" else ["--why", "mended"]
    for text, code in (("", USAGE), ("c" * (most + 1), USAGE), ("c" * most, UNREACHABLE)):
        assert main([*words, *other, option, text, "--at", f"http://{NOWHERE}"]) == code
        err = capsys.readouterr().err
        assert (f"'{option}'" in err and f"1 to {most}" in err and "ccc" not in err) is (code == USAGE), err


def test_help_says_how_long_a_reason_may_be(capsys: Out) -> None:
    assert main(["release", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"at most {LONGEST_WHY} characters" in text and f"at most {LONGEST_WHO} characters" in text


def test_who_names_no_key_is_not_told_to_make_one(capsys: Out, tmp_path: Path) -> None:
    """Another pair opens nothing, and made where services look for theirs it would be what they seal to."""
    (tmp_path / "canary").write_text("{}")
    with answering(200, b"[]", "referral") as url:
        code, message, hint = said(
            capsys, "dead-letters", "list", "referral", "--at", url, "--key", str(tmp_path / "canary")
        )
    assert code == USAGE and message.startswith("this is no private key (")
    assert "the private half of LOTSE_OPERATIONS_KEY" in hint and "operations-key" not in hint


def test_status_calls_what_answers_no_json_silent(capsys: Out, tmp_path: Path) -> None:
    with answering(500, b"canary") as url:
        announced(tmp_path, url)
        assert main(["status", "--exit-code", "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert all(found["data"][name] == {"running": False, "why": "JSONDecodeError"} for name in SERVICES)
    assert {one["message"].split()[0] for one in found["errors"]} == {*SERVICES, *BESIDE} - {"clock"}


@pytest.mark.parametrize("name", BESIDE)
def test_status_shows_what_the_services_stand_on(capsys: Out, tmp_path: Path, name: str) -> None:
    one = Process(tmp_path / BESIDE[name], name)
    one.start([sys.executable, "-c", "import time; time.sleep(300)"])
    try:
        with answering(500, b"") as url:
            announced(tmp_path, url, simulated="")
            for running in (True, False):
                main(["status", "--format", "json"])
                found = json.loads(capsys.readouterr().out)
                assert found["data"][name]["running"] is running
                assert any(wrong["message"].startswith(f"{name} is silent") for wrong in found["errors"]) is not running
                main(["status"])
                (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(name)]
                assert line.split() == [name, "yes" if running else "no"]
                assert one.child is not None
                one.child.send_signal(signal.SIGKILL)
                if running:  # ended, and nobody has fetched its exit code yet
                    os.waitid(os.P_PID, one.child.pid, os.WEXITED | os.WNOWAIT)
            announced(tmp_path, url, simulated="yes")
            main(["status", "--format", "json"])
            assert "clock" not in json.loads(capsys.readouterr().out)["data"]
    finally:
        one.stop()


FIGURES = {"running": True, "ready": True, "lag_seconds": 0, "outbox": {"rows": 0}, "waiting": 0, "held": [], "gaps": [],
           "set_aside": {"count": 0}, "dead_letters": [], "last_progress_seconds": 1.0, "older_than_log": 0, "quarantined": [],
           "held_ticks": [], "not_consumed": [], "findings": []}  # fmt: skip


@pytest.mark.parametrize(
    ("acted", "shown"),
    [({"rkn": "2026-03-02T10:15:00Z", "new": None}, "never"), ({}, "-"),
     ({"rkn": "2026-03-02T10:15:00Z", "bn": "2026-03-01T10:15:00Z"}, "2026-03-01T10:15")],
)  # fmt: skip
def test_the_alliance_that_is_furthest_behind_is_the_one_shown(acted: dict[str, str | None], shown: str) -> None:
    """One that never acted is further behind than any that did."""
    (row,) = rows_of({"intake": {**FIGURES, "acted": acted}})
    assert (
        row["acted_on"] == shown and set(row) == set(COLUMNS) and not findings_of("intake", {**FIGURES, "acted": acted})
    )


def test_a_dead_letter_is_a_finding_for_a_day_and_a_figure_for_good() -> None:
    """Nothing takes it back: `--exit-code` would never be 0 again after the first."""
    letter = {
        "topic": "intake.submissions.kreis",
        "publisher": "kreis",
        "type": "schema",
        "rule": "/by missing",
        "letters": 3,
    }
    for of_a_day, found in ((2, 1), (0, 0)):
        said = {**FIGURES, "acted": {}, "dead_letters": [{**letter, "of_a_day": of_a_day}]}
        assert len(findings_of("intake", said)) == found
        assert rows_of({"intake": said})[0]["dead"] == 3
