"""
What a call can fail with, one class a reason.

    WalletError
    ├── Refused                  the books said no; bound to the request id
    │   ├── InsufficientFunds
    │   ├── AccountNotFound      a NotFound too
    │   ├── AccountFrozen
    │   ├── AccountClosed
    │   ├── AccountNotEmpty
    │   ├── BalanceLimit
    │   ├── HoldNotFound         a NotFound too
    │   ├── HoldNotActive
    │   ├── HoldExpired
    │   ├── CaptureExceedsHold
    │   ├── TransactionNotFound  a NotFound too
    │   ├── ReversalExceedsOriginal
    │   ├── NotReversible
    │   ├── ConditionFailed
    │   ├── LimitExceeded
    │   └── BatchRefused
    ├── InvalidRequest           fix the request: `fields` says where
    │   ├── RequestIdReused
    │   └── SameAccount
    ├── NotFound                 no such thing, or none for the caller to see
    │   └── AccountNotFound, HoldNotFound, TransactionNotFound
    ├── NotAuthenticated
    │   └── TokenExpired
    ├── NotAllowed
    └── Undecided                send again under the same request id
        ├── OutcomeUnknown
        └── Overloaded
            └── TooManyStreams

Errors come as `google.rpc.ErrorInfo` of the domain "wallet.v1"; its reasons are explained in
`protos/wallet/v1/errors.proto`.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import grpc


class WalletError(Exception):
    """
    A call failed.

    Args:
        message: For people.

        code: The gRPC status code.

        reason: Name of a `wallet.v1.ErrorReason` without prefix; empty if the service gave none.

        metadata: The reason's values.

        request_id: What the request was called; send it again under this name to settle it.

        fields: The request's fields at fault, with what is wrong with each.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.request_id = request_id
        self.fields = dict(fields or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # What an exception says by itself leaves the keywords out, and a copy would share values.
        own = {**vars(self), "metadata": dict(self.metadata), "fields": dict(self.fields)}
        return partial(type(self), code=self.code), self.args, own


class Refused(WalletError):
    """
    The books said no. The same request id will always be answered so; a new one may succeed.

    A read binds nothing, nor does `validate_only`: the answer may be another later.
    """

    @property
    def transaction_id(self) -> str:
        """The record of the refusal; empty for a read and for an atomic batch as a whole."""
        return self.metadata.get("transaction_id", "")


class NotFound(WalletError):
    """There is no such thing, or it is not the caller's to see."""


class InsufficientFunds(Refused):
    """The account has less than was asked for. Sums are minor units."""

    @property
    def available_minor(self) -> int:
        """What the account had available."""
        return int(self.metadata["available"])

    @property
    def required_minor(self) -> int:
        """What the request asked for."""
        return int(self.metadata["required"])

    @property
    def shortfall_minor(self) -> int:
        """How much more the account would have needed."""
        return int(self.metadata["shortfall"])


class AccountNotFound(Refused, NotFound):
    """Nobody opened that account."""


class AccountFrozen(Refused):
    """The account's state forbids it."""


class AccountClosed(Refused):
    """The account is closed."""


class BalanceLimit(Refused):
    """The account cannot hold that much."""


class AccountNotEmpty(Refused):
    """An account with money or holds cannot be closed."""


class HoldNotFound(Refused, NotFound):
    """There is no such hold, or it is not the caller's to see."""


class HoldNotActive(Refused):
    """The hold was captured or voided."""


class HoldExpired(Refused):
    """The hold's time is over."""


class CaptureExceedsHold(Refused):
    """The hold reserves less."""

    @property
    def remaining_minor(self) -> int:
        """What it still reserves."""
        return int(self.metadata["remaining"])


class TransactionNotFound(Refused, NotFound):
    """
    What shall be reversed is not there, or not the caller's to see.

    Reading a transaction, or `validate_only`, raises plain `NotFound`: what is not there yet may
    still be made.
    """


class ReversalExceedsOriginal(Refused):
    """Less of the original is left to give back."""

    @property
    def remaining_minor(self) -> int:
        """What is left of it."""
        return int(self.metadata["remaining"])


class NotReversible(Refused):
    """Transactions of that kind or state cannot be given back."""


class ConditionFailed(Refused):
    """The request's own condition does not hold."""


class LimitExceeded(Refused):
    """A spending limit is used up."""

    @property
    def remaining(self) -> int:
        """What is left of it: minor units, or a number of debits where `limited` says "count"."""
        return int(self.metadata["remaining"])

    @property
    def limited(self) -> str:
        """Whether the limit is on the "amount" or the "count"."""
        return self.metadata["limited"]

    @property
    def reset_time(self) -> datetime | None:
        """When room begins to come back; None where waiting does not help."""
        text = self.metadata["reset_time"]
        return datetime.fromisoformat(text) if text else None


class BatchRefused(Refused):
    """An operation of an atomic batch was refused, so none was carried out."""

    @property
    def failed_index(self) -> int:
        """Which operation."""
        return int(self.metadata["failed_index"])

    @property
    def failed_reason(self) -> str:
        """Why."""
        return self.metadata["failed_reason"]


class InvalidRequest(WalletError):
    """The request can never succeed as it is."""


class RequestIdReused(InvalidRequest):
    """The request id names an earlier request with other content."""


class SameAccount(InvalidRequest):
    """Source and target are the same account."""


class NotAuthenticated(WalletError):
    """The token is missing or not accepted."""


class TokenExpired(NotAuthenticated):
    """The token's time is over."""


class NotAllowed(WalletError):
    """The token does not allow this."""


class Undecided(WalletError):
    """Not done as far as is known; send the same request again under the same request id."""


class OutcomeUnknown(Undecided):
    """
    Done or not: only the same request id can tell.

    So ends every write that may have arrived and was not answered, whatever became of later tries:
    `code` and `reason` are those of the last, which may say that a token expired meanwhile.
    """


class Overloaded(Undecided):
    """The service has too much to do."""


class TooManyStreams(Overloaded):
    """The service, or this caller, has too many streams open."""
