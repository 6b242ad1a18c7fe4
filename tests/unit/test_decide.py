"""What the ledger answers: who is paid, who is refused and why first, and what a repeat gets."""

import dataclasses

import pytest
from harness.commands import (
    balances,
    books_with,
    deposit,
    open_account,
    rouble_account,
    transfer,
    withdraw,
)

from wallet_service.ledger.books import AccountState, Books, Outcome, Rules
from wallet_service.ledger.commands import AccountKey, Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import RequestIdReused
from wallet_service.ledger.money import AMOUNT_MINOR_MAX, BALANCE_MINOR_MAX

ALICE = AccountKey("alice", "RUB")
BOB = AccountKey("bob", "RUB")


def reason(outcome: Outcome) -> str | None:
    """Return why a request was refused, having seen that it left no line."""
    transaction = outcome.transaction
    if transaction.state == "REFUSED":
        assert outcome.entries == ()
        assert (transaction.source_sequence, transaction.target_sequence) == (None, None)
    return transaction.refusal_reason


def refused(books: Books, command: Command) -> Outcome:
    """Decide a command that must be refused, and see that no balance moves."""
    before = balances(books), dict(books.changed)
    outcome = decide(books, command)

    assert outcome.transaction.state == "REFUSED"
    assert (balances(books), books.changed) == before
    return outcome


def test_a_deposit_opens_the_account_of_its_owner() -> None:
    books = books_with(now=77)

    outcome = decide(books, deposit("1", "alice", 500))

    assert reason(outcome) is None
    assert balances(books) == {ALICE: (500, 1)}
    assert books.accounts[ALICE].created_at == 77
    assert list(books.changed) == [ALICE]


def test_a_deposit_comes_from_the_outside_world() -> None:
    transaction = decide(books_with(), deposit("1", "alice", 5)).transaction

    assert (transaction.source_user_id, transaction.source_sequence) == ("@external", None)
    assert (transaction.target_user_id, transaction.target_sequence) == ("alice", 1)


def test_a_withdrawal_goes_to_the_outside_world() -> None:
    books = books_with(rouble_account("alice", 300))

    outcome = decide(books, withdraw("1", "alice", 300))

    assert outcome.transaction.target_user_id == "@external"
    assert [(line.amount_minor, line.balance_minor) for line in outcome.entries] == [(-300, 0)]
    assert balances(books) == {ALICE: (0, 1)}


def test_a_transfer_writes_a_line_on_both_accounts() -> None:
    books = books_with(rouble_account("alice", 300), rouble_account("bob", 1, sequence=7))

    outcome = decide(books, transfer("1", ("alice", "bob"), 100))

    assert balances(books) == {ALICE: (200, 1), BOB: (101, 8)}
    assert [(line.user_id, line.amount_minor) for line in outcome.entries] == [
        ("alice", -100),
        ("bob", 100),
    ]
    assert outcome.entry_of("bob") == outcome.entries[1]
    assert outcome.entry_of("carol") is None


def test_an_opened_account_is_empty_and_can_be_paid() -> None:
    books = books_with(rouble_account("alice", 5))

    outcome = decide(books, open_account("1", "bob"))
    decide(books, transfer("2", ("alice", "bob"), 5))

    assert (outcome.entries, outcome.transaction.source_user_id) == ((), None)
    assert balances(books) == {ALICE: (0, 1), BOB: (5, 1)}


def test_opening_an_open_account_changes_nothing() -> None:
    books = books_with(rouble_account("alice", 5, sequence=3))

    outcome = decide(books, open_account("1", "alice"))

    assert outcome.transaction.state == "POSTED"
    assert balances(books) == {ALICE: (5, 3)}
    assert not books.changed


def test_paying_a_user_without_an_account_is_refused() -> None:
    books = books_with(rouble_account("alice", 500))

    outcome = refused(books, transfer("1", ("alice", "bbo"), 100))

    assert reason(outcome) == "ACCOUNT_NOT_FOUND"
    assert outcome.transaction.refusal_values == {"user_id": "bbo", "currency_code": "RUB"}
    assert not books.is_open(AccountKey("bbo", "RUB"))


def test_paying_opens_the_account_where_the_operator_wants_it() -> None:
    books = books_with(rouble_account("alice", 500), rules=Rules(open_on_credit=True))

    assert reason(decide(books, transfer("1", ("alice", "bob"), 100))) is None
    assert balances(books) == {ALICE: (400, 1), BOB: (100, 1)}


def test_an_account_in_another_currency_cannot_be_paid() -> None:
    books = books_with(rouble_account("alice", 500), rouble_account("bob"))

    outcome = refused(books, transfer("1", ("alice", "bob"), 1, currency_code="USD"))

    assert reason(outcome) == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize("amount_minor", [301, 500, AMOUNT_MINOR_MAX])
def test_spending_beyond_the_balance_is_refused(amount_minor: int) -> None:
    books = books_with(rouble_account("alice", 300), rouble_account("bob"))

    for command in (
        transfer("1", ("alice", "bob"), amount_minor),
        withdraw("2", "alice", amount_minor),
    ):
        outcome = refused(books, command)

        assert reason(outcome) == "INSUFFICIENT_FUNDS"
        assert outcome.transaction.refusal_values == {
            "user_id": "alice",
            "currency_code": "RUB",
            "available": 300,
            "required": amount_minor,
            "shortfall": amount_minor - 300,
        }


def test_one_who_never_had_an_account_has_nothing_to_spend() -> None:
    books = books_with(rouble_account("bob"))

    assert reason(refused(books, withdraw("1", "alice", 1))) == "INSUFFICIENT_FUNDS"
    assert reason(refused(books, transfer("2", ("alice", "bob"), 1))) == "INSUFFICIENT_FUNDS"
    assert not books.is_open(ALICE)


def test_held_money_cannot_be_spent() -> None:
    books = books_with(rouble_account("alice", 500, held_minor=200), rouble_account("bob"))

    outcome = refused(books, transfer("1", ("alice", "bob"), 301))

    assert outcome.transaction.refusal_values["available"] == 300
    assert outcome.transaction.refusal_values["shortfall"] == 1
    assert reason(decide(books, transfer("2", ("alice", "bob"), 300))) is None


def test_an_agreed_overdraft_can_be_used_to_its_end() -> None:
    books = books_with(rouble_account("alice", 100, min_balance_minor=-500))

    outcome = refused(books, withdraw("1", "alice", 601))

    assert outcome.transaction.refusal_values["shortfall"] == 1
    assert reason(decide(books, withdraw("2", "alice", 600))) is None
    assert balances(books) == {ALICE: (-500, 1)}
    assert reason(refused(books, withdraw("3", "alice", 1))) == "INSUFFICIENT_FUNDS"


@pytest.mark.parametrize("in_room", [1, 5, AMOUNT_MINOR_MAX])
def test_a_balance_can_reach_the_cap_and_not_pass_it(in_room: int) -> None:
    almost_full = rouble_account("bob", BALANCE_MINOR_MAX - in_room)
    books = books_with(rouble_account("alice", 2 * AMOUNT_MINOR_MAX), almost_full)
    too_much = in_room + 1

    for command in (deposit("1", "bob", too_much), transfer("2", ("alice", "bob"), too_much)):
        outcome = refused(books, command)

        assert reason(outcome) == "BALANCE_LIMIT"
        assert outcome.transaction.refusal_values["balance_max"] == BALANCE_MINOR_MAX
    assert reason(decide(books, transfer("3", ("alice", "bob"), in_room))) is None
    assert books.accounts[BOB].posted_minor == BALANCE_MINOR_MAX


DEBIT_STATES = {"ACTIVE": None, "NO_CREDITS": None, "NO_DEBITS": "ACCOUNT_FROZEN"}
CREDIT_STATES = {"ACTIVE": None, "NO_DEBITS": None, "NO_CREDITS": "ACCOUNT_FROZEN"}
BOTH = {"FROZEN": "ACCOUNT_FROZEN", "CLOSED": "ACCOUNT_CLOSED"}


@pytest.mark.parametrize("state", AccountState)
def test_an_accounts_state_says_what_it_may_do(state: str) -> None:
    books = books_with(rouble_account("alice", 100, state=state), rouble_account("bob", 100))
    debit, credit = (DEBIT_STATES | BOTH)[state], (CREDIT_STATES | BOTH)[state]

    assert reason(decide(books, withdraw("1", "alice", 1))) == debit
    assert reason(decide(books, transfer("2", ("alice", "bob"), 1))) == debit
    assert reason(decide(books, deposit("3", "alice", 1))) == credit
    assert reason(decide(books, transfer("4", ("bob", "alice"), 1))) == credit
    opening = reason(decide(books, open_account("5", "alice")))
    assert opening == ("ACCOUNT_CLOSED" if state == "CLOSED" else None)


# A transfer to which everything applies, and then one thing less each time: each row is what is
# wrong with source and target, and the answer that comes first.
EVERYTHING_WRONG = [
    (("alice", 0, "CLOSED"), None, "ACCOUNT_NOT_FOUND"),
    (("alice", 0, "FROZEN"), None, "ACCOUNT_NOT_FOUND"),
    (("alice", 0, "CLOSED"), ("bob", BALANCE_MINOR_MAX, "FROZEN"), "ACCOUNT_CLOSED"),
    (("alice", 0, "FROZEN"), ("bob", BALANCE_MINOR_MAX, "CLOSED"), "ACCOUNT_CLOSED"),
    (("alice", 0, "FROZEN"), ("bob", BALANCE_MINOR_MAX, "ACTIVE"), "ACCOUNT_FROZEN"),
    (("alice", 0, "ACTIVE"), ("bob", BALANCE_MINOR_MAX, "FROZEN"), "ACCOUNT_FROZEN"),
    (("alice", 0, "ACTIVE"), ("bob", BALANCE_MINOR_MAX, "ACTIVE"), "INSUFFICIENT_FUNDS"),
    (("alice", 9, "ACTIVE"), ("bob", BALANCE_MINOR_MAX, "ACTIVE"), "BALANCE_LIMIT"),
]


@pytest.mark.parametrize(("source", "target", "first"), EVERYTHING_WRONG)
def test_of_several_refusals_the_documented_first_one_is_the_answer(
    source: tuple[str, int, str], target: tuple[str, int, str] | None, first: str
) -> None:
    named = [party for party in (source, target) if party]
    books = books_with(*(rouble_account(*party[:2], state=party[2]) for party in named))

    outcome = refused(books, transfer("1", ("alice", "bob"), 9))

    assert reason(outcome) == first


def test_a_frozen_account_is_named_with_its_state() -> None:
    books = books_with(rouble_account("alice", 9, state="NO_DEBITS"), rouble_account("bob"))

    outcome = refused(books, transfer("1", ("alice", "bob"), 9))

    assert outcome.transaction.refusal_values == {
        "user_id": "alice",
        "currency_code": "RUB",
        "state": "NO_DEBITS",
    }


def test_every_request_is_recorded_with_what_it_asked() -> None:
    books = books_with(rouble_account("alice", 1), rouble_account("bob"), now=123)
    command = transfer("1", ("alice", "bob"), 9, description="rent", metadata={"flat": "7"})

    record = refused(books, command).transaction

    asked = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}
    kept = {name: getattr(record, name) for name in asked.keys() & record._fields}
    assert kept == {name: asked[name] for name in kept}
    assert kept.keys() >= {"caller", "request_id", "transaction_id", "description", "metadata"}
    assert (record.source_user_id, record.target_user_id) == ("alice", "bob")
    assert (record.amount_minor, record.currency_code, record.created_at) == (9, "RUB", 123)
    assert [outcome.transaction for outcome in books.decided] == [record]


def test_request_id_reused_records_nothing() -> None:
    books = books_with(rouble_account("alice", 10))
    decide(books, withdraw("1", "alice", 1))
    before = (balances(books), len(books.decided), dict(books.outcomes))

    with pytest.raises(RequestIdReused):
        decide(books, withdraw("1", "alice", 2))

    assert (balances(books), len(books.decided), dict(books.outcomes)) == before
