"""
What a call can fail with, one class a reason.

    WalletError
    ├── Refused                  the books said no; bound to the request id
    │   ├── InsufficientFunds
    │   ├── AccountNotFound
    │   ├── AccountFrozen
    │   ├── AccountClosed
    │   └── BalanceLimit
    ├── InvalidRequest           fix the request: `fields` says where
    │   ├── RequestIdReused
    │   └── SameAccount
    ├── NotFound
    ├── NotAuthenticated
    │   └── TokenExpired
    ├── NotAllowed
    └── Undecided                send again under the same request id
        ├── OutcomeUnknown
        └── Overloaded

Errors come as `google.rpc.ErrorInfo` of the domain "wallet.v1"; its reasons are explained in
`protos/wallet/v1/errors.proto`.
"""

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

_DOMAIN = "wallet.v1"


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


class Refused(WalletError):
    """The books said no. The same request id will always be answered so; a new one may succeed."""

    @property
    def transaction_id(self) -> str:
        """The record of the refusal; empty for a read."""
        return self.metadata.get("transaction_id", "")


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


class AccountNotFound(Refused):
    """Nobody opened that account."""


class AccountFrozen(Refused):
    """The account's state forbids it."""


class AccountClosed(Refused):
    """The account is closed."""


class BalanceLimit(Refused):
    """The account cannot hold that much."""


class InvalidRequest(WalletError):
    """The request can never succeed as it is."""


class RequestIdReused(InvalidRequest):
    """The request id names an earlier request with other content."""


class SameAccount(InvalidRequest):
    """Source and target are the same account."""


class NotFound(WalletError):
    """There is no such thing, or it is not the caller's to see."""


class NotAuthenticated(WalletError):
    """The token is missing or not accepted."""


class TokenExpired(NotAuthenticated):
    """The token's time is over."""


class NotAllowed(WalletError):
    """The token does not allow this."""


class Undecided(WalletError):
    """Not done as far as is known; send the same request again under the same request id."""


class OutcomeUnknown(Undecided):
    """Done or not: only the same request id can tell."""


class Overloaded(Undecided):
    """The service has too much to do."""


_BY_REASON: dict[str, type[WalletError]] = {
    "INSUFFICIENT_FUNDS": InsufficientFunds,
    "ACCOUNT_NOT_FOUND": AccountNotFound,
    "ACCOUNT_FROZEN": AccountFrozen,
    "ACCOUNT_CLOSED": AccountClosed,
    "BALANCE_LIMIT": BalanceLimit,
    "REQUEST_ID_REUSED": RequestIdReused,
    "SAME_ACCOUNT": SameAccount,
    "TOKEN_EXPIRED": TokenExpired,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
    "OVERLOADED": Overloaded,
}

_BY_CODE: dict[grpc.StatusCode, type[WalletError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.ABORTED: Undecided,
    grpc.StatusCode.UNAVAILABLE: Undecided,
    grpc.StatusCode.DEADLINE_EXCEEDED: OutcomeUnknown,
    grpc.StatusCode.CANCELLED: OutcomeUnknown,
}


def error_from(error: grpc.RpcError, *, request_id: str = "") -> WalletError:
    """Make the typed error of a failed call."""
    call: Any = error  # what a stub raises is a grpc.Call too
    info, fields = _details(call)
    code: grpc.StatusCode = call.code()
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(code, WalletError)
    return kind(
        call.details() or code.name,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        request_id=request_id,
        fields=fields,
    )


def _details(call: Any) -> tuple[ErrorInfo, dict[str, str]]:
    """Find the error's own details among those of its status."""
    info, bad_request = ErrorInfo(), BadRequest()
    status = rpc_status.from_call(call)
    for detail in status.details if status else ():
        for message in (info, bad_request):
            detail.Unpack(message)
    if info.domain != _DOMAIN:
        info = ErrorInfo()
    return info, {each.field: each.description for each in bad_request.field_violations}
