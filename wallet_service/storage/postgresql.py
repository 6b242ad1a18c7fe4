"""
PostgreSQL 14 and later, by psycopg2: READ COMMITTED, explicit row locks, COPY and unnest for bulk.

Nothing that must be right rests on triggers, advisory locks, sequences, deferrable constraints or
NOTIFY.
"""

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from psycopg2.errors import UniqueViolation
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)
from sqlalchemy import (
    URL,
    BigInteger,
    ColumnClause,
    ColumnElement,
    Connection,
    FromClause,
    Text,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB, insert as insert
from sqlalchemy.exc import DBAPIError

from wallet_service.storage.dialect import Engines, Limits, OddValue, UnsafeDatabase
from wallet_service.storage.postgresql_batch import (
    commit as commit,
    find_accounts as find_accounts,
    find_transactions as find_transactions,
    insert_rows as insert_rows,
    lock_accounts as lock_accounts,
    write as write,
)
from wallet_service.storage.schema import accounts, entries, holds, reversals, transactions

TRANSACTION_OPTIONS = {"isolation_level": "READ COMMITTED"}
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
    # Older servers take a plan that is left no cheap way for one worth compiling.
    "jit": "off",
}
#: What is set for the whole session is its default too, so the contrary has to be said.
_UNLIMITED = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "plan_cache_mode": "auto",
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
}
#: What serving needs; deploy/postgresql/roles.sql grants no more.
_RIGHTS = {
    accounts: ("SELECT", "INSERT", "UPDATE"),
    holds: ("SELECT", "INSERT", "UPDATE"),
    reversals: ("SELECT", "INSERT", "UPDATE"),
    transactions: ("SELECT", "INSERT"),
    entries: ("SELECT", "INSERT"),
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


def create_engines(url: URL, limits: Limits) -> Engines:
    """Return a pool of one writing connection, one of reading connections, and a prober."""
    timeouts = {
        "lock_timeout": limits.lock_timeout_ms,
        "statement_timeout": limits.statement_timeout_ms,
        "idle_in_transaction_session_timeout": limits.statement_timeout_ms * 2,
        **_BY_KEY,
    }
    # Timeouts of the session never cut a COMMIT: the server stops counting before it commits.
    # A batch's BEGIN and COMMIT are statements of ours, which travel together with others.
    writer = create_engine(
        url,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=1,
        connect_args=_connect_args(url, limits, timeouts),
    )
    reader = create_engine(
        url,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=limits.reader_pool_size,
        max_overflow=0,
        pool_timeout=limits.pool_timeout_s,
        connect_args=_connect_args(
            url, limits, {**timeouts, "default_transaction_read_only": "on"}
        ),
    )
    # Kept open, because servers that come and go may leave no place for a new one.
    prober = create_engine(
        url,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
        connect_args=_connect_args(url, limits, timeouts),
    )
    for engine in (writer, reader):
        event.listen(engine, "connect", _read_plainly)
    return Engines(writer, reader, prober)


def _read_plainly(connection: psycopg2.extensions.connection, _record: object) -> None:
    """Have the driver itself read bytes as bytes and ids as text."""

    def read_bytes(text: Any, _cursor: Cursor) -> bytes | None:
        return None if text is None else bytes.fromhex(text[2:])

    def read_id(text: Any, _cursor: Cursor) -> Any:
        return text

    for oid, name, read in ((_BYTEA_OID, "bytes", read_bytes), (_UUID_OID, "id", read_id)):
        reader = psycopg2.extensions.new_type((oid,), name, read)
        psycopg2.extensions.register_type(reader, connection)


def _connect_args(url: URL, limits: Limits, options: dict[str, Any]) -> dict[str, Any]:
    given = url.normalized_query.get("options", ())  # the address's own, which this would replace
    ours = (f"-c {name}={value}" for name, value in options.items())
    return {
        "application_name": "wallet",
        "connect_timeout": limits.connect_timeout_s,
        "options": " ".join((*given, *ours)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": limits.statement_timeout_ms * 2,
    }


def check_durability(connection: Connection) -> None:
    """Raise `UnsafeDatabase` for a server that is too old, or may lose or not take a change."""
    version = connection.scalar(select(func.current_setting("server_version_num").cast(BigInteger)))
    if version is None or version < _VERSION_MIN:
        raise UnsafeDatabase(f"PostgreSQL is version {version}, 14 or later is needed")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if connection.scalar(select(func.current_setting(name))) == "off":
            raise UnsafeDatabase(f"PostgreSQL has {name} = off: an answered change could be lost")
    encoding = connection.scalar(select(func.current_setting("server_encoding")))
    if encoding != "UTF8":
        raise UnsafeDatabase(
            f"the database has server_encoding = {encoding}: it cannot keep every description;"
            " create one with ENCODING 'UTF8'"
        )


def check_rights(connection: Connection) -> None:
    """Raise `UnsafeDatabase` where this login may not do what serving needs."""
    for table, rights in _RIGHTS.items():
        for right in rights:
            if not connection.scalar(select(func.has_table_privilege(table.name, right))):
                raise UnsafeDatabase(
                    f"this login may not {right} in {table.name}: run deploy/postgresql/roles.sql"
                    " after `wallet migrate`, and log in as a member of wallet_app"
                )


def takes_writes(connection: Connection) -> bool:
    """Ask whether this is no standby, and not told to be read-only."""
    return connection.scalar(select(func.current_setting("transaction_read_only"))) == "off"


def cut(connection: psycopg2.extensions.connection) -> None:
    """End a connection from outside, while another thread waits for it."""
    with contextlib.suppress(OSError, psycopg2.Error):  # it has just ended by itself
        number = os.dup(connection.fileno())
        try:
            same = socket.socket(fileno=number)
        except OSError:
            os.close(number)
            raise
        with same:
            same.shutdown(socket.SHUT_RDWR)


def begin_snapshot(connection: Connection) -> Connection:
    """Make all that follows see one moment, without a time limit and by any plan."""
    snapshot = connection.execution_options(isolation_level="REPEATABLE READ")
    lift_limits(snapshot)
    return snapshot


def find_odd_value(
    _connection: Connection,
    *,
    ids_only: bool = False,  # noqa: ARG001 (there are none of any kind)
) -> OddValue | None:
    """Return None: a column takes values of its type only."""
    return None


def lift_limits(connection: Connection) -> None:
    """Let a transaction take its time, between its statements too, and read whole tables."""
    local = true()
    settings = (func.set_config(name, value, local) for name, value in _UNLIMITED.items())
    connection.execute(select(*settings))


def rows_of_json(parameter: str, columns: Sequence[ColumnClause[Any]]) -> FromClause:
    """Read a parameter, a JSON array of objects, as rows of some of their members."""
    given = cast(bindparam(parameter, type_=Text), JSON)
    rows = func.json_to_recordset(given).table_valued(*columns, name=f"{parameter}_given")
    return rows.render_derived(with_types=True)


def has_labels(labels: Mapping[str, str]) -> ColumnElement[bool]:
    """Build the predicate that a transaction's metadata has all of some labels."""
    return cast(transactions.c.metadata, JSONB).contains(dict(labels))


def forget_values(error: DBAPIError) -> None:
    """Take from an error's text what it tells of rows: logs hold no sums."""
    diagnosis = getattr(error.orig, "diag", None)
    if error.orig and diagnosis and diagnosis.message_primary:
        is_about_value = (_code(error) or "").startswith("22")  # which its text quotes
        text = f"SQLSTATE {_code(error)}" if is_about_value else diagnosis.message_primary
        error.args = error.orig.args = (text,)


def was_busy(error: DBAPIError) -> bool:
    """Tell whether others held an account locked for too long."""
    return _code(error) == errorcodes.LOCK_NOT_AVAILABLE


def was_rolled_back(error: DBAPIError) -> bool:
    """Tell whether this failed because of others and left nothing: running again may help."""
    return _code(error) in _ROLLED_BACK


def was_contradicted(error: DBAPIError) -> bool:
    """Tell whether a line was there already: nobody writes one but under its account's lock."""
    original = error.orig
    return isinstance(original, UniqueViolation) and original.diag.table_name == entries.name


def was_too_slow(error: DBAPIError) -> bool:
    """Tell whether a statement was ended at its time limit."""
    return _code(error) == errorcodes.QUERY_CANCELED


def was_refused(error: DBAPIError) -> bool:
    """
    Tell whether a statement itself was refused, so that its transaction cannot commit.

    So it is with every ERROR: past the point where COMMIT counts there are only FATAL and PANIC.
    """
    diagnosis = getattr(error.orig, "diag", None)
    return diagnosis is not None and diagnosis.severity_nonlocalized == "ERROR"


def was_lost(error: DBAPIError) -> bool:
    """Tell whether the database, not the statement, is what failed."""
    code = _code(error)
    if code is None:
        return isinstance(error.orig, psycopg2.OperationalError | psycopg2.InterfaceError)
    return code.startswith(_LOST_CLASSES)


def _code(error: DBAPIError) -> str | None:
    """Return the SQLSTATE; None where no server spoke."""
    return getattr(error.orig, "pgcode", None)
