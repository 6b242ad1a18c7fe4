"""
Group commit: one database transaction for the commands of many threads.

While a batch commits, the next one gathers, so a busy account costs one lock a batch instead of one
a transfer. Nothing is answered before COMMIT.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from wallet_service.engine.combine import Combiner
from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import Command

RunBatch = Callable[[Sequence[Submission]], list[list[Result]]]

_Answer = TypeVar("_Answer")


class GroupCommit:
    """
    Gathers the commands of many threads into batches.

    Args:
        run_batch: Answers some commands in order; runs on a submitting thread, one at a time.

        batch_max: Commands after which a batch is full; 1 switches grouping off.
    """

    def __init__(self, run_batch: RunBatch, *, batch_max: int) -> None:
        self._combiner: Combiner[Submission, list[Result]] = Combiner(
            run_batch, batch_max=batch_max
        )

    def submit(
        self,
        read: Callable[[], Command],
        answer: Callable[[Outcome], _Answer],
        *,
        deadline: float,
    ) -> _Answer:
        """
        Have a command carried out, in whichever batch comes first.

        Args:
            read: Returns the command, validated; runs on the thread that leads the batch.

            answer: Makes the answer, never None, of the outcome; runs on the same thread.

            deadline: On `time.monotonic()`'s clock.

        Raises:
            DeadlineExceeded: The deadline passed first. If the command was in a batch by then, that
                goes on.

            Exception: What `read` or `answer` raised, or `run_batch` answered for this command.
        """

        def answer_one(results: list[Result]) -> _Answer:
            (result,) = results
            if isinstance(result, Exception):
                raise result
            return answer(result)

        return self._combiner.ask(lambda: Submission([read()]), answer_one, deadline=deadline)

    def submit_all(self, submission: Submission, *, deadline: float) -> list[Result]:
        """
        Have several commands carried out in one batch.

        Args:
            submission: At least one command.

            deadline: As for `submit`.

        Returns:
            For each command what was decided, or its error.

        Raises:
            DeadlineExceeded: As `submit`.
        """
        return self._combiner.ask(
            lambda: submission,
            lambda results: results,
            deadline=deadline,
            size=len(submission.commands),
        )
