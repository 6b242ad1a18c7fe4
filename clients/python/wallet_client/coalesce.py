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

from wallet_client.errors import OutcomeUnknown, Overloaded, WalletError
from wallet_client.operations import OPERATIONS_MAX, Operation, batch_of, response_of
from wallet_client.statuses import RETRYABLE, error_from_status
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    ExecuteBatchRequest,
    ExecuteBatchResponse,
    VoidHoldRequest,
)

#: How long the first of a batch waits for others.
WAIT_S = 0.001
#: What is answered with a hold and all its words, which a large answer would come without: with so
#: many of them it stays below.
_RESOLVING = (CaptureHoldRequest, VoidHoldRequest)
_RESOLVING_MAX = 40
#: What one call can do to a whole batch. Nothing was done then: each is sent by itself.
_SPOILED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # the message is too large
}


def _is_spoiled(error: Exception) -> bool:
    """Tell whether a batch failed for one of its calls, not for the state of the server."""
    return (
        isinstance(error, WalletError)
        and not isinstance(error, OutcomeUnknown | Overloaded)
        and error.code in _SPOILED
    )


class _Call:
    """
    A waiting thread's call.

    `goes_alone`: its thread shall send it by itself, as whatever was not answered: its request id
    makes that safe. It is set last, when the answer is there. `is_in_doubt`: it may be done.
    """

    __slots__ = ("error", "goes_alone", "is_in_doubt", "request", "response", "woken")

    def __init__(self, request: Operation) -> None:
        self.request = request
        self.response: Any = None
        self.error: Exception | None = None
        self.goes_alone = True
        self.is_in_doubt = False
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

    def call(self, request: Operation, alone: Callable[..., Any]) -> Any:
        """
        Have a request carried out in a batch with those of other threads.

        Args:
            request: With its request id; not `validate_only`.

            alone: Sends it by itself, where that has to be; told `is_in_doubt`.

        Raises:
            WalletError: As if it had been sent by itself.
        """
        call = _Call(request)
        self._gather(call)
        call.woken.acquire()
        if call.goes_alone:
            return alone(is_in_doubt=call.is_in_doubt)
        if call.error:
            raise call.error
        return call.response

    def _gather(self, call: _Call) -> None:
        """
        Put a call into the batch that gathers; send the batch if that falls to this thread.

        A signal may interrupt it between any two steps. A batch is therefore taken and kept in one
        step, and whatever is raised lets go of all whom this thread would keep waiting.
        """
        batch: list[_Call] = []
        try:
            with self._mutex:
                is_first = not self._gathering
                self._gathering.append(call)
                if self._is_full():
                    batch, self._gathering = self._gathering, []
            if is_first:
                time.sleep(WAIT_S)
                with self._mutex:
                    if self._gathering[:1] == [call]:  # else it was full, and another took it
                        batch, self._gathering = self._gathering, []
            if len(batch) > 1:
                self._answer(batch)
            for each in batch:
                each.woken.release()
        except BaseException:
            self._let_go(call, batch)
            raise

    def _is_full(self) -> bool:
        if isinstance(self._gathering[-1].request, _RESOLVING):
            holds = sum(isinstance(each.request, _RESOLVING) for each in self._gathering)
            if holds == _RESOLVING_MAX:
                return True
        return len(self._gathering) == OPERATIONS_MAX

    def _let_go(self, call: _Call, batch: list[_Call]) -> None:
        """Wake all who wait for the thread of a call; who has no answer yet goes alone."""
        if not batch:
            with self._mutex:
                if self._gathering[:1] == [call]:
                    batch, self._gathering = self._gathering, []
        for each in batch:
            if each.woken.locked():  # waiting, or woken and gone, where it does no harm
                each.woken.release()

    def _answer(self, batch: list[_Call]) -> None:
        for call in batch:
            call.is_in_doubt = True
        try:
            results = self._execute(batch_of([call.request for call in batch], atomic=False))
        except Exception as error:  # noqa: BLE001 (raised again, in each of the threads)
            for call in batch:
                call.error = _own(error, call.request.request_id)
                call.is_in_doubt = isinstance(error, OutcomeUnknown)
                call.goes_alone = _is_spoiled(error)
            return
        for call, result in zip(batch, results.results, strict=True):
            if result.HasField("error"):
                failure = error_from_status(result.error, request_id=call.request.request_id)
                call.error = failure
                call.is_in_doubt = isinstance(failure, OutcomeUnknown)
                # By itself it names its fields as its caller knows them; nothing was bound.
                call.goes_alone = failure.code in RETRYABLE | {grpc.StatusCode.INVALID_ARGUMENT}
            else:
                call.response = response_of(call.request, result)
                call.goes_alone = False


def _own(error: Exception, request_id: str) -> Exception:
    """Make of a batch's failure that of one of its calls, to be settled by its own request id."""
    if not isinstance(error, WalletError):
        return error
    own = copy.copy(error)
    own.request_id = request_id
    own.__cause__ = error
    return own
