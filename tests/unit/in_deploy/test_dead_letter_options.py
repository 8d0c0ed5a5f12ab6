"""When --since and --until speak of, and what a message's shape tells."""

from datetime import UTC, datetime, timedelta

import click
import pytest

from contracts.intake import RegistrationSubmitted
from deploy.commands.letters import MOMENT
from services.operating.shapes import names_in, shape_of


@pytest.mark.parametrize(
    ("said", "ago"),
    [("0m", timedelta(0)), ("10m", timedelta(minutes=10)), ("2h", timedelta(hours=2)), ("3d", timedelta(days=3))],
)
def test_a_time_ago_is_counted_from_now(said: str, ago: timedelta) -> None:
    before = datetime.now(UTC)
    assert before - ago <= MOMENT.convert(said, None, None) <= datetime.now(UTC) - ago


def test_a_day_begins_where_we_are_and_a_moment_says_its_zone() -> None:
    assert MOMENT.convert("2026-10-01", None, None) == datetime(2026, 10, 1).astimezone()  # noqa: DTZ001
    for said in ("2026-10-01T10:00:00+02:00", "2026-10-01T08:00:00Z", "2026-10-01T08:00:00+0000"):
        assert MOMENT.convert(said, None, None) == datetime(2026, 10, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    ["", "10", "m", "10s", "-10m", "1.5h", "10 m", "yesterday", "2026-13-01", "2026-10-01T08:00:00", f"{10**30}d"],
)
def test_what_is_no_time_is_refused_and_a_moment_without_its_zone_too(said: str) -> None:
    with pytest.raises(click.BadParameter):
        MOMENT.convert(said, None, None)


def test_a_shape_has_no_value_and_no_name_that_is_not_ours() -> None:
    names = names_in([RegistrationSubmitted])
    body = b'{"by": {"organisation_id": "rkn-thm", "Zainab": 1}, "Canary": ["Zainab"], "municipality": null}'
    assert shape_of([("ce_id", b"Zainab"), ("ce_zainab", None), ("x-zainab", b"1")], body, names) == {
        "headers": ["ce_id: 6 bytes", "(foreign): null", "(foreign): 1 bytes"],
        "body": {
            "by": {"organisation_id": "str of 7", "(unknown name of 6)": "int"},
            "(unknown name of 6)": ["str of 6"],
            "municipality": "NoneType",
        },
    }
    assert shape_of([], None, names)["body"] == "null"
    assert shape_of([], b"Zainab", names)["body"] == "no JSON, 6 bytes"
    assert shape_of([], b"[" * 50_000 + b"]" * 50_000, names)["body"] == "no JSON, 100000 bytes"
