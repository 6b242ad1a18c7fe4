"""Calls that move money, reserve it, or give it back."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Unpack

from google.protobuf.duration_pb2 import Duration

from wallet_client.connection import Connection, WriteOptions, new_request_id, with_request_id
from wallet_client.operations import Operation, batch_of, check_kinds
from wallet_client.v1.types_pb2 import (
    AMOUNT_MODE_EXACT,
    AMOUNT_MODE_UP_TO,
    Condition,
    Money,
)
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CaptureHoldResponse,
    CreateHoldRequest,
    CreateHoldResponse,
    DepositRequest,
    DepositResponse,
    ExecuteBatchResponse,
    ReverseTransactionRequest,
    ReverseTransactionResponse,
    TransferRequest,
    TransferResponse,
    VoidHoldRequest,
    VoidHoldResponse,
    WithdrawRequest,
    WithdrawResponse,
)


class MoneyCalls(Connection):
    """The writing half of `wallet.v1.WalletService`. Amounts are minor units."""

    def deposit(
        self,
        amount_minor: int,
        *,
        currency_code: str = "",
        user_id: str = "",
        **options: Unpack[WriteOptions],
    ) -> DepositResponse:
        """Add money from outside to the caller's account, or as a service to a user's."""
        request = DepositRequest(
            user_id=user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            **with_request_id(options),
        )
        return self._write(self._service.Deposit, request)

    def withdraw(
        self,
        amount_minor: int,
        *,
        currency_code: str = "",
        user_id: str = "",
        up_to: bool = False,
        condition: Condition | None = None,
        **options: Unpack[WriteOptions],
    ) -> WithdrawResponse:
        """
        Take money out of the caller's account, or as a service out of a user's.

        Args:
            amount_minor: How much; with `up_to` at most so much.

            currency_code: ISO 4217; empty: the service's default.

            user_id: Whose account; empty: the caller's.

            up_to: Take what is there, up to the amount.

            condition: What must hold for it to be carried out.

            options: See `WriteOptions`.

        Raises:
            InsufficientFunds: It has less.
        """
        request = WithdrawRequest(
            user_id=user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            amount_mode=AMOUNT_MODE_UP_TO if up_to else AMOUNT_MODE_EXACT,
            condition=condition,
            **with_request_id(options),
        )
        return self._write(self._service.Withdraw, request)

    def transfer(
        self,
        to_user_id: str,
        amount_minor: int,
        *,
        currency_code: str = "",
        user_id: str = "",
        up_to: bool = False,
        condition: Condition | None = None,
        **options: Unpack[WriteOptions],
    ) -> TransferResponse:
        """
        Move money from the caller's account, or as a service from a user's, to another user's.

        Args:
            to_user_id: Who receives it.

            amount_minor: How much; with `up_to` at most so much.

            currency_code: ISO 4217; empty: the service's default.

            user_id: Whose money; empty: the caller's.

            up_to: Move what is there, up to the amount.

            condition: What must hold for it to be carried out.

            options: See `WriteOptions`.

        Raises:
            InsufficientFunds: The source has less.

            AccountNotFound: The other user has no account in this currency.
        """
        request = TransferRequest(
            user_id=user_id,
            to_user_id=to_user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            amount_mode=AMOUNT_MODE_UP_TO if up_to else AMOUNT_MODE_EXACT,
            condition=condition,
            **with_request_id(options),
        )
        return self._write(self._service.Transfer, request)

    def create_hold(
        self,
        amount_minor: int,
        *,
        to_user_id: str = "",
        currency_code: str = "",
        user_id: str = "",
        expire_after: timedelta | None = None,
        condition: Condition | None = None,
        **options: Unpack[WriteOptions],
    ) -> CreateHoldResponse:
        """
        Reserve money on the caller's account, or as a service on a user's.

        Args:
            amount_minor: How much.

            to_user_id: Who will receive it; empty: to be named when it is captured.

            currency_code: ISO 4217; empty: the service's default.

            user_id: Whose money; empty: the caller's.

            expire_after: When it ends by itself; None: never.

            condition: What must hold for it to be carried out.

            options: See `WriteOptions`.

        Raises:
            InsufficientFunds: Less is available.
        """
        duration = None
        if expire_after is not None:
            duration = Duration()
            duration.FromTimedelta(expire_after)
        request = CreateHoldRequest(
            user_id=user_id,
            to_user_id=to_user_id,
            amount=Money(currency_code=currency_code, minor_units=amount_minor),
            expire_after=duration,
            condition=condition,
            **with_request_id(options),
        )
        return self._write(self._service.CreateHold, request)

    def capture_hold(
        self,
        hold_id: str,
        amount_minor: int | None = None,
        *,
        to_user_id: str = "",
        keep_remainder: bool = False,
        condition: Condition | None = None,
        **options: Unpack[WriteOptions],
    ) -> CaptureHoldResponse:
        """
        Take reserved money.

        Args:
            hold_id: Which hold.

            amount_minor: How much; None: all that is still reserved.

            to_user_id: Who receives it, where the hold does not say.

            keep_remainder: Whether what is not taken stays reserved, for more captures.

            condition: What must hold for it to be carried out.

            options: See `WriteOptions`.

        Raises:
            HoldExpired, HoldNotActive, CaptureExceedsHold: It is over, or holds less.
        """
        request = CaptureHoldRequest(
            hold_id=hold_id,
            amount=None if amount_minor is None else Money(minor_units=amount_minor),
            to_user_id=to_user_id,
            keep_remainder=keep_remainder,
            condition=condition,
            **with_request_id(options),
        )
        return self._write(self._service.CaptureHold, request)

    def void_hold(self, hold_id: str, **options: Unpack[WriteOptions]) -> VoidHoldResponse:
        """Release what a hold still reserves."""
        request = VoidHoldRequest(hold_id=hold_id, **with_request_id(options))
        return self._write(self._service.VoidHold, request)

    def reverse(
        self,
        transaction_id: str,
        amount_minor: int | None = None,
        *,
        condition: Condition | None = None,
        **options: Unpack[WriteOptions],
    ) -> ReverseTransactionResponse:
        """
        Give an earlier transaction back, all that is left of it or a part.

        Raises:
            TransactionNotFound: There is none that the caller may see.

            ReversalExceedsOriginal: Less is left of it.

            NotReversible: It is no deposit, withdrawal, transfer or capture.
        """
        request = ReverseTransactionRequest(
            transaction_id=transaction_id,
            amount=None if amount_minor is None else Money(minor_units=amount_minor),
            condition=condition,
            **with_request_id(options),
        )
        return self._write(self._service.ReverseTransaction, request)

    def execute(self, operations: Iterable[Operation], *, atomic: bool) -> ExecuteBatchResponse:
        """
        Carry out many requests in one database transaction.

        Args:
            operations: Up to 1000, in their order. Those without a request id are given one, in
                place, so that the same objects can be sent again.

            atomic: All of them or none.

        Raises:
            BatchRefused: The batch is atomic, and the operation `failed_index` was refused.
        """
        listed = list(operations)
        check_kinds(listed)
        for operation in listed:
            operation.request_id = operation.request_id or new_request_id()
        return self._execute(batch_of(listed, atomic=atomic))
