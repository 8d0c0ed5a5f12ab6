"""Sends a feed at a rate, and where time is simulated the ticks of its days."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.envelope import Tick
from deploy.errors import UNREACHABLE, Trouble
from deploy.sandbox.feed import Sending
from deploy.saying import say
from services.clock import publish
from services.process.connections import KafkaSecurity
from services.process.ending import ended

BREATH = 0.02  # seconds between two looks at what is due: at most so much is sent in one go
WAITS_AT_MOST = timedelta(days=8)
"""After the last day the clock goes on so far: what rests on something nobody will send is answered, too."""
PATIENT = 60.0  # seconds until somebody who watches is told for whom it waits
AT_ONCE = 500  # messages, where no rate is set
BEHIND = (
    0.2  # seconds that are made up for; after a broker that took two to answer a hundred came at once, at 50 a second
)


async def send(
    messages: Sequence[Sending], kafka: str, security: KafkaSecurity, rate: float, stop: threading.Event, *,
    unacted: Callable[[int], list[str]] | None = None, progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:  # fmt: skip
    """Sends until all is sent or `stop` is set; each message is acknowledged. Gives back how many of each kind were sent.

    `rate` is messages a second, 0 as fast as Kafka takes them. `unacted` names the services that have not acted on the tick at an
    offset yet; with it the ticks of the days are sent, too. Raises Trouble where Kafka does not answer.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, enable_idempotence=True, linger_ms=5, client_id="sandbox", **security.aiokafka()
    )
    sent: Counter[str] = Counter()
    try:
        await producer.start()
        began = time.monotonic()
        tick = _evening(messages[0].at) if messages else None
        while (done := sent.total()) < len(messages) and not stop.is_set():
            if rate:
                began = max(began, time.monotonic() - done / rate - BEHIND)
            due = int((time.monotonic() - began) * rate) + 1 if rate else done + AT_ONCE
            chunk = messages[done : min(due, done + AT_ONCE)]
            if unacted and tick and chunk and chunk[0].at > tick:
                await publish(producer, Tick(at=tick))
                tick += timedelta(days=1)
                continue
            if unacted and tick:
                chunk = [message for message in chunk if message.at <= tick]
            acks = [await producer.send(one.topic, one.value, key=one.key, headers=one.headers) for one in chunk]
            await asyncio.gather(*acks)
            sent.update(message.what for message in chunk)
            progress(len(chunk))
            if rate:
                await asyncio.sleep(BREATH)
        if unacted and tick and sent.total() == len(messages):
            last = await publish(producer, Tick(at=tick))
            # of two ticks that wait the later is acted on alone: no day would have gone by
            patient_until = time.monotonic() + PATIENT
            while not stop.is_set() and (names := await asyncio.to_thread(unacted, last)):
                if time.monotonic() > patient_until:
                    say.print(f"waiting for {', '.join(names)} to act on the last day; `lotse status` says what stands")
                    patient_until += PATIENT
                await asyncio.sleep(0.2)
            await publish(producer, Tick(at=tick + WAITS_AT_MOST))
    except (KafkaError, OSError) as error:
        raise Trouble(f"Kafka does not take the feed ({type(error).__name__})", "`lotse doctor`; check --kafka and the rights",
                      UNREACHABLE) from None  # fmt: skip
    finally:
        await ended(producer.stop())
    return sent


def _evening(moment: datetime) -> datetime:
    """The tick of a day of the play: 23:00 UTC."""
    return datetime.combine(moment.date(), datetime.min.time(), UTC) + timedelta(hours=23)
