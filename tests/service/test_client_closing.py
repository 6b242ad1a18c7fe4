"""A client that is closed: calls under way and later ones end, and say what is to be settled."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.calls import accounts_locked, wait_until
from harness.clients import Tokens, gather_all
from harness.processes import ServerProcess, lasting_port
from wallet_client import OutcomeUnknown, Wallet


def told(call: Callable[[], object]) -> OutcomeUnknown:
    with pytest.raises(OutcomeUnknown) as raised:
        call()
    return raised.value


@pytest.mark.parametrize("coalesce", [False, True])
def test_writes_that_a_close_cuts_off_are_of_unknown_outcome_and_not_sent_again(
    database_url: str,
    server_process: ServerProcess,
    monkeypatch: pytest.MonkeyPatch,
    *,
    coalesce: bool,
) -> None:
    tokens, asked = Tokens("alice"), 4 + coalesce  # by each thread, and by the one that sends
    wallet = Wallet(server_process.target, tokens, plaintext=True, timeout_s=60, coalesce=coalesce)
    if coalesce:
        gather_all(wallet, 4, monkeypatch)

    def deposit(request_id: str) -> OutcomeUnknown:
        return told(lambda: wallet.deposit(1, request_id=request_id))

    with ThreadPoolExecutor(4) as pool, accounts_locked(database_url):
        cut_off = [pool.submit(deposit, request_id) for request_id in "abcd"]
        wait_until(lambda: tokens.asked == asked)
        wallet.close()
        errors = [each.result(timeout=30) for each in cut_off]

    assert [error.request_id for error in errors] == ["a", "b", "c", "d"]
    assert tokens.asked == asked
    with Wallet(server_process.target, tokens, plaintext=True) as alice:
        for error in errors:
            alice.deposit(1, request_id=error.request_id)
        assert alice.balance().posted.minor_units == 4


def test_a_write_that_a_close_finds_between_two_tries_is_not_sent_again() -> None:
    asked = 0

    def close_at_the_third_try() -> str:
        nonlocal asked
        asked += 1
        if asked == 3:
            wallet.close()
        return "token"

    wallet = Wallet(f"127.0.0.1:{lasting_port()}", close_at_the_third_try, plaintext=True)

    error = told(lambda: wallet.deposit(1, request_id="mine"))

    assert (str(error), error.request_id) == ("the connection is closed", "mine")
    assert asked == 3


@pytest.mark.parametrize("coalesce", [False, True])
def test_a_closed_client_says_so(server_process: ServerProcess, *, coalesce: bool) -> None:
    wallet = Wallet(server_process.target, Tokens("alice"), plaintext=True, coalesce=coalesce)
    wallet.balance()
    wallet.close()
    wallet.close()

    written = told(lambda: wallet.deposit(1, request_id="late"))
    others = [told(call) for call in (wallet.balance, lambda: next(wallet.watch()))]

    assert {str(error) for error in (written, *others)} == {"the connection is closed"}
    assert [error.request_id for error in (written, *others)] == ["late", "", ""]


def test_a_watch_ends_with_its_client(server_process: ServerProcess) -> None:
    wallet = Wallet(server_process.target, Tokens("alice"), plaintext=True)
    wallet.deposit(1)
    watched = wallet.watch()
    assert next(watched).entry.sequence == 1

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(told, lambda: next(watched))
        wallet.close()
        ended.result(timeout=30)

    with pytest.raises(StopIteration):
        next(watched)


def test_a_watch_that_a_close_finds_between_two_tries_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wallet = Wallet(f"127.0.0.1:{lasting_port()}", Tokens("alice"), plaintext=True)

    def close(_: float, __: float) -> float:
        wallet.close()
        return 0.0

    monkeypatch.setattr(random, "uniform", close)

    assert str(told(lambda: next(wallet.watch()))) == "the connection is closed"


def test_what_else_is_a_value_error_stays_one() -> None:
    def no_token() -> str:
        raise ValueError("no token today")

    wallet = Wallet("127.0.0.1:1", no_token, plaintext=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="no token today"):
            wallet.balance()
        wallet.close()
