"""
PostgreSQL 14 and later, by psycopg2: READ COMMITTED, explicit row locks, COPY and unnest for bulk.

Nothing that must be right rests on triggers, advisory locks, sequences, deferrable constraints or
NOTIFY.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import psycopg2
from psycopg2 import errorcodes, sql
from sqlalchemy import (
    ARRAY,
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    create_engine,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as insert  # noqa: PLC0414 (of the dialect)
from sqlalchemy.exc import DBAPIError

from wallet_service.ledger.books import Account
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.dialect import Limits, UnsafeDatabase
from wallet_service.storage.schema import MOVING_COLUMNS, accounts, transactions

_VERSION_MIN = 14_00_00
_ROLLED_BACK = {
    errorcodes.SERIALIZATION_FAILURE,
    errorcodes.DEADLOCK_DETECTED,
    errorcodes.LOCK_NOT_AVAILABLE,
    errorcodes.UNIQUE_VIOLATION,
}
_LOST_CLASSES = (
    "08",  # connection exception
    "25",  # invalid transaction state: a standby, or a server told to be read-only
    "53",  # out of connections, memory or disk
    "57",  # shutting down, crashed, not yet up, or too slow for a statement's time limit
    "58",  # the machine under it failed
)


def create_engines(url: URL, limits: Limits) -> tuple[Engine, Engine]:
    """Return a pool of one writing connection, and one of reading connections."""
    timeouts = {
        "lock_timeout": limits.lock_timeout_ms,
        "statement_timeout": limits.statement_timeout_ms,
        "idle_in_transaction_session_timeout": limits.statement_timeout_ms * 2,
    }
    # Timeouts of the session never cut a COMMIT: the server stops counting before it commits.
    writer = create_engine(
        url,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        pool_size=1,
        max_overflow=1,
        connect_args=_connect_args(limits, timeouts),
    )
    reader = create_engine(
        url,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=limits.reader_pool_size,
        max_overflow=0,
        pool_timeout=limits.pool_timeout_s,
        connect_args=_connect_args(limits, {**timeouts, "default_transaction_read_only": "on"}),
    )
    return writer, reader


def _connect_args(limits: Limits, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "application_name": "wallet",
        "connect_timeout": limits.connect_timeout_s,
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": limits.statement_timeout_ms * 2,
    }


def check_durability(connection: Connection) -> None:
    """Raise `UnsafeDatabase` for a server that is too old or may lose a committed change."""
    version = connection.scalar(select(func.current_setting("server_version_num").cast(BigInteger)))
    if version is None or version < _VERSION_MIN:
        raise UnsafeDatabase(f"PostgreSQL is version {version}, 14 or later is needed")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if connection.scalar(select(func.current_setting(name))) == "off":
            raise UnsafeDatabase(f"PostgreSQL has {name} = off: an answered change could be lost")


def takes_writes(connection: Connection) -> bool:
    """Ask whether this is the primary, not a standby that only follows it."""
    return not connection.scalar(select(func.pg_is_in_recovery()))


def begin_snapshot(connection: Connection) -> Connection:
    """Make all that follows see one moment, without a time limit."""
    snapshot = connection.execution_options(isolation_level="REPEATABLE READ")
    snapshot.execute(text("SET LOCAL statement_timeout = 0"))
    return snapshot


_wanted = (
    func.unnest(
        bindparam("user_ids", type_=ARRAY(Text)), bindparam("currency_codes", type_=ARRAY(Text))
    )
    .table_valued("user_id", "currency_code", name="wanted")
    .render_derived()
)

#: One lock per account, taken in the order of the key on every server: nobody waits in a circle.
_LOCK_ACCOUNTS = (
    select(accounts)
    .join(
        _wanted,
        and_(
            accounts.c.user_id == _wanted.c.user_id,
            accounts.c.currency_code == _wanted.c.currency_code,
        ),
    )
    .order_by(accounts.c.user_id, accounts.c.currency_code)
    .with_for_update(of=accounts)
)
_LOCK_FREE_ACCOUNTS = _LOCK_ACCOUNTS.with_for_update(of=accounts, skip_locked=True)


def lock_accounts(
    connection: Connection, keys: Sequence[AccountKey], *, skip_busy: bool
) -> Sequence[Row[Any]]:
    """Lock, in the order of their keys, and read the open accounts among some keys."""
    user_ids, currency_codes = zip(*keys, strict=True)
    parameters = {"user_ids": list(user_ids), "currency_codes": list(currency_codes)}
    statement = _LOCK_FREE_ACCOUNTS if skip_busy else _LOCK_ACCOUNTS
    return connection.execute(statement, parameters).all()


_moved = (
    func.unnest(
        bindparam("user_ids", type_=ARRAY(Text)),
        bindparam("currency_codes", type_=ARRAY(Text)),
        *(cast(bindparam(name), ARRAY(accounts.c[name].type)) for name in MOVING_COLUMNS),
    )
    .table_valued(
        "user_id", "currency_code", *(accounts.c[name] for name in MOVING_COLUMNS), name="moved"
    )
    .render_derived()
)

_UPDATE_ACCOUNTS = (
    update(accounts)
    .where(
        accounts.c.user_id == _moved.c.user_id,
        accounts.c.currency_code == _moved.c.currency_code,
    )
    .values({name: _moved.c[name] for name in MOVING_COLUMNS})
)


def update_accounts(connection: Connection, changed: Sequence[Account]) -> None:
    """Overwrite what moves on locked accounts, all in one statement."""
    columns = {name: [getattr(account, name) for account in changed] for name in MOVING_COLUMNS}
    columns["head_hash"] = [psycopg2.Binary(hash_) for hash_ in columns["head_hash"]]
    parameters = {
        "user_ids": [account.user_id for account in changed],
        "currency_codes": [account.currency_code for account in changed],
        **columns,
    }
    connection.execute(_UPDATE_ACCOUNTS, parameters)


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows by COPY, the cheapest way in for one as for a thousand."""
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns.keys()))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    lines = "".join("\t".join(map(_copy_field, row)) + "\n" for row in rows)
    driver_connection = connection.connection.driver_connection
    assert isinstance(driver_connection, psycopg2.extensions.connection)
    try:
        with driver_connection.cursor() as cursor:
            cursor.copy_expert(statement, io.StringIO(lines))
    except psycopg2.Error as error:
        # COPY passes SQLAlchemy by; its errors shall look like all the others.
        raise DBAPIError(f"COPY {table.name}", None, error) from error


_COPY_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _copy_field(value: Any) -> str:
    """Write one value as COPY's text format wants it (PostgreSQL manual, COPY, "Text Format")."""
    if value is None:
        return r"\N"
    if isinstance(value, bytes):
        return r"\\x" + value.hex()
    if isinstance(value, dict | tuple | list):
        value = orjson.dumps(value).decode()
    return str(value).translate(_COPY_ESCAPES)


def has_labels(labels: Mapping[str, str]) -> ColumnElement[bool]:
    """Build the predicate that a transaction's metadata has all of some labels."""
    return cast(transactions.c.metadata, JSONB).contains(dict(labels))


def was_busy(error: DBAPIError) -> bool:
    """Tell whether others held an account locked for too long."""
    return _code(error) == errorcodes.LOCK_NOT_AVAILABLE


def was_rolled_back(error: DBAPIError) -> bool:
    """Tell whether this failed because of others and left nothing: running again may help."""
    return _code(error) in _ROLLED_BACK


def was_lost(error: DBAPIError) -> bool:
    """Tell whether the database, not the statement, is what failed."""
    code = _code(error)
    if code is None:
        return isinstance(error.orig, psycopg2.OperationalError | psycopg2.InterfaceError)
    return code.startswith(_LOST_CLASSES)


def _code(error: DBAPIError) -> str | None:
    """Return the SQLSTATE; None where no server spoke."""
    return getattr(error.orig, "pgcode", None)
