"""The installation a command speaks with: a service's settings in the environment, else the stack that is up here."""

import os
from dataclasses import dataclass
from pathlib import Path

from contracts.topics import Publisher
from deploy.errors import USAGE, Trouble
from deploy.local.announced import running
from deploy.places import STATE
from deploy.services import publishers_from
from services.host.settings import BadSettings, KafkaSettings, loaded
from services.process.connections import KafkaSecurity


@dataclass(frozen=True)
class Installation:
    """Where Kafka is, who publishes, and where commands keep what they must remember."""

    kafka: str
    security: KafkaSecurity
    publishers_file: Path
    folder: Path
    local: bool

    @property
    def publishers(self) -> dict[str, Publisher]:
        """Publishers by name. Raises Trouble where the file can't be used."""
        return publishers_from(self.publishers_file, None if self.local else "LOTSE_PUBLISHERS")

    def publisher(self, named: str) -> Publisher:
        """A publisher by its name or its ce_source. Raises Trouble where there is none."""
        there = self.publishers
        for one in there.values():
            if named in (one.name, one.source):
                return one
        raise Trouble(f"{named} is no publisher here", f"there are {', '.join(sorted(there))}; or enter it in publishers.toml",
                      USAGE)  # fmt: skip


def installation() -> Installation:
    """LOTSE_KAFKA, LOTSE_KAFKA_SECURITY and LOTSE_PUBLISHERS where they are set, else the stack that is up. Raises Trouble."""
    said = kafka_settings()
    if said.kafka is None:
        where = running("set LOTSE_KAFKA")
        return Installation(
            where["kafka"], KafkaSecurity(), Path(where["publishers"]), Path(where["folder"]), local=True
        )
    if not os.environ.get("LOTSE_PUBLISHERS"):
        raise Trouble("missing: LOTSE_PUBLISHERS", "set it to publishers.toml", USAGE)
    return Installation(said.kafka, said.kafka_security, Path(os.environ["LOTSE_PUBLISHERS"]), STATE, local=False)


def kafka_settings() -> KafkaSettings:
    """LOTSE_KAFKA, where it is set, and LOTSE_KAFKA_SECURITY. Raises Trouble."""
    try:
        return loaded(KafkaSettings)
    except BadSettings as bad:
        raise Trouble(str(bad), "`lotse serve --help` says what each one means", USAGE) from None
