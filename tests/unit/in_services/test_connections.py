"""Kafka's security is the same for each of our clients; an address no client could use is no setting."""

import ssl
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from faststream.kafka.security import parse_security
from pydantic import ValidationError

from services.process.connections import KafkaSecurity, is_dsn
from tests.certificates import Made, made

USER = {"sasl_plain_username": "intake", "sasl_plain_password": "hush"}


@pytest.fixture
def files(tmp_path: Path) -> Made:
    return made(tmp_path, "intake")


@pytest.fixture
def cafile(files: Made) -> Path:
    return files.cafile


def encrypted(keystore: Path) -> tuple[Path, Path]:
    """The certificate alone, and its key, which takes a password."""
    certificate, key = keystore.with_suffix(".crt"), keystore.with_suffix(".key")
    certificate.write_text(keystore.read_text().partition("-----END PRIVATE KEY-----\n")[2])
    own = load_pem_private_key(keystore.read_bytes(), None)
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")))
    return certificate, key


def test_tls_holds_the_broker_against_the_given_authority_alone(cafile: Path) -> None:
    for protocol, more in (("SSL", {}), ("SASL_SSL", USER)):
        security = KafkaSecurity(security_protocol=protocol, ssl_cafile=cafile, **more)
        context = security.aiokafka()["ssl_context"]
        assert [dict(x[0] for x in one["subject"]) for one in context.get_ca_certs()] == [
            {"commonName": "Lotse test authority"}
        ]
        assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        assert security.librdkafka("h:1")["ssl.ca.location"] == str(cafile)


def test_a_certificate_of_our_own_with_its_key_behind_it_or_in_a_file_that_takes_a_password(files: Made) -> None:
    """librdkafka takes both as well, or its client could not be made; a wrong password is refused by name, and nobody is asked
    for one at the terminal."""
    keystore = files.users["intake"]
    certificate, key = encrypted(keystore)
    for own in ({"ssl_certfile": keystore}, {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_password": "hush"}):
        security = KafkaSecurity.model_validate({"security_protocol": "SSL", "ssl_cafile": files.cafile, **own})
        AdminClient(security.librdkafka("127.0.0.1:1") | {"log_level": 0})
        assert "hush" not in repr(security)
    for wrong in ("hush, or not", None):
        with pytest.raises(ValidationError) as bad:
            KafkaSecurity(security_protocol="SSL", ssl_certfile=certificate, ssl_keyfile=key, ssl_password=wrong)
        assert [one["type"] for one in bad.value.errors()] == ["ssl_certfile_unreadable"]


def test_tls_without_an_authority_of_ones_own_trusts_those_of_the_system() -> None:
    security = KafkaSecurity(security_protocol="SSL")
    assert security.aiokafka()["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert "ssl.ca.location" not in security.librdkafka("h:1")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_faststream_gives_aiokafka_what_we_give_it(protocol: str, mechanism: str) -> None:
    more = USER if protocol.startswith("SASL") else {}
    security = KafkaSecurity(security_protocol=protocol, sasl_mechanism=mechanism, **more)
    assert parse_security(security.faststream()) == security.aiokafka()
    said = security.librdkafka("h:1")
    assert (said["bootstrap.servers"], said["security.protocol"]) == ("h:1", protocol)
    if more:
        assert said["sasl.mechanisms"] == mechanism and (said["sasl.username"], said["sasl.password"]) == (
            "intake",
            "hush",
        )


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"security_protocol": "SASL_SSL"}, "sasl_without_user_and_password"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_plain_username": "intake"}, "sasl_without_user_and_password"),
        (USER, "user_or_password_without_sasl"),  # it would speak without saying who it is
        ({"security_protocol": "SSL", **USER}, "user_or_password_without_sasl"),
        ({"ssl_cafile": "/etc/hosts"}, "ssl_cafile_without_tls"),  # it would speak in clear
        ({"security_protocol": "SSL", "ssl_cafile": "/nowhere/ca.pem"}, "ssl_cafile_unreadable"),
        ({"security_protocol": "SSL", "ssl_cafile": "/etc/hosts"}, "ssl_cafile_unreadable"),
        ({"ssl_certfile": "/etc/hosts"}, "ssl_certfile_without_tls"),
        ({"security_protocol": "SSL", "ssl_certfile": "/nowhere/own.pem"}, "ssl_certfile_unreadable"),
        ({"security_protocol": "SSL", "ssl_certfile": "/etc/hosts"}, "ssl_certfile_unreadable"),
        ({"security_protocol": "SSL", "ssl_keyfile": "/etc/hosts"}, "key_without_ssl_certfile"),
        ({"security_protocol": "SSL", "ssl_password": "hush"}, "key_without_ssl_certfile"),
        ({"security_protocol": "TLS"}, "literal_error"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI", **USER}, "literal_error"),
        ({"ssl_check_hostname": "false"}, "extra_forbidden"),
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError) as bad:
        KafkaSecurity.model_validate(wrong)
    assert why in {one["type"] for one in bad.value.errors()}
    assert "hush" not in str(bad.value)


def test_a_password_does_not_print() -> None:
    assert "hush" not in repr(KafkaSecurity(security_protocol="SASL_PLAINTEXT", **USER))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p@h/d", "postgres://u:p@h:5432/d", "postgresql://u:p%2F%23%3F@h/d?sslmode=verify-full",
        "postgresql://u:p@one:5432,two:5433/d?target_session_attrs=read-write", "postgresql://u:p@[::1]:5432/d",
        "postgresql:///d?host=/run/postgresql&user=u", "postgresql://u:a@b@h/d",
    ],
)  # fmt: skip
def test_addresses_of_a_database(dsn: str) -> None:
    assert is_dsn(dsn)


@pytest.mark.parametrize(
    "password", ["ca/nary", "ca#nary", "ca?nary", "12/nary", "12#nary", "12?nary", "ca[nary", "/", "?"]
)
def test_a_password_that_would_be_read_as_host_port_or_path_is_no_address(password: str) -> None:
    assert not is_dsn(f"postgresql://u:{password}@h:5432/d")


@pytest.mark.parametrize(
    "dsn",
    ["", "canary", "mysql://u:p@h/d", "postgresql://u:p@/d", "postgresql://u:p@h:0/d", "postgresql://u:p@h:99999/d",
     "postgresql://u:p@h/d?sslmode", "postgresql://u:p@h:5432,two:x/d"],
)  # fmt: skip
def test_no_addresses_of_a_database(dsn: str) -> None:
    assert not is_dsn(dsn)
