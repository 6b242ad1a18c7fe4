"""
Connections that have said nothing for too long: cut, so that who waits for them goes on.

A server that hangs, or something in between that forgot a connection, sends neither an answer nor
an error, and no statement's time limit is counted on this side.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

_log = structlog.get_logger()


class BusyConnections:
    """
    Knows since when each of some pools' connections has been in use.

    Args:
        engines: Whose.

        silence_max_s: How long one may be.

        cut: Ends a connection of the driver's from outside, while somebody waits for it.
    """

    def __init__(
        self, engines: Iterable[Engine], *, silence_max_s: float, cut: Callable[[Any], None]
    ) -> None:
        self._silence_max_s = silence_max_s
        self._cut = cut
        self._busy_since: dict[ConnectionPoolEntry, float] = {}
        for engine in engines:
            event.listen(engine, "checkout", self._begin)
            event.listen(engine, "checkin", self._end)

    def _begin(self, _connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        self._busy_since[record] = time.monotonic()

    def _end(self, _connection: object, record: ConnectionPoolEntry) -> None:
        self._busy_since.pop(record, None)

    def cut_silent(self) -> None:
        """Cut those that have been in use for too long; whoever waits finds them lost."""
        over = time.monotonic() - self._silence_max_s
        for record, since in list(self._busy_since.items()):
            if since < over and record.dbapi_connection is not None:
                self._end(None, record)  # once is enough
                _log.warning("connection_cut", silent_ms=round(self._silence_max_s * 1000))
                self._cut(record.dbapi_connection)
