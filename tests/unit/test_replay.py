"""A request id is answered once: repeats get the first answer, other content gets a no."""

import pytest
from harness.commands import (
    balances,
    books_with,
    capture_hold,
    create_hold,
    deposit,
    open_account,
    rouble_account,
    transfer,
    withdraw,
)

from wallet_service.ledger.books import Books, Entry
from wallet_service.ledger.chain import entry_hash, transaction_digest
from wallet_service.ledger.commands import AccountKey, Command, Condition
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import RequestIdReused

PAIR = ("alice", "bob")


def funded_books(now: int = 1000) -> Books:
    """Return books in which both users can pay."""
    return books_with(rouble_account("alice", 1000), rouble_account("bob", 1000), now=now)


@pytest.mark.parametrize(
    "command",
    [
        deposit("1", "alice", 5, description="pay", metadata={"a": "b"}),
        withdraw("1", "alice", 5),
        transfer("1", PAIR, 5),
        open_account("1", "carol"),
        withdraw("1", "alice", 5000),
    ],
)
def test_a_repeated_request_gets_the_first_answer(command: Command) -> None:
    books = funded_books()
    first = decide(books, command)
    after = balances(books)
    books.now += 1_000_000

    second = decide(books, command)

    assert (first.is_replayed, second.is_replayed) == (False, True)
    assert second._replace(is_replayed=False) == first
    assert balances(books) == after
    assert len(books.decided) == 1


def test_a_refusal_stays_a_refusal_after_the_money_came() -> None:
    books = funded_books()
    short = transfer("1", PAIR, 1001)
    assert decide(books, short).transaction.refusal_reason == "INSUFFICIENT_FUNDS"
    decide(books, deposit("2", "alice", 1))

    again = decide(books, short)

    assert again.is_replayed
    assert again.transaction.refusal_values["available"] == 1000
    assert balances(books)["alice", "RUB"] == (1001, 1)
    assert decide(books, transfer("3", PAIR, 1001)).transaction.state == "POSTED"


def test_a_repeat_is_answered_before_any_rule_is_looked_at() -> None:
    books = funded_books()
    done = transfer("1", PAIR, 1000)
    decide(books, done)
    for account in books.accounts.values():
        account.state = "CLOSED"

    assert decide(books, done).transaction.state == "POSTED"


TRANSFER = {"users": PAIR, "amount_minor": 5, "description": "rent", "metadata": {"flat": "7"}}


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"amount_minor": 6}, "amount"),
        ({"currency_code": "USD"}, "amount"),
        ({"users": ("alice", "carol")}, "to_user_id"),
        ({"users": ("carol", "bob")}, "user_id"),
        ({"users": ("bob", "alice")}, "user_id,to_user_id"),
        ({"description": "Rent"}, "description"),
        ({"description": ""}, "description"),
        ({"metadata": {"flat": "8"}}, "metadata"),
        ({"metadata": {}}, "metadata"),
        ({"metadata": {"flat": "7", "house": "1"}}, "metadata"),
        (
            {"users": ("x", "y"), "amount_minor": 1, "description": "", "metadata": {}},
            "user_id,to_user_id,amount,description,metadata",
        ),
    ],
)
def test_a_reused_id_names_the_fields_that_differ(changed: dict[str, object], fields: str) -> None:
    books = funded_books()
    first = decide(books, transfer("1", **TRANSFER))  # type: ignore[arg-type]
    before = balances(books)

    with pytest.raises(RequestIdReused) as reused:
        decide(books, transfer("1", **TRANSFER | changed))  # type: ignore[arg-type]

    assert reused.value.values == {
        "fields": fields,
        "transaction_id": first.transaction.transaction_id,
    }
    assert balances(books) == before
    assert len(books.decided) == 1


@pytest.mark.parametrize(
    ("first", "second", "fields"),
    [
        (deposit("1", "alice", 5), withdraw("1", "alice", 5), "kind"),
        (deposit("1", "alice", 5), transfer("1", PAIR, 5), "kind"),
        (withdraw("1", "alice", 5), deposit("1", "bob", 6), "kind"),
        (open_account("1", "alice"), deposit("1", "alice", 5), "kind"),
        (deposit("1", "alice", 5), deposit("1", "bob", 5), "user_id"),
        (deposit("1", "alice", 5), deposit("1", "alice", 5, currency_code="USD"), "amount"),
        (withdraw("1", "alice", 5), withdraw("1", "bob", 5), "user_id"),
        (open_account("1", "carol"), open_account("1", "dave"), "user_id"),
        (
            open_account("1", "carol"),
            open_account("1", "carol", currency_code="USD"),
            "currency_code",
        ),
        (withdraw("1", "alice", 5000), withdraw("1", "alice", 5), "amount"),
    ],
)
def test_a_reused_id_is_told_for_every_kind_of_request(
    first: Command, second: Command, fields: str
) -> None:
    books = funded_books()
    decide(books, first)
    before = balances(books)

    with pytest.raises(RequestIdReused) as reused:
        decide(books, second)

    assert reused.value.values["fields"] == fields
    assert balances(books) == before


@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"currency_code": "USD"}, "amount"),
        ({"amount_minor": 4999}, "amount"),
        ({"is_up_to": False}, "amount_mode"),
        ({"amount_minor": 1000, "is_up_to": False}, "amount,amount_mode"),
        ({"condition": Condition(available_at_least=1)}, "condition"),
    ],
)
def test_a_reused_id_is_compared_with_what_was_asked_not_with_what_moved(
    changed: dict[str, object], fields: str, *, is_refused: bool
) -> None:
    books = funded_books()
    books.accounts[AccountKey("alice", "RUB")].state = "FROZEN" if is_refused else "ACTIVE"
    asked: dict[str, object] = {"amount_minor": 5000, "is_up_to": True}
    first = decide(books, withdraw("1", "alice", **asked))  # type: ignore[arg-type]
    before = balances(books)

    with pytest.raises(RequestIdReused) as reused:
        decide(books, withdraw("1", "alice", **asked | changed))  # type: ignore[arg-type]

    assert reused.value.values["fields"] == fields
    assert first.transaction.amount_minor == 1000
    assert balances(books) == before


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"amount_minor": 6}, "amount"),
        ({"amount_minor": None}, "amount"),
        ({"currency_code": "USD"}, "amount"),
        ({"to_user_id": "bob"}, "to_user_id"),
        ({"keep_remainder": True}, "keep_remainder"),
        ({"hold_id": "another"}, "hold_id"),
        ({"description": "x"}, "description"),
    ],
)
def test_a_reused_id_of_a_capture_names_the_fields_that_differ(
    changed: dict[str, object], fields: str
) -> None:
    books = funded_books()
    hold = decide(books, create_hold("hold", "alice", 9)).transaction.transaction_id
    asked: dict[str, object] = {"hold_id": hold, "amount_minor": 5, "is_service": True}
    decide(books, capture_hold("1", **asked))  # type: ignore[arg-type]
    before = balances(books)

    with pytest.raises(RequestIdReused) as reused:
        decide(books, capture_hold("1", **asked | changed))  # type: ignore[arg-type]

    assert reused.value.values["fields"] == fields
    assert balances(books) == before


def test_another_callers_equal_request_id_is_another_request() -> None:
    books = funded_books()
    decide(books, deposit("1", "alice", 5))

    other = decide(books, deposit("1", "alice", 7, caller="another"))

    assert not other.is_replayed
    assert balances(books)["alice", "RUB"] == (1012, 2)


def test_an_id_whose_hash_fits_by_chance_is_not_taken_for_a_repeat() -> None:
    books = funded_books()
    known, stranger = deposit("1", "alice", 5), deposit("2", "alice", 5)
    books.outcomes[stranger.transaction_id] = decide(books, known)

    with pytest.raises(RequestIdReused) as reused:
        decide(books, stranger)

    assert reused.value.values["fields"] == "request_id"


def test_time_never_runs_backwards_along_an_account() -> None:
    books = funded_books(now=5000)
    lines: list[Entry] = []

    for number, now in enumerate([5000, 4000, 6000, 10, 6001]):
        books.now = now
        lines += decide(books, transfer(str(number), PAIR, 1)).entries

    for user_id in PAIR:
        times = [line.created_at for line in lines if line.user_id == user_id]
        assert times == [5000, 5000, 6000, 6000, 6001]


def test_a_transfer_is_as_late_as_the_later_of_its_accounts() -> None:
    books = books_with(
        rouble_account("alice", 9, updated_at=50), rouble_account("bob", 9, updated_at=70), now=10
    )

    outcome = decide(books, transfer("1", PAIR, 1))

    assert outcome.transaction.created_at == 70
    assert {line.created_at for line in outcome.entries} == {70}
    assert {account.updated_at for account in books.accounts.values()} == {70}


def test_the_lines_of_an_account_are_numbered_and_chained_without_a_gap() -> None:
    books = books_with(rouble_account("bob"))
    outcomes = [decide(books, deposit("0", "alice", 100))]
    outcomes += [decide(books, transfer(f"t{number}", PAIR, number)) for number in range(1, 20)]

    for user_id in PAIR:
        head, balance = bytes(32), 0
        posted = [outcome for outcome in outcomes if outcome.entry_of(user_id)]
        for sequence, outcome in enumerate(posted, start=1):
            line = outcome.entry_of(user_id)
            assert line
            balance += line.amount_minor
            digest = transaction_digest(outcome.transaction)
            head = entry_hash(line, previous_hash=head, digest=digest)
            assert (line.sequence, line.balance_minor, line.hash) == (sequence, balance, head)
        account = books.accounts[next(key for key in books.accounts if key.user_id == user_id)]
        assert (account.sequence, account.head_hash) == (len(posted), head)
