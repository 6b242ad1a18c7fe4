"""
Run a batch until it is settled: again where that can help, in halves where one part spoils it.

Running again is safe whatever happened before, a lost COMMIT included: a command whose transaction
id is already recorded answers what was recorded.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.errors import Contention, DatabaseUnavailable, OutcomeUnknown
from wallet_service.storage.database import BatchFailed, CommitInDoubt, RolledBack

Execute = Callable[[Sequence[Submission]], list[list[Result]]]

#: How often a batch of several is run whole while others keep it from committing.
WHOLE_BATCH_ATTEMPTS_MAX = 3

_log = structlog.get_logger()


def settle(
    execute: Execute, submissions: Sequence[Submission], *, timeout_s: float
) -> list[list[Result]]:
    """
    Answer every submission of a batch.

    Args:
        execute: Runs some submissions in one database transaction.

        submissions: At least one.

        timeout_s: How long to keep trying; the last try may end later.

    Returns:
        In the order of the submissions. One that spoils its batch (its data, its locks, or a
        fault of ours) gets its own error; the others are carried out.
    """
    deadline = time.monotonic() + timeout_s
    results: dict[int, list[Result]] = {}
    parts = deque([list(range(len(submissions)))])
    while parts:
        part = parts.popleft()
        try:
            answers = _attempt(execute, [submissions[index] for index in part], deadline)
        except Exception as error:  # noqa: BLE001 (the fault of one must not fail the others)
            if len(part) > 1 and _may_be_ones_fault(error) and time.monotonic() < deadline:
                middle = len(part) // 2
                parts += [part[:middle], part[middle:]]
                continue
            answers = [[error] * len(submissions[index].commands) for index in part]
        results.update(zip(part, answers, strict=True))
    return [results[index] for index in range(len(submissions))]


def _may_be_ones_fault(error: Exception) -> bool:
    return not isinstance(error, DatabaseUnavailable | OutcomeUnknown)


def _attempt(
    execute: Execute, submissions: Sequence[Submission], deadline: float
) -> list[list[Result]]:
    """Run one part with full jitter between tries; raise the public error once it is no use."""
    was_in_doubt = False

    def stop(state: RetryCallState) -> bool:
        nonlocal was_in_doubt
        assert state.outcome
        error = state.outcome.exception()
        was_in_doubt = was_in_doubt or isinstance(error, CommitInDoubt)
        _log.warning("batch_failed", submissions=len(submissions), cause=repr(error))
        if time.monotonic() >= deadline:
            return True
        is_contended = isinstance(error, RolledBack) and not was_in_doubt
        may_split = is_contended and len(submissions) > 1
        return may_split and state.attempt_number >= WHOLE_BATCH_ATTEMPTS_MAX

    retrying = Retrying(
        retry=retry_if_exception_type(BatchFailed),
        wait=wait_random_exponential(multiplier=0.005, max=0.25),
        stop=stop,
        reraise=True,
    )
    try:
        return retrying(execute, submissions)
    except BatchFailed as error:
        if was_in_doubt:
            raise OutcomeUnknown from error
        if isinstance(error, RolledBack):
            raise Contention from error
        raise DatabaseUnavailable from error
