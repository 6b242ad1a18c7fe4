"""Write what a batch decided: new rows in bulk, changed accounts in one statement."""

from sqlalchemy import Connection

from wallet_service.ledger.books import Account, Books, Transaction
from wallet_service.storage.database import Database
from wallet_service.storage.schema import accounts, entries, transactions


def write_books(database: Database, connection: Connection, books: Books) -> None:
    """
    Write everything that was decided, inside the batch's database transaction.

    Rows go in the order of their keys: two servers that open the same accounts or repeat the same
    requests wait for each other, never in a circle.
    """
    if not books.decided:
        return
    insert_rows = database.dialect.insert_rows
    changed = sorted(books.changed.items())
    opened = [_account_row(account) for _, account in changed if not account.is_stored]
    moved = [account for _, account in changed if account.is_stored]
    if opened:
        insert_rows(connection, accounts, opened)
    if moved:
        database.dialect.update_accounts(connection, moved)
    records = sorted(outcome.transaction for outcome in books.decided)
    insert_rows(connection, transactions, [_transaction_row(record) for record in records])
    lines = [entry for outcome in books.decided for entry in outcome.entries]
    if lines:
        insert_rows(connection, entries, lines)


def _account_row(account: Account) -> tuple[object, ...]:
    return tuple(getattr(account, name) for name in accounts.columns.keys())  # noqa: SIM118


def _transaction_row(transaction: Transaction) -> Transaction:
    return transaction._replace(
        refusal_values=transaction.refusal_values or None,  # type: ignore[arg-type]
        metadata=transaction.metadata or None,  # type: ignore[arg-type]
    )
