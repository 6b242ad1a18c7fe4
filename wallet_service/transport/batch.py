"""Batches: many requests of the other methods in one call, and what became of each."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from wallet_client.v1.wallet_service_pb2 import ExecuteBatchRequest, ExecuteBatchResponse

from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import (
    CaptureHold,
    Command,
    CreateHold,
    Deposit,
    ReverseTransaction,
    Transfer,
    VoidHold,
    Withdraw,
)
from wallet_service.ledger.errors import (
    BatchRefused,
    InvalidRequest,
    PermissionDenied,
    RequestIdReused,
    ValidationFailed,
    Violation,
    WalletError,
)
from wallet_service.transport import decode, encode
from wallet_service.transport.auth import Caller
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import current_call, incident
from wallet_service.transport.status import status_of

OPERATIONS_MAX = 1000
#: Batches above this size are read and answered in turns of so many operations.
_TURNS_FROM = 256
_TURN = 32
#: Holds of an answer; beyond, they come without their words, whose length no request bounds.
_HOLDS_BYTES_MAX = 2 * 1024 * 1024

_Item = TypeVar("_Item")

_NAMES: dict[type[Command], str] = {
    Deposit: "deposit",
    Withdraw: "withdraw",
    Transfer: "transfer",
    CreateHold: "create_hold",
    CaptureHold: "capture_hold",
    VoidHold: "void_hold",
    ReverseTransaction: "reverse_transaction",
}

Read = Callable[[Any, Caller, str], Command]


def submission_of(request: ExecuteBatchRequest, caller: Caller, decoder: Decoder) -> Submission:
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
    read: dict[str, Read] = {
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
    for index, operation in _in_turns(request.operations):
        name = operation.WhichOneof("request")
        if name is None:
            violation = Violation(f"operations[{index}]", "must be one of the requests")
            raise ValidationFailed([violation])
        prefix = f"operations[{index}].{name}."
        try:
            command = read[name](getattr(operation, name), caller, prefix)
        except PermissionDenied as error:
            error.values["failed_index"] = index
            raise
        if command.validate_only or command.request_id in seen:
            raise _misfit(command, prefix)
        seen.add(command.request_id)
        commands.append(command)
    return Submission(commands, is_atomic=request.atomic)


def _in_turns(items: Sequence[_Item]) -> Iterator[tuple[int, _Item]]:
    """
    Yield the items, numbered, giving way to other threads between turns where there are many.

    Who comes back from the database with another batch's accounts locked shall not wait for all.
    """
    for index, item in enumerate(items):
        if len(items) > _TURNS_FROM and index % _TURN == _TURN - 1:
            time.sleep(0)
        yield index, item


def _misfit(command: Command, prefix: str) -> ValidationFailed:
    """Tell why what is good alone is not in a batch."""
    if command.validate_only:
        return ValidationFailed([Violation(f"{prefix}validate_only", "is not for batches")])
    return ValidationFailed([Violation(f"{prefix}request_id", "stands in the batch twice")])


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
            _raise_for_batch(index, result, submission.commands)
    response = ExecuteBatchResponse()
    # A fault that several operations share is one incident.
    incident_of = functools.cache(functools.partial(incident, current_call().method))
    holds_size = 0
    for index, (command, result) in _in_turns(list(zip(submission.commands, results, strict=True))):
        message = response.results.add()
        if isinstance(result, Outcome):
            _fill_result(message, command, result, caller)
            if message.HasField("hold"):
                holds_size += message.hold.ByteSize()
                if holds_size > _HOLDS_BYTES_MAX:
                    message.hold.ClearField("description")
                    message.hold.ClearField("metadata")
        else:
            error = result if isinstance(result, WalletError) else incident_of(result)
            message.error.CopyFrom(status_of(_placed(error, index, command)))
    return response


def _raise_for_batch(index: int, result: Result, commands: Sequence[Command]) -> None:
    """Raise for the operation that an atomic batch was refused for."""
    if isinstance(result, WalletError):
        failed_index = int(result.values.get("failed_index", index))
        command = commands[failed_index]
        if isinstance(result, RequestIdReused):
            fields = str(result.values["fields"]).split(",")
            paths = ",".join(_prefix(failed_index, command) + field for field in fields)
            raise type(result)(**result.values | {"fields": paths})
        raise _placed(result, failed_index, command)
    if isinstance(result, Exception):
        raise result
    refusal = result.transaction.refusal
    if isinstance(refusal, BatchRefused):
        raise refusal
    if refusal:
        raise BatchRefused(failed_index=index, failed_reason=refusal.reason)


def _prefix(index: int, command: Command) -> str:
    return f"operations[{index}].{_NAMES[type(command)]}."


def _placed(error: WalletError, index: int, command: Command) -> WalletError:
    """Name the fields of an operation as they stand in the batch."""
    prefix = _prefix(index, command)
    if isinstance(error, ValidationFailed):
        violations = [
            Violation(prefix + violation.field, violation.description)
            for violation in error.violations
        ]
        placed = ValidationFailed(violations)
        placed.values = error.values | placed.values
        return placed
    if isinstance(error, InvalidRequest):
        return type(error)(**error.values | {"field": f"{prefix}{error.values['field']}"})
    return error


def _fill_result(
    message: ExecuteBatchResponse.Result, command: Command, outcome: Outcome, caller: Caller
) -> None:
    refusal = outcome.transaction.refusal
    if refusal:
        message.replayed = outcome.is_replayed
        refusal.values["transaction_id"] = outcome.transaction.transaction_id
        message.error.CopyFrom(status_of(refusal))
        return
    encode.fill_outcome(message, command, outcome, caller)
