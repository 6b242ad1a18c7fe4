"""
Who is calling, and what they may do.

Tokens are JWTs (RFC 7519) checked as RFC 8725 asks: one algorithm per key, fixed by the key and
never by the token's header; issuer, audience, expiry and subject required. Identity comes from the
token alone, never from a request.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import structlog

from wallet_service.ledger.books import Outcome, State
from wallet_service.ledger.commands import Kind
from wallet_service.ledger.errors import (
    ScopeMissing,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
)
from wallet_service.transport.keys import RECHECK_S, Keys, VerificationKey
from wallet_service.transport.validation import is_user_id

SCOPE_ACT_FOR_ANY = "wallet:act-for-any"
SCOPE_ADMIN = "wallet:admin"
SCOPES = frozenset({SCOPE_ACT_FOR_ANY, SCOPE_ADMIN})

_CLOCK_SKEW_S = 10
_EXPIRES_AT_MAX = 2**53  # what a JSON number can say exactly
_KNOWN_TOKENS_MAX = 10_000
_TOKEN_LENGTH_MAX = 8192
_TYPES = {"jwt", "at+jwt", "application/at+jwt"}

#: The scope each method needs; None: any valid token. A method that is missing here cannot be
#: served.
POLICIES: dict[str, str | None] = {
    "/wallet.v1.WalletService/Deposit": None,
    "/wallet.v1.WalletService/Withdraw": None,
    "/wallet.v1.WalletService/Transfer": None,
    "/wallet.v1.WalletService/CreateHold": None,
    "/wallet.v1.WalletService/CaptureHold": None,
    "/wallet.v1.WalletService/VoidHold": None,
    "/wallet.v1.WalletService/ReverseTransaction": None,
    "/wallet.v1.WalletService/ExecuteBatch": None,
    "/wallet.v1.WalletService/GetBalance": None,
    "/wallet.v1.WalletService/ListBalances": None,
    "/wallet.v1.WalletService/GetTransaction": None,
    "/wallet.v1.WalletService/ListTransactions": None,
    "/wallet.v1.WalletService/GetHold": None,
    "/wallet.v1.WalletService/ListHolds": None,
    "/wallet.v1.WalletService/WatchTransactions": None,
    "/wallet.v1.WalletAdminService/OpenAccount": SCOPE_ADMIN,
    "/wallet.v1.WalletAdminService/GetAccount": SCOPE_ADMIN,
    "/wallet.v1.WalletAdminService/ListAccounts": SCOPE_ADMIN,
    "/wallet.v1.WalletAdminService/UpdateAccount": SCOPE_ADMIN,
    "/wallet.v1.WalletAdminService/ListAccountChanges": SCOPE_ADMIN,
}


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for: `user_id` is its `sub`; `expires_at` in seconds since 1970."""

    user_id: str
    scopes: frozenset[str]
    expires_at: float

    @property
    def acts_for_any(self) -> bool:
        """Tell whether this is a service that may name any user."""
        return SCOPE_ACT_FOR_ANY in self.scopes

    def require(self, scope: str | None) -> None:
        """Raise `ScopeMissing` unless the token grants a scope."""
        if scope is not None and scope not in self.scopes:
            raise ScopeMissing(scope=scope)

    def acting_as(self, user_id: str) -> str:
        """Resolve a request's `user_id`: empty means the caller; another needs the scope."""
        if user_id and user_id != self.user_id:
            self.require(SCOPE_ACT_FOR_ANY)
        return user_id or self.user_id

    def may_see(self, outcome: Outcome) -> bool:
        """Tell whether a transaction is the caller's to see: party's, maker's or service's."""
        transaction = outcome.transaction
        if self.acts_for_any or transaction.caller == self.user_id:
            return True
        payer, receiver = transaction.source_user_id, transaction.target_user_id
        if transaction.kind == Kind.UPDATE_ACCOUNT:
            return False  # operators write their reasons for each other
        # A refused request is no business of the one who would have been paid.
        is_posted = transaction.state == State.POSTED
        return self.user_id in ({payer, receiver} if is_posted else {payer})


class TokenVerifier:
    """Checks tokens, remembering those it has checked for `RECHECK_S` at most."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._mutex = threading.Lock()
        #: Whose each checked token is, and until when it is trusted.
        self._known: dict[str, tuple[Caller, float]] = {}

    def caller_of(self, metadata: Sequence[tuple[str, str | bytes]]) -> Caller:
        """
        Identify the caller of an RPC.

        Args:
            metadata: The RPC's invocation metadata.

        Raises:
            TokenMissing: No `authorization: Bearer …`.

            TokenExpired: Its time is over.

            TokenInvalid: Anything else is wrong with it; only the log says which thing.
        """
        values = [value for key, value in metadata if key == "authorization"]
        if not values:
            raise TokenMissing
        scheme, _, token = str(values[0]).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenMissing
        if len(values) > 1 or len(token) > _TOKEN_LENGTH_MAX:
            _log.debug("token_invalid", cause="too long, or one of several")
            raise TokenInvalid
        known = self._known.get(token)  # without the mutex: one look into a dictionary is whole
        if known:
            caller, trusted_until = known
            if time.time() < trusted_until:
                return caller
        caller = self._verify(token)
        self._remember(token, caller)
        return caller

    def _remember(self, token: str, caller: Caller) -> None:
        trusted_until = min(caller.expires_at, time.time() + RECHECK_S)
        with self._mutex:
            self._known.pop(token, None)
            if len(self._known) >= _KNOWN_TOKENS_MAX:
                del self._known[next(iter(self._known))]  # the one that came first
            self._known[token] = (caller, trusted_until)

    def _verify(self, token: str) -> Caller:
        try:
            return self._caller_in(token)
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            _log.debug("token_invalid", cause=str(error))
            raise TokenInvalid from error

    def _caller_in(self, token: str) -> Caller:
        header = jwt.get_unverified_header(token)
        if str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise jwt.InvalidTokenError("its header's typ is not of an access token")
        for key in self._keys():
            if key.algorithm == header.get("alg") and key.key_id in {None, header.get("kid")}:
                try:
                    return _caller(self._claims(token, key))
                except jwt.InvalidSignatureError:
                    continue  # another key of the same kind, as during a rotation
        raise jwt.InvalidTokenError("no key of its header's alg and kid has signed it")

    def _claims(self, token: str, key: VerificationKey) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=_CLOCK_SKEW_S,
            options={"require": ["iss", "aud", "exp", "sub"]},
        )
        return claims


def _caller(claims: dict[str, Any]) -> Caller:
    subject, expires_at, scope = claims["sub"], claims["exp"], claims.get("scope", "")
    if not isinstance(scope, str):
        raise jwt.InvalidTokenError("its scope is not words in one text")
    if not isinstance(subject, str) or not is_user_id(subject):
        raise jwt.InvalidTokenError("its sub is no user id")
    if not isinstance(expires_at, int | float) or expires_at > _EXPIRES_AT_MAX:
        raise jwt.InvalidTokenError("its exp is no time")
    if expires_at <= time.time():  # skewed clocks excuse `nbf` and `iat`, never expiry
        raise jwt.ExpiredSignatureError
    return Caller(subject, frozenset(scope.split()), float(expires_at))
