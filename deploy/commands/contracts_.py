"""`lotse contracts`: what is published of the contracts is generated, checked and released."""

from pathlib import Path

import click

from deploy.errors import USAGE, Trouble
from deploy.printed import formats, printed


@click.group()
def app() -> None:
    """What is published of the contracts: generate it, check it against the last release, release it."""


@app.command()
@formats
def generate(shape: str) -> int:
    """Write schemas, samples, AsyncAPI and pages anew from contracts/. Samples that stand are never edited."""
    from deploy.published.files import generate as write  # noqa: PLC0415

    paths = [str(path) for path in write()]
    printed(shape, [{"file": path} for path in paths], columns=["file"], people=paths)
    return 0


@app.command()
@click.argument("name")
@click.option("--read", is_flag=True, help="NAME is a Genericode file: print it as a data file of ours.")
@click.option("--code", help="With --read: the column that holds the code.")
@click.option("--label", help="With --read: the column that holds the name.")
def genericode(name: str, read: bool, code: str | None, label: str | None) -> int:
    """Print a code list as Genericode 1.0, the form of the XRepository; or read one."""
    from contracts import lists  # noqa: PLC0415

    if read:
        try:
            text = Path(name).read_text("utf-8")
            click.echo(lists.as_json(lists.from_genericode(text, code=code, name=label)), nl=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Trouble(
                f"{name} can't be read as a code list: {error}", "it must be Genericode 1.0 in UTF-8", USAGE
            ) from None
        return 0
    try:
        found = lists.load(name)
    except KeyError:
        raise Trouble(f"no list {name}", f"there are {', '.join(lists.names())}", USAGE) from None
    click.echo(lists.as_genericode(found), nl=False)
    return 0
