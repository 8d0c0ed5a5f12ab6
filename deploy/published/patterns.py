"""Whether every text one pattern takes is taken by another: decided, with the shortest text that is not as a proof.

JSON Schema compares patterns by nothing but trying them; a gate must know of all texts at once. A pattern here is what
our contracts write: characters, sets, repetitions, alternatives, anchored or not. What looks ahead or back is Unjudged.
"""

import re
import re._constants as sre  # type: ignore[import-not-found]  # the parser of `re`, without stubs
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from functools import cache
from typing import Any

LAST = 0x10FFFF
MOST_STATES = 20_000
"""Beyond it a proof would take seconds; a pattern of ours with a repetition of 128 has some 130."""

Span = tuple[int, int]
Edges = dict[int, list[tuple[Span, int]]]


class Unjudged(Exception):
    """What this gate cannot decide; the text says what it is."""


class Automaton:
    """What a pattern takes, as states and the spans of characters that lead on. State 0 is where it begins."""

    def __init__(self, pattern: str) -> None:
        self.edges: Edges = {}
        self.silent: dict[int, list[int]] = {}
        self.count = 1
        try:
            steps = list(parser.parse(pattern))
        except (re.error, RecursionError, OverflowError):
            raise Unjudged(f"the pattern {pattern}") from None
        begins = bool(steps) and steps[0] == (sre.AT, sre.AT_BEGINNING)
        ends = bool(steps) and steps[-1] == (sre.AT, sre.AT_END)
        at = 0 if begins else self._any(0)
        at = self._walk(steps[begins : len(steps) - ends], at)
        self.end = at if ends else self._any(at)

    def _new(self) -> int:
        self.count += 1
        if self.count > MOST_STATES:
            raise Unjudged("a pattern of so many repetitions")
        return self.count - 1

    def _any(self, at: int) -> int:
        """Any number of any characters."""
        here = self._new()
        self.silent.setdefault(at, []).append(here)
        self.edges.setdefault(here, []).append(((0, LAST), here))
        return here

    def _walk(self, steps: Any, at: int) -> int:
        for operation, value in steps:
            at = self._step(operation, value, at)
        return at

    def _step(self, operation: Any, value: Any, at: int) -> int:
        if operation in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY):
            after = self._new()
            self.edges.setdefault(at, []).extend((span, after) for span in _spans(operation, value))
            return after
        if operation is sre.SUBPATTERN:
            _, adds, takes, inner = value
            if adds or takes:
                raise Unjudged("a pattern with flags")
            return self._walk(inner, at)
        if operation is sre.BRANCH:
            after = self._new()
            for option in value[1]:
                here = self._new()
                self.silent.setdefault(at, []).append(here)
                self.silent.setdefault(self._walk(option, here), []).append(after)
            return after
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, inner = value
            for _ in range(least):
                at = self._walk(inner, at)
            after = self._new()
            if most is sre.MAXREPEAT:
                here = self._new()
                self.silent.setdefault(at, []).append(here)
                self.silent.setdefault(self._walk(inner, here), []).append(here)
                self.silent.setdefault(here, []).append(after)
            else:
                self.silent.setdefault(at, []).append(after)
                for _ in range(most - least):
                    at = self._walk(inner, at)
                    self.silent.setdefault(at, []).append(after)
            return after
        raise Unjudged(f"{str(operation).lower()} in a pattern")

    def closed(self, states: frozenset[int]) -> frozenset[int]:
        """The states, and all that are reached from them without a character."""
        found, todo = set(states), list(states)
        while todo:
            for state in self.silent.get(todo.pop(), ()):
                if state not in found:
                    found.add(state)
                    todo.append(state)
        return frozenset(found)

    def after(self, states: frozenset[int], character: int) -> frozenset[int]:
        """Where a character leads."""
        return self.closed(frozenset(
            to for state in states for (first, last), to in self.edges.get(state, ()) if first <= character <= last
        ))  # fmt: skip

    def borders(self, states: frozenset[int]) -> Iterator[int]:
        """The first character of each span that leads on, and the first behind it."""
        for state in states:
            for (first, last), _ in self.edges.get(state, ()):
                yield first
                if last < LAST:
                    yield last + 1


def _spans(operation: Any, value: Any) -> list[Span]:
    if operation is sre.LITERAL:
        return [(value, value)]
    if operation is sre.NOT_LITERAL:
        return _others([(value, value)])
    if operation is sre.ANY:
        return _others([(10, 10)])
    negated = bool(value) and value[0] == (sre.NEGATE, None)
    found: list[Span] = []
    for kind, what in value[negated:]:
        if kind is sre.LITERAL:
            found.append((what, what))
        elif kind is sre.RANGE:
            found.append(what)
        elif kind is sre.CATEGORY and what in CATEGORIES:
            found += CATEGORIES[what]
        else:
            raise Unjudged(f"{str(what).lower()} in a pattern")
    return _others(found) if negated else found


def _others(spans: list[Span]) -> list[Span]:
    """All characters that lie in none of the spans."""
    found, next_ = [], 0
    for first, last in sorted(spans):
        if first > next_:
            found.append((next_, first - 1))
        next_ = max(next_, last + 1)
    return [*found, *([(next_, LAST)] if next_ <= LAST else [])]


_DIGITS, _WORD = [(48, 57)], [(48, 57), (65, 90), (95, 95), (97, 122)]
CATEGORIES: dict[Any, list[Span]] = {
    sre.CATEGORY_DIGIT: _DIGITS, sre.CATEGORY_NOT_DIGIT: _others(_DIGITS),
    sre.CATEGORY_WORD: _WORD, sre.CATEGORY_NOT_WORD: _others(_WORD),
}  # fmt: skip
"""As ECMA 262 means them, which is what JSON Schema names: ASCII alone."""

_automaton = cache(Automaton)
LIKED = "a0A5zZ9-_. "
"""Characters a proof is written with where any would do."""


def length(least: int, most: int | None) -> str:
    """The pattern of all texts of these lengths."""
    return f"^[\\x00-\\U0010ffff]{{{least},{'' if most is None else most}}}$"


@cache
def stranger(written: tuple[str, ...], read: str) -> str | None:
    """The shortest text that each pattern of `written` takes and `read` does not; None where there is none.

    Raises Unjudged for patterns beyond what our contracts write, and where the proof would take too long.
    """
    automata = [*(_automaton(pattern) for pattern in written), _automaton(read)]
    start = tuple(one.closed(frozenset([0])) for one in automata)
    seen, now = {start}, [(start, "")]
    while now:
        after: list[tuple[tuple[frozenset[int], ...], str]] = []
        for states, text in now:
            *takes, last = (one.end in there for one, there in zip(automata, states, strict=True))
            if all(takes) and not last:
                return text
            borders = {0, *(b for one, there in zip(automata, states, strict=True) for b in one.borders(there))}
            for character in _characters(sorted(borders)):
                next_ = tuple(one.after(there, character) for one, there in zip(automata, states, strict=True))
                if next_ not in seen and all(next_[:-1]):
                    seen.add(next_)
                    after.append((next_, text + chr(character)))
        if len(seen) > MOST_STATES:
            raise Unjudged("patterns of so many states")
        now = after
    return None


def _characters(borders: list[int]) -> Iterator[int]:
    """One character of each stretch between borders, a readable one where there is any."""
    for first, after in zip(borders, [*borders[1:], LAST + 1], strict=True):
        yield next((ord(c) for c in LIKED if first <= ord(c) < after), max(first, 0x21) if after > 0x21 else first)
