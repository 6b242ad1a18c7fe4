"""
Group commit by flat combining: whoever finds nobody leading leads.

A thread that submits commands either becomes the leader or waits. The leader takes all that is
pending, runs it as one batch, wakes everyone with their own answer, and hands the lead to the first
of those who came in meanwhile. So there is one batch at a time, batches grow with the load by
themselves, and a busy account costs one lock a batch instead of one a transfer. No thread of its
own, no queue to outlive a crash.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import Command
from wallet_service.ledger.errors import DeadlineExceeded

RunBatch = Callable[[Sequence[Submission]], list[list[Result]]]
Answer = list[Result] | DeadlineExceeded


class _Call:
    """A waiting submission. `woken` is a lock released once: answered, or chosen to lead."""

    __slots__ = ("answer", "deadline", "leads", "submission", "woken")

    def __init__(self, submission: Submission, deadline: float) -> None:
        self.submission = submission
        self.deadline = deadline
        self.answer: Answer | None = None
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit:
    """
    Gathers the commands of many threads into batches.

    Args:
        run_batch: Answers some commands in order; runs on a submitting thread, one at a time.

        batch_max: Commands after which a batch is full; 1 switches grouping off.
    """

    def __init__(self, run_batch: RunBatch, *, batch_max: int) -> None:
        self._run_batch = run_batch
        self._batch_max = batch_max
        self._mutex = threading.Lock()
        self._pending: deque[_Call] = deque()
        self._has_leader = False

    def submit(self, command: Command, *, deadline: float) -> Outcome:
        """
        Have a command carried out, in whichever batch comes first.

        Args:
            command: Validated.

            deadline: On `time.monotonic()`'s clock.

        Raises:
            DeadlineExceeded: The deadline passed first. If the command was in a batch by then, that
                goes on.

            Exception: What `run_batch` answered for this command.
        """
        (result,) = self.submit_all(Submission([command]), deadline=deadline)
        if isinstance(result, Exception):
            raise result
        return result

    def submit_all(self, submission: Submission, *, deadline: float) -> list[Result]:
        """
        Have several commands carried out in one batch.

        Returns:
            For each command what `run_batch` answered.

        Raises:
            DeadlineExceeded: As `submit`.
        """
        call = _Call(submission, deadline)
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

    def _wait(self, call: _Call) -> None:
        if call.woken.acquire(timeout=_remaining_s(call)):
            return
        with self._mutex:
            if call.answer is None and not call.leads:
                call.answer = DeadlineExceeded()

    def _lead(self, own: _Call) -> None:
        """Run one batch, the leader's own call in it, and pass the lead on."""
        batch = self._drain()
        answers: Sequence[list[Result]] = []
        try:
            if batch:
                answers = self._run_batch([call.submission for call in batch])
        finally:
            self._hand_over()
            for call, answer in zip(batch, answers, strict=False):
                call.answer = answer
            for call in batch:
                if call is not own:
                    call.woken.release()

    def _drain(self) -> list[_Call]:
        """Take what is pending, leaving out those whose time is over: they are dropped unrun."""
        batch: list[_Call] = []
        room = self._batch_max
        now = time.monotonic()
        with self._mutex:
            while self._pending and room > 0:
                call = self._pending.popleft()
                if call.deadline > now:
                    batch.append(call)
                    room -= len(call.submission.commands)
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


def _remaining_s(call: _Call) -> float:
    return min(max(0.0, call.deadline - time.monotonic()), threading.TIMEOUT_MAX)
