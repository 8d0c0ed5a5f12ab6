"""The compiled twin of referral's full way (`tests/performance/twin`): its states, its run, and that nothing is missing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from aiokafka.admin import NewTopic

from contracts.topics import answers_topic, submissions_topic
from deploy.bench import java
from deploy.bench.house import TOPICS_AT_ONCE, House
from deploy.bench.people import People
from deploy.errors import FINDINGS, Trouble

FACTS, DROPOUT = "twin.facts", "twin.dropout"
LOGGED = {"compression.type": "lz4", "message.timestamp.type": "LogAppendTime"}
"""As our own topics for facts and answers are kept."""


async def measure(house: House, threads: int, *, warm: int, count: int) -> dict[str, float]:
    """So many threads and a relay over the first reports on the topics; `count` measured after `warm`, since Java compiles what it
    runs. `rate` a second, `cpu` µs of its process each, and how many `answers`, `facts`, `others` it sent. Raises Trouble where
    one is missing on its topic, or the jars cannot be fetched."""
    publishers = [p for p in house.people.entries() if p.name != "office"]
    answers = {p.name: f"twin.{answers_topic('attendance', p.name)}" for p in publishers}
    topics = [FACTS, DROPOUT, *answers.values()]
    classes = house.stack.folder / "bench" / "twin"
    if not classes.exists():
        java.compiled(java.YARDSTICKS / "twin" / "Twin.java", classes)
    new = [NewTopic(topic, house.partitions, 1, topic_configs=LOGGED) for topic in topics]
    for at in range(0, len(new), TOPICS_AT_ONCE):
        await house.admin.create_topics(new[at : at + TOPICS_AT_ONCE])
    plan = {
        "kafka": house.stack.kafka, "facts": FACTS, "dropout": DROPOUT, "source": "//lotse/twin/referral", "partitions": house.partitions,
        "publishers": [{"topic": submissions_topic("attendance", p.name), "answers": answers[p.name], "source": p.source,
                        "tenants": p.tenants, "organisations": p.organisations} for p in publishers],
    }  # fmt: skip
    file = house.stack.folder / "bench" / "twin.json"
    file.write_text(json.dumps(plan))
    await seed(house)
    server = house.stack.postgres
    dsn = (f"jdbc:postgresql://127.0.0.1:{server.port}/referral?user=postgres&password={server.password('postgres')}"
           "&currentSchema=twin&prepareThreshold=1")  # fmt: skip
    try:
        told = await java.run(java.classpath(classes), "Twin", threads, warm, count, file, env={"TWIN_DATABASE": dsn})
        said: dict[str, float] = json.loads(told)
        parts = {topic: range(house.partitions) for topic in topics}
        stand = await house.ends({topic: list(numbers) for topic, numbers in parts.items()})
        if not (
            said["answers"] == said["facts"] >= warm + count
            and stand == sum(said[k] for k in ("answers", "facts", "others"))
        ):
            raise Trouble(
                f"the compiled twin sent {said}, {stand} stand on its topics", "mend tests/performance/twin", FINDINGS
            )
        return said
    finally:
        await house.admin.delete_topics(topics)


async def seed(house: House) -> None:
    """Its tables, as if it had learnt what stands on the topics before any report."""
    people, con = house.people, await asyncpg.connect(house.database_dsn)
    await con.execute((java.YARDSTICKS / "twin" / "tables.sql").read_text("utf-8"))
    await con.copy_records_to_table("state", schema_name="twin", columns=["kind", "id", "tenant", "body", "known", "last"],
                                    records=[_state(people, case) for case in range(people.cases)])  # fmt: skip
    now = datetime.now(UTC)
    await con.copy_records_to_table("alliance", schema_name="twin", columns=["tenant", "ticked", "acted"],
                                    records=[(people.tenant(n), now, now) for n in range(people.alliances)])  # fmt: skip
    places = [
        (submissions_topic("attendance", p.name), n, 0) for p in people.entries() for n in range(house.partitions)
    ]
    await con.copy_records_to_table("position", schema_name="twin", columns=["topic", "part", "next"], records=places)
    await con.execute("vacuum analyze twin.state")
    await con.close()


def _state(people: People, case: int) -> tuple[Any, ...]:
    id, tenant, start = people.id("case", case), people.tenant(case), people.started_on
    consent, referral, participation = (people.id(kind, case) for kind in ("consent", "referral", "participation"))
    asked, ends, said = start - timedelta(days=20), start + timedelta(days=900), f"{start}T00:00Z"
    meetings = {people.id("meeting", case % people.alliances, n): [str(people.meeting_on(n)), "PRESENT", 4, 4, None, said, 1]
                for n in range(people.meetings)}  # fmt: skip
    body: dict[str, Any] = {
        "id": id, "tenant": tenant, "owner": "thm", "lastDay": None,
        "consents": {consent: ["REFERRAL", ["LANGUAGE", "ATTENDANCE"], ["vhs"], str(asked), str(ends), None]},
        "referrals": {referral: [people.id("run", case % people.alliances), consent, "thm", "vhs", "F4", "LANGUAGE_COURSE", str(asked),
                                 ["ATTENDANCE", "LANGUAGE"], str(start), str(ends), "ACCEPTED", str(start), ""]},
        "participations": {participation: [referral, str(start), said, 1, None, None]},
        "meetings": {participation: meetings}, "open": [], "raised": {},
    }  # fmt: skip
    known = {
        "given": sorted([id, consent, referral, participation]),
        "stream": {"attendance": [people.meetings, id], "referral": [3, id]},
    }
    compact = {"separators": (",", ":")}
    last = {"cause": id, "trace": None, "recorded_at": None, "viewed": ""}
    return "case", id, tenant, json.dumps(body, **compact), json.dumps(known, **compact), json.dumps(last, **compact)  # type: ignore[arg-type]
