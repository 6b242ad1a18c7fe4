"""Commands and books as the pure tests build them: short to write, all fields valid."""

from collections.abc import Mapping
from typing import Any

from wallet_service.ledger.books import Account, Books, Rules
from wallet_service.ledger.commands import (
    AccountKey,
    Deposit,
    OpenAccount,
    Transfer,
    Withdraw,
)

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


def books_with(*accounts: Account, now: int = 1000, rules: Rules | None = None) -> Books:
    """Return books in which some accounts are open."""
    by_key = {AccountKey(account.user_id, account.currency_code): account for account in accounts}
    return Books(now=now, rules=rules or Rules(), accounts=by_key)


def rouble_account(user_id: str, posted_minor: int = 0, **fields: int | str) -> Account:
    """Return an open account in roubles."""
    return Account(user_id, "RUB", posted_minor, **fields)  # type: ignore[arg-type]


def balances(books: Books) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Return posted balance and sequence of all open accounts."""
    return {
        (key.user_id, key.currency_code): (account.posted_minor, account.sequence)
        for key, account in books.accounts.items()
    }


def _common(request_id: str, words: Mapping[str, object]) -> dict[str, Any]:
    return {"caller": CALLER, "request_id": request_id, **words}
