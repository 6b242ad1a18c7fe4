"""SIGTERM: calls under way are answered, new ones turned away, and the exit code is 0."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from harness.children import wait_until_gone, workers_of
from harness.deployment import Deployment
from harness.load import Clients, open_books, scaled
from harness.patience import eventually
from harness.postgres import StartedPostgres
from harness.processes import ServerProcess, wallet_environment
from harness.tokens import bearer, service_token
from sqlalchemy import text
from wallet_client import Undecided, Wallet
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_service_pb2 import (
    GetBalanceRequest,
    TransferRequest,
    TransferResponse,
)
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceStub

from wallet_service.storage.database import open_database
from wallet_service.storage.dialect import Limits

#: Long enough for a call to wait for as long as a test wants it to.
PATIENT = {"batch_timeout_ms": 60_000, "grace_ms": 60_000}
LAYOUTS = [("sqlite", 1), ("postgres", 1), ("postgres", 2)]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout[0]}-{layout[1]}")
def layout(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The address of a database, and how many workers serve it."""
    engine, workers = request.param
    return request.getfixturevalue(f"{engine}_url"), workers


@pytest.fixture
def patient_server(layout: tuple[str, int], tmp_path: Path) -> Iterator[ServerProcess]:
    database_url, workers = layout
    with ServerProcess(tmp_path, database_url, workers=workers, **PATIENT) as process:
        yield process


@contextmanager
def _accounts_locked(database_url: str) -> Iterator[None]:
    """Hold the accounts' locks as another session; SQLite's one lock comes with any write."""
    database = open_database(database_url, Limits(statement_timeout_ms=60_000))
    with database.transaction() as connection:
        connection.execute(text("UPDATE accounts SET updated_at = updated_at"))
        yield
    database.close()


@contextmanager
def _call_under_way(target: str) -> "Iterator[grpc.CallFuture[TransferResponse]]":
    """Send a transfer of 500 from Alice to Bob; the server has it when this yields."""
    metadata = bearer("service", "wallet:act-for-any")
    request = TransferRequest(
        user_id="alice", to_user_id="bob", amount=Money(minor_units=500), request_id="last"
    )
    with grpc.insecure_channel(target) as channel:
        stub = WalletServiceStub(channel)
        sending = stub.Transfer.future(request, metadata=metadata, timeout=30)
        # A connection's calls are taken in order: once this one is answered, the other is taken.
        stub.GetBalance(GetBalanceRequest(user_id="alice"), metadata=metadata, timeout=30)
        yield sending


def _turns_new_calls_away(target: str) -> bool:
    with Wallet(target, service_token(), plaintext=True, attempts_max=1) as newcomer:
        try:
            newcomer.balance(user_id="alice")
        except Undecided:
            return True
    return False


def _drain(server: ServerProcess) -> None:
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: _turns_new_calls_away(server.target))


def test_a_call_under_way_is_answered_while_the_server_drains(
    layout: tuple[str, int], patient_server: ServerProcess
) -> None:
    target = patient_server.target
    open_books(target, ["alice", "bob"], amount_minor=1000)

    with ExitStack() as lock:
        lock.enter_context(_accounts_locked(layout[0]))
        with _call_under_way(target) as sending:
            _drain(patient_server)
            lock.close()
            sent = sending.result()

    assert sent.transaction.entry.balance_after.minor_units == 500
    assert patient_server.process.wait(30) == 0


def test_a_call_under_way_is_answered_though_a_terminal_interrupts_every_process(
    layout: tuple[str, int], patient_server: ServerProcess
) -> None:
    supervisor, target = patient_server.process.pid, patient_server.target
    open_books(target, ["alice", "bob"], amount_minor=1000)

    with ExitStack() as lock:
        lock.enter_context(_accounts_locked(layout[0]))
        with _call_under_way(target) as sending:
            for pid in (*workers_of(supervisor), supervisor):
                os.kill(pid, signal.SIGINT)
            eventually(lambda: _turns_new_calls_away(target))
            lock.close()
            sent = sending.result()

    assert sent.transaction.entry.balance_after.minor_units == 500
    assert patient_server.process.wait(30) == 0


def test_a_second_signal_ends_the_server_at_once(
    layout: tuple[str, int], patient_server: ServerProcess
) -> None:
    workers = workers_of(patient_server.process.pid)
    open_books(patient_server.target, ["alice", "bob"], amount_minor=1000)

    with _accounts_locked(layout[0]), _call_under_way(patient_server.target) as sending:
        _drain(patient_server)

        patient_server.process.send_signal(signal.SIGTERM)

        assert patient_server.process.wait(10) != 0
        wait_until_gone(workers)
        assert sending.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("workers", [1, 2])
def test_a_database_that_hangs_does_not_keep_the_server_from_ending(
    own_postgres: StartedPostgres, postgres_url: str, tmp_path: Path, workers: int
) -> None:
    with ServerProcess(tmp_path, postgres_url, workers=workers, grace_ms=500) as server:
        open_books(server.target, ["alice", "bob"], amount_minor=1000)
        with _accounts_locked(postgres_url), _call_under_way(server.target) as sending:
            with own_postgres.hung():
                exit_code = server.terminate()
            cut = sending.exception()

        assert exit_code == 0
        assert isinstance(cut, grpc.RpcError)
        assert "threads_abandoned" in server.log


def test_a_lock_held_by_others_does_not_keep_the_server_from_ending(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = {**PATIENT, "grace_ms": 500}
    with ServerProcess(tmp_path, sqlite_url, **settings) as server:
        open_books(server.target, ["alice", "bob"], amount_minor=1000)
        with _accounts_locked(sqlite_url), _call_under_way(server.target) as sending:
            exit_code = server.terminate()
            cut = sending.exception()

        assert exit_code == 0
        assert isinstance(cut, grpc.RpcError)
        assert server.log.count("threads_abandoned") == 1


def test_an_open_reflection_stream_does_not_keep_the_server_from_ending(
    sqlite_url: str, tmp_path: Path
) -> None:
    over = threading.Event()

    def ask_and_stay() -> Iterator[ServerReflectionRequest]:
        yield ServerReflectionRequest(list_services="")
        over.wait()

    with (
        # Longer than whoever ends it here waits.
        ServerProcess(tmp_path, sqlite_url, grace_ms=600_000) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stream = ServerReflectionStub(channel).ServerReflectionInfo(ask_and_stay())
        listed = next(stream).list_services_response.service
        exit_code = server.terminate()
        over.set()

        assert "wallet.v1.WalletService" in {service.name for service in listed}
        assert (exit_code, server.log) == (0, "")


def test_a_drain_under_load_leaves_no_answer_open(
    layout: tuple[str, int], clients: Clients, tmp_path: Path
) -> None:
    database_url, workers = layout
    with ServerProcess(tmp_path, database_url, workers=workers) as server:

        def drain_and_start_again() -> None:
            assert server.terminate() == 0
            server.start()

        Deployment(server, database_url, tmp_path).survive(
            clients, drain_and_start_again, rounds=scaled(1), seed=11
        )


_SIGNALLED_AT_ONCE = """
import os, signal
from wallet_service import workers

install = signal.signal

def install_and_be_signalled(number, handler):
    install(number, handler)
    if number == signal.SIGTERM and handler is not signal.SIG_DFL:
        os.kill(os.getpid(), number)

signal.signal = install_and_be_signalled
signals = (signal.SIGTERM, signal.SIGINT)
workers._awaited(*signals)()
print(*(signal.getsignal(each).name for each in signals))
"""


def test_a_signal_that_comes_as_soon_as_it_is_handled_wakes_and_the_next_one_ends() -> None:
    command = [sys.executable, "-c", _SIGNALLED_AT_ONCE]

    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert finished.stdout == "SIG_DFL SIG_DFL\n"


_SIGNALLED_WHEN_READY = """
import os, signal
from wallet_service.settings import load_settings
from wallet_service.workers import serve

serve(load_settings(), on_ready=lambda _port: os.kill(os.getpid(), signal.SIGTERM))
print("drained")
"""


def test_a_signal_that_comes_as_soon_as_it_serves_drains(sqlite_url: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _SIGNALLED_WHEN_READY],
        cwd=tmp_path,
        env=wallet_environment(tmp_path, sqlite_url, listen="127.0.0.1:0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert finished.stdout == "drained\n"


#: Runs a command as process 1 of processes of its own, as containers do.
_AS_PROCESS_1 = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def _may_be_process_1() -> bool:
    if not shutil.which("unshare"):
        return False
    return (
        subprocess.run([*_AS_PROCESS_1, "true"], capture_output=True, check=False).returncode == 0
    )


needs_process_1 = pytest.mark.skipif(not _may_be_process_1(), reason="not allowed here")


def _only_child(process: subprocess.Popen[str]) -> psutil.Process:
    (child,) = psutil.Process(process.pid).children()
    return child


@needs_process_1
def test_a_signal_ends_a_server_that_waits_for_its_database_as_process_1(tmp_path: Path) -> None:
    environment = wallet_environment(tmp_path, "postgresql://nobody@127.0.0.1:1/nothing")
    command = [*_AS_PROCESS_1, sys.executable, "-m", "wallet_service", "serve"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert "waiting_for_database" in process.stderr.readline()

        _only_child(process).send_signal(signal.SIGTERM)

        assert process.wait(10) == 128 + signal.SIGTERM


@needs_process_1
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_process_1_too(sqlite_url: str, tmp_path: Path, workers: int) -> None:
    command = [*_AS_PROCESS_1, sys.executable, "-m", "wallet_service"]
    with ServerProcess(tmp_path, sqlite_url, command=command, workers=workers, **PATIENT) as server:
        open_books(server.target, ["alice", "bob"], amount_minor=1000)
        first = _only_child(server.process)
        with _accounts_locked(sqlite_url), _call_under_way(server.target):
            first.send_signal(signal.SIGTERM)
            eventually(lambda: _turns_new_calls_away(server.target))

            first.send_signal(signal.SIGTERM)

            assert server.process.wait(10) == 128 + signal.SIGTERM
