"""
Requests into commands and keys: the contract's messages stop here.

Nothing else in the service looks at a request. Each function raises `InvalidRequest` for what can
never be right and `PermissionDenied` for what is not this caller's to ask.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_admin_service_pb2 import OpenAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetTransactionRequest,
    TransferRequest,
    WithdrawRequest,
)

from wallet_service.ledger.commands import (
    AccountKey,
    Deposit,
    OpenAccount,
    Transfer,
    Withdraw,
    transaction_id,
)
from wallet_service.ledger.errors import SameAccount
from wallet_service.transport.auth import Caller
from wallet_service.transport.validation import Validation


class _WriteRequest(Protocol):
    """The fields every write has."""

    @property
    def user_id(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


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

    def deposit(self, request: DepositRequest, caller: Caller) -> Deposit:
        """Read a deposit."""
        validation = Validation()
        currency_code = self._amount(validation, request.amount)
        common = _common(validation, request, caller)
        validation.finish()
        user_id = caller.acting_as(request.user_id)
        target = AccountKey(user_id, currency_code)
        return Deposit(target=target, amount_minor=request.amount.minor_units, **common)

    def withdraw(self, request: WithdrawRequest, caller: Caller) -> Withdraw:
        """Read a withdrawal."""
        validation = Validation()
        currency_code = self._amount(validation, request.amount)
        common = _common(validation, request, caller)
        validation.finish()
        user_id = caller.acting_as(request.user_id)
        source = AccountKey(user_id, currency_code)
        return Withdraw(source=source, amount_minor=request.amount.minor_units, **common)

    def transfer(self, request: TransferRequest, caller: Caller) -> Transfer:
        """Read a transfer."""
        validation = Validation()
        validation.user_id("to_user_id", request.to_user_id, may_be_empty=False)
        currency_code = self._amount(validation, request.amount)
        common = _common(validation, request, caller)
        validation.finish()
        user_id = caller.acting_as(request.user_id)
        if user_id == request.to_user_id:
            raise SameAccount(field="to_user_id")
        return Transfer(
            source=AccountKey(user_id, currency_code),
            target=AccountKey(request.to_user_id, currency_code),
            amount_minor=request.amount.minor_units,
            **common,
        )

    def open_account(self, request: OpenAccountRequest, caller: Caller) -> OpenAccount:
        """Read an account opening; its caller may name any user."""
        validation = Validation()
        currency_code = self._currency(validation, "currency_code", request.currency_code)
        common = _common(validation, request, caller)
        validation.finish()
        target = AccountKey(request.user_id or caller.user_id, currency_code)
        return OpenAccount(target=target, **common)

    def account(self, request: _AccountRequest, caller: Caller) -> AccountKey:
        """Read which account a request is about."""
        key = self.any_account(request, caller)
        return AccountKey(caller.acting_as(request.user_id), key.currency_code)

    def any_account(self, request: _AccountRequest, caller: Caller) -> AccountKey:
        """Read which account an operator's request is about: anybody's."""
        validation = Validation()
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        currency_code = self._currency(validation, "currency_code", request.currency_code)
        validation.finish()
        return AccountKey(request.user_id or caller.user_id, currency_code)

    def _amount(self, validation: Validation, amount: Money) -> str:
        validation.amount_minor("amount.minor_units", amount.minor_units)
        return self._currency(validation, "amount.currency_code", amount.currency_code)

    def _currency(self, validation: Validation, field: str, code: str) -> str:
        code = code or self._default_currency
        validation.currency_code(field, code)
        return code


def user_id_of(user_id: str, caller: Caller) -> str:
    """Read which user a request is about."""
    validation = Validation()
    validation.user_id("user_id", user_id, may_be_empty=True)
    validation.finish()
    return caller.acting_as(user_id)


def transaction_id_of(request: GetTransactionRequest, caller: Caller) -> str:
    """Read which transaction a request is about, by its id or by the caller's own request id."""
    validation = Validation()
    if request.HasField("request_id"):
        validation.request_id("request_id", request.request_id)
        validation.finish()
        return transaction_id(caller.user_id, request.request_id)
    validation.transaction_id("transaction_id", request.transaction_id)
    validation.finish()
    return request.transaction_id.lower()


def _common(validation: Validation, request: _WriteRequest, caller: Caller) -> dict[str, Any]:
    """Check and read what every write carries."""
    validation.user_id("user_id", request.user_id, may_be_empty=True)
    validation.request_id("request_id", request.request_id)
    validation.description("description", request.description)
    if request.metadata:
        validation.metadata("metadata", request.metadata)
    return {
        "caller": caller.user_id,
        "request_id": request.request_id,
        "description": request.description,
        "metadata": dict(request.metadata),
    }
