"""Commands and books as the pure tests build them: short to write, all fields valid."""

import copy
from collections.abc import Mapping
from typing import Any

from wallet_service.ledger.books import Account, Books, Outcome, Rules
from wallet_service.ledger.commands import (
    SYSTEM,
    AccountKey,
    CaptureHold,
    Command,
    CreateHold,
    Deposit,
    ExpireHold,
    OpenAccount,
    ReverseTransaction,
    Transfer,
    UpdateAccount,
    VoidHold,
    Withdraw,
)
from wallet_service.ledger.decide import decide

CALLER = "caller"


def deposit(
    request_id: str, user_id: str, amount_minor: int, *, currency_code: str = "RUB", **words: object
) -> Deposit:
    """Ask for money to come in."""
    target = AccountKey(user_id, currency_code)
    return Deposit(target=target, amount_minor=amount_minor, **_common(request_id, words))


def withdraw(
    request_id: str, user_id: str, amount_minor: int, *, currency_code: str = "RUB", **words: object
) -> Withdraw:
    """Ask for money to go out."""
    source = AccountKey(user_id, currency_code)
    return Withdraw(source=source, amount_minor=amount_minor, **_common(request_id, words))


def transfer(
    request_id: str,
    users: tuple[str, str],
    amount_minor: int,
    *,
    currency_code: str = "RUB",
    **words: object,
) -> Transfer:
    """Ask for money to move from the first user to the second."""
    source, target = (AccountKey(user_id, currency_code) for user_id in users)
    return Transfer(
        source=source, target=target, amount_minor=amount_minor, **_common(request_id, words)
    )


def open_account(
    request_id: str, user_id: str, *, currency_code: str = "RUB", **words: object
) -> OpenAccount:
    """Ask for an account at zero."""
    return OpenAccount(target=AccountKey(user_id, currency_code), **_common(request_id, words))


def create_hold(
    request_id: str,
    user_id: str,
    amount_minor: int,
    *,
    target: str | None = None,
    currency_code: str = "RUB",
    **words: object,
) -> CreateHold:
    """Ask for money to be reserved, for anybody or for one user."""
    return CreateHold(
        source=AccountKey(user_id, currency_code),
        target=AccountKey(target, currency_code) if target else None,
        amount_minor=amount_minor,
        **_common(request_id, words),
    )


def capture_hold(
    request_id: str, hold_id: str, amount_minor: int | None = None, **words: object
) -> CaptureHold:
    """Ask for reserved money to be taken."""
    return CaptureHold(hold_id=hold_id, amount_minor=amount_minor, **_common(request_id, words))


def void_hold(request_id: str, hold_id: str, **words: object) -> VoidHold:
    """Ask for reserved money to be released."""
    return VoidHold(hold_id=hold_id, **_common(request_id, words))


def expire_hold(hold_id: str) -> ExpireHold:
    """Ask for a hold to be released as the service itself does."""
    return ExpireHold(caller=SYSTEM, request_id=f"expire/{hold_id}", hold_id=hold_id)


def reverse(
    request_id: str, original_id: str, amount_minor: int | None = None, **words: object
) -> ReverseTransaction:
    """Ask for a transaction to be given back."""
    common = _common(request_id, words)
    return ReverseTransaction(original_id=original_id, amount_minor=amount_minor, **common)


def update_account(
    request_id: str, user_id: str, *, currency_code: str = "RUB", **words: object
) -> UpdateAccount:
    """Ask for an account to be changed."""
    return UpdateAccount(target=AccountKey(user_id, currency_code), **_common(request_id, words))


def books_with(*accounts: Account, now: int = 1000, rules: Rules | None = None) -> Books:
    """Return books in which some accounts are open."""
    by_key = {AccountKey(account.user_id, account.currency_code): account for account in accounts}
    return Books(now=now, rules=rules or Rules(), accounts=by_key)


def rouble_account(user_id: str, posted_minor: int = 0, **fields: Any) -> Account:
    """Return an open account in roubles."""
    return Account(user_id, "RUB", posted_minor, **fields)


def balances(books: Books) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Return posted balance and sequence of all open accounts."""
    return {
        (key.user_id, key.currency_code): (account.posted_minor, account.sequence)
        for key, account in books.accounts.items()
    }


def held(books: Books, user_id: str) -> tuple[int, int]:
    """Return what holds reserve on a user's account in roubles, and how many they are."""
    account = books.accounts[AccountKey(user_id, "RUB")]
    return account.held_minor, account.open_holds


def refused(books: Books, command: Command) -> Outcome:
    """Decide a command that must be refused, and see that nothing else changes."""
    before = snapshot(books)
    outcome = decide(books, command)

    assert outcome.transaction.state == "REFUSED"
    assert outcome.entries == ()
    assert outcome.hold is None
    assert snapshot(books) == before
    assert books.decided[-1] == outcome
    return outcome


def reason(outcome: Outcome) -> str | None:
    """Return why a request was refused; None if it was carried out."""
    return outcome.transaction.refusal_reason


def snapshot(books: Books) -> object:
    """Copy all that a refused request must leave alone."""
    return copy.deepcopy(
        (
            dict(books.accounts),
            dict(books.holds),
            dict(books.reversed_minor),
            books.changed,
            books.changed_holds,
            books.changed_reversals,
            books.changed_settings,
        )
    )


def _common(request_id: str, words: Mapping[str, object]) -> dict[str, Any]:
    return {"caller": CALLER, "request_id": request_id, **words}
