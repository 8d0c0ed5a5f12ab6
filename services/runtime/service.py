"""What an app declares. The runtime walks, the same way for batches, ticks and sweeps."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import ModuleType
from typing import Any

import asyncpg
import fastapi
import msgspec

from contracts.envelope import Decision, Fact, Recorded, Submission
from services.runtime.database import Rows, Table, encode

State = Any
"""A dataclass of the service's domain with `id`, `tenant` first and a class attribute `shape`."""


@dataclass(frozen=True)
class Errand:
    """A side effect on the world: the attempt is a fact first, then claimed, made once, and its result recorded."""

    fact: type[Fact]
    perform: Callable[[Recorded], Awaitable[Fact]]
    uncertain: Callable[[Recorded], Fact]


@dataclass(frozen=True)
class Reports:
    """Releases taken at ticks, each under a new key."""

    topic: str
    take: Callable[[Any, str, datetime], Awaitable[Sequence[Any]]]
    learn: Callable[[Any, str, bytes], Awaitable[None]]


@dataclass(frozen=True)
class Deciding:
    """One decision, read off the function's annotations."""

    call: Callable[..., Decision]
    kinds: tuple[tuple[str, str], ...]
    """(parameter, kind of state) in order."""


@dataclass(frozen=True)
class Service:
    """A service as its app declares it."""

    name: str
    states: Mapping[str, type]
    learns: tuple[ModuleType, ...]
    owns: tuple[ModuleType, ...]
    evolve: Callable[[State, Fact, str], None]
    view: Callable[[State], Rows]
    decide: Sequence[Callable[..., Decision]] = ()
    react: Callable[[State, datetime], list[Fact]] = lambda _state, _ticked: []
    due: Callable[[State], datetime | None] = lambda _state: None
    tables: tuple[Table, ...] = ()
    routes: Callable[[asyncpg.Pool], fastapi.APIRouter] | None = None
    errand: Errand | None = None
    reports: Reports | None = None
    note: Callable[[Any], Awaitable[list[str]]] | None = None
    """Findings a person should look at, for /status; asks the given connection."""

    @cached_property
    def fact_types(self) -> dict[str, type[Fact]]:
        """Wire type to class, own and learned."""
        return {fact.ce_type: fact for module in (*self.learns, *self.owns) for fact in module.FACTS}

    @cached_property
    def submission_types(self) -> dict[str, type[Submission]]:
        """Wire type to class."""
        return {kind.ce_type: kind for module in self.owns for kind in module.SUBMISSIONS}

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """Families others own."""
        return tuple(module.FAMILY for module in self.learns)

    @cached_property
    def owned(self) -> tuple[str, ...]:
        """Families this service owns."""
        return tuple(module.FAMILY for module in self.owns)

    @cached_property
    def hints(self) -> dict[tuple[str, str], str]:
        """(family, reason) to the sentence that says the way out."""
        return {(module.FAMILY, code): text for module in self.owns for code, text in module.REASONS.items()}

    @cached_property
    def decisions(self) -> dict[type[Submission], Deciding]:
        """Submission class to the function that decides it. Every submission of an own family must have one."""
        kinds = {cls: kind for kind, cls in self.states.items()}
        found: dict[type[Submission], Deciding] = {}
        for call in self.decide:
            hints = typing.get_type_hints(call)
            names = list(inspect.signature(call).parameters)
            found[hints[names[0]]] = Deciding(
                call, tuple((name, kinds[hints[name]]) for name in names[1:] if hints[name] in kinds)
            )
        undecided = [cls.__name__ for cls in self.submission_types.values() if cls not in found]
        if undecided:
            raise TypeError(f"{self.name} decides nothing about {', '.join(undecided)}")
        return found

    @cached_property
    def _given_names(self) -> frozenset[str]:
        return frozenset(name for fact in self.fact_types.values() for name in fact.gives if name != "subject")

    def could_give(self, submission: Submission, subject: str) -> list[str]:
        """Ids this submission may make known: those it names without resting on them."""
        rests = submission.rests_on()
        ids = [] if "subject" in rests else [subject]
        return ids + [
            value for name in self._given_names if name not in rests and (value := getattr(submission, name, None))
        ]

    def named_states(self, submission: Submission, subject: str) -> list[tuple[str, str]]:
        """(kind, id) of each state a submission names: its subject's, and `<kind>_id` for every other kind."""
        own = submission.subject_kind
        named = [(own, subject)]
        for kind in self.states:
            if kind != own and (id := getattr(submission, f"{kind}_id", None)):
                named.append((kind, id))
        return named

    def reached_states(self, fact: Fact, subject: str, tenant: str) -> list[tuple[str, str]]:
        """(kind, id) of each state a fact reaches: its subject's, or what the state class says by `of`."""
        reached: list[tuple[str, str]] = []
        for kind, cls in self.states.items():
            if kind == fact.subject_kind:
                reached.append((kind, subject))
            elif of := getattr(cls, "of", None):
                reached.extend((kind, id) for id in of(fact, tenant))
        return reached

    @cached_property
    def _decoders(self) -> dict[str, Any]:
        return {kind: msgspec.json.Decoder(cls) for kind, cls in self.states.items()}

    def read_state(self, kind: str, body: str) -> State:
        """A state from its row."""
        return self._decoders[kind].decode(body)

    def write_state(self, state: State) -> str:
        """A state for its row: keys sorted, so that equal states are equal bytes."""
        return encode(state).decode()
