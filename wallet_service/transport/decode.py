"""
Requests into commands and keys: the contract's messages stop here.

Nothing else in the service looks at a request. Each function raises `InvalidRequest` for what can
never be right and `PermissionDenied` for what is not this caller's to ask.
"""

from typing import Protocol

from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_admin_service_pb2 import OpenAccountRequest, UpdateAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    GetTransactionRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WithdrawRequest,
)

from wallet_service.ledger.commands import (
    AccountKey,
    CaptureHold,
    CreateHold,
    Deposit,
    OpenAccount,
    ReverseTransaction,
    Transfer,
    UpdateAccount,
    VoidHold,
    Withdraw,
)
from wallet_service.ledger.ids import transaction_id
from wallet_service.transport.auth import Caller
from wallet_service.transport.fields import (
    common_fields,
    condition_of,
    duration_us,
    is_up_to,
    limits_of,
    not_oneself,
    part_of,
)
from wallet_service.transport.validation import Validation, is_id


class _AccountRequest(Protocol):
    """The fields that name an account."""

    @property
    def user_id(self) -> str: ...
    @property
    def currency_code(self) -> str: ...


class Decoder:
    """
    Reads requests.

    Args:
        default_currency: What an empty currency code means.
    """

    def __init__(self, default_currency: str) -> None:
        self._default_currency = default_currency

    def deposit(self, request: DepositRequest, caller: Caller, prefix: str = "") -> Deposit:
        """Read a deposit."""
        validation = Validation(prefix)
        currency_code = self._amount(validation, request.amount)
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        common = common_fields(validation, request, caller)
        validation.finish()
        return Deposit(
            target=AccountKey(caller.acting_as(request.user_id), currency_code),
            amount_minor=request.amount.minor_units,
            validate_only=request.validate_only,
            **common,
        )

    def withdraw(self, request: WithdrawRequest, caller: Caller, prefix: str = "") -> Withdraw:
        """Read a withdrawal."""
        validation = Validation(prefix)
        currency_code = self._amount(validation, request.amount)
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        condition = condition_of(validation, request, currency_code)
        is_up_to_amount = is_up_to(validation, request.amount_mode)
        common = common_fields(validation, request, caller)
        validation.finish()
        return Withdraw(
            source=AccountKey(caller.acting_as(request.user_id), currency_code),
            amount_minor=request.amount.minor_units,
            is_up_to=is_up_to_amount,
            condition=condition,
            validate_only=request.validate_only,
            **common,
        )

    def transfer(self, request: TransferRequest, caller: Caller, prefix: str = "") -> Transfer:
        """Read a transfer."""
        validation = Validation(prefix)
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        validation.user_id("to_user_id", request.to_user_id, may_be_empty=False)
        currency_code = self._amount(validation, request.amount)
        condition = condition_of(validation, request, currency_code)
        is_up_to_amount = is_up_to(validation, request.amount_mode)
        common = common_fields(validation, request, caller)
        validation.finish()
        user_id = not_oneself(caller.acting_as(request.user_id), request.to_user_id, prefix)
        return Transfer(
            source=AccountKey(user_id, currency_code),
            target=AccountKey(request.to_user_id, currency_code),
            amount_minor=request.amount.minor_units,
            is_up_to=is_up_to_amount,
            condition=condition,
            validate_only=request.validate_only,
            **common,
        )

    def create_hold(
        self, request: CreateHoldRequest, caller: Caller, prefix: str = ""
    ) -> CreateHold:
        """Read what is to be reserved."""
        validation = Validation(prefix)
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        validation.user_id("to_user_id", request.to_user_id, may_be_empty=True)
        currency_code = self._amount(validation, request.amount)
        condition = condition_of(validation, request, currency_code)
        expire_after_us = None
        if request.HasField("expire_after"):
            expire_after_us = duration_us(validation, "expire_after", request.expire_after)
        common = common_fields(validation, request, caller)
        validation.finish()
        user_id = not_oneself(caller.acting_as(request.user_id), request.to_user_id, prefix)
        target = AccountKey(request.to_user_id, currency_code) if request.to_user_id else None
        return CreateHold(
            source=AccountKey(user_id, currency_code),
            target=target,
            amount_minor=request.amount.minor_units,
            expire_after_us=expire_after_us,
            condition=condition,
            validate_only=request.validate_only,
            **common,
        )

    def update_account(self, request: UpdateAccountRequest, caller: Caller) -> UpdateAccount:
        """Read a change of an account; its caller may name any user."""
        validation = Validation()
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        currency_code = self._currency(validation, "currency_code", request.currency_code)
        min_balance_minor = None
        if request.HasField("min_balance"):
            min_balance_minor = request.min_balance.minor_units
            validation.same_currency(
                "min_balance", request.min_balance.currency_code, currency_code
            )
            validation.balance_minor("min_balance.minor_units", min_balance_minor)
        validation.known("state", request.state, types_pb2.AccountState)
        limits = limits_of(validation, request, currency_code)
        validation.require(
            "state",
            "must be given, or min_balance or limits",
            holds=bool(request.state) or min_balance_minor is not None or limits is not None,
        )
        common = common_fields(validation, request, caller)
        validation.finish()
        state = types_pb2.AccountState.Name(request.state).removeprefix("ACCOUNT_STATE_")
        return UpdateAccount(
            target=AccountKey(request.user_id or caller.user_id, currency_code),
            min_balance_minor=min_balance_minor,
            state=state if request.state else None,
            limits=limits,
            validate_only=request.validate_only,
            **common,
        )

    def open_account(self, request: OpenAccountRequest, caller: Caller) -> OpenAccount:
        """Read an account opening; its caller may name any user."""
        validation = Validation()
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        currency_code = self._currency(validation, "currency_code", request.currency_code)
        common = common_fields(validation, request, caller)
        validation.finish()
        target = AccountKey(request.user_id or caller.user_id, currency_code)
        return OpenAccount(target=target, validate_only=request.validate_only, **common)

    def currency_of(self, request: _AccountRequest) -> str:
        """Read which currency a request is about."""
        return request.currency_code or self._default_currency

    def account(
        self, request: _AccountRequest, caller: Caller, validation: Validation | None = None
    ) -> AccountKey:
        """Read which account a request is about; finishes what is noted of its other fields."""
        key = self.any_account(request, caller, validation)
        return AccountKey(caller.acting_as(request.user_id), key.currency_code)

    def any_account(
        self, request: _AccountRequest, caller: Caller, validation: Validation | None = None
    ) -> AccountKey:
        """Read which account an operator's request is about, anybody's; finishes as `account`."""
        validation = validation or Validation()
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        currency_code = self._currency(validation, "currency_code", request.currency_code)
        validation.finish()
        return AccountKey(request.user_id or caller.user_id, currency_code)

    def _amount(self, validation: Validation, amount: types_pb2.Money) -> str:
        validation.amount_minor("amount.minor_units", amount.minor_units)
        return self._currency(validation, "amount.currency_code", amount.currency_code)

    def _currency(self, validation: Validation, field: str, code: str) -> str:
        code = code or self._default_currency
        validation.currency_code(field, code)
        return code


def capture_hold(request: CaptureHoldRequest, caller: Caller, prefix: str = "") -> CaptureHold:
    """Read a capture; its currency is the hold's."""
    validation = Validation(prefix)
    validation.transaction_id("hold_id", request.hold_id)
    validation.user_id("to_user_id", request.to_user_id, may_be_empty=True)
    part = part_of(validation, request)
    condition = condition_of(validation, request, part["currency_code"])
    common = common_fields(validation, request, caller)
    validation.finish()
    return CaptureHold(
        hold_id=request.hold_id.lower(),
        **part,
        to_user_id=request.to_user_id or None,
        keep_remainder=request.keep_remainder,
        condition=condition,
        validate_only=request.validate_only,
        **common,
    )


def void_hold(request: VoidHoldRequest, caller: Caller, prefix: str = "") -> VoidHold:
    """Read a release."""
    validation = Validation(prefix)
    validation.transaction_id("hold_id", request.hold_id)
    common = common_fields(validation, request, caller)
    validation.finish()
    return VoidHold(hold_id=request.hold_id.lower(), validate_only=request.validate_only, **common)


def reverse_transaction(
    request: ReverseTransactionRequest, caller: Caller, prefix: str = ""
) -> ReverseTransaction:
    """Read a reversal; its currency is the original's."""
    validation = Validation(prefix)
    validation.transaction_id("transaction_id", request.transaction_id)
    part = part_of(validation, request)
    condition = condition_of(validation, request, part["currency_code"])
    common = common_fields(validation, request, caller)
    validation.finish()
    return ReverseTransaction(
        original_id=request.transaction_id.lower(),
        **part,
        condition=condition,
        validate_only=request.validate_only,
        **common,
    )


def user_id_of(user_id: str, caller: Caller) -> str:
    """Read which user a request is about."""
    validation = Validation()
    validation.user_id("user_id", user_id, may_be_empty=True)
    validation.finish()
    return caller.acting_as(user_id)


def hold_id_of(hold_id: str) -> str:
    """Read which hold a request is about."""
    validation = Validation()
    validation.transaction_id("hold_id", hold_id)
    validation.finish()
    return hold_id.lower()


def transaction_id_of(request: GetTransactionRequest, caller: Caller) -> str:
    """Read which transaction a request is about, by its id or by the caller's own request id."""
    validation = Validation()
    if request.HasField("request_id"):
        validation.request_id("request_id", request.request_id)
        validation.finish()
        return transaction_id(caller.user_id, request.request_id)
    text = "must be a UUID, unless a request_id is given"
    validation.require("transaction_id", text, holds=is_id(request.transaction_id))
    validation.finish()
    return request.transaction_id.lower()
