"""What a release leaves in an installation, for those after it: `python make.py FOLDER`, begun where that release is unpacked.

Some weeks of a synthetic Kreis, what nobody can read, and what waits for something that does not come; then each service's database, as
pg_dump writes it, and each record of each topic. `log.jsonl.gz`: a record a line, with its place, its broker's time and its headers.
"""

import asyncio
import base64
import contextlib
import gzip
import importlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

PERSONS, WEEKS, SEED = 16, 12, 2019
NOBODYS = "00000000-0000-4000-8000-00000000000e"


def main(folder: Path) -> None:
    """Plays, stops the services, writes."""
    house, play, kreis, stacks, postgres = (
        importlib.import_module(f"deploy.{name}")
        for name in ("services", "demo.play", "demo.kreis", "local.stack", "local.postgres")
    )
    folder.mkdir(parents=True, exist_ok=True)
    with stacks.LocalStack.ephemeral() as stack:
        setup = house.Setup(house.EXAMPLES / "publishers.toml", house.EXAMPLES / "organisations.toml", simulated=True)
        fleet = house.Fleet(stack, setup)
        try:
            fleet.start()
            publisher = house.publishers_from(setup.publishers)["kreis"]
            played = asyncio.run(play.Player(fleet, publisher).play(kreis.Kreis(PERSONS, WEEKS, SEED)))
            assert played.answered_once == len(played.journal)
            asyncio.run(not_as_it_should_be(stack.kafka, fleet))
        finally:
            fleet.stop()
        for name, database in stack.databases.items():
            dump = [
                postgres.BIN / "pg_dump",
                "--schema=lotse",
                "--no-owner",
                "--no-privileges",
                "--restrict-key=sample",
            ]
            said = subprocess.run([*dump, database.owner], capture_output=True, check=True)
            written(folder / f"{name}.sql.gz", said.stdout.replace(b"\nCREATE SCHEMA lotse;\n", b"\n"))
        lines = asyncio.run(log(stack.kafka))
        written(folder / "log.jsonl.gz", "".join(f"{line}\n" for line in lines).encode())
    print(f"{len(played.journal)} submissions, {len(lines)} records")


async def not_as_it_should_be(kafka: str, fleet: Any) -> None:
    """A dead letter, and a need of a case that nobody opened."""
    envelope, topics, intake, play = (
        importlib.import_module(name)
        for name in ("contracts.envelope", "contracts.topics", "contracts.intake", "deploy.demo.play")
    )
    need = intake.NeedReported(by=envelope.By(organisation_id="rkn-thm"), need_id=NOBODYS, need_type="LANGUAGE")
    attributes = envelope.Attributes(id=NOBODYS, source="https://kreis.example/lotse", type=need.ce_type, subject=NOBODYS,
                                     time=datetime.now(UTC), tenant=play.TENANT)  # fmt: skip
    topic = topics.submissions_topic("intake", "kreis")
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(topic, b"\xff no JSON")
        await producer.send_and_wait(
            topic, need.to_json(), key=NOBODYS.encode(), headers=envelope.headers_of(attributes)
        )
    while (said := await asyncio.to_thread(fleet.status, "intake"))["waiting"] != 1 or not said["dead_letters"]:
        await asyncio.sleep(0.1)


async def log(kafka: str) -> list[str]:
    """Every record of every topic that is not Kafka's own."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as asked, consumer:
        topics = sorted(topic for topic in await consumer.topics() if not topic.startswith("__"))
        parts = [TopicPartition(topic, part) for topic in topics for part in sorted(await asked.partitions_for(topic))]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends, lines = await consumer.end_offsets(parts), []
        for tp in parts:
            while await consumer.position(tp) < ends[tp]:
                for record in (await consumer.getmany(tp, timeout_ms=1000)).get(tp, []):
                    lines.append(json.dumps([
                        record.topic, record.partition, record.offset, record.timestamp,
                        *(None if one is None else base64.b64encode(one).decode() for one in (record.key, record.value)),
                        [[name, base64.b64encode(value).decode()] for name, value in record.headers],
                    ]))  # fmt: skip
    return lines


def written(file: Path, content: bytes) -> None:
    """The same content is the same file."""
    with file.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
        packed.write(content)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(Path(sys.argv[1]))
