"""Peers that keep the server waiting: others are served, and the server keeps nothing for long."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from harness.calls import Caller, serving, user, wait_until
from harness.patience import PATIENCE_S
from harness.tokens import bearer
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    ExecuteBatchRequest,
    ListBalancesRequest,
    ListTransactionsRequest,
)

from wallet_service.transport import slow_peers
from wallet_service.transport.interceptors import Call

#: As many as the server has threads, and one.
CALLS = 17
#: How long `wallet healthcheck` waits.
HEALTH_PATIENCE_S = 3.0
WALLET = "/wallet.v1.WalletService/"
HEALTH = "/grpc.health.v1.Health/"
PAGE_LINES = 40
OVERLOADED = ("RESOURCE_EXHAUSTED", "OVERLOADED")

T = TypeVar("T")


@contextmanager
def silent(
    target: str, method: str, metadata: Any = (), *, count: int = CALLS
) -> Iterator[list[grpc.Future]]:
    """Begin calls whose requests do not come before the end of the block."""
    over = threading.Event()

    def no_request() -> Iterator[bytes]:
        over.wait(PATIENCE_S)
        yield from ()

    with grpc.insecure_channel(target) as channel:
        begin = channel.stream_unary(method)
        calls = [begin.future(no_request(), metadata=metadata) for _ in range(count)]
        try:
            yield calls
        finally:
            over.set()


def codes_of(calls: list[grpc.Future]) -> set[str]:
    return {call.exception(PATIENCE_S).code().name for call in calls}


@pytest.mark.parametrize("method", ["GetBalance", "Transfer", "WatchTransactions"])
def test_who_has_no_token_is_told_before_the_request_is_there(target: str, method: str) -> None:
    with silent(target, WALLET + method) as calls:
        assert codes_of(calls) == {"UNAUTHENTICATED"}


def test_calls_without_their_requests_are_cut(target: str, alice: Wallet) -> None:
    with silent(target, WALLET + "GetBalance", bearer("mallory")) as calls:
        assert alice.balance().posted.minor_units == 0
        assert codes_of(calls) == {"CANCELLED"}


def test_watches_without_their_requests_are_cut(target: str, alice: Wallet) -> None:
    alice.deposit(5)
    with silent(target, WALLET + "WatchTransactions", bearer("mallory")) as calls:
        assert next(alice.watch()).amount.minor_units == 5
        assert codes_of(calls) == {"CANCELLED"}


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_probes_without_their_requests_are_cut(target: str, method: str) -> None:
    with (
        silent(target, HEALTH + method, count=100) as calls,
        grpc.insecure_channel(target) as channel,
    ):
        probe = health_pb2_grpc.HealthStub(channel)
        wait_until(calls[0].done)
        answer = probe.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_PATIENCE_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watched = next(probe.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S))
        assert watched.status == health_pb2.HealthCheckResponse.SERVING
        assert codes_of(calls) == {"CANCELLED"}


def test_who_brought_a_request_is_not_cut_while_the_answer_lasts(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_peers, "REQUEST_WAIT_S", 0.2)
    with (
        serving(sqlite_url, tmp_path) as server,
        user(server.target, "alice") as alice,
        alice.watch() as stream,
    ):
        time.sleep(1)
        alice.send(write_request("late"))
        assert [each.request_id for each in stream.take(1)] == ["late"]


@contextmanager
def reflections(target: str, *questions: ServerReflectionRequest) -> Iterator[list[grpc.Call]]:
    """Begin reflection streams that ask so much, and then stay to the end of the block."""
    over = threading.Event()

    def ask_and_stay() -> Iterator[ServerReflectionRequest]:
        yield from questions
        over.wait(PATIENCE_S)

    with grpc.insecure_channel(target, [("grpc.http2.bdp_probe", 0)]) as channel:
        stub = ServerReflectionStub(channel)
        try:
            yield [stub.ServerReflectionInfo(ask_and_stay()) for _ in range(CALLS)]
        finally:
            over.set()


@pytest.mark.parametrize("asked", [0, 1], ids=["silent", "idle"])
def test_reflection_streams_that_stand_still_are_cut(
    target: str, alice: Wallet, asked: int
) -> None:
    question = ServerReflectionRequest(list_services="")
    with (
        reflections(target, *[question] * asked) as streams,
        grpc.insecure_channel(target) as channel,
    ):
        assert alice.balance().posted.minor_units == 0
        stub = ServerReflectionStub(channel)
        assert len(list(stub.ServerReflectionInfo(iter([question] * 3)))) == 3
        assert {code_of_reading(stream) for stream in streams} == {"CANCELLED"}


def test_reflection_streams_whose_answers_nobody_takes_are_cut(target: str) -> None:
    name = "wallet.v1.WalletService"
    question = ServerReflectionRequest(file_containing_symbol=name)
    with (
        reflections(target, *[question] * 50) as streams,
        grpc.insecure_channel(target) as channel,
    ):
        stub = ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=PATIENCE_S)
        assert answer.HasField("file_descriptor_response")
        assert {code_of_reading(stream) for stream in streams} == {"CANCELLED"}


@pytest.mark.parametrize("method", [WALLET + "Deposit", HEALTH + "Check"])
def test_a_call_without_a_request_is_invalid(target: str, method: str) -> None:
    with grpc.insecure_channel(target) as channel:
        call = channel.stream_unary(method).future(iter(()), metadata=bearer("alice"))
        assert codes_of([call]) == {"INVALID_ARGUMENT"}


def write_request(request_id: str) -> DepositRequest:
    """Make a deposit that has a lot to say."""
    labels = {f"{number:02}": "v" * 256 for number in range(32)}
    return DepositRequest(amount=Money(minor_units=1), request_id=request_id, metadata=labels)


def write_large_page(alice: Caller) -> ListTransactionsRequest:
    """Make a history of which one page does not fit what travels ahead of a reader."""
    batch = ExecuteBatchRequest()
    for number in range(PAGE_LINES):
        batch.operations.add().deposit.CopyFrom(write_request(f"{number}"))
    assert alice.send(batch).code is grpc.StatusCode.OK
    return ListTransactionsRequest(page_size=PAGE_LINES)


def code_of_reading(call: grpc.Call) -> str:
    """Take what a call has to answer; return how it ended."""
    try:
        list(call)  # type: ignore[call-overload]
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_who_takes_no_answers_is_turned_away_and_then_cut(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_peers, "UNTAKEN_BYTES_MAX", 2**20)
    with (
        serving(sqlite_url, tmp_path, default_deadline_ms=2000) as server,
        user(server.target, "alice") as alice,
        user(server.target, "bob") as bob,
        grpc.insecure_channel(server.target, [("grpc.http2.bdp_probe", 0)]) as channel,
    ):
        request = write_large_page(alice).SerializeToString()
        page = channel.unary_stream(WALLET + "ListTransactions")
        untaken = [page(request, metadata=bearer("alice")) for _ in range(8)]

        def is_turned_away() -> bool:
            return alice.send(ListBalancesRequest()).outcome == OVERLOADED

        wait_until(is_turned_away)
        assert alice.send(write_request("another")).outcome == ("OK", "")
        assert alice.send(ExecuteBatchRequest()).outcome == OVERLOADED
        assert bob.send(ListBalancesRequest()).outcome == ("OK", "")
        wait_until(lambda: not is_turned_away())
        ends = {code_of_reading(call) for call in untaken}

    assert "CANCELLED" in ends
    # Those that came last may be taken in time after all.
    assert ends <= {"CANCELLED", "RESOURCE_EXHAUSTED", "OK"}


def test_a_call_that_fails_is_freed_without_the_garbage_collector(target: str) -> None:
    gc.disable()
    try:
        with user(target, "alice") as alice:
            failed = alice.send(DepositRequest(request_id="freed"))
            wait_until(lambda: "freed" not in [call.request_id for call in alive(Call)])
    finally:
        gc.enable()

    assert failed.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")


def alive(kind: type[T]) -> list[T]:
    return [each for each in gc.get_objects() if type(each) is kind]
