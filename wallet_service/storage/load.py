"""Load what a batch decides on: its accounts, locked, and the outcomes its ids already have."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, tuple_

from wallet_service.ledger.books import Account, Books, Entry, Outcome, Rules, Transaction
from wallet_service.ledger.commands import AccountKey, Command, accounts_of
from wallet_service.storage.database import Database
from wallet_service.storage.schema import accounts as accounts_table
from wallet_service.storage.schema import entries, transactions

_OUTCOMES = select(transactions).where(
    transactions.c.transaction_id.in_(bindparam("transaction_ids", expanding=True))
)
_LINES = select(entries).where(
    tuple_(entries.c.user_id, entries.c.currency_code, entries.c.sequence).in_(
        bindparam("lines", expanding=True)
    )
)


_PRESENT = select(accounts_table.c.user_id, accounts_table.c.currency_code).where(
    tuple_(accounts_table.c.user_id, accounts_table.c.currency_code).in_(
        bindparam("keys", expanding=True)
    )
)


def load_books(
    database: Database,
    connection: Connection,
    commands: Sequence[Command],
    *,
    now: int,
    rules: Rules,
    skip_busy: bool,
) -> Books:
    """
    Lock and load everything some commands need, inside the batch's database transaction.

    Ids are looked up in a statement of their own after the locks: it sees what their last owner
    committed. With `skip_busy` accounts that others hold locked are noted instead of waited for.
    """
    keys = sorted({key for command in commands for key in accounts_of(command)})
    rows = database.dialect.lock_accounts(connection, keys, skip_busy=skip_busy)
    loaded = map(account_of, rows)
    accounts = {AccountKey(account.user_id, account.currency_code): account for account in loaded}
    outcomes = load_outcomes(connection, [command.transaction_id for command in commands])
    busy = _present(connection, keys) - accounts.keys() if skip_busy else set()
    return Books(now=now, rules=rules, accounts=accounts, outcomes=outcomes, busy=busy)


def _present(connection: Connection, keys: Sequence[AccountKey]) -> set[AccountKey]:
    """Tell which of some accounts were ever opened, locked or not."""
    return {AccountKey(*row) for row in connection.execute(_PRESENT, {"keys": keys})}


def load_outcomes(connection: Connection, transaction_ids: Sequence[str]) -> dict[str, Outcome]:
    """Read recorded transactions and their entries, by transaction id."""
    parameters = {"transaction_ids": list(dict.fromkeys(transaction_ids))}
    found = [transaction_of(row) for row in connection.execute(_OUTCOMES, parameters)]
    if not found:
        return {}
    lines = [line for transaction in found for line in _lines_of(transaction)]
    by_id: dict[str, list[Entry]] = {}
    if lines:
        for row in connection.execute(_LINES, {"lines": lines}):
            entry = Entry._make(row)
            by_id.setdefault(entry.transaction_id, []).append(entry)
    return {
        transaction.transaction_id: Outcome(
            transaction, tuple(by_id.get(transaction.transaction_id, ())), is_replayed=True
        )
        for transaction in found
    }


def account_of(row: Sequence[Any]) -> Account:
    """Build an account from its table row."""
    account = Account(*row)
    account.is_stored = True
    return account


def transaction_of(row: Sequence[Any]) -> Transaction:
    """Build a transaction from its table row."""
    transaction = Transaction._make(row)
    return transaction._replace(
        refusal_values=transaction.refusal_values or {}, metadata=transaction.metadata or {}
    )


def _lines_of(transaction: Transaction) -> list[tuple[str | None, str, int]]:
    currency_code = transaction.currency_code
    sides = (
        (transaction.source_user_id, transaction.source_sequence),
        (transaction.target_user_id, transaction.target_sequence),
    )
    return [
        (user_id, currency_code, sequence) for user_id, sequence in sides if sequence is not None
    ]
