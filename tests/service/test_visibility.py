"""Who sees which transaction: its two parties, its maker, services; to others it does not exist."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from harness.calls import Answer, Caller, user
from wallet_client.v1 import types_pb2
from wallet_client.v1.types_pb2 import Money, Transaction
from wallet_client.v1.wallet_admin_service_pb2 import UpdateAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    GetTransactionRequest,
    ReverseTransactionRequest,
    TransferRequest,
    WithdrawRequest,
)

MISSING_ID = "00000000-0000-8000-8000-000000000000"
NOT_FOUND = ("NOT_FOUND", "TRANSACTION_NOT_FOUND")


class Users(NamedTuple):
    alice: Caller
    bob: Caller
    stranger: Caller
    bank: Caller


@pytest.fixture
def users(target: str) -> Iterator[Users]:
    """Callers; alice has 1000 kopecks and bob has 1."""
    with (
        user(target, "alice") as alice,
        user(target, "bob") as bob,
        user(target, "stranger") as stranger,
        user(target, "bank", "wallet:act-for-any") as bank,
    ):
        alice.send(DepositRequest(amount=Money(minor_units=1000), request_id="start"))
        bob.send(DepositRequest(amount=Money(minor_units=1), request_id="start"))
        yield Users(alice, bob, stranger, bank)


def pay_bob(caller: Caller, amount_minor: int) -> Answer:
    return caller.send(
        TransferRequest(
            user_id="alice",
            to_user_id="bob",
            amount=Money(minor_units=amount_minor),
            request_id="pay",
            description="rent",
            metadata={"flat": "7"},
        )
    )


def look(caller: Caller, transaction_id: str) -> Answer:
    return caller.send(GetTransactionRequest(transaction_id=transaction_id))


def look_by_request(caller: Caller, request_id: str) -> Answer:
    return caller.send(GetTransactionRequest(request_id=request_id))


def test_both_parties_see_a_transfer_each_with_their_own_line_only(users: Users) -> None:
    paid = pay_bob(users.alice, 300).response.transaction

    mine = look(users.alice, paid.transaction_id).response.transaction
    theirs = look(users.bob, paid.transaction_id).response.transaction

    assert mine == paid
    assert (mine.entry.amount.minor_units, mine.entry.balance_after.minor_units) == (-300, 700)
    assert (theirs.entry.amount.minor_units, theirs.entry.balance_after.minor_units) == (300, 301)
    assert (mine.entry.sequence, theirs.entry.sequence) == (2, 2)
    assert mine.entry.hash != theirs.entry.hash
    assert (theirs.description, dict(theirs.metadata)) == ("rent", {"flat": "7"})


def test_a_request_id_is_shown_to_its_maker_only(users: Users) -> None:
    by_alice = pay_bob(users.alice, 1).response.transaction
    by_bank = pay_bob(users.bank, 1).response.transaction

    assert look(users.alice, by_alice.transaction_id).response.transaction.request_id == "pay"
    assert look(users.bank, by_bank.transaction_id).response.transaction.request_id == "pay"
    for caller, seen in (
        (users.bob, by_alice),
        (users.bank, by_alice),
        (users.alice, by_bank),
        (users.bob, by_bank),
    ):
        assert look(caller, seen.transaction_id).response.transaction.request_id == ""


def test_a_strangers_transaction_answers_as_a_missing_one(users: Users) -> None:
    paid = pay_bob(users.alice, 300).response.transaction

    foreign = look(users.stranger, paid.transaction_id)
    missing = look(users.stranger, MISSING_ID)

    assert foreign.outcome == missing.outcome == NOT_FOUND
    assert foreign.details == missing.details
    assert foreign.message == missing.message
    assert foreign.trailers.keys() == missing.trailers.keys()


def test_a_deposit_is_hidden_from_all_but_its_owner_and_services(users: Users) -> None:
    deposited = users.alice.send(
        DepositRequest(amount=Money(minor_units=5), request_id="d")
    ).response.transaction

    assert look(users.alice, deposited.transaction_id).response.transaction == deposited
    assert look(users.bank, deposited.transaction_id).code.name == "OK"
    assert look(users.bob, deposited.transaction_id).outcome == NOT_FOUND


def test_a_service_sees_the_payers_line(users: Users) -> None:
    paid = pay_bob(users.alice, 300).response.transaction

    seen = look(users.bank, paid.transaction_id).response.transaction

    assert seen.entry == paid.entry
    assert (seen.source_user_id, seen.target_user_id) == ("alice", "bob")


def test_who_captures_or_reverses_is_shown_their_own_line_and_a_service_the_payers(
    users: Users,
) -> None:
    shown = []
    for name, caller in (("bank", users.bank), ("bob", users.bob)):
        made = users.alice.send(
            CreateHoldRequest(to_user_id="bob", amount=Money(minor_units=30), request_id=name)
        ).response
        taken = caller.send(
            CaptureHoldRequest(hold_id=made.hold.hold_id, request_id=f"{name}/capture")
        ).response.transaction
        back = caller.send(
            ReverseTransactionRequest(
                transaction_id=taken.transaction_id, request_id=f"{name}/reverse"
            )
        ).response.transaction
        shown += [
            (each.entry.amount.minor_units, each.entry.balance_after.minor_units)
            for each in (taken, back)
        ]

    # By the bank: alice pays, bob gives back. By bob: his own line, both times.
    assert shown == [(-30, 970), (-30, 1), (30, 31), (-30, 1)]


def test_a_service_that_lost_its_scope_sees_no_line_of_others(users: Users, target: str) -> None:
    paid = pay_bob(users.bank, 300).response.transaction

    with user(target, "bank") as former:
        seen = look(former, paid.transaction_id).response.transaction

    assert (seen.transaction_id, seen.request_id) == (paid.transaction_id, "pay")
    assert not seen.HasField("entry")


def test_a_refused_transfer_is_invisible_to_its_would_be_receiver(users: Users) -> None:
    refused_id = pay_bob(users.alice, 5000).values["transaction_id"]

    assert look(users.bob, refused_id).outcome == NOT_FOUND
    assert look(users.bob, refused_id).details == look(users.bob, MISSING_ID).details
    assert look(users.stranger, refused_id).outcome == NOT_FOUND
    assert look(users.bank, refused_id).code.name == "OK"
    assert look(users.alice, refused_id).response.transaction.state == Transaction.STATE_REFUSED


def test_a_payer_sees_a_refusal_that_a_service_caused(users: Users) -> None:
    refused_id = pay_bob(users.bank, 5000).values["transaction_id"]

    seen = look(users.alice, refused_id).response.transaction

    assert seen.state == Transaction.STATE_REFUSED
    assert seen.request_id == ""
    assert look(users.bob, refused_id).outcome == NOT_FOUND


def test_a_request_id_finds_the_callers_own_transaction_only(users: Users) -> None:
    paid = pay_bob(users.alice, 300).response.transaction

    assert look_by_request(users.alice, "pay").response.transaction == paid
    for other in (users.bob, users.stranger, users.bank):
        assert look_by_request(other, "pay").outcome == NOT_FOUND
        assert look_by_request(other, "pay").details == look_by_request(other, "none").details


def test_a_request_id_finds_a_refused_request_with_its_reason(users: Users) -> None:
    refused = pay_bob(users.alice, 5000)

    seen = look_by_request(users.alice, "pay").response.transaction

    assert seen.transaction_id == refused.values["transaction_id"]
    assert seen.state == Transaction.STATE_REFUSED
    assert seen.refusal_reason == "INSUFFICIENT_FUNDS"
    assert seen.amount.minor_units == 5000
    assert seen.request_id == "pay"
    assert not seen.HasField("entry")


def test_a_withdrawal_names_no_counterparty(users: Users) -> None:
    taken = users.alice.send(
        WithdrawRequest(amount=Money(minor_units=5), request_id="w")
    ).response.transaction

    seen = look(users.alice, taken.transaction_id).response.transaction

    assert (seen.source_user_id, seen.target_user_id) == ("alice", "")


def test_a_transaction_id_may_be_written_in_upper_case(users: Users) -> None:
    paid = pay_bob(users.alice, 300).response.transaction

    assert look(users.alice, paid.transaction_id.upper()).response.transaction == paid


@pytest.mark.parametrize(
    "text", ["x", MISSING_ID[:-1], f"{MISSING_ID}\n", f"{{{MISSING_ID}}}", "0" * 32, "é" * 36]
)
def test_a_malformed_transaction_id_is_an_invalid_argument(users: Users, text: str) -> None:
    answer = look(users.alice, text)

    assert answer.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert answer.fields == ["transaction_id"]


def test_a_transaction_must_be_named_one_way(users: Users) -> None:
    unnamed = users.alice.send(GetTransactionRequest())
    empty = look_by_request(users.alice, "")

    assert unnamed.outcome == empty.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert unnamed.fields == ["transaction_id"]
    assert empty.fields == ["request_id"]


def test_why_an_operator_changed_an_account_is_hidden_from_its_owner(
    users: Users, target: str
) -> None:
    freeze = UpdateAccountRequest(
        user_id="alice",
        state=types_pb2.ACCOUNT_STATE_FROZEN,
        request_id="freeze",
        description="suspected of fraud",
    )
    with user(target, "operator", "wallet:admin") as operator:
        frozen = operator.send(freeze).response.transaction

        assert look(operator, frozen.transaction_id).outcome == ("OK", "")
        assert look(users.alice, frozen.transaction_id).outcome == NOT_FOUND
