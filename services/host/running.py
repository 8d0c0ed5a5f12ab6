"""What every part of one running process stands on: the service's node, its settings, Kafka, its figures."""

import gc
import json
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime

import asyncpg
import structlog
from joserfc.jwk import ECKey

from contracts.topics import load_publishers
from services.host.kafka import Reader
from services.host.settings import BadSettings, Settings
from services.process.telemetry import Metrics
from services.runtime.failures import Held
from services.runtime.node import Node
from services.runtime.service import Service

log = structlog.get_logger()


@dataclass
class Running(Node):
    """One service in one process."""

    _: KW_ONLY
    settings: Settings
    reader: Reader
    metrics: Metrics
    unsent: dict[str, Held] = field(default_factory=dict)
    """What does not leave, and why: `relay`, where it does not go round at all; `outbox/TOPIC`, where a topic takes nothing."""


def say_held(held: dict[str, Held], what: str, why: str) -> None:
    """Names what stands still, and why, once."""
    if what not in held or held[what].why != why:
        held[what] = Held(what, why, datetime.now(UTC))
        log.warning("held", held=what, error=why)


def settle_in(young: int) -> None:
    """What is loaded by now lives as long as the process and is no garbage; what a batch has in hand, up to `young` objects, is
    gone before anybody looks through it. At Python's own 700 that took 25-45 % of a service's loop and 30 % of a rebuild."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, 20, 20)


def running(service: Service, settings: Settings, pool: asyncpg.Pool, reader: Reader) -> Running:
    """Puts them together. Raises BadPublishers, and BadSettings where the operations key is none."""
    return Running(
        service,
        pool,
        publishers=load_publishers(settings.publishers),
        source=f"//lotse/{settings.installation}/{service.name}",
        operations_key=_operations_key(settings),
        lease_seconds=settings.lease_seconds,
        simulated_time=settings.simulated_time,
        settings=settings,
        reader=reader,
        metrics=Metrics(),
    )


def _operations_key(settings: Settings) -> ECKey:
    try:
        return ECKey.import_key(json.loads(settings.operations_key.read_text("utf-8")))
    except Exception as error:
        wrong = f"LOTSE_OPERATIONS_KEY names no file with a public EC key as JWK ({type(error).__name__})"
        way_out = "`lotse operations-key FOLDER` makes one; give the service its public half."
        raise BadSettings(f"{wrong}. Way out: {way_out}") from None
