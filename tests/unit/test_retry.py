"""A batch is run until it is settled, and what is told of it is never more than is known."""

from collections.abc import Callable, Sequence

import pytest
from harness.batches import answer_all, request_ids_in
from harness.commands import deposit
from structlog.testing import capture_logs

from wallet_service.engine import retry
from wallet_service.engine.execute import Result, Submission
from wallet_service.engine.retry import WHOLE_BATCH_ATTEMPTS_MAX, Execute, settle
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.errors import (
    Contention,
    DatabaseUnavailable,
    LedgerCorrupt,
    OutcomeUnknown,
    RequestIdReused,
)
from wallet_service.storage.database import AccountsBusy, CommitInDoubt, ConnectionLost, RolledBack

LONG_S = 60.0  # a time that no test uses up
SHORT_S = 0.05

Failure = Callable[[Sequence[str]], Exception | None]


class Executions:
    """Carries batches out unless told to fail, and remembers which it was given."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure
        self.parts: list[list[str]] = []
        self.skipping: list[bool] = []

    def __call__(self, submissions: Sequence[Submission], *, skip_busy: bool) -> list[list[Result]]:
        part = request_ids_in(submissions)
        self.parts.append(part)
        self.skipping.append(skip_busy)
        error = self._failure(part)
        if error:
            raise error
        return answer_all(submissions)


def failing_first(*errors: Exception) -> Failure:
    """Fail the first executions, each with its error, and no later one."""
    left = list(errors)
    return lambda _part: left.pop(0) if left else None


def failing_then_always(*errors: Exception) -> Failure:
    """Fail the first executions, each with its error, and all later ones with the last error."""
    left = list(errors)
    return lambda _part: left.pop(0) if len(left) > 1 else left[0]


def failing_with(poison: str, error: Exception) -> Failure:
    """Fail every execution that one command takes part in."""
    return lambda part: error if poison in part else None


def batch(size: int) -> list[Submission]:
    """Return some single commands, named 0, 1, 2, …"""
    return [Submission([deposit(str(number), "alice", 1 + number)]) for number in range(size)]


def settle_singles(execute: Execute, size: int, *, timeout_s: float) -> list[Result]:
    """Settle a batch of single commands; return the answer to each."""
    answers = settle(execute, batch(size), timeout_s=timeout_s)
    return [result for (result,) in answers]


def names(results: Sequence[Result]) -> list[str]:
    """Return which request each result answers, or which error it is."""
    return [
        result.transaction.request_id if isinstance(result, Outcome) else type(result).__name__
        for result in results
    ]


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_batch_that_commits_is_run_once(size: int) -> None:
    execute = Executions(failing_first())

    results = settle_singles(execute, size, timeout_s=LONG_S)

    assert names(results) == [str(number) for number in range(size)]
    assert len(execute.parts) == 1


@pytest.mark.parametrize("size", [1, 9])
@pytest.mark.parametrize(
    "errors",
    [
        [RolledBack("busy")],
        [RolledBack("busy")] * (WHOLE_BATCH_ATTEMPTS_MAX - 1),
        [ConnectionLost("gone")] * 4,
        [CommitInDoubt("cut")],
        [CommitInDoubt("cut"), ConnectionLost("gone"), CommitInDoubt("cut")],
    ],
    ids=str,
)
def test_a_batch_is_run_again_whole_until_it_commits(size: int, errors: list[Exception]) -> None:
    execute = Executions(failing_first(*errors))

    results = settle_singles(execute, size, timeout_s=LONG_S)

    whole = [str(number) for number in range(size)]
    assert names(results) == whole
    assert execute.parts == [whole] * (len(errors) + 1)


def test_however_often_a_batch_is_run_again_the_waits_stay_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waits.append)
    tries = 2000
    execute = Executions(failing_first(*[ConnectionLost("gone")] * tries))

    results = settle_singles(execute, 1, timeout_s=LONG_S)

    assert names(results) == ["0"]
    assert len(waits) == tries
    assert waits[0] <= 0.005
    assert 0.005 < max(waits) <= 0.25


@pytest.mark.parametrize("poison", range(9))
def test_a_command_whose_fault_it_is_fails_alone(poison: int) -> None:
    error = ZeroDivisionError("spoilt")
    execute = Executions(failing_with(str(poison), error))

    results = settle_singles(execute, 9, timeout_s=LONG_S)

    assert results[poison] is error
    expected = [str(number) for number in range(9)]
    expected[poison] = "ZeroDivisionError"
    assert names(results) == expected


@pytest.mark.parametrize("size", [2, 9])
def test_a_command_whose_locks_are_never_free_fails_alone(size: int) -> None:
    execute = Executions(failing_with("1", RolledBack("locked")))

    results = settle_singles(execute, size, timeout_s=0.5)

    expected = [str(number) for number in range(size)]
    expected[1] = "Contention"
    assert names(results) == expected
    assert isinstance(results[1], Contention)


@pytest.mark.parametrize("size", [1, 9])
def test_busy_accounts_are_waited_for_once_and_then_passed_over(size: int) -> None:
    execute = Executions(failing_first(AccountsBusy("locked")))

    results = settle_singles(execute, size, timeout_s=LONG_S)

    assert names(results) == [str(number) for number in range(size)]
    assert execute.skipping == [False, True]


def test_once_busy_accounts_were_waited_for_they_are_passed_over_whatever_fails_next() -> None:
    execute = Executions(failing_first(AccountsBusy("locked"), ConnectionLost("gone")))

    assert names(settle_singles(execute, 2, timeout_s=LONG_S)) == ["0", "1"]
    assert execute.skipping == [False, True, True]


def test_the_parts_of_a_batch_wait_for_busy_accounts_once_more() -> None:
    assert WHOLE_BATCH_ATTEMPTS_MAX == 2
    execute = Executions(failing_first(AccountsBusy("locked"), RolledBack("busy")))

    assert names(settle_singles(execute, 2, timeout_s=LONG_S)) == ["0", "1"]
    assert execute.parts == [["0", "1"], ["0", "1"], ["0"], ["1"]]
    assert execute.skipping == [False, True, False, False]


def test_each_of_several_faulty_commands_gets_its_own_error() -> None:
    def failure(part: Sequence[str]) -> Exception | None:
        faulty = [name for name in part if name in {"0", "4", "8"}]
        return KeyError(faulty[0]) if faulty else None

    results = settle_singles(Executions(failure), 9, timeout_s=LONG_S)

    faults = {name: repr(result) for name, result in zip("012345678", results, strict=True)}
    assert {faults.pop(name) for name in "048"} == {
        "KeyError('0')",
        "KeyError('4')",
        "KeyError('8')",
    }
    assert all(isinstance(result, Outcome) for result in results[1:4] + results[5:8])


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([RolledBack("busy")], Contention),
        ([ConnectionLost("gone")], DatabaseUnavailable),
        ([RolledBack("busy"), ConnectionLost("gone")], DatabaseUnavailable),
        ([ConnectionLost("gone"), RolledBack("busy")], Contention),
        ([CommitInDoubt("cut")], OutcomeUnknown),
        ([CommitInDoubt("cut"), RolledBack("busy")], OutcomeUnknown),
        ([CommitInDoubt("cut"), ConnectionLost("gone")], OutcomeUnknown),
        ([RolledBack("busy"), CommitInDoubt("cut"), RolledBack("busy")], OutcomeUnknown),
    ],
    ids=str,
)
def test_when_time_is_up_only_what_is_certain_is_told(
    monkeypatch: pytest.MonkeyPatch, size: int, errors: list[Exception], told: type[Exception]
) -> None:
    execute = Executions(failing_then_always(*errors))
    # Time is up once all of them came.
    over = len(errors)
    monkeypatch.setattr(retry.time, "monotonic", lambda: LONG_S * (len(execute.parts) >= over))

    results = settle_singles(execute, size, timeout_s=LONG_S)

    assert [type(result) for result in results] == [told] * size
    assert len(execute.parts) >= over


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("last", [RolledBack("busy"), ZeroDivisionError("spoilt")], ids=str)
def test_a_doubt_is_not_forgotten_over_a_fault(size: int, last: Exception) -> None:
    doubt_then_fault = [CommitInDoubt("cut"), ZeroDivisionError("spoilt"), last]
    execute = Executions(failing_then_always(*doubt_then_fault))

    results = settle_singles(execute, size, timeout_s=SHORT_S)

    # The COMMIT in doubt may have written all of them: "rolled back for certain" would be a lie.
    assert [type(result) for result in results] == [OutcomeUnknown] * size


def test_a_doubt_ends_where_the_outcome_is_learned() -> None:
    execute = Executions(failing_first(CommitInDoubt("cut"), ZeroDivisionError("spoilt")))

    assert names(settle_singles(execute, 4, timeout_s=LONG_S)) == ["0", "1", "2", "3"]


def test_every_command_is_tried_even_when_there_is_no_time() -> None:
    execute = Executions(failing_first())

    assert names(settle_singles(execute, 3, timeout_s=0)) == ["0", "1", "2"]


def test_what_was_decided_about_each_command_is_handed_through() -> None:
    reused = KeyError("reused")

    def execute(submissions: Sequence[Submission], *, skip_busy: bool) -> list[list[Result]]:
        assert not skip_busy
        decided = answer_all(submissions)
        decided[1] = [reused]
        return decided

    results = settle_singles(execute, 3, timeout_s=LONG_S)

    assert results[1] is reused
    assert names(results) == ["0", "KeyError", "2"]


@pytest.mark.parametrize("is_atomic", [True, False])
def test_commands_that_came_together_stay_together_when_their_batch_is_split(
    *, is_atomic: bool
) -> None:
    together = Submission([submission.commands[0] for submission in batch(3)], is_atomic=is_atomic)
    poison = Submission([deposit("poison", "alice", 5)])
    execute = Executions(failing_with("poison", ZeroDivisionError("spoilt")))

    answers = settle(execute, [together, poison], timeout_s=LONG_S)

    assert [names(answer) for answer in answers] == [["0", "1", "2"], ["ZeroDivisionError"]]
    assert execute.parts == [["0", "1", "2", "poison"], ["0", "1", "2"], ["poison"]]


def one_by_one(*names: str, is_atomic: bool = False) -> Submission:
    """Return commands that came together."""
    return Submission([deposit(name, "alice", 5) for name in names], is_atomic=is_atomic)


def test_a_command_that_spoils_those_it_came_with_fails_alone_and_they_keep_their_order() -> None:
    execute = Executions(failing_with("poison", ZeroDivisionError("spoilt")))
    first, second = one_by_one("0", "poison", "2", "3", "4"), one_by_one("5")

    answers = settle(execute, [first, second], timeout_s=LONG_S)

    assert [names(answer) for answer in answers] == [
        ["0", "ZeroDivisionError", "2", "3", "4"],
        ["5"],
    ]
    carried_out = [part for part in execute.parts if "poison" not in part and part != ["5"]]
    assert carried_out == [["0"], ["2", "3", "4"]]


def test_a_command_that_spoils_an_atomic_batch_fails_all_of_it() -> None:
    execute = Executions(failing_with("poison", ZeroDivisionError("spoilt")))

    (answer,) = settle(execute, [one_by_one("0", "poison", is_atomic=True)], timeout_s=LONG_S)

    assert names(answer) == ["ZeroDivisionError"] * 2
    assert len(execute.parts) == 1


def test_every_command_of_a_submission_that_fails_gets_its_error() -> None:
    together = Submission([submission.commands[0] for submission in batch(3)], is_atomic=True)
    execute = Executions(failing_then_always(ConnectionLost("gone")))

    (answer,) = settle(execute, [together], timeout_s=SHORT_S)

    assert names(answer) == ["DatabaseUnavailable"] * 3


@pytest.mark.parametrize(
    ("found", "told"),
    [
        # Its own COMMIT, still under way, may be what keeps the accounts busy.
        (Contention(), OutcomeUnknown),
        # It was so at the first try.
        (RequestIdReused(fields="kind", transaction_id="t"), RequestIdReused),
    ],
    ids=["busy", "wrong"],
)
def test_after_a_commit_in_doubt_nothing_is_called_rolled_back(
    found: Exception, told: type[Exception]
) -> None:
    errors = [CommitInDoubt("cut"), AccountsBusy("kept by somebody")]

    def execute(_submissions: Sequence[Submission], *, skip_busy: bool) -> list[list[Result]]:
        if errors:
            raise errors.pop(0)
        assert skip_busy
        return [[found]]

    assert [type(result) for result in settle_singles(execute, 1, timeout_s=LONG_S)] == [told]


def test_once_time_is_up_a_database_that_is_away_is_not_asked_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def failure(part: Sequence[str]) -> Exception:
        nonlocal now
        if len(part) > 1:
            return ZeroDivisionError("spoilt by one of them")
        now = LONG_S
        return ConnectionLost("gone")

    monkeypatch.setattr(retry.time, "monotonic", lambda: now)
    execute = Executions(failure)

    results = settle_singles(execute, 9, timeout_s=LONG_S)

    assert names(results) == ["DatabaseUnavailable"] * 9
    assert sum(len(part) == 1 for part in execute.parts) == 1


@pytest.mark.parametrize(
    ("error", "told"), [(RolledBack("busy"), Contention), (KeyError("spoilt"), KeyError)], ids=str
)
def test_once_time_is_up_a_batch_is_not_run_in_parts(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    now = 0.0

    def failure(_part: Sequence[str]) -> Exception:
        nonlocal now
        now = LONG_S
        return error

    monkeypatch.setattr(retry.time, "monotonic", lambda: now)
    execute = Executions(failure)

    results = settle_singles(execute, 9, timeout_s=LONG_S)

    assert [type(result) for result in results] == [told] * 9
    assert len(execute.parts) == 1


def _logged(*errors: Exception) -> list[str]:
    """Settle two commands, of which one always ends so; return the errors logged about it."""
    left = list(errors)

    def failure(part: Sequence[str]) -> Exception | None:
        if len(left) > 1:
            return left.pop(0)
        return left[0] if "1" in part else None

    with capture_logs() as logs:
        settle_singles(Executions(failure), 2, timeout_s=LONG_S)
    return [log["event"] for log in logs if log["log_level"] == "error"]


def test_what_an_operator_has_to_look_after_is_logged_once_as_an_error() -> None:
    damage = LedgerCorrupt(row="entries", problem="is there already")

    assert _logged(damage) == ["ledger_corrupt"]
    assert _logged(CommitInDoubt("cut"), damage) == ["ledger_corrupt"]
    assert _logged(CommitInDoubt("cut"), KeyError("spoilt")) == ["fault_while_in_doubt"]
    assert _logged(KeyError("spoilt")) == []  # logged as an incident, where it is answered
    assert _logged(CommitInDoubt("cut"), RequestIdReused(fields="kind", transaction_id="t")) == []
