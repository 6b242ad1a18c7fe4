"""Holds: money is reserved once, and then taken, released, or released because time ran out."""

import pytest
from harness.commands import (
    balances,
    books_with,
    capture_hold,
    create_hold,
    deposit,
    expire_hold,
    held,
    reason,
    refused,
    reverse,
    rouble_account,
    snapshot,
    update_account,
    void_hold,
    withdraw,
)

from wallet_service.ledger.books import Books, Hold
from wallet_service.ledger.commands import AccountKey, CaptureHold, Condition
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import HoldNotDue
from wallet_service.ledger.money import BALANCE_MINOR_MAX

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


def test_a_hold_reserves_money_and_moves_none() -> None:
    books = funded_books()

    outcome = decide(books, create_hold("hold", "alice", 400, description="taxi"))

    assert outcome.entries == ()
    assert outcome.hold == books.holds[outcome.transaction.transaction_id]
    assert outcome.transaction.hold_id == outcome.transaction.transaction_id
    assert (outcome.hold.state, outcome.hold.description) == ("ACTIVE", "taxi")
    assert balances(books)["alice", "RUB"] == (1000, 0)
    assert held(books, "alice") == (400, 1)
    assert reason(refused(books, withdraw("1", "alice", 601))) == "INSUFFICIENT_FUNDS"
    assert reason(decide(books, withdraw("2", "alice", 600))) is None


def test_a_hold_changes_at_the_time_of_the_capture_that_changes_it() -> None:
    books = funded_books(now=1000)
    hold = make(books, target="bob")
    books.accounts[AccountKey("bob", "RUB")].updated_at = 7000  # by a clock that is ahead

    outcome = decide(books, capture_hold("1", hold.hold_id, 100, caller="bob"))

    assert outcome.hold == books.holds[hold.hold_id]
    assert outcome.transaction.created_at == outcome.hold.updated_at == 7000


def test_a_hold_over_what_is_available_is_refused_when_it_is_made() -> None:
    books = funded_books()
    make(books, 400)

    outcome = refused(books, create_hold("more", "alice", 601))

    assert reason(outcome) == "INSUFFICIENT_FUNDS"
    assert outcome.transaction.refusal_values["available"] == 600
    assert outcome.transaction.hold_id is None
    assert reason(refused(books, create_hold("who", "alice", 1, target="bbo"))) == (
        "ACCOUNT_NOT_FOUND"
    )


@pytest.mark.parametrize(
    ("target", "to_user_id", "paid"),
    [
        (None, None, "@external"),
        (None, "carol", "carol"),
        ("bob", None, "bob"),
        ("bob", "bob", "bob"),
    ],
)
def test_a_capture_pays_the_holds_target_or_the_one_given_or_the_outside(
    target: str | None, to_user_id: str | None, paid: str
) -> None:
    books = funded_books()
    hold = make(books, target=target)

    capture = capture_hold("c", hold.hold_id, caller=target or "alice", to_user_id=to_user_id)
    outcome = decide(books, capture)

    assert outcome.transaction.target_user_id == paid
    assert (outcome.transaction.amount_minor, outcome.transaction.hold_id) == (400, hold.hold_id)
    assert now_of(books, hold) == ("CAPTURED", 400, 0)
    assert outcome.hold == books.holds[hold.hold_id]
    expected = {"alice": 600, "bob": 0, "carol": 0} | ({} if paid == "@external" else {paid: 400})
    assert {key[0]: posted for key, (posted, _) in balances(books).items()} == expected
    assert held(books, "alice") == (0, 0)


@pytest.mark.parametrize(
    ("amount_minor", "keep_remainder", "after", "still_held"),
    [
        (None, False, ("CAPTURED", 400, 0), (0, 0)),
        (None, True, ("CAPTURED", 400, 0), (0, 0)),
        (400, True, ("CAPTURED", 400, 0), (0, 0)),
        (150, False, ("CAPTURED", 150, 0), (0, 0)),
        (150, True, ("ACTIVE", 150, 250), (250, 1)),
    ],
)
def test_what_is_not_captured_is_released_unless_it_shall_be_kept(
    amount_minor: int | None,
    keep_remainder: bool,  # noqa: FBT001 (a column of the table)
    after: tuple[str, int, int],
    still_held: tuple[int, int],
) -> None:
    books = funded_books()
    hold = make(books)

    decide(
        books,
        capture_hold(
            "c", hold.hold_id, amount_minor, caller="alice", keep_remainder=keep_remainder
        ),
    )

    assert now_of(books, hold) == after
    assert held(books, "alice") == still_held
    assert balances(books)["alice", "RUB"] == (1000 - after[1], 1)


def test_a_kept_remainder_is_captured_bit_by_bit_and_never_beyond() -> None:
    books = funded_books()
    hold = make(books)
    words = {"caller": "alice", "keep_remainder": True}
    decide(books, capture_hold("1", hold.hold_id, 150, **words))

    outcome = refused(books, capture_hold("2", hold.hold_id, 251, **words))

    assert reason(outcome) == "CAPTURE_EXCEEDS_HOLD"
    assert outcome.transaction.refusal_values == {
        "hold_id": hold.hold_id,
        "remaining": 250,
        "required": 251,
    }
    decide(books, capture_hold("3", hold.hold_id, 100, **words))
    assert decide(books, capture_hold("4", hold.hold_id, **words)).transaction.amount_minor == 150
    assert now_of(books, hold) == ("CAPTURED", 400, 0)
    assert balances(books)["alice", "RUB"] == (600, 3)


def test_a_capture_never_overdraws_whatever_happened_between() -> None:
    books = funded_books()
    hold = make(books)
    decide(books, withdraw("out", "alice", 600))
    decide(books, capture_hold("1", hold.hold_id, 100, caller="alice", keep_remainder=True))
    gift = decide(books, deposit("in", "alice", 5))
    back = reverse("back", gift.transaction.transaction_id, caller="bank", is_service=True)
    decide(books, back)
    assert reason(refused(books, withdraw("more", "alice", 1))) == "INSUFFICIENT_FUNDS"

    decide(books, capture_hold("2", hold.hold_id, caller="alice"))

    assert balances(books)["alice", "RUB"][0] == 0
    assert held(books, "alice") == (0, 0)


def test_a_void_releases_what_is_left() -> None:
    books = funded_books()
    hold = make(books)
    decide(books, capture_hold("c", hold.hold_id, 150, caller="alice", keep_remainder=True))

    outcome = decide(books, void_hold("v", hold.hold_id, caller="alice"))

    assert (outcome.entries, outcome.transaction.amount_minor) == ((), 250)
    assert now_of(books, hold) == ("VOIDED", 150, 0)
    assert held(books, "alice") == (0, 0)
    assert balances(books)["alice", "RUB"] == (850, 1)


@pytest.mark.parametrize("how", [capture_hold, void_hold])
@pytest.mark.parametrize("before", [capture_hold, void_hold])
def test_a_resolved_hold_cannot_be_resolved_again(how: object, before: object) -> None:
    books = funded_books()
    hold = make(books)
    decide(books, before("1", hold.hold_id, caller="alice"))  # type: ignore[operator]

    outcome = refused(books, how("2", hold.hold_id, caller="alice"))  # type: ignore[operator]

    assert reason(outcome) == "HOLD_NOT_ACTIVE"
    assert outcome.transaction.refusal_values["state"] == now_of(books, hold)[0]


@pytest.mark.parametrize("is_swept", [False, True])
@pytest.mark.parametrize("how", [capture_hold, void_hold])
def test_a_hold_whose_time_is_over_is_over_swept_or_not(how: object, *, is_swept: bool) -> None:
    books = funded_books()
    hold = make(books, expire_after_us=HOUR_US)
    books.now += HOUR_US
    if is_swept:
        decide(books, expire_hold(hold.hold_id))

    outcome = refused(books, how("late", hold.hold_id, caller="alice"))  # type: ignore[operator]

    assert reason(outcome) == "HOLD_EXPIRED"
    assert held(books, "alice") == ((0, 0) if is_swept else (400, 1))


def test_a_hold_can_be_used_until_its_last_microsecond_and_expires_then() -> None:
    books = funded_books()
    hold = make(books, expire_after_us=HOUR_US)
    assert hold.expires_at == 1000 + HOUR_US
    books.now += HOUR_US - 1
    before = snapshot(books)
    with pytest.raises(HoldNotDue):
        decide(books, expire_hold(hold.hold_id))
    assert snapshot(books) == before
    decide(books, capture_hold("c", hold.hold_id, 1, caller="alice", keep_remainder=True))
    books.now += 1

    outcome = decide(books, expire_hold(hold.hold_id))

    assert (outcome.transaction.caller, outcome.transaction.amount_minor) == ("@system", 399)
    assert now_of(books, hold) == ("EXPIRED", 1, 0)
    assert held(books, "alice") == (0, 0)
    assert decide(books, expire_hold(hold.hold_id)).is_replayed
    assert balances(books)["alice", "RUB"] == (999, 1)


@pytest.mark.parametrize("expire_after_us", [None, HOUR_US])
@pytest.mark.parametrize("resolve", [None, capture_hold, void_hold])
def test_only_a_due_hold_that_nobody_resolved_expires(
    expire_after_us: int | None, resolve: object
) -> None:
    books = funded_books()
    hold = make(books, expire_after_us=expire_after_us)
    if resolve:
        decide(books, resolve("r", hold.hold_id, caller="alice"))  # type: ignore[operator]
    before = snapshot(books), len(books.decided)
    books.now += HOUR_US if resolve or expire_after_us is None else 0

    for hold_id in (hold.hold_id, "never made"):
        with pytest.raises(HoldNotDue):
            decide(books, expire_hold(hold_id))

    assert (snapshot(books), len(books.decided)) == before


def test_no_more_is_reserved_than_can_be_counted() -> None:
    account = rouble_account("alice", BALANCE_MINOR_MAX, min_balance_minor=-BALANCE_MINOR_MAX)
    books = books_with(account)
    account.held_minor = BALANCE_MINOR_MAX - 1

    decide(books, create_hold("fits", "alice", 1))

    assert reason(refused(books, create_hold("not", "alice", 1))) == "BALANCE_LIMIT"


def test_a_closed_account_reserves_nothing_of_its_overdraft() -> None:
    books = books_with(rouble_account("alice", min_balance_minor=-100))
    decide(books, update_account("close", "alice", state="CLOSED"))

    assert reason(refused(books, create_hold("hold", "alice", 5))) == "ACCOUNT_CLOSED"


@pytest.mark.parametrize("state", ["NO_CREDITS", "FROZEN"])
def test_nothing_is_reserved_for_or_captured_by_an_account_that_may_not_receive(
    state: str,
) -> None:
    books = funded_books()
    hold = make(books, target="bob")
    decide(books, update_account("freeze", "bob", state=state))

    captured = refused(books, capture_hold("capture", hold.hold_id, caller="bob"))
    reserved = refused(books, create_hold("more", "alice", 5, target="bob"))

    assert (reason(captured), reason(reserved)) == ("ACCOUNT_FROZEN", "ACCOUNT_FROZEN")


@pytest.mark.parametrize(
    ("to_user_id", "answer"), [("bbo", "ACCOUNT_NOT_FOUND"), ("bob", "ACCOUNT_CLOSED")]
)
def test_a_capture_pays_no_missing_and_no_closed_account(to_user_id: str, answer: str) -> None:
    books = funded_books()
    hold = make(books)
    decide(books, update_account("close", "bob", state="CLOSED"))

    capture = capture_hold("capture", hold.hold_id, to_user_id=to_user_id, caller="alice")

    assert reason(refused(books, capture)) == answer


def test_a_resolved_hold_is_never_called_expired() -> None:
    books = funded_books()
    hold = make(books, expire_after_us=5)
    decide(books, void_hold("void", hold.hold_id, caller="alice", is_service=True))
    books.now += 5

    late = void_hold("late", hold.hold_id, caller="alice", is_service=True)

    assert reason(refused(books, late)) == "HOLD_NOT_ACTIVE"


@pytest.mark.parametrize(("keeps", "after"), [(True, 600), (False, 800)])
def test_what_a_capture_keeps_reserved_is_not_available_after_it(
    *, keeps: bool, after: int
) -> None:
    books = funded_books()
    hold = make(books, 400)

    def capture(request_id: str, floor_minor: int) -> CaptureHold:
        condition = Condition(balance_after_at_least=floor_minor)
        words = {"keep_remainder": keeps, "condition": condition, "is_service": True}
        return capture_hold(request_id, hold.hold_id, 200, **words)

    short = refused(books, capture("more", after + 1)).transaction

    assert short.refusal_values["actual"] == after
    assert reason(decide(books, capture("enough", after))) is None
