"""
Group commit: one database transaction for the commands of many threads.

While a batch commits, the next one gathers, so a busy account costs one lock a batch instead of one
a transfer. Nothing is answered before COMMIT.
"""

from collections.abc import Callable, Sequence

from wallet_service.engine.combine import Combiner
from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import Command

RunBatch = Callable[[Sequence[Submission]], list[list[Result]]]


class GroupCommit:
    """
    Gathers the commands of many threads into batches.

    Args:
        run_batch: Answers some commands in order; runs on a submitting thread, one at a time.

        batch_max: Commands after which a batch is full; 1 switches grouping off.
    """

    def __init__(self, run_batch: RunBatch, *, batch_max: int) -> None:
        self._combiner: Combiner[Submission, list[Result]] = Combiner(
            run_batch, batch_max=batch_max, size=lambda submission: len(submission.commands)
        )

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
        return self._combiner.ask(submission, deadline=deadline)
