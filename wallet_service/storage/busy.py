"""
Connections that have been in use for too long: cut, so that who waits for them goes on.

A server that hangs, or something in between that forgot a connection, sends neither an answer nor
an error, and no statement's time limit is counted on this side.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

_log = structlog.get_logger()


class _Use(NamedTuple):
    """A connection of the driver's, and since when somebody has it, on the monotonic clock."""

    connection: Any
    since: float


class BusyConnections:
    """
    Knows since when each of some pools' connections has been in use.

    Args:
        engines: Whose.

        busy_max_s: For how long one may be.

        cut: Ends a connection of the driver's from outside, while somebody waits for it.
    """

    def __init__(
        self, engines: Iterable[Engine], *, busy_max_s: float, cut: Callable[[Any], None]
    ) -> None:
        self._busy_max_s = busy_max_s
        self._cut = cut
        self._uses: dict[ConnectionPoolEntry, _Use] = {}
        for engine in engines:
            event.listen(engine, "checkout", self._begin)
            event.listen(engine, "checkin", self._end)

    def _begin(self, connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        self._uses[record] = _Use(connection, time.monotonic())

    def _end(self, _connection: object, record: ConnectionPoolEntry) -> None:
        self._uses.pop(record, None)

    def cut_long(self) -> None:
        """Cut those that have been in use for too long; whoever waits finds them lost."""
        for record, use in list(self._uses.items()):
            busy_s = time.monotonic() - use.since
            # Meanwhile it may have been given back, and taken by another.
            if busy_s > self._busy_max_s and self._uses.get(record) is use:
                del self._uses[record]  # once is enough
                _log.warning("connection_cut", busy_ms=round(busy_s * 1000))
                self._cut(use.connection)
