"""What operators change of accounts: states, minimum balances and limits, each on the record."""

import pytest
from harness.commands import (
    balances,
    books_with,
    create_hold,
    deposit,
    open_account,
    reason,
    refused,
    rouble_account,
    update_account,
)

from wallet_service.ledger.books import AccountState
from wallet_service.ledger.commands import AccountKey, SpendingLimit
from wallet_service.ledger.decide import decide

ALICE = AccountKey("alice", "RUB")
LIMIT = SpendingLimit("ROLLING_DAY", max_minor=100, max_count=None)
UNCHANGED = {"min_balance": 0, "state": "ACTIVE", "limits": []}


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"min_balance_minor": -500}, {"min_balance": -500}),
        ({"min_balance_minor": 300}, {"min_balance": 300}),
        *(({"state": state}, {"state": state}) for state in AccountState if state != "CLOSED"),
        ({"limits": (LIMIT,)}, {"limits": [["ROLLING_DAY", 100, None]]}),
        ({"limits": ()}, {}),
        ({}, {}),
    ],
)
def test_a_change_changes_what_it_names_and_is_recorded_with_before_and_after(
    change: dict[str, object], after: dict[str, object]
) -> None:
    books = books_with(rouble_account("alice", 300, sequence=3))

    outcome = decide(books, update_account("1", "alice", description="why", **change))

    account, record = books.accounts[ALICE], outcome.transaction
    assert (record.arguments["before"], record.arguments["after"]) == (UNCHANGED, UNCHANGED | after)
    limits = [list(limit) for limit in account.limits]
    now = {"min_balance": account.min_balance_minor, "state": account.state, "limits": limits}
    assert now == UNCHANGED | after
    assert (record.caller, record.description, record.target_user_id) == ("caller", "why", "alice")
    assert (outcome.entries, balances(books)[ALICE]) == ((), (300, 3))
    assert books.changed_settings == {ALICE}
    assert decide(books, update_account("1", "alice", description="why", **change)).is_replayed


def test_limits_can_be_taken_away() -> None:
    books = books_with(rouble_account("alice", limits=(LIMIT,)))

    decide(books, update_account("1", "alice", state="ACTIVE"))
    assert books.accounts[ALICE].limits == (LIMIT,)
    decide(books, update_account("2", "alice", limits=()))

    assert books.accounts[ALICE].limits == ()


def test_an_account_nobody_opened_cannot_be_changed() -> None:
    books = books_with()

    assert reason(refused(books, update_account("1", "alice", state="FROZEN"))) == (
        "ACCOUNT_NOT_FOUND"
    )


@pytest.mark.parametrize("posted_minor", [1, -1])
def test_an_account_with_money_or_debt_cannot_be_closed(posted_minor: int) -> None:
    books = books_with(rouble_account("alice", posted_minor, min_balance_minor=-1))

    assert reason(refused(books, update_account("1", "alice", state="CLOSED"))) == (
        "ACCOUNT_NOT_EMPTY"
    )


def test_an_account_with_a_hold_on_its_overdraft_cannot_be_closed() -> None:
    books = books_with(rouble_account("alice", min_balance_minor=-5))
    decide(books, create_hold("hold", "alice", 5))

    assert reason(refused(books, update_account("1", "alice", state="CLOSED"))) == (
        "ACCOUNT_NOT_EMPTY"
    )


def test_an_empty_account_is_closed_and_can_be_opened_again() -> None:
    books = books_with(rouble_account("alice"))
    decide(books, update_account("1", "alice", state="CLOSED"))
    assert reason(refused(books, deposit("2", "alice", 5))) == "ACCOUNT_CLOSED"

    decide(books, update_account("3", "alice", state="ACTIVE"))

    assert reason(decide(books, deposit("4", "alice", 5))) is None


def test_a_minimum_above_what_is_available_is_refused() -> None:
    books = books_with(rouble_account("alice", 300))
    decide(books, create_hold("hold", "alice", 100))

    outcome = refused(books, update_account("1", "alice", min_balance_minor=201))

    assert reason(outcome) == "INSUFFICIENT_FUNDS"
    values = outcome.transaction.refusal_values
    assert (values["available"], values["required"], values["shortfall"]) == (200, 201, 1)
    assert reason(decide(books, update_account("2", "alice", min_balance_minor=200))) is None


def test_a_refused_change_changes_none_of_what_it_names() -> None:
    books = books_with(rouble_account("alice", 300))

    refused(
        books,
        update_account("1", "alice", min_balance_minor=301, state="FROZEN", limits=(LIMIT,)),
    )

    account = books.accounts[ALICE]
    assert (account.min_balance_minor, account.state, account.limits) == (0, "ACTIVE", ())


def test_a_change_is_newer_than_the_accounts_last_line_whatever_the_clock_says() -> None:
    books = books_with(rouble_account("alice", updated_at=70), now=10)

    record = decide(books, update_account("1", "alice", state="FROZEN")).transaction

    assert (record.created_at, books.accounts[ALICE].updated_at) == (71, 71)


def test_changes_of_one_batch_are_dated_in_their_order() -> None:
    books = books_with(now=1000)
    commands = [
        open_account("1", "alice"),
        *(update_account(str(n), "alice", min_balance_minor=-n) for n in range(2, 5)),
        open_account("5", "alice"),
    ]

    records = [decide(books, command).transaction for command in commands]

    assert [record.created_at for record in records] == [1000, 1001, 1002, 1003, 1004]
    assert books.accounts[ALICE].updated_at == 1003


def test_an_opening_of_an_open_account_is_newer_than_what_it_shows_and_changes_nothing() -> None:
    books = books_with(rouble_account("alice", updated_at=70, min_balance_minor=-5), now=10)

    record = decide(books, open_account("1", "alice")).transaction

    shown = UNCHANGED | {"min_balance": -5}
    assert record.arguments == {"before": shown, "after": shown}
    assert (record.created_at, books.accounts[ALICE].updated_at) == (71, 70)
    assert decide(books, open_account("1", "alice")).is_replayed


def test_an_opening_has_no_settings_before_it() -> None:
    record = decide(books_with(), open_account("1", "alice")).transaction

    assert record.arguments == {"after": UNCHANGED}
