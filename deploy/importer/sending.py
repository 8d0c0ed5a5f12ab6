"""Out with the submissions, in with the answers: rows side by side, the steps of a row one after the other."""

import asyncio
import json
import sqlite3
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import Again, Attributes, headers_of
from contracts.topics import Publisher, answers_topic, submissions_topic
from deploy.errors import FAULT, PARTLY, UNREACHABLE, Trouble
from deploy.importer.files import CsvFile, Row
from deploy.importer.plan import TAKEN_BACK, Planner, RowRefused, Step
from deploy.importer.store import Said, Store
from services.process.connections import KafkaSecurity
from services.process.ending import closed, ended

UNANSWERED = 20_000  # at most so many on their way: a services' outage must not fill the broker's disk and our memory
ROWS_AT_ONCE = 2_000  # each with one step on its way
BEGINS = 60.0  # seconds until Kafka has said what is asked first: an idempotent producer, and who wants a position, ask without end
ASK_AGAIN = "`lotse status`; then run the same import again"


class Back(NamedTuple):
    """A refused row, with reason, pointer, hint, and whether sending it again helps."""

    row: Row
    reason: str
    pointer: str
    hint: str
    way: Again


@dataclass
class Account:
    """What became of every row: recorded + unchanged + already answered + refused + unanswered + stopped + not sent = rows."""

    rows: int = 0
    """As the files were counted when they were looked through, before one was taken."""
    recorded: int = 0
    taken_back: int = 0
    """An end that stood no longer does: of those recorded, or of those refused that went on."""
    unchanged: int = 0
    already_answered: int = 0
    unanswered: int = 0
    stopped: int = 0
    """Stopped between two of their steps: what was sent is answered, the next step was not sent."""
    not_sent: int = 0
    broke: Trouble | None = None
    """Why we stopped before all were answered, if we did and nobody told us to."""
    interrupted: bool = False
    """Somebody told us to stop."""
    back: list[Back] = field(default_factory=list)
    """Refused rows, in the order of the files."""

    @property
    def reasons(self) -> Counter[str]:
        """How many were refused why."""
        return Counter(one.reason for one in self.back)

    @property
    def refused(self) -> int:
        """Rows with a no."""
        return len(self.back)

    @property
    def left(self) -> int:
        """Rows of which nobody knows yet what becomes of them: the next run asks."""
        return self.unanswered + self.stopped + self.not_sent

    @property
    def astray(self) -> int:
        """Rows that stand in no figure, or less than none where one stands in two. A fault of ours if it is not 0."""
        return self.rows - (self.recorded + self.unchanged + self.already_answered + self.refused + self.left)


class Unanswered(Exception):
    """No answer came, or no answer will be waited for any more."""


class Stopped(Exception):
    """Nothing more is sent, this step neither."""


class Answers(ABC):
    """Who is asked what becomes of a step."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stopped = self.interrupted = False
        self.broke: Trouble | None = None
        """Why it gave up, if it did and nobody told it to."""
        self._before = store.unanswered()
        """Sent by an earlier run that never saw the answers: they may stand on the topics, and are read before we ask."""

    @abstractmethod
    async def ask(self, step: Step) -> Said:
        """The answer. Raises Unanswered, Stopped."""

    def sent_before(self, step: Step) -> bool:
        """Whether an earlier run sent it and never saw its answer."""
        return step.sent.id in self._before

    def break_off(self, error: Exception) -> None:
        """Nothing more is asked, and `broke` says why."""
        self.stopped, self.broke = True, self.broke or _why(error, self.store)


class Nobody(Answers):
    """Who is asked in a dry run: what was answered is answered so again, all else as if it were recorded."""

    async def ask(self, step: Step) -> Said:
        """Without asking anybody."""
        return step.sent.said or Said("recorded")


def _why(error: Exception, store: Store) -> Trouble:
    """What an error means to who imports. Its text never goes on: it may quote a row."""
    name = type(error).__name__
    if isinstance(error, sqlite3.Error):
        return store.trouble(error)
    if isinstance(error, KafkaError | OSError):
        return Trouble(f"the conversation with Kafka broke off ({name})", ASK_AGAIN, UNREACHABLE)
    (step,) = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{Path(step.filename).name}:{step.lineno}"
    return Trouble(f"a fault of ours: {name} at {where}", "tell us; then run the same import again", FAULT)


class Sender(Answers):
    """Sends steps and hands out their answers. Raises Trouble where Kafka is silent."""

    def __init__(
        self, kafka: str, security: KafkaSecurity, publisher: Publisher, tenant: str, store: Store, patience: float
    ) -> None:
        super().__init__(store)
        self.kafka, self.security, self.publisher, self.tenant = kafka, security, publisher, tenant
        self.patience = patience
        self._asked: dict[str, asyncio.Future[Said]] = {}
        """Sent and not answered, by id: of what is answered the store knows."""
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
            async with asyncio.timeout(BEGINS):
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
        await closed(self._consumer)
        await ended(self._producer.stop())

    async def ask(self, step: Step) -> Said:
        """The answer. A submission several rows share is sent once. Raises Unanswered, Stopped."""
        if (known := step.sent.said) is not None:
            return known
        found = self._asked.get(step.sent.id)
        if found is None:
            if self.stopped:
                raise Stopped
            found = self._asked[step.sent.id] = asyncio.get_running_loop().create_future()
            self._new.append(step)
            self._wake.set()
        return await found

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

    def break_off(self, error: Exception) -> None:
        """Nothing more is sent or waited for, and `broke` says why: what was sent stays known as unanswered, and the next run
        sends it again under the same ids. Whatever it was, a row is never left without its figure, nor waited for in vain."""
        super().break_off(error)
        self.give_up()

    async def _go_on(self, part: Coroutine[Any, Any, None]) -> None:
        """Half of the conversation. Where it ends, so does the other."""
        try:
            await part
        except Exception as error:  # whatever it is: nobody else would end the wait for what is on its way
            self.break_off(error)

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
                    answers[id] = Said(*(said.get(name, "") for name in Said._fields))
            if answers:
                self.store.flush()
                self.store.answered(answers.items())
                for id, found in answers.items():
                    future = self._asked.pop(id, None)
                    if future is not None and not future.done():
                        future.set_result(found)
            if answers or all(future.done() for future in self._asked.values()):
                last = loop.time()
            elif loop.time() - last > self.patience:
                self.broke = self.broke or Trouble(f"no answer came for {self.patience:.0f} s", ASK_AGAIN, PARTLY)
                self.give_up()


async def send_rows(
    files: Sequence[CsvFile], planner: Planner, sender: Answers, progress: Callable[[int], None] = lambda _: None
) -> Account:
    """Every row accounted for. The first no of a row is its answer; what follows from it is not sent. Where nothing does
    (`RowRefused.goes_on`) the other steps go out, and it is the row's answer unless one of these has a no."""
    account = Account(rows=sum(file.rows for file in files))
    back: dict[int, Back] = {}
    room = asyncio.Semaphore(ROWS_AT_ONCE if len(planner.mapping.steps) > 1 else UNANSWERED)
    tasks: set[asyncio.Task[None]] = set()

    async def take(number: int, row: Row) -> None:
        begun = fresh = recorded = taken_back = False
        otherwise: RowRefused | None = None
        try:
            for step in planner.steps(row):
                fresh = fresh or not step.known or step.sent.outcome is None
                said = await sender.ask(step)
                begun = True
                if said.outcome not in ("recorded", "unchanged"):
                    no = planner.refused(step, said)
                    if not no.goes_on:
                        raise no
                    otherwise = otherwise or no
                    continue
                first_told = not step.known or sender.sent_before(step)
                recorded = recorded or (first_told and said.outcome == "recorded")
                taken_back = taken_back or (
                    first_told and said.outcome == "recorded" and step.sent.content == TAKEN_BACK
                )
            account.taken_back += taken_back
            if otherwise:
                raise otherwise
            account.recorded += fresh and recorded
            account.unchanged += fresh and not recorded
            account.already_answered += not fresh
        except RowRefused as no:
            back[number] = Back(row, no.reason, no.pointer, no.hint, no.way)
        except Unanswered:
            account.unanswered += 1
        except Stopped:
            account.stopped += begun
            account.not_sent += not begun
        except Exception as error:  # a memory that is damaged, a fault of ours
            sender.break_off(error)
            account.stopped += begun
            account.not_sent += not begun
        finally:
            room.release()
            progress(1)

    for number, row in enumerate(row for file in files for row in file.read()):
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
    account.broke, account.interrupted = sender.broke, sender.interrupted
    account.back = [back[number] for number in sorted(back)]
    return account
