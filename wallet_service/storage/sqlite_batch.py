"""
A batch on SQLite, by few statements of the driver's own.

The driver lets other threads run during each statement and has to wait for its turn after it, which
on a busy server takes longer than the statement.
"""

import functools
import itertools
import json
import operator
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.dialect import LastRows, Locked
from wallet_service.storage.schema import MOVING_COLUMNS, accounts, entries, transactions

#: Largest first; few sizes, so that the driver keeps their statements prepared.
_ROWS_A_STATEMENT = (256, 128, 64, 32, 16, 8, 4, 2, 1)


def _sql(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=sqlite.dialect()))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _as_json(column: Column[Any]) -> ColumnElement[Any]:
    """Write a column's value as SQLite's JSON takes it: bytes as hexadecimal digits."""
    match column.type:
        case LargeBinary():
            return func.hex(column)
        case JSON():
            return func.json(column)
    return column


@contextmanager
def _driver(connection: Connection, what: str) -> Iterator[sqlite3.Connection]:
    """Lend the driver's own connection; its errors look like those of all other statements."""
    driver_connection = connection.connection.driver_connection
    assert isinstance(driver_connection, sqlite3.Connection)
    try:
        yield driver_connection
    except sqlite3.Error as error:
        raise DBAPIError.instance(what, None, error, sqlite3.Error) from error


_wanted = func.json_each(bindparam("wanted", type_=Text)).table_valued("value", name="wanted")
#: The one column of bytes.
_HEAD_HASH = accounts.columns.keys().index("head_hash")
#: All rows as one text: the driver would wait for its turn after each.
_FIND_ACCOUNTS = _sql(
    select(func.json_group_array(func.json_array(*map(_as_json, accounts.columns)))).join_from(
        _wanted,
        accounts,
        and_(
            accounts.c.user_id == func.json_extract(_wanted.c.value, literal_column("'$[0]'")),
            accounts.c.currency_code
            == func.json_extract(_wanted.c.value, literal_column("'$[1]'")),
        ),
    )
)
_ARE_SOME_RECORDED = _sql(
    select(
        exists().where(
            # As bare text, which is how ids are stored.
            type_coerce(transactions.c.transaction_id, Text).in_(select(_wanted.c.value))
        )
    )
)
_FIND_TRANSACTIONS = select(transactions).where(
    transactions.c.transaction_id.in_(bindparam("ids", expanding=True))
)


def find_accounts(connection: Connection, keys: Sequence[AccountKey]) -> Sequence[Sequence[Any]]:
    """Read the open accounts among some keys as last committed, in any order."""
    with _driver(connection, "SELECT accounts") as driver:
        (text,) = driver.execute(_FIND_ACCOUNTS, [_json([list(key) for key in keys])]).fetchone()
    rows: list[list[Any]] = orjson.loads(text)
    for row in rows:
        row[_HEAD_HASH] = bytes.fromhex(row[_HEAD_HASH])
    return rows


def lock_accounts(
    connection: Connection,
    keys: Sequence[AccountKey],
    ids: Sequence[str],
    *,
    skip_busy: bool,  # noqa: ARG001 (there are no locks on accounts)
) -> Locked:
    """Begin the transaction, which locks all, and read accounts among some keys."""
    if not connection.in_transaction():
        connection.begin()
    rows = find_accounts(connection, keys) if keys else ()
    with _driver(connection, "SELECT transactions") as driver:
        wanted = _json(_stored_ids(ids))
        (may_be_recorded,) = driver.execute(_ARE_SOME_RECORDED, [wanted]).fetchone()
    return Locked(rows, may_be_recorded=bool(may_be_recorded))


def find_transactions(connection: Connection, ids: Sequence[str]) -> Sequence[Sequence[Any]]:
    """Read the recorded transactions among some ids, in any order."""
    return connection.execute(_FIND_TRANSACTIONS, {"ids": ids}).all()


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows whose values stand in the order of the table's columns."""
    _write_rows(connection, table, rows, overwritten=())


def write(connection: Connection, last: LastRows) -> Sequence[Any]:
    """Write a batch's last rows."""
    _write_rows(connection, accounts, list(map(_moved_row, last.moved)), overwritten=MOVING_COLUMNS)
    _write_rows(connection, transactions, last.transactions, overwritten=())
    _write_rows(connection, entries, last.entries, overwritten=())
    return ()


#: A whole row, for its key and for what moves; the rest is not overwritten.
_moved_row = operator.attrgetter(*accounts.columns.keys())


def commit(connection: Connection, _unwritten: Sequence[Any]) -> None:
    """Commit."""
    connection.commit()


def _write_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    *,
    overwritten: tuple[str, ...],
) -> None:
    """Insert rows, or overwrite some columns of those that are there."""
    if not rows:
        return
    width = len(table.columns)
    parameters = list(itertools.chain.from_iterable(rows))
    for place, convert in _conversions(table):
        parameters[place::width] = convert(parameters[place::width])
    start = 0
    with _driver(connection, f"INSERT INTO {table.name}") as driver:
        for count in _ROWS_A_STATEMENT:
            size = count * width
            while len(parameters) - start >= size:
                statement = _insert_sql(table, count, overwritten)
                driver.execute(statement, parameters[start : start + size])
                start += size


def _stored_ids(ids: Sequence[str | None]) -> list[str | None]:
    return [each and each.replace("-", "") for each in ids]


def _stored_objects(objects: Sequence[Any]) -> list[str | None]:
    return [json.dumps(each) if each else None for each in objects]


_Conversion = Callable[[Sequence[Any]], list[str | None]]
#: The same as SQLAlchemy makes of these types; values of others are stored as they are.
_CONVERSIONS: dict[type[TypeEngine[Any]], _Conversion] = {
    Uuid: _stored_ids,
    JSON: _stored_objects,
}


@functools.cache
def _conversions(table: Table) -> list[tuple[int, _Conversion]]:
    """List the places of a table's columns that are converted, each with how."""
    types = [type(column.type) for column in table.columns]
    return [(place, _CONVERSIONS[each]) for place, each in enumerate(types) if each in _CONVERSIONS]


@functools.cache
def _insert_sql(table: Table, count: int, overwritten: tuple[str, ...]) -> str:
    """Build an insert of so many rows, or of what to overwrite in those of the same keys."""
    statement = insert(table)
    if overwritten:
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={name: statement.excluded[name] for name in overwritten},
        )
    # Compiled for one row: for hundreds it takes as many milliseconds.
    row = f"({', '.join('?' * len(table.columns))})"
    before, after = _sql(statement).split(f"VALUES {row}")
    return f"{before}VALUES {', '.join([row] * count)}{after}"
