"""
PostgreSQL 14 and later, by psycopg2: READ COMMITTED, explicit row locks, COPY and unnest for bulk.

Nothing that must be right rests on triggers, advisory locks, sequences, deferrable constraints or
NOTIFY.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)
from sqlalchemy import (
    ARRAY,
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    create_engine,
    event,
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
from wallet_service.storage.copy_text import copy_into, copy_lines
from wallet_service.storage.dialect import Limits, UnsafeDatabase
from wallet_service.storage.prepared import (
    Prepared,
    array,
    bytes_array,
    driver_cursor,
    text_array,
)
from wallet_service.storage.schema import MOVING_COLUMNS, accounts, transactions

_VERSION_MIN = 14_00_00
_BYTEA_OID = 17
_UUID_OID = 2950
#: Everything but an audit looks rows up by their keys. A plan made while a table was small, and
#: kept since, must not read all of it.
_BY_KEY = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
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
        **_BY_KEY,
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
    for engine in (writer, reader):
        event.listen(engine, "connect", _read_plainly)
    return writer, reader


def _read_plainly(connection: psycopg2.extensions.connection, _record: object) -> None:
    """Have the driver itself read bytes as bytes and ids as text."""

    def read_bytes(text: Any, _cursor: Cursor) -> bytes | None:
        return None if text is None else bytes.fromhex(text[2:])

    def read_id(text: Any, _cursor: Cursor) -> Any:
        return text

    for oid, name, read in ((_BYTEA_OID, "bytes", read_bytes), (_UUID_OID, "id", read_id)):
        reader = psycopg2.extensions.new_type((oid,), name, read)
        psycopg2.extensions.register_type(reader, connection)


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
    """Make all that follows see one moment, without a time limit and by any plan."""
    snapshot = connection.execution_options(isolation_level="REPEATABLE READ")
    snapshot.execute(text("SET LOCAL statement_timeout = 0"))
    for name in _BY_KEY:
        snapshot.execute(text(f"SET LOCAL {name} TO DEFAULT"))
    return snapshot


_wanted = (
    func.unnest(
        bindparam("user_ids", type_=ARRAY(Text)), bindparam("currency_codes", type_=ARRAY(Text))
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
_SORTED_ACCOUNTS = _WANTED_ACCOUNTS.order_by(accounts.c.user_id, accounts.c.currency_code)

#: One lock per account, taken in the order of the key on every server: nobody waits in a circle.
_LOCK_ACCOUNTS = Prepared("lock_accounts", _SORTED_ACCOUNTS.with_for_update(of=accounts))
_LOCK_FREE_ACCOUNTS = Prepared(
    "lock_free_accounts", _SORTED_ACCOUNTS.with_for_update(of=accounts, skip_locked=True)
)
_FIND_ACCOUNTS = Prepared("find_accounts", _WANTED_ACCOUNTS)
_FIND_TRANSACTIONS = Prepared(
    "find_transactions",
    select(transactions).where(
        transactions.c.transaction_id == any_(bindparam("ids", type_=ARRAY(Uuid)))
    ),
)


def lock_accounts(
    connection: Connection, keys: Sequence[AccountKey], *, skip_busy: bool
) -> Sequence[Sequence[Any]]:
    """Lock, in the order of their keys, and read the open accounts among some keys."""
    return _accounts(connection, _LOCK_FREE_ACCOUNTS if skip_busy else _LOCK_ACCOUNTS, keys)


def find_accounts(connection: Connection, keys: Sequence[AccountKey]) -> Sequence[Sequence[Any]]:
    """Read the open accounts among some keys as last committed, in any order."""
    return _accounts(connection, _FIND_ACCOUNTS, keys)


def _accounts(
    connection: Connection, statement: Prepared, keys: Sequence[AccountKey]
) -> Sequence[Sequence[Any]]:
    user_ids, currency_codes = zip(*keys, strict=True)
    return statement.run(
        connection, user_ids=text_array(user_ids), currency_codes=text_array(currency_codes)
    )


def find_transactions(connection: Connection, ids: Sequence[str]) -> Sequence[Sequence[Any]]:
    """Read the recorded transactions among some ids."""
    return _FIND_TRANSACTIONS.run(connection, ids=array(ids))


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

_UPDATE_ACCOUNTS = Prepared(
    "update_accounts",
    update(accounts)
    .where(
        accounts.c.user_id == _moved.c.user_id,
        accounts.c.currency_code == _moved.c.currency_code,
    )
    .values({name: _moved.c[name] for name in MOVING_COLUMNS}),
)


def update_accounts(connection: Connection, changed: Sequence[Account]) -> None:
    """Overwrite what moves on locked accounts, all in one statement."""
    columns = {
        name: array([getattr(account, name) for account in changed]) for name in MOVING_COLUMNS
    }
    columns["head_hash"] = bytes_array(account.head_hash for account in changed)
    _UPDATE_ACCOUNTS.run(
        connection,
        user_ids=text_array(account.user_id for account in changed),
        currency_codes=text_array(account.currency_code for account in changed),
        **columns,
    )


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows by COPY, the cheapest way in for one as for a thousand."""
    with driver_cursor(connection, f"COPY {table.name}") as cursor:
        lines = copy_lines(table, rows)
        # In one piece: for each piece the driver has to wait for its turn among the threads.
        cursor.copy_expert(copy_into(table), io.StringIO(lines), size=len(lines) + 1)


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
