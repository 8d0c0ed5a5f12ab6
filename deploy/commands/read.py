"""`lotse case`, `lotse risks`, `lotse report`: what the services know, through their thin APIs."""

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import click
import httpx

from contracts.envelope import ALLIANCE_ZONE, moment, stamp
from deploy.asking import client
from deploy.errors import FINDINGS, UNREACHABLE, Trouble
from deploy.importer.store import Store
from deploy.local.announced import running
from deploy.printed import formats, printed
from deploy.services import publishers_from

RISKS = ("about", "rule", "case_id", "tenant", "participation_id", "referral_id", "run_id", "holds_from_on", "raised", "open",
         "open_first_on", "owner_organisation_id")  # fmt: skip
BY_REFERENCE = ("run_ref", "source_ref", "rule", "first_on", "open")
CELLS = ("tenant", "month", "vintage", "municipality", "block", "entries", "exits", "stock", "left_out")
"""Columns, so that CSV has its header where there is no row."""


TELLING = {
    "case_opened": ("municipality",),
    "case_closed": ("last_day_on", "reason"),
    "need_recorded": ("need_type",),
    "consent_granted": ("purpose", "valid_from_on", "last_valid_on", "consent_id"),
    "consent_revoked": ("withdrawn_on", "consent_id"),
    "referral_sent": ("requested_on", "block", "referral_id", "consent_id"),
    "referral_accepted": ("answered_on", "planned_start_on", "referral_id"),
    "referral_declined": ("answered_on", "reason", "referral_id"),
    "referral_stopped": ("stopped_on", "reason", "referral_id"),
    "participation_started": ("started_on", "participation_id", "referral_id"),
    "participation_ended": ("ended_before_on", "kind", "reason", "participation_id"),
    "attendance_recorded": ("meeting_on", "presence", "revision", "participation_id"),
    "dropout_risk_raised": ("rule", "first_on", "about"),
    "dropout_risk_continued": ("rule", "first_on", "last_missed_on", "about"),
    "dropout_risk_withdrawn": ("rule", "first_on", "reason", "about"),
    "dropped_out": ("ended_before_on", "reason", "participation_id"),
    "dropped_out_withdrawn": ("participation_id",),
}
"""What of a fact its line in a timeline says: days and codes, by which a correction is told from what it corrects, and of which course
or consent it speaks."""


def get(service: str, path: str, **query: str | None) -> Any:
    """Asks a service of the stack that is up. Raises Trouble where it is silent or does not answer the question, as while its
    database is away (503); None where it does not know."""
    try:
        said = {name: value for name, value in query.items() if value}
        answer = client().get(f"{running()[service]}{path}", params=said, timeout=10)
        return None if answer.status_code == 404 else answer.raise_for_status().json()
    except httpx.HTTPStatusError as error:
        what = f"{service} answers {error.response.status_code}"
    except (httpx.HTTPError, ValueError) as error:  # a ValueError: what it says is no JSON
        what = f"{service} is silent ({type(error).__name__})"
    raise Trouble(what, "`lotse status` shows why", UNREACHABLE)


def happened(step: dict[str, Any]) -> str:
    """When a step of a timeline happened, of itself: for what a rule of ours says, the tick by which it says so, but not before the
    end of the last day that caused it, nor after it was recorded: that day may be today. (Where the tick itself is of a later moment
    than that, time is a play's, and has no end.)"""
    said, recorded = str(step["body"].get("as_of") or step["time"]), step["recorded_at"]
    ends = [stamp(datetime.combine(date.fromisoformat(day), time(23, 59, 59), ALLIANCE_ZONE))
            for day in step["body"].get("days_on", ())]  # fmt: skip
    return max([said, *(end if said > recorded else min(end, recorded) for end in ends)])


def in_order(steps: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Steps of a timeline as they happened, and when. What a rule of ours says happened after what it follows from, whatever the tick
    by which it speaks, and whatever the clock of who recorded it. Of what is said of risks none happened before the one said before
    it: a correction of today takes back, by the tick of yesterday, what a report of today has raised."""
    by_id = {step["fact_id"]: step for step in steps}

    def with_causes(step: dict[str, Any]) -> list[dict[str, Any]]:
        found = [step]
        while (cause := by_id.get(found[-1]["cause"])) is not None:
            found.append(cause)
        return found

    dated, latest = [], ""
    for step in sorted(steps, key=lambda step: (step["family"], step["number"])):
        *rules, first = with_causes(step)
        when = max(happened(first), *(one["body"].get("as_of", "") for one in rules), "")
        if step["family"] == "dropout":
            latest = when = max(latest, when)
        dated.append((when, step["recorded_at"], len(rules), step))
    return [(when, step) for when, *_, step in sorted(dated, key=lambda one: (*one[:3], one[3]["number"]))]


def told(step: dict[str, Any]) -> str:
    """What a step of a timeline says, in a few words; of an id its first eight characters."""
    body, words = step["body"], list[str]()
    for name in TELLING.get(step["type"].split(".")[2], ()):
        if (said := body.get(name)) is None:
            continue
        of = {"S2": "participation", "S6": "referral"}.get(body["rule"], name) if name == "about" else name
        if name == "about" or name.endswith("_id"):
            words += [of.removesuffix("_id"), said[:8]]
        elif name != "revision":
            words += [str(said)]
        elif said > 1:
            words += [f"revision {said}"]
    return " ".join(words)


def in_the_zone(when: str) -> str:
    """A moment to the minute, where its days are days: with the offset, since one hour a year comes twice."""
    return moment(when).astimezone(ALLIANCE_ZONE).isoformat(timespec="minutes")


@click.command()
@click.argument("case_id")
@click.option("--source", help="CASE_ID is what this publisher calls the person in what it imported here.")
@formats
def case(case_id: str, source: str | None, shape: str) -> int:
    """Show one case as a timeline: when something happened, when it was recorded (both in Berlin time), what it was, and what it says
    of which consent, referral or participation (the first eight characters of its id)."""
    if source:
        with imported(source) as store:
            case_id = store.id_of("case", case_id)
    intake, referral = get("intake", f"/cases/{case_id}"), get("referral", f"/cases/{case_id}")
    if intake is None:
        way_out = "compare it with the file" if source else "case ids stand in the case list: GET /cases of intake"
        raise Trouble("no such case", way_out, FINDINGS)
    rows = [{"happened": in_the_zone(when), "recorded": in_the_zone(step["recorded_at"]), "what": step["type"].split(".")[2],
             "says": told(step), "number": f"{step['family']} {step['number']}"}
            for when, step in in_order([*intake["timeline"], *referral["timeline"]])]  # fmt: skip
    printed(shape, rows, columns=["happened", "recorded", "what", "says", "number"])
    return 0


@click.command()
@click.option("--tenant", help="One alliance only.")
@click.option("--source", help="Only what this publisher imported here, by its own references.")
@formats
def risks(tenant: str | None, source: str | None, shape: str) -> int:
    """List the risks that hold or held. holds_from_on is the first day on which the rule ever held, by the days as known now; open says
    whether a risk is open now, and open_first_on is the first day of that one: somebody may have come again in between.

    With --source the columns are run_ref, source_ref, rule, first_on, open; first_on is then what holds_from_on is without it, so it
    may be the first day of another risk than the one that is open."""
    rows = sorted(get("referral", "/risks", tenant=tenant), key=lambda row: (row["run_id"], row["about"], row["rule"]))
    printed(shape, by_reference(rows, source) if source else rows,
            columns=BY_REFERENCE if source else RISKS)  # fmt: skip
    return 0


def imported(source: str) -> Store:
    """What an import of this publisher remembers, to be read. Raises Trouble where there was none."""
    found = running()
    publisher = publishers_from(Path(found["publishers"])).get(source)
    folder = Path(found["folder"]) / "import"
    if publisher is None or not (folder / f"{source}.sqlite").exists():
        raise Trouble(f"nothing was imported here for {source}", "`lotse import` first, or another name", FINDINGS)
    return Store(folder, publisher.source, publisher.name, reading=True)


def by_reference(rows: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Risks by the references of the partner's files, from the importer's own map."""
    of: dict[str | None, dict[str, Any]] = {}
    with imported(source) as store:
        for reference, run, _ in store.participations():
            for kind in ("participation", "referral"):  # a no-show (S6) is about the referral
                of[store.id_of(kind, reference)] = {"run_ref": run, "source_ref": reference}
    named = [{**of[row["about"]], "rule": row["rule"], "first_on": row["holds_from_on"], "open": row["open"]}
             for row in rows if row["about"] in of]  # fmt: skip
    return sorted(named, key=lambda row: (row["run_ref"], row["source_ref"], row["rule"]))


@click.command()
@click.argument("name", type=click.Choice(["participation"]))
@click.option("--tenant", help="One alliance only.")
@formats
def report(name: str, tenant: str | None, shape: str) -> int:
    """Show the last vintage of each month: entries, exits and stock by municipality and block, and how many cases these figures leave
    out because something reported of them could not be counted yet."""
    releases = get("reporting", f"/reports/{name}", tenant=tenant)
    rows = [{"tenant": release["tenant"], "month": release["month"], "vintage": release["vintage"], **cell,
             "left_out": release["body"].get("left_out", "")}
            for release in releases for cell in release["body"]["cells"]]  # fmt: skip
    printed(shape, rows, columns=CELLS)
    return 0
