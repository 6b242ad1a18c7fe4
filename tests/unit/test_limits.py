"""Spending limits: how much and how often may leave an account, in which time."""

from datetime import UTC, datetime

import pytest
from harness.commands import (
    books_with,
    capture_hold,
    create_hold,
    reason,
    refused,
    reverse,
    rouble_account,
    transfer,
    void_hold,
    withdraw,
)

from wallet_service.ledger.books import Books
from wallet_service.ledger.commands import AccountKey, Command, SpendingLimit
from wallet_service.ledger.decide import decide
from wallet_service.ledger.limits import Outflow, Window, window_reset, window_start
from wallet_service.ledger.money import BALANCE_MINOR_MAX

ALICE = AccountKey("alice", "RUB")
NOW = "2024-02-29T12:30:00.000001"
DAY = "CALENDAR_DAY"
SERVICE = {"is_service": True}


def us(text: str) -> int:
    """Return a moment of UTC in microseconds."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def limited_books(*limits: SpendingLimit, before: Outflow | None = None, **spent: int) -> Books:
    """Return books in which Alice's spending is limited, with what she spent before."""
    alice = rouble_account("alice", 100_000, limits=limits, **spent)
    books = books_with(alice, rouble_account("bob"), now=us(NOW))
    books.outflows = {(ALICE, limit): before or Outflow() for limit in limits}
    return books


@pytest.mark.parametrize(
    ("window", "now", "start"),
    [
        ("CALENDAR_DAY", "2024-02-29T00:00:00", "2024-02-29T00:00:00"),
        ("CALENDAR_DAY", "2024-02-29T23:59:59.999999", "2024-02-29T00:00:00"),
        ("CALENDAR_WEEK", "2024-02-26T00:00:00", "2024-02-26T00:00:00"),
        ("CALENDAR_WEEK", "2024-03-03T23:59:59.999999", "2024-02-26T00:00:00"),
        ("CALENDAR_WEEK", "2025-01-01T08:00:00", "2024-12-30T00:00:00"),
        ("CALENDAR_MONTH", "2024-03-01T00:00:00", "2024-03-01T00:00:00"),
        ("CALENDAR_MONTH", "2024-02-29T23:59:59.999999", "2024-02-01T00:00:00"),
        ("ROLLING_DAY", NOW, "2024-02-28T12:30:00.000001"),
        ("ROLLING_WEEK", NOW, "2024-02-22T12:30:00.000001"),
        ("ROLLING_MONTH", NOW, "2024-01-30T12:30:00.000001"),
    ],
)
def test_a_window_begins_at_its_edge_in_utc(window: str, now: str, start: str) -> None:
    assert window_start(window, us(now)) == us(start)


@pytest.mark.parametrize(
    ("window", "now", "reset"),
    [
        ("CALENDAR_DAY", "2024-02-28T23:59:59.999999", "2024-02-29T00:00:00+00:00"),
        ("CALENDAR_DAY", "2024-12-31T00:00:00", "2025-01-01T00:00:00+00:00"),
        ("CALENDAR_WEEK", "2024-02-26T00:00:00", "2024-03-04T00:00:00+00:00"),
        ("CALENDAR_WEEK", "2024-12-31T00:00:00", "2025-01-06T00:00:00+00:00"),
        ("CALENDAR_MONTH", "2024-02-01T00:00:00", "2024-03-01T00:00:00+00:00"),
        ("CALENDAR_MONTH", "2024-01-31T23:59:59.999999", "2024-02-01T00:00:00+00:00"),
        ("CALENDAR_MONTH", "2024-12-31T23:59:59.999999", "2025-01-01T00:00:00+00:00"),
        ("ROLLING_DAY", NOW, "2024-02-29T20:00:00.000008+00:00"),
        ("ROLLING_WEEK", NOW, "2024-03-06T20:00:00.000008+00:00"),
        ("ROLLING_MONTH", NOW, "2024-03-29T20:00:00.000008+00:00"),
        ("TRANSACTION", NOW, ""),
    ],
)
def test_room_comes_back_with_the_next_window_or_a_window_after_the_first_spending(
    window: str, now: str, reset: str
) -> None:
    assert window_reset(window, us(now), us("2024-02-28T20:00:00.000007")) == reset


@pytest.mark.parametrize("window", ["ROLLING_DAY", "ROLLING_WEEK", "ROLLING_MONTH"])
def test_room_comes_back_in_the_first_moment_that_has_it(window: str) -> None:
    spent_at = us("2024-02-28T20:00:00.000007")
    reset = us(window_reset(window, us(NOW), spent_at).removesuffix("+00:00"))

    assert window_start(window, reset - 1) == spent_at
    assert window_start(window, reset) > spent_at


@pytest.mark.parametrize("window", [one for one in Window if one != Window.TRANSACTION])
def test_a_sum_is_limited_to_what_was_not_spent_in_the_window(window: str) -> None:
    spent_at = us("2024-02-29T01:00:00")
    before = Outflow(700, 3, freeing_sum_at=spent_at)
    limit = SpendingLimit(window, max_minor=500)
    books = limited_books(limit, before=before, outflow_minor=900, outflow_count=5)

    outcome = refused(books, withdraw("1", "alice", 301))

    assert reason(outcome) == "LIMIT_EXCEEDED"
    assert outcome.transaction.refusal_values == {
        "user_id": "alice",
        "currency_code": "RUB",
        "window": window,
        "limited": "amount",
        "limit": 500,
        "remaining": 300,
        "required": 301,
        "reset_time": window_reset(window, us(NOW), spent_at),
    }
    assert reason(decide(books, withdraw("2", "alice", 300))) is None
    assert reason(refused(books, withdraw("3", "alice", 1))) == "LIMIT_EXCEEDED"


@pytest.mark.parametrize("window", [one for one in Window if one != Window.TRANSACTION])
def test_a_number_is_limited_to_what_was_not_used_in_the_window(window: str) -> None:
    limit = SpendingLimit(window, max_count=3)
    books = limited_books(limit, before=Outflow(700, 3), outflow_minor=900, outflow_count=5)
    decide(books, transfer("1", ("alice", "bob"), 5))

    values = refused(books, transfer("2", ("alice", "bob"), 5)).transaction.refusal_values

    assert (values["limited"], values["limit"]) == ("count", 3)
    assert (values["remaining"], values["required"]) == (0, 1)


def test_a_limit_per_transaction_does_not_add_up() -> None:
    books = limited_books(SpendingLimit("TRANSACTION", max_minor=100), outflow_minor=900)

    for number in range(3):
        assert reason(decide(books, withdraw(str(number), "alice", 100))) is None
    outcome = refused(books, withdraw("more", "alice", 101))

    assert reason(outcome) == "LIMIT_EXCEEDED"
    assert outcome.transaction.refusal_values["reset_time"] == ""
    assert outcome.transaction.refusal_values["remaining"] == 100


@pytest.mark.parametrize("limit", [SpendingLimit(DAY, max_minor=100), SpendingLimit(DAY, None, 1)])
def test_open_holds_are_spending_until_they_are_released(limit: SpendingLimit) -> None:
    books = limited_books(limit)
    hold = decide(books, create_hold("hold", "alice", 100)).transaction.transaction_id

    assert reason(refused(books, withdraw("1", "alice", 1))) == "LIMIT_EXCEEDED"
    assert reason(refused(books, create_hold("2", "alice", 1))) == "LIMIT_EXCEEDED"
    decide(books, void_hold("void", hold, **SERVICE))
    assert reason(decide(books, withdraw("3", "alice", 100))) is None


def test_a_capture_is_not_limited_again_and_stays_spending() -> None:
    books = limited_books(SpendingLimit(DAY, max_minor=100, max_count=1))
    hold = decide(books, create_hold("hold", "alice", 100)).transaction.transaction_id

    assert reason(decide(books, capture_hold("capture", hold, 60, **SERVICE))) is None
    values = refused(books, withdraw("1", "alice", 41)).transaction.refusal_values
    assert (values["limited"], values["remaining"]) == ("amount", 40)
    assert refused(books, withdraw("2", "alice", 40)).transaction.refusal_values["limited"] == (
        "count"
    )


def test_a_reversal_gives_the_room_back() -> None:
    books = limited_books(SpendingLimit(DAY, max_minor=100, max_count=1))
    paid = decide(books, transfer("pay", ("alice", "bob"), 100)).transaction.transaction_id

    decide(books, reverse("some", paid, 40, **SERVICE))
    values = refused(books, withdraw("1", "alice", 40)).transaction.refusal_values
    assert values["limited"] == "count"
    decide(books, reverse("rest", paid, **SERVICE))

    assert reason(decide(books, withdraw("2", "alice", 100))) is None


def test_of_several_limits_the_first_that_is_exceeded_is_told() -> None:
    limits = (
        SpendingLimit("TRANSACTION", 90),
        SpendingLimit(DAY, 50),
        SpendingLimit("ROLLING_DAY", 40),
    )
    books = limited_books(*limits)

    windows = [
        refused(books, withdraw(str(amount), "alice", amount)).transaction.refusal_values["window"]
        for amount in (91, 51, 41)
    ]

    assert windows == ["TRANSACTION", DAY, "ROLLING_DAY"]
    assert reason(decide(books, withdraw("fits", "alice", 40))) is None


@pytest.mark.parametrize("window", ["CALENDAR_DAY", "ROLLING_DAY"])
def test_no_time_is_named_where_holds_take_what_is_asked(window: str) -> None:
    before = Outflow(freeing_sum_at=us(NOW))
    books = limited_books(SpendingLimit(window, 100), before=before, held_minor=60)

    values = refused(books, withdraw("1", "alice", 41)).transaction.refusal_values

    assert (values["remaining"], values["reset_time"]) == (40, "")


def test_what_was_given_back_makes_room_however_a_sum_is_split() -> None:
    before = Outflow(minor=300, debits=3)
    at_once, split = (
        limited_books(SpendingLimit(DAY, 100), before=before, outflow_minor=0) for _ in range(2)
    )

    assert reason(decide(at_once, withdraw("1", "alice", 400))) is None
    for number in range(4):
        assert reason(decide(split, withdraw(str(number), "alice", 100))) is None
    for books in (at_once, split):
        values = refused(books, withdraw("more", "alice", 1)).transaction.refusal_values
        assert values["remaining"] == 0


@pytest.mark.parametrize("command", [withdraw("1", "alice", 1), transfer("1", ("alice", "bob"), 1)])
def test_spending_that_cannot_be_counted_is_refused(command: Command) -> None:
    books = limited_books(outflow_minor=BALANCE_MINOR_MAX)

    assert reason(refused(books, command)) == "BALANCE_LIMIT"
    assert books.account(ALICE).posted_minor == 100_000


def test_what_is_held_can_be_counted_when_it_is_taken() -> None:
    books = limited_books(outflow_minor=BALANCE_MINOR_MAX - 60)

    assert reason(refused(books, create_hold("more", "alice", 61))) == "BALANCE_LIMIT"
    hold = decide(books, create_hold("hold", "alice", 60)).transaction.transaction_id
    assert reason(refused(books, withdraw("1", "alice", 1))) == "BALANCE_LIMIT"
    assert reason(decide(books, capture_hold("2", hold, 60, **SERVICE))) is None
    assert books.account(ALICE).outflow_minor == BALANCE_MINOR_MAX


def test_room_that_this_batch_used_up_comes_back_a_window_later() -> None:
    books = limited_books(SpendingLimit("ROLLING_DAY", 100))
    decide(books, withdraw("1", "alice", 60))

    values = refused(books, withdraw("2", "alice", 41)).transaction.refusal_values

    assert values["reset_time"] == "2024-03-01T12:30:00.000002+00:00"


def test_debits_before_the_window_take_no_room_in_it() -> None:
    limit = SpendingLimit(DAY, max_count=2)
    books = limited_books(limit, before=Outflow(debits=2), outflow_count=3)

    assert reason(decide(books, withdraw("1", "alice", 1))) is None
    assert reason(refused(books, withdraw("2", "alice", 1))) == "LIMIT_EXCEEDED"
