"""`lotse validate`: the same command as in the wheel `lotse-contracts`."""

import click


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def app(arguments: tuple[str, ...]) -> int:
    """Say what is wrong with messages: [--type T] [--format table|json|csv] [FILE|-]."""
    from contracts.validate import main  # noqa: PLC0415

    try:
        return main(["validate", *arguments])
    except SystemExit as done:  # argparse: help, or usage
        return int(done.code or 0)
