"""What an app declares. The runtime walks, the same way for batches, ticks and sweeps."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from contracts.envelope import Decision, Fact, Recorded, Submission
from services.runtime.database import Rows, Table

if TYPE_CHECKING:
    import fastapi

State = Any
"""A dataclass of the service's domain with `id`, `tenant` first and a class attribute `shape`."""

Name = tuple[str, str]
"""(kind, id) of a state."""

Given = tuple[str, str]
"""An id and the subject that made it known. The id of what is no subject itself, as of a consent, counts within that one alone."""


@dataclass(frozen=True)
class Errand:
    """A side effect on the world: the attempt is a fact first, then claimed, made once, and its result recorded."""

    fact: type[Fact]
    attempts: Callable[[State, datetime, Collection[str]], list[Fact]]
    """What the world has not been told. Asked only at a tick, and only where react is silent: between ticks half of a correction may
    have been heard. `due` says at which tick a state is asked. Nothing is to be said of the subjects named, in quarantine or with a
    fact that is missing: what is known of them is not all there is."""
    perform: Callable[[Recorded], Awaitable[Fact]]
    uncertain: Callable[[Any], Fact]
    """What is recorded of an attempt (its fact) nobody knows the end of."""
    too_old: Callable[[Any], Fact]
    """What is recorded of one that waited until nobody knows whether it is still true: certainly not made."""


@dataclass(frozen=True)
class Reports:
    """Releases taken at ticks, each under a new key."""

    topic: str
    take: Callable[[Any, str, datetime], Awaitable[Sequence[Any]]]
    learn: Callable[[Any, str, bytes], Awaitable[None]]
    known: Callable[[Any, Sequence[str]], Awaitable[set[str]]]
    """Those of these keys under which it keeps a release."""
    table: Table
    """Where they are kept as they were published."""


@dataclass(frozen=True)
class Service:
    """A service as its app declares it."""

    name: str
    states: Mapping[str, type]
    learns: tuple[type[Fact], ...]
    """Facts of others that it folds. Of the other facts of these families only the number counts; no body is read. What is added here
    is learnt of the past by a rebuild."""
    owns: tuple[ModuleType, ...]
    evolve: Callable[[State, Fact, str], None]
    view: Callable[[State], Rows]
    decide: Sequence[Callable[..., Decision]] = ()
    react: Callable[[State, datetime], list[Fact]] = lambda _state, _ticked: []
    due: Callable[[State, datetime], datetime | None] = lambda _state, _ticked: None
    tables: tuple[Table, ...] = ()
    routes: "Callable[[asyncpg.Pool], fastapi.APIRouter] | None" = None
    errand: Errand | None = None
    reports: Reports | None = None
    findings: Callable[[Any], Awaitable[list[str]]] | None = None
    """What a person should look at, for /status; asks the given connection."""

    @cached_property
    def types(self) -> dict[str, type[Fact] | type[Submission]]:
        """Wire type to class: facts own and learned, submissions of own families."""
        own = (kind for module in self.owns for kind in (*module.FACTS, *module.SUBMISSIONS))
        return {kind.ce_type: kind for kind in (*self.learns, *own)}

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """Families others own."""
        return tuple(dict.fromkeys(fact.family for fact in self.learns))

    @cached_property
    def owned(self) -> tuple[str, ...]:
        """Families this service owns."""
        return tuple(module.FAMILY for module in self.owns)

    @cached_property
    def is_spoken_to(self) -> bool:
        """Whether it takes submissions, which may rest on ids that somebody made known."""
        return any(module.SUBMISSIONS for module in self.owns)

    @cached_property
    def hints(self) -> dict[tuple[str, str], str]:
        """(family, reason) to the sentence that says the way out."""
        return {(module.FAMILY, code): text for module in self.owns for code, text in module.REASONS.items()}

    @cached_property
    def decisions(self) -> dict[type[Submission], tuple[Callable[..., Decision], tuple[Name, ...]]]:
        """Submission class to (the function that decides it, its (parameter, kind of state) in order), read off its
        annotations; of a parameter that is a moment the kind is empty: `said_at` (ce_time) or `arrived` (the broker's time).
        Every submission of an own family must have one."""
        kinds = {cls: kind for kind, cls in self.states.items()}
        found: dict[type[Submission], tuple[Callable[..., Decision], tuple[Name, ...]]] = {}
        for call in self.decide:
            hints = typing.get_type_hints(call)
            first, *rest = inspect.signature(call).parameters
            found[hints[first]] = (call, tuple((name, kinds.get(hints[name], "")) for name in rest))
        undecided = [s.__name__ for module in self.owns for s in module.SUBMISSIONS if s not in found]
        if undecided:
            raise TypeError(f"{self.name} decides nothing about {', '.join(undecided)}")
        return found

    @cached_property
    def _names_by_class(self) -> dict[type, tuple[str, list[tuple[str, Any]]]]:
        """Class to its subject's kind and, for every other kind, the field (submission) or function (fact) that names it.
        Looked up once a class: asking a pydantic model for what it lacks costs 5 us a time."""
        found: dict[type, tuple[str, list[tuple[str, Any]]]] = {}
        for cls in self.types.values():
            others = [(kind, state) for kind, state in self.states.items() if kind != cls.subject_kind]
            if cls.is_fact:
                named = [(kind, of) for kind, state in others if (of := getattr(state, "of", None))]
            else:
                named = [(kind, f"{kind}_id") for kind, _ in others if f"{kind}_id" in cls.model_fields]
            found[cls] = (cls.subject_kind, named)
        return found

    @cached_property
    def _gives_by_class(self) -> dict[type, tuple[str, ...]]:
        """Class to the fields (or `subject`) whose ids it makes known: a fact by what it `gives`, a submission by what its fact may.
        None of a service nobody submits to: nothing can rest on them."""
        if not self.is_spoken_to:
            return dict.fromkeys(self.types.values(), ())
        found: dict[type, tuple[str, ...]] = {c: tuple(c.gives) for c in self.types.values() if issubclass(c, Fact)}
        given = {name for names in found.values() for name in names}
        for cls in self.types.values():
            if issubclass(cls, Submission):
                found[cls] = tuple(sorted((given & {"subject", *cls.model_fields}).difference(cls.rests_on())))
        return found

    def names_of(self, body: Fact | Submission, subject: str, tenant: str) -> list[Name]:
        """(kind, id) of each state a message needs. A submission names its subject's first, then `<kind>_id` of every other
        kind; a fact reaches its subject's, and what a state class says by `of`."""
        own, others = self._names_by_class[type(body)]
        found = [(own, subject)] if own in self.states else []
        if body.is_fact:
            return found + [(kind, id) for kind, of in others for id in of(body, tenant)]
        return found + [(kind, id) for kind, name in others if (id := getattr(body, name))]

    def made_known(self, body: Fact | Submission, subject: str) -> list[Given]:
        """What a fact makes known, or a submission may: ids it names without resting on them."""
        names = self._gives_by_class[type(body)]
        return [(id, subject) for name in names if (id := subject if name == "subject" else getattr(body, name))]

    @cached_property
    def shapes(self) -> dict[str, int]:
        """Kind to the shape of its states, as this version writes them."""
        return {kind: cls.shape for kind, cls in self.states.items()}  # type: ignore[attr-defined]  # each has one (house 8)

    @cached_property
    def read_state(self) -> dict[str, Callable[[str], State]]:
        """Kind to the function that reads a state from its row."""
        return {kind: msgspec.json.Decoder(cls).decode for kind, cls in self.states.items()}
