"""What changes something has `--dry-run`: one option, one sentence, on every command there is and will be."""

import click
import pytest

from deploy.printed import dry_run
from tests.architecture.test_formats import ALL

READS = {
    "status", "doctor", "case", "risks", "report", "answer", "sources", "validate", "contracts check", "contracts genericode",
    "dead-letters list", "dead-letters show",
}  # fmt: skip
"""They only look. `dead-letters show --reveal` writes down who looked: without --reveal it is its own dry run."""
RUNS = {
    "up": "starts a stack, and keeps its data from one time to the next",
    "serve": "is a service",
    "demo": "plays on a stack of its own, and keeps nothing",
    "test": "runs the tests",
    "soak": "breaks a stack of its own",
    "bench": "measures a stack of its own",
    "sandbox": "feeds a stack of its own, or a Kafka for tests; its --dry-run shows the feed itself, for another program to read",
}
"""Their only purpose is to run something."""
CHANGES = sorted(ALL.keys() - READS - RUNS.keys())


def options(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and "--dry-run" in one.opts]


def test_the_lists_name_commands_there_are_and_none_that_changes_something() -> None:
    assert ALL.keys() >= READS | RUNS.keys() and not READS & RUNS.keys()
    assert {name for name in READS | RUNS.keys() if options(ALL[name])} == {"sandbox"}
    assert {"import", "topics", "migrate", "rebuild", "release", "go-on", "republish", "operations-key"} <= set(CHANGES)


@pytest.mark.parametrize("words", CHANGES)
def test_what_changes_something_has_the_one_dry_run(words: str) -> None:
    @click.command()
    @dry_run
    def shared() -> None: ...

    ((one,), (other,)) = options(shared), options(ALL[words])
    assert (other.name, other.is_flag, other.default, other.help) == (one.name, True, one.default, one.help)
