"""Workers, as their operating system sees them: where their threads run, how they end."""

import os
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

import grpc
import psutil
import pytest
from harness.children import workers_of
from harness.processes import ServerProcess
from harness.tokens import token, write_secret
from wallet_client import Wallet

from wallet_service.settings import Settings
from wallet_service.workers import _reserve_port, _Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")

ALL = frozenset(os.sched_getaffinity(0) if sys.platform == "linux" else ())
#: What the threads are named that gRPC starts for itself.
OF_GRPC = ("event_engine", "lifeguard", "grpc_")


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(len(ALL) < 2, reason="a single processor is everybody's")
def test_a_worker_stays_on_one_processor(database_url: str, tmp_path: Path) -> None:
    is_embedded = database_url.startswith("sqlite")
    processes = 1 if is_embedded else 2  # PostgreSQL needs one too

    with ServerProcess(tmp_path, database_url) as server:
        busy(server)
        of_python, of_grpc = processors(server.process.pid)

    free = of_python.pop(ALL, 0)
    assert free == (1 if is_embedded else 0)  # the one that copies SQLite's log
    (bound,) = of_python
    assert len(bound) == 1
    assert of_grpc == (ALL if processes < len(ALL) else bound)


@pytest.mark.skipif(len(ALL) < 2, reason="a single processor is everybody's")
def test_as_many_workers_as_processors_have_one_each(postgres_url: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, postgres_url, workers=len(ALL)) as server:
        places = [processors(pid) for pid in workers_of(server.process.pid)]

    assert all(set(of_python) == {of_grpc} for of_python, of_grpc in places)
    assert sorted(place for _, of_grpc in places for place in of_grpc) == sorted(ALL)


def test_workers_go_anywhere_where_that_is_chosen(sqlite_url: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, sqlite_url, pin_workers=False) as server:
        busy(server)
        of_python, of_grpc = processors(server.process.pid)

    assert set(of_python) == {of_grpc} == {ALL}


def test_a_worker_that_ends_while_it_starts_is_not_ready(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/wallet.db", tls_cert_file=missing, tls_key_file=missing
    )
    worker = _Worker(settings, place=0)
    wait([worker.ready])  # at the end of its pipe

    worker.look()

    assert not worker.is_ready
    assert worker.process.exitcode == 2


def test_a_worker_makes_no_new_books_where_the_old_ones_went(tmp_path: Path) -> None:
    file = tmp_path / "wallet.db"
    settings = Settings(
        database_url=f"sqlite:///{file}",
        listen="127.0.0.1:0",
        jwt_secret_file=write_secret(tmp_path),
    )
    worker = _Worker(settings, place=0)
    wait([worker.ready])

    worker.look()
    worker.process.kill()

    assert not worker.is_ready
    assert worker.process.exitcode == 2
    assert not file.exists()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_workers_share_a_port_of_ipv6_too() -> None:
    with _reserve_port("[::1]:0") as reserved:
        port = reserved.getsockname()[1]
        workers = [
            grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 1)]) for _ in "ab"
        ]

        assert [each.add_insecure_port(f"[::1]:{port}") for each in workers] == [port, port]


def busy(server: ServerProcess) -> None:
    """Make a server start a thread for a call."""
    with Wallet(server.target, token("alice"), plaintext=True) as alice:
        alice.deposit(1, request_id="one")


def processors(pid: int) -> tuple[Counter[frozenset[int]], frozenset[int]]:
    """Count a worker's threads of Python by where they may run; and name where gRPC's own may."""
    of_python: Counter[frozenset[int]] = Counter()
    of_grpc: frozenset[int] = frozenset()
    for thread in psutil.Process(pid).threads():
        places = frozenset(os.sched_getaffinity(thread.id))
        name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text()
        if name.startswith(OF_GRPC):
            of_grpc |= places
        else:
            of_python[places] += 1
    assert of_grpc, "none of gRPC's threads was found by its name"
    return of_python, of_grpc
