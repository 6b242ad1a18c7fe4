"""
Database transactions, and the one place where driver errors become ours.

A `Database` has two pools: one connection that writes the engine's batches, and some that only
read. One connection more serves nothing but looking whether the database is well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from wallet_service.ledger.errors import DatabaseUnavailable, LedgerCorrupt, Overloaded
from wallet_service.storage import postgresql, sqlite
from wallet_service.storage.busy import BusyConnections
from wallet_service.storage.dialect import Dialect, LastRows, Limits, UnsafeDatabase

_Found = TypeVar("_Found")

#: Marks connections that lay in the pool.
_WAS_IDLE = "was_idle"


class BatchFailed(Exception):
    """A batch did not commit, or may not have; the same batch may be run again."""


class RolledBack(BatchFailed):
    """Others were in the way; nothing was written."""


class AccountsBusy(RolledBack):
    """Others held some of the batch's accounts locked for too long."""


class ConnectionLost(BatchFailed):
    """The database went away before COMMIT was sent; nothing was written."""


class CommitInDoubt(BatchFailed):
    """COMMIT was sent and not answered: written or not, only the transaction ids tell."""


@dataclass(slots=True)
class WriteTransaction:
    """One database transaction under way, and the connection it has to itself."""

    dialect: Dialect
    connection: Connection
    is_committing: bool = False
    is_committed: bool = False

    def commit(self, last: LastRows) -> None:
        """Write what comes last, and commit."""
        unwritten = self.dialect.write(self.connection, last)
        self.is_committing = True
        self.dialect.commit(self.connection, unwritten)
        self.is_committed = True


@dataclass(frozen=True, slots=True)
class Database:
    """A database of either kind, with its pools."""

    dialect: Dialect
    writer: Engine
    reader: Engine
    prober: Engine
    busy: BusyConnections

    @property
    def is_embedded(self) -> bool:
        """Tell whether the database is a file of ours, which nobody else sets up."""
        return self.writer.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """
        Run one database transaction, which leaves something only if the block commits it.

        Raises:
            BatchFailed: One of its kinds; the block may be run again.

            LedgerCorrupt: What is stored contradicts the accounts that were locked.

            DBAPIError: The statement itself is wrong or forbidden; running again will not help.
        """
        transaction = None
        try:
            with self.writer.connect() as connection:
                transaction = WriteTransaction(self.dialect, connection)
                try:
                    yield transaction
                finally:
                    if not transaction.is_committed:
                        connection.invalidate()  # its state is not to be guessed
        except DBAPIError as error:
            self.dialect.forget_values(error)
            if self.dialect.was_contradicted(error):
                problem = "the next line of an account is there already"
                raise LedgerCorrupt(row="entries", problem=problem) from error
            is_committing = transaction is not None and transaction.is_committing
            failure = self._failure(error, is_committing=is_committing)
            if failure is None:
                raise
            raise failure from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """
        Lend a connection for statements that are committed together; for all but batches.

        They may take as long as they need: a migration rewrites whole tables.
        """
        with self.writer.connect() as plain:
            connection = plain.execution_options(**self.dialect.TRANSACTION_OPTIONS)
            with connection.begin():
                self.dialect.lift_limits(connection)
                yield connection

    def may_recover(self, error: BaseException) -> bool:
        """Tell whether what failed may pass when it is done again."""
        if not isinstance(error, DBAPIError):
            return False
        return self._failure(error, is_committing=False) is not None

    def _failure(self, error: DBAPIError, *, is_committing: bool) -> BatchFailed | None:
        if self.dialect.was_busy(error):
            return AccountsBusy(str(error.orig))
        if self.dialect.was_rolled_back(error):
            return RolledBack(str(error.orig))
        if is_committing and not self.dialect.was_refused(error):
            return CommitInDoubt(str(error.orig))
        if error.connection_invalidated or self.dialect.was_lost(error):
            return ConnectionLost(str(error.orig))
        return None

    def read(self, look: Callable[[Connection], _Found]) -> _Found:
        """
        Run reading statements, each of which sees the last commit.

        Args:
            look: Executes them on the connection it is given; may be run twice.

        Raises:
            DatabaseUnavailable: The database does not answer.

            Overloaded: All reading connections stayed busy.
        """
        return self._look(self.reader, look)

    def probe(self, look: Callable[[Connection], _Found]) -> _Found:
        """As `read`, on the connection that serves nothing but looking after health."""
        return self._look(self.prober, look)

    def _look(self, engine: Engine, look: Callable[[Connection], _Found]) -> _Found:
        while True:
            try:
                with engine.connect() as connection:
                    # Idle connections do not survive their server; a new one tells whether it is
                    # back. Each that fails is dropped, so this comes to an end.
                    was_idle = _WAS_IDLE in connection.info
                    try:
                        return look(connection)
                    except DBAPIError as error:
                        connection.invalidate()  # nobody else shall find it broken in the pool
                        if was_idle and self._is_gone(error):
                            continue
                        raise
            except PoolTimeoutError as error:
                raise Overloaded from error
            except DBAPIError as error:
                self.dialect.forget_values(error)
                if self._failure(error, is_committing=False) is None:
                    raise
                raise DatabaseUnavailable from error

    def _is_gone(self, error: DBAPIError) -> bool:
        """Tell whether a connection failed, rather than what was asked of it."""
        failure = self._failure(error, is_committing=False)
        return isinstance(failure, ConnectionLost) and not self.dialect.was_too_slow(error)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """
        Lend a connection whose statements all see one moment; rows are streamed.

        Raises:
            LedgerCorrupt: The block stumbled over a stored value that cannot be read.
        """
        with self.reader.connect() as connection:
            snapshot = self.dialect.begin_snapshot(connection).execution_options(yield_per=1000)
            try:
                yield snapshot
            except (TypeError, ValueError):
                self.prove_values(snapshot)
                raise

    def prove_values(self, connection: Connection, *, ids_only: bool = False) -> None:
        """Raise `LedgerCorrupt` for a value that is not stored as its column's type is."""
        odd = self.dialect.find_odd_value(connection, ids_only=ids_only)
        if odd:
            raise LedgerCorrupt(row=odd.row, problem=odd.problem)

    def check_durability(self) -> None:
        """Raise `UnsafeDatabase` where a committed change could be lost."""
        with self.writer.connect() as connection:
            self.dialect.check_durability(connection)

    def check_rights(self) -> None:
        """Raise `UnsafeDatabase` where this login may not do what serving needs."""
        with self.writer.connect() as connection:
            self.dialect.check_rights(connection)

    def close(self) -> None:
        """Close all idle connections."""
        for engine in (self.writer, self.reader, self.prober):
            engine.dispose()


def _note_idle(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_WAS_IDLE] = True


def open_database(url: str, limits: Limits | None = None, *, must_exist: bool = False) -> Database:
    """
    Prepare the pools for a database; nothing is connected yet.

    Args:
        url: `sqlite:///path` or `postgresql://user:password@host/name`.

        limits: Timeouts and pool sizes.

        must_exist: Whether to refuse a file that is not there, instead of making it.

    Raises:
        FileNotFoundError: It is not.

        UnsafeDatabase: Not a database the wallet can keep money in.
    """
    parsed = make_url(url)
    if "@" in (parsed.host or ""):
        # The driver would show what follows, as the name of a host that it does not find.
        raise UnsafeDatabase("an '@' in a password must be written as %40")
    kind = parsed.get_backend_name()
    dialect: Dialect
    if kind == "sqlite":
        dialect = sqlite
        sqlite.prepare_file(parsed, must_exist=must_exist)
    elif kind in {"postgresql", "postgres"}:
        dialect = postgresql
        parsed = parsed.set(drivername="postgresql+psycopg2")
    else:
        raise UnsafeDatabase(f"{kind} is not supported: use sqlite or postgresql")
    limits = limits or Limits()
    engines = dialect.create_engines(parsed, limits)
    for engine in (engines.reader, engines.prober):
        event.listen(engine, "checkin", _note_idle)
    busy = BusyConnections(
        () if kind == "sqlite" else engines,  # a file may be slow, but is never silent
        # By then the server should have ended any statement itself.
        busy_max_s=limits.statement_timeout_ms * 2 / 1000,
        cut=postgresql.cut,
    )
    return Database(dialect, engines.writer, engines.reader, engines.prober, busy)
