"""How cost grows, drawn from the JSON of a run."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import altair as alt

from deploy.bench.figures import shares

AXES = {
    "cases": ("cases there (2 meetings each)", True), "meetings": ("meetings known in each state", False),
    "alliances": ("alliances", True), "publishers": ("publishers' topics", True), "partitions": ("partitions of a topic", True),
    "workers": ("processes of referral", False),
}  # fmt: skip
"""Axis to its title, and whether it is logarithmic."""
WIDTH, HEIGHT = 420, 220
Chart = alt.LayerChart | alt.FacetChart

INK, MARK, REST = "#333333", "#1f5a94", "#9a9a9a"
OURS = ("full way", "loop")


def drawn(run: dict[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """A plot for each axis with two places or more: (what it shows, its file). Files of axes that are not there go."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for axis, (title, logarithmic) in AXES.items():
        rows = _places(run, axis)
        if len(rows) > 1:
            file = folder / f"{axis}.svg"
            growth(rows, title, logarithmic).save(str(file))
            yield title, file
    if rows := _rates(run):
        file = folder / "rates.svg"
        rates(rows).save(str(file))
        yield "rates side by side", file


def _places(run: dict[str, Any], axis: str) -> list[dict[str, Any]]:
    """At each place of an axis the share of the base's rate, median, least and most of its repetitions; 1 at the base."""
    found: dict[int, list[float]] = {}
    for point in run["points"]:
        if point["axis"] == axis:
            found[point["at"]] = shares(run["figures"], point)
            found[point["base_at"]] = [1.0]
    return [
        {"at": at, "share": median(left), "least": min(left), "most": max(left)} for at, left in sorted(found.items())
    ]


def growth(rows: list[dict[str, Any]], title: str, logarithmic: bool) -> Chart:
    """The full way's rate over an axis, as a share of its base's: medians joined, and the range of the repetitions."""
    places, top = [row["at"] for row in rows], max(row["most"] for row in rows) * 1.15
    scale = alt.Scale(type="log" if logarithmic else "linear", nice=False, padding=24)
    across = alt.X("at:Q", title=title, scale=scale, axis=alt.Axis(values=places, format=",d", grid=False))
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=across)
    up = alt.Y(
        "share:Q", title="rate, of the base's beside it", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(format="%")
    )
    chart = alt.layer(
        base.mark_rule(color=MARK, strokeWidth=5, opacity=0.25).encode(y=alt.Y("least:Q"), y2="most:Q"),
        base.mark_line(color=MARK, strokeWidth=2).encode(y=up),
        base.mark_point(color=MARK, filled=True, size=60, opacity=1).encode(y=up),
        base.mark_text(dy=-12, color=INK, fontSize=11).encode(y=up, text=alt.Text("share:Q", format=".2f")),
    )
    return _finished(chart, f"Full way over {title}; bars: range of the repetitions")


SIDE_BY_SIDE = ("full way, 2 processes", "full way, 1 process", "loop, 2 processes", "loop, 1 process", "compiled twin, two threads",
                "usual service, list[Model]", "usual service, a message", "limit, all writes of the loop, one connection")  # fmt: skip


def _rates(run: dict[str, Any]) -> list[dict[str, Any]]:
    found = run["figures"]
    return [{"what": name, "colour": MARK if name.startswith(OURS) else REST, "rate": found[name]["median"], "least": found[name]["least"], "most": found[name]["most"]}
            for name in SIDE_BY_SIDE if name in found]  # fmt: skip


def rates(rows: list[dict[str, Any]]) -> Chart:
    """Rates of one run side by side."""
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("what:N", title=None, sort=[row["what"] for row in rows], axis=alt.Axis(labelLimit=300))
    )
    across = alt.X("rate:Q", title="submissions a second", axis=alt.Axis(format=",d"))
    chart = alt.layer(
        base.mark_bar(opacity=0.8).encode(x=across, color=alt.Color("colour:N", scale=None)),
        base.mark_rule(color=INK, strokeWidth=2).encode(x=alt.X("least:Q"), x2="most:Q"),
        base.mark_text(align="left", dx=8, color=INK, fontSize=11).encode(
            x=alt.X("most:Q"), text=alt.Text("rate:Q", format=",.0f")
        ),
    )
    return _finished(
        chart, "Rates side by side, Lotse's in blue; lines: range of the repetitions", height=24 * len(rows)
    )


def _finished(chart: Chart, title: str, height: int = HEIGHT) -> Chart:
    shown: Chart = chart.properties(
        width=WIDTH, height=height, title=alt.TitleParams(title, anchor="start", fontSize=12), background="white"
    )
    return shown
