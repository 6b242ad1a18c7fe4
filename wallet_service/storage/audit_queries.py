"""
Statements that read whole tables, streamed, for `audit`.

Each takes the connection of a `Database.snapshot`, so that all of them see one moment.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select

from wallet_service.ledger.books import Account, Entry, Transaction
from wallet_service.storage.load import account_of, transaction_of
from wallet_service.storage.schema import accounts, entries, transactions

#: What `Database.snapshot` lends.
Snapshot = Connection

_ENTRY_COLUMNS = len(Entry._fields)
_LINES = (
    select(entries, transactions)
    .outerjoin(transactions, transactions.c.transaction_id == entries.c.transaction_id)
    .order_by(entries.c.user_id, entries.c.currency_code, entries.c.sequence)
)
_ACCOUNTS = select(accounts).order_by(accounts.c.user_id, accounts.c.currency_code)


class StoredLine(NamedTuple):
    """An entry with its transaction, which is missing in damaged books."""

    entry: Entry
    transaction: Transaction | None


class Counts(NamedTuple):
    """How many rows there are."""

    accounts: int
    entries: int
    transactions: int


def count_rows(connection: Connection) -> Counts:
    """Count all rows."""
    tables = (accounts, entries, transactions)
    return Counts(
        *(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
    )


def stream_accounts(connection: Connection) -> Iterator[Account]:
    """Read all accounts in the order of their keys."""
    return map(account_of, connection.execute(_ACCOUNTS))


def stream_lines(connection: Connection) -> Iterator[StoredLine]:
    """Read all entries, account by account and in sequence."""
    for row in connection.execute(_LINES):
        record = row[_ENTRY_COLUMNS:]
        transaction = None if record[0] is None else transaction_of(record)
        yield StoredLine(Entry._make(row[:_ENTRY_COLUMNS]), transaction)


def stream_transactions(connection: Connection) -> Iterator[Transaction]:
    """Read all transactions."""
    return map(transaction_of, connection.execute(select(transactions)))


def find_unwritten_side(connection: Connection) -> Transaction | None:
    """Return a transaction whose entry on either side is missing or belongs to another."""
    sides = (
        (transactions.c.source_user_id, transactions.c.source_sequence),
        (transactions.c.target_user_id, transactions.c.target_sequence),
    )
    for user_id, sequence in sides:
        statement = (
            select(transactions)
            .outerjoin(
                entries,
                and_(
                    entries.c.user_id == user_id,
                    entries.c.currency_code == transactions.c.currency_code,
                    entries.c.sequence == sequence,
                    entries.c.transaction_id == transactions.c.transaction_id,
                ),
            )
            .where(sequence.is_not(None), entries.c.user_id.is_(None))
            .limit(1)
        )
        row = connection.execute(statement).first()
        if row:
            return transaction_of(row)
    return None
