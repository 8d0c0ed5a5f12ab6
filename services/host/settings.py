"""Settings of a service, from the environment (`LOTSE_*`). A missing or wrong one is named, its value never printed."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.process.connections import Dsn, KafkaSecurity, Security, Servers

FROM_ENVIRONMENT = SettingsConfigDict(
    env_prefix="LOTSE_", env_ignore_empty=True, hide_input_in_errors=True, use_attribute_docstrings=True
)
"""Empty is not set. What stands under a setting is what `lotse serve --help` says of it."""
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)]
Some = TypeVar("Some", bound=BaseSettings)


def _loopback(host: str) -> str:
    if not ip_address(host).is_loopback:
        raise ValueError("no loopback address")
    return host


Loopback = Annotated[str, AfterValidator(_loopback)]
"""Whoever reaches it may read cases and release subjects: until tokens come only this machine does."""


class BadSettings(Exception):
    """A setting is missing or wrong; the text names it and says the way out."""


class KafkaSettings(BaseSettings):
    """Where Kafka is, for a service or a command."""

    model_config = FROM_ENVIRONMENT

    kafka: Servers | None = None
    """Bootstrap servers, `host:port,...`."""
    kafka_security: Security = Field(default_factory=KafkaSecurity)
    """JSON object of security_protocol, sasl_mechanism, sasl_plain_username, sasl_plain_password, ssl_cafile, ssl_certfile, ..."""


class Settings(KafkaSettings):
    """What a service needs to run."""

    kafka: Servers
    """Bootstrap servers, `host:port,...`."""
    database: Dsn
    """`postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE`; what is no letter or digit in the password percent-encoded."""
    database_owner: Dsn | None = None
    """The same with the role that owns the tables, for `lotse migrate` and `lotse rebuild` alone."""
    publishers: Path
    """publishers.toml: who may publish, for whom."""
    operations_key: Path
    """The operations' public key (JWK, EC): dead letters are sealed to it."""
    http_host: Loopback = "127.0.0.1"
    """Where it listens: a loopback address, since it asks nobody who they are yet."""
    http_port: int = Field(ge=0, le=65535)
    """Where it listens; 0: on a free port."""
    installation: str = Field(default="local", pattern=r"^[a-z0-9-]{1,32}$")
    """Its name in `ce_source` of facts; for good."""
    simulated_time: bool = False
    """Ticks may lie in the past, in any step: for demos, replays and tests."""
    group: str | None = None
    """Kafka group id; `lotse-SERVICE` unless a test wants two workers on all partitions."""
    poll_seconds: int = Field(default=300, ge=5)
    """Seconds between two polls after which Kafka gives a member's partitions away: longer than a batch may take."""
    lease_seconds: int = Field(default=300, ge=1)
    """After this a claim without a result is uncertain. Longer than an attempt may take."""
    testing: bool = False
    """Allows what only tests may do."""
    failpoint: str | None = None
    """Where to break, for tests; refused unless `testing` is set."""
    log_level: Level = "INFO"
    """DEBUG, INFO, WARNING, ERROR or CRITICAL."""


def loaded(kind: type[Some], **given: Any) -> Some:
    """Settings of this kind: what is given, the rest from the environment. Raises BadSettings."""
    try:
        return kind(**given)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        # our own words quote nothing
        said = [item["msg"] if item["type"] == "mailbox" else item["type"] for item in found]
        names = ", ".join(sorted({f"LOTSE_{str(item['loc'][0]).upper()} ({why})" for item, why in zip(found, said, strict=True)}))  # fmt: skip
        raise BadSettings(f"missing or wrong: {names}. Way out: set it in the environment of this process.") from None


def load_settings() -> Settings:
    """Reads the environment. Raises BadSettings."""
    settings = loaded(Settings)
    if settings.failpoint and not settings.testing:
        raise BadSettings("LOTSE_FAILPOINT is for tests. Way out: unset it, or set LOTSE_TESTING=1 far from real data.")
    return settings
