"""The server around the calls: health, reflection, settings."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harness.calls import (
    METHODS,
    balances_of,
    serving,
    user,
)
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetBalanceRequest,
    TransferRequest,
    WithdrawRequest,
)

from wallet_service.health import HealthMonitor

SERVICES = ("", "wallet.v1.WalletService", "wallet.v1.WalletAdminService")
SERVING = health_pb2.HealthCheckResponse.SERVING


def deposit(amount_minor: int, request_id: str, **fields: str) -> DepositRequest:
    return DepositRequest(amount=Money(minor_units=amount_minor), request_id=request_id, **fields)


def health(channel: grpc.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def test_the_server_and_each_service_are_healthy(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        assert [health(channel, service) for service in SERVICES] == [SERVING] * 3
        with pytest.raises(grpc.RpcError) as unknown:
            health(channel, "wallet.v1.Unknown")

    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_explains_every_method_and_the_details_of_errors(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        listed = set(database.get_services())
        described = {
            f"/{service}/{method.name}"
            for service in SERVICES[1:]
            for method in pool.FindServiceByName(service).methods
        }
        error_info = pool.FindMessageTypeByName(ErrorInfo.DESCRIPTOR.full_name)
        reasons = pool.FindEnumTypeByName("wallet.v1.ErrorReason")

    assert {*SERVICES[1:], "grpc.health.v1.Health"} <= listed
    assert described == set(METHODS.values())
    assert {field.name for field in error_info.fields} == {"reason", "domain", "metadata"}
    assert "ERROR_REASON_INSUFFICIENT_FUNDS" in reasons.values_by_name


@pytest.mark.parametrize(("method", "is_there"), [("Deposit", True), ("Withdrawal", False)])
def test_reflection_finds_methods_by_name(target: str, method: str, *, is_there: bool) -> None:
    symbol = f"{SERVICES[1]}.{method}"
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    with grpc.insecure_channel(target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]))

    assert answer.HasField("file_descriptor_response") is is_there


def test_reflection_can_be_switched_off(sqlite_url: str, tmp_path: Path) -> None:
    with (
        serving(sqlite_url, tmp_path, reflection=False) as wallet,
        grpc.insecure_channel(wallet.target) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        ProtoReflectionDescriptorDatabase(channel).get_services()

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_without_self_deposit_only_services_deposit(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, tmp_path, self_deposit=False) as wallet,
        user(wallet.target, "alice") as alice,
        user(wallet.target, "bank", "wallet:act-for-any") as bank,
    ):
        refused = alice.send(deposit(5, "r"))
        nothing = balances_of(alice, "alice")
        accepted = bank.send(deposit(5, "r", user_id="alice"))

        assert refused.outcome == ("PERMISSION_DENIED", "NOT_ALLOWED")
        assert nothing == {}
        assert accepted.code.name == "OK"
        assert balances_of(alice, "alice") == {("alice", "RUB"): (5, 1)}
        assert (
            alice.send(WithdrawRequest(amount=Money(minor_units=5), request_id="w")).code.name
            == "OK"
        )


def test_with_open_on_credit_a_payment_opens_the_account(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, tmp_path, open_on_credit=True) as wallet,
        user(wallet.target, "alice") as alice,
        user(wallet.target, "bob") as bob,
    ):
        alice.send(deposit(5, "d"))

        paid = alice.send(
            TransferRequest(to_user_id="bob", amount=Money(minor_units=5), request_id="t")
        )

        assert paid.code.name == "OK"
        assert balances_of(alice, "alice") == {("alice", "RUB"): (0, 2)}
        assert balances_of(bob, "bob") == {("bob", "RUB"): (5, 1)}


def test_an_empty_currency_means_the_one_of_the_settings(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, tmp_path, currency="KWD") as wallet,
        user(wallet.target, "alice") as alice,
    ):
        alice.send(deposit(5, "d"))

        balance = alice.send(GetBalanceRequest()).response.balance

        assert (balance.posted.currency_code, balance.posted.decimal) == ("KWD", "0.005")


def test_a_request_above_the_size_of_the_settings_is_not_taken(
    sqlite_url: str, tmp_path: Path
) -> None:
    with (
        serving(sqlite_url, tmp_path, message_bytes_max=300) as wallet,
        user(wallet.target, "alice") as alice,
    ):
        taken = alice.send(deposit(5, "small", description="x" * 200))
        refused = alice.send(deposit(5, "large", description="x" * 400))

        assert taken.code.name == "OK"
        assert refused.code.name == "RESOURCE_EXHAUSTED"
        assert balances_of(alice, "alice") == {("alice", "RUB"): (5, 1)}


def test_a_call_that_comes_as_the_server_begins_to_stop_is_told_so(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    stop_health = HealthMonitor.stop
    with serving(sqlite_url, tmp_path) as wallet:

        def stop(health: HealthMonitor) -> None:
            with user(wallet.target, "alice") as alice:
                told.append(alice.send(GetBalanceRequest()).outcome)
            stop_health(health)

        monkeypatch.setattr(HealthMonitor, "stop", stop)

    assert told == [("UNAVAILABLE", "SHUTTING_DOWN")]
