"""`lotse contracts`: what is published of the contracts is generated, checked and released."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.errors import FINDINGS, REFUSED, USAGE, Trouble
from deploy.places import ROOT
from deploy.printed import Wrong, dry_run, formats, printed
from deploy.saying import complain, say

if TYPE_CHECKING:
    from deploy.published.gate import Checked
    from deploy.published.released import Release, State

BELOW = click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=ROOT, hidden=True)


@click.group()
def app() -> None:
    """What the contracts publish: generate it, check it against the last release, release it."""


@app.command()
@dry_run
@formats
@BELOW
def generate(dry_run: bool, shape: str, root: Path) -> int:
    """Write schemas, samples, AsyncAPI and pages anew from contracts/, and remove what is no longer generated. Existing samples are
    never edited."""
    from deploy.published.files import generate as write  # noqa: PLC0415

    paths = [str(path) for path in write(root, dry_run=dry_run)]
    printed(shape, [{"file": path} for path in paths], columns=["file"], people=paths)
    say.print(f"{len(paths)} files {'would be ' if dry_run else ''}written or removed")
    return 0


@app.command()
@formats
@BELOW
def check(shape: str, root: Path) -> int:
    """Check what would be published against the last release, every sample, and what subscribers rely on.

    Says of each break where it lies, who writes, who reads, which registered subscriber relies on it, and the way out; and who
    must update first where that matters. Before the first release there is nothing to break but samples and expectations.

    Exit codes: 0 nothing breaks, 1 something does, 2 usage.
    """
    from deploy.published.gate import check as look  # noqa: PLC0415

    found = look(root)
    _print(shape, found, _said(found))
    return FINDINGS if found.breaks else 0


@app.command()
@click.option("--note", default="", help="A sentence for those who publish and subscribe; it stands in the changelog.")
@dry_run
@formats
@BELOW
def release(note: str, dry_run: bool, shape: str, root: Path) -> int:
    """Cut a release: from then on everything published now stays. Refused while `lotse contracts check` finds a break.

    Writes contracts/released/N.json (what is new or has changed) and docs/contracts/CHANGELOG.md, and shows its new entry.

    Exit codes: 0 done, 1 a release is spoilt, 2 usage, 4 refused.
    """
    from deploy.published import files, gate, released  # noqa: PLC0415

    found = gate.check(root)
    if found.breaks:
        _print(shape, found, None)
        complain.print(f"{len(found.breaks)} breaks: nothing was released; mend what the check names")
        return REFUSED
    cut, fresh, told = _cut(root, note, found)
    if not dry_run:
        released.write(root, cut.number, cut.on, note, fresh)
        files.generate(root)
    kinds = {part: sorted(getattr(fresh, part)) for part in released.State.__slots__}
    data: dict[str, Any] = {
        "release": cut.number,
        "on": cut.on.isoformat(),
        "written": not dry_run,
        **kinds,
        "changelog": told,
    }
    rows = [{"release": cut.number, "kind": kind, "new": name} for kind, names in kinds.items() for name in names]
    printed(shape, rows, data=data, columns=["release", "kind", "new"], people=[told.rstrip("\n")])
    done = "would be written" if dry_run else "written: commit contracts/released and docs/contracts"
    say.print(f"release {cut.number} {done}")
    return 0


def _cut(root: Path, note: str, found: "Checked") -> "tuple[Release, State, str]":
    """The next release, what is new in it, and its entry in the changelog. Raises Trouble where there is none to cut."""
    from deploy.published import files, released  # noqa: PLC0415
    from deploy.published.changelog import entry  # noqa: PLC0415

    if differs := files.differing(root):
        raise Trouble(f"{len(differs)} generated files differ from the contracts, {differs[0]} among them",
                      "`lotse contracts generate`, look at what changed, commit it", REFUSED)  # fmt: skip
    before = released.releases(root)[-1].state if found.release else released.NOTHING
    now = released.current(root)
    fresh = released.added(before, now)
    if fresh == released.NOTHING:
        raise Trouble(f"nothing has changed since release {found.release}", "release when something has", REFUSED)
    cut = released.Release((found.release or 0) + 1, datetime.now(UTC).date(), note, now)
    return cut, fresh, entry(cut, before)


def _said(found: "Checked") -> dict[str, Any]:
    told = [{"what": ce_type, "at": change.at, "said": change.what} for ce_type, change in found.told]
    return {"release": found.release, "looked_at": found.looked_at, "breaks": [asdict(one) for one in found.breaks],
            "order": [asdict(one) for one in found.order], "told": told}  # fmt: skip


def _print(shape: str, found: "Checked", data: Any) -> None:
    """The breaks as rows and as errors, for people each in a paragraph; how much was looked at goes to stderr."""
    wrong = [Wrong(one.rule, one.said, one.way_out, f"{one.what} {one.at}".strip()) for one in found.breaks]
    rows = [asdict(one) for one in found.breaks]
    printed(shape, rows, data=data, errors=wrong, columns=["what", "at", "rule", "said", "writer", "reader", "subscribers", "way_out"],
            people=list(_paragraphs(found)))  # fmt: skip
    since = (
        f"against release {found.release}"
        if found.release
        else "nothing is released yet, so only samples and expectations can break"
    )
    counts = ", ".join(f"{count} {name}" for name, count in found.looked_at.items())
    say.print(f"{since}: {counts}; {len(found.breaks)} breaks, {len(found.order)} where order matters")


def _paragraphs(found: "Checked") -> Iterator[str]:
    for one in found.breaks:
        relies = f"\n  relies   {', '.join(one.subscribers)}" if one.subscribers else ""
        yield (f"{one.what} {one.at or 'as a whole'}: {one.rule}\n  what     {one.said}\n  writer   {one.writer}\n"
               f"  reader   {one.reader}{relies}\n  way out  {one.way_out}")  # fmt: skip
    for first in found.order:
        yield f"{first.what}: goes first\n  first    {first.first}\n  then     {first.then}\n  why      {first.why}"
    for ce_type, change in found.told:
        yield f"{ce_type} {change.at or 'as a whole'}: told anew; does it still mean the same?\n  {change.what}"


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
