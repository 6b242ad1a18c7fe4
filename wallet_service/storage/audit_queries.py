"""
Statements that read whole tables, streamed, for `audit`.

Each takes the connection of a `Database.snapshot`, so that all of them see one moment.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    and_,
    cast,
    func,
    or_,
    select,
)

from wallet_service.ledger.books import Account, Entry, Hold, HoldState, State, Transaction
from wallet_service.ledger.commands import AccountKey, Kind
from wallet_service.ledger.reversals import REVERSIBLE_KINDS
from wallet_service.storage.records import account_of, hold_of, transaction_of
from wallet_service.storage.schema import (
    CHANGES_ACCOUNT,
    accounts,
    entries,
    holds,
    reversals,
    transactions,
)

#: What `Database.snapshot` lends.
Snapshot = Connection

_ENTRY_COLUMNS = len(Entry._fields)
_LINES = (
    select(entries, transactions)
    .outerjoin(transactions, transactions.c.transaction_id == entries.c.transaction_id)
    .order_by(entries.c.user_id, entries.c.currency_code, entries.c.sequence)
)
_ACCOUNTS = select(accounts).order_by(accounts.c.user_id, accounts.c.currency_code)


_IS_REVERSAL = and_(transactions.c.kind == Kind.REVERSAL, transactions.c.state == State.POSTED)
_original = transactions.alias("original")


class StoredLine(NamedTuple):
    """An entry with its transaction, which is missing in damaged books."""

    entry: Entry
    transaction: Transaction | None


class Counts(NamedTuple):
    """How many rows there are."""

    accounts: int
    entries: int
    transactions: int
    holds: int


class Reserved(NamedTuple):
    """What an account's open holds reserve together, and how many they are."""

    key: AccountKey
    minor: int
    holds: int


class GivenBack(NamedTuple):
    """Of an original: what is noted as given back, what its reversals sum to, and what it was."""

    original_id: str
    noted_minor: int | None
    total_minor: int | None
    amount_minor: int | None


def count_rows(connection: Connection) -> Counts:
    """Count all rows."""
    tables = (accounts, entries, transactions, holds)
    return Counts(
        *(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
    )


def stream_accounts(connection: Connection) -> Iterator[Account]:
    """Read all accounts in the order of their keys."""
    return map(account_of, connection.execute(_ACCOUNTS))


def stream_lines(connection: Connection) -> Iterator[StoredLine]:
    """Read all entries, account by account and in sequence."""
    return map(_stored_line, connection.execute(_LINES))


def _stored_line(row: Row[Any]) -> StoredLine:
    record = row[_ENTRY_COLUMNS:]
    transaction = None if record[0] is None else transaction_of(record)
    return StoredLine(Entry._make(row[:_ENTRY_COLUMNS]), transaction)


def stream_account_lines(
    connection: Connection, key: AccountKey, *, above: int, below: int
) -> Iterator[StoredLine]:
    """Read one account's entries between two sequences, both excluded."""
    statement = _LINES.where(
        entries.c.user_id == key.user_id,
        entries.c.currency_code == key.currency_code,
        entries.c.sequence > above,
        entries.c.sequence < below,
    )
    return map(_stored_line, connection.execute(statement))


def stream_transactions(
    connection: Connection, *, in_time_order: bool = False
) -> Iterator[Transaction]:
    """Read all transactions."""
    statement = select(transactions)
    if in_time_order:
        statement = statement.order_by(transactions.c.created_at, transactions.c.transaction_id)
    return map(transaction_of, connection.execute(statement))


def find_unwritten_side(connection: Connection) -> Transaction | None:
    """Return a transaction whose entry on either side is missing or belongs to another."""
    sides = (
        (transactions.c.source_user_id, transactions.c.source_sequence),
        (transactions.c.target_user_id, transactions.c.target_sequence),
    )
    for user_id, sequence in sides:
        statement = (
            select(transactions)
            .outerjoin(
                entries,
                and_(
                    entries.c.user_id == user_id,
                    entries.c.currency_code == transactions.c.currency_code,
                    entries.c.sequence == sequence,
                    entries.c.transaction_id == transactions.c.transaction_id,
                ),
            )
            .where(sequence.is_not(None), entries.c.user_id.is_(None))
            .limit(1)
        )
        row = connection.execute(statement).first()
        if row:
            return transaction_of(row)
    return None


def stream_reserved(connection: Connection) -> Iterator[Reserved]:
    """Add up the open holds of each account that has any, in the order of their keys."""
    remaining = holds.c.amount_minor - holds.c.captured_minor
    statement = (
        select(holds.c.user_id, holds.c.currency_code, func.sum(remaining), func.count())
        .where(holds.c.state == HoldState.ACTIVE)
        .group_by(holds.c.user_id, holds.c.currency_code)
        .order_by(holds.c.user_id, holds.c.currency_code)
    )
    for user_id, code, minor, count in connection.execute(statement):
        yield Reserved(AccountKey(user_id, code), int(minor), count)


def stream_account_changes(connection: Connection) -> Iterator[Transaction]:
    """Read all openings and changes of accounts in the order of their keys, oldest first."""
    statement = (
        select(transactions)
        .where(CHANGES_ACCOUNT, transactions.c.state == State.POSTED)
        .order_by(
            transactions.c.target_user_id,
            transactions.c.currency_code,
            transactions.c.created_at,
            transactions.c.transaction_id,
        )
    )
    return map(transaction_of, connection.execute(statement))


def stream_holds(connection: Connection) -> Iterator[Hold]:
    """Read all holds by their ids."""
    return map(hold_of, connection.execute(select(holds).order_by(holds.c.hold_id)))


def stream_hold_transactions(connection: Connection) -> Iterator[Transaction]:
    """Read all that was done with holds, the making of each included, by the holds' ids."""
    statement = (
        select(transactions)
        .where(transactions.c.hold_id.is_not(None), transactions.c.state == State.POSTED)
        .order_by(transactions.c.hold_id)
    )
    return map(transaction_of, connection.execute(statement))


def find_wrong_sum(connection: Connection) -> GivenBack | None:
    """Return an original of which other than what is noted was given back, or more than it was."""
    given_back = (
        select(
            transactions.c.reversal_of.label("id"),
            cast(func.sum(transactions.c.amount_minor), BigInteger).label("total_minor"),
        )
        .where(_IS_REVERSAL)
        .group_by(transactions.c.reversal_of)
        .subquery("given_back")
    )
    original_id = func.coalesce(reversals.c.transaction_id, given_back.c.id)
    noted_minor, total_minor = reversals.c.reversed_minor, given_back.c.total_minor
    statement = (
        select(original_id, noted_minor, total_minor, _original.c.amount_minor)
        .select_from(
            given_back.join(reversals, reversals.c.transaction_id == given_back.c.id, full=True)
        )
        .outerjoin(_original, _original.c.transaction_id == original_id)
        .where(
            or_(
                noted_minor.is_distinct_from(total_minor),
                total_minor > _original.c.amount_minor,
            )
        )
        .limit(1)
    )
    row = connection.execute(statement).first()
    return GivenBack._make(row) if row else None


def find_wrong_reversal(connection: Connection) -> Transaction | None:
    """Return a reversal that does not give a posted original back to whom it came from."""
    statement = (
        select(transactions)
        .outerjoin(
            _original,
            and_(
                _original.c.transaction_id == transactions.c.reversal_of,
                _original.c.kind.in_(REVERSIBLE_KINDS),
                _original.c.state == State.POSTED,
                _original.c.currency_code == transactions.c.currency_code,
                _original.c.source_user_id == transactions.c.target_user_id,
                _original.c.target_user_id == transactions.c.source_user_id,
            ),
        )
        .where(_IS_REVERSAL, _original.c.transaction_id.is_(None))
        .limit(1)
    )
    row = connection.execute(statement).first()
    return transaction_of(row) if row else None
