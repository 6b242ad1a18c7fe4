"""Tokens as the tests' issuer signs them, good and bad."""

import time
from pathlib import Path

import jwt

SECRET = b"a secret of the tests, long enough to pass for one"


def write_secret(directory: Path) -> Path:
    """Put the secret into a file that a server can be pointed at."""
    path = directory / "jwt-secret"
    path.write_bytes(SECRET)
    return path


def token(user_id: str, *scopes: str, **claims: object) -> str:
    """Sign a token; `claims` replace or, as None, remove those it would have."""
    now = int(time.time())
    payload = {
        "iss": "wallet",
        "aud": "wallet",
        "sub": user_id,
        "iat": now,
        "exp": now + 3600,
        "scope": " ".join(scopes),
        **claims,
    }
    kept = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(kept, SECRET, algorithm="HS256")


def bearer(user_id: str, *scopes: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that a user's calls carry."""
    return (("authorization", f"Bearer {token(user_id, *scopes)}"),)


def service_token() -> str:
    """Sign a token of a service that may do everything."""
    return token("service", "wallet:act-for-any", "wallet:admin")
