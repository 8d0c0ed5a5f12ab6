"""Settings of a service, from the environment (`LOTSE_*`). A missing or wrong one is named, its value never printed."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

KafkaOption = Literal["security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password"]


class BadSettings(Exception):
    """A setting is missing or wrong; the text names it and says the way out."""


class Settings(BaseSettings):
    """What a service needs to run."""

    model_config = SettingsConfigDict(env_prefix="LOTSE_", hide_input_in_errors=True)

    kafka: str
    """Bootstrap servers, `host:port,...`."""
    kafka_security: dict[KafkaOption, Any] = Field(default_factory=dict)
    """JSON object of these options, as aiokafka names them."""
    database: SecretStr
    database_owner: SecretStr | None = None
    publishers: Path
    operations_key: Path
    """The operations' public key (JWK, EC): dead letters are sealed to it."""
    http_host: str = "127.0.0.1"  # loopback only until tokens come
    http_port: int = Field(ge=0, le=65535)
    installation: str = Field(default="local", pattern=r"^[a-z0-9-]{1,32}$")
    simulated_time: bool = False
    group: str | None = None
    """Kafka group id; the service's name unless a test wants two workers on all partitions."""
    lease_seconds: int = Field(default=300, ge=1)
    """After this a claim without a result is uncertain. Longer than an attempt may take."""
    testing: bool = False
    failpoint: str | None = None
    """Where to break, for tests; refused unless `testing` is set."""
    log_level: str = "INFO"


def load_settings() -> Settings:
    """Reads the environment. Raises BadSettings."""
    try:
        settings = Settings()
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        names = ", ".join(sorted({f"LOTSE_{str(item['loc'][0]).upper()} ({item['type']})" for item in found}))
        raise BadSettings(f"missing or wrong: {names}. Way out: set it in the environment of this process.") from None
    except Exception as error:
        raise BadSettings(f"unreadable setting ({type(error).__name__}); objects are given as JSON") from None
    if settings.failpoint and not settings.testing:
        raise BadSettings("LOTSE_FAILPOINT is for tests. Way out: unset it, or set LOTSE_TESTING=1 far from real data.")
    return settings
