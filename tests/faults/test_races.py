"""Many processes at the same money in the same instant: nothing lost, nothing twice."""

import random
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from harness.jobs import deposit_again_and_again, pay_bob_again_and_again, send_same_requests
from harness.journal import read_journals
from harness.load import Clients, Load, open_books, scaled
from harness.oracles import assert_books_hold
from harness.processes import ServerProcess, run_wallet
from harness.tokens import service_token
from wallet_client import Wallet

PATIENCE_S = 120 * scaled(1)
USERS = [f"user-{number}" for number in range(10)]


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with as many workers as its database can have."""
    workers = 2 if database_url.startswith("postgresql") else 1
    with ServerProcess(tmp_path, database_url, workers=workers) as process:
        yield process


def _results(futures: list[Future[Any]]) -> list[Any]:
    return [future.result(PATIENCE_S) for future in futures]


def test_a_hundred_received_and_one_deposited_at_once_make_a_hundred_and_one(
    server: ServerProcess, clients: Clients
) -> None:
    count = scaled(100)
    with Wallet(server.target, service_token(), plaintext=True) as service:
        service.deposit(10_000 * count, user_id="alice")
        service.open_account("bob")

    paying = clients.run(pay_bob_again_and_again, [(server.target, count)])
    depositing = clients.run(deposit_again_and_again, [(server.target, count)])
    balances = _results(paying)[0]
    _results(depositing)

    assert balances == [10_100 * number for number in range(1, count + 1)]


def test_random_requests_from_many_processes_neither_make_nor_lose_money(
    server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    total_minor = open_books(server.target, USERS, amount_minor=300)
    journals = [tmp_path / f"journal-{number}" for number in range(8)]
    deadlocks = _deadlocks(database_url)

    load = Load(seed=8, count=scaled(150), timeout_s=10.0)
    _results(clients.send_at_random(server.target, journals, USERS, load))
    records = read_journals(journals)

    assert {record.verdict for record in records} <= {"ok", "refused"}
    done = {record.kind for record in records if record.verdict == "ok"}
    assert done == {"TRANSFER", "HOLD", "CAPTURE", "VOID", "REVERSAL"}
    assert any(record.batch for record in records if record.verdict == "ok")
    assert {record.reason for record in records} <= {"", "INSUFFICIENT_FUNDS", "BATCH_REFUSED"}
    assert_books_hold(database_url, records, total_minor=total_minor)
    assert _deadlocks(database_url) == deadlocks
    proof = run_wallet("verify", directory=tmp_path, database_url=database_url)
    assert proof.returncode == 0, proof.stderr


def _deadlocks(database_url: str) -> int:
    """Return how many deadlocks PostgreSQL has broken; SQLite knows none."""
    if not database_url.startswith("postgresql"):
        return 0
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )
            row = cursor.fetchone()
    finally:
        connection.close()
    assert row
    return int(row[0])


def test_one_request_id_from_sixteen_processes_at_once_happens_once(
    server: ServerProcess, clients: Clients, database_url: str
) -> None:
    count = scaled(30)
    open_books(server.target, ["alice", "bob"], amount_minor=1000 * count)
    requests = [[(f"storm-{number}", 100) for number in range(count)] for _ in range(16)]

    answers = _results(clients.run(send_same_requests, [(server.target, own) for own in requests]))

    for same in zip(*answers, strict=True):
        assert len({answer[:3] for answer in same}) == 1, same
        assert [answer[1] for answer in same] == [""] * 16
        assert sorted(answer[3] for answer in same) == [False] + [True] * 15
    assert_books_hold(database_url, [], total_minor=2000 * count)
    with Wallet(server.target, service_token(), plaintext=True) as service:
        assert service.balance(user_id="alice").posted.minor_units == 900 * count


def test_altered_content_under_a_used_request_id_is_refused_in_a_storm(
    server: ServerProcess, clients: Clients, database_url: str
) -> None:
    count = scaled(20)
    open_books(server.target, ["alice", "bob"], amount_minor=1000 * count)
    choices = random.Random(20)
    altered = [choices.randrange(16) for _ in range(count)]
    requests = [
        [(f"storm-{n}", 101 if altered[n] == process else 100) for n in range(count)]
        for process in range(16)
    ]

    answers = _results(clients.run(send_same_requests, [(server.target, own) for own in requests]))

    for same, odd_one in zip(zip(*answers, strict=True), altered, strict=True):
        refused = {index for index, answer in enumerate(same) if answer[1]}
        # Whichever content came first is the request; whoever asked for the other is refused.
        assert refused in ({odd_one}, set(range(16)) - {odd_one}), same
        assert {same[index][1] for index in refused} == {"REQUEST_ID_REUSED"}
        assert len({answer[0] for answer in same}) == 1
    stored = assert_books_hold(database_url, [], total_minor=2000 * count)
    assert len(stored.transactions) == 2 + count
