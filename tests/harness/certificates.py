"""Certificates made for a test: self-signed, for this machine's own names."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_NAMES = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


Key = ec.EllipticCurvePrivateKey | Ed25519PrivateKey


class Certificate(NamedTuple):
    """A certificate and its private key, in PEM."""

    chain: bytes
    key: bytes


def make_certificate(common_name: str, key: Key | None = None) -> Certificate:
    """Make a certificate that is its own authority, by default with an ECDSA key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def write_certificate(directory: Path, certificate: Certificate) -> dict[str, Path]:
    """Put a certificate where the settings, which are returned, point a server to."""
    settings = {
        "tls_cert_file": directory / "server.crt",
        "tls_key_file": directory / "server.key",
    }
    settings["tls_cert_file"].write_bytes(certificate.chain)
    settings["tls_key_file"].write_bytes(certificate.key)
    return settings
