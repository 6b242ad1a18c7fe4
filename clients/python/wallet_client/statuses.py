"""How what the service answers becomes one of `wallet_client.errors`."""

from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from wallet_client import errors
from wallet_client.errors import WalletError
from wallet_client.v1.wallet_service_pb2 import ExecuteBatchResponse

_DOMAIN = "wallet.v1"

#: What another try with the same request may mend.
RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,  # by a server that stopped, in a rare moment
}

#: How gRPC says that a call found no connection to leave by.
_NEVER_SENT = (
    "connections to all backends failing",
    "errors resolving",
    "failed to connect to all addresses",
)
#: What a call may end with, without a word of the service's, after it has arrived.
_CUT_OFF = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}

_BY_REASON: dict[str, type[WalletError]] = {
    "INSUFFICIENT_FUNDS": errors.InsufficientFunds,
    "ACCOUNT_NOT_FOUND": errors.AccountNotFound,
    "ACCOUNT_FROZEN": errors.AccountFrozen,
    "ACCOUNT_CLOSED": errors.AccountClosed,
    "ACCOUNT_NOT_EMPTY": errors.AccountNotEmpty,
    "BALANCE_LIMIT": errors.BalanceLimit,
    "HOLD_NOT_FOUND": errors.HoldNotFound,
    "HOLD_NOT_ACTIVE": errors.HoldNotActive,
    "HOLD_EXPIRED": errors.HoldExpired,
    "CAPTURE_EXCEEDS_HOLD": errors.CaptureExceedsHold,
    "TRANSACTION_NOT_FOUND": errors.TransactionNotFound,
    "REVERSAL_EXCEEDS_ORIGINAL": errors.ReversalExceedsOriginal,
    "NOT_REVERSIBLE": errors.NotReversible,
    "CONDITION_FAILED": errors.ConditionFailed,
    "LIMIT_EXCEEDED": errors.LimitExceeded,
    "BATCH_REFUSED": errors.BatchRefused,
    "TOO_MANY_STREAMS": errors.TooManyStreams,
    "REQUEST_ID_REUSED": errors.RequestIdReused,
    "SAME_ACCOUNT": errors.SameAccount,
    "TOKEN_EXPIRED": errors.TokenExpired,
    "OUTCOME_UNKNOWN": errors.OutcomeUnknown,
    "OVERLOADED": errors.Overloaded,
}

_BY_CODE: dict[grpc.StatusCode, type[WalletError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: errors.NotAuthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotAllowed,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Refused,
    grpc.StatusCode.ABORTED: errors.Undecided,
    grpc.StatusCode.UNAVAILABLE: errors.Undecided,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.OutcomeUnknown,
    grpc.StatusCode.CANCELLED: errors.OutcomeUnknown,
}


def error_from(error: grpc.RpcError, *, request_id: str = "") -> WalletError:
    """Make the typed error of a failed call."""
    call: Any = error  # what a stub raises is a grpc.Call too
    code: grpc.StatusCode = call.code()
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # the details are of another failure, which gRPC put its own in place of
        status = None
    status = status or Status(message=call.details() or code.name)
    return _typed(code, status, request_id=request_id)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def error_from_status(status: Status, *, request_id: str = "") -> WalletError:
    """Make the typed error of one operation of a batch."""
    return _typed(_CODES[status.code], status, request_id=request_id)


def keep_doubt(response: ExecuteBatchResponse) -> None:
    """Tell of the operations that a batch did not decide, sent again, that they may be done."""
    for result in response.results:
        failure = error_from_status(result.error) if result.HasField("error") else None
        if failure and not isinstance(failure, errors.Refused | errors.InvalidRequest):
            code = grpc.StatusCode.UNAVAILABLE.value[0]
            told = Status(code=code, message=str(failure))
            told.details.add().Pack(ErrorInfo(domain=_DOMAIN, reason="OUTCOME_UNKNOWN"))
            result.error.CopyFrom(told)


def _typed(code: grpc.StatusCode, status: Status, *, request_id: str = "") -> WalletError:
    info, bad_request = ErrorInfo(), BadRequest()
    for detail in status.details:
        for message in (info, bad_request):
            detail.Unpack(message)
    if info.domain != _DOMAIN:
        info = ErrorInfo()
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(code, WalletError)
    if not info.reason and code in _CUT_OFF and not status.message.startswith(_NEVER_SENT):
        kind = errors.OutcomeUnknown
    if kind is errors.TransactionNotFound and "transaction_id" not in info.metadata:
        kind = errors.NotFound  # no record of a refusal: it may be there later
    return kind(
        status.message,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        request_id=request_id,
        fields=_fields(bad_request),
    )


def _fields(bad_request: BadRequest) -> dict[str, str]:
    fields: dict[str, str] = {}
    for each in bad_request.field_violations:
        earlier = fields.get(each.field)
        fields[each.field] = f"{earlier}; {each.description}" if earlier else each.description
    return fields
