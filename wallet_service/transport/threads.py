"""Threads for calls, from a system that may have none to spare."""

from concurrent.futures import ThreadPoolExecutor

import structlog

_log = structlog.get_logger()


class ThreadPool(ThreadPoolExecutor):
    """
    A pool whose tasks wait where no thread can be started, if need be until the next is submitted.

    Otherwise `submit` raises, though the task is queued, and gRPC's one serving thread dies of it.
    """

    _is_short = False

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._is_short:  # once, not for each call
                _log.warning("thread_not_started", cause=str(error))
            self._is_short = True
        else:
            self._is_short = False
