"""Out with the submissions, in with the answers: rows side by side, the steps of a row one after the other."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import Attributes, headers_of
from contracts.topics import Publisher, answers_topic, submissions_topic
from deploy.errors import UNREACHABLE, Trouble
from deploy.importer.files import Row
from deploy.importer.plan import Planner, RowRefused, Step
from deploy.importer.store import Store
from services.connections import KafkaSecurity

UNANSWERED = 20_000  # at most so many on their way: a services' outage must not fill the broker's disk and our memory
ROWS_AT_ONCE = 2_000  # each with one step on its way

Said = tuple[str, str, str, str]
"""(outcome, reason, pointer, hint) of an answer."""


@dataclass
class Account:
    """What became of every row: recorded + unchanged + already answered + refused + unanswered + stopped + not sent = rows."""

    rows: int = 0
    recorded: int = 0
    unchanged: int = 0
    already_answered: int = 0
    unanswered: int = 0
    stopped: int = 0
    """Stopped between two of their steps: what was sent is answered, the next step was not sent."""
    not_sent: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    why: str = ""
    """Why we stopped waiting, if we did."""
    interrupted: bool = False
    """Somebody told us to stop."""
    back: list[tuple[Row, str, str, str]] = field(default_factory=list)
    """Refused rows with reason, pointer and hint, in the order of the files."""

    @property
    def refused(self) -> int:
        """Rows with a first no."""
        return len(self.back)

    @property
    def left(self) -> int:
        """Rows of which nobody knows yet what becomes of them: the next run asks."""
        return self.unanswered + self.stopped + self.not_sent


class Unanswered(Exception):
    """No answer came, or no answer will be waited for any more."""


class Stopped(Exception):
    """Nothing more is sent, this step neither."""


class Sender:
    """Sends steps and hands out their answers. Raises Trouble where Kafka is silent."""

    def __init__(
        self, kafka: str, security: KafkaSecurity, publisher: Publisher, tenant: str, store: Store, patience: float
    ) -> None:
        self.kafka, self.security, self.publisher, self.tenant = kafka, security, publisher, tenant
        self.store, self.patience = store, patience
        self.stopped = self.interrupted = False
        self.why = ""
        """Why it gave up, if it did."""
        self._asked: dict[str, asyncio.Future[Said]] = {}
        self._before = store.unanswered()
        """Sent by an earlier run that never saw the answers: they may stand on the topics, and are read before we ask."""
        self._found: dict[str, Said] = {}
        self._new: list[Step] = []
        self._wake = asyncio.Event()

    async def __aenter__(self) -> "Sender":
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka,
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=64 * 1024,
            **self.security.aiokafka(),
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka,
            isolation_level="read_committed",
            enable_auto_commit=False,
            **self.security.aiokafka(),
        )
        try:
            await self._producer.start()
            await self._consumer.start()
            topics = [answers_topic(family, self.publisher.name) for family in self.publisher.families]
            parts = [TopicPartition(topic, part) for topic in topics
                     for part in await self._producer.partitions_for(topic)]  # fmt: skip
            self._consumer.assign(parts)
            await (self._consumer.seek_to_beginning if self._before else self._consumer.seek_to_end)(*parts)
            for part in parts:
                await self._consumer.position(part)
        except (KafkaError, OSError) as error:
            await self._close()
            raise Trouble(
                f"Kafka does not answer ({type(error).__name__})", "`lotse status`; then check LOTSE_KAFKA", UNREACHABLE
            ) from None
        self._tasks = [asyncio.create_task(self._go_on(part)) for part in (self._send(), self._listen())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        await self._consumer.stop()
        await self._producer.stop()

    async def ask(self, step: Step) -> Said:
        """The answer. A submission several rows share is sent once. Raises Unanswered, Stopped."""
        if step.sent.id in self._found:
            return self._found[step.sent.id]
        if step.sent.outcome is not None:
            return step.sent.outcome, step.sent.reason or "", step.sent.pointer or "", step.sent.hint or ""
        found = self._asked.get(step.sent.id)
        if found is None:
            if self.stopped:
                raise Stopped
            found = self._asked[step.sent.id] = asyncio.get_running_loop().create_future()
            self._new.append(step)
            self._wake.set()
        return await asyncio.shield(found)

    def sent_before(self, step: Step) -> bool:
        """Whether an earlier run sent it and never saw its answer."""
        return step.sent.id in self._before

    def stop(self) -> None:
        """Somebody wants us to stop: nothing more is sent; what is on its way is waited for."""
        self.stopped = self.interrupted = True

    def give_up(self) -> None:
        """Nothing more is waited for."""
        self.stopped = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(Unanswered())
                future.exception()

    async def _go_on(self, part: Coroutine[Any, Any, None]) -> None:
        """Half of the conversation. Where it ends, so does the other, and says why: what was sent stays known as
        unanswered, and the next run sends it again under the same ids."""
        try:
            await part
        except (KafkaError, OSError, sqlite3.Error, ValueError, KeyError) as error:
            self.why = f"the conversation with Kafka broke off ({type(error).__name__})"
            self.give_up()

    async def _send(self) -> None:
        """Batch by batch: written down first, then sent, then acknowledged."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            steps, self._new = self._new, []
            self.store.flush()
            acks = []
            for step in steps:
                submission = step.submission
                attributes = Attributes(
                    id=step.sent.id, source=self.publisher.source, type=submission.ce_type, subject=step.subject,
                    time=step.time, tenant=self.tenant,
                )  # fmt: skip
                topic = submissions_topic(submission.family, self.publisher.name)
                acks.append(await self._producer.send(topic, submission.to_json(), key=step.subject.encode(),
                                                      headers=headers_of(attributes)))  # fmt: skip
            await asyncio.gather(*acks)

    async def _listen(self) -> None:
        """Answers, written down as they come. Patience counts from the last answer, so a long import needs no more."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            got = await self._consumer.getmany(timeout_ms=100)
            answers: dict[str, Said] = {}
            for record in (record for records in got.values() for record in records):
                said = json.loads(record.value)
                if (id := said["submission_id"]) in self._before or id in self._asked:
                    answers[id] = (
                        said["outcome"],
                        said.get("reason", ""),
                        said.get("pointer", ""),
                        said.get("hint", ""),
                    )
            if answers:
                self.store.flush()
                self.store.answered((*found, id) for id, found in answers.items())
                self._found |= answers
                for id, found in answers.items():
                    future = self._asked.get(id)
                    if future is not None and not future.done():
                        future.set_result(found)
            if answers or all(future.done() for future in self._asked.values()):
                last = loop.time()
            elif loop.time() - last > self.patience:
                self.why = f"no answer came for {self.patience:.0f} s"
                self.give_up()


async def send_rows(
    rows: Iterable[Row], planner: Planner, sender: Sender, progress: Callable[[int], None] = lambda _: None
) -> Account:
    """Every row accounted for. The first no of a row is its answer; what follows from it is not sent."""
    account = Account()
    back: dict[int, tuple[Row, str, str, str]] = {}
    room = asyncio.Semaphore(ROWS_AT_ONCE if len(planner.mapping.steps) > 1 else UNANSWERED)
    tasks: set[asyncio.Task[None]] = set()

    async def take(number: int, row: Row) -> None:
        begun = fresh = recorded = False
        try:
            for step in planner.steps(row):
                fresh = fresh or not step.known or step.sent.outcome is None
                outcome, reason, pointer, hint = await sender.ask(step)
                begun = True
                if outcome not in ("recorded", "unchanged"):
                    raise RowRefused(reason or outcome.upper(), pointer, hint)
                first_told = not step.known or sender.sent_before(step)
                recorded = recorded or (first_told and outcome == "recorded")
            account.recorded += fresh and recorded
            account.unchanged += fresh and not recorded
            account.already_answered += not fresh
        except RowRefused as no:
            account.reasons[no.reason] += 1
            back[number] = (row, no.reason, no.pointer, no.hint)
        except Unanswered:
            account.unanswered += 1
        except Stopped:
            account.stopped += begun
            account.not_sent += not begun
        finally:
            progress(1)
            room.release()

    for number, row in enumerate(rows):
        account.rows += 1
        if sender.stopped:
            account.not_sent += 1
            continue
        await room.acquire()
        task = asyncio.create_task(take(number, row))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if number % 500 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    account.why, account.interrupted = sender.why, sender.interrupted
    account.back = [back[number] for number in sorted(back)]
    return account
