"""Calls that only look, and the stream of what happens."""

import random
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypedDict, Unpack

from google.protobuf.timestamp_pb2 import Timestamp

from wallet_client.connection import Connection
from wallet_client.errors import TokenExpired, TooManyStreams, WalletError
from wallet_client.v1.types_pb2 import Balance, Hold, HoldState, Money, Transaction
from wallet_client.v1.wallet_service_pb2 import (
    GetBalanceRequest,
    GetHoldRequest,
    GetTransactionRequest,
    ListBalancesRequest,
    ListHoldsRequest,
    ListTransactionsRequest,
    WatchTransactionsRequest,
    WatchTransactionsResponse,
)

_PAUSE_S_MAX = 5.0


class HistoryFilters(TypedDict, total=False):
    """
    Which transactions are asked for; what is missing restricts nothing.

    Times, which need a time zone: from `start_time` until before `end_time`. Amounts in minor
    units, whatever their sign, both ends included. `metadata`: all these labels.
    """

    kinds: Sequence["Transaction.Kind.ValueType"]
    start_time: datetime
    end_time: datetime
    counterparty_user_id: str
    amount_minor_min: int
    amount_minor_max: int
    metadata: Mapping[str, str]


class ReadCalls(Connection):
    """The reading half of `wallet.v1.WalletService`."""

    def balance(
        self,
        *,
        currency_code: str = "",
        user_id: str = "",
        as_of_time: datetime | None = None,
        as_of_sequence: int | None = None,
    ) -> Balance:
        """
        Read one balance, now or at a moment of the past; `posted.decimal` is in roubles.

        Args:
            currency_code: ISO 4217; empty: the service's default.

            user_id: Whose account; empty: the caller's.

            as_of_time: With a time zone.

            as_of_sequence: Right after this line of the account.
        """
        if as_of_time is not None and as_of_sequence is not None:
            raise ValueError("as_of_time or as_of_sequence, not both")
        request = GetBalanceRequest(
            user_id=user_id,
            currency_code=currency_code,
            as_of_time=_timestamp("as_of_time", as_of_time),
        )
        if as_of_sequence is not None:
            request.as_of_sequence = as_of_sequence
        return self._call(self._service.GetBalance, request).balance

    def balances(self, *, user_id: str = "") -> list[Balance]:
        """Read the balances in all currencies."""
        request = ListBalancesRequest(user_id=user_id)
        return list(self._call(self._service.ListBalances, request).balances)

    def transaction(self, *, transaction_id: str = "", request_id: str = "") -> Transaction:
        """
        Read one transaction, by its id or by the caller's own request id: "did it happen?".

        Raises:
            NotFound: There is none that the caller may see. A request under way, or sent again, may
                still make it.
        """
        if transaction_id and request_id:
            raise ValueError("transaction_id or request_id, not both")
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
        **filters: Unpack[HistoryFilters],
    ) -> Iterator[Transaction]:
        """
        Read an account's history, asking for pages as they are needed.

        Args:
            currency_code: ISO 4217; empty: the service's default.

            user_id: Whose account; empty: the caller's.

            oldest_first: From sequence 1 up, instead of from the newest down.

            page_size: Rows asked for at a time; 0: the service's choice.

            filters: See `HistoryFilters`.
        """
        unknown = filters.keys() - HistoryFilters.__annotations__.keys()
        if unknown:  # left out, they would answer with more than was asked for
            raise TypeError(f"no such filters: {', '.join(sorted(unknown))}")
        request = ListTransactionsRequest(
            user_id=user_id,
            currency_code=currency_code,
            order=(
                ListTransactionsRequest.ORDER_OLDEST_FIRST
                if oldest_first
                else ListTransactionsRequest.ORDER_NEWEST_FIRST
            ),
            page_size=page_size,
            kinds=filters.get("kinds", ()),
            start_time=_timestamp("start_time", filters.get("start_time")),
            end_time=_timestamp("end_time", filters.get("end_time")),
            counterparty_user_id=filters.get("counterparty_user_id", ""),
            amount_at_least=_money(filters.get("amount_minor_min")),
            amount_at_most=_money(filters.get("amount_minor_max")),
            metadata=filters.get("metadata"),
        )
        return self._rows(self._service.ListTransactions, request, "transactions")

    def hold(self, hold_id: str) -> Hold:
        """
        Read one hold.

        Raises:
            HoldNotFound: There is none that the caller may see.
        """
        return self._call(self._service.GetHold, GetHoldRequest(hold_id=hold_id)).hold

    def holds(
        self,
        *,
        currency_code: str = "",
        user_id: str = "",
        states: Sequence["HoldState.ValueType"] = (),
        page_size: int = 0,
    ) -> Iterator[Hold]:
        """Read an account's holds, newest first, asking for pages as they are needed."""
        request = ListHoldsRequest(
            user_id=user_id, currency_code=currency_code, states=states, page_size=page_size
        )
        return self._rows(self._service.ListHolds, request, "holds")

    def watch(
        self, *, currency_code: str = "", user_id: str = "", after_sequence: int = 0
    ) -> Generator[Transaction, None, None]:
        """
        Yield what moves on an account as it is committed, for ever.

        After a disconnect it goes on where it was, without gap or duplicate. Store the
        `entry.sequence` you have dealt with, and begin after it next time. Close the iterator to
        end it.

        Args:
            currency_code: ISO 4217; empty: the service's default.

            user_id: Whose account; empty: the caller's.

            after_sequence: Everything after this one is sent; 0: everything.

        Raises:
            WalletError: What another attempt cannot mend, such as the end of this client.
        """
        request = WatchTransactionsRequest(
            user_id=user_id, currency_code=currency_code, after_sequence=after_sequence
        )
        failures = renewals = 0
        was_served = False
        while True:
            try:
                for event in self._events(request):
                    failures, renewals, was_served = 0, 0, True
                    if event.WhichOneof("event") == "transaction":
                        yield event.transaction
                        request.after_sequence = event.transaction.entry.sequence
                failures += 1
            except WalletError as error:
                failures += 1
                is_full = isinstance(error, TooManyStreams)
                # Where streams broke off together, they find room again once others have given up.
                may_wait = is_full and (was_served or failures < self._attempts_max)
                is_late = isinstance(error, TokenExpired)
                renewals += is_late
                may_renew = is_late and self._renews_token and renewals < self._attempts_max
                if not (may_wait or may_renew or self._may_succeed_later(error)):
                    raise
                was_served = was_served or not is_full
            pause_s_max = min(_PAUSE_S_MAX, 0.05 * 2 ** min(failures, 10))
            time.sleep(random.uniform(0.0, pause_s_max))  # noqa: S311 (no secret)

    def _events(self, request: WatchTransactionsRequest) -> Iterator[WatchTransactionsResponse]:
        """Yield what one stream sends until it breaks off."""
        metadata = self._metadata(request)
        with self._failures_told(request):
            stream = self._service.WatchTransactions(request, metadata=metadata)
            try:
                yield from stream
            finally:
                stream.cancel()


def _money(amount_minor: int | None) -> Money | None:
    return None if amount_minor is None else Money(minor_units=amount_minor)


def _timestamp(name: str, moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{name}: needs a time zone, such as datetime.UTC")
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
