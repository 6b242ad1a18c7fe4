"""Calls under pressure: out of time, too many, a server that stops, locks, faults of our own."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness.calls import (
    Answer,
    Caller,
    Pending,
    accounts_locked,
    balances_of,
    row_locked,
    serving,
    user,
    wait_until,
)
from harness.stored import lock_waiters
from sqlalchemy import text
from wallet_client.v1.types_pb2 import Money, Transaction
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetBalanceRequest,
    GetTransactionRequest,
)

from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.database import open_database
from wallet_service.storage.queries import read_account

SERVICES = ("", "wallet.v1.WalletService", "wallet.v1.WalletAdminService")
SERVING = health_pb2.HealthCheckResponse.SERVING


def deposit(amount_minor: int, request_id: str, **fields: str) -> DepositRequest:
    return DepositRequest(amount=Money(minor_units=amount_minor), request_id=request_id, **fields)


def health(channel: grpc.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


@pytest.fixture
def alice_raw(target: str) -> Iterator[Caller]:
    with user(target, "alice") as caller:
        yield caller


@pytest.mark.parametrize("timeout_s", [0.0, 0.001, 0.2])
def test_a_call_out_of_time_is_settled_by_its_id(
    database_url: str, alice_raw: Caller, timeout_s: float
) -> None:
    alice_raw.send(deposit(100, "start"))

    with accounts_locked(database_url):
        late = alice_raw.send(deposit(5, "late"), timeout_s=timeout_s)
        meanwhile = balances_of(alice_raw, "alice")
    again = alice_raw.send(deposit(5, "late"))

    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert meanwhile == {("alice", "RUB"): (100, 1)}
    assert again.code is grpc.StatusCode.OK
    assert balances_of(alice_raw, "alice") == {("alice", "RUB"): (105, 2)}
    recorded = alice_raw.send(GetTransactionRequest(request_id="late")).response.transaction
    assert recorded == again.response.transaction


def test_calls_without_a_deadline_get_the_servers_own(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, tmp_path, default_deadline_ms=300) as wallet,
        user(wallet.target, "alice") as alice,
    ):
        with accounts_locked(database_url):
            first, second = (alice.start(deposit(1, each), timeout_s=None) for each in "ab")
            wait_until(lambda: first.is_done or second.is_done)
            ended = next(each for each in (first, second) if each.is_done).answer()

        assert ended.outcome == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert {each.answer().code.name for each in (first, second)} <= {"OK", "DEADLINE_EXCEEDED"}
        for each in "ab":
            assert alice.send(deposit(1, each)).code.name == "OK"
        assert balances_of(alice, "alice") == {("alice", "RUB"): (2, 2)}


def test_too_many_calls_are_turned_away_while_health_still_answers(
    database_url: str, tmp_path: Path
) -> None:
    with (
        serving(database_url, tmp_path, threads=1, queue_max=1) as wallet,
        user(wallet.target, "alice") as alice,
    ):
        with accounts_locked(database_url):
            calls = [alice.start(deposit(1, f"r-{number}")) for number in range(8)]
            wait_until(lambda: sum(call.is_done for call in calls) == 6)
            statuses = [health(alice.channel, service) for service in SERVICES]
            refused = [call.answer() for call in calls if call.is_done]
        accepted = [answer for answer in answers_of(calls) if answer.code.name == "OK"]

        assert statuses == [SERVING] * 3
        assert {each.outcome for each in refused} == {("RESOURCE_EXHAUSTED", "OVERLOADED")}
        assert all(each.detail(RetryInfo).retry_delay.ToMilliseconds() > 0 for each in refused)
        assert len(accepted) == 2
        assert balances_of(alice, "alice") == {("alice", "RUB"): (2, 2)}


def answers_of(calls: list[Pending]) -> list[Answer]:
    return [call.answer() for call in calls]


def test_calls_that_wait_together_are_carried_out_as_many_at_a_time_as_is_set(
    database_url: str, tmp_path: Path
) -> None:
    with (
        serving(database_url, tmp_path, batch_max=3) as wallet,
        user(wallet.target, "alice") as alice,
    ):
        with accounts_locked(database_url):
            calls = [alice.start(deposit(1, f"r-{number}")) for number in range(12)]
            wait_until(lambda: wallet.server._pool.unfinished == len(calls))
        made = [each.response.transaction.create_time for each in answers_of(calls)]

    together = Counter(each.ToNanoseconds() for each in made)  # one moment, one batch
    assert max(together.values()) == 3


def test_a_draining_server_ends_the_calls_under_way_and_takes_no_new_ones(
    database_url: str, tmp_path: Path
) -> None:
    with (
        serving(database_url, tmp_path) as wallet,
        user(wallet.target, "alice") as alice,
        user(wallet.target, "alice") as late,
    ):
        drain = threading.Thread(target=wallet.server.stop)
        with accounts_locked(database_url):
            under_way = alice.start(deposit(5, "under-way"))
            wait_until(lambda: wallet.server._pool.unfinished > 0)
            drain.start()
            wait_until(lambda: late.send(GetBalanceRequest()).code.name == "UNAVAILABLE")
            refused = late.send(deposit(7, "late"))
            was_waited_for = not under_way.is_done
        answer = under_way.answer()
        drain.join()

    assert was_waited_for
    # What arrives in the very instant that gRPC stops, it cancels itself.
    assert refused.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert answer.code is grpc.StatusCode.OK
    assert answer.response.transaction.state == Transaction.STATE_POSTED
    assert stored_balance(database_url) == 5


def stored_balance(database_url: str) -> int:
    database = open_database(database_url)
    account = read_account(database, AccountKey("alice", "RUB"))
    database.close()
    assert account
    return account.posted_minor


def waits_for_a_lock(database_url: str) -> bool:
    database = open_database(database_url)
    waiting = lock_waiters(database) > 0
    database.close()
    return waiting


@pytest.mark.parametrize("neighbours", [1, 16])
def test_a_locked_account_fails_alone(postgres_url: str, tmp_path: Path, neighbours: int) -> None:
    limits = {"lock_timeout_ms": 1000, "batch_timeout_ms": 2000, "threads": 32}
    others = [f"user-{number}" for number in range(neighbours)]
    with (
        serving(postgres_url, tmp_path, **limits) as wallet,
        user(wallet.target, "bank", "wallet:act-for-any") as bank,
    ):
        for user_id in ("alice", *others):
            bank.send(deposit(100, f"start-{user_id}", user_id=user_id))
        with row_locked(postgres_url, "alice"):
            first = bank.start(deposit(1, "first", user_id="alice"))
            wait_until(lambda: waits_for_a_lock(postgres_url))
            beside = [bank.start(deposit(1, each, user_id=each)) for each in others]
            second = bank.start(deposit(1, "second", user_id="alice"))
            stuck, moved = answers_of([first, second]), answers_of(beside)

        assert {each.outcome for each in stuck} == {("ABORTED", "CONTENTION")}
        assert all(each.detail(RetryInfo).retry_delay.ToMilliseconds() > 0 for each in stuck)
        assert balances_of(bank, "alice") == {("alice", "RUB"): (100, 1)}
        assert [each.outcome for each in moved] == [("OK", "")] * neighbours
        assert bank.send(deposit(1, "first", user_id="alice")).response.replayed is False


def test_an_internal_fault_tells_its_incident_number_only(
    database_url: str, alice_raw: Caller
) -> None:
    alice_raw.send(deposit(100, "start"))
    rename_table(database_url, "entries", "lost")

    failed = alice_raw.send(deposit(5, "r"))

    assert failed.outcome == ("INTERNAL", "INTERNAL")
    assert failed.values.keys() == {"incident_id"}
    assert failed.message == f"internal error, incident {failed.values['incident_id']}"
    assert b"entries" not in failed.details
    rename_table(database_url, "lost", "entries")
    assert balances_of(alice_raw, "alice") == {("alice", "RUB"): (100, 1)}
    assert alice_raw.send(deposit(5, "r")).response.replayed is False


def rename_table(database_url: str, old: str, new: str) -> None:
    database = open_database(database_url)
    with database.transaction() as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
    database.close()
