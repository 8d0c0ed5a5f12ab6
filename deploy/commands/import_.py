"""`lotse import`: rows of a partner's CSV, as any other publisher would send them, and an account of every row."""

import asyncio
import itertools
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from contracts.envelope import Again
from contracts.topics import ANSWER_DAYS, Publisher
from deploy.errors import DONE, FAULT, INTERRUPTED, PARTLY, REFUSED, UNREACHABLE, Trouble
from deploy.importer.before import ready
from deploy.importer.files import CsvFile, Row, look_through, may_be_written, write_back
from deploy.importer.mapping import KINDS, Mapping, load_mapping
from deploy.importer.plan import Planner
from deploy.importer.sending import ASK_AGAIN, Account, Nobody, Sender, send_rows
from deploy.importer.store import Store
from deploy.installation import Installation, installation
from deploy.places import STATE
from deploy.printed import CODES, Wrong, dry_run, formats, printed
from deploy.progress import counted
from deploy.saying import complain, say


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--mapping", "mapping_file", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Which column says what (TOML); see deploy/examples/oulad.")  # fmt: skip
@dry_run
@click.option(
    "--again",
    is_flag=True,
    help=f"Send again, as their next revision, rows that were refused, or were sent over {ANSWER_DAYS} days ago and never answered.",
)
@click.option(
    "--first",
    is_flag=True,
    help="Confirm that nothing was imported for this publisher before, whatever its answers say: if something was, each person becomes"
    " a second case.",
)
@click.option("--refused", type=click.Path(path_type=Path),
              help="A new file for refused rows; unless given, one in import/ in the state folder. If given, it is written in a dry run,"
              " too.")  # fmt: skip
@click.option("--patience", default=60.0, show_default=True, help="Seconds without any answer until it stops waiting.")
@formats
def app(
    kind: str, files: tuple[Path, ...], mapping_file: Path, dry_run: bool, again: bool, first: bool,
    refused: Path | None, patience: float, shape: str,
) -> int:  # fmt: skip
    """Publish rows of a partner's CSV as submissions, and account for every row.

    One row is one participation or one course day. Running it again changes nothing: an unchanged row keeps its id, and a row
    that was refused only for now (a day to come) is sent again. A changed start, end or course day is sent as its next revision.
    Of a run, a person and a consent what was recorded first stands: a row that says otherwise is refused (RUN_EXISTS,
    CASE_EXISTS, CONSENT_EXISTS), but its start and end are still sent if its participation was known before. --dry-run holds
    every row against what is remembered here, and asks nobody.

    Refused rows are written to a new CSV file: mend its cells, leave its lotse_ columns as they are, import it, then delete it.
    Exit: 0 all rows are in, 5 some were refused or not answered (as where Kafka is lost midway), 130 stopped by Ctrl-C before all
    were; the same import again asks for what is left. Nothing was sent with 2 (a wrong call, mapping or file), 3 (Kafka does not
    answer, or no stack is up) and 4 (refused as a whole). 70 is a fault of ours: believe no figure.
    """
    began = datetime.now(UTC)
    mapping = load_mapping(mapping_file, kind)
    found = [look_through(path, mapping.columns) for path in files]
    back = refused
    if back:
        may_be_written(back)
    if dry_run:
        account = _try(mapping, found, again)
    else:
        house = installation()
        folder, publisher = house.folder / "import", _speaker(mapping, house)
        with Store(folder, publisher.source, publisher.name) as store:
            if not back:
                # One import of a publisher at a time: no other run takes this name.
                back = folder / f"{_stem(files[0])}-refused-{publisher.name}-{began:%Y%m%dT%H%M%S%f}.csv"
                may_be_written(back)
            asyncio.run(ready(house, publisher, store, first))
            if store.fresh and not first:
                say.print(f"no earlier import of {publisher.name} is remembered in {folder}: this is its first")
            persons = store.persons() if "person" not in mapping.about else {}
            planner = _planner(mapping, found, store, persons, again)
            account = asyncio.run(_import(mapping, found, publisher, house, planner, patience))
    lost = None
    if account.back and back:
        try:
            write_back(back, [one[:4] for one in account.back])
        except OSError as error:
            back, lost = None, Wrong("NOT_WRITTEN", f"the refused rows could not be written ({type(error).__name__})",
                                     "the same import again, with another --refused, refuses them again")  # fmt: skip
    code = PARTLY if account.back or account.left else DONE
    if account.left and account.interrupted:
        code = INTERRUPTED
    if account.astray or (account.broke and account.broke.exit_code == FAULT):
        code = FAULT
    _show(kind, account, back if account.back else None, lost, shape, dry_run, code)
    return code


def _stem(path: Path) -> str:
    """What a file is called, also after its refused rows were mended and refused again; short enough for a name."""
    return path.name.partition("-refused-")[0].removesuffix(".gz").removesuffix(".csv")[:60]


def _speaker(mapping: Mapping, house: Installation) -> Publisher:
    """Raises Trouble where nobody here is called so."""
    publisher = house.publishers.get(mapping.publisher)
    if publisher is None:
        anew = "start `lotse up` anew" if house.local else "`lotse topics`, and start the services anew"
        raise Trouble(f"{mapping.publisher} is no publisher here", f"enter it in {house.publishers_file} and {anew}; or mend the mapping",
                      REFUSED)  # fmt: skip
    return publisher


def _planner(
    mapping: Mapping, found: list[CsvFile], store: Store, persons: dict[str, tuple[str, bool]], again: bool = False
) -> Planner:
    planner = Planner(mapping, store, datetime.now(UTC), again=again, persons=persons)
    with counted("looking through", sum(file.rows for file in found), "rows") as progress:

        def read() -> Iterator[Row]:
            for row in itertools.chain.from_iterable(file.read() for file in found):
                yield row
                progress(1)

        planner.survey(read())
    return planner


async def _import(
    mapping: Mapping, found: list[CsvFile], publisher: Publisher, house: Installation, planner: Planner, patience: float
) -> Account:
    async with Sender(house.kafka, house.security, publisher, mapping.tenant, planner.store, patience) as sender:

        def interrupted() -> None:
            (sender.give_up if sender.stopped else sender.stop)()
            say.print("stopping: waiting for what is on its way; Ctrl-C again does not wait")

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
        with counted(mapping.kind.name, sum(file.rows for file in found), "rows") as progress:
            account = await send_rows(found, planner, sender, progress)
    # What is left is the account. Nobody would have another, so until the process ends Ctrl-C is passed over.
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return account


def _try(mapping: Mapping, found: list[CsvFile], again: bool) -> Account:
    """Every row held against a copy of what is remembered here; where nothing is, as a first import. Asks nobody."""
    try:
        house = installation()
    except Trouble as none:
        # of an installation and of `lotse up`: which of both was meant nobody knows
        memories = [place / "import" / f"{mapping.publisher}.sqlite" for place in (STATE, STATE / "stack")]
        if none.exit_code != UNREACHABLE or any(memory.exists() for memory in memories):
            raise
        house = None
    with tempfile.TemporaryDirectory() as empty:
        folder = house.folder / "import" if house else Path(empty)
        source = _speaker(mapping, house).source if house else mapping.publisher
        with Store(folder, source, mapping.publisher, trying=True) as store:
            persons = store.persons()
            if store.fresh:
                where = "here" if house else "here, and no stack is up"
                say.print(f"no earlier import of {mapping.publisher} is remembered {where}: checked as a first one")
                column, rows = mapping.about["participation"], (row for file in found for row in file.read())
                persons = {row.cells[column].strip(): ("somebody", True) for row in rows if row.whole}
            planner = _planner(mapping, found, store, persons, again)
            return asyncio.run(send_rows(found, planner, Nobody(store)))


WAYS = {
    Again.LATER: "the same import again, once what it lacks is there (its day, a yes, what it names, a start or end that is mended)",
    Again.MENDED: "mend them in the file of refused rows, send it back",
    Again.NO: "nothing to mend, and sent again they are refused again: leave them, or ask the office what stands there",
}
"""What to do about refused rows."""
MEND_HERE = "mend them; --refused FILE shows them all"
"""Where there is no file of them."""
ASTRAY = Wrong(CODES[FAULT], "the figures do not add up to the rows: a fault of ours", "tell us; believe none of them")


def _show(
    kind: str, account: Account, back: Path | None, lost: Wrong | None, shape: str, dry_run: bool, code: int
) -> None:
    figures = {"rows": account.rows, "would be sent" if dry_run else "recorded": account.recorded}
    figures |= {"taken back": account.taken_back} if account.taken_back else {}
    figures |= {"unchanged": account.unchanged, "already answered": account.already_answered}
    figures |= {"refused": account.refused}
    figures |= {} if dry_run else {"unanswered": account.unanswered}
    figures |= {"stopped": account.stopped} if account.stopped else {}
    figures |= {"not sent": account.not_sent} if account.not_sent else {}
    if account.broke:
        complain.print(f"{account.broke.what}\n  way out: {account.broke.way_out}")
    if account.astray:
        complain.print(f"{ASTRAY.message}: {ASTRAY.hint}")
    data: dict[str, Any] = {name.replace(" ", "_"): n for name, n in figures.items()}
    data |= {"reasons": dict(account.reasons), "refused_rows": str(back) if back else None}
    rows: list[dict[str, Any]] = [{"what": "  taken back" if name == "taken back" else name, "rows": n}
                                  for name, n in figures.items()]  # fmt: skip
    rows += [{"what": f"  {reason}", "rows": n} for reason, n in account.reasons.most_common()]
    table = Table("", "rows")
    for row in rows:
        table.add_row(row["what"], f"{row['rows']:,}")
    ways = WAYS if back else {**WAYS, Again.MENDED: MEND_HERE}
    nos = Counter((one.reason, one.way) for one in account.back)
    errors = [
        Wrong("REFUSED", f"{n} rows refused: {reason}", ways[way], reason) for (reason, way), n in nos.most_common()
    ]
    way_out = account.broke.way_out if account.broke else ASK_AGAIN
    if account.unanswered:
        errors.append(Wrong("UNANSWERED", f"{account.unanswered} rows have no answer", way_out))
    if account.left > account.unanswered:
        errors.append(Wrong("STOPPED", f"{account.left - account.unanswered} rows were stopped on their way or not sent",
                            way_out if account.broke else "run the same import again"))  # fmt: skip
    if account.broke:
        errors.append(Wrong(CODES[account.broke.exit_code], account.broke.what, account.broke.way_out))
    errors += [ASTRAY] if account.astray else []
    errors += [lost] if lost else []
    title = f"import {kind}{' (dry run: nothing was sent)' if dry_run else ''}"
    printed(shape, rows, data=data, errors=errors, ok=code == DONE, people=[title, table])
    if shape == "json":
        return
    if account.back:
        first = ", ".join(f"{one.row.file} row {one.row.number}: {one.reason}" for one in account.back[:5])
        complain.print(f"refused, the first: {first}")
        for way in dict.fromkeys(one.way for one in account.back):
            why = dict.fromkeys(one.reason for one in account.back if one.way is way)
            complain.print(f"{', '.join(why)}: {ways[way]}")
    if lost:
        complain.print(f"{lost.message}: {lost.hint}")
    if back:
        complain.print(f"all refused rows, each with its way out: {back}")
    if account.unanswered:
        complain.print(
            f"unanswered: run the same import again, with --again where it was sent more than {ANSWER_DAYS} days ago"
        )
    if account.left > account.unanswered:
        complain.print("stopped on their way, or not sent: run the same import again")
