"""
Find where an account's history stood at a moment, by bisection along its key.

Times never decrease along an account, so some twenty look-ups in the primary key find a moment
among a million entries: no second index to keep, nothing to sum.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    select,
)
from sqlalchemy.sql.selectable import CTE

from wallet_service.ledger.books import Entry
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.database import Database
from wallet_service.storage.dialect import Dialect
from wallet_service.storage.schema import accounts, entries


class Moment(NamedTuple):
    """A time on an account's history, in microseconds."""

    key: AccountKey
    time: int


class Outlay(NamedTuple):
    """A figure of what had left an account, in minor units or debits, up to one of its entries."""

    key: AccountKey
    figure: int
    after_sequence: int


class _Mark(NamedTuple):
    """A figure on an account's rising column, and the entry after which to look for it."""

    user_id: str
    currency_code: str
    mark: int
    after_sequence: int


_MARK_COLUMNS = (
    column("user_id", Text),
    column("currency_code", Text),
    column("mark", BigInteger),
    column("after_sequence", BigInteger),
)


def find_last_entries(
    database: Database, connection: Connection, moments: Collection[Moment]
) -> dict[Moment, Entry | None]:
    """
    Find the last entry made before each of some moments.

    Returns:
        None where an account has none before; without the moments of accounts nobody opened, or
        that have a gap.
    """
    if not moments:
        return {}
    marks = [_Mark(*moment.key, moment.time, after_sequence=0) for moment in moments]
    rows = connection.execute(_last_entries(database.dialect), _as_parameter(marks))
    return {
        Moment(AccountKey(user_id, code), time): None if entry[0] is None else Entry._make(entry)
        for user_id, code, time, *entry in rows
    }


def _last_entries(dialect: Dialect) -> Select[Any]:
    found = _bisection(dialect, entries.c.created_at, includes_mark=False)
    return (
        select(found.c.user_id, found.c.currency_code, found.c.mark, entries)
        .outerjoin(entries, _is_entry(found, found.c.low))
        .where(found.c.low == found.c.high)
    )


def find_next_spending(
    database: Database, connection: Connection, outlays: Collection[Outlay], along: Column[int]
) -> dict[Outlay, int | None]:
    """
    Find an entry by which more than each of some figures had left an account, and when it was made.

    Args:
        database: Where to look.

        connection: In whose transaction.

        outlays: The figures.

        along: The column they are of: `outflow_minor` or `outflow_count`.

    Returns:
        The first such entry's time where nothing was given back meanwhile; None: there is none.
    """
    if not outlays:
        return {}
    marks = [_Mark(*each.key, each.figure, each.after_sequence) for each in outlays]
    statement = _next_spending(database.dialect, along)
    return {
        Outlay(AccountKey(user_id, code), figure, after_sequence): time
        for user_id, code, figure, after_sequence, time in connection.execute(
            statement, _as_parameter(marks)
        )
    }


def _next_spending(dialect: Dialect, along: Column[int]) -> Select[Any]:
    found = _bisection(dialect, along, includes_mark=True)
    return (
        select(
            found.c.user_id,
            found.c.currency_code,
            found.c.mark,
            found.c.after_sequence,
            entries.c.created_at,
        )
        .outerjoin(entries, _is_entry(found, found.c.low + 1))
        .where(found.c.low == found.c.high)
    )


def _as_parameter(marks: Sequence[_Mark]) -> dict[str, str]:
    """Give marks as one parameter: a statement of their number would be compiled each time."""
    return {"marks": orjson.dumps([mark._asdict() for mark in marks]).decode()}


def _bisection(dialect: Dialect, along: Column[int], *, includes_mark: bool) -> CTE:
    """
    Narrow `low … high`, how many entries can be before each mark on a rising column, to one.

    Args:
        dialect: How to read the parameter `marks`.

        along: The column.

        includes_mark: Whether an entry that is at the mark is before it.
    """
    wanted = dialect.rows_of_json("marks", _MARK_COLUMNS)
    search = (
        select(
            wanted.c.user_id,
            wanted.c.currency_code,
            wanted.c.mark,
            wanted.c.after_sequence,
            cast(wanted.c.after_sequence, BigInteger).label("low"),
            accounts.c.sequence.label("high"),
        )
        .join(
            accounts,
            and_(
                accounts.c.user_id == wanted.c.user_id,
                accounts.c.currency_code == wanted.c.currency_code,
            ),
        )
        .cte("search", recursive=True)
    )
    middle = (search.c.low + search.c.high + 1) // 2
    is_before = along <= search.c.mark if includes_mark else along < search.c.mark
    step = (
        select(
            search.c.user_id,
            search.c.currency_code,
            search.c.mark,
            search.c.after_sequence,
            case((is_before, middle), else_=search.c.low),
            case((is_before, search.c.high), else_=middle - 1),
        )
        .join(entries, _is_entry(search, middle))
        .where(search.c.low < search.c.high)
    )
    return search.union_all(step)


def _is_entry(owner: CTE, sequence: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(
        entries.c.user_id == owner.c.user_id,
        entries.c.currency_code == owner.c.currency_code,
        entries.c.sequence == sequence,
    )
