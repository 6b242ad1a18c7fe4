"""Conditions on a debit, sweeping amounts, and which of several refusals is told."""

import pytest
from harness.commands import (
    balances,
    books_with,
    capture_hold,
    create_hold,
    reason,
    refused,
    reverse,
    rouble_account,
    transfer,
    withdraw,
)

from wallet_service.ledger.books import Books
from wallet_service.ledger.commands import AccountKey, Command, Condition, SpendingLimit
from wallet_service.ledger.decide import decide
from wallet_service.ledger.money import BALANCE_MINOR_MAX

SERVICE = {"is_service": True}
DEBITS = ["withdraw", "transfer", "hold", "capture", "reversal"]


def alices_books(**fields: int) -> Books:
    """Return books in which Alice has 300 available of 400 after 7 lines."""
    books = books_with(
        rouble_account("alice", 400, sequence=7, **fields), rouble_account("bob", 99)
    )
    decide(books, create_hold("hold", "alice", 100))
    return books


def debit(books: Books, kind: str, condition: Condition) -> Command:
    """Ask for a hundred of Alice's money."""
    words = {"condition": condition, **SERVICE}
    if kind == "reversal":
        paid = decide(books, transfer("paid", ("bob", "alice"), 99)).transaction.transaction_id
        return reverse("1", paid, 99, **words)
    commands: dict[str, Command] = {
        "withdraw": withdraw("1", "alice", 100, **words),
        "transfer": transfer("1", ("alice", "bob"), 100, **words),
        "hold": create_hold("1", "alice", 100, **words),
        "capture": capture_hold("1", next(iter(books.holds)), 100, **words),
    }
    return commands[kind]


@pytest.mark.parametrize("kind", DEBITS)
@pytest.mark.parametrize("name", Condition._fields)
def test_a_condition_that_just_holds_passes_and_one_more_is_refused(kind: str, name: str) -> None:
    after = {"withdraw": 200, "transfer": 200, "hold": 200, "capture": 300, "reversal": 300}
    actual = {
        "available_at_least": 399 if kind == "reversal" else 300,
        "balance_after_at_least": after[kind],
        "expected_sequence": 8 if kind == "reversal" else 7,
    }[name]
    books, strict = alices_books(), alices_books()

    outcome = refused(strict, debit(strict, kind, Condition(**{name: actual + 1})))

    assert reason(outcome) == "CONDITION_FAILED"
    assert outcome.transaction.refusal_values == {
        "condition": name,
        "actual": actual,
        "required": actual + 1,
    }
    assert reason(decide(books, debit(books, kind, Condition(**{name: actual})))) is None


def test_a_condition_of_zero_is_a_condition() -> None:
    books = books_with(rouble_account("alice", 0, min_balance_minor=-100))
    command = withdraw("1", "alice", 1, condition=Condition(balance_after_at_least=0))

    assert reason(refused(books, command)) == "CONDITION_FAILED"
    older = withdraw("2", "alice", 1, condition=Condition(expected_sequence=0))
    assert reason(decide(books, older)) is None


def test_of_several_conditions_the_first_that_fails_is_told() -> None:
    books = books_with(rouble_account("alice", 10))
    told = [
        refused(books, withdraw(str(n), "alice", 1, condition=one)).transaction.refusal_values
        for n, one in enumerate([Condition(11, 10, 1), Condition(10, 10, 1), Condition(10, 9, 1)])
    ]

    assert [values["condition"] for values in told] == list(Condition._fields)


@pytest.mark.parametrize(
    ("asked", "floor", "moved"),
    [(1000, 0, 300), (300, 0, 300), (299, 0, 299), (1000, -50, 350), (1000, 100, 200)],
)
def test_up_to_an_amount_moves_what_can_be_spent(asked: int, floor: int, moved: int) -> None:
    books = alices_books(min_balance_minor=floor)

    outcome = decide(books, transfer("1", ("alice", "bob"), asked, is_up_to=True))

    assert outcome.transaction.amount_minor == moved
    assert balances(books)["alice", "RUB"] == (400 - moved, 8)
    assert decide(books, transfer("1", ("alice", "bob"), asked, is_up_to=True)).is_replayed


@pytest.mark.parametrize("floor", [0, 300, 301])
@pytest.mark.parametrize("kind", ["withdraw", "transfer"])
def test_up_to_an_amount_of_nothing_is_refused_before_the_amount_is_judged(
    kind: str, floor: int
) -> None:
    limits = (SpendingLimit("TRANSACTION", max_minor=3),)
    alice = rouble_account("alice", floor and 300, min_balance_minor=floor, limits=limits)
    books = books_with(alice, rouble_account("bob"))
    words = {"is_up_to": True, "condition": Condition(balance_after_at_least=300)}
    command: Command = withdraw("1", "alice", 5, **words)
    if kind == "transfer":
        command = transfer("1", ("alice", "bob"), 5, **words)

    assert reason(refused(books, command)) == "INSUFFICIENT_FUNDS"


@pytest.mark.parametrize(
    "command",
    [withdraw("1", "alice", 5, is_up_to=True), transfer("1", ("alice", "bob"), 5, is_up_to=True)],
)
def test_a_frozen_account_is_told_before_that_nothing_is_there(command: Command) -> None:
    books = books_with(rouble_account("alice", state="FROZEN"), rouble_account("bob"))

    assert reason(refused(books, command)) == "ACCOUNT_FROZEN"


#: What is wrong with a transfer or hold; each row leaves out what the row above it was refused for.
FAULTS = [
    ("missing", "ACCOUNT_NOT_FOUND"),
    ("closed", "ACCOUNT_CLOSED"),
    ("frozen", "ACCOUNT_FROZEN"),
    ("condition", "CONDITION_FAILED"),
    ("limit", "LIMIT_EXCEEDED"),
    ("funds", "INSUFFICIENT_FUNDS"),
    ("cap", "BALANCE_LIMIT"),
]


def faulty(faults: set[str]) -> tuple[Books, dict[str, object]]:
    """Return books and words for a debit of nine with which all of some things are wrong."""
    limits = (SpendingLimit("TRANSACTION", max_minor=8),) if "limit" in faults else ()
    state = "FROZEN" if "frozen" in faults else "ACTIVE"
    alice = rouble_account("alice", 0 if "funds" in faults else 9, limits=limits, state=state)
    bob = rouble_account("bob", BALANCE_MINOR_MAX if "cap" in faults else 0)
    bob.state = "CLOSED" if "closed" in faults else "ACTIVE"
    books = books_with(alice, *([] if "missing" in faults else [bob]))
    condition = Condition(expected_sequence=5) if "condition" in faults else None
    return books, {"condition": condition}


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_all_that_is_wrong_the_documented_first_is_told(first: int) -> None:
    books, words = faulty({name for name, _ in FAULTS[first:]})

    assert reason(refused(books, transfer("1", ("alice", "bob"), 9, **words))) == FAULTS[first][1]
    if FAULTS[first][0] != "cap":  # a hold brings nobody money yet
        hold = create_hold("2", "alice", 9, target="bob", **words)
        assert reason(refused(books, hold)) == FAULTS[first][1]


CAPTURE_FAULTS = [
    ("frozen", "ACCOUNT_FROZEN"),
    ("over", "HOLD_EXPIRED"),
    ("exceeds", "CAPTURE_EXCEEDS_HOLD"),
    ("condition", "CONDITION_FAILED"),
    ("cap", "BALANCE_LIMIT"),
]


@pytest.mark.parametrize("first", range(len(CAPTURE_FAULTS)))
def test_of_all_that_is_wrong_with_a_capture_the_documented_first_is_told(first: int) -> None:
    faults = {name for name, _ in CAPTURE_FAULTS[first:]}
    books, words = faulty(faults - {"frozen"})
    hold = decide(books, create_hold("hold", "alice", 9, target="bob", expire_after_us=5))
    books.now += 5 if "over" in faults else 0
    if "frozen" in faults:
        books.accounts[AccountKey("alice", "RUB")].state = "FROZEN"
    amount_minor = 10 if "exceeds" in faults else 9

    capture = capture_hold("1", hold.transaction.transaction_id, amount_minor, **words, **SERVICE)

    assert reason(refused(books, capture)) == CAPTURE_FAULTS[first][1]
