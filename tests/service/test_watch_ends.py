"""How streams end: by their caps, their token, their deadline, their reader or their server."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.calls import Caller, Stream, serving, user, wait_until
from harness.patience import PATIENCE_S
from harness.people import rub
from harness.signing import signer
from harness.stored import deposit_many
from harness.tokens import bearer, token
from sqlalchemy import text
from structlog.testing import capture_logs
from wallet_client.v1.types_pb2 import Transaction
from wallet_client.v1.wallet_service_pb2 import DepositRequest, WatchTransactionsRequest
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceStub

from wallet_service import server
from wallet_service.transport import auth, keys, watch

TOO_MANY = ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")


@pytest.fixture
def alice_raw(target: str) -> Iterator[Caller]:
    with user(target, "alice") as caller:
        yield caller


def sequences(transactions: list[Transaction]) -> list[int]:
    return [each.entry.sequence for each in transactions]


def deposit(caller: Caller, number: int) -> None:
    answer = caller.send(DepositRequest(amount=rub(number), request_id=f"d{number}"))
    assert answer.code is grpc.StatusCode.OK


def open_stream(stack: ExitStack, caller: Caller) -> Stream:
    """Open a stream, and wait until it has its place."""
    stream = stack.enter_context(caller.watch())
    assert sequences(stream.take(1)) == [1]
    return stream


@pytest.mark.parametrize(
    "caps",
    [{"streams_max": 3}, {"streams_max": 50, "streams_per_caller_max": 3}],
    ids=["worker", "caller"],
)
def test_streams_beyond_the_cap_are_refused_and_calls_still_answered(
    database_url: str, tmp_path: Path, caps: dict[str, int]
) -> None:
    with (
        serving(database_url, tmp_path, threads=2, **caps) as wallet,
        user(wallet.target, "alice") as alice,
        ExitStack() as stack,
    ):
        deposit(alice, 1)
        streams = [open_stream(stack, alice) for _ in range(3)]

        refused = [alice.watch().end().outcome for _ in range(5)]

        assert refused == [TOO_MANY] * 5
        assert all(stream.is_open for stream in streams)
        deposit(alice, 2)
        assert [sequences(each.take(1)) for each in streams] == [[2]] * 3


def test_a_callers_cap_is_no_others(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, tmp_path, streams_per_caller_max=1) as wallet,
        user(wallet.target, "alice") as alice,
        user(wallet.target, "bob") as bob,
        ExitStack() as stack,
    ):
        for caller in (alice, bob):
            deposit(caller, 1)
            open_stream(stack, caller)

        assert alice.watch().end().outcome == TOO_MANY


@pytest.mark.parametrize("cap", ["streams_max", "streams_per_caller_max"])
def test_a_stream_that_is_hung_up_frees_its_place(
    database_url: str, tmp_path: Path, cap: str
) -> None:
    with (
        serving(database_url, tmp_path, **{cap: 1}) as wallet,
        user(wallet.target, "alice") as alice,
    ):
        deposit(alice, 1)
        for _ in range(5):
            wait_until(lambda: has_room(alice))


def has_room(caller: Caller) -> bool:
    """Tell whether a stream can be opened, and hang up."""
    with caller.watch() as stream:
        try:
            return len(stream.take(1)) == 1
        except grpc.RpcError:
            assert stream.end().outcome == TOO_MANY
            return False


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_server_that_stops_ends_its_streams_with_a_word(
    database_url: str,
    tmp_path: Path,
    is_behind: bool,  # noqa: FBT001 (the case)
) -> None:
    deposit_many(database_url, "alice", 3000 if is_behind else 1)
    with serving(database_url, tmp_path) as wallet, user(wallet.target, "alice") as alice:
        with alice.watch() as stream:
            stream.take(1)
            stopping = threading.Thread(target=wallet.server.stop)
            stopping.start()
            ended = stream.end()
        stopping.join()

    assert ended.outcome == ("UNAVAILABLE", "SHUTTING_DOWN")


def test_a_stream_ends_when_its_token_does(target: str, alice_raw: Caller) -> None:
    deposit(alice_raw, 1)
    short = token("alice", exp=int(time.time()) + 3)
    with (
        Caller(target, (("authorization", f"Bearer {short}"),)) as alice,
        alice.watch() as stream,
    ):
        first = stream.take(1)
        ended = stream.end()

    assert sequences(first) == [1]
    assert ended.outcome == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


def test_a_reader_far_behind_is_sent_nothing_more_once_its_token_ends(
    target: str, database_url: str
) -> None:
    count = 20_000
    deposit_many(database_url, "alice", count)
    expires_at = int(time.time()) + 3
    short = token("alice", exp=expires_at)
    with (
        Caller(target, (("authorization", f"Bearer {short}"),)) as alice,
        alice.watch() as stream,
    ):
        stream.take(1)
        wait_until(lambda: time.time() >= expires_at)
        ended = stream.end()

    assert ended.outcome == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    assert len(ended.response) < count - 1


def test_a_deadline_ends_a_stream_that_nobody_hung_up(target: str, alice_raw: Caller) -> None:
    deposit(alice_raw, 1)

    stream = alice_raw.watch(timeout_s=1)
    first = stream.take(1)
    ended = stream.end()

    assert sequences(first) == [1]
    assert ended.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("user_id", "after"), [("alice", 3), ("alice", 2**63 - 1), ("nobody", 1)])
def test_a_sequence_that_an_account_has_not_reached_is_refused(
    target: str, alice_raw: Caller, user_id: str, after: int
) -> None:
    deposit(alice_raw, 1)
    deposit(alice_raw, 2)

    with user(target, "bank", "wallet:act-for-any") as bank:
        ended = bank.watch(user_id=user_id, after_sequence=after).end()

        assert ended.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
        assert ended.fields == ["after_sequence"]
        with bank.watch(user_id="alice", after_sequence=2) as stream:
            deposit(alice_raw, 3)
            assert sequences(stream.take(1)) == [3]


def test_a_stream_ends_where_nobody_knows_what_moves(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "HEARTBEAT_INTERVAL_S", 0.3)
    monkeypatch.setattr(watch, "POLL_AGE_S_MAX", 0.2)
    with (
        serving(database_url, tmp_path) as wallet,
        user(wallet.target, "alice") as alice,
        ExitStack() as stack,
    ):
        deposit(alice, 1)
        stream = open_stream(stack, alice)
        with wallet.database.transaction() as connection:
            connection.execute(text("ALTER TABLE accounts RENAME TO lost"))

        assert stream.end().outcome == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")


def test_a_stream_ends_once_the_key_of_its_token_is_withdrawn(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (keys, auth):
        monkeypatch.setattr(module, "RECHECK_S", 0.1)
    monkeypatch.setattr(watch, "HEARTBEAT_INTERVAL_S", 0.1)
    old, new = signer("ES256", "old"), signer("ES256", "new")
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [old.jwk, new.jwk]}))
    with (
        serving(sqlite_url, tmp_path, jwt_secret_file=None, jwt_jwks_file=file) as wallet,
        Caller(wallet.target, (("authorization", f"Bearer {old.sign()}"),)) as alice,
        alice.watch() as stream,
    ):
        deposit(alice, 1)
        first = stream.take(1)
        file.write_text(json.dumps({"keys": [new.jwk]}))
        ended = stream.end()

    assert sequences(first) == [1]
    assert ended.outcome == ("UNAUTHENTICATED", "TOKEN_INVALID")


def test_a_stream_that_has_nothing_to_tell_says_that_it_is_open(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        stream = WalletServiceStub(channel).WatchTransactions(
            WatchTransactionsRequest(), metadata=bearer("alice"), timeout=PATIENCE_S
        )
        began = time.monotonic()
        stream.initial_metadata()

        assert time.monotonic() - began < watch.HEARTBEAT_INTERVAL_S / 2
        stream.cancel()


def test_a_client_that_hangs_up_before_its_stream_is_open_is_no_fault_of_ours(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, has_gone = threading.Event(), threading.Event()

    def read_balances(*arguments: Any) -> Any:
        asked.set()
        has_gone.wait(PATIENCE_S)
        return read(*arguments)

    read = server.read_balances
    monkeypatch.setattr(server, "read_balances", read_balances)
    with (
        capture_logs() as logs,
        serving(sqlite_url, tmp_path) as wallet,
        user(wallet.target, "alice") as alice,
        grpc.insecure_channel(wallet.target) as channel,
    ):
        deposit(alice, 1)
        stream = WalletServiceStub(channel).WatchTransactions(
            WatchTransactionsRequest(after_sequence=1), metadata=bearer("alice")
        )
        assert asked.wait(PATIENCE_S)
        stream.cancel()
        time.sleep(0.2)  # until the server knows
        has_gone.set()
        wait_until(lambda: any("Watch" in line.get("method", "") for line in logs))

    assert "incident" not in {line["event"] for line in logs}
