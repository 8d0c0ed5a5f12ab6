"""What `lotse test` runs: everything there is, once."""

from collections import Counter
from pathlib import Path

import pytest

from deploy.commands.test import ASKED_FOR, BY_FILE, LEVELS, LONGEST, apart, app, steps
from deploy.errors import Trouble
from deploy.places import ROOT

FILES = {str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py")}


def ran(level: str | None) -> list[str]:
    """Test files the steps of a level run."""
    paths = [step.argv[-1] for step in steps(level) if step.argv[-1].startswith("tests/")]
    return [file for path in paths for file in FILES if file == path or file.startswith(f"{path}/")]


def test_every_test_file_is_run_once() -> None:
    assert Counter(ran(None)) + Counter(file for level in ASKED_FOR for file in ran(level)) == Counter(FILES)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_run_as_it_is_among_all(level: str) -> None:
    whole = [step.name for step in steps(None) if step.name.partition("/")[0] == level]
    assert [step.name for step in steps(level)] == whole
    assert (len(whole) > 1) is (level in BY_FILE)


def test_the_checks_are_no_level_and_run_before_all() -> None:
    checks = [step.name for step in steps("checks")]
    assert "mypy" in checks and [step.name for step in steps(None)][: len(checks)] == checks


def test_the_day_is_all_but_the_night() -> None:
    everything, night = ran(None), ran("night")
    assert night and Counter(ran("day")) == Counter(everything) - Counter(night)
    checks = [step.name for step in steps("checks")]
    assert [step.name for step in steps("day")][: len(checks)] == checks


@pytest.mark.parametrize("several", ["day", "checks"])
def test_several_steps_take_no_arguments_of_one_pytest(several: str) -> None:
    with pytest.raises(Trouble, match=f"{several} is no single pytest, which could take -k x"):
        app.main([several, "-k", "x"], standalone_mode=False)


def test_what_is_said_to_last_longest_exists() -> None:
    assert set(LONGEST) <= {step.name for step in steps(None)}


def test_steps_side_by_side_share_no_temporary_files(tmp_path: Path) -> None:
    """A pytest that begins closes the place they would share: initdb of the lane beside it found no permission."""
    told = [[word for word in apart(step, tmp_path).argv if word.startswith("--basetemp=")] for step in steps(None)]
    tests = [words for step, words in zip(steps(None), told, strict=True) if step.argv[-1].startswith("tests/")]
    assert all(len(words) == 1 for words in tests)
    assert len({words[0] for words in tests}) == len(tests) == sum(map(len, told))
