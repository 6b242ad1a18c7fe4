"""COMMIT was sent and its answer never came: nobody is told what may be false, all is once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from harness.deployment import Deployment
from harness.load import Clients, scaled
from harness.pg_proxy import Fault, PgProxy
from harness.processes import ServerProcess
from harness.tokens import service_token
from wallet_client import OutcomeUnknown, Undecided, Wallet

from wallet_service.storage.database import CommitInDoubt, open_database

DEFINITE_CUTS = (Fault.BEFORE_COMMIT, Fault.AFTER_COMMIT, Fault.AFTER_LOCKS)


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[PgProxy]:
    with PgProxy(postgres_url) as started:
        yield started


@pytest.fixture
def batch_timeout_ms() -> int:
    """How long the server tries: as long as it takes, where all is to be answered."""
    return 5000


#: For tests that wait until it gives up.
soon = pytest.mark.parametrize("batch_timeout_ms", [1000])


@pytest.fixture
def server(proxy: PgProxy, tmp_path: Path, batch_timeout_ms: int) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, proxy.database_url, batch_timeout_ms=batch_timeout_ms) as process:
        yield process


@pytest.fixture
def wallet(server: ServerProcess) -> Iterator[Wallet]:
    """A client that tries once, with money in Alice's and Bob's accounts."""
    with Wallet(
        server.target, service_token(), plaintext=True, attempts_max=1, timeout_s=10
    ) as client:
        client.deposit(10_000, user_id="alice")
        client.deposit(10_000, user_id="bob")
        yield client


def _balances(wallet: Wallet) -> tuple[int, int]:
    alice, bob = (wallet.balance(user_id=user_id).posted for user_id in ("alice", "bob"))
    return alice.minor_units, bob.minor_units


@pytest.mark.parametrize("fault", DEFINITE_CUTS)
def test_a_single_cut_is_settled_by_the_server_before_it_answers(
    proxy: PgProxy, wallet: Wallet, fault: Fault
) -> None:
    count = scaled(15)

    for _ in range(count):
        proxy.plan(fault)
        wallet.transfer("bob", 1, user_id="alice")

    assert proxy.cuts == count
    assert _balances(wallet) == (10_000 - count, 10_000 + count)


@soon
@pytest.mark.parametrize("fault", [Fault.BEFORE_COMMIT, Fault.AFTER_COMMIT])
def test_a_commit_that_is_never_answered_is_reported_as_unknown(
    proxy: PgProxy, wallet: Wallet, fault: Fault
) -> None:
    proxy.break_always(fault)

    with pytest.raises(OutcomeUnknown) as unknown:
        wallet.transfer("bob", 500, user_id="alice", request_id="doubt")

    proxy.heal()
    assert unknown.value.code == grpc.StatusCode.UNAVAILABLE
    assert unknown.value.reason == "OUTCOME_UNKNOWN"
    settled = wallet.transfer("bob", 500, user_id="alice", request_id="doubt")
    assert settled.replayed == (fault is Fault.AFTER_COMMIT)
    assert _balances(wallet) == (9_500, 10_500)


@soon
def test_a_connection_lost_before_commit_is_reported_as_nothing_written(
    proxy: PgProxy, wallet: Wallet
) -> None:
    proxy.break_always(Fault.AFTER_LOCKS)

    with pytest.raises(Undecided) as lost:
        wallet.transfer("bob", 500, user_id="alice", request_id="lost")

    proxy.heal()
    assert lost.value.code == grpc.StatusCode.UNAVAILABLE
    assert lost.value.reason == "DATABASE_UNAVAILABLE"
    assert _balances(wallet) == (10_000, 10_000)
    assert not wallet.transfer("bob", 500, user_id="alice", request_id="lost").replayed


@soon
def test_a_silent_commit_is_settled_by_its_request_id_after_the_deadline(
    proxy: PgProxy, server: ServerProcess, wallet: Wallet
) -> None:
    proxy.plan(Fault.SILENT_COMMIT)
    with (
        Wallet(
            server.target, service_token(), plaintext=True, attempts_max=1, timeout_s=1
        ) as hasty,
        pytest.raises(OutcomeUnknown) as unknown,
    ):
        hasty.transfer("bob", 500, user_id="alice", request_id="silent")

    proxy.heal()

    assert unknown.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert wallet.transfer("bob", 500, user_id="alice", request_id="silent").replayed
    assert _balances(wallet) == (9_500, 10_500)


@soon
def test_a_silence_without_end_is_cut_by_the_server(
    proxy: PgProxy, server: ServerProcess, wallet: Wallet
) -> None:
    proxy.plan(Fault.SILENT_COMMIT)

    with pytest.raises(OutcomeUnknown) as unknown:
        wallet.transfer("bob", 500, user_id="alice", request_id="silent")

    assert unknown.value.reason == "OUTCOME_UNKNOWN"
    assert '"event":"connection_cut"' in server.log
    assert wallet.transfer("bob", 500, user_id="alice", request_id="silent").replayed
    assert _balances(wallet) == (9_500, 10_500)


def test_all_calls_of_a_batch_in_doubt_are_settled_once(proxy: PgProxy, wallet: Wallet) -> None:
    rounds, calls = scaled(10), 20
    answers = []

    with ThreadPoolExecutor(8) as threads:
        for _ in range(rounds):
            proxy.plan(*DEFINITE_CUTS)
            answers += threads.map(
                lambda _: wallet.transfer("bob", 1, user_id="alice"), range(calls)
            )

    ids = {answer.transaction.transaction_id for answer in answers}
    assert len(ids) == rounds * calls
    assert proxy.cuts == rounds * len(DEFINITE_CUTS)
    assert _balances(wallet) == (10_000 - rounds * calls, 10_000 + rounds * calls)


def test_cuts_under_load_lose_nothing_and_apply_nothing_twice(
    *, proxy: PgProxy, server: ServerProcess, clients: Clients, postgres_url: str, tmp_path: Path
) -> None:
    def cut_everywhere() -> None:
        proxy.plan(*DEFINITE_CUTS)

    Deployment(server, postgres_url, tmp_path).survive(
        clients, cut_everywhere, rounds=scaled(10), seed=10
    )

    assert proxy.cuts == 3 * scaled(10)


def test_a_connection_that_the_server_ends_at_commit_leaves_it_in_doubt(postgres_url: str) -> None:
    database = open_database(postgres_url)

    def end_at_commit() -> None:
        with database.write() as transaction:
            transaction.is_committing = True
            transaction.connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    # COMMIT may have counted before: the server says that it ends, not that it refused.
    with pytest.raises(CommitInDoubt):
        end_at_commit()
    database.close()
