"""
Admission: how much work may wait.

A thread pool's queue has no end, and gRPC's own limit turns health checks away too. So the pool
counts what it was given, and calls beyond the limit are answered at once by a thread of their own.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from wallet_service.ledger.errors import Overloaded, ShuttingDown, WalletError
from wallet_service.transport.threads import ThreadPool

_P = ParamSpec("_P")
_T = TypeVar("_T")


class CountingPool(ThreadPool):
    """A thread pool that knows how many tasks it was given and has not finished."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="rpc")
        self._mutex = threading.Lock()
        self.unfinished = 0

    def is_shared(self) -> bool:
        """Tell whether more than one task is under way or queued."""
        return self.unfinished > 1

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Queue a task."""
        with self._mutex:
            self.unfinished += 1
        return super().submit(self._run, fn, *args, **kwargs)

    def _run(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
        try:
            return fn(*args, **kwargs)
        finally:
            with self._mutex:
                self.unfinished -= 1


class Admission:
    """
    Turns calls away while the pool is full, or once the server is draining.

    Args:
        pool: What the server runs its calls on.

        stream_pool: What it runs its streams on instead, which may last.

        unfinished_max: Calls running and waiting together.
    """

    def __init__(self, pool: CountingPool, stream_pool: ThreadPool, *, unfinished_max: int) -> None:
        self._pool = pool
        self._unfinished_max = unfinished_max
        self.stream_pool = stream_pool
        self.rejecting_pool = ThreadPool(1, thread_name_prefix="refuse")
        self.is_draining = False

    def rejection(self) -> WalletError | None:
        """Tell why a call that comes now is turned away, if it is."""
        if self.is_draining:
            return ShuttingDown()
        if self._pool.unfinished >= self._unfinished_max:
            return Overloaded()
        return None
