"""One account that another session keeps locked: it alone suffers (PostgreSQL)."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import psycopg2
import pytest
from harness.patience import eventually
from harness.processes import ServerProcess
from harness.tokens import service_token
from wallet_client import Undecided, Wallet

from wallet_service.engine.execute import Submission, execute_batch
from wallet_service.engine.retry import settle
from wallet_service.ledger.books import Outcome, Rules
from wallet_service.ledger.commands import AccountKey, Deposit
from wallet_service.ledger.errors import Contention
from wallet_service.storage.database import open_database
from wallet_service.storage.queries import read_account

_WAITS_FOR_A_LOCK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'wallet' AND datname = current_database() AND wait_event_type = 'Lock'
"""


@contextmanager
def _locked(database_url: str, user_id: str) -> Iterator[psycopg2.extensions.connection]:
    """Lock a user's account as another session; yield a connection to look around with."""
    locker, looker = psycopg2.connect(database_url), psycopg2.connect(database_url)
    looker.autocommit = True
    try:
        with locker.cursor() as cursor:
            cursor.execute("SELECT FROM accounts WHERE user_id = %s FOR UPDATE", (user_id,))
            assert cursor.rowcount == 1
        yield looker
    finally:
        locker.close()
        looker.close()


def _is_somebody_waiting(connection: psycopg2.extensions.connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_WAITS_FOR_A_LOCK)
        row = cursor.fetchone()
    assert row
    return bool(row[0])


def _free_accounts(connection: psycopg2.extensions.connection) -> list[str]:
    """Return whose accounts nobody has locked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id FROM accounts ORDER BY user_id FOR UPDATE SKIP LOCKED")
        return [user_id for (user_id,) in cursor]


def _deposit(user_id: str, request_id: str) -> Deposit:
    target = AccountKey(user_id, "RUB")
    return Deposit(caller="service", request_id=request_id, target=target, amount_minor=100)


@pytest.mark.parametrize("neighbours", [7, 255])
def test_in_one_batch_only_the_command_on_the_locked_account_fails(
    postgres_url: str, neighbours: int
) -> None:
    database = open_database(postgres_url)
    execute = functools.partial(execute_batch, database, rules=Rules())
    names = [f"user-{number}" for number in range(neighbours)]
    commands = [_deposit(name, f"pay/{name}") for name in names]
    commands.insert(neighbours // 2, _deposit("locked", "pay/locked"))
    execute([Submission([_deposit("locked", "open")])])

    with _locked(postgres_url, "locked"):
        answers = settle(execute, [Submission([command]) for command in commands], timeout_s=5)

    results = [result for (result,) in answers]
    failed = [
        command.target.user_id
        for command, result in zip(commands, results, strict=True)
        if not isinstance(result, Outcome)
    ]
    assert failed == ["locked"]
    assert isinstance(results[neighbours // 2], Contention)
    account = read_account(database, AccountKey("locked", "RUB"))
    assert account
    assert account.posted_minor == 100
    database.close()


def test_a_batch_that_waits_for_an_account_has_those_before_it_and_none_behind(
    postgres_url: str,
) -> None:
    database = open_database(postgres_url)
    execute = functools.partial(execute_batch, database, rules=Rules())
    names = [f"user-{number:02}" for number in range(40)]
    opened, paid = (
        [Submission([_deposit(name, f"{word}/{name}")]) for name in reversed(names)]
        for word in ("open", "pay")
    )
    execute(opened)

    with ThreadPoolExecutor(1) as thread, _locked(postgres_url, names[20]) as connection:
        waiting = thread.submit(settle, execute, paid, timeout_s=5)
        eventually(lambda: _is_somebody_waiting(connection))
        free = _free_accounts(connection)

    # Two servers of which each does so never wait in a circle.
    assert free == names[21:]
    assert all(isinstance(result, Outcome) for (result,) in waiting.result())
    database.close()


def test_the_locked_account_is_answered_contention_and_the_others_go_on(
    postgres_url: str, tmp_path: Path
) -> None:
    with (
        ServerProcess(tmp_path, postgres_url) as server,
        Wallet(server.target, service_token(), plaintext=True, attempts_max=1) as wallet,
        Wallet(
            server.target, service_token(), plaintext=True, attempts_max=1, timeout_s=30
        ) as patient,
        ThreadPoolExecutor(1) as thread,
    ):
        for user_id in ("locked", "alice", "bob"):
            wallet.deposit(1000, user_id=user_id)

        with _locked(postgres_url, "locked") as connection:
            poisoned = thread.submit(patient.withdraw, 100, user_id="locked")
            eventually(lambda: _is_somebody_waiting(connection))
            sent = wallet.transfer("bob", 100, user_id="alice")  # within the default deadline
            with pytest.raises(Undecided) as contended:
                poisoned.result()

        assert sent.transaction.entry.balance_after.minor_units == 900
        assert contended.value.code == grpc.StatusCode.ABORTED
        assert contended.value.reason == "CONTENTION"
        assert wallet.balance(user_id="locked").posted.minor_units == 1000
