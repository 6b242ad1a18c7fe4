"""
The checks that can refuse a command, each one answer or None.

Clients rely on their order: account exists, closed, frozen, available funds, balance cap. The first
that applies is the answer.
"""

from wallet_service.ledger.books import Account, AccountState, Books
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import (
    AccountClosed,
    AccountFrozen,
    AccountNotFound,
    BalanceLimit,
    InsufficientFunds,
    Refusal,
)
from wallet_service.ledger.money import BALANCE_MINOR_MAX

_STATES_WITHOUT_DEBITS = frozenset({AccountState.NO_DEBITS, AccountState.FROZEN})
_STATES_WITHOUT_CREDITS = frozenset({AccountState.NO_CREDITS, AccountState.FROZEN})


def account_missing(books: Books, key: AccountKey) -> Refusal | None:
    """Refuse to pay an account nobody opened: a typo must not swallow money."""
    if books.is_open(key) or books.rules.open_on_credit:
        return None
    return AccountNotFound(**key._asdict())


def account_closed(account: Account) -> Refusal | None:
    """Refuse to move money on a closed account."""
    if account.state != AccountState.CLOSED:
        return None
    return AccountClosed(user_id=account.user_id, currency_code=account.currency_code)


def debit_blocked(account: Account) -> Refusal | None:
    """Refuse to take money from an account whose state forbids it."""
    return _frozen(account) if account.state in _STATES_WITHOUT_DEBITS else None


def credit_blocked(account: Account) -> Refusal | None:
    """Refuse to bring money to an account whose state forbids it."""
    return _frozen(account) if account.state in _STATES_WITHOUT_CREDITS else None


def funds_short(account: Account, amount_minor: int) -> Refusal | None:
    """Refuse to spend more than is available above the account's minimum."""
    shortfall = amount_minor - (account.available_minor - account.min_balance_minor)
    if shortfall <= 0:
        return None
    return InsufficientFunds(
        user_id=account.user_id,
        currency_code=account.currency_code,
        available=account.available_minor,
        required=amount_minor,
        shortfall=shortfall,
    )


def balance_overflow(account: Account, amount_minor: int) -> Refusal | None:
    """Refuse to bring an account above what can be stored."""
    if account.posted_minor + amount_minor <= BALANCE_MINOR_MAX:
        return None
    return BalanceLimit(
        user_id=account.user_id,
        currency_code=account.currency_code,
        balance_max=BALANCE_MINOR_MAX,
    )


def _frozen(account: Account) -> AccountFrozen:
    return AccountFrozen(
        user_id=account.user_id, currency_code=account.currency_code, state=account.state
    )
