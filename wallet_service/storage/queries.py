"""
Reading statements, each seeing the last commit. None of them locks, sums or scans.

Pages are found by key: the thousandth costs what the first did.
"""

from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, select

from wallet_service.ledger.books import Account, Entry, Outcome, Transaction
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import DatabaseUnavailable
from wallet_service.storage.database import Database
from wallet_service.storage.load import account_of, load_outcomes, transaction_of
from wallet_service.storage.schema import accounts, entries, transactions

_ENTRY_COLUMNS = len(Entry._fields)

_BALANCE = select(accounts).where(
    accounts.c.user_id == bindparam("user_id"),
    accounts.c.currency_code == bindparam("currency_code"),
)
_BALANCES = (
    select(accounts)
    .where(accounts.c.user_id == bindparam("user_id"))
    .order_by(accounts.c.currency_code)
)
_LINES = (
    select(entries, transactions)
    .join(transactions, transactions.c.transaction_id == entries.c.transaction_id)
    .where(
        entries.c.user_id == bindparam("user_id"),
        entries.c.currency_code == bindparam("currency_code"),
    )
    .limit(bindparam("row_limit"))
)
_NEWEST_LINES = _LINES.where(entries.c.sequence < bindparam("sequence")).order_by(
    entries.c.sequence.desc()
)
_OLDEST_LINES = _LINES.where(entries.c.sequence > bindparam("sequence")).order_by(
    entries.c.sequence
)


class Line(NamedTuple):
    """One entry of an account with its transaction."""

    entry: Entry
    transaction: Transaction


def read_account(database: Database, key: AccountKey) -> Account | None:
    """Return an account as last committed; None if it was never opened."""
    row = database.read(lambda look: look.execute(_BALANCE, key._asdict()).one_or_none())
    return account_of(row) if row else None


def read_accounts(database: Database, user_id: str) -> list[Account]:
    """Return a user's accounts, ordered by currency code."""
    rows = database.read(lambda look: look.execute(_BALANCES, {"user_id": user_id}).all())
    return [account_of(row) for row in rows]


def read_outcome(database: Database, transaction_id: str) -> Outcome | None:
    """Return a transaction with its entries; None if there is none."""
    return database.read(lambda look: load_outcomes(look, [transaction_id])).get(transaction_id)


def read_lines(
    database: Database, key: AccountKey, *, after: int | None, newest_first: bool, row_limit: int
) -> list[Line]:
    """
    Return part of an account's history in its order.

    Args:
        database: Where to look.

        key: The account.

        after: The sequence the part before ended with; None for the first part.

        newest_first: Down from the highest sequence; else up from 1.

        row_limit: The most lines to return.
    """
    if newest_first:
        statement, start = _NEWEST_LINES, 2**63 - 1
    else:
        statement, start = _OLDEST_LINES, 0
    parameters = {**key._asdict(), "row_limit": row_limit}
    parameters["sequence"] = start if after is None else after
    return [
        _line(row) for row in database.read(lambda look: look.execute(statement, parameters).all())
    ]


def _line(row: Row[Any]) -> Line:
    return Line(Entry._make(row[:_ENTRY_COLUMNS]), transaction_of(row[_ENTRY_COLUMNS:]))


def ping(database: Database) -> None:
    """
    Ask the database whether it takes writes.

    Raises:
        DatabaseUnavailable: It does not answer, or is a standby.

        Overloaded: As `Database.read`.
    """
    if not database.read(database.dialect.takes_writes):
        raise DatabaseUnavailable
