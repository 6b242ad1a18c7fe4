"""What operators set on accounts: what they may do, and how far they may be overdrawn."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.calls import Answer, serving
from harness.people import People, hold_of, money_of, people_of, rub
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    OpenAccountRequest,
    UpdateAccountRequest,
)
from wallet_client.v1.wallet_service_pb2 import (
    CreateHoldRequest,
    DepositRequest,
    TransferRequest,
    WithdrawRequest,
)

FROZEN = ("FAILED_PRECONDITION", "ACCOUNT_FROZEN")
CLOSED = ("FAILED_PRECONDITION", "ACCOUNT_CLOSED")
NOT_EMPTY = ("FAILED_PRECONDITION", "ACCOUNT_NOT_EMPTY")
OK = ("OK", "")
ONE = rub(1)


def update(people: People, user_id: str = "alice", **fields: object) -> Answer:
    """Change an account, under an id made of what is asked."""
    given = {"request_id": str(hash(str(fields))), "user_id": user_id, **fields}
    return people.bank.send(UpdateAccountRequest(**given))


def set_state(people: People, state: str) -> Answer:
    return update(people, state=f"ACCOUNT_STATE_{state}")


def spend(people: People) -> list[Answer]:
    """Let alice spend in every way."""
    return [
        people.alice.send(TransferRequest(to_user_id="bob", amount=ONE, request_id="spend-t")),
        people.alice.send(WithdrawRequest(amount=ONE, request_id="spend-w")),
        people.alice.send(CreateHoldRequest(amount=ONE, request_id="spend-h")),
    ]


def receive(people: People) -> list[Answer]:
    """Let alice receive in every way."""
    return [
        people.bob.send(TransferRequest(to_user_id="alice", amount=ONE, request_id="receive-t")),
        people.alice.send(DepositRequest(amount=ONE, request_id="receive-d")),
        people.bob.send(CreateHoldRequest(to_user_id="alice", amount=ONE, request_id="receive-h")),
    ]


@pytest.mark.parametrize("way", [spend, receive])
@pytest.mark.parametrize(
    ("state", "blocked"),
    [
        ("ACTIVE", ()),
        ("NO_DEBITS", (spend,)),
        ("NO_CREDITS", (receive,)),
        ("FROZEN", (spend, receive)),
    ],
)
def test_a_state_stops_what_it_says_and_nothing_else(
    people: People,
    state: str,
    blocked: tuple[object, ...],
    way: Callable[[People], list[Answer]],
) -> None:
    assert set_state(people, state).outcome == OK
    before = money_of(people, "alice", "bob")

    answers = way(people)

    assert {each.outcome for each in answers} == {FROZEN if way in blocked else OK}
    if way in blocked:
        assert {each.values["state"] for each in answers} == {state}
        assert money_of(people, "alice", "bob") == before


@pytest.mark.parametrize("way", [spend, receive])
def test_a_closed_account_neither_pays_nor_receives_until_it_is_reopened(
    people: People, way: Callable[[People], list[Answer]]
) -> None:
    people.alice.send(WithdrawRequest(amount=rub(1000), request_id="empty"))
    closed = set_state(people, "CLOSED")
    answers = way(people)
    opening = people.bank.send(OpenAccountRequest(user_id="alice", request_id="open"))
    money = money_of(people, "alice", "bob")
    reopened = set_state(people, "ACTIVE")

    assert closed.response.account.balance.state == types_pb2.ACCOUNT_STATE_CLOSED
    assert {each.outcome for each in [*answers, opening]} == {CLOSED}
    assert money == [(0, 0), (500, 0)]
    assert reopened.outcome == OK
    deposit = DepositRequest(amount=ONE, request_id="later")
    assert people.alice.send(deposit).outcome == OK


@pytest.mark.parametrize("has_hold", [True, False])
def test_an_account_with_money_or_holds_is_not_closed(
    people: People,
    has_hold: bool,  # noqa: FBT001 (the case)
) -> None:
    if has_hold:
        update(people, min_balance=rub(-50))
        people.alice.send(WithdrawRequest(amount=rub(1000), request_id="empty"))
        hold_of(people.alice, 50)
    before = money_of(people, "alice")

    answer = set_state(people, "CLOSED")

    assert answer.outcome == NOT_EMPTY
    assert money_of(people, "alice") == before
    account = people.bank.send(GetAccountRequest(user_id="alice")).response.account
    assert account.balance.state == types_pb2.ACCOUNT_STATE_ACTIVE


def test_an_agreed_overdraft_is_spent_to_its_end_and_not_beyond(people: People) -> None:
    update(people, min_balance=rub(-200))

    first = people.alice.send(WithdrawRequest(amount=rub(1150), request_id="a"))
    beyond = people.alice.send(WithdrawRequest(amount=rub(51), request_id="b"))
    money = money_of(people, "alice")
    last = people.alice.send(TransferRequest(to_user_id="bob", amount=rub(50), request_id="c"))

    assert first.response.transaction.entry.balance_after.minor_units == -150
    assert beyond.outcome == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert (beyond.values["available"], beyond.values["shortfall"]) == ("-150", "1")
    assert money == [(-150, 0)]
    assert last.outcome == OK
    assert money_of(people, "alice") == [(-200, 0)]


@pytest.mark.parametrize(("min_balance", "held"), [(0, 0), (-49, 0), (-49, 40)])
def test_a_minimum_above_what_is_available_is_refused(
    people: People, min_balance: int, held: int
) -> None:
    update(people, min_balance=rub(-100))
    people.alice.send(WithdrawRequest(amount=rub(1050 - held), request_id="w"))
    if held:
        hold_of(people.alice, held)
    before = money_of(people, "alice")

    answer = update(people, min_balance=rub(min_balance))

    assert answer.outcome == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    account = people.bank.send(GetAccountRequest(user_id="alice")).response.account
    assert account.balance.min_balance.minor_units == -100
    assert money_of(people, "alice") == before


def test_what_is_not_named_stays(people: People) -> None:
    limits = {"limits": [{"window": "WINDOW_CALENDAR_DAY", "max_count": 7}]}
    update(people, min_balance=rub(-5), limits=limits)

    frozen = set_state(people, "FROZEN").response.account
    freed = update(people, limits={}, state="ACCOUNT_STATE_ACTIVE").response.account

    assert frozen.balance.min_balance.minor_units == -5
    assert [each.max_count for each in frozen.limits] == [7]
    assert freed.balance.min_balance.minor_units == -5
    assert list(freed.limits) == []


def test_a_repeated_change_is_made_once(people: People) -> None:
    first = update(people, min_balance=rub(-5), request_id="u")
    update(people, min_balance=rub(-9), request_id="later")

    again = update(people, min_balance=rub(-5), request_id="u")
    other = update(people, min_balance=rub(-6), request_id="u")

    assert (first.response.replayed, again.response.replayed) == (False, True)
    assert again.response.transaction == first.response.transaction
    assert again.response.account.balance.min_balance.minor_units == -9
    assert other.outcome == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert other.values["fields"] == "min_balance"


def test_an_account_nobody_opened_cannot_be_changed(people: People) -> None:
    answer = update(people, "nobody", state="ACCOUNT_STATE_FROZEN")

    assert answer.outcome == ("NOT_FOUND", "ACCOUNT_NOT_FOUND")
    missing = people.bank.send(GetAccountRequest(user_id="nobody"))
    assert missing.outcome == ("NOT_FOUND", "ACCOUNT_NOT_FOUND")


def test_a_change_that_cannot_be_shown_is_not_called_undone(
    database_url: str, tmp_path: Path
) -> None:
    change = UpdateAccountRequest(
        user_id="alice", state="ACCOUNT_STATE_FROZEN", request_id="freeze"
    )
    opening = OpenAccountRequest(user_id="carol", request_id="open")
    with (
        serving(database_url, tmp_path, reader_pool_size=1) as wallet,
        people_of(wallet.target) as people,
    ):
        with wallet.database.reader.connect():
            unread = [people.bank.send(request) for request in (change, opening)]
        again = [people.bank.send(request) for request in (change, opening)]

    assert [each.outcome for each in unread] == [("UNAVAILABLE", "OUTCOME_UNKNOWN")] * 2
    assert [each.response.replayed for each in again] == [True, True]
