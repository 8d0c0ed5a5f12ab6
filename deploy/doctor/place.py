"""Where the doctor looks: the environment of a service, else the stack that is up here, else this machine alone."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from deploy.errors import USAGE, Trouble
from deploy.installation import kafka_settings
from deploy.local.announced import named, running
from deploy.local.stack import LocalStack
from deploy.places import EXAMPLES, SERVICES, STATE
from services.process.connections import KafkaSecurity


@dataclass(frozen=True)
class Mail:
    """The mail server as notification uses it."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: bool = False


@dataclass(frozen=True)
class Place:
    """An installation as it is to be looked at. What is None or empty is not known here, and its checks say so."""

    what: str
    local: bool
    folder: Path
    """Where its data or its temporary files go."""
    services: tuple[str, ...] = ()
    kafka: str | None = None
    security: KafkaSecurity = KafkaSecurity()  # noqa: RUF009  # it can't be changed
    publishers: Path | None = None
    organisations: Path | None = None
    operations_key: Path | None = None
    databases: dict[str, str] = field(default_factory=dict)
    """Service to the DSN of its runtime role. Never printed."""
    http: dict[str, tuple[str, int]] = field(default_factory=dict)
    mail: Mail | None = None
    simulated: bool = False
    up: bool = True
    """False where nothing runs yet, and only the machine is to be looked at."""


def place_of(service: str | None) -> Place:
    """Finds the place. Raises Trouble where the environment names a database and nobody says whose it is."""
    if named():
        return _environment(service)
    with contextlib.suppress(Trouble):
        return _stack(running(), service)
    return Place(
        "this machine; no stack is up, and no LOTSE_KAFKA is set", True, STATE, up=False,
        publishers=EXAMPLES / "publishers.toml", organisations=EXAMPLES / "organisations.toml",
    )  # fmt: skip


def _stack(where: dict[str, str], service: str | None) -> Place:
    stack = LocalStack(Path(where["folder"]))
    stack.find()
    services = (service,) if service else SERVICES
    return Place(
        "the stack of `lotse up`", True, stack.folder, services, where["kafka"],
        publishers=Path(where["publishers"]),
        organisations=Path(where["organisations"]), operations_key=stack.operations_key,
        databases={name: stack.databases[name].runtime for name in services},
        http={name: _address(where[name].removeprefix("http://")) for name in services},
        mail=Mail(*_address(where["mail"])) if "notification" in services else None,
        simulated=bool(where.get("simulated")),
    )  # fmt: skip


def _environment(service: str | None) -> Place:
    said, kafka = os.environ, kafka_settings()
    if "LOTSE_DATABASE" in said and service is None:
        raise Trouble("LOTSE_DATABASE is set, and nobody said whose it is",
                      f"`lotse doctor SERVICE`, one of {', '.join(SERVICES)}", USAGE)  # fmt: skip
    if not said.get("LOTSE_KAFKA") and not said.get("LOTSE_DATABASE"):
        raise Trouble("LOTSE_DATABASE_OWNER alone names nothing that is looked at",
                      "set LOTSE_KAFKA or LOTSE_DATABASE beside it, or unset it for the stack of `lotse up`", USAGE)  # fmt: skip
    host, port = said.get("LOTSE_SMTP_HOST"), said.get("LOTSE_SMTP_PORT", "25")
    posts = service in (None, "notification") and host is not None
    return Place(
        "the environment", False, Path(said.get("TMPDIR", "/tmp")), (service,) if service else (),  # noqa: S108
        kafka.kafka, kafka.kafka_security,
        publishers=Path(said["LOTSE_PUBLISHERS"]) if "LOTSE_PUBLISHERS" in said else None,
        organisations=Path(said["LOTSE_ORGANISATIONS"]) if "LOTSE_ORGANISATIONS" in said else None,
        operations_key=Path(said["LOTSE_OPERATIONS_KEY"]) if "LOTSE_OPERATIONS_KEY" in said else None,
        databases={service: said["LOTSE_DATABASE"]} if service and "LOTSE_DATABASE" in said else {},
        http={service: (said.get("LOTSE_HTTP_HOST", "127.0.0.1"), _number("LOTSE_HTTP_PORT", said["LOTSE_HTTP_PORT"]))}
        if service and "LOTSE_HTTP_PORT" in said else {},
        mail=Mail(str(host), _number("LOTSE_SMTP_PORT", port), said.get("LOTSE_SMTP_USER"), said.get("LOTSE_SMTP_PASSWORD"),
                  said.get("LOTSE_SMTP_TLS", "0").lower() in ("1", "true", "yes", "on")) if posts else None,
        simulated=said.get("LOTSE_SIMULATED_TIME", "0").lower() in ("1", "true", "yes", "on"),
    )  # fmt: skip


def _number(name: str, text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise Trouble(f"{name} is no port", "set it to a number from 0 to 65535", USAGE)
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
