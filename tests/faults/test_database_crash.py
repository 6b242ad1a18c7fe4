"""PostgreSQL crashes, or throws its clients out, in the midst of the server's work."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from harness.deployment import Deployment
from harness.load import Clients, scaled
from harness.patience import NOT_SERVING, SERVING, eventually, wait_until_health_is
from harness.postgres import StartedPostgres
from harness.processes import ServerProcess
from harness.tokens import service_token
from wallet_client import Wallet

_OUR_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'wallet' AND datname = current_database()
"""


@pytest.fixture
def server(postgres_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, postgres_url) as process:
        yield process


def _query(database_url: str, statement: str) -> list[int]:
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


def _crash(postgres: StartedPostgres, _database_url: str) -> None:
    postgres.kill()
    postgres.start_again()


def _kill_one_backend(_postgres: StartedPostgres, database_url: str) -> None:
    victim = _query(database_url, _OUR_BACKENDS)[0]
    os.kill(victim, signal.SIGKILL)
    # The dead backend stays listed until the whole server has started over.
    eventually(lambda: _answers_without(database_url, victim))


def _answers_without(database_url: str, pid: int) -> bool:
    try:
        return pid not in _query(database_url, _OUR_BACKENDS)
    except psycopg2.OperationalError:
        return False


def _throw_all_out(_postgres: StartedPostgres, database_url: str) -> None:
    _query(database_url, f"SELECT pg_terminate_backend(pid)::int FROM ({_OUR_BACKENDS}) AS ours")


@pytest.mark.parametrize("fault", [_crash, _kill_one_backend, _throw_all_out])
def test_no_acknowledged_transfer_is_lost_and_the_server_recovers_by_itself(
    *,
    own_postgres: StartedPostgres,
    server: ServerProcess,
    clients: Clients,
    postgres_url: str,
    tmp_path: Path,
    fault: Callable[[StartedPostgres, str], None],
) -> None:
    pid = server.process.pid

    Deployment(server, postgres_url, tmp_path).survive(
        clients, lambda: fault(own_postgres, postgres_url), rounds=scaled(3), seed=9
    )

    assert server.process.poll() is None
    assert server.process.pid == pid


def test_health_follows_the_database_both_ways(
    own_postgres: StartedPostgres, server: ServerProcess
) -> None:
    with Wallet(server.target, service_token(), plaintext=True) as service:
        service.deposit(100, user_id="alice")

        own_postgres.kill()
        wait_until_health_is(server.target, NOT_SERVING)
        own_postgres.start_again()
        wait_until_health_is(server.target, SERVING)

        assert service.balance(user_id="alice").posted.minor_units == 100


def test_health_turns_when_the_database_keeps_silent_and_back_when_it_speaks(
    own_postgres: StartedPostgres, server: ServerProcess
) -> None:
    with own_postgres.hung():
        wait_until_health_is(server.target, NOT_SERVING)
    wait_until_health_is(server.target, SERVING)
