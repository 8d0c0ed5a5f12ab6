"""What an operator asks: is every submission being answered, and if not, where does it stand still?"""

import contextlib
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from contracts.envelope import stamp
from contracts.topics import CLOCK
from services.host.inputs import Inputs
from services.host.running import Running
from services.kept.waiting import TOLD, WAKING, missing
from services.process.certificates import Certificates
from services.process.otherwise import Corrupt
from services.runtime import positions
from services.runtime.database import RETRY, Connection
from services.runtime.failures import Held, name_of
from services.runtime.messages import Part

VERSION = 2

_ONE = """
select (select count(*) from outbox where sent_at is null) as outbox,
       (select coalesce(extract(epoch from now() - min(at)), 0)::float from outbox where sent_at is null) as outbox_age,
       (select coalesce(extract(epoch from now() - min(arrived)), 0)::float from kept where publisher <> '') as unanswered,
       counted('answered') as answered, counted('timeline') as facts,
       (select max(at) from rebuilt) as rebuilt,
       (select count(*) from tick where held is null)
           + (select count(*) from alliance where acted is distinct from ticked) as acting
"""
_STOPPED = """
select case when held like 'publisher:%' then held else topic || '/' || part end as what,
       case when held like 'publisher:%' then 'Flood' else held end as why, held_since as since
from (select topic, part, held, held_since from position union all select topic, part, held, held_since from acked) p
where held is not null and topic = any($1::text[]) order by topic, part
"""
"""Of a publisher that is gone from the file nothing is read any more, and nobody could end what is held."""
_AHEAD = "select tenant, ticked from alliance where ticked > now() + interval '10 minutes' order by tenant"
"""Alliances for which time stands still until then: no age tells it, for that of their last tick is below nothing."""
_IN_THE_WAY = ("select distinct pid, a.usename from pg_locks l join pg_stat_activity a using (pid) where l.granted and l.relation > 0"
               " and l.mode <> 'AccessShareLock' and a.usename <> current_user and a.datname = current_database() order by pid")  # fmt: skip
"""Sessions of others that hold locks in our database: their number and role, never what they typed."""
WATCHED = 100  # moments remembered of a long lag, each with all ends; beyond, every second one is enough
SEEN_WITHIN = 10.0  # seconds: the minder looks once a second


class Status:
    """Answers /status and sets the gauges; `ends` and `older` are brought up to date by the minder."""

    def __init__(self, node: Running, inputs: Inputs) -> None:
        self.node, self.inputs = node, inputs
        self.ready, self.older = False, 0
        self.ends: dict[Part, int] = {}
        self._stands: dict[Part, int] = {}
        self._looked = 0.0
        self.certificates = Certificates(node.settings.kafka, node.settings.kafka_security)
        self._watched: list[tuple[float, dict[Part, int]]] = []
        """Ends of the logs as they stood at moments, oldest first, not yet passed by all positions."""
        self._began = time.monotonic()
        self._applied_until: float | None = None
        """The moment up to which everything is applied; None until somebody has looked."""

    async def look(self, ends: dict[Part, int]) -> None:
        """Once a second: what stood in the logs at some moment and has been applied since says how far behind we are."""
        stands = await positions.stand(self.node.pool)
        self.ends, self._stands, self._looked = ends, stands, time.monotonic()
        if self._applied_until is None:
            self._applied_until = time.monotonic() - await self._backlog_seconds(stands)
        self._watched.append((time.monotonic(), ends))
        while self._watched and all(stands.get(p, 0) >= end for p, end in self._watched[0][1].items()):
            self._applied_until = self._watched.pop(0)[0]
        if len(self._watched) > WATCHED:
            self._watched = self._watched[::2]

    async def _backlog_seconds(self, stands: dict[Part, int]) -> float:
        """By the broker's time, the age of the oldest record that stood there before this process did: whoever starts again
        and again is not less late for it."""
        waits = {part: (at, at + 1) for part, at in stands.items() if at < self.ends.get(part, 0)}
        times = list[int]()
        with contextlib.suppress(Corrupt):  # its age nobody can read; all else is looked after meanwhile
            async for found in self.node.reader.records(waits):
                times += [record.timestamp for record in found]
        return max(0.0, time.time() - min(times) / 1000) if times else 0.0

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest input not applied, to a second or so; 0 where there is none."""
        return time.monotonic() - self._applied_until if self._watched and self._applied_until is not None else 0.0

    def lag(self, stands: dict[Part, int]) -> dict[str, int]:
        """Records not applied, by topic."""
        found: Counter[str] = Counter()
        for part, next in stands.items():
            found[part.topic] += max(0, self.ends.get(part, 0) - next)
        return dict(+found)

    def idle(self) -> float:
        """Seconds without a settled batch while this process lags; a quiet hour before it does not count, nor what another process
        has to read, nor what nobody could see within the last seconds: what is away then is no fault of ours."""
        seen = self.inputs.mine if time.monotonic() - self._looked < SEEN_WITHIN else ()
        lags = any(self._stands.get(part, 0) < self.ends.get(part, 0) for part in seen)
        return min(time.monotonic() - self.inputs.progress, self.lag_seconds) if lags else 0.0

    async def said(self) -> dict[str, Any]:
        """The versioned answer. Where the database is away it says so and what is known without it."""
        held = [_held(h) for h in (*self.inputs.held.values(), *self.node.unsent.values())]
        name, older = self.node.service.name, self.older or None
        said = {"version": VERSION, "service": name, "ready": self.ready, "older_than_log": older}
        try:
            # one picture: a tick read by the second statement must not be missing from what the first counted
            picture: dict[str, Any] = {"isolation": "repeatable_read", "readonly": True}
            async with self.node.pool.acquire(timeout=3) as con, con.transaction(**picture):
                return said | await self._read(con, held)
        except RETRY as error:  # the gauges must tell, too: nothing goes on while the database is away
            self.node.metrics.set(held=max(1, len(held)), progress_age_seconds=time.monotonic() - self.inputs.progress)
            return said | {"database": name_of(error), "held": held}

    async def _read(self, con: Connection, held: list[dict[str, str]]) -> dict[str, Any]:
        """What the database says; `held`, what this process knows to be held, gets what only the database knows. Sets the gauges."""
        one = (await con.fetch(_ONE))[0]
        kept = {r["why"]: r["n"] for r in await con.fetch(f"select {TOLD} as why, count(*) as n from kept group by 1")}
        aside = await con.fetch("""select topic, part, "offset", error from kept where why = 'aside' order by seq limit 100""")  # fmt: skip
        quarantined = await con.fetch("select subject, why, since, coalesce(n, 0) as kept from quarantine left join"
                                      " (select subject, count(*) as n from kept group by subject) k using (subject) where why <> $1 order by since", WAKING)  # fmt: skip
        letters = await con.fetch("select topic, publisher, type, rule, sum(letters)::bigint as letters,"
                                  " coalesce(sum(letters) filter (where hour > now() - interval '1 day'), 0)::bigint as of_a_day"
                                  " from dead_letter group by topic, publisher, type, rule order by topic, type, rule")  # fmt: skip
        topics = [*self.node.inputs, *self.node.own_topics]
        stopped = [_held(Held(*row)) for row in await con.fetch(_STOPPED, topics)]
        ticks = await con.fetch("select tenant, ticked, acted from alliance order by tenant")
        held_ticks = await con.fetch("select at, held from tick where held is not null order by at")
        stands = await positions.stand(con)
        lag = self.lag(stands)
        gaps, known = [h for h in stopped if positions.is_gap(h["why"])], {h["what"] for h in held}
        held += {h["what"]: h for h in stopped if h not in gaps and h["what"] not in known}.values()
        findings = await self._findings(con, held, stopped)
        figures = {
            "lag_seconds": self.lag_seconds, "oldest_unanswered_seconds": one["unanswered"],
            "outbox_rows": one["outbox"], "outbox_age_seconds": one["outbox_age"], "waiting": kept.get("waiting", 0),
            "early": kept.get("early", 0), "set_aside": kept.get("aside", 0), "quarantined": len(quarantined), "findings": len(findings),
            "held": sum(not h["what"].startswith("publisher:") and h["what"] not in self.node.unsent for h in held), "gaps": len(gaps),
            "publishers_held": sum(h["what"].startswith("publisher:") for h in held),
            "dead_letters": sum(r["letters"] for r in letters), "progress_age_seconds": self.idle(),
            "tick_age_seconds": self._tick_age([r["acted"] for r in ticks if r["ticked"]]) if ticks else 0, "older_than_log_facts": self.older,
            "certificate_seconds": self.certificates.seconds,
        }  # fmt: skip
        self.node.metrics.set(**figures)
        return {
            **{what: {r["tenant"]: _moment(r[what]) for r in ticks} for what in ("ticked", "acted")},
            "clock": {"read": stands.get(Part(CLOCK, 0), 0), "acting": one["acting"]},
            "lag": lag, "outbox": {"rows": one["outbox"], "seconds": round(one["outbox_age"], 1)},
            **{name: round(figures[name], 1) for name in ("lag_seconds", "oldest_unanswered_seconds")},
            **{name: figures[name] for name in ("waiting", "early")},
            "set_aside": {"count": figures["set_aside"], "which": [dict(r) for r in aside]},
            "quarantined": [{**dict(r), "since": stamp(r["since"])} for r in quarantined],
            "dead_letters": [dict(r) for r in letters], "held": held, "gaps": gaps,
            "held_ticks": [{"at": stamp(r["at"]), "why": r["held"]} for r in held_ticks],
            "not_consumed": sorted({part.topic for part in stands} - set(self.node.inputs)),
            "answered": one["answered"], "facts": one["facts"],
            "last_progress_seconds": round(time.monotonic() - self.inputs.progress, 1),
            "last_rebuild": _moment(one["rebuilt"]), "findings": findings,
        }  # fmt: skip

    async def _findings(self, con: Connection, held: list[dict[str, str]], stopped: list[dict[str, str]]) -> list[str]:
        """What a person should look at, in words: what the service finds itself, and what can be told of any. `stopped`: those of
        what is held that the database knows."""
        found = await self.node.service.findings(con) if self.node.service.findings else []
        found += await missing(con)
        found += [f"time stands still for {r['tenant']} until {stamp(r['ticked'])}: the clocks of Kafka and of `lotse serve clock` were"
                  " ahead, or the database's is behind" for r in await con.fetch(_AHEAD)]  # fmt: skip
        if self.node.service.reports:
            found += [f"no report is taken: {h['what']} is held, and a month without its facts would be wrong"
                      for h in stopped if h["what"].rpartition("/")[0] in self.node.inputs]  # fmt: skip
        if any(":55P03" in h["why"] for h in held):  # a lock that could not be had
            found += [f"session {r['pid']} ({r['usename']}) holds locks; pg_terminate_backend({r['pid']}) ends it"
                      for r in await con.fetch(_IN_THE_WAY)]  # fmt: skip
        return found

    def _tick_age(self, acted: list[datetime | None]) -> float:
        """Of the alliance for which time stands still the longest; where no tick was acted on, since this process began."""
        now, running = datetime.now(UTC), time.monotonic() - self._began
        return max((now - at).total_seconds() if at else running for at in acted or [None])


def _held(held: Held) -> dict[str, str]:
    return {"what": held.what, "why": held.why, "since": stamp(held.since)}


def _moment(at: datetime | None) -> str | None:
    return stamp(at) if at else None
