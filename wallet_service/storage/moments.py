"""
Find where an account's history stood at a moment, by bisection along its key.

Times never decrease along an account, so some twenty look-ups in the primary key find a moment
among a million entries: no second index to keep, nothing to sum.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Text,
    and_,
    case,
    cast,
    column,
    select,
    values,
)
from sqlalchemy.sql.selectable import CTE

from wallet_service.ledger.books import Entry
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.schema import accounts, entries


class Moment(NamedTuple):
    """A time on an account's history, in microseconds."""

    key: AccountKey
    time: int


class Position(NamedTuple):
    """The entries on either side of a moment; None beyond the history's ends."""

    last_before: Entry | None
    next_at: int | None


def find_positions(connection: Connection, moments: Sequence[Moment]) -> dict[Moment, Position]:
    """Find the last entry made before each of some moments, and when the next one was made."""
    if not moments:
        return {}
    wanted = (
        values(
            column("user_id", Text),
            column("currency_code", Text),
            column("time", BigInteger),
            name="wanted",
        )
        .data([(*moment.key, moment.time) for moment in moments])
        .cte("wanted")
    )
    found = _bisection(wanted)
    following = entries.alias("following")
    statement = (
        select(
            found.c.user_id, found.c.currency_code, found.c.time, following.c.created_at, entries
        )
        .outerjoin(entries, _is_entry(entries, found, found.c.low))
        .outerjoin(following, _is_entry(following, found, found.c.low + 1))
        .where(found.c.low == found.c.high)
    )
    positions = {}
    for user_id, currency_code, time, next_at, *entry in connection.execute(statement):
        moment = Moment(AccountKey(user_id, currency_code), time)
        positions[moment] = Position(None if entry[0] is None else Entry._make(entry), next_at)
    return positions


def _bisection(wanted: CTE) -> CTE:
    """Narrow `low … high`, the possible numbers of entries before each moment, to one."""
    search = (
        select(
            wanted.c.user_id,
            wanted.c.currency_code,
            wanted.c.time,
            cast(0, BigInteger).label("low"),
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
    is_before = entries.c.created_at < search.c.time
    step = (
        select(
            search.c.user_id,
            search.c.currency_code,
            search.c.time,
            case((is_before, middle), else_=search.c.low),
            case((is_before, search.c.high), else_=middle - 1),
        )
        .join(entries, _is_entry(entries, search, middle))
        .where(search.c.low < search.c.high)
    )
    return search.union_all(step)


def _is_entry(table: FromClause, owner: CTE, sequence: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(
        table.c.user_id == owner.c.user_id,
        table.c.currency_code == owner.c.currency_code,
        table.c.sequence == sequence,
    )
