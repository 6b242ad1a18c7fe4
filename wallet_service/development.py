"""What a first evening with the wallet needs: tokens, and lines to paste into a terminal."""

import functools
import shlex
import time
from collections.abc import Sequence

import jwt
import uuid_utils

from wallet_service.credentials import signing_key
from wallet_service.settings import Settings

_DAY_S = 24 * 3600


def make_token(
    settings: Settings, user_id: str, *, scopes: Sequence[str] = (), ttl_s: int = _DAY_S
) -> str:
    """
    Sign a token with the service's own secret.

    Args:
        settings: Issuer, audience and secret.

        user_id: Who it speaks for (`sub`).

        scopes: What it may do beyond its own account.

        ttl_s: For how many seconds it is valid.

    Raises:
        SettingsError: Tokens are signed elsewhere.
    """
    now = int(time.time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": user_id,
        "iat": now,
        "exp": now + ttl_s,
        "scope": " ".join(scopes),
    }
    key = signing_key(settings)
    return jwt.encode(claims, key.key, algorithm=key.algorithm)


def quick_start(settings: Settings, address: str) -> str:
    """Return lines that move money between two users of a development server."""
    call = functools.partial(_call, trust=_trust(settings), address=address)
    alice = make_token(settings, "alice")
    bob = make_token(settings, "bob")
    calls = [
        call("Deposit", "ALICE", '"amount":{"minor_units":"10000"}'),
        call("Deposit", "BOB", '"amount":{"minor_units":"100"}'),
        call("Transfer", "ALICE", '"to_user_id":"bob","amount":{"minor_units":"10000"}'),
        call("GetBalance", "BOB", ""),
    ]
    return "\n".join(
        [
            "",
            "Tokens of two users, good for a day:",
            "",
            f"ALICE={alice}",
            f"BOB={bob}",
            "",
            "Alice gets 100 roubles and Bob 1; Alice sends hers to Bob, who then has 101.00.",
            "Each line may be pasted twice: its request_id makes it happen once.",
            "",
            *calls,
            "",
        ]
    )


def _trust(settings: Settings) -> str:
    """Write how grpcurl is to believe the server: a certificate of one's own is its authority."""
    if settings.tls_cert_file is None:
        return "-plaintext"
    return f"-cacert {shlex.quote(str(settings.tls_cert_file))}"


def _call(method: str, user: str, fields: str, *, trust: str, address: str) -> str:
    """Write one grpcurl line; a write gets a request id of its own."""
    if method != "GetBalance":
        fields += f',"request_id":"{uuid_utils.uuid7()}"'
    return (
        f"grpcurl {trust} -H \"authorization: Bearer ${user}\" -d '{{{fields}}}'"
        f" {address} wallet.v1.WalletService/{method}"
    )
