"""Threads that are interrupted while they gather or send: nobody waits for them in vain."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from harness.calls import wait_until
from harness.clients import count_gathered, gather_all
from harness.tokens import service_token
from wallet_client import Wallet, coalesce

WAIT_S = 20


@pytest.fixture
def wallet(target: str) -> Iterator[Wallet]:
    with Wallet(target, service_token(), plaintext=True, coalesce=True) as client:
        client.open_account("alice")
        yield client


class Mutex:
    """A mutex that is left only to be interrupted, as by a signal that came just then; once."""

    def __init__(self, mutex: Any, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._mutex = mutex
        self._meanwhile = meanwhile
        self._interrupts = True

    def __enter__(self) -> None:
        self._mutex.acquire()

    def __exit__(self, *_: object) -> None:
        interrupts, self._interrupts = self._interrupts, False
        self._mutex.release()
        if interrupts:
            self._meanwhile()
            raise KeyboardInterrupt


def deposit(wallet: Wallet) -> Future[Any]:
    """Deposit from a thread of its own, which ends with the tests even if it waits for ever."""
    outcome: Future[Any] = Future()

    def call() -> None:
        try:
            outcome.set_result(wallet.deposit(1, user_id="alice"))
        except BaseException as error:  # noqa: BLE001 (told to whoever asks for the outcome)
            outcome.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return outcome


def deposits_of_three(wallet: Wallet) -> list[Future[Any]]:
    """Deposit from three threads, of which the first is to send for all."""
    first = deposit(wallet)
    wait_until(lambda: count_gathered(wallet) == 1)
    return [first, deposit(wallet), deposit(wallet)]


def assert_only_one_is_interrupted(wallet: Wallet, outcomes: list[Future[Any]]) -> None:
    """Check that all but one of some deposits were answered, that one raised, and calls go on."""
    errors = [each.exception(timeout=WAIT_S) for each in outcomes]
    assert [type(error) for error in errors if error] == [KeyboardInterrupt]
    paid = [each.result().transaction.transaction_id for each in outcomes if not each.exception()]
    assert len(set(paid)) == len(outcomes) - 1
    assert deposit(wallet).result(timeout=WAIT_S).transaction.amount.minor_units == 1
    recorded = {each.transaction_id for each in wallet.transactions(user_id="alice")}
    assert recorded >= set(paid)


def test_the_first_of_a_batch_is_interrupted_as_soon_as_it_came_in(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutex = Mutex(threading.Lock(), lambda: wait_until(lambda: count_gathered(wallet) == 3))
    monkeypatch.setattr(wallet._coalescer, "_mutex", mutex)

    assert_only_one_is_interrupted(wallet, deposits_of_three(wallet))


def test_the_first_of_a_batch_is_interrupted_while_it_waits_for_others(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        monkeypatch.undo()
        wait_until(lambda: count_gathered(wallet) == 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(coalesce, "time", SimpleNamespace(sleep=interrupt))

    assert_only_one_is_interrupted(wallet, deposits_of_three(wallet))


def test_the_first_of_a_batch_is_interrupted_as_soon_as_it_took_it(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gather(_seconds: float) -> None:
        monkeypatch.undo()
        wait_until(lambda: count_gathered(wallet) == 3)
        monkeypatch.setattr(wallet._coalescer, "_mutex", Mutex(threading.Lock()))

    monkeypatch.setattr(coalesce, "time", SimpleNamespace(sleep=gather))

    assert_only_one_is_interrupted(wallet, deposits_of_three(wallet))


def test_the_last_of_a_full_batch_is_interrupted_before_it_sends(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(coalesce, "time", SimpleNamespace(sleep=lambda _: is_over.wait(WAIT_S)))
    monkeypatch.setattr(coalesce, "OPERATIONS_MAX", 3)
    outcomes = [deposit(wallet), deposit(wallet)]
    wait_until(lambda: count_gathered(wallet) == 2)
    monkeypatch.setattr(wallet._coalescer, "_mutex", Mutex(threading.Lock()))

    last = deposit(wallet)
    assert type(last.exception(timeout=WAIT_S)) is KeyboardInterrupt
    is_over.set()

    assert_only_one_is_interrupted(wallet, [*outcomes, last])


def test_the_sender_is_interrupted_while_it_hands_out_answers(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_out = []

    def interrupt_the_second(*operation_and_result: Any) -> Any:
        handed_out.append(operation_and_result)
        if len(handed_out) == 2:
            raise KeyboardInterrupt
        return response_of(*operation_and_result)

    response_of = coalesce.response_of
    monkeypatch.setattr(coalesce, "response_of", interrupt_the_second)
    gather_all(wallet, 3, monkeypatch)

    outcomes = deposits_of_three(wallet)
    for each in outcomes:
        each.exception(timeout=WAIT_S)
    monkeypatch.undo()

    assert_only_one_is_interrupted(wallet, outcomes)


class Woken:
    """A lock by which a thread waits; the first of all to be released is the last."""

    is_interrupted = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.acquire, self.locked = self._lock.acquire, self._lock.locked

    def release(self) -> None:
        self._lock.release()
        if not Woken.is_interrupted:
            Woken.is_interrupted = True
            raise KeyboardInterrupt


def test_the_sender_is_interrupted_while_it_wakes_the_others(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Woken, "is_interrupted", False)
    monkeypatch.setattr(coalesce, "threading", SimpleNamespace(Lock=Woken))
    gather_all(wallet, 3, monkeypatch)

    outcomes = deposits_of_three(wallet)
    answers = [each.result() for each in outcomes if not each.exception(timeout=WAIT_S)]
    assert not any(answer.replayed for answer in answers), "an answered call was sent again"
    monkeypatch.undo()

    assert_only_one_is_interrupted(wallet, outcomes)
