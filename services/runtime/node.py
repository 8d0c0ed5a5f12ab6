"""What the work of one service stands on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import asyncpg
from joserfc.jwk import ECKey

from contracts.topics import Publisher, answers_topic, dead_letters_topic, facts_topic
from services.runtime.messages import Input, inputs_of
from services.runtime.service import Service


@dataclass
class Node:
    """One service on its database: its declaration, whom it knows, under which name it speaks."""

    service: Service
    pool: asyncpg.Pool
    publishers: Mapping[str, Publisher]
    """The publishers this installation knows."""
    source: str
    """`ce_source` of our facts and answers."""
    operations_key: ECKey
    """The public key dead letters are sealed to."""
    lease_seconds: int = 300
    simulated_time: bool = False
    sending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where there is something to send."""
    making: set[str] = field(default_factory=set)
    """Attempts this process has claimed and not recorded yet; while it lives their lease does not end."""
    broken: set[tuple[str, datetime]] = field(default_factory=set)
    """Alliances whose report broke, and at which tick. It is tried again at the next: each second it stood in everybody's way."""

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
