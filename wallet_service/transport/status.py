"""
Errors into statuses: the one table, and the rich details of `google.rpc`.

Every error carries exactly one `ErrorInfo` (AIP-193); wrong fields are named in `BadRequest`, and
where the same request may simply be sent again `RetryInfo` says when.
"""

from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from wallet_service.ledger import errors
from wallet_service.ledger.errors import InvalidRequest, ValidationFailed, WalletError

DOMAIN = "wallet.v1"
_DETAILS_KEY = "grpc-status-details-bin"

#: The nearest class in an error's ancestry decides.
CODES: dict[type[WalletError], StatusCode] = {
    errors.Refusal: StatusCode.FAILED_PRECONDITION,
    errors.AccountNotFound: StatusCode.NOT_FOUND,
    errors.HoldNotFound: StatusCode.NOT_FOUND,
    errors.OriginalNotFound: StatusCode.NOT_FOUND,
    errors.HoldNotDue: StatusCode.FAILED_PRECONDITION,
    errors.RequestIdReused: StatusCode.ALREADY_EXISTS,
    errors.InvalidRequest: StatusCode.INVALID_ARGUMENT,
    errors.TransactionNotFound: StatusCode.NOT_FOUND,
    errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.Contention: StatusCode.ABORTED,
    errors.Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.LedgerCorrupt: StatusCode.DATA_LOSS,
    errors.InternalError: StatusCode.INTERNAL,
}

_RETRY_DELAY = RetryInfo(retry_delay=Duration(nanos=100_000_000))
_RETRYABLE = (errors.Contention, errors.Overloaded, errors.Unavailable)


def code_of(error: WalletError) -> StatusCode:
    """Return the status code of an error."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def status_of(error: WalletError) -> Status:
    """Return what travels to the client in `grpc-status-details-bin`."""
    metadata = {key: str(value) for key, value in error.values.items()}
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    fields = _violations(error)
    if fields:
        details.append(BadRequest(field_violations=fields))
    if isinstance(error, _RETRYABLE):
        details.append(_RETRY_DELAY)
    code: int = code_of(error).value[0]
    return Status(code=code, message=str(error), details=[_pack(detail) for detail in details])


def abort(
    context: grpc.ServicerContext, error: WalletError, *trailers: tuple[str, str]
) -> NoReturn:
    """End a call with an error and its details."""
    status = status_of(error)
    context.set_trailing_metadata(
        (*trailers, (_DETAILS_KEY, status.SerializeToString(deterministic=True)))
    )
    context.abort(code_of(error), status.message)


def _violations(error: WalletError) -> list[BadRequest.FieldViolation]:
    if isinstance(error, ValidationFailed):
        named = [tuple(violation) for violation in error.violations]
    elif isinstance(error, errors.RequestIdReused):
        named = [(field, str(error)) for field in str(error.values["fields"]).split(",")]
    elif isinstance(error, InvalidRequest):
        named = [(str(error.values["field"]), str(error))]
    else:
        return []
    return [
        BadRequest.FieldViolation(field=field, description=text, reason=error.reason)
        for field, text in named
    ]


def _pack(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail, deterministic=True)
    return packed
