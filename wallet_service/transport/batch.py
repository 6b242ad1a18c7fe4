"""Batches: many requests of the other methods in one call, and what became of each."""

from collections.abc import Callable, Collection
from typing import Any

from wallet_client.v1.wallet_service_pb2 import ExecuteBatchRequest, ExecuteBatchResponse

from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import Command
from wallet_service.ledger.errors import (
    BatchRefused,
    NotAllowed,
    ValidationFailed,
    Violation,
    WalletError,
)
from wallet_service.transport import decode, encode
from wallet_service.transport.auth import Caller
from wallet_service.transport.decode import Decoder
from wallet_service.transport.status import status_of
from wallet_service.transport.validation import Validation

OPERATIONS_MAX = 1000

Read = Callable[[Any, Caller, str], Command]


def submission_of(
    request: ExecuteBatchRequest, caller: Caller, decoder: Decoder, *, self_deposit: bool
) -> Submission:
    """
    Read a batch.

    Raises:
        InvalidRequest: The batch or one of its operations can never be right; nothing is done.

        PermissionDenied: One of its operations is not this caller's to ask; nothing is done.
    """
    count = len(request.operations)
    if not 1 <= count <= OPERATIONS_MAX:
        text = f"must be 1 to {OPERATIONS_MAX}, not {count}"
        raise ValidationFailed([Violation("operations", text)])
    readers: dict[str, Read] = {
        "deposit": decoder.deposit,
        "withdraw": decoder.withdraw,
        "transfer": decoder.transfer,
        "create_hold": decoder.create_hold,
        "capture_hold": decode.capture_hold,
        "void_hold": decode.void_hold,
        "reverse_transaction": decode.reverse_transaction,
    }
    commands: list[Command] = []
    seen: set[str] = set()
    for index, operation in enumerate(request.operations):
        name = operation.WhichOneof("request")
        if name is None:
            violation = Violation(f"operations[{index}]", "must be one of the requests")
            raise ValidationFailed([violation])
        if name == "deposit" and not (self_deposit or caller.acts_for_any):
            raise NotAllowed(why="here only services deposit, not users themselves")
        prefix = f"operations[{index}].{name}."
        command = readers[name](getattr(operation, name), caller, prefix)
        _check_fits(command, seen, prefix)
        seen.add(command.request_id)
        commands.append(command)
    return Submission(commands, is_atomic=request.atomic)


def _check_fits(command: Command, seen: Collection[str], prefix: str) -> None:
    """Refuse what is good alone, but not in a batch with these request ids."""
    validation = Validation(prefix)
    validation.require("validate_only", "is not for batches", holds=not command.validate_only)
    validation.require(
        "request_id", "stands in the batch twice", holds=command.request_id not in seen
    )
    validation.finish()


def response_of(
    submission: Submission, results: list[Result], caller: Caller
) -> ExecuteBatchResponse:
    """
    Write what became of each operation.

    Raises:
        WalletError: The batch is atomic and was refused, or could not be decided.
    """
    if submission.is_atomic:
        for index, result in enumerate(results):
            _raise_for_batch(index, result)
    response = ExecuteBatchResponse()
    for command, result in zip(submission.commands, results, strict=True):
        _fill_result(response.results.add(), command, result, caller)
    return response


def _raise_for_batch(index: int, result: Result) -> None:
    """Raise for the operation that an atomic batch was refused for."""
    if isinstance(result, Exception):
        raise result
    refusal = result.transaction.refusal
    if isinstance(refusal, BatchRefused):
        raise refusal
    if refusal:
        raise BatchRefused(failed_index=index, failed_reason=refusal.reason)


def _fill_result(
    message: ExecuteBatchResponse.Result, command: Command, result: Result, caller: Caller
) -> None:
    if isinstance(result, Outcome):
        message.replayed = result.is_replayed
        refusal = result.transaction.refusal
        if refusal:
            refusal.values["transaction_id"] = result.transaction.transaction_id
            message.error.CopyFrom(status_of(refusal))
            return
        viewed = viewpoint(command, result)
        encode.fill_transaction(message.transaction, result, caller, viewed=viewed)
        if result.hold:
            message.hold.CopyFrom(encode.hold(result.hold))
    elif isinstance(result, WalletError):
        message.error.CopyFrom(status_of(result))
    else:
        raise result


def viewpoint(command: Command, outcome: Outcome) -> str:
    """
    Name the user whose line a caller is shown.

    That is whom they act for; for a hold or reversal themselves, or else whom the money left.
    """
    key = getattr(command, "source", None) or getattr(command, "target", None)
    user_id: str = key.user_id if key else command.caller
    if outcome.entries and outcome.entry_of(user_id) is None:
        return outcome.entries[0].user_id
    return user_id
