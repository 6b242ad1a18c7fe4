"""What batches are made of, and what comes of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CaptureHoldResponse,
    CreateHoldRequest,
    CreateHoldResponse,
    DepositRequest,
    DepositResponse,
    ExecuteBatchRequest,
    ExecuteBatchResponse,
    ReverseTransactionRequest,
    ReverseTransactionResponse,
    TransferRequest,
    TransferResponse,
    VoidHoldRequest,
    VoidHoldResponse,
    WithdrawRequest,
    WithdrawResponse,
)

#: Requests that one batch takes.
OPERATIONS_MAX = 1000

#: What a batch is made of: requests of the other methods.
Operation = (
    DepositRequest
    | WithdrawRequest
    | TransferRequest
    | CreateHoldRequest
    | CaptureHoldRequest
    | VoidHoldRequest
    | ReverseTransactionRequest
)

#: By a request's type: its field in a batch, and what its own method answers with.
_KINDS: dict[type[Operation], tuple[str, Callable[[], Any]]] = {
    DepositRequest: ("deposit", DepositResponse),
    WithdrawRequest: ("withdraw", WithdrawResponse),
    TransferRequest: ("transfer", TransferResponse),
    CreateHoldRequest: ("create_hold", CreateHoldResponse),
    CaptureHoldRequest: ("capture_hold", CaptureHoldResponse),
    VoidHoldRequest: ("void_hold", VoidHoldResponse),
    ReverseTransactionRequest: ("reverse_transaction", ReverseTransactionResponse),
}


def batch_of(operations: Sequence[Operation], *, atomic: bool) -> ExecuteBatchRequest:
    """Put requests of the other methods into one batch, in their order."""
    request = ExecuteBatchRequest(atomic=atomic)
    for operation in operations:
        field, _ = _KINDS[type(operation)]
        getattr(request.operations.add(), field).CopyFrom(operation)
    return request


def check_kinds(operations: Iterable[object]) -> None:
    """Raise `TypeError` for what no batch takes."""
    for operation in operations:
        if type(operation) not in _KINDS:
            raise TypeError(f"operations: a batch takes no {type(operation).__name__}")


def response_of(operation: Operation, result: ExecuteBatchResponse.Result) -> Any:
    """Make what an operation's own method would have answered of its result in a batch."""
    _, make_response = _KINDS[type(operation)]
    response = make_response()
    response.transaction.CopyFrom(result.transaction)
    response.replayed = result.replayed
    if result.HasField("hold"):
        response.hold.CopyFrom(result.hold)
    return response
