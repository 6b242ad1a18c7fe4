"""
Flat combining: whoever finds nobody leading leads.

A thread that asks for something either becomes the leader or waits. The leader takes all that is
pending, answers it as one batch, wakes everyone with their own answer, and hands the lead to the
first of those who came in meanwhile. So there is one batch at a time, and batches grow with the
load by themselves. No thread of its own, no queue to outlive a crash.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from wallet_service.ledger.errors import DeadlineExceeded

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class _Call(Generic[_Request, _Answer]):
    """A waiting request. `woken` is a lock released once: answered, or chosen to lead."""

    __slots__ = ("answer", "deadline", "leads", "request", "woken")

    def __init__(self, request: _Request, deadline: float) -> None:
        self.request = request
        self.deadline = deadline
        self.answer: _Answer | Exception | None = None
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


class Combiner(Generic[_Request, _Answer]):
    """
    Gathers the requests of many threads into batches.

    Args:
        run_batch: Answers some requests in order; runs on an asking thread, one at a time. What it
            raises is everybody's answer.

        batch_max: Size from which on a batch is full.

        size: What a request adds to a batch's size.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[_Request]], Sequence[_Answer]],
        *,
        batch_max: int,
        size: Callable[[_Request], int] = lambda _request: 1,
    ) -> None:
        self._run_batch = run_batch
        self._batch_max = batch_max
        self._size = size
        self._mutex = threading.Lock()
        self._pending: deque[_Call[_Request, _Answer]] = deque()
        self._has_leader = False

    def ask(self, request: _Request, *, deadline: float) -> _Answer:
        """
        Have a request answered, in whichever batch comes first.

        Args:
            request: Whatever `run_batch` understands.

            deadline: On `time.monotonic()`'s clock.

        Raises:
            DeadlineExceeded: The deadline passed first. If the request was in a batch by then, that
                goes on.

            Exception: What `run_batch` raised.
        """
        call: _Call[_Request, _Answer] = _Call(request, deadline)
        with self._mutex:
            self._pending.append(call)
            call.leads = not self._has_leader
            self._has_leader = True
        if not call.leads:
            self._wait(call)
        if call.leads:
            self._lead(call)
        answer = call.answer  # read once: a leader may still answer a caller who gave up
        assert answer is not None, "woken without an answer"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _wait(self, call: _Call[_Request, _Answer]) -> None:
        if call.woken.acquire(timeout=_remaining_s(call.deadline)):
            return
        with self._mutex:
            if call.answer is None and not call.leads:
                call.answer = DeadlineExceeded()

    def _lead(self, own: _Call[_Request, _Answer]) -> None:
        """Answer one batch, the leader's own request in it, and pass the lead on."""
        batch = self._drain()
        answers: Sequence[_Answer | Exception] = []
        try:
            if batch:
                answers = self._run_batch([call.request for call in batch])
        except Exception as error:  # noqa: BLE001 (raised again, to everybody who asked)
            answers = [error] * len(batch)
        finally:
            self._hand_over()
        for call, answer in zip(batch, answers, strict=True):
            call.answer = answer
            if call is not own:
                call.woken.release()

    def _drain(self) -> list[_Call[_Request, _Answer]]:
        """Take what is pending, leaving out those whose time is over: they are dropped unrun."""
        batch: list[_Call[_Request, _Answer]] = []
        room = self._batch_max
        now = time.monotonic()
        with self._mutex:
            while self._pending and room > 0:
                call = self._pending.popleft()
                if call.deadline > now:
                    batch.append(call)
                    room -= self._size(call.request)
                else:
                    call.answer = DeadlineExceeded()
        return batch

    def _hand_over(self) -> None:
        with self._mutex:
            while self._pending:
                next_call = self._pending[0]
                if next_call.answer is None:
                    next_call.leads = True
                    next_call.woken.release()
                    return
                self._pending.popleft()
            self._has_leader = False


def _remaining_s(deadline: float) -> float:
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
