"""The sandbox's feed: what each dial does, and that the same seed gives the same bytes."""

import json
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.topics import load_publishers
from contracts.validate import judge
from deploy.commands.sandbox import _announced
from deploy.demo.kreis import Kreis
from deploy.places import EXAMPLES
from deploy.sandbox.feed import BREAKS, Dials, Sending, feed

KREIS = load_publishers(EXAMPLES / "publishers.toml")["kreis"]
NONE = Dials()
ALL_DIALS = Dials(0.2, 0.2, 0.2, 0.2, 0.2, next_minor=True)


def made(dials: Dials = NONE, seed: int = 7) -> list[Sending]:
    return feed(Kreis(persons=30, weeks=12, seed=seed), KREIS, "rkn", dials)


def sent(message: Sending) -> tuple[object, ...]:
    return message.topic, message.key, tuple(message.headers), message.value


def id_of(message: Sending) -> bytes | None:
    return dict(message.headers).get("ce_id")


SOUND = made()


def test_without_any_dial_every_submission_of_the_kreis_is_sent_once_in_order_and_is_sound() -> None:
    events = [event for day in Kreis(30, 12, 7).days for events in day.values() for event in events]
    assert len(SOUND) == len(events) > 300
    assert {id_of(message) for message in SOUND} == {event.id.encode() for event in events}
    assert [message.at for message in SOUND] == sorted(message.at for message in SOUND)
    assert not any(judge(1, message.line().encode()) for message in SOUND)


@pytest.mark.parametrize("dials", [NONE, ALL_DIALS], ids=["none", "all"])
def test_the_same_seed_gives_the_same_lines_and_another_seed_others(dials: Dials) -> None:
    lines = [message.line() for message in made(dials)]
    assert lines == [message.line() for message in made(dials)]
    assert not set(lines) & {message.line() for message in made(dials, seed=8)}


def test_a_duplicate_has_the_same_bytes_and_comes_at_most_two_days_later() -> None:
    found = made(Dials(duplicates=1.0))
    assert Counter(map(sent, found)) == Counter(dict.fromkeys(map(sent, SOUND), 2))
    first = {sent(message): message.at for message in found if message.what == "sound"}
    again = [message.at - first[sent(message)] for message in found if message.what == "duplicate"]
    assert len(again) == len(SOUND) and timedelta(0) <= min(again) and max(again) <= timedelta(days=2)


@pytest.mark.parametrize(
    ("dials", "least", "most"),
    [
        (Dials(late=1.0), timedelta(days=1), timedelta(days=10)),
        (Dials(disorder=1.0), timedelta(minutes=1), timedelta(hours=8)),
    ],
)
def test_what_is_late_or_out_of_order_is_the_same_message_later(
    dials: Dials, least: timedelta, most: timedelta
) -> None:
    due = {sent(message): message.at for message in SOUND}
    found = made(dials)
    assert Counter(map(sent, found)) == Counter(map(sent, SOUND))
    behind = [message.at - due[sent(message)] for message in found]
    assert least <= min(behind) and max(behind) <= most
    assert [id_of(message) for message in found] != [id_of(message) for message in SOUND]


@pytest.mark.parametrize("name", BREAKS)
def test_each_way_to_be_unreadable_is_an_error_to_the_validator(name: str) -> None:
    for message in SOUND[:20]:
        headers, value = BREAKS[name](list(message.headers), json.loads(message.value or b""))
        found = judge(1, message._replace(headers=headers, value=value).line().encode())
        assert [one.level for one in found] == ["error"]


def test_a_malformed_message_stands_beside_the_sound_one_under_an_id_of_its_own() -> None:
    found = made(Dials(malformed=1.0))
    bad = [message for message in found if message.what == "malformed"]
    assert [message for message in found if message.what == "sound"] == SOUND and len(bad) == len(SOUND)
    assert all(judge(1, message.line().encode())[0].level == "error" for message in bad)
    assert not {id_of(message) for message in bad} & {id_of(message) for message in SOUND}
    assert sum(id_of(message) is None for message in bad) > 5  # some can't even be answered


def test_an_unknown_field_is_one_name_more_and_the_message_is_still_read() -> None:
    sound = {id_of(message): json.loads(message.value or b"") for message in SOUND}
    at = Counter[str]()
    for message in made(Dials(unknown_fields=1.0)):
        said, was = json.loads(message.value or b""), sound[id_of(message)]
        top, within = set(said) - set(was), set(said["by"]) - set(was["by"])
        assert len(top | within) == 1
        at["by" if within else "top"] += 1
        assert [(one.level, one.rule) for one in judge(1, message.line().encode())] == [("warning", "unknown_field")]
    assert at["by"] > 50 and at["top"] > 50


def test_a_minor_version_ahead_is_read_by_todays_readers() -> None:
    for message in made(Dials(next_minor=True)):
        assert {"ce_dataschema", "ce_sandboxchannel"} <= dict(message.headers).keys()
        assert [(one.level, one.rule) for one in judge(1, message.line().encode())] == [("warning", "unknown_field")]


def test_turning_one_dial_leaves_what_another_does() -> None:
    late = [message for message in made(Dials(late=0.3)) if message.what == "late"]
    both = [message for message in made(Dials(late=0.3, duplicates=0.5, malformed=0.5)) if message.what == "late"]
    assert late == both and 0.2 < len(late) / len(SOUND) < 0.4


def test_beside_another_stack_it_says_with_which_settings_this_one_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    fleet: Any = SimpleNamespace(stack=SimpleNamespace(kafka="127.0.0.1:9"), setup=SimpleNamespace(publishers="p.toml"))
    with _announced(fleet, ours=False):
        said = capsys.readouterr().err
    assert "`lotse sources`" in said and "LOTSE_KAFKA=127.0.0.1:9 LOTSE_PUBLISHERS=p.toml" in said
    assert "lotse status" not in said  # that one speaks of the other
