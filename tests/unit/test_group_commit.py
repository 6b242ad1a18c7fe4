"""Many threads, one batch at a time: everyone gets their own answer, in time or not at all."""

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from harness.batches import (
    SOON_S,
    Crowd,
    Gate,
    answer_all,
    answer_to,
    in_time,
    request_id_of,
    request_ids_in,
    submit,
)
from harness.commands import deposit
from harness.patience import eventually

from wallet_service.engine.combine import Combiner
from wallet_service.engine.execute import Result, Submission
from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.errors import DeadlineExceeded

THREADS = 32
CALLS_PER_THREAD = 200


def test_a_single_command_is_a_batch_of_one() -> None:
    gate = Gate()
    gate.open()

    engine = GroupCommit(gate, batch_max=10)
    outcome = submit(engine, deposit("1", "alice", 5), deadline=in_time())

    assert outcome == answer_to(deposit("1", "alice", 5))
    assert gate.batches == [["1"]]


def test_commands_gather_while_a_batch_runs_and_each_gets_its_own_answer() -> None:
    gate = Gate()
    with Crowd(gate, batch_max=10) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        others = crowd.gather("1", "2", "3", "4")
        gate.open()

        assert [request_id_of(future) for future in (first, *others)] == ["0", "1", "2", "3", "4"]
    assert gate.batches == [["0"], ["1", "2", "3", "4"]]


@pytest.mark.parametrize(
    ("batch_max", "batches"),
    [
        (1, [["0"], ["1"], ["2"], ["3"]]),
        (2, [["0"], ["1", "2"], ["3"]]),
        (3, [["0"], ["1", "2", "3"]]),
    ],
)
def test_a_batch_takes_no_more_than_it_may(batch_max: int, batches: list[list[str]]) -> None:
    gate = Gate()
    with Crowd(gate, batch_max=batch_max) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        others = crowd.gather("1", "2", "3")
        gate.open()

        assert [request_id_of(future) for future in (first, *others)] == ["0", "1", "2", "3"]
    assert gate.batches == batches
    assert gate.running_max == 1


def test_commands_submitted_together_are_run_in_one_batch_and_answered_in_order() -> None:
    gate = Gate()
    gate.open()
    commands = [deposit(name, "alice", 5) for name in "abc"]

    engine = GroupCommit(gate, batch_max=2)
    answers = engine.submit_all(Submission(commands), deadline=in_time())

    assert answers == [answer_to(command) for command in commands]
    assert gate.batches == [["a", "b", "c"]]


def test_commands_submitted_together_fill_a_batch_by_their_number() -> None:
    gate = Gate()
    together = Submission([deposit(name, "alice", 5) for name in "abc"])
    with Crowd(gate, batch_max=3) as crowd, ThreadPoolExecutor(1) as pool:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        answers = pool.submit(crowd.engine.submit_all, together, deadline=in_time())
        eventually(lambda: len(crowd.engine._combiner._pending) == 1)
        (last,) = crowd.gather("1")
        gate.open()

        assert [request_id_of(future) for future in (first, last)] == ["0", "1"]
        assert answers.result(SOON_S) == [answer_to(command) for command in together.commands]
    assert gate.batches == [["0"], ["a", "b", "c"], ["1"]]


@pytest.mark.parametrize(("batch_max", "batches"), [(10, [["0", "1"]]), (1, [["0"], ["1"]])])
def test_a_leader_asks_whether_others_may_come_before_it_takes_what_is_there(
    batch_max: int, batches: list[list[str]]
) -> None:
    run: list[list[str]] = []
    others: list[Future[str]] = []

    def echo(names: Sequence[str]) -> Sequence[str]:
        run.append(list(names))
        return names

    def ask(name: str) -> str:
        return combiner.ask(lambda: name, lambda answer: answer, deadline=in_time())

    def one_comes() -> bool:
        others.append(pool.submit(ask, "1"))
        eventually(lambda: len(combiner._pending) == 2)
        return True

    combiner: Combiner[str, str] = Combiner(echo, batch_max=batch_max, is_busy=one_comes)
    with ThreadPoolExecutor(1) as pool:
        assert ask("0") == "0"
        others = others or [pool.submit(ask, "1")]
        assert others[0].result(SOON_S) == "1"
    assert run == batches


def test_a_command_whose_time_is_over_is_dropped_unrun() -> None:
    gate = Gate()
    with Crowd(gate, batch_max=10) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        late = crowd.submit("late", deadline=time.monotonic() + 0.05)
        assert isinstance(late.exception(SOON_S), DeadlineExceeded)
        other = crowd.submit("1")
        eventually(lambda: len(crowd.engine._combiner._pending) == 2)
        gate.open()

        assert [request_id_of(first), request_id_of(other)] == ["0", "1"]
    assert gate.batches == [["0"], ["1"]]


def test_a_command_that_comes_too_late_is_never_run() -> None:
    gate = Gate()
    engine = GroupCommit(gate, batch_max=10)

    with pytest.raises(DeadlineExceeded):
        submit(engine, deposit("late", "alice", 5), deadline=time.monotonic())

    assert gate.batches == []
    gate.open()
    assert submit(engine, deposit("1", "alice", 5), deadline=in_time()).entries


def _raise(error: Exception) -> Any:
    raise error


def test_what_cannot_be_read_or_answered_fails_alone() -> None:
    gate = Gate()
    with Crowd(gate, batch_max=10) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        waiting = crowd.gather("1")
        unread = crowd.ask(lambda: _raise(LookupError("unread")), lambda outcome: outcome)
        unanswered = crowd.ask(
            lambda: deposit("2", "alice", 5), lambda _: _raise(LookupError("unanswered"))
        )
        waiting += crowd.gather("3")
        gate.open()

        assert [request_id_of(future) for future in (first, *waiting)] == ["0", "1", "3"]
        for future, why in ((unread, "unread"), (unanswered, "unanswered")):
            with pytest.raises(LookupError, match=why):
                future.result(SOON_S)
    assert gate.batches == [["0"], ["1", "2", "3"]]


def test_where_nothing_can_be_read_no_batch_is_run() -> None:
    gate = Gate()
    engine = GroupCommit(gate, batch_max=10)

    with pytest.raises(LookupError):
        engine.submit(lambda: _raise(LookupError()), lambda _: None, deadline=in_time())

    assert gate.batches == []
    gate.open()
    assert submit(engine, deposit("1", "alice", 5), deadline=in_time()).entries


def test_when_all_that_wait_are_too_late_the_next_one_leads() -> None:
    gate = Gate()
    with Crowd(gate, batch_max=10) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        late = [crowd.submit(f"late{n}", deadline=time.monotonic() + 0.05) for n in range(5)]
        assert all(isinstance(future.exception(SOON_S), DeadlineExceeded) for future in late)
        gate.open()

        assert request_id_of(first) == "0"
        assert request_id_of(crowd.submit("1")) == "1"
    assert gate.batches == [["0"], ["1"]]


def test_a_caller_whose_time_ends_during_its_batch_leaves_and_the_others_are_answered() -> None:
    gate = Gate()
    with Crowd(gate, batch_max=10) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        deadline = time.monotonic() + 3  # the second batch has to begin before
        (patient,) = crowd.gather("1")
        impatient = crowd.submit("2", deadline=deadline)
        eventually(lambda: len(crowd.engine._combiner._pending) == 2)
        gate.open(batches=1)
        gate.wait_for_a_batch()  # the second batch has begun, both are in it

        assert isinstance(impatient.exception(SOON_S), DeadlineExceeded)
        gate.open()
        assert [request_id_of(first), request_id_of(patient)] == ["0", "1"]
    assert gate.batches == [["0"], ["1", "2"]]


@pytest.mark.parametrize("leads", [True, False])
def test_one_commands_failure_reaches_only_its_caller(*, leads: bool) -> None:
    poison = "1" if leads else "2"

    def run(submissions: Sequence[Submission]) -> list[list[Result]]:
        return [
            [LookupError(poison)] if request_ids_in([part]) == [poison] else answer
            for part, answer in zip(submissions, answer_all(submissions), strict=True)
        ]

    gate = Gate(run)
    with Crowd(gate, batch_max=10) as crowd:
        crowd.submit("0")
        gate.wait_for_a_batch()
        futures = dict(zip("123", crowd.gather("1", "2", "3"), strict=True))
        gate.open()
        failed = futures.pop(poison)

        assert repr(failed.exception(SOON_S)) == f"LookupError('{poison}')"
        assert {name: request_id_of(future) for name, future in futures.items()} == {
            name: name for name in futures
        }


def test_a_batch_that_breaks_fails_its_callers_and_nobody_else() -> None:
    broken = ["1", "2"]

    def run(submissions: Sequence[Submission]) -> list[list[Result]]:
        if request_ids_in(submissions)[0] in broken:
            raise LookupError("broken")
        return answer_all(submissions)

    gate = Gate(run)
    with Crowd(gate, batch_max=2) as crowd:
        first = crowd.submit("0")
        gate.wait_for_a_batch()
        futures = crowd.gather("1", "2", "3", "4")
        gate.open()

        assert [type(future.exception(SOON_S)) for future in futures[:2]] == [LookupError] * 2
        assert [request_id_of(future) for future in (first, *futures[2:])] == ["0", "3", "4"]
        assert request_id_of(crowd.submit("5")) == "5"
    assert gate.batches == [["0"], broken, ["3", "4"], ["5"]]


def test_a_leader_that_is_interrupted_keeps_nobody_from_leading() -> None:
    interrupts = [KeyboardInterrupt()]

    def run(submissions: Sequence[Submission]) -> list[list[Result]]:
        if interrupts:
            raise interrupts.pop()
        return answer_all(submissions)

    engine = GroupCommit(run, batch_max=10)
    first, second = deposit("1", "alice", 5), deposit("2", "alice", 5)
    with pytest.raises(KeyboardInterrupt):
        submit(engine, first, deadline=in_time())

    assert submit(engine, second, deadline=time.monotonic() + 5) == answer_to(second)


def test_a_caller_without_a_deadline_waits_its_turn() -> None:
    gate = Gate()
    with Crowd(gate, batch_max=10) as crowd:
        crowd.submit("0")
        gate.wait_for_a_batch()
        endless = crowd.submit("1", deadline=math.inf)
        eventually(lambda: endless.done() or len(crowd.engine._combiner._pending) == 1)
        gate.open()

        assert request_id_of(endless) == "1"


def test_in_a_storm_no_call_hangs_is_lost_or_gets_anothers_answer() -> None:
    ran: Counter[str] = Counter()
    running = threading.Lock()

    def run(submissions: Sequence[Submission]) -> list[list[Result]]:
        assert running.acquire(blocking=False), "two batches at once"
        ran.update(request_ids_in(submissions))
        results = answer_all(submissions)
        running.release()
        return results

    engine = GroupCommit(run, batch_max=16)

    def call_often(thread: int) -> Counter[str]:
        dice = random.Random(thread)
        ends: Counter[str] = Counter()
        for number in range(CALLS_PER_THREAD):
            request_id = f"{thread}/{number}"
            patience_s = dice.choice([0, 0.0001, 0.001, 0.003, SOON_S])
            try:
                outcome = submit(
                    engine, deposit(request_id, "alice", 5), deadline=time.monotonic() + patience_s
                )
            except DeadlineExceeded:
                assert patience_s < SOON_S
                ends["too late"] += 1
            else:
                assert outcome.transaction.request_id == request_id
                assert ran[request_id] == 1
                ends["answered"] += 1
        return ends

    with ThreadPoolExecutor(THREADS) as pool:
        ends = sum(pool.map(call_often, range(THREADS), timeout=SOON_S), Counter())

    assert sum(ends.values()) == THREADS * CALLS_PER_THREAD
    assert min(ends["answered"], ends["too late"]) > 0
    assert max(ran.values()) == 1
    assert ends["answered"] <= sum(ran.values()) <= THREADS * CALLS_PER_THREAD
    assert submit(engine, deposit("after", "alice", 5), deadline=in_time()).entries
