"""
Client of the wallet service.

    from wallet_client import InsufficientFunds, Wallet

    with Wallet("127.0.0.1:50051", token, plaintext=True) as wallet:
        wallet.deposit(10_000)
        wallet.transfer("bob", 2_500)

The generated stubs are in `wallet_client.v1`.
"""

from wallet_client.errors import (
    AccountClosed,
    AccountFrozen,
    AccountNotFound,
    BalanceLimit,
    InsufficientFunds,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    Refused,
    RequestIdReused,
    SameAccount,
    TokenExpired,
    Undecided,
    WalletError,
)
from wallet_client.wallet import Wallet, new_request_id

__all__ = [
    "AccountClosed",
    "AccountFrozen",
    "AccountNotFound",
    "BalanceLimit",
    "InsufficientFunds",
    "InvalidRequest",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "Refused",
    "RequestIdReused",
    "SameAccount",
    "TokenExpired",
    "Undecided",
    "Wallet",
    "WalletError",
    "new_request_id",
]
