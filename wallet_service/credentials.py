"""The files of trust: keys that tokens are checked with, and the server's own certificate."""

import contextlib
import functools
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import grpc
import orjson
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wallet_service.settings import Settings, SettingsError, read_file
from wallet_service.transport.keys import (
    FetchedKeys,
    Keys,
    VerificationKey,
    fetch_jwks,
    key_of_pem,
    key_of_secret,
    keys_of_jwks_file,
)

#: Where a secret of our own making is kept.
_DEVELOPMENT_SECRET_FILE = Path("var/development-jwt-secret")

_log = structlog.get_logger()


def token_keys(settings: Settings) -> Keys:
    """Find the keys that tokens are checked with."""
    if settings.jwt_jwks_url:
        return FetchedKeys(functools.partial(fetch_jwks, settings.jwt_jwks_url))
    if settings.jwt_jwks_file:
        path = settings.jwt_jwks_file
        _keys_in("jwt_jwks_file", path, keys_of_jwks_file)  # a wrong one is told at once
        fetched = FetchedKeys(lambda: orjson.loads(path.read_bytes()))
        fetched()  # so that they serve on, should the file go
        return fetched
    if settings.jwt_public_key_file:
        path = settings.jwt_public_key_file
        keys = _keys_in("jwt_public_key_file", path, lambda pem: [key_of_pem(pem)])
    else:
        keys = [signing_key(settings)]
    return lambda: keys


def signing_key(settings: Settings) -> VerificationKey:
    """Return the service's own secret, which both signs and checks; raises `SettingsError`."""
    try:
        return key_of_secret(signing_secret(settings))
    except ValueError as error:
        source = "WALLET_JWT_SECRET_FILE" if settings.jwt_secret_file else _DEVELOPMENT_SECRET_FILE
        raise SettingsError(f"{source}: {error}") from error


def signing_secret(settings: Settings) -> bytes:
    """
    Return the HS256 secret; in development, make it on first use.

    Raises:
        SettingsError: There is none, and none may be made.
    """
    if settings.jwt_secret_file:
        content = read_file("jwt_secret_file", settings.jwt_secret_file)
        return content.removesuffix(b"\n").removesuffix(b"\r")
    if not settings.is_development:
        raise SettingsError("tokens are signed elsewhere: WALLET_JWT_SECRET_FILE is not set")
    if not settings.is_loopback:
        raise SettingsError(
            "WALLET_JWT_SECRET_FILE: a key for tokens is needed to serve other machines"
            " (or one of WALLET_JWT_PUBLIC_KEY_FILE, WALLET_JWT_JWKS_FILE, WALLET_JWT_JWKS_URL)"
        )
    try:
        return _development_secret(_DEVELOPMENT_SECRET_FILE)
    except OSError as error:
        raise SettingsError(
            f"WALLET_JWT_SECRET_FILE: is not set, and {_DEVELOPMENT_SECRET_FILE} cannot be made:"
            f" {error.strerror}"
        ) from error


def _development_secret(path: Path) -> bytes:
    """Read the secret, made by whoever comes first; no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=path.parent) as fresh:  # readable by its owner only
            fresh.write(secrets.token_hex(32).encode())
            fresh.flush()
            with contextlib.suppress(FileExistsError):
                os.link(fresh.name, path)
    return path.read_bytes()


def _keys_in(
    setting: str, path: Path, read: Callable[[bytes], list[VerificationKey]]
) -> list[VerificationKey]:
    try:
        return read(read_file(setting, path))
    except ValueError as error:
        raise SettingsError(f"WALLET_{setting.upper()}: {error}") from error


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Read the certificate, and read it again when its file changes."""
    cert_file, key_file = settings.tls_cert_file, settings.tls_key_file
    if cert_file is None or key_file is None:
        if not (settings.is_loopback or settings.insecure):
            raise SettingsError(
                f"WALLET_LISTEN: plaintext on {settings.listen} would show tokens to others:"
                " set WALLET_TLS_CERT_FILE and WALLET_TLS_KEY_FILE, or allow it by --insecure"
            )
        return None
    ca_file = settings.tls_client_ca_file
    files = [cert_file, key_file, *([ca_file] if ca_file else [])]
    read_at: list[int] = []  # the first connection has all read once more

    def changed_configuration() -> grpc.ServerCertificateConfiguration | None:
        nonlocal read_at
        # What cannot be used is tried again at the next connection; meanwhile the last one serves.
        try:
            times = _times(files)
            if times == read_at:
                return None
            changed = _configuration(cert_file, key_file, ca_file)
        except (OSError, SettingsError) as error:
            _log.error("certificate_not_read", cause=str(error))
            return None
        read_at = times
        return changed

    return grpc.dynamic_ssl_server_credentials(
        _configuration(cert_file, key_file, ca_file),
        # None means "as before", which the type stubs do not know.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", changed_configuration),
        require_client_authentication=ca_file is not None,
    )


def _configuration(
    cert_file: Path, key_file: Path, ca_file: Path | None
) -> grpc.ServerCertificateConfiguration:
    """Read what gRPC is to use, and check what it would only fail of at each connection."""
    chain = read_file("tls_cert_file", cert_file)
    key = read_file("tls_key_file", key_file)
    _check_pair(chain, key)
    roots = None
    if ca_file:
        roots = read_file("tls_client_ca_file", ca_file)
        _check_authorities(ca_file, roots)
    return grpc.ssl_server_certificate_configuration([(key, chain)], roots)


def _check_pair(chain: bytes, key: bytes) -> None:
    try:
        public_key = x509.load_pem_x509_certificate(chain).public_key()
        is_pair = load_pem_private_key(key, password=None).public_key() == public_key
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(
            f"WALLET_TLS_CERT_FILE: it or WALLET_TLS_KEY_FILE cannot be read: {error}"
        ) from error
    if not is_pair:
        raise SettingsError("WALLET_TLS_CERT_FILE: not for the key in WALLET_TLS_KEY_FILE")
    if not isinstance(public_key, RSAPublicKey | EllipticCurvePublicKey):
        raise SettingsError("WALLET_TLS_CERT_FILE: its key must be RSA or ECDSA, as gRPC's are")


def _check_authorities(ca_file: Path, roots: bytes) -> None:
    try:
        x509.load_pem_x509_certificates(roots)
    except ValueError as error:
        raise SettingsError(
            f"WALLET_TLS_CLIENT_CA_FILE: no certificates in {ca_file}: {error}"
        ) from error


def _times(files: list[Path]) -> list[int]:
    return [file.stat().st_mtime_ns for file in files]
