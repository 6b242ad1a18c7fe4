"""
A batch on PostgreSQL, in two messages: begin, lock and look up; write and commit.

Each message is a round trip that the whole batch waits for. Repeated requests, holds and originals
are looked up by messages of their own, where there are some.
"""

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.columns import by_column, filled_columns
from wallet_service.storage.dialect import LastRows, Locked
from wallet_service.storage.prepared import Prepared, Statement, driver_cursor, send
from wallet_service.storage.row_text import array, arrays, copy_into, copy_lines
from wallet_service.storage.schema import MOVING_COLUMNS, accounts, entries, transactions

_BEGIN = Statement("BEGIN ISOLATION LEVEL READ COMMITTED")
_COMMIT = Statement("COMMIT")
#: From here on COPY is so much cheaper that its own messages are worth it.
_COPY_ROWS_MIN = 512


def _array_of(column: Any) -> TypeEngine[Any]:
    return ARRAY(Text if isinstance(column.type, Text) else column.type)


#: Columns of refusals, holds, reversals and conditions. Where one of them has values, all columns
#: are written: their combinations would be too many statements to prepare.
_SELDOM = {
    transactions.c[name]
    for name in (
        "refusal_reason",
        "refusal_values",
        "hold_id",
        "reversal_of",
        "digest",
        "arguments",
    )
}


@functools.cache
def _insert(table: Table, columns: tuple[Column[Any], ...]) -> Prepared:
    """Prepare the insert of rows that are given as arrays by column."""
    names = [column.name for column in columns]
    arrays_given = [cast(bindparam(column.name), _array_of(column)) for column in columns]
    made = func.unnest(*arrays_given).table_valued(*names, name="made").render_derived()
    statement = insert(table).from_select(names, select(*made.c))
    variant = sum(1 << place for place, each in enumerate(table.columns) if each.name in names)
    return Prepared(f"insert_{table.name}_{variant:x}", statement)


_wanted = (
    func.unnest(
        bindparam("user_id", type_=ARRAY(Text)), bindparam("currency_code", type_=ARRAY(Text))
    )
    .table_valued("user_id", "currency_code", name="wanted")
    .render_derived()
)
_WANTED_ACCOUNTS = select(accounts).join(
    _wanted,
    and_(
        accounts.c.user_id == _wanted.c.user_id,
        accounts.c.currency_code == _wanted.c.currency_code,
    ),
)
_NAMED_TRANSACTIONS = select(transactions).where(
    transactions.c.transaction_id == any_(bindparam("ids", type_=ARRAY(Uuid)))
)
_are_some_recorded = _NAMED_TRANSACTIONS.exists()
_SORTED_ACCOUNTS = _WANTED_ACCOUNTS.add_columns(_are_some_recorded).order_by(
    accounts.c.user_id, accounts.c.currency_code
)
_KEY_COLUMNS = tuple(accounts.primary_key.columns)

#: One lock per account, taken in the order of the key on every server: nobody waits in a circle.
_LOCK_ACCOUNTS = Prepared("lock_accounts", _SORTED_ACCOUNTS.with_for_update(of=accounts))
_LOCK_FREE_ACCOUNTS = Prepared(
    "lock_free_accounts", _SORTED_ACCOUNTS.with_for_update(of=accounts, skip_locked=True)
)
_FIND_ACCOUNTS = Prepared("find_accounts", _WANTED_ACCOUNTS)
_FIND_TRANSACTIONS = Prepared("find_transactions", _NAMED_TRANSACTIONS)

_MOVED_COLUMNS = (*_KEY_COLUMNS, *(accounts.c[name] for name in MOVING_COLUMNS))
_moved_row = operator.attrgetter(*(column.name for column in _MOVED_COLUMNS))
_moved = (
    func.unnest(*(cast(bindparam(each.name), _array_of(each)) for each in _MOVED_COLUMNS))
    .table_valued(*_MOVED_COLUMNS, name="moved")
    .render_derived()
)
_UPDATE_ACCOUNTS = Prepared(
    "update_accounts",
    update(accounts)
    .where(
        accounts.c.user_id == _moved.c.user_id,
        accounts.c.currency_code == _moved.c.currency_code,
    )
    .values({name: _moved.c[name] for name in MOVING_COLUMNS}),
)


def lock_accounts(
    connection: Connection, keys: Sequence[AccountKey], ids: Sequence[str], *, skip_busy: bool
) -> Locked:
    """
    Begin the transaction: lock, in the order of their keys, and read accounts among some.

    Each row also tells whether some of the ids are recorded; without a row nobody knows.
    """
    if not keys:
        send(connection, _BEGIN)
        return Locked((), may_be_recorded=True)
    statement = _LOCK_FREE_ACCOUNTS if skip_busy else _LOCK_ACCOUNTS
    parameters = {"ids": array(transactions.c.transaction_id, ids)}
    rows = send(
        connection, _BEGIN, statement.bind(arrays(by_column(_KEY_COLUMNS, keys)) | parameters)
    )
    return Locked([row[:-1] for row in rows], may_be_recorded=not rows or rows[0][-1])


def find_accounts(connection: Connection, keys: Sequence[AccountKey]) -> Sequence[Sequence[Any]]:
    """Read the open accounts among some keys as last committed, in any order."""
    return send(connection, _FIND_ACCOUNTS.bind(arrays(by_column(_KEY_COLUMNS, keys))))


def find_transactions(connection: Connection, ids: Sequence[str]) -> Sequence[Sequence[Any]]:
    """Read the recorded transactions among some ids."""
    wanted = array(transactions.c.transaction_id, ids)
    return send(connection, _FIND_TRANSACTIONS.bind({"ids": wanted}))


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows by COPY."""
    columns = filled_columns(table, rows)
    with driver_cursor(connection, f"COPY {table.name}") as cursor:
        lines = _Pieces(copy_lines(columns))
        cursor.copy_expert(copy_into(table, columns), lines)  # type: ignore[arg-type]


class _Pieces:
    """What the driver asks of a file: one piece of text at a time, of whatever size."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces

    def read(self, _size: int) -> str:
        return next(self._pieces, "")


def write(connection: Connection, last: LastRows) -> list[Statement]:
    """Write a batch's last rows, or leave them to COMMIT's message."""
    statements = []
    if last.moved:
        moved = list(map(_moved_row, last.moved))
        statements.append(_UPDATE_ACCOUNTS.bind(arrays(by_column(_MOVED_COLUMNS, moved))))
    for table, rows in ((transactions, last.transactions), (entries, last.entries)):
        if len(rows) >= _COPY_ROWS_MIN:
            insert_rows(connection, table, rows)
        elif rows:
            columns = filled_columns(table, rows)
            if not _SELDOM.isdisjoint(columns):
                columns = by_column(table.columns, rows)
            statements.append(_insert(table, tuple(columns)).bind(arrays(columns)))
    return statements


def commit(connection: Connection, unwritten: Sequence[Statement]) -> None:
    """Write what `write` left, and commit, by one message."""
    send(connection, *unwritten, _COMMIT)
