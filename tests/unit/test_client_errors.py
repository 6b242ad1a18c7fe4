"""The client's errors as values: what they carry, what they are called, what they are copied to."""

import copy
import pickle
import re

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from wallet_client import InvalidRequest, Refused, WalletError, error_from_status
from wallet_client.statuses import error_from
from wallet_client.v1.errors_pb2 import ErrorReason


def kinds(kind: type[WalletError] = WalletError) -> set[type[WalletError]]:
    """Return a class of the tree and all below it."""
    return {kind}.union(*(kinds(child) for child in kind.__subclasses__()))


KINDS = sorted(kinds(), key=lambda kind: kind.__name__)


def example(kind: type[WalletError]) -> WalletError:
    return kind(
        "what was wrong",
        code=grpc.StatusCode.NOT_FOUND,
        reason="SOME_REASON",
        metadata={"transaction_id": "t"},
        request_id="mine",
        fields={"user_id": "odd"},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_travels_to_another_process_whole(kind: type[WalletError]) -> None:
    error = example(kind)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert again.request_id == "mine"


def test_a_copied_error_shares_nothing_that_can_change() -> None:
    error = example(WalletError)

    again = copy.copy(error)
    again.metadata.clear()
    again.fields.clear()

    assert error.metadata == {"transaction_id": "t"}
    assert error.fields == {"user_id": "odd"}


class _Ended(grpc.RpcError):
    """A call that gRPC ended by itself, with a code of its own beside the server's details."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        return "received metadata size exceeds soft limit"

    def trailing_metadata(self) -> list[tuple[str, bytes]]:
        status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="wrong")
        return [("grpc-status-details-bin", status.SerializeToString())]


def test_details_of_another_failure_are_left_out() -> None:
    error = error_from(_Ended(), request_id="mine")

    assert type(error) is WalletError
    assert (error.code, error.request_id) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "mine")
    assert "soft limit" in str(error)


def test_all_that_is_wrong_with_a_field_is_told() -> None:
    violations = [("user_id", "too long"), ("amount", "missing"), ("user_id", "not ASCII")]
    bad_request = BadRequest(
        field_violations=[{"field": name, "description": what} for name, what in violations]
    )
    status = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0])
    status.details.add().Pack(bad_request)

    error = error_from_status(status)

    assert type(error) is InvalidRequest
    assert error.fields == {"user_id": "too long; not ASCII", "amount": "missing"}


@pytest.mark.parametrize("kind", sorted(kinds(Refused) - {Refused}, key=str))
def test_a_refusal_is_raised_as_the_class_of_its_name(kind: type[WalletError]) -> None:
    reason = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()
    status = Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0])
    metadata = {"transaction_id": "t"}
    status.details.add().Pack(ErrorInfo(domain="wallet.v1", reason=reason, metadata=metadata))

    assert f"ERROR_REASON_{reason}" in ErrorReason.DESCRIPTOR.values_by_name
    assert type(error_from_status(status)) is kind


def test_the_reason_of_another_service_is_not_the_wallets() -> None:
    status = Status(code=grpc.StatusCode.FAILED_PRECONDITION.value[0])
    status.details.add().Pack(ErrorInfo(domain="shop.v1", reason="INSUFFICIENT_FUNDS"))

    error = error_from_status(status)

    assert type(error) is Refused
    assert (error.reason, dict(error.metadata)) == ("", {})
