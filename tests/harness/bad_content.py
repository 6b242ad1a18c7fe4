"""For every method a good request, and the values that make it a bad one."""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from wallet_client.v1.types_pb2 import Condition, Money, SpendingLimit
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    ListAccountChangesRequest,
    ListAccountsRequest,
    OpenAccountRequest,
    SpendingLimits,
    UpdateAccountRequest,
)
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    ExecuteBatchRequest,
    GetBalanceRequest,
    GetHoldRequest,
    GetTransactionRequest,
    ListBalancesRequest,
    ListHoldsRequest,
    ListTransactionsRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WatchTransactionsRequest,
    WithdrawRequest,
)

from wallet_service.ledger.ids import transaction_id

Operation = ExecuteBatchRequest.Operation

AMOUNT_MAX = 10**15
BALANCE_MAX = 9 * 10**18
INVALID = ("INVALID_ARGUMENT", "VALIDATION_FAILED")
UNSUPPORTED = ("INVALID_ARGUMENT", "CURRENCY_UNSUPPORTED")
SAME_ACCOUNT = ("INVALID_ARGUMENT", "SAME_ACCOUNT")

#: What "bank" made for alice under the request ids "hold" and "alice".
HOLD_ID, DEPOSIT_ID = transaction_id("bank", "hold"), transaction_id("bank", "alice")

_COMMON = {"user_id": "alice", "request_id": "bad"}
_ONE = Money(currency_code="RUB", minor_units=1)
GOOD: dict[type[Message], Message] = {
    type(request): request
    for request in (
        DepositRequest(amount=_ONE, **_COMMON),
        WithdrawRequest(amount=_ONE, **_COMMON),
        TransferRequest(amount=_ONE, to_user_id="bob", **_COMMON),
        CreateHoldRequest(amount=_ONE, to_user_id="bob", **_COMMON),
        CaptureHoldRequest(hold_id=HOLD_ID, amount=_ONE, request_id="bad"),
        VoidHoldRequest(hold_id=HOLD_ID, request_id="bad"),
        ReverseTransactionRequest(transaction_id=DEPOSIT_ID, amount=_ONE, request_id="bad"),
        ExecuteBatchRequest(operations=[Operation(deposit={"amount": _ONE, **_COMMON})]),
        OpenAccountRequest(currency_code="USD", **_COMMON),
        UpdateAccountRequest(state="ACCOUNT_STATE_FROZEN", **_COMMON),
        GetBalanceRequest(user_id="alice"),
        GetAccountRequest(user_id="alice"),
        GetHoldRequest(hold_id=HOLD_ID),
        GetTransactionRequest(request_id="start"),
        ListAccountChangesRequest(user_id="alice"),
        ListAccountsRequest(user_id="alice"),
        ListBalancesRequest(user_id="alice"),
        ListHoldsRequest(user_id="alice"),
        ListTransactionsRequest(user_id="alice"),
        WatchTransactionsRequest(user_id="alice"),
    )
}


class Bad(NamedTuple):
    """One wrong value, and what must be said about it."""

    content: dict[str, object]
    field: str
    outcome: tuple[str, str] = INVALID


def _each(field: str, values: Sequence[object], blamed: str = "") -> list[Bad]:
    return [Bad({field: value}, blamed or field) for value in values]


def _moneys(*amounts_minor: int) -> list[Money]:
    return [Money(currency_code="RUB", minor_units=each) for each in amounts_minor]


_BAD_NAMES = ("@external", "@system", "n" * 129, "a b", "a\0", "é", "a\n", "\x7f")
_BAD_CODES = ("XXX", "rub", "XAU", "RU", "RUBRUBRUBRUBRUBRUBRUB", "РУБ", "RUB ", "R\0B")
_BAD_IDS = ("", "x", HOLD_ID[:-1], f"{HOLD_ID}\n", f"{{{HOLD_ID}}}", "0" * 32, "é" * 36)
_BAD_AMOUNTS = [*_moneys(0, -1, AMOUNT_MAX + 1, 2**63 - 1, -(2**63)), Money(decimal="1.00")]
_BAD_BALANCES = _moneys(BALANCE_MAX + 1, -BALANCE_MAX - 1)
_BAD_TIMES = [
    Timestamp(seconds=-1),
    Timestamp(seconds=253_402_300_800),
    Timestamp(seconds=2**63 - 1),
    Timestamp(seconds=1, nanos=-1),
    Timestamp(seconds=1, nanos=10**9),
]
_BAD_DURATIONS = [
    *(Duration(seconds=seconds) for seconds in (0, -1, 10 * 366 * 24 * 3600, 2**63 - 1)),
    *(Duration(nanos=nanos) for nanos in (999, 10**9)),
    Duration(seconds=2, nanos=-1),
]
_DOLLARS = Money(currency_code="USD", minor_units=1)
_USER_IDS = _each("user_id", _BAD_NAMES)
_REQUEST_IDS = _each("request_id", ["", *(name for name in _BAD_NAMES if name[0] != "@")])
_LABELS = _each(
    "metadata",
    [
        {str(number): "" for number in range(33)},
        {"": "x"},
        {"k" * 65: "x"},
        {"k": "v" * 257},
        {"k\0": "v"},
        {"k": "\0"},
    ],
)
_WRITES = [*_REQUEST_IDS, *_each("description", ["a\0b", "é" * 257]), *_LABELS]
_CURRENCY_CODES = [
    Bad({"currency_code": code}, "currency_code", UNSUPPORTED) for code in _BAD_CODES
]
_PARTS = [
    *_each("amount", _BAD_AMOUNTS, "amount.minor_units"),
    *(
        Bad(
            {"amount": {"currency_code": code, "minor_units": 1}},
            "amount.currency_code",
            UNSUPPORTED,
        )
        for code in _BAD_CODES
    ),
]
_MONEY = [*_USER_IDS, *_WRITES, *_PARTS, Bad({"amount": None}, "amount.minor_units")]
_FLOORS = ("available_at_least", "balance_after_at_least")
_CONDITIONS = [
    Bad({"condition": Condition(expected_sequence=-1)}, "condition.expected_sequence"),
    *(
        Bad({"condition": {floor: money}}, f"condition.{floor}.minor_units")
        for floor in _FLOORS
        for money in _BAD_BALANCES
    ),
    *(
        Bad({"condition": {floor: _DOLLARS}}, f"condition.{floor}.currency_code")
        for floor in _FLOORS
    ),
]
_MODES = _each("amount_mode", [3, -1])
_PAGES = _each("page_size", [-1, -(2**31)])
_HOLD_IDS = _each("hold_id", _BAD_IDS)
_LIMIT = "limits.limits[0]"
_BAD_LIMITS = [
    ({"max_count": 1}, f"{_LIMIT}.window"),
    ({"window": 8, "max_count": 1}, f"{_LIMIT}.window"),
    ({"window": 2}, _LIMIT),
    ({"window": 2, "max_count": -1}, f"{_LIMIT}.max_count"),
    ({"window": 2, "max_amount": _moneys(-1)[0]}, f"{_LIMIT}.max_amount.minor_units"),
    ({"window": 2, "max_amount": _BAD_BALANCES[0]}, f"{_LIMIT}.max_amount.minor_units"),
    ({"window": 2, "max_amount": _DOLLARS}, f"{_LIMIT}.max_amount.currency_code"),
]
_LIMITS = [
    *(Bad({"limits": {"limits": [SpendingLimit(**limit)]}}, field) for limit, field in _BAD_LIMITS),
    Bad({"limits": SpendingLimits(limits=[{"window": 2, "max_count": 1}] * 2)}, "limits.limits"),
]

_BAD_OPERATIONS: dict[type[Message], list[Bad]] = {
    DepositRequest: _MONEY,
    WithdrawRequest: [*_MONEY, *_CONDITIONS, *_MODES],
    TransferRequest: [
        *_MONEY,
        *_CONDITIONS,
        *_MODES,
        *_each("to_user_id", ["", *_BAD_NAMES]),
        Bad({"to_user_id": "alice"}, "to_user_id", SAME_ACCOUNT),
    ],
    CreateHoldRequest: [
        *_MONEY,
        *_CONDITIONS,
        *_each("to_user_id", _BAD_NAMES),
        *_each("expire_after", _BAD_DURATIONS),
        Bad({"to_user_id": "alice"}, "to_user_id", SAME_ACCOUNT),
    ],
    CaptureHoldRequest: [
        *_HOLD_IDS,
        *_WRITES,
        *_PARTS,
        *_CONDITIONS,
        *_each("to_user_id", _BAD_NAMES),
    ],
    VoidHoldRequest: [*_HOLD_IDS, *_WRITES],
    ReverseTransactionRequest: [
        *_each("transaction_id", _BAD_IDS),
        *_WRITES,
        *_PARTS,
        *_CONDITIONS,
    ],
}


def _in_a_batch() -> list[Bad]:
    """Put every bad operation second into a batch."""
    first = Operation(deposit=GOOD[DepositRequest])
    found = []
    for field in Operation.DESCRIPTOR.fields:
        good = next(each for each in GOOD if each.DESCRIPTOR is field.message_type)
        for bad in _BAD_OPERATIONS[good]:
            # Under an id of its own, the operation differs from the first in nothing else.
            request = spoilt(GOOD[good], {"request_id": "second", **bad.content})
            content = {"operations": [first, Operation(**{field.name: request})]}
            found.append(Bad(content, f"operations[1].{field.name}.{bad.field}", bad.outcome))
    return found


def spoilt(request: Message, content: dict[str, object]) -> Message:
    """Copy a good request, with one value replaced."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in content:
        copy.ClearField(name)
    copy.MergeFrom(type(request)(**content))
    if content == {"request_id": ""} and isinstance(copy, GetTransactionRequest):
        copy.request_id = ""
    return copy


_TWO_ALIKE = [Operation(deposit=GOOD[DepositRequest])] * 2
_TRIED = Operation(deposit=spoilt(GOOD[DepositRequest], {"validate_only": True}))

BAD_CONTENT: dict[type[Message], list[Bad]] = {
    **_BAD_OPERATIONS,
    ExecuteBatchRequest: [
        Bad({"operations": []}, "operations"),
        Bad({"operations": [Operation()]}, "operations[0]"),
        Bad({"operations": _TWO_ALIKE}, "operations[1].deposit.request_id"),
        Bad({"operations": [_TRIED]}, "operations[0].deposit.validate_only"),
        *_in_a_batch(),
    ],
    OpenAccountRequest: [*_USER_IDS, *_WRITES, *_CURRENCY_CODES],
    UpdateAccountRequest: [
        *_USER_IDS,
        *_WRITES,
        *_CURRENCY_CODES,
        *_LIMITS,
        *_each("min_balance", _BAD_BALANCES, "min_balance.minor_units"),
        Bad({"min_balance": _DOLLARS}, "min_balance.currency_code"),
        *_each("state", [6, -1]),
    ],
    GetBalanceRequest: [
        *_USER_IDS,
        *_CURRENCY_CODES,
        *_each("as_of_time", _BAD_TIMES),
        *_each("as_of_sequence", [-1, 2, 2**63 - 1]),
    ],
    GetAccountRequest: [*_USER_IDS, *_CURRENCY_CODES],
    GetHoldRequest: _HOLD_IDS,
    GetTransactionRequest: [
        *_REQUEST_IDS,
        *_each("transaction_id", _BAD_IDS),
        Bad({"request_id": None}, "transaction_id"),
    ],
    ListAccountChangesRequest: [*_USER_IDS, *_CURRENCY_CODES, *_PAGES],
    ListAccountsRequest: [
        *_USER_IDS,
        *_CURRENCY_CODES,
        *_PAGES,
        *_each("states", [[99], [0]], "states[0]"),
    ],
    ListBalancesRequest: _USER_IDS,
    ListHoldsRequest: [
        *_USER_IDS,
        *_CURRENCY_CODES,
        *_PAGES,
        *_each("states", [[99], [0]], "states[0]"),
    ],
    ListTransactionsRequest: [
        *_USER_IDS,
        *_CURRENCY_CODES,
        *_PAGES,
        *_LABELS,
        *_each("order", [3, -1]),
        *_each("kinds", [[1, 99], [1, 0], [1, -1]], "kinds[1]"),
        *_each("start_time", _BAD_TIMES),
        *_each("end_time", _BAD_TIMES),
        *_each("counterparty_user_id", _BAD_NAMES),
        Bad({"amount_at_least": _DOLLARS}, "amount_at_least.currency_code"),
        Bad({"amount_at_most": _DOLLARS}, "amount_at_most.currency_code"),
        *_each("amount_at_least", _moneys(-1), "amount_at_least.minor_units"),
        *_each("amount_at_most", _moneys(-1), "amount_at_most.minor_units"),
    ],
    WatchTransactionsRequest: [
        *_USER_IDS,
        *_CURRENCY_CODES,
        *_each("after_sequence", [-1, -(2**63)]),
    ],
}
