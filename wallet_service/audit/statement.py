"""One account's statement: what it had, what moved, what it has; the three must agree."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from wallet_service.ledger.books import EXTERNAL, Entry
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.audit_queries import Snapshot, StoredLine, stream_account_lines
from wallet_service.storage.database import Database
from wallet_service.storage.moments import Moment, find_last_entries

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER = 2**62


class Period(NamedTuple):
    """From a moment until before another, in microseconds; None: from the start, until now."""

    start: int | None = None
    end: int | None = None


class StatementRow(NamedTuple):
    """One row: the opening balance, a line, or the closing balance. Sums are minor units."""

    sequence: int | None
    time: int | None
    kind: str
    counterparty: str
    description: str
    amount_minor: int | None
    balance_minor: int


#: Of a line's values, which are all there.
_LINE_TYPES = (int, int, str, str, str, int, int)


def stream_statement(database: Database, key: AccountKey, period: Period) -> Iterator[StatementRow]:
    """
    Read an account's statement as of one moment, oldest line first.

    Raises:
        LedgerCorrupt: The lines do not lead from the opening to the closing balance, or cannot be
            read.
    """
    with database.snapshot() as connection:
        before, until = _ends(database, connection, key, period)
        balance_minor = before.balance_minor if before else 0
        yield StatementRow(None, period.start, "OPENING", "", "", None, balance_minor)
        lines = stream_account_lines(
            connection,
            key,
            above=before.sequence if before else 0,
            below=until.sequence + 1 if until else 0,
        )
        for line in lines:
            balance_minor += line.entry.amount_minor
            yield _row(key, line, balance_minor)
    closing_minor = until.balance_minor if until else 0
    if balance_minor != closing_minor:
        raise LedgerCorrupt(
            row=f"account {key.user_id}/{key.currency_code}",
            problem=f"its lines lead to {balance_minor}, its balance is {closing_minor}",
        )
    yield StatementRow(None, period.end, "CLOSING", "", "", None, closing_minor)


def _ends(
    database: Database, connection: Snapshot, key: AccountKey, period: Period
) -> tuple[Entry | None, Entry | None]:
    """Find the last entries before the period and before its end."""
    first = Moment(key, period.start or 0)
    last = Moment(key, _FOREVER if period.end is None else period.end)
    found = find_last_entries(database, connection, [first, last])
    if first in found and last in found:
        return found[first], found[last]
    # Nobody opened the account, or the search met a gap.
    if any(stream_account_lines(connection, key, above=0, below=_FOREVER)):
        row = f"entries {key.user_id}/{key.currency_code}"
        raise LedgerCorrupt(row=row, problem="a line is missing")
    return None, None


def _row(key: AccountKey, line: StoredLine, balance_minor: int) -> StatementRow:
    entry, transaction = line
    if transaction is None or entry.balance_minor != balance_minor:
        name = f"entries {key.user_id}/{key.currency_code} #{entry.sequence}"
        raise LedgerCorrupt(row=name, problem="it does not follow from the line before")
    parties = (transaction.source_user_id, transaction.target_user_id)
    others = [party for party in parties if party and party != key.user_id]
    row = StatementRow(
        sequence=entry.sequence,
        time=entry.created_at,
        kind=transaction.kind,
        counterparty=others[0] if others else EXTERNAL,
        description=transaction.description,
        amount_minor=entry.amount_minor,
        balance_minor=entry.balance_minor,
    )
    # Also what only looks odd in print is damage, which the snapshot names.
    if not all(map(isinstance, row, _LINE_TYPES)):
        raise TypeError(row)
    return row


def parse_moment(text: str, *, is_end: bool) -> int:
    """
    Read a date or an RFC 3339 time, UTC unless it says otherwise.

    Args:
        text: "2026-11-23" or "2026-11-23T10:00:00+03:00".

        is_end: A date then means the end of that day, not its beginning.

    Returns:
        Microseconds since 1970.

    Raises:
        ValueError: Neither, or out of the years 1 to 9999.
    """
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            moment = datetime.fromisoformat(text)
        else:
            moment = _end_of(day) if is_end else datetime.combine(day, time())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except OverflowError as error:
        raise ValueError(text) from error


def _end_of(day: date) -> datetime:
    """Return the beginning of the next day; of the last day there is, the last moment."""
    if day == date.max:
        return datetime.max  # noqa: DTZ901 (as all dates here, it gets its zone later)
    return datetime.combine(day + timedelta(days=1), time())
