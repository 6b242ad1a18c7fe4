"""Health goes on looking, whatever it meets."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

from grpc_health.v1 import health_pb2
from harness.calls import wait_until
from harness.patience import NOT_SERVING, SERVING

from wallet_service.health import HealthMonitor
from wallet_service.storage.database import Database


def _status(monitor: HealthMonitor) -> int:
    status: int = monitor.servicer.Check(health_pb2.HealthCheckRequest(), None).status
    return status


def test_a_fault_while_looking_is_told_and_the_next_look_counts(database: Database) -> None:
    faults = [ValueError("a fault")]

    def takes_writes(_connection: object) -> bool:
        if faults:
            raise faults.pop()
        return True

    dialect = cast("Any", SimpleNamespace(takes_writes=takes_writes))
    monitor = HealthMonitor(dataclasses.replace(database, dialect=dialect), [])

    monitor.start()
    first = _status(monitor)
    wait_until(lambda: _status(monitor) == SERVING)
    monitor.stop()

    assert first == NOT_SERVING
    assert _status(monitor) == NOT_SERVING
