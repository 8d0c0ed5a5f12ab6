"""`lotse validate`: the same command as in the wheel `lotse-contracts`."""

import click

from deploy.errors import USAGE
from deploy.printed import CODES, Wrong, failed


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def app(arguments: tuple[str, ...]) -> int:
    """Say what is wrong with messages: [--type T] [--format table|json|csv] [FILE|-]."""
    from contracts.validate import main  # noqa: PLC0415

    try:
        code = main(["validate", *arguments])
    except SystemExit as done:  # argparse: help, or usage
        code = int(done.code or 0)
    if code == USAGE:
        failed(["validate", *arguments], Wrong(CODES[USAGE], "nothing was validated", "lotse validate --help"))
    return code
