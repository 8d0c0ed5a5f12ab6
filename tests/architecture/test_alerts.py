"""Each alert fires with what it promises, stays quiet when it should, speaks of metrics that exist, and has a runbook."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from deploy.cli import cli
from deploy.places import ROOT
from services.process.telemetry import Metrics

ALERTS = sorted((ROOT / "deploy" / "alerts").glob("*.yaml"))
TESTS = Path(__file__).parent / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(page for page in RUNBOOKS.glob("*.md") if page.name != "README.md")


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="NOT RUN: promtool is not on this machine (Debian package prometheus)"
)


def exported() -> set[str]:
    """Names of the figures a service exports."""
    metrics = Metrics()
    names = {metric.name for metric in metrics.registry.collect()}
    counters = {metric.name for metric in metrics.registry.collect() if metric.type == "counter"}
    return (names - counters) | {f"{name}_total" for name in counters}


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs it; both of its outputs in one."""
    return subprocess.run(  # noqa: S603
        ["promtool", *arguments], cwd=cwd, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_there_is_an_alert_for_everything_that_may_stand_still() -> None:
    assert {file.stem for file in ALERTS} >= {
        f"Lotse{name}" for name in "Lagging OutboxOld Held Quarantine SetAside DeadLettersGrowing PublisherHeld NoProgress "
        "TickOld DatabaseOlderThanLog Fork Gap Silent".split()
    }  # fmt: skip


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_an_alert_is_one_file_that_says_how_bad_how_long_what_and_where_to_read_on(file: Path) -> None:
    text, name = file.read_text(), file.stem
    assert text.startswith("# Normal: ")
    assert re.findall(r"- alert: (\w+)", text) == [name] == re.findall(r"- name: (\w+)", text)
    assert re.search(r"^ {10}severity: (critical|warning)$", text, re.M)
    assert re.search(r"^ {8}for: \d+m$", text, re.M)
    for said in ("summary", "description"):
        assert re.search(rf'^ {{10}}{said}: ".{{30,}}"$', text, re.M), said
    assert f"runbook_url: docs/runbooks/{name}.md" in text


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_an_alert_says_labels_and_figures_only(file: Path) -> None:
    spoken = set(re.findall(r"\{\{(.*?)\}\}", file.read_text()))
    assert spoken <= {" $labels.job ", " $value ", " $value | humanizeDuration "}


@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_each_metric_of_an_alert_exists(file: Path) -> None:
    named = set(re.findall(r"\blotse_\w+", file.read_text()))
    assert named and named <= exported()


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    names = [file.stem for file in ALERTS]
    assert [page.stem for page in PAGES] == names
    index = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.M)
    severity = {file.stem: re.findall(r"severity: (\w+)", file.read_text())[0] for file in ALERTS}
    assert sorted((name, page, severity[name]) for name, page, _ in index) == sorted(index)
    assert sorted(name for name, _, _ in index) == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_meaning_impact_what_to_look_at_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    title, *parts = re.split(r"^##? ", text, flags=re.M)[1:]
    assert title.startswith(page.stem)
    rule = (ROOT / "deploy" / "alerts" / f"{page.stem}.yaml").read_text()
    severity, when = title.splitlines()[2].split(" · ")
    assert f"severity: {severity}\n" in rule
    assert when != "at once" or re.search(r"^ {8}for: [01]m$", rule, re.M)
    assert [part.partition("\n")[0] for part in parts] == ["Meaning", "Impact", "What to look at", "What to do"]
    assert all(len(part) > 60 for part in parts)
    assert "`lotse status`" in parts[2] or "`lotse dead-letters" in parts[2]
    for link in re.findall(r"\]\((\w+\.md)\)", text):
        assert (RUNBOOKS / link).exists(), link


@pytest.mark.parametrize("page", [*PAGES, RUNBOOKS / "README.md"], ids=lambda page: page.stem)
def test_each_command_of_a_runbook_can_be_typed(page: Path) -> None:
    for command in re.findall(r"`(?:\./)?lotse ([^`]+)`", page.read_text()):
        understood(command)


PLACEHOLDERS = {
    "SERVICE": "referral", "OWNER": "intake", "SUBJECT": "4b1f0c9e-6d0a-4c57-9f3e-0d6a2b8c1e77", "ID": "12",
    "PLACE": "intake.submissions.kreis/0/17", "REASON": "mended", "MOMENT": "2026-10-01", "NAME": "kreis",
    "FILE": str(ROOT / "pyproject.toml"),
}  # fmt: skip
"""What somebody types instead; a runbook's page says where it comes from."""


def understood(command: str) -> None:
    """Read as click reads what is typed: each argument there, each required option, nothing unknown. Raises UsageError."""
    words = [PLACEHOLDERS[word] if word.isupper() else word for word in command.split()]
    known: click.Command = cli
    context = click.Context(cli)
    while isinstance(known, click.Group):
        name, found, words = known.resolve_command(context, words)
        assert found is not None
        known, context = found, found.make_context(name, [*words], parent=context)


@pytest.mark.parametrize(
    "command",
    ["no-such", "dead-letters", "dead-letters list", "dead-letters show SERVICE", "dead-letters replay SERVICE --dry-run",
     "dead-letters replay nobody --why REASON", "go-on SERVICE --why REASON --at-once", "republish SERVICE --since late --why REASON"],
)  # fmt: skip
def test_what_can_not_be_typed_is_seen(command: str) -> None:
    with pytest.raises(click.UsageError):
        understood(command)


@needs_promtool
@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
def test_an_alert_fires_when_it_should_and_is_quiet_when_it_should(file: Path) -> None:
    said = promtool("check", "rules", str(file), cwd=TESTS)
    assert said.returncode == 0, said.stdout
    said = promtool("test", "rules", f"{file.stem}.yaml", cwd=TESTS)
    assert said.returncode == 0, said.stdout


@needs_promtool
@pytest.mark.parametrize("file", ALERTS, ids=lambda file: file.stem)
@pytest.mark.parametrize(
    ("spoilt", "by"),
    [
        ("never fires", (r"expr: \|\n((?: {10}.*\n)+)", "expr: 'up == 2'\n")),
        ("always fires", (r"expr: \|\n((?: {10}.*\n)+)", "expr: '{__name__=~\"up|lotse_.*\"}'\n")),
        ("is told to nobody", (r"severity: \w+", "severity: none")),
        ("has no runbook", (r"runbook_url: .*", 'runbook_url: ""')),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_the_test_of_an_alert_sees_a_spoilt_one(file: Path, spoilt: str, by: tuple[str, str], tmp_path: Path) -> None:
    rules, changed = re.subn(by[0], by[1], file.read_text())
    assert changed == 1, spoilt
    (tmp_path / file.name).write_text(rules)
    test = (TESTS / file.name).read_text()
    (tmp_path / "test.yaml").write_text(test.replace("../../../deploy/alerts/", ""))
    assert "exp_alerts: []" in test
    said = promtool("test", "rules", "test.yaml", cwd=tmp_path)
    assert said.returncode != 0 and "FAILED" in said.stdout and "got:" in said.stdout, said.stdout
