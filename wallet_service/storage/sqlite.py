"""
SQLite in a local file: WAL, synchronous FULL, one writer at a time by BEGIN IMMEDIATE.

BEGIN IMMEDIATE takes the one write lock before anything is read, so what a batch decides on cannot
change under it; a deferred transaction would fail halfway instead of waiting.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    ColumnClause,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    NullPool,
    QueuePool,
    Text,
    and_,
    bindparam,
    create_engine,
    event,
    false,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as insert
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from wallet_service.storage.dialect import Engines, Limits, UnsafeDatabase
from wallet_service.storage.schema import accounts, entries, transactions
from wallet_service.storage.sqlite_batch import (
    commit as commit,
    find_accounts as find_accounts,
    find_transactions as find_transactions,
    insert_rows as insert_rows,
    lock_accounts as lock_accounts,
    write as write,
)
from wallet_service.storage.sqlite_values import find_odd_value as find_odd_value

TRANSACTION_OPTIONS: dict[str, Any] = {}
#: The first that knows FULL JOIN, which the proof of the books needs.
_VERSION_MIN = (3, 39)
_SYNCHRONOUS_FULL = 2
#: Where a connection keeps which file it opened.
_FILE = "file"
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

#: How long the log grows where nobody copies it beside the batches, 40 MB; and to what the file is
#: cut again that grew behind somebody who read for long.
_LOG_PAGES_MAX = 10_000
_LOG_BYTES_MAX = _LOG_PAGES_MAX * 4096

_CHANGE_NOTHING = update(accounts).values(sequence=accounts.c.sequence).where(false())


def create_engines(url: URL, limits: Limits) -> Engines:
    """Return a pool of one writing and one of reading connections, and a prober, on one file."""
    path = None if "uri" in url.query else Path(str(url.database)).absolute()
    url = _existing(url)
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
    # Opened anew each time, because files that are open do not show what became of their name.
    prober = create_engine(
        url,
        hide_parameters=True,
        poolclass=NullPool,
        connect_args={**connect_args, "timeout": 0},
    )
    for engine in (writer, reader, prober):
        event.listen(engine, "connect", _set_up)
    if path:
        for engine in (writer, reader):
            _follow_name(engine, path)
    event.listen(writer, "connect", _let_log_grow)
    event.listen(writer, "connect", _keep_undo_in_memory)
    event.listen(writer, "begin", _begin_immediate)
    return Engines(writer, reader, prober)


def prepare_file(url: URL, *, must_exist: bool) -> None:
    """
    Make the file where there is none.

    Raises:
        FileNotFoundError: Or there must be one.

        UnsafeDatabase: No file is meant, or this SQLite is too old.
    """
    if sqlite3.sqlite_version_info < _VERSION_MIN:
        wanted = ".".join(map(str, _VERSION_MIN))
        raise UnsafeDatabase(
            f"Python's SQLite is version {sqlite3.sqlite_version}, {wanted} or later is needed"
        )
    if not url.database or url.database == ":memory:":
        raise UnsafeDatabase("SQLite needs a file: sqlite:///path/to/wallet.db")
    if "uri" in url.query:
        return  # an address is no path
    path = Path(url.database)
    if must_exist and not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # money is nobody else's to read


def _existing(url: URL) -> URL:
    """
    Return an address that makes no file where there is none.

    Where a file lost its name for a moment, a new one would take over its journal and destroy it.
    """
    if "uri" in url.query:
        return url  # whoever writes so chooses the mode
    path = quote(str(Path(str(url.database)).absolute()))
    query = {**url.query, "mode": "rw", "uri": "true"}
    return url.set(database=f"file:{path}", query=query)


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver shall not begin transactions of its own
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _follow_name(engine: Engine, path: Path) -> None:
    """Have connections made anew whose file has lost its name: what they write would be lost."""

    def note(_dialect: object, record: ConnectionPoolEntry, *_: object) -> None:
        record.info[_FILE] = _identity(path)  # before it is opened: in doubt it is opened twice

    def compare(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        identity = _identity(path)
        if identity is None or identity != record.info[_FILE]:
            raise DisconnectionError

    event.listen(engine, "do_connect", note)
    event.listen(engine, "checkout", compare)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _let_log_grow(connection: sqlite3.Connection, _record: object) -> None:
    """Leave copying the log to others as long as they keep up: it takes longer than a batch."""
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES_MAX}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_MAX}")


def checkpoint(connection: Connection) -> None:
    """Copy what can be copied of the log into the file, keeping nobody waiting."""
    connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


def _keep_undo_in_memory(connection: sqlite3.Connection, _record: object) -> None:
    """Keep from the disk what would undo a statement of many rows: nothing survives by it."""
    connection.execute("PRAGMA temp_store = MEMORY")  # not for readers: theirs sort whole tables


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


def check_rights(_connection: Connection) -> None:
    """Do nothing: a file has no logins, and whether it can be written is for health to find."""


def takes_writes(connection: Connection) -> bool:
    """Take the write lock and give it back; raises where the file is gone or read-only."""
    # BEGIN IMMEDIATE would do, but on a read-only file SQLite makes a plain BEGIN of it.
    connection.execute(_CHANGE_NOTHING)
    return True


def begin_snapshot(connection: Connection) -> Connection:
    """Make all that follows see one moment."""
    connection.exec_driver_sql("BEGIN")
    return connection


def lift_limits(_connection: Connection) -> None:
    """Let a transaction take its time; here only waiting for the lock is limited."""


def rows_of_json(parameter: str, columns: Sequence[ColumnClause[Any]]) -> FromClause:
    """Read a parameter, a JSON array of objects, as rows of some of their members."""
    given = func.json_each(bindparam(parameter, type_=Text)).table_valued("value")
    members = [
        func.json_extract(given.c.value, f"$.{each.name}").label(each.name) for each in columns
    ]
    return select(*members).subquery(f"{parameter}_given")


def has_labels(labels: Mapping[str, str]) -> ColumnElement[bool]:
    """Build the predicate that a transaction's metadata has all of some labels."""
    present = []
    for key, value in labels.items():
        pair = func.json_each(transactions.c.metadata).table_valued("key", "value")
        found = select(literal(1)).select_from(pair).where(pair.c.key == key, pair.c.value == value)
        present.append(found.exists())
    return and_(*present)


def forget_values(_error: DBAPIError) -> None:
    """Leave the text as it is: it names tables and constraints, never values."""


def was_busy(_error: DBAPIError) -> bool:
    """Tell whether others held an account locked: here they hold all or none."""
    return False


def was_rolled_back(error: DBAPIError) -> bool:
    """Tell whether this failed because of others and left nothing: running again may help."""
    code = _code(error)
    return code in _UNIQUE or code & 0xFF in _ROLLED_BACK


def was_contradicted(error: DBAPIError) -> bool:
    """Tell whether a line was there already: nobody writes one but under its account's lock."""
    return _code(error) in _UNIQUE and f" {entries.name}." in str(error.orig)


def was_too_slow(_error: DBAPIError) -> bool:
    """Tell whether a statement was ended at its time limit: there is none."""
    return False


def was_refused(error: DBAPIError) -> bool:
    """Tell whether a statement itself was refused, so that its transaction cannot commit."""
    # A COMMIT that finds the disk full has written nothing that counts.
    return not was_lost(error) or _code(error) & 0xFF == sqlite3.SQLITE_FULL


def was_lost(error: DBAPIError) -> bool:
    """Tell whether the file, not the statement, is what failed."""
    return _code(error) & 0xFF in _LOST


def _code(error: DBAPIError) -> int:
    """Return SQLite's extended result code, whose low byte is the plain code; 0 if none."""
    return getattr(error.orig, "sqlite_errorcode", 0)
