"""
Pages of holds, of accounts and of what operators changed; none locks or sums.

They are found by key: the thousandth costs what the first did.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    literal,
    literal_column,
    select,
    tuple_,
)

from wallet_service.ledger.books import Account, Hold, Transaction
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.database import Database
from wallet_service.storage.history import SCAN_ROWS_MAX
from wallet_service.storage.records import account_of, hold_of, transaction_of
from wallet_service.storage.schema import CHANGES_ACCOUNT, accounts, holds, transactions

_Row = TypeVar("_Row")

#: The key of a row in its listing.
Position = tuple[Any, ...]


class Page(NamedTuple, Generic[_Row]):
    """Rows in their order; `next_after` is where the next page goes on, None: nowhere."""

    rows: list[_Row]
    next_after: Position | None


class _Listing(NamedTuple, Generic[_Row]):
    """A table, the columns its rows are listed by, from which end, and how one is built."""

    table: Table
    key: tuple[Column[Any], ...]
    newest_first: bool
    row_of: Callable[[Sequence[Any]], _Row]


_HOLDS = _Listing(
    holds,
    key=(holds.c.created_at, holds.c.hold_id),
    newest_first=True,
    row_of=hold_of,
)
_ACCOUNTS = _Listing(
    accounts,
    key=(accounts.c.user_id, accounts.c.currency_code),
    newest_first=False,
    row_of=account_of,
)
_CHANGES = _Listing(
    transactions,
    key=(transactions.c.created_at, transactions.c.transaction_id),
    newest_first=True,
    row_of=transaction_of,
)


def read_holds(
    database: Database,
    key: AccountKey,
    *,
    states: Sequence[str],
    after: Position | None,
    page_size: int,
) -> Page[Hold]:
    """
    Read one page of an account's holds, newest first.

    Args:
        database: Where to look.

        key: The account.

        states: Only holds in these; empty: all.

        after: `next_after` of the page before, or the (created_at, hold_id) of any; None for the
            first.

        page_size: The most rows to return. A filtered page may have fewer, even none, and yet not
            be the last: it looks at `SCAN_ROWS_MAX` rows at most.
    """
    rows = _rows(_HOLDS, after).where(
        holds.c.user_id == key.user_id, holds.c.currency_code == key.currency_code
    )
    return _read_page(database, _HOLDS, rows, wanted={"state": states}, page_size=page_size)


def read_account_page(
    database: Database,
    *,
    user_id: str | None,
    currency_code: str | None,
    states: Sequence[str],
    after: Position | None,
    page_size: int,
) -> Page[Account]:
    """
    Read one page of accounts in the order of their keys.

    Args:
        database: Where to look.

        user_id: Only this user's; None: everybody's.

        currency_code: Only accounts in this; None: in any.

        states: Only accounts in these; empty: in all.

        after: `next_after` of the page before, or the key of any; None for the first.

        page_size: The most rows to return. Filtered by more than the user, a page may have fewer,
            even none, and yet not be the last: it looks at `SCAN_ROWS_MAX` rows at most.
    """
    rows = _rows(_ACCOUNTS, after)
    if user_id is not None:
        rows = rows.where(accounts.c.user_id == user_id)
    wanted = {"currency_code": [currency_code] if currency_code else [], "state": states}
    return _read_page(database, _ACCOUNTS, rows, wanted=wanted, page_size=page_size)


def read_account_changes(
    database: Database, key: AccountKey, *, after: Position | None, page_size: int
) -> Page[Transaction]:
    """Read one page of an account's openings and changes, newest first, after one of them."""
    rows = _rows(_CHANGES, after).where(
        CHANGES_ACCOUNT,
        transactions.c.target_user_id == key.user_id,
        transactions.c.currency_code == key.currency_code,
        transactions.c.state == literal_column("'POSTED'"),
    )
    return _read_page(database, _CHANGES, rows, wanted={}, page_size=page_size)


def _rows(listing: _Listing[Any], after: Position | None) -> Select[Any]:
    """Select a listing's rows in its order, from after a key."""
    rows = _in_order(select(listing.table), listing, listing.table)
    if after is None:
        return rows
    key = tuple_(*listing.key)
    # Compared as one, a key is where the index is entered; apart, all rows before would be read.
    typed = (literal(part, column.type) for part, column in zip(after, listing.key, strict=True))
    end = tuple_(*typed)
    return rows.where(key < end if listing.newest_first else key > end)


def _in_order(rows: Select[Any], listing: _Listing[Any], source: FromClause) -> Select[Any]:
    key: list[ColumnElement[Any]] = [source.c[column.name] for column in listing.key]
    return rows.order_by(*(part.desc() if listing.newest_first else part for part in key))


def _read_page(
    database: Database,
    listing: _Listing[_Row],
    rows: Select[Any],
    *,
    wanted: Mapping[str, Sequence[str]],
    page_size: int,
) -> Page[_Row]:
    """
    Read one page of some rows in their order.

    Args:
        database: Where to look.

        listing: What the rows are.

        rows: Those that an index finds, in their order.

        wanted: Which values some columns must have; empty: any.

        page_size: The most rows to return.
    """
    wanted = {name: values for name, values in wanted.items() if values}

    def look(connection: Connection) -> Page[_Row]:
        statement = _filtered(rows, listing, wanted) if wanted else rows
        found = connection.execute(statement.limit(page_size + 1)).all()
        read = found[:page_size]
        end = tuple(getattr(read[-1], part.name) for part in listing.key) if read else None
        next_after = end if len(found) > page_size else None
        if wanted and len(found) <= page_size:
            last = connection.execute(_last_scanned(rows, listing)).one_or_none()
            if last is not None:
                # Rows added since the first statement may have pushed the last one looked at
                # before one that was found: going on behind what was found lists none twice.
                next_after = end or tuple(last)
        return Page([listing.row_of(row) for row in read], next_after)

    return database.read(look)


def _filtered(
    rows: Select[Any], listing: _Listing[Any], wanted: Mapping[str, Sequence[str]]
) -> Select[Any]:
    """Select what is wanted among the first rows; a filter inside would look at all of them."""
    scanned = rows.limit(SCAN_ROWS_MAX).subquery("scanned")
    predicates = (scanned.c[name].in_(values) for name, values in wanted.items())
    return _in_order(select(scanned).where(*predicates), listing, scanned)


def _last_scanned(rows: Select[Any], listing: _Listing[Any]) -> Select[Any]:
    """Select the key of the last row that a filtered page looks at, if it was cut short there."""
    return rows.with_only_columns(*listing.key).limit(1).offset(SCAN_ROWS_MAX - 1)
