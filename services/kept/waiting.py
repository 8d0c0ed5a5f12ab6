"""What was read and can't be settled yet: how it is kept, what becoming known wakes of it, and how much a publisher may have wait."""

from collections import Counter
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from contracts.attributes import known_headers
from contracts.envelope import stamp
from contracts.topics import MIB
from services.runtime.database import Connection, Table, columns, pack
from services.runtime.messages import Message
from services.runtime.service import Given

MAX_WAITING, MAX_WAITING_BYTES = 10_000, 16 * MIB
"""For one publisher, headers and body: a flood of things that rest on nothing must not fill the disk."""
MOST_WOKEN = 500
"""Judged in the transaction that makes known what they wait for; ten thousand attendance reports of one participation took more
than a minute, and whoever ended the process for its silence began the same again."""
WAKING = "Waking"
"""Why a subject is in quarantine of which more woke than the transaction could judge: what wakes is taken up in chunks
(`services/kept/taking_up.py`), and what comes meanwhile is kept behind it."""
TOLD = f"""case when why <> 'quarantined' or exists (select from unnest(string_to_array(rests_on, ' ')) one
 where one not in (select '!' || subject from quarantine where why = '{WAKING}')) then why
 when publisher = '' then 'early' else 'waiting' end"""
"""Why a message is kept, as people are told: for what rests on such subjects alone there is nothing to release."""

KEPT = Table("kept", ("topic", "part", '"offset"', "arrived"), {
    "topic": "text", "part": "int", '"offset"': "bigint", "arrived": "timestamptz", "why": "text", "publisher": "text",
    "tenant": "text", "subject": "text", "rests_on": "text", "claimed": "boolean", "error": "text", "since": "timestamptz",
    "headers": "bytea", "value": "bytea"})  # fmt: skip
STRANDED = "update kept set why = 'aside', rests_on = '', error = 'NoSuchPublisher'"
"""What is kept of a publisher that is gone from the file is set aside: nothing it waits for is looked for any more."""


class Kept(NamedTuple):
    """A message that can't be settled now: why, what takes it up again, and whether it has claimed its id."""

    message: Message
    why: str
    rests_on: list[str]
    """What takes it up again: an id that becomes known, `until_next` or `until_released`; nothing but a replay where it is empty."""
    claimed: bool = False
    error: str = ""

    def row(self) -> tuple[Any, ...]:
        """As the table has it."""
        m, a = self.message, self.message.attributes
        return (*m.part, m.offset, m.arrived, self.why, _publisher(m), a.tenant, a.subject, " ".join(self.rests_on), self.claimed,
                self.error, m.since, _headers(m), m.value)  # fmt: skip


def until_next(family: str, subject: str) -> str:
    """What an early fact rests on: the one before it, of the same stream."""
    return f"{family}/{subject}"


def until_released(subjects: Set[str]) -> list[str]:
    """What a message rests on while these subjects are in quarantine. (Queries write it as `'!' || subject`.)"""
    return [f"!{subject}" for subject in sorted(subjects)]


_WAITS = """from kept k where string_to_array(rests_on, ' ') && $1::text[] and exists (
    select from unnest($1::text[], $2::text[]) g(id, about) where g.id = k.rests_on and g.about in (g.id, k.subject))"""
"""For ids made known by facts about these subjects: a consent's id, or a referral's, counts within its case."""


async def waiting_for(
    con: Connection, made_known: Sequence[Given], most: int
) -> tuple[list[Any], list[tuple[str, str]]]:
    """What waits for these, (id, subject of who makes it known), in the order in which it came. Where that is more than so many: none
    of it, and each id with the subjects of what waits for it."""
    given = columns(made_known)
    rows = await con.fetch(f"select k.* {_WAITS} order by seq limit $3 for update of k", *given, most + 1)  # noqa: S608
    if len(rows) <= most:
        return rows, []
    return [], [tuple(row) for row in await con.fetch(f"select distinct rests_on, subject {_WAITS}", *given)]  # noqa: S608


async def _too_much(con: Connection, kept: Sequence[Kept]) -> list[Message]:
    """Those that begin to wait, also for a subject's release, and whose publisher has more wait than it may; each has claimed its
    id. Two workers at once may each let it have so much."""
    new = [one.message for one in kept if one.message.seq is None and one.claimed and one.why != "aside"]
    if not new:
        return []
    rows = await con.fetch("select publisher, count(*), sum(octet_length(headers) + octet_length(value)) from kept"
                           " where claimed and why <> 'aside' group by publisher")  # fmt: skip
    waiting, size = (Counter({row["publisher"]: row[of] for row in rows}) for of in ("count", "sum"))
    refused = []
    for message in new:
        waiting[publisher := _publisher(message)] += 1
        size[publisher] += len(_headers(message)) + len(message.value or b"")
        if waiting[publisher] > MAX_WAITING or size[publisher] > MAX_WAITING_BYTES:
            refused.append(message)
    return refused


async def keep(
    con: Connection, settled: Set[int], stranded: Sequence[int], due: Set[Given], kept: Sequence[Kept]
) -> list[Message]:
    """Deletes what is `settled`, writes what is not (`kept`). Gives back what it did not write, since its publisher has too much that
    waits: it is to be refused. `due`: ids that became known and on which more rests than this transaction could judge; from now on
    that rests on its subjects' release, and they stand in quarantine (WAKING). `stranded`: rows whose publisher is gone."""
    if due:
        await con.execute(
            "with due as (update kept w set rests_on = '!' || w.subject from (select seq"  # noqa: S608
            f" {_WAITS}) d where w.seq = d.seq returning w.subject)"
            " insert into quarantine (subject, why) select distinct subject, $3 from due order by 1 on conflict do nothing",
            *columns(sorted(due)), WAKING)  # fmt: skip
    if ended := sorted(settled - {one.message.seq for one in kept}):
        await con.execute("delete from kept where seq = any($1::bigint[])", ended)
    if stranded:
        await con.execute(f"{STRANDED} where seq = any($1)", stranded)
    refused = await _too_much(con, kept)
    gone = {id(message) for message in refused}
    await KEPT.write(con, [one.row() for one in kept if id(one.message) not in gone])
    return refused


def _publisher(message: Message) -> str:
    return message.input.publisher.name if message.input.publisher else ""


def _headers(message: Message) -> bytes:
    """Those we know: a sender's others may name people, and have no end."""
    return pack(list(known_headers(message.headers).items()))


_EARLY = """
select topic, min(at) as since, count(distinct subject) as n, array_to_string((array_agg(distinct subject))[:3], ', ') as of
  from kept where why = 'early' group by topic having min(at) < now() - interval '10 minutes' order by topic
"""
"""Topics on which a fact has waited so long for the one before it that somebody looks for what is missing; and of whom: offices are told
nothing of them meanwhile."""


async def missing(con: Connection) -> list[str]:
    """These topics as findings, in words: since when, and of whom."""
    return [f"facts wait for one that does not come: on {r['topic']}, since {stamp(r['since'])}, of {r['n']}: {r['of']}; its"
            " owner's log lacks it, or its relay rests" for r in await con.fetch(_EARLY)]  # fmt: skip
