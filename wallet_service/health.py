"""Health that follows the database, both ways."""

import functools
import queue
import threading
import time
from collections.abc import Callable

import structlog
from grpc_health.v1 import health, health_pb2

from wallet_service.ledger.errors import DatabaseUnavailable
from wallet_service.storage.database import Database
from wallet_service.storage.queries import ping
from wallet_service.transport.threads import ThreadPool

_INTERVAL_S = 1.0
#: A probe whose request does not come keeps one of them waiting for a moment.
_CHECK_THREADS = 32
_WATCH_THREADS = 8
#: A database that says nothing for so long is as good as none.
_SILENCE_MAX_S = 5.0

_SERVING: int = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING

_log = structlog.get_logger()


class _Servicer(health.HealthServicer):  # type: ignore[misc]
    """The library's servicer, which neither waits behind calls nor can be made to wait."""

    def __init__(self) -> None:
        self._pool = ThreadPool(_WATCH_THREADS, thread_name_prefix="health-watch")
        super().__init__(experimental_non_blocking=True, experimental_thread_pool=self._pool)
        # The library gives a pool to Watch only: probes shall not queue behind calls.
        check = functools.partial(super().Check)
        check.experimental_thread_pool = ThreadPool(  # type: ignore[attr-defined]
            _CHECK_THREADS, thread_name_prefix="health-check"
        )
        self.Check = check

    def _on_close_callback(
        self, send_response_callback: Callable[..., None], service: str
    ) -> Callable[[], object]:
        # gRPC calls this back on its one serving thread, which must not wait for the servicer's
        # lock: whoever holds that may be waiting for the serving thread to send.
        callback = super()._on_close_callback(send_response_callback, service)

        def close() -> None:
            if not self._gracefully_shutting_down:  # else it was ended from this side
                self._pool.submit(callback)

        return close

    def end_watches(self) -> None:
        """End the streams of those who watch, once they were told the last."""
        with self._lock:
            for watchers in self._send_response_callbacks.values():
                for send in watchers:
                    send(None)


class HealthMonitor:
    """
    Says whether calls can be answered: whether the database does.

    One thread asks, which may take for ever; another waits for what it finds, not for long, and
    cuts connections that somebody has been waiting for too long.

    Args:
        database: Asked every second.

        services: Full names of the services it speaks for, besides the server as a whole ("").
    """

    def __init__(self, database: Database, services: list[str]) -> None:
        self._database = database
        self._services = ["", *services]
        self.servicer = _Servicer()
        self._stopping = threading.Event()
        self._found: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._heard_at = time.monotonic()

    def start(self) -> None:
        """Look once, then go on looking."""
        threading.Thread(target=self._ask, name="health-ping", daemon=True).start()
        self._tell(self._found_within(_SILENCE_MAX_S))
        threading.Thread(target=self._watch, name="health-monitor", daemon=True).start()

    def stop(self) -> None:
        """Say NOT_SERVING from now on."""
        self._stopping.set()
        # Nobody waits for the threads: what they still find changes nothing.
        self.servicer.enter_graceful_shutdown()

    def end_watches(self) -> None:
        """Let go of those who watch: a server that stops would wait for them."""
        self.servicer.end_watches()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            self._found.put(self._status())
            self._stopping.wait(_INTERVAL_S)

    def _status(self) -> int:
        try:
            ping(self._database)
        except DatabaseUnavailable:
            return _NOT_SERVING
        except Exception as error:  # noqa: BLE001 (whatever it is, somebody has to go on asking)
            self._note(error)
            return _NOT_SERVING
        return _SERVING

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._database.busy.cut_long()
                self._report()
            except Exception as error:  # noqa: BLE001 (the next report may pass)
                self._note(error)

    def _report(self) -> None:
        """Pass on what was found next, or that nothing was found for too long."""
        status = self._found_within(_INTERVAL_S)
        if status is not None or time.monotonic() - self._heard_at > _SILENCE_MAX_S:
            self._tell(status)

    def _found_within(self, timeout_s: float) -> int | None:
        try:
            status = self._found.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self._heard_at = time.monotonic()
        return status

    def _tell(self, status: int | None) -> None:
        status = _NOT_SERVING if status is None else status
        for service in self._services:
            self.servicer.set(service, status)

    def _note(self, error: Exception) -> None:
        if not self._stopping.is_set():  # then it is nobody's business any more
            _log.error("health_not_checked", exc_info=error)
