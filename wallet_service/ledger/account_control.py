"""Decide what operators ask of accounts: to open them, and to change what they may do."""

from wallet_service.ledger.books import Account, AccountState, Books, Outcome
from wallet_service.ledger.commands import Arguments, OpenAccount, UpdateAccount
from wallet_service.ledger.errors import (
    AccountNotEmpty,
    AccountNotFound,
    InsufficientFunds,
    Refusal,
)
from wallet_service.ledger.post import Movement, note, refuse
from wallet_service.ledger.refusals import account_closed

#: Where a recorded change keeps the settings before and after it, beside what was asked.
CHANGES = ("before", "after")


def decide_open_account(books: Books, command: OpenAccount) -> Outcome:
    """Open an account; opening an open one changes nothing, and its record says so."""
    account = books.account(command.target)
    movement = Movement(None, account.user_id, account.currency_code, 0)
    refusal = account_closed(account)
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the opening must succeed.
    settings = _settings(account)
    if books.is_open(command.target):
        changes = {"before": settings, "after": settings}
        return note(
            books, command, movement, changes=changes, created_at=_next_time(books, account)
        )
    account.updated_at = books.now
    books.keep(account)
    return note(books, command, movement, changes={"after": settings})


def decide_update_account(books: Books, command: UpdateAccount) -> Outcome:
    """Change an account's state, minimum or limits; what is not named stays."""
    account = books.account(command.target)
    movement = Movement(None, account.user_id, account.currency_code, 0)
    refusal = _missing(books, command) or _not_empty(account, command) or _below(account, command)
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the change must succeed.
    before = _settings(account)
    if command.min_balance_minor is not None:
        account.min_balance_minor = command.min_balance_minor
    if command.state is not None:
        account.state = command.state
    if command.limits is not None:
        account.limits = command.limits
    account.updated_at = _next_time(books, account)
    books.keep_settings(account)
    changes = {"before": before, "after": _settings(account)}
    return note(books, command, movement, changes=changes, created_at=account.updated_at)


def _next_time(books: Books, account: Account) -> int:
    """Return a time after all that the account shows."""
    return max(books.now, account.updated_at + 1)


def _settings(account: Account) -> Arguments:
    return {
        "min_balance": account.min_balance_minor,
        "state": str(account.state),
        "limits": [list(limit) for limit in account.limits],
    }


def _missing(books: Books, command: UpdateAccount) -> Refusal | None:
    if books.is_open(command.target):
        return None
    return AccountNotFound(**command.target._asdict())


def _not_empty(account: Account, command: UpdateAccount) -> Refusal | None:
    """Refuse to close an account with money or holds on it."""
    if command.state != AccountState.CLOSED or not (account.posted_minor or account.held_minor):
        return None
    return AccountNotEmpty(user_id=account.user_id, currency_code=account.currency_code)


def _below(account: Account, command: UpdateAccount) -> Refusal | None:
    """Refuse a minimum that the account is below already."""
    minimum = command.min_balance_minor
    if minimum is None or minimum <= account.available_minor:
        return None
    return InsufficientFunds(
        user_id=account.user_id,
        currency_code=account.currency_code,
        available=account.available_minor,
        required=minimum,
        shortfall=minimum - account.available_minor,
    )
