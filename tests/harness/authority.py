"""Certificates as an authority issues them: for a host's name, not for the server's address."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_AUTHORITY = "authority of the tests"


class Issued(NamedTuple):
    """Files in PEM: a server's certificate and key, and the authority's certificate."""

    cert_file: Path
    key_file: Path
    ca_file: Path


def issue_certificate(
    directory: Path, host: str, names: Sequence[x509.GeneralName] | None = None
) -> Issued:
    """Found an authority and let it issue one certificate, for a host's name or for others."""
    names = [x509.DNSName(host)] if names is None else names
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    extensions = [x509.SubjectAlternativeName(names)] if names else []
    files = Issued(*(directory / name for name in ("issued.crt", "issued.key", "authority.crt")))
    files.cert_file.write_bytes(_certificate(host, key, extensions, signed_by=authority_key))
    files.ca_file.write_bytes(_certificate(_AUTHORITY, authority_key, [], signed_by=authority_key))
    files.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    extensions: Sequence[x509.ExtensionType],
    *,
    signed_by: ec.EllipticCurvePrivateKey,
) -> bytes:
    now = datetime.now(UTC)
    is_authority = key is signed_by
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signed_by, hashes.SHA256()).public_bytes(Encoding.PEM)
