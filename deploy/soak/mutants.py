"""Rows seen to fail: what guards a row is taken out of a copy of the tree, and the row must then find something.

A row that holds although its guard is gone tests nothing; one that fails with it, too, is not seen to fail for want of it, so it
runs with it first. Where two lines guard the same, each alone is enough (that is meant),
and both are taken out.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from deploy.local.kafka import short_lived
from deploy.local.processes import child_environment, tied_to_us
from deploy.places import CACHE, ROOT

LIMIT = 1200.0  # seconds a mutated row may take, its stack included
COPIED = ("contracts", "services", "deploy")
FAILED, HOLDS, NOT_SEEN = "fails", "holds", "not seen"


class Edit(NamedTuple):
    """A piece of a file that stands there once, and what stands there instead."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """Rows, what is no more in the mutated tree, what they then find, and how it is taken out."""

    rows: tuple[int, ...]
    gone: str
    finds: tuple[str, ...]
    """Words, one of which stands in a finding where this guard is missed: whatever else fails (a service that does not start, a
    time that is over, anything that stands still) says nothing of it."""
    edits: tuple[Edit, ...]


@dataclass
class Seen:
    """A row run on a mutated tree."""

    row: int
    gone: str
    outcome: str
    """`fails` (as it must), `holds` (it tests nothing), `not seen` (it never came to the row, fails with its guard, too, or
    otherwise than for want of it)."""
    what: str
    on: str
    seconds: float
    control: bool = False
    """Whether it is on record that the row held with its guard, just before."""


WORK, BATCH, INPUTS = "services/runtime/work.py", "services/runtime/batch.py", "services/host/inputs.py"
RELAY, HOST, DATABASE = "services/host/relay.py", "services/host/host.py", "services/runtime/database.py"
STATUS, OWN_LOGS = "services/host/status.py", "services/host/own_logs.py"

_FENCE = Edit(BATCH, "fresh = [m for m in messages if m.offset >= position[m.part]]", "fresh = list(messages)")
_CLAIMS = Edit(WORK, "        if lost := await self._claim(first):\n",
               "        lost: set[str] = set()\n        if await self._claim(first) and lost:\n")  # fmt: skip

MUTANTS = (
    Mutant((1, 6, 9, 22, 101, 102, 103), "the fence (what lies below its row is dropped) and the claim of ids", ("2 doubled", "after it read all again"),
           (_FENCE, _CLAIMS)),
    Mutant((2,), "the position moves in the transaction of its effect: it moves before it, by itself", ("never taken in", "1 lost"), (
        Edit("services/runtime/positions.py", "\" order by topic, part for update\"", "\" order by topic, part\""),
        Edit(BATCH, "    work = Work(node, con)\n    await work.open([m for m in fresh",
             "    async with node.pool.acquire() as early:\n        await positions.move(early, lasts)\n"
             "    work = Work(node, con)\n    await work.open([m for m in fresh"),
    )),
    Mutant((3,), "what is sent again has the same id: it gets another, and who comes back finds in its log what it never said",
           ("2 doubled", "4 forked", "3 invented", "older than the log"),
           (Edit(RELAY, "produce(topic, value, key, headers=headers,",
                 "produce(topic, value, key, headers=[(n, t[:-6] + b\"%06d\" % (time.monotonic_ns() % 10**6) if n == \"ce_id\" else t) for n, t in headers],"),)),
    Mutant((7,), "of a leader that says nothing Postgres ends the session", ("nobody leads the relay in the place",),
           (Edit("services/process/leader.py", ", \"idle_session_timeout\": f\"{LEASE:.0f}s\"}", "}"),)),
    Mutant((4,), "the relay sends the oldest first: it sends the newest first", ("4 disordered",),
           (Edit(RELAY, "< $3 order by id\"", "< $3 order by id desc\""),)),
    Mutant((5, 10), "SIGTERM is heard", ("ended with -15", "did not end with 0"),
           (Edit("services/process/ending.py", "for sign in (signal.SIGTERM, signal.SIGINT):", "for sign in (signal.SIGINT,):"),)),
    Mutant((108,), "a lock that can't be had is the infrastructure's fault, not the message's", ("nothing is called held",),
           (Edit(DATABASE, "    asyncpg.LockNotAvailableError,\n", ""),)),
    Mutant((15,), "where the loop stands is said where it does not turn: not said", ("nothing in the log says where it hangs",),
           (Edit(HOST, ", Watchdog().run()]", "]"),)),
    Mutant((116,), "what Kafka did not acknowledge is not marked as sent (given up after a second here)", ("no answer left", "1 lost"), (
        Edit(RELAY, "        if error is not None:\n            return self._given_up(part.topic, error)\n", ""),
        Edit(RELAY, "SEND_LIMIT = 30.0", "SEND_LIMIT = 1.0"),
    )),
    Mutant((18, 19), "librdkafka's answers are waited for in a thread: in the loop", ("were refused meanwhile",),
           (Edit(RELAY, "await alive(con, asyncio.to_thread(delivery.of, [row for row in rows if not row[\"after\"]]))",
                 "delivery.of([row for row in rows if not row[\"after\"]])"),
            Edit(RELAY, "await alive(con, asyncio.to_thread(delivery.of, answers))", "delivery.of(answers)"))),
    Mutant((23, 24), "a position is held against the log's start and end", ("a gap that is named", "the gap was skipped", "positions past the end"),
           (Edit(INPUTS, "if starts[part] <= stands <= ends[part] and not", "if starts[part] <= max(stands, starts[part]) and not"),)),
    Mutant((29,), "a right that is gone is the infrastructure's fault, not the message's", ("set aside",),
           (Edit(DATABASE, "asyncpg.SyntaxOrAccessError,  #", "asyncpg.UndefinedTableError,  #"),)),
    Mutant((31,), "the source must be the publisher's", ("3 wrong", "3 invented", "6 swallowed"),
           (Edit("services/runtime/messages.py", "if attributes.source != publisher.source:", "if False:"),)),
    Mutant((32,), "dead letters are counted by the type of their verdict", ("counted as",),
           (Edit("services/kept/dead_letters.py", "message.input.publisher.name, type, f\"{pointer} {rule}\", NOW)] += 1",
                 "message.input.publisher.name, \"bad\", \"\", NOW)] += 1"),)),
    Mutant((33,), "readers ignore what they do not know: they refuse it", ("those with the unknown field are answered",),
           (Edit("contracts/envelope.py", "ConfigDict(frozen=True, extra=\"ignore\"", "ConfigDict(frozen=True, extra=\"forbid\""),)),
    Mutant((35,), "a submission is at most 128 KiB for the broker", ("MiB were taken",),
           (Edit("contracts/topics.py", "\"max.message.bytes\": str(128 * KIB)", "\"max.message.bytes\": str(16384 * KIB)"),)),
    Mutant((36,), "a publisher's unreadable messages have a limit of 1,000 an hour", ("loud's own limit", "flooded"),
           (Edit("services/kept/dead_letters.py", "UNREADABLE_LIMIT = 1000", "UNREADABLE_LIMIT = 100_000"),)),
    Mutant((37,), "what Kafka did not acknowledge is not marked as sent", ("letters kept in the outbox", "6 swallowed"),
           (Edit(RELAY, "        if error is not None:\n            return self._given_up(part.topic, error)\n", ""),)),
    Mutant((38,), "a replay is written down", ("audit entries",),
           (Edit("services/operating/operate.py", "        await audit(who, what, \" \".join(map(str, seqs)), why)\n", ""),)),
    Mutant((39,), "the claim of ids", ("2 doubled",), (_CLAIMS,)),
    Mutant((40,), "what rests on something unknown waits: it is refused", ("what waits", "3 wrong"),
           (Edit(WORK, "no=unknown(name)) if expired else self._wait(message, id)", "no=unknown(name))"),)),
    Mutant((41,), "a number that comes again with another id is a fork: it is called old", ("the case in quarantine",),
           (Edit(WORK, "        if stream.fork is not None:\n            raise Fork(f\"{family} number {number}\")\n", ""),)),
    Mutant((42,), "aborted transactions are not read", ("3 invented",),
           (Edit(HOST, "isolation_level=\"read_committed\"", "isolation_level=\"read_uncommitted\""),)),
    Mutant((44,), "what was said more than ten minutes after it arrived is refused", ("3 wrong",),
           (Edit("contracts/validity.py", "AHEAD_SECONDS = 600", "AHEAD_SECONDS = 10**10"),)),
    Mutant((46,), "the relay outlives its database", ("ended by itself",),
           (Edit(RELAY, "except (*RETRY, ReaderError, KafkaException, asyncpg.PostgresError) as error:", "except (ReaderError, KafkaException) as error:"),)),
    Mutant((48,), "who begins to lead the relay holds the database against the log", ("the end of", "was set back", "the ledger says"),
           (Edit(OWN_LOGS, "    if older := await letters_beyond(node):\n", "    if older := 0:\n"),)),
    Mutant((49,), "too few connections are the infrastructure's fault", ("/status does not come back", "set aside"),
           (Edit(DATABASE, "    asyncpg.InsufficientResourcesError,\n", ""),)),
    Mutant((50,), "a deadlock is the infrastructure's fault, and what breaks is tried again in halves", ("set aside",), (
        Edit(DATABASE, "    asyncpg.TransactionRollbackError,\n", ""),
        Edit(BATCH, "        if len(messages) == 1:\n", "        if messages:\n"),
    )),
    Mutant((51,), "a database is held against the log before it is served from", ("to refuse", "the ledger says"),
           (Edit(HOST, "while older := await letters_beyond(self.node):", "while older := 0:"),)),
    Mutant((52,), "a migration waits five seconds for a lock: a minute", ("it gave up after",),
           (Edit("services/runtime/migrations/0003_states_in_line.sql", "set lock_timeout = '5s';", "set lock_timeout = '60s';"),)),
    Mutant((8, 55), "a batch may take five minutes between two polls: three seconds", ("a member left",),
           (Edit(HOST, "max_poll_interval_ms=self.settings.poll_seconds * 1000", "max_poll_interval_ms=3_000"),)),
    Mutant((58,), "/status names who holds a lock that can't be had", ("a blocker that is named",),
           (Edit(STATUS, "if any(\":55P03\" in h[\"why\"] for h in held):", "if False:"),)),
    Mutant((59,), "the minder outlives Kafka's absence", ("ended by itself",),
           (Edit(HOST, "except (*NOT_THE_DATA, KafkaError) as error:", "except asyncpg.PostgresError as error:"),)),
    Mutant((53,), "a state of a shape to come is not read: it is", ("to hold what it can't read",),
           (Edit(WORK, "row[\"shape\"] != ours:", "row[\"shape\"] < ours:"),)),
    Mutant((64,), "the relay outlives its session in Postgres", ("ended by itself",),
           (Edit(RELAY, "except (*RETRY, ReaderError, KafkaException, asyncpg.PostgresError) as error:",
                 "except (ReaderError, KafkaException) as error:"),)),
    Mutant((60, 68), "an error of the operating system is the infrastructure's fault", ("referral ended", "/counts gave", "set aside"),
           (Edit(DATABASE, "    OSError,\n    TimeoutError,\n)", "    TimeoutError,\n)"),)),
    Mutant((70,), "what is ahead is measured by the broker's clock: by our own", ("1 lost", "3 wrong"),
           (Edit("services/runtime/messages.py", "attributes.time, message.arrived)", "attributes.time, datetime.now(UTC))"),)),
    Mutant((74,), "a missing or wrong setting is named", ("is not named",),
           (Edit("services/host/settings.py", "missing or wrong: {names}. Way out", "missing or wrong. Way out"),)),
    Mutant((75,), "a claim whose lease is over is uncertain: it is made again", ("0 attempts are called uncertain", "2 doubled"),
           (Edit("services/kept/errands.py", "await record(node, attempt, errand.uncertain(attempt.fact))",
                 "await record(node, attempt, await errand.perform(attempt))"),)),
    Mutant((78,), "dead letters are sealed", ("10 leaked",),
           (Edit("services/kept/dead_letters.py", "jwe.encrypt_compact(protected, sealed, key).encode()", "bytes(len(protected)) + sealed"),)),
    Mutant((104,), "after anything but success the batch is sought back", ("when the reply was lost", "since the reply was lost"),
           (Edit(INPUTS, "        self._seek(consumer, back)\n        for part in back:\n", "        for part in back:\n"),
            Edit(INPUTS, "            self._hold(consumer, back, error, \"everything\")\n",
                 "            self._hold(consumer, back, error, \"everything\")\n"
                 "            self._contiguous |= {part: rs[-1].offset + 1 for part, rs in fetched.items()}\n"))),
    Mutant((105,), "what wakes many cases names all their states at once: one by one", ("60 cases that go on at once",),
           (Edit(WORK, "                missing.update(name for name in message.names if name not in self.slots)\n",
                 "                if missing := {name for name in message.names if name not in self.slots}:\n                    raise BeginAgain(missing)\n"),)),
    Mutant((107,), "a mail goes to the mailbox of its own office: to the first there is", ("went to another mailbox",),
           (Edit("services/notification/mail.py", "self.mailboxes.get(recorded.attributes.subject.partition(\":\")[2])",
                 "next(iter(self.mailboxes.values()), None)"),)),
    Mutant((109,), "what an office was told and no longer holds is said in its next mail: it is not", ("still believes",),
           (Edit("services/notification/domain.py", "for _, line in untrue]", "for _, line in untrue[:0]]"),)),
    Mutant((160,), "a read while the database is away is answered 503", ("/counts gave 500",),
           (Edit(HOST, "            app.add_exception_handler(kind, away)\n", "            pass\n"),)),
)  # fmt: skip
NO_MUTANT = {
    14: "what a dead process had not committed comes again: as rows 2 and 104",
    12: "Kafka's own group protocol guards it, no line of ours",
    13: "as rows 39 and 101: no line is its own",
    16: "Kafka's replication and its clients' retries guard it, no line of ours",
    17: "Kafka's replication and its clients' retries guard it, no line of ours",
    20: "Kafka's min.insync.replicas guards it, and what row 116 takes out",
    21: "Kafka's own group protocol guards it, no line of ours",
    27: "as row 116",
    43: "it measures what others wait; nothing of ours is taken out",
    47: "Postgres' own replication guards it, no line of ours",
    54: "it holds also where a lack of space counts as the message's fault: what is set aside is written, too",
    61: "as row 60",
    62: "as rows 8 and 55",
    65: "as row 59",
    67: "who writes to no file needs no line for it",
    69: "as row 8",
    76: "OpenTelemetry's own buffer guards it, no line of ours",
    106: "as row 5",
    110: "as rows 59 and 60",
    137: "as row 37",
}
"""Rows for which nothing is taken out, and why; `as row N`: what is taken out there."""


def mutated(rows: Iterable[int]) -> Iterator[tuple[int, Mutant]]:
    """Each of these rows with what is taken out for it."""
    for number in rows:
        for mutant in MUTANTS:
            if number in mutant.rows:
                yield number, mutant


def seen_to_fail(numbers: Iterable[int], seed: int, say: Callable[[str], None]) -> Iterator[Seen]:
    """Runs these rows one after the other, each in a copy of the tree, then in one in which its guard is gone. Nothing is left
    behind."""
    for number, mutant in mutated(numbers):
        say(f"row {number} without: {mutant.gone}")
        with tempfile.TemporaryDirectory(prefix="lotse-mutant-") as folder:
            tree, began = Path(folder), time.monotonic()
            copied(tree)
            outcome, found = _run(tree, number, seed)
            if held := outcome == HOLDS:
                taken_out(tree, mutant.edits)
                outcome, found = verdict(mutant, *_run(tree, number, seed))
            elif outcome == FAILED:
                outcome, found = NOT_SEEN, [f"fails with it, too: {found[0]}", *found[1:]]
        what, seconds = _short(found), round(time.monotonic() - began, 1)
        say(f"row {number} {outcome}: {what}")
        yield Seen(number, mutant.gone, outcome, what, f"{datetime.now(UTC):%Y-%m-%d}", seconds, control=held)


def verdict(mutant: Mutant, outcome: str, findings: list[str]) -> tuple[str, list[str]]:
    """What a run without the guard says: that it fails only where a finding speaks of what was taken out, that one first."""
    mine = [finding for finding in findings if _tells(mutant, finding) >= 0]
    if outcome == FAILED and not mine:
        return NOT_SEEN, [f"fails otherwise: {findings[0]}", *findings[1:]]
    shown = [finding if (at := _tells(mutant, finding)) < 150 else f"... {finding[at - 30 :]}" for finding in mine]
    return outcome, [*shown, *(finding for finding in findings if finding not in mine)]


def _tells(mutant: Mutant, finding: str) -> int:
    """Where a finding speaks of what was taken out; -1 where it does not."""
    return max(finding.find(word) for word in mutant.finds)


def copied(tree: Path) -> None:
    """The tree, as it is."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / ".lotse").mkdir()
    (tree / ".lotse" / "cache").symlink_to(CACHE.resolve())


def taken_out(tree: Path, edits: Iterable[Edit]) -> None:
    """Edits a tree. Raises ValueError naming the file where a piece does not stand there exactly once."""
    for edit in edits:
        (tree / edit.file).write_text(edited((tree / edit.file).read_text(), edit))


def edited(text: str, edit: Edit) -> str:
    """A file's text with the edit. Raises ValueError where its piece does not stand there exactly once."""
    if (times := text.count(edit.old)) != 1:
        raise ValueError(f"{edit.file} has {edit.old.strip()!r} {times} times, not once: say anew what guards the row")
    return text.replace(edit.old, edit.new)


def _run(tree: Path, number: int, seed: int) -> tuple[str, list[str]]:
    """How a row ended in a tree, and what it found; where it held, what was seen."""
    argv = [sys.executable, "-m", "deploy.cli", "soak", "--row", str(number), "--seed", str(seed), "--format=json"]
    env = child_environment(PYTHONPATH=str(tree), **short_lived(CACHE))
    pipe, tied = subprocess.PIPE, tied_to_us(signal.SIGTERM)  # it takes down its stack
    with subprocess.Popen(argv, cwd=tree, env=env, stdout=pipe, stderr=pipe, text=True, preexec_fn=tied) as child:  # noqa: S603
        try:
            out, err = child.communicate(timeout=LIMIT)
        except BaseException as error:
            child.terminate()
            child.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                return FAILED, [f"it came to no end in {LIMIT:.0f} s"]
            raise
    said = json.loads(out) if out else {"data": None}
    if not said["data"]:
        return NOT_SEEN, [(err.strip().splitlines() or [f"exit {child.returncode}"])[-1][:300]]
    (result,) = said["data"]
    findings = [" ".join(finding.split()) for finding in result["findings"]]
    return (FAILED, findings) if findings else (HOLDS, [result["seen"]])


def _short(findings: list[str]) -> str:
    return findings[0][:200] + (f" (and {len(findings) - 1} more)" if len(findings) > 1 else "")
