"""Spending limits: what is left of them, when it comes back, and what counts as spent."""

from datetime import UTC, datetime, timedelta

import pytest
from harness.calls import Answer
from harness.people import People, hold_of, money_of, rub
from wallet_client.v1.types_pb2 import SpendingLimit
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    OpenAccountRequest,
    UpdateAccountRequest,
)
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WithdrawRequest,
)

EXCEEDED = ("FAILED_PRECONDITION", "LIMIT_EXCEEDED")
OK = ("OK", "")
ADDING_UP = [
    name.removeprefix("WINDOW_")
    for name, number in SpendingLimit.Window.items()
    if number > SpendingLimit.WINDOW_TRANSACTION
]


def limit(people: People, window: str, **caps: object) -> None:
    limits = {"limits": [{"window": f"WINDOW_{window}", **caps}]}
    request = UpdateAccountRequest(user_id="alice", limits=limits, request_id=f"limit-{window}")
    assert people.bank.send(request).outcome == OK


def pay(people: People, amount_minor: int, request_id: str) -> Answer:
    request = TransferRequest(to_user_id="bob", amount=rub(amount_minor), request_id=request_id)
    return people.alice.send(request)


@pytest.mark.parametrize("window", ADDING_UP)
def test_a_limit_of_money_adds_up_over_its_window(people: People, window: str) -> None:
    limit(people, window, max_amount=rub(300))

    answers = [pay(people, amount, f"p{amount}") for amount in (200, 101, 100, 1)]

    assert [each.outcome for each in answers] == [OK, EXCEEDED, OK, EXCEEDED]
    values = answers[1].values
    expected = {
        "user_id": "alice",
        "currency_code": "RUB",
        "window": window,
        "limited": "amount",
        "limit": "300",
        "remaining": "100",
        "required": "101",
    }
    assert {name: values[name] for name in expected} == expected
    assert answers[3].values["remaining"] == "0"
    assert money_of(people, "alice", "bob") == [(700, 0), (800, 0)]


@pytest.mark.parametrize("window", ADDING_UP)
def test_a_limit_of_number_counts_debits(people: People, window: str) -> None:
    limit(people, window, max_count=2)

    answers = [pay(people, 1, f"p{number}") for number in range(3)]

    assert [each.outcome for each in answers] == [OK, OK, EXCEEDED]
    told = {name: answers[2].values[name] for name in ("limited", "limit", "remaining", "required")}
    assert told == {"limited": "count", "limit": "2", "remaining": "0", "required": "1"}
    assert money_of(people, "alice", "bob") == [(998, 0), (502, 0)]


@pytest.mark.parametrize(
    ("window", "days_max"),
    [
        ("ROLLING_DAY", 1),
        ("ROLLING_WEEK", 7),
        ("ROLLING_MONTH", 30),
        ("CALENDAR_DAY", 1),
        ("CALENDAR_WEEK", 7),
        ("CALENDAR_MONTH", 31),
    ],
)
def test_a_limit_says_when_room_comes_back(people: People, window: str, days_max: int) -> None:
    limits = {"limits": [{"window": f"WINDOW_{window}", "max_amount": rub(10)}]}
    settings = {"user_id": "carol", "min_balance": rub(-100), "limits": limits}
    people.bank.send(OpenAccountRequest(user_id="carol", request_id="o"))
    people.bank.send(UpdateAccountRequest(request_id="u", **settings))
    first, second = (
        people.bank.send(WithdrawRequest(user_id="carol", amount=rub(10), request_id=request_id))
        for request_id in ("first", "second")
    )

    reset = datetime.fromisoformat(second.values["reset_time"])
    assert timedelta() < reset - datetime.now(UTC) <= timedelta(days=days_max)
    if window.startswith("ROLLING"):
        spent_at = first.response.transaction.create_time.ToDatetime(UTC)
        # A window includes its first moment, so room is there in the next.
        assert reset == spent_at + timedelta(days=days_max, microseconds=1)
    else:
        assert (reset.hour, reset.minute, reset.second, reset.microsecond) == (0, 0, 0, 0)
        assert window != "CALENDAR_WEEK" or reset.weekday() == 0
        assert window != "CALENDAR_MONTH" or reset.day == 1
    assert money_of(people, "carol") == [(-10, 0)]


def test_a_limit_per_transaction_does_not_add_up(people: People) -> None:
    limit(people, "TRANSACTION", max_amount=rub(100))

    answers = [pay(people, amount, f"p{number}") for number, amount in enumerate((100, 101, 100))]

    assert [each.outcome for each in answers] == [OK, EXCEEDED, OK]
    assert answers[1].values["reset_time"] == ""
    assert answers[1].values["remaining"] == "100"
    assert money_of(people, "alice") == [(800, 0)]


def test_all_that_leaves_counts_and_what_enters_does_not(people: People) -> None:
    limit(people, "ROLLING_DAY", max_amount=rub(300))
    people.alice.send(DepositRequest(amount=rub(5000), request_id="d"))
    people.alice.send(WithdrawRequest(amount=rub(100), request_id="w"))
    pay(people, 50, "p")
    hold = hold_of(people.alice, 120, to_user_id="bob")

    before = people.alice.send(CreateHoldRequest(amount=rub(31), request_id="h"))
    people.bob.send(CaptureHoldRequest(hold_id=hold.hold_id, request_id="c"))
    after = pay(people, 31, "after")

    assert before.outcome == after.outcome == EXCEEDED
    assert before.values["remaining"] == after.values["remaining"] == "30"
    assert money_of(people, "alice", "bob") == [(5730, 0), (670, 0)]


def test_a_voided_hold_gives_its_room_back(people: People) -> None:
    limit(people, "ROLLING_DAY", max_amount=rub(300), max_count=1)
    hold = hold_of(people.alice, 300)
    full = pay(people, 1, "full")
    people.alice.send(VoidHoldRequest(hold_id=hold.hold_id, request_id="v"))

    assert full.outcome == EXCEEDED
    assert pay(people, 300, "room").outcome == OK
    assert money_of(people, "alice", "bob") == [(700, 0), (800, 0)]


def test_a_reversal_gives_the_room_back(people: People) -> None:
    limit(people, "CALENDAR_MONTH", max_amount=rub(300))
    paid = pay(people, 300, "p").response.transaction
    request = ReverseTransactionRequest(
        transaction_id=paid.transaction_id, amount=rub(120), request_id="r"
    )
    people.bob.send(request)

    answers = [pay(people, amount, f"p{amount}") for amount in (121, 120)]

    assert [each.outcome for each in answers] == [EXCEEDED, OK]
    assert answers[0].values["remaining"] == "120"
    assert money_of(people, "alice", "bob") == [(700, 0), (800, 0)]


def test_giving_money_back_is_not_spending(people: People) -> None:
    received = people.bob.send(
        TransferRequest(to_user_id="alice", amount=rub(400), request_id="t")
    ).response.transaction
    limit(people, "ROLLING_DAY", max_amount=rub(10))

    people.alice.send(
        ReverseTransactionRequest(transaction_id=received.transaction_id, request_id="r")
    )

    assert pay(people, 10, "p").outcome == OK
    assert money_of(people, "alice", "bob") == [(990, 0), (510, 0)]


def test_every_limit_of_an_account_holds(people: People) -> None:
    limits = [
        {"window": "WINDOW_TRANSACTION", "max_amount": rub(100)},
        {"window": "WINDOW_ROLLING_DAY", "max_amount": rub(150), "max_count": 3},
    ]
    people.bank.send(
        UpdateAccountRequest(user_id="alice", limits={"limits": limits}, request_id="u")
    )

    answers = [pay(people, amount, f"p{amount}") for amount in (101, 100, 51, 1, 2, 3)]

    assert [each.values["window"] for each in answers if each.outcome == EXCEEDED] == [
        "TRANSACTION",
        "ROLLING_DAY",
        "ROLLING_DAY",
    ]
    account = people.bank.send(GetAccountRequest(user_id="alice")).response.account
    assert [each.max_amount.minor_units for each in account.limits] == [100, 150]
    assert money_of(people, "alice") == [(1000 - 100 - 1 - 2, 0)]


@pytest.mark.parametrize("caps", [{"max_amount": rub(0)}, {"max_count": 0}])
def test_a_limit_of_zero_stops_all_spending(people: People, caps: dict[str, object]) -> None:
    limit(people, "ROLLING_DAY", **caps)

    assert pay(people, 1, "p").outcome == EXCEEDED
    assert money_of(people, "alice") == [(1000, 0)]
    shown = people.bank.send(GetAccountRequest(user_id="alice")).response.account.limits
    assert [{field.name for field, _ in each.ListFields()} for each in shown] == [{"window", *caps}]
