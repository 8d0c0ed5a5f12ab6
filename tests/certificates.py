"""Certificates of a broker on loopback and of who speaks to it, made anew for each test that needs them."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

BROKERS, USERS = timedelta(days=3), timedelta(days=2)
"""How long they hold."""


class Made(NamedTuple):
    """Files of one broker, all PEM: an authority's certificate; the broker's key with the certificate it signed for 127.0.0.1;
    the same with one that has expired; of each user the same, made out to its name."""

    cafile: Path
    keystore: Path
    expired: Path
    users: dict[str, Path]


def made(folder: Path, *users: str) -> Made:
    """Files in a folder."""
    authority = ec.generate_private_key(ec.SECP256R1())
    signed = _certificate("Lotse test authority", authority, None, authority)
    found = Made(
        folder / "ca.pem", folder / "broker.pem", folder / "expired.pem", {user: folder / f"{user}.pem" for user in users}
    )  # fmt: skip
    found.cafile.write_bytes(signed.public_bytes(Encoding.PEM))
    for file, name, left in (
        (found.keystore, "127.0.0.1", BROKERS), (found.expired, "127.0.0.1", timedelta(hours=-1)),
        *((found.users[user], user, USERS) for user in users),
    ):  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        own = _certificate(name, key, signed, authority, left)
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + own.public_bytes(Encoding.PEM)
        )
    return found


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, signer: ec.EllipticCurvePrivateKey,
    left: timedelta = BROKERS,
) -> x509.Certificate:  # fmt: skip
    now, subject = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + left)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        made = made.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
    return made.sign(signer, hashes.SHA256())
