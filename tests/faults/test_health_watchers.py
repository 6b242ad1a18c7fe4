"""Those who watch a server's health come and go without hurting anybody else."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness.load import scaled
from harness.patience import NOT_SERVING, SERVING
from harness.processes import ServerProcess
from harness.tokens import service_token
from wallet_client import Wallet

_WATCHERS = 8


def _watch_and_leave(target: str, times: int) -> list[int]:
    """Watch until the first answer, again and again; return what was seen."""
    seen = []
    with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(times):
            watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
            seen.append(next(watching).status)
            watching.cancel()
    return seen


def test_a_server_that_stops_lets_go_of_those_who_watch(sqlite_url: str, tmp_path: Path) -> None:
    with (
        # Longer than whoever ends it here waits.
        ServerProcess(tmp_path, sqlite_url, grace_ms=600_000) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        before = next(watching).status
        server.terminate()
        after = [response.status for response in watching]

    assert before == SERVING
    assert after == [NOT_SERVING]


def test_watchers_that_come_and_go_do_not_stop_the_server(sqlite_url: str, tmp_path: Path) -> None:
    times = scaled(200)
    with ServerProcess(tmp_path, sqlite_url) as server:
        with ThreadPoolExecutor(_WATCHERS) as threads:
            watching = [
                threads.submit(_watch_and_leave, server.target, times) for _ in range(_WATCHERS)
            ]
            seen = [status for future in watching for status in future.result()]

        assert seen == [SERVING] * times * _WATCHERS
        with Wallet(server.target, service_token(), plaintext=True) as wallet:
            assert wallet.deposit(1, user_id="alice").transaction.entry.sequence == 1
