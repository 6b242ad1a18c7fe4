"""Readers of fields that several requests share; each notes in a `Validation` what is wrong."""

from collections.abc import Mapping
from typing import Any, Protocol, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_admin_service_pb2 import UpdateAccountRequest
from wallet_client.v1.wallet_service_pb2 import CaptureHoldRequest, ReverseTransactionRequest

from wallet_service.ledger.commands import Condition, SpendingLimit
from wallet_service.ledger.errors import SameAccount
from wallet_service.transport.auth import Caller
from wallet_service.transport.validation import Validation

_US = 1_000_000
_HOLD_SECONDS_MAX = 10 * 365 * 24 * 3600
_TIME_SECONDS_MAX = 253_402_300_799  # the last second of the year 9999


class _WriteRequest(Protocol):
    """The fields every write has."""

    @property
    def request_id(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


def time_us(validation: Validation, field: str, timestamp: Timestamp, *, is_bound: bool) -> int:
    """
    Read a time in microseconds since 1970.

    As a bound, from or before which things are, it is rounded up, else down: what was recorded has
    no nanoseconds.
    """
    validation.require(
        field,
        "must be a time from 1970 to 9999",
        holds=0 <= timestamp.seconds <= _TIME_SECONDS_MAX and 0 <= timestamp.nanos < 10**9,
    )
    nanos = timestamp.nanos + 999 if is_bound else timestamp.nanos
    return timestamp.seconds * _US + nanos // 1000


def common_fields(validation: Validation, request: _WriteRequest, caller: Caller) -> dict[str, Any]:
    """Check and read what every write carries."""
    validation.request_id("request_id", request.request_id)
    validation.description("description", request.description)
    labels = dict(request.metadata) if request.metadata else {}
    if labels:
        validation.metadata("metadata", labels)
    return {
        "caller": caller.user_id,
        "request_id": request.request_id,
        "description": request.description,
        "metadata": labels,
        "is_service": caller.acts_for_any,
    }


def not_oneself(user_id: str, to_user_id: str, prefix: str) -> str:
    """Return the payer's name unless it is the receiver's too."""
    if user_id == to_user_id:
        raise SameAccount(field=f"{prefix}to_user_id")
    return user_id


class Part(TypedDict):
    """How much of a hold or original is meant, and the currency that was named, if any, where."""

    amount_minor: int | None
    currency_code: str | None
    currency_field: str


def part_of(
    validation: Validation, request: CaptureHoldRequest | ReverseTransactionRequest
) -> Part:
    """Read how much of a hold or original is meant; absent: all that is left."""
    condition = request.condition
    sums = {
        "amount": request.amount,
        "condition.available_at_least": condition.available_at_least,
        "condition.balance_after_at_least": condition.balance_after_at_least,
    }
    named = {field: money.currency_code for field, money in sums.items() if money.currency_code}
    name, currency_code = next(iter(named.items()), ("amount", None))
    field = f"{name}.currency_code"
    if currency_code:
        validation.currency_code(field, currency_code)
    amount_minor = None
    if request.HasField("amount"):
        amount_minor = request.amount.minor_units
        validation.amount_minor("amount.minor_units", amount_minor)
    return Part(amount_minor=amount_minor, currency_code=currency_code, currency_field=field)


def condition_of(
    validation: Validation, request: Any, currency_code: str | None
) -> Condition | None:
    """Read what must hold on the account a debit is made on; nothing is no condition."""
    if not request.HasField("condition"):
        return None
    condition: types_pb2.Condition = request.condition
    floors: list[int | None] = []
    for name in ("available_at_least", "balance_after_at_least"):
        floor: types_pb2.Money = getattr(condition, name)
        if currency_code:
            validation.same_currency(f"condition.{name}", floor.currency_code, currency_code)
        validation.balance_minor(f"condition.{name}.minor_units", floor.minor_units)
        floors.append(floor.minor_units if condition.HasField(name) else None)
    validation.not_negative("condition.expected_sequence", condition.expected_sequence)
    has_sequence = condition.HasField("expected_sequence")
    sequence = condition.expected_sequence if has_sequence else None
    asked = Condition(floors[0], floors[1], sequence)
    return None if asked == Condition() else asked


def is_up_to(validation: Validation, amount_mode: int) -> bool:
    """Read whether an amount is a maximum."""
    validation.known("amount_mode", amount_mode, types_pb2.AmountMode)
    return amount_mode == types_pb2.AMOUNT_MODE_UP_TO


def duration_us(validation: Validation, field: str, duration: Duration) -> int:
    """Read a length of time in microseconds, rounded down."""
    total_us = duration.seconds * _US + duration.nanos // 1000
    validation.require(
        field,
        f"must be more than 0 and at most {_HOLD_SECONDS_MAX} seconds",
        holds=0 < total_us <= _HOLD_SECONDS_MAX * _US and 0 <= duration.nanos < 10**9,
    )
    return total_us


def limits_of(
    validation: Validation, request: UpdateAccountRequest, currency_code: str
) -> tuple[SpendingLimit, ...] | None:
    """Read spending limits; None: leave them as they are."""
    if not request.HasField("limits"):
        return None
    limits = []
    for index, limit in enumerate(request.limits.limits):
        field = f"limits.limits[{index}]"
        has_amount, has_count = limit.HasField("max_amount"), limit.HasField("max_count")
        validation.known(f"{field}.window", limit.window, types_pb2.SpendingLimit.Window)
        validation.require(f"{field}.window", "must be given", holds=limit.window != 0)
        validation.require(field, "needs max_amount or max_count", holds=has_amount or has_count)
        validation.same_currency(
            f"{field}.max_amount", limit.max_amount.currency_code, currency_code
        )
        validation.not_negative(f"{field}.max_amount.minor_units", limit.max_amount.minor_units)
        validation.balance_minor(f"{field}.max_amount.minor_units", limit.max_amount.minor_units)
        validation.not_negative(f"{field}.max_count", limit.max_count)
        window = types_pb2.SpendingLimit.Window.keys()[0]
        if limit.window in types_pb2.SpendingLimit.Window.values():
            window = types_pb2.SpendingLimit.Window.Name(limit.window)
        limits.append(
            SpendingLimit(
                window.removeprefix("WINDOW_"),
                limit.max_amount.minor_units if has_amount else None,
                limit.max_count if has_count else None,
            )
        )
    windows = [limit.window for limit in limits]
    validation.require(
        "limits.limits", "must have one limit a window", holds=len(set(windows)) == len(windows)
    )
    return tuple(limits)
