"""The seam between what is the same on both databases and what each does its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sqlalchemy import URL, ColumnClause, ColumnElement, Connection, Engine, FromClause, Table
from sqlalchemy.exc import DBAPIError

from wallet_service.ledger.books import Account
from wallet_service.ledger.commands import AccountKey


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How long, and how many.

    Args:
        connect_timeout_s: Until a connection must stand.

        lock_timeout_ms: Until a statement must have its locks.

        statement_timeout_ms: Until a statement must be done; never counts for COMMIT.

        reader_pool_size: Connections for reads; one more writes, and another looks after health.

        pool_timeout_s: Until a read must have its connection.
    """

    connect_timeout_s: int = 3
    lock_timeout_ms: int = 500
    statement_timeout_ms: int = 5000
    reader_pool_size: int = 8
    pool_timeout_s: int = 3


class Engines(NamedTuple):
    """What writes, what reads, and what only looks whether the database is well."""

    writer: Engine
    reader: Engine
    prober: Engine


class LastRows(NamedTuple):
    """What most batches write: accounts that moved, and rows in the order of their columns."""

    moved: Sequence[Account]
    transactions: Sequence[tuple[Any, ...]]
    entries: Sequence[tuple[Any, ...]]


class Locked(NamedTuple):
    """
    The locked accounts' rows, and whether some of a batch's ids may be recorded already.

    An id that is recorded while the locks are waited for may be missed: writing it again fails as
    `RolledBack`.
    """

    rows: Sequence[Sequence[Any]]
    may_be_recorded: bool


class OddValue(NamedTuple):
    """A stored value that its column is not meant for: the row it is in, and what is wrong."""

    row: str
    problem: str


class UnsafeDatabase(Exception):
    """The database could lose a change after it was answered, or would not take it."""


class Dialect(Protocol):
    """What a database does its own way."""

    @property
    def TRANSACTION_OPTIONS(self) -> Mapping[str, Any]:  # noqa: N802 (a constant of the module)
        """Execution options by which SQLAlchemy begins and ends transactions on a connection."""
        ...

    def create_engines(self, url: URL, limits: Limits) -> Engines:
        """Return the writing and the reading pool, and the engine of the prober's connection."""
        ...

    def check_durability(self, connection: Connection) -> None:
        """Raise `UnsafeDatabase` where a committed change could be lost."""
        ...

    def check_rights(self, connection: Connection) -> None:
        """Raise `UnsafeDatabase` where this login may not do what serving needs."""
        ...

    def takes_writes(self, connection: Connection) -> bool:
        """Ask, on the prober's connection, whether the database is one that can be written."""
        ...

    def begin_snapshot(self, connection: Connection) -> Connection:
        """Make all that follows on a reading connection see one moment of the books."""
        ...

    def find_odd_value(self, connection: Connection, *, ids_only: bool = False) -> OddValue | None:
        """Return a value that is not stored as its column's type is; None if there is none."""
        ...

    def lift_limits(self, connection: Connection) -> None:
        """Take the limits of calls from a transaction that has begun."""
        ...

    def lock_accounts(
        self,
        connection: Connection,
        keys: Sequence[AccountKey],
        ids: Sequence[str],
        *,
        skip_busy: bool,
    ) -> Locked:
        """
        Begin the transaction: lock, in the order of their keys, and read accounts among some keys.

        What was executed on the connection before is no part of it. With `skip_busy` accounts that
        others hold locked are left out instead of waited for.
        """
        ...

    def find_accounts(
        self, connection: Connection, keys: Sequence[AccountKey]
    ) -> Sequence[Sequence[Any]]:
        """Read the open accounts among some keys as last committed, in any order."""
        ...

    def find_transactions(
        self, connection: Connection, ids: Sequence[str]
    ) -> Sequence[Sequence[Any]]:
        """Read the recorded transactions among some ids, in any order."""
        ...

    def insert_rows(
        self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert rows whose values stand in the order of the table's columns."""
        ...

    def write(self, connection: Connection, last: LastRows) -> Sequence[Any]:
        """Write a batch's last rows, or return the statements that are to go with COMMIT."""
        ...

    def commit(self, connection: Connection, unwritten: Sequence[Any]) -> None:
        """Execute what `write` returned, and commit."""
        ...

    def insert(self, table: Table) -> Any:
        """Build an insert that can be told what to do about a row of the same key."""
        ...

    def rows_of_json(self, parameter: str, columns: Sequence[ColumnClause[Any]]) -> FromClause:
        """Read a parameter, a JSON array of objects, as rows of some of their members."""
        ...

    def has_labels(self, labels: Mapping[str, str]) -> ColumnElement[bool]:
        """Build the predicate that a transaction's metadata has all of some labels."""
        ...

    def forget_values(self, error: DBAPIError) -> None:
        """Take from an error's text what it tells of rows: logs hold no sums."""
        ...

    def was_busy(self, error: DBAPIError) -> bool:
        """Tell whether others held an account locked for too long."""
        ...

    def was_rolled_back(self, error: DBAPIError) -> bool:
        """Tell whether this failed because of others and left nothing: running again may help."""
        ...

    def was_contradicted(self, error: DBAPIError) -> bool:
        """Tell whether a line was there already: nobody writes one but under its account's lock."""
        ...

    def was_too_slow(self, error: DBAPIError) -> bool:
        """Tell whether a statement was ended at its time limit."""
        ...

    def was_refused(self, error: DBAPIError) -> bool:
        """Tell whether a statement itself was refused, so that its transaction cannot commit."""
        ...

    def was_lost(self, error: DBAPIError) -> bool:
        """Tell whether the database, not the statement, is what failed."""
        ...
