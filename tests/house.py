"""The house that several tests share: each finds it whole, or is told which test broke it."""

import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from deploy.errors import Trouble
from deploy.fleet import Fleet, Setup
from deploy.local.processes import Process
from deploy.local.stack import LocalStack
from deploy.places import EXAMPLES, SERVICES

PUBLISHERS = EXAMPLES / "publishers.toml"
ORGANISATIONS = EXAMPLES / "organisations.toml"
PATIENCE = 60.0
"""Seconds a service may take to say how it is: where nothing is wrong they are not waited, and a busy machine has taken five."""


class House(Fleet):
    """Services on simulated time. It knows who was started otherwise than for all, and which tests failed in it."""

    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack, Setup(PUBLISHERS, ORGANISATIONS, simulated=True, testing=True), patience=PATIENCE)
        self.changed = set[str]()
        self.failed = list[str]()
        self.lost = ""
        """Why it can't be made whole any more."""

    def start_one(self, name: str, **more: str) -> Process:
        """Starts one (again); with more settings it is another than all tests but one expect."""
        (self.changed.add if more else self.changed.discard)(name)
        return super().start_one(name, **more)

    def status(self, name: str, patience: float = PATIENCE) -> dict[str, Any]:
        """All that a service says, unless it does not run."""
        return super().status(name, patience)

    def ended(self) -> dict[str, str]:
        """Services that do not run, and their last words."""
        return {name: self.processes[name].last_words() for name in SERVICES if self.processes[name].pid is None}

    def mended(self, *names: str) -> None:
        """These services run as they were started for all; nobody is frozen, and no mail is kept from being acknowledged. Raises
        Trouble."""
        self.stack.mail_hold.unlink(missing_ok=True)
        for name in SERVICES:
            if (pid := self.processes[name].pid) is not None:
                os.kill(pid, signal.SIGCONT)
        for name in names:
            self.processes[name].stop()
            self.start_one(name)
        for name in names:
            self.wait_ready(name, or_older=True)


HOUSES: list[House] = []
"""Those that stand now."""
FAILED = pytest.StashKey[bool]()


def shared(house: House, item: pytest.Item) -> bool:
    """Whether a test is in this house: another may stand beside it, in which nobody else is."""
    return any(value is house for value in getattr(item, "funcargs", {}).values())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside what fails in a house stands who failed in it before: what that one left there may be all that is wrong."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        before = [house.failed[0] for house in HOUSES if house.failed and shared(house, item)]
        report.sections += [("The house it shares", f"{first} failed in it before: begin there") for first in before]
    return report


@pytest.fixture(autouse=True)
def whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """Behind a test every service of its house runs, or the test says why not. (One failed between a service's end and its start; four more
    failed for want of that service, and hid the cause.) Where nothing is wrong nothing is done."""
    for house in HOUSES:
        if house.lost:
            pytest.fail(house.lost, pytrace=False)
    yield
    test, failed = request.node.nodeid, request.node.stash.get(FAILED, False)
    for house in HOUSES:
        ended = house.ended()
        if failed and shared(house, request.node):
            house.failed.append(test)
        try:
            house.mended(*sorted({*ended} | (house.changed if failed else set())))
        except Trouble as trouble:
            house.lost = f"the house was lost in {test}: {trouble}"
            pytest.fail(house.lost, pytrace=False)
        if ended and not failed:
            pytest.fail("\n".join(f"{name} does not run any more: {words}" for name, words in ended.items()))
