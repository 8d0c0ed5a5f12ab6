"""Files drawn by chance: whatever was imported before, what the last file says stands, or its row is refused.

The service is the model of tests/unit/in_deploy/test_importer_runs.py, which shares nothing with the importer.
"""

import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.importer.files import Row
from deploy.importer.mapping import Mapping
from deploy.importer.store import Sent, Store
from tests.unit.in_deploy.test_importer import MEETING, NOW, ROW, row
from tests.unit.in_deploy.test_importer_runs import LATER, Desk, Service, call, mapped, refuses

TIMES = ["2026-11-19T18:00:00Z", "2026-11-20T18:00:00+01:00", "2026-11-25T18:00:00Z"]
PARTICIPATIONS = st.fixed_dictionaries({
    "source_ref": st.sampled_from(["AAA-1", "AAA-1", "AAA-2"]), "person_ref": st.sampled_from("1112"),
    "sex": st.sampled_from("FFM"), "withdrawn_on": st.sampled_from(["", "", "2013-12-05"]),
    "started_on": st.sampled_from(["2014-01-01", "2014-01-01", "2014-01-08", "2014-02-05", ""]),
    "ended_on": st.sampled_from(["", "2014-02-01", "2014-02-09", "no day"]),
    "consent_ref": st.sampled_from(["", "", "c1", "c2"]),
    "start_at": st.sampled_from([*TIMES, *TIMES, ""]), "end_at": st.sampled_from([*TIMES, *TIMES, ""]),
})  # fmt: skip
MEETINGS = st.fixed_dictionaries({
    "source_ref": st.sampled_from(["AAA-1", "AAA-2"]), "meeting_ref": st.sampled_from(["m1", "m2"]),
    "presence": st.sampled_from(["PRESENT", "UNEXCUSED", "no such"]), "reported_at": st.sampled_from([*TIMES, *TIMES, ""]),
})  # fmt: skip
REASONS = st.sampled_from(["", "", "", "FUTURE_DAY", "NOT_ACCEPTED", "END_BEFORE_START", "NO_CONSENT"])
CALLS = st.fixed_dictionaries({
    "rows": st.one_of(st.lists(PARTICIPATIONS, min_size=1, max_size=4), st.lists(MEETINGS, min_size=1, max_size=4)),
    "minutes": st.sampled_from([-5, 1, 60, 3000]), "again": st.sampled_from([False, False, True]),
    "moves": st.sampled_from([1_000_000, 1_000_000, 5, 15, 25]), "seed": st.integers(0, 99),
    "refused": st.sampled_from(["2014-01-08", "2014-02-01", "2014-02-09", "PRESENT"]), "reason": REASONS,
})  # fmt: skip


@settings(max_examples=150, derandomize="LOTSE_SEED" not in os.environ)  # else others each time
@given(logs=st.sampled_from([(), ("end",), ("start", "end")]), days_dated=st.booleans(),
       calls=st.lists(CALLS, min_size=1, max_size=6))  # fmt: skip
def test_whatever_was_imported_before_what_the_last_file_says_stands_or_is_refused(
    logs: tuple[str, ...], days_dated: bool, calls: list[dict[str, Any]]
) -> None:
    """Rows side by side, killed on their way, on a clock that is set back, refused for now or for good: the same file again and
    again in the end. Each run sends nothing but what the one before was refused for now, until that is all that is refused again: a
    start and the end it lies behind may be judged in the wrong order, side by side, and go in one after the other."""
    picture = mapped("attendance")
    plain = {name: source for name, source in picture.steps["attendance"].items() if name != "reported_at"}
    days = picture if days_dated else replace(picture, steps={"attendance": plain})
    service, at = Desk(), NOW
    last = {**calls[-1], "moves": 1_000_000}
    with tempfile.TemporaryDirectory() as folder:
        again = [{**last, "minutes": 1, "again": False, "seed": last["seed"] + n} for n in range(1, MOST_RUNS)]
        for number, said in enumerate([*calls, last, *again]):
            at += timedelta(minutes=said["minutes"])
            service.no = refuses(said["refused"], said["reason"])
            kind = "attendance" if "meeting_ref" in said["rows"][0] else "participations"
            mapping = days if kind == "attendance" else mapped(kind, *logs)
            if kind == "participations":
                mapping = replace(mapping, about={**mapping.about, "consent": "consent_ref"})
            rows = [row(ROW if kind == "participations" else MEETING, **cells) for cells in said["rows"]]
            rows = [replace(row, cells={**row.cells, **consistent(row.cells)}) for row in rows]
            with Store(Path(folder), "oulad", "oulad") as store:
                store._db.execute("pragma synchronous = off")  # what a disk costs is not asked here
                run = call(store, service, mapping, rows, at, again=said["again"], chance=random.Random(said["seed"]),
                           moves=said["moves"])  # fmt: skip
                if number > len(calls):
                    assert all(was_refused_for_now(store, step.sent) for step in run.sent)
                    if all(service.answers[step.sent.id].reason in LATER for step in run.sent):
                        break
        else:
            pytest.fail("it never ends")
        assert "unanswered" not in run.rows
        with Store(Path(folder), "oulad", "oulad", reading=True) as store:
            for found, outcome in zip(rows, run.rows, strict=True):
                if outcome == "in":
                    stands_as_it_says(service, store, mapping, rows, found.cells)


MOST_RUNS = 10
"""Two reports a row that wait for each other, four rows at most, and the run that finds nothing new."""


def was_refused_for_now(store: Store, sent: Sent) -> bool:
    """Whether it says once more what the runs before were refused for now."""
    before = [one for one in store.of_key(sent.key) if one.content == sent.content and one.revision < sent.revision]
    return bool(before) and before[-1].reason in LATER


def consistent(cells: dict[str, str]) -> dict[str, str]:
    """What goes with what was drawn."""
    if "meeting_ref" in cells:
        return {"units_attended": "4" if cells["presence"] == "PRESENT" else "0"}
    return {"end_kind": "DROPPED_OUT" if cells["ended_on"] else ""}


def stands_as_it_says(
    service: Service, store: Store, mapping: Mapping, rows: Sequence[Row], cells: dict[str, str]
) -> None:
    """What stands of each thing of the row is what it says, or what was reported later. Where it does not say when, it was when the
    newest row of the same thing was; where none says so, now."""
    participation = store.id_of("participation", cells["source_ref"])
    things: list[tuple[tuple[str, ...], str, str, str]]
    if mapping.kind.name == "attendance":
        meeting = store.id_of("meeting", cells["source_ref"], cells["meeting_ref"])
        things = [(("attendance", participation, meeting), "presence", "presence", "reported_at")]
    else:
        things = [(("start", participation), "started_on", "started_on", "start_at"),
                  (("end", participation), "ended_before_on", "ended_on", "end_at")]  # fmt: skip
    for thing, name, column, when in things:
        stands, is_log = service.stands(*thing), "reported_at" in mapping.steps[thing[0]]
        if not cells[column]:
            others = [row for row in rows if row.cells["source_ref"] == cells["source_ref"] and row.cells[column]]
            assert stands is None or (is_log and others)
            continue
        assert stands is not None
        keys = ("source_ref", "person_ref", "meeting_ref")
        same = [row.cells for row in rows if all(row.cells.get(key) == cells.get(key) for key in keys)]
        times = [cells[when]] if cells[when] else [other[when] for other in same if other[column] and other[when]]
        if not is_log or not times:
            assert stands[name] == cells[column]
            continue
        time, stood = max(map(datetime.fromisoformat, times)), datetime.fromisoformat(stands["reported_at"])
        assert stood > time or (stood == time and stands[name] == cells[column])
