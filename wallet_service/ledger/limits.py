"""
Spending limits: windows of time, and what is left in them.

Every entry keeps how much had left its account until then, so spending since any moment is the
account's figure now less the figure at that moment. Open holds count as spent; a reversal takes
what it gives back off the figure at the moment it is made.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, NamedTuple

from wallet_service.ledger.commands import SpendingLimit

_US = 1_000_000
_DAY_US = 24 * 3600 * _US


class Window(StrEnum):
    """The time in which spending is added up; calendar windows begin at midnight UTC."""

    TRANSACTION = "TRANSACTION"
    ROLLING_DAY = "ROLLING_DAY"
    ROLLING_WEEK = "ROLLING_WEEK"
    ROLLING_MONTH = "ROLLING_MONTH"
    CALENDAR_DAY = "CALENDAR_DAY"
    CALENDAR_WEEK = "CALENDAR_WEEK"
    CALENDAR_MONTH = "CALENDAR_MONTH"


def read_limits(stored: Any) -> tuple[SpendingLimit, ...]:
    """Read limits as they are stored; raises `TypeError` or `ValueError` for what is none."""
    limits = tuple(map(SpendingLimit._make, stored))
    for limit in limits:
        Window(limit.window)
        if not {type(limit.max_minor), type(limit.max_count)} <= {int, NoneType}:
            raise ValueError(limit)
    return limits


_ROLLING_US = {
    Window.ROLLING_DAY: _DAY_US,
    Window.ROLLING_WEEK: 7 * _DAY_US,
    Window.ROLLING_MONTH: 30 * _DAY_US,
}


class Outflow(NamedTuple):
    """
    What had left an account before a limit's window began.

    `freeing_sum_at` and `freeing_count_at` are when that was spent by whose leaving the window room
    begins to come back, for a sum and for a number of debits; None where it is not stored.
    """

    minor: int = 0
    debits: int = 0
    freeing_sum_at: int | None = None
    freeing_count_at: int | None = None


def is_rolling(window: str) -> bool:
    """Tell whether a window moves with time, so that room comes back bit by bit."""
    return window in _ROLLING_US


def window_start(window: str, now: int) -> int:
    """Return when the window that `now` is in began, in microseconds; not for TRANSACTION."""
    if is_rolling(window):
        return now - _ROLLING_US[Window(window)]
    day = _midnight(now)
    if window == Window.CALENDAR_WEEK:
        day -= timedelta(days=day.weekday())
    elif window == Window.CALENDAR_MONTH:
        day = day.replace(day=1)
    return _microseconds(day)


def window_reset(window: str, now: int, freeing_at: int) -> str:
    """
    Tell when room begins to come back, by when that was spent whose leaving the window frees it.

    Returns:
        RFC 3339 in UTC; empty where waiting does not help.
    """
    if window == Window.TRANSACTION:
        return ""
    if is_rolling(window):
        # A window includes its first microsecond.
        return _text(freeing_at + _ROLLING_US[Window(window)] + 1)
    day = _midnight(now)
    if window == Window.CALENDAR_DAY:
        day += timedelta(days=1)
    elif window == Window.CALENDAR_WEEK:
        day += timedelta(days=7 - day.weekday())
    else:
        day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
    return _text(_microseconds(day))


def _midnight(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // _US, UTC).replace(hour=0, minute=0, second=0)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * _US


def _text(time_us: int) -> str:
    seconds, rest_us = divmod(time_us, _US)
    return (datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest_us)).isoformat()
