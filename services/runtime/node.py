"""What every part of one running service stands on."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import asyncpg
from joserfc.jwk import ECKey

from contracts.topics import Publisher, answers_topic, dead_letters_topic, facts_topic, load_publishers
from services.runtime.kafka import Reader
from services.runtime.messages import Input, inputs_of
from services.runtime.service import Service
from services.runtime.settings import BadSettings, Settings
from services.runtime.telemetry import Metrics


@dataclass
class Node:
    """One service in one process: its declaration and settings, its database, what it hears, its figures."""

    service: Service
    settings: Settings
    pool: asyncpg.Pool
    reader: Reader
    metrics: Metrics
    sending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where there is something to send."""

    @cached_property
    def publishers(self) -> Mapping[str, Publisher]:
        """The publishers this installation knows."""
        return load_publishers(self.settings.publishers)

    @cached_property
    def operations_key(self) -> ECKey:
        """The public key dead letters are sealed to. Raises BadSettings where the file holds none."""
        try:
            return ECKey.import_key(json.loads(self.settings.operations_key.read_text("utf-8")))
        except Exception as error:
            wrong = f"LOTSE_OPERATIONS_KEY names no file with a public EC key as JWK ({type(error).__name__})"
            raise BadSettings(
                f"{wrong}. Way out: `lotse operations-key FOLDER` makes one; give the service its public half."
            ) from None

    @cached_property
    def source(self) -> str:
        """`ce_source` of our facts and answers."""
        return f"//lotse/{self.settings.installation}/{self.service.name}"

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """Every topic this service listens to, by name."""
        return inputs_of(self.service, self.publishers)

    @cached_property
    def answers(self) -> list[str]:
        """Our answer topics."""
        families = [(f, p.name) for p in self.publishers.values() for f in p.families if f in self.service.owned]
        return [answers_topic(family, name) for family, name in families]

    @cached_property
    def own_topics(self) -> list[str]:
        """Every topic this service alone writes."""
        reports = [self.service.reports.topic] if self.service.reports else []
        facts = [facts_topic(family) for family in self.service.owned]
        return [*facts, *self.answers, *reports, dead_letters_topic(self.service.name)]
