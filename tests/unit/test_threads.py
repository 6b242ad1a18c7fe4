"""Pools where the system has no thread to spare."""

import threading

import pytest

from wallet_service.transport.admission import CountingPool
from wallet_service.transport.threads import ThreadPool


@pytest.mark.parametrize("pool", [ThreadPool(2), CountingPool(2)], ids=type)
def test_a_task_without_a_thread_waits_for_the_next(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPool
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        waiting = pool.submit(lambda: "waited")
    later = pool.submit(lambda: "later")

    assert (waiting.result(timeout=10), later.result(timeout=10)) == ("waited", "later")
    pool.shutdown()
