"""
An account's history: pages of its lines, what a moment's balance was, what is new.

Pages are found by key: the thousandth costs what the first did. None of this locks, sums, or reads
more rows than its bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
)

from wallet_service.ledger.books import Entry, Transaction
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.database import Database
from wallet_service.storage.moments import Moment, find_last_entries
from wallet_service.storage.records import transaction_of
from wallet_service.storage.schema import entries, transactions

#: Rows that one page of a filtered listing looks at; past them it is cut short.
SCAN_ROWS_MAX = 10_000

_ENTRY_COLUMNS = len(Entry._fields)
_SEQUENCE_MAX = 2**63 - 1

_LINES = (
    select(entries, transactions)
    .join(transactions, transactions.c.transaction_id == entries.c.transaction_id)
    .where(
        entries.c.user_id == bindparam("user_id"),
        entries.c.currency_code == bindparam("currency_code"),
        entries.c.sequence > bindparam("above"),
        entries.c.sequence < bindparam("below"),
    )
    .limit(bindparam("row_limit"))
)
_NEWEST_LINES = _LINES.order_by(entries.c.sequence.desc())
_OLDEST_LINES = _LINES.order_by(entries.c.sequence)
_ENTRY = select(entries).where(
    entries.c.user_id == bindparam("user_id"),
    entries.c.currency_code == bindparam("currency_code"),
    entries.c.sequence == bindparam("sequence"),
)


class Line(NamedTuple):
    """One entry of an account with its transaction."""

    entry: Entry
    transaction: Transaction


class Page(NamedTuple):
    """Lines in their order; `next_after` is where the next page goes on, None: nowhere."""

    lines: list[Line]
    next_after: int | None


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines are asked for; None and empty: all. Times in microseconds, the end excluded."""

    kinds: tuple[str, ...] = ()
    start_time: int | None = None
    end_time: int | None = None
    counterparty_user_id: str | None = None
    amount_minor_min: int | None = None
    amount_minor_max: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def looks_at_rows(self) -> bool:
        """Tell whether more than the key decides."""
        return self != LineFilter(start_time=self.start_time, end_time=self.end_time)


def read_page(
    database: Database,
    key: AccountKey,
    line_filter: LineFilter,
    *,
    after: int | None,
    newest_first: bool,
    page_size: int,
) -> Page:
    """
    Read one page of an account's history in its order.

    Args:
        database: Where to look.

        key: The account.

        line_filter: Which lines.

        after: `next_after` of the page before; None for the first.

        newest_first: Down from the highest sequence; else up from 1.

        page_size: The most lines to return. A filtered page may have fewer, even none, and yet
            not be the last: it looks at `SCAN_ROWS_MAX` rows at most.
    """

    def look(connection: Connection) -> Page:
        above, below = _range(database, connection, key, line_filter)
        if newest_first:
            below = below if after is None else min(below, after)
        else:
            above = above if after is None else max(above, after)
        scan_above, scan_below = above, below
        if line_filter.looks_at_rows and newest_first:
            scan_above = max(above, below - 1 - SCAN_ROWS_MAX)
        elif line_filter.looks_at_rows:
            scan_below = min(below, above + 1 + SCAN_ROWS_MAX)
        statement = _NEWEST_LINES if newest_first else _OLDEST_LINES
        lines = _fetch(
            connection,
            statement.where(*_predicates(database, line_filter)),
            {**key._asdict(), "above": scan_above, "below": scan_below, "row_limit": page_size + 1},
        )
        if len(lines) > page_size:
            return Page(lines[:page_size], lines[page_size - 1].entry.sequence)
        # Sequences have no gaps: where the scan was cut short is where to go on.
        if scan_above > above:
            return Page(lines, scan_above + 1)
        return Page(lines, scan_below - 1 if scan_below < below else None)

    return database.read(look)


def read_lines_after(
    database: Database, key: AccountKey, sequence: int, *, row_limit: int
) -> list[Line]:
    """Read an account's next lines, oldest first."""
    parameters = {
        **key._asdict(),
        "above": sequence,
        "below": _SEQUENCE_MAX,
        "row_limit": row_limit,
    }
    return database.read(lambda look: _fetch(look, _OLDEST_LINES, parameters))


def read_entry(database: Database, key: AccountKey, sequence: int) -> Entry | None:
    """Return one line of an account; None if there is none."""
    parameters = {**key._asdict(), "sequence": sequence}
    row = database.read(lambda look: look.execute(_ENTRY, parameters).one_or_none())
    return Entry._make(row) if row else None


def read_entry_at(database: Database, key: AccountKey, time: int) -> Entry | None:
    """Return the last line made at or before a time; None if there is none."""
    moment = Moment(key, time + 1)
    return database.read(lambda look: find_last_entries(database, look, [moment])).get(moment)


def _range(
    database: Database, connection: Connection, key: AccountKey, line_filter: LineFilter
) -> tuple[int, int]:
    """Return the sequences between which, both excluded, the filter's times lie."""
    times = (line_filter.start_time, line_filter.end_time)
    moments = [Moment(key, time) for time in times if time is not None]
    last_entries = find_last_entries(database, connection, moments)

    def count_before(time: int) -> int:
        entry = last_entries.get(Moment(key, time))
        return entry.sequence if entry else 0

    above = 0 if line_filter.start_time is None else count_before(line_filter.start_time)
    if line_filter.end_time is not None:
        return above, count_before(line_filter.end_time) + 1
    if not line_filter.looks_at_rows:
        return above, _SEQUENCE_MAX
    newest = select(func.max(entries.c.sequence)).where(
        entries.c.user_id == key.user_id, entries.c.currency_code == key.currency_code
    )
    return above, (connection.scalar(newest) or 0) + 1


def _predicates(database: Database, line_filter: LineFilter) -> list[ColumnElement[bool]]:
    predicates: list[ColumnElement[bool]] = []
    if line_filter.kinds:
        predicates.append(transactions.c.kind.in_(line_filter.kinds))
    if line_filter.counterparty_user_id is not None:
        user_id = line_filter.counterparty_user_id
        is_target = and_(transactions.c.target_user_id == user_id, entries.c.user_id != user_id)
        is_source = and_(transactions.c.source_user_id == user_id, entries.c.user_id != user_id)
        predicates.append(or_(is_target, is_source))
    if line_filter.amount_minor_min is not None:
        predicates.append(transactions.c.amount_minor >= line_filter.amount_minor_min)
    if line_filter.amount_minor_max is not None:
        predicates.append(transactions.c.amount_minor <= line_filter.amount_minor_max)
    if line_filter.metadata:
        predicates.append(database.dialect.has_labels(line_filter.metadata))
    return predicates


def _fetch(
    connection: Connection, statement: Select[Any], parameters: Mapping[str, Any]
) -> list[Line]:
    return [_line(row) for row in connection.execute(statement, parameters)]


def _line(row: Row[Any]) -> Line:
    return Line(Entry._make(row[:_ENTRY_COLUMNS]), transaction_of(row[_ENTRY_COLUMNS:]))
