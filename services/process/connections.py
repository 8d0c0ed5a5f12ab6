"""What settings say of Kafka and Postgres: refused where no client could use it, and turned into what each client takes."""

import contextlib
import json
import ssl
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from cryptography.x509 import load_pem_x509_certificate
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

if TYPE_CHECKING:
    from faststream.security import BaseSecurity


def _wrong(what: str) -> PydanticCustomError:
    """Its type is all that is ever printed of it."""
    return PydanticCustomError(what, "a setting no client can use")


@contextlib.contextmanager
def _read(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError:  # an SSLError is one
        raise _wrong(f"{setting}_unreadable") from None


class KafkaSecurity(BaseModel):
    """Who we are to Kafka, by a password or by a certificate, and how we know that it is Kafka. As aiokafka names its options and
    those of its context; none: nobody asks. Files are read when a process starts: a certificate that is renewed needs a restart.

    Raises ValidationError where two of them contradict each other or a certificate can't be read: a client would find that out
    later, or not at all and speak in clear."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_plain_username: str | None = None
    sasl_plain_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    """PEM of who signs the brokers' certificates; without it those the system trusts."""
    ssl_certfile: Path | None = None
    """PEM of the certificate by which Kafka knows us, its key behind it unless that has a file of its own."""
    ssl_keyfile: Path | None = None
    ssl_password: SecretStr | None = None
    """Of the key, where it is encrypted."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        said = [one is not None for one in (self.sasl_plain_username, self.sasl_plain_password)]
        if self._sasl and not all(said):
            raise _wrong("sasl_without_user_and_password")
        if any(said) and not self._sasl:
            raise _wrong("user_or_password_without_sasl")
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password"):
            if getattr(self, name) and not self._tls:
                raise _wrong(f"{name}_without_tls")
        if (self.ssl_keyfile or self.ssl_password) and not self.ssl_certfile:
            raise _wrong("key_without_ssl_certfile")
        _ = self.context, self.ends
        return self

    @property
    def _sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    @property
    def _tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @cached_property
    def context(self) -> ssl.SSLContext | None:
        """What a broker's certificate is held against, its name too, and what we show of ourselves; None without TLS."""
        return self._context() if self._tls else None

    @cached_property
    def looking(self) -> ssl.SSLContext | None:
        """Takes whatever is shown, to read when it ends: nothing may be sent over it. None without TLS."""
        if (context := self._context() if self._tls else None) is not None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _context(self) -> ssl.SSLContext:
        with _read("ssl_cafile"):
            context = ssl.create_default_context(cafile=self.ssl_cafile)
        if self.ssl_certfile:
            with _read("ssl_certfile"):  # without a text Python would ask for the password at the terminal
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, _told(self.ssl_password))
        return context

    @cached_property
    def ends(self) -> datetime | None:
        """When our own certificate ends, the one that was read."""
        return (
            load_pem_x509_certificate(self.ssl_certfile.read_bytes()).not_valid_after_utc if self.ssl_certfile else None
        )

    def aiokafka(self) -> dict[str, Any]:
        """Keywords of its consumer, producer and admin. It makes no context by itself: TLS without one is refused."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol, "ssl_context": self.context}
        if self._sasl:
            options |= {"sasl_mechanism": self.sasl_mechanism, "sasl_plain_username": self.sasl_plain_username,
                        "sasl_plain_password": _told(self.sasl_plain_password)}  # fmt: skip
        return options

    def librdkafka(self, servers: str) -> dict[str, Any]:
        """Options of confluent-kafka's clients."""
        options: dict[str, Any] = {"bootstrap.servers": servers, "security.protocol": self.security_protocol}
        if self.ssl_cafile:
            options["ssl.ca.location"] = str(self.ssl_cafile)
        if self.ssl_certfile:
            options |= {"ssl.certificate.location": str(self.ssl_certfile),
                        "ssl.key.location": str(self.ssl_keyfile or self.ssl_certfile),
                        "ssl.key.password": _told(self.ssl_password)}  # fmt: skip
        if self._sasl:
            options |= {"sasl.mechanisms": self.sasl_mechanism, "sasl.username": self.sasl_plain_username,
                        "sasl.password": _told(self.sasl_plain_password)}  # fmt: skip
        return options

    def faststream(self) -> "BaseSecurity":
        """The broker's `security`: its options of the names above are refused."""
        from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512  # noqa: PLC0415  # slow

        if not self._sasl:
            return BaseSecurity(self.context)
        kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
        user, password = self.sasl_plain_username or "", _told(self.sasl_plain_password)
        return kinds[self.sasl_mechanism](user, password, self.context)


def _told(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _options(said: Any) -> Any:
    """An environment holds texts. Read here and not by pydantic-settings, which does not say of which setting it speaks."""
    try:
        return json.loads(said) if isinstance(said, str) else said
    except ValueError:
        raise _wrong("no_json") from None


def _servers(said: str) -> str:
    """aiokafka would quote what it can't read, in the midst of its work."""
    for server in said.split(","):
        try:
            parts = urlsplit(f"//{server.strip()}")
            known = parts.hostname and parts.port and parts.netloc == server.strip() and parts.username is None
        except ValueError:
            known = False
        if not known:
            raise _wrong("no_host_and_port")
    return said


def is_dsn(said: str) -> bool:
    """Whether it is `postgresql://ROLE:PASSWORD@HOST[:PORT][,...]/DATABASE[?...]`, as asyncpg reads it. Where a password is not
    percent-encoded, what follows its first / # or ? would be taken for host, port, database or option, and be quoted as such."""
    try:
        parts = urlsplit(said)
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        named = all(host.hostname and host.port != 0 for host in hosts)  # raises where a port is no number
    except ValueError:
        return False
    read_wrong = "@" in parts.path + parts.query or bool(parts.fragment)
    return parts.scheme in ("postgresql", "postgres") and (named or "host" in options) and not read_wrong


def _dsn(said: SecretStr) -> SecretStr:
    if not is_dsn(said.get_secret_value()):
        raise _wrong("no_postgresql_address")
    return said


Security = Annotated[KafkaSecurity, NoDecode, BeforeValidator(_options)]
Servers = Annotated[str, AfterValidator(_servers)]
Dsn = Annotated[SecretStr, AfterValidator(_dsn)]
