"""One transaction's work: lock, load, learn, judge, react, save; for batches, ticks and sweeps alike.

All side effects of a batch stand here, in the order in which they happen. Rules have none.
"""

import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import asyncpg
import msgspec

from contracts.envelope import (
    Answer,
    Attributes,
    Fact,
    Heard,
    Order,
    Outcome,
    Recorded,
    Refused,
    Submission,
    answer_id_of,
    answer_type,
    fact_id_of,
    headers_of,
    of_another_kind,
    order_of,
    refused,
    unknown,
)
from contracts.hints import unread
from contracts.stream import Stream
from contracts.topics import answers_topic, facts_topic
from services.kept import answered
from services.kept.dead_letters import bury
from services.kept.waiting import MOST_WOKEN, Kept, keep, until_next, until_released, waiting_for
from services.process.failpoints import failpoint
from services.runtime import positions
from services.runtime.database import RETRY, Connection, Rows, Table, columns, encode, unpack
from services.runtime.failures import TooMuch, into_quarantine, name_of
from services.runtime.messages import Message, Part, read
from services.runtime.node import Node
from services.runtime.outbox import Letter, Outgoing
from services.runtime.service import Given, Name, State

MAX_ROUNDS = 50  # react must come to rest; a rule that never does is a bug, seen here instead of in a full disk
MAX_ATTEMPTS = 20
MOST_BYTES = 16 << 20
"""Of states in one transaction: loaded they are three times as much, and 35 cases of 500 consents with 50 recipients took 180 MiB."""
TIME = "hashtext('lotse time')"
"""The lock that batches share and a tick has alone."""
ALWAYS_DUE = datetime(1, 1, 1, tzinfo=UTC)
NAMELESS = "unreadable"
"""Subject and tenant of an answer to a message whose own could not be read."""

STATE = Table("state", ("kind", "id"), {"kind": "text", "id": "text", "tenant": "text", "shape": "int", "body": "text",
              "known": "text", "last": "text", "due_at": "timestamptz"})  # fmt: skip
HEARD = Table("heard", ("family", "subject"), {"family": "text", "subject": "text", "number": "bigint", "id": "text",
              "early": "boolean"})  # fmt: skip
INCOMPLETE = "select subject, false from quarantine union all select subject, true from kept where why = 'early' and $1"
"""Subjects of which what is known is not all there is. Those with a fact that came before the missing one are asked for only where
the world is to be told of them."""
TIMELINE = ("family", "subject", "number", "fact_id", "type", "time", "recorded_at", "cause", "body")
"""Columns of a service's own facts as they were recorded, for people to read."""


@dataclass(eq=False)
class BeginAgain(Exception):
    """A transaction begins again, knowing more. What it woke names states it has not locked: since locks are taken in one order, the
    next attempt locks them with the others. Or what it woke breaks: the next attempt sets that aside and goes on."""

    names: set[Name] = field(default_factory=set)
    """States to be locked as well."""
    aside: dict[tuple[Part, int], str] = field(default_factory=dict)
    """Place to error of what broke when it was woken."""
    full: bool = False
    """The states of what is woken do not fit beside those that are asked for: it is left, and judged in transactions of its own."""


FIRST = BeginAgain()  # what the first attempt knows


class Fork(Exception):
    """The last number came again with another id. The subject is held, loudly."""


class BadFact(Exception):
    """A fact that can't be read or folded: ours to mend."""


class TwoThings(Exception):
    """Two things of different kinds became known under one id at the same moment: their numbers are the same."""


class Restless(Exception):
    """react does not come to rest."""


class NewerShape(Exception):
    """A state was written by a newer version of this service. Way out: run that version (docs/operating.md, Going back a release)."""


class OlderShape(Exception):
    """A state was written by an earlier version of this service, which folded it otherwise: whoever goes on from it writes what no
    rebuild makes. Way out: `lotse rebuild` (docs/operating.md, Going forward a release)."""


class Known(msgspec.Struct):
    """What a state's row says beside the state: ids it made known, and its own families' last numbers."""

    given: set[str] = msgspec.field(default_factory=set)
    stream: dict[str, Heard] = msgspec.field(default_factory=dict)


class Last(msgspec.Struct):
    """The fact folded last, its trace, the time of the last own fact, and a digest of the rows that people read."""

    cause: str | None = None
    trace: str | None = None
    recorded_at: datetime | None = None
    viewed: str = ""


@dataclass(slots=True)
class Slot:
    """A state in hand."""

    kind: str
    id: str
    tenant: str | None = None
    state: State | None = None
    known: Known = field(default_factory=Known)
    last: Last = field(default_factory=Last)
    due_at: datetime | None = None
    changed: bool = False


class Alliance(NamedTuple):
    """Time, as an alliance knows it."""

    ticked: datetime | None
    tick_id: str | None


NOT_THE_DATA: tuple[type[Exception], ...] = (*RETRY, positions.Astray, BeginAgain, NewerShape, OlderShape)
"""Errors that no splitting of a batch would mend."""

_read_known, _read_last = msgspec.json.Decoder(Known).decode, msgspec.json.Decoder(Last).decode
T = TypeVar("T")


async def transact(node: Node, act: Callable[[Connection, BeginAgain], Awaitable[T]]) -> T:
    """One transaction, begun again up to MAX_ATTEMPTS times with what the attempt before found out (`BeginAgain`). Where ever more
    breaks of what is woken, raises what broke last: then the message that woke it is kept instead."""
    known = FIRST
    for _ in range(MAX_ATTEMPTS):
        try:
            async with node.pool.acquire() as con:
                try:
                    async with con.transaction():
                        done = await act(con, known)
                        failpoint("before_commit")
                except Exception as error:
                    if isinstance(error, NOT_THE_DATA) or not con.is_closed():
                        raise
                    raise ConnectionResetError(name_of(error)) from None  # it is the connection, not the data
                failpoint("after_commit")
                return done
        except BeginAgain as again:
            names = again.names if again.full else known.names | again.names
            known = BeginAgain(names, known.aside | again.aside, known.full or again.full)
            broken = again.__cause__
    raise broken or TimeoutError("what waits grew faster than it could be locked")


class Work:
    """The work of one transaction on one connection. `by_time`: ticks are the causes of reactions; `learning`: a rebuild,
    evolve only."""

    def __init__(self, node: Node, con: Connection, *, by_time: bool = False, learning: bool = False) -> None:
        self.node, self.service, self.con, self.by_time, self.learning = node, node.service, con, by_time, learning
        self.now = datetime.now(UTC)
        self.slots: dict[Name, Slot] = {}
        self.alliances: dict[str, Alliance] = {}
        self.quarantined: set[str] = set()
        self.incomplete: set[str] = set()
        self.streams: dict[tuple[str, str], Stream[Message]] = defaultdict(Stream)
        """What was learned of each family and subject, with early facts: read as any subscriber reads (contracts/stream.py)."""
        self.out = Outgoing()
        self.claims: list[Recorded] = []
        """Attempts claimed in this transaction, to be made once it is committed."""
        self.counts = dict.fromkeys(("facts", "answers", "old", "learned"), 0)
        self._heard_before: dict[tuple[str, str], tuple[Heard, bool]] = {}
        self._resting: dict[str, list[Message]] = defaultdict(list)  # id nobody knows -> what rests on it, in order
        self._left: dict[str, set[str]] = defaultdict(set)  # id on which too much rests to be judged here -> subjects
        self._due: set[Given] = set()  # such ids, once they are known
        self._woken: deque[Message] = deque()
        self._breaking: dict[tuple[Part, int], str] = {}  # place to error of what broke when the attempt before woke it
        self._silent_until = time.monotonic() + 1
        self._keep: dict[tuple[Part, int], Kept] = {}
        self._settled: set[int] = set()  # what was kept and is not any more
        self._stranded: list[int] = []  # what was kept and can't be read: its publisher is gone from the file
        self._claimed: set[str] = set()
        self._others: dict[Name, Slot] = {}  # known under an id in hand as another kind of thing; without their states
        self._timeline: list[tuple[Any, ...]] = []
        self._dead: list[Message] = []

    # --- lock and load

    async def open(
        self, messages: Sequence[Message], known: BeginAgain = FIRST, *,
        names: Iterable[Name] = (), tenants: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Locks and loads all these messages name, in the one order in which everybody takes locks."""
        self._breaking = known.aside
        readable = [m for m in messages if m.attributes is not None and m.verdict is None and m.denied is None]
        await self._share({*tenants, *(m.attributes.tenant for m in readable)})
        asked = {*names, *(name for m in readable for name in m.names)}
        woken = known.names and not known.full
        # what one message asks for is loaded, however much it is; what it wakes is left where it does not fit beside that
        several = len(readable) + len([*names]) > 1
        most = MOST_BYTES if woken or several else None
        await self._lock(asked | known.names, most, BeginAgain(full=True) if woken else TooMuch())
        self.now = datetime.now(UTC)
        # a statement of its own, after the locks: under a lock only the locked row itself is fresh
        rows = await self.con.fetch(INCOMPLETE, self.by_time and self.service.errand is not None)
        self.quarantined = {subject for subject, early in rows if not early}
        self.incomplete = {subject for subject, _ in rows}
        facts = {(m.family, m.attributes.subject) for m in readable if m.input.kind == "fact"}
        early = await self._load_heard(sorted(facts))
        gives = {pair for m in readable for pair in m.gives}
        await self._load_kept(early, gives, 0 if known.full else MOST_WOKEN, several)

    async def _share(self, tenants: set[str]) -> None:
        """Locks the alliances' rows for share; a tick takes them for update. The advisory lock before them gives a tick its turn:
        Postgres lets who shares a row pass by who waits to change it, and beside three busy workers a tick waited for 13 s, beside
        five for ever. A rebuild learns into rows of its own and takes no such lock: it must not wait for a tick that waits for it."""
        sql = (f"with turn as materialized (select case when $2 then null else pg_advisory_xact_lock_shared({TIME}) end)"
               " select tenant, ticked, tick_id from turn, alliance where tenant = any($1) order by tenant for share of alliance")  # fmt: skip
        rows = await self.con.fetch(sql, sorted(tenants), self.learning) if tenants else []
        if len(rows) < len(tenants):
            new = "insert into alliance (tenant) select unnest($1::text[]) on conflict do nothing"
            await self.con.execute(new, sorted(tenants))
            rows = await self.con.fetch(sql, sorted(tenants), self.learning)
        self.alliances |= {row["tenant"]: Alliance(row["ticked"], row["tick_id"]) for row in rows}

    async def _lock(self, names: set[Name], most: int | None, beyond: Exception) -> None:
        """The states named, for update, sorted; a row is made for what is not known yet, so that there is one to lock. Raises `beyond`,
        and has loaded nothing, where they have more than `most` bytes."""
        if not names:
            return
        # a window over what is locked: in a query of its own a generic plan made the sum anew for each of 2,000 rows
        sql = ("select kind, id, tenant, shape, case when beyond then '' else body end as body, case when beyond then '' else known"
               " end as known, last, due_at, beyond from (select *, sum(octet_length(body) + octet_length(known)) over () > $3 as beyond"
               " from (select s.* from state s join unnest($1::text[], $2::text[]) n(kind, id) on s.kind = n.kind and s.id = n.id"
               " order by s.kind, s.id for update of s) s) s")  # fmt: skip
        rows = await self.con.fetch(sql, *columns(sorted(names)), most)
        if new := sorted(names - {(row["kind"], row["id"]) for row in rows}):
            make = "insert into state (kind, id) select * from unnest($1::text[], $2::text[]) on conflict do nothing returning kind, id"
            made: list[Name] = [(row["kind"], row["id"]) for row in await self.con.fetch(make, *columns(new))]
            self.slots |= {name: Slot(*name) for name in made}
            if met := sorted({*new}.difference(made)):  # another worker's, by now
                rows += await self.con.fetch(sql, *columns(met), most)
        if any(row["beyond"] for row in rows):
            raise beyond
        for row in rows:
            kind, id, body = row["kind"], row["id"], row["body"]
            ours = self.service.shapes[kind]
            if body is not None and row["shape"] != ours:
                raise (NewerShape if row["shape"] > ours else OlderShape)(f"{kind} has shape {row['shape']}")
            self.slots[kind, id] = Slot(kind, id) if body is None else Slot(
                kind, id, row["tenant"], self.service.read_state[kind](body), _read_known(row["known"]),
                _read_last(row["last"]), row["due_at"] and row["due_at"].replace(tzinfo=UTC),  # ALWAYS_DUE is read without a zone
            )  # fmt: skip
        await self._look_for_others()

    async def _look_for_others(self) -> None:
        """Looks up what is known as another kind of thing under an id in hand of which we have said nothing yet: what goes by the id
        alone (its numbers, its rows) would be two things'. A rebuild looks for all: there it is chance which family comes first."""
        unsaid = [name for name, slot in self.slots.items() if self.learning or not slot.known.stream]
        kinds = self.service.states if self.service.is_spoken_to else ()
        if others := sorted({(kind, id) for mine, id in unsaid for kind in kinds if kind != mine} - self.slots.keys()):
            sql = ("select kind, id, tenant, known from state join unnest($1::text[], $2::text[]) n(kind, id) using (kind, id)"
                   " where body is not null")  # fmt: skip
            for kind, id, tenant, known in await self.con.fetch(sql, *columns(others)):
                self._others[kind, id] = Slot(kind, id, tenant, known=_read_known(known))

    def _other(self, slot: Slot) -> Slot | None:
        """The thing of another kind that is known under this id."""
        names = ((kind, slot.id) for kind in self.service.states if kind != slot.kind)
        found = (self.slots.get(name, self._others.get(name)) for name in names)
        return next((other for other in found if other is not None and other.tenant is not None), None)

    def _last_own(self, slot: Slot, family: str) -> Heard:
        """The last own number of a state; where the family has said nothing of it, that of the other thing under its id."""
        said = (one.known.stream.get(family) for one in (slot, self._other(slot)) if one is not None)
        return next(filter(None, said), Heard())

    async def _load_heard(self, keys: list[tuple[str, str]]) -> list[str]:
        """The last number of each learned family and subject; gives back what kept early facts rest on."""
        if not keys:
            return []
        sql = "select h.* from heard h join unnest($1::text[], $2::text[]) k(family, subject) using (family, subject)"
        rows = await self.con.fetch(sql, *columns(keys))
        self._heard_before = {(r["family"], r["subject"]): (Heard(r["number"], r["id"]), r["early"]) for r in rows}
        self.streams |= {key: Stream(heard) for key, (heard, _) in self._heard_before.items()}
        return [until_next(*key) for key, (_, early) in self._heard_before.items() if early]

    async def _load_kept(self, early: list[str], gives: set[Given], most: int, several: bool) -> None:
        """Loads early facts, what waits for ids that this transaction may make known, and what waits for those in turn, in the order
        in which it came. What is more than `most` is left where it is; where `several` messages wake it, raises TooMuch."""
        asked, missing = set[Given](), set[Name]()
        sql = "select * from kept where string_to_array(rests_on, ' ') && $1::text[] order by seq for update"
        rows = await self.con.fetch(sql, early) if early else []
        while rows or gives - asked:
            for row in rows:
                if (message := self.taken_up(row)) is None:
                    continue
                missing.update(name for name in message.names if name not in self.slots)
                gives |= {*message.gives}
                if row["why"] == "early":
                    a = message.attributes
                    self.streams[message.family, a.subject].keep(a.streamversion or 0, a.id, message, message.arrived)
                else:
                    self._resting[row["rests_on"]].append(message)
            new = sorted(gives - asked)
            rows, left = await waiting_for(self.con, new, most) if new else ([], [])
            if left and several:
                raise TooMuch
            asked, most = asked | gives, most - len(rows)
            for id, subject in left:
                self._left[id].add(subject)
        if missing:  # all at once: one by one, twenty cases that waited for one run stopped everything for ever
            raise BeginAgain(missing)

    def taken_up(self, row: Any) -> Message | None:
        """A kept message, read anew. None where its publisher is gone from the file: only a replay takes it up then. Each start
        makes one, and the service starts anew when the file changes."""
        input = self.node.inputs.get(row["topic"])
        if input is None:
            self._stranded.append(row["seq"])
            return None
        place, headers = Part(row["topic"], row["part"]), [(name, text) for name, text in unpack(row["headers"])]
        message = Message(input, place, row["offset"], row["arrived"], headers, row["value"])
        message.seq, message.claimed, message.since = row["seq"], row["claimed"], row["since"]
        return read(self.service, message)

    async def claim(self, messages: Sequence[Message]) -> list[Message]:
        """Claims each id; gives back what is to be answered: first contents. Another content of a claimed id is answered
        ID_REUSED, once; the same content again is silent, also while the first waits or its subject is in quarantine."""
        contents: dict[str, dict[str, Message]] = defaultdict(dict)  # by reference, in the order in which they came
        for message in messages:
            self._settle(message)
            if message.verdict is not None:
                self._dead.append(message)
                if not message.reference:
                    continue  # nobody can be answered
            contents[message.reference].setdefault(message.content, message)
        first = {reference: next(iter(found)) for reference, found in contents.items()}
        if lost := await self._claim(first):
            rows = await self.con.fetch("select key, content from answered where key = any($1::uuid[])", sorted(lost))
            for reference, content in ((str(row["key"]), row["content"]) for row in rows):
                if content is not None:
                    first[reference] = f"r1:{content.hex}"
                else:  # its fact is known from the log, its answer was lost with a database
                    message = contents[reference][first[reference]]
                    give = "update answered set content = $2 where key = $1"
                    await self.con.execute(give, reference, message.content[3:])
                    self._answer(message, Outcome.RECORDED, fact_id=fact_id_of(reference))
        others = (m for found in contents.values() for m in found.values() if m.content != first[m.reference])
        again = {answer_id_of(m.reference, m.content): m for m in others}
        told = await self._claim({key: message.content for key, message in again.items()})
        for key in sorted(again.keys() - told):
            self._answer(again[key], Outcome.REFUSED, no=refused("ID_REUSED"))
        return [contents[reference][content] for reference, content in first.items() if reference not in lost]

    async def _claim(self, keys: dict[str, str]) -> set[str]:
        """Claims keys; gives back those that were claimed before, perhaps earlier in this very transaction."""
        lost = await answered.claim(self.con, keys, self._claimed)
        self._claimed |= keys.keys()
        return lost

    # --- learn

    async def learn(self, message: Message) -> None:
        """Applies the next fact and what was kept for it, drops the old, keeps the early; a fork raises."""
        if message.verdict is not None:
            raise BadFact(message.verdict.rule)
        attributes, family = message.attributes, message.family
        subject, number = attributes.subject, attributes.streamversion or 0
        if subject in self.quarantined:
            return self._keep_back(Kept(message, "quarantined", until_released({subject})))
        stream = self.streams[family, subject]
        ready = stream.take(number, attributes.id, message, message.arrived)
        if stream.fork is not None:
            raise Fork(f"{family} number {number}")
        if (early := stream.early.get(number)) is not None and early.fact is message:
            self._keep_back(Kept(message, "early", [until_next(family, subject)]))
        elif not ready:
            self._settle(message)
            self.counts["old"] += 1
        for following in ready:
            self._apply(following)
            await self._wake()

    def learn_own(self, message: Message) -> bool:
        """A rebuild's way: an own fact is folded, evolve only; nothing is reacted to and nothing sent. False where it is early."""
        attributes, fact = message.attributes, message.body
        if fact is None:
            raise BadFact("an own fact of a type this version does not know")
        slot, number = self.slots[fact.subject_kind, attributes.subject], attributes.streamversion or 0
        order = order_of(number, attributes.id, self._last_own(slot, fact.family))
        if order is Order.FORK:
            raise Fork(f"{fact.family} number {number} in our own log")
        if order is Order.NEXT:
            recorded = attributes.recordedtime or attributes.time
            self._fold(slot, fact, attributes)
            self._number(slot, fact.family, number, attributes, recorded, (message.value or b"").decode())
        return order is not Order.EARLY

    def _apply(self, message: Message) -> None:
        attributes = message.attributes
        self._settle(message)
        self.counts["learned"] += 1
        if message.body is None:
            return
        for name in message.names:
            self._fold(self.slots[name], message.body, attributes)
            self.react(self.slots[name])
        self._became_known(message.gives)

    def _fold(self, slot: Slot, fact: Fact, attributes: Attributes) -> None:
        if slot.tenant not in (None, attributes.tenant):
            raise BadFact("a stream never changes its tenant")
        if slot.state is None:
            slot.tenant = attributes.tenant
            slot.state = self.service.states[slot.kind](id=slot.id, tenant=slot.tenant)
        failpoint("evolve")
        self.service.evolve(slot.state, fact, attributes.cause or attributes.id)
        slot.known.given.update(id for id, _ in self.service.made_known(fact, attributes.subject))
        slot.last.cause, slot.last.trace = attributes.id, attributes.traceparent or slot.last.trace
        slot.changed = True

    # --- judge

    async def judge(self, message: Message, *, claimed: bool = False, expired: bool = False) -> None:
        """Judges a message, then at once what waited for what it made known."""
        self._judge(message, claimed, expired)
        await self._wake()

    def _judge(self, message: Message, claimed: bool, expired: bool = False) -> None:
        """Yours? Known? Then the rule decides; a fact is folded, and reactions follow until nothing is missing. What rests on
        something unknown is kept, or, its time over, refused. `claimed`: it has waited; what breaks on it must not hurt what
        woke it, so it is set aside here."""
        if message.verdict is not None:
            no = unread(message.verdict, message.attributes, self.service.types)
            return self._answer(message, Outcome.UNREADABLE, no=no)
        if message.denied is not None:
            return self._answer(message, Outcome.REFUSED, no=message.denied)
        submission, attributes = message.body, message.attributes
        slots = [self.slots[name] for name in message.names]
        if any(slot.tenant != attributes.tenant for slot in slots if slot.tenant is not None):
            return self._answer(message, Outcome.REFUSED, no=refused("NOT_YOURS"))
        if slots[0].state is None and (other := self._other(slots[0])) is not None:
            no = refused("NOT_YOURS") if other.tenant != attributes.tenant else of_another_kind("subject")
            return self._answer(message, Outcome.REFUSED, no=no)
        if held := {id for _, id in message.names} & self.quarantined:
            why = "waiting" if claimed else "quarantined"
            return self._keep_back(Kept(message, why, until_released(held), claimed=True))
        for name in submission.rests_on():
            id = attributes.subject if name == "subject" else getattr(submission, name)
            # a thing is known if its own state is, or if the subject's state knows it
            if not (id in slots[0].known.given or any(s.id == id and id in s.known.given for s in slots[1:])):
                return self._answer(message, Outcome.REFUSED, no=unknown(name)) if expired else self._wait(message, id)
        rule, parameters = self.service.decisions[type(submission)]
        of_kind = {slot.kind: slot for slot in slots}
        times = {"said_at": attributes.time, "arrived": message.arrived}
        given = {
            name: self._state(of_kind[kind], attributes.tenant) if kind else times[name] for name, kind in parameters
        }
        try:
            failpoint("decide")
            decision = rule(submission, **given)
        except Exception as error:
            if isinstance(error, KeyError) and (named := _named(submission, error.args[0])) is not None:
                return self._answer(message, Outcome.REFUSED, no=of_another_kind(named))
            if not claimed:
                raise
            return self.set_aside(message, name_of(error), claimed=True)
        if isinstance(decision, Fact):
            id, a = fact_id_of(message.reference), attributes
            self.record(slots[0], decision, id, message.reference, a.time, a.traceparent, a.tenant)
            self._answer(message, Outcome.RECORDED, fact_id=id)
            self.react(slots[0])
            self._became_known(self.service.made_known(decision, attributes.subject))
        elif isinstance(decision, Refused):
            self._answer(message, Outcome.REFUSED, no=decision)
        else:
            self._answer(message, Outcome.UNCHANGED)

    def _state(self, slot: Slot, tenant: str) -> State:
        return slot.state or self.service.states[slot.kind](id=slot.id, tenant=tenant)

    def _wait(self, message: Message, id: str) -> None:
        self._resting[id].append(message)
        self._keep_back(Kept(message, "waiting", [id], claimed=True))

    def _became_known(self, made_known: Iterable[Given]) -> None:
        """What waits for these is judged next, in the order in which it came, and before all else that is woken already. Where it is
        too much for this transaction, it is kept until its turn comes, and so is all else of its subjects."""
        woken: list[Message] = []
        for id, about in made_known:
            for message in self._resting.pop(id, []):
                (woken if about in (id, message.attributes.subject) else self._resting[id]).append(message)
            if left := {subject for subject in self._left.get(id, ()) if about in (id, subject)}:
                self._due.add((id, about))
                self.quarantined |= left
        self._woken.extendleft(reversed(woken))

    async def _wake(self) -> None:
        """Judges what woke; what still rests on something unknown stays. What breaks is set aside, and nothing that it left
        half done stays."""
        await self.breathe()
        while self._woken:
            message = self._woken.popleft()
            if self.has_settled(message):  # what it waited for became known in two ways
                continue
            self._keep.pop(place := (message.part, message.offset), None)
            if place in self._breaking:
                self.set_aside(message, self._breaking[place], claimed=True)
                continue
            try:
                self._judge(message, claimed=True)
            except NOT_THE_DATA:
                raise
            except Exception as error:
                raise BeginAgain(aside={place: name_of(error)}) from error
            await self.breathe()

    async def breathe(self) -> None:
        """Postgres ends the session of who says nothing for ten seconds in a transaction, Kafka counts as dead who is silent for
        twenty: where rules take long, both hear of us each second, or the same batch would be begun again for ever."""
        if time.monotonic() >= self._silent_until:
            await self.con.execute("select")
            self._silent_until = time.monotonic() + 1

    def _keep_back(self, kept: Kept) -> None:
        self._keep[kept.message.part, kept.message.offset] = kept

    def keeps(self, message: Message) -> bool:
        """Whether this message is still not settled."""
        return (message.part, message.offset) in self._keep

    def has_settled(self, message: Message) -> bool:
        """Whether this message, or the same one read a second time, was settled by what came before it."""
        return message.seq in self._settled

    def _settle(self, message: Message) -> None:
        self._keep.pop((message.part, message.offset), None)
        if message.seq is not None:
            self._settled.add(message.seq)

    def set_aside(self, message: Message, error: str, *, claimed: bool = False) -> None:
        """What a rule of ours could not bear is counted and named, and judged again by a replay; it claims no id, unless it has."""
        self._keep_back(Kept(message, "aside", [], claimed, error))

    async def quarantine(self, message: Message, error: str) -> None:
        """A fact that can't be applied: all that concerns its subject is kept, in order, until somebody releases it."""
        subject = message.attributes.subject
        await into_quarantine(self.con, subject, error)
        if message.input.kind != "own":  # of a fork of our own the first one stands, and nobody takes up the other
            self._keep_back(Kept(message, "quarantined", until_released({subject}), error=error))

    def _answer(
        self, message: Message, outcome: Outcome, *, fact_id: str | None = None, no: Refused | None = None
    ) -> None:
        readable = message.attributes if message.verdict is None else None
        said: dict[str, str] = {"submission_id": message.id or "", "reference": message.reference,
                                "content": message.content, "outcome": outcome}  # fmt: skip
        if fact_id is not None:
            said["fact_id"] = fact_id
        if no is not None:
            said |= {"reason": no.reason, "pointer": no.at, "again": no.again}
            if hint := no.hint or self.service.hints.get((message.family, no.reason)):
                said["hint"] = hint
        attributes = Attributes(
            id=answer_id_of(message.reference, message.content), source=self.node.source,
            type=answer_type(message.family), subject=readable.subject if readable else NAMELESS, time=self.now,
            tenant=readable.tenant if readable else NAMELESS, cause=message.reference, recordedtime=self.now,
            traceparent=readable.traceparent if readable else None,
        )  # fmt: skip
        key = readable.subject if readable else message.reference
        assert message.input.publisher is not None
        topic = answers_topic(message.family, message.input.publisher.name)
        self.out.after[topic].append(Letter(key.encode(), Answer.written(said), headers_of(attributes)))
        self.counts["answers"] += 1
        self._settle(message)

    # --- record and react

    def record(
        self, slot: Slot, fact: Fact, id: str, cause: str, said_at: datetime | None, trace: str | None, tenant: str
    ) -> None:
        """One fact, numbered, folded, on its way out. Its recorded time is never before the last of the stream."""
        number = self._last_own(slot, fact.family).number + 1
        recorded = max(self.now, slot.last.recorded_at or self.now)
        attributes = Attributes(
            id=id, source=self.node.source, type=fact.ce_type, subject=slot.id, time=said_at or recorded, tenant=tenant,
            streamversion=number, cause=cause, recordedtime=recorded, traceparent=trace,
        )  # fmt: skip
        self._fold(slot, fact, attributes)
        body = fact.to_json()
        self._number(slot, fact.family, number, attributes, recorded, body.decode())
        self.out.facts[facts_topic(fact.family)].append(Letter(slot.id.encode(), body, headers_of(attributes)))
        self.counts["facts"] += 1

    def _number(self, slot: Slot, family: str, number: int, a: Attributes, recorded: datetime, body: str) -> None:
        slot.known.stream[family] = Heard(number, a.id)
        slot.last.recorded_at = max(recorded, slot.last.recorded_at or recorded)
        self._timeline.append((family, slot.id, number, a.id, a.type, a.time, recorded, a.cause, body))

    def react(self, slot: Slot) -> None:
        """What is missing is recorded until nothing is; before the alliance's first tick nobody knows what time it is."""
        if slot.state is None or slot.tenant is None:
            return
        if slot.id in self.quarantined:
            # what breaks on it would break its neighbours; asked again at the tick after its release
            slot.changed, slot.due_at = True, ALWAYS_DUE
            return
        ticked, tick_id = (None, None) if self.learning else self.alliances[slot.tenant]
        due: datetime | None = ALWAYS_DUE
        if ticked is not None:
            for _ in range(MAX_ROUNDS):
                if not (facts := self._missing(slot.state, ticked)):
                    break
                for fact in facts:
                    cause = (tick_id if self.by_time else slot.last.cause) or slot.id
                    self.record(slot, fact, str(uuid4()), cause, None, slot.last.trace, slot.tenant)
            else:
                raise Restless(slot.kind)
            due = self.service.due(slot.state, ticked)
            if due is not None and due <= ticked:
                due = None  # react was asked at this very tick: what has passed has been considered
            if not self.by_time and slot.due_at is not None and ALWAYS_DUE < slot.due_at <= ticked:
                due = slot.due_at  # that tick has not come to it yet
        slot.changed = slot.changed or due != slot.due_at
        slot.due_at = due

    def _missing(self, state: State, ticked: datetime) -> list[Fact]:
        """What rules miss; at a tick then what the world has not been told."""
        errand = self.service.errand if self.by_time else None
        return self.service.react(state, ticked) or (errand.attempts(state, ticked, self.incomplete) if errand else [])

    # --- save

    async def save(self) -> None:
        """Everything written, one statement each; positions are moved by the caller, last."""
        rows: Rows = defaultdict(list)
        owners: dict[str, list[str]] = defaultdict(list)
        for slot in self.slots.values():
            if slot.changed and slot.state is not None:
                viewed = self.service.view(slot.state)
                digest = hashlib.blake2b(encode(viewed), digest_size=8).hexdigest()
                if digest != slot.last.viewed:  # most messages change nothing that people read
                    slot.last.viewed = digest
                    for name, found in viewed.items():
                        rows[name] += found
                        owners[name].append(slot.id)
        await STATE.write(self.con, [
            (s.kind, s.id, s.tenant, self.service.shapes[s.kind], encode(s.state).decode(),
             encode(s.known).decode(), encode(s.last).decode(), s.due_at)
            for s in self.slots.values() if s.changed and s.state is not None
        ])  # fmt: skip
        if empty := sorted(name for name, slot in self.slots.items() if slot.state is None):  # made only to be locked
            drop = ("delete from state s using unnest($1::text[], $2::text[]) n(kind, id)"
                    " where (s.kind, s.id) = (n.kind, n.id) and s.body is null")  # fmt: skip
            await self.con.execute(drop, *columns(empty))
        await self._save_heard()
        for message in await keep(self.con, self._settled, self._stranded, self._due, [*self._keep.values()]):
            self._answer(message, Outcome.REFUSED, no=refused("TOO_MANY_WAITING"))
        await bury(self.con, self.node, self._dead, self.out)
        await self.out.write(self.con)
        if self._timeline:
            try:
                await self.con.copy_records_to_table("timeline", records=self._timeline, columns=TIMELINE)
            except asyncpg.UniqueViolationError:  # no other worker's: the state is locked
                raise TwoThings("one id") from None
        for table in self.service.tables:
            await table.write(self.con, rows[table.name], owners[table.name])

    async def _save_heard(self) -> None:
        now = {key: (stream.heard, bool(stream.early)) for key, stream in self.streams.items()}
        moved = {key: value for key, value in now.items() if self._heard_before.get(key) != value}
        await HEARD.write(self.con, [(*key, *heard, waits) for key, (heard, waits) in moved.items()])


def _named(submission: Submission, id: object) -> str | None:
    """The member of a submission that rests on this id."""
    return next((name for name in submission.rests_on() if getattr(submission, name, None) == id), None)
