"""
Writes under way: decoded, carried out, encoded.

Both ends of a single write are run by the thread that leads its batch, not by the call's own, so
they know their call instead of asking for the current one.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from wallet_client.v1.wallet_service_pb2 import ExecuteBatchRequest, ExecuteBatchResponse

from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import Command
from wallet_service.transport import encode
from wallet_service.transport.auth import Caller
from wallet_service.transport.batch import response_of, submission_of
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import Call, current_call
from wallet_service.transport.validation import REQUEST_ID_LENGTH_MAX

#: What every write answers; only those about holds have one.
WriteResponse = Any

_Command = TypeVar("_Command", bound=Command)


def carry_out(
    engine: GroupCommit,
    decode: Callable[[Any, Caller], _Command],
    request: Any,
    response: WriteResponse,
) -> _Command:
    """
    Have the current call's request carried out, and write what became of it into its response.

    Args:
        engine: Runs it.

        decode: Reads the request.

        request: As it came.

        response: Empty.

    Returns:
        The command that was carried out.

    Raises:
        Refusal: What the ledger decided, now or when this request id was first used.

        InvalidRequest, PermissionDenied: What `decode` found.
    """
    call = current_call()
    call.request_id = request.request_id[:REQUEST_ID_LENGTH_MAX]  # for the log, right or wrong
    write = _Write(call, decode, request, response)
    return engine.submit(write.read, write.answer, deadline=call.deadline)


class _Write(Generic[_Command]):
    def __init__(
        self,
        call: Call,
        decode: Callable[[Any, Caller], _Command],
        request: Any,
        response: WriteResponse,
    ) -> None:
        self.call = call
        self._decode = decode
        self._request = request
        self._response = response

    def read(self) -> _Command:
        self._command = self._decode(self._request, self.call.caller)
        return self._command

    def answer(self, outcome: Outcome) -> _Command:
        call, command = self.call, self._command
        call.is_replayed = outcome.is_replayed
        refusal = outcome.transaction.refusal
        if refusal:
            if not command.validate_only:
                refusal.values["transaction_id"] = outcome.transaction.transaction_id
            raise refusal
        encode.fill_outcome(self._response, command, outcome, call.caller)
        return command


def carry_out_batch(
    engine: GroupCommit, decoder: Decoder, request: ExecuteBatchRequest
) -> ExecuteBatchResponse:
    """
    Have the current call's batch carried out.

    It is a loop of its own, which the call's thread runs while the database has other batches.

    Args:
        engine: Runs it.

        decoder: Reads its operations.

        request: As it came.

    Raises:
        WalletError: The batch could not be read, or is atomic and was refused or not decided.
    """
    call = current_call()
    submission = submission_of(request, call.caller, decoder)
    results = engine.submit_all(submission, deadline=call.deadline)
    call.is_replayed = all(isinstance(result, Outcome) and result.is_replayed for result in results)
    return response_of(submission, results, call.caller)
