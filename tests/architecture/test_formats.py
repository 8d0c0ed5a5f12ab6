"""Every command that prints data prints it as a table, JSON or CSV, through one place, and JSON has one envelope."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import deploy.local.announced
from deploy.cli import cli, main
from deploy.printed import Wrong, printed
from deploy.saying import complain, say

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


OBEYED = [
    *range(0x09),
    *range(0x0B, 0x20),
    *range(0x7F, 0xA0),
    0x61C,
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
"""C0 but tab and newline, DEL, C1, and what turns the direction of writing."""
WRITTEN = {chr(code): f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in (*OBEYED, 0xDC80, 0xDFFF)}
"""The last two: what a file's name becomes where its bytes are no text; stdout would end the command."""
PASSES = [
    "Größe ÄÖÜ ß ẞ",
    "eins\nzwei",
    "eins\tzwei",
    "👩‍👩‍👧 🇩🇪 ✅ ❤️",
    "ليلى דוד Łukasz",
    "C:\\x1b [2J :smile: [bold]x[/bold]",
]
OTHERS = [f"a{sign}b" for sign in WRITTEN] + ["\x1b]0;owned\x1b\\\x1b[1;1H\x1b[2J", "\u202egnp.exe"]


def told(capsys: pytest.CaptureFixture[str], form: str, texts: list[str]) -> tuple[str, list[str]]:
    """What a command shows of these texts, all of it, and cell by cell where cells are told apart."""
    with click.Context(click.Command("answer"), info_name="lotse").scope():
        if form == "stderr":
            for text in texts:
                say.print(text)
                complain.print(text)
        else:
            printed(
                "csv" if form == "csv" else "table",
                [{"said": text, "n": 1} for text in texts],
                people=texts if form == "text" else None,
            )
    out, err = capsys.readouterr()
    cells = [row[0] for row in csv.reader(io.StringIO(out, newline=""))] if form == "csv" else []
    return (err if form == "stderr" else out).replace("\r\n", "\n"), cells


@pytest.mark.parametrize("form", ["table", "text", "csv", "stderr"])
def test_what_a_terminal_would_obey_is_written_down_and_not_done(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """A partner's reference, a revealed body, a file's name: others write them, an operator's terminal shows them."""
    out, cells = told(capsys, form, OTHERS)
    assert [sign for sign in WRITTEN if sign in out] == []
    meant = ["".join(WRITTEN.get(sign, sign) for sign in text) for text in OTHERS]
    assert [text for text in meant if text not in out] == []
    if form == "csv":
        assert cells == ["said", *meant]


@pytest.mark.parametrize("form", ["table", "text", "csv", "stderr"])
def test_what_people_write_is_shown_as_they_wrote_it(capsys: pytest.CaptureFixture[str], form: str) -> None:
    out, cells = told(capsys, form, PASSES)
    for text in (
        PASSES
    ):  # a terminal's table and its lines set tabs by themselves, and a table a cell's lines side by side with others
        parts = text.split() if form in ("table", "stderr") else [text]
        assert all(part in out for part in parts), text
    assert "\\x0" not in out and "\\u" not in out
    if form == "csv":
        assert cells == ["said", *PASSES]


def test_a_path_and_an_error_are_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    for what in (Path("/\x1b[2J"), ValueError("\x1b[2J")):
        say.print(what)
        assert "\\x1b[2J" in (err := capsys.readouterr().err) and "\x1b" not in err


def test_what_was_typed_wrong_is_said_without_being_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "\x1b]0;owned\x07"]) == 2
    err = capsys.readouterr().err
    assert "\\x1b]0;owned\\x07" in err and not {"\x1b", "\x07"} & set(err) and "Usage: lotse status" in err


def test_one_place_alone_writes_to_a_terminal() -> None:
    """A text or console made elsewhere would show what it is given."""
    makers = re.compile(r"rich\.text|\bConsole\b|Live\((?!console=)|rich import print")
    found = {str(file.relative_to(ROOT)) for file in (ROOT / "deploy").rglob("*.py") if makers.search(file.read_text())}
    assert found == {"deploy/screen.py"}
