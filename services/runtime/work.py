"""One transaction's work: lock, load, learn, judge, react, save; for batches, ticks and sweeps alike.

All side effects of a batch stand here, in the order in which they happen. Rules have none.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

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
    answer_id_of,
    answer_type,
    fact_id_of,
    headers_of,
    order_of,
    refused,
    unknown,
)
from contracts.topics import Publisher, answers_topic, facts_topic
from services.runtime.batch import BadFact, BadIn, FactIn, Place, SubmissionIn, read_submission
from services.runtime.database import TIMELINE, Connection, Rows, encode, pack, unpack
from services.runtime.failures import count_dead_letters, dead_letter, failpoint
from services.runtime.outbox import Letter, Outgoing
from services.runtime.service import Service, State

MAX_WAITING = 10_000  # for one publisher: a flood of things that rest on nothing must not fill the disk
WAIT_DAYS = 7
MAX_ROUNDS = 50  # react must come to rest; a rule that never does is a bug, seen here instead of in a full disk

Name = tuple[str, str]
"""(kind, id) of a state."""
LOST_ANSWER = ""
"""Content of a claim that is known by its fact alone."""
NAMELESS = "unreadable"
"""Subject and tenant of an answer to a message whose own could not be read."""


class Widen(Exception):
    """What is woken names states that are not locked: begin again with them, since locks are taken in one order."""

    def __init__(self, names: set[Name]) -> None:
        super().__init__(f"{len(names)} more states")
        self.names = names


class Fork(Exception):
    """The last number came again with another id. The subject is held, loudly."""


class Restless(Exception):
    """react does not come to rest."""


class NewerShape(Exception):
    """A state was written by a newer version of this service. Way out: run that version, or rebuild."""


@dataclass(slots=True)
class Slot:
    """A state in hand, with what its row says beside it."""

    kind: str
    id: str
    tenant: str | None
    state: State | None
    given: set[str]
    stream: dict[str, Heard]
    cause: str | None
    trace: str | None
    recorded_at: datetime | None
    due_at: datetime | None
    changed: bool = False
    made: bool = False
    """The row was made in this transaction."""


@dataclass(slots=True)
class Wait:
    """A submission that rests on something unknown."""

    message: SubmissionIn
    stored: bool


@dataclass(frozen=True, slots=True)
class Alliance:
    """Time, as an alliance knows it."""

    ticked: datetime | None
    tick_id: str | None


@dataclass
class Counts:
    """What one transaction did."""

    facts: int = 0
    answers: int = 0
    old: int = 0
    learned: int = 0


@dataclass
class Work:
    """The work of one transaction on one connection."""

    service: Service
    publishers: Mapping[str, Publisher]
    source: str
    con: Connection
    by_time: bool = False
    """The causes of reactions are ticks."""
    learning: bool = False
    """A rebuild: evolve only."""
    slots: dict[Name, Slot] = field(default_factory=dict)
    alliances: dict[str, Alliance] = field(default_factory=dict)
    heard: dict[tuple[str, str], Heard] = field(default_factory=dict)
    early: dict[tuple[str, str, int], FactIn] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    claims: list[Recorded] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    out: Outgoing = field(default_factory=Outgoing)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self._missing: dict[str, list[str]] = defaultdict(list)  # unknown id -> references of what waits on it
        self._heard_before: dict[tuple[str, str], Heard] = {}
        self._early_before: set[tuple[str, str, int]] = set()
        self._answered: list[str] = []  # references of waits that have their answer now
        self._timeline: list[tuple[Any, ...]] = []
        self._learned_bodies: dict[str, bytes] = {}

    # --- lock and load

    async def share(self, tenants: Iterable[str]) -> None:
        """Alliances' rows, for share: a tick takes them for update."""
        wanted = sorted(set(tenants))
        sql = "select tenant, ticked, tick_id from alliance where tenant = any($1) order by tenant for share"
        rows = await self.con.fetch(sql, wanted)
        if len(rows) < len(wanted):
            await self.con.execute(
                "insert into alliance (tenant) select unnest($1::text[]) on conflict do nothing", wanted
            )
            rows = await self.con.fetch(sql, wanted)
        self.alliances = {row["tenant"]: Alliance(row["ticked"], row["tick_id"]) for row in rows}

    async def lock(self, names: Iterable[Name]) -> None:
        """The states named, for update, sorted; a row is made for what is not known yet, so that there is one to lock."""
        wanted = sorted(set(names))
        if not wanted:
            return
        kinds, ids = [kind for kind, _ in wanted], [id for _, id in wanted]
        sql = (
            "select s.* from state s join unnest($1::text[], $2::text[]) n(kind, id) on s.kind = n.kind and s.id = n.id"
            " order by s.kind, s.id for update of s"
        )
        rows = await self.con.fetch(sql, kinds, ids)
        made: set[Name] = set()
        if len(rows) < len(wanted):
            made = set(wanted) - {(row["kind"], row["id"]) for row in rows}
            await self.con.execute(
                "insert into state (kind, id) select * from unnest($1::text[], $2::text[]) on conflict do nothing",
                [kind for kind, _ in sorted(made)], [id for _, id in sorted(made)],
            )  # fmt: skip
            rows = await self.con.fetch(sql, kinds, ids)
        for row in rows:
            slot = self._slot(row)
            slot.made = (slot.kind, slot.id) in made
            self.slots[slot.kind, slot.id] = slot

    def _slot(self, row: Any) -> Slot:
        kind, body = row["kind"], row["body"]
        if body is not None and row["shape"] > self.service.states[kind].shape:  # type: ignore[attr-defined]
            raise NewerShape(f"{kind} has shape {row['shape']}")
        stream = {family: Heard(*pair) for family, pair in msgspec.json.decode(row["stream"]).items()}
        state = None if body is None else self.service.read_state(kind, body)
        return Slot(kind, row["id"], row["tenant"], state, set(row["given"].split()), stream, row["cause"], row["trace"],
                    row["recorded_at"], row["due_at"])  # fmt: skip

    async def load_heard(self, facts: list[FactIn]) -> None:
        """The last number of each learned family and subject, and the early facts kept for them."""
        keys = sorted({(_family(fact), fact.attributes.subject) for fact in facts})
        if not keys:
            return
        families, subjects = [family for family, _ in keys], [subject for _, subject in keys]
        rows = await self.con.fetch(
            "select h.* from heard h join unnest($1::text[], $2::text[]) k(f, s) on h.family = k.f and h.subject = k.s",
            families, subjects,
        )  # fmt: skip
        for row in rows:
            self.heard[row["family"], row["subject"]] = Heard(row["number"], row["id"])
        self._heard_before = dict(self.heard)
        if any(row["early"] for row in rows):
            kept = await self.con.fetch(
                "select e.* from early e join unnest($1::text[], $2::text[]) k(f, s) on e.family = k.f and e.subject = k.s",
                families, subjects,
            )  # fmt: skip
            for row in kept:
                self.early[row["family"], row["subject"], row["number"]] = self._kept(row)
        self._early_before = set(self.early)
        self._have_locked(
            name
            for kept_fact in self.early.values()
            for name in self._reached(kept_fact)
        )  # fmt: skip

    def _kept(self, row: Any) -> FactIn:
        attributes = msgspec.json.decode(row["attributes"], type=Attributes)
        cls = self.service.fact_types.get(row["type"])
        return FactIn(Place("", 0, 0), attributes, cls.from_json(row["body"]) if cls else None, row["body"])

    def _reached(self, message: FactIn) -> list[Name]:
        if message.fact is None:
            return []
        return self.service.reached_states(message.fact, message.attributes.subject, message.attributes.tenant)

    def _have_locked(self, names: Iterable[Name]) -> None:
        missing = set(names) - set(self.slots)
        if missing:
            raise Widen(missing)

    async def load_waiting(self, ids: Iterable[str]) -> None:
        """What waits on ids this transaction may make known, in the order in which it came; and what waits on that."""
        wanted, asked = set(ids), set[str]()
        while wanted - asked:
            sql = "select * from waiting where missing && $1::text[] order by seq for update"
            rows = await self.con.fetch(sql, sorted(wanted - asked))
            asked |= wanted
            for row in rows:
                message = self._stored(row)
                if message is not None:
                    subject = message.attributes.subject
                    self._have_locked(self.service.named_states(message.submission, subject))
                    self._wait(message, row["missing"], stored=True)
                    wanted.update(self.service.could_give(message.submission, subject))

    def _stored(self, row: Any) -> SubmissionIn | None:
        """A stored submission, read anew; None where its publisher is gone from the file."""
        publisher = self.publishers.get(row["publisher"])
        if publisher is None:
            return None
        headers = [(name, text) for name, text in unpack(row["headers"])]
        family = row["topic"].partition(".")[0]
        place = Place(row["topic"], 0, 0)
        message = read_submission(self.service, family, publisher, place, headers, None, row["body"], row["arrived"])
        return message if isinstance(message, SubmissionIn) else None

    async def claim(self, messages: list[SubmissionIn | BadIn]) -> list[SubmissionIn | BadIn]:
        """Claims each id; gives back what is to be answered: first contents, and ID_REUSED where another stands."""
        first: dict[str, SubmissionIn | BadIn] = {}
        again: dict[str, SubmissionIn | BadIn] = {}
        for message in messages:
            known = first.setdefault(message.reference, message)
            if known.content != message.content:
                again.setdefault(_reuse_key(message), message)
        lost = await self._claim({reference: message.content for reference, message in first.items()})
        if lost:
            rows = await self.con.fetch("select key, content from answered where key = any($1::uuid[])", sorted(lost))
            for row in rows:
                if str(row["key"]) not in lost:
                    continue
                message = first.pop(str(row["key"]))
                if row["content"] == LOST_ANSWER:
                    await self._answer_again(message)
                elif row["content"] != message.content:
                    again.setdefault(_reuse_key(message), message)
        if again:
            repeated = await self._claim({key: message.content for key, message in again.items()})
            for key in sorted(set(again) - repeated):
                self._answer(again[key], Outcome.REFUSED, no=refused("ID_REUSED"))
        return [message for message in messages if first.get(message.reference) is message]

    async def _answer_again(self, message: SubmissionIn | BadIn) -> None:
        """Its fact is known from the log, its answer was lost with a database: it is given now."""
        await self.con.execute("update answered set content = $2 where key = $1", message.reference, message.content)
        self._answer(message, Outcome.RECORDED, fact_id=str(fact_id_of(UUID(message.reference))))

    async def _claim(self, keys: dict[str, str]) -> set[str]:
        """Claims keys, sorted; gives back those that were claimed before (perhaps in this very transaction's past)."""
        ordered = sorted(keys)
        done = await self.con.execute(
            "insert into answered (key, content) select * from unnest($1::uuid[], $2::text[]) on conflict do nothing",
            ordered, [keys[key] for key in ordered],
        )  # fmt: skip
        if int(done.rpartition(" ")[2]) == len(ordered):
            return set()
        mine = await self.con.fetch(
            "select key from answered where key = any($1::uuid[]) and xmin = pg_current_xact_id()::xid", ordered
        )
        return set(ordered) - {str(row["key"]) for row in mine}

    # --- learn

    def learn(self, message: FactIn) -> None:
        """Applies the next fact and what was kept for it, drops the old, keeps the early; a fork raises."""
        key = (_family(message), message.attributes.subject)
        number = message.attributes.streamversion or 0
        match order_of(number, message.attributes.id, self.heard.get(key, Heard())):
            case Order.OLD:
                self.counts.old += 1
            case Order.FORK:
                raise Fork(f"{key[0]} number {number}")
            case Order.EARLY:
                self.early.setdefault((*key, number), message)
            case Order.NEXT:
                self._apply(message)
                while kept := self.early.pop((*key, self.heard[key].number + 1), None):
                    self._apply(kept)

    def learn_own(self, message: FactIn) -> None:
        """A rebuild's way: an own fact is folded, evolve only; nothing is reacted to and nothing sent."""
        attributes, fact = message.attributes, message.fact
        if fact is None:
            raise BadFact("an own fact of a type this version does not know")
        slot = self.slots[fact.subject_kind, attributes.subject]
        number = attributes.streamversion or 0
        match order_of(number, attributes.id, slot.stream.get(fact.family, Heard())):
            case Order.OLD:
                return
            case Order.NEXT:
                pass
            case order:
                raise Fork(f"{fact.family} number {number} is {order} in our own log")
        self._fold(slot, fact, attributes)
        slot.stream[fact.family] = Heard(number, attributes.id)
        recorded = attributes.recordedtime or attributes.time
        slot.recorded_at = max(recorded, slot.recorded_at or recorded)
        self._timeline.append((fact.family, slot.id, number, attributes.id, fact.ce_type, attributes.time, recorded,
                               attributes.cause, message.body.decode()))  # fmt: skip

    def _apply(self, message: FactIn) -> None:
        attributes = message.attributes
        self.heard[_family(message), attributes.subject] = Heard(attributes.streamversion or 0, attributes.id)
        self.counts.learned += 1
        if message.fact is None:
            return
        for name in self._reached(message):
            slot = self.slots[name]
            self._fold(slot, message.fact, attributes)
            self.react(slot)
        self._wake(given(message.fact, attributes.subject))

    def _fold(self, slot: Slot, fact: Fact, attributes: Attributes) -> None:
        if slot.tenant is None:
            slot.tenant = attributes.tenant
        elif slot.tenant != attributes.tenant:
            raise BadFact("a stream never changes its tenant")
        if slot.state is None:
            slot.state = self.service.states[slot.kind](id=slot.id, tenant=slot.tenant)
        self.service.evolve(slot.state, fact, attributes.cause or attributes.id)
        slot.given.update(given(fact, attributes.subject))
        slot.cause, slot.changed = attributes.id, True
        slot.trace = attributes.traceparent or slot.trace

    # --- judge

    def judge(self, message: SubmissionIn) -> None:
        """Yours? Known? Then the rule decides; a fact is folded, and reactions follow until nothing is missing."""
        if message.denied is not None:
            return self._answer(message, Outcome.REFUSED, no=message.denied)
        named = [self.slots[name] for name in self.service.named_states(message.submission, message.attributes.subject)]
        tenant = message.attributes.tenant
        if any(slot.tenant not in (None, tenant) for slot in named):
            return self._answer(message, Outcome.REFUSED, no=refused("NOT_YOURS"))
        missing = [id for id in self._rests_on(message).values() if not self._known(id, named)]
        if missing:
            return self._wait(message, missing, stored=False)
        failpoint("decide")
        deciding = self.service.decisions[type(message.submission)]
        by_kind = {slot.kind: slot.state or self.service.states[slot.kind](id=slot.id, tenant=tenant) for slot in named}
        states = {parameter: by_kind[kind] for parameter, kind in deciding.kinds}
        decision = deciding.call(message.submission, **states, arrived=message.arrived)
        if isinstance(decision, Fact):
            fact_id = str(fact_id_of(UUID(message.reference)))
            attributes = message.attributes
            self.record(named[0], decision, fact_id, message.reference, attributes.time, attributes.traceparent, tenant)
            self._answer(message, Outcome.RECORDED, fact_id=fact_id)
            self.react(named[0])
            return self._wake(given(decision, attributes.subject))
        if isinstance(decision, Refused):
            return self._answer(message, Outcome.REFUSED, no=decision)
        return self._answer(message, Outcome.UNCHANGED)

    def _rests_on(self, message: SubmissionIn) -> dict[str, str]:
        return {
            name: message.attributes.subject if name == "subject" else getattr(message.submission, name)
            for name in message.submission.rests_on()
        }

    def _known(self, id: str, named: list[Slot]) -> bool:
        """A thing is known if its own state is, or if the subject's state knows it."""
        return id in named[0].given or any(slot.id == id and id in slot.given for slot in named[1:])

    def _wait(self, message: SubmissionIn, missing: list[str], *, stored: bool) -> None:
        if message.reference not in self.waits:
            self.waits[message.reference] = Wait(message, stored)
        for id in missing:
            if message.reference not in self._missing[id]:
                self._missing[id].append(message.reference)

    def _wake(self, ids: Iterable[str]) -> None:
        """What waits is judged at once, in the order in which it came; what still rests on something unknown stays."""
        for id in ids:
            for reference in self._missing.pop(id, []):
                wait = self.waits.pop(reference, None)
                if wait is None:
                    continue
                self.judge(wait.message)
                if reference in self.waits:
                    self.waits[reference].stored = wait.stored
                elif wait.stored:
                    self._answered.append(reference)

    def refuse_waiting(self, row: Any) -> None:
        """Seven days of ticks are over: what it rested on stayed unknown."""
        message = self._stored(row)
        if message is None:
            return
        missing = set(row["missing"])
        name = next((name for name, id in self._rests_on(message).items() if id in missing), "subject")
        self._answer(message, Outcome.REFUSED, no=unknown(name))
        self._answered.append(message.reference)

    async def again(self, row: Any, more: set[Name]) -> bool:
        """Judges one stored submission anew, claim and all. False where its publisher is gone from the file."""
        message = self._stored(row)
        if message is None:
            return False
        await self.share([message.attributes.tenant])
        subject = message.attributes.subject
        await self.lock({*self.service.named_states(message.submission, subject), *more})
        await self.load_waiting(self.service.could_give(message.submission, subject))
        for answerable in await self.claim([message]):
            self.judge(answerable)  # type: ignore[arg-type]
        await self.save([])
        return True

    def unreadable(self, message: BadIn) -> None:
        """The answer to what can never be read."""
        verdict = message.verdict
        no = Refused(verdict.type.upper(), verdict.pointer, f"The rule is: {verdict.rule}.")
        self._answer(message, Outcome.UNREADABLE, no=no)

    def _answer(
        self, message: SubmissionIn | BadIn, outcome: Outcome, *, fact_id: str | None = None, no: Refused | None = None
    ) -> None:
        readable = isinstance(message, SubmissionIn)
        subject = message.attributes.subject if isinstance(message, SubmissionIn) else NAMELESS
        id = message.attributes.id if isinstance(message, SubmissionIn) else message.id
        body = Answer(
            submission_id=id or "",
            reference=message.reference,
            content=message.content,
            outcome=outcome,
            fact_id=fact_id,
            reason=no.reason if no else None,
            pointer=no.at if no else None,
            hint=(no.hint or self.service.hints.get((message.family, no.reason))) if no else None,
        )
        attributes = Attributes(
            id=str(answer_id_of(UUID(message.reference), message.content)),
            source=self.source,
            type=answer_type(message.family),
            subject=subject,
            time=self.now,
            tenant=message.attributes.tenant if isinstance(message, SubmissionIn) else NAMELESS,
            cause=message.reference,
            recordedtime=self.now,
            traceparent=message.attributes.traceparent if isinstance(message, SubmissionIn) else None,
        )
        topic = answers_topic(message.family, message.publisher)
        key = subject if readable else message.reference
        self.out.after[topic].append(Letter(key.encode(), body.to_json(), headers_of(attributes)))
        self.counts.answers += 1

    # --- record and react

    def record(
        self, slot: Slot, fact: Fact, id: str, cause: str, time: datetime | None, trace: str | None, tenant: str
    ) -> None:
        """One fact, numbered, folded, on its way out."""
        last = slot.stream.get(fact.family, Heard())
        recorded = (
            max(self.now, slot.recorded_at) if slot.recorded_at else self.now
        )  # never before the last of the stream
        attributes = Attributes(
            id=id, source=self.source, type=fact.ce_type, subject=slot.id, time=time or recorded, tenant=tenant,
            streamversion=last.number + 1, cause=cause, recordedtime=recorded, traceparent=trace,
        )  # fmt: skip
        self._fold(slot, fact, attributes)
        slot.stream[fact.family] = Heard(last.number + 1, id)
        slot.recorded_at = recorded
        body = fact.to_json()
        self.out.facts[facts_topic(fact.family)].append(Letter(slot.id.encode(), body, headers_of(attributes)))
        self._timeline.append((fact.family, slot.id, last.number + 1, id, fact.ce_type, attributes.time, recorded, cause,
                               body.decode()))  # fmt: skip
        self.counts.facts += 1

    def react(self, slot: Slot) -> None:
        """What is missing is recorded until nothing is; before the alliance's first tick nobody knows what time it is."""
        if slot.state is None or slot.tenant is None or self.learning:
            slot.due_at = ALWAYS_DUE
            return
        alliance = self.alliances[slot.tenant]
        if alliance.ticked is None:
            slot.due_at, slot.changed = ALWAYS_DUE, True
            return
        for _ in range(MAX_ROUNDS):
            facts = self.service.react(slot.state, alliance.ticked)
            if not facts:
                break
            for fact in facts:
                cause = (alliance.tick_id if self.by_time else slot.cause) or slot.id
                self.record(slot, fact, str(uuid4()), cause, None, slot.trace, slot.tenant)
        else:
            raise Restless(slot.kind)
        due = self.service.due(slot.state)
        if due is not None and due <= alliance.ticked:
            due = None  # react was asked at this very tick: what has passed has been considered
        slot.changed = slot.changed or due != slot.due_at
        slot.due_at = due

    # --- save

    async def save(self, bad: list[BadIn]) -> None:
        """Everything written, one statement each; positions are moved by the caller, last."""
        await self._save_states()
        await self._save_heard()
        await self._save_waiting()
        if bad:
            for letter in bad:
                dead_letter(self.service.name, letter, self.out)
            await count_dead_letters(self.con, bad)
        await self.out.write(self.con)
        rows: Rows = defaultdict(list)
        owners: dict[str, list[str]] = defaultdict(list)
        rows["timeline"] = self._timeline
        for slot in self.slots.values():
            if slot.changed and slot.state is not None:
                for name, found in self.service.view(slot.state).items():
                    rows[name].extend(found)
                    owners[name].append(slot.id)
        for table in (TIMELINE, *self.service.tables):
            await table.write(self.con, rows[table.name], owners[table.name])

    async def _save_states(self) -> None:
        changed = [slot for _, slot in sorted(self.slots.items()) if slot.changed]
        if changed:
            await self.con.execute(
                "update state s set tenant = n.tenant, shape = n.shape, body = n.body, given = n.given, stream = n.stream,"
                " cause = n.cause, trace = n.trace, recorded_at = n.recorded_at, due_at = n.due_at"
                " from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[],"
                " $9::text[], $10::timestamptz[], $11::timestamptz[])"
                " n(kind, id, tenant, shape, body, given, stream, cause, trace, recorded_at, due_at)"
                " where s.kind = n.kind and s.id = n.id",
                [s.kind for s in changed], [s.id for s in changed], [s.tenant for s in changed],
                [self.service.states[s.kind].shape for s in changed],  # type: ignore[attr-defined]
                [self.service.write_state(s.state) for s in changed], [" ".join(sorted(s.given)) for s in changed],
                [encode(s.stream).decode() for s in changed], [s.cause for s in changed], [s.trace for s in changed],
                [s.recorded_at for s in changed], [s.due_at for s in changed],
            )  # fmt: skip
        waited = {name for wait in self.waits.values()
                  for name in self.service.named_states(wait.message.submission, wait.message.attributes.subject)}  # fmt: skip
        idle = sorted(
            name for name, slot in self.slots.items() if slot.made and slot.state is None and name not in waited
        )
        if idle:  # made only to be locked; nothing came of it and nobody waits for it
            await self.con.execute(
                "delete from state s using unnest($1::text[], $2::text[]) n(kind, id) where s.kind = n.kind and s.id = n.id",
                [kind for kind, _ in idle], [id for _, id in idle],
            )  # fmt: skip

    async def _save_heard(self) -> None:
        kept = {key: message for key, message in self.early.items() if key not in self._early_before}
        gone = sorted(self._early_before - set(self.early))
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for family, subject, _ in self.early:
            counts[family, subject] += 1
        moved = sorted(
            {key for key, value in self.heard.items() if self._heard_before.get(key) != value}
            | {(family, subject) for family, subject, _ in (*kept, *gone)}
        )
        if moved:
            await self.con.execute(
                "insert into heard (family, subject, number, id, early)"
                " select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::int[])"
                " on conflict (family, subject) do update set number = excluded.number, id = excluded.id, early = excluded.early",
                [family for family, _ in moved], [subject for _, subject in moved],
                [self.heard.get(key, Heard()).number for key in moved], [self.heard.get(key, Heard()).id for key in moved],
                [counts[key] for key in moved],
            )  # fmt: skip
        if kept:
            await self.con.executemany(
                "insert into early (family, subject, number, attributes, type, body) values ($1, $2, $3, $4, $5, $6)"
                " on conflict do nothing",
                [(*key, encode(message.attributes).decode(), message.attributes.type, message.body)
                 for key, message in kept.items()],
            )  # fmt: skip
        if gone:
            await self.con.executemany("delete from early where family = $1 and subject = $2 and number = $3", gone)

    async def _save_waiting(self) -> None:
        if self._answered:
            await self.con.execute("delete from waiting where reference = any($1::uuid[])", sorted(self._answered))
        new = [wait.message for wait in self.waits.values() if not wait.stored]
        if not new:
            return
        rows = await self.con.fetch("select publisher, count(*) as n from waiting group by publisher")
        full = {row["publisher"]: row["n"] for row in rows}
        entries = []
        for message in new:
            full[message.publisher] = full.get(message.publisher, 0) + 1
            if full[message.publisher] > MAX_WAITING:
                self._answer(message, Outcome.REFUSED, no=refused("TOO_MANY_WAITING"))
                continue
            missing = sorted(id for id, references in self._missing.items() if message.reference in references)
            ticked = self.alliances[message.attributes.tenant].ticked
            entries.append((message.reference, message.content, message.publisher, message.place.topic,
                            message.attributes.tenant, missing, ticked, message.arrived, pack(message.headers),
                            message.body))  # fmt: skip
        await self.con.executemany(
            "insert into waiting (reference, content, publisher, topic, tenant, missing, since, arrived, headers, body)"
            " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            entries,
        )  # fmt: skip


ALWAYS_DUE = datetime(1, 1, 1, tzinfo=UTC)


def _family(message: FactIn) -> str:
    return message.attributes.type.split(".")[1]


def given(fact: Fact, subject: str) -> list[str]:
    """Ids a fact makes known."""
    return [subject if name == "subject" else getattr(fact, name) for name in fact.gives]


def _reuse_key(message: SubmissionIn | BadIn) -> str:
    return str(answer_id_of(UUID(message.reference), message.content))
