"""What one source has sent and what came of it, kept beside the installation's data (`import/` in its state folder, mode 600): ids stay the same, and so do answers.

It holds the partner's own references and the secret that turns them into ids. Keep it as safe as the files themselves,
and keep it: with another secret the same people become other cases.
"""

import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from contracts.envelope import ANSWERED_LATER, Again, again_of
from deploy.errors import REFUSED, Trouble
from deploy.places import closed, locked

_SCHEMA = """
create table if not exists secret (value blob not null);
create table if not exists sent (
    id text primary key, key text not null, revision int not null, content text not null, day text not null,
    seen_at text not null, outcome text, reason text, pointer text, hint text, reported_at text, again text,
    unique (key, revision)
);
create index if not exists unanswered on sent (id) where outcome is null;
create table if not exists fed (cluster text not null);
create table if not exists participation (
    reference text primary key, run text not null, person text not null, consent text
);
"""


class Said(NamedTuple):
    """An answer. `again` is empty where an earlier release wrote it down."""

    outcome: str
    reason: str = ""
    pointer: str = ""
    hint: str = ""
    again: str = ""

    @property
    def way(self) -> Again:
        """Whether sending the row again helps, as the answer says; where that was not written down, as its reason does."""
        if self.reason == "CLOCK_AHEAD":  # of a message `mended`; a row goes again with the times of its run
            return Again.LATER
        if self.again:
            return Again(self.again)
        return Again.LATER if self.reason in ANSWERED_LATER else again_of(self._asdict())


class Sent(NamedTuple):
    """One submission as it was sent: `content` tells whether a row says something new, `seen_at` when it first did, and
    `reported_at` when it says it was reported; release 1 wrote none. What follows is its answer, if it has one."""

    id: str
    key: str
    revision: int
    content: str
    day: str
    seen_at: str
    outcome: str | None = None
    reason: str | None = None
    pointer: str | None = None
    hint: str | None = None
    reported_at: str | None = None
    again: str | None = None

    @property
    def said(self) -> Said | None:
        """Its answer, if it has one."""
        told = (self.reason, self.pointer, self.hint, self.again)
        return None if self.outcome is None else Said(self.outcome, *(one or "" for one in told))


KEPT = "put its copy back, with the secret that ids are made of: with a new one each person would become a second case"
"""The way out where a memory is gone."""


def consent_of(person: str, reference: str) -> str:
    """What a consent with a reference of its own is known by: it is that person's."""
    return f"of\x1f{person}\x1f{reference}"


class Store:
    """The memory of one source. One process at a time writes into it. `reading` one that is there hinders nobody, nor does
    `trying`, which has a copy of it for as long as it is open. Raises Trouble where the memory is gone, can't be read, or is of
    another source."""

    def __init__(self, folder: Path, source: str, name: str, *, reading: bool = False, trying: bool = False) -> None:
        self.source, self.name, self.folder = source, name, folder
        path, lock = folder / f"{name}.sqlite", folder / f"{name}.lock"
        known = lock.exists() or any(folder.glob(f"*-refused-{name}-{'[0-9]' * 8}T*.csv"))
        with ExitStack() as held:
            if not (reading or trying):
                if (mine := locked(closed(folder) / lock.name)) is None:
                    raise Trouble(f"another import for {name} is running", "wait until it has ended", REFUSED)
                held.callback(os.close, mine)
            gone = not path.exists() or not path.stat().st_size  # not before: who held the lock may have been making it
            if gone and known:
                raise Trouble(f"{name}.sqlite, which remembers what was imported, is gone or empty; nothing was sent",
                              f"{KEPT}; only where nothing ever went out, delete {name}.lock and the refused rows beside it",
                              REFUSED)  # fmt: skip
            try:
                self._db = held.enter_context(closing(_opened(path, reading, trying)))
                self._secret, self.fresh = self._its_secret()
            except sqlite3.Error as error:
                if gone and not (reading or trying):
                    lock.unlink()  # the next would take it for a sign that something was remembered
                raise self.trouble(error) from None
            self._held = held.pop_all()
        self._new: dict[str, list[Sent]] = {}
        """Not written yet, by key."""
        self._taking_part: dict[str, tuple[str, str, str]] = {}
        self.id_of = lru_cache(maxsize=200_000)(self._id_of)

    def _its_secret(self) -> tuple[bytes, bool]:
        """What ids are made of, and whether none went out yet. Raises Trouble where what was sent last has an id of another secret or
        source."""
        row = self._db.execute("select value from secret").fetchone()
        last = self._db.execute("select id, key, revision from sent order by rowid desc limit 1").fetchone()
        self._secret = row[0] if row else secrets.token_bytes(32)
        if last and self._id_of(last[1], str(last[2])) != last[0]:
            raise Trouble(f"what was imported for {self.name} went out with another source or secret than now; nothing was sent",
                          "give the publisher its source back in publishers.toml: under another one each person would become a"
                          " second case", REFUSED)  # fmt: skip
        if row is None:
            self._db.execute("insert into secret values (?)", (self._secret,))
        return self._secret, last is None

    def trouble(self, error: sqlite3.Error) -> Trouble:
        """What an error of the memory means, and the way out. Of its words the code alone is shown."""
        code: str = getattr(error, "sqlite_errorname", type(error).__name__)
        way_out = "see whose it is, and what else has it open; then run the same import again"
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            way_out = KEPT
        elif code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            way_out = "make room on its disk, or see what is wrong with it; then run the same import again"
        what = f"{self.name}.sqlite, which remembers what was imported, can't be read or written ({code})"
        return Trouble(what, way_out, REFUSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
        if isinstance(error, sqlite3.Error):
            raise self.trouble(error) from None

    def _id_of(self, kind: str, *reference: str) -> str:
        """HMAC-SHA-256 of source and reference, as a UUID of version 8 (RFC 9562): nobody without the secret can tell
        whose it is, which a plain hash of somebody's number would."""
        said = "\x1f".join((self.source, kind, *reference)).encode()
        found = bytearray(hmac.digest(self._secret, said, "sha256")[:16])
        found[6], found[8] = found[6] & 0x0F | 0x80, found[8] & 0x3F | 0x80
        text = found.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def feeds(self, cluster: str) -> None:
        """Notes which Kafka this memory is of. Raises Trouble where it is another's: what that one recorded would be taken for
        known here, and nothing be sent, as after a rehearsal."""
        before = self._db.execute("select cluster from fed").fetchone()
        if before is None:
            self._db.execute("insert into fed values (?)", (cluster,))
        elif before[0] != cluster:
            raise Trouble(f"what was imported from here went into another Kafka ({before[0]}) than this ({cluster}); nothing was sent",
                          "name the right one in LOTSE_KAFKA; or give this one a memory of its own: LOTSE_STATE=FOLDER", REFUSED)  # fmt: skip

    def of_key(self, key: str) -> list[Sent]:
        """What a key has said so far, by revision."""
        rows = self._db.execute("select * from sent where key = ? order by revision", (key,))
        return [*(Sent(*row) for row in rows), *self._new.get(key, ())]

    def add(self, sent: Sent) -> None:
        """Known from now on; in the file at the next `flush`, which comes before it is sent."""
        self._new.setdefault(sent.key, []).append(sent)

    def participation(self, reference: str) -> tuple[str, str, str] | None:
        """(run, person, consent) as the referral of this participation was recorded; None where none was. Until a consent could have
        a reference it had the participation's."""
        if (found := self._taking_part.get(reference)) is not None:
            return found
        asked = "select run, person, coalesce(consent, reference) from participation where reference = ?"
        row = self._db.execute(asked, (reference,)).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def takes_part(self, reference: str, run: str, person: str, consent: str) -> None:
        """A participation of this source; in the file at the next `flush`."""
        self._taking_part[reference] = run, person, consent

    def flush(self) -> None:
        """Written before it is sent: whoever dies in between sends it again under the same id."""
        new = [sent for said in self._new.values() for sent in said]
        part = [(reference, *taking) for reference, taking in self._taking_part.items()]
        if new or part:
            with self._db:  # all of it, or none
                self._db.execute("begin immediate")
                self._db.executemany(f"insert into sent values ({', '.join('?' * len(Sent._fields))})", new)
                self._db.executemany(
                    "insert or replace into participation (reference, run, person, consent) values (?, ?, ?, ?)", part
                )
        self._new, self._taking_part = {}, {}

    def consents(self, person: str) -> list[str]:
        """This person's consents that have a reference of their own and were sent."""
        known, after = f"consent\x1f{consent_of(person, '')}", len("consent\x1f")
        # the separator's successor ends what begins with it
        rows = self._db.execute("select distinct key from sent where key > ? and key < ?", (known, f"{known[:-1]}\x20"))
        return [key[after:] for (key,) in rows]

    def unanswered(self) -> set[str]:
        """Ids of what was sent and has no answer here."""
        return {id for (id,) in self._db.execute("select id from sent where outcome is null")}

    def answered(self, answers: Iterable[tuple[str, Said]]) -> None:
        """Id and answer of each."""
        names = ", ".join(f"{name} = ?" for name in Said._fields)
        with self._db:
            self._db.execute("begin immediate")
            self._db.executemany(f"update sent set {names} where id = ?", ((*said, id) for id, said in answers))

    def participations(self) -> Iterable[tuple[str, str, str]]:
        """(reference, run, person) of every participation of this source."""
        return self._db.execute("select reference, run, person from participation order by run, reference").fetchall()

    def persons(self) -> dict[str, tuple[str, bool]]:
        """Participation to person, and whether its start is recorded."""
        rows = self._db.execute(
            "select p.reference, p.person, exists (select 1 from sent s where s.key = 'start' || char(31) || p.reference"
            " and s.outcome in ('recorded', 'unchanged')) from participation p"
        )
        return {reference: (person, bool(started)) for reference, person, started in rows}


def _opened(path: Path, reading: bool, trying: bool) -> sqlite3.Connection:
    """Looked through before anything rests on it, unless only to be read. Raises sqlite3.Error."""
    if reading:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    if trying:
        db = sqlite3.connect(":memory:", isolation_level=None)
        if path.exists():
            # What an import that was killed left beside it stays there; where none was, reading alone would leave its own.
            mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "rw"
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)) as there:
                there.backup(db)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, isolation_level=None)
    try:
        db.executescript("pragma journal_mode = wal; pragma synchronous = full;" + _SCHEMA)
        for table, columns in (("sent", Sent._fields), ("participation", ("consent",))):
            known = {column for _, column, *_ in db.execute(f"pragma table_info({table})")}
            for column in columns:
                if column not in known:  # it is of an earlier release: release 1 ends with the hint, and the person
                    db.execute(f"alter table {table} add column {column} text")
        if db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
            damaged = sqlite3.DatabaseError()
            damaged.sqlite_errorname = "SQLITE_CORRUPT"
            raise damaged
    except BaseException:
        db.close()
        raise
    return db
