"""Money given back: all or in parts, up to the original and never above it."""

from collections.abc import Callable
from functools import partial

import pytest
from harness.calls import Answer, Caller
from harness.people import People, at_once, hold_of, money_of, rub
from wallet_client.v1.types_pb2 import Transaction
from wallet_client.v1.wallet_admin_service_pb2 import OpenAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    DepositRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WithdrawRequest,
)

MISSING_ID = "00000000-0000-8000-8000-000000000000"
NOT_FOUND = ("NOT_FOUND", "TRANSACTION_NOT_FOUND")
NOT_ALLOWED = ("PERMISSION_DENIED", "NOT_ALLOWED")
EXCEEDS = ("FAILED_PRECONDITION", "REVERSAL_EXCEEDS_ORIGINAL")
NOT_REVERSIBLE = ("FAILED_PRECONDITION", "NOT_REVERSIBLE")

Make = Callable[[People], Transaction]


def reverse(
    caller: Caller, original: Transaction, request_id: str = "r", **fields: object
) -> Answer:
    return caller.send(
        ReverseTransactionRequest(
            transaction_id=original.transaction_id, request_id=request_id, **fields
        )
    )


def transfer(people: People) -> Transaction:
    request = TransferRequest(to_user_id="bob", amount=rub(300), request_id="t")
    return people.alice.send(request).response.transaction


def deposit(people: People) -> Transaction:
    return people.alice.send(DepositRequest(amount=rub(300), request_id="d")).response.transaction


def withdrawal(people: People) -> Transaction:
    return people.alice.send(WithdrawRequest(amount=rub(300), request_id="w")).response.transaction


def capture(people: People) -> Transaction:
    hold = hold_of(people.alice, 300, to_user_id="bob")
    request = CaptureHoldRequest(hold_id=hold.hold_id, request_id="c")
    return people.bob.send(request).response.transaction


def opening(people: People) -> Transaction:
    request = OpenAccountRequest(user_id="alice", request_id="o")
    return people.bank.send(request).response.transaction


def void(people: People) -> Transaction:
    hold = hold_of(people.alice, 300)
    request = VoidHoldRequest(hold_id=hold.hold_id, request_id="v")
    return people.alice.send(request).response.transaction


def reversal(people: People) -> Transaction:
    return reverse(people.bank, transfer(people), "first").response.transaction


def refused_transfer(people: People) -> Transaction:
    request = TransferRequest(to_user_id="bob", amount=rub(5000), request_id="t")
    transaction_id = people.alice.send(request).values["transaction_id"]
    return Transaction(transaction_id=transaction_id)


@pytest.mark.parametrize("make", [transfer, capture, deposit, withdrawal])
@pytest.mark.parametrize("amount", [None, rub(300)], ids=["all", "the sum"])
def test_a_full_reversal_restores_both_sides(people: People, make: Make, amount: object) -> None:
    before = money_of(people, "alice", "bob")
    original = make(people)
    assert money_of(people, "alice", "bob") != before

    answer = reverse(people.bank, original, amount=amount).response.transaction

    assert (answer.kind, answer.state) == (Transaction.KIND_REVERSAL, Transaction.STATE_POSTED)
    assert answer.reversal_of == original.transaction_id
    assert answer.amount.minor_units == 300
    assert (answer.source_user_id, answer.target_user_id) == (
        original.target_user_id,
        original.source_user_id,
    )
    assert money_of(people, "alice", "bob") == before


def test_parts_are_given_back_up_to_the_original_and_never_above(people: People) -> None:
    original = transfer(people)

    parts = [reverse(people.bob, original, f"r{n}", amount=rub(140)) for n in range(3)]
    money = money_of(people, "alice", "bob")
    rest = reverse(people.bob, original, "rest")
    more = reverse(people.bob, original, "more")

    assert [each.code.name for each in parts] == ["OK", "OK", "FAILED_PRECONDITION"]
    assert parts[2].outcome == more.outcome == EXCEEDS
    assert (parts[2].values["remaining"], parts[2].values["required"]) == ("20", "140")
    assert more.values["remaining"] == "0"
    assert money == [(980, 0), (520, 0)]
    assert rest.response.transaction.amount.minor_units == 20
    assert money_of(people, "alice", "bob") == [(1000, 0), (500, 0)]


@pytest.mark.parametrize("make", [transfer, capture])
def test_the_receiver_gives_back_and_the_payer_cannot_take(people: People, make: Make) -> None:
    original = make(people)

    payers = reverse(people.alice, original)
    money = money_of(people, "alice", "bob")
    receivers = reverse(people.bob, original)

    assert payers.outcome == NOT_ALLOWED
    assert money == [(700, 0), (800, 0)]
    assert receivers.response.transaction.entry.amount.minor_units == -300
    assert money_of(people, "alice", "bob") == [(1000, 0), (500, 0)]


@pytest.mark.parametrize("make", [deposit, withdrawal])
def test_a_user_cannot_reverse_what_came_from_or_went_outside(people: People, make: Make) -> None:
    original = make(people)
    money = money_of(people, "alice")

    assert reverse(people.alice, original).outcome == NOT_ALLOWED
    assert money_of(people, "alice") == money


def test_a_strangers_transaction_answers_as_a_missing_one(people: People) -> None:
    original = transfer(people)

    foreign = reverse(people.stranger, original, "foreign")
    missing = reverse(people.stranger, Transaction(transaction_id=MISSING_ID), "missing")

    assert foreign.outcome == missing.outcome == NOT_FOUND
    assert foreign.message == missing.message
    assert foreign.values.keys() == missing.values.keys()
    assert money_of(people, "alice", "bob") == [(700, 0), (800, 0)]


@pytest.mark.parametrize("make", [reversal, opening, void, refused_transfer])
def test_what_moved_nothing_or_was_given_back_itself_is_not_reversed(
    people: People, make: Make
) -> None:
    original = make(people)
    money = money_of(people, "alice", "bob")

    answer = reverse(people.bank, original)

    assert answer.outcome == NOT_REVERSIBLE
    assert money_of(people, "alice", "bob") == money


def test_the_giver_must_have_the_money(people: People) -> None:
    original = transfer(people)
    people.bob.send(WithdrawRequest(amount=rub(700), request_id="w"))

    answer = reverse(people.bob, original)

    assert answer.outcome == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert (answer.values["user_id"], answer.values["shortfall"]) == ("bob", "200")
    assert money_of(people, "alice", "bob") == [(700, 0), (100, 0)]


def test_a_repeated_reversal_gives_back_once(people: People) -> None:
    original = transfer(people)

    first, again = (reverse(people.bob, original, amount=rub(100)) for _ in range(2))
    other = reverse(people.bob, original, amount=rub(200))

    assert (first.response.replayed, again.response.replayed) == (False, True)
    assert first.response.transaction == again.response.transaction
    assert other.outcome == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert money_of(people, "alice", "bob") == [(800, 0), (700, 0)]


def test_a_reversal_in_another_currency_is_refused_and_binds_nothing(people: People) -> None:
    original = transfer(people)

    wrong = reverse(people.bob, original, amount={"currency_code": "USD", "minor_units": 1})
    right = reverse(people.bob, original)

    assert wrong.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert wrong.fields == ["amount.currency_code"]
    assert right.response.replayed is False
    assert money_of(people, "alice", "bob") == [(1000, 0), (500, 0)]


def test_reversals_at_once_never_exceed_the_original(people: People) -> None:
    original = transfer(people)

    answers = at_once(
        [partial(reverse, people.bob, original, f"r{n}", amount=rub(70)) for n in range(16)]
    )

    assert sorted(each.code.name for each in answers) == [
        *["FAILED_PRECONDITION"] * 12,
        *["OK"] * 4,
    ]
    assert {each.outcome for each in answers if each.code.name != "OK"} == {EXCEEDS}
    assert money_of(people, "alice", "bob") == [(980, 0), (520, 0)]
