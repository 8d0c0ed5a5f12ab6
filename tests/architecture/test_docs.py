"""What README, operating.md and the runbooks say is so: where a link leads, what a number counts, what a setting means."""

import re
from pathlib import Path

import pytest

from deploy.places import ROOT

DOCS = [ROOT / "README.md", ROOT / "docs" / "operating.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Its headings as links name them."""
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", page.read_text(), re.M)}  # fmt: skip


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_each_link_leads_somewhere(page: Path) -> None:
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        there = (page.parent / file) if file else page
        assert there.exists(), file
        assert not anchor or anchor in anchors(there), f"{file}#{anchor}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_nobody_is_sent_back_a_release_without_a_word_of_what_the_last_one_can_not_read(page: Path) -> None:
    assert not re.search(r"(?<!\[)go back to the last", page.read_text(), re.I)
