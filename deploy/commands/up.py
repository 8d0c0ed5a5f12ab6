"""`lotse up`: everything on this machine. Not for production."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import click

from deploy.errors import INTERRUPTED, REFUSED, Trouble
from deploy.fleet import Fleet, Setup
from deploy.local.announced import announce, claimed, is_up, withdraw
from deploy.local.stack import LocalStack
from deploy.places import EXAMPLES, SERVICES, STATE
from deploy.printed import formats, plain, printed
from deploy.saying import say


@click.command()
@click.option("--ephemeral", is_flag=True, help="A stack in a temporary folder, gone when it stops.")
@click.option(
    "--publishers",
    type=click.Path(path_type=Path, exists=True),
    default=EXAMPLES / "publishers.toml",
    show_default="deploy/examples/publishers.toml",
    help="Who may publish; read at the start, which makes their topics.",
)
@click.option(
    "--organisations",
    type=click.Path(path_type=Path, exists=True),
    default=EXAMPLES / "organisations.toml",
    show_default="deploy/examples/organisations.toml",
    help="Where each office reads its mail; read at the start.",
)
@click.option("--simulated-time", is_flag=True, help="Accept ticks of the past, and start no clock.")
@formats
def app(ephemeral: bool, publishers: Path, organisations: Path, simulated_time: bool, shape: str) -> int:
    """Start Kafka, Postgres, the mail sink, the four services and the clock; Ctrl-C stops all, a second one at once. State
    lives in LOTSE_STATE; unset in .lotse/."""
    if is_up():
        raise Trouble("a stack is up already", "`lotse status` shows it; Ctrl-C in its window stops it", REFUSED)
    if not claimed():
        raise Trouble("a stack is starting already", "wait for it; `lotse status` shows it then", REFUSED)
    stack = LocalStack.ephemeral() if ephemeral else LocalStack(STATE / "stack")
    fleet = Fleet(stack, Setup(publishers.resolve(), organisations.resolve(), simulated=simulated_time))
    stop = threading.Event()

    def asked(*_: object) -> None:
        if stop.is_set():  # the second time at once: the next start finds its data
            stack.drop()
            os._exit(INTERRUPTED)
        stop.set()
        with contextlib.suppress(RuntimeError):  # it may come while a line is being written
            say.print("stopping; Ctrl-C again ends it at once")

    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, asked)
    failed: Trouble | None = None
    try:
        with say.status("starting ...") as shown:

            def starting(what: str) -> None:
                if stop.is_set():
                    raise KeyboardInterrupt
                shown.update(f"starting {what} ...")

            stack.start(starting)
            fleet.start(starting)
        addresses = announce(fleet, STATE)
        rows = [
            {"part": name, "address": address} for name, address in {**addresses, "mails": stack.mail_folder}.items()
        ]
        printed(shape, rows, people=["Lotse is up. Not for production.", plain(rows, ("part", "address"))])
        for name in SERVICES:
            if why := fleet.to_rebuild(name):
                say.print(f"{name} does not serve: {why}; `./lotse rebuild {name}` mends it")
        say.print("Ctrl-C stops all; `./lotse status` in another window shows what every part does")
        while not stop.wait(0.5):
            for process in (*stack.processes.values(), *fleet.processes.values()):
                process.alive_or_raise()
    except Trouble as trouble:
        if stop.is_set():  # a terminal tells initdb and a download, too
            raise KeyboardInterrupt from None
        failed = trouble
        raise
    finally:
        withdraw()
        fleet.stop()
        stack.stop(failed)
    return 0
