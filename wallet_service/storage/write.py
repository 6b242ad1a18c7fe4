"""Write what a batch decided."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Insert, Table, bindparam, update

from wallet_service.ledger.books import Account, Books, Hold
from wallet_service.storage.database import WriteTransaction
from wallet_service.storage.dialect import LastRows
from wallet_service.storage.schema import accounts, holds, reversals

_OVERWRITE_ACCOUNT = (
    update(accounts)
    .where(
        accounts.c.user_id == bindparam("key_user_id"),
        accounts.c.currency_code == bindparam("key_currency_code"),
    )
    .values(
        {
            column.name: bindparam(column.name)
            for column in accounts.columns
            if not column.primary_key
        }
    )
)


def write_books(transaction: WriteTransaction, books: Books) -> None:
    """
    Write and commit everything that was decided.

    Rows go in the order of their keys: two servers that open the same accounts or repeat the same
    requests wait for each other, never in a circle.
    """
    changed = [books.changed[key] for key in sorted(books.changed)]
    stored = [account for account in changed if account.is_stored]
    _insert_opened(transaction, [account for account in changed if not account.is_stored])
    _overwrite(transaction, [each for each in stored if each.key in books.changed_settings])
    moved = [each for each in stored if each.key not in books.changed_settings]
    if books.changed_holds:
        rows = [_hold_row(hold) for _, hold in sorted(books.changed_holds.items())]
        transaction.connection.execute(_upsert(transaction, holds), rows)
    if books.changed_reversals:
        rows = [
            {"transaction_id": original_id, "reversed_minor": reversed_minor}
            for original_id, reversed_minor in sorted(books.changed_reversals.items())
        ]
        transaction.connection.execute(_upsert(transaction, reversals), rows)
    records = sorted(each.transaction for each in books.decided)
    lines = [entry for outcome in books.decided for entry in outcome.entries]
    transaction.commit(LastRows(moved, records, lines))


def _insert_opened(transaction: WriteTransaction, opened: Sequence[Account]) -> None:
    if opened:
        rows = [tuple(_account_row(account).values()) for account in opened]
        transaction.dialect.insert_rows(transaction.connection, accounts, rows)


def _overwrite(transaction: WriteTransaction, changed: Sequence[Account]) -> None:
    """Overwrite accounts whole, with the settings that moving money leaves alone."""
    for account in changed:
        row = _account_row(account)
        row["key_user_id"] = row.pop("user_id")
        row["key_currency_code"] = row.pop("currency_code")
        transaction.connection.execute(_OVERWRITE_ACCOUNT, row)


def _upsert(transaction: WriteTransaction, table: Table) -> Insert:
    """Build an insert that overwrites the row of the same key."""
    statement = transaction.dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changes = {name: value for name, value in statement.excluded.items() if name not in keys}
    upsert: Insert = statement.on_conflict_do_update(index_elements=keys, set_=changes)
    return upsert


def _account_row(account: Account) -> dict[str, Any]:
    row = {name: getattr(account, name) for name in accounts.columns.keys()}  # noqa: SIM118
    row["limits"] = [list(limit) for limit in account.limits] or None
    return row


def _hold_row(hold: Hold) -> dict[str, Any]:
    return hold._replace(metadata=hold.metadata or None)._asdict()  # type: ignore[arg-type]
