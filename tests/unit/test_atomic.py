"""Batches of which all is done or nothing, and requests that only ask what would be done."""

import dataclasses

import pytest
from harness.commands import (
    balances,
    books_with,
    capture_hold,
    create_hold,
    deposit,
    open_account,
    reason,
    reverse,
    rouble_account,
    snapshot,
    transfer,
    update_account,
    void_hold,
    withdraw,
)

from wallet_service.ledger.books import Books
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide, decide_atomic
from wallet_service.ledger.errors import RequestIdReused
from wallet_service.ledger.ids import transaction_id

SERVICE = {"is_service": True}


def funded_books() -> Books:
    """Return books in which Alice has a thousand."""
    return books_with(rouble_account("alice", 1000), rouble_account("bob"))


def everything() -> list[Command]:
    """Return a batch in which later operations need what earlier ones did."""
    hold_id = transaction_id("caller", "hold")
    return [
        open_account("open", "carol"),
        transfer("pay", ("alice", "carol"), 300),
        create_hold("hold", "carol", 200),
        capture_hold("capture", hold_id, 50, keep_remainder=True, **SERVICE),
        reverse("back", transaction_id("caller", "pay"), 100, **SERVICE),
        void_hold("void", hold_id, **SERVICE),
        update_account("change", "carol", min_balance_minor=-10),
    ]


def test_an_atomic_batch_is_done_as_if_one_after_the_other() -> None:
    together, one_by_one = funded_books(), funded_books()

    outcomes = decide_atomic(together, everything())

    assert outcomes == [decide(one_by_one, command) for command in everything()]
    assert snapshot(together) == snapshot(one_by_one)
    assert together.decided == one_by_one.decided
    assert {key.user_id for key in together.changed_settings} == {"carol"}


@pytest.mark.parametrize("failing", range(8))
def test_one_refusal_undoes_all_and_binds_every_id(failing: int) -> None:
    books = funded_books()
    before = snapshot(books)
    batch = everything()
    batch.insert(failing, withdraw("too much", "alice", 10_000))

    outcomes = decide_atomic(books, batch)

    assert snapshot(books) == before
    assert books.decided == outcomes
    assert [outcome.transaction.transaction_id for outcome in outcomes] == [
        command.transaction_id for command in batch
    ]
    told = [reason(outcome) for outcome in outcomes]
    assert told.pop(failing) == "INSUFFICIENT_FUNDS"
    assert set(told) == {"BATCH_REFUSED"}
    values = outcomes[failing - 1].transaction.refusal_values
    assert values == {"failed_index": failing, "failed_reason": "INSUFFICIENT_FUNDS"}
    for command in batch:
        late = decide(books, command)
        assert (late.is_replayed, late.transaction.state) == (True, "REFUSED")
    assert snapshot(books) == before


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_repeated_batch_gets_the_first_answers(*, is_refused: bool) -> None:
    books = funded_books()
    batch = everything()
    if is_refused:
        batch.append(withdraw("too much", "alice", 10_000))
    first = decide_atomic(books, batch)
    after = snapshot(books), len(books.decided)

    again = decide_atomic(books, batch)

    assert all(outcome.is_replayed for outcome in again)
    assert [one.transaction for one in again] == [one.transaction for one in first]
    assert (snapshot(books), len(books.decided)) == after


@pytest.mark.parametrize("used", ["first", "last"])
@pytest.mark.parametrize("amount_minor", [1, 10_000])
def test_a_batch_of_used_and_new_ids_is_refused_and_binds_nothing(
    used: str, amount_minor: int
) -> None:
    books = funded_books()
    old, new = withdraw("old", "alice", amount_minor), deposit("new", "alice", 5)
    decide(books, old)
    before = snapshot(books), len(books.decided)

    with pytest.raises(RequestIdReused) as reused:
        decide_atomic(books, [old, new] if used == "first" else [new, old])

    assert reused.value.values == {"fields": "operations", "transaction_id": old.transaction_id}
    assert (snapshot(books), len(books.decided)) == before
    assert not decide(books, new).is_replayed


def test_a_repeated_batch_with_other_content_is_refused() -> None:
    books = funded_books()
    decide_atomic(books, [deposit("1", "alice", 5), deposit("2", "alice", 5)])
    before = snapshot(books)

    with pytest.raises(RequestIdReused):
        decide_atomic(books, [deposit("1", "alice", 5), deposit("2", "alice", 6)])

    assert snapshot(books) == before


ASKED_ONLY = [
    open_account("1", "carol", validate_only=True),
    deposit("1", "alice", 5, validate_only=True),
    withdraw("1", "alice", 5, validate_only=True),
    transfer("1", ("alice", "bob"), 5, validate_only=True),
    create_hold("1", "alice", 5, validate_only=True),
    capture_hold("1", transaction_id("caller", "hold"), validate_only=True, **SERVICE),
    void_hold("1", transaction_id("caller", "hold"), validate_only=True, **SERVICE),
    reverse("1", transaction_id("caller", "pay"), validate_only=True, **SERVICE),
    update_account("1", "alice", state="FROZEN", validate_only=True),
    withdraw("1", "alice", 10_000, validate_only=True),
    transfer("1", ("alice", "bbo"), 5, validate_only=True),
]


@pytest.mark.parametrize("command", ASKED_ONLY)
def test_a_request_that_only_asks_gets_the_true_answer_and_leaves_no_trace(
    command: Command,
) -> None:
    books, really = funded_books(), funded_books()
    for prepared in (books, really):
        decide(prepared, create_hold("hold", "alice", 100))
        decide(prepared, transfer("pay", ("alice", "bob"), 100))
    before = snapshot(books), len(books.decided), dict(books.outcomes)

    asked = decide(books, command)

    assert (snapshot(books), len(books.decided), dict(books.outcomes)) == before
    assert asked == decide(really, command_without_asking(command))
    assert not decide(books, command_without_asking(command)).is_replayed


def command_without_asking(command: Command) -> Command:
    """Return the same request, meant."""
    return dataclasses.replace(command, validate_only=False)


def test_asking_after_the_deed_tells_of_the_deed() -> None:
    books = funded_books()
    decide(books, withdraw("1", "alice", 5))

    assert decide(books, withdraw("1", "alice", 5, validate_only=True)).is_replayed
    assert balances(books)["alice", "RUB"] == (995, 1)
