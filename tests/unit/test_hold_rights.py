"""Who may resolve a hold, on which accounts, and what strangers are told."""

import pytest
from harness.commands import (
    balances,
    books_with,
    capture_hold,
    create_hold,
    expire_hold,
    held,
    reason,
    refused,
    rouble_account,
    snapshot,
    update_account,
    void_hold,
)

from wallet_service.ledger.books import Books, Hold, Outcome
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import NotAllowed, SameAccount, ValidationFailed

HOUR_US = 3600 * 1_000_000


def funded_books(now: int = 1000) -> Books:
    """Return books in which Alice has a thousand and the others nothing."""
    accounts = [rouble_account("alice", 1000), rouble_account("bob"), rouble_account("carol")]
    return books_with(*accounts, now=now)


def make(books: Books, amount_minor: int = 400, **words: object) -> Hold:
    """Reserve some of Alice's money."""
    outcome = decide(books, create_hold("hold", "alice", amount_minor, caller="alice", **words))
    assert outcome.hold
    return outcome.hold


def now_of(books: Books, hold: Hold) -> tuple[str, int, int]:
    """Return a hold's state, what was captured, and what it still reserves."""
    current = books.holds[hold.hold_id]
    return current.state, current.captured_minor, current.remaining_minor


WHO = [
    (None, "alice", "ok"),
    (None, "bob", "HOLD_NOT_FOUND"),
    ("bob", "bob", "ok"),
    ("bob", "alice", "NOT_ALLOWED"),
    ("bob", "carol", "HOLD_NOT_FOUND"),
]


@pytest.mark.parametrize(("target", "caller", "answer"), WHO)
@pytest.mark.parametrize("how", [capture_hold, void_hold])
def test_a_hold_is_resolved_by_its_target_or_without_one_by_its_payer(
    how: object, target: str | None, caller: str, answer: str
) -> None:
    books = funded_books()
    hold = make(books, target=target)
    command: Command = how("1", hold.hold_id, caller=caller)  # type: ignore[operator]
    before = snapshot(books), len(books.decided)

    if answer == "NOT_ALLOWED":
        with pytest.raises(NotAllowed):
            decide(books, command)
        assert (snapshot(books), len(books.decided)) == before
    elif answer == "ok":
        assert reason(decide(books, command)) is None
    else:
        assert_as_missing(refused(books, command), caller)
    service = how("2", make_another(books, target), caller="shop", is_service=True)  # type: ignore[operator]
    assert reason(decide(books, service)) is None


def make_another(books: Books, target: str | None) -> str:
    """Reserve some more and return the hold's id."""
    return decide(
        books, create_hold("another", "alice", 1, target=target)
    ).transaction.transaction_id


def assert_as_missing(outcome: Outcome, caller: str) -> None:
    """See that a stranger's answer is that about a hold nobody made."""
    missing = decide(funded_books(), void_hold("1", "never made", caller=caller)).transaction
    record = outcome.transaction
    assert (record.refusal, record.refusal_values) != (None, None)
    assert reason(outcome) == missing.refusal_reason == "HOLD_NOT_FOUND"
    assert record.refusal_values == missing.refusal_values == {}
    assert (record.source_user_id, record.target_user_id, record.hold_id) == (None, None, None)
    assert (record.currency_code, record.amount_minor) == ("", 0)


@pytest.mark.parametrize("state", ["NO_DEBITS", "NO_CREDITS", "FROZEN"])
def test_voids_and_expiry_pass_on_frozen_accounts_and_captures_do_not(state: str) -> None:
    books = funded_books()
    hold = make(books)
    due = decide(books, create_hold("due", "alice", 1, expire_after_us=1)).transaction
    decide(books, update_account("freeze", "alice", state=state))
    capture = capture_hold("c", hold.hold_id, 1, caller="alice", keep_remainder=True)
    if state != "NO_CREDITS":
        assert reason(refused(books, capture)) == "ACCOUNT_FROZEN"
    books.now += 1

    decide(books, expire_hold(due.transaction_id))
    decide(books, void_hold("v", hold.hold_id, caller="alice"))

    assert now_of(books, hold)[0] == "VOIDED"
    assert held(books, "alice") == (0, 0)
    assert balances(books)["alice", "RUB"][0] == 1000


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"caller": "alice", "to_user_id": "alice"}, SameAccount),
        ({"caller": "alice", "currency_code": "USD", "amount_minor": 1}, ValidationFailed),
    ],
)
def test_a_capture_that_contradicts_its_hold_records_nothing(
    words: dict[str, object], error: type[Exception]
) -> None:
    books = funded_books()
    hold = make(books)
    before = snapshot(books), len(books.decided)

    with pytest.raises(error):
        decide(books, capture_hold("c", hold.hold_id, **words))  # type: ignore[arg-type]

    assert (snapshot(books), len(books.decided)) == before


def test_a_capture_to_another_than_the_holds_target_is_not_allowed() -> None:
    books = funded_books()
    hold = make(books, target="bob")
    before = snapshot(books)

    with pytest.raises(NotAllowed):
        decide(books, capture_hold("c", hold.hold_id, caller="bob", to_user_id="carol"))

    assert snapshot(books) == before
