"""The installation a command speaks with: a service's settings in the environment, else the stack that is up here."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.topics import Publisher
from deploy.commands.up import STATE, running
from deploy.errors import USAGE, Trouble
from deploy.services import publishers_from


@dataclass(frozen=True)
class Installation:
    """Where Kafka is, who publishes, and where commands keep what they must remember."""

    kafka: str
    security: dict[str, Any]
    publishers_file: Path
    folder: Path
    local: bool

    @property
    def publishers(self) -> dict[str, Publisher]:
        """Publishers by name. Raises Trouble where the file can't be used."""
        return publishers_from(self.publishers_file)

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
    if "LOTSE_KAFKA" not in os.environ:
        where = running()
        return Installation(where["kafka"], {}, Path(where["publishers"]), Path(where["folder"]), local=True)
    if not os.environ.get("LOTSE_PUBLISHERS"):
        raise Trouble("missing: LOTSE_PUBLISHERS", "set it to publishers.toml", USAGE)
    return Installation(
        os.environ["LOTSE_KAFKA"], kafka_security(), Path(os.environ["LOTSE_PUBLISHERS"]), STATE, local=False
    )


def kafka_security() -> dict[str, Any]:
    """LOTSE_KAFKA_SECURITY as options of a client. Raises Trouble."""
    try:
        said = json.loads(os.environ.get("LOTSE_KAFKA_SECURITY") or "{}")
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Trouble("LOTSE_KAFKA_SECURITY is no JSON object",
                      'set it to one, for example {"security_protocol": "SASL_SSL", ...}', USAGE)  # fmt: skip
    return said
