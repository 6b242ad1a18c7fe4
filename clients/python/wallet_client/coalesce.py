"""
Calls of many threads, gathered into batches by themselves.

The first thread to call waits a moment for others, then sends all that came in as one ExecuteBatch
and hands each thread what became of its own call; meanwhile the next gather. What a batch saves is
the way of each call through gRPC, on both sides. A batch has one caller: only calls that have the
same token gather.
"""

import copy
import threading
import time
from collections import defaultdict
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

#: What tells the service who calls, as a call's metadata.
Credentials = tuple[tuple[str, str], ...]

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


class _Call:
    """
    A waiting thread's call.

    `goes_alone`: its thread shall send it by itself, as whatever was not answered: its request id
    makes that safe. It is set last, when the answer is there. `is_in_doubt`: it may be done.
    """

    __slots__ = (
        "credentials",
        "error",
        "goes_alone",
        "is_in_doubt",
        "request",
        "response",
        "woken",
    )

    def __init__(self, request: Operation, credentials: Credentials) -> None:
        self.request = request
        self.credentials = credentials
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
        self._gathering: defaultdict[Credentials, list[_Call]] = defaultdict(list)

    def call(self, request: Operation, credentials: Credentials, alone: Callable[..., Any]) -> Any:
        """
        Have a request carried out in a batch with those of other threads.

        Args:
            request: With its request id; not `validate_only`.

            credentials: Whose it is: it goes with others of the same.

            alone: Sends it by itself, where that has to be; told `is_in_doubt`.

        Raises:
            WalletError: As if it had been sent by itself.
        """
        call = _Call(request, credentials)
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

        A signal may interrupt it at any call. A batch is therefore kept and taken without one in
        between, and whatever is raised lets go of all whom this thread would keep waiting.
        """
        owner = call.credentials
        batch: list[_Call] = []
        try:
            with self._mutex:
                gathered = self._gathering[owner]
                is_first = not gathered
                gathered.append(call)
                if _is_full(gathered):
                    batch = gathered
                    del self._gathering[owner]
            if is_first:
                time.sleep(WAIT_S)
                with self._mutex:
                    if self._gathering.get(owner) is gathered:  # else full, and another took it
                        batch = gathered
                        del self._gathering[owner]
            if len(batch) > 1:
                self._answer(batch)
            for each in batch:
                each.woken.release()
        except BaseException:
            self._let_go(call, batch)
            raise

    def _let_go(self, call: _Call, batch: list[_Call]) -> None:
        """Wake all who wait for the thread of a call; who has no answer yet goes alone."""
        if not batch:
            with self._mutex:
                gathered = self._gathering.get(call.credentials, [])
                if gathered[:1] == [call]:
                    batch = gathered
                    del self._gathering[call.credentials]
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


def _is_full(gathered: list[_Call]) -> bool:
    if isinstance(gathered[-1].request, _RESOLVING):
        holds = sum(isinstance(each.request, _RESOLVING) for each in gathered)
        if holds == _RESOLVING_MAX:
            return True
    return len(gathered) == OPERATIONS_MAX


def _is_spoiled(error: Exception) -> bool:
    """Tell whether a batch failed for one of its calls, not for the state of the server."""
    return (
        isinstance(error, WalletError)
        and not isinstance(error, OutcomeUnknown | Overloaded)
        and error.code in _SPOILED
    )


def _own(error: Exception, request_id: str) -> Exception:
    """Make of a batch's failure that of one of its calls, to be settled by its own request id."""
    if not isinstance(error, WalletError):
        return error
    own = copy.copy(error)
    own.request_id = request_id
    own.__cause__ = error
    return own
