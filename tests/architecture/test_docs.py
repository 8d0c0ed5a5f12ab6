"""What README, the pages under docs and the runbooks say is so: where a link leads, what a number counts, what a setting means."""

import re
from importlib import import_module
from math import prod
from pathlib import Path

import pytest

from contracts.families import FACTS
from contracts.topics import DAY_MS, READS, Publisher, catalogue
from deploy.cli import COMMANDS
from deploy.places import ROOT, SERVICES
from deploy.services import declared
from services.host.settings import Settings
from services.notification.organisations import MailSettings
from tests.architecture import test_alerts
from tests.architecture.test_formats import ALL, WITHIN

DOCS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{page}.md" for page in ("decisions", "developing", "importing", "operating")),
    *sorted((ROOT / "docs" / "runbooks").glob("*.md")),
    ROOT / "docs" / "contracts" / "README.md",
    *sorted((ROOT / "deploy" / "examples").glob("*/README.md")),
    ROOT / "contracts" / "expectations" / "README.md",
    ROOT / "tests" / "samples" / "README.md",
]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Its headings as links name them."""
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", page.read_text(), re.M)}  # fmt: skip


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_link_leads_somewhere(page: Path) -> None:
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        there = (page.parent / file) if file else page
        assert there.exists(), file
        assert not anchor or anchor in anchors(there), f"{file}#{anchor}"


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_nobody_is_sent_back_a_release_without_a_word_of_what_the_last_one_can_not_read(page: Path) -> None:
    assert not re.search(r"(?<!\[)go back to the last", page.read_text(), re.I)


def test_readme_counts_what_reporting_folds() -> None:
    words = dict(zip("three four ten eleven twelve thirteen fourteen".split(), (3, 4, 10, 11, 12, 13, 14), strict=True))
    ((some, all_),) = re.findall(r"Reporting folds (\w+) of (\w+) types", (ROOT / "README.md").read_text())
    read = [name for name in FACTS if name.split(".")[1] in READS["reporting"]]
    assert (words[some], words[all_]) == (len(declared("reporting").learns), len(read))


def test_the_documentation_says_what_is_kept_of_every_kind_of_topic_and_how_long() -> None:
    """From the catalogue: a retention that is changed there is changed here."""
    kept = dict(
        re.findall(
            r"^\| [^|]+ \| `([\w.-]+)` \| (for good|\d+ days) \|", (ROOT / "docs" / "operating.md").read_text(), re.M
        )
    )
    school = Publisher(name="name", source="urn:x", tenants=("rkn",), organisations=("vhs",), families=("intake",))
    for topic in catalogue([school]):
        days = int(topic.config["retention.ms"])
        named = re.sub(r"^\w+\.(events|submissions|answers)", r"FAMILY.\1", topic.name).replace(".name", ".NAME")
        named = re.sub(r"^\w+\.dead-letters", "SERVICE.dead-letters", named)
        assert kept[named] == ("for good" if days < 0 else f"{days // DAY_MS} days"), named


def test_the_documentation_says_of_every_table_what_lies_there_and_how_long() -> None:
    """What a person is told of her data is all there is: a mail's text lay in `claim`, and no page said so."""
    files = sorted((ROOT / "services" / "runtime" / "migrations").glob("*.sql"))
    done = " ".join(file.read_text().partition("-- migrate:down")[0] for file in files)
    tables: set[str] = set()
    for made, gone in re.findall(r"^create table (\w+)|^drop table ([\w, ]+);", done, re.M):
        tables = (tables | {made}) - {"", *gone.split(", ")}
    page = (ROOT / "docs" / "operating.md").read_text()
    told = re.search(r"^## What is kept, where, and how long\n(.+?)^## ", page, re.M | re.S)
    assert told is not None and len(tables) >= 15
    assert tables - {*re.findall(r"`(\w+)`", told[1])} == set()


def test_the_runbook_says_of_each_reason_for_which_a_mail_failed_what_to_do() -> None:
    code = "".join(file.read_text() for file in (ROOT / "services" / "notification").glob("*.py"))
    reasons = set(re.findall(r'failed\([\w.]+, "(\w+)"\)', code))
    reasons |= {f"{whose}_" for whose in re.findall(r'whose = "(\w+)"', code)}
    page = (ROOT / "docs" / "runbooks" / "LotseFindings.md").read_text()
    assert len(reasons) >= 6 and sorted(reason for reason in reasons if f"`{reason}" not in page) == []


def test_the_help_of_the_group_names_the_group_a_service_joins() -> None:
    assert "`lotse-SERVICE`" in (Settings.model_fields["group"].description or "")
    assert 'or f"lotse-{self.service.name}"' in (ROOT / "services" / "host" / "host.py").read_text()


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_path_and_command_a_page_names_is_there(page: Path) -> None:
    """Paths from the project's root; `FAMILY`, `*` and the like stand for several."""
    text = page.read_text()
    paths = re.findall(r"`((?:contracts|services|deploy|tests|docs)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    commands = re.findall(r"(?:`|^)(?:\./)?lotse ([a-z][\w-]*)", text, re.M)
    assert sorted(set(commands) - set(COMMANDS)) == []


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_option_a_page_gives_a_command_is_one_of_it(page: Path) -> None:
    """Of commands in code marks, and at the beginning of a line of a block."""
    said = re.findall(
        r"`(?:\./)?lotse ([a-z][^`]*)`|^(?:LOTSE_\w+=\S+ )*(?:\./)?lotse ([a-z][^#\n]*)", page.read_text(), re.M
    )
    for words in (re.sub(r"\s+", " ", one or other) for one, other in said):
        name = max((name for name in ALL if f"{words} ".startswith(f"{name} ")), key=len, default="")
        if name and name not in WITHIN:
            there = {option for one in ALL[name].params for option in one.opts} | {"--help"}
            assert set(re.findall(r"(?<!\S)--[\w-]+", words)) <= there, words


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_setting_a_page_names_is_read_somewhere(page: Path) -> None:
    read = {f"LOTSE_{name.upper()}" for name in (*Settings.model_fields, *MailSettings.model_fields)}
    others = [ROOT / "lotse", ROOT / "deploy" / "places.py", *(ROOT / "tests" / "contracts").glob("*.py"),
              *(ROOT / "tests" / "system").glob("*_by_chance.py")]  # fmt: skip
    read |= {name for file in others for name in re.findall(r"LOTSE_\w+", file.read_text())}
    asked = set(re.findall(r"\bLOTSE_\w+", page.read_text())) - {"LOTSE_SMTP_"}  # `LOTSE_SMTP_...`: several
    assert sorted(asked - read) == []


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_each_figure_a_page_names_is_exported(page: Path) -> None:
    asked = set(re.findall(r"\blotse_\w+", page.read_text())) - {"lotse_contracts"}
    marks = ("", "_bucket", "_count", "_sum")
    assert asked - {f"{one}{mark}" for one in test_alerts.exported() for mark in marks} == set()


def test_readme_says_how_many_tests_of_alerts_want_promtool() -> None:
    """A parametrised test is as many as its values multiply to."""
    marks = [getattr(one, "pytestmark", []) for one in vars(test_alerts).values()]
    wanting = [all_ for all_ in marks if test_alerts.needs_promtool.mark in all_]
    many = sum(prod(len(one.args[1]) for one in all_ if one.name == "parametrize") for all_ in wanting)
    readme = (ROOT / "README.md").read_text()
    assert f"ok, {many} not run" in readme and f"those {many} tests of alerts" in readme


@pytest.mark.parametrize("service", SERVICES)
def test_the_documentation_names_what_a_service_shows(service: str) -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    told = re.findall(rf"^\| {service} \| `([^?`]+)\??([^`]*)` \|", page, re.M)
    router = import_module(f"services.{service}.api").routes(None)
    shown = {(route.path, "".join(f"{one.name}=" for one in route.dependant.query_params)) for route in router.routes}
    assert sorted(told) == sorted(shown) and shown


def test_the_page_for_developers_names_each_file_beside_the_rooms() -> None:
    rooms = [ROOT / "services", *(ROOT / "services" / room for room in ("kept", "operating", "process", "reading"))]
    there = {str(file.relative_to(ROOT)) for room in rooms for file in room.glob("*.py") if file.stem != "__init__"}
    named = re.findall(r"^\| `(services/[\w/]+\.py)` \|", (ROOT / "docs" / "developing.md").read_text(), re.M)
    assert sorted(named) == sorted(there)
