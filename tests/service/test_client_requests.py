"""Whatever a call of the client class is given reaches the service, zeros and empty lists too."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from harness.calls import METHODS
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import (
    ACCOUNT_STATE_FROZEN,
    AMOUNT_MODE_EXACT,
    AMOUNT_MODE_UP_TO,
    HOLD_STATE_ACTIVE,
    Condition,
    Money,
    SpendingLimit,
    Transaction,
)
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
    WatchTransactionsResponse,
    WithdrawRequest,
)

Call = Callable[[Wallet], object]

MAY = datetime(2026, 5, 1, 12, tzinfo=UTC)
JUNE = MAY + timedelta(days=31)
DOLLARS = {"currency_code": "USD"}
CAROLS: dict[str, Any] = {"user_id": "carol", **DOLLARS}
WORDS: dict[str, Any] = {"request_id": "r", "description": "rent", "metadata": {"month": "May"}}
IF_UNMOVED: dict[str, Any] = {"condition": Condition(expected_sequence=7)}
LIMIT = SpendingLimit(window=SpendingLimit.WINDOW_ROLLING_DAY, max_count=3)


def of_dollars(minor_units: int) -> Money:
    """Write a sum as the client does."""
    return Money(minor_units=minor_units, **DOLLARS)


def moment(time: datetime) -> Timestamp:
    """Write a time as the contract does."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


WRITES: list[tuple[Call, Message]] = [
    (
        lambda wallet: wallet.deposit(5, **CAROLS, **WORDS),
        DepositRequest(user_id="carol", amount=of_dollars(5), **WORDS),
    ),
    (
        lambda wallet: wallet.withdraw(5, **CAROLS, **IF_UNMOVED, **WORDS),
        WithdrawRequest(
            user_id="carol",
            amount=of_dollars(5),
            amount_mode=AMOUNT_MODE_EXACT,
            **IF_UNMOVED,
            **WORDS,
        ),
    ),
    (
        lambda wallet: wallet.withdraw(5, up_to=True, request_id="r"),
        WithdrawRequest(amount=Money(minor_units=5), amount_mode=AMOUNT_MODE_UP_TO, request_id="r"),
    ),
    (
        lambda wallet: wallet.transfer("bob", 5, **CAROLS, **IF_UNMOVED, **WORDS),
        TransferRequest(
            user_id="carol",
            to_user_id="bob",
            amount=of_dollars(5),
            amount_mode=AMOUNT_MODE_EXACT,
            **IF_UNMOVED,
            **WORDS,
        ),
    ),
    (
        lambda wallet: wallet.transfer("bob", 5, up_to=True, request_id="r"),
        TransferRequest(
            to_user_id="bob",
            amount=Money(minor_units=5),
            amount_mode=AMOUNT_MODE_UP_TO,
            request_id="r",
        ),
    ),
    (
        lambda wallet: wallet.create_hold(
            5, to_user_id="bob", expire_after=timedelta(seconds=90), **CAROLS, **IF_UNMOVED, **WORDS
        ),
        CreateHoldRequest(
            user_id="carol",
            to_user_id="bob",
            amount=of_dollars(5),
            expire_after=Duration(seconds=90),
            **IF_UNMOVED,
            **WORDS,
        ),
    ),
    (
        lambda wallet: wallet.create_hold(5, expire_after=timedelta(0), request_id="r"),
        CreateHoldRequest(
            amount=Money(minor_units=5), expire_after=Duration(seconds=0), request_id="r"
        ),
    ),
    (
        lambda wallet: wallet.capture_hold(
            "h", 5, to_user_id="bob", keep_remainder=True, **IF_UNMOVED, **WORDS
        ),
        CaptureHoldRequest(
            hold_id="h",
            amount=Money(minor_units=5),
            to_user_id="bob",
            keep_remainder=True,
            **IF_UNMOVED,
            **WORDS,
        ),
    ),
    (
        lambda wallet: wallet.capture_hold("h", 0, request_id="r"),
        CaptureHoldRequest(hold_id="h", amount=Money(minor_units=0), request_id="r"),
    ),
    (
        lambda wallet: wallet.void_hold("h", **WORDS),
        VoidHoldRequest(hold_id="h", **WORDS),
    ),
    (
        lambda wallet: wallet.reverse("t", 5, **IF_UNMOVED, **WORDS),
        ReverseTransactionRequest(
            transaction_id="t", amount=Money(minor_units=5), **IF_UNMOVED, **WORDS
        ),
    ),
    (
        lambda wallet: wallet.reverse("t", 0, request_id="r"),
        ReverseTransactionRequest(transaction_id="t", amount=Money(minor_units=0), request_id="r"),
    ),
    (
        lambda wallet: wallet.open_account("carol", **DOLLARS, **WORDS),
        OpenAccountRequest(**CAROLS, **WORDS),
    ),
    (
        lambda wallet: wallet.update_account(
            "carol",
            min_balance_minor=-5,
            state=ACCOUNT_STATE_FROZEN,
            limits=[LIMIT],
            **DOLLARS,
            **WORDS,
        ),
        UpdateAccountRequest(
            min_balance=Money(minor_units=-5),
            state=ACCOUNT_STATE_FROZEN,
            limits=SpendingLimits(limits=[LIMIT]),
            **CAROLS,
            **WORDS,
        ),
    ),
    (
        lambda wallet: wallet.update_account(
            "carol", min_balance_minor=0, limits=[], request_id="r"
        ),
        UpdateAccountRequest(
            user_id="carol",
            min_balance=Money(minor_units=0),
            limits=SpendingLimits(),
            request_id="r",
        ),
    ),
]

READS: list[tuple[Call, Message]] = [
    (
        lambda wallet: wallet.balance(as_of_time=MAY, **CAROLS),
        GetBalanceRequest(as_of_time=moment(MAY), **CAROLS),
    ),
    (
        lambda wallet: wallet.balance(as_of_sequence=0),
        GetBalanceRequest(as_of_sequence=0),
    ),
    (lambda wallet: wallet.balances(user_id="carol"), ListBalancesRequest(user_id="carol")),
    (
        lambda wallet: wallet.transaction(transaction_id="t"),
        GetTransactionRequest(transaction_id="t"),
    ),
    (lambda wallet: wallet.transaction(request_id="r"), GetTransactionRequest(request_id="r")),
    (
        lambda wallet: list(
            wallet.transactions(
                oldest_first=True,
                page_size=9,
                kinds=[Transaction.KIND_TRANSFER],
                start_time=MAY,
                end_time=JUNE,
                counterparty_user_id="bob",
                amount_minor_min=3,
                amount_minor_max=4,
                metadata={"month": "May"},
                **CAROLS,
            )
        ),
        ListTransactionsRequest(
            order=ListTransactionsRequest.ORDER_OLDEST_FIRST,
            page_size=9,
            kinds=[Transaction.KIND_TRANSFER],
            start_time=moment(MAY),
            end_time=moment(JUNE),
            counterparty_user_id="bob",
            amount_at_least=Money(minor_units=3),
            amount_at_most=Money(minor_units=4),
            metadata={"month": "May"},
            **CAROLS,
        ),
    ),
    (
        lambda wallet: list(wallet.transactions(amount_minor_min=0, amount_minor_max=0)),
        ListTransactionsRequest(
            order=ListTransactionsRequest.ORDER_NEWEST_FIRST,
            amount_at_least=Money(minor_units=0),
            amount_at_most=Money(minor_units=0),
        ),
    ),
    (lambda wallet: wallet.hold("h"), GetHoldRequest(hold_id="h")),
    (
        lambda wallet: list(wallet.holds(states=[HOLD_STATE_ACTIVE], page_size=9, **CAROLS)),
        ListHoldsRequest(states=[HOLD_STATE_ACTIVE], page_size=9, **CAROLS),
    ),
    (
        lambda wallet: next(wallet.watch(after_sequence=9, **CAROLS)),
        WatchTransactionsRequest(after_sequence=9, **CAROLS),
    ),
    (lambda wallet: wallet.account("carol", **DOLLARS), GetAccountRequest(**CAROLS)),
    (
        lambda wallet: list(wallet.accounts(states=[ACCOUNT_STATE_FROZEN], page_size=9, **CAROLS)),
        ListAccountsRequest(states=[ACCOUNT_STATE_FROZEN], page_size=9, **CAROLS),
    ),
    (
        lambda wallet: list(wallet.account_changes("carol", page_size=9, **DOLLARS)),
        ListAccountChangesRequest(page_size=9, **CAROLS),
    ),
]


class Listener(grpc.GenericRpcHandler):
    """Takes any call of the contract, remembers its request and answers with nothing."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self._types = {path: kind for kind, path in METHODS.items()}

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what answers a method."""
        kind = self._types[call.method]
        if kind is WatchTransactionsRequest:
            return grpc.unary_stream_rpc_method_handler(self._stream, kind.FromString)
        return grpc.unary_unary_rpc_method_handler(self._answer, kind.FromString)

    def _answer(self, request: Message, _: grpc.ServicerContext) -> bytes:
        self.heard.append(request)
        return b""

    def _stream(self, request: Message, _: grpc.ServicerContext) -> Iterator[bytes]:
        self.heard.append(request)
        yield WatchTransactionsResponse(transaction={}).SerializeToString()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def wallet(listener: Listener) -> Iterator[Wallet]:
    """A client whose requests are listened to."""
    server = grpc.server(ThreadPoolExecutor(1), handlers=[listener])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Wallet(f"127.0.0.1:{port}", "token", plaintext=True) as client:
        yield client
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("call", "request_made"),
    [*WRITES, *READS],
    ids=lambda part: type(part).__name__ if isinstance(part, Message) else "",
)
def test_all_that_a_call_is_given_is_in_its_request(
    wallet: Wallet, listener: Listener, call: Call, request_made: Message
) -> None:
    call(wallet)

    assert listener.heard == [request_made]


@pytest.mark.parametrize(
    "call",
    [
        lambda wallet: wallet.deposit(5, validate_only=True),
        lambda wallet: wallet.void_hold("h", validate_only=True),
        lambda wallet: wallet.update_account("carol", validate_only=True),
    ],
    ids=["deposit", "void_hold", "update_account"],
)
def test_what_is_only_asked_says_so(wallet: Wallet, listener: Listener, call: Call) -> None:
    call(wallet)

    (heard,) = listener.heard
    assert getattr(heard, "validate_only") is True  # noqa: B009 (of several types)


def test_a_batch_sent_again_has_the_same_operations_under_the_same_ids(
    wallet: Wallet, listener: Listener
) -> None:
    named = DepositRequest(amount=Money(minor_units=5), request_id="mine")
    unnamed = WithdrawRequest(amount=Money(minor_units=5))

    for atomic in (True, False):
        wallet.execute([named, unnamed], atomic=atomic)

    operations = [{"deposit": named}, {"withdraw": unnamed}]
    assert (named.request_id, len(unnamed.request_id)) == ("mine", 36)
    assert listener.heard == [
        ExecuteBatchRequest(operations=operations, atomic=atomic) for atomic in (True, False)
    ]


def test_every_method_is_called_here() -> None:
    asked = {type(message) for _, message in [*WRITES, *READS]}

    assert {kind.__name__ for kind in METHODS.keys() - asked} == {"ExecuteBatchRequest"}
