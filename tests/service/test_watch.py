"""Live history: every line once and in order, begun and resumed anywhere."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from harness.calls import Caller, balances_of, serving, user, wait_until
from harness.people import People, hold_of, rub
from harness.stored import deposit_many
from wallet_client.v1.types_pb2 import Transaction
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    DepositRequest,
    GetBalanceRequest,
    ListTransactionsRequest,
    TransferRequest,
    WithdrawRequest,
)

OLDEST = ListTransactionsRequest.ORDER_OLDEST_FIRST


@pytest.fixture
def alice_raw(target: str) -> Iterator[Caller]:
    with user(target, "alice") as caller:
        yield caller


def sequences(transactions: list[Transaction]) -> list[int]:
    return [each.entry.sequence for each in transactions]


def deposit(caller: Caller, number: int) -> None:
    answer = caller.send(DepositRequest(amount=rub(number), request_id=f"d{number}"))
    assert answer.code is grpc.StatusCode.OK


@pytest.mark.parametrize("after", [0, 1, 255, 256, 599])
def test_a_stream_begins_after_any_sequence_and_misses_nothing(
    database_url: str, alice_raw: Caller, after: int
) -> None:
    deposit_many(database_url, "alice", 600)

    with alice_raw.watch(after_sequence=after) as stream:
        seen = stream.take(600 - after)

        assert sequences(seen) == list(range(after + 1, 601))
        assert stream.is_open


def test_a_watched_transaction_is_the_one_that_is_listed(people: People) -> None:
    with people.alice.watch() as stream:
        people.bank.send(
            TransferRequest(
                user_id="bob", to_user_id="alice", amount=rub(5), request_id="t", description="tea"
            )
        )
        hold = hold_of(people.alice, 9)
        people.alice.send(CaptureHoldRequest(hold_id=hold.hold_id, request_id="c"))
        seen = stream.take(3)

    listed = people.alice.send(ListTransactionsRequest(order=OLDEST)).response.transactions
    assert seen == list(listed)
    assert [each.entry.amount.minor_units for each in seen] == [1000, 5, -9]
    assert [each.request_id for each in seen] == ["start", "", "c"]


def test_what_another_client_does_is_sent_as_it_is_committed(people: People) -> None:
    with people.alice.watch(after_sequence=1) as stream:
        for number in range(1, 6):
            people.bob.send(
                TransferRequest(to_user_id="alice", amount=rub(number), request_id=f"t{number}")
            )
            (seen,) = stream.take(1)
            assert (seen.entry.sequence, seen.amount.minor_units) == (number + 1, number)
            assert seen.source_user_id == "bob"


def test_a_refused_request_and_another_account_send_nothing(people: People) -> None:
    with people.alice.watch(after_sequence=1) as stream:
        refused = people.alice.send(WithdrawRequest(amount=rub(5000), request_id="w"))
        people.alice.send(
            DepositRequest(amount={"currency_code": "USD", "minor_units": 1}, request_id="usd")
        )
        deposit(people.bob, 3)
        deposit(people.alice, 7)

        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert stream.take(1)[0].amount.minor_units == 7


def test_an_account_is_watched_before_it_is_opened(alice_raw: Caller) -> None:
    with alice_raw.watch() as stream:
        deposit(alice_raw, 4)

        assert sequences(stream.take(1)) == [1]


def test_a_stream_may_be_broken_off_and_resumed_anywhere_under_load(alice_raw: Caller) -> None:
    count = 300
    writer = threading.Thread(
        target=lambda: [deposit(alice_raw, number) for number in range(1, count + 1)]
    )
    writer.start()
    seen: list[int] = []
    while len(seen) < count:
        with alice_raw.watch(after_sequence=len(seen)) as stream:
            seen += sequences(stream.take(min(17, count - len(seen))))
    writer.join()

    assert seen == list(range(1, count + 1))


def test_a_slow_reader_gets_thousands_of_events_once_each(
    database_url: str, alice_raw: Caller
) -> None:
    count = 5000
    with alice_raw.watch() as stream:
        deposit_many(database_url, "alice", 2000)
        first = stream.take(1)
        deposit_more(alice_raw, database_url)
        rest = stream.take(count - 1)

    assert sequences(first + rest) == list(range(1, count + 1))
    assert [each.entry.balance_after.minor_units for each in rest[-1:]] == [balance(alice_raw)]


def deposit_more(caller: Caller, database_url: str) -> None:
    """Let the history of 2000 grow to 5000 while nobody reads."""
    deposit_many(database_url, "alice", 5000)
    wait_until(lambda: balances_of(caller, "alice")["alice", "RUB"][1] == 5000)


def balance(caller: Caller) -> int:
    posted: int = caller.send(GetBalanceRequest()).response.balance.posted.minor_units
    return posted


def test_several_streams_each_get_everything(people: People) -> None:
    with ExitStack() as stack:
        streams = [
            stack.enter_context(caller.watch(user_id="alice"))
            for caller in (people.alice, people.alice, people.bank)
        ]
        for number in range(1, 31):
            deposit(people.alice, number)

        assert [sequences(each.take(31)) for each in streams] == [list(range(1, 32))] * 3


def test_two_servers_send_what_either_commits(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, tmp_path) as one,
        serving(database_url, tmp_path) as other,
        user(one.target, "alice") as here,
        user(other.target, "alice") as there,
        here.watch() as stream,
    ):
        for number in range(1, 21):
            deposit((here, there)[number % 2], number)

        assert sequences(stream.take(20)) == list(range(1, 21))


@pytest.mark.parametrize("user_id", ["bob", "nobody"])
def test_another_users_account_is_not_to_be_watched(people: People, user_id: str) -> None:
    with people.alice.watch(user_id=user_id) as stream:
        ended = stream.end()

    assert ended.outcome == ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert ended.values == {"scope": "wallet:act-for-any"}
