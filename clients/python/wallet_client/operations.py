"""What batches are made of."""

from collections.abc import Sequence

from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    ExecuteBatchRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WithdrawRequest,
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

_FIELDS: dict[type[Operation], str] = {
    DepositRequest: "deposit",
    WithdrawRequest: "withdraw",
    TransferRequest: "transfer",
    CreateHoldRequest: "create_hold",
    CaptureHoldRequest: "capture_hold",
    VoidHoldRequest: "void_hold",
    ReverseTransactionRequest: "reverse_transaction",
}


def batch_of(operations: Sequence[Operation], *, atomic: bool) -> ExecuteBatchRequest:
    """Put requests of the other methods into one batch, in their order."""
    request = ExecuteBatchRequest(atomic=atomic)
    for operation in operations:
        getattr(request.operations.add(), _FIELDS[type(operation)]).CopyFrom(operation)
    return request
