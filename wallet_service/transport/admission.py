"""
Admission: how much work may wait.

A thread pool's queue has no end, and gRPC's own limit turns health checks away too. So the pool
counts what it was given, and calls beyond the limit are answered at once by a thread of their own.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

from wallet_service.ledger.errors import Overloaded, ShuttingDown, WalletError
from wallet_service.transport.interceptors import Continuation, Handler, abort, is_ours

_T = TypeVar("_T")


class CountingPool(ThreadPoolExecutor):
    """A thread pool that knows how many tasks it was given and has not finished."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="rpc")
        self._mutex = threading.Lock()
        self.unfinished = 0

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Queue a task."""
        with self._mutex:
            self.unfinished += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._finished)
        return future

    def _finished(self, _future: Future[Any]) -> None:
        with self._mutex:
            self.unfinished -= 1


class Admission(grpc.ServerInterceptor):
    """
    Turns calls away while the pool is full, or once the server is draining.

    Args:
        pool: What the server runs its calls on.

        unfinished_max: Calls running and waiting together.
    """

    def __init__(self, pool: CountingPool, *, unfinished_max: int) -> None:
        self._pool = pool
        self._unfinished_max = unfinished_max
        self._own_pool = ThreadPoolExecutor(1, thread_name_prefix="refuse")
        self._overloaded = self._rejection(Overloaded())
        self._shutting_down = self._rejection(ShuttingDown())
        self.is_draining = False

    def intercept_service(
        self,
        continuation: Continuation,
        details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Pass a call on, or answer it at once."""
        if is_ours(details):
            if self.is_draining:
                return self._shutting_down
            if self._pool.unfinished >= self._unfinished_max:
                return self._overloaded
        return continuation(details)

    def _rejection(self, error: WalletError) -> Handler:
        def reject(_request: bytes, context: grpc.ServicerContext) -> None:
            abort(context, error)

        # gRPC runs a behaviour on the pool it names, when it names one.
        reject.experimental_thread_pool = self._own_pool  # type: ignore[attr-defined]
        return grpc.unary_unary_rpc_method_handler(reject)
