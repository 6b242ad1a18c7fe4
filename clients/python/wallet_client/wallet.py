"""The `Wallet` class: calls that cannot pay twice."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

import grpc
import uuid_utils
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from wallet_client.errors import error_from
from wallet_client.v1.types_pb2 import Account, Balance, Money, Transaction
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    OpenAccountRequest,
    OpenAccountResponse,
)
from wallet_client.v1.wallet_admin_service_pb2_grpc import WalletAdminServiceStub
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    DepositResponse,
    GetBalanceRequest,
    GetTransactionRequest,
    ListBalancesRequest,
    ListTransactionsRequest,
    TransferRequest,
    TransferResponse,
    WithdrawRequest,
    WithdrawResponse,
)
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceStub

_RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,  # by a server that stopped, in a rare moment
}
_OPTIONS = [
    ("grpc.enable_retries", 0),  # retries are made here, where the request id is kept
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
]

_Response = TypeVar("_Response")


def new_request_id() -> str:
    """Make a request id that is ordered in time (UUIDv7), which the service stores best."""
    return str(uuid_utils.uuid7())


class Wallet:
    """
    A connection to the wallet service, safe to share between threads.

    Every write gets its request id before it is first sent and keeps it over all retries, so it
    happens once however often it is tried. Pass your own `request_id`, stored beforehand, to be
    safe even against your own process dying. Amounts are minor units (kopecks, cents). Failures
    raise `wallet_client.errors`.

    Args:
        target: `host:port`, or `dns:///host:port` to spread calls over all addresses of a name.

        token: The JWT, or a function that returns a fresh one for each try.

        plaintext: Speak without TLS.

        root_certificates: Authorities to trust, in PEM; None: the system's.

        timeout_s: The deadline of each try, in seconds.

        attempts_max: Tries in all, where the service was unavailable, busy or too slow.
    """

    def __init__(
        self,
        target: str,
        token: str | Callable[[], str],
        *,
        plaintext: bool = False,
        root_certificates: bytes | None = None,
        timeout_s: float = 5.0,
        attempts_max: int = 5,
    ) -> None:
        self._token = token if callable(token) else lambda: token
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        if plaintext:
            self._channel = grpc.insecure_channel(target, _OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(target, credentials, _OPTIONS)
        self._service = WalletServiceStub(self._channel)
        self._admin = WalletAdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way fail."""
        self._channel.close()

    def deposit(
        self,
        amount_minor: int,
        *,
        currency_code: str = "",
        user_id: str = "",
        request_id: str = "",
        description: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> DepositResponse:
        """Add money from outside to the caller's account, or as a service to a user's."""
        request = DepositRequest(
            user_id=user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            request_id=request_id or new_request_id(),
            description=description,
            metadata=metadata,
        )
        return self._call(self._service.Deposit, request)

    def withdraw(
        self,
        amount_minor: int,
        *,
        currency_code: str = "",
        user_id: str = "",
        request_id: str = "",
        description: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> WithdrawResponse:
        """
        Take money out of the caller's account, or as a service out of a user's.

        Raises:
            InsufficientFunds: It has less.
        """
        request = WithdrawRequest(
            user_id=user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            request_id=request_id or new_request_id(),
            description=description,
            metadata=metadata,
        )
        return self._call(self._service.Withdraw, request)

    def transfer(
        self,
        to_user_id: str,
        amount_minor: int,
        *,
        currency_code: str = "",
        user_id: str = "",
        request_id: str = "",
        description: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> TransferResponse:
        """
        Move money from the caller's account, or as a service from a user's, to another user's.

        Raises:
            InsufficientFunds: The source has less.

            AccountNotFound: The other user has no account in this currency.
        """
        request = TransferRequest(
            user_id=user_id,
            to_user_id=to_user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            request_id=request_id or new_request_id(),
            description=description,
            metadata=metadata,
        )
        return self._call(self._service.Transfer, request)

    def balance(self, *, currency_code: str = "", user_id: str = "") -> Balance:
        """Read one balance; `posted.decimal` is in roubles."""
        request = GetBalanceRequest(user_id=user_id, currency_code=currency_code)
        return self._call(self._service.GetBalance, request).balance

    def balances(self, *, user_id: str = "") -> list[Balance]:
        """Read the balances in all currencies."""
        request = ListBalancesRequest(user_id=user_id)
        return list(self._call(self._service.ListBalances, request).balances)

    def transaction(self, *, transaction_id: str = "", request_id: str = "") -> Transaction:
        """
        Read one transaction, by its id or by the caller's own request id: "did it happen?".

        Raises:
            NotFound: There is none that the caller may see.
        """
        if request_id:
            request = GetTransactionRequest(request_id=request_id)
        else:
            request = GetTransactionRequest(transaction_id=transaction_id)
        return self._call(self._service.GetTransaction, request).transaction

    def transactions(
        self,
        *,
        currency_code: str = "",
        user_id: str = "",
        oldest_first: bool = False,
        page_size: int = 0,
    ) -> Iterator[Transaction]:
        """Read an account's history, newest first, asking for pages as they are needed."""
        order = (
            ListTransactionsRequest.ORDER_OLDEST_FIRST
            if oldest_first
            else ListTransactionsRequest.ORDER_NEWEST_FIRST
        )
        request = ListTransactionsRequest(
            user_id=user_id, currency_code=currency_code, order=order, page_size=page_size
        )
        while True:
            page = self._call(self._service.ListTransactions, request)
            yield from page.transactions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def open_account(
        self,
        user_id: str,
        *,
        currency_code: str = "",
        request_id: str = "",
        description: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> OpenAccountResponse:
        """Open a user's account, so that it can be paid; needs the scope `wallet:admin`."""
        request = OpenAccountRequest(
            user_id=user_id,
            currency_code=currency_code,
            request_id=request_id or new_request_id(),
            description=description,
            metadata=metadata,
        )
        return self._call(self._admin.OpenAccount, request)

    def account(self, user_id: str, *, currency_code: str = "") -> Account:
        """
        Read a user's account; needs the scope `wallet:admin`.

        Raises:
            AccountNotFound: It was never opened.
        """
        request = GetAccountRequest(user_id=user_id, currency_code=currency_code)
        return self._call(self._admin.GetAccount, request).account

    def _call(self, method: Callable[..., _Response], request: Any) -> _Response:
        """Send a request until it is answered for good, always the same request."""
        retrying = Retrying(
            retry=retry_if_exception(_may_succeed_later),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_attempt(self._attempts_max),
            reraise=True,
        )
        try:
            response: _Response = retrying(self._send, method, request)
        except grpc.RpcError as error:
            request_id = getattr(request, "request_id", "")
            raise error_from(error, request_id=request_id) from error
        return response

    def _send(self, method: Callable[..., _Response], request: Any) -> _Response:
        metadata = (("authorization", f"Bearer {self._token()}"),)
        return method(request, timeout=self._timeout_s, metadata=metadata)


def _may_succeed_later(error: BaseException) -> bool:
    if not isinstance(error, grpc.RpcError):
        return False
    failure = error_from(error)
    return failure.code in _RETRYABLE or failure.reason == "OVERLOADED"
