"""Connections that somebody has for too long are cut, and no others."""

import sqlite3
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, QueuePool, create_engine
from structlog.testing import capture_logs

from wallet_service.storage.busy import BusyConnections

LONG_S = 10.0

Clock = Callable[[float], None]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=QueuePool, pool_size=2)
    yield made
    made.dispose()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let some seconds pass."""

    def move(seconds: float) -> None:
        then = time.monotonic() + seconds
        monkeypatch.setattr(time, "monotonic", lambda: then)

    return move


def test_a_connection_that_somebody_has_for_too_long_is_cut_once(
    engine: Engine, later: Clock
) -> None:
    cut: list[sqlite3.Connection] = []
    busy = BusyConnections([engine], busy_max_s=LONG_S, cut=cut.append)
    with capture_logs() as logs, engine.connect() as held:
        busy.cut_long()
        assert not cut
        later(LONG_S + 1)
        with engine.connect():  # another, which was taken just now
            busy.cut_long()
            busy.cut_long()

        assert cut == [held.connection.driver_connection]
    (told,) = logs
    assert (told["log_level"], told["event"]) == ("warning", "connection_cut")
    assert told["busy_ms"] >= LONG_S * 1000


def test_a_connection_that_was_given_back_in_time_is_left_alone(
    engine: Engine, later: Clock
) -> None:
    cut: list[sqlite3.Connection] = []
    busy = BusyConnections([engine], busy_max_s=LONG_S, cut=cut.append)
    with engine.connect():
        pass
    later(LONG_S + 1)

    busy.cut_long()
    with engine.connect():  # the same connection, taken anew
        busy.cut_long()

    assert not cut


def test_a_connection_that_is_given_back_while_another_is_cut_is_left_alone(
    engine: Engine, later: Clock
) -> None:
    cut: list[sqlite3.Connection] = []

    def cut_and_end_the_last(connection: sqlite3.Connection) -> None:
        cut.append(connection)
        held.pop().close()

    busy = BusyConnections([engine], busy_max_s=LONG_S, cut=cut_and_end_the_last)
    held = [engine.connect(), engine.connect()]
    later(LONG_S + 1)

    busy.cut_long()

    (first,) = held
    assert cut == [first.connection.driver_connection]
    first.close()
