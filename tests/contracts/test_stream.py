"""A reader of facts: whatever comes twice, late or out of order, it applies 1, 2, 3, and tells of gaps and forks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.stream import Fork, Gap, Heard, Kept, Streams

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@settings(deadline=None)
@given(st.data())
def test_any_order_and_any_repeats_give_the_same_stream(data: st.DataObject) -> None:
    sent = {subject: [f"{subject}-{n}" for n in range(1, data.draw(st.integers(1, 8)) + 1)] for subject in ("a", "b")}
    deliveries = [(subject, n, id) for subject, ids in sent.items() for n, id in enumerate(ids, 1)]
    deliveries = data.draw(st.permutations(deliveries + data.draw(st.lists(st.sampled_from(deliveries), max_size=10))))
    stop = data.draw(st.integers(0, len(deliveries)))
    applied: dict[str, list[str]] = {"a": [], "b": []}
    streams: Streams[str] = Streams()
    for at, (subject, number, id) in enumerate(deliveries):
        if at == stop:  # the reader dies: what it kept early is gone, and so comes again; what it applied is remembered
            streams = Streams(streams.heard())
            for before in deliveries[:at]:
                applied[before[0]] += streams.take("intake", before[0], before[1], before[2], before[2], NOON)
        applied[subject] += streams.take("intake", subject, number, id, id, NOON)
    assert applied == sent
    assert not list(streams.gaps()) and not list(streams.forks())
    assert {subject: heard.number for (_, subject), heard in streams.heard().items()} == {
        s: len(i) for s, i in sent.items()
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 6), st.sampled_from("xxxxy")), max_size=25), st.data())
def test_who_keeps_what_was_heard_and_what_waits_goes_on_where_it_stopped(
    deliveries: list[tuple[str, int, str]], data: st.DataObject
) -> None:
    """Whenever it dies, and although nothing is delivered again: with gaps, and with forks among what is heard or early."""
    dies = data.draw(st.sets(st.integers(0, 25)))
    one, other = Streams[str](), Streams[str]()
    for at, (subject, number, id) in enumerate(deliveries):
        if at in dies:  # rows of a table are plain
            rows: list[Any] = [tuple(row) for row in other.kept()]
            other = Streams(other.heard(), [Kept(*row) for row in rows])
        came = NOON + timedelta(minutes=at)
        assert one.take("intake", subject, number, id, f"{at}", came) == other.take(
            "intake", subject, number, id, f"{at}", came
        )
        assert one.kept() == other.kept() and list(one.gaps()) == list(other.gaps())
        assert one.heard() == other.heard() and list(one.forks()) == list(other.forks())


def test_a_gap_is_told_with_its_number_and_age_and_closed_by_what_was_missing() -> None:
    streams: Streams[str] = Streams({("intake", "a"): Heard(4, "a-4")})
    assert streams.take("intake", "a", 6, "a-6", "six", NOON) == []
    assert streams.take("intake", "a", 7, "a-7", "seven", NOON + timedelta(minutes=5)) == []
    assert list(streams.gaps()) == [Gap("intake", "a", 5, NOON, 2)]
    assert not list(streams.gaps(before=NOON)) and list(streams.gaps(before=NOON + timedelta(minutes=10)))
    assert streams.take("intake", "a", 5, "a-5", "five", NOON) == ["five", "six", "seven"]
    assert not list(streams.gaps()) and streams.heard() == {("intake", "a"): Heard(7, "a-7")}


def test_a_fork_holds_its_stream_and_no_other() -> None:
    streams: Streams[str] = Streams()
    assert streams.take("intake", "a", 1, "a-1", "one", NOON) == ["one"]
    assert streams.take("intake", "a", 1, "b-1", "another", NOON) == []
    assert streams.take("intake", "a", 2, "a-2", "two", NOON) == []
    assert streams.take("dropout", "a", 1, "c-1", "one", NOON) == ["one"]
    assert list(streams.forks()) == [Fork("intake", "a", 1, ("a-1", "b-1"))]
    assert streams.heard()["intake", "a"] == Heard(1, "a-1")


def test_two_early_facts_under_one_number_are_a_fork_too() -> None:
    streams: Streams[str] = Streams()
    streams.take("intake", "a", 3, "x", "x", NOON)
    streams.take("intake", "a", 3, "y", "y", NOON)
    assert list(streams.forks()) == [Fork("intake", "a", 3, ("x", "y"))]
    assert streams.take("intake", "a", 1, "a-1", "one", NOON) == []


def test_what_a_fork_kept_back_is_given_once_the_second_fact_is_left_out() -> None:
    """As the services go on after `lotse release --without`: nothing that followed the fork is lost."""
    streams: Streams[str] = Streams()
    for number, id in ((1, "a"), (2, "b"), (2, "b2"), (3, "c"), (4, "d")):
        streams.take("intake", "x", number, id, id, NOON)
    rows = streams.kept()
    assert streams.leave_out("intake", "x", "b2") == ["c", "d"]
    assert not list(streams.forks()) and not streams.kept() and streams.heard() == {("intake", "x"): Heard(4, "d")}
    assert streams.take("intake", "x", 2, "b2", "b2", NOON) == [] and not list(streams.forks())
    # a decision is kept with the settings, and said at each start: before what was kept is settled, and after
    again: Streams[str] = Streams({("intake", "x"): Heard(2, "b")}, rows)
    assert again.leave_out("intake", "x", "b2") == ["c", "d"]
    fresh: Streams[str] = Streams()
    assert fresh.leave_out("intake", "x", "b2") == []
    sent = ((1, "a"), (2, "b"), (2, "b2"), (3, "c"), (4, "d"))
    assert [one for n, id in sent for one in fresh.take("intake", "x", n, id, id, NOON)] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="was applied"):
        streams.leave_out("intake", "x", "d")


def test_who_took_a_fact_out_of_what_was_kept_is_told_instead_of_losing_what_follows() -> None:
    heard = {("intake", "x"): Heard(2, "b")}
    kept = [Kept("intake", "x", number, id, id, NOON) for number, id in ((3, "c"), (4, "d"))]
    with pytest.raises(ValueError, match="leave_out"):
        Streams(heard, kept)
    late: Streams[str] = Streams(
        {("intake", "x"): Heard(4, "d")}, kept
    )  # of an older transaction: all of it was applied
    assert not late.kept() and late.take("intake", "x", 5, "e", "e", NOON) == ["e"]


@settings(deadline=None)
@given(st.data())
def test_with_every_second_fact_left_out_the_stream_is_whole(data: st.DataObject) -> None:
    """However many facts came under one number, under however many numbers, and whenever it dies and is told."""
    sent = [(n, f"{n}") for n in range(1, data.draw(st.integers(1, 6)) + 1)]
    forged = data.draw(st.sets(st.tuples(st.integers(1, 6), st.sampled_from("xyz")), max_size=6))
    wrong = [(n, f"{n}{letter}") for n, letter in sorted(forged)]
    deliveries = list(sent)  # the first on the topic stands
    for one in wrong:
        after = next((at for at, (n, _) in enumerate(deliveries) if n == one[0]), -1)
        deliveries.insert(data.draw(st.integers(after + 1, len(deliveries))), one)
    streams, applied = Streams[str](), list[str]()
    for number, id in deliveries:
        applied += streams.take("intake", "a", number, id, id, NOON)
        if data.draw(st.booleans()):
            streams = Streams(streams.heard(), streams.kept())
    for _, id in data.draw(st.permutations(wrong)):
        if streams.heard().get(("intake", "a"), Heard()).id != id:
            applied += streams.leave_out("intake", "a", id)
    wanted = [id for _, id in sent]
    assert applied[: len(wanted)] == wanted and not list(streams.forks())
