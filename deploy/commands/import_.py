"""`lotse import`: rows of a partner's CSV, as any other publisher would send them, and an account of every row."""

import asyncio
import itertools
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from contracts.topics import ANSWER_DAYS, Publisher
from deploy.errors import DONE, INTERRUPTED, PARTLY, REFUSED, Trouble
from deploy.importer.files import CsvFile, Row, look_through, may_be_written, write_back
from deploy.importer.mapping import KINDS, Mapping, load_mapping
from deploy.importer.plan import Planner, RowRefused, is_for_now
from deploy.importer.sending import Account, Sender, send_rows
from deploy.importer.store import Store
from deploy.installation import Installation, installation
from deploy.printed import Wrong, dry_run, formats, printed
from deploy.progress import counted
from deploy.saying import complain, say
from deploy.services import cluster_id


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--mapping", "mapping_file", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Which column says what (TOML); see deploy/examples/oulad.")  # fmt: skip
@dry_run
@click.option(
    "--again",
    is_flag=True,
    help=f"Send anew, as their next revision, rows that were refused, or were sent {ANSWER_DAYS} days ago and never answered.",
)
@click.option("--refused", type=click.Path(path_type=Path),
              help="Where refused rows go, a name that is free; default: a new one in import/ in the state folder.")  # fmt: skip
@click.option("--patience", default=60.0, show_default=True, help="Seconds without any answer until we stop waiting.")
@formats
def app(
    kind: str, files: tuple[Path, ...], mapping_file: Path, dry_run: bool, again: bool, refused: Path | None,
    patience: float, shape: str,
) -> int:  # fmt: skip
    """Publish rows of a partner's CSV as submissions, and account for every row.

    One row is one participation or one course day. Running it again changes nothing: an unchanged row keeps its id, a
    changed row is the next revision, and what was refused for now (a day to come) goes again. --dry-run checks every row as
    far as that goes without asking anybody.

    Refused rows stand in a CSV of their own, never in place of another: mend its cells, leave its lotse_ columns and import
    it, then delete it yourself. Exit: 0 all rows are in, 5 some were refused or not answered, 130 stopped by Ctrl-C before
    all were; the same import again asks for what is left.
    """
    began = datetime.now(UTC)
    mapping = load_mapping(mapping_file, kind)
    found = [look_through(path, mapping.columns) for path in files]
    back = refused
    if back:
        may_be_written(back)
    if dry_run:
        account = _try(mapping, found)
    else:
        house = installation()
        folder = house.folder / "import"
        publisher = house.publishers.get(mapping.publisher)
        if publisher is None:
            raise Trouble(f"{mapping.publisher} is no publisher here", "enter it in publishers.toml, or mend the mapping",
                          REFUSED)  # fmt: skip
        with Store(folder, publisher.source, publisher.name) as store:
            if not back:
                # One import of a publisher at a time: no other run takes this name.
                back = folder / f"{_stem(files[0])}-refused-{publisher.name}-{began:%Y%m%dT%H%M%S%f}.csv"
                may_be_written(back)
            account = asyncio.run(_import(mapping, found, publisher, house, store, again, patience))
    lost = None
    if account.back and back:
        try:
            write_back(back, account.back)
        except OSError as error:
            back, lost = None, Wrong("NOT_WRITTEN", f"the refused rows could not be written ({type(error).__name__})",
                                     "the same import again, with another --refused, refuses them again")  # fmt: skip
    code = PARTLY if account.back or account.left else DONE
    if account.left and account.interrupted:
        code = INTERRUPTED
    _show(kind, account, back if account.back else None, lost, shape, dry_run, code)
    return code


def _stem(path: Path) -> str:
    """What a file is called, also after its refused rows were mended and refused again; short enough for a name."""
    return path.name.partition("-refused-")[0].removesuffix(".gz").removesuffix(".csv")[:60]


def _rows(found: list[CsvFile]) -> "itertools.chain[Row]":
    return itertools.chain.from_iterable(file.read() for file in found)


def _planner(
    mapping: Mapping, found: list[CsvFile], store: Store, persons: dict[str, tuple[str, bool]], again: bool = False
) -> Planner:
    planner = Planner(mapping, store, datetime.now(UTC), again=again, persons=persons)
    planner.survey(_rows(found))
    return planner


async def _import(
    mapping: Mapping, found: list[CsvFile], publisher: Publisher, house: Installation, store: Store, again: bool,
    patience: float,
) -> Account:  # fmt: skip
    store.feeds(await cluster_id(house.kafka, house.security))
    persons = store.persons() if "person" not in mapping.about else {}
    planner = _planner(mapping, found, store, persons, again)
    async with Sender(house.kafka, house.security, publisher, mapping.tenant, store, patience) as sender:

        def interrupted() -> None:
            (sender.give_up if sender.stopped else sender.stop)()
            say.print("stopping: waiting for what is on its way; Ctrl-C again does not wait")

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
        with counted(mapping.kind.name, sum(file.rows for file in found), "rows") as progress:
            return await send_rows(_rows(found), planner, sender, progress)


def _try(mapping: Mapping, found: list[CsvFile]) -> Account:
    """Every row checked as far as that goes without asking anybody."""
    account = Account()
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder), mapping.publisher, "try") as store:
        persons = {row.cells[mapping.about["participation"]].strip(): ("somebody", True)
                   for row in _rows(found) if row.whole} if "person" not in mapping.about else {}  # fmt: skip
        planner = _planner(mapping, found, store, persons)
        for row in _rows(found):
            account.rows += 1
            try:
                for _ in planner.steps(row):
                    pass
                account.recorded += 1
            except RowRefused as no:
                account.reasons[no.reason] += 1
                account.back.append((row, no.reason, no.pointer, no.hint))
    return account


def _show(
    kind: str, account: Account, back: Path | None, lost: Wrong | None, shape: str, dry_run: bool, code: int
) -> None:
    figures = {"rows": account.rows, "would be sent" if dry_run else "recorded": account.recorded}
    if not dry_run:
        figures |= {"unchanged": account.unchanged, "already answered": account.already_answered}
    figures |= {"refused": account.refused}
    if not dry_run:
        figures |= {"unanswered": account.unanswered}
        figures |= {"stopped": account.stopped} if account.stopped else {}
        figures |= {"not sent": account.not_sent} if account.not_sent else {}
    if account.why:
        complain.print(account.why)
    data: dict[str, Any] = {name.replace(" ", "_"): n for name, n in figures.items()}
    data |= {"reasons": dict(account.reasons), "refused_rows": str(back) if back else None}
    rows: list[dict[str, Any]] = [{"what": name, "rows": n} for name, n in figures.items()]
    rows += [{"what": f"  {reason}", "rows": n} for reason, n in account.reasons.most_common()]
    table = Table("", "rows")
    for row in rows:
        table.add_row(row["what"], f"{row['rows']:,}")
    errors = [Wrong("REFUSED", f"{n} rows refused: {reason}", "the same import again, once what it lacks is there (its day, a yes, what it"
                    " names)" if is_for_now(reason) else "mend them in the file of refused rows, send it back", reason)
              for reason, n in account.reasons.most_common()]  # fmt: skip
    if account.unanswered:
        errors.append(
            Wrong("UNANSWERED", f"{account.unanswered} rows have no answer", "`lotse status`; then import again")
        )
    if account.left > account.unanswered:
        errors.append(Wrong("STOPPED", f"{account.left - account.unanswered} rows were stopped on their way or not sent",
                            "run the same import again"))  # fmt: skip
    if lost:
        errors.append(lost)
    title = f"import {kind}{' (dry run: nothing was sent)' if dry_run else ''}"
    printed(shape, rows, data=data, errors=errors, ok=code == DONE, people=[title, table])
    if shape == "json":
        return
    if account.back:
        first = ", ".join(f"{row.file} row {row.number}: {reason}" for row, reason, _, _ in account.back[:5])
        complain.print(f"refused, the first: {first}")
    if lost:
        complain.print(f"{lost.message}: {lost.hint}")
    if back:
        complain.print(f"all refused rows, to mend and send back: {back}")
    if account.unanswered:
        complain.print("unanswered: `lotse status` shows where it stands still; run the same import again afterwards, with --again"
                       f" where it was sent more than {ANSWER_DAYS} days ago")  # fmt: skip
    if account.left > account.unanswered:
        complain.print("stopped on their way, or not sent: run the same import again")
