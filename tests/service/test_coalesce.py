"""Calls of many threads, sent as batches: each gets what it would have got by itself."""

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from harness.clients import gather_all
from harness.patience import PATIENCE_S
from harness.tokens import service_token, token
from wallet_client import (
    InsufficientFunds,
    InvalidRequest,
    NotAllowed,
    Overloaded,
    Undecided,
    Wallet,
    WalletError,
    coalesce,
)
from wallet_client.v1.types_pb2 import HOLD_STATE_ACTIVE, HOLD_STATE_VOIDED
from wallet_client.v1.wallet_service_pb2 import ExecuteBatchRequest, ExecuteBatchResponse

THREADS = 16
FUNDS_MINOR = 1000


@pytest.fixture
def wallet(target: str) -> Iterator[Wallet]:
    """A client that gathers calls, on a server where alice and bob have money."""
    with Wallet(target, service_token(), plaintext=True, coalesce=True) as client:
        for user_id in ("alice", "bob"):
            client.deposit(FUNDS_MINOR, user_id=user_id)
        yield client


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Call from as many threads at one instant; return what each got, errors too."""
    barrier = Barrier(len(calls))

    def call(one: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return one()
        except WalletError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def posted(wallet: Wallet, user_id: str) -> int:
    return wallet.balance(user_id=user_id).posted.minor_units


def test_calls_of_many_threads_travel_together_and_each_gets_its_own_answer(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def execute(request: ExecuteBatchRequest) -> ExecuteBatchResponse:
        sizes.append(len(request.operations))
        return sent(request)

    sent = wallet._execute
    monkeypatch.setattr(wallet._coalescer, "_execute", execute)

    def pay(amount_minor: int) -> Callable[[], Any]:
        return lambda: wallet.transfer("bob", amount_minor, user_id="alice")

    answers = at_once(*(pay(number) for number in range(1, THREADS + 1)))

    amounts = [answer.transaction.amount.minor_units for answer in answers]
    assert amounts == list(range(1, THREADS + 1))
    assert not any(answer.replayed for answer in answers), "a call was sent twice"
    assert posted(wallet, "alice") == FUNDS_MINOR - sum(amounts)
    assert max(sizes) > 1


def test_what_is_answered_with_holds_is_sent_before_the_answer_grows_too_large(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalesce, "_RESOLVING_MAX", 2)
    holds = [wallet.create_hold(1, user_id="alice").hold for _ in range(2)]
    settled = Event()
    patient = SimpleNamespace(sleep=lambda _seconds: settled.wait(PATIENCE_S))
    monkeypatch.setattr("wallet_client.coalesce.time", patient)  # it is the second that sends

    def void(hold_id: str) -> Callable[[], Any]:
        return lambda: wallet.void_hold(hold_id)

    with ThreadPoolExecutor(2) as pool:
        voids = [pool.submit(void(hold.hold_id)) for hold in holds]
        done, _ = concurrent.futures.wait(voids, PATIENCE_S / 2, FIRST_COMPLETED)
        settled.set()

    assert len(done) == 1
    assert [each.result().hold.state for each in voids] == [HOLD_STATE_VOIDED] * 2


def test_every_kind_of_write_is_answered_as_by_itself(wallet: Wallet) -> None:
    hold, kept = (wallet.create_hold(10, user_id="alice").hold for _ in range(2))
    paid = wallet.transfer("bob", 5, user_id="alice").transaction

    withdrawn, captured, voided, held, back = at_once(
        lambda: wallet.withdraw(20, user_id="bob"),
        lambda: wallet.capture_hold(hold.hold_id, to_user_id="bob"),
        lambda: wallet.void_hold(kept.hold_id),
        lambda: wallet.create_hold(30, user_id="alice"),
        lambda: wallet.reverse(paid.transaction_id),
    )

    assert not any(each.replayed for each in (withdrawn, captured, voided, held, back))
    assert withdrawn.transaction.amount.minor_units == 20
    assert captured.hold.captured.minor_units == 10
    assert voided.hold.hold_id == kept.hold_id
    assert held.hold.state == HOLD_STATE_ACTIVE
    assert back.transaction.reversal_of == paid.transaction_id
    assert posted(wallet, "alice") == FUNDS_MINOR - 10
    assert posted(wallet, "bob") == FUNDS_MINOR - 20 + 10


def test_a_refusal_or_a_mistake_is_its_own_threads_alone(wallet: Wallet) -> None:
    calls = [lambda: wallet.transfer("bob", 1, user_id="alice")] * THREADS
    calls[3] = lambda: wallet.transfer("bob", 10**9, user_id="alice")
    calls[7] = lambda: wallet.transfer("bob", 0, user_id="alice")

    answers = at_once(*calls)

    assert isinstance(answers[3], InsufficientFunds)
    assert answers[3].available_minor >= FUNDS_MINOR - THREADS
    assert isinstance(answers[7], InvalidRequest)
    assert answers[7].fields.keys() == {"amount.minor_units"}
    others = [answer for index, answer in enumerate(answers) if index not in {3, 7}]
    assert [answer.transaction.amount.minor_units for answer in others] == [1] * (THREADS - 2)
    assert posted(wallet, "alice") == FUNDS_MINOR - (THREADS - 2)


def test_what_is_forbidden_is_its_own_threads_alone(
    target: str, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Wallet(target, token("alice"), plaintext=True, coalesce=True) as alice:
        gather_all(alice, 3, monkeypatch)
        answers = at_once(
            lambda: alice.transfer("bob", 1),
            lambda: alice.transfer("alice", 1, user_id="bob"),
            lambda: alice.transfer("bob", 2),
        )

    assert type(answers[1]) is NotAllowed
    assert [answers[number].transaction.amount.minor_units for number in (0, 2)] == [1, 2]
    assert posted(wallet, "alice") == FUNDS_MINOR - 3


def test_calls_that_are_too_large_together_are_sent_one_by_one(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turn_away(_batch: ExecuteBatchRequest) -> ExecuteBatchResponse:
        raise WalletError("message larger than max", code=grpc.StatusCode.RESOURCE_EXHAUSTED)

    gather_all(wallet, 2, monkeypatch)
    monkeypatch.setattr(wallet._coalescer, "_execute", turn_away)
    answers = at_once(*[lambda: wallet.deposit(1, user_id="alice")] * 2)

    assert not any(answer.replayed for answer in answers)
    assert posted(wallet, "alice") == FUNDS_MINOR + 2


def test_a_repeated_call_is_told_so_within_a_batch(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet.deposit(1, user_id="alice", request_id="first")

    gather_all(wallet, 2, monkeypatch)
    answers = at_once(
        lambda: wallet.deposit(1, user_id="alice", request_id="first"),
        lambda: wallet.deposit(1, user_id="alice", request_id="second"),
    )

    assert [answer.replayed for answer in answers] == [True, False]
    assert posted(wallet, "alice") == FUNDS_MINOR + 2


def test_a_mistake_that_only_the_books_show_names_the_calls_own_field(wallet: Wallet) -> None:
    hold = wallet.create_hold(10, user_id="alice").hold
    calls = [lambda: wallet.transfer("bob", 1, user_id="alice")] * THREADS
    calls[3] = lambda: wallet.capture_hold(hold.hold_id, to_user_id="alice")

    answers = at_once(*calls)

    assert isinstance(answers[3], InvalidRequest)
    assert answers[3].reason == "SAME_ACCOUNT"
    assert answers[3].fields.keys() == {"to_user_id"}
    assert posted(wallet, "alice") == FUNDS_MINOR - (THREADS - 1)


def test_the_same_request_of_many_threads_takes_effect_once(wallet: Wallet) -> None:
    answers = at_once(
        *[lambda: wallet.transfer("bob", 7, user_id="alice", request_id="same")] * THREADS
    )

    assert len({answer.transaction.transaction_id for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * (THREADS - 1)
    assert posted(wallet, "alice") == FUNDS_MINOR - 7


def test_what_is_only_asked_moves_nothing(wallet: Wallet) -> None:
    answers = at_once(*[lambda: wallet.transfer("bob", 7, user_id="alice", validate_only=True)] * 4)

    assert {answer.transaction.amount.minor_units for answer in answers} == {7}
    assert posted(wallet, "alice") == FUNDS_MINOR


def nobody(token: str | Callable[[], str]) -> Wallet:
    """Make a client of a service that is not there."""
    return Wallet("127.0.0.1:1", token, plaintext=True, coalesce=True, attempts_max=1, timeout_s=1)


def test_where_nobody_answers_every_thread_is_told_of_its_own_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pay(request_id: str) -> Callable[[], Any]:
        return lambda: lost.deposit(1, request_id=request_id)

    with nobody("token") as lost:
        gather_all(lost, 4, monkeypatch)
        answers = at_once(*(pay(request_id) for request_id in "abcd"))

    assert [type(answer) for answer in answers] == [Undecided] * 4
    assert [answer.code.name for answer in answers] == ["UNAVAILABLE"] * 4
    assert [answer.request_id for answer in answers] == ["a", "b", "c", "d"]
    (of_the_batch,) = {answer.__cause__ for answer in answers}
    assert str(of_the_batch) == str(answers[0])


def test_a_server_with_too_much_to_do_is_not_sent_each_call_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def turn_away(_batch: ExecuteBatchRequest) -> ExecuteBatchResponse:
        raise Overloaded(
            "later", code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", metadata={}
        )

    def pay(request_id: str) -> Callable[[], Any]:
        return lambda: lost.deposit(1, request_id=request_id)

    with nobody("token") as lost:
        gather_all(lost, 4, monkeypatch)
        monkeypatch.setattr(lost._coalescer, "_execute", turn_away)
        answers = at_once(*(pay(request_id) for request_id in "abcd"))

    # Nobody answers those that are sent.
    assert [type(answer) for answer in answers] == [Overloaded] * 4
    assert [answer.request_id for answer in answers] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("asked_before", [0, 4], ids=["before it gathers", "when it is sent"])
def test_what_a_token_function_raises_is_raised_in_every_thread(
    monkeypatch: pytest.MonkeyPatch, asked_before: int
) -> None:
    asked = itertools.count()

    def no_token() -> str:
        if next(asked) < asked_before:
            return "token"
        raise LookupError("no token today")

    def told() -> str:
        with pytest.raises(LookupError) as raised:
            lost.deposit(1)
        return str(raised.value)

    with nobody(no_token) as lost:
        gather_all(lost, 4, monkeypatch)
        assert at_once(*[told] * 4) == ["no token today"] * 4


def test_a_token_function_that_fails_once_is_asked_again(target: str) -> None:
    asked = itertools.count()

    def token_of_alice() -> str:
        if next(asked) == 0:
            raise Undecided("ask later", code=grpc.StatusCode.UNAVAILABLE)
        return token("alice")

    with Wallet(target, token_of_alice, plaintext=True, coalesce=True) as client:
        assert client.deposit(5).transaction.target_user_id == "alice"


def test_threads_of_many_users_each_act_for_themselves(
    wallet: Wallet, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [f"user-{number}" for number in range(4)]
    mine = threading.local()
    batches = []

    def execute(request: ExecuteBatchRequest) -> ExecuteBatchResponse:
        batches.append([each.transfer.description for each in request.operations])
        return sent(request)

    def pay(user_id: str, amount_minor: int) -> Callable[[], Any]:
        def call() -> Any:
            mine.token = token(user_id, iat=0)
            return each.transfer("bob", amount_minor, description=user_id)

        return call

    for user_id in users:
        wallet.deposit(FUNDS_MINOR, user_id=user_id)
    with Wallet(target, lambda: mine.token, plaintext=True, coalesce=True) as each:
        gather_all(each, 2 * len(users), monkeypatch)
        sent = each._execute
        monkeypatch.setattr(each._coalescer, "_execute", execute)
        answers = at_once(*(pay(user_id, amount) for user_id in users for amount in (1, 2)))

    assert [answer.transaction.source_user_id for answer in answers] == [
        user_id for user_id in users for _ in (1, 2)
    ]
    assert [posted(wallet, user_id) for user_id in users] == [FUNDS_MINOR - 3] * len(users)
    assert sorted(batches) == [[user_id] * 2 for user_id in users]
    assert not each._coalescer._gathering, "each token ever used would be kept"


def test_a_thread_that_is_interrupted_while_it_gathers_keeps_nobody_waiting(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr("wallet_client.coalesce.time.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            wallet.deposit(1, user_id="alice", request_id="interrupted")

    deposited = wallet.deposit(1, user_id="alice", request_id="interrupted")
    assert deposited.transaction.amount.minor_units == 1
    assert posted(wallet, "alice") == FUNDS_MINOR + 1
