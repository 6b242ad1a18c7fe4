"""The client class: retries that cannot pay twice, pages, watching."""

import inspect
import itertools
import math
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import wallet_client
from harness.calls import accounts_locked, serving, user, wait_until
from harness.clients import Tokens
from harness.processes import lasting_port
from harness.stored import deposit_many, run_commands
from harness.tokens import service_token, token
from wallet_client import TooManyStreams, Wallet
from wallet_client.v1.types_pb2 import Money, Transaction
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    WatchTransactionsRequest,
    WatchTransactionsResponse,
)
from wallet_client.v1.wallet_service_pb2_grpc import (
    WalletServiceServicer,
    add_WalletServiceServicer_to_server,
)

from wallet_service.ledger.commands import AccountKey, Deposit
from wallet_service.settings import Settings


def free_address() -> str:
    """Name an address that nobody listens on."""
    return f"127.0.0.1:{lasting_port()}"


def test_a_client_waits_for_its_server_and_keeps_its_request_id(
    database_url: str, tmp_path: Path
) -> None:
    address, tokens = free_address(), Tokens("alice")
    with (
        Wallet(address, tokens, plaintext=True, attempts_max=100) as alice,
        ThreadPoolExecutor(1) as pool,
    ):
        deposit = pool.submit(alice.deposit, 100, request_id="kept")
        wait_until(lambda: tokens.asked > 2)
        with serving(database_url, tmp_path, listen=address):
            deposited = deposit.result(timeout=30)

            assert deposited.transaction.request_id == "kept"
            assert alice.balance().posted.minor_units == 100
            assert alice.balance().sequence == 1


def test_a_client_outlives_a_restart_of_its_server(database_url: str, tmp_path: Path) -> None:
    address, tokens = free_address(), Tokens("alice")
    with Wallet(address, tokens, plaintext=True, attempts_max=100) as alice:
        with serving(database_url, tmp_path, listen=address):
            alice.deposit(100, request_id="before")
            asked = tokens.asked
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(alice.deposit, 100, request_id="before")
            wait_until(lambda: tokens.asked > asked + 1)
            with serving(database_url, tmp_path, listen=address):
                assert again.result(timeout=30).replayed
                assert alice.balance().posted.minor_units == 100


def test_tries_that_ran_out_of_time_take_effect_once(database_url: str, target: str) -> None:
    tokens = Tokens("alice")
    with Wallet(target, tokens, plaintext=True, timeout_s=0.2, attempts_max=100) as alice:
        with ThreadPoolExecutor(1) as pool:
            with accounts_locked(database_url):
                deposit = pool.submit(alice.deposit, 100)
                wait_until(lambda: tokens.asked > 2)
            deposited = deposit.result(timeout=30)

        (recorded,) = alice.transactions()
        assert recorded == deposited.transaction
        assert alice.balance().posted.minor_units == 100


def test_a_client_gives_up_with_the_request_id_to_settle_it_by() -> None:
    tokens = Tokens("alice")
    with Wallet(free_address(), tokens, plaintext=True, attempts_max=3) as alice:
        with pytest.raises(wallet_client.Undecided) as named:
            alice.deposit(100, request_id="mine")
        with pytest.raises(wallet_client.Undecided) as made:
            alice.transfer("bob", 100)

    assert named.value.code is made.value.code is grpc.StatusCode.UNAVAILABLE
    assert named.value.request_id == "mine"
    assert len(made.value.request_id) == 36
    assert tokens.asked == 6


def test_a_write_that_ran_out_of_tries_and_time_is_of_unknown_outcome(
    database_url: str, target: str
) -> None:
    with (
        Wallet(target, token("alice"), plaintext=True, timeout_s=0.1, attempts_max=2) as alice,
        accounts_locked(database_url),
        pytest.raises(wallet_client.OutcomeUnknown) as unknown,
    ):
        alice.deposit(100, request_id="mine")

    assert unknown.value.request_id == "mine"
    with Wallet(target, token("alice"), plaintext=True) as alice:
        alice.deposit(100, request_id="mine")
        assert alice.balance().posted.minor_units == 100


def test_a_made_request_id_is_an_ordered_uuid(alice: Wallet) -> None:
    ids = [alice.deposit(1).transaction.request_id for _ in range(3)]

    assert {request_id[14] for request_id in ids} == {"7"}
    assert ids == sorted(ids)


def test_a_refusal_is_not_tried_again(target: str) -> None:
    tokens = Tokens("alice")
    with Wallet(target, tokens, plaintext=True) as alice:
        with pytest.raises(wallet_client.Refused) as refused:
            alice.withdraw(1)

        assert tokens.asked == 1
        recorded = alice.transaction(transaction_id=refused.value.transaction_id)
        assert recorded.state == Transaction.STATE_REFUSED


@pytest.mark.parametrize("oldest_first", [True, False])
def test_a_history_is_read_across_pages(
    database_url: str, alice: Wallet, *, oldest_first: bool
) -> None:
    deposit_many(database_url, "alice", 11)

    walk = alice.transactions(page_size=3, oldest_first=oldest_first)

    sequences = [line.entry.sequence for line in walk]
    assert sequences == sorted(range(1, 12), reverse=not oldest_first)


def test_a_service_acts_for_a_user_by_name(target: str) -> None:
    with Wallet(target, service_token(), plaintext=True) as service:
        service.open_account("bob")
        service.deposit(100, user_id="alice")
        service.transfer("bob", 30, user_id="alice")
        service.withdraw(20, user_id="alice")

        assert service.balance(user_id="alice").posted.minor_units == 50
        assert [each.posted.minor_units for each in service.balances(user_id="bob")] == [30]
        assert len(list(service.transactions(user_id="alice"))) == 3


def test_a_token_may_end_with_the_line_of_its_file(target: str) -> None:
    with Wallet(target, token("alice") + "\n", plaintext=True) as alice:
        assert alice.balance().user_id == "alice"


@pytest.mark.parametrize("made", [b"bytes", None])
def test_a_token_is_text(target: str, made: Any) -> None:
    with (
        Wallet(target, lambda: made, plaintext=True) as alice,
        pytest.raises(TypeError, match="token: must be text, not"),
    ):
        alice.balance()


@pytest.mark.parametrize("timeout_s", [0, -1.0, math.inf, math.nan])
def test_a_deadline_is_a_number_of_seconds(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Wallet(free_address(), token("alice"), plaintext=True, timeout_s=timeout_s)


def test_a_client_waits_longer_than_a_server_tries() -> None:
    timeout_s = inspect.signature(Wallet).parameters["timeout_s"].default

    assert timeout_s * 1000 > Settings.model_fields["batch_timeout_ms"].default


def test_a_balance_is_asked_for_at_one_moment(alice: Wallet) -> None:
    with pytest.raises(ValueError, match="as_of_sequence"):
        alice.balance(as_of_time=datetime.now(UTC), as_of_sequence=1)


def test_a_transaction_is_asked_for_by_one_id(alice: Wallet) -> None:
    with pytest.raises(ValueError, match="transaction_id or request_id"):
        alice.transaction(transaction_id="one", request_id="another")


@pytest.mark.parametrize("name", ["as_of_time", "start_time", "end_time"])
def test_a_time_of_no_zone_is_not_guessed(alice: Wallet, name: str) -> None:
    ask: Any = alice.balance if name == "as_of_time" else alice.transactions
    with pytest.raises(ValueError, match=f"{name}: needs a time zone"):
        ask(**{name: datetime(2026, 11, 26)})  # noqa: DTZ001


def test_a_filter_that_there_is_none_of_is_told(alice: Wallet) -> None:
    wrong: Any = {"amount_min": 1, "kind": []}
    with pytest.raises(TypeError, match="no such filters: amount_min, kind"):
        alice.transactions(**wrong)


def test_an_option_that_there_is_none_of_is_told_and_moves_nothing(alice: Wallet) -> None:
    wrong: Any = {"reference": "order 7"}
    for call in (lambda: alice.deposit(1, **wrong), lambda: alice.void_hold("h", **wrong)):
        with pytest.raises(TypeError, match="no such options: reference"):
            call()
    assert alice.balance().posted.minor_units == 0


def test_a_batch_may_come_from_a_generator(alice: Wallet) -> None:
    deposits = (DepositRequest(amount=Money(minor_units=each)) for each in (1, 2))

    answered = alice.execute(deposits, atomic=True)

    assert len(answered.results) == 2
    assert alice.balance().posted.minor_units == 3


def test_one_client_serves_many_threads(target: str) -> None:
    together = threading.Barrier(8)
    with Wallet(target, token("alice"), plaintext=True) as alice:

        def deposit(_number: int) -> None:
            together.wait(timeout=20)
            alice.deposit(1)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(deposit, range(8)))

        assert alice.balance().posted.minor_units == 8


def test_a_watch_that_was_served_waits_for_room_elsewhere(
    database_url: str, tmp_path: Path
) -> None:
    address, tokens = free_address(), Tokens("alice")
    one_stream = {"listen": address, "streams_per_caller_max": 1}
    with (
        ThreadPoolExecutor(1) as pool,
        Wallet(address, tokens, plaintext=True, attempts_max=2) as alice,
    ):
        with serving(database_url, tmp_path, **one_stream):
            alice.deposit(1)
            watched = alice.watch()
            assert next(watched).entry.sequence == 1
            with pytest.raises(TooManyStreams):
                next(alice.watch())
        with (
            serving(database_url, tmp_path, **one_stream),
            user(address, "alice") as other,
            other.watch() as stream,
        ):
            stream.take(1)
            asked = tokens.asked
            resumed = pool.submit(next, watched)
            wait_until(lambda: tokens.asked > asked + 6)
            stream.cancel()
            other.send(DepositRequest(amount=Money(minor_units=2), request_id="two"))
            assert resumed.result(timeout=30).entry.sequence == 2


def test_a_full_page_with_long_labels_is_read(database_url: str, alice: Wallet) -> None:
    labels = {f"{number:02}": "x" * 256 for number in range(32)}
    deposits = [
        Deposit(
            caller="alice",
            request_id=f"d{number}",
            target=AccountKey("alice", "RUB"),
            amount_minor=1,
            metadata=labels,
        )
        for number in range(1000)
    ]
    run_commands(database_url, deposits)

    lines = list(alice.transactions(page_size=1000))

    assert [line.entry.sequence for line in lines] == list(range(1000, 0, -1))
    assert {len(line.metadata) for line in lines} == {32}


class _Gone(WalletServiceServicer):
    """Breaks every stream off; from some stream on, only after a sign of life."""

    def __init__(self, streams_silent: int) -> None:
        self._streams_silent = streams_silent
        self._streams = itertools.count()

    def WatchTransactions(  # noqa: N802 (the contract's name)
        self, _: WatchTransactionsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchTransactionsResponse]:
        if next(self._streams) >= self._streams_silent:
            yield WatchTransactionsResponse(heartbeat={})
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def pauses_of_a_watch(servicer: _Gone, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Watch a server that breaks off; return the longest that each of some pauses could be."""
    pauses: list[float] = []

    def no_pause(_: float, longest_s: float) -> float:
        pauses.append(longest_s)
        if len(pauses) == count:
            raise StopIteration
        return 0.0

    monkeypatch.setattr(random, "uniform", no_pause)
    server = grpc.server(ThreadPoolExecutor(1))
    add_WalletServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with (
        Wallet(f"127.0.0.1:{port}", token("alice"), plaintext=True) as alice,
        pytest.raises(RuntimeError, match="StopIteration"),
    ):
        next(alice.watch())
    server.stop(None).wait()
    return pauses


def test_a_watch_tries_again_a_thousand_times_and_never_waits_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses = pauses_of_a_watch(_Gone(streams_silent=2000), 1100, monkeypatch)

    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[10:] == [5.0] * 1090


def test_a_sign_of_life_makes_a_watch_try_again_as_soon_as_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses = pauses_of_a_watch(_Gone(streams_silent=3), 6, monkeypatch)

    assert pauses == [0.1, 0.2, 0.4, 0.1, 0.1, 0.1]
