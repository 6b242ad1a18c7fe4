"""Waiting for a condition, never for a time."""

from collections.abc import Callable
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

PATIENCE_S = 30.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_T = TypeVar("_T")


def eventually(find: Callable[[], _T]) -> _T:
    """Ask until the answer is true, and return it."""
    asking = Retrying(
        retry=retry_if_result(lambda found: not found),
        wait=wait_fixed(0.02),
        stop=stop_after_delay(PATIENCE_S),
    )
    return asking(find)


def wait_until_health_is(target: str, status: int) -> None:
    """Wait until a server, which may not even run yet, says that its health is so."""
    options = [(f"grpc.{name}_reconnect_backoff_ms", 100) for name in ("initial", "max")]
    with grpc.insecure_channel(target, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        eventually(lambda: _health(stub) == status)


def _health(stub: health_pb2_grpc.HealthStub) -> int | None:
    request = health_pb2.HealthCheckRequest()
    try:
        status: int = stub.Check(request, timeout=PATIENCE_S, wait_for_ready=True).status
    except grpc.RpcError:
        return None
    return status
