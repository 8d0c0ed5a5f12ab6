"""What is sent: cases with courses, seeded, in shapes whose end does not depend on the order of arrival (see expected).

Written as a publisher would write it, by hand: it shares nothing with `contracts`. Between ticks of 1 and 2 June 2026, with
meetings in the fortnight before, so that every risk that holds is also told.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from deploy.soak.expected import Publisher
from deploy.soak.journal import Meant

HERE = Path(__file__).parent
PUBLISHERS_FILE, ORGANISATIONS_FILE = HERE / "publishers.toml", HERE / "organisations.toml"
TENANT = "rkn"
PUBLISHERS = {
    "north": Publisher("https://north.example/lotse", (TENANT,), ("rkn-thm", "jmd-neuss", "vhs-neuss")),
    "south": Publisher("https://south.example/lotse", (TENANT,), ("rkn-thm", "jmd-neuss", "vhs-neuss")),
    "loud": Publisher("https://loud.example/lotse", (TENANT,), ("vhs-neuss",)),
}
FIRST_TICK = datetime(2026, 6, 1, 6, tzinfo=UTC)
TICK = timedelta(seconds=2)
"""From one tick to the next: months are released once a day, and the day of the first tick must not end before the last."""
LAST_DAY_TICK = datetime(2026, 6, 2, 6, tzinfo=UTC)
DAYS = [date(2026, 5, 19) + timedelta(days=n) for n in range(13)]
"""Meetings; on the last tick none is older than a fortnight, so each absence is still told."""
NEVER = "2026-12-17"
"""The last day of every run, which no tick reaches: no S6 between an acceptance and its start, whichever is heard first."""
OWNERS, PROVIDER = ("rkn-thm", "jmd-neuss"), "vhs-neuss"
MAILBOXES = {f"{TENANT}:rkn-thm": "teilhabe@rkn.example", f"{TENANT}:jmd-neuss": "office@jmd.example"}
"""Office to where it reads its mail; the same as in organisations.toml, said once more."""
MUNICIPALITIES = ("05162004", "05162008", "05162024")
CANARY = "Zugvogel"
"""What stands in poison where a name would: it must be found nowhere, since dead letters are sealed."""


@dataclass
class Wave:
    """Cases and what is said about them. `first` may be sent in any order; `then` when `gates` are answered."""

    first: list[Meant] = field(default_factory=list)
    gates: list[tuple[str, str]] = field(default_factory=list)
    """(publisher, id) of acceptances; a start before its acceptance would rightly be refused."""
    then: list[Meant] = field(default_factory=list)


class Load:
    """Waves of cases; same seed, same submissions."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.hour = 0

    def id(self) -> str:
        """A UUID."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def say(self, publisher: str, family: str, type: str, subject: str, by: str, **body: Any) -> Meant:
        """One submission of a publisher."""
        said = {"by": {"organisation_id": by, "kind": "person"}, **body}
        return Meant(
            publisher, family, type, self.id(), subject, TENANT, "2026-05-31T18:00:00Z", json.dumps(said).encode()
        )

    def wave(self, cases: int, meetings: int, *, noise: bool = True, a_run: int = 5) -> Wave:
        """Some cases with about so many meetings each, `a_run` of them to a run; `noise`: repeats, rivals, reused ids, poison,
        flaws among them."""
        wave, chance = Wave(), self.chance
        runs: list[tuple[str, str]] = []
        for n in range(cases):
            publisher = chance.choice(("north", "south"))
            if n % a_run == 0:
                runs.append((self.id(), chance.choice(("F1", "F4"))))
                wave.first.append(self.say(publisher, "referral", "offer_run_submitted", runs[-1][0], PROVIDER,
                    provider_organisation_id=PROVIDER, block=runs[-1][1], offer_type="LANGUAGE_COURSE", starts_on="2026-02-02",
                    ends_before_on="2026-12-18", course_days=60))  # fmt: skip
            self._case(wave, publisher, chance.choice(runs)[0], meetings)
        if noise:
            self._noise(wave)
        chance.shuffle(wave.first)
        chance.shuffle(wave.then)
        return wave

    def _case(self, wave: Wave, publisher: str, run: str, meetings: int) -> None:
        chance, case, owner = self.chance, self.id(), self.chance.choice(OWNERS)
        consent, referral = self.id(), self.id()
        way = chance.choices(["attends", "no show", "declined", "withdrawn", "uncovered"], [80, 6, 5, 5, 4])[0]
        recipients = ["caritas-rkn"] if way == "uncovered" else [PROVIDER]
        wave.first += [
            self.say(publisher, "intake", "registration_submitted", case, owner, municipality=chance.choice(MUNICIPALITIES),
                     programme="GK", owner_organisation_id=owner),
            self.say(publisher, "intake", "need_reported", case, owner, need_id=self.id(), need_type="LANGUAGE"),
            self.say(publisher, "intake", "consent_given", case, owner, consent_id=consent, purpose="REFERRAL",
                     categories=["LANGUAGE", "EDUCATION"], recipients=recipients, valid_from_on="2026-01-01",
                     last_valid_on="2028-12-31"),
            self.say(publisher, "referral", "referral_requested", case, owner, referral_id=referral, run_id=run,
                     consent_id=consent, categories=["LANGUAGE"], requested_on="2026-01-20"),
        ]  # fmt: skip
        if way == "uncovered":
            return
        no = {"answer": "DECLINED", "reason": "FULL"}
        yes = {"answer": "ACCEPTED", "planned_start_on": "2026-05-20" if way == "no show" else NEVER}
        answer = self.say(publisher, "referral", "referral_answered", case, PROVIDER, referral_id=referral,
                          answered_on="2026-01-25", **(no if way == "declined" else yes))  # fmt: skip
        wave.first.append(answer)
        if way == "withdrawn":
            wave.gates.append((publisher, answer.id))
            wave.then.append(self.say(publisher, "intake", "consent_withdrawn", case, owner, consent_id=consent,
                                      withdrawn_on="2026-02-01"))  # fmt: skip
        if way == "attends":
            wave.gates.append((publisher, answer.id))
            wave.then += self._attends(publisher, case, referral, meetings)

    def _attends(self, publisher: str, case: str, referral: str, meetings: int) -> Iterator[Meant]:
        chance, participation = self.chance, self.id()
        days = DAYS
        started = date(2026, 2, 2) + timedelta(days=chance.randrange(100))

        def step(what: str, revision: int, **more: Any) -> Meant:
            return self.say(publisher, "referral", f"participation_{what}_reported", case, PROVIDER, revision=revision,
                            participation_id=participation, reported_at=f"2026-05-31T1{revision}:00:00Z", **more)  # fmt: skip

        yield step("start", 1, referral_id=referral, started_on=str(started))
        if chance.random() < 0.3:
            end = chance.choice(DAYS[3:])
            days = [day for day in DAYS if day < end]
            yield step(
                "end", 1, ended_before_on=str(end), kind=chance.choice(("DROPPED_OUT", "COMPLETED")), reason="WORK"
            )
            if chance.random() < 0.2:  # mixed up with somebody: the end is taken back
                yield step("end", 2, ended_before_on=str(end), kind="ENTERED_IN_ERROR", reason="UNKNOWN")
        absent = {day for day in days if chance.random() < 0.25}
        if chance.random() < 0.4:
            absent |= set(days[-2:])
        for n in range(meetings):
            day, meeting = days[n % len(days)], self.id()
            presence = "UNEXCUSED" if day in absent else chance.choice(("PRESENT", "PRESENT", "LATE", "EXCUSED"))
            yield self.meeting(publisher, case, participation, meeting, day, presence, 1)
            if chance.random() < 0.08:
                yield self.meeting(
                    publisher, case, participation, meeting, day, chance.choice(("PRESENT", "UNEXCUSED")), 2
                )

    def meeting(self, publisher: str, case: str, participation: str, meeting: str, on: date, presence: str, revision: int,
                **more: Any) -> Meant:  # fmt: skip
        """A report of one meeting."""
        there = presence in ("PRESENT", "LATE")
        said = {"participation_id": participation, "meeting_id": meeting, "meeting_on": str(on), "units_planned": 4,
                "units_attended": 4 if there else 0, "presence": presence, "revision": revision,
                "reported_at": f"2026-05-31T{10 + revision}:00:00Z"}  # fmt: skip
        if presence == "EXCUSED":
            said["excuse_reason"] = "PERSONAL"
        return self.say(publisher, "attendance", "attendance_reported", case, PROVIDER, **{**said, **more})

    # --- what foreign systems do

    def _noise(self, wave: Wave) -> None:
        chance, then = self.chance, list(wave.then)
        corrected = {self._meeting(meant) for meant in then if b'"revision": 2' in meant.body}
        reports = [meant for meant in then if meant.type == "attendance_reported"]
        for n, meant in enumerate(wave.first):
            if chance.random() < 0.1:
                wave.first[n] = replace(meant, copies=chance.choice((2, 3)))
        for n, meant in enumerate(wave.then):
            if chance.random() < 0.05:
                wave.then[n] = replace(meant, copies=2)
        once = [meant for meant in reports if self._meeting(meant) not in corrected and b"PRESENT" in meant.body]
        for meant in once:
            draw = chance.random()
            if draw < 0.03:  # the same statement under another id
                wave.then.append(replace(meant, id=self.id()))
            elif draw < 0.06:  # another statement of the same order
                wave.then.append(replace(meant, id=self.id(), body=meant.body.replace(b'"PRESENT"', b'"LATE"')))
            elif draw < 0.09:  # other content under a used id
                wave.then.append(replace(meant, body=meant.body.replace(b'"PRESENT"', b'"LATE"')))
        for meant in chance.sample(reports, min(len(reports), 1 + len(reports) // 100)):
            wave.then += [self.flawed(meant), self.poisoned(meant)]
        if reports:
            wave.then.append(self.orphan(reports[0]))

    def _meeting(self, meant: Meant) -> str:
        return str(json.loads(meant.body).get("meeting_id", meant.id))

    def flawed(self, meant: Meant) -> Meant:
        """A report that is refused, for a reason of its own."""
        body = {**json.loads(meant.body), "meeting_id": self.id()}
        match self.chance.randrange(5):
            case 0:
                body["units_attended"] = 9
            case 1:
                body["meeting_on"] = "2025-12-24"
            case 2:
                body["by"] = {"organisation_id": "somebody-else", "kind": "person"}
            case 3:
                body["meeting_on"] = str(date.today() + timedelta(days=400))
            case _:
                return replace(meant, id=self.id(), tenant="somewhere-else", body=json.dumps(body).encode())
        return replace(meant, id=self.id(), body=json.dumps(body).encode())

    def orphan(self, meant: Meant) -> Meant:
        """A report about a participation that nobody ever starts: it waits."""
        body = {**json.loads(meant.body), "participation_id": self.id(), "meeting_id": self.id()}
        return replace(meant, id=self.id(), body=json.dumps(body).encode(), waits=True)

    def unknown_type(self, publisher: str) -> Meant:
        """A whole envelope, and a type nobody knows."""
        id, source = self.id(), PUBLISHERS[publisher].source
        headers = {"ce_specversion": "1.0", "ce_id": id, "ce_source": source, "ce_type": "lotse.attendance.nobody_knows.v1",
                   "ce_subject": self.id(), "ce_time": "2026-05-31T18:00:00Z", "ce_tenant": TENANT}  # fmt: skip
        said = tuple((name, text.encode()) for name, text in headers.items())
        return Meant(publisher, "attendance", "nobody_knows", id, headers["ce_subject"], TENANT, headers["ce_time"], b"{}",
                     "unknown type", said)  # fmt: skip

    def poisoned(self, meant: Meant) -> Meant:
        """What nobody can read, in one of the ways in which messages come broken, with a canary in it."""
        id, chance = self.id(), self.chance
        sound = [("ce_specversion", b"1.0"), ("ce_id", id.encode()), ("ce_source", PUBLISHERS[meant.publisher].source.encode()),
                 ("ce_type", f"lotse.{meant.family}.{meant.type}.v1".encode()), ("ce_subject", meant.subject.encode()),
                 ("ce_time", meant.time.encode()), ("ce_tenant", meant.tenant.encode())]  # fmt: skip
        headers: dict[str, bytes | None] = dict(sound)
        # sound but for what is broken below: whoever does not look at that takes it
        name, named = f'{{"name": "{CANARY} {id}"'.encode(), True
        body = name + b", " + meant.body[1:]
        match poison := chance.choice(POISONS):
            case "random bytes":
                body = chance.randbytes(64) + CANARY.encode()
            case "truncated body":
                body = meant.body[: len(meant.body) // 2] + CANARY.encode()
            case "missing fields":
                body = name + b"}"
            case "unknown type":
                headers["ce_type"] = b"lotse.attendance.nobody_knows.v1"
            case "next major version":
                headers["ce_type"] = b"lotse.attendance.attendance_reported.v7"
            case "foreign source":
                headers["ce_source"] = b"https://other.example"
            case "no time zone":
                headers["ce_time"] = b"2026-05-31T18:00:00"
            case "null header":
                headers["ce_subject"] = None
            case "header not UTF-8":
                headers["ce_tenant"] = b"\xff\xfe" + CANARY.encode()
            case "a NUL inside":
                body = meant.body.replace(b'"PRESENT"', b'"PRE\\u0000SENT"').replace(
                    b'"kind"', b'"\\u0000' + CANARY.encode() + b'"'
                )
                body = body if b"\\u0000" in body else b'{"\\u0000": 1}'
                body = body.replace(b'"organisation_id"', b'"organisation"')
            case "no id":
                del headers["ce_id"]
                named = False
            case "name as id":
                headers["ce_id"], named = f"{CANARY} geb. {id}".encode(), False
        return replace(
            meant, id=id if named else "", body=body, poison=poison, headers=tuple(headers.items()), copies=1
        )


POISONS = ("random bytes", "truncated body", "missing fields", "unknown type", "next major version", "foreign source",
           "no time zone", "null header", "header not UTF-8", "a NUL inside", "no id", "name as id")  # fmt: skip
