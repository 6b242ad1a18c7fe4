"""Table rows into the ledger's records."""

from collections.abc import Sequence
from typing import Any

from wallet_service.ledger.books import Account, Hold, Transaction
from wallet_service.ledger.commands import SpendingLimit
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.ledger.limits import read_limits


def account_of(row: Sequence[Any]) -> Account:
    """Build an account from its table row; raises `LedgerCorrupt` for limits that are none."""
    account = Account(*row)
    account.limits = _limits_of(account) if account.limits else ()
    account.is_stored = True
    return account


def _limits_of(account: Account) -> tuple[SpendingLimit, ...]:
    try:
        return read_limits(account.limits)
    except (TypeError, ValueError) as error:
        row = f"accounts {account.user_id}/{account.currency_code}"
        raise LedgerCorrupt(row=row, problem="limits is no list of limits") from error


def transaction_of(row: Sequence[Any]) -> Transaction:
    """Build a transaction from its table row."""
    transaction = Transaction._make(row)
    return transaction._replace(
        refusal_values=transaction.refusal_values or {},
        metadata=transaction.metadata or {},
        arguments=transaction.arguments or {},
    )


def hold_of(row: Sequence[Any]) -> Hold:
    """Build a hold from its table row."""
    hold = Hold._make(row)
    return hold._replace(metadata=hold.metadata or {})
