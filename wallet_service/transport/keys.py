"""The keys that tokens are checked with: from a secret, a PEM file, or a JWKS that may change."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from wallet_service.ledger.errors import KeysUnavailable

#: For how long a checked token, and the keys it was checked with, are each trusted without another
#: look: a withdrawn key is of no use after twice that, in an open stream a heartbeat later.
RECHECK_S = 30
KEYS_AGE_S_MAX = 3600
_RETRY_S = 5
_FETCH_TIMEOUT_S = 3
SECRET_BYTES_MIN = 32
_RSA_BITS_MIN = 2048

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key with its one algorithm. A key without an id is tried for every token."""

    algorithm: str
    key: Any
    key_id: str | None = None


#: Returns the keys that are valid now; raises `KeysUnavailable` where they cannot be known.
Keys = Callable[[], Sequence[VerificationKey]]


class NoKeys(jwt.PyJWKSetError):
    """A JWKS without a key of use: nobody is to be believed."""


class FetchedKeys:
    """
    Keys from a JWKS (RFC 7517) that may change: read again every `RECHECK_S`.

    While the source does not answer, the last good keys serve for up to `KEYS_AGE_S_MAX`; once it
    answers that there are none, none do. An unknown key id never causes a look-up, so nobody can
    make the source be flooded.

    Args:
        fetch: Returns the JWKS as decoded JSON.
    """

    def __init__(self, fetch: Callable[[], Any]) -> None:
        self._fetch = fetch
        self._mutex = threading.Lock()
        self._next_look = float("-inf")
        self._fetched_at = float("-inf")
        self._keys: Sequence[VerificationKey] = ()

    def __call__(self) -> Sequence[VerificationKey]:
        """Return the keys that are valid now, waiting for the source only where there are none."""
        if time.monotonic() >= self._next_look and self._mutex.acquire(blocking=not self._keys):
            try:
                if time.monotonic() >= self._next_look:
                    self._refresh(time.monotonic())
            finally:
                self._mutex.release()
        if time.monotonic() - self._fetched_at > KEYS_AGE_S_MAX:
            raise KeysUnavailable
        return self._keys

    def _refresh(self, now: float) -> None:
        try:
            self._keys = keys_of_jwks(self._fetch())
            self._fetched_at = now
            self._next_look = now + RECHECK_S
        except Exception as error:  # noqa: BLE001 (whatever the source did, the last keys serve)
            if isinstance(error, NoKeys):  # but these were withdrawn
                self._keys, self._fetched_at = (), float("-inf")
            self._next_look = now + _RETRY_S
            _log.warning("keys_not_fetched", cause=repr(error))


def fetch_jwks(url: str) -> Any:
    """Fetch a JWKS once; raises `jwt.PyJWTError` where that fails."""
    return jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_FETCH_TIMEOUT_S).fetch_data()


def keys_of_jwks_file(content: bytes) -> list[VerificationKey]:
    """Read a JWKS; raises `ValueError` if it is none."""
    try:
        return keys_of_jwks(orjson.loads(content))
    except jwt.PyJWTError as error:
        raise ValueError(str(error)) from error


def keys_of_jwks(jwks: Any) -> list[VerificationKey]:
    """
    Read the public signing keys of a JWKS; what is of no use here is left out.

    Raises:
        jwt.PyJWTError: Not a JWKS, or `NoKeys`.
    """
    members = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(members, list):
        raise jwt.PyJWKSetError("not a JSON object with a list of keys")
    keys = [key for member in members if (key := _key_of_jwk(member))]
    if not keys:
        raise NoKeys("no RSA, P-256 or Ed25519 public key in it")
    return keys


def _key_of_jwk(member: Any) -> VerificationKey | None:
    """Read one key of a JWKS; None for what is of no use here."""
    try:
        jwk = jwt.PyJWK(member)
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError):
        return None  # its library raises whatever an odd member leads it to
    algorithm = _algorithm(jwk.key)
    is_for_signatures = jwk.public_key_use is None or jwk.public_key_use == "sig"
    if not algorithm or not is_for_signatures or not isinstance(jwk.key_id, str | None):
        return None
    return VerificationKey(algorithm, jwk.key, jwk.key_id)


def key_of_pem(pem: bytes) -> VerificationKey:
    """
    Read a public key; its kind fixes its algorithm.

    Raises:
        ValueError: Not an RSA, P-256 or Ed25519 public key.
    """
    key = load_pem_public_key(pem)
    algorithm = _algorithm(key)
    if algorithm is None:
        raise ValueError("not an RSA (2048 bits or more), P-256 or Ed25519 public key")
    return VerificationKey(algorithm, key)


def key_of_secret(secret: bytes) -> VerificationKey:
    """
    Make an HS256 key of a shared secret.

    Raises:
        ValueError: Too short to withstand guessing.
    """
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"a secret needs at least {SECRET_BYTES_MIN} random bytes")
    return VerificationKey("HS256", secret)


def _algorithm(key: Any) -> str | None:
    """Name the one algorithm a public key is used with; None for a key of no use here."""
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else None
