"""Keeps alone what could not be applied, and takes up again what was kept: what was set aside, what concerns a subject that is
released from quarantine, and what woke in too great a number."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog

from contracts.envelope import reference_of, refused
from contracts.messages import read_message
from contracts.topics import MIB
from services.kept.waiting import STRANDED, WAKING, until_released
from services.runtime import clock, positions
from services.runtime.database import RETRY, Connection, unpack
from services.runtime.failures import TooMuch, name_of
from services.runtime.messages import Message
from services.runtime.node import Node
from services.runtime.work import NOT_THE_DATA, BeginAgain, Fork, Work, transact

log = structlog.get_logger()

CHUNK, CHUNK_BYTES = 250, 2 * MIB
"""Of what is kept of a subject in quarantine, released in one transaction: batches wait for some tenths of a second."""
DRY_LONGEST = 4.0  # seconds in one transaction: batches give up after eight, and hold
LONGEST = 20.0  # seconds a question may take: who asks hears of it, and asks for the rest
A_TURN = 2.0  # seconds each second's turn spends on what woke: ticks and leases wait behind it
REBUILDING = "hashtext('lotse rebuild')"
"""The lock that a rebuild has alone and such a turn shares: facts a rebuild has passed over must not be applied behind its back."""

_ITS = "from kept where string_to_array(rests_on, ' ') && $1"
_NEXT = f"""
with next as (select seq, sum(bytes) over (order by seq) as upto from (
    select seq, octet_length(headers) + coalesce(octet_length(value), 0) as bytes {_ITS} order by seq limit $2) k)
select k.* from kept k join next using (seq) where upto <= $3 or seq = (select min(seq) from next) order by seq
"""  # noqa: S608
_NAMED = f"{_ITS} and publisher = '' and seq = any($2::bigint[])"
_LEAVE_OUT = f"""
with gone as (delete {_NAMED} and error = 'Fork' returning topic, part, "offset", seq, arrived)
insert into left_out select * from gone on conflict (topic, part, "offset", arrived) do update set seq = excluded.seq
"""  # noqa: S608


async def _again(
    node: Node, con: Connection, known: BeginAgain, rows: Sequence[Any], *, give_up: bool = False, released: str = ""
) -> int:
    """Takes kept messages up again, in order: a fact is learnt, a submission claims its id (unless it has) and is judged or
    given up. Gives back how many are settled. `released`: a subject that is in quarantine for all others."""
    work = Work(node, con)
    messages = [message for row in rows if (message := work.taken_up(row)) is not None]
    await work.open(messages, known)
    work.quarantined.discard(released)
    new = [message for message in messages if message.input.publisher is not None and not message.claimed]
    first = {message.seq for message in await work.claim(new)} if new else set()
    for message in messages:
        if message.input.publisher is None:
            try:
                await work.learn(message)
            except Fork:
                raise Fork(message.seq) from None
        elif message.claimed or message.seq in first:
            if give_up:
                message.denied = refused("GIVEN_UP")
            await work.judge(message, claimed=message.claimed)
    await work.save()
    node.sending.set()
    return sum(not work.keeps(message) for message in messages)


async def quarantined(node: Node, message: Message, error: Exception, *, learning: bool = False) -> None:
    """Keeps one message that could not be applied, in a transaction of its own: a submission is set aside alone; a fact puts
    its subject into quarantine. Both are ours to mend."""

    async def act(con: Connection, known: BeginAgain) -> None:
        position = {} if learning else {message.part: positions.NOWHERE} | await positions.lock(con, [message.part])
        if position.get(message.part) == positions.NOWHERE:  # a gap was marked meanwhile
            raise positions.Astray(position)
        if position.get(message.part, 0) > message.offset:
            return
        work = Work(node, con, learning=learning)
        await work.open([message], known)
        if message.input.publisher is not None:
            work.set_aside(message, name_of(error))
        else:
            await work.quarantine(message, name_of(error))
        await work.save()
        if position:
            await positions.move(con, {message.part: message.offset + 1})

    await transact(node, act)


async def replay(node: Node, seqs: Sequence[int] | None = None, *, give_up: bool = False) -> None:
    """Judges again, one by one, what a rule of ours could not bear (all of it, when a service starts anew). What waits of a publisher
    who is gone from the file is set aside by then; given up it is forgotten, since nobody hears an answer."""
    if seqs is None:
        gone = "publisher <> '' and why <> 'aside' and topic <> all($1::text[])"
        await node.pool.execute(f"{STRANDED} where {gone}", [*node.inputs])
    sql = "select seq from kept where why = 'aside' and ($1::bigint[] is null or seq = any($1)) order by seq"
    for (seq,) in await node.pool.fetch(sql, seqs):

        async def one(con: Connection, known: BeginAgain, seq: int = seq) -> int:
            await con.execute(clock.BEFORE)
            rows = await con.fetch("select * from kept where seq = $1 and why = 'aside' for update", seq)
            if give_up and rows and rows[0]["topic"] not in node.inputs:
                return await _forget(con, rows[0])
            return await _again(node, con, known, rows, give_up=give_up)

        try:
            await transact(node, one)
        except RETRY:
            raise
        except Exception as error:
            log.warning("still set aside", error=name_of(error))


async def _forget(con: Connection, row: Any) -> int:
    """With the claim it has made of its id, or it would be passed over for good where its publisher comes back and sends it again."""
    await con.execute("delete from kept where seq = $1", row["seq"])
    if row["claimed"]:  # so it could be read
        attributes, _ = read_message([(name, text) for name, text in unpack(row["headers"])], row["value"])
        await con.execute("delete from answered where key = $1", reference_of(attributes.source, attributes.id))
    return 1


class NoFactOfIts(Exception):
    """What is to be left out is no fact of the subject's: a submission left out would never be answered."""


class NoFork(Exception):
    """What is to be left out is a fact of the subject's that is true: what it broke on is ours to mend. Left out it would be lost, by
    every rebuild, too."""


class Released(NamedTuple):
    """What came of a release: how many messages were taken up; what can't be applied, and has stopped it; whether there is
    more of it."""

    taken_up: int
    broken: str = ""
    more: bool = False


async def release(
    node: Node, subject: str, without: Sequence[int] = (), longest: float = LONGEST, *, dry: bool = False,
    waking: bool = False,
) -> Released:  # fmt: skip
    """Takes up, in order, what was kept of a subject in quarantine, leaving out the named facts, each the second of a fork; then asks
    its states what is missing, also where nothing was kept: a rule that broke at a tick is found so alone. Chunk by chunk, each all
    of it or nothing: the subject stays in quarantine, and what comes meanwhile behind what is kept, until nothing is left. So whoever
    dies between two, or finds something that still breaks, is followed by another release. Dry, it takes up what it can
    in a few seconds, all batches waiting, in one transaction, and undoes it. `waking`: only while that is why it stands there."""
    held, until, taken, most = until_released({subject}), time.monotonic() + (DRY_LONGEST if dry else longest), 0, CHUNK
    # nobody asked for what goes on by itself: another release's shape would leave its subject to people for good
    passing = NOT_THE_DATA if waking else RETRY

    async def chunk(con: Connection, known: BeginAgain) -> tuple[int, bool]:
        # no batch is keeping back more of it now
        await con.execute("select from position order by topic, part for update")
        if waking and await con.fetchval("select why from quarantine where subject = $1", subject) != WAKING:
            return 0, False
        if without:
            await con.execute(_LEAVE_OUT, held, without)
            missed = "select exists (select unnest($1::bigint[]) except select seq from left_out)"
            if await con.fetchval(missed, without):
                raise NoFork if await con.fetchval(f"select exists (select {_NAMED})", held, without) else NoFactOfIts
        rows = await con.fetch(_NEXT, held, most, CHUNK_BYTES)
        done = await _again(node, con, known, rows, released=subject)
        more = await con.fetchval(f"select exists (select {_ITS})", held)
        if not more and await con.execute("delete from quarantine where subject = $1", subject) != "DELETE 0":
            await _asked(node, con, subject)
        return done, more

    async def undone(con: Connection, known: BeginAgain) -> tuple[int, bool]:
        await con.execute("savepoint untouched")
        done, more = await chunk(con, known)
        while more and time.monotonic() < until:
            also, more = await chunk(con, known)
            done += also
        await con.execute("rollback to untouched")
        return done, more

    while True:
        try:
            done, more = await transact(node, undone if dry else chunk)
        except passing:
            raise
        except TooMuch:
            most //= 2
            continue
        except Exception as error:
            if isinstance(error, Fork) and not dry:  # met only now: whoever lists what is kept finds it
                await node.pool.execute("update kept set error = 'Fork' where seq = $1", *error.args)
            return Released(taken, broken=name_of(error))
        taken += done
        if dry or not more or time.monotonic() > until:
            return Released(taken, more=more)


async def catch_up(node: Node, longest: float = A_TURN) -> None:
    """Goes on, for some seconds, with subjects of which more woke than one transaction could judge; safe to call at any time, twice,
    from several processes. Nothing while a rebuild goes on. One that breaks stays in quarantine, for people."""
    until, its = time.monotonic() + longest, "select subject from quarantine where why = $1 order by since, subject"
    if not (woken := await node.pool.fetch(its, WAKING)):
        return
    async with node.pool.acquire() as con:
        if not await con.fetchval(f"select pg_try_advisory_lock_shared({REBUILDING})"):
            return
        try:
            await _caught_up(node, woken, until)
        finally:
            await con.execute(f"select pg_advisory_unlock_shared({REBUILDING})")


async def _caught_up(node: Node, woken: Sequence[Any], until: float) -> None:
    for (subject,) in woken:
        done = await release(node, subject, longest=until - time.monotonic(), waking=True)
        if done.broken:
            log.error("quarantine", error=done.broken)
            why = "update quarantine set why = $2 where subject = $1 and why = $3"
            await node.pool.execute(why, subject, done.broken, WAKING)
        if time.monotonic() > until:
            return


async def _asked(node: Node, con: Connection, subject: str) -> None:
    """All states under this id are asked what is missing. First as the next tick will, to find now what would put them into quarantine
    again; that is undone, since nobody is told of anything between ticks. Then as a message does."""
    states = "select kind, id, tenant from state where id = $1 and kind = any($2) and tenant is not null order by kind"
    rows = await con.fetch(states, subject, [*node.service.states])
    for by_time in (True, False):
        await con.execute("savepoint asked")
        for row in rows:
            await clock.react(Work(node, con, by_time=by_time), [row], lambda _: None)
        if by_time:
            await con.execute("rollback to asked")
