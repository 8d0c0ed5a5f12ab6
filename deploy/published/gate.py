"""The gate: what is about to be published, held against what was released, and against what subscribers rely on.

Which role matters depends on who writes. A *submission* is written by publishers, who change their software when they can:
we must read what any of them wrote. Everything else is written by us: who reads must bear what we write now (writer), and
a service that is rebuilt must bear all we ever wrote (reader). So facts, answers, reports and ticks hold in both roles.

A deliberate break stands beside: `.v2` of a type, whose class has a `lift(before)`, pure, from the version below.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel

from contracts.attributes import Verdict
from contracts.envelope import Tick, day_of
from contracts.families import PUBLISHED
from contracts.messages import STRUCTURED, read_body, read_message
from deploy.places import ROOT
from deploy.published import beside
from deploy.published.breaks import Break, spoken
from deploy.published.comparing import BOTH, Change, Role, compare, member
from deploy.published.expectations import Expectation, expectations
from deploy.published.released import ATTRIBUTES, EXAMPLES, Release, State, current, releases, samples_below
from deploy.published.samples import instance
from deploy.published.schemas import Schema


@dataclass(frozen=True, slots=True)
class Order:
    """Nothing breaks if these go first."""

    what: str
    first: str
    then: str
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What the gate found. `told` are sentences that changed: no machine knows whether they still mean the same."""

    release: int | None
    """The last release; None before the first."""
    breaks: tuple[Break, ...]
    order: tuple[Order, ...]
    told: tuple[tuple[str, Change], ...]
    looked_at: dict[str, int]


def check(
    root: Path = ROOT,
    now: State | None = None,
    classes: Mapping[str, type[BaseModel]] = PUBLISHED,
    today: date | None = None,
) -> Checked:
    """Holds what would be published against the last release below the root, every sample, and every subscriber.

    `now` and `classes` are the contracts themselves unless others are given, `today` the day it is where the alliances are: up
    to it codes stand in messages that were sent. Raises Trouble for a release that is spoilt.
    """
    now, today = now or current(root), today or day_of(datetime.now(UTC))
    cut = releases(root)
    last = cut[-1] if cut else None
    subscribers, wrong = expectations(root)
    breaks = [*wrong, *_relied_on(now, subscribers)]
    breaks += _samples(root, last, classes)
    breaks += _lifted(root, now, last, classes)
    breaks += _left_behind(now, subscribers)
    if last is not None:
        breaks += _types(last, now, subscribers)
        breaks += _unread_now(last, now, classes, {one.what for one in breaks})
        breaks += beside.topics(last, now, subscribers)
        breaks += beside.messages(last, now, subscribers)
        breaks += beside.lists(last, now, subscribers, today)
    changes = [] if last is None else [*_changes(last.state, now), *beside.told(last.state, now)]
    told = tuple((what, change) for what, change in changes if change.rule == "TOLD")
    looked_at = {
        "types": len(now.types),
        "topics": len(now.topics),
        "samples": len(now.samples),
        "lists": len(now.lists),
        "reasons": len({reason for topic in now.topics.values() for reason in topic.get("reasons", ())}),
        "subscribers": len(subscribers),
    }
    order = tuple(orders(last.state, now, subscribers)) if last else ()
    return Checked(last.number if last else None, tuple(breaks), order, told, looked_at)


# --- types ------------------------------------------------------------------------------------------------------------


def _changes(old: State, now: State) -> Iterator[tuple[str, Change]]:
    for ce_type in old.types:
        if ce_type in now.types:
            yield from ((ce_type, change) for change in changes_of(ce_type, old, now))


def changes_of(ce_type: str, old: State, now: State) -> Iterator[Change]:
    """What changed of a type that stands in both: of its body, and (by its name) of an attribute beside it."""
    yield from compare(old.types[ce_type], now.types[ce_type])
    if ce_type in old.messages and ce_type in now.messages:
        for change in compare(_attributes(old.messages[ce_type]), _attributes(now.messages[ce_type])):
            yield replace(change, at=change.at.removeprefix("/"))


def _attributes(message: dict[str, Any]) -> Schema:
    """The attributes a message carries, as a schema; what each may hold is said by that of the attributes."""
    names = [*message["always"], *message["may"]]
    return {"type": "object", "properties": {name: {} for name in names}, "required": message["always"]}


def roles_of(kind: str) -> tuple[Role, ...]:
    """Whom a change of a type on a topic of this kind may not break."""
    return (Role.READER,) if kind == "submission" else BOTH


def next_version(ce_type: str) -> str:
    """The type that may stand beside this one."""
    base, _, version = ce_type.rpartition(".v")
    return f"{base}.v{int(version) + 1}"


def _named(ce_type: str, at: str, subscribers: list[Expectation]) -> tuple[str, ...]:
    if at and not at.startswith("/"):
        return tuple(
            one.subscriber for one in subscribers if ce_type in one.relies_on and one.touched(ATTRIBUTES, f"/{at}")
        )
    return tuple(one.subscriber for one in subscribers if one.touched(ce_type, at))


def _types(last: Release, now: State, subscribers: list[Expectation]) -> Iterator[Break]:
    for ce_type in last.state.types:
        topic = last.state.topic_of(ce_type)
        readers = spoken(*topic["readers"])
        if ce_type not in now.types:
            who = tuple(one.subscriber for one in subscribers if ce_type in one.relies_on)
            yield Break("GONE", ce_type, "", f"this type was published in release {last.number} or before and is not any more",
                        f"{spoken(topic['writer'])}, up to release {last.number}", readers, who,
                        "leave its class: what was written stays readable; an owner may cease to write it")  # fmt: skip
    for ce_type, change in _changes(last.state, now):
        topic = now.topic_of(ce_type)
        writer, readers = spoken(topic["writer"]), spoken(*topic["readers"])
        breaks = change.breaks
        if change.rule == "LIST" and not breaks and topic["kind"] == "submission":
            breaks = (Role.READER,)  # what was any text is refused where the list does not hold it on that day
        for role in breaks:
            if role not in roles_of(topic["kind"]):
                continue
            shown = f" (for example {change.example})" if change.example else ""
            if role is Role.WRITER:
                said = f"{change.what}: who reads as of release {last.number} does not read what is written now{shown}"
                parties = (writer, f"{readers}, as of release {last.number}")
            else:
                said = f"{change.what}: what was written up to release {last.number} is not read any more{shown}"
                parties = (f"{writer}, up to release {last.number}", readers)
            yield Break(change.rule, ce_type, change.at, said, *parties, _named(ce_type, change.at, subscribers),
                        _way_out(ce_type, change.rule, role, topic["kind"]))  # fmt: skip


BEFORE = {
    Role.READER: "go on taking what was taken",
    Role.WRITER: "write nothing that was not written before; a member of its own name may hold it",
}
WAYS: dict[str, str | dict[Role, str]] = {
    "REQUIRED": "make it optional, or give it a default that is true of all that was said before",
    "OPTIONAL": "go on writing it always",
    "REMOVED": "leave it in (renamed is removed: leave the old name in, too)",
    "ADDED": "give it a name that no message has used",
    "TYPE": "leave the type; a member of its own name may have another",
    "NULL": {Role.READER: "go on taking null", Role.WRITER: "leave the member out instead of writing null"},
    "CODES": {
        Role.READER: "leave the code in; its sentence may say since when nobody uses it",
        Role.WRITER: "write a code readers know; a member of its own name may hold the new one",
    },
    "DEFAULT": "leave the default: absent means to all others what it meant; a member of its own name may have another",
    "UNIT": "a member of its own name for the other unit",
    "LIST": "a member of its own name for codes of the other list",
    "PRIVACY": {
        Role.WRITER: "a member of its own name for what needs more protection",
        Role.READER: "leave the class: what was said under it stays protected so",
    },
    "CLOSED": "go on ignoring members nobody knows",
    "UNION": "leave each alternative as wide as it was",
    "UNJUDGED": "say it with the keywords the generator writes",
}


def _way_out(ce_type: str, rule: str, role: Role, kind: str) -> str:
    way = WAYS.get(rule, BEFORE)
    if way is BEFORE and kind == "submission":
        way = "go on taking what was taken; what is wrong now is refused by a rule, with a reason, not by the schema"
    way = way if isinstance(way, str) else way[role]
    return way if ce_type == ATTRIBUTES else f"{way}; or publish {next_version(ce_type)} beside it, with a pure lift"


def _unread_now(last: Release, now: State, classes: Mapping[str, type[BaseModel]], broken: set[str]) -> Iterator[Break]:
    """What a schema does not say: of each type that seems to read what it read, today's class reads 30 seeded instances of the
    released schema, each with members nobody knows."""
    for ce_type, schema in last.state.types.items():
        if ce_type not in classes or ce_type in broken:
            continue
        faults = (_fault_of_reading(classes[ce_type], body) for body in _drawn(ce_type, json.dumps(schema)))
        if fault := next(filter(None, faults), ""):
            topic = now.topic_of(ce_type)
            yield Break("UNREAD", ce_type, "", f"what the schema of release {last.number} takes is not read any more: {fault}",
                        f"{spoken(topic['writer'])}, up to release {last.number}", spoken(*topic["readers"]), (),
                        _way_out(ce_type, "UNREAD", Role.READER, topic["kind"]))  # fmt: skip


@cache
def _drawn(ce_type: str, schema: str) -> list[bytes]:
    """The same for the same schema: a gate that looks a second time draws none."""
    chance, read = Random(ce_type), json.loads(schema)
    return [json.dumps(_with_more(instance(read, chance))).encode() for _ in range(30)]


def _with_more(body: Any) -> Any:
    """With a member nobody knows in each object."""
    if isinstance(body, list):
        return [_with_more(one) for one in body]
    if not isinstance(body, dict):
        return body
    return {**{name: _with_more(one) for name, one in body.items()}, "lotse_of_a_later_release": {"known": False}}


def _fault_of_reading(cls: type[BaseModel], body: bytes) -> str:
    """What keeps a body from being read; empty where nothing does. Never a value."""
    try:
        read_body(cls, body)
    except Verdict as verdict:
        return f"{verdict.rule} at {verdict.pointer or 'the top'}"
    except Exception as error:  # a validator that raises what pydantic does not catch: whatever it is, it does not read
        return f"{type(error).__name__} is raised"
    return ""


# --- a version beside another -------------------------------------------------------------------------------------------


def _lifted(root: Path, now: State, last: Release | None, classes: Mapping[str, type[BaseModel]]) -> Iterator[Break]:
    """Every message of a version that has a successor lifts: each sample, and 50 seeded ones."""
    for ce_type, schema in {**now.types, **(last.state.types if last else {})}.items():
        after = ce_type != ATTRIBUTES and next_version(ce_type)
        if not after or after not in now.types or ce_type not in classes or after not in classes:
            continue
        chance = Random(ce_type)
        bodies = [json.dumps(message["data"]) for _, message in _published(root) if message.get("type") == ce_type]
        bodies += [json.dumps(instance(schema, chance)) for _ in range(50)]
        fault = _fault_of_lift(classes[ce_type], classes[after], bodies)
        if fault:
            topic = now.topic_of(after)
            yield Break("LIFT", after, "", fault, f"{spoken(topic['writer'])}, who wrote {ce_type}", spoken(*topic["readers"]), (),
                        f"a static method `lift` on its class: takes {ce_type}, gives {after}, looks at nothing else")  # fmt: skip


def _fault_of_lift(before: type[BaseModel], after: type[BaseModel], bodies: list[str]) -> str:
    """What is wrong with a lift in half a sentence; empty where nothing is. Never a value."""
    lift: Callable[[BaseModel], BaseModel] | None = getattr(after, "lift", None)
    if lift is None:
        return "it stands beside an older version, and nothing lifts that one"
    for body in bodies:
        said = read_body(before, body.encode())
        kept = said.model_dump_json()
        try:
            once, again = lift(said), lift(said)
        except Exception as error:  # a lift of others' making: whatever it raises, it does not lift
            return f"its lift raises {type(error).__name__}"
        if not isinstance(once, after):
            return "its lift gives something else"
        if once != again or said.model_dump_json() != kept:
            return "its lift is not pure: twice gives two, or the old one is changed"
        try:
            read_body(after, once.model_dump_json(exclude_none=True).encode())
        except Verdict as verdict:
            return f"its lift gives what the type refuses: {verdict.rule} at {verdict.pointer or 'the top'}"
    return ""


def _left_behind(now: State, subscribers: list[Expectation]) -> Iterator[Break]:
    """Who relies on a type whose owner now writes the next version must have said that it reads that one, too."""
    for one in subscribers:
        for ce_type, pointers in one.relies_on.items():
            if (
                ce_type != ATTRIBUTES
                and next_version(ce_type) in now.types
                and next_version(ce_type) not in one.relies_on
            ):
                yield Break("LEFT_BEHIND", ce_type, pointers[0], f"{next_version(ce_type)} is written from now on, and this subscriber "
                            "relies on the older version alone", now.topic_of(ce_type)["writer"], one.subscriber, (one.subscriber,),
                            f"the subscriber reads {next_version(ce_type)} first; then its expectations name it, too")  # fmt: skip


# --- samples, subscribers, topics -----------------------------------------------------------------------------------------


def _published(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((root / EXAMPLES).rglob("*.json")):
        try:
            message = json.loads(file.read_text("utf-8"))
        except ValueError:
            message = {}
        yield file.relative_to(root).as_posix(), message if isinstance(message, dict) else {}


def _samples(root: Path, last: Release | None, classes: Mapping[str, type[BaseModel]]) -> Iterator[Break]:
    there = dict(_published(root))
    for name, message in there.items():
        rule, at = _unread(message, classes)
        if rule:
            yield Break("SAMPLE", name, at, f"this sample does not read any more: {rule}", "whoever wrote such a message",
                        "whoever reads its type", (), "a sample once published reads for ever: mend the type, not the sample")  # fmt: skip
    if last is None:
        return
    is_now = samples_below(root)
    for name, was in last.state.samples.items():
        if is_now.get(name) != was:
            what = "edited since it was released" if name in there else "gone"
            yield Break("SAMPLE", name, "", f"this sample is {what}", "whoever copied it", "whoever tests with it", (),
                        f"take it from the history (git checkout -- {name}); a new one stands beside it")  # fmt: skip


def _unread(message: dict[str, Any], classes: Mapping[str, type[BaseModel]]) -> tuple[str, str]:
    """Rule and pointer of what keeps a sample from being read; empty where nothing does."""
    cls = classes.get(message.get("type", ""))
    if cls is None:
        return "its type is not published", "/type"
    try:
        headers = [("content-type", STRUCTURED.encode())]
        _, body = read_message(headers, json.dumps(message).encode(), about_time=cls is Tick)
        read_body(cls, body)
    except Verdict as verdict:
        return verdict.rule, ("/data" if verdict.type == "body" else "") + verdict.pointer
    return "", ""


def _relied_on(now: State, subscribers: list[Expectation]) -> Iterator[Break]:
    """What a subscriber relies on is there, whether anything was released yet or not."""
    for one in subscribers:
        for ce_type, pointers in one.relies_on.items():
            topic = now.topic_of(ce_type)
            if ce_type not in now.types or topic["kind"] == "submission":
                why = (
                    "no such type is published"
                    if ce_type not in now.types
                    else "submissions are read by their owner alone"
                )
                yield Break("EXPECTED", ce_type, "", why, topic["writer"], one.subscriber, (one.subscriber,),
                            f"publish it again, or agree with {one.subscriber} ({one.contact})")  # fmt: skip
                continue
            for at in pointers:
                if member(now.types[ce_type], at) is None:
                    yield Break("EXPECTED", ce_type, at, "a field somebody relies on is not there", topic["writer"], one.subscriber,
                                (one.subscriber,), f"leave it in, or agree with {one.subscriber} ({one.contact}) and change its "
                                "expectations first")  # fmt: skip


# --- who goes first -------------------------------------------------------------------------------------------------------


def orders(old: State, now: State, subscribers: list[Expectation]) -> Iterator[Order]:
    """Where nothing breaks if somebody goes first: who, and why."""
    for name in now.topics.keys() - old.topics.keys():
        yield Order(name, "the operator: `lotse topics`, and rights", f"{spoken(now.topics[name]['writer'])}, then {spoken(*now.topics[name]['readers'])}",
                    "a service waits for a topic that is not there")  # fmt: skip
    for ce_type in now.types.keys() - old.types.keys():
        topic = now.topic_of(ce_type)
        readers = spoken(*topic["readers"])
        if topic["kind"] == "submission":
            yield Order(
                ce_type, readers, spoken(topic["writer"]), "a type its owner does not know is answered unreadable"
            )
        else:
            before = re.sub(r"\.v(\d+)$", lambda found: f".v{int(found[1]) - 1}", ce_type)
            who = [one.subscriber for one in subscribers if before in one.relies_on]
            yield Order(ce_type, ", ".join([readers, *who]), topic["writer"],
                        "a type a reader does not know is passed over, and learnt only by a rebuild")  # fmt: skip
    longer = [*beside.longer(old, now)]
    stand = beside.coded(now) if longer else {}  # of what nothing is asked, a schema may be one nobody can judge
    for name, codes in longer:
        held = [now.topic_of(ce_type) for ce_type, _, by_list in stand.get(name, ()) if by_list]
        owners = dict.fromkeys(reader for topic in held if topic["kind"] == "submission" for reader in topic["readers"])
        if owners:
            yield Order(f"code list {name}", spoken(*owners), "every publisher",
                        f"codes that are taken now, or on more days: {', '.join(codes)}: refused until their owner runs this release")  # fmt: skip
    for ce_type, change in _changes(old, now):
        topic = now.topic_of(ce_type)
        readers = spoken(*topic["readers"])
        wider, added = change.breaks == (Role.WRITER,), change.rule == "ADDED" and not change.breaks
        if topic["kind"] == "submission" and (wider or added):
            meanwhile = f"{change.what}: {'refused' if wider else 'ignored'} until its owner runs this release"
            yield Order(f"{ce_type} {change.at}", readers, spoken(topic["writer"]), meanwhile)
