"""`lotse answer` and `lotse sources`: what became of a submission, and of all that publishers sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from aiokafka.errors import KafkaError
from rich.table import Table

from contracts.envelope import MESSAGE_ID_PATTERN, Outcome, reference_of
from contracts.topics import Publisher, answers_topic, submissions_topic
from deploy.errors import DONE, FINDINGS, REFUSED, USAGE, Trouble
from deploy.feeds.account import Account, span_of
from deploy.feeds.log import Log, Span, length, opened
from deploy.feeds.told import Conversation
from deploy.installation import Installation, installation
from deploy.printed import Wrong, formats, plain, printed
from deploy.progress import counted

STANDS = (Outcome.RECORDED, Outcome.UNCHANGED)


@click.command()
@click.argument("source")
@click.argument("id")
@formats
def answer(source: str, id: str, shape: str) -> int:
    """What became of the submission ID of SOURCE (a publisher's name or its ce_source), and whether sending again helps.

    It reads the answers to that publisher (37 days) and, where there is none, its submissions (30 days), up to now. If ID_REUSED is
    all there is, it answers other content that was sent under this id later; what was sent first may still wait.

    Exit codes: 0 recorded or unchanged, 1 no answer yet or never sent, 2 usage, 3 Kafka does not answer,
    4 refused or unreadable.
    """
    if not re.fullmatch(MESSAGE_ID_PATTERN, id):
        raise Trouble("that is no id", "an id has 1 to 64 of A-Z a-z 0-9 . _ : -", USAGE)
    house = installation()
    publisher = house.publisher(source)
    found, looked = asyncio.run(_asked(house, publisher, id))
    if found.waiting or not found.told or not (found.answered or looked):
        return _without(found, publisher, shape, looked=looked)
    rows = [told.row() for told in found.answers]
    first = found.answers[0].answer
    wrong = [] if first.outcome in STANDS else [
        Wrong(first.reason or first.outcome.upper(), first.outcome.value, f"{first.hint or ''} {found.answers[0].again}".strip(),
              first.pointer or "")]  # fmt: skip
    printed(shape, rows, errors=wrong, people=[_people(row) for row in rows])
    return REFUSED if wrong else DONE


def _people(row: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    names = {"outcome": "outcome", "reason": "reason", "pointer": "where", "hint": "hint", "again_says": "send again",
             "fact_id": "fact", "answered": "answered", "topic": "on"}  # fmt: skip
    for name, shown in names.items():
        if row[name]:
            table.add_row(shown, str(row[name]))
    return table


def _without(found: Conversation, publisher: Publisher, shape: str, *, looked: bool) -> int:
    """No answer: it waits, or nobody sent it."""
    since = min((sent.at for sent in found.waiting), default=None)
    if since is not None:
        code, what = "WAITING", f"no answer yet; it waits since {since:%Y-%m-%d %H:%M:%S} UTC"
        hint = ("do not send it again. What it rests on may not be there yet (it waits for that at most 7 days), or a service is"
                " behind or holds it: `lotse status`")  # fmt: skip
    elif looked:
        code, what = "NOT_SENT", f"nothing was sent under this id on the topics of {publisher.name}"
        hint = "they keep 30 days; is it another publisher's, or did the sender's Kafka refuse it?"
    else:
        code, what = "NO_ANSWER", "no answer yet; whether it was sent could not be looked up"
        hint = "this user may read answers only; an operator sees more"
    first = found.waiting[0] if found.waiting else None
    row = {"submission_id": found.id, "outcome": code.lower(), "since": since and since.isoformat(timespec="seconds"),
           "type": first and first.type, "place": first and first.place, "deliveries": len(found.waiting),
           "refused_beside": len(found.told)}  # fmt: skip
    beside = ["other content under this id was refused (ID_REUSED); of what was sent first under it that says nothing"]
    printed(shape, [row], errors=[Wrong(code, what, hint)], people=[what, f"  {hint}", *(beside if found.told else ())])
    return FINDINGS


async def _asked(house: Installation, publisher: Publisher, id: str) -> tuple[Conversation, bool]:
    """The conversation under an id, and whether submissions could be looked through where there is no answer."""
    found = Conversation(id, reference_of(publisher.source, id))
    answers = [answers_topic(family, publisher.name) for family in publisher.families]
    async with opened(house.kafka, house.security, "answer") as log:
        span = await log.span(answers)
        if not span:
            raise Trouble(f"{', '.join(answers)}: not there, or not for this user", "`lotse topics --check`", FINDINGS)
        async for records in _watched(log, span, "answers"):
            found.hear(records)
        if found.answered:
            return found, True
        try:
            span = await log.span([submissions_topic(family, publisher.name) for family in publisher.families])
            async for records in _watched(log, span, "submissions"):
                found.see(records)
        except KafkaError:  # a publisher writes its submissions and may not read them
            return found, bool(found.sent)
        return found, bool(span)


async def _watched(log: Log, span: Span, what: str) -> AsyncIterator[list[Any]]:
    with counted(what, length(span), "records") as progress:
        async for records in log.read(span):
            progress(len(records))
            yield records


@click.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@formats
def sources(names: Sequence[str], shape: str) -> int:
    """What each publisher sent, what it was told, and how late it speaks; all publishers, or those named.

    It counts what the topics still keep: 30 days of submissions, 37 of answers. "Sent" counts different ids, "waiting" those
    without an answer, "late" the time from the moment a submission speaks of to its arrival. An id that was used again for other
    content has one answer more (refused ID_REUSED), so answered + waiting = sent + ID_REUSED. Answers to submissions from more
    than 30 days ago are counted apart ("older").
    """
    house = installation()
    publishers = [house.publisher(name) for name in names] or sorted(
        house.publishers.values(), key=lambda one: one.name
    )
    accounts = asyncio.run(_counted(house, publishers))
    rows = [account.row() for account in accounts]
    shown = [{**row, "late_median_seconds": span_of(row["late_median_seconds"]), "late_p90_seconds": span_of(row["late_p90_seconds"]),
              "last_seen": (row["last_seen"] or "never")[:16]} for row in rows]  # fmt: skip
    people = Table(*HEADINGS.values(), box=None, pad_edge=False)
    for row in shown:
        people.add_row(*(str(row[name]) for name in HEADINGS))
    refusals = [
        {"publisher": one.publisher, "refused": reason, "n": n}
        for one in accounts
        for reason, n in one.reasons.most_common()
    ]
    more = [plain(refusals, ("publisher", "refused", "n"))] if refusals else []
    printed(shape, rows, columns=list(Account("").row()), people=[people, *more])
    return DONE


HEADINGS = {
    "publisher": "publisher", "sent": "sent", "repeated": "again", "recorded": "recorded", "unchanged": "unchanged",
    "refused": "refused", "unreadable": "unreadable", "without_id": "no id", "waiting": "waiting", "older": "older", "late_median_seconds": "late, half",
    "late_p90_seconds": "late, 90 %", "last_seen": "last seen",
}  # fmt: skip
"""Name in JSON and CSV to the shorter one people see."""


async def _counted(house: Installation, publishers: Sequence[Publisher]) -> list[Account]:
    """One after the other, so that the ids of one alone are kept in memory. Submissions first: what is answered meanwhile is
    not called waiting."""
    accounts = []
    async with opened(house.kafka, house.security, "sources") as log:
        for publisher in publishers:
            account = Account(publisher.name, datetime.now(UTC))
            span = await log.span([submissions_topic(family, publisher.name) for family in publisher.families])
            async for records in _watched(log, span, f"{publisher.name}, submissions"):
                account.see(records)
            span = await log.span([answers_topic(family, publisher.name) for family in publisher.families])
            async for records in _watched(log, span, f"{publisher.name}, answers"):
                account.hear(records)
            account.close()
            accounts.append(account)
    return accounts
