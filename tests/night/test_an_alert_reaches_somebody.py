"""A real Prometheus and Alertmanager on loopback, real services: an alert reaches a webhook; figures go on without a database."""

import asyncio
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.asking import client
from deploy.fleet import Fleet
from deploy.local.processes import Process, free_port
from deploy.places import ROOT
from tests.conftest import four_services, new_stack
from tests.publishing import PATIENCE, Course, Publisher, until

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
    reason="NOT RUN: Prometheus and Alertmanager are not on this machine (Debian packages prometheus, prometheus-alertmanager)",
)


@pytest.fixture(scope="module")
def own() -> Iterator[Fleet]:
    """A house of this test's own: a fork stays in it."""
    with new_stack() as stack, four_services(stack) as fleet:
        yield fleet


@contextmanager
def webhook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Its port, and the alerts it was told."""
    told: list[dict[str, Any]] = []

    class Told(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.extend(json.loads(self.rfile.read(int(self.headers["content-length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Told)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def watched(fleet: Fleet, folder: Path, hook: int) -> Iterator[str]:
    """Prometheus with the rules as they are shipped, Alertmanager behind it; Prometheus' address."""
    prometheus, manager = free_port(), free_port()
    (folder / "alertmanager.yml").write_text(f"""
route: {{receiver: somebody, group_by: [alertname, job], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: somebody, webhook_configs: [{{url: "http://127.0.0.1:{hook}/"}}]}}]
""")
    targets = "\n".join(
        f'  - {{job_name: {name}, static_configs: [{{targets: ["{fleet.url(name).removeprefix("http://")}"]}}]}}'
        for name in ("intake", "referral", "notification", "reporting")
    )
    (folder / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{ROOT}/deploy/alerts/*.yaml"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{manager}"]}}]}}]}}
scrape_configs:
{targets}
""")
    alerting, asking = Process(folder, "alertmanager"), Process(folder, "prometheus")
    try:
        alerting.start([
            "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am",
            f"--web.listen-address=127.0.0.1:{manager}", "--cluster.listen-address=",
        ])  # fmt: skip
        alerting.wait_for_port(manager)
        asking.start([
            "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ])  # fmt: skip
        asking.wait_for_port(prometheus)
        yield f"http://127.0.0.1:{prometheus}"
    finally:
        asking.stop()
        alerting.stop()


async def forged(fleet: Fleet, case: str) -> None:
    """Writes the first fact of a case once more, under another id: what only a stranger or a set back owner could do."""
    producer = AIOKafkaProducer(bootstrap_servers=fleet.stack.kafka, enable_idempotence=True)
    consumer = AIOKafkaConsumer(bootstrap_servers=fleet.stack.kafka, isolation_level="read_committed")
    await producer.start()
    await consumer.start()
    try:
        parts = [TopicPartition("intake.events", part) for part in range(4)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        async with asyncio.timeout(PATIENCE):
            mine = [record async for record in _of(consumer, case)]
        headers = [(name, str(uuid4()).encode() if name == "ce_id" else value) for name, value in mine[-1].headers]
        await producer.send_and_wait(
            "intake.events", mine[-1].value, key=mine[-1].key, partition=mine[-1].partition, headers=headers
        )
    finally:
        await producer.stop()
        await consumer.stop()


async def _of(consumer: AIOKafkaConsumer, case: str) -> Any:
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            mine = [record for record in records if record.key == case.encode()]
            for record in mine:
                yield record
            if mine:
                return


async def test_a_fork_reaches_a_webhook_with_its_runbook(own: Fleet, tmp_path: Path) -> None:
    course = Course(date(2026, 3, 2))
    with webhook() as (hook, told), watched(own, tmp_path, hook) as prometheus:

        def up() -> bool:
            said = client().get(f"{prometheus}/api/v1/query", params={"query": "sum(up)"}).json()["data"]["result"]
            return bool(said and said[0]["value"][1] == "4")

        await until(up)
        async with Publisher(own.stack.kafka) as sender:
            for submission, subject in course.steps()[:3]:
                assert (await sender.ask(submission, subject))["outcome"] == "recorded"
        assert told == []  # a house that works wakes nobody
        await forged(own, course.case)
        await until(lambda: {alert["labels"]["job"] for alert in told} >= {"referral"})
    (alert,) = [alert for alert in told if alert["labels"]["job"] == "referral"]
    assert alert["status"] == "firing"
    assert (alert["labels"]["alertname"], alert["labels"]["severity"]) == ("LotseFork", "critical")
    assert alert["annotations"]["runbook_url"] == "docs/runbooks/LotseFork.md"
    assert (ROOT / alert["annotations"]["runbook_url"]).exists()
    assert alert["annotations"]["summary"] == "referral met two different facts under one number"
    assert course.case not in json.dumps(told)


async def test_while_postgres_is_away_the_figures_say_that_everything_is_held(own: Fleet) -> None:
    """Last: it stops the database."""

    def held() -> float:
        lines = own.ask("intake", "/metrics", 20).text.splitlines()
        return max(float(line.split()[1]) for line in lines if line.startswith("lotse_held "))

    assert await asyncio.to_thread(held) == 0
    postgres = own.stack.processes["postgres"]
    assert postgres.child
    postgres.child.send_signal(signal.SIGINT)
    postgres.child.wait()
    async with Publisher(own.stack.kafka) as sender:
        await sender.send(*Course(date(2026, 3, 2)).steps()[1])
        await until(lambda: held() > 0)
