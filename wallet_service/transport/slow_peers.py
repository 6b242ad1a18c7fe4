"""
Peers that keep the server waiting: a request that does not come, an answer that nobody takes.

gRPC gives a call its thread before the request is there, and keeps an answer until it has left; by
itself it would do so for as long as the connection lasts.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import grpc

from wallet_service.ledger.errors import (
    DeadlineExceeded,
    Overloaded,
    ValidationFailed,
    Violation,
)

#: How long a request may take to come in, once its call has begun.
REQUEST_WAIT_S = 2.0
#: What one caller may leave untaken in all; that is ten of the largest pages.
UNTAKEN_BYTES_MAX = 32 * 1024 * 1024
#: Answers below this are not worth counting.
_COUNTED_FROM = 4 * 1024
_INTERVAL_S = 0.1


class SlowPeers:
    """
    Cuts the calls of peers that are too slow.

    Args:
        answer_wait_s: How long an answer may take to be taken.
    """

    def __init__(self, *, answer_wait_s: float) -> None:
        self._answer_wait_s = answer_wait_s
        #: Until when each call's request must be there, or its answer taken.
        self._until: dict[grpc.ServicerContext, float] = {}
        self._mutex = threading.Lock()
        self._untaken: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._cut, name="slow-peers", daemon=True)

    def start(self) -> None:
        """Begin cutting."""
        self._thread.start()

    def stop(self) -> None:
        """Cut no more."""
        self._stopping.set()
        self._thread.join()

    def request(
        self,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        *,
        until: float | None = None,
    ) -> bytes:
        """
        Wait for the one request of a call.

        Args:
            requests: Of which it is the first.

            context: Of the call.

            until: On `time.monotonic()`'s clock; by default `REQUEST_WAIT_S` from now.

        Raises:
            DeadlineExceeded: It did not come, and the call is no more.

            ValidationFailed: The call has none.
        """
        self._until[context] = time.monotonic() + REQUEST_WAIT_S if until is None else until
        try:
            return next(requests)
        except StopIteration as error:
            raise ValidationFailed([Violation("request", "must be there")]) from error
        except grpc.RpcError as error:
            raise DeadlineExceeded from error
        finally:
            del self._until[context]

    def requests(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, *, until: float
    ) -> Iterator[bytes]:
        """
        Yield the requests of a call that has many, for as long as it does not stand still.

        Args:
            requests: All of them.

            context: Of the call.

            until: When the first must be there, on `time.monotonic()`'s clock.

        Raises:
            DeadlineExceeded: The next did not come in time, or the answer to the last was not
                taken, and the call is no more.
        """
        self._until[context] = until
        try:
            for request in requests:
                # By then its answer must be taken and the next be there.
                self._until[context] = time.monotonic() + REQUEST_WAIT_S
                yield request
        except grpc.RpcError as error:
            raise DeadlineExceeded from error
        finally:
            del self._until[context]

    def check(self, user_id: str) -> None:
        """Raise `Overloaded` for a caller who leaves too much untaken."""
        if self._untaken[user_id] > UNTAKEN_BYTES_MAX:
            raise Overloaded

    def answered(self, context: grpc.ServicerContext, user_id: str, size: int) -> None:
        """Count an answer of so many bytes until it is taken."""
        if size < _COUNTED_FROM:
            return

        def taken() -> None:
            with self._mutex:
                self._until.pop(context, None)
                self._untaken[user_id] -= size
                if not self._untaken[user_id]:
                    del self._untaken[user_id]

        with self._mutex:
            self._untaken[user_id] += size
            self._until[context] = time.monotonic() + self._answer_wait_s
        if not context.add_callback(taken):  # the call is no more
            taken()

    def _cut(self) -> None:
        while not self._stopping.wait(_INTERVAL_S):
            now = time.monotonic()
            for context, until in self._until.copy().items():
                if until < now:
                    context.cancel()
