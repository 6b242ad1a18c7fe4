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

        stream_pool: What it runs its streams on instead, which may last.

        unfinished_max: Calls running and waiting together.
    """

    def __init__(
        self, pool: CountingPool, stream_pool: ThreadPoolExecutor, *, unfinished_max: int
    ) -> None:
        self._pool = pool
        self._stream_pool = stream_pool
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
        handler = continuation(details)
        if handler and handler.unary_stream and is_ours(details):
            _run_on(self._stream_pool, handler.unary_stream)
        return handler

    def _rejection(self, error: WalletError) -> Handler:
        def reject(_request: bytes, context: grpc.ServicerContext) -> None:
            abort(context, error)

        _run_on(self._own_pool, reject)
        return grpc.unary_unary_rpc_method_handler(reject)


def _run_on(pool: ThreadPoolExecutor, behavior: Any) -> None:
    """Have gRPC run a behavior on a pool of its own."""
    behavior.experimental_thread_pool = pool
