"""
Calls of many threads, gathered into batches by themselves.

The first thread to call waits a moment for others, then sends all that came in as one ExecuteBatch
and hands each thread what became of its own call; meanwhile the next gather. What a batch saves is
the way of each call through gRPC, on both sides.
"""

import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from wallet_client.errors import WalletError
from wallet_client.operations import OPERATIONS_MAX, Operation, batch_of, response_of
from wallet_client.statuses import RETRYABLE, error_from_status
from wallet_client.v1.wallet_service_pb2 import ExecuteBatchRequest, ExecuteBatchResponse

#: How long the first of a batch waits for others.
WAIT_S = 0.001
#: What one call can do to a whole batch. Nothing was done then: each is sent by itself.
_SPOILED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class _Call:
    """
    A waiting thread's call.

    `goes_alone`: its thread shall send it by itself, as whatever was not answered: its request id
    makes that safe.
    """

    __slots__ = ("error", "goes_alone", "request", "response", "woken")

    def __init__(self, request: Operation) -> None:
        self.request = request
        self.response: Any = None
        self.error: Exception | None = None
        self.goes_alone = True
        self.woken = threading.Lock()
        self.woken.acquire()


class Coalescer:
    """
    Gathers calls into batches.

    Args:
        execute: Sends a batch, again where that can help.
    """

    def __init__(self, execute: Callable[[ExecuteBatchRequest], ExecuteBatchResponse]) -> None:
        self._execute = execute
        self._mutex = threading.Lock()
        self._gathering: list[_Call] = []

    def call(self, request: Operation, alone: Callable[[], Any]) -> Any:
        """
        Have a request carried out in a batch with those of other threads.

        Args:
            request: With its request id; not `validate_only`.

            alone: Sends it by itself, where that has to be.

        Raises:
            WalletError: As if it had been sent by itself.
        """
        call = _Call(request)
        with self._mutex:
            is_first = not self._gathering
            self._gathering.append(call)
            is_full = len(self._gathering) == OPERATIONS_MAX
            batch = self._take() if is_full else []
        if is_full:
            self._send(batch)
        elif is_first:
            try:
                time.sleep(WAIT_S)
            finally:  # the others wait for this thread, even if it is interrupted
                with self._mutex:
                    batch = self._take()
                self._send(batch)
        call.woken.acquire()
        if call.goes_alone:
            return alone()
        if call.error:
            raise call.error
        return call.response

    def _take(self) -> list[_Call]:
        batch, self._gathering = self._gathering, []
        return batch

    def _send(self, batch: list[_Call]) -> None:
        """Answer every call of a batch and wake its thread."""
        try:
            if len(batch) > 1:
                self._answer(batch)
        finally:
            for call in batch:
                call.woken.release()

    def _answer(self, batch: list[_Call]) -> None:
        try:
            results = self._execute(batch_of([call.request for call in batch], atomic=False))
        except Exception as error:  # noqa: BLE001 (raised again, in each of the threads)
            for call in batch:
                call.goes_alone = isinstance(error, WalletError) and error.code in _SPOILED
                call.error = _own(error, call.request.request_id)
            return
        for call, result in zip(batch, results.results, strict=True):
            if result.HasField("error"):
                failure = error_from_status(result.error, request_id=call.request.request_id)
                # By itself it names its fields as its caller knows them; nothing was bound.
                call.goes_alone = failure.code in RETRYABLE | {grpc.StatusCode.INVALID_ARGUMENT}
                call.error = failure
            else:
                call.goes_alone = False
                call.response = response_of(call.request, result)


def _own(error: Exception, request_id: str) -> Exception:
    """Make of a batch's failure that of one of its calls, to be settled by its own request id."""
    if not isinstance(error, WalletError):
        return error
    own = copy.copy(error)
    own.request_id = request_id
    own.__cause__ = error
    return own
