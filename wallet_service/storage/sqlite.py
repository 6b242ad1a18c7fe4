"""
SQLite in a local file: WAL, synchronous FULL, one writer at a time by BEGIN IMMEDIATE.

BEGIN IMMEDIATE takes the one write lock before anything is read, so what a batch decides on cannot
change under it; a deferred transaction would fail halfway instead of waiting.
"""

import functools
import itertools
import operator
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    QueuePool,
    Table,
    Text,
    and_,
    bindparam,
    create_engine,
    event,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as insert
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError

from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.dialect import LastRows, Limits, Locked, UnsafeDatabase
from wallet_service.storage.schema import MOVING_COLUMNS, accounts, entries, transactions

TRANSACTION_OPTIONS: dict[str, Any] = {}
_SYNCHRONOUS_FULL = 2
#: Largest first; few sizes, so that the driver keeps their statements prepared.
_ROWS_A_STATEMENT = (256, 128, 64, 32, 16, 8, 4, 2, 1)
_ROLLED_BACK = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
}
_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}
_LOST = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


def create_engines(url: URL, limits: Limits) -> tuple[Engine, Engine]:
    """Return a pool of one writing connection, and one of reading connections, on one file."""
    if not url.database or url.database == ":memory:":
        raise UnsafeDatabase("SQLite needs a file: sqlite:///path/to/wallet.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # The one lock is everybody's: there is no command to blame, so it is worth the whole wait.
    connect_args = {"timeout": limits.statement_timeout_ms / 1000, "check_same_thread": False}
    writer = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=1,
        connect_args=connect_args,
    )
    reader = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=limits.reader_pool_size,
        max_overflow=0,
        pool_timeout=limits.pool_timeout_s,
        connect_args=connect_args,
    )
    for engine in (writer, reader):
        event.listen(engine, "connect", _set_up)
    event.listen(writer, "begin", _begin_immediate)
    return writer, reader


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver shall not begin transactions of its own
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def check_durability(connection: Connection) -> None:
    """Raise `UnsafeDatabase` where the file system cannot do what a durable file needs."""
    journal_mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    if journal_mode != "wal" or synchronous != _SYNCHRONOUS_FULL:
        raise UnsafeDatabase(
            f"SQLite has journal_mode = {journal_mode}, synchronous = {synchronous};"
            " wal and 2 (FULL) are needed: use a file on a local disk"
        )


def takes_writes(connection: Connection) -> bool:
    """Ask for a sign of life; who can read the file can write it."""
    return connection.scalar(select(1)) == 1


def begin_snapshot(connection: Connection) -> Connection:
    """Make all that follows see one moment."""
    connection.exec_driver_sql("BEGIN")
    return connection


_wanted = func.json_each(bindparam("wanted", type_=Text)).table_valued("value", name="wanted")
_FIND_ACCOUNTS = select(accounts).join_from(
    _wanted,
    accounts,
    and_(
        accounts.c.user_id == func.json_extract(_wanted.c.value, literal_column("'$[0]'")),
        accounts.c.currency_code == func.json_extract(_wanted.c.value, literal_column("'$[1]'")),
    ),
)
_FIND_TRANSACTIONS = select(transactions).where(
    transactions.c.transaction_id.in_(bindparam("ids", expanding=True))
)


def find_accounts(connection: Connection, keys: Sequence[AccountKey]) -> Sequence[Sequence[Any]]:
    """Read the open accounts among some keys as last committed, in any order."""
    wanted = orjson.dumps([list(key) for key in keys]).decode()
    return connection.execute(_FIND_ACCOUNTS, {"wanted": wanted}).all()


def lock_accounts(
    connection: Connection,
    keys: Sequence[AccountKey],
    _ids: Sequence[str],
    *,
    skip_busy: bool,  # noqa: ARG001 (there are no locks on accounts)
) -> Locked:
    """Read accounts among some keys; whatever comes first begins the transaction and locks all."""
    return Locked(find_accounts(connection, keys) if keys else (), may_be_recorded=True)


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
    """
    Insert many rows by few statements.

    The driver lets other threads run during each statement and has to wait for its turn after it,
    which on a busy server takes longer than the statement.
    """
    if not rows:
        return
    driver_connection = connection.connection.driver_connection
    assert isinstance(driver_connection, sqlite3.Connection)
    columns = [
        map(process, values) if process else values
        for process, values in zip(
            _processors(table, connection.dialect), zip(*rows, strict=True), strict=True
        )
    ]
    width = len(columns)
    values = list(itertools.chain.from_iterable(zip(*columns, strict=True)))
    start = 0
    try:
        for size in _ROWS_A_STATEMENT:
            statement = _insert_sql(table, size, overwritten)
            while len(values) - start >= size * width:
                driver_connection.execute(statement, values[start : start + size * width])
                start += size * width
    except sqlite3.Error as error:
        # The driver is used past SQLAlchemy; its errors shall look like all the others.
        raise DBAPIError(f"INSERT INTO {table.name}", None, error) from error


@functools.cache
def _processors(table: Table, dialect: DefaultDialect) -> list[Callable[[Any], Any] | None]:
    """Return what turns each column's values into the driver's."""

    def processor(column: Column[Any]) -> Callable[[Any], Any] | None:
        process = column.type.dialect_impl(dialect).bind_processor(dialect)
        if process and isinstance(column.type, JSON):
            return lambda value: process(value) if value else None
        return process

    return [processor(column) for column in table.columns]


@functools.cache
def _insert_sql(table: Table, count: int, overwritten: tuple[str, ...]) -> str:
    """Build an insert of so many rows, or of what to overwrite in those of the same keys."""
    statement = insert(table).values([dict.fromkeys(table.columns.keys(), "")] * count)
    if overwritten:
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={name: statement.excluded[name] for name in overwritten},
        )
    return str(statement.compile(dialect=sqlite.dialect()))


def has_labels(labels: Mapping[str, str]) -> ColumnElement[bool]:
    """Build the predicate that a transaction's metadata has all of some labels."""
    present = []
    for key, value in labels.items():
        pair = func.json_each(transactions.c.metadata).table_valued("key", "value")
        found = select(literal(1)).select_from(pair).where(pair.c.key == key, pair.c.value == value)
        present.append(found.exists())
    return and_(*present)


def was_busy(_error: DBAPIError) -> bool:
    """Tell whether others held an account locked: here they hold all or none."""
    return False


def was_rolled_back(error: DBAPIError) -> bool:
    """Tell whether this failed because of others and left nothing: running again may help."""
    code = _code(error)
    return code in _UNIQUE or code & 0xFF in _ROLLED_BACK


def was_refused(error: DBAPIError) -> bool:
    """Tell whether a statement itself was refused, so that its transaction cannot commit."""
    return not was_lost(error)


def was_lost(error: DBAPIError) -> bool:
    """Tell whether the file, not the statement, is what failed."""
    return _code(error) & 0xFF in _LOST


def _code(error: DBAPIError) -> int:
    """Return SQLite's extended result code, whose low byte is the plain code; 0 if none."""
    return getattr(error.orig, "sqlite_errorcode", 0)
