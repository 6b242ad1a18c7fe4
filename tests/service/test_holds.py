"""Money reserved, then captured or released: never more than was reserved, never twice."""

from functools import partial

import pytest
from harness.calls import Answer, Caller
from harness.people import People, at_once, hold_now, hold_of, money_of, rub
from wallet_client.v1.types_pb2 import (
    HOLD_STATE_ACTIVE,
    HOLD_STATE_CAPTURED,
    HOLD_STATE_VOIDED,
    Transaction,
)
from wallet_client.v1.wallet_admin_service_pb2 import UpdateAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    GetTransactionRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
)

NOT_ALLOWED = ("PERMISSION_DENIED", "NOT_ALLOWED")


def refused(reason: str) -> tuple[str, str]:
    return "FAILED_PRECONDITION", reason


def capture(caller: Caller, hold_id: str, request_id: str = "capture", **fields: object) -> Answer:
    return caller.send(CaptureHoldRequest(hold_id=hold_id, request_id=request_id, **fields))


def void(caller: Caller, hold_id: str, request_id: str = "void") -> Answer:
    return caller.send(VoidHoldRequest(hold_id=hold_id, request_id=request_id))


def set_state(people: People, state: str, user_id: str = "alice") -> None:
    request = UpdateAccountRequest(
        user_id=user_id, state=f"ACCOUNT_STATE_{state}", request_id=state
    )
    assert people.bank.send(request).code.name == "OK"


def test_a_hold_reserves_money_and_moves_none(people: People) -> None:
    answer = people.alice.send(
        CreateHoldRequest(
            to_user_id="bob",
            amount=rub(300),
            request_id="h",
            description="taxi",
            metadata={"ride": "7"},
        )
    )

    hold, transaction = answer.response.hold, answer.response.transaction
    assert hold.hold_id == transaction.transaction_id == transaction.hold_id
    assert (hold.user_id, hold.target_user_id) == ("alice", "bob")
    assert (hold.amount.decimal, hold.captured.decimal) == ("3.00", "0.00")
    assert hold.state == HOLD_STATE_ACTIVE
    assert (hold.description, dict(hold.metadata)) == ("taxi", {"ride": "7"})
    assert not hold.HasField("expire_time")
    assert transaction.kind == Transaction.KIND_HOLD
    assert not transaction.HasField("entry")
    assert money_of(people, "alice", "bob") == [(1000, 300), (500, 0)]


@pytest.mark.parametrize(
    ("asked", "after", "money"),
    [
        ({}, (HOLD_STATE_CAPTURED, 300), [(700, 0), (800, 0)]),
        ({"amount": rub(300)}, (HOLD_STATE_CAPTURED, 300), [(700, 0), (800, 0)]),
        ({"amount": rub(100)}, (HOLD_STATE_CAPTURED, 100), [(900, 0), (600, 0)]),
        ({"keep_remainder": True}, (HOLD_STATE_CAPTURED, 300), [(700, 0), (800, 0)]),
        (
            {"amount": rub(100), "keep_remainder": True},
            (HOLD_STATE_ACTIVE, 100),
            [(900, 200), (600, 0)],
        ),
    ],
    ids=["all", "the whole", "a part", "all of it", "a part, keeping the rest"],
)
def test_a_capture_takes_what_was_asked_for(
    people: People, asked: dict[str, object], after: tuple[int, int], money: object
) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    answer = capture(people.bob, hold.hold_id, **asked)

    assert answer.response.transaction.kind == Transaction.KIND_CAPTURE
    assert answer.response.transaction.amount.minor_units == after[1]
    assert answer.response.transaction.entry.amount.minor_units == after[1]
    assert answer.response.hold == hold_now(people, hold)
    hold = answer.response.hold
    assert (hold.state, hold.captured.minor_units) == after
    assert money_of(people, "alice", "bob") == money


def test_captures_use_a_hold_up_to_its_end_and_no_further(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    answers = [
        capture(people.bob, hold.hold_id, f"c{number}", amount=rub(120), keep_remainder=True)
        for number in range(3)
    ]

    assert [each.code.name for each in answers[:2]] == ["OK", "OK"]
    assert answers[2].outcome == refused("CAPTURE_EXCEEDS_HOLD")
    assert {name: answers[2].values[name] for name in ("remaining", "required")} == {
        "remaining": "60",
        "required": "120",
    }
    assert money_of(people, "alice", "bob") == [(760, 60), (740, 0)]


@pytest.mark.parametrize(("to_user_id", "bobs"), [("", 500), ("bob", 800)])
def test_a_hold_without_a_target_is_captured_by_its_payer_to_whom_they_name(
    people: People, to_user_id: str, bobs: int
) -> None:
    hold = hold_of(people.alice, 300)

    answer = capture(people.alice, hold.hold_id, to_user_id=to_user_id)

    assert answer.response.transaction.target_user_id == to_user_id
    assert money_of(people, "alice", "bob") == [(700, 0), (bobs, 0)]


def test_a_void_releases_all_that_is_left(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")
    capture(people.bob, hold.hold_id, amount=rub(100), keep_remainder=True)

    answer = void(people.bob, hold.hold_id)

    assert answer.response.transaction.kind == Transaction.KIND_VOID
    assert not answer.response.transaction.HasField("entry")
    assert answer.response.hold.state == HOLD_STATE_VOIDED
    assert answer.response.hold.captured.minor_units == 100
    assert answer.response.hold.create_time == hold.create_time
    assert money_of(people, "alice", "bob") == [(900, 0), (600, 0)]


def test_what_is_held_cannot_be_spent_or_held_again(people: People) -> None:
    hold_of(people.alice, 300)

    spent = people.alice.send(TransferRequest(to_user_id="bob", amount=rub(701), request_id="t"))
    held = people.alice.send(CreateHoldRequest(amount=rub(701), request_id="h"))

    for answer in (spent, held):
        assert answer.outcome == refused("INSUFFICIENT_FUNDS")
        assert (answer.values["available"], answer.values["shortfall"]) == ("700", "1")
    assert money_of(people, "alice", "bob") == [(1000, 300), (500, 0)]


@pytest.mark.parametrize("resolve", [capture, void])
@pytest.mark.parametrize(("first", "state"), [(capture, "CAPTURED"), (void, "VOIDED")])
def test_a_resolved_hold_cannot_be_used_again(
    people: People, first: object, resolve: object, state: str
) -> None:
    hold = hold_of(people.alice, 300)
    first(people.alice, hold.hold_id)
    money = money_of(people, "alice")

    again = resolve(people.alice, hold.hold_id, "again")

    assert again.outcome == refused("HOLD_NOT_ACTIVE")
    assert again.values["state"] == state
    assert money_of(people, "alice") == money


@pytest.mark.parametrize("resolve", [capture, void])
def test_a_payer_cannot_take_a_consent_back(people: People, resolve: object) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    answer = resolve(people.alice, hold.hold_id)

    assert answer.outcome == NOT_ALLOWED
    assert hold_now(people, hold) == hold
    assert money_of(people, "alice", "bob") == [(1000, 300), (500, 0)]


def test_a_capture_cannot_be_sent_to_another_than_the_holds_target(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    answer = capture(people.bob, hold.hold_id, to_user_id="stranger")

    assert answer.outcome == NOT_ALLOWED
    assert money_of(people, "alice", "bob") == [(1000, 300), (500, 0)]


@pytest.mark.parametrize("receiver", ["bob", ""])
@pytest.mark.parametrize("resolve", [capture, void])
def test_a_service_resolves_any_hold(people: People, resolve: object, receiver: str) -> None:
    hold = hold_of(people.alice, 300, to_user_id=receiver)

    assert resolve(people.bank, hold.hold_id).code.name == "OK"
    assert money_of(people, "alice")[0][1] == 0


@pytest.mark.parametrize("state", ["FROZEN", "NO_DEBITS"])
def test_a_frozen_payers_hold_is_not_captured_but_is_voided(people: People, state: str) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")
    set_state(people, state)

    captured = capture(people.bob, hold.hold_id)
    money = money_of(people, "alice", "bob")
    voided = void(people.bob, hold.hold_id)

    assert captured.outcome == refused("ACCOUNT_FROZEN")
    assert money == [(1000, 300), (500, 0)]
    assert voided.code.name == "OK"
    assert money_of(people, "alice", "bob") == [(1000, 0), (500, 0)]


def test_a_reversal_cannot_take_what_is_held(people: People) -> None:
    paid = people.bob.send(TransferRequest(to_user_id="alice", amount=rub(200), request_id="t"))
    hold = hold_of(people.alice, 1100, to_user_id="bob")
    original_id = paid.response.transaction.transaction_id

    reversal = people.bank.send(
        ReverseTransactionRequest(transaction_id=original_id, request_id="r")
    )
    captured = capture(people.bob, hold.hold_id)

    assert reversal.outcome == refused("INSUFFICIENT_FUNDS")
    assert captured.code.name == "OK"
    assert money_of(people, "alice", "bob") == [(100, 0), (1400, 0)]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"to_user_id": "nobody"}, ("NOT_FOUND", "ACCOUNT_NOT_FOUND")),
        ({"amount": rub(301)}, refused("CAPTURE_EXCEEDS_HOLD")),
    ],
)
def test_a_refused_capture_is_recorded_and_leaves_the_hold(
    people: People, asked: dict[str, object], reason: tuple[str, str]
) -> None:
    hold = hold_of(people.alice, 300)

    answers = [capture(people.alice, hold.hold_id, **asked) for _ in range(2)]

    assert [each.outcome for each in answers] == [reason] * 2
    assert [each.is_marked_replayed for each in answers] == [False, True]
    recorded = people.alice.send(GetTransactionRequest(request_id="capture")).response.transaction
    assert (recorded.kind, recorded.refusal_reason) == (Transaction.KIND_CAPTURE, reason[1])
    assert hold_now(people, hold) == hold
    assert money_of(people, "alice") == [(1000, 300)]


def test_a_repeated_capture_takes_once(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    first, again = (
        capture(people.bob, hold.hold_id, amount=rub(100), keep_remainder=True) for _ in range(2)
    )
    other = capture(people.bob, hold.hold_id, amount=rub(101), keep_remainder=True)

    assert (first.response.replayed, again.response.replayed) == (False, True)
    assert again.response.transaction == first.response.transaction
    assert other.outcome == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert other.values["fields"] == "amount"
    assert money_of(people, "alice", "bob") == [(900, 200), (600, 0)]


def test_of_captures_and_voids_at_once_one_wins(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")
    calls = [
        partial((capture, void)[number % 2], people.bob, hold.hold_id, f"r{number}")
        for number in range(16)
    ]

    answers = at_once(calls)

    winners = [each for each in answers if each.code.name == "OK"]
    assert len(winners) == 1
    assert {each.outcome for each in answers if each not in winners} == {refused("HOLD_NOT_ACTIVE")}
    was_captured = winners[0].response.transaction.kind == Transaction.KIND_CAPTURE
    moved = 300 if was_captured else 0
    assert money_of(people, "alice", "bob") == [(1000 - moved, 0), (500 + moved, 0)]
