"""`lotse sandbox`: a feed of nobody's data for whoever develops against Lotse."""

import asyncio
import contextlib
import ipaddress
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from contracts.topics import SUBMITTED, Publisher, submissions_topic
from deploy.demo.kreis import MOST_WEEKS, Kreis
from deploy.demo.play import TENANT
from deploy.errors import DONE, FINDINGS, INTERRUPTED, REFUSED, USAGE, Trouble
from deploy.feeds.log import opened
from deploy.fleet import Fleet, Setup, ephemeral
from deploy.installation import Installation, kafka_settings
from deploy.local.announced import announce, claimed, is_up, withdraw
from deploy.places import EXAMPLES, SERVICES, STATE
from deploy.printed import Wrong, formats, printed
from deploy.progress import counted
from deploy.sandbox.feed import Dials, Sending, feed
from deploy.sandbox.sending import send
from deploy.saying import say
from deploy.services import publishers_from
from services.process.connections import KafkaSecurity

SHARE = click.FloatRange(0, 1)


@click.command()
@click.option(
    "--rate",
    type=click.FloatRange(0, 20_000),
    default=50.0,
    show_default=True,
    help="Messages a second; 0: as fast as it goes.",
)
@click.option("--seed", default=2019, show_default=True, help="Same seed, same bytes.")
@click.option("--persons", type=click.IntRange(1, 20_000), default=250, show_default=True)
@click.option("--weeks", type=click.IntRange(1, MOST_WEEKS), default=12, show_default=True)
@click.option("--duplicates", type=SHARE, default=0.0, metavar="P", help="Share delivered once more, within two days.")
@click.option("--disorder", type=SHARE, default=0.0, metavar="P", help="Share sent after the messages that rest on it.")
@click.option("--late", type=SHARE, default=0.0, metavar="P", help="Share told 1 to 10 days late.")
@click.option("--malformed", type=SHARE, default=0.0, metavar="P", help="Share followed by a message nobody can read.")
@click.option("--unknown-fields", type=SHARE, default=0.0, metavar="P", help="Share with a field no schema knows.")
@click.option("--next-minor", is_flag=True, help="Write all messages as a sender one minor version ahead would.")
@click.option(
    "--kafka",
    metavar="ADDRESS",
    help="Publish to this Kafka (with LOTSE_KAFKA_SECURITY) instead of a stack of its own.",
)
@click.option(
    "--for-tests-only",
    is_flag=True,
    help="Confirm that a Kafka on another machine is for tests: its log keeps everything for ever.",
)
@click.option("--publishers", "file", type=click.Path(path_type=Path, exists=True), default=EXAMPLES / "publishers.toml",
              show_default=False, help="publishers.toml of the installation; the example's, unless given.")  # fmt: skip
@click.option(
    "--publisher", "name", default="kreis", show_default=True, help="The publisher in whose name it publishes."
)
@click.option("--dry-run", is_flag=True, help="Write the messages to stdout as JSON lines; no Kafka.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the messages to this file; no Kafka."
)
@formats
def app(
    rate: float, seed: int, persons: int, weeks: int, duplicates: float, disorder: float, late: float, malformed: float,
    unknown_fields: float, next_minor: bool, kafka: str | None, for_tests_only: bool, file: Path, name: str, dry_run: bool,
    out: Path | None, shape: str,
) -> int:  # fmt: skip
    """Publish an invented Kreis at a set rate, with dials for what goes wrong in real feeds. Nobody in it exists.

    Without --kafka it starts a stack of its own with all services and simulated time, says where it listens, plays its days and
    stays until Ctrl-C, so that a subscriber can be tried against it; nothing is kept. The days lie in 2025. Lines of --dry-run
    and --out are records as `kcat -J` prints them: `lotse sandbox --dry-run | lotse validate`.

    Exit codes: 0 all was sent, 1 its topics are missing, 2 usage, 3 Kafka does not answer, 4 refused, 130 interrupted before all was sent.
    """
    dials = Dials(duplicates, disorder, late, malformed, unknown_fields, next_minor)
    publisher = _publisher(file, name)
    if kafka:
        _is_for_tests(kafka, for_tests_only)
    messages = feed(Kreis(persons, weeks, seed), publisher, TENANT, dials)
    if dry_run or out:
        return _written(messages, out, shape)
    stop = threading.Event()
    if kafka:
        house = Installation(kafka, kafka_settings().kafka_security, file, STATE, local=False)
        asyncio.run(_has_topics(house, publisher))
        with _stops(stop):
            sent = _sent(messages, house, rate, stop)
        return _told(messages, sent, shape)
    # While it starts and stops, too: killed there it would leave its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ours = claimed() and not is_up()
    setup = Setup(file.resolve(), EXAMPLES / "organisations.toml", simulated=True)
    with ephemeral(setup) as fleet, _announced(fleet, ours), _stops(stop):
        house = Installation(fleet.stack.kafka, KafkaSecurity(), file, fleet.stack.folder, local=True)
        sent = _sent(messages, house, rate, stop,
                     unacted=lambda tick: [name for name in SERVICES if not fleet.has_acted(name, tick)])  # fmt: skip
        if not stop.is_set():
            say.print("all is sent; the stack stays until Ctrl-C")
            stop.wait()
    return _told(messages, sent, shape)


def _publisher(file: Path, name: str) -> Publisher:
    publisher = publishers_from(file).get(name)
    if publisher is None or not set(SUBMITTED) <= set(publisher.families) or TENANT not in publisher.tenants:
        raise Trouble(f"{name} can't publish a Kreis", f"in {file} it needs the families {', '.join(SUBMITTED)} and the tenant {TENANT}",
                      USAGE)  # fmt: skip
    return publisher


def _is_for_tests(kafka: str, confirmed: bool) -> None:
    """Facts are kept for ever: invented people must not get into a log of real ones by a slip."""
    for address in kafka.split(","):
        host = address.strip().rpartition(":")[0].strip("[]")
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host).is_loopback:
                continue
        if host != "localhost" and not confirmed:
            raise Trouble(f"{kafka} is another machine's, and its log keeps invented people for ever",
                          "--for-tests-only, if that installation is for tests", REFUSED)  # fmt: skip


async def _has_topics(house: Installation, publisher: Publisher) -> None:
    topics = {submissions_topic(family, publisher.name) for family in SUBMITTED}
    async with opened(house.kafka, house.security, "sandbox") as log:
        missing = await log.missing(topics)
    if missing:
        raise Trouble(f"{', '.join(missing)}: not there, or not for this user", "`lotse topics`, with LOTSE_KAFKA and LOTSE_PUBLISHERS",
                      FINDINGS)  # fmt: skip


@contextlib.contextmanager
def _stops(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C ends cleanly, the second at once."""

    def asked(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {sign: signal.signal(sign, asked) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, was in before.items():
            signal.signal(sign, was)


@contextlib.contextmanager
def _announced(fleet: Fleet, ours: bool) -> Iterator[None]:
    """Other commands find this stack where it is ours to announce; people are told where it is either way."""
    kafka, asks = fleet.stack.kafka, "`lotse sources`, `lotse status`, `lotse answer kreis ID` ask about it"
    if ours:
        announce(fleet, STATE)
    else:
        asks = ("these ask about it: `lotse sources`, `lotse answer kreis ID`, each with"
                f" LOTSE_KAFKA={kafka} LOTSE_PUBLISHERS={fleet.setup.publishers}; without these, about another stack, which is up")  # fmt: skip
    say.print(f"Kafka listens at {kafka}; {asks}")
    try:
        yield
    finally:
        if ours:
            withdraw()


def _sent(
    messages: list[Sending], house: Installation, rate: float, stop: threading.Event,
    unacted: Callable[[int], list[str]] | None = None,
) -> Counter[str]:  # fmt: skip
    say.print(f"{len(messages):,} messages" + (f" at {rate:g}/s, {len(messages) / rate / 60:.0f} min" if rate else ""))
    with counted("sandbox", len(messages), "messages") as progress:
        return asyncio.run(send(messages, house.kafka, house.security, rate, stop, unacted=unacted, progress=progress))


def _rows(counts: Counter[str]) -> list[dict[str, Any]]:
    return [{"what": what, "messages": n} for what, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _written(messages: list[Sending], out: Path | None, shape: str) -> int:
    if out is None:
        for message in messages:
            click.echo(message.line())
        say.print(f"{len(messages):,} messages")
        return DONE
    try:
        with out.open("w", encoding="utf-8") as file:
            file.writelines(message.line() + "\n" for message in messages)
    except OSError as error:
        raise Trouble(f"{out} can't be written ({type(error).__name__})", "name another file", USAGE) from None
    printed(shape, _rows(Counter(message.what for message in messages)))
    return DONE


def _told(messages: list[Sending], sent: Counter[str], shape: str) -> int:
    whole = sent.total() == len(messages)
    rest = len(messages) - sent.total()
    wrong = (
        []
        if whole
        else [Wrong("INTERRUPTED", f"{rest} messages were not sent", "the same seed sends the same again: harmless")]
    )
    printed(shape, _rows(sent), columns=("what", "messages"), errors=wrong)
    return DONE if whole else INTERRUPTED
