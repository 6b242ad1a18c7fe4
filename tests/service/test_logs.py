"""What a server writes down: every call and its end; never a token, never money, never words."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from harness.calls import Caller, accounts_locked, user, wait_until
from harness.processes import ServerProcess
from harness.tokens import SECRET, token
from psycopg2.errors import AdminShutdown
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetBalanceRequest,
    TransferRequest,
)

from wallet_service.logs import configure_logs
from wallet_service.storage.database import open_database

AMOUNT = 987654321
DEPOSIT = DepositRequest(
    amount=Money(minor_units=AMOUNT),
    request_id="r-1",
    description="private-words",
    metadata={"label": "private-label"},
)


@pytest.fixture
def logging_server(database_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, database_url, log_level="info") as process:
        yield process


@pytest.fixture
def hooks_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have what the logs install for the whole process taken back."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    configuration = structlog.get_config()
    yield
    structlog.configure(**configuration)


def lines(server: ServerProcess, event: str = "call") -> list[dict[str, Any]]:
    """Read what the server logged; every line is JSON."""
    logged = [orjson.loads(line) for line in server.log.splitlines()]
    return [line for line in logged if line["event"] == event]


def test_a_call_is_logged_with_who_what_and_how_it_ended(logging_server: ServerProcess) -> None:
    with user(logging_server.target, "alice") as alice:
        alice.send(DEPOSIT)
        alice.send(DEPOSIT)
        alice.send(
            TransferRequest(to_user_id="bob", amount=Money(minor_units=AMOUNT), request_id="r-2")
        )
        alice.send(GetBalanceRequest(user_id="bob"))
    with Caller(logging_server.target) as nobody:
        nobody.send(GetBalanceRequest())

    logged = lines(logging_server)
    assert [
        (each["method"].rpartition("/")[2], each["code"], each["reason"], each["caller"])
        for each in logged
    ] == [
        ("Deposit", "OK", "", "alice"),
        ("Deposit", "OK", "", "alice"),
        ("Transfer", "NOT_FOUND", "ACCOUNT_NOT_FOUND", "alice"),
        ("GetBalance", "PERMISSION_DENIED", "SCOPE_MISSING", "alice"),
        ("GetBalance", "UNAUTHENTICATED", "TOKEN_MISSING", ""),
    ]
    assert [each["request_id"] for each in logged] == ["r-1", "r-1", "r-2", "", ""]
    assert [each["replayed"] for each in logged] == [False, True, False, False, False]
    for each in logged:
        assert each["duration_ms"] > 0
        assert each["peer"].startswith("ipv4:127.0.0.1:")
        assert each["timestamp"]
        assert each["level"] == "info"


def test_a_call_that_is_turned_away_is_logged_too(database_url: str, tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, database_url, log_level="info", threads=1, queue_max=1) as server,
        user(server.target, "alice") as alice,
    ):
        with accounts_locked(database_url):
            calls = [alice.start(DEPOSIT) for _ in range(3)]
            wait_until(lambda: any(call.is_done for call in calls))
        answers = [call.answer() for call in calls]

    turned_away = [each for each in lines(server) if each["reason"] == "OVERLOADED"]
    assert turned_away
    assert len(turned_away) == sum(each.code.name == "RESOURCE_EXHAUSTED" for each in answers)
    assert {each["method"] for each in turned_away} == {"/wallet.v1.WalletService/Deposit"}


def test_why_a_token_is_invalid_is_for_the_log_only(database_url: str, tmp_path: Path) -> None:
    strange = (("authorization", f"Bearer {token('alice', aud='another service')}"),)
    with (
        ServerProcess(tmp_path, database_url, log_level="debug") as server,
        Caller(server.target, strange) as stranger,
    ):
        answer = stranger.send(DEPOSIT)

    (told,) = lines(server, "token_invalid")
    assert "udience" in told["cause"]
    assert "udience" not in answer.message
    assert_nothing_private(server.log)


def test_no_token_secret_money_or_words_are_logged(logging_server: ServerProcess) -> None:
    with user(logging_server.target, "alice") as alice:
        alice.send(DEPOSIT)
        alice.send(GetBalanceRequest())
        transfer = TransferRequest(to_user_id="bob", amount=DEPOSIT.amount, request_id="r-2")
        alice.send(transfer)
    late = (("authorization", f"Bearer {token('alice', exp=1)}"),)
    with Caller(logging_server.target, late) as expired:
        expired.send(DEPOSIT)

    assert len(lines(logging_server)) == 4
    assert_nothing_private(logging_server.log)


def test_an_incident_is_logged_once_under_its_number_without_the_request(
    database_url: str, logging_server: ServerProcess
) -> None:
    database = open_database(database_url)
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE entries RENAME TO lost"))
    database.close()

    with user(logging_server.target, "alice") as alice:
        failed = alice.send(DEPOSIT)

    (incident,) = lines(logging_server, "incident")
    (call,) = lines(logging_server)
    assert incident["incident_id"] == failed.values["incident_id"]
    assert "entries" in incident["exception"]
    assert (call["code"], call["reason"]) == ("INTERNAL", "INTERNAL")
    assert_nothing_private(logging_server.log)


def test_an_incident_of_the_database_is_logged_without_the_row(
    postgres_url: str, tmp_path: Path
) -> None:
    database = open_database(postgres_url)
    with database.transaction() as connection:
        guard = "ALTER TABLE transactions ADD CONSTRAINT few CHECK (amount_minor < 1000)"
        connection.execute(text(guard))
    database.close()

    with (
        ServerProcess(tmp_path, postgres_url, log_level="info") as server,
        user(server.target, "alice") as alice,
    ):
        failed = alice.send(DEPOSIT)

    (incident,) = lines(server, "incident")
    assert incident["incident_id"] == failed.values["incident_id"]
    assert 'violates check constraint "few"' in incident["exception"]
    assert_nothing_private(server.log)


@pytest.mark.usefixtures("hooks_restored")
def test_what_a_driver_prints_of_a_row_is_logged_without_it() -> None:
    shutdown = AdminShutdown(
        "terminating connection due to administrator command\n"
        f'CONTEXT:  COPY entries, line 7: "alice\tRUB\t1\t{AMOUNT}"\n'
    )
    unexpected = SystemError("decode returned a result with an exception set")
    unexpected.__cause__ = shutdown
    circle, other = ValueError("one"), ValueError("other")
    circle.__cause__, other.__context__ = other, circle
    configure_logs("warning")

    with capture_logs() as logs:
        sys.excepthook(SystemError, unexpected, None)
        sys.excepthook(ValueError, circle, None)
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()

    assert [log["event"] for log in logs] == ["uncaught"] * 3
    assert logs[0]["causes"] == [
        "SystemError: decode returned a result with an exception set",
        "AdminShutdown: terminating connection due to administrator command",
    ]
    assert logs[1]["causes"][:3] == ["ValueError: one", "ValueError: other", "ValueError: one"]
    assert logs[2]["causes"] == ["ZeroDivisionError: integer division or modulo by zero"]
    assert "1 // 0" in logs[2]["frames"][-1]


def assert_nothing_private(log: str) -> None:
    for private in (
        str(AMOUNT),
        "private-words",
        "private-label",
        "Bearer",
        "eyJ",
        SECRET.decode(),
    ):
        assert private not in log


def test_an_error_about_a_value_does_not_quote_it(postgres_url: str) -> None:
    database = open_database(postgres_url)
    cast = text("SELECT CAST(:value AS bigint)")

    with pytest.raises(DBAPIError) as failed:
        database.read(lambda connection: connection.execute(cast, {"value": "12.34 of alice"}))

    assert "alice" not in f"{failed.value} {failed.value.orig}"
    assert "22P02" in str(failed.value)
    database.close()
