"""Every command that prints data prints it as a table, JSON or CSV, through one place, and JSON has one envelope."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import deploy.local.announced
from deploy.cli import cli, main
from deploy.printed import Wrong, printed

ROOT = Path(__file__).resolve().parents[2]
ENVELOPE = {"ok", "command", "data", "errors"}
NO_DATA = {
    "serve": "a service in the foreground; it logs",
    "contracts genericode": "prints one document in the form its standard gives",
}
WITHIN = {"validate": "the wheel's own command: it stands alone, and its test is tests/contracts/test_validate.py"}
"""Commands whose options are not click's; the envelope holds for them, too."""


def commands(group: click.Group = cli, *before: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield " ".join([*before, name]), command


ALL = dict(commands())
PRINTING = sorted(ALL.keys() - NO_DATA.keys())


def test_every_command_is_walked() -> None:
    assert {"demo", "answer", "sources", "sandbox", "dead-letters list", "contracts generate"} <= ALL.keys()
    assert NO_DATA.keys() | WITHIN.keys() <= ALL.keys()


@pytest.mark.parametrize("words", sorted(set(PRINTING) - WITHIN.keys()))
def test_a_command_that_prints_data_offers_the_same_forms(words: str) -> None:
    (option,) = [one for one in ALL[words].params if "--format" in one.opts]
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == ["table", "json", "jsonl", "csv"] and option.default == "table"


@pytest.mark.parametrize("words", PRINTING)
def test_a_program_gets_the_envelope_where_a_command_fails_before_it_printed(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--format", "json", "--no-such-option"]) == 2
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert set(said) == ENVELOPE and said["ok"] is False and said["command"] == words and said["data"] is None
    (error,) = said["errors"]
    assert set(error) == {"code", "message", "hint", "at"} and error["code"] == "USAGE" and error["hint"]
    assert "no-such-option" in err  # people are told on stderr


@pytest.mark.parametrize("words", PRINTING)
def test_nothing_but_data_stands_on_stdout(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "--no-such-option"]) == 2
    assert capsys.readouterr().out == ""


def test_one_place_alone_makes_the_envelope() -> None:
    makers = [file for folder in ("deploy", "contracts") for file in (ROOT / folder).rglob("*.py")
              if '"ok":' in file.read_text() and '"errors":' in file.read_text()]  # fmt: skip
    assert {str(file.relative_to(ROOT)) for file in makers} == {"deploy/printed.py", "contracts/validate.py"}
    choices = [file for file in (ROOT / "deploy").rglob("*.py") if '"--format"' in file.read_text()]
    assert [str(file.relative_to(ROOT)) for file in choices] == ["deploy/printed.py"]


ROWS = [{"reason": "NO_CONSENT", "n": 2, "first": None}, {"reason": "=2+3", "n": -1, "first": ["a", "b"]}]


def shown(shape: str, capsys: pytest.CaptureFixture[str], rows: list[dict[str, object]] = ROWS) -> str:
    with click.Context(click.Command("answer"), info_name="lotse").scope():  # as within `lotse`
        printed(shape, rows, columns=("reason", "n", "first"), errors=[Wrong("NO", "no", "ask", "/n")])
    return capsys.readouterr().out


def test_json_says_all_of_it_and_whether_it_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(shown("json", capsys))
    assert set(said) == ENVELOPE and said["ok"] is False and said["data"] == ROWS
    assert said["errors"] == [{"code": "NO", "message": "no", "hint": "ask", "at": "/n"}]


def test_csv_has_its_header_without_any_row_and_no_cell_a_spreadsheet_would_calculate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown("csv", capsys, []).strip() == "reason,n,first"
    rows = list(csv.reader(io.StringIO(shown("csv", capsys))))
    assert rows == [["reason", "n", "first"], ["NO_CONSENT", "2", ""], ["'=2+3", "-1", '["a", "b"]']]


def test_json_lines_are_the_rows_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line) for line in shown("jsonl", capsys).splitlines()] == ROWS
    assert shown("jsonl", capsys, []) == ""


@pytest.mark.parametrize("arguments", [["status"], ["status", "--no-such-option"]], ids=["trouble", "usage"])
def test_quiet_leaves_errors_and_twice_quiet_nothing(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deploy.local.announced, "RUNNING", tmp_path / "running.json")
    codes, said = set(), []
    for quiet in ([], ["-q"], ["-qq"]):
        codes.add(main([*quiet, *arguments]))
        said.append(capsys.readouterr().err)
    assert len(codes) == 1 and codes < {2, 3}
    assert said[0] == said[1] != "" and said[2] == ""


def test_quiet_leaves_out_what_goes_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told: list[bool] = []
    for quiet in ([], ["-q"], []):
        (folder := tmp_path / f"{len(told)}").mkdir()
        assert main([*quiet, "operations-key", str(folder)]) == 0
        told.append(bool(capsys.readouterr().err))
    assert told == [True, False, True]


def test_a_table_shows_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[red]" in shown("table", capsys, [{"reason": "[red]x", "n": 1, "first": None}])
