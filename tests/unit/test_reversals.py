"""Reversals give back what was moved: all or some, once, never more than there was."""

import dataclasses

import pytest
from harness.commands import (
    balances,
    books_with,
    capture_hold,
    create_hold,
    deposit,
    reason,
    refused,
    reverse,
    rouble_account,
    snapshot,
    transfer,
    update_account,
    void_hold,
    withdraw,
)

from wallet_service.ledger.atomic import decide_atomic
from wallet_service.ledger.books import Books
from wallet_service.ledger.commands import Command, Condition
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import NotAllowed, ValidationFailed
from wallet_service.ledger.money import BALANCE_MINOR_MAX

SERVICE = {"caller": "shop", "is_service": True}


def funded_books() -> Books:
    """Return books in which Alice has a thousand, one hundred of it reserved."""
    books = books_with(rouble_account("alice", 1000), rouble_account("bob"))
    decide(books, create_hold("hold", "alice", 100, target="bob"))
    return books


def hold_id_of(books: Books) -> str:
    return next(iter(books.holds))


ORIGINALS = ["deposit", "withdrawal", "transfer", "capture"]


def original(books: Books, kind: str) -> str:
    """Move a hundred in some way and return the transaction's id."""
    commands: dict[str, Command] = {
        "deposit": deposit("original", "alice", 100),
        "withdrawal": withdraw("original", "alice", 100),
        "transfer": transfer("original", ("alice", "bob"), 100),
        "capture": capture_hold("original", hold_id_of(books), **SERVICE),
    }
    return decide(books, commands[kind]).transaction.transaction_id


def posted(books: Books) -> dict[str, int]:
    return {user_id: minor for (user_id, _), (minor, _) in balances(books).items()}


@pytest.mark.parametrize("kind", ORIGINALS)
@pytest.mark.parametrize("parts", [[None], [100], [40, 60], [1, None], [40, 59, 1]])
def test_an_original_is_given_back_to_the_last_and_no_further(
    kind: str, parts: list[int | None]
) -> None:
    books = funded_books()
    before = posted(books)
    name = original(books, kind)

    for number, part in enumerate(parts):
        outcome = decide(books, reverse(f"back {number}", name, part, **SERVICE))
        assert outcome.transaction.reversal_of == name
    beyond = refused(books, reverse("beyond", name, 1, **SERVICE))
    nothing = refused(books, reverse("all of nothing", name, **SERVICE))

    assert posted(books) == before
    assert books.reversed_minor == {name: 100}
    assert reason(beyond) == reason(nothing) == "REVERSAL_EXCEEDS_ORIGINAL"
    assert beyond.transaction.refusal_values["remaining"] == 0


@pytest.mark.parametrize("kind", ORIGINALS)
def test_more_than_is_left_is_refused_and_says_what_is(kind: str) -> None:
    books = funded_books()
    name = original(books, kind)
    decide(books, reverse("some", name, 30, **SERVICE))

    outcome = refused(books, reverse("more", name, 71, **SERVICE))

    assert reason(outcome) == "REVERSAL_EXCEEDS_ORIGINAL"
    assert outcome.transaction.refusal_values == {
        "original_id": name,
        "remaining": 70,
        "required": 71,
    }


def test_what_is_no_movement_of_money_cannot_be_given_back() -> None:
    books = funded_books()
    back = decide(books, reverse("back", original(books, "transfer"), **SERVICE)).transaction
    no = decide(books, withdraw("too much", "alice", 9999)).transaction
    change = decide(books, update_account("change", "alice", state="ACTIVE")).transaction

    for number, record in enumerate((back, no, change)):
        outcome = refused(books, reverse(f"again {number}", record.transaction_id, **SERVICE))
        assert reason(outcome) == "NOT_REVERSIBLE"
        assert outcome.transaction.refusal_values["kind"] == record.kind
    hold = refused(books, reverse("hold", hold_id_of(books), **SERVICE))
    assert reason(hold) == "NOT_REVERSIBLE"
    assert reason(refused(books, reverse("none", "never made", **SERVICE))) == (
        "TRANSACTION_NOT_FOUND"
    )


@pytest.mark.parametrize(
    "original",
    [
        void_hold("original", "no hold", **SERVICE),
        capture_hold("original", "no hold", **SERVICE),
        reverse("original", "no transaction", **SERVICE),
    ],
    ids=["void", "capture", "reversal"],
)
def test_what_was_refused_without_a_currency_is_not_reversible_in_any(original: Command) -> None:
    books = funded_books()
    name = refused(books, original).transaction.transaction_id
    back = reverse("back", name, 5, currency_code="RUB", **SERVICE)

    assert reason(refused(books, back)) == "NOT_REVERSIBLE"
    assert decide(books, back).is_replayed
    too_much = withdraw("too much", "alice", 10_000)
    bound = decide_atomic(books, [too_much, dataclasses.replace(back, request_id="bound")])[1]
    assert (reason(bound), bound.transaction.reversal_of) == ("BATCH_REFUSED", name)


@pytest.mark.parametrize(
    ("kind", "caller", "answer"),
    [
        ("transfer", "bob", None),
        ("capture", "bob", None),
        ("transfer", "alice", NotAllowed),
        ("capture", "alice", NotAllowed),
        ("deposit", "alice", NotAllowed),
        ("withdrawal", "alice", NotAllowed),
        ("transfer", "carol", "TRANSACTION_NOT_FOUND"),
        ("deposit", "carol", "TRANSACTION_NOT_FOUND"),
    ],
)
def test_only_who_received_the_money_or_a_service_gives_it_back(
    kind: str, caller: str, answer: str | type[Exception] | None
) -> None:
    books = funded_books()
    command = reverse("back", original(books, kind), caller=caller)
    before = snapshot(books), len(books.decided)

    if answer is NotAllowed:
        with pytest.raises(NotAllowed):
            decide(books, command)
        assert (snapshot(books), len(books.decided)) == before
    elif answer:
        record = refused(books, command).transaction
        assert (record.refusal_reason, record.refusal_values) == (answer, {})
        assert (record.source_user_id, record.target_user_id, record.reversal_of) == (None,) * 3
    else:
        assert reason(decide(books, command)) is None


def test_who_spent_the_money_cannot_give_it_back() -> None:
    books = funded_books()
    name = original(books, "transfer")
    decide(books, withdraw("spent", "bob", 1))

    outcome = refused(books, reverse("back", name, caller="bob"))

    assert reason(outcome) == "INSUFFICIENT_FUNDS"
    assert outcome.transaction.refusal_values["shortfall"] == 1
    assert reason(decide(books, reverse("some", name, 99, caller="bob"))) is None


@pytest.mark.parametrize(
    ("user_id", "state", "answer"),
    [
        ("bob", "NO_DEBITS", "ACCOUNT_FROZEN"),
        ("bob", "NO_CREDITS", None),
        ("alice", "NO_CREDITS", "ACCOUNT_FROZEN"),
        ("alice", "NO_DEBITS", None),
        ("alice", "FROZEN", "ACCOUNT_FROZEN"),
    ],
)
def test_frozen_accounts_neither_give_back_nor_get_back(
    user_id: str, state: str, answer: str | None
) -> None:
    books = funded_books()
    name = original(books, "transfer")
    decide(books, update_account("freeze", user_id, state=state))

    assert reason(decide(books, reverse("back", name, **SERVICE))) == answer
    assert books.reversed_minor == ({} if answer else {name: 100})


@pytest.mark.parametrize("kind", ["withdrawal", "transfer", "capture"])
def test_spending_given_back_is_spending_no_more(kind: str) -> None:
    books = funded_books()
    name = original(books, kind)
    alice = next(key for key in books.accounts if key.user_id == "alice")
    spent = []
    for number, part in enumerate([30, 70]):
        account = books.accounts[alice]
        spent.append((account.outflow_minor, account.outflow_count))
        decide(books, reverse(f"back {number}", name, part, **SERVICE))
    account = books.accounts[alice]
    spent.append((account.outflow_minor, account.outflow_count))

    assert spent == [(100, 1), (70, 1), (0, 0)]
    assert {one.outflow_minor for one in books.accounts.values()} == {0}


def test_a_reversal_in_another_currency_records_nothing() -> None:
    books = funded_books()
    name = original(books, "transfer")
    before = snapshot(books), len(books.decided)

    with pytest.raises(ValidationFailed):
        decide(books, reverse("back", name, 1, currency_code="USD", **SERVICE))

    assert (snapshot(books), len(books.decided)) == before


@pytest.mark.parametrize("closed", ["alice", "bob"])
def test_a_closed_account_neither_gives_back_nor_gets_back(closed: str) -> None:
    # An agreed overdraft would let a closed account pay.
    books = books_with(rouble_account("alice", 100), rouble_account("bob", min_balance_minor=-100))
    paid = decide(books, transfer("original", ("alice", "bob"), 100)).transaction
    decide(books, withdraw("spent", "bob", 100))
    decide(books, update_account("close", closed, state="CLOSED"))

    back = reverse("back", paid.transaction_id, **SERVICE)

    assert reason(refused(books, back)) == "ACCOUNT_CLOSED"


def test_what_comes_back_lifts_no_account_beyond_what_can_be_stored() -> None:
    books = books_with(rouble_account("alice", 100), rouble_account("bob"))
    paid = decide(books, transfer("original", ("alice", "bob"), 100)).transaction
    decide(books, deposit("rich", "alice", BALANCE_MINOR_MAX - 99))

    back = reverse("back", paid.transaction_id, **SERVICE)

    assert reason(refused(books, back)) == "BALANCE_LIMIT"


WRONGS = {
    "closed": "ACCOUNT_CLOSED",
    "frozen": "ACCOUNT_FROZEN",
    "too much": "REVERSAL_EXCEEDS_ORIGINAL",
    "condition": "CONDITION_FAILED",
    "funds": "INSUFFICIENT_FUNDS",
    "cap": "BALANCE_LIMIT",
}


@pytest.mark.parametrize("first", WRONGS)
def test_of_all_that_is_wrong_with_a_reversal_the_documented_first_is_told(first: str) -> None:
    wrongs = list(WRONGS)[list(WRONGS).index(first) :]
    alice, bob = rouble_account("alice", 9), rouble_account("bob")
    books = books_with(alice, bob)
    paid = decide(books, transfer("original", ("alice", "bob"), 9)).transaction
    alice.posted_minor = BALANCE_MINOR_MAX if "cap" in wrongs else 0
    alice.state = "CLOSED" if "closed" in wrongs else "ACTIVE"
    bob.state = "FROZEN" if "frozen" in wrongs else "ACTIVE"
    bob.posted_minor = 0 if "funds" in wrongs else 9
    condition = Condition(expected_sequence=5) if "condition" in wrongs else None
    amount_minor = 10 if "too much" in wrongs else 9

    back = reverse("back", paid.transaction_id, amount_minor, condition=condition, **SERVICE)

    assert reason(refused(books, back)) == WRONGS[first]


def test_who_would_have_been_paid_by_a_refused_transfer_is_told_of_none() -> None:
    books = books_with(rouble_account("alice", 1), rouble_account("bob"))
    no = refused(books, transfer("no", ("alice", "bob"), 5, caller="alice")).transaction

    record = refused(books, reverse("back", no.transaction_id, caller="bob")).transaction

    assert (record.refusal_reason, record.refusal_values) == ("TRANSACTION_NOT_FOUND", {})


def test_the_owner_of_an_account_is_told_of_no_change_that_an_operator_made() -> None:
    books = books_with(rouble_account("alice"))
    change = update_account("freeze", "alice", state="FROZEN", caller="operator")
    changed = decide(books, change).transaction.transaction_id

    told = {
        caller: reason(refused(books, reverse(f"of {caller}", changed, caller=caller)))
        for caller in ("alice", "operator")
    }

    assert told == {"alice": "TRANSACTION_NOT_FOUND", "operator": "NOT_REVERSIBLE"}
