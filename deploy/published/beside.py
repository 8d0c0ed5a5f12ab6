"""What holds beside the schemas: topics, reasons of answers, what a message rests on, code lists, sentences.

A program of a partner's acts on all of it: it sends again or not by a reason, takes a code for what its words say, and looks
for a message under its subject. What is put into words alone no machine compares: it is told, for a person to look at.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

from deploy.published.asyncapi import ANYONE
from deploy.published.breaks import Break, spoken
from deploy.published.comparing import Change, places
from deploy.published.expectations import Expectation
from deploy.published.released import Release, State

# --- topics and the reasons on them -----------------------------------------------------------------------------------

GUARDED = {
    "kind": "what the topic is would change",
    "key": "what lies together, and in which order, would change",
    "partitions": "a key would lie on another partition, and the order within it be lost",
    "retention.ms": "messages would be gone earlier than readers were told, or stay longer than people were",
    "retention.bytes": "messages would be gone earlier than readers were told",
    "cleanup.policy": "messages would vanish one by one",
    "audience": "others would read than those it was written for",
    "writer": "the source of what stands there would change",
    "message.timestamp.type": "the time of arrival would mean something else",
    "compression.type": "who reads must be able to unpack it, and how much a message may hold would change",
}


def topics(last: Release, now: State, subscribers: list[Expectation]) -> Iterator[Break]:
    """A topic does not change under its name, keeps its types and readers, and its answers their reasons."""
    for name, was in last.state.topics.items():
        beside = f"a topic of another name beside it; {name} stays as it is until nobody reads it"
        writer, readers = f"{spoken(was['writer'])}, up to release {last.number}", spoken(*was["readers"])
        if name not in now.topics:
            yield Break("TOPIC_GONE", name, "", "this topic is not in the catalogue any more", writer, readers, (),
                        "leave it in the catalogue; an owner may cease to write to it")  # fmt: skip
            continue
        is_now = now.topics[name]
        for setting, why in GUARDED.items():
            if is_now[setting] != was[setting]:
                yield Break(
                    "TOPIC",
                    name,
                    setting,
                    f"was {was[setting]}, is {is_now[setting]}: {why}",
                    writer,
                    readers,
                    (),
                    beside,
                )
        if int(is_now["max.message.bytes"]) < int(was["max.message.bytes"]):
            yield Break("TOPIC", name, "max.message.bytes", f"was {was['max.message.bytes']}, is {is_now['max.message.bytes']}: what was taken "
                        "would be refused by the broker, without an answer", writer, readers, (), "leave it, or raise it")  # fmt: skip
        for ce_type in was["types"]:
            if ce_type in now.types and ce_type not in is_now["types"]:
                yield Break("MOVED", name, "", f"{ce_type} stood here and stands elsewhere now", writer, readers, (),
                            "leave the type where it is read; a new version may stand elsewhere")  # fmt: skip
        registered = {
            one.subscriber for one in subscribers if any(ce_type in one.relies_on for ce_type in was["types"])
        }
        for reader in _readers_gone(was, is_now):
            if reader == ANYONE or reader in registered:
                yield Break("TOPIC", name, "readers", f"{spoken(reader)} has no right to read this topic any more", writer, spoken(reader),
                            () if reader == ANYONE else (reader,), "leave the right; who needs it no longer says so in its expectations")  # fmt: skip
        yield from _reasons(last, name, was, is_now, subscribers)


def _readers_gone(was: dict[str, Any], is_now: dict[str, Any]) -> list[str]:
    return [reader for reader in was["readers"] if reader not in is_now["readers"]]


def _readers_come(was: dict[str, Any], is_now: dict[str, Any]) -> list[str]:
    return [reader for reader in is_now["readers"] if reader not in was["readers"]]


def _reasons(
    last: Release, name: str, was: dict[str, Any], is_now: dict[str, Any], subscribers: list[Expectation]
) -> Iterator[Break]:
    """Who publishes sends again, or mends, or asks a person, by reason and `again`."""
    parties = spoken(was["writer"]), f"{spoken(*was['readers'])}, as of release {last.number}"
    for reason, again in was.get("reasons", {}).items():
        said = is_now.get("reasons", {}).get(reason)
        if said == again:
            continue
        at = "/reason" if said is None else "/again"
        who = tuple(one.subscriber for one in subscribers if any(one.touched(ce_type, at) for ce_type in was["types"]))
        if said is None:
            yield Break("REASON", name, reason, "this reason is given no more (renamed is taken away): who acts on it does not know "
                        "the one that stands in its place", *parties, who,
                        "leave the reason in; where nobody is refused so any more its sentence begins: No longer given")  # fmt: skip
        else:
            yield Break("AGAIN", name, reason, f"sending again: was {again}, is {said}: who goes by the reason sends again in vain, or "
                        "no more", *parties, who, "leave what it says of sending again; a reason of its own name may say otherwise")  # fmt: skip


# --- what a message rests on, and what it makes known -----------------------------------------------------------------


def messages(last: Release, now: State, subscribers: list[Expectation]) -> Iterator[Break]:
    """The subject stays whose it was, and what waits goes on waiting for the same. (The attributes are compared as a schema.)"""
    for ce_type, was in last.state.messages.items():
        if ce_type not in now.messages:
            continue
        is_now, topic = now.messages[ce_type], now.topic_of(ce_type)
        before = f"{spoken(topic['writer'])}, up to release {last.number}"
        if is_now["subject"] != was["subject"]:
            who = tuple(one.subscriber for one in subscribers if ce_type in one.relies_on)
            yield Break("SUBJECT", ce_type, "subject", f"the subject was the {was['subject']}, is the {is_now['subject']}: under one id would "
                        "stand what concerns another, and the key goes with it", before, spoken(*topic["readers"]), who,
                        "a type of its own name for what is said of the other")  # fmt: skip
        there = {"subject", *last.state.types[ce_type].get("properties", ())}
        more = [name for name in is_now["rests_on"] if name not in was["rests_on"] and name in there]
        less = [name for name in was["rests_on"] if name not in is_now["rests_on"]]
        unheard = [name for name in was["makes_known"] if name not in is_now["makes_known"]]
        for rule, names, said, parties, way in (
            ("RESTS_ON", more, "waits for it from now on: what was judged at once is refused after seven days where nobody makes it known",
             (before, spoken(*topic["readers"])), "judge it as before; an optional member of its own name may be waited for"),
            ("RESTS_ON", less, "waits for it no longer: what comes before it, which topics do not order, would be refused",
             (before, spoken(*topic["readers"])), "go on waiting for it"),
            ("MAKES_KNOWN", unheard, "makes it known no longer: what rests on it would wait, and be refused after seven days",
             (spoken(topic["writer"]), "every publisher whose submissions rest on it"), "go on making it known"),
        ):  # fmt: skip
            for name in names:
                yield Break(rule, ce_type, name if name == "subject" else f"/{name}", said, *parties, (), way)


# --- code lists -------------------------------------------------------------------------------------------------------


def lists(last: Release, now: State, subscribers: list[Expectation], today: date) -> Iterator[Break]:
    """A code means what its list says on the day of the fact: of days that are past, nothing is taken back, and no code comes
    to mean what another meant."""
    until, stand = max(last.on, today).isoformat(), coded(last.state)
    for name, was in last.state.lists.items():
        is_now = now.lists.get(name, {"complete": [], "codes": {}})
        words = [state.sentences.get(f"code list {name}", {}) for state in (last.state, now)]
        gone = [code for code in was["codes"] if code not in is_now["codes"]]
        shorter = [code for code, days in was["codes"].items()
                   if code in is_now["codes"] and _shorter(days, is_now["codes"][code], until)]  # fmt: skip
        whole = [prefix or "all" for prefix in is_now["complete"] if not _held(was, prefix)]
        bounded = [code for code, days in is_now["codes"].items()
                   if code not in was["codes"] and not _held(was, code) and _shorter([None, None], days, until)]  # fmt: skip
        who = tuple(dict.fromkeys(one.subscriber for ce_type, at, _ in stand.get(name, ()) for one in subscribers
                                  if one.touched(ce_type, at)))  # fmt: skip
        for what, codes, way in (
            ("codes gone", gone, "leave the code in, with the last day on which it may be used, and its successor"),
            ("codes that held on days gone by and hold no longer on them", shorter,
             "end a code on a day to come, and release that before the day: until then publishers go by the last release"),
            ("complete from now on: what it does not hold is refused, of codes that begin with", whole,
             "leave it open, and add what is missing"),
            ("codes that were taken on any day, as all the list does not hold, and are not any more", bounded,
             "leave its first day open; end it on a day to come, once it is released"),
            ("codes that mean from now on what another meant", _moved(*words),
             "leave to each code its words; what means something else gets a code of its own"),
            ("codes that stand for something else in another column of the list", _mapped(name, last.state, now, verified=True),
             "leave what the code stands for; a column of its own name, or another code, may say otherwise"),
        ):  # fmt: skip
            if codes:
                yield Break("CODE_LIST", f"code list {name}", "", f"{what}: {', '.join(codes)}", f"every publisher, up to release {last.number}",
                            "who holds codes to the list, on the day of the fact", who, way)  # fmt: skip


def _held(of: dict[str, Any], code: str) -> bool:
    """Whether the list was complete for what begins so."""
    return any(code.startswith(prefix) for prefix in of["complete"])


def _shorter(was: list[str | None], is_now: list[str | None], until: str) -> bool:
    """Whether a code lost a day up to that one; days are ISO texts, None is open."""
    first, last = was[0] or "", min(was[1] or until, until)
    return first <= last and ((is_now[0] or "") > first or (is_now[1] or until) < last)


def _moved(was: dict[str, str], is_now: dict[str, str]) -> list[str]:
    """Codes that say what another said, and that other says no longer: swapped, renamed, or handed on. Two codes may well say
    the same (a town before and after a reform)."""
    before, after = (
        {code: " ".join(words.split()).casefold() for code, words in of.items() if code} for of in (was, is_now)
    )
    return [f"{code} (as {other})" for code, words in after.items() if words != before.get(code)
            for other, said in before.items() if other != code and said == words and after.get(other) != said]  # fmt: skip


def _mapped(name: str, old: State, now: State, *, verified: bool) -> list[str]:
    """Codes of which another column (successor, group, key) says something else; those that were verified, or the others:
    what was published `to verify` may be mended, and is shown."""
    codes, rows = now.lists.get(name, {"codes": ()})["codes"], now.rows.get(name, {})
    return [f"{code} ({column})" for code, row in old.rows.get(name, {}).items()
            if code in codes and verified is not row.get("to_verify", False)
            for column, value in row.items() if column != "to_verify" and rows.get(code, {}).get(column) != value]  # fmt: skip


def coded(state: State) -> dict[str, list[tuple[str, str, bool]]]:
    """By list where its codes stand: wire type, pointer, and whether the list alone says which (the schema names none)."""
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for ce_type, schema in state.types.items():
        for at, said in places(schema):
            if name := said.get("x-code-list"):
                found.setdefault(name, []).append((ce_type, at, "pattern" in said))
    return found


def longer(old: State, now: State) -> Iterator[tuple[str, list[str]]]:
    """Lists, and their codes that are refused as of the old state and taken now, on some day."""
    for name, was in old.lists.items():
        if name not in now.lists:
            continue
        codes = []
        for code, (first, last) in now.lists[name]["codes"].items():
            if code in was["codes"]:
                since, until = was["codes"][code]
                grown = (first or "") < (since or "") or (last or "~") > (until or "~")
            else:
                grown = _held(was, code)
            if grown:
                codes.append(code)
        if codes:
            yield name, codes


# --- sentences --------------------------------------------------------------------------------------------------------


def told(old: State, now: State) -> Iterator[tuple[str, Change]]:
    """What is said otherwise and breaks nobody, if it still means the same, and who reads or reads no more: what is spoken of, and
    the change."""
    for name in old.rows:
        for code in _mapped(name, old, now, verified=False):
            yield f"code list {name}", Change(code, "TOLD", "was published to be verified, and says something else now")
    for name, of in old.topics.items():
        for reader in _readers_gone(of, now.topics.get(name, of)):
            yield name, Change("readers", "TOLD", f"{spoken(reader)} has no right to read this topic any more")
        for reader in _readers_come(of, now.topics.get(name, of)):
            yield (
                name,
                Change(
                    "readers", "TOLD", f"{spoken(reader)} may read this topic from now on, and all that stands on it"
                ),
            )
    for name, said in old.sentences.items():
        yield from _retold(name, said, now.sentences.get(name, {}))


def _retold(name: str, was: dict[str, str], is_now: dict[str, str]) -> Iterator[tuple[str, Change]]:
    for at, said in was.items():
        if is_now.get(at, said) != said:
            before, after = (" ".join(text.split()) for text in (said, is_now[at]))
            yield name, Change(at, "TOLD", f"said “{before}”, says “{after}”")
