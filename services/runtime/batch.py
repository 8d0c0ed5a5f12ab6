"""The way of one batch: one transaction, and where the data are at fault, halves of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from services.kept import errands
from services.kept.taking_up import quarantined
from services.runtime import clock, positions
from services.runtime.database import Connection
from services.runtime.messages import Message, Part
from services.runtime.node import Node
from services.runtime.work import NOT_THE_DATA, BeginAgain, Work, transact


class Around(NamedTuple):
    """What the host adds to a batch: what it does around each transaction, and what it knows of the inputs."""

    settled: Callable[[Sequence[Message], Work], Awaitable[None]]
    """Called after each transaction."""
    broken: Callable[[Message, Exception], None]
    """Called with the one message our rules could not bear, before it is kept."""
    ends: str
    """JSON: [topic, partition, end] of each input, as it stood when the batch was fetched; none where it holds no tick."""
    stood: Mapping[Part, int]
    """Where rows were seen to stand. One that stands lower now is of a database that was set back, and its batch is astray."""


async def apply(
    node: Node, messages: Sequence[Message], contiguous: Mapping[Part, int], lasts: Mapping[Part, int], around: Around
) -> None:
    """Applies messages, one at least, in one transaction; if the data are at fault, again in halves, each a whole transaction, down to one
    message, which is kept alone. `contiguous`: where the consumer was sent or has read to; `lasts`: where each partition
    stands afterwards. Raises Astray, and what infrastructure raises (`NOT_THE_DATA`); then nothing was applied."""
    try:
        work = await transact(node, lambda con, known: _walk(node, con, messages, contiguous, lasts, around, known))
    except NOT_THE_DATA:
        raise
    except Exception as error:
        if len(messages) == 1:
            around.broken(messages[0], error)
            return await quarantined(node, messages[0], error)
        middle = len(messages) // 2
        await apply(node, messages[:middle], contiguous, {}, around)
        read_to = {m.part: m.offset + 1 for m in messages[:middle]}
        return await apply(node, messages[middle:], {**contiguous, **read_to}, lasts, around)
    await around.settled(messages, work)


async def _walk(
    node: Node, con: Connection, messages: Sequence[Message], contiguous: Mapping[Part, int], lasts: Mapping[Part, int],
    around: Around, known: BeginAgain,
) -> Work:  # fmt: skip
    """Positions, alliances, states, heard, claims, rules, save; all of it or none."""
    first = {message.part: message.offset for message in reversed(messages)}
    last = {message.part: message.offset + 1 for message in messages}
    position = dict.fromkeys(first, positions.NOWHERE) | await positions.lock(con, first)
    # Only a batch that begins above its row is astray. One that begins below it is another worker's shadow: what the
    # other applied is dropped. (Sought away each time, the slower of two workers would never apply anything.)
    astray = {p: position[p] for p, at in first.items() if at > position[p] and contiguous.get(p) != position[p]}
    astray |= {p: at for p, at in position.items() if at < around.stood.get(p, 0)}
    if astray:
        raise positions.Astray(astray)
    fresh = [m for m in messages if m.offset >= position[m.part]]
    work = Work(node, con)
    await work.open([m for m in fresh if m.input.kind in ("fact", "submission")], known)
    for message in [m for m in fresh if m.input.kind == "fact"]:
        await work.learn(message)
    for message in await work.claim([m for m in fresh if m.input.kind == "submission"]):
        await work.judge(message)
    for message in [m for m in fresh if m.input.kind == "time"]:
        await clock.store(con, message, around.ends, simulated=node.simulated_time)
    work.claims = await errands.claim(con, node, [m for m in fresh if m.input.kind == "own"])
    await work.save()
    await positions.move(con, {p: to for p, at in last.items() if (to := lasts.get(p, at)) > position[p]})
    return work
