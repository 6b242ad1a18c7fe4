"""
Run a batch until it is settled: again where that can help, in halves where one part spoils it.

Running again is safe whatever happened before, a lost COMMIT included: a command whose transaction
id is already recorded answers what was recorded.
"""

import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from wallet_service.engine.execute import Result, Submission
from wallet_service.ledger.errors import (
    Contention,
    DatabaseUnavailable,
    LedgerCorrupt,
    OutcomeUnknown,
    WalletError,
)
from wallet_service.storage.database import AccountsBusy, BatchFailed, CommitInDoubt, RolledBack


class Execute(Protocol):
    """Runs some submissions in one database transaction; see `execute_batch`."""

    def __call__(self, submissions: Sequence[Submission], *, skip_busy: bool) -> list[list[Result]]:
        """Answer each command of each submission."""
        ...


#: How often a whole batch is run while others keep it from committing; its parts get one try each,
#: so that the time suffices to find the one that the others wait for.
WHOLE_BATCH_ATTEMPTS_MAX = 2

#: The first wait between tries, at most; each is up to twice as long as the one before.
_WAIT_FIRST_S = 0.005
_WAIT_MAX_S = 0.25

_log = structlog.get_logger()


@dataclass(slots=True)
class _Part:
    """Some of a batch's submissions, by index. A COMMIT in doubt may have written them already."""

    indexes: list[int]
    attempts_max: int = 1
    is_in_doubt: bool = False
    skips_busy: bool = False

    def settled_by(self, answers: list[list[Result]]) -> dict[int, list[Result]]:
        """Return what is told of each submission: no more than is certain."""
        if self.is_in_doubt:
            answers = [list(map(_certain, each)) for each in answers]
        return dict(zip(self.indexes, answers, strict=True))

    def of(self, indexes: list[int]) -> "_Part":
        """Return a part that shares this one's past."""
        return _Part(indexes, is_in_doubt=self.is_in_doubt)


class _Pieces:
    """
    Submissions by index, and which became two: those whose commands are each for itself.

    Args:
        batch: The first of them.
    """

    def __init__(self, batch: Sequence[Submission]) -> None:
        self.submissions = list(batch)
        self._halves: dict[int, tuple[int, int]] = {}

    def split(self, part: _Part, parts: deque[_Part]) -> bool:
        """
        Put the halves of a part among those to be run, unless it stays whole.

        They wait for busy accounts once more: it may be only one of them.
        """
        middle = len(part.indexes) // 2
        if middle:
            parts += (part.of(part.indexes[:middle]), part.of(part.indexes[middle:]))
            return True
        (index,) = part.indexes
        commands, is_atomic = self.submissions[index]
        middle = len(commands) // 2
        if is_atomic or not middle:
            return False
        first, second = halves = len(self.submissions), len(self.submissions) + 1
        self.submissions += [Submission(commands[:middle]), Submission(commands[middle:])]
        self._halves[index] = halves
        parts.extendleft((part.of([second]), part.of([first])))  # commands keep their order
        return True

    def joined(self, results: Mapping[int, list[Result]], index: int) -> list[Result]:
        """Return what became of a submission, whole or in pieces."""
        if index not in self._halves:
            return results[index]
        return [result for half in self._halves[index] for result in self.joined(results, half)]


def settle(
    execute: Execute, batch: Sequence[Submission], *, timeout_s: float
) -> list[list[Result]]:
    """
    Answer every submission of a batch.

    Args:
        execute: Runs some submissions in one database transaction.

        batch: At least one submission.

        timeout_s: How long to keep trying; the last try may end later.

    Returns:
        In the order of the submissions. One that spoils its batch (its data, its locks, or a
        fault of ours) gets its own error; the others are carried out. So, in their order, are the
        commands of a submission that are each for itself, where one's data or a fault spoils it.
    """
    deadline = time.monotonic() + timeout_s
    pieces = _Pieces(batch)
    results: dict[int, list[Result]] = {}
    parts = deque([_Part(list(range(len(batch))), WHOLE_BATCH_ATTEMPTS_MAX)])
    while parts:
        part = parts.popleft()
        try:
            answers = _attempt(execute, pieces.submissions, part, deadline)
        except Exception as error:  # noqa: BLE001 (the fault of one must not fail the others)
            may_split = time.monotonic() < deadline and not isinstance(error, DatabaseUnavailable)
            if may_split and pieces.split(part, parts):
                continue
            _log_fault(error, is_in_doubt=part.is_in_doubt)
            failed = [part]
            if isinstance(error, DatabaseUnavailable):  # and time is up: for the rest too
                failed += parts
                parts.clear()
            for each in failed:
                told: list[list[Result]] = [
                    [error] * len(pieces.submissions[index].commands) for index in each.indexes
                ]
                results.update(each.settled_by(told))
        else:
            results.update(part.settled_by(answers))
    return [pieces.joined(results, index) for index in range(len(batch))]


def _log_fault(error: Exception, *, is_in_doubt: bool) -> None:
    """Log damage, and a fault that those who asked are told nothing of."""
    if isinstance(error, LedgerCorrupt):
        _log.error("ledger_corrupt", exc_info=error)
    elif is_in_doubt and not isinstance(error, WalletError):
        _log.error("fault_while_in_doubt", exc_info=error)


def _certain(result: Result) -> Result:
    """
    Tell no more than is known of what may have been written: it has not failed.

    Its own COMMIT, still under way, may be what keeps its accounts busy. What is wrong with the
    request itself was so at the first try.
    """
    is_decided = isinstance(result, WalletError) and not isinstance(
        result, Contention | DatabaseUnavailable
    )
    return OutcomeUnknown() if isinstance(result, Exception) and not is_decided else result


def _attempt(
    execute: Execute, batch: Sequence[Submission], part: _Part, deadline: float
) -> list[list[Result]]:
    """
    Run one part with full jitter between tries; raise the public error once it is no use.

    A loop, not a library's: that one's closures would keep each batch in a reference cycle.
    """
    submissions = [batch[index] for index in part.indexes]
    attempts = 0
    wait_max_s = _WAIT_FIRST_S
    while True:
        try:
            return execute(submissions, skip_busy=part.skips_busy)
        except BatchFailed as error:
            part.is_in_doubt = part.is_in_doubt or isinstance(error, CommitInDoubt)
            # Once was enough to wait for: now whoever needs a busy account stands aside.
            part.skips_busy = part.skips_busy or isinstance(error, AccountsBusy)
            _log.warning("batch_failed", submissions=len(submissions), cause=repr(error))
            attempts += 1
            is_rolled_back = isinstance(error, RolledBack)
            may_split = is_rolled_back and len(submissions) > 1
            if time.monotonic() >= deadline or (may_split and attempts >= part.attempts_max):
                raise (Contention if is_rolled_back else DatabaseUnavailable) from error
        time.sleep(random.uniform(0, wait_max_s))  # noqa: S311 (no secret)
        wait_max_s = min(2 * wait_max_s, _WAIT_MAX_S)
