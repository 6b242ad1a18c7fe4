"""
Client of the wallet service.

    from wallet_client import InsufficientFunds, Wallet

    with Wallet("127.0.0.1:50051", token, plaintext=True) as wallet:
        wallet.deposit(10_000)
        wallet.transfer("bob", 2_500)

The generated stubs are in `wallet_client.v1`.
"""

from wallet_client.connection import new_request_id
from wallet_client.errors import (
    AccountClosed,
    AccountFrozen,
    AccountNotEmpty,
    AccountNotFound,
    BalanceLimit,
    BatchRefused,
    CaptureExceedsHold,
    ConditionFailed,
    HoldExpired,
    HoldNotActive,
    HoldNotFound,
    InsufficientFunds,
    InvalidRequest,
    LimitExceeded,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotReversible,
    OutcomeUnknown,
    Overloaded,
    Refused,
    RequestIdReused,
    ReversalExceedsOriginal,
    SameAccount,
    TokenExpired,
    TooManyStreams,
    TransactionNotFound,
    Undecided,
    WalletError,
)
from wallet_client.operations import Operation
from wallet_client.statuses import error_from_status
from wallet_client.wallet import Wallet

__all__ = [
    "AccountClosed",
    "AccountFrozen",
    "AccountNotEmpty",
    "AccountNotFound",
    "BalanceLimit",
    "BatchRefused",
    "CaptureExceedsHold",
    "ConditionFailed",
    "HoldExpired",
    "HoldNotActive",
    "HoldNotFound",
    "InsufficientFunds",
    "InvalidRequest",
    "LimitExceeded",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotReversible",
    "Operation",
    "OutcomeUnknown",
    "Overloaded",
    "Refused",
    "RequestIdReused",
    "ReversalExceedsOriginal",
    "SameAccount",
    "TokenExpired",
    "TooManyStreams",
    "TransactionNotFound",
    "Undecided",
    "Wallet",
    "WalletError",
    "error_from_status",
    "new_request_id",
]
