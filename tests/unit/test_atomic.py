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

from wallet_service.ledger.atomic import decide_atomic
from wallet_service.ledger.books import Books, Outcome, Rules
from wallet_service.ledger.commands import AccountKey, Command, SpendingLimit
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import Contention, RequestIdReused
from wallet_service.ledger.ids import transaction_id
from wallet_service.ledger.limits import Outflow

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

    index = 0 if used == "first" else 1
    assert reused.value.values == {
        "fields": "request_id",
        "failed_index": index,
        "transaction_id": old.transaction_id,
    }
    assert str(reused.value).startswith(f"operation {index}: ")
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


def bound(books: Books, command: Command) -> Outcome:
    """Decide a command in an atomic batch that is refused for another; see that nothing moves."""
    before = snapshot(books)
    batch = [withdraw("too much", "alice", 10_000), command]

    outcome = decide_atomic(books, batch)[1]

    assert reason(outcome) == "BATCH_REFUSED"
    assert snapshot(books) == before
    again = decide_atomic(books, batch)[1]
    assert (again.is_replayed, again.transaction) == (True, outcome.transaction)
    return outcome


def about(outcome: Outcome) -> tuple[object, ...]:
    """Return the parties, currency and amount that were recorded, and what was named."""
    record = outcome.transaction
    parties = (record.source_user_id, record.target_user_id)
    return *parties, record.currency_code, record.amount_minor, record.hold_id or record.reversal_of


UNKNOWN = (None, None, "", 0, None)
HOLD, PAY = transaction_id("caller", "hold"), transaction_id("caller", "pay")


def books_of_a_hold_and_a_transfer() -> Books:
    """Return books in which Alice has reserved a hundred for Bob, and paid him as much."""
    books = funded_books()
    decide(books, create_hold("hold", "alice", 100, target="bob"))
    decide(books, transfer("pay", ("alice", "bob"), 100))
    return books


@pytest.mark.parametrize(
    ("command", "recorded"),
    [
        (capture_hold("1", HOLD, 40, **SERVICE), ("alice", "bob", "RUB", 40, HOLD)),
        (capture_hold("1", HOLD, caller="bob"), ("alice", "bob", "RUB", 100, HOLD)),
        (void_hold("1", HOLD, caller="bob"), ("alice", "bob", "RUB", 100, HOLD)),
        (reverse("1", PAY, 40, **SERVICE), ("bob", "alice", "RUB", 40, PAY)),
        (reverse("1", PAY, caller="bob"), ("bob", "alice", "RUB", 100, PAY)),
        (reverse("1", HOLD, 40, **SERVICE), ("bob", "alice", "RUB", 0, HOLD)),
    ],
)
def test_what_a_refused_batch_names_is_recorded_with_its_parties_and_currency(
    command: Command, recorded: tuple[object, ...]
) -> None:
    assert about(bound(books_of_a_hold_and_a_transfer(), command)) == recorded


@pytest.mark.parametrize(
    "command",
    [
        capture_hold("1", HOLD, 40, caller="carol"),
        void_hold("1", HOLD, caller="carol"),
        reverse("1", PAY, 40, caller="carol"),
        capture_hold("1", HOLD, 40, to_user_id="alice", **SERVICE),
        capture_hold("1", HOLD, 40, currency_code="USD", **SERVICE),
        reverse("1", PAY, 40, currency_code="USD", **SERVICE),
        capture_hold("1", transaction_id("caller", "none"), 40, **SERVICE),
        reverse("1", transaction_id("caller", "none"), 40, **SERVICE),
    ],
)
def test_of_strangers_missing_and_contradicted_things_a_refused_batch_records_nothing(
    command: Command,
) -> None:
    assert about(bound(books_of_a_hold_and_a_transfer(), command)) == UNKNOWN


def test_a_capture_of_a_refused_batch_is_repeated_by_the_same_request_only() -> None:
    books = books_of_a_hold_and_a_transfer()
    bound(books, capture_hold("1", HOLD, 40, **SERVICE))

    for other in (
        capture_hold("1", HOLD, 41, **SERVICE),
        capture_hold("1", HOLD, **SERVICE),
        capture_hold("1", HOLD, 40, currency_code="USD", **SERVICE),
    ):
        with pytest.raises(RequestIdReused):
            decide(books, other)
    assert decide(books, capture_hold("1", HOLD, 40, currency_code="RUB", **SERVICE)).is_replayed


@pytest.mark.parametrize("posted_first", [True, False])
def test_what_was_decided_one_by_one_is_a_batch_only_if_all_of_it_was_done(
    *, posted_first: bool
) -> None:
    books = funded_books()
    done, no, neither = (
        withdraw(str(amount_minor), "alice", amount_minor) for amount_minor in (5, 10_000, 20_000)
    )
    for command in (done, no, neither):
        decide(books, command)
    before = snapshot(books), len(books.decided)

    for batch in ([done, no] if posted_first else [no, done], [no, neither]):
        with pytest.raises(RequestIdReused) as reused:
            decide_atomic(books, batch)
        assert (reused.value.values["fields"], reused.value.values["failed_index"]) == (
            "request_id",
            0,
        )

    assert decide_atomic(books, [done])[0].is_replayed
    assert (snapshot(books), len(books.decided)) == before


@pytest.mark.parametrize(
    ("ids", "is_answered"),
    [
        (["a", "too much", "c"], True),
        (["a", "too much"], True),
        (["too much", "a", "c"], False),
        (["a", "also too much"], False),
        (["a", "also too much", "c"], False),
    ],
)
def test_only_ids_that_were_refused_together_are_answered_again(
    ids: list[str], *, is_answered: bool
) -> None:
    books = funded_books()
    first = [deposit("a", "alice", 5), withdraw("too much", "alice", 9999), deposit("c", "bob", 5)]
    second = [deposit("d", "alice", 5), withdraw("also too much", "alice", 9999)]
    decide_atomic(books, first)
    books.now += 1
    decide_atomic(books, second)
    asked = {command.request_id: command for command in first + second}

    if is_answered:
        assert all(each.is_replayed for each in decide_atomic(books, [asked[name] for name in ids]))
        return
    with pytest.raises(RequestIdReused):
        decide_atomic(books, [asked[name] for name in ids])


def test_an_account_opened_in_a_batch_keeps_its_own_time() -> None:
    books = funded_books()
    books.now = 1000
    alice = books.account(AccountKey("alice", "RUB"))
    alice.updated_at = 6000  # by a server whose clock is ahead

    decide_atomic(books, [deposit("1", "new", 1), transfer("2", ("alice", "new"), 10)])

    opened = books.accounts[AccountKey("new", "RUB")]
    assert (opened.created_at, opened.updated_at) == (1000, 6000)


def test_a_batch_is_limited_by_what_left_before_its_windows() -> None:
    limit = SpendingLimit("ROLLING_DAY", max_minor=5)
    alice = rouble_account("alice", 9, outflow_minor=70, outflow_count=1, limits=(limit,))
    books = books_with(alice)
    books.outflows = {(alice.key, limit): Outflow(70, 1)}

    (outcome,) = decide_atomic(books, [withdraw("1", "alice", 5)])

    assert reason(outcome) is None


def test_a_batch_opens_accounts_by_the_operators_rules() -> None:
    books = books_with(rouble_account("alice", 9), rules=Rules(open_on_credit=True))

    (outcome,) = decide_atomic(books, [transfer("1", ("alice", "bob"), 5)])

    assert reason(outcome) is None


def test_a_batch_does_not_decide_on_accounts_that_others_hold_locked() -> None:
    books = books_with()
    books.busy = frozenset({AccountKey("alice", "RUB")})

    with pytest.raises(Contention):
        decide_atomic(books, [deposit("1", "alice", 5)])


def test_a_batch_gives_back_no_more_than_was_left_before_it() -> None:
    books = books_with(rouble_account("alice", 9), rouble_account("bob", 9))
    paid = decide(books, transfer("original", ("alice", "bob"), 9)).transaction.transaction_id
    decide(books, reverse("some", paid, 5, **SERVICE))

    (outcome,) = decide_atomic(books, [reverse("more", paid, 5, **SERVICE)])

    assert reason(outcome) == "REVERSAL_EXCEEDS_ORIGINAL"
