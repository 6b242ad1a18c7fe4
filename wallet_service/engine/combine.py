"""
Flat combining: whoever finds nobody leading leads.

A thread that asks for something either becomes the leader or waits. The leader takes all that is
pending, answers it as one batch, wakes everyone with their own answer, and hands the lead to the
first of those who came in meanwhile. So there is one batch at a time, and batches grow with the
load by themselves. No thread of its own, no queue to outlive a crash.

The leader also reads and answers for everybody: the same code over and over stays in the
processor's caches, where it takes a fraction of what it takes each thread in turn.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from wallet_service.ledger.errors import DeadlineExceeded

_Request = TypeVar("_Request")
_Result = TypeVar("_Result")
_Answer = TypeVar("_Answer")


class _Call(Generic[_Request, _Result]):
    """Somebody waiting. `woken` is a lock released once: answered, or chosen to lead."""

    __slots__ = ("answer", "deadline", "finish", "leads", "read", "size", "woken")

    def __init__(
        self,
        read: Callable[[], _Request],
        finish: Callable[[_Result], Any],
        *,
        deadline: float,
        size: int,
    ) -> None:
        self.read = read
        self.finish = finish
        self.deadline = deadline
        self.size = size
        self.answer: Any = None
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


class Combiner(Generic[_Request, _Result]):
    """
    Gathers the requests of many threads into batches.

    Args:
        run_batch: Answers some requests in order; runs on an asking thread, one at a time. What it
            raises is everybody's answer.

        batch_max: Size from which on a batch is full.

        is_busy: Tells whether others may be about to ask.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[_Request]], Sequence[_Result]],
        *,
        batch_max: int,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._run_batch = run_batch
        self._batch_max = batch_max
        self._is_busy = is_busy
        self._mutex = threading.Lock()
        self._pending: deque[_Call[_Request, _Result]] = deque()
        self._has_leader = False

    def ask(
        self,
        read: Callable[[], _Request],
        answer: Callable[[_Result], _Answer],
        *,
        deadline: float,
        size: int = 1,
    ) -> _Answer:
        """
        Have a request answered, in whichever batch comes first.

        Args:
            read: Returns the request; runs on the leader's thread.

            answer: Makes the answer, never None, of what `run_batch` returned; runs on the leader's
                thread.

            deadline: On `time.monotonic()`'s clock.

            size: What the request adds to a batch's size.

        Raises:
            DeadlineExceeded: The deadline passed first. If the request was in a batch by then, that
                goes on.

            Exception: What `read`, `run_batch` or `answer` raised.
        """
        call: _Call[_Request, _Result] = _Call(read, answer, deadline=deadline, size=size)
        with self._mutex:
            self._pending.append(call)
            call.leads = not self._has_leader
            self._has_leader = True
        if not call.leads:
            self._wait(call)
        elif self._batch_max > 1 and self._is_busy():
            time.sleep(0)  # no batch was under way that others could gather behind: let them come
        if call.leads:
            self._lead(call)
        answered = call.answer  # read once: a leader may still answer a caller who gave up
        assert answered is not None, "woken without an answer"
        if isinstance(answered, Exception):
            raise answered
        found: _Answer = answered
        return found

    def _wait(self, call: _Call[_Request, _Result]) -> None:
        if call.woken.acquire(timeout=_remaining_s(call.deadline)):
            return
        with self._mutex:
            if call.answer is None and not call.leads:
                call.answer = DeadlineExceeded()

    def _lead(self, own: _Call[_Request, _Result]) -> None:
        """Answer one batch, the leader's own request in it, and pass the lead on."""
        batch = self._drain()
        results: Sequence[_Result | Exception] = []
        try:
            results = self._run([_outcome_of(call.read) for call in batch])
        except Exception as error:  # noqa: BLE001 (raised again, to everybody who asked)
            results = [error] * len(batch)
        finally:
            is_next_waiting = self._hand_over()
        if is_next_waiting:
            time.sleep(0)  # the next leader goes first: its batch can be at the database meanwhile
        for call, result in zip(batch, results, strict=True):
            is_error = isinstance(result, Exception)
            call.answer = result if is_error else _outcome_of(call.finish, result)
        for call in batch:
            if call is not own:
                call.woken.release()

    def _run(self, read: Sequence[_Request | Exception]) -> Sequence[_Result | Exception]:
        """Run what could be read; the rest is answered already."""
        requests = [each for each in read if not isinstance(each, Exception)]
        results = iter(self._run_batch(requests) if requests else ())
        return [each if isinstance(each, Exception) else next(results) for each in read]

    def _drain(self) -> list[_Call[_Request, _Result]]:
        """Take what is pending, leaving out those whose time is over: they are dropped unrun."""
        batch: list[_Call[_Request, _Result]] = []
        room = self._batch_max
        now = time.monotonic()
        with self._mutex:
            while self._pending and room > 0:
                call = self._pending.popleft()
                if call.deadline > now:
                    batch.append(call)
                    room -= call.size
                else:
                    call.answer = DeadlineExceeded()
        return batch

    def _hand_over(self) -> bool:
        """Pass the lead on; tell whether somebody has it now."""
        with self._mutex:
            while self._pending:
                next_call = self._pending[0]
                if next_call.answer is None:
                    next_call.leads = True
                    next_call.woken.release()
                    return True
                self._pending.popleft()
            self._has_leader = False
            return False


def _outcome_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or the error that it raises."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 (raised again, to the one who asked)
        return error


def _remaining_s(deadline: float) -> float:
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
