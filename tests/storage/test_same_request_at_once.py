"""A request sent twice in one instant: the second waits for the locks, and answers the first."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from harness.commands import deposit, transfer
from harness.patience import eventually
from harness.stored import lock_waiters

from wallet_service.engine import execute
from wallet_service.engine.execute import Result, Submission, execute_batch
from wallet_service.engine.retry import settle
from wallet_service.ledger.books import Outcome, Rules
from wallet_service.ledger.commands import Command
from wallet_service.ledger.errors import RequestIdReused
from wallet_service.storage.database import Database


class Twice(NamedTuple):
    """What both were answered, and how often the second was run."""

    first: list[Result]
    second: list[Result]
    runs: int


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """A thread for the second request."""
    with ThreadPoolExecutor() as made:
        yield made


@pytest.fixture
def twice(database: Database, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run two submissions, the second of which begins before the first is written."""
    execute_batch(
        database,
        [Submission([deposit(f"open {user_id}", user_id, 100) for user_id in ("alice", "bob")])],
        rules=Rules(),
    )

    def run(first: Submission, second: Submission) -> Twice:
        runs = itertools.count()
        others: list[Future[list[list[Result]]]] = []
        write_books = execute.write_books

        def write_late(*arguments: Any) -> None:
            if not others:
                others.append(pool.submit(settle, counted, [second], timeout_s=5))
                eventually(lambda: database.is_embedded or lock_waiters(database))
            write_books(*arguments)

        def counted(batch: Sequence[Submission], *, skip_busy: bool) -> list[list[Result]]:
            next(runs)
            return execute_batch(database, batch, rules=Rules(), skip_busy=skip_busy)

        monkeypatch.setattr(execute, "write_books", write_late)
        (answers,) = execute_batch(database, [first], rules=Rules())
        (late_answers,) = others[0].result()
        return Twice(answers, late_answers, next(runs))

    return run


@pytest.mark.parametrize("amount_minor", [40, 101], ids=["posted", "refused"])
@pytest.mark.parametrize("is_atomic", [False, True], ids=["each", "atomic"])
def test_it_is_carried_out_once(
    twice: Any, database: Database, amount_minor: int, *, is_atomic: bool
) -> None:
    commands: list[Command] = [
        transfer("fits", ("alice", "bob"), 1),
        transfer("at once", ("alice", "bob"), amount_minor),
    ]
    submission = Submission(commands, is_atomic)

    first, second, runs = twice(submission, submission)

    assert _transactions(second) == _transactions(first)
    assert all(isinstance(result, Outcome) and result.is_replayed for result in second)
    # Here the request was recorded after the second had looked: its primary key told.
    assert runs == (1 if database.is_embedded else 2)


def test_another_request_of_the_same_id_is_told_so(twice: Any) -> None:
    (first,), (second,), _ = twice(
        Submission([transfer("at once", ("alice", "bob"), 40)]),
        Submission([transfer("at once", ("alice", "bob"), 41)]),
    )

    assert isinstance(first, Outcome)
    assert isinstance(second, RequestIdReused)


def _transactions(results: Sequence[Result]) -> list[Any]:
    return [isinstance(result, Outcome) and result.transaction for result in results]
